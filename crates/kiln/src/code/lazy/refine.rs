//! Code of functions that have run, made anew without running them: what was used is optimised, and all of it lies close
//! together, in the order of use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
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
use crate::code::arch::{self, JUMP_SIZE};
use crate::code::memory::FirstText;

use super::{CodeError, CodeMemory, LazyCode, MIN_ALIGN, Progress, state};

/// What is done about a function.
struct Plan {
    func: DefinedFuncIndex,
    /// How much it was used.
    uses: u32,
    /// Its code is of the second tier already.
    is_optimized: bool,
    /// There is code of it, of whichever tier.
    has_code: bool,
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
    /// those that were used `least` times at least in earlier runs, also where there is no code of them yet, as far as so many
    /// threads get until `end`. `None` if none is new at the second tier.
    pub(in crate::code) fn refined(&self, least: u32, threads: usize, end: Instant) -> Result<Option<Refined>> {
        let Some(tiers) = &self.tiers else { return Ok(None) };
        let plans = self.plans(tiers);
        let is_wanted = |plan: &&Plan| plan.is_optimized || plan.uses >= least;
        let wanted: Vec<&Plan> = plans.iter().filter(is_wanted).collect();
        let mut compiled = self.optimize_all(tiers, &wanted, threads, end)?;
        // What was optimised is to stay so.
        if Instant::now() >= end && plans.iter().any(|plan| plan.is_optimized && !compiled.contains_key(&plan.func.0)) {
            return Ok(None);
        }
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
        for plan in cold.into_iter().filter(|plan| plan.has_code) {
            funcs.push((plan.func, tiers.at_first_tier(plan.func)?, Tier::Baseline));
        }
        Ok(Some(Refined { code: self.rebuilt(funcs)?, profile: self.profile(), optimized }))
    }

    /// All functions of which there is code, or which earlier runs used, those first that are optimised, then in the order
    /// of use.
    fn plans(&self, tiers: &Tiers) -> Vec<Plan> {
        let plan = |func: DefinedFuncIndex| {
            let is_optimized = self.state(func.0).load(Ordering::Acquire) == state::OPTIMIZED;
            let uses = tiers.before(func.0).max(tiers.profile.entries_before(func));
            Plan { func, uses, is_optimized, has_code: true }
        };
        let mut plans: Vec<Plan> = self.compiled().into_iter().map(plan).collect();
        // Runs that compiled little may have left how much functions were used, but not their code.
        let has_code = |func: u32| {
            let found = plans.binary_search_by_key(&func, |plan| plan.func.0);
            found.is_ok()
        };
        let used = tiers.all_before().iter().filter(|(func, _)| *func < self.num_funcs && !has_code(*func));
        let plan = |(func, uses): &(u32, u32)| {
            let func = DefinedFuncIndex(*func);
            Plan { func, uses: *uses, is_optimized: false, has_code: false }
        };
        let others: Vec<Plan> = used.map(plan).collect();
        plans.extend(others);
        plans.sort_by_key(|plan| (!plan.is_optimized, Reverse(plan.uses)));
        plans
    }

