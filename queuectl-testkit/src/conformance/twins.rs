//! Two stores that are told the same and must say the same: the one on trial and the one in memory.
//!
//! What they call things differs (job keys may have gaps, workers have numbers of their own), so
//! each [`Twin`] speaks in terms of what both know: the ids of jobs, all of them chosen, and the
//! order in which workers were registered and leases were given.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{
    ClaimRequest, Progress, Queues, Registration, Settlement, StopMode, Verdict,
};
use queuectl_core::{
    JobId, Json, Lease, Name, NewJob, Setting, State, Store, StoreError, Timestamp, WorkerKey,
};

use super::trial::{Trial, all_jobs, name};
use crate::MemoryStore;

/// One of the two stores, and what it calls the workers and leases.
pub(super) struct Twin {
    store: Arc<dyn Store>,
    workers: Vec<WorkerKey>,
    leases: Vec<Lease>,
}

/// Both.
pub(super) struct Twins {
    tested: Twin,
    reference: Twin,
    /// What was done; shown when they disagree.
    log: Vec<String>,
}

/// A settlement of the n-th lease that was given.
#[derive(Debug, Clone)]
pub(super) struct Settle {
    pub(super) lease: usize,
    pub(super) verdict: Verdict,
    pub(super) started_at: Timestamp,
    pub(super) leftovers: bool,
}

impl Twins {
    pub(super) fn new(t: &Trial) -> Self {
        let twin = |store| Twin { store, workers: Vec::new(), leases: Vec::new() };
        Twins {
            tested: twin(t.store()),
            reference: twin(Arc::new(MemoryStore::new(t.clock()))),
            log: Vec::new(),
        }
    }

    pub(super) fn lease_count(&self) -> usize {
        self.reference.leases.len()
    }

    /// Says what happens outside of the stores.
    pub(super) fn note(&mut self, what: String) {
        self.log.push(what);
    }

    /// Tells both the same; they must answer the same.
    pub(super) fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: String,
        call: impl Fn(&mut Twin) -> T,
    ) -> T {
        self.log.push(what);
        let (tested, reference) = (call(&mut self.tested), call(&mut self.reference));
        assert!(
            tested == reference,
            "the store answers\n{tested:#?}\nwhere it should\n{reference:#?}\nafter\n{}",
            self.story()
        );
        reference
    }

    /// Compares all that can be seen of both.
    pub(super) fn compare(&self, with_attempts: bool) {
        let (tested, reference) =
            (self.tested.everything(with_attempts), self.reference.everything(with_attempts));
        if let Some((tested, reference)) = tested.iter().zip(&reference).find(|(a, b)| a != b) {
            panic!(
                "the store has\n  {tested}\nwhere it should have\n  {reference}\nafter\n{}",
                self.story()
            );
        }
        assert_eq!(tested.len(), reference.len(), "after\n{}", self.story());
    }

    fn story(&self) -> String {
        let skipped = self.log.len().saturating_sub(30);
        let mut story = format!("  ({skipped} steps before)\n");
        for line in &self.log[skipped..] {
            let _ = writeln!(story, "  {line}");
        }
        story
    }
}

/// Which of two reasons a call is refused for may differ; that it is may not.
fn refused<T>(result: Result<T, StoreError>) -> Result<T, &'static str> {
    result.map_err(|error| match error {
        StoreError::NotFound(_)
        | StoreError::NoWorker(_)
        | StoreError::DuplicateId(_)
        | StoreError::WrongState { .. }
        | StoreError::StillLives { .. }
        | StoreError::UniqueKeyTaken { .. }
        | StoreError::Cycle(_) => "refused",
        other => panic!("{other:?}"),
    })
}

