//! `worker start --detach`: starts this program again in the background, and says when it works.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use queuectl_core::store::{Store, WorkerInfo};
use queuectl_core::{Clock, SystemClock};
use serde::Serialize;

use crate::args::WorkerStart;
use crate::changes::Changes;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::process;
use crate::session::Session;
use crate::store_path::{StorePath, private_dir};

/// How long the background process may take to register its workers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long its end goes unnoticed at most.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    pid: u32,
    workers: Vec<String>,
    log: String,
}

pub(super) fn run(
    session: &Session,
    args: &WorkerStart,
    path: &StorePath,
) -> Result<Exit, CliError> {
    let store = path.open_or_create()?;
    let changes = Changes::of(&store)?;
    let (log_path, log) = new_log(session, path)?;
    let mut child = process::again(&arguments(args, path, &log_path), log).map_err(|error| {
        CliError::new(Exit::FAILED, "cannot start a process in the background").because(&error)
    })?;
    let pid = child.id();
    let workers = registered(&store, &changes, &mut child, usize::from(args.count), &log_path)?;
    let names: Vec<String> = workers.iter().map(|worker| worker.key.to_string()).collect();
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            pid,
            workers: names,
            log: log_path.to_string_lossy().into_owned(),
        })?;
    } else {
        session.ui.line(format_args!("pid {pid}: {}", names.join(", ")))?;
        session.ui.line(format_args!("log {}", log_path.display()))?;
        session.ui.note(format_args!("stop with: queuectl worker stop {pid}"));
    }
    Ok(Exit::DONE)
}

/// The command line of the process in the background.
fn arguments(args: &WorkerStart, path: &StorePath, log: &Path) -> Vec<OsString> {
    let mut store = OsString::from("sqlite:");
    store.push(path.file());
    let mut line: Vec<OsString> = vec![
        "--store".into(),
        store,
        "worker".into(),
        "start".into(),
        "--count".into(),
        args.count.to_string().into(),
        "--detached-log".into(),
        log.into(),
    ];
    for queue in &args.queue {
        line.extend(["--queue".into(), queue.into()]);
    }
    if args.drain {
        line.push("--drain".into());
    }
    line
}

/// A log file that only the user can read.
fn new_log(session: &Session, path: &StorePath) -> Result<(PathBuf, File), CliError> {
    let logs = path.logs();
    private_dir(&logs)?;
    let name = format!("worker-{}-{}.log", session.now().as_millis(), std::process::id());
    let path = logs.join(name);
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).map_err(
        |error| {
            CliError::new(Exit::STORE, format!("cannot write {}", path.display())).because(&error)
        },
    )?;
    Ok((path, file))
}

/// Waits until the workers of the process are registered.
fn registered(
    store: &dyn Store,
    changes: &Changes,
    child: &mut Child,
    count: usize,
    log: &Path,
) -> Result<Vec<WorkerInfo>, CliError> {
    let began = SystemClock.boot();
    loop {
        let ended = child.try_wait().ok().flatten();
        let mut workers = store.workers()?;
        // The log is this process's own: a pid alone might be one that was used before.
        workers.retain(|worker| !worker.dead && worker.log.as_deref() == Some(log));
        if workers.len() >= count {
            return Ok(workers);
        }
        if let Some(status) = ended {
            return match status.success() {
                // With nothing left to do, --drain may be over before anyone looks.
                true => Ok(workers),
                false => Err(failed(status, log)),
            };
        }
        if SystemClock.boot().since(began) > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(CliError::new(
                Exit::FAILED,
                "the worker did not register in time and was ended",
            )
            .hint(format!("its log is {}", log.display())));
        }
        changes.wait(LOOK);
    }
}

/// What the process said before it ended.
fn failed(status: ExitStatus, log: &Path) -> CliError {
    let said = std::fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let reason = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: "))
        .map_or_else(|| status.to_string(), str::to_owned);
    CliError::new(Exit::STORE, format!("the worker could not start: {reason}"))
        .hint(format!("its log is {}", log.display()))
}
