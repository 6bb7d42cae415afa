//! First contents of a linear memory, built once and mapped copy-on-write into every instance.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

use super::{SysError, round_up_to_page};

/// The bytes with which a memory starts, as a sealed memory file. Parts that no segment covers cost nothing.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    fd: OwnedFd,
    len: usize,
}

impl MemoryImage {
    /// An image of `len` bytes (rounded up to pages): zeroes, and then the segments, in order, at their offsets.
    ///
    /// Fails if the system does, or if a segment does not fit.
    pub(crate) fn new<'a>(
        len: usize,
        segments: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<MemoryImage, SysError> {
        let fail = |e: Errno| SysError::new("building a memory image", e);
        let len = round_up_to_page(len).ok_or_else(|| fail(Errno::NOMEM))?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know the flag that promises never to execute the file.
        let fd = match rustix::fs::memfd_create("kiln-memory", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("kiln-memory", flags),
            other => other,
        }
        .map_err(fail)?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(fail)?;
        for (offset, bytes) in segments {
            if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > len as u64) {
                return Err(fail(Errno::FBIG));
            }
            let mut done = 0;
            while done < bytes.len() {
                done += rustix::io::pwrite(&fd, &bytes[done..], offset + done as u64).map_err(fail)?;
            }
        }
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(fail)?;
        Ok(MemoryImage { fd, len })
    }

    /// Number of bytes, a multiple of the page size.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
