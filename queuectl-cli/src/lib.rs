//! The program `queuectl`, as a library of its own: `main.rs` calls [`main`] and nothing else.
//!
//! The program parses its arguments, calls the library and prints. What a queue is, and how it
//! behaves, is decided in `queuectl-core`. Nothing here is meant to be used by other programs.

mod args;
mod changes;
#[doc(hidden)]
pub mod checks;
mod commands;
mod error;
mod exit;
mod input;
mod output;
mod process;
mod session;
mod signals;
mod store_path;
mod who;

use std::process::ExitCode;

use clap::Parser;

/// The program: does what its arguments ask for.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    let session = session::Session::new(args.common);
    let exit = commands::run(&session, args.command).unwrap_or_else(|error| {
        session.ui.error(&error);
        error.exit
    });
    exit.into()
}
