//! What a caller sees of a store: the answers, and all that can be read. The model says what it
//! should be, the store what it is; both in the names of the story.

use std::time::Duration;

use queuectl_core::store::{Cancelled, StopMode};
use queuectl_core::{Cause, Condition, Fingerprint, Needs, Otherwise, State};

use super::step::Name;

/// The answer to a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Done,
    /// Which job each one is, and what the call did to it.
    Added(Vec<(u32, Taken)>),
    Exchanged {
        refused: Vec<Name>,
        claimed: Vec<SeenClaim>,
        next_due_ms: Option<u64>,
    },
    Orders {
        lost: Vec<u32>,
        cancel: Vec<(Name, Option<Reason>)>,
        stop: Vec<(u32, StopMode)>,
        held: Vec<Name>,
    },
    Rescued(Vec<SeenRescue>),
    Cancelled(Vec<Cancelled>),
    /// How many jobs of a batch.
    CancelledOf(u64, u64),
    Pruned(u64),
    /// To how many dead jobs something was done, and how many were passed over.
    Swept(u32, u32),
    Expired(u64),
    /// Leases that are not held.
    NotHeld(Vec<Name>),
    /// It was refused, for any one of these reasons: in which order a call looks at its jobs is the
    /// store's business.
    Refused(Vec<Refusal>),
}

impl Answer {
    /// Whether a store that gives `other` does what this one says.
    pub(super) fn allows(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Refused(any), Answer::Refused(one)) => one.iter().all(|one| any.contains(one)),
            _ => self == other,
        }
    }
}

/// What became of a job that was enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Created,
    Changed,
    Kept,
}

/// Why a call was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NotFound,
    NoBatch,
    BatchClosed,
    BatchOpen,
    BatchEnded,
    NoWorker,
    DuplicateId,
    NumberGiven,
    Cycle,
    WrongState,
    StillLives,
    UniqueKeyTaken,
}

/// Why a job is, or is to be, cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Somebody asked.
    Asked(u8),
    /// What it waited for was deleted.
    ParentDeleted,
    /// It was not begun in time.
    Expired,
    /// What it waited for has ended otherwise.
    ParentEnded,
    /// Its handler said so.
    Said,
    /// None of these.
    Unknown,
}

/// Who asks for a cancellation, for a reason of this number: not everybody says.
pub(super) fn asker(reason: u8) -> Option<&'static str> {
    reason.is_multiple_of(2).then_some("somebody")
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenClaim {
    pub(super) lease: Name,
    pub(super) worker: u32,
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) lost_from: Option<i64>,
    /// The time limit that its kind gives it: it has none of its own.
    pub(super) limit: Option<Duration>,
}

/// The worker of a lease that nobody holds any more.
pub(super) const NOBODY: u32 = u32::MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenRescue {
    pub(super) lease: Name,
    /// [`NOBODY`] if the job has ended: then it need not be known.
    pub(super) worker: u32,
    pub(super) kind: usize,
    pub(super) lost_from: i64,
    pub(super) state: State,
}

/// All that can be read. When a job's record was last written is left out: a store may write when
/// it makes a due job claimable, or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Seen {
    pub(super) jobs: Vec<SeenJob>,
    /// The queue, the kind, and how many in each state; without those that have none.
    pub(super) counts: Vec<(usize, usize, [u64; 7])>,
    pub(super) queues: Vec<(usize, bool)>,
    pub(super) workers: Vec<SeenWorker>,
    pub(super) groups: Vec<SeenGroup>,
    /// The newest first.
    pub(super) batches: Vec<SeenBatch>,
}

impl Seen {
    /// The first thing in which `other` differs, as this has it and as the other has it.
    pub(super) fn difference(&self, other: &Seen) -> Option<(String, String)> {
        let (mine, others) = (self.lines(), other.lines());
        let length = mine.len().max(others.len());
        let line = |lines: &[String], index: usize| {
            lines.get(index).cloned().unwrap_or_else(|| "nothing more".to_owned())
        };
        (0..length)
            .map(|index| (line(&mine, index), line(&others, index)))
            .find(|(mine, other)| mine != other)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.jobs.iter().map(|job| format!("{job:?}")).collect();
        lines.extend(self.counts.iter().map(|counts| format!("counts {counts:?}")));
        lines.extend(self.queues.iter().map(|queue| format!("queue {queue:?}")));
        lines.extend(self.workers.iter().map(|worker| format!("{worker:?}")));
        lines.extend(self.groups.iter().map(|group| format!("{group:?}")));
        lines.extend(self.batches.iter().map(|batch| format!("{batch:?}")));
        lines
    }
}

/// A batch: when it was made, closed and ended, and how many jobs it has, and in which states.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenBatch {
    pub(super) batch: usize,
    pub(super) times: (i64, Option<i64>, Option<i64>),
    pub(super) total: u64,
    pub(super) ended: [u64; 3],
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenJob {
    pub(super) job: u32,
    pub(super) state: State,
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) priority: i16,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    pub(super) token: i64,
    pub(super) worker: Option<u32>,
    pub(super) run_at: i64,
    pub(super) expires_at: Option<i64>,
    pub(super) created_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) unique: Option<String>,
    pub(super) unique_until: Option<i64>,
    pub(super) unique_while: Vec<State>,
    pub(super) payload: String,
    pub(super) waits_for: Vec<(u32, Condition)>,
    pub(super) waits_for_batches: Vec<(usize, Condition)>,
    pub(super) batch: Option<usize>,
    pub(super) terms: (Needs, Otherwise),
    pub(super) reason: Option<Reason>,
    pub(super) by: Option<String>,
    pub(super) error: Option<String>,
    pub(super) result: Option<String>,
    pub(super) progress: Option<String>,
    pub(super) failure: Option<Fingerprint>,
    pub(super) notes: Vec<SeenNote>,
    pub(super) history: Vec<SeenAttempt>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenNote {
    pub(super) at: i64,
    pub(super) text: u8,
    pub(super) payload: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenGroup {
    pub(super) failure: Fingerprint,
    pub(super) count: u64,
    pub(super) oldest_at: i64,
    /// When the newest died, and which that is.
    pub(super) newest: (i64, u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenAttempt {
    pub(super) token: i64,
    pub(super) number: u32,
    pub(super) worker: Option<u32>,
    pub(super) started_at: i64,
    pub(super) finished_at: Option<i64>,
    pub(super) cause: Option<Cause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenWorker {
    pub(super) worker: u32,
    pub(super) stopping: Option<StopMode>,
    pub(super) runs: Vec<u32>,
}
