//! The SQLite store keeps the contract of `Store`.

use std::sync::Arc;

use queuectl_core::{Durability, ManualClock, SqliteOptions, SqliteStore, Store};
use queuectl_testkit::conformance::Fixture;
use tempfile::TempDir;

struct Fresh {
    folder: TempDir,
    clock: Arc<ManualClock>,
    durability: Option<Durability>,
    store: Option<Arc<SqliteStore>>,
}

impl Fresh {
    fn new() -> Self {
        Self::of(None)
    }

    /// Thousands of steps, and no power cut among them.
    fn quick() -> Self {
        Self::of(Some(Durability::Off))
    }

    fn of(durability: Option<Durability>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the store");
        let mut fresh =
            Fresh { folder, clock: Arc::new(ManualClock::new()), durability, store: None };
        fresh.store = Some(Arc::new(fresh.open()));
        fresh
    }

    fn open(&self) -> SqliteStore {
        let options = SqliteOptions {
            create: true,
            durability: self.durability,
            clock: Arc::clone(&self.clock) as _,
            ..SqliteOptions::default()
        };
        SqliteStore::open(self.folder.path().join("queue.db"), options).expect("a store")
    }
}

impl Fixture for Fresh {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("the store is open")) as _
    }

    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    fn another_handle(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.open()))
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(Arc::new(self.open()));
        true
    }

    fn knows_death(&self) -> bool {
        true
    }
}

queuectl_testkit::conformance_suite!(Fresh::new());
queuectl_testkit::model_suite!(Fresh::quick());
