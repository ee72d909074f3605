//! Jobs that are counted together, and waited for together.

use std::collections::{BTreeMap, BTreeSet};

use queuectl_core::store::{BatchCancelled, BatchInfo, Cancelled, Enqueued, Remark};
use queuectl_core::{AfterBatch, JobId, JobKey, Name, Needs, NewJob, State, StoreError};

use super::data::{Batch, Data, Now, Parent};

impl Data {
    /// The batches that a new job is to wait for. One that is named twice counts as it was named first.
    pub(super) fn parent_batches(
        &self,
        new: &NewJob,
    ) -> Result<BTreeMap<Name, Parent>, StoreError> {
        let mut batches = BTreeMap::new();
        for AfterBatch { batch: name, on } in &new.after_batches {
            let batch = self.batches.get(name).ok_or_else(|| StoreError::NoBatch(name.clone()))?;
            if batch.closed_at.is_none() {
                return Err(StoreError::BatchOpen(name.clone()));
            }
            batches.entry(name.clone()).or_insert(Parent { on: *on, lost: false });
        }
        Ok(batches)
    }

    fn made(&mut self, name: &Name, now: &Now) -> &mut Batch {
        let number = self.last_batch + 1;
        let batch = self.batches.entry(name.clone()).or_insert_with(|| Batch {
            number,
            created_at: now.wall,
            closed_at: None,
            finished_at: None,
            closing: false,
            deleted: Vec::new(),
        });
        self.last_batch = self.last_batch.max(batch.number);
        batch
    }

