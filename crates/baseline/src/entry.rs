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
    /// From the lowest bit up: its kind for stencils (3 bits), kind of place (2), position among the pins (3), type (3), whether it
    /// is a collected reference (1), whether no stencil takes it as it is (1), the local (19), its slot (32).
    packed: u64,
}

const KIND: u64 = 7;
const PLACE: u64 = 3 << 3;
const PIN: u32 = 5;
const TYPE: u32 = 8;
const GC: u64 = 1 << 11;
const AWKWARD: u64 = 1 << 12;
const LOCAL: u32 = 13;
const SLOT: u32 = 32;

/// Kinds of places.
const IN_LOCAL: u64 = 1 << 3;
const IN_TEMP: u64 = 2 << 3;
const CONSTANT: u64 = 3 << 3;

const _: () = assert!(kiln_env::limits::MAX_LOCALS < 1 << (SLOT - LOCAL));

impl Entry {
    /// No operand.
    pub(crate) const NONE: Entry = Entry { number: 0, packed: 0 };

    fn typed(v: V) -> u64 {
        (v.ty as u64) << TYPE | if v.gc { GC } else { 0 }
    }

    /// A value in its own slot.
    #[inline]
    pub(crate) fn in_slot(v: V, slot: u32) -> Entry {
        Entry { number: slot.into(), packed: Entry::typed(v) | u64::from(slot) << SLOT }
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
        match self.packed & PLACE {
            0 => Place::Slot,
            IN_LOCAL => Place::Local(self.local()),
            IN_TEMP => Place::Temp,
            _ => Place::Const(self.number),
        }
    }

    #[inline]
    fn local(&self) -> u32 {
        (self.packed as u32) >> LOCAL
    }

    #[inline]
    pub(crate) fn is_slot(&self) -> bool {
        self.packed & PLACE == 0
    }

    #[inline]
    pub(crate) fn is_temp(&self) -> bool {
        self.packed & PLACE == IN_TEMP
    }

    #[inline]
    pub(crate) fn is_any_local(&self) -> bool {
        self.packed & PLACE == IN_LOCAL
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
        Local(Entry { number: slot.into(), packed: IN_LOCAL | Entry::typed(v) | u64::from(index) << LOCAL })
    }

    /// Pins it: the kind of the register, and the position among the pins.
    pub(crate) fn pin_to(&mut self, kind: u8, position: u8) {
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
