//! Simulated worlds, one for each seed, on as many threads as there are cores.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use queuectl_core::{Clock, ManualClock, SqliteOptions, SqliteStore, SystemClock};
use queuectl_testkit::simulator::{self, Backend, Failure, Open, Seed, Tally, in_memory};

use crate::scoreboard::{Score, count};

/// How long a world lives before it comes to rest. Longer ones have more history, shorter ones more
/// variety.
const STEPS: u64 = 2_000;
/// How often in a million steps each of what a run must have seen comes about: 500 worlds, on
/// 2026-11-22, and 60 for what the event log tells, on 2026-11-27.
const USUAL: &[(&str, u64)] = &[
    ("an attempt told that its lease is lost", 3_400),
    ("an enqueue repeated after an unknown outcome", 2_500),
    ("an event log turned off", 200),
    ("an older job told of", 2_200),
    ("a call answered after the lease", 4_600),
    ("a call failed after its effect", 10_000),
    ("a call failed before its effect", 21_000),
    ("a claim found by asking what is held", 2_300),
    ("a claim shared by weights", 4_900),
    ("a death after a commit", 490),
    ("a death before a call", 520),
    ("a death with attempts running", 2_800),
    ("a death with attempts that had not begun", 280),
    ("a job claimed again after its delay", 23_000),
    ("a job claimed after a batch", 1_000),
    ("a job claimed after a failure that it waited for", 630),
    ("a job claimed after those it waited for", 3_800),
    ("a job cancelled by the end of another", 67),
    ("a job cancelled while it ran", 1_400),
    ("a job changed by another with its key", 1_700),
    ("a job died of lost leases", 4_800),
    ("a job died of too many lost leases", 2_400),
    ("a job expired", 6_400),
    ("a job given back because it did not begin", 37_000),
    ("a job retried with another payload", 650),
    ("a late settlement refused", 2_500),
    ("a limit changed", 3_300),
    ("a limit kept jobs back", 16_000),
    ("a living worker declared lost", 3_400),
    ("a lost job claimed again", 12_000),
    ("a policy gave an attempt its time limit", 8_000),
    ("a policy of a kind changed", 1_100),
    ("a process stopped beyond its lease", 870),
    ("a restart with attempts running", 480),
    ("a retry by hand", 9_000),
    ("a schedule replaced", 2_200),
    ("a schedule run by hand", 280),
    ("a settlement repeated", 1_200),
    ("a tick made a job", 1_900),
    ("a tick overlapped", 1_700),
    ("a tick waited for the last job", 310),
    ("a unique key taken", 9_200),
    ("a weight changed", 1_200),
    ("a worker stopped for good by an order", 1_000),
    ("an orphan ended before the next attempt", 610),
    ("dead jobs deleted together", 430),
    ("dead jobs passed over", 100),
    ("dead jobs retried together", 1_200),
    ("jobs deleted", 21_000),
    ("jobs held in advance", 7_200),
    ("the wall clock set by years", 1_200),
    ("ticks missed", 930),
    ("told: added", 36_000),
    ("told: claimed", 92_000),
    ("told: completed", 21_000),
    ("told: failed", 6_700),
    ("told: died", 8_600),
    ("told: snoozed", 3_000),
    ("told: released", 45_000),
    ("told: lease_lost", 5_100),
    ("told: cancel_requested", 290),
    ("told: cancelled", 4_500),
    ("told: expired", 4_700),
    ("told: unblocked", 2_300),
    ("told: retried", 8_400),
    ("told: deleted", 13_000),
];
/// The same for what a store in memory does at once.
const USUAL_IN_FILES: &[(&str, u64)] = &[("a step of what was left", 1_000)];
/// One that has seen less than this part of it is blind. Of 25 runs of 40 worlds each, the poorest in
/// anything had 0.29 of what is usual; of 5 runs of 200, it was 0.82.
const ENOUGH: u64 = 3;
/// Fewer worlds, or shorter ones, are too few to be judged.
const JUDGED_FROM: u64 = 100;

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How many worlds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Steps in each, before it comes to rest
    #[arg(long, default_value_t = STEPS, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This world only; with --details its whole story, if it fails
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Which store
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    store: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// SQLite, with its files in memory
    Sqlite,
    /// The store in memory
    Memory,
}

