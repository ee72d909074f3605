//! A few short simulations of each store; `prove simulate` runs as many as there is time for.

use std::num::NonZeroUsize;
use std::sync::Arc;

use queuectl_core::{ManualClock, SqliteOptions, SqliteStore};
use queuectl_testkit::simulator::{Backend, Open, Seed, Tally, in_memory, run};

fn simulate(seeds: std::ops::Range<u64>, steps: u64, backend: Backend<'_>) -> Tally {
    let mut total = Tally::default();
    for seed in seeds {
        match run(Seed { seed, steps }, backend) {
            Ok(tally) => total.merge(&tally),
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
    }
    total
}

fn sqlite(clock: &Arc<ManualClock>, step: NonZeroUsize) -> Open {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::clone(clock);
    Box::new(move || {
        let path = folder.path().join("queue.db");
        let options = SqliteOptions {
            create: true,
            clock: Arc::clone(&clock) as _,
            step,
            ..SqliteOptions::default()
        };
        Arc::new(SqliteStore::open(path, options).expect("a store"))
    })
}

#[test]
fn in_memory_nothing_is_lost_and_nothing_runs_twice_at_once() {
    let tally = simulate(0..150, 500, &in_memory);
    assert_eq!(tally.missed(1), [""; 0], "{tally:#?}");
}

#[test]
fn in_sqlite_nothing_is_lost_and_nothing_runs_twice_at_once() {
    let tally = simulate(3..7, 500, &sqlite);
    assert!(tally.of("a step of what was left") > 0, "{tally:#?}");
}

#[test]
fn a_seed_decides_everything() {
    let once = simulate(7..9, 400, &in_memory);
    assert_eq!(once, simulate(7..9, 400, &in_memory));
}
