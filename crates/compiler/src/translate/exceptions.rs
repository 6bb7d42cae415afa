//! Exceptions: scopes of handlers, calls inside them, throwing. Both kinds of operators (`try_table` and legacy `try`).
//!
//! A call for which this function has a handler is a `try_call`. Its exception table lists the handlers from the
//! innermost scope outwards, up to the first that catches everything; the runtime's unwinder tries them in order. A
//! handler begins at a *landing* block that gets the exception and loads its payload.

use std::collections::HashMap;

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, BlockArg, BlockCall, ExceptionTableData, ExceptionTableItem, Inst, InstBuilder, StackSlot, StackSlotData,
    StackSlotKind, Value,
};
use cranelift_frontend::FunctionBuilder;
use kiln_env::abi::SLOT_SIZE;
use kiln_env::layout::Place;
use kiln_env::types::ValType;
use kiln_env::{Builtin, TagIndex, TrapCode};
use smallvec::SmallVec;
use wasmparser::{BlockType, Catch, Operator, OperatorsReader, TryTable};

use super::control::{BlockSig, FrameKind};
use super::emitter::{Region, clif_type};
use super::func::FuncTranslator;
use super::ops;
use super::ops::call::{Callee, Target};
use crate::convert::exception_tag;
use crate::error::{CompileError, Result};

/// Handlers that a `throw` looks at in the time that an edge to one takes.
const STEPS_PER_EDGE: u64 = 64;

/// What a function under translation knows about handlers.
#[derive(Default)]
pub(super) struct Exceptions {
    /// Open scopes, outermost first.
    scopes: Vec<Scope>,
    /// Clauses of the legacy `try` operators by their offsets; found out at the first one.
    legacy: Option<HashMap<u64, LegacyTry>>,
    /// Where payloads of new exceptions are put together.
    payload: Option<StackSlot>,
    /// Frames of legacy `try` operators that have come to a handler, which has an exception.
    pub(super) open_handlers: u32,
    /// Handlers and scopes that calls have been led to or past, and throws by their time: each makes an edge, or takes time.
    pub(super) edges: u64,
    /// The last call that came past a handler of each tag.
    seen: HashMap<TagIndex, u64>,
    /// Calls with handlers, so far.
    calls: u64,
}

impl Exceptions {
    /// What is known about the legacy operators of one body, taken out before another body is begun.
    pub(super) fn take_legacy(&mut self) -> Legacy {
        Legacy(self.legacy.take())
    }

    /// Puts it back.
    pub(super) fn put_legacy(&mut self, legacy: Legacy) {
        self.legacy = legacy.0;
    }

    /// The number of scopes among the outermost `count` whose frames are not inside of the one at `frame`.
    fn outside(&self, count: usize, frame: usize) -> usize {
        self.scopes[..count].partition_point(|scope| scope.frame <= frame)
    }

    /// Looks for the handler of what is thrown here with this tag: its scope and its position there. Also how many handlers
    /// and scopes were looked at. `None` if there is none, or if two imported tags may be the same.
    fn find(&self, thrown: TagIndex, imported: impl Fn(TagIndex) -> bool) -> (Option<(usize, usize)>, u64) {
        let (mut at, mut steps) = (self.scopes.len(), 0);
        while at > 0 {
            at -= 1;
            steps += 1;
            let handlers = match &self.scopes[at].kind {
                ScopeKind::Delegate(frame) => {
                    at = self.outside(at, *frame);
                    continue;
                }
                ScopeKind::Handlers(handlers) => handlers,
            };
            for (i, handler) in handlers.iter().enumerate() {
                steps += 1;
                match handler.tag {
                    None => return (Some((at, i)), steps),
                    Some(tag) if tag == thrown => return (Some((at, i)), steps),
                    Some(tag) if imported(tag) && imported(thrown) => return (None, steps),
                    Some(_) => {}
                }
            }
        }
        (None, steps)
    }

    /// The scopes outside of a frame.
    pub(super) fn scopes_outside(&self, frame: usize) -> Outside {
        Outside(self.scopes.partition_point(|scope| scope.frame < frame))
    }
}

