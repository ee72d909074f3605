//! Giving jobs to workers.

use std::collections::HashMap;
use std::time::Duration;

use rusqlite::{CachedStatement, Row};

use super::cancelling;
use super::catalogue::Lane;
use super::event::Entry;
use super::expiry;
use super::group;
use super::limit::Room;
use super::line::{self, Run};
use super::row;
use super::transaction::Tx;
use super::unique;
use super::weight::Turns;
use crate::event::Change;
use crate::id::{JobKey, Lease, Token, WorkerKey};
use crate::job::Claimed;
use crate::state::{Event, transition};
use crate::store::{BoxError, ClaimRequest, StoreError};

/// How many jobs of a lane that have expired a claim looks at, at most. It bounds a lane, not the claim: over many
/// lanes one claim may cancel many times as many, and holds the lock meanwhile.
const EXPIRED_MAX: usize = 1_000;

/// How far beyond what it gives a claim looks for jobs whose batch was cancelled, if it has found one.
const AHEAD: usize = 100;

/// What a claim has given.
#[derive(Default)]
pub(super) struct Given {
    pub(super) claimed: Vec<Claimed>,
    /// A limit has kept a job back.
    pub(super) limited: bool,
    /// When there may be more: behind those that had expired, or when a queue's rate allows it.
    pub(super) next: Option<Duration>,
    /// Some had expired, and have ended.
    pub(super) ended: bool,
}

/// Gives the workers of the request what they want, as far as there is and the limits allow.
pub(super) fn claim(tx: &mut Tx<'_>, request: &ClaimRequest<'_>) -> Result<Given, StoreError> {
    let mut workers = Vec::with_capacity(request.workers.len());
    for &(worker, wanted) in request.workers {
        if wanted > 0 && may_claim(tx, worker)? {
            workers.push((worker, wanted));
        }
    }
    if workers.is_empty() {
        return Ok(Given::default());
    }
    let served = |lane: &&Lane| {
        !lane.paused && request.kinds.contains(&lane.kind) && request.queues.include(&lane.queue)
    };
    let lanes: Vec<Lane> = tx.catalogue.lanes().iter().filter(served).cloned().collect();
    // Those that ended instead of being given.
    let mut expired = Vec::new();
    let Choice { mut taken, room, limited, more, turns, .. } = loop {
        let choice = choose(tx, &lanes, &workers)?;
        for key in &choice.expired {
            expiry::expire_one(tx, *key)?;
        }
        for key in &choice.cancelled {
            cancelling::take_out(tx, *key)?;
        }
        expired.extend_from_slice(&choice.expired);
        expired.extend_from_slice(&choice.cancelled);
        if !choice.again || expired.len() >= EXPIRED_MAX {
            break Choice { more: choice.more || choice.again, ..choice };
        }
    };
    let mut given = Given { limited, ended: !expired.is_empty(), ..Given::default() };
    let mut places: HashMap<JobKey, usize> = HashMap::new();
    if let Some(turns) = turns {
        turns.note(tx)?;
        places = taken.iter().map(|pick| pick.key).zip(0..).collect();
        // So that what stands together is taken together.
        taken.sort_by_key(|pick| (pick.lane.lane, pick.rank, pick.key));
    }
    let mut take = Take::prepare(tx)?;
    for run in taken.chunk_by(Pick::is_followed_by) {
        take.run(tx, run, &mut given.claimed)?;
    }
    if !places.is_empty() {
        given.claimed.sort_by_key(|job| places.get(&job.lease.key).copied());
    }
    for Pick { key, rank, lane, group, .. } in taken {
        if let Some(group) = group {
            group::started(tx, group, lane.lane, rank, key)?;
        }
    }
    // Not before: a job that is freed may take the place of one that is being given out.
    expiry::tell_dependents(tx, &expired)?;
    let rate = room.note(tx, &lanes)?;
    given.next = more.then_some(Duration::ZERO).or(rate);
    Ok(given)
}

/// Whether a worker is registered and not told to stop.
fn may_claim(tx: &Tx<'_>, worker: WorkerKey) -> Result<bool, StoreError> {
    let mut live =
        tx.prepare("SELECT 1 FROM queuectl_worker WHERE worker = ?1 AND stop IS NULL")?;
    Ok(live.exists([worker.0])?)
}

/// Which jobs are given to whom, before anything of it is done.
struct Choice<'a> {
    taken: Vec<Pick<'a>>,
    /// What stood before them, and has expired.
    expired: Vec<JobKey>,
    /// What stands among them although its batch was cancelled. Then none is taken: to cancel one changes
    /// the run in which the others stand.
    cancelled: Vec<JobKey>,
    room: Room,
    limited: bool,
    /// There may be more, behind those that have expired.
    more: bool,
    /// The last of the expired has a concurrency key: the next with that key takes its place, so the
    /// choice is made anew. So it is if some are cancelled.
    again: bool,
    /// How far the queues come by it, if they take turns.
    turns: Option<Turns>,
}

