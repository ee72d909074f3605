//! `cancel`: stops jobs for good.

use queuectl_core::JobId;
use queuectl_core::store::{Cancelled, Remark, Store};
use serde::Serialize;

use super::go_on;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::json::SchemaVersion;
use crate::session::Session;

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    jobs: Vec<Stopped>,
}

#[derive(Serialize)]
struct Stopped {
    id: String,
    /// `false` if it runs and its worker has been told to stop it.
    cancelled: bool,
}

pub(crate) fn run(session: &Session, ids: &[JobId], remark: &Remark<'_>) -> Result<Exit, CliError> {
    let store = session.store_path()?.open()?;
    let outcomes = store.cancel(ids, remark)?;
    go_on(&store)?;
    if session.ui.json {
        let jobs = ids.iter().zip(&outcomes);
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            jobs: jobs
                .map(|(id, outcome)| Stopped {
                    id: id.to_string(),
                    cancelled: *outcome == Cancelled::Now,
                })
                .collect(),
        })?;
        return Ok(Exit::DONE);
    }
    for (id, outcome) in ids.iter().zip(&outcomes) {
        match outcome {
            Cancelled::Now => session.ui.line(format_args!("cancelled {id}"))?,
            Cancelled::Requested => session
                .ui
                .line(format_args!("cancelling {id}: its worker has been told to stop it"))?,
        }
    }
    Ok(Exit::DONE)
}
