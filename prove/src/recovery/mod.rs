//! What becomes of work whose worker dies, hangs or is killed by it: how soon it runs again, and that
//! nothing of it is left by then.
//!
//! | file | what it proves |
//! |---|---|
//! | `reclaim.rs` | a killed worker's job runs again within two seconds, and nothing of the dead attempt lives when it does |
//! | `fence.rs` | a worker that cannot renew its leases ends its jobs before they do |
//! | `poison.rs` | a job that kills its workers ends in the dead letter queue, and its neighbours do not pay |
//! | `job.rs` | the commands that run, and the process that locks a store |

mod fence;
mod job;
mod poison;
mod reclaim;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queuectl_core::{SqliteOptions, SqliteStore, Store};
use queuectl_testkit::history::Moment;

use crate::scoreboard::Score;
use crate::storm::arena::Arena;
use crate::witness::process::now;

/// How long anything here may take that ought to happen soon.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many workers are killed to measure how soon their jobs run again
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// How many of them at a time
    #[arg(long, default_value_t = 3)]
    at_a_time: usize,
    /// Decides when in a round the worker is killed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the stores are made [default: the system's folder for temporary files]
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What the processes of these proofs are started as.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Looks for what an earlier attempt left, tells the witness, and stays if it is the first
    Job,
    /// Locks a store against writers until it is killed
    Lock {
        #[arg(long)]
        store: PathBuf,
    },
}

impl Part {
    pub(crate) fn run(&self) -> ExitCode {
        let done = match self {
            Part::Job => job::run(),
            Part::Lock { store } => job::lock(store).map(|()| ExitCode::SUCCESS),
        };
        done.unwrap_or_else(|error| {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(99)
        })
    }
}

pub(crate) fn run(options: &Options) -> Vec<Score> {
    type Proof = fn(&Options, &mut Score) -> Result<(), Box<dyn Error>>;
    let proofs: [(&'static str, Proof); 4] = [
        ("recovery", reclaim::prove),
        ("self-fencing", fence::prove),
        ("jobs that kill their workers", poison::prove),
        ("neighbours of such jobs", poison::prove_neighbours),
    ];
    let run = |(name, proof): (&'static str, Proof)| {
        let began = now();
        let mut score = Score::new(name);
        if let Err(error) = proof(options, &mut score) {
            score.violations.push(format!("the proof could not go on: {error}"));
        }
        score.took = since(began);
        score
    };
    proofs.into_iter().map(run).collect()
}

/// A store of its own, gone afterwards.
fn place(options: &Options) -> Result<(tempfile::TempDir, Arena), Box<dyn Error>> {
    let home = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("queuectl-recovery-").tempdir_in(home)?;
    let arena = Arena::new(folder.path(), options.seed, u64::MAX)?;
    Ok((folder, arena))
}

fn open(path: &Path) -> Result<Arc<SqliteStore>, queuectl_core::OpenError> {
    SqliteStore::open(path, SqliteOptions::default()).map(Arc::new)
}

/// Waits until `look` finds what it looks for in the store; woken by each change.
fn until<T>(
    store: &Arc<SqliteStore>,
    what: &str,
    mut look: impl FnMut(&dyn Store) -> Result<Option<T>, queuectl_core::StoreError>,
) -> Result<T, Box<dyn Error>> {
    let (wake, woken) = channel();
    let wake = Mutex::new(wake);
    let watch = store.watch(Arc::new(move || {
        if let Ok(wake) = wake.lock() {
            let _ = wake.send(());
        }
    }))?;
    let until = now().plus(PATIENCE);
    let found = loop {
        if let Some(found) = look(&**store)? {
            break Ok(found);
        }
        if now() > until {
            break Err(format!("waited in vain: {what}").into());
        }
        // What a worker's lock or lease tells changes without a write.
        match woken.recv_timeout(Duration::from_millis(100)) {
            Err(RecvTimeoutError::Disconnected) => break Err("the watch is gone".into()),
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
        }
    };
    drop(watch);
    found
}

fn since(earlier: Moment) -> Duration {
    between(earlier, now())
}

fn between(earlier: Moment, later: Moment) -> Duration {
    Duration::from_micros(u64::try_from(later.0 - earlier.0).unwrap_or(0))
}
