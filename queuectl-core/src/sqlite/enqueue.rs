//! Adding jobs.

use std::collections::HashSet;
use std::sync::LazyLock;

use rusqlite::{CachedStatement, OptionalExtension, ToSql, params};

use super::dependents::{self, Terms};
use super::error::is_duplicate;
use super::expiry;
use super::line;
use super::row;
use super::transaction::Tx;
use super::unique::{self, Holder};
use crate::clock::Timestamp;
use crate::dependency::{Needs, Otherwise, Outlook};
use crate::id::{CHOSEN_KEY_MAX, JobId, JobKey, Name};
use crate::job::{Expiry, NewJob, OnConflict, Start};
use crate::state::State;
use crate::store::{Enqueued, StoreError};

pub(super) fn enqueue(tx: &mut Tx<'_>, jobs: &[&NewJob]) -> Result<Vec<Enqueued>, StoreError> {
    let mut adding = Adding { ready: None, added: Vec::with_capacity(jobs.len()) };
    for mut alike in jobs.chunk_by(|job, next| is_plain(job) == is_plain(next)) {
        let together = alike.iter().all(|job| is_plain(job));
        for insert in &INSERTS {
            if alike.len() >= insert.rows && (together || insert.rows == 1) {
                let mut statement = tx.prepare(&insert.sql)?;
                while let Some((some, rest)) = alike.split_at_checked(insert.rows) {
                    adding.insert(tx, &mut statement, some)?;
                    alike = rest;
                }
            }
        }
    }
    adding.flush_ready(tx)?;
    Ok(adding.added)
}

/// Whether a job takes the next number and depends on no other: one statement can add several, and
/// nothing in the store refuses one.
pub(super) fn is_plain(job: &NewJob) -> bool {
    job.id.is_none() && job.unique_key.is_none() && job.after.is_empty()
}

/// A statement that adds so many jobs. What SQLite does once for each statement is two fifths of what
/// it costs to add one.
struct Insert {
    rows: usize,
    sql: LazyLock<String>,
}

/// The largest first.
static INSERTS: [Insert; 3] = [
    Insert { rows: 64, sql: LazyLock::new(|| insert_sql(64)) },
    Insert { rows: 8, sql: LazyLock::new(|| insert_sql(8)) },
    Insert { rows: 1, sql: LazyLock::new(|| insert_sql(1)) },
];

/// The columns that [`NewRow::bind`] gives, in its order.
const COLUMNS: [&str; 20] = [
    "key",
    "state",
    "lane",
    "priority",
    "max_attempts",
    "created_at",
    "updated_at",
    "run_at",
    "run_boot",
    "expires_at",
    "expires_boot",
    "blockers",
    "name",
    "unique_key",
    "unique_states",
    "concurrency_key",
    "timeout_ms",
    "backoff",
    "tags",
    "payload",
];

fn insert_sql(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS.len()].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT INTO queuectl_job ({}) VALUES {values}", COLUMNS.join(", "))
}

/// What has been added so far.
struct Adding {
    /// The newest of them with consecutive numbers that can be claimed, not yet in their line: one
    /// statement puts them there.
    ready: Option<(JobKey, JobKey)>,
    added: Vec<Enqueued>,
}

