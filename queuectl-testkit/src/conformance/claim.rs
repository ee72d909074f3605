//! Claiming: who is given which jobs, in which order, and what a claim costs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::thread;

use queuectl_core::store::{Cancelled, ClaimRequest, Exchanged, Queues, StopMode, Verdict};
use queuectl_core::{Cause, State, Token, WorkerKey};

use super::trial::{
    LEASE, Trial, claim_from, id, job, json, name, named, of_kind, register, secs, settlement,
};

pub fn higher_priority_goes_first_then_the_order_of_enqueueing(t: &mut Trial) {
    t.enqueue(named("low").priority(-1));
    t.enqueue(named("lowest").priority(i16::MIN));
    t.add_all(&[named("normal-1"), named("high").priority(5), named("normal-2")]);
    t.enqueue(named("highest").priority(i16::MAX));
    t.enqueue(named("normal-3"));
    assert_eq!(
        t.claim_ids(t.worker(), 10),
        ["highest", "high", "normal-1", "normal-2", "normal-3", "low", "lowest"]
    );
}

pub fn the_order_holds_over_all_queues_and_kinds(t: &mut Trial) {
    t.enqueue(named("a1").queue("a").unwrap());
    t.enqueue(of_kind("other").id("b1").unwrap().queue("b").unwrap());
    t.enqueue(named("a2").queue("a").unwrap().priority(1));
    t.enqueue(named("b2").queue("b").unwrap());
    t.enqueue(of_kind("other").id("c1").unwrap().priority(1));
    t.enqueue(named("b3").queue("b").unwrap().priority(1));
    assert_eq!(t.claim_ids(t.worker(), 10), ["a2", "c1", "b3", "a1", "b1", "b2"]);
}

pub fn a_job_that_comes_back_keeps_its_place(t: &mut Trial) {
    t.add_all(&[named("first"), named("second"), named("third")]);
    let worker = t.worker();
    let first = t.claim_one(worker);
    t.end(&first, Verdict::Release);
    assert_eq!(t.claim_ids(worker, 1), ["first"]);
    t.lose_workers();
    let worker = t.worker();
    assert_eq!(t.claim_ids(worker, 3), ["first", "second", "third"]);
}

/// Jobs that were added together stand together, and each of them still leaves by itself.
pub fn one_of_many_that_were_added_together_leaves_alone(t: &mut Trial) {
    let names = ["1", "2", "3", "4", "5", "6", "7", "8"].map(|n| format!("job-{n}"));
    t.add_all(&names.each_ref().map(|name| named(name)));
    let worker = t.worker();
    assert_eq!(t.claim_ids(worker, 2), ["job-1", "job-2"]);
    for gone in ["job-3", "job-5", "job-8"] {
        t.cancel(&id(gone));
    }
    assert_eq!(t.claim_ids(worker, 2), ["job-4", "job-6"]);
    t.retry(&id("job-5"));
    assert_eq!(t.claim_ids(worker, 9), ["job-5", "job-7"]);
    t.claim_none(worker);
}

/// A job that was due later than others were enqueued still stands where it was enqueued.
pub fn a_delayed_job_takes_its_place_when_it_is_due(t: &mut Trial) {
    t.add_all(&[named("first").delay(secs(10)), named("second")]);
    t.advance(secs(11));
    assert_eq!(t.claim_ids(t.worker(), 2), ["first", "second"]);
}

pub fn a_claim_hands_over_what_the_attempt_needs(t: &mut Trial) {
    let new = named("full")
        .queue("mail")
        .unwrap()
        .timeout(secs(9))
        .backoff("table:1s,5s".parse().unwrap())
        .max_retries(2);
    let mut with_payload = new.clone();
    with_payload.payload = json(r#"{"n": [1, 2]}"#);
    let added = t.add(with_payload);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    assert_eq!((claimed.lease.key, claimed.lease.token), (added.key, Token(1)));
    assert_eq!((claimed.worker, &claimed.id), (worker, &added.id));
    assert_eq!((&claimed.queue, &claimed.kind), (&new.queue, &new.kind));
    assert_eq!(claimed.payload.as_str(), r#"{"n": [1, 2]}"#);
    assert_eq!((claimed.attempt, claimed.max_attempts), (1, 3));
    assert_eq!((claimed.timeout, &claimed.backoff), (Some(secs(9)), &new.backoff));
    assert_eq!(claimed.lost_from, None);
}

pub fn a_claimed_job_is_processing_and_shows_its_holder(t: &mut Trial) {
    let id = t.enqueue(job());
    t.advance(secs(5));
    let worker = t.worker();
    t.claim_one(worker);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.worker), (State::Processing, Some(worker)));
    assert_eq!((kept.attempts, kept.token), (1, Token(1)));
    assert_eq!(kept.started_at, Some(t.now()));
    assert_eq!((kept.updated_at, kept.finished_at), (t.now(), None));
}

