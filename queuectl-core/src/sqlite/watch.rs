//! Notices writes, by whichever process and program: each commit appends to the log beside the
//! store's file, and the kernel tells of it.
//!
//! It tells too soon: the bytes are written before they are synced, and can be seen only after that.
//! Whoever looked at once would see the old state, and then hear no more. So what the kernel says is
//! a reason to ask SQLite, which knows when a commit can be seen.
//!
//! It is asked to tell of one write only, and again when nothing has moved for a moment: whoever writes
//! pays for each write that is told, and a large commit is thousands of them.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use std::time::Duration;

use rusqlite::Connection;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::thread::set_current_timer_slack;

use super::gate::beside;
use super::open;
use crate::store::{BoxError, Waker, Watch};

/// How long after a write that cannot be seen yet SQLite is asked again; then an eighth longer each
/// time. A sync takes two to four times as long.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
/// The last pause, about two seconds after the write. One that is no commit by then was undone.
const LAST_PAUSE: Duration = Duration::from_millis(400);
/// How long those who were woken are left alone: the next commits are mostly their own.
const REST: Duration = Duration::from_millis(1);
/// After how many rests in a row that have each brought another commit there are commits all the time.
const BUSY: u32 = 16;
/// How long a rest is then.
const BUSY_REST: Duration = Duration::from_millis(4);

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
        let log = beside(store, "-wal");
        listen(&inotify, &log)?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let connection = open::connect(store)?;
        let version = data_version(&connection);
        let mut watching = Watching {
            inotify,
            log,
            end: Arc::clone(&end),
            connection,
            version,
            has_woken: false,
            busy: 0,
        };
        let wakers = Arc::clone(&self.wakers);
        std::thread::Builder::new().name("queuectl-watch".into()).spawn(move || {
            // Or the kernel makes each pause longer, by half of the first. That it does not is no promise.
            let _ = set_current_timer_slack(NonZeroU64::new(1));
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
    log: PathBuf,
    end: Arc<OwnedFd>,
    connection: Connection,
    /// The commit that was seen last.
    version: Option<i64>,
    /// It was the last thing to happen that somebody was woken.
    has_woken: bool,
    /// How many rests in a row have brought another commit.
    busy: u32,
}

impl Watching {
    /// Waits for a commit that can be seen; `false` when the watch is over.
    fn wait(&mut self) -> bool {
        // How long to wait for the next look. `None` to wait until the kernel tells.
        let mut pause = None;
        if std::mem::take(&mut self.has_woken) {
            let rest = if self.busy < BUSY { REST } else { BUSY_REST };
            if self.hear(Some(rest), false) == Heard::End {
                return false;
            }
            if self.has_changed() {
                self.busy = self.busy.saturating_add(1);
                return true;
            }
            self.busy = 0;
            // There may have been writes of a commit that cannot be seen yet.
            pause = Some(FIRST_PAUSE);
        }
        loop {
            let listens = pause.is_none_or(|pause| pause > REST);
            if listens && listen(&self.inotify, &self.log).is_err() {
                pause = pause.or(Some(LAST_PAUSE));
            }
            if self.has_changed() {
                return true;
            }
            pause = match self.hear(pause, listens) {
                Heard::End => return false,
                Heard::Write => Some(FIRST_PAUSE),
                Heard::Nothing => {
                    pause.map(|pause| pause + pause / 8).filter(|&pause| pause < LAST_PAUSE)
                }
            };
        }
    }

    /// Whether there is a commit that was not seen before.
    fn has_changed(&mut self) -> bool {
        let version = data_version(&self.connection);
        self.has_woken = version.is_none() || version != self.version;
        self.version = version;
        self.has_woken
    }

    /// Waits for the end of the watch, for the pause to be over, and for a write, if it listens.
    fn hear(&self, pause: Option<Duration>, listens: bool) -> Heard {
        let timeout = pause.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds =
            [PollFd::new(&*self.end, PollFlags::IN), PollFd::new(&self.inotify, PollFlags::IN)];
        let awaited = if listens { 2 } else { 1 };
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

/// Asks the kernel to tell of the next write.
fn listen(inotify: &OwnedFd, log: &Path) -> rustix::io::Result<()> {
    let next_write = inotify::WatchFlags::MODIFY | inotify::WatchFlags::ONESHOT;
    inotify::add_watch(inotify, log, next_write).map(drop)
}

#[derive(PartialEq, Eq)]
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
