//! Standard streams, pipes, sockets and waiting for them.

mod common;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use common::*;
use kiln_wasi::{Errno, OutputPipe, WasiCtxBuilder};

const CLOCK: u8 = 0;
const FD_READ: u8 = 1;
const FD_WRITE: u8 = 2;
const MONOTONIC: u32 = 1;

fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
}

#[test]
fn streams_in_memory_start_empty_and_fill() {
    let stdout = OutputPipe::new(8);
    let mut guest = Guest::new(WasiCtxBuilder::new().stdin("hello").stdout(&stdout));
    assert_eq!(guest.read(0, 3).unwrap(), b"hel");
    assert_eq!(guest.read(0, 30).unwrap(), b"lo");
    assert_eq!(guest.read(0, 30).unwrap(), b"");
    assert_eq!(guest.write(0, b"x"), Err(Errno::Notcapable));
    assert_eq!(guest.read(1, 1), Err(Errno::Notcapable));
    assert_eq!(guest.write(1, b"hello"), Ok(5));
    assert_eq!(guest.write(1, b"world"), Ok(3), "what there is room for");
    assert_eq!(guest.write(1, b"world"), Err(Errno::Nospc));
    assert_eq!(guest.write(1, b""), Ok(0));
    assert_eq!(stdout.contents(), b"hellowor");
    assert_eq!(stdout.take(), b"hellowor");
    assert_eq!(guest.write(1, b"more"), Ok(4));
    // Standard error was given nowhere to go.
    assert_eq!(guest.write(2, b"gone"), Ok(4));
    for fd in 0..3 {
        assert_eq!(guest.seek(fd, 0, 1), Err(Errno::Spipe), "{fd}");
        assert!(guest.stat_fd(fd).is_ok(), "{fd}");
        assert_eq!(guest.call(|ctx, memory| ctx.fd_prestat_get(memory, fd, RESULT)), Err(Errno::Badf));
    }
    assert_eq!(guest.call(|ctx, memory| ctx.fd_sync(memory, 1)), Ok(()));
}

/// Rust's runtime ignores SIGPIPE in this process, as in the command line.
#[test]
fn a_pipe_without_a_reader_is_an_error() {
    let (reader, writer) = pipe();
    let mut guest = Guest::new(WasiCtxBuilder::new().stdout(writer));
    drop(reader);
    assert_eq!(guest.write(1, b"hello"), Err(Errno::Pipe));
    assert_eq!(guest.write(1, b"hello"), Err(Errno::Pipe));
}

#[test]
fn a_full_pipe_takes_what_fits_or_says_again() {
    let (mut reader, writer) = pipe();
    let mut guest = Guest::new(WasiCtxBuilder::new().stdout(writer));
    let set = guest.call(|ctx, memory| ctx.fd_fdstat_set_flags(memory, 1, NONBLOCK));
    assert_eq!(set, Ok(()));
    assert_eq!(guest.fdstat(1).unwrap().1, NONBLOCK as u16);
    let data = vec![7; 100_000];
    let first = guest.write(1, &data).unwrap();
    assert!(first < 100_000);
    assert_eq!(guest.write(1, &data), Err(Errno::Again));
    let events = guest.poll(&[(1, FD_WRITE, 1, 0, 0), (2, CLOCK, MONOTONIC, 1_000_000, 0)]).unwrap();
    assert_eq!(events, [(2, 0, CLOCK, 0, 0)]);
    let mut buffer = vec![0; first as usize];
    reader.read_exact(&mut buffer).unwrap();
    let events = guest.poll(&[(1, FD_WRITE, 1, 0, 0), (2, CLOCK, MONOTONIC, u64::MAX, 0)]).unwrap();
    assert_eq!(events, [(1, 0, FD_WRITE, 1, 0)]);
}

