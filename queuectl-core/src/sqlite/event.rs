//! The event log: written with what it tells, and kept no longer than the settings say.
//!
//! What happens in a transaction is noted in memory, and written in one go before its commit, many
//! entries with one statement. Where the log is off, nothing is noted.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row};

use super::read;
use super::row;
use super::transaction::Tx;
use crate::attempt::Cause;
use crate::event::{Change, JobEvent};
use crate::id::{JobId, JobKey, Lease, Name, Token, WorkerKey};
use crate::state::State;
use crate::store::StoreError;

/// What happened to a job, beside the states that it left and is in.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: JobKey,
    pub(super) change: Change,
    pub(super) attempt: Option<(Token, WorkerKey)>,
    pub(super) cause: Option<Cause>,
    pub(super) reason: Option<String>,
    pub(super) by: Option<String>,
    pub(super) name: Named,
}

/// By which id a job is known.
#[derive(Debug)]
pub(super) enum Named {
    /// Its row says so.
    InItsRow,
    Is(JobId),
}

impl Entry {
    pub(super) fn of(job: JobKey, change: Change) -> Self {
        let name = Named::InItsRow;
        Entry { job, change, attempt: None, cause: None, reason: None, by: None, name }
    }

    /// What concerns an attempt.
    pub(super) fn under(lease: Lease, worker: WorkerKey, change: Change) -> Self {
        Entry { attempt: Some((lease.token, worker)), ..Entry::of(lease.key, change) }
    }

    /// The same of a job whose id is at hand.
    pub(super) fn named(self, id: Option<&JobId>) -> Self {
        let name = Named::Is(id.cloned().unwrap_or(JobId::Auto(self.job)));
        Entry { name, ..self }
    }
}

/// An entry that is not written yet.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) lane: i64,
    pub(super) from: Option<State>,
    pub(super) to: Option<State>,
    pub(super) entry: Entry,
}

/// A statement that writes so many entries.
struct Insert {
    rows: usize,
    sql: String,
}

/// Beside the time, which all entries of a transaction have in common.
const VALUES: usize = 11;

static INSERTS: LazyLock<[Insert; 3]> =
    LazyLock::new(|| [64, 8, 1].map(|rows| Insert { rows, sql: sql(rows) }));

fn sql(rows: usize) -> String {
    let row = |index: usize| {
        let [job, name, lane, change, from, to, token, worker, cause, reason, by] =
            std::array::from_fn::<_, VALUES, _>(|value| 2 + value + index * VALUES);
        format!(
            "(?1, ?{job}, ?{name}, ?{lane}, ?{change}, ?{from}, ?{to}, ?{token}, ?{worker}, \
             ?{cause}, ?{reason}, ?{by})"
        )
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    format!(
        "INSERT INTO queuectl_event (at, job, name, lane, change, state_before, state_after, token,
                                     worker, cause, reason, by)
         VALUES {}",
        rows.join(", ")
    )
}

/// How many entries are written until the oldest are looked at.
const TRIM_EVERY: i64 = 1_000;

/// Writes what was noted, and forgets the oldest entries now and then.
pub(super) fn write(tx: &Tx<'_>, mut noted: Vec<Noted>) -> rusqlite::Result<()> {
    look_up_names(tx, &mut noted)?;
    let mut rest = noted.as_slice();
    for insert in &*INSERTS {
        if rest.len() < insert.rows {
            continue;
        }
        let mut statement = tx.prepare(&insert.sql)?;
        while let Some((some, others)) = rest.split_at_checked(insert.rows) {
            statement.clear_bindings();
            statement.raw_bind_parameter(1, tx.now.as_millis())?;
            for (index, Noted { lane, from, to, entry }) in some.iter().enumerate() {
                let mut parameter = 1 + index * VALUES;
                let mut next = |value: Option<&dyn rusqlite::ToSql>| {
                    parameter += 1;
                    value.map_or(Ok(()), |value| statement.raw_bind_parameter(parameter, value))
                };
                let (token, worker) = entry.attempt.unzip();
                next(Some(&entry.job.0))?;
                match &entry.name {
                    Named::Is(JobId::Chosen(name)) => next(Some(&name.as_str()))?,
                    _ => next(None)?,
                }
                next(Some(lane))?;
                next(Some(&(entry.change as i64)))?;
                next(from.map(row::code).as_ref().map(|state| state as _))?;
                next(to.map(row::code).as_ref().map(|state| state as _))?;
                next(token.map(|token| token.0).as_ref().map(|token| token as _))?;
                next(worker.map(|worker| worker.0).as_ref().map(|worker| worker as _))?;
                next(entry.cause.map(Cause::as_str).as_ref().map(|cause| cause as _))?;
                next(entry.reason.as_ref().map(|reason| reason as _))?;
                next(entry.by.as_ref().map(|by| by as _))?;
            }
            statement.raw_execute()?;
            rest = others;
        }
    }
    let (last, written) = (tx.last_key(), noted.len() as i64);
    match last / TRIM_EVERY > (last - written) / TRIM_EVERY {
        true => trim(tx, last, written + TRIM_EVERY),
        false => Ok(()),
    }
}

