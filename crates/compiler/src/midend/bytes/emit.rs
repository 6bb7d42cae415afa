//! Puts the bulk in front of a loop; what is checked at run time (obligations 3 and 5).
//!
//! ```text
//! enter(params)   iterations that the counters allow; too few → header
//! check           ranges and overlap; wrong → header
//! pieces          16 bytes at a time, then 8, then 4
//! leave(done)     → header, with the parameters of the iteration behind those that are done
//! ```

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8X16, I16, I32, I64, I64X2};
use cranelift_codegen::ir::{ArgumentPurpose, Block, BlockArg, Function, InstBuilder, MemFlagsData, Type, Value};
use kiln_env::layout::{MemoryPlace, memory};

use super::linear::Linear;
use super::shape::{Access, Condition, Count, Loop, Work};
use crate::midend::edit;
use crate::module_env::ModuleEnv;

/// Bytes that the large pieces have.
const PIECE: i64 = 16;
/// Bytes below which copying and filling in bulk does not pay.
const MIN_STORED: i64 = 8;

/// Changes a function.
pub(super) fn emit(env: &ModuleEnv<'_>, func: &mut Function, l: &Loop) {
    let enter = func.dfg.make_block();
    redirect(func, l, enter);
    let types: Vec<Type> = func.dfg.block_param_types(l.header).collect();
    let params = types.into_iter().map(|ty| func.dfg.append_block_param(enter, ty)).collect();
    func.layout.insert_block(enter, l.header);
    let cursor = FuncCursor::new(func).at_bottom(enter);
    let mut e = Emit { c: cursor, l, params };
    match &l.work {
        Work::Copy(from, to) => e.copy(env, from, to),
        Work::Fill(to, value) => e.fill(env, to, *value),
        Work::Search(accesses, conditions) => e.search(env, accesses, conditions),
    }
}

/// Leads all ways into the loop to `enter`.
fn redirect(func: &mut Function, l: &Loop, enter: Block) {
    let mut next = func.layout.entry_block();
    while let Some(block) = next {
        next = func.layout.next_block(block);
        let Some(inst) = func.layout.last_inst(block).filter(|_| block != l.latch) else { continue };
        let dfg = &mut func.dfg;
        for call in dfg.insts[inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables) {
            if call.block(&dfg.value_lists) == l.header {
                call.set_block(enter, &mut dfg.value_lists);
            }
        }
    }
}

struct Emit<'f, 'l> {
    c: FuncCursor<'f>,
    l: &'l Loop,
    /// The header's parameters as they come in.
    params: Vec<Value>,
}

/// One access as the bulk sees it.
struct Place {
    /// Address of the first piece's first byte (going up) or behind its last (going down).
    address: Value,
    flags: MemFlagsData,
    down: bool,
}

impl Emit<'_, '_> {
    fn i64(&mut self, n: i64) -> Value {
        self.c.ins().iconst(I64, n)
    }

    /// Appends a block with parameters behind the current one; does not go there.
    fn block<const N: usize>(&mut self) -> (Block, [Value; N]) {
        let block = self.c.func.dfg.make_block();
        self.c.func.layout.insert_block(block, self.l.header);
        (block, [(); N].map(|()| self.c.func.dfg.append_block_param(block, I64)))
    }

    /// Ends the block: to `next` if the condition holds, else into the loop, as if nothing had been there.
    fn go_on_if(&mut self, condition: Value) {
        let (next, []) = self.block();
        let args: Vec<BlockArg> = self.params.iter().map(|p| BlockArg::Value(*p)).collect();
        self.c.ins().brif(condition, next, &[], self.l.header, &args);
        self.c.goto_bottom(next);
    }

    /// A sum in the first iteration.
    fn first(&mut self, sum: &Linear) -> Value {
        let mut total = self.c.ins().iconst(I32, i64::from(sum.constant));
        for &(value, negative) in &sum.terms {
            let header = self.c.func.dfg.block_params(self.l.header);
            let value = header.iter().position(|p| *p == value).map_or(value, |at| self.params[at]);
            total = if negative { self.c.ins().isub(total, value) } else { self.c.ins().iadd(total, value) };
        }
        total
    }

    /// How many iterations certainly stay in the loop, as far as counters decide; `None` without counters. Less than
    /// 2^32.
    fn count(&mut self) -> Option<Value> {
        let l = self.l;
        let counts: Vec<Value> = l.counts.iter().map(|count| self.count_of(count)).collect();
        counts.into_iter().reduce(|a, b| self.c.ins().umin(a, b))
    }

