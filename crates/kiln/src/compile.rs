//! The compiler behind an engine: bytes to modules, at once or function by function.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kiln_compiler::{
    CacheStatistics, Comparison, Compiler, CompilerConfig, Dump, Features, PassConfig, Progress, Stats, TrampolineKind,
};
use kiln_env::artifact::{self, CodeVariant, Contents, Snapshot, SnapshotMeta, Warmth, WasmSource, bytes_of};
use kiln_env::profile::FuncFacts;
use kiln_env::tier::Tier;
use kiln_env::types::FuncType;
use kiln_env::{ContextLayout, Fingerprint, Image, MachineFunc, Module};

use crate::artifact::signed;
use crate::artifact_options::ArtifactOptions;
use crate::code::{CodeSetup, CompileFn, ModuleCode, SnapshotFile, TierCounts, TierSetup};
use crate::config::{Config, Tiering};
use crate::engine::{Engine, code_setup};
use crate::first_tier::FirstTier;
use crate::key::SigningKey;
use crate::module_file::ModuleFile;
use crate::on_demand::OnDemand;
use crate::symbols::Names;
use crate::vm::module::{ModuleData, ModuleInfo, code_info, keeps_segments};

/// What compiling a module cost, as far as it has been compiled.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CompileStatistics {
    /// Reading the declarations.
    pub parse: Duration,
    /// Validating the functions, summed over threads.
    pub validate: Duration,
    /// Wasm to Cranelift's IR, summed over threads.
    pub translate: Duration,
    /// Kiln's own optimising passes, by name, summed over threads.
    pub passes: BTreeMap<&'static str, Duration>,
    /// IR to machine code, summed over threads.
    pub codegen: Duration,
    /// Placing the functions.
    pub link: Duration,
    /// Time that passed while all of this was done before the module was ready.
    pub wall: Duration,
    /// Functions compiled.
    pub functions: u64,
    /// Bytes of the wasm functions compiled.
    pub wasm_bytes: u64,
    /// Bytes of machine code, made or found in the cache.
    pub code_bytes: u64,
    /// Functions whose machine code stayed as Cranelift made it, because something in it was not understood.
    pub unrelaxed: u64,
    /// Functions that were compiled without optimisation, because they exceed a limit of what is optimised; not with
    /// [`Tiering::Eager`], where that is an error.
    pub unoptimized: u64,
    /// Finding functions in the cache and keeping them there, summed over threads.
    pub cache: Duration,
    /// Functions that were found in the cache by what they are made from: nothing was translated.
    pub cache_body_hits: u64,
    /// Functions and trampolines that were found in the cache after they had been translated.
    pub cache_code_hits: u64,
    /// Functions and trampolines that were looked for in the cache and had to be compiled.
    pub cache_misses: u64,
    /// Entries that were put into the cache.
    pub cache_inserts: u64,
    /// Bytes of these entries.
    pub cache_inserted_bytes: u64,
    /// How functions changed their tier, where they do.
    pub tiers: Option<TierStatistics>,
}

/// What the stencil compiler did, in all modules of an engine.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StencilStatistics {
    /// Functions compiled.
    pub functions: u64,
    /// Bytes of their bodies.
    pub wasm_bytes: u64,
    /// Bytes of their code.
    pub code_bytes: u64,
    /// Time that took.
    pub time: Duration,
    /// Functions that were left to Cranelift because there is no stencil for something.
    pub fallbacks: u64,
}

/// Functions of a module by tier, and what that took.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TierStatistics {
    /// Functions that an earlier run compiled.
    pub resumed_functions: u64,
    /// Bytes of their code.
    pub resumed_bytes: u64,
    /// Functions compiled at the first tier.
    pub baseline_functions: u64,
    /// Bytes of their code.
    pub baseline_bytes: u64,
    /// Functions compiled at the second tier.
    pub optimized_functions: u64,
    /// Bytes of their code.
    pub optimized_bytes: u64,
    /// Functions compiled at the second tier to be entered at a loop, each counted for each loop.
    pub osr_functions: u64,
    /// Bytes of their code.
    pub osr_bytes: u64,
    /// How often a function changed its tier in a loop.
    pub osr_entries: u64,
    /// Functions that could not be compiled at the second tier, and stay in the first.
    pub failed: u64,
    /// Functions that exceed a limit of what is optimised, and stay in the first tier.
    pub over_limit: u64,
    /// Time for which the program waited for code.
    pub waited: Duration,
    /// Time that was spent on code in the background.
    pub background: Duration,
    /// What the stencil compiler did, if the first tier is its work.
    pub stencils: Option<StencilStatistics>,
}

