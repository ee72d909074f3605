//! `kill -9` at every system call by which a command changes a file, before it and after it.
//!
//! After each kill the store must be sound, what had been said must be so, nothing may be half done,
//! and the command, said again, must lead to the same as if nothing had happened.

pub(crate) mod trial;
pub(crate) mod verbs;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use queuectl_core::{Clock, SystemClock};

use self::trial::{Bench, matters};
use self::verbs::VERBS;
use crate::beside::queuectl;
use crate::power::scratch;
use crate::scoreboard::{Score, count};
use crate::tracer::{self, Call, Ended, Entry, Exit, Hook, Kind, Tracee};

/// How much to try.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Try each N-th boundary only
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// Try only commands whose name contains this
    #[arg(long)]
    pub(crate) verb: Option<String>,
}

pub(crate) fn run(options: &Options) -> Score {
    let mut score = Score::new("boundaries");
    let begin = SystemClock.boot();
    if let Some(why) = tracer::obstacle() {
        score.skipped = Some(why);
        return score;
    }
    match try_verbs(options) {
        Ok(tally) => {
            score.figure("kills", count(tally.kills as u64));
            score.figure("commands", count(tally.commands as u64));
            score.figure("kinds of call", count(tally.by_kind.len() as u64));
            score.figure("runs that ended before", count(tally.missed as u64));
            if tally.kills == 0 {
                score.violations.push("blind: nothing was killed".to_owned());
            }
            score.violations.extend(tally.wrong);
        }
        Err(error) => score.violations.push(format!("it could not be tried: {error}")),
    }
    score.took = SystemClock.boot().since(begin);
    score
}

#[derive(Debug, Default)]
struct Tally {
    commands: usize,
    kills: usize,
    /// In a command with threads the calls are not the same each time.
    missed: usize,
    by_kind: BTreeMap<Kind, usize>,
    wrong: Vec<String>,
}

/// Kills everything at one call.
struct KillAt {
    folder: PathBuf,
    /// Which of the calls that matter, and whether when it has happened.
    at: usize,
    after: bool,
    seen: usize,
    /// The call at which it was.
    killed: Option<(Kind, String)>,
}

impl KillAt {
    fn new(folder: PathBuf, at: usize, after: bool) -> Self {
        KillAt { folder, at, after, seen: 0, killed: None }
    }

    fn kill(&mut self, tracee: &Tracee, call: &Call) {
        let path = tracee.path(call).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.killed = Some((call.kind, format!("{} of {name}", call.name())));
    }
}

impl Hook for KillAt {
    fn wants(&self, kind: Kind) -> bool {
        !matches!(kind, Kind::Read | Kind::Map | Kind::Clone)
    }

    fn entry(&mut self, tracee: &Tracee, call: &Call) -> Entry {
        if self.killed.is_some() || !matters(tracee, call, &self.folder) {
            return Entry::Go;
        }
        self.seen += 1;
        if self.seen == self.at && !self.after {
            self.kill(tracee, call);
            return Entry::Kill;
        }
        Entry::Go
    }

    fn exit(&mut self, tracee: &Tracee, call: &Call, _: i64) -> Exit {
        let now = self.seen == self.at && self.after && self.killed.is_none();
        if now && matters(tracee, call, &self.folder) {
            self.kill(tracee, call);
            return Exit::Kill;
        }
        Exit::Go
    }
}

fn try_verbs(options: &Options) -> io::Result<Tally> {
    let folder = scratch()?;
    let queuectl = queuectl()?;
    let mut tally = Tally::default();
    for (number, verb) in VERBS.iter().enumerate() {
        if options.verb.as_ref().is_some_and(|wanted| !verb.name.contains(wanted.as_str())) {
            continue;
        }
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place)?;
        let bench = Bench::new(verb, &queuectl, &place)?;
        // How many calls there are: a run in which nobody dies, which must lead to the goal.
        let trial = bench.trial(place.join("whole"))?;
        let mut whole = KillAt::new(place.join("whole"), usize::MAX, false);
        let (run, said) = trial.run_verb(&mut whole)?;
        let mut wrong = trial.examine(&said);
        wrong.extend(trial.misses());
        if !wrong.is_empty() || run.ended != [Some(Ended::Exited(0))] {
            let what =
                format!("{}: undisturbed, it ends with {:?}: {wrong:?}", verb.name, run.ended);
            return Err(io::Error::other(what));
        }
        let boundaries = whole.seen;
        drop(trial);
        tally.commands += 1;
        try_all(&bench, &place, boundaries, options.every as usize, &mut tally)?;
        std::fs::remove_dir_all(&place)?;
    }
    Ok(tally)
}

/// Kills at each boundary of one command, on every processor.
fn try_all(
    bench: &Bench<'_>,
    place: &std::path::Path,
    boundaries: usize,
    every: usize,
    tally: &mut Tally,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let shared = Mutex::new(tally);
    let work = || -> io::Result<()> {
        loop {
            let number = next.fetch_add(every, Ordering::Relaxed);
            let (at, after) = (number / 2 + 1, number % 2 == 1);
            if at > boundaries {
                return Ok(());
            }
            let folder = place.join(format!("{at}{after}"));
            let trial = bench.trial(folder.clone())?;
            let mut hook = KillAt::new(folder, at, after);
            let (_, said) = trial.run_verb(&mut hook)?;
            let mut wrong = trial.examine(&said);
            let again = trial.again()?;
            wrong.extend(again.into_iter().map(|what| format!("afterwards, {what}")));
            let mut tally = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((kind, call)) = hook.killed else {
                tally.missed += 1;
                continue;
            };
            tally.kills += 1;
            *tally.by_kind.entry(kind).or_default() += 1;
            if !wrong.is_empty() {
                let when = if after { "after" } else { "before" };
                let name = bench.verb.name;
                let what = wrong.join("; ");
                tally.wrong.push(format!("{name}: killed {when} call {at}, {call}: {what}"));
            }
        }
    };
    in_threads(2, work)
}

/// Runs the same on some threads, until all have ended.
pub(crate) fn in_threads(
    threads: usize,
    work: impl Fn() -> io::Result<()> + Sync,
) -> io::Result<()> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")))
        })
    })
}
