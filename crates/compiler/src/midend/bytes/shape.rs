//! Finds the loops: obligations 1, 2, 3, 4 and 5 as far as they do not depend on what is known at run time.

use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::condcodes::{CondCode, IntCC};
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{ArgumentPurpose, Block, Function, Inst, InstructionData, MemFlagsData, Opcode, Value};
use kiln_env::MemoryIndex;
use kiln_env::layout::{MemoryPlace, MemoryStyle, memory};
use smallvec::SmallVec;

use super::linear::{Induction, Linear};
use crate::midend::edit;
use crate::module_env::ModuleEnv;

/// Instructions of a loop.
const MAX_INSTS: usize = 48;

/// A loop that can do its work in bulk.
pub(super) struct Loop {
    pub(super) header: Block,
    /// The only predecessor in the loop.
    pub(super) latch: Block,
    /// What is added to each header parameter in an iteration.
    pub(super) steps: Vec<u32>,
    /// How often the loop stays by each of its counters.
    pub(super) counts: SmallVec<[Count; 2]>,
    pub(super) work: Work,
    /// Address of the memory's first byte.
    pub(super) base: Value,
    pub(super) memory: MemoryIndex,
}

/// What the bulk does.
pub(super) enum Work {
    /// Copies; the second is the destination.
    Copy(Access, Access),
    /// Fills with a value that does not change, as wide as the access.
    Fill(Access, Value),
    /// Stays in the loop while all of the conditions hold.
    Search(Vec<Access>, Vec<Condition>),
}

/// Accesses to a memory, one in each iteration.
#[derive(Clone)]
pub(super) struct Access {
    inst: Inst,
    /// The index in the first iteration.
    pub(super) index: Linear,
    pub(super) offset: u32,
    /// Bytes; also the distance from iteration to iteration.
    pub(super) width: u8,
    /// Whether addresses go down.
    pub(super) down: bool,
    pub(super) flags: MemFlagsData,
    base: Value,
}

/// How often a loop stays until a counter makes it leave.
pub(super) enum Count {
    /// Until this is zero, which it approaches one by one: `value` times, or, if it goes up, 2^32 less that.
    Zero { value: Linear, up: bool },
    /// While the first, which goes up by one, is less than the second, which does not change.
    Less { value: Linear, bound: Linear, signed: bool },
}

/// A condition on bytes under which a loop stays. Positions among the accesses.
pub(super) enum Condition {
    /// Two are equal.
    Same(usize, usize),
    /// One differs from a constant.
    Not(usize, u8),
    /// One equals a constant.
    Is(usize, u8),
}

/// What decides at an exit.
enum Exit {
    Count(Count),
    Condition(Condition),
}

/// The first loops of a function, `max` at most, whose work can be done in bulk.
pub(super) fn find(env: &ModuleEnv<'_>, func: &Function, max: usize) -> Vec<Loop> {
    let mut candidates = Vec::new();
    for latch in func.layout.blocks() {
        let Some(branch) = func.layout.last_inst(latch) else { continue };
        let InstructionData::Brif { blocks, .. } = func.dfg.insts[branch] else { continue };
        for call in blocks {
            let header = call.block(&func.dfg.value_lists);
            if header == latch || leads_to(func, header, latch) {
                candidates.push((header, latch));
            }
        }
    }
    if candidates.is_empty() {
        return Vec::new();
    }
    let cfg = ControlFlowGraph::with_function(func);
    let mut loops: Vec<Loop> = Vec::new();
    for (header, latch) in candidates {
        // A loop with two ways back is no candidate: it is found once.
        if loops.len() < max
            && let Some(found) = Finder::new(env, func, &cfg, header, latch).and_then(Finder::find)
        {
            loops.push(found);
        }
    }
    loops
}

fn leads_to(func: &Function, from: Block, to: Block) -> bool {
    let Some(branch) = func.layout.last_inst(from) else { return false };
    let InstructionData::Brif { blocks, .. } = func.dfg.insts[branch] else { return false };
    blocks.iter().any(|call| call.block(&func.dfg.value_lists) == to)
}

