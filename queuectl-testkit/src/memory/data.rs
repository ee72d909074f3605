//! What the store keeps: jobs, workers, queues, settings. And the one question that needs all clocks:
//! is a waiting job due?

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use queuectl_core::store::{Rescued, StopMode};
use queuectl_core::{
    Attempt, BootId, BootTime, Cause, Change, Clock, Condition, Event, Failure, Job, JobId, JobKey,
    Lease, Name, Note, Policy, RefusedTransition, Report, Settings, State, StoreError, Timestamp,
    Token, WorkerKey, transition,
};

use super::events::Log;
use super::limits::Queue;
use super::schedules::Kept;

/// The readings of all clocks at the begin of a call; the whole call happens at this moment.
pub(super) struct Now {
    pub(super) wall: Timestamp,
    pub(super) boot: BootTime,
    pub(super) boot_id: BootId,
}

impl Now {
    pub(super) fn read(clock: &dyn Clock) -> Self {
        Now { wall: clock.now(), boot: clock.boot(), boot_id: clock.boot_id() }
    }
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) jobs: BTreeMap<JobKey, Record>,
    /// The chosen ids. An automatic id is its key.
    pub(super) chosen: HashMap<Name, JobKey>,
    pub(super) last_key: i64,
    pub(super) batches: BTreeMap<Name, Batch>,
    pub(super) last_batch: u64,
    pub(super) workers: BTreeMap<WorkerKey, Worker>,
    pub(super) last_worker: i64,
    /// Every queue that was ever used.
    pub(super) queues: BTreeMap<Name, Queue>,
    /// Where the queue stood that was given a job last.
    pub(super) turn: i64,
    /// Of the kinds that have a rule.
    pub(super) policies: BTreeMap<Name, Policy>,
    pub(super) settings: Settings,
    pub(super) log: Log,
    pub(super) schedules: BTreeMap<Name, Kept>,
    /// What lost attempts of jobs that will not run again have left, and the process that is to end
    /// it, as long as it lives.
    pub(super) leftovers: BTreeMap<Lease, (Rescued, Option<String>)>,
    last_process: u64,
}

/// A job and what its public record does not say.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// The public record; `waits_for` is left empty in it.
    pub(super) job: Job,
    pub(super) due: Due,
    /// When it expires, if nobody holds it then.
    pub(super) expiry: Option<Due>,
    /// When its job's unique key is free, if it is held for a period.
    pub(super) unique_until: Option<Due>,
    /// The job holds its unique key no more, whatever its state.
    pub(super) gave_up: bool,
    /// The parents whose ends it still waits for. Empty unless the job is blocked.
    pub(super) parents: BTreeMap<JobKey, Parent>,
    /// The batches whose ends it still waits for.
    pub(super) batches: BTreeMap<Name, Parent>,
    /// What was noted about it.
    pub(super) notes: Vec<Note>,
    /// Every attempt; the last is the running one while the job is processing.
    pub(super) attempts: Vec<Attempt>,
    /// The first lost attempt that may have left something running.
    pub(super) lost_from: Option<Token>,
    /// The newest attempt that has begun.
    pub(super) begun: Option<Token>,
    /// Where it tells what becomes of it.
    pub(super) log: Log,
}

/// Jobs that are counted together.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Which one it is of all that were made.
    pub(super) number: u64,
    pub(super) created_at: Timestamp,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    /// It is being closed: there may be more jobs to come in the same call.
    pub(super) closing: bool,
    /// The states in which jobs of it were deleted.
    pub(super) deleted: Vec<State>,
}

/// A job that another waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    /// How it must end.
    pub(super) on: Condition,
    /// It has ended otherwise, and nobody has retried it.
    pub(super) lost: bool,
}

/// When a pending or failed job may be claimed, or a waiting one expires.
#[derive(Debug, Clone)]
pub(super) enum Due {
    /// It may. This is never taken back, wherever the clocks go.
    Reached,
    /// When the wall clock shows the job's `run_at`, or `expires_at`.
    AtWall,
    /// When the boot clock shows this. Under another boot id it means nothing; what is left then is
    /// the wall time at which it was expected.
    AtBoot(BootTime, BootId),
}