impl Adding {
    /// Adds the jobs by the statement that adds as many.
    fn insert(
        &mut self,
        tx: &mut Tx<'_>,
        statement: &mut CachedStatement<'_>,
        jobs: &[&NewJob],
    ) -> Result<(), StoreError> {
        // Nobody else writes meanwhile, so a look is enough; the unique index is the guard.
        if let [job @ NewJob { unique_key: Some(unique_key), .. }] = jobs
            && let Some(answer) = self.instead(tx, job, unique_key)?
        {
            self.added.push(answer);
            return Ok(());
        }
        statement.clear_bindings();
        let mut rows = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            let row = NewRow::of(tx, job)?;
            row.bind(tx, statement, index * COLUMNS.len())?;
            rows.push(row);
        }
        match statement.raw_execute() {
            Ok(_) => {}
            Err(error) if is_duplicate(&error) => {
                let id = jobs.iter().find_map(|job| job.id.clone());
                return Err(StoreError::DuplicateId(id.unwrap_or(JobId::Auto(JobKey(0)))));
            }
            Err(error) => return Err(error.into()),
        }
        // Those that are added together have consecutive numbers.
        let first = tx.last_key() + 1 - rows.len() as i64;
        for (key, row) in (first..).map(JobKey).zip(rows) {
            self.note(tx, key, row)?;
        }
        Ok(())
    }

    /// The answer for the job that holds the key, if one does.
    fn instead(
        &mut self,
        tx: &mut Tx<'_>,
        new: &NewJob,
        unique_key: &str,
    ) -> Result<Option<Enqueued>, StoreError> {
        let Some(mut holder) = unique::holder(tx, unique_key)? else {
            return Ok(None);
        };
        // What stands ready may be the very job.
        self.flush_ready(tx)?;
        if !holder.state.is_terminal() && !holder.runs && expiry::has_expired(tx, holder.key)? {
            expiry::expire_all(tx, &[holder.key])?;
            match unique::holder(tx, unique_key)? {
                Some(cancelled) => holder = cancelled,
                None => return Ok(None),
            }
        }
        let changed = change(tx, &holder, new)?;
        Ok(Some(Enqueued { id: holder.id, key: holder.key, created: false, changed }))
    }

    /// Does for a job that has its row now what else is to be done.
    fn note(&mut self, tx: &mut Tx<'_>, key: JobKey, row: NewRow<'_>) -> Result<(), StoreError> {
        tx.count(row.lane, row.state, 1);
        match row.state {
            State::Pending if row.times.due => self.make_ready(tx, key)?,
            State::Pending => line::make_due(tx, key)?,
            _ => {}
        }
        if row.job.expiry.is_some() {
            expiry::note(tx, key)?;
        }
        if row.job.unique_key.is_some() {
            unique::begin_period(tx, key, &row.job.unique_scope)?;
        }
        for (parent, terms) in row.waiting.parents {
            tx.execute(
                "INSERT INTO queuectl_dependency (parent, child, condition, needs, otherwise, lost)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    parent.0,
                    key.0,
                    terms.on as i64,
                    terms.needs as i64,
                    terms.otherwise as i64,
                    terms.lost,
                ],
            )?;
        }
        if let Some(reason) = row.waiting.in_vain {
            dependents::cancel(tx, key, &reason)?;
        }
        let id = row.job.id.clone().unwrap_or(JobId::Auto(key));
        self.added.push(Enqueued { id, key, created: true, changed: false });
        Ok(())
    }

    fn make_ready(&mut self, tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
        match &mut self.ready {
            Some((_, last)) if last.0 + 1 == key.0 => *last = key,
            _ => {
                self.flush_ready(tx)?;
                self.ready = Some((key, key));
            }
        }
        Ok(())
    }

    fn flush_ready(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.ready.take().map_or(Ok(()), |(first, last)| line::make_ready(tx, first, last))
    }
}

/// When a job may run and when it expires, as it will stand in its row.
struct Times {
    run_at: Timestamp,
    run_boot: Option<i64>,
    due: bool,
    expires_at: Option<i64>,
    expires_boot: Option<i64>,
}

impl Times {
    /// As a job asks for them that is in this state.
    fn of(tx: &Tx<'_>, job: &NewJob, state: State) -> Self {
        let (run_at, run_boot) = match job.start {
            Start::Now => (tx.now, None),
            Start::In(delay) => (tx.now + delay, Some((tx.boot + delay).as_millis())),
            Start::At(moment) => (moment, None),
        };
        // What is due stays due, wherever the clocks go: among what is ready, or while it is blocked
        // by a reading of the boot clock that has always passed.
        let due = run_at <= tx.now;
        let run_boot = match state {
            State::Blocked if due => Some(0),
            _ => run_boot.filter(|_| !due),
        };
        let (expires_at, expires_boot) = match job.expiry {
            None => (None, None),
            Some(Expiry::In(time)) => {
                (Some((tx.now + time).as_millis()), Some((tx.boot + time).as_millis()))
            }
            Some(Expiry::At(moment)) => (Some(moment.as_millis()), None),
        };
        Times { run_at, run_boot, due, expires_at, expires_boot }
    }
}

/// A job as it will stand in its row.
struct NewRow<'a> {
    job: &'a NewJob,
    lane: i64,
    state: State,
    waiting: Waiting,
    times: Times,
}

