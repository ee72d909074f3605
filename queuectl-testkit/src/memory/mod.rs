//! The smallest correct [`Store`]: everything in maps behind one mutex.
//!
//! It is the reference. Where a sentence of the contract can be read in two ways, this is how it is
//! meant, and what another store does can be compared with what this one does. Nothing is indexed
//! and little is clever; a claim looks at every job. Each part of the contract has a file:
//!
//! - `data`: what is kept, and when a waiting job is due;
//! - `enqueue`, `exchange`, `workers`, `commands`: the writing calls;
//! - `events`: the event log;
//! - `dead`: many dead jobs at a time, and notes;
//! - `limits`, `weights`: what limits a queue, and whose turn it is;
//! - `schedules`: what is enqueued again and again;
//! - `reading`: the rest.

mod batches;
mod commands;
mod data;
mod dead;
mod dependents;
mod enqueue;
mod events;
mod exchange;
mod limits;
mod reading;
mod schedules;
mod weights;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queuectl_core::schedule::{ScheduleInfo, TickRecord};
use queuectl_core::store::{
    BatchCancelled, BatchInfo, Cancelled, Cancelling, ClaimRequest, Enqueued, Exchanged,
    FailureGroup, JobQuery, LaneCounts, Orders, Progress, QueueInfo, Registration, Remark, Rescued,
    Settlement, StopMode, Sweep, Swept, Ticked, Waker, Watch, WorkerInfo,
};
use queuectl_core::{
    Attempt, Clock, Job, JobEvent, JobId, JobKey, Json, Lease, Limit, Name, NewJob, Note, Policy,
    QueueLimits, Rule, Schedule, Setting, Settings, Store, StoreError, Weight, WorkerKey,
};

use self::data::{Data, Now};

/// A store in memory.
///
/// Each value is a handle, and stands for one process: [`another_handle`](Self::another_handle)
/// gives a second one on the same jobs. Dropping a handle is the death of its process: its workers
/// are dead from then on, and the next [`rescue`](Store::rescue) by another handle frees their jobs.
///
/// ```
/// use queuectl_core::{ManualClock, NewJob, State, Store};
/// use queuectl_testkit::MemoryStore;
/// use std::sync::Arc;
///
/// let store = MemoryStore::new(Arc::new(ManualClock::new()));
/// let added = store.enqueue(&[NewJob::new("email", "ada@example.org")?])?;
/// let job = store.job(&added[0].id)?.expect("it was just added");
/// assert_eq!(job.state, State::Pending);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MemoryStore {
    shared: Arc<Shared>,
    process: String,
}

/// What all handles have in common.
struct Shared {
    clock: Arc<dyn Clock>,
    data: Mutex<Data>,
    wakers: Mutex<Wakers>,
}

#[derive(Default)]
struct Wakers {
    last: u64,
    by_number: BTreeMap<u64, Waker>,
}

