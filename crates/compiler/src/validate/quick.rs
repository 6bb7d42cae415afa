//! A validator for what most functions consist of, several times as fast as the one that knows everything.
//!
//! It either is sure that a body is valid or leaves the judgement to `wasmparser`: it never says that a body is invalid,
//! and never gives a message. It knows the operators on numbers, locals, globals, the first memory (32-bit), blocks,
//! branches, calls and exceptions, and the types that these operators have without subtyping. Whatever else it meets
//! (another proposal, an unusual encoding, a mistake) makes it give up on that body.
//!
//! Limits on counts are part of what is valid: `wasmparser` has one on whatever a body has lists of, and what is known here
//! keeps the same (`tests/it/validators.rs` goes through all of them).
//!
//! Builds with debug assertions, those for tests and for fuzzing, let `wasmparser` confirm all that it accepts.

use kiln_env::opcode::{Class, Immediates, Lead, OperandType, Prefix, Signature};
use kiln_env::types::{RefType, ValType, binary};
use kiln_env::{Module, Op, limits};

use super::Facts;
use crate::features::Features;
use crate::info::flag;

/// Types as codes. What is not here is left to `wasmparser`.
const I32: u8 = 1;
const I64: u8 = 2;
const F32: u8 = 3;
const F64: u8 = 4;
const V128: u8 = 5;
const FUNC: u8 = 6;
const EXTERN: u8 = 7;
const EXN: u8 = 8;
/// An operand in unreachable code: of any type.
const ANY: u8 = 0;

/// Added to the type of a global that may be changed.
const MUTABLE: u8 = 1 << 7;

/// Most targets of a `br_table` that are looked at here.
const MAX_TARGETS: u32 = 10_000;

/// Types in the arena.
#[derive(Clone, Copy, Default, PartialEq)]
struct Span {
    start: u32,
    len: u32,
}

/// What has to be known about a module; the same for all threads.
pub(super) struct QuickModule {
    /// Type codes, to which spans refer. Begins with one of each code, from 1.
    types: Vec<u8>,
    /// Parameters and results of each function type; `None` for other types and where a type has no code.
    sigs: Vec<Option<(Span, Span)>>,
    /// The type of each function.
    funcs: Vec<u32>,
    /// Type codes of globals, with [`MUTABLE`]; 0 if the type has none.
    globals: Vec<u8>,
    /// Whether the first memory has 32-bit indices.
    memory32: bool,
    /// Whether functions may use operators with results of 128 bits.
    wide_arithmetic: bool,
    /// Parameters of each tag; `None` where a type has no code.
    tags: Vec<Option<Span>>,
    /// For each table, whether it is one of functions with 32-bit indices.
    tables: Vec<bool>,
}

fn code_of(ty: ValType) -> Option<u8> {
    Some(match ty {
        ValType::I32 => I32,
        ValType::I64 => I64,
        ValType::F32 => F32,
        ValType::F64 => F64,
        ValType::V128 => V128,
        ValType::Ref(RefType::FUNCREF) => FUNC,
        ValType::Ref(RefType::EXTERNREF) => EXTERN,
        ValType::EXNREF => EXN,
        ValType::Ref(_) => return None,
    })
}

/// The code of a type as it is encoded.
fn decode_type(byte: u8) -> Option<u8> {
    Some(match byte {
        binary::I32 => I32,
        binary::I64 => I64,
        binary::F32 => F32,
        binary::F64 => F64,
        binary::V128 => V128,
        binary::FUNCREF => FUNC,
        binary::EXTERNREF => EXTERN,
        binary::EXNREF => EXN,
        _ => return None,
    })
}

/// Whether all proposals are on whose operators and types are known here.
fn are_known(features: &Features) -> bool {
    features.saturating_float_to_int
        && features.sign_extension
        && features.multi_value
        && features.reference_types
        && features.bulk_memory
        && features.simd
        && features.tail_call
        && features.exceptions
}

