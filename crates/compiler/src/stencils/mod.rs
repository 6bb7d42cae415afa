//! Makes the library of stencils that the baseline compiler assembles functions from.
//!
//! For each operator and each combination of operand kinds a function of its own is made with the same operator core as
//! the optimising translator's (`translate::ops`) and compiled. Where operands and the facts of a module end up
//! in the code is found out by compiling it again with one of them changed at a time. Every stencil is then verified:
//! filled with other values, it must be byte for byte what Cranelift makes of them. What does not pass does not exist,
//! and the operand goes through a slot.
//!
//! Constants are operands only of operators on a list: byte for byte verification cannot see a lowering that uses what
//! is known about a value (a division by a constant is not checked).

mod cut;
mod emit;
mod pack;
mod signatures;
mod subjects;

use kiln_env::Op;
use kiln_env::stencil::{self, Choice, Glue, Piece, Shape, Ty, fill, value};

use crate::error::{CompileError, Result};
use cut::{Cut, cut};
use emit::{Maker, Subject};

/// A set of processor features that there is a library for. Better ones last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// SSE4.2.
    V2,
    /// AVX2, FMA, BMI.
    V3,
}

impl Level {
    /// All levels.
    pub const ALL: [Level; 2] = [Level::V2, Level::V3];

    /// Cranelift's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Level::V2 => "x86-64-v2",
            Level::V3 => "x86-64-v3",
        }
    }

    /// Settings of a target that has at least these features, by Cranelift's names.
    pub fn flags(self) -> Result<Vec<(String, String)>> {
        let isa = crate::isa::for_stencils(self.name())?;
        let on = isa.isa_flags().into_iter().filter(|f| f.as_bool() == Some(true));
        Ok(on.map(|f| (f.name.to_owned(), f.value_string())).collect())
    }
}

/// A library in its flat form ([`kiln_env::stencil::record`]), and how it came about.
#[derive(Clone, Debug)]
pub struct Library {
    /// What the baseline compiler reads.
    pub bytes: Vec<u8>,
    /// Number of stencils.
    pub stencils: usize,
    /// Functions compiled to make them.
    pub compiled: usize,
    /// Combinations of operand kinds that have no stencil, and why.
    pub rejected: Vec<String>,
}

/// A stencil with its holes.
struct Stencil {
    cut: Cut,
    holes: Vec<Hole>,
}

/// Bytes that depend on a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hole {
    at: usize,
    value: usize,
    fill: u8,
    addend: i32,
}

/// Makes and verifies the library of a level.
///
/// # Errors
/// An operator of which no stencil can be made: Cranelift's code has another shape than expected.
///
/// `rounds` (1 or 2) is how many times each stencil is verified: with a value of each sign.
pub fn library(level: Level, rounds: usize) -> Result<Library> {
    let mut maker = Maker::new(crate::isa::for_stencils(level.name())?, rounds);
    let mut pack = pack::Pack::new();
    let mut rejected = Vec::new();
    for entry in subjects::all() {
        pack_entry(&mut maker, &mut pack, entry, &mut rejected).map_err(CompileError::codegen)?;
    }
    let (bytes, stencils) = pack.finish();
    Ok(Library { bytes, stencils, compiled: maker.compiled, rejected })
}

fn pack_entry(
    maker: &mut Maker,
    pack: &mut pack::Pack,
    mut entry: subjects::Entry,
    rejected: &mut Vec<String>,
) -> std::result::Result<(), String> {
    let name = |e: &subjects::Entry| format!("{} variant {}", e.subject.piece, e.subject.variant);
    let plain = Choice::default();
    let base = |maker: &mut Maker, entry: &subjects::Entry| -> std::result::Result<(Stencil, Vec<usize>), String> {
        let facts = used(maker, &entry.subject)?;
        Ok((make(maker, entry, plain, &facts)?, facts))
    };
    // With calls inside nothing is kept in registers.
    let first = base(maker, &entry).and_then(|(s, f)| {
        if s.cut.calls.is_empty() || entry.subject.framed { Ok((s, f)) } else { Err("calls".into()) }
    });
    let (stencil, facts) = match first {
        Ok(done) => done,
        Err(_) if !entry.subject.framed => {
            entry.subject.framed = true;
            entry.shape = Shape::default();
            base(maker, &entry).map_err(|e| format!("{}: {e}", name(&entry)))?
        }
        Err(e) => return Err(format!("{}: {e}", name(&entry))),
    };
    let variant = pack.variant(&entry);
    pack.stencil(variant, entry.shape, plain, &stencil);
    for choice in entry.choices() {
        match make(maker, &entry, choice, &facts) {
            Ok(stencil) => pack.stencil(variant, entry.shape, choice, &stencil),
            // That is where operands go which nothing else is there for: with these, every function can be compiled.
            Err(e) if (choice.a, choice.b) == (stencil::SLOT, stencil::SLOT) => {
                return Err(format!("{} {choice:?}: {e}", name(&entry)));
            }
            Err(e) => rejected.push(format!("{} {choice:?}: {e}", name(&entry))),
        }
    }
    Ok(())
}

