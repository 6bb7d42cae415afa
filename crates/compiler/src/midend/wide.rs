//! Products of 128 bits that compilers have put together from products of 32 bits, because wasm has nothing larger:
//! `__multi3` of the C and the Rust runtime, whatever it is called and wherever it has been inlined. What they compute
//! is found by its data flow and becomes `imul` and `umulhi`.
//!
//! Be `a = ah * 2^32 + al` and `b = bh * 2^32 + bl`, halves less than 2^32. All additions and products are modulo 2^64.
//!
//! *In three steps* (compiler-rt): `t5 = al*bl`, `t3 = (t5 >> 32) + x`, `t1 = low(t3) + y`, where one of `x` and `y` is
//! `ah*bl` and the other `al*bh`.
//! * No sum wraps: `(2^32 - 1) + (2^32 - 1)^2 < 2^64`.
//! * So `a*b = ah*bh * 2^64 + t1 * 2^32 + (t3 >> 32) * 2^64 + low(t5)`. Its upper half is
//!   `ah*bh + (t3 >> 32) + (t1 >> 32)`, as what lies below is less than 2^64; its lower half is
//!   `t1 << 32` and `low(t5)`, which share no bit, so that it does not matter whether they are added or or-ed.
//!
//! *With carries* (LLVM): `t7 = al*bl`, `t5 = x + y` as above, which may wrap, `lo = t7 + (t5 << 32)`.
//! * `lo` is the lower half, because what `t5` loses by wrapping is shifted out anyway.
//! * A sum is less than one of its parts exactly if it wrapped. So `(t5 < x) << 32 | t5 >> 32` is `(x + y) >> 32` in
//!   full, `lo < t7` is what `lo` carries, and the upper half is the sum of both and `ah*bh`.
//!
//! The upper half's terms are found among those of a sum, which may have more: addition is associative. Instructions
//! that nothing uses any more are left to Cranelift.

use std::collections::HashMap;

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{DataFlowGraph, Inst, InstBuilder, InstructionData, Opcode, Value};
use smallvec::{SmallVec, smallvec};

use super::{Plan, edit};
use crate::error::Result;
use crate::func_ir::FuncIr;
use crate::module_env::ModuleEnv;

/// Terms of a sum that are looked at.
const MAX_TERMS: usize = 12;

type Terms = SmallVec<[Value; MAX_TERMS]>;

/// Products that it takes to make one of 128 bits.
const MIN_PRODUCTS: usize = 4;

pub(super) fn run(_: &ModuleEnv<'_>, _: &Plan, ir: &mut FuncIr) -> Result<bool> {
    let func = &ir.func;
    let insts = func.layout.blocks().flat_map(|b| func.layout.block_insts(b));
    let products = insts.filter(|inst| {
        let data = &func.dfg.insts[*inst];
        matches!(data, InstructionData::Binary { opcode: Opcode::Imul, args } if func.dfg.value_type(args[0]) == I64)
    });
    if products.take(MIN_PRODUCTS).count() < MIN_PRODUCTS {
        return Ok(false);
    }
    let mut pass = Wide { low: HashMap::new(), changed: false };
    let mut cursor = FuncCursor::new(&mut ir.func);
    while cursor.next_block().is_some() {
        while let Some(inst) = cursor.next_inst() {
            let InstructionData::Binary { opcode: Opcode::Iadd | Opcode::Bor, args } = cursor.func.dfg.insts[inst]
            else {
                continue;
            };
            if cursor.func.dfg.value_type(args[0]) == I64 {
                pass.sum(&mut cursor, inst);
            }
        }
    }
    Ok(pass.changed)
}

/// The factors of a product, and the parts that the two ways of computing it share.
#[derive(Clone, Copy)]
struct Product {
    a: Value,
    b: Value,
    /// `t1`, or `t5` of the way with carries.
    middle: Value,
    /// `t5`, or `t7`.
    bottom: Value,
}

struct Wide {
    /// Lower halves that have been replaced, computed with carries.
    low: HashMap<Value, Product>,
    changed: bool,
}

