//! A function body to IR: operand stack, locals and control flow. What operators do is in [`ops`].

use cranelift_codegen::ir::{Block, BlockArg, BlockCall, Function, InstBuilder, JumpTableData, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use kiln_env::tier::Tier;
use kiln_env::types::{FuncType, ValType};
use kiln_env::{DefinedFuncIndex, FuncIndex, FuncKey, TableIndex, TrapCode, TypeIndex};
use smallvec::SmallVec;
use wasmparser::{BlockType, BrTable, FunctionBody, Operator, OperatorsReader};

use super::control::{BlockSig, Frame, FrameKind};
use super::emitter::{Emitter, OpEnv, clif_type, wasm_signature};
use super::exceptions::Exceptions;
use super::inline::{Body, Inliner, Inlining};
use super::locals::{Home, Locals};
use super::ops;
use super::ops::call::{Callee, Source, Target};
use super::size::{self, Limit};
use super::tier::{self, Role};
use crate::codegen;
use crate::error::{CompileError, Result};
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;
use crate::profile::{Frequency, Profile};

/// How many entries of a `br_table` may go to one label each on an edge of its own. Fewer make Cranelift repeat in every
/// target what it could compute once before the branch, more make many equal edges: 4 gave the least code.
const SHARED_EDGES: usize = 4;

/// Entries up to which a `br_table` is one jump table: what Cranelift does with one takes time that grows with its square.
const MAX_TABLE: usize = 2_048;
/// Entries of each part of a longer one, a power of two.
const PART_OF_TABLE: usize = 512;

/// A function under translation.
pub(super) struct FuncTranslator<'f, 'm> {
    pub(super) e: Emitter<'f, 'm>,
    pub(super) stack: Vec<Value>,
    pub(super) frames: Vec<Frame<'m>>,
    pub(super) exceptions: Exceptions,
    pub(super) role: Role,
    /// The innermost body under translation.
    pub(super) body: Body,
    pub(super) inliner: Option<Inliner<'m>>,
    /// How the module ran, in functions of the second tier.
    profile: Option<&'m Profile<'m>>,
    /// That of the current operator.
    pub(super) location: u32,
    /// How large the function may become.
    pub(super) limit: Limit,
    /// How many loops are open.
    pub(super) loop_depth: u32,
    /// Whether the current position can be reached. If not, no block is open and operators are skipped.
    pub(super) reachable: bool,
    /// How many frames have been opened since the position became unreachable.
    skipped: u32,
}

/// Translates one body, which must be valid: the function with `key` at a tier.
pub(super) fn translate(
    env: &ModuleEnv<'_>,
    (context, spare): (&mut FunctionBuilderContext, Option<Function>),
    (index, key): (DefinedFuncIndex, FuncKey),
    tier: Tier,
    body: &FunctionBody<'_>,
    inlining: Option<Inlining<'_>>,
) -> Result<FuncIr> {
    let ty = env.module.func_type(env.module.func_index(index));
    let (namespace, number) = key.pack();
    let name = cranelift_codegen::ir::UserFuncName::user(namespace, number);
    let mut signature = wasm_signature(ty);
    let osr = if let FuncKey::Osr { offset, .. } = key { Some(offset) } else { None };
    if osr.is_some() {
        signature.params.truncate(1);
    }
    let mut func = spare.unwrap_or_else(Function::new);
    (func.name, func.signature) = (name, signature);
    let mut b = FunctionBuilder::new(&mut func, context);

    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    b.ensure_inserted_block();
    let vmctx = b.block_params(entry)[0];
    let mut e = Emitter { b, env: OpEnv::new(env, vmctx) };
    let home = home(env, index, tier);
    let num_locals = if home == Home::Variables { 0 } else { count_locals(ty, body)? };
    let mut locals = Locals::new(&mut e, home, num_locals);
    e.name_spills();
    if !env.tunables.signals {
        e.check_stack();
    }
    locals.declare(&mut e, osr.is_none().then_some(entry), &ty.params, body)?;
    // A function of the first tier is entered and left at its own loops, and compiled fast.
    let inlining = inlining.filter(|_| tier == Tier::Optimized);
    let inliner = Inliner::new(env, inlining, index, body.as_bytes().len());
    let role = match (osr, tier) {
        (Some(offset), _) => {
            e.remember_collected();
            tier::begin_entered(&mut e, &locals, offset)
        }
        (None, Tier::Baseline) => Role::counting(index),
        (None, Tier::Optimized) => Role::Final,
    };
    let mut t = FuncTranslator {
        e,
        stack: Vec::new(),
        frames: Vec::new(),
        exceptions: Exceptions::default(),
        role,
        body: Body::outermost(locals, index, body.range().start),
        inliner,
        profile: env.profile.filter(|_| tier == Tier::Optimized),
        location: 0,
        limit: Limit::new(env, index, tier),
        loop_depth: 0,
        reachable: true,
        skipped: 0,
    };
    t.push_frame(FrameKind::Function, BlockSig::Func(ty), 0);
    t.count_entry();
    t.e.check_interrupts();
    t.walk(body)?;
    t.leave_loops();
    t.role.check_entered()?;
    let sites = t.role.take_sites();

    let makes_calls = t.e.env.makes_calls;
    let inlined = t.inliner.take().map_or_else(Vec::new, |i| i.bodies);
    let limit = t.limit;
    t.e.b.finalize(env.isa.frontend_config());
    limit.check(size::operands(&func))?;
    if osr.is_some() {
        func = tier::remove_unreachable(env, func)?;
    }
    if makes_calls && env.tunables.signals {
        codegen::set_stack_limit(&mut func);
    }
    Ok(FuncIr { key, func, inlined, sites, numbers: Vec::new() })
}

/// Where the locals of a function are to be.
fn home(env: &ModuleEnv<'_>, index: DefinedFuncIndex, tier: Tier) -> Home {
    let info = env.infos.get(index);
    if info.keeps_locals_in_memory(!env.tunables.signals) {
        Home::MemoryForSize
    } else if tier == Tier::Baseline && info.num_loops() > 0 {
        Home::Memory
    } else {
        Home::Variables
    }
}

/// Parameters and locals: limited by validation.
fn count_locals(ty: &FuncType, body: &FunctionBody<'_>) -> Result<u32> {
    let mut count = ty.params.len() as u32;
    for group in body.get_locals_reader()? {
        count += group?.0;
    }
    Ok(count)
}

/// The walk over operators.
impl<'m> FuncTranslator<'_, 'm> {
    /// Translates the operators of a body whose function frame has just been opened.
    pub(super) fn walk(&mut self, body: &FunctionBody<'_>) -> Result<()> {
        let mut reader = body.get_operators_reader()?;
        let outside = self.body.frame;
        while self.frames.len() > outside {
            let (op, offset) = reader.read_with_offset()?;
            if !self.reachable && !self.resumes(&op) {
                continue;
            }
            self.locate(self.body.offset(offset));
            self.e.count_fuel(if self.reachable { ops::fuel_cost(&op) } else { 0 });
            let done = self.operator(&op, &reader, offset).and_then(|()| self.check_size());
            done.map_err(|e| e.at(offset))?;
        }
        reader.finish()?;
        Ok(())
    }

    /// A few bytes of wasm can stand for a thousand operands. What they come to is known when the function is complete; one
    /// that is far beyond the limit is not completed.
    fn check_size(&self) -> Result<()> {
        let dfg = &self.e.b.func.dfg;
        let made = dfg.num_insts() + dfg.num_values() + dfg.value_lists.capacity() / 4;
        self.limit.check(made as u64 / 2 + self.exceptions.edges * size::PER_HANDLER)
    }

    /// At an unreachable position: whether `op` ends the current frame's part. Counts the frames that are skipped.
    fn resumes(&mut self, op: &Operator<'_>) -> bool {
        match op {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. }
            | Operator::Try { .. } => {
                self.skipped += 1;
                false
            }
            Operator::End | Operator::Delegate { .. } if self.skipped > 0 => {
                self.skipped -= 1;
                false
            }
            Operator::End
            | Operator::Delegate { .. }
            | Operator::Else
            | Operator::Catch { .. }
            | Operator::CatchAll => self.skipped == 0,
            _ => false,
        }
    }

    fn operator(&mut self, op: &Operator<'_>, reader: &OperatorsReader<'_>, offset: u64) -> Result<()> {
        match *op {
            Operator::Nop => {}
            Operator::Unreachable => {
                // Cranelift makes a branch to a lone trap into a conditional trap at the place of the branch; the trap
                // is to be found at this operator.
                self.e.b.ins().nop();
                self.e.trap(TrapCode::Unreachable);
                self.end_block();
            }
            Operator::Drop => {
                self.pop();
            }
            Operator::LocalGet { local_index } => {
                let value = self.body.locals.get(&mut self.e, local_index);
                self.stack.push(value);
            }
            Operator::LocalSet { local_index } => {
                let value = self.pop();
                self.body.locals.set(&mut self.e, local_index, value);
            }
            Operator::LocalTee { local_index } => {
                let value = self.peek();
                self.body.locals.set(&mut self.e, local_index, value);
            }
            Operator::Block { blockty } => self.open_block(blockty)?,
            Operator::Loop { blockty } => self.open_loop(blockty, self.body.offset(offset))?,
            Operator::If { blockty } => self.open_if(blockty)?,
            Operator::Else => self.otherwise(),
            Operator::End | Operator::Delegate { .. } => self.end(),
            Operator::Br { relative_depth } => self.br(relative_depth),
            Operator::BrIf { relative_depth } => self.br_if(relative_depth),
            Operator::BrTable { ref targets } => self.br_table(targets)?,
            Operator::BrOnNull { relative_depth } => self.br_on_null(relative_depth),
            Operator::BrOnNonNull { relative_depth } => self.br_on_non_null(relative_depth),
            Operator::Return => self.return_(),
            Operator::TryTable { ref try_table } => self.open_try_table(try_table)?,
            Operator::Try { blockty } => self.open_try(blockty, reader, offset)?,
            Operator::Catch { .. } | Operator::CatchAll => self.open_catch(),
            Operator::Throw { tag_index } => self.throw(tag_index),
            Operator::ThrowRef => self.throw_ref(),
            Operator::Rethrow { relative_depth } => self.rethrow(relative_depth)?,
            Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::ReturnCallRef { .. } => self.call(op, reader)?,
            _ => self.core(op)?,
        }
        Ok(())
    }

    /// An operator of the core: operands from the stack, results back onto it.
    fn core(&mut self, op: &Operator<'_>) -> Result<()> {
        let count = ops::operand_count(op).unwrap_or(0);
        let at = self.stack.len() - count;
        let results = ops::emit(&mut self.e, op, &self.stack[at..]).map_err(|e| match e {
            ops::EmitError::Unsupported(_) => CompileError::unsupported(e),
            _ => CompileError::internal(e),
        })?;
        self.stack.truncate(at);
        self.stack.extend(results);
        Ok(())
    }
}

