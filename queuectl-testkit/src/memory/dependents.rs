//! Jobs that wait for others: what becomes of them when these end.

use queuectl_core::{Event, JobId, JobKey, Needs, Otherwise, Outlook, State, StoreError};

use super::data::{Data, Now, Parent};

impl Data {
    /// Looks at what waits for a job that may have ended. What ends thereby stands in a list: a chain may be
    /// longer than the stack is deep.
    pub(super) fn tell_dependents(&mut self, parent: JobKey, now: &Now) -> Result<(), StoreError> {
        let mut ended = vec![parent];
        while let Some(parent) = ended.pop() {
            if !self.jobs[&parent].job.state.is_terminal() {
                continue;
            }
            let children: Vec<_> = self.jobs.keys().copied().collect();
            for child in children {
                if self.jobs[&child].waits_for(parent)
                    && self.is_ended_by_parents(child, Some(parent), now)?
                {
                    ended.push(child);
                }
            }
            if let Some(batch) = self.jobs[&parent].job.batch.clone() {
                self.may_have_ended(&batch, now)?;
            }
        }
        Ok(())
    }

    /// Frees or cancels a blocked job, if its parents have decided that.
    pub(super) fn look_at_parents(&mut self, child: JobKey, now: &Now) -> Result<(), StoreError> {
        match self.is_ended_by_parents(child, None, now)? {
            true => self.tell_dependents(child, now),
            false => Ok(()),
        }
    }

    /// Frees or cancels a blocked job, if its parents have decided that; the last of them, if it is
    /// known which has ended last. Says whether it was cancelled, so that its own dependents are to be told.
    fn is_ended_by_parents(
        &mut self,
        child: JobKey,
        last: Option<JobKey>,
        now: &Now,
    ) -> Result<bool, StoreError> {
        let record = &self.jobs[&child];
        if record.job.state != State::Blocked {
            return Ok(false);
        }
        let (needs, otherwise) = (record.job.needs, record.job.otherwise);
        let record = record.clone();
        let (mut parents, mut batches) = (record.parents, record.batches);
        let (mut met, mut in_vain) = (false, None);
        // Whether the job goes on waiting for a parent, be it a job or a batch.
        let mut stays = |parent: &mut Parent, state, is_last: bool, called: String| {
            let outlook = Outlook::of(parent.on, otherwise, state);
            parent.lost = outlook == Outlook::Lost;
            met |= outlook == Outlook::Met;
            if parent.lost && (in_vain.is_none() || is_last) {
                in_vain = Some(format!("{called}, which it waited for, is {state}"));
            }
            let runs = parent.lost && otherwise == Otherwise::Run;
            outlook != Outlook::Met && !(runs && needs == Needs::All)
        };
        parents.retain(|key, parent| {
            let job = &self.jobs[key].job;
            stays(parent, job.state, last == Some(*key), format!("job {}", job.id))
        });
        batches.retain(|name, parent| {
            let state = self.batch(name).map_or(State::Pending, |batch| batch.state());
            stays(parent, state, false, format!("batch {name}"))
        });
        let all: Vec<Parent> = parents.values().chain(batches.values()).copied().collect();
        let all_lost = all.iter().all(|parent| parent.lost);
        let free = match needs {
            Needs::All => all.is_empty(),
            Needs::Any => met || (all_lost && otherwise == Otherwise::Run),
        };
        let ends = match needs {
            Needs::All => all.iter().any(|parent| parent.lost),
            Needs::Any => all_lost,
        };
        let Some(record) = self.jobs.get_mut(&child) else {
            return Ok(false);
        };
        (record.parents, record.batches) = (parents, batches);
        if free {
            record.happen(Event::Unblock, now)?;
            record.note_due(now);
        } else if ends {
            record.cancel(&in_vain.unwrap_or_default().as_str().into(), now)?;
        }
        Ok(ends && !free)
    }

    /// What waits for a job that is gone waits for the others, if any one of them is enough.
    pub(super) fn deleted(
        &mut self,
        parent: JobKey,
        id: &JobId,
        now: &Now,
    ) -> Result<(), StoreError> {
        let mut cancelled = Vec::new();
        for (child, record) in &mut self.jobs {
            if record.parents.remove(&parent).is_none() {
                continue;
            }
            let any = record.job.needs == Needs::Any;
            let mut left = record.parents.values().chain(record.batches.values());
            if !any || left.all(|parent| parent.lost) {
                record.cancel(
                    &format!("job {id}, which it waited for, was deleted").as_str().into(),
                    now,
                )?;
                cancelled.push(*child);
            }
        }
        cancelled.into_iter().try_for_each(|child| self.tell_dependents(child, now))
    }

    /// A job that had ended is to run again: those that it was lost for wait for it once more.
    pub(super) fn lives_again(&mut self, parent: JobKey) {
        for child in self.jobs.values_mut() {
            if let Some(parent) = child.parents.get_mut(&parent) {
                parent.lost = false;
            }
        }
    }
}
