//! The worker, with real threads, on a real file.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use queuectl_core::store::{Registration, StopMode, WorkerInfo};
use queuectl_core::{
    Cause, Clock, Context, Handlers, JobId, Json, NewJob, Outcome, Schedule, Setting, Spec,
    SqliteOptions, SqliteStore, State, StopCause, Store, SystemClock, Worker, WorkerEvent,
    WorkerOptions,
};
use tempfile::TempDir;

type Answer = Result<Outcome, String>;

/// How long a test waits for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn open(path: &Path) -> Arc<SqliteStore> {
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    Arc::new(SqliteStore::open(path, options).expect("a store"))
}

fn fresh() -> (TempDir, Arc<SqliteStore>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder.path().join("queue.db"));
    (folder, store)
}

fn add(store: &SqliteStore, jobs: &[NewJob]) -> Vec<JobId> {
    store.enqueue(jobs).expect("enqueued").into_iter().map(|added| added.id).collect()
}

fn job(kind: &str) -> NewJob {
    NewJob::new(kind, &()).expect("a job")
}

fn state(store: &SqliteStore, id: &JobId) -> State {
    store.job(id).expect("read").expect("a job").state
}

fn drain() -> WorkerOptions {
    let mut options = WorkerOptions::default();
    options.drain = true;
    options
}

fn on(kind: &str, handler: impl Fn(&Context) -> Answer + Send + Sync + 'static) -> Handlers {
    Handlers::new().on(kind, move |(): (), context: &Context| handler(context)).expect("a kind")
}

/// A handler that says that it runs, and then does so until it is told to end.
fn until_told() -> (Handlers, Receiver<()>, Receiver<StopCause>) {
    let ((begun, begins), (told, causes)) = (channel(), channel());
    let senders: Mutex<(Sender<()>, Sender<StopCause>)> = Mutex::new((begun, told));
    let handlers = on("long", move |context| {
        let (begun, told) = senders.lock().expect("no panic").clone();
        begun.send(()).expect("the test listens");
        loop {
            if let Some(cause) = context.wait_for_stop(PATIENCE) {
                told.send(cause).expect("the test listens");
                return Err("told to end".into());
            }
        }
    });
    (handlers, begins, causes)
}

#[test]
fn every_outcome_takes_its_job_where_it_should() {
    let (_folder, store) = fresh();
    let kinds = ["done", "result", "fails", "dead", "cancel", "panics"];
    let jobs: Vec<_> = kinds.iter().map(|kind| job(kind).max_retries(0)).collect();
    let ids = add(&store, &jobs);
    let result = Json::parse("[1,2]").expect("JSON");
    let handler = move |answer: fn(&Json) -> Answer| {
        let result = result.clone();
        move |(): (), _: &Context| answer(&result)
    };
    let handlers = Handlers::new()
        .on("done", handler(|_| Ok(Outcome::Done)))
        .and_then(|on| on.on("result", handler(|result| Ok(Outcome::DoneWith(result.clone())))))
        .and_then(|on| on.on("fails", handler(|_| Err("out of luck".into()))))
        .and_then(|on| on.on("dead", handler(|_| Ok(Outcome::Dead("no such user".into())))))
        .and_then(|on| on.on("cancel", handler(|_| Ok(Outcome::Cancel("not wanted".into())))))
        .and_then(|on| on.on("panics", handler(|_| panic!("out of cheese"))))
        .expect("kinds");
    let summary = Worker::start(store.clone(), handlers, drain()).expect("started").wait();
    let summary = summary.expect("it ends well");
    assert_eq!((summary.completed, summary.dead, summary.cancelled), (2, 3, 1));

    use State::{Cancelled, Completed, Dead};
    let states = [Completed, Completed, Dead, Dead, Cancelled, Dead];
    let errors =
        [None, None, Some("out of luck"), Some("no such user"), Some("not wanted"), Some("cheese")];
    for ((id, expected), error) in ids.iter().zip(states).zip(errors) {
        let job = store.job(id).expect("read").expect("a job");
        assert_eq!(job.state, expected, "{}", job.kind);
        let said = job.last_error.or(job.cancel_reason).unwrap_or_default();
        assert!(said.contains(error.unwrap_or_default()), "{}: {said}", job.kind);
    }
    let result = store.job(&ids[1]).expect("read").expect("a job").result;
    assert_eq!(result.map(|json| json.as_str().to_owned()).as_deref(), Some("[1,2]"));
}

