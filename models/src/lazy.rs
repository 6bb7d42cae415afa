//! The protocol by which code of a lazy arena is made, published and called. The names are those of
//! `crates/kiln/src/code/lazy.rs`; machine code is a cell that must be written before anybody may run it.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;

const UNCOMPILED: u8 = 0;
const COMPILING: u8 = 1;
const FAILED: u8 = 2;
const READY: u8 = 3;
const OPTIMIZED: u8 = 5;

/// What a slot holds at first, and when stubs are written; other values are positions in `text`, plus `CODE`.
const UNSET: usize = 0;
const STUB: usize = 1;
const CODE: usize = 2;

const FUNCS: usize = 2;
/// Places for code.
const TEXT: usize = 4;

struct Arena {
    slots: [AtomicUsize; FUNCS],
    states: [AtomicU8; FUNCS],
    written: AtomicBool,
    /// The bytes of the stubs: several threads may write the same.
    stub_bytes: AtomicUsize,
    /// Free place in the text.
    placing: Mutex<usize>,
    parked: Condvar,
    text: [UnsafeCell<u32>; TEXT],
    compiled: [AtomicUsize; FUNCS],
    fails: bool,
}

// SAFETY: the text is written under the lock and read by who got its place, which is what loom checks.
unsafe impl Sync for Arena {}
// SAFETY: as for `Sync`.
unsafe impl Send for Arena {}

impl Arena {
    fn new(fails: bool) -> Arc<Arena> {
        Arc::new(Arena {
            slots: std::array::from_fn(|_| AtomicUsize::new(UNSET)),
            states: std::array::from_fn(|_| AtomicU8::new(UNCOMPILED)),
            written: AtomicBool::new(false),
            stub_bytes: AtomicUsize::new(0),
            placing: Mutex::new(0),
            parked: Condvar::new(),
            text: std::array::from_fn(|_| UnsafeCell::new(0)),
            compiled: std::array::from_fn(|_| AtomicUsize::new(0)),
            fails,
        })
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.placing.lock().unwrap()
    }

    /// `entry`: the stubs are there when somebody has the address of one.
    fn entry(&self) {
        if self.written.load(Ordering::Acquire) {
            return;
        }
        for slot in &self.slots {
            _ = slot.compare_exchange(UNSET, STUB, Ordering::AcqRel, Ordering::Acquire);
        }
        self.stub_bytes.store(1, Ordering::Relaxed);
        self.written.store(true, Ordering::Release);
    }

    /// What compiled code does that calls a function: goes through the stub to what the slot says. `None`: it failed.
    fn call(&self, func: usize) -> Option<u32> {
        self.entry();
        assert_eq!(self.stub_bytes.load(Ordering::Relaxed), 1, "a stub runs before it is written");
        // Compiled code loads the slot without ordering; the processor orders the code behind the jump's address.
        match self.slots[func].load(Ordering::Acquire) {
            UNSET => panic!("a stub jumps to nowhere"),
            STUB => self.ready(func).map(|code| self.run(func, code)),
            code => Some(self.run(func, code)),
        }
    }

    fn run(&self, func: usize, code: usize) -> u32 {
        // SAFETY: code is not written any more once it has an address.
        let word = self.text[code - CODE].with(|word| unsafe { *word });
        assert_eq!(word as usize % 10, func + 1, "another function's code, or none yet");
        word
    }

    fn ready(&self, func: usize) -> Option<usize> {
        if self.states[func].load(Ordering::Acquire) >= READY {
            return Some(self.slot_code(func));
        }
        let mut placing = self.lock();
        loop {
            match self.states[func].load(Ordering::Acquire) {
                UNCOMPILED => {
                    self.states[func].store(COMPILING, Ordering::Release);
                    break;
                }
                COMPILING => placing = self.parked.wait(placing).unwrap(),
                FAILED => return None,
                _ => return Some(self.slot_code(func)),
            }
        }
        drop(placing);
        self.compiled[func].fetch_add(1, Ordering::Relaxed);
        let code = (!self.fails).then(|| self.place(func, 0));
        let _placing = self.lock();
        let state = match code {
            Some(code) => {
                self.set_slot(func, code);
                READY
            }
            None => FAILED,
        };
        self.states[func].store(state, Ordering::Release);
        drop(_placing);
        self.parked.notify_all();
        code
    }