pub fn each_claim_spends_one_attempt_and_raises_the_token(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(9));
    let worker = t.worker();
    for n in 1..=5 {
        let claimed = t.claim_one(worker);
        assert_eq!((claimed.attempt, claimed.lease.token), (n, Token(n.into())));
        let kept = t.job(&id);
        assert_eq!((kept.attempts, kept.token), (n, Token(n.into())));
        t.fail(&claimed, secs(0));
        assert_eq!(t.job(&id).attempts, n, "a failure costs nothing more");
    }
}

pub fn each_worker_gets_at_most_what_it_asks_for(t: &mut Trial) {
    t.add_all(&vec![job(); 6]);
    let workers = t.workers(4);
    let wanted = [(workers[0], 2), (workers[1], 0), (workers[2], 3), (workers[3], 9)];
    let claimed = t.exchange(&[], &wanted).claimed;
    let mut got: BTreeMap<WorkerKey, usize> = BTreeMap::new();
    for job in &claimed {
        *got.entry(job.worker).or_default() += 1;
    }
    assert_eq!(got.get(&workers[1]), None);
    assert!(got[&workers[0]] <= 2 && got[&workers[2]] <= 3, "{got:?}");
    assert_eq!(claimed.len(), 6, "what is there is given: {got:?}");
}

/// Dealt to the workers in the order of the request, the best jobs to the first.
pub fn jobs_are_dealt_to_the_workers_in_order(t: &mut Trial) {
    t.add_all(&[named("c"), named("a").priority(2), named("b").priority(1)]);
    let workers = t.workers(3);
    let claimed = t.exchange(&[], &[(workers[2], 1), (workers[0], 5), (workers[1], 5)]).claimed;
    let dealt: Vec<_> = claimed.iter().map(|job| (job.id.to_string(), job.worker)).collect();
    assert_eq!(
        dealt,
        [("a".to_owned(), workers[2]), ("b".to_owned(), workers[0]), ("c".to_owned(), workers[0])]
    );
}

pub fn a_held_job_is_not_claimed_again(t: &mut Trial) {
    t.enqueue(job());
    let workers = t.workers(2);
    t.claim_one(workers[0]);
    t.claim_none(workers[0]);
    t.claim_none(workers[1]);
}

pub fn only_pending_and_failed_jobs_are_claimed(t: &mut Trial) {
    for state in State::ALL {
        t.job_in(state, named(&format!("a-{state}")));
    }
    t.advance(secs(3601));
    assert_eq!(t.claim_ids(t.worker(), 100), ["a-pending", "a-failed"]);
}

pub fn kinds_that_are_not_named_are_not_claimed(t: &mut Trial) {
    t.add_all(&[of_kind("unknown").priority(9), of_kind("other"), of_kind("Work")]);
    let worker = t.worker();
    let claimed = t.claim(worker, 10);
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].kind, name("other"));

    let store = t.store();
    let nothing = ClaimRequest { workers: &[(worker, 10)], queues: &Queues::All, kinds: &[] };
    assert_eq!(store.exchange(&[], Some(&nothing)).unwrap().claimed, []);
}

pub fn queues_that_are_not_named_are_not_served(t: &mut Trial) {
    for queue in ["a", "b", "c"] {
        t.enqueue(named(&format!("in-{queue}")).queue(queue).unwrap());
    }
    let worker = t.worker();
    let claimed = t.claim_from(worker, &["c", "a", "unused"]);
    let ids: Vec<_> = claimed.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(ids, ["in-a", "in-c"]);
    assert_eq!(t.claim_from(worker, &[]), []);
    assert_eq!(t.claim_from(worker, &["B"]), []);
}

pub fn private_queues_are_served_only_by_name(t: &mut Trial) {
    t.enqueue(named("private").queue("run:7").unwrap().priority(9));
    t.enqueue(named("public").queue("runs").unwrap());
    let worker = t.worker();
    assert_eq!(t.claim_ids(worker, 10), ["public"]);
    let claimed = t.claim_from(worker, &["run:7"]);
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].id, id("private"));
}

