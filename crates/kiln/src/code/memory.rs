//! Memory that holds machine code.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use crate::sys::file::{MappedFile, check_file_size};
use crate::sys::mmap::{Access, Mapping, page_size};
use crate::sys::watch::Watch;
use crate::sys::{SysError, round_up_to_page};

use super::CodeError;

/// Data that code reads, and behind it, in pc-relative reach, code that is written piece by piece while other pieces
/// run. No page is ever writable and executable.
///
/// The text is one memory file that is mapped twice, once to write and once to run it. Where the system refuses that,
/// pages change from one to the other; then each piece needs pages of its own ([`CodeMemory::granularity`]).
#[derive(Debug)]
pub(crate) struct CodeMemory {
    /// For text that is in a file which may become shorter. Dropped before the space is given back.
    watch: Option<Watch>,
    /// Data, then text as it is executed.
    space: Mapping,
    data_len: usize,
    /// Text as it is written. `None`: pages flip.
    writable: Option<Mapping>,
    /// The process whose memory it is. After `fork` parent and child would write to the same pages.
    owner: u32,
}

/// What text begins with.
#[derive(Clone, Copy, Default)]
pub(crate) struct FirstText<'a> {
    /// Where in the text, a multiple of the page size.
    pub(crate) at: usize,
    /// The bytes.
    pub(crate) bytes: &'a [u8],
    /// A file that has them, where in it they begin, and how many of them are to be copied even so.
    pub(crate) file: Option<(&'a MappedFile, usize, usize)>,
}

impl CodeMemory {
    /// Reserves room for so many bytes of data (zeroes, writable) and of text (executable), some of which is there from the
    /// beginning.
    pub(crate) fn new(data_len: usize, text_len: usize, first: FirstText<'_>) -> Result<CodeMemory, SysError> {
        let mut memory = CodeMemory::reserve(data_len, text_len, FirstText::default())?;
        match memory.map_twice(first) {
            Ok(writable) => memory.writable = Some(writable),
            Err(error) => {
                static WARNED: Once = Once::new();
                WARNED.call_once(|| {
                    tracing::warn!(%error, "no executable memory files here: code pages change protection instead");
                });
                memory.begin_with(first)?;
            }
        }
        Ok(memory)
    }

    /// The same, but pages flip. What `new` does where the system has no executable memory files.
    pub(crate) fn reserve(data_len: usize, text_len: usize, first: FirstText<'_>) -> Result<CodeMemory, SysError> {
        let too_large = || SysError::new("reserving code memory", Errno::NOMEM);
        let data_len = round_up_to_page(data_len).ok_or_else(too_large)?;
        let text_len = round_up_to_page(text_len).ok_or_else(too_large)?;
        let space = Mapping::reserve(data_len.checked_add(text_len).ok_or_else(too_large)?)?;
        // SAFETY: nobody uses the new mapping yet.
        unsafe { space.make_accessible(0, data_len)? };
        let memory = CodeMemory { space, data_len, writable: None, owner: std::process::id(), watch: None };
        memory.begin_with(first)?;
        Ok(memory)
    }

    /// Puts the first bytes into memory that is new and whose pages flip.
    fn begin_with(&self, first: FirstText<'_>) -> Result<(), SysError> {
        if first.bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: nobody executes or writes the memory yet, and `at` is a multiple of the page size.
        unsafe { self.write(first.at, first.bytes) }
    }

