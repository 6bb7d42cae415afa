//! What was checked already: one small file for each artifact, in a folder of the user.
//!
//! An artifact that has the device, inode, size and times that stand there has the contents that were checked: whoever
//! changes them changes the times. Two changes within one tick of the file system's clock could have the same time, so
//! that files changed just now are not marked.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Longer than a tick of any file system's clock.
const TICK: Duration = Duration::from_millis(20);

/// The record of a file.
fn place(records: &Path, file: &Metadata) -> PathBuf {
    records.join(format!("{:x}-{:x}", file.dev(), file.ino()))
}

/// What has to be unchanged.
fn identity(file: &Metadata, root: &[u8; 32]) -> Vec<u8> {
    let numbers = [file.size(), file.mtime() as u64, file.mtime_nsec() as u64, file.ctime() as u64];
    let mut identity: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    identity.extend((file.ctime_nsec() as u64).to_le_bytes());
    identity.extend(root);
    identity
}

/// Whether a file was checked and has not changed since.
pub(super) fn is_marked(records: &Path, file: &Metadata, root: &[u8; 32]) -> bool {
    let path = place(records, file);
    let user = rustix::process::geteuid().as_raw();
    let own = || fs::metadata(records).is_ok_and(|dir| dir.uid() == user && dir.mode() & 0o022 == 0);
    fs::read(path).is_ok_and(|record| record == identity(file, root)) && own()
}

/// Notes that the file was checked: `before` is what was known of it then. Failing to is worth a warning and no more: it
/// is checked again the next time.
pub(super) fn mark(records: &Path, file: &File, before: &Metadata, root: &[u8; 32]) {
    let Ok(now) = file.metadata() else { return };
    let changed = Duration::new(now.ctime().max(0) as u64, now.ctime_nsec().clamp(0, 999_999_999) as u32);
    let settled = SystemTime::UNIX_EPOCH
        .checked_add(changed)
        .and_then(|changed| changed.elapsed().ok())
        .is_some_and(|age| age >= TICK);
    if !settled || identity(&now, root) != identity(before, root) {
        return;
    }
    let write = || -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(records)?;
        // Whoever reads the record sees the old one, the new one, or none.
        let path = place(records, &now);
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        // Created anew: a link that somebody put there is not followed.
        let create = || File::options().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_file(&unfinished).and_then(|()| create())
            }
            file => file,
        };
        let written = file
            .and_then(|mut file| file.write_all(&identity(&now, root)))
            .and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            _ = fs::remove_file(&unfinished);
        }
        written
    };
    if let Err(error) = write() {
        tracing::warn!(%error, "cannot note in {} that an artifact was checked", records.display());
    }
}