    fn count_of(&mut self, count: &Count) -> Value {
        match count {
            Count::Zero { value, up } => {
                let mut value = self.first(value);
                if *up {
                    value = self.c.ins().ineg(value);
                }
                self.c.ins().uextend(I64, value)
            }
            Count::Less { value, bound, signed } => {
                let (value, bound) = (self.first(value), self.first(bound));
                let cc = if *signed { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
                let less = self.c.ins().icmp(cc, value, bound);
                let distance = self.c.ins().isub(bound, value);
                let distance = self.c.ins().uextend(I64, distance);
                let zero = self.i64(0);
                self.c.ins().select(less, distance, zero)
            }
        }
    }

    /// The memory's first byte and its length in bytes.
    fn memory(&mut self, env: &ModuleEnv<'_>) -> (Value, Value) {
        // The loop's own load of the base may be inside of it.
        let base = match edit::def(&self.c.func.dfg, self.l.base) {
            Some(inst) => {
                let inst = self.c.func.dfg.clone_inst(inst);
                self.c.insert_inst(inst);
                self.c.func.dfg.first_result(inst)
            }
            None => self.l.base,
        };
        // Also where the length is a constant: what the function's key in the cache says of memories without checks
        // leaves their limits out.
        let trusted = MemFlagsData::trusted();
        // Where the base comes from, its length comes from.
        let vmctx = self.c.func.special_param(ArgumentPurpose::VMContext).unwrap_or(base);
        let len = match env.layout.memory(self.l.memory) {
            MemoryPlace::Inline(at) => self.c.ins().load(I64, trusted, vmctx, (at + memory::len) as i32),
            MemoryPlace::Indirect(at) => {
                let place = self.c.ins().load(I64, trusted, vmctx, at as i32);
                self.c.ins().load(I64, trusted, place, memory::len as i32)
            }
        };
        (base, len)
    }

    /// Index of an access in the first iteration with its offset, and how many bytes there are in its direction until
    /// the memory ends or the index wraps: not more than that, negative if there are none.
    fn reach(&mut self, access: &Access, len: Value) -> (Value, Value) {
        let index = self.first(&access.index);
        let index = self.c.ins().uextend(I64, index);
        let offset = self.i64(i64::from(access.offset));
        let at = self.c.ins().iadd(index, offset);
        let above = self.c.ins().isub(len, at);
        if !access.down {
            return (at, above);
        }
        let one = self.i64(1);
        let below = self.c.ins().iadd(index, one);
        let none = self.i64(0);
        let inside = self.c.ins().icmp(IntCC::SignedGreaterThan, above, none);
        let room = self.c.ins().select(inside, below, none);
        (at, room)
    }

    fn place(&mut self, base: Value, at: Value, access: &Access) -> Place {
        let mut address = self.c.ins().iadd(base, at);
        if access.down {
            let one = self.i64(1);
            address = self.c.ins().iadd(address, one);
        }
        Place { address, flags: access.flags.with_notrap(), down: access.down }
    }

    /// The address of a piece of `size` bytes behind `done` bytes, and the offset of the instruction.
    fn piece(&mut self, place: &Place, done: Value, size: i32) -> (Value, i32) {
        if place.down {
            (self.c.ins().isub(place.address, done), -size)
        } else {
            (self.c.ins().iadd(place.address, done), 0)
        }
    }

    /// Leaves for the loop, with `done` iterations done.
    fn leave(&mut self, done: Value) {
        let done = self.c.ins().ireduce(I32, done);
        let args: Vec<BlockArg> = (0..self.params.len())
            .map(|n| {
                let (param, step) = (self.params[n], self.l.steps[n]);
                if step == 0 {
                    return BlockArg::Value(param);
                }
                let step = self.c.ins().iconst(I32, i64::from(step));
                let grown = self.c.ins().imul(done, step);
                BlockArg::Value(self.c.ins().iadd(param, grown))
            })
            .collect();
        self.c.ins().jump(self.l.header, &args);
    }

    /// How many bytes the loop certainly stores, behind a test that they are enough.
    fn stored_bytes(&mut self, width: u8) -> Value {
        let count = self.count().unwrap_or_else(|| self.c.ins().iconst(I64, 0));
        let shift = self.i64(width.trailing_zeros().into());
        let bytes = self.c.ins().ishl(count, shift);
        let least = self.i64(MIN_STORED);
        let enough = self.c.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, bytes, least);
        self.go_on_if(enough);
        bytes
    }

