//! The heart: what has finished is settled, then what comes next is claimed.

use queuectl_core::store::{ClaimRequest, Exchanged, Settlement, Verdict};
use queuectl_core::{
    Attempt, Cause, Claimed, Event, JobKey, Report, State, StoreError, Token, WorkerKey,
};

use super::data::{Data, Now, Record};

impl Data {
    pub(super) fn exchange(
        &mut self,
        settle: &[Settlement],
        claim: Option<&ClaimRequest<'_>>,
        now: &Now,
    ) -> Result<Exchanged, StoreError> {
        let mut done = Exchanged::default();
        for settlement in settle {
            if !self.settle(settlement, now)? {
                done.refused.push(settlement.lease);
            }
        }
        if let Some(request) = claim {
            self.promote(now);
            let aging = self.settings.aging;
            // Jobs that are freed by others that expire meanwhile are for the next claim.
            let mut fitting: Vec<_> =
                self.claimable(request, now).map(|record| record.rank(aging)).collect();
            fitting.sort_unstable();
            self.claim(request.workers, fitting, now, &mut done)?;
            let due = self.waiting().filter_map(|record| record.wait(now));
            let may_claim =
                |(worker, wanted): &(WorkerKey, usize)| *wanted > 0 && self.may_claim(*worker);
            let starts = request.workers.iter().any(may_claim).then(|| {
                let ready = self.claimable(request, now);
                ready.filter_map(|record| self.wait_for_rate(&record.job, now)).min()
            });
            done.next_due = due.chain(starts.flatten()).min();
        }
        Ok(done)
    }

    /// Whether the settlement took effect.
    pub(super) fn settle(
        &mut self,
        settlement: &Settlement,
        now: &Now,
    ) -> Result<bool, StoreError> {
        let Some(record) = self.held_by(settlement.lease) else {
            return Ok(false);
        };
        let event = record.settling_event(&settlement.verdict);
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.started_at = settlement.started_at;
        }
        record.job.started_at = Some(settlement.started_at);
        let report = match &settlement.report {
            Some(report) => report.as_ref().clone(),
            None => Report::new(usual_cause(event)),
        };
        let said = report.error.clone();
        if settlement.verdict == Verdict::Release && settlement.report.is_none() {
            // It never began, and leaves no record.
            record.attempts.pop();
        } else {
            record.end_attempt(report, now);
        }
        record.lost_from =
            settlement.leftovers.then(|| record.lost_from.unwrap_or(settlement.lease.token));
        match &settlement.verdict {
            Verdict::Complete { result } => {
                record.job.result.clone_from(result);
                // A request to cancel came too late: the job was not cancelled, so there is no
                // reason why it was.
                (record.job.cancel_reason, record.job.cancelled_by) = (None, None);
            }
            // A job that will not run again keeps the time from which it might have.
            Verdict::Fail { retry_in } if event == Event::Fail => record.delay(*retry_in, now),
            Verdict::Fail { .. } => {}
            Verdict::Snooze { wake_in } => {
                record.job.attempts -= 1;
                if event == Event::Snooze {
                    record.delay(*wake_in, now);
                }
            }
            Verdict::Release => record.job.attempts -= 1,
            Verdict::Cancel => {
                record.job.cancel_reason = record.job.cancel_reason.take().or(said);
            }
            Verdict::Die => {}
        }
        record.happen(event, now)?;
        self.comes_back(settlement.lease.key, now);
        self.note_leftovers(settlement.lease.key, None);
        self.tell_dependents(settlement.lease.key, now)?;
        Ok(true)
    }

    /// The jobs that wait for a time or a worker.
    fn waiting(&self) -> impl Iterator<Item = &Record> {
        self.jobs
            .values()
            .filter(|record| matches!(record.job.state, State::Pending | State::Failed))
    }

    /// Remembers which jobs are due, so that a clock that is set back does not take it away again.
    fn promote(&mut self, now: &Now) {
        for record in self.jobs.values_mut() {
            if matches!(record.job.state, State::Pending | State::Failed) {
                record.note_due(now);
            }
        }
    }

    fn may_claim(&self, worker: WorkerKey) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.stopping.is_none())
    }

    /// The jobs that the request is for, if no limit keeps them back.
    fn claimable<'a>(
        &'a self,
        request: &'a ClaimRequest<'_>,
        now: &'a Now,
    ) -> impl Iterator<Item = &'a Record> {
        self.waiting()
            .filter(|record| record.wait(now).is_none())
            .filter(|record| request.kinds.contains(&record.job.kind))
            .filter(|record| request.queues.include(&record.job.queue))
            .filter(|record| self.queues.get(&record.job.queue).is_none_or(|queue| !queue.paused))
    }

    /// Gives out what fits, each job to the first worker that may have it.
    fn claim(
        &mut self,
        workers: &[(WorkerKey, usize)],
        mut fitting: Vec<(i128, JobKey)>,
        now: &Now,
        done: &mut Exchanged,
    ) -> Result<(), StoreError> {
        let mut workers = workers.to_vec();
        workers.retain(|(worker, _)| self.may_claim(*worker));
        while workers.iter().any(|(_, wanted)| *wanted > 0)
            && let Some(next) = self.next(&fitting, now)
        {
            let (_, key) = fitting.remove(next);
            if !matches!(self.jobs[&key].job.state, State::Pending | State::Failed) {
                continue;
            }
            let may_have = |(worker, wanted): &&mut (WorkerKey, usize)| {
                *wanted > 0 && !self.is_kept_back(key, *worker, now)
            };
            let Some((worker, wanted)) = workers.iter_mut().find(may_have) else {
                done.limited = true;
                continue;
            };
            let worker = *worker;
            if self.jobs[&key].has_expired(now) {
                self.expire_one(key, now)?;
            } else if let Some(record) = self.jobs.get_mut(&key) {
                *wanted -= 1;
                let mut claimed = record.claim(worker, now)?;
                if let Some(policy) = self.policies.get(&claimed.kind) {
                    claimed.timeout = claimed.timeout.or(policy.timeout);
                    claimed.backoff = claimed.backoff.or_else(|| policy.backoff.clone());
                }
                done.claimed.push(claimed);
                let queue = record.job.queue.clone();
                self.queues.entry(queue.clone()).or_default().started(now);
                self.given(&queue);
            }
        }
        Ok(())
    }
}

