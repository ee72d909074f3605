//! A history in the order in which the checks need it: by job, by process, by queue.

use std::collections::{BTreeMap, HashMap};

use queuectl_core::store::Cancelled;
use queuectl_core::{Attempt, Job, JobId, JobKey, Name, Token};

use super::{Answer, Asked, Call, Execution, Fault, History, Moment, ProcessId, Request, Sighting};

/// The store's clocks tell milliseconds, so an order within one is none.
pub(super) const RESOLUTION: i64 = 1_000;

/// Spans of time within which something may have happened once, each.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// By beginning, with the latest end of all up to each.
    sorted: Vec<(Moment, Moment)>,
}

impl Spans {
    fn of(mut spans: Vec<(Moment, Moment)>) -> Self {
        spans.sort_unstable();
        let mut latest = Moment(i64::MIN);
        for (_, end) in &mut spans {
            latest = latest.max(*end);
            *end = latest;
        }
        Spans { sorted: spans }
    }

    /// Whether one of them has a moment in common with `from` to `until`.
    pub(super) fn touch(&self, from: Moment, until: Moment) -> bool {
        let begun = self.sorted.partition_point(|(begin, _)| *begin <= until);
        begun > 0 && self.sorted[begun - 1].1 >= from
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }
}

/// What was asked about one id. Refused calls are left out: they did nothing.
#[derive(Debug, Default)]
pub(super) struct Requests<'a> {
    pub(super) enqueued: Vec<(&'a Call, &'a Asked)>,
    pub(super) retried: Spans,
    pub(super) purged: Spans,
    pub(super) cancelled: Spans,
    pub(super) made: Spans,
    /// Calls that were told that the job is cancelled now.
    pub(super) cancelled_now: Vec<&'a Call>,
    pub(super) purge_done: Vec<&'a Call>,
}

#[derive(Debug, Default)]
struct Gathered<'a> {
    requests: Requests<'a>,
    retried: Vec<(Moment, Moment)>,
    purged: Vec<(Moment, Moment)>,
    cancelled: Vec<(Moment, Moment)>,
    made: Vec<(Moment, Moment)>,
}

impl<'a> Gathered<'a> {
    fn finish(self) -> Requests<'a> {
        Requests {
            retried: Spans::of(self.retried),
            purged: Spans::of(self.purged),
            cancelled: Spans::of(self.cancelled),
            made: Spans::of(self.made),
            ..self.requests
        }
    }
}

/// One job of the store over its whole life.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) id: &'a JobId,
    pub(super) key: JobKey,
    /// As it stands at the end; `None` if it is gone.
    pub(super) job: Option<&'a Job>,
    /// By token.
    pub(super) attempts: BTreeMap<Token, &'a Attempt>,
    /// By token, then by start.
    pub(super) executions: Vec<&'a Execution>,
    pub(super) sightings: Vec<&'a Sighting>,
}

pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    pub(super) lines: BTreeMap<JobKey, Line<'a>>,
    pub(super) keys: HashMap<&'a JobId, Vec<JobKey>>,
    requests: HashMap<&'a JobId, Requests<'a>>,
    nothing: Requests<'a>,
    killed: HashMap<ProcessId, Moment>,
    stopped: HashMap<ProcessId, Spans>,
    /// Whenever a writer may have stood still in the middle of a write, or the store was locked.
    pub(super) blocked: Spans,
    pub(super) paused: HashMap<&'a Name, Vec<&'a Call>>,
    pub(super) resumed: HashMap<&'a Name, Spans>,
}

