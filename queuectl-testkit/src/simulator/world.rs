//! The world: what there is, and who does something next.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::Queues;
use queuectl_core::worker::step::Plan;
use queuectl_core::{BootTime, Clock, JobId, ManualClock, Name, SqliteOptions, State, Timestamp};

use super::faults::Faults;
use super::mirror::Mirror;
use super::operators::Operators;
use super::process::{Fate, Process};
use super::tally::Tally;
use super::ticks::Ticks;
use super::witness::Witness;
use super::{Backend, Seed};
use crate::dice::Dice;

/// Most worker processes at a time.
const PROCESSES_MAX: usize = 4;
/// How often all of both stores is compared; what a call touches is compared each time.
const COMPARE_EVERY: u64 = 100;

/// What everybody has to do with.
pub(super) struct Env {
    pub(super) dice: Dice,
    pub(super) mirror: Mirror,
    pub(super) witness: Witness,
    pub(super) tally: Tally,
    pub(super) faults: Faults,
    pub(super) ticks: Ticks,
    /// Somebody has changed the store, and the others have not been told.
    pub(super) changed: bool,
    pub(super) shell: Name,
    /// The jobs that were to wait for others.
    pub(super) dependent: HashSet<JobId>,
    /// Those of them that wait for failures.
    pub(super) cleaners: HashSet<JobId>,
    /// Those that wait for batches.
    pub(super) followers: HashSet<JobId>,
    clock: Arc<ManualClock>,
    story: Option<Vec<String>>,
}

impl Env {
    pub(super) fn now(&self) -> BootTime {
        self.clock.boot()
    }

    pub(super) fn wall(&self) -> Timestamp {
        self.clock.now()
    }

    /// Holds the event logs of both stores against each other, and counts what they tell.
    fn compare_events(&mut self) {
        let (told, older) = self.mirror.compare_events();
        told.iter().for_each(|change| self.tally.told(*change));
        self.tally.add("an older job told of", u64::from(older));
    }

    /// Keeps what happens, if anybody is going to read it.
    pub(super) fn story(&mut self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(story) = &mut self.story {
            story.push(format!("{} {}", now.as_millis(), what()));
        }
    }
}

