//! The SQLite store keeps the contract of `Store`.

use std::sync::Arc;

use queuectl_core::{ManualClock, SqliteOptions, SqliteStore, Store};
use queuectl_testkit::conformance::Fixture;
use tempfile::TempDir;

struct Fresh {
    folder: TempDir,
    clock: Arc<ManualClock>,
    store: Option<Arc<SqliteStore>>,
}

impl Fresh {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let clock = Arc::new(ManualClock::new());
        let store = Some(Arc::new(open(&folder, &clock)));
        Fresh { folder, clock, store }
    }
}

fn open(folder: &TempDir, clock: &Arc<ManualClock>) -> SqliteStore {
    let options =
        SqliteOptions { create: true, clock: Arc::clone(clock) as _, ..SqliteOptions::default() };
    SqliteStore::open(folder.path().join("queue.db"), options).expect("a store")
}

impl Fixture for Fresh {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("the store is open")) as _
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn another_handle(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(open(&self.folder, &self.clock)))
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(Arc::new(open(&self.folder, &self.clock)));
        true
    }

    fn knows_death(&self) -> bool {
        true
    }
}

queuectl_testkit::conformance_suite!(Fresh::new());
