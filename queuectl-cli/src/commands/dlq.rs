//! `dlq`: the dead letter queue, which is the jobs that failed for good.

use std::io::Read;

use queuectl_core::shell::{SHELL_KIND, ShellJob};
use queuectl_core::store::{FailureGroup, JobQuery, Remark, Store, Sweep, Swept};
use queuectl_core::{Cause, Failure, Fingerprint, Job, JobId, Json, Report, State, Timestamp};
use serde::Serialize;

use super::{at_most, count, go_on, job_id, job_ids, list, retry, show};
use crate::args::{Dlq, DlqList, DlqPurge, DlqRetry, ListColumn};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::display::line;
use crate::output::json::SchemaVersion;
use crate::output::table::{Cell, Column, Table};
use crate::output::time::{duration, relative};
use crate::session::Session;
use crate::who::who;

const EMPTY: &str = "the dead letter queue is empty";

pub(crate) fn run(session: &Session, args: &Dlq) -> Result<Exit, CliError> {
    match args {
        Dlq::List(args) => list(session, args),
        Dlq::Groups { limit } => groups(session, *limit),
        Dlq::Retry(args) => retry(session, args),
        Dlq::Show { id } => {
            let id = job_id(id)?;
            must_be_dead(&session.store_path()?.open()?, &id)?;
            show::run(session, &id)
        }
        Dlq::Note { id, text } => note(session, &job_id(id)?, text),
        Dlq::Purge(args) => purge(session, args),
    }
}

fn list(session: &Session, args: &DlqList) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let failure = like(&store, args.like.as_deref())?;
    let query = JobQuery { states: vec![State::Dead], failure, ..list::query(&args.filter)? };
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

#[derive(Serialize)]
struct Groups {
    schema_version: SchemaVersion,
    groups: Vec<GroupView>,
    /// Whether there are more than the limit let through.
    more: bool,
}

#[derive(Serialize)]
struct GroupView {
    fingerprint: Fingerprint,
    count: u64,
    kind: String,
    cause: Cause,
    exit_code: Option<i32>,
    signal: Option<i32>,
    form: String,
    oldest_at: Timestamp,
    newest_at: Timestamp,
    exemplar: String,
}

impl From<&FailureGroup> for GroupView {
    fn from(group: &FailureGroup) -> Self {
        let failure = &group.failure;
        GroupView {
            fingerprint: failure.fingerprint(),
            count: group.count,
            kind: failure.kind.to_string(),
            cause: failure.cause,
            exit_code: failure.exit_code,
            signal: failure.signal,
            form: failure.form.clone(),
            oldest_at: group.oldest_at,
            newest_at: group.newest_at,
            exemplar: group.exemplar.to_string(),
        }
    }
}

fn groups(session: &Session, limit: usize) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let limit = at_most(limit);
    let mut groups = store.failures(limit.saturating_add(1))?;
    let more = groups.len() > limit;
    groups.truncate(limit);
    if session.ui.json {
        let groups = groups.iter().map(GroupView::from).collect();
        session.ui.document(&Groups { schema_version: SchemaVersion, groups, more })?;
        return Ok(Exit::DONE);
    }
    if groups.is_empty() {
        session.ui.note(EMPTY);
        return Ok(Exit::DONE);
    }
    let mut table = Table::new([
        Column::number("JOBS"),
        Column::text("NEWEST"),
        Column::text("OLDEST"),
        Column::text("LIKE"),
        Column::long("KIND"),
        Column::long("FAILURE"),
    ]);
    let now = session.now();
    for group in &groups {
        let row: Vec<Cell> = vec![
            group.count.to_string().into(),
            relative(group.newest_at, now).into(),
            relative(group.oldest_at, now).into(),
            group.exemplar.to_string().into(),
            group.failure.kind.to_string().into(),
            line(&in_words(&group.failure)).to_string().into(),
        ];
        table.row(row);
    }
    session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    if more {
        session.ui.note("there are more: --limit 0 shows all");
    }
    session.ui.tell(
        "`queuectl dlq show ID` shows one job, `queuectl dlq retry --like ID` retries all like it",
    );
    Ok(Exit::DONE)
}

/// A way to fail in a line: why the attempts ended, and what was said.
fn in_words(failure: &Failure) -> String {
    let Failure { cause, exit_code, signal, ref form, .. } = *failure;
    let reason = show::reason(&Report { exit_code, signal, ..Report::new(cause) });
    match form.as_str() {
        "" => reason,
        form if cause == Cause::Failed || form.starts_with(&reason) => form.to_owned(),
        form => format!("{reason}: {form}"),
    }
}

#[derive(Serialize)]
struct SweptDocument {
    schema_version: SchemaVersion,
    count: u64,
    /// Those that cannot run again because another job holds their unique key.
    kept: u64,
}

