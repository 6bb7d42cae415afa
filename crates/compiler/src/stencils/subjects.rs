//! Every operator in every variant that there are stencils of.

use kiln_env::stencil::{self, Choice, FC, FD, FE, Immediates, LANE, Shape, Ty, checked_form, immediates};
use kiln_env::types::ValType;
use wasmparser::{BlockType, Operator, TryTable};

use super::emit::{Facts, Subject};
use super::signatures::{Values, decode, encode, signature};
use crate::translate::ops::{fuel_cost, operand_count};

/// An operator in one variant, and which choices of operand kinds are tried.
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) result: Option<Ty>,
    pub(super) shape: Shape,
}

/// Comparisons: they can be branches.
fn is_comparison(op: u16) -> bool {
    matches!(op, 0x45..=0x66 | 0xd1)
}

/// `i8x16.shuffle`.
pub(super) const SHUFFLE: u16 = FD + 13;

/// Whether an operand may be a constant.
fn takes_constant(op: u16, i: usize) -> bool {
    match op {
        // Comparisons.
        0x46..=0x4f | 0x51..=0x5a => true,
        // add, sub, mul, and, or, xor
        0x6a..=0x6c | 0x71..=0x73 | 0x7c..=0x7e | 0x83..=0x85 => true,
        _ if stencil::shift_mask(op).is_some() => i == 1,
        // Stores of integers.
        0x36 | 0x37 | 0x3a..=0x3e => i == 1,
        _ => false,
    }
}

impl Entry {
    fn kinds(&self, i: usize) -> Vec<u8> {
        use stencil::{FLOAT_PINS, IMM, INT_PINS, PIN, SLOT, TEMP};
        let s = &self.subject;
        let on = [self.shape.a, self.shape.b];
        let (Some(ty), Some(true)) = (s.params.get(i), on.get(i)) else { return vec![SLOT] };
        let mut kinds = vec![SLOT, TEMP];
        let many = (0x28..=0xc4).contains(&s.op) || (FC..FC + 8).contains(&s.op) || (FD..FE).contains(&s.op);
        if many && *ty != Ty::V128 && (s.align == u8::MAX || s.module.based) {
            let pins = if ty.is_int() { INT_PINS } else { FLOAT_PINS };
            kinds.extend((0..pins).map(|p| PIN + p as u8));
            if takes_constant(s.op, i) {
                kinds.push(IMM);
            }
        }
        kinds
    }

    /// All choices but the default one.
    pub(super) fn choices(&self) -> Vec<Choice> {
        let s = &self.subject;
        let mut all = Vec::new();
        let flags = |on: bool| if on { &[false, true][..] } else { &[false] };
        for a in self.kinds(0) {
            for b in self.kinds(1) {
                let same_class = s.params.len() > 1 && s.params[0].is_int() == s.params[1].is_int();
                if same_class && a == b && matches!(a, stencil::TEMP | stencil::IMM) {
                    continue;
                }
                let slots = self.shape.a && (0..s.params.len()).any(|i| [a, b, stencil::SLOT][i] == stencil::SLOT);
                for near in flags(slots) {
                    for short in flags(self.shape.short) {
                        for branch in 0..if self.shape.branch { 3 } else { 1 } {
                            all.push(Choice { a, b, near: *near, short: *short, branch });
                        }
                    }
                }
            }
        }
        all.retain(|c| *c != Choice::default());
        all
    }
}

const NO_ACCESS: u8 = u8::MAX;

fn entry(op: u16, variant: u8, params: &[Ty], result: Option<Ty>, align: u8, module: Facts) -> Entry {
    let framed = matches!(op, stencil::CALLEE_IMPORT..=stencil::CALLEE_REF);
    let shape =
        Shape { a: !params.is_empty(), b: params.len() > 1, short: module.based && op < FE, branch: is_comparison(op) };
    let subject = Subject { op, variant, params: params.to_vec(), align, framed, module };
    Entry { subject, result, shape }
}

/// All of them, in order of operator and variant.
pub(super) fn all() -> Vec<Entry> {
    let mut all = Vec::new();
    for op in 0..stencil::OPS {
        let by_glue = (stencil::GLUE..FD).contains(&op);
        match immediates(op) {
            _ if by_glue => glue(op, &mut all),
            Some(Immediates::MemArg | Immediates::MemArgLane) if !(FE..FE + 3).contains(&op) => access(op, &mut all),
            Some(_) if !module_dependent(op, &mut all) => plain(op, &mut all),
            _ => {}
        }
    }
    all
}

