//! WASI preview 1 for Kiln.
//!
//! A [`WasiCtx`] is the state of one guest. It is made by a [`WasiCtxBuilder`], which by default gives the guest
//! nothing of the host, and kept in the data of a store; [`add_to_linker`] defines the functions that use it.
//!
//! The functions themselves are methods of [`WasiCtx`] that take guest memory as a slice
//! ([`GuestMemory`]) and know nothing of an engine, so that other bindings can use them too.
//!
//! # What is promised
//! * A guest reaches files only below the folders that it was lent. No path, link or rename leads
//!   out: paths are resolved by cap-std.
//! * A pointer that leads outside of guest memory is the error `fault`, and no argument makes the host panic.
//! * One read or write of the guest is one system call on its own memory, without a copy or a lock.
//!   Nothing is buffered: what the guest wrote is written.
//! * A function that waits ends with the deadline of its store, if its engine has epochs: sleeping, reading from pipes and
//!   terminals, writing to full ones, opening FIFOs, sockets. Large transfers are made in pieces, between which deadline
//!   and fuel are checked. What the file system itself takes is not interrupted, nor a process that takes from a pipe
//!   between the question whether there is something in it and the reading.
//! * Names of files are bytes. A guest sees, and can use, names that are no UTF-8.
//!
//! # Threads
//! The functions work on shared memories, too. Programs that start threads (wasi-threads) need [`WasiThreads`].
//!
//! # SIGPIPE
//! Writing to a pipe that nobody reads gives the guest the error `pipe`, provided that this process ignores
//! SIGPIPE, as programs in Rust do unless told otherwise. A host that is not must ignore the signal itself;
//! for sockets that is not needed.

#![forbid(unsafe_code)]

mod abi;
mod ctx;
mod descriptor;
mod errno;
mod file;
mod functions;
mod limits;
mod linker;
mod memory;
mod path;
mod pause;
mod poll;
mod process;
mod readdir;
mod socket;
mod stdio;
mod table;
mod threads;

pub use ctx::{BuildError, DirAccess, WasiCtx, WasiCtxBuilder};
pub use errno::Errno;
pub use functions::{FUNCTIONS, Function, WasmType};
pub use limits::THREADS as DEFAULT_THREADS;
pub use linker::{SharedWasiCtx, add_shared_to_linker, add_to_linker};
pub use memory::GuestMemory;
pub use stdio::{OutputPipe, Stdin, Stdout};
pub use threads::WasiThreads;

/// The end of a program by `proc_exit`, as an error: it unwinds the guest and comes out of the call that entered it.
///
/// Find it with `error.downcast_ref::<I32Exit>()`. A code of 0 is success all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exited with code {0}")]
pub struct I32Exit(
    /// The exit code. WASI lets a guest pass any 32 bits; shells and parent processes see the lowest eight.
    pub i32,
);

impl I32Exit {
    /// The code as the exit code of a process: its lowest eight bits, but never 0 for a code that is not 0.
    pub fn process_exit_code(self) -> u8 {
        match (self.0, self.0 as u8) {
            (0, _) => 0,
            (_, 0) => 1,
            (_, code) => code,
        }
    }
}
