//! Moving on what waits for other jobs: in the transaction in which these end, by whichever way.
//!
//! What it costs is a few statements for each job that waited for the one that has ended, and for
//! those that are cancelled thereby, for each that waited for them; of these, one transaction moves on a
//! bounded number, and leaves the rest to [`untold`]. A job that has none costs one look
//! into an index; one that has completed not even that, where its neighbours have none either.

use rusqlite::{OptionalExtension, Row};

use super::batch;
use super::event::Entry;
use super::expiry;
use super::line;
use super::row;
use super::transaction::Tx;
use super::untold;
use crate::dependency::{Condition, Needs, Otherwise, Outlook};
use crate::event::Change;
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
#[derive(Clone, Copy)]
pub(super) enum End {
    In(State),
    /// It is gone.
    Deleted,
    /// It had ended, and is to run again.
    LivesAgain,
}

/// What is told of a parent, and to whom.
pub(super) struct News {
    pub(super) parent: JobKey,
    pub(super) end: End,
    /// What the parent is called in a reason, if that is known.
    pub(super) called: Option<String>,
    /// The dependents with numbers in this range, both included.
    pub(super) from: JobKey,
    pub(super) until: JobKey,
}

impl News {
    fn new(parent: JobKey, end: End) -> Self {
        News { parent, end, called: None, from: JobKey(i64::MIN), until: JobKey(i64::MAX) }
    }

    fn deleted(parent: JobKey, called: String) -> Self {
        News { called: Some(called), ..News::new(parent, End::Deleted) }
    }
}

/// The job or batch is in a terminal state from now on.
pub(super) fn ended(tx: &mut Tx<'_>, job: JobKey, state: State) -> Result<(), StoreError> {
    spread(tx, vec![News::new(job, End::In(state))])
}

/// The job or batch, which had ended, was deleted: whoever still waits for it would wait for ever.
pub(super) fn deleted(tx: &mut Tx<'_>, job: JobKey, called: String) -> Result<(), StoreError> {
    spread(tx, vec![News::deleted(job, called)])
}

/// Goes on with what was put off; gives the dependent to go on with once more.
pub(super) fn tell_on(tx: &mut Tx<'_>, news: News) -> Result<Option<JobKey>, StoreError> {
    let mut more = Vec::new();
    let next = tell(tx, &news, &mut more)?;
    spread(tx, more)?;
    Ok(next)
}

/// A job that is cancelled on the way ends as well. They stand in a list, so that a long chain does
/// not need a deep stack.
fn spread(tx: &mut Tx<'_>, mut news: Vec<News>) -> Result<(), StoreError> {
    while let Some(mut one) = news.pop() {
        let next = if untold::is_about(tx, one.parent)? {
            // The others hear of what was before, first. The batch that it is in has heard of that.
            let until = std::mem::replace(&mut one.until, JobKey(0));
            tell(tx, &one, &mut news)?;
            one.until = until;
            Some(JobKey(1))
        } else {
            tell(tx, &one, &mut news)?
        };
        if let Some(next) = next {
            untold::put_off(tx, &one, next)?;
        }
    }
    Ok(())
}

/// The dependents that are told of something, as many as this transaction may move on.
struct Audience {
    /// The batch that the parent is in.
    batch: Option<JobKey>,
    children: Vec<(JobKey, Terms)>,
    /// The next one.
    next: Option<JobKey>,
}

impl Audience {
    fn of(tx: &mut Tx<'_>, news: &News) -> Result<Self, StoreError> {
        let mut dependents = tx.prepare(
            "SELECT child, condition, needs, otherwise, lost FROM queuectl_dependency
             WHERE parent = ?1 AND child BETWEEN ?2 AND ?3 ORDER BY child",
        )?;
        let mut rows = dependents.query((news.parent.0, news.from.0, news.until.0))?;
        let mut audience = Audience { batch: None, children: Vec::new(), next: None };
        while let Some(row) = rows.next()? {
            let child = JobKey(row.get(0)?);
            if child.0 < 0 {
                audience.batch = Some(child);
            } else if tx.left == 0 {
                audience.next = Some(child);
                break;
            } else {
                tx.left -= 1;
                audience.children.push((child, Terms::read(row, 1)?));
            }
        }
        Ok(audience)
    }
}

