//! Workers: their leases, what is wanted of them, and what becomes of their jobs when they go.

use std::time::Duration;

use queuectl_core::store::{
    Orders, Progress, Registration, Rescued, Settlement, StopMode, Verdict,
};
use queuectl_core::{Cause, Event, JobKey, Lease, Name, Report, State, StoreError, WorkerKey};

use super::data::{Data, Now, Record, Worker};

impl Data {
    pub(super) fn register(
        &mut self,
        request: &Registration,
        process: &str,
        now: &Now,
    ) -> Vec<WorkerKey> {
        let first = self.last_worker + 1;
        self.last_worker += i64::try_from(request.workers).unwrap_or(0);
        let keys: Vec<WorkerKey> = (first..=self.last_worker).map(WorkerKey).collect();
        for &key in &keys {
            let worker = Worker {
                process: process.to_owned(),
                process_gone: false,
                started_at: now.wall,
                lease_ends: now.boot + request.lease,
                boot_id: now.boot_id.clone(),
                stopping: None,
                log: request.log.clone(),
            };
            self.workers.insert(key, worker);
        }
        keys
    }

    pub(super) fn renew(&mut self, workers: &[WorkerKey], lease: Duration, now: &Now) -> Orders {
        for key in workers {
            // Of another boot it stays all the same: the boot id is not renewed with the lease.
            if let Some(worker) = self.workers.get_mut(key) {
                worker.lease_ends = now.boot + lease;
            }
        }
        self.orders(workers)
    }

    pub(super) fn orders(&self, workers: &[WorkerKey]) -> Orders {
        let lost = workers.iter().filter(|key| !self.workers.contains_key(key)).copied().collect();
        let cancel = self
            .running(workers)
            .filter_map(|record| Some((record.lease(), record.job.cancel_reason.clone()?)))
            .collect();
        let stop = workers
            .iter()
            .filter_map(|key| Some((*key, self.workers.get(key)?.stopping?)))
            .collect();
        Orders { lost, cancel, stop }
    }

    pub(super) fn held(&self, workers: &[WorkerKey]) -> Vec<Lease> {
        self.running(workers).map(Record::lease).collect()
    }

    /// The jobs that these workers hold.
    fn running(&self, workers: &[WorkerKey]) -> impl Iterator<Item = &Record> {
        self.jobs.values().filter(|record| {
            record.job.state == State::Processing
                && record.job.worker.is_some_and(|key| workers.contains(&key))
        })
    }

    pub(super) fn deregister(
        &mut self,
        workers: &[WorkerKey],
        now: &Now,
    ) -> Result<(), StoreError> {
        for key in self.keys_held(workers) {
            if let Some(record) = self.jobs.get_mut(&key) {
                record.give_back(now)?;
            }
            self.comes_back(key, now);
            self.note_leftovers(key, None);
            self.tell_dependents(key, now)?;
        }
        self.workers.retain(|key, _| !workers.contains(key));
        Ok(())
    }