/// Lanes of shuffles without a pattern.
const LANES: [[u8; 16]; 4] = [
    [3, 17, 4, 22, 0, 31, 9, 2, 28, 5, 13, 16, 8, 1, 30, 7],
    [20, 6, 29, 1, 15, 4, 18, 27, 0, 25, 2, 11, 21, 14, 3, 24],
    [12, 19, 23, 8, 26, 10, 1, 16, 31, 3, 6, 18, 0, 29, 5, 9],
    [30, 0, 2, 28, 7, 17, 22, 13, 4, 11, 24, 1, 20, 26, 8, 15],
];

/// Numbers of shuffles' forms: no form is another one with any of them.
const FORMS: [i64; 4] = [0x1b, 0x0d, 0x07, 0x0b];

/// What a value stands for: decides about its hole and about the values that it is tried with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Near,
    Far,
    Imm32,
    Imm64,
    Shift,
    LaneShift,
    Lanes,
    OnlyLanes,
    Form,
    FirstLane,
    Bits64,
    Short,
    Offset,
    Offset64,
    Place,
    Type,
    Index,
    Index2,
    Spill,
    Page,
}

impl Role {
    fn fill(self) -> u8 {
        match self {
            Role::Near | Role::Shift | Role::LaneShift | Role::Short | Role::Page | Role::Form | Role::FirstLane => {
                fill::BYTE
            }
            Role::Bits64 | Role::Offset64 | Role::Lanes | Role::OnlyLanes => fill::LONG,
            _ => fill::WORD,
        }
    }

    /// Values to compile with: the base, another, and two to verify with. The lowest bytes of the first two differ.
    fn values(self, i: i64) -> [i64; 4] {
        match self {
            Role::Near => [[0x10, 0x58, 0x50, 0x28], [0x20, 0x50, 0x38, 0x70], [0x30, 0x48, 0x68, 0x08]][i as usize],
            Role::Far => {
                [0x0a11_1118 + 0x1_0108 * i, 0x2b32_3340 + 0x2_0210 * i, 0x1538_4858 + 8 * i, 0x0012_3490 + 8 * i]
            }
            Role::Imm32 => [0x1234_5670 + i, 0x3556_789a + 5 * i, -0x6165_4321 + i, 0x0765_4321 + i],
            Role::Imm64 => [-0x1234_5670 - i, -0x3556_789b - 5 * i, -0x6165_4321 - i, 0x0765_4321 - i],
            Role::Shift => [5, 11, 23, 30],
            Role::LaneShift => [5, 3, 6, 2],
            // Of each half of a mask. Where the first operand's lane is out of range, the second one's is not.
            Role::Lanes => {
                let round = |lanes: &[u8; 16]| stencil::shuffle::masks(lanes)[i as usize - value::LANES];
                LANES.each_ref().map(round)
            }
            Role::OnlyLanes => {
                let round =
                    |lanes: &[u8; 16]| stencil::shuffle::masks(&lanes.map(|l| l & 15))[i as usize - value::LANES];
                LANES.each_ref().map(round)
            }
            Role::Form => FORMS,
            Role::FirstLane => [5, 11, 3, 14],
            Role::Bits64 => {
                [0x1234_5678_9abc_def0, 0x3557_799b_bbde_f013, -0x6165_4321_0123_4568, 0x0123_4567_89ab_cdef]
            }
            Role::Short => [0x35, 0x5a, 0x71, 0x12],
            // Aligned for no access, so that an atomic one looks at their low bits.
            Role::Offset => [0x1234_5673, 0x3556_7895, 0x6165_4329, 0x0123_4567],
            Role::Offset64 => {
                [0x1234_5678_9abc_def3, 0x3557_799b_bbde_f015, 0x6165_4321_0123_4569, 0x0123_4567_89ab_cde7]
            }
            Role::Place => [0x0123_4560, 0x0356_7890, 0x0765_4320, 0x0011_1110],
            Role::Type => [0x0223_4564, 0x0456_7894, 0x0665_4324, 0x0022_2214],
            Role::Index => [1, 3, 5, 3],
            Role::Index2 => [2, 4, 2, 4],
            Role::Spill => [0x0468_ac00, 0x0357_9b10, 0x0246_8a20, 0x0146_8a30],
            Role::Page => [9, 14, 12, 16],
        }
    }
}

