//! `queue`: lists, pauses and resumes queues.

use queuectl_core::store::Store;
use queuectl_core::{Name, State};
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
    jobs: Counts,
}

pub(crate) fn run(session: &Session, args: &Queue) -> Result<Exit, CliError> {
    match args {
        Queue::List => list(session),
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
                jobs: Counts(queue.by_state),
            })
            .collect();
        session.ui.document(&Document { schema_version: SchemaVersion, queues })?;
    } else if queues.is_empty() {
        session.ui.note("no queue has been used yet: queuectl enqueue 'echo hello'");
    } else {
        let table = counts_table(&fold_ended_runs(queues), &State::ALL);
        session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    }
    Ok(Exit::DONE)
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
