//! Shared memories and the threads that wait on their addresses.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Result;
use kiln_env::TrapCode;
use kiln_env::types::MemoryType;

use super::context::VmMemory;
use super::memory::MemoryPlan;
use super::parking::{Parking, WaitResult};
use super::store::StoreOpaque;
use crate::Engine;
use crate::sys::mmap::{Mapping, page_size};

/// A memory that several stores, on several threads, may use at once. Its base never moves.
pub(crate) struct SharedMemoryInner {
    plan: Arc<MemoryPlan>,
    mapping: Mapping,
    /// Read by compiled code of all threads; `len` is only accessed as an atomic.
    vm: UnsafeCell<VmMemory>,
    /// Held while growing: how many bytes of the mapping are accessible.
    accessible: Mutex<usize>,
    parking: Parking,
}

/// How an attempt to grow a shared memory ended.
pub(crate) enum GrownShared {
    /// It has grown; the old size in pages.
    From(u64),
    /// Its size was not what was expected.
    Changed,
    /// It cannot grow so far.
    Failed,
}

// SAFETY: 1. `vm.base` never changes; `vm.len` is accessed atomically. 2. Guest bytes are raw memory to which no
// references are made. 3. Everything else is behind locks.
unsafe impl Send for SharedMemoryInner {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedMemoryInner {}

impl SharedMemoryInner {
    /// A shared memory of this type, all zero.
    pub(crate) fn new(ty: &MemoryType, engine: &Engine) -> Result<Arc<SharedMemoryInner>> {
        let plan = Arc::new(MemoryPlan::new(ty, engine));
        let mapping = plan.map(&|| Ok(None))?;
        Ok(SharedMemoryInner::from_mapping(&plan, mapping))
    }

    /// A shared memory over a mapping that has its initial size and contents.
    pub(crate) fn from_mapping(plan: &Arc<MemoryPlan>, mapping: Mapping) -> Arc<SharedMemoryInner> {
        let vm = UnsafeCell::new(VmMemory { base: mapping.as_ptr(), len: plan.min() as u64 });
        let accessible = Mutex::new(plan.min().next_multiple_of(page_size()));
        Arc::new(SharedMemoryInner { plan: plan.clone(), mapping, vm, accessible, parking: Parking::default() })
    }

    /// The plan it was made by.
    pub(crate) fn plan(&self) -> &Arc<MemoryPlan> {
        &self.plan
    }

    /// The declared type.
    pub(crate) fn ty(&self) -> &MemoryType {
        self.plan.ty()
    }

    /// Its descriptor, for compiled code.
    pub(crate) fn vm(&self) -> NonNull<VmMemory> {
        NonNull::new(self.vm.get()).expect("a field has an address")
    }

    fn len_cell(&self) -> &AtomicU64 {
        // SAFETY: aligned, lives as long as `self`, and everybody accesses it atomically.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.vm.get()).len) }
    }

    /// Size in bytes; it may be more at any later time.
    pub(crate) fn len(&self) -> usize {
        self.len_cell().load(Ordering::Acquire) as usize
    }

    /// Whether an address lies in its address space, guard included.
    pub(crate) fn reserves(&self, address: usize) -> bool {
        self.mapping.contains(address)
    }

    /// First byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.mapping.as_ptr()
    }

    /// The bytes, which other threads may write at any time.
    pub(crate) fn data(&self) -> &[UnsafeCell<u8>] {
        // SAFETY: `len` bytes from the base are mapped as long as `self`; cells promise nothing about their contents.
        unsafe { std::slice::from_raw_parts(self.base().cast(), self.len()) }
    }