/// The role of a value in an operator's code.
fn role(s: &Subject, c: Choice, i: usize) -> Role {
    match i {
        value::OFFSET if s.module.based && c.short => Role::Short,
        value::OFFSET if s.module.based => Role::Offset,
        value::OFFSET => Role::Offset64,
        value::PLACE => Role::Place,
        value::TYPE => Role::Type,
        value::INDEX => Role::Index,
        value::INDEX2 => Role::Index2,
        value::SPILL => Role::Spill,
        value::PAGE => Role::Page,
        value::LANES..value::FORM if s.variant == stencil::shuffle::ONE => Role::OnlyLanes,
        value::LANES..value::FORM => Role::Lanes,
        value::FORM if s.variant == stencil::shuffle::FROM => Role::FirstLane,
        value::FORM => Role::Form,
        _ if s.piece == Op::F64Const.into() => Role::Bits64,
        _ if s.params.is_empty() => {
            if s.piece == Glue::Fuel.into() {
                Role::Offset
            } else {
                Role::Imm32
            }
        }
        _ if [c.a, c.b, stencil::SLOT][i] == stencil::IMM => match s.params[i] {
            _ if i == 1 && shift_mask(s).is_some_and(|m| m < 31) => Role::LaneShift,
            _ if i == 1 && shift_mask(s).is_some() => Role::Shift,
            // A stored constant of 64 bits, too, is 32 bits that are sign-extended.
            Ty::I64 => Role::Imm64,
            _ => Role::Imm32,
        },
        _ if c.near => Role::Near,
        _ => Role::Far,
    }
}

fn shift_mask(s: &Subject) -> Option<u8> {
    match s.piece {
        Piece::Op(op) => stencil::shift_mask(op),
        Piece::Glue(_) => None,
    }
}

fn values(s: &Subject, c: Choice, round: usize) -> [i64; value::COUNT] {
    std::array::from_fn(|i| {
        if i < 3 && i >= s.params.len() && !s.params.is_empty() { 0 } else { role(s, c, i).values(i as i64)[round] }
    })
}

/// Which facts, beside operands, an operator's code depends on.
fn used(maker: &mut Maker, s: &Subject) -> std::result::Result<Vec<usize>, String> {
    let c = Choice::default();
    let base = values(s, c, 0);
    let other = values(s, c, 1);
    let code = maker.make(s, c, &base)?.code;
    let mut used = Vec::new();
    let facts = if s.params.is_empty() { 0..value::SPILL } else { value::OFFSET..value::SPILL };
    let lanes = if s.piece == Op::I8x16Shuffle.into() { value::LANES..value::COUNT } else { 0..0 };
    for i in facts.chain([value::PAGE]).chain(lanes) {
        let mut v = base;
        v[i] = other[i];
        if maker.make(s, c, &v)?.code != code {
            used.push(i);
        }
    }
    Ok(used)
}

/// Whether the code refers to the area for spills.
fn spills(code: &[u8]) -> bool {
    let [low, ..] = Role::Spill.values(0);
    code.windows(4).any(|w| (low..low + 4096).contains(&i64::from(i32::from_le_bytes([w[0], w[1], w[2], w[3]]))))
}

/// Makes a stencil and verifies it.
fn make(
    maker: &mut Maker,
    entry: &subjects::Entry,
    c: Choice,
    facts: &[usize],
) -> std::result::Result<Stencil, String> {
    let s = &entry.subject;
    // A comparison of floats may branch twice.
    let one_jump = !(entry.shape.branch && s.params.first().is_some_and(|ty| !ty.is_int()));
    let base = values(s, c, 0);
    let cut_base = cut(&maker.make(s, c, &base)?, one_jump)?;
    let mut vary: Vec<usize> = facts.to_vec();
    for i in 0..s.placed() {
        if matches!([c.a, c.b, stencil::SLOT][i], stencil::SLOT | stencil::IMM) {
            vary.push(i);
        }
    }
    if spills(&cut_base.code) {
        vary.push(value::SPILL);
    }
    // All values change at once: each by a distance of its own, which tells them apart.
    let mut changed = base;
    for i in &vary {
        changed[*i] = values(s, c, 1)[*i];
    }
    let other = cut(&maker.make(s, c, &changed)?, one_jump)?;
    let mut fills: Vec<Candidate> = vary.iter().map(|&i| (i, base[i], changed[i], role(s, c, i).fill())).collect();
    if s.is_atomic_access() {
        fills.push((value::OFFSET, base[value::OFFSET], changed[value::OFFSET], fill::LOW));
    }
    let holes = find(&cut_base, &other, &fills)?;
    if let Some(i) = vary.iter().find(|i| holes.iter().all(|h| h.value != **i)) {
        return Err(format!("value {i} has no hole"));
    }
    for round in 2..2 + maker.rounds {
        let v = values(s, c, round);
        let expected = cut(&maker.make(s, c, &v)?, one_jump)?;
        let mut found = cut_base.clone();
        holes.iter().for_each(|h| patch(&mut found.code, h, v[h.value]));
        if found != expected {
            return Err(format!("verification {round}: {:02x?} is not {:02x?}", found.code, expected.code));
        }
    }
    Ok(Stencil { cut: cut_base, holes })
}

