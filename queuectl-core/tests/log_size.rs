//! SQLite's log stays short, whoever reads.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::atomic::{AtomicBool, Ordering};

use queuectl_core::store::JobQuery;
use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store};

/// SQLite goes back to the log's beginning when nobody reads from it. Here somebody always does, and
/// without further ado the log grew with each write.
#[test]
fn under_readers_that_never_pause() {
    const READERS: usize = 4;
    const BATCHES: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).unwrap();
    let log_len = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let job = NewJob::new("k", &"x".repeat(10_000)).unwrap();
    let batch = vec![job; 400];
    let over = AtomicBool::new(false);
    let mut longest = 0;
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    store.jobs(&JobQuery { limit: 10, ..JobQuery::default() }).unwrap();
                }
            });
        }
        for _ in 0..BATCHES {
            store.enqueue(&batch).unwrap();
            longest = longest.max(log_len());
        }
        over.store(true, Ordering::Relaxed);
    });
    let written = (BATCHES * batch.len() * 10_000) as u64;
    assert!(longest < written / 4 * 3, "{longest} bytes of log for {written}");
}
