//! `list`: a table of jobs.

use queuectl_core::store::{JobQuery, Queues, Sort, Store};
use queuectl_core::{Job, JobId, State, Timestamp};
use serde::Serialize;

use super::{at_most, name};
use crate::args::{Filter, List, ListColumn, SortBy};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::display::{line, truncate};
use crate::output::json::{JobView, SchemaVersion, what};
use crate::output::table::{Cell, Column, Table};
use crate::output::time::{local, relative};
use crate::session::Session;

/// How many jobs are asked for at once.
const PAGE_LEN: usize = 1_000;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    jobs: Vec<JobView>,
    /// Whether there are more jobs than the limit let through.
    more: bool,
}

pub(crate) fn run(session: &Session, args: &List) -> Result<Exit, CliError> {
    let when = session.when();
    let mut query = query(&args.filter)?;
    query.states = states(args.states.iter().chain(&args.state))?;
    query.created_before = args.before.as_deref().map(|text| when.past(text)).transpose()?;
    query.created_after = args.after.as_deref().map(|text| when.past(text)).transpose()?;
    query.ascending = args.reverse;
    query.sort = match args.sort {
        SortBy::Created => Sort::Created,
        SortBy::Updated => Sort::Updated,
        SortBy::RunAt => Sort::RunAt,
        SortBy::Priority => Sort::Priority,
        SortBy::Attempts => Sort::Attempts,
    };
    let empty = if query == self::query(&args.filter)? && is_default(&args.filter) {
        "there are no jobs yet: queuectl enqueue 'echo hello'"
    } else {
        "no job fits; `queuectl list` shows them all"
    };
    let store = session.store_path()?.open()?;
    let found = find(&store, query)?;
    print(session, &found, &args.columns, empty)
}

/// What the filter lets through.
pub(super) fn query(filter: &Filter) -> Result<JobQuery, CliError> {
    let optional =
        |what, text: &Option<String>| text.as_deref().map(|text| name(what, text)).transpose();
    Ok(JobQuery {
        queue: optional("queue", &filter.queue)?,
        kind: optional("kind", &filter.kind)?,
        tag: optional("tag", &filter.tag)?,
        limit: filter.limit,
        ..JobQuery::default()
    })
}

fn is_default(filter: &Filter) -> bool {
    filter.queue.is_none() && filter.kind.is_none() && filter.tag.is_none()
}

fn states<'a>(texts: impl Iterator<Item = &'a String>) -> Result<Vec<State>, CliError> {
    let mut states = Vec::new();
    for text in texts.filter(|text| *text != "all") {
        let state: State = text
            .to_lowercase()
            .parse()
            .map_err(|error: queuectl_core::UnknownState| CliError::usage(error.to_string()))?;
        if !states.contains(&state) {
            states.push(state);
        }
    }
    Ok(states)
}

/// The jobs of a query, and whether there are more than its limit.
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    pub(super) more: bool,
}

/// Asks for the jobs in pages where their order allows it: a limit of 0 is none.
pub(super) fn find(store: &dyn Store, mut query: JobQuery) -> Result<Found, CliError> {
    let limit = at_most(query.limit);
    let mut jobs: Vec<Job> = Vec::new();
    let paged = query.sort == Sort::Created;
    loop {
        let wanted = limit.saturating_sub(jobs.len()).saturating_add(1);
        query.limit = wanted.min(if paged { PAGE_LEN } else { u32::MAX as usize });
        let page = store.jobs(&query)?;
        let ended = page.len() < query.limit;
        query.from = page.last().map(|job| job.key);
        jobs.extend(page);
        if jobs.len() > limit {
            jobs.truncate(limit);
            return Ok(Found { jobs, more: true });
        }
        if ended || !paged {
            return Ok(Found { jobs, more: false });
        }
    }
}

/// Prints the jobs with these columns, or those that are of use.
pub(super) fn print(
    session: &Session,
    found: &Found,
    columns: &[ListColumn],
    empty: &str,
) -> Result<Exit, CliError> {
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            jobs: found.jobs.iter().map(JobView::from).collect(),
            more: found.more,
        })?;
        return Ok(Exit::DONE);
    }
    if found.jobs.is_empty() {
        session.ui.note(empty);
        return Ok(Exit::DONE);
    }
    let columns = match columns {
        [] => useful(&found.jobs),
        chosen => chosen.to_vec(),
    };
    let table = table(&found.jobs, &columns, session.now());
    session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    if found.more {
        session.ui.note(format_args!(
            "there are more: --limit {} shows twice as many, --limit 0 all",
            found.jobs.len() * 2
        ));
    }
    Ok(Exit::DONE)
}

