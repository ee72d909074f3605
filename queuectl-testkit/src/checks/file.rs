//! Files that were a store once.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use queuectl_core::store::{
    ClaimRequest, JobQuery, Queues, Registration, Settlement, Store, Verdict,
};
use queuectl_core::{
    Clock, JobKey, ManualClock, Name, NewJob, SqliteOptions, SqliteStore, StoreError, SystemClock,
};

/// What happens to a file.
#[derive(Debug, Clone)]
pub enum Damage {
    /// A byte is another one.
    Flip {
        /// Where, in share of the file: 0 is its begin, `u16::MAX` its end.
        at: u16,
        /// Which bits.
        bits: u8,
    },
    /// The rest is gone.
    Cut {
        /// From where on.
        at: u16,
    },
    /// Something is in the middle that was not.
    Insert {
        /// Where.
        at: u16,
        /// What.
        bytes: Vec<u8>,
    },
    /// A byte of the header, where most depends on each.
    Header {
        /// Which of its hundred bytes.
        at: u8,
        /// What it is now.
        byte: u8,
    },
}

/// A store that was damaged is refused or works: it never panics, and never hangs.
///
/// # Panics
///
/// If it does.
pub fn damaged_store(damage: &[Damage]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let mut bytes = STORE.clone();
    for one in damage {
        one.apply(&mut bytes);
    }
    fs::write(&path, bytes).unwrap();
    let started = SystemClock.boot();
    let answers = use_it(&path);
    // A store that is locked for good would say so after five seconds.
    let took = SystemClock.boot().since(started);
    assert!(took < Duration::from_secs(20), "{took:?} for {answers:?}");
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |at: u16| bytes.len() * usize::from(at) / usize::from(u16::MAX);
        match self {
            Damage::Flip { at, bits } => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Damage::Cut { at } => {
                let at = place(*at);
                bytes.truncate(at);
            }
            Damage::Insert { at, bytes: more } => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Header { at, byte } => {
                if let Some(old) = bytes.get_mut(usize::from(*at % 100)) {
                    *old = *byte;
                }
            }
        }
    }
}

/// A store in which something of everything has happened, as one file.
static STORE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = SqliteStore::open(&path, options(true)).unwrap();
    let job = |id: &str| NewJob::new("work", &"payload").unwrap().id(id).unwrap();
    let mut jobs: Vec<NewJob> = (0..12).map(|index| job(&format!("job-{index}"))).collect();
    jobs.push(job("child").after("job-0".parse().unwrap()));
    jobs.push(job("later").delay(Duration::from_secs(60)).unique_key("key").unwrap());
    store.enqueue(&jobs).unwrap();
    let workers = register(&store).unwrap();
    let claimed = claim(&store, &workers, &[]).unwrap();
    let verdicts = [
        Verdict::Complete { result: None },
        Verdict::Fail { retry_in: Duration::from_secs(9) },
        Verdict::Die,
        Verdict::Cancel,
    ];
    let ends: Vec<Settlement> = claimed
        .iter()
        .zip(verdicts)
        .map(|(lease, verdict)| Settlement {
            lease: *lease,
            verdict,
            started_at: options(false).clock.now(),
            report: None,
            leftovers: true,
        })
        .collect();
    store.exchange(&ends, None).unwrap();
    store.pause(&Name::new("mail").unwrap(), true).unwrap();
    // Closing brings the log back into the file.
    drop(store);
    fs::read(&path).unwrap()
});

fn options(create: bool) -> SqliteOptions {
    let clock = std::sync::Arc::new(ManualClock::new());
    let durability = Some(queuectl_core::Durability::Off);
    SqliteOptions { create, durability, clock, ..SqliteOptions::default() }
}

fn register(store: &SqliteStore) -> Result<Vec<queuectl_core::WorkerKey>, StoreError> {
    let lease = Duration::from_secs(60);
    store.register(&Registration { workers: 1, lease, log: None })
}

fn claim(
    store: &SqliteStore,
    workers: &[queuectl_core::WorkerKey],
    settle: &[Settlement],
) -> Result<Vec<queuectl_core::Lease>, StoreError> {
    let workers: Vec<_> = workers.iter().map(|&worker| (worker, 6)).collect();
    let kinds = [Name::new("work").unwrap()];
    let request = ClaimRequest { workers: &workers, queues: &Queues::All, kinds: &kinds };
    Ok(store.exchange(settle, Some(&request))?.claimed.iter().map(|job| job.lease).collect())
}

/// Does a little of everything, whatever the answers are; gives them.
fn use_it(path: &Path) -> Vec<String> {
    let mut answers = Vec::new();
    let mut note = |what: &str, error: Option<String>| answers.push(format!("{what}: {error:?}"));
    let store = match SqliteStore::open(path, options(false)) {
        Ok(store) => store,
        Err(error) => {
            note("open", Some(error.to_string()));
            return answers;
        }
    };
    let said = |error: StoreError| error.to_string();
    note("jobs", store.jobs(&JobQuery::default()).err().map(said));
    note("attempts", store.attempts(JobKey(1)).err().map(said));
    note("counts", store.counts().err().map(said));
    note("workers", store.workers().err().map(said));
    note("settings", store.settings().err().map(said));
    note("enqueue", store.enqueue(&[NewJob::new("work", &()).unwrap()]).err().map(said));
    note("rescue", store.rescue(&[]).err().map(said));
    let workers = register(&store);
    if let Ok(workers) = &workers {
        note("claim", claim(&store, workers, &[]).err().map(said));
        note("held", store.held(workers).err().map(said));
    }
    note("register", workers.err().map(said));
    note("cancel", store.cancel(&["job-7".parse().unwrap()], &"damaged".into()).err().map(said));
    note("retry", store.retry(&["job-2".parse().unwrap()]).err().map(said));
    note("purge", store.purge(&["job-3".parse().unwrap()]).err().map(said));
    note("prune", store.prune().err().map(said));
    answers
}
