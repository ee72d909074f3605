//! What callers find while another program holds the store's lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queuectl_core::{
    Clock, Durability, NewJob, SqliteOptions, SqliteStore, Store, StoreError, SystemClock,
};

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

/// A program that writes with plain SQL does not know of the gate, and may write between two
/// statements of a transaction that has only read so far. SQLite refuses such a transaction at once,
/// however long it was told to wait. So each takes the lock when it begins.
#[test]
fn a_writer_that_knows_nothing_of_the_gate_costs_no_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("queue.db");
    let durability = Some(Durability::Off);
    let options = SqliteOptions { create: true, durability, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).expect("a store");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let other = rusqlite::Connection::open(&path).expect("opened");
            other.busy_timeout(Duration::from_secs(5)).expect("told to wait");
            other.pragma_update(None, "synchronous", "OFF").expect("quick");
            let mut writes = 0;
            while !over.load(Ordering::Relaxed) {
                // Each ends the view that a transaction of an earlier moment has.
                other.execute("UPDATE queuectl_meta SET epoch = epoch + 1", []).expect("written");
                writes += 1;
            }
            writes
        });
        for _ in 0..500 {
            let added = store.enqueue(&[NewJob::new("k", &()).expect("a job")]);
            if added.is_err() {
                over.store(true, Ordering::Relaxed);
            }
            added.expect("enqueued");
        }
        over.store(true, Ordering::Relaxed);
        assert!(writer.join().expect("no panic") > 0, "the other has written");
    });
}
