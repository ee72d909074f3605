//! Simulated worlds, one for each seed, on as many threads as there are cores.

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
/// What a run of some length must have seen, for each thousand of its seeds.
const SEEN_PER_THOUSAND: u64 = 10;

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
    if options.seed.is_none() && score.violations.is_empty() {
        for what in tally.missed(1 + seeds * SEEN_PER_THOUSAND / 1_000) {
            let times = count(tally.of(what));
            score.violations.push(format!("blind: {what} came about {times} times only"));
        }
    }
    score
}

/// A store in files that are in memory, where there is such a file system.
fn sqlite(clock: &Arc<ManualClock>) -> Open {
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
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(folder.path().join("queue.db"), options);
        Arc::new(store.expect("a store"))
    })
}
