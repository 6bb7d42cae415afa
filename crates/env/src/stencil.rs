//! What the generator of stencils and the baseline compiler agree on: what there are stencils of, kinds of operands, and the
//! flat form of a library of stencils.
//!
//! A stencil is the machine code of one operator for one combination of operand kinds. Between stencils the state of a
//! function is in fixed places: its context, the base of its first memory, one integer and one float or vector
//! temporary, and pinned locals in registers, everything else in slots above the stack pointer.

use std::fmt;

use crate::Op;

/// Pieces of code that are no operators.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Glue {
    /// Code and context of an imported function.
    CalleeImport,
    /// Code and context of an element of a table. Variant: [`place_variant`] of the table, plus 2 if its indices have 64
    /// bits.
    CalleeElement,
    /// Code and context of a function reference.
    CalleeRef,
    /// Adds units to the fuel counter.
    Fuel,
    /// Checks fuel (variant bit 0) and the epoch (bit 1).
    Interrupts,
}

impl Glue {
    /// All of them, by number.
    pub const ALL: [Glue; 5] = [Glue::CalleeImport, Glue::CalleeElement, Glue::CalleeRef, Glue::Fuel, Glue::Interrupts];
}

/// What there can be stencils of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Piece {
    /// An operator.
    Op(Op),
    /// What is around operators.
    Glue(Glue),
}

impl Piece {
    /// How many there are.
    pub const COUNT: usize = Op::COUNT + Glue::ALL.len();

    /// All of them, by number.
    pub fn all() -> impl Iterator<Item = Piece> {
        Op::ALL.into_iter().map(Piece::Op).chain(Glue::ALL.into_iter().map(Piece::Glue))
    }

    /// Its number among all, from 0 on.
    #[inline(always)]
    pub const fn number(self) -> usize {
        match self {
            Piece::Op(op) => op.index(),
            Piece::Glue(glue) => Op::COUNT + glue as usize,
        }
    }
}

impl From<Op> for Piece {
    #[inline(always)]
    fn from(op: Op) -> Piece {
        Piece::Op(op)
    }
}

impl From<Glue> for Piece {
    #[inline(always)]
    fn from(glue: Glue) -> Piece {
        Piece::Glue(glue)
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Piece::Op(op) => f.write_str(op.name()),
            Piece::Glue(glue) => write!(f, "{glue:?}"),
        }
    }
}

/// Variant of an access: the memory's base is in its register, nothing is checked.
pub const FORM_BASE: u8 = 0;

/// Variant of an access that is checked in full.
pub fn checked_form(indirect: bool, is_64: bool) -> u8 {
    1 + u8::from(indirect) + 2 * u8::from(is_64)
}

/// Variant of `memory.copy` within the first memory, whose base is in its register.
pub const COPY_BASE: u8 = 4;
/// The same of `memory.fill`.
pub const FILL_BASE: u8 = 2;
/// Bytes that the guard of that memory must have for these.
pub const BULK_REACH: u64 = 4096;

/// What is added to an access' variant for each lane.
pub const LANE: u8 = 8;

/// Variant bit of whatever is inside the context (0) or behind a pointer in it (1).
#[inline]
pub fn place_variant(indirect: bool) -> u8 {
    u8::from(indirect)
}

/// Type of a value in a slot or register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Ty {
    /// 32-bit integers and collected references.
    I32 = 0,
    /// 64-bit integers and function references.
    I64 = 1,
    /// Single floats.
    F32 = 2,
    /// Double floats.
    F64 = 3,
    /// Vectors.
    V128 = 4,
}

impl Ty {
    /// All types, by number.
    pub const ALL: [Ty; 5] = [Ty::I32, Ty::I64, Ty::F32, Ty::F64, Ty::V128];

    /// Whether values are in general-purpose registers.
    #[inline]
    pub fn is_int(self) -> bool {
        matches!(self, Ty::I32 | Ty::I64)
    }
}

/// The operand is in a slot. Its value: the displacement from the stack pointer.
pub const SLOT: u8 = 0;
/// The operand is in the temporary of its class.
pub const TEMP: u8 = 1;
/// The operand is a constant. Its value: the constant.
pub const IMM: u8 = 2;
/// The operand is in the first pinned register of its class; others follow.
pub const PIN: u8 = 3;
/// Number of kinds.
pub const KINDS: usize = 8;
/// Pinned integer registers.
pub const INT_PINS: usize = 3;
/// Pinned float registers.
pub const FLOAT_PINS: usize = 5;

