//! Jobs that kill the worker that runs them: they end in the dead letter queue instead of killing
//! workers for ever, and the jobs beside them do not pay for it.

use std::collections::HashMap;
use std::error::Error;

use queuectl_core::shell::{Program, ShellJob};
use queuectl_core::store::{JobQuery, Store};
use queuectl_core::{Cause, Job, JobKey, NewJob, SqliteOptions, SqliteStore, State};

use super::{Options, PATIENCE, place};
use crate::scoreboard::{Score, count};
use crate::storm::arena::Arena;
use crate::storm::task::{KILLER, QUICK, Task};
use crate::witness::process::Live;
use crate::witness::{self, Phase};

/// So many workers die of each.
const ATTEMPTS: u32 = 3;

/// How many jobs that do nothing stand before and behind the one that kills.
const NEIGHBOURS: u64 = 200;

pub(super) fn prove(options: &Options, score: &mut Score) -> Result<(), Box<dyn Error>> {
    let command = ShellJob::new(Program::Command("kill -9 $PPID; sleep 60".into())).into_job()?;
    let typed = NewJob::new(KILLER, &task(1))?;
    let mut died = 0;
    for (what, job, by_library) in [("a command", command, false), ("a handler", typed, true)] {
        let (_folder, arena) = place(options)?;
        let store = SqliteStore::open(arena.store(), SqliteOptions::default())?;
        let added = store.enqueue(&[job.max_retries(ATTEMPTS - 1)])?;
        drop(store);
        let died_here = workers_until_idle(&arena, by_library)?;
        let store = SqliteStore::open(arena.store(), SqliteOptions::default())?;
        let job = store.job(&added[0].id)?.ok_or("the job is gone")?;
        let attempts = store.attempts(job.key)?;
        let lost = attempts.iter().filter(|attempt| {
            attempt.report.as_ref().is_some_and(|report| report.cause == Cause::LeaseLost)
        });
        let lost = lost.count();
        if job.state != State::Dead || lost != ATTEMPTS as usize || died_here != ATTEMPTS {
            score.violations.push(format!(
                "{what} that kills its worker is {} after {lost} lost attempts of {ATTEMPTS}; \
                 {died_here} workers died",
                job.state
            ));
        }
        died += u64::from(died_here);
    }
    score.figure("workers died of them", count(died));
    Ok(())
}

pub(super) fn prove_neighbours(options: &Options, score: &mut Score) -> Result<(), Box<dyn Error>> {
    let (_folder, arena) = place(options)?;
    let store = SqliteStore::open(arena.store(), SqliteOptions::default())?;
    let quick = |label| NewJob::new(QUICK, &task(label)).map(|job| job.max_retries(ATTEMPTS));
    let mut jobs = (1..=NEIGHBOURS).map(quick).collect::<Result<Vec<_>, _>>()?;
    jobs.push(NewJob::new(KILLER, &task(0))?.max_retries(ATTEMPTS - 1));
    jobs.extend((NEIGHBOURS + 1..=2 * NEIGHBOURS).map(quick).collect::<Result<Vec<_>, _>>()?);
    store.enqueue(&jobs)?;
    drop(store);
    let died = workers_until_idle(&arena, true)?;
    let store = SqliteStore::open(arena.store(), SqliteOptions::default())?;
    let query = JobQuery { limit: usize::MAX >> 1, ..JobQuery::default() };
    let neighbours: Vec<Job> =
        store.jobs(&query)?.into_iter().filter(|job| job.kind.as_str() == QUICK).collect();
    let not_done = neighbours.iter().filter(|job| job.state != State::Completed).count();
    // One that began, and whose end was not settled when the worker died, has spent its attempt.
    let mut began: HashMap<JobKey, u32> = HashMap::new();
    for record in witness::read(&arena.witness())?.0 {
        *began.entry(record.lease.key).or_default() += u32::from(record.phase == Phase::Started);
    }
    let lost = |job: &Job| job.attempts.saturating_sub(*began.get(&job.key).unwrap_or(&0));
    let paid: Vec<u32> = neighbours.iter().map(lost).filter(|lost| *lost > 0).collect();
    score.figure("neighbours", count(neighbours.len() as u64));
    score.figure("workers died", died);
    if not_done > 0 {
        score.violations.push(format!("{not_done} neighbours did not complete"));
    }
    if let Some(most) = paid.iter().max() {
        score.violations.push(format!(
            "{} neighbours lost attempts that they never began; up to {most}",
            paid.len(),
        ));
    }
    Ok(())
}

fn task(label: u64) -> Task {
    Task { label, chosen: false, millis: 0, fails: 0, suicide: false }
}

/// Starts a worker that ends when nothing is left to do, and the next one when it has been killed.
/// Says how many were.
fn workers_until_idle(arena: &Arena, by_library: bool) -> Result<u32, Box<dyn Error>> {
    for died in 0..=ATTEMPTS * 3 {
        let process = arena.process();
        let mut command = if by_library {
            let mut command = arena.part("worker", process)?;
            command.args(["--lease-ms", "30000", "--count", "1", "--drain"]);
            command
        } else {
            let mut command = arena.queuectl(process)?;
            command.args(["worker", "start", "--drain"]);
            command
        };
        let worker = Live::start(&mut command)?;
        if !worker.target.wait(PATIENCE) {
            return Err("a worker neither ended nor was killed".into());
        }
        let (status, _) = worker.finish()?;
        if status.success() {
            return Ok(died);
        }
    }
    Err("it kills workers for ever".into())
}
