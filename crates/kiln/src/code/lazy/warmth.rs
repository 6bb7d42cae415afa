//! How much functions were used while they were at the first tier: in earlier runs, and what the next run is to know.

use std::sync::atomic::Ordering;

use kiln_env::artifact::Warmth;
use kiln_env::{DefinedFuncIndex, FuncKey};

use super::snapshot::SnapshotFile;
use super::tiers::{HOT_ENTRIES, HOT_LOOPS, LOOPS_PER_HEAT};
use super::{LazyCode, state};
use crate::tier::TierUp;

impl LazyCode {
    /// How much each function was used at the first tier, in this run and those that it goes on from. `None` if this run
    /// adds fewer than `least` uses.
    pub(in crate::code) fn warmth(&self, least: u64) -> Option<Warmth> {
        let tiers = self.tiers.as_ref().filter(|tiers| tiers.strategy() == TierUp::Background)?;
        let funcs = self.compiled();
        let mut total = 0;
        let mut warmth = Warmth::new();
        for func in &funcs {
            let (before, uses) = (tiers.before(func.0), self.uses(*func));
            total += u64::from(uses);
            // If there is no snapshot of this run, nothing else says that the function was worth optimising.
            let uses = if uses == 0 { tiers.heat(func.0).0.saturating_mul(HOT_ENTRIES as u32) } else { uses };
            if before > 0 || uses > 0 {
                warmth.push((func.0, before.saturating_add(uses)));
            }
        }
        if total < least {
            return None;
        }
        let others =
            tiers.all_before().iter().filter(|(func, _)| funcs.binary_search(&DefinedFuncIndex(*func)).is_err());
        warmth.extend(others);
        warmth.sort_unstable();
        Some(warmth)
    }

    /// The functions of which there is code, by ascending index.
    pub(super) fn compiled(&self) -> Vec<DefinedFuncIndex> {
        let func = |key| if let FuncKey::Wasm(func) = key { Some(func) } else { None };
        let resumed = self.snapshot.iter().flat_map(SnapshotFile::funcs).filter_map(|(_, key, _)| func(key));
        let placed = (0..self.placed.len()).filter_map(|i| func(self.placed.get(i)?.key));
        let mut funcs: Vec<DefinedFuncIndex> = resumed.chain(placed).collect();
        funcs.sort_unstable();
        funcs.dedup();
        funcs
    }

    /// Uses of a function at the first tier in this run, about.
    fn uses(&self, func: DefinedFuncIndex) -> u32 {
        let Some(tiers) = &self.tiers else { return 0 };
        if !matches!(self.state(func.0).load(Ordering::Acquire), state::READY | state::QUEUED) {
            return 0;
        }
        let (entries, loops) = self.counters_of(func);
        let (heat, interval) = tiers.heat(func.0);
        let first = if heat == 0 { tiers.thresholds(func.0).0 } else { -HOT_ENTRIES };
        let interval = if interval == 0 { HOT_LOOPS } else { interval };
        // One that does not run out is far below where it could have begun.
        let counted = |counter: i32, start: i32| counter.checked_sub(start).map_or(0, |n| n.max(0) as u32);
        let entered = counted(entries.load(Ordering::Relaxed), first);
        let looped = counted(loops.load(Ordering::Relaxed), -interval) / (LOOPS_PER_HEAT / HOT_ENTRIES) as u32;
        heat.saturating_mul(HOT_ENTRIES as u32).saturating_add(entered).saturating_add(looped)
    }
}
