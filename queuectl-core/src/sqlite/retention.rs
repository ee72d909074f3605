//! Keeping no more jobs that have ended than the settings say.
//!
//! The counters tell how many are too many. Dead jobs stand in the order in which they died; for the others
//! an index by their ends would cost each job that completes, so they are taken in the order of their
//! numbers, from where the last call ended: whoever has waited for long and ends late is come to in the
//! next round. Millions that wait may stand before them, so they are looked for outside of the lock.

use rusqlite::{Connection, OptionalExtension};

use super::batch;
use super::catalogue;
use super::command::delete;
use super::row;
use super::transaction::Tx;
use super::unique;
use crate::id::{JobId, JobKey};
use crate::settings::Settings;
use crate::state::State;
use crate::store::StoreError;

/// How many jobs one call deletes of each sort.
const SURPLUS_MAX: i64 = 500;
/// How many dead jobs one call looks at, inside the lock: those that hold their unique keys stay.
const DEAD_WINDOW: usize = 2_000;
/// How many numbers of jobs one call looks at, outside of it.
const ENDED_WINDOW: i64 = 100_000;

/// When a dead job died, and its number.
type Died = (i64, i64);

/// Where the next call goes on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The last of the completed and cancelled jobs that were looked at.
    ended: i64,
    /// The last of the dead ones.
    dead: Option<Died>,
    /// The last of the batches.
    batch: i64,
}

/// Some of the jobs that may be more than are to be kept.
#[derive(Debug)]
pub(super) struct Surplus {
    ended: Vec<JobKey>,
    dead: bool,
    /// Jobs are kept for a time only, so that some may be too old.
    by_age: bool,
    from: Place,
}

impl Surplus {
    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && !self.dead && !self.by_age
    }
}

/// Looks for them; a read. Gives where to go on as well.
pub(super) fn look(connection: &Connection, from: Place) -> Result<(Surplus, Place), StoreError> {
    let settings = catalogue::read_settings(connection)?;
    let mut counts =
        connection.prepare_cached("SELECT sum(n) FROM queuectl_count WHERE state = ?1")?;
    let mut is_too_many = |states: &[State], keep: Option<u64>| {
        let Some(keep) = keep else { return Ok(false) };
        let mut total = 0;
        for state in states {
            let count: Option<i64> = counts.query_row([row::code(*state)], |row| row.get(0))?;
            total += count.unwrap_or(0).unsigned_abs();
        }
        Ok::<_, StoreError>(total > keep)
    };
    let dead = is_too_many(&[State::Dead], settings.retention_dead_count)?;
    let mut place = Place { dead: from.dead.filter(|_| dead), ..from };
    let mut ended = Vec::new();
    if is_too_many(&ENDED, settings.retention_completed_count)? {
        (ended, place.ended) = look_for_ended(connection, from.ended)?;
    }
    let by_age = settings.retention_completed.is_some() || settings.retention_dead.is_some();
    Ok((Surplus { ended, dead, by_age, from: place }, place))
}

const ENDED: [State; 2] = [State::Completed, State::Cancelled];

/// The first of the completed and cancelled jobs after a number, and the number where to go on.
fn look_for_ended(connection: &Connection, from: i64) -> Result<(Vec<JobKey>, i64), StoreError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(key) FROM queuectl_job")?
        .query_row([], |row| row.get(0))?;
    let until = from.saturating_add(ENDED_WINDOW);
    let ended = connection
        .prepare_cached(
            "SELECT key FROM queuectl_job NOT INDEXED
             WHERE key > ?1 AND key <= ?2 AND (state = 3 OR state = 6) ORDER BY key LIMIT 500",
        )?
        .query_map((from, until), |row| row.get(0).map(JobKey))?
        .collect::<Result<Vec<_>, _>>()?;
    let next = match ended.last() {
        Some(last) if ended.len() as i64 == SURPLUS_MAX => last.0,
        _ if last.is_none_or(|last| last <= until) => 0,
        _ => until,
    };
    Ok((ended, next))
}