impl Due {
    /// How long it is until then; `None` if it is over. What is left of a reading of another boot is
    /// the `moment` at which it was expected.
    fn wait(&self, moment: Timestamp, now: &Now) -> Option<Duration> {
        let wait = match self {
            Due::Reached => Duration::ZERO,
            Due::AtBoot(at, boot_id) if *boot_id == now.boot_id => at.since(now.boot),
            Due::AtBoot(..) | Due::AtWall => moment.since(now.wall),
        };
        (!wait.is_zero()).then_some(wait)
    }
}

/// A registered worker. One that is declared lost is removed; its key is never given again.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: String,
    pub(super) process_gone: bool,
    pub(super) started_at: Timestamp,
    pub(super) lease_ends: BootTime,
    pub(super) boot_id: BootId,
    pub(super) stopping: Option<StopMode>,
    pub(super) log: Option<PathBuf>,
}

impl Worker {
    pub(super) fn is_dead(&self, now: &Now) -> bool {
        self.process_gone || self.boot_id != now.boot_id || self.lease_ends <= now.boot
    }
}

impl Data {
    pub(super) fn new_process(&mut self) -> String {
        self.last_process += 1;
        format!("memory-{}", self.last_process)
    }

    pub(super) fn process_died(&mut self, process: &str) {
        for (_, cleaner) in self.leftovers.values_mut() {
            if cleaner.as_deref() == Some(process) {
                *cleaner = None;
            }
        }
        for worker in self.workers.values_mut() {
            worker.process_gone |= worker.process == process;
        }
    }

    /// The job of this id.
    pub(super) fn find(&self, id: &JobId) -> Option<JobKey> {
        match id {
            JobId::Auto(key) => self.jobs.contains_key(key).then_some(*key),
            JobId::Chosen(name) => self.chosen.get(name).copied(),
        }
    }

    /// The jobs of these ids, each once, in the order given.
    pub(super) fn find_all(&self, ids: &[JobId]) -> Result<Vec<JobKey>, StoreError> {
        ids.iter().map(|id| self.find(id).ok_or_else(|| StoreError::NotFound(id.clone()))).collect()
    }

    /// The job that holds this idempotency key, or did when its period was not over.
    pub(super) fn last_holder(&self, unique_key: &str) -> Option<JobKey> {
        self.jobs
            .values()
            .find(|record| {
                record.job.unique_key.as_deref() == Some(unique_key)
                    && record.job.unique_while.contains(&record.job.state)
                    && !record.gave_up
            })
            .map(|record| record.job.key)
    }

    /// The job that holds this idempotency key. One whose period is over gives it up.
    pub(super) fn holder(&mut self, unique_key: &str, now: &Now) -> Option<JobKey> {
        let record = self.jobs.get_mut(&self.last_holder(unique_key)?)?;
        record.gave_up = record.period_is_over(now);
        (!record.gave_up).then_some(record.job.key)
    }

    /// A job that waits again, because an attempt has ended or it was retried, gives its key up, or
    /// takes it back if nobody else has it by now.
    pub(super) fn comes_back(&mut self, key: JobKey, now: &Now) {
        let record = &self.jobs[&key];
        let Some(unique_key) = record.job.unique_key.clone() else {
            return;
        };
        let includes = record.job.unique_while.contains(&record.job.state);
        let gives_up = match (record.gave_up, includes) {
            _ if record.job.state.is_terminal() => return,
            (true, true) => self.holder(&unique_key, now).is_some(),
            (_, includes) => !includes,
        };
        if let Some(record) = self.jobs.get_mut(&key) {
            record.gave_up = gives_up;
        }
    }

    /// The job, if the lease is held: it is processing under this very token.
    pub(super) fn held_by(&mut self, lease: Lease) -> Option<&mut Record> {
        self.jobs.get_mut(&lease.key).filter(|record| {
            record.job.state == State::Processing && record.job.token == lease.token
        })
    }
}

