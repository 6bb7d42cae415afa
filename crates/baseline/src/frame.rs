//! A function's beginning and end, counters, and changing to another tier in a loop.

use kiln_env::layout::{context, store_context};
use kiln_env::limits::{MAX_BASELINE_CODE, MAX_BASELINE_ENTRIES, MAX_OSR_SLOTS};
use kiln_env::machine::{CfiOp, NO_WASM_OFFSET, UnwindOp};
use kiln_env::stencil::{Glue, Ty};
use kiln_env::tier::{entry_counter, loop_counter, osr_slot};
use kiln_env::{Builtin, DefinedFuncIndex, TrapCode};

use crate::abi::Loc;
use crate::asm::reg::*;
use crate::asm::{Mem, condition};
use crate::control::Kind;
use crate::library::NO_VALUES;
use crate::read::{Reader, Sig};
use crate::state::{Func, slot};
use crate::{Body, Error};

/// Code behind the function's end: what happens when a counter runs out.
pub(crate) struct Cold {
    /// The displacement that leads here, and where it goes on.
    field: u32,
    back: u32,
    /// Offset of the operator in the body.
    offset: u32,
    /// For a loop: the slots of its state if any of them is larger than others, else only where they end.
    state: Option<State>,
}

/// Where locals and operands are at a loop header.
enum State {
    /// One after another in the slots up to this one.
    Row(u32),
    /// In these slots, and whether each is a vector. Vectors that come later in the body do not matter.
    Spread(Vec<(u32, bool)>),
}

/// Registers that a callee leaves as they were, unless an exception passes.
const SAVED: [u8; 5] = [RBX, R12, R13, R14, R15];

