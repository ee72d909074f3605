//! Combined writes: callers that want to write at the same time share one transaction.
//!
//! A commit costs the same for one job as for a hundred, so whoever comes while a commit is under
//! way should share the next one. There is no thread for this. The first caller leads: it opens
//! the transaction, applies its own write and those that were handed in meanwhile, commits, gives
//! everyone their answers, does the same for those who came since, and after some such rounds hands the
//! lead to one of them. A caller that is alone does it all on its own thread, without a switch. Nobody is
//! answered before *their* commit.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::enqueue::enqueue;
use super::error::commit_error;
use super::insert::Form;
use super::ticket::{Bell, Ticket, Turn, conclude_all};
use super::transaction::{Tx, Writer};
use crate::job::NewJob;
use crate::store::{Enqueued, StoreError};

/// How many transactions a caller leads at most, its own and those of who came meanwhile: to wake the
/// next leader takes as long as a third of a commit, and each that is led for others is one for which
/// the caller waits.
const LED_MAX: usize = 4;

pub(super) struct Combiner {
    line: Mutex<Line>,
    /// Only the leader locks it.
    writer: Mutex<Writer>,
}

/// Those who wait.
#[derive(Default)]
struct Line {
    led: bool,
    /// Whose jobs a leader may add. The first of them leads, if need be.
    followers: Vec<Arc<Ticket>>,
    /// Who must lead: a leader lets them go before.
    leaders: VecDeque<Arc<Ticket>>,
    /// Wakes all followers but the first, which may have to be woken alone.
    bell: Arc<Bell>,
}

impl Combiner {
    pub(super) fn new(writer: Writer) -> Self {
        Combiner { line: Mutex::default(), writer: Mutex::new(writer) }
    }

    /// Adds jobs in a transaction that others may share. Another thread may do it, so the jobs are
    /// handed over.
    pub(super) fn enqueue(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, StoreError> {
        let ticket = {
            let mut line = lock(&self.line);
            let bell = match line.followers.first() {
                Some(_) => Arc::clone(&line.bell),
                None => Arc::default(),
            };
            let ticket = Arc::new(Ticket::new(jobs, bell));
            if std::mem::replace(&mut line.led, true) {
                line.followers.push(Arc::clone(&ticket));
                drop(line);
                match ticket.wait() {
                    Turn::Answered(answer) => return answer,
                    Turn::Lead => {}
                }
            }
            ticket
        };
        self.lead(LED_MAX, |tx| enqueue(tx, &ticket.jobs()))
    }

    /// Applies a write on the caller's own thread, so that it may borrow what it needs: for large
    /// batches, which would be costly to hand over. Others share its transaction all the same.
    pub(super) fn borrowed<T>(
        &self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut line = lock(&self.line);
        if std::mem::replace(&mut line.led, true) {
            let ticket = Arc::new(Ticket::new(Vec::new(), Arc::default()));
            line.leaders.push_back(Arc::clone(&ticket));
            drop(line);
            if let Turn::Answered(answer) = ticket.wait() {
                return Err(answer.err().unwrap_or_else(StoreError::abandoned));
            }
        } else {
            drop(line);
        }
        // Not for others: a worker has jobs that wait for it.
        self.lead(1, write)
    }

    /// Leads: the leader's own write with those of whoever waits, then those of who has come meanwhile, in
    /// no more transactions than that.
    fn lead<T>(
        &self,
        most: usize,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lead = Lead { combiner: self, followers: Vec::new(), left: most, passed_on: false };
        let answer = lead.run(write);
        while !lead.passed_on {
            // Whether this one succeeds is for those to know whose jobs it adds.
            let _ = lead.run(|_| Ok(()));
        }
        answer
    }
}

/// The lead. When it is dropped, whatever has happened, a panic in a write included, somebody else can
/// lead and nobody waits for an answer that will not come.
struct Lead<'a> {
    combiner: &'a Combiner,
    followers: Vec<Arc<Ticket>>,
    /// How many transactions it is for, yet.
    left: usize,
    passed_on: bool,
}

