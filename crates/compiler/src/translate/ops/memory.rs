//! Loads, stores, and how the address of an access is made.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use kiln_env::layout::{MemoryPlace, MemoryStyle, memory};
use kiln_env::stencil::fill::LOW_BITS;
use kiln_env::types::MemoryType;
use kiln_env::{Builtin, MemoryIndex, TrapCode};
use wasmparser::{MemArg, MemArgTarget};

use crate::translate::emitter::{Emitter, Region};

/// An access to a linear memory, ready for a load or store: `load(ty, access.flags, access.addr, access.offset)`.
pub(super) struct Access {
    /// Address, without the offset.
    pub(super) addr: Value,
    /// What the instruction adds to it.
    pub(super) offset: i32,
    /// Flags of the instruction.
    pub(super) flags: MemFlagsData,
}

/// The memory that a memory operator works on.
pub(super) fn memory_index(memarg: &MemArg) -> MemoryIndex {
    match memarg.target {
        MemArgTarget::Memory(index) => MemoryIndex(index),
        MemArgTarget::Array(_) => unreachable!("validated: array operands belong to a proposal that is off"),
    }
}

/// Checks the access of `size` bytes at `index + memarg.offset` as far as the memory's style requires, and gives its
/// address. Fuel is exact behind this.
pub(super) fn access(e: &mut Emitter, memarg: &MemArg, index: Value, size: u8) -> Access {
    e.flush_fuel();
    let memory = memory_index(memarg);
    let ty = e.env.module.memories[memory];
    let style = MemoryStyle::of(&ty, e.env.tunables);
    // In 128 bits: what does not fit in 64 is out of any memory.
    let end = u128::from(memarg.offset) + u128::from(size);
    let index = e.widen(index);
    match style {
        MemoryStyle::Reserved { guard } if end <= u128::from(guard) => {
            let flags = e.heap_flags();
            let base = memory_base(e, memory);
            let addr = e.b.ins().iadd(base, index);
            with_offset(e, addr, memarg.offset, flags)
        }
        _ => checked_access(e, memory, &ty, index, memarg.offset, end),
    }
}

/// The same for an atomic access, which has no offset immediate and must be aligned to its size.
pub(super) fn atomic_access(e: &mut Emitter, memarg: &MemArg, index: Value, size: u8) -> (Value, MemFlagsData) {
    e.flush_fuel();
    if size > 1 {
        // The offset's low bits decide, so a 32-bit index may wrap here. As many of them for all sizes: so they are a field
        // of stencils. An aligned offset changes nothing.
        let aligned = memarg.offset.is_multiple_of(size.into());
        let low = if aligned { 0 } else { memarg.offset & LOW_BITS };
        let ty = e.b.func.dfg.value_type(index);
        let offset = e.b.ins().iconst(ty, low as i64);
        let sum = e.b.ins().iadd(index, offset);
        let low = e.b.ins().band_imm_u(sum, i64::from(size - 1));
        let misaligned = e.b.ins().icmp_imm_u(IntCC::NotEqual, low, 0);
        e.trap_if(misaligned, TrapCode::HeapMisaligned);
    }
    let Access { addr, offset, flags } = access(e, memarg, index, size);
    let addr = if offset == 0 { addr } else { e.b.ins().iadd_imm_s(addr, i64::from(offset)) };
    (addr, flags.with_aligned())
}

/// An access that compares with the memory's length.
fn checked_access(
    e: &mut Emitter,
    memory: MemoryIndex,
    ty: &MemoryType,
    index: Value,
    offset: u64,
    end: u128,
) -> Access {
    let outside = match u64::try_from(end) {
        Ok(end) => {
            let len = memory_len(e, memory);
            if ty.min_bytes().is_some_and(|min| end <= min) {
                // The memory is never shorter than that, so the difference is not negative.
                let end = e.i64(end);
                let last = e.b.ins().isub(len, end);
                e.b.ins().icmp(IntCC::UnsignedGreaterThan, index, last)
            } else {
                let end = e.i64(end);
                let sum = e.b.ins().iadd(index, end);
                let above = e.b.ins().icmp(IntCC::UnsignedGreaterThan, sum, len);
                if ty.limits.is_64 {
                    let wrapped = e.b.ins().icmp(IntCC::UnsignedLessThan, sum, index);
                    e.b.ins().bor(above, wrapped)
                } else {
                    above
                }
            }
        }
        Err(_) => e.b.ins().iconst(I8, 1),
    };
    let flags = e.heap_flags();
    if e.env.heap_spectre && e.env.tunables.signals {
        // One conditional move both keeps speculation inside and makes the access fault.
        let base = memory_base(e, memory);
        let addr = e.b.ins().iadd(base, index);
        let offset = e.i64(offset);
        let addr = e.b.ins().iadd(addr, offset);
        let null = e.i64(0);
        let addr = e.b.ins().select_spectre_guard(outside, null, addr);
        return Access { addr, offset: 0, flags };
    }
    e.trap_if(outside, TrapCode::MemoryOutOfBounds);
    let base = memory_base(e, memory);
    let mut addr = e.b.ins().iadd(base, index);
    let flags = flags.with_notrap();
    if e.env.heap_spectre {
        let null = e.i64(0);
        addr = e.b.ins().select_spectre_guard(outside, null, addr);
    }
    with_offset(e, addr, offset, flags)
}

