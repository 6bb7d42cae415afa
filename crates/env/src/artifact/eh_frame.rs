//! `.eh_frame`: how to unwind through functions, for native tools. Positions are relative, so that the section needs no
//! relocation wherever the file is mapped.

use target_lexicon::Architecture;

use crate::image::Image;
use crate::machine::{CfiOp, UnwindOp};

/// What depends on the target: code alignment factor, DWARF numbers of stack pointer and return address, and at function
/// entry the distance from the stack pointer to the canonical frame address and where the return address is from there.
struct Target {
    code_align: u8,
    stack_pointer: u8,
    return_address: u8,
    entry_cfa: u8,
    saved_return: Option<i32>,
}

impl Target {
    fn of(architecture: &Architecture) -> Option<Target> {
        let target = |code_align, stack_pointer, return_address, entry_cfa, saved_return| Target {
            code_align,
            stack_pointer,
            return_address,
            entry_cfa,
            saved_return,
        };
        match architecture {
            Architecture::X86_64 | Architecture::X86_64h => Some(target(1, 7, 16, 8, Some(-8))),
            Architecture::Aarch64(_) => Some(target(4, 31, 30, 0, None)),
            Architecture::Riscv64(_) => Some(target(2, 2, 1, 0, None)),
            _ => None,
        }
    }
}

/// All data offsets are multiples of this.
const DATA_ALIGN: i32 = -8;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`
const POINTERS: u8 = 0x1b;

/// A place in the section that depends on where the section is, and the text offset that it refers to.
pub(super) type Place = (u64, u32);

/// The section for the functions of an image, and what to relocate if `distance`, how far behind the start of the text it
/// will be, is not the right one. Empty for targets whose unwind information is not known here.
pub(super) fn section(architecture: &Architecture, image: &Image, distance: u64) -> (Vec<u8>, Vec<Place>) {
    let (mut out, mut places) = (Vec::new(), Vec::new());
    let Some(target) = Target::of(architecture) else { return (out, places) };
    if image.funcs.iter().all(|f| f.tables.unwind.is_empty()) {
        return (out, places);
    }
    common(&target, &mut out);
    for func in image.funcs.iter().filter(|f| !f.tables.unwind.is_empty()) {
        let start = out.len();
        out.extend([0; 4]);
        // Distance from here to the common entry, which is the first.
        out.extend((out.len() as u32).to_le_bytes());
        places.push((out.len() as u64, func.start));
        let here = distance + out.len() as u64;
        out.extend((i64::from(func.start) - here as i64).to_le_bytes().first_chunk::<4>().copied().unwrap_or_default());
        out.extend(func.len.to_le_bytes());
        out.push(0);
        operations(&target, &func.tables.unwind, &mut out);
        finish(&mut out, start);
    }
    out.extend([0; 4]);
    (out, places)
}

/// Pads an entry that began at `start`, and writes its length.
fn finish(out: &mut Vec<u8>, start: usize) {
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn common(target: &Target, out: &mut Vec<u8>) {
    out.extend([0; 8]);
    out.push(1);
    out.extend(b"zR\0");
    out.push(target.code_align);
    sleb(DATA_ALIGN, out);
    out.push(target.return_address);
    out.extend([1, POINTERS]);
    out.extend([0x0c, target.stack_pointer, target.entry_cfa]);
    if let Some(offset) = target.saved_return {
        out.extend([0x80 | target.return_address, (offset / DATA_ALIGN) as u8]);
    }
    finish(out, 0);
}

fn operations(target: &Target, ops: &[UnwindOp], out: &mut Vec<u8>) {
    let mut at = 0;
    for op in ops {
        advance((op.offset - at) / u32::from(target.code_align), out);
        at = op.offset;
        operation(op.op, out);
    }
}

fn advance(delta: u32, out: &mut Vec<u8>) {
    match delta {
        0 => {}
        1..0x40 => out.push(0x40 | delta as u8),
        0x40..0x100 => out.extend([0x02, delta as u8]),
        0x100..0x1_0000 => {
            out.push(0x03);
            out.extend((delta as u16).to_le_bytes());
        }
        _ => {
            out.push(0x04);
            out.extend(delta.to_le_bytes());
        }
    }
}

fn operation(op: CfiOp, out: &mut Vec<u8>) {
    match op {
        CfiOp::DefCfa(register, offset) => {
            out.push(0x0c);
            uleb(register.into(), out);
            uleb(offset as u32, out);
        }
        CfiOp::DefCfaOffset(offset) => {
            out.push(0x0e);
            uleb(offset as u32, out);
        }
        CfiOp::DefCfaRegister(register) => {
            out.push(0x0d);
            uleb(register.into(), out);
        }
        CfiOp::Offset(register @ 0..0x40, offset) if offset <= 0 => {
            out.push(0x80 | register as u8);
            uleb((offset / DATA_ALIGN) as u32, out);
        }
        CfiOp::Offset(register, offset) => {
            out.push(0x11);
            uleb(register.into(), out);
            sleb(offset / DATA_ALIGN, out);
        }
        CfiOp::ValOffset(register, offset) => {
            out.push(0x15);
            uleb(register.into(), out);
            sleb(offset / DATA_ALIGN, out);
        }
        CfiOp::SameValue(register) => {
            out.push(0x08);
            uleb(register.into(), out);
        }
        CfiOp::Restore(register) => {
            out.push(0x06);
            uleb(register.into(), out);
        }
        CfiOp::RememberState => out.push(0x0a),
        CfiOp::RestoreState => out.push(0x0b),
        CfiOp::NegateRaState => out.push(0x2d),
    }
}

fn uleb(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn sleb(mut value: i32, out: &mut Vec<u8>) {
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}
