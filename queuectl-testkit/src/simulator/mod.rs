//! A whole queue in one thread: worker processes, programs that enqueue and people who operate,
//! over a real store, with one seed that decides who does what when, and what goes wrong.
//!
//! What runs is the code of production: a store, and the [`Steps`](queuectl_core::worker::step) of
//! the worker. What is simulated is everything around it: time, threads, handlers, the order of
//! events, and faults. A call of the store may fail before or after its effect, be answered too
//! late, or be the last thing that its process does; a process may be stopped for longer than its
//! lease; the wall clock may be set to any year; the machine may be restarted.
//!
//! Whether all is well is decided in three ways. Each call is also made to the store in memory, and
//! the answers and all that it touched are compared (`mirror`). A witness sees what really runs, and
//! when (`witness`). And in the end, when nothing more goes wrong, everything that can run must run.
//! A run that never came near what is difficult proves nothing, so what came about is counted
//! ([`Tally`]).
//!
//! ```
//! use queuectl_testkit::simulator::{Seed, in_memory, run};
//!
//! let tally = run(Seed { seed: 1, steps: 300 }, &in_memory).map_err(|failure| failure.to_string())?;
//! assert!(tally.of("steps") >= 300);
//! # Ok::<(), String>(())
//! ```

#![allow(
    clippy::missing_panics_doc,
    reason = "a panic is how a broken promise is told, and caught here"
)]

mod faults;
mod mirror;
mod operators;
mod process;
mod tally;
mod ticks;
mod witness;
mod world;

use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use queuectl_core::{ManualClock, Store};

pub use self::tally::Tally;
use self::world::World;
use crate::MemoryStore;

/// Opens the store once more, as another process would. Dropping what it gives is the death of that
/// process.
pub type Open = Box<dyn Fn() -> Arc<dyn Store>>;

/// Makes a fresh store that reads the given clock. Of what a call can leave for later, one transaction does
/// at most so much, if that can be said to it.
pub type Backend<'a> = &'a dyn Fn(&Arc<ManualClock>, NonZeroUsize) -> Open;

/// Which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Decides everything.
    pub seed: u64,
    /// How many steps, before all comes to rest.
    pub steps: u64,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The run that shows it each time.
    pub seed: Seed,
    /// What was broken.
    pub broken: String,
    /// What went before, all of it.
    pub story: Vec<String>,
}

/// What was broken, and the last of what went before.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LINES: usize = 60;
        writeln!(f, "{}", self.broken)?;
        let left_out = self.story.len().saturating_sub(LINES);
        writeln!(f, "after ({left_out} lines left out)")?;
        self.story[left_out..].iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The store in memory, held against itself: what is proved of it is the worker.
pub fn in_memory(clock: &Arc<ManualClock>, _: NonZeroUsize) -> Open {
    let store = MemoryStore::new(Arc::clone(clock) as _);
    Box::new(move || Arc::new(store.another_handle()))
}

/// Runs one seed.
///
/// # Errors
///
/// [`Failure`] if a promise is broken. The seed is then run once more, to tell the story.
pub fn run(seed: Seed, backend: Backend<'_>) -> Result<Tally, Failure> {
    attempt(seed, backend, false).map_err(|_| match attempt(seed, backend, true) {
        Err((broken, story)) => Failure { seed, broken, story },
        // What depends on more than the seed is a fault of the simulator, or of the code.
        Ok(_) => {
            let broken = "it failed once, and not again".to_owned();
            Failure { seed, broken, story: Vec::new() }
        }
    })
}

fn attempt(
    seed: Seed,
    backend: Backend<'_>,
    telling: bool,
) -> Result<Tally, (String, Vec<String>)> {
    let mut world = World::new(seed, backend, telling);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => Ok(world.into_tally()),
        Err(panic) => {
            let text = (panic.downcast_ref::<String>().map(String::as_str))
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err((text.unwrap_or("a panic").to_owned(), world.into_story()))
        }
    }
}
