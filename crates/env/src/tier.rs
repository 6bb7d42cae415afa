//! How functions change from one tier of code to the next.
//!
//! Code of both tiers is called and left in the same way ([`crate::abi`]); a function of the first tier can be replaced
//! by one of the second between any two calls. What follows holds for code of the first tier.
//!
//! # Counters
//! Each function with a body has two counters, signed 32-bit numbers at [`entry_counter`] and [`loop_counter`] of the array
//! that the context's `counters` field points to. All instances of a module, on all threads, share them; updates may get
//! lost. The runtime sets them to negative numbers when the function is compiled, and again when it has been told that
//! they ran out.
//!
//! * At its entry, behind the stack check, a function adds 1 to its entry counter. If the sum is not negative, it calls
//!   [`Builtin::TierUp`](crate::Builtin::TierUp) and goes on.
//! * At each loop header, however it is reached, and before fuel and epochs are checked, it adds 1 to its loop counter. If
//!   the sum is not negative, it calls [`Builtin::Osr`](crate::Builtin::Osr). If that returns 0, it goes on.
//!
//! # Targets of indirect calls
//! Behind its counters a function has the address of its *sites*, records of [`site::SIZE`] bytes for its indirect calls
//! (`call_indirect`, `call_ref`, and those that are tail calls), by position in the body. A record has two candidates, each
//! code and a count, and the number of others. Before such a call, when the callee is known and nothing can fail any more,
//! 1 is added to the count of the candidate whose code it is. If it is neither's, it takes the place of the first one whose
//! count is 0, and has a count of 1. If none is 0, 1 is taken off both, and added to the number of others. So what more than
//! a third of all calls call is found there in the end.
//!
//! # On-stack replacement
//! Otherwise [`Builtin::Osr`](crate::Builtin::Osr) returned the address of [`FuncKey::Osr`](crate::FuncKey::Osr), code of
//! the second tier that begins at the header. The function writes its state to the buffer that the store context's
//! `osr_buffer` points to (loaded after the builtin returned: the buffer may have grown), and tail-calls that code with its
//! context as the only argument. Parameters and results are those of a function `[] -> results`; a struct-return pointer,
//! where the results need one, is passed on.
//!
//! The buffer has a slot of [`SLOT_SIZE`] bytes ([`crate::abi`], "Values in slots") at [`osr_slot`] for each local by its
//! index, parameters included, and behind these for each value on the operand stack from the bottom up, the loop's
//! parameters last. The code reads all of it before it does anything else.
//!
//! A loop with more than [`MAX_OSR_SLOTS`](crate::limits::MAX_OSR_SLOTS) locals and operands, and a loop in a handler of a
//! legacy `try` (which holds an exception that is neither), calls nothing; it need not count.

use crate::abi::SLOT_SIZE;
use crate::index::DefinedFuncIndex;

/// Bytes of the counters of one function, with the address of its sites.
pub const COUNTERS_SIZE: u32 = 16;

/// Offset of the address of a function's sites in the array of counters; 0 for none.
pub const fn sites_address(func: DefinedFuncIndex) -> u32 {
    entry_counter(func) + 8
}

/// The record of an indirect call: two candidates, with the number of others behind the first one.
pub mod site {
    /// Offset of the code in a candidate, 64 bits.
    pub const CODE: u32 = 0;
    /// Offset of the count in a candidate, 32 bits, never negative as a signed number.
    pub const COUNT: u32 = 8;
    /// Offset of the number of others, 32 bits.
    pub const OTHERS: u32 = 12;
    /// From the first candidate to the second, in bytes.
    pub const NEXT: u32 = 16;
    /// Bytes of a record.
    pub const SIZE: u32 = 32;
}

/// Offset of a function's counter of entries in the array of counters.
pub const fn entry_counter(func: DefinedFuncIndex) -> u32 {
    func.0 * COUNTERS_SIZE
}

/// Offset of a function's counter of loop headers.
pub const fn loop_counter(func: DefinedFuncIndex) -> u32 {
    entry_counter(func) + 4
}

/// Offset of the `index`-th slot of the buffer for on-stack replacement.
pub const fn osr_slot(index: u32) -> u32 {
    index * SLOT_SIZE
}

/// Which code of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tier {
    /// Compiled as fast as possible; counts how often it runs.
    Baseline,
    /// Fully optimised.
    Optimized,
}
