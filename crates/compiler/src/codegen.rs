//! One function's IR to machine code.

use cranelift_codegen::ir::{self, Function, GlobalValueData, MemFlagsData, types};
use kiln_env::{TrapCode, layout};

/// Where Cranelift's own lowerings trap, it uses codes of its own for some of the reasons.
const NATIVE_TRAPS: [(TrapCode, ir::TrapCode); 5] = [
    (TrapCode::StackOverflow, ir::TrapCode::STACK_OVERFLOW),
    (TrapCode::IntegerOverflow, ir::TrapCode::INTEGER_OVERFLOW),
    (TrapCode::MemoryOutOfBounds, ir::TrapCode::HEAP_OUT_OF_BOUNDS),
    (TrapCode::IntegerDivideByZero, ir::TrapCode::INTEGER_DIVISION_BY_ZERO),
    (TrapCode::BadConversionToInteger, ir::TrapCode::BAD_CONVERSION_TO_INTEGER),
];

/// The code for Cranelift's trapping instructions that stands for this trap.
pub fn trap_code(code: TrapCode) -> ir::TrapCode {
    match NATIVE_TRAPS.iter().find(|(kiln, _)| *kiln == code) {
        Some((_, native)) => *native,
        // The table of traps starts at 1 and is far from Cranelift's reserved numbers: see the test.
        None => ir::TrapCode::unwrap_user(code as u8),
    }
}

/// The trap that a code in machine code stands for.
pub fn from_trap_code(code: ir::TrapCode) -> Option<TrapCode> {
    match NATIVE_TRAPS.iter().find(|(_, native)| *native == code) {
        Some((kiln, _)) => Some(*kiln),
        None => TrapCode::from_u8(code.as_raw().get()),
    }
}

/// Makes the function check its stack when it is entered: the limit is loaded from its context, which must be a
/// parameter of purpose `VMContext`. For functions that make calls.
pub fn set_stack_limit(func: &mut Function) {
    let vmctx = func.create_global_value(GlobalValueData::VMContext);
    // Another thread may lower the limit to stop the guest, so the load is not `readonly`.
    let flags = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
    func.stack_limit = Some(func.create_global_value(GlobalValueData::Load {
        base: vmctx,
        offset: (layout::STACK_LIMIT as i32).into(),
        global_type: types::I64,
        flags,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_codes_round_trip() {
        for &code in TrapCode::ALL {
            assert_eq!(from_trap_code(trap_code(code)), Some(code));
        }
        assert_eq!(from_trap_code(ir::TrapCode::unwrap_user(200)), None);
    }
}
