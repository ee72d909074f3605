//! The kill storm: real processes around one store, killed at random moments, until so many are dead.
//!
//! Workers (the program `queuectl`, and one that uses the library), enqueuers, readers and operators'
//! commands run at a time, each in a *slot* that starts the next one when the last is dead. Now and
//! then everything is killed at once, and workers are stopped for longer than their lease. A witness
//! outside of the store sees what runs. When enough have been killed the store is drained, and what
//! the witness saw is held against what is promised.
//!
//! | file | what it is |
//! |---|---|
//! | `arena.rs` | what the slots share: the place, the count of kills, who lives |
//! | `slots.rs` | the loops that start, stop and kill |
//! | `operator.rs` | the commands that people type |
//! | `worker.rs`, `enqueuer.rs`, `reader.rs`, `task.rs` | what the processes do |
//! | `ledger.rs` | what the enqueuers were told |
//! | `verdict.rs` | the history, and what is looked at beside it |

pub(crate) mod arena;
mod enqueuer;
mod ledger;
mod operator;
mod reader;
mod slots;
pub(crate) mod task;
mod verdict;
mod worker;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use self::arena::Arena;
use self::verdict::Verdict;
use crate::scoreboard::{Score, count};
use crate::witness::process::now;

/// The most kills in one store: then it is drained and checked, and the next one begins.
const KILLS_PER_ROUND: u64 = 3_000;

/// How long a drain may take.
const DRAIN_MAX: Duration = Duration::from_secs(180);

/// How the storm is to blow.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many processes to kill
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// Decides who is killed when, as far as the machine lets it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many worker processes at a time: half of each sort
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// How many enqueuers at a time
    #[arg(long, default_value_t = 2)]
    enqueuers: usize,
    /// How many commands at a time
    #[arg(long, default_value_t = 3)]
    operators: usize,
    /// Where the stores are made [default: the system's folder for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What the processes of the storm are started as.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    Worker(worker::Options),
    Enqueuer(enqueuer::Options),
    Reader(reader::Options),
}

impl Part {
    pub(crate) fn run(&self) -> ExitCode {
        let done = match self {
            Part::Worker(options) => worker::run(options),
            Part::Enqueuer(options) => enqueuer::run(options),
            Part::Reader(options) => reader::run(options),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "{error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// A command of the storm.
#[derive(Debug, clap::Args)]
pub(crate) struct Job {
    label: u64,
    chosen: u8,
    millis: u64,
    fails: u32,
    suicide: u8,
}

impl Job {
    pub(crate) fn run(&self) -> ExitCode {
        task::run(task::Task {
            label: self.label,
            chosen: self.chosen == 1,
            millis: self.millis,
            fails: self.fails,
            suicide: self.suicide == 1,
        })
    }
}

pub(crate) fn run(options: &Options) -> Score {
    let began = now();
    let mut score = Score::new("kill storm");
    let mut total = Verdict::default();
    let mut left = options.kills;
    let mut round = 0;
    while left > 0 && score.holds() {
        let kills = left.min(KILLS_PER_ROUND);
        match blow(options, kills, round) {
            Ok(verdict) => {
                score.violations.extend(verdict.violations.iter().cloned());
                left = left.saturating_sub(verdict.killed.max(1));
                total.add(&verdict);
            }
            Err(error) => score.violations.push(format!("the storm could not go on: {error}")),
        }
        round += 1;
    }
    total.show(&mut score);
    score.figure("seed", options.seed);
    let micros = u64::try_from(now().0 - began.0).unwrap_or(0);
    score.took = Duration::from_micros(micros);
    if round > 1 {
        score.figure("stores", count(round));
    }
    score
}

/// One store: storm, drain, verdict. The place is kept if anything was wrong.
fn blow(options: &Options, kills: u64, round: u64) -> Result<Verdict, Box<dyn Error>> {
    let home = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("queuectl-storm-").tempdir_in(home)?;
    let seed = options.seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let arena = Arena::new(folder.path(), seed, kills)?;
    slots::storm(&arena, options)?;
    let drained = slots::drain(&arena, DRAIN_MAX)?;
    let mut verdict = verdict::of(&arena, drained)?;
    if !verdict.violations.is_empty() {
        let kept = folder.keep();
        verdict.violations.push(format!("store and witness are in {}", kept.display()));
    }
    Ok(verdict)
}
