//! Jobs that wait for each other, beside as many that do not: what a dependency costs.

use queuectl_core::{After, JobId, JobKey, NewJob, State, Store};

use crate::measure::Bed;
use crate::rows::jobs;
use crate::{Result, ours};

/// A form, in which each job is given the numbers of its parents among so many.
pub(crate) type Form = fn(usize, usize) -> Vec<usize>;

/// Each after the one before it.
pub(crate) fn chain(job: usize, _: usize) -> Vec<usize> {
    job.checked_sub(1).into_iter().collect()
}

/// All after the first.
pub(crate) fn fan_out(job: usize, _: usize) -> Vec<usize> {
    if job > 0 { vec![0] } else { Vec::new() }
}

/// The last after all others.
pub(crate) fn fan_in(job: usize, jobs: usize) -> Vec<usize> {
    if job + 1 == jobs { (0..job).collect() } else { Vec::new() }
}

/// In layers of a hundred, each after three scattered ones of the layer before.
pub(crate) fn layers(job: usize, _: usize) -> Vec<usize> {
    const WIDTH: usize = 100;
    let layer = (job / WIDTH).checked_sub(1);
    layer.map_or_else(Vec::new, |layer| {
        (0..3).map(|one| layer * WIDTH + (job * 7 + one * 31) % WIDTH).collect()
    })
}

/// Enqueues a graph, in one call.
pub(crate) fn enqueue(bed: &Bed, form: Form) -> Result<f64> {
    let store = ours::create(bed)?;
    let jobs = graph(bed.jobs, form)?;
    bed.time(|| Ok(store.enqueue(&jobs).map(drop)?))
}

/// Runs a graph to its end, claiming what is free, a thousand at most, and settling it with the next
/// claim.
pub(crate) fn run(bed: &Bed, form: Form) -> Result<f64> {
    let store = ours::create(bed)?;
    store.enqueue(&graph(bed.jobs, form)?)?;
    let worker = ours::register(&store)?;
    let rate = bed.time(|| ours::exchange_all(&store, worker, 1000))?;
    ours::check(&store, State::Completed, bed.jobs)?;
    Ok(rate)
}

fn graph(count: usize, form: Form) -> Result<Vec<NewJob>> {
    let mut all = jobs(count)?;
    for (number, job) in all.iter_mut().enumerate() {
        let id = |parent: usize| JobId::Auto(JobKey(parent as i64 + 1));
        job.after = form(number, count).into_iter().map(|one| After::from(id(one))).collect();
    }
    Ok(all)
}
