//! Files of modules as the compiler reads them.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::engine::Engine;
use crate::sys::file::MappedFile;

/// The bytes of a module's file: mapped where that is possible, so that a large file is not copied and what nobody looks
/// at is not read.
///
/// The file is not to be changed while the module lives. Nothing is compiled of it any more when somebody has written to it
/// (who puts another file in its place does it no harm). If it becomes shorter, and something of what is gone is needed,
/// that is an error, and instances of the module trap with [`Trap::FileTruncated`](crate::Trap::FileTruncated) from then on.
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
    Mapped(MappedFile, Written),
    Read(Vec<u8>),
}

/// What is another one when somebody has written to a file: its size, and when that was done last. Its other times change when
/// it is linked or unlinked as well.
#[derive(PartialEq, Eq)]
struct Written(u64, i64, i64);

impl Written {
    fn of(metadata: &Metadata) -> Written {
        Written(metadata.size(), metadata.mtime(), metadata.mtime_nsec())
    }
}

impl ModuleFile {
    /// Opens a file for modules of this engine. It is read at once if it is no regular file, or if the engine leaves
    /// signals to the host, so that nobody would notice that the file becomes shorter.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(engine: &Engine, path: &Path) -> io::Result<ModuleFile> {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let len = usize::try_from(metadata.len()).unwrap_or(0);
        if metadata.is_file() && len > 0 && engine.tunables().signals {
            let mapped = MappedFile::map(OwnedFd::from(file.try_clone()?), 0, len);
            match mapped {
                Ok(mapped) => return Ok(ModuleFile(Bytes::Mapped(mapped, Written::of(&metadata)))),
                Err(error) => tracing::debug!(%error, "reading the file instead of mapping it"),
            }
        }
        let mut bytes = Vec::with_capacity(len);
        file.read_to_end(&mut bytes)?;
        Ok(ModuleFile::from(bytes))
    }
}

impl ModuleFile {
    /// The bytes in this range are not needed soon: if they are mapped they can be read again.
    pub(crate) fn release(&self, range: Range<u32>) {
        if let Bytes::Mapped(file, _) = &self.0 {
            file.release(range);
        }
    }

    /// Whether the file has become shorter, and somebody needed what is gone.
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(&self.0, Bytes::Mapped(file, _) if file.is_damaged())
    }

    /// Whether somebody has written to the file, so that what was read since then need not be what was validated.
    pub(crate) fn is_changed(&self) -> bool {
        match &self.0 {
            Bytes::Mapped(file, before) => file.metadata().is_ok_and(|now| Written::of(&now) != *before),
            Bytes::Read(_) => false,
        }
    }
}

impl From<Vec<u8>> for ModuleFile {
    fn from(bytes: Vec<u8>) -> ModuleFile {
        ModuleFile(Bytes::Read(bytes))
    }
}

impl AsRef<[u8]> for ModuleFile {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(file, _) => file.bytes(),
            Bytes::Read(bytes) => bytes,
        }
    }
}

impl fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if matches!(self.0, Bytes::Mapped(..)) { "mapped" } else { "read" };
        write!(f, "ModuleFile({} bytes, {how})", self.as_ref().len())
    }
}
