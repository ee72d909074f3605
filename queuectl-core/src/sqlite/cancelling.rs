//! Cancelling whole batches, a bounded number of their jobs at a time.
//!
//! The first transaction notes that the batch is cancelled: from then on no claim gives one of the jobs
//! that it had, but cancels those it comes to, and a command that is about one of them cancels it first. So
//! for everybody it is as if all of them had been cancelled then. The others are come to in the order of
//! their numbers. What a claim comes to is bounded by lane only. Where no batch is being cancelled, all this costs nothing.

use rusqlite::{OptionalExtension, Row, params};

use super::command;
use super::dependents;
use super::row;
use super::transaction::Tx;
use super::unfinished;
use crate::id::{JobKey, Name};
use crate::state::State;
use crate::store::{BatchCancelled, Cancelled, Cancelling, Remark, StoreError};

/// How many jobs of a batch are looked at in one transaction, for each that it may cancel.
const LOOKS: usize = 10;

/// Cancels a batch: the jobs that it has now.
pub(super) fn begin(
    tx: &mut Tx<'_>,
    name: &Name,
    remark: &Remark<'_>,
) -> Result<BatchCancelled, StoreError> {
    let (batch, before): (i64, _) = tx
        .prepare("SELECT batch, stopped, asked FROM queuectl_batch WHERE name = ?1")?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, counts(row, 1)?)))
        .optional()?
        .ok_or_else(|| StoreError::NoBatch(name.clone()))?;
    tx.execute(
        "INSERT INTO queuectl_cancelling (batch, reason, by, first, last)
         SELECT ?1, ?2, ?3, 0, ifnull(max(key), 0) FROM queuectl_job",
        (batch, remark.text, remark.by),
    )?;
    let number = tx.last_key();
    unfinished::changed(tx)?;
    keep_on(tx, &Cancelling { batch: name.clone(), number, before })
}

/// Goes on with it, and says how far it has come.
pub(super) fn keep_on(
    tx: &mut Tx<'_>,
    cancelling: &Cancelling,
) -> Result<BatchCancelled, StoreError> {
    if tx.catalogue.unfinished().cancelling {
        // If the batch was cancelled before, and that is not done, it comes first.
        let batch = "SELECT batch FROM queuectl_cancelling WHERE cancelling = ?1";
        let batch: Option<i64> =
            tx.prepare(batch)?.query_row([cancelling.number], |row| row.get(0)).optional()?;
        while let Some(one) = batch.map(|batch| first_of(tx, batch)).transpose()?.flatten() {
            if !step(tx, &one)? || one.number == cancelling.number {
                break;
            }
        }
        unfinished::go_on(tx)?;
    }
    let now = tx
        .prepare("SELECT stopped, asked FROM queuectl_batch WHERE name = ?1")?
        .query_row([cancelling.batch.as_str()], |row| counts(row, 0))
        .optional()?
        .unwrap_or(cancelling.before);
    let goes_on = tx
        .prepare("SELECT 1 FROM queuectl_cancelling WHERE cancelling = ?1")?
        .exists([cancelling.number])?;
    Ok(BatchCancelled {
        cancelled: now.0.saturating_sub(cancelling.before.0),
        asked: now.1.saturating_sub(cancelling.before.1),
        next: goes_on.then(|| cancelling.clone()),
    })
}

fn counts(row: &Row<'_>, first: usize) -> rusqlite::Result<(u64, u64)> {
    let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok((count(first)?, count(first + 1)?))
}

/// A batch that is being cancelled.
struct One {
    number: i64,
    batch: JobKey,
    reason: String,
    by: Option<String>,
    first: i64,
    last: i64,
}

impl One {
    /// From the columns `cancelling, -batch, reason, by, first, last`.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(One {
            number: row.get(0)?,
            batch: JobKey(row.get(1)?),
            reason: row.get(2)?,
            by: row.get(3)?,
            first: row.get(4)?,
            last: row.get(5)?,
        })
    }
}

fn first_of(tx: &Tx<'_>, batch: i64) -> Result<Option<One>, StoreError> {
    let first = "SELECT cancelling, -batch, reason, by, first, last FROM queuectl_cancelling
         WHERE batch = ?1 ORDER BY cancelling LIMIT 1";
    Ok(tx.prepare(first)?.query_row([batch], One::read).optional()?)
}

/// Goes on with what was begun first, as far as this transaction may.
pub(super) fn go_on(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let first = "SELECT cancelling, -batch, reason, by, first, last FROM queuectl_cancelling
         ORDER BY cancelling LIMIT 1";
    while let Some(one) = tx.prepare(first)?.query_row([], One::read).optional()? {
        if !step(tx, &one)? {
            break;
        }
    }
    Ok(())
}

