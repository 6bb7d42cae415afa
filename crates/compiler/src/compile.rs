//! The compiler as others use it.

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cranelift_codegen::isa::OwnedTargetIsa;
use kiln_env::settings::{OptLevel, RegallocAlgorithm};
use kiln_env::tier::Tier;
use kiln_env::types::{CompositeType, FuncType, SubType};
use kiln_env::{
    Builtin, CacheKey, ContextLayout, DefinedFuncIndex, Fingerprint, FuncKey, Image, MachineFunc, MemoryStore, Module,
    Tunables, TypeIndex,
};
use target_lexicon::Triple;

use crate::cache::{Bindings, CacheStatistics, FuncCache};
use crate::codegen::Codegen;
use crate::error::{CompileError, Result};
use crate::features::Features;
use crate::func_ir::FuncIr;
use crate::heat;
use crate::info::FuncInfos;
use crate::isa::{self, CompilerConfig};
use crate::link::{LinkOptions, filler, link};
use crate::midend::{Midend, PassTimes, Plan};
use crate::module_env::ModuleEnv;
use crate::parse::{ParsedModule, parse};
use crate::pool::Pool;
use crate::profile::Profile;
use crate::validate::{Done, ValidatedModule, validate};
use crate::worker::{Input, WorkerGuard, WorkerStats, Workers, add_times};

/// Compiles modules, functions and trampolines for one target under one configuration. Shared by threads; its own
/// threads start when they are first needed.
pub struct Compiler {
    isa: OwnedTargetIsa,
    plain_isa: OwnedTargetIsa,
    fingerprint: Fingerprint,
    tunables: Tunables,
    features: Features,
    link: LinkOptions,
    all_addresses: bool,
    pool: Pool,
    interrupt: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
    workers: Workers,
    midend: Midend,
    cache: Option<FuncCache>,
    /// What single functions and trampolines cost.
    totals: Mutex<WorkerStats>,
}

/// Which trampoline to make for a signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TrampolineKind {
    /// [`FuncKey::ArrayToWasm`].
    ArrayToWasm,
    /// [`FuncKey::WasmToHost`].
    WasmToHost,
}

/// How far the compilation of a module is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes of bodies that have been compiled.
    pub done: u64,
    /// Bytes of all bodies.
    pub total: u64,
}

/// What compiling cost. Times of phases that run on several threads are summed over these.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Reading the declarations.
    pub parse: Duration,
    /// Validating the bodies: time that passed.
    pub validate: Duration,
    /// Bodies to IR.
    pub translate: Duration,
    /// Passes of our own, by name.
    pub midend: PassTimes,
    /// IR to machine code.
    pub codegen: Duration,
    /// Placing functions.
    pub link: Duration,
    /// Time that passed from the first translation to the last machine code.
    pub compile_wall: Duration,
    /// Wasm functions compiled.
    pub functions: u64,
    /// Trampolines compiled.
    pub trampolines: u64,
    /// Bytes of wasm bodies translated.
    pub wasm_bytes: u64,
    /// Bytes of machine code, before linking.
    pub code_bytes: u64,
    /// Functions whose machine code stayed as Cranelift made it, though short jumps or aligned loops were wanted, because
    /// something in it was not explained: see `relax`.
    pub unrelaxed: u64,
    /// Functions that were compiled without optimisation, because they exceed a limit of what is optimised.
    pub unoptimized: u64,
    /// Finding functions in the cache and keeping them there.
    pub cache_time: Duration,
    /// What came of asking the cache; all zero without one.
    pub cache: CacheStatistics,
    /// Threads at work.
    pub threads: usize,
}

impl AddAssign<WorkerStats> for Stats {
    fn add_assign(&mut self, worker: WorkerStats) {
        self.translate += worker.translate;
        self.codegen += worker.codegen;
        self.functions += worker.functions;
        self.trampolines += worker.trampolines;
        self.wasm_bytes += worker.wasm_bytes;
        self.code_bytes += worker.code_bytes;
        self.unrelaxed += worker.unrelaxed;
        self.unoptimized += worker.unoptimized;
        self.cache_time += worker.cache_time;
        self.cache += worker.cache;
        add_times(&mut self.midend, worker.midend);
    }
}

