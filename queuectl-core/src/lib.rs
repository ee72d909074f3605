//! A durable background job queue on an embedded SQLite file.

pub mod attempt;
pub mod backoff;
mod clock;
mod handler;
mod id;
mod job;
mod random;
mod settings;
pub mod shell;
mod sqlite;
mod state;
pub mod store;
pub mod worker;

pub use attempt::{Attempt, Captured, Cause, Report};
pub use backoff::{BackoffPolicy, Curve, InvalidBackoff};
pub use clock::{BootId, BootTime, Clock, InvalidTimestamp, ManualClock, SystemClock, Timestamp};
pub use handler::{
    Context, Finished, Handler, Handlers, Outcome, ProgressSink, StopCause, StopSignal,
};
pub use id::{InvalidName, JobId, JobKey, Lease, NAME_LEN_MAX, Name, Token, WorkerKey};
pub use job::{
    BATCH_LEN_MAX, Claimed, DEFAULT_QUEUE, InvalidJob, JSON_LEN_MAX, Job, Json, NewJob, Start,
};
pub use settings::{
    Durability, InvalidSetting, Setting, Settings, format_size, parse_duration, parse_size,
};
pub use sqlite::{OpenError, SqliteOptions, SqliteStore};
pub use state::{Event, RefusedTransition, State, UnknownState, transition};
pub use store::{BoxError, Store, StoreError};
pub use worker::{Observer, Stopper, Summary, Worker, WorkerEvent, WorkerOptions};
