//! What passes share: looking through values, and replacing instructions.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{DataFlowGraph, Inst, InstructionData, Opcode, Value, ValueDef};

/// The instruction that a value is a result of.
pub(super) fn def(dfg: &DataFlowGraph, value: Value) -> Option<Inst> {
    match dfg.value_def(value) {
        ValueDef::Result(inst, 0) => Some(inst),
        _ => None,
    }
}

/// The bits of an integer constant, as many as its type has.
pub(super) fn constant(dfg: &DataFlowGraph, value: Value) -> Option<u64> {
    let InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } = dfg.insts[def(dfg, value)?] else { return None };
    let bits = dfg.value_type(value).bits();
    Some(if bits >= 64 { imm.bits() as u64 } else { imm.bits() as u64 & ((1 << bits) - 1) })
}

/// A value that is only asked whether it is zero: the value that it stands for, and whether the answer is turned round.
/// Looks through zero extension, and comparison with zero.
pub(super) fn truth(dfg: &DataFlowGraph, mut value: Value) -> (Value, bool) {
    let mut inverted = false;
    // Chains are short; a limit keeps the time of each question bounded.
    for _ in 0..8 {
        value = dfg.resolve_aliases(value);
        let Some(inst) = def(dfg, value) else { break };
        value = match dfg.insts[inst] {
            InstructionData::Unary { opcode: Opcode::Uextend, arg } => arg,
            InstructionData::IntCompare { cond, args: [x, y], .. } => {
                let (IntCC::Equal | IntCC::NotEqual, Some(0)) = (cond, constant(dfg, y)) else { break };
                inverted ^= cond == IntCC::Equal;
                x
            }
            _ => break,
        };
    }
    (value, inverted)
}
