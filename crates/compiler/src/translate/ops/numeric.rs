//! Integers, floats and conversions between them.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value};
use kiln_env::TrapCode;

use crate::translate::emitter::Emitter;

/// Operators that are one instruction, or a comparison.
macro_rules! simple {
    ($($visit:ident: $shape:ident $($x:ident)*;)*) => {$(
        simple!(@ $visit $shape $($x)*);
    )*};
    (@ $visit:ident unary $inst:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            e.b.ins().$inst(x)
        }
    };
    (@ $visit:ident binary $inst:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, y]: [Value; 2]) -> Value {
            e.b.ins().$inst(x, y)
        }
    };
    (@ $visit:ident eqz) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let bit = e.b.ins().icmp_imm_u(IntCC::Equal, x, 0);
            e.b.ins().uextend(I32, bit)
        }
    };
    (@ $visit:ident icmp $cc:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, y]: [Value; 2]) -> Value {
            let bit = e.b.ins().icmp(IntCC::$cc, x, y);
            e.b.ins().uextend(I32, bit)
        }
    };
    (@ $visit:ident fcmp $cc:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, y]: [Value; 2]) -> Value {
            let bit = e.b.ins().fcmp(FloatCC::$cc, x, y);
            e.b.ins().uextend(I32, bit)
        }
    };
    (@ $visit:ident convert $inst:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            e.b.ins().$inst($ty, x)
        }
    };
    (@ $visit:ident bitcast $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            e.b.ins().bitcast($ty, MemFlagsData::new(), x)
        }
    };
    (@ $visit:ident extend $from:ident $to:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let low = e.b.ins().ireduce($from, x);
            e.b.ins().sextend($to, low)
        }
    };
    (@ $visit:ident divide $inst:ident $sign:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, y]: [Value; 2]) -> Value {
            check_division(e, x, y, Division::$sign);
            e.b.ins().$inst(x, y)
        }
    };
    (@ $visit:ident truncate $inst:ident $saturating:ident $ty:ident $range:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            if check_truncation(e, x, Range::$range) {
                e.b.ins().$saturating($ty, x)
            } else {
                e.b.ins().$inst($ty, x)
            }
        }
    };
}

