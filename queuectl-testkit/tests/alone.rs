//! The suite on a fixture that offers no more than it must: what needs more is skipped, by name on
//! standard error, and nothing fails for it.

use std::sync::Arc;

use queuectl_core::{ManualClock, Store};
use queuectl_testkit::MemoryStore;
use queuectl_testkit::conformance::Fixture;

struct Alone(Arc<ManualClock>, Arc<MemoryStore>);

impl Alone {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        Alone(clock.clone(), Arc::new(MemoryStore::new(clock)))
    }
}

impl Fixture for Alone {
    fn store(&self) -> Arc<dyn Store> {
        self.1.clone()
    }

    fn clock(&self) -> Arc<ManualClock> {
        self.0.clone()
    }
}

queuectl_testkit::conformance_suite!(Alone::new());
queuectl_testkit::model_suite!(Alone::new());
