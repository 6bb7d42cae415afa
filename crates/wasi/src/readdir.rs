//! Directory entries, and the cookies that name places between them.

use std::fs::File;
use std::mem::MaybeUninit;

use rustix::fs::{AtFlags, FileType, RawDir, RawDirEntry, SeekFrom};

use crate::Errno;
use crate::abi::{Dirent, Filetype};
use crate::limits::{DIR_COOKIES, READDIR_BYTES};

/// Marks a cookie that is the host's position itself, which is never negative.
const HOST: u64 = 1 << 63;

/// What was listed of an open directory: the host's position behind each entry, in the order in which
/// they were listed last.
///
/// Cookie `n` names the place behind the `n`-th entry. The host's own positions would not do: those of
/// ext4 are hashes of 63 bits, and wasi-libc's `telldir` and `seekdir` pass cookies as `long`, which
/// has 32. Counting alone would not do either: a guest that deletes while it lists would miss entries.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    positions: Vec<u64>,
}

/// What one reading of a directory gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Listed {
    /// Bytes of entries.
    pub(crate) used: usize,
    /// Bytes of entries that came whole, and the cookie of the place after the last one of those.
    pub(crate) used_by_whole: usize,
    pub(crate) next: Option<u64>,
}

impl Listing {
    /// Fills `out` with the entries of `folder` behind `cookie` (0 is the start), the last one cut
    /// where `out` ends. Entries before a cookie that this descriptor has not
    /// come to yet are counted first.
    ///
    /// # Errors
    /// `inval` for cookies that are never given out, or what the host reports.
    pub(crate) fn read(&mut self, folder: &File, out: &mut [u8], cookie: u64) -> Result<Listed, Errno> {
        let (mut place, position) = self.find(cookie)?;
        rustix::fs::seek(folder, SeekFrom::Start(position))?;
        let mut buffer = [MaybeUninit::uninit(); READDIR_BYTES];
        // An entry takes about as much there as here: fetching more would be fetched again next time.
        let room = out.len().clamp(512, READDIR_BYTES);
        let mut entries = RawDir::new(folder, &mut buffer[..room]);
        let mut listed = Listed::default();
        while listed.used < out.len() {
            let entry = match entries.next() {
                Some(Ok(entry)) => entry,
                // A directory that was removed while open: POSIX has it empty.
                Some(Err(rustix::io::Errno::NOENT)) | None => break,
                Some(Err(errno)) => return Err(errno.into()),
            };
            let wanted = place.is_none_or(|index| index as u64 >= cookie);
            let position = entry.next_entry_cookie();
            place = place.and_then(|index| self.note(index, position));
            if wanted {
                let next = place.map_or(position | HOST, |index| index as u64);
                let put = put(folder, &entry, next, &mut out[listed.used..]);
                listed.used += put;
                if put == Dirent::SIZE + entry.file_name().to_bytes().len() {
                    (listed.used_by_whole, listed.next) = (listed.used, Some(next));
                }
            }
        }
        Ok(listed)
    }

    /// Where to start for a cookie: how many entries come before, unless they are not counted any
    /// more, and the host's position.
    fn find(&self, cookie: u64) -> Result<(Option<usize>, u64), Errno> {
        if cookie & HOST != 0 {
            return Ok((None, cookie & !HOST));
        }
        if cookie > DIR_COOKIES as u64 {
            return Err(Errno::Inval);
        }
        let known = self.positions.len().min(cookie as usize);
        let position = known.checked_sub(1).map_or(0, |last| self.positions[last]);
        Ok((Some(known), position))
    }

    /// Notes the host's position behind the entry that `index` others precede; returns how many precede
    /// the next one, or `None` where the count ends.
    fn note(&mut self, index: usize, position: u64) -> Option<usize> {
        match self.positions.get_mut(index) {
            Some(known) => *known = position,
            None if index < DIR_COOKIES => self.positions.push(position),
            None => return None,
        }
        Some(index + 1)
    }
}

/// Writes an entry, as much of it as `out` takes; returns how many bytes.
fn put(folder: &File, entry: &RawDirEntry<'_>, next: u64, out: &mut [u8]) -> usize {
    let mut filetype = entry.file_type();
    if filetype == FileType::Unknown {
        // Some file systems do not keep the type beside the name.
        filetype = match rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(_) => filetype,
        };
    }
    let name = entry.file_name().to_bytes();
    let filetype = Filetype::from(filetype) as u8;
    let head = Dirent { next, ino: entry.ino(), name_len: name.len() as u32, filetype };
    let mut used = 0;
    for bytes in [&head.to_bytes()[..], name] {
        let len = bytes.len().min(out.len() - used);
        out[used..used + len].copy_from_slice(&bytes[..len]);
        used += len;
    }
    used
}