impl TierStatistics {
    pub(crate) fn new(counts: TierCounts, stencils: Option<StencilStatistics>) -> TierStatistics {
        TierStatistics {
            resumed_functions: counts.resumed.0,
            resumed_bytes: counts.resumed.1,
            baseline_functions: counts.baseline.0,
            baseline_bytes: counts.baseline.1,
            optimized_functions: counts.optimized.0,
            optimized_bytes: counts.optimized.1,
            osr_functions: counts.osr.0,
            osr_bytes: counts.osr.1,
            osr_entries: counts.osr_entries,
            failed: counts.failed,
            over_limit: counts.over_limit,
            waited: counts.waited,
            background: counts.background,
            stencils,
        }
    }
}

impl CompileStatistics {
    /// Adds what was compiled later.
    pub(crate) fn add_lazy(&mut self, lazy: &CompileStatistics) {
        self.translate += lazy.translate;
        self.add_passes(lazy.passes.iter().map(|(name, time)| (*name, *time)));
        self.codegen += lazy.codegen;
        self.functions += lazy.functions;
        self.wasm_bytes += lazy.wasm_bytes;
        self.code_bytes += lazy.code_bytes;
        self.unrelaxed += lazy.unrelaxed;
        self.unoptimized += lazy.unoptimized;
        self.cache += lazy.cache;
        self.cache_body_hits += lazy.cache_body_hits;
        self.cache_code_hits += lazy.cache_code_hits;
        self.cache_misses += lazy.cache_misses;
        self.cache_inserts += lazy.cache_inserts;
        self.cache_inserted_bytes += lazy.cache_inserted_bytes;
    }

    fn add_passes(&mut self, times: impl Iterator<Item = (&'static str, Duration)>) {
        for (name, time) in times {
            *self.passes.entry(name).or_default() += time;
        }
    }

    fn add(&mut self, stats: &Stats) {
        self.parse += stats.parse;
        self.validate += stats.validate;
        self.translate += stats.translate;
        self.add_passes(stats.midend.iter().copied());
        self.codegen += stats.codegen;
        self.link += stats.link;
        self.functions += stats.functions;
        self.wasm_bytes += stats.wasm_bytes;
        self.code_bytes += stats.code_bytes;
        self.unrelaxed += stats.unrelaxed;
        self.unoptimized += stats.unoptimized;
        self.cache += stats.cache_time;
        let CacheStatistics { body_hits, stencil_hits, misses, inserts, inserted_bytes } = stats.cache;
        self.cache_body_hits += body_hits;
        self.cache_code_hits += stencil_hits;
        self.cache_misses += misses;
        self.cache_inserts += inserts;
        self.cache_inserted_bytes += inserted_bytes;
    }
}

/// A compiler with an engine's configuration.
pub(crate) struct ModuleCompiler {
    pub(crate) compiler: Arc<Compiler>,
    pub(crate) settings: CompilerConfig,
    features: Features,
    first_tier: Arc<FirstTier>,
    key: Option<SigningKey>,
    /// What lazily compiled functions of all modules cost.
    lazy: Mutex<CompileStatistics>,
}

impl ModuleCompiler {
    pub(crate) fn new(config: &Config) -> Result<ModuleCompiler> {
        let mut features = Features::default();
        for (name, on) in &config.features {
            features.set(name, *on)?;
        }
        let mut disabled = config.passes_off.clone();
        if !config.share_code.unwrap_or(config.cache.is_some()) {
            disabled.push(kiln_compiler::SHARING_PASS.to_owned());
        }
        let mut settings = CompilerConfig {
            target: config.target.clone(),
            opt_level: config.opt_level,
            regalloc: config.regalloc,
            flags: config.flags.clone(),
            tunables: config.tunables.clone(),
            features,
            threads: config.threads,
            work_order: config.work_order,
            interrupt: config.interrupt.clone(),
            passes: PassConfig {
                disabled,
                inlining: config.inlining,
                dumps: config.dumps.iter().cloned().map(|(func, sink)| Dump { func, sink }).collect(),
            },
            cache: config.cache.clone(),
            ..CompilerConfig::default()
        };
        if let Some(verify) = config.verify {
            settings.verify = verify;
        }
        let compiler = Arc::new(Compiler::new(&settings)?);
        let first_tier = Arc::new(FirstTier::new(config, &compiler));
        let key = config.signing_key.clone();
        Ok(ModuleCompiler { compiler, settings, features, first_tier, key, lazy: Mutex::default() })
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        self.compiler.fingerprint()
    }

