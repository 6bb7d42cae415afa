//! Names of compiled functions for `perf`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Mutex;

use super::{NameFn, PerfMode, Placed};
use crate::sys::mmap::{Access, Mapping, page_size};

/// The files that are open, and whose they are: a fork begins its own.
static FILES: Mutex<Files> = Mutex::new(Files { process: 0, map: None, dump: None });

struct Files {
    process: u32,
    map: Option<File>,
    dump: Option<Dump>,
}

struct Dump {
    file: File,
    /// `perf record` notices the file by an executable mapping of it.
    _marker: Mapping,
    next_index: u64,
}

/// Tells `perf` about functions, in the way that is wanted. Failing to write is worth a warning and no more.
pub(super) fn tell(mode: PerfMode, functions: &[Placed<'_>], names: &NameFn) {
    let mut files = FILES.lock().unwrap_or_else(|e| e.into_inner());
    let process = std::process::id();
    if files.process != process {
        *files = Files { process, map: None, dump: None };
    }
    let result = match mode {
        PerfMode::None => Ok(()),
        PerfMode::Map => files.write_map(functions, names),
        PerfMode::Jitdump => files.write_dump(functions, names),
    };
    if let Err(error) = result {
        tracing::warn!(%error, "telling perf about code");
    }
}

impl Files {
    fn write_map(&mut self, functions: &[Placed<'_>], names: &NameFn) -> io::Result<()> {
        if self.map.is_none() {
            let path = format!("/tmp/perf-{}.map", self.process);
            self.map = Some(open_new(OpenOptions::new().append(true), &path)?);
        }
        let mut text = String::new();
        for function in functions {
            let name = names(function.key);
            text.push_str(&format!("{:x} {:x} {name}\n", function.range.start, function.range.len()));
        }
        self.map.as_mut().map_or(Ok(()), |file| file.write_all(text.as_bytes()))
    }

    fn write_dump(&mut self, functions: &[Placed<'_>], names: &NameFn) -> io::Result<()> {
        if self.dump.is_none() {
            self.dump = Some(Dump::new(self.process)?);
        }
        let Some(dump) = &mut self.dump else { return Ok(()) };
        let mut records = Vec::new();
        for function in functions {
            let name = names(function.key).replace('\0', " ");
            let code_len = function.range.len();
            let size = 16 + 40 + name.len() + 1 + code_len;
            records.extend(0_u32.to_le_bytes()); // JIT_CODE_LOAD
            records.extend((size as u32).to_le_bytes());
            records.extend(now().to_le_bytes());
            records.extend(self.process.to_le_bytes());
            records.extend(rustix::thread::gettid().as_raw_nonzero().get().to_le_bytes());
            let address = function.range.start as u64;
            for word in [address, address, code_len as u64, dump.next_index] {
                records.extend(word.to_le_bytes());
            }
            records.extend(name.as_bytes());
            records.push(0);
            // SAFETY: the function was just placed there, and who tells about it keeps it mapped meanwhile.
            records.extend(unsafe { std::slice::from_raw_parts(function.range.start as *const u8, code_len) });
            dump.next_index += 1;
        }
        dump.file.write_all(&records)
    }
}

/// Opens a file at a path that others could guess: never follows a link, never takes over somebody else's file.
fn open_new(options: &mut OpenOptions, path: &str) -> io::Result<File> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let file = options.create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)?;
    let metadata = file.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || !metadata.is_file() {
        return Err(io::Error::other(format!("{path} belongs to somebody else")));
    }
    file.set_len(0)?;
    Ok(file)
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Dump {
    fn new(process: u32) -> io::Result<Dump> {
        let path = format!("jit-{process}.dump");
        let mut file = open_new(OpenOptions::new().read(true).write(true), &path)?;
        let machine: u32 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
        let mut header = Vec::new();
        for word in [0x4a69_5444, 1, 40, machine, 0, process] {
            header.extend(word.to_le_bytes());
        }
        header.extend(now().to_le_bytes());
        header.extend(0_u64.to_le_bytes());
        file.write_all(&header)?;
        let marker = {
            use std::os::fd::AsFd;
            Mapping::shared_file(file.as_fd(), page_size(), Access::ReadExec).map_err(io::Error::other)?
        };
        Ok(Dump { file, _marker: marker, next_index: 0 })
    }
}
