//! Code of a module whose functions are compiled when they are first called.
//!
//! One range of address space a module: data, then text.
//! ```text
//! data   address of this structure · of the common thunk · slots (8 bytes a function) · states (1 byte a function)
//!        · counters, where functions change their tier
//! text   the arena's thunk (a page) · entry stubs · functions in the order in which they were compiled
//! ```
//! All of it is touched when it is needed: a module of 600,000 functions costs address space until it runs.

mod arrivals;
mod profile;
mod refine;
mod snapshot;
mod tiers;
mod warmth;

use std::collections::HashMap;
use std::collections::hash_map;
use std::ffi::c_void;
use std::mem;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use kiln_env::machine::{FuncTables, MachineFunc, Reloc};
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, FuncKey};

pub(crate) use self::refine::Refined;
pub(crate) use self::snapshot::{Captured, SnapshotFile};
use self::tiers::Tiers;
pub(crate) use self::tiers::{TierCounts, TierSetup};
use super::append::AppendList;
use super::arch::{self, STUB_SIZE, STUB_SLOT_START};
use super::entry::{self, Pending};
use super::memory::{CodeMemory, FirstText};
use super::tables::Tables;
use super::{CodeError, CompileFailure, CompileFn, FoundFunc, ModuleCode, Placed};
use crate::sys::asm::define_first_call_thunk;
use crate::sys::{page_size, stack};

/// Bytes of data before the slots.
const HEADER: usize = 64;

/// Functions start at multiples of this at least.
const MIN_ALIGN: usize = 16;

/// Least and greatest bytes of text reserved for functions. All calls within an arena reach 2 GiB, and on AArch64 ±128 MiB.
const MIN_BODIES: u64 = 16 << 20;
const MAX_BODIES: u64 = if cfg!(target_arch = "aarch64") { 120 << 20 } else { 3 << 29 };

/// Most bytes of stubs, for the same reason.
const MAX_STUBS: usize = if cfg!(target_arch = "aarch64") { 120 << 20 } else { 1 << 28 };

/// Bytes of text reserved for each byte of wasm: what both tiers make of it, and the entries in the middle of loops.
const TEXT_PER_BODY_BYTE: u64 = 12;

/// Bytes of text reserved for each function in addition.
const TEXT_PER_FUNC: u64 = 256;

/// Where a function is on its way. Changes under the lock of `LazyCode::placing`.
mod state {
    pub(super) const UNCOMPILED: u8 = 0;
    pub(super) const COMPILING: u8 = 1;
    pub(super) const FAILED: u8 = 2;
    /// There is code, which may be replaced. From here on there is code.
    pub(super) const READY: u8 = 3;
    /// The same, and better code is wanted.
    pub(super) const QUEUED: u8 = 4;
    /// There is code of the second tier, which stays.
    pub(super) const OPTIMIZED: u8 = 5;
    /// There is code of the first tier, which stays: the function could not be compiled at the second.
    pub(super) const NOT_OPTIMIZED: u8 = 6;
}

define_first_call_thunk!(first_call_thunk, first_call);

/// See the module's documentation.
pub(super) struct LazyCode {
    memory: CodeMemory,
    num_funcs: u32,
    /// Text offset of the first stub.
    stubs: usize,
    /// For each page of stubs, whether it is written.
    written: Box<[AtomicBool]>,
    compile: CompileFn,
    /// Where functions change their tier. Otherwise `compile` makes the only code of a function.
    tiers: Option<Tiers>,
    /// Whose code this is: set once, before anyone can call it.
    owner: AtomicPtr<ModuleCode>,
    placing: Mutex<Placing>,
    /// Threads that wait for another one to finish compiling.
    parked: Condvar,
    /// Placed functions by ascending address.
    placed: AppendList<PlacedFunc>,
    /// What an earlier run placed, at addresses before those.
    snapshot: Option<SnapshotFile>,
}

struct Placing {
    /// Text offset of the first free byte.
    free: usize,
    /// All but defined functions, which have their slot and state.
    trampolines: HashMap<FuncKey, Progress>,
    failures: HashMap<FuncKey, CompileFailure>,
}

/// Where a function is on its way, if it has begun.
#[derive(Clone, Copy)]
enum Progress {
    /// Some thread is at it.
    Compiling,
    /// Its code.
    Ready(NonNull<u8>),
    /// There is an entry in `failures`.
    Failed,
}

// SAFETY: the address of code, which any thread may call.
unsafe impl Send for Progress {}

struct PlacedFunc {
    start: u32,
    len: u32,
    key: FuncKey,
    tier: Tier,
    tables: FuncTables,
}