simple! {
    visit_i32_eqz: eqz;
    visit_i32_eq: icmp Equal;
    visit_i32_ne: icmp NotEqual;
    visit_i32_lt_s: icmp SignedLessThan;
    visit_i32_lt_u: icmp UnsignedLessThan;
    visit_i32_gt_s: icmp SignedGreaterThan;
    visit_i32_gt_u: icmp UnsignedGreaterThan;
    visit_i32_le_s: icmp SignedLessThanOrEqual;
    visit_i32_le_u: icmp UnsignedLessThanOrEqual;
    visit_i32_ge_s: icmp SignedGreaterThanOrEqual;
    visit_i32_ge_u: icmp UnsignedGreaterThanOrEqual;
    visit_i64_eqz: eqz;
    visit_i64_eq: icmp Equal;
    visit_i64_ne: icmp NotEqual;
    visit_i64_lt_s: icmp SignedLessThan;
    visit_i64_lt_u: icmp UnsignedLessThan;
    visit_i64_gt_s: icmp SignedGreaterThan;
    visit_i64_gt_u: icmp UnsignedGreaterThan;
    visit_i64_le_s: icmp SignedLessThanOrEqual;
    visit_i64_le_u: icmp UnsignedLessThanOrEqual;
    visit_i64_ge_s: icmp SignedGreaterThanOrEqual;
    visit_i64_ge_u: icmp UnsignedGreaterThanOrEqual;
    visit_f32_eq: fcmp Equal;
    visit_f32_ne: fcmp NotEqual;
    visit_f32_lt: fcmp LessThan;
    visit_f32_gt: fcmp GreaterThan;
    visit_f32_le: fcmp LessThanOrEqual;
    visit_f32_ge: fcmp GreaterThanOrEqual;
    visit_f64_eq: fcmp Equal;
    visit_f64_ne: fcmp NotEqual;
    visit_f64_lt: fcmp LessThan;
    visit_f64_gt: fcmp GreaterThan;
    visit_f64_le: fcmp LessThanOrEqual;
    visit_f64_ge: fcmp GreaterThanOrEqual;

    visit_i32_clz: unary clz;
    visit_i32_ctz: unary ctz;
    visit_i32_popcnt: unary popcnt;
    visit_i32_add: binary iadd;
    visit_i32_sub: binary isub;
    visit_i32_mul: binary imul;
    visit_i32_div_s: divide sdiv Signed;
    visit_i32_div_u: divide udiv Other;
    visit_i32_rem_s: divide srem Other;
    visit_i32_rem_u: divide urem Other;
    visit_i32_and: binary band;
    visit_i32_or: binary bor;
    visit_i32_xor: binary bxor;
    visit_i32_shl: binary ishl;
    visit_i32_shr_s: binary sshr;
    visit_i32_shr_u: binary ushr;
    visit_i32_rotl: binary rotl;
    visit_i32_rotr: binary rotr;
    visit_i64_clz: unary clz;
    visit_i64_ctz: unary ctz;
    visit_i64_popcnt: unary popcnt;
    visit_i64_add: binary iadd;
    visit_i64_sub: binary isub;
    visit_i64_mul: binary imul;
    visit_i64_div_s: divide sdiv Signed;
    visit_i64_div_u: divide udiv Other;
    visit_i64_rem_s: divide srem Other;
    visit_i64_rem_u: divide urem Other;
    visit_i64_and: binary band;
    visit_i64_or: binary bor;
    visit_i64_xor: binary bxor;
    visit_i64_shl: binary ishl;
    visit_i64_shr_s: binary sshr;
    visit_i64_shr_u: binary ushr;
    visit_i64_rotl: binary rotl;
    visit_i64_rotr: binary rotr;

    visit_f32_abs: unary fabs;
    visit_f32_neg: unary fneg;
    visit_f32_ceil: unary ceil;
    visit_f32_floor: unary floor;
    visit_f32_trunc: unary trunc;
    visit_f32_nearest: unary nearest;
    visit_f32_sqrt: unary sqrt;
    visit_f32_add: binary fadd;
    visit_f32_sub: binary fsub;
    visit_f32_mul: binary fmul;
    visit_f32_div: binary fdiv;
    visit_f32_min: binary fmin;
    visit_f32_max: binary fmax;
    visit_f32_copysign: binary fcopysign;
    visit_f64_abs: unary fabs;
    visit_f64_neg: unary fneg;
    visit_f64_ceil: unary ceil;
    visit_f64_floor: unary floor;
    visit_f64_trunc: unary trunc;
    visit_f64_nearest: unary nearest;
    visit_f64_sqrt: unary sqrt;
    visit_f64_add: binary fadd;
    visit_f64_sub: binary fsub;
    visit_f64_mul: binary fmul;
    visit_f64_div: binary fdiv;
    visit_f64_min: binary fmin;
    visit_f64_max: binary fmax;
    visit_f64_copysign: binary fcopysign;

    visit_i32_wrap_i64: convert ireduce I32;
    visit_i64_extend_i32_s: convert sextend I64;
    visit_i64_extend_i32_u: convert uextend I64;
    visit_i32_extend8_s: extend I8 I32;
    visit_i32_extend16_s: extend I16 I32;
    visit_i64_extend8_s: extend I8 I64;
    visit_i64_extend16_s: extend I16 I64;
    visit_i64_extend32_s: extend I32 I64;
    visit_f32_convert_i32_s: convert fcvt_from_sint F32;
    visit_f32_convert_i32_u: convert fcvt_from_uint F32;
    visit_f32_convert_i64_s: convert fcvt_from_sint F32;
    visit_f32_convert_i64_u: convert fcvt_from_uint F32;
    visit_f32_demote_f64: convert fdemote F32;
    visit_f64_convert_i32_s: convert fcvt_from_sint F64;
    visit_f64_convert_i32_u: convert fcvt_from_uint F64;
    visit_f64_convert_i64_s: convert fcvt_from_sint F64;
    visit_f64_convert_i64_u: convert fcvt_from_uint F64;
    visit_f64_promote_f32: convert fpromote F64;
    visit_i32_reinterpret_f32: bitcast I32;
    visit_i64_reinterpret_f64: bitcast I64;
    visit_f32_reinterpret_i32: bitcast F32;
    visit_f64_reinterpret_i64: bitcast F64;

    visit_i32_trunc_f32_s: truncate fcvt_to_sint fcvt_to_sint_sat I32 SignedFromSingle32;
    visit_i32_trunc_f32_u: truncate fcvt_to_uint fcvt_to_uint_sat I32 Unsigned32;
    visit_i32_trunc_f64_s: truncate fcvt_to_sint fcvt_to_sint_sat I32 SignedFromDouble32;
    visit_i32_trunc_f64_u: truncate fcvt_to_uint fcvt_to_uint_sat I32 Unsigned32;
    visit_i64_trunc_f32_s: truncate fcvt_to_sint fcvt_to_sint_sat I64 Signed64;
    visit_i64_trunc_f32_u: truncate fcvt_to_uint fcvt_to_uint_sat I64 Unsigned64;
    visit_i64_trunc_f64_s: truncate fcvt_to_sint fcvt_to_sint_sat I64 Signed64;
    visit_i64_trunc_f64_u: truncate fcvt_to_uint fcvt_to_uint_sat I64 Unsigned64;
    visit_i32_trunc_sat_f32_s: convert fcvt_to_sint_sat I32;
    visit_i32_trunc_sat_f32_u: convert fcvt_to_uint_sat I32;
    visit_i32_trunc_sat_f64_s: convert fcvt_to_sint_sat I32;
    visit_i32_trunc_sat_f64_u: convert fcvt_to_uint_sat I32;
    visit_i64_trunc_sat_f32_s: convert fcvt_to_sint_sat I64;
    visit_i64_trunc_sat_f32_u: convert fcvt_to_uint_sat I64;
    visit_i64_trunc_sat_f64_s: convert fcvt_to_sint_sat I64;
    visit_i64_trunc_sat_f64_u: convert fcvt_to_uint_sat I64;
}

