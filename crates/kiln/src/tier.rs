//! Threads that compile hot functions while the program runs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use kiln_env::FuncKey;

use crate::code::ModuleCode;

/// When functions change their tier, with [`Tiering::Dynamic`](crate::Tiering::Dynamic).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TierUp {
    /// When they are hot: they are compiled in the background, on all processors but one.
    #[default]
    Background,
    /// Never: they stay as they were compiled at first. For tests of Kiln itself, and for measuring.
    Never,
    /// After their first call, and at the first loop header that they reach. For tests of Kiln itself.
    AtOnce,
    /// Whenever a generator of pseudo-random numbers with this seed says so. For tests of Kiln itself.
    Random(u64),
}

/// Something to compile.
pub(crate) struct Job {
    code: Weak<ModuleCode>,
    key: FuncKey,
    priority: u64,
}

/// Bytes of wasm to which the costs of a compilation that do not depend on size amount.
const FIXED_SIZE: u64 = 256;

/// How much more urgent a function is that would stay in its loop for ever.
const OSR_FACTOR: u64 = 4;

impl Job {
    /// A function that became hot `heat` times and has `size` bytes of wasm.
    pub(crate) fn new(code: &Arc<ModuleCode>, key: FuncKey, heat: u32, size: u64) -> Job {
        let factor = if matches!(key, FuncKey::Osr { .. }) { OSR_FACTOR } else { 1 };
        let priority = ((u64::from(heat) * factor) << 24) / (size + FIXED_SIZE);
        Job { code: Arc::downgrade(code), key, priority }
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Job {}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Job) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Job) -> Ordering {
        self.priority.cmp(&other.priority).then_with(|| other.key.cmp(&self.key))
    }
}

/// The jobs of an engine and the threads that do them, started when there are jobs.
pub(crate) struct TierQueue {
    /// How many threads there may be, once somebody has asked.
    max_threads: OnceLock<usize>,
    state: Mutex<State>,
    /// Functions, of all modules, that could not be compiled at the second tier.
    failures: AtomicU64,
    wake: Condvar,
    /// Somebody waits until there is nothing left to do.
    done: Condvar,
}

#[derive(Default)]
struct State {
    jobs: BinaryHeap<Job>,
    threads: usize,
    idle: usize,
    /// Jobs that threads are at.
    running: usize,
    closed: bool,
}

impl TierQueue {
    /// A queue for this many threads; 0 is one less than there are processors.
    pub(crate) fn new(max_threads: usize) -> Arc<TierQueue> {
        let max_threads = if max_threads == 0 { OnceLock::new() } else { OnceLock::from(max_threads) };
        Arc::new(TierQueue {
            max_threads,
            state: Mutex::default(),
            failures: AtomicU64::new(0),
            wake: Condvar::new(),
            done: Condvar::new(),
        })
    }

    /// How many threads there may be. Asks the system, which takes a dozen system calls, only when there is work.
    fn max_threads(&self) -> usize {
        let others = || thread::available_parallelism().map_or(1, |n| n.get().saturating_sub(1).max(1));
        *self.max_threads.get_or_init(others)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a function that could not be compiled at the second tier.
    pub(crate) fn note_failure(&self) {
        self.failures.fetch_add(1, atomic::Ordering::Relaxed);
    }

    /// How many could not be.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(atomic::Ordering::Relaxed)
    }

    /// Adds a job.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.jobs.push(job);
        if state.idle == 0 && state.threads < self.max_threads() {
            let queue = self.clone();
            let builder = thread::Builder::new().name("kiln-tier-up".to_owned()).stack_size(STACK_BYTES);
            match builder.spawn(move || queue.work()) {
                Ok(_) => state.threads += 1,
                Err(error) => tracing::warn!(%error, "no thread to compile hot functions"),
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Waits until there is nothing left to do, but not longer than to `end`; whether that was so.
    pub(crate) fn wait_until(&self, end: Instant) -> bool {
        let mut state = self.lock();
        while !state.jobs.is_empty() || state.running > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.threads == 0 {
                return false;
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Ends the threads; jobs that wait are forgotten.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.wake.notify_all();
    }

    fn work(&self) {
        // Where processors are short, the program is to have them. On Linux this is about the thread.
        _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        let mut state = self.lock();
        while !state.closed {
            match state.jobs.pop() {
                Some(job) => {
                    state.running += 1;
                    drop(state);
                    // The module may be gone.
                    if let Some(code) = job.code.upgrade() {
                        code.run_job(job.key);
                    }
                    state = self.lock();
                    state.running -= 1;
                }
                None => {
                    self.done.notify_all();
                    state.idle += 1;
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle -= 1;
                }
            }
        }
        state.threads -= 1;
    }
}

/// How far its threads stand back behind others.
const NICENESS: i32 = 5;

/// Bytes of stack of a thread: as for the compiler's own.
const STACK_BYTES: usize = 8 << 20;
