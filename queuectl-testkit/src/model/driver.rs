//! Tells a story to a store, and what the store says in the story's names.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use queuectl_core::store::{
    ClaimRequest, JobQuery, Progress, Queues, Registration, Remark, Settlement, Sweep, Swept,
    Verdict as Told,
};
use queuectl_core::{
    After, AfterBatch, Attempt, Cause, Clock, Job, JobId, JobKey, Json, Lease, ManualClock,
    Name as Text, NewJob, Note, Rate, Report, Setting, Store, StoreError, Timestamp, Token,
    WorkerKey,
};

use super::seen::{
    Answer, NOBODY, Reason, Refusal, Seen, SeenAttempt, SeenBatch, SeenClaim, SeenGroup, SeenJob,
    SeenNote, SeenRescue, SeenWorker, Taken, asker,
};
use super::step::{
    BATCHES, Claim, End, Expiry, Id, KINDS, Name, New, QUEUES, Remedy, Start, Step, Verdict, Who,
};
use super::work::SAID;
use super::world::Abilities;
use crate::conformance::Fixture;
use crate::replay::Replay;

/// Far above the numbers that stores give: what was never there goes by its number in the story.
const NEVER: i64 = 1 << 40;

/// A store, and what it calls the things of the story.
pub(super) struct Driver {
    fixture: Box<dyn Fixture>,
    abilities: Abilities,
    clock: Arc<ManualClock>,
    main: Option<Arc<dyn Store>>,
    other: Option<Arc<dyn Store>>,
    /// The id and number of every job that there ever was.
    jobs: BTreeMap<u32, (JobId, JobKey)>,
    workers: BTreeMap<u32, WorkerKey>,
    /// The process of each worker that lives.
    homes: BTreeMap<WorkerKey, Who>,
    /// When each lease was given.
    given: BTreeMap<Name, Timestamp>,
    /// What the event log has told, which is on.
    replay: Replay,
}

impl Driver {
    pub(super) fn new(mut fixture: Box<dyn Fixture>) -> Self {
        let abilities = Abilities {
            reopens: fixture.reopen(),
            shared: fixture.another_handle().is_some(),
            knows_death: fixture.knows_death(),
        };
        let mut driver = Driver {
            abilities,
            clock: fixture.clock(),
            main: None,
            other: None,
            fixture,
            jobs: BTreeMap::new(),
            workers: BTreeMap::new(),
            homes: BTreeMap::new(),
            given: BTreeMap::new(),
            replay: Replay::default(),
        };
        driver.open();
        let on = driver.store(Who::Main).change_setting(Setting::EventLog, Some("on"));
        on.expect("the event log can be turned on");
        driver
    }

    pub(super) fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Holds the event log against what the store has, and thereby against what it should have.
    pub(super) fn replay(&mut self, who: Who) -> Result<(), String> {
        let (mut replay, store) = (std::mem::take(&mut self.replay), self.store(who));
        let agrees = replay.catch_up(store).and_then(|_| replay.compare(store));
        self.replay = replay;
        agrees.map_err(|wrong| wrong.to_string())
    }

    fn open(&mut self) {
        self.main = Some(self.fixture.store());
        self.other = self.fixture.another_handle();
    }

    fn store(&self, who: Who) -> &dyn Store {
        let other = self.other.as_ref().filter(|_| who == Who::Other);
        other.or(self.main.as_ref()).expect("the store is open").as_ref()
    }

    /// Takes a step; gives the store's answer.
    pub(super) fn take(&mut self, step: &Step) -> Answer {
        self.attempt(step).unwrap_or_else(|error| Answer::Refused(vec![refusal(&error)]))
    }