/// The columns that say something about one of the jobs.
pub(super) fn useful(jobs: &[Job]) -> Vec<ListColumn> {
    use ListColumn as C;
    let any = |says: fn(&Job) -> bool| jobs.iter().any(says);
    let mut columns = vec![C::Id, C::State];
    // The queue of a run that is over tells nothing.
    if any(|job| {
        job.queue.as_str() != queuectl_core::DEFAULT_QUEUE
            && (Queues::All.include(&job.queue) || !job.state.is_terminal())
    }) {
        columns.push(C::Queue);
    }
    if any(|job| job.priority != 0) {
        columns.push(C::Priority);
    }
    columns.extend([C::Attempts, C::When]);
    if any(|job| !job.tags.is_empty()) {
        columns.push(C::Tags);
    }
    columns.push(C::Command);
    if any(|job| job.last_error.is_some()) {
        columns.push(C::Error);
    }
    columns
}

fn table(jobs: &[Job], columns: &[ListColumn], now: Timestamp) -> Table {
    let mut table = Table::new(columns.iter().map(column).collect::<Vec<_>>());
    for job in jobs {
        table.row(columns.iter().map(|column| cell(job, *column, now)).collect());
    }
    table
}

fn column(column: &ListColumn) -> Column {
    match column {
        ListColumn::Id => Column::text("ID"),
        ListColumn::State => Column::text("STATE"),
        ListColumn::Queue => Column::long("QUEUE"),
        ListColumn::Kind => Column::long("KIND"),
        ListColumn::Priority => Column::number("PRIO"),
        ListColumn::Attempts => Column::number("ATTEMPTS"),
        ListColumn::Created => Column::text("CREATED"),
        ListColumn::Updated => Column::text("UPDATED"),
        ListColumn::RunAt => Column::text("RUN AT"),
        ListColumn::When => Column::text("WHEN"),
        ListColumn::Tags => Column::long("TAGS"),
        ListColumn::Worker => Column::text("WORKER"),
        ListColumn::Command => Column::long("COMMAND"),
        ListColumn::Error => Column::long("LAST ERROR"),
    }
}

fn cell(job: &Job, column: ListColumn, now: Timestamp) -> Cell {
    match column {
        ListColumn::Id => job.id.to_string().into(),
        ListColumn::State => Cell(job.state.to_string(), Paint::of(job.state)),
        ListColumn::Queue => job.queue.to_string().into(),
        ListColumn::Kind => job.kind.to_string().into(),
        ListColumn::Priority => job.priority.to_string().into(),
        ListColumn::Attempts => format!("{}/{}", job.attempts, job.max_attempts).into(),
        ListColumn::Created => local(job.created_at).into(),
        ListColumn::Updated => local(job.updated_at).into(),
        ListColumn::RunAt => local(job.run_at).into(),
        ListColumn::When => when(job, now).into(),
        ListColumn::Tags => {
            let tags: Vec<&str> = job.tags.iter().map(AsRef::as_ref).collect();
            tags.join(",").into()
        }
        ListColumn::Worker => {
            job.worker.map_or_else(String::new, |worker| worker.to_string()).into()
        }
        ListColumn::Command => line(&what(job)).to_string().into(),
        ListColumn::Error => {
            let error = job.last_error.as_deref().unwrap_or_default();
            Cell(line(error.trim_end()).to_string(), Paint::Faint)
        }
    }
}

/// The moment that matters in the job's state.
fn when(job: &Job, now: Timestamp) -> String {
    match job.state {
        // A due job only waits for a worker: how long it has done so is what matters.
        State::Pending | State::Failed if job.run_at > now => relative(job.run_at, now),
        State::Pending | State::Failed => "due".to_owned(),
        State::Blocked => {
            let first = job.waits_for.first();
            let batch =
                || job.waits_for_batches.first().map(|after| format!("batch {}", after.batch));
            let first = first.map(|after| after.job.to_string()).or_else(batch);
            format!("after {}", first.unwrap_or_default())
        }
        State::Processing => {
            let since = relative(job.started_at.unwrap_or(job.updated_at), now);
            since.replace(" ago", "").replace("now", "0s")
        }
        _ => relative(job.finished_at.unwrap_or(job.updated_at), now),
    }
}

/// What a job runs, short, for tables about something else.
pub(super) fn what_of(store: &dyn Store, id: &JobId) -> String {
    let job = store.job(id).ok().flatten();
    job.map_or_else(String::new, |job| truncate(&line(&what(&job)).to_string(), 60))
}
