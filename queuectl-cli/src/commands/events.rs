//! `events`: what became of which job, from the store's event log; and going on with what happens.

use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{Store, StoreError};
use queuectl_core::{
    Cause, Change, JobEvent, JobId, Name, SqliteStore, State, Subscription, Timestamp,
};
use serde::Serialize;

use super::{job_id, name};
use crate::args::Events;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::display::line;
use crate::output::json::SchemaVersion;
use crate::output::table::{Cell, Column, Table};
use crate::output::time::local;
use crate::session::Session;
use crate::signals;

/// How many entries are read at once.
const PAGE_LEN: u64 = 1_000;

const HOW_TO_TURN_ON: &str = "the event log is off: queuectl config set event-log on";

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    /// Whether the log is on.
    on: bool,
    events: Vec<EventView>,
    /// Whether the limit kept some back.
    more: bool,
}

/// A line of JSON while the log is followed.
#[derive(Serialize)]
struct Line {
    schema_version: SchemaVersion,
    #[serde(flatten)]
    event: EventView,
}

#[derive(Serialize)]
struct EventView {
    seq: u64,
    at: Timestamp,
    id: String,
    queue: String,
    kind: String,
    change: Change,
    from: Option<State>,
    to: Option<State>,
    attempt: Option<i64>,
    worker: Option<String>,
    cause: Option<Cause>,
    reason: Option<String>,
    by: Option<String>,
}

impl From<&JobEvent> for EventView {
    fn from(event: &JobEvent) -> Self {
        EventView {
            seq: event.seq,
            at: event.at,
            id: event.id.to_string(),
            queue: event.queue.to_string(),
            kind: event.kind.to_string(),
            change: event.change,
            from: event.from,
            to: event.to,
            attempt: event.token.map(|token| token.0),
            worker: event.worker.map(|worker| worker.to_string()),
            cause: event.cause,
            reason: event.reason.clone(),
            by: event.by.clone(),
        }
    }
}

/// Which entries are shown.
struct Filter {
    job: Option<JobId>,
    queue: Option<Name>,
}

impl Filter {
    fn of(args: &Events) -> Result<Self, CliError> {
        Ok(Filter {
            job: args.job.as_deref().map(job_id).transpose()?,
            queue: args.queue.as_deref().map(|text| name("queue", text)).transpose()?,
        })
    }

    fn fits(&self, event: &JobEvent) -> bool {
        self.job.as_ref().is_none_or(|id| event.id == *id)
            && self.queue.as_ref().is_none_or(|queue| event.queue == *queue)
    }
}

pub(crate) fn run(session: &Session, args: &Events) -> Result<Exit, CliError> {
    let filter = Filter::of(args)?;
    let store = session.store_path()?.open()?;
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    if args.follow {
        return follow(session, args.after, limit, &filter, store);
    }
    let found = match args.after {
        Some(after) => first_after(&store, &filter, after, limit)?,
        None => newest(&store, &filter, store.last_event()?, limit)?,
    };
    let on = store.settings()?.event_log;
    if let Some(id) = filter.job.filter(|_| on && found.events.is_empty()) {
        // Here an unknown id is a mistake in typing.
        store.job(&id)?.ok_or(StoreError::NotFound(id))?;
    }
    if session.ui.json {
        let events = found.events.iter().map(EventView::from).collect();
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            on,
            events,
            more: found.more,
        })?;
        return Ok(Exit::DONE);
    }
    if found.events.is_empty() {
        session.ui.note(match (on, store.last_event()?) {
            (false, _) => HOW_TO_TURN_ON,
            (true, 0) => "nothing has happened yet: queuectl enqueue 'echo hello'",
            (true, _) => "no event fits; `queuectl events` shows the newest",
        });
        return Ok(Exit::DONE);
    }
    session.ui.print(table(session, &found.events))?;
    if found.more {
        session.ui.note("there are more; -n 0 shows all");
    }
    Ok(Exit::DONE)
}

/// Entries, oldest first, and whether there are more than the limit.
struct Found {
    events: Vec<JobEvent>,
    more: bool,
}

fn first_after(
    store: &dyn Store,
    filter: &Filter,
    mut after: u64,
    limit: usize,
) -> Result<Found, CliError> {
    let mut events = Vec::new();
    loop {
        let page = store.events(after, PAGE_LEN as usize)?;
        let Some(last) = page.last() else {
            return Ok(Found { events, more: false });
        };
        after = last.seq;
        for event in page.into_iter().filter(|event| filter.fits(event)) {
            if events.len() == limit {
                return Ok(Found { events, more: true });
            }
            events.push(event);
        }
    }
}