    fn map_twice(&mut self, first: FirstText<'_>) -> Result<Mapping, SysError> {
        let len = self.text_len();
        let fail = |e: Errno| SysError::new("making an executable memory file", e);
        check_file_size(len).map_err(fail)?;
        // Kernels before 6.3 do not know the flag, and make every file executable.
        let file: OwnedFd = match rustix::fs::memfd_create("kiln-code", MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("kiln-code", MemfdFlags::CLOEXEC),
            other => other,
        }
        .map_err(fail)?;
        rustix::fs::ftruncate(&file, len as u64).map_err(fail)?;
        let FirstText { at, bytes, file: from } = first;
        let from = from.filter(|(from, start, _)| from.has_pages_at(*start));
        let copied = from.map_or(bytes.len(), |(.., copied)| copied.next_multiple_of(page_size()).min(bytes.len()));
        // Faults of the page table for each page would take longer.
        let (mut rest, mut end) = (&bytes[..copied], at);
        while !rest.is_empty() {
            let written = rustix::io::pwrite(&file, rest, end as u64).map_err(fail)?;
            (rest, end) = (&rest[written..], end + written);
        }
        let writable = Mapping::shared_file(file.as_fd(), len, Access::ReadWrite)?;
        // SAFETY: the text part is reserved and nobody uses it yet; what was written is mapped.
        unsafe {
            self.space.map_shared_file(self.data_len, len, file.as_fd(), Access::ReadExec)?;
            synchronise_code(self.text().add(at), end - at);
            if let Some((from, start, _)) = from.filter(|_| copied < bytes.len()) {
                let pages = (bytes.len() - copied).next_multiple_of(page_size());
                let at = self.data_len + at + copied;
                self.watch = from.map_code(&self.space, at, start + copied, pages)?;
            }
        }
        Ok(writable)
    }

    /// First byte of the data.
    pub(crate) fn data(&self) -> *mut u8 {
        self.space.as_ptr()
    }

    /// Bytes of data, in whole pages.
    pub(crate) fn data_len(&self) -> usize {
        self.data_len
    }

    /// First byte of the text, where it is executed.
    pub(crate) fn text(&self) -> *mut u8 {
        self.space.as_ptr().wrapping_add(self.data_len)
    }

    /// Bytes of text that there is room for.
    pub(crate) fn text_len(&self) -> usize {
        self.space.len() - self.data_len
    }

    /// What offsets of pieces that are written one after the other must be multiples of.
    pub(crate) fn granularity(&self) -> usize {
        if self.writable.is_some() { 1 } else { page_size() }
    }

    /// An error if this process is a fork of the one that made the memory.
    pub(crate) fn check_owner(&self) -> Result<(), CodeError> {
        let process = std::process::id();
        if process == self.owner { Ok(()) } else { Err(CodeError::Forked { owner: self.owner, process }) }
    }

    /// Puts a piece of code at an offset of the text.
    ///
    /// # Safety
    /// Nobody executes the piece before this returns, nor writes there at the same time. The offset is a multiple of
    /// [`CodeMemory::granularity`].
    pub(crate) unsafe fn write(&self, offset: usize, code: &[u8]) -> Result<(), SysError> {
        assert!(offset <= self.text_len() && code.len() <= self.text_len() - offset, "outside of the code memory");
        match &self.writable {
            Some(view) => {
                // SAFETY: the place is within the view; the caller vouches for others.
                unsafe { ptr::copy_nonoverlapping(code.as_ptr(), view.as_ptr().add(offset), code.len()) };
            }
            None => {
                let (at, len) = (self.data_len + offset, code.len().next_multiple_of(page_size()));
                // SAFETY: the piece has these pages to itself, so that nobody executes them while they are writable.
                unsafe {
                    self.space.protect(at, len, Access::ReadWrite)?;
                    ptr::copy_nonoverlapping(code.as_ptr(), self.space.as_ptr().add(at), code.len());
                    self.space.protect(at, len, Access::ReadExec)?;
                }
            }
        }
        // SAFETY: the place was checked above.
        unsafe { synchronise_code(self.text().add(offset), code.len()) };
        Ok(())
    }
}

