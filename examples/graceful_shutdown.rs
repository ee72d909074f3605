//! A worker inside an application that is told to stop.
//!
//! The library takes no signals: a process has one set of them, and it is the application's to say
//! what they mean. Here TERM stops the worker with a grace: it claims nothing more, what runs may end
//! within the grace, and what has not ended by then is told to, and given back without losing its
//! attempt. A second signal would end the grace at once.
//!
//! The program sends itself the signal, and then starts again, as it would be after a deployment: the
//! jobs that were given back, and the one that was never begun, run to their end.
//!
//! `cargo run --example graceful_shutdown`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{
    Cause, Context, Handlers, Job, JobId, NewJob, Setting, SqliteOptions, SqliteStore, State,
    StopCause, Stopper, Store, Worker, WorkerOptions,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::raise;

/// How long anything here may take before the program says that it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
    // A setting belongs to the store, and holds for every worker of it.
    store.change_setting(Setting::Grace, Some("600ms"))?;
    let added = store.enqueue(&[job("short", 50)?, job("long", 1500)?, job("not begun", 50)?])?;
    let ids: Vec<JobId> = added.into_iter().map(|added| added.id).collect();

    let (handlers, begun) = handlers()?;
    let mut options = WorkerOptions::default();
    options.workers = 2;
    let worker = Worker::start(store.clone(), handlers.clone(), options)?;
    let (signals, listener) = stop_on_signals(worker.stopper())?;
    for _ in 0..2 {
        println!("{} has begun", begun.recv_timeout(PATIENCE)?);
    }
    println!("TERM");
    raise(SIGTERM)?;
    let summary = worker.wait()?;
    signals.close();
    listener.join().map_err(|_| "the signal thread panicked")?;
    println!("{summary:?}\n");
    assert_eq!((summary.completed, summary.released), (1, 1));

    let [short, long, third] = &read(&store, &ids)?[..] else {
        return Err("not three jobs".into());
    };
    assert_eq!(short.state, State::Completed);
    // Given back: it may run again at once, and has lost no attempt.
    assert_eq!((long.state, long.attempts), (State::Pending, 0));
    let attempts = store.attempts(long.key)?;
    let report = attempts.first().and_then(|attempt| attempt.report.as_ref());
    assert_eq!(report.map(|report| report.cause), Some(Cause::Interrupted));
    // Never claimed.
    assert_eq!((third.state, third.token.0), (State::Pending, 0));
    assert!(store.workers()?.is_empty(), "a worker is still registered");

    println!("started again");
    let mut options = WorkerOptions::default();
    options.drain = true;
    Worker::start(store.clone(), handlers, options)?.wait()?;
    for job in read(&store, &ids)? {
        assert_eq!((job.state, job.attempts), (State::Completed, 1));
    }
    Ok(())
}

/// Stops the worker at the first TERM or INT with a grace, at the second one at once.
fn stop_on_signals(stopper: Stopper) -> Result<(Handle, thread::JoinHandle<()>), Box<dyn Error>> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let handle = signals.handle();
    let listener = thread::spawn(move || {
        let mut mode = StopMode::Grace;
        for _ in signals.forever() {
            stopper.stop(mode);
            mode = StopMode::Now;
        }
    });
    Ok((handle, listener))
}

fn job(what: &str, millis: u64) -> Result<NewJob, Box<dyn Error>> {
    Ok(NewJob::new("work", &(what, millis))?)
}

/// A handler that works in slices and looks between them whether it is to end. It also tells who
/// begins.
fn handlers() -> Result<(Handlers, Receiver<String>), Box<dyn Error>> {
    let (sender, begun) = channel();
    let sender: Mutex<Sender<String>> = Mutex::new(sender);
    let work = move |(what, millis): (String, u64), context: &Context| {
        // The second time nobody listens.
        let _ = sender.lock().unwrap_or_else(PoisonError::into_inner).send(what.clone());
        let slice = Duration::from_millis(25);
        for done in 0..millis / 25 {
            if let Some(cause) = context.wait_for_stop(slice) {
                assert_eq!(cause, StopCause::Shutdown);
                println!("{what} was told to end after {} ms", done * 25);
                return Err("told to end");
            }
        }
        println!("{what} is done");
        Ok(())
    };
    Ok((Handlers::new().on("work", work)?, begun))
}

fn read(store: &SqliteStore, ids: &[JobId]) -> Result<Vec<Job>, Box<dyn Error>> {
    let job = |id| -> Result<Job, Box<dyn Error>> { Ok(store.job(id)?.ok_or("the job is gone")?) };
    let jobs: Vec<Job> = ids.iter().map(job).collect::<Result<_, _>>()?;
    for job in &jobs {
        println!("{} {}: {}", job.id, job.payload.as_str(), job.state);
    }
    Ok(jobs)
}
