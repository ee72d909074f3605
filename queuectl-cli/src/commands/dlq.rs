//! `dlq`: the dead letter queue, which is the jobs that failed for good.

use queuectl_core::store::{JobQuery, Store};
use queuectl_core::{Job, JobId, State};
use serde::Serialize;

use super::{count, job_id, job_ids, list, retry, show};
use crate::args::{Dlq, DlqPurge, DlqRetry, Filter, ListColumn};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::session::Session;

/// How many jobs one call takes: all of them or none.
const BATCH_LEN: usize = 1_000;

const EMPTY: &str = "the dead letter queue is empty";

pub(crate) fn run(session: &Session, args: &Dlq) -> Result<Exit, CliError> {
    match args {
        Dlq::List(filter) => list(session, filter),
        Dlq::Retry(args) => retry(session, args),
        Dlq::Show { id } => {
            let id = job_id(id)?;
            must_be_dead(&session.store_path()?.open()?, &id)?;
            show::run(session, &id)
        }
        Dlq::Purge(args) => purge(session, args),
    }
}

fn list(session: &Session, filter: &Filter) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let query = JobQuery { states: vec![State::Dead], ..list::query(filter)? };
    let found = list::find(&store, query)?;
    // They are all dead: the state says nothing.
    let mut columns = list::useful(&found.jobs);
    columns.retain(|column| *column != ListColumn::State);
    let exit = list::print(session, &found, &columns, EMPTY)?;
    if !found.jobs.is_empty() {
        session.ui.tell(
            "`queuectl dlq retry ID` runs one again, `queuectl dlq show ID` tells why it failed",
        );
    }
    Ok(exit)
}

fn retry(session: &Session, args: &DlqRetry) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let ids = if let Some(like) = &args.like {
        let model = must_be_dead(&store, &job_id(like)?)?;
        dead(&store, |job| same_failure(job, &model))?
    } else if args.all {
        dead(&store, |_| true)?
    } else {
        named(&store, &args.ids)?
    };
    for batch in ids.chunks(BATCH_LEN) {
        store.retry(batch)?;
    }
    if ids.is_empty() {
        session.ui.tell(EMPTY);
    }
    retry::say(session, &store, &ids)
}

#[derive(Serialize)]
struct Purged {
    schema_version: SchemaVersion,
    purged: Vec<String>,
}

fn purge(session: &Session, args: &DlqPurge) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let ids = if args.all { dead(&store, |_| true)? } else { named(&store, &args.ids)? };
    for batch in ids.chunks(BATCH_LEN) {
        store.purge(batch)?;
    }
    if session.ui.json {
        session.ui.document(&Purged {
            schema_version: SchemaVersion,
            purged: ids.iter().map(ToString::to_string).collect(),
        })?;
    } else {
        session.ui.line(format_args!("deleted {}", count(ids.len(), "job")))?;
    }
    Ok(Exit::DONE)
}

/// The jobs that were named; all are dead.
fn named(store: &dyn Store, texts: &[String]) -> Result<Vec<JobId>, CliError> {
    let ids = job_ids(texts)?;
    for id in &ids {
        must_be_dead(store, id)?;
    }
    Ok(ids)
}

/// The dead jobs that are wanted, oldest first.
fn dead(store: &dyn Store, wanted: impl Fn(&Job) -> bool) -> Result<Vec<JobId>, CliError> {
    let query =
        JobQuery { states: vec![State::Dead], ascending: true, limit: 0, ..JobQuery::default() };
    let jobs = list::find(store, query)?.jobs;
    Ok(jobs.into_iter().filter(wanted).map(|job| job.id).collect())
}

fn must_be_dead(store: &dyn Store, id: &JobId) -> Result<Job, CliError> {
    let job = show::job(store, id)?;
    if job.state != State::Dead {
        return Err(CliError::new(
            Exit::CONFLICT,
            format!("job {id} is {}, not in the dead letter queue", job.state),
        )
        .hint(match job.state {
            State::Failed => {
                format!("it will run again by itself; `queuectl retry {id}` runs it now")
            }
            _ => "queuectl dlq list".to_owned(),
        }));
    }
    Ok(job)
}

/// Whether two jobs failed in the same way: of one kind, with errors that differ in numbers alone.
fn same_failure(a: &Job, b: &Job) -> bool {
    a.kind == b.kind
        && a.last_error.as_deref().map(without_numbers)
            == b.last_error.as_deref().map(without_numbers)
}

fn without_numbers(error: &str) -> String {
    let mut shape = String::with_capacity(error.len());
    for character in error.chars() {
        if !character.is_ascii_digit() {
            shape.push(character);
        } else if !shape.ends_with('#') {
            shape.push('#');
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_differ_in_numbers_are_alike() {
        let shape = without_numbers;
        assert_eq!(shape("line 12: 500"), shape("line 7: 404"));
        assert_ne!(shape("timeout"), shape("refused"));
    }
}
