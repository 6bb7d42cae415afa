//! The walk over a function's operators.

use kiln_env::layout::{MemoryPlace, Place as At};
use kiln_env::opcode::{Class, Immediates};
use kiln_env::stencil::{self, FORM_BASE, LANE, Ty, checked_form, place_variant, shuffle, value};
use kiln_env::types::RefRepr;
use kiln_env::{GlobalIndex, MemoryIndex, Op, TableIndex, TagIndex, TrapCode};

use crate::Error;
use crate::abi::V;
use crate::asm::Mem;
use crate::asm::reg::*;
use crate::entry::Place;
use crate::library::{NO_VALUES, Values};
use crate::read::Reader;
use crate::state::{FLOAT_TEMP, Func, INT_TEMP, MAX_ACCESS, slot};

/// What the walk does with an operator.
#[derive(Clone, Copy)]
enum Step {
    Control,
    Drop,
    LocalGet,
    LocalSet,
    LocalTee,
    Integer,
    F32,
    F64,
    Access,
    Comparison,
    Numeric,
    Wide,
    Module,
    Vector,
    Atomic,
    /// There are no stencils.
    Refuse,
}

const fn step(op: Op) -> Step {
    match op.class() {
        Class::Control | Class::Exception | Class::Call => Step::Control,
        Class::Parametric => match op {
            Op::Drop => Step::Drop,
            _ => Step::Control,
        },
        Class::Local => match op {
            Op::LocalGet => Step::LocalGet,
            Op::LocalSet => Step::LocalSet,
            _ => Step::LocalTee,
        },
        Class::Constant => match op {
            Op::F32Const => Step::F32,
            Op::F64Const => Step::F64,
            _ => Step::Integer,
        },
        Class::Load | Class::Store => Step::Access,
        // Those that give a truth value take the branch that follows along.
        Class::Comparison => Step::Comparison,
        Class::Numeric | Class::Partial => Step::Numeric,
        Class::Global | Class::Table | Class::Memory | Class::Reference => Step::Module,
        Class::Vector | Class::VectorAccess => Step::Vector,
        Class::Atomic | Class::Wait | Class::Fence => Step::Atomic,
        Class::Wide => Step::Wide,
        // No tier compiles these yet.
        Class::Aggregate => Step::Refuse,
    }
}

/// The steps of all operators: one look instead of many comparisons that nobody can predict.
static STEPS: [Step; Op::COUNT] = {
    let mut steps = [Step::Refuse; Op::COUNT];
    let mut i = 0;
    while i < Op::COUNT {
        steps[i] = step(Op::ALL[i]);
        i += 1;
    }
    steps
};

/// The byte that an operator without a prefix is.
const fn byte(op: Op) -> u8 {
    match op.byte() {
        Some(byte) => byte,
        None => panic!("the operator has a prefix"),
    }
}

const EQZ: u8 = byte(Op::I32Eqz);
const IF: u8 = byte(Op::If);
const BR_IF: u8 = byte(Op::BrIf);

