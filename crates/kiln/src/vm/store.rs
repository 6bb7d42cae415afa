//! A store without its type parameter: owner of every instance, memory, table and host function made in it.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::{VmFuncRef, VmStoreContext};
use super::global::HostGlobal;
use super::handle::{Handle, Owned, StoreId};
use super::host::{HostFunc, HostSlab};
use super::instance::InstanceData;
use super::memory::LinearMemory;
use super::table::TableData;
use crate::code::ModuleCode;
use crate::engine::Engine;
use crate::gc::GcStore;
use crate::limits::{ResourceLimiter, UpdateDeadline};
use crate::types::FuncType;

/// What a store is made of. Its address never changes; `vm.owner` points back to it.
pub(crate) struct StoreOpaque {
    pub(crate) vm: VmStoreContext,
    id: StoreId,
    engine: Engine,
    pub(crate) max_wasm_stack: usize,
    gc: GcStore,
    pub(crate) instances: Vec<Owned<InstanceData>>,
    pub(crate) host_memories: Vec<Owned<HostMemory>>,
    pub(crate) host_tables: Vec<Owned<HostTable>>,
    pub(crate) host_globals: Vec<Owned<HostGlobal>>,
    host_slabs: Vec<HostSlab>,
    /// Fuel beyond what the counter in `vm` holds.
    fuel_reserve: u64,
    fuel_interval: Option<u64>,
    limiter: Option<LimiterFn>,
    epoch_callback: Option<EpochFn>,
    limits: InstanceLimits,
    counts: InstanceLimits,
    /// Types that objects made by the host refer to by number.
    kept_types: Vec<FuncType>,
    /// Code that functions made by the host use.
    kept_code: Vec<Arc<ModuleCode>>,
    /// The user's data: a leaked `Box<T>`.
    data: NonNull<()>,
    /// Whether the data was handed back to the user.
    data_taken: bool,
}

/// A memory made by the host, with the descriptor that importing instances point to.
pub(crate) struct HostMemory {
    pub(crate) memory: LinearMemory,
    pub(crate) vm: super::context::VmMemory,
}

/// A table made by the host, likewise.
pub(crate) struct HostTable {
    pub(crate) table: TableData,
    pub(crate) vm: super::context::VmTable,
}

/// How many objects of each kind.
#[derive(Clone, Copy)]
pub(crate) struct InstanceLimits {
    pub(crate) instances: usize,
    pub(crate) tables: usize,
    pub(crate) memories: usize,
}

type LimiterFn = Box<dyn for<'a> FnMut(&'a mut StoreOpaque) -> &'a mut dyn ResourceLimiter>;
type EpochFn = Box<dyn FnMut(&mut StoreOpaque) -> anyhow::Result<UpdateDeadline>>;

impl StoreOpaque {
    /// The number that tells this store's objects from others'.
    #[inline]
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// The engine the store belongs to.
    #[inline]
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The heap of collected objects.
    #[inline]
    pub(crate) fn gc(&self) -> &GcStore {
        &self.gc
    }

    /// The heap of collected objects.
    #[inline]
    pub(crate) fn gc_mut(&mut self) -> &mut GcStore {
        &mut self.gc
    }

    /// The store that a store context belongs to.
    ///
    /// # Safety
    /// `context` is the context of a live store, and code that was entered through it runs on this thread.
    #[inline]
    pub(crate) unsafe fn from_context<'a>(context: *mut VmStoreContext) -> &'a mut StoreOpaque {
        // SAFETY: `owner` was set when the newest wasm code was entered, from a mutable borrow that is suspended while
        // that code, or what it calls, runs.
        unsafe { &mut *(*context).owner.cast::<StoreOpaque>() }
    }

    /// Keeps the types alive that an object made by the host refers to.
    pub(crate) fn keep_types(&mut self, types: impl IntoIterator<Item = FuncType>) {
        self.kept_types.extend(types);
    }

    /// Keeps code alive as long as the store.
    pub(crate) fn keep_code(&mut self, code: &Arc<ModuleCode>) {
        if !self.kept_code.iter().rev().take(8).any(|c| Arc::ptr_eq(c, code)) {
            self.kept_code.push(code.clone());
        }
    }

    /// Makes contexts and function references for host functions.
    pub(crate) fn add_host_funcs(&mut self, funcs: Arc<[Arc<HostFunc>]>, code: &[*const u8]) -> NonNull<VmFuncRef> {
        let slab = HostSlab::new(&mut self.vm, self.id, funcs, code);
        let first = slab.func_refs();
        self.host_slabs.push(slab);
        first
    }