    fn attempt(&mut self, step: &Step) -> Result<Answer, StoreError> {
        match step {
            Step::Enqueue(who, jobs) => return self.enqueue(*who, None, jobs),
            Step::CloseBatch(who, batch, jobs) => return self.enqueue(*who, Some(*batch), jobs),
            Step::CancelBatch(who, batch, reason) => {
                let words = format!("reason {reason}");
                let remark = Remark { text: &words, by: asker(*reason) };
                let batch = text(BATCHES[*batch]);
                let store = self.store(*who);
                let done = store.cancel_batch(&batch, &remark)?.finish(store)?;
                return Ok(Answer::CancelledOf(done.cancelled, done.asked));
            }
            Step::Register(who, worker, lease) => {
                let request = Registration { workers: 1, lease: *lease, log: None };
                let keys = self.store(*who).register(&request)?;
                assert_eq!(keys.len(), 1, "one worker was asked for");
                assert!(!self.workers.values().any(|key| *key == keys[0]), "a key given twice");
                self.workers.insert(*worker, keys[0]);
                let home = if self.abilities.shared { *who } else { Who::Main };
                self.homes.insert(keys[0], home);
            }
            Step::Deregister(who, workers) => {
                self.store(*who).deregister(&self.worker_keys(workers))?;
            }
            Step::Exchange(who, settle, claim) => {
                return self.exchange(*who, settle, claim.as_ref());
            }
            Step::Renew(who, workers, lease) => {
                let orders = self.store(*who).renew(&self.worker_keys(workers), *lease)?;
                return self.orders(*who, workers, orders);
            }
            Step::Orders(who, workers) => {
                let orders = self.store(*who).orders(&self.worker_keys(workers))?;
                return self.orders(*who, workers, orders);
            }
            Step::Rescue(who) => return self.rescue(*who),
            Step::Cancel(who, jobs, reason) => {
                let text = format!("reason {reason}");
                let remark = Remark { text: &text, by: asker(*reason) };
                return Ok(Answer::Cancelled(self.store(*who).cancel(&self.ids(jobs), &remark)?));
            }
            Step::Retry(who, jobs) => self.store(*who).retry(&self.ids(jobs))?,
            Step::RetryWith(who, job, payload, text) => {
                let text = text.to_string();
                let remark = text.as_str().into();
                self.store(*who).retry_with(&self.id(*job), &json(*payload), &remark)?;
            }
            Step::Sweep(who, like, remedy) => return self.sweep(*who, *like, *remedy),
            Step::Note(who, job, text) => {
                let text = text.to_string();
                self.store(*who).note(&self.id(*job), &text.as_str().into())?;
            }
            Step::Purge(who, jobs) => self.store(*who).purge(&self.ids(jobs))?,
            Step::Prune(who) => return Ok(Answer::Pruned(self.store(*who).prune()?)),
            Step::Expire(who) => return Ok(Answer::Expired(self.store(*who).expire()?)),
            Step::Pause(who, queue, paused) => {
                self.store(*who).pause(&text(QUEUES[*queue]), *paused)?;
            }
            Step::Stop(who, workers, mode) => {
                self.store(*who).stop(&self.worker_keys(workers), *mode)?;
            }
            Step::Progress(who, notes) => {
                let notes: Vec<Progress> = notes
                    .iter()
                    .map(|&(lease, value)| Progress {
                        lease: self.lease(lease),
                        value: json(value),
                    })
                    .collect();
                return Ok(Answer::NotHeld(self.leases(&self.store(*who).progress(&notes)?)));
            }
            Step::Policy(who, kind, rule) => {
                let rules = std::slice::from_ref(rule);
                self.store(*who).change_policy(&text(KINDS[*kind]), rules)?;
            }
            Step::Change(who, setting, value) => {
                let changed = self.store(*who).change_setting(*setting, *value)?;
                assert_eq!(changed, self.store(*who).settings()?, "what was set is what is there");
            }
            Step::Die => {
                self.homes.retain(|_, home| *home != Who::Other);
                self.other = None;
                self.other = self.fixture.another_handle();
            }
            Step::Reopen => {
                if self.abilities.reopens {
                    self.homes.clear();
                }
                (self.main, self.other) = (None, None);
                self.fixture.reopen();
                self.open();
            }
            Step::Pass(time) => self.clock.advance(*time),
            Step::SetWall(step) => self.clock.step_wall(*step),
            Step::Reboot => self.clock.reboot(),
        }
        Ok(Answer::Done)
    }

