//! One running command: the loop that waits for its end, its output, and the request to stop.
//!
//! One thread, one wait: everything that can happen is a descriptor in one `poll`, or a moment.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::ShellOptions;
use super::child::Child;
use super::ending::{Group, Ladder, Member};
use super::folder::{Entry, Folder, Lock};
use super::output::{READ_LEN, Stream};
use super::processes::Process;
use super::spawn::{Failure, Launch};
use super::verdict::Ended;
use crate::clock::{BootTime, Clock, SystemClock};
use crate::handler::{Context, Finished, StopCause};
use crate::id::Lease;

/// How long a stream is read after the command has ended, if something else holds it open.
const DRAIN: Duration = Duration::from_secs(1);

/// How often is looked at what no descriptor tells: a lease that is lost after an earlier request
/// to stop, a process that has left its group.
const TICK: Duration = Duration::from_millis(100);

/// How often is looked where a pidfd is to be had in principle, but is not.
const SHORT_TICK: Duration = Duration::from_millis(10);

/// A command that was started and has not been settled.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pidfd: Option<OwnedFd>,
    group: Group,
    /// What still lives of the group when the leader is gone.
    rest: Rest,
    lease: Lease,
    folder: Folder,
    stdout: Stream,
    stderr: Stream,
    /// Becomes readable when the attempt is told to stop.
    alarm: Arc<OwnedFd>,
    rung: bool,
    /// The request to stop on which the leader was signalled.
    stop: Option<StopCause>,
    ladder: Ladder,
    exit: Option<Exit>,
}

/// The end of the leader.
#[derive(Debug)]
struct Exit {
    status: Result<ExitStatus, String>,
    at: BootTime,
    /// Whether it had been sent KILL by then.
    killed: bool,
}

/// What is known of the members of the group beside the leader.
#[derive(Debug)]
enum Rest {
    Unknown,
    Alive(Process),
    Gone,
}

