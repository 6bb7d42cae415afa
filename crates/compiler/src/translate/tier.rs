//! Functions that change their tier: what `kiln_env::tier` says about counters and on-stack replacement, for both sides
//! of the change.

use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{Block, BlockArg, Function, InstBuilder, MemFlagsData, Value};
use cranelift_frontend::Variable;
use kiln_env::layout::{context, store_context};
use kiln_env::tier::{entry_counter, loop_counter, osr_slot, site, sites_address};
use kiln_env::{Builtin, DefinedFuncIndex, abi, limits};
use smallvec::SmallVec;

use super::emitter::{Emitter, Region};
use super::func::FuncTranslator;
use super::locals::Locals;
use super::ops::call::{Callee, Target};
use crate::error::{CompileError, Result};
use crate::module_env::ModuleEnv;

/// What a function under translation has to do with changes of tier.
pub(super) enum Role {
    /// Nothing: it is of the second tier, and entered at its beginning.
    Final,
    /// It is of the first tier, and counts.
    Counting(Counting),
    /// It is of the second tier, and entered at a loop.
    Entered(Entered),
}

/// A function of the first tier.
pub(super) struct Counting {
    func: DefinedFuncIndex,
    /// Where all its loops leave it, with the code to go on in.
    exit: Option<Block>,
    /// Offsets of its calls whose targets are recorded.
    sites: Vec<u32>,
}

/// A function of the second tier that is entered at a loop.
///
/// It is translated from its beginning like any other, but nothing leads there. What is on the operand stack below the
/// parameters of a loop around the entry comes by two ways, and so is kept in variables while the loop is open.
pub(super) struct Entered {
    /// Offset of the loop in the body.
    offset: u32,
    /// The block that leads to the loop's header; `None` when it is done.
    bridge: Option<Block>,
    buffer: Value,
    /// Variables of the lowest operands.
    operands: Vec<Variable>,
    /// There are more operands than can be kept.
    too_many: bool,
}

/// Operands below loops that can be kept in variables: each is looked at for each block of the function. Compilers leave
/// none there, or few.
const MAX_KEPT: usize = 256;

impl Role {
    /// A function that counts.
    pub(super) fn counting(func: DefinedFuncIndex) -> Role {
        Role::Counting(Counting { func, exit: None, sites: Vec::new() })
    }

    /// Offsets of the calls that have a record of their targets, by position of the record.
    pub(super) fn take_sites(&mut self) -> Vec<u32> {
        if let Role::Counting(counting) = self { std::mem::take(&mut counting.sites) } else { Vec::new() }
    }

    /// An error if the loop at which the function is to be entered is not there.
    pub(super) fn check_entered(&self) -> Result<()> {
        match self {
            Role::Entered(Entered { bridge: Some(_), offset, .. }) => {
                Err(CompileError::config(format_args!("there is no loop to enter at offset {offset:#x}")))
            }
            Role::Entered(Entered { too_many: true, .. }) => {
                Err(CompileError::limit("operands below a loop to enter", MAX_KEPT as u64 + 1, MAX_KEPT as u64))
            }
            _ => Ok(()),
        }
    }
}

/// Begins a function that is entered at a loop: reads the locals from the buffer. The current block is the entry of
/// the function; goes on in a block that nothing leads to, where locals are declared already.
pub(super) fn begin_entered(e: &mut Emitter, locals: &Locals, offset: u32) -> Role {
    let buffer = buffer(e);
    for (index, ty) in (0..).zip(locals.types()) {
        let flags = e.slot_flags(Region::Slots);
        let value = e.b.ins().load(ty, flags, buffer, osr_slot(index) as i32);
        locals.set(e, index, value);
    }
    let bridge = e.b.create_block();
    e.b.ins().jump(bridge, &[]);
    e.b.seal_block(bridge);
    let nowhere = e.b.create_block();
    e.b.seal_block(nowhere);
    e.b.switch_to_block(nowhere);
    Role::Entered(Entered { offset, bridge: Some(bridge), buffer, operands: Vec::new(), too_many: false })
}

