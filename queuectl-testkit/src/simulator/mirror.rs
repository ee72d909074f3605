//! Each call of the store, made to the store in memory as well. The two must answer the same and
//! have the same to show for it.
//!
//! They may number jobs and workers differently, so what the one says is put into the numbers of
//! the other before it is compared.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{
    Cancelled, ClaimRequest, Enqueued, Exchanged, JobQuery, LaneCounts, Orders, Progress,
    QueueInfo, Registration, Remark, Rescued, Settlement, StopMode, Sweep, Swept, Ticked,
};
use queuectl_core::{
    Attempt, Change, Job, JobEvent, JobId, JobKey, Json, Lease, Limit, ManualClock, Name, NewJob,
    Rule, Schedule, Setting, Settings, State, Store, StoreError, Weight, WorkerKey,
};

use super::Open;
use crate::MemoryStore;
use crate::replay::Replay;

/// One process's way to the stores. Dropping it is the death of the process.
pub(super) struct Handle {
    real: Arc<dyn Store>,
    model: MemoryStore,
}

/// Both stores, and what each calls what the other knows.
pub(super) struct Mirror {
    open: Open,
    model: MemoryStore,
    /// Looks only.
    looking: Handle,
    jobs: HashMap<JobKey, JobKey>,
    jobs_back: HashMap<JobKey, JobKey>,
    ids: HashMap<JobKey, JobId>,
    workers: HashMap<WorkerKey, WorkerKey>,
    workers_back: HashMap<WorkerKey, WorkerKey>,
    /// Much is left for later by each call.
    in_steps: bool,
    steps: Cell<u64>,
    /// What the event log has said since it is on.
    replay: Replay,
}

type Answer<T> = Result<T, StoreError>;

impl Mirror {
    pub(super) fn new(open: Open, clock: &Arc<ManualClock>, in_steps: bool) -> Self {
        let model = MemoryStore::new(Arc::clone(clock) as _);
        let looking = Handle { real: open(), model: model.another_handle() };
        Mirror {
            open,
            model,
            looking,
            jobs: HashMap::new(),
            jobs_back: HashMap::new(),
            ids: HashMap::new(),
            workers: HashMap::new(),
            workers_back: HashMap::new(),
            in_steps,
            steps: Cell::default(),
            replay: Replay::after(0),
        }
    }

    /// Turns the event log on before anything has happened.
    pub(super) fn log_events(&self) {
        expect(self.change(&self.looking, Setting::EventLog, Some("on")));
    }

    pub(super) fn handle(&self) -> Handle {
        Handle { real: (self.open)(), model: self.model.another_handle() }
    }

    /// The id of a job that was there once.
    pub(super) fn id(&self, key: JobKey) -> JobId {
        self.ids[&key].clone()
    }

    pub(super) fn enqueue(&mut self, by: &Handle, jobs: &[NewJob]) -> Answer<Vec<Enqueued>> {
        let added = both(by.real.enqueue(jobs), by.model.enqueue(jobs))?;
        Ok(self.added(added))
    }

    pub(super) fn close_batch(
        &mut self,
        by: &Handle,
        batch: &Name,
        then: &[NewJob],
    ) -> Answer<Vec<Enqueued>> {
        let added = both(by.real.close_batch(batch, then), by.model.close_batch(batch, then))?;
        Ok(self.added(added))
    }

    /// All of it: how much one call does is the store's own affair.
    pub(super) fn cancel_batch(&self, by: &Handle, batch: &Name, why: &str) -> Answer<u64> {
        let all = |store: &dyn Store, others: &dyn Fn()| {
            let begun = store.cancel_batch(batch, &why.into())?;
            others();
            let done = begun.finish(store)?;
            Ok((done.cancelled, done.asked))
        };
        // Somebody else may do a part of it, or all.
        let others = || {
            self.go_on();
        };
        let both = both(all(by.real.as_ref(), &others), all(&by.model, &|| {}))?;
        let Some((real, model)) = both else { return Ok(0) };
        // One that another keeps waiting may have been cancelled for that, before its turn.
        if !self.in_steps {
            same("cancelled of a batch", real, model);
        }
        Ok(real.0)
    }

