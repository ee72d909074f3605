//! The event log, gone through from entry to entry: it must be one story that the table of
//! transitions allows, and end with what the store has.
//!
//! ```
//! use std::sync::Arc;
//!
//! use queuectl_core::{ManualClock, NewJob, Setting, Store};
//! use queuectl_testkit::MemoryStore;
//! use queuectl_testkit::replay::Replay;
//!
//! let store = MemoryStore::new(Arc::new(ManualClock::new()));
//! store.change_setting(Setting::EventLog, Some("on"))?;
//! store.enqueue(&[NewJob::new("email", "ada@example.org")?])?;
//! let mut replay = Replay::default();
//! assert_eq!(replay.catch_up(&store)?, 1);
//! replay.compare(&store)?;
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

use std::collections::BTreeMap;
use std::error::Error;

use queuectl_core::store::{JobQuery, LaneCounts, Store};
use queuectl_core::{Change, JobEvent, JobId, JobKey, Name, State, Token, transition};

/// How many entries are read at a time.
const PAGE: usize = 1_000;

/// What the entries have said so far.
#[derive(Debug, Default)]
pub struct Replay {
    /// The entry that was taken last.
    last: Option<u64>,
    jobs: BTreeMap<JobKey, Told>,
}

/// What is known of a job.
#[derive(Debug)]
struct Told {
    id: JobId,
    lane: (Name, Name),
    state: Option<State>,
    token: Option<Token>,
}

/// What is wrong.
type Wrong = Box<dyn Error + Send + Sync>;

impl Replay {
    /// Begins after this entry, which needs not be there.
    pub fn after(seq: u64) -> Self {
        Replay { last: Some(seq), jobs: BTreeMap::new() }
    }

    /// The number of the entry that was taken last; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    /// Whether an entry was about this job.
    pub fn knows(&self, job: JobKey) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Takes the next entry.
    ///
    /// # Errors
    ///
    /// If it cannot be the next one: numbers are missing, the job was in another state, the table
    /// of transitions does not allow it, or it is about an attempt that is not the job's.
    pub fn take(&mut self, event: &JobEvent) -> Result<(), Wrong> {
        let wrong = |why: &str| -> Wrong { format!("{why}: {event:?}").into() };
        // The first is wherever the log begins.
        if self.last.is_some_and(|last| event.seq != last + 1) {
            return Err(wrong(&format!("the entry after {} is missing", self.last())));
        }
        self.last = Some(event.seq);
        let known = self.jobs.get(&event.job);
        if let Some(known) = known {
            if known.state != event.from {
                return Err(wrong(&format!("the job was in {:?}", known.state)));
            }
            let lane = (&known.lane.0, &known.lane.1);
            if (&known.id, lane) != (&event.id, (&event.queue, &event.kind)) {
                return Err(wrong("the job was another one"));
            }
        }
        let fits = match (event.change, event.change.event()) {
            (Change::Added, _) => {
                let starts = [State::Pending, State::Blocked].map(Some);
                event.from.is_none() && starts.contains(&event.to)
            }
            (Change::Deleted, _) => {
                event.from.is_some_and(State::is_terminal) && event.to.is_none()
            }
            (_, Some(moves)) => {
                event.from.and_then(|from| transition(from, moves).ok()) == event.to
            }
            _ => [event.from, event.to] == [Some(State::Processing); 2],
        };
        if !fits {
            return Err(wrong("there is no such change"));
        }
        let of_attempt = [event.from, event.to].contains(&Some(State::Processing));
        if (event.token.is_some(), event.worker.is_some()) != (of_attempt, of_attempt) {
            return Err(wrong("the attempt is missing, or there is none"));
        }
        let before = known.and_then(|known| known.token);
        let follows = match (event.change, before, event.token) {
            (Change::Claimed, Some(before), Some(token)) => token.0 == before.0 + 1,
            (_, Some(before), Some(token)) => token == before,
            _ => true,
        };
        if !follows {
            return Err(wrong(&format!("the attempt before was {before:?}")));
        }
        let told = Told {
            id: event.id.clone(),
            lane: (event.queue.clone(), event.kind.clone()),
            state: event.to,
            token: event.token.or(before),
        };
        self.jobs.insert(event.job, told);
        Ok(())
    }

