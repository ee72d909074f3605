//! `worker stop`: tells workers to stop and waits until they have.

use std::collections::BTreeSet;
use std::time::Duration;

use queuectl_core::store::{StopMode, Store, WorkerInfo};
use queuectl_core::{Clock, SystemClock, WorkerKey};
use serde::Serialize;

use super::super::count;
use crate::args::WorkerStop;
use crate::changes::Changes;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::when;
use crate::output::json::SchemaVersion;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    stopped: Vec<Stopped>,
}

#[derive(Serialize)]
struct Stopped {
    id: String,
    pid: u32,
}

/// Which workers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selector {
    Pid(u32),
    Key(WorkerKey),
}

pub(crate) fn run(session: &Session, args: &WorkerStop) -> Result<Exit, CliError> {
    let selectors =
        args.workers.iter().map(|text| selector(text)).collect::<Result<Vec<_>, _>>()?;
    let limit = args.timeout.as_deref().map(when::duration).transpose()?;
    let store = session.store_path()?.open()?;
    let changes = Changes::of(&store)?;
    let chosen = choose(live(&store)?, &selectors)?;
    if chosen.is_empty() {
        session.ui.tell("no worker is running");
    }
    let keys: Vec<WorkerKey> = chosen.iter().map(|worker| worker.key).collect();
    let mode = if args.now { StopMode::Now } else { StopMode::Finish };
    match store.stop(&keys, mode) {
        // Those that are gone by now need not be told; the others are told one by one.
        Err(queuectl_core::StoreError::NoWorker(_)) => {
            for key in &keys {
                match store.stop(&[*key], mode) {
                    Ok(()) | Err(queuectl_core::StoreError::NoWorker(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        other => other?,
    }
    wait(session, &store, &changes, &chosen, limit)?;
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            stopped: chosen
                .iter()
                .map(|worker| Stopped { id: worker.key.to_string(), pid: worker.pid })
                .collect(),
        })?;
    }
    Ok(Exit::DONE)
}

fn selector(text: &str) -> Result<Selector, CliError> {
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let key = text.strip_prefix('w').and_then(|text| text.parse().ok());
    match (key, number(text)) {
        (Some(key), _) => Ok(Selector::Key(WorkerKey(key))),
        (None, Some(pid)) => Ok(Selector::Pid(pid)),
        (None, None) => Err(CliError::usage(format!(
            "{text:?} is neither a process id nor a worker such as w3"
        ))
        .hint("queuectl worker list")),
    }
}

fn live(store: &dyn Store) -> Result<Vec<WorkerInfo>, CliError> {
    let mut workers = store.workers()?;
    workers.retain(|worker| !worker.dead);
    Ok(workers)
}

/// The live workers that are meant: without a selector, all.
fn choose(live: Vec<WorkerInfo>, selectors: &[Selector]) -> Result<Vec<WorkerInfo>, CliError> {
    let fits = |worker: &WorkerInfo, selector: Selector| match selector {
        Selector::Pid(pid) => worker.pid == pid,
        Selector::Key(key) => worker.key == key,
    };
    for &selector in selectors {
        if !live.iter().any(|worker| fits(worker, selector)) {
            let what = match selector {
                Selector::Pid(pid) => format!("no worker runs as process {pid}"),
                Selector::Key(key) => format!("no worker {key} is running"),
            };
            return Err(CliError::new(Exit::NOT_FOUND, what).hint("queuectl worker list"));
        }
    }
    Ok(live
        .into_iter()
        .filter(|worker| {
            selectors.is_empty() || selectors.iter().any(|&selector| fits(worker, selector))
        })
        .collect())
}

/// Waits until none of them lives, and says so of each as it happens.
fn wait(
    session: &Session,
    store: &dyn Store,
    changes: &Changes,
    chosen: &[WorkerInfo],
    limit: Option<Duration>,
) -> Result<(), CliError> {
    let began = SystemClock.boot();
    let mut told: BTreeSet<WorkerKey> = BTreeSet::new();
    let mut said_why = false;
    loop {
        let live = live(store)?;
        for worker in chosen {
            let gone = live.iter().all(|other| other.key != worker.key);
            if gone && told.insert(worker.key) && !session.ui.json {
                session.ui.line(format_args!("stopped {} (pid {})", worker.key, worker.pid))?;
            }
        }
        if told.len() == chosen.len() {
            return Ok(());
        }
        let busy: Vec<String> = live
            .iter()
            .filter(|worker| chosen.iter().any(|other| other.key == worker.key))
            .flat_map(|worker| worker.running.iter().map(|(id, _)| id.to_string()))
            .collect();
        if !said_why && !busy.is_empty() {
            session.ui.tell(format_args!("waiting for {} to end", busy.join(", ")));
            said_why = true;
        }
        let left = limit
            .map_or(Duration::MAX, |limit| limit.saturating_sub(SystemClock.boot().since(began)));
        if left.is_zero() {
            let missing = chosen.len() - told.len();
            return Err(CliError::new(
                Exit::FAILED,
                format!("{} had not stopped in time", count(missing, "worker")),
            )
            .hint("they stop when their jobs have ended; --now interrupts the jobs"));
        }
        changes.wait(left);
    }
}

#[cfg(test)]
mod tests {
    use queuectl_core::Timestamp;

    use super::*;

    fn worker(key: i64, pid: u32) -> WorkerInfo {
        WorkerInfo {
            key: WorkerKey(key),
            process: String::new(),
            pid,
            host: String::new(),
            started_at: Timestamp::from_millis(0),
            lease_left: Duration::ZERO,
            dead: false,
            stopping: None,
            log: None,
            running: Vec::new(),
        }
    }

    #[test]
    fn a_worker_is_named_by_its_process_or_itself() {
        assert_eq!(selector("4711").unwrap(), Selector::Pid(4711));
        assert_eq!(selector("w3").unwrap(), Selector::Key(WorkerKey(3)));
        for text in ["", "w", "0", "-1", "job1", "99999999999"] {
            assert_eq!(selector(text).unwrap_err().exit, Exit::USAGE, "{text:?}");
        }
    }

    #[test]
    fn a_process_stands_for_all_its_workers() {
        let live = || vec![worker(1, 10), worker(2, 10), worker(3, 20)];
        let keys = |selectors: &[Selector]| {
            let chosen = choose(live(), selectors).unwrap();
            chosen.iter().map(|worker| worker.key.0).collect::<Vec<_>>()
        };
        assert_eq!(keys(&[]), [1, 2, 3]);
        assert_eq!(keys(&[Selector::Pid(10)]), [1, 2]);
        assert_eq!(keys(&[Selector::Key(WorkerKey(3)), Selector::Pid(20)]), [3]);
        let missing = choose(live(), &[Selector::Pid(99)]).unwrap_err();
        assert_eq!(missing.exit, Exit::NOT_FOUND);
    }
}
