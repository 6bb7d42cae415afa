//! What is known about how the functions of a module ran.

use serde::{Deserialize, Serialize};

use crate::index::DefinedFuncIndex;

/// Calls from which on a target is believed to be what is called mostly, and entries of a function from which on it is
/// believed to have done all that it mostly does.
pub const ENOUGH: u64 = 50;
/// The share of the calls, in percent, that goes to what is believed to be called mostly: one function, or two together.
const DOMINANT: u64 = 80;
/// The share, in percent, from which on a second function is one of them.
const SECOND: u64 = 10;

/// A function that an indirect call called often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Which one; `None` if it is none of the module's own.
    pub target: Option<DefinedFuncIndex>,
    /// How often it was called, less the calls of functions that are no candidates.
    pub count: u32,
}

/// What an indirect call called: see [`crate::tier::site`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SiteCounts {
    /// Offset of the call in the body.
    pub offset: u32,
    /// The two functions that were called most.
    pub candidates: [Candidate; 2],
    /// How many calls of others were taken off both counts.
    pub others: u32,
}

impl SiteCounts {
    /// How many calls there were. Each was counted for a candidate, or was taken off both.
    fn calls(&self) -> u64 {
        let counted: u64 = self.candidates.iter().map(|candidate| u64::from(candidate.count)).sum();
        counted + 3 * u64::from(self.others)
    }

