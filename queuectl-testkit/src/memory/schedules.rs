//! Schedules: what is enqueued again and again.

use std::collections::VecDeque;
use std::time::Duration;

use queuectl_core::schedule::{HISTORY_LEN_MAX, Next, ScheduleInfo, TickOutcome, TickRecord};
use queuectl_core::store::{Enqueued, Ticked};
use queuectl_core::{BootId, JobKey, Name, Overlap, Schedule, StoreError, Timestamp};

use super::data::{Data, Now};

/// A schedule and what has become of it.
#[derive(Debug)]
pub(super) struct Kept {
    schedule: Schedule,
    created_at: Timestamp,
    updated_at: Timestamp,
    next: Option<Next>,
    /// The boot whose clock measures the interval.
    boot_id: BootId,
    /// The newest tick that was attended to.
    last: Option<Timestamp>,
    last_job: Option<JobKey>,
    waiting: Option<Timestamp>,
    /// Newest first.
    history: VecDeque<TickRecord>,
}

impl Kept {
    fn begin_after(&mut self, last: Option<Timestamp>, now: &Now) {
        self.next = self.schedule.spec.first(last, now.wall, now.boot);
        self.boot_id = now.boot_id.clone();
    }

    /// When it ticks next, as the clocks are now.
    fn next(&self, now: &Now) -> Option<Next> {
        let same_boot = self.boot_id == now.boot_id;
        self.next.map(|next| Next { boot: next.boot.filter(|_| same_boot), ..next })
    }

    fn note(&mut self, tick: Timestamp, outcome: TickOutcome, now: &Now) {
        self.history.push_front(TickRecord { tick, at: now.wall, outcome });
        self.history.truncate(HISTORY_LEN_MAX);
    }
}

impl Data {
    pub(super) fn put_schedule(&mut self, schedule: &Schedule, now: &Now) -> bool {
        let Some(kept) = self.schedules.get_mut(&schedule.name) else {
            let mut kept = Kept {
                schedule: schedule.clone(),
                created_at: now.wall,
                updated_at: now.wall,
                next: None,
                boot_id: now.boot_id.clone(),
                last: None,
                last_job: None,
                waiting: None,
                history: VecDeque::new(),
            };
            kept.begin_after(None, now);
            self.schedules.insert(schedule.name.clone(), kept);
            return true;
        };
        let paused = kept.schedule.paused || schedule.paused;
        let same = kept.schedule.spec == schedule.spec;
        kept.schedule = schedule.clone().paused(paused);
        kept.updated_at = now.wall;
        if schedule.overlap != Overlap::QueueOne {
            kept.waiting = None;
        }
        if !same {
            kept.begin_after(kept.last, now);
        }
        false
    }

    pub(super) fn schedules(&self) -> Vec<ScheduleInfo> {
        let info = |kept: &Kept| ScheduleInfo {
            schedule: kept.schedule.clone(),
            created_at: kept.created_at,
            updated_at: kept.updated_at,
            next: kept.next.map(|next| next.at).filter(|_| !kept.schedule.paused),
            waiting: kept.waiting,
            last: kept.history.front().cloned(),
        };
        self.schedules.values().map(info).collect()
    }

    pub(super) fn remove_schedule(&mut self, name: &Name) -> Result<(), StoreError> {
        let removed = self.schedules.remove(name);
        removed.map(drop).ok_or_else(|| StoreError::NoSchedule(name.clone()))
    }

    pub(super) fn pause_schedule(
        &mut self,
        name: &Name,
        paused: bool,
        now: &Now,
    ) -> Result<(), StoreError> {
        let kept = self.schedules.get_mut(name);
        let kept = kept.ok_or_else(|| StoreError::NoSchedule(name.clone()))?;
        if kept.schedule.paused != paused {
            kept.schedule.paused = paused;
            kept.updated_at = now.wall;
            if !paused {
                kept.begin_after(kept.last, now);
            }
        }
        Ok(())
    }

    pub(super) fn run_schedule(&mut self, name: &Name, now: &Now) -> Result<Enqueued, StoreError> {
        let job = self.make(name, now)?;
        let outcome = match job.created {
            true => TickOutcome::ByHand(job.id.clone()),
            false => TickOutcome::Exists(job.id.clone()),
        };
        self.note(name, now.wall, outcome, now);
        Ok(job)
    }

