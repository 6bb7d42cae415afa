//! Operands and locals: where each value is, as stencils take it.

use kiln_env::stencil::{self, Ty};

use crate::abi::V;

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In its own slot.
    Slot,
    /// It is the value of a local, which has not been set since.
    Local(u32),
    /// In the temporary of its class.
    Temp,
    /// A constant, floats by their bits.
    Const(i64),
}

/// An operand. Two words: what is written in pieces cannot be read as a whole soon after without a delay.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// What fills its hole in a stencil: the slot where the value is, or the constant.
    number: i64,
    /// Bits as below.
    packed: u64,
}

/// Its kind for stencils: bits 0 to 2.
const KIND: u64 = 7;
/// It is the value of a local, in a temporary, a constant; else it is in its own slot.
const IN_LOCAL: u64 = 1 << 3;
const IN_TEMP: u64 = 1 << 4;
const CONSTANT: u64 = 1 << 5;
/// Its position among the pins: 3 bits.
const PIN: u32 = 6;
/// Its type: 3 bits.
const TYPE: u32 = 9;
/// It is a collected reference.
const GC: u64 = 1 << 12;
/// No stencil takes it as it is.
const AWKWARD: u64 = 1 << 13;
/// Stencils take it from a slot, which is near or far.
const IN_SLOT: u64 = 1 << 14;
const FAR: u64 = 1 << 15;
/// The local: 16 bits.
const LOCAL: u32 = 16;
/// Its slot: 32 bits.
const SLOT: u32 = 32;

const _: () = assert!(kiln_env::limits::MAX_LOCALS < 1 << (SLOT - LOCAL));

/// Displacements of 8 bits are below this.
const NEAR: u32 = 128;

/// What is known of a value that is in this slot, its own or that of a local.
#[inline]
fn by_slot(slot: u32) -> u64 {
    if slot < NEAR { IN_SLOT } else { IN_SLOT | FAR }
}

/// Whether an offset has 8 bits.
#[inline]
pub(crate) fn is_near(offset: i64) -> bool {
    offset < NEAR.into()
}

impl Entry {
    /// No operand.
    pub(crate) const NONE: Entry = Entry { number: 0, packed: 0 };

    #[inline]
    fn typed(v: V) -> u64 {
        (v.ty as u64) << TYPE | u64::from(v.gc) << GC.trailing_zeros()
    }

    /// A value in its own slot.
    #[inline]
    pub(crate) fn in_slot(v: V, slot: u32) -> Entry {
        Entry { number: slot.into(), packed: by_slot(slot) | Entry::typed(v) | u64::from(slot) << SLOT }
    }

    /// A value in the temporary of its class.
    #[inline]
    pub(crate) fn in_temp(v: V, slot: u32) -> Entry {
        Entry { number: 0, packed: stencil::TEMP as u64 | IN_TEMP | Entry::typed(v) | u64::from(slot) << SLOT }
    }

    /// A constant. Stencils take none of floats, and none that are longer than 32 bits.
    #[inline]
    pub(crate) fn constant(n: i64, v: V, slot: u32) -> Entry {
        let taken = v.ty.is_int() && n == i64::from(n as i32);
        let kind = if taken { stencil::IMM.into() } else { AWKWARD };
        Entry { number: n, packed: kind | CONSTANT | Entry::typed(v) | u64::from(slot) << SLOT }
    }

    #[inline]
    pub(crate) fn place(&self) -> Place {
        if self.is_any_local() {
            Place::Local(self.local())
        } else if self.is_temp() {
            Place::Temp
        } else if self.packed & CONSTANT != 0 {
            Place::Const(self.number)
        } else {
            Place::Slot
        }
    }

    #[inline]
    fn local(&self) -> u32 {
        (self.packed as u32) >> LOCAL
    }

    #[inline]
    pub(crate) fn is_slot(&self) -> bool {
        self.packed & (IN_LOCAL | IN_TEMP | CONSTANT) == 0
    }

