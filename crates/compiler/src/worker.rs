//! What a thread compiles with, and the store of those that are idle.

use std::collections::HashSet;
use std::ops::{AddAssign, Deref, DerefMut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::OptLevel;
use kiln_env::cache::KEY_BYTES;
use kiln_env::tier::Tier;
use kiln_env::{CacheKey, DefinedFuncIndex, FuncKey, MachineFunc};
use wasmparser::{BinaryReader, FunctionBody};

use crate::body_key::{BodyScan, Declarations};
use crate::cache::{Bindings, CacheStatistics, FuncCache};
use crate::callees::Callees;
use crate::codegen::{Codegen, Target, guarded};
use crate::error::{ErrorKind, Result};
use crate::func_ir::FuncIr;
use crate::midend::numbers::Opener;
use crate::midend::{Midend, PassTimes, Plan};
use crate::module_env::ModuleEnv;
use crate::names;
use crate::relax::Wanted;
use crate::stack_guard;
use crate::translate::{Inlining, Translator};
use crate::validate::body_bytes;

/// What compiling cost a worker since somebody last asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerStats {
    pub(crate) translate: Duration,
    pub(crate) midend: PassTimes,
    pub(crate) codegen: Duration,
    pub(crate) functions: u64,
    pub(crate) trampolines: u64,
    pub(crate) wasm_bytes: u64,
    pub(crate) code_bytes: u64,
    /// Functions whose machine code was to be relaxed, and was not.
    pub(crate) unrelaxed: u64,
    /// Functions that were not optimised because they exceed a limit.
    pub(crate) unoptimized: u64,
    /// Finding out what functions depend on, and getting and inserting them.
    pub(crate) cache_time: Duration,
    pub(crate) cache: CacheStatistics,
}

impl AddAssign for WorkerStats {
    fn add_assign(&mut self, other: WorkerStats) {
        self.translate += other.translate;
        self.codegen += other.codegen;
        self.functions += other.functions;
        self.trampolines += other.trampolines;
        self.wasm_bytes += other.wasm_bytes;
        self.code_bytes += other.code_bytes;
        self.unrelaxed += other.unrelaxed;
        self.unoptimized += other.unoptimized;
        self.cache_time += other.cache_time;
        self.cache += other.cache;
        add_times(&mut self.midend, other.midend);
    }
}

/// Adds times pass by pass.
pub(crate) fn add_times(sum: &mut PassTimes, times: PassTimes) {
    for (name, time) in times {
        match sum.iter_mut().find(|(n, _)| *n == name) {
            Some((_, total)) => *total += time,
            None => sum.push((name, time)),
        }
    }
}

/// Bytes of machine code of one function behind which a worker starts with fresh scratch memory.
const LARGE_CODE: usize = 256 << 10;

/// Reusable scratch memory of all phases.
pub(crate) struct Worker {
    translator: Translator,
    codegen: Codegen,
    opener: Opener,
    scan: BodyScan,
    callees: Callees,
    /// IR as bytes to be hashed.
    hashed: Vec<u8>,
    stats: WorkerStats,
    /// Whether the function that was generated last has inlined bodies.
    has_inlined: bool,
}

/// What a worker compiles from.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) env: ModuleEnv<'a>,
    /// The same target without optimisation, for functions that would take too long with it.
    pub(crate) plain_isa: &'a dyn TargetIsa,
    pub(crate) source: &'a [u8],
    pub(crate) features: wasmparser::WasmFeatures,
    pub(crate) midend: &'a Midend,
    pub(crate) plan: &'a Plan,
    /// Where to look before compiling, with what scans of bodies need to know. Trampolines of no module have no scans.
    pub(crate) cache: Option<(&'a FuncCache, Option<&'a Declarations>)>,
    /// Whether address maps are to name the operator of every instruction.
    pub(crate) all_addresses: bool,
}

impl<'a> Input<'a> {
    fn inlining(&self) -> Option<Inlining<'a>> {
        let policy = self.plan.inline?;
        Some(Inlining { source: self.source, features: self.features, policy })
    }

    /// What to generate code for: follows from the module's bytes and the tier alone.
    pub(crate) fn target_for(&self, key: FuncKey, tier: Tier) -> Target<'a> {
        let all_addresses = self.all_addresses;
        let is_x64 = self.env.isa.name() == "x64";
        let mut relax = if is_x64 { self.midend.relaxes() } else { Wanted::default() };
        if self.is_plain(key, tier) {
            relax.align = false;
            return Target { isa: self.plain_isa, ordered: false, bases: false, split: false, all_addresses, relax };
        }
        let level = self.env.isa.flags().opt_level();
        relax.align &= level == OptLevel::Speed;
        // Trampolines are too short to be out of order.
        let optimised = level != OptLevel::None && key.body().is_some();
        let ordered = optimised && self.midend.puts_into_order();
        let bases = optimised && is_x64 && self.midend.shares_bases();
        let split = optimised && is_x64 && self.midend.splits_lives();
        Target { isa: self.env.isa, ordered, bases, split, all_addresses, relax }
    }

    /// Whether numbers of a function are left open. Where they are is found by whoever relaxes machine code.
    fn opens_numbers(&self, key: FuncKey) -> bool {
        let target = self.target_for(key, Tier::Optimized);
        self.midend.opens_numbers() && target.isa.name() == "x64" && target.ordered && self.env.tunables.signals
    }

    /// Whether the function is compiled without optimisation.
    fn is_plain(&self, key: FuncKey, tier: Tier) -> bool {
        key.body().is_some_and(|func| tier == Tier::Baseline || self.env.infos.get(func).is_costly())
    }
}