impl Running {
    /// Starts a command. Nothing of the attempt is left if that fails.
    pub(super) fn start(
        launch: Launch,
        lock: std::fs::File,
        folder: Folder,
        lease: Lease,
        options: &ShellOptions,
    ) -> Result<Self, Failure> {
        let spawned = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|error| Failure::transient(format!("no way to stop the command: {error}")))
            .and_then(|alarm| Ok((alarm, launch.spawn(lock)?)));
        let (alarm, mut spawned) = match spawned {
            Ok(spawned) => spawned,
            Err(failure) => {
                let _ = folder.delete(Entry::Lock, lease);
                return Err(failure);
            }
        };
        let group = match Group::led_by(spawned.child.pid()) {
            Ok(group) => group,
            Err(error) => {
                let _ = rustix::process::kill_process(spawned.child.pid(), Signal::KILL);
                let _ = spawned.child.wait();
                let _ = folder.delete(Entry::Lock, lease);
                return Err(Failure::retryable(format!("the command's group: {error}")));
            }
        };
        let stream =
            |pipe, entry| Stream::new(pipe, entry, options.output_limit, options.log_limit);
        Ok(Running {
            child: spawned.child,
            pidfd: spawned.pidfd,
            group,
            rest: Rest::Unknown,
            lease,
            folder,
            stdout: stream(spawned.stdout, Entry::Stdout),
            stderr: stream(spawned.stderr, Entry::Stderr),
            alarm: Arc::new(alarm),
            rung: false,
            stop: None,
            ladder: Ladder::new(options.grace),
            exit: None,
        })
    }

    /// Stays with the command until it and all that it leaves in its group have ended.
    /// `limit` is its time limit, for the record.
    pub(super) fn finish(mut self, context: &Context, limit: Option<Duration>) -> Finished {
        self.listen(context);
        let mut buffer = vec![0; READ_LEN];
        let leftovers = loop {
            // In this order: a command that has ended by itself cannot be told to stop any more.
            let now = SystemClock.boot();
            self.notice_exit(now);
            self.notice_stop(context, now);
            self.signal(now);
            self.notice_rest(now);
            if let Some(leftovers) = self.over(now) {
                break leftovers;
            }
            self.wait(context, now, &mut buffer);
        };
        let exit = self.exit.take();
        let mut finished = Ended {
            killed: exit.as_ref().is_some_and(|exit| exit.killed),
            status: exit
                .map_or_else(|| Err("it did not end on KILL".to_owned()), |exit| exit.status),
            stop: self.stop.take(),
            limit,
        }
        .judge();
        finished.report.stdout = self.stdout.finish(&self.folder, self.lease);
        finished.report.stderr = self.stderr.finish(&self.folder, self.lease);
        finished.leftovers = leftovers;
        if leftovers {
            let text = "processes of its group could not be ended";
            let before = finished.report.error.take().map(|error| error + "; ");
            finished.report.error = Some(before.unwrap_or_default() + text);
        }
        // Whoever has the job when this worker has lost it goes by the lock; and so will whoever
        // has it next, if something is left. They delete it.
        let wanted = leftovers || finished.stopped == Some(StopCause::LeaseLost) && self.is_held();
        if !wanted {
            let _ = self.folder.delete(Entry::Lock, self.lease);
        }
        finished
    }

    /// Whether something outside of the group has outlived the attempt.
    fn is_held(&self) -> bool {
        !matches!(self.folder.lock_state(self.lease), Ok(Lock::Free | Lock::Missing))
    }

    /// Rings the alarm when the attempt is told to stop. The signal to stop may outlive the
    /// attempt, and must not keep its descriptor.
    fn listen(&self, context: &Context) {
        let alarm: Weak<OwnedFd> = Arc::downgrade(&self.alarm);
        context.on_stop(move || {
            if let Some(alarm) = alarm.upgrade() {
                // It fails only if the counter is full, which rings as well.
                let _ = rustix::io::write(&*alarm, &1_u64.to_ne_bytes());
            }
        });
    }

    fn notice_exit(&mut self, now: BootTime) {
        if self.exit.is_some() {
            return;
        }
        let status = match self.child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => Ok(status),
            Err(error) => Err(error.to_string()),
        };
        self.exit = Some(Exit { status, at: now, killed: self.ladder.killed() });
    }

    fn notice_stop(&mut self, context: &Context, now: BootTime) {
        match context.stop_requested() {
            Some(StopCause::LeaseLost) => {
                if self.exit.is_none() {
                    self.stop = Some(StopCause::LeaseLost);
                }
                self.ladder.kill(now);
            }
            Some(cause) if self.exit.is_none() && self.stop.is_none() => {
                self.stop = Some(cause);
                self.ladder.stop(now);
            }
            _ => {}
        }
    }

    fn signal(&mut self, now: BootTime) {
        let vacant = matches!(self.rest, Rest::Gone);
        if let Some(signal) = self.ladder.due(now).filter(|_| !vacant) {
            self.send(signal);
        }
    }

    fn send(&self, signal: Signal) {
        if self.exit.is_none() {
            self.group.signal_led(signal);
        } else {
            self.group.signal_orphaned(signal);
        }
    }

    /// Looks for what the leader left in its group, unless a member is known to live. A member can
    /// also leave the group alive: `setsid server &` is one for a moment, until it has its session.
    fn notice_rest(&mut self, now: BootTime) {
        let known = match &self.rest {
            Rest::Unknown => false,
            Rest::Alive(process) => self.group.has(process.pid),
            Rest::Gone => true,
        };
        if self.exit.is_none() || known {
            return;
        }
        self.rest = match self.group.member() {
            None => Rest::Gone,
            Some(Member::Held(process)) => Rest::Alive(process),
            Some(Member::Seen) => Rest::Unknown,
        };
        if !matches!(self.rest, Rest::Gone) {
            self.ladder.clear(now);
        }
    }

    /// Whether there is nothing more to wait for; and if so, whether something is left that could
    /// not be ended.
    fn over(&mut self, now: BootTime) -> Option<bool> {
        let vacant = matches!(self.rest, Rest::Gone);
        if !vacant && self.ladder.exhausted(now) {
            return Some(true);
        }
        let exit = self.exit.as_ref()?;
        if exit.at + DRAIN <= now {
            self.stdout.give_up();
            self.stderr.give_up();
        }
        let silent = self.stdout.pipe().is_none() && self.stderr.pipe().is_none();
        (vacant && silent).then_some(false)
    }

    /// Waits until something happens or is due, and reads what has come.
    fn wait(&mut self, context: &Context, now: BootTime, buffer: &mut [u8]) {
        let timeout = self.timeout(context, now);
        let process = match (&self.exit, &self.rest) {
            (None, _) => self.pidfd.as_ref().map(AsFd::as_fd),
            (Some(_), Rest::Alive(process)) => Some(process.as_fd()),
            (Some(_), _) => None,
        };
        let alarm = (!self.rung).then(|| self.alarm.as_fd());
        let [process, alarm, stdout, stderr] =
            poll([process, alarm, self.stdout.pipe(), self.stderr.pipe()], timeout);
        self.rung |= alarm;
        if process && self.exit.is_some() {
            self.rest = Rest::Unknown;
        }
        if stdout {
            self.stdout.read(buffer, &self.folder, self.lease);
        }
        if stderr {
            self.stderr.read(buffer, &self.folder, self.lease);
        }
    }

    /// Until when nothing is due; `None` is for ever.
    fn timeout(&self, context: &Context, now: BootTime) -> Option<Duration> {
        let limit = match (&self.exit, &self.stop) {
            (None, None) => context.time_left(),
            _ => None,
        };
        let silent = self.stdout.pipe().is_none() && self.stderr.pipe().is_none();
        let exit = self.exit.as_ref().filter(|_| !silent);
        let drain = exit.map(|exit| (exit.at + DRAIN).since(now));
        let vacant = matches!(self.rest, Rest::Gone);
        let signal = self.ladder.next(now).filter(|_| !vacant);
        let unseen_leader = self.exit.is_none() && self.pidfd.is_none();
        let unseen_rest = self.exit.is_some() && matches!(self.rest, Rest::Unknown);
        let look = (unseen_leader || unseen_rest).then_some(SHORT_TICK);
        let may_leave = self.exit.is_some() && matches!(self.rest, Rest::Alive(_));
        let tick = (self.rung || may_leave).then_some(TICK);
        [limit, signal, drain, look, tick].into_iter().flatten().min()
    }
}

impl Drop for Running {
    /// For a panic on the way, or a leader that hangs in the kernel: it must not run on unwatched.
    fn drop(&mut self) {
        if self.exit.is_none() && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.group.signal_led(Signal::KILL);
            let _ = self.child.try_wait();
        }
    }
}

/// Waits until one of the descriptors can be read, and says which can.
fn poll<const N: usize>(
    sources: [Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
) -> [bool; N] {
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(N);
    fds.extend((sources.iter().flatten()).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
    // A millisecond more, because clocks are read in whole ones: waking early would mean to wake
    // again and again within the last.
    let timeout = timeout
        .map(|timeout| timeout.saturating_add(Duration::from_millis(1)))
        .and_then(|timeout| Timespec::try_from(timeout).ok());
    // An interruption counts as nothing ready; the caller comes back.
    let polled = rustix::event::poll(&mut fds, timeout.as_ref()).is_ok();
    let mut fds = fds.iter();
    sources.map(|source| {
        let ready = source.and_then(|_| fds.next());
        polled && ready.is_some_and(|fd| !fd.revents().is_empty())
    })
}
