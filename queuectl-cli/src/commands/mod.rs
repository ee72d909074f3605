//! One file for each command: it calls the library and prints.

mod batch;
mod cancel;
mod config;
mod dlq;
mod enqueue;
mod events;
mod kind;
mod list;
mod logs;
mod queue;
mod retry;
mod run;
mod schedule;
mod show;
mod status;
mod stream;
mod wait;
mod worker;

use queuectl_core::store::{Remark, Store};
use queuectl_core::{JobId, Name};

use crate::args::{Command, Worker};
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::Session;
use crate::who::who;

/// Does what was asked for.
pub(crate) fn run(session: &Session, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Enqueue(args) => enqueue::run(session, &args),
        Command::Run(args) => run::run(session, &args),
        Command::Worker(Worker::Start(args)) | Command::WorkerStart(args) => {
            worker::start::run(session, &args)
        }
        Command::Worker(Worker::Stop(args)) | Command::WorkerStop(args) => {
            worker::stop::run(session, &args)
        }
        Command::Worker(Worker::List) => worker::list::run(session),
        Command::Status => status::run(session),
        Command::List(args) => list::run(session, &args),
        Command::Show { id } => show::run(session, &job_id(&id)?),
        Command::Logs(args) => logs::run(session, &args),
        Command::Events(args) => events::run(session, &args),
        Command::Wait(args) => wait::run(session, &args),
        Command::Cancel { ids, reason, by } => {
            let by = by.unwrap_or_else(who);
            cancel::run(session, &job_ids(&ids)?, &Remark { text: &reason, by: Some(&by) })
        }
        Command::Retry { ids } => retry::run(session, &job_ids(&ids)?),
        Command::Dlq(args) => dlq::run(session, &args),
        Command::Queue(args) => queue::run(session, &args),
        Command::Kind(args) => kind::run(session, &args),
        Command::Schedule(args) => schedule::run(session, &args),
        Command::Batch(args) => batch::run(session, &args),
        Command::Config(args) => config::run(session, &args),
    }
}

/// Does all that calls have left for those who claim: where nobody works, it should be seen all the same.
fn go_on(store: &dyn Store) -> Result<(), CliError> {
    while store.go_on()? {}
    Ok(())
}

/// How many are to be shown at most, as it is typed in each command: 0 is all.
fn at_most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

/// A job's id. What cannot be one is a mistake in typing, not a job that is missing.
fn job_id(text: &str) -> Result<JobId, CliError> {
    text.parse().map_err(|error: queuectl_core::InvalidName| CliError::usage(error.to_string()))
}

/// Several, each once.
fn job_ids(texts: &[String]) -> Result<Vec<JobId>, CliError> {
    let mut ids = Vec::new();
    for text in texts {
        let id = job_id(text)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The name of a queue, a kind or a tag.
fn name(what: &str, text: &str) -> Result<Name, CliError> {
    Name::new(text).map_err(|error| CliError::usage(format!("{what}: {error}")))
}

fn names(what: &str, texts: &[String]) -> Result<Vec<Name>, CliError> {
    texts.iter().map(|text| name(what, text)).collect()
}

/// `1 job`, `2 jobs`.
fn count(number: impl std::fmt::Display, one: &str) -> String {
    match number.to_string().as_str() {
        "1" => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}