    /// The batch, made if there is none, gets a job.
    pub(super) fn join(&mut self, name: &Name, now: &Now) -> Result<(), StoreError> {
        match self.made(name, now).finished_at {
            Some(_) => Err(StoreError::BatchEnded(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether a batch takes this job, if it is closed: one that waits for no others than its own.
    pub(super) fn may_join(&self, name: &Name, job: JobKey) -> bool {
        let record = &self.jobs[&job];
        let own = |parent| self.jobs[parent].job.batch.as_ref() == Some(name);
        self.batches.get(name).is_none_or(|batch| batch.closed_at.is_none())
            || (record.batches.is_empty() && record.parents.keys().all(own))
    }

    pub(super) fn close_batch(
        &mut self,
        name: &Name,
        then: &[NewJob],
        now: &Now,
    ) -> Result<Vec<Enqueued>, StoreError> {
        let before = (self.batches.clone(), self.last_batch);
        let batch = self.made(name, now);
        if batch.closed_at.is_some() {
            return Err(StoreError::BatchClosed(name.clone()));
        }
        (batch.closed_at, batch.closing) = (Some(now.wall), true);
        let added = match self.enqueue(then, now) {
            Ok(added) => added,
            Err(error) => {
                (self.batches, self.last_batch) = before;
                return Err(error);
            }
        };
        self.made(name, now).closing = false;
        self.may_have_ended(name, now)?;
        self.may_be_gone(name, now)?;
        Ok(added)
    }

    pub(super) fn cancel_batch(
        &mut self,
        name: &Name,
        remark: &Remark<'_>,
        now: &Now,
    ) -> Result<BatchCancelled, StoreError> {
        if !self.batches.contains_key(name) {
            return Err(StoreError::NoBatch(name.clone()));
        }
        let left = self.members(name).filter(|job| !job.state.is_terminal());
        let ids: Vec<JobId> = left.map(|job| job.id.clone()).collect();
        let done = self.cancel(&ids, remark, now)?;
        let asked = done.iter().filter(|one| **one == Cancelled::Requested).count() as u64;
        Ok(BatchCancelled { cancelled: done.len() as u64 - asked, asked, next: None })
    }

    fn members(&self, name: &Name) -> impl Iterator<Item = &queuectl_core::Job> {
        let jobs = self.jobs.values().map(|record| &record.job);
        jobs.filter(move |job| job.batch.as_ref() == Some(name))
    }

    pub(super) fn batch(&self, name: &Name) -> Option<BatchInfo> {
        let batch = self.batches.get(name)?;
        let states = self.members(name).map(|job| job.state).chain(batch.deleted.iter().copied());
        let states: Vec<State> = states.collect();
        let count = |state| states.iter().filter(|one| **one == state).count() as u64;
        Some(BatchInfo {
            name: name.clone(),
            created_at: batch.created_at,
            closed_at: batch.closed_at,
            finished_at: batch.finished_at,
            total: states.len() as u64,
            completed: count(State::Completed),
            dead: count(State::Dead),
            cancelled: count(State::Cancelled),
        })
    }

    pub(super) fn newest_batches(&self, limit: usize) -> Vec<BatchInfo> {
        let mut names: Vec<_> =
            self.batches.iter().map(|(name, batch)| (batch.number, name)).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        names.into_iter().take(limit).filter_map(|(_, name)| self.batch(name)).collect()
    }

    /// A job of the batch has ended, or the batch was closed: those that wait for the batch are told if
    /// it has ended by that.
    pub(super) fn may_have_ended(&mut self, name: &Name, now: &Now) -> Result<(), StoreError> {
        let left = self.batch(name).map_or(0, |batch| batch.left());
        let Some(batch) = self.batches.get_mut(name) else {
            return Ok(());
        };
        if batch.closed_at.is_none() || batch.closing || left > 0 || batch.finished_at.is_some() {
            return Ok(());
        }
        batch.finished_at = Some(now.wall);
        let children: Vec<JobKey> = self.jobs.keys().copied().collect();
        for child in children {
            if self.jobs[&child].batches.contains_key(name) {
                self.look_at_parents(child, now)?;
            }
        }
        Ok(())
    }

    /// A job that had ended is to run again, and so is its batch.
    pub(super) fn batch_lives_again(&mut self, key: JobKey) {
        let Some(name) = self.jobs[&key].job.batch.clone() else {
            return;
        };
        if let Some(batch) = self.batches.get_mut(&name) {
            batch.finished_at = None;
        }
        for record in self.jobs.values_mut() {
            if let Some(parent) = record.batches.get_mut(&name) {
                parent.lost = false;
            }
        }
    }

    /// A job of the batch was deleted.
    pub(super) fn deleted_from_batch(
        &mut self,
        name: &Name,
        state: State,
        now: &Now,
    ) -> Result<(), StoreError> {
        if let Some(batch) = self.batches.get_mut(name) {
            batch.deleted.push(state);
        }
        self.may_be_gone(name, now)
    }

    /// A batch that nobody has closed goes when it has no job and is old.
    pub(super) fn prune_batches(&mut self, now: &Now) {
        let Some(keep) = self.settings.retention_completed else { return };
        let used: BTreeSet<Name> =
            self.jobs.values().filter_map(|record| record.job.batch.clone()).collect();
        self.batches.retain(|name, batch| {
            let old = now.wall.since(batch.created_at) >= keep;
            batch.closed_at.is_some() || !old || used.contains(name)
        });
    }

    /// A batch that has ended goes if it has no job.
    fn may_be_gone(&mut self, name: &Name, now: &Now) -> Result<(), StoreError> {
        let ended = self.batches.get(name).is_some_and(|batch| batch.finished_at.is_some());
        if !ended || self.members(name).next().is_some() {
            return Ok(());
        }
        self.batches.remove(name);
        let mut cancelled = Vec::new();
        for (child, record) in &mut self.jobs {
            if record.batches.remove(name).is_none() {
                continue;
            }
            let any = record.job.needs == Needs::Any;
            let mut left = record.parents.values().chain(record.batches.values());
            if !any || left.all(|parent| parent.lost) {
                let reason = format!("batch {name}, which it waited for, was deleted");
                record.cancel(&reason.as_str().into(), now)?;
                cancelled.push(*child);
            }
        }
        cancelled.into_iter().try_for_each(|child| self.tell_dependents(child, now))
    }
}
