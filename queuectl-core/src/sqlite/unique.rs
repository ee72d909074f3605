//! Who holds a unique key, and for how long.
//!
//! `queuectl_job.unique_states` has a bit for each state in which a job holds its key, and the unique
//! index has the jobs that are in such a state: to end, or to go, frees the key with the write that says
//! so. The number is negative while a job does not hold its key although it may be in such a state: it
//! has left them, or its period is over, and another may have come. A job that runs has in its row the
//! state that it was claimed in, so a claim that frees the key says so there. Jobs without a key have
//! NULL, and pay nothing.

use rusqlite::{OptionalExtension, params};

use super::row;
use super::transaction::Tx;
use crate::id::{JobId, JobKey};
use crate::job::UniqueScope;
use crate::state::State;
use crate::store::StoreError;

/// The bit of a job that holds its key for a period: `queuectl_period` has its end.
pub(super) const PERIOD: i64 = 1 << 7;

/// The column of a new job with a key.
pub(super) fn states(scope: &UniqueScope) -> i64 {
    let bits = scope.states().map(|state| 1 << row::code(state)).sum::<i64>();
    if matches!(scope, UniqueScope::For(_)) { bits | PERIOD } else { bits }
}

/// Whether a column says that the key is held in a state.
fn includes(states: i64, state: State) -> bool {
    states.abs() >> row::code(state) & 1 == 1
}

/// Whether a claim frees the key of a job that holds it.
pub(super) fn ends_at_claim(states: i64) -> bool {
    states > 0 && !includes(states, State::Processing)
}

/// Whether a job that has ended in a state holds its key until its period is over.
fn lasts(states: i64, state: State) -> bool {
    states > 0 && states & PERIOD != 0 && includes(states, state)
}

/// Whether retention spares a job that has ended in a state: it holds its key until its period is over.
pub(super) fn is_spared(
    tx: &Tx<'_>,
    key: JobKey,
    states: Option<i64>,
    state: State,
) -> Result<bool, StoreError> {
    match states.filter(|states| lasts(*states, state)) {
        Some(states) => Ok(!is_over(tx, key, states)?),
        None => Ok(false),
    }
}

/// The job that holds a key.
pub(super) struct Holder {
    pub(super) key: JobKey,
    pub(super) id: JobId,
    pub(super) lane: i64,
    /// The state in its row.
    pub(super) state: State,
    /// A worker holds it.
    pub(super) runs: bool,
    pub(super) attempts: u32,
}

/// The job that holds the key. One whose period is over holds it no more.
pub(super) fn holder(tx: &Tx<'_>, unique_key: &str) -> Result<Option<Holder>, StoreError> {
    let found = tx
        .prepare(
            "SELECT key, name, unique_states, lane, state, attempts,
                    EXISTS (SELECT 1 FROM queuectl_lease AS lease WHERE lease.key = job.key)
             FROM queuectl_job AS job
             WHERE unique_key = ?1 AND unique_states > 0 AND (unique_states >> state) & 1",
        )?
        .query_row([unique_key], |row| {
            let key = JobKey(row.get(0)?);
            let holder = Holder {
                key,
                id: row::id(row, key, 1)?,
                lane: row.get(3)?,
                state: row::state(row, 4)?,
                attempts: row.get(5)?,
                runs: row.get(6)?,
            };
            Ok((holder, row.get::<_, i64>(2)?))
        })
        .optional()?;
    match found {
        Some((holder, states)) if is_over(tx, holder.key, states)? => {
            give_up(tx, holder.key)?;
            Ok(None)
        }
        found => Ok(found.map(|(holder, _)| holder)),
    }
}

/// Another job that holds this one's key.
pub(super) fn other_holder(tx: &Tx<'_>, key: JobKey) -> Result<Option<JobId>, StoreError> {
    let unique_key: Option<String> = tx
        .prepare("SELECT unique_key FROM queuectl_job WHERE key = ?1")?
        .query_row([key.0], |row| row.get(0))?;
    let Some(unique_key) = unique_key else {
        return Ok(None);
    };
    Ok(holder(tx, &unique_key)?.filter(|holder| holder.key != key).map(|holder| holder.id))
}

/// Whether the period of a job is over, if it has one.
pub(super) fn is_over(tx: &Tx<'_>, key: JobKey, states: i64) -> Result<bool, StoreError> {
    if states.abs() & PERIOD == 0 {
        return Ok(false);
    }
    // What is left of a reading of another boot is the wall time at which it was expected.
    let over = tx
        .prepare(
            "SELECT iif(boot_id = ?2, until_boot <= ?3, until_at <= ?4)
             FROM queuectl_period WHERE job = ?1",
        )?
        .query_row(
            params![key.0, tx.catalogue.boot_id(), tx.boot.as_millis(), tx.now.as_millis()],
            |row| row.get(0),
        )
        .optional()?;
    Ok(over.unwrap_or(true))
}

/// Notes when the period of a new job ends.
pub(super) fn begin_period(
    tx: &Tx<'_>,
    key: JobKey,
    scope: &UniqueScope,
) -> Result<(), StoreError> {
    if let UniqueScope::For(period) = *scope {
        let (until_at, until_boot) = (tx.now + period, tx.boot + period);
        tx.execute(
            "INSERT INTO queuectl_period (job, until_at, until_boot, boot_id)
             VALUES (?1, ?2, ?3, ?4)",
            params![key.0, until_at.as_millis(), until_boot.as_millis(), tx.catalogue.boot_id()],
        )?;
    }
    Ok(())
}

/// A job holds its key no more, whatever its state.
pub(super) fn give_up(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE queuectl_job SET unique_states = -abs(unique_states) WHERE key = ?1",
        [key.0],
    )?;
    Ok(())
}

/// A job holds its key in the states that it was asked for.
pub(super) fn take(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE queuectl_job SET unique_states = abs(unique_states) WHERE key = ?1",
        [key.0],
    )?;
    Ok(())
}

/// A job with a key is about to wait again, in the state `next`: it gives the key up, or takes it back
/// if nobody else has it by now.
pub(super) fn comes_back(
    tx: &Tx<'_>,
    key: JobKey,
    states: i64,
    next: State,
) -> Result<(), StoreError> {
    match (states > 0, includes(states, next)) {
        (true, false) => give_up(tx, key),
        (false, true) if other_holder(tx, key)?.is_none() => take(tx, key),
        _ => Ok(()),
    }
}
