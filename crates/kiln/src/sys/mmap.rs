//! Address space: reserving it, making parts of it accessible, giving pages back.

use std::ffi::c_void;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

use super::image::Contents;
use super::watch::Watch;
use super::{MemoryImage, SysError};

/// Bytes of a page of the host.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// `len` rounded up to whole pages, or `None` if that does not fit in an address.
pub(crate) fn round_up_to_page(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(page_size())
}

/// Where mappings are placed: most of what 47 bits can address, away from where the system puts programs, libraries, stacks
/// and heaps.
const PLACES: std::ops::Range<usize> = 16 << 40..80 << 40;

/// What places of large mappings are multiples of: pages can be huge ones then.
const LARGE: usize = 2 << 20;

/// Where a new mapping may go, if nothing is there yet: at random, by itself. The system would put one mapping beside the
/// other, a memory beside the view through which code is written; whoever could write beyond one's end would know what comes
/// there.
fn random_place(len: usize) -> *mut c_void {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // A keyed hash of a counter: as good as random numbers to everybody without the key, and without a system call.
    let number = KEYS.get_or_init(RandomState::new).hash_one(COUNT.fetch_add(1, Ordering::Relaxed)) as usize;
    let unit = if len >= LARGE { LARGE } else { page_size() };
    let place = PLACES.start + number % (PLACES.len() / unit) * unit;
    ptr::without_provenance_mut(place)
}

/// A range of address space that belongs to the value and is given back when it is dropped.
///
/// It hands out raw pointers only: who shares the bytes with whom is for the owner to say.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// For parts that are mapped from a file which may become shorter.
    watch: OnceLock<Watch>,
}

// SAFETY: 1. The value is an address and a length, and gives no access to the bytes but through raw pointers.
// 2. The methods are system calls, which any thread may make.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`; methods that change what is mapped are unsafe and name what the caller owes.
unsafe impl Sync for Mapping {}

/// What a part of a mapping may be used for. There is no value for both writing and executing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Nothing: every access faults.
    None,
    /// Reading.
    Read,
    /// Reading and writing.
    ReadWrite,
    /// Reading and executing.
    ReadExec,
}

impl Access {
    fn mprotect(self) -> MprotectFlags {
        match self {
            Access::None => MprotectFlags::empty(),
            Access::Read => MprotectFlags::READ,
            Access::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
            Access::ReadExec => MprotectFlags::READ | MprotectFlags::EXEC,
        }
    }

    fn prot(self) -> ProtFlags {
        match self {
            Access::None => ProtFlags::empty(),
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Access::ReadExec => ProtFlags::READ | ProtFlags::EXEC,
        }
    }
}

impl Mapping {
    /// Reserves `len` bytes (rounded up to pages) of inaccessible address space that costs no memory.
    pub(crate) fn reserve(len: usize) -> Result<Mapping, SysError> {
        Mapping::anonymous(len, Access::None, MapFlags::PRIVATE | MapFlags::NORESERVE, "reserving address space")
    }

    /// Maps `len` bytes (rounded up to pages) of zeroes for reading and writing.
    pub(crate) fn accessible(len: usize) -> Result<Mapping, SysError> {
        Mapping::anonymous(len, Access::ReadWrite, MapFlags::PRIVATE, "allocating memory pages")
    }

    fn anonymous(len: usize, access: Access, flags: MapFlags, what: &'static str) -> Result<Mapping, SysError> {
        let len = round_up_to_page(len).ok_or_else(|| SysError::new(what, rustix::io::Errno::NOMEM))?;
        if len == 0 {
            return Ok(Mapping { start: NonNull::dangling(), len: 0, watch: OnceLock::new() });
        }
        // SAFETY: without a fixed address a new mapping touches no memory that exists.
        let start = unsafe { mm::mmap_anonymous(random_place(len), len, access.prot(), flags) }
            .map_err(|e| SysError::new(what, e))?;
        Ok(Mapping { start: NonNull::new(start.cast()).expect("mmap returns no null"), len, watch: OnceLock::new() })
    }

