//! The worker, when the store does not say what it has done.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queuectl_core::store::{
    Cancelled, ClaimRequest, Enqueued, Exchanged, JobQuery, LaneCounts, Orders, Progress,
    QueueInfo, Registration, Rescued, Settlement, StopMode, Waker, Watch, WorkerInfo,
};
use queuectl_core::{
    Attempt, Context, Handlers, Job, JobId, JobKey, Lease, Name, NewJob, Outcome, Setting,
    Settings, State, Store, StoreError, SystemClock, Worker, WorkerKey, WorkerOptions,
};
use queuectl_testkit::MemoryStore;

/// A store of which every other exchange gets no answer.
#[derive(Debug)]
struct Deaf {
    store: MemoryStore,
    /// Whether the exchange has happened all the same.
    happened: bool,
    exchanges: AtomicU32,
}

impl Deaf {
    fn new(happened: bool) -> Self {
        let store = MemoryStore::new(Arc::new(SystemClock));
        Deaf { store, happened, exchanges: AtomicU32::new(0) }
    }
}

macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
            self.store.$name($($argument),*)
        })*
    };
}

impl Store for Deaf {
    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        if self.exchanges.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            if self.happened {
                self.store.exchange(settle, claim)?;
                return Err(StoreError::Unknown("no answer".into()));
            }
            return Err(StoreError::Busy("no time".into()));
        }
        self.store.exchange(settle, claim)
    }

    fn begin(&self, lease: Lease) {
        self.store.begin(lease);
    }

    forward! {
        fn cleaned(leases: &[Lease]) -> ();
        fn enqueue(jobs: &[NewJob]) -> Vec<Enqueued>;
        fn register(request: &Registration) -> Vec<WorkerKey>;
        fn renew(workers: &[WorkerKey], lease: Duration) -> Orders;
        fn orders(workers: &[WorkerKey]) -> Orders;
        fn held(workers: &[WorkerKey]) -> Vec<Lease>;
        fn deregister(workers: &[WorkerKey]) -> ();
        fn rescue(kinds: &[Name]) -> Vec<Rescued>;
        fn progress(notes: &[Progress]) -> Vec<Lease>;
        fn cancel(jobs: &[JobId], reason: &str) -> Vec<Cancelled>;
        fn retry(jobs: &[JobId]) -> ();
        fn purge(jobs: &[JobId]) -> ();
        fn prune() -> u64;
        fn pause(queue: &Name, paused: bool) -> ();
        fn stop(workers: &[WorkerKey], mode: StopMode) -> ();
        fn settings() -> Settings;
        fn change_setting(setting: Setting, value: Option<&str>) -> Settings;
        fn job(id: &JobId) -> Option<Job>;
        fn jobs(query: &JobQuery) -> Vec<Job>;
        fn attempts(job: JobKey) -> Vec<Attempt>;
        fn counts() -> Vec<LaneCounts>;
        fn queues() -> Vec<QueueInfo>;
        fn workers() -> Vec<WorkerInfo>;
        fn watch(waker: Waker) -> Watch;
    }
}

/// Runs three jobs to the end; gives how often a handler was called.
fn runs(store: Arc<Deaf>) -> u32 {
    let job = || NewJob::new("k", &()).expect("a job");
    store.enqueue(&[job(), job(), job()]).expect("enqueued");
    let (run, runs) = channel();
    let run = Mutex::new(run);
    let handlers = Handlers::new().on("k", move |(): (), _: &Context| {
        run.lock().expect("no panic").send(()).expect("the test listens");
        Ok::<_, String>(Outcome::Done)
    });
    let mut options = WorkerOptions::default();
    options.drain = true;
    let worker = Worker::start(Arc::clone(&store) as _, handlers.expect("a kind"), options);
    let worker = worker.expect("started");
    let (end, ended) = channel();
    std::thread::spawn(move || end.send(worker.wait().expect("ends well")));
    ended.recv_timeout(Duration::from_secs(30)).expect("nothing is left behind");
    let jobs = store.jobs(&JobQuery::default()).expect("read");
    assert!(jobs.iter().all(|job| job.state == State::Completed), "{jobs:?}");
    runs.try_iter().count().try_into().expect("few")
}

/// The worker does not know what it was given, and asks. What it has settled it settles again.
#[test]
fn claims_that_were_made_without_an_answer_are_found() {
    assert_eq!(runs(Arc::new(Deaf::new(true))), 3);
}

/// What was not settled is settled with the next call.
#[test]
fn settlements_that_did_not_happen_are_made_again() {
    assert_eq!(runs(Arc::new(Deaf::new(false))), 3);
}
