//! The shapes of the JSON documents: `docs/json.md` describes them. Fields are added, never
//! renamed, removed or given another meaning under the same `schema_version`.

use std::num::NonZeroU32;
use std::time::Duration;

use queuectl_core::schedule::{ScheduleInfo, TickOutcome, TickRecord};
use queuectl_core::shell::{Program, SHELL_KIND, ShellJob};
use queuectl_core::store::{StopMode, WorkerInfo};
use queuectl_core::{
    After, AfterBatch, Attempt, Captured, Cause, Condition, Fingerprint, Job, Json, Missed, Name,
    Needs, NewJob, Note, Otherwise, Overlap, Schedule, Spec, State, Timestamp,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::display;

/// The version of the shapes: the first field of every document.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SchemaVersion;

impl Serialize for SchemaVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(1)
    }
}

/// A job.
#[derive(Debug, Serialize)]
pub(crate) struct JobView {
    id: String,
    state: State,
    queue: String,
    kind: String,
    /// Of shell jobs: the command, or what one would type for the argument vector.
    command: Option<String>,
    /// Of shell jobs without a shell: the argument vector.
    argv: Option<Vec<String>>,
    payload: Box<RawValue>,
    priority: i16,
    attempts: u32,
    max_attempts: u32,
    max_retries: u32,
    max_crashes: Option<NonZeroU32>,
    run_at: Timestamp,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    worker: Option<String>,
    timeout_seconds: Option<f64>,
    backoff: Option<String>,
    unique_key: Option<String>,
    unique_while: Vec<State>,
    unique_until: Option<Timestamp>,
    concurrency_key: Option<String>,
    tags: Vec<String>,
    waits_for: Vec<String>,
    /// The same, as `enqueue` takes it: with the conditions.
    after: Vec<AfterView>,
    after_batches: Vec<AfterBatchView>,
    batch: Option<String>,
    needs: Option<Needs>,
    otherwise: Option<Otherwise>,
    cancel_reason: Option<String>,
    cancelled_by: Option<String>,
    last_error: Option<String>,
    failure: Option<Fingerprint>,
    result: Option<Box<RawValue>>,
    progress: Option<Box<RawValue>>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        let program = program(job);
        JobView {
            id: job.id.to_string(),
            state: job.state,
            queue: job.queue.to_string(),
            kind: job.kind.to_string(),
            command: program.as_ref().map(typed),
            argv: match program {
                Some(Program::Argv(argv)) => Some(argv),
                _ => None,
            },
            payload: raw(&job.payload),
            priority: job.priority,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            max_retries: job.max_attempts.saturating_sub(1),
            max_crashes: job.max_crashes,
            run_at: job.run_at,
            expires_at: job.expires_at,
            created_at: job.created_at,
            updated_at: job.updated_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            worker: job.worker.map(|worker| worker.to_string()),
            timeout_seconds: job.timeout.map(|timeout| timeout.as_secs_f64()),
            backoff: job.backoff.as_ref().map(ToString::to_string),
            unique_key: job.unique_key.clone(),
            unique_while: job.unique_while.clone(),
            unique_until: job.unique_until,
            concurrency_key: job.concurrency_key.clone(),
            tags: job.tags.iter().map(ToString::to_string).collect(),
            waits_for: job.waits_for.iter().map(|after| after.job.to_string()).collect(),
            after: job.waits_for.iter().map(AfterView::from).collect(),
            after_batches: job.waits_for_batches.iter().map(AfterBatchView::from).collect(),
            batch: job.batch.as_ref().map(ToString::to_string),
            needs: (job.state == State::Blocked).then_some(job.needs),
            otherwise: (job.state == State::Blocked).then_some(job.otherwise),
            cancel_reason: job.cancel_reason.clone(),
            cancelled_by: job.cancelled_by.clone(),
            last_error: job.last_error.clone(),
            failure: job.failure,
            result: job.result.as_ref().map(raw),
            progress: job.progress.as_ref().map(raw),
        }
    }
}

/// A job that another waits for.
#[derive(Debug, Serialize)]
struct AfterView {
    job: String,
    on: Condition,
}

impl From<&After> for AfterView {
    fn from(after: &After) -> Self {
        AfterView { job: after.job.to_string(), on: after.on }
    }
}