impl MemoryStore {
    /// An empty store that reads time from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::of(Arc::new(Shared { clock, data: Mutex::default(), wakers: Mutex::default() }))
    }

    /// Another handle on the same jobs, as another process would hold it.
    #[must_use]
    pub fn another_handle(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }

    fn of(shared: Arc<Shared>) -> Self {
        let process = lock(&shared.data).new_process();
        MemoryStore { shared, process }
    }

    /// One transaction: nobody else sees or changes anything meanwhile. `body` changes nothing
    /// unless it returns `Ok`.
    fn write<T>(
        &self,
        body: impl FnOnce(&mut Data, &Now) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_if(body, |_| true)
    }

    /// One that may have found nothing to change; nobody is woken for that.
    fn write_if<T>(
        &self,
        body: impl FnOnce(&mut Data, &Now) -> Result<T, StoreError>,
        changed: impl FnOnce(&T) -> bool,
    ) -> Result<T, StoreError> {
        let mut data = lock(&self.shared.data);
        let mark = data.log.mark();
        let done = body(&mut data, &Now::read(self.shared.clock.as_ref()))
            .inspect_err(|_| data.log.back_to(&mark))?;
        data.log.trim(&data.settings);
        drop(data);
        if changed(&done) {
            self.shared.wake();
        }
        Ok(done)
    }

    fn read<T>(&self, body: impl FnOnce(&Data, &Now) -> T) -> T {
        let data = lock(&self.shared.data);
        body(&data, &Now::read(self.shared.clock.as_ref()))
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        lock(&self.shared.data).process_died(&self.process);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Shared {
    /// Calls the wakers, outside of every lock: one that drops its own watch must not wait for
    /// itself.
    fn wake(&self) {
        let wakers: Vec<Waker> = lock(&self.wakers).by_number.values().cloned().collect();
        for waker in wakers {
            waker();
        }
    }
}

/// A test that panicked while it held the lock has failed already; the others may go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a watch when it is dropped.
struct Unwatch {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Unwatch {
    fn drop(&mut self) {
        let waker = lock(&self.shared.wakers).by_number.remove(&self.number);
        // After the lock is released: what the waker owns may call the store when it is dropped.
        drop(waker);
    }
}

impl Store for MemoryStore {
    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        self.write(|data, now| data.enqueue(jobs, now))
    }

    fn exchange(
        &self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged, StoreError> {
        self.write_if(
            |data, now| data.exchange(settle, claim, now),
            |done| !settle.is_empty() || !done.claimed.is_empty(),
        )
    }

    fn register(&self, request: &Registration) -> Result<Vec<WorkerKey>, StoreError> {
        self.write(|data, now| Ok(data.register(request, &self.process, now)))
    }

    fn renew(&self, workers: &[WorkerKey], lease: Duration) -> Result<Orders, StoreError> {
        self.write(|data, now| Ok(data.renew(workers, lease, now)))
    }

    fn orders(&self, workers: &[WorkerKey]) -> Result<Orders, StoreError> {
        Ok(self.read(|data, _| data.orders(workers)))
    }

    fn held(&self, workers: &[WorkerKey]) -> Result<Vec<Lease>, StoreError> {
        Ok(self.read(|data, _| data.held(workers)))
    }

    fn deregister(&self, workers: &[WorkerKey]) -> Result<(), StoreError> {
        self.write(|data, now| data.deregister(workers, now))
    }

    fn begin(&self, lease: Lease) {
        lock(&self.shared.data).begin(lease);
    }

    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        self.write_if(|data, now| data.rescue(&self.process, kinds, now), |freed| !freed.is_empty())
    }

    fn cleaned(&self, leases: &[Lease]) -> Result<(), StoreError> {
        self.write(|data, _| {
            data.cleaned(leases);
            Ok(())
        })
    }

    fn progress(&self, notes: &[Progress]) -> Result<Vec<Lease>, StoreError> {
        self.write(|data, now| Ok(data.progress(notes, now)))
    }

    fn close_batch(&self, batch: &Name, then: &[NewJob]) -> Result<Vec<Enqueued>, StoreError> {
        self.write(|data, now| data.close_batch(batch, then, now))
    }

    fn cancel_batch(
        &self,
        batch: &Name,
        remark: &Remark<'_>,
    ) -> Result<BatchCancelled, StoreError> {
        self.write(|data, now| data.cancel_batch(batch, remark, now))
    }

    // Here nothing is left for later.
    fn keep_cancelling(&self, _: &Cancelling) -> Result<BatchCancelled, StoreError> {
        Ok(BatchCancelled::default())
    }

    fn go_on(&self) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn batch(&self, name: &Name) -> Result<Option<BatchInfo>, StoreError> {
        Ok(self.read(|data, _| data.batch(name)))
    }

    fn batches(&self, limit: usize) -> Result<Vec<BatchInfo>, StoreError> {
        Ok(self.read(|data, _| data.newest_batches(limit)))
    }

    fn cancel(&self, jobs: &[JobId], remark: &Remark<'_>) -> Result<Vec<Cancelled>, StoreError> {
        self.write(|data, now| data.cancel(jobs, remark, now))
    }

    fn retry(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.write(|data, now| data.retry(jobs, now))
    }

    fn retry_with(
        &self,
        job: &JobId,
        payload: &Json,
        remark: &Remark<'_>,
    ) -> Result<(), StoreError> {
        self.write(|data, now| data.retry_with(job, payload, remark, now))
    }

    fn purge(&self, jobs: &[JobId]) -> Result<(), StoreError> {
        self.write(|data, now| data.purge(jobs, now))
    }

    fn sweep(&self, sweep: &Sweep) -> Result<Swept, StoreError> {
        self.write(|data, now| data.sweep(sweep, now))
    }

    fn note(&self, job: &JobId, remark: &Remark<'_>) -> Result<(), StoreError> {
        self.write(|data, now| data.note_job(job, remark, now))
    }

    fn prune(&self) -> Result<u64, StoreError> {
        self.write(|data, now| data.prune(now))
    }

    fn expire(&self) -> Result<u64, StoreError> {
        self.write(|data, now| data.expire(now))
    }

    fn limit(&self, queue: &Name, limits: &[Limit]) -> Result<QueueLimits, StoreError> {
        self.write(|data, now| Ok(data.limit(queue, limits, now)))
    }

    fn weigh(&self, queue: &Name, weight: Option<Weight>) -> Result<(), StoreError> {
        self.write(|data, _| {
            data.weigh(queue, weight);
            Ok(())
        })
    }

    fn change_policy(&self, kind: &Name, rules: &[Rule]) -> Result<Policy, StoreError> {
        self.write(|data, _| Ok(data.change_policy(kind, rules)))
    }

    fn policies(&self) -> Result<BTreeMap<Name, Policy>, StoreError> {
        Ok(self.read(|data, _| data.policies.clone()))
    }

    fn pause(&self, queue: &Name, paused: bool) -> Result<(), StoreError> {
        self.write(|data, _| {
            data.pause(queue, paused);
            Ok(())
        })
    }

    fn stop(&self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError> {
        self.write(|data, _| data.stop(workers, mode))
    }

    fn put_schedule(&self, schedule: &Schedule) -> Result<bool, StoreError> {
        self.write(|data, now| Ok(data.put_schedule(schedule, now)))
    }

    fn schedules(&self) -> Result<Vec<ScheduleInfo>, StoreError> {
        Ok(self.read(|data, _| data.schedules()))
    }

    fn remove_schedule(&self, name: &Name) -> Result<(), StoreError> {
        self.write(|data, _| data.remove_schedule(name))
    }

    fn pause_schedule(&self, name: &Name, paused: bool) -> Result<(), StoreError> {
        self.write(|data, now| data.pause_schedule(name, paused, now))
    }

    fn run_schedule(&self, name: &Name) -> Result<Enqueued, StoreError> {
        self.write(|data, now| data.run_schedule(name, now))
    }

    fn tick(&self) -> Result<Ticked, StoreError> {
        self.write_if(|data, now| data.tick(now), |ticked| !ticked.ticks.is_empty())
    }

    fn ticks(&self, name: &Name) -> Result<Vec<TickRecord>, StoreError> {
        Ok(self.read(|data, _| data.ticks(name)))
    }

    fn settings(&self) -> Result<Settings, StoreError> {
        Ok(self.read(|data, _| data.settings.clone()))
    }

    fn change_setting(
        &self,
        setting: Setting,
        value: Option<&str>,
    ) -> Result<Settings, StoreError> {
        self.write(|data, _| data.change_setting(setting, value))
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.read(|data, _| data.job(id)))
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>, StoreError> {
        Ok(self.read(|data, _| data.jobs(query)))
    }

    fn attempts(&self, job: JobKey) -> Result<Vec<Attempt>, StoreError> {
        Ok(self.read(|data, _| data.attempts(job)))
    }

    fn notes(&self, job: JobKey) -> Result<Vec<Note>, StoreError> {
        Ok(self.read(|data, _| data.notes(job)))
    }

    fn failures(&self, limit: usize) -> Result<Vec<FailureGroup>, StoreError> {
        Ok(self.read(|data, _| data.failures(limit)))
    }

    fn counts(&self) -> Result<Vec<LaneCounts>, StoreError> {
        Ok(self.read(|data, _| data.counts()))
    }

    fn queues(&self) -> Result<Vec<QueueInfo>, StoreError> {
        Ok(self.read(|data, _| data.queues()))
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, StoreError> {
        Ok(self.read(Data::workers))
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        Ok(self.read(|data, _| data.log.events(after, limit)))
    }

    fn last_event(&self) -> Result<u64, StoreError> {
        Ok(self.read(|data, _| data.log.last()))
    }

    fn watch(&self, waker: Waker) -> Result<Watch, StoreError> {
        let mut wakers = lock(&self.shared.wakers);
        wakers.last += 1;
        let number = wakers.last;
        wakers.by_number.insert(number, waker);
        Ok(Watch::new(Unwatch { shared: Arc::clone(&self.shared), number }))
    }
}
