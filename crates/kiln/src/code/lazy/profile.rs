//! What functions of the first tier tell about how they run: `kiln_env::tier` says how.

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kiln_env::DefinedFuncIndex;
use kiln_env::profile::{Candidate, FuncCounts, FuncFacts, SiteCounts};
use kiln_env::tier::{site, sites_address};

use super::tiers::Tiers;
use super::{LazyCode, state};
use crate::code::arch::STUB_SIZE;
use crate::tier::TierUp;

/// The record of an indirect call. Compiled code uses it as plain words, and may lose updates.
type Record = [Slot; 2];

/// A function that was called often; the first one also has how often others were called.
#[repr(C)]
#[derive(Default)]
struct Slot {
    code: AtomicU64,
    count: AtomicU32,
    others: AtomicU32,
}

const _: () = assert!(
    offset_of!(Slot, code) == site::CODE as usize
        && offset_of!(Slot, count) == site::COUNT as usize
        && offset_of!(Slot, others) == site::OTHERS as usize
        && size_of::<Slot>() == site::NEXT as usize
        && size_of::<Record>() == site::SIZE as usize
);

/// The records of a function, in which its code writes for as long as it lives.
struct Sites {
    offsets: Box<[u32]>,
    records: Box<[Record]>,
}

/// The records of all functions that have some.
#[derive(Default)]
pub(super) struct Profile {
    sites: Mutex<HashMap<u32, Sites>>,
    /// What was known at the end of an earlier run, by ascending index.
    before: OnceLock<Vec<(u32, FuncCounts)>>,
}

impl Profile {
    /// What was known about a function at the end of an earlier run.
    fn before(&self, func: DefinedFuncIndex) -> Option<&FuncCounts> {
        let before = self.before.get()?;
        Some(&before[before.binary_search_by_key(&func.0, |(func, _)| *func).ok()?].1)
    }

    /// Entries of a function in earlier runs.
    pub(super) fn entries_before(&self, func: DefinedFuncIndex) -> u32 {
        self.before(func).map_or(0, |counts| counts.entries)
    }

    fn sites(&self) -> MutexGuard<'_, HashMap<u32, Sites>> {
        // Nothing is left half done under this lock.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LazyCode {
    /// Gives a function records for its indirect calls at these wasm offsets, before its code runs.
    pub(super) fn prepare_sites(&self, func: DefinedFuncIndex, offsets: &[u32]) {
        let before = self.tiers.as_ref().and_then(|tiers| tiers.profile.before(func));
        match before.filter(|counts| counts.sites.iter().map(|site| site.offset).eq(offsets.iter().copied())) {
            // What earlier runs did was done, and its entries are counted.
            Some(counts) => self.resume_sites(func, counts),
            None => {
                let records = offsets.iter().map(|_| Record::default()).collect();
                self.add_sites(func, Sites { offsets: offsets.into(), records });
            }
        }
    }

    /// Begins with what was known at the end of an earlier run. Of these functions there is code of the first tier, which
    /// writes to records.
    pub(super) fn resume_profile(&self, profile: Vec<(u32, FuncCounts)>, counting: &HashSet<DefinedFuncIndex>) {
        let Some(tiers) = &self.tiers else { return };
        for (func, counts) in &profile {
            if counting.contains(&DefinedFuncIndex(*func)) {
                self.resume_sites(DefinedFuncIndex(*func), counts);
            }
        }
        _ = tiers.profile.before.set(profile);
    }

    /// Gives a function records that hold what they held.
    fn resume_sites(&self, func: DefinedFuncIndex, counts: &FuncCounts) {
        let slot = |candidate: &Candidate, others: u32| {
            let target = candidate.target.filter(|target| target.0 < self.num_funcs);
            let code = target.map_or(0, |target| self.entry(target).as_ptr() as u64);
            // A place that is nobody's is taken by the next one.
            let count = if target.is_some() { candidate.count.min(i32::MAX as u32) } else { 0 };
            Slot { code: code.into(), count: count.into(), others: others.into() }
        };
        let record = |site: &SiteCounts| {
            let [first, second] = &site.candidates;
            [slot(first, site.others), slot(second, 0)]
        };
        let records = counts.sites.iter().map(record).collect();
        let offsets = counts.sites.iter().map(|site| site.offset).collect();
        self.add_sites(func, Sites { offsets, records });
    }

