//! A fair order among the processes that write to one store.
//!
//! SQLite's busy handler polls, and whoever has just released the lock is the likeliest to get it
//! again: of two processes that write flat out, one was measured to get 7 commits while the other
//! got 1,912. The kernel queues those who wait for a `flock`, so writers of different processes
//! meet at two such locks on files beside the store. To pass, a process takes the *turn*, then the
//! *gate*, then gives the turn back; while one process waits for the gate, it holds the turn, so
//! that the process which now leaves the gate cannot take it again before the waiting one has had
//! it.
//!
//! Correctness never depends on the gate: SQLite's own lock decides who writes. A process that is
//! stopped while it holds the gate must not stop the others, so nobody waits for longer than
//! [`PATIENCE`].

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

/// How long a process waits for its turn before it goes to SQLite's lock without it.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Gate {
    locks: Option<Arc<Locks>>,
    usher: Mutex<Option<Usher>>,
}

#[derive(Debug)]
struct Locks {
    turn: File,
    gate: File,
}

/// Waits for the locks in a thread of its own, because `flock` cannot be told to give up.
#[derive(Debug)]
struct Usher {
    wanted: Sender<()>,
    passed: Receiver<bool>,
    /// Requests that were given up before the usher got the locks; each gives them back unused.
    given_up: Arc<Mutex<u32>>,
}

/// The right to write, until it is dropped.
pub(super) struct Pass<'a>(Option<&'a Locks>);

impl Gate {
    /// The gate of the store at `path`. Without files to lock (a full disk, a directory that cannot
    /// be written) there is no fairness, and no failure either.
    pub(super) fn new(path: &Path) -> Self {
        let open = |suffix| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(beside(path, suffix))
        };
        let locks = match (open("-turn"), open("-gate")) {
            (Ok(turn), Ok(gate)) => Some(Arc::new(Locks { turn, gate })),
            _ => None,
        };
        Gate { locks, usher: Mutex::new(None) }
    }

    /// Waits for this process's turn to write, but not for ever.
    pub(super) fn pass(&self) -> Pass<'_> {
        let Some(locks) = &self.locks else {
            return Pass(None);
        };
        if locks.try_pass() || self.wait(locks) { Pass(Some(locks)) } else { Pass(None) }
    }

    fn wait(&self, locks: &Arc<Locks>) -> bool {
        let mut usher = self.usher.lock().unwrap_or_else(PoisonError::into_inner);
        if usher.is_none() {
            *usher = Usher::start(Arc::clone(locks));
        }
        usher.as_ref().is_some_and(Usher::wait)
    }
}

/// The file beside the store whose name is the store's with a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Locks {
    /// Passes if nobody is in the way.
    fn try_pass(&self) -> bool {
        if flock(&self.turn, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        let passed = flock(&self.gate, FlockOperation::NonBlockingLockExclusive).is_ok();
        unlock(&self.turn);
        passed
    }

    fn wait_to_pass(&self) -> bool {
        if lock(&self.turn).is_err() {
            return false;
        }
        let passed = lock(&self.gate).is_ok();
        unlock(&self.turn);
        passed
    }
}

fn lock(file: impl AsFd) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
}

fn unlock(file: impl AsFd) {
    // Cannot fail for a lock that is held; and a lock that is not held needs no unlocking.
    let _ = flock(file, FlockOperation::Unlock);
}

impl Usher {
    fn start(locks: Arc<Locks>) -> Option<Usher> {
        let (wanted, requests) = channel();
        let (answers, passed) = channel();
        let given_up = Arc::new(Mutex::new(0));
        let abandoned = Arc::clone(&given_up);
        std::thread::Builder::new()
            .name("queuectl-gate".into())
            .spawn(move || {
                while requests.recv().is_ok() {
                    let got = locks.wait_to_pass();
                    let mut abandoned = abandoned.lock().unwrap_or_else(PoisonError::into_inner);
                    if *abandoned > 0 {
                        *abandoned -= 1;
                        if got {
                            unlock(&locks.gate);
                        }
                    } else if answers.send(got).is_err() {
                        return;
                    }
                }
            })
            .ok()?;
        Some(Usher { wanted, passed, given_up })
    }

    fn wait(&self) -> bool {
        if self.wanted.send(()).is_err() {
            return false;
        }
        if let Ok(passed) = self.passed.recv_timeout(PATIENCE) {
            return passed;
        }
        // The usher answers under the same lock, so it has either answered by now or will find the
        // request given up.
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match self.passed.try_recv() {
            Ok(passed) => passed,
            Err(_) => {
                *given_up += 1;
                false
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(locks) = self.0 {
            unlock(&locks.gate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(count: usize) -> (tempfile::TempDir, Vec<Gate>) {
        let folder = tempfile::tempdir().unwrap();
        let gates = (0..count).map(|_| Gate::new(&folder.path().join("store"))).collect();
        (folder, gates)
    }

    /// Two gates stand for two processes: a `flock` belongs to the opened file. Whoever leaves the
    /// gate and wants it again at once comes after the one that has been waiting, although it has a
    /// processor at hand and the other must be woken first.
    #[test]
    fn whoever_waits_comes_before_whoever_was_there() {
        let (_folder, gates) = gates(2);
        let (Some(here), Some(there)) = (&gates[0].locks, &gates[1].locks) else {
            panic!("the files can be locked")
        };
        for _ in 0..50 {
            let passed = Mutex::new(Vec::new());
            let first = gates[0].pass();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    assert!(there.wait_to_pass());
                    passed.lock().unwrap().push("the waiting one");
                    unlock(&there.gate);
                });
                // The other holds the turn as soon as it waits for the gate.
                while flock(&here.turn, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    unlock(&here.turn);
                    std::thread::yield_now();
                }
                drop(first);
                let _again = gates[0].pass();
                passed.lock().unwrap().push("the one that was there");
            });
            assert_eq!(*passed.lock().unwrap(), ["the waiting one", "the one that was there"]);
        }
    }

    #[test]
    fn a_holder_that_stands_still_does_not_stop_the_others() {
        let (_folder, gates) = gates(2);
        let held = gates[0].pass();
        assert!(gates[1].pass().0.is_none(), "passed a closed gate");
        drop(held);
        // The request that was given up gets the lock late and gives it back.
        while gates[1].pass().0.is_none() {}
    }
}
