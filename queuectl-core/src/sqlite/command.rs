//! What operators do to jobs, queues and settings.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rusqlite::params;

use super::aside;
use super::cancelling;
use super::dead;
use super::dependents;
use super::enqueue::find;
use super::event::{self, Entry, Noted};
use super::expiry;
use super::line;
use super::note;
use super::row;
use super::settle;
use super::transaction::Tx;
use super::unique;
use crate::event::Change;
use crate::id::{JobId, JobKey, Lease, Name, Token, WorkerKey};
use crate::job::Json;
use crate::settings::{Setting, Settings};
use crate::state::{Event, RefusedTransition, State, transition};
use crate::store::{Cancelled, Progress, Remark, StoreError};

/// How many jobs one prune looks at.
const PRUNE_WINDOW: i64 = 2_000;
/// How many jobs one prune deletes at most.
const PRUNE_MAX: usize = 500;

pub(super) fn cancel(
    tx: &mut Tx<'_>,
    jobs: &[JobId],
    remark: &Remark<'_>,
) -> Result<Vec<Cancelled>, StoreError> {
    // A job that is named twice is meant once, and gets the same answer twice.
    let mut answers: HashMap<&JobId, Cancelled> = HashMap::new();
    let mut ended = Vec::new();
    for id in distinct(jobs) {
        let (key, state) = found(tx, id)?;
        transition(state, Event::Cancel).map_err(|refused| wrong_state(id, refused))?;
        let answer = cancel_one(tx, key, state, remark)?;
        answers.insert(id, answer);
        ended.extend((answer == Cancelled::Now).then_some(key));
    }
    // Not before all of them are: the end of one may end another.
    ended.into_iter().try_for_each(|key| dependents::ended(tx, key, State::Cancelled))?;
    Ok(jobs.iter().filter_map(|id| answers.get(id).copied()).collect())
}

/// Each id once.
fn distinct(jobs: &[JobId]) -> impl Iterator<Item = &JobId> {
    let mut seen = HashSet::new();
    jobs.iter().filter(move |id| seen.insert(*id))
}

/// Cancels a job that is in this state, or has its worker told to stop it. Its dependents are to be told
/// if it has ended.
pub(super) fn cancel_one(
    tx: &mut Tx<'_>,
    key: JobKey,
    state: State,
    remark: &Remark<'_>,
) -> Result<Cancelled, StoreError> {
    let Remark { text: reason, by } = *remark;
    transition(state, Event::Cancel).map_err(|refused| StoreError::Other(refused.into()))?;
    if state == State::Processing {
        // Its worker stops it; the first reason stands, and who gave it.
        let first = tx.execute(
            "UPDATE queuectl_lease SET cancel_reason = ?2 WHERE key = ?1 AND cancel_reason IS NULL",
            (key.0, reason),
        )?;
        if let Some(by) = by.filter(|_| first > 0) {
            aside::set_canceller(tx, key, by)?;
        }
        tx.execute(
            "UPDATE queuectl_job SET updated_at = ?2 WHERE key = ?1",
            (key.0, tx.now.as_millis()),
        )?;
        log_request(tx, key, remark)?;
        return Ok(Cancelled::Requested);
    }
    settle::end_waiting(tx, key, state, Event::Cancel, remark)?;
    if let Some(by) = by {
        aside::set_canceller(tx, key, by)?;
    }
    Ok(Cancelled::Now)
}

/// The event log tells of each request, whichever stands.
fn log_request(tx: &mut Tx<'_>, key: JobKey, remark: &Remark<'_>) -> Result<(), StoreError> {
    if !tx.logs() {
        return Ok(());
    }
    let (lane, token, worker) = tx
        .prepare("SELECT lane, token, worker FROM queuectl_lease WHERE key = ?1")?
        .query_row([key.0], |row| Ok((row.get(0)?, Token(row.get(1)?), WorkerKey(row.get(2)?))))?;
    let entry = Entry {
        reason: Some(remark.text.to_owned()),
        by: remark.by.map(str::to_owned),
        ..Entry::under(Lease { key, token }, worker, Change::CancelRequested)
    };
    let (from, to) = (Some(State::Processing), Some(State::Processing));
    tx.log(Noted { lane, from, to, entry });
    Ok(())
}

