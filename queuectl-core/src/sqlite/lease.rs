//! Workers: their registration, their leases, and what becomes of both when they die.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::begun::Begun;
use super::lifelock::LifeLocks;
use super::row;
use super::settle;
use super::transaction::Tx;
use crate::clock::{BootTime, Timestamp};
use crate::id::{JobKey, Lease, Name, Token, WorkerKey};
use crate::store::{Orders, Registration, Rescued, StopMode, StoreError};

/// Who a process is.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) identity: String,
    pub(super) pid: u32,
    pub(super) host: String,
}

pub(super) fn register(
    tx: &mut Tx<'_>,
    process: &Process,
    request: &Registration,
) -> Result<Vec<WorkerKey>, StoreError> {
    let mut workers = Vec::with_capacity(request.workers);
    for _ in 0..request.workers {
        tx.execute(
            "INSERT INTO queuectl_worker
                 (process, pid, host, started_at, boot_id, lease_boot, log)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                process.identity,
                process.pid,
                process.host,
                tx.now.as_millis(),
                tx.catalogue.boot_id(),
                (tx.boot + request.lease).as_millis(),
                request.log.as_ref().map(|log| log.to_string_lossy()),
            ],
        )?;
        workers.push(WorkerKey(tx.last_key()));
    }
    Ok(workers)
}

pub(super) fn renew(
    tx: &mut Tx<'_>,
    workers: &[WorkerKey],
    lease: Duration,
) -> Result<(), StoreError> {
    let until = (tx.boot + lease).as_millis();
    for worker in workers {
        // A lease of an earlier boot has ended with it.
        tx.execute(
            "UPDATE queuectl_worker SET lease_boot = ?2 WHERE worker = ?1 AND boot_id = ?3",
            (worker.0, until, tx.catalogue.boot_id()),
        )?;
    }
    Ok(())
}

/// Ends registrations; says whether nothing names the process any more.
pub(super) fn deregister(
    tx: &mut Tx<'_>,
    process: &Process,
    workers: &[WorkerKey],
) -> Result<bool, StoreError> {
    for (_, lease) in held(tx.connection(), |worker| workers.contains(&worker))? {
        settle::release(tx, lease)?;
    }
    for worker in workers {
        tx.execute("DELETE FROM queuectl_worker WHERE worker = ?1", [worker.0])?;
    }
    let mut left = tx.prepare(
        "SELECT 1 FROM queuectl_worker WHERE process = ?1
         UNION ALL SELECT 1 FROM queuectl_leftover WHERE cleaner = ?1",
    )?;
    Ok(!left.exists([&process.identity])?)
}

pub(super) fn stop(
    tx: &mut Tx<'_>,
    workers: &[WorkerKey],
    mode: StopMode,
) -> Result<(), StoreError> {
    for worker in workers {
        // A stronger wish stands, whoever had it first.
        let told = tx.execute(
            "UPDATE queuectl_worker SET stop = max(ifnull(stop, 0), ?2) WHERE worker = ?1",
            (worker.0, stop_code(mode)),
        )?;
        if told == 0 {
            return Err(StoreError::NoWorker(*worker));
        }
    }
    Ok(())
}

/// What is wanted of the workers; a read.
pub(super) fn orders(
    connection: &Connection,
    workers: &[WorkerKey],
    boot_id: &str,
) -> Result<Orders, StoreError> {
    let mut orders = Orders::default();
    let mut registered = connection
        .prepare_cached("SELECT stop FROM queuectl_worker WHERE worker = ?1 AND boot_id = ?2")?;
    let mut cancelled = connection.prepare_cached(
        "SELECT key, token, cancel_reason FROM queuectl_lease
         WHERE worker = ?1 AND cancel_reason IS NOT NULL ORDER BY key",
    )?;
    for &worker in workers {
        let mut rows = registered.query((worker.0, boot_id))?;
        let Some(row) = rows.next()? else {
            orders.lost.push(worker);
            continue;
        };
        if let Some(mode) = row.get::<_, Option<i64>>(0)?.and_then(stop_mode) {
            orders.stop.push((worker, mode));
        }
        let mut rows = cancelled.query([worker.0])?;
        while let Some(row) = rows.next()? {
            let lease = Lease { key: JobKey(row.get(0)?), token: Token(row.get(1)?) };
            orders.cancel.push((lease, row.get(2)?));
        }
    }
    Ok(orders)
}

