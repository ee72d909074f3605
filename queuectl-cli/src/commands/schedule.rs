//! `schedule`: what is enqueued again and again.

use queuectl_core::schedule::{ScheduleInfo, TickOutcome, TickRecord};
use queuectl_core::shell::Program;
use queuectl_core::store::{Store, StoreError};
use queuectl_core::{Expiry, InvalidSchedule, Missed, Name, Overlap, Schedule, Spec, Timestamp};
use serde::Serialize;

use super::enqueue::shape;
use super::{name, names};
use crate::args::{OverlapArg, ScheduleAdd, ScheduleCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::job_spec::{Here, JobSpec};
use crate::input::{job_json, when};
use crate::output::display::line;
use crate::output::json::{ScheduleView, SchemaVersion, TickView, new_job_text};
use crate::output::table::{Cell, Column, Table};
use crate::output::time::{local, relative};
use crate::session::Session;

/// How many of its next times are shown of a schedule.
const NEXT_LEN: usize = 5;

/// How many entries of its history are shown of a schedule to people.
const HISTORY_LEN: usize = 10;

pub(crate) fn run(session: &Session, command: &ScheduleCommand) -> Result<Exit, CliError> {
    match command {
        ScheduleCommand::Add(args) => add(session, args),
        ScheduleCommand::List => list(session),
        ScheduleCommand::Show { name } => show(session, &schedule_name(name)?),
        ScheduleCommand::Pause { names } => pause(session, names, true),
        ScheduleCommand::Resume { names } => pause(session, names, false),
        ScheduleCommand::Remove { names } => remove(session, names),
        ScheduleCommand::Run { name } => run_now(session, &schedule_name(name)?),
    }
}

#[derive(Serialize)]
struct Added {
    schema_version: SchemaVersion,
    schedule: ScheduleView,
    /// Whether it is new; `null` if it was only shown.
    created: Option<bool>,
    next: Vec<Timestamp>,
}

#[derive(Serialize)]
struct Listed {
    schema_version: SchemaVersion,
    schedules: Vec<ScheduleView>,
}

#[derive(Serialize)]
struct Shown {
    schema_version: SchemaVersion,
    schedule: ScheduleView,
    next: Vec<Timestamp>,
    history: Vec<TickView>,
}

#[derive(Serialize)]
struct Made {
    schema_version: SchemaVersion,
    id: String,
    created: bool,
}

fn add(session: &Session, args: &ScheduleAdd) -> Result<Exit, CliError> {
    let schedule = schedule(session, args)?;
    let path = session.store_path()?;
    if args.dry_run {
        let next = schedule.spec.upcoming(session.now(), NEXT_LEN);
        if !session.ui.json {
            session.ui.print(times(&next, session.now()))?;
            return Ok(Exit::DONE);
        }
        let schedule = ScheduleView::of(&schedule);
        let created = None;
        session.ui.document(&Added { schema_version: SchemaVersion, schedule, created, next })?;
        return Ok(Exit::DONE);
    }
    let store = path.open_or_create()?;
    // One that is replaced by one of the same times goes on as it was.
    let known = store.schedules()?.into_iter().find(|one| one.schedule.name == schedule.name);
    let goes_on = known.filter(|known| known.schedule.spec == schedule.spec);
    let next = match &goes_on {
        Some(known) => next_of(known, session.now()),
        None => schedule.spec.upcoming(session.now(), NEXT_LEN),
    };
    if !session.ui.json {
        session.ui.print(times(&next, session.now()))?;
    }
    let created = store.put_schedule(&schedule)?;
    if session.ui.json {
        let schedule = find(&store, &schedule.name)?;
        session.ui.document(&Added {
            schema_version: SchemaVersion,
            schedule: (&schedule).into(),
            created: Some(created),
            next,
        })?;
        return Ok(Exit::DONE);
    }
    let (done, of) = (if created { "added" } else { "replaced" }, &schedule.name);
    session.ui.line(format_args!("{done} schedule {of}: {}", line(&schedule.spec.to_string())))?;
    Ok(Exit::DONE)
}

/// The schedule that the arguments ask for.
fn schedule(session: &Session, args: &ScheduleAdd) -> Result<Schedule, CliError> {
    let refused = |error: InvalidSchedule| CliError::usage(error.to_string());
    let spec = match (&args.cron, &args.every) {
        (Some(expression), _) => {
            let zone = match &args.zone {
                Some(zone) => zone.clone(),
                None => local_zone()?,
            };
            Spec::cron(expression, &zone).map_err(|error| refused(error.into()))?
        }
        (None, Some(period)) => Spec::every(when::duration(period)?).map_err(refused)?,
        (None, None) => return Err(CliError::usage("say when: --cron '0 3 * * *' or --every 10m")),
    };
    let form = match (args.command.as_deref(), args.argv.as_slice()) {
        (Some(text), []) if text.trim_start().starts_with('{') => {
            job_json::parse(text, &session.when())?
        }
        (Some(command), []) => JobSpec::running(Program::Command(command.to_owned())),
        (None, argv @ [_, ..]) => JobSpec::running(Program::Argv(argv.to_vec())),
        (None, []) => {
            return Err(CliError::usage("there is nothing to enqueue")
                .hint("queuectl schedule add nightly --cron '0 3 * * *' './backup'"));
        }
        (Some(_), _) => {
            return Err(CliError::usage(
                "a schedule takes a command or an argument vector, not both",
            ));
        }
    };
    let delay = args.delay.as_deref().map(when::duration).transpose()?;
    let expires = args.expires.as_deref().map(when::duration).transpose()?;
    let options = JobSpec {
        queue: args.queue.as_deref().map(|queue| name("queue", queue)).transpose()?,
        priority: args.priority,
        start: delay.map(when::after),
        expiry: expires.map(Expiry::In),
        unique_key: args.unique_key.clone(),
        ..shape(&args.shape)?
    };
    let job = form.and(&options).into_job(&Here::current())?;
    let schedule = Schedule::new(&args.name, spec, job).map_err(refused)?;
    Ok(schedule
        .missed(missed(&args.missed)?)
        .overlap(match args.overlap {
            OverlapArg::Allow => Overlap::Allow,
            OverlapArg::Skip => Overlap::Skip,
            OverlapArg::QueueOne => Overlap::QueueOne,
        })
        .paused(args.paused))
}

/// The name of the time zone that this machine is in.
fn local_zone() -> Result<String, CliError> {
    let zone = jiff::tz::TimeZone::system();
    match zone.iana_name() {
        Some(name) => Ok(name.to_owned()),
        None if zone == jiff::tz::TimeZone::UTC || zone.is_unknown() => Ok("UTC".to_owned()),
        None => Err(CliError::usage("the time zone of this machine has no name")
            .hint("name one: --zone Europe/Berlin")),
    }
}

fn missed(text: &str) -> Result<Missed, CliError> {
    let number = || text.strip_prefix("all:").and_then(|number| number.parse().ok());
    match (text, number()) {
        ("skip", _) => Ok(Missed::Skip),
        ("one", _) => Ok(Missed::One),
        ("all", _) => Ok(Missed::All(queuectl_core::schedule::CATCH_UP_MAX)),
        (_, Some(most)) if (1..=queuectl_core::schedule::CATCH_UP_MAX).contains(&most) => {
            Ok(Missed::All(most))
        }
        _ => Err(CliError::usage(format!("--missed {text:?} is not skip, one, all or all:N"))
            .hint(format!("N is 1 to {}", queuectl_core::schedule::CATCH_UP_MAX))),
    }
}

/// The next times of a schedule that is in a store.
fn next_of(info: &ScheduleInfo, now: Timestamp) -> Vec<Timestamp> {
    let Some(next) = info.next else {
        return Vec::new();
    };
    // What is due is late by now, and what follows it is not.
    let rest = info.schedule.spec.upcoming(next, NEXT_LEN - 1);
    let all = std::iter::once(next).chain(rest);
    all.filter(|moment| *moment >= now || *moment == next).collect()
}

/// A line for each moment.
fn times(next: &[Timestamp], now: Timestamp) -> String {
    let one = |moment: &Timestamp| format!("{} ({})\n", local(*moment), relative(*moment, now));
    next.iter().map(one).collect()
}

fn list(session: &Session) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let schedules = store.schedules()?;
    if session.ui.json {
        let schedules = schedules.iter().map(ScheduleView::from).collect();
        session.ui.document(&Listed { schema_version: SchemaVersion, schedules })?;
    } else if schedules.is_empty() {
        session
            .ui
            .note("there is no schedule: queuectl schedule add NAME --every 10m 'echo hello'");
    } else {
        let mut table = Table::new(vec![
            Column::text("NAME"),
            Column::long("WHEN"),
            Column::text("NEXT"),
            Column::text("LAST"),
            Column::long("COMMAND"),
        ]);
        for info in &schedules {
            let next = match info.next {
                _ if info.schedule.paused => "paused".to_owned(),
                Some(next) => relative(next, session.now()),
                None => "never".to_owned(),
            };
            let row: Vec<Cell> = vec![
                info.schedule.name.to_string().into(),
                line(&info.schedule.spec.to_string()).to_string().into(),
                next.into(),
                info.last.as_ref().map(|last| outcome(&last.outcome)).unwrap_or_default().into(),
                line(&new_job_text(&info.schedule.job)).to_string().into(),
            ];
            table.row(row);
        }
        session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    }
    Ok(Exit::DONE)
}