impl Compiler {
    /// # Errors
    /// The configuration makes no sense, or this machine or target is not supported.
    pub fn new(config: &CompilerConfig) -> Result<Compiler> {
        let isa = isa::build(config)?;
        let plain =
            CompilerConfig { opt_level: OptLevel::None, regalloc: RegallocAlgorithm::SinglePass, ..config.clone() };
        let midend = Midend::new(&config.passes)?;
        let mut fingerprint = isa::fingerprint(&*isa, &config.tunables);
        fingerprint.flags.extend(midend.disabled().iter().map(|pass| (format!("pass.{pass}"), "off".to_owned())));
        fingerprint.flags.push(("inlining".to_owned(), format!("{:?}", config.passes.inlining).to_lowercase()));
        fingerprint.flags.sort();
        Ok(Compiler {
            features: isa::supported_features(&*isa, config.features),
            isa,
            plain_isa: isa::build(&plain)?,
            // The cache knows of the sparse address maps only.
            cache: config
                .cache
                .clone()
                .filter(|_| !config.all_addresses)
                .map(|store| FuncCache::new(store, &fingerprint)),
            fingerprint,
            tunables: config.tunables.clone(),
            link: config.link,
            all_addresses: config.all_addresses,
            pool: Pool::new(config.threads, config.work_order)?,
            interrupt: config.interrupt.clone(),
            workers: Workers::default(),
            midend,
            totals: Mutex::default(),
        })
    }

    /// Everything that the code depends on beside the module.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The target.
    pub fn target(&self) -> &Triple {
        self.isa.triple()
    }

    /// Choices shared with the runtime.
    pub fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    /// What modules may use: as configured, without what the target cannot execute.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// How many threads compile.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Reads and validates a module's declarations; see [`parse`].
    pub fn parse(&self, bytes: &[u8]) -> Result<ParsedModule> {
        let parsed = parse(bytes, &self.features)?;
        self.midend.tell_absent(parsed.module(), bytes);
        Ok(parsed)
    }

    /// Validates the bodies of a module whose bytes are `source`.
    ///
    /// # Errors
    /// The invalid function with the least index, its name and the offset; an exceeded limit.
    pub fn validate(&self, parsed: ParsedModule, source: &[u8]) -> Result<ValidatedModule> {
        self.validate_and_release(parsed, source, &|_| ())
    }

    /// The same; `done` is told ranges of the module's bytes that were validated and are not needed soon.
    pub(crate) fn validate_and_release(
        &self,
        parsed: ParsedModule,
        source: &[u8],
        done: Done<'_>,
    ) -> Result<ValidatedModule> {
        validate(parsed, source, &self.pool, done)
    }

    /// Compiles all functions of a module, and the trampolines it needs: `ArrayToWasm` for the signatures of functions
    /// that the host can get hold of, `WasmToHost` for those of imports and indirect calls, and for each builtin that the
    /// code calls. The image is the same for any number of threads.
    ///
    /// `source` is the module's bytes; `progress` is called by all threads.
    ///
    /// # Errors
    /// That of the function with the least index that could not be compiled; the configuration's `interrupt` said yes.
    pub fn compile_module(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Image, Stats)> {
        self.compile_profiled(module, source, progress, None)
    }

    /// The same with what is known about how the module ran: functions that were called stand together in the text, before
    /// those that were not.
    pub fn compile_profiled(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        progress: &(dyn Fn(Progress) + Sync),
        profile: Option<&Profile<'_>>,
    ) -> Result<(Image, Stats)> {
        let start = Instant::now();
        let env = ModuleEnv { profile, ..self.module_env(module) };
        let (plan, times) = self.midend.plan(&env);
        let input = self.module_input(module, env, source, &plan);
        let (parse, validate) = module.times();
        let mut stats = Stats { parse, validate, midend: times, threads: self.pool.threads(), ..Stats::default() };
        let sink = Mutex::new(WorkerStats::default());
        let mut funcs = self.compile_bodies(&input, &sink, progress)?;
        self.compile_trampolines(&input, &sink, module, &mut funcs)?;
        stats += std::mem::take(&mut *sink.lock().unwrap_or_else(PoisonError::into_inner));
        stats.compile_wall = start.elapsed();
        self.workers.trim();
        let start = Instant::now();
        let order = profile.map(|profile| heat::order(&funcs, profile));
        let image = link(funcs, order, self.link, filler(self.isa.name()))?;
        stats.link = start.elapsed();
        Ok((image, stats))
    }