    pub(super) fn rescue(
        &mut self,
        process: &str,
        kinds: &[Name],
        now: &Now,
    ) -> Result<Vec<Rescued>, StoreError> {
        let dead: Vec<WorkerKey> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.is_dead(now))
            .map(|(key, _)| *key)
            .collect();
        let mut rescued = Vec::new();
        let free = |(left, cleaner): &&mut (Rescued, Option<String>)| {
            cleaner.is_none() && kinds.contains(&left.kind)
        };
        for (left, cleaner) in self.leftovers.values_mut().filter(free) {
            *cleaner = Some(process.to_owned());
            rescued.push(left.clone());
        }
        for key in self.keys_held(&dead) {
            let record = &self.jobs[&key];
            let holder = record.job.worker.and_then(|worker| self.workers.get(&worker));
            let known =
                holder.is_some_and(|worker| worker.process_gone && worker.boot_id == now.boot_id);
            if known && record.begun != Some(record.job.token) {
                let given_back = record.never_began();
                self.settle(&given_back, now)?;
            } else if let Some(record) = self.jobs.get_mut(&key) {
                let policy = self.policies.get(&record.job.kind);
                let of_kind = policy.and_then(|policy| policy.max_crashes);
                let cap = record.job.max_crashes.or(of_kind).unwrap_or(self.settings.max_crashes);
                let lost = record.lose(cap.get(), now)?;
                let cleans = lost.as_ref().is_some_and(|lost| kinds.contains(&lost.kind));
                rescued.extend(lost);
                self.comes_back(key, now);
                self.note_leftovers(key, cleans.then_some(process));
                self.tell_dependents(key, now)?;
            }
        }
        self.workers.retain(|key, _| !dead.contains(key));
        Ok(rescued)
    }

    /// If the job has ended and its attempts have left something, nobody will claim it and see to
    /// that: the next rescue is told, unless somebody is at it.
    pub(super) fn note_leftovers(&mut self, key: JobKey, cleaner: Option<&str>) {
        let record = &self.jobs[&key];
        if let Some(lost_from) = record.lost_from.filter(|_| record.job.state.is_terminal()) {
            let left = Rescued {
                lease: record.lease(),
                worker: record.attempts.last().and_then(|one| one.worker).unwrap_or(WorkerKey(0)),
                kind: record.job.kind.clone(),
                lost_from,
                state: record.job.state,
            };
            self.leftovers.insert(left.lease, (left, cleaner.map(str::to_owned)));
        }
    }

    pub(super) fn cleaned(&mut self, leases: &[Lease]) {
        self.leftovers.retain(|lease, _| !leases.contains(lease));
    }

    pub(super) fn begin(&mut self, lease: Lease) {
        if let Some(record) = self.held_by(lease) {
            record.begun = Some(lease.token);
        }
    }

    fn keys_held(&self, workers: &[WorkerKey]) -> Vec<JobKey> {
        self.running(workers).map(|record| record.job.key).collect()
    }

    pub(super) fn progress(&mut self, notes: &[Progress], now: &Now) -> Vec<Lease> {
        let mut refused = Vec::new();
        for note in notes {
            match self.held_by(note.lease) {
                Some(record) => {
                    record.job.progress = Some(note.value.clone());
                    record.job.updated_at = now.wall;
                }
                None => refused.push(note.lease),
            }
        }
        refused
    }

    pub(super) fn stop(&mut self, workers: &[WorkerKey], mode: StopMode) -> Result<(), StoreError> {
        if let Some(unknown) = workers.iter().find(|key| !self.workers.contains_key(key)) {
            return Err(StoreError::NoWorker(*unknown));
        }
        for key in workers {
            if let Some(worker) = self.workers.get_mut(key) {
                worker.stopping = worker.stopping.max(Some(mode));
            }
        }
        Ok(())
    }
}

impl Record {
    /// The settlement of an attempt that was only held.
    fn never_began(&self) -> Settlement {
        Settlement {
            lease: self.lease(),
            verdict: Verdict::Release,
            started_at: self.job.started_at.unwrap_or(self.job.created_at),
            report: None,
            leftovers: self.lost_from.is_some(),
        }
    }

    /// Releases the job of a worker that goes. What an earlier attempt may have left running is
    /// still not known to have ended: `lost_from` stays.
    fn give_back(&mut self, now: &Now) -> Result<(), StoreError> {
        let event = if self.job.cancel_reason.is_some() { Event::Cancel } else { Event::Release };
        self.end_attempt(Report::new(Cause::Interrupted), now);
        self.job.attempts -= 1;
        self.happen(event, now)
    }

    /// How many attempts of this generation have been lost in a row, if the one that runs is as well.
    fn crashes(&self) -> u32 {
        let ended = self.attempts.iter().rev().filter_map(|one| Some((one, one.report.as_ref()?)));
        let (mut crashes, mut number) = (1, self.job.attempts);
        for (attempt, report) in ended.filter(|(_, report)| report.cause != Cause::Interrupted) {
            if number == 1 || report.cause != Cause::LeaseLost {
                break;
            }
            (crashes, number) = (crashes + 1, attempt.number);
        }
        crashes
    }

    /// Frees the job of a worker that is dead. It was due when it was claimed, and still is.
    fn lose(&mut self, cap: u32, now: &Now) -> Result<Option<Rescued>, StoreError> {
        let (lease, worker) = (self.lease(), self.job.worker);
        let poisonous = self.crashes() >= cap;
        let event = if self.job.cancel_reason.is_some() {
            Event::Cancel
        } else if poisonous || self.job.attempts >= self.job.max_attempts {
            Event::Exhaust
        } else {
            Event::LoseLease
        };
        let mut text = "the worker died, or could not renew its lease in time".to_owned();
        if poisonous && event == Event::Exhaust {
            text += &format!("; attempts lost in a row: {cap}, which is max-crashes");
        }
        self.end_attempt(Report::failure(Cause::LeaseLost, text), now);
        let lost_from = self.lost_from.unwrap_or(lease.token);
        self.lost_from = Some(lost_from);
        self.happen(event, now)?;
        let (state, kind) = (self.job.state, self.job.kind.clone());
        Ok(worker.map(|worker| Rescued { lease, worker, kind, lost_from, state }))
    }
}
