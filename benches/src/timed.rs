//! The longest of the calls by which a worker takes, settles and keeps jobs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, Exchanged, Orders, Registration, Settlement};
use queuectl_core::{Store, StoreError, WorkerKey};
use queuectl_testkit::layer::Layer;

use crate::door;

/// The wait for the write lock is part of each call, and of a call that takes long most of it.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    longest_nanos: AtomicU64,
}

impl Timed {
    /// How long the longest call took that a lease may hang on.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_nanos.load(Ordering::Relaxed))
    }

    fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let (answer, took) = door::timed(call);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        answer
    }
}

impl Layer for Timed {
    fn exchange(
        &self,
        store: &dyn Store,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        self.time(|| store.exchange(settle, claim))
    }

    fn register(
        &self,
        store: &dyn Store,
        request: &Registration,
    ) -> Result<Vec<WorkerKey>, StoreError> {
        self.time(|| store.register(request))
    }

    fn renew(
        &self,
        store: &dyn Store,
        workers: &[WorkerKey],
        lease: Duration,
    ) -> Result<Orders, StoreError> {
        self.time(|| store.renew(workers, lease))
    }
}