    /// A copy of the bytes. What other threads write meanwhile may be in it or not, byte by byte.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut copy = vec![0; self.len()];
        self.read(0, &mut copy);
        copy
    }

    /// Copies the bytes from `offset` to `buffer`, likewise. False if they are not all within the memory.
    pub(crate) fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        let Some(cells) = self.cells(offset, buffer.len()) else { return false };
        let (head, words, tail) = words(cells);
        let (first, rest) = buffer.split_at_mut(head.len());
        let (middle, last) = rest.split_at_mut(words.len() * 8);
        for (place, cell) in first.iter_mut().zip(head).chain(last.iter_mut().zip(tail)) {
            *place = cell.load(Ordering::Relaxed);
        }
        for (place, word) in middle.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        true
    }

    /// Copies `buffer` to the bytes from `offset`. False if they are not all within the memory.
    pub(crate) fn write(&self, offset: usize, buffer: &[u8]) -> bool {
        let Some(cells) = self.cells(offset, buffer.len()) else { return false };
        let (head, words, tail) = words(cells);
        let (first, rest) = buffer.split_at(head.len());
        let (middle, last) = rest.split_at(words.len() * 8);
        for (byte, cell) in first.iter().zip(head).chain(last.iter().zip(tail)) {
            cell.store(*byte, Ordering::Relaxed);
        }
        for (bytes, word) in middle.as_chunks::<8>().0.iter().zip(words) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        true
    }

    /// The bytes `offset .. offset + len`, if they are within the memory.
    fn cells(&self, offset: usize, len: usize) -> Option<&[AtomicU8]> {
        let cells = self.data().get(offset..offset.checked_add(len)?)?;
        // SAFETY: `AtomicU8` has the layout of `UnsafeCell<u8>`, and all other accesses from Rust are atomic, too; those of
        // compiled code are to memory that Rust knows nothing of.
        Some(unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) })
    }

    /// Grows by `delta` pages: the old size in pages, or `None`.
    pub(crate) fn grow(&self, delta: u64) -> Option<u64> {
        match self.grow_from(None, delta) {
            GrownShared::From(old) => Some(old),
            _ => None,
        }
    }

    /// The same, but only if it is still `expected` bytes long.
    pub(crate) fn grow_from(&self, expected: Option<usize>, delta: u64) -> GrownShared {
        let mut accessible = lock(&self.accessible);
        let len = self.len();
        if expected.is_some_and(|expected| expected != len) {
            return GrownShared::Changed;
        }
        match self.grow_locked(&mut accessible, len, delta) {
            Some(old) => GrownShared::From(old),
            None => GrownShared::Failed,
        }
    }

    fn grow_locked(&self, accessible: &mut usize, len: usize, delta: u64) -> Option<u64> {
        let shift = self.ty().page_size_log2;
        let old = len as u64 >> shift;
        let pages = old.checked_add(delta).filter(|p| *p <= self.ty().max_pages())?;
        let bytes = usize::try_from(pages.checked_mul(1 << shift)?).ok()?;
        let needed = bytes.checked_next_multiple_of(page_size()).filter(|n| *n <= self.mapping.len())?;
        if needed > *accessible {
            // SAFETY: page multiples within the mapping; making more accessible disturbs nobody.
            unsafe { self.mapping.make_accessible(*accessible, needed - *accessible) }.ok()?;
            self.plan.has_grown(&self.mapping, *accessible, needed);
            *accessible = needed;
        }
        self.len_cell().store(bytes as u64, Ordering::Release);
        Some(old)
    }

    /// The address of an aligned cell of `size` bytes.
    fn cell(&self, addr: u64, size: u64) -> Result<*mut u8, TrapCode> {
        atomic_address(self.base(), self.len() as u64, addr, size)
    }

    /// `memory.atomic.notify`: wakes up to `count` waiters of `addr` and returns how many.
    pub(crate) fn notify(&self, addr: u64, count: u32) -> Result<u32, TrapCode> {
        self.cell(addr, 4)?;
        Ok(self.parking.notify(addr, count))
    }

    /// `memory.atomic.wait32`: waits for at most `timeout` (`None`: forever) while `addr` holds `expected`.
    pub(crate) fn wait32(&self, addr: u64, expected: u32, timeout: Option<Duration>) -> Result<WaitResult, TrapCode> {
        let cell = self.cell32(addr)?;
        Ok(self.parking.wait(addr, deadline(timeout), || u32::from_le(cell.load(Ordering::SeqCst)) == expected))
    }

    /// `memory.atomic.wait64`: likewise.
    pub(crate) fn wait64(&self, addr: u64, expected: u64, timeout: Option<Duration>) -> Result<WaitResult, TrapCode> {
        let cell = self.cell64(addr)?;
        Ok(self.parking.wait(addr, deadline(timeout), || u64::from_le(cell.load(Ordering::SeqCst)) == expected))
    }

    /// [`Self::wait32`] for a guest, whose wait ends with the epoch deadline of its store.
    pub(crate) fn wait32_in(
        &self,
        store: &mut StoreOpaque,
        (addr, expected): (u64, u32),
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        let cell = self.cell32(addr)?;
        self.wait_in(store, addr, timeout, || u32::from_le(cell.load(Ordering::SeqCst)) == expected)
    }

    /// [`Self::wait64`] likewise.
    pub(crate) fn wait64_in(
        &self,
        store: &mut StoreOpaque,
        (addr, expected): (u64, u64),
        timeout: Option<Duration>,
    ) -> Result<WaitResult> {
        let cell = self.cell64(addr)?;
        self.wait_in(store, addr, timeout, || u64::from_le(cell.load(Ordering::SeqCst)) == expected)
    }

    fn cell32(&self, addr: u64) -> Result<&AtomicU32, TrapCode> {
        let cell = self.cell(addr, 4)?;
        // SAFETY: aligned and mapped, as `cell` checked; all accesses are atomic.
        Ok(unsafe { AtomicU32::from_ptr(cell.cast()) })
    }

    fn cell64(&self, addr: u64) -> Result<&AtomicU64, TrapCode> {
        let cell = self.cell(addr, 8)?;
        // SAFETY: aligned and mapped, as `cell` checked; all accesses are atomic.
        Ok(unsafe { AtomicU64::from_ptr(cell.cast()) })
    }

    fn wait_in(
        &self,
        store: &mut StoreOpaque,
        addr: u64,
        timeout: Option<Duration>,
        unchanged: impl Fn() -> bool,
    ) -> Result<WaitResult> {
        let deadline = deadline(timeout);
        let Some(waiting) = store.waiting()? else { return Ok(self.parking.wait(addr, deadline, unchanged)) };
        let waker = waiting.clone();
        let Some(parked) = self.parking.enqueue(addr, Box::new(move || waker.wake()), unchanged) else {
            return Ok(WaitResult::Mismatch);
        };
        loop {
            store.begin_wait(&waiting)?;
            if parked.is_notified() {
                return Ok(WaitResult::Ok);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(if parked.leave() { WaitResult::Ok } else { WaitResult::TimedOut });
            }
            waiting.wait(deadline)?;
        }
    }
}

/// Bytes of a shared memory: what comes before the first whole word, the words, and what comes after the last one.
type Cells<'a> = (&'a [AtomicU8], &'a [AtomicU64], &'a [AtomicU8]);

/// Takes bytes of a shared memory as words where they are aligned.
fn words(cells: &[AtomicU8]) -> Cells<'_> {
    // SAFETY: eight atomic bytes may be accessed as one atomic word of the same alignment, which `align_to` sees to; bytes
    // may change between accesses in any case.
    unsafe { cells.align_to::<AtomicU64>() }
}

/// The address of an atomic cell, after the checks that the threads proposal asks for, in its order.
pub(crate) fn atomic_address(base: *mut u8, len: u64, addr: u64, size: u64) -> Result<*mut u8, TrapCode> {
    if !addr.is_multiple_of(size) {
        return Err(TrapCode::HeapMisaligned);
    }
    match addr.checked_add(size) {
        Some(end) if end <= len => Ok(base.wrapping_add(addr as usize)),
        _ => Err(TrapCode::MemoryOutOfBounds),
    }
}

/// When a wait is over. A deadline beyond what the clock can express is none.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|t| Instant::now().checked_add(t))
}

fn lock<X>(mutex: &Mutex<X>) -> MutexGuard<'_, X> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
