//! From the enqueue in one process to the start of the handler in another one that had nothing to do.
//!
//! The clock runs from before the call to enqueue, so the commit is part of it. Between two jobs
//! there is a pause, of another length each time: whoever looks at fixed times must not be lucky.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{Context, Durability, Handlers, State, Store, Worker, WorkerOptions};

use crate::Result;
use crate::door::{Moment, pass};
use crate::figures::{millis, percentile};
use crate::floor::{self, Floor};
use crate::measure::Bed;
use crate::ours;
use crate::parts::{Part, hear_no_more, heard, say};
use crate::process::Process;
use crate::rows::{KIND, Sent, rows};

/// What both sides give: the median, and what one in a hundred exceeds, in milliseconds.
fn percentiles(latencies: &[f64]) -> [f64; 2] {
    [percentile(latencies, 0.5), percentile(latencies, 0.99)]
}

/// Ours: a worker in another process.
pub(crate) fn ours(bed: &Bed) -> Result<[f64; 2]> {
    let store = ours::create(bed)?;
    let mut worker = Process::part(&Part::Pickup.words(&bed.file(), bed.durability))?;
    worker.hear()?;
    let latencies = one_at_a_time(bed.jobs, |number| {
        store.enqueue(&[Sent::job(number, Moment::now())?])?;
        let [started]: [u64; 1] = worker.hear_numbers()?;
        Ok(started)
    })?;
    worker.end()?;
    ours::check(&store, State::Completed, bed.jobs)?;
    Ok(percentiles(&latencies))
}

/// The floor: a row is inserted, the other process told of it through a pipe, and the row claimed.
pub(crate) fn floor(bed: &Bed) -> Result<[f64; 2]> {
    let connection = floor::create(bed)?;
    let rows = rows(bed.jobs)?;
    let mut floor = Floor::new(&connection, 1)?;
    let mut worker = Process::part(&Part::FloorPickup.words(&bed.file(), bed.durability))?;
    worker.hear()?;
    let latencies = one_at_a_time(bed.jobs, |number| {
        let sent = Moment::now();
        floor.insert(&rows[number..=number])?;
        worker.say(&sent.as_nanos().to_string())?;
        let [started]: [u64; 1] = worker.hear_numbers()?;
        Ok(started)
    })?;
    worker.end()?;
    floor::check(&connection, 2, bed.jobs)?;
    Ok(percentiles(&latencies))
}

/// Sends so many, each after a pause; `send` gives the nanoseconds until it was picked up.
fn one_at_a_time(jobs: usize, mut send: impl FnMut(usize) -> Result<u64>) -> Result<Vec<f64>> {
    let latencies = (0..jobs).map(|number| {
        pass(Duration::from_micros(5_000 + 1_300 * (number as u64 * 7 % 11)));
        send(number).map(|nanos| millis(Duration::from_nanos(nanos)))
    });
    latencies.collect()
}

/// The worker of our side, in its own process.
pub(crate) fn part(file: &Path, durability: Durability) -> Result<()> {
    let store = Arc::new(ours::open(file, durability)?);
    let handlers = Handlers::new().on(KIND, |sent: Sent, _: &Context| {
        say(sent.elapsed().as_nanos());
        Ok::<(), Infallible>(())
    })?;
    let worker = Worker::start(store, handlers, WorkerOptions::default())?;
    say("ready");
    hear_no_more();
    worker.stopper().stop(StopMode::Finish);
    ours::completed(worker).map(drop)
}

/// The other process of the floor.
pub(crate) fn floor_part(file: &Path, durability: Durability) -> Result<()> {
    let connection = floor::open(file, durability)?;
    let mut floor = Floor::new(&connection, 1)?;
    say("ready");
    for line in heard() {
        let sent = Moment::from_nanos(line?.parse()?);
        let claimed = floor.claim_complete(&[])?;
        say(sent.elapsed().as_nanos());
        floor.complete(&claimed)?;
    }
    Ok(())
}
