//! Functions that wait, or move much, under a deadline: they end with it, and without it they do what they do elsewhere.
//! On a memory that is shared, and on one that is not.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use kiln::{Config, Engine, Extern, Instance, Linker, Module, Store, Trap, Val};
use kiln_wasi::{DirAccess, Errno, FUNCTIONS, Stdin, Stdout, WasiCtx, WasiCtxBuilder, WasmType};

/// Where calls put their results, paths, vectors of pieces, and data.
const RESULT: usize = 0x100;
const PATH: usize = 0x200;
const IOVS: usize = 0x400;
const DATA: usize = 0x10000;

/// A module that passes calls of each function on. `returned` counts how many came back.
fn module(memory: &str) -> String {
    let (mut imports, mut functions) = (String::new(), String::new());
    for function in FUNCTIONS.iter().filter(|function| function.returns_errno) {
        let ty = |ty| if ty == WasmType::I32 { " i32" } else { " i64" };
        let params: String = function.params.iter().map(|(_, param)| ty(*param)).collect();
        let args: String = (0..function.params.len()).map(|index| format!("(local.get {index})")).collect();
        let name = function.name;
        imports +=
            &format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param{params}) (result i32)))\n");
        functions += &format!(
            "(func (export \"{name}\") (param{params}) (result i32)
                (call ${name} {args})
                (global.set $returned (i32.add (global.get $returned) (i32.const 1))))\n"
        );
    }
    format!(
        "(module {imports} (memory (export \"memory\") {memory})
            (global $returned (export \"returned\") (mut i32) (i32.const 0)) {functions})"
    )
}

struct Guest {
    store: Store<WasiCtx>,
    instance: Instance,
}

impl Guest {
    /// Two of them: with a memory of its own, and with a shared one.
    fn both(make: impl Fn(&mut WasiCtxBuilder)) -> [Guest; 2] {
        ["600 65536", "600 65536 shared"].map(|memory| {
            let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
            let module = Module::new(&engine, module(memory)).unwrap();
            let mut linker = Linker::new(&engine);
            kiln_wasi::add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
            let mut builder = WasiCtxBuilder::new();
            make(&mut builder);
            let mut store = Store::new(&engine, builder.build().unwrap());
            store.set_epoch_deadline(u64::MAX / 2);
            let instance = linker.instantiate(&mut store, &module).unwrap();
            Guest { store, instance }
        })
    }

    fn call(&mut self, name: &str, args: &[Val]) -> Result<Result<(), Errno>> {
        let function = self.instance.get_func(&mut self.store, name).unwrap();
        let mut results = [Val::I32(-1)];
        function.call(&mut self.store, args, &mut results)?;
        let code = results[0].unwrap_i32();
        Ok(Errno::from_code(code as u16).map_or(Ok(()), Err))
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> Val {
        match self.instance.get_export(&mut self.store, "memory").unwrap() {
            Extern::Memory(memory) => memory.write(&mut self.store, at, bytes).unwrap(),
            Extern::SharedMemory(memory) => memory.write(at, bytes).unwrap(),
            _ => unreachable!(),
        }
        Val::I32(at as i32)
    }

    fn read(&mut self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        match self.instance.get_export(&mut self.store, "memory").unwrap() {
            Extern::Memory(memory) => memory.read(&self.store, at, &mut bytes).unwrap(),
            Extern::SharedMemory(memory) => memory.read(at, &mut bytes).unwrap(),
            _ => unreachable!(),
        }
        bytes
    }

    fn u32(&mut self, at: usize) -> u32 {
        u32::from_le_bytes(self.read(at, 4).try_into().unwrap())
    }

    fn iovs(&mut self, pieces: &[(usize, usize)]) -> [Val; 2] {
        let bytes: Vec<u8> =
            pieces.iter().flat_map(|(at, len)| [*at as u32, *len as u32]).flat_map(u32::to_le_bytes).collect();
        [self.write(IOVS, &bytes), Val::I32(pieces.len() as i32)]
    }

    /// Makes a call that would take for ever, or very long, under a deadline.
    fn is_stopped(&mut self, name: &str, args: &[Val]) {
        let engine = self.store.engine().clone();
        self.store.set_epoch_deadline(10);
        let is_over = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(3));
                    engine.increment_epoch();
                }
            });
            let result = self.call(name, args);
            is_over.store(true, Ordering::Relaxed);
            result
        });
        let error = result.expect_err(name);
        assert_eq!(error.downcast_ref(), Some(&Trap::Interrupt), "{name}: {error:?}");
        let returned = self.instance.get_global(&mut self.store, "returned").unwrap().get(&mut self.store);
        assert_eq!(returned.unwrap_i32(), 0, "{name} is not left in the middle");
    }

    /// The arguments of `path_open` in descriptor 3.
    fn opening(&mut self, path: &str, oflags: i32, rights: i64) -> Vec<Val> {
        let len = path.len() as i32;
        let path = self.write(PATH, path.as_bytes());
        let (rights, none) = (Val::I64(rights), Val::I64(0));
        vec![Val::I32(3), Val::I32(1), path, Val::I32(len), Val::I32(oflags), rights, none, Val::I32(0), result()]
    }
}

