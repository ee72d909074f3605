//! What must be found in a store after a crash: derived from what was asked for and acknowledged
//! before.
//!
//! Whatever was asked for and not yet acknowledged may be found or not; whatever was acknowledged must
//! be found, and nothing may be found that nobody has asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use queuectl_core::{Job, Settings, State};

/// Marks a job in its payload, so that it is known whichever id it was given.
pub(super) type Marker = u32;

/// What somebody wants. Comes before anything of it can have happened.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// Jobs, in one batch.
    Enqueue(Vec<Marker>),
    Cancel(String),
    Retry(String),
    Purge(Vec<String>),
    /// That a queue is resumed.
    Resume(String),
}

/// What somebody was told, or saw. Comes before anybody can have acted on it.
#[derive(Debug, Clone)]
pub(super) enum Ack {
    /// A job is there: its id, and its marker if this call has made it.
    Enqueued(String, Option<Marker>),
    /// An attempt has begun, says the worker.
    Started(String),
    /// An attempt has begun, says the job itself.
    Ran(String),
    /// An attempt has ended, and so the job is in this state.
    Settled(String, State),
    Cancelled(String),
    /// It runs; its worker was told.
    Cancelling(String),
    Retried(String),
    Purged(Vec<String>),
    /// `max-retries` has this value.
    MaxRetries(u32),
    /// A queue is paused, or not any more.
    Paused(String, bool),
}

impl Ack {
    /// For the report of what a history had.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Ack::Enqueued(..) => "enqueued",
            Ack::Started(_) => "started",
            Ack::Ran(_) => "ran",
            Ack::Settled(..) => "settled",
            Ack::Cancelled(_) | Ack::Cancelling(_) => "cancelled",
            Ack::Retried(_) => "retried",
            Ack::Purged(_) => "purged",
            Ack::MaxRetries(_) => "configured",
            Ack::Paused(..) => "paused",
        }
    }

    /// Every name: a history without one of them has not tried everything.
    pub(super) const NAMES: [&'static str; 9] = [
        "enqueued",
        "started",
        "ran",
        "settled",
        "cancelled",
        "retried",
        "purged",
        "configured",
        "paused",
    ];
}

/// What is known of one job.
#[derive(Debug, Default, Clone)]
struct Known {
    enqueued: bool,
    marker: Option<Marker>,
    /// Attempts that have begun, by the worker's word and by the job's own.
    started: i64,
    ran: i64,
    /// The last attempts' ends that were acknowledged as a failure, over its whole life.
    failures: i64,
    /// The terminal state that was acknowledged last, if nobody has asked for a retry since.
    ended: Option<State>,
    /// Its attempts when somebody last asked that it runs again, and when that was acknowledged.
    retry_asked: i64,
    retried: Option<i64>,
    cancelling: bool,
    cancel_asked: bool,
    purge_asked: bool,
    purged: bool,
}

/// Everything that is known at one moment of a history.
#[derive(Debug, Default)]
pub(super) struct Expected {
    jobs: HashMap<String, Known>,
    asked: HashSet<Marker>,
    batches: Vec<Vec<Marker>>,
    max_retries: Option<u32>,
    paused: BTreeMap<String, bool>,
    /// How many things were asked for or acknowledged: two moments with the same number expect the
    /// same.
    pub(super) version: usize,
    /// Whether anything at all was acknowledged.
    pub(super) any: bool,
}

/// What was found in a store.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    /// How many attempts of each job are recorded that did not succeed.
    pub(super) failures: HashMap<i64, i64>,
    pub(super) settings: Settings,
    pub(super) paused: BTreeSet<String>,
}

impl Expected {
    pub(super) fn ask(&mut self, ask: &Ask) {
        self.version += 1;
        match ask {
            Ask::Enqueue(markers) => {
                self.asked.extend(markers);
                self.batches.push(markers.clone());
            }
            Ask::Cancel(id) => {
                let job = self.job(id);
                job.cancel_asked = true;
            }
            Ask::Retry(id) => {
                let job = self.job(id);
                job.ended = None;
                job.retry_asked = job.begun();
            }
            Ask::Resume(queue) => {
                self.paused.remove(queue);
            }
            Ask::Purge(ids) => {
                for id in ids {
                    self.job(id).purge_asked = true;
                }
            }
        }
    }

    pub(super) fn acknowledge(&mut self, ack: &Ack) {
        self.version += 1;
        self.any = true;
        match ack {
            Ack::Enqueued(id, marker) => {
                let job = self.job(id);
                job.enqueued = true;
                job.marker = job.marker.or(*marker);
            }
            Ack::Started(id) => self.job(id).started += 1,
            Ack::Ran(id) => self.job(id).ran += 1,
            Ack::Settled(id, state) => {
                let job = self.job(id);
                if matches!(state, State::Failed | State::Dead) {
                    job.failures += 1;
                }
                job.ended = Some(*state).filter(|state| state.is_terminal());
            }
            Ack::Cancelled(id) => self.job(id).ended = Some(State::Cancelled),
            Ack::Cancelling(id) => self.job(id).cancelling = true,
            Ack::Retried(id) => {
                let job = self.job(id);
                // Not those of now: it may have begun again before the answer came.
                job.retried = Some(job.retry_asked);
                job.cancelling = false;
                job.cancel_asked = false;
            }
            Ack::Purged(ids) => {
                for id in ids {
                    self.job(id).purged = true;
                }
            }
            Ack::MaxRetries(value) => self.max_retries = Some(*value),
            Ack::Paused(queue, paused) => {
                self.paused.insert(queue.clone(), *paused);
            }
        }
    }