impl Record {
    pub(super) fn lease(&self) -> Lease {
        Lease { key: self.job.key, token: self.job.token }
    }

    /// The order in which it is claimed: by priority, or by when it could run and the waiting that its
    /// priority counts for; then by number.
    pub(super) fn rank(&self, aging: Option<Duration>) -> (i128, JobKey) {
        let priority = i128::from(self.job.priority);
        let rank = aging.map_or(-priority, |aging| {
            i128::from(self.job.run_at.as_millis().max(0)) - priority * aging.as_millis() as i128
        });
        (rank, self.job.key)
    }

    /// How long the job still has to wait; `None` if it is due.
    pub(super) fn wait(&self, now: &Now) -> Option<Duration> {
        self.due.wait(self.job.run_at, now)
    }

    /// Whether the job is not worth running any more. While it is held that does not matter.
    pub(super) fn has_expired(&self, now: &Now) -> bool {
        let waits = matches!(self.job.state, State::Pending | State::Blocked | State::Failed);
        let expiry = self.expiry.as_ref().zip(self.job.expires_at);
        waits && expiry.is_some_and(|(expiry, moment)| expiry.wait(moment, now).is_none())
    }

    /// Whether the period for which the job holds its unique key is over.
    pub(super) fn period_is_over(&self, now: &Now) -> bool {
        let until = self.unique_until.as_ref().zip(self.job.unique_until);
        until.is_some_and(|(due, moment)| due.wait(moment, now).is_none())
    }

    /// Cancels the job, which has expired.
    pub(super) fn expire(&mut self, now: &Now) -> Result<(), StoreError> {
        let moment = self.job.expires_at.unwrap_or(Timestamp::MAX);
        self.job.cancel_reason = Some(format!("expired: not begun by {moment}"));
        self.happen(Event::Expire, now)
    }

    pub(super) fn waits_for(&self, parent: JobKey) -> bool {
        self.job.state == State::Blocked && self.parents.contains_key(&parent)
    }

    /// If the job is due, it stays so.
    pub(super) fn note_due(&mut self, now: &Now) {
        if self.wait(now).is_none() {
            self.due = Due::Reached;
        }
    }

    /// Lets the job wait from now on, on the boot clock.
    pub(super) fn delay(&mut self, delay: Duration, now: &Now) {
        self.job.run_at = now.wall + delay;
        self.due = if delay.is_zero() {
            Due::Reached
        } else {
            Due::AtBoot(now.boot + delay, now.boot_id.clone())
        };
    }

    /// Moves the job on as the table of transitions says.
    pub(super) fn happen(&mut self, event: Event, now: &Now) -> Result<(), StoreError> {
        let job = &mut self.job;
        let from = job.state;
        job.state =
            transition(job.state, event).map_err(|refused| wrong_state(job.id.clone(), refused))?;
        job.updated_at = now.wall;
        job.finished_at = job.state.is_terminal().then_some(now.wall);
        let report = self.attempts.last().and_then(|attempt| attempt.report.as_ref());
        let died = report.filter(|_| job.state == State::Dead);
        job.failure = died.map(|report| Failure::of(&job.kind, report).fingerprint());
        self.log_move(Change::by(event), from, now);
        let job = &mut self.job;
        if job.state != State::Processing {
            job.worker = None;
        }
        if job.state != State::Blocked {
            self.parents.clear();
            self.batches.clear();
        }
        Ok(())
    }

    /// Completes the record of the running attempt.
    pub(super) fn end_attempt(&mut self, report: Report, now: &Now) {
        let failed = !matches!(
            report.cause,
            Cause::Succeeded | Cause::Interrupted | Cause::Snoozed | Cause::Cancelled
        );
        if failed {
            self.job.last_error.clone_from(&report.error);
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.finished_at = Some(now.wall);
            attempt.report = Some(report);
        }
    }
}

pub(super) fn wrong_state(id: JobId, refused: RefusedTransition) -> StoreError {
    StoreError::WrongState { id, refused }
}
