//! Moving on what waits for other jobs: in the transaction in which these end, by whichever way.
//!
//! What it costs is a few statements for each job that waited for the one that has ended, and for
//! those that are cancelled thereby, for each that waited for them. A job that has none costs one look
//! into an index; one that has completed not even that, where its neighbours have none either.

use rusqlite::{OptionalExtension, Row};

use super::batch;
use super::expiry;
use super::line;
use super::row;
use super::transaction::Tx;
use crate::dependency::{Condition, Needs, Otherwise, Outlook};
use crate::id::{JobId, JobKey};
use crate::state::State;
use crate::store::StoreError;

/// What a row of `queuectl_dependency` says beside the two jobs.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) on: Condition,
    pub(super) needs: Needs,
    pub(super) otherwise: Otherwise,
    pub(super) lost: bool,
}

impl Terms {
    /// The columns `condition, needs, otherwise, lost` from `first` on.
    pub(super) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Terms {
            on: row::word(row, first, &Condition::ALL)?,
            needs: row::word(row, first + 1, &Needs::ALL)?,
            otherwise: row::word(row, first + 2, &Otherwise::ALL)?,
            lost: row.get(first + 3)?,
        })
    }
}

/// What has become of a parent.
pub(super) enum End {
    In(State),
    /// It is gone, and with it what it was called.
    Deleted(String),
}

/// The job or batch is in a terminal state from now on.
pub(super) fn ended(tx: &mut Tx<'_>, job: JobKey, state: State) -> Result<(), StoreError> {
    go_through(tx, job, End::In(state))
}

/// The job or batch, which had ended, was deleted: whoever still waits for it would wait for ever.
pub(super) fn deleted(tx: &mut Tx<'_>, job: JobKey, called: String) -> Result<(), StoreError> {
    go_through(tx, job, End::Deleted(called))
}

/// A job that is cancelled on the way ends as well. They stand in a list, so that a long chain does
/// not need a deep stack.
fn go_through(tx: &mut Tx<'_>, job: JobKey, end: End) -> Result<(), StoreError> {
    let mut ended = vec![(job, end)];
    while let Some((parent, end)) = ended.pop() {
        ended.extend(tell(tx, parent, &end)?);
    }
    Ok(())
}

