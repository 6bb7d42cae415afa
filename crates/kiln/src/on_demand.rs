//! Compiling the functions of a module when they are needed.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use kiln_compiler::{Compiler, ErrorKind, ParsedModule, Profile, ValidatedModule};
use kiln_env::artifact::{Part, source_hash};
use kiln_env::profile::FuncFacts;
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, FuncKey, MachineFunc};

use crate::code::OverLimit;
use crate::engine::{DeferredCompiler, Engine};
use crate::first_tier::FirstTier;
use crate::vm::module::ModuleInfo;

/// A module whose functions are compiled one by one.
///
/// One that was run before is known to be valid, and functions that it needed much are in the cache, at the second tier.
pub(crate) struct OnDemand {
    info: Arc<ModuleInfo>,
    functions: OnceLock<Result<Functions, String>>,
    /// Who makes them.
    later: Option<Arc<DeferredCompiler>>,
}

/// What it takes to compile functions.
struct Functions {
    compiler: Arc<Compiler>,
    first_tier: Arc<FirstTier>,
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
        let hash = || {
            let hash = source_hash(info.source());
            info.seal(hash);
            hash
        };
        let (validated, known) =
            compiler.validate_or_recall(parsed, info.source(), hash, &|range| info.validated(range))?;
        info.validated_rest();
        let (compiler, first_tier) = (compiler.clone(), first_tier.clone());
        let functions = Functions { compiler, first_tier, validated, known };
        Ok(OnDemand { info: info.clone(), functions: OnceLock::from(Ok(functions)), later: None })
    }

    /// A module that is read only when a function is to be compiled. It has to be the one that `info` was made of.
    pub(crate) fn later(engine: &Engine, info: &Arc<ModuleInfo>) -> OnDemand {
        let later = Some(engine.deferred_compiler().clone());
        OnDemand { info: info.clone(), functions: OnceLock::new(), later }
    }

    /// The module, if it was read.
    pub(crate) fn validated(&self) -> Option<&ValidatedModule> {
        Some(&self.functions.get()?.as_ref().ok()?.validated)
    }

    fn functions(&self) -> Result<&Functions> {
        let functions = self.functions.get_or_init(|| self.read().map_err(|error| format!("{error:#}")));
        functions.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn read(&self) -> Result<Functions> {
        let (Some(later), Some(outline)) = (&self.later, self.info.declarations()) else {
            bail!("nothing is known of the module");
        };
        let made = later.get()?;
        let expected = *outline.part(Part::Source).first_chunk().context("the outline does not name its module")?;
        self.info.seal(expected);
        let validated = self.info.with_source(|source| {
            let hash = source_hash(source);
            if hash != expected {
                bail!("the module's file is not the one of which the outline was made");
            }
            let parsed = made.compiler.parse(source)?;
            Ok(made.compiler.validate_or_recall(parsed, source, || hash, &|range| self.info.release(range))?.0)
        })?;
        // What is in the cache and was needed is in the snapshot as well.
        let (compiler, first_tier) = (made.compiler.clone(), made.first_tier().clone());
        Ok(Functions { compiler, first_tier, validated, known: false })
    }

    /// Compiles a function at the second tier with what is known about how the module ran.
    pub(crate) fn compile_hot(
        &self,
        key: FuncKey,
        find: &(dyn Fn(DefinedFuncIndex) -> FuncFacts + Sync),
    ) -> Result<MachineFunc> {
        let Functions { compiler, validated, .. } = self.functions()?;
        let code = self.info.with_source(|source| {
            compiler.compile_hot(validated, source, key, &Profile::new(find)).map_err(|error| match error.kind() {
                ErrorKind::Limit => OverLimit(error.to_string()).into(),
                _ => error.into(),
            })
        });
        code.and_then(|code| self.checked(code))
    }

    /// Compiles a function at a tier. At the first, one that is in the cache is taken from there, at the second.
    pub(crate) fn compile(&self, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        let code = self.info.with_source(|source| self.compile_from(source, key, tier));
        code.and_then(|code| self.checked(code))
    }

    /// Code that does not follow from an artifact which has lost bytes.
    fn checked(&self, code: MachineFunc) -> Result<MachineFunc> {
        self.info.check_files()?;
        Ok(code)
    }

    fn compile_from(&self, source: &[u8], key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        let Functions { compiler, first_tier, validated, known } = self.functions()?;
        if tier == Tier::Optimized {
            return Ok(match compiler.compile_at(validated, source, key, tier) {
                Err(error) if error.kind() == ErrorKind::Limit && key.body().is_some() => {
                    tracing::info!(%error, "a function is compiled without optimisation");
                    compiler.compile_unoptimized(validated, source, key)?
                }
                result => result?,
            });
        }
        // What was never run has not left anything in the cache either, or not much.
        if *known && let Some(func) = compiler.find(validated, source, key)? {
            return Ok(func);
        }
        first_tier.compile(compiler, validated, source, key)
    }
}