/// A log to which others have written, lent as standard output: appending to it stays possible, and nothing else is.
#[test]
fn files_that_are_standard_streams_are_only_added_to() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("log");
    let open = |append| {
        std::fs::write(&path, "before ").unwrap();
        let mut file = File::options().read(true).write(true).append(append).open(&path).unwrap();
        file.seek(std::io::SeekFrom::End(0)).unwrap();
        file
    };
    for append in [true, false] {
        let (out, err) = (open(append), open(append));
        let mut guest = Guest::new(WasiCtxBuilder::new().stdin(open(append)).stdout(out).stderr(err));
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        for fd in 0..3 {
            let set_size = guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, fd, 0));
            assert_eq!(set_size, Err(Errno::Notcapable), "{fd}");
            let allocate = guest.call(|ctx, memory| ctx.fd_allocate(memory, fd, 0, 100));
            assert_eq!(allocate, Err(Errno::Notcapable), "{fd}");
            let set_times = guest.call(|ctx, memory| ctx.fd_filestat_set_times(memory, fd, 0, 0, 5));
            assert_eq!(set_times, Err(Errno::Notcapable), "{fd}");
            let count = guest.iovs(&[(DATA, 1)]);
            let pwrite = guest.call(|ctx, memory| ctx.fd_pwrite(memory, fd, IOVS, count, 0, RESULT));
            assert_eq!(pwrite, Err(Errno::Notcapable), "{fd}");
            let set_flags = guest.call(|ctx, memory| ctx.fd_fdstat_set_flags(memory, fd, 0));
            assert_eq!(set_flags, if append { Err(Errno::Notsup) } else { Ok(()) }, "{fd}");
            assert_eq!(guest.fdstat(fd).unwrap().1, u16::from(append), "{fd}");
            assert_eq!(guest.fdstat(fd).unwrap().2 & (1 << 8 | 1 << 22 | 1 << 23), 0, "{fd}");
            // To ask for the position changes nothing.
            assert_eq!(guest.seek(fd, 0, 1), Ok(7), "{fd}");
        }
        for fd in 1..3 {
            assert_eq!(guest.seek(fd, 0, 0), Err(Errno::Notcapable), "{fd}");
        }
        assert_eq!(guest.seek(0, 0, 0), Ok(0), "input is read from anywhere");
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), modified);
        assert_eq!(guest.write(1, b"after"), Ok(5));
        assert_eq!(std::fs::read(&path).unwrap(), b"before after");
    }
    let mut guest = Guest::new(WasiCtxBuilder::new().stdout(open(true)).rewrite_stdio(true));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_fdstat_set_flags(memory, 1, 0)), Ok(()));
    assert_eq!(guest.seek(1, 0, 0), Ok(0));
    assert_eq!(guest.write(1, b"asked for"), Ok(9));
    assert_eq!(guest.call(|ctx, memory| ctx.fd_filestat_set_size(memory, 1, 5)), Ok(()));
    assert_eq!(std::fs::read(&path).unwrap(), b"asked");
}

#[test]
fn one_write_is_one_packet() {
    // A datagram socket shows the boundaries of system calls.
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().stdout(OwnedFd::from(theirs)));
    guest.put(DATA, b"one two three\n\n");
    let count = guest.iovs(&[(DATA, 4), (DATA + 4, 4), (DATA + 8, 7)]);
    guest.call(|ctx, memory| ctx.fd_write(memory, 1, IOVS, count, RESULT)).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(ours.recv(&mut buffer).unwrap(), 15);
}

#[test]
fn waiting_for_input_sees_data_end_and_time() {
    let (reader, mut writer) = pipe();
    let mut guest = Guest::new(WasiCtxBuilder::new().stdin(reader));
    let start = Instant::now();
    let input = (7, FD_READ, 0, 0, 0);
    let events = guest.poll(&[input, (8, CLOCK, MONOTONIC, 30_000_000, 0)]).unwrap();
    assert_eq!(events, [(8, 0, CLOCK, 0, 0)]);
    assert!(start.elapsed() >= Duration::from_millis(30));
    writer.write_all(b"12345").unwrap();
    let events = guest.poll(&[(8, CLOCK, MONOTONIC, u64::MAX, 0), input]).unwrap();
    assert_eq!(events, [(7, 0, FD_READ, 5, 0)]);
    assert_eq!(guest.read(0, 100).unwrap(), b"12345");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            drop(writer);
        });
        let events = guest.poll(&[input]).unwrap();
        assert_eq!(events, [(7, 0, FD_READ, 0, 1)], "the other end hung up");
    });
    assert_eq!(guest.read(0, 100).unwrap(), b"");
}

