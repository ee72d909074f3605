//! Schedules as they stand in their rows, and what operators do to them. What becomes of their ticks
//! is in [`tick`](super::tick).

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::row;
use super::transaction::Tx;
use crate::clock::{BootTime, Timestamp};
use crate::id::Name;
use crate::job::{Expiry, NewJob, OnConflict, Start, UniqueScope};
use crate::schedule::{
    Missed, Next, Overlap, Schedule, ScheduleInfo, Spec, TickOutcome, TickRecord,
};
use crate::state::State;
use crate::store::StoreError;

pub(super) fn put(tx: &Tx<'_>, schedule: &Schedule) -> Result<bool, StoreError> {
    let (cron, zone, every) = match &schedule.spec {
        Spec::Cron { expression, zone } => (Some(expression), Some(zone), None),
        Spec::Every(period) => (None, None, Some(row::millis(*period))),
    };
    let known = tx
        .prepare(
            "SELECT cron IS ?2 AND zone IS ?3 AND every_ms IS ?4, last_at
             FROM queuectl_schedule WHERE name = ?1",
        )?
        .query_row(params![schedule.name.as_str(), cron, zone, every], |row| {
            Ok((row.get::<_, bool>(0)?, row::optional_timestamp(row, 1)?))
        })
        .optional()?;
    tx.execute(
        "INSERT INTO queuectl_schedule
             (name, created_at, updated_at, paused, cron, zone, every_ms, missed, overlap, payload, job)
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (name) DO UPDATE SET
             revision = revision + 1, updated_at = ?2, paused = max(paused, ?3), cron = ?4, zone = ?5,
             every_ms = ?6, missed = ?7, overlap = ?8, payload = ?9, job = ?10,
             waiting_at = iif(?8 = 'queue-one', waiting_at, NULL)",
        params![
            schedule.name.as_str(),
            tx.now.as_millis(),
            schedule.paused,
            cron,
            zone,
            every,
            missed_text(schedule.missed),
            overlap_text(schedule.overlap),
            schedule.job.payload.as_str(),
            job_text(&schedule.job)?,
        ],
    )?;
    match known {
        Some((true, _)) => {}
        Some((false, last)) => begin_after(tx, &schedule.name, &schedule.spec, last)?,
        None => begin_after(tx, &schedule.name, &schedule.spec, None)?,
    }
    Ok(known.is_none())
}

/// Lets a schedule tick next after now, and after the last tick that was attended to.
fn begin_after(
    tx: &Tx<'_>,
    name: &Name,
    spec: &Spec,
    last: Option<Timestamp>,
) -> Result<(), StoreError> {
    let next = spec.first(last, tx.now, tx.boot);
    tx.execute(
        "UPDATE queuectl_schedule SET next_at = ?2, next_boot = ?3 WHERE name = ?1",
        (
            name.as_str(),
            next.map(|next| next.at.as_millis()),
            next.and_then(|next| next.boot).map(BootTime::as_millis),
        ),
    )?;
    Ok(())
}

pub(super) fn remove(tx: &Tx<'_>, name: &Name) -> Result<(), StoreError> {
    let number: Option<i64> = tx
        .prepare("DELETE FROM queuectl_schedule WHERE name = ?1 RETURNING schedule")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let number = number.ok_or_else(|| StoreError::NoSchedule(name.clone()))?;
    tx.execute("DELETE FROM queuectl_tick WHERE schedule = ?1", [number])?;
    Ok(())
}

