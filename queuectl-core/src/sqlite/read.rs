//! What can be seen of a store. Each function is one short query or two; nothing is held open.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::dependents::Terms;
use super::row;
use crate::attempt::{Attempt, Captured, Report};
use crate::clock::Timestamp;
use crate::dependency::{After, AfterBatch};
use crate::id::{Fingerprint, JobId, JobKey, Name, Token, WorkerKey};
use crate::job::Job;
use crate::state::State;
use crate::store::{JobQuery, LaneCounts, QueueInfo, Sort, StoreError};

type Lanes = HashMap<i64, (Name, Name)>;

/// Every lane's queue and kind.
pub(super) fn lanes(connection: &Connection) -> Result<Lanes, StoreError> {
    let mut lanes = connection.prepare_cached(
        "SELECT lane, queuectl_queue.name, kind
         FROM queuectl_lane JOIN queuectl_queue USING (queue)",
    )?;
    let lanes =
        lanes.query_map([], |row| Ok((row.get(0)?, (row::name(row, 1)?, row::name(row, 2)?))))?;
    Ok(lanes.collect::<Result<_, _>>()?)
}

pub(super) fn job(connection: &Connection, id: &JobId) -> Result<Option<Job>, StoreError> {
    let key = match id {
        JobId::Auto(key) => *key,
        JobId::Chosen(name) => {
            let key = connection
                .prepare_cached("SELECT key FROM queuectl_job WHERE name = ?1")?
                .query_row([name.as_str()], |row| row.get(0))
                .optional()?;
            match key {
                Some(key) => JobKey(key),
                None => return Ok(None),
            }
        }
    };
    let lanes = lanes(connection)?;
    let sql = format!("SELECT {} WHERE job.key = ?1", row::JOB);
    let job = connection
        .prepare_cached(&sql)?
        .query_row([key.0], |row| row::job(row, |lane| lanes.get(&lane).cloned()))
        .optional()?;
    // The number of a job that was given a name is not its id.
    let Some(mut job) = job.filter(|job| job.id == *id) else {
        return Ok(None);
    };
    if job.state == State::Blocked {
        read_parents(connection, &mut job)?;
    }
    Ok(Some(job))
}

/// What a blocked job waits for.
fn read_parents(connection: &Connection, job: &mut Job) -> Result<(), StoreError> {
    let mut parents = connection.prepare_cached(
        "SELECT key, name, condition, needs, otherwise, lost
         FROM queuectl_dependency JOIN queuectl_job ON key = parent
         WHERE child = ?1 ORDER BY parent",
    )?;
    let mut rows = parents.query([job.key.0])?;
    while let Some(row) = rows.next()? {
        let parent = row::id(row, JobKey(row.get(0)?), 1)?;
        let terms = Terms::read(row, 2)?;
        (job.needs, job.otherwise) = (terms.needs, terms.otherwise);
        if !terms.lost {
            job.waits_for.push(After { job: parent, on: terms.on });
        }
    }
    let mut batches = connection.prepare_cached(
        "SELECT name, condition, needs, otherwise, lost
         FROM queuectl_dependency JOIN queuectl_batch ON batch = -parent
         WHERE child = ?1 AND parent < 0 ORDER BY parent",
    )?;
    let mut rows = batches.query([job.key.0])?;
    while let Some(row) = rows.next()? {
        let batch = row::name(row, 0)?;
        let terms = Terms::read(row, 1)?;
        (job.needs, job.otherwise) = (terms.needs, terms.otherwise);
        if !terms.lost {
            job.waits_for_batches.push(AfterBatch { batch, on: terms.on });
        }
    }
    Ok(())
}

