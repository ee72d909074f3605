//! The door to other processes, and to the clock that the witness reads.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use queuectl_testkit::history::Moment;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// The boot clock, finer than the library tells it.
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Moment(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000)
}

/// Does nothing for so long: the work of a job, the life of a process. Not for waiting for something.
pub(crate) fn pass(time: Duration) {
    let timeout = Timespec::try_from(time).ok();
    let _ = rustix::event::poll(&mut [], timeout.as_ref());
}

/// A child process, until it is waited for.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) child: Child,
    pub(crate) target: Arc<Target>,
}

/// A process that may be killed by any thread: its number cannot be another's, because it is held by
/// a descriptor.
#[derive(Debug)]
pub(crate) struct Target {
    pidfd: OwnedFd,
    killed_at: Mutex<Option<Moment>>,
}

impl Live {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.spawn()?;
        match Target::of(child.id()) {
            Ok(target) => Ok(Live { child, target: Arc::new(target) }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits for its end; also says when it was killed, if that is what ended it.
    pub(crate) fn finish(mut self) -> io::Result<(ExitStatus, Option<Moment>)> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait()?;
        let killed_at = status.signal().and_then(|_| *self.target.killed_at());
        Ok((status, killed_at))
    }
}

/// A proof that gives up leaves nothing running.
impl Drop for Live {
    fn drop(&mut self) {
        // Both do nothing if it has been waited for.
        self.target.send(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Target {
    /// The process of that number.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Target { pidfd, killed_at: Mutex::default() })
    }

    /// Waits until it has ended, but not longer than this; says whether it has.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let timeout = Timespec::try_from(at_most).ok();
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Kills it. The time is taken before: from there on it may be dead.
    pub(crate) fn kill(&self) {
        let mut killed_at = self.killed_at();
        if killed_at.is_none() {
            *killed_at = Some(now());
        }
        drop(killed_at);
        self.send(Signal::KILL);
    }

    pub(crate) fn send(&self, signal: Signal) {
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }

    fn killed_at(&self) -> MutexGuard<'_, Option<Moment>> {
        self.killed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processes that live and carry `mark` in the environment they started with, by number.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    let carries = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    all().filter(|&pid| pid != own && carries(pid)).collect()
}

/// Kills the processes that carry `mark`; asked again while each is held by a descriptor.
pub(crate) fn kill_marked(mark: &str) {
    for number in marked(mark) {
        let Some(pid) = Pid::from_raw(number.cast_signed()) else { continue };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if marked(mark).contains(&number) {
            let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// The children of this process that have ended and were not waited for.
pub(crate) fn zombies() -> Vec<u32> {
    let own = std::process::id().to_string();
    let is_ours = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // What follows the last parenthesis is plain: the state, then the parent.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&own)
    };
    all().filter(|&pid| is_ours(pid)).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
