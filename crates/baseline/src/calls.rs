//! Calls and tail calls of functions.

use kiln_env::layout::{Place as At, context};
use kiln_env::stencil::{Glue, Ty, place_variant, value};
use kiln_env::tier::{site, sites_address};
use kiln_env::{DefinedFuncIndex, FuncIndex, FuncKey, Op, TableIndex, TypeIndex};

use crate::Error;
use crate::abi::{Loc, Signature};
use crate::asm::reg::*;
use crate::asm::{Mem, condition};
use crate::entry::{Entry, Place};
use crate::library::NO_VALUES;
use crate::read::Reader;
use crate::state::{FLOAT_TEMP, Func, INT_TEMP, set_signature, slot};

/// What is called: by name, or by its code in `rax` with its context in `rdi`.
#[derive(Clone, Copy)]
enum Callee {
    Direct(DefinedFuncIndex),
    Indirect,
}

impl Func<'_> {
    pub(crate) fn call_operator(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(), Error> {
        let (callee, ty) = self.callee_of(op, reader)?;
        let mut signature = std::mem::take(&mut self.callee);
        set_signature(&mut signature, &self.facts, ty);
        let from = self.stack.len() - signature.params.len();
        let mut arguments = std::mem::take(&mut self.arguments);
        arguments.clear();
        arguments.extend_from_slice(&self.stack[from..]);
        self.truncate(from);
        if !matches!(op, Op::Call | Op::ReturnCall) && self.facts.counters {
            self.record_callee();
        }
        if matches!(op, Op::ReturnCall | Op::ReturnCallIndirect | Op::ReturnCallRef) {
            self.return_call(callee, &signature, &arguments);
            self.unreachable(reader);
        } else {
            self.call(callee, &signature, &arguments);
        }
        (self.callee, self.arguments) = (signature, arguments);
        Ok(())
    }

    /// Counts what is called: `kiln_env::tier` says how.
    fn record_callee(&mut self) {
        const FIRST: i32 = 0;
        const SECOND: i32 = site::NEXT as i32;
        let code = |candidate: i32| Mem(R11, candidate + site::CODE as i32);
        let count = |candidate: i32| Mem(R11, candidate + site::COUNT as i32);
        let func = DefinedFuncIndex(self.index);
        let record = self.sites.len() as i32 * site::SIZE as i32;
        self.sites.push(self.offset);
        let asm = &mut self.asm;
        asm.load(R11, Mem(RBP, -8));
        asm.load(R11, Mem(R11, context::counters as i32));
        asm.load(R11, Mem(R11, sites_address(func) as i32));
        asm.add(R11, record);
        asm.compare_memory(code(FIRST), RAX);
        let first = asm.jump_if_near(condition::EQUAL);
        asm.compare_memory(code(SECOND), RAX);
        let second = asm.jump_if_near(condition::EQUAL);
        asm.add_memory(count(FIRST), -1);
        let first_is_free = asm.jump_if_near(condition::SIGN);
        asm.add_memory(count(SECOND), -1);
        let second_is_free = asm.jump_if_near(condition::SIGN);
        asm.add_memory(Mem(R11, site::OTHERS as i32), 1);
        let other = asm.jump_near();
        asm.bind_near(second_is_free);
        asm.add_memory(count(FIRST), 1);
        asm.store(code(SECOND), RAX);
        asm.add_memory(count(SECOND), 1);
        asm.bind_near(second);
        asm.add_memory(count(SECOND), 1);
        let done = asm.jump_near();
        asm.bind_near(first_is_free);
        asm.store(code(FIRST), RAX);
        asm.add_memory(count(FIRST), 1);
        asm.bind_near(first);
        asm.add_memory(count(FIRST), 1);
        asm.bind_near(done);
        asm.bind_near(other);
    }

    /// Finds out what is called. All operands behind that are in slots, all pins as well.
    fn callee_of(&mut self, op: Op, reader: &mut Reader<'_>) -> Result<(Callee, TypeIndex), Error> {
        self.flush_fuel();
        let facts = self.facts;
        let mut values = NO_VALUES;
        match op {
            Op::Call | Op::ReturnCall => {
                let func = FuncIndex(reader.u32());
                let ty = facts.module.funcs[func].ty;
                self.save_pins();
                if let Some(defined) = facts.module.defined_func(func) {
                    // Arguments that are constants and locals are loaded from where they are.
                    let arguments = facts.module.signature(ty).params.len();
                    self.flush_to(self.stack.len() - arguments);
                    return Ok((Callee::Direct(defined), ty));
                }
                self.flush_all();
                values[value::PLACE] = facts.layout.imported_func(func).into();
                self.callee(Glue::CalleeImport, 0, &mut values)?;
                Ok((Callee::Indirect, ty))
            }
            Op::CallIndirect | Op::ReturnCallIndirect => {
                let ty = TypeIndex(reader.u32());
                let table = TableIndex(reader.u32());
                let (at, indirect) = match facts.layout.table(table) {
                    At::Inline(at) => (at, false),
                    At::Indirect(at) => (at, true),
                };
                values[value::PLACE] = at.into();
                values[value::TYPE] = facts.layout.type_id(ty).into();
                values[value::INDEX] = table.0.into();
                let is_64 = facts.module.tables[table].limits.is_64;
                self.flush_all();
                self.save_pins();
                let number = place_variant(indirect) + 2 * u8::from(is_64);
                self.callee(Glue::CalleeElement, number, &mut values)?;
                Ok((Callee::Indirect, ty))
            }
            Op::CallRef | Op::ReturnCallRef => {
                let ty = TypeIndex(reader.u32());
                self.flush_all();
                self.save_pins();
                self.callee(Glue::CalleeRef, 0, &mut values)?;
                Ok((Callee::Indirect, ty))
            }
            _ => Err(Error::NoStencil(op.into(), 0)),
        }
    }

    /// Arguments to where a callee wants them: from their slots, where pinned locals are as well, and from temporaries.
    /// `shift`: how far the stack pointer is down, `stack` of it arguments.
    fn load_arguments(&mut self, entries: &[Entry], s: &Signature, shift: u32) {
        // What is in a temporary comes first: its register may be that of another argument.
        for ((v, loc), entry) in s.params.iter().zip(entries) {
            match loc {
                Loc::Stack(at) if entry.is_temp() => {
                    let to = Mem(RSP, *at as i32);
                    match v.ty {
                        Ty::V128 => self.asm.store_vector(to, FLOAT_TEMP),
                        ty if ty.is_int() => self.asm.store(to, INT_TEMP),
                        _ => self.asm.store_float(to, FLOAT_TEMP),
                    }
                }
                Loc::Int(to) | Loc::Float(to) if entry.is_temp() => self.load_entry(*to, entry, shift),
                _ => {}
            }
        }
        for ((v, loc), entry) in s.params.iter().zip(entries) {
            let Loc::Stack(at) = loc else { continue };
            let to = Mem(RSP, *at as i32);
            let from = match entry.place() {
                Place::Temp => continue,
                Place::Const(n) => {
                    self.store_const_by(n, to, R11);
                    continue;
                }
                Place::Local(local) => self.locals[local as usize].slot(),
                Place::Slot => entry.slot(),
            };
            if v.ty == Ty::V128 {
                self.asm.load_vector(XMM_SCRATCH, slot(from, shift));
                self.asm.store_vector(to, XMM_SCRATCH);
            } else {
                self.asm.load(R11, slot(from, shift));
                self.asm.store(to, R11);
            }
        }
        for ((v, loc), entry) in s.params.iter().zip(entries) {
            let (Loc::Int(to) | Loc::Float(to)) = loc else { continue };
            match entry.place() {
                Place::Temp => {}
                Place::Slot => self.load_slot(*to, *v, entry.slot(), shift),
                Place::Local(local) => self.load_slot(*to, *v, self.locals[local as usize].slot(), shift),
                Place::Const(n) if v.ty.is_int() => self.asm.constant(*to, n),
                Place::Const(n) => {
                    self.asm.constant(R11, n);
                    self.asm.int_to_float(*to, R11);
                }
            }
        }
    }

    fn call(&mut self, callee: Callee, s: &Signature, entries: &[Entry]) {
        let shift = s.argument_bytes + s.result_bytes;
        self.asm.add(RSP, -(shift as i32));
        if s.result_bytes > 0 {
            self.asm.mov(RSI, RDI);
            self.asm.lea(RDI, Mem(RSP, s.argument_bytes as i32));
        }
        self.load_arguments(entries, s, shift);
        self.note_address();
        match callee {
            Callee::Direct(func) => self.call_key(FuncKey::Wasm(func)),
            Callee::Indirect => {
                self.asm.call_register(RAX);
                let here = self.asm.position();
                self.note_call(here);
            }
        }
        self.note_handlers();
        self.results(s);
    }

    /// Results from where the callee left them to slots, or the only one to a temporary.
    fn results(&mut self, s: &Signature) {
        if let [(v, Loc::Int(_) | Loc::Float(_))] = s.results[..] {
            if v.ty.is_int() {
                self.asm.mov(INT_TEMP, RAX);
            }
            self.after_call();
            self.push_temp(v);
            if v.gc {
                self.flush_all();
            }
            return;
        }
        let first = self.stack.len();
        for (v, loc) in &s.results {
            self.push_slot(*v);
            let to = self.stack[self.stack.len() - 1].slot();
            if let Loc::Int(from) | Loc::Float(from) = loc {
                self.store_slot(to, *v, *from, s.result_bytes);
            }
        }
        for (i, (v, loc)) in s.results.iter().enumerate() {
            let Loc::Stack(at) = loc else { continue };
            let to = self.stack[first + i].slot();
            if v.ty == Ty::V128 {
                self.asm.load_vector(XMM_SCRATCH, Mem(RSP, *at as i32));
                self.asm.store_vector(slot(to, s.result_bytes), XMM_SCRATCH);
            } else {
                self.asm.load(R11, Mem(RSP, *at as i32));
                self.asm.store(slot(to, s.result_bytes), R11);
            }
        }
        self.asm.add(RSP, s.result_bytes as i32);
        self.after_call();
    }

    fn return_call(&mut self, callee: Callee, s: &Signature, entries: &[Entry]) {
        self.asm.add(RSP, -(s.argument_bytes as i32));
        if s.result_bytes > 0 {
            self.asm.mov(RSI, RDI);
            self.asm.load(RDI, Mem(RBP, -16));
        }
        self.load_arguments(entries, s, s.argument_bytes);
        self.epilogue();
        self.leave_for(s.argument_bytes);
        match callee {
            Callee::Direct(func) => {
                let field = self.asm.jump();
                self.reloc(field, FuncKey::Wasm(func));
            }
            Callee::Indirect => self.asm.jump_to_register(RAX),
        }
    }
}
