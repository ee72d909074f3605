//! The loops that start processes, stop and kill them, until enough are dead; and the drain.

use std::error::Error;
use std::io;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::Scope;
use std::time::Duration;

use queuectl_core::{SqliteOptions, SqliteStore, Store};
use queuectl_testkit::history::{Fault, ProcessId};
use rustix::process::Signal;

use super::Options;
use super::arena::Arena;
use super::operator;
use super::reader::Look;
use crate::witness::process::{Target, now, pass};

/// The lease of the workers that are stopped for longer.
const SHORT_LEASE: Duration = Duration::from_millis(1_200);

/// What holds for the whole storm: the grace, so that what ignores TERM does not hold it up, and a log of all
/// that happens, so that it can be held against what there is in the end.
const SETTINGS: [(&str, &str); 3] =
    [("grace", "300ms"), ("event-log", "on"), ("event-log-count", "all")];

pub(crate) fn storm(arena: &Arena, options: &Options) -> Result<(), Box<dyn Error>> {
    for (setting, value) in SETTINGS {
        let store = SqliteStore::open(arena.store(), SqliteOptions::default())?;
        store.change_setting(setting.parse()?, Some(value))?;
    }
    std::thread::scope(|scope| {
        let mut seeds = fastrand::Rng::with_seed(arena.seed);
        let mut chance = || fastrand::Rng::with_seed(seeds.u64(..));
        for number in 0..options.workers {
            let sort = if number % 2 == 0 { cli_worker } else { library_worker };
            slot(scope, arena, chance(), sort);
        }
        for number in 0..options.enqueuers {
            let enqueue = move |arena: &Arena, chance: &mut _| enqueuer(arena, chance, number);
            slot(scope, arena, chance(), enqueue);
        }
        for _ in 0..options.operators {
            slot(scope, arena, chance(), operator::command);
        }
        slot(scope, arena, chance(), reader);
        slot(scope, arena, chance(), all_at_once);
    });
    arena.kill_all();
    Ok(())
}

/// Does something again and again until the storm is over.
fn slot<'scope, 'arena: 'scope>(
    scope: &'scope Scope<'scope, 'arena>,
    arena: &'arena Arena,
    mut chance: fastrand::Rng,
    again: impl Fn(&Arena, &mut fastrand::Rng) -> io::Result<()> + Send + 'arena,
) {
    scope.spawn(move || {
        while !arena.is_over() {
            if let Err(error) = again(arena, &mut chance) {
                arena.give_up(format!("a process could not be started or waited for: {error}"));
            }
        }
        // Those that others still wait for.
        arena.kill_all();
    });
}

/// Lets it live for so long, and kills it.
fn kill_after(target: &Target, millis: u64) {
    if !target.wait(Duration::from_millis(millis)) {
        target.kill();
    }
}

fn cli_worker(arena: &Arena, chance: &mut fastrand::Rng) -> io::Result<()> {
    let process = arena.process();
    let mut command = arena.queuectl(process)?;
    command.args(["worker", "start", "--count", "2"]);
    let life = chance.u64(20..400);
    let ended = arena.live(process, &mut command, |target| kill_after(target, life))?;
    must_be_killed(arena, "worker start", ended.killed);
    Ok(())
}

fn library_worker(arena: &Arena, chance: &mut fastrand::Rng) -> io::Result<()> {
    let process = arena.process();
    let mut command = library_worker_command(arena, process, SHORT_LEASE)?;
    let life = chance.u64(20..500);
    // Longer than its lease, so that others run its jobs meanwhile; then it wakes up.
    let stop = (chance.u8(0..8) == 0).then(|| chance.u64(1_300..2_200));
    let ended = arena.live(process, &mut command, |target| {
        if let Some(stop) = stop.filter(|_| !target.wait(Duration::from_millis(life))) {
            let from = now();
            target.send(Signal::STOP);
            target.wait(Duration::from_millis(stop));
            target.send(Signal::CONT);
            let fault = Fault::Stopped { process: ProcessId(process), from, until: now() };
            let mut seen = arena.seen();
            seen.faults.push(fault);
            seen.stops += 1;
        }
        kill_after(target, life);
    })?;
    must_be_killed(arena, "library worker", ended.killed);
    Ok(())
}

