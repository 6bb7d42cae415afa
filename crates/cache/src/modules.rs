//! Whole modules that were compiled, as artifacts: what is started again unchanged is mapped, not put together from
//! thousands of functions.
//!
//! ```text
//! modules/CONTENTS.kiln   an artifact; its name is a hash of the module's bytes and of what else its code depends on
//! modules/CONTENTS.outline, .snapshot, .warmth, .tries   what runs of a module left that was not compiled as a whole
//! modules/FILE.of         the name of the artifact of a file with this device, inode, size and times
//! ```
//! A file that nobody has touched is recognised without reading it. Files are written beside their place and moved there:
//! readers find the old one, the new one, or none.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{Error, folder};

/// The folder in the cache's.
const FOLDER: &str = "modules";

/// Longer than a tick of any file system's clock: a file that is as young could be changed once more at the same time.
const TICK: Duration = Duration::from_millis(20);

/// A file's contents are compared with what was noted of them when they were not for so long.
const CONFIRM_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The artifacts of one configuration in a cache's folder.
#[derive(Clone)]
pub struct ModuleIndex {
    folder: PathBuf,
    common: [u8; 32],
    limit: u64,
}

/// What a file was when it was looked at.
pub struct FileIdentity {
    entry: PathBuf,
    state: [u64; 7],
    settled: bool,
}

impl FileIdentity {
    fn state(metadata: &Metadata) -> [u64; 7] {
        [
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime() as u64,
            metadata.mtime_nsec() as u64,
            metadata.ctime() as u64,
            metadata.ctime_nsec() as u64,
        ]
    }
}

impl ModuleIndex {
    /// The artifacts in a cache's folder, which is made if it is missing. `common` depends on all that code depends on
    /// beside the module: build, target, settings; whoever does not know it cannot have one file taken for another. `limit`: bytes that all artifacts together may take.
    ///
    /// # Errors
    /// The folder cannot be made, or is not the user's own.
    pub fn open(folder: &Path, common: [u8; 32], limit: u64) -> Result<ModuleIndex, Error> {
        folder::prepare(folder)?;
        let folder = folder.join(FOLDER);
        folder::make(&folder).map_err(|source| Error::Folder { folder: folder.clone(), source })?;
        Ok(ModuleIndex { folder, common, limit })
    }

    /// Looks at a file. `None` if it is none, or cannot be read.
    pub fn identify(&self, file: &Path) -> Option<FileIdentity> {
        let metadata = fs::metadata(file).ok().filter(Metadata::is_file)?;
        let state = FileIdentity::state(&metadata);
        let mut hasher = blake3::Hasher::new_keyed(&self.common);
        state.iter().for_each(|n| _ = hasher.update(&n.to_le_bytes()));
        let changed = SystemTime::UNIX_EPOCH + Duration::new(metadata.ctime().max(0) as u64, 0);
        let changed = changed + Duration::from_nanos(metadata.ctime_nsec().max(0) as u64);
        let settled = changed.elapsed().is_ok_and(|age| age >= TICK);
        Some(FileIdentity { entry: self.place(&hasher.finalize(), "of"), state, settled })
    }

    /// The artifact of a file whose contents were seen before. It may be gone.
    pub fn by_identity(&self, file: &FileIdentity) -> Option<PathBuf> {
        let noted = fs::read(&file.entry).ok()?;
        let name: [u8; 32] = *noted.first_chunk()?;
        (noted == self.entry(&file.entry, &name)).then(|| self.place(&name.into(), "kiln"))
    }

    /// Where the artifact of a module with these bytes is, or would be.
    pub fn by_contents(&self, module: &[u8]) -> PathBuf {
        self.place(&blake3::keyed_hash(&self.common, module), "kiln")
    }

    /// Notes that the contents of a file, read after it was [identified](ModuleIndex::identify), are these. A file that
    /// changed meanwhile, or just before, is not noted.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn note(&self, file: &Path, identity: &FileIdentity, module: &[u8]) -> io::Result<()> {
        if identity.settled {
            let noted = self.entry(&identity.entry, blake3::keyed_hash(&self.common, module).as_bytes());
            // Bytes that are mapped count if the file is the same after they were looked at.
            if self.is_same(file, identity)? {
                write(&identity.entry, &noted)?;
            }
        }
        Ok(())
    }

    /// What is noted at a place: a name, and that it was noted there by somebody who knows the secret.
    fn entry(&self, place: &Path, name: &[u8; 32]) -> Vec<u8> {
        let mut hasher = blake3::Hasher::new_keyed(&self.common);
        hasher.update(b"noted").update(place.file_name().unwrap_or_default().as_encoded_bytes()).update(name);
        [name.as_slice(), hasher.finalize().as_bytes()].concat()
    }

    /// Whether a file is as it was when it was [identified](ModuleIndex::identify).
    ///
    /// # Errors
    /// There is no such file any more, or the system does not say.
    pub fn is_same(&self, file: &Path, identity: &FileIdentity) -> io::Result<bool> {
        Ok(FileIdentity::state(&fs::metadata(file)?) == identity.state)
    }

    /// Whether the contents of a file were not [confirmed](ModuleIndex::confirm) for a day.
    pub fn is_due(&self, identity: &FileIdentity) -> bool {
        let noted = fs::metadata(&identity.entry).and_then(|entry| entry.modified());
        !noted.is_ok_and(|noted| noted.elapsed().is_ok_and(|age| age < CONFIRM_AFTER))
    }

    /// Reads the file, if that was not done for a day, and forgets what was noted of it if its contents are others: to be
    /// called beside the program.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn confirm(&self, file: &Path, identity: &FileIdentity) -> io::Result<()> {
        if !self.is_due(identity) {
            return Ok(());
        }
        let contents = fs::read(file)?;
        let noted = fs::read(&identity.entry)?;
        if noted == self.entry(&identity.entry, blake3::keyed_hash(&self.common, &contents).as_bytes()) {
            return write(&identity.entry, &noted);
        }
        fs::remove_file(&identity.entry)
    }

    /// Keeps an artifact at a place that [`ModuleIndex::by_contents`] gave. What was read least recently makes room. One
    /// that would take a large part of all the room is not kept.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, place: &Path, artifact: &[u8]) -> io::Result<()> {
        if artifact.len() as u64 > self.limit / 4 {
            return Ok(());
        }
        self.make_room(artifact.len() as u64)?;
        write(place, artifact)
    }

    fn place(&self, hash: &blake3::Hash, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", hash.to_hex()))
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        folder::remove_left(&self.folder)?;
        prune(&self.folder, self.limit.saturating_sub(bytes))
    }
}

