//! What limits a queue: how many jobs run at a time, in all and of one concurrency key, and how many
//! start in a period.

use std::time::Duration;

use queuectl_core::{
    BootId, BootTime, Job, JobKey, Name, QueueLimits, Rate, State, Weight, WorkerKey,
};

use super::data::{Data, Now};

/// A queue that was ever used.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) paused: bool,
    pub(super) limits: QueueLimits,
    pub(super) weight: Option<Weight>,
    /// How far it has come with what it was given, where queues have weights.
    pub(super) pass: i64,
    starts: Vec<Start>,
}

/// A start that may still count.
#[derive(Debug)]
struct Start {
    /// The end of the step that it was in.
    at: BootTime,
    boot_id: BootId,
}

impl Start {
    /// Since when it counts. After a restart, as if it had been with the machine's start.
    fn since(&self, now: &Now) -> BootTime {
        if self.boot_id == now.boot_id { self.at } else { BootTime::from_millis(0) }
    }
}

impl Queue {
    /// Notes that a job was claimed.
    pub(super) fn started(&mut self, now: &Now) {
        let Some(rate) = self.limits.rate else { return };
        let step = rate.step().as_millis() as i64;
        let now_ms = now.boot.as_millis();
        let at = BootTime::from_millis(now_ms - now_ms.rem_euclid(step) + step);
        self.forget_starts(rate, now);
        self.starts.push(Start { at, boot_id: now.boot_id.clone() });
    }

    pub(super) fn limit(&mut self, limits: QueueLimits, now: &Now) {
        match (self.limits.rate, limits.rate) {
            (_, None) => self.starts.clear(),
            // What did not count any more does not count again if the new period is longer.
            (Some(old), _) => self.forget_starts(old, now),
            _ => {}
        }
        self.limits = limits;
    }

    /// Forgets what has left the period.
    fn forget_starts(&mut self, rate: Rate, now: &Now) {
        self.starts.retain(|start| start.since(now) + rate.period() > now.boot);
    }

    /// How long until the rate allows another start; zero if it does now.
    pub(super) fn next_start(&self, now: &Now) -> Duration {
        let Some(rate) = self.limits.rate else { return Duration::ZERO };
        let mut counting: Vec<Duration> = self.counting(rate, now).collect();
        if (counting.len() as u64) < u64::from(rate.starts().get()) {
            return Duration::ZERO;
        }
        counting.sort_unstable();
        counting.first().copied().unwrap_or_default()
    }

    fn counting(&self, rate: Rate, now: &Now) -> impl Iterator<Item = Duration> {
        let end = move |start: &Start| start.since(now) + rate.period();
        let left = self.starts.iter().map(move |start| end(start).since(now.boot));
        left.filter(|left| !left.is_zero())
    }
}

impl Data {
    /// Whether a limit keeps a job from a worker.
    pub(super) fn is_kept_back(&self, job: JobKey, worker: WorkerKey, now: &Now) -> bool {
        let Some(job) = self.jobs.get(&job).map(|record| &record.job) else { return false };
        let Some(queue) = self.queues.get(&job.queue) else { return false };
        let full = queue.limits.concurrency.is_some_and(|limit| {
            self.processing(&job.queue).count() >= limit.get() as usize
                || self.processing(&job.queue).any(|other| other.worker == Some(worker))
        });
        full || self.is_kept_by_key(job, queue) || !queue.next_start(now).is_zero()
    }

    /// How long the rate keeps back a job that its key does not.
    pub(super) fn wait_for_rate(&self, job: &Job, now: &Now) -> Option<Duration> {
        let queue = self.queues.get(&job.queue)?;
        let wait = queue.next_start(now);
        (!wait.is_zero() && !self.is_kept_by_key(job, queue)).then_some(wait)
    }

    fn is_kept_by_key(&self, job: &Job, queue: &Queue) -> bool {
        let same_key = |other: &&Job| other.concurrency_key == job.concurrency_key;
        job.concurrency_key.is_some()
            && self.processing(&job.queue).filter(same_key).count()
                >= queue.limits.per_key().get() as usize
    }

    fn processing<'a>(&'a self, queue: &'a Name) -> impl Iterator<Item = &'a Job> {
        let jobs = self.jobs.values().map(|record| &record.job);
        jobs.filter(move |job| job.state == State::Processing && job.queue == *queue)
    }
}
