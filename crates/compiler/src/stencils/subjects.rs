//! Every operator in every variant that there are stencils of.

use kiln_env::Op;
use kiln_env::opcode::{Class, Immediates, OperandType};
use kiln_env::stencil::{self, Choice, Glue, LANE, Piece, Shape, Ty, checked_form};
use kiln_env::types::ValType;

use super::emit::{Facts, Subject};
use super::signatures::signature;

/// An operator in one variant, and which choices of operand kinds are tried.
pub(super) struct Entry {
    pub(super) subject: Subject,
    pub(super) result: Option<Ty>,
    pub(super) shape: Shape,
}

/// Comparisons: they can be branches.
fn is_comparison(op: Op) -> bool {
    op.class() == Class::Comparison || op == Op::RefIsNull
}

/// Whether an operand may be a constant.
fn takes_constant(op: Op, i: usize) -> bool {
    use OperandType::{I32, I64};
    let params = op.signature().map_or(&[][..], |types| types.params);
    match op {
        Op::I32Add | Op::I32Sub | Op::I32Mul | Op::I32And | Op::I32Or | Op::I32Xor => true,
        Op::I64Add | Op::I64Sub | Op::I64Mul | Op::I64And | Op::I64Or | Op::I64Xor => true,
        _ if stencil::shift_mask(op).is_some() => i == 1,
        _ => match op.class() {
            Class::Comparison => matches!(params, [I32 | I64, _]),
            Class::Store => i == 1 && matches!(params, [_, I32 | I64]),
            _ => false,
        },
    }
}

/// Whether operands may be in pinned registers.
fn takes_pins(op: Op) -> bool {
    match op.class() {
        Class::Load | Class::Store | Class::Comparison | Class::Numeric | Class::Partial => true,
        Class::Vector | Class::VectorAccess => true,
        Class::Control | Class::Exception | Class::Call | Class::Parametric | Class::Local => false,
        Class::Global | Class::Table | Class::Memory | Class::Constant | Class::Reference => false,
        Class::Wide | Class::Aggregate | Class::Atomic | Class::Wait | Class::Fence => false,
    }
}

