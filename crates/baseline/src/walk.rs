//! The walk over a function's operators.

use kiln_env::layout::{MemoryPlace, Place as At};
use kiln_env::stencil::{self, FD, FE, FORM_BASE, LANE, Ty, checked_form, place_variant, shuffle, value};
use kiln_env::types::RefRepr;
use kiln_env::{GlobalIndex, MemoryIndex, TableIndex, TagIndex, TrapCode};

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
enum Class {
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
    Module,
    Vector,
    Atomic,
}

/// The classes of all operators: one look instead of many comparisons that nobody can predict.
static CLASSES: [Class; stencil::OPS as usize] = {
    let mut classes = [Class::Module; stencil::OPS as usize];
    let mut op = 0;
    while op < stencil::OPS {
        classes[op as usize] = match op {
            0x1a => Class::Drop,
            0x20 => Class::LocalGet,
            0x21 => Class::LocalSet,
            0x22 => Class::LocalTee,
            0x28..=0x3e => Class::Access,
            0x41 | 0x42 => Class::Integer,
            0x43 => Class::F32,
            0x44 => Class::F64,
            // Those that give a truth value take the branch behind them along.
            0x45..=0x66 => Class::Comparison,
            0x67..=0xc4 | 0x100..=0x107 => Class::Numeric,
            0..=0x1f | 0xd5 | 0xd6 => Class::Control,
            FD..FE => Class::Vector,
            FE.. => Class::Atomic,
            _ => Class::Module,
        };
        op += 1;
    }
    classes
};