    #[inline]
    pub(crate) fn is_temp(&self) -> bool {
        self.packed & IN_TEMP != 0
    }

    #[inline]
    pub(crate) fn is_any_local(&self) -> bool {
        self.packed & IN_LOCAL != 0
    }

    /// Whether a stencil may take it as it is; `choosable` if that takes more than slots.
    #[inline]
    pub(crate) fn is_taken(&self, choosable: bool) -> bool {
        let needed = if choosable { 0 } else { IN_SLOT };
        self.packed & (needed | AWKWARD) == needed
    }

    /// Whether there are slots among two operands, and all of them are near.
    #[inline]
    pub(crate) fn are_near(&self, other: &Entry) -> bool {
        (self.packed | other.packed) & (IN_SLOT | FAR) == IN_SLOT
    }

    /// Whether it is the value of this local.
    #[inline]
    pub(crate) fn is_local(&self, local: u32) -> bool {
        self.is_any_local() && self.local() == local
    }

    /// Its kind for stencils; for one that is awkward any.
    #[inline]
    pub(crate) fn kind(&self) -> u8 {
        (self.packed & KIND) as u8
    }

    /// What fills its hole.
    #[inline]
    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// Whether no stencil takes it as it is.
    #[inline]
    pub(crate) fn is_awkward(&self) -> bool {
        self.packed & AWKWARD != 0
    }

    /// Its position among the pins, if its kind says that it is one.
    #[inline]
    pub(crate) fn pin(&self) -> u8 {
        (self.packed >> PIN) as u8 & 7
    }

    #[inline]
    pub(crate) fn v(&self) -> V {
        let ty = match self.packed >> TYPE & 7 {
            0 => Ty::I32,
            1 => Ty::I64,
            2 => Ty::F32,
            3 => Ty::F64,
            _ => Ty::V128,
        };
        V { ty, gc: self.is_gc() }
    }

    #[inline]
    pub(crate) fn is_gc(&self) -> bool {
        self.packed & GC != 0
    }

    /// The class of temporaries and pins that it belongs to: 0 for integers, 1 for floats and vectors.
    #[inline]
    pub(crate) fn class(&self) -> usize {
        usize::from(self.packed >> TYPE & 7 >= Ty::F32 as u64)
    }

    /// Its slot.
    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        (self.packed >> SLOT) as u32
    }

    /// The same value in its slot.
    #[inline]
    pub(crate) fn flushed(&self) -> Entry {
        Entry::in_slot(self.v(), self.slot())
    }
}

/// A local: an operand that has its value, but for the operand's slot.
#[derive(Clone, Copy)]
pub(crate) struct Local(Entry);

impl Local {
    /// With its index and where its slot is.
    pub(crate) fn new(index: u32, v: V, slot: u32) -> Local {
        let packed = IN_LOCAL | by_slot(slot) | Entry::typed(v) | u64::from(index) << LOCAL;
        Local(Entry { number: slot.into(), packed })
    }

    /// Pins it: the kind of the register, and the position among the pins.
    pub(crate) fn pin_to(&mut self, kind: u8, position: u8) {
        self.0.packed &= !(IN_SLOT | FAR);
        self.0.packed |= u64::from(kind) | u64::from(position) << PIN;
    }

    /// Its position among the pins.
    #[inline]
    pub(crate) fn pin(&self) -> Option<u8> {
        (self.0.kind() >= stencil::PIN).then(|| self.0.pin())
    }

    #[inline]
    pub(crate) fn v(&self) -> V {
        self.0.v()
    }

    /// The class of its value, as for operands.
    #[inline]
    pub(crate) fn class(&self) -> usize {
        self.0.class()
    }

    #[inline]
    pub(crate) fn slot(&self) -> u32 {
        self.0.number as u32
    }

    /// An operand that is its value.
    #[inline]
    pub(crate) fn operand(&self, slot: u32) -> Entry {
        Entry { packed: self.0.packed | u64::from(slot) << SLOT, ..self.0 }
    }
}
