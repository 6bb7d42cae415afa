//! What the translator is handed about the module around a function.

use cranelift_codegen::ir::Type;
use cranelift_codegen::isa::{CallConv, TargetIsa};
use kiln_env::{ContextLayout, Module, Tunables};

use crate::info::FuncInfos;
use crate::profile::Profile;

/// The surroundings of a function under translation. Shared by all threads.
#[derive(Clone, Copy)]
pub struct ModuleEnv<'a> {
    /// The declarations.
    pub module: &'a Module,
    /// Where everything is in an instance's context.
    pub layout: &'a ContextLayout,
    /// Choices shared with the runtime.
    pub tunables: &'a Tunables,
    /// What validation found out about every function with a body.
    pub infos: &'a FuncInfos,
    /// The target.
    pub isa: &'a dyn TargetIsa,
    /// How it ran, if that is known.
    pub profile: Option<&'a Profile<'a>>,
    /// Whether the context of whatever a table or reference leads to is known to be the caller's own.
    pub own_references: bool,
    /// Whether short copies and fills of memories are done in line.
    pub bulk_in_line: bool,
}

impl ModuleEnv<'_> {
    /// Type of a host pointer.
    pub fn pointer_type(&self) -> Type {
        self.isa.pointer_type()
    }

    /// The C convention of the target.
    pub fn host_call_conv(&self) -> CallConv {
        self.isa.default_call_conv()
    }
}
