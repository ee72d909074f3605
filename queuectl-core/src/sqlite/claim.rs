//! Giving jobs to workers.

use std::time::Duration;

use rusqlite::CachedStatement;

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
    let mut take = Take::prepare(tx)?;
    for (key, lane) in next_in_line(tx, &lanes, wanted)? {
        let Some(worker) = takers.next() else { break };
        claimed.push(take.job(tx, key, &lanes[lane], worker)?);
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

/// The statements that take a job, prepared once for all jobs of a claim.
struct Take<'a> {
    read: CachedStatement<'a>,
    mark: CachedStatement<'a>,
}

impl<'a> Take<'a> {
    fn prepare(tx: &Tx<'a>) -> Result<Self, StoreError> {
        let read = tx.prepare(
            "SELECT state, token, attempts, max_attempts, name, payload, timeout_ms, backoff,
                    lost_from
             FROM queuectl_job WHERE key = ?1",
        )?;
        let mark = tx.prepare(
            "UPDATE queuectl_job
             SET state = 2, claim_rank = NULL, token = ?2, attempts = ?3, worker = ?4,
                 started_at = ?5, updated_at = ?5
             WHERE key = ?1",
        )?;
        Ok(Take { read, mark })
    }

    fn job(
        &mut self,
        tx: &mut Tx<'_>,
        key: JobKey,
        lane: &Lane,
        worker: WorkerKey,
    ) -> Result<Claimed, StoreError> {
        let (from, claimed) = self.read.query_row([key.0], |row| {
            let lease = Lease { key, token: Token(row.get::<_, i64>(1)? + 1) };
            let (queue, kind) = (lane.queue.clone(), lane.kind.clone());
            let id = row::id(row, key, 4)?;
            let mut claimed = Claimed::new(lease, worker, id, queue, kind, row::json(row, 5)?);
            claimed.attempt = row.get::<_, u32>(2)? + 1;
            claimed.max_attempts = row.get(3)?;
            claimed.timeout = row::optional_duration(row, 6)?;
            claimed.backoff = row::optional_backoff(row, 7)?;
            claimed.lost_from = row.get::<_, Option<i64>>(8)?.map(Token);
            Ok((row::state(row, 0)?, claimed))
        })?;
        self.mark.execute((
            key.0,
            claimed.lease.token.0,
            claimed.attempt,
            worker.0,
            tx.now.as_millis(),
        ))?;
        tx.moved(lane.lane, from, State::Processing);
        Ok(claimed)
    }
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