impl QuickModule {
    /// `None` if proposals are switched off that functions would then have to be searched for.
    pub(super) fn new(module: &Module, features: &Features) -> Option<QuickModule> {
        if !are_known(features) {
            return None;
        }
        let mut types = vec![I32, I64, F32, F64, V128, FUNC, EXTERN, EXN];
        let mut add = |list: &[ValType]| {
            let start = types.len();
            for ty in list {
                types.push(code_of(*ty)?);
            }
            Some(Span { start: start as u32, len: list.len() as u32 })
        };
        let mut sigs: Vec<Option<(Span, Span)>> = Vec::with_capacity(module.types.len());
        for ty in module.types.values() {
            sigs.push(ty.as_func().and_then(|ty| add(&ty.params).zip(add(&ty.results))));
        }
        let global = |ty: ValType, mutable: bool| code_of(ty).map_or(0, |c| c | if mutable { MUTABLE } else { 0 });
        let tags = module.tags.values().map(|tag| Some(sigs.get(tag.ty.0 as usize).copied().flatten()?.0)).collect();
        Some(QuickModule {
            types,
            sigs,
            tags,
            funcs: module.funcs.values().map(|f| f.ty.0).collect(),
            globals: module.globals.values().map(|g| global(g.content, g.mutable)).collect(),
            wide_arithmetic: features.wide_arithmetic,
            memory32: module.memories.values().next().is_some_and(|m| !m.limits.is_64),
            tables: module.tables.values().map(|t| t.element == RefType::FUNCREF && !t.limits.is_64).collect(),
        })
    }

    fn list(&self, span: Span) -> &[u8] {
        &self.types[span.start as usize..][..span.len as usize]
    }
}

/// What is done with an operator.
#[derive(Clone, Copy)]
enum Step {
    LocalGet,
    LocalSet,
    LocalTee,
    I32Const,
    /// Operands and results are of fixed types.
    Simple,
    /// The same that may trap.
    Partial,
    Load,
    Store,
    Control,
    Call,
    Other,
    /// The number decides that follows.
    Prefixed,
    /// That is left to `wasmparser`.
    Unknown,
}

const fn step(lead: Lead) -> Step {
    let op = match lead {
        Lead::Op(op) => op,
        Lead::Prefix(Prefix::Misc) => return Step::Prefixed,
        Lead::Prefix(Prefix::Aggregate | Prefix::Vector | Prefix::Atomic) | Lead::Unknown => return Step::Unknown,
    };
    match op.class() {
        Class::Local => match op {
            Op::LocalGet => Step::LocalGet,
            Op::LocalSet => Step::LocalSet,
            _ => Step::LocalTee,
        },
        Class::Constant if matches!(op, Op::I32Const) => Step::I32Const,
        Class::Constant | Class::Global => Step::Other,
        Class::Comparison | Class::Numeric => Step::Simple,
        Class::Partial => Step::Partial,
        Class::Load => Step::Load,
        Class::Store => Step::Store,
        Class::Control if matches!(op, Op::Nop) => Step::Other,
        Class::Control if matches!(op, Op::BrOnNull | Op::BrOnNonNull) => Step::Unknown,
        Class::Control => Step::Control,
        Class::Exception if matches!(op, Op::Throw | Op::ThrowRef | Op::TryTable) => Step::Control,
        Class::Call if !matches!(op, Op::CallRef | Op::ReturnCallRef) => Step::Call,
        Class::Parametric if !matches!(op, Op::TypedSelect) => Step::Other,
        Class::Memory => Step::Other,
        Class::Exception | Class::Call | Class::Parametric | Class::Table | Class::Reference => Step::Unknown,
        Class::Wide | Class::Aggregate | Class::Vector | Class::VectorAccess => Step::Unknown,
        Class::Atomic | Class::Wait | Class::Fence => Step::Unknown,
    }
}

