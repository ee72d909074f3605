//! What can be seen. Nothing here changes anything.

use std::collections::BTreeMap;

use queuectl_core::store::{JobQuery, LaneCounts, QueueInfo, Sort, WorkerInfo};
use queuectl_core::{
    After, AfterBatch, Attempt, Job, JobId, JobKey, Name, Needs, Otherwise, State,
};

use super::data::{Data, Now, Record};
use super::limits::Queue;

impl Data {
    pub(super) fn job(&self, id: &JobId) -> Option<Job> {
        Some(self.shown(self.jobs.get(&self.find(id)?)?))
    }

    fn shown(&self, record: &Record) -> Job {
        let waits_for = record
            .parents
            .iter()
            .filter(|(_, parent)| !parent.lost)
            .filter_map(|(key, parent)| {
                Some(After { job: self.jobs.get(key)?.job.id.clone(), on: parent.on })
            })
            .collect();
        let job = record.job.clone();
        match job.state {
            State::Blocked => {
                let open = record.batches.iter().filter(|(_, parent)| !parent.lost);
                let waits_for_batches =
                    open.map(|(batch, one)| AfterBatch { batch: batch.clone(), on: one.on });
                Job { waits_for, waits_for_batches: waits_for_batches.collect(), ..job }
            }
            _ => Job { needs: Needs::All, otherwise: Otherwise::Wait, ..job },
        }
    }

    pub(super) fn jobs(&self, query: &JobQuery) -> Vec<Job> {
        let mut fitting: Vec<&Job> =
            self.jobs.values().map(|record| &record.job).filter(|job| fits(job, query)).collect();
        fitting.sort_by(|a, b| {
            let order = sort_key(a, query.sort).cmp(&sort_key(b, query.sort));
            if query.ascending { order } else { order.reverse() }
        });
        fitting.into_iter().take(query.limit).map(|job| self.shown(&self.jobs[&job.key])).collect()
    }

    pub(super) fn attempts(&self, job: JobKey) -> Vec<Attempt> {
        self.jobs.get(&job).map(|record| record.attempts.clone()).unwrap_or_default()
    }

    pub(super) fn counts(&self) -> Vec<LaneCounts> {
        let mut lanes: BTreeMap<(&Name, &Name), [u64; State::ALL.len()]> = BTreeMap::new();
        for Record { job, .. } in self.jobs.values() {
            let lane = lanes.entry((&job.queue, &job.kind)).or_default();
            for (count, state) in lane.iter_mut().zip(State::ALL) {
                *count += u64::from(job.state == state);
            }
        }
        lanes
            .into_iter()
            .map(|((queue, kind), by_state)| LaneCounts {
                queue: queue.clone(),
                kind: kind.clone(),
                by_state,
            })
            .collect()
    }

    pub(super) fn queues(&self) -> Vec<QueueInfo> {
        let info = |(name, queue): (&Name, &Queue)| QueueInfo {
            name: name.clone(),
            paused: queue.paused,
            limits: queue.limits,
            weight: queue.weight,
        };
        self.queues.iter().map(info).collect()
    }

    pub(super) fn workers(&self, now: &Now) -> Vec<WorkerInfo> {
        self.workers
            .iter()
            .map(|(&key, worker)| WorkerInfo {
                key,
                process: worker.process.clone(),
                pid: std::process::id(),
                host: "memory".to_owned(),
                started_at: worker.started_at,
                lease_left: if worker.boot_id == now.boot_id {
                    worker.lease_ends.since(now.boot)
                } else {
                    std::time::Duration::ZERO
                },
                dead: worker.process_gone || worker.boot_id != now.boot_id,
                stopping: worker.stopping,
                log: worker.log.clone(),
                running: self
                    .jobs
                    .values()
                    .map(|record| &record.job)
                    .filter(|job| job.worker == Some(key))
                    .filter_map(|job| Some((job.id.clone(), job.started_at?)))
                    .collect(),
            })
            .collect()
    }
}

fn fits(job: &Job, query: &JobQuery) -> bool {
    let all_or = |wanted: Option<&Name>, name: &Name| wanted.is_none_or(|wanted| wanted == name);
    (query.states.is_empty() || query.states.contains(&job.state))
        && all_or(query.queue.as_ref(), &job.queue)
        && all_or(query.kind.as_ref(), &job.kind)
        && query.tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
        && query.failure.is_none_or(|failure| job.failure == Some(failure))
        && query.created_before.is_none_or(|end| job.created_at < end)
        && query.created_after.is_none_or(|start| job.created_at >= start)
        && query.from.is_none_or(
            |from| {
                if query.ascending { job.key > from } else { job.key < from }
            },
        )
}

/// What a job is sorted by; its key decides between equals, and is the order of enqueueing.
fn sort_key(job: &Job, sort: Sort) -> (i64, JobKey) {
    let by = match sort {
        Sort::Created => 0,
        Sort::Updated => job.updated_at.as_millis(),
        Sort::RunAt => job.run_at.as_millis(),
        Sort::Priority => i64::from(job.priority),
        Sort::Attempts => i64::from(job.attempts),
    };
    (by, job.key)
}