    /// Reports every collected reference in tables and globals.
    pub(crate) fn trace_roots(&mut self, f: &mut dyn FnMut(u32)) {
        for instance in &self.instances {
            instance.trace_roots(f);
        }
        for table in &self.host_tables {
            table.table.trace_roots(f);
        }
        for global in &self.host_globals {
            if global.ty.content.is_gc_ref() {
                f(global.storage.get().get_u32());
            }
        }
    }

    // Limits.

    /// Counts one more instance with its own tables and memories, or refuses.
    pub(crate) fn count_instance(&mut self, tables: usize, memories: usize) -> anyhow::Result<()> {
        let grown = InstanceLimits {
            instances: self.counts.instances + 1,
            tables: self.counts.tables + tables,
            memories: self.counts.memories + memories,
        };
        let check = |what: &str, count: usize, limit: usize| {
            anyhow::ensure!(count <= limit, "resource limit exceeded: {what} count too high at {count}, the limit is {limit}");
            Ok(())
        };
        check("instance", grown.instances, self.limits.instances)?;
        check("table", grown.tables, self.limits.tables)?;
        check("memory", grown.memories, self.limits.memories)?;
        self.counts = grown;
        Ok(())
    }

    /// The limiter that the user set.
    pub(crate) fn limiter(&mut self) -> Option<Limiter<'_>> {
        let limiter = self.limiter.take()?;
        Some(Limiter { store: self, limiter: Some(limiter) })
    }

    // Fuel.

    /// Sets the fuel left.
    pub(crate) fn set_fuel(&mut self, fuel: u64) {
        let now = fuel.min(self.fuel_interval.unwrap_or(u64::MAX)).min(i64::MAX as u64);
        self.fuel_reserve = fuel - now;
        self.vm.fuel = -(now as i64);
    }

    /// The fuel left.
    pub(crate) fn fuel(&self) -> u64 {
        self.fuel_reserve.saturating_add_signed(self.vm.fuel.saturating_neg())
    }

    /// The counter rose above zero: takes from the reserve. False when nothing is left.
    pub(crate) fn refuel(&mut self) -> bool {
        let used_beyond = u64::try_from(self.vm.fuel).unwrap_or(0);
        if self.fuel_reserve < used_beyond || self.fuel_reserve == 0 {
            return false;
        }
        let left = self.fuel_reserve - used_beyond;
        self.set_fuel(left);
        true
    }

    // Epochs.

    /// Sets the deadline so many epochs from now.
    pub(crate) fn set_epoch_deadline(&mut self, delta: u64) {
        let now = self.engine.epoch().load(Ordering::Relaxed);
        self.vm.epoch_deadline = now.saturating_add(delta);
    }

    /// The deadline passed: the new one, or the error that stops the guest.
    pub(crate) fn new_epoch(&mut self) -> anyhow::Result<u64> {
        let Some(mut callback) = self.epoch_callback.take() else {
            return Err(crate::trap::Trap::from(kiln_env::TrapCode::Interrupt).into());
        };
        let update = callback(self);
        self.epoch_callback.get_or_insert(callback);
        match update? {
            UpdateDeadline::Continue(delta) => {
                self.set_epoch_deadline(delta);
                Ok(self.vm.epoch_deadline)
            }
            UpdateDeadline::Interrupt => Err(crate::trap::Trap::from(kiln_env::TrapCode::Interrupt).into()),
        }
    }

    /// The guest traps when the deadline passes.
    pub(crate) fn clear_epoch_callback(&mut self) {
        self.epoch_callback = None;
    }
}

/// The limiter of a store, on loan: it is put back on drop, so that the store stays usable while it is asked.
pub(crate) struct Limiter<'a> {
    store: &'a mut StoreOpaque,
    limiter: Option<LimiterFn>,
}

impl Limiter<'_> {
    /// The user's limiter.
    pub(crate) fn get(&mut self) -> &mut dyn ResourceLimiter {
        let limiter = self.limiter.as_mut().expect("present until drop");
        limiter(self.store)
    }
}

impl Drop for Limiter<'_> {
    fn drop(&mut self) {
        self.store.limiter = self.limiter.take();
    }
}

/// A store with data of type `T`. The same object as its [`StoreOpaque`].
#[repr(transparent)]
pub(crate) struct StoreInner<T: 'static> {
    opaque: StoreOpaque,
    marker: PhantomData<T>,
}

// SAFETY: 1. all the raw pointers inside lead to objects that the store alone owns or that are `Sync` (code, engine,
// modules). 2. Code runs under a mutable borrow only. 3. Callbacks and the data, which depend on `T`, require `T: Send`
// here; the callbacks themselves are `Send` by the bounds of the setters.
unsafe impl<T: Send> Send for StoreInner<T> {}

