//! `queue`: lists, limits, weighs, pauses and resumes queues.

use std::num::NonZeroU32;
use std::str::FromStr;

use queuectl_core::store::Store;
use queuectl_core::{InvalidWeight, Limit, Name, QueueLimits, Rate, State, Weight};
use serde::Serialize;

use super::names;
use super::status::{Counts, by_queue, counts_table, fold_ended_runs};
use crate::args::Queue;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    queues: Vec<QueueView>,
}

#[derive(Serialize)]
struct QueueView {
    name: String,
    paused: bool,
    limits: LimitsView,
    weight: Option<u32>,
    jobs: Counts,
}

#[derive(Serialize)]
struct LimitsView {
    concurrency: Option<NonZeroU32>,
    per_key: NonZeroU32,
    rate: Option<String>,
}

impl From<QueueLimits> for LimitsView {
    fn from(limits: QueueLimits) -> Self {
        LimitsView {
            concurrency: limits.concurrency,
            per_key: limits.per_key(),
            rate: limits.rate.map(|rate| rate.to_string()),
        }
    }
}

pub(crate) fn run(session: &Session, args: &Queue) -> Result<Exit, CliError> {
    match args {
        Queue::List => list(session),
        Queue::Limit { name, concurrency, per_key, rate } => {
            let changes = [
                asked("concurrency", concurrency.as_deref(), number, Limit::Concurrency)?,
                asked("per-key", per_key.as_deref(), number, Limit::PerKey)?,
                asked("rate", rate.as_deref(), Rate::from_str, Limit::Rate)?,
            ];
            let changes: Vec<Limit> = changes.into_iter().flatten().collect();
            limit(session, name, &changes)
        }
        Queue::Weight { name, weight } => {
            let weight = match weight.as_deref() {
                None => None,
                Some("none") => Some(None),
                Some(text) => {
                    let usage = |error: InvalidWeight| {
                        CliError::usage(error.to_string())
                            .hint(format!("to run nothing of it: queuectl queue pause {name}"))
                    };
                    Some(Some(text.parse().map_err(usage)?))
                }
            };
            weigh(session, name, weight)
        }
        Queue::Pause { names } => pause(session, names, true),
        Queue::Resume { names } => pause(session, names, false),
    }
}

fn list(session: &Session) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let queues = by_queue(&store.counts()?, &store.queues()?);
    if session.ui.json {
        let queues = queues
            .iter()
            .map(|queue| QueueView {
                name: queue.name.to_string(),
                paused: queue.paused,
                limits: queue.limits.into(),
                weight: queue.weight.map(Weight::get),
                jobs: Counts(queue.by_state),
            })
            .collect();
        session.ui.document(&Document { schema_version: SchemaVersion, queues })?;
    } else if queues.is_empty() {
        session.ui.note("no queue has been used yet: queuectl enqueue 'echo hello'");
    } else {
        let limited: Vec<String> = queues
            .iter()
            .filter(|queue| queue.limits != QueueLimits::default() || queue.weight.is_some())
            .map(|queue| {
                let weight = queue.weight.map(|weight| format!(", weight {weight}"));
                let weight = weight.unwrap_or_default();
                format!("{}: {}{weight}", queue.name, in_words(&queue.limits))
            })
            .collect();
        let table = counts_table(&fold_ended_runs(queues), &State::ALL);
        session.ui.print(table.render(session.ui.width, session.ui.colour))?;
        if !limited.is_empty() {
            session.ui.print(format!("\n{}\n", limited.join("\n")))?;
        }
    }
    Ok(Exit::DONE)
}

/// A limit as it was asked for, if it was; `none` takes it away.
fn asked<T, E: std::fmt::Display>(
    option: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Result<T, E>,
    limit: fn(Option<T>) -> Limit,
) -> Result<Option<Limit>, CliError> {
    let value = match text {
        None => return Ok(None),
        Some("none") => None,
        Some(text) => {
            Some(read(text).map_err(|error| CliError::usage(format!("--{option}: {error}")))?)
        }
    };
    Ok(Some(limit(value)))
}

