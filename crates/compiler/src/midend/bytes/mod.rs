//! Loops that copy, fill, compare or search memory piece by piece do 16 bytes at a time: the bodies of `memcpy`,
//! `memmove`, `memset`, `memcmp`, `strlen`, `strcmp` and their like as C libraries compiled into modules have them, and
//! whatever else has this form. Nothing is recognised by name; calls to native routines lost (see RATIONALE.md).
//!
//! The loop stays as it is. In front of it comes code that finds out how many iterations certainly only do what can be
//! done in bulk, does them, and enters the loop at the iteration behind them. The loop's last iteration is never among
//! them, so all that leaves the loop, values and traps included, comes out of the original instructions.
//!
//! What has to be proved for a loop, where, and why the result is the same then:
//!
//! 1. *Shape* ([`shape::find`]): a header, and at most one more block, which only the header leads to and which leads
//!    back. All instructions are pure, or accesses of obligation 3. So an iteration that stays in the loop does nothing
//!    but the accesses and the step from one set of header parameters to the next.
//! 2. *Induction* ([`linear`]): each header parameter grows by a constant from iteration to iteration, modulo 2^32. So
//!    those of iteration `k` are known: `p + k * step`.
//! 3. *Addresses*: each access to a linear memory goes to `extend(x) + offset`, with `x` growing by a constant. While
//!    the range of `x` does not wrap and ends within the memory's length, which never shrinks, there is no trap.
//!    [`emit`] checks just that at run time, for all iterations that are done in bulk; if not, none is.
//! 4. *Exits*: each iteration that is done in bulk would have stayed in the loop. An exit is a counter that is compared
//!    with zero, or with a bound; the number of iterations until it leaves is computed exactly ([`shape::Count`]). Or it
//!    compares bytes of memory with each other or with a constant; then the bulk compares the same bytes, and stops in
//!    front of the first that leaves.
//! 5. *Stores*: a loop with a store has one, and leaves by a counter. It stores a value that does not change in the
//!    loop, or the unchanged value that it loaded in the same iteration. In the latter case reading 16 bytes before
//!    writing them is the same as byte by byte if the destination is not within the next 15 bytes behind the source, in
//!    the direction of the loop: everything that the loop would have written into those 16 source bytes before it reads
//!    them, previous pieces have written. [`emit`] checks this at run time too; then overlapping copies, also those that
//!    repeat a pattern, come out alike.
//! 6. Memories that other threads may see are left out; with fuel or epochs the header does more than its operators, so
//!    that it does not have the shape; with explicit bounds checks addresses do not.

mod emit;
mod linear;
mod shape;

use crate::error::Result;
use crate::func_ir::FuncIr;
use crate::isa;
use crate::midend::Plan;
use crate::module_env::ModuleEnv;

/// Loops that are changed in one function: each adds about 200 bytes of code.
const MAX_LOOPS: usize = 16;

pub(super) fn run(env: &ModuleEnv<'_>, _: &Plan, ir: &mut FuncIr) -> Result<bool> {
    // RISC-V without its vector extension has none of the instructions.
    if env.module.memories.is_empty() || isa::flag(env.isa, "has_v") == Some(false) {
        return Ok(false);
    }
    let mut loops = shape::find(env, &ir.func, MAX_LOOPS);
    loops.dedup_by_key(|l| l.header);
    loops.iter().for_each(|l| emit::emit(env, &mut ir.func, l));
    Ok(!loops.is_empty())
}