fn result() -> Val {
    Val::I32(RESULT as i32)
}

/// A pipe as files: its reading end and its writing end.
fn pipe() -> (File, File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (OwnedFd::from(reader).into(), OwnedFd::from(writer).into())
}

const FD_READ: i64 = 1 << 1;
const FD_WRITE: i64 = 1 << 6;

#[test]
fn sleeping_and_waiting_for_input() {
    let (reader, _writer) = pipe();
    let clock = |timeout: u64| {
        let mut subscription = vec![0; 48];
        subscription[16] = 1;
        subscription[24..32].copy_from_slice(&timeout.to_le_bytes());
        subscription
    };
    let input = [vec![0; 8], vec![1], vec![0; 39]].concat();
    for subscriptions in [clock(3600 << 30), clock(u64::MAX), input.clone(), [input, clock(3600 << 30)].concat()] {
        for mut guest in Guest::both(|wasi| _ = wasi.stdin(reader.try_clone().unwrap())) {
            let count = Val::I32((subscriptions.len() / 48) as i32);
            let at = guest.write(DATA, &subscriptions);
            guest.is_stopped("poll_oneoff", &[at, Val::I32(0x20000), count, result()]);
        }
    }
    // A time that comes is waited for all the same.
    for mut guest in Guest::both(|_| ()) {
        let at = guest.write(DATA, &clock(20_000_000));
        let start = std::time::Instant::now();
        assert_eq!(guest.call("poll_oneoff", &[at, Val::I32(0x20000), Val::I32(1), result()]).unwrap(), Ok(()));
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(guest.u32(RESULT), 1);
    }
}

#[test]
fn reading_from_what_gives_nothing() {
    let (reader, _writer) = pipe();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let inputs: [Box<dyn Fn() -> Stdin>; 2] = [
        Box::new(|| Stdin::File(reader.try_clone().unwrap())),
        Box::new(|| Stdin::from(OwnedFd::from(socket.try_clone().unwrap()))),
    ];
    for input in &inputs {
        for mut guest in Guest::both(|wasi| _ = wasi.stdin(input())) {
            let [iovs, count] = guest.iovs(&[(DATA, 100)]);
            guest.is_stopped("fd_read", &[Val::I32(0), iovs, count, result()]);
        }
    }
}

#[test]
fn reading_gives_what_there_is_as_soon_as_it_is_there() {
    for shared in [0, 1] {
        let (reader, mut writer) = pipe();
        let mut guests = Guest::both(|wasi| _ = wasi.stdin(reader.try_clone().unwrap()));
        let guest = &mut guests[shared];
        std::thread::scope(|scope| {
            scope.spawn(move || {
                writer.write_all(b"first").unwrap();
                std::thread::sleep(Duration::from_millis(20));
                writer.write_all(b"second").unwrap();
            });
            let mut got = Vec::new();
            loop {
                let [iovs, count] = guest.iovs(&[(DATA, 2), (DATA + 2, 100)]);
                assert_eq!(guest.call("fd_read", &[Val::I32(0), iovs, count, result()]).unwrap(), Ok(()));
                match guest.u32(RESULT) as usize {
                    0 => break,
                    len => got.extend(guest.read(DATA, len)),
                }
            }
            assert_eq!(got, b"firstsecond");
        });
    }
}

#[test]
fn writing_to_what_is_full() {
    let (_reader, writer) = pipe();
    let (socket, _peer) = UnixStream::pair().unwrap();
    let outputs: [Box<dyn Fn() -> Stdout>; 2] = [
        Box::new(|| Stdout::File(writer.try_clone().unwrap())),
        Box::new(|| Stdout::from(OwnedFd::from(socket.try_clone().unwrap()))),
    ];
    for output in &outputs {
        for mut guest in Guest::both(|wasi| _ = wasi.stdout(output())) {
            let [iovs, count] = guest.iovs(&[(DATA, 30 << 20)]);
            guest.is_stopped("fd_write", &[Val::I32(1), iovs, count, result()]);
        }
    }
}