impl Worker {
    fn new() -> Worker {
        Worker {
            translator: Translator::new(),
            codegen: Codegen::new(),
            opener: Opener::default(),
            scan: BodyScan::default(),
            callees: Callees::default(),
            hashed: Vec::new(),
            stats: WorkerStats::default(),
            has_inlined: false,
        }
    }

    /// From a key to machine code. Errors say which function, and carry its IR where code generation is at fault.
    pub(crate) fn compile(&mut self, input: &Input<'_>, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        let func = self.try_compile(input, key, tier).map_err(|e| {
            // Code generation consumes the IR, so it is made again for the message. What is too large is not.
            let again = (e.kind() != ErrorKind::Limit).then(|| self.translate(input, key, tier));
            let e = match again {
                Some(Ok(ir)) => e.with_clif(ir.func),
                _ => e,
            };
            let Some(defined) = key.body() else { return e.for_key(key) };
            let index = input.env.module.func_index(defined);
            e.in_func(index, names::func_name(input.env.module, input.source, index)).for_key(key)
        })?;
        if func.code.len() > LARGE_CODE {
            // What it took is not kept for the small functions that follow.
            self.translator = Translator::new();
            self.codegen.forget();
        }
        self.stats.code_bytes += func.code.len() as u64;
        match key.body() {
            Some(_) => self.stats.functions += 1,
            None => self.stats.trampolines += 1,
        }
        Ok(func)
    }

    fn try_compile(&mut self, input: &Input<'_>, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        self.has_inlined = false;
        match self.find_or_generate(input, key, tier) {
            // Nothing becomes too large by inlining.
            Err(e) if e.kind() == ErrorKind::Limit && self.has_inlined => {
                let plan = &input.plan.without_inlining();
                self.find_or_generate(&Input { plan, cache: None, ..*input }, key, tier)
            }
            result => result,
        }
    }

    fn find_or_generate(&mut self, input: &Input<'_>, key: FuncKey, tier: Tier) -> Result<MachineFunc> {
        if tier == Tier::Baseline {
            // Bound to its place in the module by its counters, and made faster than it is found.
            let start = Instant::now();
            let ir = self.translate(input, key, tier)?;
            self.stats.translate += start.elapsed();
            return self.generate(input, ir, tier);
        }
        // What is to be shown is made before their eyes.
        let Some((cache, declarations)) = input.cache.filter(|_| !input.midend.shows(key)) else {
            let ir = self.optimized_ir(input, key)?;
            return self.generate(input, ir, tier);
        };
        let start = Instant::now();
        let body_key = match declarations {
            Some(declarations) => self.body_key(input, cache, declarations, key)?,
            None => None,
        };
        let numbered = self.callees.len();
        let found = body_key.zip(declarations).and_then(|(k, d)| self.find_by_body(input, cache, d, &k));
        self.stats.cache_time += start.elapsed();
        if let Some(func) = found {
            self.stats.cache.body_hits += 1;
            return Ok(func);
        }
        let ir = self.optimized_ir(input, key)?;
        let start = Instant::now();
        let bindings = Bindings::of(&ir)?;
        let inlined: Vec<DefinedFuncIndex> = ir.inlined.iter().map(|body| body.func).collect();
        let stencil_key = cache.stencil_key(&ir, &bindings, input.is_plain(key, tier), &mut self.hashed);
        let found = cache.by_stencil(&stencil_key, &bindings);
        self.stats.cache_time += start.elapsed();
        let func = match found {
            Some(func) => {
                self.stats.cache.stencil_hits += 1;
                func
            }
            None => {
                let func = self.generate(input, ir, tier)?;
                self.stats.cache.misses += 1;
                let start = Instant::now();
                cache.insert_stencil(&stencil_key, &func, &bindings, &self.codegen.open, &mut self.stats.cache);
                self.stats.cache_time += start.elapsed();
                func
            }
        };
        if let Some((body_key, declarations)) = body_key.zip(declarations) {
            let start = Instant::now();
            self.callees.truncate(numbered);
            if let Some(inlined) = self.describe_inlined(input, declarations, inlined) {
                let number = |func| self.callees.number_of(&input.env, func);
                let stats = &mut self.stats.cache;
                cache.insert_body(&body_key, &stencil_key, &bindings, inlined, number, stats);
            }
            self.stats.cache_time += start.elapsed();
        }
        Ok(func)
    }

    /// The function of a first-level entry, if that holds for this module.
    fn find_by_body(
        &mut self,
        input: &Input<'_>,
        cache: &FuncCache,
        declarations: &Declarations,
        key: &CacheKey,
    ) -> Option<MachineFunc> {
        let entry = cache.body_entry(key)?;
        for (number, expected) in &entry.inlined {
            let func = input.env.module.defined_func(self.callees.get(*number)?)?;
            if self.describe(input, declarations, func).ok()??.as_bytes() != expected {
                return None;
            }
        }
        cache.by_entry(&entry, |number| self.callees.key(&input.env, number))
    }

    /// The functions that were inlined, each once, by their numbers and with their descriptions. `None` if one has none.
    fn describe_inlined(
        &mut self,
        input: &Input<'_>,
        declarations: &Declarations,
        inlined: Vec<DefinedFuncIndex>,
    ) -> Option<Vec<(u32, [u8; KEY_BYTES])>> {
        let mut seen = HashSet::new();
        let once = inlined.into_iter().filter(|func| seen.insert(*func));
        let describe = |func| {
            // It was called by the function, or by a body before it.
            let number = self.callees.number_of(&input.env, func)?;
            Some((number, *self.describe(input, declarations, func).ok()??.as_bytes()))
        };
        once.map(describe).collect()
    }

    /// A function that is in the cache under its first-level key.
    pub(crate) fn find(&mut self, input: &Input<'_>, key: FuncKey) -> Option<MachineFunc> {
        let (cache, declarations) = input.cache.filter(|_| !input.midend.shows(key))?;
        let start = Instant::now();
        let body_key = self.body_key(input, cache, declarations?, key).ok().flatten();
        let found = body_key.and_then(|k| self.find_by_body(input, cache, declarations?, &k));
        self.stats.cache_time += start.elapsed();
        let func = found?;
        self.stats.cache.body_hits += 1;
        self.stats.functions += 1;
        self.stats.code_bytes += func.code.len() as u64;
        Some(func)
    }

    fn generate(&mut self, input: &Input<'_>, ir: FuncIr, tier: Tier) -> Result<MachineFunc> {
        let start = Instant::now();
        self.has_inlined = !ir.inlined.is_empty();
        let func = self.generate_guarded(input, ir, tier);
        self.translator.recycle(self.codegen.spare());
        self.stats.codegen += start.elapsed();
        func
    }

    fn generate_guarded(&mut self, input: &Input<'_>, ir: FuncIr, tier: Tier) -> Result<MachineFunc> {
        let (key, target, tunables) = (ir.key, input.target_for(ir.key, tier), input.env.tunables);
        if tunables.signals {
            return Ok(self.codegen.generate(target, tunables, ir)?.0);
        }
        let signature = ir.func.signature.clone();
        let (func, frame) = self.codegen.generate(target, tunables, ir)?;
        if !stack_guard::is_needed(&signature, frame) {
            return Ok(func);
        }
        let guard = guarded(|| self.translator.stack_guard(&input.env, key, &signature, frame))?;
        let (guard, _) = self.codegen.generate(target, tunables, guard)?;
        stack_guard::join(key, guard, func)
    }

    /// The first-level key of a function; then its callees are numbered. `None` for trampolines, and for functions that
    /// have no such key.
    pub(crate) fn body_key(
        &mut self,
        input: &Input<'_>,
        cache: &FuncCache,
        declarations: &Declarations,
        key: FuncKey,
    ) -> Result<Option<CacheKey>> {
        let Some(func) = key.body() else { return Ok(None) };
        self.callees.begin(input.env.module.func_index(func));
        let description = self.describe(input, declarations, func)?;
        Ok(description.map(|description| cache.body_key(&description, key)))
    }

    /// Describes a body, with its callees' numbers and what decides about inlining them.
    fn describe(
        &mut self,
        input: &Input<'_>,
        declarations: &Declarations,
        func: DefinedFuncIndex,
    ) -> Result<Option<blake3::Hash>> {
        let (module, layout) = (input.env.module, input.env.layout);
        let (offset, bytes) = body_bytes(module, input.source, func)?;
        let body = FunctionBody::new(BinaryReader::new_features(bytes, offset, input.features));
        let Some(hash) = self.scan.hash(module, layout, declarations, func, &body)? else { return Ok(None) };
        let known = input.env.profile.map(|profile| profile.facts(func));
        let callees = self.scan.callees();
        Ok(Some(self.callees.describe(&input.env, input.plan.inline, &hash, callees, known.as_deref())))
    }

    /// From a key to the IR that code generation takes: behind Kiln's own passes.
    pub(crate) fn optimized_ir(&mut self, input: &Input<'_>, key: FuncKey) -> Result<FuncIr> {
        let start = Instant::now();
        let mut ir = self.translate(input, key, Tier::Optimized)?;
        self.stats.translate += start.elapsed();
        input.midend.run(&input.env, input.plan, &mut ir, &mut self.stats.midend)?;
        if input.opens_numbers(key) {
            input.midend.open_numbers(&input.env, &mut self.opener, &mut ir)?;
        }
        Ok(ir)
    }

    /// From a key to IR. A panic is an error, and costs the translator its buffers.
    pub(crate) fn translate(&mut self, input: &Input<'_>, key: FuncKey, tier: Tier) -> Result<FuncIr> {
        // If it fails, nobody knows of which body that comes.
        self.has_inlined = tier == Tier::Optimized && input.plan.inline.is_some();
        let translator = &mut self.translator;
        let stats = &mut self.stats;
        let result = guarded(|| {
            let Some(func) = key.body() else { return translator.trampoline(&input.env, key) };
            let (start, bytes) = body_bytes(input.env.module, input.source, func)?;
            stats.wasm_bytes += bytes.len() as u64;
            let body = FunctionBody::new(BinaryReader::new_features(bytes, start, input.features));
            match key {
                FuncKey::Osr { offset, .. } => {
                    translator.function_from_loop(&input.env, func, offset, &body, input.inlining())
                }
                _ => translator.function(&input.env, func, tier, &body, input.inlining()),
            }
        });
        if matches!(&result, Err(e) if e.kind() == ErrorKind::Internal) {
            self.translator = Translator::new();
        }
        result
    }

    /// What was counted since the last call.
    pub(crate) fn take_stats(&mut self) -> WorkerStats {
        let mut stats = std::mem::take(&mut self.stats);
        let relaxed = std::mem::take(&mut self.codegen.relaxed);
        if relaxed.time > Duration::ZERO {
            stats.codegen = stats.codegen.saturating_sub(relaxed.time);
            add_times(&mut stats.midend, vec![("relax", relaxed.time)]);
        }
        stats.unrelaxed += relaxed.refused;
        stats
    }
}

