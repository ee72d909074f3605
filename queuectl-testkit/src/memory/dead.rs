//! What people do to many dead jobs at a time, and what they note about jobs.

use queuectl_core::store::{FailureGroup, Remark, Remedy, Sweep, Swept};
use queuectl_core::{Failure, JobId, JobKey, Json, Note, State, StoreError, Timestamp};

use super::data::{Data, Now, Record};

/// How many jobs one call of a sweep comes to.
const SWEEP_LEN: usize = 100;

impl Data {
    pub(super) fn retry_with(
        &mut self,
        id: &JobId,
        payload: &Json,
        remark: &Remark<'_>,
        now: &Now,
    ) -> Result<(), StoreError> {
        self.retry(std::slice::from_ref(id), now)?;
        let key = self.find_all(std::slice::from_ref(id))?[0];
        if let Some(record) = self.jobs.get_mut(&key) {
            let old = std::mem::replace(&mut record.job.payload, payload.clone());
            record.notes.push(Note { payload: Some(old), ..noted(remark, now) });
        }
        Ok(())
    }

    pub(super) fn note_job(
        &mut self,
        id: &JobId,
        remark: &Remark<'_>,
        now: &Now,
    ) -> Result<(), StoreError> {
        let key = self.find_all(std::slice::from_ref(id))?[0];
        if let Some(record) = self.jobs.get_mut(&key) {
            record.notes.push(noted(remark, now));
        }
        Ok(())
    }

    pub(super) fn notes(&self, job: JobKey) -> Vec<Note> {
        self.jobs.get(&job).map(|record| record.notes.clone()).unwrap_or_default()
    }

    pub(super) fn sweep(&mut self, sweep: &Sweep, now: &Now) -> Result<Swept, StoreError> {
        let alike =
            |record: &&Record| sweep.alike.is_none_or(|one| record.job.failure == Some(one));
        let mut dead: Vec<(Timestamp, JobKey)> =
            self.dead().filter(alike).filter_map(died).collect();
        dead.sort_unstable();
        let Some(until) = sweep.until.or(dead.last().map(|(at, _)| *at)) else {
            return Ok(Swept::default());
        };
        dead.retain(|place| place.0 <= until && sweep.from.is_none_or(|from| *place > from));
        let left = dead.len() > SWEEP_LEN;
        dead.truncate(SWEEP_LEN);
        let mut swept = Swept::default();
        for (_, key) in &dead {
            let done = match sweep.remedy {
                Remedy::Purge => self.delete(&[*key], now),
                Remedy::Retry(_) => self.retry_one(*key, now, sweep.wait(swept.done)),
            };
            match done {
                Ok(()) => swept.done += 1,
                Err(StoreError::UniqueKeyTaken { .. }) => swept.kept += 1,
                Err(error) => return Err(error),
            }
        }
        let (from, turns) = (dead.last().copied(), sweep.turns + swept.done);
        swept.next = left.then(|| Sweep { until: Some(until), from, turns, ..sweep.clone() });
        Ok(swept)
    }

    pub(super) fn failures(&self, limit: usize) -> Vec<FailureGroup> {
        let mut groups: Vec<FailureGroup> = Vec::new();
        let mut dead: Vec<&Record> = self.dead().collect();
        dead.sort_by_key(|record| died(record));
        for record in dead {
            let report = record.attempts.last().and_then(|attempt| attempt.report.as_ref());
            let (Some((at, _)), Some(report)) = (died(record), report) else {
                continue;
            };
            let failure = Failure::of(&record.job.kind, report);
            let exemplar = record.job.id.clone();
            match groups.iter_mut().find(|group| group.failure == failure) {
                Some(group) => {
                    group.count += 1;
                    (group.newest_at, group.exemplar) = (at, exemplar);
                }
                None => groups.push(FailureGroup {
                    failure,
                    count: 1,
                    oldest_at: at,
                    newest_at: at,
                    exemplar,
                }),
            }
        }
        groups.sort_by_key(|group| (std::cmp::Reverse(group.count), group.failure.fingerprint()));
        groups.truncate(limit);
        groups
    }

    fn dead(&self) -> impl Iterator<Item = &Record> {
        self.jobs.values().filter(|record| record.job.state == State::Dead)
    }
}

/// When a job died, and its number.
fn died(record: &Record) -> Option<(Timestamp, JobKey)> {
    Some((record.job.finished_at?, record.job.key))
}

fn noted(remark: &Remark<'_>, now: &Now) -> Note {
    Note {
        at: now.wall,
        by: remark.by.map(str::to_owned),
        text: remark.text.to_owned(),
        payload: None,
    }
}
