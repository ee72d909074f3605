//! The model's dead jobs: how they failed, what is done to many of them, and what was noted about jobs.

use std::cmp::Reverse;
use std::time::Duration;

use queuectl_core::{Failure, Fingerprint, Name as Text, Report, State};

use super::seen::{Answer, Refusal, SeenGroup, SeenNote};
use super::step::{KINDS, Remedy};
use super::world::{Job, World};

impl World {
    pub(super) fn retry_with(&mut self, named: u32, payload: u8, text: u8) -> Answer {
        let answer = self.retry(&[named]);
        let job = self.find(self.id_of(named));
        if let (Answer::Done, Some(job)) = (&answer, job.and_then(|job| self.jobs.get_mut(&job))) {
            let payload = Some(std::mem::replace(&mut job.payload, payload));
            job.notes.push(SeenNote { at: self.wall, text, payload });
            self.events.insert("a payload that was edited");
        }
        answer
    }

    pub(super) fn note(&mut self, named: u32, text: u8) -> Answer {
        let job = self.find(self.id_of(named));
        let Some(job) = job.and_then(|job| self.jobs.get_mut(&job)) else {
            return Answer::Refused(vec![Refusal::NotFound]);
        };
        job.notes.push(SeenNote { at: self.wall, text, payload: None });
        self.events.insert("a note");
        Answer::Done
    }

    /// A whole sweep: one call after the other.
    pub(super) fn sweep(&mut self, like: Option<u32>, remedy: Remedy) -> Answer {
        let failure = |job: u32| self.jobs.get(&job).and_then(Job::failure);
        let alike = like.map(failure);
        let mut dead: Vec<(Option<i64>, u32)> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == State::Dead)
            .filter(|(_, job)| alike.is_none_or(|alike| alike == job.failure()))
            .map(|(number, job)| (job.finished_at, *number))
            .collect();
        dead.sort_unstable();
        let (mut done, mut kept) = (0, 0);
        for (_, number) in dead {
            match remedy {
                Remedy::Purge => self.delete(&[number]),
                Remedy::Retry(gap) => {
                    let delay = gap.unwrap_or_default() * done;
                    if !self.retry_one(number, delay) {
                        self.events.insert("a dead job that a sweep passed over");
                        kept += 1;
                        continue;
                    }
                }
            }
            self.events.insert(match remedy {
                Remedy::Purge => "a dead job that a sweep deleted",
                Remedy::Retry(None) => "a dead job that a sweep retried",
                Remedy::Retry(_) => "a dead job that a sweep gave a turn",
            });
            done += 1;
        }
        Answer::Swept(done, kept)
    }

    pub(super) fn groups(&self) -> Vec<SeenGroup> {
        let mut groups: Vec<SeenGroup> = Vec::new();
        for (number, job) in &self.jobs {
            let Some((failure, at)) = job.failure().zip(job.finished_at) else {
                continue;
            };
            match groups.iter_mut().find(|group| group.failure == failure) {
                Some(group) => {
                    group.count += 1;
                    group.oldest_at = group.oldest_at.min(at);
                    group.newest = group.newest.max((at, *number));
                }
                None => groups.push(SeenGroup {
                    failure,
                    count: 1,
                    oldest_at: at,
                    newest: (at, *number),
                }),
            }
        }
        groups.sort_by_key(|group| (Reverse(group.count), group.failure));
        groups
    }
}

impl Job {
    /// In which way it failed, if it is dead.
    pub(super) fn failure(&self) -> Option<Fingerprint> {
        let cause = self.history.last()?.cause.filter(|_| self.state == State::Dead)?;
        let report = Report { error: self.error.clone(), ..Report::new(cause) };
        let kind = Text::new(KINDS[self.kind]).expect("a name");
        Some(Failure::of(&kind, &report).fingerprint())
    }
}

/// The gap between two turns of a sweep.
pub(super) const GAP: Duration = Duration::from_secs(2);
