//! Global variables.

use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use kiln_env::GlobalIndex;
use kiln_env::layout::Place;
use kiln_env::module::{ConstExpr, ConstOp};

use crate::translate::emitter::{Emitter, Region, clif_type};

pub(super) fn visit_global_get(e: &mut Emitter, []: [Value; 0], global_index: u32) -> Value {
    let global = GlobalIndex(global_index);
    let ty = e.env.module.globals[global];
    if let Some(value) = constant(e, global, ty.mutable) {
        return value;
    }
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

/// The value of a global that is known from the module alone.
fn constant(e: &mut Emitter, global: GlobalIndex, mutable: bool) -> Option<Value> {
    let module = e.env.module;
    let ConstExpr(ops) = &module.global_inits[module.defined_global(global).filter(|_| !mutable)?];
    let [op] = &ops[..] else { return None };
    Some(match *op {
        ConstOp::I32(n) => e.i32(n as u32),
        ConstOp::I64(n) => e.i64(n as u64),
        ConstOp::F32(bits) => e.b.ins().f32const(Ieee32::with_bits(bits)),
        ConstOp::F64(bits) => e.b.ins().f64const(Ieee64::with_bits(bits)),
        _ => return None,
    })
}

/// Where a global's value is.
fn place(e: &mut Emitter, global: GlobalIndex) -> (Value, i32) {
    match e.env.layout.global(global) {
        Place::Inline(at) => (e.env.vmctx, at as i32),
        Place::Indirect(at) => (e.context_constant(I64, at), 0),
    }
}
