//! Functions with large frames where signals are left to the host.
//!
//! Cranelift's stack check comes before the frame is made, but fails by a trap, which needs a signal handler. The check
//! that Kiln emits instead is part of the body: when it runs, the stack pointer has moved, and arguments may have been
//! spilled. That is as good while a frame is small beside what is left free below the limit of every stack. Before code
//! with a larger frame comes a *guard*: a function with the same signature, and hardly a frame, that checks for the whole
//! frame and goes on in the body by a tail call.

use std::sync::Arc;

use cranelift_codegen::ir::{ArgumentPurpose, Signature};
use kiln_env::machine::{CfiOp, UnwindOp};
use kiln_env::{FuncKey, MachineFunc, abi};

use crate::error::{CompileError, Result};

/// Whether a function with this signature and a frame of this many bytes must have a guard if nobody handles signals.
pub(crate) fn is_needed(signature: &Signature, frame: u32) -> bool {
    frame > abi::CHECKED_FRAME && signature.uses_special_param(ArgumentPurpose::VMContext)
}

/// The guard and the body as one function.
///
/// # Errors
/// It is too large.
pub(crate) fn join(key: FuncKey, guard: MachineFunc, body: MachineFunc) -> Result<MachineFunc> {
    let mut joined = MachineFunc { align: guard.align.max(body.align), relocs: Vec::new(), ..guard };
    joined.code.resize(joined.code.len().next_multiple_of(joined.align as usize), 0);
    let start = joined.code.len() as u32;
    for reloc in guard.relocs {
        if reloc.target == key {
            // The tail call. It is relative, so offsets do for addresses.
            reloc.apply(&mut joined.code, 0, start.into()).map_err(CompileError::codegen)?;
        } else {
            joined.relocs.push(reloc);
        }
    }
    let MachineFunc { code, relocs, tables, sites, .. } = moved(body, start);
    joined.sites = sites;
    joined.code.extend(code);
    joined.relocs.extend(relocs);
    if !tables.unwind.is_empty() {
        // The body begins as the guard did: without a frame.
        joined.tables.unwind.insert(0, UnwindOp { offset: 0, op: CfiOp::RememberState });
        joined.tables.unwind.push(UnwindOp { offset: start, op: CfiOp::RestoreState });
    }
    joined.tables.traps.extend(tables.traps);
    joined.tables.addresses.extend(tables.addresses);
    joined.tables.stack_maps.extend(tables.stack_maps);
    joined.tables.handlers.extend(tables.handlers);
    joined.tables.inlined = tables.inlined;
    joined.tables.unwind.extend(tables.unwind);
    Ok(joined)
}

/// A function whose code begins at `start` instead of 0.
fn moved(mut func: MachineFunc, start: u32) -> MachineFunc {
    let tables = &mut func.tables;
    func.relocs.iter_mut().for_each(|r| r.offset += start);
    tables.traps.iter_mut().for_each(|t| t.offset += start);
    tables.addresses.iter_mut().for_each(|a| a.offset += start);
    tables.stack_maps.iter_mut().for_each(|m| m.offset += start);
    tables.unwind.iter_mut().for_each(|u| u.offset += start);
    for site in &mut tables.handlers {
        site.offset += start;
        Arc::make_mut(&mut site.handlers).iter_mut().for_each(|h| h.target += start);
    }
    func
}