    fn copy(&mut self, env: &ModuleEnv<'_>, from: &Access, to: &Access) {
        let bytes = self.stored_bytes(to.width);
        let (base, len) = self.memory(env);
        let (from_at, from_room) = self.reach(from, len);
        let (to_at, to_room) = self.reach(to, len);
        let room = self.c.ins().smin(from_room, to_room);
        let inside = self.c.ins().icmp(IntCC::SignedLessThanOrEqual, bytes, room);
        let (ahead, behind) = if to.down { (from_at, to_at) } else { (to_at, from_at) };
        let distance = self.c.ins().isub(ahead, behind);
        let piece = self.i64(PIECE);
        let apart = self.c.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, distance, piece);
        let ok = self.c.ins().band(inside, apart);
        self.go_on_if(ok);
        let from = self.place(base, from_at, from);
        let place = self.place(base, to_at, to);
        self.pieces(bytes, to.width, |e, ty, done| {
            let size = ty.bytes() as i32;
            let (address, offset) = e.piece(&from, done, size);
            let value = e.c.ins().load(ty, from.flags, address, offset);
            let (address, offset) = e.piece(&place, done, size);
            e.c.ins().store(place.flags, value, address, offset);
        });
    }

    fn fill(&mut self, env: &ModuleEnv<'_>, to: &Access, value: Value) {
        let bytes = self.stored_bytes(to.width);
        let (base, len) = self.memory(env);
        let (at, room) = self.reach(to, len);
        let inside = self.c.ins().icmp(IntCC::SignedLessThanOrEqual, bytes, room);
        self.go_on_if(inside);
        let place = self.place(base, at, to);
        let pattern = self.pattern(value, to.width);
        let vector = self.c.ins().splat(I64X2, pattern);
        self.pieces(bytes, to.width, |e, ty, done| {
            let value = match ty {
                I32 => e.c.ins().ireduce(I32, pattern),
                I64 => pattern,
                _ => vector,
            };
            let (address, offset) = e.piece(&place, done, ty.bytes() as i32);
            e.c.ins().store(place.flags, value, address, offset);
        });
    }

    /// The lowest `width` bytes of a value, as often as they fit into 64 bits.
    fn pattern(&mut self, value: Value, width: u8) -> Value {
        let dfg = &self.c.func.dfg;
        let ty = dfg.value_type(value);
        let value = match edit::constant(dfg, value) {
            // It may stand in the loop.
            Some(bits) if ty.is_int() => self.c.ins().iconst(ty, ty_constant(ty, bits)),
            _ => value,
        };
        let int = Type::int(ty.bits() as u16).unwrap_or(I64);
        let value = if ty.is_int() { value } else { self.c.ins().bitcast(int, MemFlagsData::new(), value) };
        if width == 8 {
            return value;
        }
        let bits = Type::int(u16::from(width) * 8).unwrap_or(I16);
        let low = if int == bits { value } else { self.c.ins().ireduce(bits, value) };
        let wide = self.c.ins().uextend(I64, low);
        let factor = self.i64((u64::MAX / ((1 << (8 * width)) - 1)) as i64);
        self.c.ins().imul(wide, factor)
    }

    /// Does `bytes` bytes in pieces, each by `body(type, bytes done before)`, and leaves.
    fn pieces(&mut self, bytes: Value, width: u8, mut body: impl FnMut(&mut Self, Type, Value)) {
        let (large, [done_large]) = self.block();
        let (middle, [done_middle]) = self.block();
        let (small, [done_small]) = self.block();
        let (leave, [done]) = self.block();
        let zero = self.i64(0);
        let enough = self.fits(zero, bytes, PIECE);
        self.c.ins().brif(enough, large, &[zero.into()], middle, &[zero.into()]);

        self.c.goto_bottom(large);
        body(self, I64X2, done_large);
        let piece = self.i64(PIECE);
        let next = self.c.ins().iadd(done_large, piece);
        let more = self.fits(next, bytes, PIECE);
        self.c.ins().brif(more, large, &[next.into()], middle, &[next.into()]);

        for (at, done_before, ty, next) in [(middle, done_middle, I64, small), (small, done_small, I32, leave)] {
            self.c.goto_bottom(at);
            if ty.bytes() < u32::from(width) {
                self.c.ins().jump(next, &[done_before.into()]);
                continue;
            }
            let (piece, []) = self.block();
            let fits = self.fits(done_before, bytes, ty.bytes().into());
            self.c.ins().brif(fits, piece, &[], next, &[done_before.into()]);
            self.c.goto_bottom(piece);
            body(self, ty, done_before);
            let size = self.i64(ty.bytes().into());
            let done = self.c.ins().iadd(done_before, size);
            self.c.ins().jump(next, &[done.into()]);
        }

        self.c.goto_bottom(leave);
        let shift = self.i64(width.trailing_zeros().into());
        let iterations = self.c.ins().ushr(done, shift);
        self.leave(iterations);
    }

    /// Whether a piece of `size` bytes fits behind `done` bytes into `bytes`. Signed: `bytes` may be negative.
    fn fits(&mut self, done: Value, bytes: Value, size: i64) -> Value {
        let size = self.i64(size);
        let end = self.c.ins().iadd(done, size);
        self.c.ins().icmp(IntCC::SignedLessThanOrEqual, end, bytes)
    }

    fn search(&mut self, env: &ModuleEnv<'_>, accesses: &[Access], conditions: &[Condition]) {
        let mut bytes = self.count();
        let (base, len) = self.memory(env);
        let mut places = Vec::new();
        for access in accesses {
            let (at, room) = self.reach(access, len);
            bytes = Some(bytes.map_or(room, |b| self.c.ins().smin(b, room)));
            places.push(self.place(base, at, access));
        }
        let Some(bytes) = bytes else { return self.leave_at_once() };
        let zero = self.i64(0);
        let enough = self.fits(zero, bytes, PIECE);
        self.go_on_if(enough);
        let (piece, [done]) = self.block();
        let (all, []) = self.block();
        let (some, []) = self.block();
        let (leave, [iterations]) = self.block();
        self.c.ins().jump(piece, &[zero.into()]);

        self.c.goto_bottom(piece);
        let loaded: Vec<Value> = places.iter().map(|place| self.load_piece(place, done)).collect();
        let holds: Vec<Value> = conditions.iter().map(|c| self.holds(c, &loaded)).collect();
        let holds = holds.into_iter().reduce(|a, b| self.c.ins().band(a, b));
        let Some(holds) = holds else { return self.leave_at_once() };
        let mask = self.c.ins().vhigh_bits(I32, holds);
        let full = self.c.ins().iconst(I32, 0xffff);
        let differing = self.c.ins().bxor(mask, full);
        self.c.ins().brif(differing, some, &[], all, &[]);

        self.c.goto_bottom(all);
        let size = self.i64(PIECE);
        let next = self.c.ins().iadd(done, size);
        let more = self.fits(next, bytes, PIECE);
        self.c.ins().brif(more, piece, &[next.into()], leave, &[next.into()]);

        self.c.goto_bottom(some);
        let first = self.c.ins().ctz(differing);
        let first = self.c.ins().uextend(I64, first);
        let before = self.c.ins().iadd(done, first);
        self.c.ins().jump(leave, &[before.into()]);

        self.c.goto_bottom(leave);
        self.leave(iterations);
    }

    /// Into the loop with nothing done.
    fn leave_at_once(&mut self) {
        let zero = self.i64(0);
        self.leave(zero);
    }

    fn load_piece(&mut self, place: &Place, done: Value) -> Value {
        let (address, offset) = self.piece(place, done, PIECE as i32);
        self.c.ins().load(I8X16, place.flags, address, offset)
    }

    /// Which bytes meet a condition: all ones for those that do.
    fn holds(&mut self, condition: &Condition, loaded: &[Value]) -> Value {
        let (cc, x, y) = match *condition {
            Condition::Same(x, y) => (IntCC::Equal, loaded[x], loaded[y]),
            Condition::Is(x, byte) => (IntCC::Equal, loaded[x], self.splat(byte)),
            Condition::Not(x, byte) => (IntCC::NotEqual, loaded[x], self.splat(byte)),
        };
        self.c.ins().icmp(cc, x, y)
    }

    fn splat(&mut self, byte: u8) -> Value {
        let byte = self.c.ins().iconst(cranelift_codegen::ir::types::I8, i64::from(byte));
        self.c.ins().splat(I8X16, byte)
    }
}

/// An `iconst`'s immediate: as Cranelift wants it, without bits beyond the type.
fn ty_constant(ty: Type, bits: u64) -> i64 {
    if ty.bits() >= 64 { bits as i64 } else { (bits & ((1 << ty.bits()) - 1)) as i64 }
}
