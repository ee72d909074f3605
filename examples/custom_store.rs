//! A store of one's own, in place of SQLite.
//!
//! Workers, and everything else that runs jobs or shows them, know only the [`Store`] trait. Here a
//! store counts the calls that reach it and hands them on to another one. A store that keeps its jobs
//! somewhere else altogether is written the same way, method by method.
//!
//! The docs of [`Store`] are the contract, and each of their sentences has a test that is written once
//! for all stores. The end of this file runs them for this one: `cargo test --example custom_store`.
//!
//! `cargo run --example custom_store`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queuectl_core::schedule::{ScheduleInfo, TickRecord};
use queuectl_core::store::{
    BatchCancelled, BatchInfo, Cancelled, Cancelling, ClaimRequest, Enqueued, Exchanged,
    FailureGroup, JobQuery, LaneCounts, Orders, Progress, QueueInfo, Registration, Remark, Rescued,
    Settlement, StopMode, Sweep, Swept, Ticked, Waker, Watch, WorkerInfo,
};
use queuectl_core::{
    Attempt, Context, Handlers, Job, JobEvent, JobId, JobKey, Json, Lease, Limit, Name, NewJob,
    Note, Policy, QueueLimits, Rule, Schedule, Setting, Settings, SqliteOptions, SqliteStore,
    State, Store, StoreError, Weight, Worker, WorkerKey, WorkerOptions,
};

const JOBS: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let sqlite = SqliteStore::open(folder.path().join("queue.db"), options)?;
    let store = Arc::new(Counting::new(sqlite));
    let jobs = (0..JOBS).map(|number| NewJob::new("square", &number));
    let added = store.enqueue(&jobs.collect::<Result<Vec<_>, _>>()?)?;

    let handlers = Handlers::new().on("square", |number: u64, _: &Context| {
        number.checked_mul(number).map(drop).ok_or("too large")
    })?;
    let mut options = WorkerOptions::default();
    options.drain = true;
    let summary = Worker::start(store.clone(), handlers, options)?.wait()?;

    let calls = store.calls().clone();
    for (call, count) in &calls {
        println!("{call:>12} {count}");
    }
    assert_eq!(summary.completed, JOBS as u64);
    for added in &added {
        let job = store.job(&added.id)?.ok_or("the job is gone")?;
        assert_eq!(job.state, State::Completed);
    }
    assert_eq!(calls["enqueue"], 1);
    // One call settles what has ended and claims what comes next, for many jobs at a time: the batch
    // grows by itself while jobs take next to no time. How far depends on the machine.
    println!("{JOBS} jobs were claimed and settled in {} exchanges", calls["exchange"]);
    Ok(())
}

/// Counts the calls that reach a store.
#[derive(Debug)]
struct Counting<S> {
    store: S,
    calls: Mutex<BTreeMap<&'static str, usize>>,
}

impl<S> Counting<S> {
    fn new(store: S) -> Self {
        Counting { store, calls: Mutex::default() }
    }

