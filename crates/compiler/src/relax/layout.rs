//! Decides which jumps are short and where padding goes, and where everything is then.
//!
//! All jumps begin in the long form, and those that reach their target get the short one, until no more do. That is right
//! after each round, so that the number of rounds can have a limit; starting from short jumps, it would be right at the
//! end only. Padding is chosen last: until then a jump across a place where some may go counts as much as there can be.

use std::ops::Range;

use super::read::{Branch, Reading};

/// Rounds of shortening. Real functions need three or four.
const MAX_ROUNDS: u32 = 16;

/// Greatest padding in front of a loop: less than a line.
pub(super) const MAX_PAD: u32 = LINE - 1;

/// How much more it may be for the sake of windows.
const MAX_PAD_FOR_WINDOWS: u32 = 15;

/// What newer processors fetch, or keep decoded, at once.
const LINE: u32 = 64;

/// The same of others.
const WINDOW: u32 = 32;

/// Bytes of the longest loops that are aligned.
const MAX_LOOP: u32 = 2 * LINE;

/// Bytes from a loop's header to a jump through a table, where it is that way which is aligned.
const MAX_DISPATCH: u32 = LINE;

/// A loop whose place is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    /// Offset of its header.
    pub(super) header: u32,
    /// Where the last jump back to it ends; of an interpreter's loop, the jump through the first table.
    end: u32,
    /// Bytes in front of it.
    pub(super) pad: u32,
}

/// From some offset on, things move by so much.
#[derive(Clone, Copy)]
struct Edit {
    /// The offset before.
    at: u32,
    /// Whether it is padding: what ends at the offset stays in front.
    is_pad: bool,
    /// New offset less the one before.
    shift: i32,
}

/// The new layout of one function.
#[derive(Default)]
pub(super) struct Layout {
    /// Short loops, by header; of nested ones the outermost. Of long ones their way to a jump through a table, if that is short.
    pub(super) loops: Vec<Loop>,
    /// Bytes saved in front of each branch, and by all.
    saved: Vec<u32>,
    edits: Vec<Edit>,
    shape: Shape,
    /// Alignment that the places of loops presume.
    pub(super) align: u32,
}

impl Layout {
    /// Lays out a function with these branches.
    pub(super) fn run(&mut self, reading: &mut Reading, shorten: bool, align: bool) {
        (self.align, _) = (1, self.loops.clear());
        if align {
            self.find_loops(reading);
        }
        self.relate(&mut reading.branches);
        if shorten {
            for _ in 0..MAX_ROUNDS {
                if !self.shorten(&mut reading.branches) {
                    break;
                }
            }
        }
        self.save(&reading.branches);
        self.place(&reading.branches);
    }

    /// Notes the outermost of the loops that are short and without calls, and the dispatch of interpreters.
    fn find_loops(&mut self, reading: &Reading) {
        let back = reading.branches.iter().filter(|b| b.target <= b.start);
        self.loops.extend(back.map(|b| Loop { header: b.target, end: b.end(), pad: 0 }));
        // The last end of each header comes first. Where that is too far, a nearer one may do: loops around the one at which
        // a function is entered have its header, too.
        self.loops.sort_unstable_by_key(|l| (l.header, u32::MAX - l.end));
        let mut taken = 0;
        // Jumps are still long. A fourth of the code is more than they can lose.
        let is_short = |len: u32, limit: u32| len <= limit + limit / 4;
        self.loops.retain_mut(|l| {
            let call = reading.calls.get(reading.calls.partition_point(|c| *c <= l.header));
            let table = reading.tables.get(reading.tables.partition_point(|t| t.start <= l.header));
            if let Some(table) = table.filter(|t| t.start < l.end) {
                // Only the way to the jump counts: what comes behind is another place each time.
                if !is_short(table.start - l.header, MAX_DISPATCH) {
                    return false;
                }
                l.end = table.start;
            }
            let is_simple = call.is_none_or(|c| *c > l.end);
            let is_chosen = l.header >= taken && is_short(l.end - l.header, MAX_LOOP) && is_simple;
            if is_chosen {
                taken = l.end;
            }
            is_chosen
        });
    }

    /// Counts for each branch the branches in front of it and of its target, and the loops whose padding it crosses.
    fn relate(&self, branches: &mut [Branch]) {
        for i in 0..branches.len() {
            branches[i].index = i as u32;
            let Branch { target, .. } = branches[i];
            branches[i].rank = branches.partition_point(|b| b.start < target) as u32;
            let to = self.loops.partition_point(|l| l.header <= target);
            let from = self.loops.partition_point(|l| l.header < branches[i].end());
            branches[i].crossed = to.abs_diff(from) as u32;
        }
    }

    /// Sums up what branches save.
    fn save(&mut self, branches: &[Branch]) {
        self.saved.clear();
        let mut sum = 0;
        self.saved.push(sum);
        self.saved.extend(branches.iter().map(|b| {
            sum += if b.short { b.saving() } else { 0 };
            sum
        }));
    }

