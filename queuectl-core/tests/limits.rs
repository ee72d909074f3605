//! Limits hold over processes that are killed: seen from outside, by locks that the kernel releases
//! with whoever held them.
//!
//! A job takes one of as many locks as may be held at a time. If all are taken, one job too many runs.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes, wait for what no descriptor tells, and may panic"
)]

use std::env;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use queuectl_core::{
    Context, Handlers, Limit, Name, NewJob, SqliteOptions, SqliteStore, State, Store, Worker,
    WorkerOptions,
};

const HOME: &str = "LIMITS_TEST_HOME";
const PROCESSES: usize = 8;
const KILLS: usize = 16;
const JOBS: usize = 240;
/// Of the queue `narrow`, and of each key of the queue `keyed`.
const AT_A_TIME: usize = 3;
const KEYS: usize = 5;

/// Not a test: the worker process that the test below starts, and kills.
#[test]
fn worker() {
    let Ok(home) = env::var(HOME) else { return };
    let store = open(Path::new(&home));
    let handlers = Handlers::new()
        .on("hold", move |prefix: String, _: &Context| hold(Path::new(&home), &prefix))
        .unwrap();
    let mut options = WorkerOptions::default();
    options.workers = 2;
    options.drain = true;
    Worker::start(store, handlers, options).unwrap().wait().unwrap();
}

/// Runs with one of the locks of this name, or says that there was none left.
fn hold(home: &Path, prefix: &str) -> std::io::Result<()> {
    let lock = |number: usize| {
        let file = File::create(home.join(format!("{prefix}-{number}"))).unwrap();
        file.try_lock().ok().map(|()| file)
    };
    let Some(_held) = (0..AT_A_TIME).find_map(lock) else {
        return fs::write(home.join(format!("one-too-many-{prefix}")), "");
    };
    // What the job does: it takes its time.
    std::thread::sleep(Duration::from_millis(4));
    Ok(())
}

fn open(home: &Path) -> Arc<SqliteStore> {
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    Arc::new(SqliteStore::open(home.join("queue.db"), options).unwrap())
}

fn start_worker(home: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "worker"])
        .env(HOME, home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn completed(store: &SqliteStore) -> u64 {
    store.counts().unwrap().iter().map(|lane| lane.of(State::Completed)).sum()
}

#[test]
fn limits_hold_over_eight_processes_that_are_killed_one_after_the_other() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let store = open(home);
    let at_a_time = NonZeroU32::new(AT_A_TIME as u32);
    let [narrow, keyed] = ["narrow", "keyed"].map(|name| Name::new(name).unwrap());
    store.limit(&narrow, &[Limit::Concurrency(at_a_time)]).unwrap();
    store.limit(&keyed, &[Limit::PerKey(at_a_time)]).unwrap();
    let job = |number: usize| {
        let key = format!("key-{}", number % KEYS);
        let (queue, key) =
            if number.is_multiple_of(2) { ("narrow", None) } else { ("keyed", Some(key)) };
        let job = NewJob::new("hold", key.as_deref().unwrap_or(queue)).unwrap();
        let mut job = job.queue(queue).unwrap().max_retries(1000);
        job.concurrency_key = key;
        job
    };
    store.enqueue(&(0..JOBS).map(job).collect::<Vec<_>>()).unwrap();

    let (changed, changes) = mpsc::channel();
    let tell = move || {
        // Nobody hears it any more when the test is over.
        let _ = changed.send(());
    };
    let _watch = store.watch(Arc::new(tell)).unwrap();
    let mut workers: Vec<Child> = (0..PROCESSES).map(|_| start_worker(home)).collect();
    let begun = Instant::now();
    for kill in 0..KILLS {
        // Each dies when some more jobs have run, wherever it stands then.
        let enough = (JOBS * kill / (KILLS + 4)) as u64;
        while completed(&store) < enough {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", store.counts());
            // Whether it was called or not, the next look decides.
            let _ = changes.recv_timeout(Duration::from_secs(1));
        }
        let mut victim = std::mem::replace(&mut workers[kill % PROCESSES], start_worker(home));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    for worker in &mut workers {
        assert!(worker.wait().unwrap().success());
    }
    assert_eq!(completed(&store), JOBS as u64);
    let files: Vec<_> = fs::read_dir(home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let broken: Vec<_> = files.iter().filter(|name| name.starts_with("one-too-many")).collect();
    assert!(broken.is_empty(), "{broken:?}");
    // The limit was reached, or the test would have shown nothing.
    let last = format!("narrow-{}", AT_A_TIME - 1);
    assert!(files.contains(&last), "{files:?}");
}