pub(super) fn jobs(connection: &Connection, query: &JobQuery) -> Result<Vec<Job>, StoreError> {
    let lanes = lanes(connection)?;
    let mut filter = Filter::default();
    if !query.states.is_empty() {
        let codes = query.states.iter().map(|&state| row::code(state));
        let notable = |state: &State| {
            matches!(state, State::Blocked | State::Failed | State::Dead | State::Cancelled)
        };
        if query.states.contains(&State::Processing) {
            filter.one_of("state_now", codes);
        } else {
            filter.one_of("state", codes);
            filter.conditions.push("lease.key IS NULL".to_owned());
        }
        if query.states.iter().all(notable) {
            // SQLite uses a partial index only where its condition is repeated.
            filter.conditions.push("(state = 1 OR state > 3)".to_owned());
        }
        if query.states == [State::Processing] {
            // They are few, however many jobs there are.
            filter.conditions.push("job.key IN (SELECT key FROM queuectl_lease)".to_owned());
        }
    }
    if query.queue.is_some() || query.kind.is_some() {
        let fits = |(queue, kind): &(Name, Name)| {
            query.queue.as_ref().is_none_or(|wanted| wanted == queue)
                && query.kind.as_ref().is_none_or(|wanted| wanted == kind)
        };
        filter.one_of(
            "job.lane",
            lanes.iter().filter(|(_, names)| fits(names)).map(|(&lane, _)| lane),
        );
    }
    if let Some(tag) = &query.tag {
        filter.and(
            "EXISTS (SELECT 1 FROM json_each(tags) WHERE json_each.value = ?)",
            Value::Text(tag.to_string()),
        );
    }
    if let Some(Fingerprint(failure)) = query.failure {
        let alike = "job.key IN (SELECT job FROM queuectl_dead WHERE failure = ?)";
        filter.and(alike, Value::Integer(failure));
    }
    if let Some(before) = query.created_before {
        filter.and("created_at < ?", Value::Integer(before.as_millis()));
    }
    if let Some(after) = query.created_after {
        filter.and("created_at >= ?", Value::Integer(after.as_millis()));
    }
    if let Some(JobKey(from)) = query.from {
        filter
            .and(if query.ascending { "job.key > ?" } else { "job.key < ?" }, Value::Integer(from));
    }
    let order = match (query.sort, query.ascending) {
        (Sort::Created, false) => "job.key DESC",
        (Sort::Created, true) => "job.key",
        (Sort::Updated, false) => "updated_now DESC, job.key DESC",
        (Sort::Updated, true) => "updated_now, job.key",
        (Sort::RunAt, false) => "run_at DESC, job.key DESC",
        (Sort::RunAt, true) => "run_at, job.key",
        (Sort::Priority, false) => "priority DESC, job.key DESC",
        (Sort::Priority, true) => "priority, job.key",
        (Sort::Attempts, false) => "attempts_now DESC, job.key DESC",
        (Sort::Attempts, true) => "attempts_now, job.key",
    };
    // Only fixed text is put together here; every value is bound.
    let sql = format!("SELECT {} {} ORDER BY {order} LIMIT ?", row::JOB, filter.clause());
    filter.values.push(Value::Integer(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    let mut jobs = connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(filter.values), |row| {
            row::job(row, |lane| lanes.get(&lane).cloned())
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for job in jobs.iter_mut().filter(|job| job.state == State::Blocked) {
        read_parents(connection, job)?;
    }
    Ok(jobs)
}

/// The conditions of a query and the values they are bound to, in step.
#[derive(Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn and(&mut self, condition: &'static str, value: Value) {
        self.conditions.push(condition.to_owned());
        self.values.push(value);
    }

    fn one_of(&mut self, column: &'static str, values: impl Iterator<Item = i64>) {
        let before = self.values.len();
        self.values.extend(values.map(Value::Integer));
        let marks = vec!["?"; self.values.len() - before].join(",");
        self.conditions.push(format!("{column} IN ({marks})"));
    }

    fn clause(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}

pub(super) fn attempts(connection: &Connection, job: JobKey) -> Result<Vec<Attempt>, StoreError> {
    let mut attempts = connection
        .prepare_cached(
            "SELECT token, number, worker, started_at, finished_at, cause, error, exit_code, signal
             FROM queuectl_attempt WHERE job = ?1 ORDER BY token",
        )?
        .query_map([job.0], |row| {
            Ok(Attempt {
                token: Token(row.get(0)?),
                number: row.get(1)?,
                worker: row.get::<_, Option<i64>>(2)?.map(WorkerKey),
                started_at: row::timestamp(row, 3)?,
                finished_at: row::optional_timestamp(row, 4)?,
                report: Some(Report {
                    error: row.get(6)?,
                    exit_code: row.get(7)?,
                    signal: row.get(8)?,
                    ..Report::new(row::cause(row, 5)?)
                }),
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    read_outputs(connection, job, &mut attempts)?;
    attempts.extend(newest(connection, job, &attempts)?);
    Ok(attempts)
}

fn read_outputs(
    connection: &Connection,
    job: JobKey,
    attempts: &mut [Attempt],
) -> Result<(), StoreError> {
    let mut outputs = connection.prepare_cached(
        "SELECT token, stream, total, incomplete, head, tail FROM queuectl_output WHERE job = ?1",
    )?;
    let mut rows = outputs.query([job.0])?;
    while let Some(row) = rows.next()? {
        let token = Token(row.get(0)?);
        let output = Captured {
            total: row.get::<_, i64>(2)?.unsigned_abs(),
            incomplete: row.get(3)?,
            head: row.get(4)?,
            tail: row.get(5)?,
        };
        let attempt = attempts.iter_mut().find(|attempt| attempt.token == token);
        if let Some(report) = attempt.and_then(|attempt| attempt.report.as_mut()) {
            match row.get(1)? {
                1 => report.stdout = output,
                _ => report.stderr = output,
            }
        }
    }
    Ok(())
}

/// The newest attempt, if it has no record of its own: it runs, or has succeeded and has nothing more
/// to say than that.
fn newest(
    connection: &Connection,
    job: JobKey,
    recorded: &[Attempt],
) -> Result<Option<Attempt>, StoreError> {
    let newest = connection
        .prepare_cached(
            "SELECT ifnull(lease.token, job.token), attempts + (lease.key IS NOT NULL),
                    ifnull(lease.worker, job.worker), ifnull(lease.started_at, job.started_at),
                    finished_at, state, lease.key IS NOT NULL
             FROM queuectl_job AS job LEFT JOIN queuectl_lease AS lease USING (key)
             WHERE job.key = ?1",
        )?
        .query_row([job.0], |row| {
            let completed = row.get::<_, i64>(5)? == row::COMPLETED;
            let runs: bool = row.get(6)?;
            let attempt = Attempt {
                token: Token(row.get(0)?),
                number: row.get(1)?,
                worker: row.get::<_, Option<i64>>(2)?.map(WorkerKey),
                started_at: row::optional_timestamp(row, 3)?.unwrap_or(Timestamp::MAX),
                finished_at: row::optional_timestamp(row, 4)?,
                report: completed.then(|| Report::new(crate::attempt::Cause::Succeeded)),
            };
            Ok((attempt, completed || runs))
        })
        .optional()?;
    let is_recorded = |token| recorded.iter().any(|attempt| attempt.token == token);
    Ok(newest
        .and_then(|(attempt, shows)| (shows && !is_recorded(attempt.token)).then_some(attempt)))
}

pub(super) fn counts(connection: &Connection) -> Result<Vec<LaneCounts>, StoreError> {
    let lanes = lanes(connection)?;
    let mut counts: Vec<(i64, LaneCounts)> = Vec::new();
    let mut kept = connection
        .prepare_cached("SELECT lane, state, n FROM queuectl_count ORDER BY lane, state")?;
    let mut rows = kept.query([])?;
    while let Some(row) = rows.next()? {
        let lane: i64 = row.get(0)?;
        if counts.last().is_none_or(|(last, _)| *last != lane) {
            let Some((queue, kind)) = lanes.get(&lane).cloned() else {
                continue;
            };
            counts.push((lane, LaneCounts { queue, kind, by_state: [0; State::ALL.len()] }));
        }
        let state = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
        if let Some((_, counts)) = counts.last_mut()
            && let Some(n) = counts.by_state.get_mut(state)
        {
            *n = row.get::<_, i64>(2)?.unsigned_abs();
        }
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(_, counts)| counts).collect();
    counts.sort_by(|a, b| (&a.queue, &a.kind).cmp(&(&b.queue, &b.kind)));
    Ok(counts)
}

pub(super) fn queues(connection: &Connection) -> Result<Vec<QueueInfo>, StoreError> {
    let mut queues = connection.prepare_cached(
        "SELECT name, paused, concurrency, per_key, rate_starts, rate_period_ms, weight
             FROM queuectl_queue ORDER BY name",
    )?;
    let queues = queues.query_map([], |row| {
        let limits = row::limits(row, 2)?;
        let weight = row::optional_weight(row, 6)?;
        Ok(QueueInfo { name: row::name(row, 0)?, paused: row.get(1)?, limits, weight })
    })?;
    Ok(queues.collect::<Result<_, _>>()?)
}

/// What each worker holds, and since when: the oldest first.
pub(super) fn running(
    connection: &Connection,
) -> Result<HashMap<WorkerKey, Vec<(JobId, Timestamp)>>, StoreError> {
    let mut running = connection.prepare_cached(
        "SELECT lease.worker, key, name, lease.started_at
         FROM queuectl_lease AS lease CROSS JOIN queuectl_job USING (key)
         ORDER BY lease.started_at, key",
    )?;
    let mut rows = running.query([])?;
    let mut by_worker: HashMap<_, Vec<_>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let id = row::id(row, JobKey(row.get(1)?), 2)?;
        by_worker.entry(WorkerKey(row.get(0)?)).or_default().push((id, row::timestamp(row, 3)?));
    }
    Ok(by_worker)
}