impl<'a> NewRow<'a> {
    fn of(tx: &mut Tx<'_>, job: &'a NewJob) -> Result<Self, StoreError> {
        let lane = tx.lane_of(&job.queue, &job.kind)?;
        let waiting = match job.after.is_empty() {
            true => Waiting::default(),
            false => Waiting::of(tx, job)?,
        };
        let state = match waiting {
            Waiting { blockers: 0, in_vain: None, .. } => State::Pending,
            _ => State::Blocked,
        };
        Ok(NewRow { job, lane, state, waiting, times: Times::of(tx, job, state) })
    }

    /// Binds the values after so many others. What is not bound is NULL.
    fn bind(
        &self,
        tx: &Tx<'_>,
        statement: &mut CachedStatement<'_>,
        after: usize,
    ) -> Result<(), StoreError> {
        let job = self.job;
        let (key, name) = match &job.id {
            None => (None, None),
            Some(JobId::Auto(key)) => {
                never_given(tx, *key)?;
                (Some(key.0), None)
            }
            Some(JobId::Chosen(name)) => (None, Some(name.as_str())),
        };
        let retries = job.max_retries.unwrap_or(tx.catalogue.settings().max_retries);
        let mut column = after;
        let mut next = |value: Option<&dyn ToSql>| {
            column += 1;
            value.map_or(Ok(()), |value| statement.raw_bind_parameter(column, value))
        };
        next(key.as_ref().map(|key| key as _))?;
        next(Some(&row::code(self.state)))?;
        next(Some(&self.lane))?;
        next(Some(&job.priority))?;
        next(Some(&retries.saturating_add(1)))?;
        next(Some(&tx.now.as_millis()))?;
        next(Some(&tx.now.as_millis()))?;
        next(Some(&self.times.run_at.as_millis()))?;
        next(self.times.run_boot.as_ref().map(|at| at as _))?;
        next(self.times.expires_at.as_ref().map(|at| at as _))?;
        next(self.times.expires_boot.as_ref().map(|at| at as _))?;
        next(Some(&self.waiting.blockers))?;
        next(name.as_ref().map(|name| name as _))?;
        let unique_states = job.unique_key.as_ref().map(|_| unique::states(&job.unique_scope));
        next(job.unique_key.as_ref().map(|key| key as _))?;
        next(unique_states.as_ref().map(|states| states as _))?;
        next(job.concurrency_key.as_ref().map(|key| key as _))?;
        next(job.timeout.map(row::millis).as_ref().map(|timeout| timeout as _))?;
        next(job.backoff.as_ref().map(ToString::to_string).as_ref().map(|text| text as _))?;
        next(row::tags_text(&job.tags).as_ref().map(|tags| tags as _))?;
        next(Some(&job.payload.as_str()))?;
        Ok(())
    }
}

/// Refuses a number that was given to a job before, also if that job is gone: a worker may still hold
/// a lease of it, and the numbers of its claims would begin again.
fn never_given(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    // After the largest number that SQLite has, no job could ever be added again.
    if !(1..=CHOSEN_KEY_MAX).contains(&key.0) {
        return Err(StoreError::NumberOutOfRange(JobId::Auto(key)));
    }
    let newest: Option<i64> = tx
        .prepare("SELECT seq FROM sqlite_sequence WHERE name = 'queuectl_job'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if newest.is_none_or(|newest| key.0 > newest) {
        return Ok(());
    }
    let taken = tx.prepare("SELECT 1 FROM queuectl_job WHERE key = ?1")?.exists([key.0])?;
    let id = JobId::Auto(key);
    Err(if taken { StoreError::DuplicateId(id) } else { StoreError::NumberGiven(id) })
}

