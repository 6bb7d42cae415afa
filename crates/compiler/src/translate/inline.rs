//! Bodies in place of calls.
//!
//! The callee's body is translated by the same walk, into the same function, where the call would stand. Why that means
//! the same:
//! * Only functions of this instance are inlined, so that the context is the same.
//! * Parameters and locals are variables of their own, set before the body begins. A return is a branch to the end.
//! * Fuel is counted at the same operators, and brought up to date before the same traps and calls. The checks for
//!   interrupts at the entry are made. The stack is checked once, when the caller is entered: its frame is that of all.
//! * Scopes of handlers nest as frames do: what the body does not catch, the scopes around the call may.
//! * A tail call ends the callee's frame before the call. Here it is a call outside of the callee's scopes, with the
//!   location of the call that was replaced, and then a return.
//! * Every inlined body has a range of locations; see [`InlinedBody`].

use cranelift_codegen::ir::{Opcode, SourceLoc, Value};
use kiln_env::machine::InlinedBody;
use kiln_env::types::ValType;
use kiln_env::{DefinedFuncIndex, FuncIndex};
use wasmparser::{BinaryReader, FunctionBody, Operator, OperatorsReader, WasmFeatures};

use super::control::{BlockSig, FrameKind};
use super::func::FuncTranslator;
use super::locals::{FreeVariables, Locals};
use super::ops::call::Callee;
use crate::error::Result;
use crate::midend::{Budget, Policy, Site};
use crate::module_env::ModuleEnv;
use crate::validate::body_bytes;

/// With what bodies are inlined.
#[derive(Clone, Copy)]
pub struct Inlining<'a> {
    /// The module's bytes.
    pub(crate) source: &'a [u8],
    /// The features under which it is valid.
    pub(crate) features: WasmFeatures,
    /// Which calls are replaced.
    pub(crate) policy: Policy,
}

/// A body under translation: that of the function itself, or an inlined one.
pub(super) struct Body {
    /// Whose body it is.
    pub(super) func: DefinedFuncIndex,
    /// Position of its function frame.
    pub(super) frame: usize,
    /// Offset of the body in the module.
    first: u64,
    /// What is added to its wasm offsets to make locations.
    pub(super) start: u32,
    /// Location of the call that it stands for, if it is an inlined one.
    call: Option<u32>,
    pub(super) locals: Locals,
}

impl Body {
    /// The body of the function itself.
    pub(super) fn outermost(locals: Locals, func: DefinedFuncIndex, first: u64) -> Body {
        Body { func, frame: 0, first, start: 0, call: None, locals }
    }

    /// An offset in the module as one in the body.
    pub(super) fn offset(&self, offset: u64) -> u32 {
        (offset - self.first) as u32
    }

    /// Whether it stands in place of a call.
    pub(super) fn is_inlined(&self) -> bool {
        self.call.is_some()
    }
}

/// What a function under translation knows about inlining.
pub(super) struct Inliner<'m> {
    env: ModuleEnv<'m>,
    with: Inlining<'m>,
    budget: Budget,
    /// The functions whose bodies are open, outermost first.
    around: Vec<DefinedFuncIndex>,
    /// The first location that no body has.
    next_start: u32,
    pub(super) bodies: Vec<InlinedBody>,
    free: FreeVariables,
}

/// Operators behind a call that are looked at.
const LOOK_AHEAD: usize = 8;

/// Whether `unreachable` is all that these operators can lead to, as far as is seen at a glance: compilers put it behind
/// calls that do not come back.
fn leads_to_trap(operators: &OperatorsReader<'_>) -> bool {
    let mut operators = operators.clone();
    for _ in 0..LOOK_AHEAD {
        match operators.read() {
            Ok(Operator::Unreachable) => return true,
            Ok(
                Operator::Drop
                | Operator::I32Const { .. }
                | Operator::LocalGet { .. }
                | Operator::LocalSet { .. }
                | Operator::GlobalSet { .. }
                | Operator::Call { .. },
            ) => {}
            _ => return false,
        }
    }
    false
}

impl<'m> Inliner<'m> {
    /// For a function whose body has `len` bytes; `None` if nothing is to be inlined into it.
    pub(super) fn new(
        env: &ModuleEnv<'m>,
        with: Option<Inlining<'m>>,
        func: DefinedFuncIndex,
        len: usize,
    ) -> Option<Inliner<'m>> {
        let with = with?;
        let budget = with.policy.budget(env, func)?;
        Some(Inliner {
            env: *env,
            with,
            budget,
            around: vec![func],
            next_start: u32::try_from(len).ok()? + 1,
            bodies: Vec::new(),
            free: FreeVariables::default(),
        })
    }
}

