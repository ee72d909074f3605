//! The model: what a store is, in the fewest words. Written from the contract and not from any
//! store, so that it is an opinion of its own on [`MemoryStore`](crate::MemoryStore) as well.
//!
//! A call that is refused gives the world back as it was: it is copied first. Nothing is indexed,
//! and whatever can be derived is.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{
    Cause, Condition, Needs, OnConflict, Otherwise, Policy, Setting, Settings, State, UniqueScope,
};

use super::seen::{
    Answer, Reason, Refusal, Seen, SeenAttempt, SeenJob, SeenNote, SeenRescue, SeenWorker, Taken,
    asker,
};
use super::step::{Expiry, Id, Name, New, Start, Step, Verdict, Who};

/// What the store on trial can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Abilities {
    /// Two processes can use it.
    pub(super) shared: bool,
    /// The death of a process is known at once.
    pub(super) knows_death: bool,
    /// It can be opened again.
    pub(super) reopens: bool,
}

impl Abilities {
    pub(super) const ALL: Abilities = Abilities { shared: true, knows_death: true, reopens: true };
}

/// Everything there is.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) abilities: Abilities,
    /// The wall clock, in milliseconds since 1970.
    pub(super) wall: i64,
    /// The boot clock.
    pub(super) boot: i64,
    /// How often the machine was started.
    pub(super) boots: u32,
    /// By number, which is the order of enqueueing.
    pub(super) jobs: BTreeMap<u32, Job>,
    pub(super) workers: BTreeMap<u32, Worker>,
    /// The queues that were used, and whether they are paused.
    pub(super) queues: BTreeMap<usize, bool>,
    /// By kind.
    pub(super) policies: BTreeMap<usize, Policy>,
    pub(super) settings: Settings,
    pub(super) batches: BTreeMap<usize, Batch>,
    /// How many batches there ever were.
    pub(super) batches_made: u32,
    /// Every id that a job ever had.
    pub(super) ids: BTreeMap<u32, JobName>,
    /// What jobs that have ended have left, and nobody was told of.
    pub(super) left: BTreeMap<Name, SeenRescue>,
    /// The first numbers that were never used.
    pub(super) next_job: u32,
    pub(super) next_worker: u32,
    /// What has come about; shows whether the stories come near what is difficult.
    pub(super) events: BTreeSet<&'static str>,
}

/// An id: a chosen one of its own, or the one that the store gave to the job of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobName {
    Chosen(u32),
    Auto(u32),
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: JobName,
    pub(super) queue: usize,
    pub(super) kind: usize,
    pub(super) priority: i16,
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) max_attempts: u32,
    pub(super) max_crashes: Option<NonZeroU32>,
    pub(super) token: i64,
    pub(super) worker: Option<u32>,
    pub(super) created_at: i64,
    pub(super) run_at: i64,
    pub(super) due: Due,
    /// The moment by the wall clock, and when that is.
    pub(super) expiry: Option<(i64, Due)>,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// The parents that have not ended as it waits for, and how they should.
    pub(super) waits_for: BTreeMap<u32, Condition>,
    /// The same for batches.
    pub(super) waits_for_batches: BTreeMap<usize, Condition>,
    pub(super) batch: Option<usize>,
    pub(super) needs: Needs,
    pub(super) otherwise: Otherwise,
    pub(super) unique: Option<u8>,
    pub(super) scope: UniqueScope,
    /// When its period is over: the moment by the wall clock, and when that is.
    pub(super) until: Option<(i64, Due)>,
    /// It has left the states in which it holds its key, or its period was found over.
    pub(super) gave_up: bool,
    pub(super) payload: u8,
    pub(super) reason: Option<Reason>,
    pub(super) error: Option<String>,
    pub(super) result: Option<u8>,
    pub(super) progress: Option<u8>,
    pub(super) lost_from: Option<i64>,
    /// Whether the newest attempt has begun.
    pub(super) begun: bool,
    pub(super) notes: Vec<SeenNote>,
    pub(super) history: Vec<SeenAttempt>,
}