/// Tells the dependents of one job or batch. Adds to `ended` those that end thereby, and the batch it is in if
/// that does; gives the dependent with which a later transaction has to go on.
fn tell(tx: &mut Tx<'_>, news: &News, ended: &mut Vec<News>) -> Result<Option<JobKey>, StoreError> {
    let (parent, end) = (news.parent, news.end);
    let Audience { batch, children, next } = Audience::of(tx, news)?;
    let (mut stays, mut goes) = (batch.is_some(), Vec::new());
    // Found when it is needed: most parents end as they should.
    let mut reason = None;
    for (child, terms) in children {
        let outlook = match end {
            End::In(state) => Outlook::of(terms.on, terms.otherwise, state),
            End::Deleted => Outlook::Lost,
            End::LivesAgain => {
                counts_again(tx, parent, child, terms)?;
                stays = true;
                continue;
            }
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
                    None => reason.insert(self::reason(tx, parent, end, news.called.as_deref())?),
                };
                if cancel(tx, child, reason)? {
                    ended.push(News::new(child, End::In(State::Cancelled)));
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
    if !stays || matches!(end, End::Deleted) {
        let last = next.map_or(news.until.0, |next| next.0 - 1);
        tx.execute(
            "DELETE FROM queuectl_dependency WHERE parent = ?1 AND child BETWEEN ?2 AND ?3",
            (parent.0, news.from.0, last),
        )?;
    } else {
        for child in goes {
            tx.execute(
                "DELETE FROM queuectl_dependency WHERE parent = ?1 AND child = ?2",
                (parent.0, child.0),
            )?;
        }
    }
    if let Some(batch) = batch {
        ended.extend(match end {
            End::In(state) => {
                batch::one_ended(tx, batch, state)?.map(|state| News::new(batch, End::In(state)))
            }
            End::Deleted => batch::delete(tx, batch)?.map(|called| News::deleted(batch, called)),
            End::LivesAgain => None,
        });
    }
    Ok(next)
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
        tx.moved(lane, State::Blocked, State::Pending, || Entry::of(child, Change::Unblocked));
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
        tx.moved(lane, State::Blocked, State::Cancelled, || Entry {
            reason: Some(reason.to_owned()),
            ..Entry::of(child, Change::Cancelled)
        });
    }
    Ok(lane.is_some())
}

/// Why a job is cancelled that waited for this one, which is called so, if that is known.
pub(super) fn reason(
    tx: &Tx<'_>,
    parent: JobKey,
    end: End,
    called: Option<&str>,
) -> Result<String, StoreError> {
    let called = called.map_or_else(|| name_of(tx, parent), |called| Ok(called.to_owned()))?;
    let end = match end {
        End::In(State::Completed) => "has completed",
        End::In(State::Cancelled) => "was cancelled",
        End::In(_) if parent.0 < 0 => "has failed",
        End::In(_) => "is dead",
        End::Deleted | End::LivesAgain => "was deleted",
    };
    Ok(format!("{called}, which it waited for, {end}"))
}

/// What a job or batch is called in a reason.
pub(super) fn name_of(tx: &Tx<'_>, parent: JobKey) -> Result<String, StoreError> {
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
pub(super) fn lives_again(tx: &mut Tx<'_>, parent: JobKey, state: State) -> Result<(), StoreError> {
    let batch = tx
        .prepare("SELECT child FROM queuectl_dependency WHERE parent = ?1 AND child < 0")?
        .query_row([parent.0], |row| row.get(0).map(JobKey))
        .optional()?;
    let mut news = vec![News::new(parent, End::LivesAgain)];
    if let Some(batch) = batch {
        batch::one_lives_again(tx, batch, state)?;
        news.push(News::new(batch, End::LivesAgain));
    }
    spread(tx, news)
}

/// A parent that was lost for a job that needs any one of several counts again.
fn counts_again(
    tx: &Tx<'_>,
    parent: JobKey,
    child: JobKey,
    terms: Terms,
) -> Result<(), StoreError> {
    if terms.lost {
        tx.execute(
            "UPDATE queuectl_dependency SET lost = 0 WHERE parent = ?1 AND child = ?2",
            (parent.0, child.0),
        )?;
        tx.execute(
            "UPDATE queuectl_job SET blockers = blockers + 1 WHERE key = ?1 AND state = 1",
            [child.0],
        )?;
    }
    Ok(())
}
