//! A store before another one, which sees or changes some of the calls.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use queuectl_core::schedule::{ScheduleInfo, TickRecord};
use queuectl_core::store::{
    BatchCancelled, BatchInfo, Cancelled, Cancelling, ClaimRequest, Enqueued, Exchanged,
    FailureGroup, JobQuery, LaneCounts, Orders, Progress, QueueInfo, Registration, Remark, Rescued,
    Settlement, StopMode, Sweep, Swept, Ticked, Waker, Watch, WorkerInfo,
};
use queuectl_core::{
    Attempt, Job, JobEvent, JobId, JobKey, Json, Lease, Limit, Name, NewJob, Note, Policy,
    QueueLimits, Rule, Schedule, Setting, Settings, Store, StoreError, Weight, WorkerKey,
};

/// What is done with the calls by which workers hold jobs. By itself: they are made on the store behind.
pub trait Layer: fmt::Debug + Send + Sync {
    /// [`Store::exchange`].
    ///
    /// # Errors
    ///
    /// Those of the store, or what the layer says in its place.
    fn exchange(
        &self,
        store: &dyn Store,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        store.exchange(settle, claim)
    }

    /// [`Store::register`].
    ///
    /// # Errors
    ///
    /// Those of the store, or what the layer says in its place.
    fn register(
        &self,
        store: &dyn Store,
        request: &Registration,
    ) -> Result<Vec<WorkerKey>, StoreError> {
        store.register(request)
    }

    /// [`Store::renew`].
    ///
    /// # Errors
    ///
    /// Those of the store, or what the layer says in its place.
    fn renew(
        &self,
        store: &dyn Store,
        workers: &[WorkerKey],
        lease: Duration,
    ) -> Result<Orders, StoreError> {
        store.renew(workers, lease)
    }
}

/// A store with a layer before it.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use queuectl_core::store::{ClaimRequest, Exchanged, Settlement};
/// use queuectl_core::{ManualClock, Store, StoreError};
/// use queuectl_testkit::MemoryStore;
/// use queuectl_testkit::layer::{Layer, Layered};
///
/// /// Counts the exchanges.
/// #[derive(Debug, Default)]
/// struct Counting(AtomicUsize);
///
/// impl Layer for Counting {
///     fn exchange(
///         &self,
///         store: &dyn Store,
///         settle: &[Settlement],
///         claim: Option<&ClaimRequest<'_>>,
///     ) -> Result<Exchanged, StoreError> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         store.exchange(settle, claim)
///     }
/// }
///
/// let store = MemoryStore::new(Arc::new(ManualClock::new()));
/// let store = Layered { store, layer: Counting::default() };
/// store.exchange(&[], None)?;
/// assert_eq!(store.layer.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), StoreError>(())
/// ```
#[derive(Debug)]
pub struct Layered<S, L> {
    /// The store behind.
    pub store: S,
    /// What stands before it.
    pub layer: L,
}

macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
            self.store.$name($($argument),*)
        })*
    };
}

impl<S: Store, L: Layer> Store for Layered<S, L> {
    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        self.layer.exchange(&self.store, settle, claim)
    }

    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError> {
        self.layer.register(&self.store, request)
    }

    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError> {
        self.layer.renew(&self.store, workers, lease)
    }

    fn begin(&self, lease: Lease) {
        self.store.begin(lease);
    }

    forward! {
        fn enqueue(jobs: &[NewJob]) -> Vec<Enqueued>;
        fn orders(workers: &[WorkerKey]) -> Orders;
        fn held(workers: &[WorkerKey]) -> Vec<Lease>;
        fn deregister(workers: &[WorkerKey]) -> ();
        fn rescue(kinds: &[Name]) -> Vec<Rescued>;
        fn cleaned(leases: &[Lease]) -> ();
        fn progress(notes: &[Progress]) -> Vec<Lease>;
        fn cancel(jobs: &[JobId], remark: &Remark<'_>) -> Vec<Cancelled>;
        fn retry(jobs: &[JobId]) -> ();
        fn retry_with(job: &JobId, payload: &Json, remark: &Remark<'_>) -> ();
        fn purge(jobs: &[JobId]) -> ();
        fn sweep(sweep: &Sweep) -> Swept;
        fn note(job: &JobId, remark: &Remark<'_>) -> ();
        fn prune() -> u64;
        fn close_batch(batch: &Name, then: &[NewJob]) -> Vec<Enqueued>;
        fn cancel_batch(batch: &Name, remark: &Remark<'_>) -> BatchCancelled;
        fn keep_cancelling(cancelling: &Cancelling) -> BatchCancelled;
        fn go_on() -> bool;
        fn batch(name: &Name) -> Option<BatchInfo>;
        fn batches(limit: usize) -> Vec<BatchInfo>;
        fn expire() -> u64;
        fn pause(queue: &Name, paused: bool) -> ();
        fn limit(queue: &Name, limits: &[Limit]) -> QueueLimits;
        fn weigh(queue: &Name, weight: Option<Weight>) -> ();
        fn change_policy(kind: &Name, rules: &[Rule]) -> Policy;
        fn policies() -> BTreeMap<Name, Policy>;
        fn stop(workers: &[WorkerKey], mode: StopMode) -> ();
        fn put_schedule(schedule: &Schedule) -> bool;
        fn schedules() -> Vec<ScheduleInfo>;
        fn remove_schedule(name: &Name) -> ();
        fn pause_schedule(name: &Name, paused: bool) -> ();
        fn run_schedule(name: &Name) -> Enqueued;
        fn tick() -> Ticked;
        fn ticks(name: &Name) -> Vec<TickRecord>;
        fn settings() -> Settings;
        fn change_setting(setting: Setting, value: Option<&str>) -> Settings;
        fn job(id: &JobId) -> Option<Job>;
        fn jobs(query: &JobQuery) -> Vec<Job>;
        fn attempts(job: JobKey) -> Vec<Attempt>;
        fn notes(job: JobKey) -> Vec<Note>;
        fn failures(limit: usize) -> Vec<FailureGroup>;
        fn counts() -> Vec<LaneCounts>;
        fn queues() -> Vec<QueueInfo>;
        fn workers() -> Vec<WorkerInfo>;
        fn events(after: u64, limit: usize) -> Vec<JobEvent>;
        fn last_event() -> u64;
        fn watch(waker: Waker) -> Watch;
    }
}