/// The buffer's address.
fn buffer(e: &mut Emitter) -> Value {
    let store = e.store_context();
    let flags = e.trusted(Region::Store);
    e.b.ins().load(I64, flags, store, store_context::osr_buffer as i32)
}

/// Adds 1 to the counter at `offset`, and gives whether it ran out.
fn count(e: &mut Emitter, offset: u32) -> Value {
    let counters = e.context_constant(I64, context::counters);
    let flags = e.trusted(Region::Counters);
    let count = e.b.ins().load(I32, flags, counters, offset as i32);
    let count = e.b.ins().iadd_imm_s(count, 1);
    e.b.ins().store(flags, count, counters, offset as i32);
    e.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, 0)
}

/// The record of an indirect call.
struct Candidates {
    /// Where the function's records are.
    sites: Value,
    /// Where this one is among them.
    first: i32,
    flags: MemFlagsData,
}

impl Candidates {
    /// `address`: where the address of the function's records is among the counters.
    fn new(e: &mut Emitter, address: u32, first: i32) -> Candidates {
        let counters = e.context_constant(I64, context::counters);
        let flags = e.trusted(Region::Counters);
        let sites = e.b.ins().load(I64, flags, counters, address as i32);
        Candidates { sites, first, flags }
    }

    /// Offset of a field of one of the two.
    fn field(&self, candidate: i32, offset: u32) -> i32 {
        self.first + candidate * site::NEXT as i32 + offset as i32
    }

    fn add(&self, e: &mut Emitter, (candidate, offset): (i32, u32), n: i64) {
        let at = self.field(candidate, offset);
        let value = e.b.ins().load(I32, self.flags, self.sites, at);
        let value = e.b.ins().iadd_imm_s(value, n);
        e.b.ins().store(self.flags, value, self.sites, at);
    }

    /// Counts that `code` is called: `kiln_env::tier` says how.
    fn count(&self, e: &mut Emitter, code: Value) {
        let [known, taken] = [(); 2].map(|()| [(); 2].map(|()| e.b.create_block()));
        let done = e.b.create_block();
        for (candidate, known) in (0..).zip(known) {
            let found = e.b.ins().load(I64, self.flags, self.sites, self.field(candidate, site::CODE));
            let same = e.b.ins().icmp(IntCC::Equal, found, code);
            branch_or_next(e, same, known);
        }
        for (candidate, taken) in (0..).zip(taken) {
            let count = e.b.ins().load(I32, self.flags, self.sites, self.field(candidate, site::COUNT));
            let free = e.b.ins().icmp_imm_u(IntCC::Equal, count, 0);
            branch_or_next(e, free, taken);
        }
        for candidate in 0..2 {
            self.add(e, (candidate, site::COUNT), -1);
        }
        self.add(e, (0, site::OTHERS), 1);
        e.b.ins().jump(done, &[]);
        for ((candidate, known), taken) in (0..).zip(known).zip(taken) {
            e.b.seal_block(taken);
            e.b.switch_to_block(taken);
            e.b.ins().store(self.flags, code, self.sites, self.field(candidate, site::CODE));
            e.b.ins().jump(known, &[]);
            e.b.seal_block(known);
            e.b.switch_to_block(known);
            self.add(e, (candidate, site::COUNT), 1);
            e.b.ins().jump(done, &[]);
        }
        e.b.seal_block(done);
        e.b.switch_to_block(done);
    }
}

/// Branches to a block, or goes on in a new one.
fn branch_or_next(e: &mut Emitter, condition: Value, block: Block) {
    let next = e.b.create_block();
    e.b.ins().brif(condition, block, &[], next, &[]);
    e.b.seal_block(next);
    e.b.switch_to_block(next);
}

