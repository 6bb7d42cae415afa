//! Trampolines for signatures, where no module has them: host functions made without a module, functions that only the
//! host calls, and all of them in lazy mode.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use kiln_env::FuncKey;

use crate::code::{CompileFn, ModuleCode};
use crate::types::registry::{RegisteredType, TypeId, TypeRegistry};

/// An engine's trampolines, by engine-wide type number.
pub(crate) struct Trampolines {
    compile: Option<CompileFn>,
    make_code: Box<dyn Fn(CompileFn) -> Result<Arc<ModuleCode>> + Send + Sync>,
    code: OnceLock<Arc<ModuleCode>>,
    /// Types with trampolines stay registered, so that their numbers are not given to other types.
    types: Mutex<HashMap<TypeId, RegisteredType>>,
}

impl Trampolines {
    /// Trampolines that `compile` makes on demand; without it there are none.
    pub(crate) fn new(
        compile: Option<CompileFn>,
        make_code: impl Fn(CompileFn) -> Result<Arc<ModuleCode>> + Send + Sync + 'static,
    ) -> Trampolines {
        Trampolines { compile, make_code: Box::new(make_code), code: OnceLock::new(), types: Mutex::default() }
    }

    /// The entry trampoline (`FuncKey::ArrayToWasm`) of a type.
    pub(crate) fn array_to_wasm(&self, registry: &TypeRegistry, ty: TypeId) -> Result<NonNull<u8>> {
        self.get(registry, ty, FuncKey::ArrayToWasm(ty.as_index()))
    }

    /// The trampoline to host functions (`FuncKey::WasmToHost`) of a type.
    pub(crate) fn wasm_to_host(&self, registry: &TypeRegistry, ty: TypeId) -> Result<NonNull<u8>> {
        self.get(registry, ty, FuncKey::WasmToHost(ty.as_index()))
    }

    fn get(&self, registry: &TypeRegistry, ty: TypeId, key: FuncKey) -> Result<NonNull<u8>> {
        let code = match self.code.get() {
            Some(code) => code,
            None => {
                let compile = self.compile.clone().context("this build of Kiln has no compiler")?;
                let made = (self.make_code)(compile)?;
                self.code.get_or_init(|| made)
            }
        };
        let mut types = self.types.lock().unwrap_or_else(|e| e.into_inner());
        if !types.contains_key(&ty) {
            types.insert(ty, registry.get(ty).context("the type is not registered any more")?);
        }
        drop(types);
        code.trampoline(key)
    }
}