/// When a job may be claimed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// Now and ever after.
    Reached,
    /// When the wall clock shows `run_at`.
    AtWall,
    /// When the boot clock of that boot shows this; in any other boot, as `AtWall`.
    AtBoot(i64, u32),
}

/// Jobs that are counted together.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    /// Which one it is of all that were made.
    pub(super) number: u32,
    pub(super) created_at: i64,
    pub(super) closed_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// There may be more jobs to come in the call that closes it.
    pub(super) closing: bool,
    /// The states in which jobs of it were deleted.
    pub(super) deleted: Vec<State>,
}

#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) process: Who,
    pub(super) gone: bool,
    pub(super) lease_ends: i64,
    pub(super) boots: u32,
    pub(super) stopping: Option<StopMode>,
}

impl World {
    /// An empty store, at the time at which a `ManualClock` starts.
    pub(super) fn new(abilities: Abilities) -> Self {
        World {
            abilities,
            wall: 1_700_000_000_000,
            boot: 3_600_000,
            boots: 1,
            jobs: BTreeMap::new(),
            workers: BTreeMap::new(),
            queues: BTreeMap::new(),
            policies: BTreeMap::new(),
            settings: Settings::default(),
            batches: BTreeMap::new(),
            batches_made: 0,
            ids: BTreeMap::new(),
            left: BTreeMap::new(),
            next_job: 0,
            next_worker: 0,
            events: BTreeSet::new(),
        }
    }

    /// Takes a step; gives the answer that a store must give.
    pub(super) fn take(&mut self, step: &Step) -> Answer {
        let before = self.clone();
        let answer = self.attempt(step);
        if matches!(answer, Answer::Refused(_)) {
            let (next_job, next_worker) = (self.next_job, self.next_worker);
            *self = World { next_job, next_worker, ..before };
            self.events.insert("a refused call");
        }
        for job in self.jobs.values() {
            self.events.insert(job.state.as_str());
            let causes = job.history.iter().filter_map(|attempt| attempt.cause);
            self.events.extend(causes.map(Cause::as_str));
        }
        answer
    }

    fn attempt(&mut self, step: &Step) -> Answer {
        match step {
            Step::Enqueue(_, jobs) => self.enqueue(jobs),
            Step::CloseBatch(_, batch, jobs) => self.close_batch(*batch, jobs),
            Step::CancelBatch(_, batch, reason) => self.cancel_batch(*batch, *reason),
            Step::Register(who, worker, lease) => self.register(*who, *worker, *lease),
            Step::Deregister(_, workers) => self.deregister(workers),
            Step::Exchange(_, settle, claim) => self.exchange(settle, claim.as_ref()),
            Step::Renew(_, workers, lease) => self.renew(workers, *lease),
            Step::Orders(_, workers) => self.orders(workers),
            Step::Rescue(_) => self.rescue(),
            Step::Cancel(_, jobs, reason) => self.cancel(jobs, *reason),
            Step::Retry(_, jobs) => self.retry(jobs),
            Step::RetryWith(_, job, payload, text) => self.retry_with(*job, *payload, *text),
            Step::Purge(_, jobs) => self.purge(jobs),
            Step::Sweep(_, like, remedy) => self.sweep(*like, *remedy),
            Step::Note(_, job, text) => self.note(*job, *text),
            Step::Prune(_) => self.prune(),
            Step::Expire(_) => self.expire(),
            Step::Pause(_, queue, paused) => {
                self.queues.insert(*queue, *paused);
                Answer::Done
            }
            Step::Stop(_, workers, mode) => self.stop(workers, *mode),
            Step::Progress(_, notes) => self.progress(notes),
            Step::Policy(_, kind, rule) => {
                self.policies.entry(*kind).or_default().set(rule.clone());
                Answer::Done
            }
            Step::Change(_, setting, value) => self.change(*setting, *value),
            Step::Die => self.processes_end(&[Who::Other]),
            Step::Reopen if self.abilities.reopens => self.processes_end(&[Who::Main, Who::Other]),
            Step::Reopen => Answer::Done,
            Step::Pass(time) => {
                self.wall += millis(*time);
                self.boot += millis(*time);
                Answer::Done
            }
            Step::SetWall(step) => {
                self.wall += step;
                Answer::Done
            }
            Step::Reboot => {
                self.boots += 1;
                self.boot = 1_000;
                Answer::Done
            }
        }
    }