    /// How often each call was made.
    fn calls(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and gives the store to make it on.
    fn count(&self, call: &'static str) -> &S {
        *self.calls().entry(call).or_default() += 1;
        &self.store
    }
}

impl<S: Store> Store for Counting<S> {
    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        self.count("enqueue").enqueue(jobs)
    }

    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        self.count("exchange").exchange(settle, claim)
    }

    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError> {
        self.count("register").register(request)
    }

    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError> {
        self.count("renew").renew(workers, lease)
    }

    fn orders(&self, workers: &[WorkerKey]) -> Result<Orders, StoreError> {
        self.count("orders").orders(workers)
    }

    fn begin(&self, lease: Lease) {
        self.count("begin").begin(lease);
    }

    fn cleaned(&self, leases: &[Lease]) -> Result<(), StoreError> {
        self.count("cleaned").cleaned(leases)
    }

    fn held(&self, workers: &[WorkerKey]) -> Result<Vec<Lease>, StoreError> {
        self.count("held").held(workers)
    }

    fn deregister(&self, workers: &[WorkerKey]) -> Result<(), StoreError> {
        self.count("deregister").deregister(workers)
    }

    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        self.count("rescue").rescue(kinds)
    }

    fn progress(&self, notes: &[Progress]) -> Result<Vec<Lease>, StoreError> {
        self.count("progress").progress(notes)
    }

    fn cancel(&self, jobs: &[JobId], remark: &Remark<'_>) -> Result<Vec<Cancelled>, StoreError> {
        self.count("cancel").cancel(jobs, remark)
    }

    fn retry(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.count("retry").retry(jobs)
    }

    fn retry_with(
        &self,
        job: &JobId,
        payload: &Json,
        remark: &Remark<'_>,
    ) -> Result<(), StoreError> {
        self.count("retry_with").retry_with(job, payload, remark)
    }

    fn purge(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.count("purge").purge(jobs)
    }

    fn sweep(&self, sweep: &Sweep) -> Result<Swept, StoreError> {
        self.count("sweep").sweep(sweep)
    }

    fn note(&self, job: &JobId, remark: &Remark<'_>) -> Result<(), StoreError> {
        self.count("note").note(job, remark)
    }

    fn close_batch(&self, batch: &Name, then: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        self.count("close_batch").close_batch(batch, then)
    }

    fn cancel_batch(
        &self,
        batch: &Name,
        remark: &Remark<'_>,
    ) -> Result<BatchCancelled, StoreError> {
        self.count("cancel_batch").cancel_batch(batch, remark)
    }

    fn keep_cancelling(&self, cancelling: &Cancelling) -> Result<BatchCancelled, StoreError> {
        self.count("keep_cancelling").keep_cancelling(cancelling)
    }

    fn go_on(&self) -> Result<bool, StoreError> {
        self.count("go_on").go_on()
    }

    fn batch(&self, name: &Name) -> Result<Option<BatchInfo>, StoreError> {
        self.count("batch").batch(name)
    }

    fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>, StoreError> {
        self.count("batches").batches(limit)
    }

    fn expire(&self) -> Result<u64, StoreError> {
        self.count("expire").expire()
    }

    fn prune(&self) -> Result<u64, StoreError> {
        self.count("prune").prune()
    }

    fn pause(&self, queue: &Name, paused: bool) -> Result<(), StoreError> {
        self.count("pause").pause(queue, paused)
    }

    fn limit(&self, queue: &Name, limits: &[Limit]) -> Result<QueueLimits, StoreError> {
        self.count("limit").limit(queue, limits)
    }

    fn weigh(&self, queue: &Name, weight: Option<Weight>) -> Result<(), StoreError> {
        self.count("weigh").weigh(queue, weight)
    }

    fn change_policy(&self, kind: &Name, rules: &[Rule]) -> Result<Policy, StoreError> {
        self.count("change_policy").change_policy(kind, rules)
    }

    fn policies(&self) -> Result<BTreeMap<Name, Policy>, StoreError> {
        self.count("policies").policies()
    }

    fn stop(&self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError> {
        self.count("stop").stop(workers, mode)
    }

    fn put_schedule(&self, schedule: &Schedule) -> Result<bool, StoreError> {
        self.count("put_schedule").put_schedule(schedule)
    }

    fn schedules(&self) -> Result<Vec<ScheduleInfo>, StoreError> {
        self.count("schedules").schedules()
    }

    fn remove_schedule(&self, name: &Name) -> Result<(), StoreError> {
        self.count("remove_schedule").remove_schedule(name)
    }

    fn pause_schedule(&self, name: &Name, paused: bool) -> Result<(), StoreError> {
        self.count("pause_schedule").pause_schedule(name, paused)
    }

    fn run_schedule(&self, name: &Name) -> Result<Enqueued, StoreError> {
        self.count("run_schedule").run_schedule(name)
    }

    fn tick(&self) -> Result<Ticked, StoreError> {
        self.count("tick").tick()
    }

    fn ticks(&self, name: &Name) -> Result<Vec<TickRecord>, StoreError> {
        self.count("ticks").ticks(name)
    }

    fn settings(&self) -> Result<Settings, StoreError> {
        self.count("settings").settings()
    }

    fn change_setting(
        &self,
        setting: Setting,
        value: Option<&str>,
    ) -> Result<Settings, StoreError> {
        self.count("change_setting").change_setting(setting, value)
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.count("job").job(id)
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, StoreError> {
        self.count("jobs").jobs(query)
    }

    fn attempts(&self, job: JobKey) -> Result<Vec<Attempt>, StoreError> {
        self.count("attempts").attempts(job)
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        self.count("events").events(after, limit)
    }

    fn last_event(&self) -> Result<u64, StoreError> {
        self.count("last_event").last_event()
    }

    fn notes(&self, job: JobKey) -> Result<Vec<Note>, StoreError> {
        self.count("notes").notes(job)
    }

    fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError> {
        self.count("failures").failures(limit)
    }

    fn counts(&self) -> Result<Vec<LaneCounts>, StoreError> {
        self.count("counts").counts()
    }

    fn queues(&self) -> Result<Vec<QueueInfo>, StoreError> {
        self.count("queues").queues()
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        self.count("workers").workers()
    }

    fn watch(&self, waker: Waker) -> Result<Watch, StoreError> {
        self.count("watch").watch(waker)
    }
}

/// The store keeps the contract: one test for each sentence of it. In a crate with a store of its own
/// this is `tests/conformance.rs`.
#[cfg(test)]
mod conformance {
    use std::sync::Arc;

    use queuectl_core::{ManualClock, Store};
    use queuectl_testkit::conformance::Fixture;
    use queuectl_testkit::{MemoryStore, conformance_suite};

    use super::Counting;

    /// How a test gets a fresh store, and its time.
    struct Fresh(Arc<ManualClock>, Arc<Counting<MemoryStore>>);

    impl Fresh {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new());
            let store = Counting::new(MemoryStore::new(clock.clone()));
            Fresh(clock, Arc::new(store))
        }
    }

    impl Fixture for Fresh {
        fn store(&self) -> Arc<dyn Store> {
            self.1.clone()
        }

        fn clock(&self) -> Arc<ManualClock> {
            self.0.clone()
        }
    }

    conformance_suite!(Fresh::new());
}
