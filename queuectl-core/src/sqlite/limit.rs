//! The limits of queues: changing them, and what they leave to a claim.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::Connection;

use super::catalogue::Lane;
use super::group;
use super::row;
use super::transaction::Tx;
use crate::clock::BootTime;
use crate::id::{Name, WorkerKey};
use crate::limits::{Limit, QueueLimits, Rate};
use crate::store::StoreError;

pub(super) fn change(
    tx: &mut Tx<'_>,
    queue: &Name,
    changes: &[Limit],
) -> Result<QueueLimits, StoreError> {
    let queue = tx.queue_of(queue)?;
    let mut limits = queue.limits;
    changes.iter().for_each(|&change| limits.set(change));
    if let Some(rate) = queue.limits.rate {
        // What did not count any more does not count again if the new period is longer.
        forget_starts(tx, queue.number, rate)?;
    }
    tx.execute(
        "UPDATE queuectl_queue
         SET concurrency = ?2, per_key = ?3, rate_starts = ?4, rate_period_ms = ?5
         WHERE queue = ?1",
        (
            queue.number,
            limits.concurrency.map(u32::from),
            limits.per_key.map(u32::from),
            limits.rate.map(|rate| rate.starts().get()),
            limits.rate.map(|rate| row::millis(rate.period())),
        ),
    )?;
    if limits.rate.is_none() {
        tx.execute("DELETE FROM queuectl_start WHERE queue = ?1", [queue.number])?;
    }
    if limits.concurrency.is_some() != queue.limits.concurrency.is_some() {
        // Whoever holds a job already is a holder like those that will claim one.
        tx.execute(
            "UPDATE queuectl_lease SET limited = ?2
             WHERE lane IN (SELECT lane FROM queuectl_lane WHERE queue = ?1)",
            (queue.number, limits.concurrency.map(|_| queue.number)),
        )?;
    }
    tx.raise_epoch()?;
    tx.reload_catalogue()?;
    if limits.per_key() != queue.limits.per_key() {
        group::adjust_all(tx, queue.number)?;
    }
    Ok(limits)
}

/// What the limits leave to a claim. Nothing is looked up where nothing is limited.
#[derive(Default)]
pub(super) struct Room {
    queues: Vec<QueueRoom>,
    groups: HashMap<i64, u32>,
}

/// A queue that has a limit.
struct QueueRoom {
    number: i64,
    /// How many of its jobs can be claimed.
    left: usize,
    /// The workers that hold one of its jobs, if it has a concurrency limit: they are given no other.
    holders: Option<Vec<WorkerKey>>,
    /// How many jobs may start, if it has a rate.
    starts: Option<(Rate, usize)>,
    /// How many are claimed.
    claimed: usize,
}

impl Room {
    pub(super) fn of(tx: &Tx<'_>, lanes: &[Lane]) -> Result<Self, StoreError> {
        let mut room = Room::default();
        for Lane { number, limits, .. } in lanes {
            let QueueLimits { concurrency, rate, .. } = *limits;
            if (concurrency.is_none() && rate.is_none()) || room.queue(*number).is_some() {
                continue;
            }
            let mut left = usize::MAX;
            let mut holders = None;
            if let Some(concurrency) = concurrency {
                let concurrency = i64::from(concurrency.get());
                left = usize::try_from(concurrency - processing(tx, *number)?).unwrap_or(0);
                holders = Some(holders_of(tx, *number)?);
            }
            let mut starts = None;
            if let Some(rate) = rate {
                let allowed = starts_left(tx, *number, rate)?;
                left = left.min(allowed);
                starts = Some((rate, allowed));
            }
            room.queues.push(QueueRoom { number: *number, left, holders, starts, claimed: 0 });
        }
        Ok(room)
    }

    /// How many jobs of a lane a claim needs to look at, of those it wants.
    pub(super) fn of_lane(&self, lane: &Lane, wanted: usize) -> usize {
        let room = self.queues.iter().find(|room| room.number == lane.number);
        room.map_or(wanted, |room| room.left.min(wanted))
    }

    /// Who of the workers that want so many more may have a job, if anybody may.
    pub(super) fn worker_for(
        &mut self,
        tx: &Tx<'_>,
        lane: &Lane,
        group: Option<i64>,
        workers: &[(WorkerKey, usize)],
    ) -> Result<Option<WorkerKey>, StoreError> {
        let mut free = workers.iter().filter(|(_, wanted)| *wanted > 0).map(|(worker, _)| *worker);
        if let Some(group) = group
            && *self.group(tx, group)? == 0
        {
            return Ok(None);
        }
        Ok(match self.queue(lane.number) {
            None => free.next(),
            Some(room) if room.left == 0 => None,
            Some(QueueRoom { holders: None, .. }) => free.next(),
            Some(QueueRoom { holders: Some(holders), .. }) => {
                free.find(|worker| !holders.contains(worker))
            }
        })
    }

    /// Gives a job to the worker that may have it.
    pub(super) fn take(
        &mut self,
        lane: &Lane,
        group: Option<i64>,
        worker: WorkerKey,
        workers: &mut [(WorkerKey, usize)],
    ) {
        if let Some((_, wanted)) =
            workers.iter_mut().find(|(other, wanted)| *other == worker && *wanted > 0)
        {
            *wanted -= 1;
        }
        if let Some(room) = self.queue(lane.number) {
            room.left -= 1;
            room.claimed += 1;
            if let Some(holders) = &mut room.holders {
                holders.push(worker);
            }
        }
        if let Some(left) = group.and_then(|group| self.groups.get_mut(&group)) {
            *left -= 1;
        }
    }

