//! Locations of loads that become operands of other instructions.
//!
//! Code generation makes a load the memory operand of the instruction that uses it, where that is its only use and nothing
//! with effects is in between. The machine instruction then has the location of the user, and a trap would name an operator
//! behind the one that failed. So what may absorb a load gets the load's location before code is generated. That
//! costs nothing else: these instructions cannot trap themselves, and only places at which one can stop are kept.
//!
//! A store to where its value was loaded from may become one instruction with that load. It gets the load's location, too:
//! if the load did not trap, the store does not.
//!
//! What may trap for reasons of its own keeps its location. Divisions absorb no loads: Cranelift loads the divisor first.

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Function, Inst, ValueDef};

/// Gives what may absorb loads that can trap their locations. Keeps the memory of its maps.
#[derive(Default)]
pub(crate) struct LoadLocations {
    /// For each instruction of the block at hand the load that it is or may absorb: its number, from 1 on.
    absorbed: SecondaryMap<Inst, u32>,
    /// The instructions that have one.
    noted: Vec<Inst>,
    /// The loads of the block at hand that may trap, in order.
    loads: Vec<Inst>,
}

impl LoadLocations {
    /// Changes locations of `func`, whose optimisation is over.
    pub(crate) fn run(&mut self, func: &mut Function) {
        let mut block = func.layout.entry_block();
        while let Some(current) = block {
            let mut next = func.layout.first_inst(current);
            while let Some(inst) = next {
                self.visit(func, inst);
                next = func.layout.next_inst(inst);
            }
            for inst in self.noted.drain(..) {
                self.absorbed[inst] = 0;
            }
            self.loads.clear();
            block = func.layout.next_block(current);
        }
    }

    fn visit(&mut self, func: &mut Function, inst: Inst) {
        let data = func.dfg.insts[inst];
        let opcode = data.opcode();
        let stores = opcode.can_store();
        let leaves = opcode.is_terminator() && !opcode.is_branch();
        if leaves || opcode.is_call() || opcode.can_trap() && !opcode.can_load() && !stores {
            return;
        }
        if opcode.can_load() && !stores {
            if data.memflags_trap_code(&func.dfg).is_some() {
                self.loads.push(inst);
                self.note(inst, self.loads.len() as u32);
            }
            return;
        }
        // Loads that may trap do not pass each other, so it can only be the last one.
        let number = |value| match func.dfg.value_def(value) {
            ValueDef::Result(def, _) => self.absorbed[def],
            _ => 0,
        };
        let number = func.dfg.inst_values(inst).map(number).max().unwrap_or(0);
        let Some(&load) = (number as usize).checked_sub(1).and_then(|at| self.loads.get(at)) else { return };
        if stores && !is_update(func, inst, load) {
            return;
        }
        func.set_srcloc(inst, func.srcloc(load));
        self.note(inst, number);
    }

    fn note(&mut self, inst: Inst, load: u32) {
        self.absorbed[inst] = load;
        self.noted.push(inst);
    }
}

/// Whether a store goes to where `load` came from.
fn is_update(func: &Function, store: Inst, load: Inst) -> bool {
    let place = |inst: Inst| {
        let data = func.dfg.insts[inst];
        (func.dfg.inst_args(inst).last().map(|v| func.dfg.resolve_aliases(*v)), data.load_store_offset())
    };
    place(store) == place(load)
}