/// Pipes and sockets take all of a large write, however slowly the other end reads, in order and once.
#[test]
fn writing_goes_on_to_the_end() {
    let data: Vec<u8> = (0..3_000_000u32).map(|i| (i / 7) as u8).collect();
    for shared in [0, 1] {
        let ((reader, writer), (ours, theirs)) = (pipe(), UnixStream::pair().unwrap());
        let theirs = File::from(OwnedFd::from(theirs));
        let mut guests = Guest::both(|wasi| {
            wasi.stdout(writer.try_clone().unwrap()).stderr(theirs.try_clone().unwrap());
        });
        let guest = &mut guests[shared];
        for (fd, mut reader) in [(1, reader), (2, File::from(OwnedFd::from(ours)))] {
            std::thread::scope(|scope| {
                let received = scope.spawn(move || {
                    let mut received = vec![0; 3_000_000];
                    reader.read_exact(&mut received).unwrap();
                    received
                });
                guest.write(DATA, &data);
                let [iovs, count] =
                    guest.iovs(&[(DATA, 1_000_001), (DATA + 1_000_001, 0), (DATA + 1_000_001, 1_999_999)]);
                assert_eq!(guest.call("fd_write", &[Val::I32(fd), iovs, count, result()]).unwrap(), Ok(()));
                assert_eq!(guest.u32(RESULT), 3_000_000);
                assert!(received.join().unwrap() == data, "{fd}");
            });
        }
    }
}

/// Files are read and written whole, beyond the pieces in which that is done.
#[test]
fn files_of_many_pieces() {
    let temp = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i / 3) as u8).collect();
    for mut guest in Guest::both(|wasi| _ = wasi.preopened_dir(temp.path(), "/", DirAccess::ReadWrite).unwrap()) {
        let opening = guest.opening("file", 1 | 8, FD_READ | FD_WRITE | 1 << 2);
        assert_eq!(guest.call("path_open", &opening).unwrap(), Ok(()));
        let fd = Val::I32(guest.u32(RESULT) as i32);
        guest.write(DATA, &data);
        let [iovs, count] = guest.iovs(&[(DATA, 5_000_000)]);
        assert_eq!(guest.call("fd_write", &[fd, iovs, count, result()]).unwrap(), Ok(()));
        assert_eq!(guest.u32(RESULT), 5_000_000);
        assert!(std::fs::read(temp.path().join("file")).unwrap() == data);
        let pwrite = [fd, iovs, count, Val::I64(2_500_000), result()];
        assert_eq!(guest.call("fd_pwrite", &pwrite).unwrap(), Ok(()));
        assert_eq!(guest.u32(RESULT), 5_000_000);
        let expected = [&data[..2_500_000], &data].concat();
        assert!(std::fs::read(temp.path().join("file")).unwrap() == expected);
        for (name, offset, start) in
            [("fd_pread", vec![Val::I64(1_000_000)], 1_000_000), ("fd_read", vec![], 5_000_000)]
        {
            guest.write(DATA, &vec![0; 8_000_000]);
            let [iovs, count] = guest.iovs(&[(DATA, 1_500_000), (DATA + 1_500_000, 6_500_000)]);
            let args = [vec![fd, iovs, count], offset, vec![result()]].concat();
            assert_eq!(guest.call(name, &args).unwrap(), Ok(()));
            let len = expected.len() - start;
            assert_eq!(guest.u32(RESULT) as usize, len, "{name} comes to the end of the file");
            assert!(guest.read(DATA, len) == expected[start..], "{name}");
        }
    }
}

