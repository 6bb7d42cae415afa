//! The operator core: what each wasm operator does, written once for all tiers.
//!
//! [`emit`] takes an operator with its immediates, its operands as SSA values, and gives its results. Nothing here knows
//! of the operand stack, of control frames or of locals: those belong to whoever assembles operators to a function.
//!
//! Each operator is a function, named as in `wasmparser`'s `VisitOperator`: `visit_i32_add(e, [x, y]) -> Value`. It gets
//! its operands as an array and its immediates after them; simple ones come from a table in their family's file. The
//! match below is made from `wasmparser`'s list of operators, so that a missing function is an error of the Rust
//! compiler, as is one with another number of operands.

mod atomic;
mod bulk;
pub(crate) mod call;
mod global;
mod memory;
mod numeric;
pub(crate) mod reference;
mod simd;
mod table;

use cranelift_codegen::ir::Value;
use smallvec::{SmallVec, smallvec};
use wasmparser::Operator;

use super::emitter::Emitter;
use crate::opcodes::op_of;
use atomic::*;
use bulk::*;
use global::*;
use memory::*;
use numeric::*;
use reference::*;
use simd::*;
use table::*;

/// Results of an operator.
pub(crate) type Values = SmallVec<[Value; 2]>;

/// Why an operator has no code here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EmitError {
    /// It belongs to a proposal outside of the supported set.
    #[error("operator {0}")]
    Unsupported(&'static str),
    /// It has to do with control flow, locals or the operand stack: a bug in the caller.
    #[error("operator {0} is not one of the core")]
    Structural(&'static str),
    /// The number of operands is wrong: a bug in the caller.
    #[error("operator {0} got {1} operands")]
    Operands(&'static str, usize),
}

/// What an operator's function may return.
trait Results {
    fn into_values(self) -> Values;
}

impl Results for () {
    fn into_values(self) -> Values {
        Values::new()
    }
}

impl Results for Value {
    fn into_values(self) -> Values {
        smallvec![self]
    }
}

impl Results for [Value; 2] {
    fn into_values(self) -> Values {
        Values::from(self)
    }
}

/// One arm of the match: proposals and operators that are not the core's first, the rest calls the operator's function.
macro_rules! arm {
    (@gc $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@custom_descriptors $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@memory_control $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@shared_everything_threads $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@stack_switching $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@acquire_release_atomics $op:ident $($rest:tt)*) => { Err(EmitError::Unsupported(stringify!($op))) };
    (@exceptions $op:ident $($rest:tt)*) => { Err(EmitError::Structural(stringify!($op))) };
    (@legacy_exceptions $op:ident $($rest:tt)*) => { Err(EmitError::Structural(stringify!($op))) };
    (@$proposal:ident $op:ident (arity custom) $($rest:tt)*) => { Err(EmitError::Structural(stringify!($op))) };
    (@mvp Unreachable $($rest:tt)*) => { Err(EmitError::Structural("Unreachable")) };
    (@mvp Nop $($rest:tt)*) => { Err(EmitError::Structural("Nop")) };
    (@mvp Drop $($rest:tt)*) => { Err(EmitError::Structural("Drop")) };
    (@mvp LocalGet $($rest:tt)*) => { Err(EmitError::Structural("LocalGet")) };
    (@mvp LocalSet $($rest:tt)*) => { Err(EmitError::Structural("LocalSet")) };
    (@mvp LocalTee $($rest:tt)*) => { Err(EmitError::Structural("LocalTee")) };
    (@$proposal:ident $op:ident (arity memarg $n:tt -> $m:tt) $($rest:tt)*) => {
        arm!(@$proposal $op (arity $n -> $m) $($rest)*)
    };
    (@$proposal:ident $op:ident (arity $n:tt -> $m:tt) $visit:ident $e:ident $args:ident [$($arg:ident)*]) => {{
        let args: [Value; $n] =
            $args.try_into().map_err(|_| EmitError::Operands(stringify!($op), $args.len()))?;
        Ok($visit($e, args $(, *$arg)*).into_values())
    }};
}

macro_rules! define_emit {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident $ann:tt)*) => {
        /// Emits the code of one operator on `args`, its operands from the bottom of the stack up, and gives its results.
        #[allow(unused_variables, reason = "operators outside of the core have immediates as well")]
        pub(crate) fn emit(e: &mut Emitter, op: &Operator<'_>, args: &[Value]) -> Result<Values, EmitError> {
            match op {
                $(Operator::$op $({ $($arg),* })? => arm!(@$proposal $op $ann $visit e args [$($($arg)*)?]),)*
                _ => Err(EmitError::Unsupported("not known to this version")),
            }
        }
    };
}

wasmparser::for_each_operator!(define_emit);

/// How many operands an operator of the core takes; `None` for those with a variable number, none of which is in it.
macro_rules! operands {
    (arity custom) => {
        None
    };
    (arity memarg $n:tt -> $m:tt) => {
        Some($n)
    };
    (arity $n:tt -> $m:tt) => {
        Some($n)
    };
}

macro_rules! define_operand_count {
    ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
        /// The number of operands of an operator where it does not depend on the module.
        pub(crate) fn operand_count(op: &Operator<'_>) -> Option<usize> {
            match op {
                $(Operator::$op { .. } => operands!($($ann)*),)*
                _ => None,
            }
        }
    };
}

wasmparser::for_each_operator!(define_operand_count);

/// Units of fuel that an operator costs: the same in every tier.
pub(crate) fn fuel_cost(op: &Operator<'_>) -> u64 {
    op_of(op).map_or(1, |op| op.fuel().into())
}
