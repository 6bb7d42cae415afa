//! Traps as the host sees them.

use std::fmt;

use kiln_env::TrapCode;

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $code:ident,)*) => {
        /// Why a guest trapped. An error that a call into wasm returned is a trap if it downcasts to this type:
        ///
        /// ```
        /// use kiln::Trap;
        ///
        /// let error = anyhow::Error::from(Trap::IntegerDivisionByZero).context("while dividing");
        /// assert_eq!(error.downcast_ref(), Some(&Trap::IntegerDivisionByZero));
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum Trap {
            $($(#[$doc])* $name,)*
        }

        impl Trap {
            /// The code of the trap table that it stands for.
            pub(crate) fn code(&self) -> TrapCode {
                match self {
                    $(Trap::$name => TrapCode::$code,)*
                }
            }

            #[cfg(test)]
            const ALL: &'static [Trap] = &[$(Trap::$name),*];
        }

        impl From<TrapCode> for Trap {
            fn from(code: TrapCode) -> Trap {
                match code {
                    $(TrapCode::$code => Trap::$name,)*
                    other => unreachable!("{other:?} is missing in the table of traps"),
                }
            }
        }
    };
}

traps! {
    /// The guest used up its stack.
    StackOverflow = StackOverflow,
    /// A load, store or bulk operation outside a linear memory.
    MemoryOutOfBounds = MemoryOutOfBounds,
    /// An atomic access whose address is not a multiple of its size.
    HeapMisaligned = HeapMisaligned,
    /// An index outside a table, or a bulk operation outside a table or element segment.
    TableOutOfBounds = TableOutOfBounds,
    /// An indirect call to an index outside its table.
    UndefinedElement = UndefinedElement,
    /// An indirect call through a null element.
    IndirectCallToNull = UninitializedElement,
    /// An indirect call to a function of another type.
    BadSignature = BadSignature,
    /// Signed division of the least integer by -1.
    IntegerOverflow = IntegerOverflow,
    /// Integer division or remainder by zero.
    IntegerDivisionByZero = IntegerDivideByZero,
    /// Conversion of a NaN to an integer.
    BadConversionToInteger = BadConversionToInteger,
    /// An `unreachable` instruction.
    UnreachableCodeReached = Unreachable,
    /// The epoch deadline passed.
    Interrupt = Interrupt,
    /// All fuel was consumed.
    OutOfFuel = OutOfFuel,
    /// A call or cast of a null reference that must not be null.
    NullReference = NullReference,
    /// `memory.atomic.wait` on a memory that is not shared.
    AtomicWaitNonSharedMemory = AtomicWaitNonShared,
    /// The store's object heap is full even after a collection.
    AllocationTooLarge = HeapExhausted,
    /// A function that could not be compiled; the error behind the trap says why.
    CompileFailed = CompileFailed,
    /// A file that the module was loaded from was truncated meanwhile.
    FileTruncated = FileTruncated,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

impl std::error::Error for Trap {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_trap_of_its_own() {
        assert_eq!(Trap::ALL.len(), TrapCode::ALL.len());
        for code in TrapCode::ALL {
            assert_eq!(Trap::from(*code).code(), *code);
        }
        assert_eq!(Trap::MemoryOutOfBounds.to_string(), "wasm trap: out of bounds memory access");
    }
}