pub(super) fn retry(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<(), StoreError> {
    distinct(jobs).try_for_each(|id| {
        let (key, state) = found(tx, id)?;
        again(tx, id, key, state, Duration::ZERO)
    })
}

pub(super) fn retry_with(
    tx: &mut Tx<'_>,
    id: &JobId,
    payload: &Json,
    remark: &Remark<'_>,
) -> Result<(), StoreError> {
    let (key, state) = found(tx, id)?;
    again(tx, id, key, state, Duration::ZERO)?;
    note::replace_payload(tx, key, payload, remark)
}

pub(super) fn note(tx: &mut Tx<'_>, id: &JobId, remark: &Remark<'_>) -> Result<(), StoreError> {
    let (key, _) = found(tx, id)?;
    note::add(tx, key, remark)
}

/// Runs a job again that is in this state, after a delay.
pub(super) fn again(
    tx: &mut Tx<'_>,
    id: &JobId,
    key: JobKey,
    state: State,
    delay: Duration,
) -> Result<(), StoreError> {
    let next = transition(state, Event::Retry).map_err(|refused| wrong_state(id, refused))?;
    hold_unique_key(tx, id, key, state)?;
    if state.is_terminal() {
        dependents::lives_again(tx, key, state)?;
        // Also of a job that completed before it was stopped: it may be cancelled by somebody else now.
        aside::forget_canceller(tx, key)?;
    }
    match state {
        State::Completed => keep_success(tx, key)?,
        State::Dead => dead::leave(tx, key)?,
        _ => {}
    }
    // What was cancelled while it waited for others waits no more: an operator has said "now".
    tx.execute("DELETE FROM queuectl_dependency WHERE child = ?1", [key.0])?;
    line::leave(tx, key)?;
    expiry::forget(tx, key)?;
    let lane = tx
        .prepare(
            "UPDATE queuectl_job
             SET state = ?2, run_boot = ?5, run_at = ?6, expires_at = NULL, expires_boot = NULL,
                 attempts = iif(?4, 0, attempts), finished_at = NULL, cancel_reason = NULL,
                 result = NULL, progress = iif(?4, NULL, progress), blockers = 0,
                 updated_at = ?3
             WHERE key = ?1 RETURNING lane",
        )?
        .query_row(
            params![
                key.0,
                row::code(next),
                tx.now.as_millis(),
                state.is_terminal(),
                (!delay.is_zero()).then(|| (tx.boot + delay).as_millis()),
                (tx.now + delay).as_millis(),
            ],
            |row| row.get(0),
        )?;
    match delay.is_zero() {
        true => line::make_ready(tx, key)?,
        false => line::make_due(tx, key)?,
    }
    tx.moved(lane, state, next, || Entry::of(key, Change::Retried));
    Ok(())
}

/// A success that had nothing more to say stands only in the job's own row, which the next attempt
/// will write over.
fn keep_success(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO queuectl_attempt
             (job, token, number, worker, started_at, finished_at, cause)
         SELECT key, token, attempts, worker, started_at, finished_at, 'succeeded'
         FROM queuectl_job WHERE key = ?1",
        [key.0],
    )?;
    Ok(())
}

/// Gives a job the key that it may hold while it waits. One that begins a new generation must have it;
/// one that goes on does without if another has it by now.
fn hold_unique_key(tx: &Tx<'_>, id: &JobId, key: JobKey, state: State) -> Result<(), StoreError> {
    let states: Option<i64> = tx
        .prepare("SELECT unique_states FROM queuectl_job WHERE key = ?1")?
        .query_row([key.0], |row| row.get(0))?;
    match states {
        None => Ok(()),
        Some(states) if !state.is_terminal() => unique::comes_back(tx, key, states, State::Pending),
        Some(_) => match unique::other_holder(tx, key)? {
            Some(by) => Err(StoreError::UniqueKeyTaken { id: id.clone(), by }),
            None => unique::take(tx, key),
        },
    }
}

pub(super) fn purge(tx: &mut Tx<'_>, jobs: &[JobId]) -> Result<(), StoreError> {
    let doomed: Vec<_> =
        distinct(jobs).map(|id| Ok((id, found(tx, id)?))).collect::<Result<_, StoreError>>()?;
    // All of them first: to delete one may end another, which was not to be deleted while it lived.
    for &(id, (_, state)) in &doomed {
        if !state.is_terminal() {
            return Err(StoreError::StillLives { id: id.clone(), state });
        }
    }
    doomed.into_iter().try_for_each(|(id, (key, state))| delete(tx, key, id, state))
}

