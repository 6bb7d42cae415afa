//! Compiling the functions of a module when they are needed.

use std::sync::Arc;

use anyhow::Result;
use kiln_compiler::{Compiler, ParsedModule, ValidatedModule};
use kiln_env::tier::Tier;
use kiln_env::{FuncKey, MachineFunc};

use crate::first_tier::FirstTier;
use crate::vm::module::ModuleInfo;

/// A module whose functions are compiled one by one.
///
/// One that was run before is known to be valid, and functions that it needed much are in the cache, at the second tier.
pub(crate) struct OnDemand {
    compiler: Arc<Compiler>,
    first_tier: Arc<FirstTier>,
    info: Arc<ModuleInfo>,
    validated: ValidatedModule,
    known: bool,
}

impl OnDemand {
    /// A module whose bytes are those of `info`.
    ///
    /// # Errors
    /// It is not valid.
    pub(crate) fn new(
        compiler: &Arc<Compiler>,
        first_tier: &Arc<FirstTier>,
        parsed: ParsedModule,
        info: &Arc<ModuleInfo>,
    ) -> Result<OnDemand> {
        let (validated, known) = compiler.validate_or_recall(parsed, info.source())?;
        let (compiler, first_tier) = (compiler.clone(), first_tier.clone());
        Ok(OnDemand { compiler, first_tier, info: info.clone(), validated, known })
    }

    /// The module.
    pub(crate) fn validated(&self) -> &ValidatedModule {
        &self.validated
    }

    /// Compiles a function at a tier. At the first, one that is in the cache is taken from there, at the second.
    pub(crate) fn compile(&self, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        let source = self.info.source();
        if tier == Tier::Optimized {
            return Ok(self.compiler.compile_at(&self.validated, source, key, tier)?);
        }
        // What was never run has not left anything in the cache either, or not much.
        if self.known
            && let Some(func) = self.compiler.find(&self.validated, source, key)?
        {
            return Ok(func);
        }
        self.first_tier.compile(&self.compiler, &self.validated, source, key)
    }
}
