//! Adding jobs: all or none.

use std::collections::BTreeMap;

use queuectl_core::store::{Enqueued, Rescued};
use queuectl_core::{
    After, BATCH_LEN_MAX, CHOSEN_KEY_MAX, Expiry, Job, JobId, JobKey, Lease, NewJob, OnConflict,
    Start, State, StoreError, Token, UniqueScope,
};

use super::data::{Data, Due, Now, Parent, Record};

/// The jobs, and what they have left, as they were before a call that may still fail changed any.
type Before = Option<(BTreeMap<JobKey, Record>, BTreeMap<Lease, (Rescued, Option<String>)>)>;

impl Data {
    pub(super) fn enqueue(
        &mut self,
        jobs: &[NewJob],
        now: &Now,
    ) -> Result<Vec<Enqueued>, StoreError> {
        if jobs.len() > BATCH_LEN_MAX {
            return Err(StoreError::BatchTooLarge { len: jobs.len() });
        }
        let last_key = self.last_key;
        let batches = (self.batches.clone(), self.last_batch);
        let mut added: Vec<Enqueued> = Vec::with_capacity(jobs.len());
        // One that is cancelled at once may end its batch, and that others.
        let in_batch = jobs.iter().any(|job| job.batch.is_some());
        let mut before = in_batch.then(|| (self.jobs.clone(), self.leftovers.clone()));
        for job in jobs {
            match self.enqueue_one(job, &mut before, now) {
                Ok(one) => added.push(one),
                Err(error) => {
                    let created = || added.iter().filter(|one| one.created).map(|one| one.key);
                    created().for_each(|key| self.remove(key));
                    if let Some((jobs, leftovers)) = before {
                        (self.jobs, self.leftovers) = (jobs, leftovers);
                        created().for_each(|key| self.remove(key));
                    }
                    self.last_key = last_key;
                    (self.batches, self.last_batch) = batches;
                    return Err(error);
                }
            }
        }
        for (job, _) in jobs.iter().zip(&added).filter(|(_, one)| one.created) {
            self.queues.entry(job.queue.clone()).or_default();
        }
        Ok(added)
    }

    /// What was there before this job changes anything is put into `before`.
    fn enqueue_one(
        &mut self,
        new: &NewJob,
        before: &mut Before,
        now: &Now,
    ) -> Result<Enqueued, StoreError> {
        // Before the id is looked at: a call that is repeated because its outcome is unknown may
        // have both, and is answered with the job that it made.
        if let Some(unique_key) = new.unique_key.as_deref()
            && let Some(answer) = self.instead(new, unique_key, before, now)?
        {
            return Ok(answer);
        }
        let (key, id) = self.identify(new)?;
        let record = self.record(new, key, id.clone(), now)?;
        if let Some(batch) = &new.batch {
            self.join(batch, now)?;
        }
        if let JobId::Chosen(name) = &id {
            self.chosen.insert(name.clone(), key);
        }
        self.log.added(&record.job, now);
        self.jobs.insert(key, record);
        self.last_key = self.last_key.max(key.0);
        self.look_at_parents(key, now)?;
        self.log.started(key);
        if let Some(batch) = &new.batch
            && !self.may_join(batch, key)
        {
            self.remove(key);
            return Err(StoreError::BatchClosed(batch.clone()));
        }
        Ok(Enqueued { id, key, created: true, changed: false })
    }

    /// The answer for the job that holds the key, if one does.
    fn instead(
        &mut self,
        new: &NewJob,
        unique_key: &str,
        before: &mut Before,
        now: &Now,
    ) -> Result<Option<Enqueued>, StoreError> {
        if before.is_none() && self.last_holder(unique_key).is_some() {
            *before = Some((self.jobs.clone(), self.leftovers.clone()));
        }
        let Some(mut key) = self.holder(unique_key, now) else {
            return Ok(None);
        };
        if self.jobs[&key].has_expired(now) {
            self.expire_one(key, now)?;
            match self.holder(unique_key, now) {
                Some(cancelled) => key = cancelled,
                None => return Ok(None),
            }
        }
        let changed = self.jobs.get_mut(&key).is_some_and(|record| record.change(new, now));
        let id = self.jobs[&key].job.id.clone();
        Ok(Some(Enqueued { id, key, created: false, changed }))
    }

    /// The number and the id of a new job.
    fn identify(&self, new: &NewJob) -> Result<(JobKey, JobId), StoreError> {
        let next = JobKey(self.last_key + 1);
        match &new.id {
            None => Ok((next, JobId::Auto(next))),
            Some(id @ JobId::Auto(key)) if !(1..=CHOSEN_KEY_MAX).contains(&key.0) => {
                Err(StoreError::NumberOutOfRange(id.clone()))
            }
            Some(id) if self.find(id).is_some() => Err(StoreError::DuplicateId(id.clone())),
            Some(id @ JobId::Auto(key)) if key.0 <= self.last_key => {
                Err(StoreError::NumberGiven(id.clone()))
            }
            Some(JobId::Auto(key)) => Ok((*key, JobId::Auto(*key))),
            Some(id @ JobId::Chosen(_)) => Ok((next, id.clone())),
        }
    }