    /// Shortens the branches that reach their targets. Returns whether there are any.
    fn shorten(&mut self, branches: &mut [Branch]) -> bool {
        self.save(branches);
        let mut found = false;
        for (i, b) in branches.iter_mut().enumerate().filter(|(_, b)| !b.short) {
            let between = self.saved[i].abs_diff(self.saved[b.rank as usize]);
            let padding = b.crossed * MAX_PAD;
            b.short = if b.target > b.start {
                b.target - b.end() - between + padding <= 127
            } else {
                b.end() - b.saving() - b.target - between + padding <= 128
            };
            found |= b.short;
        }
        found
    }

    /// Chooses padding, and notes where things move.
    fn place(&mut self, branches: &[Branch]) {
        let Layout { loops, saved, edits, shape, align } = self;
        edits.clear();
        let mut shift = 0;
        let mut note = |edits: &mut Vec<Edit>, passed: &[Branch], pad: Option<&Loop>| {
            for b in passed.iter().filter(|b| b.short) {
                shift -= b.saving() as i32;
                edits.push(Edit { at: b.end(), is_pad: false, shift });
            }
            if let Some(l) = pad.filter(|l| l.pad > 0) {
                shift += l.pad as i32;
                edits.push(Edit { at: l.header, is_pad: true, shift });
            }
        };
        let (mut next, mut padded) = (0, 0);
        for l in loops {
            let first = branches.partition_point(|b| b.start < l.header);
            let last = branches.partition_point(|b| b.start < l.end);
            shape.draw(l, branches, first..last, |at, rank| at - l.header - (saved[rank] - saved[first]));
            if shape.len <= MAX_LOOP {
                l.pad = shape.padding(l.header - saved[first] + padded);
                padded += l.pad;
                *align = LINE;
            }
            note(edits, &branches[next..first], Some(l));
            next = first;
        }
        note(edits, &branches[next..], None);
    }

    /// Whether everything stays where it was.
    pub(super) fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Where the code ends that ended at `at`.
    pub(super) fn end(&self, at: u32) -> u32 {
        self.shifted(at, self.edits.partition_point(|e| e.at < at || e.at == at && !e.is_pad))
    }

    /// Where the instruction begins that began at `at`.
    pub(super) fn start(&self, at: u32) -> u32 {
        self.shifted(at, self.edits.partition_point(|e| e.at <= at))
    }

    fn shifted(&self, at: u32, edits: usize) -> u32 {
        at.wrapping_add_signed(edits.checked_sub(1).map_or(0, |last| self.edits[last].shift))
    }
}

/// The outline of a loop, by distances from its header.
#[derive(Default)]
struct Shape {
    len: u32,
    /// Where its basic blocks begin and end.
    cuts: Vec<u32>,
    /// Its jumps, each with the instruction in front that processors may fuse it with.
    jumps: Vec<(u32, u32)>,
}

impl Shape {
    /// Takes down a loop with the branches of these numbers. `moved` gives the distance of an offset with so many branches in
    /// front.
    fn draw(&mut self, l: &Loop, branches: &[Branch], body: Range<usize>, moved: impl Fn(u32, usize) -> u32) {
        self.cuts.clear();
        self.jumps.clear();
        self.len = moved(l.end, body.end);
        self.cuts.extend([0, self.len]);
        for (i, b) in body.clone().zip(&branches[body]) {
            let start = moved(b.start, i);
            let front = if b.conditional { u32::from(b.before).min(start) } else { 0 };
            self.jumps.push((start - front, start + b.len()));
            self.cuts.push(start + b.len());
            if l.header < b.target && b.target < l.end {
                self.cuts.push(moved(b.target, b.rank as usize));
            }
        }
        self.cuts.sort_unstable();
        self.cuts.dedup();
    }

    /// The padding in front of the loop, if it would begin at `place` without: as little as leaves the fewest ends of lines
    /// within, or a little more if that is better for windows.
    fn padding(&self, place: u32) -> u32 {
        let least = (0..=MAX_PAD).min_by_key(|pad| self.ends(place + pad, LINE)).unwrap_or(0);
        let more = least..=MAX_PAD.min(least + MAX_PAD_FOR_WINDOWS);
        more.min_by_key(|pad| self.cost(place + pad)).unwrap_or(least)
    }

    /// Ends of lines, then of windows, then jumps that touch the end of a window: some of Intel's processors do not keep
    /// those decoded.
    fn cost(&self, place: u32) -> (u32, u32, u32) {
        let slow = self.jumps.iter().filter(|(from, to)| (place + from) / WINDOW != (place + to) / WINDOW);
        (self.ends(place, LINE), self.ends(place, WINDOW), slow.count() as u32)
    }

    /// How many ends of pieces of this size lie within the loop and within its blocks.
    fn ends(&self, place: u32, size: u32) -> u32 {
        let within = |from: u32, to: u32| (place + to - 1) / size - (place + from) / size;
        self.cuts.windows(2).map(|block| within(block[0], block[1])).sum::<u32>() + within(0, self.len)
    }
}
