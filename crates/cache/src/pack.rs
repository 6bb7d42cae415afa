//! A file of values: written once, as a whole, and afterwards only read or removed.
//!
//! ```text
//! magic              8 bytes
//! number of entries  u32, little endian as all numbers here
//! checksum           16 bytes: the beginning of the BLAKE3 hash of all entries
//! entries            ENTRY bytes each, by ascending name
//! values
//! ```
//! Entries are checked when a pack is opened, values are not: what is in them is for the caller to check.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder;

const MAGIC: [u8; 8] = *b"KILNPAK1";

/// Bytes of magic, number and checksum.
const HEADER: u64 = 28;

/// Bytes of an entry: name, day, length and offset of the value.
pub(crate) const ENTRY: u64 = 32;

/// The length that stands in the entry of a name whose value is in another pack: only its day counts.
const ABSENT: u32 = u32::MAX;

/// The name of a value: the beginning of its key's hash. Whoever gets a value finds out if it belongs to another key.
pub(crate) type Name = [u8; 16];

/// The name of the value under a key.
pub(crate) fn name(key: &[u8]) -> Name {
    short_hash(key)
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    short
}

/// What a pack says about a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    /// When the value was last used: days since the epoch.
    pub(crate) day: u32,
    /// Where the value is in the file: its offset and length. `None` if it is in another pack.
    pub(crate) value: Option<(u64, u32)>,
}

impl Entry {
    fn write(self) -> [u8; ENTRY as usize] {
        let (offset, len) = self.value.unwrap_or((0, ABSENT));
        let mut out = [0; ENTRY as usize];
        out[..16].copy_from_slice(&self.name);
        out[16..20].copy_from_slice(&self.day.to_le_bytes());
        out[20..24].copy_from_slice(&len.to_le_bytes());
        out[24..].copy_from_slice(&offset.to_le_bytes());
        out
    }

    fn read(bytes: &[u8]) -> Option<Entry> {
        let (name, bytes) = bytes.split_first_chunk()?;
        let (day, bytes) = bytes.split_first_chunk()?;
        let (len, bytes) = bytes.split_first_chunk()?;
        let (day, len) = (u32::from_le_bytes(*day), u32::from_le_bytes(*len));
        let offset = u64::from_le_bytes(bytes.try_into().ok()?);
        Some(Entry { name: *name, day, value: (len != ABSENT).then_some((offset, len)) })
    }
}

/// A value that is to be written.
pub(crate) enum Source {
    /// From memory.
    Bytes(Arc<[u8]>),
    /// From another pack: offset and length there.
    Pack(Arc<Pack>, u64, u32),
    /// It is in another pack and stays there.
    Elsewhere,
}

impl Source {
    fn len(&self) -> Option<u32> {
        match self {
            Source::Bytes(bytes) => u32::try_from(bytes.len()).ok().filter(|len| *len != ABSENT),
            Source::Pack(_, _, len) => Some(*len),
            Source::Elsewhere => None,
        }
    }

    /// Bytes that the value and its entry take.
    pub(crate) fn bytes(&self) -> u64 {
        ENTRY + self.len().map_or(0, u64::from)
    }
}

/// A pack that is open.
pub(crate) struct Pack {
    pub(crate) path: PathBuf,
    file: File,
    entries: Vec<u8>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Why a pack was not opened.
pub(crate) enum Unopened {
    /// It is not as it was written.
    Damaged,
    /// It is gone, or the system refuses.
    Failed(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Unopened {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Unopened::Damaged,
            _ => Unopened::Failed(error),
        }
    }
}

impl Pack {
    pub(crate) fn open(path: &Path) -> Result<Pack, Unopened> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut header = [0; HEADER as usize];
        file.read_exact(&mut header)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (count, checksum) = rest.split_at(4);
        let count = u64::from(u32::from_le_bytes([count[0], count[1], count[2], count[3]]));
        // No more than there is in the file is asked of the allocator.
        if magic != MAGIC || HEADER + count * ENTRY > bytes {
            return Err(Unopened::Damaged);
        }
        let mut entries = vec![0; (count * ENTRY) as usize];
        file.read_exact(&mut entries)?;
        if checksum != short_hash(&entries) {
            return Err(Unopened::Damaged);
        }
        let pack = Pack { path: path.to_owned(), file, entries, bytes };
        let is_inside = |entry: Entry| {
            entry.value.is_none_or(|(offset, len)| offset.checked_add(u64::from(len)).is_some_and(|end| end <= bytes))
        };
        if pack.entries().all(is_inside) { Ok(pack) } else { Err(Unopened::Damaged) }
    }

