//! One open descriptor of a guest: what it leads to and what the guest may do with it.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags};

use crate::abi::{Filetype, fdflags, rights, rights_of};
use crate::limits::{MOVED_BYTES, PIECE_BYTES, PIPE_BYTES};
use crate::pause::{Handle, Wait};
use crate::readdir::Listing;
use crate::stdio::{OutputPipe, Stdin, Stdout};
use crate::{Errno, GuestMemory};

/// What a descriptor leads to.
#[derive(Debug)]
pub(crate) enum Node {
    /// A host file, directory, socket or pipe that belongs to this descriptor.
    Host(Arc<File>),
    /// The standard streams of this process, which outlive the guest.
    Stdin(std::io::Stdin),
    Stdout(std::io::Stdout),
    Stderr(std::io::Stderr),
    /// Bytes to read, and how many were read already.
    Input(Vec<u8>, usize),
    /// Memory to write to.
    Output(OutputPipe),
    /// At its end for reading, a sink for writing.
    Null,
}

/// A descriptor of the guest.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) node: Node,
    /// What the guest may do with the descriptor itself.
    pub(crate) rights: u64,
    /// The most that descriptors opened through this one get.
    pub(crate) inheriting: u64,
    /// The file's flags as the guest set them.
    pub(crate) flags: u16,
    /// The type once it is known: asking costs a system call that most files never need.
    filetype: Option<Filetype>,
    /// A folder the guest found open at its start: the name it has there.
    pub(crate) preopen: Option<Box<[u8]>>,
    /// Whether the descriptor is, or was opened through, a folder that the embedder lent read-only.
    pub(crate) read_only: bool,
    /// Whether the embedder opened it, so that the host has to be asked for its flags.
    foreign: bool,
    /// Whether what is appended to stays so.
    keeps_append: bool,
    /// What was listed of a directory.
    listing: Listing,
}

impl Descriptor {
    /// A file opened by the guest, of a type not yet known.
    pub(crate) fn file(file: File, rights: u64, inheriting: u64, flags: u16) -> Self {
        Self {
            node: Node::Host(Arc::new(file)),
            rights,
            inheriting,
            flags,
            filetype: None,
            preopen: None,
            read_only: false,
            foreign: false,
            keeps_append: false,
            listing: Listing::default(),
        }
    }

    /// A directory opened by the guest or the embedder. Rights that make no sense on one are left out.
    pub(crate) fn directory(file: File, rights: u64, inheriting: u64, flags: u16) -> Self {
        let mut descriptor = Self::file(file, rights, inheriting, flags);
        descriptor.set_filetype(Filetype::Directory);
        descriptor
    }

    /// A socket of the embedder, or one that was accepted.
    pub(crate) fn socket(file: File) -> Self {
        let filetype = socket_type(file.as_fd());
        let mut descriptor = Self::file(file, rights_of::SOCKET, rights_of::SOCKET, 0);
        descriptor.filetype = Some(filetype);
        descriptor.foreign = true;
        descriptor
    }

    /// A standard stream. Where it is a file, others may have written to it before and may write to it yet: unless the
    /// embedder allows to `rewrite` it, the guest adds to it at its position or its end, and does nothing else to it.
    fn stream(node: Node, rights: u64, rewrite: bool) -> Self {
        const REWRITING: u64 =
            rights::FD_SEEK | rights::FD_ALLOCATE | rights::FD_FILESTAT_SET_SIZE | rights::FD_FILESTAT_SET_TIMES;
        let is_output = rights & rights::FD_WRITE != 0;
        // What is only read may be read anywhere.
        let kept = if is_output { REWRITING } else { REWRITING & !rights::FD_SEEK };
        let rights = if rewrite { rights } else { rights & !kept };

        let filetype = match node {
            Node::Input(..) | Node::Output(_) => Some(Filetype::Unknown),
            Node::Null => Some(Filetype::CharacterDevice),
            _ => None,
        };
        Self {
            node,
            rights,
            inheriting: 0,
            flags: 0,
            filetype,
            preopen: None,
            read_only: false,
            foreign: true,
            keeps_append: !rewrite,
            listing: Listing::default(),
        }
    }