/// The idle workers of a compiler. As many exist as ever worked at once.
#[derive(Default)]
pub(crate) struct Workers {
    idle: Mutex<Vec<Box<Worker>>>,
}

impl Workers {
    /// Takes an idle worker or makes one. It comes back when the guard is dropped.
    pub(crate) fn take(&self) -> WorkerGuard<'_> {
        let worker = self.lock().pop().unwrap_or_else(|| Box::new(Worker::new()));
        WorkerGuard { workers: self, worker: Some(worker) }
    }

    /// Gives the scratch memory of idle workers back to the system, except for one.
    pub(crate) fn trim(&self) {
        self.lock().truncate(1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<Worker>>> {
        // Nothing is left half done under this lock.
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A worker on loan.
pub(crate) struct WorkerGuard<'a> {
    workers: &'a Workers,
    worker: Option<Box<Worker>>,
}

impl Deref for WorkerGuard<'_> {
    type Target = Worker;
    fn deref(&self) -> &Worker {
        self.worker.as_ref().expect("present until dropped")
    }
}

impl DerefMut for WorkerGuard<'_> {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("present until dropped")
    }
}

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        let Some(mut worker) = self.worker.take() else { return };
        if std::thread::panicking() {
            // The panic passed through it: only its statistics are still good.
            let stats = worker.take_stats();
            *worker = Worker { stats, ..Worker::new() };
        }
        self.workers.lock().push(worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_come_back_on_every_path() {
        let workers = Workers::default();
        {
            let (mut a, _b) = (workers.take(), workers.take());
            a.stats.functions = 7;
        }
        assert_eq!(workers.lock().len(), 2);
        let failing = || -> std::result::Result<(), ()> {
            let _guard = workers.take();
            Err(())
        };
        assert!(failing().is_err());
        assert_eq!(workers.lock().len(), 2);
        let panicking = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut guard = workers.take();
            guard.stats.trampolines = 3;
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(panicking.is_err());
        assert_eq!(workers.lock().len(), 2);
        let sum: u64 = workers.lock().iter_mut().map(|w| w.take_stats()).map(|s| s.functions + s.trampolines).sum();
        assert_eq!(sum, 10);
    }
}
