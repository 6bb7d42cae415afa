//! Copying stencils and filling their holes.

use kiln_env::stencil::{self, Choice, Ty, fill, record, value};
use kiln_env::{Builtin, FuncKey, TrapCode, machine::TrapSite};

use crate::Error;
use crate::asm::reg::*;
use crate::library::{Found, Stencil, Variant};
use crate::state::{Entry, FLOAT_TEMP, Func, INT_TEMP, NO_PIN, Place, slot};

/// Values for holes.
pub(crate) type Values = [i64; value::COUNT];

const NO_OPERAND: Operand = Operand { kind: stencil::SLOT, value: 0 };

/// An operand as a stencil takes it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Operand {
    kind: u8,
    value: i64,
}

impl Func<'_> {
    /// An operator or piece of glue in a variant.
    #[inline(always)]
    pub(crate) fn variant(&self, op: u16, variant: u8) -> Result<Variant, Error> {
        self.lib.variant(op, variant).ok_or(Error::NoStencil(op, variant))
    }

    /// Copies a stencil. Gives the position of its branch's displacement.
    fn copy_stencil(&mut self, found: Found, values: &Values) -> u32 {
        let s = self.lib.stencil(found);
        if !s.sites.is_empty() {
            self.flush_fuel();
        }
        if s.aligned {
            while self.asm.position() as usize % 16 != stencil::ALIGN_PHASE {
                self.asm.bytes(&[0x90]);
            }
        }
        let start = self.asm.position();
        if !s.sites.is_empty() {
            self.note_address();
        }
        self.asm.copy(s.code, s.len);
        let code = self.asm.from(start as usize);
        for hole in s.holes.chunks_exact(record::HOLE) {
            let at = usize::from(u16::from_le_bytes([hole[0], hole[1]]));
            let addend = i32::from_le_bytes([hole[4], hole[5], hole[6], hole[7]]);
            let v = values[usize::from(hole[2])];
            match hole[3] {
                fill::BYTE => code[at] = v.wrapping_add(addend.into()) as u8,
                fill::WORD => {
                    code[at..at + 4].copy_from_slice(&(v as u32).wrapping_add(addend as u32).to_le_bytes());
                    if usize::from(hole[2]) == value::SPILL {
                        self.spills.push(start + at as u32);
                    }
                }
                fill::LONG => code[at..at + 8].copy_from_slice(&v.wrapping_add(addend.into()).to_le_bytes()),
                _ => code[at] = i64::from(addend).wrapping_sub(v) as u8,
            }
        }
        if !s.sites.is_empty() {
            self.note_sites(&s, start);
        }
        start + u32::from(s.branch)
    }

    fn note_sites(&mut self, s: &Stencil, start: u32) {
        for (i, site) in s.sites.chunks_exact(record::SITE).enumerate() {
            let at = start + u32::from(u16::from_le_bytes([site[0], site[1]]));
            let number = u16::from_le_bytes([site[2], site[3]]);
            if i < usize::from(s.traps) {
                let code = TrapCode::from_u8(number as u8).expect("the build made this library");
                self.tables.traps.push(TrapSite { offset: at, code });
            } else {
                let builtin = Builtin::from_u32(number.into()).expect("the build made this library");
                self.reloc(at, FuncKey::WasmToBuiltin(builtin));
                self.note_call(at + 4);
            }
        }
    }

    /// Puts an operand that is no longer on the stack into a slot: its own if it is nowhere else.
    fn put_in_slot(&mut self, entry: &Entry) -> Operand {
        let at = match entry.place() {
            Place::Slot => entry.slot(),
            Place::Local(local) => {
                let local = self.locals[local as usize];
                if local.pin != NO_PIN {
                    self.save_pin(local.pin.into());
                }
                local.slot
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
            Place::Local(local) if self.locals[local as usize].pin != NO_PIN => {
                let pin = self.valid_pin(self.locals[local as usize].pin);
                Operand { kind: pin.kind, value: 0 }
            }
            Place::Const(n) if entry.v().ty.is_int() && i32::try_from(n).is_ok() => {
                Operand { kind: stencil::IMM, value: n }
            }
            Place::Const(n) if !entry.v().ty.is_int() && float_is_free => {
                self.asm.constant(RAX, n);
                self.asm.int_to_float(FLOAT_TEMP, RAX);
                Operand { kind: stencil::TEMP, value: 0 }
            }
            _ => self.put_in_slot(entry),
        }
    }

    /// Takes operands off the stack and finds a stencil for them. `branch` as in [`Choice`].
    fn operands(&mut self, op: u16, v: Variant, values: &mut Values, branch: u8) -> Result<Found, Error> {
        let count = v.count();
        let mut entries = [Entry::new(Place::Slot, crate::abi::V::GC, 0); 3];
        for entry in entries[..count].iter_mut().rev() {
            *entry = self.pop();
        }
        let mut operands = [NO_OPERAND; 3];
        let is_float_temp = |e: &Entry| e.is_temp() && !e.v().ty.is_int();
        let mut float_is_free = self.temps[1].is_none() && !entries[..count].iter().any(is_float_temp);
        for i in 0..count {
            operands[i] = self.operand(v, i, &entries[i], float_is_free);
            float_is_free &= operands[i].kind != stencil::TEMP;
        }
        if operands[1].kind == stencil::IMM
            && let Some(mask) = stencil::shift_mask(op)
        {
            operands[1].value &= i64::from(mask);
        }
        let found = match self.find(v, &operands, count, branch, values) {
            Some(found) => found,
            None => self.other_operands(op, v, values, branch, &entries, &mut operands)?,
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
        op: u16,
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
            if let Some(found) = self.find(v, operands, count, branch, values) {
                return Ok(found);
            }
        }
        for i in 0..count.min(2) {
            if operands[i].kind != stencil::SLOT {
                operands[i] = match (operands[i].kind, entries[i].place()) {
                    // It is in the temporary by now.
                    (stencil::TEMP, Place::Const(_)) => {
                        let temp = entries[i].at(Place::Temp);
                        self.put_in_slot(&temp)
                    }
                    _ => self.put_in_slot(&entries[i]),
                };
            }
        }
        self.find(v, operands, count, branch, values).ok_or(Error::NoStencil(op, 0))
    }

    /// The stencil for these kinds of operands.
    #[inline]
    fn find(&self, v: Variant, operands: &[Operand; 3], count: usize, branch: u8, values: &Values) -> Option<Found> {
        let mut near = false;
        for operand in &operands[..count] {
            if operand.kind == stencil::SLOT {
                near = operand.value < 128;
                if !near {
                    break;
                }
            }
        }
        let short = values[value::OFFSET] < 128;
        self.lib.find(v, Choice { a: operands[0].kind, b: operands[1].kind, near, short, branch })
    }

    /// An operator whose operands are on the stack and whose result goes there.
    #[inline]
    pub(crate) fn operator(&mut self, op: u16, number: u8, values: &mut Values) -> Result<(), Error> {
        let v = self.variant(op, number)?;
        let result = v.result().map(crate::abi::V::new);
        self.operator_of(op, v, values, result)
    }

    /// The same with the result's type given.
    pub(crate) fn operator_of(
        &mut self,
        op: u16,
        v: Variant,
        values: &mut Values,
        result: Option<crate::abi::V>,
    ) -> Result<(), Error> {
        if v.framed() {
            self.flush_all();
            self.save_pins();
        }
        let found = self.operands(op, v, values, stencil::PLAIN)?;
        if let Some(result) = result
            && !v.framed()
        {
            self.free_temp(result.ty.is_int());
        }
        self.copy_stencil(found, values);
        if v.framed() {
            if result.is_some_and(|r| r.ty.is_int()) {
                self.asm.mov(INT_TEMP, RDI);
            }
            self.after_call();
        }
        if let Some(result) = result {
            self.push(Place::Temp, result);
        }
        Ok(())
    }

    /// A comparison as a branch. The position of its displacement.
    pub(crate) fn branch(&mut self, op: u16, number: u8, branch: u8) -> Result<u32, Error> {
        self.flush_fuel();
        let v = self.variant(op, number)?;
        let mut values = [0; value::COUNT];
        let found = self.operands(op, v, &mut values, branch)?;
        Ok(self.copy_stencil(found, &values))
    }

    /// Code and context of a callee: to `rax` and `rdi`. The operand, if it has one, is taken off the stack; all others
    /// are in their slots already.
    pub(crate) fn callee(&mut self, op: u16, number: u8, values: &mut Values) -> Result<(), Error> {
        self.flush_fuel();
        let v = self.variant(op, number)?;
        let found = self.operands(op, v, values, stencil::PLAIN)?;
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
                match self.pins.get(usize::from(local.pin)) {
                    Some(pin) if pin.valid && int => {
                        let register = pin.register;
                        self.asm.mov(to, register);
                    }
                    Some(pin) if pin.valid => {
                        let register = pin.register;
                        self.asm.mov_vector(to, register);
                    }
                    _ => self.load_slot(to, entry.v(), local.slot, shift),
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
        let mut values = [0; value::COUNT];
        values[0] = std::mem::take(&mut self.fuel) as i64;
        if let Some(v) = self.lib.variant(stencil::FUEL, 0)
            && let Some(found) = self.lib.find(v, Choice::default())
        {
            self.copy_stencil(found, &values);
        }
    }
}
