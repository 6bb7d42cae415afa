//! What of the host a program can write to: files that code runs from, or is compiled from, must not be among it.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kiln_wasi::DirAccess;
use rustix::fs::OFlags;

use crate::args::Run;
use crate::options::UsageError;
use crate::run::folder;

/// Device and inode: what a file is, whatever it is called.
type Identity = (u64, u64);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// The folders and files of the host that a program may use.
pub(crate) struct Reach {
    /// Folders, and whether they may be written to.
    folders: Vec<(PathBuf, Identity, bool)>,
    /// Files that are standard streams and open for writing.
    streams: Vec<Identity>,
}

impl Reach {
    /// What the command line gives to a program. Folders that are missing are left out.
    pub(crate) fn of(run: &Run) -> Result<Reach, UsageError> {
        let mut folders = Vec::new();
        for dir in &run.dirs {
            let (host, _, access) = folder(dir)?;
            if let Ok(path) = fs::canonicalize(host)
                && let Ok(metadata) = fs::metadata(&path)
            {
                folders.push((path, identity(&metadata), access != DirAccess::ReadOnly));
            }
        }
        let streams = [written(std::io::stdin()), written(std::io::stdout()), written(std::io::stderr())];
        Ok(Reach { folders, streams: streams.into_iter().flatten().collect() })
    }

    /// Whether the program can write to a file or in a folder, under this name or another. Where that cannot be found out it
    /// can.
    pub(crate) fn can_write(&self, path: &Path) -> bool {
        let Ok(metadata) = fs::metadata(path) else { return true };
        if self.streams.contains(&identity(&metadata)) {
            return true;
        }
        let mut folders = self.folders.iter().filter(|(.., writable)| *writable).peekable();
        if folders.peek().is_none() {
            return false;
        }
        // One of its other names may be in a folder of the program.
        (metadata.is_file() && metadata.nlink() > 1) || is_below(path, &metadata, &mut folders)
    }

    /// The folder through which the program can look at a file or folder, or change it if it is to be `writable`.
    pub(crate) fn folder_with(&self, path: &Path, writable: bool) -> Option<&Path> {
        if self.folders.is_empty() {
            return None;
        }
        let metadata = fs::metadata(path).ok()?;
        let mut folders = self.folders.iter().filter(|folder| folder.2 || !writable);
        folders.find(|folder| is_below(path, &metadata, &mut std::iter::once(*folder))).map(|(dir, ..)| &**dir)
    }
}

/// Whether the user may write to a file or put another one in its place.
pub(crate) fn is_replaceable(path: &Path) -> bool {
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    may_write(path) || path.parent().is_some_and(may_write)
}

/// The regular file that a stream is, if it is open for writing.
fn written(stream: impl AsFd) -> Option<Identity> {
    let flags = rustix::fs::fcntl_getfl(&stream).ok()?;
    let found = rustix::fs::fstat(&stream).ok()?;
    let is_written = flags & OFlags::ACCMODE != OFlags::RDONLY;
    let is_file = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    (is_written && is_file).then_some((found.st_dev, found.st_ino))
}

/// Whether something is in one of these folders, or is one: by what the folders above it are, whatever they are called,
/// and by what is mounted in the folders.
fn is_below(path: &Path, metadata: &Metadata, folders: &mut dyn Iterator<Item = &(PathBuf, Identity, bool)>) -> bool {
    let folders: Vec<_> = folders.collect();
    let Ok(path) = fs::canonicalize(path) else { return true };
    for above in path.ancestors() {
        let Ok(above) = fs::metadata(above) else { return true };
        if folders.iter().any(|(_, folder, _)| *folder == identity(&above)) {
            return true;
        }
    }
    let Ok(mounts) = fs::read("/proc/self/mountinfo") else { return true };
    mounts.split(|byte| *byte == b'\n').filter_map(mount_point).any(|mount| {
        folders.iter().any(|(folder, ..)| mount != *folder && mount.starts_with(folder))
            && fs::metadata(&mount).is_ok_and(|found| found.dev() == metadata.dev())
    })
}

/// The fifth word of a line of `mountinfo`, in which some characters are octal numbers.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let word = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut out, mut rest) = (Vec::new(), word);
    while let Some((byte, behind)) = rest.split_first() {
        let number = (*byte == b'\\').then(|| behind.first_chunk::<3>()).flatten();
        let number = number.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(number.unwrap_or(*byte));
        rest = if number.is_some() { &behind[3..] } else { behind };
    }
    Some(PathBuf::from(OsStr::from_bytes(&out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(dirs: &[(&Path, bool)]) -> Reach {
        let folder = |(dir, writable): &(&Path, bool)| {
            let path = fs::canonicalize(dir).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            (path, identity(&metadata), *writable)
        };
        Reach { folders: dirs.iter().map(folder).collect(), streams: Vec::new() }
    }

    #[test]
    fn files_are_reached_by_any_name() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        for dir in ["in/deep", "out"] {
            fs::create_dir_all(path(dir)).unwrap();
        }
        fs::write(path("in/deep/file"), b"").unwrap();
        fs::write(path("out/file"), b"").unwrap();
        std::os::unix::fs::symlink(path("in"), path("out/link")).unwrap();
        let (inside, read_only) = (reach(&[(&path("in"), true)]), reach(&[(&path("in"), false)]));
        assert!(
            inside.can_write(&path("in/deep/file"))
                && inside.can_write(&path("in/deep"))
                && inside.can_write(&path("in"))
        );
        assert!(inside.can_write(&path("out/link/deep/file")), "through a link");
        assert!(!inside.can_write(&path("out/file")) && !inside.can_write(&path("out")));
        assert!(inside.can_write(&path("missing")), "what is not known is in reach");
        assert!(!read_only.can_write(&path("in/deep/file")));
        assert_eq!(read_only.folder_with(&path("in/deep"), false), Some(&*fs::canonicalize(path("in")).unwrap()));
        assert_eq!(read_only.folder_with(&path("in/deep"), true), None);
        assert_eq!(read_only.folder_with(&path("out"), false), None);
        // A second name of the same file.
        fs::hard_link(path("out/file"), path("in/other")).unwrap();
        assert!(inside.can_write(&path("out/file")) && !read_only.can_write(&path("out/file")));
        let all = reach(&[(Path::new("/"), true)]);
        assert!(all.can_write(&path("out")));
    }

    #[test]
    fn mount_points_are_read() {
        let line = br"36 35 98:0 /mnt1 /mnt\040with\134more rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/mnt with\more")));
        assert_eq!(mount_point(b"36 35"), None);
    }
}
