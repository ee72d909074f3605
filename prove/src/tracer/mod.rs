//! Runs real programs and stops them at each system call that concerns a file.
//!
//! By `ptrace`, so that it sees what the kernel is asked for, whoever asks: SQLite, the standard
//! library, or raw system calls, in every thread and child. A [`Hook`] is told of each call before
//! and after, and may kill everything at that moment or make the call fail. Nothing is preloaded,
//! and no other tool is needed.
//!
//! A traced program cannot go on before the hook has answered. So the order in which a hook sees
//! the calls of several programs is an order in which they may have happened.

mod call;
mod spawn;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub(crate) use self::call::{Call, Kind, Tracee};

/// A program to run under the tracer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) args: Vec<String>,
    /// Where it runs.
    pub(crate) dir: PathBuf,
    /// What it reads; nothing without a file.
    pub(crate) stdin: Option<PathBuf>,
    /// Where its output goes: files, which it appends to.
    pub(crate) stdout: PathBuf,
    pub(crate) stderr: PathBuf,
}

/// What is to happen before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Go,
    /// Everything that is traced dies, and the call does not happen.
    Kill,
    /// The call does not happen, and its caller is told of this error.
    Fail(i32),
    /// Of what was to be written or read, only so many bytes are.
    Short(u64),
}

/// What is to happen after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Go,
    /// Everything that is traced dies; the call has happened, and its caller never learns of it.
    Kill,
}

/// Is told of each call.
pub(crate) trait Hook {
    /// Whether this hook wants to hear of a kind of call at all.
    fn wants(&self, _kind: Kind) -> bool {
        true
    }
    /// Before the call.
    fn entry(&mut self, tracee: &Tracee, call: &Call) -> Entry;
    /// After the call, with what it gave: below zero, the negative number of an error.
    fn exit(&mut self, tracee: &Tracee, call: &Call, result: i64) -> Exit;
    /// A program has ended; gives those that are to be started now.
    fn ended(&mut self, _program: usize, _ended: Ended) -> Vec<Program> {
        Vec::new()
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Killed(i32),
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// How each program ended, in the order of their starts.
    pub(crate) ended: Vec<Option<Ended>>,
    /// They took longer than they were given, and were killed.
    pub(crate) hung: bool,
}

/// Runs programs, and those that the hook adds, until all of them and all that they have started
/// have ended.
///
/// # Errors
///
/// If a program cannot be started, or cannot be traced.
pub(crate) fn run(programs: Vec<Program>, limit: Duration, hook: &mut dyn Hook) -> io::Result<Run> {
    let mut tracer = Tracer::default();
    let watchdog = Watchdog::new(limit, Arc::clone(&tracer.roots));
    for program in programs {
        if let Err(error) = tracer.start(&program) {
            tracer.kill();
            while tracer.step(&mut NoHook).unwrap_or(false) {}
            return Err(error);
        }
    }
    let failed = loop {
        match tracer.step(hook) {
            Ok(true) => {
                if watchdog.expired() {
                    tracer.kill();
                }
            }
            Ok(false) => break None,
            Err(error) => {
                tracer.kill();
                while tracer.step(&mut NoHook).unwrap_or(false) {}
                break Some(error);
            }
        }
    };
    match failed {
        Some(error) => Err(error),
        None => Ok(Run { ended: tracer.ended, hung: watchdog.expired() }),
    }
}

/// Why nothing can be traced on this machine, if so.
pub(crate) fn obstacle() -> Option<String> {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return Some(format!("no temporary folder: {error}")),
    };
    let program = Program {
        path: "/bin/sh".into(),
        args: vec!["-c".into(), "exit 7".into()],
        dir: folder.path().to_owned(),
        stdin: None,
        stdout: folder.path().join("out"),
        stderr: folder.path().join("err"),
    };
    match run(vec![program], Duration::from_secs(10), &mut NoHook) {
        Ok(run) if run.ended == [Some(Ended::Exited(7))] => None,
        Ok(run) => Some(format!("a traced program ended as {:?}", run.ended)),
        Err(error) => Some(format!("no program can be traced: {error}")),
    }
}