/// What a thread that needs a function finds.
enum Claim {
    Ready(NonNull<u8>),
    /// It is this thread's to compile.
    Ours,
}

impl LazyCode {
    /// `snapshot`: what an earlier run compiled. `map_file`: profilers are to find functions through a map file, which they do not for memory files.
    pub(super) fn new(
        num_funcs: u32,
        body_bytes: u64,
        compile: CompileFn,
        tiers: Option<TierSetup>,
        snapshot: Option<SnapshotFile>,
        map_file: bool,
    ) -> Result<LazyCode, CodeError> {
        let counters = LazyCode::counters_start(num_funcs);
        let counters_size = if tiers.is_some() { LazyCode::counters_size(num_funcs) } else { 0 };
        let data = counters + counters_size;
        let page = page_size();
        let stubs = (num_funcs as usize * STUB_SIZE).next_multiple_of(page);
        if stubs > MAX_STUBS {
            return Err(CodeError::TooManyFunctions(num_funcs));
        }
        let bodies = body_bytes.saturating_mul(TEXT_PER_BODY_BYTE).saturating_add(u64::from(num_funcs) * TEXT_PER_FUNC);
        let bodies = bodies.clamp(MIN_BODIES, MAX_BODIES) as usize;
        if let Some(snapshot) = &snapshot {
            snapshot.check(num_funcs, page + stubs, bodies)?;
        }
        let text = snapshot.as_ref().map_or_else(FirstText::default, |s| s.first_text(page + stubs));
        let reserve = if map_file { CodeMemory::reserve } else { CodeMemory::new };
        let memory = reserve(data, page + stubs + bodies, text)?;
        let mut code = LazyCode::with_memory(memory, num_funcs, compile)?;
        code.tiers = tiers.map(|setup| Tiers::new(setup, counters));
        if let Some(snapshot) = snapshot {
            code.resume(snapshot);
        }
        Ok(code)
    }

    /// Offset of the counters in the data, and its size without them.
    fn counters_start(num_funcs: u32) -> usize {
        (HEADER + num_funcs as usize * 9).next_multiple_of(8)
    }

    /// The same in memory that is there.
    pub(super) fn with_memory(memory: CodeMemory, num_funcs: u32, compile: CompileFn) -> Result<LazyCode, CodeError> {
        let page = page_size();
        let stubs = (num_funcs as usize * STUB_SIZE).next_multiple_of(page);
        let thunk = arch::thunk(memory.text() as usize, memory.data() as usize);
        // SAFETY: nobody runs the code yet, and the thunk has its page to itself.
        unsafe { memory.write(0, &thunk)? };
        Ok(LazyCode {
            memory,
            num_funcs,
            stubs: page,
            written: (0..stubs / page).map(|_| AtomicBool::new(false)).collect(),
            compile,
            tiers: None,
            owner: AtomicPtr::default(),
            placing: Mutex::new(Placing { free: page + stubs, trampolines: HashMap::new(), failures: HashMap::new() }),
            parked: Condvar::new(),
            placed: AppendList::new(),
            snapshot: None,
        })
    }

    /// Tells the code whose it is. Called once, when it has got the address that it keeps.
    pub(super) fn bind(&self, owner: &Arc<ModuleCode>) {
        self.owner.store(Arc::as_ptr(owner).cast_mut(), Ordering::Release);
        let header = self.memory.data().cast::<AtomicUsize>();
        // SAFETY: the data begins with two words for this; nobody runs the code yet.
        unsafe {
            (*header).store(Arc::as_ptr(owner) as usize, Ordering::Release);
            (*header.add(1)).store(first_call_thunk as *const () as usize, Ordering::Release);
        }
    }

    pub(super) fn text(&self) -> Range<usize> {
        let start = self.memory.text() as usize;
        start..start + self.memory.text_len()
    }

    /// The slot of a function. Panics if there is no such function.
    fn slot(&self, index: u32) -> &AtomicUsize {
        assert!(index < self.num_funcs, "no function {index}");
        // SAFETY: the data has a slot for each function, zero at first, and they are only ever used as atomics.
        unsafe { &*self.memory.data().add(HEADER + index as usize * 8).cast::<AtomicUsize>() }
    }

    /// The state of a function.
    fn state(&self, index: u32) -> &AtomicU8 {
        assert!(index < self.num_funcs, "no function {index}");
        let states = HEADER + self.num_funcs as usize * 8;
        // SAFETY: the data has a state for each function, zero at first, and they are only ever used as atomics.
        unsafe { &*self.memory.data().add(states + index as usize).cast::<AtomicU8>() }
    }

