//! Files of modules as the compiler reads them.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow};
use kiln_env::artifact::source_hash;
use rustix::buffer::spare_capacity;
use rustix::io::pread;

use crate::config::Tiering;
use crate::engine::Engine;
use crate::sys::file::{MappedFile, is_settled, notes_changes};

/// The bytes of a module's file: a copy of this process's own, made when something first needs them. What happens to the
/// file afterwards is of no importance.
///
/// ```
/// use kiln::{Engine, Module, ModuleFile};
///
/// let dir = std::env::temp_dir().join(format!("kiln-doc-module-file-{}", std::process::id()));
/// std::fs::write(&dir, b"\0asm\x01\0\0\0")?;
/// let engine = Engine::default();
/// let file = ModuleFile::open(&engine, &dir)?;
/// assert_eq!(file.as_ref().len(), 8);
/// Module::from_module_file(&engine, file)?;
/// # std::fs::remove_file(&dir)?;
/// # anyhow::Ok(())
/// ```
pub struct ModuleFile(Bytes);

enum Bytes {
    /// Read when they are first needed.
    Later(File, OnceLock<Result<Vec<u8>, String>>),
    Read(Vec<u8>),
    InPlace(Box<InPlace>),
}

/// A file that is mapped, and was validated there.
///
/// Mapped bytes can change at any time, so nothing that follows from them counts before the file's times have been
/// looked at once more: a write changes the time of the last change of state (`ctime`) before the bytes, and no program
/// can set that time.
struct InPlace {
    mapped: MappedFile,
    file: File,
    before: Written,
    /// What was validated.
    seal: Mutex<Seal>,
    /// The same bytes, read again after somebody had touched the file. `None`: they were others.
    copy: OnceLock<Option<Vec<u8>>>,
}

/// Hashes of what was validated.
#[derive(Default)]
struct Seal {
    whole: Option<[u8; 32]>,
    parts: Vec<(Range<u32>, [u8; 32])>,
}

impl Seal {
    /// Whether bytes are those that were validated.
    fn fits(&self, bytes: &[u8]) -> bool {
        if let Some(whole) = self.whole {
            return source_hash(bytes) == whole;
        }
        let same = |(range, hash): &(Range<u32>, [u8; 32])| {
            bytes.get(range.start as usize..range.end as usize).is_some_and(|part| source_hash(part) == *hash)
        };
        !self.parts.is_empty() && self.parts.iter().all(same)
    }
}

/// What changes when somebody writes to a file, whatever they do to hide it.
#[derive(PartialEq, Eq)]
struct Written(u64, [i64; 4]);

impl Written {
    fn of(metadata: &Metadata) -> Written {
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        Written(metadata.size(), times)
    }
}

/// What is said of a file that was changed.
fn changed() -> anyhow::Error {
    anyhow!("the module's file was changed while it was in use")
}

