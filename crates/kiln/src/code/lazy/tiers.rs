//! Functions that change their tier while they run: when, and how. The protocol with compiled code is in
//! `kiln_env::tier`.

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kiln_env::artifact::Warmth;
use kiln_env::machine::MachineFunc;
use kiln_env::profile::ENOUGH;
use kiln_env::tier::{COUNTERS_SIZE, Tier, entry_counter, loop_counter};
use kiln_env::{DefinedFuncIndex, FuncKey};

use super::arrivals::Arrivals;
use super::profile::Profile;
use super::{LazyCode, Progress, state};
use crate::code::{CompileFailure, CompileFn, HotFn, ModuleCode, OverLimit};
use crate::sys::stack;
use crate::tier::{Job, TierQueue, TierUp};

/// A counter that does not run out.
const NEVER: i32 = i32::MIN;

/// Entries after which a function is worth optimising, and arrivals at loop headers.
pub(super) const HOT_ENTRIES: i32 = 500;
pub(super) const HOT_LOOPS: i32 = 10_000;

/// Arrivals at loop headers until a function that waits to be entered in the middle looks again; it is also told.
const LOOK_AGAIN: i32 = 10_000;

/// The same for one that will be called again: by then that should have happened.
const CALLED_AGAIN: i32 = 200_000;

/// Arrivals at loop headers that are worth as much time as [`HOT_ENTRIES`] entries.
pub(super) const LOOPS_PER_HEAT: i32 = 2_000;

/// A function that was entered fewer times when its loop became hot is first to be entered in the middle: it may never be
/// called again.
const FEW_ENTRIES: u64 = 8;

/// Bytes of a function that takes long to compile: an interpreter's main loop takes a second. Code entered at the loop that
/// is hot serves activations old and new, so it comes first.
const LARGE: u64 = 16 << 10;

/// Rounds of entries after which a large function is worth optimising though none of its loops is hot.
const LARGE_ROUNDS: u32 = 8;

/// Entries at a loop that cost as much time as what is worth one unit of heat: what they cost is the detour.
const DETOURS_PER_HEAT: u32 = 100;

/// What a module needs whose functions change their tier.
pub(crate) struct TierSetup {
    /// Compiles functions at the first tier.
    pub(crate) baseline: CompileFn,
    /// Compiles functions that have run, at the second tier.
    pub(crate) hot: HotFn,
    /// When functions change.
    pub(crate) strategy: TierUp,
    /// Who compiles in the background.
    pub(crate) queue: Arc<TierQueue>,
    /// Bytes of each function's body.
    pub(crate) sizes: Box<dyn Fn(DefinedFuncIndex) -> u64 + Send + Sync>,
    /// How much functions were used in earlier runs.
    pub(crate) before: Warmth,
}

/// What is known about the tiers of a module's functions.
pub(super) struct Tiers {
    setup: TierSetup,
    /// Offset of the counters in the arena's data.
    pub(super) counters: usize,
    notes: Mutex<HashMap<u32, Note>>,
    counts: Counts,
    pub(super) profile: Profile,
}

/// What is known about a function that became hot.
#[derive(Default)]
struct Note {
    /// Time spent in the first tier: how often the counter of entries ran out, and of loops what is worth the same.
    heat: u32,
    /// How much of that was in earlier runs.
    inherited: u32,
    /// How often the counter of entries ran out.
    rounds: u32,
    /// Entries up to the last time that a loop became hot.
    entries: u64,
    /// What the counter of loops was set to last, if it was set again.
    interval: i32,
    /// How often it was entered at a loop.
    entered: u32,
    /// Its heat when it was queued last.
    queued: u32,
    /// Where it was when its counter of loops ran out.
    arrivals: Arrivals,
    /// For random decisions.
    steps: u32,
    /// Whether it is known to be larger than what is optimised.
    over_limit: bool,
}

/// Whether a function was not optimised because it exceeds a limit.
fn is_over_limit(error: &anyhow::Error) -> bool {
    let reason = error.downcast_ref::<CompileFailure>().map_or(error, |failure| &failure.reason);
    reason.is::<OverLimit>()
}

/// How much was done; read by [`TierCounts`].
#[derive(Default)]
struct Counts {
    resumed: Sum,
    baseline: Sum,
    optimized: Sum,
    osr: Sum,
    osr_entries: AtomicU64,
    failed: AtomicU64,
    over_limit: AtomicU64,
    waited: AtomicU64,
    background: AtomicU64,
}

