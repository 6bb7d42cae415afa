//! Operations on open descriptors.

use std::num::NonZeroU64;

use rustix::event::PollFlags;
use rustix::fs::{Advice, FallocateFlags, SeekFrom, Stat, Timestamps};
use rustix::io::retry_on_intr;
use rustix::time::Timespec;

use crate::abi::{Fdstat, Filestat, FilestatUnstable, Filetype, Prestat, fdflags, flags_u16, fstflags, rights};
use crate::descriptor::{Descriptor, Node, Readiness, send, socket_type};
use crate::pause::GoOn;
use crate::process::timespec;
use crate::{Errno, GuestMemory, WasiCtx};

impl WasiCtx {
    /// `fd_read`: one `readv(2)` into the guest's pieces; writes the number of bytes.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `fault`, `isdir`, `again`, or what the host reports.
    pub fn fd_read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        nread: u32,
    ) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_READ)?;
        memory.check(nread, 4)?;
        let ready = file.ready(memory, PollFlags::IN)?;
        let read = memory.scatter(iovs, iovs_len, |pieces| file.read(pieces));
        memory.moved(nread, read, if ready == Readiness::Now { GoOn::Never } else { GoOn::WhileWhole })
    }

    /// `fd_write`: one `writev(2)` of the guest's pieces; writes the number of bytes.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `fault`, `pipe`, `again`, or what the host reports.
    pub fn fd_write(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        nwritten: u32,
    ) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_WRITE)?;
        memory.check(nwritten, 4)?;
        let written = file.write_ready(memory, iovs, iovs_len, |file, pieces, flags| match file.is_socket() {
            true => send(file.fd().ok_or(Errno::Badf)?, pieces, flags),
            false => file.write(pieces),
        });
        memory.moved(nwritten, written, GoOn::ToTheEnd)
    }

    /// `fd_pread`: one `preadv(2)` at `offset`, which leaves the position as it is.
    ///
    /// # Errors
    /// As [`Self::fd_read`]; `spipe` on what has no position; `inval` for offsets from 2⁶³.
    pub fn fd_pread(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        nread: u32,
    ) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_READ | rights::FD_SEEK)?;
        memory.check(nread, 4)?;
        let fd = file.fd().ok_or(Errno::Spipe)?;
        let offset = offset.saturating_add(memory.done() as u64);
        let read = memory.scatter(iovs, iovs_len, |pieces| match pieces {
            [piece] => Ok(retry_on_intr(|| rustix::io::pread(fd, &mut **piece, offset))?),
            pieces => Ok(retry_on_intr(|| rustix::io::preadv(fd, pieces, offset))?),
        });
        memory.moved(nread, read, GoOn::WhileWhole)
    }

    /// `fd_pwrite`: one `pwritev(2)` at `offset`, which leaves the position as it is. As on Linux, a
    /// file opened for appending is appended to whatever the offset.
    ///
    /// # Errors
    /// As [`Self::fd_write`]; `spipe` on what has no position; `inval` for offsets from 2⁶³.
    pub fn fd_pwrite(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        nwritten: u32,
    ) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_WRITE | rights::FD_SEEK)?;
        memory.check(nwritten, 4)?;
        let fd = file.fd().ok_or(Errno::Spipe)?;
        let offset = offset.saturating_add(memory.done() as u64);
        let written = memory.gather(iovs, iovs_len, |pieces| match pieces {
            [piece] => Ok(retry_on_intr(|| rustix::io::pwrite(fd, piece, offset))?),
            pieces => Ok(retry_on_intr(|| rustix::io::pwritev(fd, pieces, offset))?),
        });
        memory.moved(nwritten, written, GoOn::ToTheEnd)
    }

    /// `fd_seek`: moves the position, relative to the start (`whence` 0), the position (1) or the end
    /// (2); writes the new one.
    ///
    /// # Errors
    /// `badf`, `notcapable` (also on directories), `spipe`, `inval`, `fault`.
    pub fn fd_seek(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        offset: i64,
        whence: u32,
        newoffset: u32,
    ) -> Result<(), Errno> {
        let target = match whence {
            0 => SeekFrom::Start(u64::try_from(offset).map_err(|_| Errno::Inval)?),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            _ => return Err(Errno::Inval),
        };
        // Asking where one is takes less than going elsewhere.
        let needed = if whence == 1 && offset == 0 { rights::FD_TELL } else { rights::FD_SEEK };
        self.seek(memory, fd, target, needed, newoffset)
    }

    /// `fd_seek` of `wasi_unstable`, which numbers `whence` differently: 0 is the position, 1 the end, 2 the start.
    ///
    /// # Errors
    /// As [`Self::fd_seek`].
    pub fn fd_seek_unstable(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        offset: i64,
        whence: u32,
        newoffset: u32,
    ) -> Result<(), Errno> {
        let whence = match whence {
            0 => 1,
            1 => 2,
            2 => 0,
            _ => return Err(Errno::Inval),
        };
        self.fd_seek(memory, fd, offset, whence, newoffset)
    }

    /// `fd_tell`: writes the position.
    ///
    /// # Errors
    /// As [`Self::fd_seek`].
    pub fn fd_tell(&mut self, memory: &mut GuestMemory<'_>, fd: u32, offset: u32) -> Result<(), Errno> {
        self.seek(memory, fd, SeekFrom::Current(0), rights::FD_TELL, offset)
    }

    fn seek(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        target: SeekFrom,
        needed: u64,
        result: u32,
    ) -> Result<(), Errno> {
        let file = self.fds.get_mut(fd)?;
        // The kernel would seek in a directory; knowing the type takes that right away.
        file.filetype()?;
        // Whoever may move the position may also ask for it.
        if file.rights & rights::FD_SEEK == 0 {
            file.require(needed)?;
        }
        memory.check(result, 8)?;
        let position = rustix::fs::seek(file.fd().ok_or(Errno::Spipe)?, target)?;
        memory.write_u64(result, position)
    }

    /// `fd_close`.
    ///
    /// # Errors
    /// `badf`.
    pub fn fd_close(&mut self, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Errno> {
        self.fds.remove(fd).map(drop)
    }

    /// `fd_renumber`: moves `from` to the number `to`, closing what was there.
    ///
    /// # Errors
    /// `badf` where one of them is not open.
    pub fn fd_renumber(&mut self, _memory: &mut GuestMemory<'_>, from: u32, to: u32) -> Result<(), Errno> {
        self.fds.renumber(from, to)
    }

    /// `fd_fdstat_get`: writes type, flags and rights.
    ///
    /// # Errors
    /// `badf`, `fault`.
    pub fn fd_fdstat_get(&mut self, memory: &mut GuestMemory<'_>, fd: u32, stat: u32) -> Result<(), Errno> {
        let file = self.fds.get_mut(fd)?;
        let filetype = file.filetype()? as u8;
        let stat_of = Fdstat { filetype, flags: file.fdflags()?, rights: file.rights, inheriting: file.inheriting };
        memory.write(stat, &stat_of.to_bytes())
    }

    /// `fd_fdstat_set_flags`. Linux can change `append` and `nonblock`.
    ///
    /// # Errors
    /// `badf`, `notcapable`; `notsup` for other changes, for `append` on the standard streams of
    /// this process, and for its end on all standard streams; `inval` for unknown flags.
    pub fn fd_fdstat_set_flags(&mut self, _memory: &mut GuestMemory<'_>, fd: u32, flags: u32) -> Result<(), Errno> {
        let flags = flags_u16(flags, fdflags::ALL)?;
        self.fds.with(fd, rights::FD_FDSTAT_SET_FLAGS)?.set_fdflags(flags)
    }

    /// `fd_fdstat_set_rights`: takes rights away.
    ///
    /// # Errors
    /// `badf`; `notcapable` for rights that the descriptor has not.
    pub fn fd_fdstat_set_rights(
        &mut self,
        _memory: &mut GuestMemory<'_>,
        fd: u32,
        base: u64,
        inheriting: u64,
    ) -> Result<(), Errno> {
        let file = self.fds.get_mut(fd)?;
        file.filetype()?;
        if base & !file.rights != 0 || inheriting & !file.inheriting != 0 {
            return Err(Errno::Notcapable);
        }
        file.rights = base;
        file.inheriting = inheriting;
        Ok(())
    }

    /// `fd_filestat_get`: writes the attributes.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `fault`.
    pub fn fd_filestat_get(&mut self, memory: &mut GuestMemory<'_>, fd: u32, stat: u32) -> Result<(), Errno> {
        let filestat = self.fds.with(fd, rights::FD_FILESTAT_GET)?.filestat()?;
        memory.write(stat, &filestat.to_bytes())
    }

    /// `fd_filestat_get` of `wasi_unstable`, with its narrower link count.
    ///
    /// # Errors
    /// As [`Self::fd_filestat_get`].
    pub fn fd_filestat_get_unstable(&mut self, memory: &mut GuestMemory<'_>, fd: u32, stat: u32) -> Result<(), Errno> {
        let filestat = self.fds.with(fd, rights::FD_FILESTAT_GET)?.filestat()?;
        memory.write(stat, &FilestatUnstable::from(filestat).to_bytes())
    }

    /// `fd_filestat_set_size`: cuts a file, or lengthens it with zeros.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `inval` for sizes from 2⁶³ and files not open for writing, `fbig`.
    pub fn fd_filestat_set_size(&mut self, _memory: &mut GuestMemory<'_>, fd: u32, size: u64) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_FILESTAT_SET_SIZE)?;
        Ok(retry_on_intr(|| rustix::fs::ftruncate(file.fd().ok_or(rustix::io::Errno::INVAL)?, size))?)
    }

    /// `fd_filestat_set_times`: sets the times of access and change of content, in nanoseconds since 1970.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `inval` for contradictory or unknown flags.
    pub fn fd_filestat_set_times(
        &mut self,
        _memory: &mut GuestMemory<'_>,
        fd: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let times = timestamps(atim, mtim, flags)?;
        let file = self.fds.with(fd, rights::FD_FILESTAT_SET_TIMES)?;
        Ok(rustix::fs::futimens(file.fd().ok_or(Errno::Inval)?, &times)?)
    }

    /// `fd_advise`: says how the file will be used, by numbers of `advice`.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `spipe`, `inval`.
    pub fn fd_advise(
        &mut self,
        _memory: &mut GuestMemory<'_>,
        fd: u32,
        offset: u64,
        len: u64,
        advice: u32,
    ) -> Result<(), Errno> {
        let advice = match advice {
            0 => Advice::Normal,
            1 => Advice::Sequential,
            2 => Advice::Random,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            5 => Advice::NoReuse,
            _ => return Err(Errno::Inval),
        };
        let file = self.fds.with(fd, rights::FD_ADVISE)?;
        if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
            return Err(Errno::Inval);
        }
        // The kernel has no opinion on directories, and other systems refuse them.
        if file.filetype()? == Filetype::Directory {
            return Err(Errno::Badf);
        }
        Ok(rustix::fs::fadvise(file.fd().ok_or(Errno::Spipe)?, offset, NonZeroU64::new(len), advice)?)
    }

    /// `fd_allocate`: makes sure that there is room for a part of a file.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `nospc`, `inval` for an empty part, `notsup` where the file system cannot.
    pub fn fd_allocate(&mut self, _memory: &mut GuestMemory<'_>, fd: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_ALLOCATE)?;
        let fd = file.fd().ok_or(Errno::Spipe)?;
        Ok(retry_on_intr(|| rustix::fs::fallocate(fd, FallocateFlags::empty(), offset, len))?)
    }

    /// `fd_sync`: `fsync(2)`.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `io`, `inval` on what cannot be synchronised.
    pub fn fd_sync(&mut self, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_SYNC)?;
        file.fd().map_or(Ok(()), |fd| Ok(retry_on_intr(|| rustix::fs::fsync(fd))?))
    }

    /// `fd_datasync`: `fdatasync(2)`.
    ///
    /// # Errors
    /// As [`Self::fd_sync`].
    pub fn fd_datasync(&mut self, _memory: &mut GuestMemory<'_>, fd: u32) -> Result<(), Errno> {
        let file = self.fds.with(fd, rights::FD_DATASYNC)?;
        file.fd().map_or(Ok(()), |fd| Ok(retry_on_intr(|| rustix::fs::fdatasync(fd))?))
    }

    /// `fd_prestat_get`: writes what a descriptor is that the guest found open at its start.
    ///
    /// # Errors
    /// `badf` for every other descriptor, which is how guests find the last one; `fault`.
    pub fn fd_prestat_get(&mut self, memory: &mut GuestMemory<'_>, fd: u32, prestat: u32) -> Result<(), Errno> {
        let name = self.fds.get(fd)?.preopen.as_deref().ok_or(Errno::Badf)?;
        let name_len = u32::try_from(name.len()).map_err(|_| Errno::Overflow)?;
        memory.write(prestat, &Prestat { tag: 0, name_len }.to_bytes())
    }

    /// `fd_prestat_dir_name`: writes the name of a folder that the guest found open, without a NUL.
    ///
    /// # Errors
    /// `badf`, `nametoolong` where `len` does not suffice, `fault`.
    pub fn fd_prestat_dir_name(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        len: u32,
    ) -> Result<(), Errno> {
        let name = self.fds.get(fd)?.preopen.as_deref().ok_or(Errno::Badf)?;
        if name.len() > len as usize {
            return Err(Errno::Nametoolong);
        }
        memory.write(path, name)
    }
}