/// Telling.
impl Twin {
    pub(super) fn enqueue(&mut self, jobs: &[NewJob]) -> Result<Vec<(String, bool)>, &'static str> {
        let added = refused(self.store.enqueue(jobs))?;
        Ok(added.iter().map(|one| (one.id.to_string(), one.created)).collect())
    }

    pub(super) fn register(&mut self, lease: Duration) {
        let request = Registration { workers: 1, lease, log: None };
        self.workers.extend(self.store.register(&request).unwrap());
    }

    pub(super) fn deregister(&mut self, workers: &[usize]) {
        self.store.deregister(&self.keys(workers)).unwrap();
    }

    /// Gives what was refused, what was claimed, and the next moment.
    pub(super) fn exchange(
        &mut self,
        settle: &[Settle],
        wanted: &[(usize, usize)],
        queues: &Queues,
    ) -> (Vec<String>, Vec<String>, Option<Duration>) {
        let settle: Vec<_> = settle
            .iter()
            .map(|one| Settlement {
                lease: self.leases[one.lease],
                verdict: one.verdict.clone(),
                started_at: one.started_at,
                report: None,
                leftovers: one.leftovers,
            })
            .collect();
        let workers: Vec<_> =
            wanted.iter().map(|&(worker, count)| (self.workers[worker], count)).collect();
        let request =
            ClaimRequest { workers: &workers, queues, kinds: &[name("work"), name("other")] };
        let done = self.store.exchange(&settle, Some(&request)).unwrap();
        let refused = self.lease_names(&done.refused);
        let mut claimed = Vec::new();
        for job in &done.claimed {
            claimed.push(format!(
                "{} on {} by {}: attempt {} of {}, token {}, left {:?}",
                job.id,
                job.queue,
                self.worker_name(job.worker),
                job.attempt,
                job.max_attempts,
                job.lease.token.0,
                job.lost_from
            ));
            self.leases.push(job.lease);
        }
        (refused, claimed, done.next_due)
    }

    pub(super) fn progress(&mut self, lease: usize, value: &Json) -> Vec<String> {
        let note = Progress { lease: self.leases[lease], value: value.clone() };
        let refused = self.store.progress(&[note]).unwrap();
        self.lease_names(&refused)
    }

    /// Gives the orders, whether by a renewal or not.
    pub(super) fn orders(&mut self, workers: &[usize], renew: Option<Duration>) -> Vec<String> {
        let keys = self.keys(workers);
        let orders = match renew {
            Some(lease) => self.store.renew(&keys, lease),
            None => self.store.orders(&keys),
        };
        let orders = orders.unwrap();
        let lost = orders.lost.iter();
        let mut lines: Vec<String> =
            lost.map(|&worker| format!("{} is lost", self.worker_name(worker))).collect();
        let cancel = orders.cancel.iter().map(|(lease, _)| *lease);
        lines.extend(self.lease_names(&cancel.collect::<Vec<_>>()));
        let stop = orders.stop.iter();
        lines.extend(stop.map(|&(key, mode)| format!("{} {mode:?}", self.worker_name(key))));
        lines.extend(self.lease_names(&self.store.held(&keys).unwrap()));
        lines.sort();
        lines
    }

    pub(super) fn rescue(&mut self) -> Vec<String> {
        let rescued = self.store.rescue().unwrap();
        let mut lines: Vec<String> = rescued
            .iter()
            .map(|one| {
                let lease = &self.lease_names(&[one.lease])[0];
                format!("{lease} of {}: {}", self.worker_name(one.worker), one.state)
            })
            .collect();
        lines.sort();
        lines
    }

    pub(super) fn stop(&mut self, worker: usize, mode: StopMode) -> Result<(), &'static str> {
        refused(self.store.stop(&[self.workers[worker]], mode))
    }

    pub(super) fn cancel(&mut self, ids: &[JobId]) -> Result<String, &'static str> {
        refused(self.store.cancel(ids, "chance")).map(|done| format!("{done:?}"))
    }

    pub(super) fn retry(&mut self, ids: &[JobId]) -> Result<(), &'static str> {
        refused(self.store.retry(ids))
    }

    pub(super) fn purge(&mut self, ids: &[JobId]) -> Result<(), &'static str> {
        refused(self.store.purge(ids))
    }

    /// Prunes until all has been looked at.
    pub(super) fn prune(&mut self) -> u64 {
        (0..5).map(|_| self.store.prune().unwrap()).sum()
    }

    pub(super) fn pause(&mut self, queue: &Name, paused: bool) {
        self.store.pause(queue, paused).unwrap();
    }

    pub(super) fn change_setting(&mut self, setting: Setting, value: &str) {
        self.store.change_setting(setting, Some(value)).unwrap();
    }
}

