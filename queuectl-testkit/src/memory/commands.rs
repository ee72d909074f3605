//! What people and programs do to jobs, queues and settings.

use std::collections::BTreeSet;
use std::time::Duration;

use queuectl_core::store::{Cancelled, Remark};
use queuectl_core::{
    Event, JobId, JobKey, Limit, Name, Policy, QueueLimits, Rule, Setting, Settings, State,
    StoreError, Timestamp, transition,
};

use super::data::{Data, Now, Record, wrong_state};

/// How many jobs one prune deletes at most.
const PRUNE_LEN_MAX: usize = 1000;
/// How many jobs one call cancels at most because they have expired.
const EXPIRE_LEN_MAX: usize = 1000;

impl Data {
    pub(super) fn cancel(
        &mut self,
        ids: &[JobId],
        remark: &Remark<'_>,
        now: &Now,
    ) -> Result<Vec<Cancelled>, StoreError> {
        let keys = self.find_all(ids)?;
        self.check_each(&keys, Event::Cancel)?;
        // Answers are found before anything changes, so that a job named twice gets the same twice.
        let answers = keys
            .iter()
            .map(|key| match self.jobs[key].job.state {
                State::Processing => Cancelled::Requested,
                _ => Cancelled::Now,
            })
            .collect();
        let keys = distinct(&keys);
        for &key in &keys {
            if let Some(record) = self.jobs.get_mut(&key) {
                record.cancel(remark, now)?;
            }
            self.note_leftovers(key, None);
        }
        for key in keys {
            self.tell_dependents(key, now)?;
        }
        Ok(answers)
    }

