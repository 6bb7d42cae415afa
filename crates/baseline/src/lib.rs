//! The first tier of compiled code: one walk over a function's operators that copies stencils and fills their holes.
//!
//! The stencils come from the optimising compiler's own operator core when this crate is built (`build.rs`), so that an
//! operator means the same in every tier; what stands between them (moves, calls, frames) is assembled here. Functions have
//! the convention of [`kiln_env::abi`] and can be called by, and call, code of any tier.
//!
//! # Frames
//! From the stack pointer up: locals by index, then the operand stack, in slots of 8 bytes (16 for vectors), then an area
//! for what stencils spill, callee-saved registers in functions with handlers, the struct-return pointer and, below
//! the saved frame pointer, the function's context. At every label, call and loop header the state is canonical: all
//! values in their slots, except that some locals may be pinned to registers; around calls these, too, are in slots.
//!
//! Between stencils `rdi` holds the context, `rsi` the base of the first memory, `rdx` and `xmm0` a temporary each, `rcx`,
//! `r8`, `r9` and `xmm1` to `xmm5` pinned locals.
#![forbid(unsafe_code)]

mod abi;
mod asm;
mod calls;
mod control;
mod emit;
mod entry;
mod exceptions;
mod frame;
mod library;
mod read;
mod state;
mod walk;

use kiln_env::stencil::Piece;
use kiln_env::{ContextLayout, DefinedFuncIndex, MachineFunc, Module, Tunables};

pub use library::Baseline;

/// The module around a function.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Its declarations.
    pub module: &'a Module,
    /// Where everything is in an instance's context.
    pub layout: &'a ContextLayout,
    /// Choices shared with the runtime.
    pub tunables: &'a Tunables,
    /// Whether functions count how often they run: see [`kiln_env::tier`].
    pub counters: bool,
}

/// A function to compile, with what validation found out about it.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    /// Which function.
    pub func: DefinedFuncIndex,
    /// The bytes of its body, from the declarations of locals to the last `end`. They must be valid.
    pub bytes: &'a [u8],
    /// Locals and how much each is used, heaviest first.
    pub weights: &'a [(u32, u64)],
    /// Whether it contains handlers for exceptions.
    pub catches: bool,
}

/// Why a function is left to another compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no stencil for an operator.
    #[error("no stencil for {0}, variant {1}")]
    NoStencil(Piece, u8),
    /// The code would be too large.
    #[error("too much code")]
    TooLarge,
}

impl Baseline {
    /// Compiles a function.
    ///
    /// # Errors
    /// What there are no stencils for; the function is then to be compiled by the optimising compiler.
    pub fn compile(&self, facts: &Facts<'_>, body: &Body<'_>) -> Result<MachineFunc, Error> {
        self.with_scratch(|scratch| {
            let mut func = state::Func::new(self.library(), *facts, body, std::mem::take(scratch));
            let result = func.compile(body);
            let (code, rest) = func.into_parts();
            *scratch = rest;
            result.map(|()| code)
        })
    }
}
