//! Graphs of ten thousand jobs that wait for each other: each runs once, after all of its parents, and
//! nothing is left. What they cost is measured by the benchmark.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashMap;

use queuectl_core::store::{ClaimRequest, Queues, Registration, Settlement, Verdict};
use queuectl_core::{
    After, Clock, Condition, Durability, JobId, JobKey, Name, Needs, NewJob, Otherwise,
    SqliteOptions, SqliteStore, State, Store, SystemClock,
};

const JOBS: usize = 10_000;

/// The numbers of a job's parents, all of them smaller than its own.
type Parents = fn(usize) -> Vec<usize>;

#[test]
fn a_chain() {
    complete(|job| job.checked_sub(1).into_iter().collect());
}

#[test]
fn one_parent_of_all() {
    complete(|job| if job > 0 { vec![0] } else { Vec::new() });
}

#[test]
fn one_child_of_all() {
    complete(|job| if job + 1 == JOBS { (0..job).collect() } else { Vec::new() });
}

/// Hundred layers, each job after three of the layer before it.
#[test]
fn layers() {
    complete(layered);
}

/// The first of all dies: of what comes after it, nothing runs, but what tidies up.
#[test]
fn a_death_at_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut jobs = graph(|job| job.checked_sub(1).map(|last| last / 2).into_iter().collect());
    for job in &mut jobs {
        job.otherwise = Otherwise::Cancel;
    }
    jobs.truncate(JOBS - 1);
    jobs.push(NewJob::new("work", &()).unwrap().after_failure(id(JOBS - 2)));
    store.enqueue(&jobs).unwrap();
    let ran = run(&store, |_| Verdict::Die);
    assert_eq!(ran, [JobKey(1), JobKey(JOBS as i64)]);
    let states = |state| store.counts().unwrap().iter().map(|lane| lane.of(state)).sum::<u64>();
    assert_eq!(states(State::Cancelled), JOBS as u64 - 2);
    assert_eq!(states(State::Dead), 2);
}

/// The first of ten thousand parents is enough, and the others free nobody twice.
#[test]
fn any_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut jobs = graph(|job| if job + 1 == JOBS { (0..job).collect() } else { Vec::new() });
    let last = jobs.last_mut().unwrap();
    (last.needs, last.priority) = (Needs::Any, 1);
    store.enqueue(&jobs).unwrap();
    let ran = run(&store, |_| Verdict::Complete { result: None });
    assert_eq!((ran.len(), ran[100]), (JOBS, JobKey(JOBS as i64)));
}

/// A batch of ten thousand, and what follows, which is claimed last although it comes first.
#[test]
fn a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let member = || NewJob::new("work", &()).unwrap().batch("all").unwrap();
    let last = NewJob::new("work", &()).unwrap().priority(1);
    let last = last.after_batch("all", Condition::Success).unwrap();
    let members: Vec<_> = (1..JOBS).map(|_| member()).collect();
    store.enqueue(&members).unwrap();
    store.close_batch(&Name::new("all").unwrap(), &[member(), last]).unwrap();
    let ran = run(&store, |_| Verdict::Complete { result: None });
    assert_eq!((ran.len(), ran[JOBS]), (JOBS + 1, JobKey(JOBS as i64 + 1)));
    let all = store.batch(&Name::new("all").unwrap()).unwrap().unwrap();
    assert_eq!((all.total, all.completed), (JOBS as u64, JOBS as u64));
    assert_eq!(all.state(), State::Completed);
}

fn layered(job: usize) -> Vec<usize> {
    const WIDTH: usize = 100;
    let Some(layer) = (job / WIDTH).checked_sub(1) else {
        return Vec::new();
    };
    // Three that differ, scattered, the same in each run.
    (0..3).map(|one| layer * WIDTH + (job * 7 + one * 31) % WIDTH).collect()
}

fn complete(parents: Parents) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.enqueue(&graph(parents)).unwrap();
    let ran = run(&store, |_| Verdict::Complete { result: None });
    let place: HashMap<_, _> = ran.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    assert_eq!((ran.len(), place.len()), (JOBS, JOBS), "each runs once");
    for job in 0..JOBS {
        let at = |job: usize| place[&JobKey(job as i64 + 1)];
        assert!(parents(job).into_iter().all(|parent| at(parent) < at(job)), "{job} ran too early");
    }
}

fn graph(parents: Parents) -> Vec<NewJob> {
    let job = |number| {
        let mut job = NewJob::new("work", &()).unwrap();
        job.after = parents(number).into_iter().map(|parent| After::from(id(parent))).collect();
        job
    };
    (0..JOBS).map(job).collect()
}

fn id(number: usize) -> JobId {
    JobId::Auto(JobKey(number as i64 + 1))
}

fn open(folder: &tempfile::TempDir) -> SqliteStore {
    let options = SqliteOptions {
        create: true,
        durability: Some(Durability::Off),
        ..SqliteOptions::default()
    };
    SqliteStore::open(folder.path().join("queue.db"), options).unwrap()
}

/// Runs all that can be run, a hundred at a time; gives the jobs in the order in which they were
/// claimed.
fn run(store: &SqliteStore, verdict: fn(JobKey) -> Verdict) -> Vec<JobKey> {
    let lease = std::time::Duration::from_secs(3600);
    let registration = Registration { workers: 1, lease, log: None };
    let worker = store.register(&registration).unwrap()[0];
    let (queues, kinds) = (Queues::All, [Name::new("work").unwrap()]);
    let request = ClaimRequest { workers: &[(worker, 100)], queues: &queues, kinds: &kinds };
    let (mut settle, mut ran) = (Vec::new(), Vec::new());
    loop {
        let done = store.exchange(&settle, Some(&request)).unwrap();
        assert_eq!(done.refused, []);
        // Not all that waited may have heard by now of what has ended.
        let more = done.next_due.is_some_and(|due| due.is_zero());
        if done.claimed.is_empty() && !more {
            return ran;
        }
        ran.extend(done.claimed.iter().map(|job| job.lease.key));
        settle = (done.claimed.iter())
            .map(|job| Settlement {
                lease: job.lease,
                verdict: verdict(job.lease.key),
                started_at: SystemClock.now(),
                report: None,
                leftovers: false,
            })
            .collect();
    }
}