/// The leases that some of the workers hold; a read. Looks at all there are: an index by worker would
/// cost more with each claim than this does now and then.
pub(super) fn held(
    connection: &Connection,
    by: impl Fn(WorkerKey) -> bool,
) -> Result<Vec<(WorkerKey, Lease)>, StoreError> {
    let mut held =
        connection.prepare_cached("SELECT worker, key, token FROM queuectl_lease ORDER BY key")?;
    let mut rows = held.query([])?;
    let mut leases = Vec::new();
    while let Some(row) = rows.next()? {
        let worker = WorkerKey(row.get(0)?);
        if by(worker) {
            leases.push((worker, Lease { key: JobKey(row.get(1)?), token: Token(row.get(2)?) }));
        }
    }
    Ok(leases)
}

/// Why a worker is taken for dead.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Death {
    /// The kernel has released the lock that its process held: the process is gone, for ever. So its
    /// last word stands on what had begun.
    ProcessGone(Rc<Begun>),
    /// Its lease has ended, or the machine has been restarted. It may have been extended since.
    LeaseEnded,
}

/// A worker that looks dead.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) worker: WorkerKey,
    pub(super) process: String,
    death: Death,
}

/// The workers that look dead; a read. Looks at the lock of each process once.
pub(super) fn dead_workers(
    connection: &Connection,
    locks: &LifeLocks,
    boot: BootTime,
    boot_id: &str,
) -> Result<Vec<Dead>, StoreError> {
    let mut workers = connection.prepare_cached(
        "SELECT worker, process, boot_id, lease_boot FROM queuectl_worker ORDER BY process",
    )?;
    let mut rows = workers.query([])?;
    let mut dead = Vec::new();
    let mut last: Option<(String, Option<Rc<Begun>>)> = None;
    while let Some(row) = rows.next()? {
        let worker = WorkerKey(row.get(0)?);
        let process: String = row.get(1)?;
        let same_boot = row.get::<_, String>(2)? == boot_id;
        let lease_ended = !same_boot || row.get::<_, i64>(3)? <= boot.as_millis();
        let gone = match &last {
            // What was noted before a restart may have been lost with it.
            _ if !same_boot => None,
            Some((same, gone)) if *same == process => gone.clone(),
            _ => {
                let gone = locks.last_word(&process).map(Rc::new);
                last = Some((process.clone(), gone.clone()));
                gone
            }
        };
        match gone {
            Some(begun) => dead.push(Dead { worker, process, death: Death::ProcessGone(begun) }),
            None if lease_ended => dead.push(Dead { worker, process, death: Death::LeaseEnded }),
            None => {}
        }
    }
    Ok(dead)
}

/// What lost attempts have left of jobs that have ended, and the process that is to end it.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) lease: Lease,
    pub(super) kind: Name,
    pub(super) cleaner: String,
}

/// Who rescues, and what he can clean up after.
pub(super) struct Rescuer<'a> {
    pub(super) process: &'a Process,
    pub(super) kinds: &'a [Name],
}

impl Rescuer<'_> {
    /// Whether it is his to end what is left: nobody will claim the job and do it.
    pub(super) fn cleans(&self, rescued: &Rescued) -> bool {
        rescued.state.is_terminal() && self.kinds.contains(&rescued.kind)
    }
}

/// All of them; a read.
pub(super) fn leftovers(connection: &Connection) -> Result<Vec<Leftover>, StoreError> {
    let mut left =
        connection.prepare_cached("SELECT job, token, kind, cleaner FROM queuectl_leftover")?;
    let left = left.query_map([], |row| {
        let lease = Lease { key: JobKey(row.get(0)?), token: Token(row.get(1)?) };
        Ok(Leftover { lease, kind: row::name(row, 2)?, cleaner: row.get(3)? })
    })?;
    Ok(left.collect::<Result<_, _>>()?)
}

/// Every process that the store names; a read.
pub(super) fn processes(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut processes = connection.prepare_cached(
        "SELECT process FROM queuectl_worker UNION SELECT cleaner FROM queuectl_leftover",
    )?;
    let processes = processes.query_map([], |row| row.get(0))?;
    Ok(processes.collect::<Result<_, _>>()?)
}

