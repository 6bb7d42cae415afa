//! Addresses that many accesses share are computed once, for x86-64 behind Cranelift's optimiser.
//!
//! Cranelift's x86-64 backend makes every addition of two values that is an address part of the access: `[base + index + n]`.
//! Where a compiler addresses a frame in linear memory, each access then needs two registers instead of one, and
//! where registers are scarce it loads two values from the stack. So the sum is hidden from the backend's
//! patterns behind a `bitcast` from the integer type to itself, where many accesses in other blocks use it.
//!
//! Why the result is the same: such a `bitcast` gives its operand, the backend makes no instruction for it, and it stands
//! behind what it is the value of, so it dominates what the sum dominates. Accesses keep their offsets, flags and places.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, MemFlagsData, Opcode, Value, types};

use super::edit;

/// Name for switching it off.
pub(super) const NAME: &str = "bases";

/// From how many accesses on a sum is computed. Those in its own block do not count: there both operands are at hand.
const MANY: u32 = 16;

/// Finds the sums; holds scratch memory that is used again.
#[derive(Default)]
pub(crate) struct Bases {
    /// How many accesses in other blocks use a sum.
    uses: SecondaryMap<Inst, u32>,
    /// The sums that many use.
    sums: Vec<Inst>,
    /// What accesses use instead, by the sum.
    held: SecondaryMap<Inst, Option<Value>>,
}

impl Bases {
    /// Changes a function whose optimisation is over.
    pub(crate) fn run(&mut self, func: &mut Function) {
        self.find(func);
        if self.sums.is_empty() {
            return;
        }
        self.held.clear();
        for &sum in &self.sums {
            let value = func.dfg.first_result(sum);
            let place = func.srcloc(sum);
            let mut cursor = FuncCursor::new(func).after_inst(sum).with_srcloc(place);
            self.held[sum] = Some(cursor.ins().bitcast(types::I64, MemFlagsData::new(), value));
        }
        let mut block = func.layout.entry_block();
        while let Some(current) = block {
            let mut next = func.layout.first_inst(current);
            while let Some(inst) = next {
                if let Some((sum, at)) = address(func, inst)
                    && let Some(held) = self.held[sum]
                {
                    func.dfg.inst_args_mut(inst)[at] = held;
                }
                next = func.layout.next_inst(inst);
            }
            block = func.layout.next_block(current);
        }
    }

    /// Lists the sums that many accesses use.
    fn find(&mut self, func: &Function) {
        self.sums.clear();
        self.uses.clear();
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let Some((sum, _)) = address(func, inst) else { continue };
                if func.layout.inst_block(sum) == Some(block) {
                    continue;
                }
                let uses = &mut self.uses[sum];
                *uses += 1;
                // A constant is folded into the access, and costs no register.
                if *uses == MANY && !func.dfg.inst_args(sum).iter().any(|arg| is_constant(func, *arg)) {
                    self.sums.push(sum);
                }
            }
        }
    }
}

/// The sum that is the address of an access, and which of the access's operands it is.
fn address(func: &Function, inst: Inst) -> Option<(Inst, usize)> {
    let (at, address) = match func.dfg.insts[inst] {
        InstructionData::Load { arg, .. } => (0, arg),
        InstructionData::Store { args, .. } => (1, args[1]),
        _ => return None,
    };
    let sum = edit::def(&func.dfg, func.dfg.resolve_aliases(address))?;
    let is_sum = func.dfg.insts[sum].opcode() == Opcode::Iadd && func.dfg.value_type(address) == types::I64;
    is_sum.then_some((sum, at))
}

fn is_constant(func: &Function, value: Value) -> bool {
    edit::constant(&func.dfg, func.dfg.resolve_aliases(value)).is_some()
}
