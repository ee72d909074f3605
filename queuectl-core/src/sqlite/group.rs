//! Jobs with a concurrency key: those of one queue with one key are a group, and only so many of a
//! group run at a time.
//!
//! A claim must not step over a million jobs of a customer who has one running. So of each group only
//! as many jobs stand among what is ready as may run beside those that run already, in each lane: the
//! first in order. The others stand behind, and move up when one ends or leaves.

use rusqlite::OptionalExtension;

use super::line;
use super::transaction::Tx;
use crate::id::JobKey;
use crate::store::StoreError;

/// A job that is due joins its group.
pub(super) fn enter(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let (lane, priority, run_at, name): (i64, i64, i64, String) = tx
        .prepare("SELECT lane, priority, run_at, concurrency_key FROM queuectl_job WHERE key = ?1")?
        .query_row([key.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let queue = queue_of(tx, lane)?;
    let found = find(tx, queue, &name)?;
    let group = match found {
        Some(group) => group,
        None => {
            tx.execute(
                "INSERT INTO queuectl_group (queue, concurrency_key) VALUES (?1, ?2)",
                (queue, &name),
            )?;
            tx.last_key()
        }
    };
    tx.execute(
        "INSERT INTO queuectl_grouped (grp, lane, ready, rank, key) VALUES (?1, ?2, 0, ?3, ?4)",
        (group, lane, line::rank(tx, priority, run_at), key.0),
    )?;
    adjust(tx, group)
}

/// A job that waits no more leaves its group, if it has one. Its place among what is ready is gone.
pub(super) fn leave(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let member: Option<(i64, i64, i64, String)> = tx
        .prepare(
            "SELECT lane, priority, run_at, concurrency_key FROM queuectl_job
             WHERE key = ?1 AND concurrency_key IS NOT NULL",
        )?
        .query_row([key.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((lane, priority, run_at, name)) = member else { return Ok(()) };
    let Some(group) = find(tx, queue_of(tx, lane)?, &name)? else { return Ok(()) };
    tx.execute(
        "DELETE FROM queuectl_grouped
         WHERE grp = ?1 AND lane = ?2 AND ready IN (0, 1) AND rank = ?3 AND key = ?4",
        (group, lane, line::rank(tx, priority, run_at), key.0),
    )?;
    adjust(tx, group)
}

/// How many more jobs of a group may be claimed.
pub(super) fn room(tx: &Tx<'_>, group: i64) -> Result<u32, StoreError> {
    let (queue, running) = read(tx, group)?;
    Ok(per_key(tx, queue).saturating_sub(running))
}

/// A job of a group was claimed.
pub(super) fn started(
    tx: &Tx<'_>,
    group: i64,
    lane: i64,
    rank: i64,
    key: JobKey,
) -> Result<(), StoreError> {
    let left = tx.execute(
        "DELETE FROM queuectl_grouped
         WHERE grp = ?1 AND lane = ?2 AND ready = 1 AND rank = ?3 AND key = ?4",
        (group, lane, rank, key.0),
    )?;
    if left != 1 {
        let what = format!("job {} is ready, and its group does not know it", key.0);
        return Err(StoreError::Corrupt(what.into()));
    }
    tx.execute("UPDATE queuectl_group SET running = running + 1 WHERE grp = ?1", [group])?;
    adjust(tx, group)
}

/// An attempt of a group has ended.
pub(super) fn ended(tx: &Tx<'_>, group: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE queuectl_group SET running = running - 1 WHERE grp = ?1", [group])?;
    adjust(tx, group)
}

/// The limit of a queue has changed, or the order of its jobs.
pub(super) fn adjust_all(tx: &Tx<'_>, queue: i64) -> Result<(), StoreError> {
    let groups = tx
        .prepare("SELECT grp FROM queuectl_group WHERE queue = ?1")?
        .query_map([queue], |row| row.get(0))?
        .collect::<Result<Vec<_>, _>>()?;
    groups.into_iter().try_for_each(|group| adjust(tx, group))
}

fn find(tx: &Tx<'_>, queue: i64, name: &str) -> Result<Option<i64>, StoreError> {
    let group = tx
        .prepare("SELECT grp FROM queuectl_group WHERE queue = ?1 AND concurrency_key = ?2")?
        .query_row((queue, name), |row| row.get(0))
        .optional()?;
    Ok(group)
}

/// The queue of a group, and how many of its jobs are processing.
fn read(tx: &Tx<'_>, group: i64) -> Result<(i64, u32), StoreError> {
    let read = tx
        .prepare("SELECT queue, running FROM queuectl_group WHERE grp = ?1")?
        .query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(read)
}

fn queue_of(tx: &Tx<'_>, lane: i64) -> Result<i64, StoreError> {
    let lane = tx.catalogue.lanes().iter().find(|known| known.lane == lane);
    lane.map(|lane| lane.number).ok_or_else(StoreError::abandoned)
}

fn per_key(tx: &Tx<'_>, queue: i64) -> u32 {
    let lane = tx.catalogue.lanes().iter().find(|lane| lane.number == queue);
    lane.map_or(1, |lane| lane.limits.per_key().get())
}

/// Lets as many jobs of the group be ready in each lane as may run; a group without jobs goes.
fn adjust(tx: &Tx<'_>, group: i64) -> Result<(), StoreError> {
    let (queue, running) = read(tx, group)?;
    let room = per_key(tx, queue).saturating_sub(running);
    for lane in tx.catalogue.lanes().iter().filter(|lane| lane.number == queue) {
        Ranks { tx, group, lane: lane.lane }.balance(room)?;
    }
    tx.execute(
        "DELETE FROM queuectl_group WHERE grp = ?1 AND running = 0
             AND NOT EXISTS (SELECT 1 FROM queuectl_grouped WHERE grp = ?1)",
        [group],
    )?;
    Ok(())
}

/// The due jobs of a group in one lane: those that are ready, and those behind.
struct Ranks<'a, 'tx> {
    tx: &'a Tx<'tx>,
    group: i64,
    lane: i64,
}

/// Rank and number: the order in which jobs are claimed.
type Place = (i64, i64);

impl Ranks<'_, '_> {
    /// Until the first `room` jobs are ready, and no others.
    fn balance(&self, room: u32) -> Result<(), StoreError> {
        let mut ready = self.ready()?;
        loop {
            let (first_behind, last_ready) = (self.first_behind()?, self.last_ready()?);
            match (first_behind, last_ready) {
                (_, Some(last)) if ready > room => {
                    self.step_back(last)?;
                    ready -= 1;
                }
                (Some(first), _) if ready < room => {
                    self.step_up(first)?;
                    ready += 1;
                }
                (Some(first), Some(last)) if first < last => {
                    self.step_back(last)?;
                    self.step_up(first)?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn ready(&self) -> Result<u32, StoreError> {
        let count = self
            .tx
            .prepare(
                "SELECT count(*) FROM queuectl_grouped WHERE grp = ?1 AND lane = ?2 AND ready = 1",
            )?
            .query_row((self.group, self.lane), |row| row.get(0))?;
        Ok(count)
    }

    fn first_behind(&self) -> Result<Option<Place>, StoreError> {
        self.one(
            "SELECT rank, key FROM queuectl_grouped WHERE grp = ?1 AND lane = ?2 AND ready = 0
             ORDER BY rank, key LIMIT 1",
        )
    }

    fn last_ready(&self) -> Result<Option<Place>, StoreError> {
        self.one(
            "SELECT rank, key FROM queuectl_grouped WHERE grp = ?1 AND lane = ?2 AND ready = 1
             ORDER BY rank DESC, key DESC LIMIT 1",
        )
    }

    fn one(&self, sql: &'static str) -> Result<Option<Place>, StoreError> {
        let place = self
            .tx
            .prepare(sql)?
            .query_row((self.group, self.lane), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(place)
    }

    fn step_up(&self, (rank, key): Place) -> Result<(), StoreError> {
        self.mark(1, (rank, key))?;
        self.tx.execute(
            "INSERT INTO queuectl_ready (lane, rank, first, last, expires, grp)
             SELECT ?1, ?2, ?3, ?3, expires_at IS NOT NULL, ?4 FROM queuectl_job WHERE key = ?3",
            (self.lane, rank, key, self.group),
        )?;
        Ok(())
    }

    fn step_back(&self, (rank, key): Place) -> Result<(), StoreError> {
        self.mark(0, (rank, key))?;
        self.tx.execute(
            "DELETE FROM queuectl_ready WHERE lane = ?1 AND rank = ?2 AND first = ?3",
            (self.lane, rank, key),
        )?;
        Ok(())
    }

    fn mark(&self, ready: i64, (rank, key): Place) -> Result<(), StoreError> {
        self.tx.execute(
            "UPDATE queuectl_grouped SET ready = ?3
             WHERE grp = ?1 AND lane = ?2 AND ready = 1 - ?3 AND rank = ?4 AND key = ?5",
            (self.group, self.lane, ready, rank, key),
        )?;
        Ok(())
    }
}
