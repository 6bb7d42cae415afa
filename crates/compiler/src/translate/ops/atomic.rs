//! Atomic operators, on shared and unshared memories alike. All are sequentially consistent.
//!
//! Source: <https://webassembly.github.io/threads/core/exec/instructions.html#atomic-memory-instructions>.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, Type, Value};
use kiln_env::{Builtin, TrapCode};
use wasmparser::{MemArg, Ordering};

use super::memory::{atomic_access, memory_index};
use crate::translate::emitter::Emitter;

/// An operand as wide as the access.
fn narrow(e: &mut Emitter, value: Value, ty: Type) -> Value {
    if e.b.func.dfg.value_type(value) == ty { value } else { e.b.ins().ireduce(ty, value) }
}

/// What was in memory as wide as the result, zero-extended.
fn widen(e: &mut Emitter, value: Value, ty: Type) -> Value {
    if e.b.func.dfg.value_type(value) == ty { value } else { e.b.ins().uextend(ty, value) }
}

/// Accesses: the shape, the type in memory, the type of operands and results, the bytes in memory.
macro_rules! atomics {
    ($($visit:ident: ($($x:tt)*);)*) => {$(
        atomics!(@ $visit $($x)*);
    )*};
    (@ $visit:ident load $memory:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let (addr, flags) = atomic_access(e, &memarg, index, $size);
            let value = e.b.ins().atomic_load($memory, flags, addr);
            widen(e, value, $ty)
        }
    };
    (@ $visit:ident store $memory:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index, value]: [Value; 2], memarg: MemArg) {
            let (addr, flags) = atomic_access(e, &memarg, index, $size);
            let value = narrow(e, value, $memory);
            e.b.ins().atomic_store(flags, value, addr);
        }
    };
    (@ $visit:ident rmw $op:ident $memory:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index, value]: [Value; 2], memarg: MemArg) -> Value {
            let (addr, flags) = atomic_access(e, &memarg, index, $size);
            let value = narrow(e, value, $memory);
            let old = e.b.ins().atomic_rmw($memory, flags, AtomicRmwOp::$op, addr, value);
            widen(e, old, $ty)
        }
    };
    (@ $visit:ident cmpxchg $memory:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 3], memarg: MemArg) -> Value {
            let [index, expected, replacement] = operands;
            let (addr, flags) = atomic_access(e, &memarg, index, $size);
            let expected = narrow(e, expected, $memory);
            let replacement = narrow(e, replacement, $memory);
            let old = e.b.ins().atomic_cas(flags, addr, expected, replacement);
            widen(e, old, $ty)
        }
    };
}

