//! Attending to the ticks of schedules, each once.
//!
//! Which ticks are due is found by looking, without a lock; it may take a while to find out. What was
//! seen counts only if the schedule is still at the same [`revision`](Seen::revision) when there is a
//! transaction: whoever attends to its ticks raises that with them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::enqueue::enqueue;
use super::schedule;
use super::transaction::Tx;
use crate::clock::{BootTime, Clock, Timestamp};
use crate::id::{JobKey, Name};
use crate::job::NewJob;
use crate::schedule::{Due, HISTORY_LEN_MAX, Overlap, TickOutcome, TickRecord};
use crate::store::{Enqueued, StoreError};

/// How many schedules one transaction attends to, so that nobody waits for it for long.
const SCHEDULES_MAX: usize = 64;

/// What there is to do.
pub(super) struct Look {
    pub(super) due: Vec<Seen>,
    pub(super) next_due: Option<Duration>,
}

/// A schedule with something to do about it.
pub(super) struct Seen {
    schedule: i64,
    revision: i64,
    due: Option<Due>,
}

/// Finds the schedules that something is to be done about, and when the next tick comes.
pub(super) fn look(connection: &Connection, clock: &dyn Clock) -> Result<Look, StoreError> {
    let (now, boot, boot_id) = (clock.now(), clock.boot(), clock.boot_id());
    let mut rows = connection.prepare_cached(
        "SELECT cron, zone, every_ms, schedule, revision, missed, next_at,
             iif((SELECT boot_id FROM queuectl_meta) = ?1, next_boot, NULL),
             waiting_at IS NOT NULL AND NOT EXISTS
                 (SELECT 1 FROM queuectl_job WHERE key = last_job AND (state < 3 OR state = 4))
         FROM queuectl_schedule WHERE paused = 0 ORDER BY name",
    )?;
    let mut rows = rows.query([boot_id.as_str()])?;
    let mut look = Look { due: Vec::new(), next_due: None };
    while let Some(row) = rows.next()? {
        let next = schedule::next(row, 6)?;
        let wait = next.map(|next| next.wait(now, boot));
        let waits_no_more: bool = row.get(8)?;
        let is_due = wait == Some(Duration::ZERO);
        if !is_due && !waits_no_more {
            look.next_due = look.next_due.into_iter().chain(wait).min();
            continue;
        }
        if look.due.len() == SCHEDULES_MAX {
            break;
        }
        let (spec, missed) = (schedule::spec(row, 0)?, schedule::missed(row, 5)?);
        let due = next.filter(|_| is_due).and_then(|next| spec.due(next, missed, now, boot));
        // A schedule whose time zone is not known here is left to those who know it.
        if due.is_some() || waits_no_more {
            look.next_due = Some(Duration::ZERO);
            look.due.push(Seen { schedule: row.get(3)?, revision: row.get(4)?, due });
        }
    }
    Ok(look)
}

/// Does what is to be done about the schedules that are as they were seen; says what came of it.
pub(super) fn attend(
    tx: &mut Tx<'_>,
    seen: &[Seen],
) -> Result<Vec<(Name, TickRecord)>, StoreError> {
    let mut told = Vec::new();
    for one in seen {
        let Some(mut ticking) = Ticking::open(tx, one)? else {
            continue;
        };
        if let Some(tick) = ticking.waiting
            && !ticking.lives(tx)?
        {
            ticking.waiting = None;
            ticking.make(tx, tick)?;
        }
        if let Some(due) = &one.due {
            if let Some((first, until)) = due.missed {
                ticking.note(tx, first, TickOutcome::Missed { until })?;
            }
            for tick in &due.ticks {
                ticking.tick(tx, *tick)?;
            }
        }
        ticking.close(tx)?;
        told.extend(ticking.told.into_iter().map(|record| (ticking.name.clone(), record)));
    }
    Ok(told)
}

/// Makes a schedule's job at somebody's wish.
pub(super) fn run_now(tx: &mut Tx<'_>, name: &Name) -> Result<Enqueued, StoreError> {
    let number: Option<i64> = tx
        .prepare(
            "UPDATE queuectl_schedule SET revision = revision + 1 WHERE name = ?1
             RETURNING schedule",
        )?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let number = number.ok_or_else(|| StoreError::NoSchedule(name.clone()))?;
    let mut ticking = Ticking::read(tx, number)?;
    let job = ticking.add(tx)?;
    let outcome = match job.created {
        true => TickOutcome::ByHand(job.id.clone()),
        false => TickOutcome::Exists(job.id.clone()),
    };
    ticking.note(tx, tx.now, outcome)?;
    ticking.close(tx)?;
    Ok(job)
}

/// A schedule whose ticks are being attended to.
struct Ticking {
    schedule: i64,
    name: Name,
    overlap: Overlap,
    job: NewJob,
    last_job: Option<i64>,
    waiting: Option<Timestamp>,
    entries: i64,
    told: Vec<TickRecord>,
}

