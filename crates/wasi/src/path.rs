//! Operations on paths.
//!
//! Every path is relative to a directory descriptor and resolved by cap-std, with `openat2(2)` and
//! `RESOLVE_BENEATH` where the kernel has it: whatever the path, the links on it and the renames that
//! race with it, the result lies in that directory or the error is `perm`. The only other calls here
//! that take a path pass a single component, on which they follow no link: functions that make, move or
//! remove a name resolve all before it by cap-std ([`Place`]) and leave the name itself to the kernel,
//! together with slashes at its end, for the kernel alone knows what those mean to each call.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_primitives::fs::{FollowSymlinks, OpenOptions, OpenOptionsExt, SystemTimeSpec};
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timestamps};
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::time::ClockId;

use crate::abi::{Filestat, FilestatUnstable, Filetype, fdflags, flags_u16, lookupflags, oflags, rights, rights_of};
use crate::descriptor::{Descriptor, poll_now, to_oflags};
use crate::file::timestamps;
use crate::limits::{FIFO_PATIENCE, PATH_BYTES};
use crate::pause::{Handle, Wait};
use crate::process::now;
use crate::readdir::Listed;
use crate::{Errno, GuestMemory, WasiCtx};

impl WasiCtx {
    /// `path_open`: opens a file or a directory and writes its new descriptor.
    ///
    /// Rights that no file and no directory can have are not asked for, and through a read-only folder
    /// those that change something are left out silently, because guests ask for them as a matter of
    /// course; but writing to the content has to be possible if it is asked for.
    ///
    /// # Errors
    /// `badf`, `notdir`, `notcapable` for rights beyond those that the directory hands on, `perm` for
    /// paths that lead outside, `rofs`, `noent`, `exist`, `isdir`, `loop`, `inval`, `nametoolong`,
    /// `fault`, or what the host reports.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        oflags: u32,
        base: u64,
        inheriting: u64,
        fdflags: u32,
        opened: u32,
    ) -> Result<(), Errno> {
        let request = OpenRequest::new(lookup, oflags, base, inheriting, fdflags)?;
        memory.check(opened, 4)?;
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.get_mut(fd)?;
        let (rights, inheriting) = request.grant(folder)?;
        let read_only = folder.read_only;
        if request.oflags & oflags::CREAT != 0 && ends_in_slash_after_name(&path) {
            // Linux says this before it looks at the name; cap-std without `openat2` would not.
            Place::of(folder.owned()?, &path)?;
            return Err(Errno::Isdir);
        }
        let file = request.open(memory, folder.owned()?, &path, rights)?;
        let mut descriptor = if request.oflags & oflags::DIRECTORY != 0 {
            Descriptor::directory(file, rights, inheriting, request.fdflags)
        } else {
            Descriptor::file(file, rights, inheriting, request.fdflags)
        };
        descriptor.read_only = read_only;
        let fd = self.fds.insert(descriptor)?;
        memory.write_u32(opened, fd)
    }

    /// `path_filestat_get`: writes the attributes of what a path leads to, or with `lookup` 0 of the
    /// link that it names.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `noent`, `notdir`, `loop`, `inval`, `nametoolong`, `fault`.
    pub fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        stat: u32,
    ) -> Result<(), Errno> {
        let filestat = self.path_filestat(memory, fd, lookup, path, path_len)?;
        memory.write(stat, &filestat.to_bytes())
    }

    /// `path_filestat_get` of `wasi_unstable`, with its narrower link count.
    ///
    /// # Errors
    /// As [`Self::path_filestat_get`].
    pub fn path_filestat_get_unstable(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        stat: u32,
    ) -> Result<(), Errno> {
        let filestat = self.path_filestat(memory, fd, lookup, path, path_len)?;
        memory.write(stat, &FilestatUnstable::from(filestat).to_bytes())
    }

    fn path_filestat(
        &mut self,
        memory: &GuestMemory<'_>,
        fd: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
    ) -> Result<Filestat, Errno> {
        let follow = follows(lookup)?;
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_FILESTAT_GET)?.owned()?;
        // One system call instead of three for the usual path, a file in the folder itself.
        if is_one_component(&path) {
            let stat = rustix::fs::statat(folder, &path, AtFlags::SYMLINK_NOFOLLOW)?;
            let stat = Filestat::from(&stat);
            if !follow || stat.filetype != Filetype::SymbolicLink as u8 {
                return Ok(stat);
            }
        }
        let file = open_reference(folder, &path, follow)?;
        Ok(Filestat::from(&rustix::fs::fstat(&file)?))
    }

    /// `path_filestat_set_times`: sets the times of access and change of content of what a path leads
    /// to, or with `lookup` 0 of the link that it names.
    ///
    /// # Errors
    /// As [`Self::path_filestat_get`]; `rofs`; `inval` for contradictory flags.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        atim: u64,
        mtim: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let follow = follows(lookup)?;
        let times = timestamps(atim, mtim, flags)?;
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_FILESTAT_SET_TIMES)?.owned()?;
        if is_one_component(&path) && !follow {
            return Ok(rustix::fs::utimensat(folder, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?);
        }
        let file = open_reference(folder, &path, follow)?;
        match rustix::fs::utimensat(&file, "", &times, AtFlags::EMPTY_PATH) {
            // Kernels before 5.8 cannot act on a mere reference.
            Err(rustix::io::Errno::INVAL) => Ok(set_times(folder, &path, follow, &times)?),
            result => Ok(result?),
        }
    }

    /// `path_create_directory`.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `rofs`, `exist`, `noent`, `notdir`, `nametoolong`, `fault`.
    pub fn path_create_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Result<(), Errno> {
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_CREATE_DIRECTORY)?.owned()?;
        let place = Place::of(folder, &path)?;
        Ok(rustix::fs::mkdirat(place.folder(), place.name, Mode::from_raw_mode(0o777))?)
    }

    /// `path_remove_directory`: removes an empty directory.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `rofs`, `notempty`, `noent`, `notdir`, `inval` for `.`, `fault`.
    pub fn path_remove_directory(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Result<(), Errno> {
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_REMOVE_DIRECTORY)?.owned()?;
        let place = Place::of(folder, &path)?;
        Ok(rustix::fs::unlinkat(place.folder(), place.name, AtFlags::REMOVEDIR)?)
    }

    /// `path_unlink_file`: removes a file or a link.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `rofs`, `isdir`, `noent`, `notdir`, `fault`.
    pub fn path_unlink_file(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Result<(), Errno> {
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_UNLINK_FILE)?.owned()?;
        let place = Place::of(folder, &path)?;
        Ok(rustix::fs::unlinkat(place.folder(), place.name, AtFlags::empty())?)
    }

    /// `path_link`: gives a file another name. A link at the end of the old path is not followed.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `rofs`, `exist`, `noent`, `xdev`, `fault`; `inval` for `lookup` 1.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old_fd: u32,
        old_lookup: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Result<(), Errno> {
        if follows(old_lookup)? {
            return Err(Errno::Inval);
        }
        let old_path = path_of(memory, old_path, old_path_len)?;
        let new_path = path_of(memory, new_path, new_path_len)?;
        self.fds.with(old_fd, rights::PATH_LINK_SOURCE)?;
        self.fds.with(new_fd, rights::PATH_LINK_TARGET)?;
        let (old, new) = (self.fds.get(old_fd)?.owned()?, self.fds.get(new_fd)?.owned()?);
        let old = if requires_directory(&old_path) {
            // The kernel would follow a link here. What this opens is a directory, and those get no second name.
            Place { parent: Some(cap_primitives::fs::open_dir(old, &old_path)?), start: old, name: Path::new(".") }
        } else {
            Place::of(old, &old_path)?
        };
        let new = match Place::of(new, &new_path) {
            Ok(new) => new,
            Err(errno) => {
                // What is wrong with the old name comes first.
                rustix::fs::statat(old.folder(), old.name, AtFlags::SYMLINK_NOFOLLOW)?;
                return Err(errno);
            }
        };
        Ok(rustix::fs::linkat(old.folder(), old.name, new.folder(), new.name, AtFlags::empty())?)
    }

    /// `path_rename`.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm`, `rofs`, `exist`, `noent`, `notempty`, `isdir`, `notdir`, `xdev`, `fault`.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old_fd: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Result<(), Errno> {
        let old_path = path_of(memory, old_path, old_path_len)?;
        let new_path = path_of(memory, new_path, new_path_len)?;
        self.fds.with(old_fd, rights::PATH_RENAME_SOURCE)?;
        self.fds.with(new_fd, rights::PATH_RENAME_TARGET)?;
        let (old, new) = (self.fds.get(old_fd)?.owned()?, self.fds.get(new_fd)?.owned()?);
        let (old, new) = (Place::of(old, &old_path)?, Place::of(new, &new_path)?);
        Ok(rustix::fs::renameat(old.folder(), old.name, new.folder(), new.name)?)
    }

    /// `path_symlink`: makes a link with the contents `old_path`, which has to be relative.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm` also for an absolute `old_path`, `rofs`, `exist`, `noent`, `fault`.
    pub fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        old_path: u32,
        old_path_len: u32,
        fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Result<(), Errno> {
        let old_path = path_of(memory, old_path, old_path_len)?;
        let new_path = path_of(memory, new_path, new_path_len)?;
        let folder = self.fds.with(fd, rights::PATH_SYMLINK)?.owned()?;
        if old_path.is_absolute() {
            return Err(Errno::Perm);
        }
        let place = Place::of(folder, &new_path)?;
        Ok(rustix::fs::symlinkat(&old_path, place.folder(), place.name)?)
    }

    /// `path_readlink`: writes the contents of a link, cut to `buf_len` bytes, and how many were written.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `perm` also for absolute contents, `inval` where it is no link, `noent`, `fault`.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        path: u32,
        path_len: u32,
        buf: u32,
        buf_len: u32,
        bufused: u32,
    ) -> Result<(), Errno> {
        let path = path_of(memory, path, path_len)?;
        let folder = self.fds.with(fd, rights::PATH_READLINK)?.owned()?;
        let contents = cap_primitives::fs::read_link(folder, &path)?;
        let contents = contents.as_os_str().as_bytes();
        let contents = &contents[..contents.len().min(buf_len as usize)];
        memory.write(buf, contents)?;
        memory.write_size(bufused, contents.len())
    }

    /// `fd_readdir`: writes entries from `cookie` on (0 is the start), the last one cut where the
    /// buffer ends, and how many bytes were written; fewer than `buf_len` means the end.
    ///
    /// Cookies count the entries, the first 65,536 of a directory, and each stands for the host's own
    /// position behind its entry: they stay good while the directory changes. Names are passed as the
    /// bytes they are, also where they are no UTF-8.
    ///
    /// # Errors
    /// `badf`, `notcapable`, `notdir`, `inval` for cookies that are never given out, `fault`.
    pub fn fd_readdir(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        buf: u32,
        buf_len: u32,
        cookie: u64,
        bufused: u32,
    ) -> Result<(), Errno> {
        let folder = self.fds.with(fd, rights::FD_READDIR)?;
        if folder.filetype()? != Filetype::Directory {
            return Err(Errno::Notdir);
        }
        memory.check(bufused, 4)?;
        let (folder, listing) = folder.owned_and_listing()?;
        let (done, cookie) = match memory.progress() {
            Some(progress) => (progress.done as u32, progress.cookie.unwrap_or(cookie)),
            None => (0, cookie),
        };
        memory.check(buf, buf_len as usize)?;
        let (mut listed, mut room) = (Listed::default(), 0);
        let used = memory.fill(buf + done, buf_len - done, |out| {
            room = out.len();
            listed = listing.read(folder, out, cookie)?;
            Ok(listed.used)
        })?;
        let whole = done + used as u32;
        match memory.progress() {
            // An entry that was cut comes again.
            Some(progress) if used == room && whole < buf_len => {
                progress.done = done as usize + listed.used_by_whole;
                progress.cookie = Some(listed.next.unwrap_or(cookie));
                Err(progress.pause(Wait::for_nothing()))
            }
            _ => memory.write_u32(bufused, whole),
        }
    }
}