/// No branch.
pub const PLAIN: u8 = 0;
/// The comparison branches if it is true.
pub const IF_TRUE: u8 = 1;
/// The comparison branches if it is false.
pub const IF_FALSE: u8 = 2;

/// Positions of values that fill holes: operands are 0 to 2.
pub mod value {
    /// A memory access' offset.
    pub const OFFSET: usize = 3;
    /// Offset in the context of what the operator works on.
    pub const PLACE: usize = 4;
    /// Offset in the context of a type's number.
    pub const TYPE: usize = 5;
    /// Index of what the operator works on.
    pub const INDEX: usize = 6;
    /// A second index.
    pub const INDEX2: usize = 7;
    /// Displacement from the stack pointer of the area for spills.
    pub const SPILL: usize = 8;
    /// Base-2 logarithm of a memory's page size.
    pub const PAGE: usize = 9;
    /// Which lanes of the first operand a shuffle takes, as `pshufb` wants them: the low half, the high half.
    pub const LANES: usize = 10;
    /// The same of the second operand.
    pub const LANES2: usize = 12;
    /// The number in a shuffle's form.
    pub const FORM: usize = 14;
    /// How many there are.
    pub const COUNT: usize = 15;
}

/// Bits of the count that a shift or rotation by an integer uses, less one; `None` for all other operators, and for
/// `i64x2.shr_s`, whose code depends on a constant count: processors have no such instruction.
#[inline]
pub fn shift_mask(op: Op) -> Option<u8> {
    Some(match op {
        Op::I32Shl | Op::I32ShrS | Op::I32ShrU | Op::I32Rotl | Op::I32Rotr => 31,
        Op::I64Shl | Op::I64ShrS | Op::I64ShrU | Op::I64Rotl | Op::I64Rotr => 63,
        Op::I8x16Shl | Op::I8x16ShrS | Op::I8x16ShrU => 7,
        Op::I16x8Shl | Op::I16x8ShrS | Op::I16x8ShrU => 15,
        Op::I32x4Shl | Op::I32x4ShrS | Op::I32x4ShrU => 31,
        Op::I64x2Shl | Op::I64x2ShrU => 63,
        _ => return None,
    })
}

/// Shuffles whose lanes follow a pattern: machines have shorter instructions for them. Variants of the operator.
pub mod shuffle {
    /// Any lanes of both operands.
    pub const GENERAL: u8 = 0;
    /// Any lanes of the only operand.
    pub const ONE: u8 = 1;
    /// Groups of four lanes of the first operand; their numbers are two bits each of the form's number.
    pub const DWORDS: u8 = 2;
    /// Groups of two lanes in the low half of the first operand; the high half stays.
    pub const LOW_WORDS: u8 = 3;
    /// The same with the halves exchanged.
    pub const HIGH_WORDS: u8 = 4;
    /// Two groups of four lanes of the first operand, then two of the second.
    pub const TWO_DWORDS: u8 = 5;
    /// All lanes from the form's number on, of both operands one after the other.
    pub const FROM: u8 = 6;
    /// The low, then the high halves of both operands, lane by lane; groups of 1, 2, 4 and 8 lanes.
    pub const INTERLEAVED: u8 = 7;
    /// Number of forms.
    pub const FORMS: u8 = INTERLEAVED + 8;

    /// The lanes of a form. `None` for [`GENERAL`] and [`ONE`].
    pub fn lanes(form: u8, n: u8) -> Option<[u8; 16]> {
        let group = |i: u8| n >> (2 * i) & 3;
        Some(std::array::from_fn(|lane| {
            let lane = lane as u8;
            match form {
                DWORDS => 4 * group(lane / 4) + lane % 4,
                LOW_WORDS if lane < 8 => 2 * group(lane / 2) + lane % 2,
                HIGH_WORDS if lane >= 8 => 8 + 2 * group((lane - 8) / 2) + lane % 2,
                TWO_DWORDS => (lane / 8) * 16 + 4 * group(lane / 4) + lane % 4,
                FROM => (lane + n) & 31,
                INTERLEAVED..FORMS => {
                    let (high, width) = ((form - INTERLEAVED) / 4, 1 << ((form - INTERLEAVED) % 4));
                    let pair = lane / width;
                    16 * (pair % 2) + 8 * high + pair / 2 * width + lane % width
                }
                _ => lane,
            }
        }))
        .filter(|_| form > ONE)
    }

