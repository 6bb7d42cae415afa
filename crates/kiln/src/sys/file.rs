//! Files that are mapped as a whole, parts of them to be executed.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{Errno, FdFlags};

use super::mmap::{Access, Mapping};
use super::watch::Watch;
use super::{SysError, page_size};

/// Has programs that this process starts from now on get none of the files that it has open, but the standard ones: pipes and
/// locks that were handed to this process would otherwise stay open for as long as such a program lives.
///
/// # Errors
/// The system does not say which files are open.
pub fn close_files_on_exec() -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if fd <= 2 {
            continue;
        }
        // SAFETY: the number is used for one call, which neither reads, writes nor closes. What is closed meanwhile makes it
        // fail; what is opened in its place is to be closed as well.
        match rustix::io::fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// An error if files may not be as large as `len` bytes: to make one, even one in memory, would end the process with
/// SIGXFSZ.
pub(crate) fn check_file_size(len: usize) -> Result<(), Errno> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if limit.is_some_and(|max| max < len as u64) { Err(Errno::FBIG) } else { Ok(()) }
}

/// Has what would exceed the limit of file sizes (`ulimit -f`) fail with an error, for the rest of the life of the process,
/// which would otherwise end there by SIGXFSZ. For programs: a library has no business to decide that.
pub fn survive_file_size_limit() {
    // SAFETY: nothing is called when the signal comes.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Longer than a tick of any file system's clock: two changes within one tick have the same time.
const TICK: Duration = Duration::from_millis(20);

/// Whether a file was last changed so long ago that the next change has another time.
pub(crate) fn is_settled(metadata: &Metadata) -> bool {
    let changed = Duration::new(metadata.ctime().max(0) as u64, metadata.ctime_nsec().clamp(0, 999_999_999) as u32);
    let changed = SystemTime::UNIX_EPOCH.checked_add(changed);
    changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age >= TICK)
}

/// File systems of this machine itself, which note each write in a file's times before anybody sees what was written.
const LOCAL_FILE_SYSTEMS: [u64; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlayfs
];

/// Whether the times of a file tell of each write to it. Those of files on other machines do so late.
pub(crate) fn notes_changes(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| LOCAL_FILE_SYSTEMS.contains(&(found.f_type as u64)))
}

/// A file's bytes, mapped privately.
#[derive(Debug)]
pub(crate) struct MappedFile {
    mapping: Mapping,
    len: usize,
    fd: File,
    /// Where in the file the bytes begin.
    start: u64,
    /// Nobody can change the file.
    sealed: bool,
    /// Some pages are copies, not the file's.
    detached: AtomicBool,
}

impl MappedFile {
    /// Maps `len` bytes of a file from `start` on, a multiple of the page size. Nobody is expected to change them; what is no longer there reads as zeroes, provided
    /// that signal handlers are installed.
    pub(crate) fn map(fd: OwnedFd, start: u64, len: usize) -> Result<MappedFile, SysError> {
        let mapping = Mapping::private_file(fd.as_fd(), start, len)?;
        mapping.watch();
        Ok(MappedFile { mapping, len, fd: fd.into(), start, sealed: false, detached: AtomicBool::new(false) })
    }

    /// Maps a copy that nobody can change.
    pub(crate) fn sealed_copy(bytes: &[u8]) -> Result<MappedFile, SysError> {
        MappedFile::sealed(bytes.len(), |fd| {
            let mut rest = bytes;
            while !rest.is_empty() {
                rest = &rest[rustix::io::write(fd, rest)?..];
            }
            Ok(())
        })
    }

    /// The same of `len` bytes of a file from `start` on; what is no longer there is zeroes.
    pub(crate) fn sealed_copy_of(file: &File, start: u64, len: usize) -> Result<MappedFile, SysError> {
        MappedFile::sealed(len, |fd| {
            let (mut from, end) = (start, start.saturating_add(len as u64));
            while from < end {
                let most = usize::try_from(end - from).unwrap_or(usize::MAX);
                if rustix::fs::sendfile(fd, file, Some(&mut from), most)? == 0 {
                    return rustix::fs::ftruncate(fd, len as u64);
                }
            }
            Ok(())
        })
    }

