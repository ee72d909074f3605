//! The store in one SQLite file.
//!
//! One connection writes, and the writes of all threads are combined on it ([`combine`]); readers
//! have connections of their own ([`readers`]). `docs/storage.md` has the schema, each transaction and
//! its crash points.

mod aside;
mod batch;
mod begun;
mod cancelling;
mod catalogue;
mod checkpoint;
mod claim;
mod combine;
mod command;
mod dead;
mod dependents;
mod enqueue;
mod error;
mod event;
mod expiry;
mod gate;
mod group;
mod insert;
mod lane;
mod lease;
mod lifelock;
mod limit;
mod line;
mod note;
mod open;
mod policy;
mod read;
mod readers;
mod retention;
mod row;
mod schedule;
mod settle;
mod tick;
mod ticket;
mod transaction;
mod unfinished;
mod unique;
mod untold;
mod waiting;
mod watch;
mod weight;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use self::claim::Given;
use self::combine::Combiner;
use self::lease::Process;
use self::lifelock::{LifeLock, LifeLocks};
pub use self::open::OpenError;
use self::readers::Readers;
use self::transaction::Writer;
use self::watch::Watchers;
use crate::attempt::Attempt;
use crate::clock::{Clock, SystemClock};
use crate::event::JobEvent;
use crate::id::{JobId, JobKey, Lease, Name, WorkerKey};
use crate::job::{BATCH_LEN_MAX, Job, Json, NewJob, Note};
use crate::limits::{Limit, QueueLimits, Weight};
use crate::policy::{Policy, Rule};
use crate::random;
use crate::schedule::{Schedule, ScheduleInfo, TickRecord};
use crate::settings::{Durability, Setting, Settings};
use crate::store::{
    BatchCancelled, BatchInfo, Cancelled, Cancelling, ClaimRequest, Enqueued, Exchanged,
    FailureGroup, JobQuery, LaneCounts, Orders, Progress, QueueInfo, Registration, Remark, Rescued,
    Settlement, StopMode, Store, StoreError, Sweep, Swept, Ticked, Waker, Watch, WorkerInfo,
};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Make the store if there is none, with its folder. `false`: only what is about to write
    /// should.
    pub create: bool,
    /// What an acknowledged write survives. `None`: what the store's `durability` setting says.
    pub durability: Option<Durability>,
    /// Where the store reads time. The operating system's clocks.
    pub clock: Arc<dyn Clock>,
    /// Use a file on a network file system all the same. `false`: SQLite's locks do not hold there.
    pub allow_network: bool,
    /// How many jobs one transaction moves on, at most, because others have ended or their batch is
    /// cancelled; what is left is for the next ones ([`Store::go_on`]). 1,000, which take some hundredths
    /// of a second.
    pub step: NonZeroUsize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions {
            create: false,
            durability: None,
            clock: Arc::new(SystemClock),
            allow_network: false,
            step: const { NonZeroUsize::new(1_000).unwrap() },
        }
    }
}

/// A store in one SQLite file, shared by any number of processes of one machine.
///
/// ```
/// use queuectl_core::{NewJob, SqliteOptions, SqliteStore, Store};
///
/// let folder = tempfile::tempdir()?;
/// let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// let store = SqliteStore::open(folder.path().join("queue.db"), options)?;
/// let added = store.enqueue(&[NewJob::new("email", &"ada@example.org")?])?;
/// assert_eq!(added[0].id.to_string(), "q1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteStore {
    path: PathBuf,
    identity: String,
    clock: Arc<dyn Clock>,
    combiner: Combiner,
    readers: Readers,
    watchers: Watchers,
    process: Process,
    locks: LifeLocks,
    /// Held as long as a worker of this process is registered.
    life: Mutex<Option<LifeLock>>,
    /// The lost attempts of ended jobs whose leftovers this process was told to end.
    cleaning: Mutex<BTreeSet<Lease>>,
    /// Where the next prune goes on: among what has become too old, and among what is too many.
    prune_from: Mutex<(i64, retention::Place)>,
}