impl Options {
    /// The command that shows one world again.
    fn replay(&self, seed: u64) -> String {
        let store = if self.store == Kind::Sqlite { "" } else { " --store memory" };
        format!("prove simulate --seed {seed} --steps {}{store}", self.steps)
    }
}

/// Failures after which it is pointless to go on.
const FAILURES_MAX: usize = 5;

pub(crate) fn run(options: &Options) -> Score {
    let mut score = Score::new(match options.store {
        Kind::Sqlite => "simulation, SQLite",
        Kind::Memory => "simulation, in memory",
    });
    let began = SystemClock.boot();
    let (first, seeds) = options.seed.map_or((options.first, options.seeds), |seed| (seed, 1));
    let next = AtomicU64::new(first);
    let total = Mutex::new((Tally::default(), Vec::<Failure>::new()));
    // A broken promise is a panic, and is told with its story in the end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut own = Tally::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failures = total.lock().unwrap_or_else(PoisonError::into_inner).1.len();
                    if seed >= first + seeds || failures >= FAILURES_MAX {
                        break;
                    }
                    let backend: Backend<'_> =
                        if options.store == Kind::Sqlite { &sqlite } else { &in_memory };
                    match simulator::run(Seed { seed, steps: options.steps }, backend) {
                        Ok(tally) => own.merge(&tally),
                        Err(failure) => {
                            total.lock().unwrap_or_else(PoisonError::into_inner).1.push(failure);
                        }
                    }
                }
                total.lock().unwrap_or_else(PoisonError::into_inner).0.merge(&own);
            });
        }
    });
    std::panic::set_hook(hook);
    let (tally, failures) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    score.took = SystemClock.boot().since(began);
    score.figure("seeds", count(seeds));
    for what in ["steps", "jobs"] {
        score.figure(what, count(tally.of(what)));
    }
    score.details.extend(tally.iter().map(|(what, times)| format!("{}: {what}", count(times))));
    for failure in failures {
        if options.seed.is_some() {
            score.details.extend(failure.story.iter().cloned());
        }
        score.violations.push(format!("{failure}again: {}", options.replay(failure.seed.seed)));
    }
    let is_judged = seeds >= JUDGED_FROM && options.steps >= STEPS;
    if is_judged && score.violations.is_empty() {
        score.violations = blind(&tally, USUAL);
        if options.store == Kind::Sqlite {
            score.violations.extend(blind(&tally, USUAL_IN_FILES));
        }
    }
    score
}

/// What came about so rarely that what was not found may well be there.
fn blind(tally: &Tally, usual: &[(&str, u64)]) -> Vec<String> {
    let steps = tally.of("steps");
    let seen = usual.iter().map(|&(what, usual)| (what, tally.of(what), usual * steps / 1_000_000));
    let rare = seen.filter(|(_, times, usual)| times * ENOUGH < *usual);
    rare.map(|(what, times, usual)| {
        format!("blind: {what}: {} times, where {} are usual", count(times), count(usual))
    })
    .collect()
}

/// A store in files that are in memory, where there is such a file system.
fn sqlite(clock: &Arc<ManualClock>, step: NonZeroUsize) -> Open {
    let shared = PathBuf::from("/dev/shm");
    let parent = if shared.is_dir() { shared } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new()
        .prefix("queuectl-simulation-")
        .tempdir_in(parent)
        .expect("a folder for the store");
    let clock = Arc::clone(clock);
    Box::new(move || {
        let options = SqliteOptions {
            create: true,
            clock: Arc::clone(&clock) as _,
            step,
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(folder.path().join("queue.db"), options);
        Arc::new(store.expect("a store"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_how_often_each_thing_comes_about() {
        let known: Vec<_> = USUAL.iter().map(|(what, _)| *what).collect();
        assert_eq!(known, Tally::default().missed(1));
    }

    /// A hundred times the same world: whatever it has not seen, nobody has.
    #[test]
    fn what_never_came_about_makes_a_run_blind() {
        let world = simulator::run(Seed { seed: 1, steps: STEPS }, &in_memory);
        let world = world.map_err(|failure| failure.broken).unwrap();
        let mut tally = Tally::default();
        (0..100).for_each(|_| tally.merge(&world));
        let blind = blind(&tally, USUAL);
        for (what, _) in USUAL {
            let is_told = blind.iter().any(|told| told.contains(what));
            assert!(is_told || world.of(what) > 0, "{what}");
        }
        assert!(!blind.is_empty() && blind.len() < USUAL.len());
    }
}
