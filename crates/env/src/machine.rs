//! One compiled function as plain data: the unit of linking, lazy compilation, caching and tier-up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::artifact::U32s;
use crate::func_key::FuncKey;
use crate::index::{DefinedFuncIndex, TagIndex};
use crate::trap::TrapCode;

/// A compiled function: position-independent bytes and the tables about them. No absolute address, no Cranelift type.
///
/// Code offsets count from the first byte of `code`; wasm offsets count from the first byte of the function's body, so
/// that a function means the same wherever it stands in its module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MachineFunc {
    /// Machine code, with the constants it loads pc-relative at its end.
    pub code: Vec<u8>,
    /// Alignment in bytes, a power of two.
    pub align: u32,
    /// Places to patch when the function is placed, by ascending offset.
    pub relocs: Vec<Reloc>,
    /// The tables, by code offset.
    pub tables: FuncTables,
    /// Wasm offsets of the calls that have a record of their targets, by position of the record: see [`crate::tier::site`].
    pub sites: Vec<u32>,
}

/// What is known about positions in one function's code. Each list ascends by code offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncTables {
    /// Instructions that may trap.
    pub traps: Vec<TrapSite>,
    /// Code offsets to locations: an entry holds up to the next.
    pub addresses: Vec<AddressEntry>,
    /// Bodies of other functions whose code stands in place of calls; by ascending `start`. Only those with an address.
    pub inlined: Vec<InlinedBody>,
    /// Live collected references at return addresses.
    pub stack_maps: Vec<StackMap>,
    /// Exception handlers at return addresses.
    pub handlers: Vec<HandlerSite>,
    /// How to unwind through the function with native tools.
    pub unwind: Vec<UnwindOp>,
}

/// A place in the code that depends on where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reloc {
    /// Offset of the first patched byte.
    pub offset: u32,
    /// How to patch.
    pub kind: RelocKind,
    /// The function referred to.
    pub target: FuncKey,
    /// Added to the target's address.
    pub addend: i64,
}

/// How a relocation patches the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelocKind {
    /// x86-64: 32-bit `target + addend - place`.
    X86CallPcRel4,
    /// AArch64: 26-bit word displacement of `bl` and `b`.
    Arm64Call,
    /// RISC-V: `auipc`+`jalr` pair.
    RiscvCallPlt,
    /// s390x: 32-bit halfword displacement.
    S390xPlt32Dbl,
}

/// An instruction that may trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrapSite {
    /// Its offset.
    pub offset: u32,
    /// Why.
    pub code: TrapCode,
}

/// From this code offset on, code belongs to the wasm operator with the location `wasm`.
///
/// A location is a wasm offset from the start of the function's own body, or an offset in an inlined body added to the
/// body's [`start`](InlinedBody::start).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressEntry {
    /// Code offset.
    pub offset: u32,
    /// The location, or [`NO_WASM_OFFSET`].
    pub wasm: u32,
}

/// A body that stands in place of a call. Its operators have locations of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InlinedBody {
    /// The first location: that of code that belongs to no operator of it. Locations of its operators follow, up to the
    /// `start` of the next.
    pub start: u32,
    /// Whose body.
    pub func: DefinedFuncIndex,
    /// Location of the call in whose place it stands; less than `start`.
    pub call: u32,
}

/// One of the wasm frames that a code offset stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The function, if it was inlined; `None` is the compiled function itself.
    pub inlined: Option<DefinedFuncIndex>,
    /// The operator, as an offset from the start of that function's body, if the code belongs to one.
    pub wasm: Option<u32>,
}

impl FuncTables {
    /// The wasm frames that the code at `offset` stands for, the innermost first: inlined functions, then the compiled
    /// function itself. For a return address ask for the byte before. Neither allocates nor panics, whatever the tables.
    pub fn positions(&self, offset: u32) -> Positions<'_> {
        let at = self.addresses.partition_point(|a| a.offset <= offset);
        let location = at.checked_sub(1).map_or(NO_WASM_OFFSET, |at| self.addresses[at].wasm);
        Positions::new(Bodies::Own(&self.inlined), location)
    }
}

/// The bodies inlined into a function, by ascending `start`.
#[derive(Clone, Copy, Debug)]
pub enum Bodies<'a> {
    /// In memory.
    Own(&'a [InlinedBody]),
    /// In an artifact: start, function and call of each.
    File(U32s<'a>),
}

impl Bodies<'_> {
    fn len(&self) -> usize {
        match self {
            Bodies::Own(bodies) => bodies.len(),
            Bodies::File(words) => words.len() / 3,
        }
    }

    fn get(&self, index: usize) -> Option<InlinedBody> {
        match self {
            Bodies::Own(bodies) => bodies.get(index).copied(),
            Bodies::File(words) => Some(InlinedBody {
                start: words.get(3 * index)?,
                func: DefinedFuncIndex(words.get(3 * index + 1)?),
                call: words.get(3 * index + 2)?,
            }),
        }
    }

    /// The last of the first `count` that starts at or before a location, and its index.
    fn around(&self, count: usize, location: u32) -> Option<(usize, InlinedBody)> {
        let (mut low, mut high) = (0, count.min(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|body| body.start <= location) { low = middle + 1 } else { high = middle }
        }
        let at = low.checked_sub(1)?;
        Some((at, self.get(at)?))
    }
}

