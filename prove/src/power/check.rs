//! One crash image: opened with the library, compared with what was acknowledged, and worked off.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::store::{
    ClaimRequest, JobQuery, Queues, Registration, Settlement, Store, StoreError, Verdict,
};
use queuectl_core::{Clock, ManualClock, Name, SqliteOptions, SqliteStore, State};

use rusqlite::Connection;

use super::actor::KIND;
use super::expect::{Expected, Found};
use super::history::Image;
use crate::health;

/// Something that must not be.
#[derive(Debug)]
pub(super) enum Broken {
    /// Something acknowledged is not true.
    Lost(Vec<String>),
    /// The store is damaged, or its parts contradict each other.
    Corrupt(Vec<String>),
    /// It cannot be worked off.
    Stuck(Vec<String>),
}

/// Lays the image out in `folder`, where the store is at `store`, and tries it. When it has been
/// worked off, what the schema means is checked again, and if `thorough` every page as well.
pub(super) fn check(
    image: &Image,
    folder: &Path,
    store: &Path,
    expected: &Expected,
    thorough: bool,
) -> std::io::Result<Option<Broken>> {
    lay_out(image, folder)?;
    let path = folder.join(store);
    if !path.exists() {
        if expected.any {
            return Ok(Some(Broken::Lost(vec!["the store is gone".to_owned()])));
        }
        // Whatever was left of making it must not be in the way of making it.
        let made = open(&path, true).map(drop);
        return Ok(made.err().map(|error| Broken::Stuck(vec![error])));
    }
    Ok(examine(&path, expected, thorough).err())
}

fn lay_out(image: &Image, folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir(folder)?;
    for path in &image.folders {
        std::fs::create_dir(folder.join(path))?;
    }
    for (path, bytes) in &image.files {
        std::fs::write(folder.join(path), bytes)?;
    }
    Ok(())
}

/// Opens the store after a restart of the machine, at a time at which everything is due.
fn open(path: &Path, create: bool) -> Result<SqliteStore, String> {
    let clock = ManualClock::new();
    clock.step_wall(30 * 365 * 24 * 3_600_000);
    let clock: Arc<dyn Clock> = Arc::new(clock);
    let options = SqliteOptions { create, clock, ..SqliteOptions::default() };
    SqliteStore::open(path, options).map_err(|error| format!("{error}: {}", causes(&error)))
}

fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn examine(path: &Path, expected: &Expected, thorough: bool) -> Result<(), Broken> {
    let store = open(path, false).map_err(|error| Broken::Corrupt(vec![error]))?;
    let raw = health::connect(path).map_err(|error| Broken::Corrupt(vec![format!("{error}")]))?;
    let wrong = health::examine_all(&raw);
    if !wrong.is_empty() {
        return Err(Broken::Corrupt(wrong));
    }
    let failed = |error: StoreError| Broken::Corrupt(vec![format!("{error}: {}", causes(&error))]);
    let found = find(&raw, &store).map_err(failed)?;
    let wrong = expected.compare(&found);
    if !wrong.is_empty() {
        return Err(Broken::Lost(wrong));
    }
    let stuck = |error: StoreError| Broken::Stuck(vec![format!("{error}: {}", causes(&error))]);
    let left = drain(&store, &found).map_err(stuck)?;
    if !left.is_empty() {
        return Err(Broken::Stuck(left));
    }
    let wrong = if thorough { health::examine_all(&raw) } else { health::examine_meaning(&raw) };
    if wrong.is_empty() { Ok(()) } else { Err(Broken::Corrupt(wrong)) }
}

fn find(raw: &Connection, store: &SqliteStore) -> Result<Found, StoreError> {
    let query = JobQuery { limit: usize::MAX, ..JobQuery::default() };
    let queues = store.queues()?;
    let paused: BTreeSet<String> =
        queues.iter().filter(|queue| queue.paused).map(|queue| queue.name.to_string()).collect();
    Ok(Found {
        jobs: store.jobs(&query)?,
        failures: failures(raw).map_err(|error| StoreError::Corrupt(error.into()))?,
        settings: store.settings()?,
        paused,
    })
}

/// How many attempts of each job have failed, over its whole life.
fn failures(connection: &Connection) -> rusqlite::Result<HashMap<i64, i64>> {
    let mut count = connection.prepare(
        "SELECT job, count(*) FROM queuectl_attempt WHERE cause != 'succeeded' GROUP BY job",
    )?;
    count.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Works everything off, as the workers of the next boot would; gives what cannot be.
fn drain(store: &SqliteStore, found: &Found) -> Result<Vec<String>, StoreError> {
    /// More rounds than a store of this size can need.
    const ROUNDS_MAX: usize = 10_000;
    for queue in &found.paused {
        store.pause(&Name::new(queue).map_err(|error| StoreError::Other(error.into()))?, false)?;
    }
    let lease = Duration::from_secs(30);
    let worker = store.register(&Registration { workers: 1, lease, log: None })?[0];
    store.rescue(&[])?;
    let kinds: Vec<Name> = [KIND, queuectl_core::shell::SHELL_KIND]
        .iter()
        .filter_map(|kind| Name::new(kind).ok())
        .collect();
    let workers = [(worker, 64)];
    let claim = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    let mut settle: Vec<Settlement> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let exchanged = store.exchange(&settle, Some(&claim))?;
        if !exchanged.refused.is_empty() {
            return Ok(vec!["the only holder was refused".to_owned()]);
        }
        let now = found.jobs.first().map_or(queuectl_core::Timestamp::MAX, |job| job.created_at);
        settle = exchanged
            .claimed
            .iter()
            .map(|claimed| Settlement {
                lease: claimed.lease,
                verdict: Verdict::Complete { result: None },
                started_at: now,
                report: None,
                leftovers: false,
            })
            .collect();
        if settle.is_empty() {
            break;
        }
    }
    store.deregister(&[worker])?;
    let query = JobQuery { limit: usize::MAX, ..JobQuery::default() };
    let jobs = store.jobs(&query)?;
    let ended: HashMap<String, State> =
        jobs.iter().map(|job| (job.id.to_string(), job.state)).collect();
    // What waits for a job that has failed for good waits rightly.
    let waits_rightly = |job: &queuectl_core::Job| {
        job.state == State::Blocked
            && job.waits_for.iter().any(|parent| {
                let state = ended.get(&parent.job.to_string());
                matches!(state, Some(State::Dead | State::Cancelled | State::Blocked))
            })
    };
    let left = jobs.iter().filter(|job| !job.state.is_terminal() && !waits_rightly(job));
    Ok(left.map(|job| format!("{} stays {} for ever", job.id, job.state)).collect())
}
