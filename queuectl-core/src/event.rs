//! What the event log tells: one change of one job, in the order in which they were committed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::attempt::Cause;
use crate::clock::Timestamp;
use crate::id::{JobId, JobKey, Name, Token, WorkerKey};
use crate::state::{Event, State};

/// What became of a job. [`Store::events`](crate::Store::events) says which of them there are, and
/// what each tells beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was enqueued, and is there from now on.
    Added,
    /// A worker has taken it, and spent one attempt.
    Claimed,
    /// The attempt succeeded.
    Completed,
    /// The attempt failed, and a retry is left.
    Failed,
    /// The attempt failed for the last time, or in a way that no retry can mend.
    Died,
    /// The handler asked to be run later.
    Snoozed,
    /// The worker gave it back.
    Released,
    /// The worker died or lost its lease.
    LeaseLost,
    /// Somebody wants it to be cancelled while it runs. Its state is as it was.
    CancelRequested,
    /// It is cancelled.
    Cancelled,
    /// It had not begun by the moment from which on it is not worth running.
    Expired,
    /// It waits for no other job any more.
    Unblocked,
    /// An operator runs it again.
    Retried,
    /// It is gone.
    Deleted,
}

impl Change {
    /// Every change.
    pub const ALL: [Change; 14] = [
        Change::Added,
        Change::Claimed,
        Change::Completed,
        Change::Failed,
        Change::Died,
        Change::Snoozed,
        Change::Released,
        Change::LeaseLost,
        Change::CancelRequested,
        Change::Cancelled,
        Change::Expired,
        Change::Unblocked,
        Change::Retried,
        Change::Deleted,
    ];

    /// The name, as the command line and JSON show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Claimed => "claimed",
            Change::Completed => "completed",
            Change::Failed => "failed",
            Change::Died => "died",
            Change::Snoozed => "snoozed",
            Change::Released => "released",
            Change::LeaseLost => "lease_lost",
            Change::CancelRequested => "cancel_requested",
            Change::Cancelled => "cancelled",
            Change::Expired => "expired",
            Change::Unblocked => "unblocked",
            Change::Retried => "retried",
            Change::Deleted => "deleted",
        }
    }

    /// What has happened when this event has moved a job.
    ///
    /// ```
    /// use queuectl_core::{Change, Event};
    ///
    /// assert_eq!(Change::by(Event::Exhaust), Change::Died);
    /// assert_eq!(Change::Died.event(), Some(Event::Exhaust));
    /// assert_eq!(Change::Added.event(), None);
    /// ```
    pub const fn by(event: Event) -> Self {
        match event {
            Event::Claim => Change::Claimed,
            Event::Complete => Change::Completed,
            Event::Fail => Change::Failed,
            Event::Exhaust => Change::Died,
            Event::Snooze => Change::Snoozed,
            Event::Release => Change::Released,
            Event::LoseLease => Change::LeaseLost,
            Event::Cancel => Change::Cancelled,
            Event::Expire => Change::Expired,
            Event::Unblock => Change::Unblocked,
            Event::Retry => Change::Retried,
        }
    }

    /// The event in the table of transitions; none for what is not a transition.
    pub fn event(self) -> Option<Event> {
        Event::ALL.into_iter().find(|event| Change::by(*event) == self)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown change {0:?}")]
pub struct UnknownChange(pub String);

impl FromStr for Change {
    type Err = UnknownChange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Change::ALL
            .into_iter()
            .find(|change| change.as_str() == text)
            .ok_or_else(|| UnknownChange(text.to_owned()))
    }
}

/// One entry of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Its number: one more than that of the entry before, over the life of the store.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The job.
    pub job: JobKey,
    /// The job's id, also if the job is gone by now.
    pub id: JobId,
    /// The job's queue.
    pub queue: Name,
    /// The job's kind.
    pub kind: Name,
    /// What became of it.
    pub change: Change,
    /// The state that it left; `None` if it was not there before.
    pub from: Option<State>,
    /// The state that it is in since; `None` if it is gone.
    pub to: Option<State>,
    /// The attempt, if this begins or ends one, or is about one that runs.
    pub token: Option<Token>,
    /// The worker that holds or held that attempt.
    pub worker: Option<WorkerKey>,
    /// Why the attempt ended, if it did not succeed and there is a record of it.
    pub cause: Option<Cause>,
    /// Why the job is cancelled, or to be.
    pub reason: Option<String>,
    /// Who cancelled it, or asked for that.
    pub by: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_each_event_has_its_own_change() {
        for change in Change::ALL {
            assert_eq!(change.as_str().parse(), Ok(change));
        }
        assert!("Added".parse::<Change>().is_err());
        for event in Event::ALL {
            assert_eq!(Change::by(event).event(), Some(event));
        }
        let none = Change::ALL.into_iter().filter(|change| change.event().is_none());
        let others = [Change::Added, Change::CancelRequested, Change::Deleted];
        assert_eq!(none.collect::<Vec<_>>(), others);
    }
}