/// See [`Exceptions::take_legacy`].
pub(super) struct Legacy(Option<HashMap<u64, LegacyTry>>);

/// The number of scopes outside of a frame.
#[derive(Clone, Copy)]
pub(super) struct Outside(usize);

/// The reach of some handlers.
struct Scope {
    /// Position of its frame.
    frame: usize,
    kind: ScopeKind,
}

enum ScopeKind {
    /// The handlers, to be tried in order.
    Handlers(Vec<Handler>),
    /// `delegate`: what is thrown here counts as thrown in the frame at this position.
    Delegate(usize),
}

/// One handler.
pub(super) struct Handler {
    /// What it catches; `None` for everything.
    tag: Option<TagIndex>,
    /// Where it begins; made when the first call needs it.
    landing: Option<Block>,
    /// For `try_table`: position of the frame it branches to, and whether it passes the exception on.
    branch: Option<(usize, bool)>,
}

impl Handler {
    /// Where the handler begins, with the exception as a word.
    fn landing(&mut self, b: &mut FunctionBuilder<'_>) -> Block {
        *self.landing.get_or_insert_with(|| {
            let block = b.create_block();
            b.append_block_param(block, I64);
            b.set_cold_block(block);
            block
        })
    }
}

/// What follows the body of a legacy `try`.
enum LegacyTry {
    /// Handlers by tag.
    Catches(Vec<Option<TagIndex>>),
    /// `delegate` with this label.
    Delegate(u32),
}

