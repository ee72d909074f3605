//! Finds and ends what lost attempts left running when their worker died.
//!
//! Nothing here relies on a number that was written down: a process belongs to an attempt if its
//! environment carries the attempt's mark, or if it holds the attempt's lock by inheritance. Both
//! are asked while a pidfd holds the process, and the signal goes through the pidfd. The attempt
//! is over only when its lock is free *and* no process carries its mark.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;

use super::folder::{Entry, Folder, Lock};
use super::processes::{self, Mark, Process};
use crate::clock::{Clock, SystemClock};
use crate::id::{JobKey, Lease, Token};
use crate::store::BoxError;

/// How long leftovers may take to end. What does not by then hangs in the kernel, or cannot be
/// killed by this user.
const LIMIT: Duration = Duration::from_secs(5);

/// How long one round waits for those it has killed.
const ROUND: Duration = Duration::from_millis(20);

/// Kills everything that attempts `from` up to but not `before` of a job have left, and deletes
/// their locks. There is no grace: they run without a worker, and have no right to run at all.
pub(super) fn end(
    folder: &Folder,
    store: &str,
    key: JobKey,
    from: Token,
    before: Token,
) -> Result<(), BoxError> {
    let until = SystemClock.boot() + LIMIT;
    let leases: Vec<Lease> =
        (from.0..before.0).map(|token| Lease { key, token: Token(token) }).collect();
    loop {
        let held = held_locks(folder, &leases)?;
        let unsettled = Cell::new(false);
        let found = find(|pid| {
            let mark = Mark::of(pid, store, key);
            unsettled.set(unsettled.get() || mark == Mark::Unsettled);
            matches!(mark, Mark::Of(token) if (from..before).contains(&token))
                || held.iter().any(|lock| processes::inherited_lock(pid, lock))
        })?;
        let late = SystemClock.boot() >= until;
        let over = found.is_empty() && held.is_empty();
        // A stranger that hangs on its way into a program, on a file server that is away, must not
        // hold up every job for ever.
        if over && (late || !unsettled.get()) {
            break;
        }
        if late {
            return Err(complaint(&found));
        }
        found.iter().for_each(Process::kill);
        wait_for(&found);
    }
    for lease in leases {
        folder.delete(Entry::Lock, lease)?;
    }
    Ok(())
}

/// The locks that something still holds.
fn held_locks(folder: &Folder, leases: &[Lease]) -> io::Result<Vec<Metadata>> {
    let mut held = Vec::new();
    for lease in leases {
        if let Lock::Held(file) = folder.lock_state(*lease)? {
            held.push(file.metadata()?);
        }
    }
    Ok(held)
}

/// The processes that pass a test, but never this one: a worker may have been started by a job,
/// and carry its mark.
fn find(test: impl Fn(Pid) -> bool) -> io::Result<Vec<Process>> {
    let own = rustix::process::getpid();
    processes::pids()
        .filter(|&pid| pid != own && !pid.is_init() && test(pid))
        .filter_map(|pid| Process::hold(pid, &test).transpose())
        .collect()
}

/// Waits until all of them have ended, but not for long: what they started meanwhile has to be
/// found too.
fn wait_for(found: &[Process]) {
    let until = SystemClock.boot() + ROUND;
    let mut living: Vec<&Process> = found.iter().collect();
    loop {
        let left = until.since(SystemClock.boot());
        let mut fds: Vec<_> =
            living.iter().map(|process| PollFd::new(*process, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(left).ok();
        let ended = rustix::event::poll(&mut fds, timeout.as_ref()).unwrap_or(0);
        let over: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut over = over.into_iter();
        living.retain(|_| !(ended > 0 && over.next().unwrap_or(false)));
        if (living.is_empty() && !found.is_empty()) || left.is_zero() {
            return;
        }
    }
}

fn complaint(found: &[Process]) -> BoxError {
    if found.is_empty() {
        return "something that this user cannot look into holds the lock of an earlier attempt"
            .into();
    }
    let pids: BTreeSet<i32> =
        found.iter().map(|process| process.pid.as_raw_nonzero().get()).collect();
    let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
    format!("these processes do not end on KILL: {}", pids.join(", ")).into()
}