/// Units of fuel that an operator costs.
pub(super) fn fuel(op: u16) -> u8 {
    let (blockty, tag_index) = (BlockType::Empty, 0);
    // What opens, divides and closes blocks cannot be read by itself.
    let shape = match op {
        0x02 => Operator::Block { blockty },
        0x03 => Operator::Loop { blockty },
        0x04 => Operator::If { blockty },
        0x05 => Operator::Else,
        0x06 => Operator::Try { blockty },
        0x07 => Operator::Catch { tag_index },
        0x0b => Operator::End,
        0x18 => Operator::Delegate { relative_depth: 0 },
        0x19 => Operator::CatchAll,
        0x1f => Operator::TryTable { try_table: TryTable { ty: blockty, catches: Vec::new() } },
        _ => {
            let bytes = encode(op, &Values::default());
            // Those with immediates of their own kind are no exceptions.
            return decode(&bytes).map_or(1, |op| fuel_cost(&op) as u8);
        }
    };
    fuel_cost(&shape) as u8
}

/// Operators that depend on nothing but their immediates.
fn plain(op: u16, all: &mut Vec<Entry>) {
    let lanes = match op {
        0x43..=0x44 | 0x45..=0xc4 | 0x100..=0x107 => 1,
        FD.. if op < FE => match op - FD {
            12 => return,
            13 => return shuffles(all),
            21..=23 => 16,
            24..=26 => 8,
            27 | 28 | 31 | 32 => 4,
            29 | 30 | 33 | 34 => 2,
            _ => 1,
        },
        0x263 => 1,
        _ => return,
    };
    let bytes = encode(op, &Values::default());
    let Some(count) = decode(&bytes).and_then(|o| operand_count(&o)) else { return };
    let Some((params, result)) = signature(op, count, 0) else { return };
    for lane in 0..lanes {
        all.push(entry(op, lane, &params, result, NO_ACCESS, Facts::default()));
    }
}

/// Shuffles in all their forms.
fn shuffles(all: &mut Vec<Entry>) {
    use stencil::shuffle::{DWORDS, FORMS, HIGH_WORDS, LOW_WORDS, ONE};
    for form in 0..FORMS {
        let only_one = matches!(form, ONE | DWORDS | LOW_WORDS | HIGH_WORDS);
        let params = if only_one { &[Ty::V128][..] } else { &[Ty::V128; 2] };
        all.push(entry(SHUFFLE, form, params, Some(Ty::V128), NO_ACCESS, Facts::default()));
    }
}

/// Accesses to memory: by the base in its register, and checked.
fn access(op: u16, all: &mut Vec<Entry>) {
    let bytes = encode(op, &Values::default());
    let Some(count) = decode(&bytes).and_then(|o| operand_count(&o)) else { return };
    // Atomic accesses have the alignment of their size.
    let found = (0..=3).find_map(|align| Some((align, signature(op, count, align)?)));
    let Some((align, (params, result))) = found else { return };
    let lanes = match op.wrapping_sub(FD) {
        84 | 88 => 16,
        85 | 89 => 8,
        86 | 90 => 4,
        87 | 91 => 2,
        _ => 1,
    };
    for lane in 0..lanes {
        all.push(entry(op, lane * LANE, &params, result, align, Facts { based: true, ..Facts::default() }));
        for is_64 in [false, true] {
            for indirect in [false, true] {
                let mut params = params.clone();
                params[0] = index(is_64);
                let facts = Facts { indirect, is_64, ..Facts::default() };
                let variant = checked_form(indirect, is_64) + lane * LANE;
                all.push(entry(op, variant, &params, result, align, facts));
            }
        }
    }
    // Variants are looked up by number.
    let first = all.iter().position(|e| e.subject.op == op).unwrap_or(all.len());
    all[first..].sort_by_key(|e| e.subject.variant);
}

fn index(is_64: bool) -> Ty {
    if is_64 { Ty::I64 } else { Ty::I32 }
}

const CONTENTS: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];

/// Copies and fills in the first memory, of which few bytes are done in line. One form for all settings: as where fuel is
/// counted, more bytes are left to the runtime, which then is told memories by their numbers.
const BULK: Facts = Facts { based: true, fuel: true, ..Facts::NONE };

