//! SIMD and relaxed SIMD.
//!
//! A vector is `i8x16` between operators. An operator casts it to the lanes it works on with [`lanes`], which looks
//! through the cast that the operator before it made, so that no two casts follow each other. Casts are no instruction.
//!
//! Relaxed operators behave alike on every target, as in the deterministic profile, except that `relaxed_madd` and
//! `relaxed_nmadd` round once only where the target has fused multiply-add: elsewhere it would be a library call a lane.
//! Source: <https://webassembly.github.io/spec/core/exec/numerics.html#relaxed-operations>.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Opcode, Type, Value};
use wasmparser::{MemArg, V128};

use super::memory::access;
use crate::translate::emitter::Emitter;

/// Flags of a cast between vector types: lanes are numbered from the least significant byte on every target.
fn cast_flags() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

/// A vector as lanes of the type `ty`.
fn lanes(e: &mut Emitter, v: Value, ty: Type) -> Value {
    let source = uncast(e, v);
    if e.b.func.dfg.value_type(source) == ty { source } else { e.b.ins().bitcast(ty, cast_flags(), v) }
}

/// The vector that `v` is a cast of, or `v` itself.
fn uncast(e: &Emitter, v: Value) -> Value {
    let dfg = &e.b.func.dfg;
    match dfg.value_def(v).inst() {
        Some(inst) if dfg.insts[inst].opcode() == Opcode::Bitcast => {
            let source = dfg.inst_args(inst)[0];
            if dfg.value_type(source).is_vector() { source } else { v }
        }
        _ => v,
    }
}

/// Operands as lanes of the type `ty`.
fn all_lanes<const N: usize>(e: &mut Emitter, operands: [Value; N], ty: Type) -> [Value; N] {
    operands.map(|v| lanes(e, v, ty))
}

/// A vector as it is between operators.
fn whole(e: &mut Emitter, v: Value) -> Value {
    lanes(e, v, I8X16)
}

/// A scalar operand as wide as a lane of `ty`: the narrow ones come as `i32`.
fn lane_value(e: &mut Emitter, scalar: Value, ty: Type) -> Value {
    let lane = ty.lane_type();
    if lane.bits() < 32 { e.b.ins().ireduce(lane, scalar) } else { scalar }
}

fn vector_constant(e: &mut Emitter, ty: Type, bytes: [u8; 16]) -> Value {
    let data = e.b.func.dfg.constants.insert(bytes.to_vec().into());
    e.b.ins().vconst(ty, data)
}

