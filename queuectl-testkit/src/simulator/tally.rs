//! What has come about, and how often.

use std::collections::BTreeMap;

use queuectl_core::Change;

/// Counts by name: steps, faults, and the states that a run must have reached to mean anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

/// What a simulation of some length must have seen. One that has not is blind: what it did not find
/// may well be there.
const WANTED: &[&str] = &[
    "an attempt told that its lease is lost",
    "an enqueue repeated after an unknown outcome",
    "an event log turned off",
    "an older job told of",
    "a call answered after the lease",
    "a call failed after its effect",
    "a call failed before its effect",
    "a claim found by asking what is held",
    "a claim shared by weights",
    "a death after a commit",
    "a death before a call",
    "a death with attempts running",
    "a death with attempts that had not begun",
    "a job claimed again after its delay",
    "a job claimed after a batch",
    "a job claimed after a failure that it waited for",
    "a job claimed after those it waited for",
    "a job cancelled by the end of another",
    "a job cancelled while it ran",
    "a job changed by another with its key",
    "a job died of lost leases",
    "a job died of too many lost leases",
    "a job expired",
    "a job given back because it did not begin",
    "a job retried with another payload",
    "a late settlement refused",
    "a limit changed",
    "a limit kept jobs back",
    "a living worker declared lost",
    "a lost job claimed again",
    "a policy gave an attempt its time limit",
    "a policy of a kind changed",
    "a process stopped beyond its lease",
    "a restart with attempts running",
    "a retry by hand",
    "a schedule replaced",
    "a schedule run by hand",
    "a settlement repeated",
    "a tick made a job",
    "a tick overlapped",
    "a tick waited for the last job",
    "a unique key taken",
    "a weight changed",
    "a worker stopped for good by an order",
    "an orphan ended before the next attempt",
    "dead jobs deleted together",
    "dead jobs passed over",
    "dead jobs retried together",
    "jobs deleted",
    "jobs held in advance",
    "the wall clock set by years",
    "ticks missed",
];

/// What became of jobs, as the event log tells it: in the order of [`Change::ALL`].
const TOLD: [&str; Change::ALL.len()] = [
    "told: added",
    "told: claimed",
    "told: completed",
    "told: failed",
    "told: died",
    "told: snoozed",
    "told: released",
    "told: lease_lost",
    "told: cancel_requested",
    "told: cancelled",
    "told: expired",
    "told: unblocked",
    "told: retried",
    "told: deleted",
];

impl Tally {
    pub(super) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(super) fn add(&mut self, what: &'static str, number: u64) {
        *self.0.entry(what).or_default() += number;
    }

    pub(super) fn told(&mut self, change: Change) {
        self.count(TOLD[change as usize]);
    }

    /// How often it came about.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Tally) {
        for (what, number) in &other.0 {
            self.add(what, *number);
        }
    }

    /// Everything that was counted, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, number)| (*what, *number))
    }

    /// What should have come about at least so often, and has not.
    pub fn missed(&self, at_least: u64) -> Vec<&'static str> {
        WANTED.iter().chain(&TOLD).copied().filter(|what| self.of(what) < at_least).collect()
    }
}
