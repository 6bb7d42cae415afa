//! What the phases make of one function, as text: for golden files and for people.

use std::fmt::Write as _;

use kiln_env::{FuncKey, MachineFunc};

use crate::compile::Compiler;
use crate::error::Result;
use crate::validate::ValidatedModule;

/// Up to where a function is taken before it is printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Translated: Cranelift's IR as the operators make it.
    Clif,
    /// Behind Kiln's own passes.
    Midend,
    /// Kiln's and Cranelift's optimisations are done.
    Optimized,
    /// Machine code in the assembler's notation, and the tables about it.
    Assembly,
}

impl Compiler {
    /// One function or trampoline as text. `source` is the module's bytes.
    ///
    /// # Errors
    /// As [`Compiler::compile_function`].
    pub fn inspect(&self, module: &ValidatedModule, source: &[u8], key: FuncKey, stage: Stage) -> Result<String> {
        let ir = self.func_ir(module, source, key, stage != Stage::Clif)?;
        match stage {
            Stage::Clif | Stage::Midend => Ok(ir.func.display().to_string()),
            Stage::Optimized => self.code_text(module, source, ir, false),
            Stage::Assembly => {
                let code = self.compile_function(module, source, key)?;
                let text = self.code_text(module, source, ir, true)?;
                // Unwind pseudo-instructions say again what the prologue shows.
                let lines = text.lines().filter(|l| !l.trim_start().starts_with("unwind "));
                Ok(lines.flat_map(|l| [l, "\n"]).collect::<String>() + &tables(&code))
            }
        }
    }
}

/// The tables that the runtime needs, a line each.
fn tables(func: &MachineFunc) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(format_args!("{text}\n")).expect("a string takes all");
    line(format_args!("{} bytes of code", func.code.len()));
    for body in &func.tables.inlined {
        line(format_args!("inlined wasm[{}] from {:#x} on, for the call at {:#x}", body.func.0, body.start, body.call));
    }
    for t in &func.tables.traps {
        line(format_args!("trap {:#x}: {:?}", t.offset, t.code));
    }
    for r in &func.relocs {
        line(format_args!("reloc {:#x}: {:?} {}", r.offset, r.kind, r.target));
    }
    for m in &func.tables.stack_maps {
        line(format_args!("stack map {:#x}: references at sp+{:?} of fp-{:#x}", m.offset, m.slots, m.fp_to_sp));
    }
    for h in &func.tables.handlers {
        line(format_args!("handlers {:#x}: context at {:?} of fp-{:#x}", h.offset, h.context_slot, h.fp_to_sp));
        for handler in &*h.handlers {
            match handler.tag {
                Some(tag) => line(format_args!("  {tag:?} -> {:#x}", handler.target)),
                None => line(format_args!("  any -> {:#x}", handler.target)),
            }
        }
    }
    out
}
