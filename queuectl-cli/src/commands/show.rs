//! `show`: a job's whole record, with every attempt.

use std::fmt::Write;

use queuectl_core::shell::{SHELL_KIND, ShellJob};
use queuectl_core::store::{Store, StoreError};
use queuectl_core::{
    After, AfterBatch, Attempt, Captured, Cause, Condition, Job, JobId, Needs, Note, Otherwise,
    Report, State, Timestamp,
};
use serde::Serialize;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::display::{line, text};
use crate::output::json::{AttemptView, JobView, NoteView, SchemaVersion, what};
use crate::output::time::{duration, local, relative};
use crate::session::Session;

/// How many lines of an output are shown.
const EXCERPT_LINES: usize = 5;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    job: JobView,
    attempts: Vec<AttemptView>,
    notes: Vec<NoteView>,
}

/// The job, or the error that there is none.
pub(super) fn job(store: &dyn Store, id: &JobId) -> Result<Job, CliError> {
    Ok(store.job(id)?.ok_or_else(|| StoreError::NotFound(id.clone()))?)
}

pub(crate) fn run(session: &Session, id: &JobId) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let job = job(&store, id)?;
    let attempts = store.attempts(job.key)?;
    let notes = store.notes(job.key)?;
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            job: (&job).into(),
            attempts: attempts.iter().map(AttemptView::from).collect(),
            notes: notes.iter().map(NoteView::from).collect(),
        })?;
        return Ok(Exit::DONE);
    }
    let now = session.now();
    let parents = parents(&store, &job)?;
    let mut page = record(&job, &parents, now, session.ui.colour);
    for note in &notes {
        page.push('\n');
        page.push_str(&note_text(note, now));
    }
    for attempt in &attempts {
        page.push('\n');
        page.push_str(&attempt_text(attempt, now, session.ui.colour));
    }
    if let Some(report) = attempts.last().and_then(|attempt| attempt.report.as_ref()) {
        page.push_str(&excerpt("output", &report.stdout, id));
        page.push_str(&excerpt("error output", &report.stderr, id));
    }
    session.ui.print(page)?;
    Ok(Exit::DONE)
}

/// How many of the jobs that it waits for are named.
const PARENTS_SHOWN: usize = 10;

/// The jobs that it waits for, with their states: one that is dead holds it up until it is retried.
fn parents(store: &dyn Store, job: &Job) -> Result<Vec<String>, CliError> {
    let mut parents = Vec::new();
    for After { job: id, on } in job.waits_for.iter().take(PARENTS_SHOWN) {
        let on = match on {
            Condition::Success => "",
            Condition::Failure => "failure of ",
            Condition::End => "end of ",
        };
        parents.push(match store.job(id)?.map(|parent| parent.state) {
            Some(State::Dead) => format!("{on}{id} (dead: queuectl dlq retry {id})"),
            Some(state) => format!("{on}{id} ({state})"),
            None => format!("{on}{id}"),
        });
    }
    for AfterBatch { batch, on } in &job.waits_for_batches {
        let left = store.batch(batch)?.map_or(0, |batch| batch.left());
        parents.push(format!("{on} of batch {batch} ({left} left)"));
    }
    let left_out = job.waits_for.len().saturating_sub(PARENTS_SHOWN);
    if left_out > 0 {
        parents.push(format!("{left_out} more"));
    }
    Ok(parents)
}

/// Under which terms it waits, where they are not the usual ones.
fn terms(job: &Job) -> String {
    let needs = (job.needs == Needs::Any).then_some("any one of them is enough");
    let otherwise = match job.otherwise {
        Otherwise::Wait => None,
        Otherwise::Cancel => Some("if they end otherwise, it is cancelled"),
        Otherwise::Run => Some("if they end otherwise, it runs all the same"),
    };
    needs.into_iter().chain(otherwise).collect::<Vec<_>>().join("; ")
}