impl FuncTranslator<'_, '_> {
    /// Sets the location of the operator at `offset` in the current body.
    pub(super) fn locate(&mut self, offset: u32) {
        self.location = self.body.start + offset;
        self.e.b.set_srcloc(SourceLoc::new(self.location));
    }

    /// Translates the body of `func` in place of a call with the topmost operands, if it is to be inlined.
    /// `is_frequent`: the call is known to be made often.
    pub(super) fn inline(&mut self, func: FuncIndex, is_frequent: bool, behind: &OperatorsReader<'_>) -> Result<bool> {
        let module = self.e.env.module;
        let Some(callee) = module.defined_func(func) else { return Ok(false) };
        let ty = module.func_type(func);
        if !self.is_inlinable(callee, ty.params.len(), is_frequent, behind) {
            return Ok(false);
        }
        let Some(inliner) = &mut self.inliner else { return Ok(false) };
        let (offset, bytes) = body_bytes(module, inliner.with.source, callee)?;
        let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, inliner.with.features));
        let (start, call) = (inliner.next_start, self.location);
        inliner.next_start += bytes.len() as u32 + 1;
        inliner.bodies.push(InlinedBody { start, func: callee, call });
        inliner.around.push(callee);
        let mut free = std::mem::take(&mut inliner.free);

        // As before a call: interrupts are checked at the entry.
        self.e.flush_fuel();
        let args = self.pop_n(ty.params.len());
        let (frame, locals) = (self.frames.len(), Locals::inlined());
        let inner = Body { func: callee, frame, first: offset, start, call: Some(call), locals };
        let outer = std::mem::replace(&mut self.body, inner);
        let legacy = self.exceptions.take_legacy();
        self.locate(0);
        let declared = self.body.locals.declare_inlined(&mut self.e, &mut free, &ty.params, &args, &body);
        if let Some(inliner) = &mut self.inliner {
            inliner.free = free;
        }
        declared?;
        self.push_frame(FrameKind::Block, BlockSig::Func(ty), 0);
        self.e.check_interrupts();
        self.walk(&body)?;

        self.exceptions.put_legacy(legacy);
        let inner = std::mem::replace(&mut self.body, outer);
        if let Some(inliner) = &mut self.inliner {
            inner.locals.release(&mut inliner.free);
            inliner.around.pop();
        }
        if !self.reachable {
            self.end_block();
        }
        Ok(true)
    }

    fn is_inlinable(
        &mut self,
        callee: DefinedFuncIndex,
        params: usize,
        is_frequent: bool,
        behind: &OperatorsReader<'_>,
    ) -> bool {
        let dfg = &self.e.b.func.dfg;
        let args = &self.stack[self.stack.len() - params..];
        let constant_argument = args.iter().any(|arg| {
            let def = dfg.value_def(*arg).inst();
            def.is_some_and(|inst| {
                matches!(dfg.insts[inst].opcode(), Opcode::Iconst | Opcode::F32const | Opcode::F64const)
            })
        });
        // Functions that are near the limits without inlining are not brought beyond them.
        let large = self.limit.is_near((dfg.num_insts() + dfg.num_values() + dfg.value_lists.capacity()) as u64);
        let Some(inliner) = &mut self.inliner else { return false };
        if large || inliner.next_start > u32::MAX / 2 {
            return false;
        }
        let ends = leads_to_trap(behind);
        let (loop_depth, around) = (self.loop_depth, &*inliner.around);
        let site = Site { callee, loop_depth, constant_argument, is_frequent, ends, around };
        inliner.with.policy.admits(&inliner.env, &site, &mut inliner.budget)
    }

    /// A tail call in an inlined body.
    pub(super) fn return_call_inlined(&mut self, callee: Callee, args: &[Value], results: &[ValType]) {
        let location = self.location;
        if let Some(call) = self.body.call {
            self.e.b.set_srcloc(SourceLoc::new(call));
        }
        let outside = self.exceptions.scopes_outside(self.body.frame);
        self.call_with_handlers(callee, args, results, Some(outside));
        self.e.b.set_srcloc(SourceLoc::new(location));
        self.return_();
    }
}
