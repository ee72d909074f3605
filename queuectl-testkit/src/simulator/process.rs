//! A worker process: the steps of production, with handlers, threads and calls that are played.

mod calls;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{Queues, StopMode};
use queuectl_core::worker::action::{Action, Notice};
use queuectl_core::worker::step::{Plan, Steps};
use queuectl_core::{
    BootTime, Claimed, Finished, Json, Lease, Name, Outcome, State, StopCause, Timestamp, WorkerKey,
};

use self::calls::{Call, Mode, Stage};
use super::mirror::Handle;
use super::world::{Env, kind};

/// The longest wait without looking, as in production.
const LOOK_UP: Duration = Duration::from_secs(1);

/// What becomes of a process after it has done something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    Ends,
    Dies,
}

/// A worker process.
pub(super) struct Process {
    pub(super) number: usize,
    handle: Handle,
    plan: Plan,
    queues: Queues,
    kinds: Vec<Name>,
    steps: Steps,
    /// Claimed, and waiting for a thread; and whether it was told to end meanwhile.
    line: VecDeque<(Arc<Claimed>, bool)>,
    running: Vec<Running>,
    /// What the threads have to tell to the steps, which hear it between two calls.
    inbox: Vec<News>,
    call: Option<Call>,
    wait_until: BootTime,
    stopped_until: Option<BootTime>,
    fence: BootTime,
    fenced: bool,
}

/// An attempt that a thread is at.
struct Running {
    job: Arc<Claimed>,
    began: BootTime,
    started_at: Timestamp,
    ends_at: BootTime,
    limit: Option<BootTime>,
    told: Option<StopCause>,
    deaf: bool,
    leaves: bool,
}

/// What a thread has to tell.
type News = Box<dyn FnOnce(&mut Steps)>;

