//! A worker that cannot renew, because another program has locked the store, ends its jobs before its
//! leases end: after that, others may run them.

use std::error::Error;
use std::time::Duration;

use queuectl_core::shell::{Program, ShellJob};
use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store};
use queuectl_testkit::history::{How, Moment};
use rusqlite::{Connection, OpenFlags};

use super::{Options, PATIENCE, between, place};
use crate::scoreboard::{Score, count};
use crate::storm::arena::Arena;
use crate::storm::task::{Task, WORK};
use crate::witness::process::{Live, Target, now, pass};
use crate::witness::{Phase, Watcher};

const LEASE: Duration = Duration::from_secs(2);

/// How often it is tried, at different moments between two renewals.
const ROUNDS: u64 = 3;

pub(super) fn prove(options: &Options, score: &mut Score) -> Result<(), Box<dyn Error>> {
    let mut least = LEASE;
    for round in 0..ROUNDS {
        let (typed, command) = one(options, round)?;
        for (what, ended_at, lease_end) in
            [("a handler", typed.0, typed.1), ("a command", command.0, command.1)]
        {
            if ended_at >= lease_end {
                let late = between(lease_end, ended_at).as_millis();
                score.violations.push(format!("{what} ended {late} ms after its lease"));
            } else {
                least = least.min(between(ended_at, lease_end));
            }
        }
    }
    score.figure("jobs ended before their leases", count(ROUNDS * 2));
    score.figure("ms to spare at least", least.as_millis());
    Ok(())
}

type Ends = ((Moment, Moment), (Moment, Moment));

/// When a handler and a command ended, each with the end of its lease.
fn one(options: &Options, round: u64) -> Result<Ends, Box<dyn Error>> {
    let (_folder, arena) = place(options)?;
    let mut watcher = Watcher::new(&arena.witness())?;
    let task = Task { label: 1, chosen: false, millis: 600_000, fails: 0, suicide: false };
    let job = format!("exec {} recovery-part job", arena.prove.display());
    SqliteStore::open(arena.store(), SqliteOptions::default())?
        .enqueue(&[NewJob::new(WORK, &task)?, ShellJob::new(Program::Command(job)).into_job()?])?;
    let process = arena.process();
    let mut worker = arena.part("worker", process)?;
    let lease_ms = LEASE.as_millis().to_string();
    worker.args(["--lease-ms", &lease_ms, "--count", "2"]);
    let worker = Live::start(&mut worker)?;
    let mut started = Vec::new();
    while started.len() < 2 {
        started.push(
            watcher
                .until(PATIENCE, |record| (record.phase == Phase::Started).then_some(*record))?,
        );
    }
    let command = started.iter().find(|record| record.pid != worker.child.id());
    let command = Target::of(command.ok_or("the command did not start")?.pid)?;
    pass(Duration::from_millis(round * 200));
    let locker = lock(&arena)?;
    let lease_end = lease_end(&arena)?;
    let typed = watcher.until(PATIENCE, |record| {
        (record.phase == Phase::Ended(How::LeaseLost)).then_some(record.at)
    })?;
    if !command.wait(PATIENCE) {
        return Err("the command lives on".into());
    }
    let command = now();
    locker.target.kill();
    locker.finish()?;
    worker.target.kill();
    worker.finish()?;
    Ok(((typed, lease_end), (command, lease_end)))
}

/// Starts the process that locks the store, and waits until it has.
fn lock(arena: &Arena) -> Result<Live, Box<dyn Error>> {
    let mut command = arena.own(&["recovery-part", "lock"], arena.process())?;
    command.arg("--store").arg(arena.store());
    let locker = Live::start(&mut command)?;
    let until = now().plus(PATIENCE);
    while !arena.folder.join("locked").exists() {
        if now() > until {
            return Err("the store could not be locked".into());
        }
        locker.target.wait(Duration::from_millis(5));
    }
    Ok(locker)
}

/// When the leases end, as it stands in the locked store. Readers do not wait for writers.
fn lease_end(arena: &Arena) -> Result<Moment, Box<dyn Error>> {
    let connection = Connection::open_with_flags(arena.store(), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let millis: i64 =
        connection
            .query_row("SELECT min(lease_boot) FROM queuectl_worker", [], |row| row.get(0))?;
    Ok(Moment(millis * 1_000))
}
