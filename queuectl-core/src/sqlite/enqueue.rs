//! Adding jobs.

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::error::is_duplicate;
use super::line;
use super::row;
use super::transaction::Tx;
use crate::id::{CHOSEN_KEY_MAX, JobId, JobKey};
use crate::job::{BATCH_LEN_MAX, NewJob, Start};
use crate::state::State;
use crate::store::{Enqueued, StoreError};

const INSERT: &str = "INSERT INTO queuectl_job
    (key, state, lane, priority, max_attempts, created_at, updated_at, run_at, run_boot, blockers,
     name, unique_key, timeout_ms, backoff, tags, payload)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";

pub(super) fn enqueue(tx: &mut Tx<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
    if jobs.len() > BATCH_LEN_MAX {
        return Err(StoreError::BatchTooLarge { len: jobs.len() });
    }
    let mut statement = tx.prepare(INSERT)?;
    let mut ready = ReadyRun::default();
    let added = jobs
        .iter()
        .map(|job| insert(tx, &mut statement, &mut ready, job))
        .collect::<Result<_, _>>()?;
    ready.flush(tx)?;
    Ok(added)
}

/// Jobs with consecutive numbers that can be claimed, not yet in the line: one statement adds them.
#[derive(Default)]
struct ReadyRun(Option<(JobKey, JobKey)>);

impl ReadyRun {
    fn add(&mut self, tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
        match &mut self.0 {
            Some((_, last)) if last.0 + 1 == key.0 => *last = key,
            run => {
                ReadyRun(run.replace((key, key))).flush(tx)?;
            }
        }
        Ok(())
    }

    fn flush(self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.0.map_or(Ok(()), |(first, last)| line::make_ready(tx, first, last))
    }
}

fn insert(
    tx: &mut Tx<'_>,
    statement: &mut CachedStatement<'_>,
    ready: &mut ReadyRun,
    job: &NewJob,
) -> Result<Enqueued, StoreError> {
    // Nobody else writes meanwhile, so a look is enough; the unique index is the guard.
    if let Some(unique_key) = &job.unique_key
        && let Some(living) = living(tx, unique_key)?
    {
        return Ok(living);
    }
    let lane = tx.lane_of(&job.queue, &job.kind)?;
    let parents = if job.after.is_empty() { Vec::new() } else { open_parents(tx, job)? };
    let state = if parents.is_empty() { State::Pending } else { State::Blocked };
    let (run_at, run_boot) = match job.start {
        Start::Now => (tx.now, None),
        Start::In(delay) => (tx.now + delay, Some((tx.boot + delay).as_millis())),
        Start::At(moment) => (moment, None),
    };
    // What is due stays due, wherever the clocks go: among what is ready, or while it is blocked by
    // a reading of the boot clock that has always passed.
    let due = run_at <= tx.now;
    let run_boot = match state {
        State::Blocked if due => Some(0),
        _ => run_boot.filter(|_| !due),
    };
    let (key, name) = match &job.id {
        None => (None, None),
        Some(JobId::Auto(key)) => {
            never_given(tx, *key)?;
            (Some(key.0), None)
        }
        Some(JobId::Chosen(name)) => (None, Some(name.as_str())),
    };
    let retries = job.max_retries.unwrap_or(tx.catalogue.settings().max_retries);
    let inserted = statement.execute(params![
        key,
        row::code(state),
        lane,
        job.priority,
        retries.saturating_add(1),
        tx.now.as_millis(),
        run_at.as_millis(),
        run_boot,
        i64::try_from(parents.len()).unwrap_or(i64::MAX),
        name,
        job.unique_key,
        job.timeout.map(row::millis),
        job.backoff.as_ref().map(ToString::to_string),
        row::tags_text(&job.tags),
        job.payload.as_str(),
    ]);
    match inserted {
        Ok(_) => {}
        Err(error) if is_duplicate(&error) => {
            let id = job.id.clone().unwrap_or(JobId::Auto(JobKey(0)));
            return Err(StoreError::DuplicateId(id));
        }
        Err(error) => return Err(error.into()),
    }
    let key = JobKey(tx.last_key());
    tx.count(lane, state, 1);
    match state {
        State::Pending if due => ready.add(tx, key)?,
        State::Pending => line::make_due(tx, key)?,
        _ => {}
    }
    for parent in parents {
        tx.execute(
            "INSERT INTO queuectl_dependency (parent, child) VALUES (?1, ?2)",
            (parent.0, key.0),
        )?;
    }
    let id = job.id.clone().unwrap_or(JobId::Auto(key));
    Ok(Enqueued { id, key, created: true })
}

/// Refuses a number that was given to a job before, also if that job is gone: a worker may still hold
/// a lease of it, and the numbers of its claims would begin again.
fn never_given(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    // After the largest number that SQLite has, no job could ever be added again.
    if !(1..=CHOSEN_KEY_MAX).contains(&key.0) {
        return Err(StoreError::NumberOutOfRange(JobId::Auto(key)));
    }
    let newest: Option<i64> = tx
        .prepare("SELECT seq FROM sqlite_sequence WHERE name = 'queuectl_job'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if newest.is_none_or(|newest| key.0 > newest) {
        return Ok(());
    }
    let taken = tx.prepare("SELECT 1 FROM queuectl_job WHERE key = ?1")?.exists([key.0])?;
    let id = JobId::Auto(key);
    Err(if taken { StoreError::DuplicateId(id) } else { StoreError::NumberGiven(id) })
}

/// The job that has this idempotency key and lives.
fn living(tx: &Tx<'_>, unique_key: &str) -> Result<Option<Enqueued>, StoreError> {
    let living = tx
        .prepare(
            "SELECT key, name FROM queuectl_job
             WHERE unique_key = ?1 AND unique_key IS NOT NULL AND (state < 3 OR state = 4)",
        )?
        .query_row([unique_key], |row| {
            let key = JobKey(row.get(0)?);
            Ok(Enqueued { id: row::id(row, key, 1)?, key, created: false })
        })
        .optional()?;
    Ok(living)
}

/// The jobs that this one has to wait for: those of its `after` that have not completed.
fn open_parents(tx: &Tx<'_>, job: &NewJob) -> Result<Vec<JobKey>, StoreError> {
    let mut parents = Vec::with_capacity(job.after.len());
    for id in &job.after {
        match find(tx, id)? {
            Some((_, State::Completed)) => {}
            Some((key, _)) if parents.contains(&key) => {}
            Some((key, _)) => parents.push(key),
            None if job.id.as_ref() == Some(id) => return Err(StoreError::Cycle(id.clone())),
            None => return Err(StoreError::NotFound(id.clone())),
        }
    }
    Ok(parents)
}

/// A job's number and state.
pub(super) fn find(tx: &Tx<'_>, id: &JobId) -> Result<Option<(JobKey, State)>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| Ok((JobKey(row.get(0)?), row::state(row, 1)?));
    let found = match id {
        JobId::Auto(key) => tx
            .prepare(
                "SELECT job.key, iif(lease.key IS NULL, state, 2) FROM queuectl_job AS job
                 LEFT JOIN queuectl_lease AS lease USING (key)
                 WHERE job.key = ?1 AND name IS NULL",
            )?
            .query_row([key.0], read),
        JobId::Chosen(name) => tx
            .prepare(
                "SELECT job.key, iif(lease.key IS NULL, state, 2) FROM queuectl_job AS job
                 LEFT JOIN queuectl_lease AS lease USING (key)
                 WHERE name = ?1",
            )?
            .query_row([name.as_str()], read),
    };
    Ok(found.optional()?)
}
