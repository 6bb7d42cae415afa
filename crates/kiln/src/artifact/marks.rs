//! What was checked already: one small file for each artifact, in a folder of the user.
//!
//! An artifact that has the device, inode, size and times that stand there has the contents that were checked: whoever
//! changes them changes the times. Two changes within one tick of the file system's clock could have the same time, so
//! that files changed just now are not marked. Where there is a key, the records are signed: a guest that can write to the
//! folder cannot have something taken for checked.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::key::SigningKey;
use crate::sys::file::is_settled;

/// The record of a file.
fn place(records: &Path, file: &Metadata) -> PathBuf {
    records.join(format!("{:x}-{:x}", file.dev(), file.ino()))
}

/// What has to be unchanged.
fn state(file: &Metadata) -> [u64; 5] {
    let [mtime, ctime] = [file.mtime(), file.ctime()].map(i64::cast_unsigned);
    let [mtime_nsec, ctime_nsec] = [file.mtime_nsec(), file.ctime_nsec()].map(i64::cast_unsigned);
    [file.size(), mtime, mtime_nsec, ctime, ctime_nsec]
}

/// Whether a file is as it was.
pub(super) fn is_same(now: &Metadata, before: &Metadata) -> bool {
    state(now) == state(before)
}

/// The folder of records, and the key with which they are signed.
pub(super) struct Records<'a> {
    folder: &'a Path,
    key: Option<&'a SigningKey>,
}

impl<'a> Records<'a> {
    pub(super) fn new(folder: &'a Path, key: Option<&'a SigningKey>) -> Records<'a> {
        Records { folder, key }
    }

    /// What stands in the record of a file with this root.
    fn record(&self, file: &Metadata, root: &[u8; 32]) -> Vec<u8> {
        let numbers = [[file.dev(), file.ino()].as_slice(), &state(file)].concat();
        let mut record: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        record.extend(root);
        if let Some(key) = self.key {
            record = key.sign("checked", &record).to_vec();
        }
        record
    }

    /// Whether a file was checked and has not changed since.
    pub(super) fn is_marked(&self, file: &Metadata, root: &[u8; 32]) -> bool {
        let user = rustix::process::geteuid().as_raw();
        let own = || fs::metadata(self.folder).is_ok_and(|dir| dir.uid() == user && dir.mode() & 0o022 == 0);
        fs::read(place(self.folder, file)).is_ok_and(|record| record == self.record(file, root)) && own()
    }

    /// Notes that the file was checked: `before` is what was known of it then. Failing to is worth a warning and no more: it
    /// is checked again the next time.
    pub(super) fn mark(&self, file: &File, before: &Metadata, root: &[u8; 32]) {
        let Ok(now) = file.metadata() else { return };
        if is_settled(&now)
            && is_same(&now, before)
            && let Err(error) = write(self.folder, &place(self.folder, &now), &self.record(&now, root))
        {
            tracing::warn!(%error, "cannot note in {} that an artifact was checked", self.folder.display());
        }
    }
}

/// Writes a record: whoever reads it sees the old one, the new one, or none.
fn write(folder: &Path, path: &Path, record: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    // Created anew: a link that somebody put there is not followed.
    let create = || File::options().write(true).create_new(true).mode(0o600).open(&unfinished);
    let file = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&unfinished).and_then(|()| create())
        }
        file => file,
    };
    let written = file.and_then(|mut file| file.write_all(record)).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        _ = fs::remove_file(&unfinished);
    }
    written
}