    /// The functions that are nearly always called, the likelier first, if there were enough calls.
    fn dominant(&self, enough: u64) -> impl Iterator<Item = DefinedFuncIndex> {
        let (calls, [mut first, mut second]) = (self.calls(), self.candidates);
        if first.count < second.count {
            (first, second) = (second, first);
        }
        // A candidate from the first call on lost one for each of the others. Of the second that is less certain: its place is
        // the one that others took in between.
        let others = u64::from(self.others);
        let alone = (u64::from(first.count) + others) * 100 >= calls * DOMINANT;
        let together = (calls - others) * 100 >= calls * DOMINANT;
        let has_share = u64::from(second.count) * 100 >= calls * SECOND;
        let second = second.target.filter(|_| together && has_share);
        let first = first.target.filter(|_| calls >= enough.max(1) && (alone || second.is_some()));
        first.into_iter().chain(second.filter(|_| first.is_some()))
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
        let likely = |site: &SiteCounts| site.dominant(enough).map(|target| (site.offset, target)).collect::<Vec<_>>();
        let targets = self.sites.iter().flat_map(likely).collect();
        let is_known = u64::from(self.entries) >= enough;
        let idle = self.sites.iter().filter(|site| is_known && site.calls() == 0).map(|site| site.offset).collect();
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
    /// Indirect calls that nearly always call the same function, or one of two: offset in the body, function. By ascending
    /// offset, the likelier function first.
    pub targets: Vec<(u32, DefinedFuncIndex)>,
    /// Indirect calls that it has never come to, likewise; none if it is not known so well.
    pub idle: Vec<u32>,
}

impl FuncFacts {
    /// What the indirect call at an offset of the body is likely to call: nothing, or one function or two, the likelier first.
    pub fn targets(&self, offset: u32) -> impl Iterator<Item = DefinedFuncIndex> {
        let from = self.targets.partition_point(|(at, _)| *at < offset);
        self.targets[from..].iter().take_while(move |(at, _)| *at == offset).map(|(_, target)| *target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a site's record says after these calls: as compiled code keeps it.
    fn record(calls: impl Iterator<Item = u32>) -> SiteCounts {
        let (mut slots, mut others) = ([(u32::MAX, 0); 2], 0);
        for call in calls {
            let found = slots.iter().position(|(target, _)| *target == call);
            let free = || slots.iter().position(|(_, count)| *count == 0);
            if let Some(at) = found.or_else(free) {
                slots[at] = (call, slots[at].1 + 1);
            } else {
                slots.iter_mut().for_each(|(_, count)| *count -= 1);
                others += 1;
            }
        }
        let candidate = |(target, count)| Candidate { target: Some(DefinedFuncIndex(target)), count };
        SiteCounts { offset: 0, candidates: slots.map(candidate), others }
    }

    fn found(calls: impl Iterator<Item = u32> + Clone) -> Vec<u32> {
        let site = record(calls.clone());
        assert_eq!(site.calls(), calls.count() as u64);
        site.dominant(ENOUGH).map(|f| f.0).collect()
    }

    #[test]
    fn what_is_called_mostly_is_found() {
        assert_eq!(found((0..100).map(|_| 7)), [7]);
        assert_eq!(found((0..5).map(|_| 7)), [0; 0], "too few calls");
        assert_eq!(found((0..1000).map(|i| if i % 10 == 9 { i } else { 7 })), [7]);
        assert_eq!(found((0..1000).map(|i| if i % 3 == 2 { i } else { 7 })), [0; 0]);
        assert_eq!(found((0..1000).map(|i| if i < 50 { 3 } else { 7 })), [7]);
        let mut foreign = record((0..100).map(|_| 7));
        foreign.candidates[0].target = None;
        assert_eq!([0, 1, 2].map(|enough| record(std::iter::once(7)).dominant(enough).count()), [1, 1, 0]);
        assert_eq!(foreign.dominant(ENOUGH).count(), 0);
        assert_eq!(record(std::iter::empty()).dominant(0).count(), 0);
    }

    #[test]
    fn two_functions_are_found_if_both_are_called_often() {
        assert_eq!(found((0..1000).map(|i| i % 2)), [0, 1]);
        assert_eq!(found((0..1000).map(|i| if i % 3 == 0 { 4 } else { 5 })), [5, 4]);
        assert_eq!(found((0..1000).map(|i| if i < 50 { 9 } else { i % 2 })), [1, 0], "another one at first");
        assert_eq!(found((0..1000).map(|i| i % 3)), [0; 0]);
        assert_eq!(found((0..1000).map(|i| if i % 20 == 0 { 4 } else { 5 })), [5], "too small a share");
        // With others among them.
        assert_eq!(found((0..1000).map(|i| if i % 10 == 9 { i } else { i % 2 })), [0, 1]);
        assert_eq!(found((0..1000).map(|i| if i % 4 == 3 { i } else { i % 2 })), [0; 0]);
        assert_eq!(found((0..1000).map(|i| if i % 7 == 6 { i } else { 3 })), [3]);
        // One that is not the module's own.
        let mut foreign = record((0..1000).map(|i| if i % 3 == 0 { 4 } else { 5 }));
        foreign.candidates[0].target = None;
        assert_eq!(foreign.dominant(ENOUGH).count(), 0);
        let mut foreign = record((0..1000).map(|i| if i % 7 == 0 { 4 } else { 5 }));
        foreign.candidates[0].target = None;
        assert_eq!(foreign.dominant(ENOUGH).map(|f| f.0).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn facts_are_found_by_offset() {
        let candidate = |target, count| Candidate { target: Some(DefinedFuncIndex(target)), count };
        let site = |offset, counts: [u32; 2]| {
            let candidates = [candidate(offset, counts[0]), candidate(offset + 1, counts[1])];
            SiteCounts { offset, candidates, others: 0 }
        };
        let sites = vec![site(3, [100, 0]), site(8, [2, 0]), site(12, [50, 60])];
        let facts = FuncCounts { entries: 3, sites }.facts(ENOUGH);
        let targets = |at| facts.targets(at).map(|f| f.0).collect::<Vec<_>>();
        assert_eq!([3, 8, 12, 13].map(targets), [vec![3], vec![], vec![13, 12], vec![]]);
    }

    #[test]
    fn what_was_not_done_counts_where_enough_was_done() {
        let nobody = Candidate { target: None, count: 0 };
        let idle = SiteCounts { offset: 9, candidates: [nobody; 2], others: 0 };
        let once = SiteCounts { offset: 11, candidates: [Candidate { count: 1, ..nobody }, nobody], others: 0 };
        let facts = |entries| FuncCounts { entries, sites: vec![idle, once] }.facts(ENOUGH);
        assert_eq!((facts(49).is_known, facts(49).idle), (false, Vec::new()));
        assert_eq!((facts(50).is_known, facts(50).idle), (true, vec![9]));
    }
}