    /// Compiles one function or trampoline at the second tier, on the calling thread. `source` is the module's bytes.
    pub fn compile_function(&self, module: &ValidatedModule, source: &[u8], key: FuncKey) -> Result<MachineFunc> {
        self.compile_at(module, source, key, Tier::Optimized)
    }

    /// Compiles one function at a tier, or a trampoline, on the calling thread. `source` is the module's bytes.
    pub fn compile_at(&self, module: &ValidatedModule, source: &[u8], key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        self.compile_one(self.module_env(module), module, source, (key, tier))
    }

    /// Compiles one function without optimisation, which takes less time and memory: for those that are too large to be
    /// optimised. They are counted ([`Stats::unoptimized`]).
    ///
    /// # Errors
    /// It is too large for that, too.
    pub fn compile_unoptimized(&self, module: &ValidatedModule, source: &[u8], key: FuncKey) -> Result<MachineFunc> {
        let env = ModuleEnv { isa: &*self.plain_isa, ..self.module_env(module) };
        let plan = Plan::default();
        let input = Input { cache: None, ..self.module_input(module, env, source, &plan) };
        let func = self.compile_single(&input, key, Tier::Optimized)?;
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).unoptimized += 1;
        Ok(func)
    }

    /// Compiles one function or trampoline at the second tier with what is known about how the module ran, on the calling
    /// thread. `source` is the module's bytes.
    pub fn compile_hot(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        key: FuncKey,
        profile: &Profile<'_>,
    ) -> Result<MachineFunc> {
        let env = ModuleEnv { profile: Some(profile), ..self.module_env(module) };
        self.compile_one(env, module, source, (key, Tier::Optimized))
    }

    fn compile_one(
        &self,
        env: ModuleEnv<'_>,
        module: &ValidatedModule,
        source: &[u8],
        (key, tier): (FuncKey, Tier),
    ) -> Result<MachineFunc> {
        let m = &**module.module();
        let known = match key {
            FuncKey::Wasm(func) | FuncKey::Osr { func, .. } => m.bodies.get(func).is_some(),
            FuncKey::ArrayToWasm(ty) | FuncKey::WasmToHost(ty) => m.types.get(ty).is_some(),
            FuncKey::WasmToBuiltin(_) => true,
        };
        if !known {
            return Err(CompileError::config(format_args!("the module has no function {key}")));
        }
        let plan = match tier {
            Tier::Baseline => Plan::default(),
            Tier::Optimized => self.midend.plan(&env).0,
        };
        self.compile_single(&self.module_input(module, env, source, &plan), key, tier)
    }

    /// Makes a trampoline for a signature that need not be in any module. Module-relative types in it matter only by
    /// their representation.
    pub fn compile_trampoline_for(&self, ty: &FuncType, kind: TrampolineKind) -> Result<MachineFunc> {
        let mut module = Module::default();
        let composite = CompositeType::Func(ty.clone());
        let index = module.types.push(SubType { is_final: true, supertype: None, composite });
        let layout = ContextLayout::new(&module).map_err(CompileError::limit_message)?;
        let (infos, plan) = (FuncInfos::default(), Plan::default());
        let env = ModuleEnv {
            module: &module,
            layout: &layout,
            tunables: &self.tunables,
            infos: &infos,
            isa: &*self.isa,
            profile: None,
            own_references: false,
            bulk_in_line: self.midend.has_bulk_in_line(),
        };
        let key = match kind {
            TrampolineKind::ArrayToWasm => FuncKey::ArrayToWasm(index),
            TrampolineKind::WasmToHost => FuncKey::WasmToHost(index),
        };
        self.compile_single(&self.input(env, &self.features, &[], &plan), key, Tier::Optimized)
    }

    /// What single functions and trampolines have cost since the last call.
    pub fn take_stats(&self) -> Stats {
        let mut stats = Stats { threads: self.pool.threads(), ..Stats::default() };
        stats += std::mem::take(&mut *self.totals.lock().unwrap_or_else(PoisonError::into_inner));
        stats
    }

    /// The IR of one function or trampoline, behind Kiln's own passes if `midend`.
    pub(crate) fn func_ir(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        key: FuncKey,
        midend: bool,
    ) -> Result<FuncIr> {
        let env = self.module_env(module);
        let (plan, _) = self.midend.plan(&env);
        let input = self.input(env, module.features(), source, &plan);
        let mut worker = CountedWorker { worker: self.workers.take(), sink: &self.totals };
        if midend {
            worker.worker.optimized_ir(&input, key)
        } else {
            worker.worker.translate(&input, key, Tier::Optimized)
        }
    }

    /// What the cache knows the functions of a module by, without translating them; `None` where it has to.
    pub(crate) fn cache_keys(&self, module: &ValidatedModule, source: &[u8]) -> Result<Vec<Option<CacheKey>>> {
        let env = self.module_env(module);
        let (plan, _) = self.midend.plan(&env);
        let input = self.module_input(module, env, source, &plan);
        let cache = self.key_cache();
        let mut worker = self.workers.take();
        let keys = module.module().bodies.keys().map(FuncKey::Wasm);
        keys.map(|key| worker.body_key(&input, &cache, module.declarations(&self.tunables), key)).collect()
    }

    /// What the cache knows the code of a function by, before it is generated, and the numbers that are open in it.
    pub(crate) fn stencil_key(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        key: FuncKey,
    ) -> Result<(CacheKey, Vec<u32>)> {
        let ir = self.func_ir(module, source, key, true)?;
        let key = self.key_cache().stencil_key(&ir, &Bindings::of(&ir)?, false, &mut Vec::new());
        Ok((key, ir.numbers))
    }

    /// Whether the code of a function serves for other numbers than its own.
    pub(crate) fn is_open(&self, module: &ValidatedModule, source: &[u8], key: FuncKey) -> Result<bool> {
        let ir = self.func_ir(module, source, key, true)?;
        let plan = Plan::default();
        let input = self.input(self.module_env(module), module.features(), source, &plan);
        let mut codegen = Codegen::new();
        codegen.generate(input.target_for(key, Tier::Optimized), &self.tunables, ir)?;
        Ok(!codegen.open.is_empty())
    }

    /// A cache that is asked for keys only.
    fn key_cache(&self) -> FuncCache {
        FuncCache::new(Arc::new(MemoryStore::new()), &self.fingerprint)
    }

    /// What code generation makes of a function's IR, as text: optimised IR or assembly.
    pub(crate) fn code_text(
        &self,
        module: &ValidatedModule,
        source: &[u8],
        ir: FuncIr,
        assembly: bool,
    ) -> Result<String> {
        let plan = Plan::default();
        let input = self.input(self.module_env(module), module.features(), source, &plan);
        Codegen::new().text(input.target_for(ir.key, Tier::Optimized), ir, assembly)
    }

    fn module_env<'a>(&'a self, module: &'a ValidatedModule) -> ModuleEnv<'a> {
        ModuleEnv {
            module: module.module(),
            layout: module.layout(),
            tunables: &self.tunables,
            infos: module.infos(),
            isa: &*self.isa,
            profile: None,
            own_references: self.midend.knows_contexts() && module.has_own_references_only(),
            bulk_in_line: self.midend.has_bulk_in_line(),
        }
    }

    /// Where compiled functions are kept.
    pub(crate) fn cache(&self) -> Option<&FuncCache> {
        self.cache.as_ref()
    }

    /// A function that is in the cache under its first-level key.
    pub(crate) fn find_function(&self, module: &ValidatedModule, source: &[u8], key: FuncKey) -> Option<MachineFunc> {
        let env = self.module_env(module);
        let (plan, _) = self.midend.plan(&env);
        let input = self.module_input(module, env, source, &plan);
        let mut worker = CountedWorker { worker: self.workers.take(), sink: &self.totals };
        worker.worker.find(&input, key)
    }

    fn input<'a>(&'a self, env: ModuleEnv<'a>, features: &Features, source: &'a [u8], plan: &'a Plan) -> Input<'a> {
        let plain_isa = &*self.plain_isa;
        let cache = self.cache.as_ref().map(|cache| (cache, None));
        let (features, midend) = (features.to_wasmparser(), &self.midend);
        let all_addresses = self.all_addresses;
        Input { env, plain_isa, source, features, midend, plan, cache, all_addresses }
    }

    /// The same for functions of a module.
    fn module_input<'a>(
        &'a self,
        module: &'a ValidatedModule,
        env: ModuleEnv<'a>,
        source: &'a [u8],
        plan: &'a Plan,
    ) -> Input<'a> {
        let cache = self.cache.as_ref().map(|cache| (cache, Some(module.declarations(&self.tunables))));
        Input { cache, ..self.input(env, module.features(), source, plan) }
    }

    fn compile_single(&self, input: &Input<'_>, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        let mut worker = CountedWorker { worker: self.workers.take(), sink: &self.totals };
        worker.worker.compile(input, key, tier).map_err(|e| self.with_settings(e))
    }

    /// The settings are attached only to errors for which they can matter.
    fn with_settings(&self, e: CompileError) -> CompileError {
        use crate::ErrorKind::{Codegen, Internal};
        if !matches!(e.kind(), Codegen | Internal) {
            return e;
        }
        let flags: Vec<String> = self.fingerprint.flags.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let print = &self.fingerprint;
        e.with_settings(format_args!("{}, {}, {:?}, {}", print.compiler, print.target, print.tunables, flags.join(" ")))
    }

    /// Compiles all bodies, in order of their index.
    fn compile_bodies(
        &self,
        input: &Input<'_>,
        sink: &Mutex<WorkerStats>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Vec<(FuncKey, MachineFunc)>> {
        let bodies = &input.env.module.bodies;
        let size = |i: u32| bodies[DefinedFuncIndex(i)].len() as u64;
        // The largest first: what is left for the end is small, so that all threads finish at about the same time.
        let mut order: Vec<u32> = (0..bodies.len() as u32).collect();
        order.sort_by_key(|i| std::cmp::Reverse(size(*i)));
        let total = bodies.values().map(|r| r.len() as u64).sum();
        let done = AtomicU64::new(0);
        let failed = AtomicU32::new(u32::MAX);
        let interrupted = AtomicBool::new(false);
        let results = self.pool.map(
            usize::MAX,
            &order,
            || CountedWorker { worker: self.workers.take(), sink },
            |worker, index| {
                // Behind an error only those before it can still matter.
                if failed.load(Ordering::Relaxed) < index || interrupted.load(Ordering::Relaxed) {
                    return None;
                }
                if self.interrupt.as_ref().is_some_and(|interrupt| interrupt()) {
                    interrupted.store(true, Ordering::Relaxed);
                    return None;
                }
                let result = worker.worker.compile(input, FuncKey::Wasm(DefinedFuncIndex(index)), Tier::Optimized);
                if result.is_err() {
                    failed.fetch_min(index, Ordering::Relaxed);
                }
                let done = done.fetch_add(size(index), Ordering::Relaxed) + size(index);
                progress(Progress { done, total });
                Some(result)
            },
        );
        if interrupted.into_inner() {
            return Err(CompileError::interrupted());
        }
        let with_keys = results.into_iter().zip(0..).map(|(result, i)| {
            // Functions that were left out come behind the error that made them so.
            let result = result.unwrap_or_else(|| Err(CompileError::internal("not compiled")));
            Ok((FuncKey::Wasm(DefinedFuncIndex(i)), result.map_err(|e| self.with_settings(e))?))
        });
        with_keys.collect()
    }

    /// Compiles the trampolines that the module and its code need, and adds them in order of their keys.
    fn compile_trampolines(
        &self,
        input: &Input<'_>,
        sink: &Mutex<WorkerStats>,
        module: &ValidatedModule,
        funcs: &mut Vec<(FuncKey, MachineFunc)>,
    ) -> Result<()> {
        let mut wanted = module_trampolines(module);
        let mut scanned = 0;
        loop {
            let calls = funcs[scanned..].iter().flat_map(|(_, f)| &f.relocs).map(|r| r.target);
            wanted.extend(calls.filter(|key| !matches!(key, FuncKey::Wasm(_))));
            scanned = funcs.len();
            let have: BTreeSet<FuncKey> = funcs.iter().rev().map(|f| f.0).take_while(|k| !is_wasm(*k)).collect();
            let missing: Vec<FuncKey> = wanted.difference(&have).copied().collect();
            if missing.is_empty() {
                break;
            }
            let order: Vec<u32> = (0..missing.len() as u32).collect();
            let state = || CountedWorker { worker: self.workers.take(), sink };
            let results = self
                .pool
                .map(usize::MAX, &order, state, |w, i| w.worker.compile(input, missing[i as usize], Tier::Optimized));
            for (key, result) in missing.into_iter().zip(results) {
                funcs.push((key, result.map_err(|e| self.with_settings(e))?));
            }
        }
        funcs.sort_by_key(|(key, _)| *key);
        Ok(())
    }
}