pub(super) fn pause(tx: &Tx<'_>, name: &Name, paused: bool) -> Result<(), StoreError> {
    let (spec, rests, last) = tx
        .prepare(
            "SELECT cron, zone, every_ms, paused, last_at FROM queuectl_schedule WHERE name = ?1",
        )?
        .query_row([name.as_str()], |row| {
            Ok((spec(row, 0)?, row.get::<_, bool>(3)?, row::optional_timestamp(row, 4)?))
        })
        .optional()?
        .ok_or_else(|| StoreError::NoSchedule(name.clone()))?;
    if rests == paused {
        return Ok(());
    }
    tx.execute(
        "UPDATE queuectl_schedule SET revision = revision + 1, updated_at = ?2, paused = ?3
         WHERE name = ?1",
        (name.as_str(), tx.now.as_millis(), paused),
    )?;
    if paused { Ok(()) } else { begin_after(tx, name, &spec, last) }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<ScheduleInfo>, StoreError> {
    let mut schedules = connection.prepare_cached(
        "SELECT cron, zone, every_ms, name, paused, missed, overlap, payload, queuectl_schedule.job,
             created_at, updated_at, next_at, waiting_at, tick_at, at, outcome, queuectl_tick.job,
             until_at
         FROM queuectl_schedule LEFT JOIN queuectl_tick
             ON queuectl_tick.schedule = queuectl_schedule.schedule AND entry = entries
         ORDER BY name",
    )?;
    let schedules = schedules.query_map([], |row| {
        let paused = row.get(4)?;
        let schedule = Schedule {
            name: row::name(row, 3)?,
            spec: spec(row, 0)?,
            job: job(row, 7)?,
            missed: missed(row, 5)?,
            overlap: overlap(row, 6)?,
            paused,
        };
        let has_ticked = row.get_ref(13)?.as_i64_or_null()?.is_some();
        Ok(ScheduleInfo {
            schedule,
            created_at: row::timestamp(row, 9)?,
            updated_at: row::timestamp(row, 10)?,
            next: row::optional_timestamp(row, 11)?.filter(|_| !paused),
            waiting: row::optional_timestamp(row, 12)?,
            last: has_ticked.then(|| record(row, 13)).transpose()?,
        })
    })?;
    Ok(schedules.collect::<Result<_, _>>()?)
}

pub(super) fn history(connection: &Connection, name: &Name) -> Result<Vec<TickRecord>, StoreError> {
    let mut entries = connection.prepare_cached(
        "SELECT tick_at, at, outcome, job, until_at FROM queuectl_tick
         WHERE schedule = (SELECT schedule FROM queuectl_schedule WHERE name = ?1)
         ORDER BY entry DESC",
    )?;
    let entries = entries.query_map([name.as_str()], |row| record(row, 0))?;
    Ok(entries.collect::<Result<_, _>>()?)
}

/// The boot clock has begun again: intervals that it measured fall back to the wall clock, once.
pub(super) fn after_boot(connection: &Connection) -> Result<(), StoreError> {
    connection.execute("UPDATE queuectl_schedule SET next_boot = NULL", [])?;
    Ok(())
}

/// The three columns of a spec, from `column` on.
pub(super) fn spec(row: &Row<'_>, column: usize) -> rusqlite::Result<Spec> {
    match row::optional_duration(row, column + 2)? {
        Some(period) => Ok(Spec::Every(period)),
        // Not looked at once more: the time zone may be unknown on this machine, and then the schedule
        // is shown all the same.
        None => Ok(Spec::Cron { expression: row.get(column)?, zone: row.get(column + 1)? }),
    }
}

/// The two columns of when it ticks next.
pub(super) fn next(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Next>> {
    let at = row::optional_timestamp(row, column)?;
    let boot = row.get::<_, Option<i64>>(column + 1)?.map(BootTime::from_millis);
    Ok(at.map(|at| Next { at, boot }))
}

/// The columns of an entry of the history.
fn record(row: &Row<'_>, column: usize) -> rusqlite::Result<TickRecord> {
    let job = || {
        let text: String = row.get(column + 3)?;
        text.parse().map_err(|error| row::invalid(column + 3, error))
    };
    let name = row.get_ref(column + 2)?.as_str()?;
    let outcome = match name {
        "enqueued" => TickOutcome::Enqueued(job()?),
        "by_hand" => TickOutcome::ByHand(job()?),
        "exists" => TickOutcome::Exists(job()?),
        "overlapped" => TickOutcome::Overlapped,
        "waits" => TickOutcome::Waits,
        "missed" => TickOutcome::Missed { until: row::timestamp(row, column + 4)? },
        _ => return Err(unknown(column + 2, name)),
    };
    Ok(TickRecord {
        tick: row::timestamp(row, column)?,
        at: row::timestamp(row, column + 1)?,
        outcome,
    })
}

fn missed_text(missed: Missed) -> String {
    match missed {
        Missed::Skip => "skip".to_owned(),
        Missed::One => "one".to_owned(),
        Missed::All(most) => format!("all:{most}"),
    }
}

pub(super) fn missed(row: &Row<'_>, column: usize) -> rusqlite::Result<Missed> {
    let text = row.get_ref(column)?.as_str()?;
    match (text, text.strip_prefix("all:").and_then(|most| most.parse().ok())) {
        ("skip", _) => Ok(Missed::Skip),
        ("one", _) => Ok(Missed::One),
        (_, Some(most)) => Ok(Missed::All(most)),
        _ => Err(unknown(column, text)),
    }
}

fn overlap_text(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Allow => "allow",
        Overlap::Skip => "skip",
        Overlap::QueueOne => "queue-one",
    }
}

pub(super) fn overlap(row: &Row<'_>, column: usize) -> rusqlite::Result<Overlap> {
    match row.get_ref(column)?.as_str()? {
        "allow" => Ok(Overlap::Allow),
        "skip" => Ok(Overlap::Skip),
        "queue-one" => Ok(Overlap::QueueOne),
        other => Err(unknown(column, other)),
    }
}

fn unknown(column: usize, text: &str) -> rusqlite::Error {
    let said = format!("{text:?} is not known to this version");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, said.into())
}