/// A value, what it was and is, and how its holes are filled.
type Candidate = (usize, i64, i64, u8);

/// Where `base` and `other` differ because values changed.
fn find(base: &Cut, other: &Cut, candidates: &[Candidate]) -> std::result::Result<Vec<Hole>, String> {
    let (a, b) = (&base.code, &other.code);
    if a.len() != b.len() || base.branch != other.branch || base.traps != other.traps {
        return Err("the code's shape changes".into());
    }
    let mut holes: Vec<Hole> = Vec::new();
    let mut at = 0;
    while at < a.len() {
        if a[at] == b[at] {
            at += 1;
            continue;
        }
        // The lowest byte of a wide value may look like a narrow one, but not the other way round.
        let mut fitting: Vec<(usize, Hole)> = candidates.iter().filter_map(|c| fits(a, b, at, c)).collect();
        fitting.sort_by_key(|(width, _)| std::cmp::Reverse(*width));
        let (width, hole) = *fitting.first().ok_or_else(|| format!("the change at {at} is no value and a constant"))?;
        if fitting.get(1).is_some_and(|(other, _)| *other == width) {
            return Err(format!("the change at {at} may be one of two values"));
        }
        holes.push(hole);
        at += width;
    }
    Ok(holes)
}

/// The hole at a position, and its width, if a value explains the change there.
fn fits(a: &[u8], b: &[u8], at: usize, &(value, x, y, kind): &Candidate) -> Option<(usize, Hole)> {
    if kind == fill::LOW {
        let low = |n: i64| (n as u64 & fill::LOW_BITS) as u8;
        let fits = (a[at], b[at]) == (low(x), low(y));
        return fits.then_some((1, Hole { at, value, fill: kind, addend: 0 }));
    }
    let width = usize::from(kind & 0x7f);
    let read = |code: &[u8]| -> Option<i64> {
        let bytes = code.get(at..at + width)?;
        Some(match width {
            1 => i64::from(bytes[0] as i8),
            4 => i64::from(i32::from_le_bytes(bytes.try_into().ok()?)),
            _ => i64::from_le_bytes(bytes.try_into().ok()?),
        })
    };
    let truncate = |n: i64| match width {
        1 => i64::from(n as i8),
        4 => i64::from(n as i32),
        _ => n,
    };
    let (p, q) = (read(a)?, read(b)?);
    let (difference, sum) = (truncate(p.wrapping_sub(x)), truncate(p.wrapping_add(x)));
    let (fill, addend) = if difference == truncate(q.wrapping_sub(y)) {
        (kind, difference)
    } else if kind == fill::BYTE && sum == truncate(q.wrapping_add(y)) {
        (fill::NEGATED, sum)
    } else {
        return None;
    };
    // Only small constants are added to a value: a large one means that it is another value.
    let small = match value {
        value::INDEX | value::INDEX2 => addend == 0,
        _ => fill == fill::NEGATED || (-256..4096).contains(&addend),
    };
    small.then_some((width, Hole { at, value, fill, addend: addend as i32 }))
}

fn patch(code: &mut [u8], hole: &Hole, v: i64) {
    let sum = v.wrapping_add(hole.addend.into());
    match hole.fill {
        fill::BYTE => code[hole.at] = sum as u8,
        fill::LOW => code[hole.at] = (sum as u64 & fill::LOW_BITS) as u8,
        fill::NEGATED => code[hole.at] = (hole.addend as i64).wrapping_sub(v) as u8,
        fill::WORD => code[hole.at..hole.at + 4].copy_from_slice(&(sum as u32).to_le_bytes()),
        _ => code[hole.at..hole.at + 8].copy_from_slice(&sum.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_made_and_verified_for_each_level() {
        for level in Level::ALL {
            let library = library(level, 2).unwrap();
            eprintln!(
                "{}: {} stencils, {} bytes, {} functions compiled, {} rejected",
                level.name(),
                library.stencils,
                library.bytes.len(),
                library.compiled,
                library.rejected.len()
            );
            let some: Vec<_> = library.rejected.iter().take(6).collect();
            assert!(library.rejected.len() * 100 < library.stencils, "{some:#?}");
        }
    }
}
