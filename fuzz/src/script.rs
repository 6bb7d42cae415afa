//! What is done with a module: the same calls with the same arguments in every engine.

use anyhow::Result;
use wasmparser::{
    AbstractHeapType, CompositeInnerType, ExternalKind, HeapType, Parser, Payload, SubType, TypeRef, ValType,
};

use crate::rng::Rng;

/// An argument or result, floats by their bits.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `i32`
    I32(i32),
    /// `i64`
    I64(i64),
    /// `f32`
    F32(u32),
    /// `f64`
    F64(u64),
    /// `v128`
    V128(u128),
    /// A null `funcref`
    NullFunc,
    /// A null `externref`
    NullExtern,
    /// A null `exnref`
    NullExn,
    /// A reference that is not null: engines number them in their own ways.
    NonNull,
}

/// Calls of exported functions.
#[derive(Clone, Debug)]
pub struct Script {
    /// Name of the export, arguments.
    pub calls: Vec<(String, Vec<Value>)>,
}

impl Script {
    /// Calls every exported function whose parameters have default values, with arguments from the seed.
    ///
    /// # Errors
    /// If the module is malformed.
    pub fn for_module(wasm: &[u8], seed: u64) -> Result<Script> {
        let mut rng = Rng::new(seed ^ 0x5c21_97);
        let mut calls = Vec::new();
        for (name, params) in exported_functions(wasm)? {
            for _ in 0..=usize::from(!params.is_empty()) {
                if let Some(args) = params.iter().map(|t| argument(*t, &mut rng)).collect() {
                    calls.push((name.clone(), args));
                }
            }
        }
        Ok(Script { calls })
    }
}

fn argument(ty: ValType, rng: &mut Rng) -> Option<Value> {
    let bits = rng.interesting();
    Some(match ty {
        ValType::I32 => Value::I32(bits as i32),
        ValType::I64 => Value::I64(bits as i64),
        ValType::F32 => Value::F32(bits as u32),
        ValType::F64 => Value::F64(bits),
        ValType::V128 => Value::V128(u128::from(bits) << 64 | u128::from(rng.interesting())),
        ValType::Ref(r) if !r.is_nullable() => return None,
        ValType::Ref(r) => match r.heap_type() {
            HeapType::Abstract { ty: AbstractHeapType::Extern | AbstractHeapType::NoExtern, .. } => Value::NullExtern,
            HeapType::Abstract { ty: AbstractHeapType::Exn | AbstractHeapType::NoExn, .. } => Value::NullExn,
            _ => Value::NullFunc,
        },
    })
}

/// Exported functions by name, with their parameters.
fn exported_functions(wasm: &[u8]) -> Result<Vec<(String, Vec<ValType>)>> {
    let mut types: Vec<SubType> = Vec::new();
    let mut funcs: Vec<u32> = Vec::new();
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group?.into_types());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import?.ty {
                        funcs.push(ty);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    funcs.push(ty?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func {
                        exports.push((export.name.to_owned(), export.index));
                    }
                }
            }
            _ => {}
        }
    }
    let params = |func: u32| match &types.get(*funcs.get(func as usize)? as usize)?.composite_type.inner {
        CompositeInnerType::Func(f) => Some(f.params().to_vec()),
        _ => None,
    };
    Ok(exports.into_iter().filter_map(|(name, func)| Some((name, params(func)?))).collect())
}
