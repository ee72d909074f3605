//! `retry`: runs jobs again now.

use std::collections::BTreeSet;

use queuectl_core::store::{Queues, Store};
use queuectl_core::{JobId, Name};
use serde::Serialize;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    retried: Vec<String>,
}

pub(crate) fn run(session: &Session, ids: &[JobId]) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    store.retry(ids)?;
    say(session, &store, ids)
}

/// Says which jobs will run again.
pub(super) fn say(session: &Session, store: &dyn Store, ids: &[JobId]) -> Result<Exit, CliError> {
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            retried: ids.iter().map(ToString::to_string).collect(),
        })?;
    } else {
        for id in ids {
            session.ui.line(format_args!("{id} will run again"))?;
        }
        for queue in private_queues(store, ids)? {
            session.ui.note(format_args!(
                "ordinary workers do not serve {queue}: queuectl worker start --queue {queue} --drain"
            ));
        }
    }
    Ok(Exit::DONE)
}

/// The queues of the jobs that only workers serve which are told their names.
fn private_queues(store: &dyn Store, ids: &[JobId]) -> Result<BTreeSet<Name>, CliError> {
    let mut queues = BTreeSet::new();
    for id in ids {
        let queue = store.job(id)?.map(|job| job.queue);
        queues.extend(queue.filter(|queue| !Queues::All.include(queue)));
    }
    Ok(queues)
}