impl Process {
    pub(super) fn new(
        number: usize,
        plan: Plan,
        queues: Queues,
        kinds: &[&str],
        env: &Env,
    ) -> Self {
        let now = env.now();
        Process {
            number,
            handle: env.mirror.handle(),
            plan,
            queues,
            kinds: kinds.iter().map(|text| kind(text)).collect(),
            steps: Steps::new(plan, now),
            line: VecDeque::new(),
            running: Vec::new(),
            inbox: Vec::new(),
            call: None,
            wait_until: now,
            stopped_until: None,
            fence: now + plan.lease,
            fenced: false,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped_until.is_some()
    }

    pub(super) fn has_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether jobs stand in line behind those that run.
    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = WorkerKey> {
        self.steps.workers().iter().copied()
    }

    pub(super) fn lease(&self) -> Duration {
        self.plan.lease
    }

    /// Whether there is something for it to do.
    pub(super) fn is_ready(&self, now: BootTime) -> bool {
        self.stopped_until.is_none()
            && (self.running.iter().any(|one| one.is_due(now))
                || self.call.as_ref().map_or(self.wait_until, |call| call.until) <= now)
    }

    /// When there will be something for it to do.
    pub(super) fn next_time(&self) -> BootTime {
        if let Some(until) = self.stopped_until {
            return until;
        }
        let running = self.running.iter().flat_map(|one| [Some(one.ends_at), one.limit]).flatten();
        let next = self.call.as_ref().map_or(self.wait_until, |call| call.until);
        running.chain(self.alarm()).fold(next, BootTime::min)
    }

    /// When something must happen that is never late: the thread that watches the lease calls
    /// nothing, and an attempt that was told that its lease is lost ends at once.
    pub(super) fn alarm(&self) -> Option<BootTime> {
        if self.stopped_until.is_some() {
            return None;
        }
        let fence = (!self.fenced && self.has_work()).then_some(self.fence);
        let ends = self.running.iter().filter(|one| one.is_hurrying()).map(|one| one.ends_at);
        ends.chain(fence).min()
    }

    fn has_work(&self) -> bool {
        !self.running.is_empty() || !self.line.is_empty()
    }

    /// What must not be late happens, if it is time.
    pub(super) fn ring(&mut self, env: &mut Env) {
        while self.alarm().is_some_and(|alarm| alarm <= env.now()) {
            let hurrying = |one: &Running| one.is_hurrying() && one.ends_at <= env.now();
            if let Some(index) = self.running.iter().position(hurrying) {
                self.attend(index, env);
                continue;
            }
            self.fenced = true;
            self.line.iter_mut().for_each(|(_, told)| *told = true);
            let leases: Vec<_> = self.running.iter().map(|one| one.job.lease).collect();
            for lease in leases {
                self.tell(lease, &StopCause::LeaseLost, env);
            }
        }
    }

    /// Stops the whole process for a while.
    pub(super) fn stop_for(&mut self, pause: Duration, env: &mut Env) {
        let until = env.now() + pause;
        env.story(|| format!("process {} is stopped for {pause:?}", self.number));
        env.witness.stopped(self.number);
        self.stopped_until = Some(until);
    }

    /// Lets it go on, if it is time.
    pub(super) fn go_on(&mut self, env: &mut Env) {
        let now = env.now();
        if self.stopped_until.is_some_and(|until| until <= now) {
            self.stopped_until = None;
            env.story(|| format!("process {} goes on", self.number));
            let in_time = now < self.fence;
            env.witness.goes_on(self.number, in_time);
            if !in_time && self.has_work() {
                env.tally.count("a process stopped beyond its lease");
            }
            self.ring(env);
        }
    }

    /// Somebody has changed the store.
    pub(super) fn wake(&mut self, now: BootTime) {
        self.steps.woken();
        self.wait_until = now;
    }

    /// The process is killed: what it has started may outlive it.
    pub(super) fn die(mut self, env: &mut Env) {
        env.story(|| format!("process {} dies", self.number));
        if self.has_running() {
            env.tally.count("a death with attempts running");
        }
        if !self.line.is_empty() {
            env.tally.count("a death with attempts that had not begun");
        }
        for one in self.running.drain(..) {
            let leaves = one.job.kind == env.shell && env.dice.once_in(2);
            env.witness.dies(self.number, &one.job, leaves);
        }
    }

    /// Does one thing.
    pub(super) fn act(&mut self, env: &mut Env) -> Fate {
        let now = env.now();
        if let Some(index) = self.running.iter().position(|one| one.is_due(now)) {
            self.attend(index, env);
            return Fate::Lives;
        }
        if self.call.is_none() && !self.inbox.is_empty() {
            for news in std::mem::take(&mut self.inbox) {
                news(&mut self.steps);
            }
        }
        if let Some(call) = self.call.take_if(|call| call.until <= now) {
            match call.stage {
                Stage::Asking(action, asked_at) => {
                    let answer = self.ask(action, asked_at, &Mode::Truth, env);
                    answer(self, env);
                }
                Stage::Answered(answer) => answer(self, env),
            }
            return Fate::Lives;
        }
        if self.call.is_some() {
            return Fate::Lives;
        }
        match self.steps.next(now) {
            Action::End => {
                assert!(!self.has_work(), "it ended with work at hand");
                return Fate::Ends;
            }
            Action::Wait(until) => {
                assert!(until > now, "it waits for {until:?}, which is over: it would spin");
                self.wait_until = until.min(now + LOOK_UP);
            }
            Action::Tell(notices) => notices.iter().for_each(|notice| note(notice, env)),
            Action::Start(jobs) => {
                self.line.extend(jobs.into_iter().map(|job| (job, false)));
                self.begin(env);
            }
            Action::Recall => {
                let leases: Vec<_> = self.line.drain(..).map(|(job, _)| job.lease).collect();
                env.tally.add("a job given back because it did not begin", leases.len() as u64);
                self.steps.recalled(env.wall(), &leases);
            }
            Action::Raise(causes) => {
                for (lease, cause) in causes {
                    self.tell(lease, &cause, env);
                }
            }
            call => return self.call(call, env),
        }
        Fate::Lives
    }

    fn knows(&self, lease: Lease) -> bool {
        self.line.iter().any(|(job, _)| job.lease == lease)
            || self.running.iter().any(|one| one.job.lease == lease)
    }

    fn move_fence(&mut self) {
        let fence = self.steps.fence_time();
        self.fenced &= fence == self.fence;
        self.fence = fence;
    }

    /// Gives free threads something to do.
    fn begin(&mut self, env: &mut Env) {
        while self.running.len() < self.plan.workers
            && let Some((job, told)) = self.line.pop_front()
        {
            // A thread looks at the clock itself: it may have been woken before the alarm.
            if self.fenced || told || env.now() >= self.fence {
                env.tally.count("a job given back because it did not begin");
                let wall = env.wall();
                self.inbox.push(Box::new(move |steps| steps.unbegun(wall, job.lease)));
                self.wait_until = env.now();
                continue;
            }
            let shell = job.kind == env.shell;
            let dice = &mut env.dice;
            let took = match job.kind.as_str() {
                "quick" => Duration::ZERO,
                _ if dice.once_in(8) => dice.time(40_000),
                _ if dice.once_in(3) => dice.time(5_000),
                _ => dice.time(50),
            };
            let deaf = !shell && dice.once_in(10);
            let now = env.now();
            env.story(|| {
                format!(
                    "process {} begins {} for {took:?}, told of {:?}",
                    self.number, job.id, job.lost_from
                )
            });
            env.mirror.begin(&self.handle, job.lease);
            env.witness.begins(self.number, &job, deaf, &mut env.tally);
            self.running.push(Running {
                began: now,
                started_at: env.wall(),
                ends_at: now + took,
                limit: job.timeout.map(|limit| now + limit),
                told: None,
                deaf,
                leaves: shell && env.dice.once_in(12),
                job,
            });
        }
    }

    /// Tells a running attempt to end.
    fn tell(&mut self, lease: Lease, cause: &StopCause, env: &mut Env) {
        let now = env.now();
        // A handler that listens is quick: what is left of the lease is enough for it.
        let reaction = env.dice.time((self.plan.lease / 12).as_millis() as u64);
        if let Some((_, told)) = self.line.iter_mut().find(|(job, _)| job.lease == lease) {
            *told = true;
        }
        if let Some(one) = self.running.iter_mut().find(|one| one.job.lease == lease)
            && (one.told.is_none() || *cause == StopCause::LeaseLost)
        {
            if *cause == StopCause::LeaseLost {
                env.tally.count("an attempt told that its lease is lost");
            }
            env.story(|| format!("process {}: {} is told {cause:?}", self.number, one.job.id));
            one.told = Some(cause.clone());
            if !one.deaf {
                one.ends_at = one.ends_at.min(now + reaction);
            }
        }
    }

    /// An attempt ends, or has run for too long.
    fn attend(&mut self, index: usize, env: &mut Env) {
        let now = env.now();
        let one = &mut self.running[index];
        if one.ends_at > now {
            one.limit = None;
            let lease = one.job.lease;
            self.tell(lease, &StopCause::TimedOut, env);
            return;
        }
        let Running { job, began, started_at, told, leaves, .. } = self.running.swap_remove(index);
        let dice = &mut env.dice;
        let failure = || "it was told to".to_owned().into();
        let outcome = match (&told, dice.roll(12)) {
            (Some(_), 0..11) => Outcome::Retry(failure()),
            (_, 0..6) => Outcome::Done,
            (_, 6) => Outcome::DoneWith(Json::of(&job.attempt).expect("a number")),
            (_, 7) => Outcome::Dead(failure()),
            (_, 8) => Outcome::Snooze(dice.time(20_000)),
            (_, 9) => Outcome::RetryAfter(failure(), dice.time(30_000)),
            (_, 10) if dice.once_in(3) => Outcome::Cancel("not wanted".to_owned()),
            _ => Outcome::Retry(failure()),
        };
        env.story(|| {
            format!("process {}: {} ends, {outcome:?}, told {told:?}", self.number, job.id)
        });
        let progress = env.dice.once_in(4);
        env.witness.ends(self.number, &job, leaves);
        let finished = Finished { stopped: told, leftovers: leaves, ..Finished::of(outcome) };
        let random = env.dice.roll(1000) as f64 / 1000.0;
        let took = now.since(began);
        self.inbox.push(Box::new(move |steps| {
            if progress {
                steps.progressed(job.lease, Json::of(&job.attempt).expect("a number"));
            }
            steps.finished(job.lease, finished, started_at, took, random);
        }));
        self.wait_until = now;
        self.begin(env);
    }
}

impl Running {
    /// Whether it was told that its lease is lost, and listens.
    fn is_hurrying(&self) -> bool {
        !self.deaf && self.told == Some(StopCause::LeaseLost)
    }

    fn is_due(&self, now: BootTime) -> bool {
        self.ends_at <= now || self.limit.is_some_and(|limit| limit <= now)
    }
}

fn note(notice: &Notice, env: &mut Env) {
    match notice {
        Notice::Settled(settled) if settled.state == State::Cancelled => {
            env.tally.count("a job cancelled while it ran");
        }
        Notice::Rescued(rescued) => {
            env.tally.count("attempts rescued");
            if rescued.state == State::Dead {
                env.tally.count("a job died of lost leases");
                let job = env.mirror.job(rescued.lease.key);
                if job.is_some_and(|job| job.attempts < job.max_attempts) {
                    env.tally.count("a job died of too many lost leases");
                }
            }
        }
        Notice::Stopping(StopMode::Now | StopMode::Grace) => {
            env.tally.count("a worker stopped for good by an order");
        }
        _ => {}
    }
}
