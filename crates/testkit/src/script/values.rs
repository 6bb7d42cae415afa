//! Values of a script: arguments to make, results to compare.

use anyhow::{Context as _, Result, bail};
use kiln::{ExternRef, Store, Val};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::{WastArg, WastRet};

/// The argument as a value of the store.
pub(super) fn argument(arg: &WastArg<'_>, store: &mut Store<()>) -> Result<Val> {
    let WastArg::Core(arg) = arg else { bail!("arguments of components are not supported") };
    Ok(match arg {
        WastArgCore::I32(x) => Val::I32(*x),
        WastArgCore::I64(x) => Val::I64(*x),
        WastArgCore::F32(x) => Val::F32(x.bits),
        WastArgCore::F64(x) => Val::F64(x.bits),
        WastArgCore::V128(x) => Val::V128(u128::from_le_bytes(x.to_le_bytes()).into()),
        WastArgCore::RefNull(ty) => null(ty)?,
        WastArgCore::RefExtern(n) => Val::ExternRef(Some(ExternRef::new(store, *n)?)),
        WastArgCore::RefHost(_) => bail!("references of the any hierarchy are not supported"),
    })
}

fn null(ty: &HeapType<'_>) -> Result<Val> {
    let HeapType::Abstract { ty, .. } = ty else { return Ok(Val::FuncRef(None)) };
    match ty {
        AbstractHeapType::Func | AbstractHeapType::NoFunc => Ok(Val::FuncRef(None)),
        AbstractHeapType::Extern | AbstractHeapType::NoExtern => Ok(Val::ExternRef(None)),
        AbstractHeapType::Exn | AbstractHeapType::NoExn => Ok(Val::ExnRef(None)),
        AbstractHeapType::Any
        | AbstractHeapType::Eq
        | AbstractHeapType::I31
        | AbstractHeapType::Struct
        | AbstractHeapType::Array
        | AbstractHeapType::None => Ok(Val::AnyRef(None)),
        other => bail!("references to {other:?} are not supported"),
    }
}

/// An error that says how the value differs from what is expected.
pub(super) fn compare(got: &Val, expected: &WastRet<'_>, store: &mut Store<()>) -> Result<()> {
    let WastRet::Core(expected) = expected else { bail!("results of components are not supported") };
    if matches(got, expected, store)? {
        return Ok(());
    }
    bail!("got {}, expected {}", show(got), show_expected(expected))
}

fn matches(got: &Val, expected: &WastRetCore<'_>, store: &mut Store<()>) -> Result<bool> {
    Ok(match (expected, got) {
        (WastRetCore::I32(e), Val::I32(g)) => e == g,
        (WastRetCore::I64(e), Val::I64(g)) => e == g,
        (WastRetCore::F32(e), Val::F32(g)) => float32(e, *g),
        (WastRetCore::F64(e), Val::F64(g)) => float64(e, *g),
        (WastRetCore::V128(e), Val::V128(g)) => vector(e, g.as_u128()),
        (WastRetCore::RefNull(ty), got) => is_null(got, ty.as_ref()),
        (WastRetCore::RefExtern(None), Val::ExternRef(Some(_))) => true,
        (WastRetCore::RefExtern(Some(e)), Val::ExternRef(Some(g))) => {
            let data = g.data(&*store).context("cannot read the externref")?;
            data.and_then(|d| d.downcast_ref::<u32>()) == Some(e)
        }
        (WastRetCore::RefFunc(_), Val::FuncRef(Some(_))) => true,
        (WastRetCore::Either(cases), got) => {
            for case in cases {
                if matches(got, case, store)? {
                    return Ok(true);
                }
            }
            false
        }
        _ => false,
    })
}

fn is_null(got: &Val, ty: Option<&HeapType<'_>>) -> bool {
    let is = |val: &Val| match val {
        Val::FuncRef(f) => f.is_none(),
        Val::ExternRef(e) => e.is_none(),
        Val::ExnRef(e) => e.is_none(),
        Val::AnyRef(e) => e.is_none(),
        _ => false,
    };
    let hierarchy = |val: &Val| std::mem::discriminant(val);
    match ty.map(null) {
        None => is(got),
        Some(Ok(expected)) => is(got) && hierarchy(got) == hierarchy(&expected),
        Some(Err(_)) => false,
    }
}

const F32_CANONICAL: u32 = 0x7fc0_0000;
const F64_CANONICAL: u64 = 0x7ff8_0000_0000_0000;