/// The turns of those that come next, if queues have weights.
fn turns(tx: &Tx<'_>, lanes: &[Lane], front: &Front) -> Result<Option<Turns>, StoreError> {
    // Who has a thousand expired jobs to get out of the way does that first, and in order.
    if !tx.catalogue.weighed() || front.known_to.is_some() {
        return Ok(None);
    }
    let mut turns = Turns::of(tx)?;
    for (index, ready) in front.ready.iter().enumerate() {
        turns.add(tx, &lanes[ready.lane], ready.rank, index)?;
    }
    Ok(Some(turns))
}

fn choose<'a>(
    tx: &Tx<'_>,
    lanes: &'a [Lane],
    workers: &[(WorkerKey, usize)],
) -> Result<Choice<'a>, StoreError> {
    let mut workers = workers.to_vec();
    let wanted = workers.iter().map(|(_, wanted)| wanted).sum();
    let room = Room::of(tx, lanes)?;
    let front = front(tx, lanes, wanted, &room)?;
    let mut choice = Choice {
        taken: Vec::with_capacity(front.ready.len().min(wanted)),
        expired: Vec::new(),
        cancelled: Vec::new(),
        room,
        limited: front.limited,
        more: false,
        again: false,
        turns: turns(tx, lanes, &front)?,
    };
    if tx.catalogue.unfinished().cancelling {
        choice.cancelled = cancelled(tx, &front)?;
        if !choice.cancelled.is_empty() {
            // Where there is one there are more, and a claim may ask for one job at a time.
            let further = self::front(tx, lanes, wanted + AHEAD, &choice.room)?;
            choice.cancelled = cancelled(tx, &further)?;
            return Ok(Choice { again: true, ..choice });
        }
    }
    let mut in_order = 0..front.ready.len();
    while let Some(index) = match &mut choice.turns {
        None => in_order.next(),
        Some(turns) => turns.next(),
    } {
        let Ready { rank, key, until, lane, group, expires } = front.ready[index];
        if front.known_to.is_some_and(|last| (rank, key) > last) || choice.taken.len() == wanted {
            break;
        }
        let lane = &lanes[lane];
        let Some(worker) = choice.room.worker_for(tx, lane, group, &workers)? else {
            choice.limited = true;
            continue;
        };
        if expires == Expires::Over {
            choice.expired.push(key);
            choice.again = group.is_some();
            if choice.again {
                break;
            }
            continue;
        }
        choice.room.take(lane, group, worker, &mut workers);
        if let Some(turns) = &mut choice.turns {
            turns.given(lane.number);
        }
        let expires = expires == Expires::Later;
        choice.taken.push(Pick { key, rank, until, lane, group, worker, expires });
    }
    let unseen = front.known_to.is_some() && !choice.expired.is_empty();
    choice.more = unseen && choice.taken.len() < wanted;
    Ok(choice)
}

/// The jobs at the front whose batch was cancelled.
fn cancelled(tx: &Tx<'_>, front: &Front) -> Result<Vec<JobKey>, StoreError> {
    let mut cancelled = Vec::new();
    for ready in &front.ready {
        if cancelling::concerns(tx, ready.key)? {
            cancelled.push(ready.key);
        }
    }
    Ok(cancelled)
}

/// A job that can be claimed, in the order in which it is claimed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ready {
    rank: i64,
    key: JobKey,
    /// The last of the run in which it stands.
    until: JobKey,
    /// The index of its lane.
    lane: usize,
    group: Option<i64>,
    expires: Expires,
}

/// Whether a job expires.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Expires {
    Never,
    Later,
    Over,
}

/// The jobs that come next over all lanes, those that have expired among them.
struct Front {
    ready: Vec<Ready>,
    /// The rank and number up to which they are all that there are, if so many have expired that it
    /// was not looked further.
    known_to: Option<(i64, JobKey)>,
    /// There is more in a lane than its queue has room for.
    limited: bool,
}

