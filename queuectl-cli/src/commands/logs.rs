//! `logs`: what a job has written.

use std::time::Duration;

use queuectl_core::shell::log_paths;
use queuectl_core::store::Store;
use queuectl_core::{Attempt, Captured, Job, Report, State};
use serde::Serialize;

use super::show::job;
use super::stream::Stream;
use super::{count, job_id};
use crate::args::Logs;
use crate::changes::Changes;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::display::text;
use crate::output::json::{AttemptView, SchemaVersion};
use crate::session::Session;

/// How long new output goes unnoticed at most: files are read again, not watched.
const LOOK: Duration = Duration::from_millis(100);

/// Which output of a report.
type Part = fn(&Report) -> &Captured;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    id: String,
    /// Nothing where there is no record of one.
    attempt: Option<AttemptView>,
}

pub(crate) fn run(session: &Session, args: &Logs) -> Result<Exit, CliError> {
    let id = job_id(&args.id)?;
    let path = session.store_path()?;
    let store = path.open()?;
    let mut job = job(&store, &id)?;
    let changes = Changes::of(&store)?;
    let attempt = loop {
        match chosen(&store, &job, args)? {
            Some(attempt) => break attempt,
            None if args.follow && !job.state.is_terminal() => changes.wait(Duration::MAX),
            None => return none_yet(session, &job, args.attempt),
        }
        job = super::show::job(&store, &id)?;
    };
    if session.ui.json && !args.follow {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            id: id.to_string(),
            attempt: Some((&attempt).into()),
        })?;
        return Ok(Exit::DONE);
    }
    let (out, err) = log_paths(&path.logs(), job.key, attempt.token);
    let mut streams: Vec<(Stream, Part)> = Vec::new();
    if !args.stderr {
        streams.push((Stream::new(out), |report| &report.stdout));
    }
    if !args.stdout {
        streams.push((Stream::new(err), |report| &report.stderr));
    }
    if args.raw && session.ui.is_terminal() {
        session.ui.note("raw: whatever the job wrote now controls this terminal");
    }
    let mut emit = |bytes: &[u8]| match args.raw {
        true => session.ui.print_bytes(bytes),
        false => session.ui.print(text(&String::from_utf8_lossy(bytes))),
    };
    let mut attempt = Some(attempt);
    while let Some(running) = &attempt
        && running.finished_at.is_none()
    {
        for (stream, _) in &mut streams {
            stream.print_new(&mut emit, !args.follow)?;
        }
        if !args.follow {
            return Ok(Exit::DONE);
        }
        changes.wait(LOOK);
        attempt = store.attempts(job.key)?.into_iter().find(|other| other.token == running.token);
    }
    let report = attempt.and_then(|attempt| attempt.report);
    for (stream, kept) in &mut streams {
        match &report {
            Some(report) => stream.print_rest(&session.ui, &mut emit, kept(report))?,
            None => stream.print_new(&mut emit, true)?,
        }
    }
    Ok(Exit::DONE)
}

/// The attempt that was asked for, or the newest one.
fn chosen(store: &dyn Store, job: &Job, args: &Logs) -> Result<Option<Attempt>, CliError> {
    let mut attempts = store.attempts(job.key)?;
    let Some(number) = args.attempt else {
        return Ok(attempts.pop());
    };
    let known = attempts.len();
    let attempt = attempts.into_iter().find(|attempt| attempt.token.0 == number);
    if attempt.is_none() && number <= job.token.0 {
        return Err(CliError::new(
            Exit::NOT_FOUND,
            format!("job {} has no record of attempt {number}", job.id),
        )
        .hint(format!("it has {}: queuectl show {}", count(known, "attempt"), job.id)));
    }
    Ok(attempt)
}

fn none_yet(session: &Session, job: &Job, wanted: Option<i64>) -> Result<Exit, CliError> {
    if let Some(number) = wanted {
        let begun = usize::try_from(job.token.0).unwrap_or_default();
        return Err(CliError::new(
            Exit::NOT_FOUND,
            format!("job {} has no attempt {number}", job.id),
        )
        .hint(match begun {
            0 => format!("it is {} and has not run yet", job.state),
            _ => format!("it has had {}: queuectl show {}", count(begun, "attempt"), job.id),
        }));
    }
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            id: job.id.to_string(),
            attempt: None,
        })?;
        return Ok(Exit::DONE);
    }
    session.ui.note(match job.state {
        // A success that wrote nothing leaves no record of its attempt.
        State::Completed => "the job wrote nothing".to_owned(),
        state if state.is_terminal() => format!("job {} is {state} and has not run", job.id),
        state => format!("job {} is {state} and has not run yet; -f waits for it", job.id),
    });
    Ok(Exit::DONE)
}
