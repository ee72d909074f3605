//! What a job waits for: other jobs, and how they must end.
//!
//! Plain data, and the one function that says what the end of a parent means for a job that waits for
//! it. The stores apply it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::id::{JobId, Name};
use crate::state::State;

/// One job that another waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The parent: the job that is waited for.
    pub job: JobId,
    /// How it must end.
    pub on: Condition,
}

impl From<JobId> for After {
    /// After its success.
    fn from(job: JobId) -> Self {
        After { job, on: Condition::Success }
    }
}

/// A batch that a job waits for. It has ended when it is closed and each of its jobs has: with success
/// if each has completed, otherwise with failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AfterBatch {
    /// The batch.
    pub batch: Name,
    /// How it must end.
    pub on: Condition,
}

/// How a parent must end for a job that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It has completed.
    #[default]
    Success,
    /// It is dead, or was cancelled: what cleans up or compensates.
    Failure,
    /// It has ended, in whichever way.
    End,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Condition; 3] = [Condition::Success, Condition::Failure, Condition::End];

    /// The name, as the command line and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Condition::Success => "success",
            Condition::Failure => "failure",
            Condition::End => "end",
        }
    }

    /// Whether a parent in this state meets it.
    pub const fn is_met_by(self, parent: State) -> bool {
        match self {
            Condition::Success => matches!(parent, State::Completed),
            Condition::Failure => matches!(parent, State::Dead | State::Cancelled),
            Condition::End => parent.is_terminal(),
        }
    }
}

/// Of several parents, how many must meet their conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// Each of them.
    #[default]
    All,
    /// Any one: the first is enough.
    Any,
}

impl Needs {
    /// Both.
    pub const ALL: [Needs; 2] = [Needs::All, Needs::Any];

    /// The name, as the command line and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Needs::All => "all",
            Needs::Any => "any",
        }
    }
}

/// What becomes of a job when a parent has ended otherwise than the job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// It waits on: somebody may retry the parent. After what nobody would retry, a success, it is
    /// cancelled.
    #[default]
    Wait,
    /// It is cancelled, for a reason that names the parent.
    Cancel,
    /// It runs all the same: the parent counts as if it had met the condition.
    Run,
}

impl Otherwise {
    /// Every policy.
    pub const ALL: [Otherwise; 3] = [Otherwise::Wait, Otherwise::Cancel, Otherwise::Run];

    /// The name, as the command line and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Otherwise::Wait => "wait",
            Otherwise::Cancel => "cancel",
            Otherwise::Run => "run",
        }
    }
}

/// What the state of a parent means for a job that waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The condition may still be met.
    Open,
    /// It is met.
    Met,
    /// It will not be met, as far as the job's policy cares to wait.
    Lost,
}

impl Outlook {
    /// What a parent in state `parent` means under a condition and a policy.
    ///
    /// | the parent | success | failure | end |
    /// |---|---|---|---|
    /// | has not ended | open | open | open |
    /// | has completed | met | lost | met |
    /// | is dead or cancelled | open under [`Otherwise::Wait`], otherwise lost | met | met |
    ///
    /// ```
    /// use queuectl_core::{Condition, Otherwise, Outlook, State};
    ///
    /// let of = |policy| Outlook::of(Condition::Success, policy, State::Dead);
    /// assert_eq!(of(Otherwise::Wait), Outlook::Open); // Somebody may retry it.
    /// assert_eq!(of(Otherwise::Cancel), Outlook::Lost);
    /// ```
    pub const fn of(on: Condition, otherwise: Otherwise, parent: State) -> Outlook {
        match (on, otherwise) {
            _ if !parent.is_terminal() => Outlook::Open,
            _ if on.is_met_by(parent) => Outlook::Met,
            (Condition::Success, Otherwise::Wait) => Outlook::Open,
            _ => Outlook::Lost,
        }
    }
}

/// The text is none of the words that can stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {text:?}; {words}")]
pub struct UnknownWord {
    what: &'static str,
    text: String,
    words: &'static str,
}

/// Names, shown and read.
macro_rules! words {
    ($type:ty, $what:literal, $words:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                <$type>::ALL.into_iter().find(|one| one.as_str() == text).ok_or_else(|| {
                    UnknownWord { what: $what, text: text.to_owned(), words: $words }
                })
            }
        }
    };
}

words!(Condition, "condition", "the conditions are success, failure and end");
words!(Needs, "number of parents", "it is all or any");
words!(Otherwise, "policy", "the policies are wait, cancel and run");

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of [`Outlook::of`], written out by hand.
    #[test]
    fn every_end_of_a_parent_is_decided() {
        use Outlook::{Lost, Met, Open};
        for otherwise in Otherwise::ALL {
            let of = |on, state| Outlook::of(on, otherwise, state);
            for state in [State::Pending, State::Blocked, State::Processing, State::Failed] {
                assert!(Condition::ALL.into_iter().all(|on| of(on, state) == Open), "{state}");
            }
            let dead = if otherwise == Otherwise::Wait { Open } else { Lost };
            for state in [State::Dead, State::Cancelled] {
                let all = Condition::ALL.map(|on| of(on, state));
                assert_eq!(all, [dead, Met, Met], "{otherwise}, {state}");
            }
            let completed = Condition::ALL.map(|on| of(on, State::Completed));
            assert_eq!(completed, [Met, Lost, Met], "{otherwise}");
        }
    }

    #[test]
    fn names_round_trip() {
        assert!(Condition::ALL.into_iter().all(|one| one.to_string().parse() == Ok(one)));
        assert!(Needs::ALL.into_iter().all(|one| one.to_string().parse() == Ok(one)));
        assert!(Otherwise::ALL.into_iter().all(|one| one.to_string().parse() == Ok(one)));
        let unknown = "never".parse::<Condition>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "unknown condition \"never\"; the conditions are success, failure and end"
        );
    }
}
