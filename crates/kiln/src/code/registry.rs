//! Which code an address belongs to. Answers signal handlers too.
//!
//! Readers take no lock: they count themselves in, use the newest snapshot, and count themselves out. Writers replace
//! the snapshot and free what is replaced when nobody is counted in.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use kiln_env::FuncKey;

use super::ModuleCode;
use super::frames::CodeFrame;

/// Code that is registered.
struct Entry {
    range: Range<usize>,
    code: *const ModuleCode,
    handle: Weak<ModuleCode>,
}

/// Registered entries by ascending address.
struct Snapshot {
    entries: Box<[*const Entry]>,
}

/// What was replaced but may still be read.
struct Retired {
    snapshots: Vec<*mut Snapshot>,
    entries: Vec<*mut Entry>,
}

// SAFETY: the pointers own what they point to; nothing is tied to a thread.
unsafe impl Send for Retired {}

static NEWEST: AtomicPtr<Snapshot> = AtomicPtr::new(ptr::null_mut());
static READERS: AtomicUsize = AtomicUsize::new(0);
static WRITER: Mutex<Retired> = Mutex::new(Retired { snapshots: Vec::new(), entries: Vec::new() });

/// Makes `range` known as the text of `code`. Undone by [`unregister`].
pub(crate) fn register(range: Range<usize>, code: &Arc<ModuleCode>) {
    let entry = Box::into_raw(Box::new(Entry { range, code: Arc::as_ptr(code), handle: Arc::downgrade(code) }));
    // SAFETY: the entry is new.
    let start = unsafe { (*entry).range.start };
    update(|entries| {
        let at = entries.partition_point(|e| {
            // SAFETY: entries of the newest snapshot live until a writer retires them, and we are the writer.
            unsafe { (**e).range.start < start }
        });
        entries.insert(at, entry.cast_const());
        None
    });
}

/// Forgets the code that starts at `start`.
pub(crate) fn unregister(start: usize) {
    update(|entries| {
        // SAFETY: entries of the newest snapshot live until a writer retires them, and we are the writer.
        let at = entries.iter().position(|e| unsafe { (**e).range.start } == start)?;
        Some(entries.remove(at).cast_mut())
    });
}

fn update(change: impl FnOnce(&mut Vec<*const Entry>) -> Option<*mut Entry>) {
    let mut retired = WRITER.lock().unwrap_or_else(|e| e.into_inner());
    let old = NEWEST.load(Ordering::SeqCst);
    // SAFETY: the newest snapshot is freed by a writer only, after it has been replaced.
    let mut entries = if old.is_null() { Vec::new() } else { unsafe { (*old).entries.to_vec() } };
    retired.entries.extend(change(&mut entries));
    NEWEST.store(Box::into_raw(Box::new(Snapshot { entries: entries.into() })), Ordering::SeqCst);
    if !old.is_null() {
        retired.snapshots.push(old);
    }
    // Who counts itself in from now on sees the new snapshot; who saw an old one is counted in until it is done.
    if READERS.load(Ordering::SeqCst) == 0 {
        for snapshot in retired.snapshots.drain(..) {
            // SAFETY: it came from a box, and nobody reads it any more.
            drop(unsafe { Box::from_raw(snapshot) });
        }
        for entry in retired.entries.drain(..) {
            // SAFETY: likewise.
            drop(unsafe { Box::from_raw(entry) });
        }
    }
}

/// Calls `f` with the code that contains `pc`, which must not go away meanwhile. Neither allocates nor locks.
fn with_entry<R>(pc: usize, f: impl FnOnce(&Entry) -> R) -> Option<R> {
    struct Reader;
    impl Drop for Reader {
        fn drop(&mut self) {
            READERS.fetch_sub(1, Ordering::SeqCst);
        }
    }
    READERS.fetch_add(1, Ordering::SeqCst);
    let _reader = Reader;
    let snapshot = NEWEST.load(Ordering::SeqCst);
    if snapshot.is_null() {
        return None;
    }
    // SAFETY: neither snapshot nor entries are freed while we are counted in.
    unsafe {
        let entries = &(*snapshot).entries;
        let at = entries.partition_point(|e| (**e).range.start <= pc).checked_sub(1)?;
        let entry = &*entries[at];
        entry.range.contains(&pc).then(|| f(entry))
    }
}

/// Calls `f` with the code that contains `pc`, if there is any. Neither allocates nor locks: for signal handlers too.
///
/// # Safety
/// The code is kept alive by somebody else: `pc` is on the stack of a store that runs it.
pub(crate) unsafe fn with_code<R>(pc: usize, f: impl FnOnce(&ModuleCode) -> R) -> Option<R> {
    // SAFETY: the code lives, says the caller.
    with_entry(pc, |entry| f(unsafe { &*entry.code }))
}

/// The code that contains `pc`.
pub(crate) fn code_at(pc: usize) -> Option<Arc<ModuleCode>> {
    with_entry(pc, |entry| entry.handle.upgrade()).flatten()
}

/// Calls `f` with the wasm frames that the instruction at `pc` belongs to, inlined ones first; each is said to be at
/// `shown`. For a return address ask for the byte before.
pub(crate) fn lookup(pc: usize, shown: usize, mut f: impl FnMut(CodeFrame)) {
    let Some(code) = code_at(pc) else { return };
    let Some(func) = code.find(pc) else { return };
    for position in func.positions(pc) {
        let key = position.inlined.map_or(func.key, FuncKey::Wasm);
        f(CodeFrame { code: code.clone(), key, wasm_offset: position.wasm, pc: shown });
    }
}
