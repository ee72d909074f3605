//! Jobs that are not worth running from some moment on.
//!
//! A job that waits and can expire has a row in `queuectl_expiry`. It leaves that table when it is
//! claimed, comes back when its attempt has ended and another may follow, and is gone from it in every
//! terminal state. Jobs that cannot expire are never in it, and pay nothing.

use rusqlite::{Connection, OptionalExtension};

use super::dependents;
use super::row;
use super::settle;
use super::transaction::Tx;
use crate::clock::{BootTime, Timestamp};
use crate::id::JobKey;
use crate::state::{Event, State};
use crate::store::StoreError;

/// A job that waits can expire from now on: at the moment in its row.
pub(super) fn note(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO queuectl_expiry (clock, at, key)
         SELECT expires_boot IS NOT NULL, ifnull(expires_boot, expires_at), key
         FROM queuectl_job WHERE key = ?1 AND expires_at IS NOT NULL",
        [key.0],
    )?;
    Ok(())
}

/// A job expires no more, if it could: it is claimed, it ends, or its row is about to say another
/// moment.
pub(super) fn forget(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM queuectl_expiry WHERE (clock, at, key) =
             (SELECT expires_boot IS NOT NULL, ifnull(expires_boot, expires_at), key
              FROM queuectl_job WHERE key = ?1)",
        [key.0],
    )?;
    Ok(())
}

/// Whether a job that waits has expired.
pub(super) fn has_expired(tx: &Tx<'_>, key: JobKey) -> Result<bool, StoreError> {
    let expired = tx
        .prepare(
            "SELECT ifnull(expires_boot <= ?3, expires_at <= ?2) FROM queuectl_job WHERE key = ?1",
        )?
        .query_row((key.0, tx.now.as_millis(), tx.boot.as_millis()), |row| {
            row.get::<_, Option<bool>>(0)
        })
        .optional()?;
    Ok(expired.flatten() == Some(true))
}

/// Whether some job has expired, or may have; a read.
pub(super) fn is_due(
    connection: &Connection,
    now: Timestamp,
    boot: BootTime,
    boot_id: &str,
) -> Result<bool, StoreError> {
    let mut first = connection.prepare_cached(
        "SELECT boot_id, (SELECT min(at) FROM queuectl_expiry WHERE clock = 0),
                (SELECT min(at) FROM queuectl_expiry WHERE clock = 1)
         FROM queuectl_meta",
    )?;
    let is_due = first.query_row([], |row| {
        let by_wall: Option<i64> = row.get(1)?;
        let by_boot: Option<i64> = row.get(2)?;
        let other_boot = row.get_ref(0)?.as_str()? != boot_id;
        // Whoever writes first after a restart puts those of the boot clock on the wall clock.
        Ok(by_wall.is_some_and(|at| at <= now.as_millis())
            || by_boot.is_some_and(|at| other_boot || at <= boot.as_millis()))
    })?;
    Ok(is_due)
}

/// Cancels jobs that have expired, five hundred of each clock at most, so that the lock is not held for
/// long; gives how many.
pub(super) fn expire(tx: &mut Tx<'_>) -> Result<u64, StoreError> {
    let mut expired = Vec::new();
    for (clock, now) in [(0, tx.now.as_millis()), (1, tx.boot.as_millis())] {
        // The limit is written out, as in `line`.
        let keys = tx
            .prepare(
                "SELECT key FROM queuectl_expiry WHERE clock = ?1 AND at <= ?2
                 ORDER BY at, key LIMIT 500",
            )?
            .query_map((clock, now), |row| row.get(0).map(JobKey))?
            .collect::<Result<Vec<_>, _>>()?;
        expired.extend(keys);
    }
    expire_all(tx, &expired)?;
    Ok(expired.len() as u64)
}

/// Cancels jobs that have expired while they waited. Their dependents are told when all of them are: these
/// may be among them.
pub(super) fn expire_all(tx: &mut Tx<'_>, jobs: &[JobKey]) -> Result<(), StoreError> {
    jobs.iter().try_for_each(|key| expire_one(tx, *key))?;
    tell_dependents(tx, jobs)
}

/// Moves on what waits for jobs that have expired.
pub(super) fn tell_dependents(tx: &mut Tx<'_>, jobs: &[JobKey]) -> Result<(), StoreError> {
    jobs.iter().try_for_each(|key| dependents::ended(tx, *key, State::Cancelled))
}

/// Cancels a job that has expired while it waited; its dependents are to be told.
pub(super) fn expire_one(tx: &mut Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let (state, expires_at) = tx
        .prepare("SELECT state, expires_at FROM queuectl_job WHERE key = ?1")?
        .query_row([key.0], |row| Ok((row::state(row, 0)?, row::timestamp(row, 1)?)))?;
    let reason = format!("expired: not begun by {expires_at}");
    settle::end_waiting(tx, key, state, Event::Expire, &reason.as_str().into())
}

/// The boot clock has begun again: expiries that it measured fall back to the wall clock.
pub(super) fn after_boot(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO queuectl_expiry (clock, at, key)
         SELECT 0, job.expires_at, job.key
         FROM queuectl_expiry AS expiry CROSS JOIN queuectl_job AS job USING (key) WHERE clock = 1",
        [],
    )?;
    connection.execute(
        "UPDATE queuectl_job SET expires_boot = NULL
         WHERE key IN (SELECT key FROM queuectl_expiry WHERE clock = 1)",
        [],
    )?;
    // Those that are held may come back.
    connection.execute(
        "UPDATE queuectl_job SET expires_boot = NULL WHERE key IN (SELECT key FROM queuectl_lease)",
        [],
    )?;
    connection.execute("DELETE FROM queuectl_expiry WHERE clock = 1", [])?;
    Ok(())
}
