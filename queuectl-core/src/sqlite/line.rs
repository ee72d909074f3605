//! Where a job stands while it waits: ready to be claimed, or due later.
//!
//! A job enters a line when its own row says what it waits for, and leaves it before that row says
//! something else.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::transaction::Tx;
use super::{group, row};
use crate::clock::{BootTime, Timestamp};
use crate::id::JobKey;
use crate::store::StoreError;

/// Jobs with consecutive numbers that can be claimed, one as well as the other: they have one priority and
/// one run_at, do not expire, and have no concurrency key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) lane: i64,
    pub(super) rank: i64,
    pub(super) first: JobKey,
    pub(super) last: JobKey,
}

impl Run {
    /// Whether both are one run.
    pub(super) fn goes_on_with(&self, next: &Self) -> bool {
        (self.lane, self.rank, self.last.0 + 1) == (next.lane, next.rank, next.first.0)
    }
}

/// The jobs of a run can be claimed from now on; of an empty one, none.
pub(super) fn make_run_ready(tx: &Tx<'_>, run: Run) -> Result<(), StoreError> {
    if run.first <= run.last {
        tx.execute(
            "INSERT INTO queuectl_ready (lane, rank, first, last, expires) VALUES (?1, ?2, ?3, ?4, 0)",
            (run.lane, run.rank, run.first.0, run.last.0),
        )?;
    }
    Ok(())
}

/// A job can be claimed from now on; one with a concurrency key, as far as its group allows.
pub(super) fn make_ready(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let made = tx.execute(
        "INSERT INTO queuectl_ready (lane, rank, first, last, expires)
         SELECT lane, ifnull(max(run_at, 0) - priority * ?2, -priority), key, key,
                expires_at IS NOT NULL
         FROM queuectl_job WHERE key = ?1 AND concurrency_key IS NULL",
        (key.0, aging(tx)),
    )?;
    if made == 0 { group::enter(tx, key) } else { Ok(()) }
}

/// The order in which a job is claimed, lowest first, by its priority and by when it could run. Where
/// waiting raises the priority, all that wait rise alike: so what stands in a line keeps its rank.
pub(super) fn rank(tx: &Tx<'_>, priority: i64, run_at: i64) -> i64 {
    aging(tx).map_or(-priority, |aging| run_at.max(0) - priority * aging)
}

/// The rank of a job that is added to run now.
pub(super) fn rank_now(tx: &Tx<'_>, priority: i16) -> i64 {
    rank(tx, priority.into(), tx.now.as_millis())
}

/// How many milliseconds of waiting count as one more priority.
fn aging(tx: &Tx<'_>) -> Option<i64> {
    tx.catalogue.settings().aging.map(row::millis)
}

/// What waiting counts for has changed: every rank is another.
pub(super) fn rank_again(tx: &Tx<'_>) -> Result<(), StoreError> {
    let aging = aging(tx);
    tx.execute(
        "UPDATE queuectl_ready SET rank =
             (SELECT ifnull(max(run_at, 0) - priority * ?1, -priority) FROM queuectl_job AS job
              WHERE job.key = first)",
        [aging],
    )?;
    tx.execute(
        "UPDATE queuectl_grouped SET rank =
             (SELECT ifnull(max(run_at, 0) - priority * ?1, -priority) FROM queuectl_job AS job
              WHERE job.key = queuectl_grouped.key)",
        [aging],
    )?;
    let mut queues: Vec<i64> = tx.catalogue.lanes().iter().map(|lane| lane.number).collect();
    queues.sort_unstable();
    queues.dedup();
    queues.into_iter().try_for_each(|queue| group::adjust_all(tx, queue))
}

/// A job can be claimed from the time on that is in its row.
pub(super) fn make_due(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO queuectl_due (clock, at, key)
         SELECT run_boot IS NOT NULL, ifnull(run_boot, run_at), key
         FROM queuectl_job WHERE key = ?1",
        [key.0],
    )?;
    Ok(())
}