    /// Descriptor 0.
    pub(crate) fn stdin(stdin: Stdin, rewrite: bool) -> Self {
        let node = match stdin {
            Stdin::Empty => Node::Null,
            Stdin::Inherit => Node::Stdin(std::io::stdin()),
            Stdin::Bytes(bytes) => Node::Input(bytes, 0),
            Stdin::File(file) => Node::Host(Arc::new(file)),
        };
        let writing = rights::FD_WRITE | rights::FD_DATASYNC | rights::FD_ALLOCATE | rights::FD_FILESTAT_SET_SIZE;
        Self::stream(node, rights_of::FILE & !writing, rewrite)
    }

    /// Descriptor 1, or 2 if `inherited` is [`Node::Stderr`].
    pub(crate) fn stdout(stdout: Stdout, inherited: Node, rewrite: bool) -> Self {
        let node = match stdout {
            Stdout::Discard => Node::Null,
            Stdout::Inherit => inherited,
            Stdout::Pipe(pipe) => Node::Output(pipe),
            Stdout::File(file) => Node::Host(Arc::new(file)),
        };
        Self::stream(node, rights_of::FILE & !rights::FD_READ, rewrite)
    }

    /// The host's descriptor, if there is one.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.node {
            Node::Host(file) => Some(file.as_fd()),
            Node::Stdin(stdin) => Some(stdin.as_fd()),
            Node::Stdout(stdout) => Some(stdout.as_fd()),
            Node::Stderr(stderr) => Some(stderr.as_fd()),
            Node::Input(..) | Node::Output(_) | Node::Null => None,
        }
    }

    /// [`Self::fd`], to be kept beyond a call.
    pub(crate) fn handle(&self) -> Option<Handle> {
        match &self.node {
            Node::Host(file) => Some(Handle::File(file.clone())),
            Node::Stdin(_) => Some(Handle::Stdin),
            Node::Stdout(_) => Some(Handle::Stdout),
            Node::Stderr(_) => Some(Handle::Stderr),
            Node::Input(..) | Node::Output(_) | Node::Null => None,
        }
    }

    /// The host file that belongs to this descriptor. Operations on paths start at it; that it is a
    /// directory is for the system to check.
    ///
    /// # Errors
    /// `notdir` for the standard streams.
    pub(crate) fn owned(&self) -> Result<&File, Errno> {
        match &self.node {
            Node::Host(file) => Ok(&**file),
            _ => Err(Errno::Notdir),
        }
    }

    /// [`Self::owned`], and what was listed of it if it is a directory.
    ///
    /// # Errors
    /// `notdir` for the standard streams.
    pub(crate) fn owned_and_listing(&mut self) -> Result<(&File, &mut Listing), Errno> {
        match &self.node {
            Node::Host(file) => Ok((&**file, &mut self.listing)),
            _ => Err(Errno::Notdir),
        }
    }

    /// Whether the descriptor is one that other processes share with this one.
    pub(crate) fn is_inherited(&self) -> bool {
        matches!(self.node, Node::Stdin(_) | Node::Stdout(_) | Node::Stderr(_))
    }

    /// Checks that the guest has all of `wanted`.
    ///
    /// # Errors
    /// The error number that says best why it has not.
    #[inline]
    pub(crate) fn require(&mut self, wanted: u64) -> Result<(), Errno> {
        if self.rights & wanted == wanted { Ok(()) } else { Err(self.denied(wanted & !self.rights)) }
    }

    #[cold]
    fn denied(&mut self, missing: u64) -> Errno {
        const ON_DIRECTORIES: u64 = rights_of::DIRECTORY & !rights_of::FILE & !rights_of::SOCKET;
        const ON_SOCKETS: u64 = rights::SOCK_ACCEPT | rights::SOCK_SHUTDOWN;
        let filetype = match self.filetype() {
            Ok(filetype) => filetype,
            Err(errno) => return errno,
        };
        let socket = matches!(filetype, Filetype::SocketStream | Filetype::SocketDgram);
        if missing & ON_DIRECTORIES != 0 && filetype != Filetype::Directory {
            Errno::Notdir
        } else if missing & ON_SOCKETS != 0 && !socket {
            Errno::Notsock
        } else if missing & (rights::FD_SEEK | rights::FD_TELL) != 0
            && (socket || matches!(filetype, Filetype::Unknown | Filetype::CharacterDevice))
        {
            Errno::Spipe
        } else if self.read_only && missing & rights_of::MUTATING != 0 && filetype == Filetype::Directory {
            Errno::Rofs
        } else {
            Errno::Notcapable
        }
    }

    /// The type, asked from the host the first time. From then on the rights are only those that make
    /// sense on the type.
    pub(crate) fn filetype(&mut self) -> Result<Filetype, Errno> {
        if let Some(filetype) = self.filetype {
            return Ok(filetype);
        }
        let Some(fd) = self.fd() else { return Ok(Filetype::Unknown) };
        let stat = rustix::fs::fstat(fd)?;
        let mut filetype = Filetype::from(rustix::fs::FileType::from_raw_mode(stat.st_mode));
        if filetype == Filetype::SocketStream {
            filetype = socket_type(fd);
        }
        self.set_filetype(filetype);
        Ok(filetype)
    }

    fn set_filetype(&mut self, filetype: Filetype) {
        self.filetype = Some(filetype);
        match filetype {
            Filetype::Directory => self.rights &= rights_of::DIRECTORY,
            Filetype::SocketDgram | Filetype::SocketStream => {
                self.rights &= rights_of::SOCKET;
            }
            // A terminal is recognised by guests as the character device that cannot seek.
            Filetype::CharacterDevice if self.fd().is_some_and(|fd| fd.is_terminal()) => {
                self.rights &= rights_of::FILE & !(rights::FD_SEEK | rights::FD_TELL);
                self.inheriting = 0;
            }
            _ => {
                self.rights &= rights_of::FILE;
                self.inheriting = 0;
            }
        }
    }

    /// The flags that `fdstat` shows.
    pub(crate) fn fdflags(&self) -> Result<u16, Errno> {
        match self.fd() {
            Some(fd) if self.foreign => Ok(self.flags | from_oflags(rustix::fs::fcntl_getfl(fd)?)),
            _ => Ok(self.flags),
        }
    }

    /// `fd_fdstat_set_flags`. What Linux cannot change on an open file is `notsup`.
    pub(crate) fn set_fdflags(&mut self, flags: u16) -> Result<(), Errno> {
        const CHANGEABLE: u16 = fdflags::APPEND | fdflags::NONBLOCK;
        if (flags ^ self.fdflags()?) & !CHANGEABLE != 0 {
            return Err(Errno::Notsup);
        }
        if self.keeps_append && self.fdflags()? & !flags & fdflags::APPEND != 0 {
            return Err(Errno::Notsup);
        }
        match &self.node {
            Node::Host(file) => {
                rustix::fs::fcntl_setfl(file, to_oflags(flags))?;
            }
            // The flags of an inherited descriptor are also those of the shell that lent it. So
            // appending cannot change, and not to block is done by asking first (see `wait_free`).
            Node::Stdin(_) | Node::Stdout(_) | Node::Stderr(_) => {
                if (flags ^ self.fdflags()?) & fdflags::APPEND != 0 {
                    return Err(Errno::Notsup);
                }
            }
            Node::Input(..) | Node::Output(_) | Node::Null => {}
        }
        self.flags = flags;
        Ok(())
    }

    /// Whether it is known to be a socket.
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self.filetype, Some(Filetype::SocketStream | Filetype::SocketDgram))
    }

    /// Whether it can be used now without waiting. A call that may be broken off is broken off if not, unless the guest
    /// wants to be told.
    ///
    /// # Errors
    /// `again` for a call that is broken off, or what the host reports.
    pub(crate) fn ready(&mut self, memory: &mut GuestMemory<'_>, events: PollFlags) -> Result<Readiness, Errno> {
        let Some(progress) = memory.progress() else { return Ok(Readiness::Always) };
        match self.filetype()? {
            Filetype::RegularFile | Filetype::Directory | Filetype::BlockDevice => return Ok(Readiness::Always),
            _ => {}
        }
        let Some(fd) = self.fd() else { return Ok(Readiness::Always) };
        if poll_now(fd, events)? {
            let is_device = self.filetype == Some(Filetype::CharacterDevice);
            return Ok(if is_device { Readiness::Streaming } else { Readiness::Now });
        }
        match self.handle() {
            Some(handle) if self.fdflags()? & fdflags::NONBLOCK == 0 => {
                Err(progress.pause(Wait::for_event(handle, events)))
            }
            _ => Ok(Readiness::Now),
        }
    }

    /// Has `write` write what can be written without waiting, or what there is if the call cannot be broken off. It gets the
    /// flags for a socket.
    ///
    /// # Errors
    /// `again` for a call that is broken off, and what `write` returns.
    pub(crate) fn write_ready(
        &mut self,
        memory: &mut GuestMemory<'_>,
        iovs: u32,
        iovs_len: u32,
        write: impl FnOnce(&Self, &[IoSlice<'_>], SendFlags) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let (most, flags) = match self.ready(memory, PollFlags::OUT)? {
            Readiness::Always => (PIECE_BYTES, SendFlags::empty()),
            // A datagram goes as a whole.
            Readiness::Now if self.filetype == Some(Filetype::SocketDgram) => (usize::MAX, SendFlags::DONTWAIT),
            Readiness::Now if self.is_socket() => (PIECE_BYTES, SendFlags::DONTWAIT),
            Readiness::Now | Readiness::Streaming => (PIPE_BYTES, SendFlags::empty()),
        };
        let this = &*self;
        let written = memory.gather_most(iovs, iovs_len, most, |pieces| write(this, pieces, flags));
        if written != Err(Errno::Again) || flags.is_empty() || self.fdflags()? & fdflags::NONBLOCK != 0 {
            return written;
        }
        // Others were faster.
        match (memory.progress(), self.handle()) {
            (Some(progress), Some(handle)) => Err(progress.pause(Wait::for_event(handle, PollFlags::OUT))),
            _ => written,
        }
    }

    /// Fails with `again` if a call on an inherited descriptor would block and the guest wants none
    /// to. For descriptors of our own the kernel sees to that.
    fn wait_free(&self, fd: BorrowedFd<'_>, events: PollFlags) -> Result<(), Errno> {
        if self.flags & fdflags::NONBLOCK == 0 || !self.is_inherited() {
            return Ok(());
        }
        if poll_now(fd, events)? { Ok(()) } else { Err(Errno::Again) }
    }

    /// One `readv(2)`; returns how many bytes came.
    pub(crate) fn read(&mut self, pieces: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
        if let Some(fd) = self.fd() {
            self.wait_free(fd, PollFlags::IN)?;
            return Ok(match pieces {
                [piece] => retry_on_intr(|| rustix::io::read(fd, &mut **piece))?,
                pieces => retry_on_intr(|| rustix::io::readv(fd, pieces))?,
            });
        }
        match &mut self.node {
            Node::Input(bytes, position) => {
                let before = *position;
                for piece in pieces {
                    let rest = &bytes[*position..];
                    let len = rest.len().min(piece.len());
                    piece[..len].copy_from_slice(&rest[..len]);
                    *position += len;
                }
                Ok(*position - before)
            }
            Node::Null => Ok(0),
            _ => Err(Errno::Badf),
        }
    }

    /// One `writev(2)`; returns how many bytes went.
    pub(crate) fn write(&self, pieces: &[IoSlice<'_>]) -> Result<usize, Errno> {
        if let Some(fd) = self.fd() {
            self.wait_free(fd, PollFlags::OUT)?;
            if self.is_socket() {
                return send(fd, pieces, SendFlags::empty());
            }
            return Ok(match pieces {
                [piece] => retry_on_intr(|| rustix::io::write(fd, piece))?,
                pieces => retry_on_intr(|| rustix::io::writev(fd, pieces))?,
            });
        }
        match &self.node {
            Node::Output(pipe) => {
                let wanted: usize = pieces.iter().map(|piece| piece.len()).sum();
                match pipe.append(pieces.iter().map(|piece| &**piece)) {
                    0 if wanted != 0 => Err(Errno::Nospc),
                    len => Ok(len),
                }
            }
            Node::Null => Ok(pieces.iter().map(|piece| piece.len()).fold(0, usize::saturating_add).min(MOVED_BYTES)),
            _ => Err(Errno::Badf),
        }
    }
}

/// What is known of a descriptor that a call is about to use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readiness {
    /// Nobody has to be waited for, or the call waits in the host.
    Always,
    /// It can be used once without waiting.
    Now,
    /// The same, but what comes from it in pieces is what would come at once: it is a device.
    Streaming,
}