    /// Enqueues, or closes a batch with these.
    fn enqueue(
        &mut self,
        who: Who,
        closes: Option<usize>,
        jobs: &[New],
    ) -> Result<Answer, StoreError> {
        let asked: Vec<NewJob> = jobs.iter().map(|job| self.new_job(job)).collect();
        let added = match closes {
            None => self.store(who).enqueue(&asked)?,
            Some(batch) => self.store(who).close_batch(&text(BATCHES[batch]), &asked)?,
        };
        assert_eq!(added.len(), jobs.len(), "each job has an answer");
        for (new, one) in jobs.iter().zip(&added).filter(|(_, one)| one.created) {
            self.jobs.insert(new.job, (one.id.clone(), one.key));
        }
        let taken = |one: &queuectl_core::store::Enqueued| match (one.created, one.changed) {
            (true, false) => Taken::Created,
            (false, true) => Taken::Changed,
            (false, false) => Taken::Kept,
            (true, true) => panic!("a new job is not a changed one"),
        };
        Ok(Answer::Added(added.iter().map(|one| (self.job_of(one.key), taken(one))).collect()))
    }

    fn new_job(&self, new: &New) -> NewJob {
        let mut job = NewJob::from_json(text(KINDS[new.kind]), json(new.payload));
        job.queue = text(QUEUES[new.queue]);
        job.id = match new.id {
            Id::Auto => None,
            Id::Own => Some(chosen(new.job)),
            Id::Of(other) => Some(self.id(other)),
        };
        job.priority = new.priority;
        job.max_retries = new.retries;
        job.max_crashes = new.crashes;
        job.unique_key = new.unique.map(|key| format!("key {key}"));
        job.unique_scope = new.scope.clone();
        job.on_conflict = new.on_conflict;
        let after = |&(parent, on): &(u32, _)| After { job: self.id(parent), on };
        job.after = new.after.iter().map(after).collect();
        let after = |&(batch, on): &(usize, _)| AfterBatch { batch: text(BATCHES[batch]), on };
        job.after_batches = new.after_batches.iter().map(after).collect();
        job.batch = new.batch.map(|batch| text(BATCHES[batch]));
        (job.needs, job.otherwise) = (new.needs, new.otherwise);
        job.start = match new.start {
            Start::Now => queuectl_core::Start::Now,
            Start::In(delay) => queuectl_core::Start::In(delay),
            Start::At(step) => {
                let moment = self.clock.now().as_millis() + step;
                queuectl_core::Start::At(Timestamp::from_millis(moment))
            }
        };
        job.expiry = new.expiry.map(|expiry| match expiry {
            Expiry::In(time) => queuectl_core::Expiry::In(time),
            Expiry::At(step) => {
                let moment = self.clock.now().as_millis() + step;
                queuectl_core::Expiry::At(Timestamp::from_millis(moment))
            }
        });
        job
    }

    fn exchange(
        &mut self,
        who: Who,
        settle: &[End],
        claim: Option<&Claim>,
    ) -> Result<Answer, StoreError> {
        let settle: Vec<Settlement> = settle.iter().map(|end| self.settlement(end)).collect();
        let Some(claim) = claim else {
            let done = self.store(who).exchange(&settle, None)?;
            let refused = self.leases(&done.refused);
            return Ok(Answer::Exchanged { refused, claimed: Vec::new(), next_due_ms: None });
        };
        let workers: Vec<(WorkerKey, usize)> = claim
            .workers
            .iter()
            .map(|(worker, wanted)| (self.worker_keys(&[*worker])[0], *wanted))
            .collect();
        let queues = claim.only.as_ref().map_or(Queues::All, |only| {
            Queues::Only(only.iter().map(|&queue| text(QUEUES[queue])).collect())
        });
        let kinds = [text(KINDS[0]), text(KINDS[1])];
        let request = ClaimRequest { workers: &workers, queues: &queues, kinds: &kinds };
        let done = self.store(who).exchange(&settle, Some(&request))?;
        let mut claimed = Vec::new();
        for job in &done.claimed {
            let lease = self.name(job.lease);
            self.given.insert(lease, self.clock.now());
            if let Some(home) = self.homes.get(&job.worker).filter(|_| lease.begins()) {
                self.store(*home).begin(job.lease);
            }
            claimed.push(SeenClaim {
                lease,
                worker: self.worker_of(job.worker),
                queue: index(&QUEUES, &job.queue),
                kind: index(&KINDS, &job.kind),
                attempt: job.attempt,
                max_attempts: job.max_attempts,
                lost_from: job.lost_from.map(|token| token.0),
                limit: job.timeout,
            });
        }
        let next_due_ms = done.next_due.map(|due| u64::try_from(due.as_millis()).expect("soon"));
        Ok(Answer::Exchanged { refused: self.leases(&done.refused), claimed, next_due_ms })
    }

