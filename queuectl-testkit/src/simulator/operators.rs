//! Programs that enqueue, and people who operate: each call they make, and that they make it again
//! when they do not know what became of it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::store::{Enqueued, Remedy, StopMode, Sweep};
use queuectl_core::{
    After, AfterBatch, Condition, JobId, Json, Limit, Missed, Name, Needs, NewJob, OnConflict,
    Otherwise, Overlap, Rate, Rule, Schedule, Setting, Spec, State, StoreError, UniqueScope,
    Weight, WorkerKey,
};

use super::faults::{Fault, Why};
use super::mirror::{Handle, is_refusal};
use super::ticks::BEAT;
use super::world::{Env, kind};
use crate::dice::Dice;

/// The programs and the people.
pub(super) struct Operators {
    handle: Handle,
    ids: Vec<JobId>,
    /// What is to be asked once more, because it is not known what became of it.
    again: Vec<Request>,
}

/// Something to ask of the store.
#[derive(Debug, Clone)]
enum Request {
    Enqueue(Vec<NewJob>),
    CloseBatch(Name, Vec<NewJob>),
    CancelBatch(Name),
    Cancel(Vec<JobId>, Option<&'static str>),
    Retry(Vec<JobId>),
    RetryWith(JobId),
    Sweep(Sweep),
    Note(JobId),
    Purge(Vec<JobId>),
    Pause(Name, bool),
    Limit(Name, Vec<Limit>),
    Policy(Name, Rule),
    Weigh(Name, Option<Weight>),
    Stop(WorkerKey, StopMode),
    Set(Setting, Option<&'static str>),
    Prune,
    PutSchedule(Box<Schedule>),
    RemoveSchedule(Name),
    PauseSchedule(Name, bool),
    RunSchedule(Name),
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Operators {
    pub(super) fn new(env: &Env) -> Self {
        Operators { handle: env.mirror.handle(), ids: Vec::new(), again: Vec::new() }
    }

    /// The machine was restarted, and whoever was at it has come back.
    pub(super) fn come_back(&mut self, env: &Env) {
        self.handle = env.mirror.handle();
    }

    /// Makes one call.
    pub(super) fn act(&mut self, workers: &[WorkerKey], env: &mut Env) {
        let repeated = !self.again.is_empty() && env.dice.once_in(2);
        let request = if repeated {
            self.again.swap_remove(env.dice.index(self.again.len()))
        } else {
            self.think_of(workers, env)
        };
        let fault = env.faults.next(&mut env.dice, PATIENCE);
        env.story(|| match fault {
            Some(fault) => format!("{request:?}, {fault:?}"),
            None => format!("{request:?}"),
        });
        let answer = match fault {
            Some(Fault::Before(why)) => {
                env.tally.count("a call failed before its effect");
                Err(why.error())
            }
            Some(Fault::DeathBefore) => Err(Why::Unknown.error()),
            Some(Fault::After | Fault::DeathAfter) => {
                env.tally.count("a call failed after its effect");
                self.ask(&request, repeated, env).and(Err(Why::Unknown.error()))
            }
            _ => self.ask(&request, repeated, env),
        };
        if let Request::Pause(queue, paused) = &request {
            match &answer {
                Ok(()) => env.witness.paused(queue, *paused),
                Err(_) => env.witness.unsure_of(queue),
            }
        }
        if let Err(error) = answer
            && !is_refusal(&error)
            && !env.dice.once_in(8)
        {
            self.again.push(request);
        }
    }

    fn ask(&self, request: &Request, again: bool, env: &mut Env) -> Result<(), StoreError> {
        let (by, mirror) = (&self.handle, &mut env.mirror);
        env.changed = true;
        match request {
            Request::Enqueue(jobs) => {
                let answer = mirror.enqueue(by, jobs);
                if again {
                    env.tally.count("an enqueue repeated after an unknown outcome");
                }
                answer.map(|added| count_taken(&added, again, env))
            }
            Request::CloseBatch(batch, then) => {
                mirror.close_batch(by, batch, then).map(|_| env.tally.count("a batch closed"))
            }
            Request::CancelBatch(batch) => mirror.cancel_batch(by, batch, "by chance").map(drop),
            Request::Cancel(ids, who) => mirror.cancel(by, ids, *who).map(drop),
            Request::Retry(ids) => mirror.retry(by, ids),
            Request::RetryWith(id) => {
                let payload = Json::of(&()).expect("JSON");
                let edited = mirror.retry_with(by, id, &payload);
                edited.map(|()| env.tally.count("a job retried with another payload"))
            }
            Request::Sweep(sweep) => mirror.sweep(by, sweep).map(|swept| {
                let what = match sweep.remedy {
                    Remedy::Retry(_) => "dead jobs retried together",
                    Remedy::Purge => "dead jobs deleted together",
                };
                env.tally.add(what, swept.done);
                env.tally.add("dead jobs passed over", swept.kept);
            }),
            Request::Note(id) => mirror.note(by, id),
            Request::Purge(ids) => {
                mirror.purge(by, ids).map(|()| env.tally.add("jobs deleted", ids.len() as u64))
            }
            Request::Pause(queue, paused) => mirror.pause(by, queue, *paused),
            Request::Limit(queue, limits) => {
                env.tally.count("a limit changed");
                mirror.limit(by, queue, limits)
            }
            Request::Policy(kind, rule) => {
                env.tally.count("a policy of a kind changed");
                mirror.change_policy(by, kind, rule)
            }
            Request::Weigh(queue, weight) => {
                env.tally.count("a weight changed");
                mirror.weigh(by, queue, *weight)
            }
            Request::Stop(worker, mode) => mirror.stop(by, *worker, *mode),
            Request::Set(setting, value) => {
                if (*setting, *value) == (Setting::EventLog, Some("off")) {
                    env.tally.count("an event log turned off");
                }
                mirror.change(by, *setting, *value)
            }
            Request::Prune => mirror.prune(by).map(|count| env.tally.add("jobs deleted", count)),
            Request::PutSchedule(schedule) => mirror.put_schedule(by, schedule).map(|new| {
                // Of another definition the same moment is another tick, but it comes after the last one.
                env.tally.add("a schedule replaced", u64::from(!new));
            }),
            Request::RemoveSchedule(name) => {
                let removed = mirror.remove_schedule(by, name);
                removed.map(|()| env.ticks.forget(name))
            }
            Request::PauseSchedule(name, paused) => mirror.pause_schedule(by, name, *paused),
            Request::RunSchedule(name) => {
                let made = mirror.run_schedule(by, name);
                made.map(|_| env.tally.count("a schedule run by hand"))
            }
        }
    }

    fn think_of(&mut self, workers: &[WorkerKey], env: &mut Env) -> Request {
        let dice = &mut env.dice;
        match dice.roll(100) {
            0..5 => self.schedule(env),
            5..51 => {
                let count = if dice.once_in(6) { 1 + dice.roll(12) } else { 1 };
                let mut jobs: Vec<_> = (0..count).map(|_| self.new_job(env)).collect();
                if count > 1 && env.dice.once_in(2) {
                    self.wait_for_one(&mut jobs, env);
                }
                Request::Enqueue(jobs)
            }
            51..54 => {
                let batch = self.some_batch(env);
                let (mut last, mut then) = (self.new_job(env), self.new_job(env));
                last.batch = Some(batch.clone());
                let on = env.dice.pick(&Condition::ALL);
                then.after_batches = vec![AfterBatch { batch: batch.clone(), on }];
                env.followers.extend(then.id.clone());
                let last = env.dice.once_in(3).then_some(last);
                Request::CloseBatch(batch, last.into_iter().chain([then]).collect())
            }
            54 => Request::CancelBatch(self.some_batch(env)),
            55..62 => {
                let who = dice.pick(&[None, Some("ada"), Some("grace")]);
                Request::Cancel(self.some_ids(env), who)
            }
            62..70 => {
                env.tally.count("a retry by hand");
                let fitting = |state: State| state.is_terminal() || state == State::Failed;
                Request::Retry(self.fitting(fitting, env))
            }
            70..72 => Request::Sweep(some_sweep(env)),
            72 => {
                let fitting = |state: State| state.is_terminal() || state == State::Failed;
                let id = self.fitting(fitting, env).swap_remove(0);
                if env.dice.once_in(4) { Request::Note(id) } else { Request::RetryWith(id) }
            }
            73 => Request::Policy(kind(dice.pick(&["work", "shell"])), some_rule(dice)),
            74 => {
                let queue = dice.pick(&["default", "mail", "run:private"]);
                let weight = Weight::new(dice.roll(4) as u32).ok();
                Request::Weigh(kind(queue), weight)
            }
            75..83 => Request::Purge(self.fitting(State::is_terminal, env)),
            83..88 => {
                let queue = dice.pick(&["default", "mail"]);
                Request::Pause(kind(queue), dice.once_in(3))
            }
            88..90 => Request::Limit(kind(dice.pick(&["default", "mail"])), some_limits(dice)),
            90..92 if !workers.is_empty() => {
                let mode = dice.pick(&[StopMode::Finish, StopMode::Grace, StopMode::Now]);
                Request::Stop(dice.pick(workers), mode)
            }
            92..96 => {
                let (setting, values): (_, [_; 3]) = match dice.roll(9) {
                    7 => (Setting::MaxCrashes, [None, Some("1"), Some("2")]),
                    6 => (Setting::EventLog, [Some("on"), Some("on"), Some("off")]),
                    5 => (Setting::EventLogCount, [None, Some("500"), Some("5000")]),
                    4 => (Setting::RetentionDeadCount, [None, Some("0"), Some("5")]),
                    3 => (Setting::Aging, [None, Some("1"), Some("10")]),
                    0 => (Setting::RetentionCompleted, [None, Some("5"), Some("30")]),
                    1 => (Setting::RetentionDead, [None, Some("5"), Some("30")]),
                    2 => (Setting::Grace, [None, Some("0"), Some("2")]),
                    _ => (Setting::MaxRetries, [None, Some("0"), Some("1")]),
                };
                Request::Set(setting, dice.pick(&values))
            }
            _ => Request::Prune,
        }
    }

    /// All of them wait for one job: more than are told at once.
    fn wait_for_one(&self, jobs: &mut [NewJob], env: &mut Env) {
        let parent = self.ids.len().checked_sub(jobs.len() + 1).map(|last| self.ids[last].clone());
        for job in jobs.iter_mut().filter(|job| job.after.is_empty()) {
            job.after.extend(parent.clone().map(|job| After { job, on: Condition::End }));
            env.dependent.extend(job.id.clone());
        }
    }

    /// A new batch now and then: most jobs find one that has not ended.
    fn some_batch(&self, env: &mut Env) -> Name {
        kind(&format!("batch-{}", self.ids.len() as u64 / 30 + env.dice.roll(2)))
    }

    fn schedule(&mut self, env: &mut Env) -> Request {
        let dice = &mut env.dice;
        let name = kind(dice.pick(&["minutely", BEAT]));
        match dice.roll(12) {
            0 => return Request::RemoveSchedule(name),
            1 => return Request::PauseSchedule(name, true),
            2 | 3 => return Request::PauseSchedule(name, false),
            4 => return Request::RunSchedule(name),
            _ => {}
        }
        let spec = match dice.roll(3) {
            _ if name.as_str() == BEAT => {
                Spec::every(dice.time(60_000) + Duration::from_secs(1)).expect("an interval")
            }
            0 => Spec::cron("*/20 * * * * *", "UTC").expect("an expression"),
            _ => Spec::cron("* * * * *", "Europe/Berlin").expect("an expression"),
        };
        let mut job = NewJob::new(dice.pick(&["quick", "work"]), &()).expect("a job");
        if dice.once_in(4) {
            job.unique_key = Some(format!("key {}", dice.roll(4)));
        }
        let schedule = Schedule::new(name.as_str(), spec, job).expect("a schedule");
        Request::PutSchedule(Box::new(
            schedule
                .missed(dice.pick(&[Missed::Skip, Missed::One, Missed::All(3)]))
                .overlap(dice.pick(&[Overlap::Allow, Overlap::Skip, Overlap::QueueOne])),
        ))
    }

    fn new_job(&mut self, env: &mut Env) -> NewJob {
        let dice = &mut env.dice;
        let what =
            dice.pick(&["quick", "quick", "quick", "work", "work", "shell", "shell", "never"]);
        let mut new = NewJob::new(what, &()).expect("a job").priority(dice.roll(3) as i16 - 1);
        if dice.once_in(20) && !self.ids.is_empty() {
            // Taken already, or free again by now.
            new.id = Some(self.some_id(env));
        } else {
            let id: JobId = format!("job-{}", self.ids.len()).parse().expect("an id");
            self.ids.push(id.clone());
            new.id = Some(id);
        }
        let dice = &mut env.dice;
        if dice.once_in(3) {
            new.queue = kind(dice.pick(&["mail", "mail", "run:private"]));
        }
        if !dice.once_in(4) {
            new.max_retries = Some(dice.roll(3) as u32);
        }
        if dice.once_in(5) {
            new.max_crashes = NonZeroU32::new(1 + dice.roll(2) as u32);
        }
        if dice.once_in(5) {
            new.unique_key = Some(format!("key {}", dice.roll(4)));
            new.unique_scope = match dice.roll(4) {
                0 => UniqueScope::For(dice.time(20_000)),
                1 => UniqueScope::While(BTreeSet::new()),
                2 => {
                    let states = [State::Processing, State::Failed, State::Completed];
                    UniqueScope::While(states.into_iter().filter(|_| dice.once_in(2)).collect())
                }
                _ => UniqueScope::Living,
            };
            new.on_conflict = dice.pick(&OnConflict::ALL);
        }
        if dice.once_in(3) {
            new.concurrency_key = Some(format!("customer {}", dice.roll(3)));
        }
        if dice.once_in(5) {
            new.timeout = Some(dice.time(10_000) + Duration::from_millis(1));
        }
        match dice.roll(8) {
            0 => new = new.delay(dice.time(20_000)),
            1 => new = new.run_at(env.wall() + env.dice.time(20_000)),
            _ => {}
        }
        match env.dice.roll(12) {
            0 => new = new.expires_in(env.dice.time(20_000)),
            1 => new = new.expires_at(env.wall() + env.dice.time(20_000)),
            _ => {}
        }
        for _ in 0..env.dice.roll(8).saturating_sub(5) {
            let parent = self.some_id(env);
            let on = env.dice.pick(&[
                Condition::Success,
                Condition::Success,
                Condition::Failure,
                Condition::End,
            ]);
            new.after.push(After { job: parent, on });
        }
        if env.dice.once_in(6) {
            new.batch = Some(self.some_batch(env));
        }
        if !new.after.is_empty() {
            new.needs = env.dice.pick(&[Needs::All, Needs::All, Needs::Any]);
            new.otherwise = env.dice.pick(&[Otherwise::Wait, Otherwise::Cancel, Otherwise::Run]);
            env.dependent.extend(new.id.clone());
            if new.after.iter().all(|after| after.on == Condition::Failure) {
                env.cleaners.extend(new.id.clone());
            }
        }
        new
    }

    /// One of the newest: most of the others have ended.
    fn some_id(&self, env: &mut Env) -> JobId {
        let back = 1 + env.dice.index(12);
        let index = self.ids.len().checked_sub(back);
        index.map_or_else(|| "nobody".parse().expect("an id"), |index| self.ids[index].clone())
    }

    fn some_ids(&self, env: &mut Env) -> Vec<JobId> {
        let one = self.some_id(env);
        let other = self.some_id(env);
        if other != one && env.dice.once_in(3) { vec![one, other] } else { vec![one] }
    }

    /// Mostly some with which it can be done.
    fn fitting(&self, fits: impl Fn(State) -> bool, env: &mut Env) -> Vec<JobId> {
        if env.dice.once_in(6) {
            return self.some_ids(env);
        }
        let mut fitting: Vec<_> =
            env.mirror.jobs().into_iter().filter(|job| fits(job.state)).map(|job| job.id).collect();
        if fitting.is_empty() {
            return self.some_ids(env);
        }
        let start = env.dice.index(fitting.len());
        let count = if env.dice.once_in(3) { 8 } else { 1 };
        fitting.drain(start..).take(count).collect()
    }

    /// The end: everything that was stopped goes on.
    pub(super) fn let_go(&mut self, env: &mut Env) {
        self.again.clear();
        let rest = [
            Request::Pause(kind("default"), false),
            Request::Pause(kind("mail"), false),
            Request::Limit(kind("default"), NO_LIMITS.to_vec()),
            Request::Limit(kind("mail"), NO_LIMITS.to_vec()),
            Request::Set(Setting::RetentionCompleted, None),
            Request::Set(Setting::RetentionDead, None),
            Request::Set(Setting::RetentionDeadCount, None),
            // Or there would be work for ever.
            Request::RemoveSchedule(kind("minutely")),
            Request::RemoveSchedule(kind(BEAT)),
        ];
        for request in rest {
            let answer = self.ask(&request, false, env);
            let gone = matches!(&answer, Err(StoreError::NoSchedule(_)));
            assert!(answer.is_ok() || gone, "nothing goes wrong any more: {answer:?}");
            if let Request::Pause(queue, paused) = request {
                env.witness.paused(&queue, paused);
            }
        }
    }
}

fn some_sweep(env: &mut Env) -> Sweep {
    let mut sweep = if env.dice.once_in(4) { Sweep::purge() } else { Sweep::retry() };
    let failures: Vec<_> = env.mirror.jobs().iter().filter_map(|job| job.failure).collect();
    if !failures.is_empty() && env.dice.once_in(2) {
        sweep = sweep.alike(env.dice.pick(&failures));
    }
    if env.dice.once_in(2) {
        sweep = sweep.rate("1/s".parse().expect("a rate"));
    }
    sweep
}

const NO_LIMITS: [Limit; 3] = [Limit::Concurrency(None), Limit::PerKey(None), Limit::Rate(None)];

fn some_limits(dice: &mut Dice) -> Vec<Limit> {
    let mut number = |sides| NonZeroU32::new(dice.roll(sides) as u32);
    let (concurrency, per_key, starts) = (number(4), number(4), number(9));
    let period = Duration::from_millis(1) + dice.time(20_000);
    let rate = starts.map(|starts| Rate::new(starts, period).expect("a rate"));
    dice.pick(&[
        [Limit::Concurrency(concurrency), Limit::PerKey(per_key), Limit::Rate(None)],
        [Limit::Concurrency(None), Limit::PerKey(per_key), Limit::Rate(rate)],
        [Limit::Concurrency(concurrency), Limit::PerKey(None), Limit::Rate(rate)],
        NO_LIMITS,
    ])
    .to_vec()
}

fn some_rule(dice: &mut Dice) -> Rule {
    let number = dice.roll(3) as u32;
    let given = !dice.once_in(3);
    match dice.roll(4) {
        0 => Rule::MaxRetries(given.then_some(number)),
        1 => Rule::MaxCrashes(NonZeroU32::new(number)),
        2 => Rule::Timeout(given.then(|| dice.time(10_000) + Duration::from_millis(1))),
        _ => Rule::Backoff(given.then(|| "constant:3s".parse().expect("a policy"))),
    }
}

fn count_taken(added: &[Enqueued], again: bool, env: &mut Env) {
    let taken = added.iter().filter(|one| !one.created).count() as u64;
    if !again {
        env.tally.add("a unique key taken", taken);
    }
    let changed = added.iter().filter(|one| one.changed).count() as u64;
    env.tally.add("a job changed by another with its key", changed);
    env.tally.add("jobs", added.len() as u64 - taken);
}
