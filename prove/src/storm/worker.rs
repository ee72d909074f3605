//! A worker that uses the library: typed jobs and commands, a lease of its own length, and a store
//! that tells the witness of each claim.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::shell::{SHELL_KIND, ShellHandler, ShellOptions};
use queuectl_core::store::{ClaimRequest, Exchanged, Settlement};
use queuectl_core::{
    Claimed, Context, Finished, Handler, Handlers, Lease, Outcome, SqliteOptions, SqliteStore,
    StopCause, Store, StoreError, Worker, WorkerOptions,
};
use queuectl_testkit::history::How;
use queuectl_testkit::layer::{Layer, Layered};
use rustix::process::Signal;

use super::task::{HOLDER, KILLER, QUICK, Task, WITNESS, WORK};
use crate::witness::process::now;
use crate::witness::{Phase, Record, Witness};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    lease_ms: u64,
    #[arg(long, default_value_t = 2)]
    count: usize,
    #[arg(long)]
    drain: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let witness = Arc::new(Witness::open(&PathBuf::from(std::env::var(WITNESS)?))?);
    let holder: u64 = std::env::var(HOLDER)?.parse()?;
    let sqlite = SqliteStore::open(&options.store, SqliteOptions::default())?;
    let settings = sqlite.settings()?;
    let mut logs = options.store.clone().into_os_string();
    logs.push("-logs");
    let shell = ShellHandler::new(ShellOptions {
        output_limit: settings.output_limit,
        log_limit: settings.log_limit,
        grace: settings.grace,
        logs: logs.into(),
        // As the command line does, so that each ends what the other left.
        store: format!("{}@{}", sqlite.identity(), sqlite.path().display()),
    })?;
    let typed = Arc::new(Typed { witness: Arc::clone(&witness), holder });
    let handlers = Handlers::new()
        .with(QUICK, typed.clone())?
        .with(WORK, typed)?
        .with(SHELL_KIND, Arc::new(shell))?
        .on(KILLER, |_: Task, _: &Context| {
            rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)
        })?;
    let mut worker = WorkerOptions::default();
    worker.workers = options.count;
    worker.lease = Duration::from_millis(options.lease_ms);
    worker.drain = options.drain;
    let layer = Witnessed { witness, holder };
    let store = Arc::new(Layered { store: sqlite, layer });
    Worker::start(store, handlers, worker)?.wait()?;
    Ok(())
}

/// Runs typed jobs, and tells the witness.
struct Typed {
    witness: Arc<Witness>,
    holder: u64,
}

impl Handler for Typed {
    fn run(&self, job: &Claimed, context: &Context) -> Finished {
        let task: Task = match job.payload.decode() {
            Ok(task) => task,
            Err(error) => return Finished::of(Outcome::Dead(error.into())),
        };
        let record = |phase| record(phase, &task, job.lease, self.holder);
        // What no witness sees must not be done.
        if let Err(error) = self.witness.write(&[record(Phase::Started)]) {
            return Finished::of(Outcome::Dead(error.into()));
        }
        let stopped = match task.millis {
            0 => None,
            millis => context.wait_for_stop(Duration::from_millis(millis)),
        };
        let how = match &stopped {
            Some(StopCause::LeaseLost) => How::LeaseLost,
            Some(_) => How::GaveUp,
            None if job.attempt <= task.fails => How::Failed,
            None => How::Succeeded,
        };
        if let Err(error) = self.witness.write(&[record(Phase::Ended(how))]) {
            return Finished::of(Outcome::Dead(error.into()));
        }
        match how {
            How::Succeeded => Finished::of(Outcome::Done),
            _ => Finished { stopped, ..Finished::of(Outcome::Retry("as it was asked to".into())) },
        }
    }
}

fn record(phase: Phase, task: &Task, lease: Lease, holder: u64) -> Record {
    let (label, pid) = (task.label(), std::process::id());
    Record { phase, label, lease, holder, pid, at: now() }
}

/// A witness of claims: what is claimed by a call that began after a pause was acknowledged breaks a
/// promise.
#[derive(Debug)]
struct Witnessed {
    witness: Arc<Witness>,
    holder: u64,
}

impl Layer for Witnessed {
    fn exchange(
        &self,
        store: &dyn Store,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        let asked_at = now();
        let exchanged = store.exchange(settle, claim)?;
        // Commands say what they are themselves.
        let typed = exchanged.claimed.iter().filter_map(|job| {
            let task: Task = job.payload.decode().ok()?;
            Some(Record { at: asked_at, ..record(Phase::Claimed, &task, job.lease, self.holder) })
        });
        let records: Vec<Record> = typed.collect();
        if !records.is_empty() {
            self.witness.write(&records).map_err(|error| StoreError::Unknown(error.into()))?;
        }
        Ok(exchanged)
    }
}
