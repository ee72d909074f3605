//! What a month of load leaves of a store that keeps so many jobs: as much as a day does.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, Queues, Registration, Settlement, Verdict};
use queuectl_core::{
    Cause, Clock, Durability, ManualClock, Name, NewJob, Report, Setting, SqliteOptions,
    SqliteStore, Store, WorkerKey,
};

const HOUR: Duration = Duration::from_secs(3_600);
const JOBS_AN_HOUR: usize = 60;

/// A job in ten dies, with an error; the others complete.
fn an_hour_of_work(store: &SqliteStore, clock: &ManualClock, worker: WorkerKey) {
    let payload = "x".repeat(400);
    let jobs: Vec<_> = (0..JOBS_AN_HOUR).map(|_| NewJob::new("k", &payload).unwrap()).collect();
    store.enqueue(&jobs).unwrap();
    let kinds = [Name::new("k").unwrap()];
    let workers = [(worker, JOBS_AN_HOUR)];
    let request = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    let claimed = store.exchange(&[], Some(&request)).unwrap().claimed;
    assert_eq!(claimed.len(), JOBS_AN_HOUR);
    let end = |(n, lease)| {
        let failed = || Report::failure(Cause::Failed, format!("no route to host {n}"));
        let (verdict, report) = match n % 10 {
            0 => (Verdict::Die, Some(Box::new(failed()))),
            _ => (Verdict::Complete { result: None }, None),
        };
        Settlement { lease, verdict, started_at: clock.now(), report, leftovers: false }
    };
    let ends: Vec<_> = claimed.iter().map(|job| job.lease).enumerate().map(end).collect();
    assert_eq!(store.exchange(&ends, None).unwrap().refused, []);
    clock.advance(HOUR);
    store.renew(&[worker], 2 * HOUR).unwrap();
    while store.prune().unwrap() > 0 {}
}

#[test]
fn file_and_log_stay_bounded_in_a_month_of_load() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let clock = Arc::new(ManualClock::new());
    let options = SqliteOptions {
        create: true,
        durability: Some(Durability::Off),
        clock: Arc::clone(&clock) as _,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&path, options).unwrap();
    store.change_setting(Setting::RetentionCompletedCount, Some("500")).unwrap();
    store.change_setting(Setting::RetentionDeadCount, Some("50")).unwrap();
    let registration = Registration { workers: 1, lease: 2 * HOUR, log: None };
    let worker = store.register(&registration).unwrap()[0];
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
