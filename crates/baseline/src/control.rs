//! Control frames, branches and returns.

use kiln_env::Op;
use kiln_env::stencil::{self, Ty};

use crate::Error;
use crate::abi::{Loc, V};
use crate::asm::Mem;
use crate::asm::reg::*;
use crate::entry::Entry;
use crate::read::{Reader, Sig};
use crate::state::{Func, slot};

/// What opened a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Function,
    Block,
    Loop,
    If,
    Try,
}

/// Operands at the top of the stack that may wait to be stored when a local is set.
const MAX_PENDING: usize = 64;

/// No position.
pub(crate) const NONE: u32 = u32::MAX;

/// An open frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) sig: Sig,
    /// Operands below its parameters, and where the slots of those end.
    pub(crate) height: usize,
    pub(crate) base: u32,
    /// A loop's header.
    header: u32,
    /// The newest displacement that is to lead to the label; each holds the one before it.
    chain: u32,
    /// The displacement that is to lead to `else`.
    otherwise: u32,
    /// Whether it has a scope of handlers.
    pub(crate) has_scope: bool,
    /// In a legacy handler: the slot of the exception that it caught.
    pub(crate) caught: Option<u32>,
}

impl Func<'_> {
    pub(crate) fn open(&mut self, kind: Kind, sig: Sig) {
        let params = if kind == Kind::Function { 0 } else { sig.params(self.facts.module).len() };
        let height = self.stack.len() - params;
        let base = self.stack.get(height).map_or(self.top, |e| e.slot());
        self.frames.push(Frame {
            kind,
            sig,
            height,
            base,
            header: NONE,
            chain: NONE,
            otherwise: NONE,
            has_scope: false,
            caught: None,
        });
    }

    pub(crate) fn frame_at(&self, depth: u32) -> usize {
        self.frames.len() - 1 - depth as usize
    }

    /// The number of values that a branch to a frame carries.
    pub(crate) fn arity(&self, frame: usize) -> usize {
        let frame = &self.frames[frame];
        match frame.kind {
            Kind::Loop => frame.sig.params(self.facts.module).len(),
            _ => frame.sig.results(self.facts.module).len(),
        }
    }

    /// Makes a displacement lead to a frame's label.
    pub(crate) fn lead(&mut self, field: u32, frame: usize) {
        let f = &mut self.frames[frame];
        if f.kind == Kind::Loop {
            let header = f.header;
            self.asm.bind(field, header);
        } else {
            let last = std::mem::replace(&mut f.chain, field);
            self.asm.patch(field, last);
        }
    }

    fn bind_chain(&mut self, mut field: u32) {
        let here = self.asm.position();
        while field != NONE {
            let last = self.asm.read(field);
            self.asm.bind(field, here);
            field = last;
        }
    }

    /// Whether the topmost `n` operands are in slots but not where a frame's label wants them.
    fn misplaced(&self, frame: usize, n: usize) -> bool {
        n > 0 && self.stack[self.stack.len() - n].slot() != self.frames[frame].base
    }

    /// Moves the topmost `n` operands, which are in their slots, to where a frame's label wants them.
    fn place(&mut self, frame: usize, n: usize) {
        let mut to = self.frames[frame].base;
        for i in self.stack.len() - n..self.stack.len() {
            let entry = self.stack[i];
            self.copy(entry.v(), entry.slot(), to, 0);
            to += entry.v().size();
        }
    }

    /// Nothing falls through from here: skips to what ends the frame's part.
    pub(crate) fn unreachable(&mut self, reader: &mut Reader<'_>) {
        self.truncate(self.frames.last().map_or(0, |f| f.height));
        self.fuel = 0;
        let mut depth = 0;
        loop {
            let at = reader.at;
            let op = reader.op();
            match op {
                Op::Block | Op::Loop | Op::If | Op::Try | Op::TryTable => depth += 1,
                Op::End | Op::Delegate if depth > 0 => depth -= 1,
                Op::Else | Op::Catch | Op::CatchAll if depth > 0 => {}
                Op::Else | Op::Catch | Op::CatchAll | Op::End | Op::Delegate => {
                    reader.at = at;
                    self.reachable = false;
                    return;
                }
                _ => {}
            }
            reader.skip(op);
        }
    }

    pub(crate) fn open_block(&mut self, sig: Sig) {
        self.flush_all();
        self.open(Kind::Block, sig);
    }

    pub(crate) fn open_loop(&mut self, sig: Sig) -> Result<(), Error> {
        self.flush_fuel();
        self.flush_all();
        self.validate_pins();
        self.open(Kind::Loop, sig);
        let here = self.asm.position();
        if let Some(frame) = self.frames.last_mut() {
            frame.header = here;
        }
        self.at_label();
        self.count_loop();
        self.check_interrupts()
    }

    /// `if`, with a comparison that jumps where the condition is false; its operands are on the stack.
    pub(crate) fn open_if(&mut self, sig: Sig, op: Op, variant: u8, branch: u8) -> Result<(), Error> {
        let count = self.variant(op, variant)?.count();
        let rest = self.stack.len() - count;
        for i in self.flushed..rest {
            self.flush(i);
        }
        self.validate_pins();
        let field = self.branch(op, variant, branch)?;
        self.flushed = self.stack.len();
        self.open(Kind::If, sig);
        if let Some(frame) = self.frames.last_mut() {
            frame.otherwise = field;
        }
        Ok(())
    }

    pub(crate) fn otherwise(&mut self) {
        self.leave_part();
        let Some(frame) = self.frames.last_mut() else { return };
        let field = std::mem::replace(&mut frame.otherwise, NONE);
        frame.kind = Kind::Block;
        let (height, sig) = (frame.height, frame.sig);
        self.truncate(height);
        let here = self.asm.position();
        self.asm.bind(field, here);
        for v in sig.params(self.facts.module) {
            self.push_slot(v);
        }
        self.at_label();
        self.reachable = true;
    }

    /// From the end of one part of the current frame to the end of the frame.
    pub(crate) fn leave_part(&mut self) {
        if self.reachable {
            self.br(self.frames.len() - 1);
        }
    }

    pub(crate) fn end(&mut self) -> Result<(), Error> {
        if self.frames.last().is_some_and(|f| f.has_scope) {
            self.close_scope()?;
        }
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        self.open_handlers -= u32::from(frame.caught.is_some());
        if frame.kind == Kind::Loop {
            return Ok(());
        }
        let joins = frame.chain != NONE || frame.otherwise != NONE;
        let results = frame.sig.results(self.facts.module);
        let aligned = self.stack.len() == frame.height + results.len();
        if self.reachable && !joins && aligned {
            // Nobody else comes here: what falls through stays as it is.
            if frame.kind == Kind::Function {
                self.return_();
            }
            return Ok(());
        }
        if self.reachable {
            self.flush_fuel();
            let n = results.len();
            self.flush_from(self.stack.len() - n);
            let from = self.stack.len() - n;
            if n > 0 && self.stack[from].slot() != frame.base {
                let mut to = frame.base;
                for i in from..self.stack.len() {
                    let entry = self.stack[i];
                    self.copy(entry.v(), entry.slot(), to, 0);
                    to += entry.v().size();
                }
            }
            self.validate_pins();
        } else if !joins {
            self.truncate(frame.height);
            return Ok(());
        }
        self.truncate(frame.height);
        self.bind_chain(frame.chain);
        if frame.otherwise != NONE {
            let here = self.asm.position();
            self.asm.bind(frame.otherwise, here);
        }
        for v in results {
            self.push_slot(v);
        }
        self.at_label();
        self.reachable = true;
        if frame.kind == Kind::Function {
            self.return_();
        }
        Ok(())
    }

    /// A jump to a label. The topmost operands are its values.
    pub(crate) fn br(&mut self, frame: usize) {
        self.flush_fuel();
        if frame == 0 {
            return self.return_();
        }
        let n = self.arity(frame);
        self.flush_from(self.stack.len() - n);
        if self.misplaced(frame, n) {
            self.place(frame, n);
        }
        self.validate_pins();
        let field = self.asm.jump();
        self.lead(field, frame);
    }

    /// A branch by a comparison (as in [`Func::branch`]) whose operands are on top of the label's values.
    pub(crate) fn br_if(&mut self, frame: usize, op: Op, variant: u8, branch: u8) -> Result<(), Error> {
        let count = self.variant(op, variant)?.count();
        let n = self.arity(frame);
        let rest = self.stack.len() - count;
        for i in rest - n..rest {
            self.flush(i);
        }
        self.validate_pins();
        let misplaced = n > 0 && self.stack[rest - n].slot() != self.frames[frame].base;
        if !misplaced {
            let field = self.branch(op, variant, branch)?;
            self.lead(field, frame);
            return Ok(());
        }
        let inverse = if branch == stencil::IF_TRUE { stencil::IF_FALSE } else { stencil::IF_TRUE };
        let over = self.branch(op, variant, inverse)?;
        self.place(frame, n);
        let field = self.asm.jump();
        self.lead(field, frame);
        let here = self.asm.position();
        self.asm.bind(over, here);
        Ok(())
    }

    pub(crate) fn br_table(&mut self, reader: &mut Reader<'_>) {
        let count = reader.u32();
        let index = self.pop();
        let labels: Vec<usize> = (0..=count).map(|_| reader.u32()).map(|depth| self.frame_at(depth)).collect();
        let n = self.arity(labels[count as usize]);
        let from = self.stack.len() - n;
        // What is in the temporary must survive, the index too.
        self.load_entry(R10, &index, 0);
        for i in from..self.stack.len() {
            self.flush(i);
        }
        self.validate_pins();
        self.flush_fuel_keeping(R10);
        // Entries behind the end are the default: no branch to be mispredicted, no load out of bounds.
        self.asm.constant(R11, count.into());
        self.asm.compare32(R10, R11);
        self.asm.move_if_not_below32(R10, R11);
        self.asm.jump_by_table();
        let table = self.asm.position();
        labels.iter().for_each(|_| self.asm.u32(0));
        let mut made: Vec<(usize, u32)> = Vec::new();
        for (i, frame) in labels.iter().enumerate() {
            let target = match made.binary_search_by_key(frame, |(f, _)| *f) {
                Ok(found) => made[found].1,
                Err(at) => {
                    let target = self.asm.position();
                    self.br(*frame);
                    made.insert(at, (*frame, target));
                    target
                }
            };
            self.asm.patch(table + 4 * i as u32, target.wrapping_sub(table));
        }
    }

    fn flush_fuel_keeping(&mut self, register: u8) {
        if self.fuel > 0 {
            self.asm.store(slot(self.top, 0), register);
            self.high = self.high.max(self.top + 8);
            self.flush_fuel();
            self.asm.load(register, slot(self.top, 0));
        }
    }

    /// Returns the topmost operands.
    pub(crate) fn return_(&mut self) {
        self.flush_fuel();
        let results = std::mem::take(&mut self.signature.results);
        let from = self.stack.len() - results.len();
        if let [(_, loc)] = results[..] {
            let entry = self.stack[from];
            match loc {
                Loc::Int(to) | Loc::Float(to) => self.load_entry(to, &entry, 0),
                Loc::Stack(_) => unreachable!("one result fits in a register"),
            }
        } else if !results.is_empty() {
            self.flush_from(from);
            self.load_results(&results, from);
        }
        self.signature.results = results;
        self.epilogue();
        let bytes = self.signature.argument_bytes;
        self.asm.leave();
        self.asm.ret(bytes);
    }

    fn load_results(&mut self, results: &[(V, Loc)], from: usize) {
        let entries: Vec<Entry> = self.stack[from..].to_vec();
        if self.signature.result_bytes > 0 {
            self.asm.load(R11, Mem(RBP, -16));
            for ((v, loc), entry) in results.iter().zip(&entries) {
                let Loc::Stack(at) = loc else { continue };
                let to = Mem(R11, *at as i32);
                if v.ty == Ty::V128 {
                    self.asm.load_vector(XMM_SCRATCH, slot(entry.slot(), 0));
                    self.asm.store_vector(to, XMM_SCRATCH);
                } else {
                    self.asm.load(RAX, slot(entry.slot(), 0));
                    self.asm.store(to, RAX);
                }
            }
        }
        for ((v, loc), entry) in results.iter().zip(&entries) {
            if let Loc::Int(to) | Loc::Float(to) = loc {
                self.load_slot(*to, *v, entry.slot(), 0);
            }
        }
    }

    /// Sets a local to the topmost operand, which `tee` leaves there.
    pub(crate) fn set_local(&mut self, index: u32, tee: bool) {
        let entry = self.pop();
        let local = self.locals[index as usize];
        if entry.is_local(index) {
            if tee {
                self.push_alias(local);
            }
            return;
        }
        if self.aliases > 0 {
            // So that a long stack is not looked through again and again.
            self.flush_to(self.stack.len().saturating_sub(MAX_PENDING));
            for i in self.flushed..self.stack.len() {
                if self.stack[i].is_local(index) {
                    // The operand that is about to be stored may be in a temporary: only scratch registers change.
                    self.flush(i);
                }
            }
        }
        let class = entry.class();
        if self.homes[class] == Some(index) {
            self.homes[class] = None;
        }
        match local.pin() {
            None => {
                self.store_to(&entry, local.slot());
                if entry.is_temp() {
                    self.in_temp[class] = Some((index, self.asm.position()));
                    if tee {
                        self.push_temp(entry.v());
                        self.homes[class] = Some(index);
                        return;
                    }
                }
            }
            Some(pin) => {
                self.load_entry(self.pin(pin).register, &entry, 0);
                self.set_pin(pin);
            }
        }
        if tee {
            self.push_alias(local);
        }
    }
}
