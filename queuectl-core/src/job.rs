//! A job as plain data: what an enqueuer asks for, what a worker is handed, and the whole record.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::backoff::BackoffPolicy;
use crate::clock::Timestamp;
use crate::dependency::{After, AfterBatch, Condition, Needs, Otherwise};
use crate::id::{
    CHOSEN_KEY_MAX, Fingerprint, InvalidName, JobId, JobKey, Lease, Name, Token, WorkerKey,
};
use crate::state::State;

/// The queue of a job whose enqueuer names none.
pub const DEFAULT_QUEUE: &str = "default";

/// The largest payload, result or progress, in bytes of JSON.
pub const JSON_LEN_MAX: usize = 1 << 20;

/// The most jobs that one enqueue may carry.
pub const BATCH_LEN_MAX: usize = 10_000;

/// Text that is known to be one JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// The JSON of a value.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Payload`] if the value cannot be written as JSON or takes more than
    /// [`JSON_LEN_MAX`] bytes.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, InvalidJob> {
        Self::within_limit(serde_json::to_string(value).map_err(InvalidJob::Payload)?)
    }

    /// JSON that is there already.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Payload`] if the text is not one JSON value or is larger than
    /// [`JSON_LEN_MAX`] bytes.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidJob> {
        let text = text.into();
        serde_json::from_str::<&RawValue>(&text).map_err(InvalidJob::Payload)?;
        Self::within_limit(text)
    }

    /// JSON that a store wrote and now reads back, not checked again.
    pub fn from_store(text: String) -> Self {
        Json(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    ///
    /// # Errors
    ///
    /// The decoder's, if the JSON is not of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    fn within_limit(text: String) -> Result<Self, InvalidJob> {
        if text.len() > JSON_LEN_MAX {
            return Err(InvalidJob::TooLarge { len: text.len() });
        }
        Ok(Json(text.into()))
    }
}

/// When a new job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// After so much time. Measured on the boot clock: a step of the wall clock changes nothing.
    In(Duration),
    /// At a moment of the wall clock.
    At(Timestamp),
}

/// From when on a job that has not begun is not worth running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// So long after it was enqueued. Measured on the boot clock: a step of the wall clock changes
    /// nothing.
    In(Duration),
    /// From a moment of the wall clock on.
    At(Timestamp),
}

/// How long a job holds its unique key: while it does, enqueueing another with that key adds none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum UniqueScope {
    /// While it lives: in every state that is not terminal.
    #[default]
    Living,
    /// For so long after it was enqueued, whether or not it lives then. Only to cancel or delete the
    /// job frees the key earlier. Measured on the boot clock.
    For(Duration),
    /// While it is pending or blocked, or in one of these states. A job that comes back to such a
    /// state holds its key again, unless another has it by then.
    While(BTreeSet<State>),
}

impl UniqueScope {
    /// The states in which a job holds its key.
    pub fn states(&self) -> impl Iterator<Item = State> {
        State::ALL.into_iter().filter(move |state| match self {
            UniqueScope::Living => !state.is_terminal(),
            UniqueScope::For(_) => *state != State::Cancelled,
            UniqueScope::While(states) => {
                matches!(state, State::Pending | State::Blocked) || states.contains(state)
            }
        })
    }
}

/// What becomes of the job that holds a unique key when another with that key is enqueued. It is changed
/// only while it waits for its first attempt, and only by a job of its own kind; otherwise it is kept as
/// it is, whatever was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Nothing: it answers for the new one.
    #[default]
    Keep,
    /// It gets the new one's payload.
    Replace,
    /// It may run, and expires if the new one does, when the new one would: a delay begins again.
    Move,
    /// Both.
    ReplaceAndMove,
}

impl OnConflict {
    /// Each of them.
    pub const ALL: [OnConflict; 4] =
        [OnConflict::Keep, OnConflict::Replace, OnConflict::Move, OnConflict::ReplaceAndMove];

