//! The life of a job: seven states, the events that move it, and one function that says which
//! event may happen in which state. Nothing else in the project decides a transition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waiting for a worker, now or at a time to come. A worker moves it on when it is due.
    Pending,
    /// Waiting for the jobs it depends on. Their completion moves it on.
    Blocked,
    /// Claimed by a worker that holds a lease. The worker's settlement moves it on, or the loss
    /// of the lease.
    Processing,
    /// Succeeded. Retention removes it; an operator may run it again.
    Completed,
    /// An attempt failed; the job runs again when its delay is over.
    Failed,
    /// The dead letter queue: retries are exhausted, or the failure cannot be retried. Only an
    /// operator moves it on.
    Dead,
    /// Stopped by a person or a program, or it has expired. Only an operator moves it on.
    Cancelled,
}

impl State {
    /// Every state, in the order in which they are shown.
    pub const ALL: [State; 7] = [
        State::Pending,
        State::Blocked,
        State::Processing,
        State::Completed,
        State::Failed,
        State::Dead,
        State::Cancelled,
    ];

    /// The lower-case name, as the command line and JSON show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Blocked => "blocked",
            State::Processing => "processing",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Dead => "dead",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether only an explicit operator action, or retention, can change the job from here.
    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Completed | State::Dead | State::Cancelled)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown state {0:?}; the states are pending, blocked, processing, completed, failed, dead and cancelled"
)]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        State::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// Something that happens to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker takes the job and spends one attempt.
    Claim,
    /// The attempt succeeded.
    Complete,
    /// The attempt failed and a retry is left.
    Fail,
    /// The attempt failed for the last time, or in a way that no retry can mend.
    Exhaust,
    /// The handler asked to be run later; the attempt is given back.
    Snooze,
    /// The worker stopped before the attempt ended; the attempt is given back.
    Release,
    /// The worker died or lost its lease; the attempt stays spent and the job may run at once.
    LoseLease,
    /// A person or a program stops the job. A processing job is cancelled by its holder, or when
    /// its lease is lost.
    Cancel,
    /// The job has not begun by the moment from which on it is not worth running.
    Expire,
    /// The last job that this one waited for has completed.
    Unblock,
    /// An operator runs the job again now. From a terminal state this begins a new generation.
    Retry,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 11] = [
        Event::Claim,
        Event::Complete,
        Event::Fail,
        Event::Exhaust,
        Event::Snooze,
        Event::Release,
        Event::LoseLease,
        Event::Cancel,
        Event::Expire,
        Event::Unblock,
        Event::Retry,
    ];

    /// The name used in messages: a verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Claim => "claim",
            Event::Complete => "complete",
            Event::Fail => "fail",
            Event::Exhaust => "exhaust",
            Event::Snooze => "snooze",
            Event::Release => "release",
            Event::LoseLease => "lose the lease of",
            Event::Cancel => "cancel",
            Event::Expire => "expire",
            Event::Unblock => "unblock",
            Event::Retry => "retry",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The event cannot happen in this state; the job is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {event} a job that is {state}")]
pub struct RefusedTransition {
    /// The state the job is in.
    pub state: State,
    /// The event that was refused.
    pub event: Event,
}

/// The state after `event` happens to a job in `state`.
///
/// This table is the whole life of a job; `docs/job-lifecycle.md` draws it.
///
/// ```
/// use queuectl_core::{Event, State, transition};
///
/// assert_eq!(transition(State::Pending, Event::Claim), Ok(State::Processing));
/// let refused = transition(State::Completed, Event::Claim).unwrap_err();
/// assert_eq!(refused.to_string(), "cannot claim a job that is completed");
/// ```
///
/// # Errors
///
/// [`RefusedTransition`], naming the event and the state, for every pair that is not in the table.
pub const fn transition(state: State, event: Event) -> Result<State, RefusedTransition> {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Pending | S::Failed, E::Claim) => Ok(S::Processing),
        (S::Processing, E::Complete) => Ok(S::Completed),
        (S::Processing, E::Fail) => Ok(S::Failed),
        (S::Processing, E::Exhaust) => Ok(S::Dead),
        (S::Processing, E::Snooze | E::Release | E::LoseLease) => Ok(S::Pending),
        (S::Blocked, E::Unblock) => Ok(S::Pending),
        (S::Pending | S::Blocked | S::Processing | S::Failed, E::Cancel) => Ok(S::Cancelled),
        (S::Pending | S::Blocked | S::Failed, E::Expire) => Ok(S::Cancelled),
        (S::Failed | S::Completed | S::Dead | S::Cancelled, E::Retry) => Ok(S::Pending),
        _ => Err(RefusedTransition { state, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of PRODUCT and `docs/job-lifecycle.md`, written out a second time by hand: a change
    /// to the function that is not meant must disagree with it.
    #[test]
    fn every_pair_of_state_and_event_is_decided() {
        let allowed = [
            (State::Pending, Event::Claim, State::Processing),
            (State::Pending, Event::Cancel, State::Cancelled),
            (State::Pending, Event::Expire, State::Cancelled),
            (State::Blocked, Event::Unblock, State::Pending),
            (State::Blocked, Event::Cancel, State::Cancelled),
            (State::Blocked, Event::Expire, State::Cancelled),
            (State::Processing, Event::Complete, State::Completed),
            (State::Processing, Event::Fail, State::Failed),
            (State::Processing, Event::Exhaust, State::Dead),
            (State::Processing, Event::Snooze, State::Pending),
            (State::Processing, Event::Release, State::Pending),
            (State::Processing, Event::LoseLease, State::Pending),
            (State::Processing, Event::Cancel, State::Cancelled),
            (State::Completed, Event::Retry, State::Pending),
            (State::Failed, Event::Claim, State::Processing),
            (State::Failed, Event::Cancel, State::Cancelled),
            (State::Failed, Event::Expire, State::Cancelled),
            (State::Failed, Event::Retry, State::Pending),
            (State::Dead, Event::Retry, State::Pending),
            (State::Cancelled, Event::Retry, State::Pending),
        ];
        for state in State::ALL {
            for event in Event::ALL {
                let expected = allowed
                    .iter()
                    .find(|(from, on, _)| (*from, *on) == (state, event))
                    .map(|(_, _, to)| *to)
                    .ok_or(RefusedTransition { state, event });
                assert_eq!(transition(state, event), expected, "{event} in {state}");
            }
        }
    }

    #[test]
    fn terminal_states_are_left_only_by_an_operator() {
        for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
            for event in Event::ALL.into_iter().filter(|&event| event != Event::Retry) {
                assert!(transition(state, event).is_err(), "{event} left {state}");
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("Pending".parse::<State>().is_err());
    }
}