    fn settlement(&self, end: &End) -> Settlement {
        let verdict = match end.verdict {
            Verdict::Complete(result) => Told::Complete { result: result.map(json) },
            Verdict::Fail(retry_in) => Told::Fail { retry_in },
            Verdict::Die => Told::Die,
            Verdict::Snooze(wake_in) => Told::Snooze { wake_in },
            Verdict::Release => Told::Release,
            Verdict::Cancel => Told::Cancel,
        };
        let report = end.said.then(|| {
            let cause = end.verdict.said_cause();
            let fails = matches!(cause, Cause::Exited | Cause::Cancelled);
            Box::new(if fails { Report::failure(cause, SAID) } else { Report::new(cause) })
        });
        let claimed_at = self.given.get(&end.lease).copied();
        let claimed_at = claimed_at.unwrap_or_else(|| self.clock.now());
        Settlement {
            lease: self.lease(end.lease),
            verdict,
            started_at: Timestamp::from_millis(claimed_at.as_millis() + 1),
            report,
            leftovers: end.leftovers,
        }
    }

    fn sweep(&self, who: Who, like: Option<u32>, remedy: Remedy) -> Result<Answer, StoreError> {
        let mut sweep = match remedy {
            Remedy::Purge => Sweep::purge(),
            Remedy::Retry(_) => Sweep::retry(),
        };
        if let Remedy::Retry(Some(gap)) = remedy {
            sweep = sweep.rate(Rate::new(NonZeroU32::MIN, gap).expect("a rate"));
        }
        let model = like.map(|like| self.store(who).job(&self.id(like))).transpose()?.flatten();
        match (like, model.and_then(|job| job.failure)) {
            (Some(_), None) => return Ok(Answer::Swept(0, 0)),
            (_, Some(failure)) => sweep = sweep.alike(failure),
            (None, None) => {}
        }
        let Swept { done, kept, .. } = sweep.run(self.store(who))?;
        let number = |n: u64| u32::try_from(n).expect("a few");
        Ok(Answer::Swept(number(done), number(kept)))
    }

    fn orders(
        &self,
        who: Who,
        workers: &[u32],
        orders: queuectl_core::store::Orders,
    ) -> Result<Answer, StoreError> {
        let cancel = orders.cancel.iter();
        let mut cancel: Vec<_> =
            cancel.map(|(lease, why)| (self.name(*lease), Some(reason(why)))).collect();
        cancel.sort_unstable_by_key(|(lease, _)| *lease);
        let mut held = self.leases(&self.store(who).held(&self.worker_keys(workers))?);
        held.sort_unstable();
        Ok(Answer::Orders {
            lost: orders.lost.iter().map(|key| self.worker_of(*key)).collect(),
            cancel,
            stop: orders.stop.iter().map(|(key, mode)| (self.worker_of(*key), *mode)).collect(),
            held,
        })
    }

    fn rescue(&mut self, who: Who) -> Result<Answer, StoreError> {
        let told = self.store(who).rescue(&[text(KINDS[0]), text(KINDS[1])])?;
        let ended = told.iter().filter(|one| one.state.is_terminal());
        self.store(who).cleaned(&ended.map(|one| one.lease).collect::<Vec<_>>())?;
        let holder = |one: &queuectl_core::store::Rescued| match one.state.is_terminal() {
            true => NOBODY,
            false => self.worker_of(one.worker),
        };
        let mut rescued: Vec<SeenRescue> = told
            .iter()
            .map(|one| SeenRescue {
                lease: self.name(one.lease),
                worker: holder(one),
                kind: index(&KINDS, &one.kind),
                lost_from: one.lost_from.0,
                state: one.state,
            })
            .collect();
        rescued.sort_unstable_by_key(|one| one.lease);
        Ok(Answer::Rescued(rescued))
    }
}

/// Names.
impl Driver {
    fn id(&self, job: u32) -> JobId {
        self.jobs.get(&job).map_or_else(|| chosen(job), |(id, _)| id.clone())
    }

    fn ids(&self, jobs: &[u32]) -> Vec<JobId> {
        jobs.iter().map(|&job| self.id(job)).collect()
    }

