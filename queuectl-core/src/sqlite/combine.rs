//! Combined writes: callers that want to write at the same time share one transaction.
//!
//! A commit costs the same for one job as for a hundred, so whoever comes while a commit is under
//! way should share the next one. There is no thread for this. The first caller leads: it opens
//! the transaction, applies its own write and those that were handed in meanwhile, commits, gives
//! everyone their answers and hands the lead to the first of those who came since. A caller that is
//! alone does it all on its own thread, without a switch. Nobody is answered before *their* commit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::commit_error;
use super::transaction::{Tx, Writer};
use crate::store::StoreError;

/// How many writes share one transaction at most: a bound on how long the first of them waits.
const SHARED_MAX: usize = 1024;

pub(super) struct Combiner {
    line: Mutex<Line>,
    /// Only the leader locks it.
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Line {
    led: bool,
    waiting: VecDeque<Arc<dyn Waiting>>,
}

/// A write that waits to be applied by whoever leads, or to lead itself.
trait Waiting: Send + Sync {
    /// Whether a leader may apply it; otherwise its own thread must lead.
    fn can_be_led(&self) -> bool;

    /// Applies the write within the transaction and keeps its answer; an error if it must be undone.
    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError>;

    /// Wakes the caller: the transaction has ended, with an error for all if there is one.
    fn conclude(&self, error: Option<StoreError>);

    /// Wakes the caller: it leads now.
    fn lead(&self);
}

impl Combiner {
    pub(super) fn new(writer: Writer) -> Self {
        Combiner { line: Mutex::default(), writer: Mutex::new(writer) }
    }

    /// Applies a write in a transaction that other writes may share. The write may be applied by
    /// another thread, so it owns what it needs.
    pub(super) fn shared<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let ticket = Arc::new(Ticket::new(Some(write)));
        match self.enter(Arc::clone(&ticket) as Arc<dyn Waiting>, &ticket) {
            Turn::Answered(answer) => answer,
            Turn::Lead => self.run(|tx| {
                let write = ticket.take_write().ok_or_else(StoreError::abandoned)?;
                write(tx)
            }),
        }
    }

    /// Applies a write on the caller's own thread, so that it may borrow what it needs: for large
    /// batches, which would be costly to hand over. Others share its transaction all the same.
    pub(super) fn borrowed<T>(
        &self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        type Never = fn(&mut Tx<'_>) -> Result<(), StoreError>;
        let ticket = Arc::new(Ticket::<(), Never>::new(None));
        match self.enter(Arc::clone(&ticket) as Arc<dyn Waiting>, &ticket) {
            Turn::Answered(answer) => Err(answer.err().unwrap_or_else(StoreError::abandoned)),
            Turn::Lead => self.run(write),
        }
    }

    fn enter<T, F>(&self, waiting: Arc<dyn Waiting>, ticket: &Ticket<T, F>) -> Turn<T> {
        let mut line = lock(&self.line);
        if line.led {
            line.waiting.push_back(waiting);
            drop(line);
            ticket.wait()
        } else {
            line.led = true;
            Turn::Lead
        }
    }

    /// Leads one transaction: the leader's own write, then those of whoever waits.
    fn run<T>(
        &self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lead = Lead { combiner: self, followers: Vec::new(), passed_on: false };
        let mut writer = lock(&self.writer);
        let mut tx = match writer.begin() {
            Ok(tx) => tx,
            Err(error) => {
                // Those who have come meanwhile would fail as well, each after as long a wait, one
                // after the other.
                lead.take_everyone();
                for waiting in lead.followers.drain(..) {
                    waiting.conclude(Some(error.repeated()));
                }
                return Err(error);
            }
        };
        // Taken only now, when the transaction is open: the wait for it was time to gather.
        lead.take_followers();
        let own = if lead.followers.is_empty() {
            match write(&mut tx) {
                Ok(value) => Ok(value),
                Err(error) => {
                    tx.rollback();
                    return Err(error);
                }
            }
        } else {
            let own = tx.nested(write);
            for follower in &lead.followers {
                // A write that fails keeps its error and is undone; the others go on without it.
                let _ = tx.nested(|tx| follower.apply(tx));
            }
            own
        };
        let committed = tx.commit();
        drop(writer);
        // Pass on first, so that the next transaction begins while this one's callers wake.
        lead.pass_on();
        for follower in lead.followers.drain(..) {
            follower.conclude(committed.as_ref().err().map(commit_error));
        }
        match committed {
            // A write that had failed by itself did not happen, whatever became of the others.
            Err(error) if own.is_ok() => Err(commit_error(&error)),
            _ => own,
        }
    }
}

/// The lead of one transaction. When it is dropped, whatever has happened, a panic in a write
/// included, somebody else can lead and nobody waits for an answer that will not come.
struct Lead<'a> {
    combiner: &'a Combiner,
    followers: Vec<Arc<dyn Waiting>>,
    passed_on: bool,
}

