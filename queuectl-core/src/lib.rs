//! A durable background job queue on an embedded SQLite file.
//!
//! A program adds jobs; workers run them, in the same process or in others: at once, at a time to
//! come, again after a failure. All of it stands in one file, and there is no server to run. A job
//! that was added is there until it has run, whatever dies meanwhile.
//!
//! # Quickstart
//!
//! ```
//! use std::sync::Arc;
//! use queuectl_core::{
//!     Context, Handlers, NewJob, Outcome, SqliteOptions, SqliteStore, State, Store, Worker,
//!     WorkerOptions,
//! };
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Greeting {
//!     name: String,
//! }
//!
//! // A real program names a file that outlives it.
//! let folder = tempfile::tempdir()?;
//! let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
//!
//! // Once this has returned, the job survives a power cut.
//! let greeting = Greeting { name: "Ada".to_owned() };
//! let added = store.enqueue(&[NewJob::new("greet", &greeting)?.max_retries(5)])?;
//!
//! // A handler is a function of the payload. It may return an outcome, or an error: then the job
//! // is tried again.
//! let handlers = Handlers::new().on("greet", |greeting: Greeting, _: &Context| {
//!     Outcome::done_with(&format!("hello, {}", greeting.name))
//! })?;
//! let mut options = WorkerOptions::default();
//! options.drain = true; // End when nothing is left to do.
//! Worker::start(store.clone(), handlers, options)?.wait()?;
//!
//! let job = store.job(&added[0].id)?.expect("it is kept until retention removes it");
//! assert_eq!(job.state, State::Completed);
//! assert_eq!(job.result.expect("it has one").as_str(), "\"hello, Ada\"");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is guaranteed
//!
//! A call that returned `Ok` is *acknowledged*. What an acknowledged write survives is the store's
//! [`Durability`]:
//!
//! | level | every process is killed | the power fails |
//! |---|---|---|
//! | [`Full`](Durability::Full), the default | nothing is lost | nothing is lost |
//! | [`Normal`](Durability::Normal) | nothing is lost | the newest writes may be missing; what is there is whole |
//! | [`Off`](Durability::Off), for tests | nothing is lost | the file may be destroyed |
//!
//! (On a disk that keeps what it said it has written.) At every level:
//!
//! - **A job runs at least once, until it has ended.** It may run more than once: a worker that dies
//!   after the work is done and before that is recorded leaves nobody who knows. A handler should
//!   bear being run again. At most one success is recorded, until somebody asks for another run.
//! - **A job has one holder at a time.** Each claim has a token that no earlier claim of the job had, and
//!   whatever a worker says of an attempt counts only while its token is the newest. A worker that was
//!   taken for dead and comes back changes nothing.
//! - **Each claim spends an attempt** in the same transaction. It is given back only if the worker was
//!   stopped, if the handler asked to be run later, or if the worker died before it began. So a job that
//!   kills its workers ends in the dead letter queue, and those that stood behind it do not.
//! - **A dead worker is known at once** on its own machine, however it died, and its jobs are run by
//!   others within about a second. A worker that hangs loses its jobs when its lease ends.
//! - **Clocks may be set.** Leases, time limits and delays are measured on a clock that nobody sets;
//!   only [`NewJob::run_at`] means the wall clock.
//! - **Every write may be repeated.** An error of a commit means that the outcome is unknown; the same
//!   call with an id or a [unique key](NewJob::unique_key) makes one job.
//!
//! Not guaranteed: that jobs *end* in the order in which they were added (they are *claimed* by
//! priority, then in that order), and anything at all on a network file system.
//!
//! # Where to go next
//!
//! - [`guide`]: what a queue offers beside running jobs, each with an example.
//! - [`NewJob`]: delays, priorities, retries, time limits, dependencies, unique keys.
//! - [`Policy`]: retries, time limits and delays of a kind of jobs.
//! - [`QueueLimits`]: how much of a queue may run at a time, and how often.
//! - [`Handlers`], [`Outcome`], [`Context`]: what a handler is told and what it may answer.
//! - [`Worker`], [`WorkerOptions`], [`Stopper`]: running jobs, and stopping.
//! - [`Store`]: everything else that can be done to jobs, and the contract behind it.
//!   [`SqliteStore`] is the one that keeps it in a file.
//! - [`Failure`], [`store::Sweep`]: how dead jobs have failed, and doing something to many of them.
//! - [`Subscription`]: being told of every change of every job, by the store's event log.
//! - [`shell`]: jobs that are commands.
//! - `examples/`: whole programs. `docs/`: the life of a job, the file and its transactions,
//!   operation. `ARCHITECTURE.md`: how the code hangs together.

pub mod attempt;
pub mod backoff;
mod chain;
mod clock;
mod dependency;
mod event;
pub mod failure;
pub mod guide;
mod handler;
mod id;
mod job;
mod limits;
mod policy;
mod random;
pub mod schedule;
mod settings;
pub mod shell;
mod sqlite;
mod state;
pub mod store;
mod subscription;
pub mod worker;

pub use attempt::{Attempt, Captured, Cause, Report};
pub use backoff::{BackoffPolicy, Curve, InvalidBackoff};
pub use chain::Chain;
pub use clock::{BootId, BootTime, Clock, InvalidTimestamp, ManualClock, SystemClock, Timestamp};
pub use dependency::{After, AfterBatch, Condition, Needs, Otherwise, Outlook, UnknownWord};
pub use event::{Change, JobEvent, UnknownChange};
pub use failure::Failure;
pub use handler::{
    Context, Finished, Handler, Handlers, Outcome, ProgressSink, StopCause, StopSignal,
};
pub use id::{
    CHOSEN_KEY_MAX, Fingerprint, InvalidName, JobId, JobKey, Lease, NAME_LEN_MAX, Name, Token,
    WorkerKey,
};
pub use job::{
    BATCH_LEN_MAX, Claimed, DEFAULT_QUEUE, Expiry, InvalidJob, JSON_LEN_MAX, Job, Json, NewJob,
    Note, OnConflict, Start, UniqueScope,
};
pub use limits::{InvalidRate, InvalidWeight, Limit, QueueLimits, Rate, Weight};
pub use policy::{Policy, Rule};
pub use schedule::{InvalidCron, InvalidSchedule, Missed, Overlap, Schedule, Spec};
pub use settings::{
    Durability, InvalidSetting, Setting, Settings, format_size, parse_duration, parse_size,
};
pub use sqlite::{OpenError, SqliteOptions, SqliteStore};
pub use state::{Event, RefusedTransition, State, UnknownState, transition};
pub use store::{BoxError, Store, StoreError};
pub use subscription::{Closer, Subscription};
pub use worker::{Observer, Stopper, Summary, Worker, WorkerEvent, WorkerOptions};