fn record(job: &Job, parents: &[String], now: Timestamp, colour: bool) -> String {
    let mut page = String::new();
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(page, "{name:<14}{value}");
        }
    };
    let moment = |moment: Timestamp| format!("{} ({})", local(moment), relative(moment, now));
    let names = |names: &[queuectl_core::Name]| {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        names.join(", ")
    };
    field("job", job.id.to_string());
    field("state", Paint::of(job.state).on(colour, job.state.as_str()));
    field("queue", job.queue.to_string());
    let shell: Option<ShellJob> =
        (job.kind.as_str() == SHELL_KIND).then(|| job.payload.decode().ok()).flatten();
    match shell {
        Some(shell) => {
            field("command", line(&what(job)).to_string());
            let cwd = shell.cwd.unwrap_or_default();
            field("directory", line(&cwd).to_string());
            for (name, value) in &shell.env {
                field("environment", line(&format!("{name}={value}")).to_string());
            }
        }
        None => {
            field("kind", job.kind.to_string());
            field("payload", line(job.payload.as_str()).to_string());
        }
    }
    if job.priority != 0 {
        field("priority", job.priority.to_string());
    }
    field("attempts", format!("{} of {}", job.attempts, job.max_attempts));
    if let Some(crashes) = job.max_crashes {
        field("max crashes", crashes.to_string());
    }
    if let Some(timeout) = job.timeout {
        field("time limit", duration(timeout));
    }
    if let Some(backoff) = &job.backoff {
        field("backoff", backoff.to_string());
    }
    field("unique key", line(job.unique_key.as_deref().unwrap_or_default()).to_string());
    if let Some(until) = job.unique_until {
        field("unique until", moment(until));
    } else if job.unique_key.is_some() {
        let states: Vec<&str> = job.unique_while.iter().map(|state| state.as_str()).collect();
        field("unique while", states.join(", "));
    }
    field("concurrency key", line(job.concurrency_key.as_deref().unwrap_or_default()).to_string());
    field("tags", names(&job.tags));
    field("waits for", parents.join(", "));
    field("terms", terms(job));
    field("batch", job.batch.as_ref().map_or_else(String::new, ToString::to_string));
    field("enqueued", moment(job.created_at));
    match job.state {
        State::Pending | State::Failed => field("runs", moment(job.run_at)),
        State::Processing => {
            let by = job.worker.map_or_else(String::new, |worker| format!(", by {worker}"));
            let since = job.started_at.unwrap_or(job.updated_at);
            field("runs since", format!("{}{by}", moment(since)));
        }
        _ => {}
    }
    if let Some(expires_at) = job.expires_at.filter(|_| !job.state.is_terminal()) {
        field("expires", moment(expires_at));
    }
    if let Some(finished) = job.finished_at {
        field("ended", moment(finished));
    }
    field("cancelled", line(job.cancel_reason.as_deref().unwrap_or_default()).to_string());
    field("cancelled by", line(job.cancelled_by.as_deref().unwrap_or_default()).to_string());
    let json = |json: &Option<queuectl_core::Json>| {
        json.as_ref().map_or_else(String::new, |json| line(json.as_str()).to_string())
    };
    field("progress", json(&job.progress));
    field("result", json(&job.result));
    page
}

fn note_text(note: &Note, now: Timestamp) -> String {
    let mut page = format!("note, {} ({})", local(note.at), relative(note.at, now));
    if let Some(by) = &note.by {
        let _ = write!(page, " by {}", line(by));
    }
    page.push('\n');
    for note_line in text(note.text.trim_end()).to_string().lines() {
        let _ = writeln!(page, "  {note_line}");
    }
    if let Some(payload) = &note.payload {
        let _ = writeln!(page, "  until then the payload was {}", line(payload.as_str()));
    }
    page
}