    /// Takes all entries that the store has more; says how many.
    ///
    /// # Errors
    ///
    /// If one cannot be taken, or the store fails.
    pub fn catch_up(&mut self, store: &dyn Store) -> Result<usize, Wrong> {
        let mut taken = 0;
        loop {
            let events = store.events(self.last(), PAGE)?;
            if events.is_empty() {
                return Ok(taken);
            }
            taken += events.len();
            events.iter().try_for_each(|event| self.take(event))?;
        }
    }

    /// Holds what was told against the store, in which nothing may be happening: each job that an
    /// entry was about is in the state that the last one said, and the counters count just these
    /// and the jobs of which the log does not know.
    ///
    /// # Errors
    ///
    /// If they differ, or the store fails.
    pub fn compare(&self, store: &dyn Store) -> Result<(), Wrong> {
        let query = JobQuery { limit: usize::MAX, ..JobQuery::default() };
        let mut counted: BTreeMap<(Name, Name), [u64; State::ALL.len()]> = BTreeMap::new();
        let mut count = |lane: (Name, Name), state: State| {
            counted.entry(lane).or_default()[state as usize] += 1;
        };
        let mut there = BTreeMap::new();
        for job in store.jobs(&query)? {
            if !self.jobs.contains_key(&job.key) {
                count((job.queue.clone(), job.kind.clone()), job.state);
            }
            there.insert(job.key, job);
        }
        for (key, told) in &self.jobs {
            let has = there.get(key).map(|job| (&job.id, job.state));
            if has != told.state.map(|state| (&told.id, state)) {
                return Err(format!("the log ends with {told:?}, the store has {has:?}").into());
            }
            told.state.into_iter().for_each(|state| count(told.lane.clone(), state));
        }
        let kept = store
            .counts()?
            .into_iter()
            .map(|LaneCounts { queue, kind, by_state }| ((queue, kind), by_state));
        let kept: BTreeMap<_, _> =
            kept.filter(|(_, counts)| counts.iter().any(|n| *n > 0)).collect();
        if kept != counted {
            return Err(format!("the log counts {counted:?}, the store {kept:?}").into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use queuectl_core::{Timestamp, WorkerKey};

    use super::*;

    fn event(seq: u64, change: Change, from: Option<State>, to: Option<State>) -> JobEvent {
        let held = [from, to].contains(&Some(State::Processing));
        JobEvent {
            seq,
            at: Timestamp::from_millis(0),
            job: JobKey(1),
            id: JobId::Auto(JobKey(1)),
            queue: Name::new("default").unwrap(),
            kind: Name::new("work").unwrap(),
            change,
            from,
            to,
            token: held.then_some(Token(1)),
            worker: held.then_some(WorkerKey(1)),
            cause: None,
            reason: None,
            by: None,
        }
    }

    #[test]
    fn what_cannot_be_is_found() {
        let (pending, processing) = (Some(State::Pending), Some(State::Processing));
        let added = event(1, Change::Added, None, pending);
        let claimed = event(2, Change::Claimed, pending, processing);
        let mut fine = Replay::default();
        fine.take(&added).unwrap();
        fine.take(&claimed).unwrap();
        fine.take(&event(3, Change::CancelRequested, processing, processing)).unwrap();
        fine.take(&event(4, Change::Cancelled, processing, Some(State::Cancelled))).unwrap();
        fine.take(&event(5, Change::Deleted, Some(State::Cancelled), None)).unwrap();
        let other = |change: fn(&mut JobEvent)| {
            let mut event = claimed.clone();
            change(&mut event);
            event
        };
        let wrongs = [
            other(|event| event.seq = 3),
            other(|event| event.seq = 1),
            other(|event| event.from = Some(State::Failed)),
            other(|event| event.to = Some(State::Completed)),
            other(|event| event.token = None),
            other(|event| event.worker = None),
            other(|event| event.id = "another".parse().unwrap()),
            other(|event| event.kind = Name::new("other").unwrap()),
            other(|event| event.change = Change::Added),
            other(|event| event.change = Change::Retried),
        ];
        for wrong in wrongs {
            let mut replay = Replay::default();
            replay.take(&added).unwrap();
            assert!(replay.take(&wrong).is_err(), "{wrong:?}");
        }
        let mut replay = Replay::default();
        replay.take(&added).unwrap();
        replay.take(&claimed).unwrap();
        let released = event(3, Change::Released, processing, pending);
        assert!(replay.take(&JobEvent { token: Some(Token(2)), ..released }).is_err());
    }
}