/// What came of a tick, in two words.
fn outcome(outcome: &TickOutcome) -> String {
    match outcome {
        TickOutcome::Enqueued(job) => job.to_string(),
        TickOutcome::ByHand(job) => format!("{job} by hand"),
        TickOutcome::Exists(job) => format!("none, {job} has the key"),
        TickOutcome::Overlapped => "none, the last job lives".to_owned(),
        TickOutcome::Waits => "waits for the last job".to_owned(),
        TickOutcome::Missed { .. } => "missed".to_owned(),
        _ => String::new(),
    }
}

fn show(session: &Session, name: &Name) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let info = find(&store, name)?;
    let history = store.ticks(name)?;
    let next = next_of(&info, session.now());
    if session.ui.json {
        session.ui.document(&Shown {
            schema_version: SchemaVersion,
            schedule: (&info).into(),
            next,
            history: history.iter().map(TickView::from).collect(),
        })?;
        return Ok(Exit::DONE);
    }
    let mut page = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            page.push_str(&format!("{name:<14}{value}\n"));
        }
    };
    let (schedule, job) = (&info.schedule, &info.schedule.job);
    field("schedule", schedule.name.as_str());
    field("when", &line(&schedule.spec.to_string()).to_string());
    field("state", if schedule.paused { "paused" } else { "" });
    field("runs", &line(&new_job_text(job)).to_string());
    field("queue", job.queue.as_str());
    field("missed", &ScheduleView::missed_text(schedule.missed));
    field("overlap", ScheduleView::overlap_text(schedule.overlap));
    field("waits", &info.waiting.map(local).unwrap_or_default());
    page.push_str("\nnext\n");
    page.push_str(&indented(&times(&next, session.now())));
    if !history.is_empty() {
        page.push_str("\nhistory\n");
        let entries: String = history.iter().take(HISTORY_LEN).map(entry).collect();
        page.push_str(&indented(&entries));
    }
    session.ui.print(page)?;
    Ok(Exit::DONE)
}

