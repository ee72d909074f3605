//! Giving jobs to workers.

use std::time::Duration;

use rusqlite::{CachedStatement, Row};

use super::catalogue::Lane;
use super::row;
use super::transaction::Tx;
use crate::clock::{BootTime, Timestamp};
use crate::id::{JobKey, Lease, Token, WorkerKey};
use crate::job::Claimed;
use crate::state::State;
use crate::store::{ClaimRequest, StoreError};

/// Gives the workers of the request what they want, as far as there is.
pub(super) fn claim(
    tx: &mut Tx<'_>,
    request: &ClaimRequest<'_>,
) -> Result<Vec<Claimed>, StoreError> {
    promote(tx)?;
    let mut workers = Vec::with_capacity(request.workers.len());
    for &(worker, wanted) in request.workers {
        if wanted > 0 && may_claim(tx, worker)? {
            workers.push((worker, wanted));
        }
    }
    let wanted: usize = workers.iter().map(|(_, wanted)| wanted).sum();
    let mut claimed = Vec::new();
    if wanted == 0 {
        return Ok(claimed);
    }
    let served = |lane: &&Lane| {
        !lane.paused && request.kinds.contains(&lane.kind) && request.queues.include(&lane.queue)
    };
    let lanes: Vec<Lane> = tx.catalogue.lanes().iter().filter(served).cloned().collect();
    let mut takers =
        workers.iter().flat_map(|&(worker, wanted)| std::iter::repeat_n(worker, wanted));
    let next = next_in_line(tx, &lanes, wanted)?;
    let taken: Vec<_> = next
        .into_iter()
        .zip(&mut takers)
        .map(|((key, lane), worker)| Pick { key, lane: &lanes[lane], worker })
        .collect();
    let mut take = Take::prepare(tx)?;
    for run in taken.chunk_by(Pick::is_followed_by) {
        take.run(tx, run, &mut claimed)?;
    }
    Ok(claimed)
}

/// Whether a worker is registered and not told to stop.
fn may_claim(tx: &Tx<'_>, worker: WorkerKey) -> Result<bool, StoreError> {
    let mut live =
        tx.prepare("SELECT 1 FROM queuectl_worker WHERE worker = ?1 AND stop IS NULL")?;
    Ok(live.exists([worker.0])?)
}

/// The keys of the jobs that come next over all lanes, with the index of each one's lane.
fn next_in_line(
    tx: &Tx<'_>,
    lanes: &[Lane],
    wanted: usize,
) -> Result<Vec<(JobKey, usize)>, StoreError> {
    let mut heads = tx.prepare(
        "SELECT claim_rank, key FROM queuectl_job INDEXED BY queuectl_job_claimable
         WHERE lane = ?1 AND claim_rank IS NOT NULL ORDER BY claim_rank, key",
    )?;
    let mut next: Vec<(i64, i64, usize)> = Vec::new();
    for (index, lane) in lanes.iter().enumerate() {
        // The statement is stepped as far as needed; a bound LIMIT would be costlier.
        let mut rows = heads.query([lane.lane])?;
        for _ in 0..wanted {
            let Some(row) = rows.next()? else { break };
            next.push((row.get(0)?, row.get(1)?, index));
        }
    }
    if lanes.len() > 1 {
        next.sort_unstable();
        next.truncate(wanted);
    }
    Ok(next.into_iter().map(|(_, key, lane)| (JobKey(key), lane)).collect())
}

/// A job that is given to a worker.
struct Pick<'a> {
    key: JobKey,
    lane: &'a Lane,
    worker: WorkerKey,
}

impl Pick<'_> {
    /// Whether one statement can give both: jobs that were added together are claimed together.
    fn is_followed_by(&self, next: &Self) -> bool {
        next.key.0 == self.key.0 + 1 && next.worker == self.worker
    }
}

/// The statements that take a run of jobs, prepared once for all runs of a claim.
struct Take<'a> {
    read: CachedStatement<'a>,
    mark: CachedStatement<'a>,
}

