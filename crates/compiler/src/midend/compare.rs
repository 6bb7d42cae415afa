//! Branches and selections on float comparisons.
//!
//! Wasm has no branch on a false condition, so compilers write `f64.lt; i32.eqz; br_if`. Cranelift inverts integer
//! comparisons, but not those of floats, whose inverse is another relation where one operand is not a number; so it
//! computes the comparison as a number, compares that with zero and branches.
//!
//! Why the result is the same:
//! * A branch or selection asks only whether its condition is zero. [`edit::truth`] goes from a value to another one of
//!   which the answer, perhaps turned round, is the same: zero extension keeps zero and non-zero apart, `x == 0` is zero
//!   exactly if `x` is not, `x != 0` exactly if `x` is.
//! * A turned-round answer with exchanged targets (or exchanged values to select from) is the same choice. The float
//!   comparison itself is not touched, so numbers that are not one need no thought.
//! * `a > b` is `b < a`, for all floats. Written so, a selection between `a` and `b` is one instruction on x86-64, whose
//!   `min` and `max` are just that selection.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{Function, Inst, InstBuilder, InstructionData, Opcode, Value};

use super::{Plan, edit};
use crate::error::Result;
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;

pub(super) fn run(_: &ModuleEnv<'_>, _: &Plan, ir: &mut FuncIr) -> Result<bool> {
    let mut changed = false;
    let mut cursor = FuncCursor::new(&mut ir.func);
    while cursor.next_block().is_some() {
        while let Some(inst) = cursor.next_inst() {
            changed |= match cursor.func.dfg.insts[inst] {
                InstructionData::Brif { arg, .. } => branch(cursor.func, inst, arg),
                InstructionData::Ternary { opcode: Opcode::Select, args } => select(&mut cursor, inst, args),
                _ => false,
            };
        }
    }
    Ok(changed)
}

/// The float comparison behind a condition, if it is not the condition itself, and whether the answer is turned round.
fn comparison(func: &Function, condition: Value) -> Option<(Inst, Value, bool)> {
    let (value, inverted) = edit::truth(&func.dfg, condition);
    let inst = edit::def(&func.dfg, value)?;
    matches!(func.dfg.insts[inst], InstructionData::FloatCompare { .. })
        .then_some((inst, value, inverted))
        .filter(|_| !func.dfg.value_type(value).is_vector())
}

fn branch(func: &mut Function, inst: Inst, condition: Value) -> bool {
    let Some((_, value, inverted)) = comparison(func, condition) else { return false };
    if !inverted {
        // Cranelift looks through the extension by itself.
        return false;
    }
    let InstructionData::Brif { arg, blocks, .. } = &mut func.dfg.insts[inst] else { return false };
    *arg = value;
    blocks.swap(0, 1);
    true
}

fn select(cursor: &mut FuncCursor<'_>, inst: Inst, [condition, x, y]: [Value; 3]) -> bool {
    let Some((compare, mut value, inverted)) = comparison(cursor.func, condition) else { return false };
    let (x, y) = if inverted { (y, x) } else { (x, y) };
    let dfg = &cursor.func.dfg;
    let InstructionData::FloatCompare { cond, args: [a, b], .. } = dfg.insts[compare] else { return false };
    let picks_operands = [a, b].map(|v| dfg.resolve_aliases(v)) == [x, y].map(|v| dfg.resolve_aliases(v))
        || [b, a].map(|v| dfg.resolve_aliases(v)) == [x, y].map(|v| dfg.resolve_aliases(v));
    if picks_operands && cond == FloatCC::GreaterThan {
        cursor.goto_inst(inst);
        cursor.use_srcloc(inst);
        value = cursor.ins().fcmp(FloatCC::LessThan, b, a);
        cursor.goto_inst(inst);
    } else if !inverted {
        return false;
    }
    cursor.func.dfg.insts[inst] = InstructionData::Ternary { opcode: Opcode::Select, args: [value, x, y] };
    true
}
