//! The reasons for which wasm execution stops, one table.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! traps {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $message:literal;)*) => {
        /// Why a guest trapped. The numbers are part of the artifact format.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum TrapCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl TrapCode {
            /// Every trap code.
            pub const ALL: &'static [TrapCode] = &[$(TrapCode::$name),*];

            /// The trap code with this number.
            #[inline]
            pub const fn from_u8(n: u8) -> Option<TrapCode> {
                match n {
                    $($number => Some(TrapCode::$name),)*
                    _ => None,
                }
            }

            /// The message, worded as the official suite expects.
            pub const fn message(self) -> &'static str {
                match self {
                    $(TrapCode::$name => $message,)*
                }
            }
        }
    };
}

traps! {
    /// The guest used up its stack.
    StackOverflow = 1, "call stack exhausted";
    /// A load, store or bulk operation outside a linear memory.
    MemoryOutOfBounds = 2, "out of bounds memory access";
    /// An atomic access whose address is not a multiple of its size.
    HeapMisaligned = 3, "unaligned atomic";
    /// An index outside a table, or a bulk operation outside a table or element segment.
    TableOutOfBounds = 4, "out of bounds table access";
    /// An indirect call to an index that is outside its table.
    UndefinedElement = 5, "undefined element";
    /// An indirect call through a null element.
    UninitializedElement = 6, "uninitialized element";
    /// An indirect call to a function of another type.
    BadSignature = 7, "indirect call type mismatch";
    /// Signed division of the least integer by -1.
    IntegerOverflow = 8, "integer overflow";
    /// Integer division or remainder by zero.
    IntegerDivideByZero = 9, "integer divide by zero";
    /// Conversion of a NaN to an integer.
    BadConversionToInteger = 10, "invalid conversion to integer";
    /// An `unreachable` instruction.
    Unreachable = 11, "unreachable";
    /// The epoch deadline passed, or the host asked to stop.
    Interrupt = 12, "interrupt";
    /// All fuel was consumed.
    OutOfFuel = 13, "all fuel consumed";
    /// A call or cast of a null reference that must not be null.
    NullReference = 14, "null reference";
    /// `memory.atomic.wait` on a memory that is not shared.
    AtomicWaitNonShared = 15, "expected shared memory";
    /// The store's object heap is full even after a collection.
    HeapExhausted = 16, "object heap exhausted";
    /// A function of which the compiler could not make code; the error says why.
    CompileFailed = 17, "function could not be compiled";
    /// Code or data was in a file that was truncated while it was mapped.
    FileTruncated = 18, "the module's file was truncated";
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wasm trap: {}", self.message())
    }
}

impl std::error::Error for TrapCode {}