/// Removes what was read least recently until the files of a folder take no more than `bytes`.
fn prune(folder: &Path, bytes: u64) -> io::Result<()> {
    let mut files = files(folder)?;
    let mut total: u64 = files.iter().map(|f| f.bytes).sum();
    files.sort_by_key(|f| f.used);
    for file in files {
        if total <= bytes {
            break;
        }
        match fs::remove_file(&file.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => total -= file.bytes,
        }
    }
    Ok(())
}

/// Removes artifacts of a cache's folder, those read least recently first, until no more than `bytes` are left.
///
/// # Errors
/// One cannot be removed.
pub fn prune_modules(folder: &Path, bytes: u64) -> io::Result<()> {
    match prune(&folder.join(FOLDER), bytes) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file in the folder.
struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn files(folder: &Path) -> io::Result<Vec<Kept>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may remove it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        // Reading notes the time of access, once a day at least.
        let times = [metadata.accessed(), metadata.modified()];
        let used = times.into_iter().flatten().max().unwrap_or(SystemTime::UNIX_EPOCH);
        out.push(Kept { path: entry.path(), bytes: metadata.len(), used });
    }
    Ok(out)
}

/// Number and bytes of the artifacts in a cache's folder.
pub fn module_usage(folder: &Path) -> (u64, u64) {
    let files = files(&folder.join(FOLDER)).unwrap_or_default();
    let is_module = |file: &&Kept| file.path.extension().is_some_and(|e| e == "kiln" || e == "outline");
    let modules: HashSet<_> = files.iter().filter(is_module).map(|file| file.path.file_stem()).collect();
    (modules.len() as u64, files.iter().map(|file| file.bytes).sum())
}

/// Removes all artifacts of a cache's folder.
///
/// # Errors
/// One cannot be removed.
pub fn remove_modules(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    folder::write_whole(path, bytes.len() as u64, |mut file| file.write_all(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() {
        std::thread::sleep(2 * TICK);
    }

    #[test]
    fn files_are_recognised_until_they_change() {
        let temp = tempfile::tempdir().unwrap();
        let index = ModuleIndex::open(&temp.path().join("cache"), [7; 32], 1 << 20).unwrap();
        let file = temp.path().join("a.wasm");
        fs::write(&file, b"contents").unwrap();
        let young = index.identify(&file).unwrap();
        index.note(&file, &young, b"contents").unwrap();
        settle();
        let identity = index.identify(&file).unwrap();
        if !young.settled {
            assert_eq!(index.by_identity(&identity), None);
        }
        index.note(&file, &identity, b"contents").unwrap();
        let place = index.by_identity(&index.identify(&file).unwrap()).unwrap();
        assert_eq!(place, index.by_contents(b"contents"));
        index.keep(&place, b"artifact").unwrap();
        let hash = 64;
        assert_eq!(module_usage(&temp.path().join("cache")), (1, hash + 8));
        // What runs left is of the same module, or of another one.
        index.keep(&place.with_extension("outline"), b"outline").unwrap();
        index.keep(&index.by_contents(b"other").with_extension("outline"), b"outline").unwrap();
        index.keep(&place.with_extension("snapshot"), b"snapshot").unwrap();
        assert_eq!(module_usage(&temp.path().join("cache")), (2, hash + 8 + 7 + 7 + 8));
        assert!(!index.is_due(&identity));
        index.confirm(&file, &identity).unwrap();

        let other = ModuleIndex::open(&temp.path().join("cache"), [8; 32], 1 << 20).unwrap();
        assert_eq!(other.by_identity(&other.identify(&file).unwrap()), None);
        assert_ne!(other.by_contents(b"contents"), place);
        fs::write(&file, b"CONTENTS").unwrap();
        assert_eq!(index.by_identity(&index.identify(&file).unwrap()), None);
        // It was changed behind the reader's back.
        index.note(&file, &identity, b"contents").unwrap();
        assert_eq!(index.by_identity(&index.identify(&file).unwrap()), None);
        remove_modules(&temp.path().join("cache")).unwrap();
        assert!(!place.exists());
    }

    #[test]
    fn the_size_stays_bounded() {
        let temp = tempfile::tempdir().unwrap();
        let index = ModuleIndex::open(temp.path(), [7; 32], 1000).unwrap();
        for n in 0..20u8 {
            index.keep(&index.by_contents(&[n]), &[n; 200]).unwrap();
        }
        let (count, bytes) = module_usage(temp.path());
        assert!((1..=5).contains(&count) && bytes <= 1000);
        // What a process that was killed has left.
        let left = index.by_contents(b"left").with_extension("kiln.1.tmp");
        fs::write(&left, [0; 10]).unwrap();
        index.keep(&index.by_contents(b"more"), b"more").unwrap();
        assert!(!left.exists());
        let large = index.by_contents(b"large");
        index.keep(&large, &[0; 300]).unwrap();
        assert!(!large.exists());
    }
}
