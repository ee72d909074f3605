//! What a worker does next.
//!
//! [`Steps`] is everything a worker process knows and nothing that it does: it is told what has
//! happened and at what time, and names one [`Action`]. It never sleeps, spawns, reads a clock or
//! calls the store, so a simulator can drive the very code that runs in production, in any order and
//! at any time. `threads` carries the actions out for real.

use std::collections::HashMap;
use std::time::Duration;

use super::verdict::{Attempted, settlement};
use crate::attempt::Report;
use crate::clock::{BootTime, Timestamp};
use crate::handler::{Finished, StopCause};
use crate::id::{JobId, Lease, WorkerKey};
use crate::job::{Claimed, Json};
use crate::settings::Settings;
use crate::state::State;
use crate::store::{Exchanged, Orders, Progress, Rescued, Settlement, StopMode, StoreError};

/// How often a worker looks for dead ones, and for work that nobody told it of.
const TICK: Duration = Duration::from_secs(1);
/// How soon after a change the worker looks whether it is told to cancel or to stop.
const ORDERS_PAUSE: Duration = Duration::from_millis(50);
/// The pause after the store has failed; it doubles with each further failure.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often in a row the store may fail in ways that do not pass by themselves.
const FAILURES_MAX: u32 = 5;
/// The most jobs that one worker holds in advance, when each takes next to no time.
const AHEAD_MAX: usize = 256;
/// A job that took longer than this is not one to hold others behind.
const QUICK: Duration = Duration::from_millis(5);

/// One thing for a worker process to do. Each has a method of [`Steps`] that takes the answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Register so many workers: [`Steps::registered`].
    Register(usize),
    /// Read the settings: [`Steps::configured`].
    Configure,
    /// Renew the leases: [`Steps::renewed`].
    Renew(Vec<WorkerKey>),
    /// Ask what is wanted: [`Steps::ordered`].
    Orders(Vec<WorkerKey>),
    /// Free the jobs of dead workers: [`Steps::rescued`].
    Rescue,
    /// Delete what has outlived its retention: [`Steps::pruned`].
    Prune,
    /// Find out what is held after a call of unknown outcome: [`Steps::reconciled`].
    Reconcile(Vec<WorkerKey>),
    /// Settle, and claim for these workers if there are any: [`Steps::exchanged`].
    Exchange {
        /// What has finished.
        settle: Vec<Settlement>,
        /// How many jobs each worker wants.
        claim: Vec<(WorkerKey, usize)>,
    },
    /// Record progress: [`Steps::noted`].
    Note(Vec<Progress>),
    /// Find out whether anything is left to do: [`Steps::counted`].
    Count,
    /// Begin these attempts, in this order. Each ends with [`Steps::finished`].
    Start(Vec<Claimed>),
    /// Take back the attempts that have not begun: [`Steps::recalled`].
    Recall,
    /// Tell running attempts to end.
    Raise(Vec<(Lease, StopCause)>),
    /// Tell whoever observes.
    Tell(Notice),
    /// Wait for news, until this time.
    Wait(BootTime),
    /// End the registration, then the worker has ended: [`Steps::deregistered`].
    Deregister(Vec<WorkerKey>),
    /// Nothing more.
    End,
}

/// What there is to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// An attempt was settled.
    Settled(Settled),
    /// The lease of an attempt is lost.
    LeaseLost(JobId),
    /// A job was freed from a dead worker.
    Rescued(Rescued),
    /// No more jobs are claimed.
    Stopping(StopMode),
}

/// A settled attempt.
#[derive(Debug)]
pub struct Settled {
    /// The worker.
    pub worker: WorkerKey,
    /// The job.
    pub id: JobId,
    /// Which attempt it was.
    pub attempt: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// Where the job stands now.
    pub state: State,
    /// When it runs again, if it does.
    pub retry_in: Option<Duration>,
    /// How long the attempt took.
    pub took: Duration,
    /// How it ended.
    pub report: Report,
}

/// How often each ending has occurred.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Attempts that completed their jobs.
    pub completed: u64,
    /// Attempts that failed and will be retried.
    pub failed: u64,
    /// Attempts after which the job was dead.
    pub dead: u64,
    /// Attempts of cancelled jobs.
    pub cancelled: u64,
    /// Attempts that were given back: snoozed, interrupted, not begun.
    pub released: u64,
    /// Attempts whose lease was lost.
    pub lost: u64,
}

/// One attempt that this process holds.
#[derive(Debug)]
struct Held {
    attempted: Attempted,
    claimed_at: BootTime,
    told: Option<StopCause>,
}

/// A worker process between two steps.
#[derive(Debug)]
pub struct Steps {
    wanted: usize,
    lease: Duration,
    drain: bool,
    settings: Settings,
    configured: bool,
    /// The workers, and how many attempts each holds.
    workers: Vec<(WorkerKey, usize)>,
    /// When the leases were last extended: the time before the call, so that they never seem to
    /// last longer than they do.
    renewed_at: BootTime,
    held: HashMap<Lease, Held>,
    to_start: Vec<Claimed>,
    to_raise: Vec<(Lease, StopCause)>,
    to_settle: Vec<Settlement>,
    to_note: HashMap<Lease, Json>,
    to_tell: Vec<Notice>,
    /// What the exchange under way settles, with what there will be to tell of each.
    settling: Vec<(Settlement, Option<Settled>)>,
    told_of: HashMap<Lease, Settled>,
    /// There may be something to claim.
    hungry: bool,
    /// How many jobs a worker holds at a time.
    ahead: usize,
    next_due: Option<BootTime>,
    orders_due: Option<BootTime>,
    ordered_at: Option<BootTime>,
    ticked_at: Option<BootTime>,
    prune: bool,
    reconcile: bool,
    recall: bool,
    count: bool,
    failures: u32,
    pause_until: Option<BootTime>,
    stop: Option<(StopMode, BootTime)>,
    fatal: bool,
    ended: bool,
    summary: Summary,
}
