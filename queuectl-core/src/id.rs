//! Names of things: jobs, queues, kinds, tags, workers, and the token that fences a claim.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id or name, in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// The highest number that may be *chosen*. Far beyond any queue, and far enough below the store's
/// own limit that no chosen id can use up the numbers that follow it.
pub const CHOSEN_KEY_MAX: i64 = 999_999_999_999_999;

/// What all dead jobs that failed in one way have in common, and no others: see
/// [`Failure`](crate::Failure). Shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub i64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The store's own number of a job. Grows with each enqueue and is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey(pub i64);

/// The name by which people and programs know a job: chosen by the enqueuer, or given by the
/// store. Never used twice at a time.
///
/// An id that the store gives is its [`JobKey`] with a `q` before it: `q42`. A chosen id is any
/// other text of `[A-Za-z0-9._:-]{1,64}`; whoever chooses `q42` asks for that very number, and
/// gets it unless it is taken.
///
/// ```
/// use queuectl_core::{JobId, JobKey};
///
/// assert_eq!("q42".parse(), Ok(JobId::Auto(JobKey(42))));
/// assert_eq!("nightly-report".parse::<JobId>()?.to_string(), "nightly-report");
/// assert!("no spaces".parse::<JobId>().is_err());
/// # Ok::<(), queuectl_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum JobId {
    /// Given by the store.
    Auto(JobKey),
    /// Chosen by the enqueuer.
    Chosen(Name),
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobId::Auto(JobKey(number)) => f.pad(&format!("q{number}")),
            JobId::Chosen(name) => f.pad(name.as_str()),
        }
    }
}

impl FromStr for JobId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix('q').filter(|digits| !digits.starts_with(['0', '+', '-']));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(JobId::Auto(JobKey(number))),
            None => Name::new(text).map(JobId::Chosen),
        }
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of a queue, a kind or a tag, or a chosen id: `[A-Za-z0-9._:-]{1,64}`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name of the given text.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] if the text is empty, longer than [`NAME_LEN_MAX`] bytes or has a character
    /// outside of `[A-Za-z0-9._:-]`.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let fits = (1..=NAME_LEN_MAX).contains(&text.len());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if fits && text.bytes().all(plain) {
            Ok(Name(text.into()))
        } else {
            Err(InvalidName(text.to_owned()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Name::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Name::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The text cannot be an id or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to 64 letters, digits, dots, underscores, colons or hyphens")]
pub struct InvalidName(pub String);

/// Numbers the claims of one job, from 1 on, over its whole life. Every write about an attempt
/// presents the token of its claim and takes effect only while that is the job's newest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub i64);

/// The store's number of a worker. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerKey(pub i64);

impl fmt::Display for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("w{}", self.0))
    }
}

/// The right to run one attempt of one job: what a claim gives and a settlement gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The job.
    pub key: JobKey,
    /// The claim.
    pub token: Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_belong_to_names() {
        assert!(Name::new("a_b").is_ok());
    }

    #[test]
    fn ids_show_as_they_are_written() {
        for text in ["q1", "q42", "job1", "Q42", "q", "q0", "q042", "q4x", "a.b:c-d", "42"] {
            let id: JobId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(matches!(id, JobId::Auto(_)), ["q1", "q42"].contains(&text), "{text}");
        }
    }

    #[test]
    fn names_outside_of_the_alphabet_are_refused() {
        let long = "x".repeat(65);
        for text in ["", " ", "a b", "a/b", "naïve", "a\n", "a\u{1b}[2J", long.as_str()] {
            assert!(Name::new(text).is_err(), "{text:?} was accepted");
            assert!(text.parse::<JobId>().is_err(), "{text:?} was accepted");
        }
    }
}