#[test]
fn clocks_wake_in_time_relative_and_absolute() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    for clock in [0, 1] {
        let start = Instant::now();
        assert_eq!(guest.poll(&[(1, CLOCK, clock, 20_000_000, 0)]).unwrap(), [(1, 0, CLOCK, 0, 0)]);
        assert!(start.elapsed() >= Duration::from_millis(20));
        guest.call(|ctx, memory| ctx.clock_time_get(memory, clock, 0, RESULT)).unwrap();
        let now = guest.u64(RESULT);
        let start = Instant::now();
        let events = guest.poll(&[(1, CLOCK, clock, now + 20_000_000, 1), (2, CLOCK, clock, u64::MAX, 1)]).unwrap();
        assert_eq!(events, [(1, 0, CLOCK, 0, 0)]);
        assert!(start.elapsed() >= Duration::from_millis(15));
        // What has passed occurs at once.
        assert_eq!(guest.poll(&[(1, CLOCK, clock, 0, 1)]).unwrap(), [(1, 0, CLOCK, 0, 0)]);
    }
}

#[test]
fn wrong_subscriptions_are_events_and_wrong_calls_are_errors() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new());
    let badf = Errno::Badf.code();
    assert_eq!(guest.poll(&[(1, FD_READ, 99, 0, 0)]).unwrap(), [(1, badf, FD_READ, 0, 0)]);
    assert_eq!(guest.poll(&[(1, FD_WRITE, 0, 0, 0)]).unwrap(), [(1, Errno::Notcapable.code(), FD_WRITE, 0, 0)]);
    assert_eq!(guest.poll(&[(1, CLOCK, 4, 0, 0)]).unwrap(), [(1, Errno::Inval.code(), CLOCK, 0, 0)]);
    assert_eq!(guest.poll(&[(1, CLOCK, 2, 0, 0)]).unwrap(), [(1, Errno::Notsup.code(), CLOCK, 0, 0)]);
    assert_eq!(guest.poll(&[(1, CLOCK, 1, 0, 2)]).unwrap(), [(1, Errno::Inval.code(), CLOCK, 0, 0)]);
    assert_eq!(guest.poll(&[(1, 3, 1, 0, 0)]), Err(Errno::Inval));
    assert_eq!(guest.poll(&[]), Err(Errno::Inval));
    for (subscriptions, events, count, nevents, expected) in [
        (DATA, DATA, 16_385, RESULT, Errno::Inval),
        (DATA, DATA, u32::MAX, RESULT, Errno::Inval),
        (0xfffd0, DATA, 2, RESULT, Errno::Fault),
        (DATA, 0xfffe1, 1, RESULT, Errno::Fault),
        (DATA, DATA, 1, 0xffffd, Errno::Fault),
    ] {
        let result = guest.call(|ctx, memory| ctx.poll_oneoff(memory, subscriptions, events, count, nevents));
        assert_eq!(result, Err(expected));
    }
}

#[test]
fn the_older_form_of_subscriptions_is_understood() {
    let mut guest = Guest::new(WasiCtxBuilder::new().stdin("x"));
    guest.put(DATA, &[0; 112]);
    guest.put(DATA, &5u64.to_le_bytes());
    guest.put(DATA + 16, &77u64.to_le_bytes());
    guest.put(DATA + 24, &MONOTONIC.to_le_bytes());
    guest.put(DATA + 32, &u64::MAX.to_le_bytes());
    guest.put(DATA + 56, &6u64.to_le_bytes());
    guest.put(DATA + 56 + 8, &[FD_READ]);
    let events = DATA + 0x1000;
    guest.call(|ctx, memory| ctx.poll_oneoff_unstable(memory, DATA, events, 2, RESULT)).unwrap();
    assert_eq!((guest.u32(RESULT), guest.u64(events)), (1, 6));
}

