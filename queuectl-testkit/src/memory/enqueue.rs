//! Adding jobs: all or none.

use std::collections::BTreeMap;

use queuectl_core::store::{Enqueued, Rescued};
use queuectl_core::{
    After, BATCH_LEN_MAX, CHOSEN_KEY_MAX, Expiry, Job, JobId, JobKey, Lease, NewJob, Start, State,
    StoreError, Token,
};

use super::data::{Data, Due, Now, Parent, Record};

/// What was there before a call that may still fail has ended a job that had expired, and with it, maybe,
/// others.
struct Before {
    jobs: BTreeMap<JobKey, Record>,
    leftovers: BTreeMap<Lease, (Rescued, Option<String>)>,
}

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
        let mut added: Vec<Enqueued> = Vec::with_capacity(jobs.len());
        let mut before = None;
        for job in jobs {
            match self.enqueue_one(job, &mut before, now) {
                Ok(one) => added.push(one),
                Err(error) => {
                    let undone = || added.iter().filter(|one| one.created).map(|one| one.key);
                    undone().for_each(|key| self.remove(key));
                    if let Some(Before { jobs, leftovers }) = before {
                        (self.jobs, self.leftovers) = (jobs, leftovers);
                        self.jobs.retain(|key, _| !undone().any(|undone| undone == *key));
                    }
                    self.last_key = last_key;
                    return Err(error);
                }
            }
        }
        for (job, _) in jobs.iter().zip(&added).filter(|(_, one)| one.created) {
            self.queues.entry(job.queue.clone()).or_default();
        }
        Ok(added)
    }

    /// What was there before it ends others is put into `before`.
    fn enqueue_one(
        &mut self,
        new: &NewJob,
        before: &mut Option<Before>,
        now: &Now,
    ) -> Result<Enqueued, StoreError> {
        // Before the id is looked at: a call that is repeated because its outcome is unknown may
        // have both, and is answered with the job that it made.
        let living = new.unique_key.as_deref().and_then(|key| self.living(key));
        if let Some(living) = living {
            let answer = Enqueued { id: living.id.clone(), key: living.key, created: false };
            if !self.jobs[&answer.key].has_expired(now) {
                return Ok(answer);
            }
            before.get_or_insert_with(|| Before {
                jobs: self.jobs.clone(),
                leftovers: self.leftovers.clone(),
            });
            self.expire_one(answer.key, now)?;
        }
        let (key, id) = self.identify(new)?;
        let record = self.record(new, key, id.clone(), now)?;
        if let JobId::Chosen(name) = &id {
            self.chosen.insert(name.clone(), key);
        }
        self.jobs.insert(key, record);
        self.last_key = self.last_key.max(key.0);
        self.look_at_parents(key, None, now)?;
        Ok(Enqueued { id, key, created: true })
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
        let retries = new.max_retries.unwrap_or(self.settings.max_retries);
        let job = Job {
            key,
            id,
            queue: new.queue.clone(),
            kind: new.kind.clone(),
            payload: new.payload.clone(),
            state: if new.after.is_empty() { State::Pending } else { State::Blocked },
            priority: new.priority,
            run_at: now.wall,
            expires_at: None,
            created_at: now.wall,
            updated_at: now.wall,
            started_at: None,
            finished_at: None,
            attempts: 0,
            max_attempts: retries.saturating_add(1),
            token: Token(0),
            worker: None,
            timeout: new.timeout,
            backoff: new.backoff.clone(),
            unique_key: new.unique_key.clone(),
            concurrency_key: new.concurrency_key.clone(),
            tags: new.tags.clone(),
            waits_for: Vec::new(),
            needs: new.needs,
            otherwise: new.otherwise,
            cancel_reason: None,
            last_error: None,
            result: None,
            progress: None,
        };
        let mut record = Record {
            job,
            due: Due::Reached,
            expiry: None,
            parents,
            attempts: Vec::new(),
            lost_from: None,
            begun: None,
        };
        match new.start {
            Start::Now => {}
            Start::In(delay) => record.delay(delay, now),
            Start::At(moment) => {
                record.job.run_at = moment;
                if moment > now.wall {
                    record.due = Due::AtWall;
                }
            }
        }
        match new.expiry {
            None => {}
            Some(Expiry::In(time)) => {
                record.job.expires_at = Some(now.wall + time);
                record.expiry = Some(Due::AtBoot(now.boot + time, now.boot_id.clone()));
            }
            Some(Expiry::At(moment)) => {
                record.job.expires_at = Some(moment);
                record.expiry = Some(Due::AtWall);
            }
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