    fn processes_end(&mut self, ended: &[Who]) -> Answer {
        let noticed = self.abilities.knows_death && self.abilities.shared;
        for worker in self.workers.values_mut() {
            worker.gone |= noticed && ended.contains(&worker.process);
        }
        Answer::Done
    }

    /// The id that a job has, had, or would choose.
    pub(super) fn id_of(&self, job: u32) -> JobName {
        self.ids.get(&job).copied().unwrap_or(JobName::Chosen(job))
    }

    /// The job that has this id.
    pub(super) fn find(&self, id: JobName) -> Option<u32> {
        self.jobs.iter().find(|(_, job)| job.id == id).map(|(number, _)| *number)
    }

    /// The jobs that now have the ids of these, each once, in order.
    fn find_all(&self, named: &[u32], refusals: &mut Vec<Refusal>) -> Vec<u32> {
        let mut found = Vec::new();
        for &named in named {
            match self.find(self.id_of(named)) {
                Some(job) if !found.contains(&job) => found.push(job),
                Some(_) => {}
                None => refusals.push(Refusal::NotFound),
            }
        }
        found
    }

    /// How long a job still waits; `None` if it is due.
    pub(super) fn wait(&self, job: &Job) -> Option<i64> {
        self.until(job.run_at, job.due)
    }

    fn until(&self, moment: i64, due: Due) -> Option<i64> {
        let left = match due {
            Due::Reached => 0,
            Due::AtBoot(at, boots) if boots == self.boots => at - self.boot,
            Due::AtBoot(..) | Due::AtWall => moment - self.wall,
        };
        (left > 0).then_some(left)
    }

    /// Whether a job that waits is not to be run any more.
    pub(super) fn has_expired(&self, job: &Job) -> bool {
        let waits = matches!(job.state, State::Pending | State::Blocked | State::Failed);
        waits && job.expiry.is_some_and(|(moment, due)| self.until(moment, due).is_none())
    }

    pub(super) fn expire_one(&mut self, number: u32) {
        let wall = self.wall;
        if let Some(job) = self.jobs.get_mut(&number) {
            job.reason = Some(Reason::Expired);
            job.end(State::Cancelled, wall);
        }
        self.note_left(number);
    }

    pub(super) fn delayed(&self, delay: Duration) -> (i64, Due) {
        let delay = millis(delay);
        let due =
            if delay == 0 { Due::Reached } else { Due::AtBoot(self.boot + delay, self.boots) };
        (self.wall + delay, due)
    }

    /// The job that holds an idempotency key. Who looks notes that a period is over.
    fn holder(&mut self, unique: Option<u8>) -> Option<u32> {
        unique?;
        let (number, job) = self.jobs.iter().find(|(_, job)| {
            job.unique == unique && !job.gave_up && job.scope.states().any(|one| one == job.state)
        })?;
        let number = *number;
        if job.until.is_some_and(|(moment, due)| self.until(moment, due).is_none()) {
            self.events.insert("a period that was over");
            if let Some(job) = self.jobs.get_mut(&number) {
                job.gave_up = true;
            }
            return None;
        }
        Some(number)
    }

    /// A job waits again: does it hold its key?
    pub(super) fn comes_back(&mut self, number: u32) {
        let job = &self.jobs[&number];
        if job.unique.is_none() || job.state.is_terminal() {
            return;
        }
        let (unique, gave_up) = (job.unique, job.gave_up);
        let gives_up = if !job.scope.states().any(|one| one == job.state) {
            true
        } else if gave_up {
            let taken = self.holder(unique).is_some();
            self.events.insert(match taken {
                true => "a key that another had when its job came back",
                false => "a key that was free when its job came back",
            });
            taken
        } else {
            false
        };
        if let Some(job) = self.jobs.get_mut(&number) {
            job.gave_up = gives_up;
        }
    }
}

