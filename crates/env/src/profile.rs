//! What is known about how the functions of a module ran.

use serde::{Deserialize, Serialize};

use crate::index::DefinedFuncIndex;

/// Calls from which on a target is believed to be what is called mostly, and entries of a function from which on it is
/// believed to have done all that it mostly does.
pub const ENOUGH: u64 = 50;
/// Its share of the calls, in percent.
const DOMINANT: u64 = 80;

/// What an indirect call called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SiteCounts {
    /// Offset of the call in the body.
    pub offset: u32,
    /// The function that was called most; `None` if it is none of the module's own.
    pub target: Option<DefinedFuncIndex>,
    /// How much oftener it was called than others.
    pub balance: u32,
    /// How often another one was called than what was known.
    pub others: u32,
}

impl SiteCounts {
    /// The function that is nearly always called, if there were enough calls.
    fn dominant(&self, enough: u64) -> Option<DefinedFuncIndex> {
        // The first call found nobody, and was counted as one of another function.
        let others = u64::from(self.others).checked_sub(1)?;
        let hits = u64::from(self.balance) + others + 1;
        let calls = hits + others;
        self.target.filter(|_| calls >= enough && hits * 100 >= calls * DOMINANT)
    }
}

/// How a function ran.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FuncCounts {
    /// How often it was entered at the first tier, about.
    pub entries: u32,
    /// What its indirect calls called, by ascending offset.
    pub sites: Vec<SiteCounts>,
}

impl FuncCounts {
    /// What of it decides about code, of a function that has run. Counts matter from so many calls on: [`ENOUGH`], or fewer to
    /// test what happens when something else is done later.
    pub fn facts(&self, enough: u64) -> FuncFacts {
        let targets = self.sites.iter().filter_map(|s| Some((s.offset, s.dominant(enough)?))).collect();
        let is_known = u64::from(self.entries) >= enough;
        let idle = self.sites.iter().filter(|site| is_known && site.others == 0).map(|site| site.offset).collect();
        FuncFacts { has_run: true, is_known, entries: self.entries, targets, idle }
    }
}

/// What code depends on: few facts instead of many counts, so that two runs that are alike give the same code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FuncFacts {
    /// Whether it was ever called.
    pub has_run: bool,
    /// Whether it was called so often that what it has not done yet is done rarely.
    pub is_known: bool,
    /// How often it was entered, about. Code depends on no more of it than what it is compared with another one's.
    pub entries: u32,
    /// Indirect calls that nearly always call the same function: offset in the body, function. By ascending offset.
    pub targets: Vec<(u32, DefinedFuncIndex)>,
    /// Indirect calls that it has never come to, likewise; none if it is not known so well.
    pub idle: Vec<u32>,
}

impl FuncFacts {
    /// What the indirect call at an offset of the body is likely to call.
    pub fn target(&self, offset: u32) -> Option<DefinedFuncIndex> {
        let at = self.targets.binary_search_by_key(&offset, |(at, _)| *at).ok()?;
        Some(self.targets[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a site's record says after these calls: as compiled code keeps it.
    fn record(calls: impl Iterator<Item = u32>) -> SiteCounts {
        let (mut target, mut balance, mut others) = (u32::MAX, 0, 0);
        for call in calls {
            if call == target {
                balance += 1;
                continue;
            }
            others += 1;
            balance -= 1;
            if balance < 0 {
                (target, balance) = (call, 0);
            }
        }
        SiteCounts { offset: 0, target: Some(DefinedFuncIndex(target)), balance: balance as u32, others }
    }

    #[test]
    fn what_is_called_mostly_is_found() {
        let found = |calls: &mut dyn Iterator<Item = u32>| record(calls).dominant(ENOUGH).map(|f| f.0);
        assert_eq!(found(&mut (0..100).map(|_| 7)), Some(7));
        assert_eq!(found(&mut (0..5).map(|_| 7)), None, "too few calls");
        assert_eq!(found(&mut (0..1000).map(|i| if i % 10 == 9 { i } else { 7 })), Some(7));
        assert_eq!(found(&mut (0..1000).map(|i| if i % 3 == 2 { i } else { 7 })), None);
        assert_eq!(found(&mut (0..1000).map(|i| i % 2)), None);
        assert_eq!(found(&mut (0..1000).map(|i| if i < 50 { 3 } else { 7 })), Some(7));
        let foreign = SiteCounts { target: None, ..record((0..100).map(|_| 7)) };
        assert_eq!([1, 2].map(|enough| record(std::iter::once(7)).dominant(enough).is_some()), [true, false]);
        assert_eq!(foreign.dominant(ENOUGH), None);
    }

    #[test]
    fn facts_are_found_by_offset() {
        let site = |offset, balance| SiteCounts { offset, target: Some(DefinedFuncIndex(offset)), balance, others: 1 };
        let facts = FuncCounts { entries: 3, sites: vec![site(3, 100), site(8, 2), site(12, 50)] }.facts(ENOUGH);
        assert_eq!([3, 8, 12, 13].map(|at| facts.target(at).map(|f| f.0)), [Some(3), None, Some(12), None]);
    }

    #[test]
    fn what_was_not_done_counts_where_enough_was_done() {
        let idle = SiteCounts { offset: 9, target: None, balance: 0, others: 0 };
        let once = SiteCounts { offset: 11, others: 1, ..idle };
        let facts = |entries| FuncCounts { entries, sites: vec![idle, once] }.facts(ENOUGH);
        assert_eq!((facts(49).is_known, facts(49).idle), (false, Vec::new()));
        assert_eq!((facts(50).is_known, facts(50).idle), (true, vec![9]));
    }
}
