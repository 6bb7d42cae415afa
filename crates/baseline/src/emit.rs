//! Copying stencils and filling their holes.

use kiln_env::stencil::{self, Choice, Glue, Piece, Ty, record, value};
use kiln_env::{Builtin, FuncKey, Op, TrapCode, machine::TrapSite};

use crate::Error;
use crate::asm::reg::*;
use crate::entry::{Entry, Place, is_near};
use crate::library::{Found, Hole, NO_VALUES, Stencil, Values, Variant};
use crate::state::{FLOAT_TEMP, Func, INT_TEMP, slot};

const NO_OPERAND: Operand = Operand { kind: stencil::SLOT, value: 0 };

/// An operand as a stencil takes it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Operand {
    kind: u8,
    value: i64,
}

/// A constant count as far as a shift uses it.
#[inline]
fn masked_count(piece: Piece, kind: u8, n: i64) -> i64 {
    match piece {
        Piece::Op(op) if kind == stencil::IMM => n & stencil::shift_mask(op).map_or(-1, i64::from),
        _ => n,
    }
}

impl Func<'_> {
    /// An operator or piece of glue in a variant.
    #[inline(always)]
    pub(crate) fn variant(&self, piece: impl Into<Piece>, variant: u8) -> Result<Variant, Error> {
        let piece = piece.into();
        self.lib.variant(piece, variant).ok_or(Error::NoStencil(piece, variant))
    }

    /// Copies a stencil. Gives the position of its branch's displacement.
    #[inline(always)]
    fn copy_stencil(&mut self, found: Found, values: &Values) -> u32 {
        let s = self.lib.stencil(found);
        if s.is_plain() {
            let start = self.asm.position();
            self.asm.copy(&s, values);
            start + s.branch()
        } else {
            self.copy_with_sites(found, values)
        }
    }

    /// The same for one that is not plain.
    #[inline(never)]
    fn copy_with_sites(&mut self, found: Found, values: &Values) -> u32 {
        let s = &self.lib.stencil(found);
        if !s.sites.is_empty() {
            self.flush_fuel();
        }
        if s.has(stencil::ALIGNED) {
            while self.asm.position() as usize % 16 != stencil::ALIGN_PHASE {
                self.asm.nop();
            }
        }
        if !s.sites.is_empty() {
            self.note_address();
        }
        let start = self.asm.position();
        self.asm.copy(s, values);
        self.note_sites(s, start);
        start + s.branch()
    }

    #[inline(always)]
    fn note_sites(&mut self, s: &Stencil, start: u32) {
        for (i, site) in s.sites.chunks_exact(record::SITE).enumerate() {
            let at = start + u32::from(u16::from_le_bytes([site[0], site[1]]));
            let number = u16::from_le_bytes([site[2], site[3]]);
            if i < s.traps() {
                let code = TrapCode::from_u8(number as u8).expect("the build made this library");
                self.tables.traps.push(TrapSite { offset: at, code });
            } else {
                let builtin = Builtin::from_u32(number.into()).expect("the build made this library");
                self.reloc(at, FuncKey::WasmToBuiltin(builtin));
                self.note_call(at + 4);
            }
        }
        if s.has(stencil::SPILLS) {
            let spills =
                s.holes.iter().map(|hole| Hole(u64::from_le_bytes(*hole))).filter(|h| h.value() == value::SPILL);
            self.spills.extend(spills.map(|h| start + h.at() as u32));
        }
    }

    /// Puts an operand that is no longer on the stack into a slot: its own if it is nowhere else.
    fn put_in_slot(&mut self, entry: &Entry) -> Operand {
        let at = match entry.place() {
            Place::Slot => entry.slot(),
            Place::Local(local) => {
                let local = self.locals[local as usize];
                if let Some(pin) = local.pin() {
                    self.save_pin(pin);
                }
                local.slot()
            }
            _ => {
                self.store_to(entry, entry.slot());
                self.high = self.high.max(entry.slot() + entry.v().size());
                entry.slot()
            }
        };
        Operand { kind: stencil::SLOT, value: at.into() }
    }

    /// An operand that is no longer on the stack, as the stencil likes it best.
    fn operand(&mut self, variant: Variant, i: usize, entry: &Entry, float_is_free: bool) -> Operand {
        let choosable = match i {
            0 => variant.shape().a,
            1 => variant.shape().b,
            _ => false,
        };
        if !choosable {
            return self.put_in_slot(entry);
        }
        match entry.place() {
            Place::Temp => Operand { kind: stencil::TEMP, value: 0 },
            Place::Local(_) if entry.kind() >= stencil::PIN => {
                self.valid_pin(entry.pin());
                Operand { kind: entry.kind(), value: 0 }
            }
            Place::Const(n) if !entry.is_awkward() => Operand { kind: stencil::IMM, value: n },
            Place::Const(n) if !entry.v().ty.is_int() && float_is_free => {
                self.asm.constant(RAX, n);
                self.asm.int_to_float(FLOAT_TEMP, RAX);
                Operand { kind: stencil::TEMP, value: 0 }
            }
            _ => self.put_in_slot(entry),
        }
    }

    /// Takes operands off the stack and finds a stencil for them. `branch` as in [`Choice`].
    #[inline(always)]
    fn operands(&mut self, piece: Piece, v: Variant, values: &mut Values, branch: u8) -> Result<Found, Error> {
        match self.operands_as_they_are(piece, v, values, branch) {
            Some(found) => Ok(found),
            None => self.moved_operands(piece, v, values, branch),
        }
    }

    /// The stencil for up to two operands that need not be moved. If there is none, nothing is taken.
    #[inline(always)]
    fn operands_as_they_are(&mut self, piece: Piece, v: Variant, values: &mut Values, branch: u8) -> Option<Found> {
        let (base, a, b) = match (v.count(), self.stack.as_slice()) {
            (0, _) => {
                let short = is_near(values[value::OFFSET]);
                return self.lib.find(v, Choice { short, branch, ..Choice::default() });
            }
            (1, [below @ .., a]) => (below.len(), *a, Entry::NONE),
            (2, [below @ .., a, b]) => (below.len(), *a, *b),
            _ => return None,
        };
        let shape = v.shape();
        if !a.is_taken(shape.a) || !b.is_taken(shape.b || v.count() == 1) {
            return None;
        }
        let kinds = (a.kind(), b.kind());
        for entry in [&a, &b] {
            if entry.kind() >= stencil::PIN {
                self.valid_pin(entry.pin());
            }
        }
        let short = is_near(values[value::OFFSET]);
        let found = self.lib.find(v, Choice { a: kinds.0, b: kinds.1, near: a.are_near(&b), short, branch })?;
        values[0] = a.number();
        values[1] = b.number();
        if b.kind() == stencil::IMM {
            values[1] = masked_count(piece, stencil::IMM, b.number());
        }
        self.take(base, &[a, b]);
        Some(found)
    }

    /// The same for any operands, of which some are moved.
    #[inline(never)]
    fn moved_operands(&mut self, piece: Piece, v: Variant, values: &mut Values, branch: u8) -> Result<Found, Error> {
        let count = v.count();
        let mut entries = [Entry::NONE; 3];
        for entry in entries[..count].iter_mut().rev() {
            *entry = self.pop();
        }
        let mut operands = [NO_OPERAND; 3];
        let is_float_temp = |e: &Entry| e.is_temp() && e.class() == 1;
        let mut float_is_free = self.temps[1].is_none() && !entries[..count].iter().any(is_float_temp);
        for i in 0..count {
            operands[i] = self.operand(v, i, &entries[i], float_is_free);
            float_is_free &= operands[i].kind != stencil::TEMP;
        }
        operands[1].value = masked_count(piece, operands[1].kind, operands[1].value);
        let found = match self.find(v, &operands[..count], branch, values) {
            Some(found) => found,
            None => self.other_operands(piece, v, values, branch, &entries, &mut operands)?,
        };
        for (value, operand) in values.iter_mut().zip(operands).take(count) {
            *value = operand.value;
        }
        Ok(found)
    }

    /// Finds operands that there is a stencil for: a constant that the operator does not take goes to the temporary if that is
    /// free, all else to slots.
    #[cold]
    fn other_operands(
        &mut self,
        piece: Piece,
        v: Variant,
        values: &Values,
        branch: u8,
        entries: &[Entry; 3],
        operands: &mut [Operand; 3],
    ) -> Result<Found, Error> {
        let count = v.count();
        for i in (0..count.min(2)).rev() {
            match operands[i].kind {
                stencil::IMM => {
                    let free = self.temps[0].is_none() && operands.iter().all(|o| o.kind != stencil::TEMP);
                    let n = operands[i].value;
                    operands[i] = if free {
                        self.asm.constant(INT_TEMP, if v.param(i) == Ty::I32 { i64::from(n as u32) } else { n });
                        Operand { kind: stencil::TEMP, value: 0 }
                    } else {
                        self.put_in_slot(&entries[i])
                    };
                }
                stencil::SLOT => {}
                _ => operands[i] = self.put_in_slot(&entries[i]),
            }
            if let Some(found) = self.find(v, &operands[..count], branch, values) {
                return Ok(found);
            }
        }
        for i in 0..count.min(2) {
            if operands[i].kind != stencil::SLOT {
                operands[i] = match (operands[i].kind, entries[i].place()) {
                    // It is in the temporary by now.
                    (stencil::TEMP, Place::Const(_)) => {
                        let temp = Entry::in_temp(entries[i].v(), entries[i].slot());
                        self.put_in_slot(&temp)
                    }
                    _ => self.put_in_slot(&entries[i]),
                };
            }
        }
        self.find(v, &operands[..count], branch, values).ok_or(Error::NoStencil(piece, 0))
    }

    /// The stencil for these kinds of operands.
    fn find(&self, v: Variant, operands: &[Operand], branch: u8, values: &Values) -> Option<Found> {
        let (mut slots, mut far) = (false, false);
        for operand in operands {
            let is_slot = operand.kind == stencil::SLOT;
            slots |= is_slot;
            far |= is_slot & !is_near(operand.value);
        }
        let kind = |i: usize| operands.get(i).map_or(stencil::SLOT, |o: &Operand| o.kind);
        let short = is_near(values[value::OFFSET]);
        self.lib.find(v, Choice { a: kind(0), b: kind(1), near: slots & !far, short, branch })
    }

    /// An operator whose operands are on the stack and whose result goes there.
    #[inline]
    pub(crate) fn operator(&mut self, piece: impl Into<Piece>, number: u8, values: &mut Values) -> Result<(), Error> {
        let piece = piece.into();
        let v = self.variant(piece, number)?;
        let result = v.result().map(crate::abi::V::new);
        self.operator_of(piece, v, values, result)
    }

    /// The same with the result's type given.
    pub(crate) fn operator_of(
        &mut self,
        piece: Piece,
        v: Variant,
        values: &mut Values,
        result: Option<crate::abi::V>,
    ) -> Result<(), Error> {
        if v.framed() {
            return self.framed_operator(piece, v, values, result);
        }
        let found = self.operands(piece, v, values, stencil::PLAIN)?;
        if let Some(result) = result {
            self.free_temp(result.ty.is_int());
        }
        self.copy_stencil(found, values);
        if let Some(result) = result {
            self.push_temp(result);
        }
        Ok(())
    }

    /// An operator whose operands are in slots that follow each other, from the one that is the first value on. They are no longer
    /// on the stack. Its last result is in the temporary.
    pub(crate) fn in_a_row(&mut self, piece: Piece, v: Variant, values: &Values) -> Result<(), Error> {
        let found = self.lib.find(v, Choice::default()).ok_or(Error::NoStencil(piece, 0))?;
        self.free_temp(true);
        self.copy_stencil(found, values);
        Ok(())
    }

    /// The same for one that calls the runtime: nothing is in registers behind it but its result.
    #[inline(never)]
    fn framed_operator(
        &mut self,
        piece: Piece,
        v: Variant,
        values: &mut Values,
        result: Option<crate::abi::V>,
    ) -> Result<(), Error> {
        self.flush_all();
        self.save_pins();
        let found = self.operands(piece, v, values, stencil::PLAIN)?;
        self.copy_stencil(found, values);
        if result.is_some_and(|r| r.ty.is_int()) {
            self.asm.mov(INT_TEMP, RDI);
        }
        self.after_call();
        if let Some(result) = result {
            self.push_temp(result);
        }
        Ok(())
    }

    /// A comparison as a branch. The position of its displacement.
    pub(crate) fn branch(&mut self, op: Op, number: u8, branch: u8) -> Result<u32, Error> {
        self.flush_fuel();
        let v = self.variant(op, number)?;
        let mut values = NO_VALUES;
        let found = self.operands(op.into(), v, &mut values, branch)?;
        Ok(self.copy_stencil(found, &values))
    }

    /// Code and context of a callee: to `rax` and `rdi`. The operand, if it has one, is taken off the stack; all others
    /// are in their slots already.
    pub(crate) fn callee(&mut self, glue: Glue, number: u8, values: &mut Values) -> Result<(), Error> {
        self.flush_fuel();
        let v = self.variant(glue, number)?;
        let found = self.operands(glue.into(), v, values, stencil::PLAIN)?;
        self.copy_stencil(found, values);
        self.asm.mov(RAX, RSI);
        Ok(())
    }

    /// A value to a register of its class.
    pub(crate) fn load_entry(&mut self, to: u8, entry: &Entry, shift: u32) {
        let int = entry.v().ty.is_int();
        match entry.place() {
            Place::Slot => self.load_slot(to, entry.v(), entry.slot(), shift),
            Place::Local(local) => {
                let local = self.locals[local as usize];
                match local.pin().filter(|pin| self.pins.is_valid(*pin)) {
                    Some(pin) if int => self.asm.mov(to, self.pin(pin).register),
                    Some(pin) => self.asm.mov_vector(to, self.pin(pin).register),
                    None => self.load_slot(to, entry.v(), local.slot(), shift),
                }
            }
            Place::Temp if int => self.asm.mov(to, INT_TEMP),
            Place::Temp => self.asm.mov_vector(to, FLOAT_TEMP),
            Place::Const(n) if int => self.asm.constant(to, n),
            Place::Const(n) => {
                self.asm.constant(RAX, n);
                self.asm.int_to_float(to, RAX);
            }
        }
    }

    /// A slot to a register.
    pub(crate) fn load_slot(&mut self, to: u8, v: crate::abi::V, from: u32, shift: u32) {
        let from = slot(from, shift);
        match v.ty {
            Ty::V128 => self.asm.load_vector(to, from),
            ty if ty.is_int() => self.asm.load(to, from),
            _ => self.asm.load_float(to, from),
        }
    }

    /// A register to a slot.
    pub(crate) fn store_slot(&mut self, to: u32, v: crate::abi::V, from: u8, shift: u32) {
        let to = slot(to, shift);
        match v.ty {
            Ty::V128 => self.asm.store_vector(to, from),
            ty if ty.is_int() => self.asm.store(to, from),
            _ => self.asm.store_float(to, from),
        }
    }

    /// Brings the store's fuel counter up to date.
    #[inline]
    pub(crate) fn flush_fuel(&mut self) {
        if self.fuel > 0 {
            self.store_fuel();
        }
    }

    #[cold]
    fn store_fuel(&mut self) {
        let mut values = NO_VALUES;
        values[0] = std::mem::take(&mut self.fuel) as i64;
        if let Some(v) = self.lib.variant(Glue::Fuel.into(), 0)
            && let Some(found) = self.lib.find(v, Choice::default())
        {
            self.copy_stencil(found, &values);
        }
    }
}
