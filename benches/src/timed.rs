//! A store that remembers the longest of the calls by which its worker takes and settles jobs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queuectl_core::store::{
    Cancelled, ClaimRequest, Enqueued, Exchanged, JobQuery, LaneCounts, Orders, Progress,
    QueueInfo, Registration, Rescued, Settlement, StopMode, Waker, Watch, WorkerInfo,
};
use queuectl_core::{
    Attempt, Job, JobId, JobKey, Lease, Name, NewJob, Setting, Settings, SqliteStore, Store,
    StoreError, WorkerKey,
};

use crate::door;

/// The wait for the write lock is part of each call, and of a call that takes long most of it.
#[derive(Debug)]
pub(crate) struct Timed {
    store: SqliteStore,
    longest_nanos: AtomicU64,
}

impl Timed {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Timed { store, longest_nanos: AtomicU64::new(0) }
    }

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

impl Store for Timed {
    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        self.time(|| self.store.exchange(settle, claim))
    }
    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError> {
        self.time(|| self.store.renew(workers, lease))
    }
    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError> {
        self.time(|| self.store.register(request))
    }

    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        self.store.enqueue(jobs)
    }
    fn orders(&self, workers: &[WorkerKey]) -> Result<Orders, StoreError> {
        self.store.orders(workers)
    }
    fn begin(&self, lease: Lease) {
        self.store.begin(lease);
    }
    fn cleaned(&self, leases: &[Lease]) -> Result<(), StoreError> {
        self.store.cleaned(leases)
    }
    fn held(&self, workers: &[WorkerKey]) -> Result<Vec<Lease>, StoreError> {
        self.store.held(workers)
    }
    fn deregister(&self, workers: &[WorkerKey]) -> Result<(), StoreError> {
        self.store.deregister(workers)
    }
    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        self.store.rescue(kinds)
    }
    fn progress(&self, notes: &[Progress]) -> Result<Vec<Lease>, StoreError> {
        self.store.progress(notes)
    }
    fn cancel(&self, jobs: &[JobId], reason: &str) -> Result<Vec<Cancelled>, StoreError> {
        self.store.cancel(jobs, reason)
    }
    fn retry(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.store.retry(jobs)
    }
    fn purge(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.store.purge(jobs)
    }
    fn prune(&self) -> Result<u64, StoreError> {
        self.store.prune()
    }
    fn pause(&self, queue: &Name, paused: bool) -> Result<(), StoreError> {
        self.store.pause(queue, paused)
    }
    fn stop(&self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError> {
        self.store.stop(workers, mode)
    }
    fn settings(&self) -> Result<Settings, StoreError> {
        self.store.settings()
    }
    fn change_setting(
        &self,
        setting: Setting,
        value: Option<&str>,
    ) -> Result<Settings, StoreError> {
        self.store.change_setting(setting, value)
    }
    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.store.job(id)
    }
    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, StoreError> {
        self.store.jobs(query)
    }
    fn attempts(&self, job: JobKey) -> Result<Vec<Attempt>, StoreError> {
        self.store.attempts(job)
    }
    fn counts(&self) -> Result<Vec<LaneCounts>, StoreError> {
        self.store.counts()
    }
    fn queues(&self) -> Result<Vec<QueueInfo>, StoreError> {
        self.store.queues()
    }
    fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        self.store.workers()
    }
    fn watch(&self, waker: Waker) -> Result<Watch, StoreError> {
        self.store.watch(waker)
    }
}
