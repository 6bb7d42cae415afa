//! Opening the environment: the one place of this crate that maps a file.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::{Databases, Error, folder};

/// Room in the address space beyond the limit: pages are copied before they are changed, and freed pages wait for readers.
const HEADROOM: u64 = 256 << 20;

/// Processes and threads that read at the same time.
const MAX_READERS: u32 = 2048;

/// Bytes of the file of locks: LMDB has a cache line for each reader, and two more.
const LOCKS: u64 = (MAX_READERS as u64 + 2) * 64;

/// Opens the environment in `folder`, or makes it; a damaged one is made anew.
pub(crate) fn open(folder: &Path, limit: u64) -> Result<(Env<WithoutTls>, Databases), Error> {
    folder::prepare(folder)?;
    take_room_for_locks(folder).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
    let failed = |source| Error::Database { folder: folder.to_owned(), source };
    match try_open(folder, limit) {
        Err(error) if is_damage(&error) => {
            tracing::debug!("replacing the damaged cache in {}: {error}", folder.display());
            folder::remove(folder).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
            folder::prepare(folder)?;
            take_room_for_locks(folder).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
            try_open(folder, limit).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

/// Has the file system set room aside for all of the file that LMDB keeps its locks in. That is mapped and written to; where it
/// has holes and the file system is full, the process would be ended by a signal.
fn take_room_for_locks(folder: &Path) -> io::Result<()> {
    let path = folder.join("lock.mdb");
    let found = fs::metadata(&path).ok();
    // To close the file would give up the locks of this process if the environment were open.
    if found.as_ref().is_some_and(|found| found.len() > 0 && found.blocks() * 512 >= found.len()) {
        return Ok(());
    }
    // Processes have mapped one that there is: its size stays.
    let len = found.map_or(0, |found| found.len());
    let len = if len > 0 { len } else { LOCKS };
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len) {
        // Not all file systems can.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => Ok(result?),
    }
}

/// Whether the file is at fault, not the system.
fn is_damage(error: &heed::Error) -> bool {
    use MdbError::{Corrupted, Incompatible, Invalid, PageNotFound, VersionMismatch};
    matches!(error, heed::Error::Mdb(Corrupted | Incompatible | Invalid | PageNotFound | VersionMismatch))
}

fn try_open(folder: &Path, limit: u64) -> Result<(Env<WithoutTls>, Databases), heed::Error> {
    let map_size = limit.saturating_mul(2).saturating_add(HEADROOM).min(1 << 40).next_multiple_of(1 << 16);
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(2).max_readers(MAX_READERS).map_size(map_size as usize);
    // SAFETY: the flag only leaves the newest transaction to the next write-back; the file stays whole if the system fails.
    unsafe { options.flags(EnvFlags::NO_META_SYNC) };
    // SAFETY: the map is read by LMDB only, under its own locks. The folder is this user's alone (`folder::prepare`), so
    // that whoever could change the file behind LMDB's back could as well change this process.
    let env = unsafe { options.open(folder)? };
    // LMDB would find out by a fault.
    let pages = env.info().last_page_number as u64 + 1;
    let page_size = u64::from(env.unnamed_database_stat().page_size);
    if env.info().last_txn_id > 0 && fs::metadata(folder.join("data.mdb"))?.len() < pages.saturating_mul(page_size) {
        return Err(MdbError::Corrupted.into());
    }
    let txn = env.read_txn()?;
    let existing = env.open_databases_and_commit(txn, |opener, txn| {
        let database = |name| opener.open_database::<Bytes, Bytes>(txn, Some(name));
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((database("values")?, database("uses")?)))
    })?;
    if let Some((Some(values), Some(uses))) = existing.commit() {
        return Ok((env, Databases { values, uses }));
    }
    let txn = env.write_txn()?;
    let created = env.create_databases_and_commit(txn, |opener, txn| {
        let mut database = |name| opener.create_database::<Bytes, Bytes>(txn, Some(name));
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((database("values")?, database("uses")?)))
    })?;
    let (values, uses) = created.unwrap_commit();
    Ok((env, Databases { values, uses }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_have_room() {
        let temp = tempfile::tempdir().unwrap();
        let locks = temp.path().join("lock.mdb");
        drop(open(temp.path(), 1 << 20).unwrap());
        let new = fs::metadata(&locks).unwrap();
        assert_eq!(new.len(), LOCKS, "LMDB has enlarged it");
        assert!(new.blocks() * 512 >= new.len(), "{} blocks", new.blocks());
        // One with holes, as LMDB makes it.
        let file = File::create(&locks).unwrap();
        file.set_len(3 * LOCKS).unwrap();
        drop(open(temp.path(), 1 << 20).unwrap());
        let old = fs::metadata(&locks).unwrap();
        assert!(
            old.len() == 3 * LOCKS && old.blocks() * 512 >= old.len(),
            "{} bytes, {} blocks",
            old.len(),
            old.blocks()
        );
    }
}
