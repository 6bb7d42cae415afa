//! At which of its loops a function is entered.
//!
//! The counter of loops nearly always runs out in the innermost one. Entered there, loops around it begin in the middle:
//! the compiler sees one large loop in place of several, and places and allocates worse. So arrivals are looked at for a
//! moment, and the function is entered at the loop among them that comes first in its body: the outermost one that is
//! reached often.

use std::time::{Duration, Instant};

/// For how long arrivals are looked at, and how many at least.
const MOMENT: Duration = Duration::from_millis(1);
const MIN_SAMPLES: usize = 16;

/// The latest of them count.
const SAMPLES: usize = 64;

/// Time between two of them, more or less: it takes a fraction of a microsecond to look.
const PAUSE: Duration = Duration::from_micros(25);

/// The same in arrivals: at first, at least and at most. No round numbers, as loops have those.
const INTERVALS: (i32, i32, i32) = (1_009, 67, 16_411);

/// How many arrivals that are looked at may be elsewhere while code for the chosen loop is there.
const PATIENCE: u32 = 2 * SAMPLES as u32;

/// Loops of one function at which it is entered. Each takes a body of its own.
const MAX_LOOPS: u8 = 4;

/// The latest arrivals at loops of one function, and what followed.
pub(super) struct Arrivals {
    seen: [u32; SAMPLES],
    count: usize,
    /// When the first and the last of them were.
    time: Option<(Instant, Instant)>,
    interval: i32,
    /// The loop to enter the function at, and how many were chosen so far.
    chosen: Option<u32>,
    loops: u8,
    /// Arrivals while there was no code for that loop, and arrivals elsewhere since there is.
    waited: u32,
    missed: u32,
}

impl Default for Arrivals {
    fn default() -> Self {
        let interval = INTERVALS.0;
        Arrivals { seen: [0; SAMPLES], count: 0, time: None, interval, chosen: None, loops: 0, waited: 0, missed: 0 }
    }
}

impl Arrivals {
    /// The loop at which the function is to be entered.
    pub(super) fn chosen(&self) -> Option<u32> {
        self.chosen
    }

    /// Notes an arrival at the loop at `offset`. Gives the loop for which code is to be made, or made sooner. `is_made`: there
    /// is code for the one that was chosen before, or there never will be.
    pub(super) fn note(&mut self, offset: u32, is_made: bool, now: Instant) -> Option<u32> {
        if self.chosen.is_none() {
            return self.look(offset, now);
        }
        if !is_made {
            self.waited += 1;
            return self.chosen.filter(|_| self.waited.is_power_of_two());
        }
        self.missed += 1;
        if self.missed < PATIENCE || self.loops >= MAX_LOOPS {
            return None;
        }
        // That one is not reached any more, but this one is.
        (self.chosen, self.loops) = (Some(offset), self.loops + 1);
        (self.waited, self.missed) = (0, 0);
        self.chosen
    }

    fn look(&mut self, offset: u32, now: Instant) -> Option<u32> {
        self.seen[self.count % SAMPLES] = offset;
        self.count += 1;
        let (first, pause) = match self.time {
            Some((first, last)) => (first, now.saturating_duration_since(last)),
            None => (now, PAUSE),
        };
        let (_, least, most) = INTERVALS;
        if pause < PAUSE / 2 {
            self.interval = (self.interval * 2 + 1).min(most);
        } else if pause > PAUSE * 2 {
            self.interval = (self.interval / 2).max(least);
        }
        self.time = Some((first, now));
        if self.count < MIN_SAMPLES || now.saturating_duration_since(first) < MOMENT {
            return None;
        }
        let seen = &self.seen[..self.count.min(SAMPLES)];
        (self.chosen, self.loops) = (seen.iter().min().copied(), 1);
        self.chosen
    }

    /// After how many arrivals to look again; `None` while there is nothing to be seen.
    pub(super) fn interval(&self, is_made: bool) -> Option<i32> {
        let is_looking = self.chosen.is_none() || is_made && self.missed < PATIENCE;
        is_looking.then_some(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals at these places, with a pause in between, up to the first for which there is an answer.
    fn arrive(arrivals: &mut Arrivals, pause: Duration, places: impl Iterator<Item = u32>) -> (usize, Option<u32>) {
        let mut now = Instant::now();
        for (i, at) in places.enumerate() {
            now += pause;
            if let Some(chosen) = arrivals.note(at, false, now) {
                return (i + 1, Some(chosen));
            }
        }
        (usize::MAX, None)
    }

    #[test]
    fn the_outermost_loop_that_is_reached_often_is_entered() {
        for pause in [PAUSE, MOMENT] {
            let mut arrivals = Arrivals::default();
            // An outer loop at 20 comes round once in eight times.
            let (count, chosen) = arrive(&mut arrivals, pause, (0..).map(|i| if i % 8 == 3 { 20 } else { 30 }));
            assert_eq!(chosen, Some(20));
            assert!((MIN_SAMPLES..=SAMPLES).contains(&count));
            assert_eq!(arrivals.interval(false), None);
            assert!(arrivals.interval(true).is_some());
        }
    }

    #[test]
    fn looking_costs_little_time_and_does_not_take_long() {
        let after = |pause| {
            let mut arrivals = Arrivals::default();
            arrive(&mut arrivals, pause, [1; 12].into_iter());
            arrivals.interval(false).unwrap()
        };
        assert_eq!(after(PAUSE), INTERVALS.0);
        assert!(after(PAUSE / 5) > INTERVALS.0 * 10);
        assert_eq!(after(PAUSE * 100), INTERVALS.1);
    }

    #[test]
    fn a_loop_that_is_reached_no_more_is_given_up() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrive(&mut arrivals, PAUSE, std::iter::repeat(10)).1, Some(10));
        // Its code takes long to make, and then the function is elsewhere.
        let now = Instant::now();
        assert!((0..1_000).filter_map(|_| arrivals.note(50, false, now)).all(|at| at == 10));
        let late = (0..PATIENCE).filter_map(|_| arrivals.note(50, true, now)).collect::<Vec<_>>();
        assert_eq!((late, arrivals.chosen()), (vec![50], Some(50)));
    }
}
