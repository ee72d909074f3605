//! What few jobs have: kept aside, so that the rows of all the others need no columns for it.

use std::num::NonZeroU32;

use rusqlite::OptionalExtension;

use super::transaction::Tx;
use crate::id::JobKey;
use crate::store::StoreError;

/// Keeps who has cancelled a job, or asked for it.
pub(super) fn set_canceller(tx: &Tx<'_>, job: JobKey, by: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO queuectl_aside (job, cancelled_by) VALUES (?1, ?2)
         ON CONFLICT (job) DO UPDATE SET cancelled_by = excluded.cancelled_by",
        (job.0, by),
    )?;
    Ok(())
}

pub(super) fn forget_canceller(tx: &Tx<'_>, job: JobKey) -> Result<(), StoreError> {
    tx.execute("UPDATE queuectl_aside SET cancelled_by = NULL WHERE job = ?1", [job.0])?;
    Ok(())
}

/// Keeps how many attempts in a row a new job may lose.
pub(super) fn set_max_crashes(
    tx: &Tx<'_>,
    job: JobKey,
    crashes: NonZeroU32,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO queuectl_aside (job, max_crashes) VALUES (?1, ?2)",
        (job.0, crashes.get()),
    )?;
    Ok(())
}

/// How many attempts in a row a job may lose, if it says so itself.
pub(super) fn max_crashes(tx: &Tx<'_>, job: JobKey) -> Result<Option<u32>, StoreError> {
    let own = tx
        .prepare("SELECT max_crashes FROM queuectl_aside WHERE job = ?1")?
        .query_row([job.0], |row| row.get(0))
        .optional()?;
    Ok(own.flatten())
}
