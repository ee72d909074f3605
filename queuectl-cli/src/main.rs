//! `queuectl`: a durable job queue for the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    queuectl_cli::main()
}