/// Looking.
impl Twin {
    fn keys(&self, workers: &[usize]) -> Vec<WorkerKey> {
        workers.iter().map(|&worker| self.workers[worker]).collect()
    }

    fn worker_name(&self, key: WorkerKey) -> String {
        match self.workers.iter().position(|&worker| worker == key) {
            Some(index) => format!("worker {index}"),
            None => format!("unknown {key:?}"),
        }
    }

    fn lease_names(&self, leases: &[Lease]) -> Vec<String> {
        let named = leases.iter().map(|lease| {
            let index = self.leases.iter().position(|other| other == lease);
            format!("lease {index:?}")
        });
        named.collect()
    }

    /// A line for each thing that there is. When a job's record was last written is left out: a store
    /// may write when it makes a due job claimable, or not.
    fn everything(&self, with_attempts: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let jobs = all_jobs(self.store.as_ref());
        for job in &jobs {
            let mut waits_for: Vec<_> = job.waits_for.iter().map(JobId::to_string).collect();
            waits_for.sort();
            lines.push(format!(
                "{} {} on {}: {} of {}, token {}, priority {}, run at {}, created {}, started {:?}, \
                 finished {:?}, {:?}, key {:?}, waits for {waits_for:?}, reason {}, error {}, \
                 result {:?}, progress {:?}",
                job.id,
                job.state,
                job.queue,
                job.attempts,
                job.max_attempts,
                job.token.0,
                job.priority,
                job.run_at,
                job.created_at,
                job.started_at,
                job.finished_at,
                job.worker.map(|key| self.worker_name(key)),
                job.unique_key,
                job.cancel_reason.is_some(),
                job.last_error.is_some(),
                job.result,
                job.progress,
            ));
            if with_attempts {
                for attempt in self.store.attempts(job.key).unwrap() {
                    lines.push(format!(
                        "{} token {}: attempt {} of {:?}, {} to {:?}, {:?}",
                        job.id,
                        attempt.token.0,
                        attempt.number,
                        attempt.worker.map(|key| self.worker_name(key)),
                        attempt.started_at,
                        attempt.finished_at,
                        attempt.report.map(|report| report.cause),
                    ));
                }
            }
        }
        let mut rest = Vec::new();
        for lane in self.store.counts().unwrap() {
            for state in State::ALL {
                let counted = jobs
                    .iter()
                    .filter(|job| (&job.queue, &job.kind) == (&lane.queue, &lane.kind))
                    .filter(|job| job.state == state)
                    .count();
                assert_eq!(lane.of(state), counted as u64, "{state} of {lane:?}");
            }
            if lane.by_state.iter().any(|&count| count > 0) {
                rest.push(format!("{lane:?}"));
            }
        }
        for queue in self.store.queues().unwrap() {
            rest.push(format!("{queue:?}"));
        }
        for worker in self.store.workers().unwrap() {
            let mut running: Vec<_> =
                worker.running.iter().map(|(id, since)| format!("{id} since {since}")).collect();
            running.sort();
            rest.push(format!(
                "{} stopping {:?} runs {running:?}",
                self.worker_name(worker.key),
                worker.stopping
            ));
        }
        rest.sort();
        lines.append(&mut rest);
        lines
    }

    pub(super) fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }
}

impl Twins {
    /// The store on trial.
    pub(super) fn tested(&self) -> &dyn Store {
        self.tested.store()
    }
}