pub fn a_paused_queue_gives_nothing(t: &mut Trial) {
    let store = t.store();
    t.enqueue(named("before").queue("mail").unwrap());
    store.pause(&name("mail"), true).unwrap();
    t.enqueue(named("after").queue("mail").unwrap());
    t.enqueue(named("elsewhere"));
    let worker = t.worker();
    assert_eq!(t.claim_ids(worker, 10), ["elsewhere"]);
    assert_eq!(t.claim_from(worker, &["mail"]), [], "nor by name");
    assert_eq!(t.state(&id("before")), State::Pending);
    store.pause(&name("mail"), true).unwrap();
    store.pause(&name("mail"), false).unwrap();
    assert_eq!(t.claim_ids(worker, 10), ["before", "after"]);
}

pub fn a_queue_can_be_paused_before_its_first_job(t: &mut Trial) {
    t.store().pause(&name("later"), true).unwrap();
    t.enqueue(job().queue("later").unwrap());
    t.claim_none(t.worker());
}

pub fn a_pause_leaves_what_runs_alone(t: &mut Trial) {
    let first = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.store().pause(&name("default"), true).unwrap();
    let child = t.enqueue(job().after(first.clone()));
    t.fail(&claimed, secs(1));
    t.advance(secs(2));
    t.claim_none(worker);
    t.store().pause(&name("default"), false).unwrap();
    t.complete(&t.claim_one(worker));
    assert_eq!(t.claim_one(worker).id, child);
}

pub fn a_worker_that_is_not_registered_gets_nothing(t: &mut Trial) {
    t.enqueue(job());
    let worker = t.worker();
    t.claim_none(WorkerKey(worker.0 + 1000));
    t.store().deregister(&[worker]).unwrap();
    t.claim_none(worker);
}

pub fn a_lost_worker_gets_nothing(t: &mut Trial) {
    t.enqueue(job());
    let worker = t.worker();
    t.lose_workers();
    t.claim_none(worker);
    t.store().renew(&[worker], LEASE).unwrap();
    t.claim_none(worker);
}

pub fn a_stopping_worker_gets_nothing(t: &mut Trial) {
    let (id, store) = (t.enqueue(job()), t.store());
    let workers = t.workers(4);
    for (worker, mode) in workers.iter().zip([StopMode::Finish, StopMode::Grace, StopMode::Now]) {
        store.stop(&[*worker], mode).unwrap();
        t.claim_none(*worker);
    }
    assert_eq!(t.claim_one(workers[3]).id, id, "the others go on");
}

/// In one request a worker that must not claim does not keep the others from it.
pub fn one_refused_worker_does_not_hold_up_the_others(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    let workers = t.workers(2);
    t.store().stop(&[workers[0]], StopMode::Finish).unwrap();
    let claimed = t.exchange(&[], &[(workers[0], 1), (workers[1], 1)]).claimed;
    assert_eq!(claimed.len(), 1);
    assert_eq!((&claimed[0].id, claimed[0].worker), (&id("a"), workers[1]));
}

pub fn the_next_due_moment_is_told(t: &mut Trial) {
    let worker = t.worker();
    let next_due = |t: &Trial| t.exchange(&[], &[(worker, 0)]).next_due;
    assert_eq!(next_due(t), None, "nothing waits");
    t.enqueue(of_kind("unknown").delay(secs(90)));
    assert_eq!(next_due(t), Some(secs(90)), "of any kind");
    t.enqueue(job().run_at(t.now() + secs(40)).queue("elsewhere").unwrap());
    assert_eq!(next_due(t), Some(secs(40)));
    t.advance(secs(15));
    assert_eq!(next_due(t), Some(secs(25)));
    t.enqueue(named("now"));
    let claimed = t.claim_one(worker);
    assert_eq!(claimed.id, id("now"));
    t.fail(&claimed, secs(5));
    assert_eq!(next_due(t), Some(secs(5)), "retries wait as well");
    t.advance(secs(60));
    assert_eq!(t.claim(worker, 10).len(), 2);
    assert_eq!(next_due(t), Some(secs(15)), "only the unknown kind is left");
}

pub fn an_exchange_of_nothing_does_nothing(t: &mut Trial) {
    t.enqueue(job());
    let before = t.snapshot();
    assert_eq!(t.store().exchange(&[], None).unwrap(), Exchanged::default());
    assert_eq!(t.exchange(&[], &[]), Exchanged::default());
    assert_eq!(t.snapshot(), before);
}

pub fn a_thousand_jobs_go_through_one_call(t: &mut Trial) {
    t.add_all(&vec![job(); 2000]);
    let worker = t.worker();
    let held = t.claim(worker, 1000);
    assert_eq!(held.len(), 1000);
    let settle: Vec<_> = held
        .iter()
        .map(|job| settlement(job.lease, Verdict::Complete { result: None }, t.now()))
        .collect();
    let done = t.exchange(&settle, &[(worker, 1000)]);
    assert_eq!((done.refused.len(), done.claimed.len()), (0, 1000));
    assert!(done.claimed[0].lease.key > held[999].lease.key, "in order");
    assert_eq!(t.store().held(&[worker]).unwrap().len(), 1000);
}

