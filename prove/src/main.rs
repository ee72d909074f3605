//! `prove`: breaks the queue in every way that is known, checks what is promised, and counts.
//!
//! Each proof is a module with a `run` that gives a [`Score`]. What is promised,
//! and how to read the figures, is in `docs/reliability.md`.

/// Prints a line. Whoever reads may have seen enough and gone.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod beside;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod boundaries;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod faults;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod health;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod power;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[path = "tracer/elsewhere.rs"]
mod power;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
use self::power::{self as boundaries, self as faults};
mod recovery;
mod sabotage;
mod scoreboard;
mod series;
mod simulate;
mod storm;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracer;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::scoreboard::Score;

/// Breaks queuectl in every way that is known, and checks what it promises.
#[derive(Debug, Parser)]
struct Args {
    /// Show what each proof consisted of
    #[arg(long, global = true)]
    details: bool,
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// All proofs, one after the other, and one scoreboard
    All(series::Options),
    /// Simulates worlds of many processes, with faults and any course of time
    Simulate(simulate::Options),
    /// Kills real processes at random moments
    Storm(storm::Options),
    /// A process of the storm
    #[command(subcommand, hide = true)]
    StormPart(storm::Part),
    /// A command of the storm
    #[command(hide = true)]
    StormJob(storm::Job),
    /// Kills, stops and locks out workers, and measures what becomes of their jobs
    Recovery(recovery::Options),
    /// A process of the proof of recovery
    #[command(subcommand, hide = true)]
    RecoveryPart(recovery::Part),
    /// Cuts the power: crash images of recorded workloads
    Power(power::Options),
    /// kill -9 at each system call of each command
    Boundaries(boundaries::Options),
    /// Errors of the operating system at each system call of each command
    Faults(faults::Options),
    /// Plants known bugs, and sees which suite notices
    Sabotage(sabotage::Args),
    /// A process of the workload that `power` records
    #[command(hide = true)]
    PowerActor(power::Part),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.proof {
        Proof::All(options) => {
            // Looked at here, and not when the first proof that needs it begins.
            if let Err(error) = beside::queuectl() {
                say!("failed: {error}");
                return ExitCode::FAILURE;
            }
            series::run(&options)
        }
        Proof::StormPart(part) => part.run(),
        Proof::StormJob(job) => job.run(),
        Proof::RecoveryPart(part) => part.run(),
        Proof::PowerActor(part) => play(&part),
        proof => show(&proof.run(), args.details),
    }
}

impl Proof {
    /// What a proof gives; nothing for what is no proof.
    fn run(&self) -> Vec<Score> {
        match self {
            Proof::Simulate(options) => vec![simulate::run(options)],
            Proof::Storm(options) => vec![storm::run(options)],
            Proof::Recovery(options) => recovery::run(options),
            Proof::Power(options) => vec![power::run(options)],
            Proof::Boundaries(options) => vec![boundaries::run(options)],
            Proof::Faults(options) => vec![faults::run(options)],
            Proof::Sabotage(options) => vec![sabotage::run(options)],
            _ => Vec::new(),
        }
    }
}

fn show(scores: &[Score], details: bool) -> ExitCode {
    for score in scores {
        say!("{score}");
        for detail in score.details.iter().filter(|_| details) {
            say!("  {detail}");
        }
        for violation in &score.violations {
            say!("{}{violation}", scoreboard::VIOLATION);
        }
    }
    if scores.iter().all(Score::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(part: &power::Part) -> ExitCode {
    match power::play(part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
