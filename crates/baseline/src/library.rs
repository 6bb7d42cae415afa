//! A library of stencils, used in the form in which it was built into the program.

use std::sync::{Mutex, TryLockError};

use kiln_env::stencil::{self, Choice, Piece, Shape, Ty, fill, record, value};

use crate::state::Scratch;

/// Values for holes, by the numbers of [`value`].
pub(crate) type Values = [i64; VALUES];

/// Room for all of them; a power of two, so that no index need be checked.
const VALUES: usize = value::COUNT.next_power_of_two();

/// Values for a stencil with operands only.
pub(crate) const NO_VALUES: Values = [0; VALUES];

/// A library with the features that it needs.
pub(crate) struct Level {
    pub(crate) name: &'static str,
    /// Settings of Cranelift's that code of the level depends on.
    flags: &'static [(&'static str, &'static str)],
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/levels.rs"));

/// Settings under which the stencils were made; with others an operator's code is another.
const FIXED: &[(&str, &str)] = &[
    ("enable_nan_canonicalization", "false"),
    ("enable_heap_access_spectre_mitigation", "true"),
    ("enable_table_access_spectre_mitigation", "true"),
];

impl Level {
    /// The best level for a target with these settings.
    pub(crate) fn for_flags(flags: &[(String, String)]) -> Option<&'static Level> {
        let has = |(name, value): &(&str, &str)| flags.iter().any(|(n, v)| n == name && v == value);
        if !FIXED.iter().all(has) {
            return None;
        }
        LEVELS.iter().rev().find(|level| level.flags.iter().all(has))
    }
}

/// Sections of a library.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    ops: &'static [u8],
    variants: &'static [u8],
    cells: &'static [u8],
    stencils: &'static [u8],
    /// Bytes of the area for spills.
    pub(crate) spill: u32,
}

/// One operator in one variant: its record as it is.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    first_cell: usize,
    /// The rest of the record.
    rest: u64,
}

impl Variant {
    #[inline]
    fn byte(self, i: usize) -> u8 {
        (self.rest >> (8 * i)) as u8
    }

    #[inline]
    pub(crate) fn shape(self) -> Shape {
        Shape::from_bits(self.byte(0))
    }

    /// Whether the stencils call the runtime or end in a callee.
    #[inline]
    pub(crate) fn framed(self) -> bool {
        self.byte(1) & stencil::FRAMED != 0
    }

    /// Number of operands.
    #[inline]
    pub(crate) fn count(self) -> usize {
        self.byte(2).into()
    }

    #[inline]
    pub(crate) fn result(self) -> Option<Ty> {
        let number = self.byte(3);
        (number != stencil::NO_RESULT).then(|| ty(number))
    }

    /// Type of an operand.
    #[inline]
    pub(crate) fn param(self, i: usize) -> Ty {
        ty(self.byte(4 + i))
    }
}

/// Where a stencil's record is.
#[derive(Clone, Copy)]
pub(crate) struct Found(u16);

/// A stencil's record.
#[derive(Clone, Copy)]
pub(crate) struct Stencil {
    /// The code, and at least [`record::PADDING`] bytes more.
    pub(crate) code: &'static [u8],
    pub(crate) len: usize,
    pub(crate) holes: &'static [[u8; record::HOLE]],
    pub(crate) sites: &'static [u8],
    /// The bytes of the record before the holes.
    header: u64,
}

impl Stencil {
    /// Where the displacement of its branch is, if it has one.
    #[inline]
    pub(crate) fn branch(&self) -> u32 {
        (self.header >> 16) as u32 & 0xffff
    }

    /// How many of the sites are traps.
    #[inline]
    pub(crate) fn traps(&self) -> usize {
        (self.header >> 40) as usize & 0xff
    }

    /// Whether there is nothing to be done but to copy it and to fill its holes: no sites, no flags.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.header >> 40 == 0
    }

    /// Whether it has this flag.
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        (self.header >> 56) as u8 & flag != 0
    }
}

/// Bits that a hole takes, by its fill's number without the sign.
const MASKS: [u64; 16] = {
    let mut masks = [0; 16];
    masks[fill::BYTE as usize] = u8::MAX as u64;
    masks[fill::LOW as usize] = fill::LOW_BITS;
    masks[fill::WORD as usize] = u32::MAX as u64;
    masks[fill::LONG as usize] = u64::MAX;
    masks
};

/// A hole's record.
#[derive(Clone, Copy)]
pub(crate) struct Hole(pub(crate) u64);

impl Hole {
    #[inline]
    pub(crate) fn at(self) -> usize {
        self.0 as usize & 0xffff
    }

    /// Which value fills it.
    #[inline]
    pub(crate) fn value(self) -> usize {
        (self.0 >> 16) as usize & (VALUES - 1)
    }

    /// The bits that it takes.
    #[inline]
    pub(crate) fn mask(self) -> u64 {
        MASKS[(self.0 >> 24) as usize & 15]
    }