    /// What the stencil compiler did, if there is one.
    pub(crate) fn stencil_statistics(&self) -> Option<StencilStatistics> {
        self.first_tier.statistics()
    }

    /// What functions that were compiled when they were first called have cost, in all modules of the engine.
    pub(crate) fn lazy_statistics(&self) -> CompileStatistics {
        let mut lazy = self.lazy.lock().unwrap_or_else(|e| e.into_inner());
        lazy.add(&self.compiler.take_stats());
        lazy.clone()
    }

    /// Makes a trampoline to host functions of a type, or into wasm functions.
    pub(crate) fn trampoline(&self, ty: &FuncType, to_host: bool) -> Result<MachineFunc> {
        let kind = if to_host { TrampolineKind::WasmToHost } else { TrampolineKind::ArrayToWasm };
        Ok(self.compiler.compile_trampoline_for(ty, kind)?)
    }

    /// Compares the functions of two modules, as the cache knows them.
    pub(crate) fn compare(&self, old: &[u8], new: &[u8]) -> Result<Comparison> {
        let validate = |bytes| self.compiler.validate(self.compiler.parse(bytes)?, bytes);
        Ok(self.compiler.compare((&validate(old)?, old), (&validate(new)?, new))?)
    }

    /// Checks a module.
    pub(crate) fn validate(&self, bytes: &[u8]) -> Result<()> {
        let parsed = self.compiler.parse(bytes)?;
        self.compiler.validate(parsed, bytes)?;
        Ok(())
    }

    /// Compiles a module to an artifact. `progress` is told how many bytes of functions are done, of how many.
    pub(crate) fn artifact(
        &self,
        wasm: &[u8],
        options: &ArtifactOptions,
        progress: Option<&(dyn Fn(u64, u64) + Send + Sync)>,
    ) -> Result<Vec<u8>> {
        let mut levels = Vec::new();
        if options.cpus.is_empty() {
            levels.push((String::new(), self.compiler.clone()));
        }
        for (i, level) in options.cpus.iter().enumerate() {
            let suffix = if i == 0 { String::new() } else { format!(".{level}") };
            levels.push((suffix, Arc::new(Compiler::new(&self.settings_for(level)?)?)));
        }
        let mut module = None;
        let mut images = Vec::new();
        for (i, (_, compiler)) in levels.iter().enumerate() {
            let validated = compiler.validate(compiler.parse(wasm)?, wasm)?;
            let report = |p: Progress| {
                if let Some(f) = progress {
                    f(i as u64 * p.total + p.done, levels.len() as u64 * p.total);
                }
            };
            let num_funcs = validated.module().bodies.len() as u32;
            let facts = |func| options.profile.as_ref().map_or_else(FuncFacts::default, |p| p.facts(func, num_funcs));
            let profile = kiln_compiler::Profile::new(&facts);
            let profile = options.profile.as_ref().map(|_| &profile);
            images.push(compiler.compile_profiled(&validated, wasm, &report, profile)?.0);
            module = Some(validated.module().clone());
        }
        let module = module.context("an artifact has code for one CPU level at least")?;
        let codes: Vec<(&str, &Compiler, &Image)> =
            levels.iter().zip(&images).map(|((suffix, compiler), image)| (&**suffix, &**compiler, image)).collect();
        let artifact = write_artifact(&module, wasm, &codes, source_for(options))?;
        Ok(signed(self.key.as_ref(), artifact))
    }

