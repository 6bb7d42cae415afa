//! The name of every function that can be compiled.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::builtins::Builtin;
use crate::index::{DefinedFuncIndex, TypeIndex};

/// Names one compiled function. A trampoline is a function like any other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FuncKey {
    /// A function with a body in the module.
    Wasm(DefinedFuncIndex),
    /// Host to wasm, array convention: calls any wasm function of this type. See [`crate::abi`].
    ArrayToWasm(TypeIndex),
    /// Wasm to host, array convention: what a wasm caller calls for a host function of this type.
    WasmToHost(TypeIndex),
    /// Wasm to one of the runtime's builtin functions.
    WasmToBuiltin(Builtin),
    /// The same function as `Wasm`, entered at a loop. See [`crate::tier`].
    Osr {
        /// The function.
        func: DefinedFuncIndex,
        /// Offset of the `loop` operator from the start of the function's body.
        offset: u32,
    },
}

/// Where the namespaces of [`FuncKey::Osr`] begin; the rest of the number is the offset.
const OSR: u32 = 1 << 31;
const _: () = assert!(crate::limits::MAX_BODY_SIZE < OSR);

/// A packed key that names no function: a bug or a damaged file.
#[derive(Debug, thiserror::Error)]
#[error("no function has the key {namespace:#x}:{index:#x}")]
pub struct BadFuncKey {
    namespace: u32,
    index: u32,
}

impl FuncKey {
    /// Packs the key into the two numbers of a Cranelift `UserExternalName`.
    pub fn pack(self) -> (u32, u32) {
        match self {
            FuncKey::Wasm(f) => (0, f.0),
            FuncKey::ArrayToWasm(t) => (1, t.0),
            FuncKey::WasmToHost(t) => (2, t.0),
            FuncKey::WasmToBuiltin(b) => (3, b as u32),
            FuncKey::Osr { func, offset } => (OSR | offset, func.0),
        }
    }

    /// The function of the module whose body this is code of.
    pub fn body(self) -> Option<DefinedFuncIndex> {
        match self {
            FuncKey::Wasm(func) | FuncKey::Osr { func, .. } => Some(func),
            _ => None,
        }
    }

    /// Unpacks what [`FuncKey::pack`] packed. Any pair of numbers is either a key or an error.
    pub fn unpack(namespace: u32, index: u32) -> Result<FuncKey, BadFuncKey> {
        Ok(match namespace {
            0 => FuncKey::Wasm(DefinedFuncIndex(index)),
            1 => FuncKey::ArrayToWasm(TypeIndex(index)),
            2 => FuncKey::WasmToHost(TypeIndex(index)),
            3 => FuncKey::WasmToBuiltin(Builtin::from_u32(index).ok_or(BadFuncKey { namespace, index })?),
            _ if namespace & OSR != 0 => FuncKey::Osr { func: DefinedFuncIndex(index), offset: namespace & !OSR },
            _ => return Err(BadFuncKey { namespace, index }),
        })
    }
}

impl fmt::Debug for FuncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FuncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FuncKey::Wasm(i) => write!(f, "wasm[{}]", i.0),
            FuncKey::ArrayToWasm(t) => write!(f, "array_to_wasm[{}]", t.0),
            FuncKey::WasmToHost(t) => write!(f, "wasm_to_host[{}]", t.0),
            FuncKey::WasmToBuiltin(b) => write!(f, "builtin[{}]", b.name()),
            FuncKey::Osr { func, offset } => write!(f, "wasm[{}]@{offset:#x}", func.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_round_trips_and_rejects_the_rest() {
        let keys = [
            FuncKey::Wasm(DefinedFuncIndex(7)),
            FuncKey::ArrayToWasm(TypeIndex(u32::MAX)),
            FuncKey::WasmToHost(TypeIndex(0)),
            FuncKey::WasmToBuiltin(Builtin::MemoryGrow),
            FuncKey::Osr { func: DefinedFuncIndex(u32::MAX), offset: 12 },
        ];
        for key in keys {
            let (namespace, index) = key.pack();
            assert_eq!(FuncKey::unpack(namespace, index).unwrap(), key);
        }
        assert!(FuncKey::unpack(4, 0).is_err());
        assert!(FuncKey::unpack(3, 10_000).is_err());
    }
}