impl Func<'_> {
    pub(crate) fn compile(&mut self, body: &Body<'_>) -> Result<(), Error> {
        let mut reader = Reader::new(body.bytes);
        let params = self.signature.params.len();
        self.declare(&mut reader, body.weights);
        let size_field = self.prologue(params);
        let ty = self.facts.module.funcs[self.facts.module.func_index(body.func)].ty;
        self.open(Kind::Function, Sig::Func(ty));
        self.offset = NO_WASM_OFFSET;
        self.count_entry();
        self.check_interrupts()?;
        self.walk(&mut reader)?;
        self.cold_code()?;
        let size = self.frame_size();
        self.asm.patch(size_field, size.wrapping_neg());
        self.finish(size);
        Ok(())
    }

    /// Whether what was made is within its limits.
    #[inline]
    pub(crate) fn check_size(&self) -> Result<(), Error> {
        let fits = self.asm.position() <= MAX_BASELINE_CODE && self.entries <= MAX_BASELINE_ENTRIES;
        if fits { Ok(()) } else { Err(Error::TooLarge) }
    }

    /// Bytes at the top of the frame: context, struct-return pointer, saved registers.
    fn reserved(&self) -> u32 {
        16 + if self.saves_registers { 8 * SAVED.len() as u32 } else { 0 }
    }

    fn frame_size(&self) -> u32 {
        let spills = if self.spills.is_empty() { 0 } else { self.lib.spill };
        (self.high.next_multiple_of(16) + spills + self.reserved()).next_multiple_of(16)
    }

    /// Sets up the frame; the position of its size, as a negative number.
    fn prologue(&mut self, params: usize) -> u32 {
        self.asm.begin_frame();
        let size = self.asm.position();
        self.asm.u32(0);
        let vmctx = self.signature.context();
        // Before the stack pointer moves: with a frame that does not fit it may lie anywhere, also in the thread's signal
        // stack, and whatever signal comes then would find no room.
        self.asm.compare_memory(Mem(vmctx, context::stack_limit as i32), R11);
        let fits = self.asm.jump_if(condition::ABOVE ^ 1);
        self.trap(TrapCode::StackOverflow);
        let here = self.asm.position();
        self.asm.bind(fits, here);
        self.asm.mov(RSP, R11);
        self.asm.store(Mem(RBP, -8), vmctx);
        if self.signature.result_bytes > 0 {
            self.asm.store(Mem(RBP, -16), RDI);
        }
        if self.saves_registers {
            for (i, register) in SAVED.iter().enumerate() {
                self.asm.store(Mem(RBP, saved_at(i)), *register);
            }
        }
        for i in 0..params {
            let (v, loc) = self.signature.params[i];
            let local = self.locals[i];
            match loc {
                Loc::Int(from) | Loc::Float(from) => self.store_slot(local.slot(), v, from, 0),
                Loc::Stack(at) => {
                    let from = Mem(RBP, 16 + at as i32);
                    if v.ty == Ty::V128 {
                        self.asm.load_vector(XMM_SCRATCH, from);
                        self.asm.store_vector(slot(local.slot(), 0), XMM_SCRATCH);
                    } else {
                        self.asm.load(RAX, from);
                        self.asm.store(slot(local.slot(), 0), RAX);
                    }
                }
            }
        }
        self.asm.mov(RDI, vmctx);
        let start = self.locals.get(params).map_or(self.top, |l| l.slot());
        self.zero(start, self.top);
        size
    }

    /// Sets slots to zero. Those of pinned locals, too: they are loaded when they are needed.
    fn zero(&mut self, start: u32, end: u32) {
        let count = (end - start) / 8;
        if count == 0 {
            return;
        }
        self.asm.constant(RAX, 0);
        if count <= 12 {
            for i in 0..count {
                self.asm.store(slot(start + 8 * i, 0), RAX);
            }
            return;
        }
        self.asm.lea(R10, slot(start, 0));
        self.asm.lea(R11, slot(end, 0));
        let again = self.asm.position();
        self.asm.store(Mem(R10, 0), RAX);
        self.asm.add(R10, 8);
        self.asm.compare(R10, R11);
        let field = self.asm.jump_if(condition::BELOW);
        self.asm.bind(field, again);
    }

    /// Puts callee-saved registers back.
    pub(crate) fn epilogue(&mut self) {
        if self.saves_registers {
            for (i, register) in SAVED.iter().enumerate() {
                self.asm.load(*register, Mem(RBP, saved_at(i)));
            }
        }
    }

    /// Fuel and epochs.
    pub(crate) fn check_interrupts(&mut self) -> Result<(), Error> {
        let t = self.facts.tunables;
        let number = u8::from(t.fuel) | u8::from(t.epochs) << 1;
        if number == 0 {
            return Ok(());
        }
        self.operator(Glue::Interrupts, number, &mut NO_VALUES.clone())
    }

    fn count(&mut self, at: u32) -> u32 {
        self.asm.load(RAX, Mem(RDI, context::counters as i32));
        self.asm.add_memory(Mem(RAX, at as i32), 1);
        self.asm.jump_if(condition::NOT_SIGN)
    }

    fn count_entry(&mut self) {
        if self.facts.counters {
            let field = self.count(entry_counter(DefinedFuncIndex(self.index)));
            let back = self.asm.position();
            self.cold.push(Cold { field, back, offset: NO_WASM_OFFSET, state: None });
            self.note_cold_references();
        }
    }

    /// At a loop header, where all operands are in slots and all pins in registers.
    pub(crate) fn count_loop(&mut self) {
        let slots = self.locals.len() + self.stack.len();
        if !self.facts.counters || slots > MAX_OSR_SLOTS as usize || self.open_handlers > 0 {
            return;
        }
        let field = self.count(loop_counter(DefinedFuncIndex(self.index)));
        let back = self.asm.position();
        let state = Some(if self.has_vectors {
            self.entries += slots;
            let locals = self.locals.iter().map(|l| (l.slot(), l.v().ty == Ty::V128));
            State::Spread(locals.chain(self.stack.iter().map(|e| (e.slot(), e.v().ty == Ty::V128))).collect())
        } else {
            State::Row(self.top)
        });
        // What the code behind the end needs to know of references is as it is here.
        self.cold.push(Cold { field, back, offset: self.offset, state });
        self.note_cold_references();
    }

    fn cold_code(&mut self) -> Result<(), Error> {
        let mut all = std::mem::take(&mut self.cold);
        for (i, cold) in all.drain(..).enumerate() {
            self.check_size()?;
            let here = self.asm.position();
            self.asm.bind(cold.field, here);
            self.offset = cold.offset;
            // At a function's entry all pins are in their slots, at a loop header in their registers.
            if cold.state.is_some() {
                self.at_label();
                self.save_pins();
            }
            self.asm.constant(RSI, self.index.into());
            self.restore_references(i);
            match &cold.state {
                None => {
                    self.call_builtin(Builtin::TierUp);
                    // No pin has been in its register yet.
                    self.after_call();
                }
                Some(state) => {
                    self.asm.constant(RDX, cold.offset.into());
                    self.call_builtin(Builtin::Osr);
                    self.asm.test(RAX);
                    let stay = self.asm.jump_if(condition::EQUAL);
                    self.replace(state);
                    let here = self.asm.position();
                    self.asm.bind(stay, here);
                    self.after_call();
                    self.validate_pins();
                }
            }
            let field = self.asm.jump();
            self.asm.bind(field, cold.back);
        }
        self.cold = all;
        self.check_size()
    }

    /// Leaves the state in the store's buffer and goes on in the code at `rax`.
    fn replace(&mut self, state: &State) {
        self.asm.load(RDI, Mem(RBP, -8));
        self.asm.load(R10, Mem(RDI, context::store as i32));
        self.asm.load(R10, Mem(R10, store_context::osr_buffer as i32));
        match state {
            State::Spread(slots) => {
                for (i, (from, wide)) in slots.iter().enumerate() {
                    let to = Mem(R10, osr_slot(i as u32) as i32);
                    if *wide {
                        self.asm.load_vector(XMM_SCRATCH, slot(*from, 0));
                        self.asm.store_vector(to, XMM_SCRATCH);
                    } else {
                        self.asm.load(R11, slot(*from, 0));
                        self.asm.store(to, R11);
                    }
                }
            }
            State::Row(0) => {}
            State::Row(end) => {
                self.asm.mov(RSI, RSP);
                self.asm.lea(RDX, slot(*end, 0));
                let again = self.asm.position();
                self.asm.load(R11, Mem(RSI, 0));
                self.asm.store(Mem(R10, 0), R11);
                self.asm.add(RSI, 8);
                self.asm.add(R10, osr_slot(1) as i32);
                self.asm.compare(RSI, RDX);
                let field = self.asm.jump_if(condition::BELOW);
                self.asm.bind(field, again);
            }
        }
        self.epilogue();
        if self.signature.result_bytes > 0 {
            self.asm.mov(RSI, RDI);
            self.asm.load(RDI, Mem(RBP, -16));
        }
        self.leave_for(0);
        self.asm.jump_to_register(RAX);
    }

    /// Leaves the frame for a callee with `bytes` of arguments on the stack, which are below the stack pointer's
    /// current place and are moved up. Changes `r10`, `r11` and the scratch vector register.
    pub(crate) fn leave_for(&mut self, bytes: u32) {
        let own = self.signature.argument_bytes;
        if own == 0 && bytes == 0 {
            return self.asm.leave();
        }
        let end = 16 + own as i32 - bytes as i32;
        self.asm.load(R10, Mem(RBP, 8));
        self.asm.load_float(XMM_SCRATCH, Mem(RBP, 0));
        // From the top down: the destination is above the source.
        for at in (0..bytes as i32).step_by(8).rev() {
            self.asm.load(R11, Mem(RSP, at));
            self.asm.store(Mem(RBP, end + at), R11);
        }
        self.asm.store(Mem(RBP, end - 8), R10);
        self.asm.lea(RSP, Mem(RBP, end - 8));
        self.asm.float_to_int(RBP, XMM_SCRATCH);
    }

    fn finish(&mut self, size: u32) {
        let spill = self.high.next_multiple_of(16);
        for field in &self.spills {
            let n = self.asm.read(*field).wrapping_add(spill);
            self.asm.patch(*field, n);
        }
        self.tables.stack_maps.iter_mut().for_each(|m| m.fp_to_sp = size);
        self.finish_handlers(size);
        if self.facts.tunables.native_unwind_info {
            let op = |offset, op| UnwindOp { offset, op };
            // rbp is 6 in DWARF.
            self.tables.unwind =
                vec![op(1, CfiOp::DefCfaOffset(16)), op(1, CfiOp::Offset(6, -16)), op(4, CfiOp::DefCfaRegister(6))];
        }
        self.tables.traps.sort_by_key(|t| t.offset);
        self.tables.stack_maps.sort_by_key(|m| m.offset);
        self.tables.handlers.sort_by_key(|h| h.offset);
        self.relocs.sort_by_key(|r| r.offset);
    }
}

fn saved_at(i: usize) -> i32 {
    -24 - 8 * i as i32
}
