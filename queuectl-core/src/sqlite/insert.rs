//! The statements that add the rows of jobs.
//!
//! They are OR FAIL, as are those that write many rows to claim or settle. By default SQLite keeps the pages
//! that such a statement changes, in a file if they are many, so that it can take back a statement that fails
//! halfway and nothing else. Here whatever fails takes back more than its statement, so that would be in vain.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, OptionalExtension, ToSql};

use super::error::is_duplicate;
use super::row;
use super::transaction::Tx;
use super::unique;
use super::waiting::Waiting;
use crate::clock::Timestamp;
use crate::id::{CHOSEN_KEY_MAX, JobId, JobKey};
use crate::job::{Expiry, NewJob, Start};
use crate::state::State;
use crate::store::StoreError;

/// How a job can be added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With others in one statement that knows only the columns that every job has.
    Usual,
    /// With others in one statement: it takes the next number and waits for no other, and nothing in
    /// the store refuses it.
    Plain,
    /// By itself.
    Single,
}

impl Form {
    pub(super) fn of(job: &NewJob) -> Self {
        // Each field is named, so that the compiler asks about a new one.
        let NewJob {
            queue: _,
            kind: _,
            payload: _,
            priority: _,
            max_retries: _,
            unique_scope: _,
            on_conflict: _,
            needs: _,
            otherwise: _,
            id,
            unique_key,
            after,
            after_batches,
            batch,
            max_crashes,
            start,
            expiry,
            concurrency_key,
            timeout,
            backoff,
            tags,
        } = job;
        let waits = !after.is_empty() || !after_batches.is_empty();
        if id.is_some() || unique_key.is_some() || waits || batch.is_some() {
            Form::Single
        } else if *start == Start::Now
            && expiry.is_none()
            && concurrency_key.is_none()
            && timeout.is_none()
            && backoff.is_none()
            && max_crashes.is_none()
            && tags.is_empty()
        {
            Form::Usual
        } else {
            Form::Plain
        }
    }

    /// The statements that add so many jobs of this form, the largest first.
    pub(super) fn inserts(self) -> &'static [Insert] {
        match self {
            Form::Usual => &*USUAL,
            Form::Plain => &*ANY,
            Form::Single => ANY.last_chunk::<1>().map_or(&[], |single| single),
        }
    }
}

/// A statement that adds so many jobs. What SQLite does once for each statement is two fifths of what
/// it costs to add one.
pub(super) struct Insert {
    pub(super) rows: usize,
    pub(super) sql: String,
}

const ROWS: [usize; 3] = [64, 8, 1];

static USUAL: LazyLock<[Insert; 3]> =
    LazyLock::new(|| ROWS.map(|rows| Insert { rows, sql: Usual::sql(rows) }));
static ANY: LazyLock<[Insert; 3]> =
    LazyLock::new(|| ROWS.map(|rows| Insert { rows, sql: NewRow::sql(rows) }));

/// A job with nothing but the usual, as it will stand in its row. What SQLite would do to bind and copy
/// a dozen columns that are NULL is a quarter of what it costs to add one.
pub(super) struct Usual<'a> {
    pub(super) job: &'a NewJob,
    pub(super) lane: i64,
}

impl Usual<'_> {
    /// The first parameter is the time, which is the same for all; each row has [`VALUES`](Self::VALUES)
    /// of its own.
    fn sql(rows: usize) -> String {
        let row = |index| {
            let [lane, priority, max_attempts, payload] =
                [2, 3, 4, 5].map(|parameter| parameter + index * Self::VALUES);
            format!("(0, ?{lane}, ?{priority}, ?{max_attempts}, ?1, ?1, ?1, ?{payload})")
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!(
            "INSERT OR FAIL INTO queuectl_job (state, lane, priority, max_attempts, created_at, updated_at,
                                       run_at, payload)
             VALUES {}",
            rows.join(", ")
        )
    }

    const VALUES: usize = 4;

    /// Adds as many rows as the statement has; gives the number of the first, which those of the
    /// others follow.
    pub(super) fn insert(
        tx: &Tx<'_>,
        statement: &mut CachedStatement<'_>,
        rows: &[Self],
    ) -> Result<JobKey, StoreError> {
        statement.raw_bind_parameter(1, tx.now.as_millis())?;
        for (index, Usual { job, lane }) in rows.iter().enumerate() {
            let first = 2 + index * Self::VALUES;
            statement.raw_bind_parameter(first, lane)?;
            statement.raw_bind_parameter(first + 1, job.priority)?;
            statement.raw_bind_parameter(first + 2, max_attempts(tx, job))?;
            statement.raw_bind_parameter(first + 3, job.payload.as_str())?;
        }
        statement.raw_execute()?;
        Ok(JobKey(tx.last_key() + 1 - rows.len() as i64))
    }
}

