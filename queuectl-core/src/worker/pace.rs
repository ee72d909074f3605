//! How many jobs a worker holds at a time.
//!
//! A commit costs about the same for one job as for many, so short jobs are claimed many at a time.
//! But what one worker holds no other can run, so it holds no more than it will have run in a moment.

use std::time::Duration;

/// The most jobs that one worker holds at a time, when each takes next to no time.
const HELD_MAX: u32 = 1024;
/// How long it should take a worker to run all that it holds.
const MOMENT: Duration = Duration::from_millis(20);
/// What an attempt can count for at least, when attempts seem to take no time at all.
const LITTLE: Duration = Duration::from_micros(250);

/// How many jobs a worker holds, and how long they have taken of late.
#[derive(Debug)]
pub(super) struct Pace {
    holds: u32,
    typical: Option<Duration>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace { holds: 1, typical: None }
    }

    /// How many jobs to hold at a time.
    pub(super) fn holds(&self) -> usize {
        self.holds as usize
    }

    /// A claim has brought all that was asked for, so there is more.
    pub(super) fn more(&mut self) {
        self.holds = (self.holds * 4).min(self.bearable());
    }

    /// An attempt took so long. Whether so much is held that some of it should be given back.
    pub(super) fn took(&mut self, took: Duration) -> bool {
        // Each counts for a sixteenth, and one that was held up for once for not much more.
        let typical = self
            .typical
            .map_or(took, |typical| typical - typical / 16 + took.min(typical * 16 + LITTLE) / 16);
        self.typical = Some(typical);
        let (before, bearable) = (self.holds, self.bearable());
        self.holds = before.min(bearable);
        before / 2 > bearable
    }

    /// Nothing ends any more: nothing is to be held behind what runs.
    pub(super) fn stalled(&mut self) {
        self.holds = 1;
    }

    fn bearable(&self) -> u32 {
        let Some(typical) = self.typical else {
            return 1;
        };
        let jobs = MOMENT.as_nanos() / typical.as_nanos().max(1);
        u32::try_from(jobs).unwrap_or(HELD_MAX).clamp(1, HELD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many attempts that took so long, in a line that has no end.
    fn after(pace: &mut Pace, attempts: usize, micros: u64) -> bool {
        let mut given_back = false;
        for _ in 0..attempts {
            pace.more();
            given_back |= pace.took(Duration::from_micros(micros));
        }
        given_back
    }

    #[test]
    fn the_first_job_is_held_alone() {
        let mut pace = Pace::new();
        pace.more();
        assert_eq!(pace.holds(), 1);
    }

    #[test]
    fn a_worker_holds_what_it_will_have_run_in_a_moment() {
        for (micros, holds) in [(0, 1024), (10, 1024), (100, 200), (1_000, 20), (9_000, 2)] {
            let mut pace = Pace::new();
            assert!(!after(&mut pace, 100, micros));
            assert_eq!(pace.holds(), holds, "{micros} µs each");
        }
        let mut pace = Pace::new();
        after(&mut pace, 100, 50_000);
        assert_eq!(pace.holds(), 1);
    }

    #[test]
    fn one_attempt_that_was_held_up_changes_nothing() {
        let mut pace = Pace::new();
        after(&mut pace, 100, 10);
        assert!(!pace.took(Duration::from_secs(1)));
        assert!(pace.holds() > 500);
    }

    #[test]
    fn when_jobs_begin_to_take_long_what_is_held_is_given_back_after_some() {
        let mut pace = Pace::new();
        after(&mut pace, 100, 10);
        assert!(after(&mut pace, 8, 50_000));
        assert!(pace.holds() < 20, "{pace:?}");
    }
}