#[test]
fn a_failed_job_is_retried_until_it_succeeds() {
    let (_folder, store) = fresh();
    let quick = "constant:20ms".parse().expect("a policy");
    let ids = add(&store, &[job("flaky").backoff(quick)]);
    let handlers = on("flaky", |context| match context.attempt() {
        3 => Ok(Outcome::Done),
        _ => Err("not yet".into()),
    });
    let summary = Worker::start(store.clone(), handlers, drain()).expect("started").wait();
    assert_eq!(summary.expect("it ends well").failed, 2);
    let attempts = store.attempts(store.job(&ids[0]).expect("read").expect("a job").key);
    let causes: Vec<_> = (attempts.expect("read").iter())
        .map(|attempt| attempt.report.as_ref().expect("ended").cause)
        .collect();
    assert_eq!(causes, [Cause::Failed, Cause::Failed, Cause::Succeeded]);
}

#[test]
fn work_that_arrives_later_wakes_the_worker() {
    let (folder, store) = fresh();
    let (sender, done) = channel();
    let sender = Mutex::new(sender);
    let handlers = on("k", move |_| {
        sender.lock().expect("no panic").send(()).expect("the test listens");
        Ok(Outcome::Done)
    });
    let worker = Worker::start(store, handlers, WorkerOptions::default()).expect("started");
    // As another process would: with a handle of its own.
    let elsewhere = open(&folder.path().join("queue.db"));
    for _ in 0..5 {
        add(&elsewhere, &[job("k")]);
        done.recv_timeout(PATIENCE).expect("the worker was woken");
    }
    worker.stopper().stop(StopMode::Finish);
    assert_eq!(worker.wait().expect("it ends well").completed, 5);
}

#[test]
fn jobs_of_other_kinds_are_left_to_others() {
    let (_folder, store) = fresh();
    let ids = add(&store, &[job("theirs").priority(9), job("mine")]);
    let handlers = on("mine", |_| Ok(Outcome::Done));
    Worker::start(store.clone(), handlers, drain()).expect("started").wait().expect("ends well");
    assert_eq!(state(&store, &ids[0]), State::Pending);
    assert_eq!(state(&store, &ids[1]), State::Completed);
}

#[test]
fn a_cancelled_job_is_told_to_end_while_it_runs() {
    let (_folder, store) = fresh();
    let ids = add(&store, &[job("long")]);
    let (handlers, begins, causes) = until_told();
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    begins.recv_timeout(PATIENCE).expect("it runs");
    store.cancel(&ids, &"changed my mind".into()).expect("cancelled");
    let cause = causes.recv_timeout(PATIENCE).expect("it was told");
    assert_eq!(cause, StopCause::Cancelled("changed my mind".into()));
    worker.stopper().stop(StopMode::Finish);
    assert_eq!(worker.wait().expect("ends well").cancelled, 1);
    assert_eq!(state(&store, &ids[0]), State::Cancelled);
}

#[test]
fn a_job_that_is_interrupted_by_shutdown_loses_no_attempt() {
    let (_folder, store) = fresh();
    store.change_setting(Setting::Grace, Some("50ms")).expect("set");
    let ids = add(&store, &[job("long")]);
    let (handlers, begins, causes) = until_told();
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    begins.recv_timeout(PATIENCE).expect("it runs");
    worker.stopper().stop(StopMode::Grace);
    assert_eq!(causes.recv_timeout(PATIENCE), Ok(StopCause::Shutdown));
    assert_eq!(worker.wait().expect("ends well").released, 1);
    let job = store.job(&ids[0]).expect("read").expect("a job");
    assert_eq!((job.state, job.attempts), (State::Pending, 0));
    assert!(store.workers().expect("read").is_empty(), "the registration outlived the worker");
}

#[test]
fn stopping_gently_lets_the_running_job_finish() {
    let (_folder, store) = fresh();
    let ids = add(&store, &[job("slow"), job("slow")]);
    let (begun, begins) = channel();
    let (finish, may_finish) = channel();
    let (begun, may_finish) = (Mutex::new(begun), Mutex::new(may_finish));
    let handlers = on("slow", move |_| {
        begun.lock().expect("no panic").send(()).expect("the test listens");
        may_finish.lock().expect("no panic").recv().map_err(|error| error.to_string())?;
        Ok(Outcome::Done)
    });
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    begins.recv_timeout(PATIENCE).expect("it runs");
    // From elsewhere, through the store, as `worker stop` does.
    store.stop(worker.keys(), StopMode::Finish).expect("told");
    finish.send(()).expect("the handler listens");
    assert_eq!(worker.wait().expect("ends well").completed, 1);
    assert_eq!(state(&store, &ids[0]), State::Completed);
    assert_eq!(state(&store, &ids[1]), State::Pending);
}

