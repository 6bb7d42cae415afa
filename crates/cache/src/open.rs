//! Opening the environment: the one place of this crate that maps a file.
#![allow(unsafe_code)]

use std::fs;
use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};

use crate::{Databases, Error, folder};

/// Room in the address space beyond the limit: pages are copied before they are changed, and freed pages wait for readers.
const HEADROOM: u64 = 256 << 20;

/// Processes and threads that read at the same time.
const MAX_READERS: u32 = 2048;

/// Opens the environment in `folder`, or makes it; a damaged one is made anew.
pub(crate) fn open(folder: &Path, limit: u64) -> Result<(Env<WithoutTls>, Databases), Error> {
    folder::prepare(folder)?;
    let failed = |source| Error::Database { folder: folder.to_owned(), source };
    match try_open(folder, limit) {
        Err(error) if is_damage(&error) => {
            tracing::debug!("replacing the damaged cache in {}: {error}", folder.display());
            folder::remove(folder).map_err(|source| Error::Folder { folder: folder.to_owned(), source })?;
            folder::prepare(folder)?;
            try_open(folder, limit).map_err(failed)
        }
        result => result.map_err(failed),
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