    /// What the pack has, by ascending name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.chunks_exact(ENTRY as usize).filter_map(Entry::read)
    }

    /// What the pack says about a name.
    pub(crate) fn find(&self, name: &Name) -> Option<Entry> {
        let (entries, _) = self.entries.as_chunks::<{ ENTRY as usize }>();
        let at = entries.binary_search_by(|entry| entry[..16].cmp(name)).ok()?;
        Entry::read(&entries[at])
    }

    /// Bytes of the file.
    pub(crate) fn read(&self, offset: u64, len: u32) -> io::Result<Vec<u8>> {
        let mut value = vec![0; len as usize];
        self.file.read_exact_at(&mut value, offset)?;
        Ok(value)
    }

    /// Writes a pack; `values` are by ascending name, each with the day of its last use. Readers find it when it is finished.
    pub(crate) fn write(path: &Path, values: &[(Name, u32, Source)]) -> io::Result<()> {
        let mut offset = HEADER + values.len() as u64 * ENTRY;
        let mut entries = Vec::with_capacity(values.len() * ENTRY as usize);
        for (name, day, source) in values {
            let value = source.len().map(|len| (offset, len));
            offset += u64::from(source.len().unwrap_or(0));
            entries.extend(Entry { name: *name, day: *day, value }.write());
        }
        let count = u32::try_from(values.len()).map_err(io::Error::other)?;
        folder::write_whole(path, offset, |file| {
            let mut out = BufWriter::with_capacity(1 << 16, file);
            out.write_all(&MAGIC)?;
            out.write_all(&count.to_le_bytes())?;
            out.write_all(&short_hash(&entries))?;
            out.write_all(&entries)?;
            for (_, _, source) in values {
                match source {
                    // One that is too long has no place.
                    Source::Bytes(bytes) if source.len().is_some() => out.write_all(bytes)?,
                    Source::Pack(pack, offset, len) => out.write_all(&pack.read(*offset, *len)?)?,
                    Source::Bytes(_) | Source::Elsewhere => {}
                }
            }
            out.flush()
        })
    }

    /// Removes the file. Who has it open can still read it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_give_back_what_was_written() {
        let temp = tempfile::tempdir().unwrap();
        let values = |sources: Vec<Source>| {
            let mut values: Vec<_> =
                sources.into_iter().enumerate().map(|(n, source)| (name(&[n as u8]), n as u32, source)).collect();
            values.sort_by_key(|(name, ..)| *name);
            values
        };
        let first = temp.path().join("first");
        let bytes = |n: usize| Source::Bytes(vec![n as u8; n].into());
        Pack::write(&first, &values((0..50).map(bytes).collect())).unwrap();
        let Ok(pack) = Pack::open(&first) else { panic!("a pack") };
        let pack = Arc::new(pack);
        assert_eq!(pack.entries().count(), 50);
        let second = temp.path().join("second");
        let copy = |n: u8| match pack.find(&name(&[n])).unwrap().value {
            Some((offset, len)) if n.is_multiple_of(2) => Source::Pack(pack.clone(), offset, len),
            _ => Source::Elsewhere,
        };
        Pack::write(&second, &values((0..50).map(copy).collect())).unwrap();
        let Ok(copied) = Pack::open(&second) else { panic!("a pack") };
        for n in 0..50 {
            let entry = copied.find(&name(&[n])).unwrap();
            assert_eq!(entry.day, u32::from(n));
            let value = entry.value.map(|(offset, len)| copied.read(offset, len).unwrap());
            assert_eq!(value, n.is_multiple_of(2).then(|| vec![n; n.into()]));
        }
        assert_eq!(copied.find(&name(b"other")), None);
    }

    #[test]
    fn damaged_entries_are_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pack");
        Pack::write(&path, &[(name(b"a"), 1, Source::Bytes(vec![1; 10].into()))]).unwrap();
        let whole = fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, HEADER + ENTRY + 10);
        for bit in 0..(HEADER + ENTRY) as usize * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).unwrap();
            assert!(matches!(Pack::open(&path), Err(Unopened::Damaged)), "bit {bit}");
        }
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(matches!(Pack::open(&path), Err(Unopened::Damaged)), "{len} bytes");
        }
    }
}