impl Func<'_> {
    pub(crate) fn walk(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let counts_fuel = self.facts.tunables.fuel;
        while !self.frames.is_empty() {
            let at = reader.at;
            self.offset = at as u32;
            self.check_size()?;
            let op = reader.op();
            if counts_fuel && self.reachable {
                self.fuel += u64::from(op.fuel());
            }
            match STEPS[op.index()] {
                Step::LocalGet => {
                    let local = reader.u32();
                    self.push_local(local);
                }
                Step::LocalSet => {
                    let local = reader.u32();
                    self.set_local(local, false);
                }
                Step::LocalTee => {
                    let local = reader.u32();
                    self.set_local(local, true);
                }
                Step::Integer => {
                    let n = reader.i64();
                    self.push_constant(n, V::new(if op == Op::I32Const { Ty::I32 } else { Ty::I64 }));
                }
                Step::Access => self.access(op, reader)?,
                Step::Numeric => self.operator(op, 0, &mut NO_VALUES.clone())?,
                Step::Wide => self.wide(op)?,
                Step::Comparison => {
                    if !self.branch_follows(op, 0, reader)? {
                        self.operator(op, 0, &mut NO_VALUES.clone())?;
                    }
                }
                Step::Control => self.control(op, at, reader)?,
                Step::Drop => {
                    self.pop();
                }
                Step::F32 => {
                    let bits = u32::from_le_bytes(reader.array());
                    self.push_constant(bits.into(), V::new(Ty::F32));
                }
                Step::F64 => {
                    let bits = i64::from_le_bytes(reader.array());
                    self.push_constant(bits, V::new(Ty::F64));
                }
                Step::Module => self.of_module(op, reader)?,
                Step::Vector => self.vector(op, reader)?,
                Step::Atomic => self.atomic(op, reader)?,
                Step::Refuse => return Err(Error::NoStencil(op.into(), 0)),
            }
        }
        Ok(())
    }

    /// An operator with two results: its operands go to their slots, and the first result to the first of these.
    fn wide(&mut self, op: Op) -> Result<(), Error> {
        let variant = self.variant(op, 0)?;
        let base = self.stack.len() - variant.count();
        self.flush_from(base);
        self.truncate(base);
        let v = V::new(Ty::I64);
        self.push_slot(v);
        let mut values = NO_VALUES;
        values[0] = self.stack[base].slot().into();
        self.in_a_row(op.into(), variant, &values)?;
        self.push_temp(v);
        Ok(())
    }

    /// Emits a comparison together with the `br_if` or `if` that follows it.
    fn branch_follows(&mut self, op: Op, variant: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        let negated = reader.peek(0) == EQZ && matches!(reader.peek(1), IF | BR_IF);
        let next = reader.peek(usize::from(negated));
        if !matches!(next, IF | BR_IF) {
            return Ok(false);
        }
        reader.at += 1 + usize::from(negated);
        if self.facts.tunables.fuel {
            let next = if next == IF { Op::If } else { Op::BrIf };
            self.fuel += u64::from(next.fuel()) + u64::from(Op::I32Eqz.fuel()) * u64::from(negated);
        }
        if next == IF {
            let sig = reader.block_type();
            let branch = if negated { stencil::IF_TRUE } else { stencil::IF_FALSE };
            self.open_if(sig, op, variant, branch)?;
        } else {
            let frame = self.frame_at(reader.u32());
            let branch = if negated { stencil::IF_FALSE } else { stencil::IF_TRUE };
            self.br_if(frame, op, variant, branch)?;
        }
        Ok(true)
    }

    fn control(&mut self, op: Op, at: usize, reader: &mut Reader<'_>) -> Result<(), Error> {
        match op {
            Op::Unreachable => {
                self.flush_fuel();
                self.trap(TrapCode::Unreachable);
                self.unreachable(reader);
            }
            Op::Nop => {}
            Op::Block => {
                let sig = reader.block_type();
                self.open_block(sig);
            }
            Op::Loop => {
                let sig = reader.block_type();
                self.open_loop(sig)?;
            }
            Op::If => {
                let sig = reader.block_type();
                self.open_if(sig, Op::I32Eqz, 0, stencil::IF_TRUE)?;
            }
            Op::Else => self.otherwise(),
            Op::Try => self.open_try(reader, at),
            Op::Catch => {
                let tag = TagIndex(reader.u32());
                self.open_catch(Some(tag))?;
            }
            Op::CatchAll => self.open_catch(None)?,
            Op::Throw => {
                let tag = TagIndex(reader.u32());
                self.throw(tag);
                self.unreachable(reader);
            }
            Op::Rethrow => {
                let depth = reader.u32();
                self.rethrow(depth);
                self.unreachable(reader);
            }
            Op::ThrowRef => {
                self.throw_ref()?;
                self.unreachable(reader);
            }
            Op::End | Op::Delegate => {
                if op == Op::Delegate {
                    reader.u32();
                }
                self.end()?;
                if !self.reachable && !self.frames.is_empty() {
                    self.unreachable(reader);
                }
            }
            Op::Br => {
                let frame = self.frame_at(reader.u32());
                self.br(frame);
                self.unreachable(reader);
            }
            Op::BrIf => {
                let frame = self.frame_at(reader.u32());
                self.br_if(frame, Op::I32Eqz, 0, stencil::IF_FALSE)?;
            }
            Op::BrTable => {
                self.br_table(reader);
                self.unreachable(reader);
            }
            Op::Return => {
                self.return_();
                self.unreachable(reader);
            }
            Op::Select | Op::TypedSelect => self.select(op, reader)?,
            Op::TryTable => self.open_try_table(reader),
            Op::BrOnNull | Op::BrOnNonNull => self.branch_on_reference(op, reader)?,
            Op::Call | Op::CallIndirect | Op::CallRef => self.call_operator(op, reader)?,
            Op::ReturnCall | Op::ReturnCallIndirect | Op::ReturnCallRef => self.call_operator(op, reader)?,
            _ => return Err(Error::NoStencil(op.into(), 0)),
        }
        Ok(())
    }

    fn select(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        if op == Op::TypedSelect {
            reader.skip(op);
        }
        let v = self.stack[self.stack.len() - 2].v();
        let variant = self.variant(Op::Select, v.ty as u8)?;
        self.operator_of(Op::Select.into(), variant, &mut NO_VALUES.clone(), Some(v))?;
        self.keep_reference(v);
        Ok(())
    }

    /// A collected reference does not stay in a temporary, where a collection would not find it.
    fn keep_reference(&mut self, v: V) {
        if v.gc {
            self.flush_all();
        }
    }

    fn branch_on_reference(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let frame = self.frame_at(reader.u32());
        self.flush_all();
        let reference = self.stack[self.stack.len() - 1];
        // The comparison takes a copy: the reference stays, or goes along with the branch.
        let v = reference.v();
        self.asm.load(INT_TEMP, slot(reference.slot(), 0));
        if op == Op::BrOnNull {
            // Without it if it is null.
            self.pop();
            self.push_temp(v);
            self.br_if(frame, Op::RefIsNull, u8::from(v.gc), stencil::IF_TRUE)?;
            self.push_slot(v);
            return Ok(());
        }
        self.push_temp(v);
        self.br_if(frame, Op::RefIsNull, u8::from(v.gc), stencil::IF_FALSE)?;
        self.pop();
        Ok(())
    }

    /// Operators on globals, tables, memories as a whole, and references.
    fn of_module(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        match op {
            Op::GlobalGet | Op::GlobalSet => {
                let global = GlobalIndex(reader.u32());
                let (at, indirect) = split(self.facts.layout.global(global));
                values[value::PLACE] = at;
                let v = V::from(self.facts.module.globals[global].content);
                let number = place_variant(indirect) + 2 * v.ty as u8;
                let variant = self.variant(op, number)?;
                self.operator_of(op.into(), variant, &mut values, (op == Op::GlobalGet).then_some(v))?;
                if op == Op::GlobalGet {
                    self.keep_reference(v);
                }
                Ok(())
            }
            Op::TableGet | Op::TableSet | Op::TableGrow | Op::TableSize | Op::TableFill => self.table(op, reader),
            Op::MemorySize | Op::MemoryGrow | Op::MemoryFill => self.memory(op, reader),
            Op::RefNull => {
                let v = reader.heap();
                self.push_constant(0, v);
                Ok(())
            }
            Op::RefIsNull => {
                let v = self.stack[self.stack.len() - 1].v();
                if self.branch_follows(op, u8::from(v.gc), reader)? {
                    return Ok(());
                }
                self.operator(op, v.gc.into(), &mut values)
            }
            Op::RefAsNonNull => {
                let v = self.stack[self.stack.len() - 1].v();
                let variant = self.variant(op, v.gc.into())?;
                self.operator_of(op.into(), variant, &mut values, Some(v))?;
                self.keep_reference(v);
                Ok(())
            }
            Op::RefFunc | Op::DataDrop | Op::ElemDrop => {
                values[value::INDEX] = reader.u32().into();
                self.operator(op, 0, &mut values)
            }
            Op::MemoryInit | Op::TableInit => {
                values[value::INDEX2] = reader.u32().into();
                let index = reader.u32();
                values[value::INDEX] = index.into();
                let is_64 = if op == Op::MemoryInit { self.memory_is_64(index) } else { self.table_is_64(index) };
                self.operator(op, is_64.into(), &mut values)
            }
            Op::MemoryCopy | Op::TableCopy => {
                let (to, from) = (reader.u32(), reader.u32());
                (values[value::INDEX], values[value::INDEX2]) = (to.into(), from.into());
                if op == Op::MemoryCopy && to == 0 && self.base_for_bulk(from) {
                    return self.operator(op, stencil::COPY_BASE, &mut values);
                }
                let [a, b] =
                    [to, from].map(|i| if op == Op::MemoryCopy { self.memory_is_64(i) } else { self.table_is_64(i) });
                self.operator(op, u8::from(a) | u8::from(b) << 1, &mut values)
            }
            _ => Err(Error::NoStencil(op.into(), 0)),
        }
    }

    fn memory_is_64(&self, index: u32) -> bool {
        self.facts.module.memories[MemoryIndex(index)].limits.is_64
    }

    fn table_is_64(&self, index: u32) -> bool {
        self.facts.module.tables[TableIndex(index)].limits.is_64
    }

    fn table(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let index = reader.u32();
        let mut values = NO_VALUES;
        let (at, indirect) = split(self.facts.layout.table(TableIndex(index)));
        values[value::PLACE] = at;
        values[value::INDEX] = index.into();
        let ty = self.facts.module.tables[TableIndex(index)];
        let gc = ty.element.repr() == RefRepr::Gc;
        let number = place_variant(indirect) | u8::from(gc) << 1 | u8::from(ty.limits.is_64) << 2;
        let variant = self.variant(op, number)?;
        let result = match variant.result() {
            Some(_) if op == Op::TableGet && gc => Some(V::GC),
            other => other.map(V::new),
        };
        self.operator_of(op.into(), variant, &mut values, result)?;
        if let Some(v) = result {
            self.keep_reference(v);
        }
        Ok(())
    }

    fn memory(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let index = reader.u32();
        let mut values = NO_VALUES;
        values[value::INDEX] = index.into();
        let mut number = u8::from(self.memory_is_64(index));
        if op == Op::MemoryFill && self.base_for_bulk(index) {
            number = stencil::FILL_BASE;
        }
        if op == Op::MemorySize {
            let (at, indirect) = self.memory_place(index);
            values[value::PLACE] = at;
            values[value::PAGE] = self.facts.module.memories[MemoryIndex(index)].page_size_log2.into();
            number = number << 1 | u8::from(indirect);
        }
        self.operator(op, number, &mut values)
    }

    /// Loads the base of the first memory if that is the one and short copies and fills of it are done in line.
    fn base_for_bulk(&mut self, index: u32) -> bool {
        let Some((field, _)) = self.base.filter(|(_, end)| index == 0 && *end >= stencil::BULK_REACH) else {
            return false;
        };
        self.load_base(field);
        true
    }

    /// Makes sure that the base of the first memory is in its register.
    fn load_base(&mut self, field: i32) {
        if !self.memory_valid {
            self.memory_valid = true;
            self.asm.load(RSI, Mem(RDI, field));
        }
    }

    fn memory_place(&self, index: u32) -> (i64, bool) {
        match self.facts.layout.memory(MemoryIndex(index)) {
            MemoryPlace::Inline(at) => (at.into(), false),
            MemoryPlace::Indirect(at) => (at.into(), true),
        }
    }

    /// Loads and stores.
    fn access(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let (memory, offset) = reader.memarg();
        let mut values = NO_VALUES;
        let form = self.form(memory, offset, &mut values);
        self.operator(op, form, &mut values)
    }

    /// How an access is made, with its values.
    fn form(&mut self, index: u32, offset: u64, values: &mut Values) -> u8 {
        // Stencils add an access' size to its offset in 64 bits. Where that would wrap, the access is out of bounds
        // whatever its index is, and so it is a little further down, with the same alignment.
        let offset = if offset > u64::MAX - MAX_ACCESS { offset - MAX_ACCESS } else { offset };
        values[value::OFFSET] = offset as i64;
        if let (0, Some((field, end))) = (index, self.base)
            && offset < end
        {
            self.load_base(field);
            return FORM_BASE;
        }
        let ty = self.facts.module.memories[MemoryIndex(index)];
        let (at, indirect) = self.memory_place(index);
        values[value::PLACE] = at;
        values[value::PAGE] = ty.page_size_log2.into();
        checked_form(indirect, ty.limits.is_64)
    }

    fn vector(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        match op.immediates() {
            Immediates::MemArg(_) => self.access(op, reader),
            Immediates::MemArgLane(_) => {
                let (memory, offset) = reader.memarg();
                let lane = reader.byte();
                let form = self.form(memory, offset, &mut values);
                self.operator(op, form + lane * LANE, &mut values)
            }
            Immediates::V128 => {
                self.free_temp(false);
                let bytes = reader.array();
                self.vector_constant(bytes);
                self.push_temp(V::new(Ty::V128));
                Ok(())
            }
            Immediates::Lanes => self.shuffle(reader),
            Immediates::Lane(_) => {
                let lane = reader.byte();
                self.operator(op, lane, &mut values)
            }
            _ => self.operator(op, 0, &mut values),
        }
    }

    /// A constant to the temporary. Through memory it would be two stores that a load cannot be served from.
    fn vector_constant(&mut self, bytes: [u8; 16]) {
        let n = u128::from_le_bytes(bytes);
        let (low, high) = (n as i64, (n >> 64) as i64);
        if n == 0 {
            return self.asm.zero_vector(FLOAT_TEMP);
        }
        self.asm.constant(RAX, low);
        self.asm.int_to_float(FLOAT_TEMP, RAX);
        if low == high {
            self.asm.double_low_half(FLOAT_TEMP);
        } else if high != 0 {
            self.asm.constant(RAX, high);
            self.asm.int_to_high_half(FLOAT_TEMP, RAX);
        }
    }

    fn shuffle(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut lanes: [u8; 16] = reader.array();
        if let [.., a, b] = self.stack[..]
            && matches!(a.place(), Place::Local(_))
            && a.place() == b.place()
        {
            lanes = lanes.map(|lane| lane & 15);
        }
        let (form, number) = shuffle::form(&lanes);
        let mut values = NO_VALUES;
        values[value::FORM] = number.into();
        values[value::LANES..value::LANES + 4].copy_from_slice(&shuffle::masks(&lanes));
        if self.variant(Op::I8x16Shuffle, form)?.count() == 1 {
            self.pop();
        }
        self.operator(Op::I8x16Shuffle, form, &mut values)
    }

    fn atomic(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        if op.class() == Class::Fence {
            reader.byte();
            return self.operator(op, 0, &mut values);
        }
        let (memory, offset) = reader.memarg();
        if op.class() == Class::Wait {
            values[value::INDEX] = memory.into();
            values[value::OFFSET] = offset as i64;
            let is_64 = self.memory_is_64(memory);
            return self.operator(op, is_64.into(), &mut values);
        }
        let form = self.form(memory, offset, &mut values);
        self.operator(op, form, &mut values)
    }
}

/// A place's offset, and whether a pointer is there.
fn split(place: At) -> (i64, bool) {
    match place {
        At::Inline(at) => (at.into(), false),
        At::Indirect(at) => (at.into(), true),
    }
}