/// Whether one of the events has occurred.
pub(crate) fn poll_now(fd: BorrowedFd<'_>, events: PollFlags) -> Result<bool, Errno> {
    let zero = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    Ok(retry_on_intr(|| rustix::event::poll(&mut fds, Some(&zero)))? != 0)
}

/// Writes to a socket without SIGPIPE, which would end a host that does not ignore it.
pub(crate) fn send(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>], flags: SendFlags) -> Result<usize, Errno> {
    let mut control = rustix::net::SendAncillaryBuffer::default();
    let flags = flags | SendFlags::NOSIGNAL;
    Ok(retry_on_intr(|| rustix::net::sendmsg(fd, pieces, &mut control, flags))?)
}

/// Reads from a socket; returns the number of bytes and whether a datagram was cut.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    pieces: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
) -> Result<(usize, bool), Errno> {
    let mut control = rustix::net::RecvAncillaryBuffer::default();
    let message = retry_on_intr(|| rustix::net::recvmsg(fd, pieces, &mut control, flags))?;
    Ok((message.bytes, message.flags.contains(rustix::net::ReturnFlags::TRUNC)))
}

/// Tells stream sockets from others.
pub(crate) fn socket_type(fd: BorrowedFd<'_>) -> Filetype {
    match rustix::net::sockopt::socket_type(fd) {
        Ok(rustix::net::SocketType::STREAM) => Filetype::SocketStream,
        _ => Filetype::SocketDgram,
    }
}

/// The host's flags for `fdflags`.
pub(crate) fn to_oflags(flags: u16) -> OFlags {
    let pairs = [
        (fdflags::APPEND, OFlags::APPEND),
        (fdflags::DSYNC, OFlags::DSYNC),
        (fdflags::NONBLOCK, OFlags::NONBLOCK),
        (fdflags::RSYNC, OFlags::RSYNC),
        (fdflags::SYNC, OFlags::SYNC),
    ];
    pairs.into_iter().filter(|(flag, _)| flags & flag != 0).fold(OFlags::empty(), |all, (_, host)| all | host)
}

/// `fdflags` for the host's flags. On Linux RSYNC is SYNC, so it does not come back as its own flag.
fn from_oflags(host: OFlags) -> u16 {
    let mut flags = 0;
    for (flag, bits) in [(fdflags::APPEND, OFlags::APPEND), (fdflags::NONBLOCK, OFlags::NONBLOCK)] {
        if host.contains(bits) {
            flags |= flag;
        }
    }
    if host.contains(OFlags::SYNC) {
        flags |= fdflags::SYNC;
    } else if host.contains(OFlags::DSYNC) {
        flags |= fdflags::DSYNC;
    }
    flags
}