    pub(super) fn retry(&mut self, ids: &[JobId], now: &Now) -> Result<(), StoreError> {
        let keys = self.find_all(ids)?;
        self.check_each(&keys, Event::Retry)?;
        // One retry may free or take a key, and the next be refused for it.
        let before = (self.jobs.clone(), self.batches.clone());
        for key in distinct(&keys) {
            if let Err(error) = self.retry_one(key, now, Duration::ZERO) {
                (self.jobs, self.batches) = before;
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn retry_one(
        &mut self,
        key: JobKey,
        now: &Now,
        delay: Duration,
    ) -> Result<(), StoreError> {
        let job = &self.jobs[&key].job;
        let (id, terminal) = (job.id.clone(), job.state.is_terminal());
        if let Some(unique_key) = job.unique_key.clone().filter(|_| terminal)
            && let Some(by) = self.holder(&unique_key, now).filter(|holder| *holder != key)
        {
            return Err(StoreError::UniqueKeyTaken { id, by: self.jobs[&by].job.id.clone() });
        }
        if let Some(record) = self.jobs.get_mut(&key) {
            record.gave_up &= !terminal;
            record.run_again(now, delay)?;
        }
        self.comes_back(key, now);
        self.lives_again(key);
        self.batch_lives_again(key);
        Ok(())
    }

    fn check_each(&self, keys: &[JobKey], event: Event) -> Result<(), StoreError> {
        for key in keys {
            let job = &self.jobs[key].job;
            transition(job.state, event).map_err(|refused| wrong_state(job.id.clone(), refused))?;
        }
        Ok(())
    }

    pub(super) fn purge(&mut self, ids: &[JobId], now: &Now) -> Result<(), StoreError> {
        let keys = self.find_all(ids)?;
        for key in &keys {
            let job = &self.jobs[key].job;
            if !job.state.is_terminal() {
                return Err(StoreError::StillLives { id: job.id.clone(), state: job.state });
            }
        }
        self.delete(&keys, now)
    }

    pub(super) fn prune(&mut self, now: &Now) -> Result<u64, StoreError> {
        let mut outlived: Vec<(Timestamp, JobKey)> = self
            .jobs
            .values()
            .filter_map(|record| {
                let finished_at = record.job.finished_at?;
                if self.is_spared(record.job.key, now) {
                    return None;
                }
                let retention = match record.job.state {
                    State::Dead => self.settings.retention_dead,
                    _ => self.settings.retention_completed,
                };
                (now.wall.since(finished_at) >= retention?).then_some((finished_at, record.job.key))
            })
            .collect();
        outlived.sort_unstable();
        outlived.truncate(PRUNE_LEN_MAX);
        let keys: Vec<JobKey> = outlived.into_iter().map(|(_, key)| key).collect();
        self.delete(&keys, now)?;
        let pruned = keys.len() as u64 + self.prune_surplus(now)?;
        self.prune_batches(now);
        Ok(pruned)
    }

    /// Deletes the first of those that are more than are to be kept.
    fn prune_surplus(&mut self, now: &Now) -> Result<u64, StoreError> {
        let (mut done, mut dead): (Vec<_>, Vec<_>) = self
            .jobs
            .values()
            .filter(|record| record.job.state.is_terminal())
            .map(|record| (record.job.finished_at, record.job.key))
            .partition(|(_, key)| self.jobs[key].job.state != State::Dead);
        done.sort_unstable_by_key(|(_, key)| *key);
        dead.sort_unstable();
        let mut surplus = Vec::new();
        let settings = &self.settings;
        for (ended, keep) in
            [(done, settings.retention_completed_count), (dead, settings.retention_dead_count)]
        {
            let keep = keep.map_or(usize::MAX, |keep| usize::try_from(keep).unwrap_or(usize::MAX));
            let more = ended.len().saturating_sub(keep);
            let free =
                ended.into_iter().map(|(_, key)| key).filter(|key| !self.is_spared(*key, now));
            surplus.extend(free.take(more));
        }
        surplus.truncate(PRUNE_LEN_MAX);
        self.delete(&surplus, now)?;
        Ok(surplus.len() as u64)
    }

    /// Whether a job that has ended holds its unique key until its period is over.
    fn is_spared(&self, key: JobKey, now: &Now) -> bool {
        let record = &self.jobs[&key];
        let held = record.unique_until.is_some() && !record.gave_up;
        let lasts = held && record.job.unique_while.contains(&record.job.state);
        lasts && !record.period_is_over(now)
    }

    pub(super) fn expire(&mut self, now: &Now) -> Result<u64, StoreError> {
        let expired: Vec<JobKey> = self
            .jobs
            .values()
            .filter(|record| record.has_expired(now))
            .map(|record| record.job.key)
            .take(EXPIRE_LEN_MAX)
            .collect();
        expired.iter().try_for_each(|key| self.expire_record(*key, now))?;
        expired.iter().try_for_each(|key| self.tell_dependents(*key, now))?;
        Ok(expired.len() as u64)
    }

    /// Cancels a job that has expired.
    pub(super) fn expire_one(&mut self, key: JobKey, now: &Now) -> Result<(), StoreError> {
        self.expire_record(key, now)?;
        self.tell_dependents(key, now)
    }

    fn expire_record(&mut self, key: JobKey, now: &Now) -> Result<(), StoreError> {
        if let Some(record) = self.jobs.get_mut(&key) {
            record.expire(now)?;
        }
        self.note_leftovers(key, None);
        Ok(())
    }

    /// Deletes jobs. What waits for one of them would wait for ever.
    pub(super) fn delete(&mut self, keys: &[JobKey], now: &Now) -> Result<(), StoreError> {
        for key in distinct(keys) {
            let id = self.jobs[&key].job.id.clone();
            let batch = self.jobs[&key].job.batch.clone();
            let state = self.jobs[&key].job.state;
            self.log.deleted(&self.jobs[&key].job, now);
            self.remove(key);
            self.deleted(key, &id, now)?;
            if let Some(batch) = batch {
                self.deleted_from_batch(&batch, state, now)?;
            }
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, queue: &Name, paused: bool) {
        self.queues.entry(queue.clone()).or_default().paused = paused;
    }

    pub(super) fn limit(&mut self, queue: &Name, changes: &[Limit], now: &Now) -> QueueLimits {
        let queue = self.queues.entry(queue.clone()).or_default();
        let mut limits = queue.limits;
        changes.iter().for_each(|&change| limits.set(change));
        queue.limit(limits, now);
        limits
    }

    pub(super) fn change_policy(&mut self, kind: &Name, rules: &[Rule]) -> Policy {
        let mut policy = self.policies.remove(kind).unwrap_or_default();
        rules.iter().for_each(|rule| policy.set(rule.clone()));
        if policy != Policy::default() {
            self.policies.insert(kind.clone(), policy.clone());
        }
        policy
    }

    pub(super) fn change_setting(
        &mut self,
        setting: Setting,
        value: Option<&str>,
    ) -> Result<Settings, StoreError> {
        let default = || Settings::default().get(setting);
        let value = value.map_or_else(default, str::to_owned);
        self.settings.set(setting, &value)?;
        self.log.switch(self.settings.event_log);
        Ok(self.settings.clone())
    }
}

impl Record {
    pub(super) fn cancel(&mut self, remark: &Remark<'_>, now: &Now) -> Result<(), StoreError> {
        // Its worker may have been told the first reason by now.
        if self.job.cancel_reason.is_none() {
            self.job.cancel_reason = Some(remark.text.to_owned());
            self.job.cancelled_by = remark.by.map(str::to_owned);
        }
        if self.job.state == State::Processing {
            self.job.updated_at = now.wall;
            self.log_request(remark, now);
            Ok(())
        } else {
            self.happen(Event::Cancel, now)
        }
    }

    fn run_again(&mut self, now: &Now, delay: Duration) -> Result<(), StoreError> {
        if self.job.state.is_terminal() {
            self.job.attempts = 0;
            (self.job.cancel_reason, self.job.cancelled_by) = (None, None);
            self.job.result = None;
            self.job.progress = None;
        }
        self.delay(delay, now);
        (self.job.expires_at, self.expiry) = (None, None);
        self.happen(Event::Retry, now)
    }
}

/// The keys in the order given, each once.
fn distinct(keys: &[JobKey]) -> Vec<JobKey> {
    let mut seen = BTreeSet::new();
    keys.iter().copied().filter(|key| seen.insert(*key)).collect()
}
