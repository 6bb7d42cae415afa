//! `--invoke`: arguments by type, and results as text.

use anyhow::{Context, Result, ensure};
use kiln::{AsContextMut, Func, Val, ValType};

use crate::options::UsageError;

/// Calls the function with arguments given as text; the results as text, one a line.
pub(crate) fn call(mut store: impl AsContextMut, function: &Func, name: &str, args: &[String]) -> Result<Vec<String>> {
    let ty = function.ty(&store);
    let expected = ty.params().len();
    if args.len() != expected {
        let types: Vec<String> = ty.params().map(|t| t.to_string()).collect();
        let given = args.len();
        return Err(UsageError(format!(
            "`{name}` takes {expected} argument{} ({}), but {given} {} given",
            if expected == 1 { "" } else { "s" },
            types.join(" "),
            if given == 1 { "is" } else { "are" },
        ))
        .into());
    }
    let mut values = Vec::new();
    for (i, (text, ty)) in args.iter().zip(ty.params()).enumerate() {
        let value = value(text, &ty).map_err(|e| UsageError(format!("argument {} of `{name}`: {e}", i + 1)))?;
        values.push(value);
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    function.call(&mut store, &values, &mut results).with_context(|| format!("failed to invoke `{name}`"))?;
    Ok(results.iter().map(show).collect())
}

/// The value of a text. Integers may be unsigned, signed, or hexadecimal.
fn value(text: &str, ty: &ValType) -> Result<Val> {
    let what = || format!("{text:?} is not a value of type {ty}");
    Ok(match ty {
        ValType::I32 => {
            let n = integer(text).with_context(what)?;
            ensure!((i128::from(i32::MIN)..=i128::from(u32::MAX)).contains(&n), "{text} is out of range of i32");
            Val::I32(n as i32)
        }
        ValType::I64 => {
            let n = integer(text).with_context(what)?;
            ensure!((i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&n), "{text} is out of range of i64");
            Val::I64(n as i64)
        }
        ValType::F32 => Val::F32(text.parse::<f32>().with_context(what)?.to_bits()),
        ValType::F64 => Val::F64(text.parse::<f64>().with_context(what)?.to_bits()),
        ValType::V128 => {
            let digits = text.strip_prefix("0x");
            let n = digits.map_or_else(|| text.parse::<u128>(), |d| u128::from_str_radix(d, 16)).with_context(what)?;
            Val::V128(n.into())
        }
        ValType::Ref(_) => {
            ensure!(text == "null", "a value of type {ty} can only be `null` on the command line");
            Val::default_for_ty(ty).with_context(|| format!("{ty} has no null"))?
        }
    })
}

fn integer(text: &str) -> Result<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let digits = digits.replace('_', "");
    ensure!(digits.starts_with(|c: char| c.is_ascii_digit()), "no digits");
    let n = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16)?,
        None => digits.parse()?,
    };
    Ok(if negative { -n } else { n })
}

fn show(value: &Val) -> String {
    let reference = |null: bool, name: &str| if null { "null".to_owned() } else { format!("<{name}>") };
    match value {
        Val::I32(x) => x.to_string(),
        Val::I64(x) => x.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(x) => format!("{:#034x}", x.as_u128()),
        Val::FuncRef(f) => reference(f.is_none(), "funcref"),
        Val::ExternRef(e) => reference(e.is_none(), "externref"),
        Val::ExnRef(e) => reference(e.is_none(), "exnref"),
        Val::AnyRef(e) => reference(e.is_none(), "anyref"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        assert!(matches!(value("-1", &ValType::I32), Ok(Val::I32(-1))));
        assert!(matches!(value("4294967295", &ValType::I32), Ok(Val::I32(-1))));
        assert!(matches!(value("0xff_ff", &ValType::I64), Ok(Val::I64(0xffff))));
        assert!(value("4294967296", &ValType::I32).is_err());
        assert!(value("1.5", &ValType::I32).is_err());
        assert!(value("--1", &ValType::I32).is_err());
        assert!(value("", &ValType::I64).is_err());
    }

    #[test]
    fn floats_and_vectors() {
        assert!(matches!(value("1.5", &ValType::F32), Ok(Val::F32(0x3fc0_0000))));
        assert!(matches!(value("-inf", &ValType::F64), Ok(Val::F64(0xfff0_0000_0000_0000))));
        let Ok(Val::V128(v)) = value("0x10", &ValType::V128) else { panic!("not a vector") };
        assert_eq!(v.as_u128(), 16);
    }

    #[test]
    fn results() {
        assert_eq!(show(&Val::I32(-3)), "-3");
        assert_eq!(show(&Val::F64(2.5f64.to_bits())), "2.5");
        assert_eq!(show(&Val::FuncRef(None)), "null");
    }
}