/// Lets everything go on.
pub(crate) struct NoHook;

impl Hook for NoHook {
    fn wants(&self, _: Kind) -> bool {
        false
    }
    fn entry(&mut self, _: &Tracee, _: &Call) -> Entry {
        Entry::Go
    }
    fn exit(&mut self, _: &Tracee, _: &Call, _: i64) -> Exit {
        Exit::Go
    }
}

/// One thread of a traced program.
#[derive(Debug)]
struct Task {
    /// Which of the programs it belongs to.
    root: usize,
    /// The call that it is in, if it is in one that the hook was told of.
    call: Option<Call>,
    in_call: bool,
    /// The error that its call is to end with instead of happening.
    fail: Option<i32>,
    /// Its first stop is the kernel's way to hand it over, and not for itself.
    fresh: bool,
}

#[derive(Debug, Default)]
struct Tracer {
    tasks: HashMap<Pid, Task>,
    /// Stopped before anybody has said whose child they are.
    orphans: Vec<Pid>,
    leaders: HashMap<Pid, usize>,
    ended: Vec<Option<Ended>>,
    roots: Arc<Mutex<Vec<OwnedFd>>>,
    dying: bool,
}

impl Tracer {
    fn start(&mut self, program: &Program) -> io::Result<()> {
        let pid = spawn::traced(program)?;
        // Stopped at the first instruction of the new program.
        match waitpid(pid, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            other => return Err(io::Error::other(format!("it began with {other:?}"))),
        }
        ptrace::setoptions(
            pid,
            Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACEVFORK
                | Options::PTRACE_O_TRACEEXEC
                | Options::PTRACE_O_EXITKILL,
        )?;
        if let Some(pidfd) = rustix::process::Pid::from_raw(pid.as_raw()).and_then(|pid| {
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
        }) {
            self.roots.lock().unwrap_or_else(PoisonError::into_inner).push(pidfd);
        }
        let root = self.ended.len();
        self.ended.push(None);
        self.leaders.insert(pid, root);
        self.tasks.insert(pid, Task::new(root, false));
        ptrace::syscall(pid, None)?;
        Ok(())
    }

