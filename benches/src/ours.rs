//! Our side: the public API of the library, as a program that embeds the queue would call it.
//!
//! Nothing is switched off and nothing is promised less: the counters are read at the end of each
//! run, and one job that is lost, or in any other state than it should be, makes the run an error.

use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, Queues, Registration, Settlement, StopMode, Verdict};
use queuectl_core::{
    Clock, Context, Durability, Handlers, Name, Setting, SqliteOptions, SqliteStore, State, Store,
    SystemClock, Worker, WorkerKey, WorkerOptions,
};

use crate::Result;
use crate::measure::Bed;
use crate::rows::{BATCH, KIND, Payload, jobs};

/// Enqueues from one thread, so many jobs per call.
pub(crate) fn enqueue(bed: &Bed, batch: usize) -> Result<f64> {
    enqueue_into(&create(bed)?, bed, batch)
}

/// The same with the event log on.
pub(crate) fn enqueue_logged(bed: &Bed, batch: usize) -> Result<f64> {
    enqueue_into(&create_logged(bed)?, bed, batch)
}

fn enqueue_into(store: &SqliteStore, bed: &Bed, batch: usize) -> Result<f64> {
    let jobs = jobs(bed.jobs)?;
    let rate = bed.time(|| {
        for jobs in jobs.chunks(batch) {
            store.enqueue(jobs)?;
        }
        Ok(())
    })?;
    check(store, State::Pending, bed.jobs)?;
    Ok(rate)
}

/// Enqueues from so many threads, one job per call.
pub(crate) fn enqueue_from_threads(bed: &Bed, threads: usize) -> Result<f64> {
    let store = create(bed)?;
    let jobs = jobs(bed.jobs)?;
    let enqueue = |job| -> Result<()> {
        store.enqueue(std::slice::from_ref(job))?;
        Ok(())
    };
    let rate = bed.time(|| {
        std::thread::scope(|scope| {
            let parts = jobs.chunks(bed.jobs.div_ceil(threads));
            let running: Vec<_> =
                parts.map(|part| scope.spawn(|| part.iter().try_for_each(enqueue))).collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })
    })?;
    check(&store, State::Pending, bed.jobs)?;
    Ok(rate)
}

/// Claims so many jobs at a time; the exchange that claims a batch settles the one before. Runs
/// nothing: this is the store by itself.
pub(crate) fn exchange(bed: &Bed, batch: usize) -> Result<f64> {
    exchange_in(&create(bed)?, bed, batch)
}

/// The same with the event log on.
pub(crate) fn exchange_logged(bed: &Bed, batch: usize) -> Result<f64> {
    exchange_in(&create_logged(bed)?, bed, batch)
}

fn exchange_in(store: &SqliteStore, bed: &Bed, batch: usize) -> Result<f64> {
    fill(store, bed.jobs)?;
    let worker = register(store)?;
    let rate = bed.time(|| exchange_all(store, worker, batch))?;
    check(store, State::Completed, bed.jobs)?;
    Ok(rate)
}

/// A worker that only claims and settles.
pub(crate) fn register(store: &dyn Store) -> Result<WorkerKey> {
    let lease = Duration::from_secs(60);
    Ok(store.register(&Registration { workers: 1, lease, log: None })?[0])
}

/// Completes every job that can be claimed, as [`exchange`] does.
pub(crate) fn exchange_all(store: &dyn Store, worker: WorkerKey, batch: usize) -> Result<()> {
    let request = ClaimRequest {
        workers: &[(worker, batch)],
        queues: &Queues::All,
        kinds: &[Name::new(KIND)?],
    };
    let mut settle = Vec::new();
    loop {
        let exchanged = store.exchange(&settle, Some(&request))?;
        if !exchanged.refused.is_empty() {
            return Err(format!("{} leases were lost", exchanged.refused.len()).into());
        }
        if exchanged.claimed.is_empty() {
            return Ok(());
        }
        let started_at = SystemClock.now();
        settle = (exchanged.claimed.into_iter())
            .map(|job| Settlement {
                lease: black_box(job).lease,
                verdict: Verdict::Complete { result: None },
                started_at,
                report: None,
                leftovers: false,
            })
            .collect();
    }
}