    /// Lets the store do a step of what its calls have left; says whether there was any.
    fn go_on(&self) -> bool {
        let any = expect(self.looking.real.go_on());
        self.steps.set(self.steps.get() + u64::from(any));
        any
    }

    /// Lets the store do all that its calls have left.
    pub(super) fn rest(&self) {
        while self.go_on() {}
    }

    /// How many of these steps there were.
    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    fn added(&mut self, added: Option<(Vec<Enqueued>, Vec<Enqueued>)>) -> Vec<Enqueued> {
        let Some((real, model)) = added else { unreachable!("an enqueue has an answer") };
        let seen = |all: &[Enqueued]| -> Vec<_> {
            all.iter().map(|one| (one.id.clone(), one.created, one.changed)).collect()
        };
        same("enqueued", seen(&real), seen(&model));
        for (real, model) in real.iter().zip(&model) {
            self.jobs.insert(real.key, model.key);
            self.jobs_back.insert(model.key, real.key);
            self.ids.insert(real.key, real.id.clone());
        }
        self.compare_jobs(real.iter().map(|one| one.id.clone()));
        real
    }

    pub(super) fn exchange(
        &mut self,
        by: &Handle,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Answer<Exchanged> {
        if !self.in_steps || settle.is_empty() || claim.is_none() {
            return self.exchange_once(by, settle, claim);
        }
        // What it would claim depends on how many dependents are told in one call.
        let settled = self.exchange_once(by, settle, None)?;
        let claimed = self.exchange_once(by, &[], claim)?;
        Ok(Exchanged { refused: settled.refused, ..claimed })
    }

    fn exchange_once(
        &mut self,
        by: &Handle,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Answer<Exchanged> {
        let there = |one: &Settlement| Settlement { lease: self.there(one.lease), ..one.clone() };
        let settle_there: Vec<_> = settle.iter().map(there).collect();
        let workers_there: Option<Vec<_>> = claim.map(|claim| {
            claim.workers.iter().map(|(worker, count)| (self.workers[worker], *count)).collect()
        });
        let claim_there = claim
            .zip(workers_there.as_ref())
            .map(|(claim, workers)| ClaimRequest { workers, ..*claim });
        let real = by.real.exchange(settle, claim);
        let model = by.model.exchange(&settle_there, claim_there.as_ref());
        let Some((real, mut model)) = both(real, model)? else {
            unreachable!("an exchange has an answer")
        };
        for job in &mut model.claimed {
            job.lease = self.back(job.lease);
            job.worker = self.workers_back[&job.worker];
        }
        same("claimed", &real.claimed, &model.claimed);
        let more = self.in_steps && real.next_due == Some(Duration::ZERO);
        if !more {
            same("next due", real.next_due, model.next_due);
        }
        self.same_leases("refused", &real.refused, &model.refused);
        let claimed = real.claimed.iter().map(|job| job.lease.key);
        let touched: BTreeSet<_> = settle.iter().map(|one| one.lease.key).chain(claimed).collect();
        self.compare_jobs(touched.iter().map(|key| self.id(*key)));
        Ok(real)
    }

    pub(super) fn register(&mut self, by: &Handle, new: &Registration) -> Answer<Vec<WorkerKey>> {
        let (real, model) = (by.real.register(new)?, by.model.register(new)?);
        same("registered", real.len(), model.len());
        for (real, model) in real.iter().zip(&model) {
            self.workers.insert(*real, *model);
            self.workers_back.insert(*model, *real);
        }
        Ok(real)
    }

    pub(super) fn renew(&self, by: &Handle, keys: &[WorkerKey], lease: Duration) -> Answer<Orders> {
        let (real, model) = (by.real.renew(keys, lease)?, by.model.renew(&self.keys(keys), lease)?);
        Ok(self.same_orders(real, model))
    }

    pub(super) fn orders(&self, by: &Handle, keys: &[WorkerKey]) -> Answer<Orders> {
        let (real, model) = (by.real.orders(keys)?, by.model.orders(&self.keys(keys))?);
        Ok(self.same_orders(real, model))
    }

    pub(super) fn held(&self, by: &Handle, keys: &[WorkerKey]) -> Answer<Vec<Lease>> {
        let (real, model) = (by.real.held(keys)?, by.model.held(&self.keys(keys))?);
        self.same_leases("held", &real, &model);
        Ok(real)
    }

    pub(super) fn deregister(&self, by: &Handle, keys: &[WorkerKey]) -> Answer<()> {
        by.real.deregister(keys)?;
        by.model.deregister(&self.keys(keys))
    }

    pub(super) fn rescue(&self, by: &Handle, kinds: &[Name]) -> Answer<Vec<Rescued>> {
        let (mut real, mut model) = (by.real.rescue(kinds)?, by.model.rescue(kinds)?);
        for one in &mut model {
            one.lease = self.back(one.lease);
            one.worker = self.workers_back.get(&one.worker).copied().unwrap_or(one.worker);
        }
        // Of what was left by a job that has ended, it need not be known who held it.
        for one in real.iter_mut().chain(&mut model).filter(|one| one.state.is_terminal()) {
            one.worker = WorkerKey(0);
        }
        real.sort_by_key(|one| one.lease);
        model.sort_by_key(|one| one.lease);
        same("rescued", &real, &model);
        self.compare_jobs(real.iter().map(|one| self.id(one.lease.key)));
        Ok(real)
    }

    pub(super) fn cleaned(&self, by: &Handle, leases: &[Lease]) -> Answer<()> {
        by.real.cleaned(leases)?;
        let there: Vec<_> = leases.iter().map(|lease| self.there(*lease)).collect();
        by.model.cleaned(&there)
    }

    pub(super) fn begin(&self, by: &Handle, lease: Lease) {
        by.real.begin(lease);
        by.model.begin(self.there(lease));
    }

    pub(super) fn progress(&self, by: &Handle, notes: &[Progress]) -> Answer<Vec<Lease>> {
        let there = |note: &Progress| Progress { lease: self.there(note.lease), ..note.clone() };
        let notes_there: Vec<_> = notes.iter().map(there).collect();
        let (real, model) = (by.real.progress(notes)?, by.model.progress(&notes_there)?);
        self.same_leases("progress refused", &real, &model);
        Ok(real)
    }

    pub(super) fn cancel(
        &self,
        by: &Handle,
        ids: &[JobId],
        whom: Option<&str>,
    ) -> Answer<Vec<Cancelled>> {
        let why = Remark { text: "by chance", by: whom };
        let both = both(by.real.cancel(ids, &why), by.model.cancel(ids, &why))?;
        self.compare_jobs(ids.iter().cloned());
        Ok(both.map(|(real, model)| same("cancelled", real, model)).unwrap_or_default())
    }

    pub(super) fn retry(&self, by: &Handle, ids: &[JobId]) -> Answer<()> {
        both(by.real.retry(ids), by.model.retry(ids))?;
        self.compare_jobs(ids.iter().cloned());
        Ok(())
    }

    pub(super) fn retry_with(&self, by: &Handle, id: &JobId, payload: &Json) -> Answer<()> {
        let remark = "by chance".into();
        both(by.real.retry_with(id, payload, &remark), by.model.retry_with(id, payload, &remark))?;
        self.compare_jobs(std::iter::once(id.clone()));
        Ok(())
    }

    pub(super) fn note(&self, by: &Handle, id: &JobId) -> Answer<()> {
        let remark = "by chance".into();
        both(by.real.note(id, &remark), by.model.note(id, &remark)).map(drop)
    }

    /// A whole sweep: how much one call does is the store's own affair.
    pub(super) fn sweep(&self, by: &Handle, sweep: &Sweep) -> Answer<Swept> {
        let real = sweep.clone().run(by.real.as_ref())?;
        Ok(same("swept", real, sweep.clone().run(&by.model)?))
    }

    pub(super) fn purge(&self, by: &Handle, ids: &[JobId]) -> Answer<()> {
        both(by.real.purge(ids), by.model.purge(ids))?;
        self.compare_jobs(ids.iter().cloned());
        Ok(())
    }

    /// Prunes until all has been looked at: how much one call looks at is the store's own affair.
    pub(super) fn prune(&self, by: &Handle) -> Answer<u64> {
        const ROUNDS: usize = 4;
        let mut pruned = [0, 0];
        for _ in 0..ROUNDS {
            pruned[0] += by.real.prune()?;
            pruned[1] += by.model.prune()?;
        }
        same("pruned", pruned[0], pruned[1]);
        Ok(pruned[0])
    }

    pub(super) fn expire(&self, by: &Handle) -> Answer<u64> {
        Ok(same("expired", by.real.expire()?, by.model.expire()?))
    }

    pub(super) fn pause(&self, by: &Handle, queue: &Name, paused: bool) -> Answer<()> {
        by.real.pause(queue, paused)?;
        by.model.pause(queue, paused)
    }

    pub(super) fn put_schedule(&self, by: &Handle, schedule: &Schedule) -> Answer<bool> {
        let real = by.real.put_schedule(schedule)?;
        let new = same("a new schedule", real, by.model.put_schedule(schedule)?);
        self.compare_schedules();
        Ok(new)
    }

    pub(super) fn remove_schedule(&self, by: &Handle, name: &Name) -> Answer<()> {
        both(by.real.remove_schedule(name), by.model.remove_schedule(name))?;
        self.compare_schedules();
        Ok(())
    }

    pub(super) fn pause_schedule(&self, by: &Handle, name: &Name, paused: bool) -> Answer<()> {
        both(by.real.pause_schedule(name, paused), by.model.pause_schedule(name, paused))?;
        self.compare_schedules();
        Ok(())
    }

    pub(super) fn run_schedule(&mut self, by: &Handle, name: &Name) -> Answer<Enqueued> {
        let both = both(by.real.run_schedule(name), by.model.run_schedule(name))?;
        let Some((real, model)) = both else { unreachable!("it has an answer") };
        same("run by hand", (&real.id, real.created), (&model.id, model.created));
        self.learn(&real.id, real.key);
        self.compare_jobs(std::iter::once(real.id.clone()));
        Ok(real)
    }

    pub(super) fn tick(&mut self, by: &Handle) -> Answer<Ticked> {
        let ticked = same("ticks", by.real.tick()?, by.model.tick()?);
        let made = ticked.ticks.iter().filter_map(|(_, record)| record.outcome.job());
        for id in made {
            let key = expect(self.looking.real.job(id)).expect("it was just made").key;
            self.learn(id, key);
            self.compare_jobs(std::iter::once(id.clone()));
        }
        Ok(ticked)
    }

    /// The number that each store has given to a job that it has made by itself.
    fn learn(&mut self, id: &JobId, real: JobKey) {
        let model = expect(self.looking.model.job(id)).expect("it was just made").key;
        self.jobs.insert(real, model);
        self.jobs_back.insert(model, real);
        self.ids.insert(real, id.clone());
    }

    fn compare_schedules(&self) {
        let ours = expect(self.looking.real.schedules());
        same("schedules", &ours, &expect(self.looking.model.schedules()));
        for one in &ours {
            let name = &one.schedule.name;
            let histories = (self.looking.real.ticks(name), self.looking.model.ticks(name));
            same("history", expect(histories.0), expect(histories.1));
        }
    }

    pub(super) fn limit(&self, by: &Handle, queue: &Name, limits: &[Limit]) -> Answer<()> {
        let real = by.real.limit(queue, limits)?;
        same("limits", real, by.model.limit(queue, limits)?);
        Ok(())
    }

    pub(super) fn weigh(&self, by: &Handle, queue: &Name, weight: Option<Weight>) -> Answer<()> {
        by.real.weigh(queue, weight)?;
        by.model.weigh(queue, weight)
    }

    /// Whether queues have weights.
    pub(super) fn shares(&self) -> bool {
        let queues = expect(self.looking.real.queues());
        queues.iter().any(|queue| queue.weight.is_some())
    }

    pub(super) fn change_policy(&self, by: &Handle, kind: &Name, rule: &Rule) -> Answer<()> {
        let rules = std::slice::from_ref(rule);
        let real = by.real.change_policy(kind, rules)?;
        same("a policy", real, by.model.change_policy(kind, rules)?);
        same("policies", by.real.policies()?, by.model.policies()?);
        Ok(())
    }

    pub(super) fn stop(&self, by: &Handle, worker: WorkerKey, mode: StopMode) -> Answer<()> {
        let there = self.keys(&[worker]);
        both(by.real.stop(&[worker], mode), by.model.stop(&there, mode)).map(|_| ())
    }

    pub(super) fn settings(&self, by: &Handle) -> Answer<Settings> {
        Ok(same("settings", by.real.settings()?, by.model.settings()?))
    }

    pub(super) fn change(&self, by: &Handle, what: Setting, value: Option<&str>) -> Answer<()> {
        let real = by.real.change_setting(what, value)?;
        same("settings", real, by.model.change_setting(what, value)?);
        Ok(())
    }

    pub(super) fn queues(&self, by: &Handle) -> Answer<Vec<QueueInfo>> {
        let sorted = |mut all: Vec<QueueInfo>| {
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all
        };
        Ok(same("queues", sorted(by.real.queues()?), sorted(by.model.queues()?)))
    }

    pub(super) fn counts(&self, by: &Handle) -> Answer<Vec<LaneCounts>> {
        Ok(same("counts", lanes(by.real.counts()?), lanes(by.model.counts()?)))
    }

    /// Every job, as the store shows them.
    pub(super) fn jobs(&self) -> Vec<Job> {
        all_jobs(self.looking.real.as_ref())
    }

    pub(super) fn job(&self, key: JobKey) -> Option<Job> {
        expect(self.looking.real.job(&self.id(key)))
    }

    /// What the event logs have told since the last call, which must be the same; and whether they told of
    /// a job of which they did not know, because it is older than they are. A store that does one thing at a
    /// time may have more to tell: a job of a batch that is being cancelled may be freed by the end of
    /// another before its turn comes. So its log is only replayed.
    pub(super) fn compare_events(&mut self) -> (Vec<Change>, bool) {
        let last = expect(self.looking.real.last_event());
        if !self.in_steps {
            same("the number of the last event", last, expect(self.looking.model.last_event()));
        }
        if !expect(self.settings(&self.looking)).event_log {
            let real = expect(self.looking.real.events(0, 1));
            same("the events of a log that is off", real, Vec::new());
            self.replay = Replay::after(last);
            return (Vec::new(), false);
        }
        let since = |store: &dyn Store| expect(store.events(self.replay.last(), usize::MAX));
        let ours = since(self.looking.real.as_ref());
        if !self.in_steps {
            let theirs = since(&self.looking.model).into_iter().map(|event| self.event_back(event));
            same("events", of_each_job(ours.clone()), of_each_job(theirs.collect()));
        }
        let mut older = false;
        for event in &ours {
            older |= event.change != Change::Added && !self.replay.knows(event.job);
            self.replay.take(event).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        (ours.into_iter().map(|event| event.change).collect(), older)
    }

    fn event_back(&self, event: JobEvent) -> JobEvent {
        JobEvent {
            job: self.jobs_back[&event.job],
            worker: event.worker.map(|worker| self.workers_back[&worker]),
            ..event
        }
    }

    /// Compares all that can be seen of both stores, and holds it against itself.
    pub(super) fn compare(&self) {
        self.rest();
        let (real, model) = (self.jobs(), all_jobs(&self.looking.model));
        same("number of jobs", real.len(), model.len());
        for (real, model) in real.iter().zip(model) {
            self.compare_job(real.clone(), model);
        }
        for job in &real {
            let attempts = |all: Vec<Attempt>| -> Vec<_> {
                all.into_iter().map(|one| Attempt { report: None, ..one }).collect()
            };
            let causes = |all: &[Attempt]| -> Vec<_> {
                all.iter().map(|one| one.report.as_ref().map(|report| report.cause)).collect()
            };
            let ours = expect(self.looking.real.attempts(job.key));
            let mut theirs = expect(self.looking.model.attempts(self.jobs[&job.key]));
            for one in &mut theirs {
                one.worker = one.worker.map(|worker| self.workers_back[&worker]);
            }
            same("causes", causes(&ours), causes(&theirs));
            same("attempts", attempts(ours), attempts(theirs));
            let notes = self.looking.model.notes(self.jobs[&job.key]);
            same("notes", expect(self.looking.real.notes(job.key)), expect(notes));
        }
        let failures = expect(self.looking.real.failures(usize::MAX));
        same("failures", failures, expect(self.looking.model.failures(usize::MAX)));
        let batches = |store: &dyn Store| expect(store.batches(usize::MAX));
        same("batches", batches(self.looking.real.as_ref()), batches(&self.looking.model));
        let told = self.replay.compare(self.looking.real.as_ref());
        told.unwrap_or_else(|wrong| panic!("{wrong}"));
        let counts = expect(self.counts(&self.looking));
        for lane in &counts {
            for state in State::ALL {
                let counted = real.iter().filter(|job| {
                    (&job.queue, &job.kind, job.state) == (&lane.queue, &lane.kind, state)
                });
                same("a counter and a recount", lane.of(state), counted.count() as u64);
            }
        }
        let _ = expect(self.queues(&self.looking));
        self.compare_schedules();
        self.compare_workers(&real);
    }

    fn compare_workers(&self, jobs: &[Job]) {
        let mut ours = expect(self.looking.real.workers());
        let mut theirs = expect(self.looking.model.workers());
        for one in &mut theirs {
            one.key = self.workers_back[&one.key];
        }
        ours.sort_by_key(|one| one.key);
        theirs.sort_by_key(|one| one.key);
        same("number of workers", ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            same("worker", ours.key, theirs.key);
            same("stopping", ours.stopping, theirs.stopping);
            same("lease left", ours.lease_left, theirs.lease_left);
            let running = |all: &[(JobId, _)]| -> BTreeSet<_> {
                all.iter().map(|(id, since)| (id.to_string(), *since)).collect()
            };
            same("running", running(&ours.running), running(&theirs.running));
        }
        for job in jobs.iter().filter(|job| job.state == State::Processing) {
            let holders: Vec<_> = (ours.iter())
                .filter(|worker| worker.running.iter().any(|(id, _)| *id == job.id))
                .map(|worker| Some(worker.key))
                .collect();
            same("the one holder", holders, vec![job.worker]);
        }
    }

    fn compare_jobs(&self, ids: impl Iterator<Item = JobId>) {
        self.rest();
        for id in ids {
            let real = expect(self.looking.real.job(&id));
            let model = expect(self.looking.model.job(&id));
            same("a job that is there", real.is_some(), model.is_some());
            if let Some((real, model)) = real.zip(model) {
                self.compare_job(real, model);
            }
        }
    }

    /// What a store says in words of its own is left out, and when a record was last written: a
    /// store may write when it makes a due job claimable, or not.
    fn compare_job(&self, mut real: Job, mut model: Job) {
        model.key = self.jobs_back[&model.key];
        model.worker = model.worker.map(|worker| self.workers_back[&worker]);
        for job in [&mut real, &mut model] {
            job.updated_at = job.created_at;
            job.waits_for.sort_by_key(|after| after.job.to_string());
            job.last_error = job.last_error.take().map(|_| String::new());
            job.cancel_reason = job.cancel_reason.take().map(|_| String::new());
        }
        same("a job", real, model);
    }

    fn there(&self, lease: Lease) -> Lease {
        Lease { key: self.jobs[&lease.key], ..lease }
    }

    fn back(&self, lease: Lease) -> Lease {
        Lease { key: self.jobs_back[&lease.key], ..lease }
    }

    fn keys(&self, workers: &[WorkerKey]) -> Vec<WorkerKey> {
        workers.iter().map(|worker| self.workers[worker]).collect()
    }

    fn same_leases(&self, what: &str, real: &[Lease], model: &[Lease]) {
        let sorted = |all: Vec<Lease>| -> BTreeSet<_> { all.into_iter().collect() };
        let model = model.iter().map(|lease| self.back(*lease)).collect();
        same(what, sorted(real.to_vec()), sorted(model));
    }

    fn same_orders(&self, mut real: Orders, mut model: Orders) -> Orders {
        for worker in &mut model.lost {
            *worker = self.workers_back[worker];
        }
        for (worker, _) in &mut model.stop {
            *worker = self.workers_back[worker];
        }
        for (lease, _) in &mut model.cancel {
            *lease = self.back(*lease);
        }
        for orders in [&mut real, &mut model] {
            orders.lost.sort();
            orders.stop.sort();
            orders.cancel.sort();
        }
        same("orders", real, model)
    }
}

/// Both stores must do it, or both refuse it. Which of two reasons is given may differ; that the
/// store fails by itself is not expected here.
fn both<T: Debug>(real: Answer<T>, model: Answer<T>) -> Answer<Option<(T, T)>> {
    match (real, model) {
        (Ok(real), Ok(model)) => Ok(Some((real, model))),
        (Err(error), Err(_)) if is_refusal(&error) => Err(error),
        (real, model) => panic!("the store answers {real:?} where it should {model:?}"),
    }
}

/// Whether the store said no, rather than failed.
pub(super) fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound(_)
            | StoreError::NoWorker(_)
            | StoreError::NoSchedule(_)
            | StoreError::NoBatch(_)
            | StoreError::BatchClosed(_)
            | StoreError::BatchOpen(_)
            | StoreError::BatchEnded(_)
            | StoreError::DuplicateId(_)
            | StoreError::WrongState { .. }
            | StoreError::StillLives { .. }
            | StoreError::UniqueKeyTaken { .. }
            | StoreError::Cycle(_)
    )
}

fn same<T: PartialEq + Debug>(what: &str, real: T, model: T) -> T {
    assert!(real == model, "{what}: the store has\n  {real:?}\nwhere it should have\n  {model:?}");
    real
}

fn expect<T>(answer: Answer<T>) -> T {
    answer.unwrap_or_else(|error| panic!("a store failed by itself: {error:?}"))
}

/// The events of each job in their order; in which order several jobs are told of by one call is the store's
/// own affair, and so are the words of reasons.
fn of_each_job(mut events: Vec<JobEvent>) -> Vec<JobEvent> {
    events.sort_by_key(|event| (event.job, event.seq));
    for event in &mut events {
        event.seq = 0;
        event.reason = event.reason.take().map(|_| String::new());
    }
    events
}

/// All jobs, by id.
fn all_jobs(store: &dyn Store) -> Vec<Job> {
    let query = JobQuery { limit: usize::MAX, ..JobQuery::default() };
    let mut jobs = expect(store.jobs(&query));
    jobs.sort_by_key(|job| job.id.to_string());
    jobs
}

/// By name, without those that nothing is in.
fn lanes(mut all: Vec<LaneCounts>) -> Vec<LaneCounts> {
    all.retain(|lane| lane.by_state.iter().any(|&count| count > 0));
    all.sort_by(|a, b| (&a.queue, &a.kind).cmp(&(&b.queue, &b.kind)));
    all
}