fn number(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number of jobs from 1 on, nor none"))
}

fn limit(session: &Session, queue: &str, changes: &[Limit]) -> Result<Exit, CliError> {
    let queue = names("queue", &[queue.to_owned()])?.remove(0);
    let path = session.store_path()?;
    let store = if changes.is_empty() { path.open()? } else { path.open_or_create()? };
    let known = store.queues()?.into_iter().find(|known| known.name == queue);
    let limits = match (known, changes) {
        (None, []) => {
            return Err(CliError::new(Exit::NOT_FOUND, format!("there is no queue {queue}"))
                .hint("queuectl queue list"));
        }
        (Some(known), []) => known.limits,
        (known, changes) => {
            let limits = store.limit(&queue, changes)?;
            if known.is_none() {
                session.ui.tell(format_args!("no job has been in the queue {queue} yet"));
            }
            limits
        }
    };
    if session.ui.json {
        return list(session);
    }
    session.ui.line(format!("{queue}: {}", in_words(&limits)))?;
    Ok(Exit::DONE)
}

/// Sets the weight of a queue, or shows it.
fn weigh(session: &Session, queue: &str, weight: Option<Option<Weight>>) -> Result<Exit, CliError> {
    let queue = names("queue", &[queue.to_owned()])?.remove(0);
    let path = session.store_path()?;
    let store = if weight.is_none() { path.open()? } else { path.open_or_create()? };
    let known = store.queues()?.into_iter().find(|known| known.name == queue);
    let weight = match (known, weight) {
        (None, None) => {
            return Err(CliError::new(Exit::NOT_FOUND, format!("there is no queue {queue}"))
                .hint("queuectl queue list"));
        }
        (Some(known), None) => known.weight,
        (known, Some(weight)) => {
            store.weigh(&queue, weight)?;
            if known.is_none() {
                session.ui.tell(format_args!("no job has been in the queue {queue} yet"));
            }
            weight
        }
    };
    if session.ui.json {
        return list(session);
    }
    session.ui.line(match weight {
        Some(weight) => format!("{queue}: weight {weight}"),
        None => format!("{queue}: no weight of its own"),
    })?;
    Ok(Exit::DONE)
}

/// The limits of a queue, for a person.
fn in_words(limits: &QueueLimits) -> String {
    let at_a_time = |number: NonZeroU32| format!("{number} at a time");
    let parts = [
        limits.concurrency.map(at_a_time),
        limits.rate.map(|rate| format!("starts {rate}")),
        limits.per_key.map(|number| format!("{} of one key", at_a_time(number))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no limits".to_owned() } else { parts.join(", ") }
}

fn pause(session: &Session, queues: &[String], paused: bool) -> Result<Exit, CliError> {
    let queues = names("queue", queues)?;
    let path = session.store_path()?;
    let store = if paused { path.open_or_create()? } else { path.open()? };
    let known = by_queue(&store.counts()?, &store.queues()?);
    let is_known = |queue: &Name| known.iter().any(|other| other.name == *queue);
    if !paused && let Some(queue) = queues.iter().find(|queue| !is_known(queue)) {
        return Err(CliError::new(Exit::NOT_FOUND, format!("there is no queue {queue}"))
            .hint("queuectl queue list"));
    }
    for queue in &queues {
        store.pause(queue, paused)?;
        if !is_known(queue) {
            session.ui.tell(format_args!("no job has been in the queue {queue} yet"));
        }
    }
    if session.ui.json {
        return list(session);
    }
    for queue in &queues {
        session.ui.line(match paused {
            true => format!("paused {queue}: nothing more of it starts"),
            false => format!("resumed {queue}"),
        })?;
    }
    Ok(Exit::DONE)
}
