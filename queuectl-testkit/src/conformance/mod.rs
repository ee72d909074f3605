//! The contract of [`Store`] as tests: one case for each of its sentences.
//!
//! A case is a public function that takes a [`Trial`] of one fresh store and panics if the store
//! breaks its word. [`conformance_suite!`](crate::conformance_suite) makes a `#[test]` of each;
//! [`CASES`] lists them for any other use. Time is a [`ManualClock`] throughout: no case sleeps.
//!
//! The cases stand in files by topic. A test compares the list in `cases.rs` with those
//! files, so that none is forgotten.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    clippy::missing_panics_doc,
    reason = "a panic is how a case fails, and its name is what it says"
)]

#[macro_use]
mod cases;
pub mod batches;
pub mod claim;
pub mod commands;
pub mod conditions;
pub mod dead;
pub mod dependencies;
pub mod enqueue;
pub mod events;
pub mod expiry;
pub mod lease;
pub mod limits;
pub mod policies;
pub mod races;
pub mod reading;
pub mod rescue;
pub mod schedules;
pub mod settings;
pub mod settle;
pub mod time;
mod trial;
pub mod unique;
pub mod weights;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use queuectl_core::{ManualClock, Setting, Store};

pub use self::trial::Trial;
use crate::replay::Replay;

/// A fresh, empty store, and what a test may do around it. Each case gets one of its own.
pub trait Fixture {
    /// The store; the same one each time, until [`reopen`](Fixture::reopen).
    fn store(&self) -> Arc<dyn Store>;

    /// The clock that the store reads, and all other handles on it.
    fn clock(&self) -> Arc<ManualClock>;

    /// Another handle on the same jobs, opened as another process would. `None` if the store cannot
    /// be shared; the cases that need one are then reported as skipped.
    fn another_handle(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Closes the store and opens it again, as a new process would after a restart; whether that
    /// can be done. Nobody else has the store when this is called.
    fn reopen(&mut self) -> bool {
        false
    }

    /// Whether a worker is known to be dead as soon as its store is dropped, before its lease ends.
    fn knows_death(&self) -> bool {
        false
    }
}

/// A case: a test of one store.
pub type Case = fn(&mut Trial);

/// Runs one case on one store. The name is used to report what was skipped.
pub fn run(name: &'static str, fixture: impl Fixture + 'static, case: Case) {
    case(&mut Trial::new(name, Box::new(fixture)));
}

/// Runs every case once more with the event log on, and replays it: whatever moves a job in any of them is
/// told, and leads to what the store has.
///
/// # Panics
///
/// If a case fails, or the log is not what happened.
pub fn replayed(fixture: impl Fn() -> Box<dyn Fixture> + Sync) {
    const THREADS: usize = 4;
    // These are about the settings themselves.
    let own = ["settings::", "events::"];
    let cases: Vec<_> =
        CASES.iter().filter(|(name, _)| !own.iter().any(|of| name.starts_with(of))).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut trial = Trial::new(name, fixture());
            trial.store().change_setting(Setting::EventLog, Some("on")).unwrap();
            case(&mut trial);
            let (store, mut replay) = (trial.store(), Replay::after(0));
            let taken = replay.catch_up(store.as_ref());
            let agrees = taken.and_then(|_| replay.compare(store.as_ref()));
            agrees.unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(run);
        }
    });
}

/// Expands to one `#[test]` for each case of the suite, in a module for each topic, and to one for
/// [`replayed`](crate::conformance::replayed). Takes an expression that makes a [`Fixture`].
///
/// See the [crate's docs](crate) for an example.
#[macro_export]
macro_rules! conformance_suite {
    ($fixture:expr) => {
        $crate::conformance_cases! { conformance_tests [$fixture] }

        mod replayed {
            #[allow(unused_imports)]
            use super::*;

            #[test]
            fn every_case_is_told_by_the_event_log() {
                $crate::conformance::replayed(|| Box::new($fixture));
            }
        }
    };
}

/// One module of tests for each topic.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ([$fixture:expr] $($topic:ident: $cases:tt)*) => {
        $($crate::conformance_topic! { [$fixture] $topic: $cases })*
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_topic {
    ([$fixture:expr] $topic:ident: { $($case:ident)* }) => {
        mod $topic {
            // The fixture's expression is written where the suite is; so are its names.
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $case() {
                    $crate::conformance::run(
                        concat!(stringify!($topic), "::", stringify!($case)),
                        $fixture,
                        $crate::conformance::$topic::$case,
                    );
                }
            )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_list {
    ([] $($topic:ident: { $($case:ident)* })*) => {
        /// Every case, by name.
        pub const CASES: &[(&str, Case)] = &[
            $($((concat!(stringify!($topic), "::", stringify!($case)), $topic::$case),)*)*
        ];
    };
}
conformance_cases! { conformance_list [] }
