//! Jump threading: where a block only decides by a parameter of its own, and a predecessor passes a constant for it, the
//! predecessor goes straight to where the decision leads. State machines written as `loop { switch (state) … }` become
//! jumps from state to state.
//!
//! The block is copied for those predecessors, with the parameter replaced by the constant; in the copy the branch is a
//! jump. A block that merely passes its parameter on to one that decides by it is copied as well.
//!
//! Why the result is the same:
//! * A copy contains the same instructions in the same order, with the same locations and trap codes, so a path through
//!   the copy does exactly what it did through the original. The replaced parameter has the value of the constant on
//!   every edge that was led to the copy. Blocks with calls are not copied, so there is one site for each call.
//! * The branch in a copy is replaced by a jump to the target that [`edit::fold`] finds for the constant.
//! * A value of the original that is used elsewhere then has several definitions, one in each copy. They are brought
//!   together as in any construction of SSA form: each block from which a use can be reached without passing a
//!   definition, and which has several predecessors, gets a parameter for the value ([`repair`]). On each path from the
//!   entry to a use there is a definition, because there was one before and paths through copies correspond to paths
//!   through originals.
//!
//! Work is bounded: blocks of few instructions, a number of copies for each function, and a number of blocks in which a
//! value of theirs is alive.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::packed_option::PackedOption;
use cranelift_codegen::entity::{EntitySet, SecondaryMap};
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, BlockArg, Function, Inst, InstBuilder, InstructionData, Value};
use smallvec::SmallVec;

use super::{Plan, edit};
use crate::error::Result;
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;

/// Instructions of a block that is copied, the branch included.
const MAX_BLOCK: usize = 10;
/// Parameters that are looked at: one bit each.
const MAX_PARAMS: usize = 64;
/// Copies made for one function.
const MAX_COPIES: usize = 64;
/// Blocks in which values of one copied block may be alive, summed over its values.
const MAX_LIVE: usize = 400;
/// Blocks that pass a constant on until one decides.
const MAX_RELAYS: u32 = 3;

pub(super) fn run(_: &ModuleEnv<'_>, _: &Plan, ir: &mut FuncIr) -> Result<bool> {
    let func = &mut ir.func;
    let Some(shapes) = shapes(func) else { return Ok(false) };
    let edges = threadable_edges(func, &shapes);
    if edges.is_empty() {
        return Ok(false);
    }
    func.dfg.resolve_all_aliases();
    let live = LiveAreas::new(func, &shapes, &edges);
    let mut threader = Threader { func, shapes, live, copies: HashMap::new(), defs: BTreeMap::new() };
    threader.thread(edges);
    let (defs, live) = (threader.defs, threader.live);
    if defs.is_empty() {
        return Ok(false);
    }
    remove_unreachable(func);
    // Mostly the values of such a block are used nowhere else.
    if defs.keys().any(|value| live.users.contains_key(value)) {
        repair(func, &defs);
    }
    Ok(true)
}

/// What makes a block worth copying.
#[derive(Clone, Copy, Default, PartialEq)]
struct Shape {
    /// The parameters that decide its branch, if nothing else does.
    decides: u64,
    /// Those, and the parameters that it passes on to blocks for which they are of interest.
    interest: u64,
}

type Shapes = SecondaryMap<Block, Shape>;

/// Constants for some parameters: position and bits, ascending.
type Constants = SmallVec<[(u16, u64); 2]>;

/// An edge: a branch and a position among its destinations.
type Edge = (Inst, usize);

