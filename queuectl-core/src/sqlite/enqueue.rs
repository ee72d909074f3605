//! Adding jobs.

use rusqlite::{CachedStatement, OptionalExtension, params};

use super::aside;
use super::batch;
use super::cancelling;
use super::dependents;
use super::event::Entry;
use super::expiry;
use super::insert::{Form, NewRow, Times, Usual};
use super::line::{self, Run};
use super::row;
use super::transaction::Tx;
use super::unique::{self, Holder};
use crate::event::Change;
use crate::id::{JobId, JobKey, Name};
use crate::job::{NewJob, OnConflict};
use crate::state::State;
use crate::store::{Enqueued, StoreError};

pub(super) fn enqueue(tx: &mut Tx<'_>, jobs: &[&NewJob]) -> Result<Vec<Enqueued>, StoreError> {
    let mut adding = Adding { run: None, added: Vec::with_capacity(jobs.len()) };
    for alike in jobs.chunk_by(|job, next| Form::of(job) == Form::of(next)) {
        let form = alike.first().map_or(Form::Single, |job| Form::of(job));
        let mut rest = alike;
        for insert in form.inserts() {
            if rest.len() < insert.rows {
                continue;
            }
            let mut statement = tx.prepare(&insert.sql)?;
            while let Some((some, others)) = rest.split_at_checked(insert.rows) {
                match form {
                    Form::Usual => adding.add_usual(tx, &mut statement, some)?,
                    Form::Plain | Form::Single => adding.add(tx, &mut statement, some)?,
                }
                rest = others;
            }
        }
    }
    adding.flush(tx)?;
    Ok(adding.added)
}

/// What has been added so far.
struct Adding {
    /// The newest of them, if they can be claimed and one row says so of all: it is not written yet.
    run: Option<Run>,
    added: Vec<Enqueued>,
}

impl Adding {
    /// Adds jobs with nothing but the usual, by the statement that adds as many.
    fn add_usual(
        &mut self,
        tx: &mut Tx<'_>,
        statement: &mut CachedStatement<'_>,
        jobs: &[&NewJob],
    ) -> Result<(), StoreError> {
        let rows = jobs
            .iter()
            .map(|job| Ok(Usual { job, lane: tx.lane_of(&job.queue, &job.kind)? }))
            .collect::<Result<Vec<_>, StoreError>>()?;
        let first = Usual::insert(tx, statement, &rows)?;
        for (key, Usual { job, lane }) in (first.0..).map(JobKey).zip(rows) {
            tx.moved(lane, None, State::Pending, || Entry::of(key, Change::Added).named(None));
            let rank = line::rank_now(tx, job.priority);
            self.make_ready(tx, Run { lane, rank, first: key, last: key })?;
            self.added.push(Enqueued { id: JobId::Auto(key), key, created: true, changed: false });
        }
        Ok(())
    }

    fn make_ready(&mut self, tx: &Tx<'_>, next: Run) -> Result<(), StoreError> {
        match &mut self.run {
            Some(run) if run.goes_on_with(&next) => run.last = next.last,
            _ => {
                self.flush(tx)?;
                self.run = Some(next);
            }
        }
        Ok(())
    }

    fn flush(&mut self, tx: &Tx<'_>) -> Result<(), StoreError> {
        self.run.take().map_or(Ok(()), |run| line::make_run_ready(tx, run))
    }

    /// Adds jobs of any form, by the statement that adds as many.
    fn add(
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
        let rows =
            jobs.iter().map(|job| NewRow::of(tx, job)).collect::<Result<Vec<_>, StoreError>>()?;
        let first = NewRow::insert(tx, statement, &rows)?;
        for (key, row) in (first.0..).map(JobKey).zip(rows) {
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
        self.flush(tx)?;
        if has_ended(tx, &holder)? {
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
        tx.moved(row.lane, None, row.state, || {
            Entry::of(key, Change::Added).named(row.job.id.as_ref())
        });
        match row.state {
            State::Pending if row.is_run_now(tx) => {
                let (lane, rank) = (row.lane, line::rank_now(tx, row.job.priority));
                self.make_ready(tx, Run { lane, rank, first: key, last: key })?;
            }
            State::Pending if row.times.due => line::make_ready(tx, key)?,
            State::Pending => line::make_due(tx, key)?,
            _ => {}
        }
        if row.job.expiry.is_some() {
            expiry::note(tx, key)?;
        }
        if let Some(crashes) = row.job.max_crashes {
            aside::set_max_crashes(tx, key, crashes)?;
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
        if let Some(batch) = &row.job.batch {
            batch::join(tx, batch, key)?;
        }
        if let Some(reason) = row.waiting.in_vain {
            dependents::cancel(tx, key, &reason)?;
            dependents::ended(tx, key, State::Cancelled)?;
        }
        let id = row.job.id.clone().unwrap_or(JobId::Auto(key));
        self.added.push(Enqueued { id, key, created: true, changed: false });
        Ok(())
    }
}

/// Whether a job that held a key has ended by now: it had expired, or its batch was cancelled.
fn has_ended(tx: &mut Tx<'_>, holder: &Holder) -> Result<bool, StoreError> {
    let state = if holder.runs { State::Processing } else { holder.state };
    if state.is_terminal() || cancelling::see_to(tx, holder.key, state)?.is_terminal() {
        return Ok(!state.is_terminal());
    }
    let expired = !holder.runs && expiry::has_expired(tx, holder.key)?;
    if expired {
        expiry::expire_all(tx, &[holder.key])?;
    }
    Ok(expired)
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
            State::Pending if times.due => line::make_ready(tx, holder.key)?,
            State::Pending => line::make_due(tx, holder.key)?,
            _ => {}
        }
    }
    Ok(true)
}

fn is_of_kind(tx: &Tx<'_>, lane: i64, kind: &Name) -> bool {
    tx.catalogue.lanes().iter().any(|known| known.lane == lane && known.kind == *kind)
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
