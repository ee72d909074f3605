//! What a check has found, and what it has counted.

use std::collections::BTreeMap;
use std::fmt;

use queuectl_core::JobId;

/// What a history says of the promises.
#[derive(Debug, Default)]
pub struct Findings {
    /// Each broken promise.
    pub violations: Vec<Violation>,
    /// What was looked at, and what was allowed.
    pub counted: Counted,
}

/// How much there was.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Writing calls.
    pub calls: u64,
    /// Jobs whose enqueue was acknowledged.
    pub acknowledged: u64,
    /// Jobs that were asked for by calls of unknown outcome alone, and are there.
    pub recovered: u64,
    /// Jobs that exist, existed or ran.
    pub jobs: u64,
    /// Executions.
    pub executions: u64,
    /// Executions after another of the same job, by what explains them.
    pub again: BTreeMap<Explanation, u64>,
    /// Executions that began or went on after their lease was lost, in processes that were stopped.
    pub stale: u64,
}

impl Counted {
    /// Adds what another history had.
    pub fn add(&mut self, other: &Counted) {
        self.calls += other.calls;
        self.acknowledged += other.acknowledged;
        self.recovered += other.recovered;
        self.jobs += other.jobs;
        self.executions += other.executions;
        self.stale += other.stale;
        for (&explanation, count) in &other.again {
            *self.again.entry(explanation).or_default() += count;
        }
    }
}

/// Why a job ran once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Explanation {
    /// Its worker was killed.
    Crash,
    /// Its worker was stopped for longer than its lease.
    Stopped,
    /// Its worker could not renew in time and ended it.
    Fenced,
    /// It failed, or ran out of time.
    Failure,
    /// Its worker gave it back.
    Interrupted,
    /// It asked to be run later.
    Snoozed,
    /// An operator asked for it.
    Operator,
    /// The job was deleted, and the reason with it.
    Deleted,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Explanation::Crash => "crash",
            Explanation::Stopped => "stopped",
            Explanation::Fenced => "fenced",
            Explanation::Failure => "failure",
            Explanation::Interrupted => "interrupted",
            Explanation::Snoozed => "snoozed",
            Explanation::Operator => "operator",
            Explanation::Deleted => "deleted",
        })
    }
}

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// An acknowledged job is there until it is deleted.
    NothingLost,
    /// Nothing runs, or stands there, that nobody asked for.
    NoPhantom,
    /// A batch is there wholly or not at all.
    WholeBatch,
    /// At most one living job has a unique key.
    UniqueKey,
    /// At most one execution of a job at a time.
    OneHolder,
    /// Only the holder's word counts, and only what it said.
    TrueOutcome,
    /// Each execution after the first has a reason.
    ExplainedRun,
    /// A job that has ended does not run.
    TerminalIsFinal,
    /// A job does not run before its time, before those it waits for, or from a paused queue.
    NotEarly,
    /// Each claim spends one attempt, and never more than there are.
    Attempts,
    /// What can run is run.
    NothingStuck,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// Whose job.
    pub job: Option<JobId>,
    /// What was seen.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.promise)?;
        if let Some(job) = &self.job {
            write!(f, "job {job}: ")?;
        }
        f.write_str(&self.text)
    }
}

impl Findings {
    /// Whether every promise was kept.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    pub(super) fn broken(&mut self, promise: Promise, job: &JobId, text: impl Into<String>) {
        self.violations.push(Violation { promise, job: Some(job.clone()), text: text.into() });
    }

    pub(super) fn again(&mut self, explanation: Explanation) {
        *self.counted.again.entry(explanation).or_default() += 1;
    }

    /// The same history gives the same list, whatever order its maps are walked in.
    pub(super) fn sort(&mut self) {
        self.violations.sort_by_cached_key(|violation| {
            (
                violation.promise,
                violation.job.as_ref().map(ToString::to_string),
                violation.text.clone(),
            )
        });
    }
}
