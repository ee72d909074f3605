//! Adding jobs.

use rusqlite::{OptionalExtension, params};

use super::error::is_duplicate;
use super::row;
use super::transaction::Tx;
use crate::id::{JobId, JobKey};
use crate::job::{BATCH_LEN_MAX, NewJob, Start};
use crate::state::State;
use crate::store::{Enqueued, StoreError};

const INSERT: &str = "INSERT INTO queuectl_job
    (key, state, lane, claim_rank, priority, max_attempts, created_at, updated_at, run_at, run_boot,
     blockers, name, unique_key, timeout_ms, backoff, tags, payload)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL AND state IN (0, 1, 2, 4) DO NOTHING";

pub(super) fn enqueue(tx: &mut Tx<'_>, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
    if jobs.len() > BATCH_LEN_MAX {
        return Err(StoreError::BatchTooLarge { len: jobs.len() });
    }
    jobs.iter().map(|job| insert(tx, job)).collect()
}

fn insert(tx: &mut Tx<'_>, job: &NewJob) -> Result<Enqueued, StoreError> {
    let lane = tx.lane_of(&job.queue, &job.kind)?;
    let parents = if job.after.is_empty() {
        Vec::new()
    } else {
        open_parents(tx, job)?
    };
    let state = if parents.is_empty() {
        State::Pending
    } else {
        State::Blocked
    };
    let (run_at, run_boot) = match job.start {
        Start::Now => (tx.now, None),
        Start::In(delay) => (tx.now + delay, Some((tx.boot + delay).as_millis())),
        Start::At(moment) => (moment.max(tx.now), None),
    };
    let due = state == State::Pending && run_at <= tx.now;
    let claim_rank = due.then_some(-i64::from(job.priority));
    let (key, name) = match &job.id {
        None => (None, None),
        Some(JobId::Auto(JobKey(key))) => (Some(*key), None),
        Some(JobId::Chosen(name)) => (None, Some(name.as_str())),
    };
    let retries = job
        .max_retries
        .unwrap_or(tx.catalogue.settings().max_retries);
    let inserted = tx.execute(
        INSERT,
        params![
            key,
            row::code(state),
            lane,
            claim_rank,
            job.priority,
            retries.saturating_add(1),
            tx.now.as_millis(),
            run_at.as_millis(),
            run_boot.filter(|_| !due),
            i64::try_from(parents.len()).unwrap_or(i64::MAX),
            name,
            job.unique_key,
            job.timeout.map(row::millis),
            job.backoff.as_ref().map(ToString::to_string),
            row::tags_text(&job.tags),
            job.payload.as_str(),
        ],
    );
    match inserted {
        Ok(0) => return living(tx, job),
        Ok(_) => {}
        Err(error) if is_duplicate(&error) => {
            let id = job.id.clone().unwrap_or(JobId::Auto(JobKey(0)));
            return Err(StoreError::DuplicateId(id));
        }
        Err(error) => return Err(error.into()),
    }
    let key = JobKey(tx.last_key());
    tx.count(lane, state, 1);
    for parent in parents {
        tx.execute(
            "INSERT INTO queuectl_dependency (parent, child) VALUES (?1, ?2)",
            (parent.0, key.0),
        )?;
        tx.execute(
            "UPDATE queuectl_job SET has_dependents = 1 WHERE key = ?1",
            [parent.0],
        )?;
    }
    let id = job.id.clone().unwrap_or(JobId::Auto(key));
    Ok(Enqueued {
        id,
        key,
        created: true,
    })
}

/// The job that has this job's idempotency key and lives.
fn living(tx: &Tx<'_>, job: &NewJob) -> Result<Enqueued, StoreError> {
    let (key, id) = tx
        .prepare(
            "SELECT key, name FROM queuectl_job
             WHERE unique_key = ?1 AND state IN (0, 1, 2, 4)",
        )?
        .query_row([&job.unique_key], |row| {
            let key = JobKey(row.get(0)?);
            Ok((key, row::id(row, key, 1)?))
        })?;
    Ok(Enqueued {
        id,
        key,
        created: false,
    })
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
            .prepare("SELECT key, state FROM queuectl_job WHERE key = ?1 AND name IS NULL")?
            .query_row([key.0], read),
        JobId::Chosen(name) => tx
            .prepare("SELECT key, state FROM queuectl_job WHERE name = ?1")?
            .query_row([name.as_str()], read),
    };
    Ok(found.optional()?)
}