    pub(super) fn ticks(&self, name: &Name) -> Vec<TickRecord> {
        let kept = self.schedules.get(name);
        kept.map(|kept| kept.history.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn tick(&mut self, now: &Now) -> Result<Ticked, StoreError> {
        let mut ticked = Ticked::default();
        let names: Vec<Name> = self.schedules.keys().cloned().collect();
        for name in names {
            let noted = self.tick_one(&name, now)?;
            ticked.ticks.extend(noted.into_iter().map(|record| (name.clone(), record)));
        }
        let waits = self.schedules.values().filter(|kept| !kept.schedule.paused);
        let waits = waits.filter_map(|kept| Some(kept.next(now)?.wait(now.wall, now.boot)));
        // What is due still is of a time zone that is not known here.
        ticked.next_due = waits.filter(|wait| *wait > Duration::ZERO).min();
        Ok(ticked)
    }

    fn tick_one(&mut self, name: &Name, now: &Now) -> Result<Vec<TickRecord>, StoreError> {
        let mut noted = Vec::new();
        let kept = &self.schedules[name];
        if kept.schedule.paused {
            return Ok(noted);
        }
        let (overlap, missed) = (kept.schedule.overlap, kept.schedule.missed);
        let due = kept
            .next(now)
            .and_then(|next| kept.schedule.spec.due(next, missed, now.wall, now.boot));
        if let Some(tick) = kept.waiting
            && !self.lives(name)
        {
            self.set_waiting(name, None);
            noted.push(self.tick_makes(name, tick, now)?);
        }
        let Some(due) = due else {
            return Ok(noted);
        };
        if let Some((first, until)) = due.missed {
            noted.push(self.note(name, first, TickOutcome::Missed { until }, now));
        }
        for &tick in &due.ticks {
            let record = if overlap == Overlap::Allow || !self.lives(name) {
                self.tick_makes(name, tick, now)?
            } else if overlap == Overlap::QueueOne && self.schedules[name].waiting.is_none() {
                self.set_waiting(name, Some(tick));
                self.note(name, tick, TickOutcome::Waits, now)
            } else {
                self.note(name, tick, TickOutcome::Overlapped, now)
            };
            noted.push(record);
        }
        if let Some(kept) = self.schedules.get_mut(name) {
            (kept.next, kept.last) = (due.next, due.last());
            kept.boot_id = now.boot_id.clone();
        }
        Ok(noted)
    }

    fn tick_makes(
        &mut self,
        name: &Name,
        tick: Timestamp,
        now: &Now,
    ) -> Result<TickRecord, StoreError> {
        let job = self.make(name, now)?;
        let outcome = match job.created {
            true => TickOutcome::Enqueued(job.id),
            false => TickOutcome::Exists(job.id),
        };
        Ok(self.note(name, tick, outcome, now))
    }

    fn make(&mut self, name: &Name, now: &Now) -> Result<Enqueued, StoreError> {
        let kept = self.schedules.get(name);
        let kept = kept.ok_or_else(|| StoreError::NoSchedule(name.clone()))?;
        let job = kept.schedule.job.clone();
        let added = self.enqueue(&[job], now)?.remove(0);
        if let Some(kept) = self.schedules.get_mut(name) {
            kept.last_job = Some(added.key);
        }
        Ok(added)
    }

    /// Whether the job that the schedule has made last lives.
    fn lives(&self, name: &Name) -> bool {
        let job = self.schedules[name].last_job.and_then(|key| self.jobs.get(&key));
        job.is_some_and(|record| !record.job.state.is_terminal())
    }

    fn set_waiting(&mut self, name: &Name, tick: Option<Timestamp>) {
        if let Some(kept) = self.schedules.get_mut(name) {
            kept.waiting = tick;
        }
    }

    fn note(
        &mut self,
        name: &Name,
        tick: Timestamp,
        outcome: TickOutcome,
        now: &Now,
    ) -> TickRecord {
        if let Some(kept) = self.schedules.get_mut(name) {
            kept.note(tick, outcome.clone(), now);
        }
        TickRecord { tick, at: now.wall, outcome }
    }
}