impl ModuleFile {
    /// Opens a file for modules of this engine. What is no regular file is read at once.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(engine: &Engine, path: &Path) -> io::Result<ModuleFile> {
        _ = engine;
        ModuleFile::of(File::open(path)?)
    }

    /// The same, but the file is mapped instead of copied, where that is as safe against everybody who may only write to
    /// the file: the caller promises that no instance in this process can do so, for which the result would be an error
    /// that could have been avoided.
    ///
    /// Nothing is compiled of bytes that were changed. A [cache](crate::Config::cache) is given functions before that is
    /// checked, and has to look at the file's identity itself before it takes them.
    ///
    /// # Errors
    /// The file cannot be read.
    #[doc(hidden)]
    pub fn open_in_place(engine: &Engine, path: &Path) -> io::Result<ModuleFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).unwrap_or(0);
        // Without signal handlers a file that becomes shorter would end the process. Modules that are compiled as a whole
        // are read as a whole.
        let signals = engine.tunables().signals && engine.config().tiering != Tiering::Eager;
        if !signals || !metadata.is_file() || len == 0 || !is_ours_alone(&metadata) || !is_settled(&metadata) {
            return ModuleFile::of(file);
        }
        if !notes_changes(&file) {
            return ModuleFile::of(file);
        }
        match MappedFile::map(OwnedFd::from(file.try_clone()?), 0, len) {
            Ok(mapped) => {
                let (before, seal, copy) = (Written::of(&metadata), Mutex::default(), OnceLock::new());
                Ok(ModuleFile(Bytes::InPlace(Box::new(InPlace { mapped, file, before, seal, copy }))))
            }
            Err(error) => {
                tracing::debug!(%error, "reading the file instead of mapping it");
                ModuleFile::of(file)
            }
        }
    }

    fn of(mut file: File) -> io::Result<ModuleFile> {
        if file.metadata()?.is_file() {
            return Ok(ModuleFile(Bytes::Later(file, OnceLock::new())));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(ModuleFile::from(bytes))
    }

    /// The bytes as they are now. What follows from them is to be [checked](ModuleFile::with).
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        match &self.0 {
            Bytes::Read(bytes) => Ok(bytes),
            Bytes::Later(file, bytes) => {
                let read = || read_all(file).map_err(|error| format!("cannot read the module's file: {error}"));
                bytes.get_or_init(read).as_deref().map_err(|error| anyhow!("{error}"))
            }
            Bytes::InPlace(file) => Ok(file.bytes()),
        }
    }

    /// Does something with the bytes. It is done again with a copy of them if the file was touched meanwhile, but not
    /// changed.
    ///
    /// # Errors
    /// The file cannot be read, or was changed since it was opened; or that of `work`.
    pub(crate) fn with<T>(&self, work: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let Bytes::InPlace(file) = &self.0 else { return work(self.bytes()?) };
        if file.copy.get().is_none() {
            let result = work(file.mapped.bytes());
            if file.is_untouched() {
                return result;
            }
            drop(result);
        }
        work(file.copy().ok_or_else(changed)?)
    }

    /// Whether the bytes are where others may change them.
    pub(crate) fn is_in_place(&self) -> bool {
        matches!(&self.0, Bytes::InPlace(_))
    }

    /// The file, of which a copy is made when something needs it, instead of its mapping.
    ///
    /// # Errors
    /// The process has too many files open.
    pub(crate) fn copied(&self) -> io::Result<Option<ModuleFile>> {
        match &self.0 {
            Bytes::InPlace(file) => Ok(Some(ModuleFile(Bytes::Later(file.file.try_clone()?, OnceLock::new())))),
            Bytes::Later(..) | Bytes::Read(_) => Ok(None),
        }
    }

    /// Whether what follows from the bytes counts: nobody has touched the file since it was opened, or its bytes are a
    /// copy.
    pub(crate) fn is_untouched(&self) -> bool {
        match &self.0 {
            Bytes::InPlace(file) => file.copy.get().is_none() && file.is_untouched(),
            Bytes::Later(..) | Bytes::Read(_) => true,
        }
    }

    /// Notes that all bytes are validated, if their hash is this.
    pub(crate) fn seal(&self, hash: [u8; 32]) {
        if let Bytes::InPlace(file) = &self.0 {
            file.seal().whole = Some(hash);
        }
    }

    /// Notes that the bytes in this range are validated, and not needed soon.
    pub(crate) fn validated(&self, range: Range<u32>) {
        if let Bytes::InPlace(file) = &self.0 {
            if file.seal().whole.is_none() {
                let bytes = kiln_env::artifact::bytes_of(file.mapped.bytes(), range.clone());
                let hash = source_hash(bytes);
                file.seal().parts.push((range.clone(), hash));
            }
            file.mapped.release(range);
        }
    }

    /// Notes that all bytes that are not [validated](ModuleFile::validated) yet are what the module was made of.
    pub(crate) fn validated_rest(&self) {
        let Bytes::InPlace(file) = &self.0 else { return };
        let mut seal = file.seal();
        if seal.whole.is_some() {
            return;
        }
        seal.parts.sort_by_key(|(range, _)| range.start);
        let (mut free, mut rest) = (0, Vec::new());
        for (range, _) in &seal.parts {
            rest.push(free..range.start);
            free = free.max(range.end);
        }
        rest.push(free..u32::try_from(file.mapped.bytes().len()).unwrap_or(u32::MAX));
        for range in rest.into_iter().filter(|range| !range.is_empty()) {
            let hash = source_hash(kiln_env::artifact::bytes_of(file.mapped.bytes(), range.clone()));
            seal.parts.push((range.clone(), hash));
        }
    }

    /// The bytes in this range are not needed soon: if they are mapped they can be read again.
    pub(crate) fn release(&self, range: Range<u32>) {
        if let Bytes::InPlace(file) = &self.0 {
            file.mapped.release(range);
        }
    }
}

impl InPlace {
    fn bytes(&self) -> &[u8] {
        self.copy.get().and_then(Option::as_deref).unwrap_or(self.mapped.bytes())
    }

    fn seal(&self) -> std::sync::MutexGuard<'_, Seal> {
        // What is noted is noted at once.
        self.seal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_untouched(&self) -> bool {
        !self.mapped.is_damaged() && self.file.metadata().is_ok_and(|now| Written::of(&now) == self.before)
    }

    /// What was validated, if the file still has it.
    fn copy(&self) -> Option<&[u8]> {
        let read = || read_all(&self.file).ok().filter(|bytes| self.seal().fits(bytes));
        self.copy.get_or_init(read).as_deref()
    }
}

/// Whether nobody else may write to a file, who could do so through a mapping, which its times need not tell.
fn is_ours_alone(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == rustix::process::geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}

/// All bytes of a regular file.
fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len)?;
    while bytes.len() < len {
        let at = bytes.len() as u64;
        if pread(file, spare_capacity(&mut bytes), at)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

impl From<Vec<u8>> for ModuleFile {
    fn from(bytes: Vec<u8>) -> ModuleFile {
        ModuleFile(Bytes::Read(bytes))
    }
}

impl AsRef<[u8]> for ModuleFile {
    /// The bytes; none if the file cannot be read.
    fn as_ref(&self) -> &[u8] {
        self.bytes().unwrap_or_default()
    }
}

impl fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Bytes::Later(_, bytes) if bytes.get().is_none() => write!(f, "ModuleFile(not read yet)"),
            Bytes::Later(..) | Bytes::Read(_) => write!(f, "ModuleFile({} bytes, read)", self.as_ref().len()),
            Bytes::InPlace(file) => write!(f, "ModuleFile({} bytes, mapped)", file.bytes().len()),
        }
    }
}
