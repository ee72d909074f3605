//! Worker processes on one file: how fast they are together, and whether each gets its turn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::{Durability, State, Store, Worker, WorkerOptions};
use queuectl_testkit::layer::Layered;

use crate::figures::{millis, rate};
use crate::measure::{Bed, timed_on};
use crate::parts::{Part, heard, say};
use crate::process::Process;
use crate::timed::Timed;
use crate::{Result, ours};

/// So many processes empty a queue. Gives the rate, the least share of the work divided by the
/// greatest, and the longest time, in milliseconds, that one of them waited for the file.
pub(crate) fn drain(bed: &Bed, processes: usize) -> Result<[f64; 3]> {
    let store = ours::create(bed)?;
    ours::fill(&store, bed.jobs)?;
    let mut crowd = Vec::new();
    for _ in 0..processes {
        crowd.push(Process::part(&Part::Drain.words(&bed.file(), bed.durability))?);
    }
    // Each has opened the file by now: what is timed is the work.
    crowd.iter_mut().try_for_each(|process| process.hear().map(drop))?;
    let (shares, took) = timed_on(&bed.file(), || {
        crowd.iter_mut().try_for_each(|process| process.say("go"))?;
        crowd.iter_mut().map(|process| process.hear_numbers()).collect::<Result<Vec<[u64; 2]>>>()
    })?;
    crowd.into_iter().try_for_each(Process::end)?;
    ours::check(&store, State::Completed, bed.jobs)?;
    let completed = || shares.iter().map(|[completed, _]| *completed);
    if completed().sum::<u64>() != bed.jobs as u64 {
        return Err(format!("{shares:?} are not {} jobs", bed.jobs).into());
    }
    let least_of_most = match (completed().min(), completed().max()) {
        (Some(least), Some(most)) => least as f64 / most as f64,
        _ => 0.0,
    };
    let longest = shares.iter().map(|[_, longest]| *longest).max().unwrap_or(0);
    Ok([rate(bed.jobs, took), least_of_most, millis(Duration::from_nanos(longest))])
}

/// One of the crowd.
pub(crate) fn part(file: &Path, durability: Durability) -> Result<()> {
    let layer = Timed::default();
    let store = Arc::new(Layered { store: ours::open(file, durability)?, layer });
    let (handlers, _) = ours::handlers(usize::MAX)?;
    let mut options = WorkerOptions::default();
    options.drain = true;
    say("ready");
    heard().next().ok_or("nobody said go")??;
    let worker = Worker::start(Arc::clone(&store) as Arc<dyn Store>, handlers, options)?;
    let completed = ours::completed(worker)?;
    say(format_args!("{completed} {}", store.layer.longest().as_nanos()));
    Ok(())
}