/// The operand stack.
impl FuncTranslator<'_, '_> {
    pub(super) fn pop(&mut self) -> Value {
        self.stack.pop().expect("validated: there is an operand")
    }

    fn peek(&self) -> Value {
        *self.stack.last().expect("validated: there is an operand")
    }

    /// Takes the topmost `n` operands.
    pub(super) fn pop_n(&mut self, n: usize) -> SmallVec<[Value; 8]> {
        let at = self.stack.len() - n;
        self.stack.drain(at..).collect()
    }

    /// The topmost `n` operands as arguments of a branch.
    fn block_args(&self, n: usize) -> SmallVec<[BlockArg; 4]> {
        self.stack[self.stack.len() - n..].iter().map(|v| BlockArg::Value(*v)).collect()
    }
}

/// Frames and branches.
impl<'m> FuncTranslator<'_, 'm> {
    pub(super) fn push_frame(&mut self, kind: FrameKind, sig: BlockSig<'m>, params: usize) {
        let height = self.stack.len() - params;
        self.frames.push(Frame { kind, sig, label: None, branched: false, height, has_scope: false });
    }

    /// A block with parameters of these types.
    pub(super) fn block_with_params(&mut self, types: &[ValType]) -> Block {
        let block = self.e.b.create_block();
        for ty in types {
            let param = self.e.b.append_block_param(block, clif_type(*ty));
            self.e.note_ref(param, *ty);
        }
        block
    }

    pub(super) fn current_frame(&mut self) -> &mut Frame<'m> {
        self.frames.last_mut().expect("validated: a frame is open")
    }

    /// Position of the frame that a label names.
    pub(super) fn frame_at(&self, relative_depth: u32) -> usize {
        self.frames.len() - 1 - relative_depth as usize
    }

    /// The block that branches to a frame go to, and the number of values they carry.
    pub(super) fn label(&mut self, frame: usize) -> (Block, usize) {
        let sig = self.frames[frame].sig;
        let types = match self.frames[frame].kind {
            FrameKind::Loop => sig.params(),
            _ => sig.results(),
        };
        self.frames[frame].branched = true;
        let block = match self.frames[frame].label {
            Some(block) => block,
            None => {
                let block = self.block_with_params(types);
                self.frames[frame].label = Some(block);
                block
            }
        };
        (block, types.len())
    }

    /// Nothing falls through from here.
    pub(super) fn end_block(&mut self) {
        self.reachable = false;
        self.skipped = 0;
        let height = self.current_frame().height;
        self.stack.truncate(height);
    }

    fn open_block(&mut self, ty: BlockType) -> Result<()> {
        let sig = BlockSig::new(self.e.env.module, ty)?;
        self.push_frame(FrameKind::Block, sig, sig.params().len());
        Ok(())
    }

    fn open_loop(&mut self, ty: BlockType, offset: u32) -> Result<()> {
        let sig = BlockSig::new(self.e.env.module, ty)?;
        let params = sig.params().len();
        self.e.flush_fuel();
        self.keep_operands(params);
        let header = self.block_with_params(sig.params());
        let args = self.block_args(params);
        self.e.b.ins().jump(header, &args);
        self.push_frame(FrameKind::Loop, sig, params);
        self.loop_depth += 1;
        let frame = self.current_frame();
        frame.label = Some(header);
        let height = frame.height;
        self.enter_loop(offset, header);
        self.e.b.switch_to_block(header);
        self.stack.truncate(height);
        self.stack.extend_from_slice(self.e.b.block_params(header));
        self.refresh_operands();
        self.count_loop(offset);
        self.e.check_interrupts();
        Ok(())
    }

    fn open_if(&mut self, ty: BlockType) -> Result<()> {
        let sig = BlockSig::new(self.e.env.module, ty)?;
        let condition = self.pop();
        self.e.flush_fuel();
        let count = sig.params().len();
        let args = self.block_args(count);
        let then = self.e.b.create_block();
        // Without `else` the false condition leads straight to the end. A block in between would be where values for the
        // end are computed, and the `then` part would compute them again.
        let may_lack_else = sig.params() == sig.results();
        let target = self.block_with_params(sig.params());
        let branch = self.e.b.ins().brif(condition, then, &[], target, &args);
        self.e.b.seal_block(then);
        self.e.b.switch_to_block(then);
        self.push_frame(FrameKind::If { branch, otherwise: (!may_lack_else).then_some(target) }, sig, count);
        self.current_frame().label = may_lack_else.then_some(target);
        Ok(())
    }

    fn otherwise(&mut self) {
        self.leave_part();
        let frame = self.current_frame();
        let (height, sig) = (frame.height, frame.sig);
        let FrameKind::If { branch, otherwise } = std::mem::replace(&mut frame.kind, FrameKind::Block) else {
            unreachable!("validated: else belongs to an if");
        };
        let otherwise = match (otherwise, frame.label) {
            (Some(block), _) => block,
            (None, None) => unreachable!("one of the two was made when the if was opened"),
            (None, Some(label)) => {
                if !frame.branched {
                    frame.label = None;
                }
                let block = self.block_with_params(sig.params());
                self.e.b.change_jump_destination(branch, label, block);
                block
            }
        };
        self.e.b.seal_block(otherwise);
        self.e.b.switch_to_block(otherwise);
        self.stack.truncate(height);
        self.stack.extend_from_slice(self.e.b.block_params(otherwise));
        self.refresh_operands();
        self.reachable = true;
    }

    /// From the end of one part of a frame (`then` part, body or handler of a `try`) to the end of the frame.
    pub(super) fn leave_part(&mut self) {
        if self.reachable {
            self.e.flush_fuel();
            let (label, count) = self.label(self.frames.len() - 1);
            let args = self.block_args(count);
            self.e.b.ins().jump(label, &args);
        }
    }

    fn end(&mut self) {
        if self.current_frame().has_scope {
            self.close_scope();
        }
        let frame = self.frames.pop().expect("validated: a frame is open");
        if let FrameKind::Try { caught: Some(_), .. } = frame.kind {
            self.exceptions.open_handlers -= 1;
        }
        match frame.kind {
            FrameKind::Function => self.end_function(&frame),
            FrameKind::Loop => {
                self.loop_depth -= 1;
                let header = frame.label.expect("made when the loop was opened");
                self.e.b.seal_block(header);
                if !self.reachable {
                    self.stack.truncate(frame.height);
                }
                self.release_operands();
            }
            _ => {
                let Some(label) = frame.label else {
                    // No branch came here: what fell through stays as it is.
                    if !self.reachable {
                        self.stack.truncate(frame.height);
                    }
                    return self.release_operands();
                };
                if self.reachable {
                    self.e.flush_fuel();
                    let args = self.block_args(frame.sig.results().len());
                    self.e.b.ins().jump(label, &args);
                }
                self.e.b.seal_block(label);
                self.e.b.switch_to_block(label);
                self.stack.truncate(frame.height);
                self.stack.extend_from_slice(self.e.b.block_params(label));
                self.refresh_operands();
                self.release_operands();
                self.reachable = true;
            }
        }
    }

    fn end_function(&mut self, frame: &Frame<'_>) {
        let results = frame.sig.results().len();
        if self.reachable {
            self.e.flush_fuel();
            let at = self.stack.len() - results;
            self.e.b.ins().return_(&self.stack[at..]);
        }
        if let Some(label) = frame.label {
            self.e.b.seal_block(label);
            self.e.b.switch_to_block(label);
            let values: SmallVec<[Value; 4]> = self.e.b.block_params(label).into();
            self.e.b.ins().return_(&values);
        }
        self.reachable = false;
    }

    pub(super) fn return_(&mut self) {
        if self.body.is_inlined() {
            return self.branch(self.body.frame);
        }
        self.e.flush_fuel();
        let at = self.stack.len() - self.frames[0].sig.results().len();
        self.e.b.ins().return_(&self.stack[at..]);
        self.end_block();
    }

    fn br(&mut self, relative_depth: u32) {
        let frame = self.frame_at(relative_depth);
        if frame == 0 {
            return self.return_();
        }
        self.branch(frame);
    }

    /// Branches to the label of a frame.
    fn branch(&mut self, frame: usize) {
        self.e.flush_fuel();
        let (label, count) = self.label(frame);
        let args = self.block_args(count);
        self.e.b.ins().jump(label, &args);
        self.end_block();
    }

    fn br_if(&mut self, relative_depth: u32) {
        let condition = self.pop();
        self.branch_if(condition, relative_depth);
    }

    /// Branches to a label if `condition` is not zero, else goes on.
    fn branch_if(&mut self, condition: Value, relative_depth: u32) {
        self.e.flush_fuel();
        let (label, count) = self.label(self.frame_at(relative_depth));
        let args = self.block_args(count);
        let next = self.e.b.create_block();
        self.e.b.ins().brif(condition, label, &args, next, &[]);
        self.e.b.seal_block(next);
        self.e.b.switch_to_block(next);
    }

    fn br_on_null(&mut self, relative_depth: u32) {
        let reference = self.pop();
        let null = ops::reference::is_null(&mut self.e, reference);
        self.branch_if(null, relative_depth);
        self.stack.push(reference);
    }

    fn br_on_non_null(&mut self, relative_depth: u32) {
        // The reference is the last value that the branch carries, and is gone if it is null.
        let reference = self.peek();
        self.branch_if(reference, relative_depth);
        self.pop();
    }

    fn br_table(&mut self, targets: &BrTable<'_>) -> Result<()> {
        let index = self.pop();
        self.e.flush_fuel();
        let depths: Vec<u32> = targets.targets().collect::<Result<_, _>>()?;
        if depths.len() <= MAX_TABLE {
            self.jump_table(index, &depths, targets.default());
        } else {
            self.two_level_table(index, &depths, targets.default());
        }
        self.end_block();
        Ok(())
    }

    /// Branches by the upper bits of an index to one of several tables, and there by the lower ones.
    fn two_level_table(&mut self, index: Value, depths: &[u32], default: u32) {
        let (default_label, count) = self.label(self.frame_at(default));
        let beyond = self.e.b.create_block();
        let parts: Vec<(Block, &[u32])> =
            depths.chunks(PART_OF_TABLE).map(|part| (self.e.b.create_block(), part)).collect();
        let mut call = |block| BlockCall::new(block, [], &mut self.e.b.func.dfg.value_lists);
        let (calls, otherwise) = (parts.iter().map(|(block, _)| call(*block)).collect::<Vec<_>>(), call(beyond));
        let table = self.e.b.create_jump_table(JumpTableData::new(otherwise, &calls));
        let upper = self.e.b.ins().ushr_imm_u(index, i64::from(PART_OF_TABLE.ilog2()));
        self.e.b.ins().br_table(upper, table);
        self.e.b.seal_block(beyond);
        self.e.b.switch_to_block(beyond);
        let args = self.block_args(count);
        self.e.b.ins().jump(default_label, &args);
        for (block, part) in parts {
            self.e.b.seal_block(block);
            self.e.b.switch_to_block(block);
            let lower = self.e.b.ins().band_imm_u(index, PART_OF_TABLE as i64 - 1);
            self.jump_table(lower, part, default);
        }
    }

    /// Branches by an index to one of the labels at these depths, or to that at `default`.
    fn jump_table(&mut self, index: Value, depths: &[u32], default: u32) {
        // Where many entries have the same target they share a block in between: arguments are passed in one place.
        let mut distinct = depths.to_vec();
        distinct.push(default);
        distinct.sort_unstable();
        let mut between: Vec<(u32, Block, Option<Block>)> = Vec::new();
        for group in distinct.chunk_by(|a, b| a == b) {
            let (label, count) = self.label(self.frame_at(group[0]));
            let own = (count > 0 || group.len() > SHARED_EDGES).then(|| self.e.b.create_block());
            between.push((group[0], label, own));
        }
        let mut call = |depth: &u32| {
            let at = between.partition_point(|(d, ..)| d < depth);
            let (_, label, own) = between[at];
            BlockCall::new(own.unwrap_or(label), [], &mut self.e.b.func.dfg.value_lists)
        };
        let (entries, default) = (depths.iter().map(&mut call).collect::<Vec<_>>(), call(&default));
        let table = self.e.b.create_jump_table(JumpTableData::new(default, &entries));
        self.e.b.ins().br_table(index, table);
        for (depth, label, own) in between {
            let Some(own) = own else { continue };
            let count = self.frames[self.frame_at(depth)].label_types().len();
            let args = self.block_args(count);
            self.e.b.seal_block(own);
            self.e.b.switch_to_block(own);
            self.e.b.ins().jump(label, &args);
        }
    }
}

