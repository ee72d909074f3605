//! The event log: each job says what becomes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use queuectl_core::store::Remark;
use queuectl_core::{Cause, Change, Job, JobEvent, JobKey, Settings, State};

use super::data::{Now, Record};
use super::lock;

/// The log. Every job has a handle on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Log(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    on: bool,
    last: u64,
    events: VecDeque<JobEvent>,
}

/// Where the log stood before a call.
pub(super) struct Mark(u64);

impl Log {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.0)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.kept().last)
    }

    /// The call has failed, and nothing has happened.
    pub(super) fn back_to(&self, mark: &Mark) {
        let mut kept = self.kept();
        kept.last = mark.0;
        kept.events.retain(|event| event.seq <= mark.0);
    }

    /// A call has ended: the oldest are forgotten.
    pub(super) fn trim(&self, settings: &Settings) {
        let mut kept = self.kept();
        let keep = settings.event_log_count.unwrap_or(u64::MAX);
        let first = (kept.last + 1).saturating_sub(keep);
        kept.events.retain(|event| event.seq >= first);
    }

    pub(super) fn switch(&self, on: bool) {
        let mut kept = self.kept();
        kept.on = on;
        if !on {
            kept.events.clear();
        }
    }

    pub(super) fn events(&self, after: u64, limit: usize) -> Vec<JobEvent> {
        let kept = self.kept();
        kept.events.iter().filter(|event| event.seq > after).take(limit).cloned().collect()
    }

    pub(super) fn last(&self) -> u64 {
        self.kept().last
    }

    /// What became of a job; the rest of the entry is for the caller to add.
    fn note(
        &self,
        job: &Job,
        change: Change,
        [from, to]: [Option<State>; 2],
        now: &Now,
        more: impl FnOnce(&mut JobEvent),
    ) {
        let mut kept = self.kept();
        if !kept.on {
            return;
        }
        kept.last += 1;
        let mut event = JobEvent {
            seq: kept.last,
            at: now.wall,
            job: job.key,
            id: job.id.clone(),
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            change,
            from,
            to,
            token: None,
            worker: None,
            cause: None,
            reason: None,
            by: None,
        };
        more(&mut event);
        kept.events.push_back(event);
    }

    pub(super) fn added(&self, job: &Job, now: &Now) {
        self.note(job, Change::Added, [None, Some(job.state)], now, |_| {});
    }

    /// The parents of a new job were looked at. If it has nothing to wait for, it never waited.
    pub(super) fn started(&self, job: JobKey) {
        let mut kept = self.kept();
        let newest = kept.events.back().map(|event| (event.job, event.change));
        if newest == Some((job, Change::Unblocked)) {
            kept.events.pop_back();
            kept.last -= 1;
            if let Some(added) = kept.events.back_mut() {
                added.to = Some(State::Pending);
            }
        }
    }

    pub(super) fn deleted(&self, job: &Job, now: &Now) {
        self.note(job, Change::Deleted, [Some(job.state), None], now, |_| {});
    }
}

impl Record {
    /// The job has moved from a state to the one that it is in.
    pub(super) fn log_move(&self, change: Change, from: State, now: &Now) {
        let job = &self.job;
        self.log.note(job, change, [Some(from), Some(job.state)], now, |event| {
            if from == State::Processing || job.state == State::Processing {
                (event.token, event.worker) = (Some(job.token), job.worker);
            }
            let attempt = self.attempts.last().filter(|one| one.token == job.token);
            let report = attempt.and_then(|attempt| attempt.report.as_ref());
            event.cause = report
                .filter(|_| from == State::Processing)
                .map(|report| report.cause)
                .filter(|cause| *cause != Cause::Succeeded);
            if job.state == State::Cancelled {
                event.reason.clone_from(&job.cancel_reason);
            }
            if change == Change::Cancelled && from != State::Processing {
                event.by.clone_from(&job.cancelled_by);
            }
        });
    }

    pub(super) fn log_request(&self, remark: &Remark<'_>, now: &Now) {
        let job = &self.job;
        let states = [Some(job.state); 2];
        self.log.note(job, Change::CancelRequested, states, now, |event| {
            (event.token, event.worker) = (Some(job.token), job.worker);
            event.reason = Some(remark.text.to_owned());
            event.by = remark.by.map(str::to_owned);
        });
    }
}
