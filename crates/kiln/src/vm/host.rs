//! Host functions: what compiled code needs to call them.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use anyhow::Result;
use kiln_env::layout::MAGIC_HOST;
use kiln_env::{FuncIndex, FuncKey};

use super::builtins;
use super::call;
use super::context::{HostArrayCall, ValRaw, VmContext, VmContextHeader, VmFuncRef, VmHostContext, VmStoreContext};
use super::instance::InstanceData;
use super::module::ModuleData;
use super::store::{StoreInner, StoreOpaque};
use crate::code::entry::catch_host;
use crate::func::Caller;
use crate::types::FuncType;

/// The body of a host function: typed closures and dynamically typed ones.
pub(crate) trait HostCall<T>: Send + Sync + 'static {
    /// How many slots it reads and writes: the greater of parameters and results.
    fn slots(&self) -> usize;

    /// Reads the parameters from `values` and leaves the results there.
    fn call(&self, caller: Caller<'_, T>, values: &mut [ValRaw]) -> Result<()>;
}

/// A host function that belongs to no store.
pub struct HostFunc {
    ty: FuncType,
    array_call: HostArrayCall,
    direct_call: DirectCall,
    /// A leaked box of the closure.
    closure: NonNull<()>,
    drop_closure: unsafe fn(NonNull<()>),
}

/// A host function called by the host: no pending error, panics just travel.
type DirectCall = unsafe fn(closure: NonNull<()>, store: &mut StoreOpaque, values: *mut ValRaw) -> Result<()>;

// SAFETY: 1. the closure is `Send + Sync`, as `HostCall` demands. 2. The other fields are immutable.
unsafe impl Send for HostFunc {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostFunc {}

impl HostFunc {
    /// A function of type `ty` for stores with data of type `T`. What the closure makes of the slots must agree with
    /// the type.
    pub(crate) fn new<T: 'static, C: HostCall<T>>(ty: FuncType, closure: C) -> HostFunc {
        HostFunc {
            ty,
            array_call: array_call::<T, C>,
            direct_call: direct_call::<T, C>,
            closure: NonNull::from(Box::leak(Box::new(closure))).cast(),
            drop_closure: drop_closure::<C>,
        }
    }

    /// Its type.
    pub(crate) fn ty(&self) -> &FuncType {
        &self.ty
    }
}

impl Drop for HostFunc {
    fn drop(&mut self) {
        // SAFETY: the box leaked in `new`, with its own type.
        unsafe { (self.drop_closure)(self.closure) };
    }
}

unsafe fn drop_closure<C>(closure: NonNull<()>) {
    // SAFETY: the caller's.
    drop(unsafe { Box::from_raw(closure.cast::<C>().as_ptr()) });
}

/// What wasm calls. The store of the context has data of type `T`, its owner is a `C`.
unsafe extern "C" fn array_call<T: 'static, C: HostCall<T>>(
    host: *mut VmHostContext,
    caller: *mut VmContext,
    values: *mut ValRaw,
) -> u64 {
    catch_host(|| {
        // SAFETY: contexts are made in `HostSlab::new`, from a `HostFunc` with these types; wasm of that store is
        // calling, so its outer borrow is suspended. The slots are there by the array convention.
        unsafe {
            let header = &(*host).header;
            let closure = &*header.owner.cast::<C>();
            let store: *mut StoreOpaque = StoreOpaque::from_context(header.store.cast());
            let values = slots(values, closure.slots());
            let caller = (!caller.is_null()).then(|| InstanceData::from_context(caller));
            let store_of_t = StoreInner::<T>::from_opaque(&mut *store);
            closure.call(Caller::new(store_of_t, caller), values).map_err(|e| call::pending_host_error(&mut *store, e))
        }
    })
}

unsafe fn direct_call<T: 'static, C: HostCall<T>>(
    closure: NonNull<()>,
    store: &mut StoreOpaque,
    values: *mut ValRaw,
) -> Result<()> {
    // SAFETY: the caller's: closure and store have these types, the slots are there.
    unsafe {
        let closure = closure.cast::<C>().as_ref();
        let store = StoreInner::<T>::from_opaque(store);
        closure.call(Caller::new(store, None), slots(values, closure.slots()))
    }
}

unsafe fn slots<'a>(values: *mut ValRaw, len: usize) -> &'a mut [ValRaw] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts_mut(values, len) }
}

/// Host functions that a module imports, with the code through which it calls them.
pub(crate) struct HostBatch {
    funcs: Arc<[Arc<HostFunc>]>,
    code: Box<[*const u8]>,
}