/// The arguments of `path_open` that are not the path.
struct OpenRequest {
    follow: bool,
    oflags: u16,
    fdflags: u16,
    rights: u64,
    inheriting: u64,
}

impl OpenRequest {
    fn new(lookup: u32, oflags: u32, rights: u64, inheriting: u64, fdflags: u32) -> Result<Self, Errno> {
        const POSSIBLE: u64 = rights_of::FILE | rights_of::DIRECTORY;
        let oflags = flags_u16(oflags, oflags::ALL)?;
        let rights = rights & POSSIBLE;
        if oflags & oflags::DIRECTORY != 0 {
            // Before Linux 6.4 a file would be created.
            if oflags & oflags::CREAT != 0 {
                return Err(Errno::Inval);
            }
            if rights & rights::FD_WRITE != 0 {
                return Err(Errno::Isdir);
            }
        }
        Ok(Self {
            follow: follows(lookup)?,
            oflags,
            fdflags: flags_u16(fdflags, fdflags::ALL)?,
            rights,
            inheriting: inheriting & POSSIBLE,
        })
    }

    /// The rights of the new descriptor and those that it hands on, if `folder` allows the request.
    fn grant(&self, folder: &mut Descriptor) -> Result<(u64, u64), Errno> {
        let mut needed = rights::PATH_OPEN;
        for (flag, right) in
            [(oflags::CREAT, rights::PATH_CREATE_FILE), (oflags::TRUNC, rights::PATH_FILESTAT_SET_SIZE)]
        {
            if self.oflags & flag != 0 {
                needed |= right;
            }
        }
        folder.require(needed)?;
        let mut handed_on = self.rights | self.inheriting;
        if self.fdflags & fdflags::DSYNC != 0 {
            handed_on |= rights::FD_DATASYNC;
        }
        if self.fdflags & (fdflags::RSYNC | fdflags::SYNC) != 0 {
            handed_on |= rights::FD_SYNC;
        }
        let missing = handed_on & !folder.inheriting;
        if missing != 0 {
            if !folder.read_only || missing & !rights_of::MUTATING != 0 {
                return Err(Errno::Notcapable);
            }
            if self.rights & rights::FD_WRITE != 0 {
                return Err(Errno::Rofs);
            }
        }
        Ok((self.rights & folder.inheriting, self.inheriting & folder.inheriting))
    }

