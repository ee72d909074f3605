//! Files with a long past and a long future, such as a queue has after years, and what they cost.
//!
//! A file is made once and used by every round. What waits in it is enqueued as always. What has
//! completed cannot be: ten million jobs take longer than everything else together. So some
//! thousands are run, and their rows are copied as they stand, with the counter that goes with them.

use std::cell::OnceCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{Durability, NewJob, State, Store, Timestamp, Worker, WorkerOptions};
use rusqlite::Connection;

use crate::figures::{millis, percentile, rate};
use crate::measure::{Bed, timed_on};
use crate::process::{queuectl_on, run};
use crate::rows::{BATCH, jobs};
use crate::{Result, door, ours};

/// So many jobs are run in earnest.
const SEED: usize = 10_000;

/// What stands in a file before a measure begins, in the order in which it was enqueued.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backlog {
    /// Jobs that have completed.
    pub(crate) completed: usize,
    /// Jobs of a higher priority than all others that become due in a hundred years: half of them by
    /// the wall clock, half by the boot clock.
    pub(crate) later: usize,
    /// Jobs that can be claimed.
    pub(crate) pending: usize,
}

/// A file with a backlog, made when it is first asked for.
#[derive(Debug)]
pub(crate) struct BacklogFile {
    backlog: Backlog,
    dir: PathBuf,
    keep: bool,
    made: OnceCell<(PathBuf, Option<tempfile::TempDir>)>,
}

impl BacklogFile {
    /// A file in `dir`, which the next benchmark finds there if it is to be kept.
    pub(crate) fn new(backlog: Backlog, dir: &Path, keep: bool) -> Self {
        BacklogFile { backlog, dir: dir.to_owned(), keep, made: OnceCell::new() }
    }

    /// What stands in it.
    pub(crate) fn backlog(&self) -> Backlog {
        self.backlog
    }

    /// The file; what an earlier round took from it is there again.
    fn ready(&self) -> Result<&Path> {
        if self.made.get().is_none() {
            let made = self.make()?;
            self.made.get_or_init(|| made);
        }
        let (path, _) = self.made.get().ok_or("the file was not made")?;
        let waiting = ours::count(&ours::open(path, Durability::Off)?, State::Pending)?;
        let wanted = self.backlog.pending + self.backlog.later;
        ours::fill(&ours::open(path, Durability::Off)?, wanted.saturating_sub(waiting as usize))?;
        Ok(path)
    }

    fn make(&self) -> Result<(PathBuf, Option<tempfile::TempDir>)> {
        let folder = tempfile::Builder::new().prefix("queuectl-bench-").tempdir_in(&self.dir)?;
        let draft = folder.path().join("queue.db");
        if !self.keep {
            self.fill(&draft)?;
            return Ok((draft, Some(folder)));
        }
        let Backlog { completed, later, pending } = self.backlog;
        let schema = schema_of(&folder.path().join("empty.db"))?;
        let name = format!("queuectl-backlog-{schema:016x}-{completed}-{later}-{pending}.db");
        let path = self.dir.join(name);
        // Retention may have made an old one shorter by now.
        if !path.exists() || self.completed_in(&path)? < completed {
            self.fill(&draft)?;
            std::fs::rename(&draft, &path)?;
        }
        Ok((path, None))
    }

    fn completed_in(&self, path: &Path) -> Result<usize> {
        Ok(ours::count(&ours::open(path, Durability::Off)?, State::Completed)? as usize)
    }

    fn fill(&self, path: &Path) -> Result<()> {
        let Backlog { completed, later, pending } = self.backlog;
        let seed = completed.min(SEED);
        if seed > 0 {
            let store = ours::open(path, Durability::Off)?;
            ours::fill(&store, seed)?;
            let worker = ours::register(&store)?;
            ours::exchange_all(&store, worker, BATCH)?;
            store.deregister(&[worker])?;
            drop(store);
            copy_jobs(path, (completed - seed) as i64)?;
        }
        let store = ours::open(path, Durability::Off)?;
        for part in jobs(later)?.chunks(BATCH) {
            let part: Vec<NewJob> = part.iter().cloned().enumerate().map(in_a_century).collect();
            store.enqueue(&part)?;
        }
        ours::fill(&store, pending)?;
        for (state, expected) in [(State::Completed, completed), (State::Pending, later + pending)]
        {
            let there = ours::count(&store, state)?;
            if there != expected as u64 {
                return Err(format!("{there} jobs are {state}, not {expected}").into());
            }
        }
        Ok(())
    }
}

fn in_a_century((number, job): (usize, NewJob)) -> NewJob {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    let job = job.priority(10);
    match number % 2 {
        0 => job.delay(CENTURY),
        _ => job.run_at(Timestamp::from_millis(0) + 2 * CENTURY),
    }
}

/// What the schema of a new store is, as a number.
fn schema_of(path: &Path) -> Result<u64> {
    drop(ours::open(path, Durability::Off)?);
    let text: String = Connection::open(path)?.query_row(
        "SELECT group_concat(sql, ';') FROM sqlite_schema ORDER BY name",
        [],
        |row| row.get(0),
    )?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Ok(hasher.finish())
}

