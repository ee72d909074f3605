//! Notices writes, by whichever process and program: each commit appends to the log beside the
//! store's file, and the kernel tells of it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::inotify;

use super::gate::beside;
use crate::store::{Waker, Watch};

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
    pub(super) fn watch(&self, store: &Path, waker: Waker) -> io::Result<Watch> {
        let thread = self.thread(store)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let number = *next;
        drop(next);
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner).push((number, waker));
        let wakers = Arc::clone(&self.wakers);
        Ok(Watch::new(Registered { number, wakers, _thread: thread }))
    }

    fn thread(&self, store: &Path) -> io::Result<Arc<WatchThread>> {
        let mut running = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = running.upgrade() {
            return Ok(thread);
        }
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&inotify, beside(store, "-wal"), inotify::WatchFlags::MODIFY)?;
        let end = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (told, wakers) = (Arc::clone(&end), Arc::clone(&self.wakers));
        std::thread::Builder::new().name("queuectl-watch".into()).spawn(move || {
            while wait(&inotify, &told) {
                wake(&wakers)
            }
        })?;
        let thread = Arc::new(WatchThread { end });
        *running = Arc::downgrade(&thread);
        Ok(thread)
    }
}

/// Waits for a write; `false` when the watch is over.
fn wait(inotify: &OwnedFd, end: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(inotify, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    if !fds[1].revents().is_empty() {
        return false;
    }
    // What the events say does not matter, only that there were some.
    let mut events = [0_u8; 4096];
    while rustix::io::read(inotify, &mut events).is_ok_and(|read| read == events.len()) {}
    true
}

fn wake(wakers: &Mutex<Vec<(u64, Waker)>>) {
    for (_, waker) in wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        waker();
    }
}
