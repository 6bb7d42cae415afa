//! Call-frame information for native unwinders and debuggers, made from what the compiler says about each function.

use std::ops::Range;

use gimli::write::{
    Address, CallFrameInstruction, CommonInformationEntry, EhFrame, EndianVec, FrameDescriptionEntry, FrameTable,
};
use gimli::{Encoding, Format, LittleEndian, Register};
use kiln_env::machine::{CfiOp, UnwindOp};

use super::Placed;

#[cfg(target_arch = "x86_64")]
mod dwarf {
    use gimli::{Register, X86_64};
    pub(super) const STACK_POINTER: Register = X86_64::RSP;
    pub(super) const FRAME_POINTER: Register = X86_64::RBP;
    pub(super) const RETURN_ADDRESS: Register = X86_64::RA;
    /// At function entry: where the caller's stack pointer was, and where the return address is from there.
    pub(super) const ENTRY: (i32, Option<i32>) = (8, Some(-8));
    pub(super) const CODE_ALIGN: u8 = 1;
}

#[cfg(target_arch = "aarch64")]
mod dwarf {
    use gimli::{AArch64, Register};
    pub(super) const STACK_POINTER: Register = AArch64::SP;
    pub(super) const FRAME_POINTER: Register = AArch64::X29;
    pub(super) const RETURN_ADDRESS: Register = AArch64::X30;
    /// At function entry: where the caller's stack pointer was; the return address is in its register.
    pub(super) const ENTRY: (i32, Option<i32>) = (0, None);
    pub(super) const CODE_ALIGN: u8 = 4;
}

fn common_entry() -> CommonInformationEntry {
    let encoding = Encoding { format: Format::Dwarf32, version: 1, address_size: 8 };
    let mut common = CommonInformationEntry::new(encoding, dwarf::CODE_ALIGN, -8, dwarf::RETURN_ADDRESS);
    common.add_instruction(CallFrameInstruction::Cfa(dwarf::STACK_POINTER, dwarf::ENTRY.0));
    if let Some(offset) = dwarf::ENTRY.1 {
        common.add_instruction(CallFrameInstruction::Offset(dwarf::RETURN_ADDRESS, offset));
    }
    common
}

fn instruction(op: CfiOp) -> CallFrameInstruction {
    match op {
        CfiOp::DefCfa(register, offset) => CallFrameInstruction::Cfa(Register(register), offset),
        CfiOp::DefCfaOffset(offset) => CallFrameInstruction::CfaOffset(offset),
        CfiOp::DefCfaRegister(register) => CallFrameInstruction::CfaRegister(Register(register)),
        CfiOp::Offset(register, offset) => CallFrameInstruction::Offset(Register(register), offset),
        CfiOp::ValOffset(register, offset) => CallFrameInstruction::ValOffset(Register(register), offset),
        CfiOp::SameValue(register) => CallFrameInstruction::SameValue(Register(register)),
        CfiOp::Restore(register) => CallFrameInstruction::Restore(Register(register)),
        CfiOp::RememberState => CallFrameInstruction::RememberState,
        CfiOp::RestoreState => CallFrameInstruction::RestoreState,
        CfiOp::NegateRaState => CallFrameInstruction::NegateRaState,
    }
}

/// The section's bytes, with the terminator that registering it needs. `None` if an operation cannot be expressed.
fn finish(table: &FrameTable) -> Option<Vec<u8>> {
    let mut section = EhFrame(EndianVec::new(LittleEndian));
    if let Err(error) = table.write_eh_frame(&mut section) {
        tracing::warn!(%error, "no unwind information for code");
        return None;
    }
    let mut bytes = section.0.into_vec();
    bytes.extend([0; 4]);
    Some(bytes)
}

/// An `.eh_frame` section for functions at their addresses. Functions without information are left out.
pub(super) fn eh_frame(functions: &[Placed<'_>]) -> Option<Vec<u8>> {
    let mut table = FrameTable::default();
    let common = table.add_cie(common_entry());
    for function in functions.iter().filter(|f| !f.unwind.is_empty()) {
        table.add_fde(common, description(&function.range, function.unwind));
    }
    if table.fde_count() == 0 { None } else { finish(&table) }
}

fn description(range: &Range<usize>, ops: &[UnwindOp]) -> FrameDescriptionEntry {
    let mut entry = FrameDescriptionEntry::new(Address::Constant(range.start as u64), range.len() as u32);
    for op in ops {
        entry.add_instruction(op.offset, instruction(op.op));
    }
    entry
}

/// Information about code that the process's unwinder knows until this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    section: Box<[u8]>,
}

/// Tells the process's unwinder about functions. `None` if there is nothing to tell.
pub(super) fn register_functions(functions: &[Placed<'_>]) -> Option<Registration> {
    eh_frame(functions).map(Registration::new)
}

/// Tells the process's unwinder that a whole range of code keeps frame pointers. True wherever it calls anything, and
/// that is where unwinders begin; it costs nothing for functions that are yet to come.
pub(super) fn register_by_frame_pointer(range: Range<usize>) -> Option<Registration> {
    let mut table = FrameTable::default();
    let common = table.add_cie(common_entry());
    let mut entry = FrameDescriptionEntry::new(Address::Constant(range.start as u64), range.len() as u32);
    entry.add_instruction(0, CallFrameInstruction::Cfa(dwarf::FRAME_POINTER, 16));
    entry.add_instruction(0, CallFrameInstruction::Offset(dwarf::FRAME_POINTER, -16));
    entry.add_instruction(0, CallFrameInstruction::Offset(dwarf::RETURN_ADDRESS, -8));
    table.add_fde(common, entry);
    finish(&table).map(Registration::new)
}

unsafe extern "C" {
    fn __register_frame(entry: *const u8);
    fn __deregister_frame(entry: *const u8);
}

impl Registration {
    fn new(section: Vec<u8>) -> Registration {
        let section: Box<[u8]> = section.into();
        for entry in registered_places(&section) {
            // SAFETY: the section is well-formed, ends with a terminator, and stays where it is until `drop`.
            unsafe { __register_frame(entry) };
        }
        Registration { section }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for entry in registered_places(&self.section) {
            // SAFETY: these places, and no others, were registered.
            unsafe { __deregister_frame(entry) };
        }
    }
}

/// What to register: libgcc wants the section, LLVM's libunwind each description in it.
fn registered_places(section: &[u8]) -> Vec<*const u8> {
    if cfg!(target_env = "gnu") {
        return vec![section.as_ptr()];
    }
    let mut places = Vec::new();
    let mut at = 0;
    while let Some(&length) = section[at..].first_chunk::<4>() {
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            break;
        }
        // The common entry has an identifier of 0.
        if section[at + 4..at + 8] != [0; 4] {
            places.push(section[at..].as_ptr());
        }
        at += 4 + length;
    }
    places
}
