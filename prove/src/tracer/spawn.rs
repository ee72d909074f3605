//! The door through which a traced program starts.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::unistd::Pid;

use super::Program;

/// Starts a program that stops at its first instruction. Only the thread that has started it may
/// trace it.
#[expect(clippy::disallowed_methods, reason = "this file is the door for traced processes")]
pub(super) fn traced(program: &Program) -> io::Result<Pid> {
    let append = |path| File::options().append(true).create(true).open(path);
    let stdin = match &program.stdin {
        Some(path) => File::open(path)?.into(),
        None => Stdio::null(),
    };
    let mut command = Command::new(&program.path);
    command
        .args(&program.args)
        .current_dir(&program.dir)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &program.dir)
        .env("TZ", "UTC")
        .stdin(stdin)
        .stdout(append(&program.stdout)?)
        .stderr(append(&program.stderr)?);
    #[expect(unsafe_code, reason = "PTRACE_TRACEME is asked for between fork and exec")]
    // SAFETY: one system call; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(io::Error::from));
    }
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}
