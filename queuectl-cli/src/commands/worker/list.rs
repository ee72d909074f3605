//! `worker list`: the workers and what they run.

use queuectl_core::store::{Store, WorkerInfo};
use queuectl_core::{JobId, Timestamp};
use serde::Serialize;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::display::line;
use crate::output::json::{SchemaVersion, WorkerView, worker_state};
use crate::output::table::{Cell, Column, Table};
use crate::output::time::duration;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    workers: Vec<WorkerView>,
}

pub(crate) fn run(session: &Session) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let workers = store.workers()?;
    let now = session.now();
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            workers: workers.iter().map(|worker| WorkerView::of(worker, now)).collect(),
        })?;
    } else if workers.is_empty() {
        session.ui.note("no worker is running: queuectl worker start");
    } else {
        let what = |id: &JobId| super::super::list::what_of(&store, id);
        let table = workers_table(&workers, now, &what);
        session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    }
    Ok(Exit::DONE)
}

/// A table of workers; `what` tells what a job runs.
pub(crate) fn workers_table(
    workers: &[WorkerInfo],
    now: Timestamp,
    what: &dyn Fn(&JobId) -> String,
) -> Table {
    let several_hosts = workers.iter().any(|worker| worker.host != workers[0].host);
    let mut columns = vec![Column::text("WORKER"), Column::number("PID")];
    if several_hosts {
        columns.push(Column::long("HOST"));
    }
    columns.extend([Column::text("STATE"), Column::text("UPTIME"), Column::long("RUNNING")]);
    let mut table = Table::new(columns);
    for worker in workers {
        let mut row: Vec<Cell> = vec![worker.key.to_string().into(), worker.pid.to_string().into()];
        if several_hosts {
            row.push(line(&worker.host).to_string().into());
        }
        let state = worker_state(worker);
        let paint = match state {
            "busy" => Paint::Busy,
            "dead" => Paint::Bad,
            _ => Paint::Plain,
        };
        let running: Vec<String> = worker
            .running
            .iter()
            .map(|(id, since)| {
                let text = format!("{id} for {}: {}", duration(now.since(*since)), what(id));
                text.trim_end_matches([' ', ':']).to_owned()
            })
            .collect();
        row.extend([
            Cell(state.to_owned(), paint),
            duration(now.since(worker.started_at)).into(),
            running.join("; ").into(),
        ]);
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queuectl_core::WorkerKey;

    use super::*;

    #[test]
    fn a_worker_shows_its_process_and_what_it_runs() {
        let worker = |key, running| WorkerInfo {
            key: WorkerKey(key),
            process: "p".to_owned(),
            pid: 4711,
            host: "h".to_owned(),
            started_at: Timestamp::from_millis(0),
            lease_left: Duration::from_secs(30),
            dead: false,
            stopping: None,
            log: None,
            running,
        };
        let busy = vec![("q5".parse().unwrap(), Timestamp::from_millis(48_000))];
        let table = workers_table(
            &[worker(1, busy), worker(2, Vec::new())],
            Timestamp::from_millis(60_000),
            &|_| "sleep 99".to_owned(),
        );
        let text = table.render(None, false);
        assert!(text.contains("w1      4711  busy   1m      q5 for 12s: sleep 99"), "{text}");
        assert!(text.contains("w2      4711  idle   1m\n"), "{text}");
    }
}
