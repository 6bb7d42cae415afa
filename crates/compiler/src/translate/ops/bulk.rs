//! Bulk operations on memories, tables and segments. The runtime does them, but for copies and fills of few bytes.
//!
//! # Few bytes
//! `memory.copy` and `memory.fill` of up to [`SHORT`] bytes are loads and stores, chosen by the length: all bytes are loaded
//! before any is stored, so that ranges may overlap; what a length leaves over is covered by parts that overlap. It means the
//! same as the call:
//! * *Which bytes.* The parts of a length lie within the range, and each byte of it is in one. Where two parts overlap, both
//!   bring the same bytes.
//! * *Traps.* Memories in whose place addresses fault ([`MemoryStyle::Reserved`]) end at a page. The part that ends where the range
//!   does is loaded first and stored first: if any byte of a range is outside of its memory, so is the last one, and the access faults
//!   before anything is written, at the place of the operator, with the trap of the call. A store across the end of the memory
//!   writes nothing on x86-64; other processors may write what is inside, so that the last byte is read before. No other part
//!   can fault. Other memories are left to the call, and so is the length 0, which may be out of bounds without an access.
//! * *Fuel.* Where it is counted, lengths that take some are left to the call. So few bytes take no look at epochs.
//! * *Speculation.* Lengths are masked where they become part of an address: whatever way is predicted, addresses stay in the
//!   reservation and its guard, like those of loads and stores.
//!
//! # Many bytes
//! Where nothing is metered, the call gets pointers to the memories' fields and needs nothing of the instance. Otherwise the
//! runtime takes fuel, and looks at the epoch between pieces.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{InstBuilder, InstructionData, MemFlagsData, Opcode, Type, Value, ValueDef};
use kiln_env::builtins::BYTES_PER_FUEL;
use kiln_env::layout::{MemoryPlace, MemoryStyle};
use kiln_env::stencil::BULK_REACH;
use kiln_env::types::RefRepr;
use kiln_env::{Builtin, MemoryIndex, TableIndex};
use smallvec::{SmallVec, smallvec};

use super::memory::memory_base;
use crate::translate::emitter::Emitter;

/// Up to how many bytes are copied in line where the program computes their number.
const SHORT: u64 = 64;

/// And where it is a constant, so that there is one way only.
const SHORT_CONSTANT: u64 = 128;

/// A part of a range: `ty` at `index + offset` from where the range begins.
#[derive(Clone, Copy)]
struct Part {
    ty: Type,
    index: Option<Value>,
    offset: i32,
}

impl Part {
    fn at(ty: Type, offset: u64) -> Part {
        Part { ty, index: None, offset: offset as i32 }
    }

    fn index(ty: Type, index: Value, offset: i32) -> Part {
        Part { ty, index: Some(index), offset }
    }
}

/// The parts of a range. The last one ends where the range does.
type Parts = SmallVec<[Part; 8]>;

/// What is known of a length.
enum Length {
    /// It is left to the runtime.
    Long,
    /// It is this one, and short.
    Constant(u64),
    /// It may be anything; those up to this one are short.
    UpTo(u64),
}

fn length(e: &Emitter, memories: &[MemoryIndex], len: Value) -> Length {
    let reserved = |memory: &MemoryIndex| {
        let style = MemoryStyle::of(&e.env.module.memories[*memory], e.env.tunables);
        matches!(style, MemoryStyle::Reserved { guard } if guard >= BULK_REACH)
    };
    let has_vectors = matches!(e.env.isa.name(), "x64" | "aarch64");
    if !e.env.bulk_in_line || !has_vectors || !memories.iter().all(reserved) {
        return Length::Long;
    }
    let free = if e.env.tunables.fuel { BYTES_PER_FUEL - 1 } else { u64::MAX };
    let ValueDef::Result(inst, _) = e.b.func.dfg.value_def(len) else { return Length::UpTo(SHORT.min(free)) };
    match e.b.func.dfg.insts[inst] {
        // All that are reserved have 32-bit indices.
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => match u64::from(imm.bits() as u32) {
            0 => Length::Long,
            n if n <= SHORT_CONSTANT.min(free) => Length::Constant(n),
            _ => Length::Long,
        },
        _ => Length::UpTo(SHORT.min(free)),
    }
}