impl Func<'_> {
    pub(crate) fn walk(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let counts_fuel = self.facts.tunables.fuel;
        while !self.frames.is_empty() {
            let at = reader.at;
            self.offset = at as u32;
            self.check_size()?;
            let op = reader.op();
            if counts_fuel && self.reachable {
                self.fuel += u64::from(self.lib.fuel(op));
            }
            match CLASSES[usize::from(op)] {
                Class::LocalGet => {
                    let local = reader.u32();
                    self.push_local(local);
                }
                Class::LocalSet => {
                    let local = reader.u32();
                    self.set_local(local, false);
                }
                Class::LocalTee => {
                    let local = reader.u32();
                    self.set_local(local, true);
                }
                Class::Integer => {
                    let n = reader.i64();
                    self.push_constant(n, V::new(if op == 0x41 { Ty::I32 } else { Ty::I64 }));
                }
                Class::Access => self.access(op, reader)?,
                Class::Numeric => self.operator(op, 0, &mut NO_VALUES.clone())?,
                Class::Comparison => {
                    if !self.branch_follows(op, 0, reader)? {
                        self.operator(op, 0, &mut NO_VALUES.clone())?;
                    }
                }
                Class::Control => self.control(op, at, reader)?,
                Class::Drop => {
                    self.pop();
                }
                Class::F32 => {
                    let bits = u32::from_le_bytes(reader.array());
                    self.push_constant(bits.into(), V::new(Ty::F32));
                }
                Class::F64 => {
                    let bits = i64::from_le_bytes(reader.array());
                    self.push_constant(bits, V::new(Ty::F64));
                }
                Class::Module => self.of_module(op, reader)?,
                Class::Vector => self.vector(op, reader)?,
                Class::Atomic => self.atomic(op, reader)?,
            }
        }
        Ok(())
    }

    /// Emits a comparison together with the `br_if` or `if` that follows it.
    fn branch_follows(&mut self, op: u16, variant: u8, reader: &mut Reader<'_>) -> Result<bool, Error> {
        let negated = reader.peek(0) == 0x45 && matches!(reader.peek(1), 0x04 | 0x0d);
        let next = reader.peek(usize::from(negated));
        if !matches!(next, 0x04 | 0x0d) {
            return Ok(false);
        }
        reader.at += 1 + usize::from(negated);
        if self.facts.tunables.fuel {
            let taken = u64::from(self.lib.fuel(next.into())) + u64::from(self.lib.fuel(0x45)) * u64::from(negated);
            self.fuel += taken;
        }
        if next == 0x04 {
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

    fn control(&mut self, op: u16, at: usize, reader: &mut Reader<'_>) -> Result<(), Error> {
        match op {
            0x00 => {
                self.flush_fuel();
                self.trap(TrapCode::Unreachable);
                self.unreachable(reader);
            }
            0x01 => {}
            0x02 => {
                let sig = reader.block_type();
                self.open_block(sig);
            }
            0x03 => {
                let sig = reader.block_type();
                self.open_loop(sig)?;
            }
            0x04 => {
                let sig = reader.block_type();
                self.open_if(sig, 0x45, 0, stencil::IF_TRUE)?;
            }
            0x05 => self.otherwise(),
            0x06 => self.open_try(reader, at),
            0x07 => {
                let tag = TagIndex(reader.u32());
                self.open_catch(Some(tag))?;
            }
            0x19 => self.open_catch(None)?,
            0x08 => {
                let tag = TagIndex(reader.u32());
                self.throw(tag);
                self.unreachable(reader);
            }
            0x09 => {
                let depth = reader.u32();
                self.rethrow(depth);
                self.unreachable(reader);
            }
            0x0a => {
                self.throw_ref()?;
                self.unreachable(reader);
            }
            0x0b | 0x18 => {
                if op == 0x18 {
                    reader.u32();
                }
                self.end()?;
                if !self.reachable && !self.frames.is_empty() {
                    self.unreachable(reader);
                }
            }
            0x0c => {
                let frame = self.frame_at(reader.u32());
                self.br(frame);
                self.unreachable(reader);
            }
            0x0d => {
                let frame = self.frame_at(reader.u32());
                self.br_if(frame, 0x45, 0, stencil::IF_FALSE)?;
            }
            0x0e => {
                self.br_table(reader);
                self.unreachable(reader);
            }
            0x0f => {
                self.return_();
                self.unreachable(reader);
            }
            0x1b | 0x1c => self.select(op, reader)?,
            0x1f => self.open_try_table(reader),
            0xd5 | 0xd6 => self.branch_on_reference(op, reader)?,
            _ => self.call_operator(op, reader)?,
        }
        Ok(())
    }

    fn select(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        if op == 0x1c {
            reader.skip(op);
        }
        let v = self.stack[self.stack.len() - 2].v();
        let variant = self.variant(0x1b, v.ty as u8)?;
        self.operator_of(0x1b, variant, &mut NO_VALUES.clone(), Some(v))?;
        self.keep_reference(v);
        Ok(())
    }

    /// A collected reference does not stay in a temporary, where a collection would not find it.
    fn keep_reference(&mut self, v: V) {
        if v.gc {
            self.flush_all();
        }
    }

    fn branch_on_reference(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        let frame = self.frame_at(reader.u32());
        self.flush_all();
        let reference = self.stack[self.stack.len() - 1];
        // The comparison takes a copy: the reference stays, or goes along with the branch.
        let v = reference.v();
        self.asm.load(INT_TEMP, slot(reference.slot(), 0));
        if op == 0xd5 {
            // Without it if it is null.
            self.pop();
            self.push_temp(v);
            self.br_if(frame, 0xd1, u8::from(v.gc), stencil::IF_TRUE)?;
            self.push_slot(v);
            return Ok(());
        }
        self.push_temp(v);
        self.br_if(frame, 0xd1, u8::from(v.gc), stencil::IF_FALSE)?;
        self.pop();
        Ok(())
    }

    /// Operators on globals, tables, memories as a whole, and references.
    fn of_module(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        match op {
            0x23 | 0x24 => {
                let global = GlobalIndex(reader.u32());
                let (at, indirect) = split(self.facts.layout.global(global));
                values[value::PLACE] = at;
                let v = V::from(self.facts.module.globals[global].content);
                let number = place_variant(indirect) + 2 * v.ty as u8;
                let variant = self.variant(op, number)?;
                self.operator_of(op, variant, &mut values, (op == 0x23).then_some(v))?;
                if op == 0x23 {
                    self.keep_reference(v);
                }
                Ok(())
            }
            0x25 | 0x26 | 0x10f..=0x111 => self.table(op, reader),
            0x3f | 0x40 | 0x10b => self.memory(op, reader),
            0xd0 => {
                let v = reader.heap();
                self.push_constant(0, v);
                Ok(())
            }
            0xd1 => {
                let v = self.stack[self.stack.len() - 1].v();
                if self.branch_follows(op, u8::from(v.gc), reader)? {
                    return Ok(());
                }
                self.operator(op, v.gc.into(), &mut values)
            }
            0xd4 => {
                let v = self.stack[self.stack.len() - 1].v();
                let variant = self.variant(op, v.gc.into())?;
                self.operator_of(op, variant, &mut values, Some(v))?;
                self.keep_reference(v);
                Ok(())
            }
            0xd2 | 0x109 | 0x10d => {
                values[value::INDEX] = reader.u32().into();
                self.operator(op, 0, &mut values)
            }
            0x108 | 0x10c => {
                values[value::INDEX2] = reader.u32().into();
                let index = reader.u32();
                values[value::INDEX] = index.into();
                let is_64 = if op == 0x108 { self.memory_is_64(index) } else { self.table_is_64(index) };
                self.operator(op, is_64.into(), &mut values)
            }
            0x10a | 0x10e => {
                let (to, from) = (reader.u32(), reader.u32());
                (values[value::INDEX], values[value::INDEX2]) = (to.into(), from.into());
                if op == 0x10a && to == 0 && self.base_for_bulk(from) {
                    return self.operator(op, stencil::COPY_BASE, &mut values);
                }
                let [a, b] = [to, from].map(|i| if op == 0x10a { self.memory_is_64(i) } else { self.table_is_64(i) });
                self.operator(op, u8::from(a) | u8::from(b) << 1, &mut values)
            }
            _ => Err(Error::NoStencil(op, 0)),
        }
    }

    fn memory_is_64(&self, index: u32) -> bool {
        self.facts.module.memories[MemoryIndex(index)].limits.is_64
    }

    fn table_is_64(&self, index: u32) -> bool {
        self.facts.module.tables[TableIndex(index)].limits.is_64
    }

    fn table(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
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
            Some(_) if op == 0x25 && gc => Some(V::GC),
            other => other.map(V::new),
        };
        self.operator_of(op, variant, &mut values, result)?;
        if let Some(v) = result {
            self.keep_reference(v);
        }
        Ok(())
    }

    fn memory(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        let index = reader.u32();
        let mut values = NO_VALUES;
        values[value::INDEX] = index.into();
        let mut number = u8::from(self.memory_is_64(index));
        if op == 0x10b && self.base_for_bulk(index) {
            number = stencil::FILL_BASE;
        }
        if op == 0x3f {
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
    fn access(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
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

    fn vector(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        match op - FD {
            0..=11 | 92 | 93 => self.access(op, reader),
            84..=91 => {
                let (memory, offset) = reader.memarg();
                let lane = reader.byte();
                let form = self.form(memory, offset, &mut values);
                self.operator(op, form + lane * LANE, &mut values)
            }
            12 => {
                self.free_temp(false);
                let bytes = reader.array();
                self.vector_constant(bytes);
                self.push_temp(V::new(Ty::V128));
                Ok(())
            }
            13 => self.shuffle(reader),
            21..=34 => {
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
        if self.variant(FD + 13, form)?.count() == 1 {
            self.pop();
        }
        self.operator(FD + 13, form, &mut values)
    }

    fn atomic(&mut self, op: u16, reader: &mut Reader<'_>) -> Result<(), Error> {
        let mut values = NO_VALUES;
        if op == FE + 3 {
            reader.byte();
            return self.operator(op, 0, &mut values);
        }
        let (memory, offset) = reader.memarg();
        if op < FE + 3 {
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
