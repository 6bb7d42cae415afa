//! Code of functions that have run, made anew without running them: what was used is optimised, and all of it lies close
//! together, in the order of use.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use kiln_env::machine::MachineFunc;
use kiln_env::profile::FuncCounts;
use kiln_env::tier::Tier;
use kiln_env::{DefinedFuncIndex, FuncKey};

use super::snapshot::{Captured, SnapshotFile};
use super::tiers::Tiers;
use super::{CodeError, CodeMemory, LazyCode, MIN_ALIGN, Progress, state};

/// What is done about a function.
struct Plan {
    func: DefinedFuncIndex,
    /// How much it was used.
    uses: u32,
    /// Its code is of the second tier already.
    is_optimized: bool,
}

/// What became of it.
pub(crate) struct Refined {
    code: LazyCode,
    profile: Vec<(u32, FuncCounts)>,
    /// Functions that are new at the second tier.
    pub(crate) optimized: usize,
}

impl Refined {
    /// The code, and what is known about how it ran.
    pub(crate) fn capture(&self) -> Option<Captured<'_>> {
        Some(Captured { profile: self.profile.clone(), ..self.code.capture()? })
    }
}

/// Bytes of a compiler thread's stack, as for those that compile while the program runs.
const STACK_BYTES: usize = 8 << 20;

impl LazyCode {
    /// The functions of which there is code, in an arena of their own: those at the second tier that are there already, and
    /// those that were used `least` times at least in earlier runs, as far as so many threads get until `end`. `None` if
    /// none is new at the second tier.
    pub(in crate::code) fn refined(&self, least: u32, threads: usize, end: Instant) -> Result<Option<Refined>> {
        let Some(tiers) = &self.tiers else { return Ok(None) };
        let plans = self.plans(tiers);
        let is_wanted = |plan: &&Plan| plan.is_optimized || plan.uses >= least;
        let wanted: Vec<&Plan> = plans.iter().filter(is_wanted).collect();
        let mut compiled = self.optimize_all(tiers, &wanted, threads, end)?;
        let is_new = |plan: &&&Plan| !plan.is_optimized && compiled.contains_key(&plan.func.0);
        let optimized = wanted.iter().filter(is_new).count();
        if optimized == 0 {
            return Ok(None);
        }
        let mut funcs = Vec::with_capacity(plans.len());
        let (mut hot, mut cold): (Vec<&Plan>, Vec<&Plan>) =
            plans.iter().partition(|plan| compiled.contains_key(&plan.func.0));
        hot.sort_by_key(|plan| Reverse(plan.uses));
        cold.sort_by_key(|plan| Reverse(plan.uses));
        for plan in hot {
            let code = compiled.remove(&plan.func.0).context("it was found")?;
            funcs.push((plan.func, code, Tier::Optimized));
        }
        for plan in cold {
            funcs.push((plan.func, tiers.at_first_tier(plan.func)?, Tier::Baseline));
        }
        Ok(Some(Refined { code: self.rebuilt(funcs)?, profile: self.profile(), optimized }))
    }

    /// All functions of which there is code, those first that are optimised, then in the order of use.
    fn plans(&self, tiers: &Tiers) -> Vec<Plan> {
        let plan = |func: DefinedFuncIndex| {
            let is_optimized = self.state(func.0).load(Ordering::Acquire) == state::OPTIMIZED;
            let uses = tiers.before(func.0).max(tiers.profile.entries_before(func));
            Plan { func, uses, is_optimized }
        };
        let mut plans: Vec<Plan> = self.compiled().into_iter().map(plan).collect();
        plans.sort_by_key(|plan| (!plan.is_optimized, Reverse(plan.uses)));
        plans
    }

    /// Compiles functions at the second tier, those that are not at it already until `end`. What cannot be compiled, and is
    /// at the first tier, is left out.
    fn optimize_all(
        &self,
        tiers: &Tiers,
        plans: &[&Plan],
        threads: usize,
        end: Instant,
    ) -> Result<HashMap<u32, MachineFunc>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
        let work = || -> Result<()> {
            while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !plan.is_optimized && Instant::now() >= end {
                    break;
                }
                match self.compile_hot(tiers, FuncKey::Wasm(plan.func)) {
                    Ok(code) => _ = done.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.func.0, code),
                    Err(error) if plan.is_optimized => return Err(error),
                    Err(error) => tracing::debug!(%error, "a function stays in the first tier"),
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let spawn = |i| {
                let builder = thread::Builder::new().name(format!("kiln-refine-{i}")).stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, work)
            };
            let threads = (0..threads.clamp(1, plans.len().max(1))).map(spawn).collect::<Result<Vec<_>, _>>()?;
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(_) => Err(anyhow::anyhow!("the compiler panicked")),
            })
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// An arena like this one with these functions and the trampolines of the snapshot. Calls of functions at the second
    /// tier are direct.
    fn rebuilt(&self, funcs: Vec<(DefinedFuncIndex, MachineFunc, Tier)>) -> Result<LazyCode> {
        let memory = CodeMemory::new(LazyCode::counters_start(self.num_funcs), self.memory.text_len(), (0, &[]))?;
        let code = LazyCode::with_memory(memory, self.num_funcs, self.compile.clone())?;
        for (_, key, _) in self.snapshot.iter().flat_map(SnapshotFile::funcs) {
            if key.body().is_none() {
                code.ready(key)?;
            }
        }
        for reloc in funcs.iter().flat_map(|(_, func, _)| &func.relocs) {
            if !matches!(reloc.target, FuncKey::Wasm(_)) {
                code.ready(reloc.target)?;
            }
        }
        code.place_all(funcs)?;
        Ok(code)
    }

    /// Places functions one behind the other, in an arena in which nobody else places any.
    fn place_all(&self, funcs: Vec<(DefinedFuncIndex, MachineFunc, Tier)>) -> Result<()> {
        let mut free = self.lock().free;
        let mut starts = HashMap::new();
        for (func, code, tier) in &funcs {
            let start = free.next_multiple_of((code.align as usize).max(MIN_ALIGN).max(self.memory.granularity()));
            free = start.saturating_add(code.code.len());
            starts.insert(func.0, (start, *tier));
        }
        if free > self.memory.text_len() {
            return Err(CodeError::ArenaFull(self.memory.text_len()).into());
        }
        let last = |func: DefinedFuncIndex| {
            let (start, tier) = starts.get(&func.0)?;
            (*tier == Tier::Optimized).then(|| self.text_at(*start))
        };
        for (func, code, tier) in funcs {
            let key = FuncKey::Wasm(func);
            let (start, _) = starts.get(&func.0).context("it has a place")?;
            let targets = self.targets(key, tier, &code, &last)?;
            let mut placing = self.lock();
            let placed = self.write_func(&mut placing, key, code, &targets, *start)?;
            self.set(&mut placing, key, tier, Progress::Ready(placed));
        }
        Ok(())
    }
}