#[derive(Default)]
struct Sum {
    functions: AtomicU64,
    bytes: AtomicU64,
}

impl Sum {
    fn add(&self, bytes: usize) {
        self.functions.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.functions.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// How many functions are in which tier, and what that took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TierCounts {
    /// Functions that an earlier run compiled, and bytes of their code.
    pub(crate) resumed: (u64, u64),
    /// Functions compiled at the first tier, and bytes of their code.
    pub(crate) baseline: (u64, u64),
    /// The same for the second tier.
    pub(crate) optimized: (u64, u64),
    /// The same for bodies entered at a loop.
    pub(crate) osr: (u64, u64),
    /// How often such a body was entered.
    pub(crate) osr_entries: u64,
    /// Functions that could not be compiled at the second tier and stay in the first.
    pub(crate) failed: u64,
    /// Functions that are larger than what is optimised, and stay in the first tier.
    pub(crate) over_limit: u64,
    /// Time for which the program waited for code.
    pub(crate) waited: Duration,
    /// Time that went into code in the background.
    pub(crate) background: Duration,
}

/// Pseudo-random bits from a seed and what is to be decided (SplitMix64's mixing function).
fn random(seed: u64, what: u64) -> u64 {
    let mut z = seed.wrapping_add(what.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Tiers {
    pub(super) fn new(setup: TierSetup, counters: usize) -> Tiers {
        Tiers { setup, counters, notes: Mutex::default(), counts: Counts::default(), profile: Profile::default() }
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<u32, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known about a function, or else what earlier runs say.
    fn note<'a>(&self, notes: &'a mut HashMap<u32, Note>, func: u32) -> &'a mut Note {
        notes.entry(func).or_insert_with(|| {
            let inherited = self.before(func) / HOT_ENTRIES as u32;
            Note { heat: inherited, inherited, rounds: inherited, ..Note::default() }
        })
    }

    /// Uses of a function in earlier runs.
    pub(super) fn before(&self, func: u32) -> u32 {
        let before = self.all_before();
        before.binary_search_by_key(&func, |(func, _)| *func).map_or(0, |at| before[at].1)
    }

    /// Uses of all functions in earlier runs.
    pub(super) fn all_before(&self) -> &[(u32, u32)] {
        &self.setup.before
    }

    /// A function's code at the first tier.
    pub(super) fn at_first_tier(&self, func: DefinedFuncIndex) -> anyhow::Result<MachineFunc> {
        (self.setup.baseline)(FuncKey::Wasm(func))
    }

    pub(super) fn strategy(&self) -> TierUp {
        self.setup.strategy
    }

    /// What a function was used in this run, in units of [`HOT_ENTRIES`] entries, and what its counter of loops was set to
    /// last, or 0.
    pub(super) fn heat(&self, func: u32) -> (u32, i32) {
        self.notes().get(&func).map_or((0, 0), |note| (note.heat.saturating_sub(note.inherited), note.interval))
    }

    /// In which tier a function starts.
    fn first_tier(&self, func: u32) -> Tier {
        match self.setup.strategy {
            TierUp::Random(seed) if random(seed, u64::from(func)).is_multiple_of(8) => Tier::Optimized,
            _ => Tier::Baseline,
        }
    }

    /// What the counters of a function start with: entries and loops.
    pub(super) fn thresholds(&self, func: u32) -> (i32, i32) {
        match self.setup.strategy {
            // What was hot when an earlier run ended is when it is entered.
            TierUp::Background => ((self.before(func).min(HOT_ENTRIES as u32 - 1) as i32) - HOT_ENTRIES, -HOT_LOOPS),
            TierUp::Never => (NEVER, NEVER),
            TierUp::AtOnce => (-1, -1),
            TierUp::Random(seed) => {
                let r = random(seed, 1 << 32 | u64::from(func));
                (-1 - (r % 6) as i32, -1 - (r >> 8 & 15) as i32)
            }
        }
    }

    /// Calls after which a function is believed to be what an indirect call calls.
    pub(super) fn enough_calls(&self) -> u64 {
        match self.setup.strategy {
            TierUp::Background | TierUp::Never => ENOUGH,
            TierUp::AtOnce | TierUp::Random(_) => 1,
        }
    }

    /// Counts a function that could not be compiled at the second tier, and writes why into the log. One that exceeds a limit
    /// is no failure: it is counted by itself, and once.
    pub(super) fn note_failure(&self, func: DefinedFuncIndex, error: &anyhow::Error) {
        if is_over_limit(error) {
            return self.note_over_limit(func, error);
        }
        tracing::warn!(func = func.0, %error, "a function stays in the first tier");
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        self.setup.queue.note_failure();
    }

    fn note_over_limit(&self, func: DefinedFuncIndex, error: &anyhow::Error) {
        let mut notes = self.notes();
        if !std::mem::replace(&mut self.note(&mut notes, func.0).over_limit, true) {
            self.counts.over_limit.fetch_add(1, Ordering::Relaxed);
            tracing::info!(func = func.0, %error, "a function is too large to be optimised and stays in the first tier");
        }
    }

    /// Whether a function was found to exceed a limit: nothing that is compiled of it does not.
    fn is_known_over_limit(&self, func: DefinedFuncIndex) -> bool {
        self.notes().get(&func.0).is_some_and(|note| note.over_limit)
    }

    fn count_time(&self, counter: &AtomicU64, start: Instant) {
        counter.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }
}

/// How often a function was entered whose counter began at `first`, ran out `rounds` times, and stands at `counter`. The
/// first round is shorter than the others where earlier runs count: what these did is not what this one did.
fn entries_counted(first: i32, rounds: u32, counter: i32) -> u32 {
    let begin = if rounds == 0 { first } else { -HOT_ENTRIES };
    // One that does not run out is far below where it could have begun, and one that was never set does not count.
    let in_round = if counter == 0 { 0 } else { counter.checked_sub(begin).map_or(0, |n| n.max(0) as u32) };
    let full = match rounds.checked_sub(1) {
        Some(others) => {
            first.unsigned_abs().min(HOT_ENTRIES as u32).saturating_add(others.saturating_mul(HOT_ENTRIES as u32))
        }
        None => 0,
    };
    full.saturating_add(in_round)
}

impl LazyCode {
    /// Bytes of data that the counters of so many functions need.
    pub(super) const fn counters_size(num_funcs: u32) -> usize {
        num_funcs as usize * COUNTERS_SIZE as usize
    }

    pub(in crate::code) fn counters(&self) -> *mut u8 {
        match &self.tiers {
            Some(tiers) => self.memory.data().wrapping_add(tiers.counters),
            None => std::ptr::null_mut(),
        }
    }

    /// A function's counters: of entries and of loops. Panics if there are none.
    pub(super) fn counters_of(&self, func: DefinedFuncIndex) -> (&AtomicI32, &AtomicI32) {
        let tiers = self.tiers.as_ref().expect("functions count where there are tiers");
        assert!(func.0 < self.num_funcs, "no function {}", func.0);
        let counter = |offset: u32| {
            // SAFETY: the data has counters for each function, zero at first; the runtime uses them as atomics, compiled
            // code as plain words, of which it may lose updates.
            unsafe { &*self.memory.data().add(tiers.counters + offset as usize).cast::<AtomicI32>() }
        };
        (counter(entry_counter(func)), counter(loop_counter(func)))
    }

    /// Compiles code that is needed now; with the tier it is of.
    pub(super) fn compile_now(&self, key: FuncKey) -> anyhow::Result<(MachineFunc, Tier)> {
        let (tiers, func) = match (&self.tiers, key) {
            (Some(tiers), FuncKey::Wasm(func)) => (tiers, func),
            (Some(tiers), FuncKey::Osr { .. }) => return Ok((self.compile_hot(tiers, key)?, Tier::Optimized)),
            _ => return Ok(((self.compile)(key)?, Tier::Optimized)),
        };
        let start = Instant::now();
        let tier = tiers.first_tier(func.0);
        let code = match tier {
            Tier::Baseline => {
                let (entries, loops) = tiers.thresholds(func.0);
                self.counters_of(func).0.store(entries, Ordering::Relaxed);
                self.counters_of(func).1.store(loops, Ordering::Relaxed);
                let code = (tiers.setup.baseline)(key)?;
                self.prepare_sites(func, &code.sites);
                code
            }
            Tier::Optimized => (self.compile)(key)?,
        };
        let sum = if tier == Tier::Baseline { &tiers.counts.baseline } else { &tiers.counts.optimized };
        sum.add(code.code.len());
        tiers.count_time(&tiers.counts.waited, start);
        Ok((code, tier))
    }

    /// Entries of a function at the first tier in this run, about.
    pub(super) fn entries_now(&self, tiers: &Tiers, func: DefinedFuncIndex) -> u32 {
        let rounds = tiers.notes().get(&func.0).map_or(0, |note| note.rounds - note.inherited.min(note.rounds));
        let counter = self.counters_of(func).0.load(Ordering::Relaxed);
        entries_counted(tiers.thresholds(func.0).0, rounds, counter)
    }

    /// Compiles a function at the second tier with what is known about how the module ran.
    pub(super) fn compile_hot(&self, tiers: &Tiers, key: FuncKey) -> anyhow::Result<MachineFunc> {
        (tiers.setup.hot)(key, &|func| self.facts(func))
    }

    /// A function's entry counter ran out.
    pub(in crate::code) fn entry_hot(&self, code: &Arc<ModuleCode>, func: DefinedFuncIndex) {
        let Some(tiers) = &self.tiers else { return };
        self.counters_of(func).0.store(NEVER, Ordering::Relaxed);
        if self.is_forked() {
            return;
        }
        match tiers.setup.strategy {
            TierUp::Background => {
                let is_large = (tiers.setup.sizes)(func) >= LARGE;
                let is_due = {
                    let mut notes = tiers.notes();
                    let note = tiers.note(&mut notes, func.0);
                    note.rounds += 1;
                    note.heat += 1;
                    !is_large || note.entered > 0 || (note.arrivals.chosen().is_none() && note.rounds >= LARGE_ROUNDS)
                };
                if self.state(func.0).load(Ordering::Acquire) <= state::QUEUED {
                    // When it becomes as hot again before it is done it moves up.
                    self.counters_of(func).0.store(-HOT_ENTRIES, Ordering::Relaxed);
                    if is_due {
                        self.submit(tiers, code, FuncKey::Wasm(func));
                    }
                }
            }
            TierUp::Never => {}
            TierUp::AtOnce | TierUp::Random(_) => stack::on_service_stack(|| self.optimize(func, false)),
        }
    }

    /// Whether this process is a fork of the one that the code belongs to. It keeps its functions as they are: it must not add
    /// to the code, and threads that it does not have may hold the locks.
    fn is_forked(&self) -> bool {
        self.memory.check_owner().is_err()
    }

    /// Lets the background compile something, the sooner the hotter it is.
    fn submit(&self, tiers: &Tiers, code: &Arc<ModuleCode>, key: FuncKey) {
        let Some(func) = key.body() else { return };
        if tiers.is_known_over_limit(func) {
            return;
        }
        let heat = {
            let mut notes = tiers.notes();
            let note = tiers.note(&mut notes, func.0);
            let is_entry = matches!(key, FuncKey::Wasm(_));
            if is_entry && note.queued > 0 && note.heat / 5 * 4 <= note.queued {
                // It is where it belongs already, more or less.
                return;
            }
            if is_entry {
                note.queued = note.heat.max(1);
            }
            note.heat
        };
        if let FuncKey::Wasm(_) = key {
            let _placing = self.lock();
            match self.state(func.0).load(Ordering::Acquire) {
                state::READY => self.state(func.0).store(state::QUEUED, Ordering::Release),
                state::OPTIMIZED | state::NOT_OPTIMIZED => return,
                _ => {}
            }
        }
        let size = (tiers.setup.sizes)(func);
        tiers.setup.queue.submit(Job::new(code, key, heat, size));
    }

    /// A function's loop counter ran out at the loop at this offset: the code to go on in, if there is some.
    pub(in crate::code) fn loop_hot(
        &self,
        code: &Arc<ModuleCode>,
        func: DefinedFuncIndex,
        offset: u32,
    ) -> Option<NonNull<u8>> {
        let tiers = self.tiers.as_ref()?;
        if self.is_forked() || tiers.is_known_over_limit(func) {
            self.counters_of(func).1.store(NEVER, Ordering::Relaxed);
            return None;
        }
        let key = FuncKey::Osr { func, offset };
        let found = match tiers.setup.strategy {
            TierUp::Background => self.loop_hot_in_background(tiers, code, func, offset),
            TierUp::Never => {
                self.counters_of(func).1.store(NEVER, Ordering::Relaxed);
                None
            }
            TierUp::AtOnce => {
                self.counters_of(func).1.store(-1, Ordering::Relaxed);
                self.ready_at_once(key)
            }
            TierUp::Random(seed) => {
                let step = {
                    let mut notes = tiers.notes();
                    let note = tiers.note(&mut notes, func.0);
                    note.steps += 1;
                    note.steps
                };
                let r = random(seed, u64::from(step) << 32 | u64::from(func.0) ^ 2 << 62);
                self.counters_of(func).1.store(-1 - (r >> 8 & 31) as i32, Ordering::Relaxed);
                if r & 3 == 0 { self.ready_at_once(key) } else { None }
            }
        };
        if found.is_some() {
            tiers.counts.osr_entries.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Code to go on in at a loop, made now.
    fn ready_at_once(&self, key: FuncKey) -> Option<NonNull<u8>> {
        // What went wrong is noted where it went wrong.
        stack::on_service_stack(|| self.ready(key)).ok()
    }

    fn loop_hot_in_background(
        &self,
        tiers: &Tiers,
        code: &Arc<ModuleCode>,
        func: DefinedFuncIndex,
        offset: u32,
    ) -> Option<NonNull<u8>> {
        let (entries, loops) = self.counters_of(func);
        let progress = self.progress(&self.lock(), FuncKey::Osr { func, offset });
        if let Some(Progress::Ready(found)) = progress {
            // Other activations are to find it soon.
            loops.store(-1, Ordering::Relaxed);
            self.entered(tiers, code, func);
            return Some(found);
        }
        let is_large = (tiers.setup.sizes)(func) >= LARGE;
        let (calls, is_new) = {
            let mut notes = tiers.notes();
            let note = tiers.note(&mut notes, func.0);
            let arrivals = if note.interval == 0 { HOT_LOOPS } else { note.interval };
            note.heat = note.heat.saturating_add((arrivals / LOOPS_PER_HEAT) as u32);
            let in_round = HOT_ENTRIES.saturating_add(entries.load(Ordering::Relaxed)).max(0);
            let calls = u64::from(note.rounds) * HOT_ENTRIES as u64 + in_round as u64;
            (calls, std::mem::replace(&mut note.entries, calls) != calls)
        };
        // Its next call is to find better code, if there is one: for that it must be called now and then.
        let is_called = !is_large
            && match self.state(func.0).load(Ordering::Acquire) {
                state::READY => calls >= FEW_ENTRIES,
                state::QUEUED => is_new,
                _ => false,
            };
        let (interval, entry) = if is_called { (CALLED_AGAIN, None) } else { self.choose_loop(tiers, func, offset) };
        loops.store(-interval, Ordering::Relaxed);
        tiers.note(&mut tiers.notes(), func.0).interval = interval;
        if is_called {
            self.submit(tiers, code, FuncKey::Wasm(func));
        } else if let Some(offset) = entry {
            self.submit(tiers, code, FuncKey::Osr { func, offset });
        }
        None
    }

    /// What a function does that waits to be entered at a loop, and is at the one at `offset`: after how many arrivals it
    /// looks again, and the loop for which code is to be made.
    fn choose_loop(&self, tiers: &Tiers, func: DefinedFuncIndex, offset: u32) -> (i32, Option<u32>) {
        let chosen = tiers.note(&mut tiers.notes(), func.0).arrivals.chosen();
        let progress = |offset| self.progress(&self.lock(), FuncKey::Osr { func, offset });
        let is_made = chosen.is_some_and(|at| !matches!(progress(at), None | Some(Progress::Compiling)));
        let mut notes = tiers.notes();
        let arrivals = &mut tiers.note(&mut notes, func.0).arrivals;
        let entry = arrivals.note(offset, is_made, Instant::now());
        (arrivals.interval(is_made).unwrap_or(LOOK_AGAIN), entry)
    }

    /// A function was entered at a loop. If that happens again it is called again, and its calls are to find better code.
    fn entered(&self, tiers: &Tiers, code: &Arc<ModuleCode>, func: DefinedFuncIndex) {
        {
            let mut notes = tiers.notes();
            let note = tiers.note(&mut notes, func.0);
            note.entered = note.entered.saturating_add(1);
            if note.entered == 1 {
                // What it spends its time in is done.
                (note.heat, note.queued) = (0, 0);
            }
            if note.entered < 2 || !note.entered.is_power_of_two() {
                return;
            }
            note.heat = note.heat.max(note.entered / DETOURS_PER_HEAT).max(1);
        }
        self.submit(tiers, code, FuncKey::Wasm(func));
    }

    /// Does what was submitted, in the background.
    pub(in crate::code) fn run_job(&self, key: FuncKey) {
        let Some(tiers) = &self.tiers else { return };
        let start = Instant::now();
        match key {
            FuncKey::Wasm(func) => self.optimize(func, true),
            // What goes wrong is noted where it goes wrong.
            FuncKey::Osr { func, .. } if self.ready(key).is_ok() => {
                self.counters_of(func).1.store(-1, Ordering::Relaxed);
            }
            _ => {}
        }
        tiers.count_time(&tiers.counts.background, start);
    }

    /// Compiles a function at the second tier and publishes it.
    fn optimize(&self, func: DefinedFuncIndex, only_queued: bool) {
        let Some(tiers) = &self.tiers else { return };
        let found = self.state(func.0).load(Ordering::Acquire);
        if found != state::QUEUED && (only_queued || found != state::READY) {
            return;
        }
        if tiers.is_known_over_limit(func) {
            return self.state(func.0).store(state::NOT_OPTIMIZED, Ordering::Release);
        }
        let key = FuncKey::Wasm(func);
        let start = Instant::now();
        let result = self.compile_hot(tiers, key).and_then(|func| {
            tiers.counts.optimized.add(func.code.len());
            self.place(key, func, Tier::Optimized)
        });
        if !only_queued {
            tiers.count_time(&tiers.counts.waited, start);
        }
        let _placing = self.lock();
        match result {
            Ok(code) => {
                self.slot(func.0).store(code.as_ptr() as usize, Ordering::Release);
                self.state(func.0).store(state::OPTIMIZED, Ordering::Release);
            }
            Err(error) => {
                tiers.note_failure(func, &error);
                self.state(func.0).store(state::NOT_OPTIMIZED, Ordering::Release);
            }
        }
    }

    /// Prepares a function that an earlier run compiled, and counts it.
    pub(super) fn begin_again(&self, key: FuncKey, tier: Tier, bytes: u32) {
        let Some(tiers) = &self.tiers else { return };
        tiers.counts.resumed.add(bytes as usize);
        if let (FuncKey::Wasm(func), Tier::Baseline) = (key, tier) {
            let (entries, loops) = tiers.thresholds(func.0);
            self.counters_of(func).0.store(entries, Ordering::Relaxed);
            self.counters_of(func).1.store(loops, Ordering::Relaxed);
        }
    }

    /// Counts a body that is entered at a loop.
    pub(super) fn count_osr(&self, func: &MachineFunc) {
        if let Some(tiers) = &self.tiers {
            tiers.counts.osr.add(func.code.len());
        }
    }

    /// How many functions are in which tier; `None` where they do not change it.
    pub(in crate::code) fn tier_counts(&self) -> Option<TierCounts> {
        let counts = &self.tiers.as_ref()?.counts;
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Some(TierCounts {
            resumed: counts.resumed.get(),
            baseline: counts.baseline.get(),
            optimized: counts.optimized.get(),
            osr: counts.osr.get(),
            osr_entries: get(&counts.osr_entries),
            failed: get(&counts.failed),
            over_limit: get(&counts.over_limit),
            waited: Duration::from_nanos(get(&counts.waited)),
            background: Duration::from_nanos(get(&counts.background)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_earlier_runs_are_not_counted_again() {
        assert_eq!(entries_counted(-HOT_ENTRIES, 0, -HOT_ENTRIES + 7), 7);
        assert_eq!(entries_counted(-HOT_ENTRIES, 2, -HOT_ENTRIES + 7), 1_007);
        // An earlier run left the function one entry from being hot.
        assert_eq!(entries_counted(-1, 0, -1), 0);
        assert_eq!(entries_counted(-1, 1, -HOT_ENTRIES), 1);
        assert_eq!(entries_counted(-1, 2, -HOT_ENTRIES + 3), 504);
        assert_eq!((entries_counted(-1, 0, 0), entries_counted(-HOT_ENTRIES, 0, NEVER)), (0, 0));
    }
}
