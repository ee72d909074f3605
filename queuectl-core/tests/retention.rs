//! What a month of load leaves of a store that keeps so many jobs: as much as a day does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, JobQuery, Queues, Registration, Settlement, Verdict};
use queuectl_core::{
    Cause, Clock, Durability, Lease, ManualClock, Name, NewJob, Report, Setting, SqliteOptions,
    SqliteStore, State, Store, WorkerKey,
};

const HOUR: Duration = Duration::from_secs(3_600);
const JOBS_AN_HOUR: usize = 60;

/// A job in ten dies, with an error; the others complete.
fn an_hour_of_work(store: &SqliteStore, clock: &ManualClock, worker: WorkerKey) {
    let payload = "x".repeat(400);
    let jobs: Vec<_> = (0..JOBS_AN_HOUR).map(|_| NewJob::new("k", &payload).unwrap()).collect();
    store.enqueue(&jobs).unwrap();
    let claimed = claim(store, worker, JOBS_AN_HOUR);
    let end = |(n, lease)| {
        let failed = || Report::failure(Cause::Failed, format!("no route to host {n}"));
        let (verdict, report) = match n % 10 {
            0 => (Verdict::Die, Some(Box::new(failed()))),
            _ => (Verdict::Complete { result: None }, None),
        };
        Settlement { report, ..settlement(lease, verdict, clock) }
    };
    let ends: Vec<_> = claimed.into_iter().enumerate().map(end).collect();
    assert_eq!(store.exchange(&ends, None).unwrap().refused, []);
    clock.advance(HOUR);
    store.renew(&[worker], 2 * HOUR).unwrap();
    while store.prune().unwrap() > 0 {}
}

/// The oldest may hold their unique keys, and are then not in the way of the others. There were so many that each
/// call looked at them and at nothing else.
#[test]
fn dead_jobs_that_are_spared_do_not_keep_the_others() {
    const SPARED: usize = 3_000;
    const MORE: usize = 1_200;
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open(&folder.path().join("queue.db"));
    let worker = register(&store);
    let job = || NewJob::new("k", &()).unwrap();
    let keyed = |n| job().unique_key(format!("key {n}")).unwrap().unique_for(HOUR);
    for jobs in [(0..SPARED).map(keyed).collect(), vec![job(); MORE]] {
        store.enqueue(&jobs).unwrap();
        let ends: Vec<_> = (claim(&store, worker, jobs.len()).iter())
            .map(|lease| settlement(*lease, Verdict::Die, &clock))
            .collect();
        assert_eq!(store.exchange(&ends, None).unwrap().refused, []);
        clock.advance(Duration::from_secs(1));
    }
    store.change_setting(Setting::RetentionDeadCount, Some("100")).unwrap();
    let prune = || (0..20).map(|_| store.prune().unwrap()).sum::<u64>();
    assert_eq!(prune(), MORE as u64);
    clock.advance(HOUR);
    assert_eq!(prune(), SPARED as u64 - 100, "their periods are over");
}

/// What waits stands before what has ended, however much that is. A call came to two thousand numbers, and a
/// worker makes one a second.
#[test]
fn jobs_that_wait_do_not_keep_those_that_have_completed() {
    const LATER: usize = 250_000;
    let folder = tempfile::tempdir().unwrap();
    let (store, clock) = open(&folder.path().join("queue.db"));
    let worker = register(&store);
    let later = NewJob::new("later", &()).unwrap();
    for _ in 0..LATER / 10_000 {
        store.enqueue(&vec![later.clone(); 10_000]).unwrap();
    }
    store.enqueue(&vec![NewJob::new("k", &()).unwrap(); 40]).unwrap();
    let ends: Vec<_> = (claim(&store, worker, 40).iter())
        .map(|lease| settlement(*lease, Verdict::Complete { result: None }, &clock))
        .collect();
    assert_eq!(store.exchange(&ends, None).unwrap().refused, []);
    store.change_setting(Setting::RetentionCompletedCount, Some("10")).unwrap();
    let pruned: Vec<u64> = (0..4).map(|_| store.prune().unwrap()).collect();
    assert_eq!(pruned.iter().sum::<u64>(), 30, "{pruned:?}");
    let left = store.jobs(&JobQuery { states: vec![State::Completed], ..JobQuery::default() });
    let left: Vec<_> = left.unwrap().iter().map(|job| job.key.0).collect();
    let newest = LATER as i64 + 40;
    assert_eq!(left, (newest - 9..=newest).rev().collect::<Vec<_>>(), "the oldest have gone");
}

fn open(path: &Path) -> (SqliteStore, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = SqliteOptions {
        create: true,
        durability: Some(Durability::Off),
        clock: Arc::clone(&clock) as _,
        ..SqliteOptions::default()
    };
    (SqliteStore::open(path, options).unwrap(), clock)
}

fn register(store: &SqliteStore) -> WorkerKey {
    store.register(&Registration { workers: 1, lease: 2 * HOUR, log: None }).unwrap()[0]
}

fn claim(store: &SqliteStore, worker: WorkerKey, wanted: usize) -> Vec<Lease> {
    let kinds = [Name::new("k").unwrap()];
    let workers = [(worker, wanted)];
    let request = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    let claimed = store.exchange(&[], Some(&request)).unwrap().claimed;
    assert_eq!(claimed.len(), wanted);
    claimed.iter().map(|job| job.lease).collect()
}

fn settlement(lease: Lease, verdict: Verdict, clock: &ManualClock) -> Settlement {
    Settlement { lease, verdict, started_at: clock.now(), report: None, leftovers: false }
}

#[test]
fn file_and_log_stay_bounded_in_a_month_of_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let (store, clock) = open(&path);
    store.change_setting(Setting::RetentionCompletedCount, Some("500")).unwrap();
    store.change_setting(Setting::RetentionDeadCount, Some("50")).unwrap();
    let worker = register(&store);
    // What waits for next year stands before all of it, and is not in the way.
    let later = NewJob::new("k", &()).unwrap().delay(8_760 * HOUR);
    store.enqueue(&vec![later; 100]).unwrap();

    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let mut after_a_day = 0;
    for hour in 1..=30 * 24 {
        an_hour_of_work(&store, &clock, worker);
        let log = size(&folder.path().join("queue.db-wal"));
        assert!(log < 16 << 20, "the log has {log} bytes after {hour} hours");
        if hour == 24 {
            after_a_day = size(&path);
        }
    }
    let after_a_month = size(&path);
    assert!(
        after_a_month * 10 <= after_a_day * 12,
        "{after_a_month} bytes after a month, {after_a_day} after a day"
    );
    let counts = store.counts().unwrap();
    let [lane] = counts.as_slice() else { panic!("{counts:?}") };
    assert_eq!(lane.by_state, [100, 0, 0, 500, 0, 50, 0]);
    let groups = store.failures(10).unwrap();
    assert_eq!((groups.len(), groups[0].count), (1, 50));
}