impl Lead<'_> {
    fn take_followers(&mut self) {
        let mut line = lock(&self.combiner.line);
        let ready = line.waiting.iter().take(SHARED_MAX).take_while(|next| next.can_be_led());
        let count = ready.count();
        self.followers = line.waiting.drain(..count).collect();
    }

    fn take_everyone(&mut self) {
        self.followers = lock(&self.combiner.line).waiting.drain(..).collect();
    }

    fn pass_on(&mut self) {
        self.passed_on = true;
        let mut line = lock(&self.combiner.line);
        match line.waiting.pop_front() {
            Some(next) => {
                drop(line);
                next.lead();
            }
            None => line.led = false,
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.passed_on {
            self.pass_on();
        }
        for follower in self.followers.drain(..) {
            follower.conclude(Some(StoreError::abandoned()));
        }
    }
}

/// How a caller's wait ends.
enum Turn<T> {
    /// Its write was applied by a leader, and the transaction has ended.
    Answered(Result<T, StoreError>),
    /// It leads the next transaction.
    Lead,
}

/// One caller's place in the line.
struct Ticket<T, F> {
    /// `None` for a write that only its own thread can apply.
    write: Mutex<Option<F>>,
    can_be_led: bool,
    status: Mutex<Status<T>>,
    changed: Condvar,
}

enum Status<T> {
    Waiting,
    Lead,
    Applied(Result<T, StoreError>),
    Answered(Result<T, StoreError>),
    Taken,
}

impl<T, F> Ticket<T, F> {
    fn new(write: Option<F>) -> Self {
        Ticket {
            can_be_led: write.is_some(),
            write: Mutex::new(write),
            status: Mutex::new(Status::Waiting),
            changed: Condvar::new(),
        }
    }

    fn take_write(&self) -> Option<F> {
        lock(&self.write).take()
    }

    fn set(&self, status: Status<T>) {
        *lock(&self.status) = status;
        self.changed.notify_one();
    }

    fn wait(&self) -> Turn<T> {
        let mut status = lock(&self.status);
        loop {
            match std::mem::replace(&mut *status, Status::Taken) {
                Status::Answered(answer) => return Turn::Answered(answer),
                Status::Lead => return Turn::Lead,
                waiting => *status = waiting,
            }
            status = self.changed.wait(status).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T, F> Waiting for Ticket<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn can_be_led(&self) -> bool {
        self.can_be_led
    }

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let answer =
            self.take_write().ok_or_else(StoreError::abandoned).and_then(|write| write(tx));
        let undo = if answer.is_ok() { Ok(()) } else { Err(StoreError::abandoned()) };
        *lock(&self.status) = Status::Applied(answer);
        undo
    }

    fn conclude(&self, error: Option<StoreError>) {
        let status = std::mem::replace(&mut *lock(&self.status), Status::Taken);
        let answer = match (status, error) {
            (Status::Applied(Ok(_)), Some(error)) => Err(error),
            (Status::Applied(answer), _) => answer,
            (_, error) => Err(error.unwrap_or_else(StoreError::abandoned)),
        };
        self.set(Status::Answered(answer));
    }

    fn lead(&self) {
        self.set(Status::Lead);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