    fn job(&mut self, id: &str) -> &mut Known {
        self.jobs.entry(id.to_owned()).or_default()
    }

    /// The acknowledgements that are not true of what was found, and what was found that nobody has
    /// asked for.
    pub(super) fn compare(&self, found: &Found) -> Vec<String> {
        let mut wrong = Vec::new();
        let jobs: HashMap<String, &Job> =
            found.jobs.iter().map(|job| (job.id.to_string(), job)).collect();
        for (id, known) in &self.jobs {
            let failures = |job: &Job| found.failures.get(&job.key.0).copied().unwrap_or_default();
            match jobs.get(id) {
                Some(_) if known.purged => wrong.push(format!("{id} was deleted and is back")),
                Some(job) => wrong.extend(known.compare(id, job, failures(job))),
                None if known.purge_asked => {}
                None if known.enqueued => wrong.push(format!("{id} was enqueued and is gone")),
                None if known.ran > 0 => wrong.push(format!("{id} ran and is gone")),
                None => {}
            }
        }
        self.compare_markers(&found.jobs, &mut wrong);
        if self.max_retries.is_some_and(|value| value != found.settings.max_retries) {
            wrong.push("the setting max-retries is gone".to_owned());
        }
        for (queue, paused) in &self.paused {
            if found.paused.contains(queue) != *paused {
                wrong.push(format!("queue {queue} was said to be paused: {paused}, and is not so"));
            }
        }
        wrong
    }

    fn compare_markers(&self, jobs: &[Job], wrong: &mut Vec<String>) {
        let mut seen = HashSet::new();
        for job in jobs {
            match marker(job.payload.as_str()) {
                Some(marker) if !self.asked.contains(&marker) => {
                    wrong.push(format!("{} is there before anybody asked for it", job.id));
                }
                Some(marker) if !seen.insert(marker) => {
                    wrong.push(format!("{} is there twice", job.id));
                }
                Some(_) => {}
                None => wrong.push(format!("{} is nobody's", job.id)),
            }
        }
        let deleted: HashSet<Marker> = self
            .jobs
            .values()
            .filter(|known| known.purge_asked)
            .filter_map(|known| known.marker)
            .collect();
        for batch in &self.batches {
            let there = batch.iter().filter(|marker| seen.contains(*marker)).count();
            let may_be_gone = batch.iter().any(|marker| deleted.contains(marker));
            if there != 0 && there != batch.len() && !may_be_gone {
                wrong.push(format!("{there} of a batch of {} jobs are there", batch.len()));
            }
        }
    }
}

impl Known {
    /// How many attempts have begun.
    fn begun(&self) -> i64 {
        self.started.max(self.ran)
    }

    fn compare(&self, id: &str, job: &Job, failures: i64) -> Vec<String> {
        let mut wrong = Vec::new();
        let begun = self.begun();
        if job.token.0 < begun {
            wrong.push(format!("{id} began {begun} attempts and has spent {}", job.token.0));
        }
        if failures < self.failures {
            wrong.push(format!("of {} failures of {id} {failures} are recorded", self.failures));
        }
        if let Some(ended) = self.ended
            && job.state != ended
        {
            wrong.push(format!("{id} was {ended} and is {}", job.state));
        }
        let over = job.state.is_terminal();
        if let Some(attempts) = self.retried
            && over
            && job.token.0 <= attempts
            && !self.cancel_asked
            && self.ended.is_none()
        {
            let token = job.token.0;
            wrong.push(format!(
                "{id} was to run again after {attempts} and is {} by {token}",
                job.state
            ));
        }
        if self.cancelling && !over && job.cancel_reason.is_none() {
            wrong.push(format!("{id} was to be cancelled, and nothing says so"));
        }
        wrong
    }
}

/// How a marker stands in a payload.
pub(super) fn mark(marker: Marker) -> String {
    format!("m#{marker}#")
}

fn marker(payload: &str) -> Option<Marker> {
    let (_, rest) = payload.split_once("m#")?;
    rest.split_once('#')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use queuectl_core::store::Store;
    use queuectl_core::{ManualClock, NewJob, Token};
    use queuectl_testkit::MemoryStore;

    use super::*;

    /// What was found of the one job, of which so many attempts have been spent.
    fn found(state: State, attempts: i64) -> Found {
        let store = MemoryStore::new(std::sync::Arc::new(ManualClock::new()));
        let added = store.enqueue(&[NewJob::new("k", &mark(1)).unwrap()]).unwrap();
        let job = store.job(&added[0].id).unwrap().unwrap();
        let job = Job { state, token: Token(attempts), ..job };
        let failures = HashMap::new();
        Found { jobs: vec![job], failures, settings: Settings::default(), paused: BTreeSet::new() }
    }

    /// Seen once in a million images: the job had begun and ended again when it was acknowledged that
    /// it would.
    #[test]
    fn a_retry_may_be_acknowledged_after_what_it_has_led_to() {
        let id = || "q1".to_owned();
        let mut expected = Expected::default();
        expected.ask(&Ask::Enqueue(vec![1]));
        expected.acknowledge(&Ack::Started(id()));
        expected.acknowledge(&Ack::Settled(id(), State::Completed));
        assert_eq!(expected.compare(&found(State::Completed, 1)), [""; 0]);
        expected.ask(&Ask::Retry(id()));
        expected.acknowledge(&Ack::Started(id()));
        expected.acknowledge(&Ack::Retried(id()));
        assert_eq!(expected.compare(&found(State::Completed, 2)), [""; 0]);
        assert_eq!(expected.compare(&found(State::Pending, 2)), [""; 0]);
        assert_ne!(expected.compare(&found(State::Completed, 1)), [""; 0], "the retry is lost");
    }
}
