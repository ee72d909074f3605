//! Keeping no more jobs that have ended than the settings say.
//!
//! The counters tell how many are too many. Dead jobs stand in the order in which they died; for the others
//! an index by their ends would cost each job that completes, so they are taken in the order of their
//! numbers, from where the last call ended: whoever has waited for long and ends late is come to in the
//! next round.

use super::command::delete;
use super::row;
use super::transaction::Tx;
use super::unique;
use crate::id::{JobId, JobKey};
use crate::state::State;
use crate::store::StoreError;

/// How many jobs one call deletes of each sort, and how many it looks at among the completed.
const SURPLUS_MAX: i64 = 500;
const WINDOW: usize = 2_000;

/// Deletes some of the jobs that are more than are to be kept; gives how many, and where to go on among
/// those that are completed or cancelled.
pub(super) fn surplus(tx: &mut Tx<'_>, from: i64) -> Result<(u64, i64), StoreError> {
    let settings = tx.catalogue.settings();
    let (completed, dead) = (settings.retention_completed_count, settings.retention_dead_count);
    let (mut doomed, mut next) = (Vec::new(), from);
    let more = too_many(tx, &[State::Dead], dead)?;
    if more > 0 {
        doomed = oldest_dead(tx, more)?;
    }
    let more = too_many(tx, &[State::Completed, State::Cancelled], completed)?;
    if more > 0 {
        let (others, last) = next_ended(tx, from, more)?;
        doomed.extend(others);
        next = last;
    }
    for (key, id, state) in &doomed {
        delete(tx, *key, id, *state)?;
    }
    Ok((doomed.len() as u64, next))
}

type Doomed = (JobKey, JobId, State);

fn too_many(tx: &Tx<'_>, states: &[State], keep: Option<u64>) -> Result<usize, StoreError> {
    let Some(keep) = keep else {
        return Ok(0);
    };
    let more = tx.total(states)?.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
    Ok(usize::try_from(more.clamp(0, SURPLUS_MAX)).unwrap_or(0))
}

/// So many of the jobs that died first, but for those that still hold their unique keys.
fn oldest_dead(tx: &Tx<'_>, wanted: usize) -> Result<Vec<Doomed>, StoreError> {
    let mut dead = tx.prepare(
        "SELECT job.key, name, unique_states
         FROM queuectl_dead AS dead CROSS JOIN queuectl_job AS job ON job.key = dead.job
         WHERE at >= ?1 ORDER BY at, dead.job",
    )?;
    let mut rows = dead.query([i64::MIN])?;
    let mut doomed = Vec::new();
    for _ in 0..WINDOW {
        let Some(row) = rows.next()?.filter(|_| doomed.len() < wanted) else {
            break;
        };
        let key = JobKey(row.get(0)?);
        if !unique::is_spared(tx, key, row.get(2)?, State::Dead)? {
            doomed.push((key, row::id(row, key, 1)?, State::Dead));
        }
    }
    Ok(doomed)
}

/// So many of the completed and cancelled jobs after a number, and the number where to go on.
fn next_ended(tx: &Tx<'_>, from: i64, wanted: usize) -> Result<(Vec<Doomed>, i64), StoreError> {
    let mut window = tx.prepare(
        "SELECT key, state, name, unique_states FROM queuectl_job WHERE key > ?1 ORDER BY key",
    )?;
    let mut rows = window.query([from])?;
    let (mut doomed, mut last) = (Vec::new(), from);
    for _ in 0..WINDOW {
        if doomed.len() == wanted {
            break;
        }
        let Some(row) = rows.next()? else {
            return Ok((doomed, 0));
        };
        last = row.get(0)?;
        let (key, state) = (JobKey(last), row::state(row, 1)?);
        let is_one = matches!(state, State::Completed | State::Cancelled);
        if is_one && !unique::is_spared(tx, key, row.get(3)?, state)? {
            doomed.push((key, row::id(row, key, 2)?, state));
        }
    }
    Ok((doomed, last))
}
