//! One compiled function as plain data: the unit of linking, lazy compilation, caching and tier-up.

use serde::{Deserialize, Serialize};

use crate::func_key::FuncKey;
use crate::index::TagIndex;
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
}

/// What is known about positions in one function's code. Each list ascends by code offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FuncTables {
    /// Instructions that may trap.
    pub traps: Vec<TrapSite>,
    /// Code offsets to wasm offsets: an entry holds up to the next.
    pub addresses: Vec<AddressEntry>,
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

/// From this code offset on, code belongs to the wasm operator at `wasm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressEntry {
    /// Code offset.
    pub offset: u32,
    /// Wasm offset from the start of the body, or [`NO_WASM_OFFSET`].
    pub wasm: u32,
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
    /// Handlers, to be tried in order.
    pub handlers: Vec<Handler>,
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