impl Entry {
    fn kinds(&self, i: usize) -> Vec<u8> {
        use stencil::{FLOAT_PINS, IMM, INT_PINS, PIN, SLOT, TEMP};
        let s = &self.subject;
        let on = [self.shape.a, self.shape.b];
        let (Some(ty), Some(true)) = (s.params.get(i), on.get(i)) else { return vec![SLOT] };
        let mut kinds = vec![SLOT, TEMP];
        if let Piece::Op(op) = s.piece
            && takes_pins(op)
            && *ty != Ty::V128
            && (s.align == u8::MAX || s.module.based)
        {
            let pins = if ty.is_int() { INT_PINS } else { FLOAT_PINS };
            kinds.extend((0..pins).map(|p| PIN + p as u8));
            if takes_constant(op, i) {
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

fn entry(piece: impl Into<Piece>, variant: u8, params: &[Ty], result: Option<Ty>, align: u8, module: Facts) -> Entry {
    let piece = piece.into();
    let framed = matches!(piece, Piece::Glue(Glue::CalleeImport | Glue::CalleeElement | Glue::CalleeRef));
    let (short, branch) = match piece {
        Piece::Op(op) => (module.based && op.class() != Class::Atomic, is_comparison(op)),
        Piece::Glue(_) => (false, false),
    };
    let shape = Shape { a: !params.is_empty(), b: params.len() > 1, short, branch };
    let subject = Subject { piece, variant, params: params.to_vec(), align, framed, module };
    Entry { subject, result, shape }
}

/// All of them, in order of their numbers and variants.
pub(super) fn all() -> Vec<Entry> {
    let mut all = Vec::new();
    for piece in Piece::all() {
        match piece {
            Piece::Op(op) => operator(op, &mut all),
            Piece::Glue(piece) => glue(piece, &mut all),
        }
    }
    all
}

fn operator(op: Op, all: &mut Vec<Entry>) {
    match op.class() {
        Class::Comparison | Class::Numeric | Class::Partial | Class::Vector | Class::Fence => plain(op, all),
        Class::Load | Class::Store | Class::VectorAccess | Class::Atomic => access(op, all),
        Class::Global | Class::Table | Class::Memory | Class::Reference | Class::Wait => module_dependent(op, all),
        Class::Parametric => module_dependent(op, all),
        // Integers are constants until something takes them.
        Class::Constant if matches!(op, Op::F32Const | Op::F64Const) => plain(op, all),
        Class::Constant => {}
        // The baseline compiler assembles these of other pieces.
        Class::Control | Class::Exception | Class::Call | Class::Local => {}
        Class::Wide => row(op, all),
        // No tier compiles these yet.
        Class::Aggregate => {}
    }
}

/// Operators that depend on nothing but their immediates.
fn plain(op: Op, all: &mut Vec<Entry>) {
    let lanes = match op.immediates() {
        Immediates::Lanes => return shuffles(all),
        // The baseline compiler has its own way with constants.
        Immediates::V128 => return,
        Immediates::Lane(lanes) => lanes,
        _ => 1,
    };
    let Some((params, result)) = signature(op) else { return };
    for lane in 0..lanes {
        all.push(entry(op, lane, &params, result, NO_ACCESS, Facts::default()));
    }
}

/// Operators with more results than there are temporaries: all but the last one are in slots, as all operands are.
fn row(op: Op, all: &mut Vec<Entry>) {
    let params = vec![Ty::I64; op.signature().map_or(0, |types| types.params.len())];
    let entry = entry(op, 0, &params, Some(Ty::I64), NO_ACCESS, Facts::default());
    all.push(Entry { shape: Shape::default(), ..entry });
}

/// Shuffles in all their forms.
fn shuffles(all: &mut Vec<Entry>) {
    use stencil::shuffle::{DWORDS, FORMS, HIGH_WORDS, LOW_WORDS, ONE};
    for form in 0..FORMS {
        let only_one = matches!(form, ONE | DWORDS | LOW_WORDS | HIGH_WORDS);
        let params = if only_one { &[Ty::V128][..] } else { &[Ty::V128; 2] };
        all.push(entry(Op::I8x16Shuffle, form, params, Some(Ty::V128), NO_ACCESS, Facts::default()));
    }
}

/// Accesses to memory: by the base in its register, and checked.
fn access(op: Op, all: &mut Vec<Entry>) {
    let Some((params, result)) = signature(op) else { return };
    let lanes = match op.immediates() {
        Immediates::MemArgLane(align) => 16 >> align,
        _ => 1,
    };
    let align = match op.immediates() {
        // Atomic accesses have the alignment of their size.
        Immediates::MemArg(align) if op.class() == Class::Atomic => align,
        _ => 0,
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
    let first = all.iter().position(|e| e.subject.piece == op.into()).unwrap_or(all.len());
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
fn module_dependent(op: Op, all: &mut Vec<Entry>) {
    let mut add = |variant: u8, params: &[Ty], result: Option<Ty>, facts: Facts| {
        let align = match op.immediates() {
            Immediates::MemArg(align) => align,
            _ => NO_ACCESS,
        };
        all.push(entry(op, variant, params, result, align, facts));
    };
    let of = |bits: u8| Facts { indirect: bits & 1 != 0, ..Facts::default() };
    match op {
        Op::Select => Ty::ALL.into_iter().for_each(|ty| add(ty as u8, &[ty, ty, Ty::I32], Some(ty), Facts::default())),
        Op::GlobalGet | Op::GlobalSet => {
            for (variant, ty) in (0..10).map(|v| (v, Ty::ALL[usize::from(v / 2)])) {
                let facts = Facts { content: Some(CONTENTS[usize::from(variant / 2)]), ..of(variant) };
                if op == Op::GlobalGet { add(variant, &[], Some(ty), facts) } else { add(variant, &[ty], None, facts) }
            }
        }
        Op::TableGet | Op::TableSet | Op::TableGrow | Op::TableSize | Op::TableFill => {
            for variant in 0..8 {
                let (gc, is_64) = (variant & 2 != 0, variant & 4 != 0);
                let content = Some(if gc { ValType::EXTERNREF } else { ValType::FUNCREF });
                let facts = Facts { content, is_64, ..of(variant) };
                let (i, r) = (index(is_64), index(!gc));
                match op {
                    Op::TableGet => add(variant, &[i], Some(r), facts),
                    Op::TableSet => add(variant, &[i, r], None, facts),
                    Op::TableGrow => add(variant, &[r, i], Some(i), facts),
                    Op::TableSize => add(variant, &[], Some(i), facts),
                    _ => add(variant, &[i, r, i], None, facts),
                }
            }
        }
        Op::MemorySize => (0..4).for_each(|v| {
            let is_64 = v & 2 != 0;
            add(v, &[], Some(index(is_64)), Facts { is_64, ..of(v) });
        }),
        Op::MemoryGrow | Op::MemoryInit | Op::TableInit => sized(op, &mut add),
        Op::MemoryAtomicNotify | Op::MemoryAtomicWait32 | Op::MemoryAtomicWait64 => sized(op, &mut add),
        Op::MemoryFill => {
            sized(op, &mut add);
            add(stencil::FILL_BASE, &[Ty::I32; 3], None, BULK);
        }
        Op::MemoryCopy | Op::TableCopy => {
            for v in 0..4 {
                let (is_64, is_64_too) = (v & 1 != 0, v & 2 != 0);
                let params = [index(is_64), index(is_64_too), index(is_64 && is_64_too)];
                let fuel = op == Op::MemoryCopy;
                add(v, &params, None, Facts { is_64, is_64_too, fuel, ..Facts::default() });
            }
            if op == Op::MemoryCopy {
                add(stencil::COPY_BASE, &[Ty::I32; 3], None, BULK);
            }
        }
        Op::DataDrop | Op::ElemDrop => add(0, &[], None, Facts::default()),
        Op::RefIsNull | Op::RefAsNonNull => (0..2).for_each(|v| {
            let ty = index(v == 0);
            add(v, &[ty], Some(if op == Op::RefIsNull { Ty::I32 } else { ty }), Facts::default());
        }),
        Op::RefFunc => add(0, &[], Some(Ty::I64), Facts::default()),
        // The baseline compiler has its own way with these.
        _ => {}
    }
}

/// Adds the variants of an operator of which one operand is an index of 32 or 64 bits.
fn sized(op: Op, add: &mut impl FnMut(u8, &[Ty], Option<Ty>, Facts)) {
    for (variant, is_64) in [(0, false), (1, true)] {
        let i = index(is_64);
        let facts = Facts { is_64, fuel: op == Op::MemoryFill, ..Facts::default() };
        match op {
            Op::MemoryGrow => add(variant, &[i], Some(i), facts),
            Op::MemoryAtomicNotify => add(variant, &[i, Ty::I32], Some(Ty::I32), facts),
            Op::MemoryAtomicWait32 => add(variant, &[i, Ty::I32, Ty::I64], Some(Ty::I32), facts),
            Op::MemoryAtomicWait64 => add(variant, &[i, Ty::I64, Ty::I64], Some(Ty::I32), facts),
            Op::MemoryFill => add(variant, &[i, Ty::I32, i], None, facts),
            _ => add(variant, &[i, Ty::I32, Ty::I32], None, facts),
        }
    }
}

/// Pieces that are no operators.
fn glue(piece: Glue, all: &mut Vec<Entry>) {
    let mut add = |variant: u8, params: &[Ty], facts| all.push(entry(piece, variant, params, None, NO_ACCESS, facts));
    match piece {
        Glue::CalleeImport => add(0, &[], Facts::default()),
        Glue::CalleeElement => (0..4).for_each(|v| {
            let is_64 = v & 2 != 0;
            add(v, &[index(is_64)], Facts { indirect: v & 1 != 0, is_64, ..Facts::default() });
        }),
        Glue::CalleeRef => add(0, &[Ty::I64], Facts::default()),
        Glue::Fuel => add(0, &[], Facts { fuel: true, ..Facts::default() }),
        Glue::Interrupts => (0..4).for_each(|v| {
            add(v, &[], Facts { fuel: v & 1 != 0, epochs: v & 2 != 0, ..Facts::default() });
        }),
    }
}