/// The parts of a range whose length is a constant.
fn constant_parts(len: u64) -> Parts {
    let (ty, size) = match len {
        16.. => (I8X16, 16),
        8.. => (I64, 8),
        4.. => (I32, 4),
        2.. => (I16, 2),
        _ => (I8, 1),
    };
    let whole = (0..len / size).map(|n| Part::at(ty, n * size));
    let rest = (!len.is_multiple_of(size)).then(|| Part::at(ty, len - size));
    whole.chain(rest).collect()
}

/// Branches by a length of 32 bits: to what `short` makes of the parts for lengths from 1 to `limit` and of what all of them
/// `share`, or to `long`.
fn by_length<S>(
    e: &mut Emitter,
    (len, limit): (Value, u64),
    share: impl FnOnce(&mut Emitter) -> S,
    short: impl Fn(&mut Emitter, &S, &[Part]),
    long: impl FnOnce(&mut Emitter),
) {
    e.flush_fuel();
    let [cold, few, done] = [(); 3].map(|()| e.b.create_block());
    e.b.set_cold_block(cold);
    // 0 is long, too.
    let less = e.b.ins().iadd_imm_s(len, -1);
    let is_long = e.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, less, limit as i64);
    e.b.ins().brif(is_long, cold, &[], few, &[]);
    for block in [cold, few] {
        e.b.seal_block(block);
    }
    e.b.switch_to_block(cold);
    long(e);
    e.b.ins().jump(done, &[]);

    e.b.switch_to_block(few);
    let shared = share(e);
    for (least, ty) in [(16, I8X16), (8, I64), (4, I32)] {
        let [enough, fewer] = [(); 2].map(|()| e.b.create_block());
        let is_enough = e.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, len, least);
        e.b.ins().brif(is_enough, enough, &[], fewer, &[]);
        for block in [enough, fewer] {
            e.b.seal_block(block);
        }
        e.b.switch_to_block(enough);
        let parts = if ty == I8X16 { wide_parts(e, len) } else { two_parts(e, len, ty) };
        short(e, &shared, &parts);
        e.b.ins().jump(done, &[]);
        e.b.switch_to_block(fewer);
    }
    let parts = byte_parts(e, len);
    short(e, &shared, &parts);
    e.b.ins().jump(done, &[]);
    e.b.seal_block(done);
    e.b.switch_to_block(done);
}

/// `(len - n) & mask` in 64 bits.
fn rest(e: &mut Emitter, len: Value, n: i64, mask: i64) -> Value {
    let rest = if n == 0 { len } else { e.b.ins().iadd_imm_s(len, -n) };
    let rest = e.b.ins().band_imm_u(rest, mask);
    e.widen(rest)
}

/// From 16 to 64 bytes: two parts from the beginning, two from the end.
fn wide_parts(e: &mut Emitter, len: Value) -> Parts {
    let last = rest(e, len, 16, 63);
    let part = e.i64(16);
    let second = e.b.ins().umin(last, part);
    // max(last, 16) - 16: the last part but one, which is the first one of less than 32 bytes.
    let third = e.b.ins().umax(last, part);
    smallvec![
        Part::at(I8X16, 0),
        Part::index(I8X16, second, 0),
        Part::index(I8X16, third, -16),
        Part::index(I8X16, last, 0)
    ]
}

/// From once to twice the bytes of `ty`: one part from the beginning, one from the end.
fn two_parts(e: &mut Emitter, len: Value, ty: Type) -> Parts {
    let bytes = i64::from(ty.bytes());
    let last = rest(e, len, bytes, bytes - 1);
    smallvec![Part::at(ty, 0), Part::index(ty, last, 0)]
}