fn is_wasm(key: FuncKey) -> bool {
    matches!(key, FuncKey::Wasm(_))
}

/// The trampolines that follow from the declarations and from the types of indirect calls.
fn module_trampolines(module: &ValidatedModule) -> BTreeSet<FuncKey> {
    let m = &**module.module();
    let canonical = |ty: TypeIndex| module.canonical_sig(ty);
    let escaping = m.funcs.values().filter(|f| f.escapes).map(|f| f.ty);
    let from_host = escaping.chain(m.start.map(|f| m.funcs[f].ty));
    let imported = m.funcs.values().take(m.num_imported_funcs as usize).map(|f| f.ty);
    let to_host = imported.chain(module.indirect_types().iter().copied());
    let mut keys: BTreeSet<FuncKey> = from_host.map(|ty| FuncKey::ArrayToWasm(canonical(ty))).collect();
    keys.extend(to_host.map(|ty| FuncKey::WasmToHost(canonical(ty))));
    if keys.iter().any(|k| matches!(k, FuncKey::WasmToHost(_))) {
        keys.insert(FuncKey::WasmToBuiltin(Builtin::Raise));
    }
    keys
}

/// A worker whose costs go to `sink` when it is done.
struct CountedWorker<'a> {
    worker: WorkerGuard<'a>,
    sink: &'a Mutex<WorkerStats>,
}

