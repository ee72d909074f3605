//! The model's workers: what they claim, how it ends, and what becomes of it when they die.

use std::cmp::Reverse;
use std::time::Duration;

use queuectl_core::store::StopMode;
use queuectl_core::{Cause, State};

use super::seen::{Answer, NOBODY, Reason, Refusal, SeenAttempt, SeenClaim, SeenRescue};
use super::step::{Claim, End, KINDS, Name, QUEUES, Verdict, Who};
use super::world::{Due, Job, Worker, World, millis};

/// What a lost attempt has to say.
pub(super) const LOST: &str = "the worker died, or could not renew its lease in time";
/// What a reported failure has to say.
pub(super) const SAID: &str = "said by the handler";

/// Exchanges.
impl World {
    pub(super) fn exchange(&mut self, settle: &[End], claim: Option<&Claim>) -> Answer {
        let mut refused = Vec::new();
        for end in settle {
            if !self.settle(end) {
                refused.push(end.lease);
                self.events.insert("a refused lease");
            }
        }
        let (mut claimed, mut next_due_ms) = (Vec::new(), None);
        if let Some(claim) = claim {
            self.remember_due();
            // What is freed by a job that expires meanwhile is for the next call.
            let fitting = self.fitting(claim.only.as_deref());
            for &(worker, wanted) in &claim.workers {
                claimed.extend(self.claim(worker, wanted, &fitting));
            }
            next_due_ms = self
                .jobs
                .values()
                .filter(|job| matches!(job.state, State::Pending | State::Failed))
                .filter_map(|job| self.wait(job))
                .min()
                .map(i64::unsigned_abs);
        }
        Answer::Exchanged { refused, claimed, next_due_ms }
    }

    fn held(&mut self, lease: Name) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&lease.job)?;
        (job.state == State::Processing && job.token == lease.token).then_some(job)
    }

    fn settle(&mut self, end: &End) -> bool {
        let (wall, delayed) = (self.wall, self.delayed(end.verdict.delay()));
        let Some(job) = self.held(end.lease) else {
            return false;
        };
        let state = job.after(end.verdict);
        // The handler began a moment after the claim.
        job.started_at = job.started_at.map(|claimed_at| claimed_at + 1);
        if let Some(attempt) = job.history.last_mut() {
            attempt.started_at += 1;
        }
        let said = end.said.then_some(SAID);
        if end.verdict == Verdict::Release && !end.said {
            job.history.pop();
        } else {
            job.end_attempt(end.cause(state), said, wall);
        }
        let lost_from = job.lost_from.unwrap_or(job.token);
        job.lost_from = end.leftovers.then_some(lost_from);
        if matches!(end.verdict, Verdict::Snooze(_) | Verdict::Release) {
            job.attempts -= 1;
        }
        match end.verdict {
            Verdict::Complete(result) => (job.result, job.reason) = (result, None),
            Verdict::Cancel => job.reason = job.reason.or(said.map(|_| Reason::Said)),
            _ => {}
        }
        // Who will not run again, or may at once, keeps its moment.
        if let (Verdict::Fail(_), State::Failed) | (Verdict::Snooze(_), State::Pending) =
            (end.verdict, state)
        {
            (job.run_at, job.due) = delayed;
        }
        job.end(state, wall);
        self.comes_back(end.lease.job);
        self.note_left(end.lease.job);
        self.see_to_dependents();
        true
    }

    /// Once a job was found due, it stays so.
    fn remember_due(&mut self) {
        let waits = |job: &Job| matches!(job.state, State::Pending | State::Failed);
        let due: Vec<u32> = self
            .jobs
            .iter()
            .filter(|(_, job)| waits(job) && self.wait(job).is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            if let Some(job) = self.jobs.get_mut(&number) {
                job.due = Due::Reached;
            }
        }
    }

    /// The jobs that may be claimed from these queues, in order.
    fn fitting(&self, only: Option<&[usize]>) -> Vec<u32> {
        let served = |queue: usize| {
            let private = QUEUES[queue].starts_with("run:");
            let paused = self.queues.get(&queue).copied().unwrap_or(false);
            only.map_or(!private, |only| only.contains(&queue)) && !paused
        };
        let mut fitting: Vec<(Reverse<i16>, u32)> = self
            .jobs
            .iter()
            .filter(|(_, job)| matches!(job.state, State::Pending | State::Failed))
            .filter(|(_, job)| served(job.queue) && KINDS[job.kind] != "never")
            .filter(|(_, job)| self.wait(job).is_none())
            .map(|(number, job)| (Reverse(job.priority), *number))
            .collect();
        fitting.sort_unstable();
        fitting.into_iter().map(|(_, number)| number).collect()
    }

    fn claim(&mut self, worker: u32, wanted: usize, fitting: &[u32]) -> Vec<SeenClaim> {
        if self.workers.get(&worker).is_none_or(|worker| worker.stopping.is_some()) {
            return Vec::new();
        }
        let mut claimed = Vec::new();
        for &number in fitting {
            if claimed.len() == wanted {
                break;
            }
            if !matches!(self.jobs[&number].state, State::Pending | State::Failed) {
                continue;
            }
            if self.has_expired(&self.jobs[&number]) {
                self.events.insert("a job that had expired when its turn came");
                self.expire_one(number);
                self.see_to_dependents();
                continue;
            }
            if let Some(job) = self.jobs.get_mut(&number) {
                let policy = self.policies.get(&job.kind);
                let limit = policy.and_then(|policy| policy.timeout);
                claimed.push(SeenClaim { limit, ..job.claim(number, worker, self.wall) });
                if limit.is_some() {
                    self.events.insert("a time limit of a kind");
                }
                let lives = self.workers.get(&worker).is_some_and(|worker| !worker.gone);
                job.begun = lives && job.lease(number).begins();
                if job.lost_from.is_some() {
                    self.events.insert("leftovers");
                }
            }
        }
        claimed
    }
}