fn retry(session: &Session, args: &DlqRetry) -> Result<Exit, CliError> {
    let rate = args.rate.as_deref().map(str::parse).transpose();
    let rate = rate.map_err(|error| CliError::usage(format!("--rate: {error}")))?;
    let store = session.store_path()?.open()?;
    if !args.all && args.like.is_none() {
        let ids = named(&store, &args.ids)?;
        match &args.payload {
            None => store.retry(&ids)?,
            Some(text) => edit(&store, &ids, text, args.note.as_deref().unwrap_or_default())?,
        }
        return retry::say(session, &store, &ids);
    }
    let mut sweep = of(Sweep::retry(), like(&store, args.like.as_deref())?);
    if let Some(rate) = rate {
        sweep = sweep.rate(rate);
    }
    let Swept { done, kept, .. } = sweep.clone().run(&store)?;
    if session.ui.json {
        let schema_version = SchemaVersion;
        session.ui.document(&SweptDocument { schema_version, count: done, kept })?;
        return Ok(Exit::DONE);
    }
    match done {
        0 if kept == 0 => session.ui.tell(EMPTY),
        _ => session.ui.line(format_args!("{} will run again", count(done, "job")))?,
    }
    if rate.is_some() && done > 1 {
        session.ui.tell(format_args!("the last one in {}", duration(sweep.wait(done - 1))));
    }
    if kept > 0 {
        session.ui.note(format_args!("{} kept: others hold their unique keys", count(kept, "job")));
    }
    Ok(Exit::DONE)
}

/// Runs a job again with another payload.
fn edit(store: &dyn Store, ids: &[JobId], text: &str, note: &str) -> Result<(), CliError> {
    let [id] = ids else {
        return Err(CliError::usage("--payload is for one job"));
    };
    let mut payload = text.to_owned();
    if text == "-" {
        payload.clear();
        let read = std::io::stdin().lock().read_to_string(&mut payload);
        read.map_err(|error| CliError::usage(format!("stdin: {error}")))?;
    }
    let invalid = |error: String| CliError::usage(format!("--payload: {error}"));
    let payload = Json::parse(payload.trim()).map_err(|error| invalid(error.to_string()))?;
    if show::job(store, id)?.kind.as_str() == SHELL_KIND {
        let shell: Result<ShellJob, _> = payload.decode();
        shell.map_err(|error| invalid(format!("not a shell job: {error}")))?;
    }
    let by = who();
    Ok(store.retry_with(id, &payload, &Remark { text: note, by: Some(&by) })?)
}

fn note(session: &Session, id: &JobId, text: &str) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    must_be_dead(&store, id)?;
    let by = who();
    store.note(id, &Remark { text, by: Some(&by) })?;
    show::run(session, id)
}

#[derive(Serialize)]
struct Purged {
    schema_version: SchemaVersion,
    purged: Vec<String>,
}

fn purge(session: &Session, args: &DlqPurge) -> Result<Exit, CliError> {
    let when = session.when();
    let until = args.older_than.as_deref().map(|age| when.past(age)).transpose()?;
    let store = session.store_path()?.open()?;
    let deleted = if args.ids.is_empty() {
        let mut sweep = of(Sweep::purge(), like(&store, args.like.as_deref())?);
        sweep.until = until;
        let Swept { done, kept, .. } = sweep.run(&store)?;
        if session.ui.json {
            let schema_version = SchemaVersion;
            session.ui.document(&SweptDocument { schema_version, count: done, kept })?;
        }
        done
    } else {
        let ids = named(&store, &args.ids)?;
        store.purge(&ids)?;
        if session.ui.json {
            session.ui.document(&Purged {
                schema_version: SchemaVersion,
                purged: ids.iter().map(ToString::to_string).collect(),
            })?;
        }
        ids.len() as u64
    };
    go_on(&store)?;
    if !session.ui.json {
        session.ui.line(format_args!("deleted {}", count(deleted, "job")))?;
    }
    Ok(Exit::DONE)
}

/// A sweep over those that failed in this way, if there is one.
fn of(sweep: Sweep, failure: Option<Fingerprint>) -> Sweep {
    Sweep { alike: failure, ..sweep }
}

/// In which way the job failed that others are to be like.
fn like(store: &dyn Store, id: Option<&str>) -> Result<Option<Fingerprint>, CliError> {
    let Some(id) = id else { return Ok(None) };
    let job = must_be_dead(store, &job_id(id)?)?;
    // Without one, "all like it" would be all.
    match job.failure {
        Some(failure) => Ok(Some(failure)),
        None => Err(CliError::new(
            Exit::STORE,
            format!("the store does not say how job {} failed", job.id),
        )),
    }
}

/// The jobs that were named; all are dead.
fn named(store: &dyn Store, texts: &[String]) -> Result<Vec<JobId>, CliError> {
    let ids = job_ids(texts)?;
    for id in &ids {
        must_be_dead(store, id)?;
    }
    Ok(ids)
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