/// Enqueueing.
impl World {
    pub(super) fn enqueue(&mut self, jobs: &[New]) -> Answer {
        self.next_job = jobs.iter().map(|job| job.job + 1).max().unwrap_or(0).max(self.next_job);
        let mut added = Vec::new();
        for new in jobs {
            match self.add(new) {
                Ok(one) => added.push(one),
                Err(refusals) => return Answer::Refused(refusals),
            }
        }
        // An id that the store gives is known to nobody before the call has returned.
        for (job, _) in &added {
            if let Some(id) = self.jobs.get(job).map(|job| job.id) {
                self.ids.insert(*job, id);
            }
        }
        Answer::Added(added)
    }

    fn add(&mut self, new: &New) -> Result<(u32, Taken), Vec<Refusal>> {
        let mut holder = self.holder(new.unique);
        if let Some(late) = holder.filter(|holder| self.has_expired(&self.jobs[holder])) {
            self.events.insert("a key of a job that had expired");
            self.expire_one(late);
            self.see_to_dependents();
            holder = self.holder(new.unique);
        }
        if let Some(holder) = holder {
            return Ok((holder, self.change_holder(holder, new)));
        }
        let id = match new.id {
            Id::Auto => JobName::Auto(new.job),
            Id::Own => JobName::Chosen(new.job),
            Id::Of(other) => self.id_of(other),
        };
        let mut refusals = Vec::new();
        match id {
            _ if self.find(id).is_some() => refusals.push(Refusal::DuplicateId),
            JobName::Auto(given) if given != new.job => refusals.push(Refusal::NumberGiven),
            _ => {}
        }
        let mut waits_for = BTreeMap::new();
        for &(parent, on) in &new.after {
            let parent = self.id_of(parent);
            match self.find(parent) {
                _ if parent == id => refusals.push(Refusal::Cycle),
                None => refusals.push(Refusal::NotFound),
                // Named twice, it counts as it was named first.
                Some(parent) => {
                    waits_for.entry(parent).or_insert(on);
                }
            }
        }
        let waits_for_batches = self.join(new, &mut refusals);
        if !refusals.is_empty() {
            return Err(refusals);
        }
        let of_kind = self.policies.get(&new.kind).and_then(|policy| policy.max_retries);
        if of_kind.is_some() && new.retries.is_none() {
            self.events.insert("retries of a kind");
        }
        let (run_at, due) = self.start(new.start);
        let expiry = new.expiry.map(|expiry| self.expiry(expiry));
        let until = match new.scope {
            UniqueScope::For(period) if new.unique.is_some() => {
                let period = millis(period);
                Some((self.wall + period, Due::AtBoot(self.boot + period, self.boots)))
            }
            _ => None,
        };
        let job = Job {
            id,
            queue: new.queue,
            kind: new.kind,
            priority: new.priority,
            state: match waits_for.is_empty() && waits_for_batches.is_empty() {
                true => State::Pending,
                false => State::Blocked,
            },
            attempts: 0,
            max_attempts: 1 + new.retries.or(of_kind).unwrap_or(self.settings.max_retries),
            max_crashes: new.crashes,
            token: 0,
            worker: None,
            created_at: self.wall,
            run_at,
            due,
            expiry,
            started_at: None,
            finished_at: None,
            waits_for,
            waits_for_batches,
            batch: new.batch,
            needs: new.needs,
            otherwise: new.otherwise,
            unique: new.unique,
            scope: new.scope.clone(),
            until,
            gave_up: false,
            payload: new.payload,
            reason: None,
            error: None,
            result: None,
            progress: None,
            lost_from: None,
            begun: false,
            notes: Vec::new(),
            history: Vec::new(),
        };
        self.queues.entry(new.queue).or_insert(false);
        self.jobs.insert(new.job, job);
        self.see_to_dependents();
        match new.batch.is_none_or(|batch| self.may_join(batch, new.job)) {
            true => Ok((new.job, Taken::Created)),
            false => Err(vec![Refusal::BatchClosed]),
        }
    }

