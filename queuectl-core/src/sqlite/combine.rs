//! Combined writes: callers that want to write at the same time share one transaction.
//!
//! A commit costs the same for one job as for a hundred, so whoever comes while a commit is under
//! way should share the next one. There is no thread for this. The first caller leads: it opens
//! the transaction, applies its own write and those that were handed in meanwhile, commits, gives
//! everyone their answers and hands the lead to the first of those who came since. A caller that is
//! alone does it all on its own thread, without a switch. Nobody is answered before *their* commit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::enqueue::enqueue;
use super::error::commit_error;
use super::insert::Form;
use super::transaction::{Tx, Writer};
use crate::job::NewJob;
use crate::store::{Enqueued, StoreError};

/// How many callers share one transaction at most: a bound on how long the first of them waits.
const SHARED_MAX: usize = 1024;

pub(super) struct Combiner {
    line: Mutex<Line>,
    /// Only the leader locks it.
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Line {
    led: bool,
    waiting: VecDeque<Arc<Ticket>>,
}

impl Combiner {
    pub(super) fn new(writer: Writer) -> Self {
        Combiner { line: Mutex::default(), writer: Mutex::new(writer) }
    }

    /// Adds jobs in a transaction that others may share. Another thread may do it, so the jobs are
    /// handed over.
    pub(super) fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        let ticket = Arc::new(Ticket::new(jobs, true));
        match self.enter(&ticket) {
            Turn::Answered(answer) => answer,
            Turn::Lead => self.run(|tx| enqueue(tx, &ticket.jobs())),
        }
    }

    /// Applies a write on the caller's own thread, so that it may borrow what it needs: for large
    /// batches, which would be costly to hand over. Others share its transaction all the same.
    pub(super) fn borrowed<T>(
        &self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let ticket = Arc::new(Ticket::new(Vec::new(), false));
        match self.enter(&ticket) {
            Turn::Answered(answer) => Err(answer.err().unwrap_or_else(StoreError::abandoned)),
            Turn::Lead => self.run(write),
        }
    }

    fn enter(&self, ticket: &Arc<Ticket>) -> Turn {
        let mut line = lock(&self.line);
        if line.led {
            line.waiting.push_back(Arc::clone(ticket));
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
            enqueue_for(&mut tx, &lead.followers);
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

/// Adds the jobs of all followers. A call that fails keeps its error and is undone; the others go on
/// without it.
fn enqueue_for(tx: &mut Tx<'_>, followers: &[Arc<Ticket>]) {
    // Jobs that nothing in the store can refuse are added at once, because one statement adds many
    // of them: a fraction of what it costs to add them call by call.
    let is_single = |job| Form::of(job) == Form::Single;
    let (mut singly, plain): (Vec<_>, Vec<_>) =
        followers.iter().partition(|follower| follower.jobs.iter().any(is_single));
    let jobs: Vec<&NewJob> = plain.iter().flat_map(|follower| &follower.jobs).collect();
    match tx.nested(|tx| enqueue(tx, &jobs)) {
        Ok(added) => {
            let mut added = added.into_iter();
            for follower in plain {
                follower.applied(Ok(added.by_ref().take(follower.jobs.len()).collect()));
            }
        }
        Err(_) => singly.extend(plain),
    }
    for follower in singly {
        follower.applied(tx.nested(|tx| enqueue(tx, &follower.jobs())));
    }
}

/// The lead of one transaction. When it is dropped, whatever has happened, a panic in a write
/// included, somebody else can lead and nobody waits for an answer that will not come.
struct Lead<'a> {
    combiner: &'a Combiner,
    followers: Vec<Arc<Ticket>>,
    passed_on: bool,
}

impl Lead<'_> {
    fn take_followers(&mut self) {
        let mut line = lock(&self.combiner.line);
        let ready = line.waiting.iter().take(SHARED_MAX).take_while(|next| next.can_be_led);
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
enum Turn {
    /// Its jobs were added by a leader, or refused, and the transaction has ended.
    Answered(Result<Vec<Enqueued>, StoreError>),
    /// It leads the next transaction.
    Lead,
}

/// One caller's place in the line.
struct Ticket {
    jobs: Vec<NewJob>,
    /// Whether a leader may add them; otherwise the caller's own thread must lead.
    can_be_led: bool,
    status: Mutex<Status>,
    changed: Condvar,
}

enum Status {
    Waiting,
    Lead,
    Applied(Result<Vec<Enqueued>, StoreError>),
    Answered(Result<Vec<Enqueued>, StoreError>),
    Taken,
}

impl Ticket {
    fn new(jobs: Vec<NewJob>, can_be_led: bool) -> Self {
        let status = Mutex::new(Status::Waiting);
        Ticket { jobs, can_be_led, status, changed: Condvar::new() }
    }

    fn jobs(&self) -> Vec<&NewJob> {
        self.jobs.iter().collect()
    }

    fn set(&self, status: Status) {
        *lock(&self.status) = status;
        self.changed.notify_one();
    }

    fn wait(&self) -> Turn {
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

    /// Keeps the answer until the transaction has ended.
    fn applied(&self, answer: Result<Vec<Enqueued>, StoreError>) {
        *lock(&self.status) = Status::Applied(answer);
    }

    /// Wakes the caller: the transaction has ended, with an error for all if there is one.
    fn conclude(&self, error: Option<StoreError>) {
        let status = std::mem::replace(&mut *lock(&self.status), Status::Taken);
        let answer = match (status, error) {
            (Status::Applied(Ok(_)), Some(error)) => Err(error),
            (Status::Applied(answer), _) => answer,
            (_, error) => Err(error.unwrap_or_else(StoreError::abandoned)),
        };
        self.set(Status::Answered(answer));
    }

    /// Wakes the caller: it leads now.
    fn lead(&self) {
        self.set(Status::Lead);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