/// Reads on from behind a legacy `try` to the end of the body, and notes what every `try` on the way ends with.
fn scan_legacy(mut reader: OperatorsReader<'_>, offset: u64) -> Result<HashMap<u64, LegacyTry>> {
    let mut found = HashMap::new();
    let mut open: Vec<Option<(u64, Vec<Option<TagIndex>>)>> = vec![Some((offset, Vec::new()))];
    while !reader.eof() {
        let (op, offset) = reader.read_with_offset()?;
        match op {
            Operator::Try { .. } => open.push(Some((offset, Vec::new()))),
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::TryTable { .. } => {
                open.push(None);
            }
            Operator::Catch { tag_index } => {
                if let Some(Some((_, clauses))) = open.last_mut() {
                    clauses.push(Some(TagIndex(tag_index)));
                }
            }
            Operator::CatchAll => {
                if let Some(Some((_, clauses))) = open.last_mut() {
                    clauses.push(None);
                }
            }
            Operator::Delegate { relative_depth } => {
                if let Some(Some((at, _))) = open.pop() {
                    found.insert(at, LegacyTry::Delegate(relative_depth));
                }
            }
            Operator::End => {
                if let Some(Some((at, clauses))) = open.pop() {
                    found.insert(at, LegacyTry::Catches(clauses));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Scopes.
impl<'m> FuncTranslator<'_, 'm> {
    pub(super) fn open_try_table(&mut self, table: &TryTable) -> Result<()> {
        let sig = BlockSig::new(self.e.env.module, table.ty)?;
        let handlers = table
            .catches
            .iter()
            .map(|catch| {
                let (tag, label, pass) = match *catch {
                    Catch::One { tag, label } => (Some(TagIndex(tag)), label, false),
                    Catch::OneRef { tag, label } => (Some(TagIndex(tag)), label, true),
                    Catch::All { label } => (None, label, false),
                    Catch::AllRef { label } => (None, label, true),
                };
                // Labels count from outside of the frame that is about to be opened.
                Handler { tag, landing: None, branch: Some((self.frame_at(label), pass)) }
            })
            .collect();
        self.open_scope(FrameKind::Block, sig, ScopeKind::Handlers(handlers));
        Ok(())
    }

    pub(super) fn open_try(&mut self, ty: BlockType, reader: &OperatorsReader<'_>, offset: u64) -> Result<()> {
        let sig = BlockSig::new(self.e.env.module, ty)?;
        if self.exceptions.legacy.is_none() {
            self.exceptions.legacy = Some(scan_legacy(reader.clone(), offset)?);
        }
        let known = self.exceptions.legacy.as_ref().and_then(|l| l.get(&offset));
        let kind = match known.ok_or_else(|| CompileError::internal("a try without an end"))? {
            LegacyTry::Catches(tags) => {
                ScopeKind::Handlers(tags.iter().map(|tag| Handler { tag: *tag, landing: None, branch: None }).collect())
            }
            LegacyTry::Delegate(label) => ScopeKind::Delegate(self.frame_at(*label)),
        };
        self.open_scope(FrameKind::Try { caught: None, next: Vec::new().into_iter() }, sig, kind);
        Ok(())
    }

    fn open_scope(&mut self, kind: FrameKind, sig: BlockSig<'m>, scope: ScopeKind) {
        let params = sig.params().len();
        self.push_frame(kind, sig, params);
        self.current_frame().has_scope = true;
        self.exceptions.scopes.push(Scope { frame: self.frames.len() - 1, kind: scope });
    }

    /// The next handler of a legacy `try` begins.
    pub(super) fn open_catch(&mut self) {
        self.leave_part();
        let frame = self.current_frame();
        if frame.has_scope {
            frame.has_scope = false;
            let scope = self.exceptions.scopes.pop().expect("its frame has one");
            if let (ScopeKind::Handlers(handlers), FrameKind::Try { next, .. }) =
                (scope.kind, &mut self.current_frame().kind)
            {
                *next = handlers.into_iter();
            }
        }
        self.end_block();
        let FrameKind::Try { next, .. } = &mut self.current_frame().kind else {
            unreachable!("validated: catch belongs to a try");
        };
        let handler = next.next().expect("found when the try was opened");
        // Without a landing nothing in the body could throw to this handler.
        let Some(landing) = handler.landing else { return };
        let (exception, payload) = self.land(landing, handler.tag);
        if let FrameKind::Try { caught, .. } = &mut self.current_frame().kind
            && caught.replace(exception).is_none()
        {
            self.exceptions.open_handlers += 1;
        }
        self.stack.extend(payload);
        self.refresh_operands();
        self.reachable = true;
    }

    /// Ends the scope of the current frame. Handlers of a `try_table` branch to their labels.
    pub(super) fn close_scope(&mut self) {
        let scope = self.exceptions.scopes.pop().expect("its frame has one");
        let ScopeKind::Handlers(handlers) = scope.kind else { return };
        if handlers.iter().all(|h| h.landing.is_none()) {
            return;
        }
        self.leave_part();
        self.reachable = false;
        for handler in handlers {
            let (Some(landing), Some((frame, pass))) = (handler.landing, handler.branch) else { continue };
            let (exception, mut values) = self.land(landing, handler.tag);
            if pass {
                values.push(exception);
            }
            let (label, _) = self.label(frame);
            let args: SmallVec<[BlockArg; 4]> = values.into_iter().map(BlockArg::Value).collect();
            self.e.b.ins().jump(label, &args);
        }
    }

    /// Goes on at the beginning of a handler: the exception and, if it has a tag, its payload.
    fn land(&mut self, landing: Block, tag: Option<TagIndex>) -> (Value, SmallVec<[Value; 4]>) {
        self.e.b.seal_block(landing);
        self.e.b.switch_to_block(landing);
        let word = self.e.b.block_params(landing)[0];
        let exception = self.e.b.ins().ireduce(I32, word);
        self.e.collected(exception);
        let mut payload = SmallVec::new();
        let Some(tag) = tag else { return (exception, payload) };
        let module = self.e.env.module;
        let types = &module.signature(module.tags[tag].ty).params;
        if !types.is_empty() {
            let slots = self.e.builtin_value(Builtin::ExceptionPayload, &[exception]);
            let flags = self.e.slot_flags(Region::Slots);
            for (i, ty) in types.iter().enumerate() {
                let value = self.e.b.ins().load(clif_type(*ty), flags, slots, i as i32 * SLOT_SIZE as i32);
                self.e.note_ref(value, *ty);
                payload.push(value);
            }
        }
        (exception, payload)
    }

    /// The exception table's items for a call at the current position, or outside of some scopes there; none if no
    /// handler of this function applies.
    fn handlers(&mut self, outside: Option<Outside>) -> Vec<ExceptionTableItem> {
        let mut items = Vec::new();
        self.exceptions.calls += 1;
        let this_call = self.exceptions.calls;
        let mut at = outside.map_or(self.exceptions.scopes.len(), |o| o.0);
        while at > 0 {
            at -= 1;
            match &mut self.exceptions.scopes[at].kind {
                ScopeKind::Delegate(frame) => {
                    let frame = *frame;
                    self.exceptions.edges += 1;
                    at = self.exceptions.outside(at, frame);
                }
                ScopeKind::Handlers(handlers) => {
                    for handler in handlers {
                        self.exceptions.edges += 1;
                        let seen = handler.tag.map(|tag| self.exceptions.seen.insert(tag, this_call));
                        if seen == Some(Some(this_call)) {
                            continue;
                        }
                        let b = &mut self.e.b;
                        let landing = handler.landing(b);
                        let call = BlockCall::new(landing, [BlockArg::TryCallExn(0)], &mut b.func.dfg.value_lists);
                        match handler.tag {
                            Some(tag) => items.push(ExceptionTableItem::Tag(exception_tag(tag), call)),
                            None => {
                                items.push(ExceptionTableItem::Default(call));
                                return items;
                            }
                        }
                    }
                }
            }
        }
        items
    }
}

/// Calls and throws.
impl FuncTranslator<'_, '_> {
    /// Calls a function and pushes its results. What it throws goes to this function's handlers, if they apply: those
    /// around the current position, or around it `outside` of some.
    pub(super) fn call_with_handlers(
        &mut self,
        callee: Callee,
        args: &[Value],
        results: &[ValType],
        outside: Option<Outside>,
    ) {
        let handlers = self.handlers(outside);
        let first = self.stack.len();
        if handlers.is_empty() {
            let call = self.e.call(callee, args);
            self.stack.extend_from_slice(self.e.b.inst_results(call));
        } else {
            let next = self.block_with_params(results);
            self.try_call(callee, args, results.len(), next, handlers);
            self.stack.extend_from_slice(self.e.b.block_params(next));
        }
        for (i, ty) in results.iter().enumerate() {
            let value = self.stack[first + i];
            self.e.note_ref(value, *ty);
        }
    }

    /// Emits a `try_call` that returns to `next`, and goes on there.
    fn try_call(
        &mut self,
        callee: Callee,
        args: &[Value],
        results: usize,
        next: Block,
        handlers: Vec<ExceptionTableItem>,
    ) -> Inst {
        self.e.flush_fuel();
        self.e.env.makes_calls = true;
        let b = &mut self.e.b;
        let mut all = SmallVec::<[Value; 16]>::new();
        all.push(callee.context);
        all.extend_from_slice(args);
        let signature = match callee.target {
            Target::Direct(func) => b.func.dfg.ext_funcs[func].signature,
            Target::Indirect(signature, _) => signature,
        };
        let normal = BlockCall::new(next, (0..results as u32).map(BlockArg::TryCallRet), &mut b.func.dfg.value_lists);
        // The unwinder resolves tags in the instance that this context belongs to.
        let items = std::iter::once(ExceptionTableItem::Context(self.e.env.vmctx)).chain(handlers);
        let table = b.func.dfg.exception_tables.push(ExceptionTableData::new(signature, normal, items));
        let call = match callee.target {
            Target::Direct(func) => b.ins().try_call(func, &all, table),
            Target::Indirect(_, code) => b.ins().try_call_indirect(code, &all, table),
        };
        b.seal_block(next);
        b.switch_to_block(next);
        call
    }

    pub(super) fn throw(&mut self, tag_index: u32) {
        let tag = TagIndex(tag_index);
        let module = self.e.env.module;
        let types = &module.signature(module.tags[tag].ty).params;
        let values = self.pop_n(types.len());
        let handler = self.local_handler(tag);
        if let Some((scope, handler)) = handler
            && let ScopeKind::Handlers(handlers) = &self.exceptions.scopes[scope].kind
            && let Handler { tag, branch: Some((frame, false)), .. } = handlers[handler]
        {
            // Nobody sees the exception itself: it is a branch.
            self.e.flush_fuel();
            let (label, _) = self.label(frame);
            let args: SmallVec<[BlockArg; 4]> = values.iter().map(|v| BlockArg::Value(*v)).collect();
            self.e.b.ins().jump(label, if tag.is_some() { &args[..] } else { &[] });
            return self.end_block();
        }
        let word = self.new_exception(tag, &values);
        if let Some((scope, handler)) = handler
            && let ScopeKind::Handlers(handlers) = &mut self.exceptions.scopes[scope].kind
        {
            let landing = handlers[handler].landing(&mut self.e.b);
            self.e.b.ins().jump(landing, &[word.into()]);
            return self.end_block();
        }
        let exception = self.e.b.ins().ireduce(I32, word);
        self.e.collected(exception);
        self.throw_exception(exception);
    }

    /// The handler in this function that catches exceptions with this tag: its scope and its position there. `None` if
    /// there is none, or if it takes the running instance to tell.
    fn local_handler(&mut self, thrown: TagIndex) -> Option<(usize, usize)> {
        let module = self.e.env.module;
        let (found, steps) = self.exceptions.find(thrown, |tag| module.defined_tag(tag).is_none());
        self.exceptions.edges += steps / STEPS_PER_EDGE;
        found
    }

    /// Allocates an exception; it comes as a word.
    fn new_exception(&mut self, tag: TagIndex, values: &[Value]) -> Value {
        let pointer = match self.e.env.layout.tag(tag) {
            Place::Inline(at) => {
                let at = self.e.i64(at.into());
                self.e.b.ins().iadd(self.e.env.vmctx, at)
            }
            Place::Indirect(at) => self.e.context_constant(I64, at),
        };
        let payload = if values.is_empty() {
            self.e.i64(0)
        } else {
            let slot = self.payload_slot(values.len() as u32 * SLOT_SIZE);
            let address = self.e.b.ins().stack_addr(I64, slot, 0);
            let flags = self.e.slot_flags(Region::Slots);
            for (i, value) in values.iter().enumerate() {
                self.e.b.ins().store(flags, *value, address, i as i32 * SLOT_SIZE as i32);
            }
            address
        };
        let len = self.e.i32(values.len() as u32);
        self.e.builtin_value(Builtin::NewException, &[pointer, payload, len])
    }

    /// A stack slot of at least `size` bytes, shared by all throws of the function.
    fn payload_slot(&mut self, size: u32) -> StackSlot {
        let func = &mut self.e.b.func;
        match self.exceptions.payload {
            Some(slot) => {
                let data = &mut func.sized_stack_slots[slot];
                data.size = data.size.max(size);
                slot
            }
            None => {
                let data = StackSlotData::new(StackSlotKind::ExplicitSlot, size, SLOT_SIZE.trailing_zeros() as u8);
                let slot = func.create_sized_stack_slot(data);
                self.exceptions.payload = Some(slot);
                slot
            }
        }
    }

    pub(super) fn throw_ref(&mut self) {
        let exception = self.pop();
        let null = ops::reference::is_null(&mut self.e, exception);
        self.e.trap_if(null, TrapCode::NullReference);
        self.throw_exception(exception);
    }

    pub(super) fn rethrow(&mut self, relative_depth: u32) -> Result<()> {
        let FrameKind::Try { caught: Some(exception), .. } = self.frames[self.frame_at(relative_depth)].kind else {
            return Err(CompileError::internal("rethrow outside of a handler"));
        };
        self.throw_exception(exception);
        Ok(())
    }

    fn throw_exception(&mut self, exception: Value) {
        let callee = self.e.builtin_callee(Builtin::ThrowRef);
        self.call_with_handlers(callee, &[exception], &[], None);
        self.e.b.ins().trap(crate::codegen::trap_code(TrapCode::Unreachable));
        self.end_block();
    }
}