    /// Makes an artifact of a module that was compiled as a whole.
    pub(crate) fn artifact_of_image(
        &self,
        info: &ModuleInfo,
        image: &Image,
        options: &ArtifactOptions,
    ) -> Result<Vec<u8>> {
        let code = ("", &*self.compiler, image);
        let artifact = write_artifact(info.env(), info.source(), &[code], source_for(options))?;
        Ok(signed(self.key.as_ref(), artifact))
    }

    /// An artifact without code of a module that was read from its bytes.
    pub(crate) fn outline(&self, info: &ModuleInfo) -> Result<Vec<u8>> {
        let code = ("", &*self.compiler, &Image::default());
        let outline = |source: &[u8]| write_artifact(info.env(), source, &[code], WasmSource::Elsewhere);
        Ok(signed(self.key.as_ref(), info.with_source(outline)?))
    }

    /// A file of what was compiled of a module; `before` is the one with which it began.
    pub(crate) fn snapshot(
        &self,
        module: &Module,
        meta: &SnapshotMeta,
        before: Option<(&[u8], &artifact::Header)>,
        image: &Image,
    ) -> Result<Vec<u8>> {
        let fingerprint = self.compiler.fingerprint();
        let snapshot = artifact::write_snapshot(&Snapshot { module, fingerprint, meta, before, image })?;
        Ok(signed(self.key.as_ref(), snapshot))
    }

    pub(crate) fn first_tier(&self) -> &Arc<FirstTier> {
        &self.first_tier
    }

    /// The settings for a CPU level: nothing of the processor at hand, but what the user asked for.
    fn settings_for(&self, level: &str) -> Result<CompilerConfig> {
        let mut settings = self.settings.clone();
        let target = self.compiler.target();
        settings.target = Some(target.to_string());
        let is_x86 = target.architecture == target_lexicon::Architecture::X86_64;
        match level {
            "baseline" => {}
            "v2" | "v3" | "v4" if is_x86 => settings.flags.insert(0, (format!("x86-64-{level}"), "true".to_owned())),
            _ => {
                let levels = if is_x86 { "baseline, v2, v3 and v4" } else { "baseline" };
                anyhow::bail!("no CPU level is called `{level}` for target {target}; there is {levels}")
            }
        }
        Ok(settings)
    }

    /// Makes a module from its bytes.
    pub(crate) fn module(&self, engine: &Engine, bytes: ModuleFile) -> Result<ModuleData> {
        let again = bytes.copied()?;
        let made = self.module_of(engine, bytes);
        match again {
            // Somebody has touched the file, or has changed it so that it seemed to be none.
            Some(copy) if !made.as_ref().is_ok_and(|data| data.info.is_untouched()) => self.module_of(engine, copy),
            _ => made,
        }
    }