/// Operators by shape. A type is that of the operand's lanes, a number the bytes in memory.
macro_rules! simd {
    ($($visit:ident: ($($x:tt)*);)*) => {$(
        simd!(@ $visit $($x)*);
    )*};
    (@ $visit:ident unary $inst:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, $ty);
            let result = e.b.ins().$inst(x);
            whole(e, result)
        }
    };
    (@ $visit:ident binary $inst:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty);
            let result = e.b.ins().$inst(x, y);
            whole(e, result)
        }
    };
    (@ $visit:ident icmp $cc:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty);
            let result = e.b.ins().icmp(IntCC::$cc, x, y);
            whole(e, result)
        }
    };
    (@ $visit:ident fcmp $cc:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty);
            let result = e.b.ins().fcmp(FloatCC::$cc, x, y);
            whole(e, result)
        }
    };
    // Cranelift takes the amount modulo the width of a lane, as wasm does.
    (@ $visit:ident shift $inst:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, amount]: [Value; 2]) -> Value {
            let x = lanes(e, x, $ty);
            let result = e.b.ins().$inst(x, amount);
            whole(e, result)
        }
    };
    (@ $visit:ident splat $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let lane = lane_value(e, x, $ty);
            let result = e.b.ins().splat($ty, lane);
            whole(e, result)
        }
    };
    (@ $visit:ident extract $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1], lane: u8) -> Value {
            let x = lanes(e, x, $ty);
            e.b.ins().extractlane(x, lane)
        }
    };
    (@ $visit:ident extract_narrow $extend:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1], lane: u8) -> Value {
            let x = lanes(e, x, $ty);
            let value = e.b.ins().extractlane(x, lane);
            e.b.ins().$extend(I32, value)
        }
    };
    (@ $visit:ident replace $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x, scalar]: [Value; 2], lane: u8) -> Value {
            let x = lanes(e, x, $ty);
            let value = lane_value(e, scalar, $ty);
            let result = e.b.ins().insertlane(x, value, lane);
            whole(e, result)
        }
    };
    (@ $visit:ident test $inst:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, $ty);
            let bit = e.b.ins().$inst(x);
            e.b.ins().uextend(I32, bit)
        }
    };
    (@ $visit:ident bitmask $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, $ty);
            e.b.ins().vhigh_bits(I32, x)
        }
    };
    // Lane selections may take whole lanes by their highest bit; bit by bit is one of the allowed results.
    (@ $visit:ident bitselect) => {
        pub(super) fn $visit(e: &mut Emitter, [x, y, condition]: [Value; 3]) -> Value {
            // In the lanes that made the condition, Cranelift sees whether it is a comparison.
            let condition = uncast(e, condition);
            let ty = e.b.func.dfg.value_type(condition);
            let [x, y] = all_lanes(e, [x, y], ty);
            let result = e.b.ins().bitselect(condition, x, y);
            whole(e, result)
        }
    };
    (@ $visit:ident extmul $widen:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty).map(|v| e.b.ins().$widen(v));
            let result = e.b.ins().imul(x, y);
            whole(e, result)
        }
    };
    (@ $visit:ident extadd $low:ident $high:ident $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, $ty);
            let low = e.b.ins().$low(x);
            let high = e.b.ins().$high(x);
            let result = e.b.ins().iadd_pairwise(low, high);
            whole(e, result)
        }
    };
    // `y < x ? y : x` and `x < y ? y : x`, in the form that is one instruction on x86-64.
    (@ $visit:ident pmin $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty);
            let less = e.b.ins().fcmp(FloatCC::LessThan, y, x);
            select_lanes(e, less, y, x)
        }
    };
    (@ $visit:ident pmax $ty:ident) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 2]) -> Value {
            let [x, y] = all_lanes(e, operands, $ty);
            let less = e.b.ins().fcmp(FloatCC::LessThan, x, y);
            select_lanes(e, less, y, x)
        }
    };
    (@ $visit:ident convert $inst:ident $from:ident $to:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, $from);
            let result = e.b.ins().$inst($to, x);
            whole(e, result)
        }
    };
    (@ $visit:ident convert_low $widen:ident $inst:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, I32X4);
            let wide = e.b.ins().$widen(x);
            let result = e.b.ins().$inst(F64X2, wide);
            whole(e, result)
        }
    };
    // These three instructions are known to Cranelift's x86-64 backend as one operator, and only together.
    (@ $visit:ident trunc_zero $inst:ident $narrow:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [x]: [Value; 1]) -> Value {
            let x = lanes(e, x, F64X2);
            let wide = e.b.ins().$inst(I64X2, x);
            let zero = vector_constant(e, I64X2, [0; 16]);
            let result = e.b.ins().$narrow(wide, zero);
            whole(e, result)
        }
    };
    (@ $visit:ident multiply_add $ty:ident $negate:literal) => {
        pub(super) fn $visit(e: &mut Emitter, operands: [Value; 3]) -> Value {
            let [x, y, z] = all_lanes(e, operands, $ty);
            let x = if $negate { e.b.ins().fneg(x) } else { x };
            let result = if e.env.isa.has_native_fma() {
                e.b.ins().fma(x, y, z)
            } else {
                let product = e.b.ins().fmul(x, y);
                e.b.ins().fadd(product, z)
            };
            whole(e, result)
        }
    };
    (@ $visit:ident load_widen $inst:ident) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let a = access(e, &memarg, index, 8);
            let result = e.b.ins().$inst(a.flags, a.addr, a.offset);
            whole(e, result)
        }
    };
    (@ $visit:ident load_splat $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let value = load_lane(e, &memarg, index, $ty, $size);
            let result = e.b.ins().splat($ty, value);
            whole(e, result)
        }
    };
    (@ $visit:ident load_zero $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
            let value = load_lane(e, &memarg, index, $ty, $size);
            let result = e.b.ins().scalar_to_vector($ty, value);
            whole(e, result)
        }
    };
    (@ $visit:ident load_lane $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index, x]: [Value; 2], memarg: MemArg, lane: u8) -> Value {
            let value = load_lane(e, &memarg, index, $ty, $size);
            let x = lanes(e, x, $ty);
            let result = e.b.ins().insertlane(x, value, lane);
            whole(e, result)
        }
    };
    (@ $visit:ident store_lane $ty:ident $size:literal) => {
        pub(super) fn $visit(e: &mut Emitter, [index, x]: [Value; 2], memarg: MemArg, lane: u8) {
            let x = lanes(e, x, $ty);
            let value = e.b.ins().extractlane(x, lane);
            let a = access(e, &memarg, index, $size);
            e.b.ins().store(a.flags, value, a.addr, a.offset);
        }
    };
}