    fn lease(&self, name: Name) -> Lease {
        let never = JobKey(NEVER + i64::from(name.job));
        let key = self.jobs.get(&name.job).map_or(never, |(_, key)| *key);
        Lease { key, token: Token(name.token) }
    }

    fn job_of(&self, key: JobKey) -> u32 {
        let found = self.jobs.iter().find(|(_, (_, other))| *other == key);
        let never = || u32::try_from(key.0 - NEVER).unwrap_or(u32::MAX);
        found.map_or_else(never, |(job, _)| *job)
    }

    fn name(&self, lease: Lease) -> Name {
        Name { job: self.job_of(lease.key), token: lease.token.0 }
    }

    fn leases(&self, leases: &[Lease]) -> Vec<Name> {
        leases.iter().map(|lease| self.name(*lease)).collect()
    }

    fn worker_keys(&self, workers: &[u32]) -> Vec<WorkerKey> {
        let key = |worker: &u32| {
            let never = WorkerKey(NEVER + i64::from(*worker));
            self.workers.get(worker).copied().unwrap_or(never)
        };
        workers.iter().map(key).collect()
    }

    fn worker_of(&self, key: WorkerKey) -> u32 {
        let found = self.workers.iter().find(|(_, other)| **other == key);
        let never = || u32::try_from(key.0 - NEVER).unwrap_or(u32::MAX);
        found.map_or_else(never, |(worker, _)| *worker)
    }
}

/// Looking.
impl Driver {
    pub(super) fn seen(&self, who: Who) -> Result<Seen, StoreError> {
        let store = self.store(who);
        let query = JobQuery { ascending: true, limit: usize::MAX >> 1, ..JobQuery::default() };
        let jobs = store.jobs(&query)?;
        let mut counts: Vec<_> = store
            .counts()?
            .iter()
            .filter(|lane| lane.by_state.iter().any(|&count| count > 0))
            .map(|lane| (index(&QUEUES, &lane.queue), index(&KINDS, &lane.kind), lane.by_state))
            .collect();
        counts.sort_unstable();
        let queues = store.queues()?;
        let mut queues: Vec<_> =
            queues.iter().map(|queue| (index(&QUEUES, &queue.name), queue.paused)).collect();
        queues.sort_unstable();
        let workers = store.workers()?;
        let workers = workers.iter().map(|worker| {
            let ids = worker.running.iter().map(|(id, _)| self.job_with(&jobs, id));
            let mut runs: Vec<u32> = ids.collect();
            runs.sort_unstable();
            SeenWorker { worker: self.worker_of(worker.key), stopping: worker.stopping, runs }
        });
        let mut workers: Vec<_> = workers.collect();
        workers.sort_unstable_by_key(|worker| worker.worker);
        let mut seen = Vec::new();
        for job in &jobs {
            let notes = store.notes(job.key)?;
            let notes = notes.iter().map(seen_note).collect();
            seen.push(SeenJob { notes, ..self.seen_job(&jobs, job, &store.attempts(job.key)?) });
        }
        let groups = store.failures(usize::MAX)?.into_iter().map(|group| SeenGroup {
            failure: group.failure.fingerprint(),
            count: group.count,
            oldest_at: group.oldest_at.as_millis(),
            newest: (group.newest_at.as_millis(), self.job_with(&jobs, &group.exemplar)),
        });
        let groups = groups.collect();
        let batches = store.batches(usize::MAX)?;
        let millis = |moment: Option<Timestamp>| moment.map(Timestamp::as_millis);
        let batches = batches.iter().map(|one| SeenBatch {
            batch: index(&BATCHES, &one.name),
            times: (one.created_at.as_millis(), millis(one.closed_at), millis(one.finished_at)),
            total: one.total,
            ended: [one.completed, one.dead, one.cancelled],
        });
        let batches = batches.collect();
        Ok(Seen { jobs: seen, counts, queues, workers, groups, batches })
    }

    fn job_with(&self, jobs: &[Job], id: &JobId) -> u32 {
        let found = jobs.iter().find(|job| job.id == *id);
        found.map_or(u32::MAX, |job| self.job_of(job.key))
    }

