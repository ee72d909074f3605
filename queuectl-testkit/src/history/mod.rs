//! What happened to a store, as those outside of it saw it, held against what the store promises.
//!
//! A [`History`] is made by whoever runs the proof: a simulator, or real processes with a witness
//! outside of the store. [`check`] knows nothing of SQLite, of processes or of time passing; it reads
//! a finished history and finds each promise that was broken. The store's own record is evidence
//! here, and never taken at its word where a witness knows better.
//!
//! An enqueue is believed if it was acknowledged; a call whose answer never came may have happened or
//! not, at any time until its caller was dead. Running a job again is allowed if it is *explained*: by
//! a failure, a killed or stopped process, a worker that gave the job back, an operator. The findings
//! count each explanation.
//!
//! One pass over each job, after sorting: `O(n log n)`.

mod findings;
mod index;
mod presence;
mod record;
mod running;
#[cfg(test)]
mod tiny;

use std::time::Duration;

use queuectl_core::store::Cancelled;
use queuectl_core::{
    After, Attempt, Job, JobId, JobKey, Lease, Name, Needs, Otherwise, State, Timestamp, Token,
};

pub use self::findings::{Counted, Explanation, Findings, Promise, Violation};
use self::index::Index;

/// A reading of the boot clock in microseconds: finer than the store's own, so that the witness can
/// tell which of two executions began first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// Later than all others.
    pub const NEVER: Moment = Moment(i64::MAX);

    /// So much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// A process, or a thread of a simulated one. Whoever makes the history numbers them, and gives no
/// number twice: pids come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u64);

/// Everything that is known of one run. The order within each list does not matter.
#[derive(Debug, Default)]
pub struct History {
    /// What was asked of the store.
    pub calls: Vec<Call>,
    /// What ran.
    pub executions: Vec<Execution>,
    /// What was done to processes.
    pub faults: Vec<Fault>,
    /// What readers saw meanwhile.
    pub sightings: Vec<Sighting>,
    /// How it ended.
    pub end: End,
}

/// A writing call of the store.
#[derive(Debug, Clone)]
pub struct Call {
    /// Before the call.
    pub asked_at: Moment,
    /// After the answer, or after the caller was dead. The call takes effect between the two, if it
    /// does. [`Moment::NEVER`] if that is not known.
    pub over_at: Moment,
    /// What the caller was told.
    pub answer: Answer,
    /// What it asked for.
    pub request: Request,
}

/// What the caller of a writing call was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Acknowledged.
    Done,
    /// An error that means that nothing happened.
    Refused,
    /// It may have happened: the caller died, or the error said so.
    Unknown,
}

/// What a writing call asked for.
#[derive(Debug, Clone)]
pub enum Request {
    /// These jobs, all or none.
    Enqueue(Vec<Asked>),
    /// To cancel these, all or none; with what the store said it did, if it answered.
    Cancel(Vec<(JobId, Option<Cancelled>)>),
    /// To run these again.
    Retry(Vec<JobId>),
    /// To delete these.
    Purge(Vec<JobId>),
    /// To claim no more from this queue.
    Pause(Name),
    /// To claim from it again.
    Resume(Name),
}

/// A job as it was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its id: as it was chosen, or answered. Where neither is known, as it was found in the store or
    /// by the witness by a mark that the job carries; `None` if it was found nowhere.
    pub id: Option<JobId>,
    /// Its idempotency key.
    pub unique_key: Option<String>,
    /// Its queue.
    pub queue: Name,
    /// The jobs that it waits for.
    pub after: Vec<After>,
    /// How many of them must end so.
    pub needs: Needs,
    /// What becomes of it if they end otherwise.
    pub otherwise: Otherwise,
    /// The earliest moment at which it may start: for a delay, the moment before the call plus the
    /// delay. `None` if it may at once.
    pub not_before: Option<Moment>,
    /// The shortest delay before a retry.
    pub backoff_min: Duration,
}

impl Asked {
    /// A job that may run at once and waits for nothing.
    pub fn new(id: Option<JobId>, queue: Name) -> Self {
        Asked {
            id,
            unique_key: None,
            queue,
            after: Vec::new(),
            needs: Needs::All,
            otherwise: Otherwise::Wait,
            not_before: None,
            backoff_min: Duration::ZERO,
        }
    }
}

/// One execution, as the witness saw it. Handlers that never began are not here.
#[derive(Debug, Clone)]
pub struct Execution {
    /// The job.
    pub id: JobId,
    /// The claim under which it ran.
    pub lease: Lease,
    /// The worker's process, which holds the lease: its death explains another execution.
    pub holder: ProcessId,
    /// What did the work: the same process for a handler, one of its own for a command. Only if
    /// *this* was stopped may another execution overlap: a worker ends its commands, or those who
    /// rescue its jobs do, before they run again.
    pub process: ProcessId,
    /// Before the call that claimed it, where that is known.
    pub claim_asked_at: Option<Moment>,
    /// When the work began.
    pub started_at: Moment,
    /// When and how it ended; `None` if it never said so: it was killed, or cut off by its worker.
    pub ended: Option<(Moment, How)>,
}

/// How an execution ended, in its own words, said before the worker knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The work was done.
    Succeeded,
    /// It failed.
    Failed,
    /// It was told to end because its lease was over, and did.
    LeaseLost,
    /// It ended because it was told to for another reason, or asked to be run later.
    GaveUp,
}

/// Something done to a process.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It was killed.
    Killed {
        /// Which.
        process: ProcessId,
        /// Before it was done: from here on it may be dead.
        at: Moment,
    },
    /// It was stopped, so that it lived and did nothing, and continued.
    Stopped {
        /// Which.
        process: ProcessId,
        /// Before it was stopped.
        from: Moment,
        /// After it was continued; [`Moment::NEVER`] if it was not.
        until: Moment,
    },
    /// Nobody could write to the store, so that leases could not be renewed.
    StoreBlocked {
        /// Before.
        from: Moment,
        /// After.
        until: Moment,
    },
}

/// A job as a reader saw it.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// Before it was read.
    pub asked_at: Moment,
    /// After it was read.
    pub seen_at: Moment,
    /// The job.
    pub id: JobId,
    /// Its number.
    pub key: JobKey,
    /// Its state.
    pub state: State,
    /// The token of its newest claim.
    pub token: Token,
}

/// The store when all is over: nothing runs any more, and no call is under way.
#[derive(Debug)]
pub struct End {
    /// Every job, with its attempts as the store gives them.
    pub jobs: Vec<(Job, Vec<Attempt>)>,
    /// The queues that are paused.
    pub paused: Vec<Name>,
    /// The wall clock.
    pub now: Timestamp,
    /// Whether workers ran until they found nothing more to do, so that a job that could have run is
    /// stuck.
    pub drained: bool,
    /// Whether the store's retention settings may have deleted jobs.
    pub retention: bool,
}

impl Default for End {
    fn default() -> Self {
        let now = Timestamp::from_millis(0);
        End { jobs: Vec::new(), paused: Vec::new(), now, drained: true, retention: false }
    }
}

/// Holds a history against the promises.
pub fn check(history: &History) -> Findings {
    let index = Index::of(history);
    let mut findings = Findings::default();
    findings.counted.calls = history.calls.len() as u64;
    findings.counted.jobs = index.lines.len() as u64;
    findings.counted.executions = history.executions.len() as u64;
    presence::check(&index, &mut findings);
    for line in index.lines.values() {
        running::check(&index, line, &mut findings);
        record::check(&index, line, &mut findings);
    }
    running::claims_during_pause(&index, &mut findings);
    findings.sort();
    findings
}