/// Removes what nothing leads to: passes need not see it.
pub(super) fn remove_unreachable(env: &ModuleEnv<'_>, func: Function) -> Result<Function> {
    let mut context = Context::for_function(func);
    context.compute_cfg();
    context.compute_domtree();
    context.eliminate_unreachable_code(env.isa).map_err(|e| CompileError::codegen(format_args!("{e}")))?;
    Ok(context.func)
}

impl FuncTranslator<'_, '_> {
    /// At the function's entry.
    pub(super) fn count_entry(&mut self) {
        let Role::Counting(Counting { func, .. }) = self.role else { return };
        let out = count(&mut self.e, entry_counter(func));
        self.e.unlikely(out, |e| {
            let func = e.i32(func.0);
            e.builtin(Builtin::TierUp, &[func]);
        });
    }

    /// Before an indirect call: notes what is called.
    pub(super) fn record_target(&mut self, callee: Callee) {
        let (Role::Counting(Counting { func, sites, .. }), Target::Indirect(_, code)) = (&mut self.role, callee.target)
        else {
            return;
        };
        let first = sites.len() as i32 * site::SIZE as i32;
        sites.push(self.location);
        let address = sites_address(*func);
        Candidates::new(&mut self.e, address, first).count(&mut self.e, code);
    }

    /// At the header of the loop at `offset` in the body.
    pub(super) fn count_loop(&mut self, offset: u32) {
        let in_handler = self.exceptions.open_handlers > 0;
        let Role::Counting(Counting { func, exit, .. }) = &mut self.role else { return };
        let slots = self.body.locals.len() + self.stack.len();
        if in_handler || slots > limits::MAX_OSR_SLOTS as usize {
            return;
        }
        let first = self.body.locals.len() as u32;
        let (func, stack) = (*func, &self.stack);
        let out = count(&mut self.e, loop_counter(func));
        self.e.unlikely(out, |e| {
            let func = e.i32(func.0);
            let at = e.i32(offset);
            let code = e.builtin_value(Builtin::Osr, &[func, at]);
            let exit = *exit.get_or_insert_with(|| {
                let block = e.b.create_block();
                e.b.append_block_param(block, I64);
                e.b.set_cold_block(block);
                block
            });
            let (leave, stay) = (e.b.create_block(), e.b.create_block());
            e.b.set_cold_block(leave);
            e.b.set_cold_block(stay);
            e.b.ins().brif(code, leave, &[], stay, &[]);
            e.b.seal_block(leave);
            e.b.seal_block(stay);
            e.b.switch_to_block(leave);
            if !stack.is_empty() {
                let buffer = buffer(e);
                let flags = e.slot_flags(Region::Slots);
                for (i, value) in (first..).zip(stack) {
                    e.b.ins().store(flags, *value, buffer, osr_slot(i) as i32);
                }
            }
            e.b.ins().jump(exit, &[code.into()]);
            e.b.switch_to_block(stay);
        });
    }

    /// Behind the function's end: where its loops leave it.
    pub(super) fn leave_loops(&mut self) {
        let Role::Counting(Counting { exit: Some(exit), .. }) = self.role else { return };
        self.e.b.seal_block(exit);
        self.e.b.switch_to_block(exit);
        let code = self.e.b.block_params(exit)[0];
        let buffer = buffer(&mut self.e);
        self.body.locals.copy_to(&mut self.e, buffer);
        let mut signature = self.e.b.func.signature.clone();
        signature.params.truncate(1);
        let signature = self.e.b.import_signature(signature);
        let vmctx = self.e.env.vmctx;
        self.e.b.ins().return_call_indirect(signature, code, &[vmctx]);
    }

    /// Before the loop at `offset` with so many parameters is opened: keeps the operands below them in variables, if the
    /// function may be entered inside of the loop.
    pub(super) fn keep_operands(&mut self, params: usize) {
        let Role::Entered(entered) = &mut self.role else { return };
        if entered.bridge.is_none() || entered.too_many {
            return;
        }
        if self.stack.len() - params > MAX_KEPT {
            entered.too_many = true;
            return;
        }
        for value in &self.stack[..self.stack.len() - params][entered.operands.len()..] {
            let variable = self.e.b.declare_var(self.e.b.func.dfg.value_type(*value));
            if self.e.is_collected(*value) {
                self.e.b.declare_var_needs_stack_map(variable);
            }
            self.e.b.def_var(variable, *value);
            entered.operands.push(variable);
        }
    }