impl<'a> Index<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut lines: BTreeMap<JobKey, Line<'a>> = BTreeMap::new();
        let line = |id, key| Line {
            id,
            key,
            job: None,
            attempts: BTreeMap::new(),
            executions: Vec::new(),
            sightings: Vec::new(),
        };
        for (job, attempts) in &history.end.jobs {
            let line = lines.entry(job.key).or_insert_with(|| line(&job.id, job.key));
            line.job = Some(job);
            line.attempts = attempts.iter().map(|attempt| (attempt.token, attempt)).collect();
        }
        for execution in &history.executions {
            let key = execution.lease.key;
            let line = lines.entry(key).or_insert_with(|| line(&execution.id, key));
            line.executions.push(execution);
        }
        for sighting in &history.sightings {
            let line =
                lines.entry(sighting.key).or_insert_with(|| line(&sighting.id, sighting.key));
            line.sightings.push(sighting);
        }
        let mut keys: HashMap<&JobId, Vec<JobKey>> = HashMap::new();
        for line in lines.values_mut() {
            line.executions.sort_by_key(|execution| (execution.lease.token, execution.started_at));
            line.sightings.sort_by_key(|sighting| sighting.seen_at);
            keys.entry(line.id).or_default().push(line.key);
        }
        let (killed, stopped, blocked) = faults(history);
        let (paused, resumed) = pauses(history);
        Index {
            history,
            lines,
            keys,
            requests: requests(history),
            nothing: Requests::default(),
            killed,
            stopped,
            blocked,
            paused,
            resumed,
        }
    }

    /// What was asked about an id.
    pub(super) fn requests(&self, id: &JobId) -> &Requests<'a> {
        self.requests.get(id).unwrap_or(&self.nothing)
    }

    /// Whether a job of this id was ever seen: in the store, running, or by whoever deleted it.
    pub(super) fn seen(&self, id: &JobId) -> bool {
        self.keys.contains_key(id) || !self.requests(id).purged.is_empty()
    }

    /// When a process was killed, if it was.
    pub(super) fn killed_at(&self, process: ProcessId) -> Option<Moment> {
        self.killed.get(&process).copied()
    }

    /// Whether a process was stopped at some time between the two.
    pub(super) fn was_stopped(&self, process: ProcessId, from: Moment, until: Moment) -> bool {
        self.stopped.get(&process).is_some_and(|spans| spans.touch(from, until))
    }
}

type Faults = (HashMap<ProcessId, Moment>, HashMap<ProcessId, Spans>, Spans);

fn faults(history: &History) -> Faults {
    let mut killed = HashMap::new();
    let mut stopped: HashMap<ProcessId, Vec<(Moment, Moment)>> = HashMap::new();
    let mut blocked = Vec::new();
    for fault in &history.faults {
        match *fault {
            Fault::Killed { process, at } => {
                let first = killed.entry(process).or_insert(at);
                *first = at.min(*first);
            }
            Fault::Stopped { process, from, until } => {
                stopped.entry(process).or_default().push((from, until));
                blocked.push((from, until));
            }
            Fault::StoreBlocked { from, until } => blocked.push((from, until)),
        }
    }
    let stopped = stopped.into_iter().map(|(process, spans)| (process, Spans::of(spans)));
    (killed, stopped.collect(), Spans::of(blocked))
}

type Pauses<'a> = (HashMap<&'a Name, Vec<&'a Call>>, HashMap<&'a Name, Spans>);

fn pauses(history: &History) -> Pauses<'_> {
    let mut paused: HashMap<&Name, Vec<&Call>> = HashMap::new();
    let mut resumed: HashMap<&Name, Vec<(Moment, Moment)>> = HashMap::new();
    for call in &history.calls {
        match (&call.request, call.answer) {
            (Request::Pause(queue), Answer::Done) => paused.entry(queue).or_default().push(call),
            (Request::Resume(queue), Answer::Done | Answer::Unknown) => {
                resumed.entry(queue).or_default().push((call.asked_at, call.over_at));
            }
            _ => {}
        }
    }
    for calls in paused.values_mut() {
        calls.sort_by_key(|call| call.over_at);
    }
    (paused, resumed.into_iter().map(|(queue, spans)| (queue, Spans::of(spans))).collect())
}

fn requests(history: &History) -> HashMap<&JobId, Requests<'_>> {
    let mut gathered: HashMap<&JobId, Gathered<'_>> = HashMap::new();
    for call in history.calls.iter().filter(|call| call.answer != Answer::Refused) {
        let span = (call.asked_at, call.over_at);
        match &call.request {
            Request::Enqueue(jobs) => {
                for asked in jobs {
                    if let Some(id) = &asked.id {
                        let about = gathered.entry(id).or_default();
                        about.requests.enqueued.push((call, asked));
                        about.made.push(span);
                    }
                }
            }
            Request::Cancel(jobs) => {
                for (id, outcome) in jobs {
                    let about = gathered.entry(id).or_default();
                    about.cancelled.push(span);
                    if call.answer == Answer::Done && *outcome == Some(Cancelled::Now) {
                        about.requests.cancelled_now.push(call);
                    }
                }
            }
            Request::Retry(jobs) => {
                for id in jobs {
                    gathered.entry(id).or_default().retried.push(span);
                }
            }
            Request::Purge(jobs) => {
                for id in jobs {
                    let about = gathered.entry(id).or_default();
                    about.purged.push(span);
                    if call.answer == Answer::Done {
                        about.requests.purge_done.push(call);
                    }
                }
            }
            Request::Pause(_) | Request::Resume(_) => {}
        }
    }
    gathered.into_iter().map(|(id, about)| (id, about.finish())).collect()
}
