//! Files of modules as the compiler reads them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::engine::Engine;
use crate::sys::file::MappedFile;

/// The bytes of a module's file: mapped where that is possible, so that a large file is not copied and what nobody looks
/// at is not read.
///
/// The file is not to be changed while the module lives. If it becomes shorter, and something of what is gone is needed,
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
    Mapped(MappedFile),
    Read(Vec<u8>),
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
                Ok(mapped) => return Ok(ModuleFile(Bytes::Mapped(mapped))),
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
        if let Bytes::Mapped(file) = &self.0 {
            file.release(range);
        }
    }

    /// Whether the file has become shorter, and somebody needed what is gone.
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(&self.0, Bytes::Mapped(file) if file.is_damaged())
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
            Bytes::Mapped(file) => file.bytes(),
            Bytes::Read(bytes) => bytes,
        }
    }
}

impl fmt::Debug for ModuleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if matches!(self.0, Bytes::Mapped(_)) { "mapped" } else { "read" };
        write!(f, "ModuleFile({} bytes, {how})", self.as_ref().len())
    }
}