/// What a job has besides its payload, which stands in a column of its own, to the letter.
#[derive(Serialize, Deserialize)]
struct Template {
    queue: Name,
    kind: Name,
    priority: i16,
    delay_ms: Option<i64>,
    expires_ms: Option<i64>,
    max_retries: Option<u32>,
    max_crashes: Option<NonZeroU32>,
    timeout_ms: Option<i64>,
    backoff: Option<String>,
    unique_key: Option<String>,
    unique_for_ms: Option<i64>,
    unique_while: Option<BTreeSet<State>>,
    on_conflict: String,
    concurrency_key: Option<String>,
    tags: Vec<Name>,
}

fn job_text(job: &NewJob) -> Result<String, StoreError> {
    // Each field by name, so that one that is new is not forgotten here. A schedule's job has no id, no
    // moment and nothing to wait for.
    let NewJob {
        id: _,
        queue,
        kind,
        payload: _,
        priority,
        start,
        expiry,
        max_retries,
        max_crashes,
        timeout,
        backoff,
        unique_key,
        unique_scope,
        on_conflict,
        concurrency_key,
        after: _,
        after_batches: _,
        batch: _,
        needs: _,
        otherwise: _,
        tags,
    } = job.clone();
    let (unique_for_ms, unique_while) = match unique_scope {
        UniqueScope::Living => (None, None),
        UniqueScope::For(period) => (Some(row::millis(period)), None),
        UniqueScope::While(states) => (None, Some(states)),
    };
    let template = Template {
        queue,
        kind,
        priority,
        delay_ms: match start {
            Start::In(delay) => Some(row::millis(delay)),
            Start::Now | Start::At(_) => None,
        },
        expires_ms: match expiry {
            Some(Expiry::In(after)) => Some(row::millis(after)),
            None | Some(Expiry::At(_)) => None,
        },
        max_retries,
        max_crashes,
        timeout_ms: timeout.map(row::millis),
        backoff: backoff.map(|policy| policy.to_string()),
        unique_key,
        unique_for_ms,
        unique_while,
        on_conflict: on_conflict.as_str().to_owned(),
        concurrency_key,
        tags,
    };
    serde_json::to_string(&template).map_err(|error| StoreError::Other(error.into()))
}

/// A job from the columns of its payload and of its template.
pub(super) fn job(row: &Row<'_>, column: usize) -> rusqlite::Result<NewJob> {
    let wrong = |error| row::invalid(column + 1, error);
    let template: Template =
        serde_json::from_str(row.get_ref(column + 1)?.as_str()?).map_err(wrong)?;
    let span = |millis: i64| Duration::from_millis(millis.unsigned_abs());
    let mut job = NewJob::from_json(template.kind, row::json(row, column)?);
    job.queue = template.queue;
    job.priority = template.priority;
    job.start = template.delay_ms.map_or(Start::Now, |delay| Start::In(span(delay)));
    job.expiry = template.expires_ms.map(|after| Expiry::In(span(after)));
    job.max_retries = template.max_retries;
    job.max_crashes = template.max_crashes;
    job.timeout = template.timeout_ms.map(span);
    let backoff = template.backoff.map(|text| text.parse()).transpose();
    job.backoff = backoff.map_err(|error| row::invalid(column + 1, error))?;
    job.unique_key = template.unique_key;
    job.unique_scope = match (template.unique_for_ms, template.unique_while) {
        (Some(period), _) => UniqueScope::For(span(period)),
        (None, Some(states)) => UniqueScope::While(states),
        (None, None) => UniqueScope::Living,
    };
    let known = OnConflict::ALL.into_iter().find(|one| one.as_str() == template.on_conflict);
    job.on_conflict = known.ok_or_else(|| unknown(column + 1, &template.on_conflict))?;
    job.concurrency_key = template.concurrency_key;
    job.tags = template.tags;
    Ok(job)
}
