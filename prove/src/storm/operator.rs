//! The commands that people type, most of which are killed on their way.

use std::io::{self, Read};
use std::process::Stdio;
use std::time::Duration;

use queuectl_core::store::{Cancelled, Store};
use queuectl_core::{JobId, Name, SqliteOptions, SqliteStore};
use queuectl_testkit::history::{Answer, Call, Request};

use super::arena::Arena;
use super::enqueuer::wanted;
use super::task::Kind;
use crate::witness::process::{Live, now};

/// The exit codes that say that nothing happened: not found, and a conflict.
const REFUSED: [i32; 2] = [3, 4];

/// The queue that is paused and resumed.
pub(crate) const SIDE: &str = "side";

/// One command, chosen by chance.
pub(crate) fn command(arena: &Arena, chance: &mut fastrand::Rng) -> io::Result<()> {
    let (words, request) = match chance.u8(0..20) {
        0..=8 => enqueue(arena, chance),
        number => {
            let Some(id) = known(arena, chance) else { return Ok(()) };
            let text = id.to_string();
            match number {
                9..=11 => (words(&["cancel", "--json", &text]), Request::Cancel(vec![(id, None)])),
                12..=14 => (words(&["retry", &text]), Request::Retry(vec![id])),
                15 => (words(&["dlq", "retry", &text]), Request::Retry(vec![id])),
                16 => (words(&["dlq", "purge", &text]), Request::Purge(vec![id])),
                17 => (words(&["queue", "pause", SIDE]), Request::Pause(side()?)),
                18 => (words(&["queue", "resume", SIDE]), Request::Resume(side()?)),
                _ => {
                    let value = chance.u8(1..9).to_string();
                    // Says nothing of any job; it only writes, and is killed like the others.
                    (words(&["config", "set", "max-retries", &value]), Request::Retry(Vec::new()))
                }
            }
        }
    };
    let life = if chance.u8(0..10) < 7 { Some(chance.u64(0..30)) } else { None };
    type_it(arena, &words, request, life)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn side() -> io::Result<Name> {
    Name::new(SIDE).map_err(io::Error::other)
}

fn known(arena: &Arena, chance: &mut fastrand::Rng) -> Option<JobId> {
    let seen = arena.seen();
    chance.choice(&seen.known).cloned()
}

fn enqueue(arena: &Arena, chance: &mut fastrand::Rng) -> (Vec<String>, Request) {
    let kind = if chance.u8(0..16) == 0 { Kind::Tree } else { Kind::Command };
    let mut wanted = wanted(chance, arena.labels(), kind);
    if chance.u8(0..8) == 0 {
        wanted.unique_key = Some(format!("key{}", chance.u8(0..12)));
    }
    let asked = wanted.asked(now()).into_iter().collect();
    (wanted.arguments(&arena.prove), Request::Enqueue(asked))
}

/// Runs one command; kills it after `life` milliseconds, if it has not ended by then.
fn type_it(
    arena: &Arena,
    words: &[String],
    mut request: Request,
    life: Option<u64>,
) -> io::Result<()> {
    let process = arena.process();
    let mut command = arena.queuectl(process)?;
    let output = arena.folder.join(format!("said.{process}"));
    command.args(words).stdout(std::fs::File::create(&output)?);
    let asked_at = now();
    let ended = arena.live(process, &mut command, |target| {
        if let Some(life) = life
            && !target.wait(Duration::from_millis(life))
        {
            target.kill();
        }
    })?;
    let over_at = now();
    let mut said = String::new();
    std::fs::File::open(&output)?.read_to_string(&mut said)?;
    std::fs::remove_file(&output)?;
    let answer = match ended.status.code() {
        Some(0) => Answer::Done,
        Some(code) if REFUSED.contains(&code) => Answer::Refused,
        Some(2) => {
            arena.give_up(format!("the command line refused {words:?}"));
            Answer::Refused
        }
        _ => Answer::Unknown,
    };
    if answer == Answer::Done {
        learn(&mut request, said.trim());
    }
    let mut seen = arena.seen();
    // Whoever is stopped while it writes is stopped for 2.2 s at most, and others wait for 5 s.
    if answer == Answer::Unknown && !ended.killed {
        let what = words.first().map_or("", String::as_str);
        seen.strange.push(format!("a command that nobody killed failed: {what} {}", ended.status));
    }
    if let (Request::Enqueue(jobs), Answer::Done) = (&request, answer) {
        let ids: Vec<JobId> = jobs.iter().filter_map(|asked| asked.id.clone()).collect();
        seen.knows(ids);
    }
    seen.calls.push(Call { asked_at, over_at, answer, request });
    Ok(())
}

/// What the answer says beside that it is done.
fn learn(request: &mut Request, said: &str) {
    match request {
        Request::Enqueue(jobs) => {
            for (asked, id) in jobs.iter_mut().zip(said.lines()) {
                asked.id = id.parse().ok();
            }
        }
        Request::Cancel(jobs) => {
            let now = said.contains("\"cancelled\":true");
            for (_, outcome) in jobs {
                *outcome = Some(if now { Cancelled::Now } else { Cancelled::Requested });
            }
        }
        _ => {}
    }
}

/// Resumes what is paused, and takes care that nothing else is left that keeps workers from work.
pub(crate) fn resume_all(arena: &Arena) -> io::Result<()> {
    let process = arena.process();
    let mut command = arena.queuectl(process)?;
    command.args(["queue", "resume", SIDE]).stdout(Stdio::null());
    let asked_at = now();
    let (status, _) = Live::start(&mut command)?.finish()?;
    if !status.success() {
        let store = SqliteStore::open(arena.store(), SqliteOptions::default());
        let why =
            store.map_or_else(|error| error.to_string(), |store| format!("{:?}", store.queues()));
        return Err(io::Error::other(format!("the queue cannot be resumed ({status}): {why}")));
    }
    let request = Request::Resume(side()?);
    arena.seen().calls.push(Call { asked_at, over_at: now(), answer: Answer::Done, request });
    Ok(())
}
