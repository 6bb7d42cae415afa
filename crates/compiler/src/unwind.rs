//! Cranelift's notes about a prologue to call-frame information.

use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::isa::unwind::UnwindInst;
use kiln_env::machine::{CfiOp, UnwindOp};

use crate::error::{CompileError, Result};

/// DWARF numbers of the registers that make up a frame.
struct FrameRegs {
    /// The frame pointer, where frames have one.
    frame_pointer: Option<u16>,
    /// The register of return addresses, where calls do not push them, saved 8 bytes above the frame pointer.
    link: Option<u16>,
}

fn frame_regs(isa: &dyn TargetIsa) -> FrameRegs {
    let (frame_pointer, link) = match isa.name() {
        "x64" => (Some(6), None),
        "aarch64" => (Some(29), Some(30)),
        "riscv64" => (Some(8), Some(1)),
        // s390x saves the return address like any other register.
        _ => (None, None),
    };
    FrameRegs { frame_pointer, link }
}

/// Converts the notes. Each stands for what holds once its instruction is done.
pub(crate) fn cfi(isa: &dyn TargetIsa, insts: &[(u32, UnwindInst)]) -> Result<Vec<UnwindOp>> {
    let regs = frame_regs(isa);
    let mut ops = Vec::with_capacity(insts.len() + 2);
    // Distance from the stack pointer to the canonical frame address, and from there down to saved registers.
    let (mut cfa_offset, mut cfa_to_saves) = (0, 0);
    let mut signed = false;
    for (offset, inst) in insts {
        let mut push = |op| ops.push(UnwindOp { offset: *offset, op });
        let dwarf = |reg| {
            let number = isa.map_regalloc_reg_to_dwarf(reg);
            number.map_err(|e| CompileError::codegen(format_args!("unwind information: {e}")))
        };
        match *inst {
            UnwindInst::PushFrameRegs { offset_upward_to_caller_sp: up } => {
                push(CfiOp::DefCfaOffset(up as i32));
                if let Some(fp) = regs.frame_pointer {
                    push(CfiOp::Offset(fp, -(up as i32)));
                }
                if let Some(link) = regs.link {
                    push(CfiOp::Offset(link, 8 - up as i32));
                }
            }
            UnwindInst::DefineNewFrame { offset_upward_to_caller_sp: up, offset_downward_to_clobbers: down } => {
                if let Some(fp) = regs.frame_pointer {
                    push(CfiOp::DefCfaRegister(fp));
                }
                (cfa_offset, cfa_to_saves) = (up, up + down);
            }
            UnwindInst::StackAlloc { size } => {
                if regs.frame_pointer.is_none() {
                    cfa_offset += size;
                    push(CfiOp::DefCfaOffset(cfa_offset as i32));
                }
            }
            UnwindInst::SaveReg { clobber_offset, reg } => {
                push(CfiOp::Offset(dwarf(reg.into())?, clobber_offset as i32 - cfa_to_saves as i32));
            }
            UnwindInst::RegStackOffset { clobber_offset, reg } => {
                push(CfiOp::ValOffset(dwarf(reg.into())?, clobber_offset as i32 - cfa_to_saves as i32));
            }
            UnwindInst::Aarch64SetPointerAuth { return_addresses } => {
                if return_addresses != signed {
                    push(CfiOp::NegateRaState);
                }
                signed = return_addresses;
            }
        }
    }
    Ok(ops)
}