    /// Opens the file. A FIFO whose other end nobody has opened breaks the call off, if that can be.
    fn open(&self, memory: &mut GuestMemory<'_>, folder: &File, path: &Path, rights: u64) -> Result<File, Errno> {
        let may_wait = (self.fdflags & fdflags::NONBLOCK) == 0 && self.oflags & oflags::DIRECTORY == 0;
        let Some(progress) = memory.progress().filter(|_| may_wait) else {
            return self.open_now(folder, path, rights, OFlags::empty());
        };
        let later = || Ok::<u64, Errno>(now(ClockId::Monotonic)?.saturating_add(FIFO_PATIENCE));
        let opened = progress.opening.take().map_or_else(|| self.open_now(folder, path, rights, OFlags::NONBLOCK), Ok);
        let file = match opened {
            // There is nobody to read what would be written.
            Err(Errno::Nxio) if is_fifo(&open_reference(folder, path, self.follow)?)? => {
                return Err(progress.pause(Wait { events: Vec::new(), until: Some(later()?) }));
            }
            opened => opened?,
        };
        let filetype = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if matches!(filetype, FileType::RegularFile | FileType::Directory) {
            // They are never waited for.
            return Ok(file);
        }
        if filetype == FileType::Fifo && rights & rights::FD_WRITE == 0 && !has_writer(&file)? {
            let wait =
                Wait { events: vec![(Handle::File(file.try_clone()?.into()), PollFlags::IN)], until: Some(later()?) };
            progress.opening = Some(file);
            return Err(progress.pause(wait));
        }
        rustix::fs::fcntl_setfl(&file, to_oflags(self.fdflags))?;
        Ok(file)
    }

