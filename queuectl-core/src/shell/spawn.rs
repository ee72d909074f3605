//! The one door through which processes start: what happens between `fork` and `exec`.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use super::{Program, ShellJob, failed, lookup};
use crate::attempt::{Cause, Report};
use crate::handler::{Finished, Outcome};

/// How long a job waits when the machine had no room for its process.
const SNOOZE: Duration = Duration::from_secs(1);

/// Descriptors from here on are not used by shells and scripts, which choose low numbers; the lock
/// is moved out of their way.
const LOCK_FD_MIN: RawFd = 200;

/// The highest number of a signal.
const SIGNAL_MAX: libc::c_int = 64;

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

    /// What an error of `fork` or `exec` means, after the program and the directory were found.
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
    cwd: Option<PathBuf>,
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
        let image = Image::new(&program, &argv, environment)
            .map_err(|_| Failure::permanent("the command contains a NUL byte".into()))?;
        Ok(Launch { program, cwd, image })
    }

    /// Starts the command. It alone keeps `lock` open: this process does not once this returns.
    #[expect(clippy::disallowed_methods, reason = "this file is the door of processes")]
    pub(super) fn spawn(self, lock: File) -> Result<Spawned, Failure> {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        before_exec(&mut command, self.image, lock.as_raw_fd());
        let mut child =
            command.spawn().map_err(|error| Failure::of_spawn(&self.program, &error))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both outputs were asked for as pipes");
        };
        // The child is not waited for yet, so its number cannot belong to another process.
        let pidfd = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Spawned { child, pidfd, stdout: stdout.into(), stderr: stderr.into() })
    }
}

/// A program's path, arguments and environment, made before `fork`: nothing may be allocated
/// between `fork` and `exec`, because another thread may have held the allocator's lock.
#[derive(Debug)]
struct Image {
    program: CString,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// What the pointers point into.
    _strings: Vec<CString>,
}

#[expect(
    unsafe_code,
    reason = "the pointers lead to the image's own strings, which nothing changes"
)]
// SAFETY: the strings live on the heap as long as the image and are only read.
unsafe impl Send for Image {}
#[expect(
    unsafe_code,
    reason = "the pointers lead to the image's own strings, which nothing changes"
)]
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn new(
        program: &Path,
        argv: &[&str],
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Self, std::ffi::NulError> {
        let argv: Vec<CString> =
            argv.iter().map(|argument| CString::new(*argument)).collect::<Result<_, _>>()?;
        let envp: Vec<CString> = environment
            .into_iter()
            .map(|(mut name, value)| {
                name.push(OsStr::new("="));
                name.push(value);
                CString::new(name.into_vec())
            })
            .collect::<Result<_, _>>()?;
        let pointers = |strings: &[CString]| -> Vec<*const c_char> {
            let end = std::iter::once(std::ptr::null());
            strings.iter().map(|text| text.as_ptr()).chain(end).collect()
        };
        Ok(Image {
            program: CString::new(program.as_os_str().as_bytes())?,
            argv: pointers(&argv),
            envp: pointers(&envp),
            _strings: argv.into_iter().chain(envp).collect(),
        })
    }

    /// Becomes the program; returns only if that fails. Called here and not left to the standard
    /// library, whose `execvp` hands a file of unknown format to a shell.
    #[expect(unsafe_code, reason = "exec is a call of C")]
    fn exec(&self) -> io::Error {
        // SAFETY: all three are terminated, and live as long as `self`.
        unsafe {
            libc::execve(self.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
        }
        io::Error::last_os_error()
    }
}

/// Says what the child does between `fork` and `exec`. By then the standard library has connected
/// its input and outputs, changed the directory, and made the group.
#[expect(unsafe_code, reason = "only this hook runs between fork and exec")]
fn before_exec(command: &mut Command, image: Image, lock: RawFd) {
    let parent = std::process::id();
    let hook = move || {
        die_with_parent(parent)?;
        reset_signals();
        keep_only(lock)?;
        Err(image.exec())
    };
    // SAFETY: the hook makes system calls and nothing else: it neither allocates nor takes locks.
    unsafe {
        command.pre_exec(hook);
    }
}

/// Asks the kernel to kill this process when the thread that started it ends.
#[expect(unsafe_code, reason = "prctl is a call of C")]
fn die_with_parent(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        let signal: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
        if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
            return Err(io::Error::last_os_error());
        }
        // A parent that died before the call above sends nothing any more.
        if libc::getppid().unsigned_abs() != parent {
            libc::_exit(1);
        }
    }
    Ok(())
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

/// What the worker ignores or blocks, its commands must not: ignored signals survive `exec`.
#[expect(unsafe_code, reason = "these are system calls")]
fn reset_signals() {
    // The kernel's own structure and not that of C, whose functions refuse to touch the two
    // signals that threads use among themselves: all zeros are the default action with no flags
    // and an empty mask, wherever the fields are; and an empty mask, where a mask is asked for.
    let zeros = [0_u64; 8];
    let (none, mask_len) = (std::ptr::null_mut::<u64>(), size_of::<u64>());
    // SAFETY: the kernel reads less than `zeros` holds, and writes nothing. It refuses the signals
    // that cannot be changed, which need no reset.
    unsafe {
        for signal in 1..=SIGNAL_MAX {
            libc::syscall(libc::SYS_rt_sigaction, signal, zeros.as_ptr(), none, mask_len);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, zeros.as_ptr(), none, mask_len);
    }
}

/// Closes every descriptor but the first three and the lock when the program starts.
#[expect(unsafe_code, reason = "close_range and fcntl are calls of C")]
fn keep_only(lock: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        // Marked, not closed: the standard library still needs the pipe on which it reports a
        // failed `exec`. Kernels before 5.11 cannot do it; then what this process opened itself is
        // marked already, and only what it inherited leaks on.
        libc::syscall(
            libc::SYS_close_range,
            3 as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        // Where so high a number is not to be had, the lock stays where it is.
        if libc::fcntl(lock, libc::F_DUPFD, LOCK_FD_MIN) < 0
            && libc::fcntl(lock, libc::F_SETFD, 0) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
