//! `-W timeout`: what a program may take from when its file is read to its end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kiln::{Engine, Store, Trap};

use crate::report;

/// How long after the timeout a program may take to notice it. Its own code does at once; what the host does for it looks
/// every millisecond or so. Only a very large function that is being compiled does not.
const GRACE: Duration = Duration::from_millis(500);

/// A clock that stops a program, until it is dropped.
pub(crate) struct Timeout(Arc<Clock>);

#[derive(Default)]
struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    phase: Phase,
    expired: bool,
}

#[derive(Default, PartialEq)]
enum Phase {
    /// Its code does not run yet: it is read, compiled.
    #[default]
    Preparing,
    Running,
    Ended,
}

impl Timeout {
    /// Starts the clock for what is done with an engine. If it runs out while the program is prepared, the process ends there;
    /// if the program runs, it is told, and the process ends if that is to no avail.
    pub(crate) fn begin(engine: &Engine, limit: Duration, program: &str) -> Result<Timeout> {
        let this = Timeout(Arc::default());
        let (clock, engine, program) = (this.0.clone(), engine.clone(), program.to_owned());
        let thread = thread::Builder::new().name("timeout".to_owned());
        thread.spawn(move || clock.watch(&engine, limit, &program)).context("cannot start a thread for -W timeout")?;
        Ok(this)
    }

    /// The program's code begins to run, in this store.
    pub(crate) fn enter<T>(&self, store: &mut Store<T>) {
        let mut state = self.0.lock();
        state.phase = Phase::Running;
        store.epoch_deadline_trap();
        store.set_epoch_deadline(u64::from(!state.expired));
    }
}

impl Drop for Timeout {
    fn drop(&mut self) {
        self.0.lock().phase = Phase::Ended;
        self.0.changed.notify_all();
    }
}

impl Clock {
    fn watch(&self, engine: &Engine, limit: Duration, program: &str) {
        if self.has_ended_within(limit) {
            return;
        }
        let mut state = self.lock();
        state.expired = true;
        if state.phase == Phase::Preparing {
            // The lock is kept: the program does not begin any more.
            end_process(program, "prepared");
        }
        drop(state);
        engine.increment_epoch();
        if !self.has_ended_within(GRACE) {
            end_process(program, "run");
        }
    }

    fn has_ended_within(&self, time: Duration) -> bool {
        let until = Instant::now().checked_add(time);
        let mut state = self.lock();
        while state.phase != Phase::Ended {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Ends the process as if the program had trapped.
fn end_process(program: &str, what: &str) -> ! {
    let error = anyhow!(Trap::Interrupt).context(format!("{program} could not be {what} within -W timeout"));
    report::failure(&error);
    std::process::exit(report::TRAPPED.into());
}
