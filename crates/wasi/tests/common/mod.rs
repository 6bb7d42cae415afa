//! A guest without an engine: memory, a context, and calls with the arguments that a guest would pass.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its part")]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kiln_wasi::{DirAccess, Errno, GuestMemory, WasiCtx, WasiCtxBuilder};

/// Where calls put their results, strings, vectors of pieces, and data.
pub const RESULT: u32 = 0x100;
pub const PATH: u32 = 0x1000;
pub const PATH2: u32 = 0x4000;
pub const IOVS: u32 = 0x8000;
pub const DATA: u32 = 0x20000;
const SIZE: usize = 0x100000;

pub const SYMLINK_FOLLOW: u32 = 1;
pub const CREAT: u32 = 1;
pub const DIRECTORY: u32 = 2;
pub const EXCL: u32 = 4;
pub const TRUNC: u32 = 8;
pub const APPEND: u32 = 1;
pub const NONBLOCK: u32 = 4;
pub const READ: u64 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 21 | 1 << 27;
pub const WRITE: u64 = 1 << 6 | 1 << 2 | 1 << 5 | 1 << 21 | 1 << 22 | 1 << 27;
/// Rights to use and hand on everything below a directory.
pub const FOLDER: u64 = 0x0fff_ffff & !(1 << 6);
pub const ALL: u64 = 0x0fff_ffff;

/// Attributes of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Filestat {
    pub ino: u64,
    pub filetype: u8,
    pub nlink: u64,
    pub size: u64,
    pub atim: u64,
    pub mtim: u64,
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: Vec<u8>,
    pub filetype: u8,
    pub next: u64,
    pub ino: u64,
}

pub struct Guest {
    pub ctx: WasiCtx,
    pub bytes: Vec<u8>,
}

type Result<T> = std::result::Result<T, Errno>;

/// `(userdata, kind, clock or descriptor, timeout, flags)`.
type Subscription = (u64, u8, u32, u64, u16);

/// `(userdata, error, kind, bytes, flags)`.
type Event = (u64, u16, u8, u64, u16);

impl Guest {
    pub fn new(builder: &mut WasiCtxBuilder) -> Self {
        Self { ctx: builder.build().unwrap(), bytes: vec![0; SIZE] }
    }

    /// A guest with `folder` as descriptor 3, named `/`.
    pub fn in_folder(folder: &Path, access: DirAccess) -> Self {
        Self::new(WasiCtxBuilder::new().preopened_dir(folder, "/", access).unwrap())
    }

    pub fn put(&mut self, at: u32, bytes: &[u8]) -> u32 {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        bytes.len() as u32
    }