    fn text_at(&self, offset: usize) -> NonNull<u8> {
        NonNull::new(self.memory.text().wrapping_add(offset)).expect("no mapping is at 0")
    }

    pub(super) fn entry(&self, index: DefinedFuncIndex) -> NonNull<u8> {
        assert!(index.0 < self.num_funcs, "no function {}", index.0);
        let offset = index.0 as usize * STUB_SIZE;
        let chunk = offset / page_size();
        if !self.written[chunk].load(Ordering::Acquire) {
            self.write_stubs(chunk);
        }
        self.text_at(self.stubs + offset)
    }

    /// Writes a page of stubs, and the slots they jump through.
    #[cold]
    fn write_stubs(&self, chunk: usize) {
        // Pages that flip are written by one thread, once. Otherwise any number may write them: a fork of the process
        // may do so too, and would wait for ever on a lock that another thread held.
        let _one = (self.memory.granularity() > 1).then(|| self.lock());
        if self.written[chunk].load(Ordering::Acquire) {
            return;
        }
        let words = self.stub_words(chunk..chunk + 1, |slot, to| {
            let unset = slot.compare_exchange(0, to, Ordering::AcqRel, Ordering::Acquire);
            debug_assert!(unset.is_ok() || self.memory.granularity() == 1 || cfg!(test));
        });
        // SAFETY: who executes a stub has got its address from `entry`, after this; all write the same words.
        let result = unsafe { self.memory.write_words(self.stubs + chunk * page_size(), &words) };
        // Only changing page protection can fail, for want of kernel memory: as fatal as for the allocator.
        result.expect("entry stubs can be written");
        self.written[chunk].store(true, Ordering::Release);
    }

    /// Writes stubs of code that nobody knows of yet.
    fn write_first_stubs(&self, chunks: Range<usize>) {
        let words = self.stub_words(chunks.clone(), |slot, to| slot.store(to, Ordering::Relaxed));
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // SAFETY: nobody executes the stubs yet, and they have their pages to themselves.
        let result = unsafe { self.memory.write(self.stubs + chunks.start * page_size(), &bytes) };
        result.expect("entry stubs can be written");
        self.written[chunks].iter().for_each(|written| written.store(true, Ordering::Release));
    }

    /// The stubs of these pages. `set` sets a slot to where its stub goes on while there is no code.
    fn stub_words(&self, chunks: Range<usize>, set: impl Fn(&AtomicUsize, usize)) -> Vec<u64> {
        let per_page = page_size() / STUB_SIZE;
        let indices = chunks.start * per_page..(chunks.end * per_page).min(self.num_funcs as usize);
        let thunk = self.memory.text() as usize;
        let mut words = Vec::with_capacity(indices.len() * STUB_SIZE / 8);
        for index in indices {
            let at = thunk + self.stubs + index * STUB_SIZE;
            let slot = self.slot(index as u32);
            words.extend(arch::stub(at, slot.as_ptr() as usize, thunk, index as u32));
            set(slot, at + STUB_SLOT_START);
        }
        words
    }

    fn lock(&self) -> MutexGuard<'_, Placing> {
        self.placing.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The code of a function, compiled now if it is not yet. If another thread is at it, waits for that.
    pub(super) fn ready(&self, key: FuncKey) -> anyhow::Result<NonNull<u8>> {
        match key {
            FuncKey::Wasm(i) if i.0 >= self.num_funcs => return Err(CodeError::Missing(key).into()),
            FuncKey::Wasm(i) if self.state(i.0).load(Ordering::Acquire) >= state::READY => {
                return Ok(self.slot_code(i.0));
            }
            _ => {}
        }
        if let Claim::Ready(code) = self.claim(key)? {
            return Ok(code);
        }
        // Whatever happens to the compiler, those who wait are told.
        let unfinished = Unfinished { code: self, key };
        let result = self.compile_now(key).and_then(|(func, tier)| {
            if let FuncKey::Osr { .. } = key {
                self.count_osr(&func);
            }
            Ok((self.place(key, func, tier)?, tier))
        });
        mem::forget(unfinished);
        self.finish(key, result)
    }

    fn slot_code(&self, index: u32) -> NonNull<u8> {
        NonNull::new(self.slot(index).load(Ordering::Acquire) as *mut u8).expect("ready: the slot is set")
    }

