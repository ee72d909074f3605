//! The one door through which processes start, and why one could not.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::PidfdFlags;

use super::child::{Child, Image, Kept};
use super::{Program, ShellJob, failed, lookup};
use crate::attempt::{Cause, Report};
use crate::handler::{Finished, Outcome};

/// How long a job waits when the machine had no room for its process.
const SNOOZE: Duration = Duration::from_secs(1);

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    text: String,
    class: Class,
}

#[derive(Debug)]
enum Class {
    /// It would fail the next time as well.
    Permanent,
    /// It may go better after the backoff.
    Retryable,
    /// The machine is short of something. That is not the job's fault, and not an attempt.
    Transient,
}

impl Failure {
    pub(super) fn permanent(text: String) -> Self {
        let class = Class::Permanent;
        Failure { text, class }
    }

    pub(super) fn retryable(text: String) -> Self {
        let class = Class::Retryable;
        Failure { text, class }
    }

    pub(super) fn transient(text: String) -> Self {
        let class = Class::Transient;
        Failure { text, class }
    }

    /// What an error of `clone` or `exec` means, after the program and the directory were found.
    fn of_spawn(program: &Path, error: &io::Error) -> Self {
        let shown = program.display();
        match error.raw_os_error().unwrap_or(0) {
            libc::ENOENT => Failure::permanent(format!(
                "{shown} cannot be run: the interpreter or loader that it names does not exist"
            )),
            libc::EACCES | libc::EPERM => {
                Failure::permanent(format!("{shown} may not be run: {error}"))
            }
            libc::ENOEXEC => Failure::permanent(format!(
                "{shown} cannot be run: it is neither a program for this machine nor a script \
                 with a #! line"
            )),
            libc::E2BIG => Failure::permanent(format!(
                "{shown} cannot be run: its arguments and environment are too long"
            )),
            libc::ENOTDIR | libc::EISDIR | libc::ELOOP | libc::ENAMETOOLONG | libc::ELIBBAD => {
                Failure::permanent(format!("{shown} cannot be run: {error}"))
            }
            libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE => {
                Failure::transient(format!("{shown} cannot be started now: {error}"))
            }
            _ => Failure::retryable(format!("{shown} cannot be run: {error}")),
        }
    }
}

impl From<Failure> for Finished {
    fn from(failure: Failure) -> Self {
        match failure.class {
            Class::Permanent => failed(Cause::SpawnFailed, &failure.text, Outcome::Dead),
            Class::Retryable => failed(Cause::SpawnFailed, &failure.text, Outcome::Retry),
            Class::Transient => Finished {
                report: Report::failure(Cause::SpawnFailed, failure.text),
                ..Finished::of(Outcome::Snooze(SNOOZE))
            },
        }
    }
}

/// A command ready to start: program and directory found, every string in the form `exec` takes.
#[derive(Debug)]
pub(super) struct Launch {
    program: PathBuf,
    image: Image,
}

/// A command that runs.
#[derive(Debug)]
pub(super) struct Spawned {
    /// The leader of its group, whose id is its own.
    pub(super) child: Child,
    /// Readable when the leader has ended. `None` where the kernel or a sandbox has none to give.
    pub(super) pidfd: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Launch {
    /// Finds program and directory.
    pub(super) fn new(
        shell: &ShellJob,
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let cwd = shell.cwd.as_ref().map(PathBuf::from);
        if let Some(cwd) = &cwd {
            lookup::directory(cwd)?;
        }
        let find = |name| {
            let path = environment.iter().find(|(name, _)| name == "PATH");
            lookup::program(name, path.map(|(_, value)| value.as_os_str()), cwd.as_deref())
        };
        let (program, argv) = match &shell.program {
            Program::Command(command) => {
                // A line that begins with a hyphen would be taken for more options.
                let options: &[&str] = match command.starts_with(['-', '+']) {
                    true => &["/bin/sh", "-c", "--"],
                    false => &["/bin/sh", "-c"],
                };
                let argv = options.iter().copied().chain([command.as_str()]);
                (find("/bin/sh")?, argv.collect::<Vec<_>>())
            }
            Program::Argv(argv) => {
                let argv: Vec<_> = argv.iter().map(String::as_str).collect();
                (find(argv.first().copied().unwrap_or_default())?, argv)
            }
        };
        let image = Image::new(&program, &argv, environment, cwd.as_deref())
            .map_err(|_| Failure::permanent("the command contains a NUL byte".into()))?;
        Ok(Launch { program, image })
    }

    /// Starts the command. It alone keeps `lock` open: this process does not once this returns.
    pub(super) fn spawn(self, lock: File) -> Result<Spawned, Failure> {
        self.connected(lock.into()).map_err(|error| Failure::of_spawn(&self.program, &error))
    }

    fn connected(&self, lock: OwnedFd) -> io::Result<Spawned> {
        let lock = above_standard(lock)?;
        let input = above_standard(File::open("/dev/null")?.into())?;
        let (stdout, output) = pipe()?;
        let (stderr, errors) = pipe()?;
        let stdio = [input.as_fd(), output.as_fd(), errors.as_fd()];
        let child = Child::start(&self.image, Kept { stdio, lock: lock.as_fd() })?;
        // The child is not waited for yet, so its number cannot belong to another process.
        let pidfd = rustix::process::pidfd_open(child.pid(), PidfdFlags::empty()).ok();
        Ok(Spawned { child, pidfd, stdout, stderr })
    }
}

/// The ends of a pipe for reading and for writing.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((read, above_standard(write)?))
}

/// Moves a descriptor that is one of the first three, because this process had closed it: the child
/// puts others there.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    const FIRST: i32 = 3;
    if fd.as_raw_fd() >= FIRST {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST)?)
}

/// Ends the ignoring of SIGCHLD. A handler that the program has for it stays.
#[expect(unsafe_code, reason = "sigaction is a call of C")]
pub(super) fn hear_of_children() {
    // SAFETY: both structures are initialised, and the default action calls no code.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let got = libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut action);
        if got == 0 && action.sa_sigaction == libc::SIG_IGN {
            let default: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGCHLD, &raw const default, std::ptr::null_mut());
        }
    }
}
