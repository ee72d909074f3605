//! A caller's place in the line before the writing connection, and how it is woken.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rustix::thread::futex;

use super::combine::lock;
use crate::job::NewJob;
use crate::store::{Enqueued, StoreError};

/// How a caller's wait ends.
pub(super) enum Turn {
    /// Its jobs were added by a leader, or refused, and the transaction has ended.
    Answered(Result<Vec<Enqueued>, StoreError>),
    /// It leads the next transaction.
    Lead,
}

/// One caller's place in the line.
pub(super) struct Ticket {
    pub(super) jobs: Vec<NewJob>,
    /// What becomes of it, once it is known.
    outcome: Mutex<Outcome>,
    /// What it is woken by, maybe together with others.
    bell: Arc<Bell>,
}

enum Outcome {
    Open,
    /// Kept until the transaction has ended.
    Applied(Result<Vec<Enqueued>, StoreError>),
    Known(Turn),
}

impl Ticket {
    pub(super) fn new(jobs: Vec<NewJob>, bell: Arc<Bell>) -> Self {
        Ticket { jobs, outcome: Mutex::new(Outcome::Open), bell }
    }

    pub(super) fn jobs(&self) -> Vec<&NewJob> {
        self.jobs.iter().collect()
    }

    pub(super) fn wait(&self) -> Turn {
        loop {
            let heard = self.bell.heard();
            let mut outcome = lock(&self.outcome);
            match std::mem::replace(&mut *outcome, Outcome::Open) {
                Outcome::Known(turn) => return turn,
                early => *outcome = early,
            }
            drop(outcome);
            self.bell.wait(heard);
        }
    }

    /// Keeps the answer until the transaction has ended.
    pub(super) fn applied(&self, answer: Result<Vec<Enqueued>, StoreError>) {
        *lock(&self.outcome) = Outcome::Applied(answer);
    }

    /// The transaction has ended, with an error for all if there is one.
    fn conclude(&self, error: Option<StoreError>) {
        let mut outcome = lock(&self.outcome);
        let applied = std::mem::replace(&mut *outcome, Outcome::Open);
        let answer = match (applied, error) {
            (Outcome::Applied(Ok(_)), Some(error)) => Err(error),
            (Outcome::Applied(answer), _) => answer,
            (_, error) => Err(error.unwrap_or_else(StoreError::abandoned)),
        };
        *outcome = Outcome::Known(Turn::Answered(answer));
    }

    /// Wakes the caller: it leads now.
    pub(super) fn lead(&self) {
        *lock(&self.outcome) = Outcome::Known(Turn::Lead);
        self.bell.ring();
    }
}

/// Tells all callers that the transaction has ended, with this error if it has failed, and wakes them.
pub(super) fn conclude_all(tickets: Vec<Arc<Ticket>>, error: impl Fn() -> Option<StoreError>) {
    for ticket in &tickets {
        ticket.conclude(error());
    }
    // Only now, because many wait for the same one.
    for alike in tickets.chunk_by(|ticket, next| Arc::ptr_eq(&ticket.bell, &next.bell)) {
        if let [first, ..] = alike {
            first.bell.ring();
        }
    }
}

/// What callers wait for. A condition variable would wake one after the other, each with a system call,
/// and then have them all take one lock; a futex wakes any number with one call.
#[derive(Default)]
pub(super) struct Bell(AtomicU32);

impl Bell {
    fn heard(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
        // It fails for no address that is one.
        let _ = futex::wake(&self.0, futex::Flags::PRIVATE, u32::MAX >> 1);
    }

    /// Waits until it has rung more often than was heard, or for no reason.
    fn wait(&self, heard: u32) {
        let _ = futex::wait(&self.0, futex::Flags::PRIVATE, heard, None);
    }
}
