//! The conformance suite, run for the store in memory.

use std::sync::Arc;

use queuectl_core::{ManualClock, Store};
use queuectl_testkit::MemoryStore;
use queuectl_testkit::conformance::Fixture;

struct Memory {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Memory { clock, store }
    }
}

impl Fixture for Memory {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn clock(&self) -> Arc<ManualClock> {
        self.clock.clone()
    }

    fn another_handle(&self) -> Option<Arc<dyn Store>> {
        Some(Arc::new(self.store.another_handle()))
    }

    /// The jobs outlive the handle here as they do in a file: another handle keeps them meanwhile.
    fn reopen(&mut self) -> bool {
        self.store = Arc::new(self.store.another_handle());
        true
    }

    fn knows_death(&self) -> bool {
        true
    }
}

queuectl_testkit::conformance_suite!(Memory::new());
queuectl_testkit::model_suite!(Memory::new());
