//! Abstract values: what a register or a place in the frame may be used for.
//!
//! A value is `base + (symbol << shift) + offset`, modulo 2^64. A *symbol* names one unknown number or one unknown pointer
//! of a state; what is known of it stands in the state's list of [`Fact`]s. Symbols have a meaning within one state only:
//! a state describes all machine states for which there are values of its symbols that make everything in it true.

/// What a value is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Base {
    /// Nothing: a number, with which no memory can be reached.
    Number,
    /// The function's own context.
    Context,
    /// The context of the store.
    Store,
    /// The array of addresses of builtins.
    Builtins,
    /// The counters of the module's functions.
    Counters,
    /// The records of this function's indirect calls.
    Sites,
    /// The engine's counter of epochs.
    Epoch,
    /// The buffer for on-stack replacement.
    OsrBuffer,
    /// The stack pointer at the function's entry.
    Frame,
    /// Where the caller wants results that do not fit in registers.
    Results,
    /// The stack limit of the own context.
    StackLimit,
    /// What this register, by its number, was at the function's entry; the caller wants it back.
    Saved(u8),
    /// Where the function returns to.
    ReturnAddress,
    /// The function's first byte.
    Text,
    /// An entry of the jump table at this offset of the function, whose base is the table.
    JumpDistance(u32),
    /// Where an entry of the jump table at this offset leads. The symbol is the entry's number.
    JumpTarget(u32),
    /// The `VmMemory` of this memory.
    VmMemory(u32),
    /// The first byte of this memory.
    Memory(u32),
    /// An address in this memory that was checked, or null. The symbol says which.
    Bounded(u32),
    /// The `VmTable` of this table.
    VmTable(u32),
    /// The first element of this table.
    Table(u32),
    /// An element of this table, or null. The symbol says which.
    Element(u32),
    /// The storage of this imported global.
    Global(u32),
    /// The address of this tag.
    Tag(u32),
    /// A function reference, which may be null. The symbol says which.
    FuncRef,
    /// Code of the callee that the symbol names.
    Code,
    /// Context of the callee that the symbol names.
    CalleeContext,
    /// Number of the type of the callee that the symbol names, 32 bits.
    TypeOf,
    /// The engine's number of this type of the module, 32 bits.
    TypeNumber(u32),
    /// Code of this imported function.
    ImportCode(u32),
    /// Context of this imported function.
    ImportContext(u32),
    /// A collected reference, 32 bits, which may be null.
    Reference,
}

impl Base {
    /// Whether a value's symbol names what it points to, and is not a number added to it.
    pub(crate) fn is_identity(self) -> bool {
        matches!(
            self,
            Base::Bounded(_) | Base::Element(_) | Base::FuncRef | Base::Code | Base::CalleeContext | Base::TypeOf
        )
    }
}

/// Names an unknown of a state; 0 for none.
pub(crate) type Symbol = u32;

/// An abstract value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Value {
    /// What it is relative to.
    pub(crate) base: Base,
    /// The unknown part.
    pub(crate) symbol: Symbol,
    /// By how many bits the symbol is shifted.
    pub(crate) shift: u8,
    /// What is added to it.
    pub(crate) offset: i64,
}

impl Value {
    /// A known number.
    pub(crate) const fn constant(n: i64) -> Value {
        Value { base: Base::Number, symbol: 0, shift: 0, offset: n }
    }

    /// A base itself.
    pub(crate) const fn base(base: Base) -> Value {
        Value { base, symbol: 0, shift: 0, offset: 0 }
    }

    /// An unknown number, or what a symbol names.
    pub(crate) const fn of(base: Base, symbol: Symbol) -> Value {
        Value { base, symbol, shift: 0, offset: 0 }
    }

    /// The number that this is known to be.
    pub(crate) fn as_constant(self) -> Option<i64> {
        (self.base == Base::Number && self.symbol == 0).then_some(self.offset)
    }

