//! What compiles functions of the first tier: stencils, or Cranelift without optimisation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Error, Result};
use kiln_baseline::{Baseline, Body, Facts};
use kiln_compiler::codegen::guarded;
use kiln_compiler::{Compiler, ValidatedModule};
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, FuncKey, MachineFunc, Tunables};

use crate::compile::StencilStatistics;
use crate::config::{BaselineCompiler, Config};

/// The compiler of the first tier.
pub(crate) struct FirstTier {
    stencils: Option<Baseline>,
    tunables: Tunables,
    functions: AtomicU64,
    wasm_bytes: AtomicU64,
    code_bytes: AtomicU64,
    nanos: AtomicU64,
    fallbacks: AtomicU64,
}

impl FirstTier {
    /// The one that the configuration asks for, for the target of `compiler`.
    pub(crate) fn new(config: &Config, compiler: &Compiler) -> FirstTier {
        let flags = &compiler.fingerprint().flags;
        let wanted = config.baseline == BaselineCompiler::Stencils;
        FirstTier {
            stencils: wanted.then(|| Baseline::new(flags, &config.tunables)).flatten(),
            tunables: config.tunables.clone(),
            functions: AtomicU64::new(0),
            wasm_bytes: AtomicU64::new(0),
            code_bytes: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
        }
    }

    /// Compiles a function.
    pub(crate) fn compile(
        &self,
        compiler: &Compiler,
        module: &ValidatedModule,
        source: &[u8],
        key: FuncKey,
    ) -> Result<MachineFunc> {
        if let (Some(stencils), FuncKey::Wasm(func)) = (&self.stencils, key)
            && let Some(code) = self.assemble(stencils, module, source, func)
        {
            return Ok(code);
        }
        Ok(compiler.compile_at(module, source, key, Tier::Baseline)?)
    }

    fn assemble(
        &self,
        stencils: &Baseline,
        module: &ValidatedModule,
        source: &[u8],
        func: DefinedFuncIndex,
    ) -> Option<MachineFunc> {
        let start = Instant::now();
        let range = module.module().bodies.get(func)?;
        let bytes = source.get(range.start as usize..range.end as usize)?;
        let info = module.infos().get(func);
        let weights: Vec<(u32, u64)> = info.local_weights().map(|w| (w.local, w.weight)).collect();
        let body = Body { func, bytes, weights: &weights, catches: info.catches() };
        let facts =
            Facts { module: module.module(), layout: module.layout(), tunables: &self.tunables, counters: true };
        // What was validated is not what is there now if somebody has changed the module's file.
        let result = guarded(|| Ok(stencils.compile(&facts, &body)));
        let result = result.map_err(Error::from).and_then(|made| Ok(made?));
        self.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        match result {
            Ok(code) => {
                self.functions.fetch_add(1, Ordering::Relaxed);
                self.wasm_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                self.code_bytes.fetch_add(code.code.len() as u64, Ordering::Relaxed);
                Some(code)
            }
            Err(error) => {
                self.fallbacks.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(func = func.0, %error, "no stencils for a function");
                None
            }
        }
    }

    /// What has been done so far, in all modules of the engine.
    pub(crate) fn statistics(&self) -> Option<StencilStatistics> {
        self.stencils.as_ref()?;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Some(StencilStatistics {
            functions: get(&self.functions),
            wasm_bytes: get(&self.wasm_bytes),
            code_bytes: get(&self.code_bytes),
            time: std::time::Duration::from_nanos(get(&self.nanos)),
            fallbacks: get(&self.fallbacks),
        })
    }
}
