//! A store without its type parameter: owner of every instance, memory, table and host function made in it.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use kiln_env::types::MemoryType;
use kiln_env::{EntityIndex, TrapCode};

use super::call;
use super::context::{ValRaw, VmFuncRef, VmMemory, VmStoreContext, VmTable};
use super::global::{GlobalHandle, GlobalStorage, HostGlobal};
use super::handle::{Handle, Owned, StoreId};
use super::host::{HostBatch, HostFunc, HostSlab};
use super::instance::{Entity, Imports, InstanceData};
use super::memory::{self, LinearMemory, MemoryPlan};
use super::module::ModuleData;
use super::shared::SharedMemoryInner;
use super::table::{self, Element, TableData};
use super::waiting::Waiting;
use crate::code::frames::{self, RawBacktrace};
use crate::engine::Engine;
use crate::gc::GcStore;
use crate::limits::{DEFAULT_COUNT, ResourceLimiter, UpdateDeadline};
use crate::trap::Trap;
use crate::types::registry::TypeId;
use crate::types::{FuncType, GlobalType as PublicGlobalType, TableType as PublicTableType};

/// An error of the runtime as the host sees it.
pub(crate) fn trap_of(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<TrapCode>() {
        Ok(code) => Trap::from(code).into(),
        Err(other) => other,
    }
}

/// What a store is made of. Its address never changes; `vm.owner` points back to it.
#[repr(C)]
pub struct StoreOpaque {
    pub(crate) vm: VmStoreContext,
    id: StoreId,
    engine: Engine,
    pub(crate) max_wasm_stack: usize,
    gc: GcStore,
    pub(super) instances: Vec<Owned<InstanceData>>,
    host_memories: Vec<Owned<HostMemory>>,
    host_tables: Vec<Owned<HostTable>>,
    host_globals: Vec<Owned<HostGlobal>>,
    host_slabs: Vec<HostSlab>,
    /// Fuel beyond what the counter in `vm` holds.
    fuel_reserve: u64,
    fuel_interval: Option<u64>,
    /// Whether the engine's code counts fuel.
    pub(super) has_fuel: bool,
    /// Whether it looks at the epoch.
    pub(super) has_epochs: bool,
    limiter: Option<LimiterFn>,
    epoch_callback: Option<EpochFn>,
    limits: InstanceLimits,
    counts: InstanceLimits,
    /// See `vm.osr_buffer`. Empty until a function changes its tier in a loop.
    osr_buffer: Vec<ValRaw>,
    /// What it waits with for other threads and the epoch. `None` until it first does.
    pub(super) waiting: Option<Arc<Waiting>>,
    /// The type of the function that was last called dynamically: looking one up takes a lock.
    last_called: Option<FuncType>,
    /// The user's data: a leaked `Box<T>`.
    data: NonNull<()>,
    /// Whether the data was handed back to the user.
    data_taken: bool,
}

/// A memory made by the host, with the descriptor that importing instances point to.
pub(crate) struct HostMemory {
    memory: LinearMemory,
    _vm: Owned<VmMemory>,
}

/// A table made by the host, likewise.
pub(crate) struct HostTable {
    table: TableData,
    _vm: Owned<VmTable>,
    /// Keeps the types registered that the element type names.
    _public: PublicTableType,
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

    /// Makes the buffer through which functions pass their state when they change their tier in a loop.
    pub(crate) fn make_osr_buffer(&mut self) {
        if self.osr_buffer.is_empty() {
            self.osr_buffer = vec![ValRaw::ZERO; kiln_env::limits::MAX_OSR_SLOTS as usize];
            self.vm.osr_buffer = self.osr_buffer.as_mut_ptr().cast();
        }
    }

    /// Adds host functions whose code for wasm callers is known.
    pub(crate) fn add_host_batch(
        &mut self,
        batch: &HostBatch,
    ) -> impl ExactSizeIterator<Item = NonNull<VmFuncRef>> + use<> {
        let slab = HostSlab::new(&mut self.vm, batch.funcs(), batch.code());
        let func_refs = slab.func_refs();
        self.host_slabs.push(slab);
        func_refs
    }