/// The newest up to the number `last`, found by going back.
fn newest(
    store: &dyn Store,
    filter: &Filter,
    mut last: u64,
    limit: usize,
) -> Result<Found, CliError> {
    let mut events = Vec::new();
    let mut more = false;
    while last > 0 && !more {
        let after = last.saturating_sub(PAGE_LEN);
        let mut page = store.events(after, PAGE_LEN as usize)?;
        page.retain(|event| event.seq <= last);
        if page.is_empty() {
            break;
        }
        for event in page.into_iter().rev().filter(|event| filter.fits(event)) {
            more = events.len() == limit;
            if more {
                break;
            }
            events.push(event);
        }
        last = after;
    }
    events.reverse();
    Ok(Found { events, more })
}

/// Shows what there is, and then what happens, until a signal comes or nobody reads any more.
fn follow(
    session: &Session,
    after: Option<u64>,
    limit: usize,
    filter: &Filter,
    store: SqliteStore,
) -> Result<Exit, CliError> {
    let store: Arc<dyn Store> = Arc::new(store);
    let mut subscription = match after {
        Some(after) => Subscription::after(Arc::clone(&store), after)?,
        None => Subscription::new(Arc::clone(&store))?,
    };
    let closer = subscription.closer();
    signals::each(true, move |_| closer.close())?;
    if !store.settings()?.event_log {
        session.ui.tell(format_args!("{HOW_TO_TURN_ON}; waiting for that"));
    }
    if after.is_none() {
        let before = newest(store.as_ref(), filter, subscription.position(), limit)?;
        before.events.iter().try_for_each(|event| show(session, event))?;
    }
    let mut missed = 0;
    while let Some(event) = subscription.next_within(Duration::MAX)? {
        if subscription.missed() > missed {
            let more = subscription.missed() - missed;
            session.ui.note(format_args!("{more} events before this one were forgotten"));
            missed = subscription.missed();
        }
        if filter.fits(&event) {
            show(session, &event)?;
        }
    }
    Ok(Exit::DONE)
}

fn show(session: &Session, event: &JobEvent) -> Result<(), CliError> {
    if session.ui.json {
        return session.ui.json_line(&Line { schema_version: SchemaVersion, event: event.into() });
    }
    let [seq, at, id, queue, change, attempt, worker, why] = cells(event);
    let change = event_paint(event).on(session.ui.colour, &format!("{change:<16}"));
    let text = format!(
        "{seq:>6}  {at}  {id:<12}  {queue:<10}  {change}  {attempt:>7}  {worker:<6}  {why}"
    );
    session.ui.line(text.trim_end())
}

fn table(session: &Session, events: &[JobEvent]) -> String {
    let mut table = Table::new([
        Column::number("SEQ"),
        Column::text("AT"),
        Column::text("JOB"),
        Column::text("QUEUE"),
        Column::text("CHANGE"),
        Column::number("ATTEMPT"),
        Column::text("WORKER"),
        Column::long("WHY"),
    ]);
    for event in events {
        let mut row = cells(event).map(Cell::from);
        row[4].1 = event_paint(event);
        table.row(row.into());
    }
    table.render(session.ui.width, session.ui.colour)
}

/// What is shown of an entry, safe to print.
fn cells(event: &JobEvent) -> [String; 8] {
    let optional = |text: Option<String>| text.unwrap_or_default();
    let mut why: Vec<String> = event.cause.iter().map(ToString::to_string).collect();
    why.extend(event.reason.as_deref().map(|reason| line(reason).to_string()));
    why.extend(event.by.as_deref().map(|by| format!("by {}", line(by))));
    [
        event.seq.to_string(),
        local(event.at),
        event.id.to_string(),
        event.queue.to_string(),
        match (event.change, event.to) {
            (Change::Added, Some(state)) if state != State::Pending => format!("added {state}"),
            (change, _) => change.to_string(),
        },
        optional(event.token.map(|token| token.0.to_string())),
        optional(event.worker.map(|worker| worker.to_string())),
        why.join(", "),
    ]
}

fn event_paint(event: &JobEvent) -> Paint {
    event.to.map_or(Paint::Faint, Paint::of)
}