/// A batch that a job waits for.
#[derive(Debug, Serialize)]
struct AfterBatchView {
    batch: String,
    on: Condition,
}

impl From<&AfterBatch> for AfterBatchView {
    fn from(after: &AfterBatch) -> Self {
        AfterBatchView { batch: after.batch.to_string(), on: after.on }
    }
}

/// What was noted about a job.
#[derive(Debug, Serialize)]
pub(crate) struct NoteView {
    at: Timestamp,
    by: Option<String>,
    text: String,
    /// The job's payload until then, if the note is about another one.
    payload: Option<Box<RawValue>>,
}

impl From<&Note> for NoteView {
    fn from(note: &Note) -> Self {
        NoteView {
            at: note.at,
            by: note.by.clone(),
            text: note.text.clone(),
            payload: note.payload.as_ref().map(raw),
        }
    }
}

/// An attempt.
#[derive(Debug, Serialize)]
pub(crate) struct AttemptView {
    /// Counts over the job's whole life: what `logs --attempt` takes.
    number: i64,
    /// Counts from the last explicit retry on.
    attempt: u32,
    worker: Option<String>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    duration_seconds: Option<f64>,
    cause: Option<Cause>,
    error: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    stdout: Option<OutputView>,
    stderr: Option<OutputView>,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        let report = attempt.report.as_ref();
        AttemptView {
            number: attempt.token.0,
            attempt: attempt.number,
            worker: attempt.worker.map(|worker| worker.to_string()),
            started_at: attempt.started_at,
            finished_at: attempt.finished_at,
            duration_seconds: attempt
                .finished_at
                .map(|end| end.since(attempt.started_at).as_secs_f64()),
            cause: report.map(|report| report.cause),
            error: report.and_then(|report| report.error.clone()),
            exit_code: report.and_then(|report| report.exit_code),
            signal: report.and_then(|report| report.signal),
            stdout: report.map(|report| (&report.stdout).into()),
            stderr: report.map(|report| (&report.stderr).into()),
        }
    }
}

/// What was kept of an output. Bytes that are not text are replaced: `logs --raw` has them.
#[derive(Debug, Serialize)]
struct OutputView {
    head: String,
    tail: String,
    bytes: u64,
    omitted_bytes: u64,
    incomplete: bool,
}

impl From<&Captured> for OutputView {
    fn from(captured: &Captured) -> Self {
        OutputView {
            head: String::from_utf8_lossy(&captured.head).into_owned(),
            tail: String::from_utf8_lossy(&captured.tail).into_owned(),
            bytes: captured.total,
            omitted_bytes: captured.omitted(),
            incomplete: captured.incomplete,
        }
    }
}

/// A worker.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerView {
    id: String,
    pid: u32,
    host: String,
    state: &'static str,
    started_at: Timestamp,
    uptime_seconds: f64,
    lease_left_seconds: f64,
    running: Vec<RunningView>,
    log: Option<String>,
}

#[derive(Debug, Serialize)]
struct RunningView {
    id: String,
    since: Timestamp,
    seconds: f64,
}

impl WorkerView {
    /// A worker as it is now.
    pub(crate) fn of(worker: &WorkerInfo, now: Timestamp) -> Self {
        let seconds = |duration: Duration| duration.as_secs_f64();
        WorkerView {
            id: worker.key.to_string(),
            pid: worker.pid,
            host: worker.host.clone(),
            state: worker_state(worker),
            started_at: worker.started_at,
            uptime_seconds: seconds(now.since(worker.started_at)),
            lease_left_seconds: seconds(worker.lease_left),
            running: worker
                .running
                .iter()
                .map(|(id, since)| RunningView {
                    id: id.to_string(),
                    since: *since,
                    seconds: seconds(now.since(*since)),
                })
                .collect(),
            log: worker.log.as_ref().map(|log| log.to_string_lossy().into_owned()),
        }
    }
}

