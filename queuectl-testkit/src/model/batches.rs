//! The model's batches: what they count is counted when it is asked for.

use std::collections::BTreeMap;

use queuectl_core::{Condition, State};

use super::seen::{Answer, Refusal, SeenBatch};
use super::step::New;
use super::world::{Batch, Job, World, millis};

impl World {
    /// The states of all jobs that a batch ever had.
    fn states(&self, batch: usize) -> Vec<State> {
        let members = self.jobs.values().filter(|job| job.batch == Some(batch));
        let deleted = self.batches.get(&batch).map(|batch| batch.deleted.clone());
        members.map(|job| job.state).chain(deleted.into_iter().flatten()).collect()
    }

    fn has_ended(&self, batch: usize) -> bool {
        let batch_is = |what: fn(&Batch) -> bool| self.batches.get(&batch).is_some_and(what);
        let may_end = batch_is(|batch| batch.closed_at.is_some() && !batch.closing);
        may_end && self.states(batch).into_iter().all(State::is_terminal)
    }

    pub(super) fn state_of_batch(&self, batch: usize) -> State {
        match self.has_ended(batch) {
            false => State::Pending,
            true if self.states(batch).iter().all(|one| *one == State::Completed) => {
                State::Completed
            }
            true => State::Dead,
        }
    }

    /// Notes which batches have ended, and which live again.
    pub(super) fn batches_end(&mut self) {
        let ended: Vec<(usize, bool)> =
            self.batches.keys().map(|batch| (*batch, self.has_ended(*batch))).collect();
        let wall = self.wall;
        for (number, ended) in ended {
            let Some(batch) = self.batches.get_mut(&number) else {
                continue;
            };
            if !ended && batch.finished_at.take().is_some() {
                self.events.insert("a batch that lives again");
            } else if ended && batch.finished_at.is_none() {
                batch.finished_at = Some(wall);
                if !self.states(number).is_empty() {
                    self.events.insert("a batch that has ended");
                }
            }
        }
    }

    fn made(&mut self, name: usize) -> &mut Batch {
        let (made, created_at) = (&mut self.batches_made, self.wall);
        self.batches.entry(name).or_insert_with(|| {
            *made += 1;
            let (number, closing, deleted) = (*made, false, Vec::new());
            Batch { number, created_at, closed_at: None, finished_at: None, closing, deleted }
        })
    }

    /// Makes the batch of a new job, and gives those that it is to wait for.
    pub(super) fn join(
        &mut self,
        new: &New,
        refusals: &mut Vec<Refusal>,
    ) -> BTreeMap<usize, Condition> {
        let mut waits_for = BTreeMap::new();
        for &(name, on) in &new.after_batches {
            match self.batches.get(&name).map(|batch| batch.closed_at) {
                None => refusals.push(Refusal::NoBatch),
                Some(None) => refusals.push(Refusal::BatchOpen),
                Some(Some(_)) => {
                    waits_for.entry(name).or_insert(on);
                }
            }
        }
        if let Some(batch) = new.batch
            && self.made(batch).finished_at.is_some()
        {
            refusals.push(Refusal::BatchEnded);
        }
        waits_for
    }

    /// Whether a batch takes this new job: if it is closed, only one that waits for none but its own.
    pub(super) fn may_join(&mut self, name: usize, job: u32) -> bool {
        let job = &self.jobs[&job];
        if self.batches.get(&name).is_none_or(|batch| batch.closed_at.is_none()) {
            return true;
        }
        let joins = job.waits_for_batches.is_empty()
            && job.waits_for.keys().all(|parent| self.jobs[parent].batch == Some(name));
        if joins {
            self.events.insert("a job for a closed batch");
        }
        joins
    }

    pub(super) fn close_batch(&mut self, name: usize, jobs: &[New]) -> Answer {
        let wall = self.wall;
        let batch = self.made(name);
        if batch.closed_at.is_some() {
            return Answer::Refused(vec![Refusal::BatchClosed]);
        }
        (batch.closed_at, batch.closing) = (Some(wall), true);
        let answer = self.enqueue(jobs);
        self.made(name).closing = false;
        self.see_to_dependents();
        self.may_be_gone(name);
        answer
    }

    pub(super) fn cancel_batch(&mut self, name: usize, reason: u8) -> Answer {
        if !self.batches.contains_key(&name) {
            return Answer::Refused(vec![Refusal::NoBatch]);
        }
        let left = self.jobs.iter().filter(|(_, job)| job.batch == Some(name));
        let left: Vec<u32> =
            left.filter(|(_, job)| !job.state.is_terminal()).map(|(job, _)| *job).collect();
        let runs = |job: &&u32| self.jobs[*job].state == State::Processing;
        let asked = left.iter().filter(runs).count();
        self.cancel(&left, reason);
        Answer::CancelledOf((left.len() - asked) as u64, asked as u64)
    }

    /// A job that was deleted counts as it ended.
    pub(super) fn note_gone(&mut self, job: &Job) {
        if let Some(batch) = job.batch.and_then(|name| self.batches.get_mut(&name)) {
            batch.deleted.push(job.state);
        }
    }

    /// A batch that nobody has closed goes when it has no job and is old.
    pub(super) fn prune_batches(&mut self) {
        let Some(keep) = self.settings.retention_completed else { return };
        let gone = |number: &usize, batch: &Batch| {
            let empty = self.jobs.values().all(|job| job.batch != Some(*number));
            empty && batch.closed_at.is_none() && self.wall - batch.created_at >= millis(keep)
        };
        let gone: Vec<usize> = (self.batches.iter())
            .filter(|(number, batch)| gone(number, batch))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.batches.remove(&number);
            self.events.insert("an open batch that was pruned");
        }
    }

    /// A batch that has ended goes if it has no job.
    pub(super) fn may_be_gone(&mut self, name: usize) {
        let empty = self.jobs.values().all(|job| job.batch != Some(name));
        let ended = self.batches.get(&name).is_some_and(|batch| batch.finished_at.is_some());
        if empty && ended {
            self.batches.remove(&name);
            self.events.insert("a batch that was deleted");
            let waiting = self.jobs.iter_mut();
            let waiting = waiting
                .filter_map(|(number, job)| job.waits_for_batches.remove(&name).map(|_| *number));
            let waiting = waiting.collect();
            self.wait_for_the_others(waiting);
        }
    }

    pub(super) fn seen_batches(&self) -> Vec<SeenBatch> {
        let mut batches: Vec<_> = self.batches.iter().collect();
        batches.sort_unstable_by_key(|(_, batch)| std::cmp::Reverse(batch.number));
        let seen = |(&name, batch): (&usize, &Batch)| {
            let states = self.states(name);
            let count = |state| states.iter().filter(|one| **one == state).count() as u64;
            SeenBatch {
                batch: name,
                times: (batch.created_at, batch.closed_at, batch.finished_at),
                total: states.len() as u64,
                ended: [State::Completed, State::Dead, State::Cancelled].map(count),
            }
        };
        batches.into_iter().map(seen).collect()
    }
}
