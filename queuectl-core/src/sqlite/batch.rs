//! Batches: jobs that are counted together, and can be waited for together.
//!
//! To those who wait, a batch is one more parent: it stands in `queuectl_dependency` under its number
//! with a minus before it, as the parent of what waits for it, and as the child of each of its jobs. So
//! the end of a job finds its batch where it finds its dependents, and jobs that are in none pay nothing.
//! How its jobs have ended is counted as they end: that costs the same for any number of them.

use rusqlite::{Connection, OptionalExtension, Row};

use super::dependents;
use super::enqueue;
use super::row;
use super::transaction::Tx;
use crate::id::{JobKey, Name};
use crate::job::NewJob;
use crate::state::State;
use crate::store::{BatchInfo, Enqueued, StoreError};

/// How a batch has ended, from whether it has and how many of its jobs have not completed.
fn end(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<State>> {
    let end = if row.get::<_, i64>(first + 1)? == 0 { State::Completed } else { State::Dead };
    Ok(row.get::<_, bool>(first)?.then_some(end))
}

/// The key under which others wait for a batch, and how it stands for them.
pub(super) fn to_wait_for(tx: &Tx<'_>, name: &Name) -> Result<(JobKey, State), StoreError> {
    let found = tx
        .prepare(
            "SELECT -batch, closed_at IS NOT NULL, finished_at IS NOT NULL, dead + cancelled
             FROM queuectl_batch WHERE name = ?1",
        )?
        .query_row([name.as_str()], |row| {
            let state = end(row, 2)?.unwrap_or(State::Pending);
            Ok((JobKey(row.get(0)?), row.get(1)?, state))
        })
        .optional()?;
    match found {
        None => Err(StoreError::NoBatch(name.clone())),
        Some((_, false, _)) => Err(StoreError::BatchOpen(name.clone())),
        Some((key, true, state)) => Ok((key, state)),
    }
}

/// A new job, with all that it waits for, is in the batch of this name, which is made if there is none.
pub(super) fn join(tx: &Tx<'_>, name: &Name, job: JobKey) -> Result<(), StoreError> {
    let (batch, closed): (i64, bool) = tx
        .prepare(
            "INSERT INTO queuectl_batch (name, created_at, total) VALUES (?1, ?2, 1)
             ON CONFLICT (name) DO UPDATE SET total = total + 1 WHERE finished_at IS NULL
             RETURNING -batch, closed_at IS NOT NULL",
        )?
        .query_row((name.as_str(), tx.now.as_millis()), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| StoreError::BatchEnded(name.clone()))?;
    let stranger = "SELECT 1 FROM queuectl_dependency AS waits WHERE child = ?1 AND NOT EXISTS
             (SELECT 1 FROM queuectl_dependency WHERE parent = waits.parent AND child = ?2)";
    if closed && tx.prepare(stranger)?.exists((job.0, batch))? {
        return Err(StoreError::BatchClosed(name.clone()));
    }
    tx.execute(
        "INSERT INTO queuectl_dependency (parent, child, condition, needs, otherwise, lost)
         VALUES (?1, ?2, 2, 0, 0, 0)",
        (job.0, batch),
    )?;
    Ok(())
}

/// A job of the batch has ended; how the batch has, if that was the last one.
pub(super) fn one_ended(
    tx: &Tx<'_>,
    batch: JobKey,
    state: State,
) -> Result<Option<State>, StoreError> {
    Ok(tx
        .prepare(
            "UPDATE queuectl_batch
             SET completed = completed + (?2 = 3), dead = dead + (?2 = 5),
                 cancelled = cancelled + (?2 = 6),
                 finished_at = iif(closed_at IS NOT NULL
                                   AND completed + dead + cancelled + 1 = total, ?3, NULL)
             WHERE batch = -?1 RETURNING finished_at IS NOT NULL, dead + cancelled",
        )?
        .query_row((batch.0, row::code(state), tx.now.as_millis()), |row| end(row, 0))?)
}

/// A job of the batch that had ended in this state is to run again, and so the batch lives again.
pub(super) fn one_lives_again(tx: &Tx<'_>, batch: JobKey, state: State) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE queuectl_batch
         SET completed = completed - (?2 = 3), dead = dead - (?2 = 5),
             cancelled = cancelled - (?2 = 6), finished_at = NULL
         WHERE batch = -?1",
        (batch.0, row::code(state)),
    )?;
    Ok(())
}

/// Deletes the batch if it has ended and has no job; gives what it was called.
pub(super) fn delete(tx: &Tx<'_>, batch: JobKey) -> Result<Option<String>, StoreError> {
    let name = tx
        .prepare(
            "DELETE FROM queuectl_batch
             WHERE batch = -?1 AND finished_at IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM queuectl_dependency WHERE child = ?1)
             RETURNING name",
        )?
        .query_row([batch.0], |row| row.get(0).map(called))
        .optional()?;
    Ok(name)
}