    fn add_sites(&self, func: DefinedFuncIndex, sites: Sites) {
        let Some(tiers) = &self.tiers else { return };
        if sites.offsets.is_empty() || func.0 >= self.num_funcs {
            return;
        }
        let mut all = tiers.profile.sites();
        // Code that is there may write to what it had.
        let sites = all.entry(func.0).or_insert(sites);
        // SAFETY: the data has such a word for each function, zero at first; compiled code reads it only.
        let address = unsafe {
            let at = tiers.counters + sites_address(func) as usize;
            &*self.memory.data().add(at).cast::<AtomicUsize>()
        };
        address.store(sites.records.as_ptr() as usize, Ordering::Release);
    }

    /// How a function ran so far, with these records.
    fn counts(&self, tiers: &Tiers, func: DefinedFuncIndex, sites: Option<&Sites>) -> FuncCounts {
        let candidate = |slot: &Slot| {
            let target = self.function_of_stub(slot.code.load(Ordering::Relaxed) as usize);
            // Negative while the code that counts is about to change it.
            let count = slot.count.load(Ordering::Relaxed) as i32;
            Candidate { target, count: count.max(0) as u32 }
        };
        let count = |(offset, record): (&u32, &Record)| {
            let [first, second] = record;
            let others = first.others.load(Ordering::Relaxed);
            SiteCounts { offset: *offset, candidates: [candidate(first), candidate(second)], others }
        };
        let before = tiers.profile.before(func);
        // Records that earlier runs have nothing in say nothing of what these did.
        let is_new = sites.zip(before).is_some_and(|(sites, before)| {
            !before.sites.iter().map(|site| site.offset).eq(sites.offsets.iter().copied())
        });
        let entries = if is_new { self.entries_now(tiers, func) } else { self.entries(tiers, func) };
        let known = || before.map_or_else(Vec::new, |counts| counts.sites.clone());
        let sites = sites.map_or_else(known, |s| s.offsets.iter().zip(&s.records).map(count).collect());
        FuncCounts { entries, sites }
    }

    /// What is known about a function that its code may depend on.
    pub(super) fn facts(&self, func: DefinedFuncIndex) -> FuncFacts {
        let Some(tiers) = self.tiers.as_ref().filter(|_| func.0 < self.num_funcs) else { return FuncFacts::default() };
        // It may have run earlier, and not yet in this run.
        let ran_before = tiers.profile.entries_before(func) > 0 || tiers.before(func.0) > 0;
        if self.state(func.0).load(Ordering::Acquire) == state::UNCOMPILED && !ran_before {
            return FuncFacts::default();
        }
        let sites = tiers.profile.sites();
        self.counts(tiers, func, sites.get(&func.0)).facts(tiers.enough_calls())
    }

    /// All that is known about functions that have run, by ascending index.
    pub(super) fn profile(&self) -> Vec<(u32, FuncCounts)> {
        let Some(tiers) = &self.tiers else { return Vec::new() };
        let sites = tiers.profile.sites();
        let counts = |func: DefinedFuncIndex| (func.0, self.counts(tiers, func, sites.get(&func.0)));
        self.compiled().into_iter().map(counts).collect()
    }

    /// How often a function was entered at the first tier, in this run and those that it goes on from.
    fn entries(&self, tiers: &Tiers, func: DefinedFuncIndex) -> u32 {
        if matches!(tiers.strategy(), TierUp::AtOnce | TierUp::Random(_)) {
            // Counters say when it changes its tier. It was called, or nobody would ask.
            return 1;
        }
        tiers.profile.entries_before(func).saturating_add(self.entries_now(tiers, func))
    }

    /// The function whose entry stub is at this address.
    fn function_of_stub(&self, address: usize) -> Option<DefinedFuncIndex> {
        let offset = address.checked_sub(self.memory.text() as usize + self.stubs)?;
        let index = u32::try_from(offset / STUB_SIZE).ok()?;
        (index < self.num_funcs && offset.is_multiple_of(STUB_SIZE)).then_some(DefinedFuncIndex(index))
    }
}