/// Runs jobs that are there already through a worker, to the end: claimed, decoded, run, settled.
pub(crate) fn work(bed: &Bed, workers: usize) -> Result<f64> {
    let store = Arc::new(create(bed)?);
    fill(&*store, bed.jobs)?;
    let (handlers, _) = handlers(bed.jobs)?;
    let mut options = WorkerOptions::default();
    options.workers = workers;
    options.drain = true;
    let rate = bed.time(|| {
        let worker = Worker::start(Arc::clone(&store) as Arc<dyn Store>, handlers, options)?;
        ran(worker, bed.jobs)
    })?;
    check(&*store, State::Completed, bed.jobs)?;
    Ok(rate)
}

/// Enqueues, so many jobs per call, while a worker runs what is there.
pub(crate) fn enqueue_and_work(bed: &Bed, batch: usize) -> Result<f64> {
    let store = Arc::new(create(bed)?);
    let jobs = jobs(bed.jobs)?;
    let (handlers, all_ran) = handlers(bed.jobs)?;
    // Not `drain`: a worker that is faster than the enqueuer for a moment must not go home.
    let options = WorkerOptions::default();
    let rate = bed.time(|| {
        let worker = Worker::start(Arc::clone(&store) as Arc<dyn Store>, handlers, options)?;
        for jobs in jobs.chunks(batch) {
            store.enqueue(jobs)?;
        }
        // An error means that the worker has failed; waiting for it says how.
        let _ = all_ran.recv();
        worker.stopper().stop(StopMode::Finish);
        ran(worker, bed.jobs)
    })?;
    check(&*store, State::Completed, bed.jobs)?;
    Ok(rate)
}

/// A typed handler that does nothing with its payload, and news of the last of so many runs.
pub(crate) fn handlers(expected: usize) -> Result<(Handlers, Receiver<()>)> {
    let (tell, told) = channel();
    let runs = AtomicUsize::new(0);
    let handlers = Handlers::new().on(KIND, move |payload: Payload, _: &Context| {
        black_box(payload);
        if runs.fetch_add(1, Ordering::Relaxed) + 1 == expected {
            // Whoever does not wait for it has dropped the other end.
            let _ = tell.send(());
        }
        Ok::<(), Infallible>(())
    })?;
    Ok((handlers, told))
}

/// Waits for the worker, whose every attempt must have completed its job.
pub(crate) fn ran(worker: Worker, expected: usize) -> Result<()> {
    let completed = completed(worker)?;
    if completed != expected as u64 {
        return Err(format!("the worker completed {completed} jobs, not {expected}").into());
    }
    Ok(())
}

/// Waits for the worker and says how many jobs it completed; nothing else may have come of any.
pub(crate) fn completed(worker: Worker) -> Result<u64> {
    let summary = worker.wait()?;
    if summary.failed + summary.dead + summary.cancelled + summary.lost != 0 {
        return Err(format!("the worker did {summary:?}").into());
    }
    Ok(summary.completed)
}

/// A new store on the bed's file.
pub(crate) fn create(bed: &Bed) -> Result<SqliteStore> {
    open(&bed.file(), bed.durability)
}

/// One whose event log is on.
fn create_logged(bed: &Bed) -> Result<SqliteStore> {
    let store = create(bed)?;
    store.change_setting(Setting::EventLog, Some("on"))?;
    Ok(store)
}

/// The store on a file, made if there is none.
pub(crate) fn open(file: &Path, durability: Durability) -> Result<SqliteStore> {
    let options =
        SqliteOptions { create: true, durability: Some(durability), ..SqliteOptions::default() };
    Ok(SqliteStore::open(file, options)?)
}

/// Enqueues so many jobs.
pub(crate) fn fill(store: &dyn Store, count: usize) -> Result<()> {
    for jobs in jobs(count)?.chunks(BATCH) {
        store.enqueue(jobs)?;
    }
    Ok(())
}

/// How many jobs are in this state.
pub(crate) fn count(store: &dyn Store, state: State) -> Result<u64> {
    Ok(store.counts()?.iter().map(|lane| lane.of(state)).sum())
}

/// So many jobs in this state, and none in any other.
pub(crate) fn check(store: &dyn Store, state: State, expected: usize) -> Result<()> {
    let there = count(store, state)?;
    let all: u64 = store.counts()?.iter().flat_map(|lane| lane.by_state).sum();
    if (there, all) != (expected as u64, expected as u64) {
        return Err(format!("{there} of {all} jobs are {state}, not {expected}").into());
    }
    Ok(())
}
