//! A process with the library in it: typed jobs, large batches, and checkpoints of the log at any
//! moment. It says what it is about to do and what it was told, in the words of `queuectl`.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use queuectl_core::store::Store;
use queuectl_core::{
    Context, Handlers, NewJob, SqliteOptions, SqliteStore, Worker, WorkerEvent, WorkerOptions,
};

use super::expect::{Marker, mark};

/// The kind of the jobs that an actor adds and runs.
pub(super) const KIND: &str = "note";

/// What an actor is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Part {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    seed: u64,
    /// The first number by which its jobs are known.
    #[arg(long)]
    markers: Marker,
}

pub(crate) fn play(part: &Part) -> Result<(), Box<dyn Error>> {
    let mut rng = fastrand::Rng::with_seed(part.seed);
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(&part.store, options)?);
    let raw = rusqlite::Connection::open(&part.store)?;
    raw.busy_timeout(Duration::from_secs(10))?;
    let mut next = part.markers;
    for _ in 0..rng.usize(15..30) {
        match rng.usize(0..20) {
            0..=8 => enqueue(&store, &mut next, 1)?,
            9..=11 => enqueue(&store, &mut next, rng.usize(2..12))?,
            12..=15 => {
                let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][rng.usize(0..4)];
                // Another process may be in the way: then there is none.
                let _ = raw.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
            }
            _ => work(&store)?,
        }
    }
    Ok(())
}

fn enqueue(store: &SqliteStore, next: &mut Marker, len: usize) -> Result<(), Box<dyn Error>> {
    let markers: Vec<Marker> = (*next..).take(len).collect();
    *next += len as Marker;
    let words: Vec<String> = markers.iter().map(ToString::to_string).collect();
    say!("asks {}", words.join(" "));
    let jobs: Result<Vec<_>, _> =
        markers.iter().map(|marker| NewJob::new(KIND, &mark(*marker))).collect();
    for added in store.enqueue(&jobs?)? {
        say!("enqueued {}", added.id);
    }
    Ok(())
}

/// Runs what there is of its own kind, and deletes one of the jobs that it has run.
fn work(store: &Arc<SqliteStore>) -> Result<(), Box<dyn Error>> {
    let completed = Arc::new(Mutex::new(None));
    let last = Arc::clone(&completed);
    let mut options = WorkerOptions::default();
    options.drain = true;
    options.observer = Some(Arc::new(move |event: &WorkerEvent<'_>| match event {
        WorkerEvent::Started { worker, id, .. } => say!("at {worker} {id} started now"),
        WorkerEvent::Settled { worker, id, state, .. } => {
            say!("at {worker} {id} {state} after a while");
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((*id).clone());
        }
        _ => {}
    }));
    let handlers =
        Handlers::new().on(KIND, |_: String, _: &Context| Ok::<(), std::io::Error>(()))?;
    Worker::start(Arc::clone(store) as Arc<dyn Store>, handlers, options)?.wait()?;
    let last = completed.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(id) = last {
        say!("deletes {id}");
        store.purge(std::slice::from_ref(&id))?;
        say!("deleted {id}");
    }
    Ok(())
}