impl<'a> Take<'a> {
    fn prepare(tx: &Tx<'a>) -> Result<Self, StoreError> {
        let read = tx.prepare(
            "SELECT state, token, attempts, max_attempts, name, payload, timeout_ms, backoff,
                    lost_from
             FROM queuectl_job WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        let mark = tx.prepare(
            "UPDATE queuectl_job NOT INDEXED
             SET state = 2, claim_rank = NULL, token = token + 1, attempts = attempts + 1,
                 worker = ?3, started_at = ?4, updated_at = ?4
             WHERE key BETWEEN ?1 AND ?2",
        )?;
        Ok(Take { read, mark })
    }

    fn run(
        &mut self,
        tx: &mut Tx<'_>,
        run: &[Pick<'_>],
        claimed: &mut Vec<Claimed>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let mut rows = self.read.query((first.key.0, last.key.0))?;
        for pick in run {
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            claimed.push(read(row, pick)?);
            tx.moved(pick.lane.lane, row::state(row, 0)?, State::Processing);
        }
        drop(rows);
        self.mark.execute((first.key.0, last.key.0, first.worker.0, tx.now.as_millis()))?;
        Ok(())
    }
}

/// The job as its worker is given it: with the attempt that it spends.
fn read(row: &Row<'_>, pick: &Pick<'_>) -> rusqlite::Result<Claimed> {
    let lease = Lease { key: pick.key, token: Token(row.get::<_, i64>(1)? + 1) };
    let (queue, kind) = (pick.lane.queue.clone(), pick.lane.kind.clone());
    let id = row::id(row, pick.key, 4)?;
    let mut claimed = Claimed::new(lease, pick.worker, id, queue, kind, row::json(row, 5)?);
    claimed.attempt = row.get::<_, u32>(2)? + 1;
    claimed.max_attempts = row.get(3)?;
    claimed.timeout = row::optional_duration(row, 6)?;
    claimed.backoff = row::optional_backoff(row, 7)?;
    claimed.lost_from = row.get::<_, Option<i64>>(8)?.map(Token);
    Ok(claimed)
}

/// Makes claimable what has become due, by either clock: a thousand jobs at most, so that a claim does
/// not hold the lock for long when a million become due at once. The rest follows with the next
/// claims.
///
/// The limits are written out. SQLite plans a statement anew for each value of a limit that is bound,
/// which was as costly as all the rest of a claim.
fn promote(tx: &Tx<'_>) -> Result<(), StoreError> {
    let due_by_wall = tx
        .prepare(
            "SELECT key FROM queuectl_job INDEXED BY queuectl_job_due_wall
             WHERE state IN (0, 4) AND claim_rank IS NULL AND run_boot IS NULL AND run_at <= ?1
             ORDER BY run_at LIMIT 1000",
        )?
        .query_map([tx.now.as_millis()], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    let due_by_boot = tx
        .prepare(
            "SELECT key FROM queuectl_job INDEXED BY queuectl_job_due_boot
             WHERE state IN (0, 4) AND claim_rank IS NULL AND run_boot IS NOT NULL
                   AND run_boot <= ?1
             ORDER BY run_boot LIMIT 1000",
        )?
        .query_map([tx.boot.as_millis()], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for key in due_by_wall.into_iter().chain(due_by_boot) {
        tx.execute(
            "UPDATE queuectl_job SET claim_rank = -priority, run_boot = NULL WHERE key = ?1",
            [key],
        )?;
    }
    Ok(())
}

/// When the next waiting job becomes due.
pub(super) fn next_due(tx: &Tx<'_>) -> Result<Option<Duration>, StoreError> {
    let wall: Option<i64> = tx
        .prepare(
            "SELECT min(run_at) FROM queuectl_job INDEXED BY queuectl_job_due_wall
             WHERE state IN (0, 4) AND claim_rank IS NULL AND run_boot IS NULL",
        )?
        .query_row([], |row| row.get(0))?;
    let boot: Option<i64> = tx
        .prepare(
            "SELECT min(run_boot) FROM queuectl_job INDEXED BY queuectl_job_due_boot
             WHERE state IN (0, 4) AND claim_rank IS NULL AND run_boot IS NOT NULL",
        )?
        .query_row([], |row| row.get(0))?;
    let by_wall = wall.map(|at| Timestamp::from_millis(at).since(tx.now));
    let by_boot = boot.map(|at| BootTime::from_millis(at).since(tx.boot));
    Ok([by_wall, by_boot].into_iter().flatten().min())
}
