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

/// The bits of an integer value if `leaf` knows those of all values that are neither constants nor computed by simple
/// operators; `leaf` is asked first.
pub(super) fn fold(dfg: &DataFlowGraph, value: Value, leaf: &mut dyn FnMut(Value) -> Option<u64>) -> Option<u64> {
    fold_within(dfg, value, leaf, 8)
}

fn fold_within(
    dfg: &DataFlowGraph,
    value: Value,
    leaf: &mut dyn FnMut(Value) -> Option<u64>,
    depth: u32,
) -> Option<u64> {
    let value = dfg.resolve_aliases(value);
    if !dfg.value_type(value).is_int() || dfg.value_type(value).bits() > 64 || depth == 0 {
        return None;
    }
    if let Some(bits) = leaf(value) {
        return Some(bits);
    }
    if let Some(bits) = constant(dfg, value) {
        return Some(bits);
    }
    let data = dfg.insts[def(dfg, value)?];
    let mut operand = |v| Some((fold_within(dfg, v, leaf, depth - 1)?, dfg.value_type(v).bits()));
    let bits = dfg.value_type(value).bits();
    let result = match data {
        InstructionData::Unary { opcode, arg } => {
            let (x, from) = operand(arg)?;
            match opcode {
                Opcode::Uextend | Opcode::Ireduce => x,
                Opcode::Sextend => signed(x, from) as u64,
                _ => return None,
            }
        }
        InstructionData::Binary { opcode, args: [x, y] } => {
            let ((x, _), (y, _)) = (operand(x)?, operand(y)?);
            match opcode {
                Opcode::Iadd => x.wrapping_add(y),
                Opcode::Isub => x.wrapping_sub(y),
                Opcode::Band => x & y,
                Opcode::Bor => x | y,
                Opcode::Bxor => x ^ y,
                _ => return None,
            }
        }
        InstructionData::IntCompare { cond, args: [x, y], .. } => {
            let ((x, from), (y, _)) = (operand(x)?, operand(y)?);
            u64::from(compare(cond, x, y, from))
        }
        _ => return None,
    };
    Some(truncated(result, bits))
}

fn truncated(x: u64, bits: u32) -> u64 {
    x & (u64::MAX >> (64 - bits))
}

/// The number that the lowest bits of `x` stand for in two's complement.
fn signed(x: u64, bits: u32) -> i64 {
    (x << (64 - bits)) as i64 >> (64 - bits)
}

fn compare(cond: IntCC, x: u64, y: u64, bits: u32) -> bool {
    let (a, b) = (signed(x, bits), signed(y, bits));
    match cond {
        IntCC::Equal => x == y,
        IntCC::NotEqual => x != y,
        IntCC::UnsignedLessThan => x < y,
        IntCC::UnsignedLessThanOrEqual => x <= y,
        IntCC::UnsignedGreaterThan => x > y,
        IntCC::UnsignedGreaterThanOrEqual => x >= y,
        IntCC::SignedLessThan => a < b,
        IntCC::SignedLessThanOrEqual => a <= b,
        IntCC::SignedGreaterThan => a > b,
        IntCC::SignedGreaterThanOrEqual => a >= b,
    }
}
