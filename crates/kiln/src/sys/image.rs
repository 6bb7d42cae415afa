//! First contents of a linear memory, built once and mapped copy-on-write into every instance.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::file::{MappedFile, check_file_size};
use super::watch::Watch;
use super::{SysError, page_size, round_up_to_page};

/// The bytes with which a memory starts. Parts that no segment covers cost nothing.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    source: Source,
    len: usize,
}

#[derive(Debug)]
enum Source {
    /// A sealed memory file.
    Own(OwnedFd),
    /// An artifact.
    Shared(Arc<MappedFile>, Box<[ImageRun]>),
    /// Copies of the segments, in order, with their offsets: where no file may be large enough.
    Copies(Box<[(usize, Box<[u8]>)]>),
}

/// What a memory's first contents are made from.
pub(super) enum Contents<'a> {
    /// Pages of a file, ascending. The rest is zero.
    Pages(BorrowedFd<'a>, SmallVec<[ImageRun; 1]>),
    /// Bytes to be copied to these offsets, in order. The rest is zero.
    Copies(&'a [(usize, Box<[u8]>)]),
}

/// Pages of an image. All numbers are multiples of the page size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageRun {
    /// Offset in the memory.
    pub(crate) offset: usize,
    /// Offset in the file.
    pub(crate) at: u64,
    /// Bytes.
    pub(crate) len: usize,
}

/// Gathers small segments that lie close together: there may be a hundred thousand.
struct Writer<'a> {
    fd: &'a OwnedFd,
    /// Where in the file the bytes belong that are not written yet.
    start: u64,
    bytes: Vec<u8>,
    /// End of all that was added so far: behind it are zeroes.
    end: u64,
}

/// Most bytes that are gathered, and the largest gap between segments that is filled.
const GATHERED: usize = 128 << 10;
const GAP: u64 = 256;

impl Writer<'_> {
    fn add(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.start + self.bytes.len() as u64;
        let gap = offset.checked_sub(end).filter(|gap| *gap == 0 || *gap <= GAP && self.end <= end);
        match gap {
            Some(gap) if self.bytes.len() + bytes.len() <= GATHERED => {
                self.bytes.resize(self.bytes.len() + gap as usize, 0);
            }
            _ => {
                self.flush()?;
                self.start = offset;
            }
        }
        self.end = self.end.max(offset + bytes.len() as u64);
        if bytes.len() > GATHERED {
            return self.write(bytes);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.write(&bytes)?;
        bytes.clear();
        self.bytes = bytes;
        Ok(())
    }

    /// Writes bytes where those that are not written yet would belong; there are none.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut done = 0;
        while done < bytes.len() {
            done += rustix::io::pwrite(self.fd, &bytes[done..], self.start + done as u64)?;
        }
        self.start += bytes.len() as u64;
        Ok(())
    }
}

impl MemoryImage {
    /// An image of `len` bytes (rounded up to pages): zeroes, and then the segments, in order, at their offsets.
    ///
    /// It counts as a file to the system. Where files may not be as large (`ulimit -f`), each memory gets copies of the
    /// segments, which takes longer.
    ///
    /// Fails if the system does, or if a segment does not fit.
    pub(crate) fn new<'a>(
        len: usize,
        segments: impl Iterator<Item = (u64, &'a [u8])>,
    ) -> Result<MemoryImage, SysError> {
        let fail = |e: Errno| SysError::new("building a memory image", e);
        let len = round_up_to_page(len).ok_or_else(|| fail(Errno::NOMEM))?;
        let fits = |(offset, bytes): (u64, &'a [u8])| match offset.checked_add(bytes.len() as u64) {
            Some(end) if end <= len as u64 => Ok((offset, bytes)),
            _ => Err(fail(Errno::FBIG)),
        };
        let segments = segments.map(fits);
        if check_file_size(len).is_err() {
            let copies = segments.map(|segment| segment.map(|(offset, bytes)| (offset as usize, bytes.into())));
            return Ok(MemoryImage { source: Source::Copies(copies.collect::<Result<_, _>>()?), len });
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know the flag that promises never to execute the file.
        let fd = match rustix::fs::memfd_create("kiln-memory", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create("kiln-memory", flags),
            other => other,
        }
        .map_err(fail)?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(fail)?;
        let mut writer = Writer { fd: &fd, start: 0, bytes: Vec::new(), end: 0 };
        for segment in segments {
            let (offset, bytes) = segment?;
            writer.add(offset, bytes).map_err(fail)?;
        }
        writer.flush().map_err(fail)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).map_err(fail)?;
        Ok(MemoryImage { source: Source::Own(fd), len })
    }

    /// An image of `len` bytes that is already among a file's mapped bytes: zeroes but for `runs`, which ascend. `None` if they are not
    /// whole pages of this host, or not within the image or the file.
    pub(crate) fn of_file(file: &Arc<MappedFile>, len: usize, runs: Box<[ImageRun]>) -> Option<MemoryImage> {
        let page = page_size();
        let mut free = 0;
        let mut runs = runs;
        for run in &mut runs {
            let aligned =
                [run.offset, run.len, run.at as usize, file.start() as usize].iter().all(|n| n.is_multiple_of(page));
            let end = run.offset.checked_add(run.len)?;
            let in_file = run.at.checked_add(run.len as u64)? <= file.bytes().len() as u64;
            if !aligned || run.offset < free || end > len || !in_file || run.len == 0 {
                return None;
            }
            free = end;
            run.at += file.start();
        }
        len.is_multiple_of(page).then(|| MemoryImage { source: Source::Shared(file.clone(), runs), len })
    }

    /// Number of bytes, a multiple of the page size.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What it is made of.
    pub(super) fn contents(&self) -> Contents<'_> {
        match &self.source {
            Source::Own(fd) => {
                let whole = (self.len > 0).then_some(ImageRun { offset: 0, at: 0, len: self.len });
                Contents::Pages(fd.as_fd(), whole.into_iter().collect())
            }
            Source::Shared(file, runs) => Contents::Pages(file.fd(), SmallVec::from_slice(runs)),
            Source::Copies(copies) => Contents::Copies(copies),
        }
    }

    /// Whether pages that are given back read as the image again.
    pub(crate) fn comes_back(&self) -> bool {
        !matches!(self.source, Source::Copies(_))
    }

    /// Who watches the file, if it may become shorter.
    pub(super) fn watch(&self) -> Option<&Watch> {
        match &self.source {
            Source::Own(_) | Source::Copies(_) => None,
            Source::Shared(file, _) => file.watch(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Segments of all sizes, some of them in front of others or over them, are as if they were written one by one.
    #[test]
    fn later_segments_win() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (seed >> 33) % below
        };
        for _ in 0..50 {
            let mut expected = vec![0; 1 << 20];
            let (mut segments, mut at) = (Vec::new(), 0);
            for i in 0..200_u8 {
                let len = if random(20) == 0 { random(200_000) } else { random(600) };
                at = if random(8) == 0 { random(500_000) } else { (at + random(400)).min(600_000) };
                segments.push((at, vec![i + 1; len as usize]));
                expected[at as usize..(at + len) as usize].fill(i + 1);
                at += len;
            }
            let image = MemoryImage::new(expected.len(), segments.iter().map(|(at, bytes)| (*at, &bytes[..]))).unwrap();
            let Source::Own(fd) = image.source else { panic!("it was built") };
            let mut found = vec![0; expected.len()];
            std::fs::File::from(fd).read_exact_at(&mut found, 0).unwrap();
            assert!(found == expected);
        }
    }
}
