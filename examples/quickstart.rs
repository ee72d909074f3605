//! The shortest whole program: jobs go in, a worker runs them, results come out.
//!
//! `cargo run --example quickstart`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, sync::Arc};

use queuectl_core::{
    Context, Handlers, NewJob, Outcome, SqliteOptions, SqliteStore, Store, Worker, WorkerOptions,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Add(i64, i64);

fn main() -> Result<(), Box<dyn Error>> {
    // A real program names a file that outlives it.
    let folder = tempfile::tempdir()?;
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
    let jobs = [NewJob::new("add", &Add(1, 2))?, NewJob::new("add", &Add(40, 2))?];
    let added = store.enqueue(&jobs)?;

    let handlers =
        Handlers::new().on("add", |Add(a, b), _: &Context| Outcome::done_with(&(a + b)))?;
    let mut options = WorkerOptions::default();
    options.drain = true; // Without it the worker waits for more.
    Worker::start(store.clone(), handlers, options)?.wait()?;

    for (added, expected) in added.iter().zip([3, 42]) {
        let job = store.job(&added.id)?.ok_or("the job is gone")?;
        let sum: i64 = job.result.ok_or("the job has no result")?.decode()?;
        println!("{} is {}: {sum}", job.id, job.state);
        assert_eq!(sum, expected);
    }
    Ok(())
}