    /// The runtime stores. Here it is an exchange: loom does not see that a store which follows the exchange in `entry` can
    /// only come behind it.
    fn set_slot(&self, func: usize, code: usize) {
        self.slots[func].swap(code, Ordering::AcqRel);
    }

    fn slot_code(&self, func: usize) -> usize {
        let code = self.slots[func].load(Ordering::Acquire);
        assert!(code >= CODE, "ready: the slot is set");
        code
    }

    fn place(&self, func: usize, tier: u32) -> usize {
        let mut free = self.lock();
        let at = *free;
        // SAFETY: the place is free and nobody has its address.
        self.text[at].with_mut(|word| unsafe { *word = tier * 10 + func as u32 + 1 });
        *free += 1;
        at + CODE
    }

    /// A background thread replaces the code of a function that has some.
    fn replace(&self, func: usize) {
        if self.states[func].load(Ordering::Acquire) < READY {
            return;
        }
        let code = self.place(func, 1);
        let _placing = self.lock();
        self.set_slot(func, code);
        self.states[func].store(OPTIMIZED, Ordering::Release);
    }

    /// How often each function was compiled first.
    fn compilations(&self) -> [usize; FUNCS] {
        std::array::from_fn(|i| self.compiled[i].load(Ordering::Relaxed))
    }
}

fn spawn<R: 'static>(arena: &Arc<Arena>, work: impl FnOnce(&Arena) -> R + 'static) -> thread::JoinHandle<R> {
    let arena = arena.clone();
    thread::spawn(move || work(&arena))
}

pub(crate) fn two_first_calls() {
    let arena = Arena::new(false);
    let other = spawn(&arena, |a| a.call(0));
    assert_eq!(arena.call(0), Some(1));
    assert_eq!(other.join().unwrap(), Some(1));
    assert_eq!(arena.compilations(), [1, 0]);
}

/// The host compiles a function before anybody has written stubs; the page of stubs must not undo that.
pub(crate) fn call_beside_stubs() {
    let arena = Arena::new(false);
    let host = spawn(&arena, |a| a.ready(0).map(|code| a.run(0, code)));
    assert_eq!(arena.call(0), Some(1));
    assert_eq!(host.join().unwrap(), Some(1));
    assert!(arena.slots[0].load(Ordering::Acquire) >= CODE, "the slot stays with the code");
    assert_eq!(arena.compilations(), [1, 0]);
}

pub(crate) fn failure() {
    let arena = Arena::new(true);
    let other = spawn(&arena, |a| a.call(0));
    assert_eq!((arena.call(0), other.join().unwrap()), (None, None));
    assert_eq!(arena.compilations(), [1, 0]);
}

pub(crate) fn replaced() {
    let arena = Arena::new(false);
    assert_eq!(arena.call(0), Some(1));
    let background = spawn(&arena, |a| a.replace(0));
    let other = spawn(&arena, |a| [a.call(0), a.call(0)]);
    let mine = [arena.call(0), arena.call(0)];
    for calls in [mine, other.join().unwrap()] {
        assert!(matches!(calls, [Some(1), Some(1 | 11)] | [Some(11), Some(11)]), "optimised code stays: {calls:?}");
    }
    background.join().unwrap();
    assert_eq!(arena.call(0), Some(11));
}

pub(crate) fn two_functions() {
    let arena = Arena::new(false);
    let other = spawn(&arena, |a| (a.call(0), a.call(1)));
    assert_eq!((arena.call(1), arena.call(0)), (Some(2), Some(1)));
    assert_eq!(other.join().unwrap(), (Some(1), Some(2)));
    assert_eq!(arena.compilations(), [1, 1]);
}