    fn seen_job(&self, jobs: &[Job], job: &Job, attempts: &[Attempt]) -> SeenJob {
        let after = |after: &After| (self.job_with(jobs, &after.job), after.on);
        let mut waits_for: Vec<_> = job.waits_for.iter().map(after).collect();
        waits_for.sort_unstable_by_key(|(parent, _)| *parent);
        SeenJob {
            job: self.job_of(job.key),
            state: job.state,
            queue: index(&QUEUES, &job.queue),
            kind: index(&KINDS, &job.kind),
            priority: job.priority,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            token: job.token.0,
            worker: job.worker.map(|key| self.worker_of(key)),
            run_at: job.run_at.as_millis(),
            expires_at: job.expires_at.map(Timestamp::as_millis),
            created_at: job.created_at.as_millis(),
            started_at: job.started_at.map(Timestamp::as_millis),
            finished_at: job.finished_at.map(Timestamp::as_millis),
            unique: job.unique_key.clone(),
            unique_until: job.unique_until.map(Timestamp::as_millis),
            unique_while: job.unique_while.clone(),
            payload: job.payload.as_str().to_owned(),
            waits_for,
            waits_for_batches: {
                let after = |after: &AfterBatch| (index(&BATCHES, &after.batch), after.on);
                let mut batches: Vec<_> = job.waits_for_batches.iter().map(after).collect();
                batches.sort_unstable_by_key(|(batch, _)| *batch);
                batches
            },
            batch: job.batch.as_ref().map(|batch| index(&BATCHES, batch)),
            terms: (job.needs, job.otherwise),
            reason: job.cancel_reason.as_deref().map(reason),
            by: job.cancelled_by.clone(),
            error: job.last_error.clone(),
            result: job.result.as_ref().map(|json| json.as_str().to_owned()),
            progress: job.progress.as_ref().map(|json| json.as_str().to_owned()),
            failure: job.failure,
            notes: Vec::new(),
            history: attempts
                .iter()
                .map(|attempt| SeenAttempt {
                    token: attempt.token.0,
                    number: attempt.number,
                    worker: attempt.worker.map(|key| self.worker_of(key)),
                    started_at: attempt.started_at.as_millis(),
                    finished_at: attempt.finished_at.map(Timestamp::as_millis),
                    cause: attempt.report.as_ref().map(|report| report.cause),
                })
                .collect(),
        }
    }
}

fn seen_note(note: &Note) -> SeenNote {
    let number = |text: &str| text.parse().expect("a number");
    SeenNote {
        at: note.at.as_millis(),
        text: number(&note.text),
        payload: note.payload.as_ref().map(|payload| number(payload.as_str())),
    }
}

fn chosen(job: u32) -> JobId {
    format!("job-{job}").parse().expect("an id")
}

fn text(name: &str) -> Text {
    Text::new(name).expect("a name")
}

fn json(value: u8) -> Json {
    Json::parse(value.to_string()).expect("JSON")
}

fn index(all: &[&str], name: &Text) -> usize {
    all.iter().position(|one| *one == name.as_str()).unwrap_or(usize::MAX)
}

fn reason(text: &str) -> Reason {
    match text.strip_prefix("reason ").and_then(|number| number.parse().ok()) {
        Some(number) => Reason::Asked(number),
        None if text == SAID => Reason::Said,
        None if text.ends_with("was deleted") => Reason::ParentDeleted,
        None if text.starts_with("expired") => Reason::Expired,
        None if text.contains(", which it waited for, ") => Reason::ParentEnded,
        None => Reason::Unknown,
    }
}

/// The refusals that the contract names; whatever else a store says is a failure of the store.
fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::NotFound(_) => Refusal::NotFound,
        StoreError::NoBatch(_) => Refusal::NoBatch,
        StoreError::BatchClosed(_) => Refusal::BatchClosed,
        StoreError::BatchOpen(_) => Refusal::BatchOpen,
        StoreError::BatchEnded(_) => Refusal::BatchEnded,
        StoreError::NoWorker(_) => Refusal::NoWorker,
        StoreError::DuplicateId(_) => Refusal::DuplicateId,
        StoreError::NumberGiven(_) => Refusal::NumberGiven,
        StoreError::Cycle(_) => Refusal::Cycle,
        StoreError::WrongState { .. } => Refusal::WrongState,
        StoreError::StillLives { .. } => Refusal::StillLives,
        StoreError::UniqueKeyTaken { .. } => Refusal::UniqueKeyTaken,
        other => panic!("the store fails: {other}: {other:?}"),
    }
}