    /// Compiles functions at the second tier until `end`. What cannot be compiled is left out; it is an error if that is all.
    fn optimize_all(
        &self,
        tiers: &Tiers,
        plans: &[&Plan],
        threads: usize,
        end: Instant,
    ) -> Result<HashMap<u32, MachineFunc>> {
        let (next, done, failed) = (AtomicUsize::new(0), Mutex::new(HashMap::new()), Mutex::new(None));
        let work = || {
            while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                if Instant::now() >= end {
                    break;
                }
                match self.compile_hot(tiers, FuncKey::Wasm(plan.func)) {
                    Ok(code) => _ = done.lock().unwrap_or_else(PoisonError::into_inner).insert(plan.func.0, code),
                    Err(error) => {
                        tiers.note_failure(plan.func, &error);
                        _ = failed.lock().unwrap_or_else(PoisonError::into_inner).insert(error);
                    }
                }
            }
        };
        thread::scope(|scope| {
            let spawn = |i| {
                let builder = thread::Builder::new().name(format!("kiln-refine-{i}")).stack_size(STACK_BYTES);
                builder.spawn_scoped(scope, work)
            };
            let threads = (0..threads.clamp(1, plans.len().max(1))).map(spawn).collect::<Result<Vec<_>, _>>()?;
            let panicked = |_| anyhow::anyhow!("the compiler panicked");
            threads.into_iter().try_for_each(|thread| thread.join().map_err(panicked))
        })?;
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) if done.is_empty() => Err(error),
            _ => Ok(done),
        }
    }

    /// An arena like this one with these functions and the trampolines of the snapshot. Calls of functions at the second
    /// tier are direct; those of others go through jumps that lie close together, so that the pages of most entry stubs are
    /// not needed. Trampolines come first, then jumps, then functions.
    fn rebuilt(&self, funcs: Vec<(DefinedFuncIndex, MachineFunc, Tier)>) -> Result<LazyCode> {
        // Jumps find slots by their distance, which has to be that of the arena that the code is for.
        let memory = CodeMemory::new(self.memory.data_len(), self.memory.text_len(), FirstText::default())?;
        let code = LazyCode::with_memory(memory, self.num_funcs, self.compile.clone())?;
        for (_, key, _) in self.snapshot.iter().flat_map(SnapshotFile::funcs) {
            if key.body().is_none() {
                code.ready(key)?;
            }
        }
        let mut others = BTreeMap::new();
        for reloc in funcs.iter().flat_map(|(_, func, _)| &func.relocs) {
            match reloc.target {
                FuncKey::Wasm(func) => _ = others.insert(func.0, 0),
                other => _ = code.ready(other)?,
            }
        }
        for (func, _, tier) in &funcs {
            if *tier == Tier::Optimized {
                others.remove(&func.0);
            }
        }
        code.place_jumps(&mut others)?;
        code.place_all(funcs, &others)?;
        Ok(code)
    }

    /// Places jumps to functions, and says at which offset each is.
    fn place_jumps(&self, funcs: &mut BTreeMap<u32, usize>) -> Result<()> {
        let mut placing = self.lock();
        let first = placing.free.next_multiple_of(JUMP_SIZE.max(self.memory.granularity()));
        let mut code = Vec::with_capacity(funcs.len() * JUMP_SIZE);
        for (func, offset) in funcs {
            if *func >= self.num_funcs {
                return Err(CodeError::Missing(FuncKey::Wasm(DefinedFuncIndex(*func))).into());
            }
            *offset = first + code.len();
            let (thunk, slot) = (self.memory.text() as usize, self.slot(*func).as_ptr() as usize);
            code.extend(arch::jump(thunk + *offset, slot, thunk, *func));
        }
        if first.saturating_add(code.len()) > self.memory.text_len() {
            return Err(CodeError::ArenaFull(self.memory.text_len()).into());
        }
        // SAFETY: the place is free, and nobody executes it yet.
        unsafe { self.memory.write(first, &code)? };
        placing.free = (first + code.len()).next_multiple_of(self.memory.granularity());
        Ok(())
    }

    /// Places functions one behind the other, in an arena in which nobody else places any, and which has jumps to others.
    fn place_all(&self, funcs: Vec<(DefinedFuncIndex, MachineFunc, Tier)>, jumps: &BTreeMap<u32, usize>) -> Result<()> {
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
            let body = starts.get(&func.0).filter(|(_, tier)| *tier == Tier::Optimized).map(|(start, _)| start);
            Some(self.text_at(*body.or_else(|| jumps.get(&func.0))?))
        };
        for (func, code, tier) in funcs {
            let key = FuncKey::Wasm(func);
            let (start, _) = starts.get(&func.0).context("it has a place")?;
            let targets = self.targets(key, tier, &code, &last)?;
            let mut placing = self.lock();
            let placed = self.write_func(&mut placing, (key, tier), code, &targets, *start)?;
            self.set(&mut placing, key, tier, Progress::Ready(placed));
        }
        Ok(())
    }
}