    /// Kills everything that is traced. Each task is known to be there: nobody else reaps them.
    fn kill(&mut self) {
        self.dying = true;
        for pid in self.tasks.keys().chain(&self.orphans) {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }

    /// Waits for one thing to happen; `false` when there is nothing left to wait for.
    fn step(&mut self, hook: &mut dyn Hook) -> io::Result<bool> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = match waitpid(None, Some(flags)) {
            Ok(status) => status,
            Err(Errno::ECHILD) => return Ok(false),
            Err(Errno::EINTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        match status {
            WaitStatus::Exited(pid, code) => self.gone(pid, Ended::Exited(code), hook)?,
            WaitStatus::Signaled(pid, signal, _) => {
                self.gone(pid, Ended::Killed(signal as i32), hook)?;
            }
            WaitStatus::PtraceSyscall(pid) => self.at_call(pid, hook)?,
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event != nix::libc::PTRACE_EVENT_EXEC {
                    self.born(pid)?;
                }
                resume(pid, None)?;
            }
            WaitStatus::Stopped(pid, signal) => self.stopped(pid, signal)?,
            _ => {}
        }
        Ok(true)
    }

    fn gone(&mut self, pid: Pid, ended: Ended, hook: &mut dyn Hook) -> io::Result<()> {
        self.tasks.remove(&pid);
        self.orphans.retain(|orphan| *orphan != pid);
        let Some(root) = self.leaders.remove(&pid) else {
            return Ok(());
        };
        self.ended[root] = Some(ended);
        for program in hook.ended(root, ended) {
            if !self.dying {
                self.start(&program)?;
            }
        }
        Ok(())
    }

    /// A task has a child, or another thread.
    fn born(&mut self, parent: Pid) -> io::Result<()> {
        let child = match ptrace::getevent(parent) {
            Ok(child) => Pid::from_raw(child as i32),
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let root = self.tasks.get(&parent).map_or(0, |task| task.root);
        let waiting = self.orphans.iter().position(|orphan| *orphan == child);
        self.tasks.insert(child, Task::new(root, waiting.is_none()));
        if let Some(index) = waiting {
            self.orphans.swap_remove(index);
            resume(child, None)?;
        }
        if self.dying {
            let _ = kill(child, Signal::SIGKILL);
        }
        Ok(())
    }

    fn stopped(&mut self, pid: Pid, signal: Signal) -> io::Result<()> {
        match self.tasks.get_mut(&pid) {
            None => {
                self.orphans.push(pid);
                Ok(())
            }
            Some(task) if task.fresh && signal == Signal::SIGSTOP => {
                task.fresh = false;
                resume(pid, None)
            }
            Some(_) => resume(pid, Some(signal)),
        }
    }

    fn at_call(&mut self, pid: Pid, hook: &mut dyn Hook) -> io::Result<()> {
        let Some(task) = self.tasks.get_mut(&pid) else {
            return resume(pid, None);
        };
        task.in_call = !task.in_call;
        let outcome = if task.in_call { enter(pid, task, hook) } else { leave(pid, task, hook) };
        match outcome {
            Ok(true) => self.kill(),
            Ok(false) => {}
            // Killed from elsewhere while it stood still.
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        resume(pid, None)
    }
}

impl Task {
    fn new(root: usize, fresh: bool) -> Self {
        Task { root, call: None, in_call: false, fail: None, fresh }
    }
}

/// Tells the hook of a call that is about to happen; says whether everything is to die.
fn enter(pid: Pid, task: &mut Task, hook: &mut dyn Hook) -> Result<bool, Errno> {
    let regs = ptrace::getregs(pid)?;
    let Some(call) = Call::at_entry(&regs, |kind| hook.wants(kind)) else {
        return Ok(false);
    };
    let tracee = Tracee { pid, program: task.root };
    let action = hook.entry(&tracee, &call);
    match action {
        Entry::Go => {}
        Entry::Kill => return Ok(true),
        Entry::Fail(errno) => {
            let mut regs = regs;
            // A number that no call has: the kernel does nothing.
            regs.orig_rax = u64::MAX;
            ptrace::setregs(pid, regs)?;
            task.fail = Some(errno);
        }
        Entry::Short(len) => {
            let mut regs = regs;
            regs.rdx = len;
            ptrace::setregs(pid, regs)?;
        }
    }
    task.call = Some(call);
    Ok(false)
}

/// Tells the hook of a call that has happened; says whether everything is to die.
fn leave(pid: Pid, task: &mut Task, hook: &mut dyn Hook) -> Result<bool, Errno> {
    let Some(call) = task.call.take() else {
        return Ok(false);
    };
    let mut regs = ptrace::getregs(pid)?;
    if let Some(errno) = task.fail.take() {
        regs.rax = i64::from(-errno).cast_unsigned();
        ptrace::setregs(pid, regs)?;
    }
    let tracee = Tracee { pid, program: task.root };
    Ok(hook.exit(&tracee, &call, regs.rax.cast_signed()) == Exit::Kill)
}

fn resume(pid: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::syscall(pid, signal) {
        // It was killed while it stood still; its end is told next.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills the programs when they take too long. By descriptors, which cannot lead to a stranger.
struct Watchdog {
    expired: Arc<AtomicBool>,
    /// Dropped when there is nothing to watch any more.
    _done: Sender<()>,
}

impl Watchdog {
    fn new(limit: Duration, roots: Arc<Mutex<Vec<OwnedFd>>>) -> Self {
        let (done, waiting) = channel();
        let expired = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&expired);
        std::thread::spawn(move || {
            if waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                for root in roots.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                    let signal = rustix::process::Signal::KILL;
                    let _ = rustix::process::pidfd_send_signal(root, signal);
                }
            }
        });
        Watchdog { expired, _done: done }
    }

    fn expired(&self) -> bool {
        self.expired.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sh(folder: &Path, script: &str) -> Program {
        Program {
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            dir: folder.to_owned(),
            stdin: None,
            stdout: folder.join("out"),
            stderr: folder.join("err"),
        }
    }

    /// Does one thing to the first call of a kind on a file.
    struct OnFile {
        kind: Kind,
        name: &'static str,
        entry: Entry,
        exit: Exit,
        seen: usize,
    }

    impl Hook for OnFile {
        fn entry(&mut self, tracee: &Tracee, call: &Call) -> Entry {
            let here = call.kind == self.kind
                && tracee.path(call).is_some_and(|path| path.ends_with(self.name));
            self.seen += usize::from(here);
            if here { self.entry } else { Entry::Go }
        }
        fn exit(&mut self, tracee: &Tracee, call: &Call, _: i64) -> Exit {
            let here = call.kind == self.kind
                && tracee.path(call).is_some_and(|path| path.ends_with(self.name));
            if here { self.exit } else { Exit::Go }
        }
    }

    fn try_it(kind: Kind, entry: Entry, exit: Exit) -> (Run, Option<String>, usize) {
        let folder = tempfile::tempdir().unwrap();
        // The write is made by a grandchild.
        let program = sh(folder.path(), "( sh -c 'echo hello > file; exit 3' ); exit $?");
        let mut hook = OnFile { kind, name: "file", entry, exit, seen: 0 };
        let run = run(vec![program], Duration::from_secs(20), &mut hook).unwrap();
        (run, std::fs::read_to_string(folder.path().join("file")).ok(), hook.seen)
    }

    #[test]
    fn a_grandchild_is_seen_and_can_be_left_alone() {
        let (run, text, seen) = try_it(Kind::Write, Entry::Go, Exit::Go);
        assert_eq!(run.ended, [Some(Ended::Exited(3))]);
        assert_eq!((text.as_deref(), seen, run.hung), (Some("hello\n"), 1, false));
    }

    #[test]
    fn a_kill_before_a_write_leaves_nothing_and_one_after_it_leaves_it() {
        let (run, text, _) = try_it(Kind::Write, Entry::Kill, Exit::Go);
        assert_eq!(run.ended, [Some(Ended::Killed(9))]);
        assert_eq!(text.as_deref(), Some(""));
        let (run, text, _) = try_it(Kind::Write, Entry::Go, Exit::Kill);
        assert_eq!(run.ended, [Some(Ended::Killed(9))]);
        assert_eq!(text.as_deref(), Some("hello\n"));
        let (_, text, _) = try_it(Kind::Open, Entry::Kill, Exit::Go);
        assert_eq!(text, None);
    }

    #[test]
    fn a_call_can_be_made_to_fail_or_to_write_less() {
        let (run, text, _) = try_it(Kind::Write, Entry::Fail(nix::libc::ENOSPC), Exit::Go);
        assert_eq!((run.ended[0], text.as_deref()), (Some(Ended::Exited(3)), Some("")));
        let (_, text, seen) = try_it(Kind::Write, Entry::Short(2), Exit::Go);
        // Whatever the shell does about the rest, the first two bytes are there.
        assert!(text.is_some_and(|text| text.starts_with("he")) && seen >= 1);
    }

    #[test]
    fn what_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let program = sh(folder.path(), "sleep 60 & wait");
        let run = run(vec![program], Duration::from_millis(200), &mut NoHook).unwrap();
        assert!(run.hung);
    }
}
