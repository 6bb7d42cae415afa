//! Decides which jumps are short and where padding goes, and where everything is then.
//!
//! All jumps begin in the long form, and those that reach their target get the short one, until no more do. That is right
//! after each round, so that the number of rounds can have a limit; starting from short jumps, it would be right at the
//! end only. Padding is chosen last: until then a jump across a place where some may go counts as much as there can be.

use super::read::{Branch, Reading};

/// Rounds of shortening. Real functions need three or four.
const MAX_ROUNDS: u32 = 16;

/// Greatest padding in front of a loop: less than a window.
pub(super) const MAX_PAD: u32 = WINDOW - 1;

/// What processors fetch, or keep decoded, at once.
const WINDOW: u32 = 32;

/// What newer ones keep at once.
const LINE: u32 = 64;

/// Bytes of the longest loops that are aligned.
const MAX_LOOP: u32 = 2 * LINE;

/// A loop whose place is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loop {
    /// Offset of its header.
    pub(super) header: u32,
    /// Where the last jump back to it ends.
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
    /// Short innermost loops, by header.
    pub(super) loops: Vec<Loop>,
    /// Bytes saved in front of each branch, and by all.
    saved: Vec<u32>,
    edits: Vec<Edit>,
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

    /// Notes innermost loops that are short and without calls.
    fn find_loops(&mut self, reading: &Reading) {
        let back = reading.branches.iter().filter(|b| b.target <= b.start);
        self.loops.extend(back.map(|b| Loop { header: b.target, end: b.end(), pad: 0 }));
        // The last end of each header comes first, and stays.
        self.loops.sort_unstable_by_key(|l| (l.header, u32::MAX - l.end));
        self.loops.dedup_by_key(|l| l.header);
        let mut next = u32::MAX;
        for l in self.loops.iter_mut().rev() {
            let is_innermost = l.end <= next;
            next = l.header;
            let (header, end) = (l.header, l.end);
            let call = reading.calls.get(reading.calls.partition_point(|c| *c <= header));
            let table = reading.tables.get(reading.tables.partition_point(|t| t.start <= header));
            // Jumps are still long. A fourth of the code is more than they can lose.
            let is_long = end - header > MAX_LOOP + MAX_LOOP / 4;
            if !is_innermost || is_long || call.is_some_and(|c| *c <= end) || table.is_some_and(|t| t.start < end) {
                l.end = 0;
            }
        }
        self.loops.retain(|l| l.end != 0);
    }

    /// Counts for each branch the branches in front of its target, and the loops whose padding it crosses.
    fn relate(&self, branches: &mut [Branch]) {
        for i in 0..branches.len() {
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
        self.edits.clear();
        let (mut shift, mut next) = (0, 0);
        for l in &mut self.loops {
            let first = branches.partition_point(|b| b.start < l.header);
            for b in branches[next..first].iter().filter(|b| b.short) {
                shift -= b.saving() as i32;
                self.edits.push(Edit { at: b.end(), is_pad: false, shift });
            }
            next = first;
            let body = &branches[first..branches.partition_point(|b| b.start < l.end)];
            let place = l.header.wrapping_add_signed(shift);
            let (pad, align) = padding(place, l.header, l.end, body);
            if pad > 0 {
                shift += pad as i32;
                self.edits.push(Edit { at: l.header, is_pad: true, shift });
            }
            l.pad = pad;
            self.align = self.align.max(align);
        }
        for b in branches[next..].iter().filter(|b| b.short) {
            shift -= b.saving() as i32;
            self.edits.push(Edit { at: b.end(), is_pad: false, shift });
        }
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

/// The padding in front of a loop that would begin at `place`, and the alignment of the function that this presumes.
///
/// As few windows as possible, then as few lines; then as few jumps as possible that touch the end of a window (some of
/// Intel's processors do not keep those decoded), and the least padding of that.
fn padding(place: u32, header: u32, end: u32, body: &[Branch]) -> (u32, u32) {
    let saved: u32 = body.iter().filter(|b| b.short).map(Branch::saving).sum();
    let len = end - header - saved;
    if len > MAX_LOOP {
        return (0, 1);
    }
    let touched = |start: u32, size| (start + len - 1) / size - start / size;
    let cost = |pad: u32| {
        let mut shift = (place + pad).wrapping_sub(header);
        let mut slow = 0;
        for b in body {
            let (from, to) = (b.start.wrapping_add(shift), b.start.wrapping_add(shift) + b.len());
            // What it may be fused with is in the loop too, unless the jump is all of it.
            let from = if b.conditional { from.saturating_sub(b.before.into()).max(place + pad) } else { from };
            slow += u32::from(from / WINDOW != to / WINDOW);
            shift = shift.wrapping_sub(if b.short { b.saving() } else { 0 });
        }
        (touched(place + pad, WINDOW), touched(place + pad, LINE), slow, pad)
    };
    let best = (0..=MAX_PAD).map(cost).min().map_or(0, |(.., pad)| pad);
    (best, if len > WINDOW { LINE } else { WINDOW })
}
