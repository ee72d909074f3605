//! The worker: claims jobs, runs them, settles them, until it is told to stop.
//!
//! [`step`] decides, without doing anything; `threads` does, without deciding anything.

pub mod action;
mod audience;
mod fence;
mod held;
mod pace;
pub mod step;
mod threads;
mod trouble;
pub mod verdict;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use self::action::Summary;
use self::threads::Running;
use crate::attempt::Report;
use crate::clock::{Clock, SystemClock};
use crate::handler::Handlers;
use crate::id::{JobId, Name, WorkerKey};
use crate::state::State;
use crate::store::{Queues, StopMode, Store, StoreError};

/// How a worker process works.
#[derive(Clone)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// How many jobs run at a time, each on a thread of its own. 1.
    pub workers: usize,
    /// From which queues jobs are taken. All but the private ones.
    pub queues: Queues,
    /// End when no job is left that this worker may have to run, now or later. `false`.
    pub drain: bool,
    /// How long the lease lasts without renewal. It is renewed after a third of it, and a worker
    /// that cannot renew stops its jobs after five sixths. 30 s.
    pub lease: Duration,
    /// Where the process writes its own log: shown to whoever lists workers.
    pub log: Option<PathBuf>,
    /// Is told of each event, in order, on a thread of its own.
    pub observer: Option<Observer>,
    /// Where the worker reads time. The operating system's clocks.
    pub clock: Arc<dyn Clock>,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        WorkerOptions {
            workers: 1,
            queues: Queues::All,
            drain: false,
            lease: Duration::from_secs(30),
            log: None,
            observer: None,
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("workers", &self.workers)
            .field("queues", &self.queues)
            .field("drain", &self.drain)
            .field("lease", &self.lease)
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// Sees what happens in a worker. While it is thousands of events behind, the worker claims nothing
/// more.
pub type Observer = Arc<dyn Fn(&WorkerEvent<'_>) + Send + Sync>;

/// What happens in a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkerEvent<'a> {
    /// An attempt begins.
    Started {
        /// The worker that holds it.
        worker: WorkerKey,
        /// The job.
        id: &'a JobId,
        /// Its kind.
        kind: &'a Name,
        /// Which attempt it is.
        attempt: u32,
        /// How many there may be.
        max_attempts: u32,
    },
    /// An attempt was settled: its outcome is durable by now.
    Settled {
        /// The worker that held it.
        worker: WorkerKey,
        /// The job.
        id: &'a JobId,
        /// Which attempt it was.
        attempt: u32,
        /// How many there may be.
        max_attempts: u32,
        /// Where the job stands now.
        state: State,
        /// When it runs again, if it does.
        retry_in: Option<Duration>,
        /// How long the attempt took.
        took: Duration,
        /// How it ended.
        report: &'a Report,
    },
    /// The lease of an attempt was lost: nothing of it counts.
    LeaseLost {
        /// The job.
        id: &'a JobId,
    },
    /// A job was freed from a dead worker.
    Rescued {
        /// The dead worker.
        worker: WorkerKey,
        /// Where the job stands now.
        state: State,
    },
    /// The store has failed; it is tried again.
    StoreFailed {
        /// How.
        error: &'a StoreError,
    },
    /// No more jobs are claimed.
    Stopping {
        /// How hard.
        mode: StopMode,
    },
}

/// The workers of one process.
///
/// ```
/// use std::sync::Arc;
/// use queuectl_core::{Context, Handlers, NewJob, SqliteOptions, SqliteStore, Store};
/// use queuectl_core::{Worker, WorkerOptions};
///
/// let folder = tempfile::tempdir()?;
/// let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
/// store.enqueue(&[NewJob::new("greet", &"Ada")?])?;
///
/// let handlers = Handlers::new().on("greet", |name: String, _: &Context| {
///     println!("hello, {name}");
///     Ok::<(), std::io::Error>(())
/// })?;
/// let mut options = WorkerOptions::default();
/// options.drain = true;
/// let summary = Worker::start(store, handlers, options)?.wait()?;
/// assert_eq!(summary.completed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a worker interrupts its jobs and waits for them"]
pub struct Worker {
    running: Running,
}

impl Worker {
    /// Registers the workers and starts their threads.
    ///
    /// # Errors
    ///
    /// If the store cannot be written to.
    pub fn start(
        store: Arc<dyn Store>,
        handlers: Handlers,
        options: WorkerOptions,
    ) -> Result<Worker, StoreError> {
        Running::start(store, handlers, options).map(|running| Worker { running })
    }

    /// The numbers under which the workers were registered.
    pub fn keys(&self) -> &[WorkerKey] {
        self.running.keys()
    }

    /// A handle by which anyone can stop the worker.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.running.inbox())
    }

    /// Waits until the worker has stopped: told to by a [`Stopper`] or through the store, or because
    /// it was to end when nothing is left to do.
    ///
    /// # Errors
    ///
    /// If the store failed for good.
    pub fn wait(mut self) -> Result<Summary, StoreError> {
        self.running.join()
    }
}

impl Drop for Worker {
    /// Stops with [`StopMode::Now`] and waits until every handler has returned: no job that this
    /// process holds may run on unseen.
    fn drop(&mut self) {
        self.stopper().stop(StopMode::Now);
        // Whoever drops a worker instead of waiting for it does not ask how it went.
        let _ = self.running.join();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("keys", &self.keys()).finish_non_exhaustive()
    }
}

/// Stops a worker from elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Stopper(Arc<threads::Inbox>);

impl Stopper {
    /// Tells the worker to stop, and returns at once. A harder way overrules a softer one.
    pub fn stop(&self, mode: StopMode) {
        self.0.stop(mode);
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopper")
    }
}