    fn start(&self, start: Start) -> (i64, Due) {
        match start {
            Start::Now => (self.wall, Due::Reached),
            Start::In(delay) => self.delayed(delay),
            Start::At(step) if step <= 0 => (self.wall + step, Due::Reached),
            Start::At(step) => (self.wall + step, Due::AtWall),
        }
    }

    fn expiry(&self, expiry: Expiry) -> (i64, Due) {
        match expiry {
            Expiry::In(time) => {
                let time = millis(time);
                (self.wall + time, Due::AtBoot(self.boot + time, self.boots))
            }
            Expiry::At(step) => (self.wall + step, Due::AtWall),
        }
    }

    /// What a new job does to the one that holds its key.
    fn change_holder(&mut self, holder: u32, new: &New) -> Taken {
        let (start, expiry) = (self.start(new.start), new.expiry.map(|expiry| self.expiry(expiry)));
        let waits = |job: &Job| matches!(job.state, State::Pending | State::Blocked);
        match self.jobs.get_mut(&holder) {
            Some(job)
                if waits(job)
                    && job.attempts == 0
                    && job.kind == new.kind
                    && new.on_conflict != OnConflict::Keep =>
            {
                if matches!(new.on_conflict, OnConflict::Replace | OnConflict::ReplaceAndMove) {
                    job.payload = new.payload;
                }
                if matches!(new.on_conflict, OnConflict::Move | OnConflict::ReplaceAndMove) {
                    (job.run_at, job.due) = start;
                    job.expiry = expiry.or(job.expiry);
                }
                self.events.insert("a job that another one changed");
                Taken::Changed
            }
            _ => {
                self.events.insert("a unique key that was held");
                Taken::Kept
            }
        }
    }
}

/// What operators do.
impl World {
    pub(super) fn cancel(&mut self, named: &[u32], reason: u8) -> Answer {
        use queuectl_core::store::Cancelled;
        let mut refusals = Vec::new();
        let jobs = self.find_all(named, &mut refusals);
        if jobs.iter().any(|job| self.jobs[job].state.is_terminal()) {
            refusals.push(Refusal::WrongState);
        }
        if !refusals.is_empty() {
            return Answer::Refused(refusals);
        }
        let runs = |job: &u32| self.jobs[job].state == State::Processing;
        let answers = named
            .iter()
            .filter_map(|&named| self.find(self.id_of(named)))
            .map(|job| if runs(&job) { Cancelled::Requested } else { Cancelled::Now })
            .collect();
        let wall = self.wall;
        for number in jobs {
            if let Some(job) = self.jobs.get_mut(&number) {
                // The first reason stands.
                job.reason = job.reason.or(Some(Reason::Asked(reason)));
                if job.state != State::Processing {
                    job.end(State::Cancelled, wall);
                }
            }
            self.note_left(number);
        }
        self.see_to_dependents();
        Answer::Cancelled(answers)
    }

    pub(super) fn retry(&mut self, named: &[u32]) -> Answer {
        let mut refusals = Vec::new();
        let jobs = self.find_all(named, &mut refusals);
        let again = |state: State| state.is_terminal() || state == State::Failed;
        for job in &jobs {
            if !again(self.jobs[job].state) {
                refusals.push(Refusal::WrongState);
            }
        }
        if !refusals.is_empty() {
            if named.len() > 1 {
                // Which may be found first.
                refusals.push(Refusal::UniqueKeyTaken);
            }
            return Answer::Refused(refusals);
        }
        self.events.insert("a retry by hand");
        if jobs.iter().any(|job| self.is_lost_for_somebody(*job)) {
            self.events.insert("a parent that counts again");
        }
        if jobs.into_iter().all(|number| self.retry_one(number, Duration::ZERO)) {
            Answer::Done
        } else {
            Answer::Refused(vec![Refusal::UniqueKeyTaken])
        }
    }

