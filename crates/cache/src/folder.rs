//! Where the cache is.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

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
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let metadata = fs::metadata(folder).map_err(failed)?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !ours || metadata.mode() & 0o022 != 0 {
        return Err(Error::NotPrivate(folder.to_owned()));
    }
    Ok(())
}

/// The files of an environment.
const FILES: [&str; 2] = ["data.mdb", "lock.mdb"];

/// Removes the cache in a folder, and the folder if nothing else is in it. Processes that have it open go on with what
/// they have.
///
/// # Errors
/// A file cannot be removed.
pub fn remove(folder: &Path) -> io::Result<()> {
    for file in FILES {
        match fs::remove_file(folder.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Other files are not ours to remove.
    _ = fs::remove_dir(folder);
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