atomics! {
    visit_i32_atomic_load: (load I32 I32 4);
    visit_i32_atomic_load8_u: (load I8 I32 1);
    visit_i32_atomic_load16_u: (load I16 I32 2);
    visit_i32_atomic_store: (store I32 I32 4);
    visit_i32_atomic_store8: (store I8 I32 1);
    visit_i32_atomic_store16: (store I16 I32 2);
    visit_i32_atomic_rmw_add: (rmw Add I32 I32 4);
    visit_i32_atomic_rmw8_add_u: (rmw Add I8 I32 1);
    visit_i32_atomic_rmw16_add_u: (rmw Add I16 I32 2);
    visit_i32_atomic_rmw_sub: (rmw Sub I32 I32 4);
    visit_i32_atomic_rmw8_sub_u: (rmw Sub I8 I32 1);
    visit_i32_atomic_rmw16_sub_u: (rmw Sub I16 I32 2);
    visit_i32_atomic_rmw_and: (rmw And I32 I32 4);
    visit_i32_atomic_rmw8_and_u: (rmw And I8 I32 1);
    visit_i32_atomic_rmw16_and_u: (rmw And I16 I32 2);
    visit_i32_atomic_rmw_or: (rmw Or I32 I32 4);
    visit_i32_atomic_rmw8_or_u: (rmw Or I8 I32 1);
    visit_i32_atomic_rmw16_or_u: (rmw Or I16 I32 2);
    visit_i32_atomic_rmw_xor: (rmw Xor I32 I32 4);
    visit_i32_atomic_rmw8_xor_u: (rmw Xor I8 I32 1);
    visit_i32_atomic_rmw16_xor_u: (rmw Xor I16 I32 2);
    visit_i32_atomic_rmw_xchg: (rmw Xchg I32 I32 4);
    visit_i32_atomic_rmw8_xchg_u: (rmw Xchg I8 I32 1);
    visit_i32_atomic_rmw16_xchg_u: (rmw Xchg I16 I32 2);
    visit_i32_atomic_rmw_cmpxchg: (cmpxchg I32 I32 4);
    visit_i32_atomic_rmw8_cmpxchg_u: (cmpxchg I8 I32 1);
    visit_i32_atomic_rmw16_cmpxchg_u: (cmpxchg I16 I32 2);
    visit_i64_atomic_load: (load I64 I64 8);
    visit_i64_atomic_load8_u: (load I8 I64 1);
    visit_i64_atomic_load16_u: (load I16 I64 2);
    visit_i64_atomic_load32_u: (load I32 I64 4);
    visit_i64_atomic_store: (store I64 I64 8);
    visit_i64_atomic_store8: (store I8 I64 1);
    visit_i64_atomic_store16: (store I16 I64 2);
    visit_i64_atomic_store32: (store I32 I64 4);
    visit_i64_atomic_rmw_add: (rmw Add I64 I64 8);
    visit_i64_atomic_rmw8_add_u: (rmw Add I8 I64 1);
    visit_i64_atomic_rmw16_add_u: (rmw Add I16 I64 2);
    visit_i64_atomic_rmw32_add_u: (rmw Add I32 I64 4);
    visit_i64_atomic_rmw_sub: (rmw Sub I64 I64 8);
    visit_i64_atomic_rmw8_sub_u: (rmw Sub I8 I64 1);
    visit_i64_atomic_rmw16_sub_u: (rmw Sub I16 I64 2);
    visit_i64_atomic_rmw32_sub_u: (rmw Sub I32 I64 4);
    visit_i64_atomic_rmw_and: (rmw And I64 I64 8);
    visit_i64_atomic_rmw8_and_u: (rmw And I8 I64 1);
    visit_i64_atomic_rmw16_and_u: (rmw And I16 I64 2);
    visit_i64_atomic_rmw32_and_u: (rmw And I32 I64 4);
    visit_i64_atomic_rmw_or: (rmw Or I64 I64 8);
    visit_i64_atomic_rmw8_or_u: (rmw Or I8 I64 1);
    visit_i64_atomic_rmw16_or_u: (rmw Or I16 I64 2);
    visit_i64_atomic_rmw32_or_u: (rmw Or I32 I64 4);
    visit_i64_atomic_rmw_xor: (rmw Xor I64 I64 8);
    visit_i64_atomic_rmw8_xor_u: (rmw Xor I8 I64 1);
    visit_i64_atomic_rmw16_xor_u: (rmw Xor I16 I64 2);
    visit_i64_atomic_rmw32_xor_u: (rmw Xor I32 I64 4);
    visit_i64_atomic_rmw_xchg: (rmw Xchg I64 I64 8);
    visit_i64_atomic_rmw8_xchg_u: (rmw Xchg I8 I64 1);
    visit_i64_atomic_rmw16_xchg_u: (rmw Xchg I16 I64 2);
    visit_i64_atomic_rmw32_xchg_u: (rmw Xchg I32 I64 4);
    visit_i64_atomic_rmw_cmpxchg: (cmpxchg I64 I64 8);
    visit_i64_atomic_rmw8_cmpxchg_u: (cmpxchg I8 I64 1);
    visit_i64_atomic_rmw16_cmpxchg_u: (cmpxchg I16 I64 2);
    visit_i64_atomic_rmw32_cmpxchg_u: (cmpxchg I32 I64 4);
}

pub(super) fn visit_atomic_fence(e: &mut Emitter, []: [Value; 0], _ordering: Ordering) {
    e.b.ins().fence();
}

/// Index and memory of a wait or notify as its builtin takes them: the memory's number and the effective address.
fn effective(e: &mut Emitter, index: Value, memarg: &MemArg) -> [Value; 2] {
    let memory = e.i32(memory_index(memarg).as_u32());
    let index = e.widen(index);
    if memarg.offset == 0 {
        return [memory, index];
    }
    let offset = e.i64(memarg.offset);
    let addr = e.b.ins().iadd(index, offset);
    if e.env.module.memories[memory_index(memarg)].limits.is_64 {
        let wrapped = e.b.ins().icmp(IntCC::UnsignedLessThan, addr, index);
        e.trap_if(wrapped, TrapCode::MemoryOutOfBounds);
    }
    [memory, addr]
}

pub(super) fn visit_memory_atomic_notify(e: &mut Emitter, [index, count]: [Value; 2], memarg: MemArg) -> Value {
    let [memory, addr] = effective(e, index, &memarg);
    let woken = e.builtin_value(Builtin::AtomicNotify, &[memory, addr, count]);
    e.b.ins().ireduce(I32, woken)
}

pub(super) fn visit_memory_atomic_wait32(e: &mut Emitter, operands: [Value; 3], memarg: MemArg) -> Value {
    wait(e, Builtin::AtomicWait32, operands, &memarg)
}

pub(super) fn visit_memory_atomic_wait64(e: &mut Emitter, operands: [Value; 3], memarg: MemArg) -> Value {
    wait(e, Builtin::AtomicWait64, operands, &memarg)
}

fn wait(e: &mut Emitter, builtin: Builtin, [index, expected, timeout]: [Value; 3], memarg: &MemArg) -> Value {
    let [memory, addr] = effective(e, index, memarg);
    let outcome = e.builtin_value(builtin, &[memory, addr, expected, timeout]);
    e.b.ins().ireduce(I32, outcome)
}