/// Operators on numbers of 128 bits, which wasm has as two of 64: the low half first.
macro_rules! wide {
    ($($visit:ident: $shape:ident $inst:ident;)*) => {$(
        wide!(@ $visit $shape $inst);
    )*};
    (@ $visit:ident binary $inst:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, x_high, y, y_high]: [Value; 4]) -> [Value; 2] {
            let x = e.b.ins().iconcat(x, x_high);
            let y = e.b.ins().iconcat(y, y_high);
            let result = e.b.ins().$inst(x, y);
            e.b.ins().isplit(result).into()
        }
    };
    // In the form that processors have as one instruction, or as one for each half.
    (@ $visit:ident product $extend:ident) => {
        pub(super) fn $visit(e: &mut Emitter, factors: [Value; 2]) -> [Value; 2] {
            let [x, y] = factors.map(|factor| e.b.ins().$extend(I128, factor));
            let result = e.b.ins().imul(x, y);
            e.b.ins().isplit(result).into()
        }
    };
}

wide! {
    visit_i64_add128: binary iadd;
    visit_i64_sub128: binary isub;
    visit_i64_mul_wide_s: product sextend;
    visit_i64_mul_wide_u: product uextend;
}

pub(super) fn visit_i32_const(e: &mut Emitter, []: [Value; 0], value: i32) -> Value {
    e.b.ins().iconst(I32, i64::from(value as u32))
}

pub(super) fn visit_i64_const(e: &mut Emitter, []: [Value; 0], value: i64) -> Value {
    e.b.ins().iconst(I64, value)
}

pub(super) fn visit_f32_const(e: &mut Emitter, []: [Value; 0], value: wasmparser::Ieee32) -> Value {
    e.b.ins().f32const(Ieee32::with_bits(value.bits()))
}