    /// Adds a host function. Where its code for wasm callers cannot be made, only the host can call it. Panics if its type
    /// belongs to another engine.
    pub(crate) fn add_host_func(&mut self, func: Arc<HostFunc>) -> Handle<VmFuncRef> {
        assert!(func.ty().is_of(self.engine.types()), "the function's type belongs to another engine than the store");
        let code = call::host_code(self, func.ty().id()).unwrap_or(ptr::null());
        let slab = HostSlab::new(&mut self.vm, &Arc::from([func]), &[code]);
        let func_ref = slab.func_refs().next().expect("one was given");
        self.host_slabs.push(slab);
        // SAFETY: the slab lives as long as the store.
        unsafe { self.handle(func_ref) }
    }

    /// Adds a global of the host.
    pub(crate) fn add_global(&mut self, ty: PublicGlobalType, value: ValRaw) -> GlobalHandle {
        let env = ty.to_env();
        let global = Owned::new(HostGlobal { storage: GlobalStorage::new(value), ty: env, _public: ty });
        let storage = NonNull::from(&global.storage);
        self.host_globals.push(global);
        // SAFETY: the global lives as long as the store.
        GlobalHandle { storage: unsafe { self.handle(storage) }, ty: env }
    }

    /// Adds a table of the host, filled with `init`.
    pub(crate) fn add_table(&mut self, ty: PublicTableType, init: Element) -> Result<Handle<TableData>> {
        let env = ty.to_env();
        table::check_new(self, &env)?;
        let vm = Owned::new(VmTable::ZERO);
        // SAFETY: the descriptor is kept beside the table.
        let mut table = unsafe { TableData::new(env, vm.ptr(), None)? };
        table.fill(0, init, env.limits.min)?;
        let host = Owned::new(HostTable { table, _vm: vm, _public: ty });
        let table = NonNull::from(&host.table);
        self.host_tables.push(host);
        // SAFETY: the table lives as long as the store.
        Ok(unsafe { self.handle(table) })
    }

    /// Adds a memory of the host.
    pub(crate) fn add_memory(&mut self, ty: &MemoryType) -> Result<Handle<LinearMemory>> {
        let plan = Arc::new(MemoryPlan::new(ty, &self.engine));
        memory::check_new(self, &plan)?;
        let vm = Owned::new(VmMemory::ZERO);
        // SAFETY: the descriptor is kept beside the memory.
        let memory = unsafe { LinearMemory::new(&plan, vm.ptr(), &|| Ok(None))? };
        Ok(self.keep_memory(memory, vm))
    }

    /// Whether an address lies in one of its memories, accessible or not. For signal handlers: neither allocates nor locks.
    pub(crate) fn has_memory_at(&self, address: usize) -> bool {
        self.instances.iter().any(|instance| instance.has_memory_at(address))
            || self.host_memories.iter().any(|host| host.memory.reserves(address))
    }

    /// Adds a shared memory.
    pub(crate) fn adopt_shared(&mut self, shared: &Arc<SharedMemoryInner>) -> NonNull<LinearMemory> {
        let memory = LinearMemory::from_shared(shared.plan().clone(), shared.clone());
        self.keep_memory(memory, Owned::new(VmMemory::ZERO)).raw()
    }

    fn keep_memory(&mut self, memory: LinearMemory, vm: Owned<VmMemory>) -> Handle<LinearMemory> {
        let host = Owned::new(HostMemory { memory, _vm: vm });
        let memory = NonNull::from(&host.memory);
        self.host_memories.push(host);
        // SAFETY: the memory lives as long as the store.
        unsafe { self.handle(memory) }
    }

    /// Makes an instance and runs its start function. The caller has checked the imports.
    pub(crate) fn instantiate(&mut self, module: &Arc<ModuleData>, imports: Imports) -> Result<Handle<InstanceData>> {
        // SAFETY: the API layer has checked stores and types of all imports.
        let made = unsafe { InstanceData::create(self, module, imports) };
        let instance = made.map_err(trap_of)?;
        if let Some(start) = module.env.start {
            // SAFETY: the instance is of this store; validation saw to the start function's type.
            unsafe {
                let start = InstanceData::func_ref(instance, start);
                call::invoke_start(self, start)?;
            }
        }
        Ok(self.instance_handle(instance))
    }