#[test]
fn sockets_are_accepted_and_talk() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_socket(listener));
    assert_eq!(guest.fdstat(3).unwrap().0, 6);
    let mut peer = TcpStream::connect(address).unwrap();
    guest.poll(&[(1, FD_READ, 3, 0, 0)]).unwrap();
    guest.call(|ctx, memory| ctx.sock_accept(memory, 3, 0, RESULT)).unwrap();
    let socket = guest.u32(RESULT);
    assert_eq!(socket, 4);
    peer.write_all(b"question").unwrap();
    let count = guest.iovs(&[(DATA, 3), (DATA + 10, 100)]);
    let received = guest.call(|ctx, memory| ctx.sock_recv(memory, socket, IOVS, count, 1, RESULT, RESULT + 8));
    assert_eq!(received, Ok(()), "peeking");
    assert_eq!(guest.u32(RESULT), 8);
    assert_eq!(guest.read(socket, 100).unwrap(), b"question");
    guest.put(DATA, b"answer");
    let count = guest.iovs(&[(DATA, 3), (DATA + 3, 3)]);
    guest.call(|ctx, memory| ctx.sock_send(memory, socket, IOVS, count, 0, RESULT)).unwrap();
    assert_eq!(guest.write(socket, b"!"), Ok(1));
    guest.call(|ctx, memory| ctx.sock_shutdown(memory, socket, 2)).unwrap();
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer!");
    assert_eq!(guest.write(socket, b"!"), Err(Errno::Pipe));
    assert_eq!(guest.seek(socket, 0, 1), Err(Errno::Spipe));
    for how in [0, 4, u32::MAX] {
        assert_eq!(guest.call(|ctx, memory| ctx.sock_shutdown(memory, socket, how)), Err(Errno::Inval));
    }
    let send = guest.call(|ctx, memory| ctx.sock_send(memory, socket, IOVS, count, 1, RESULT));
    assert_eq!(send, Err(Errno::Inval));
}

#[test]
fn a_nonblocking_listener_says_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_socket(listener));
    assert_eq!(guest.fdstat(3).unwrap().1, NONBLOCK as u16);
    assert_eq!(guest.call(|ctx, memory| ctx.sock_accept(memory, 3, NONBLOCK, RESULT)), Err(Errno::Again));
    assert_eq!(guest.call(|ctx, memory| ctx.sock_accept(memory, 3, APPEND, RESULT)), Err(Errno::Inval));
}

#[test]
fn cut_datagrams_are_reported() {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_socket(theirs));
    assert_eq!(guest.fdstat(3).unwrap().0, 5);
    ours.send(b"too long").unwrap();
    ours.send(b"fits").unwrap();
    let count = guest.iovs(&[(DATA, 4)]);
    for flag in [1, 0] {
        let received = guest.call(|ctx, memory| ctx.sock_recv(memory, 3, IOVS, count, 0, RESULT, RESULT + 8));
        assert_eq!(received, Ok(()));
        assert_eq!((guest.u32(RESULT), u16::from_le_bytes(guest.get(RESULT + 8))), (4, flag));
    }
}

#[test]
fn only_sockets_are_sockets() {
    let (_, socket) = UnixStream::pair().unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_socket(socket));
    for (fd, expected) in [(0, Errno::Notsock), (1, Errno::Notsock), (99, Errno::Badf)] {
        assert_eq!(guest.call(|ctx, memory| ctx.sock_shutdown(memory, fd, 1)), Err(expected));
        assert_eq!(guest.call(|ctx, memory| ctx.sock_accept(memory, fd, 0, RESULT)), Err(expected));
    }
    let count = guest.iovs(&[(DATA, 4)]);
    let received = guest.call(|ctx, memory| ctx.sock_recv(memory, 0, IOVS, count, 0, RESULT, RESULT + 8));
    assert_eq!(received, Err(Errno::Notsock));
    assert_eq!(guest.call(|ctx, memory| ctx.sock_send(memory, 1, IOVS, count, 0, RESULT)), Err(Errno::Notsock));
    // The other end is gone: an error, and no signal whatever the process does about SIGPIPE.
    assert_eq!(guest.write(3, b"x"), Err(Errno::Pipe));
}
