//! Allocation that collects when it is time, and collections.

use std::mem;
use std::ptr::NonNull;

use anyhow::Result;
use kiln_env::TrapCode;
use kiln_env::limits::MAX_OBJECT_HEAP;
use kiln_env::types::ValType;

use super::heap::{BLOCK_BYTES, host_cost};
use super::{GcRef, GcStore, Heap, HostValue, PayloadLayout};
use crate::code::frames;
use crate::sys::stack;
use crate::trap::Trap;
use crate::types::registry::TypeId;
use crate::vm::context::{ValRaw, VmTag};
use crate::vm::store::StoreOpaque;

/// Frees what nothing refers to any more.
pub(crate) fn collect(store: &mut StoreOpaque) {
    drop(collect_with(store, &[]));
}

/// Puts a host value into the heap.
pub(crate) fn alloc_host(store: &mut StoreOpaque, value: HostValue) -> Result<GcRef> {
    let room = host_cost(&value).saturating_add(BLOCK_BYTES);
    let mut value = Some(value);
    let mut alloc = |heap: &mut Heap, force| match heap.alloc_host(value.take()?, force) {
        Ok(object) => Some(object),
        Err(back) => {
            value = Some(back);
            None
        }
    };
    match alloc(store.gc_mut().heap(), false) {
        Some(object) => Ok(object),
        None => alloc_slowly(store, room, alloc, collect),
    }
}

/// Puts an exception with this payload into the heap. The payload suits the tag's type.
pub(crate) fn alloc_exn(store: &mut StoreOpaque, tag: NonNull<VmTag>, payload: &[ValRaw]) -> Result<GcRef> {
    // SAFETY: tags live as long as their store.
    let type_id = unsafe { tag.as_ref().type_id as u32 };
    let layout = match store.gc_mut().heap().known_layout(type_id) {
        Some(layout) => layout,
        None => find_layout(store, type_id),
    };
    let alloc = |heap: &mut Heap, force| {
        // SAFETY: the payload is a slice, and not longer than a function type allows.
        unsafe { heap.alloc_exn(tag, layout, payload.as_ptr(), payload.len() as u32, force) }
    };
    if let Some(object) = alloc(store.gc_mut().heap(), false) {
        return Ok(object);
    }
    alloc_slowly(store, BLOCK_BYTES, alloc, |store| {
        // Nothing else may hold what goes into the payload.
        let held: Vec<GcRef> = store.gc_mut().heap().payload_references(layout, payload).collect();
        drop(collect_with(store, &held));
    })
}

/// Allocates what there was no place for: after a collection if one is due, or else in a larger heap if the store's limiter
/// agrees, or after a collection all the same. `room`: how many bytes the heap has to grow by for that.
#[cold]
fn alloc_slowly(
    store: &mut StoreOpaque,
    room: usize,
    mut alloc: impl FnMut(&mut Heap, bool) -> Option<GcRef>,
    collect: impl FnOnce(&mut StoreOpaque),
) -> Result<GcRef> {
    if !store.gc_mut().heap().is_due()
        && may_grow(store, room)?
        && let Some(object) = alloc(store.gc_mut().heap(), false)
    {
        return Ok(object);
    }
    collect(store);
    if let Some(object) = alloc(store.gc_mut().heap(), true) {
        return Ok(object);
    }
    if may_grow(store, room)?
        && let Some(object) = alloc(store.gc_mut().heap(), true)
    {
        return Ok(object);
    }
    let bytes = store.gc_mut().heap().bytes();
    let what = match bytes.saturating_add(room) > MAX_OBJECT_HEAP {
        true => format!("a store's heap of exceptions and host references may have {MAX_OBJECT_HEAP} bytes at most"),
        false => format!(
            "the store's limits do not let its heap of exceptions and host references grow beyond {bytes} bytes"
        ),
    };
    Err(anyhow::Error::from(Trap::from(TrapCode::HeapExhausted)).context(what))
}

/// Whether the heap may have `room` more bytes than it has: the limiter is asked unless it has been before.
fn may_grow(store: &mut StoreOpaque, room: usize) -> Result<bool> {
    let heap = store.gc_mut().heap();
    let (bytes, granted) = (heap.bytes(), heap.granted());
    let wanted = bytes.saturating_add(room);
    if wanted <= granted {
        return Ok(true);
    }
    let allowed = match store.limiter() {
        _ if wanted > MAX_OBJECT_HEAP => false,
        None => true,
        Some(mut limiter) => limiter.get().heap_growing(bytes, wanted)?,
    };
    if allowed {
        store.gc_mut().heap().grant(wanted);
    }
    Ok(allowed)
}

#[cold]
fn find_layout(store: &mut StoreOpaque, type_id: u32) -> PayloadLayout {
    let ty = store.engine().types().get(TypeId::from_u32(type_id)).expect("a tag's store keeps its type registered");
    let references: Box<[u32]> =
        (0..).zip(&ty.signature().params).filter(|(_, ty): &(u32, &ValType)| ty.is_gc_ref()).map(|(i, _)| i).collect();
    store.gc_mut().heap().add_layout(type_id, references)
}

/// A collection with further roots. The host values that died are for the caller to drop: their destructors are the
/// host's code.
#[cold]
fn collect_with(store: &mut StoreOpaque, held: &[GcRef]) -> Vec<HostValue> {
    let mut dead = Vec::new();
    stack::on_service_stack(|| {
        let mut gc = mem::take(store.gc_mut());
        mark_and_sweep(store, &mut gc, held, &mut dead);
        *store.gc_mut() = gc;
    });
    dead
}

fn mark_and_sweep(store: &mut StoreOpaque, gc: &mut GcStore, held: &[GcRef], dead: &mut Vec<HostValue>) {
    gc.roots.trim();
    let Some(heap) = gc.heap.as_deref_mut() else { return };
    heap.begin();
    held.iter().chain(&gc.pending_exception).for_each(|object| heap.mark(*object));
    gc.roots.each(|object| heap.mark(object));
    let mut roots = 0;
    store.trace_roots(&mut |raw| {
        roots += 1;
        mark_raw(heap, raw);
    });
    // SAFETY: we are called by the host or by a builtin, on the thread that runs the store; the addresses are those of
    // 32-bit references in frames that are alive.
    unsafe {
        frames::for_each_root(&store.vm, |slot| {
            roots += 1;
            mark_raw(heap, slot.read());
        });
    }
    heap.trace();
    heap.sweep(roots, dead);
    if cfg!(debug_assertions) {
        heap.each_reference(|object| assert!(heap.is_object(object), "an exception refers to no object"));
    }
}

fn mark_raw(heap: &mut Heap, raw: u32) {
    if let Some(object) = GcRef::from_u32(raw) {
        heap.mark(object);
    }
}