/// Deletes a job and everything that was recorded of it.
pub(super) fn delete(
    tx: &mut Tx<'_>,
    key: JobKey,
    id: &JobId,
    state: State,
) -> Result<(), StoreError> {
    if state == State::Dead {
        dead::leave(tx, key)?;
    }
    tx.execute("DELETE FROM queuectl_note WHERE job = ?1", [key.0])?;
    tx.execute("DELETE FROM queuectl_aside WHERE job = ?1", [key.0])?;
    tx.execute("DELETE FROM queuectl_attempt WHERE job = ?1", [key.0])?;
    tx.execute("DELETE FROM queuectl_output WHERE job = ?1", [key.0])?;
    tx.execute("DELETE FROM queuectl_dependency WHERE child = ?1", [key.0])?;
    if matches!(id, JobId::Chosen(_)) {
        // The row tells by which id the job is known.
        tx.write_events()?;
    }
    let (lane, unique_states): (_, Option<i64>) = tx
        .prepare("DELETE FROM queuectl_job WHERE key = ?1 RETURNING lane, unique_states")?
        .query_row([key.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if unique_states.is_some_and(|states| states.abs() & unique::PERIOD != 0) {
        tx.execute("DELETE FROM queuectl_period WHERE job = ?1", [key.0])?;
    }
    tx.moved(lane, state, None, || Entry::of(key, Change::Deleted).named(Some(id)));
    dependents::deleted(tx, key, dependents::called(id))
}

/// Deletes jobs that have outlived their retention among those after `from`; gives how many, and
/// where to go on.
pub(super) fn prune(tx: &mut Tx<'_>, from: i64) -> Result<(u64, i64), StoreError> {
    let settings = tx.catalogue.settings();
    let cutoff = |keep: Option<std::time::Duration>| {
        keep.map_or(-1, |keep| tx.now.as_millis() - row::millis(keep))
    };
    let (done, dead) = (cutoff(settings.retention_completed), cutoff(settings.retention_dead));
    if (done, dead) == (-1, -1) {
        return Ok((0, 0));
    }
    let mut window = tx.prepare(
        "SELECT key, state, finished_at <= iif(state = 5, ?3, ?2), name, unique_states
         FROM queuectl_job WHERE key > ?1 ORDER BY key",
    )?;
    let mut rows = window.query((from, done, dead))?;
    let (mut last, mut outlived) = (0, Vec::new());
    for _ in 0..PRUNE_WINDOW {
        let Some(row) = rows.next()? else {
            last = 0;
            break;
        };
        last = row.get(0)?;
        let state = row::state(row, 1)?;
        if state.is_terminal() && row.get::<_, Option<bool>>(2)? == Some(true) {
            let key = JobKey(last);
            if unique::is_spared(tx, key, row.get(4)?, state)? {
                continue;
            }
            outlived.push((key, row::id(row, key, 3)?, state));
            if outlived.len() == PRUNE_MAX {
                break;
            }
        }
    }
    drop(rows);
    for (key, id, state) in &outlived {
        delete(tx, *key, id, *state)?;
    }
    Ok((outlived.len() as u64, last))
}

pub(super) fn progress(tx: &mut Tx<'_>, notes: &[Progress]) -> Result<Vec<Lease>, StoreError> {
    let mut refused = Vec::new();
    for note in notes {
        let noted = tx.execute(
            "UPDATE queuectl_job SET progress = ?3, updated_at = ?4
             WHERE key = (SELECT key FROM queuectl_lease WHERE key = ?1 AND token = ?2)",
            params![note.lease.key.0, note.lease.token.0, note.value.as_str(), tx.now.as_millis()],
        )?;
        if noted == 0 {
            refused.push(note.lease);
        }
    }
    Ok(refused)
}

pub(super) fn pause(tx: &mut Tx<'_>, queue: &Name, paused: bool) -> Result<(), StoreError> {
    let number = tx.queue_of(queue)?.number;
    tx.execute("UPDATE queuectl_queue SET paused = ?2 WHERE queue = ?1", (number, paused))?;
    tx.raise_epoch()?;
    tx.reload_catalogue()
}

pub(super) fn change_setting(
    tx: &mut Tx<'_>,
    setting: Setting,
    value: Option<&str>,
) -> Result<Settings, StoreError> {
    match value {
        Some(value) => {
            let mut settings = tx.catalogue.settings().clone();
            settings.set(setting, value)?;
            tx.execute(
                "INSERT INTO queuectl_setting (name, value) VALUES (?1, ?2)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (setting.as_str(), settings.get(setting)),
            )?;
        }
        None => {
            tx.execute("DELETE FROM queuectl_setting WHERE name = ?1", [setting.as_str()])?;
        }
    }
    let Settings { aging, event_log, .. } = *tx.catalogue.settings();
    tx.raise_epoch()?;
    tx.reload_catalogue()?;
    if tx.catalogue.settings().aging != aging {
        line::rank_again(tx)?;
    }
    if event_log && !tx.logs() {
        event::clear(tx)?;
    }
    Ok(tx.catalogue.settings().clone())
}

/// The job of this id, as it stands when what was done to its batch has come to it.
fn found(tx: &mut Tx<'_>, id: &JobId) -> Result<(JobKey, State), StoreError> {
    let (key, state) = find(tx, id)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
    Ok((key, cancelling::see_to(tx, key, state)?))
}

fn wrong_state(id: &JobId, refused: RefusedTransition) -> StoreError {
    StoreError::WrongState { id: id.clone(), refused }
}
