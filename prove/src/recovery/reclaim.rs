//! A worker is killed while another is idle: how soon does its job run again, and is anything of the
//! dead attempt left by then?

use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queuectl_core::shell::{Program, ShellJob};
use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store};
use queuectl_testkit::history::How;

use super::job::tree;
use super::{Options, PATIENCE, between, open, place, until};
use crate::scoreboard::{Score, count};
use crate::storm::arena::Arena;
use crate::storm::task::{Task, WITNESS, WORK};
use crate::witness::process::{Live, kill_marked, now, pass};
use crate::witness::{Phase, Record, Watcher};

/// What is promised.
const BOUND: Duration = Duration::from_secs(2);

/// What is run, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Command,
    Tree,
    Typed,
}

const SORTS: [Sort; 3] = [Sort::Command, Sort::Tree, Sort::Typed];

pub(super) fn prove(options: &Options, score: &mut Score) -> Result<(), Box<dyn Error>> {
    let next = AtomicU64::new(0);
    let times = Mutex::new(Vec::new());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.at_a_time {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= options.rounds {
                        return;
                    }
                    let sort = SORTS[(round % SORTS.len() as u64) as usize];
                    match one(options, sort, round) {
                        Ok(took) => push(&times, took),
                        Err(error) => push(&wrong, format!("round {round}, {sort:?}: {error}")),
                    }
                }
            });
        }
    });
    let mut times: Vec<Duration> = times.into_inner().unwrap_or_default();
    score.violations.extend(wrong.into_inner().unwrap_or_default());
    times.sort_unstable();
    score.figure("workers killed", count(options.rounds));
    for (what, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        score.figure(what, format!("{} ms", percentile(&times, share).as_millis()));
    }
    for late in times.iter().filter(|took| **took > BOUND) {
        score.violations.push(format!("a job ran again only after {} ms", late.as_millis()));
    }
    Ok(())
}

fn push<T>(list: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut list) = list.lock() {
        list.push(item);
    }
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(index.max(1) - 1).copied().unwrap_or_default()
}

/// One kill: the time from it to the next start.
fn one(options: &Options, sort: Sort, round: u64) -> Result<Duration, Box<dyn Error>> {
    let (_folder, arena) = place(options)?;
    let mut chance = fastrand::Rng::with_seed(options.seed.wrapping_add(round));
    let mut watcher = Watcher::new(&arena.witness())?;
    enqueue(&arena, sort)?;
    let doomed = worker(&arena, sort)?;
    watcher.until(PATIENCE, |record| (record.phase == Phase::Started).then_some(*record))?;
    let heir = worker(&arena, sort)?;
    {
        let store = open(&arena.store())?;
        until(
            &store,
            "the second worker",
            |store| Ok((store.workers()?.len() == 2).then_some(())),
        )?;
    }
    // At any moment of the second that passes between two looks of the idle one.
    pass(Duration::from_millis(chance.u64(200..1_200)));
    let killed_at = now();
    doomed.target.kill();
    let again = watcher.until(PATIENCE, |record| {
        (record.phase == Phase::Started && record.at > killed_at).then_some(*record)
    })?;
    if sort != Sort::Typed {
        let clean = |record: &Record| match record.phase {
            Phase::Ended(how) if record.lease == again.lease => Some(how),
            _ => None,
        };
        if watcher.until(PATIENCE, clean)? != How::Succeeded {
            return Err("something of the dead attempt lived when the job ran again".into());
        }
    }
    doomed.finish()?;
    heir.target.kill();
    heir.finish()?;
    // What the second attempt left of itself would be the next worker's to end; there is none.
    kill_marked(&format!("{WITNESS}={}", arena.witness().display()));
    Ok(between(killed_at, again.at))
}

fn enqueue(arena: &Arena, sort: Sort) -> Result<(), Box<dyn Error>> {
    let job = format!("{} recovery-part job", arena.prove.display());
    let task = Task { label: 1, chosen: false, millis: 600_000, fails: 0, suicide: false };
    let new = match sort {
        Sort::Command => ShellJob::new(Program::Command(job)).into_job()?,
        Sort::Tree => ShellJob::new(Program::Command(tree(&job))).into_job()?,
        Sort::Typed => NewJob::new(WORK, &task)?,
    };
    SqliteStore::open(arena.store(), SqliteOptions::default())?.enqueue(&[new])?;
    Ok(())
}

fn worker(arena: &Arena, sort: Sort) -> Result<Live, Box<dyn Error>> {
    let process = arena.process();
    let mut command = match sort {
        Sort::Typed => {
            let mut command = arena.part("worker", process)?;
            command.args(["--lease-ms", "30000", "--count", "1"]);
            command
        }
        _ => {
            let mut command = arena.queuectl(process)?;
            command.args(["worker", "start"]);
            command
        }
    };
    Ok(Live::start(&mut command)?)
}
