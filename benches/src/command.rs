//! One `queuectl enqueue` as a shell runs it: a process that opens the file, commits, and ends.

use std::path::Path;
use std::process::Command;

use queuectl_core::{Durability, State, Store};

use crate::door::Moment;
use crate::figures::{millis, percentile};
use crate::measure::{Bed, timed_on};
use crate::parts::Part;
use crate::process::{OWN, PART, queuectl_on, run};
use crate::rows::{Row, rows};
use crate::{Result, door, floor, ours};

/// The time of `queuectl enqueue true`, in milliseconds.
pub(crate) fn enqueue(bed: &Bed) -> Result<f64> {
    let store = ours::create(bed)?;
    store.change_setting("durability".parse()?, Some(bed.durability.as_str()))?;
    // No other process has the file open: so it is for a person at a shell.
    drop(store);
    let time = typical(bed, || {
        let mut command = queuectl_on(&bed.file())?;
        command.args(["enqueue", "true"]);
        Ok(command)
    })?;
    ours::check(&ours::create(bed)?, State::Pending, bed.jobs)?;
    Ok(time)
}

/// The time of a program that opens a file, commits a row with bare SQL, and ends.
pub(crate) fn bare(bed: &Bed) -> Result<f64> {
    drop(floor::create(bed)?);
    let time = typical(bed, || {
        let mut command = door::program(OWN);
        command.arg(PART).args(Part::CommitOne.words(&bed.file(), bed.durability));
        Ok(command)
    })?;
    floor::check(&floor::open(&bed.file(), bed.durability)?, 0, bed.jobs)?;
    Ok(time)
}

/// The median of as many runs as the bed has jobs.
fn typical(bed: &Bed, command: impl Fn() -> Result<Command>) -> Result<f64> {
    let (times, _) = timed_on(&bed.file(), || {
        let times = (0..bed.jobs).map(|_| {
            let mut command = command()?;
            let (done, took) = door::timed(|| run(&mut command));
            done.map(|()| millis(took))
        });
        times.collect::<Result<Vec<f64>>>()
    })?;
    Ok(percentile(&times, 0.5))
}

/// The bare program.
pub(crate) fn part(file: &Path, durability: Durability) -> Result<()> {
    let connection = floor::open(file, durability)?;
    // Of all the programs that add a row, no two add the same.
    let id = format!("{:026}", Moment::now().as_nanos());
    let payload = rows(1)?.swap_remove(0).payload;
    floor::insert_one(&connection, &Row { id, payload })
}
