//! Errors of the operating system at every system call by which a command uses its store's files:
//! once, from then on for ever, and for a while.
//!
//! Whatever fails, the command must end, in one of the documented ways, with a sentence for the user;
//! what it said must be so; nothing may be damaged or half done; and the same command without the
//! fault must go on where it was. An error of a commit leaves open whether it happened: said again
//! with its id or its key, it must lead to one job all the same. A worker goes on by itself once the
//! fault has gone away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use queuectl_core::{BootTime, Clock, SystemClock};

use crate::beside::queuectl;
use crate::boundaries::in_threads;
use crate::boundaries::trial::{Bench, Said, Trial};
use crate::boundaries::verbs::{VERBS, Verb};
use crate::power::scratch;
use crate::scoreboard::{Score, count};
use crate::tracer::{self, Call, Ended, Entry, Exit, Hook, Kind, Run, Tracee};

/// How much to try.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Try each N-th fault only
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) every: u64,
    /// Try only errors whose name contains this
    #[arg(long)]
    pub(crate) errno: Option<String>,
    /// Try only commands whose name contains this
    #[arg(long)]
    pub(crate) verb: Option<String>,
}

/// Which error, and what is said of it.
type Errno = (i32, &'static str);

const ENOSPC: Errno = (libc::ENOSPC, "ENOSPC");
const EIO: Errno = (libc::EIO, "EIO");
const EDQUOT: Errno = (libc::EDQUOT, "EDQUOT");
const EROFS: Errno = (libc::EROFS, "EROFS");
const EINTR: Errno = (libc::EINTR, "EINTR");
const ENOLCK: Errno = (libc::ENOLCK, "ENOLCK");
const ENOMEM: Errno = (libc::ENOMEM, "ENOMEM");
const EMFILE: Errno = (libc::EMFILE, "EMFILE");
const EAGAIN: Errno = (libc::EAGAIN, "EAGAIN");
/// Not an error: fewer bytes are written or read than were asked for.
const SHORT: Errno = (0, "short");

/// What each kind of call may fail with.
const FAULTS: &[(Kind, &[Errno])] = &[
    (Kind::Open, &[ENOSPC, EIO, EDQUOT, EROFS, EINTR, ENOMEM, EMFILE]),
    (Kind::Read, &[EIO, EINTR]),
    (Kind::Write, &[ENOSPC, EIO, EDQUOT, EINTR, SHORT]),
    (Kind::Truncate, &[ENOSPC, EIO, EINTR]),
    (Kind::Sync, &[ENOSPC, EIO, EDQUOT, EINTR]),
    (Kind::Rename, &[ENOSPC, EIO, EDQUOT, EROFS]),
    (Kind::Link, &[ENOSPC, EIO, EDQUOT, EROFS]),
    (Kind::Unlink, &[EIO, EROFS]),
    (Kind::MakeDir, &[ENOSPC, EIO, EDQUOT, EROFS, ENOMEM]),
    (Kind::Lock, &[ENOLCK, EINTR, EIO]),
    (Kind::Flock, &[ENOLCK, EINTR, EIO]),
    (Kind::Map, &[ENOMEM]),
    (Kind::Clone, &[EAGAIN, ENOMEM]),
    (Kind::Mode, &[EIO, EROFS]),
];

fn errors_of(kind: Kind) -> &'static [Errno] {
    FAULTS.iter().find(|(of, _)| *of == kind).map_or(&[], |(_, errors)| *errors)
}

/// For how long a fault stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Once,
    /// Every later call that can fail so does.
    Forever,
    /// The same, until so much time has passed.
    While(Duration),
}

/// One fault.
#[derive(Debug, Clone, Copy)]
struct Fault {
    /// At which of the calls that can fail it begins.
    at: usize,
    errno: Errno,
    span: Span,
}

/// Makes calls fail.
struct Failing {
    folder: PathBuf,
    fault: Option<Fault>,
    /// The kinds of the calls that can fail, in order.
    seen: Vec<Kind>,
    since: Option<BootTime>,
    /// The first call that failed.
    first: Option<String>,
    /// What the command had to tell was lost by it.
    silenced: bool,
    /// A thread or a process could not be made.
    alone: bool,
}

impl Failing {
    fn new(folder: PathBuf, fault: Option<Fault>) -> Self {
        Failing {
            folder,
            fault,
            seen: Vec::new(),
            since: None,
            first: None,
            silenced: false,
            alone: false,
        }
    }

    /// Whether a call is about the store, or makes a thread or a process of this program.
    fn concerns(&self, tracee: &Tracee, call: &Call) -> bool {
        match call.kind {
            Kind::Clone => true,
            // To give back a lock that one has takes nothing that could be missing.
            Kind::Lock | Kind::Flock if !tracee.takes_lock(call) => false,
            _ => tracee.path(call).is_some_and(|path| {
                path.starts_with(self.folder.join("disk")) || path == self.folder.join("out")
            }),
        }
    }

