//! What guest and host agree on byte for byte: flags, rights and the layouts of structures in guest
//! memory, as `wasi_snapshot_preview1.witx` fixes them.

use crate::Errno;

/// Declares a structure in guest memory: its size and each field with its offset. Fields are little
/// endian. Bytes that no field covers are written as zero.
macro_rules! layout {
    ($($(#[$meta:meta])* $name:ident[$size:literal] { $($field:ident: $ty:ident @ $offset:literal,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name { $(pub(crate) $field: $ty,)* }

        #[allow(dead_code, reason = "some structures only go one way")]
        impl $name {
            /// Bytes that the structure takes in guest memory.
            pub(crate) const SIZE: usize = $size;

            pub(crate) fn to_bytes(self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $(bytes[$offset..$offset + size_of::<$ty>()].copy_from_slice(&self.$field.to_le_bytes());)*
                bytes
            }

            pub(crate) fn from_bytes(bytes: &[u8; $size]) -> Self {
                Self {
                    $($field: {
                        let mut field = [0; size_of::<$ty>()];
                        field.copy_from_slice(&bytes[$offset..$offset + size_of::<$ty>()]);
                        $ty::from_le_bytes(field)
                    },)*
                }
            }
        }

        const _: () = { $(assert!($offset + size_of::<$ty>() <= $size && $offset % size_of::<$ty>() == 0);)* };
    )*};
}

layout! {
    /// `iovec` and `ciovec`: a piece of guest memory.
    Iovec[8] { buf: u32 @ 0, len: u32 @ 4, }
    /// `fdstat`.
    Fdstat[24] { filetype: u8 @ 0, flags: u16 @ 2, rights: u64 @ 8, inheriting: u64 @ 16, }
    /// `filestat`. Times are nanoseconds since 1970.
    Filestat[64] {
        dev: u64 @ 0, ino: u64 @ 8, filetype: u8 @ 16, nlink: u64 @ 24, size: u64 @ 32,
        atim: u64 @ 40, mtim: u64 @ 48, ctim: u64 @ 56,
    }
    /// `filestat` of `wasi_unstable`, which has a narrower link count.
    FilestatUnstable[56] {
        dev: u64 @ 0, ino: u64 @ 8, filetype: u8 @ 16, nlink: u32 @ 20, size: u64 @ 24,
        atim: u64 @ 32, mtim: u64 @ 40, ctim: u64 @ 48,
    }
    /// `prestat` of a folder (tag 0, the only kind there is).
    Prestat[8] { tag: u8 @ 0, name_len: u32 @ 4, }
    /// `dirent`; the name follows it without a NUL.
    Dirent[24] { next: u64 @ 0, ino: u64 @ 8, name_len: u32 @ 16, filetype: u8 @ 20, }
    /// `subscription`, both variants of its union: a clock's id and a descriptor share a field.
    Subscription[48] {
        userdata: u64 @ 0, tag: u8 @ 8, id_or_fd: u32 @ 16, timeout: u64 @ 24, precision: u64 @ 32,
        flags: u16 @ 40,
    }
    /// `subscription` of `wasi_unstable`, where a clock has a user identifier before its id.
    SubscriptionUnstable[56] {
        userdata: u64 @ 0, tag: u8 @ 8, fd: u32 @ 16, id: u32 @ 24, timeout: u64 @ 32,
        precision: u64 @ 40, flags: u16 @ 48,
    }
    /// `event`.
    Event[32] { userdata: u64 @ 0, error: u16 @ 8, tag: u8 @ 10, nbytes: u64 @ 16, flags: u16 @ 24, }
}

/// Declares constants `1 << 0`, `1 << 1`, … in order, and `ALL`, their union.
macro_rules! flags {
    ($($(#[$meta:meta])* $module:ident: $ty:ident { $($flag:ident = $bit:literal,)* })*) => {$(
        $(#[$meta])*
        #[allow(dead_code, reason = "the table is the whole specification")]
        pub(crate) mod $module {
            $(pub(crate) const $flag: $ty = 1 << $bit;)*
            pub(crate) const ALL: $ty = $($flag)|*;
        }
    )*};
}

flags! {
    /// `rights`.
    rights: u64 {
        FD_DATASYNC = 0, FD_READ = 1, FD_SEEK = 2, FD_FDSTAT_SET_FLAGS = 3, FD_SYNC = 4, FD_TELL = 5,
        FD_WRITE = 6, FD_ADVISE = 7, FD_ALLOCATE = 8, PATH_CREATE_DIRECTORY = 9, PATH_CREATE_FILE = 10,
        PATH_LINK_SOURCE = 11, PATH_LINK_TARGET = 12, PATH_OPEN = 13, FD_READDIR = 14, PATH_READLINK = 15,
        PATH_RENAME_SOURCE = 16, PATH_RENAME_TARGET = 17, PATH_FILESTAT_GET = 18,
        PATH_FILESTAT_SET_SIZE = 19, PATH_FILESTAT_SET_TIMES = 20, FD_FILESTAT_GET = 21,
        FD_FILESTAT_SET_SIZE = 22, FD_FILESTAT_SET_TIMES = 23, PATH_SYMLINK = 24,
        PATH_REMOVE_DIRECTORY = 25, PATH_UNLINK_FILE = 26, POLL_FD_READWRITE = 27, SOCK_SHUTDOWN = 28,
        SOCK_ACCEPT = 29,
    }
    /// `fdflags`.
    fdflags: u16 { APPEND = 0, DSYNC = 1, NONBLOCK = 2, RSYNC = 3, SYNC = 4, }
    /// `lookupflags`.
    lookupflags: u32 { SYMLINK_FOLLOW = 0, }
    /// `oflags`.
    oflags: u16 { CREAT = 0, DIRECTORY = 1, EXCL = 2, TRUNC = 3, }
    /// `fstflags`.
    fstflags: u16 { ATIM = 0, ATIM_NOW = 1, MTIM = 2, MTIM_NOW = 3, }
    /// `riflags`.
    riflags: u16 { RECV_PEEK = 0, RECV_WAITALL = 1, }
    /// `roflags`.
    roflags: u16 { RECV_DATA_TRUNCATED = 0, }
    /// `sdflags`.
    sdflags: u8 { RD = 0, WR = 1, }
    /// `subclockflags`.
    subclockflags: u16 { ABSTIME = 0, }
    /// `eventrwflags`.
    eventrwflags: u16 { HANGUP = 0, }
}

/// Unions of rights that belong to kinds of descriptors.
pub(crate) mod rights_of {
    use super::rights::*;

    /// Rights that act on the content or the attributes of a file.
    pub(crate) const FILE: u64 = FD_DATASYNC
        | FD_READ
        | FD_SEEK
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_TELL
        | FD_WRITE
        | FD_ADVISE
        | FD_ALLOCATE
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES
        | POLL_FD_READWRITE;

    /// Rights that make sense on a directory itself.
    pub(crate) const DIRECTORY: u64 = FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_DATASYNC
        | FD_ADVISE
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_OPEN
        | FD_READDIR
        | PATH_READLINK
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_GET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_GET
        | FD_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE
        | POLL_FD_READWRITE;

    /// Rights of a socket.
    pub(crate) const SOCKET: u64 =
        FD_READ | FD_WRITE | FD_FDSTAT_SET_FLAGS | FD_FILESTAT_GET | POLL_FD_READWRITE | SOCK_SHUTDOWN | SOCK_ACCEPT;

    /// Rights that change what a folder holds; a read-only folder has none of them, nor do
    /// descriptors opened through it. Both ends of a link or a rename count: a hard link made
    /// elsewhere would be a writable way to a file that is read-only here.
    pub(crate) const MUTATING: u64 = FD_WRITE
        | FD_ALLOCATE
        | FD_FILESTAT_SET_SIZE
        | FD_FILESTAT_SET_TIMES
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE;
}

/// `filetype`. FIFOs and whatever else has no number of its own are `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Filetype {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketDgram = 5,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<rustix::fs::FileType> for Filetype {
    /// Sockets come out as stream sockets: only a system call on the socket tells them apart.
    fn from(host: rustix::fs::FileType) -> Self {
        use rustix::fs::FileType as Host;
        match host {
            Host::RegularFile => Self::RegularFile,
            Host::Directory => Self::Directory,
            Host::Symlink => Self::SymbolicLink,
            Host::CharacterDevice => Self::CharacterDevice,
            Host::BlockDevice => Self::BlockDevice,
            Host::Socket => Self::SocketStream,
            _ => Self::Unknown,
        }
    }
}

/// `eventtype`.
pub(crate) mod eventtype {
    pub(crate) const CLOCK: u8 = 0;
    pub(crate) const FD_READ: u8 = 1;
    pub(crate) const FD_WRITE: u8 = 2;
}

/// Checks a flags argument: bits that mean nothing are `inval`.
pub(crate) fn flags_u16(value: u32, all: u16) -> Result<u16, Errno> {
    if value & !u32::from(all) == 0 { Ok(value as u16) } else { Err(Errno::Inval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_put_fields_where_the_specification_does() {
        let event = Event { userdata: 0x0102_0304_0506_0708, error: 8, tag: 2, nbytes: 1, flags: 1 };
        let bytes = event.to_bytes();
        assert_eq!(bytes[0], 8);
        assert_eq!((bytes[8], bytes[10], bytes[16], bytes[24]), (8, 2, 1, 1));
        assert_eq!(Event::from_bytes(&bytes), event);
    }

    #[test]
    fn rights_end_where_the_specification_ends() {
        assert_eq!(rights::ALL, (1 << 30) - 1);
        assert_eq!(
            rights_of::FILE | rights_of::DIRECTORY | rights_of::SOCKET,
            rights::ALL,
            "every right belongs to some kind of descriptor"
        );
    }

    #[test]
    fn unknown_flags_are_refused() {
        assert_eq!(flags_u16(31, fdflags::ALL), Ok(31));
        assert_eq!(flags_u16(32, fdflags::ALL), Err(Errno::Inval));
        assert_eq!(flags_u16(1 << 16, fdflags::ALL), Err(Errno::Inval));
    }
}
