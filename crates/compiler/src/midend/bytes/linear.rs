//! Values that grow by a constant from iteration to iteration.

use std::cell::Cell;

use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{Block, Function, InstructionData, Opcode, Value, ValueDef};
use smallvec::SmallVec;

use crate::midend::edit;

/// A sum, modulo 2^32, of values that are header parameters or do not change in the loop, and a constant.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Linear {
    /// Values with their sign.
    pub(super) terms: SmallVec<[(Value, bool); 2]>,
    pub(super) constant: u32,
}

/// Terms of one sum; more are not looked at.
const MAX_TERMS: usize = 4;

/// Values that are looked at for all sums of one loop: an operand that is used twice is looked at twice, and so are those
/// that it is computed from.
const MAX_VISITS: u32 = 256;

impl Linear {
    /// What this is minus `other`; equal terms cancel out.
    pub(super) fn minus(&self, other: &Linear) -> Option<Linear> {
        self.plus(other, true)
    }

    fn plus(&self, other: &Linear, negate: bool) -> Option<Linear> {
        let mut sum = self.clone();
        for &(value, negative) in &other.terms {
            let negative = negative ^ negate;
            match sum.terms.iter().position(|t| *t == (value, !negative)) {
                Some(at) => _ = sum.terms.remove(at),
                None => sum.terms.push((value, negative)),
            }
        }
        let constant = if negate { other.constant.wrapping_neg() } else { other.constant };
        sum.constant = sum.constant.wrapping_add(constant);
        (sum.terms.len() <= MAX_TERMS).then_some(sum)
    }

    fn value(value: Value) -> Linear {
        Linear { terms: [(value, false)].into_iter().collect(), constant: 0 }
    }
}

/// The blocks of a loop and what its parameters do.
pub(super) struct Induction {
    pub(super) header: Block,
    pub(super) latch: Block,
    /// What is added to each header parameter in each iteration.
    pub(super) steps: Vec<u32>,
    /// Values that may still be looked at.
    visits: Cell<u32>,
}

impl Induction {
    /// Finds the steps; `args` are what the latch passes to the header. `None` if a parameter does anything else.
    pub(super) fn new(func: &Function, header: Block, latch: Block, args: &[Value]) -> Option<Induction> {
        let mut induction = Induction { header, latch, steps: Vec::new(), visits: Cell::new(MAX_VISITS) };
        for (&param, &arg) in func.dfg.block_params(header).iter().zip(args) {
            let step = if func.dfg.resolve_aliases(arg) == param {
                0
            } else {
                let next = induction.linear(func, arg)?;
                (next.terms.as_slice() == [(param, false)]).then_some(next.constant)?
            };
            induction.steps.push(step);
        }
        Some(induction)
    }

    /// Whether an instruction's block or a parameter's belongs to the loop.
    pub(super) fn contains(&self, func: &Function, value: Value) -> bool {
        let block = match func.dfg.value_def(value) {
            ValueDef::Param(block, _) => Some(block),
            ValueDef::Result(inst, _) => func.layout.inst_block(inst),
            ValueDef::Union(..) => None,
        };
        block.is_none_or(|b| b == self.header || b == self.latch)
    }

    /// A value as a sum.
    pub(super) fn linear(&self, func: &Function, value: Value) -> Option<Linear> {
        self.linear_within(func, value, 8)
    }

    fn linear_within(&self, func: &Function, value: Value, depth: u32) -> Option<Linear> {
        let value = func.dfg.resolve_aliases(value);
        let visits = self.visits.get().checked_sub(1)?;
        self.visits.set(visits);
        if func.dfg.value_type(value) != I32 || depth == 0 {
            return None;
        }
        if let Some(bits) = edit::constant(&func.dfg, value) {
            return Some(Linear { constant: bits as u32, ..Linear::default() });
        }
        if !self.contains(func, value) || func.dfg.block_params(self.header).contains(&value) {
            return Some(Linear::value(value));
        }
        let InstructionData::Binary { opcode, args: [x, y] } = func.dfg.insts[edit::def(&func.dfg, value)?] else {
            return None;
        };
        let negate = match opcode {
            Opcode::Iadd => false,
            Opcode::Isub => true,
            _ => return None,
        };
        self.linear_within(func, x, depth - 1)?.plus(&self.linear_within(func, y, depth - 1)?, negate)
    }

    /// What is added to a sum in each iteration.
    pub(super) fn step(&self, func: &Function, sum: &Linear) -> u32 {
        let params = func.dfg.block_params(self.header);
        let steps = sum.terms.iter().filter_map(|(value, negative)| {
            let step = self.steps[params.iter().position(|p| p == value)?];
            Some(if *negative { step.wrapping_neg() } else { step })
        });
        steps.fold(0, u32::wrapping_add)
    }
}
