//! What callers find while another program holds the store's lock.

use std::time::Duration;

use queuectl_core::{Clock, NewJob, SqliteOptions, SqliteStore, Store, StoreError, SystemClock};

/// They share one wait, not wait one after the other.
#[test]
fn all_who_write_to_a_locked_store_are_refused_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).expect("a store");
    let other = rusqlite::Connection::open(&path).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let began = SystemClock.boot();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let refused = store.enqueue(&[NewJob::new("k", &()).expect("a job")]);
                assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
            });
        }
    });
    let took = SystemClock.boot().since(began);
    assert!(took < Duration::from_secs(15), "the last was refused after {took:?}");
    other.execute_batch("COMMIT").expect("unlocked");
    store.enqueue(&[NewJob::new("k", &()).expect("a job")]).expect("enqueued");
}