/// Calls.
impl FuncTranslator<'_, '_> {
    /// `behind`: the operators that follow.
    fn call(&mut self, op: &Operator<'_>, behind: &OperatorsReader<'_>) -> Result<()> {
        let module = self.e.env.module;
        let frequency = self.frequency(op);
        let is_rare = frequency == Frequency::Rare;
        if is_rare {
            self.begin_rare_part();
        }
        if let Operator::Call { function_index } = *op
            && !is_rare
            && self.inline(FuncIndex(function_index), frequency == Frequency::Frequent, behind)?
        {
            return Ok(());
        }
        let returns = matches!(op, Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. });
        let (callee, ty) = match *op {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                let func = FuncIndex(function_index);
                (ops::call::direct(&mut self.e, func), module.funcs[func].ty)
            }
            Operator::CallIndirect { type_index, .. }
            | Operator::ReturnCallIndirect { type_index, .. }
            | Operator::CallRef { type_index }
            | Operator::ReturnCallRef { type_index } => {
                let ty = TypeIndex(type_index);
                let operand = self.pop();
                let source = match *op {
                    Operator::CallIndirect { table_index, .. } | Operator::ReturnCallIndirect { table_index, .. } => {
                        Source::element(&mut self.e, TableIndex(table_index), operand)
                    }
                    _ => Source::reference(&mut self.e, operand),
                };
                let likely = self.likely_targets(ty);
                if !likely.is_empty() {
                    return self.call_likely(&likely, source, (ty, returns), behind);
                }
                let callee = source.callee(&mut self.e, ty);
                self.record_target(callee);
                (callee, ty)
            }
            _ => unreachable!("the caller looked"),
        };
        let ty = module.signature(ty);
        let args = self.pop_n(ty.params.len());
        self.call_callee(callee, &args, &ty.results, returns);
        Ok(())
    }

    /// A call, which returns or is a tail call.
    fn call_callee(&mut self, callee: Callee, args: &[Value], results: &[ValType], returns: bool) {
        if returns {
            self.call_with_handlers(callee, args, results, None);
        } else if self.body.is_inlined() {
            self.return_call_inlined(callee, args, results);
        } else {
            self.return_call(callee, args);
        }
    }

    /// What follows, to the end of the current block, is placed far from the rest of the function.
    ///
    /// That the function rarely comes here does not say that it rarely comes to the beginning of the block: a call in
    /// between may throw, or not have returned yet. And the entry block is entered always. There another block begins.
    fn begin_rare_part(&mut self) {
        let Some(block) = self.e.b.current_block() else { return };
        let func = &self.e.b.func;
        if func.layout.is_cold(block) {
            return;
        }
        let is_entry = func.layout.entry_block().is_none_or(|entry| entry == block);
        let may_leave = |inst| func.dfg.insts[inst].opcode().is_call();
        if !is_entry && !func.layout.block_insts(block).any(may_leave) {
            self.e.b.set_cold_block(block);
            return;
        }
        let rare = self.e.b.create_block();
        self.e.b.set_cold_block(rare);
        self.e.b.ins().jump(rare, &[]);
        self.e.b.seal_block(rare);
        self.e.b.switch_to_block(rare);
    }

    /// How often the function comes to this call.
    fn frequency(&self, op: &Operator<'_>) -> Frequency {
        let Some(profile) = self.profile else { return Frequency::Unknown };
        let facts = profile.facts(self.body.func);
        match *op {
            Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
                let callee = self.e.env.module.defined_func(FuncIndex(function_index));
                callee.map_or(Frequency::Unknown, |callee| profile.frequency(&facts, callee))
            }
            _ if facts.idle.binary_search(&(self.location - self.body.start)).is_ok() => Frequency::Rare,
            _ => Frequency::Unknown,
        }
    }

    /// The functions of type `ty` of which the current operator is known to call nearly always one, the likelier first.
    fn likely_targets(&self, ty: TypeIndex) -> SmallVec<[FuncIndex; 2]> {
        let Some(profile) = self.profile else { return SmallVec::new() };
        let (module, facts) = (self.e.env.module, profile.facts(self.body.func));
        let targets = facts.targets(self.location - self.body.start).map(|func| module.func_index(func));
        // Of another type they may be as well, if that is the same or a subtype; then the call has to check it.
        targets.filter(|func| module.funcs.get(*func).is_some_and(|func| func.ty == ty)).collect()
    }

    /// An indirect call that nearly always calls one of `funcs`, which are of its type: if it does, the function is called
    /// directly or inlined, else it is called like any other. A tail call is a direct one then.
    fn call_likely(
        &mut self,
        funcs: &[FuncIndex],
        mut source: Source,
        (ty, returns): (TypeIndex, bool),
        behind: &OperatorsReader<'_>,
    ) -> Result<()> {
        let module = self.e.env.module;
        let signature = module.signature(ty);
        let identity = source.identity(&mut self.e);
        let args = self.pop_n(signature.params.len());
        self.push_frame(FrameKind::Block, BlockSig::Func(signature), 0);
        let mut direct = SmallVec::<[(FuncIndex, Block); 2]>::new();
        for (i, func) in funcs.iter().enumerate() {
            let Some(defined) = module.defined_func(*func) else {
                return Err(CompileError::internal("a likely target has no body"));
            };
            let likely = identity.is(&mut self.e, defined);
            let (block, other) = (self.e.b.create_block(), self.e.b.create_block());
            if i + 1 == funcs.len() {
                self.e.b.set_cold_block(other);
            }
            self.e.b.ins().brif(likely, block, &[], other, &[]);
            self.e.b.seal_block(block);
            self.e.b.seal_block(other);
            self.e.b.switch_to_block(other);
            direct.push((*func, block));
        }
        let callee = source.callee(&mut self.e, ty);
        self.call_callee(callee, &args, &signature.results, returns);
        let offset = self.location - self.body.start;
        for (func, block) in direct {
            self.leave_part();
            // An inlined body has left its own.
            self.locate(offset);
            let height = self.current_frame().height;
            self.stack.truncate(height);
            self.e.b.switch_to_block(block);
            self.refresh_operands();
            self.reachable = true;
            self.stack.extend_from_slice(&args);
            if !returns || !self.inline(func, true, behind)? {
                let args = self.pop_n(args.len());
                let callee = ops::call::direct(&mut self.e, func);
                self.call_callee(callee, &args, &signature.results, returns);
            }
        }
        self.end();
        Ok(())
    }

    fn return_call(&mut self, callee: Callee, args: &[Value]) {
        self.e.flush_fuel();
        let mut all = SmallVec::<[Value; 16]>::new();
        all.push(callee.context);
        all.extend_from_slice(args);
        match callee.target {
            Target::Direct(func) => self.e.b.ins().return_call(func, &all),
            Target::Indirect(signature, code) => self.e.b.ins().return_call_indirect(signature, code, &all),
        };
        self.end_block();
    }
}
