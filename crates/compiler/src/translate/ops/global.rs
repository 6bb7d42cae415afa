//! Global variables.

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use kiln_env::GlobalIndex;
use kiln_env::layout::Place;

use crate::translate::emitter::{Emitter, Region, clif_type};

pub(super) fn visit_global_get(e: &mut Emitter, []: [Value; 0], global_index: u32) -> Value {
    let global = GlobalIndex(global_index);
    let ty = e.env.module.globals[global];
    let mut flags = e.slot_flags(Region::Global);
    // Collected references are not hoisted: a collection in between may change their numbers.
    if !ty.mutable && !ty.content.is_gc_ref() {
        flags = flags.with_readonly().with_can_move();
    }
    let (base, offset) = place(e, global);
    let value = e.b.ins().load(clif_type(ty.content), flags, base, offset);
    e.note_ref(value, ty.content);
    value
}

pub(super) fn visit_global_set(e: &mut Emitter, [value]: [Value; 1], global_index: u32) {
    let global = GlobalIndex(global_index);
    let ty = e.env.module.globals[global];
    let flags = e.slot_flags(Region::Global);
    let (base, offset) = place(e, global);
    if ty.content.is_gc_ref() {
        e.store_barrier(base, value);
    }
    e.b.ins().store(flags, value, base, offset);
}

/// Where a global's value is.
fn place(e: &mut Emitter, global: GlobalIndex) -> (Value, i32) {
    match e.env.layout.global(global) {
        Place::Inline(at) => (e.env.vmctx, at as i32),
        Place::Indirect(at) => (e.context_constant(I64, at), 0),
    }
}
