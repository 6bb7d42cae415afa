//! Handlers for exceptions, and throwing. Both kinds of operators.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kiln_env::abi::SLOT_SIZE;
use kiln_env::layout::Place as At;
use kiln_env::machine::{Handler, HandlerSite};
use kiln_env::stencil::Ty;
use kiln_env::{Builtin, Op, TagIndex, TrapCode};

use crate::Error;
use crate::abi::V;
use crate::asm::Mem;
use crate::asm::reg::*;
use crate::control::Kind;
use crate::entry::Entry;
use crate::library::NO_VALUES;
use crate::read::{Reader, Sig};
use crate::state::{Func, slot};

/// Handlers that a call can reach, innermost first: the tag that each catches, all if there is none, and its number.
type Reached = Vec<(Option<TagIndex>, usize)>;

/// What a function knows about handlers.
#[derive(Default)]
pub(crate) struct Exceptions {
    /// Open scopes, outermost first.
    scopes: Vec<Scope>,
    /// Where each handler begins, once that is known, and whether any call can reach it.
    landings: Vec<Landing>,
    /// Calls in the reach of handlers, with the positions of their lists.
    sites: Vec<(u32, usize)>,
    /// Lists of handlers, by numbers of these. Calls directly inside of the same scope share one.
    lists: Vec<Reached>,
    /// What legacy `try` operators end with, by their offsets; found out at the first one.
    legacy: Option<HashMap<usize, Legacy>>,
    /// Handlers still to come of legacy `try` operators whose bodies have ended, last first, by the depth of the frame.
    pending: Vec<(usize, Vec<Clause>)>,
}

#[derive(Clone, Copy)]
struct Landing {
    at: u32,
    used: bool,
}

struct Scope {
    /// Position of its frame.
    frame: usize,
    handlers: Handlers,
    /// The list of handlers for calls directly inside, once there was one.
    list: Option<usize>,
}

enum Handlers {
    /// To be tried in order.
    These(Vec<Clause>),
    /// What is thrown here counts as thrown in the frame at this position.
    Delegate(usize),
}

#[derive(Clone, Copy)]
struct Clause {
    tag: Option<TagIndex>,
    /// Its number among all of the function.
    number: usize,
    /// For `try_table`: position of the frame it branches to, and whether it passes the exception on.
    branch: Option<(usize, bool)>,
}

enum Legacy {
    Catches(Vec<Option<TagIndex>>),
    Delegate(u32),
}

/// Reads on from behind a legacy `try` to the end of the body, and notes what every `try` on the way ends with.
fn scan(mut reader: Reader<'_>, at: usize) -> HashMap<usize, Legacy> {
    let mut found = HashMap::new();
    let mut open: Vec<Option<(usize, Vec<Option<TagIndex>>)>> = vec![Some((at, Vec::new()))];
    while !reader.is_at_end() {
        let at = reader.at;
        let op = reader.op();
        match op {
            Op::Try => open.push(Some((at, Vec::new()))),
            Op::Block | Op::Loop | Op::If | Op::TryTable => open.push(None),
            Op::Catch => {
                let tag = TagIndex(reader.u32());
                if let Some(Some((_, clauses))) = open.last_mut() {
                    clauses.push(Some(tag));
                }
                continue;
            }
            Op::CatchAll => {
                if let Some(Some((_, clauses))) = open.last_mut() {
                    clauses.push(None);
                }
            }
            Op::Delegate => {
                let depth = reader.u32();
                if let Some(Some((at, _))) = open.pop() {
                    found.insert(at, Legacy::Delegate(depth));
                }
                continue;
            }
            Op::End => {
                if let Some(Some((at, clauses))) = open.pop() {
                    found.insert(at, Legacy::Catches(clauses));
                }
            }
            _ => {}
        }
        reader.skip(op);
    }
    found
}