/// What is known about an operator of one byte.
#[derive(Clone, Copy)]
struct Known {
    step: Step,
    /// See [`Op::cost`]; 0 if more bytes decide.
    cost: u8,
    /// For [`Step::Simple`] and [`Step::Partial`]: the types of the operands, the topmost last (0: there is none), and of
    /// the result. For accesses: of the value.
    types: [u8; 3],
    /// For accesses: the exponent of the natural alignment.
    align: u8,
    /// The operator, where there is one.
    op: Op,
}

const fn type_code(ty: OperandType) -> u8 {
    match ty {
        OperandType::I32 => I32,
        OperandType::I64 => I64,
        OperandType::F32 => F32,
        OperandType::F64 => F64,
        OperandType::V128 => V128,
        // Of memories with 64-bit indices nothing is known here.
        OperandType::Index => I32,
    }
}

const fn known(byte: u8) -> Known {
    let lead = Lead::of(byte);
    let mut known = Known { step: step(lead), cost: 0, types: [0; 3], align: 0, op: Op::Unreachable };
    let Lead::Op(op) = lead else { return known };
    (known.op, known.cost) = (op, op.cost());
    if let Some(Signature { params, results }) = op.signature() {
        known.types = match (params, results) {
            ([x, y], [result]) => [type_code(*x), type_code(*y), type_code(*result)],
            ([x], [result]) => [0, type_code(*x), type_code(*result)],
            ([_, value], []) => [0, 0, type_code(*value)],
            _ => [0; 3],
        };
    }
    if let Immediates::MemArg(align) = op.immediates() {
        known.align = align;
    }
    known
}

/// Operators by their first bytes.
static KNOWN: [Known; 256] = {
    let mut table = [known(0); 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = known(byte as u8);
        byte += 1;
    }
    table
};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Block,
    Loop,
    If,
}

#[derive(Clone, Copy)]
struct Frame {
    kind: Kind,
    params: Span,
    results: Span,
    /// Height of the operand stack below the parameters.
    height: u32,
    unreachable: bool,
}

impl Frame {
    /// What a branch to the frame carries.
    fn label(&self) -> Span {
        if self.kind == Kind::Loop { self.params } else { self.results }
    }
}

/// What is kept from body to body.
#[derive(Default)]
pub(super) struct QuickScratch {
    locals: Vec<u8>,
    stack: Vec<u8>,
    frames: Vec<Frame>,
}

/// Bytes yet to be read.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// An unsigned number of 32 bits.
    #[inline]
    fn u32(&mut self) -> Option<u32> {
        let byte = self.byte()?;
        if byte < 0x80 { Some(u32::from(byte)) } else { self.u32_rest(byte) }
    }

    fn u32_rest(&mut self, first: u8) -> Option<u32> {
        let mut n = u32::from(first & 0x7f);
        for shift in [7, 14, 21] {
            let byte = self.byte()?;
            n |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        let byte = self.byte()?;
        (byte < 0x10).then_some(n | u32::from(byte) << 28)
    }

    /// Skips a signed number whose longest encoding is `max` bytes, of which the last may only be one of these.
    #[inline]
    fn skip_signed(&mut self, max: usize, last: fn(u8) -> bool) -> Option<()> {
        for _ in 1..max {
            if self.byte()? < 0x80 {
                return Some(());
            }
        }
        last(self.byte()?).then_some(())
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= self.bytes.len()).then_some(())
    }
}

/// A body under validation.
struct Walk<'a> {
    module: &'a QuickModule,
    code: Cursor<'a>,
    locals: &'a [u8],
    stack: &'a mut Vec<u8>,
    frames: &'a mut Vec<Frame>,
    facts: &'a mut Facts,
    /// Of the innermost frame.
    height: usize,
    unreachable: bool,
}