impl<T> Deref for StoreInner<T> {
    type Target = StoreOpaque;
    #[inline]
    fn deref(&self) -> &StoreOpaque {
        &self.opaque
    }
}

impl<T> DerefMut for StoreInner<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut StoreOpaque {
        &mut self.opaque
    }
}

impl<T> StoreInner<T> {
    /// A store for `engine`, empty.
    pub(crate) fn new(engine: &Engine, data: T) -> Owned<StoreInner<T>> {
        let unlimited = InstanceLimits { instances: 10_000, tables: 10_000, memories: 10_000 };
        let mut vm = VmStoreContext::ZERO;
        vm.epoch = ptr::from_ref(engine.epoch()).cast_mut().cast();
        let opaque = StoreOpaque {
            vm,
            id: StoreId::next(),
            engine: engine.clone(),
            max_wasm_stack: engine.max_wasm_stack(),
            gc: GcStore::default(),
            instances: Vec::new(),
            host_memories: Vec::new(),
            host_tables: Vec::new(),
            host_globals: Vec::new(),
            host_slabs: Vec::new(),
            fuel_reserve: 0,
            fuel_interval: None,
            limiter: None,
            epoch_callback: None,
            limits: unlimited,
            counts: InstanceLimits { instances: 0, tables: 0, memories: 0 },
            kept_types: Vec::new(),
            kept_code: Vec::new(),
            data: NonNull::from(Box::leak(Box::new(data))).cast(),
            data_taken: false,
        };
        let mut store = Owned::new(StoreInner { opaque, marker: PhantomData });
        store.vm.owner = store.ptr().as_ptr().cast();
        store
    }

    /// The user's data.
    #[inline]
    pub(crate) fn data(&self) -> &T {
        // SAFETY: `data` is the box made in `new`; it lives until drop.
        unsafe { self.opaque.data.cast::<T>().as_ref() }
    }

    /// The user's data.
    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut T {
        // SAFETY: as above; the store is borrowed mutably.
        unsafe { self.opaque.data.cast::<T>().as_mut() }
    }

    /// The store with its type, from the one without.
    ///
    /// # Safety
    /// The store was made with data of type `T`.
    #[inline]
    pub(crate) unsafe fn from_opaque(store: &mut StoreOpaque) -> &mut StoreInner<T> {
        // SAFETY: `repr(transparent)`, and the caller answers for `T`.
        unsafe { &mut *ptr::from_mut(store).cast() }
    }

    /// Asks the limiter that `f` finds in the data before anything grows.
    pub(crate) fn set_limiter(&mut self, mut f: impl FnMut(&mut T) -> &mut dyn ResourceLimiter + Send + Sync + 'static) {
        let limiter = f(self.data_mut());
        self.opaque.limits = InstanceLimits {
            instances: limiter.instances(),
            tables: limiter.tables(),
            memories: limiter.memories(),
        };
        self.opaque.limiter = Some(Box::new(move |store| {
            // SAFETY: the closure stays in the store that it was set in, whose data is a `T`.
            let store = unsafe { StoreInner::<T>::from_opaque(store) };
            f(store.data_mut())
        }));
    }

    /// Calls `f` when the epoch deadline passes.
    pub(crate) fn set_epoch_callback(
        &mut self,
        mut f: impl FnMut(&mut StoreInner<T>) -> anyhow::Result<UpdateDeadline> + Send + Sync + 'static,
    ) {
        self.opaque.epoch_callback = Some(Box::new(move |store| {
            // SAFETY: as for the limiter.
            f(unsafe { StoreInner::<T>::from_opaque(store) })
        }));
    }

    /// Takes the data out of a store that is about to be dropped.
    pub(crate) fn into_data(mut store: Owned<StoreInner<T>>) -> T {
        store.opaque.data_taken = true;
        // SAFETY: the box of `new`; `drop` leaves it alone now.
        *unsafe { Box::from_raw(store.opaque.data.cast::<T>().as_ptr()) }
    }
}

impl<T: 'static> Drop for StoreInner<T> {
    fn drop(&mut self) {
        if !self.opaque.data_taken {
            // SAFETY: the box of `new`, not taken out.
            drop(unsafe { Box::from_raw(self.opaque.data.cast::<T>().as_ptr()) });
        }
    }
}

impl StoreOpaque {
    /// Names an object that this store owns.
    ///
    /// # Safety
    /// As for [`Handle::new`].
    #[inline]
    pub(crate) unsafe fn handle<X>(&self, ptr: NonNull<X>) -> Handle<X> {
        // SAFETY: passed on.
        unsafe { Handle::new(self.id, ptr) }
    }
}