/// Operators on globals, tables and memories as a whole; references.
fn module_dependent(op: u16, all: &mut Vec<Entry>) -> bool {
    let mut add = |variant: u8, params: &[Ty], result: Option<Ty>, facts: Facts| {
        let align = match op {
            0x260 | 0x261 => 2,
            0x262 => 3,
            _ => NO_ACCESS,
        };
        all.push(entry(op, variant, params, result, align, facts));
    };
    let of = |bits: u8| Facts { indirect: bits & 1 != 0, ..Facts::default() };
    match op {
        0x1b => Ty::ALL.into_iter().for_each(|ty| add(ty as u8, &[ty, ty, Ty::I32], Some(ty), Facts::default())),
        0x23 | 0x24 => {
            for (variant, ty) in (0..10).map(|v| (v, Ty::ALL[usize::from(v / 2)])) {
                let facts = Facts { content: Some(CONTENTS[usize::from(variant / 2)]), ..of(variant) };
                if op == 0x23 { add(variant, &[], Some(ty), facts) } else { add(variant, &[ty], None, facts) }
            }
        }
        0x25 | 0x26 | 0x10f..=0x111 => {
            for variant in 0..8 {
                let (gc, is_64) = (variant & 2 != 0, variant & 4 != 0);
                let content = Some(if gc { ValType::EXTERNREF } else { ValType::FUNCREF });
                let facts = Facts { content, is_64, ..of(variant) };
                let (i, r) = (index(is_64), index(!gc));
                match op {
                    0x25 => add(variant, &[i], Some(r), facts),
                    0x26 => add(variant, &[i, r], None, facts),
                    0x10f => add(variant, &[r, i], Some(i), facts),
                    0x110 => add(variant, &[], Some(i), facts),
                    _ => add(variant, &[i, r, i], None, facts),
                }
            }
        }
        0x3f => (0..4).for_each(|v| {
            let is_64 = v & 2 != 0;
            add(v, &[], Some(index(is_64)), Facts { is_64, ..of(v) });
        }),
        0x40 | 0x260..=0x262 | 0x108 | 0x10b | 0x10c => {
            for (variant, is_64) in [(0, false), (1, true)] {
                let i = index(is_64);
                let facts = Facts { is_64, fuel: op == 0x10b, ..Facts::default() };
                match op {
                    0x40 => add(variant, &[i], Some(i), facts),
                    0x260 => add(variant, &[i, Ty::I32], Some(Ty::I32), facts),
                    0x261 => add(variant, &[i, Ty::I32, Ty::I64], Some(Ty::I32), facts),
                    0x262 => add(variant, &[i, Ty::I64, Ty::I64], Some(Ty::I32), facts),
                    0x10b => add(variant, &[i, Ty::I32, i], None, facts),
                    _ => add(variant, &[i, Ty::I32, Ty::I32], None, facts),
                }
            }
            if op == 0x10b {
                add(stencil::FILL_BASE, &[Ty::I32; 3], None, BULK);
            }
        }
        0x10a | 0x10e => {
            for v in 0..4 {
                let (is_64, is_64_too) = (v & 1 != 0, v & 2 != 0);
                let params = [index(is_64), index(is_64_too), index(is_64 && is_64_too)];
                add(v, &params, None, Facts { is_64, is_64_too, fuel: op == 0x10a, ..Facts::default() });
            }
            if op == 0x10a {
                add(stencil::COPY_BASE, &[Ty::I32; 3], None, BULK);
            }
        }
        0x109 | 0x10d => add(0, &[], None, Facts::default()),
        0xd1 | 0xd4 => (0..2).for_each(|v| {
            let ty = index(v == 0);
            add(v, &[ty], Some(if op == 0xd1 { Ty::I32 } else { ty }), Facts::default());
        }),
        0xd2 => add(0, &[], Some(Ty::I64), Facts::default()),
        _ => return false,
    }
    true
}

/// Pieces that are no operators.
fn glue(op: u16, all: &mut Vec<Entry>) {
    let mut add = |variant: u8, params: &[Ty], facts| all.push(entry(op, variant, params, None, NO_ACCESS, facts));
    match op {
        stencil::CALLEE_IMPORT => add(0, &[], Facts::default()),
        stencil::CALLEE_ELEMENT => (0..4).for_each(|v| {
            let is_64 = v & 2 != 0;
            add(v, &[index(is_64)], Facts { indirect: v & 1 != 0, is_64, ..Facts::default() });
        }),
        stencil::CALLEE_REF => add(0, &[Ty::I64], Facts::default()),
        stencil::FUEL => add(0, &[], Facts { fuel: true, ..Facts::default() }),
        stencil::INTERRUPTS => (0..4).for_each(|v| {
            add(v, &[], Facts { fuel: v & 1 != 0, epochs: v & 2 != 0, ..Facts::default() });
        }),
        _ => {}
    }
}