/// The kernel releases the lock of a dead process at once, so nobody waits for its lease, which
/// here has an hour to go.
#[test]
fn the_jobs_of_a_dead_process_run_again_within_two_seconds() {
    let (folder, dead) = fresh();
    let ids = add(&dead, &[job("k")]);
    let hour = Duration::from_secs(3600);
    let registration = Registration { workers: 1, lease: hour, log: None };
    let workers = dead.register(&registration).expect("registered");
    let kinds = [queuectl_core::Name::new("k").expect("a kind")];
    let queues = queuectl_core::store::Queues::All;
    let request = queuectl_core::store::ClaimRequest {
        workers: &[(workers[0], 1)],
        queues: &queues,
        kinds: &kinds,
    };
    let claimed = dead.exchange(&[], Some(&request)).expect("claimed").claimed;
    dead.begin(claimed[0].lease);

    let store = open(&folder.path().join("queue.db"));
    let (sender, ran) = channel();
    let sender = Mutex::new(sender);
    let handlers = on("k", move |context| {
        sender.lock().expect("no panic").send(context.attempt()).expect("the test listens");
        Ok(Outcome::Done)
    });
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    // While its process lives, the job is its own, however often others look.
    assert!(ran.recv_timeout(Duration::from_millis(1500)).is_err(), "the job was stolen");
    drop(dead);
    let attempt = ran.recv_timeout(Duration::from_secs(2)).expect("rescued within two seconds");
    assert_eq!(attempt, 2, "the lost attempt stays spent");
    worker.stopper().stop(StopMode::Finish);
    worker.wait().expect("ends well");
    let key = store.job(&ids[0]).expect("read").expect("a job").key;
    let attempts = store.attempts(key).expect("read");
    assert_eq!(attempts[0].report.as_ref().map(|report| report.cause), Some(Cause::LeaseLost));
}

#[test]
fn progress_can_be_read_while_the_job_runs() {
    let (_folder, store) = fresh();
    let ids = add(&store, &[job("k")]);
    let (finish, may_finish) = channel::<()>();
    let may_finish = Mutex::new(may_finish);
    let handlers = on("k", move |context| {
        context.progress(&0.5).map_err(|error| error.to_string())?;
        may_finish.lock().expect("no panic").recv().map_err(|error| error.to_string())?;
        Ok(Outcome::Done)
    });
    let (changed, changes) = channel();
    let changed = Mutex::new(changed);
    let watch = store.watch(Arc::new(move || {
        let _ = changed.lock().expect("no panic").send(());
    }));
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    let progress = || store.job(&ids[0]).expect("read").expect("a job").progress;
    while progress().is_none() {
        changes.recv_timeout(PATIENCE).expect("the watch tells of it");
    }
    assert_eq!(progress().map(|json| json.as_str().to_owned()).as_deref(), Some("0.5"));
    finish.send(()).expect("the handler listens");
    worker.stopper().stop(StopMode::Finish);
    worker.wait().expect("ends well");
    drop(watch);
}

/// Ten thousand jobs that take no time: the worker takes more at once, and each still runs once.
#[test]
fn many_quick_jobs_each_run_once() {
    let (_folder, store) = fresh();
    let jobs: Vec<_> =
        (0..10_000_u32).map(|number| NewJob::new("count", &number).expect("a job")).collect();
    add(&store, &jobs);
    let seen = Arc::new(Mutex::new(vec![0_u8; jobs.len()]));
    let counted = Arc::clone(&seen);
    let handlers = Handlers::new().on("count", move |number: usize, _: &Context| {
        counted.lock().expect("no panic")[number] += 1;
        Ok::<(), String>(())
    });
    let mut options = drain();
    options.workers = 4;
    let worker = Worker::start(store, handlers.expect("a kind"), options).expect("started");
    assert_eq!(worker.wait().expect("ends well").completed, 10_000);
    assert!(seen.lock().expect("no panic").iter().all(|&count| count == 1));
}