struct Finder<'a> {
    env: &'a ModuleEnv<'a>,
    func: &'a Function,
    vmctx: Value,
    induction: Induction,
    loads: Vec<Access>,
    store: Option<(Access, Value)>,
}

impl<'a> Finder<'a> {
    fn new(
        env: &'a ModuleEnv<'a>,
        func: &'a Function,
        cfg: &ControlFlowGraph,
        header: Block,
        latch: Block,
    ) -> Option<Finder<'a>> {
        if func.layout.entry_block() == Some(header) {
            return None;
        }
        let length = |block| func.layout.block_insts(block).take(MAX_INSTS + 1).count();
        let insts = length(header) + if header == latch { 0 } else { length(latch) };
        if insts > MAX_INSTS || func.dfg.num_block_params(header) > MAX_INSTS {
            return None;
        }
        // One way back, and one way from the header to the latch, with nothing passed.
        if header != latch && (cfg.pred_iter(latch).count() != 1 || func.dfg.num_block_params(latch) != 0) {
            return None;
        }
        let InstructionData::Brif { blocks, .. } = func.dfg.insts[func.layout.last_inst(latch)?] else { return None };
        let pool = &func.dfg.value_lists;
        let mut back = blocks.iter().filter(|c| c.block(pool) == header);
        let args: Option<SmallVec<[Value; 8]>> = back.next()?.args(pool).map(|a| a.as_value()).collect();
        if back.next().is_some() {
            return None;
        }
        let induction = Induction::new(func, header, latch, &args?)?;
        let vmctx = func.special_param(ArgumentPurpose::VMContext)?;
        Some(Finder { env, func, vmctx, induction, loads: Vec::new(), store: None })
    }

    fn find(mut self) -> Option<Loop> {
        let (header, latch) = (self.induction.header, self.induction.latch);
        let mut blocks: SmallVec<[Block; 2]> = [header, latch].into();
        blocks.dedup();
        let insts: Vec<Inst> = blocks.iter().flat_map(|b| self.func.layout.block_insts(*b)).collect();
        insts.into_iter().try_for_each(|inst| self.instruction(inst))?;
        let mut counts = SmallVec::new();
        let mut conditions = Vec::new();
        for (at, &block) in blocks.iter().enumerate() {
            match self.exit(block, *blocks.get(at + 1).unwrap_or(&header))? {
                Exit::Count(count) => counts.push(count),
                Exit::Condition(condition) => conditions.push(condition),
            }
        }
        let bases = self.loads.iter().chain(self.store.iter().map(|s| &s.0)).map(|a| a.base);
        let base = bases.clone().next()?;
        let memory = self.memory(base)?;
        for other in bases {
            (self.memory(other)? == memory).then_some(())?;
        }
        let work = self.work(&counts, conditions)?;
        Some(Loop { header, latch, steps: self.induction.steps, counts, work, base, memory })
    }

    fn work(&self, counts: &[Count], conditions: Vec<Condition>) -> Option<Work> {
        match (&self.store, &self.loads[..]) {
            (None, loads) => {
                let bytes = loads.iter().all(|a| a.width == 1 && !a.down);
                (bytes && !conditions.is_empty()).then(|| Work::Search(loads.to_vec(), conditions))
            }
            (Some(_), _) if counts.is_empty() || !conditions.is_empty() => None,
            (Some((to, value)), []) => {
                let fixed =
                    !self.induction.contains(self.func, *value) || edit::constant(&self.func.dfg, *value).is_some();
                fixed.then(|| Work::Fill(to.clone(), *value))
            }
            (Some((to, value)), [from]) => {
                let unchanged = edit::def(&self.func.dfg, *value) == Some(from.inst)
                    && (from.width, from.down) == (to.width, to.down)
                    // A load behind the store might see what it wrote.
                    && self.func.layout.pp_cmp(from.inst, to.inst).is_lt();
                unchanged.then(|| Work::Copy(from.clone(), to.clone()))
            }
            _ => None,
        }
    }

    /// Looks at one instruction: it must be pure or one of the accesses.
    fn instruction(&mut self, inst: Inst) -> Option<()> {
        let func = self.func;
        let data = func.dfg.insts[inst];
        let op = data.opcode();
        match data {
            InstructionData::Brif { .. } => Some(()),
            InstructionData::Jump { .. } => None,
            InstructionData::Load { arg, offset, flags, .. } => {
                let flags = func.dfg.mem_flags[flags];
                if flags.readonly() && flags.notrap() && func.dfg.resolve_aliases(arg) == self.vmctx {
                    return Some(());
                }
                let ty = func.dfg.value_type(func.dfg.first_result(inst));
                let width = match op {
                    Opcode::Uload8 | Opcode::Sload8 => 1,
                    Opcode::Uload16 | Opcode::Sload16 => 2,
                    Opcode::Uload32 | Opcode::Sload32 => 4,
                    Opcode::Load if ty.bytes() <= 8 => ty.bytes() as u8,
                    _ => return None,
                };
                let access = self.access(inst, arg, offset.into(), width, flags)?;
                self.loads.push(access);
                Some(())
            }
            InstructionData::Store { args: [value, address], offset, flags, .. } if self.store.is_none() => {
                let value = func.dfg.resolve_aliases(value);
                let width = match op {
                    Opcode::Istore8 => 1,
                    Opcode::Istore16 => 2,
                    Opcode::Istore32 => 4,
                    Opcode::Store if func.dfg.value_type(value).bytes() <= 8 => {
                        func.dfg.value_type(value).bytes() as u8
                    }
                    _ => return None,
                };
                let flags = func.dfg.mem_flags[flags];
                self.store = Some((self.access(inst, address, offset.into(), width, flags)?, value));
                Some(())
            }
            _ => {
                let effects = op.can_load() || op.can_store() || op.can_trap() || op.other_side_effects();
                (!effects && !op.is_call() && !op.is_branch() && !op.is_terminator()).then_some(())
            }
        }
    }

    /// An access whose address is `base + extend(index)`.
    fn access(&self, inst: Inst, address: Value, offset: i32, width: u8, flags: MemFlagsData) -> Option<Access> {
        let dfg = &self.func.dfg;
        let data = dfg.insts[edit::def(dfg, dfg.resolve_aliases(address))?];
        let InstructionData::Binary { opcode: Opcode::Iadd, args: [base, extended] } = data else { return None };
        let InstructionData::Unary { opcode: Opcode::Uextend, arg } =
            dfg.insts[edit::def(dfg, dfg.resolve_aliases(extended))?]
        else {
            return None;
        };
        (dfg.value_type(arg) == I32 && dfg.value_type(extended) == I64).then_some(())?;
        let index = self.induction.linear(self.func, arg)?;
        let step = self.induction.step(self.func, &index);
        let down = step == u32::from(width).wrapping_neg();
        // Wider pieces are only taken upwards.
        (step == u32::from(width) || (down && width == 1)).then_some(())?;
        let offset = u32::try_from(offset).ok()?;
        Some(Access { inst, index, offset, width, down, flags, base: dfg.resolve_aliases(base) })
    }

    /// The memory whose first byte has this address. It has no bounds checks and belongs to one thread.
    fn memory(&self, base: Value) -> Option<MemoryIndex> {
        let dfg = &self.func.dfg;
        let InstructionData::Load { opcode: Opcode::Load, arg, offset, flags } = dfg.insts[edit::def(dfg, base)?]
        else {
            return None;
        };
        let known = dfg.resolve_aliases(arg) == self.vmctx && dfg.mem_flags[flags].readonly();
        let offset = u32::try_from(i32::from(offset)).ok()?;
        let found = self.env.module.memories.iter().find(|(index, ty)| {
            let at = match self.env.layout.memory(*index) {
                MemoryPlace::Inline(at) => at + memory::base,
                MemoryPlace::Indirect(at) => at + 8,
            };
            let reserved = matches!(MemoryStyle::of(ty, self.env.tunables), MemoryStyle::Reserved { .. });
            at == offset && reserved && !ty.shared
        });
        found.filter(|_| known).map(|(index, _)| index)
    }

    /// What decides whether `block` goes on to `next`.
    fn exit(&self, block: Block, next: Block) -> Option<Exit> {
        let func = self.func;
        let InstructionData::Brif { arg, blocks, .. } = func.dfg.insts[func.layout.last_inst(block)?] else {
            return None;
        };
        let leads_on = blocks.map(|c| c.block(&func.dfg.value_lists) == next);
        if leads_on[0] == leads_on[1] {
            return None;
        }
        let (value, inverted) = edit::truth(&func.dfg, arg);
        // Whether the loop goes on if `value` is not zero.
        let if_not_zero = leads_on[0] ^ inverted;
        if let Some(access) = self.byte(value) {
            let zero = if if_not_zero { Condition::Not(access, 0) } else { Condition::Is(access, 0) };
            return Some(Exit::Condition(zero));
        }
        let compare = edit::def(&func.dfg, value).map(|inst| func.dfg.insts[inst]);
        let Some(InstructionData::IntCompare { cond, args: [x, y], .. }) = compare else {
            return if_not_zero.then(|| self.until_zero(self.induction.linear(func, value)?)).flatten();
        };
        let cond = if if_not_zero { cond } else { cond.complement() };
        if func.dfg.value_type(x) != I32 {
            return None;
        }
        self.bytes(cond, x, y).map(Exit::Condition).or_else(|| self.count(cond, x, y))
    }

    /// A counter that is compared.
    fn count(&self, cond: IntCC, x: Value, y: Value) -> Option<Exit> {
        let [x, y] = [x, y].map(|v| self.induction.linear(self.func, v));
        let (x, y) = (x?, y?);
        let (value, bound, signed) = match cond {
            IntCC::NotEqual => return self.until_zero(x.minus(&y)?),
            IntCC::UnsignedLessThan => (x, y, false),
            IntCC::SignedLessThan => (x, y, true),
            IntCC::UnsignedGreaterThan => (y, x, false),
            IntCC::SignedGreaterThan => (y, x, true),
            _ => return None,
        };
        let steps = (self.induction.step(self.func, &value), self.induction.step(self.func, &bound));
        (steps == (1, 0)).then_some(Exit::Count(Count::Less { value, bound, signed }))
    }

    fn until_zero(&self, value: Linear) -> Option<Exit> {
        match self.induction.step(self.func, &value) {
            1 => Some(Exit::Count(Count::Zero { value, up: true })),
            u32::MAX => Some(Exit::Count(Count::Zero { value, up: false })),
            _ => None,
        }
    }

    /// A comparison of bytes.
    fn bytes(&self, cond: IntCC, x: Value, y: Value) -> Option<Condition> {
        let is_constant = |v| edit::constant(&self.func.dfg, self.func.dfg.resolve_aliases(v));
        match (cond, self.byte(x), self.byte(y), is_constant(y)) {
            (IntCC::Equal, Some(a), Some(b), _) => Some(Condition::Same(a, b)),
            (IntCC::Equal, Some(a), None, Some(c)) => Some(Condition::Is(a, u8::try_from(c).ok()?)),
            (IntCC::NotEqual, Some(a), None, Some(c)) => Some(Condition::Not(a, u8::try_from(c).ok()?)),
            _ => None,
        }
    }

    /// The access that loaded a byte, zero-extended: position among the loads.
    fn byte(&self, value: Value) -> Option<usize> {
        let dfg = &self.func.dfg;
        let mut inst = edit::def(dfg, dfg.resolve_aliases(value))?;
        if let InstructionData::Binary { opcode: Opcode::Band, args: [x, mask] } = dfg.insts[inst]
            && edit::constant(dfg, dfg.resolve_aliases(mask)) == Some(255)
        {
            inst = edit::def(dfg, dfg.resolve_aliases(x))?;
        }
        (dfg.insts[inst].opcode() == Opcode::Uload8).then_some(())?;
        self.loads.iter().position(|a| a.inst == inst)
    }
}