pub fn a_settlement_and_a_claim_share_one_call(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    let worker = t.worker();
    let first = t.claim_one(worker);
    let settle = [settlement(first.lease, Verdict::Complete { result: None }, t.now())];
    let done = t.exchange(&settle, &[(worker, 1)]);
    assert_eq!(done.refused, []);
    assert_eq!(done.claimed.len(), 1);
    assert_eq!(done.claimed[0].id, id("b"));
    assert_eq!(t.state(&id("a")), State::Completed);
}

/// Many workers on two handles drain one queue; every job is failed once on the way. No attempt of
/// a job is ever handed to two of them.
pub fn racing_claimers_never_share_a_job(t: &mut Trial) {
    const JOBS: usize = 200;
    let handles = t.two_handles();
    t.add_all(&vec![job(); JOBS]);
    let now = t.now();
    let seen = Mutex::new(HashMap::new());
    thread::scope(|scope| {
        for number in 0..8_usize {
            let (store, seen) = (&handles[number % 2], &seen);
            scope.spawn(move || {
                let worker = register(store.as_ref(), 1)[0];
                let mut settle = Vec::new();
                loop {
                    let wanted = [(worker, 1 + number % 3)];
                    let done = claim_from(store.as_ref(), &settle, &wanted, &Queues::All);
                    assert_eq!(done.refused, [], "a lease was stolen");
                    if done.claimed.is_empty() {
                        break;
                    }
                    settle.clear();
                    for claimed in done.claimed {
                        let before = seen.lock().unwrap().insert(claimed.lease, worker);
                        assert_eq!(before, None, "{:?} was given twice", claimed.lease);
                        let verdict = if claimed.attempt == 1 {
                            Verdict::Fail { retry_in: secs(0) }
                        } else {
                            Verdict::Complete { result: None }
                        };
                        settle.push(settlement(claimed.lease, verdict, now));
                    }
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 2 * JOBS);
    for job in super::trial::all_jobs(t.store().as_ref()) {
        assert_eq!((job.state, job.attempts), (State::Completed, 2));
        assert_eq!(t.causes(&job.id), [Some(Cause::Failed), Some(Cause::Succeeded)]);
    }
}

/// `pause` has returned: no claim that begins now gives a job of the queue, on whatever handle.
pub fn no_claim_after_a_pause_acts_against_it(t: &mut Trial) {
    let handles = t.two_handles();
    let workers = [0, 1].map(|number: usize| register(handles[number].as_ref(), 1)[0]);
    for round in 0..20 {
        t.enqueue(job());
        handles[round % 2].pause(&name("default"), true).unwrap();
        thread::scope(|scope| {
            for (store, worker) in handles.iter().zip(workers) {
                scope.spawn(move || {
                    let done = claim_from(store.as_ref(), &[], &[(worker, 1)], &Queues::All);
                    assert_eq!(done.claimed, []);
                });
            }
        });
        handles[1 - round % 2].pause(&name("default"), false).unwrap();
        let store = handles[round % 2].as_ref();
        let done = claim_from(store, &[], &[(workers[round % 2], 1)], &Queues::All);
        assert_eq!(done.claimed.len(), 1, "a resumed queue gives at once");
    }
}

/// Claimers run against a cancel. Each job is either claimed before, and then told to stop, or
/// cancelled, and then never claimed.
pub fn a_cancel_and_a_claim_happen_in_one_order(t: &mut Trial) {
    let handles = t.two_handles();
    let worker = register(handles[0].as_ref(), 1)[0];
    for _ in 0..30 {
        let id = t.enqueue(job());
        let start = std::sync::Barrier::new(2);
        let (claimed, cancelled) = thread::scope(|scope| {
            let claimer = scope.spawn(|| {
                start.wait();
                claim_from(handles[0].as_ref(), &[], &[(worker, 1)], &Queues::All).claimed
            });
            let canceller = scope.spawn(|| {
                start.wait();
                handles[1].cancel(std::slice::from_ref(&id), &"raced".into()).unwrap()
            });
            (claimer.join().unwrap(), canceller.join().unwrap())
        });
        match claimed.first() {
            None => {
                assert_eq!(cancelled, [Cancelled::Now]);
                assert_eq!(t.state(&id), State::Cancelled);
            }
            Some(claimed) => {
                assert_eq!(cancelled, [Cancelled::Requested]);
                t.end(claimed, Verdict::Cancel);
                assert_eq!(t.state(&id), State::Cancelled);
            }
        }
        t.claim_none(worker);
    }
}
