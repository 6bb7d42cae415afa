//! Explores the interleavings of the parts of Kiln's runtime that synchronise threads, with loom.
//!
//! `parking` and `append` are the runtime's own files, compiled against loom's threads instead of the standard library's.
//! `lazy` is a model of the protocol in `crates/kiln/src/code/lazy.rs`, whose memory loom cannot see.
//!
//! `cargo run` explores all; a panic names the schedule that failed.
#![allow(dead_code, reason = "the runtime uses more of its files than the models do")]

/// What the runtime's files synchronise with.
mod sync {
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, atomic};
}

#[path = "../../crates/kiln/src/code/append.rs"]
mod append;
mod lazy;
#[path = "../../crates/kiln/src/vm/parking.rs"]
mod parking;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use append::AppendList;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;
use parking::{Parking, WaitResult};

/// Explores a scenario with at most this many preemptions; `None` for any number.
fn explore(name: &str, preemptions: Option<usize>, scenario: impl Fn() + Sync + Send + 'static) {
    static SCHEDULES: AtomicUsize = AtomicUsize::new(0);
    SCHEDULES.store(0, Ordering::Relaxed);
    let start = Instant::now();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 100_000;
    builder.check(move || {
        SCHEDULES.fetch_add(1, Ordering::Relaxed);
        scenario();
    });
    let schedules = SCHEDULES.load(Ordering::Relaxed);
    assert!(schedules > 1, "{name}: nothing was explored");
    println!("{name}: {schedules} schedules in {:.1?}", start.elapsed());
}

fn main() {
    explore("a waiter is woken or sees the value", None, wait_and_notify);
    explore("two waiters, two notifications of one", Some(3), two_waiters);
    explore("a wait whose time is over, beside a notification", None, timed_out);
    explore("a lock that sleeps", Some(3), futex_lock);
    explore("a list that grows while it is read", None, append_and_read);
    explore("two threads call a function first", Some(3), lazy::two_first_calls);
    explore("a first call beside the writing of stubs", Some(3), lazy::call_beside_stubs);
    explore("a compiler that fails beside one that waits", Some(3), lazy::failure);
    explore("code is replaced while it is called", Some(3), lazy::replaced);
    explore("two threads call two functions, in opposite order", Some(2), lazy::two_functions);
}

/// The notifier stores, then notifies, as the guest does. If the wait began, it ends.
fn wait_and_notify() {
    let (parking, cell) = (Arc::new(Parking::default()), Arc::new(AtomicU32::new(0)));
    let waiter = {
        let (parking, cell) = (parking.clone(), cell.clone());
        thread::spawn(move || parking.wait(64, None, || cell.load(Ordering::SeqCst) == 0))
    };
    cell.store(1, Ordering::SeqCst);
    let woken = parking.notify(64, u32::MAX);
    let expected = if woken == 1 { WaitResult::Ok } else { WaitResult::Mismatch };
    assert_eq!(waiter.join().unwrap(), expected);
    assert_eq!(parking.notify(64, 1), 0, "nobody is left behind");
}

fn two_waiters() {
    let (parking, cell) = (Arc::new(Parking::default()), Arc::new(AtomicU32::new(0)));
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let (parking, cell) = (parking.clone(), cell.clone());
            thread::spawn(move || parking.wait(64, None, || cell.load(Ordering::SeqCst) == 0))
        })
        .collect();
    cell.store(1, Ordering::SeqCst);
    let woken = parking.notify(64, 1) + parking.notify(64, 1);
    let results: Vec<_> = waiters.into_iter().map(|w| w.join().unwrap()).collect();
    let ended = results.iter().filter(|r| **r == WaitResult::Ok).count();
    assert_eq!(ended, woken as usize, "each notification ends one wait");
}

/// Either the notification counts the waiter and it says so, or neither does.
fn timed_out() {
    let parking = Arc::new(Parking::default());
    let waiter = {
        let parking = parking.clone();
        // loom has no clock: this deadline has always passed.
        thread::spawn(move || parking.wait(64, Some(Instant::now() - Duration::from_secs(1)), || true))
    };
    let woken = parking.notify(64, 1);
    let result = waiter.join().unwrap();
    assert_eq!(result, if woken == 1 { WaitResult::Ok } else { WaitResult::TimedOut });
    assert_eq!(parking.notify(64, 1), 0, "nobody is left behind");
}

/// The mutex of three states that C libraries make of wait and notify.
fn futex_lock() {
    struct Lock {
        parking: Parking,
        state: AtomicU32,
        data: UnsafeCell<u32>,
    }
    // SAFETY: the data is only accessed under the lock, which is what loom checks.
    unsafe impl Sync for Lock {}
    // SAFETY: as for `Sync`.
    unsafe impl Send for Lock {}

    fn add(lock: &Lock) {
        let cas = |old, new| lock.state.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
        if cas(0, 1).is_err() {
            while lock.state.swap(2, Ordering::SeqCst) != 0 {
                lock.parking.wait(64, None, || lock.state.load(Ordering::SeqCst) == 2);
            }
        }
        // SAFETY: under the lock.
        lock.data.with_mut(|data| unsafe { *data += 1 });
        if lock.state.swap(0, Ordering::SeqCst) == 2 {
            lock.parking.notify(64, 1);
        }
    }

    let lock = Arc::new(Lock { parking: Parking::default(), state: AtomicU32::new(0), data: UnsafeCell::new(0) });
    let other = {
        let lock = lock.clone();
        thread::spawn(move || add(&lock))
    };
    add(&lock);
    other.join().unwrap();
    // SAFETY: the other thread has ended.
    assert_eq!(lock.data.with(|data| unsafe { *data }), 2);
}

/// A reader sees items whole and in order, across the beginning of a bucket.
fn append_and_read() {
    let list = Arc::new(AppendList::new());
    let push = |list: &AppendList<UnsafeCell<usize>>, n: usize| {
        let item = UnsafeCell::new(0);
        // SAFETY: nobody else has it yet.
        item.with_mut(|item| unsafe { *item = n });
        // SAFETY: one thread appends at a time.
        unsafe { list.push(item) };
    };
    (0..63).for_each(|n| push(&list, n));
    let reader = {
        let list = list.clone();
        thread::spawn(move || {
            let len = list.len();
            for n in 62..len {
                // SAFETY: items are not written any more.
                assert_eq!(list.get(n).unwrap().with(|item| unsafe { *item }), n);
            }
            // SAFETY: likewise.
            let before = list.partition_point(|item| item.with(|item| unsafe { *item }) < 64);
            assert!(len.min(64) <= before && before <= 64);
        })
    };
    push(&list, 63);
    push(&list, 64);
    reader.join().unwrap();
}
