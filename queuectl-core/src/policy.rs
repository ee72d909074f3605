//! What holds for the jobs of one kind, unless they say otherwise themselves.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::backoff::BackoffPolicy;

/// What the jobs of a kind are given where they say nothing themselves. Where this says nothing either,
/// the store's settings hold.
///
/// ```
/// use queuectl_core::store::{ClaimRequest, Queues, Registration};
/// use queuectl_core::{Name, NewJob, Rule, SqliteOptions, SqliteStore, Store};
/// use std::time::Duration;
///
/// # let folder = tempfile::tempdir()?;
/// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
/// let email = Name::new("email")?;
/// let policy = store.change_policy(&email, &[Rule::MaxRetries(Some(8))])?;
/// assert_eq!(policy.max_retries, Some(8));
/// store.enqueue(&[NewJob::new("email", &"to Ada")?])?;
///
/// // The mail server hangs today. That holds for what waits already.
/// let limit = Duration::from_secs(20);
/// store.change_policy(&email, &[Rule::Timeout(Some(limit))])?;
/// # let lease = Duration::from_secs(30);
/// # let workers = store.register(&Registration { workers: 1, lease, log: None })?;
/// # let (workers, kinds) = ([(workers[0], 1)], [email]);
/// # let claim = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
/// let claimed = store.exchange(&[], Some(&claim))?.claimed;
/// assert_eq!((claimed[0].max_attempts, claimed[0].timeout), (9, Some(limit)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Policy {
    /// How many retries follow the first attempt. A job is given them when it is enqueued.
    pub max_retries: Option<u32>,
    /// How many attempts in a row may be lost with their workers. Looked up when one is.
    pub max_crashes: Option<NonZeroU32>,
    /// The time limit of one attempt. An attempt is given it when it is claimed.
    pub timeout: Option<Duration>,
    /// The delays between attempts. An attempt is given them when it is claimed, for when it fails.
    pub backoff: Option<BackoffPolicy>,
}

impl Policy {
    /// Changes one of the rules.
    pub fn set(&mut self, rule: Rule) {
        match rule {
            Rule::MaxRetries(retries) => self.max_retries = retries,
            Rule::MaxCrashes(crashes) => self.max_crashes = crashes,
            Rule::Timeout(timeout) => self.timeout = timeout,
            Rule::Backoff(backoff) => self.backoff = backoff,
        }
    }
}

/// One rule of a [`Policy`], and its new value; `None` leaves it to the store's settings.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// [`Policy::max_retries`].
    MaxRetries(Option<u32>),
    /// [`Policy::max_crashes`].
    MaxCrashes(Option<NonZeroU32>),
    /// [`Policy::timeout`].
    Timeout(Option<Duration>),
    /// [`Policy::backoff`].
    Backoff(Option<BackoffPolicy>),
}