impl CodeMemory {
    /// Puts words at an offset of the text, as [`CodeMemory::write`] does. Threads may write the same words to the same
    /// place at the same time if [`CodeMemory::granularity`] is 1.
    ///
    /// # Safety
    /// Nobody executes the words before the first such call returns. The offset is a multiple of 8.
    pub(crate) unsafe fn write_words(&self, offset: usize, words: &[u64]) -> Result<(), SysError> {
        let Some(view) = &self.writable else {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            // SAFETY: the caller's promise; in this mode it lets one thread in at a time.
            return unsafe { self.write(offset, &bytes) };
        };
        let len = size_of_val(words);
        assert!(offset.is_multiple_of(8) && offset <= self.text_len() && len <= self.text_len() - offset);
        for (i, word) in words.iter().enumerate() {
            // SAFETY: the place is within the view and aligned, and all who write it do so atomically.
            let place = unsafe { AtomicU64::from_ptr(view.as_ptr().add(offset + 8 * i).cast()) };
            place.store(*word, Ordering::Relaxed);
        }
        // SAFETY: the place was checked above.
        unsafe { synchronise_code(self.text().add(offset), len) };
        Ok(())
    }
}

/// Code of a whole module, made executable once and never changed.
#[derive(Debug)]
pub(crate) struct FixedCode {
    mapping: Mapping,
}

impl FixedCode {
    /// Copies `text` into fresh pages, then makes them executable.
    pub(crate) fn new(text: &[u8]) -> Result<FixedCode, SysError> {
        let mapping = Mapping::accessible(text.len())?;
        // SAFETY: the new mapping is large enough and nobody uses it yet.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), mapping.as_ptr(), text.len());
            mapping.protect(0, mapping.len(), Access::ReadExec)?;
            synchronise_code(mapping.as_ptr(), text.len());
        }
        Ok(FixedCode { mapping })
    }

    /// First byte.
    pub(crate) fn text(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// Number of bytes, in whole pages.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }
}

/// Makes code that was just written visible to instruction fetch on all processors.
///
/// # Safety
/// The range is mapped.
unsafe fn synchronise_code(start: *mut u8, len: usize) {
    // x86-64 keeps its instruction caches coherent, and nobody has executed the piece before it is published.
    #[cfg(target_arch = "x86_64")]
    let _ = (start, len);
    #[cfg(target_arch = "aarch64")]
    {
        unsafe extern "C" {
            fn __clear_cache(start: *mut u8, end: *mut u8);
        }
        const REGISTER_SYNC_CORE: libc::c_int = 64;
        const SYNC_CORE: libc::c_int = 32;
        // SAFETY: the compiler's support library has the function; the range is mapped. The system calls only make
        // other threads of this process discard instructions they fetched ahead; kernels without them did so anyway
        // or cannot do it.
        unsafe {
            __clear_cache(start, start.add(len));
            static REGISTERED: Once = Once::new();
            REGISTERED.call_once(|| {
                libc::syscall(libc::SYS_membarrier, REGISTER_SYNC_CORE, 0, 0);
            });
            libc::syscall(libc::SYS_membarrier, SYNC_CORE, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mov eax, imm32; ret`
    #[cfg(target_arch = "x86_64")]
    fn constant(n: u8) -> Vec<u8> {
        vec![0xb8, n, 0, 0, 0, 0xc3]
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn code_runs_and_no_page_is_writable_and_executable() {
        for memory in [
            CodeMemory::new(64, 1 << 20, FirstText::default()).unwrap(),
            CodeMemory::reserve(64, 1 << 20, FirstText::default()).unwrap(),
        ] {
            let mut at = 0;
            for n in [7, 9] {
                // SAFETY: the piece is written once, before it is called as the function that it is.
                let result = unsafe {
                    memory.write(at, &constant(n)).unwrap();
                    let f: extern "C" fn() -> u32 = std::mem::transmute(memory.text().add(at));
                    f()
                };
                assert_eq!(result, u32::from(n));
                at = (at + 16).next_multiple_of(memory.granularity());
            }
            assert!(memory.check_owner().is_ok());
            crate::code::tests::assert_no_writable_code();
        }
        let fixed = FixedCode::new(&constant(3)).unwrap();
        // SAFETY: the code is the function that it is called as.
        let f: extern "C" fn() -> u32 = unsafe { std::mem::transmute(fixed.text()) };
        assert_eq!(f(), 3);
        crate::code::tests::assert_no_writable_code();
    }
}
