//! A worker in a process of its own, and what happens when it is killed.
//!
//! The program starts itself a second time as the worker, enqueues jobs from the first process, and
//! kills the worker with SIGKILL while a job runs. Then it starts another worker. The kernel released
//! the dead worker's file lock with its process, so the new one knows at once that it is dead, takes
//! its job over, and finishes the rest.
//!
//! The lost attempt stays in the job's history, and stays spent: a job that kills its workers is dead
//! after its last attempt, instead of killing workers for ever.
//!
//! `cargo run --example two_processes`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use queuectl_core::{
    Cause, Context, Handlers, Job, JobId, NewJob, SqliteOptions, SqliteStore, State, Store, Worker,
    WorkerOptions,
};

/// How long anything here may take before the program says that it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// The number of the job in which the first worker is killed.
const LONG: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (Some(role), Some(path)) if role == "worker" => work(&PathBuf::from(path)),
        _ => application(),
    }
}

/// The second process: nothing but a worker.
fn work(path: &Path) -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::open(path, SqliteOptions::default())?;
    let handlers = Handlers::new().on("step", |number: u32, context: &Context| {
        let time = match (number, context.attempt()) {
            (LONG, 1) => {
                context.progress("it runs").map_err(|error| error.to_string())?;
                Duration::from_secs(60)
            }
            _ => Duration::from_millis(10),
        };
        match context.wait_for_stop(time) {
            // Told to end: an error is the right answer, the queue knows what to make of it.
            Some(cause) => Err(format!("told to end: {cause:?}")),
            None => Ok(()),
        }
    })?;
    let mut options = WorkerOptions::default();
    options.drain = true;
    Worker::start(Arc::new(store), handlers, options)?.wait()?;
    Ok(())
}

/// The first process: enqueues and looks on.
fn application() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("queue.db");
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options)?;
    let jobs = (1..=5).map(|number| NewJob::new("step", &number));
    let added = store.enqueue(&jobs.collect::<Result<Vec<_>, _>>()?)?;
    let ids: Vec<JobId> = added.into_iter().map(|added| added.id).collect();

    let long = &ids[LONG as usize - 1];
    let mut first = WorkerProcess::start(&path)?;
    println!("worker {} started", first.0.id());
    // Not only claimed: a worker holds short jobs in advance, and what has not begun loses nothing. And
    // with the jobs before it settled: one that has ended without the store knowing runs once more.
    wait_until(&store, || {
        let before = &ids[..LONG as usize - 1];
        let before = before.iter().map(|id| read(&store, id)).collect::<Result<Vec<_>, _>>()?;
        let settled = before.iter().all(|job| job.state == State::Completed);
        Ok(settled && read(&store, long)?.progress.is_some())
    })?;
    first.0.kill()?;
    first.0.wait()?;
    println!("worker {} killed while it ran {long}", first.0.id());

    let mut second = WorkerProcess::start(&path)?;
    println!("worker {} started", second.0.id());
    let status = second.0.wait()?;
    assert!(status.success(), "the second worker failed: {status}");

    for id in &ids {
        let job = read(&store, id)?;
        let attempts = store.attempts(job.key)?;
        let causes: Vec<Cause> =
            attempts.iter().filter_map(|attempt| Some(attempt.report.as_ref()?.cause)).collect();
        println!("{id}: {}, attempts: {causes:?}", job.state);
        let expected: &[Cause] =
            if id == long { &[Cause::LeaseLost, Cause::Succeeded] } else { &[Cause::Succeeded] };
        assert_eq!(job.state, State::Completed);
        assert_eq!(causes, expected);
    }
    assert!(store.workers()?.is_empty(), "a worker is still registered");
    Ok(())
}

fn read(store: &SqliteStore, id: &JobId) -> Result<Job, Box<dyn Error>> {
    Ok(store.job(id)?.ok_or("the job is gone")?)
}

/// Waits until something is true of the store. Looks when the store has changed, not by the clock.
fn wait_until(
    store: &SqliteStore,
    is_true: impl Fn() -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let (sender, changes) = channel();
    let waker = move || {
        // Whoever has ended meanwhile needs no waking.
        let _ = sender.send(());
    };
    let _watch = store.watch(Arc::new(waker))?;
    while !is_true()? {
        changes.recv_timeout(PATIENCE)?;
    }
    Ok(())
}

/// A worker process that does not outlive this one's interest in it.
struct WorkerProcess(Child);

impl WorkerProcess {
    fn start(path: &Path) -> Result<Self, Box<dyn Error>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the example is about a process that is not a job"
        )]
        let mut command = Command::new(env::current_exe()?);
        Ok(WorkerProcess(command.arg("worker").arg(path).spawn()?))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Fails if it has ended already, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