/// Cancels as many of the jobs as this transaction may; says whether that were all.
fn step(tx: &mut Tx<'_>, one: &One) -> Result<bool, StoreError> {
    let mut living = Vec::new();
    let next = {
        let mut members = tx.prepare(
            "SELECT parent, iif(lease.key IS NULL, state, 2), lost < ?4
             FROM queuectl_dependency CROSS JOIN queuectl_job AS job ON job.key = parent
             LEFT JOIN queuectl_lease AS lease ON lease.key = parent
             WHERE child = ?1 AND parent BETWEEN ?2 AND ?3 ORDER BY parent",
        )?;
        let mut rows = members.query((one.batch.0, one.first, one.last, one.number))?;
        let mut looks = LOOKS * tx.left;
        loop {
            let Some(row) = rows.next()? else {
                break None;
            };
            let (key, state) = (JobKey(row.get(0)?), row::state(row, 1)?);
            if looks == 0 || living.len() == tx.left {
                break Some(key.0);
            }
            looks -= 1;
            if !state.is_terminal() && row.get(2)? {
                living.push((key, state));
            }
        }
    };
    tx.left -= living.len();
    match next {
        Some(next) => tx.execute(
            "UPDATE queuectl_cancelling SET first = ?2 WHERE cancelling = ?1",
            (one.number, next),
        )?,
        None => {
            tx.execute("DELETE FROM queuectl_cancelling WHERE cancelling = ?1", [one.number])?
        }
    };
    let ended = apply(tx, one, &living)?;
    ended.into_iter().try_for_each(|key| dependents::ended(tx, key, State::Cancelled))?;
    Ok(next.is_none())
}

/// Cancels jobs, or asks for it; gives those that have ended, whose dependents are to be told.
fn apply(tx: &mut Tx<'_>, one: &One, jobs: &[(JobKey, State)]) -> Result<Vec<JobKey>, StoreError> {
    let remark = Remark { text: &one.reason, by: one.by.as_deref() };
    let mut ended = Vec::with_capacity(jobs.len());
    for (key, state) in jobs {
        let done = command::cancel_one(tx, *key, *state, &remark)?;
        ended.extend((done == Cancelled::Now).then_some(*key));
    }
    tx.execute(
        "UPDATE queuectl_batch SET stopped = stopped + ?2, asked = asked + ?3 WHERE batch = -?1",
        params![one.batch.0, ended.len() as i64, (jobs.len() - ended.len()) as i64],
    )?;
    Ok(ended)
}

/// The cancelling of its batch that comes to this job, if one has not yet.
fn of(tx: &Tx<'_>, job: JobKey) -> Result<Option<One>, StoreError> {
    Ok(tx
        .prepare(
            "SELECT cancelling, child, reason, by, first, last
             FROM queuectl_dependency CROSS JOIN queuectl_cancelling ON batch = -child
             WHERE parent = ?1 AND child < 0 AND lost < cancelling AND ?1 BETWEEN first AND last
             ORDER BY cancelling LIMIT 1",
        )?
        .query_row([job.0], One::read)
        .optional()?)
}

/// Whether this job is not to be claimed, because its batch was cancelled.
pub(super) fn concerns(tx: &Tx<'_>, job: JobKey) -> Result<bool, StoreError> {
    Ok(of(tx, job)?.is_some())
}

/// Cancels a job in this state before its turn, if its batch was cancelled and it has not ended; gives how
/// it stands then. What somebody does to it from now on comes after that.
pub(super) fn see_to(tx: &mut Tx<'_>, job: JobKey, state: State) -> Result<State, StoreError> {
    if !tx.catalogue.unfinished().cancelling {
        return Ok(state);
    }
    let now = before_its_turn(tx, job, state)?;
    if now != state {
        dependents::ended(tx, job, now)?;
    }
    Ok(now)
}

/// The same for a job that a claim has come to and does not give; its dependents are to be told.
pub(super) fn take_out(tx: &mut Tx<'_>, job: JobKey) -> Result<(), StoreError> {
    let state = tx
        .prepare("SELECT state FROM queuectl_job WHERE key = ?1")?
        .query_row([job.0], |row| row::state(row, 0))?;
    before_its_turn(tx, job, state).map(drop)
}

fn before_its_turn(tx: &mut Tx<'_>, job: JobKey, mut state: State) -> Result<State, StoreError> {
    while let Some(one) = of(tx, job)? {
        tx.execute(
            "UPDATE queuectl_dependency SET lost = ?3 WHERE parent = ?1 AND child = ?2",
            (job.0, one.batch.0, one.number),
        )?;
        if !state.is_terminal() && !apply(tx, &one, &[(job, state)])?.is_empty() {
            state = State::Cancelled;
        }
    }
    Ok(state)
}
