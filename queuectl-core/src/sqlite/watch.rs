//! Notices writes, by whichever process and program: each commit appends to the log beside the
//! store's file, and the kernel tells of it.
//!
//! It tells too soon: the bytes are written before they are synced, and can be seen only after that.
//! Whoever looked at once would see the old state, and then hear no more. So what the kernel says is
//! a reason to ask SQLite, which knows when a commit can be seen.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use std::time::Duration;

use rusqlite::Connection;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;

use super::gate::beside;
use super::open;
use crate::store::{BoxError, Waker, Watch};

/// How long after a write that cannot be seen yet SQLite is asked again; then a quarter longer each
/// time. A sync takes about twice as long.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
/// The last pause, about two seconds after the write. One that is no commit by then was undone.
const LAST_PAUSE: Duration = Duration::from_millis(400);
/// How long those who were woken are left alone. A large commit is thousands of writes, and most
/// commits are made by those who would be woken.
const REST: Duration = Duration::from_millis(1);

/// The wakers of one store, and the thread that calls them while there are any.
#[derive(Default)]
pub(super) struct Watchers {
    wakers: Arc<Mutex<Vec<(u64, Waker)>>>,
    next: Mutex<u64>,
    thread: Mutex<Weak<WatchThread>>,
}

/// Ends the thread when the last watch is dropped.
struct WatchThread {
    end: Arc<OwnedFd>,
}

impl Drop for WatchThread {
    fn drop(&mut self) {
        // An eventfd takes this write; if it did not, the thread would end with the process.
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
    }
}

/// One registered waker.
struct Registered {
    number: u64,
    wakers: Arc<Mutex<Vec<(u64, Waker)>>>,
    _thread: Arc<WatchThread>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.retain(|(number, _)| *number != self.number);
    }
}

impl Watchers {
    pub(super) fn watch(&self, store: &Path, waker: Waker) -> Result<Watch, BoxError> {
        let thread = self.thread(store)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let number = *next;
        drop(next);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push((number, waker));
        let wakers = Arc::clone(&self.wakers);
        Ok(Watch::new(Registered { number, wakers, _thread: thread }))
    }

    fn thread(&self, store: &Path) -> Result<Arc<WatchThread>, BoxError> {
        let mut running = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = running.upgrade() {
            return Ok(thread);
        }
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, beside(store, "-wal"), inotify::WatchFlags::MODIFY)?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let connection = open::connect(store)?;
        let version = data_version(&connection);
        let mut watching =
            Watching { inotify, end: Arc::clone(&end), connection, version, pause: None };
        let wakers = Arc::clone(&self.wakers);
        std::thread::Builder::new().name("queuectl-watch".into()).spawn(move || {
            while watching.wait() {
                wake(&wakers);
            }
        })?;
        let thread = Arc::new(WatchThread { end });
        *running = Arc::downgrade(&thread);
        Ok(thread)
    }
}

/// What the thread looks at.
struct Watching {
    inotify: OwnedFd,
    end: Arc<OwnedFd>,
    connection: Connection,
    /// The commit that was seen last.
    version: Option<i64>,
    /// How long to wait for the next look. `None` to wait until the kernel tells.
    pause: Option<Duration>,
}

impl Watching {
    /// Waits for a commit that can be seen; `false` when the watch is over.
    fn wait(&mut self) -> bool {
        loop {
            match self.heard() {
                Heard::End => return false,
                Heard::Write => self.pause = Some(FIRST_PAUSE),
                Heard::Nothing => {
                    let longer = self.pause.map(|pause| pause + pause / 4);
                    self.pause = longer.filter(|&pause| pause < LAST_PAUSE);
                }
            }
            let version = data_version(&self.connection);
            if version.is_none() || version != self.version {
                self.version = version;
                // What was heard may have been the next commit's as well, which cannot be seen yet.
                self.pause = Some(REST);
                return true;
            }
        }
    }

    fn heard(&self) -> Heard {
        let timeout = self.pause.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds =
            [PollFd::new(&*self.end, PollFlags::IN), PollFd::new(&self.inotify, PollFlags::IN)];
        // A short pause is not cut short by every write of a commit.
        let awaited = if self.pause.is_some_and(|pause| pause <= REST) { 1 } else { 2 };
        match poll(&mut fds[..awaited], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) if fds[0].revents().is_empty() => {}
            _ => return Heard::End,
        }
        // What the events say does not matter, only whether there were some.
        let mut events = [0_u8; 4096];
        let mut heard = Heard::Nothing;
        while rustix::io::read(&self.inotify, &mut events).is_ok_and(|read| read > 0) {
            heard = Heard::Write;
        }
        heard
    }
}

enum Heard {
    Write,
    Nothing,
    End,
}

/// A number that changes with each commit of any other connection that can be seen.
fn data_version(connection: &Connection) -> Option<i64> {
    let mut version = connection.prepare_cached("PRAGMA data_version").ok()?;
    version.query_row([], |row| row.get(0)).ok()
}

fn wake(wakers: &Mutex<Vec<(u64, Waker)>>) {
    for (_, waker) in wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        waker();
    }
}