/// See [`FuncTables::positions`].
#[derive(Clone, Debug)]
pub struct Positions<'a> {
    inlined: Bodies<'a>,
    /// How many of them may still be around the location.
    count: usize,
    location: Option<u32>,
}

impl<'a> Positions<'a> {
    /// The frames that a location stands for, given the bodies inlined into its function.
    pub fn new(inlined: Bodies<'a>, location: u32) -> Positions<'a> {
        Positions { inlined, count: inlined.len(), location: Some(location) }
    }
}

impl Iterator for Positions<'_> {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        let location = self.location.take()?;
        if location == NO_WASM_OFFSET {
            return Some(Position { inlined: None, wasm: None });
        }
        // Bodies that could be around this one have lesser locations: what was looked at is not looked at again.
        let Some((at, body)) = self.inlined.around(self.count, location) else {
            return Some(Position { inlined: None, wasm: Some(location) });
        };
        self.count = at;
        self.location = Some(body.call);
        let wasm = location - body.start;
        Some(Position { inlined: Some(body.func), wasm: (wasm > 0).then_some(wasm) })
    }
}

/// Code that no wasm operator stands for (prologue, trampolines).
pub const NO_WASM_OFFSET: u32 = u32::MAX;

/// Where collected references are while a call is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StackMap {
    /// The call's return address, as a code offset.
    pub offset: u32,
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub fp_to_sp: u32,
    /// Offsets from the stack pointer of 32-bit references.
    pub slots: Vec<u32>,
}

/// A call inside the reach of handlers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandlerSite {
    /// The call's return address, as a code offset.
    pub offset: u32,
    /// `frame pointer - stack pointer` at the call, in bytes.
    pub fp_to_sp: u32,
    /// Offset from the stack pointer of the slot that holds the function's context, to resolve tags.
    pub context_slot: Option<u32>,
    /// Handlers, to be tried in order. Calls of one function may share the list.
    pub handlers: Arc<[Handler]>,
}

/// One handler of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Handler {
    /// The tag it catches, in its module; `None` catches every exception.
    pub tag: Option<TagIndex>,
    /// Where it begins, as a code offset.
    pub target: u32,
}

/// One step of call-frame information, as in DWARF. Register numbers are DWARF's for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UnwindOp {
    /// It holds after the instruction that ends here.
    pub offset: u32,
    /// What changes.
    pub op: CfiOp,
}

/// A call-frame instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CfiOp {
    /// The canonical frame address is `register + offset`.
    DefCfa(u16, i32),
    /// … in the same register, with this offset.
    DefCfaOffset(i32),
    /// … with the same offset, in this register.
    DefCfaRegister(u16),
    /// A register is saved at `cfa + offset`.
    Offset(u16, i32),
    /// A register's value was `cfa + offset` itself.
    ValOffset(u16, i32),
    /// A register has its value again.
    SameValue(u16),
    /// A register is as at function entry.
    Restore(u16),
    /// Push the current rules.
    RememberState,
    /// Pop them.
    RestoreState,
    /// Signed return addresses (AArch64) toggle.
    NegateRaState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_lead_from_the_innermost_frame_outwards() {
        let body = |start, func, call| InlinedBody { start, func: DefinedFuncIndex(func), call };
        let tables = FuncTables {
            // A body of 100 bytes, with calls at 7 and 50; the second one's body has a call at 20.
            inlined: vec![body(100, 1, 7), body(130, 2, 50), body(200, 1, 150)],
            addresses: [(0, NO_WASM_OFFSET), (4, 60), (8, 105), (12, 150), (16, 200), (20, 209)]
                .map(|(offset, wasm)| AddressEntry { offset, wasm })
                .to_vec(),
            ..FuncTables::default()
        };
        let at = |offset| -> Vec<(Option<u32>, Option<u32>)> {
            tables.positions(offset).map(|p| (p.inlined.map(|f| f.0), p.wasm)).collect()
        };
        assert_eq!(at(1), [(None, None)]);
        assert_eq!(at(4), [(None, Some(60))]);
        assert_eq!(at(9), [(Some(1), Some(5)), (None, Some(7))]);
        assert_eq!(at(12), [(Some(2), Some(20)), (None, Some(50))]);
        assert_eq!(at(16), [(Some(1), None), (Some(2), Some(20)), (None, Some(50))]);
        assert_eq!(at(99), [(Some(1), Some(9)), (Some(2), Some(20)), (None, Some(50))]);
        assert_eq!(FuncTables::default().positions(3).count(), 1);
    }

    #[test]
    fn damaged_tables_have_an_end() {
        let itself = InlinedBody { start: 1, func: DefinedFuncIndex(0), call: 5 };
        assert_eq!(Positions::new(Bodies::Own(&[itself; 4]), 5).count(), 5);
    }
}