    /// The name, as the command line and JSON have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            OnConflict::Keep => "keep",
            OnConflict::Replace => "replace",
            OnConflict::Move => "move",
            OnConflict::ReplaceAndMove => "replace-and-move",
        }
    }

    /// Whether the payload is replaced.
    pub const fn replaces(self) -> bool {
        matches!(self, OnConflict::Replace | OnConflict::ReplaceAndMove)
    }

    /// Whether the time is moved.
    pub const fn moves(self) -> bool {
        matches!(self, OnConflict::Move | OnConflict::ReplaceAndMove)
    }
}

/// A job to be enqueued. Made with [`NewJob::new`], shaped by the methods that follow.
///
/// ```
/// use queuectl_core::NewJob;
/// use std::time::Duration;
///
/// let job = NewJob::new("email", &serde_json::json!({ "to": "ada@example.org" }))?
///     .queue("mail")?
///     .delay(Duration::from_secs(90))
///     .max_retries(5);
/// assert_eq!(job.kind.as_str(), "email");
/// # Ok::<(), queuectl_core::InvalidJob>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NewJob {
    /// The id that the enqueuer chose; without one the store gives one.
    pub id: Option<JobId>,
    /// The queue, `default` unless said otherwise.
    pub queue: Name,
    /// Which handler runs the job.
    pub kind: Name,
    /// What the handler is given.
    pub payload: Json,
    /// Higher runs first; 0 unless said otherwise. Jobs of one priority run in order of enqueueing.
    pub priority: i16,
    /// When the job may run.
    pub start: Start,
    /// From when on it is not run any more; without an expiry it waits for as long as it takes.
    pub expiry: Option<Expiry>,
    /// How many retries follow the first attempt; without a number, those of its
    /// [kind](crate::Policy), or the store's `max-retries`.
    pub max_retries: Option<u32>,
    /// How many attempts in a row may be lost with their workers until the job is dead; without a
    /// number, those of its kind, or the store's `max-crashes`.
    pub max_crashes: Option<NonZeroU32>,
    /// The time limit of one attempt; without one, that of its kind, or the store's `worker-timeout`.
    pub timeout: Option<Duration>,
    /// The delays between attempts; without a policy, those of its kind, or the store's settings.
    pub backoff: Option<BackoffPolicy>,
    /// The idempotency key: while a job holds it, enqueueing another gives that job's id.
    pub unique_key: Option<String>,
    /// How long the job holds its unique key: as long as it lives, unless said otherwise.
    pub unique_scope: UniqueScope,
    /// What becomes of the job that holds the key: it is kept, unless said otherwise.
    pub on_conflict: OnConflict,
    /// Of the jobs of one queue that have the same key, only as many run at a time as the queue's
    /// [`per_key`](crate::QueueLimits::per_key) allows.
    pub concurrency_key: Option<String>,
    /// The jobs that must have ended before this one may run, and how. They must exist, or stand
    /// earlier in the same call.
    pub after: Vec<After>,
    /// The batches that must have ended before this one may run, and how. They must be closed.
    pub after_batches: Vec<AfterBatch>,
    /// The batch that the job is in. It is made with its first job. If the job is not added because
    /// another holds its unique key, the batch does not wait for that one.
    pub batch: Option<Name>,
    /// How many of them must have ended as the job waits for: all of them unless said otherwise.
    pub needs: Needs,
    /// What becomes of the job when they end otherwise: it waits unless said otherwise.
    pub otherwise: Otherwise,
    /// Free labels to find jobs by.
    pub tags: Vec<Name>,
}

impl NewJob {
    /// A job of the given kind and payload.
    ///
    /// # Errors
    ///
    /// [`InvalidJob`] if the kind is not a name, or the payload cannot be written as JSON of at most
    /// [`JSON_LEN_MAX`] bytes.
    pub fn new<T: Serialize + ?Sized>(kind: &str, payload: &T) -> Result<Self, InvalidJob> {
        Ok(Self::from_json(name("kind", kind)?, Json::of(payload)?))
    }

