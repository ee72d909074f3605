//! What a worker process may have to do, to tell, and to sum up: the words between
//! [`step`](super::step), which decides, and `threads`, which does.

use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::step::Steps;
use crate::attempt::Report;
use crate::clock::BootTime;
use crate::handler::StopCause;
use crate::id::{JobId, Lease, WorkerKey};
use crate::job::Claimed;
use crate::state::State;
use crate::store::{Progress, Rescued, Settlement, StopMode, StoreError};

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
    /// Cancel jobs that have expired: [`Steps::expired`].
    Expire,
    /// Delete what has outlived its retention: [`Steps::pruned`].
    Prune,
    /// Attend to the ticks of schedules: [`Steps::ticked`].
    Tick,
    /// Find out what is held, after a call of unknown outcome: [`Steps::reconciled`].
    Reconcile(Vec<WorkerKey>),
    /// Settle what has finished, and claim for these workers if there are any:
    /// [`Steps::exchanged`].
    Exchange {
        /// What has finished. Goes back with the answer.
        settle: Vec<Settlement>,
        /// How many jobs each worker wants.
        claim: Vec<(WorkerKey, usize)>,
    },
    /// Record progress: [`Steps::noted`].
    Note(Vec<Progress>),
    /// Find out whether anything is left to do: [`Steps::counted`].
    Count,
    /// Begin these attempts, in this order. Each ends with [`Steps::finished`].
    Start(Vec<Arc<Claimed>>),
    /// Take back the attempts that have not begun: [`Steps::recalled`].
    Recall,
    /// Tell running attempts to end.
    Raise(Vec<(Lease, StopCause)>),
    /// Tell whoever observes, in this order.
    Tell(Vec<Notice>),
    /// Wait for news, at most until this time.
    Wait(BootTime),
    /// End the registration: [`Steps::deregistered`].
    Deregister(Vec<WorkerKey>),
    /// Nothing, ever again.
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
    /// The store has failed; it is tried again.
    StoreFailed(StoreError),
    /// No more jobs are claimed.
    Stopping(StopMode),
}

/// A settled attempt.
#[derive(Debug)]
pub struct Settled {
    /// The attempt.
    pub job: Arc<Claimed>,
    /// Where the job stands now.
    pub state: State,
    /// When it runs again, if it does.
    pub retry_in: Option<Duration>,
    /// How long the attempt took.
    pub took: Duration,
    /// How it ended; `None` if there is nothing to say but that it succeeded.
    pub report: Option<Box<Report>>,
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
    /// Attempts of jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts that were given back: snoozed, interrupted, or never begun.
    pub released: u64,
    /// Attempts whose lease was lost.
    pub lost: u64,
}