/// The blocks that may be copied and decide by parameters, or pass them on to such; `None` if there is none.
fn shapes(func: &Function) -> Option<Shapes> {
    let mut shapes = Shapes::new();
    let mut found = false;
    let mut relays = Vec::new();
    for block in func.layout.blocks() {
        let count = func.dfg.num_block_params(block);
        if count == 0 || count > MAX_PARAMS || func.layout.entry_block() == Some(block) || !can_copy(func, block) {
            continue;
        }
        let decides = decides(func, block).unwrap_or(0);
        if decides != 0 {
            shapes[block] = Shape { decides, interest: decides };
            found = true;
        }
        relays.push(block);
    }
    if !found {
        return None;
    }
    for _ in 0..MAX_RELAYS {
        let mut changed = false;
        for &block in &relays {
            let passed = passed_on(func, &shapes, block);
            if passed & !shapes[block].interest != 0 {
                shapes[block].interest |= passed;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    Some(shapes)
}

fn can_copy(func: &Function, block: Block) -> bool {
    let mut insts = func.layout.block_insts(block);
    let small = insts.by_ref().take(MAX_BLOCK).all(|inst| {
        let op = func.dfg.insts[inst].opcode();
        !op.is_call() && !op.is_return() && func.dfg.user_stack_map_entries(inst).is_none()
    });
    small
        && insts.next().is_none()
        && func.layout.last_inst(block).is_some_and(|inst| {
            use InstructionData::{BranchTable, Brif, Jump};
            matches!(func.dfg.insts[inst], Jump { .. } | Brif { .. } | BranchTable { .. })
        })
}

/// What a branch decides by.
fn discriminant(func: &Function, block: Block) -> Option<Value> {
    match func.dfg.insts[func.layout.last_inst(block)?] {
        InstructionData::Brif { arg, .. } | InstructionData::BranchTable { arg, .. } => Some(arg),
        _ => None,
    }
}

/// The parameters by which a block's branch is decided, if by nothing else.
fn decides(func: &Function, block: Block) -> Option<u64> {
    let params = func.dfg.block_params(block);
    let mut used = 0;
    edit::fold(&func.dfg, discriminant(func, block)?, &mut |v| {
        used |= 1 << params.iter().position(|p| *p == v)?;
        Some(0)
    })?;
    Some(used)
}

/// The parameters that a block passes on to where they are of interest.
fn passed_on(func: &Function, shapes: &Shapes, block: Block) -> u64 {
    let params = func.dfg.block_params(block);
    let mut passed = 0;
    let Some(inst) = func.layout.last_inst(block) else { return 0 };
    if !matches!(func.dfg.insts[inst], InstructionData::Jump { .. } | InstructionData::Brif { .. }) {
        return 0;
    }
    for call in func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables) {
        let shape = shapes[call.block(&func.dfg.value_lists)];
        if shape.interest == 0 {
            continue;
        }
        for (n, arg) in call.args(&func.dfg.value_lists).enumerate() {
            if shape.interest >> n & 1 != 0
                && let BlockArg::Value(value) = arg
                && let value = func.dfg.resolve_aliases(value)
                && let Some(at) = params.iter().position(|p| *p == value)
            {
                passed |= 1 << at;
            }
        }
    }
    passed
}

/// The block that an edge leads to, and the constants that it passes for what is of interest there. `known` are
/// parameters of the edge's own block whose value is known; the last result is whether one of them is passed on.
fn constants(func: &Function, shapes: &Shapes, edge: Edge, known: &[(Value, u64)]) -> Option<(Block, Constants, bool)> {
    let call =
        *func.dfg.insts[edge.0].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables).get(edge.1)?;
    let block = call.block(&func.dfg.value_lists);
    let shape = shapes[block];
    if shape.interest == 0 {
        return None;
    }
    let mut constants = Constants::new();
    let mut relayed = false;
    for (n, arg) in call.args(&func.dfg.value_lists).enumerate().take(MAX_PARAMS) {
        let BlockArg::Value(value) = arg else { continue };
        if shape.interest >> n & 1 == 0 {
            continue;
        }
        let value = func.dfg.resolve_aliases(value);
        if let Some((_, bits)) = known.iter().find(|(v, _)| *v == value) {
            constants.push((n as u16, *bits));
            relayed = true;
        } else if let Some(bits) = edit::constant(&func.dfg, value) {
            constants.push((n as u16, bits));
        }
    }
    (!constants.is_empty()).then_some((block, constants, relayed))
}

/// Whether these constants decide the branch of a block, or of one that it passes them on to.
fn is_useful(func: &Function, shapes: &Shapes, block: Block, constants_here: &Constants, relays: u32) -> bool {
    let have = constants_here.iter().fold(0u64, |bits, (n, _)| bits | 1 << n);
    let shape = shapes[block];
    if shape.decides != 0 && shape.decides & !have == 0 {
        return true;
    }
    let (Some(inst), 1..) = (func.layout.last_inst(block), relays) else { return false };
    if matches!(func.dfg.insts[inst], InstructionData::BranchTable { .. }) {
        return false;
    }
    let params = func.dfg.block_params(block);
    let known: SmallVec<[(Value, u64); 2]> = constants_here.iter().map(|(n, b)| (params[*n as usize], *b)).collect();
    let count = func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables).len();
    (0..count).any(|at| {
        constants(func, shapes, (inst, at), &known)
            .is_some_and(|(next, c, relayed)| relayed && is_useful(func, shapes, next, &c, relays - 1))
    })
}