    fn open_now(&self, folder: &File, path: &Path, rights: u64, flags: OFlags) -> Result<File, Errno> {
        match cap_primitives::fs::open(folder, path, &self.options(rights, flags)).map_err(Errno::from) {
            // Where the system has no `openat2`, cap-std takes a link to a directory for a file.
            Err(Errno::Notdir) if self.follow && self.oflags & oflags::DIRECTORY != 0 => {
                let reference = cap_primitives::fs::open_dir(folder, path)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                Ok(File::from(rustix::fs::openat(reference, ".", flags, Mode::empty())?))
            }
            result => result,
        }
    }

    /// What to ask of the host.
    fn options(&self, rights: u64, flags: OFlags) -> OpenOptions {
        let write = rights & rights::FD_WRITE != 0;
        let read = rights & (rights::FD_READ | rights::FD_READDIR) != 0;
        // Creation and truncation go beside cap-std's own options, which refuse combinations that
        // WASI and Linux know, such as creating a file in order to read it.
        let mut flags = flags | to_oflags(self.fdflags) | OFlags::NOCTTY;
        for (flag, host) in [
            (oflags::CREAT, OFlags::CREATE),
            (oflags::DIRECTORY, OFlags::DIRECTORY),
            (oflags::EXCL, OFlags::EXCL),
            (oflags::TRUNC, OFlags::TRUNC),
        ] {
            if self.oflags & flag != 0 {
                flags |= host;
            }
        }
        let mut options = OpenOptions::new();
        options.read(read || !write).write(write).custom_flags(flags.bits().cast_signed());
        options._cap_fs_ext_follow(if self.follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
        options
    }
}

fn is_fifo(file: &File) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode) == FileType::Fifo)
}

