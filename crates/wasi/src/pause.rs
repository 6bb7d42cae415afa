//! Calls that are broken off instead of waiting, and tried again.
//!
//! Where the guest's deadline or its fuel may end while it waits, or other threads use the same [`WasiCtx`](crate::WasiCtx),
//! a function does not wait in the host. It says what it would wait for, and is called again, with the same arguments
//! and what it noted of itself, when that has happened. Large transfers are made in pieces, in the same way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::time::ClockId;

use crate::Errno;
use crate::process::{now, timespec};

/// A descriptor of the host, which stays open while it is waited for.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    File(Arc<File>),
    Stdin,
    Stdout,
    Stderr,
}

/// What a call waits for: the first of these.
#[derive(Debug, Default)]
pub(crate) struct Wait {
    pub(crate) events: Vec<(Handle, PollFlags)>,
    /// On the monotonic clock, in nanoseconds.
    pub(crate) until: Option<u64>,
}

impl Wait {
    /// For nothing: the call is tried again at once.
    pub(crate) fn for_nothing() -> Self {
        Self { events: Vec::new(), until: Some(0) }
    }

    /// For one descriptor.
    pub(crate) fn for_event(handle: Handle, events: PollFlags) -> Self {
        Self { events: vec![(handle, events)], until: None }
    }

    /// Waits until it has happened, `wake` can be read from, or a signal comes.
    ///
    /// # Errors
    /// What the host reports.
    pub(crate) fn wait(&self, wake: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let rest = match self.until {
            Some(0) => return Ok(()),
            Some(until) => Some(timespec(until.saturating_sub(now(ClockId::Monotonic)?))),
            None => None,
        };
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(self.events.len() + 1);
        for (handle, events) in &self.events {
            let fd = match handle {
                Handle::File(file) => file.as_fd(),
                Handle::Stdin => stdin.as_fd(),
                Handle::Stdout => stdout.as_fd(),
                Handle::Stderr => stderr.as_fd(),
            };
            polled.push(PollFd::from_borrowed_fd(fd, *events));
        }
        polled.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
        match rustix::event::poll(&mut polled, rest.as_ref()) {
            Err(rustix::io::Errno::INTR) => Ok(()),
            result => result.map(drop).map_err(Errno::from),
        }
    }
}

/// A call that may be broken off: why it was, and how far it had come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Set by a function that is to be called again.
    pub(crate) wait: Option<Wait>,
    /// Bytes that were moved.
    pub(crate) done: usize,
    /// Of the vector that is moved: how many bytes are moved this time, and whether others are left.
    pub(crate) asked: usize,
    pub(crate) is_cut: bool,
    /// Where a listing goes on.
    pub(crate) cookie: Option<u64>,
    /// When the call began, on the monotonic clock.
    pub(crate) start: Option<u64>,
    /// A file that is open, but is not to be given to the guest yet.
    pub(crate) opening: Option<File>,
}

impl Progress {
    /// Breaks the call off; the function returns the error.
    pub(crate) fn pause(&mut self, wait: Wait) -> Errno {
        self.wait = Some(wait);
        Errno::Again
    }
}

/// Whether a transfer goes on when a piece was moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum GoOn {
    Never,
    /// If the piece was moved as a whole: the rest is there, too, or will not come.
    WhileWhole,
    /// Until all is moved.
    ToTheEnd,
}