/// A name: of a kind, or of a queue.
pub(super) fn kind(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// In every other run little is done at once, so that much is left for later.
fn in_steps(seed: Seed) -> bool {
    seed.seed % 2 == 1
}

fn step(seed: Seed) -> NonZeroUsize {
    if in_steps(seed) { NonZeroUsize::MIN } else { SqliteOptions::default().step }
}

/// One run.
pub(super) struct World {
    env: Env,
    seed: Seed,
    processes: Vec<Process>,
    operators: Operators,
    begun: usize,
}

impl World {
    pub(super) fn new(seed: Seed, backend: Backend<'_>, telling: bool) -> Self {
        let clock = Arc::new(ManualClock::new());
        let mut dice = Dice(seed.seed);
        let env = Env {
            faults: Faults::new(&mut dice),
            dice,
            mirror: Mirror::new(backend(&clock, step(seed)), &clock, in_steps(seed)),
            witness: Witness::default(),
            ticks: Ticks::default(),
            tally: Tally::default(),
            changed: false,
            shell: kind("shell"),
            dependent: HashSet::new(),
            cleaners: HashSet::new(),
            followers: HashSet::new(),
            clock,
            story: telling.then(Vec::new),
        };
        // In the others it may be turned on later.
        if !seed.seed.is_multiple_of(4) {
            env.mirror.log_events();
        }
        let operators = Operators::new(&env);
        World { env, seed, processes: Vec::new(), operators, begun: 0 }
    }

    pub(super) fn into_tally(self) -> Tally {
        self.env.tally
    }

    pub(super) fn into_story(self) -> Vec<String> {
        self.env.story.unwrap_or_default()
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) {
        for step in 1..=self.seed.steps {
            match self.env.dice.roll(100) {
                0..74 => self.somebody_acts(),
                74..86 => {
                    let workers = self.registered();
                    self.operators.act(&workers, &mut self.env);
                }
                86..95 => {
                    let limit = self.env.dice.pick(&[20, 500, 3_000]);
                    let target = self.env.now() + self.env.dice.time(limit);
                    self.advance(target);
                }
                95..98 => self.begin_process(false),
                _ => self.something_happens(),
            }
            self.spread_the_word();
            self.env.mirror.rest();
            self.env.compare_events();
            if step % COMPARE_EVERY == 0 {
                self.env.mirror.compare();
            }
        }
        let reason = |job: &queuectl_core::Job| job.cancel_reason.clone().unwrap_or_default();
        let all = self.env.mirror.jobs();
        let in_vain = all.iter().filter(|job| reason(job).contains(", which it waited for, "));
        self.env.tally.add("a job cancelled by the end of another", in_vain.count() as u64);
        self.env.tally.add("steps", self.seed.steps);
        self.env.tally.add("a step of what was left", self.env.mirror.steps());
        self.come_to_rest();
        self.env.mirror.compare();
    }

    fn registered(&self) -> Vec<queuectl_core::WorkerKey> {
        self.processes.iter().flat_map(Process::workers).collect()
    }

    /// Some process that can do something does it; if there is none, time passes until there is.
    fn somebody_acts(&mut self) {
        let now = self.env.now();
        let ready: Vec<usize> =
            (0..self.processes.len()).filter(|&one| self.processes[one].is_ready(now)).collect();
        if ready.is_empty() {
            match self.processes.iter().map(Process::next_time).min() {
                Some(next) => self.advance(next),
                None => self.begin_process(false),
            }
            return;
        }
        let index = self.env.dice.pick(&ready);
        match self.processes[index].act(&mut self.env) {
            // A job that kills its worker while others stand behind it.
            Fate::Lives
                if self.env.faults.deadly()
                    && self.processes[index].has_line()
                    && self.env.dice.once_in(8) =>
            {
                self.processes.swap_remove(index).die(&mut self.env);
            }
            Fate::Lives => {}
            Fate::Ends => drop(self.processes.swap_remove(index)),
            Fate::Dies => self.processes.swap_remove(index).die(&mut self.env),
        }
    }

    /// Lets time pass. What watches over a lease is never late; everything else may be.
    fn advance(&mut self, target: BootTime) {
        loop {
            let alarm = self.processes.iter().filter_map(Process::alarm).min();
            let next = alarm.map_or(target, |alarm| alarm.min(target));
            let now = self.env.now();
            self.env.clock.advance(next.since(now));
            for process in &mut self.processes {
                process.ring(&mut self.env);
                process.go_on(&mut self.env);
            }
            if next >= target {
                return;
            }
        }
    }

    /// Whoever watches the store may hear of a change, or not.
    fn spread_the_word(&mut self) {
        if std::mem::take(&mut self.env.changed) {
            let now = self.env.now();
            for process in &mut self.processes {
                if !self.env.dice.once_in(3) {
                    process.wake(now);
                }
            }
        }
    }

    fn begin_process(&mut self, to_stay: bool) {
        if self.processes.len() >= PROCESSES_MAX && !to_stay {
            return;
        }
        let dice = &mut self.env.dice;
        let plan = Plan {
            workers: 1 + dice.index(3),
            lease: Duration::from_secs(dice.pick(&[3, 10, 30])),
            drain: !to_stay && dice.once_in(6),
        };
        let queues = match dice.roll(6) {
            _ if to_stay => Queues::Only(["default", "mail", "run:private"].map(kind).to_vec()),
            0 => Queues::Only(vec![kind("mail"), kind("run:private")]),
            1 => Queues::Only(vec![kind("default")]),
            _ => Queues::All,
        };
        // A program may have handlers for some kinds only, and leave the rest to others.
        let kinds: &[&str] = match dice.roll(4) {
            0 if !to_stay => &["quick", "work"],
            1 if !to_stay => &["shell"],
            _ => &["quick", "work", "shell"],
        };
        self.begun += 1;
        let number = self.begun;
        self.env.story(|| format!("process {number} begins: {plan:?}, {queues:?}"));
        self.processes.push(Process::new(number, plan, queues, kinds, &self.env));
    }

    /// What nobody has asked for.
    fn something_happens(&mut self) {
        let count = self.processes.len();
        match self.env.dice.roll(20) {
            0..9 if count > 0 => {
                let index = self.env.dice.index(count);
                self.processes.swap_remove(index).die(&mut self.env);
            }
            9..14 if count > 0 => {
                let index = self.env.dice.index(count);
                let process = &mut self.processes[index];
                if !process.is_stopped() {
                    let pause = self.env.dice.time(2 * process.lease().as_millis() as u64);
                    process.stop_for(pause, &mut self.env);
                }
            }
            14..18 => {
                let most = self.env.dice.pick(&[1_000, 86_400_000, 315_360_000_000]);
                let step = self.env.dice.roll(2 * most) as i64 - most as i64;
                if step.unsigned_abs() > 31_536_000_000 {
                    self.env.tally.count("the wall clock set by years");
                }
                self.env.story(|| format!("the wall clock is set by {step} ms"));
                self.env.clock.step_wall(step);
            }
            18 => self.restart(),
            _ => {}
        }
    }

    fn restart(&mut self) {
        if self.processes.iter().any(Process::has_running) {
            self.env.tally.count("a restart with attempts running");
        }
        for process in self.processes.drain(..) {
            process.die(&mut self.env);
        }
        self.env.story(|| "the machine is restarted".to_owned());
        self.env.witness.restarted();
        self.env.clock.reboot();
        self.operators.come_back(&self.env);
    }

    /// Nothing goes wrong any more: whatever can run must run to its end, in bounded time.
    fn come_to_rest(&mut self) {
        const STEPS: u64 = 100_000;
        self.env.faults = Faults::none();
        self.env.story(|| "from here on nothing goes wrong".to_owned());
        self.operators.let_go(&mut self.env);
        // Whatever moment somebody has asked for is over.
        self.env.clock.step_wall(100 * 31_536_000_000);
        self.begin_process(true);
        for step in 0..STEPS {
            self.somebody_acts();
            self.env.mirror.rest();
            self.env.compare_events();
            self.env.changed = false;
            self.env.tally.count("steps at rest");
            let over = || self.waiting().is_empty() && self.env.witness.forgotten().is_empty();
            if step % 64 == 63 && over() {
                return;
            }
        }
        let forgotten = self.env.witness.forgotten();
        assert!(forgotten.is_empty(), "nobody ends what these have left: {forgotten:?}");
        panic!("these jobs never end: {:#?}", self.waiting());
    }

    /// The jobs that should still run.
    fn waiting(&self) -> Vec<queuectl_core::Job> {
        let mut jobs = self.env.mirror.jobs();
        jobs.retain(|job| {
            matches!(job.state, State::Pending | State::Failed | State::Processing)
                && job.kind.as_str() != "never"
        });
        jobs
    }
}