/// Whether somebody has opened a FIFO for writing, or had since it was opened here.
fn has_writer(fifo: &File) -> Result<bool, Errno> {
    if poll_now(fifo.as_fd(), PollFlags::IN)? {
        return Ok(true);
    }
    // Where there is nothing to read, a copy of it tells that apart from the end, and takes nothing away.
    let (_reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    match rustix::pipe::tee(fifo, writer, 1, SpliceFlags::NONBLOCK) {
        Ok(copied) => Ok(copied != 0),
        Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a mere reference to what `path` leads to, or to the link that it names.
fn open_reference(folder: &File, path: &Path, follow: bool) -> Result<File, Errno> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::PATH.bits().cast_signed());
    options._cap_fs_ext_follow(if follow { FollowSymlinks::Yes } else { FollowSymlinks::No });
    Ok(cap_primitives::fs::open(folder, path, &options)?)
}

/// Sets times the long way, for old kernels.
fn set_times(folder: &File, path: &Path, follow: bool, times: &Timestamps) -> std::io::Result<()> {
    let spec = |time: &rustix::time::Timespec| match time.tv_nsec {
        rustix::fs::UTIME_OMIT => None,
        rustix::fs::UTIME_NOW => Some(SystemTimeSpec::SymbolicNow),
        nanoseconds => {
            let time = Duration::new(time.tv_sec.cast_unsigned(), nanoseconds as u32);
            let time = cap_primitives::time::SystemTime::from_std(SystemTime::UNIX_EPOCH + time);
            Some(SystemTimeSpec::Absolute(time))
        }
    };
    let (atime, mtime) = (spec(&times.last_access), spec(&times.last_modification));
    if follow {
        cap_primitives::fs::set_times(folder, path, atime, mtime)
    } else {
        cap_primitives::fs::set_times_nofollow(folder, path, atime, mtime)
    }
}

/// Whether a link at the end of the path is followed.
fn follows(lookup: u32) -> Result<bool, Errno> {
    if lookup & !lookupflags::ALL != 0 {
        return Err(Errno::Inval);
    }
    Ok(lookup & lookupflags::SYMLINK_FOLLOW != 0)
}

/// The path in guest memory. Its bytes are passed on as they are, so that a guest can name
/// all files of the host; a NUL among them is `inval`.
fn path_of(memory: &GuestMemory<'_>, ptr: u32, len: u32) -> Result<PathBuf, Errno> {
    // A path that is too long and lies outside is a fault.
    memory.check(ptr, len as usize)?;
    if len as usize > PATH_BYTES {
        return Err(Errno::Nametoolong);
    }
    let bytes = memory.slice(ptr, len)?;
    if bytes.contains(&0) {
        return Err(Errno::Inval);
    }
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

/// Whether the path is a name in the folder itself: resolving it without following links stays there.
fn is_one_component(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/')
}

/// Whether the path leads to a directory or to nothing: it ends in a slash, `.` or `..`.
fn requires_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    matches!(bytes.rsplit(|&byte| byte == b'/').next(), Some(b"" | b"." | b"..")) && !bytes.is_empty()
}

/// Whether the path ends in a slash, and what comes before that is a name.
fn ends_in_slash_after_name(path: &Path) -> bool {
    let name = split(path.as_os_str().as_bytes()).map_or(&b""[..], |(_, name)| name);
    name.ends_with(b"/") && !name.starts_with(b"./") && !name.starts_with(b"../")
}

/// A name in a folder, for calls that act on the name and not on what it leads to: the kernel's calls for
/// making, moving and removing names follow no link there, also where slashes follow it.
struct Place<'a> {
    /// The folder that has the name, or `None` if it is the one that the path starts at.
    parent: Option<File>,
    start: &'a File,
    /// One component with the slashes after it. `.` and `..` are errors to all of these calls.
    name: &'a Path,
}

