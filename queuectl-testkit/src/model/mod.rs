//! Stories by chance, told to a store and to a model of it, which must agree after each step; and
//! what they disagree on, told in as few steps as it takes.
//!
//! - `step`: what can happen; `chances`: what happens next;
//! - `world`, `work`, `waiting`, `batches`, `dead`: the model;
//! - `driver`: the store, in the model's words; `seen`: those words.
//!
//! [`model_suite!`](crate::model_suite) makes tests of it. The chances are the same in every run, so
//! that a change is not blamed for the luck of the day. `PROPTEST_CASES` asks for more stories,
//! `PROPTEST_RNG_SEED` for others. Failing stories are not kept in files beside the tests: one that
//! showed a mistake becomes a case of the conformance suite, with a name.

mod batches;
mod chances;
mod dead;
mod driver;
mod seen;
mod step;
mod waiting;
mod work;
mod world;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use self::chances::Stories;
use self::driver::Driver;
use self::seen::Answer;
use self::step::{Step, Who};
use self::world::World;
use crate::conformance::Fixture;

/// What the stories must come across; a run that never comes near what is difficult shows nothing.
const WANTED: [&str; 51] = [
    "a batch that has ended",
    "a batch that was deleted",
    "a batch that lives again",
    "a job for a closed batch",
    "pending",
    "blocked",
    "processing",
    "completed",
    "failed",
    "dead",
    "cancelled",
    "succeeded",
    "exited",
    "lease_lost",
    "interrupted",
    "snoozed",
    "a refused call",
    "a refused lease",
    "leftovers",
    "a retry by hand",
    "a unique key that was held",
    "a job that another one changed",
    "a period that was over",
    "a key that another had when its job came back",
    "a key that was free when its job came back",
    "an unblocked job",
    "a job cancelled by a parent's end",
    "a job freed by a parent's failure",
    "a job freed by one of several",
    "a job that ran all the same",
    "a job that waits for a retry",
    "a parent that counts again",
    "a parent that was deleted",
    "a job that lost too many workers",
    "retries of a kind",
    "a time limit of a kind",
    "a pruned job",
    "a job that was given back",
    "a marked job that was given back",
    "a job that expired",
    "a blocked job that expired",
    "a retry that came too late",
    "a job that had expired when its turn came",
    "a key of a job that had expired",
    "a payload that was edited",
    "a note",
    "a dead job too many",
    "a dead job that a sweep retried",
    "a dead job that a sweep gave a turn",
    "a dead job that a sweep deleted",
    "a dead job that a sweep passed over",
];

/// Expands to the tests that compare a store with the model. Takes an expression that makes a
/// [`Fixture`] of a fresh store; durability may be off, which makes it quick.
#[macro_export]
macro_rules! model_suite {
    ($fixture:expr) => {
        mod model {
            // The fixture's expression is written where the suite is; so are its names.
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn short_stories_agree() {
                $crate::model::short_stories(|| Box::new($fixture));
            }

            #[test]
            fn long_stories_agree() {
                $crate::model::long_stories(|| Box::new($fixture));
            }
        }
    };
}

/// Many stories, short enough to see at a glance what went wrong.
///
/// # Panics
///
/// If the store and the model disagree.
pub fn short_stories(fixture: impl Fn() -> Box<dyn Fixture>) {
    compare(fixture, 96, 1..60);
}

/// A few lives long enough for what takes many steps to come about.
///
/// # Panics
///
/// If the store and the model disagree, or the stories have missed too much.
pub fn long_stories(fixture: impl Fn() -> Box<dyn Fixture>) {
    let missed = compare(fixture, 12, 300..301);
    assert_eq!(missed, [""; 0], "the chances are too poor");
}

/// Gives what no story came across.
fn compare(
    fixture: impl Fn() -> Box<dyn Fixture>,
    stories: u32,
    steps: Range<usize>,
) -> Vec<&'static str> {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    // A number of cases that somebody asked for counts in times of the usual one.
    config.cases = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => (config.cases * stories / 96).max(1),
        None => stories,
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(3);
    }
    (config.max_shrink_iters, config.max_shrink_time) = (20_000, 60_000);
    let seen = Mutex::new(BTreeSet::new());
    let told =
        TestRunner::new(config).run(&Stories::sequential_strategy(steps), |(_, steps, counter)| {
            let mut story = Story::new(fixture());
            for step in &steps {
                if let Some(counter) = &counter {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
                story.tell(step).map_err(TestCaseError::fail)?;
            }
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(story.world.events);
            Ok(())
        });
    match told {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(TestError::Abort(reason)) => panic!("no story could be told: {reason}"),
    }
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    WANTED.into_iter().filter(|wanted| !seen.contains(wanted)).collect()
}

/// A story as far as it was told.
struct Story {
    driver: Driver,
    world: World,
    log: Vec<String>,
}

impl Story {
    fn new(fixture: Box<dyn Fixture>) -> Self {
        let driver = Driver::new(fixture);
        let world = World::new(driver.abilities());
        Story { driver, world, log: Vec::new() }
    }

    /// Tells one more step; an error if the store does not do as the model says.
    fn tell(&mut self, step: &Step) -> Result<(), String> {
        // What a step becomes when it can be done without.
        if !matches!(step, Step::Pass(Duration::ZERO) | Step::SetWall(0)) {
            self.log.push(step.to_string());
        }
        let expected = self.world.take(step);
        let answer = self.driver.take(step);
        if !expected.allows(&answer) {
            return Err(self.disagreement("answers", &answer, &expected));
        }
        // Whichever process looks sees the same.
        let who = if self.log.len().is_multiple_of(2) { Who::Main } else { Who::Other };
        let seen = self.driver.seen(who).map_err(|error| format!("reading: {error:?}"))?;
        match seen.difference(&self.world.seen()) {
            None => self.driver.replay(who).map_err(|wrong| self.told(&wrong)),
            Some((has, should)) => {
                Err(self.told(&format!("the store has\n  {has}\nwhere it should have\n  {should}")))
            }
        }
    }

    fn disagreement(&self, what: &str, answer: &Answer, expected: &Answer) -> String {
        self.told(&format!("the store {what}\n  {answer:?}\nwhere it should say\n  {expected:?}"))
    }

    fn told(&self, what: &str) -> String {
        let mut text = format!("{what}\nafter these steps:\n");
        for (index, line) in self.log.iter().enumerate() {
            let _ = writeln!(text, "  {:>3}. {line}", index + 1);
        }
        text
    }
}