// SAFETY: 1. `HostFunc` is `Send + Sync`. 2. The code is immutable; it belongs to the engine or to the module, which the
// owner of the batch keeps alive.
unsafe impl Send for HostBatch {}
// SAFETY: as for `Send`.
unsafe impl Sync for HostBatch {}

impl HostBatch {
    /// Finds or makes the code. `funcs` are in the order of the module's imports, and have their types.
    pub(crate) fn for_module(module: &ModuleData, funcs: Vec<(FuncIndex, Arc<HostFunc>)>) -> Result<HostBatch> {
        let code_of = |(index, func): &(FuncIndex, Arc<HostFunc>)| {
            let key = FuncKey::WasmToHost(module.env.funcs[*index].ty);
            let code = match module.code.own_trampoline(key) {
                Some(code) => code,
                None => module.engine.trampolines().wasm_to_host(module.engine.types(), func.ty.id())?,
            };
            Ok(code.as_ptr().cast_const())
        };
        let code = funcs.iter().map(code_of).collect::<Result<_>>()?;
        Ok(HostBatch { funcs: funcs.into_iter().map(|(_, f)| f).collect(), code })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.code.len()
    }

    /// The functions.
    pub(crate) fn funcs(&self) -> &Arc<[Arc<HostFunc>]> {
        &self.funcs
    }

    /// Their code for wasm callers.
    pub(crate) fn code(&self) -> &[*const u8] {
        &self.code
    }
}

/// A host function in a store.
#[repr(C)]
struct HostEntry {
    context: VmHostContext,
    func_ref: VmFuncRef,
    direct_call: DirectCall,
}

/// Host functions in a store, made together.
pub(crate) struct HostSlab {
    entries: NonNull<[HostEntry]>,
    /// Keeps the closures alive.
    _funcs: Arc<[Arc<HostFunc>]>,
}

impl HostSlab {
    /// Makes contexts for `funcs`, whose code for wasm callers is `code` (null where nobody has made it yet).
    pub(crate) fn new(store: *mut VmStoreContext, funcs: &Arc<[Arc<HostFunc>]>, code: &[*const u8]) -> HostSlab {
        let entry = |(func, code): (&Arc<HostFunc>, &*const u8)| {
            let header = VmContextHeader {
                magic: MAGIC_HOST,
                store: store.cast(),
                builtins: builtins::array().cast_mut(),
                owner: func.closure.as_ptr().cast(),
                ..VmContextHeader::ZERO
            };
            HostEntry {
                context: VmHostContext { header, array_call: func.array_call },
                func_ref: VmFuncRef {
                    code: code.cast_mut(),
                    type_id: u64::from(func.ty.id().as_u32()),
                    context: ptr::null_mut(),
                    reference: ptr::null_mut(),
                },
                direct_call: func.direct_call,
            }
        };
        let entries: Box<[HostEntry]> = funcs.iter().zip(code).map(entry).collect();
        let entries = Box::leak(entries);
        for entry in entries.iter_mut() {
            entry.func_ref.context = (&raw mut entry.context).cast();
        }
        HostSlab { entries: NonNull::from(entries), _funcs: funcs.clone() }
    }

    /// The function references, in order.
    pub(crate) fn func_refs(&self) -> impl ExactSizeIterator<Item = NonNull<VmFuncRef>> + use<> {
        let entries = self.entries;
        (0..entries.len()).map(move |i| {
            // SAFETY: within the slab; only an address is made.
            unsafe { NonNull::new_unchecked(&raw mut (*entries.cast::<HostEntry>().add(i).as_ptr()).func_ref) }
        })
    }
}

impl Drop for HostSlab {
    fn drop(&mut self) {
        // SAFETY: leaked in `new`; contexts die with their store, so no code uses them any more.
        drop(unsafe { Box::from_raw(self.entries.as_ptr()) });
    }
}

/// Whether a function reference is one of a host function.
///
/// # Safety
/// `func` is alive.
#[inline]
pub(crate) unsafe fn is_host(func: NonNull<VmFuncRef>) -> bool {
    // SAFETY: the caller's; all contexts start with a header.
    unsafe { (*(*func.as_ptr()).context.cast::<VmContextHeader>()).magic == MAGIC_HOST }
}

/// Calls a host function from the host.
///
/// # Safety
/// `func` is a host function of the store, `values` has room for its parameters and results.
pub(crate) unsafe fn call_direct(store: &mut StoreOpaque, func: NonNull<VmFuncRef>, values: *mut ValRaw) -> Result<()> {
    // SAFETY: the caller's; a host function's context is the first field of its `HostEntry`.
    unsafe {
        let entry = (*func.as_ptr()).context.cast::<HostEntry>();
        let closure = NonNull::new_unchecked((*entry).context.header.owner).cast();
        ((*entry).direct_call)(closure, store, values)
    }
}