impl Job {
    fn claim(&mut self, number: u32, worker: u32, wall: i64) -> SeenClaim {
        self.state = State::Processing;
        self.gave_up |= !self.scope.states().any(|state| state == State::Processing);
        self.token += 1;
        self.attempts += 1;
        (self.worker, self.started_at) = (Some(worker), Some(wall));
        self.history.push(SeenAttempt {
            token: self.token,
            number: self.attempts,
            worker: Some(worker),
            started_at: wall,
            finished_at: None,
            cause: None,
        });
        SeenClaim {
            lease: self.lease(number),
            worker,
            queue: self.queue,
            kind: self.kind,
            attempt: self.attempts,
            max_attempts: self.max_attempts,
            lost_from: self.lost_from,
            limit: None,
        }
    }

    /// How many workers it has lost in a row, if the one that runs it is lost as well: back to the first
    /// attempt of its generation, or to one that was neither lost nor interrupted.
    fn crashes(&self) -> u32 {
        let ended = self.history.iter().rev().skip(1);
        let mut ended = ended.filter(|one| one.cause != Some(Cause::Interrupted));
        let (mut crashes, mut number) = (1, self.attempts);
        while number > 1
            && let Some(lost) = ended.next().filter(|one| one.cause == Some(Cause::LeaseLost))
        {
            (crashes, number) = (crashes + 1, lost.number);
        }
        crashes
    }

    fn end_attempt(&mut self, cause: Cause, said: Option<&str>, wall: i64) {
        let failed = matches!(cause, Cause::Failed | Cause::Exited | Cause::LeaseLost);
        if failed {
            self.error = said.map(str::to_owned);
        }
        if let Some(attempt) = self.history.last_mut() {
            (attempt.finished_at, attempt.cause) = (Some(wall), Some(cause));
        }
    }
}

impl Verdict {
    fn delay(self) -> Duration {
        match self {
            Verdict::Fail(delay) | Verdict::Snooze(delay) => delay,
            _ => Duration::ZERO,
        }
    }
}

impl End {
    /// What the report says, or what is taken for granted without one.
    fn cause(&self, state: State) -> Cause {
        match (self.verdict, state) {
            (Verdict::Complete(_), _) => Cause::Succeeded,
            (verdict, _) if self.said => verdict.said_cause(),
            (_, State::Cancelled) => Cause::Cancelled,
            (Verdict::Snooze(_), _) => Cause::Snoozed,
            (Verdict::Release, _) => Cause::Interrupted,
            _ => Cause::Failed,
        }
    }
}

impl Verdict {
    /// The cause that a report gives.
    pub(super) fn said_cause(self) -> Cause {
        match self {
            Verdict::Complete(_) => Cause::Succeeded,
            Verdict::Fail(_) | Verdict::Die => Cause::Exited,
            Verdict::Snooze(_) => Cause::Snoozed,
            Verdict::Release => Cause::Interrupted,
            Verdict::Cancel => Cause::Cancelled,
        }
    }
}

/// Workers.
impl World {
    pub(super) fn register(&mut self, who: Who, worker: u32, lease: Duration) -> Answer {
        self.next_worker = self.next_worker.max(worker + 1);
        let lease_ends = self.boot + millis(lease);
        let process = if self.abilities.shared { who } else { Who::Main };
        let registered =
            Worker { process, gone: false, lease_ends, boots: self.boots, stopping: None };
        self.workers.insert(worker, registered);
        Answer::Done
    }

    /// Nobody will claim a job that has ended, so the next rescue is told of what it has left.
    pub(super) fn note_left(&mut self, number: u32) {
        let job = &self.jobs[&number];
        if let Some(lost_from) = job.lost_from.filter(|_| job.state.is_terminal()) {
            let (lease, kind, state) = (job.lease(number), job.kind, job.state);
            let left = SeenRescue { lease, worker: NOBODY, kind, lost_from, state };
            self.left.insert(lease, left);
        }
    }