    fn strikes(&self, call: &Call, tracee: &Tracee) -> bool {
        let Some(fault) = self.fault else {
            return false;
        };
        match (fault.span, self.since) {
            (_, None) => self.seen.len() == fault.at,
            (Span::Once, Some(_)) => false,
            (span, Some(since)) => {
                let over =
                    matches!(span, Span::While(time) if SystemClock.boot().since(since) > time);
                // The terminal is not on the disk.
                let on_disk = tracee.path(call) != Some(self.folder.join("out"));
                !over && on_disk && errors_of(call.kind).contains(&fault.errno)
            }
        }
    }
}

impl Hook for Failing {
    fn wants(&self, kind: Kind) -> bool {
        !errors_of(kind).is_empty()
    }

    fn entry(&mut self, tracee: &Tracee, call: &Call) -> Entry {
        if !self.concerns(tracee, call) {
            return Entry::Go;
        }
        self.seen.push(call.kind);
        if !self.strikes(call, tracee) {
            return Entry::Go;
        }
        let Some(fault) = self.fault else {
            return Entry::Go;
        };
        if self.since.is_none() {
            self.since = Some(SystemClock.boot());
            let path = tracee.path(call).unwrap_or_default();
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.first = Some(format!("{} of {file}", call.name()));
            // What was interrupted is done again, and what was cut short is gone on with.
            let is_final = ![EINTR, SHORT].contains(&fault.errno);
            self.silenced = is_final && path == self.folder.join("out");
        }
        self.alone |= call.kind == Kind::Clone;
        match fault.errno {
            SHORT if call.size() > 1 => Entry::Short(call.size() / 2),
            SHORT => Entry::Go,
            (number, _) => Entry::Fail(number),
        }
    }

    fn exit(&mut self, _: &Tracee, _: &Call, _: i64) -> Exit {
        Exit::Go
    }
}

pub(crate) fn run(options: &Options) -> Score {
    let mut score = Score::new("faults");
    let begin = SystemClock.boot();
    if let Some(why) = tracer::obstacle() {
        score.skipped = Some(why);
        return score;
    }
    match try_verbs(options) {
        Ok(tally) => tally.tell(&mut score),
        Err(error) => score.violations.push(format!("it could not be tried: {error}")),
    }
    score.took = SystemClock.boot().since(begin);
    score
}

/// What can be wrong with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Panic,
    Hang,
    Exit,
    Lost,
    GivenUp,
}

#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    commands: usize,
    by_errno: BTreeMap<&'static str, usize>,
    /// Runs in which the command did its work all the same.
    unharmed: usize,
    wrong: BTreeMap<Wrong, usize>,
    told: Vec<String>,
}

impl Tally {
    fn tell(self, score: &mut Score) {
        let by_errno: Vec<String> = self
            .by_errno
            .iter()
            .map(|(errno, runs)| format!("{errno} {}", count(*runs as u64)))
            .collect();
        score.figure("runs", count(self.runs as u64));
        score.figure("commands", count(self.commands as u64));
        score.figure("by fault", format!("({})", by_errno.join(", ")));
        score.figure("unharmed", count(self.unharmed as u64));
        for (what, wrong) in [
            ("panics", Wrong::Panic),
            ("hangs", Wrong::Hang),
            ("wrong exits", Wrong::Exit),
            ("lost", Wrong::Lost),
            ("workers that gave up", Wrong::GivenUp),
        ] {
            let runs = self.wrong.get(&wrong).copied().unwrap_or_default();
            score.figure(what, count(runs as u64));
        }
        if self.runs == self.unharmed {
            score.violations.push("blind: no fault did any harm".to_owned());
        }
        score.violations.extend(self.told);
    }
}

fn try_verbs(options: &Options) -> io::Result<Tally> {
    /// More than processors: many of these runs wait for SQLite to give up.
    const THREADS: usize = 4;
    let folder = scratch()?;
    let queuectl = queuectl()?;
    let tally = Mutex::new(Tally::default());
    for (number, verb) in VERBS.iter().enumerate() {
        if options.verb.as_ref().is_some_and(|wanted| !verb.name.contains(wanted.as_str())) {
            continue;
        }
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place)?;
        let bench = Bench::new(verb, &queuectl, &place)?;
        let mut faults = faults(&bench, &place)?;
        if let Some(wanted) = &options.errno {
            faults.retain(|fault| fault.errno.1.contains(wanted.as_str()));
        }
        let next = AtomicUsize::new(0);
        in_threads(THREADS, || {
            while let Some(fault) =
                faults.get(next.fetch_add(options.every as usize, Ordering::Relaxed))
            {
                try_one(&bench, &place, *fault, &tally)?;
            }
            Ok(())
        })?;
        tally.lock().unwrap_or_else(PoisonError::into_inner).commands += 1;
        std::fs::remove_dir_all(&place)?;
    }
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Every fault that can be tried with a command: from a run without any.
fn faults(bench: &Bench<'_>, place: &Path) -> io::Result<Vec<Fault>> {
    const A_WHILE: Duration = Duration::from_millis(1_500);
    let folder = place.join("whole");
    let trial = bench.trial(folder.clone())?;
    let mut whole = Failing::new(folder, None);
    trial.run_verb(&mut whole)?;
    let mut faults = Vec::new();
    for (index, kind) in whole.seen.iter().enumerate() {
        for &errno in errors_of(*kind) {
            let fault = |span| Fault { at: index + 1, errno, span };
            faults.push(fault(Span::Once));
            // No kernel interrupts every call for ever, or writes halves for ever.
            if errno == EINTR || errno == SHORT {
                continue;
            }
            // What a worker does for ever is to try again.
            let persistent = bench.verb.persistent;
            faults.push(fault(if persistent { Span::While(A_WHILE) } else { Span::Forever }));
        }
    }
    Ok(faults)
}