    fn record(
        &self,
        new: &NewJob,
        key: JobKey,
        id: JobId,
        now: &Now,
    ) -> Result<Record, StoreError> {
        let parents = self.parents(new)?;
        let batches = self.parent_batches(new)?;
        let of_kind = self.policies.get(&new.kind).and_then(|policy| policy.max_retries);
        let retries = new.max_retries.or(of_kind).unwrap_or(self.settings.max_retries);
        let job = Job {
            key,
            id,
            queue: new.queue.clone(),
            kind: new.kind.clone(),
            payload: new.payload.clone(),
            state: match (new.after.as_slice(), new.after_batches.as_slice()) {
                ([], []) => State::Pending,
                _ => State::Blocked,
            },
            priority: new.priority,
            run_at: now.wall,
            expires_at: None,
            created_at: now.wall,
            updated_at: now.wall,
            started_at: None,
            finished_at: None,
            attempts: 0,
            max_attempts: retries.saturating_add(1),
            max_crashes: new.max_crashes,
            token: Token(0),
            worker: None,
            timeout: new.timeout,
            backoff: new.backoff.clone(),
            unique_key: new.unique_key.clone(),
            unique_while: match &new.unique_key {
                Some(_) => new.unique_scope.states().collect(),
                None => Vec::new(),
            },
            unique_until: None,
            concurrency_key: new.concurrency_key.clone(),
            tags: new.tags.clone(),
            batch: new.batch.clone(),
            waits_for: Vec::new(),
            waits_for_batches: Vec::new(),
            needs: new.needs,
            otherwise: new.otherwise,
            cancel_reason: None,
            cancelled_by: None,
            last_error: None,
            result: None,
            failure: None,
            progress: None,
        };
        let mut record = Record {
            job,
            due: Due::Reached,
            expiry: None,
            unique_until: None,
            gave_up: false,
            parents,
            batches,
            attempts: Vec::new(),
            notes: Vec::new(),
            lost_from: None,
            begun: None,
            log: self.log.clone(),
        };
        record.start(new.start, now);
        record.expire_later(new.expiry, now);
        if let (Some(_), UniqueScope::For(period)) = (&new.unique_key, &new.unique_scope) {
            record.job.unique_until = Some(now.wall + *period);
            record.unique_until = Some(Due::AtBoot(now.boot + *period, now.boot_id.clone()));
        }
        Ok(record)
    }

    /// The jobs that a new one is to wait for. One that is named twice counts once, as it was named
    /// first.
    fn parents(&self, new: &NewJob) -> Result<BTreeMap<JobKey, Parent>, StoreError> {
        let mut parents = BTreeMap::new();
        for After { job: id, on } in &new.after {
            if new.id.as_ref() == Some(id) {
                return Err(StoreError::Cycle(id.clone()));
            }
            let parent = self.find(id).ok_or_else(|| StoreError::NotFound(id.clone()))?;
            parents.entry(parent).or_insert(Parent { on: *on, lost: false });
        }
        Ok(parents)
    }

    /// Forgets a job and its history.
    pub(super) fn remove(&mut self, key: JobKey) {
        if let Some(Record { job, .. }) = self.jobs.remove(&key)
            && let JobId::Chosen(name) = job.id
        {
            self.chosen.remove(&name);
        }
    }
}

impl Record {
    /// Lets the job start when it is asked for.
    fn start(&mut self, start: Start, now: &Now) {
        (self.job.run_at, self.due) = (now.wall, Due::Reached);
        match start {
            Start::Now => {}
            Start::In(delay) => self.delay(delay, now),
            Start::At(moment) => {
                self.job.run_at = moment;
                if moment > now.wall {
                    self.due = Due::AtWall;
                }
            }
        }
    }

    /// Lets the job expire when it is asked for; without that, nothing changes.
    fn expire_later(&mut self, expiry: Option<Expiry>, now: &Now) {
        match expiry {
            None => {}
            Some(Expiry::In(time)) => {
                self.job.expires_at = Some(now.wall + time);
                self.expiry = Some(Due::AtBoot(now.boot + time, now.boot_id.clone()));
            }
            Some(Expiry::At(moment)) => {
                self.job.expires_at = Some(moment);
                self.expiry = Some(Due::AtWall);
            }
        }
    }

    /// Does what a new job with this one's key asks for, if it still can be done; whether it did.
    fn change(&mut self, new: &NewJob, now: &Now) -> bool {
        let fresh = matches!(self.job.state, State::Pending | State::Blocked)
            && self.job.attempts == 0
            && self.job.kind == new.kind;
        if !fresh || new.on_conflict == OnConflict::Keep {
            return false;
        }
        if new.on_conflict.replaces() {
            self.job.payload = new.payload.clone();
        }
        if new.on_conflict.moves() {
            self.start(new.start, now);
            self.expire_later(new.expiry, now);
        }
        self.job.updated_at = now.wall;
        true
    }
}
