//! `batch`: lists, shows, closes and cancels batches of jobs.

use std::fmt::Write as _;

use queuectl_core::store::{BatchInfo, Remark, Store, StoreError};
use queuectl_core::{State, Timestamp};
use serde::Serialize;

use super::{at_most, count, go_on, name, who};
use crate::args::Batch;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::output::time::{local, relative};
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    batches: Vec<BatchView>,
    /// Of a list: whether there are more than the limit let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<bool>,
}

#[derive(Serialize)]
struct Cancelled {
    schema_version: SchemaVersion,
    batches: Vec<BatchView>,
    cancelled: u64,
    /// Those that ran: their workers have been told to stop them.
    asked: u64,
}

#[derive(Serialize)]
struct BatchView {
    name: String,
    /// `open`, `closed`, `completed` or `failed`.
    state: &'static str,
    created_at: Timestamp,
    closed_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    total: u64,
    completed: u64,
    dead: u64,
    cancelled: u64,
    left: u64,
}

impl From<&BatchInfo> for BatchView {
    fn from(batch: &BatchInfo) -> Self {
        BatchView {
            name: batch.name.to_string(),
            state: state(batch),
            created_at: batch.created_at,
            closed_at: batch.closed_at,
            finished_at: batch.finished_at,
            total: batch.total,
            completed: batch.completed,
            dead: batch.dead,
            cancelled: batch.cancelled,
            left: batch.left(),
        }
    }
}

fn state(batch: &BatchInfo) -> &'static str {
    match (batch.state(), batch.closed_at) {
        (State::Completed, _) => "completed",
        (State::Dead, _) => "failed",
        (_, Some(_)) => "closed",
        (_, None) => "open",
    }
}

pub(crate) fn run(session: &Session, args: &Batch) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    match args {
        Batch::List { limit } => {
            let limit = at_most(*limit);
            let mut batches = store.batches(limit.saturating_add(1))?;
            let more = batches.len() > limit;
            batches.truncate(limit);
            if batches.is_empty() && !session.ui.json {
                session.ui.note("no batch: queuectl enqueue --batch NAME 'echo hello'");
                return Ok(Exit::DONE);
            }
            print(session, &batches, Some(more))?;
            if more && !session.ui.json {
                session.ui.note("there are more: --limit 0 shows all");
            }
            Ok(Exit::DONE)
        }
        Batch::Show { name: text } => {
            let batch = name("batch", text)?;
            let found = store.batch(&batch)?.ok_or(StoreError::NoBatch(batch))?;
            match session.ui.json {
                true => print(session, &[found], None),
                false => show(session, &found),
            }
        }
        Batch::Close { name: text } => {
            let batch = name("batch", text)?;
            // Here an unknown name is a mistake in typing.
            store.batch(&batch)?.ok_or_else(|| StoreError::NoBatch(batch.clone()))?;
            store.close_batch(&batch, &[])?;
            go_on(&store)?;
            let closed = store.batch(&batch)?;
            if session.ui.json {
                return print(session, closed.as_slice(), None);
            }
            let left = closed.map_or(0, |batch| batch.left());
            session.ui.line(format_args!("closed {batch}: {} left", jobs(left)))?;
            Ok(Exit::DONE)
        }
        Batch::Cancel { name: text, reason, by } => {
            let batch = name("batch", text)?;
            let by = by.clone().unwrap_or_else(who);
            let remark = Remark { text: reason, by: Some(&by) };
            let done = store.cancel_batch(&batch, &remark)?.finish(&store)?;
            go_on(&store)?;
            if session.ui.json {
                let found = store.batch(&batch)?;
                session.ui.document(&Cancelled {
                    schema_version: SchemaVersion,
                    batches: found.iter().map(BatchView::from).collect(),
                    cancelled: done.cancelled,
                    asked: done.asked,
                })?;
                return Ok(Exit::DONE);
            }
            session.ui.line(format_args!("cancelled {} of {batch}", jobs(done.cancelled)))?;
            if done.asked > 0 {
                let asked = jobs(done.asked);
                session.ui.line(format_args!("told the workers of {asked} to stop them"))?;
            }
            Ok(Exit::DONE)
        }
    }
}

fn jobs(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "job")
}

fn print(session: &Session, batches: &[BatchInfo], more: Option<bool>) -> Result<Exit, CliError> {
    if session.ui.json {
        let batches = batches.iter().map(BatchView::from).collect();
        session.ui.document(&Document { schema_version: SchemaVersion, batches, more })?;
        return Ok(Exit::DONE);
    }
    for batch in batches {
        session.ui.line(format_args!("{:<24} {}", batch.name.as_str(), progress(batch)))?;
    }
    Ok(Exit::DONE)
}

fn progress(batch: &BatchInfo) -> String {
    let BatchInfo { total, completed, dead, cancelled, .. } = batch;
    format!(
        "{}: {completed} of {total} completed, {dead} dead, {cancelled} cancelled",
        state(batch)
    )
}

fn show(session: &Session, batch: &BatchInfo) -> Result<Exit, CliError> {
    let now = session.now();
    let mut page = String::new();
    let mut field = |name: &str, value: String| {
        let _ = writeln!(page, "{name:<14}{value}");
    };
    let moment = |moment: Timestamp| format!("{} ({})", local(moment), relative(moment, now));
    field("batch", batch.name.to_string());
    field("state", progress(batch));
    field("left", batch.left().to_string());
    field("made", moment(batch.created_at));
    if let Some(closed_at) = batch.closed_at {
        field("closed", moment(closed_at));
    }
    if let Some(finished_at) = batch.finished_at {
        field("ended", moment(finished_at));
    }
    session.ui.print(page)?;
    Ok(Exit::DONE)
}
