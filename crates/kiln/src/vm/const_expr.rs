//! Evaluation of constant expressions.

use std::ptr::NonNull;

use anyhow::{Result, bail};
use kiln_env::module::{ConstExpr, ConstOp};
use smallvec::SmallVec;

use super::context::ValRaw;
use super::instance::InstanceData;

/// The value of a constant that depends on nothing, or `None`.
pub(crate) fn eval_static(expr: &ConstExpr) -> Option<ValRaw> {
    match &*expr.0 {
        [ConstOp::I32(v)] => Some(ValRaw::i32(*v)),
        [ConstOp::I64(v)] => Some(ValRaw::i64(*v)),
        [ConstOp::F32(v)] => Some(ValRaw::f32(*v)),
        [ConstOp::F64(v)] => Some(ValRaw::f64(*v)),
        [ConstOp::V128(v)] => Some(ValRaw::v128(*v)),
        [ConstOp::RefNull(_)] => Some(ValRaw::ZERO),
        _ => None,
    }
}

/// The value of an expression in an instance.
///
/// # Safety
/// As for [`InstanceData::func_ref`]; the globals that the expression reads have their values.
pub(crate) unsafe fn eval(instance: NonNull<InstanceData>, expr: &ConstExpr) -> Result<ValRaw> {
    if let Some(value) = eval_static(expr) {
        return Ok(value);
    }
    let mut stack: SmallVec<[ValRaw; 8]> = SmallVec::new();
    for op in &expr.0 {
        let value = match *op {
            ConstOp::I32(v) => ValRaw::i32(v),
            ConstOp::I64(v) => ValRaw::i64(v),
            ConstOp::F32(v) => ValRaw::f32(v),
            ConstOp::F64(v) => ValRaw::f64(v),
            ConstOp::V128(v) => ValRaw::v128(v),
            ConstOp::RefNull(_) => ValRaw::ZERO,
            // SAFETY: the caller's.
            ConstOp::GlobalGet(index) => unsafe { InstanceData::global(instance, index).as_ref().get() },
            ConstOp::RefFunc(index) => {
                // SAFETY: the caller's.
                let func = unsafe { InstanceData::func_ref(instance, index) };
                ValRaw::u64(func.as_ptr().expose_provenance() as u64)
            }
            binary => {
                let (Some(b), Some(a)) = (stack.pop(), stack.pop()) else {
                    bail!("a constant expression lacks operands");
                };
                match binary {
                    ConstOp::I32Add => ValRaw::i32(a.get_i32().wrapping_add(b.get_i32())),
                    ConstOp::I32Sub => ValRaw::i32(a.get_i32().wrapping_sub(b.get_i32())),
                    ConstOp::I32Mul => ValRaw::i32(a.get_i32().wrapping_mul(b.get_i32())),
                    ConstOp::I64Add => ValRaw::i64(a.get_i64().wrapping_add(b.get_i64())),
                    ConstOp::I64Sub => ValRaw::i64(a.get_i64().wrapping_sub(b.get_i64())),
                    _ => ValRaw::i64(a.get_i64().wrapping_mul(b.get_i64())),
                }
            }
        };
        stack.push(value);
    }
    match stack.pop() {
        Some(value) if stack.is_empty() => Ok(value),
        _ => bail!("a constant expression leaves not exactly one value"),
    }
}
