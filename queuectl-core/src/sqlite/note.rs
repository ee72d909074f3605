//! What was noted about jobs.

use rusqlite::{Connection, params};

use super::row;
use super::transaction::Tx;
use crate::id::JobKey;
use crate::job::{Json, Note};
use crate::store::{Remark, StoreError};

/// Notes something about a job.
pub(super) fn add(tx: &Tx<'_>, job: JobKey, remark: &Remark<'_>) -> Result<(), StoreError> {
    insert(tx, job, remark, false)
}

/// Gives a job another payload, and keeps the old one.
pub(super) fn replace_payload(
    tx: &Tx<'_>,
    job: JobKey,
    payload: &Json,
    remark: &Remark<'_>,
) -> Result<(), StoreError> {
    insert(tx, job, remark, true)?;
    tx.execute("UPDATE queuectl_job SET payload = ?2 WHERE key = ?1", (job.0, payload.as_str()))?;
    Ok(())
}

fn insert(
    tx: &Tx<'_>,
    job: JobKey,
    remark: &Remark<'_>,
    with_payload: bool,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO queuectl_note (job, note, at, by, text, payload)
         SELECT key, 1 + ifnull((SELECT max(note) FROM queuectl_note WHERE job = ?1), 0), ?2, ?3, ?4,
                iif(?5, payload, NULL)
         FROM queuectl_job WHERE key = ?1",
        params![job.0, tx.now.as_millis(), remark.by, remark.text, with_payload],
    )?;
    Ok(())
}

/// The notes of a job, oldest first; a read.
pub(super) fn all(connection: &Connection, job: JobKey) -> Result<Vec<Note>, StoreError> {
    let mut notes = connection.prepare_cached(
        "SELECT at, by, text, payload FROM queuectl_note WHERE job = ?1 ORDER BY note",
    )?;
    let notes = notes.query_map([job.0], |row| {
        Ok(Note {
            at: row::timestamp(row, 0)?,
            by: row.get(1)?,
            text: row.get(2)?,
            payload: row.get::<_, Option<String>>(3)?.map(Json::from_store),
        })
    })?;
    Ok(notes.collect::<Result<_, _>>()?)
}