/// Finds out by which ids jobs are known: of neighbours, which are mostly told of together, at once.
fn look_up_names(tx: &Tx<'_>, noted: &mut [Noted]) -> rusqlite::Result<()> {
    let mut names =
        tx.prepare("SELECT key, name FROM queuectl_job WHERE key BETWEEN ?1 AND ?2 ORDER BY key")?;
    let in_its_row = |one: &Noted| matches!(one.entry.name, Named::InItsRow);
    let is_next = |one: &Noted, next: &Noted| {
        in_its_row(one) && in_its_row(next) && next.entry.job.0 == one.entry.job.0 + 1
    };
    for run in noted.chunk_by_mut(is_next).filter(|run| run.first().is_some_and(in_its_row)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let first = first.entry.job.0;
        let mut rows = names.query((first, last.entry.job.0))?;
        // One that is gone by now was not given a name: its row would have been asked before.
        while let Some(row) = rows.next()? {
            let job = JobKey(row.get(0)?);
            if let Some(one) = usize::try_from(job.0 - first).ok().and_then(|at| run.get_mut(at)) {
                one.entry.name = Named::Is(row::id(row, job, 1)?);
            }
        }
    }
    Ok(())
}

/// Forgets the oldest entries that are more than are to be kept, but no more than twice as many as
/// were written since the last time, so that a limit that was lowered is reached step by step.
fn trim(tx: &Tx<'_>, last: i64, written: i64) -> rusqlite::Result<()> {
    let Some(keep) = tx.catalogue.settings().event_log_count else {
        return Ok(());
    };
    let oldest: Option<i64> =
        tx.prepare("SELECT min(seq) FROM queuectl_event")?.query_row([], |row| row.get(0))?;
    let surplus = last.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    if let Some(oldest) = oldest.filter(|oldest| *oldest <= surplus) {
        let until = surplus.min(oldest + 2 * written);
        tx.execute("DELETE FROM queuectl_event WHERE seq <= ?1", [until])?;
    }
    Ok(())
}

/// The log is off from now on: what it says is no longer all that has happened.
pub(super) fn clear(tx: &Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM queuectl_event", [])?;
    Ok(())
}

/// The entries after one, oldest first; a read.
pub(super) fn events(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<JobEvent>, StoreError> {
    let mut events = connection.prepare_cached(
        "SELECT seq, at, job, name, lane, change, state_before, state_after, token, worker, cause,
                reason, by
         FROM queuectl_event WHERE seq > ?1 ORDER BY seq",
    )?;
    let lanes = read::lanes(connection)?;
    // Stepped as far as needed; a bound LIMIT would be planned anew for each value.
    let rows = events.query_map([i64::try_from(after).unwrap_or(i64::MAX)], |row| {
        let number = row.get(4)?;
        let lane = lanes.get(&number).cloned();
        event(row, lane.ok_or(rusqlite::Error::IntegralValueOutOfRange(4, number))?)
    })?;
    Ok(rows.take(limit).collect::<Result<_, _>>()?)
}

fn event(row: &Row<'_>, (queue, kind): (Name, Name)) -> rusqlite::Result<JobEvent> {
    let job = JobKey(row.get(2)?);
    Ok(JobEvent {
        seq: row.get::<_, i64>(0)?.unsigned_abs(),
        at: row::timestamp(row, 1)?,
        job,
        id: row::id(row, job, 3)?,
        queue,
        kind,
        change: row::word(row, 5, &Change::ALL)?,
        from: optional_state(row, 6)?,
        to: optional_state(row, 7)?,
        token: row.get::<_, Option<i64>>(8)?.map(Token),
        worker: row.get::<_, Option<i64>>(9)?.map(WorkerKey),
        cause: match row.get_ref(10)?.as_str_or_null()? {
            Some(_) => Some(row::cause(row, 10)?),
            None => None,
        },
        reason: row.get(11)?,
        by: row.get(12)?,
    })
}

fn optional_state(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<State>> {
    let there = row.get::<_, Option<i64>>(column)?.is_some();
    there.then(|| row::state(row, column)).transpose()
}

/// The number of the entry that was written last; a read.
pub(super) fn last(connection: &Connection) -> Result<u64, StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'queuectl_event'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0).unsigned_abs())
}