/// A job waits no more, if it did: it stands in neither line.
pub(super) fn leave(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    leave_run(tx, key)?;
    tx.execute(
        "DELETE FROM queuectl_due WHERE (clock, at, key) =
             (SELECT run_boot IS NOT NULL, ifnull(run_boot, run_at), key
              FROM queuectl_job WHERE key = ?1)",
        [key.0],
    )?;
    group::leave(tx, key)
}

/// A job leaves the run in which it stands, if it does: what is left of that are two.
fn leave_run(tx: &Tx<'_>, key: JobKey) -> Result<(), StoreError> {
    let run = tx
        .prepare(
            "SELECT ready.lane, rank, first, last
             FROM queuectl_job AS job CROSS JOIN queuectl_ready AS ready
             WHERE key = ?1 AND ready.lane = job.lane
                 AND rank = ifnull(max(run_at, 0) - priority * ?2, -priority) AND first <= ?1
             ORDER BY first DESC LIMIT 1",
        )?
        .query_row((key.0, aging(tx)), |row| {
            let (first, last) = (JobKey(row.get(2)?), JobKey(row.get(3)?));
            Ok(Run { lane: row.get(0)?, rank: row.get(1)?, first, last })
        })
        .optional()?;
    let Some(run) = run.filter(|run| key <= run.last) else { return Ok(()) };
    tx.execute(
        "DELETE FROM queuectl_ready WHERE lane = ?1 AND rank = ?2 AND first = ?3",
        (run.lane, run.rank, run.first.0),
    )?;
    make_run_ready(tx, Run { last: JobKey(key.0 - 1), ..run })?;
    make_run_ready(tx, Run { first: JobKey(key.0 + 1), ..run })
}

/// Makes ready what has become due, by either clock, and says when the next job becomes due: a thousand
/// jobs of each clock at most, so that a claim does not hold the lock for long when a million become
/// due at once. The rest follows with the next claims.
pub(super) fn promote(tx: &Tx<'_>) -> Result<Option<Duration>, StoreError> {
    let next = next_due(tx)?;
    if next != Some(Duration::ZERO) {
        return Ok(next);
    }
    // The limit is written out. SQLite plans a statement anew for each value of a limit that is
    // bound, which was as costly as all the rest of a claim.
    let mut due = tx.prepare(
        "SELECT at, key FROM queuectl_due WHERE clock = ?1 AND at <= ?2 ORDER BY at, key LIMIT 1000",
    )?;
    for (clock, now) in [(WALL, tx.now.as_millis()), (BOOT, tx.boot.as_millis())] {
        let promoted = due
            .query_map((clock, now), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        for (at, key) in promoted {
            tx.execute(
                "DELETE FROM queuectl_due WHERE clock = ?1 AND at = ?2 AND key = ?3",
                (clock, at, key),
            )?;
            make_ready(tx, JobKey(key))?;
        }
    }
    next_due(tx)
}

/// The clock by which a job becomes due, as it stands in its column.
const WALL: i64 = 0;
const BOOT: i64 = 1;

/// When the next waiting job becomes due; zero if one is.
pub(super) fn next_due(tx: &Tx<'_>) -> Result<Option<Duration>, StoreError> {
    let (wall, boot): (Option<i64>, Option<i64>) = tx
        .prepare(
            "SELECT (SELECT min(at) FROM queuectl_due WHERE clock = 0),
                    (SELECT min(at) FROM queuectl_due WHERE clock = 1)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let by_wall = wall.map(|at| Timestamp::from_millis(at).since(tx.now));
    let by_boot = boot.map(|at| BootTime::from_millis(at).since(tx.boot));
    Ok([by_wall, by_boot].into_iter().flatten().min())
}

/// The boot clock has begun again: delays that it measured fall back to the wall clock.
pub(super) fn after_boot(connection: &Connection) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO queuectl_due (clock, at, key)
         SELECT 0, job.run_at, job.key
         FROM queuectl_due AS due CROSS JOIN queuectl_job AS job USING (key) WHERE clock = 1",
        [],
    )?;
    connection.execute(
        "UPDATE queuectl_job SET run_boot = NULL
         WHERE key IN (SELECT key FROM queuectl_due WHERE clock = 1)",
        [],
    )?;
    connection.execute("DELETE FROM queuectl_due WHERE clock = 1", [])?;
    Ok(())
}
