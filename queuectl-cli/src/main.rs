//! `queuectl`: a durable job queue for the command line.
//!
//! The program parses its arguments, calls the library and prints. What a queue is, and how it
//! behaves, is decided in `queuectl-core`.

mod args;
mod changes;
mod commands;
mod error;
mod exit;
mod input;
mod output;
mod process;
mod session;
mod signals;
mod store_path;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let session = session::Session::new(args.common);
    let exit = commands::run(&session, args.command).unwrap_or_else(|error| {
        session.ui.error(&error);
        error.exit
    });
    exit.into()
}
