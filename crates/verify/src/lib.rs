//! An independent verifier of x86-64 machine code, by abstract interpretation.
//!
//! It reads a function's bytes and tables, and proves that what they do stays in the sandbox, or refuses. It knows nothing of
//! how code was made: what it relies on stands in `kiln-env` (layouts, conventions, builtins) and in the module's
//! declarations. What is not proven is refused; a refusal says nothing of whether the code is good.
//!
//! # What is proven of a function
//! If it is entered at its first byte as its convention says, with its own context, then
//! * *control*: each instruction executed is one that was looked at; control leaves the function by a return to its caller,
//!   by calls and tail calls to the first bytes of functions, by a trap, or by an unwinder that follows its tables;
//! * *memory*: what is written is the frame, globals that can be set, fields of other contexts that callers fill in, elements
//!   of tables of collected references, counters, and memories within their length or within reservation and guard, where
//!   what is not the memory's faults; what is read is that and what compiled code may read;
//! * *frame*: no more stack is used than was checked or is in reserve; returns and tail calls give back stack pointer,
//!   frame pointer and the other registers that callers want; at calls the frame pointer leads to the caller's frame;
//! * *call*: callees get their own context, prepared as [`kiln_env::abi`] says if it may be foreign, and references where they
//!   expect such; an indirect call's code and context are of one callee, whose type was compared with that of the call;
//! * *table*: traps are said of instructions only; handlers find stack pointer and context where they expect these;
//! * *instruction*: only those that compiled code has, for which the file claims the processor's features.
//!
//! Not proven are: that the function computes what its wasm says; that it ends; that it tells the guest no address of the host;
//! that stack maps list all references.
//!
//! # Soundness
//! A *concrete state* is registers, flags, memory. An abstract state (`state::State`) describes the concrete states for
//! which there is an assignment of numbers and pointers to its symbols such that each register and each place of the frame
//! that it lists holds its value, `base + (symbol << shift) + offset` modulo 2^64, and all facts of symbols are true. The proof
//! is by induction on the length of executions: every concrete state at an instruction is described by the abstract state
//! computed for it. The parts:
//!
//! 1. *Entry.* `check::Checker`'s `entry` assumes no more than the convention promises: the context, references among the
//!    parameters, the return address, registers as the caller left them. All else is a symbol of which nothing is known.
//! 2. *Steps.* Instructions that `step.rs` treats one by one get exact sums and shifts modulo 2^64, and bounds only where the
//!    sum of bounds does not leave the signed 64-bit range, so that the number meant is the number in the register. Writes of 32
//!    bits clear the upper half; those of 8 and 16 leave a register of which nothing is known. All other instructions lose
//!    what they write, by the decoder's list of operands. Flags are forgotten by each instruction that may change them.
//! 3. *Frame.* Only places at known distances from the entry's stack pointer are tracked. A write forgets each place that it
//!    overlaps. No other pointer reaches the frame, but for those that are passed as places for results, which forgets them.
//! 4. *Branches.* A condition adds what it implies on the path where it holds (`assume.rs`), for the values that were
//!    compared, not for registers. Bounds that settings promise to mask are never learnt from branches, only from
//!    conditional moves to 0: so speculation stays inside as well.
//! 5. *Lengths.* Memories and tables only grow, so an index once below a length stays so. Where they are may change at any
//!    call; bases that can move, and addresses made of them, are forgotten there. So are stack limits and prepared contexts.
//! 6. *Callees.* A symbol names a callee through one element of a table or one reference. Elements of tables do not change
//!    between two calls, so that code, context and type read through one address are those of one function; addresses of
//!    elements are forgotten at calls, while what was read stays true of that function for ever. Where declarations say so
//!    (`Module::has_own_references_only`), no reference can be to a function of another instance, as by induction none is made
//!    or let in: then every callee's context is the caller's.
//! 7. *Joins.* See `state::join`: what holds of both sides, where equal pairs of values become equal symbols.
//! 8. *Ends.* The set of block starts only grows; at one of them states only lose, facts step along finitely many bounds
//!    after `check` has widened them, and pairs of symbols are never more than values: so the computation ends, or is refused.
//!
//! Calls preserve what the convention says because callees are checked as well, or are the runtime's.
#![forbid(unsafe_code)]

mod abi;
mod access;
mod assume;
mod call;
mod check;
mod explain;
mod file;
mod insn;
mod plan;
mod refusal;
mod state;
mod step;
mod value;

use kiln_env::Module;
use kiln_env::settings::Fingerprint;

pub use check::{Function, Statistics};
pub use file::{Artifact, Report, Variant};
pub use refusal::{Refusal, Rule};

/// Checks functions of one module.
pub struct Verifier<'m> {
    plan: plan::Plan<'m>,
}

/// Memory that checks use again.
pub struct Scratch(check::Scratch);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(check::Scratch::new())
    }
}

impl<'m> Verifier<'m> {
    /// For functions of a module that were compiled under these settings. `None` if its context would be too large.
    pub fn new(module: &'m Module, fingerprint: &Fingerprint) -> Option<Verifier<'m>> {
        Some(Verifier { plan: plan::Plan::new(module, fingerprint)? })
    }

    /// Checks one function.
    ///
    /// # Errors
    /// What is not proven.
    pub fn check(&self, scratch: &mut Scratch, function: &Function<'_>) -> Result<Statistics, Refusal> {
        check::check(&self.plan, &mut scratch.0, function, None)
    }

    /// The code of a function, with what is known before each instruction, and what [`Verifier::check`] gives.
    pub fn explain(&self, function: &Function<'_>) -> (String, Result<Statistics, Refusal>) {
        explain::explain(&self.plan, function)
    }
}
