//! What can be done to a store, as plain data, and told in a line each.
//!
//! Jobs, workers and leases have names of their own here, given when the step is made and never by
//! counting, so that a story stays the same story when steps are taken out of it: a job is a
//! number, a worker is a number, and a lease is a job and the token of one of its claims.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{Condition, Needs, OnConflict, Otherwise, Rule, Setting, UniqueScope};

/// The queues that there are. The last is private: only who names it is given its jobs.
pub(super) const QUEUES: [&str; 3] = ["default", "mail", "run:alone"];
/// The kinds that there are. Nobody asks for the last.
pub(super) const KINDS: [&str; 3] = ["work", "other", "never"];

/// The names of batches that there are.
pub(super) const BATCHES: [&str; 3] = ["book", "film", "song"];

/// Which of two processes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The one that is there throughout.
    Main,
    /// The one that may die.
    Other,
}

/// One step of a story.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Add jobs.
    Enqueue(Who, Vec<New>),
    /// Register a worker of this number.
    Register(Who, u32, Duration),
    /// End registrations.
    Deregister(Who, Vec<u32>),
    /// Settle, then claim.
    Exchange(Who, Vec<End>, Option<Claim>),
    /// Renew leases.
    Renew(Who, Vec<u32>, Duration),
    /// Ask for orders, and for what is held.
    Orders(Who, Vec<u32>),
    /// Free the jobs of the dead.
    Rescue(Who),
    /// Close a batch, and add jobs.
    CloseBatch(Who, usize, Vec<New>),
    /// Cancel what is left of a batch, for a reason of this number.
    CancelBatch(Who, usize, u8),
    /// Cancel jobs, for a reason of this number.
    Cancel(Who, Vec<u32>, u8),
    /// Run jobs again.
    Retry(Who, Vec<u32>),
    /// Run a job again with this payload, and a note of this number.
    RetryWith(Who, u32, u8, u8),
    /// Delete jobs.
    Purge(Who, Vec<u32>),
    /// Do something to all dead jobs, or to those that failed like this one.
    Sweep(Who, Option<u32>, Remedy),
    /// Note something about a job, by number.
    Note(Who, u32, u8),
    /// Delete what was kept for long enough.
    Prune(Who),
    /// Cancel what has expired.
    Expire(Who),
    /// Pause or resume a queue.
    Pause(Who, usize, bool),
    /// Tell workers to stop.
    Stop(Who, Vec<u32>, StopMode),
    /// Note the progress of attempts.
    Progress(Who, Vec<(Name, u8)>),
    /// Change the retries of a kind, or how many workers its jobs may lose.
    Policy(Who, usize, Rule),
    /// Change a setting.
    Change(Who, Setting, Option<&'static str>),
    /// The other process dies, and another takes its place.
    Die,
    /// All processes end, and the store is opened again.
    Reopen,
    /// Time passes.
    Pass(Duration),
    /// The wall clock is set, by so many milliseconds.
    SetWall(i64),
    /// The machine is restarted.
    Reboot,
}

/// What is done to many dead jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// They run again, so long after one another.
    Retry(Option<Duration>),
    /// They are deleted.
    Purge,
}

/// A lease: the n-th claim of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The job.
    pub(super) job: u32,
    /// The token.
    pub(super) token: i64,
}

