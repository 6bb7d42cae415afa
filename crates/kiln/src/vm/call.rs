//! Calls from the host into functions of a store.

use std::mem;
use std::panic::resume_unwind;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use kiln_env::FuncKey;

use super::context::{ArrayToWasm, ValRaw, VmContext, VmFuncRef, VmStoreContext};
use super::handle::Handle;
use super::host;
use super::instance::InstanceData;
use super::store::StoreOpaque;
use crate::backtrace;
use crate::code::entry::{self, Pending, Reason, Unwound};
use crate::gc;
use crate::sys::watch;
use crate::trap::Trap;
use crate::types::registry::TypeId;

/// Calls a function in the array convention.
///
/// # Safety
/// `func` belongs to the store. `values` has room for parameters and results and holds values of the right types, whose
/// references belong to the store.
#[inline]
pub(crate) unsafe fn invoke(store: &mut StoreOpaque, func: NonNull<VmFuncRef>, values: *mut ValRaw) -> Result<()> {
    // SAFETY: function references live as long as their store.
    let VmFuncRef { code, context, reference, .. } = unsafe { *func.as_ptr() };
    if reference.is_null() {
        // SAFETY: the caller's.
        return unsafe { invoke_first(store, func, values) };
    }
    // SAFETY: `reference` is the entry trampoline of the function's type, put there by `invoke_first` or `prepare`.
    unsafe { enter(store, mem::transmute::<*mut u8, ArrayToWasm>(reference), context.cast(), code, values) }
}

/// Calls a function. Panics if it belongs to another store. The caller has seen to the room in `values`, and to the types
/// of what is in there.
///
/// Not inlined: callers are generic and belong to other crates, from where thread-local data is farther away.
#[inline(never)]
pub(crate) fn invoke_checked(store: &mut StoreOpaque, func: Handle<VmFuncRef>, values: &mut [ValRaw]) -> Result<()> {
    let func = func.ptr(store);
    // SAFETY: checked above; typed functions and `Func::call` check types when they are made or called.
    unsafe { invoke(store, func, values.as_mut_ptr()) }
}

/// Names a function that compiled code of the store handed out.
pub(crate) fn func_handle(store: &StoreOpaque, func: NonNull<VmFuncRef>) -> Handle<VmFuncRef> {
    // SAFETY: compiled code only has function references of its own store.
    unsafe { store.handle(func) }
}

/// What compiled code knows a function by. Panics if it belongs to another store.
pub(crate) fn wasm_func_ref(store: &StoreOpaque, func: Handle<VmFuncRef>) -> Result<NonNull<VmFuncRef>> {
    let func = func.ptr(store);
    // SAFETY: checked above.
    unsafe { prepare_for_wasm(store, func)? };
    Ok(func)
}

/// Enters wasm through a trampoline.
///
/// # Safety
/// As for [`invoke`]; the trampoline suits the function.
#[inline]
unsafe fn enter(
    store: &mut StoreOpaque,
    trampoline: ArrayToWasm,
    context: *mut VmContext,
    code: *const u8,
    values: *mut ValRaw,
) -> Result<()> {
    if watch::any_damage() && store.uses_damaged_file() {
        return Err(crate::Trap::FileTruncated.into());
    }
    let max_wasm_stack = store.max_wasm_stack;
    let store: *mut StoreOpaque = store;
    let vm: *mut VmStoreContext = store.cast();
    // SAFETY: the store context is the first field of the store. Callees reach the store through `owner`, which has to
    // stem from the borrow at hand.
    unsafe {
        let outer = mem::replace(&mut (*vm).owner, store.cast());
        let result = entry::enter(vm, max_wasm_stack, trampoline, context, code, values);
        (*vm).owner = outer;
        match result {
            Ok(()) => Ok(()),
            Err(unwound) => Err(error_of(&mut *store, *unwound)),
        }
    }
}

/// As [`invoke`], where the function was never called from the host, or is the host's own.
#[cold]
unsafe fn invoke_first(store: &mut StoreOpaque, func: NonNull<VmFuncRef>, values: *mut ValRaw) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        if host::is_host(func) {
            return host::call_direct(store, func, values);
        }
        prepare(store, func)?;
        invoke(store, func, values)
    }
}