/// Edges that could go elsewhere.
fn threadable_edges(func: &Function, shapes: &Shapes) -> VecDeque<Edge> {
    let blocks = func.layout.blocks();
    blocks.filter_map(|b| func.layout.last_inst(b)).flat_map(|inst| useful_edges(func, shapes, inst)).collect()
}

/// Those of one branch.
fn useful_edges(func: &Function, shapes: &Shapes, inst: Inst) -> Vec<Edge> {
    if func.dfg.insts[inst].opcode().is_call() {
        return Vec::new();
    }
    let count = func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables).len();
    let useful = (0..count).map(|at| (inst, at)).filter(|edge| {
        constants(func, shapes, *edge, &[]).is_some_and(|(block, c, _)| is_useful(func, shapes, block, &c, MAX_RELAYS))
    });
    useful.collect()
}

/// Definitions of values that have several: the original's, and one for each copy.
type Defs = BTreeMap<Value, SmallVec<[(Block, Value); 4]>>;

struct Threader<'f> {
    func: &'f mut Function,
    shapes: Shapes,
    live: LiveAreas,
    copies: HashMap<(Block, Constants), Block>,
    defs: Defs,
}

impl Threader<'_> {
    fn thread(&mut self, mut edges: VecDeque<Edge>) {
        while let Some(edge) = edges.pop_front() {
            let Some((block, constants, _)) = constants(self.func, &self.shapes, edge, &[]) else { continue };
            let key = (block, constants);
            let copy = match self.copies.get(&key) {
                Some(copy) => *copy,
                None if self.copies.len() == MAX_COPIES || !self.live.is_small(self.func, block) => continue,
                None => {
                    let copy = self.copy(block, &key.1);
                    if let Some(inst) = self.func.layout.last_inst(copy) {
                        edges.extend(useful_edges(self.func, &self.shapes, inst));
                    }
                    self.copies.insert(key, copy);
                    copy
                }
            };
            let dfg = &mut self.func.dfg;
            let calls = dfg.insts[edge.0].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
            calls[edge.1].set_block(copy, &mut dfg.value_lists);
        }
    }

    /// Copies a block for edges that pass these constants.
    fn copy(&mut self, block: Block, constants: &Constants) -> Block {
        let func = &mut *self.func;
        let copy = func.dfg.make_block();
        func.layout.insert_block_after(copy, block);
        if func.layout.is_cold(block) {
            func.layout.set_cold(copy);
        }
        let mut values = HashMap::new();
        let params = func.dfg.block_params(block).to_vec();
        let mut known = Vec::new();
        for (n, &param) in params.iter().enumerate() {
            let ty = func.dfg.value_type(param);
            let new = func.dfg.append_block_param(copy, ty);
            let mut value = new;
            if let Some((_, bits)) = constants.iter().find(|(at, _)| usize::from(*at) == n) {
                let mut cursor = FuncCursor::new(func).at_bottom(copy);
                value = cursor.ins().iconst(ty, *bits as i64);
                known.push((param, *bits));
            }
            values.insert(param, value);
            self.defs.entry(param).or_insert_with(|| [(block, param)].into_iter().collect()).push((copy, value));
        }
        let target = decided(func, block, &known);
        let insts: SmallVec<[Inst; MAX_BLOCK]> = func.layout.block_insts(block).collect();
        for &inst in &insts {
            let srcloc = func.srcloc(inst);
            let new = match target {
                Some(at) if inst == insts[insts.len() - 1] => jump_to(func, inst, at),
                _ => func.dfg.clone_inst(inst),
            };
            func.layout.append_inst(new, copy);
            func.set_srcloc(new, srcloc);
            func.dfg.map_inst_values(new, |v| values.get(&v).copied().unwrap_or(v));
            for (old, new) in func.dfg.inst_results(inst).iter().zip(func.dfg.inst_results(new)) {
                values.insert(*old, *new);
                let defs = self.defs.entry(*old).or_insert_with(|| [(block, *old)].into_iter().collect());
                defs.push((copy, *new));
            }
        }
        copy
    }
}

