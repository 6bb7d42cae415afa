//! Where the cache is.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::Error;

/// The folder that the environment asks for: `KILN_CACHE_DIR`, else `kiln` in the user's folder for caches
/// (`XDG_CACHE_HOME`, or `.cache` at home). `None` if the environment names neither.
pub fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("KILN_CACHE_DIR") {
        return Some(folder);
    }
    // A relative path there is invalid by the specification.
    let caches = set("XDG_CACHE_HOME").filter(|p| p.is_absolute());
    let caches = caches.or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("kiln"))
}

/// Makes the folder if it is missing, for this user alone, and checks that nobody else can write to it.
pub(crate) fn prepare(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Folder { folder: folder.to_owned(), source };
    make(folder).map_err(failed)?;
    let metadata = fs::metadata(folder).map_err(failed)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !ours || metadata.mode() & 0o022 != 0 {
        return Err(Error::NotPrivate(folder.to_owned()));
    }
    Ok(())
}

/// The folder of packs in the cache's.
pub(crate) const FUNCTIONS: &str = "functions";

/// Files of earlier versions.
const FORMER: [&str; 2] = ["data.mdb", "lock.mdb"];

/// What files end with that are not finished.
const UNFINISHED: &str = "tmp";

/// Tells the unfinished files of this process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Makes a folder in the cache's, for this user alone, if it is missing.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Removes the functions in a cache's folder, and the folder if nothing else is in it. Processes that have files of it open go
/// on with what they have.
///
/// # Errors
/// A file cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    let former = FORMER.map(|name| folder.join(name)).into_iter().map(fs::remove_file);
    for removed in former.chain([fs::remove_dir_all(folder.join(FUNCTIONS))]) {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Other files are not ours to remove.
    _ = fs::remove_dir(folder);
    Ok(())
}

/// Writes a file of so many bytes as a whole or not at all: readers find the old one, the new one, or none.
///
/// # Errors
/// It cannot be written. A process may not be allowed to write files of that size: the system would end it.
pub(crate) fn write_whole(path: &Path, bytes: u64, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    if getrlimit(Resource::Fsize).current.is_some_and(|most| bytes > most) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let (unfinished, file) = create_unfinished(path)?;
    let written = write(&file).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        _ = fs::remove_file(&unfinished);
    }
    written
}

/// A file beside the place of another one, locked while this process writes to it.
fn create_unfinished(path: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let mut unfinished = path.to_owned().into_os_string();
        unfinished.push(format!(".{}-{}.{UNFINISHED}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        // Created anew: a link that somebody put there is not followed. Read-only: a guest of another process that is given
        // the cache can remove the file, but not change it under those who have it mapped.
        let file = File::options().write(true).create_new(true).mode(0o400).open(&unfinished)?;
        // Where there are no locks, nobody takes it for one that was left either.
        _ = file.lock();
        // Before that it may have been taken for one.
        if file.metadata()?.nlink() > 0 {
            return Ok((unfinished.into(), file));
        }
    }
}

/// Removes what processes that were ended have left unfinished in a folder: whoever still writes has it locked.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn remove_left(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == UNFINISHED)
            && let Ok(file) = File::open(&path)
            && file.try_lock_shared().is_ok()
        {
            _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(variables: &[(&str, &str)]) -> Option<PathBuf> {
        default_folder(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn the_environment_says_where() {
        assert_eq!(folder(&[]), None);
        assert_eq!(folder(&[("HOME", "/h")]), Some("/h/.cache/kiln".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some("/c/kiln".into()));
        assert_eq!(folder(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")]), Some("/h/.cache/kiln".into()));
        assert_eq!(folder(&[("KILN_CACHE_DIR", "k"), ("XDG_CACHE_HOME", "/c")]), Some("k".into()));
        assert_eq!(folder(&[("KILN_CACHE_DIR", ""), ("HOME", "/h")]), Some("/h/.cache/kiln".into()));
    }
}