fn max_attempts(tx: &Tx<'_>, job: &NewJob) -> u32 {
    let of_kind = || tx.catalogue.policy(&job.kind).and_then(|policy| policy.max_retries);
    let retries = job.max_retries.or_else(of_kind);
    retries.unwrap_or(tx.catalogue.settings().max_retries).saturating_add(1)
}

/// A job as it will stand in its row.
pub(super) struct NewRow<'a> {
    pub(super) job: &'a NewJob,
    pub(super) lane: i64,
    pub(super) state: State,
    pub(super) waiting: Waiting,
    pub(super) times: Times,
}

impl<'a> NewRow<'a> {
    pub(super) fn of(tx: &mut Tx<'_>, job: &'a NewJob) -> Result<Self, StoreError> {
        let lane = tx.lane_of(&job.queue, &job.kind)?;
        let waiting = Waiting::of(tx, job)?;
        let state = match waiting {
            Waiting { blockers: 0, in_vain: None, .. } => State::Pending,
            _ => State::Blocked,
        };
        Ok(NewRow { job, lane, state, waiting, times: Times::of(tx, job, state) })
    }

    /// Whether it can be claimed as well as others that are added now, so that it can stand in one run
    /// with them.
    pub(super) fn is_run_now(&self, tx: &Tx<'_>) -> bool {
        let job = self.job;
        self.times.run_at == tx.now && job.expiry.is_none() && job.concurrency_key.is_none()
    }

    fn sql(rows: usize) -> String {
        let row = format!("({})", ["?"; COLUMNS.len()].join(", "));
        let values = vec![row; rows].join(", ");
        format!("INSERT OR FAIL INTO queuectl_job ({}) VALUES {values}", COLUMNS.join(", "))
    }

    /// Adds as many rows as the statement has; gives the number of the first, which those of the
    /// others follow.
    pub(super) fn insert(
        tx: &Tx<'_>,
        statement: &mut CachedStatement<'_>,
        rows: &[Self],
    ) -> Result<JobKey, StoreError> {
        statement.clear_bindings();
        for (index, row) in rows.iter().enumerate() {
            row.bind(tx, statement, index * COLUMNS.len())?;
        }
        match statement.raw_execute() {
            Ok(_) => Ok(JobKey(tx.last_key() + 1 - rows.len() as i64)),
            Err(error) if is_duplicate(&error) => {
                let id = rows.iter().find_map(|row| row.job.id.clone());
                Err(StoreError::DuplicateId(id.unwrap_or(JobId::Auto(JobKey(0)))))
            }
            Err(error) => Err(error.into()),
        }
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
        let mut column = after;
        let mut next = |value: Option<&dyn ToSql>| {
            column += 1;
            value.map_or(Ok(()), |value| statement.raw_bind_parameter(column, value))
        };
        next(key.as_ref().map(|key| key as _))?;
        next(Some(&row::code(self.state)))?;
        next(Some(&self.lane))?;
        next(Some(&job.priority))?;
        next(Some(&max_attempts(tx, job)))?;
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

/// When a job may run and when it expires, as it will stand in its row.
pub(super) struct Times {
    pub(super) run_at: Timestamp,
    pub(super) run_boot: Option<i64>,
    pub(super) due: bool,
    pub(super) expires_at: Option<i64>,
    pub(super) expires_boot: Option<i64>,
}

impl Times {
    /// As a job asks for them that is in this state.
    pub(super) fn of(tx: &Tx<'_>, job: &NewJob, state: State) -> Self {
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
