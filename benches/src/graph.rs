//! Jobs that wait for each other, beside as many that do not: what a dependency costs.

use queuectl_core::{After, Condition, JobId, JobKey, NewJob, SqliteStore, State, Store};

use crate::measure::Bed;
use crate::rows::jobs;
use crate::{Result, ours};

/// Says of a job, by its number among so many, what it waits for.
pub(crate) type Form = fn(NewJob, usize, usize) -> Result<NewJob>;

/// Each after the one before it.
pub(crate) fn chain(job: NewJob, number: usize, _: usize) -> Result<NewJob> {
    Ok(after(job, number.checked_sub(1)))
}

/// All after the first.
pub(crate) fn fan_out(job: NewJob, number: usize, _: usize) -> Result<NewJob> {
    Ok(after(job, (number > 0).then_some(0)))
}

/// The last after all others.
pub(crate) fn fan_in(job: NewJob, number: usize, jobs: usize) -> Result<NewJob> {
    Ok(if number + 1 == jobs { after(job, 0..number) } else { job })
}

/// In layers of a hundred, each after three scattered ones of the layer before.
pub(crate) fn layers(job: NewJob, number: usize, _: usize) -> Result<NewJob> {
    const WIDTH: usize = 100;
    let Some(layer) = (number / WIDTH).checked_sub(1) else {
        return Ok(job);
    };
    Ok(after(job, (0..3).map(|one| layer * WIDTH + (number * 7 + one * 31) % WIDTH)))
}

/// All in one batch but the last, which follows it.
pub(crate) fn batch(job: NewJob, number: usize, jobs: usize) -> Result<NewJob> {
    Ok(match number + 1 == jobs {
        true => job.after_batch("all", Condition::Success)?,
        false => job.batch("all")?,
    })
}

fn after(mut job: NewJob, parents: impl IntoIterator<Item = usize>) -> NewJob {
    let id = |parent: usize| JobId::Auto(JobKey(parent as i64 + 1));
    job.after.extend(parents.into_iter().map(|parent| After::from(id(parent))));
    job
}

/// Enqueues a graph, in one call.
pub(crate) fn enqueue(bed: &Bed, form: Form) -> Result<f64> {
    let store = ours::create(bed)?;
    let jobs = graph(bed.jobs, form)?;
    bed.time(|| add(&store, &jobs))
}

/// Runs a graph to its end, claiming what is free, a thousand at most, and settling it with the next
/// claim.
pub(crate) fn run(bed: &Bed, form: Form) -> Result<f64> {
    let store = ours::create(bed)?;
    add(&store, &graph(bed.jobs, form)?)?;
    let worker = ours::register(&store)?;
    let rate = bed.time(|| ours::exchange_all(&store, worker, 1000))?;
    ours::check(&store, State::Completed, bed.jobs)?;
    Ok(rate)
}

fn graph(count: usize, form: Form) -> Result<Vec<NewJob>> {
    jobs(count)?.into_iter().enumerate().map(|(number, job)| form(job, number, count)).collect()
}

/// A job that follows a batch is added as that is closed.
fn add(store: &SqliteStore, jobs: &[NewJob]) -> Result<()> {
    match jobs.last().and_then(|last| last.after_batches.first()) {
        Some(after) => store.close_batch(&after.batch, jobs)?,
        None => store.enqueue(jobs)?,
    };
    Ok(())
}