    /// What is put there: the addend plus or, for [`fill::NEGATED`], less the value.
    #[inline]
    pub(crate) fn fill(self, values: &Values) -> u64 {
        let sign = (self.0 as u32 as i32 >> 31) as i64;
        let addend = self.0 as i64 >> 32;
        (values[self.value()] ^ sign).wrapping_sub(sign).wrapping_add(addend) as u64
    }
}

/// Strides of all shapes, by their numbers.
const STRIDES: [[u8; 5]; 16] = {
    let mut all = [[0; 5]; 16];
    let mut bits = 0;
    while bits < 16 {
        all[bits] = Shape::from_bits(bits as u8).strides();
        bits += 1;
    }
    all
};

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let b = &bytes[at..at + 2];
    u16::from_le_bytes([b[0], b[1]])
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let b = &bytes[at..at + 4];
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

#[inline]
fn ty(number: u8) -> Ty {
    match number {
        0 => Ty::I32,
        1 => Ty::I64,
        2 => Ty::F32,
        3 => Ty::F64,
        _ => Ty::V128,
    }
}

impl Library {
    pub(crate) fn new(level: &Level) -> Library {
        let bytes = level.bytes;
        assert_eq!(u32_at(bytes, 0), stencil::MAGIC, "the build made this library");
        let at = |i: usize| if i < 4 { u32_at(bytes, 4 + 4 * i) as usize } else { bytes.len() };
        let section = |i: usize| &bytes[at(i)..at(i + 1)];
        Library {
            ops: section(0),
            variants: section(1),
            cells: section(2),
            stencils: section(3),
            spill: u32_at(bytes, 20),
        }
    }

    /// An operator or piece of glue in a variant.
    #[inline]
    pub(crate) fn variant(&self, piece: Piece, variant: u8) -> Option<Variant> {
        let at = piece.number() * record::OP;
        let o = &self.ops[at..at + record::OP];
        let first = u16::from_le_bytes([o[0], o[1]]);
        if variant >= o[2] {
            return None;
        }
        let v = (usize::from(first) + usize::from(variant)) * record::VARIANT;
        let v = &self.variants[v..v + record::VARIANT];
        let first_cell = u32::from_le_bytes([v[0], v[1], v[2], v[3]]);
        let rest = u64::from_le_bytes([v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11]]);
        (first_cell != u32::MAX).then_some(Variant { first_cell: first_cell as usize, rest })
    }

    /// The stencil for a choice.
    #[inline]
    pub(crate) fn find(&self, variant: Variant, choice: Choice) -> Option<Found> {
        let strides = STRIDES[usize::from(variant.byte(0) & 15)];
        let cell = variant.first_cell + stencil::cell(strides, choice);
        let unit = u16_at(self.cells, cell * record::CELL);
        (unit != stencil::ABSENT).then_some(Found(unit))
    }

    /// What was found.
    #[inline(always)]
    pub(crate) fn stencil(&self, found: Found) -> Stencil {
        let bytes = &self.stencils[usize::from(found.0) * record::UNIT..];
        let (header, rest) = bytes.split_first_chunk::<{ record::STENCIL }>().expect("the build made this library");
        let header = u64::from_le_bytes(*header);
        let count = |shift: u32| (header >> shift) as usize & 0xff;
        let (holes, rest) = rest.split_at(count(32) * record::HOLE);
        let (sites, code) = rest.split_at((count(40) + count(48)) * record::SITE);
        Stencil { code, len: header as usize & 0xffff, holes: holes.as_chunks().0, sites, header }
    }
}

/// The baseline compiler for one target.
pub struct Baseline {
    library: Library,
    name: &'static str,
    /// Memory for functions to come, for so many threads at once; others make their own.
    scratch: [Mutex<Scratch>; 8],
}

impl Baseline {
    /// The compiler for a target with these settings of Cranelift's (see `Fingerprint::flags` of `kiln_env`) and these
    /// tunables. `None` if there are no stencils for it.
    pub fn new(flags: &[(String, String)], tunables: &kiln_env::Tunables) -> Option<Baseline> {
        if !tunables.signals {
            return None;
        }
        let level = Level::for_flags(flags)?;
        Some(Baseline { library: Library::new(level), name: level.name, scratch: Default::default() })
    }

    /// The set of processor features that its stencils use.
    pub fn level(&self) -> &'static str {
        self.name
    }

    pub(crate) fn library(&self) -> Library {
        self.library
    }

    /// Does something with memory that nobody else uses meanwhile. One lock and its release are all that it costs.
    #[inline]
    pub(crate) fn with_scratch<R>(&self, f: impl FnOnce(&mut Scratch) -> R) -> R {
        for slot in &self.scratch {
            match slot.try_lock() {
                Ok(mut scratch) => return f(&mut scratch),
                // A panic left it as it was before, or empty.
                Err(TryLockError::Poisoned(scratch)) => return f(&mut scratch.into_inner()),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        f(&mut Scratch::default())
    }
}