/// Leaves the offset to the instruction if it can encode it.
fn with_offset(e: &mut Emitter, addr: Value, offset: u64, flags: MemFlagsData) -> Access {
    match i32::try_from(offset) {
        Ok(offset) => Access { addr, offset, flags },
        Err(_) => {
            let offset = e.i64(offset);
            Access { addr: e.b.ins().iadd(addr, offset), offset: 0, flags }
        }
    }
}

/// The address of a memory's first byte.
pub(super) fn memory_base(e: &mut Emitter, memory: MemoryIndex) -> Value {
    if let (Some(base), 0) = (e.env.memory_base, memory.0) {
        return base;
    }
    let fixed = MemoryStyle::of(&e.env.module.memories[memory], e.env.tunables).base_is_fixed();
    match (e.env.layout.memory(memory), fixed) {
        (MemoryPlace::Inline(at), true) => e.context_constant(I64, at + memory::base),
        (MemoryPlace::Inline(at), false) => e.context_field(I64, at + memory::base),
        (MemoryPlace::Indirect(at), true) => e.context_constant(I64, at + 8),
        (MemoryPlace::Indirect(at), false) => {
            let memory = e.context_constant(I64, at);
            let flags = e.trusted(Region::Context);
            e.b.ins().load(I64, flags, memory, memory::base as i32)
        }
    }
}

/// A memory's size in bytes. What cannot grow has a constant size; other threads may grow a shared memory: an aligned load of 64 bits is atomic everywhere,
/// and none is reused across an atomic operator.
pub(super) fn memory_len(e: &mut Emitter, memory: MemoryIndex) -> Value {
    let ty = e.env.module.memories[memory];
    if let (true, Some(bytes)) = (ty.limits.max == Some(ty.limits.min), ty.min_bytes()) {
        return e.i64(bytes);
    }
    match e.env.layout.memory(memory) {
        MemoryPlace::Inline(at) => e.context_field(I64, at + memory::len),
        MemoryPlace::Indirect(at) => {
            let memory = e.context_constant(I64, at);
            let flags = e.trusted(Region::Context);
            e.b.ins().load(I64, flags, memory, memory::len as i32)
        }
    }
}

/// Loads and stores: the instruction, the type of the value, the bytes in memory.
macro_rules! accesses {
    ($($visit:ident: $shape:ident $inst:ident $ty:ident $size:literal;)*) => {$(
        accesses!(@ $visit $shape $inst $ty $size);
    )*};
    (@ $visit:ident plain load $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let a = access(e, &memarg, index, $size);
            e.b.ins().load($ty, a.flags, a.addr, a.offset)
        }
    };
    (@ $visit:ident extending $inst:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let a = access(e, &memarg, index, $size);
            e.b.ins().$inst($ty, a.flags, a.addr, a.offset)
        }
    };
    (@ $visit:ident to64 $inst:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let a = access(e, &memarg, index, $size);
            e.b.ins().$inst(a.flags, a.addr, a.offset)
        }
    };
    (@ $visit:ident store $inst:ident $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index, value]: [Value; 2], memarg: MemArg) {
            let a = access(e, &memarg, index, $size);
            e.b.ins().$inst(a.flags, value, a.addr, a.offset);
        }
    };
}

accesses! {
    visit_i32_load: plain load I32 4;
    visit_i64_load: plain load I64 8;
    visit_f32_load: plain load F32 4;
    visit_f64_load: plain load F64 8;
    visit_i32_load8_s: extending sload8 I32 1;
    visit_i32_load8_u: extending uload8 I32 1;
    visit_i32_load16_s: extending sload16 I32 2;
    visit_i32_load16_u: extending uload16 I32 2;
    visit_i64_load8_s: extending sload8 I64 1;
    visit_i64_load8_u: extending uload8 I64 1;
    visit_i64_load16_s: extending sload16 I64 2;
    visit_i64_load16_u: extending uload16 I64 2;
    visit_i64_load32_s: to64 sload32 I64 4;
    visit_i64_load32_u: to64 uload32 I64 4;
    visit_i32_store: store store I32 4;
    visit_i64_store: store store I64 8;
    visit_f32_store: store store F32 4;
    visit_f64_store: store store F64 8;
    visit_i32_store8: store istore8 I32 1;
    visit_i32_store16: store istore16 I32 2;
    visit_i64_store8: store istore8 I64 1;
    visit_i64_store16: store istore16 I64 2;
    visit_i64_store32: store istore32 I64 4;
}

pub(super) fn visit_memory_size(e: &mut Emitter, []: [Value; 0], mem: u32) -> Value {
    let ty = e.env.module.memories[MemoryIndex(mem)];
    let len = memory_len(e, MemoryIndex(mem));
    let pages = e.b.ins().ushr_imm_u(len, i64::from(ty.page_size_log2));
    e.as_index(pages, ty.limits.is_64)
}

pub(super) fn visit_memory_grow(e: &mut Emitter, [delta]: [Value; 1], mem: u32) -> Value {
    let is_64 = e.env.module.memories[MemoryIndex(mem)].limits.is_64;
    let memory = e.i32(mem);
    let delta = e.widen(delta);
    let old = e.builtin_value(Builtin::MemoryGrow, &[memory, delta]);
    e.as_index(old, is_64)
}