    /// Gives whether it was done: another job may hold its key.
    pub(super) fn retry_one(&mut self, number: u32, delay: Duration) -> bool {
        let (wall, start) = (self.wall, self.delayed(delay));
        let (unique, ended) = (self.jobs[&number].unique, self.jobs[&number].state.is_terminal());
        if ended && self.holder(unique).is_some_and(|holder| holder != number) {
            return false;
        }
        if let Some(job) = self.jobs.get_mut(&number) {
            if ended {
                job.attempts = 0;
                (job.reason, job.result, job.progress) = (None, None, None);
                job.gave_up = false;
            }
            job.end(State::Pending, wall);
            ((job.run_at, job.due), job.expiry) = (start, None);
        }
        self.comes_back(number);
        self.batches_end();
        true
    }

    fn purge(&mut self, named: &[u32]) -> Answer {
        let mut refusals = Vec::new();
        let jobs = self.find_all(named, &mut refusals);
        if jobs.iter().any(|job| !self.jobs[job].state.is_terminal()) {
            refusals.push(Refusal::StillLives);
        }
        if !refusals.is_empty() {
            return Answer::Refused(refusals);
        }
        self.delete(&jobs);
        Answer::Done
    }

    fn prune(&mut self) -> Answer {
        let outlived = |job: &Job| {
            let keep = match job.state {
                State::Dead => self.settings.retention_dead,
                _ => self.settings.retention_completed,
            };
            job.finished_at
                .zip(keep)
                .is_some_and(|(finished_at, keep)| self.wall - finished_at >= millis(keep))
        };
        let held = |job: &Job| {
            let until = job.until.filter(|_| !job.gave_up && job.state != State::Cancelled);
            until.is_some_and(|(moment, due)| self.until(moment, due).is_some())
        };
        let outlived: Vec<u32> = self
            .jobs
            .iter()
            .filter(|(_, job)| outlived(job) && !held(job))
            .map(|(job, _)| *job)
            .collect();
        self.delete(&outlived);
        if !outlived.is_empty() {
            self.events.insert("a pruned job");
        }
        let dead = self.jobs.iter().filter(|(_, job)| job.state == State::Dead);
        let mut dead: Vec<_> = dead.map(|(number, job)| (job.finished_at, *number)).collect();
        dead.sort_unstable();
        let keep = self.settings.retention_dead_count.unwrap_or(u64::MAX);
        let more = (dead.len() as u64).saturating_sub(keep) as usize;
        let spared = |job: &Job| {
            let until = job.until.filter(|_| !job.gave_up);
            until.is_some_and(|(moment, due)| self.until(moment, due).is_some())
        };
        let free = dead.into_iter().map(|(_, number)| number);
        let surplus: Vec<u32> = free.filter(|one| !spared(&self.jobs[one])).take(more).collect();
        self.delete(&surplus);
        if !surplus.is_empty() {
            self.events.insert("a dead job too many");
        }
        self.prune_batches();
        Answer::Pruned((outlived.len() + surplus.len()) as u64)
    }

    fn expire(&mut self) -> Answer {
        let late: Vec<u32> = self
            .jobs
            .iter()
            .filter(|(_, job)| self.has_expired(job))
            .map(|(number, _)| *number)
            .collect();
        for number in &late {
            self.events.insert(match self.jobs[number].state {
                State::Blocked => "a blocked job that expired",
                State::Failed => "a retry that came too late",
                _ => "a job that expired",
            });
            self.expire_one(*number);
        }
        self.see_to_dependents();
        Answer::Expired(late.len() as u64)
    }

    pub(super) fn delete(&mut self, jobs: &[u32]) {
        for deleted in jobs {
            let gone = self.jobs.remove(deleted);
            if let Some(job) = &gone {
                self.note_gone(job);
            }
            self.parent_deleted(*deleted);
            if let Some(batch) = gone.and_then(|job| job.batch) {
                self.may_be_gone(batch);
            }
        }
    }

