//! Operations on sockets that the embedder lent.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, Shutdown, SocketFlags};

use crate::abi::{fdflags, flags_u16, riflags, rights, roflags, sdflags};
use crate::descriptor::{Descriptor, Readiness, receive, send};
use crate::pause::GoOn;
use crate::{Errno, GuestMemory, WasiCtx};

impl WasiCtx {
    /// `sock_accept`: takes a connection from a listening socket and writes its new descriptor.
    ///
    /// # Errors
    /// `badf`, `notsock`, `notcapable`, `again`, `inval` for flags other than `nonblock`, `fault`.
    pub fn sock_accept(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        flags: u32,
        accepted: u32,
    ) -> Result<(), Errno> {
        let flags = flags_u16(flags, fdflags::NONBLOCK)?;
        let listener = self.fds.with(fd, rights::SOCK_ACCEPT)?;
        memory.check(accepted, 4)?;
        listener.ready(memory, PollFlags::IN)?;
        let mut host_flags = SocketFlags::CLOEXEC;
        if flags != 0 {
            host_flags |= SocketFlags::NONBLOCK;
        }
        let fd = listener.fd().ok_or(Errno::Notsock)?;
        let socket = retry_on_intr(|| rustix::net::accept_with(fd, host_flags))?;
        let fd = self.fds.insert(Descriptor::socket(File::from(socket)))?;
        memory.write_u32(accepted, fd)
    }

    /// `sock_recv`: receives into the guest's pieces; writes the number of bytes and whether a datagram was cut.
    ///
    /// # Errors
    /// `badf`, `notsock`, `notcapable`, `again`, `inval` for unknown flags, `fault`, or what the host reports.
    #[allow(clippy::too_many_arguments, reason = "the specification's parameters")]
    pub fn sock_recv(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        flags: u32,
        nread: u32,
        out_flags: u32,
    ) -> Result<(), Errno> {
        let flags = flags_u16(flags, riflags::ALL)?;
        let mut host_flags = RecvFlags::empty();
        if flags & riflags::RECV_PEEK != 0 {
            host_flags |= RecvFlags::PEEK;
        }
        if flags & riflags::RECV_WAITALL != 0 {
            host_flags |= RecvFlags::WAITALL;
        }
        let socket = self.fds.with(fd, rights::FD_READ)?;
        memory.check(nread, 4)?;
        memory.check(out_flags, 2)?;
        let ready = socket.ready(memory, PollFlags::IN)?;
        let fd = socket.fd().ok_or(Errno::Notsock)?;
        if ready == Readiness::Now {
            host_flags = host_flags & !RecvFlags::WAITALL | RecvFlags::DONTWAIT;
        }
        let mut cut = false;
        let read = memory.scatter(iovs, iovs_len, |pieces| {
            let (read, truncated) = receive(fd, pieces, host_flags)?;
            cut = truncated;
            Ok(read)
        });
        memory.write_u16(out_flags, if cut { roflags::RECV_DATA_TRUNCATED } else { 0 })?;
        let to_the_end = flags & riflags::RECV_WAITALL != 0 && flags & riflags::RECV_PEEK == 0;
        memory.moved(nread, read, if to_the_end { GoOn::ToTheEnd } else { GoOn::Never })
    }

    /// `sock_send`: sends the guest's pieces; writes the number of bytes.
    ///
    /// # Errors
    /// `badf`, `notsock`, `notcapable`, `again`, `pipe`, `inval` for flags (there are none), `fault`, or what the host reports.
    pub fn sock_send(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        flags: u32,
        nwritten: u32,
    ) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::Inval);
        }
        let socket = self.fds.with(fd, rights::FD_WRITE)?;
        memory.check(nwritten, 4)?;
        let written = socket.write_ready(memory, iovs, iovs_len, |socket, pieces, flags| {
            send(socket.fd().ok_or(Errno::Notsock)?, pieces, flags)
        });
        memory.moved(nwritten, written, GoOn::ToTheEnd)
    }

    /// `sock_shutdown`: closes a connection for reading, writing or both.
    ///
    /// # Errors
    /// `badf`, `notsock`, `notcapable`, `notconn`, `inval` for no or unknown flags.
    pub fn sock_shutdown(&mut self, _memory: &mut GuestMemory<'_>, fd: u32, how: u32) -> Result<(), Errno> {
        const RD: u32 = sdflags::RD as u32;
        const WR: u32 = sdflags::WR as u32;
        const BOTH: u32 = RD | WR;
        let socket = self.fds.with(fd, rights::SOCK_SHUTDOWN)?;
        let how = match how {
            RD => Shutdown::Read,
            WR => Shutdown::Write,
            BOTH => Shutdown::Both,
            _ => return Err(Errno::Inval),
        };
        let fd = socket.fd().ok_or(Errno::Notsock)?;
        Ok(rustix::net::shutdown(fd.as_fd(), how)?)
    }
}