#[test]
fn an_observer_that_panics_costs_nothing() {
    let (_folder, store) = fresh();
    add(&store, &[job("k"), job("k")]);
    let mut options = drain();
    options.observer = Some(Arc::new(|event: &WorkerEvent<'_>| panic!("at {event:?}")));
    let worker = Worker::start(store, on("k", |_| Ok(Outcome::Done)), options).expect("started");
    assert_eq!(worker.wait().expect("ends well").completed, 2);
}

/// Somebody has paused the pager that shows the worker's log. The worker must go on renewing, or its
/// jobs would be run by others while they run here.
#[test]
fn an_observer_that_blocks_costs_no_lease() {
    let (folder, store) = fresh();
    add(&store, &[job("long")]);
    let (handlers, begins, _causes) = until_told();
    let (unblock, blocked) = channel::<()>();
    let blocked = Mutex::new(blocked);
    let mut options = WorkerOptions::default();
    options.lease = Duration::from_millis(900);
    options.observer = Some(Arc::new(move |_: &WorkerEvent<'_>| {
        let _ = blocked.lock().expect("no panic").recv();
    }));
    let worker = Worker::start(store.clone(), handlers, options).expect("started");
    begins.recv_timeout(PATIENCE).expect("it runs");
    let (other, steals, _other_causes) = until_told();
    let elsewhere = open(&folder.path().join("queue.db"));
    let other = Worker::start(elsewhere, other, WorkerOptions::default()).expect("started");
    assert!(steals.recv_timeout(Duration::from_millis(2500)).is_err(), "the lease was lost");
    drop(unblock);
    drop((other, worker));
}

/// A job of a long line is held in advance only while those before it are quick.
#[test]
fn a_slow_job_does_not_keep_those_behind_it_from_others() {
    let (folder, store) = fresh();
    let quick: Vec<_> = (0..500).map(|_| NewJob::new("mixed", &false).expect("a job")).collect();
    add(&store, &quick);
    add(&store, &[NewJob::new("mixed", &true).expect("a job")]);
    add(&store, &quick);
    let (finish, may_finish) = channel::<()>();
    let may_finish = Arc::new(Mutex::new(may_finish));
    let handlers = || {
        let may_finish = Arc::clone(&may_finish);
        Handlers::new().on("mixed", move |slow: bool, _: &Context| {
            if slow {
                may_finish.lock().expect("no panic").recv().map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })
    };
    let first = Worker::start(store.clone(), handlers().expect("a kind"), WorkerOptions::default());
    let elsewhere = open(&folder.path().join("queue.db"));
    let second = Worker::start(elsewhere, handlers().expect("a kind"), WorkerOptions::default());
    let (first, second) = (first.expect("started"), second.expect("started"));
    let (changed, changes) = channel();
    let changed = Mutex::new(changed);
    let watch = store.watch(Arc::new(move || {
        let _ = changed.lock().expect("no panic").send(());
    }));
    let completed = || -> u64 {
        store.counts().expect("read").iter().map(|lane| lane.of(State::Completed)).sum()
    };
    while completed() < 1000 {
        changes.recv_timeout(PATIENCE).expect("the others do not wait for the slow one");
    }
    finish.send(()).expect("the handler listens");
    drop(watch);
    for worker in [first, second] {
        worker.stopper().stop(StopMode::Finish);
        worker.wait().expect("ends well");
    }
    assert_eq!(completed(), 1001);
}

/// The contract allows a store to wake for nothing. A worker that is to end when nothing is left must
/// find that out all the same, and not claim for ever.
#[test]
fn a_store_that_wakes_for_nothing_is_drained_all_the_same() {
    use queuectl_testkit::MemoryStore;
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    store.enqueue(&[job("k"), job("k")]).expect("enqueued");
    let worker = Worker::start(store, on("k", |_| Ok(Outcome::Done)), drain()).expect("started");
    assert_eq!(worker.wait().expect("ends well").completed, 2);
}

/// Another program holds the lock for longer than the lease: the worker waits in the middle of a
/// renewal, and its job has to be told all the same.
#[test]
fn a_job_is_told_to_end_before_its_lease_does_while_the_store_is_locked() {
    let (folder, store) = fresh();
    add(&store, &[job("long")]);
    let (handlers, begins, causes) = until_told();
    let mut options = WorkerOptions::default();
    options.lease = Duration::from_secs(3);
    let started = SystemClock.boot();
    let worker = Worker::start(store, handlers, options).expect("started");
    begins.recv_timeout(PATIENCE).expect("it begins");
    let other = rusqlite::Connection::open(folder.path().join("queue.db")).expect("opened");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    assert_eq!(causes.recv_timeout(PATIENCE), Ok(StopCause::LeaseLost));
    let after = SystemClock.boot().since(started);
    other.execute_batch("COMMIT").expect("unlocked");
    assert!(after < Duration::from_secs(3), "told after {after:?}");
    drop(worker);
}

/// What tidies up old files must not have the jobs of living workers run twice; and looking at
/// workers must not take the proof of a death away.
#[test]
fn only_a_free_lock_proves_a_death() {
    let (folder, store) = fresh();
    let path = folder.path().join("queue.db");
    let locks = folder.path().join("queue.db-workers");
    let registration = Registration { workers: 1, lease: Duration::from_secs(60), log: None };
    let files = || std::fs::read_dir(&locks).expect("a folder").count();

    let gone = open(&path);
    gone.register(&registration).expect("registered");
    drop(gone);
    let dead = |workers: Vec<WorkerInfo>| workers.iter().filter(|worker| worker.dead).count();
    for _ in 0..2 {
        assert_eq!(dead(store.workers().expect("read")), 1);
        assert_eq!(files(), 1, "a read has removed the proof");
    }
    store.rescue(&[]).expect("rescued");
    assert_eq!((store.workers().expect("read").len(), files()), (0, 0));

    let living = open(&path);
    let keys = living.register(&registration).expect("registered");
    std::fs::remove_dir_all(&locks).expect("removed");
    store.rescue(&[]).expect("rescued");
    assert_eq!(store.workers().expect("read").len(), 1, "a living worker was taken for dead");
    living.deregister(&keys).expect("deregistered");
    living.register(&registration).expect("registered again");
    assert_eq!(files(), 1);
}

/// Its time is over before it has begun. That is its attempt, and no reason to try for ever.
#[test]
fn a_job_without_time_spends_its_attempt() {
    let (_folder, store) = fresh();
    let ids = add(&store, &[job("k").timeout(Duration::ZERO).max_retries(0)]);
    let handlers = on("k", |context| match context.stop_requested() {
        Some(_) => Err("no time".into()),
        None => Ok(Outcome::Done),
    });
    let worker = Worker::start(store.clone(), handlers, drain()).expect("started");
    assert_eq!(worker.wait().expect("ends well").dead, 1);
    assert_eq!(state(&store, &ids[0]), State::Dead);
}

/// The first who tries cannot end what a dead worker left; he tries again.
#[test]
fn what_could_not_be_cleaned_up_is_tried_again() {
    struct Stubborn(std::sync::mpsc::SyncSender<()>);
    impl queuectl_core::Handler for Stubborn {
        fn run(&self, _: &queuectl_core::Claimed, _: &Context) -> queuectl_core::Finished {
            queuectl_core::Finished::of(Outcome::Done)
        }
        fn clean_up(
            &self,
            _: queuectl_core::JobKey,
            _: queuectl_core::Token,
            _: queuectl_core::Token,
        ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            // The second time somebody waits for it no more.
            self.0.send(()).map_err(Into::into).and(Err("it will not end".into()))
        }
    }
    let (folder, dead) = fresh();
    add(&dead, &[job("k").max_retries(0)]);
    let registration = Registration { workers: 1, lease: Duration::from_secs(60), log: None };
    let workers = dead.register(&registration).expect("registered");
    let request = queuectl_core::store::ClaimRequest {
        workers: &[(workers[0], 1)],
        queues: &queuectl_core::store::Queues::All,
        kinds: &[queuectl_core::Name::new("k").expect("a kind")],
    };
    let claimed = dead.exchange(&[], Some(&request)).expect("claimed").claimed;
    dead.begin(claimed[0].lease);
    drop(dead);
    let store = open(&folder.path().join("queue.db"));
    let (tried, tries) = std::sync::mpsc::sync_channel(0);
    let handlers = Handlers::new().with("k", Arc::new(Stubborn(tried))).expect("a kind");
    let worker = Worker::start(store, handlers, WorkerOptions::default()).expect("started");
    for _ in 0..2 {
        tries.recv_timeout(Duration::from_secs(30)).expect("it is tried");
    }
    drop(tries);
    worker.stopper().stop(StopMode::Finish);
    worker.wait().expect("ends well");
}

#[test]
fn a_worker_attends_to_schedules() {
    let (_folder, store) = fresh();
    let spec = Spec::every(Duration::from_secs(1)).expect("an interval");
    let schedule = Schedule::new("beat", spec, job("beat")).expect("a schedule");
    let (ran, runs) = channel();
    let ran = Mutex::new(ran);
    let handlers = on("beat", move |_| {
        ran.lock().expect("no panic").send(()).expect("the test listens");
        Ok(Outcome::Done)
    });
    let worker = Worker::start(store.clone(), handlers, WorkerOptions::default()).expect("started");
    // It hears of a schedule that is new while it runs.
    store.put_schedule(&schedule).expect("put");
    for _ in 0..3 {
        runs.recv_timeout(PATIENCE).expect("it ticks");
    }
    worker.stopper().stop(StopMode::Finish);
    worker.wait().expect("it ends well");
    let ticks = store.ticks(&schedule.name).expect("read");
    assert!(ticks.len() >= 3 && ticks.is_sorted_by_key(|one| std::cmp::Reverse(one.tick)));
}