    /// The distance from a base to this, if it is known.
    pub(crate) fn distance_to(self, base: Base) -> Option<i64> {
        (self.base == base && self.symbol == 0).then_some(self.offset)
    }

    /// The number that is added to the base.
    pub(crate) fn number(self) -> Value {
        if self.base.is_identity() {
            return Value::constant(self.offset);
        }
        Value { base: Base::Number, ..self }
    }

    /// The symbol, if the value is that and nothing else.
    pub(crate) fn pure_symbol(self) -> Option<Symbol> {
        (self.base == Base::Number && self.shift == 0 && self.offset == 0 && self.symbol != 0).then_some(self.symbol)
    }
}

/// Whose length a symbol is, or is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Length {
    /// Bytes of this memory.
    Memory(u32),
    /// Elements of this table.
    Table(u32),
}

/// Which type a callee has, and whether its context may be entered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Callee {
    /// The type, by its index in the module.
    pub(crate) ty: Option<u32>,
    /// Its context was found to be the caller's own.
    pub(crate) own: bool,
    /// The caller's stack limit was left in its context.
    pub(crate) limit: bool,
    /// The caller was left in its context.
    pub(crate) caller: bool,
}

impl Callee {
    /// Whether code of it may be entered with its context.
    pub(crate) fn ready(self) -> bool {
        self.own || (self.limit && self.caller)
    }

    fn join(self, other: Callee) -> Callee {
        let both = self.ready() && other.ready();
        Callee {
            ty: if self.ty == other.ty { self.ty } else { None },
            own: self.own && other.own,
            // If one is its own and the other was entered, entering counts for both.
            limit: both || (self.limit && other.limit),
            caller: both || (self.caller && other.caller),
        }
    }
}

/// What is known of a symbol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fact {
    /// Least value, as a signed number.
    pub(crate) low: i64,
    /// Greatest value.
    pub(crate) high: i64,
    /// The symbol of its low 32 bits, if there is one.
    pub(crate) half: Symbol,
    /// It is this length, as it was at some time.
    pub(crate) length: Option<Length>,
    /// It and this number together are at most that length, and are no more than 2^63.
    pub(crate) below: Option<(Length, i64)>,
    /// Bytes from the address that it names to the end of its memory.
    pub(crate) room: i64,
    /// What is known of the callee that it names.
    pub(crate) callee: Callee,
}

/// Greatest 32-bit number.
pub(crate) const MAX_U32: i64 = u32::MAX as i64;

impl Fact {
    /// A number of which nothing is known.
    pub(crate) const TOP: Fact = Fact::range(i64::MIN, i64::MAX);

    /// A number in a range.
    pub(crate) const fn range(low: i64, high: i64) -> Fact {
        let callee = Callee { ty: None, own: false, limit: false, caller: false };
        Fact { low, high, half: 0, length: None, below: None, room: 0, callee }
    }

    /// What holds for both.
    pub(crate) fn join(self, other: Fact) -> Fact {
        let below = match (self.below, other.below) {
            (Some((a, x)), Some((b, y))) if a == b => Some((a, x.min(y))),
            _ => None,
        };
        Fact {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            half: 0,
            length: if self.length == other.length { self.length } else { None },
            below,
            room: self.room.min(other.room),
            callee: self.callee.join(other.callee),
        }
    }

    /// Moves what has grown since `before` on to one of a few bounds, so that states do not grow for ever.
    pub(crate) fn widen(self, before: Fact) -> Fact {
        let low = match self.low {
            low if low >= before.low => low,
            low if low >= 0 => 0,
            _ => i64::MIN,
        };
        let bounds = [0xff, 0xffff, i32::MAX as i64, MAX_U32, 1 << 40];
        let high = match self.high {
            high if high <= before.high => high,
            high => bounds.into_iter().find(|bound| high <= *bound).unwrap_or(i64::MAX),
        };
        let below = if self.below == before.below { self.below } else { None };
        Fact { low, high, below, ..self }
    }
}
