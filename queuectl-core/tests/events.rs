//! The event log of real threads and processes, some of which are killed: a subscriber sees each
//! entry once, in order, and none is missing; and what it has seen is what the store has.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes, and may panic"
)]

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use queuectl_core::{
    Change, Context, Handlers, NewJob, Outcome, Setting, SqliteOptions, SqliteStore, Store,
    Subscription, Worker, WorkerOptions,
};
use queuectl_testkit::replay::Replay;

const HOME: &str = "EVENTS_TEST_HOME";
const PROCESSES: usize = 3;
const KILLS: usize = 6;
const WRITERS: usize = 3;
const JOBS_EACH: usize = 60;
const JOBS: usize = WRITERS * JOBS_EACH + KILLS;
/// What a process says that is to be killed.
const LINGERS: &str = "a job lingers";
/// Longer than any test lasts.
const FOR_EVER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(120);

/// Not a test: the worker process that the test below starts, and kills.
#[test]
fn worker() {
    let Ok(home) = env::var(HOME) else { return };
    let store = open(Path::new(&home));
    let handlers = Handlers::new()
        .on("work", work)
        .unwrap()
        .on("linger", move |number: usize, _: &Context| linger(Path::new(&home), number))
        .unwrap();
    let mut options = WorkerOptions::default();
    options.workers = 2;
    options.drain = true;
    Worker::start(store, handlers, options).unwrap().wait().unwrap();
}

/// Fails or comes back later the first time, and then succeeds.
fn work(number: usize, run: &Context) -> Result<Outcome, String> {
    match (number % 4, run.attempt()) {
        (0, 1) => Err("the first time it fails".to_owned()),
        (1, 1) => Ok(Outcome::RetryAfter("not yet".into(), Duration::ZERO)),
        _ => Ok(Outcome::Done),
    }
}

/// Says that it runs, and then runs for ever; the second time it ends.
fn linger(home: &Path, number: usize) -> std::io::Result<()> {
    if File::create_new(home.join(format!("lingered-{number}"))).is_ok() {
        // Past the harness, which would keep it to itself.
        std::io::stdout().write_all(format!("\n{LINGERS}\n").as_bytes())?;
        thread::sleep(FOR_EVER);
    }
    Ok(())
}

fn open(home: &Path) -> Arc<SqliteStore> {
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    Arc::new(SqliteStore::open(home.join("queue.db"), options).unwrap())
}

fn log_on(store: &dyn Store) {
    store.change_setting(Setting::EventLog, Some("on")).unwrap();
}

/// Runs worker processes, one after the other, until all is done. Each ends when it finds nothing
/// to do, or is killed when a job lingers in it.
fn run_and_kill(home: &Path, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "worker"])
            .env(HOME, home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let lingers = lines.map_while(Result::ok).any(|line| line == LINGERS);
        if lingers {
            process.kill().unwrap();
        }
        assert_ne!(process.wait().unwrap().success(), lingers);
    }
}

fn write(store: &dyn Store) {
    for number in 0..JOBS_EACH {
        let mut job = NewJob::new("work", &number).unwrap().max_retries(1000);
        job.backoff = Some("constant:1ms".parse().unwrap());
        store.enqueue(&[job]).unwrap();
    }
}

#[test]
fn a_subscriber_misses_nothing_while_workers_are_killed() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let store = open(home);
    log_on(store.as_ref());
    let mut subscription = Subscription::new(open(home)).unwrap();
    let closer = subscription.closer();
    let (tell, told) = mpsc::channel();
    let follower = thread::spawn(move || {
        let mut replay = Replay::after(0);
        let mut seen: HashMap<Change, usize> = HashMap::new();
        for event in subscription.by_ref() {
            let event = event.unwrap();
            // It must be the next, and possible.
            replay.take(&event).unwrap();
            *seen.entry(event.change).or_default() += 1;
            tell.send(event).unwrap();
        }
        assert_eq!((subscription.missed(), subscription.position()), (0, replay.last()));
        (replay, seen)
    });

    let linger = |number| NewJob::new("linger", &number).unwrap().max_retries(1000);
    store.enqueue(&(0..KILLS).map(linger).collect::<Vec<_>>()).unwrap();
    let done = AtomicBool::new(false);
    let (mut newest, mut completed) = (0, 0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            // Some share a store with others, some have one of their own, as another process has.
            let store = if writer == 0 { open(home) } else { Arc::clone(&store) };
            scope.spawn(move || write(store.as_ref()));
        }
        for _ in 0..PROCESSES {
            scope.spawn(|| run_and_kill(home, &done));
        }
        while completed < JOBS
            && let Ok(event) = told.recv_timeout(PATIENCE)
        {
            newest = event.seq;
            completed += usize::from(event.change == Change::Completed);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(completed, JOBS, "it does not go on after {newest}");
    // Nothing happens any more, and all of it is told.
    let last = store.last_event().unwrap();
    while newest < last {
        newest = told.recv_timeout(PATIENCE).unwrap().seq;
    }
    closer.close();
    let (replay, seen) = follower.join().unwrap();
    assert_eq!(replay.last(), last);
    replay.compare(store.as_ref()).unwrap();
    let count = |change| seen.get(&change).copied().unwrap_or(0);
    assert_eq!(count(Change::Added), JOBS);
    assert!(count(Change::LeaseLost) >= KILLS, "{seen:?}");
    assert!(count(Change::Failed) >= JOBS / 4, "{seen:?}");
}

/// Two subscribers of one store, one of which begins in the middle.
#[test]
fn a_subscriber_goes_on_where_another_was() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    log_on(store.as_ref());
    write(store.as_ref());
    let mut first = Subscription::after(store.clone(), 0).unwrap();
    let seen: Vec<u64> = first.by_ref().take(10).map(|event| event.unwrap().seq).collect();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert_eq!(first.position(), 10);
    let mut second = Subscription::after(store.clone(), first.position()).unwrap();
    for expected in 11..=JOBS_EACH as u64 {
        let event = second.next_within(PATIENCE).unwrap().unwrap();
        assert_eq!(event.seq, expected);
    }
    assert_eq!(second.next_within(Duration::ZERO).unwrap(), None);
    let mut fresh = Subscription::new(store.clone()).unwrap();
    store.cancel(&["q1".parse().unwrap()], &"not wanted".into()).unwrap();
    let changes = [fresh.next_within(PATIENCE), second.next_within(PATIENCE)];
    assert!(changes.map(|next| next.unwrap().unwrap().change == Change::Cancelled) == [true; 2]);
}

#[test]
fn what_was_forgotten_before_it_was_read_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    log_on(store.as_ref());
    let mut subscription = Subscription::new(store.clone()).unwrap();
    write(store.as_ref());
    store.change_setting(Setting::EventLog, Some("off")).unwrap();
    log_on(store.as_ref());
    write(store.as_ref());
    let event = subscription.next_within(PATIENCE).unwrap().unwrap();
    assert_eq!((event.seq, subscription.missed()), (JOBS_EACH as u64 + 1, JOBS_EACH as u64));
}

#[test]
fn a_subscription_that_is_closed_ends_at_once() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    log_on(store.as_ref());
    write(store.as_ref());
    let mut subscription = Subscription::after(store, 0).unwrap();
    let closer = subscription.closer();
    let (begun, waits) = mpsc::channel();
    let waiting = thread::spawn(move || {
        while subscription.next_within(Duration::ZERO).unwrap().is_some() {}
        begun.send(()).unwrap();
        subscription.next()
    });
    waits.recv_timeout(PATIENCE).unwrap();
    closer.close();
    assert!(waiting.join().unwrap().is_none());
}