fn library_worker_command(arena: &Arena, process: u64, lease: Duration) -> io::Result<Command> {
    let mut command = arena.part("worker", process)?;
    command.args(["--lease-ms", &lease.as_millis().to_string()]);
    Ok(command)
}

fn enqueuer(arena: &Arena, chance: &mut fastrand::Rng, number: usize) -> io::Result<()> {
    let process = arena.process();
    let mut command = arena.part("enqueuer", process)?;
    command.arg("--ledger").arg(arena.ledger(number));
    command.args(["--seed", &chance.u64(..).to_string()]);
    command.args(["--first", &arena.labels().to_string()]);
    let life = chance.u64(10..500);
    let ended = arena.live(process, &mut command, |target| kill_after(target, life))?;
    must_be_killed(arena, "enqueuer", ended.killed);
    Ok(())
}

/// These do not end by themselves; if one does, something broke that the history may not show. A
/// busy store is no fault: who was stopped may have held it for longer than others wait.
fn must_be_killed(arena: &Arena, what: &str, killed: bool) {
    if !killed {
        let mut seen = arena.seen();
        if seen.stops == 0 {
            seen.strange.push(format!("a process ended by itself: {what}; see the file stderr"));
        }
    }
}

fn reader(arena: &Arena, chance: &mut fastrand::Rng) -> io::Result<()> {
    let process = arena.process();
    let mut command = arena.part("reader", process)?;
    let (life, pause) = (chance.u64(0..30), chance.u64(0..100));
    let spared = chance.bool();
    let output = arena.folder.join("look");
    command.stdout(std::fs::File::create(&output)?);
    let ended = arena.live(process, &mut command, |target| {
        if !spared {
            kill_after(target, life);
        }
    })?;
    if ended.status.success() {
        let mut text = String::new();
        std::fs::File::open(&output)?.read_to_string(&mut text)?;
        let look: Look = serde_json::from_str(&text)?;
        let mut seen = arena.seen();
        let first = seen.sightings.len();
        seen.sightings.extend(look.sightings());
        let ids: Vec<_> =
            seen.sightings[first..].iter().map(|sighting| sighting.id.clone()).collect();
        seen.knows(ids);
    }
    pass(Duration::from_millis(pause));
    Ok(())
}

fn all_at_once(arena: &Arena, chance: &mut fastrand::Rng) -> io::Result<()> {
    for _ in 0..chance.u8(20..100) {
        if arena.is_over() {
            return Ok(());
        }
        pass(Duration::from_millis(50));
    }
    arena.kill_all();
    arena.seen().at_once += 1;
    Ok(())
}

/// Runs workers that nobody kills until nothing is left to do; says whether that happened in time.
pub(crate) fn drain(arena: &Arena, at_most: Duration) -> Result<bool, Box<dyn Error>> {
    operator::resume_all(arena)?;
    let mut drained = true;
    // Each sort ends when what it can run is done; what waits for the other sort comes after.
    for _ in 0..2 {
        let process = arena.process();
        let mut cli = arena.queuectl(process)?;
        cli.args(["worker", "start", "--count", "2", "--drain"]);
        let process_too = arena.process();
        let mut library = library_worker_command(arena, process_too, Duration::from_secs(30))?;
        library.args(["--drain", "--count", "2"]);
        for (command, process) in [(&mut cli, process), (&mut library, process_too)] {
            command.stdout(Stdio::null());
            drained &= drains(arena, process, command, at_most)?;
        }
    }
    Ok(drained)
}

fn drains(
    arena: &Arena,
    _process: u64,
    command: &mut Command,
    at_most: Duration,
) -> io::Result<bool> {
    let live = crate::witness::process::Live::start(command)?;
    if !live.target.wait(at_most) {
        live.target.kill();
    }
    let (status, _) = live.finish()?;
    if !status.success() {
        arena.seen().strange.push(format!("a worker that was to drain ended with {status}"));
    }
    Ok(status.success())
}