/// Takes over what nobody is at, unless somebody else has been quicker.
fn take_over(
    tx: &Tx<'_>,
    process: &Process,
    abandoned: &[Leftover],
    rescued: &mut Vec<Rescued>,
) -> Result<(), StoreError> {
    for Leftover { lease, kind, cleaner } in abandoned {
        let mut statement = tx.prepare(
            "UPDATE queuectl_leftover SET cleaner = ?4
             WHERE job = ?1 AND token = ?2 AND cleaner = ?3
             RETURNING lost_from, worker, state",
        )?;
        let left = (lease.key.0, lease.token.0, cleaner, &process.identity);
        let left = statement.query_row(left, |row| {
            Ok(Rescued {
                lease: *lease,
                lost_from: Token(row.get(0)?),
                kind: kind.clone(),
                worker: WorkerKey(row.get(1)?),
                state: row::state(row, 2)?,
            })
        });
        rescued.extend(left.optional()?);
    }
    Ok(())
}

/// What these attempts left has been ended.
pub(super) fn cleaned(tx: &Tx<'_>, leases: &[Lease]) -> Result<(), StoreError> {
    for Lease { key, token } in leases {
        tx.execute(
            "DELETE FROM queuectl_leftover WHERE job = ?1 AND token = ?2",
            (key.0, token.0),
        )?;
    }
    Ok(())
}

/// Frees the jobs of workers that are dead, after a second look at those whose lease had ended; and
/// takes over what nobody cleans up.
pub(super) fn rescue(
    tx: &mut Tx<'_>,
    rescuer: &Rescuer<'_>,
    dead: &[Dead],
    abandoned: &[Leftover],
) -> Result<Vec<Rescued>, StoreError> {
    let mut rescued = Vec::new();
    take_over(tx, rescuer.process, abandoned, &mut rescued)?;
    let mut gone: HashMap<WorkerKey, &Death> = HashMap::new();
    for Dead { worker, death, .. } in dead {
        let worker = *worker;
        let renewed = *death == Death::LeaseEnded && {
            let mut live = tx.prepare(
                "SELECT 1 FROM queuectl_worker
                 WHERE worker = ?1 AND boot_id = ?2 AND lease_boot > ?3",
            )?;
            live.exists((worker.0, tx.catalogue.boot_id(), tx.boot.as_millis()))?
        };
        if renewed {
            continue;
        }
        gone.insert(worker, death);
        tx.execute("DELETE FROM queuectl_worker WHERE worker = ?1", [worker.0])?;
    }
    // In the order of the jobs: of several that come back, the first takes its unique key again.
    for (worker, lease) in held(tx.connection(), |worker| gone.contains_key(&worker))? {
        match gone.get(&worker) {
            Some(Death::ProcessGone(begun)) if !begun.contains(lease) => {
                settle::never_began(tx, lease)?;
            }
            _ => {
                let lost = settle::lose(tx, lease, worker)?;
                if let Some(lost) = lost.as_ref().filter(|lost| rescuer.cleans(lost)) {
                    settle::note_leftovers(tx, lost.lease.key, &rescuer.process.identity)?;
                }
                rescued.extend(lost);
            }
        }
    }
    Ok(rescued)
}

/// A registered worker as it stands in its row.
pub(super) struct WorkerRow {
    pub(super) worker: WorkerKey,
    pub(super) process: String,
    pub(super) pid: u32,
    pub(super) host: String,
    pub(super) started_at: Timestamp,
    pub(super) lease: Option<BootTime>,
    pub(super) stop: Option<StopMode>,
    pub(super) log: Option<String>,
}

pub(super) fn workers(
    connection: &Connection,
    boot_id: &str,
) -> Result<Vec<WorkerRow>, StoreError> {
    let mut workers = connection.prepare_cached(
        "SELECT worker, process, pid, host, started_at, boot_id, lease_boot, stop, log
         FROM queuectl_worker ORDER BY worker",
    )?;
    let workers = workers.query_map([], |row| {
        let same_boot = row.get_ref(5)?.as_str()? == boot_id;
        Ok(WorkerRow {
            worker: WorkerKey(row.get(0)?),
            process: row.get(1)?,
            pid: row.get(2)?,
            host: row.get(3)?,
            started_at: row::timestamp(row, 4)?,
            lease: same_boot.then_some(BootTime::from_millis(row.get(6)?)),
            stop: row.get::<_, Option<i64>>(7)?.and_then(stop_mode),
            log: row.get(8)?,
        })
    })?;
    Ok(workers.collect::<Result<_, _>>()?)
}

const STOP_MODES: [StopMode; 3] = [StopMode::Finish, StopMode::Grace, StopMode::Now];

fn stop_code(mode: StopMode) -> i64 {
    mode as i64
}

fn stop_mode(code: i64) -> Option<StopMode> {
    STOP_MODES.into_iter().find(|&mode| stop_code(mode) == code)
}