/// Finds or makes the entry trampoline of a function, unless it is the host's.
///
/// # Safety
/// `func` belongs to the store.
pub(crate) unsafe fn prepare(store: &mut StoreOpaque, func: NonNull<VmFuncRef>) -> Result<()> {
    // SAFETY: the caller's.
    unsafe {
        let func = func.as_ptr();
        if !(*func).reference.is_null() || host::is_host(NonNull::new_unchecked(func)) {
            return Ok(());
        }
        let type_id = TypeId::from_u32((*func).type_id as u32);
        let instance = InstanceData::from_context((*func).context.cast());
        let module = instance.as_ref().module();
        let own = module.types.index_of(type_id);
        let own = own.and_then(|ty| module.code.own_trampoline(FuncKey::ArrayToWasm(ty)));
        let trampoline = match own {
            Some(t) => t,
            None => store.engine().trampolines().array_to_wasm(store.engine().types(), type_id)?,
        };
        (*func).reference = trampoline.as_ptr();
    }
    Ok(())
}

/// Calls a function that takes and returns nothing: a start function.
///
/// # Safety
/// `func` belongs to the store and has that type.
pub(crate) unsafe fn invoke_start(store: &mut StoreOpaque, func: NonNull<VmFuncRef>) -> Result<()> {
    let mut values = [ValRaw::ZERO; 1];
    // SAFETY: the caller's.
    unsafe { invoke(store, func, values.as_mut_ptr()) }
}

/// The error that a call returns whose callee was unwound; a panic goes on instead.
#[cold]
fn error_of(store: &mut StoreOpaque, unwound: Unwound) -> anyhow::Error {
    let error = match unwound.reason {
        Reason::Panic(payload) => resume_unwind(payload),
        Reason::Error(e) => e,
        Reason::Trap { source: Some(e), code, .. } => e.context(Trap::from(code)),
        Reason::Trap { code, .. } => Trap::from(code).into(),
        Reason::Exception { reference, .. } => gc::thrown_error(store, reference),
    };
    backtrace::attach_raw(error, unwound.backtrace)
}

/// What the runtime keeps of an error with which a host function returns to wasm.
#[cold]
pub(crate) fn pending_host_error(store: &mut StoreOpaque, error: anyhow::Error) -> Pending {
    match gc::take_thrown(store, &error) {
        Some((reference, tag)) => Pending::Exception { reference, tag },
        None => Pending::Error(error),
    }
}

/// What the runtime keeps of an error of a builtin.
#[cold]
pub(crate) fn pending_error(store: &mut StoreOpaque, error: anyhow::Error) -> Pending {
    let error = match error.downcast::<kiln_env::TrapCode>() {
        Ok(code) => return Pending::Trap(code),
        Err(e) => e,
    };
    match error.downcast_ref::<Trap>().map(Trap::code) {
        Some(code) if error.source().is_none() => Pending::Trap(code),
        _ => pending_host_error(store, error),
    }
}

/// The code that a wasm caller calls for a host function.
pub(crate) fn host_code(store: &StoreOpaque, type_id: TypeId) -> Result<*const u8> {
    let engine = store.engine();
    let code = engine.trampolines().wasm_to_host(engine.types(), type_id);
    Ok(code.context("cannot make a host function callable")?.as_ptr().cast_const())
}

/// Sees to it that wasm can call a function, before a reference to it reaches wasm.
///
/// # Safety
/// `func` belongs to the store.
pub(crate) unsafe fn prepare_for_wasm(store: &StoreOpaque, func: NonNull<VmFuncRef>) -> Result<()> {
    // SAFETY: the caller's; a single-threaded store.
    unsafe {
        if (*func.as_ptr()).code.is_null() {
            (*func.as_ptr()).code = host_code(store, TypeId::from_u32((*func.as_ptr()).type_id as u32))?.cast_mut();
        }
    }
    Ok(())
}

const _: () = assert!(mem::offset_of!(StoreOpaque, vm) == 0);