    fn module_of(&self, engine: &Engine, bytes: ModuleFile) -> Result<ModuleData> {
        let start = Instant::now();
        let mut statistics = CompileStatistics::default();
        let parsed = self.compiler.parse(bytes.bytes()?)?;
        let env = parsed.module().clone();
        if let Some(copy) = bytes.copied()?.filter(|_| keeps_segments(&env)) {
            return self.module_of(engine, copy);
        }
        let types = engine.types().register_module(&env)?;
        let layout = Arc::new(ContextLayout::new(&env)?);
        let info = Arc::new(ModuleInfo::new(env, bytes));
        let names = info.clone();
        let setup = CodeSetup {
            names: Arc::new(move |key| crate::symbols::code_name(&names, key)),
            ..code_setup(engine.config(), layout.clone(), code_info(&info))
        };
        let code = match engine.config().tiering {
            Tiering::Eager => {
                let progress = engine.config().progress.as_deref();
                let report = |p: Progress| {
                    if let Some(f) = progress {
                        f(p.done, p.total);
                    }
                };
                let validated = self.compiler.validate(parsed, info.source())?;
                let (image, stats) = self.compiler.compile_module(&validated, info.source(), &report)?;
                statistics.add(&stats);
                ModuleCode::sealed(image, setup)?
            }
            Tiering::Lazy | Tiering::Dynamic => {
                let module = Arc::new(OnDemand::new(&self.compiler, &self.first_tier, parsed, &info)?);
                (statistics.parse, statistics.validate) = module.validated().map(|m| m.times()).unwrap_or_default();
                on_demand_code(engine, &info, &module, (None, Warmth::new()), setup)?
            }
        };
        let mut data = ModuleData::new(engine, info, layout, types, code)?;
        statistics.wall = start.elapsed();
        data.statistics = statistics;
        Ok(data)
    }
}

/// Code of a module whose functions are compiled when they are called. It goes on from earlier runs: the code that they
/// compiled, and what they counted.
pub(crate) fn on_demand_code(
    engine: &Engine,
    info: &Arc<ModuleInfo>,
    module: &Arc<OnDemand>,
    (snapshot, before): (Option<SnapshotFile>, Warmth),
    setup: CodeSetup,
) -> Result<Arc<ModuleCode>> {
    let total = info.code_len();
    let count = u32::try_from(info.env().funcs.len() as u64 - u64::from(info.env().num_imported_funcs))?;
    let at_tier = |tier| -> CompileFn {
        let module = module.clone();
        Arc::new(move |key| module.compile(key, tier))
    };
    let (sizes, hot) = (info.clone(), module.clone());
    let tiers = (engine.config().tiering == Tiering::Dynamic).then(|| TierSetup {
        baseline: at_tier(Tier::Baseline),
        hot: Arc::new(move |key, find| hot.compile_hot(key, find)),
        strategy: engine.config().tier_up,
        queue: engine.tiers().clone(),
        sizes: Box::new(move |func| sizes.body_len(func)),
        before,
    });
    Ok(ModuleCode::tiered(count, total, at_tier(Tier::Optimized), tiers, snapshot, setup)?)
}

fn source_for(options: &ArtifactOptions) -> WasmSource {
    if options.embed_wasm { WasmSource::Embedded } else { WasmSource::Reduced }
}

fn write_artifact(
    module: &Module,
    wasm: &[u8],
    codes: &[(&str, &Compiler, &Image)],
    source: WasmSource,
) -> Result<Vec<u8>> {
    let names = Names::parse(module.custom("name").map(|r| bytes_of(wasm, r)).unwrap_or_default());
    let name = |key| crate::symbols::linker_name(module, &names, key);
    let variants: Vec<CodeVariant<'_>> = codes
        .iter()
        .map(|(suffix, compiler, image)| CodeVariant { suffix, fingerprint: compiler.fingerprint(), image })
        .collect();
    let contents = Contents { module, wasm, source, variants: &variants, names: &name };
    Ok(artifact::write(&contents)?)
}

/// The binary form of a module given in binary or text form.
#[cfg(feature = "wat")]
pub(crate) fn to_binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    if bytes.starts_with(b"\0asm") {
        return Ok(Cow::Borrowed(bytes));
    }
    anyhow::ensure!(
        !bytes.is_empty(),
        "this is not a module: it is empty, without the magic number `\\0asm` at byte 0"
    );
    anyhow::ensure!(
        !kiln_env::artifact::is_artifact(bytes),
        "this is not a module, but what was compiled of one: an artifact, which only `kiln run` takes, from a regular file"
    );
    anyhow::ensure!(!bytes.starts_with(b"\x7fELF"), "this is not a module, but an ELF file");
    let no_text = |at: usize| {
        anyhow::anyhow!(
            "this is not a module: byte 0 does not begin the magic number `\\0asm`, and at byte {at} it is no text"
        )
    };
    std::str::from_utf8(bytes).map_err(|e| no_text(e.valid_up_to()))?;
    // Text may contain a zero, but what is damaged contains one more often; and a message that quotes it helps nobody.
    wat::parse_bytes(bytes).map_err(|e| bytes.iter().position(|b| *b == 0).map_or_else(|| e.into(), no_text))
}

/// The binary form of a module, which is what is given.
#[cfg(not(feature = "wat"))]
pub(crate) fn to_binary(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    Ok(Cow::Borrowed(bytes))
}
