//! The words in which the cases tell their stories: what is done to a store again and again, in one
//! line each. Whatever a store should not refuse is unwrapped here.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{
    ClaimRequest, Enqueued, Exchanged, Queues, Registration, Settlement, Verdict,
};
use queuectl_core::{
    Attempt, Cause, Claimed, Clock, Job, JobId, JobKey, Json, Lease, ManualClock, Name, NewJob,
    Report, State, Store, StoreError, Timestamp, Token, WorkerKey,
};

use super::Fixture;

/// How long the leases of a trial's workers last.
pub(super) const LEASE: Duration = Duration::from_secs(3600);

/// One store on trial.
pub struct Trial {
    name: &'static str,
    fixture: Box<dyn Fixture>,
}

impl Trial {
    /// A trial of the fixture's store, for the case of this name.
    pub fn new(name: &'static str, fixture: Box<dyn Fixture>) -> Self {
        Trial { name, fixture }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        self.fixture.store()
    }

    pub(super) fn clock(&self) -> Arc<ManualClock> {
        self.fixture.clock()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock().now()
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.clock().advance(duration);
    }

    /// Another handle; where there is none, the case is reported as skipped.
    pub(super) fn another_handle(&self) -> Option<Arc<dyn Store>> {
        let handle = self.fixture.another_handle();
        if handle.is_none() {
            self.skip("the store cannot be shared");
        }
        handle
    }

    /// Handles to be used side by side: two if the store can be shared, otherwise the one twice,
    /// which is a weaker test and reported.
    pub(super) fn two_handles(&self) -> [Arc<dyn Store>; 2] {
        let first = self.store();
        match self.fixture.another_handle() {
            Some(second) => [first, second],
            None => {
                self.report("ran with one handle: the store cannot be shared");
                [Arc::clone(&first), first]
            }
        }
    }

    /// Opens the store again; where that cannot be done, the case is reported as skipped.
    pub(super) fn reopen(&mut self) -> bool {
        let done = self.fixture.reopen();
        if !done {
            self.skip("the store cannot be opened again");
        }
        done
    }

    pub(super) fn knows_death(&self) -> bool {
        let knows = self.fixture.knows_death();
        if !knows {
            self.skip("the store learns of a worker's death only by its lease");
        }
        knows
    }

    fn skip(&self, why: &str) {
        self.report(&format!("skipped: {why}"));
    }