/// How many numbers of batches one prune looks at.
const PRUNE_WINDOW: i64 = 10_000;

/// Deletes batches that nobody has closed and that have no job, of those after this number, if they were
/// made by then: five hundred at most. Nobody waits for one. Gives where to go on.
pub(super) fn prune(tx: &Tx<'_>, from: i64, made_by: i64) -> Result<i64, StoreError> {
    let until = from.saturating_add(PRUNE_WINDOW);
    let doomed = tx
        .prepare(
            "SELECT batch FROM queuectl_batch
             WHERE batch > ?1 AND batch <= ?2 AND closed_at IS NULL AND created_at <= ?3
                   AND NOT EXISTS (SELECT 1 FROM queuectl_dependency WHERE child = -batch)
             ORDER BY batch LIMIT 500",
        )?
        .query_map((from, until, made_by), |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for batch in &doomed {
        tx.execute("DELETE FROM queuectl_batch WHERE batch = ?1", [batch])?;
    }
    if let Some(last) = doomed.last().filter(|_| doomed.len() == 500) {
        return Ok(*last);
    }
    let more = tx.prepare("SELECT 1 FROM queuectl_batch WHERE batch > ?1")?.exists([until])?;
    Ok(if more { until } else { 0 })
}

/// What a batch is called in a reason.
fn called(name: String) -> String {
    format!("batch {name}")
}

pub(super) fn name_of(tx: &Tx<'_>, batch: JobKey) -> Result<String, StoreError> {
    Ok(tx
        .prepare("SELECT name FROM queuectl_batch WHERE batch = -?1")?
        .query_row([batch.0], |row| row.get(0).map(called))?)
}

/// Closes the batch, and adds jobs that may be in it or wait for it.
pub(super) fn close(
    tx: &mut Tx<'_>,
    name: &Name,
    then: &[NewJob],
) -> Result<Vec<Enqueued>, StoreError> {
    // Until they are added the batch has one job more, so that it does not end before.
    let batch = tx
        .prepare(
            "INSERT INTO queuectl_batch (name, created_at, closed_at, total) VALUES (?1, ?2, ?2, 1)
             ON CONFLICT (name) DO UPDATE SET closed_at = ?2, total = total + 1
             WHERE closed_at IS NULL
             RETURNING -batch",
        )?
        .query_row((name.as_str(), tx.now.as_millis()), |row| row.get(0).map(JobKey))
        .optional()?
        .ok_or_else(|| StoreError::BatchClosed(name.clone()))?;
    let added = enqueue::enqueue(tx, &then.iter().collect::<Vec<_>>())?;
    let ended = tx
        .prepare(
            "UPDATE queuectl_batch
             SET total = total - 1,
                 finished_at = iif(completed + dead + cancelled + 1 = total, ?2, NULL)
             WHERE batch = -?1 RETURNING finished_at IS NOT NULL, dead + cancelled",
        )?
        .query_row((batch.0, tx.now.as_millis()), |row| end(row, 0))?;
    if let Some(state) = ended {
        dependents::ended(tx, batch, state)?;
        if let Some(called) = delete(tx, batch)? {
            dependents::deleted(tx, batch, called)?;
        }
    }
    Ok(added)
}

const INFO: &str = "name, created_at, closed_at, finished_at, total, completed, dead, cancelled";

fn info(row: &Row<'_>) -> rusqlite::Result<BatchInfo> {
    let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(BatchInfo {
        name: row::name(row, 0)?,
        created_at: row::timestamp(row, 1)?,
        closed_at: row::optional_timestamp(row, 2)?,
        finished_at: row::optional_timestamp(row, 3)?,
        total: count(4)?,
        completed: count(5)?,
        dead: count(6)?,
        cancelled: count(7)?,
    })
}

/// One batch; a read.
pub(super) fn batch(connection: &Connection, name: &Name) -> Result<Option<BatchInfo>, StoreError> {
    let sql = format!("SELECT {INFO} FROM queuectl_batch WHERE name = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([name.as_str()], info).optional()?)
}

/// The newest batches, newest first; a read.
pub(super) fn batches(connection: &Connection, limit: usize) -> Result<Vec<BatchInfo>, StoreError> {
    let sql = format!("SELECT {INFO} FROM queuectl_batch ORDER BY batch DESC LIMIT ?1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut batches = connection.prepare_cached(&sql)?;
    Ok(batches.query_map([limit], info)?.collect::<Result<_, _>>()?)
}