/// From 1 to 3 bytes: the first one, the last one, and that in the middle.
fn byte_parts(e: &mut Emitter, len: Value) -> Parts {
    let last = rest(e, len, 1, 3);
    let half = e.b.ins().ushr_imm_u(len, 1);
    let middle = rest(e, half, 0, 1);
    smallvec![Part::at(I8, 0), Part::index(I8, middle, 0), Part::index(I8, last, 0)]
}

/// An address in a memory that is reserved.
fn address(e: &mut Emitter, memory: MemoryIndex, index: Value) -> Value {
    let index = e.widen(index);
    let base = memory_base(e, memory);
    e.b.ins().iadd(base, index)
}

/// Hands each part of a range from the last one on to `access`: flags, address, offset. Only the first that it gets can fault.
fn each_part(
    e: &mut Emitter,
    start: Value,
    parts: &[Part],
    mut access: impl FnMut(&mut Emitter, usize, MemFlagsData, Value, i32),
) {
    let mut flags = e.heap_flags();
    for (n, part) in parts.iter().enumerate().rev() {
        let address = match part.index {
            Some(index) => e.b.ins().iadd(start, index),
            None => start,
        };
        access(e, n, flags, address, part.offset);
        flags = flags.with_notrap();
    }
}

/// Stores values to the parts of a range, or nothing if that is not all in the memory.
fn store_parts(e: &mut Emitter, start: Value, parts: &[Part], values: &[Value]) {
    let whole = e.env.isa.name() == "x64";
    each_part(e, start, parts, |e, n, flags, address, offset| {
        if !whole && n + 1 == parts.len() {
            let end = offset + parts[n].ty.bytes() as i32;
            e.b.ins().load(I8, flags, address, end - 1);
        }
        e.b.ins().store(flags, values[n], address, offset);
    });
}

pub(super) fn visit_memory_copy(e: &mut Emitter, [dst, src, len]: [Value; 3], dst_mem: u32, src_mem: u32) {
    let (to, from) = (MemoryIndex(dst_mem), MemoryIndex(src_mem));
    let starts = |e: &mut Emitter| [address(e, from, src), address(e, to, dst)];
    let copy = |e: &mut Emitter, &[from, to]: &[Value; 2], parts: &[Part]| {
        let mut values: SmallVec<[Value; 8]> = SmallVec::from_elem(from, parts.len());
        each_part(e, from, parts, |e, n, flags, address, offset| {
            values[n] = e.b.ins().load(parts[n].ty, flags, address, offset);
        });
        store_parts(e, to, parts, &values);
    };
    let call = |e: &mut Emitter| {
        let metered = is_metered(e);
        let memories = [to, from].map(|memory| if metered { e.i32(memory.0) } else { fields(e, memory) });
        let args = [memories[0], memories[1], e.widen(dst), e.widen(src), e.widen(len)];
        e.builtin(if metered { Builtin::MemoryCopy } else { Builtin::CopyBytes }, &args);
    };
    match length(e, &[to, from], len) {
        Length::Long => call(e),
        Length::Constant(n) => {
            e.flush_fuel();
            let starts = starts(e);
            copy(e, &starts, &constant_parts(n));
        }
        Length::UpTo(limit) => by_length(e, (len, limit), starts, copy, call),
    }
}

/// An integer that consists of copies of a byte. No constant is wider than an immediate.
fn repeated(e: &mut Emitter, byte: Value, ty: Type) -> Value {
    let mut value = e.b.ins().uextend(ty, byte);
    for bits in [8, 16, 32].into_iter().filter(|bits| *bits < ty.bits()) {
        let higher = e.b.ins().ishl_imm_u(value, i64::from(bits));
        value = e.b.ins().bor(value, higher);
    }
    value
}