    fn change(&mut self, setting: Setting, value: Option<&str>) -> Answer {
        let default = Settings::default().get(setting);
        let value = value.unwrap_or(&default);
        self.settings.set(setting, value).expect("the stories set what can be set");
        Answer::Done
    }
}

impl Job {
    /// Brings the job to a state in which nobody holds it.
    pub(super) fn end(&mut self, state: State, wall: i64) {
        self.state = state;
        self.finished_at = state.is_terminal().then_some(wall);
        self.worker = None;
        self.waits_for.clear();
        self.waits_for_batches.clear();
    }

    /// Where a verdict leaves the job.
    pub(super) fn after(&self, verdict: Verdict) -> State {
        match verdict {
            Verdict::Complete(_) => State::Completed,
            Verdict::Cancel => State::Cancelled,
            _ if self.reason.is_some() => State::Cancelled,
            Verdict::Fail(_) if self.attempts < self.max_attempts => State::Failed,
            Verdict::Fail(_) | Verdict::Die => State::Dead,
            Verdict::Snooze(_) | Verdict::Release => State::Pending,
        }
    }
}

/// Looking.
impl World {
    pub(super) fn seen(&self) -> Seen {
        let mut counts: BTreeMap<(usize, usize), [u64; 7]> = BTreeMap::new();
        for job in self.jobs.values() {
            let lane = counts.entry((job.queue, job.kind)).or_default();
            for (count, state) in lane.iter_mut().zip(State::ALL) {
                *count += u64::from(job.state == state);
            }
        }
        let runs = |worker: u32| {
            let held = self.jobs.iter().filter(|(_, job)| job.worker == Some(worker));
            held.map(|(job, _)| *job).collect()
        };
        Seen {
            jobs: self
                .jobs
                .iter()
                .map(|(number, job)| match job.state {
                    State::Blocked => SeenJob {
                        waits_for: self.still_waits_for(job),
                        waits_for_batches: self.still_waits_for_batches(job),
                        terms: (job.needs, job.otherwise),
                        ..job.seen(*number)
                    },
                    _ => job.seen(*number),
                })
                .collect(),
            counts: counts.into_iter().map(|((queue, kind), by)| (queue, kind, by)).collect(),
            batches: self.seen_batches(),
            queues: self.queues.iter().map(|(queue, paused)| (*queue, *paused)).collect(),
            workers: self
                .workers
                .iter()
                .map(|(&number, worker)| SeenWorker {
                    worker: number,
                    stopping: worker.stopping,
                    runs: runs(number),
                })
                .collect(),
            groups: self.groups(),
        }
    }
}

impl Job {
    fn seen(&self, number: u32) -> SeenJob {
        SeenJob {
            job: number,
            state: self.state,
            queue: self.queue,
            kind: self.kind,
            priority: self.priority,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            token: self.token,
            worker: self.worker,
            run_at: self.run_at,
            expires_at: self.expiry.map(|(moment, _)| moment),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            unique: self.unique.map(|key| format!("key {key}")),
            unique_until: self.until.map(|(moment, _)| moment),
            unique_while: match self.unique {
                Some(_) => self.scope.states().collect(),
                None => Vec::new(),
            },
            payload: self.payload.to_string(),
            waits_for: Vec::new(),
            waits_for_batches: Vec::new(),
            batch: self.batch,
            terms: (Needs::All, Otherwise::Wait),
            reason: self.reason,
            by: match self.reason {
                Some(Reason::Asked(number)) => asker(number).map(str::to_owned),
                _ => None,
            },
            error: self.error.clone(),
            result: self.result.map(|value| value.to_string()),
            progress: self.progress.map(|value| value.to_string()),
            failure: self.failure(),
            notes: self.notes.clone(),
            history: self.history.clone(),
        }
    }

    pub(super) fn lease(&self, number: u32) -> Name {
        Name { job: number, token: self.token }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