    /// A job whose payload is JSON already.
    pub fn from_json(kind: Name, payload: Json) -> Self {
        static DEFAULT: LazyLock<Name> =
            LazyLock::new(|| Name::new(DEFAULT_QUEUE).expect("the default queue is a name"));
        NewJob {
            id: None,
            queue: DEFAULT.clone(),
            kind,
            payload,
            priority: 0,
            start: Start::Now,
            expiry: None,
            max_retries: None,
            max_crashes: None,
            timeout: None,
            backoff: None,
            unique_key: None,
            unique_scope: UniqueScope::Living,
            on_conflict: OnConflict::Keep,
            concurrency_key: None,
            after: Vec::new(),
            after_batches: Vec::new(),
            batch: None,
            needs: Needs::All,
            otherwise: Otherwise::Wait,
            tags: Vec::new(),
        }
    }

    /// Chooses the id.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the text is not an id.
    pub fn id(mut self, id: &str) -> Result<Self, InvalidJob> {
        let parsed = id.parse().map_err(|source| InvalidJob::Name { field: "id", source })?;
        if matches!(parsed, JobId::Auto(JobKey(number)) if number > CHOSEN_KEY_MAX) {
            return Err(InvalidJob::NumberTooLarge { id: parsed });
        }
        self.id = Some(parsed);
        Ok(self)
    }

    /// Chooses the queue.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the text is not a name.
    pub fn queue(mut self, queue: &str) -> Result<Self, InvalidJob> {
        self.queue = name("queue", queue)?;
        Ok(self)
    }

