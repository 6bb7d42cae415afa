//! What validation finds out about functions for those who compile them, kept small: a fixed record and a few bytes
//! in a shared arena for each function.

use kiln_env::{DefinedFuncIndex, FuncIndex};

/// How many of a function's locals are ranked by weight.
pub const RANKED_LOCALS: usize = 16;

/// Work of hoisting beyond which a function is not optimised: the sum over its operators of the square of the depth of
/// loops around each, which is what Cranelift's loop-invariant code motion costs. Programs stay a thousand times below; a
/// second of compile time is about six times as much.
pub(crate) const MAX_HOIST_WORK: u64 = 1_000_000_000;

/// Locals in use and operands on the stack of one function up to which it is optimised. The time of the backtracking
/// register allocator grows with the square of what is live at once: 1 s at 8,000, 45 s at 50,000.
pub(crate) const MAX_VALUES: u64 = 10_000;

/// Locals in use times blocks of one function up to which locals are SSA values. Making them takes 4 bytes for each
/// local in each block.
pub(crate) const MAX_LOCAL_BLOCKS: u64 = 1 << 26;

/// The same for locals times loops: a loop may need a block parameter for each local.
pub(crate) const MAX_LOCAL_LOOPS: u64 = 1 << 24;

/// The same for locals times calls in functions with handlers: each call may pass a handler each local.
pub(crate) const MAX_LOCAL_CAUGHT: u64 = 1 << 21;

/// Cost of a product of 128 bits as it is when the passes are done: multiplications, additions, stores.
pub(crate) const PRODUCT_COST: u32 = 8;

/// What is known about all functions with a body.
#[derive(Clone, Default, Debug)]
pub struct FuncInfos {
    pub(crate) records: Vec<Record>,
    pub(crate) arena: Vec<u8>,
}

/// The fixed part: 16 bytes, because there may be a million.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where the function's part of the arena begins: ranked locals (3 bytes each), then callees (LEB128 differences) up to
    /// where the next function's part begins.
    pub(crate) arena: u32,
    pub(crate) max_stack: u16,
    pub(crate) num_loops: u16,
    pub(crate) cost: u16,
    pub(crate) flags: u16,
    pub(crate) num_ranked: u8,
}

/// Flags of a record.
pub(crate) mod flag {
    /// Contains a call, maybe a tail call.
    pub(crate) const CALLS: u16 = 1;
    /// Contains a handler for exceptions.
    pub(crate) const CATCHES: u16 = 2;
    /// Loops are so many, or nested so deeply, that optimising takes too long.
    pub(crate) const DEEP_LOOPS: u16 = 4;
    /// So many values may be live at once that allocating registers well takes too long.
    pub(crate) const MANY_VALUES: u16 = 8;
    /// So many locals and blocks that locals live in memory.
    pub(crate) const LOCALS_IN_MEMORY: u16 = 16;
    /// The same where accesses to memories and other trapping operators make blocks.
    pub(crate) const LOCALS_IN_MEMORY_IF_CHECKED: u16 = 32;
    /// Contains `return`.
    pub(crate) const RETURNS: u16 = 64;
    /// The last operator is `unreachable`.
    pub(crate) const ENDS_UNREACHABLE: u16 = 128;
}

/// A local and how much it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalWeight {
    /// Its index.
    pub local: u32,
    /// Number of uses, each counted eightfold for every loop around it; rounded down to three significant bits.
    pub weight: u64,
}

/// What is known about one function.
#[derive(Clone, Copy)]
pub struct FuncInfo<'a> {
    record: Record,
    arena: &'a [u8],
}

impl FuncInfos {
    /// What is known about a function.
    pub fn get(&self, func: DefinedFuncIndex) -> FuncInfo<'_> {
        info(&self.records, &self.arena, func.0 as usize)
    }

    /// The number of functions.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no function.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory in use.
    pub fn memory_size(&self) -> usize {
        self.records.capacity() * size_of::<Record>() + self.arena.capacity()
    }
}

fn info<'a>(records: &[Record], arena: &'a [u8], func: usize) -> FuncInfo<'a> {
    let record = records[func];
    let end = records.get(func + 1).map_or(arena.len(), |next| next.arena as usize);
    FuncInfo { record, arena: &arena[record.arena as usize..end] }
}

impl<'a> FuncInfo<'a> {
    /// Whether it calls any function, tail calls included.
    pub fn makes_calls(&self) -> bool {
        self.record.flags & flag::CALLS != 0
    }

