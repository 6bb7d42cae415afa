//! A library of stencils, used in the form in which it was built into the program.

use kiln_env::stencil::{self, Choice, Shape, Ty, record};

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
    holes: &'static [u8],
    sites: &'static [u8],
    code: &'static [u8],
    /// Bytes of the area for spills.
    pub(crate) spill: u32,
}

/// One operator in one variant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    first_cell: u32,
    pub(crate) shape: Shape,
    pub(crate) framed: bool,
    pub(crate) count: u8,
    pub(crate) params: [Ty; 3],
    pub(crate) result: Option<Ty>,
}

/// A stencil's record.
#[derive(Clone, Copy)]
pub(crate) struct Stencil {
    pub(crate) code: &'static [u8],
    pub(crate) holes: &'static [u8],
    pub(crate) sites: &'static [u8],
    pub(crate) traps: u8,
    pub(crate) branch: u16,
    pub(crate) aligned: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn ty(number: u8) -> Ty {
    Ty::ALL[usize::from(number)]
}

impl Library {
    pub(crate) fn new(level: &Level) -> Library {
        let bytes = level.bytes;
        assert_eq!(u32_at(bytes, 0), stencil::MAGIC, "the build made this library");
        let at = |i: usize| if i < 7 { u32_at(bytes, 4 + 4 * i) as usize } else { bytes.len() };
        let section = |i: usize| &bytes[at(i)..at(i + 1)];
        Library {
            ops: section(0),
            variants: section(1),
            cells: section(2),
            stencils: section(3),
            holes: section(4),
            sites: section(5),
            code: section(6),
            spill: u32_at(bytes, 32),
        }
    }

    /// Units of fuel that an operator costs.
    pub(crate) fn fuel(&self, op: u16) -> u8 {
        self.ops[usize::from(op) * record::OP + 3]
    }

    /// An operator in a variant.
    #[inline]
    pub(crate) fn variant(&self, op: u16, variant: u8) -> Option<Variant> {
        let at = usize::from(op) * record::OP;
        let first = u16_at(self.ops, at);
        if first == stencil::ABSENT || variant >= self.ops[at + 2] {
            return None;
        }
        let v = (usize::from(first) + usize::from(variant)) * record::VARIANT;
        let v = &self.variants[v..v + record::VARIANT];
        let first_cell = u32_at(v, 0);
        if first_cell == u32::MAX {
            return None;
        }
        Some(Variant {
            first_cell,
            shape: Shape::from_bits(v[4]),
            framed: v[5] & stencil::FRAMED != 0,
            count: v[6],
            result: (v[7] != stencil::NO_RESULT).then(|| ty(v[7])),
            params: [ty(v[8]), ty(v[9]), ty(v[10])],
        })
    }

    /// The number of the stencil for a choice.
    #[inline]
    pub(crate) fn find(&self, variant: &Variant, choice: Choice) -> Option<u16> {
        let cell = variant.first_cell as usize + variant.shape.cell(choice);
        let number = u16_at(self.cells, cell * record::CELL);
        (number != stencil::ABSENT).then_some(number)
    }

    /// A stencil by its number.
    #[inline]
    pub(crate) fn stencil(&self, number: u16) -> Stencil {
        let at = usize::from(number) * record::STENCIL;
        let r = &self.stencils[at..at + record::STENCIL];
        let (code, hole, site) = (u32_at(r, 0) as usize, u32_at(r, 4) as usize, u32_at(r, 8) as usize);
        let len = usize::from(u16_at(r, 12));
        let sites = usize::from(r[17]) + usize::from(r[18]);
        Stencil {
            code: &self.code[code..code + len],
            holes: &self.holes[hole * record::HOLE..(hole + usize::from(r[16])) * record::HOLE],
            sites: &self.sites[site * record::SITE..(site + sites) * record::SITE],
            traps: r[17],
            branch: u16_at(r, 14),
            aligned: r[19] & stencil::ALIGNED != 0,
        }
    }
}

/// The baseline compiler for one target.
#[derive(Clone, Copy)]
pub struct Baseline {
    library: Library,
    name: &'static str,
}

impl Baseline {
    /// The compiler for a target with these settings of Cranelift's (see `Fingerprint::flags` of `kiln_env`) and these
    /// tunables. `None` if there are no stencils for it.
    pub fn new(flags: &[(String, String)], tunables: &kiln_env::Tunables) -> Option<Baseline> {
        if !tunables.signals {
            return None;
        }
        let level = Level::for_flags(flags)?;
        Some(Baseline { library: Library::new(level), name: level.name })
    }

    /// The set of processor features that its stencils use.
    pub fn level(&self) -> &'static str {
        self.name
    }

    pub(crate) fn library(&self) -> Library {
        self.library
    }
}