impl Drop for CountedWorker<'_> {
    fn drop(&mut self) {
        let stats = self.worker.take_stats();
        *self.sink.lock().unwrap_or_else(PoisonError::into_inner) += stats;
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use kiln_env::DefinedFuncIndex;

    use super::*;

    /// Programs of no more than so many bytes in a folder and in those in it.
    fn programs(folder: &Path, most: u64) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in entries.map(|entry| entry.unwrap()) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            match path.extension() {
                _ if metadata.is_dir() => found.extend(programs(&path, most)),
                Some(e) if e == "wasm" && metadata.len() <= most => found.push(path),
                _ => {}
            }
        }
        found.sort();
        found
    }

    /// Compiles all functions of a module with numbers open, and those that have some once more without; how many are open.
    /// All is to be the same.
    fn compare_open(wasm: &[u8]) -> usize {
        let compiler = Compiler::new(&CompilerConfig::default()).unwrap();
        let module = compiler.validate(compiler.parse(wasm).unwrap(), wasm).unwrap();
        let plan = Plan::default();
        let input = compiler.input(compiler.module_env(&module), module.features(), wasm, &plan);
        let mut codegen = Codegen::new();
        let mut open = 0;
        for func in 0..module.module().bodies.len() as u32 {
            let key = FuncKey::Wasm(DefinedFuncIndex(func));
            let target = input.target_for(key, Tier::Optimized);
            let ir = || compiler.func_ir(&module, wasm, key, true).unwrap();
            let (filled, _) = codegen.generate(target, &compiler.tunables, ir()).unwrap();
            if !codegen.open.is_empty() {
                let fixed = codegen.generate_fixed(target, &compiler.tunables, ir()).unwrap();
                assert!(filled == fixed, "function {func} differs");
                open += 1;
            }
        }
        open
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn code_for_any_numbers_is_the_code_for_these() {
        let text = "(module (memory 1) (func $f (param i32) (result i32) (i32.load offset=4100 (local.get 0)))
            (func (param i32) (result i32) (i32.store (i32.add (local.get 0) (i32.const 70000)) (i32.const 5000))
                (call $f (i32.add (local.get 0) (i32.const 9000)))))";
        assert_eq!(compare_open(&wat::parse_str(text).unwrap()), 2);
        // Those that `cargo xtask corpus` has fetched.
        for path in programs(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../corpus")), 1_500_000) {
            let open = compare_open(&std::fs::read(&path).unwrap());
            println!("{}: {open} functions", path.display());
            assert!(open > 0, "{}: no numbers are open", path.display());
        }
    }
}