    /// The form that these lanes have, and its number.
    pub fn form(l: &[u8; 16]) -> (u8, u8) {
        let number = |form: u8| match form {
            DWORDS | TWO_DWORDS => (0..4).fold(0, |n, i| n | (l[4 * i] >> 2 & 3) << (2 * i)),
            LOW_WORDS => (0..4).fold(0, |n, i| n | (l[2 * i] >> 1 & 3) << (2 * i)),
            HIGH_WORDS => (0..4).fold(0, |n, i| n | (l[8 + 2 * i] >> 1 & 3) << (2 * i)),
            FROM => l[0],
            _ => 0,
        };
        // What begins in the second operand and goes on in the first is another matter.
        let fits = |form: &u8| (*form != FROM || l[0] <= 16) && lanes(*form, number(*form)).as_ref() == Some(l);
        match (DWORDS..FORMS).find(fits) {
            Some(form) => (form, number(form)),
            None if l.iter().all(|lane| *lane < 16) => (ONE, 0),
            None => (GENERAL, 0),
        }
    }

    /// Lanes as two masks, one for each operand, low and high halves: what is of the other one is out of range.
    pub fn masks(lanes: &[u8; 16]) -> [i64; 4] {
        let half = |second: bool, high: bool| {
            let bytes: [u8; 8] = std::array::from_fn(|i| {
                let lane = lanes[i + 8 * usize::from(high)];
                if (lane >= 16) == second { lane & 15 } else { 1 << 7 }
            });
            i64::from_le_bytes(bytes)
        };
        [half(false, false), half(false, true), half(true, false), half(true, true)]
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn forms_are_recognised() {
            for form in DWORDS..FORMS {
                for n in 0..=if form == FROM { 16 } else { 255 } {
                    let Some(l) = lanes(form, n) else { panic!("form {form}") };
                    let (found, number) = super::form(&l);
                    assert_eq!(lanes(found, number), Some(l), "form {form}, {n}");
                }
            }
            let mixed = [0, 16, 1, 17, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
            assert_eq!(super::form(&mixed), (GENERAL, 0));
            assert_eq!(super::form(&[3; 16]), (ONE, 0));
            let [a, a2, b, b2] = masks(&mixed);
            assert_eq!((a as u64, a2), (0x0706_0504_8001_8000, 0x0f0e_0d0c_0b0a_0908));
            assert_eq!((b as u64, b2 as u64), (0x8080_8080_0180_0080, 0x8080_8080_8080_8080));
        }
    }
}

/// What makes one stencil different from others of its operator and variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Kind of the first operand.
    pub a: u8,
    /// Kind of the second operand.
    pub b: u8,
    /// Whether all slots are within reach of 8-bit displacements.
    pub near: bool,
    /// The same for a memory access' offset.
    pub short: bool,
    /// [`PLAIN`], [`IF_TRUE`] or [`IF_FALSE`].
    pub branch: u8,
}

/// Which choices an operator has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shape {
    /// Kinds of the first operand.
    pub a: bool,
    /// Kinds of the second operand.
    pub b: bool,
    /// Short offsets.
    pub short: bool,
    /// Branches.
    pub branch: bool,
}

impl Shape {
    /// As a number.
    pub fn bits(self) -> u8 {
        u8::from(self.a) | u8::from(self.b) << 1 | u8::from(self.short) << 2 | u8::from(self.branch) << 3
    }

    /// From that number.
    #[inline]
    pub const fn from_bits(bits: u8) -> Shape {
        Shape { a: bits & 1 != 0, b: bits & 2 != 0, short: bits & 4 != 0, branch: bits & 8 != 0 }
    }