/// Tells the dependents of one job or batch; gives those that end thereby, and the batch it is in if that
/// does.
fn tell(tx: &mut Tx<'_>, parent: JobKey, end: &End) -> Result<Vec<(JobKey, End)>, StoreError> {
    let children = tx
        .prepare(
            "SELECT child, condition, needs, otherwise, lost FROM queuectl_dependency
             WHERE parent = ?1",
        )?
        .query_map([parent.0], |row| Ok((JobKey(row.get(0)?), Terms::read(row, 1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let (mut stays, mut goes, mut ended) = (false, Vec::new(), Vec::new());
    let mut in_batch = None;
    // Found when it is needed: most parents end as they should.
    let mut reason = None;
    for (child, terms) in children {
        if child.0 < 0 {
            in_batch = Some(child);
            stays = true;
            continue;
        }
        let outlook = match end {
            End::In(state) => Outlook::of(terms.on, terms.otherwise, *state),
            End::Deleted(_) => Outlook::Lost,
        };
        let fate = match (outlook, terms.needs) {
            (Outlook::Open, _) => Fate::Waits,
            (Outlook::Met, Needs::All) => one_less(tx, child)?.freed(),
            (Outlook::Met, Needs::Any) => Fate::Runs,
            (Outlook::Lost, _) if terms.lost => Fate::Waits,
            (Outlook::Lost, needs) => match (needs, terms.otherwise) {
                (Needs::All, Otherwise::Run) => one_less(tx, child)?.freed(),
                (Needs::All, _) => Fate::Ends,
                (Needs::Any, otherwise) => match one_less(tx, child)? {
                    Left::None if otherwise == Otherwise::Run => Fate::Runs,
                    Left::None => Fate::Ends,
                    Left::Some => Fate::Waits,
                },
            },
        };
        match fate {
            Fate::Waits => {}
            Fate::Runs => free(tx, child)?,
            Fate::Ends => {
                let reason = match &mut reason {
                    Some(reason) => reason,
                    None => reason.insert(self::reason(tx, parent, end)?),
                };
                if cancel(tx, child, reason)? {
                    ended.push((child, End::In(State::Cancelled)));
                }
            }
        }
        // A retry brings back what is lost, and may bring what is open.
        match outlook {
            Outlook::Lost if terms.needs == Needs::Any => {
                stays = true;
                if !terms.lost {
                    tx.execute(
                        "UPDATE queuectl_dependency SET lost = 1 WHERE parent = ?1 AND child = ?2",
                        (parent.0, child.0),
                    )?;
                }
            }
            Outlook::Open => stays = true,
            _ => goes.push(child),
        }
    }
    if !stays || matches!(end, End::Deleted(_)) {
        tx.execute("DELETE FROM queuectl_dependency WHERE parent = ?1", [parent.0])?;
    } else {
        for child in goes {
            tx.execute(
                "DELETE FROM queuectl_dependency WHERE parent = ?1 AND child = ?2",
                (parent.0, child.0),
            )?;
        }
    }
    if let Some(batch) = in_batch {
        let of_batch = match end {
            End::In(state) => batch::one_ended(tx, batch, *state)?.map(End::In),
            End::Deleted(_) => batch::delete(tx, batch)?.map(End::Deleted),
        };
        ended.extend(of_batch.map(|end| (batch, end)));
    }
    Ok(ended)
}

/// What becomes of a child now.
enum Fate {
    Waits,
    Runs,
    Ends,
}

/// Whether a blocked job still waits for others.
enum Left {
    Some,
    None,
}

impl Left {
    fn freed(self) -> Fate {
        match self {
            Left::Some => Fate::Waits,
            Left::None => Fate::Runs,
        }
    }
}

/// The job waits for one job less. One that was freed or cancelled by now waits for none, and is left
/// alone.
fn one_less(tx: &Tx<'_>, child: JobKey) -> Result<Left, StoreError> {
    let left: Option<i64> = tx
        .prepare(
            "UPDATE queuectl_job SET blockers = blockers - 1 WHERE key = ?1 AND state = 1
             RETURNING blockers",
        )?
        .query_row([child.0], |row| row.get(0))
        .optional()?;
    Ok(if left == Some(0) { Left::None } else { Left::Some })
}

/// A job that is blocked waits for no other any more. It may have to wait for a moment as well.
fn free(tx: &mut Tx<'_>, child: JobKey) -> Result<(), StoreError> {
    let freed = tx
        .prepare(
            "UPDATE queuectl_job SET state = 0, blockers = 0, updated_at = ?2
             WHERE key = ?1 AND state = 1 RETURNING lane, ifnull(run_boot <= ?3, run_at <= ?2)",
        )?
        .query_row((child.0, tx.now.as_millis(), tx.boot.as_millis()), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((lane, due)) = freed {
        match due {
            true => line::make_ready(tx, child)?,
            false => line::make_due(tx, child)?,
        }
        tx.moved(lane, State::Blocked, State::Pending);
    }
    Ok(())
}

/// Cancels a job if it is blocked; says whether it was.
pub(super) fn cancel(tx: &mut Tx<'_>, child: JobKey, reason: &str) -> Result<bool, StoreError> {
    let lane = tx
        .prepare(
            "UPDATE queuectl_job
             SET state = 6, blockers = 0, run_boot = NULL, finished_at = ?2, updated_at = ?2,
                 cancel_reason = ?3
             WHERE key = ?1 AND state = 1 RETURNING lane",
        )?
        .query_row((child.0, tx.now.as_millis(), reason), |row| row.get(0))
        .optional()?;
    if let Some(lane) = lane {
        expiry::forget(tx, child)?;
        tx.moved(lane, State::Blocked, State::Cancelled);
    }
    Ok(lane.is_some())
}

/// Why a job is cancelled that waited for this one.
pub(super) fn reason(tx: &Tx<'_>, parent: JobKey, end: &End) -> Result<String, StoreError> {
    let (called, end) = match end {
        End::Deleted(called) => (called.clone(), "was deleted"),
        End::In(state) => {
            let how = match state {
                State::Completed => "has completed",
                State::Cancelled => "was cancelled",
                _ if parent.0 < 0 => "has failed",
                _ => "is dead",
            };
            (name_of(tx, parent)?, how)
        }
    };
    Ok(format!("{called}, which it waited for, {end}"))
}

fn name_of(tx: &Tx<'_>, parent: JobKey) -> Result<String, StoreError> {
    if parent.0 < 0 {
        return batch::name_of(tx, parent);
    }
    let id = tx
        .prepare("SELECT name FROM queuectl_job WHERE key = ?1")?
        .query_row([parent.0], |row| row::id(row, parent, 0))?;
    Ok(called(&id))
}

/// What a job is called in a reason.
pub(super) fn called(id: &JobId) -> String {
    format!("job {id}")
}

/// A job that had ended in this state is to run again: it counts once more for those who wait for any
/// one, and is left once more in its batch.
pub(super) fn lives_again(tx: &Tx<'_>, parent: JobKey, state: State) -> Result<(), StoreError> {
    let batch = tx
        .prepare("SELECT child FROM queuectl_dependency WHERE parent = ?1 AND child < 0")?
        .query_row([parent.0], |row| row.get(0).map(JobKey))
        .optional()?;
    if let Some(batch) = batch {
        batch::one_lives_again(tx, batch, state)?;
        counts_again(tx, batch)?;
    }
    counts_again(tx, parent)
}

fn counts_again(tx: &Tx<'_>, parent: JobKey) -> Result<(), StoreError> {
    let children = tx
        .prepare(
            "UPDATE queuectl_dependency SET lost = 0 WHERE parent = ?1 AND child > 0 AND lost = 1
             RETURNING child",
        )?
        .query_map([parent.0], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for child in children {
        tx.execute(
            "UPDATE queuectl_job SET blockers = blockers + 1 WHERE key = ?1 AND state = 1",
            [child],
        )?;
    }
    Ok(())
}