pub(super) fn visit_f64_const(e: &mut Emitter, []: [Value; 0], value: wasmparser::Ieee64) -> Value {
    e.b.ins().f64const(Ieee64::with_bits(value.bits()))
}

pub(super) fn visit_select(e: &mut Emitter, [x, y, condition]: [Value; 3]) -> Value {
    e.b.ins().select(condition, x, y)
}

pub(super) fn visit_typed_select(e: &mut Emitter, args: [Value; 3], ty: wasmparser::ValType) -> Value {
    let value = visit_select(e, args);
    if let wasmparser::ValType::Ref(r) = ty
        && super::reference::is_collected(e, r.heap_type())
    {
        e.collected(value);
    }
    value
}

/// Which divisions overflow.
#[derive(PartialEq)]
enum Division {
    /// Signed division: the least integer by -1.
    Signed,
    /// The rest.
    Other,
}

/// Where the processor's own faults cannot be used: checks a division's operands.
fn check_division(e: &mut Emitter, x: Value, y: Value, kind: Division) {
    e.flush_fuel();
    if e.env.tunables.signals {
        return;
    }
    let zero = e.b.ins().icmp_imm_u(IntCC::Equal, y, 0);
    e.trap_if(zero, TrapCode::IntegerDivideByZero);
    if kind == Division::Signed {
        let ty = e.b.func.dfg.value_type(x);
        let least = if ty == I32 { i64::from(i32::MIN) } else { i64::MIN };
        let is_least = e.b.ins().icmp_imm_s(IntCC::Equal, x, least);
        let is_minus_one = e.b.ins().icmp_imm_s(IntCC::Equal, y, -1);
        let overflow = e.b.ins().band(is_least, is_minus_one);
        e.trap_if(overflow, TrapCode::IntegerOverflow);
    }
}

/// The floats that convert to an integer type without overflow: greater than (or equal to) one bound, less than the other.
enum Range {
    /// To signed 32 bits, from a type in which -2^31 has no fraction below it.
    SignedFromSingle32,
    /// To signed 32 bits, from a type with fractions between -2^31 - 1 and -2^31.
    SignedFromDouble32,
    /// To unsigned 32 bits.
    Unsigned32,
    /// To signed 64 bits.
    Signed64,
    /// To unsigned 64 bits.
    Unsigned64,
}

impl Range {
    /// Lower bound, whether it belongs to the range, and upper bound, which does not.
    fn bounds(self) -> (f64, bool, f64) {
        match self {
            Range::SignedFromSingle32 => (-2147483648.0, true, 2147483648.0),
            Range::SignedFromDouble32 => (-2147483649.0, false, 2147483648.0),
            Range::Unsigned32 => (-1.0, false, 4294967296.0),
            Range::Signed64 => (-9223372036854775808.0, true, 9223372036854775808.0),
            Range::Unsigned64 => (-1.0, false, 18446744073709551616.0),
        }
    }
}

/// Where traps cannot rely on signals: checks the operand of a conversion to an integer, and says so.
fn check_truncation(e: &mut Emitter, x: Value, range: Range) -> bool {
    e.flush_fuel();
    if e.env.tunables.signals {
        return false;
    }
    let ty = e.b.func.dfg.value_type(x);
    let nan = e.b.ins().fcmp(FloatCC::Unordered, x, x);
    e.trap_if(nan, TrapCode::BadConversionToInteger);
    let (low, inclusive, high) = range.bounds();
    let low = float(e, ty, low);
    let high = float(e, ty, high);
    let cc = if inclusive { FloatCC::LessThan } else { FloatCC::LessThanOrEqual };
    let below = e.b.ins().fcmp(cc, x, low);
    let above = e.b.ins().fcmp(FloatCC::GreaterThanOrEqual, x, high);
    let outside = e.b.ins().bor(below, above);
    e.trap_if(outside, TrapCode::IntegerOverflow);
    true
}

/// A constant that both float types represent exactly.
fn float(e: &mut Emitter, ty: Type, value: f64) -> Value {
    if ty == F32 { e.b.ins().f32const(value as f32) } else { e.b.ins().f64const(value) }
}