impl Name {
    /// Whether the attempt begins at once. Every third one is held for later.
    pub(super) fn begins(self) -> bool {
        (i64::from(self.job) + self.token) % 3 != 0
    }
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub(super) struct New {
    /// Its number in the story.
    pub(super) job: u32,
    /// Which id it asks for.
    pub(super) id: Id,
    /// Its queue, of [`QUEUES`].
    pub(super) queue: usize,
    /// Its kind, of [`KINDS`].
    pub(super) kind: usize,
    /// Its priority.
    pub(super) priority: i16,
    /// Its retries.
    pub(super) retries: Option<u32>,
    /// How many workers in a row it may lose.
    pub(super) crashes: Option<NonZeroU32>,
    /// Its idempotency key.
    pub(super) unique: Option<u8>,
    /// How long it holds that.
    pub(super) scope: UniqueScope,
    /// What becomes of the job that holds it.
    pub(super) on_conflict: OnConflict,
    /// What its handler is given.
    pub(super) payload: u8,
    /// When it may run.
    pub(super) start: Start,
    /// When it expires.
    pub(super) expiry: Option<Expiry>,
    /// What it waits for.
    pub(super) after: Vec<(u32, Condition)>,
    /// The batches that it waits for.
    pub(super) after_batches: Vec<(usize, Condition)>,
    /// The batch that it is in.
    pub(super) batch: Option<usize>,
    /// How many of them.
    pub(super) needs: Needs,
    /// What becomes of it if they end otherwise.
    pub(super) otherwise: Otherwise,
}

/// Which id a new job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    /// None.
    Auto,
    /// One of its own.
    Own,
    /// That of another job, there or gone.
    Of(u32),
}

/// When a new job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At once.
    Now,
    /// After so long.
    In(Duration),
    /// At a moment, so many milliseconds from now by the wall clock.
    At(i64),
}

/// When a new job expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// After so long.
    In(Duration),
    /// At a moment, so many milliseconds from now by the wall clock.
    At(i64),
}

/// A settlement.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// Of which lease.
    pub(super) lease: Name,
    /// How.
    pub(super) verdict: Verdict,
    /// With a report.
    pub(super) said: bool,
    /// With something left running.
    pub(super) leftovers: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Done, with a result.
    Complete(Option<u8>),
    /// Failed; again after so long.
    Fail(Duration),
    /// Failed for good.
    Die,
    /// Again after so long.
    Snooze(Duration),
    /// Given back.
    Release,
    /// Cancelled.
    Cancel,
}

/// A claim.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// How many jobs for which worker.
    pub(super) workers: Vec<(u32, usize)>,
    /// From these queues only.
    pub(super) only: Option<Vec<usize>>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |who: &Who| if *who == Who::Other { "the other process: " } else { "" };
        match self {
            Step::Enqueue(who, jobs) => {
                write!(f, "{}enqueue", by(who))?;
                jobs.iter().enumerate().try_for_each(|(index, job)| {
                    write!(f, "{} {job}", if index > 0 { " and" } else { "" })
                })
            }
            Step::CloseBatch(who, batch, jobs) => {
                write!(f, "{}close batch {}", by(who), BATCHES[*batch])?;
                jobs.iter().try_for_each(|job| write!(f, ", add {job}"))
            }
            Step::CancelBatch(who, batch, reason) => {
                write!(f, "{}cancel batch {}, reason {reason}", by(who), BATCHES[*batch])
            }
            Step::Register(who, worker, lease) => {
                write!(f, "{}register worker {worker} for {lease:?}", by(who))
            }
            Step::Deregister(who, workers) => {
                write!(f, "{}deregister {}", by(who), list("worker", workers))
            }
            Step::Exchange(who, settle, claim) => {
                write!(f, "{}exchange:", by(who))?;
                settle.iter().try_for_each(|end| write!(f, " {end};"))?;
                match claim {
                    None => f.write_str(" claim nothing"),
                    Some(claim) => claim.fmt(f),
                }
            }
            Step::Renew(who, workers, lease) => {
                write!(f, "{}renew {} for {lease:?}", by(who), list("worker", workers))
            }
            Step::Orders(who, workers) => {
                write!(f, "{}orders of {}", by(who), list("worker", workers))
            }
            Step::Rescue(who) => write!(f, "{}rescue", by(who)),
            Step::Cancel(who, jobs, reason) => {
                write!(f, "{}cancel {}, reason {reason}", by(who), list("job", jobs))
            }
            Step::Retry(who, jobs) => write!(f, "{}retry {}", by(who), list("job", jobs)),
            Step::Purge(who, jobs) => write!(f, "{}purge {}", by(who), list("job", jobs)),
            Step::RetryWith(who, job, payload, text) => {
                write!(f, "{}retry job {job} with payload {payload}, note {text}", by(who))
            }
            Step::Sweep(who, None, remedy) => write!(f, "{}all dead jobs: {remedy:?}", by(who)),
            Step::Sweep(who, Some(job), remedy) => {
                write!(f, "{}all dead jobs like job {job}: {remedy:?}", by(who))
            }
            Step::Note(who, job, text) => write!(f, "{}note {text} on job {job}", by(who)),
            Step::Prune(who) => write!(f, "{}prune", by(who)),
            Step::Expire(who) => write!(f, "{}expire", by(who)),
            Step::Pause(who, queue, paused) => {
                let what = if *paused { "pause" } else { "resume" };
                write!(f, "{}{what} {}", by(who), QUEUES[*queue])
            }
            Step::Stop(who, workers, mode) => {
                write!(f, "{}stop {}: {mode:?}", by(who), list("worker", workers))
            }
            Step::Progress(who, notes) => {
                write!(f, "{}progress", by(who))?;
                notes.iter().try_for_each(|(lease, value)| write!(f, " {lease}: {value}"))
            }
            Step::Policy(who, kind, rule) => {
                write!(f, "{}policy of {}: {rule:?}", by(who), KINDS[*kind])
            }
            Step::Change(who, setting, value) => {
                write!(f, "{}set {setting} to {value:?}", by(who))
            }
            Step::Die => f.write_str("the other process dies"),
            Step::Reopen => f.write_str("all processes end, the store is opened again"),
            Step::Pass(time) => write!(f, "{time:?} pass"),
            Step::SetWall(step) => write!(f, "the wall clock is set by {step} ms"),
            Step::Reboot => f.write_str("the machine is restarted"),
        }
    }
}