simd! {
    // Lanes.
    visit_i8x16_swizzle: (binary swizzle I8X16);
    visit_i8x16_splat: (splat I8X16);
    visit_i16x8_splat: (splat I16X8);
    visit_i32x4_splat: (splat I32X4);
    visit_i64x2_splat: (splat I64X2);
    visit_f32x4_splat: (splat F32X4);
    visit_f64x2_splat: (splat F64X2);
    visit_i8x16_extract_lane_s: (extract_narrow sextend I8X16);
    visit_i8x16_extract_lane_u: (extract_narrow uextend I8X16);
    visit_i16x8_extract_lane_s: (extract_narrow sextend I16X8);
    visit_i16x8_extract_lane_u: (extract_narrow uextend I16X8);
    visit_i32x4_extract_lane: (extract I32X4);
    visit_i64x2_extract_lane: (extract I64X2);
    visit_f32x4_extract_lane: (extract F32X4);
    visit_f64x2_extract_lane: (extract F64X2);
    visit_i8x16_replace_lane: (replace I8X16);
    visit_i16x8_replace_lane: (replace I16X8);
    visit_i32x4_replace_lane: (replace I32X4);
    visit_i64x2_replace_lane: (replace I64X2);
    visit_f32x4_replace_lane: (replace F32X4);
    visit_f64x2_replace_lane: (replace F64X2);
    // Comparisons.
    visit_i8x16_eq: (icmp Equal I8X16);
    visit_i8x16_ne: (icmp NotEqual I8X16);
    visit_i8x16_lt_s: (icmp SignedLessThan I8X16);
    visit_i8x16_lt_u: (icmp UnsignedLessThan I8X16);
    visit_i8x16_gt_s: (icmp SignedGreaterThan I8X16);
    visit_i8x16_gt_u: (icmp UnsignedGreaterThan I8X16);
    visit_i8x16_le_s: (icmp SignedLessThanOrEqual I8X16);
    visit_i8x16_le_u: (icmp UnsignedLessThanOrEqual I8X16);
    visit_i8x16_ge_s: (icmp SignedGreaterThanOrEqual I8X16);
    visit_i8x16_ge_u: (icmp UnsignedGreaterThanOrEqual I8X16);
    visit_i16x8_eq: (icmp Equal I16X8);
    visit_i16x8_ne: (icmp NotEqual I16X8);
    visit_i16x8_lt_s: (icmp SignedLessThan I16X8);
    visit_i16x8_lt_u: (icmp UnsignedLessThan I16X8);
    visit_i16x8_gt_s: (icmp SignedGreaterThan I16X8);
    visit_i16x8_gt_u: (icmp UnsignedGreaterThan I16X8);
    visit_i16x8_le_s: (icmp SignedLessThanOrEqual I16X8);
    visit_i16x8_le_u: (icmp UnsignedLessThanOrEqual I16X8);
    visit_i16x8_ge_s: (icmp SignedGreaterThanOrEqual I16X8);
    visit_i16x8_ge_u: (icmp UnsignedGreaterThanOrEqual I16X8);
    visit_i32x4_eq: (icmp Equal I32X4);
    visit_i32x4_ne: (icmp NotEqual I32X4);
    visit_i32x4_lt_s: (icmp SignedLessThan I32X4);
    visit_i32x4_lt_u: (icmp UnsignedLessThan I32X4);
    visit_i32x4_gt_s: (icmp SignedGreaterThan I32X4);
    visit_i32x4_gt_u: (icmp UnsignedGreaterThan I32X4);
    visit_i32x4_le_s: (icmp SignedLessThanOrEqual I32X4);
    visit_i32x4_le_u: (icmp UnsignedLessThanOrEqual I32X4);
    visit_i32x4_ge_s: (icmp SignedGreaterThanOrEqual I32X4);
    visit_i32x4_ge_u: (icmp UnsignedGreaterThanOrEqual I32X4);
    visit_i64x2_eq: (icmp Equal I64X2);
    visit_i64x2_ne: (icmp NotEqual I64X2);
    visit_i64x2_lt_s: (icmp SignedLessThan I64X2);
    visit_i64x2_gt_s: (icmp SignedGreaterThan I64X2);
    visit_i64x2_le_s: (icmp SignedLessThanOrEqual I64X2);
    visit_i64x2_ge_s: (icmp SignedGreaterThanOrEqual I64X2);
    visit_f32x4_eq: (fcmp Equal F32X4);
    visit_f32x4_ne: (fcmp NotEqual F32X4);
    visit_f32x4_lt: (fcmp LessThan F32X4);
    visit_f32x4_gt: (fcmp GreaterThan F32X4);
    visit_f32x4_le: (fcmp LessThanOrEqual F32X4);
    visit_f32x4_ge: (fcmp GreaterThanOrEqual F32X4);
    visit_f64x2_eq: (fcmp Equal F64X2);
    visit_f64x2_ne: (fcmp NotEqual F64X2);
    visit_f64x2_lt: (fcmp LessThan F64X2);
    visit_f64x2_gt: (fcmp GreaterThan F64X2);
    visit_f64x2_le: (fcmp LessThanOrEqual F64X2);
    visit_f64x2_ge: (fcmp GreaterThanOrEqual F64X2);
    // Bits.
    visit_v128_not: (unary bnot I8X16);
    visit_v128_and: (binary band I8X16);
    visit_v128_or: (binary bor I8X16);
    visit_v128_xor: (binary bxor I8X16);
    visit_v128_bitselect: (bitselect);
    visit_v128_any_true: (test vany_true I8X16);
    visit_i8x16_all_true: (test vall_true I8X16);
    visit_i16x8_all_true: (test vall_true I16X8);
    visit_i32x4_all_true: (test vall_true I32X4);
    visit_i64x2_all_true: (test vall_true I64X2);
    visit_i8x16_bitmask: (bitmask I8X16);
    visit_i16x8_bitmask: (bitmask I16X8);
    visit_i32x4_bitmask: (bitmask I32X4);
    visit_i64x2_bitmask: (bitmask I64X2);
    // Integer arithmetic.
    visit_i8x16_abs: (unary iabs I8X16);
    visit_i8x16_neg: (unary ineg I8X16);
    visit_i16x8_abs: (unary iabs I16X8);
    visit_i16x8_neg: (unary ineg I16X8);
    visit_i32x4_abs: (unary iabs I32X4);
    visit_i32x4_neg: (unary ineg I32X4);
    visit_i64x2_abs: (unary iabs I64X2);
    visit_i64x2_neg: (unary ineg I64X2);
    visit_i8x16_popcnt: (unary popcnt I8X16);
    visit_i8x16_shl: (shift ishl I8X16);
    visit_i8x16_shr_s: (shift sshr I8X16);
    visit_i8x16_shr_u: (shift ushr I8X16);
    visit_i8x16_add: (binary iadd I8X16);
    visit_i8x16_sub: (binary isub I8X16);
    visit_i16x8_shl: (shift ishl I16X8);
    visit_i16x8_shr_s: (shift sshr I16X8);
    visit_i16x8_shr_u: (shift ushr I16X8);
    visit_i16x8_add: (binary iadd I16X8);
    visit_i16x8_sub: (binary isub I16X8);
    visit_i16x8_mul: (binary imul I16X8);
    visit_i32x4_shl: (shift ishl I32X4);
    visit_i32x4_shr_s: (shift sshr I32X4);
    visit_i32x4_shr_u: (shift ushr I32X4);
    visit_i32x4_add: (binary iadd I32X4);
    visit_i32x4_sub: (binary isub I32X4);
    visit_i32x4_mul: (binary imul I32X4);
    visit_i64x2_shl: (shift ishl I64X2);
    visit_i64x2_shr_s: (shift sshr I64X2);
    visit_i64x2_shr_u: (shift ushr I64X2);
    visit_i64x2_add: (binary iadd I64X2);
    visit_i64x2_sub: (binary isub I64X2);
    visit_i64x2_mul: (binary imul I64X2);
    visit_i8x16_add_sat_s: (binary sadd_sat I8X16);
    visit_i8x16_add_sat_u: (binary uadd_sat I8X16);
    visit_i8x16_sub_sat_s: (binary ssub_sat I8X16);
    visit_i8x16_sub_sat_u: (binary usub_sat I8X16);
    visit_i8x16_avgr_u: (binary avg_round I8X16);
    visit_i16x8_add_sat_s: (binary sadd_sat I16X8);
    visit_i16x8_add_sat_u: (binary uadd_sat I16X8);
    visit_i16x8_sub_sat_s: (binary ssub_sat I16X8);
    visit_i16x8_sub_sat_u: (binary usub_sat I16X8);
    visit_i16x8_avgr_u: (binary avg_round I16X8);
    visit_i8x16_min_s: (binary smin I8X16);
    visit_i8x16_min_u: (binary umin I8X16);
    visit_i8x16_max_s: (binary smax I8X16);
    visit_i8x16_max_u: (binary umax I8X16);
    visit_i16x8_min_s: (binary smin I16X8);
    visit_i16x8_min_u: (binary umin I16X8);
    visit_i16x8_max_s: (binary smax I16X8);
    visit_i16x8_max_u: (binary umax I16X8);
    visit_i32x4_min_s: (binary smin I32X4);
    visit_i32x4_min_u: (binary umin I32X4);
    visit_i32x4_max_s: (binary smax I32X4);
    visit_i32x4_max_u: (binary umax I32X4);
    visit_i16x8_q15mulr_sat_s: (binary sqmul_round_sat I16X8);
    // Widening and narrowing.
    visit_i16x8_extend_low_i8x16_s: (unary swiden_low I8X16);
    visit_i16x8_extend_low_i8x16_u: (unary uwiden_low I8X16);
    visit_i16x8_extend_high_i8x16_s: (unary swiden_high I8X16);
    visit_i16x8_extend_high_i8x16_u: (unary uwiden_high I8X16);
    visit_i32x4_extend_low_i16x8_s: (unary swiden_low I16X8);
    visit_i32x4_extend_low_i16x8_u: (unary uwiden_low I16X8);
    visit_i32x4_extend_high_i16x8_s: (unary swiden_high I16X8);
    visit_i32x4_extend_high_i16x8_u: (unary uwiden_high I16X8);
    visit_i64x2_extend_low_i32x4_s: (unary swiden_low I32X4);
    visit_i64x2_extend_low_i32x4_u: (unary uwiden_low I32X4);
    visit_i64x2_extend_high_i32x4_s: (unary swiden_high I32X4);
    visit_i64x2_extend_high_i32x4_u: (unary uwiden_high I32X4);
    visit_i16x8_extmul_low_i8x16_s: (extmul swiden_low I8X16);
    visit_i16x8_extmul_low_i8x16_u: (extmul uwiden_low I8X16);
    visit_i16x8_extmul_high_i8x16_s: (extmul swiden_high I8X16);
    visit_i16x8_extmul_high_i8x16_u: (extmul uwiden_high I8X16);
    visit_i32x4_extmul_low_i16x8_s: (extmul swiden_low I16X8);
    visit_i32x4_extmul_low_i16x8_u: (extmul uwiden_low I16X8);
    visit_i32x4_extmul_high_i16x8_s: (extmul swiden_high I16X8);
    visit_i32x4_extmul_high_i16x8_u: (extmul uwiden_high I16X8);
    visit_i64x2_extmul_low_i32x4_s: (extmul swiden_low I32X4);
    visit_i64x2_extmul_low_i32x4_u: (extmul uwiden_low I32X4);
    visit_i64x2_extmul_high_i32x4_s: (extmul swiden_high I32X4);
    visit_i64x2_extmul_high_i32x4_u: (extmul uwiden_high I32X4);
    visit_i16x8_extadd_pairwise_i8x16_s: (extadd swiden_low swiden_high I8X16);
    visit_i16x8_extadd_pairwise_i8x16_u: (extadd uwiden_low uwiden_high I8X16);
    visit_i32x4_extadd_pairwise_i16x8_s: (extadd swiden_low swiden_high I16X8);
    visit_i32x4_extadd_pairwise_i16x8_u: (extadd uwiden_low uwiden_high I16X8);
    visit_i8x16_narrow_i16x8_s: (binary snarrow I16X8);
    visit_i8x16_narrow_i16x8_u: (binary unarrow I16X8);
    visit_i16x8_narrow_i32x4_s: (binary snarrow I32X4);
    visit_i16x8_narrow_i32x4_u: (binary unarrow I32X4);
    // Floats.
    visit_f32x4_ceil: (unary ceil F32X4);
    visit_f32x4_floor: (unary floor F32X4);
    visit_f32x4_trunc: (unary trunc F32X4);
    visit_f32x4_nearest: (unary nearest F32X4);
    visit_f32x4_abs: (unary fabs F32X4);
    visit_f32x4_neg: (unary fneg F32X4);
    visit_f32x4_sqrt: (unary sqrt F32X4);
    visit_f32x4_add: (binary fadd F32X4);
    visit_f32x4_sub: (binary fsub F32X4);
    visit_f32x4_mul: (binary fmul F32X4);
    visit_f32x4_div: (binary fdiv F32X4);
    visit_f32x4_min: (binary fmin F32X4);
    visit_f32x4_max: (binary fmax F32X4);
    visit_f32x4_pmin: (pmin F32X4);
    visit_f32x4_pmax: (pmax F32X4);
    visit_f64x2_ceil: (unary ceil F64X2);
    visit_f64x2_floor: (unary floor F64X2);
    visit_f64x2_trunc: (unary trunc F64X2);
    visit_f64x2_nearest: (unary nearest F64X2);
    visit_f64x2_abs: (unary fabs F64X2);
    visit_f64x2_neg: (unary fneg F64X2);
    visit_f64x2_sqrt: (unary sqrt F64X2);
    visit_f64x2_add: (binary fadd F64X2);
    visit_f64x2_sub: (binary fsub F64X2);
    visit_f64x2_mul: (binary fmul F64X2);
    visit_f64x2_div: (binary fdiv F64X2);
    visit_f64x2_min: (binary fmin F64X2);
    visit_f64x2_max: (binary fmax F64X2);
    visit_f64x2_pmin: (pmin F64X2);
    visit_f64x2_pmax: (pmax F64X2);
    // Conversions.
    visit_i32x4_trunc_sat_f32x4_s: (convert fcvt_to_sint_sat F32X4 I32X4);
    visit_i32x4_trunc_sat_f32x4_u: (convert fcvt_to_uint_sat F32X4 I32X4);
    visit_f32x4_convert_i32x4_s: (convert fcvt_from_sint I32X4 F32X4);
    visit_f32x4_convert_i32x4_u: (convert fcvt_from_uint I32X4 F32X4);
    visit_i32x4_trunc_sat_f64x2_s_zero: (trunc_zero fcvt_to_sint_sat snarrow);
    visit_i32x4_trunc_sat_f64x2_u_zero: (trunc_zero fcvt_to_uint_sat uunarrow);
    visit_f64x2_convert_low_i32x4_s: (convert_low swiden_low fcvt_from_sint);
    visit_f64x2_convert_low_i32x4_u: (convert_low uwiden_low fcvt_from_uint);
    visit_f32x4_demote_f64x2_zero: (unary fvdemote F64X2);
    visit_f64x2_promote_low_f32x4: (unary fvpromote_low F32X4);
    // Relaxed.
    visit_i8x16_relaxed_swizzle: (binary swizzle I8X16);
    visit_i32x4_relaxed_trunc_f32x4_s: (convert fcvt_to_sint_sat F32X4 I32X4);
    visit_i32x4_relaxed_trunc_f32x4_u: (convert fcvt_to_uint_sat F32X4 I32X4);
    visit_i32x4_relaxed_trunc_f64x2_s_zero: (trunc_zero fcvt_to_sint_sat snarrow);
    visit_i32x4_relaxed_trunc_f64x2_u_zero: (trunc_zero fcvt_to_uint_sat uunarrow);
    visit_f32x4_relaxed_madd: (multiply_add F32X4 false);
    visit_f32x4_relaxed_nmadd: (multiply_add F32X4 true);
    visit_f32x4_relaxed_min: (binary fmin F32X4);
    visit_f32x4_relaxed_max: (binary fmax F32X4);
    visit_f64x2_relaxed_madd: (multiply_add F64X2 false);
    visit_f64x2_relaxed_nmadd: (multiply_add F64X2 true);
    visit_f64x2_relaxed_min: (binary fmin F64X2);
    visit_f64x2_relaxed_max: (binary fmax F64X2);
    visit_i8x16_relaxed_laneselect: (bitselect);
    visit_i16x8_relaxed_laneselect: (bitselect);
    visit_i32x4_relaxed_laneselect: (bitselect);
    visit_i64x2_relaxed_laneselect: (bitselect);
    visit_i16x8_relaxed_q15mulr_s: (binary sqmul_round_sat I16X8);
    // Loads and stores.
    visit_v128_load8x8_s: (load_widen sload8x8);
    visit_v128_load16x4_s: (load_widen sload16x4);
    visit_v128_load32x2_s: (load_widen sload32x2);
    visit_v128_load8x8_u: (load_widen uload8x8);
    visit_v128_load16x4_u: (load_widen uload16x4);
    visit_v128_load32x2_u: (load_widen uload32x2);
    visit_v128_load8_splat: (load_splat I8X16 1);
    visit_v128_load16_splat: (load_splat I16X8 2);
    visit_v128_load32_splat: (load_splat I32X4 4);
    visit_v128_load64_splat: (load_splat I64X2 8);
    visit_v128_load32_zero: (load_zero I32X4 4);
    visit_v128_load64_zero: (load_zero I64X2 8);
    visit_v128_load8_lane: (load_lane I8X16 1);
    visit_v128_load16_lane: (load_lane I16X8 2);
    visit_v128_load32_lane: (load_lane I32X4 4);
    visit_v128_load64_lane: (load_lane I64X2 8);
    visit_v128_store8_lane: (store_lane I8X16 1);
    visit_v128_store16_lane: (store_lane I16X8 2);
    visit_v128_store32_lane: (store_lane I32X4 4);
    visit_v128_store64_lane: (store_lane I64X2 8);
}