    /// After `header`, of the loop at `offset`, was made and jumped to: enters it here, if this is the place.
    pub(super) fn enter_loop(&mut self, offset: u32, header: Block) {
        let Role::Entered(entered) = &mut self.role else { return };
        if entered.offset != offset || self.body.is_inlined() {
            return;
        }
        let Some(bridge) = entered.bridge.take() else { return };
        let e = &mut self.e;
        e.b.switch_to_block(bridge);
        let flags = e.slot_flags(Region::Slots);
        let mut next = self.body.locals.len() as u32;
        let mut load = |e: &mut Emitter, like: Value| {
            let ty = e.b.func.dfg.value_type(like);
            let value = e.b.ins().load(ty, flags, entered.buffer, osr_slot(next) as i32);
            if e.is_collected(like) {
                e.collected(value);
            }
            next += 1;
            value
        };
        for (variable, value) in entered.operands.iter().zip(&self.stack) {
            let value = load(e, *value);
            e.b.def_var(*variable, value);
        }
        let params: SmallVec<[Value; 4]> = e.b.block_params(header).into();
        let args: SmallVec<[BlockArg; 4]> = params.iter().map(|p| BlockArg::Value(load(e, *p))).collect();
        e.b.ins().jump(header, &args);
    }

    /// At the beginning of a block to which several ways lead: operands that are kept in variables.
    pub(super) fn refresh_operands(&mut self) {
        let Role::Entered(entered) = &self.role else { return };
        for (value, variable) in self.stack.iter_mut().zip(&entered.operands) {
            let collected = self.e.is_collected(*value);
            *value = self.e.b.use_var(*variable);
            if collected {
                self.e.note_collected(*value);
            }
        }
    }

    /// When a frame was closed: operands above the present frame's bottom may change again.
    pub(super) fn release_operands(&mut self) {
        let Role::Entered(entered) = &mut self.role else { return };
        let height = self.frames.last().map_or(0, |f| f.height);
        entered.operands.truncate(height);
    }
}

/// Bytes of a piece that is copied at once: half a slot.
const PIECE: i32 = 8;

impl Locals {
    /// Writes all locals to the buffer.
    fn copy_to(&self, e: &mut Emitter, buffer: Value) {
        let flags = e.slot_flags(Region::Slots);
        if let Some(slot) = self.memory() {
            let size = self.len() as i32 * abi::SLOT_SIZE as i32;
            let (copy, done) = (e.b.create_block(), e.b.create_block());
            e.b.set_cold_block(copy);
            e.b.set_cold_block(done);
            let at = e.b.append_block_param(copy, I64);
            let from = e.b.ins().stack_addr(I64, slot, 0);
            let zero = e.i64(0);
            e.b.ins().jump(copy, &[zero.into()]);
            e.b.switch_to_block(copy);
            let (from, to) = (e.b.ins().iadd(from, at), e.b.ins().iadd(buffer, at));
            let value = e.b.ins().load(I64, flags, from, 0);
            e.b.ins().store(flags, value, to, 0);
            let next = e.b.ins().iadd_imm_s(at, i64::from(PIECE));
            let more = e.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, i64::from(size));
            e.b.ins().brif(more, copy, &[next.into()], done, &[]);
            e.b.seal_block(copy);
            e.b.seal_block(done);
            e.b.switch_to_block(done);
        }
        for index in (0..self.len() as u32).filter(|i| !self.is_in_memory(*i)) {
            let value = self.get(e, index);
            e.b.ins().store(flags, value, buffer, osr_slot(index) as i32);
        }
    }
}