impl Wide {
    fn sum(&mut self, cursor: &mut FuncCursor<'_>, inst: Inst) {
        let dfg = &cursor.func.dfg;
        if let Some((product, carries)) = lower_half(dfg, inst) {
            if carries {
                self.low.insert(dfg.first_result(inst), product);
            }
            cursor.func.replace(inst).imul(product.a, product.b);
            self.changed = true;
        } else if dfg.insts[inst].opcode() == Opcode::Iadd
            && let Some((product, rest)) = self.upper_half(dfg, inst)
        {
            cursor.goto_inst(inst);
            cursor.use_srcloc(inst);
            let Some((last, others)) = rest.split_last() else {
                cursor.func.replace(inst).umulhi(product.a, product.b);
                self.changed = true;
                return;
            };
            let mut sum = cursor.ins().umulhi(product.a, product.b);
            for term in others {
                sum = cursor.ins().iadd(sum, *term);
            }
            cursor.func.replace(inst).iadd(sum, *last);
            cursor.goto_inst(inst);
            self.changed = true;
        }
    }

    /// The product whose upper half is part of a sum, and the sum's other terms.
    fn upper_half(&self, dfg: &DataFlowGraph, inst: Inst) -> Option<(Product, Terms)> {
        let terms = terms(dfg, inst)?;
        terms.iter().find_map(|term| {
            let (product, mut needed) = match shifted(dfg, *term, Opcode::Ushr) {
                Some(t1) => {
                    let product = in_three_steps(dfg, t1)?;
                    (product, vec![*term, self.above_bottom(dfg, &terms, product)?])
                }
                None => {
                    let (sum, part) = carry(dfg, *term)?;
                    let product = *self.low.get(&sum)?;
                    let part_of_low =
                        part == product.bottom || shifted(dfg, part, Opcode::Ishl) == Some(product.middle);
                    part_of_low.then_some((product, vec![*term, middle_with_carry(dfg, &terms, product)?]))?
                }
            };
            let high = |v: &Value| {
                let [x, y] = binary(dfg, *v, Opcode::Imul)?;
                let halves = [shifted(dfg, x, Opcode::Ushr)?, shifted(dfg, y, Opcode::Ushr)?];
                is_pair(halves, product).then_some(())
            };
            needed.push(*terms.iter().find(|t| high(t).is_some())?);
            let mut rest = terms.clone();
            for term in needed {
                let at = rest.iter().position(|t| *t == term)?;
                rest.remove(at);
            }
            Some((product, rest))
        })
    }

    /// The term `t3 >> 32`.
    fn above_bottom(&self, dfg: &DataFlowGraph, terms: &Terms, product: Product) -> Option<Value> {
        let [x, y] = binary(dfg, product.middle, Opcode::Iadd)?;
        let t3 = low(dfg, x).or_else(|| low(dfg, y))?;
        terms.iter().copied().find(|t| shifted(dfg, *t, Opcode::Ushr) == Some(t3))
    }
}

/// The term `(t5 < x) << 32 | t5 >> 32`.
fn middle_with_carry(dfg: &DataFlowGraph, terms: &Terms, product: Product) -> Option<Value> {
    let parts = binary(dfg, product.middle, Opcode::Iadd)?;
    let fits = |term: Value| {
        let [x, y] = binary(dfg, term, Opcode::Bor).or_else(|| binary(dfg, term, Opcode::Iadd))?;
        [(x, y), (y, x)].into_iter().find_map(|(above, below)| {
            let (sum, part) = carry(dfg, shifted(dfg, above, Opcode::Ishl)?)?;
            let same = sum == product.middle && parts.contains(&part);
            (same && shifted(dfg, below, Opcode::Ushr) == Some(product.middle)).then_some(())
        })
    };
    terms.iter().copied().find(|t| fits(*t).is_some())
}

/// The product whose lower half an instruction computes, and whether it does so with carries.
fn lower_half(dfg: &DataFlowGraph, inst: Inst) -> Option<(Product, bool)> {
    let InstructionData::Binary { opcode, args } = dfg.insts[inst] else { return None };
    let [x, y] = args.map(|v| dfg.resolve_aliases(v));
    [(x, y), (y, x)].into_iter().find_map(|(above, below)| {
        let middle = shifted(dfg, above, Opcode::Ishl)?;
        if let Some(bottom) = low(dfg, below) {
            let product = in_three_steps(dfg, middle)?;
            return (product.bottom == bottom).then_some((product, false));
        }
        let product = with_carries(dfg, middle, below)?;
        (opcode == Opcode::Iadd).then_some((product, true))
    })
}

/// The product of which a value is `t1`.
fn in_three_steps(dfg: &DataFlowGraph, t1: Value) -> Option<Product> {
    let (t3, y) = one_and_product(dfg, t1, low)?;
    let (bottom, x) = one_and_product(dfg, t3, |dfg, v| shifted(dfg, v, Opcode::Ushr))?;
    crosswise(dfg, [x, y], t1, bottom)
}