    /// Finds the function done, or takes it on.
    fn claim(&self, key: FuncKey) -> anyhow::Result<Claim> {
        if let Err(error) = self.memory.check_owner() {
            // The thread that holds the lock may not exist in a fork: nothing here may wait.
            let found = self.placing.try_lock().ok().and_then(|placing| self.progress(&placing, key));
            return match found {
                Some(Progress::Ready(code)) => Ok(Claim::Ready(code)),
                _ => Err(CompileFailure { key, reason: Arc::new(error.into()) }.into()),
            };
        }
        let mut placing = self.lock();
        loop {
            match self.progress(&placing, key) {
                None => {
                    self.set(&mut placing, key, Tier::Baseline, Progress::Compiling);
                    return Ok(Claim::Ours);
                }
                Some(Progress::Ready(code)) => return Ok(Claim::Ready(code)),
                Some(Progress::Failed) => return Err(placing.failures[&key].clone().into()),
                Some(Progress::Compiling) => {
                    placing = self.parked.wait(placing).unwrap_or_else(|e| e.into_inner());
                }
            }
        }
    }

    /// Where a function is on its way; `None` at its beginning.
    fn progress(&self, placing: &Placing, key: FuncKey) -> Option<Progress> {
        let FuncKey::Wasm(index) = key else { return placing.trampolines.get(&key).copied() };
        match self.state(index.0).load(Ordering::Acquire) {
            state::UNCOMPILED => None,
            state::COMPILING => Some(Progress::Compiling),
            state::FAILED => Some(Progress::Failed),
            _ => Some(Progress::Ready(self.slot_code(index.0))),
        }
    }

    /// Notes where a function is on its way, and of which tier its code is.
    fn set(&self, placing: &mut Placing, key: FuncKey, tier: Tier, to: Progress) {
        let FuncKey::Wasm(index) = key else {
            placing.trampolines.insert(key, to);
            return;
        };
        let state = match to {
            Progress::Compiling => state::COMPILING,
            Progress::Failed => state::FAILED,
            Progress::Ready(code) => {
                self.slot(index.0).store(code.as_ptr() as usize, Ordering::Release);
                if tier == Tier::Baseline { state::READY } else { state::OPTIMIZED }
            }
        };
        self.state(index.0).store(state, Ordering::Release);
    }

    fn finish(&self, key: FuncKey, result: anyhow::Result<(NonNull<u8>, Tier)>) -> anyhow::Result<NonNull<u8>> {
        let mut placing = self.lock();
        let result = match result {
            Ok((code, tier)) => {
                self.set(&mut placing, key, tier, Progress::Ready(code));
                Ok(code)
            }
            Err(reason) => {
                let failure = CompileFailure { key, reason: Arc::new(reason) };
                if let hash_map::Entry::Vacant(entry) = placing.failures.entry(key) {
                    entry.insert(failure.clone());
                }
                self.set(&mut placing, key, Tier::Baseline, Progress::Failed);
                Err(failure.into())
            }
        };
        drop(placing);
        self.parked.notify_all();
        // Others are errors of the program that calls them; this one stays where it is.
        if let (Err(error), FuncKey::Osr { func, .. }, Some(tiers)) = (&result, key, &self.tiers) {
            tiers.note_failure(func, error);
        }
        result
    }

    /// Puts a compiled function into the arena. Its calls are bound to trampolines, to functions whose code is final, itself
    /// perhaps among them, and to entry stubs of others.
    fn place(&self, key: FuncKey, func: MachineFunc, tier: Tier) -> anyhow::Result<NonNull<u8>> {
        self.memory.check_owner()?;
        let targets = self.targets(key, tier, &func, &|i| {
            (self.state(i.0).load(Ordering::Acquire) == state::OPTIMIZED).then(|| self.slot_code(i.0))
        })?;
        let align = (func.align as usize).max(MIN_ALIGN).max(self.memory.granularity());
        let mut placing = self.lock();
        let start = placing.free.next_multiple_of(align);
        let address = self.write_func(&mut placing, (key, tier), func, &targets, start)?;
        drop(placing);
        self.tell_tools(address.as_ptr() as usize);
        Ok(address)
    }

    /// What the relocations of a function refer to; `None` is the function itself. `last` has the code of functions that
    /// will not have any other.
    fn targets(
        &self,
        key: FuncKey,
        tier: Tier,
        func: &MachineFunc,
        last: &dyn Fn(DefinedFuncIndex) -> Option<NonNull<u8>>,
    ) -> anyhow::Result<Vec<Option<u64>>> {
        let target = |reloc: &Reloc| {
            // Patching would panic; what a cache holds is not to be trusted that far.
            if func.code.len().saturating_sub(reloc.offset as usize) < reloc.kind.patch_size() as usize {
                return Err(CodeError::BadRelocation(reloc.kind).into());
            }
            let target = match reloc.target {
                FuncKey::Wasm(i) if i.0 >= self.num_funcs => return Err(CodeError::Missing(reloc.target).into()),
                FuncKey::Wasm(_) if reloc.target == key && tier == Tier::Optimized => return Ok(None),
                FuncKey::Wasm(i) => last(i).unwrap_or_else(|| self.entry(i)),
                other => self.ready(other)?,
            };
            Ok(Some(target.as_ptr() as u64))
        };
        func.relocs.iter().map(target).collect()
    }