#[test]
fn large_amounts_from_devices() {
    for mut guest in Guest::both(|wasi| _ = wasi.stdin(File::open("/dev/urandom").unwrap())) {
        guest.instance.get_export(&mut guest.store, "memory").unwrap();
        match guest.instance.get_export(&mut guest.store, "memory").unwrap() {
            Extern::Memory(memory) => _ = memory.grow(&mut guest.store, 64_000).unwrap(),
            Extern::SharedMemory(memory) => _ = memory.grow(64_000).unwrap(),
            _ => unreachable!(),
        }
        let [iovs, count] = guest.iovs(&[(DATA, 2 << 30), (DATA, 2 << 30)]);
        guest.is_stopped("fd_read", &[Val::I32(0), iovs, count, result()]);
        guest.is_stopped("random_get", &[Val::I32(DATA as i32), Val::I32(-(1 << 26))]);
    }
    for mut guest in Guest::both(|_| ()) {
        assert_eq!(guest.call("random_get", &[Val::I32(DATA as i32), Val::I32(5_000_000)]).unwrap(), Ok(()));
        let bytes = guest.read(DATA, 5_000_100);
        assert!(bytes[..5_000_000].chunks(1000).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
        assert!(bytes[5_000_000..].iter().all(|byte| *byte == 0));
    }
}

fn fifo(folder: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
}

#[test]
fn opening_a_fifo_that_nobody_else_opens() {
    let temp = tempfile::tempdir().unwrap();
    fifo(temp.path());
    for (oflags, rights) in [(0, FD_READ), (0, FD_WRITE), (1, FD_WRITE)] {
        for mut guest in Guest::both(|wasi| _ = wasi.preopened_dir(temp.path(), "/", DirAccess::ReadWrite).unwrap()) {
            let opening = guest.opening("fifo", oflags, rights);
            guest.is_stopped("path_open", &opening);
        }
    }
}

/// A FIFO is open when its other end is, whether or not anything is written, and then works as pipes do.
#[test]
fn opening_a_fifo_that_somebody_opens() {
    let temp = tempfile::tempdir().unwrap();
    fifo(temp.path());
    let path = temp.path().join("fifo");
    for mut guest in Guest::both(|wasi| _ = wasi.preopened_dir(temp.path(), "/", DirAccess::ReadWrite).unwrap()) {
        for rights in [FD_READ, FD_WRITE] {
            std::thread::scope(|scope| {
                let (path, (told, tell)) = (&path, std::sync::mpsc::channel());
                scope.spawn(move || {
                    let mut file =
                        File::options().read(rights == FD_WRITE).write(rights == FD_READ).open(path).unwrap();
                    // Nothing is written before the guest has opened it.
                    tell.recv().unwrap();
                    if rights == FD_READ {
                        file.write_all(b"hello").unwrap();
                    } else {
                        let mut text = [0; 5];
                        file.read_exact(&mut text).unwrap();
                        assert_eq!(&text, b"hello");
                    }
                });
                let opening = guest.opening("fifo", 0, rights);
                assert_eq!(guest.call("path_open", &opening).unwrap(), Ok(()));
                told.send(()).unwrap();
                let fd = Val::I32(guest.u32(RESULT) as i32);
                guest.write(DATA, if rights == FD_READ { b"....." } else { b"hello" });
                let [iovs, count] = guest.iovs(&[(DATA, 5)]);
                let name = if rights == FD_READ { "fd_read" } else { "fd_write" };
                assert_eq!(guest.call(name, &[fd, iovs, count, result()]).unwrap(), Ok(()));
                assert_eq!((guest.u32(RESULT), guest.read(DATA, 5)), (5, b"hello".to_vec()));
                // It was made to wait again.
                assert_eq!(guest.call("fd_fdstat_get", &[fd, result()]).unwrap(), Ok(()));
                assert_eq!(guest.read(RESULT + 2, 2), [0, 0]);
                assert_eq!(guest.call("fd_close", &[fd]).unwrap(), Ok(()));
            });
        }
    }
}

#[test]
fn sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (socket, mut peer) = UnixStream::pair().unwrap();
    let make = |wasi: &mut WasiCtxBuilder| {
        wasi.preopened_socket(listener.try_clone().unwrap()).preopened_socket(socket.try_clone().unwrap());
    };
    for mut guest in Guest::both(make) {
        guest.is_stopped("sock_accept", &[Val::I32(3), Val::I32(0), result()]);
        let out_flags = Val::I32(RESULT as i32 + 8);
        let receiving = |iovs, count, flags| [Val::I32(4), iovs, count, Val::I32(flags), result(), out_flags];
        let [iovs, count] = guest.iovs(&[(DATA, 100)]);
        guest.is_stopped("sock_recv", &receiving(iovs, count, 0));
        peer.write_all(b"partial").unwrap();
        guest.is_stopped("sock_recv", &receiving(iovs, count, 2));
        let [iovs, count] = guest.iovs(&[(DATA, 30 << 20)]);
        guest.is_stopped("sock_send", &[Val::I32(4), iovs, count, Val::I32(0), result()]);
    }
}

/// A listing of more bytes than are moved at once: every name, once.
#[test]
fn long_listings() {
    let temp = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..5000).map(|index| format!("{index:0250}")).collect();
    for name in &names {
        File::create(temp.path().join(name)).unwrap();
    }
    for mut guest in Guest::both(|wasi| _ = wasi.preopened_dir(temp.path(), "/", DirAccess::ReadOnly).unwrap()) {
        for room in [2_000_000, 1_200_000] {
            let args = [Val::I32(3), Val::I32(DATA as i32), Val::I32(room), Val::I64(0), result()];
            assert_eq!(guest.call("fd_readdir", &args).unwrap(), Ok(()));
            let used = guest.u32(RESULT) as usize;
            let bytes = guest.read(DATA, used);
            let (mut at, mut found) = (0, Vec::new());
            while bytes.len() - at >= 24 {
                let len = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap()) as usize;
                let Some(name) = bytes.get(at + 24..at + 24 + len) else { break };
                found.push(String::from_utf8(name.to_vec()).unwrap());
                at += 24 + len;
            }
            found.retain(|name| name.len() == 250);
            found.sort();
            if room == 2_000_000 {
                assert!(found == names, "{} names", found.len());
            } else {
                assert_eq!(used, 1_200_000);
                assert!(found.len() > 4300 && found.windows(2).all(|pair| pair[0] != pair[1]), "{}", found.len());
            }
        }
    }
}
