//! Threads that wait on addresses of a shared memory.
//!
//! `models/` explores this file with another `crate::sync`.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How a wait ended. The numbers are what the wasm operators return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum WaitResult {
    /// Another thread notified the address.
    Ok = 0,
    /// The address did not hold the expected value.
    Mismatch = 1,
    /// The time was over first.
    TimedOut = 2,
}

/// Who waits, by address, in the order in which they came.
#[derive(Default)]
pub(crate) struct Parking {
    waiters: Mutex<HashMap<u64, VecDeque<Arc<Waiter>>>>,
}

/// A thread that waits, until `notified` under the lock of `waiters`.
#[derive(Default)]
struct Waiter {
    notified: AtomicBool,
    wake: Condvar,
    /// How to wake one that does not wait for `wake`.
    signal: Option<Box<dyn Fn() + Send + Sync>>,
}

/// A thread's place in the queue of an address. It leaves the queue when this is dropped.
pub(crate) struct Parked<'a> {
    parking: &'a Parking,
    addr: u64,
    me: Arc<Waiter>,
}

impl Parked<'_> {
    /// Whether it was notified.
    pub(crate) fn is_notified(&self) -> bool {
        self.me.notified.load(Ordering::Acquire)
    }

    /// Leaves the queue: whether it was notified before.
    pub(crate) fn leave(self) -> bool {
        let mut waiters = self.parking.lock();
        Parking::remove(&mut waiters, self.addr, &self.me);
        drop(waiters);
        self.is_notified()
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        if !self.is_notified() {
            Parking::remove(&mut self.parking.lock(), self.addr, &self.me);
        }
    }
}

impl Parking {
    /// Wakes up to `count` waiters of `addr`, those first that wait longest; how many.
    pub(crate) fn notify(&self, addr: u64, count: u32) -> u32 {
        let mut waiters = self.lock();
        let Some(queue) = waiters.get_mut(&addr) else { return 0 };
        let mut woken = 0;
        while woken < count {
            let Some(waiter) = queue.pop_front() else { break };
            waiter.notified.store(true, Ordering::Release);
            waiter.wake.notify_one();
            if let Some(signal) = &waiter.signal {
                signal();
            }
            woken += 1;
        }
        if queue.is_empty() {
            waiters.remove(&addr);
        }
        woken
    }

    /// Waits for a notification of `addr` unless the value there has changed, until the deadline at most.
    pub(crate) fn wait(&self, addr: u64, deadline: Option<Instant>, unchanged: impl Fn() -> bool) -> WaitResult {
        let mut waiters = self.lock();
        // Under the lock, so that a notify between this check and the wait cannot be missed.
        if !unchanged() {
            return WaitResult::Mismatch;
        }
        let me = Arc::new(Waiter::default());
        waiters.entry(addr).or_default().push_back(me.clone());
        loop {
            if me.notified.load(Ordering::Relaxed) {
                return WaitResult::Ok;
            }
            let Some(deadline) = deadline else {
                waiters = me.wake.wait(waiters).unwrap_or_else(|e| e.into_inner());
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                Parking::remove(&mut waiters, addr, &me);
                return WaitResult::TimedOut;
            }
            waiters = me.wake.wait_timeout(waiters, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Queues the thread for a notification of `addr` unless the value there has changed. `signal` is called, under a lock,
    /// when it is notified.
    pub(crate) fn enqueue(
        &self,
        addr: u64,
        signal: Box<dyn Fn() + Send + Sync>,
        unchanged: impl Fn() -> bool,
    ) -> Option<Parked<'_>> {
        let mut waiters = self.lock();
        // Under the lock, as in `wait`.
        if !unchanged() {
            return None;
        }
        let me = Arc::new(Waiter { signal: Some(signal), ..Waiter::default() });
        waiters.entry(addr).or_default().push_back(me.clone());
        Some(Parked { parking: self, addr, me })
    }

    fn remove(waiters: &mut HashMap<u64, VecDeque<Arc<Waiter>>>, addr: u64, waiter: &Arc<Waiter>) {
        if let Some(queue) = waiters.get_mut(&addr) {
            queue.retain(|w| !Arc::ptr_eq(w, waiter));
            if queue.is_empty() {
                waiters.remove(&addr);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, VecDeque<Arc<Waiter>>>> {
        // Nothing is left half done under this lock.
        self.waiters.lock().unwrap_or_else(|e| e.into_inner())
    }
}
