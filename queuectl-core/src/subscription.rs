//! Following the event log: each entry once, in order, soon after it was committed by whichever
//! process.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::event::JobEvent;
use crate::store::{Store, StoreError, Watch};

/// How many entries are read at a time.
const PAGE: usize = 256;

/// How long an entry that nobody told of goes unnoticed at most.
const RECHECK: Duration = Duration::from_secs(1);

/// The entries of a store's event log, as they are added: an iterator that waits for the next one.
///
/// It is woken by the store's changes ([`Store::watch`]) and reads with [`Store::events`], so it
/// costs nothing while nothing happens. What it was given last is a number; whoever keeps that can
/// go on [after](Subscription::after) it in another process. Entries that were forgotten before
/// they were read, because the log keeps only so many or was turned off, are
/// [counted](Subscription::missed). While the log is off there are none; a subscription waits until
/// it is turned on.
///
/// An error of the store is given like an entry, and the next call tries again where it was.
///
/// ```
/// use std::sync::Arc;
/// use queuectl_core::{
///     Change, NewJob, Setting, SqliteOptions, SqliteStore, Store, Subscription,
/// };
///
/// # let folder = tempfile::tempdir()?;
/// # let options = SqliteOptions { create: true, ..SqliteOptions::default() };
/// let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);
/// store.change_setting(Setting::EventLog, Some("on"))?;
/// let subscription = Subscription::new(store.clone())?;
/// let closer = subscription.closer();
///
/// // Another thread, or another process, does something.
/// let program = std::thread::spawn(move || {
///     let added = store.enqueue(&[NewJob::new("email", &"ada@example.org")?])?;
///     store.cancel(&[added[0].id.clone()], &"not today".into())?;
///     Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// });
///
/// let mut changes = Vec::new();
/// for event in subscription {
///     let event = event?;
///     println!("{} {} {}", event.seq, event.id, event.change);
///     changes.push(event.change);
///     if event.change == Change::Cancelled {
///         closer.close(); // Usually somebody else does: the iterator would wait for ever.
///     }
/// }
/// assert_eq!(changes, [Change::Added, Change::Cancelled]);
/// # program.join().expect("it does not panic").expect("it does not fail");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscription {
    store: Arc<dyn Store>,
    /// What was read and not given yet.
    ready: VecDeque<JobEvent>,
    /// The newest that was read.
    read: u64,
    given: u64,
    missed: u64,
    signal: Arc<Signal>,
    _watch: Watch,
}

impl Subscription {
    /// What happens from now on.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn new(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let last = store.last_event()?;
        Subscription::after(store, last)
    }

    /// What has happened after the entry of this number, as far as it is still there, and what
    /// happens then. After 0 is all that there is.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn after(store: Arc<dyn Store>, seq: u64) -> Result<Self, StoreError> {
        let signal = Arc::new(Signal::default());
        let told = Arc::clone(&signal);
        // Before the first look, so that nothing can come between the two.
        let watch = store.watch(Arc::new(move || told.tell(|heard| heard.changed = true)))?;
        let ready = VecDeque::new();
        Ok(Subscription { store, ready, read: seq, given: seq, missed: 0, signal, _watch: watch })
    }

    /// The next entry; `None` if there is none for so long, or if the subscription was closed.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<JobEvent>, StoreError> {
        let begun = SystemClock.boot();
        while self.ready.is_empty() && !self.signal.is_closed() {
            if self.read()? {
                break;
            }
            let left = limit.saturating_sub(SystemClock.boot().since(begun));
            if left.is_zero() {
                return Ok(None);
            }
            self.signal.wait(left.min(RECHECK));
        }
        if self.signal.is_closed() {
            return Ok(None);
        }
        let event = self.ready.pop_front();
        self.given = event.as_ref().map_or(self.given, |event| event.seq);
        Ok(event)
    }

    /// Reads what there is; says whether there is something.
    fn read(&mut self) -> Result<bool, StoreError> {
        self.signal.look();
        let events = self.store.events(self.read, PAGE)?;
        for event in &events {
            // Numbers have no gaps of their own.
            self.missed += event.seq.saturating_sub(self.read + 1);
            self.read = event.seq;
        }
        self.ready.extend(events);
        Ok(!self.ready.is_empty())
    }

    /// The number of the entry that was given last, or after which it began: where another
    /// subscription goes on.
    pub fn position(&self) -> u64 {
        self.given
    }

    /// How many entries were forgotten before they were read.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// What ends the subscription, from any thread.
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.signal))
    }
}

impl Iterator for Subscription {
    type Item = Result<JobEvent, StoreError>;

    /// Waits for the next entry; `None` when the subscription was closed.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_within(Duration::MAX).transpose()
    }
}

/// Ends a [`Subscription`].
#[derive(Debug, Clone)]
pub struct Closer(Arc<Signal>);

impl Closer {
    /// Ends it: whoever waits for the next entry is woken, and there is none any more.
    pub fn close(&self) {
        self.0.tell(|heard| heard.closed = true);
    }
}

/// What a subscription waits for.
#[derive(Debug, Default)]
struct Signal {
    heard: Mutex<Heard>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    changed: bool,
    closed: bool,
}

impl Signal {
    fn tell(&self, what: impl FnOnce(&mut Heard)) {
        what(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        self.woken.notify_all();
    }

    /// What has changed until now is about to be looked at.
    fn look(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).changed = false;
    }

    fn is_closed(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Returns when something has changed since the last look, and after `at_most` in any case.
    fn wait(&self, at_most: Duration) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |heard: &mut Heard| !heard.changed && !heard.closed;
        // Why it was woken does not matter: the next look decides.
        let _ = self.woken.wait_timeout_while(heard, at_most, idle);
    }
}
