//! One execution of a job: how it ended, and what it left to read.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::id::{Token, WorkerKey};

/// Why an attempt ended. Each cause is recorded as itself, never folded into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The handler said so, or the command exited with code 0.
    Succeeded,
    /// The handler returned an error.
    Failed,
    /// The command exited with a code other than 0.
    Exited,
    /// The command was ended by a signal that this queue did not send.
    Signalled,
    /// The attempt ran into its time limit.
    TimedOut,
    /// The command could not be started.
    SpawnFailed,
    /// The handler panicked.
    Panicked,
    /// The payload is not what the handler takes.
    Undecodable,
    /// The job was cancelled while it ran.
    Cancelled,
    /// The worker died, or could not renew its lease in time.
    LeaseLost,
    /// The worker was stopped; the attempt does not count.
    Interrupted,
    /// The handler asked to be run later; the attempt does not count.
    Snoozed,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 12] = [
        Cause::Succeeded,
        Cause::Failed,
        Cause::Exited,
        Cause::Signalled,
        Cause::TimedOut,
        Cause::SpawnFailed,
        Cause::Panicked,
        Cause::Undecodable,
        Cause::Cancelled,
        Cause::LeaseLost,
        Cause::Interrupted,
        Cause::Snoozed,
    ];

    /// The name in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Succeeded => "succeeded",
            Cause::Failed => "failed",
            Cause::Exited => "exited",
            Cause::Signalled => "signalled",
            Cause::TimedOut => "timed_out",
            Cause::SpawnFailed => "spawn_failed",
            Cause::Panicked => "panicked",
            Cause::Undecodable => "undecodable",
            Cause::Cancelled => "cancelled",
            Cause::LeaseLost => "lease_lost",
            Cause::Interrupted => "interrupted",
            Cause::Snoozed => "snoozed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown cause {0:?}")]
pub struct UnknownCause(pub String);

impl FromStr for Cause {
    type Err = UnknownCause;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Cause::ALL
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .ok_or_else(|| UnknownCause(text.to_owned()))
    }
}

/// What was kept of one output stream: its beginning, its end, and how much there was in all.
/// Bytes, not text: a command may write anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, if there was more than the head holds.
    pub tail: Vec<u8>,
    /// How many bytes the stream had.
    pub total: u64,
    /// Whether the stream was still open when the attempt was settled: a process that the command
    /// left in the background held it.
    pub incomplete: bool,
}

impl Captured {
    /// How many bytes between the head and the tail were counted but not kept.
    pub fn omitted(&self) -> u64 {
        self.total.saturating_sub((self.head.len() + self.tail.len()) as u64)
    }
}

/// What is to be recorded about an attempt beside its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Why it ended.
    pub cause: Cause,
    /// What went wrong, for people. Several lines are allowed.
    pub error: Option<String>,
    /// The exit code of a command.
    pub exit_code: Option<i32>,
    /// The signal that ended a command.
    pub signal: Option<i32>,
    /// The standard output of a command.
    pub stdout: Captured,
    /// The standard error of a command.
    pub stderr: Captured,
}

impl Report {
    /// A report of the given cause and nothing more.
    pub fn new(cause: Cause) -> Self {
        Report {
            cause,
            error: None,
            exit_code: None,
            signal: None,
            stdout: Captured::default(),
            stderr: Captured::default(),
        }
    }

    /// A report of the given cause and error.
    pub fn failure(cause: Cause, error: impl Into<String>) -> Self {
        Report { error: Some(error.into()), ..Report::new(cause) }
    }

    /// Whether there is anything to record that the job's own record does not tell.
    pub fn is_bare_success(&self) -> bool {
        *self == Report::new(Cause::Succeeded)
    }
}

/// The record of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The token of its claim: the attempts of a job are numbered from 1 on over its whole life.
    pub token: Token,
    /// Which attempt of its generation it was, from 1 on.
    pub number: u32,
    /// The worker that ran it.
    pub worker: Option<WorkerKey>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub finished_at: Option<Timestamp>,
    /// How it ended; `None` while it runs.
    pub report: Option<Report>,
}