/// Adds so many copies of the jobs in a file, which must all be of one lane and one state, and counts
/// them.
fn copy_jobs(path: &Path, mut copies: i64) -> Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    // Whatever columns there are, but for the number, which is given anew.
    let columns: String = connection.query_row(
        "SELECT group_concat(name, ', ') FROM pragma_table_info('queuectl_job') WHERE name <> 'key'",
        [],
        |row| row.get(0),
    )?;
    let (last, there): (i64, i64) =
        connection.query_row("SELECT max(key), count(*) FROM queuectl_job", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let copy = format!(
        "INSERT INTO queuectl_job ({columns})
         SELECT {columns} FROM queuectl_job WHERE key <= ?1 ORDER BY key LIMIT ?2"
    );
    while copies > 0 {
        // Not all in one transaction: the log would grow as large as the file.
        let part = connection.transaction()?;
        for _ in 0..10 {
            let copied = part.prepare_cached(&copy)?.execute((last, copies.min(there)))? as i64;
            part.execute("UPDATE queuectl_count SET n = n + ?1 WHERE n > 0", [copied])?;
            copies -= copied;
        }
        part.commit()?;
    }
    Ok(())
}

/// The rate at which a worker runs the first jobs of a file with a backlog.
pub(crate) fn work(bed: &Bed, file: &BacklogFile) -> Result<f64> {
    work_some(file.ready()?, bed)
}

/// The same on a file that has those jobs and nothing else.
pub(crate) fn work_on_empty(bed: &Bed) -> Result<f64> {
    ours::fill(&ours::create(bed)?, bed.jobs)?;
    work_some(&bed.file(), bed)
}

/// Not `drain`: on a file with a backlog the worker would go on, so it is told to end when it has
/// run as many as it should. It may have begun others by then; what counts is what it completed.
fn work_some(path: &Path, bed: &Bed) -> Result<f64> {
    let store = Arc::new(ours::open(path, bed.durability)?);
    let before = [State::Completed, State::Pending].map(|state| ours::count(&*store, state));
    let (handlers, all_ran) = ours::handlers(bed.jobs)?;
    let (completed, took) = timed_on(path, || {
        let worker = Worker::start(Arc::clone(&store) as _, handlers, WorkerOptions::default())?;
        // An error means that the worker has failed; waiting for it says how.
        let _ = all_ran.recv();
        worker.stopper().stop(StopMode::Finish);
        ours::completed(worker)
    })?;
    let [completed_before, pending_before] = before;
    let now = (ours::count(&*store, State::Completed)?, ours::count(&*store, State::Pending)?);
    if completed < bed.jobs as u64
        || now != (completed_before? + completed, pending_before? - completed)
    {
        return Err(format!("{completed} jobs were completed, and now there are {now:?}").into());
    }
    Ok(rate(completed as usize, took))
}

/// How long it takes, in milliseconds, to count what is in a file: by the library, and by a person who
/// types `queuectl status`.
pub(crate) fn status(bed: &Bed, file: &BacklogFile) -> Result<[f64; 2]> {
    status_of(file.ready()?, bed)
}

/// The same for a file that is empty.
pub(crate) fn status_of_empty(bed: &Bed) -> Result<[f64; 2]> {
    drop(ours::create(bed)?);
    status_of(&bed.file(), bed)
}

fn status_of(path: &Path, bed: &Bed) -> Result<[f64; 2]> {
    let store = ours::open(path, bed.durability)?;
    let median = |read: &dyn Fn() -> Result<()>| -> Result<f64> {
        let times = (0..bed.jobs).map(|_| {
            let (done, took) = door::timed(read);
            done.map(|()| millis(took))
        });
        Ok(percentile(&times.collect::<Result<Vec<f64>>>()?, 0.5))
    };
    let counts = median(&|| store.counts().map(drop).map_err(Into::into))?;
    let status = median(&|| run(queuectl_on(path)?.arg("status")))?;
    Ok([counts, status])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_is_found_again_and_has_what_was_taken_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let backlog = Backlog { completed: SEED + 500, later: 5, pending: 20 };
        let first = BacklogFile::new(backlog, folder.path(), true);
        let path = first.ready().unwrap().to_owned();

        let store = ours::open(&path, Durability::Off).unwrap();
        let worker = ours::register(&store).unwrap();
        ours::exchange_all(&store, worker, BATCH).unwrap();
        let waiting = || ours::count(&store, State::Pending).unwrap();
        assert_eq!(waiting(), 5, "those of a higher priority are not due");

        let again = BacklogFile::new(backlog, folder.path(), true);
        assert_eq!(again.ready().unwrap(), path);
        assert_eq!(waiting(), 25);
        let completed = ours::count(&store, State::Completed).unwrap();
        assert_eq!(completed as usize, backlog.completed + backlog.pending);
    }
}
