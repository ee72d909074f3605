//! The one door through which this program starts a process: itself, in the background.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Child, Command, Stdio};

/// Starts this very program again with other arguments. It reads nothing and writes to `log`.
pub(crate) fn again(arguments: &[OsString], log: File) -> io::Result<Child> {
    let program = std::env::current_exe()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "this file is the door of processes that are not jobs"
    )]
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// Leaves the terminal and its session: what ends them does not end this process.
pub(crate) fn leave_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}
