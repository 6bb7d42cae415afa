//! References.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use kiln_env::types::CompositeKind;
use kiln_env::{Builtin, TrapCode, TypeIndex};
use wasmparser::{AbstractHeapType, HeapType};

use crate::translate::emitter::Emitter;

/// Whether references of this heap type, which is valid in the module, are objects of the collected heap; the others are
/// pointers to functions.
pub(super) fn is_collected(e: &Emitter, ty: HeapType) -> bool {
    match ty {
        HeapType::Abstract { ty, .. } => !matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc),
        HeapType::Concrete(index) | HeapType::Exact(index) => {
            let index = index.as_module_index().expect("validated: an index of the module");
            e.env.module.types[TypeIndex(index)].composite.kind() != CompositeKind::Func
        }
    }
}

pub(super) fn visit_ref_null(e: &mut Emitter, []: [Value; 0], hty: HeapType) -> Value {
    let ty = if is_collected(e, hty) { I32 } else { I64 };
    e.b.ins().iconst(ty, 0)
}

pub(super) fn visit_ref_is_null(e: &mut Emitter, [reference]: [Value; 1]) -> Value {
    let bit = is_null(e, reference);
    e.b.ins().uextend(I32, bit)
}

pub(super) fn visit_ref_func(e: &mut Emitter, []: [Value; 0], function_index: u32) -> Value {
    let func = e.i32(function_index);
    e.builtin_value(Builtin::RefFunc, &[func])
}

pub(super) fn visit_ref_as_non_null(e: &mut Emitter, [reference]: [Value; 1]) -> Value {
    let null = is_null(e, reference);
    e.trap_if(null, TrapCode::NullReference);
    reference
}

/// A condition: whether a reference is null.
pub(crate) fn is_null(e: &mut Emitter, reference: Value) -> Value {
    e.b.ins().icmp_imm_u(IntCC::Equal, reference, 0)
}