    /// Whether it seems never to come back: its end is not reached, and it does not return in between. A branch to its end
    /// is not looked for, so nothing but estimates may depend on the answer.
    pub fn seems_final(&self) -> bool {
        self.record.flags & (flag::RETURNS | flag::ENDS_UNREACHABLE) == flag::ENDS_UNREACHABLE
    }

    /// Whether it contains a handler for exceptions.
    pub fn catches(&self) -> bool {
        self.record.flags & flag::CATCHES != 0
    }

    /// Whether optimising would take too long: loops are nested too deeply, or too many values may be live at once.
    pub fn is_costly(&self) -> bool {
        self.record.flags & (flag::DEEP_LOOPS | flag::MANY_VALUES) != 0
    }

    /// Whether its locals are better kept in memory, because making SSA values of them would take too much of it.
    /// `checked`: traps are explicit checks, which make more blocks.
    pub fn keeps_locals_in_memory(&self, checked: bool) -> bool {
        let flag = if checked { flag::LOCALS_IN_MEMORY_IF_CHECKED } else { flag::LOCALS_IN_MEMORY };
        self.record.flags & flag != 0
    }

    /// About how many instructions it takes: operators weighted by [`kiln_env::Op::cost`]; 65,535 stands for that or more.
    pub fn cost(&self) -> u32 {
        self.record.cost.into()
    }

    /// Greatest number of operands on the stack; 65,535 stands for that or more.
    pub fn max_stack(&self) -> u16 {
        self.record.max_stack
    }

    /// Number of loops; 65,535 stands for that or more.
    pub fn num_loops(&self) -> u16 {
        self.record.num_loops
    }

    /// The locals that are used most (at most [`RANKED_LOCALS`]), heaviest first, then by index.
    pub fn local_weights(&self) -> impl ExactSizeIterator<Item = LocalWeight> + use<'a> {
        let arena = self.arena;
        (0..usize::from(self.record.num_ranked)).map(move |i| {
            let entry = &arena[3 * i..3 * i + 3];
            LocalWeight { local: u32::from(u16::from_le_bytes([entry[0], entry[1]])), weight: decode_weight(entry[2]) }
        })
    }

    /// The functions that it calls directly, ascending, each once.
    pub fn callees(&self) -> impl Iterator<Item = FuncIndex> + use<'a> {
        let mut bytes = &self.arena[3 * usize::from(self.record.num_ranked)..];
        let mut last = 0;
        std::iter::from_fn(move || {
            if bytes.is_empty() {
                return None;
            }
            last += read_leb(&mut bytes);
            Some(FuncIndex(last))
        })
    }
}

/// A weight in one byte: five bits of exponent, three of mantissa.
pub(crate) fn encode_weight(weight: u64) -> u8 {
    if weight < 8 {
        return weight as u8;
    }
    let exponent = 63 - weight.leading_zeros() - 2;
    if exponent > 31 {
        return u8::MAX;
    }
    (exponent as u8) << 3 | ((weight >> (exponent - 1)) & 7) as u8
}

fn decode_weight(code: u8) -> u64 {
    let mantissa = u64::from(code & 7);
    match code >> 3 {
        0 => mantissa,
        exponent => (8 | mantissa) << (exponent - 1),
    }
}

pub(crate) fn write_leb(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn read_leb(bytes: &mut &[u8]) -> u32 {
    let mut n = 0;
    let mut shift = 0;
    while let Some((&b, rest)) = bytes.split_first() {
        *bytes = rest;
        n |= u32::from(b & 0x7f) << shift;
        if b < 0x80 {
            break;
        }
        shift += 7;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_order_and_three_bits() {
        let mut last = 0;
        for w in (0..200).chain([1 << 12, 1 << 20, (1 << 30) + 12345]) {
            let d = decode_weight(encode_weight(w));
            assert!(d <= w && d >= w - w / 8, "{w} became {d}");
            assert!(d >= last);
            last = d;
        }
        assert_eq!(encode_weight(u64::MAX), u8::MAX);
    }

    #[test]
    fn leb_round_trips() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u32::MAX];
        numbers.iter().for_each(|n| write_leb(&mut out, *n));
        let mut bytes = &out[..];
        assert!(numbers.iter().all(|n| read_leb(&mut bytes) == *n));
    }
}