/// Does to the job that holds the key of a new one what that asks for, if it still can be done; says
/// whether it did.
fn change(tx: &mut Tx<'_>, holder: &Holder, new: &NewJob) -> Result<bool, StoreError> {
    let fresh = matches!(holder.state, State::Pending | State::Blocked)
        && !holder.runs
        && holder.attempts == 0;
    if new.on_conflict == OnConflict::Keep || !fresh || !is_of_kind(tx, holder.lane, &new.kind) {
        return Ok(false);
    }
    if new.on_conflict.replaces() {
        tx.execute(
            "UPDATE queuectl_job SET payload = ?2, updated_at = ?3 WHERE key = ?1",
            (holder.key.0, new.payload.as_str(), tx.now.as_millis()),
        )?;
    }
    if new.on_conflict.moves() {
        let times = Times::of(tx, new, holder.state);
        line::leave(tx, holder.key)?;
        expiry::forget(tx, holder.key)?;
        tx.execute(
            "UPDATE queuectl_job
             SET run_at = ?2, run_boot = ?3, updated_at = ?4,
                 expires_boot = iif(?5 IS NULL, expires_boot, ?6), expires_at = ifnull(?5, expires_at)
             WHERE key = ?1",
            params![
                holder.key.0,
                times.run_at.as_millis(),
                times.run_boot,
                tx.now.as_millis(),
                times.expires_at,
                times.expires_boot,
            ],
        )?;
        expiry::note(tx, holder.key)?;
        match holder.state {
            State::Pending if times.due => line::make_ready(tx, holder.key, holder.key)?,
            State::Pending => line::make_due(tx, holder.key)?,
            _ => {}
        }
    }
    Ok(true)
}

fn is_of_kind(tx: &Tx<'_>, lane: i64, kind: &Name) -> bool {
    tx.catalogue.lanes().iter().any(|known| known.lane == lane && known.kind == *kind)
}

/// What a new job has to wait for.
#[derive(Default)]
struct Waiting {
    parents: Vec<(JobKey, Terms)>,
    /// How many of them may still end as the job waits for.
    blockers: i64,
    /// They have ended otherwise, and the job is cancelled for this reason.
    in_vain: Option<String>,
}

impl Waiting {
    fn of(tx: &Tx<'_>, job: &NewJob) -> Result<Self, StoreError> {
        let NewJob { needs, otherwise, .. } = *job;
        let mut seen = HashSet::with_capacity(job.after.len());
        let (mut waiting, mut met, mut lost) = (Waiting::default(), false, None);
        for after in &job.after {
            let Some((key, state)) = find(tx, &after.job)? else {
                let itself = job.id.as_ref() == Some(&after.job);
                let missing = if itself { StoreError::Cycle } else { StoreError::NotFound };
                return Err(missing(after.job.clone()));
            };
            if !seen.insert(key) {
                continue;
            }
            let outlook = Outlook::of(after.on, otherwise, state);
            match outlook {
                Outlook::Met => met = true,
                Outlook::Open => waiting.blockers += 1,
                Outlook::Lost => lost = lost.or(Some((&after.job, state))),
            }
            if outlook == Outlook::Open || (outlook == Outlook::Lost && needs == Needs::Any) {
                let lost = outlook == Outlook::Lost;
                waiting.parents.push((key, Terms { on: after.on, needs, otherwise, lost }));
            }
        }
        let waits = waiting.blockers > 0;
        match (needs, lost) {
            (Needs::Any, _) if met => Ok(Waiting::default()),
            (Needs::Any, Some(_)) if waits => Ok(waiting),
            (Needs::Any, Some(_)) if otherwise == Otherwise::Run => Ok(Waiting::default()),
            (Needs::All, Some(_)) if otherwise == Otherwise::Run => Ok(waiting),
            (_, Some((parent, state))) => {
                let in_vain = Some(dependents::reason(parent, Some(state)));
                Ok(Waiting { in_vain, ..Waiting::default() })
            }
            (_, None) => Ok(waiting),
        }
    }
}

/// A job's number and state.
pub(super) fn find(tx: &Tx<'_>, id: &JobId) -> Result<Option<(JobKey, State)>, StoreError> {
    let read = |row: &rusqlite::Row<'_>| Ok((JobKey(row.get(0)?), row::state(row, 1)?));
    let found = match id {
        JobId::Auto(key) => tx
            .prepare(
                "SELECT job.key, iif(lease.key IS NULL, state, 2) FROM queuectl_job AS job
                 LEFT JOIN queuectl_lease AS lease USING (key)
                 WHERE job.key = ?1 AND name IS NULL",
            )?
            .query_row([key.0], read),
        JobId::Chosen(name) => tx
            .prepare(
                "SELECT job.key, iif(lease.key IS NULL, state, 2) FROM queuectl_job AS job
                 LEFT JOIN queuectl_lease AS lease USING (key)
                 WHERE name = ?1",
            )?
            .query_row([name.as_str()], read),
    };
    Ok(found.optional()?)
}
