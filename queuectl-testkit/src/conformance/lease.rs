//! Workers and their leases: registration, renewal, orders, and who holds what.

use std::path::PathBuf;

use queuectl_core::store::{Orders, Registration, StopMode, Verdict};
use queuectl_core::{Cause, State, StoreError, Token, WorkerKey};

use super::trial::{LEASE, Trial, id, job, kinds, name, named, newer, register, secs, settlement};

const TEN_YEARS_MS: i64 = 10 * 365 * 86_400 * 1000;

pub fn worker_keys_are_never_used_twice(t: &mut Trial) {
    let mut seen = Vec::new();
    for count in [3, 1, 2] {
        let workers = t.workers(count);
        seen.extend(workers.iter().copied());
        t.store().deregister(&workers).unwrap();
    }
    let lost = t.worker();
    seen.push(lost);
    t.lose_workers();
    seen.push(t.worker());
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

pub fn registered_workers_are_shown(t: &mut Trial) {
    let store = t.store();
    assert_eq!(store.workers().unwrap(), []);
    let log = Some(PathBuf::from("/var/log/worker.log"));
    let keys =
        store.register(&Registration { workers: 2, lease: secs(60), log: log.clone() }).unwrap();
    t.advance(secs(20));
    let mut workers = store.workers().unwrap();
    workers.sort_by_key(|worker| worker.key);
    assert_eq!(workers.iter().map(|worker| worker.key).collect::<Vec<_>>(), keys);
    for worker in &workers {
        assert_eq!(worker.pid, std::process::id());
        assert_eq!(worker.process, workers[0].process, "one process");
        assert!(!worker.process.is_empty() && !worker.host.is_empty());
        assert_eq!(t.now().since(worker.started_at), secs(20));
        assert_eq!(worker.lease_left, secs(40));
        assert_eq!((worker.dead, worker.stopping, &worker.log), (false, None, &log));
        assert_eq!(worker.running, []);
    }
    store.deregister(&keys[..1]).unwrap();
    let left: Vec<_> = store.workers().unwrap().iter().map(|worker| worker.key).collect();
    assert_eq!(left, keys[1..]);
}

pub fn workers_of_another_process_have_another_identity(t: &mut Trial) {
    let Some(other) = t.another_handle() else {
        return;
    };
    let mine = t.worker();
    let theirs = register(other.as_ref(), 1)[0];
    assert_ne!(mine, theirs);
    let workers = t.store().workers().unwrap();
    assert_eq!(other.workers().unwrap().len(), 2, "both see both");
    let process = |key| {
        let found = workers.iter().find(|worker| worker.key == key);
        found.unwrap().process.clone()
    };
    assert_ne!(process(mine), process(theirs));
}

pub fn what_a_worker_runs_is_shown(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c")]);
    let worker = t.worker();
    t.claim(worker, 1);
    let a_since = t.now();
    t.advance(secs(5));
    t.claim(worker, 1);
    let running = |t: &Trial| {
        let mut running = t.store().workers().unwrap()[0].running.clone();
        running.sort_by_key(|(id, _)| id.to_string());
        running
    };
    assert_eq!(running(t), [(id("a"), a_since), (id("b"), t.now())]);
    let held = t.store().held(&[worker]).unwrap();
    let a = held.iter().find(|lease| lease.key == t.job(&id("a")).key).unwrap();
    assert_eq!(t.settle(&[settlement(*a, Verdict::Die, t.now())]), []);
    assert_eq!(running(t), [(id("b"), t.now())]);
}

pub fn a_renewal_lasts_from_now_on(t: &mut Trial) {
    let worker = t.worker();
    let left = |t: &Trial| t.store().workers().unwrap()[0].lease_left;
    t.advance(secs(10));
    t.store().renew(&[worker], secs(60)).unwrap();
    assert_eq!(left(t), secs(60), "also when that is sooner than before");
    t.advance(secs(59));
    assert_eq!(t.rescue(), []);
    assert_eq!(left(t), secs(1));
    t.store().renew(&[worker], secs(60)).unwrap();
    t.advance(secs(59));
    t.rescue();
    assert_eq!(t.store().workers().unwrap().len(), 1);
    t.advance(secs(2));
    t.rescue();
    assert_eq!(t.store().workers().unwrap(), []);
}

pub fn a_holder_keeps_its_job_while_it_renews(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    let [store, other] = t.two_handles();
    let thief = register(other.as_ref(), 1)[0];
    for _ in 0..20 {
        t.advance(LEASE - secs(1));
        assert_eq!(store.renew(&[worker, thief], LEASE).unwrap(), Orders::default());
        assert_eq!(store.rescue(&kinds()).unwrap(), []);
        assert_eq!(other.rescue(&kinds()).unwrap(), []);
        t.claim_none(thief);
    }
    assert_eq!(t.job(&id).worker, Some(worker));
    t.complete(&claimed);
}

pub fn no_step_of_the_wall_clock_ends_a_lease(t: &mut Trial) {
    let [store, other] = t.two_handles();
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    let thief = register(other.as_ref(), 1)[0];
    for step in [TEN_YEARS_MS, -2 * TEN_YEARS_MS, TEN_YEARS_MS, 1, -3_600_000] {
        t.clock().step_wall(step);
        assert_eq!(store.rescue(&kinds()).unwrap(), []);
        assert_eq!(other.rescue(&kinds()).unwrap(), []);
        t.claim_none(thief);
        assert_eq!(t.store().orders(&[worker]).unwrap(), Orders::default());
        let workers = store.workers().unwrap();
        assert!(workers.iter().all(|worker| worker.lease_left == LEASE && !worker.dead));
    }
    assert_eq!(t.state(&id), State::Processing);
    t.complete(&claimed);
}

/// The wall clock does not keep a dead worker's lease alive either.
pub fn no_step_of_the_wall_clock_prolongs_a_lease(t: &mut Trial) {
    let id = t.enqueue(job());
    t.claim_one(t.worker());
    t.clock().step_wall(-TEN_YEARS_MS);
    t.advance(LEASE + secs(1));
    assert_eq!(t.rescue(), [(t.job(&id).key, State::Pending)]);
}

/// A lease whose time is over is not lost before someone takes it: the job is still processing under
/// the very token.
pub fn an_ended_lease_holds_until_it_is_taken(t: &mut Trial) {
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    t.advance(2 * LEASE);
    t.claim_none(t.worker());
    t.complete(&claimed);
    assert_eq!(t.state(&id), State::Completed);
    assert_eq!(t.rescue(), []);
}

pub fn a_lost_worker_stays_lost(t: &mut Trial) {
    let worker = t.worker();
    assert_eq!(t.store().orders(&[worker]).unwrap(), Orders::default());
    t.lose_workers();
    for _ in 0..2 {
        let orders = t.store().renew(&[worker], LEASE).unwrap();
        assert_eq!(orders.lost, [worker]);
        assert_eq!(t.store().orders(&[worker]).unwrap().lost, [worker]);
        t.rescue();
    }
}

pub fn a_worker_that_is_not_registered_is_told_that_it_is_lost(t: &mut Trial) {
    let worker = t.worker();
    let unknown = WorkerKey(worker.0 + 1000);
    assert_eq!(t.store().orders(&[worker, unknown]).unwrap().lost, [unknown]);
    t.store().deregister(&[worker]).unwrap();
    assert_eq!(t.store().orders(&[worker]).unwrap().lost, [worker]);
    assert_eq!(t.store().orders(&[]).unwrap(), Orders::default());
}

pub fn a_worker_is_told_which_attempts_to_cancel(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    let workers = t.workers(2);
    let a = t.claim_one(workers[0]);
    t.claim_one(workers[1]);
    t.store().cancel(&[id("a")], &"obsolete".into()).unwrap();
    let expected = [(a.lease, "obsolete".to_owned())];
    let orders = t.store().orders(&workers).unwrap();
    assert_eq!(orders.cancel, expected);
    assert_eq!((orders.lost, orders.stop), (vec![], vec![]));
    assert_eq!(t.store().renew(&workers[..1], LEASE).unwrap().cancel, expected);
    assert_eq!(t.store().orders(&workers[1..]).unwrap().cancel, []);
    t.end(&a, Verdict::Cancel);
    assert_eq!(t.store().orders(&workers).unwrap().cancel, []);
}

pub fn a_worker_is_told_to_stop(t: &mut Trial) {
    let workers = t.workers(3);
    let store = t.store();
    store.stop(&workers[..2], StopMode::Grace).unwrap();
    let mut stop = store.orders(&workers).unwrap().stop;
    stop.sort();
    let expected = [(workers[0], StopMode::Grace), (workers[1], StopMode::Grace)];
    assert_eq!(stop, expected);
    assert_eq!(store.renew(&workers[1..], LEASE).unwrap().stop, [expected[1]]);
    let shown = |key| {
        let workers = store.workers().unwrap();
        workers.iter().find(|worker| worker.key == key).unwrap().stopping
    };
    assert_eq!(shown(workers[0]), Some(StopMode::Grace));
    assert_eq!(shown(workers[2]), None);
    store.stop(&workers[..1], StopMode::Now).unwrap();
    assert_eq!(shown(workers[0]), Some(StopMode::Now), "a stronger order overrules");
}

/// Whoever asked a worker to stop at once does not lose that to another who has more patience.
pub fn a_weaker_order_does_not_overrule_a_stronger_one(t: &mut Trial) {
    let worker = t.worker();
    t.store().stop(&[worker], StopMode::Now).unwrap();
    t.store().stop(&[worker], StopMode::Finish).unwrap();
    let stop = t.store().orders(&[worker]).unwrap().stop;
    assert_eq!(stop, [(worker, StopMode::Now)]);
}

pub fn stopping_an_unknown_worker_is_refused_and_stops_none(t: &mut Trial) {
    let worker = t.worker();
    let unknown = WorkerKey(worker.0 + 1000);
    let error = t.store().stop(&[worker, unknown], StopMode::Now).unwrap_err();
    assert!(matches!(error, StoreError::NoWorker(key) if key == unknown), "{error:?}");
    assert_eq!(t.store().orders(&[worker]).unwrap(), Orders::default());
    t.store().deregister(&[worker]).unwrap();
    let error = t.store().stop(&[worker], StopMode::Now).unwrap_err();
    assert!(matches!(error, StoreError::NoWorker(key) if key == worker));
}

/// An exchange whose outcome is unknown may have claimed jobs. The worker finds them and can run or
/// release them.
pub fn claims_of_unknown_outcome_are_found(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c")]);
    let workers = t.workers(2);
    assert_eq!(t.store().held(&workers).unwrap(), []);
    let mut claimed: Vec<_> = t.claim(workers[0], 2).iter().map(|job| job.lease).collect();
    let c = t.claim_one(workers[1]);
    let mut held = t.store().held(&workers[..1]).unwrap();
    held.sort_by_key(|lease| lease.key);
    claimed.sort_by_key(|lease| lease.key);
    assert_eq!(held, claimed);
    assert_eq!(t.store().held(&workers).unwrap().len(), 3);
    t.complete(&c);
    assert_eq!(t.store().held(&workers[1..]).unwrap(), []);
    let release = held.iter().map(|&lease| settlement(lease, Verdict::Release, t.now()));
    assert_eq!(t.settle(&release.collect::<Vec<_>>()), []);
    assert_eq!(t.store().held(&workers).unwrap(), []);
}

pub fn a_worker_that_deregisters_gives_back_what_it_holds(t: &mut Trial) {
    t.add_all(&[named("a").max_retries(0), named("b"), named("c")]);
    let workers = t.workers(2);
    let a = t.claim_one(workers[0]);
    t.claim_one(workers[0]);
    let c = t.claim_one(workers[1]);
    t.store().cancel(&[id("b")], &"not wanted".into()).unwrap();
    t.store().deregister(&workers[..1]).unwrap();
    let kept = t.job(&id("a"));
    assert_eq!((kept.state, kept.attempts, kept.token), (State::Pending, 0, Token(1)));
    assert_eq!(t.causes(&id("a")), [Some(Cause::Interrupted)]);
    assert_eq!(t.state(&id("b")), State::Cancelled);
    assert_eq!(t.settle(&[settlement(a.lease, Verdict::Die, t.now())]), [a.lease]);
    assert_eq!(t.claim_one(workers[1]).lease, newer(a.lease));
    t.complete(&c);
    t.store().deregister(&workers[..1]).unwrap();
    assert_eq!(t.store().workers().unwrap().len(), 1);
}

/// A release gives the attempt back, and so does this one: also of a job that is cancelled by it. A
/// store kept the attempt, so that the job seemed to have had one more than it had.
pub fn a_marked_job_that_is_given_back_gets_its_attempt_back(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    t.claim_one(worker);
    t.cancel(&id);
    t.store().deregister(&[worker]).unwrap();
    assert_eq!((t.state(&id), t.job(&id).attempts), (State::Cancelled, 0));
    assert_eq!(t.causes(&id), [Some(Cause::Interrupted)]);
}

/// Whatever happens, at every moment a job that is processing has exactly one holder that is
/// registered, and no other job has one.
pub fn a_job_has_one_holder_while_it_is_processing_and_none_otherwise(t: &mut Trial) {
    for state in State::ALL {
        t.job_in(state, job().queue(state.as_str()).unwrap());
    }
    let workers: Vec<_> = t.store().workers().unwrap();
    for job in super::trial::all_jobs(t.store().as_ref()) {
        let holders: Vec<_> = workers
            .iter()
            .filter(|worker| worker.running.iter().any(|(id, _)| *id == job.id))
            .map(|worker| worker.key)
            .collect();
        let expected: Vec<_> = job.worker.into_iter().collect();
        assert_eq!(holders, expected, "{job:?}");
        assert_eq!(expected.len(), usize::from(job.state == State::Processing));
    }
    assert_eq!(
        t.store().queues().unwrap().iter().filter(|q| q.name == name("processing")).count(),
        1
    );
}
