//! What functions of the first tier tell about how they run: `kiln_env::tier` says how.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_env::DefinedFuncIndex;
use kiln_env::profile::{FuncCounts, FuncFacts, SiteCounts};
use kiln_env::tier::{site, sites_address};

use super::LazyCode;
use crate::code::arch::STUB_SIZE;

/// The record of an indirect call. Compiled code uses it as plain words, and may lose updates.
#[repr(C)]
#[derive(Default)]
struct Record {
    code: AtomicU64,
    balance: AtomicI32,
    others: AtomicU32,
}

const _: () = assert!(
    offset_of!(Record, code) == site::CODE as usize
        && offset_of!(Record, balance) == site::BALANCE as usize
        && offset_of!(Record, others) == site::OTHERS as usize
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
}

impl Profile {
    fn sites(&self) -> MutexGuard<'_, HashMap<u32, Sites>> {
        // Nothing is left half done under this lock.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LazyCode {
    /// Gives a function records for its indirect calls at these wasm offsets, before its code runs.
    pub(super) fn prepare_sites(&self, func: DefinedFuncIndex, offsets: &[u32]) {
        let records = offsets.iter().map(|_| Record::default()).collect();
        self.add_sites(func, Sites { offsets: offsets.into(), records });
    }

    /// The same with what they held at the end of an earlier run.
    pub(super) fn resume_sites(&self, func: DefinedFuncIndex, counts: &FuncCounts) {
        let record = |site: &SiteCounts| {
            let target = site.target.filter(|target| target.0 < self.num_funcs);
            let code = target.map_or(0, |target| self.entry(target).as_ptr() as u64);
            let balance = if target.is_some() { site.balance.min(i32::MAX as u32) as i32 } else { 0 };
            Record { code: code.into(), balance: balance.into(), others: site.others.into() }
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

    /// What a function's indirect calls called so far.
    fn counts(&self, sites: &Sites) -> FuncCounts {
        let count = |(offset, record): (&u32, &Record)| {
            let code = record.code.load(Ordering::Relaxed) as usize;
            SiteCounts {
                offset: *offset,
                target: self.function_of_stub(code),
                balance: record.balance.load(Ordering::Relaxed).max(0) as u32,
                others: record.others.load(Ordering::Relaxed),
            }
        };
        FuncCounts { sites: sites.offsets.iter().zip(&sites.records).map(count).collect() }
    }

    /// What is known about a function that its code may depend on.
    pub(super) fn facts(&self, func: DefinedFuncIndex) -> FuncFacts {
        let Some(tiers) = &self.tiers else { return FuncFacts::default() };
        let sites = tiers.profile.sites();
        sites.get(&func.0).map(|sites| self.counts(sites).facts(tiers.enough_calls())).unwrap_or_default()
    }

    /// All that is known, by ascending index.
    pub(super) fn profile(&self) -> Vec<(u32, FuncCounts)> {
        let Some(tiers) = &self.tiers else { return Vec::new() };
        let sites = tiers.profile.sites();
        let mut all: Vec<_> = sites.iter().map(|(func, sites)| (*func, self.counts(sites))).collect();
        all.sort_unstable_by_key(|(func, _)| *func);
        all
    }

    /// The function whose entry stub is at this address.
    fn function_of_stub(&self, address: usize) -> Option<DefinedFuncIndex> {
        let offset = address.checked_sub(self.memory.text() as usize + self.stubs)?;
        let index = u32::try_from(offset / STUB_SIZE).ok()?;
        (index < self.num_funcs && offset.is_multiple_of(STUB_SIZE)).then_some(DefinedFuncIndex(index))
    }
}