    pub fn get<const N: usize>(&self, at: u32) -> [u8; N] {
        self.bytes[at as usize..at as usize + N].try_into().unwrap()
    }

    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.get(at))
    }

    /// Calls a function with guest memory.
    pub fn call<R>(&mut self, f: impl FnOnce(&mut WasiCtx, &mut GuestMemory<'_>) -> R) -> R {
        f(&mut self.ctx, &mut GuestMemory::new(&mut self.bytes))
    }

    /// Puts a vector of pieces into memory; returns how many.
    pub fn iovs(&mut self, pieces: &[(u32, u32)]) -> u32 {
        for (index, (buf, len)) in pieces.iter().enumerate() {
            self.put(IOVS + index as u32 * 8, &buf.to_le_bytes());
            self.put(IOVS + index as u32 * 8 + 4, &len.to_le_bytes());
        }
        pieces.len() as u32
    }

    pub fn open(&mut self, fd: u32, path: impl AsRef<Path>, oflags: u32, rights: u64) -> Result<u32> {
        self.open_with(fd, SYMLINK_FOLLOW, path, oflags, rights, 0)
    }

    pub fn open_with(
        &mut self,
        fd: u32,
        lookup: u32,
        path: impl AsRef<Path>,
        oflags: u32,
        rights: u64,
        fdflags: u32,
    ) -> Result<u32> {
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        let inheriting = if oflags & DIRECTORY != 0 { ALL } else { 0 };
        self.call(|ctx, memory| {
            ctx.path_open(memory, fd, lookup, PATH, len, oflags, rights, inheriting, fdflags, RESULT)
        })?;
        Ok(self.u32(RESULT))
    }

    pub fn write(&mut self, fd: u32, data: &[u8]) -> Result<u32> {
        let len = self.put(DATA, data);
        let count = self.iovs(&[(DATA, len)]);
        self.call(|ctx, memory| ctx.fd_write(memory, fd, IOVS, count, RESULT))?;
        Ok(self.u32(RESULT))
    }

    pub fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>> {
        let count = self.iovs(&[(DATA, len)]);
        self.call(|ctx, memory| ctx.fd_read(memory, fd, IOVS, count, RESULT))?;
        let read = self.u32(RESULT) as usize;
        Ok(self.bytes[DATA as usize..DATA as usize + read].to_vec())
    }

    pub fn close(&mut self, fd: u32) -> Result<()> {
        self.call(|ctx, memory| ctx.fd_close(memory, fd))
    }

    pub fn seek(&mut self, fd: u32, offset: i64, whence: u32) -> Result<u64> {
        self.call(|ctx, memory| ctx.fd_seek(memory, fd, offset, whence, RESULT))?;
        Ok(self.u64(RESULT))
    }

    /// `(filetype, flags, rights, inheriting)`.
    pub fn fdstat(&mut self, fd: u32) -> Result<(u8, u16, u64, u64)> {
        self.call(|ctx, memory| ctx.fd_fdstat_get(memory, fd, RESULT))?;
        let [filetype] = self.get(RESULT);
        Ok((filetype, u16::from_le_bytes(self.get(RESULT + 2)), self.u64(RESULT + 8), self.u64(RESULT + 16)))
    }

    fn filestat_result(&self) -> Filestat {
        let [filetype] = self.get(RESULT + 16);
        Filestat {
            ino: self.u64(RESULT + 8),
            filetype,
            nlink: self.u64(RESULT + 24),
            size: self.u64(RESULT + 32),
            atim: self.u64(RESULT + 40),
            mtim: self.u64(RESULT + 48),
        }
    }

    pub fn stat_fd(&mut self, fd: u32) -> Result<Filestat> {
        self.call(|ctx, memory| ctx.fd_filestat_get(memory, fd, RESULT))?;
        Ok(self.filestat_result())
    }

    pub fn stat(&mut self, fd: u32, lookup: u32, path: impl AsRef<Path>) -> Result<Filestat> {
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        self.call(|ctx, memory| ctx.path_filestat_get(memory, fd, lookup, PATH, len, RESULT))?;
        Ok(self.filestat_result())
    }

    pub fn set_times(&mut self, fd: u32, lookup: u32, path: &str, atim: u64, mtim: u64, flags: u32) -> Result<()> {
        let len = self.put(PATH, path.as_bytes());
        self.call(|ctx, memory| ctx.path_filestat_set_times(memory, fd, lookup, PATH, len, atim, mtim, flags))
    }

    pub fn mkdir(&mut self, fd: u32, path: impl AsRef<Path>) -> Result<()> {
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        self.call(|ctx, memory| ctx.path_create_directory(memory, fd, PATH, len))
    }

    pub fn rmdir(&mut self, fd: u32, path: impl AsRef<Path>) -> Result<()> {
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        self.call(|ctx, memory| ctx.path_remove_directory(memory, fd, PATH, len))
    }

    pub fn unlink(&mut self, fd: u32, path: impl AsRef<Path>) -> Result<()> {
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        self.call(|ctx, memory| ctx.path_unlink_file(memory, fd, PATH, len))
    }

    pub fn symlink(&mut self, contents: &str, fd: u32, path: impl AsRef<Path>) -> Result<()> {
        let old = self.put(PATH2, contents.as_bytes());
        let len = self.put(PATH, path.as_ref().as_os_str().as_bytes());
        self.call(|ctx, memory| ctx.path_symlink(memory, PATH2, old, fd, PATH, len))
    }

    pub fn readlink(&mut self, fd: u32, path: &str, room: u32) -> Result<Vec<u8>> {
        let len = self.put(PATH, path.as_bytes());
        self.call(|ctx, memory| ctx.path_readlink(memory, fd, PATH, len, DATA, room, RESULT))?;
        let used = self.u32(RESULT) as usize;
        Ok(self.bytes[DATA as usize..DATA as usize + used].to_vec())
    }

    pub fn rename(&mut self, fd: u32, old: &str, new_fd: u32, new: &str) -> Result<()> {
        let old_len = self.put(PATH, old.as_bytes());
        let new_len = self.put(PATH2, new.as_bytes());
        self.call(|ctx, memory| ctx.path_rename(memory, fd, PATH, old_len, new_fd, PATH2, new_len))
    }

    pub fn link(&mut self, fd: u32, lookup: u32, old: &str, new_fd: u32, new: &str) -> Result<()> {
        let old_len = self.put(PATH, old.as_bytes());
        let new_len = self.put(PATH2, new.as_bytes());
        self.call(|ctx, memory| ctx.path_link(memory, fd, lookup, PATH, old_len, new_fd, PATH2, new_len))
    }

    /// One `fd_readdir`: the entries that came whole, and the bytes used.
    pub fn readdir_once(&mut self, fd: u32, room: u32, cookie: u64) -> Result<(Vec<Entry>, u32)> {
        self.call(|ctx, memory| ctx.fd_readdir(memory, fd, DATA, room, cookie, RESULT))?;
        let used = self.u32(RESULT);
        let (mut at, end) = (DATA, DATA + used);
        let mut entries = Vec::new();
        while at + 24 <= end {
            let len = self.u32(at + 16);
            if at + 24 + len > end {
                break;
            }
            let [filetype] = self.get(at + 20);
            let name = self.bytes[at as usize + 24..(at + 24 + len) as usize].to_vec();
            entries.push(Entry { name, filetype, next: self.u64(at), ino: self.u64(at + 8) });
            at += 24 + len;
        }
        Ok((entries, used))
    }

    /// All entries but `.` and `..`, sorted, fetched through a buffer of `room` bytes.
    pub fn readdir(&mut self, fd: u32, room: u32) -> Result<Vec<Entry>> {
        let (mut all, mut cookie) = (Vec::new(), 0);
        loop {
            let (entries, used) = self.readdir_once(fd, room, cookie)?;
            cookie = entries.last().map_or(cookie, |entry| entry.next);
            all.extend(entries);
            if used < room {
                break;
            }
        }
        all.retain(|entry| entry.name != b"." && entry.name != b"..");
        all.sort();
        Ok(all)
    }

    /// `poll_oneoff`.
    pub fn poll(&mut self, subscriptions: &[Subscription]) -> Result<Vec<Event>> {
        for (index, &(userdata, tag, id, timeout, flags)) in subscriptions.iter().enumerate() {
            let at = DATA + index as u32 * 48;
            self.put(at, &[0; 48]);
            self.put(at, &userdata.to_le_bytes());
            self.put(at + 8, &[tag]);
            self.put(at + 16, &id.to_le_bytes());
            self.put(at + 24, &timeout.to_le_bytes());
            self.put(at + 40, &flags.to_le_bytes());
        }
        let (events, count) = (DATA + 0x8000, subscriptions.len() as u32);
        self.call(|ctx, memory| ctx.poll_oneoff(memory, DATA, events, count, RESULT))?;
        Ok((0..self.u32(RESULT))
            .map(|index| {
                let at = events + index * 32;
                let [tag] = self.get(at + 10);
                let error = u16::from_le_bytes(self.get(at + 8));
                (self.u64(at), error, tag, self.u64(at + 16), u16::from_le_bytes(self.get(at + 24)))
            })
            .collect())
    }
}
