//! The runtime functions that compiled code calls: bodies for the table in `kiln_env::builtins`.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use kiln_env::builtins::{BYTES_PER_FUEL, ELEMENTS_PER_FUEL};
use kiln_env::{DataIndex, DefinedFuncIndex, ElemIndex, FuncIndex, MemoryIndex, TableIndex, TrapCode};

use super::call::pending_error;
use super::context::{VmContext, VmFuncRef};
use super::instance::{InstanceData, PIECE_BYTES, PIECE_ELEMENTS};
use super::memory::{self, RawMemory};
use super::shared::{SharedMemoryInner, atomic_address};
use super::store::StoreOpaque;
use super::table::{self, Element, TableData};
use crate::code::ModuleCode;
use crate::code::entry::{catch_builtin, raise};
use crate::gc;
use crate::types::registry::TypeId;

macro_rules! define_builtin_array {
    (@type vmctx) => { *mut VmContext };
    (@type pointer) => { *mut u8 };
    (@type i32) => { u32 };
    (@type i64) => { u64 };
    (@pointer raise) => { raise as *const () };
    (@pointer $snake:ident) => { entry::$snake as *const () };
    // Always fails, and not with an error of the host.
    (@entry throw_ref $($rest:tt)*) => {
        pub(super) unsafe extern "C" fn throw_ref(vmctx: *mut VmContext, exception: u32) -> u64 {
            catch_builtin(|| {
                // SAFETY: as for fallible ones.
                let mut caller = unsafe { Caller::new(vmctx) };
                Err(gc::builtins::throw_ref(caller.store(), exception))
            })
        }
    };
    // Those that need nothing of the instance unless they fail.
    (@entry copy_bytes $($rest:tt)*) => {
        pub(super) unsafe extern "C" fn copy_bytes(
            vmctx: *mut VmContext,
            dst_memory: *mut u8,
            src_memory: *mut u8,
            dst: u64,
            src: u64,
            len: u64,
        ) -> u64 {
            // SAFETY: compiled code calls with its own context, and with the descriptors of memories that its instance keeps alive.
            let [from, to] = unsafe {
                [(src_memory, src), (dst_memory, dst)].map(|(memory, at)| RawMemory::read(memory.cast()).range(at, len))
            };
            match (from, to) {
                // SAFETY: both ranges are mapped; they may overlap.
                (Ok(from), Ok(to)) => unsafe { std::ptr::copy(from, to, len as usize) },
                // SAFETY: as above.
                _ => return unsafe { out_of_bounds(vmctx) },
            }
            0
        }
    };
    (@entry fill_bytes $($rest:tt)*) => {
        pub(super) unsafe extern "C" fn fill_bytes(
            vmctx: *mut VmContext,
            memory: *mut u8,
            dst: u64,
            value: u32,
            len: u64,
        ) -> u64 {
            // SAFETY: as for copies.
            match unsafe { RawMemory::read(memory.cast()) }.range(dst, len) {
                // SAFETY: the range is mapped.
                Ok(to) => unsafe { std::ptr::write_bytes(to, value as u8, len as usize) },
                // SAFETY: as above.
                Err(_) => return unsafe { out_of_bounds(vmctx) },
            }
            0
        }
    };
    // Fallible ones.
    (@entry $snake:ident ($vmctx:ident: vmctx $(, $param:ident: $pty:ident)*) fallible) => {
        pub(super) unsafe extern "C" fn $snake(
            $vmctx: *mut VmContext $(, $param: define_builtin_array!(@type $pty))*
        ) -> u64 {
            catch_builtin(|| {
                // SAFETY: compiled code calls with its own context, see `Caller`.
                let mut caller = unsafe { Caller::new($vmctx) };
                super::$snake(&mut caller $(, $param)*).map_err(|e| pending_error(caller.store(), e))
            })
        }
    };
    (@entry raise $($rest:tt)*) => {};
    (@entry $snake:ident ($vmctx:ident: vmctx $(, $param:ident: $pty:ident)*)) => {
        pub(super) unsafe extern "C" fn $snake(
            $vmctx: *mut VmContext $(, $param: define_builtin_array!(@type $pty))*
        ) {
            // SAFETY: as for fallible ones.
            let mut caller = unsafe { Caller::new($vmctx) };
            super::$snake(&mut caller $(, $param)*);
        }
    };
    ($($(#[$doc:meta])* $name:ident $snake:ident ($($param:ident: $pty:ident),*) $(-> $rty:ident)? $(, $fallible:ident)?;)*) => {
        /// What compiled code calls.
        mod entry {
            use super::*;
            $(define_builtin_array!(@entry $snake ($($param: $pty),*) $($fallible)?);)*
        }

        static ARRAY: BuiltinArray = BuiltinArray([$(define_builtin_array!(@pointer $snake)),*]);
    };
}

struct BuiltinArray([*const (); kiln_env::Builtin::ALL.len()]);

// SAFETY: immutable addresses of functions.
unsafe impl Sync for BuiltinArray {}

kiln_env::for_each_builtin!(define_builtin_array);

/// The addresses of the builtins in order of number, for contexts.
pub(crate) fn array() -> *const u8 {
    ARRAY.0.as_ptr().cast()
}

/// Leaves the trap of an access outside of a memory in the store.
///
/// # Safety
/// As for [`Caller::new`].
#[cold]
unsafe fn out_of_bounds(vmctx: *mut VmContext) -> u64 {
    catch_builtin(|| {
        // SAFETY: the caller's.
        let mut caller = unsafe { Caller::new(vmctx) };
        Err(pending_error(caller.store(), TrapCode::MemoryOutOfBounds.into()))
    })
}

/// The instance whose code called a builtin. It stands for the right to its store: the borrow with which the code was
/// entered is suspended while the builtin runs.
struct Caller {
    instance: NonNull<InstanceData>,
    store: *mut StoreOpaque,
}

impl Caller {
    /// # Safety
    /// `vmctx` is the context of a live instance whose code is calling.
    unsafe fn new(vmctx: *mut VmContext) -> Caller {
        // SAFETY: the caller's.
        unsafe {
            let store: *mut StoreOpaque = StoreOpaque::from_context((*vmctx).header.store.cast());
            Caller { instance: InstanceData::from_context(vmctx), store }
        }
    }

    fn store(&mut self) -> &mut StoreOpaque {
        // SAFETY: see the type.
        unsafe { &mut *self.store }
    }

    fn table(&self, index: u32) -> NonNull<TableData> {
        // SAFETY: see the type; the compiler only makes valid indices.
        unsafe { InstanceData::table(self.instance, TableIndex(index)) }
    }

    fn range(&self, memory: u32, offset: u64, len: u64) -> Result<*mut u8, TrapCode> {
        // SAFETY: likewise.
        unsafe { InstanceData::memory_range(self.instance, MemoryIndex(memory), offset, len) }
    }

    /// The code of the calling instance's module.
    fn code(&mut self) -> Arc<ModuleCode> {
        self.instance().module().code.clone()
    }

    fn instance(&mut self) -> &mut InstanceData {
        // SAFETY: likewise.
        unsafe { self.instance.as_mut() }
    }
}

/// -1: what `grow` returns when it could not.
const GROW_FAILED: u64 = u64::MAX;

fn func_element(func: *mut u8) -> Element {
    Element::Func(NonNull::new(func.cast::<VmFuncRef>()))
}

fn func_address(func: Option<NonNull<VmFuncRef>>) -> u64 {
    func.map_or(0, |f| f.as_ptr().expose_provenance() as u64)
}

fn memory_grow(caller: &mut Caller, memory: u32, delta: u64) -> Result<u64> {
    // SAFETY: see `Caller`.
    let memory = unsafe { InstanceData::memory(caller.instance, MemoryIndex(memory)) };
    Ok(memory::grow(caller.store(), memory, delta)?.unwrap_or(GROW_FAILED))
}

/// Does `work` on `len` units of something, as a whole or in pieces of at most `piece` if the epoch may change meanwhile. It is
/// given where a piece begins and how long it is. What the host does when a deadline passes may change what there is to work
/// on, so each piece is looked up anew.
#[inline]
fn in_pieces(
    caller: &mut Caller,
    len: u64,
    piece: u64,
    mut work: impl FnMut(&mut Caller, u64, u64) -> Result<()>,
) -> Result<u64> {
    if len <= piece || !caller.store().has_epochs {
        work(caller, 0, len)?;
        return Ok(0);
    }
    let mut done = 0;
    while done < len {
        caller.store().check_epoch()?;
        let next = piece.min(len - done);
        work(caller, done, next)?;
        done += next;
    }
    Ok(0)
}

fn memory_copy(caller: &mut Caller, dst_memory: u32, src_memory: u32, dst: u64, src: u64, len: u64) -> Result<u64> {
    caller.range(src_memory, src, len)?;
    caller.range(dst_memory, dst, len)?;
    caller.store().charge_fuel(len / BYTES_PER_FUEL)?;
    // Where they overlap, what is read later must not be written before.
    let from_the_end = dst > src;
    in_pieces(caller, len, PIECE_BYTES, |caller, done, piece| {
        let at = if from_the_end { len - done - piece } else { done };
        let from = caller.range(src_memory, src + at, piece)?;
        let to = caller.range(dst_memory, dst + at, piece)?;
        // SAFETY: both ranges are mapped; they may overlap.
        unsafe { std::ptr::copy(from, to, piece as usize) };
        Ok(())
    })
}

fn memory_fill(caller: &mut Caller, memory: u32, dst: u64, value: u32, len: u64) -> Result<u64> {
    caller.range(memory, dst, len)?;
    caller.store().charge_fuel(len / BYTES_PER_FUEL)?;
    in_pieces(caller, len, PIECE_BYTES, |caller, done, piece| {
        let to = caller.range(memory, dst + done, piece)?;
        // SAFETY: the range is mapped.
        unsafe { std::ptr::write_bytes(to, value as u8, piece as usize) };
        Ok(())
    })
}

fn memory_init(caller: &mut Caller, memory: u32, data: u32, dst: u64, src: u64, len: u64) -> Result<u64> {
    let (memory, data) = (MemoryIndex(memory), DataIndex(data));
    // SAFETY: see `Caller`, here and below.
    unsafe { InstanceData::check_memory_init(caller.instance, memory, data, dst, src, len)? };
    caller.store().charge_fuel(len / BYTES_PER_FUEL)?;
    in_pieces(caller, len, PIECE_BYTES, |caller, done, piece| {
        // SAFETY: as above.
        unsafe { InstanceData::memory_init(caller.instance, memory, data, dst + done, src + done, piece)? };
        Ok(())
    })
}

fn data_drop(caller: &mut Caller, data: u32) {
    caller.instance().drop_data(DataIndex(data));
}

fn table_grow(caller: &mut Caller, index: u32, delta: u64, init: Element) -> Result<u64> {
    let table = caller.table(index);
    let Some(old) = table::grow_unfilled(caller.store(), table, delta)? else { return Ok(GROW_FAILED) };
    fill_elements(caller, index, old, init, delta)?;
    Ok(old)
}

fn table_grow_func(caller: &mut Caller, table: u32, delta: u64, init: *mut u8) -> Result<u64> {
    table_grow(caller, table, delta, func_element(init))
}

fn table_grow_ref(caller: &mut Caller, table: u32, delta: u64, init: u32) -> Result<u64> {
    table_grow(caller, table, delta, Element::Gc(init))
}

fn table_fill(caller: &mut Caller, table: u32, dst: u64, value: Element, len: u64) -> Result<u64> {
    // SAFETY: see `Caller`, here and below.
    unsafe { caller.table(table).as_ref() }.check(dst, len)?;
    fill_elements(caller, table, dst, value, len)
}

/// Fills elements that there are.
fn fill_elements(caller: &mut Caller, table: u32, dst: u64, value: Element, len: u64) -> Result<u64> {
    caller.store().charge_fuel(len / ELEMENTS_PER_FUEL)?;
    in_pieces(caller, len, PIECE_ELEMENTS, |caller, done, piece| {
        // SAFETY: see `Caller`.
        unsafe { caller.table(table).as_mut() }.fill(dst + done, value, piece)?;
        Ok(())
    })
}

fn table_fill_func(caller: &mut Caller, table: u32, dst: u64, value: *mut u8, len: u64) -> Result<u64> {
    table_fill(caller, table, dst, func_element(value), len)
}

fn table_fill_ref(caller: &mut Caller, table: u32, dst: u64, value: u32, len: u64) -> Result<u64> {
    table_fill(caller, table, dst, Element::Gc(value), len)
}

fn table_copy(caller: &mut Caller, dst_table: u32, src_table: u32, dst: u64, src: u64, len: u64) -> Result<u64> {
    // SAFETY: see `Caller`, here and below.
    unsafe {
        caller.table(src_table).as_ref().check(src, len)?;
        caller.table(dst_table).as_ref().check(dst, len)?;
    }
    caller.store().charge_fuel(len / ELEMENTS_PER_FUEL)?;
    let from_the_end = dst > src;
    in_pieces(caller, len, PIECE_ELEMENTS, |caller, done, piece| {
        let at = if from_the_end { len - done - piece } else { done };
        let (to, from) = (caller.table(dst_table), caller.table(src_table));
        // SAFETY: as above.
        unsafe { TableData::copy(to, from, dst + at, src + at, piece) }
    })
}

fn table_init(caller: &mut Caller, table: u32, elem: u32, dst: u64, src: u64, len: u64) -> Result<u64> {
    let (table, elem) = (TableIndex(table), ElemIndex(elem));
    // SAFETY: see `Caller`, here and below.
    unsafe { InstanceData::check_table_init(caller.instance, table, elem, dst, src, len)? };
    caller.store().charge_fuel(len / ELEMENTS_PER_FUEL)?;
    in_pieces(caller, len, PIECE_ELEMENTS, |caller, done, piece| {
        // SAFETY: as above.
        unsafe { InstanceData::table_init_passive(caller.instance, table, elem, dst + done, src + done, piece) }
    })
}

fn elem_drop(caller: &mut Caller, elem: u32) {
    caller.instance().drop_elem(ElemIndex(elem));
}

fn table_get_func(caller: &mut Caller, table: u32, index: u64) -> Result<u64> {
    // SAFETY: see `Caller`.
    match unsafe { caller.table(table).as_mut() }.get(index)? {
        Some(Element::Func(f)) => Ok(func_address(f)),
        _ => Err(TrapCode::TableOutOfBounds.into()),
    }
}

fn table_set_func(caller: &mut Caller, table: u32, index: u64, value: *mut u8) -> Result<u64> {
    table_fill(caller, table, index, func_element(value), 1)
}

fn resolve_indirect(caller: &mut Caller, table: u32, index: u64, ty: u32) -> Result<u64> {
    // SAFETY: see `Caller`.
    let func = match unsafe { caller.table(table).as_mut() }.get(index)? {
        Some(Element::Func(f)) => f.ok_or(TrapCode::UninitializedElement)?,
        _ => return Err(TrapCode::UndefinedElement.into()),
    };
    // SAFETY: function references live as long as the store.
    let found = unsafe { (*func.as_ptr()).type_id as u32 };
    if found != ty && !caller.store().engine().types().is_subtype(TypeId::from_u32(found), TypeId::from_u32(ty)) {
        return Err(TrapCode::BadSignature.into());
    }
    Ok(func_address(Some(func)))
}

fn ref_func(caller: &mut Caller, func: u32) -> Result<u64> {
    // SAFETY: see `Caller`.
    Ok(func_address(Some(unsafe { InstanceData::func_ref(caller.instance, FuncIndex(func)) })))
}

/// The shared memory that a wait is for, after the checks that come first.
fn shared_memory(caller: &mut Caller, memory: u32, addr: u64, size: u64) -> Result<Arc<SharedMemoryInner>> {
    let index = MemoryIndex(memory);
    // SAFETY: see `Caller`.
    let (raw, memory) = unsafe {
        let raw = InstanceData::raw_memory(caller.instance, index);
        (raw, InstanceData::memory(caller.instance, index).as_ref())
    };
    atomic_address(raw.base, raw.len, addr, size)?;
    Ok(memory.shared().ok_or(TrapCode::AtomicWaitNonShared)?.clone())
}

fn timeout(ns: u64) -> Option<Duration> {
    u64::try_from(ns as i64).ok().map(Duration::from_nanos)
}

fn atomic_wait32(caller: &mut Caller, memory: u32, addr: u64, expected: u32, timeout_ns: u64) -> Result<u64> {
    let memory = shared_memory(caller, memory, addr, 4)?;
    Ok(memory.wait32_in(caller.store(), (addr, expected), timeout(timeout_ns))? as u64)
}

fn atomic_wait64(caller: &mut Caller, memory: u32, addr: u64, expected: u64, timeout_ns: u64) -> Result<u64> {
    let memory = shared_memory(caller, memory, addr, 8)?;
    Ok(memory.wait64_in(caller.store(), (addr, expected), timeout(timeout_ns))? as u64)
}

fn atomic_notify(caller: &mut Caller, memory: u32, addr: u64, count: u32) -> Result<u64> {
    let index = MemoryIndex(memory);
    // SAFETY: see `Caller`.
    let (raw, memory) = unsafe {
        let raw = InstanceData::raw_memory(caller.instance, index);
        (raw, InstanceData::memory(caller.instance, index).as_ref())
    };
    atomic_address(raw.base, raw.len, addr, 4)?;
    // Nobody can wait on a memory that is not shared.
    Ok(memory.shared().map_or(Ok(0), |m| m.notify(addr, count))?.into())
}

fn out_of_fuel(caller: &mut Caller) -> Result<u64> {
    if caller.store().refuel() { Ok(0) } else { Err(TrapCode::OutOfFuel.into()) }
}

fn new_epoch(caller: &mut Caller) -> Result<u64> {
    // The top bit would read as a failure.
    Ok(caller.store().new_epoch()?.min(i64::MAX as u64))
}

fn raise_trap(_: &mut Caller, code: u32) -> Result<u64> {
    let code = u8::try_from(code).ok().and_then(TrapCode::from_u8);
    Err(code.expect("the compiler passes numbers of the trap table").into())
}

fn new_exception(caller: &mut Caller, tag: *mut u8, payload: *mut u8, len: u32) -> Result<u64> {
    // SAFETY: compiled code passes a tag of its instance and slots for the tag's type.
    unsafe { gc::builtins::new_exception(caller.store(), tag, payload, len) }
}

fn exception_payload(caller: &mut Caller, exception: u32) -> Result<u64> {
    gc::builtins::exception_payload(caller.store(), exception)
}

fn exception_tag(caller: &mut Caller, exception: u32) -> Result<u64> {
    gc::builtins::exception_tag(caller.store(), exception)
}

fn tier_up(caller: &mut Caller, func: u32) {
    caller.code().entry_hot(DefinedFuncIndex(func));
}

fn osr(caller: &mut Caller, func: u32, offset: u32) -> Result<u64> {
    let Some(code) = caller.code().loop_hot(DefinedFuncIndex(func), offset) else { return Ok(0) };
    caller.store().make_osr_buffer();
    Ok(code.as_ptr().expose_provenance() as u64)
}