    /// The frames of compiled code that are under way in this store.
    pub(crate) fn backtrace(&self) -> RawBacktrace {
        // SAFETY: whoever has the store is on the thread that runs it, and its compiled code is waiting for the host.
        unsafe { frames::backtrace(&self.vm) }
    }

    /// Whether an artifact that an instance's code or data is in has become shorter than it was.
    pub(crate) fn uses_damaged_file(&self) -> bool {
        // SAFETY: instances live as long as their store.
        let mut modules = self.instances.iter().map(|instance| unsafe { instance.ptr().as_ref() }.module());
        modules.any(|module| module.info.is_damaged())
    }

    /// Names all instances of this store, in the order in which they were made.
    pub(crate) fn instance_handles(&self) -> impl Iterator<Item = Handle<InstanceData>> {
        self.instances.iter().map(|instance| self.instance_handle(instance.ptr()))
    }

    /// Names an instance of this store.
    pub(crate) fn instance_handle(&self, instance: NonNull<InstanceData>) -> Handle<InstanceData> {
        // SAFETY: instances live as long as their store.
        unsafe { self.handle(instance) }
    }

    /// One of the things in an instance's index spaces. Panics if it is one of another store.
    pub(crate) fn entity(&mut self, instance: Handle<InstanceData>, index: EntityIndex) -> Entity {
        let instance = instance.ptr(self);
        // SAFETY: checked, and the store is borrowed mutably.
        unsafe { InstanceData::entity(self, instance, index) }
    }

    /// The function type of this number.
    pub(crate) fn func_type(&mut self, id: TypeId) -> FuncType {
        match &self.last_called {
            Some(ty) if ty.id() == id => ty.clone(),
            _ => {
                let ty = FuncType::from_id(self.engine.types(), id);
                self.last_called.insert(ty).clone()
            }
        }
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
            anyhow::ensure!(
                count <= limit,
                "resource limit exceeded: {what} count too high at {count}, the limit is {limit}"
            );
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
        // Without any fuel not even a function without loops may run: the check at its entry must find the counter
        // above zero.
        self.vm.fuel = if now == 0 { 1 } else { -(now as i64) };
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
            return Err(Trap::from(TrapCode::Interrupt).into());
        };
        let update = callback(self);
        self.epoch_callback.get_or_insert(callback);
        match update? {
            UpdateDeadline::Continue(delta) => {
                self.set_epoch_deadline(delta);
                Ok(self.vm.epoch_deadline)
            }
            UpdateDeadline::Interrupt => Err(Trap::from(TrapCode::Interrupt).into()),
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
        let unlimited = InstanceLimits { instances: DEFAULT_COUNT, tables: DEFAULT_COUNT, memories: DEFAULT_COUNT };
        let mut vm = VmStoreContext::ZERO;
        // No fuel: see `set_fuel`.
        vm.fuel = 1;
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
            has_fuel: engine.tunables().fuel,
            has_epochs: engine.tunables().epochs,
            limiter: None,
            epoch_callback: None,
            limits: unlimited,
            counts: InstanceLimits { instances: 0, tables: 0, memories: 0 },
            osr_buffer: Vec::new(),
            waiting: None,
            last_called: None,
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
    pub(crate) fn set_limiter(
        &mut self,
        mut f: impl FnMut(&mut T) -> &mut (dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        let limiter = f(self.data_mut());
        self.opaque.limits =
            InstanceLimits { instances: limiter.instances(), tables: limiter.tables(), memories: limiter.memories() };
        self.opaque.gc.limit();
        self.opaque.limiter = Some(Box::new(move |store| {
            // SAFETY: the closure stays in the store that it was set in, whose data is a `T`.
            let store = unsafe { StoreInner::<T>::from_opaque(store) };
            f(store.data_mut())
        }));
    }

    /// The bytes of a memory, and the data. Panics if the memory belongs to another store.
    pub(crate) fn memory_and_data(&mut self, memory: Handle<LinearMemory>) -> (&mut [u8], &mut T) {
        let mut memory = memory.ptr(self);
        // SAFETY: the memory belongs to the store, which is borrowed mutably; it and the data are disjoint.
        (unsafe { memory.as_mut() }.data_mut(), self.data_mut())
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
