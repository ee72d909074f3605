//! `prove`: breaks the queue in every way that is known, checks what is promised, and counts.
//!
//! Each proof is a module with a `run` that gives a [`Score`]. What is promised,
//! and how to read the figures, is in `docs/reliability.md`.

#![expect(clippy::print_stdout, reason = "a program that prints")]

mod recovery;
mod scoreboard;
mod simulate;
mod storm;
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
    /// Simulates worlds of many processes, with faults and any course of time
    Simulate(simulate::Options),
    /// Kill, stop and lock out workers, and measure what becomes of their jobs
    Recovery(recovery::Options),
    /// A process of the proof of recovery
    #[command(subcommand, hide = true)]
    RecoveryPart(recovery::Part),
    /// Kill real processes at random moments, and check what is promised of crashes
    Storm(storm::Options),
    /// A process of the storm
    #[command(subcommand, hide = true)]
    StormPart(storm::Part),
    /// A command of the storm
    #[command(hide = true)]
    StormJob(storm::Job),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let scores: Vec<Score> = match args.proof {
        Proof::Simulate(options) => vec![simulate::run(&options)],
        Proof::Recovery(options) => recovery::run(&options),
        Proof::RecoveryPart(part) => return part.run(),
        Proof::Storm(options) => vec![storm::run(&options)],
        Proof::StormPart(part) => return part.run(),
        Proof::StormJob(job) => return job.run(),
    };
    for score in &scores {
        println!("{score}");
        for detail in score.details.iter().filter(|_| args.details) {
            println!("  {detail}");
        }
        for violation in &score.violations {
            println!("  {violation}");
        }
    }
    if scores.iter().all(Score::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