impl Lead<'_> {
    /// Runs one transaction, and passes the lead on unless there is more to do.
    fn run<T>(
        &mut self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let combiner = self.combiner;
        let mut writer = lock(&combiner.writer);
        let mut tx = match writer.begin() {
            Ok(tx) => tx,
            Err(error) => {
                // Those who have come meanwhile would fail as well, each after as long a wait, one
                // after the other.
                self.take_everyone();
                conclude_all(std::mem::take(&mut self.followers), || Some(error.repeated()));
                self.pass_on();
                return Err(error);
            }
        };
        // Taken only now, when the transaction is open: the wait for it was time to gather.
        self.take_followers();
        let own = if self.followers.is_empty() {
            match write(&mut tx) {
                Ok(value) => Ok(value),
                Err(error) => {
                    tx.rollback();
                    self.pass_on();
                    return Err(error);
                }
            }
        } else {
            let own = tx.nested(write);
            enqueue_for(&mut tx, &self.followers);
            own
        };
        let committed = tx.commit();
        drop(writer);
        self.left -= 1;
        let served = self.followers.len();
        if !self.goes_on(served) {
            // First, so that the next transaction begins while this one's callers wake.
            self.pass_on();
        }
        let failed = committed.as_ref().err();
        conclude_all(std::mem::take(&mut self.followers), || failed.map(commit_error));
        match committed {
            // A write that had failed by itself did not happen, whatever became of the others.
            Err(error) if own.is_ok() => Err(commit_error(&error)),
            _ => own,
        }
    }

    /// Whether the next transaction is led by the same caller. Where not so many have come as were served,
    /// more will while the next leader wakes; and where nobody was, there are few, and to wait for each
    /// other's commits would gain nothing.
    fn goes_on(&self, served: usize) -> bool {
        let line = lock(&self.combiner.line);
        let many = served > 0 && line.followers.len() > served / 2;
        self.left > 0 && line.leaders.is_empty() && many
    }

    fn take_followers(&mut self) {
        let mut line = lock(&self.combiner.line);
        line.bell = Arc::default();
        self.followers = std::mem::take(&mut line.followers);
    }

    fn take_everyone(&mut self) {
        self.take_followers();
        self.followers.extend(lock(&self.combiner.line).leaders.drain(..));
    }

    fn pass_on(&mut self) {
        self.passed_on = true;
        let mut line = lock(&self.combiner.line);
        let next = match line.leaders.pop_front() {
            None if line.followers.is_empty() => None,
            None => Some(line.followers.remove(0)),
            leader => leader,
        };
        line.led = next.is_some();
        drop(line);
        if let Some(next) = next {
            next.lead();
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.passed_on {
            self.pass_on();
        }
        conclude_all(std::mem::take(&mut self.followers), || None);
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    use super::*;
    use crate::sqlite::{SqliteOptions, open};

    fn combiner() -> (tempfile::TempDir, Combiner) {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let opened = open::open(&folder.path().join("queue.db"), &options).unwrap();
        let writer = Writer::new(opened.connection, opened.path, opened.file, options);
        (folder, Combiner::new(writer))
    }

    fn job() -> Vec<NewJob> {
        vec![NewJob::new("k", &()).unwrap()]
    }

    impl Combiner {
        /// Waits until so many stand in line.
        fn await_line(&self, followers: usize, leaders: usize) {
            loop {
                let line = lock(&self.line);
                if line.led && (line.followers.len(), line.leaders.len()) == (followers, leaders) {
                    return;
                }
                drop(line);
                std::thread::yield_now();
            }
        }
    }

    /// Whoever shares the transaction of a caller that panics is told that its jobs were not added, and
    /// those behind go on: nobody waits for ever.
    #[test]
    fn when_a_leader_panics_nobody_waits_for_it() {
        let (_folder, combiner) = combiner();
        let (inside, go) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            let writer = lock(&combiner.writer);
            let leader = scope.spawn(|| {
                let write = |_: &mut Tx<'_>| -> Result<(), StoreError> {
                    inside.wait();
                    go.wait();
                    panic!("a mistake in a write")
                };
                catch_unwind(AssertUnwindSafe(|| combiner.borrowed(write))).is_err()
            });
            combiner.await_line(0, 0);
            let sharing = scope.spawn(|| combiner.enqueue(job()));
            combiner.await_line(1, 0);
            drop(writer);
            inside.wait();
            let behind = [0, 1].map(|_| scope.spawn(|| combiner.enqueue(job())));
            combiner.await_line(2, 0);
            go.wait();
            assert!(leader.join().unwrap());
            assert!(matches!(sharing.join().unwrap(), Err(StoreError::Other(_))));
            for one in behind {
                assert!(one.join().unwrap().is_ok());
            }
        });
        assert!(combiner.enqueue(job()).is_ok());
    }

    /// A worker has jobs that wait for it: however many enqueue all the time, nobody leads for them before
    /// it has had its turn.
    #[test]
    fn who_must_lead_comes_before_those_who_can_be_led() {
        let (_folder, combiner) = combiner();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let writer = lock(&combiner.writer);
            scope.spawn(|| combiner.enqueue(job()));
            combiner.await_line(0, 0);
            scope.spawn(|| {
                combiner.borrowed(|tx| {
                    lock(&order).push(tx.last_key());
                    Ok(())
                })
            });
            combiner.await_line(0, 1);
            let followers = [0, 1, 2].map(|_| scope.spawn(|| combiner.enqueue(job())));
            combiner.await_line(3, 1);
            drop(writer);
            for one in followers {
                assert!(one.join().unwrap().is_ok());
            }
        });
        // The first leader has added its own and the three; then came the worker.
        assert_eq!(*lock(&order), [4]);
    }
}