/// The product of which these are `t5` and `t7`.
fn with_carries(dfg: &DataFlowGraph, middle: Value, bottom: Value) -> Option<Product> {
    let [x, y] = binary(dfg, middle, Opcode::Iadd)?;
    crosswise(dfg, [binary(dfg, x, Opcode::Imul)?, binary(dfg, y, Opcode::Imul)?], middle, bottom)
}

/// A sum of a value for which `part` finds something, and a product: what it found, and the product's factors.
fn one_and_product(
    dfg: &DataFlowGraph,
    sum: Value,
    part: impl Fn(&DataFlowGraph, Value) -> Option<Value>,
) -> Option<(Value, [Value; 2])> {
    let [x, y] = binary(dfg, sum, Opcode::Iadd)?;
    [(x, y), (y, x)].into_iter().find_map(|(x, y)| Some((part(dfg, x)?, binary(dfg, y, Opcode::Imul)?)))
}

/// The factors whose lower halves' product is `bottom`, if the others are the two products of a lower and an upper half.
fn crosswise(dfg: &DataFlowGraph, products: [[Value; 2]; 2], middle: Value, bottom: Value) -> Option<Product> {
    let [x, y] = binary(dfg, bottom, Opcode::Imul)?;
    let product = Product { a: low(dfg, x)?, b: low(dfg, y)?, middle, bottom };
    let halves = |[x, y]: [Value; 2]| {
        [(x, y), (y, x)].into_iter().find_map(|(x, y)| Some((low(dfg, x)?, shifted(dfg, y, Opcode::Ushr)?)))
    };
    let [first, second] = [halves(products[0])?, halves(products[1])?];
    let (ab, ba) = ((product.a, product.b), (product.b, product.a));
    ((first, second) == (ab, ba) || (first, second) == (ba, ab)).then_some(product)
}

fn is_pair([x, y]: [Value; 2], product: Product) -> bool {
    [x, y] == [product.a, product.b] || [x, y] == [product.b, product.a]
}

/// The terms of a sum.
fn terms(dfg: &DataFlowGraph, inst: Inst) -> Option<Terms> {
    let mut open: Terms = smallvec![dfg.first_result(inst)];
    let mut terms = Terms::new();
    while let Some(value) = open.pop() {
        match binary(dfg, value, Opcode::Iadd) {
            Some(parts) => open.extend(parts),
            None => terms.push(value),
        }
        if open.len() + terms.len() > MAX_TERMS {
            return None;
        }
    }
    Some(terms)
}

/// The operands of an instruction.
fn binary(dfg: &DataFlowGraph, value: Value, wanted: Opcode) -> Option<[Value; 2]> {
    match dfg.insts[edit::def(dfg, dfg.resolve_aliases(value))?] {
        InstructionData::Binary { opcode, args } if opcode == wanted => Some(args.map(|v| dfg.resolve_aliases(v))),
        _ => None,
    }
}

/// What is shifted by 32.
fn shifted(dfg: &DataFlowGraph, value: Value, direction: Opcode) -> Option<Value> {
    let [x, amount] = binary(dfg, value, direction)?;
    (dfg.value_type(x) == I64 && edit::constant(dfg, amount) == Some(32)).then_some(x)
}

/// What a value is the lower half of.
fn low(dfg: &DataFlowGraph, value: Value) -> Option<Value> {
    let [x, y] = binary(dfg, value, Opcode::Band)?;
    let is_mask = |v| edit::constant(dfg, v) == Some(0xffff_ffff);
    if is_mask(y) { Some(x) } else { is_mask(x).then_some(y) }
}

/// The sum that a value is the carry of, and the part that it was compared with.
fn carry(dfg: &DataFlowGraph, value: Value) -> Option<(Value, Value)> {
    let mut value = dfg.resolve_aliases(value);
    loop {
        match dfg.insts[edit::def(dfg, value)?] {
            InstructionData::Unary { opcode: Opcode::Uextend, arg } => value = dfg.resolve_aliases(arg),
            InstructionData::IntCompare { cond, args, .. } => {
                let [x, y] = args.map(|v| dfg.resolve_aliases(v));
                return match cond {
                    IntCC::UnsignedLessThan => Some((x, y)),
                    IntCC::UnsignedGreaterThan => Some((y, x)),
                    _ => None,
                };
            }
            _ => return None,
        }
    }
}