/// Lanes of `x` where the comparison holds, of `y` elsewhere.
fn select_lanes(e: &mut Emitter, comparison: Value, x: Value, y: Value) -> Value {
    let ty = e.b.func.dfg.value_type(x);
    let mask = e.b.ins().bitcast(ty, cast_flags(), comparison);
    let result = e.b.ins().bitselect(mask, x, y);
    whole(e, result)
}

/// One lane of a vector of type `ty` from memory.
fn load_lane(e: &mut Emitter, memarg: &MemArg, index: Value, ty: Type, size: u8) -> Value {
    let a = access(e, memarg, index, size);
    e.b.ins().load(ty.lane_type(), a.flags, a.addr, a.offset)
}

pub(super) fn visit_v128_load(e: &mut Emitter, [index]: [Value; 1], memarg: MemArg) -> Value {
    let a = access(e, &memarg, index, 16);
    e.b.ins().load(I8X16, a.flags, a.addr, a.offset)
}

pub(super) fn visit_v128_store(e: &mut Emitter, [index, x]: [Value; 2], memarg: MemArg) {
    let a = access(e, &memarg, index, 16);
    e.b.ins().store(a.flags, x, a.addr, a.offset);
}

pub(super) fn visit_v128_const(e: &mut Emitter, []: [Value; 0], value: V128) -> Value {
    vector_constant(e, I8X16, *value.bytes())
}