/// The position of the destination that a block's branch takes if these parameters have these values.
fn decided(func: &Function, block: Block, known: &[(Value, u64)]) -> Option<usize> {
    let inst = func.layout.last_inst(block)?;
    let value = edit::fold(&func.dfg, discriminant(func, block)?, &mut |v| {
        known.iter().find(|(k, _)| *k == v).map(|(_, bits)| *bits)
    })?;
    match func.dfg.insts[inst] {
        InstructionData::Brif { .. } => Some(usize::from(value == 0)),
        InstructionData::BranchTable { table, .. } => {
            let entries = func.dfg.jump_tables[table].as_slice().len();
            // The default comes first among all branches.
            Some(usize::try_from(value).ok().filter(|v| *v < entries).map_or(0, |v| v + 1))
        }
        _ => None,
    }
}

/// A jump to one of the destinations of a branch, not in the layout yet.
fn jump_to(func: &mut Function, inst: Inst, at: usize) -> Inst {
    let dfg = &mut func.dfg;
    let call = dfg.insts[inst].branch_destination(&dfg.jump_tables, &dfg.exception_tables)[at];
    let destination = call.deep_clone(&mut dfg.value_lists);
    dfg.make_inst(InstructionData::Jump { opcode: cranelift_codegen::ir::Opcode::Jump, destination })
}

/// The blocks that may get copies for these edges.
fn copied(func: &Function, shapes: &Shapes, edges: &VecDeque<Edge>) -> Vec<Block> {
    let destinations = |inst: Inst| {
        let calls = func.dfg.insts[inst].branch_destination(&func.dfg.jump_tables, &func.dfg.exception_tables);
        calls.iter().map(|c| c.block(&func.dfg.value_lists)).filter(|b| shapes[*b].interest != 0)
    };
    let mut found: EntitySet<Block> = EntitySet::new();
    let mut blocks = Vec::new();
    let mut open: Vec<Block> = edges.iter().flat_map(|e| destinations(e.0)).collect();
    while let Some(block) = open.pop() {
        if found.insert(block) {
            blocks.push(block);
            open.extend(func.layout.last_inst(block).into_iter().flat_map(destinations));
        }
    }
    blocks
}

/// How far values of blocks that may be copied reach.
struct LiveAreas {
    /// None where no value is used outside of its block.
    cfg: Option<ControlFlowGraph>,
    /// Blocks other than the value's own in which it is used.
    users: HashMap<Value, Vec<Block>>,
    small: HashMap<Block, bool>,
}

impl LiveAreas {
    fn new(func: &Function, shapes: &Shapes, edges: &VecDeque<Edge>) -> LiveAreas {
        let mut home: SecondaryMap<Value, PackedOption<Block>> = SecondaryMap::new();
        for block in copied(func, shapes, edges) {
            let results = func.layout.block_insts(block).flat_map(|i| func.dfg.inst_results(i));
            func.dfg.block_params(block).iter().chain(results).for_each(|v| home[*v] = block.into());
        }
        let mut users: HashMap<Value, Vec<Block>> = HashMap::new();
        for block in func.layout.blocks() {
            for value in func.layout.block_insts(block).flat_map(|i| func.dfg.inst_values(i)) {
                if home[value].is_some() && home[value] != block.into() {
                    let users = users.entry(value).or_default();
                    if users.last() != Some(&block) {
                        users.push(block);
                    }
                }
            }
        }
        let cfg = (!users.is_empty()).then(|| ControlFlowGraph::with_function(func));
        LiveAreas { cfg, users, small: HashMap::new() }
    }

    /// Whether a block's values are alive in few blocks beside their own. Copies count as their originals.
    fn is_small(&mut self, func: &Function, block: Block) -> bool {
        let Some(cfg) = &self.cfg else { return true };
        if let Some(known) = self.small.get(&block) {
            return *known;
        }
        let results = func.layout.block_insts(block).flat_map(|i| func.dfg.inst_results(i));
        let mut total = 0;
        for value in func.dfg.block_params(block).iter().chain(results) {
            let mut seen: EntitySet<Block> = EntitySet::new();
            let mut open = self.users.get(value).cloned().unwrap_or_default();
            while let Some(at) = open.pop() {
                if total > MAX_LIVE {
                    break;
                }
                if at != block && seen.insert(at) {
                    total += 1;
                    open.extend(cfg.pred_iter(at).map(|p| p.block));
                }
            }
        }
        self.small.insert(block, total <= MAX_LIVE);
        total <= MAX_LIVE
    }
}

