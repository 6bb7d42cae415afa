//! The operating system and the processor: the only place that names either.

pub(crate) mod asm;
pub(crate) mod cpu;
pub(crate) mod event;
pub(crate) mod file;
pub(crate) mod image;
pub(crate) mod mmap;
pub(crate) mod signals;
pub(crate) mod stack;
pub(crate) mod watch;

pub(crate) use image::MemoryImage;
pub(crate) use mmap::{page_size, round_up_to_page};

#[cfg(not(target_os = "linux"))]
compile_error!("Kiln's runtime runs on Linux only so far: crates/kiln/src/sys is what another system needs");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "Kiln's runtime runs on x86-64 and AArch64 only so far: crates/kiln/src/sys/asm.rs is what another needs"
);

/// The system refused something.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub(crate) struct SysError {
    /// What was tried.
    what: &'static str,
    /// What the system said.
    source: std::io::Error,
}

impl SysError {
    /// An error of an attempt to do `what`.
    pub(crate) fn new(what: &'static str, source: impl Into<std::io::Error>) -> SysError {
        SysError { what, source: source.into() }
    }

    /// The error of the C library call that just failed.
    pub(crate) fn last(what: &'static str) -> SysError {
        SysError { what, source: std::io::Error::last_os_error() }
    }
}
