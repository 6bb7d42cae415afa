//! Trampolines for signatures, where no module has them: host functions made without a module, functions that only the
//! host calls, and all of them in lazy mode.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use anyhow::{Context, Result};
use kiln_env::types::FuncType;
use kiln_env::{DefinedFuncIndex, FuncKey, MachineFunc};

use crate::code::{CompileFn, ModuleCode};
use crate::types::registry::{RegisteredType, TypeId, TypeRegistry};

/// How many signatures of host functions get an entry stub, behind which the trampoline is compiled when a guest first
/// calls through it. Further ones are compiled when the host function is made.
const STUBS: u32 = 1024;

/// Compiles a trampoline for a signature: to a host function, or (`false`) into wasm.
pub(crate) type MakeTrampoline = Arc<dyn Fn(&FuncType, bool) -> Result<MachineFunc> + Send + Sync>;

/// Sets up a place for code that `STUBS` lazily compiled functions and any trampolines can be in.
pub(crate) type MakeCode = Box<dyn Fn(u32, CompileFn) -> Result<Arc<ModuleCode>> + Send + Sync>;

/// An engine's trampolines, by engine-wide type number.
pub(crate) struct Trampolines {
    make: Option<MakeTrampoline>,
    make_code: MakeCode,
    code: OnceLock<Arc<ModuleCode>>,
    types: Arc<Mutex<Types>>,
}

/// The types that trampolines were made for. They stay registered, so that their numbers are not given to others.
#[derive(Default)]
struct Types {
    by_number: HashMap<TypeId, RegisteredType>,
    /// The types behind the stubs, in order.
    stubs: Vec<TypeId>,
    stub_of: HashMap<TypeId, u32>,
}

impl Trampolines {
    /// Trampolines that `make` compiles on demand; without it there are none.
    pub(crate) fn new(make: Option<MakeTrampoline>, make_code: MakeCode) -> Trampolines {
        Trampolines { make, make_code, code: OnceLock::new(), types: Arc::default() }
    }

    /// The entry trampoline (`FuncKey::ArrayToWasm`) of a type.
    pub(crate) fn array_to_wasm(&self, registry: &TypeRegistry, ty: TypeId) -> Result<NonNull<u8>> {
        let code = self.code()?;
        keep(&mut lock(&self.types), registry, ty)?;
        code.trampoline(FuncKey::ArrayToWasm(ty.as_index()))
    }

    /// The trampoline to host functions (`FuncKey::WasmToHost`) of a type, or a stub that will lead there.
    pub(crate) fn wasm_to_host(&self, registry: &TypeRegistry, ty: TypeId) -> Result<NonNull<u8>> {
        let code = self.code()?;
        let mut types = lock(&self.types);
        keep(&mut types, registry, ty)?;
        if let Some(stub) = types.stub_of.get(&ty) {
            return Ok(code.entry(DefinedFuncIndex(*stub)));
        }
        let next = types.stubs.len() as u32;
        if next < STUBS {
            types.stubs.push(ty);
            types.stub_of.insert(ty, next);
            return Ok(code.entry(DefinedFuncIndex(next)));
        }
        drop(types);
        code.trampoline(FuncKey::WasmToHost(ty.as_index()))
    }

    /// Whether the trampoline of a type was compiled.
    #[cfg(feature = "compiler")]
    pub(crate) fn was_made(&self, ty: TypeId, to_host: bool) -> bool {
        let Some(code) = self.code.get() else { return false };
        let stub = || lock(&self.types).stub_of.get(&ty).copied();
        match (to_host, to_host.then(stub).flatten()) {
            (true, Some(stub)) => code.has(FuncKey::Wasm(DefinedFuncIndex(stub))),
            (true, None) => code.has(FuncKey::WasmToHost(ty.as_index())),
            (false, _) => code.has(FuncKey::ArrayToWasm(ty.as_index())),
        }
    }

    fn code(&self) -> Result<&Arc<ModuleCode>> {
        if let Some(code) = self.code.get() {
            return Ok(code);
        }
        let make = self.make.clone().context("this build of Kiln has no compiler")?;
        let types = self.types.clone();
        let compile: CompileFn = Arc::new(move |key| {
            let (ty, to_host) = match key {
                FuncKey::ArrayToWasm(ty) => (TypeId::from_u32(ty.0), false),
                FuncKey::WasmToHost(ty) => (TypeId::from_u32(ty.0), true),
                FuncKey::Wasm(stub) => (*lock(&types).stubs.get(stub.0 as usize).context("no such stub")?, true),
                FuncKey::WasmToBuiltin(_) | FuncKey::Osr { .. } => anyhow::bail!("{key} belongs to a module"),
            };
            let ty = lock(&types).by_number.get(&ty).cloned().context("the type is not registered")?;
            make(ty.signature(), to_host)
        });
        let made = (self.make_code)(STUBS, compile)?;
        Ok(self.code.get_or_init(|| made))
    }
}

fn keep(types: &mut Types, registry: &TypeRegistry, ty: TypeId) -> Result<()> {
    if let Entry::Vacant(entry) = types.by_number.entry(ty) {
        entry.insert(registry.get(ty).context("the type is not registered any more")?);
    }
    Ok(())
}

fn lock(types: &Mutex<Types>) -> MutexGuard<'_, Types> {
    types.lock().unwrap_or_else(|e| e.into_inner())
}