impl Ticking {
    /// Moves the schedule to its next tick, unless it is not as it was seen: then others have attended
    /// to it, or it rests, or is another one by now.
    fn open(tx: &Tx<'_>, seen: &Seen) -> Result<Option<Self>, StoreError> {
        let next = seen.due.as_ref().and_then(|due| due.next);
        let moved = tx.execute(
            "UPDATE queuectl_schedule
             SET revision = revision + 1,
                 next_at = iif(?3, ?4, next_at),
                 next_boot = iif(?3, ?5, next_boot),
                 last_at = iif(?3, ?6, last_at)
             WHERE schedule = ?1 AND revision = ?2 AND paused = 0",
            params![
                seen.schedule,
                seen.revision,
                seen.due.is_some(),
                next.map(|next| next.at.as_millis()),
                next.and_then(|next| next.boot).map(BootTime::as_millis),
                seen.due.as_ref().and_then(Due::last).map(Timestamp::as_millis),
            ],
        )?;
        (moved == 1).then(|| Self::read(tx, seen.schedule)).transpose()
    }

    fn read(tx: &Tx<'_>, schedule: i64) -> Result<Self, StoreError> {
        let read = tx
            .prepare(
                "SELECT name, overlap, payload, job, last_job, waiting_at, entries
                 FROM queuectl_schedule WHERE schedule = ?1",
            )?
            .query_row([schedule], |row| {
                Ok(Ticking {
                    schedule,
                    name: super::row::name(row, 0)?,
                    overlap: schedule::overlap(row, 1)?,
                    job: schedule::job(row, 2)?,
                    last_job: row.get(4)?,
                    waiting: super::row::optional_timestamp(row, 5)?,
                    entries: row.get(6)?,
                    told: Vec::new(),
                })
            })?;
        Ok(read)
    }

    /// Whether the job that was made last still lives.
    fn lives(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        let lives = tx
            .prepare("SELECT 1 FROM queuectl_job WHERE key = ?1 AND (state < 3 OR state = 4)")?
            .exists([self.last_job])?;
        Ok(lives)
    }

    /// One tick that counts.
    fn tick(&mut self, tx: &mut Tx<'_>, tick: Timestamp) -> Result<(), StoreError> {
        if self.overlap == Overlap::Allow || !self.lives(tx)? {
            return self.make(tx, tick);
        }
        if self.overlap == Overlap::QueueOne && self.waiting.is_none() {
            self.waiting = Some(tick);
            return self.note(tx, tick, TickOutcome::Waits);
        }
        self.note(tx, tick, TickOutcome::Overlapped)
    }

    fn make(&mut self, tx: &mut Tx<'_>, tick: Timestamp) -> Result<(), StoreError> {
        let job = self.add(tx)?;
        let outcome = match job.created {
            true => TickOutcome::Enqueued(job.id),
            false => TickOutcome::Exists(job.id),
        };
        self.note(tx, tick, outcome)
    }

    fn add(&mut self, tx: &mut Tx<'_>) -> Result<Enqueued, StoreError> {
        let added = enqueue(tx, &[&self.job])?;
        let [job] = <[Enqueued; 1]>::try_from(added)
            .map_err(|_| StoreError::Other("one job was to be added".into()))?;
        let JobKey(key) = job.key;
        self.last_job = Some(key);
        Ok(job)
    }

    /// Adds an entry to the history.
    fn note(
        &mut self,
        tx: &Tx<'_>,
        tick: Timestamp,
        outcome: TickOutcome,
    ) -> Result<(), StoreError> {
        self.entries += 1;
        let until = match outcome {
            TickOutcome::Missed { until } => Some(until.as_millis()),
            _ => None,
        };
        tx.execute(
            "INSERT INTO queuectl_tick (schedule, entry, tick_at, at, outcome, job, until_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                self.schedule,
                self.entries,
                tick.as_millis(),
                tx.now.as_millis(),
                outcome.as_str(),
                outcome.job().map(ToString::to_string),
                until,
            ],
        )?;
        self.told.push(TickRecord { tick, at: tx.now, outcome });
        Ok(())
    }

    /// Writes what has become of the schedule, and forgets the oldest of its history.
    fn close(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        tx.execute(
            "UPDATE queuectl_schedule SET last_job = ?2, waiting_at = ?3, entries = ?4
             WHERE schedule = ?1",
            (self.schedule, self.last_job, self.waiting.map(Timestamp::as_millis), self.entries),
        )?;
        tx.execute(
            "DELETE FROM queuectl_tick WHERE schedule = ?1 AND entry <= ?2",
            (self.schedule, self.entries - HISTORY_LEN_MAX as i64),
        )?;
        Ok(())
    }
}