pub(super) fn visit_i8x16_shuffle(e: &mut Emitter, [x, y]: [Value; 2], lanes: [u8; 16]) -> Value {
    let mask = e.b.func.dfg.immediates.push(lanes.to_vec().into());
    e.b.ins().shuffle(x, y, mask)
}

pub(super) fn visit_v128_andnot(e: &mut Emitter, operands: [Value; 2]) -> Value {
    let [x, y] = all_lanes(e, operands, I8X16);
    let not = e.b.ins().bnot(y);
    e.b.ins().band(x, not)
}

/// Sums of products of neighbouring 16-bit lanes, which x86-64 has as one instruction.
pub(super) fn visit_i32x4_dot_i16x8_s(e: &mut Emitter, operands: [Value; 2]) -> Value {
    let [low, high] = products(e, operands, I16X8);
    let result = e.b.ins().iadd_pairwise(low, high);
    whole(e, result)
}

pub(super) fn visit_i16x8_relaxed_dot_i8x16_i7x16_s(e: &mut Emitter, operands: [Value; 2]) -> Value {
    let [low, high] = products(e, operands, I8X16);
    let result = e.b.ins().iadd_pairwise(low, high);
    whole(e, result)
}

/// All sums in 32 bits: the shape that Cranelift folds into one dot-product instruction where the target has one.
pub(super) fn visit_i32x4_relaxed_dot_i8x16_i7x16_add_s(e: &mut Emitter, [x, y, z]: [Value; 3]) -> Value {
    let [low, high] = products(e, [x, y], I8X16).map(|products| {
        let low = e.b.ins().swiden_low(products);
        let high = e.b.ins().swiden_high(products);
        e.b.ins().iadd_pairwise(low, high)
    });
    let dots = e.b.ins().iadd_pairwise(low, high);
    let z = lanes(e, z, I32X4);
    let result = e.b.ins().iadd(dots, z);
    whole(e, result)
}

/// Products of lanes, signed and twice as wide: of the low halves and of the high halves.
fn products(e: &mut Emitter, operands: [Value; 2], ty: Type) -> [Value; 2] {
    let [x, y] = all_lanes(e, operands, ty);
    let (x_low, y_low) = (e.b.ins().swiden_low(x), e.b.ins().swiden_low(y));
    let low = e.b.ins().imul(x_low, y_low);
    let (x_high, y_high) = (e.b.ins().swiden_high(x), e.b.ins().swiden_high(y));
    let high = e.b.ins().imul(x_high, y_high);
    [low, high]
}