/// Scopes.
impl Func<'_> {
    fn number(&mut self) -> usize {
        self.exceptions.landings.push(Landing { at: u32::MAX, used: false });
        self.exceptions.landings.len() - 1
    }

    pub(crate) fn open_try_table(&mut self, reader: &mut Reader<'_>) {
        self.flush_all();
        let sig = reader.block_type();
        let mut clauses = Vec::new();
        for _ in 0..reader.u32() {
            let kind = reader.byte();
            let tag = (kind < 2).then(|| TagIndex(reader.u32()));
            let frame = self.frame_at(reader.u32());
            let number = self.number();
            clauses.push(Clause { tag, number, branch: Some((frame, kind & 1 != 0)) });
        }
        self.open_scope(Kind::Block, sig, Handlers::These(clauses));
    }

    /// Legacy `try` at `at`.
    pub(crate) fn open_try(&mut self, reader: &mut Reader<'_>, at: usize) {
        self.flush_all();
        let sig = reader.block_type();
        if self.exceptions.legacy.is_none() {
            self.exceptions.legacy = Some(scan(*reader, at));
        }
        let handlers = match self.exceptions.legacy.as_ref().and_then(|l| l.get(&at)) {
            Some(Legacy::Delegate(depth)) => Handlers::Delegate(self.frame_at(*depth)),
            Some(Legacy::Catches(tags)) => {
                let tags = tags.clone();
                let clause = |tag| Clause { tag, number: self.number(), branch: None };
                Handlers::These(tags.into_iter().map(clause).collect())
            }
            None => Handlers::These(Vec::new()),
        };
        self.open_scope(Kind::Try, sig, handlers);
    }

    fn open_scope(&mut self, kind: Kind, sig: Sig, handlers: Handlers) {
        self.open(kind, sig);
        if let Some(frame) = self.frames.last_mut() {
            frame.has_scope = true;
        }
        self.exceptions.scopes.push(Scope { frame: self.frames.len() - 1, handlers, list: None });
    }

    /// The next handler of a legacy `try` begins: `tag` as its operator says.
    pub(crate) fn open_catch(&mut self, tag: Option<TagIndex>) -> Result<(), Error> {
        self.leave_part();
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        if frame.has_scope {
            frame.has_scope = false;
            if let Some(Scope { handlers: Handlers::These(clauses), .. }) = self.exceptions.scopes.pop() {
                frame_clauses(&mut self.exceptions, clauses, self.frames.len());
            }
        }
        let height = self.frames.last().map_or(0, |f| f.height);
        self.truncate(height);
        let number = next_clause(&mut self.exceptions, self.frames.len());
        let here = self.asm.position();
        self.exceptions.landings[number].at = here;
        self.reachable = true;
        self.at_landing();
        // The exception stays below the payload, for `rethrow`.
        self.push_slot(V::GC);
        let exception = self.stack[self.stack.len() - 1].slot();
        self.asm.store(slot(exception, 0), RAX);
        if let Some(frame) = self.frames.last_mut() {
            self.open_handlers += u32::from(frame.caught.replace(exception).is_none());
        }
        if let Some(tag) = tag {
            let types = self.tag_types(tag);
            let to = self.top;
            self.payload(&types, exception, to);
            types.iter().for_each(|v| self.push_slot(*v));
        }
        Ok(())
    }

    /// Registers at the beginning of a handler: the exception is in `rax`.
    fn at_landing(&mut self) {
        self.asm.load(RDI, Mem(RBP, -8));
        self.pins.forget();
        self.memory_valid = false;
        self.in_temp = [None; 2];
    }

    fn tag_types(&self, tag: TagIndex) -> Vec<V> {
        let module = self.facts.module;
        module.signature(module.tags[tag].ty).params.iter().map(|t| V::from(*t)).collect()
    }

    /// Loads the payload of the exception in a slot to slots from `to` on.
    fn payload(&mut self, types: &[V], exception: u32, to: u32) {
        let end = to + types.iter().map(|v| v.size()).sum::<u32>();
        self.high = self.high.max(end);
        if types.is_empty() {
            return;
        }
        self.asm.load32(RSI, slot(exception, 0));
        self.call_builtin(Builtin::ExceptionPayload);
        let mut to = to;
        for (i, v) in types.iter().enumerate() {
            let from = Mem(RAX, i as i32 * SLOT_SIZE as i32);
            if v.ty == Ty::V128 {
                self.asm.load_vector(XMM_SCRATCH, from);
                self.asm.store_vector(slot(to, 0), XMM_SCRATCH);
            } else {
                self.asm.load(R11, from);
                self.asm.store(slot(to, 0), R11);
            }
            to += v.size();
        }
        self.after_call();
    }

    /// Ends the scope of the current frame. Handlers of a `try_table` branch to their labels.
    pub(crate) fn close_scope(&mut self) -> Result<(), Error> {
        let Some(Scope { handlers: Handlers::These(clauses), .. }) = self.exceptions.scopes.pop() else {
            return Ok(());
        };
        let landings = &self.exceptions.landings;
        let used = |c: &Clause| c.branch.is_some() && landings[c.number].used;
        let clauses: Vec<Clause> = clauses.into_iter().filter(used).collect();
        if clauses.is_empty() {
            return Ok(());
        }
        self.leave_part();
        let height = self.frames.last().map_or(0, |f| f.height);
        self.truncate(height);
        self.reachable = false;
        for clause in clauses {
            let Some((frame, pass)) = clause.branch else { continue };
            let here = self.asm.position();
            self.exceptions.landings[clause.number].at = here;
            self.at_landing();
            let base = self.frames[frame].base;
            let types = clause.tag.map(|tag| self.tag_types(tag)).unwrap_or_default();
            // The exception waits behind everything that is live here and behind the label's values.
            let end = base + types.iter().map(|v| v.size()).sum::<u32>();
            self.high = self.high.max(end.max(self.top) + 8);
            let exception = Entry::in_slot(V::GC, end.max(self.top));
            self.asm.store(slot(exception.slot(), 0), RAX);
            // A collection must see it.
            let top = self.top;
            self.stack.push(exception);
            self.gc_operands += 1;
            self.payload(&types, exception.slot(), base);
            self.stack.pop();
            self.gc_operands -= 1;
            self.top = top;
            if pass {
                self.copy(V::GC, exception.slot(), end, 0);
            }
            self.validate_pins();
            let field = self.asm.jump();
            self.lead(field, frame);
        }
        Ok(())
    }

    /// Notes the handlers of this function for the call that was just made.
    pub(crate) fn note_handlers(&mut self) {
        let Some(scope) = self.exceptions.scopes.last() else { return };
        let list = scope.list.unwrap_or_else(|| self.make_list());
        if !self.exceptions.lists[list].is_empty() {
            self.exceptions.sites.push((self.asm.position(), list));
        }
    }

    /// Makes the list of handlers for calls directly inside of the innermost scope.
    fn make_list(&mut self) -> usize {
        let Exceptions { scopes, landings, lists, .. } = &mut self.exceptions;
        let mut items = Reached::new();
        let mut tags = HashSet::new();
        let mut at = scopes.len();
        'scopes: while at > 0 {
            at -= 1;
            self.entries += 1;
            match &scopes[at].handlers {
                Handlers::Delegate(frame) => at = scopes[..at].partition_point(|scope| scope.frame <= *frame),
                Handlers::These(clauses) => {
                    self.entries += clauses.len();
                    for clause in clauses {
                        if clause.tag.is_some_and(|tag| !tags.insert(tag)) {
                            continue;
                        }
                        items.push((clause.tag, clause.number));
                        landings[clause.number].used = true;
                        if clause.tag.is_none() {
                            break 'scopes;
                        }
                    }
                }
            }
        }
        lists.push(items);
        let list = lists.len() - 1;
        if let Some(scope) = scopes.last_mut() {
            scope.list = Some(list);
        }
        list
    }

    /// The exception table.
    pub(crate) fn finish_handlers(&mut self, size: u32) {
        let Exceptions { sites, lists, landings, .. } = std::mem::take(&mut self.exceptions);
        let handler = |(tag, n): (Option<TagIndex>, usize)| Handler { tag, target: landings[n].at };
        let finished = |items: Reached| items.into_iter().map(handler).filter(|h| h.target != u32::MAX).collect();
        let lists: Vec<Arc<[Handler]>> = lists.into_iter().map(finished).collect();
        for (offset, list) in sites {
            let handlers = lists[list].clone();
            self.tables.handlers.push(HandlerSite { offset, fp_to_sp: size, context_slot: Some(size - 8), handlers });
        }
    }
}