fn entry(record: &TickRecord) -> String {
    let until = match record.outcome {
        TickOutcome::Missed { until } if until > record.tick => format!(", until {}", local(until)),
        _ => String::new(),
    };
    format!("{}  {}{until}\n", local(record.tick), outcome(&record.outcome))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn pause(session: &Session, texts: &[String], paused: bool) -> Result<Exit, CliError> {
    let names = names("schedule", texts)?;
    let store = session.store_path()?.open()?;
    all_known(&store, &names)?;
    for name in &names {
        store.pause_schedule(name, paused)?;
    }
    if session.ui.json {
        return list(session);
    }
    for name in &names {
        session.ui.line(match paused {
            true => format!("paused {name}: its ticks are passed over"),
            false => format!("resumed {name}"),
        })?;
    }
    Ok(Exit::DONE)
}

fn remove(session: &Session, texts: &[String]) -> Result<Exit, CliError> {
    let names = names("schedule", texts)?;
    let store = session.store_path()?.open()?;
    all_known(&store, &names)?;
    for name in &names {
        store.remove_schedule(name)?;
    }
    if session.ui.json {
        return list(session);
    }
    for name in &names {
        session.ui.line(format_args!("removed {name}; the jobs that it made stay"))?;
    }
    Ok(Exit::DONE)
}

fn run_now(session: &Session, name: &Name) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let made = store.run_schedule(name)?;
    if session.ui.json {
        let (id, created) = (made.id.to_string(), made.created);
        session.ui.document(&Made { schema_version: SchemaVersion, id, created })?;
        return Ok(Exit::DONE);
    }
    let what = if made.created { "enqueued" } else { "exists already:" };
    session.ui.line(format_args!("{what} {}", made.id))?;
    Ok(Exit::DONE)
}

fn schedule_name(text: &str) -> Result<Name, CliError> {
    name("schedule", text)
}

/// Nothing is done to some of several schedules if one of them is not there.
fn all_known(store: &dyn Store, names: &[Name]) -> Result<(), CliError> {
    names.iter().try_for_each(|name| find(store, name).map(drop))
}

fn find(store: &dyn Store, name: &Name) -> Result<ScheduleInfo, CliError> {
    let all = store.schedules()?;
    let found = all.into_iter().find(|one| one.schedule.name == *name);
    Ok(found.ok_or_else(|| StoreError::NoSchedule(name.clone()))?)
}