impl SqliteStore {
    /// Opens the store at `path`.
    ///
    /// # Errors
    ///
    /// [`OpenError`], which says what the file is if it is not a store that can be used.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let opened = open::open(path.as_ref(), &options)?;
        let path = opened.path.clone();
        let clock = Arc::clone(&options.clock);
        let writer = Writer::new(opened.connection, opened.path, opened.file, options);
        Ok(SqliteStore {
            locks: LifeLocks::new(&path),
            readers: Readers::new(&path),
            path,
            identity: opened.identity,
            clock,
            combiner: Combiner::new(writer),
            watchers: Watchers::default(),
            process: Process {
                identity: random::identity(),
                pid: std::process::id(),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            },
            life: Mutex::new(None),
            cleaning: Mutex::default(),
            prune_from: Mutex::default(),
        })
    }

    /// The identity of this store, which no other has: 32 hexadecimal digits.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The file, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a short query on one of the readers' connections, which cannot write.
    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.readers.read(|connection| {
            // One transaction, so that several queries see one state; it ends with them.
            let snapshot = connection.transaction()?;
            let answer = query(&snapshot)?;
            snapshot.commit()?;
            Ok(answer)
        })
    }

    fn life(&self) -> MutexGuard<'_, Option<LifeLock>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes this process's lock if it has none yet, and tidies up behind those that died.
    fn prove_life(&self, life: &mut Option<LifeLock>) -> Result<(), StoreError> {
        if life.is_none() {
            let named = self.read(lease::processes)?;
            let lock = self.locks.hold(&self.process.identity);
            let lock = lock.map_err(|error| StoreError::Other(error.into()))?;
            self.locks.sweep(&lock, &named);
            *life = Some(lock);
        }
        Ok(())
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// From this many jobs on, a call is not handed over to another thread.
const LARGE_BATCH: usize = 32;

impl Store for SqliteStore {
    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        match jobs.len() {
            len if len > BATCH_LEN_MAX => Err(StoreError::BatchTooLarge { len }),
            len if len < LARGE_BATCH => self.combiner.enqueue(jobs.to_vec()),
            _ => {
                let jobs: Vec<_> = jobs.iter().collect();
                self.combiner.borrowed(|tx| enqueue::enqueue(tx, &jobs))
            }
        }
    }

    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        let exchanged = self.combiner.borrowed(|tx| {
            let refused = settle::settle(tx, settle)?;
            let Some(request) = claim else {
                return Ok(Exchanged { refused, ..Exchanged::default() });
            };
            let due = line::promote(tx)?;
            let Given { claimed, limited, next, ended } = claim::claim(tx, request)?;
            // The ends of what had expired may have freed jobs that have a moment to wait for.
            let due = if ended { line::next_due(tx)? } else { due };
            let next = if unfinished::go_on_beside(tx)? { Some(Duration::ZERO) } else { next };
            let next_due = due.into_iter().chain(next).min();
            Ok(Exchanged { refused, claimed, next_due, limited })
        })?;
        if !settle.is_empty()
            && let Some(life) = self.life().as_mut()
        {
            life.notes().ended(settle.iter().map(|settlement| settlement.lease));
        }
        Ok(exchanged)
    }

    fn begin(&self, lease: Lease) {
        if let Some(life) = self.life().as_mut() {
            life.notes().begins(lease);
        }
    }

    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError> {
        let mut life = self.life();
        self.prove_life(&mut life)?;
        self.combiner.borrowed(|tx| lease::register(tx, &self.process, request))
    }

    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError> {
        self.combiner.borrowed(|tx| {
            lease::renew(tx, workers, lease)?;
            lease::orders(tx.connection(), workers, tx.catalogue.boot_id())
        })
    }

    fn orders(&self, workers: &[WorkerKey]) -> Result<Orders, StoreError> {
        let boot_id = self.clock.boot_id();
        self.read(|connection| lease::orders(connection, workers, boot_id.as_str()))
    }

    fn held(&self, workers: &[WorkerKey]) -> Result<Vec<Lease>, StoreError> {
        let held =
            self.read(|connection| lease::held(connection, |worker| workers.contains(&worker)))?;
        Ok(held.into_iter().map(|(_, lease)| lease).collect())
    }

    fn deregister(&self, workers: &[WorkerKey]) -> Result<(), StoreError> {
        let mut life = self.life();
        let last = self.combiner.borrowed(|tx| lease::deregister(tx, &self.process, workers))?;
        if last && life.take().is_some() {
            self.locks.forget(&self.process.identity);
        }
        Ok(())
    }

    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        let (boot, boot_id) = (self.clock.boot(), self.clock.boot_id());
        let (dead, mut abandoned) = self.read(|connection| {
            let dead = lease::dead_workers(connection, &self.locks, boot, boot_id.as_str())?;
            Ok((dead, lease::leftovers(connection)?))
        })?;
        let mut cleaning = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned.retain(|left| {
            if !kinds.contains(&left.kind) {
                false
            } else if left.cleaner == self.process.identity {
                // Of an unknown outcome, this process may be to clean up what it was not told of.
                !cleaning.contains(&left.lease)
            } else {
                !self.locks.lives(&left.cleaner)
            }
        });
        if dead.is_empty() && abandoned.is_empty() {
            return Ok(Vec::new());
        }
        let rescuer = lease::Rescuer { process: &self.process, kinds };
        let rescued =
            self.combiner.borrowed(|tx| lease::rescue(tx, &rescuer, &dead, &abandoned))?;
        let told = cleaning.len();
        cleaning.extend(rescued.iter().filter(|one| rescuer.cleans(one)).map(|one| one.lease));
        let more = cleaning.len() > told;
        drop(cleaning);
        if more {
            // What is left of these is this process's to clean up, as long as it is known to live.
            // Without a lock, others come to it as well.
            let _ = self.prove_life(&mut self.life());
        }
        // Not before the commit: whoever dies here leaves the proof to the next one.
        for dead in dead.iter().filter(|dead| self.locks.is_dead(&dead.process)) {
            self.locks.forget(&dead.process);
        }
        Ok(rescued)
    }

    fn cleaned(&self, leases: &[Lease]) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| lease::cleaned(tx, leases))?;
        let mut cleaning = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        cleaning.retain(|lease| !leases.contains(lease));
        Ok(())
    }

    fn progress(&self, notes: &[Progress]) -> Result<Vec<Lease>, StoreError> {
        self.combiner.borrowed(|tx| command::progress(tx, notes))
    }

    fn close_batch(&self, name: &Name, then: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        if then.len() > BATCH_LEN_MAX {
            return Err(StoreError::BatchTooLarge { len: then.len() });
        }
        self.combiner.borrowed(|tx| batch::close(tx, name, then))
    }

    fn cancel_batch(&self, name: &Name, remark: &Remark<'_>) -> Result<BatchCancelled, StoreError> {
        self.combiner.borrowed(|tx| cancelling::begin(tx, name, remark))
    }

    fn keep_cancelling(&self, cancelling: &Cancelling) -> Result<BatchCancelled, StoreError> {
        self.combiner.borrowed(|tx| cancelling::keep_on(tx, cancelling))
    }

    fn go_on(&self) -> Result<bool, StoreError> {
        // A look first: mostly nothing is left.
        let any = self.read(unfinished::is_any)?;
        if any {
            self.combiner.borrowed(unfinished::go_on)?;
        }
        Ok(any)
    }

    fn batch(&self, name: &Name) -> Result<Option<BatchInfo>, StoreError> {
        self.read(|connection| batch::batch(connection, name))
    }

    fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>, StoreError> {
        self.read(|connection| batch::batches(connection, limit))
    }

    fn cancel(&self, jobs: &[JobId], remark: &Remark<'_>) -> Result<Vec<Cancelled>, StoreError> {
        self.combiner.borrowed(|tx| command::cancel(tx, jobs, remark))
    }

    fn retry(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| command::retry(tx, jobs))
    }

    fn retry_with(
        &self,
        job: &JobId,
        payload: &Json,
        remark: &Remark<'_>,
    ) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| command::retry_with(tx, job, payload, remark))
    }

    fn purge(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| command::purge(tx, jobs))
    }

    fn sweep(&self, sweep: &Sweep) -> Result<Swept, StoreError> {
        self.combiner.borrowed(|tx| dead::sweep(tx, sweep))
    }

    fn note(&self, job: &JobId, remark: &Remark<'_>) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| command::note(tx, job, remark))
    }

    fn prune(&self) -> Result<u64, StoreError> {
        let mut from = self.prune_from.lock().unwrap_or_else(PoisonError::into_inner);
        // A look first: nobody waits for it, and mostly nothing is too much.
        let (found, mut next) = self.read(|connection| retention::look(connection, from.1))?;
        if found.is_empty() {
            *from = (0, next);
            return Ok(0);
        }
        let (by_age, by_count) = self.combiner.borrowed(|tx| {
            let by_age = command::prune(tx, from.0)?;
            let by_count = retention::surplus(tx, &found, &mut next)?;
            retention::batches(tx, &mut next)?;
            Ok((by_age, by_count))
        })?;
        *from = (by_age.1, next);
        Ok(by_age.0 + by_count)
    }

    fn expire(&self) -> Result<u64, StoreError> {
        let (now, boot, boot_id) = (self.clock.now(), self.clock.boot(), self.clock.boot_id());
        // A look first: where nothing expires, nobody writes every second.
        let is_due = |connection: &Connection| {
            Ok(expiry::is_due(connection, now, boot, boot_id.as_str())?
                || unfinished::is_any(connection)?)
        };
        if !self.read(is_due)? {
            return Ok(0);
        }
        self.combiner.borrowed(|tx| {
            let expired = expiry::expire(tx)?;
            unfinished::go_on(tx)?;
            Ok(expired)
        })
    }

    fn pause(&self, queue: &Name, paused: bool) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| command::pause(tx, queue, paused))
    }

    fn limit(&self, queue: &Name, limits: &[Limit]) -> Result<QueueLimits, StoreError> {
        self.combiner.borrowed(|tx| limit::change(tx, queue, limits))
    }

    fn weigh(&self, queue: &Name, weight: Option<Weight>) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| weight::change(tx, queue, weight))
    }

    fn change_policy(&self, kind: &Name, rules: &[Rule]) -> Result<Policy, StoreError> {
        self.combiner.borrowed(|tx| policy::change(tx, kind, rules))
    }

    fn policies(&self) -> Result<BTreeMap<Name, Policy>, StoreError> {
        self.read(policy::read)
    }

    fn stop(&self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| lease::stop(tx, workers, mode))
    }

    fn put_schedule(&self, schedule: &Schedule) -> Result<bool, StoreError> {
        self.combiner.borrowed(|tx| schedule::put(tx, schedule))
    }

    fn schedules(&self) -> Result<Vec<ScheduleInfo>, StoreError> {
        self.read(schedule::all)
    }

    fn remove_schedule(&self, name: &Name) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| schedule::remove(tx, name))
    }

    fn pause_schedule(&self, name: &Name, paused: bool) -> Result<(), StoreError> {
        self.combiner.borrowed(|tx| schedule::pause(tx, name, paused))
    }

    fn run_schedule(&self, name: &Name) -> Result<Enqueued, StoreError> {
        self.combiner.borrowed(|tx| tick::run_now(tx, name))
    }

    fn tick(&self) -> Result<Ticked, StoreError> {
        let look = || self.read(|connection| tick::look(connection, self.clock.as_ref()));
        let seen = look()?;
        if seen.due.is_empty() {
            return Ok(Ticked { ticks: Vec::new(), next_due: seen.next_due });
        }
        // Which ticks are due was found out before, so that nobody waits for it. Whether they still are
        // is looked at once more, inside.
        let ticks = self.combiner.borrowed(|tx| tick::attend(tx, &seen.due))?;
        Ok(Ticked { ticks, next_due: look()?.next_due })
    }

    fn ticks(&self, name: &Name) -> Result<Vec<TickRecord>, StoreError> {
        self.read(|connection| schedule::history(connection, name))
    }

    fn settings(&self) -> Result<Settings, StoreError> {
        self.read(catalogue::read_settings)
    }

    fn change_setting(
        &self,
        setting: Setting,
        value: Option<&str>,
    ) -> Result<Settings, StoreError> {
        self.combiner.borrowed(|tx| command::change_setting(tx, setting, value))
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        self.read(|connection| read::job(connection, id))
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, StoreError> {
        self.read(|connection| read::jobs(connection, query))
    }

    fn attempts(&self, job: JobKey) -> Result<Vec<Attempt>, StoreError> {
        self.read(|connection| read::attempts(connection, job))
    }

    fn notes(&self, job: JobKey) -> Result<Vec<Note>, StoreError> {
        self.read(|connection| note::all(connection, job))
    }

    fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError> {
        self.read(|connection| dead::failures(connection, limit))
    }

    fn counts(&self) -> Result<Vec<LaneCounts>, StoreError> {
        self.read(read::counts)
    }

    fn queues(&self) -> Result<Vec<QueueInfo>, StoreError> {
        self.read(read::queues)
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        let (boot, boot_id) = (self.clock.boot(), self.clock.boot_id());
        self.read(|connection| {
            let dead = lease::dead_workers(connection, &self.locks, boot, boot_id.as_str())?;
            let mut running = read::running(connection)?;
            let describe = |row: lease::WorkerRow| {
                Ok(WorkerInfo {
                    key: row.worker,
                    process: row.process,
                    pid: row.pid,
                    host: row.host,
                    started_at: row.started_at,
                    lease_left: row.lease.map_or(Duration::ZERO, |lease| lease.since(boot)),
                    dead: dead.iter().any(|dead| dead.worker == row.worker),
                    stopping: row.stop,
                    log: row.log.map(PathBuf::from),
                    running: running.remove(&row.worker).unwrap_or_default(),
                })
            };
            lease::workers(connection, boot_id.as_str())?.into_iter().map(describe).collect()
        })
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        self.read(|connection| event::events(connection, after, limit))
    }

    fn last_event(&self) -> Result<u64, StoreError> {
        self.read(event::last)
    }

    fn watch(&self, waker: Waker) -> Result<Watch, StoreError> {
        self.watchers.watch(&self.path, waker).map_err(StoreError::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::Queues;

    /// A rescue looks for the dead before it has the lock. What it saw may be old when it has: a reaper
    /// of another queue overwrote jobs that had been completed meanwhile.
    #[test]
    fn who_renews_between_the_look_and_the_rescue_keeps_what_he_holds() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new());
        let options =
            SqliteOptions { create: true, clock: clock.clone(), ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("queue.db"), options).unwrap();
        let lease = Duration::from_secs(10);
        let workers = store.register(&Registration { workers: 2, lease, log: None }).unwrap();
        store.enqueue(&[NewJob::new("k", &()).unwrap()]).unwrap();
        let request = ClaimRequest {
            workers: &[(workers[0], 1)],
            queues: &Queues::All,
            kinds: &[Name::new("k").unwrap()],
        };
        assert_eq!(store.exchange(&[], Some(&request)).unwrap().claimed.len(), 1);
        clock.advance(lease);
        let (boot, boot_id) = (clock.boot(), clock.boot_id());
        let dead = store
            .read(|connection| {
                lease::dead_workers(connection, &store.locks, boot, boot_id.as_str())
            })
            .unwrap();
        assert_eq!(dead.len(), 2);
        store.renew(&workers[..1], lease).unwrap();
        let rescuer = lease::Rescuer { process: &store.process, kinds: &[] };
        let rescued =
            store.combiner.borrowed(|tx| lease::rescue(tx, &rescuer, &dead, &[])).unwrap();
        assert_eq!(rescued, []);
        assert_eq!(store.held(&workers).unwrap().len(), 1);
        assert_eq!(store.workers().unwrap().len(), 1);
    }

    /// Terminal is final, whatever another program has written to the file.
    #[test]
    fn what_has_ended_is_not_claimed_even_if_it_stands_among_what_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("queue.db"), options).unwrap();
        let added = store.enqueue(&[NewJob::new("k", &()).unwrap()]).unwrap();
        store.cancel(&[added[0].id.clone()], &"not wanted".into()).unwrap();
        let another = Connection::open(store.path()).unwrap();
        another.execute("INSERT INTO queuectl_ready VALUES (1, 0, 1, 1, 0, NULL)", []).unwrap();
        let lease = Duration::from_secs(10);
        let workers = store.register(&Registration { workers: 1, lease, log: None }).unwrap();
        let request = ClaimRequest {
            workers: &[(workers[0], 1)],
            queues: &Queues::All,
            kinds: &[Name::new("k").unwrap()],
        };
        let claimed = store.exchange(&[], Some(&request));
        assert!(matches!(claimed, Err(StoreError::Corrupt(_))), "{claimed:?}");
        let job = store.job(&added[0].id).unwrap().unwrap();
        assert_eq!((job.state, job.attempts), (crate::state::State::Cancelled, 0));
    }

    /// No query writes. Should one ever, it is refused instead of passing the combiner by.
    #[test]
    fn the_readers_connections_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("queue.db"), options).unwrap();
        let written = store.read(|connection| {
            Ok(connection.execute("UPDATE queuectl_meta SET epoch = epoch + 1", [])?)
        });
        assert!(written.is_err(), "{written:?}");
    }
}
