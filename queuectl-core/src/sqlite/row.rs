//! How the values of the model stand in columns, and how they are read back.

use std::num::NonZeroU32;
use std::time::Duration;

use rusqlite::Row;
use rusqlite::types::Type;

use crate::attempt::Cause;
use crate::backoff::BackoffPolicy;
use crate::clock::Timestamp;
use crate::dependency::{Needs, Otherwise};
use crate::id::{Fingerprint, JobId, JobKey, Name, Token, WorkerKey};
use crate::job::{Job, Json};
use crate::limits::{QueueLimits, Rate, Weight};
use crate::state::State;

pub(super) const COMPLETED: i64 = code(State::Completed);

/// The number of a state: its place in [`State::ALL`].
pub(super) const fn code(state: State) -> i64 {
    state as i64
}

/// The state in a column.
pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    word(row, column, &State::ALL)
}

/// One of a few words, which stands in a column by its place among them.
pub(super) fn word<T: Copy>(row: &Row<'_>, column: usize, words: &[T]) -> rusqlite::Result<T> {
    let code: i64 = row.get(column)?;
    usize::try_from(code)
        .ok()
        .and_then(|index| words.get(index).copied())
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

/// The name in a column.
pub(super) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<Name> {
    let text = row.get_ref(column)?.as_str()?;
    Name::new(text).map_err(|error| invalid(column, error))
}

/// The name in a column, if there is one.
fn optional_name(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Name>> {
    row.get_ref(column)?.as_str_or_null()?.map(|_| name(row, column)).transpose()
}

/// The id of a job of this number, with the name it was given in a column, if it was.
pub(super) fn id(row: &Row<'_>, key: JobKey, column: usize) -> rusqlite::Result<JobId> {
    if row.get_ref(column)?.as_str_or_null()?.is_none() {
        Ok(JobId::Auto(key))
    } else {
        name(row, column).map(JobId::Chosen)
    }
}

pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

pub(super) fn optional_timestamp(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

pub(super) fn optional_duration(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Duration>> {
    let millis: Option<i64> = row.get(column)?;
    Ok(millis.map(|millis| Duration::from_millis(millis.unsigned_abs())))
}

pub(super) fn optional_backoff(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<BackoffPolicy>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(|text| text.parse().map_err(|error| invalid(column, error))).transpose()
}

/// The limits of a queue, in four columns. What is out of range, because somebody else wrote it, limits
/// nothing.
pub(super) fn limits(row: &Row<'_>, first: usize) -> rusqlite::Result<QueueLimits> {
    let period = optional_duration(row, first + 3)?;
    let rate = optional_number(row, first + 2)?
        .zip(period)
        .and_then(|(starts, period)| Rate::new(starts, period).ok());
    let (concurrency, per_key) = (optional_number(row, first)?, optional_number(row, first + 1)?);
    Ok(QueueLimits { concurrency, per_key, rate })
}

/// The weight of a queue. One that is out of range counts as none.
pub(super) fn optional_weight(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Weight>> {
    let weight = optional_number(row, column)?;
    Ok(weight.and_then(|weight| Weight::new(weight.get()).ok()))
}

/// A number of something. One that is out of range counts as none.
pub(super) fn optional_number(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<NonZeroU32>> {
    let number: Option<i64> = row.get(column)?;
    Ok(number.and_then(|n| u32::try_from(n).ok()).and_then(NonZeroU32::new))
}

pub(super) fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Json> {
    row.get(column).map(Json::from_store)
}

/// Whole milliseconds, rounded up so that nothing happens too early.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// Tags as they stand in their column: a JSON array, or nothing.
pub(super) fn tags_text(tags: &[Name]) -> Option<String> {
    let quoted = |tag: &Name| format!("\"{tag}\"");
    (!tags.is_empty())
        .then(|| format!("[{}]", tags.iter().map(quoted).collect::<Vec<_>>().join(",")))
}

fn tags(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Name>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => serde_json::from_str(text).map_err(|error| invalid(column, error)),
        None => Ok(Vec::new()),
    }
}

/// The columns that [`job`] reads, in its order, and where they are from: a job and who holds it.
pub(super) const JOB: &str = "job.key, iif(lease.key IS NULL, state, 2) AS state_now, job.lane, \
     priority, ifnull(lease.token, job.token), attempts + (lease.key IS NOT NULL) AS attempts_now, \
     max_attempts, lease.worker, created_at, \
     max(updated_at, ifnull(lease.started_at, updated_at)) AS updated_now, run_at, \
     ifnull(lease.started_at, job.started_at), finished_at, name, unique_key, timeout_ms, backoff, \
     tags, ifnull(lease.cancel_reason, job.cancel_reason), last_error, result, progress, payload, \
     expires_at, unique_states, \
     iif(abs(unique_states) & 128, (SELECT until_at FROM queuectl_period AS period \
                                    WHERE period.job = job.key), NULL), concurrency_key, \
     iif(state = 5, (SELECT failure FROM queuectl_dead AS dead \
                     WHERE (dead.at, dead.job) = (finished_at, job.key)), NULL), \
     iif(ifnull(lease.cancel_reason, job.cancel_reason) IS NULL, NULL, \
         (SELECT cancelled_by FROM queuectl_aside AS aside WHERE aside.job = job.key)), \
     (SELECT batch.name FROM queuectl_dependency AS member \
      JOIN queuectl_batch AS batch ON batch.batch = -member.child \
      WHERE member.parent = job.key AND member.child < 0), \
     (SELECT max_crashes FROM queuectl_aside AS aside WHERE aside.job = job.key) \
     FROM queuectl_job AS job LEFT JOIN queuectl_lease AS lease USING (key)";

/// A whole job from [`JOB`], but for the jobs it waits for.
pub(super) fn job(
    row: &Row<'_>,
    lane: impl Fn(i64) -> Option<(Name, Name)>,
) -> rusqlite::Result<Job> {
    let key = JobKey(row.get(0)?);
    let number = row.get(2)?;
    let (queue, kind) = lane(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, number))?;
    Ok(Job {
        key,
        state: state(row, 1)?,
        queue,
        kind,
        priority: row.get(3)?,
        token: Token(row.get(4)?),
        attempts: row.get(5)?,
        max_attempts: row.get(6)?,
        max_crashes: optional_number(row, 30)?,
        worker: row.get::<_, Option<i64>>(7)?.map(WorkerKey),
        created_at: timestamp(row, 8)?,
        updated_at: timestamp(row, 9)?,
        run_at: timestamp(row, 10)?,
        started_at: optional_timestamp(row, 11)?,
        finished_at: optional_timestamp(row, 12)?,
        id: id(row, key, 13)?,
        unique_key: row.get(14)?,
        timeout: optional_duration(row, 15)?,
        backoff: optional_backoff(row, 16)?,
        tags: tags(row, 17)?,
        batch: optional_name(row, 29)?,
        waits_for: Vec::new(),
        waits_for_batches: Vec::new(),
        needs: Needs::All,
        otherwise: Otherwise::Wait,
        cancel_reason: row.get(18)?,
        last_error: row.get(19)?,
        result: row.get::<_, Option<String>>(20)?.map(Json::from_store),
        progress: row.get::<_, Option<String>>(21)?.map(Json::from_store),
        payload: json(row, 22)?,
        expires_at: optional_timestamp(row, 23)?,
        unique_while: states(row, 24)?,
        unique_until: optional_timestamp(row, 25)?,
        concurrency_key: row.get(26)?,
        failure: row.get::<_, Option<i64>>(27)?.map(Fingerprint),
        cancelled_by: row.get(28)?,
    })
}

/// The cause in a column.
pub(super) fn cause(row: &Row<'_>, column: usize) -> rusqlite::Result<Cause> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| invalid(column, error))
}

/// The states in which a job holds its unique key.
fn states(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<State>> {
    let bits = row.get::<_, Option<i64>>(column)?.unwrap_or(0).abs();
    Ok(State::ALL.into_iter().filter(|&state| bits >> code(state) & 1 == 1).collect())
}

pub(super) fn invalid(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