impl<'a> Place<'a> {
    /// Resolves all of `path` but its last component, within `start`.
    ///
    /// # Errors
    /// `noent` for an empty path, `perm` for an absolute one, and what cap-std reports of what comes
    /// before the name.
    fn of(start: &'a File, path: &'a Path) -> Result<Self, Errno> {
        let bytes = path.as_os_str().as_bytes();
        let (parent, name) = split(bytes).ok_or(if bytes.is_empty() { Errno::Noent } else { Errno::Perm })?;
        let parent = match parent {
            b"" => None,
            parent => Some(cap_primitives::fs::open_dir(start, Path::new(OsStr::from_bytes(parent)))?),
        };
        Ok(Self { parent, start, name: Path::new(OsStr::from_bytes(name)) })
    }

    fn folder(&self) -> BorrowedFd<'_> {
        self.parent.as_ref().unwrap_or(self.start).as_fd()
    }
}

/// What comes before the last component of a path, and that component with the slashes after it. `None`
/// where there is no component.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let last = path.iter().rposition(|&byte| byte != b'/')?;
    let start = path[..last].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    Some(path.split_at(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_component_is_a_plain_name() {
        for path in ["a", "...", ".a", "a b", "-"] {
            assert!(is_one_component(Path::new(path)), "{path}");
        }
        for path in ["", ".", "..", "/", "/a", "a/", "a/b", "./a", "../a"] {
            assert!(!is_one_component(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_path_is_split_before_its_last_component() {
        for (path, parent, name) in [
            ("a", "", "a"),
            ("a//", "", "a//"),
            ("a/b/", "a/", "b/"),
            ("a//b", "a//", "b"),
            ("/a", "/", "a"),
            (".", "", "."),
            ("a/..", "a/", ".."),
            ("../", "", "../"),
        ] {
            assert_eq!(split(path.as_bytes()), Some((parent.as_bytes(), name.as_bytes())), "{path}");
        }
        assert_eq!(split(b""), None);
        assert_eq!(split(b"//"), None);
    }

    #[test]
    fn paths_that_name_directories_end_so() {
        for path in ["a/", "a//", "a/.", ".", "..", "a/..", "/"] {
            assert!(requires_directory(Path::new(path)), "{path}");
        }
        for path in ["", "a", "a/b", "a.", "a/..b", "..."] {
            assert!(!requires_directory(Path::new(path)), "{path}");
        }
    }
}