/// The body of the legacy `try` at this depth has ended: its handlers follow.
fn frame_clauses(e: &mut Exceptions, clauses: Vec<Clause>, depth: usize) {
    drop_pending(e, depth);
    e.pending.push((depth, clauses.into_iter().rev().collect()));
}

/// The number of the handler that begins.
fn next_clause(e: &mut Exceptions, depth: usize) -> usize {
    drop_pending(e, depth + 1);
    let clauses = e.pending.last_mut().filter(|(d, _)| *d == depth);
    clauses.and_then(|(_, c)| c.pop()).map_or(0, |c| c.number)
}

/// Frames at this depth and deeper have ended. Those that are left ascend.
fn drop_pending(e: &mut Exceptions, depth: usize) {
    while e.pending.last().is_some_and(|(d, _)| *d >= depth) {
        e.pending.pop();
    }
}

/// Throwing.
impl Func<'_> {
    pub(crate) fn throw(&mut self, tag: TagIndex) {
        self.flush_fuel();
        self.flush_all();
        self.save_pins();
        let types = self.tag_types(tag);
        let from = self.stack.len() - types.len();
        let entries: Vec<Entry> = self.stack[from..].to_vec();
        self.truncate(from);
        let bytes = types.len() as u32 * SLOT_SIZE;
        self.asm.add(RSP, -(bytes as i32));
        for (i, entry) in entries.iter().enumerate() {
            let to = Mem(RSP, i as i32 * SLOT_SIZE as i32);
            if entry.v().ty == Ty::V128 {
                self.asm.load_vector(XMM_SCRATCH, slot(entry.slot(), bytes));
                self.asm.store_vector(to, XMM_SCRATCH);
            } else {
                self.asm.load(R11, slot(entry.slot(), bytes));
                self.asm.store(to, R11);
            }
        }
        match self.facts.layout.tag(tag) {
            At::Inline(at) => self.asm.lea(RSI, Mem(RDI, at as i32)),
            At::Indirect(at) => self.asm.load(RSI, Mem(RDI, at as i32)),
        }
        self.asm.mov(RDX, RSP);
        self.asm.constant(RCX, types.len() as i64);
        self.call_builtin(Builtin::NewException);
        self.asm.add(RSP, bytes as i32);
        self.asm.mov(RSI, RAX);
        self.throw_exception();
    }

    pub(crate) fn throw_ref(&mut self) -> Result<(), Error> {
        // The operator traps on null as `ref.as_non_null` does.
        self.operator(Op::RefAsNonNull, 1, &mut NO_VALUES.clone())?;
        self.flush_fuel();
        let entry = self.pop();
        self.load_entry(RSI, &entry, 0);
        for i in self.flushed..self.stack.len() {
            self.flush(i);
        }
        self.save_pins();
        self.throw_exception();
        Ok(())
    }

    pub(crate) fn rethrow(&mut self, depth: u32) {
        self.flush_fuel();
        self.flush_all();
        self.save_pins();
        let caught = self.frames[self.frame_at(depth)].caught.unwrap_or(0);
        self.asm.load32(RSI, slot(caught, 0));
        self.throw_exception();
    }

    /// Throws the exception in `esi`.
    fn throw_exception(&mut self) {
        self.asm.load(RDI, Mem(RBP, -8));
        self.call_builtin(Builtin::ThrowRef);
        self.note_handlers();
        self.trap(TrapCode::Unreachable);
    }
}
