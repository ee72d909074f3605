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

/// How long after a write SQLite is asked first; then twice as long each time.
const FIRST_LOOK: Duration = Duration::from_micros(200);
/// A write that has not become a commit by then was undone.
const LAST_LOOK: Duration = Duration::from_secs(2);

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
    /// When to look next without being told.
    pause: Option<Duration>,
}

impl Watching {
    /// Waits for a commit that can be seen; `false` when the watch is over.
    fn wait(&mut self) -> bool {
        loop {
            match self.heard() {
                Heard::End => return false,
                Heard::Write => self.pause = Some(FIRST_LOOK),
                Heard::Nothing => {
                    self.pause = self.pause.map(|pause| pause * 2).filter(|&p| p < LAST_LOOK);
                }
            }
            let version = data_version(&self.connection);
            if version.is_none() || version != self.version {
                self.version = version;
                // What was heard may have been the next commit's as well, which cannot be seen yet.
                self.pause = Some(FIRST_LOOK);
                return true;
            }
        }
    }

    fn heard(&self) -> Heard {
        let timeout = self.pause.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds =
            [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&*self.end, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Heard::Nothing,
            Ok(_) if fds[1].revents().is_empty() => {}
            _ => return Heard::End,
        }
        // What the events say does not matter, only that there were some.
        let mut events = [0_u8; 4096];
        while rustix::io::read(&self.inotify, &mut events).is_ok_and(|read| read == events.len()) {}
        Heard::Write
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