/// A schedule.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduleView {
    name: String,
    cron: Option<String>,
    zone: Option<String>,
    every_seconds: Option<f64>,
    paused: bool,
    missed: String,
    overlap: Overlap,
    next: Option<Timestamp>,
    waiting: Option<Timestamp>,
    last: Option<TickView>,
    queue: String,
    kind: String,
    command: Option<String>,
    payload: Box<RawValue>,
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl ScheduleView {
    /// One that is in no store.
    pub(crate) fn of(schedule: &Schedule) -> Self {
        let (cron, zone, every) = match &schedule.spec {
            Spec::Cron { expression, zone } => (Some(expression.clone()), Some(zone.clone()), None),
            Spec::Every(period) => (None, None, Some(period.as_secs_f64())),
            _ => (None, None, None),
        };
        let job = &schedule.job;
        ScheduleView {
            name: schedule.name.to_string(),
            cron,
            zone,
            every_seconds: every,
            paused: schedule.paused,
            missed: Self::missed_text(schedule.missed),
            overlap: schedule.overlap,
            next: None,
            waiting: None,
            last: None,
            queue: job.queue.to_string(),
            kind: job.kind.to_string(),
            command: program_of(&job.kind, &job.payload).as_ref().map(typed),
            payload: raw(&job.payload),
            created_at: None,
            updated_at: None,
        }
    }

    /// As it is written on the command line.
    pub(crate) fn missed_text(missed: Missed) -> String {
        match missed {
            Missed::Skip => "skip".to_owned(),
            Missed::One => "one".to_owned(),
            Missed::All(most) => format!("all:{most}"),
        }
    }

    /// As it is written on the command line.
    pub(crate) const fn overlap_text(overlap: Overlap) -> &'static str {
        match overlap {
            Overlap::Allow => "allow",
            Overlap::Skip => "skip",
            Overlap::QueueOne => "queue-one",
        }
    }
}

impl From<&ScheduleInfo> for ScheduleView {
    fn from(info: &ScheduleInfo) -> Self {
        ScheduleView {
            next: info.next,
            waiting: info.waiting,
            last: info.last.as_ref().map(TickView::from),
            created_at: Some(info.created_at),
            updated_at: Some(info.updated_at),
            ..Self::of(&info.schedule)
        }
    }
}

/// What came of a tick.
#[derive(Debug, Serialize)]
pub(crate) struct TickView {
    tick: Timestamp,
    at: Timestamp,
    outcome: &'static str,
    job: Option<String>,
    until: Option<Timestamp>,
}

impl From<&TickRecord> for TickView {
    fn from(record: &TickRecord) -> Self {
        TickView {
            tick: record.tick,
            at: record.at,
            outcome: record.outcome.as_str(),
            job: record.outcome.job().map(ToString::to_string),
            until: match record.outcome {
                TickOutcome::Missed { until } => Some(until),
                _ => None,
            },
        }
    }
}

/// What a worker does, in one word.
pub(crate) fn worker_state(worker: &WorkerInfo) -> &'static str {
    match (worker.dead, worker.stopping, worker.running.is_empty()) {
        (true, _, _) => "dead",
        (_, Some(StopMode::Finish | StopMode::Grace), _) => "stopping",
        (_, Some(StopMode::Now), _) => "stopping now",
        (_, None, true) => "idle",
        (_, None, false) => "busy",
    }
}

/// What a job runs, in one line: the command, or the kind and the payload.
pub(crate) fn what(job: &Job) -> String {
    runs(&job.kind, &job.payload)
}

/// The same of a job that is to be.
pub(crate) fn new_job_text(job: &NewJob) -> String {
    runs(&job.kind, &job.payload)
}

fn runs(kind: &Name, payload: &Json) -> String {
    match program_of(kind, payload) {
        Some(program) => typed(&program),
        None => format!("{kind} {}", payload.as_str()),
    }
}

/// What a shell job runs.
fn program(job: &Job) -> Option<Program> {
    program_of(&job.kind, &job.payload)
}

fn program_of(kind: &Name, payload: &Json) -> Option<Program> {
    let shell = kind.as_str() == SHELL_KIND;
    let job: Option<ShellJob> = shell.then(|| payload.decode().ok()).flatten();
    job.map(|job| job.program)
}

fn typed(program: &Program) -> String {
    match program {
        Program::Command(command) => command.clone(),
        Program::Argv(argv) => display::quoted(argv),
    }
}

fn raw(json: &Json) -> Box<RawValue> {
    // A store that was written to by other programs may hold anything; the document stays JSON.
    RawValue::from_string(json.as_str().to_owned()).unwrap_or_else(|_| {
        let text = serde_json::Value::from(json.as_str()).to_string();
        RawValue::from_string(text).expect("a JSON string is JSON")
    })
}