/// Deletes batches that nobody will close: they are older than completed jobs are kept, and have none left.
pub(super) fn batches(tx: &Tx<'_>, place: &mut Place) -> Result<(), StoreError> {
    if let Some(keep) = tx.catalogue.settings().retention_completed {
        place.batch = batch::prune(tx, place.batch, tx.now.as_millis() - row::millis(keep))?;
    }
    Ok(())
}

/// Deletes those that still are too many; gives how many, and where to go on among the dead.
pub(super) fn surplus(
    tx: &mut Tx<'_>,
    found: &Surplus,
    place: &mut Place,
) -> Result<u64, StoreError> {
    let Settings { retention_completed_count, retention_dead_count, .. } = *tx.catalogue.settings();
    let mut doomed = Vec::new();
    let more = too_many(tx, &[State::Dead], retention_dead_count)?;
    if found.dead && more > 0 {
        (doomed, place.dead) = oldest_dead(tx, found.from.dead, more)?;
    }
    let more = too_many(tx, &ENDED, retention_completed_count)?;
    let ended = still_ended(tx, &found.ended, more)?;
    if let Some((last, ..)) = ended.last().filter(|_| ended.len() == more) {
        place.ended = last.0;
    }
    doomed.extend(ended);
    for (key, id, state) in &doomed {
        delete(tx, *key, id, *state)?;
    }
    Ok(doomed.len() as u64)
}

type Doomed = (JobKey, JobId, State);

fn too_many(tx: &Tx<'_>, states: &[State], keep: Option<u64>) -> Result<usize, StoreError> {
    let Some(keep) = keep else {
        return Ok(0);
    };
    let more = tx.total(states)?.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    Ok(usize::try_from(more.clamp(0, SURPLUS_MAX)).unwrap_or(0))
}

/// So many of the jobs that died first after this one, but for those that still hold their unique keys; and
/// where to go on.
fn oldest_dead(
    tx: &Tx<'_>,
    from: Option<Died>,
    wanted: usize,
) -> Result<(Vec<Doomed>, Option<Died>), StoreError> {
    let mut dead = tx.prepare(
        "SELECT at, job.key, name, unique_states
         FROM queuectl_dead AS dead CROSS JOIN queuectl_job AS job ON job.key = dead.job
         WHERE (at, dead.job) > (?1, ?2) ORDER BY at, dead.job",
    )?;
    let mut rows = dead.query(from.unwrap_or((i64::MIN, 0)))?;
    let (mut doomed, mut last) = (Vec::new(), from);
    for _ in 0..DEAD_WINDOW {
        if doomed.len() == wanted {
            break;
        }
        let Some(row) = rows.next()? else {
            // The next round begins with those whose periods may be over by then.
            return Ok((doomed, None));
        };
        let key = JobKey(row.get(1)?);
        last = Some((row.get(0)?, key.0));
        if !unique::is_spared(tx, key, row.get(3)?, State::Dead)? {
            doomed.push((key, row::id(row, key, 2)?, State::Dead));
        }
    }
    Ok((doomed, last))
}

/// So many of these jobs, as far as they are still there, have ended, and do not hold their unique keys.
fn still_ended(tx: &Tx<'_>, jobs: &[JobKey], wanted: usize) -> Result<Vec<Doomed>, StoreError> {
    let mut ended = tx.prepare(
        "SELECT state, name, unique_states FROM queuectl_job
         WHERE key = ?1 AND (state = 3 OR state = 6)",
    )?;
    let mut doomed = Vec::new();
    for &key in jobs {
        if doomed.len() == wanted {
            break;
        }
        let found = ended
            .query_row([key.0], |row| Ok((row::state(row, 0)?, row::id(row, key, 1)?, row.get(2)?)))
            .optional()?;
        if let Some((state, id, states)) = found
            && !unique::is_spared(tx, key, states, state)?
        {
            doomed.push((key, id, state));
        }
    }
    Ok(doomed)
}