/// A canonical NaN has only the top bit of its payload set; an arithmetic one has at least that.
fn float32(expected: &NanPattern<wast::token::F32>, got: u32) -> bool {
    match expected {
        NanPattern::CanonicalNan => got & 0x7fff_ffff == F32_CANONICAL,
        NanPattern::ArithmeticNan => got & F32_CANONICAL == F32_CANONICAL,
        NanPattern::Value(e) => e.bits == got,
    }
}

fn float64(expected: &NanPattern<wast::token::F64>, got: u64) -> bool {
    match expected {
        NanPattern::CanonicalNan => got & 0x7fff_ffff_ffff_ffff == F64_CANONICAL,
        NanPattern::ArithmeticNan => got & F64_CANONICAL == F64_CANONICAL,
        NanPattern::Value(e) => e.bits == got,
    }
}

/// Compares lane by lane.
fn vector(expected: &V128Pattern, got: u128) -> bool {
    let lane = |i: usize, bits: usize| (got >> (i * bits)) as u64 & (u64::MAX >> (64 - bits));
    match expected {
        V128Pattern::I8x16(e) => (0..16).all(|i| u64::from(e[i] as u8) == lane(i, 8)),
        V128Pattern::I16x8(e) => (0..8).all(|i| u64::from(e[i] as u16) == lane(i, 16)),
        V128Pattern::I32x4(e) => (0..4).all(|i| u64::from(e[i] as u32) == lane(i, 32)),
        V128Pattern::I64x2(e) => (0..2).all(|i| e[i] as u64 == lane(i, 64)),
        V128Pattern::F32x4(e) => (0..4).all(|i| float32(&e[i], lane(i, 32) as u32)),
        V128Pattern::F64x2(e) => (0..2).all(|i| float64(&e[i], lane(i, 64))),
    }
}

/// A value for messages, floats with their bits.
fn show(val: &Val) -> String {
    match val {
        Val::I32(x) => format!("i32 {x} ({x:#x})"),
        Val::I64(x) => format!("i64 {x} ({x:#x})"),
        Val::F32(bits) => format!("f32 {} ({bits:#010x})", f32::from_bits(*bits)),
        Val::F64(bits) => format!("f64 {} ({bits:#018x})", f64::from_bits(*bits)),
        Val::V128(x) => format!("v128 {:#034x}", x.as_u128()),
        other => format!("{other:?}"),
    }
}

fn show_expected(expected: &WastRetCore<'_>) -> String {
    match expected {
        WastRetCore::I32(x) => show(&Val::I32(*x)),
        WastRetCore::I64(x) => show(&Val::I64(*x)),
        WastRetCore::F32(NanPattern::Value(x)) => show(&Val::F32(x.bits)),
        WastRetCore::F64(NanPattern::Value(x)) => show(&Val::F64(x.bits)),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wast::token::{F32, F64};

    #[test]
    fn nan_patterns() {
        assert!(float32(&NanPattern::CanonicalNan, 0xffc0_0000));
        assert!(!float32(&NanPattern::CanonicalNan, 0x7fc0_0001));
        assert!(float32(&NanPattern::ArithmeticNan, 0x7fc0_0001));
        assert!(!float32(&NanPattern::ArithmeticNan, 0x7f80_0001), "a signalling NaN is not arithmetic");
        assert!(float64(&NanPattern::CanonicalNan, 0xfff8_0000_0000_0000));
        assert!(!float64(&NanPattern::ArithmeticNan, 0x7ff0_0000_0000_0000), "infinity is no NaN");
        assert!(!float32(&NanPattern::Value(F32 { bits: 0 }), 0x8000_0000), "zeros have signs");
        assert!(float64(&NanPattern::Value(F64 { bits: 7 }), 7));
    }

    #[test]
    fn lanes() {
        let got = u128::from_le_bytes([1, 0, 0, 0, 0, 0, 0xc0, 0x7f, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(vector(&V128Pattern::I32x4([1, 0x7fc0_0000, 3, -1]), got));
        assert!(!vector(&V128Pattern::I32x4([1, 0x7fc0_0000, 3, 1]), got));
        let value = |bits| NanPattern::Value(F32 { bits });
        let floats = [value(1), NanPattern::CanonicalNan, value(3), NanPattern::ArithmeticNan];
        assert!(vector(&V128Pattern::F32x4(floats), got));
        assert!(vector(&V128Pattern::I8x16([1, 0, 0, 0, 0, 0, -64, 127, 3, 0, 0, 0, -1, -1, -1, -1]), got));
    }
}
