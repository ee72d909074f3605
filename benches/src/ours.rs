//! Our side: the public API of the library, as a program that embeds the queue would call it.
//!
//! Nothing is switched off and nothing is promised less: the counters are read at the end of each
//! run, and one job that is lost, or in any other state than it should be, makes the run an error.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use queuectl_core::store::{ClaimRequest, Queues, Registration, Settlement, StopMode, Verdict};
use queuectl_core::{
    Clock, Context, Handlers, Name, SqliteOptions, SqliteStore, State, Store, SystemClock, Worker,
    WorkerOptions,
};

use crate::Result;
use crate::measure::Bed;
use crate::rows::{KIND, Payload, jobs};

/// Enqueues from one thread, so many jobs per call.
pub fn enqueue(bed: &Bed, batch: usize) -> Result<f64> {
    let store = create(bed)?;
    let jobs = jobs(bed.jobs)?;
    let rate = bed.time(|| {
        for jobs in jobs.chunks(batch) {
            store.enqueue(jobs)?;
        }
        Ok(())
    })?;
    check(&store, State::Pending, bed.jobs)?;
    Ok(rate)
}

/// Enqueues from so many threads, one job per call.
pub fn enqueue_from_threads(bed: &Bed, threads: usize) -> Result<f64> {
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
pub fn exchange(bed: &Bed, batch: usize) -> Result<f64> {
    let store = create(bed)?;
    fill(&store, bed.jobs)?;
    let workers =
        store.register(&Registration { workers: 1, lease: Duration::from_secs(60), log: None })?;
    let request = ClaimRequest {
        workers: &[(workers[0], batch)],
        queues: &Queues::All,
        kinds: &[Name::new(KIND)?],
    };
    let rate = bed.time(|| {
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
    })?;
    check(&store, State::Completed, bed.jobs)?;
    Ok(rate)
}

/// Runs jobs that are there already through a worker, to the end: claimed, decoded, run, settled.
pub fn work(bed: &Bed, workers: usize) -> Result<f64> {
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
pub fn enqueue_and_work(bed: &Bed, batch: usize) -> Result<f64> {
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
fn handlers(expected: usize) -> Result<(Handlers, Receiver<()>)> {
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
fn ran(worker: Worker, expected: usize) -> Result<()> {
    let summary = worker.wait()?;
    let others = summary.failed + summary.dead + summary.cancelled + summary.lost;
    if (summary.completed, others) != (expected as u64, 0) {
        return Err(format!("the worker did {summary:?}, not {expected} jobs").into());
    }
    Ok(())
}

fn create(bed: &Bed) -> Result<SqliteStore> {
    let options = SqliteOptions {
        create: true,
        durability: Some(bed.durability),
        ..SqliteOptions::default()
    };
    Ok(SqliteStore::open(bed.file(), options)?)
}

fn fill(store: &dyn Store, count: usize) -> Result<()> {
    for jobs in jobs(count)?.chunks(1000) {
        store.enqueue(jobs)?;
    }
    Ok(())
}

/// So many jobs in this state, and none in any other.
fn check(store: &dyn Store, state: State, expected: usize) -> Result<()> {
    let counts = store.counts()?;
    let there: u64 = counts.iter().map(|lane| lane.of(state)).sum();
    let all: u64 = counts.iter().flat_map(|lane| lane.by_state).sum();
    if (there, all) != (expected as u64, expected as u64) {
        return Err(format!("{there} of {all} jobs are {state}, not {expected}").into());
    }
    Ok(())
}