fn try_one(bench: &Bench<'_>, place: &Path, fault: Fault, tally: &Mutex<Tally>) -> io::Result<()> {
    let folder = place.join(format!("{}-{}-{:?}", fault.at, fault.errno.1, fault.span));
    let trial = bench.trial(folder.clone())?;
    let mut hook = Failing::new(folder, Some(fault));
    let (run, said) = trial.run_verb(&mut hook)?;
    let Some(call) = hook.first else {
        // Threads: this time there were fewer calls.
        return Ok(());
    };
    let mut wrong = judge(bench.verb, fault, &run, &said, &trial);
    // A worker whose threads could not be made has to say so and end: it is of no use to anybody.
    if hook.alone && run.ended == [Some(Ended::Exited(5))] {
        wrong.retain(|(what, _)| *what != Wrong::GivenUp);
    }
    if hook.silenced && run.ended == [Some(Ended::Exited(0))] {
        wrong.push((Wrong::Exit, "exit 0, and what it had to tell is lost".to_owned()));
    }
    for (kind, what) in
        trial.examine(&said).into_iter().map(|what| (Wrong::Lost, what)).chain(
            trial.again()?.into_iter().map(|what| (Wrong::Lost, format!("afterwards, {what}"))),
        )
    {
        wrong.push((kind, what));
    }
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.runs += 1;
    *tally.by_errno.entry(fault.errno.1).or_default() += 1;
    tally.unharmed += usize::from(run.ended == [Some(Ended::Exited(0))]);
    for (kind, what) in wrong {
        *tally.wrong.entry(kind).or_default() += 1;
        let what = short(&what);
        tally.told.push(format!(
            "{}: {} {:?} from call {} on, {call}: {kind:?}: {what}",
            bench.verb.name, fault.errno.1, fault.span, fault.at
        ));
    }
    Ok(())
}

/// What is wrong with how a command ended.
fn judge(
    verb: &Verb,
    fault: Fault,
    run: &Run,
    said: &Said,
    trial: &Trial<'_>,
) -> Vec<(Wrong, String)> {
    let stderr = said.stderr.trim();
    let mut wrong = Vec::new();
    if stderr.contains("panicked") || stderr.contains("RUST_BACKTRACE") {
        wrong.push((Wrong::Panic, stderr.to_owned()));
    }
    if run.hung {
        wrong.push((Wrong::Hang, format!("it did not end: {stderr}")));
        return wrong;
    }
    match run.ended.first().copied().flatten() {
        Some(Ended::Exited(0)) => {
            let misses = trial.misses();
            // It said with its exit code that it is done.
            wrong.extend(misses.into_iter().map(|what| (Wrong::Lost, format!("exit 0: {what}"))));
        }
        // Failed, or: the store cannot be used.
        Some(Ended::Exited(1 | 5)) => {
            if !explains(stderr) {
                wrong.push((Wrong::Exit, format!("not one sentence: {stderr:?}")));
            }
        }
        ended => wrong.push((Wrong::Exit, format!("{ended:?}: {stderr}"))),
    }
    let began = stderr.contains("worker started") || stderr.contains(" started ");
    let lasted = matches!(fault.span, Span::While(_));
    if verb.persistent && began && lasted && !trial.misses().is_empty() {
        wrong.push((Wrong::GivenUp, format!("{:?}: {stderr}", run.ended)));
    }
    wrong
}

/// The beginning and the end of what a command said, on one line.
fn short(what: &str) -> String {
    const HALF: usize = 300;
    let line: Vec<char> = what.replace('\n', " | ").chars().collect();
    if line.len() <= 2 * HALF {
        return line.into_iter().collect();
    }
    let (head, tail) = (&line[..HALF], &line[line.len() - HALF..]);
    head.iter().chain(" … ".chars().collect::<Vec<_>>().iter()).chain(tail).collect()
}

/// Whether the user was told in one sentence, and perhaps what to do, after what else there was to
/// say.
fn explains(stderr: &str) -> bool {
    let mut last = stderr.lines().skip_while(|line| !line.starts_with("error: "));
    last.next().is_some()
        && last.all(|line| line.starts_with("  hint: ") || line.starts_with("        "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sentence_is_told_from_none_and_from_many() {
        assert!(explains("error: the disk is full\n  hint: make room"));
        assert!(explains("2026 w1 started\nerror: a"));
        assert!(!explains(""));
        assert!(!explains("error: a\nerror: b"));
        assert!(!explains("error: a\nand more"));
    }
}