pub(super) fn visit_memory_fill(e: &mut Emitter, [dst, value, len]: [Value; 3], mem: u32) {
    let memory = MemoryIndex(mem);
    let start = |e: &mut Emitter| address(e, memory, dst);
    let fill = |e: &mut Emitter, start: &Value, parts: &[Part]| {
        let byte = e.b.ins().ireduce(I8, value);
        let value = match parts[0].ty {
            I8 => byte,
            I8X16 => e.b.ins().splat(I8X16, byte),
            ty => repeated(e, byte, ty),
        };
        store_parts(e, *start, parts, &vec![value; parts.len()]);
    };
    let call = |e: &mut Emitter| {
        let metered = is_metered(e);
        let memory = if metered { e.i32(mem) } else { fields(e, memory) };
        let args = [memory, e.widen(dst), value, e.widen(len)];
        e.builtin(if metered { Builtin::MemoryFill } else { Builtin::FillBytes }, &args);
    };
    match length(e, &[memory], len) {
        Length::Long => call(e),
        Length::Constant(n) => {
            e.flush_fuel();
            let start = start(e);
            fill(e, &start, &constant_parts(n));
        }
        Length::UpTo(limit) => by_length(e, (len, limit), start, fill, call),
    }
}

/// Whether bulk operators take fuel, or are broken off when a deadline passes.
fn is_metered(e: &Emitter) -> bool {
    e.env.tunables.fuel || e.env.tunables.epochs
}

/// The address of a memory's fields.
fn fields(e: &mut Emitter, memory: MemoryIndex) -> Value {
    match e.env.layout.memory(memory) {
        MemoryPlace::Inline(at) => e.b.ins().iadd_imm_s(e.env.vmctx, i64::from(at)),
        MemoryPlace::Indirect(at) => e.context_constant(I64, at),
    }
}

pub(super) fn visit_memory_init(e: &mut Emitter, [dst, src, len]: [Value; 3], data_index: u32, mem: u32) {
    let args = [e.i32(mem), e.i32(data_index), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::MemoryInit, &args);
}

pub(super) fn visit_data_drop(e: &mut Emitter, []: [Value; 0], data_index: u32) {
    let data = e.i32(data_index);
    e.builtin(Builtin::DataDrop, &[data]);
}

pub(super) fn visit_table_init(e: &mut Emitter, [dst, src, len]: [Value; 3], elem_index: u32, table: u32) {
    let args = [e.i32(table), e.i32(elem_index), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::TableInit, &args);
}

pub(super) fn visit_elem_drop(e: &mut Emitter, []: [Value; 0], elem_index: u32) {
    let elem = e.i32(elem_index);
    e.builtin(Builtin::ElemDrop, &[elem]);
}

pub(super) fn visit_table_copy(e: &mut Emitter, [dst, src, len]: [Value; 3], dst_table: u32, src_table: u32) {
    let args = [e.i32(dst_table), e.i32(src_table), e.widen(dst), e.widen(src), e.widen(len)];
    e.builtin(Builtin::TableCopy, &args);
}

pub(super) fn visit_table_fill(e: &mut Emitter, [dst, value, len]: [Value; 3], table: u32) {
    let builtin = match e.env.module.tables[TableIndex(table)].element.repr() {
        RefRepr::FuncPointer => Builtin::TableFillFunc,
        RefRepr::Gc => Builtin::TableFillRef,
    };
    let args = [e.i32(table), e.widen(dst), value, e.widen(len)];
    e.builtin(builtin, &args);
}

pub(super) fn visit_table_grow(e: &mut Emitter, [init, delta]: [Value; 2], table: u32) -> Value {
    let ty = e.env.module.tables[TableIndex(table)];
    let builtin = match ty.element.repr() {
        RefRepr::FuncPointer => Builtin::TableGrowFunc,
        RefRepr::Gc => Builtin::TableGrowRef,
    };
    let args = [e.i32(table), e.widen(delta), init];
    let old = e.builtin_value(builtin, &args);
    e.as_index(old, ty.limits.is_64)
}
