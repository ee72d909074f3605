//! The dead jobs: in which ways they have failed, and what is done to many of them at a time.
//!
//! A job has a row in `queuectl_dead` from its death until it is retried or deleted, and the ways to fail are
//! counted in `queuectl_failure` meanwhile. Jobs that do not die pay nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::command;
use super::row;
use super::transaction::Tx;
use crate::attempt::Report;
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::id::{JobId, JobKey};
use crate::state::State;
use crate::store::{FailureGroup, Remedy, StoreError, Sweep, Swept};

/// A job of this lane has died, and its row says when.
pub(super) fn enter(
    tx: &Tx<'_>,
    key: JobKey,
    lane: i64,
    report: &Report,
) -> Result<(), StoreError> {
    let failure = Failure::of(&tx.kind_of(lane)?, report);
    let fingerprint = failure.fingerprint().0;
    tx.execute(
        "INSERT INTO queuectl_failure (failure, kind, cause, exit_code, signal, form, n)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1) ON CONFLICT (failure) DO UPDATE SET n = n + 1",
        params![
            fingerprint,
            failure.kind.as_str(),
            failure.cause.as_str(),
            failure.exit_code,
            failure.signal,
            failure.form,
        ],
    )?;
    tx.execute(
        "INSERT INTO queuectl_dead (at, job, failure) VALUES (?1, ?2, ?3)",
        (tx.now.as_millis(), key.0, fingerprint),
    )?;
    Ok(())
}

/// A job is dead no more, or about to be deleted; its row still says when it died.
pub(super) fn leave(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let failure: Option<i64> = tx
        .prepare(
            "DELETE FROM queuectl_dead
             WHERE (at, job) = (SELECT finished_at, key FROM queuectl_job WHERE key = ?1)
             RETURNING failure",
        )?
        .query_row([key.0], |row| row.get(0))
        .optional()?;
    let Some(failure) = failure else {
        return Ok(());
    };
    let last =
        tx.execute("DELETE FROM queuectl_failure WHERE failure = ?1 AND n = 1", [failure])?;
    if last == 0 {
        tx.execute("UPDATE queuectl_failure SET n = n - 1 WHERE failure = ?1", [failure])?;
    }
    Ok(())
}

/// How many jobs one sweep comes to.
const SWEEP_MAX: usize = 500;

pub(super) fn sweep(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<Swept, StoreError> {
    let Some(until) = sweep.until.map_or_else(|| newest(tx, sweep), |until| Ok(Some(until)))?
    else {
        return Ok(Swept::default());
    };
    let found = next(tx, sweep, until)?;
    let mut swept = Swept::default();
    for (_, key, id) in &found {
        let done = match sweep.remedy {
            Remedy::Purge => command::delete(tx, *key, id, State::Dead),
            Remedy::Retry(_) => command::again(tx, id, *key, State::Dead, sweep.wait(swept.done)),
        };
        match done {
            Ok(()) => swept.done += 1,
            // It is found out before anything is written.
            Err(StoreError::UniqueKeyTaken { .. }) => swept.kept += 1,
            Err(error) => return Err(error),
        }
    }
    if let Some((at, key, _)) = found.last().filter(|_| found.len() == SWEEP_MAX) {
        let (from, turns) = (Some((*at, *key)), sweep.turns + swept.done);
        swept.next = Some(Sweep { until: Some(until), from, turns, ..sweep.clone() });
    }
    Ok(swept)
}

/// When the job died that a sweep which begins now ends with.
fn newest(tx: &Tx<'_>, sweep: &Sweep) -> Result<Option<Timestamp>, StoreError> {
    let newest: Option<i64> = match sweep.alike {
        Some(failure) => tx
            .prepare("SELECT max(at) FROM queuectl_dead WHERE failure = ?1")?
            .query_row([failure.0], |row| row.get(0))?,
        None => tx.prepare("SELECT max(at) FROM queuectl_dead")?.query_row([], |row| row.get(0))?,
    };
    Ok(newest.map(Timestamp::from_millis))
}

/// The next jobs that a sweep is about.
fn next(
    tx: &Tx<'_>,
    sweep: &Sweep,
    until: Timestamp,
) -> Result<Vec<(Timestamp, JobKey, JobId)>, StoreError> {
    let (at, JobKey(key)) = sweep.from.unwrap_or((Timestamp::from_millis(i64::MIN), JobKey(0)));
    let (at, until) = (at.as_millis(), until.as_millis());
    let read = |row: &rusqlite::Row<'_>| {
        let key = JobKey(row.get(1)?);
        Ok((row::timestamp(row, 0)?, key, row::id(row, key, 2)?))
    };
    let found = match sweep.alike {
        Some(failure) => tx
            .prepare(
                "SELECT at, job.key, name
                 FROM queuectl_dead AS dead CROSS JOIN queuectl_job AS job ON job.key = dead.job
                 WHERE failure = ?1 AND (at, dead.job) > (?2, ?3) AND at <= ?4
                 ORDER BY at, dead.job LIMIT 500",
            )?
            .query_map((failure.0, at, key, until), read)?
            .collect::<Result<Vec<_>, _>>()?,
        None => tx
            .prepare(
                "SELECT at, job.key, name
                 FROM queuectl_dead AS dead CROSS JOIN queuectl_job AS job ON job.key = dead.job
                 WHERE (at, dead.job) > (?1, ?2) AND at <= ?3
                 ORDER BY at, dead.job LIMIT 500",
            )?
            .query_map((at, key, until), read)?
            .collect::<Result<Vec<_>, _>>()?,
    };
    Ok(found)
}

/// The ways to fail with the most jobs; a read. Looks at each way, and at two jobs of those it gives.
pub(super) fn failures(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<FailureGroup>, StoreError> {
    let mut groups = connection.prepare_cached(
        "SELECT failure, kind, cause, exit_code, signal, form, n
         FROM queuectl_failure ORDER BY n DESC, failure LIMIT ?1",
    )?;
    let mut oldest =
        connection.prepare_cached("SELECT min(at) FROM queuectl_dead WHERE failure = ?1")?;
    let mut newest = connection.prepare_cached(
        "SELECT at, job.key, name
         FROM queuectl_dead AS dead CROSS JOIN queuectl_job AS job ON job.key = dead.job
         WHERE failure = ?1 ORDER BY at DESC, dead.job DESC LIMIT 1",
    )?;
    let groups = groups.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        let number: i64 = row.get(0)?;
        let (newest_at, exemplar) = newest.query_row([number], |row| {
            let key = JobKey(row.get(1)?);
            Ok((row::timestamp(row, 0)?, row::id(row, key, 2)?))
        })?;
        Ok(FailureGroup {
            failure: Failure {
                kind: row::name(row, 1)?,
                cause: row::cause(row, 2)?,
                exit_code: row.get(3)?,
                signal: row.get(4)?,
                form: row.get(5)?,
            },
            count: row.get::<_, i64>(6)?.unsigned_abs(),
            oldest_at: oldest.query_row([number], |row| row::timestamp(row, 0))?,
            newest_at,
            exemplar,
        })
    })?;
    Ok(groups.collect::<Result<_, _>>()?)
}