    /// Maps a file in memory that `write` fills with `len` bytes, after which nobody can change it.
    fn sealed(len: usize, write: impl FnOnce(&OwnedFd) -> Result<(), Errno>) -> Result<MappedFile, SysError> {
        let fail = |e: Errno| SysError::new("copying a file into memory", e);
        check_file_size(len).map_err(|e| {
            SysError::new(
                "copying a file into memory, which counts as a file and exceeds the limit of file sizes (`ulimit -f`)",
                e,
            )
        })?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know the flag, and make every file executable.
        let fd = match rustix::fs::memfd_create("kiln-artifact", flags | MemfdFlags::EXEC) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("kiln-artifact", flags),
            other => other,
        }
        .map_err(fail)?;
        write(&fd).map_err(fail)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(fail)?;
        let mapping = Mapping::private_file(fd.as_fd(), 0, len)?;
        Ok(MappedFile { mapping, len, fd: fd.into(), start: 0, sealed: true, detached: AtomicBool::new(false) })
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has so many bytes and nobody in this process writes to it. A file that is not sealed belongs
        // to the user, whose own changes to it are not defended against.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr(), self.len) }
    }

    /// Lets the system have the memory of the pages that are wholly in a range. Who reads them again finds what is in the
    /// file.
    pub(crate) fn release(&self, range: Range<u32>) {
        let page = page_size();
        let whole = |n: u32| usize::try_from(n).unwrap_or(usize::MAX).min(self.len);
        let (start, end) = (whole(range.start).next_multiple_of(page), whole(range.end) / page * page);
        if start < end && !self.detached.load(Ordering::Relaxed) {
            // SAFETY: the mapping is private, and nobody has written to it: what is read again is in the file.
            let released = unsafe { self.mapping.decommit(start, end - start) };
            released.unwrap_or_else(|error| tracing::debug!(%error, "keeping the pages of a file"));
        }
    }

    /// Makes a range, whole pages, executable.
    pub(crate) fn make_executable(&self, range: Range<usize>) -> Result<(), SysError> {
        let fail = || SysError::new("making code executable", Errno::INVAL);
        let page = page_size();
        if !range.start.is_multiple_of(page) || range.start > range.end || range.end > self.mapping.len() {
            return Err(fail());
        }
        let len = (range.end - range.start).next_multiple_of(page);
        // SAFETY: the pages stay readable, which is all that anybody relies on.
        unsafe { self.mapping.protect(range.start, len, Access::ReadExec) }
    }

    /// Replaces the pages that a range lies in by copies, which stay where they are when the file becomes shorter. They
    /// can be made executable afterwards.
    ///
    /// # Safety
    /// Nobody has references to these bytes, nor executes them.
    pub(crate) unsafe fn detach(&self, range: Range<usize>) -> Result<(), SysError> {
        let page = page_size();
        let (start, end) = (range.start / page * page, range.end.next_multiple_of(page).min(self.mapping.len()));
        if self.sealed || start >= end {
            return Ok(());
        }
        let copy = self.bytes().get(start..end.min(self.len)).unwrap_or_default().to_vec();
        self.detached.store(true, Ordering::Relaxed);
        // SAFETY: the pages are whole, and the caller vouches for others.
        unsafe { self.mapping.replace(start, end - start, &copy, Access::Read) }
    }

    /// Whether what is at an offset begins a page of the file.
    pub(crate) fn has_pages_at(&self, offset: usize) -> bool {
        (self.start + offset as u64).is_multiple_of(page_size() as u64)
    }

    /// Maps `len` bytes of the file, from `from` on, for execution into `space` at `at`. Who watches them, if the file may
    /// become shorter; to be dropped before the space is given back.
    ///
    /// # Safety
    /// `at`, `len` and the place in the file are multiples of the page size; nobody has references to what was there.
    pub(crate) unsafe fn map_code(
        &self,
        space: &Mapping,
        at: usize,
        from: usize,
        len: usize,
    ) -> Result<Option<Watch>, SysError> {
        // SAFETY: the caller's.
        unsafe { space.map_private_file(at, len, (self.fd(), self.start + from as u64), Access::ReadExec)? };
        Ok(self.watch().map(|file| Watch::new(space.as_ptr().wrapping_add(at), len, false, Some(file))))
    }

    /// Whether bytes were missing when somebody needed them.
    pub(crate) fn is_damaged(&self) -> bool {
        self.mapping.is_damaged()
    }

    /// Who watches the file, if it may become shorter.
    pub(super) fn watch(&self) -> Option<&Watch> {
        (!self.sealed).then(|| self.mapping.watch())
    }

    /// Where in the file the bytes begin.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The file.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_no_files() {
        // As it is handed to a process by the one that started it.
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        assert!(!rustix::io::fcntl_getfd(&reader).unwrap().contains(FdFlags::CLOEXEC));
        close_files_on_exec().unwrap();
        assert!(rustix::io::fcntl_getfd(&reader).unwrap().contains(FdFlags::CLOEXEC));
    }
}
