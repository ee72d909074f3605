//! A program that reads the store and says what it saw: by that, what has ended is known to stay so.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use queuectl_core::store::{JobQuery, Sort};
use queuectl_core::{JobId, JobKey, SqliteOptions, SqliteStore, State, Store, Token};
use queuectl_testkit::history::{Moment, Sighting};
use serde::{Deserialize, Serialize};

use crate::witness::process::now;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    store: PathBuf,
}

/// What one look showed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Look {
    asked_at: i64,
    seen_at: i64,
    jobs: Vec<(String, i64, State, i64)>,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::open(&options.store, SqliteOptions::default())?;
    let asked_at = now().0;
    let query = JobQuery { sort: Sort::Updated, limit: 200, ..JobQuery::default() };
    let jobs = store.jobs(&query)?;
    let seen_at = now().0;
    let jobs = jobs.iter().map(|job| (job.id.to_string(), job.key.0, job.state, job.token.0));
    let look = Look { asked_at, seen_at, jobs: jobs.collect() };
    // In one piece: a reader that was killed has said nothing.
    let text = serde_json::to_string(&look)?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

impl Look {
    pub(crate) fn sightings(&self) -> impl Iterator<Item = Sighting> {
        self.jobs.iter().filter_map(|(id, key, state, token)| {
            let id: JobId = id.parse().ok()?;
            Some(Sighting {
                asked_at: Moment(self.asked_at),
                seen_at: Moment(self.seen_at),
                id,
                key: JobKey(*key),
                state: *state,
                token: Token(*token),
            })
        })
    }
}
