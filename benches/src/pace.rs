//! How long jobs wait while they come at half the greatest rate.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{Context, Handlers, State, Store, Worker, WorkerOptions};

use crate::Result;
use crate::door::{Moment, pass};
use crate::figures::{millis, percentile};
use crate::measure::Bed;
use crate::ours;
use crate::rows::{KIND, Sent};

/// Finds the greatest rate at which jobs are enqueued, so many per call, while a worker runs them;
/// then lets them come at half of it. Gives that half, and the median and the 99th percentile of the
/// time in milliseconds from the enqueue to the start.
pub(crate) fn half_rate(bed: &Bed, batch: usize) -> Result<[f64; 3]> {
    let rate = ours::enqueue_and_work(bed, batch)? / 2.0;
    let store = Arc::new(ours::open(&bed.folder().join("half.db"), bed.durability)?);
    let (tell, told) = channel();
    let handlers = Handlers::new().on(KIND, move |sent: Sent, _: &Context| {
        // Fails only after the measure has.
        let _ = tell.send(millis(sent.elapsed()));
        Ok::<(), Infallible>(())
    })?;
    let worker = Worker::start(Arc::clone(&store) as _, handlers, WorkerOptions::default())?;
    enqueue_at(rate, &*store, bed.jobs, batch)?;
    // There are fewer if the worker has failed; waiting for it says how.
    let latencies: Vec<f64> = told.iter().take(bed.jobs).collect();
    worker.stopper().stop(StopMode::Finish);
    ours::ran(worker, bed.jobs)?;
    ours::check(&*store, State::Completed, bed.jobs)?;
    Ok([rate, percentile(&latencies, 0.5), percentile(&latencies, 0.99)])
}

/// Enqueues at a steady rate. A job's time runs from the moment at which its batch was due, not from
/// when the enqueuer came round to it: a queue that holds up its enqueuers must not look quick for it.
fn enqueue_at(rate: f64, store: &dyn Store, jobs: usize, batch: usize) -> Result<()> {
    let began = Moment::now();
    for first in (0..jobs).step_by(batch) {
        let due = began.plus(Duration::from_secs_f64(first as f64 / rate));
        let numbers = first..jobs.min(first + batch);
        let jobs = numbers.map(|number| Sent::job(number, due)).collect::<Result<Vec<_>>>()?;
        pass(due.since(Moment::now()));
        store.enqueue(&jobs)?;
    }
    Ok(())
}