    /// Writes a function to an offset of the text behind all others.
    fn write_func(
        &self,
        placing: &mut Placing,
        (key, tier): (FuncKey, Tier),
        func: MachineFunc,
        targets: &[Option<u64>],
        start: usize,
    ) -> Result<NonNull<u8>, CodeError> {
        let MachineFunc { mut code, align: _, relocs, tables, sites: _ } = func;
        let full = || CodeError::ArenaFull(self.memory.text_len());
        let end = start.checked_add(code.len()).filter(|end| *end <= self.memory.text_len()).ok_or_else(full)?;
        let address = self.text_at(start);
        for (reloc, target) in relocs.iter().zip(targets) {
            let own = address.as_ptr() as u64;
            reloc.apply(&mut code, own, target.unwrap_or(own)).map_err(CodeError::OutOfReach)?;
        }
        // SAFETY: the place is free, and whoever executes it gets its address from what this function returns. In
        // flipping mode the function has pages of its own.
        unsafe {
            self.memory.write(start, &code)?;
            placing.free = end.next_multiple_of(self.memory.granularity());
            // The lock lets one thread append at a time.
            self.placed.push(PlacedFunc { start: start as u32, len: code.len() as u32, key, tier, tables });
        }
        Ok(address)
    }

    /// Tells debugger and profiler about the function that was placed at `start`.
    fn tell_tools(&self, start: usize) {
        // SAFETY: the owner owns this structure, so that it lives.
        let Some(owner) = (unsafe { self.owner.load(Ordering::Acquire).as_ref() }) else { return };
        if let Some(func) = self.find_placed(start) {
            let range = start..start + func.len as usize;
            let placed = Placed { key: func.key, range, unwind: &func.tables.unwind };
            owner.setup.tell_tools(&owner.observers.debugger, &[placed]);
        }
    }

    fn find_placed(&self, pc: usize) -> Option<&PlacedFunc> {
        let offset = u32::try_from(pc.checked_sub(self.memory.text() as usize)?).ok()?;
        let func = self.placed.get(self.placed.partition_point(|f| f.start <= offset).checked_sub(1)?)?;
        (offset - func.start < func.len).then_some(func)
    }

    pub(super) fn find(&self, pc: usize) -> Option<FoundFunc<'_>> {
        if let Some(found) = self.snapshot.as_ref().and_then(|s| s.find(self.bodies_start(), pc)) {
            return Some(found);
        }
        let func = self.find_placed(pc)?;
        let start = self.memory.text() as usize + func.start as usize;
        Some(FoundFunc { key: func.key, start, tables: Tables::Own(&func.tables) })
    }
}

/// A function whose compiler panicked, if this is dropped.
struct Unfinished<'a> {
    code: &'a LazyCode,
    key: FuncKey,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let failed = self.code.finish(self.key, Err(anyhow::anyhow!("the compiler panicked")));
        drop(failed);
    }
}

/// Compiles a function when compiled code calls it, and returns where to go on. Does not return if that fails.
///
/// # Safety
/// Called by the thunk, with the address of the `ModuleCode` and the frame of its caller.
unsafe extern "C" fn first_call(code: *const c_void, index: u32, caller_fp: usize, return_pc: usize) -> *const u8 {
    {
        // SAFETY: the store that runs the code keeps it alive.
        let code = unsafe { &*code.cast::<ModuleCode>() };
        // SAFETY: compiled code called, so that there is an activation; the frame is its newest.
        unsafe { entry::record_exit(return_pc, caller_fp) };
        let key = FuncKey::Wasm(DefinedFuncIndex(index));
        let compile = || stack::on_service_stack(|| code.trampoline(key));
        match panic::catch_unwind(AssertUnwindSafe(compile)) {
            Ok(Ok(code)) => return code.as_ptr(),
            Ok(Err(error)) => entry::set_pending(Pending::CompileFailed(error)),
            Err(payload) => entry::set_pending(Pending::Panic(payload)),
        }
    }
    // SAFETY: an error is pending and the exit is recorded; nothing in this frame is left to be dropped.
    unsafe { entry::raise_newest() }
}