fn list(what: &str, numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| format!("{what} {number}")).collect();
    numbers.join(", ")
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} (claim {})", self.job, self.token)
    }
}

impl fmt::Display for New {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {} ({} on {}", self.job, KINDS[self.kind], QUEUES[self.queue])?;
        match self.id {
            Id::Auto => {}
            Id::Own => f.write_str(", its own id")?,
            Id::Of(job) => write!(f, ", the id of job {job}")?,
        }
        if self.priority != 0 {
            write!(f, ", priority {}", self.priority)?;
        }
        if let Some(retries) = self.retries {
            write!(f, ", retries {retries}")?;
        }
        if let Some(crashes) = self.crashes {
            write!(f, ", crashes {crashes}")?;
        }
        if let Some(unique) = self.unique {
            write!(f, ", payload {}, unique key {unique}", self.payload)?;
            write!(f, ", {:?}, or {}", self.scope, self.on_conflict.as_str())?;
        }
        match self.start {
            Start::Now => {}
            Start::In(delay) => write!(f, ", in {delay:?}")?,
            Start::At(millis) => write!(f, ", at {millis} ms from now")?,
        }
        match self.expiry {
            None => {}
            Some(Expiry::In(time)) => write!(f, ", expires in {time:?}")?,
            Some(Expiry::At(millis)) => write!(f, ", expires {millis} ms from now")?,
        }
        if let Some(batch) = self.batch {
            write!(f, ", in batch {}", BATCHES[batch])?;
        }
        for (batch, on) in &self.after_batches {
            write!(f, ", after the {on} of batch {}", BATCHES[*batch])?;
        }
        if !self.after.is_empty() {
            let after: Vec<String> =
                self.after.iter().map(|(job, on)| format!("{on} of job {job}")).collect();
            let (needs, otherwise) = (self.needs, self.otherwise);
            write!(f, ", after {needs}: {}; otherwise {otherwise}", after.join(", "))?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ends: {:?}", self.lease, self.verdict)?;
        if self.said {
            f.write_str(" with a report")?;
        }
        if self.leftovers {
            f.write_str(" with leftovers")?;
        }
        Ok(())
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" claim")?;
        for (worker, count) in &self.workers {
            write!(f, " {count} for worker {worker}")?;
        }
        match &self.only {
            None => Ok(()),
            Some(only) => {
                let names: Vec<&str> = only.iter().map(|&queue| QUEUES[queue]).collect();
                write!(f, " from {}", names.join(", "))
            }
        }
    }
}