fn attempt_text(attempt: &Attempt, now: Timestamp, colour: bool) -> String {
    let mut page = format!("attempt {}", attempt.token.0);
    if let Some(worker) = attempt.worker {
        let _ = write!(page, " by {worker}");
    }
    let _ = write!(page, ", {}", local(attempt.started_at));
    match (&attempt.report, attempt.finished_at) {
        (report, Some(finished)) => {
            let took = duration(finished.since(attempt.started_at));
            let (said, paint) = match report {
                Some(report) if report.cause == Cause::Succeeded => {
                    ("succeeded".to_owned(), Paint::Good)
                }
                Some(report) => (reason(report), Paint::Bad),
                None => ("ended".to_owned(), Paint::Plain),
            };
            let _ = writeln!(page, ", {took}: {}", paint.on(colour, &said));
        }
        (_, None) => {
            let since = duration(now.since(attempt.started_at));
            let _ = writeln!(page, ": {}", Paint::Busy.on(colour, &format!("runs for {since}")));
        }
    }
    if let Some(report) = &attempt.report
        && let Some(error) = report.error.as_deref()
        && error != reason(report)
    {
        for error_line in text(error.trim_end()).to_string().lines() {
            let _ = writeln!(page, "  {error_line}");
        }
    }
    page
}

/// Why an attempt ended, in a few words that are safe to print.
pub(super) fn reason(report: &Report) -> String {
    match (report.cause, report.exit_code, report.signal) {
        (Cause::Exited, Some(code), _) => format!("exit code {code}"),
        (Cause::Signalled, _, Some(signal)) => format!("ended by signal {signal}"),
        (Cause::TimedOut, ..) => "timed out".to_owned(),
        (Cause::SpawnFailed, ..) => "could not be started".to_owned(),
        (Cause::LeaseLost, ..) => "lost with its worker".to_owned(),
        (Cause::Undecodable, ..) => "the payload does not fit the handler".to_owned(),
        (Cause::Panicked, ..) => "the handler panicked".to_owned(),
        (cause, ..) => cause.as_str().replace('_', " "),
    }
}

/// The last lines of an output; what is left out is counted.
fn excerpt(name: &str, captured: &Captured, id: &JobId) -> String {
    if captured.total == 0 {
        return String::new();
    }
    let mut bytes = captured.head.clone();
    if captured.omitted() > 0 {
        bytes.clear();
    }
    bytes.extend(&captured.tail);
    let all = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = all.lines().collect();
    let shown = &lines[lines.len().saturating_sub(EXCERPT_LINES)..];
    let mut page = if captured.omitted() > 0 || shown.len() < lines.len() {
        format!(
            "\n{name} (last {} lines of {} bytes; queuectl logs {id} has more):\n",
            shown.len(),
            captured.total
        )
    } else {
        format!("\n{name}:\n")
    };
    for shown in shown {
        let _ = writeln!(page, "  {}", text(shown));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_says_what_it_leaves_out() {
        let id: JobId = "q1".parse().unwrap();
        let captured = |text: &str| Captured {
            head: text.as_bytes().to_vec(),
            total: text.len() as u64,
            ..Captured::default()
        };
        assert_eq!(excerpt("output", &captured(""), &id), "");
        assert_eq!(excerpt("output", &captured("a\nb\n"), &id), "\noutput:\n  a\n  b\n");
        let long = excerpt("output", &captured(&"x\n".repeat(9)), &id);
        assert!(long.contains("last 5 lines of 18 bytes; queuectl logs q1"), "{long}");
        let hostile = excerpt("output", &captured("\u{1b}[2J"), &id);
        assert!(hostile.contains(r"\x1b[2J"), "{hostile}");
    }

    #[test]
    fn a_reason_is_told_in_a_few_words() {
        let mut report = Report::new(Cause::Exited);
        report.exit_code = Some(3);
        assert_eq!(reason(&report), "exit code 3");
        assert_eq!(reason(&Report::new(Cause::TimedOut)), "timed out");
        assert_eq!(reason(&Report::new(Cause::Cancelled)), "cancelled");
    }
}
