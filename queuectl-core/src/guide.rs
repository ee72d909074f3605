//! What a queue offers beside running jobs, each with an example that runs.
//!
//! There is nothing in this module but its text. All of it holds over all processes that share a store, and
//! can be changed while they run. The command line has a command for each.
//!
//! # Queues
//!
//! A queue comes to be when it is named. One that is paused gives out no job, whoever asks and from whichever
//! process; what runs goes on.
//!
//! ```
//! # use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store, Name};
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
//! let mail = Name::new("mail")?;
//! store.enqueue(&[NewJob::new("send", &"ada@example.org")?.queue("mail")?])?;
//! store.pause(&mail, true)?;
//! assert!(store.queues()?.iter().any(|queue| queue.name == mail && queue.paused));
//! store.pause(&mail, false)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Store::limit`](crate::Store::limit) bounds how many jobs of a queue run at a time, how many of those with one
//! [concurrency key](crate::NewJob::concurrency_key), and how many start in a period:
//!
//! ```
//! # use queuectl_core::{Limit, NewJob, SqliteOptions, SqliteStore, Store, Name};
//! # use std::num::NonZeroU32;
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
//! let four = NonZeroU32::new(4);
//! let limits = [Limit::Concurrency(four), Limit::Rate(Some("100/1m".parse()?))];
//! store.limit(&Name::new("mail")?, &limits)?;
//! // At most one export of a customer at a time, which is the default for jobs with a key.
//! let export = NewJob::new("export", &7)?.queue("exports")?.concurrency_key("customer-7")?;
//! store.enqueue(&[export])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where several queues have jobs of one priority, [weights](crate::Store::weigh) say in which proportion they
//! are served, so that a flooded queue does not keep a small one waiting.
//!
//! # Order and time
//!
//! Jobs are claimed by [priority](crate::NewJob::priority), higher ones first, then in the order in which they
//! were added. So that nothing waits for ever behind what is more urgent, waiting can raise a job's priority:
//! with [`Setting::Aging`](crate::Setting::Aging) at ten minutes, by one for each ten minutes.
//!
//! ```
//! # use queuectl_core::{NewJob, Setting, SqliteOptions, SqliteStore, Store};
//! # use std::time::Duration;
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
//! store.change_setting(Setting::Aging, Some("10m"))?;
//! let urgent = NewJob::new("page", &"on call")?.priority(10);
//! let tonight = NewJob::new("report", &())?.delay(Duration::from_secs(6 * 3600));
//! store.enqueue(&[tonight, urgent])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A delay is measured on a clock that nobody sets; [`NewJob::run_at`](crate::NewJob::run_at) means a moment.
//! What is of no use later [expires](crate::NewJob::expires_in). A [`Schedule`](crate::Schedule) adds a job
//! again and again.
//!
//! # One job instead of many, and jobs that wait for others
//!
//! A [unique key](crate::NewJob::unique_key) is held by one job, for as long as its
//! [`UniqueScope`](crate::UniqueScope) says; [`throttle`](crate::NewJob::throttle) and
//! [`debounce`](crate::NewJob::debounce) are made of it. Jobs wait for the success, the failure or any end of
//! others ([`after`](crate::NewJob::after)), one after the other in a [`Chain`](crate::Chain), and for all of a
//! [batch](crate::NewJob::batch).
//!
//! # How a job can end
//!
//! A handler answers with an [`Outcome`](crate::Outcome), or with an error, which is tried again.
//!
//! ```
//! # use queuectl_core::{Context, Handlers, NewJob, Outcome, SqliteOptions, SqliteStore, State, Store};
//! # use queuectl_core::{Worker, WorkerOptions};
//! # use std::{sync::Arc, time::Duration};
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
//! let handlers = Handlers::new().on("fetch", |status: u16, _: &Context| {
//!     Ok(match status {
//!         200 => Outcome::Done,
//!         404 => Outcome::Dead("there is no such page".into()),
//!         429 => Outcome::RetryAfter("too many requests".into(), Duration::from_secs(60)),
//!         503 => Outcome::Snooze(Duration::from_secs(5)), // Spends no attempt.
//!         _ => return Err("try again"),
//!     })
//! })?;
//! let added = store.enqueue(&[NewJob::new("fetch", &404)?])?;
//! # let mut options = WorkerOptions::default();
//! # options.drain = true;
//! Worker::start(store.clone(), handlers, options)?.wait()?;
//! let job = store.job(&added[0].id)?.expect("it is in the dead letter queue");
//! assert_eq!((job.state, job.attempts), (State::Dead, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! How often a job is tried, with which delays and for how long, is said by the job
//! ([`max_retries`](crate::NewJob::max_retries), [`backoff`](crate::NewJob::backoff),
//! [`timeout`](crate::NewJob::timeout)), where it says nothing by the [policy](crate::Policy) of its kind, and
//! else by the settings. A job that kills its workers is given up after
//! [so many](crate::NewJob::max_crashes) lost attempts in a row, whatever retries it has left.
//!
//! Anybody can cancel what waits or runs, with a reason. A handler that runs is
//! [told](crate::Context::stop_requested), a command is ended.
//!
//! ```
//! # use queuectl_core::store::{Cancelled, Remark};
//! # use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store};
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
//! let added = store.enqueue(&[NewJob::new("send", &"ada@example.org")?])?;
//! let why = Remark { text: "she has left", by: Some("bob") };
//! assert_eq!(store.cancel(&[added[0].id.clone()], &why)?, [Cancelled::Now]);
//! let job = store.job(&added[0].id)?.expect("it is kept");
//! assert_eq!(job.cancel_reason.as_deref(), Some("she has left"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What has ended
//!
//! Jobs that failed for good are *dead*: the dead letter queue. They are grouped by how they
//! [failed](crate::Failure), can be [given another payload](crate::Store::retry_with), and be retried or deleted
//! many at a time by a [`Sweep`](crate::store::Sweep). Whatever has ended is kept until it is deleted, by hand
//! or because a setting says for how long, or how many:
//!
//! ```
//! # use queuectl_core::{Setting, SqliteOptions, SqliteStore, Store};
//! # let folder = tempfile::tempdir()?;
//! # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
//! # let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
//! store.change_setting(Setting::RetentionCompleted, Some("30days"))?;
//! store.change_setting(Setting::RetentionDeadCount, Some("10000"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What has happened
//!
//! With [`Setting::EventLog`](crate::Setting::EventLog) on, each change of a job is written down in the
//! transaction that makes it, and a [`Subscription`](crate::Subscription) is told of it, in order and without a
//! gap.
