//! Where the standard streams of a guest lead.

use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a guest's standard input comes from.
///
/// Bytes, strings, files and descriptors convert into it:
/// ```
/// let stdin = kiln_wasi::Stdin::from("typed in advance");
/// ```
#[derive(Debug, Default)]
pub enum Stdin {
    /// At its end from the start.
    #[default]
    Empty,
    /// The descriptor 0 of this process, read directly: nothing is read ahead, so that what the
    /// guest leaves is there for others.
    Inherit,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A file, pipe or terminal; it is closed with the guest's descriptor.
    File(File),
}

/// Where a guest's standard output or standard error goes.
#[derive(Debug, Default)]
pub enum Stdout {
    /// Nowhere: every write succeeds.
    #[default]
    Discard,
    /// The descriptor 1 or 2 of this process, written to directly: one system call for each write of
    /// the guest, no buffer and no lock. Bytes that wait in the buffers of [`std::io::stdout`] are not
    /// flushed first.
    Inherit,
    /// Memory of this process.
    Pipe(OutputPipe),
    /// A file, pipe or terminal; it is closed with the guest's descriptor.
    File(File),
}

impl From<Vec<u8>> for Stdin {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Stdin {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Stdin {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Stdin {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<File> for Stdin {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl From<OwnedFd> for Stdin {
    fn from(fd: OwnedFd) -> Self {
        Self::File(fd.into())
    }
}

impl From<OutputPipe> for Stdout {
    fn from(pipe: OutputPipe) -> Self {
        Self::Pipe(pipe)
    }
}

impl From<&OutputPipe> for Stdout {
    fn from(pipe: &OutputPipe) -> Self {
        Self::Pipe(pipe.clone())
    }
}

impl From<File> for Stdout {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl From<OwnedFd> for Stdout {
    fn from(fd: OwnedFd) -> Self {
        Self::File(fd.into())
    }
}

/// Collects what a guest writes, in memory. Clones share the contents, so keep one and give the
/// other to the builder; the same pipe may serve standard output and standard error.
///
/// ```
/// let stdout = kiln_wasi::OutputPipe::new(1 << 20);
/// let ctx = kiln_wasi::WasiCtxBuilder::new().stdout(&stdout).build()?;
/// // … run a guest …
/// assert_eq!(stdout.contents(), b"");
/// # Ok::<(), kiln_wasi::BuildError>(())
/// ```
#[derive(Clone)]
pub struct OutputPipe {
    shared: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl OutputPipe {
    /// A pipe that holds at most `capacity` bytes. What goes beyond is not stored, and the guest's
    /// write fails with `nospc`.
    pub fn new(capacity: usize) -> Self {
        Self { shared: Arc::default(), capacity }
    }

    /// A copy of the bytes written so far.
    pub fn contents(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// Takes the bytes written so far out, which makes room again.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock())
    }

    /// Appends as much of the pieces as there is room for; returns how many bytes that was.
    pub(crate) fn append<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut bytes = self.lock();
        let before = bytes.len();
        for piece in pieces {
            let room = self.capacity.saturating_sub(bytes.len());
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        bytes.len() - before
    }

    /// The contents stay whole when a thread panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OutputPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutputPipe({} of {} bytes)", self.lock().len(), self.capacity)
    }
}