    /// Notes what was claimed from queues with a rate. Gives when one of the lanes can be claimed from
    /// again in which jobs are ready that the rate keeps back.
    pub(super) fn note(&self, tx: &Tx<'_>, lanes: &[Lane]) -> Result<Option<Duration>, StoreError> {
        let mut next = None;
        for QueueRoom { number, starts, claimed, .. } in &self.queues {
            let Some((rate, allowed)) = starts else { continue };
            note_starts(tx, *number, *rate, *claimed)?;
            let mut own = lanes.iter().filter(|lane| lane.number == *number);
            if claimed == allowed && own.try_fold(false, |any, lane| has_ready(tx, lane, any))? {
                next = next.into_iter().chain(next_start(tx, *number, *rate)?).min();
            }
        }
        Ok(next)
    }

    fn queue(&mut self, number: i64) -> Option<&mut QueueRoom> {
        self.queues.iter_mut().find(|room| room.number == number)
    }

    fn group(&mut self, tx: &Tx<'_>, group: i64) -> Result<&mut u32, StoreError> {
        use std::collections::hash_map::Entry;
        Ok(match self.groups.entry(group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(group::room(tx, group)?),
        })
    }
}

/// How many jobs of a queue are processing, whatever their kind.
fn processing(tx: &Tx<'_>, queue: i64) -> Result<i64, StoreError> {
    let lanes = tx.catalogue.lanes().iter().filter(|lane| lane.number == queue);
    lanes.map(|lane| tx.processing(lane.lane)).sum()
}

fn holders_of(tx: &Tx<'_>, queue: i64) -> Result<Vec<WorkerKey>, StoreError> {
    let holders = tx
        .prepare("SELECT worker FROM queuectl_lease WHERE limited = ?1 AND limited IS NOT NULL")?
        .query_map([queue], |row| row.get(0).map(WorkerKey))?
        .collect::<Result<_, _>>()?;
    Ok(holders)
}

/// What started before this moment counts no more.
fn period_begins(tx: &Tx<'_>, rate: Rate) -> i64 {
    tx.boot.as_millis() - row::millis(rate.period())
}

/// How many jobs of a queue may start now.
fn starts_left(tx: &Tx<'_>, queue: i64, rate: Rate) -> Result<usize, StoreError> {
    let started: i64 = tx
        .prepare("SELECT ifnull(sum(n), 0) FROM queuectl_start WHERE queue = ?1 AND boot > ?2")?
        .query_row((queue, period_begins(tx, rate)), |row| row.get(0))?;
    Ok(usize::try_from(i64::from(rate.starts().get()) - started).unwrap_or(0))
}

/// When the oldest starts of a queue leave the period.
fn next_start(tx: &Tx<'_>, queue: i64, rate: Rate) -> Result<Option<Duration>, StoreError> {
    let oldest: Option<i64> = tx
        .prepare("SELECT min(boot) FROM queuectl_start WHERE queue = ?1 AND boot > ?2")?
        .query_row((queue, period_begins(tx, rate)), |row| row.get(0))?;
    Ok(oldest.map(|oldest| (BootTime::from_millis(oldest) + rate.period()).since(tx.boot)))
}

/// Forgets what has left the period.
fn forget_starts(tx: &Tx<'_>, queue: i64, rate: Rate) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM queuectl_start WHERE queue = ?1 AND boot <= ?2",
        (queue, period_begins(tx, rate)),
    )?;
    Ok(())
}

fn has_ready(tx: &Tx<'_>, lane: &Lane, known: bool) -> Result<bool, StoreError> {
    let mut ready = tx.prepare("SELECT 1 FROM queuectl_ready WHERE lane = ?1")?;
    Ok(known || ready.exists([lane.lane])?)
}

fn note_starts(tx: &Tx<'_>, queue: i64, rate: Rate, n: usize) -> Result<(), StoreError> {
    if n == 0 {
        return Ok(());
    }
    forget_starts(tx, queue, rate)?;
    let (now, step) = (tx.boot.as_millis(), row::millis(rate.step()));
    // They count until the end of their step is a period old.
    tx.execute(
        "INSERT INTO queuectl_start (queue, boot, n) VALUES (?1, ?2, ?3)
         ON CONFLICT (queue, boot) DO UPDATE SET n = n + excluded.n",
        (queue, now - now.rem_euclid(step) + step, n as i64),
    )?;
    Ok(())
}

/// The boot clock has begun again: what had started counts as if it had with the machine.
pub(super) fn after_boot(connection: &Connection) -> Result<(), StoreError> {
    let started = connection
        .prepare("SELECT queue, sum(n) FROM queuectl_start GROUP BY queue")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, i64)>, _>>()?;
    connection.execute("DELETE FROM queuectl_start", [])?;
    for started in started {
        connection
            .execute("INSERT INTO queuectl_start (queue, boot, n) VALUES (?1, 0, ?2)", started)?;
    }
    Ok(())
}