/// Whether the body of a function of type `ty` is valid. `None`: somebody else has to tell, and `facts` are of no use.
pub(super) fn validate(
    module: &QuickModule,
    ty: u32,
    code: &[u8],
    scratch: &mut QuickScratch,
    facts: &mut Facts,
) -> Option<()> {
    let (params, results) = (*module.sigs.get(ty as usize)?)?;
    let QuickScratch { locals, stack, frames } = scratch;
    locals.clear();
    stack.clear();
    frames.clear();
    locals.extend_from_slice(module.list(params));
    let mut code = Cursor { bytes: code, at: 0 };
    for _ in 0..code.u32()? {
        let count = code.u32()?;
        let total = locals.len() as u64 + u64::from(count);
        if total > u64::from(limits::MAX_LOCALS) {
            return None;
        }
        let ty = decode_type(code.byte()?)?;
        locals.resize(total as usize, ty);
    }
    let none = Span::default();
    let mut walk = Walk { module, code, locals, stack, frames, facts, height: 0, unreachable: false };
    walk.push_frame(Kind::Block, none, results)?;
    walk.run()
}

impl Walk<'_> {
    fn run(&mut self) -> Option<()> {
        let mut depth_squared = 0;
        loop {
            let known = &KNOWN[usize::from(self.code.byte()?)];
            self.facts.cost += u32::from(known.cost);
            match known.step {
                Step::LocalGet => {
                    let ty = self.local()?;
                    self.stack.push(ty);
                }
                Step::LocalSet => {
                    let ty = self.local()?;
                    self.pop(ty)?;
                }
                Step::LocalTee => {
                    let ty = self.local()?;
                    self.pop(ty)?;
                    self.stack.push(ty);
                }
                Step::I32Const => {
                    self.code.skip_signed(5, |b| matches!(b, 0..=7 | 120..=127))?;
                    self.stack.push(I32);
                }
                Step::Simple => self.simple(known)?,
                Step::Partial => {
                    self.facts.num_checks += 1;
                    self.simple(known)?;
                }
                Step::Load => {
                    self.access(known)?;
                    self.pop(I32)?;
                    self.stack.push(known.types[2]);
                }
                Step::Store => {
                    self.access(known)?;
                    self.pop(known.types[2])?;
                    self.pop(I32)?;
                }
                Step::Control => {
                    let done = self.control(known.op)?;
                    let depth = u64::from(self.facts.loop_depth);
                    depth_squared = depth * depth;
                    if done {
                        self.facts.note_height(self.stack.len() as u32, depth_squared);
                        return (self.code.at == self.code.bytes.len()).then_some(());
                    }
                }
                Step::Call => self.call(known.op)?,
                Step::Other => self.other(known.op)?,
                Step::Prefixed => self.prefixed()?,
                Step::Unknown => return None,
            }
            self.facts.note_height(self.stack.len() as u32, depth_squared);
        }
    }

    #[inline]
    fn local(&mut self) -> Option<u8> {
        let index = self.code.u32()?;
        let ty = *self.locals.get(index as usize)?;
        self.facts.use_local(index);
        Some(ty)
    }

    /// Takes an operand of this type.
    #[inline]
    fn pop(&mut self, ty: u8) -> Option<()> {
        let found = self.pop_any()?;
        (found == ty || found == ANY).then_some(())
    }

    /// Takes an operand of any type.
    #[inline]
    fn pop_any(&mut self) -> Option<u8> {
        if self.stack.len() > self.height { self.stack.pop() } else { self.unreachable.then_some(ANY) }
    }

    fn pop_list(&mut self, span: Span) -> Option<()> {
        let module = self.module;
        module.list(span).iter().rev().try_for_each(|ty| self.pop(*ty))
    }

    fn push_list(&mut self, span: Span) {
        let module = self.module;
        self.stack.extend_from_slice(module.list(span));
    }

    #[inline]
    fn simple(&mut self, known: &Known) -> Option<()> {
        let [first, second, result] = known.types;
        self.pop(second)?;
        if first != 0 {
            self.pop(first)?;
        }
        self.stack.push(result);
        Some(())
    }

    /// Reads a load's or store's immediates.
    #[inline]
    fn access(&mut self, known: &Known) -> Option<()> {
        self.facts.num_checks += 1;
        if !self.module.memory32 || self.code.byte()? > known.align {
            return None;
        }
        self.code.u32()?;
        Some(())
    }

    fn push_frame(&mut self, kind: Kind, params: Span, results: Span) -> Option<()> {
        if self.frames.len() >= limits::MAX_NESTING as usize {
            return None;
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.unreachable = self.unreachable;
        }
        self.height = self.stack.len();
        self.unreachable = false;
        self.frames.push(Frame { kind, params, results, height: self.height as u32, unreachable: false });
        self.push_list(params);
        Some(())
    }

    /// Ends a frame, whose results must be all that it left; they are gone then.
    fn pop_frame(&mut self) -> Option<Frame> {
        let frame = *self.frames.last()?;
        self.pop_list(frame.results)?;
        if self.stack.len() != self.height {
            return None;
        }
        self.frames.pop();
        if let Some(outer) = self.frames.last() {
            (self.height, self.unreachable) = (outer.height as usize, outer.unreachable);
        }
        Some(frame)
    }

    fn end_reachable(&mut self) {
        self.stack.truncate(self.height);
        self.unreachable = true;
    }

    fn block_type(&mut self) -> Option<(Span, Span)> {
        let first = self.code.byte()?;
        if first == binary::EMPTY_BLOCK {
            return Some((Span::default(), Span::default()));
        }
        if let Some(ty) = decode_type(first) {
            return Some((Span::default(), Span { start: u32::from(ty) - 1, len: 1 }));
        }
        // The index is a signed number: more than one byte is rare.
        if first >= 0x40 {
            return None;
        }
        *self.module.sigs.get(usize::from(first))?
    }

    fn label(&mut self) -> Option<Span> {
        let depth = self.code.u32()? as usize;
        self.label_at(depth)
    }

    fn label_at(&self, depth: usize) -> Option<Span> {
        let at = self.frames.len().checked_sub(depth + 1)?;
        Some(self.frames[at].label())
    }

    /// Blocks and branches. Returns whether the function has ended.
    fn control(&mut self, op: Op) -> Option<bool> {
        match op {
            Op::Unreachable => {
                // In front of the last end.
                if self.code.at + 1 == self.code.bytes.len() {
                    self.facts.flags |= flag::ENDS_UNREACHABLE;
                }
                self.end_reachable();
            }
            Op::Block | Op::Loop => {
                let (params, results) = self.block_type()?;
                self.facts.num_blocks += 1;
                self.pop_list(params)?;
                let is_loop = op == Op::Loop;
                self.facts.num_loops += u32::from(is_loop);
                self.facts.loop_depth += u32::from(is_loop);
                self.push_frame(if is_loop { Kind::Loop } else { Kind::Block }, params, results)?;
            }
            Op::If => {
                let (params, results) = self.block_type()?;
                self.facts.num_blocks += 1;
                self.pop(I32)?;
                self.pop_list(params)?;
                self.push_frame(Kind::If, params, results)?;
            }
            Op::Else => {
                self.facts.num_blocks += 1;
                let frame = self.pop_frame()?;
                if frame.kind != Kind::If {
                    return None;
                }
                self.push_frame(Kind::Block, frame.params, frame.results)?;
            }
            Op::End => {
                let frame = self.pop_frame()?;
                // Without `else` the parameters are the results.
                if frame.kind == Kind::If && self.module.list(frame.params) != self.module.list(frame.results) {
                    return None;
                }
                self.facts.loop_depth -= u32::from(frame.kind == Kind::Loop);
                self.push_list(frame.results);
                return Some(self.frames.is_empty());
            }
            Op::Throw | Op::ThrowRef => self.throw(op)?,
            Op::TryTable => self.try_table()?,
            _ => self.branch(op)?,
        }
        Some(false)
    }

    fn branch(&mut self, op: Op) -> Option<()> {
        self.facts.num_blocks += 1;
        match op {
            Op::Br => {
                let label = self.label()?;
                self.pop_list(label)?;
                self.end_reachable();
            }
            Op::BrIf => {
                let label = self.label()?;
                self.pop(I32)?;
                self.pop_list(label)?;
                self.push_list(label);
            }
            Op::BrTable => {
                self.pop(I32)?;
                let count = self.code.u32()?;
                // In unreachable code the operands are of as many types as there are targets.
                if count > MAX_TARGETS || self.unreachable {
                    return None;
                }
                let first = self.label()?;
                for _ in 0..count {
                    let label = self.label()?;
                    if label != first && self.module.list(label) != self.module.list(first) {
                        return None;
                    }
                }
                self.pop_list(first)?;
                self.end_reachable();
            }
            Op::Return => {
                self.facts.flags |= flag::RETURNS;
                let results = self.frames.first()?.results;
                self.pop_list(results)?;
                self.end_reachable();
            }
            _ => return None,
        }
        Some(())
    }

    /// `throw` and `throw_ref`.
    fn throw(&mut self, op: Op) -> Option<()> {
        if op == Op::Throw {
            let params = self.tag()?;
            self.pop_list(params)?;
        } else {
            self.pop(EXN)?;
        }
        self.end_reachable();
        Some(())
    }

    fn tag(&mut self) -> Option<Span> {
        let index = self.code.u32()?;
        *self.module.tags.get(index as usize)?
    }

    /// The labels of its clauses are those around the block.
    fn try_table(&mut self) -> Option<()> {
        self.facts.flags |= flag::CATCHES;
        let (params, results) = self.block_type()?;
        self.pop_list(params)?;
        let count = self.code.u32()?;
        if count > limits::MAX_CATCHES {
            return None;
        }
        for _ in 0..count {
            let kind = self.code.byte()?;
            // catch, catch_ref, catch_all, catch_all_ref
            let caught = match kind {
                0 | 1 => self.tag()?,
                2 | 3 => Span::default(),
                _ => return None,
            };
            let label = self.label()?;
            let mut expected = self.module.list(label);
            if kind & 1 != 0 {
                expected = expected.strip_suffix(&[EXN])?;
            }
            if expected != self.module.list(caught) {
                return None;
            }
        }
        self.push_frame(Kind::Block, params, results)
    }

    /// `call`, `call_indirect` and their tail-calling forms.
    fn call(&mut self, op: Op) -> Option<()> {
        let index = self.code.u32()?;
        self.facts.flags |= flag::CALLS;
        let ty = if matches!(op, Op::Call | Op::ReturnCall) {
            self.facts.callees.push(index);
            *self.module.funcs.get(index as usize)?
        } else {
            let table = self.code.u32()?;
            if !*self.module.tables.get(table as usize)? {
                return None;
            }
            self.facts.types.push(index);
            self.pop(I32)?;
            index
        };
        let (params, results) = (*self.module.sigs.get(ty as usize)?)?;
        self.pop_list(params)?;
        if matches!(op, Op::Call | Op::CallIndirect) {
            self.push_list(results);
            return Some(());
        }
        let own = self.frames.first()?.results;
        if self.module.list(own) != self.module.list(results) {
            return None;
        }
        self.end_reachable();
        Some(())
    }

    /// Less frequent operators.
    fn other(&mut self, op: Op) -> Option<()> {
        match op {
            Op::Nop => {}
            Op::Drop => _ = self.pop_any()?,
            Op::Select => {
                self.pop(I32)?;
                let (x, y) = (self.pop_any()?, self.pop_any()?);
                let ty = if x == ANY { y } else { x };
                if (y != ANY && y != ty) || ty >= FUNC {
                    return None;
                }
                self.stack.push(ty);
            }
            Op::GlobalGet | Op::GlobalSet => {
                let index = self.code.u32()?;
                let global = *self.module.globals.get(index as usize)?;
                let ty = global & !MUTABLE;
                if ty == 0 || (op == Op::GlobalSet && global & MUTABLE == 0) {
                    return None;
                }
                if op == Op::GlobalGet {
                    self.stack.push(ty);
                } else {
                    self.pop(ty)?;
                }
            }
            Op::MemorySize | Op::MemoryGrow => {
                if !self.module.memory32 || self.code.byte()? != 0 {
                    return None;
                }
                if op == Op::MemoryGrow {
                    self.facts.num_checks += 1;
                    self.pop(I32)?;
                }
                self.stack.push(I32);
            }
            // The last byte holds one bit, and the sign.
            Op::I64Const => {
                self.code.skip_signed(10, |b| matches!(b, 0 | 127))?;
                self.stack.push(I64);
            }
            Op::F32Const => {
                self.code.skip(4)?;
                self.stack.push(F32);
            }
            Op::F64Const => {
                self.code.skip(8)?;
                self.stack.push(F64);
            }
            _ => return None,
        }
        Some(())
    }

    /// Saturating conversions, `memory.copy`, `memory.fill`, arithmetic with results of 128 bits.
    fn prefixed(&mut self) -> Option<()> {
        let op = Op::prefixed(Prefix::Misc, self.code.byte()?.into())?;
        self.facts.cost += u32::from(op.cost());
        match op {
            Op::MemoryCopy | Op::MemoryFill => {
                let memories = if op == Op::MemoryCopy { 2 } else { 1 };
                for _ in 0..memories {
                    if self.code.byte()? != 0 {
                        return None;
                    }
                }
                if !self.module.memory32 {
                    return None;
                }
                (0..3).try_for_each(|_| self.pop(I32))?;
            }
            _ if op.class() == Class::Numeric || (op.class() == Class::Wide && self.module.wide_arithmetic) => {
                let Signature { params, results } = op.signature()?;
                params.iter().rev().try_for_each(|ty| self.pop(type_code(*ty)))?;
                self.stack.extend(results.iter().map(|ty| type_code(*ty)));
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the quick validator accepts the function that has this body.
    fn accepts(body: &str) -> bool {
        let text = format!(
            "(module (type $pair (func (param i32 f64))) (tag $empty) (tag $pair (type $pair)) (func $f {body} unreachable))"
        );
        let bytes = wat::parse_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let features = Features::default();
        let module = crate::parse::parse(&bytes, &features).unwrap();
        let module = module.module();
        let quick = QuickModule::new(module, &features).unwrap();
        let (_, code) = super::super::body_bytes(module, &bytes, kiln_env::DefinedFuncIndex(0)).unwrap();
        let ty = module.funcs[kiln_env::FuncIndex(0)].ty.0;
        let mut facts = Facts::default();
        facts.begin();
        validate(&quick, ty, code, &mut QuickScratch::default(), &mut facts).is_some()
    }

    /// What C++ is compiled to. That nothing wrong is accepted, `wasmparser` confirms whenever tests run.
    #[test]
    fn exceptions_are_known() {
        let caught = |clause: &str, types: &str| {
            format!("(local exnref) (block $l {types} (try_table ({clause} $l) (call $f)) unreachable)")
        };
        for (clause, types, drops) in [
            ("catch $empty", "", 0),
            ("catch $pair", "(result i32 f64)", 2),
            ("catch_ref $empty", "(result exnref)", 1),
            ("catch_ref $pair", "(result i32 f64 exnref)", 3),
            ("catch_all", "", 0),
            ("catch_all_ref", "(result exnref)", 1),
        ] {
            let body = caught(clause, types) + &" drop".repeat(drops);
            assert!(accepts(&body), "{body}");
            let wrong = caught(clause, "(result i64)") + " drop";
            assert!(!accepts(&wrong), "{wrong}");
        }
        assert!(accepts("(throw $pair (i32.const 1) (f64.const 2))"));
        assert!(accepts("(local exnref) (try_table (result i32) (i32.const 1)) drop (throw_ref (local.get 0))"));
        assert!(!accepts("(throw $pair (i32.const 1) (f32.const 2))"));
        assert!(!accepts("(throw_ref (i32.const 1))"));
        // The clause's label is one outside of the block.
        assert!(!accepts("(try_table (result exnref) (catch_all_ref 0) unreachable) drop"));
    }
}