    /// Maps `len` bytes of a file from its start, shared with whoever else maps it.
    pub(crate) fn shared_file(fd: BorrowedFd<'_>, len: usize, access: Access) -> Result<Mapping, SysError> {
        // SAFETY: without a fixed address a new mapping touches no memory that exists.
        let start = unsafe { mm::mmap(random_place(len), len, access.prot(), MapFlags::SHARED, fd, 0) }
            .map_err(|e| SysError::new("mapping a memory file", e))?;
        Ok(Mapping { start: NonNull::new(start.cast()).expect("mmap returns no null"), len, watch: OnceLock::new() })
    }

    /// Maps `len` bytes of a file from `offset` on, a multiple of the page size, for reading; what is written to the mapping stays here. Bytes behind the
    /// file's end fault.
    pub(crate) fn private_file(fd: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Mapping, SysError> {
        let what = "mapping a file";
        let len = round_up_to_page(len).ok_or_else(|| SysError::new(what, rustix::io::Errno::NOMEM))?;
        // SAFETY: without a fixed address a new mapping touches no memory that exists.
        let start = unsafe { mm::mmap(random_place(len), len, Access::Read.prot(), MapFlags::PRIVATE, fd, offset) }
            .map_err(|e| SysError::new(what, e))?;
        Ok(Mapping { start: NonNull::new(start.cast()).expect("mmap returns no null"), len, watch: OnceLock::new() })
    }

    /// Watches the whole mapping, which is one of a file and only read.
    pub(super) fn watch(&self) -> &Watch {
        self.watch.get_or_init(|| Watch::new(self.start.as_ptr(), self.len, false, None))
    }

    /// Whether it was watched and lost pages.
    pub(super) fn is_damaged(&self) -> bool {
        self.watch.get().is_some_and(Watch::is_damaged)
    }

    /// Address of the first byte. Dangling if the length is 0.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Number of bytes, a multiple of the page size.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether an address lies in the mapping.
    pub(crate) fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start.as_ptr() as usize) < self.len
    }

    /// The address `offset` bytes in. Panics where `offset..offset + len` is not whole pages within the mapping.
    fn part(&self, offset: usize, len: usize) -> *mut c_void {
        let page = page_size();
        assert!(offset.is_multiple_of(page) && len.is_multiple_of(page), "not whole pages: {offset:#x}+{len:#x}");
        assert!(offset <= self.len && len <= self.len - offset, "outside of the mapping: {offset:#x}+{len:#x}");
        self.start.as_ptr().wrapping_add(offset).cast()
    }

    /// Changes what `len` bytes from `offset` may be used for. Both are multiples of the page size.
    ///
    /// # Safety
    /// Nobody uses the part in a way that it no longer allows.
    pub(crate) unsafe fn protect(&self, offset: usize, len: usize, access: Access) -> Result<(), SysError> {
        let start = self.part(offset, len);
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the part is ours; the caller vouches for those who use it.
        unsafe { mm::mprotect(start, len, access.mprotect()) }.map_err(|e| SysError::new("changing page protection", e))
    }

    /// Makes `len` bytes from `offset` readable and writable; they are zero if they were never touched.
    ///
    /// # Safety
    /// Both are multiples of the page size; nobody relies on the part being inaccessible or executable.
    pub(crate) unsafe fn make_accessible(&self, offset: usize, len: usize) -> Result<(), SysError> {
        // SAFETY: the caller's promise.
        unsafe { self.protect(offset, len, Access::ReadWrite) }
    }

    /// Makes `len` bytes from `offset` inaccessible. Their contents stay.
    ///
    /// # Safety
    /// Both are multiples of the page size; nobody accesses the part and expects more than a fault.
    pub(crate) unsafe fn make_inaccessible(&self, offset: usize, len: usize) -> Result<(), SysError> {
        // SAFETY: the caller's promise.
        unsafe { self.protect(offset, len, Access::None) }
    }

    /// Gives the pages of `len` bytes from `offset` back. They read as zero again, or as the image that is mapped there.
    ///
    /// # Safety
    /// Both are multiples of the page size; nobody has references to the bytes.
    pub(crate) unsafe fn decommit(&self, offset: usize, len: usize) -> Result<(), SysError> {
        let start = self.part(offset, len);
        if len == 0 {
            return Ok(());
        }
        // SAFETY: the part is ours and the caller says that nobody relies on its contents.
        unsafe { mm::madvise(start, len, Advice::LinuxDontNeed) }.map_err(|e| SysError::new("giving pages back", e))
    }

    /// Asks the system for huge pages where `len` bytes from `offset` are or will be accessible. Both are multiples of the page
    /// size. Nothing depends on whether it has any.
    pub(crate) fn prefer_huge_pages(&self, offset: usize, len: usize) {
        let start = self.part(offset, len);
        if len == 0 {
            return;
        }
        // SAFETY: the part is ours; what it holds and who may access it stays.
        if let Err(error) = unsafe { mm::madvise(start, len, Advice::LinuxHugepage) } {
            tracing::debug!(%error, "no huge pages");
        }
    }

    /// Maps `image` copy-on-write at `offset`, for reading and writing.
    ///
    /// # Safety
    /// `offset` is a multiple of the page size and the image fits; nobody has references to what was there.
    pub(crate) unsafe fn map_image(&self, offset: usize, image: &MemoryImage) -> Result<(), SysError> {
        let (fd, runs) = match image.contents() {
            Contents::Pages(fd, runs) => (fd, runs),
            Contents::Copies(segments) => {
                // SAFETY: the caller's promise; the segments are within the image.
                unsafe {
                    self.make_accessible(offset, image.len())?;
                    for (at, bytes) in segments {
                        let to = self.as_ptr().add(offset + at);
                        ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                    }
                }
                return Ok(());
            }
        };
        if runs.iter().map(|run| run.len).sum::<usize>() < image.len() {
            // SAFETY: the caller's promise.
            unsafe { self.make_accessible(offset, image.len())? };
        }
        if let Some(file) = image.watch() {
            let start = self.part(offset, image.len()).cast();
            self.watch.get_or_init(|| Watch::new(start, image.len(), true, Some(file)));
        }
        for run in runs {
            let start = self.part(offset + run.offset, run.len);
            let (prot, flags) = (Access::ReadWrite.prot(), MapFlags::PRIVATE | MapFlags::FIXED);
            // SAFETY: the part is ours and the caller says that nobody relies on what is mapped there.
            unsafe { mm::mmap(start, run.len, prot, flags, fd, run.at) }
                .map_err(|e| SysError::new("mapping a memory image", e))?;
        }
        Ok(())
    }

    /// Maps fresh pages for `len` bytes at `offset`, and puts `bytes` at their start.
    ///
    /// # Safety
    /// Both are multiples of the page size; nobody has references to what was there.
    pub(super) unsafe fn replace(
        &self,
        offset: usize,
        len: usize,
        bytes: &[u8],
        access: Access,
    ) -> Result<(), SysError> {
        assert!(bytes.len() <= len);
        let start = self.part(offset, len);
        let (prot, flags) = (Access::ReadWrite.prot(), MapFlags::PRIVATE | MapFlags::FIXED);
        // SAFETY: the part is ours and the caller says that nobody relies on what is mapped there; the new pages are large
        // enough and nobody else knows of them.
        unsafe {
            mm::mmap_anonymous(start, len, prot, flags).map_err(|e| SysError::new("allocating memory pages", e))?;
            ptr::copy_nonoverlapping(bytes.as_ptr(), start.cast(), bytes.len());
            self.protect(offset, len, access)
        }
    }

    /// Maps `len` bytes of a file, from a place in it, at `offset`.
    ///
    /// # Safety
    /// All are multiples of the page size; nobody has references to what was there.
    pub(super) unsafe fn map_private_file(
        &self,
        offset: usize,
        len: usize,
        (fd, place): (BorrowedFd<'_>, u64),
        access: Access,
    ) -> Result<(), SysError> {
        let start = self.part(offset, len);
        // SAFETY: the part is ours and the caller says that nobody relies on what is mapped there.
        unsafe { mm::mmap(start, len, access.prot(), MapFlags::PRIVATE | MapFlags::FIXED, fd, place) }
            .map_err(|e| SysError::new("mapping a file", e))?;
        Ok(())
    }

    /// Maps `len` bytes of a file from its start at `offset`, shared with whoever else maps it.
    ///
    /// # Safety
    /// Both are multiples of the page size; nobody has references to what was there.
    pub(crate) unsafe fn map_shared_file(
        &self,
        offset: usize,
        len: usize,
        fd: BorrowedFd<'_>,
        access: Access,
    ) -> Result<(), SysError> {
        let start = self.part(offset, len);
        // SAFETY: the part is ours and the caller says that nobody relies on what is mapped there.
        unsafe { mm::mmap(start, len, access.prot(), MapFlags::SHARED | MapFlags::FIXED, fd, 0) }
            .map_err(|e| SysError::new("mapping a memory file", e))?;
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.watch.take());
        if self.len > 0 {
            // SAFETY: the range is ours, and the owner drops it only when nobody uses it any more.
            if let Err(error) = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) } {
                tracing::error!(%error, "unmapping {:#x} bytes", self.len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_space_becomes_memory_and_is_given_back() {
        let page = page_size();
        let mapping = Mapping::reserve(4 * page).unwrap();
        // SAFETY: the test owns the mapping and keeps no references.
        unsafe {
            mapping.make_accessible(page, page).unwrap();
            let byte = mapping.as_ptr().add(page);
            assert_eq!(byte.read(), 0);
            byte.write(7);
            mapping.decommit(page, page).unwrap();
            assert_eq!(byte.read(), 0);
        }
        assert_eq!(Mapping::reserve(0).unwrap().len(), 0);
        assert!(Mapping::reserve(usize::MAX).is_err());
        assert!(Mapping::reserve(1 << 60).is_err());
    }

    #[test]
    fn neighbours_are_strangers() {
        let mappings: Vec<_> = (0..64).map(|_| Mapping::reserve(4 << 20).unwrap()).collect();
        let mut places: Vec<_> = mappings.iter().map(|mapping| mapping.as_ptr() as usize).collect();
        places.sort_unstable();
        // One in 16,000 runs has two within a gigabyte.
        let close = places.windows(2).filter(|pair| pair[1] - pair[0] < 1 << 30).count();
        assert!(close <= 2, "{places:x?}");
        assert!(mappings.iter().all(|mapping| (mapping.as_ptr() as usize).is_multiple_of(LARGE)));
    }

    #[test]
    fn images_are_private_to_each_mapping_and_come_back_after_a_reset() {
        let page = page_size();
        let segments: [(u64, &[u8]); 2] = [(5, b"kiln"), (page as u64 + 1, b"x")];
        let image = MemoryImage::new(page + 2, segments.into_iter()).unwrap();
        assert_eq!(image.len(), 2 * page);
        let (a, b) = (Mapping::reserve(4 * page).unwrap(), Mapping::reserve(4 * page).unwrap());
        // SAFETY: the test owns the mappings and keeps no references.
        unsafe {
            a.map_image(page, &image).unwrap();
            b.map_image(0, &image).unwrap();
            let at = a.as_ptr().add(page + 5);
            assert_eq!(std::slice::from_raw_parts(at, 4), b"kiln");
            at.write(b'K');
            assert_eq!(b.as_ptr().add(5).read(), b'k');
            a.decommit(page, 2 * page).unwrap();
            assert_eq!(at.read(), b'k');
            assert_eq!(b.as_ptr().add(page + 1).read(), b'x');
        }
        let outside: [(u64, &[u8]); 1] = [(u64::from(u32::MAX), b"x")];
        assert!(MemoryImage::new(page, outside.into_iter()).is_err());
    }
}
