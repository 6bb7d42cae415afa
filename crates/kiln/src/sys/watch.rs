//! Mappings of files that may become shorter: an access to a page that is gone is a fault, which must not end the process.
//!
//! Faulting compiled code is left with a trap. Where the host faults, the page is replaced by zeroes so that it can go on,
//! and the mapping is marked: what was read from it is not to be relied on.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use super::page_size;

/// A watched range. Never freed, since a signal handler may be reading it; used again.
struct Slot {
    used: AtomicBool,
    /// 0: not watched now.
    start: AtomicUsize,
    len: AtomicUsize,
    writable: AtomicBool,
    damaged: AtomicBool,
    /// Whose file it is, if that is watched apart.
    file: AtomicPtr<Slot>,
    next: AtomicPtr<Slot>,
}

static FIRST: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
/// Whether any watched mapping ever lost pages.
static DAMAGE: AtomicBool = AtomicBool::new(false);

/// Watches a range until it is dropped, which must be before the range is unmapped.
pub(crate) struct Watch(&'static Slot);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watch(damaged: {})", self.is_damaged())
    }
}

/// All slots there are.
fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: slots are leaked boxes, linked before others see them.
    std::iter::successors(unsafe { FIRST.load(Ordering::Acquire).as_ref() }, |slot| unsafe {
        // SAFETY: as above.
        slot.next.load(Ordering::Acquire).as_ref()
    })
}

impl Watch {
    /// Watches a range that is mapped from a file, writable or not. Damage to it is damage to `file`, too.
    pub(super) fn new(start: *const u8, len: usize, writable: bool, file: Option<&Watch>) -> Watch {
        let slot = slots().find(|slot| !slot.used.swap(true, Ordering::AcqRel)).unwrap_or_else(add_slot);
        slot.len.store(len, Ordering::Relaxed);
        slot.writable.store(writable, Ordering::Relaxed);
        slot.damaged.store(false, Ordering::Relaxed);
        let file = file.map_or(ptr::null_mut(), |watch| ptr::from_ref(watch.0).cast_mut());
        slot.file.store(file, Ordering::Relaxed);
        slot.start.store(start as usize, Ordering::Release);
        Watch(slot)
    }

    /// Whether pages were missing when somebody needed them.
    pub(crate) fn is_damaged(&self) -> bool {
        self.0.damaged.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
        self.0.used.store(false, Ordering::Release);
    }
}

fn add_slot() -> &'static Slot {
    let slot: &'static Slot = Box::leak(Box::new(Slot {
        used: AtomicBool::new(true),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        writable: AtomicBool::new(false),
        damaged: AtomicBool::new(false),
        file: AtomicPtr::new(ptr::null_mut()),
        next: AtomicPtr::new(ptr::null_mut()),
    }));
    let link = |first: *mut Slot| {
        slot.next.store(first, Ordering::Relaxed);
        Some(ptr::from_ref(slot).cast_mut())
    };
    // The closure never declines.
    _ = FIRST.fetch_update(Ordering::AcqRel, Ordering::Acquire, link);
    slot
}

/// Whether any watched mapping ever lost pages: who cares asks its own then.
#[inline]
pub(crate) fn any_damage() -> bool {
    DAMAGE.load(Ordering::Relaxed)
}

/// A page that is missing.
pub(crate) struct Missing {
    address: usize,
    writable: bool,
}

/// The watched mapping that an address lies in.
fn slot_of(address: usize) -> Option<&'static Slot> {
    let contains = |slot: &&Slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && address.wrapping_sub(start) < slot.len.load(Ordering::Relaxed)
    };
    slots().find(contains)
}

impl Slot {
    fn mark(&self) {
        self.damaged.store(true, Ordering::Relaxed);
        // SAFETY: slots are never freed.
        if let Some(file) = unsafe { self.file.load(Ordering::Relaxed).as_ref() } {
            file.damaged.store(true, Ordering::Relaxed);
        }
        DAMAGE.store(true, Ordering::Relaxed);
    }
}

/// Whether a bus error at an address is a watched mapping's, which is then marked. For signal handlers: neither allocates
/// nor locks.
pub(crate) fn missing(address: usize) -> Option<Missing> {
    let slot = slot_of(address)?;
    slot.mark();
    Some(Missing { address, writable: slot.writable.load(Ordering::Relaxed) })
}

/// Whether code that faulted lies in the page in which a watched file ends now, behind that end, where there are only
/// zeroes; the mapping is then marked. For signal handlers: neither allocates nor locks.
pub(crate) fn is_behind_end(pc: usize) -> bool {
    let Some(slot) = slot_of(pc).filter(|slot| !slot.writable.load(Ordering::Relaxed)) else { return false };
    let rest = page_size() - pc % page_size();
    // SAFETY: the processor has just read the code there, and the page is mapped as a whole.
    let code = unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance::<u8>(pc), rest) };
    let is_cut = code.iter().all(|byte| *byte == 0);
    if is_cut {
        slot.mark();
    }
    is_cut
}

impl Missing {
    /// Puts a page of zeroes there. For signal handlers. Returns whether that worked.
    pub(crate) fn replace(&self) -> bool {
        let page = page_size();
        let start = ptr::without_provenance_mut(self.address / page * page);
        let prot = if self.writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the page belongs to a mapping that is watched, thus exists, and has no contents any more.
        unsafe { mm::mmap_anonymous(start, page, prot, flags) }.is_ok()
    }
}