impl Record {
    fn claim(&mut self, worker: WorkerKey, now: &Now) -> Result<Claimed, StoreError> {
        let job = &mut self.job;
        self.gave_up |= !job.unique_while.contains(&State::Processing);
        job.token = Token(job.token.0 + 1);
        job.attempts += 1;
        job.worker = Some(worker);
        job.started_at = Some(now.wall);
        self.happen(Event::Claim, now)?;
        self.attempts.push(Attempt {
            token: self.job.token,
            number: self.job.attempts,
            worker: Some(worker),
            started_at: now.wall,
            finished_at: None,
            report: None,
        });
        let lease = self.lease();
        let job = &self.job;
        let mut claimed = Claimed::new(
            lease,
            worker,
            job.id.clone(),
            job.queue.clone(),
            job.kind.clone(),
            job.payload.clone(),
        );
        claimed.attempt = job.attempts;
        claimed.max_attempts = job.max_attempts;
        claimed.timeout = job.timeout;
        claimed.backoff.clone_from(&job.backoff);
        claimed.lost_from = self.lost_from;
        Ok(claimed)
    }

    /// What the verdict means for this job: without an attempt left a failure is the last one, and
    /// of a job that is to be cancelled only completion is stronger.
    fn settling_event(&self, verdict: &Verdict) -> Event {
        match verdict {
            Verdict::Complete { .. } => Event::Complete,
            Verdict::Cancel => Event::Cancel,
            _ if self.job.cancel_reason.is_some() => Event::Cancel,
            Verdict::Fail { .. } if self.job.attempts < self.job.max_attempts => Event::Fail,
            Verdict::Fail { .. } | Verdict::Die => Event::Exhaust,
            Verdict::Snooze { .. } => Event::Snooze,
            Verdict::Release => Event::Release,
        }
    }
}

/// The cause of an attempt that was settled without a report.
fn usual_cause(event: Event) -> Cause {
    match event {
        Event::Complete => Cause::Succeeded,
        Event::Cancel => Cause::Cancelled,
        Event::Snooze => Cause::Snoozed,
        Event::Release => Cause::Interrupted,
        _ => Cause::Failed,
    }
}