/// Of each lane as many as are wanted and its queue has room for.
fn front(tx: &Tx<'_>, lanes: &[Lane], wanted: usize, room: &Room) -> Result<Front, StoreError> {
    let mut heads = tx.prepare(
        "SELECT rank, first, last, expires, grp FROM queuectl_ready
         WHERE lane = ?1 ORDER BY rank, first",
    )?;
    let mut front = Front { ready: Vec::new(), known_to: None, limited: false };
    for (index, lane) in lanes.iter().enumerate() {
        let room = room.of_lane(lane, wanted);
        // The statement is stepped as far as needed; a bound LIMIT would be costlier.
        let mut rows = heads.query([lane.lane])?;
        let (mut found, mut expired, mut more) = (0, 0, false);
        while found < room {
            let Some(row) = rows.next()? else { break };
            let (rank, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let expires = match row.get(3)? {
                false => Expires::Never,
                true if expiry::has_expired(tx, JobKey(first))? => Expires::Over,
                true => Expires::Later,
            };
            let (group, until) = (row.get(4)?, JobKey(last));
            let ready = |key| Ready { rank, key, until, lane: index, group, expires };
            let before = front.ready.len();
            front.ready.extend((first..=last).take(room - found).map(JobKey).map(ready));
            if expires != Expires::Over {
                found += front.ready.len() - before;
                more = front.ready.last().is_some_and(|ready| ready.key < until);
                continue;
            }
            expired += 1;
            if expired == EXPIRED_MAX {
                let last = front.known_to.unwrap_or((rank, until));
                front.known_to = Some(last.min((rank, until)));
                break;
            }
        }
        front.limited |= found == room && room < wanted && (more || rows.next()?.is_some());
    }
    if lanes.len() > 1 {
        front.ready.sort_unstable();
    }
    Ok(front)
}

/// A job that is given to a worker.
struct Pick<'a> {
    key: JobKey,
    rank: i64,
    /// The last of the run in which it stands.
    until: JobKey,
    lane: &'a Lane,
    group: Option<i64>,
    worker: WorkerKey,
    /// It can expire while it waits.
    expires: bool,
}

impl Pick<'_> {
    /// Whether one statement can give both: jobs that were added together are claimed together.
    fn is_followed_by(&self, next: &Self) -> bool {
        next.key.0 == self.key.0 + 1
            && next.worker == self.worker
            && (next.lane.lane, next.rank) == (self.lane.lane, self.rank)
            && next.group.or(self.group).is_none()
    }
}

/// The statements that take a run of jobs, prepared once for all runs of a claim.
struct Take<'a> {
    read: CachedStatement<'a>,
    lease: CachedStatement<'a>,
    leave: CachedStatement<'a>,
}

impl<'a> Take<'a> {
    fn prepare(tx: &Tx<'a>) -> Result<Self, StoreError> {
        let read = tx.prepare(
            "SELECT state, token, attempts, max_attempts, name, payload, timeout_ms, backoff,
                    lost_from, unique_states
             FROM queuectl_job WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        // OR FAIL: see `insert.rs`.
        let lease = tx.prepare(
            "INSERT OR FAIL INTO queuectl_lease (key, token, worker, lane, started_at, grp, limited)
             SELECT key, token + 1, ?3, lane, ?4, ?5, ?6
             FROM queuectl_job WHERE key BETWEEN ?1 AND ?2 ORDER BY key",
        )?;
        let leave = tx.prepare(
            "DELETE FROM queuectl_ready WHERE lane = ?1 AND rank = ?2 AND first BETWEEN ?3 AND ?4",
        )?;
        Ok(Take { read, lease, leave })
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
        let (from, to) = (first.key.0, last.key.0);
        let policy = tx.catalogue.policy(&first.lane.kind).cloned();
        let policy = policy.as_ref();
        let mut frees = Vec::new();
        let mut rows = self.read.query((from, to))?;
        for pick in run {
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let mut job = read(row, pick)?;
            if let Some(policy) = policy {
                job.timeout = job.timeout.or(policy.timeout);
                job.backoff = job.backoff.or_else(|| policy.backoff.clone());
            }
            let before = row::state(row, 0)?;
            let now = transition(before, Event::Claim).map_err(contradiction)?;
            if job.attempt > job.max_attempts {
                return Err(contradiction(format!("{} has no attempt left", job.id)));
            }
            let states: Option<i64> = row.get(9)?;
            frees.extend(states.filter(|&states| unique::ends_at_claim(states)).map(|_| pick.key));
            tx.moved(pick.lane.lane, before, now, || {
                Entry::under(job.lease, job.worker, Change::Claimed).named(Some(&job.id))
            });
            claimed.push(job);
        }
        drop(rows);
        let limited = first.lane.limits.concurrency.map(|_| first.lane.number);
        let holder = (first.worker.0, tx.now.as_millis());
        self.lease.execute((from, to, holder.0, holder.1, first.group, limited))?;
        // Each run is taken from its beginning on; what is not taken of the last stays.
        let Pick { rank, lane: &Lane { lane, .. }, .. } = *first;
        if self.leave.execute((lane, rank, from, to))? == 0 {
            return Err(contradiction(format!("{from} is not ready")));
        }
        line::make_run_ready(tx, Run { lane, rank, first: JobKey(to + 1), last: last.until })?;
        frees.into_iter().try_for_each(|key| unique::give_up(tx, key))?;
        run.iter().filter(|pick| pick.expires).try_for_each(|pick| expiry::forget(tx, pick.key))
    }
}

/// What is ready cannot be claimed: somebody else has written to the file.
fn contradiction(what: impl Into<BoxError>) -> StoreError {
    StoreError::Corrupt(what.into())
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
