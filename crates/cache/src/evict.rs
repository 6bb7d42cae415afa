//! How large the cache is, and what goes when it is too large.

use heed::RoTxn;
use heed::RwTxn;

use crate::{DiskStore, Shared};

/// When a value was last used, and what it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Use {
    pub(crate) day: u32,
    pub(crate) bytes: u32,
}

impl Use {
    pub(crate) fn write(self) -> [u8; 8] {
        let mut out = [0; 8];
        out[..4].copy_from_slice(&self.day.to_le_bytes());
        out[4..].copy_from_slice(&self.bytes.to_le_bytes());
        out
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Use> {
        let (day, bytes) = bytes.split_first_chunk()?;
        Some(Use { day: u32::from_le_bytes(*day), bytes: u32::from_le_bytes(bytes.try_into().ok()?) })
    }
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of values.
    pub values: u64,
    /// Bytes of the values themselves.
    pub value_bytes: u64,
    /// Bytes of the database's pages that are in use.
    pub used_bytes: u64,
    /// Bytes of the file on disk.
    pub file_bytes: u64,
    /// Bytes that may be in use.
    pub limit: u64,
    /// Days since the value was last used that was not used for longest.
    pub oldest_days: u32,
}

impl Usage {
    /// Bytes of the file that are not in use: what is removed leaves its room in the file, for what comes next.
    pub fn free_bytes(&self) -> u64 {
        self.file_bytes.saturating_sub(self.used_bytes)
    }
}

/// Bytes beside a value for its key, its use and the page it is on.
const OVERHEAD: u64 = 128;

impl DiskStore {
    /// What the cache holds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn usage(&self) -> Result<Usage, heed::Error> {
        let shared = &self.shared;
        let txn = shared.env.read_txn()?;
        let mut usage = Usage {
            used_bytes: shared.size(&txn)?,
            file_bytes: shared.env.real_disk_size()?,
            limit: shared.limit,
            ..Usage::default()
        };
        let mut oldest = crate::today();
        for used in shared.uses(&txn)? {
            let (used, _) = used?;
            usage.values += 1;
            usage.value_bytes += u64::from(used.bytes);
            oldest = oldest.min(used.day);
        }
        usage.oldest_days = crate::today() - oldest;
        Ok(usage)
    }

    /// Removes what was used least recently until no more than `bytes` are in use.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn prune(&self, bytes: u64) -> Result<(), heed::Error> {
        self.flush();
        self.shared.evict_to(bytes)
    }
}

impl Shared {
    /// Bytes of pages in use.
    pub(crate) fn size(&self, txn: &RoTxn<'_>) -> Result<u64, heed::Error> {
        let databases = [self.databases.values, self.databases.uses];
        databases.iter().map(|d| Ok(d.stat(txn)?.non_free_page_size() as u64)).sum()
    }

    pub(crate) fn evict_to(&self, bytes: u64) -> Result<(), heed::Error> {
        let mut txn = self.env.write_txn()?;
        self.evict(&mut txn, bytes)?;
        txn.commit()
    }

    fn uses<'t>(
        &self,
        txn: &'t RoTxn<'_>,
    ) -> Result<impl Iterator<Item = Result<(Use, &'t [u8]), heed::Error>>, heed::Error> {
        let entries = self.databases.uses.iter(txn)?;
        let unknown = Use { day: 0, bytes: 0 };
        Ok(entries.map(move |entry| entry.map(|(key, used)| (Use::read(used).unwrap_or(unknown), key))))
    }

    pub(crate) fn evict(&self, txn: &mut RwTxn<'_>, bytes: u64) -> Result<(), heed::Error> {
        let size = self.size(txn)?;
        if size <= bytes {
            return Ok(());
        }
        let mut entries: Vec<(Use, Vec<u8>)> = Vec::new();
        for used in self.uses(txn)? {
            let (used, key) = used?;
            entries.push((used, key.to_owned()));
        }
        // Among those of one day the order is that of the keys, which are hashes.
        entries.sort_by_key(|(used, _)| used.day);
        // Pages are shared: what a value takes is its part of all that is in use.
        let known: u64 = entries.iter().map(|(used, _)| u64::from(used.bytes) + OVERHEAD).sum();
        let excess = (size - bytes) as f64 / size as f64 * known as f64;
        let mut removed = 0;
        for (used, key) in entries {
            if removed as f64 >= excess {
                break;
            }
            self.databases.values.delete(txn, &key)?;
            self.databases.uses.delete(txn, &key)?;
            removed += u64::from(used.bytes) + OVERHEAD;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_round_trip() {
        let used = Use { day: 20_000, bytes: 77 };
        assert_eq!(Use::read(&used.write()), Some(used));
        assert_eq!(Use::read(&[1, 2, 3]), None);
    }
}
