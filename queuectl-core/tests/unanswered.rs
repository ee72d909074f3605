//! The worker, when the store does not say what it has done.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, Exchanged, JobQuery, Settlement};
use queuectl_core::{
    Context, Handlers, NewJob, Outcome, State, Store, StoreError, SystemClock, Worker,
    WorkerOptions,
};
use queuectl_testkit::MemoryStore;
use queuectl_testkit::layer::{Layer, Layered};

/// Every other exchange gets no answer.
#[derive(Debug)]
struct Deaf {
    /// Whether the exchange has happened all the same.
    happened: bool,
    exchanges: AtomicU32,
}

impl Layer for Deaf {
    fn exchange(
        &self,
        store: &dyn Store,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        if self.exchanges.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            if self.happened {
                store.exchange(settle, claim)?;
                return Err(StoreError::Unknown("no answer".into()));
            }
            return Err(StoreError::Busy("no time".into()));
        }
        store.exchange(settle, claim)
    }
}

/// Runs three jobs to the end; gives how often a handler was called.
fn runs(happened: bool) -> u32 {
    let store = MemoryStore::new(Arc::new(SystemClock));
    let layer = Deaf { happened, exchanges: AtomicU32::new(0) };
    let store = Arc::new(Layered { store, layer });
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
    assert_eq!(runs(true), 3);
}

/// What was not settled is settled with the next call.
#[test]
fn settlements_that_did_not_happen_are_made_again() {
    assert_eq!(runs(false), 3);
}