    /// By how much each part of a choice moves its number: operands, near, short, branch. What the shape has not moves nothing.
    pub const fn strides(self) -> [u8; 5] {
        let branch = if self.branch { 3 } else { 1 };
        let short = if self.short { 2 } else { 1 };
        let operand = 2 * short * branch;
        let has_operands = self.a || self.b;
        let b = if self.b { operand } else { 0 };
        let a = if !self.a {
            0
        } else if self.b {
            operand * KINDS as u8
        } else {
            operand
        };
        [a, b, if has_operands { short * branch } else { 0 }, if self.short { branch } else { 0 }, self.branch as u8]
    }

    /// How many choices there are.
    pub fn cells(self) -> usize {
        let kinds = |on| if on { KINDS } else { 1 };
        kinds(self.a) * kinds(self.b) * 2 * (1 + usize::from(self.short)) * (1 + 2 * usize::from(self.branch))
    }

    /// The number of a choice.
    #[inline]
    pub fn cell(self, c: Choice) -> usize {
        cell(self.strides(), c)
    }
}

/// The number of a choice among those of a shape with these [strides](Shape::strides).
#[inline]
pub fn cell(strides: [u8; 5], c: Choice) -> usize {
    let n = |i: usize, part: u8| usize::from(strides[i]) * usize::from(part);
    n(0, c.a) + n(1, c.b) + n(2, c.near.into()) + n(3, c.short.into()) + n(4, c.branch)
}

/// The operator calls the runtime or ends in a callee: nothing but its results is in registers behind it.
pub const FRAMED: u8 = 1;
/// The stencil must begin at [`ALIGN_PHASE`] modulo 16.
pub const ALIGNED: u8 = 2;
/// Some holes are displacements of the area for spills.
pub const SPILLS: u8 = 4;
/// Where aligned stencils begin: the length of the prologue that was cut off.
pub const ALIGN_PHASE: usize = 11;
/// No stencil, no operator, no result.
pub const ABSENT: u16 = u16::MAX;
/// Result of operators that have none.
pub const NO_RESULT: u8 = u8::MAX;

/// How a hole is filled.
pub mod fill {
    /// One byte.
    pub const BYTE: u8 = 1;
    /// Four bytes.
    pub const WORD: u8 = 4;
    /// Eight bytes.
    pub const LONG: u8 = 8;
    /// One byte: the value's [`LOW_BITS`] only.
    pub const LOW: u8 = 2;
    /// One byte: the addend less the value.
    pub const NEGATED: u8 = 1 << 7 | BYTE;
    /// What alignment can depend on, and a displacement of a byte can hold.
    pub const LOW_BITS: u64 = (1 << 7) - 1;
}

/// First bytes of a library.
pub const MAGIC: u32 = u32::from_le_bytes(*b"kstl");

/// Bytes of the records of a library. All numbers are little-endian.
///
/// Header: magic, then for each section its offset (u32), in this order: operators, variants, cells, stencils; then the bytes
/// of the area for spills. The last section ends with [`record::PADDING`] bytes, so that code can be read in pieces of a fixed size.
///
/// * Operator: first variant (u16, [`ABSENT`] for none), number of variants (u8), u8 free.
/// * Variant: first cell (u32, `u32::MAX` for none), shape (u8), flags (u8), number of operands (u8), result (u8), operands (4 × u8).
/// * Cell: offset of the stencil in units of [`record::UNIT`] bytes (u16, [`ABSENT`] for none).
/// * Stencil: length of the code (u16), position of the branch's displacement (u16, [`ABSENT`] for none), number of holes, traps and
///   calls, flags (u8 each); then its holes, its sites (traps, then calls), and its code.
/// * Hole: position (u16), value (u8), fill (u8), addend (i32). Holes ascend.
/// * Site: position (u16), and a trap's number or a builtin's (u16). The position of a call is that of its displacement.
pub mod record {
    /// Bytes of the header.
    pub const HEADER: usize = 24;
    /// Bytes of an operator.
    pub const OP: usize = 4;
    /// Bytes of a variant.
    pub const VARIANT: usize = 12;
    /// Bytes of a cell.
    pub const CELL: usize = 2;
    /// Stencils begin at multiples of this.
    pub const UNIT: usize = 32;
    /// Bytes of a stencil before its holes.
    pub const STENCIL: usize = 8;
    /// Bytes of a hole.
    pub const HOLE: usize = 8;
    /// Bytes of a site.
    pub const SITE: usize = 4;
    /// Bytes behind the last stencil.
    pub const PADDING: usize = 64;
}