    /// Sets the priority; higher runs first.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Lets the job wait for so long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = Start::In(delay);
        self
    }

    /// Lets the job wait for a moment of the wall clock.
    #[must_use]
    pub fn run_at(mut self, moment: Timestamp) -> Self {
        self.start = Start::At(moment);
        self
    }

    /// Lets the job expire after so long: if no attempt has begun by then it is cancelled instead of
    /// run. So is one whose retry would come later. What runs then goes on.
    ///
    /// ```
    /// use queuectl_core::store::{ClaimRequest, Queues, Registration};
    /// use queuectl_core::{ManualClock, Name, NewJob, SqliteOptions, SqliteStore, State, Store};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let clock = Arc::new(ManualClock::new());
    /// let options = SqliteOptions { create: true, clock: clock.clone(), ..SqliteOptions::default() };
    /// let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let code = NewJob::new("sms", &"your code is 4711")?.expires_in(Duration::from_secs(300));
    /// let added = store.enqueue(&[code])?;
    ///
    /// // The workers were down for an hour. Nobody waits for that code any more.
    /// clock.advance(Duration::from_secs(3600));
    /// let lease = Duration::from_secs(30);
    /// let workers = store.register(&Registration { workers: 1, lease, log: None })?;
    /// let (workers, kinds) = ([(workers[0], 1)], [Name::new("sms")?]);
    /// let claim = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    /// assert!(store.exchange(&[], Some(&claim))?.claimed.is_empty());
    /// let job = store.job(&added[0].id)?.ok_or("the job is there")?;
    /// assert_eq!(job.state, State::Cancelled);
    /// assert!(job.cancel_reason.is_some_and(|why| why.starts_with("expired")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.expiry = Some(Expiry::In(after));
        self
    }

    /// Lets the job expire at a moment of the wall clock, as [`expires_in`](NewJob::expires_in) does
    /// after a time.
    #[must_use]
    pub fn expires_at(mut self, moment: Timestamp) -> Self {
        self.expiry = Some(Expiry::At(moment));
        self
    }

    /// Sets how many retries follow a failed first attempt.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Sets how many attempts in a row may be lost with their workers: then the job is dead, whatever
    /// retries are left, so that one that kills its workers does not go on doing so. An attempt that ends
    /// in any other way begins the row anew, but for one that a stopping worker interrupted: that says
    /// nothing. A job that takes hours among workers that come and go may need more than others.
    ///
    /// ```
    /// use queuectl_core::NewJob;
    ///
    /// let render = NewJob::new("render", &"film.mp4")?.max_retries(25).max_crashes(10)?;
    /// assert!(NewJob::new("render", &())?.max_crashes(0).is_err());
    /// # Ok::<(), queuectl_core::InvalidJob>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob::MaxCrashes`] for 0: the first is noticed when it has happened.
    pub fn max_crashes(mut self, crashes: u32) -> Result<Self, InvalidJob> {
        self.max_crashes = Some(NonZeroU32::new(crashes).ok_or(InvalidJob::MaxCrashes)?);
        Ok(self)
    }

    /// Sets the time limit of one attempt.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the delays between attempts.
    #[must_use]
    pub fn backoff(mut self, policy: BackoffPolicy) -> Self {
        self.backoff = Some(policy);
        self
    }

    /// Sets the idempotency key: any text of 1 to 256 bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::UniqueKey`] if the text is empty or longer.
    pub fn unique_key(mut self, key: impl Into<String>) -> Result<Self, InvalidJob> {
        let key = key.into();
        if !(1..=256).contains(&key.len()) {
            return Err(InvalidJob::UniqueKey { len: key.len() });
        }
        self.unique_key = Some(key);
        Ok(self)
    }

    /// Lets the job hold its unique key for a period, counted from when it is enqueued, instead of as
    /// long as it lives.
    #[must_use]
    pub fn unique_for(mut self, period: Duration) -> Self {
        self.unique_scope = UniqueScope::For(period);
        self
    }

    /// Lets the job hold its unique key while it is pending, blocked, or in one of these states,
    /// instead of as long as it lives.
    #[must_use]
    pub fn unique_while(mut self, states: impl IntoIterator<Item = State>) -> Self {
        self.unique_scope = UniqueScope::While(states.into_iter().collect());
        self
    }

    /// Says what becomes of the job that holds the unique key.
    #[must_use]
    pub fn on_conflict(mut self, policy: OnConflict) -> Self {
        self.on_conflict = policy;
        self
    }

    /// At most one job with this key in each period: the first one runs, those that follow within the
    /// period are not added, also when it has ended.
    ///
    /// ```
    /// use queuectl_core::{ManualClock, NewJob, SqliteOptions, SqliteStore, Store};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let clock = Arc::new(ManualClock::new());
    /// let options = SqliteOptions { create: true, clock: clock.clone(), ..SqliteOptions::default() };
    /// let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let hour = Duration::from_secs(3600);
    /// let warning = || NewJob::new("mail", &"the disk is nearly full")?.throttle("disk", hour);
    ///
    /// assert!(store.enqueue(&[warning()?])?[0].created);
    /// assert!(!store.enqueue(&[warning()?])?[0].created);
    /// clock.advance(hour);
    /// assert!(store.enqueue(&[warning()?])?[0].created);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob::UniqueKey`] as of [`unique_key`](NewJob::unique_key).
    pub fn throttle(self, key: impl Into<String>, period: Duration) -> Result<Self, InvalidJob> {
        Ok(self.unique_key(key)?.unique_for(period))
    }

    /// Runs once when it has been quiet for so long: each further job with this key gives the one that
    /// waits its payload, and lets the delay begin again. One that comes when that one has begun is a
    /// new job.
    ///
    /// ```
    /// use queuectl_core::{ManualClock, NewJob, SqliteOptions, SqliteStore, Store};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let clock = Arc::new(ManualClock::new());
    /// let options = SqliteOptions { create: true, clock: clock.clone(), ..SqliteOptions::default() };
    /// let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let quiet = Duration::from_secs(5);
    /// let index = |text: &str| NewJob::new("index", text)?.debounce("document 7", quiet);
    ///
    /// let first = store.enqueue(&[index("dear")?])?.remove(0);
    /// clock.advance(Duration::from_secs(3));
    /// let second = store.enqueue(&[index("dear Ada")?])?.remove(0);
    /// assert!(second.id == first.id && second.changed && !second.created);
    ///
    /// let job = store.job(&first.id)?.ok_or("the job is there")?;
    /// assert_eq!(job.payload.decode::<String>()?, "dear Ada");
    /// assert_eq!(job.run_at.since(job.created_at), Duration::from_secs(8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob::UniqueKey`] as of [`unique_key`](NewJob::unique_key).
    pub fn debounce(self, key: impl Into<String>, quiet: Duration) -> Result<Self, InvalidJob> {
        let job = self.unique_key(key)?.unique_while([]).delay(quiet);
        Ok(job.on_conflict(OnConflict::ReplaceAndMove))
    }

    /// Lets the job run beside no more jobs of its queue with the same key than the queue allows, which
    /// is one unless [`QueueLimits::per_key`](crate::QueueLimits::per_key) says otherwise: "one export
    /// at a time for each customer". Any text of 1 to 256 bytes. Jobs with other keys, or none, are not
    /// held up.
    ///
    /// ```
    /// use queuectl_core::NewJob;
    ///
    /// let export = NewJob::new("export", &())?.queue("exports")?.concurrency_key("customer-7")?;
    /// # Ok::<(), queuectl_core::InvalidJob>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob::ConcurrencyKey`] if the text is empty or longer.
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Result<Self, InvalidJob> {
        let key = key.into();
        if !(1..=256).contains(&key.len()) {
            return Err(InvalidJob::ConcurrencyKey { len: key.len() });
        }
        self.concurrency_key = Some(key);
        Ok(self)
    }

    /// Makes the job wait until another has completed. May be called several times, and with the
    /// methods that follow.
    ///
    /// ```
    /// use queuectl_core::{NewJob, Otherwise, SqliteOptions, SqliteStore, State, Store};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    /// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let build = NewJob::new("build", &())?.id("build")?;
    /// let deploy = NewJob::new("deploy", &())?
    ///     .id("deploy")?
    ///     .after("build".parse()?)
    ///     .otherwise(Otherwise::Cancel);
    /// let tidy = NewJob::new("tidy", &())?.id("tidy")?.after_failure("build".parse()?);
    /// store.enqueue(&[build, deploy, tidy])?;
    ///
    /// store.cancel(&["build".parse()?], &"not today".into())?;
    /// let state = |id: &str| Ok::<_, Box<dyn std::error::Error>>(store.job(&id.parse()?)?.unwrap().state);
    /// assert_eq!(state("deploy")?, State::Cancelled);
    /// assert_eq!(state("tidy")?, State::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn after(self, parent: JobId) -> Self {
        self.after_on(parent, Condition::Success)
    }

    /// Makes the job wait until another is dead or cancelled: what cleans up or compensates. If the
    /// other one completes instead, this one is cancelled.
    #[must_use]
    pub fn after_failure(self, parent: JobId) -> Self {
        self.after_on(parent, Condition::Failure)
    }

    /// Makes the job wait until another has ended, in whichever way.
    #[must_use]
    pub fn after_end(self, parent: JobId) -> Self {
        self.after_on(parent, Condition::End)
    }

    /// Puts the job into a batch: jobs that are counted together, and that others can wait for together.
    /// The batch is made with its first job. It takes jobs from any call, also from those of its jobs that
    /// run, and has ended when it is [closed](crate::Store::close_batch) and each of its jobs has. It is
    /// kept as long as one of them is.
    ///
    /// ```
    /// use queuectl_core::{Condition, Name, NewJob, SqliteOptions, SqliteStore, State, Store};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    /// # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
    /// let page = |number: u32| NewJob::new("page", &number)?.batch("book");
    /// store.enqueue(&[page(1)?, page(2)?])?;
    ///
    /// // The last of the batch, and what runs when all of it has ended, are added as it is closed.
    /// let bind = NewJob::new("bind", &())?.after_batch("book", Condition::Success)?;
    /// let complain = NewJob::new("complain", &())?.after_batch("book", Condition::Failure)?;
    /// let book = Name::new("book")?;
    /// let added = store.close_batch(&book, &[page(3)?, bind, complain])?;
    ///
    /// store.cancel(&[added[0].id.clone()], &"misprinted".into())?;
    /// let progress = store.batch(&book)?.expect("it has jobs");
    /// assert_eq!((progress.total, progress.cancelled, progress.left()), (3, 1, 2));
    ///
    /// store.cancel_batch(&book, &"no paper".into())?.finish(&store)?;
    /// let bind = store.job(&added[1].id)?.expect("it was added");
    /// let complain = store.job(&added[2].id)?.expect("it was added");
    /// assert_eq!(bind.state, State::Blocked); // Somebody may retry the pages.
    /// assert_eq!(complain.state, State::Pending);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the text is not a name.
    pub fn batch(mut self, batch: &str) -> Result<Self, InvalidJob> {
        self.batch = Some(name("batch", batch)?);
        Ok(self)
    }

    /// Makes the job wait until a batch has ended so. May be called several times, and with the methods
    /// for single jobs. The batch must be closed, or be the one that is closed with this job.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the text is not a name.
    pub fn after_batch(mut self, batch: &str, on: Condition) -> Result<Self, InvalidJob> {
        self.after_batches.push(AfterBatch { batch: name("after_batch", batch)?, on });
        Ok(self)
    }

    fn after_on(mut self, job: JobId, on: Condition) -> Self {
        self.after.push(After { job, on });
        self
    }

    /// Of several parents, lets any one be enough.
    #[must_use]
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    /// Says what becomes of the job when its parents end otherwise than it waits for.
    #[must_use]
    pub fn otherwise(mut self, otherwise: Otherwise) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// Adds a label.
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Name`] if the text is not a name.
    pub fn tag(mut self, tag: &str) -> Result<Self, InvalidJob> {
        self.tags.push(name("tag", tag)?);
        Ok(self)
    }
}

fn name(field: &'static str, text: &str) -> Result<Name, InvalidJob> {
    Name::new(text).map_err(|source| InvalidJob::Name { field, source })
}

/// What was asked for cannot be a job. Trying again does not help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJob {
    /// A name or id is not one.
    #[error("{field}: {source}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidName,
    },
    /// The payload is not JSON, or cannot be written as JSON.
    #[error("the payload is not JSON: {0}")]
    Payload(#[source] serde_json::Error),
    /// The payload is larger than [`JSON_LEN_MAX`].
    #[error("the payload has {len} bytes; the limit is {JSON_LEN_MAX}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// The idempotency key is empty or too long.
    #[error("unique_key has {len} bytes; it takes 1 to 256")]
    UniqueKey {
        /// Its size in bytes.
        len: usize,
    },
    /// The concurrency key is empty or too long.
    #[error("concurrency_key has {len} bytes; it takes 1 to 256")]
    ConcurrencyKey {
        /// Its size in bytes.
        len: usize,
    },
    /// No number of crashes at all is no cap.
    #[error("max_crashes is 0; it takes 1 or more")]
    MaxCrashes,
    /// The id has the form of those that the store gives, and would leave it few numbers to give.
    #[error("id: {id} is too large a number; the largest that can be chosen is q{CHOSEN_KEY_MAX}")]
    NumberTooLarge {
        /// The id.
        id: JobId,
    },
    /// A shell job cannot be run as it is asked for; the text says which part and why.
    #[error("{0}")]
    Shell(String),
}

/// A job that a worker has claimed: everything that running one attempt of it takes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claimed {
    /// The right to run this attempt.
    pub lease: Lease,
    /// Which worker holds it.
    pub worker: WorkerKey,
    /// The job's id.
    pub id: JobId,
    /// Its queue.
    pub queue: Name,
    /// Its kind.
    pub kind: Name,
    /// Its payload.
    pub payload: Json,
    /// Which attempt of this generation it is, from 1 on.
    pub attempt: u32,
    /// How many attempts this generation may have.
    pub max_attempts: u32,
    /// The job's own time limit, or that of its kind, if there is one.
    pub timeout: Option<Duration>,
    /// The job's own backoff, or that of its kind, if there is one.
    pub backoff: Option<BackoffPolicy>,
    /// If earlier attempts were lost with their workers and may have left something running: the
    /// first of their tokens. What they left has to be ended before this attempt begins.
    pub lost_from: Option<Token>,
}

impl Claimed {
    /// A claim with the given lease, holder and job; the rest as a first attempt of four has it.
    /// For stores, which then fill in what they know.
    pub fn new(
        lease: Lease,
        worker: WorkerKey,
        id: JobId,
        queue: Name,
        kind: Name,
        payload: Json,
    ) -> Self {
        Claimed {
            lease,
            worker,
            id,
            queue,
            kind,
            payload,
            attempt: 1,
            max_attempts: 4,
            timeout: None,
            backoff: None,
            lost_from: None,
        }
    }
}

/// The whole record of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The store's number.
    pub key: JobKey,
    /// The id.
    pub id: JobId,
    /// The queue.
    pub queue: Name,
    /// Which handler runs it.
    pub kind: Name,
    /// What the handler is given.
    pub payload: Json,
    /// Where it stands.
    pub state: State,
    /// Higher runs first.
    pub priority: i16,
    /// From when on it may run. For a relative delay: the wall time at which that was expected
    /// when the delay began.
    pub run_at: Timestamp,
    /// From when on it is not run any more. For a relative expiry: the wall time at which that was
    /// expected when it was enqueued.
    pub expires_at: Option<Timestamp>,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
    /// When its newest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it reached a terminal state.
    pub finished_at: Option<Timestamp>,
    /// Attempts spent in this generation.
    pub attempts: u32,
    /// Attempts allowed in this generation: one more than the retries.
    pub max_attempts: u32,
    /// Its own cap on attempts in a row that are lost with their workers.
    pub max_crashes: Option<NonZeroU32>,
    /// How often it was claimed in its whole life; the token of its newest claim.
    pub token: Token,
    /// The worker that holds it, while it is processing.
    pub worker: Option<WorkerKey>,
    /// Its own time limit.
    pub timeout: Option<Duration>,
    /// Its own backoff.
    pub backoff: Option<BackoffPolicy>,
    /// Its idempotency key.
    pub unique_key: Option<String>,
    /// The states in which it holds that key; none without a key.
    pub unique_while: Vec<State>,
    /// Until when at most it holds that key, if it does so for a period: the wall time at which that
    /// was expected when it was enqueued.
    pub unique_until: Option<Timestamp>,
    /// Its concurrency key.
    pub concurrency_key: Option<String>,
    /// Its labels.
    pub tags: Vec<Name>,
    /// The batch it is in.
    pub batch: Option<Name>,
    /// The jobs it still waits for, and how they must end. Empty unless it is blocked, and so are the
    /// batches; the next two are then at their defaults.
    pub waits_for: Vec<After>,
    /// The batches it still waits for.
    pub waits_for_batches: Vec<AfterBatch>,
    /// How many of them must end so.
    pub needs: Needs,
    /// What becomes of it if they end otherwise.
    pub otherwise: Otherwise,
    /// Why it is to be cancelled, or was.
    pub cancel_reason: Option<String>,
    /// Who cancelled it, if somebody did and said so.
    pub cancelled_by: Option<String>,
    /// The error of its newest failed attempt.
    pub last_error: Option<String>,
    /// In which way it failed, while it is dead.
    pub failure: Option<Fingerprint>,
    /// What the handler returned.
    pub result: Option<Json>,
    /// What the handler last said of its progress.
    pub progress: Option<Json>,
}

/// What somebody has noted about a job. It stays as long as the job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// Who, if it is known.
    pub by: Option<String>,
    /// What.
    pub text: String,
    /// The job's payload until then, if the note is about another one that it was given.
    pub payload: Option<Json>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_chosen_number_leaves_the_store_without_numbers() {
        let job = || NewJob::new("k", &()).unwrap();
        assert!(job().id("q999999999999999").is_ok());
        for id in ["q1000000000000000", "q9223372036854775807"] {
            let refused = job().id(id).unwrap_err();
            assert!(matches!(refused, InvalidJob::NumberTooLarge { .. }), "{refused}");
            // What the store gave after the largest chosen number is an id all the same.
            assert!(id.parse::<JobId>().is_ok());
        }
    }
}