/// Removes blocks that nothing leads to any more: no path to them has a definition of anything.
fn remove_unreachable(func: &mut Function) {
    let mut reached: EntitySet<Block> = EntitySet::new();
    let mut open: Vec<Block> = func.layout.entry_block().into_iter().collect();
    while let Some(block) = open.pop() {
        if reached.insert(block) {
            open.extend(func.block_successors(block));
        }
    }
    let dead: Vec<Block> = func.layout.blocks().filter(|b| !reached.contains(*b)).collect();
    dead.into_iter().for_each(|b| func.layout.remove_block_and_insts(b));
}

/// Gives each use of a value with several definitions the one that reaches it.
fn repair(func: &mut Function, defs: &Defs) {
    let cfg = ControlFlowGraph::with_function(func);
    let mut several: EntitySet<Value> = EntitySet::new();
    defs.keys().for_each(|v| _ = several.insert(*v));
    let mut users: BTreeMap<Value, Vec<(Block, Inst)>> = BTreeMap::new();
    for block in func.layout.blocks() {
        for inst in func.layout.block_insts(block) {
            for value in func.dfg.inst_values(inst) {
                if several.contains(value) && defs[&value].iter().all(|(b, _)| *b != block) {
                    users.entry(value).or_default().push((block, inst));
                }
            }
        }
    }
    let mut replaced: HashMap<(Inst, Value), Value> = HashMap::new();
    for (value, users) in users {
        let mut reaching = Reaching::new(func, &cfg, value, &defs[&value]);
        reaching.add_params(users.iter().map(|u| u.0));
        for (block, inst) in users {
            replaced.insert((inst, value), reaching.at_entry(block));
        }
    }
    let mut insts: Vec<Inst> = replaced.keys().map(|k| k.0).collect();
    insts.sort_unstable();
    insts.dedup();
    for inst in insts {
        func.dfg.map_inst_values(inst, |v| replaced.get(&(inst, v)).copied().unwrap_or(v));
    }
}

/// Definitions of one value, and the parameters that bring them together.
struct Reaching<'a> {
    func: &'a mut Function,
    cfg: &'a ControlFlowGraph,
    value: Value,
    defs: HashMap<Block, Value>,
    params: HashMap<Block, Value>,
}

impl<'a> Reaching<'a> {
    fn new(func: &'a mut Function, cfg: &'a ControlFlowGraph, value: Value, defs: &[(Block, Value)]) -> Reaching<'a> {
        Reaching { func, cfg, value, defs: defs.iter().copied().collect(), params: HashMap::new() }
    }

    /// Gives a parameter to each block with several predecessors in which the value is alive when it is entered.
    fn add_params(&mut self, users: impl Iterator<Item = Block>) {
        let mut live: BTreeSet<Block> = BTreeSet::new();
        let mut open: Vec<Block> = users.collect();
        while let Some(block) = open.pop() {
            if !self.defs.contains_key(&block) && live.insert(block) {
                open.extend(self.cfg.pred_iter(block).map(|p| p.block));
            }
        }
        let ty = self.func.dfg.value_type(self.value);
        let joins: Vec<Block> = live.into_iter().filter(|b| self.cfg.pred_iter(*b).nth(1).is_some()).collect();
        for &block in &joins {
            let param = self.func.dfg.append_block_param(block, ty);
            self.params.insert(block, param);
        }
        for block in joins {
            let mut preds: Vec<_> = self.cfg.pred_iter(block).collect();
            preds.sort_by_key(|p| p.inst);
            for pred in preds {
                let value = self.at_exit(pred.block);
                let dfg = &mut self.func.dfg;
                let calls =
                    dfg.insts[pred.inst].branch_destination_mut(&mut dfg.jump_tables, &mut dfg.exception_tables);
                for call in calls {
                    if call.block(&dfg.value_lists) == block {
                        call.append_argument(value, &mut dfg.value_lists);
                    }
                }
            }
        }
    }

    fn at_exit(&self, block: Block) -> Value {
        self.defs.get(&block).copied().unwrap_or_else(|| self.at_entry(block))
    }

    fn at_entry(&self, mut block: Block) -> Value {
        loop {
            if let Some(param) = self.params.get(&block) {
                return *param;
            }
            // A block without a parameter has one predecessor; going on from there ends at the latest where the
            // definition dominated the use before.
            let Some(pred) = self.cfg.pred_iter(block).next() else { return self.value };
            block = pred.block;
            if let Some(def) = self.defs.get(&block) {
                return *def;
            }
        }
    }
}