    pub(super) fn deregister(&mut self, workers: &[u32]) -> Answer {
        let wall = self.wall;
        let mut given_back = Vec::new();
        for (number, job) in &mut self.jobs {
            if job.worker.is_some_and(|worker| workers.contains(&worker)) {
                let state = job.after(Verdict::Release);
                job.end_attempt(Cause::Interrupted, None, wall);
                job.attempts -= 1;
                job.end(state, wall);
                given_back.push(*number);
                self.events.insert(match state {
                    State::Cancelled => "a marked job that was given back",
                    _ => "a job that was given back",
                });
            }
        }
        for number in given_back {
            self.comes_back(number);
            self.note_left(number);
        }
        self.see_to_dependents();
        self.workers.retain(|worker, _| !workers.contains(worker));
        Answer::Done
    }

    pub(super) fn renew(&mut self, workers: &[u32], lease: Duration) -> Answer {
        for worker in workers {
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.lease_ends = self.boot + millis(lease);
            }
        }
        self.orders(workers)
    }

    pub(super) fn orders(&mut self, workers: &[u32]) -> Answer {
        let runs = |job: &Job| job.worker.is_some_and(|worker| workers.contains(&worker));
        let running: Vec<(Name, Option<Reason>)> = self
            .jobs
            .iter()
            .filter(|(_, job)| runs(job))
            .map(|(number, job)| (job.lease(*number), job.reason))
            .collect();
        let stopping =
            |worker: &u32| Some((*worker, self.workers.get(worker).and_then(|one| one.stopping)?));
        Answer::Orders {
            lost: workers.iter().filter(|one| !self.workers.contains_key(one)).copied().collect(),
            cancel: running.iter().filter(|(_, reason)| reason.is_some()).copied().collect(),
            stop: workers.iter().filter_map(stopping).collect(),
            held: running.iter().map(|(lease, _)| *lease).collect(),
        }
    }

    pub(super) fn rescue(&mut self) -> Answer {
        let (boot, boots, wall) = (self.boot, self.boots, self.wall);
        let max_crashes = self.settings.max_crashes;
        let is_dead =
            |worker: &Worker| worker.gone || worker.boots != boots || worker.lease_ends <= boot;
        let dead: Vec<u32> = self
            .workers
            .iter()
            .filter(|(_, worker)| is_dead(worker))
            .map(|(number, _)| *number)
            .collect();
        let mut rescued: Vec<_> = std::mem::take(&mut self.left).into_values().collect();
        let (mut given_back, mut back) = (Vec::new(), Vec::new());
        for (&number, job) in &mut self.jobs {
            let Some(worker) = job.worker.filter(|worker| dead.contains(worker)) else {
                continue;
            };
            let lease = job.lease(number);
            let holder = &self.workers[&worker];
            if holder.gone && holder.boots == boots && !job.begun {
                let state = job.after(Verdict::Release);
                job.history.pop();
                job.attempts -= 1;
                job.end(state, wall);
                given_back.push(number);
                back.push(number);
                continue;
            }
            let lost_from = job.lost_from.unwrap_or(job.token);
            let policy = self.policies.get(&job.kind);
            let of_kind = policy.and_then(|policy| policy.max_crashes);
            let cap = job.max_crashes.or(of_kind).unwrap_or(max_crashes).get();
            let poisonous = job.crashes() >= cap;
            let left = job.attempts < job.max_attempts;
            let state = match job.reason {
                Some(_) => State::Cancelled,
                None if left && !poisonous => State::Pending,
                None => State::Dead,
            };
            if state == State::Dead && left {
                self.events.insert("a job that lost too many workers");
            }
            let said = match poisonous && state == State::Dead {
                true => format!("{LOST}; attempts lost in a row: {cap}, which is max-crashes"),
                false => LOST.to_owned(),
            };
            job.end_attempt(Cause::LeaseLost, Some(&said), wall);
            job.lost_from = Some(lost_from);
            job.end(state, wall);
            let worker = if state.is_terminal() { NOBODY } else { worker };
            rescued.push(SeenRescue { lease, worker, kind: job.kind, lost_from, state });
            back.push(number);
        }
        for number in back {
            self.comes_back(number);
        }
        for number in given_back {
            self.note_left(number);
        }
        self.see_to_dependents();
        rescued.sort_unstable_by_key(|one| one.lease);
        self.workers.retain(|worker, _| !dead.contains(worker));
        Answer::Rescued(rescued)
    }

    pub(super) fn stop(&mut self, workers: &[u32], mode: StopMode) -> Answer {
        if workers.iter().any(|worker| !self.workers.contains_key(worker)) {
            return Answer::Refused(vec![Refusal::NoWorker]);
        }
        for worker in workers {
            if let Some(worker) = self.workers.get_mut(worker) {
                worker.stopping = worker.stopping.max(Some(mode));
            }
        }
        Answer::Done
    }

    pub(super) fn progress(&mut self, notes: &[(Name, u8)]) -> Answer {
        let mut refused = Vec::new();
        for (lease, value) in notes {
            match self.held(*lease) {
                Some(job) => job.progress = Some(*value),
                None => refused.push(*lease),
            }
        }
        Answer::NotHeld(refused)
    }
}