    /// Written past the test harness, which would keep it to itself if the test passes.
    fn report(&self, text: &str) {
        let line = format!("conformance case {} {text}\n", self.name);
        // There is nothing to be done about a closed standard error.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Enqueueing.
impl Trial {
    pub(super) fn enqueue(&self, job: NewJob) -> JobId {
        self.add(job).id
    }

    pub(super) fn add(&self, job: NewJob) -> Enqueued {
        self.add_all(&[job]).remove(0)
    }

    pub(super) fn add_all(&self, jobs: &[NewJob]) -> Vec<Enqueued> {
        let added = self.store().enqueue(jobs).expect("enqueueing succeeds");
        assert_eq!(added.len(), jobs.len(), "each job has an answer");
        added
    }

    pub(super) fn enqueue_err(&self, jobs: &[NewJob]) -> StoreError {
        self.store().enqueue(jobs).expect_err("enqueueing is refused")
    }
}

/// Working.
impl Trial {
    /// A new worker.
    pub(super) fn worker(&self) -> WorkerKey {
        self.workers(1)[0]
    }

    pub(super) fn workers(&self, count: usize) -> Vec<WorkerKey> {
        register(self.store().as_ref(), count)
    }

    /// Claims at most `count` jobs of any queue.
    pub(super) fn claim(&self, worker: WorkerKey, count: usize) -> Vec<Claimed> {
        self.exchange(&[], &[(worker, count)]).claimed
    }

    /// Claims, and gives the ids only.
    pub(super) fn claim_ids(&self, worker: WorkerKey, count: usize) -> Vec<String> {
        let claimed = self.claim(worker, count);
        claimed.iter().map(|job| job.id.to_string()).collect()
    }

    /// Claims the one job that there must be.
    #[track_caller]
    pub(super) fn claim_one(&self, worker: WorkerKey) -> Claimed {
        let mut claimed = self.claim(worker, 1);
        assert_eq!(claimed.len(), 1, "there is a job to claim");
        claimed.remove(0)
    }

    #[track_caller]
    pub(super) fn claim_none(&self, worker: WorkerKey) {
        let claimed = self.claim(worker, 100);
        assert!(claimed.is_empty(), "nothing is to be claimed: {claimed:?}");
    }

    /// Settles, then claims from all queues the kinds that [`job`] and [`of_kind`] make.
    pub(super) fn exchange(
        &self,
        settle: &[Settlement],
        workers: &[(WorkerKey, usize)],
    ) -> Exchanged {
        claim_from(self.store().as_ref(), settle, workers, &Queues::All)
    }

    /// Claims from these queues only.
    pub(super) fn claim_from(&self, worker: WorkerKey, queues: &[&str]) -> Vec<Claimed> {
        let queues = Queues::Only(queues.iter().map(|queue| name(queue)).collect());
        claim_from(self.store().as_ref(), &[], &[(worker, 100)], &queues).claimed
    }

    /// Settles; gives what was refused.
    pub(super) fn settle(&self, settle: &[Settlement]) -> Vec<Lease> {
        let done = self.store().exchange(settle, None).expect("settling");
        assert!(done.claimed.is_empty(), "no claim was asked for");
        assert_eq!(done.next_due, None, "no claim was asked for");
        done.refused
    }

    /// Ends an attempt that is held.
    #[track_caller]
    pub(super) fn end(&self, claimed: &Claimed, verdict: Verdict) {
        let refused = self.settle(&[settlement(claimed.lease, verdict, self.now())]);
        assert_eq!(refused, [], "the lease is held");
    }

    #[track_caller]
    pub(super) fn complete(&self, claimed: &Claimed) {
        self.end(claimed, Verdict::Complete { result: None });
    }

    /// Fails an attempt; the retry follows after the delay.
    #[track_caller]
    pub(super) fn fail(&self, claimed: &Claimed, retry_in: Duration) {
        self.end(claimed, Verdict::Fail { retry_in });
    }

    pub(super) fn rescue(&self) -> Vec<(JobKey, State)> {
        let mut rescued: Vec<_> = self
            .store()
            .rescue(&kinds())
            .expect("rescuing")
            .iter()
            .map(|one| (one.lease.key, one.state))
            .collect();
        rescued.sort();
        rescued
    }

    /// Lets the leases of all workers end, and frees their jobs.
    pub(super) fn lose_workers(&self) -> Vec<(JobKey, State)> {
        self.advance(LEASE + secs(1));
        self.rescue()
    }

    pub(super) fn cancel(&self, id: &JobId) {
        self.store().cancel(std::slice::from_ref(id), &"not wanted".into()).expect("cancelling");
    }

    pub(super) fn retry(&self, id: &JobId) {
        self.store().retry(std::slice::from_ref(id)).expect("retrying");
    }

    pub(super) fn purge(&self, id: &JobId) {
        self.store().purge(std::slice::from_ref(id)).expect("purging");
    }

    /// Enqueues a job and brings it to the state.
    pub(super) fn job_in(&self, state: State, new: NewJob) -> JobId {
        let store = self.store();
        let queue = new.queue.clone();
        let new = match state {
            State::Blocked => new.after(self.enqueue(of_kind("never"))),
            _ => new,
        };
        let id = self.enqueue(new);
        let held = || {
            // Nothing else may be claimed on the way: every other job is let go again.
            let worker = self.worker();
            let mut all = self.claim_from(worker, &[queue.as_str()]);
            let index = all.iter().position(|one| one.id == id).expect("claimable");
            let one = all.remove(index);
            for other in &all {
                self.end(other, Verdict::Release);
            }
            one
        };
        match state {
            State::Pending | State::Blocked => {}
            State::Processing => drop(held()),
            State::Completed => self.complete(&held()),
            State::Failed => self.fail(&held(), secs(3600)),
            State::Dead => self.end(&held(), Verdict::Die),
            State::Cancelled => {
                store.cancel(std::slice::from_ref(&id), &"not wanted".into()).expect("cancelling");
            }
        }
        assert_eq!(self.state(&id), state);
        id
    }
}

/// Looking.
impl Trial {
    #[track_caller]
    pub(super) fn job(&self, id: &JobId) -> Job {
        self.store().job(id).expect("reading a job").expect("there is such a job")
    }

    pub(super) fn state(&self, id: &JobId) -> State {
        self.job(id).state
    }

    pub(super) fn attempts(&self, id: &JobId) -> Vec<Attempt> {
        self.store().attempts(self.job(id).key).expect("reading attempts")
    }

    /// The causes of a job's attempts; `None` is one that runs.
    pub(super) fn causes(&self, id: &JobId) -> Vec<Option<Cause>> {
        self.attempts(id)
            .into_iter()
            .map(|attempt| attempt.report.map(|report| report.cause))
            .collect()
    }

    /// Everything that can be read of jobs; for showing that nothing has changed.
    pub(super) fn snapshot(&self) -> (Vec<Job>, Vec<Vec<Attempt>>) {
        let jobs = all_jobs(self.store().as_ref());
        let attempts =
            jobs.iter().map(|job| self.store().attempts(job.key).expect("attempts")).collect();
        (jobs, attempts)
    }
}

/// Every job, oldest first.
pub(super) fn all_jobs(store: &dyn Store) -> Vec<Job> {
    let query =
        queuectl_core::store::JobQuery { ascending: true, limit: 100_000, ..Default::default() };
    store.jobs(&query).expect("reading all jobs")
}

pub(super) fn register(store: &dyn Store, count: usize) -> Vec<WorkerKey> {
    let workers = store
        .register(&Registration { workers: count, lease: LEASE, log: None })
        .expect("registering");
    assert_eq!(workers.len(), count);
    workers
}

pub(super) fn claim_from(
    store: &dyn Store,
    settle: &[Settlement],
    workers: &[(WorkerKey, usize)],
    queues: &Queues,
) -> Exchanged {
    let request = ClaimRequest { workers, queues, kinds: &kinds() };
    store.exchange(settle, Some(&request)).expect("an exchange succeeds")
}

/// The kinds that the trial's workers can run, and clean up after.
pub(super) fn kinds() -> [Name; 2] {
    [name("work"), name("other")]
}

/// A job that the trial's workers can run.
pub(super) fn job() -> NewJob {
    of_kind("work")
}

/// The same with a chosen id.
pub(super) fn named(id: &str) -> NewJob {
    job().id(id).expect("an id")
}

/// A job of a kind. The trial's workers can run `work` and `other`.
pub(super) fn of_kind(kind: &str) -> NewJob {
    NewJob::new(kind, &()).expect("a job")
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub(super) fn id(text: &str) -> JobId {
    text.parse().expect("an id")
}

pub(super) fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

pub(super) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A settlement that says nothing more than its verdict.
pub(super) fn settlement(lease: Lease, verdict: Verdict, started_at: Timestamp) -> Settlement {
    // A release without a report says that the attempt never began.
    let interrupted = verdict == Verdict::Release;
    let report = interrupted.then(|| Box::new(Report::new(Cause::Interrupted)));
    Settlement { lease, verdict, started_at, report, leftovers: false }
}

/// One with a report.
pub(super) fn reported(
    lease: Lease,
    verdict: Verdict,
    started_at: Timestamp,
    report: Report,
) -> Settlement {
    Settlement { report: Some(Box::new(report)), ..settlement(lease, verdict, started_at) }
}

/// The lease before this one of the same job, or one that was never given.
pub(super) fn older(lease: Lease) -> Lease {
    Lease { token: Token(lease.token.0 - 1), ..lease }
}

/// A lease that was not given yet.
pub(super) fn newer(lease: Lease) -> Lease {
    Lease { token: Token(lease.token.0 + 1), ..lease }
}
