//! The order of instructions inside blocks, behind Cranelift's optimiser.
//!
//! Cranelift's e-graph takes operations without effects out of their blocks and puts them back where they are first used.
//! In long blocks that mix much (ciphers, hashes, matrix kernels) everything that a store or branch depends on is then
//! computed right in front of it, and more values are alive at a time than there are registers. The compiler that made
//! the wasm had an order in which few values are alive. So that is noted before, and operations go back to it.
//!
//! Why the result is the same: instructions with effects, and all that may trap, read memory that can change, or branch,
//! keep their order. An operation without effects moves towards the start of its block only, never in front of the
//! definition of one of its operands, and gives the same value anywhere.
//!
//! The new place of an operation is its key: how many instructions with effects stand in front of it, then its place
//! before. Keys never fall along a dependence, and among equal keys the old order holds; so sorting by key is enough.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function, Inst, InstructionData, Opcode, ValueDef};

/// Name for switching it off.
pub(super) const NAME: &str = "order";

/// Where an instruction goes in its block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// How many instructions with effects stand in front.
    slot: u32,
    /// Place before the optimiser ran. Instructions with effects end their slot.
    place: u32,
    /// Place in the order in which the optimiser left the block.
    old: u32,
}

/// The place of instructions with effects.
const EFFECT: u32 = u32::MAX;
/// The place of what the optimiser made and nothing uses in its block.
const NOWHERE: u32 = u32::MAX - 1;

/// Puts blocks into order; holds scratch memory that is used again.
#[derive(Default)]
pub(crate) struct Reorder {
    entries: Vec<(Key, Inst)>,
    /// Places of the block's instructions with effects, each at least that of the one in front.
    effects: Vec<u32>,
    /// How many instructions stood in front before the optimiser ran, and one; 0 for those that it made.
    places: SecondaryMap<Inst, u32>,
    /// Index in `entries`; of other blocks' instructions it points to another instruction or nowhere.
    index: SecondaryMap<Inst, u32>,
}

impl Reorder {
    /// Notes the order of a function that is about to be optimised.
    pub(crate) fn note(&mut self, func: &Function) {
        self.places.clear();
        let insts = func.layout.blocks().flat_map(|block| func.layout.block_insts(block));
        for (place, inst) in (1..).zip(insts) {
            self.places[inst] = place;
        }
    }

    /// Reorders all blocks of the function that was noted, now that it is optimised.
    pub(crate) fn run(&mut self, func: &mut Function) {
        self.index.clear();
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            self.enter(func, block);
            self.places_of_new(func);
            self.keys(func);
            if !self.entries.is_sorted_by_key(|(key, _)| *key) {
                self.entries.sort_unstable_by_key(|(key, _)| *key);
                for &(_, inst) in &self.entries {
                    func.layout.remove_inst(inst);
                }
                for &(_, inst) in &self.entries {
                    func.layout.append_inst(inst, block);
                }
            }
            next = func.layout.next_block(block);
        }
    }

    /// Lists the block's instructions with their places.
    fn enter(&mut self, func: &Function, block: Block) {
        self.entries.clear();
        self.effects.clear();
        for inst in func.layout.block_insts(block) {
            let old = self.entries.len() as u32;
            self.index[inst] = old;
            let slot = self.effects.len() as u32;
            let mut place = self.places[inst];
            if has_effect(func, inst) {
                self.effects.push(place.max(self.effects.last().copied().unwrap_or(0)));
                place = EFFECT;
            } else if place == 0 {
                place = NOWHERE;
            }
            self.entries.push((Key { slot, place, old }, inst));
        }
    }

    /// Operations that the optimiser made go where the first one goes that uses them.
    fn places_of_new(&mut self, func: &Function) {
        for user in (0..self.entries.len()).rev() {
            let (Key { slot, place, .. }, inst) = self.entries[user];
            let place = if place == EFFECT { self.effects[slot as usize] } else { place };
            for operand in operands(func, inst) {
                let Some(def) = self.entry_of(operand) else { continue };
                let (key, def) = &mut self.entries[def];
                if key.place != EFFECT && self.places[*def] == 0 {
                    key.place = key.place.min(place);
                }
            }
        }
    }

    /// From places to keys.
    fn keys(&mut self, func: &Function) {
        for i in 0..self.entries.len() {
            let (old, inst) = self.entries[i];
            if old.place == EFFECT {
                continue;
            }
            let slot = self.effects.partition_point(|&effect| effect <= old.place) as u32;
            let mut key = Key { slot: slot.min(old.slot), ..old };
            for operand in operands(func, inst) {
                let Some(def) = self.entry_of(operand) else { continue };
                let (def, _) = self.entries[def];
                if def.place == EFFECT {
                    key.slot = key.slot.max(def.slot + 1);
                } else {
                    key.slot = key.slot.max(def.slot);
                    key.place = key.place.max(def.place);
                }
            }
            self.entries[i].0 = key;
        }
    }

    /// Where an instruction is listed, if it is of this block.
    fn entry_of(&self, inst: Inst) -> Option<usize> {
        let i = self.index[inst] as usize;
        (self.entries.get(i)?.1 == inst).then_some(i)
    }
}

/// The instructions that make an instruction's operands.
fn operands(func: &Function, inst: Inst) -> impl Iterator<Item = Inst> + '_ {
    func.dfg.inst_values(inst).filter_map(|value| match func.dfg.value_def(func.dfg.resolve_aliases(value)) {
        ValueDef::Result(def, _) => Some(def),
        _ => None,
    })
}

/// Whether an instruction must stay where it is among others of which that is so.
fn has_effect(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let op = data.opcode();
    if let InstructionData::Load { opcode: Opcode::Load, flags, .. } = *data {
        let flags = func.dfg.mem_flags[flags];
        return !(flags.readonly() && flags.notrap() && flags.can_move());
    }
    op.is_call()
        || op.is_branch()
        || op.is_terminator()
        || op.can_load()
        || op.can_store()
        || op.can_trap()
        || op.other_side_effects()
        || func.dfg.inst_results(inst).len() != 1
}