impl Descriptor {
    /// The attributes; those of what lies in memory of the host are zero but for the type.
    fn filestat(&mut self) -> Result<Filestat, Errno> {
        let Some(fd) = self.fd() else {
            let size = match &self.node {
                Node::Input(bytes, position) => (bytes.len() - position) as u64,
                _ => 0,
            };
            let filetype = self.filetype()? as u8;
            return Ok(Filestat { filetype, nlink: 1, size, ..Filestat::default() });
        };
        let mut filestat = Filestat::from(&rustix::fs::fstat(fd)?);
        if filestat.filetype == Filetype::SocketStream as u8 {
            filestat.filetype = socket_type(fd) as u8;
        }
        Ok(filestat)
    }
}

impl From<&Stat> for Filestat {
    #[allow(clippy::unnecessary_cast, reason = "the types of the fields differ between architectures")]
    fn from(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            filetype: Filetype::from(rustix::fs::FileType::from_raw_mode(stat.st_mode)) as u8,
            nlink: stat.st_nlink as u64,
            size: (stat.st_size as i64).max(0).cast_unsigned(),
            atim: since_1970(stat.st_atime as i64, stat.st_atime_nsec as u64),
            mtim: since_1970(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctim: since_1970(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }
}

impl From<Filestat> for FilestatUnstable {
    fn from(stat: Filestat) -> Self {
        let Filestat { dev, ino, filetype, nlink, size, atim, mtim, ctim } = stat;
        Self { dev, ino, filetype, nlink: u32::try_from(nlink).unwrap_or(u32::MAX), size, atim, mtim, ctim }
    }
}

/// Nanoseconds since 1970. Guests cannot be told of earlier times, nor of those after 2554.
fn since_1970(seconds: i64, nanoseconds: u64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The times to set for the arguments of `fd_filestat_set_times` and `path_filestat_set_times`.
pub(crate) fn timestamps(atim: u64, mtim: u64, flags: u32) -> Result<Timestamps, Errno> {
    let flags = flags_u16(flags, fstflags::ALL)?;
    Ok(Timestamps {
        last_access: timestamp(atim, flags & fstflags::ATIM != 0, flags & fstflags::ATIM_NOW != 0)?,
        last_modification: timestamp(mtim, flags & fstflags::MTIM != 0, flags & fstflags::MTIM_NOW != 0)?,
    })
}

fn timestamp(time: u64, given: bool, now: bool) -> Result<Timespec, Errno> {
    match (given, now) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(timespec(time)),
        (false, true) => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW }),
        (false, false) => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }),
    }
}
