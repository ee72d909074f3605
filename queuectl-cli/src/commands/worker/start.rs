//! `worker start`: runs jobs until it is told to stop.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use queuectl_core::shell::{SHELL_KIND, ShellHandler, ShellOptions};
use queuectl_core::store::{Queues, StopMode, Store};
use queuectl_core::{
    Cause, Clock, Handlers, JobId, SqliteStore, State, SystemClock, Worker, WorkerEvent,
    WorkerOptions,
};

use super::super::show::reason;
use super::super::{count, names};
use super::detach;
use crate::args::WorkerStart;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::display::line;
use crate::output::time::duration;
use crate::output::to_stderr;
use crate::process;
use crate::session::Session;
use crate::signals;
use crate::store_path::{StorePath, private_dir};

pub(crate) fn run(session: &Session, args: &WorkerStart) -> Result<Exit, CliError> {
    let queues = match args.queue.as_slice() {
        [] => Queues::All,
        named => Queues::Only(names("queue", named)?),
    };
    let path = session.store_path()?;
    if args.detach {
        return detach::run(session, args, &path);
    }
    if args.detached_log.is_some() {
        // Fails only for the leader of a session already, which has no terminal to leave.
        let _ = process::leave_terminal();
    }
    let store = Arc::new(path.open_or_create()?);
    let mut options = WorkerOptions::default();
    options.workers = usize::from(args.count);
    options.queues = queues;
    options.drain = args.drain;
    options.log.clone_from(&args.detached_log);
    let begun = Mutex::new(HashSet::new());
    options.observer = Some(Arc::new(move |event: &WorkerEvent<'_>| {
        if is_worth_a_word(event, &begun) {
            log_event(event);
        }
    }));
    let handlers = shell_handlers(&path, &store)?;
    let worker = Worker::start(store, handlers, options)?;
    stop_on_signals(&worker, args.detached_log.is_none())?;
    let keys: Vec<String> = worker.keys().iter().map(ToString::to_string).collect();
    log(format_args!(
        "{} started: {} (pid {}){}",
        count(keys.len(), "worker"),
        keys.join(", "),
        std::process::id(),
        match (args.drain, args.detached_log.is_some()) {
            (true, _) => ", ends when nothing is left to do",
            (_, true) => "",
            _ => ", stops on Ctrl-C",
        }
    ));
    let summary = worker.wait()?;
    log(format_args!(
        "stopped: {} completed, {} failed, {} dead",
        summary.completed, summary.failed, summary.dead
    ));
    Ok(Exit::DONE)
}

/// Runs shell jobs within the limits that the store sets.
pub(crate) fn shell_handlers(path: &StorePath, store: &SqliteStore) -> Result<Handlers, CliError> {
    let settings = store.settings()?;
    let logs = path.logs();
    private_dir(&logs)?;
    let handler = ShellHandler::new(ShellOptions {
        output_limit: settings.output_limit,
        log_limit: settings.log_limit,
        grace: settings.grace,
        logs,
        // With the path, because a copy of a store has its identity: a worker on the copy must not
        // end what the original runs.
        store: format!("{}@{}", store.identity(), store.path().display()),
    })
    .map_err(|error| CliError::new(Exit::FAILED, "cannot run shell jobs").because(&error))?;
    Ok(Handlers::new()
        .with(SHELL_KIND, Arc::new(handler))
        .expect("the kind of shell jobs is a name"))
}

/// The first signal lets running jobs finish within the grace, the next one interrupts them.
fn stop_on_signals(worker: &Worker, hang_up: bool) -> Result<(), CliError> {
    let stopper = worker.stopper();
    let seen = AtomicUsize::new(0);
    signals::each(hang_up, move |_| {
        let mode = match seen.fetch_add(1, Ordering::Relaxed) {
            0 => StopMode::Grace,
            _ => StopMode::Now,
        };
        stopper.stop(mode);
    })
    .map_err(|error| CliError::new(Exit::FAILED, "cannot listen for signals").because(&error))
}

/// Whether people should hear of an event. A worker may take a job and give it back before it
/// begins: they need not.
fn is_worth_a_word(event: &WorkerEvent<'_>, begun: &Mutex<HashSet<JobId>>) -> bool {
    let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    match *event {
        WorkerEvent::Started { id, .. } => {
            begun.insert(id.clone());
            true
        }
        WorkerEvent::Settled { id, .. } => begun.remove(id),
        WorkerEvent::LeaseLost { id } => {
            begun.remove(id);
            true
        }
        _ => true,
    }
}

/// One line for each event.
fn log_event(event: &WorkerEvent<'_>) {
    match event {
        WorkerEvent::Started { worker, id, kind, attempt, max_attempts } => {
            let kind = match kind.as_str() {
                SHELL_KIND => String::new(),
                kind => format!("{kind}, "),
            };
            log(format_args!("{worker} {id} started ({kind}attempt {attempt} of {max_attempts})"));
        }
        WorkerEvent::Settled { worker, id, state, retry_in, took, report, .. } => {
            let took = duration(*took);
            let why = match report.cause {
                Cause::Succeeded => String::new(),
                // An error that begins so says it already.
                _ if report
                    .error
                    .as_ref()
                    .is_some_and(|said| said.starts_with(&reason(report))) =>
                {
                    String::new()
                }
                _ => format!(": {}", reason(report)),
            };
            let error = match (&report.error, report.cause) {
                (_, Cause::Exited | Cause::Signalled | Cause::TimedOut) | (None, _) => {
                    String::new()
                }
                (Some(error), _) => format!(": {}", line(error)),
            };
            let next = match (state, retry_in) {
                (State::Failed, Some(delay)) => format!("; runs again in {}", duration(*delay)),
                _ => String::new(),
            };
            log(format_args!("{worker} {id} {state} after {took}{why}{error}{next}"));
        }
        WorkerEvent::LeaseLost { id } => {
            log(format_args!("{id} lost: another worker has it by now"));
        }
        WorkerEvent::Rescued { worker, state } => {
            log(format_args!("a job of the dead worker {worker} is {state} now"));
        }
        WorkerEvent::StoreFailed { error } => {
            log(format_args!("{}; trying again", line(&error.to_string())));
        }
        WorkerEvent::Stopping { mode } => log(match mode {
            StopMode::Finish => "stopping when running jobs have ended",
            StopMode::Grace => {
                "stopping; running jobs have a grace to end, a second signal ends it"
            }
            StopMode::Now => "stopping now",
        }),
        _ => {}
    }
}

fn log(what: impl std::fmt::Display) {
    to_stderr(format!("{} {what}\n", SystemClock.now()));
}
