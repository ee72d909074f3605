//! What becomes of the jobs of workers that died.

use std::sync::{Arc, Barrier};
use std::thread;

use queuectl_core::store::{Orders, Rescued, Settlement, Verdict};
use queuectl_core::{Cause, Setting, State, Token};

use super::trial::{LEASE, Trial, id, job, json, kinds, name, named, register, secs, settlement};

pub fn a_job_is_freed_when_its_lease_has_ended(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.advance(LEASE - secs(1));
    assert_eq!(t.rescue(), []);
    assert_eq!(t.state(&id), State::Processing);
    t.advance(secs(2));
    let rescued = t.store().rescue(&kinds()).unwrap();
    let expected = Rescued {
        lease: claimed.lease,
        worker,
        kind: claimed.kind.clone(),
        lost_from: claimed.lease.token,
        state: State::Pending,
    };
    assert_eq!(rescued, [expected]);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.worker, kept.attempts), (State::Pending, None, 1));
    let again = t.claim_one(t.worker());
    assert_eq!((again.attempt, again.lease.token), (2, Token(2)), "at once");
}

pub fn a_lost_attempt_is_part_of_the_history(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    t.claim_one(worker);
    let claimed_at = t.now();
    t.lose_workers();
    let attempts = t.attempts(&id);
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].token, attempts[0].number), (Token(1), 1));
    assert_eq!((attempts[0].worker, attempts[0].started_at), (Some(worker), claimed_at));
    assert_eq!(attempts[0].finished_at, Some(t.now()));
    assert_eq!(t.causes(&id), [Some(Cause::LeaseLost)]);
    assert!(t.job(&id).last_error.is_some(), "it says what went wrong");
}

pub fn rescuing_twice_frees_once(t: &mut Trial) {
    t.enqueue(job());
    t.claim_one(t.worker());
    assert_eq!(t.lose_workers().len(), 1);
    let before = t.snapshot();
    assert_eq!(t.rescue(), []);
    assert_eq!(t.snapshot(), before);
}

pub fn only_the_jobs_of_the_dead_are_freed(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c")]);
    let workers = t.workers(2);
    t.claim(workers[0], 2);
    let c = t.claim_one(workers[1]);
    t.advance(LEASE - secs(1));
    t.store().renew(&workers[1..], LEASE).unwrap();
    t.advance(secs(2));
    assert_eq!(t.rescue().len(), 2);
    assert_eq!(t.store().orders(&workers).unwrap().lost, [workers[0]]);
    let shown: Vec<_> = t.store().workers().unwrap().iter().map(|worker| worker.key).collect();
    assert_eq!(shown, [workers[1]]);
    t.complete(&c);
}

/// A job that kills its worker must not kill workers for ever.
pub fn a_job_that_was_lost_with_its_last_attempt_is_dead(t: &mut Trial) {
    let mut poison = named("poison").max_retries(2);
    poison.payload = json("[1]");
    let key = t.add(poison).key;
    for state in [State::Pending, State::Pending, State::Dead] {
        t.claim_one(t.worker());
        assert_eq!(t.lose_workers(), [(key, state)]);
        assert_eq!(t.state(&id("poison")), state);
    }
    let kept = t.job(&id("poison"));
    assert_eq!((kept.attempts, kept.payload.as_str()), (3, "[1]"));
    assert_eq!((kept.finished_at, kept.worker), (Some(t.now()), None));
    assert_eq!(t.causes(&kept.id), [Some(Cause::LeaseLost); 3]);
    t.claim_none(t.worker());
}

/// However many retries it has: its delays do not hold up a retry that follows a lost worker.
pub fn a_job_that_loses_too_many_workers_is_dead(t: &mut Trial) {
    let key = t.add(named("poison").max_retries(99).max_crashes(2).unwrap()).key;
    for state in [State::Pending, State::Dead] {
        t.claim_one(t.worker());
        assert_eq!(t.lose_workers(), [(key, state)]);
    }
    let kept = t.job(&id("poison"));
    assert_eq!((kept.attempts, kept.max_attempts, kept.finished_at), (2, 100, Some(t.now())));
    assert_eq!(kept.max_crashes.map(u32::from), Some(2));
    assert_eq!(t.causes(&kept.id), [Some(Cause::LeaseLost); 2]);
    let said = kept.last_error.unwrap();
    assert!(said.contains("in a row: 2") && said.contains("max-crashes"), "{said}");
    t.claim_none(t.worker());
    assert_eq!(t.store().failures(9).unwrap()[0].exemplar, kept.id);
}

/// The store's number is the one of when the worker is lost. It is no reason to say that a job has lost
/// too many if it has none left for another reason.
pub fn the_setting_says_how_many_workers_a_job_may_lose(t: &mut Trial) {
    t.enqueue(named("usual").max_retries(9));
    t.enqueue(named("last").max_retries(0));
    let lose = |number: u32| {
        for _ in 0..number {
            t.claim(t.worker(), 9);
            t.lose_workers();
        }
        t.state(&id("usual"))
    };
    assert_eq!(lose(4), State::Pending);
    let said = t.job(&id("last")).last_error.unwrap();
    assert!(!said.contains("max-crashes"), "{said}");
    t.store().change_setting(Setting::MaxCrashes, Some("6")).unwrap();
    assert_eq!(lose(1), State::Pending);
    t.store().change_setting(Setting::MaxCrashes, None).unwrap();
    assert_eq!(lose(1), State::Dead, "five and more");
    assert!(t.job(&id("usual")).last_error.unwrap().contains("in a row: 5"));
}

/// A job that comes to an end of its own does not kill its workers. What its worker gave back has not
/// come to an end, and is passed over.
pub fn only_workers_that_are_lost_in_a_row_count(t: &mut Trial) {
    let ends = [
        (Verdict::Fail { retry_in: secs(0) }, State::Pending),
        (Verdict::Snooze { wake_in: secs(0) }, State::Pending),
        (Verdict::Release, State::Dead),
    ];
    for (end, state) in ends {
        let id = t.enqueue(job().max_retries(9).max_crashes(2).unwrap());
        t.claim_one(t.worker());
        t.lose_workers();
        t.end(&t.claim_one(t.worker()), end.clone());
        t.claim_one(t.worker());
        t.lose_workers();
        assert_eq!(t.state(&id), state, "{end:?}");
        if state == State::Pending {
            t.claim_one(t.worker());
            t.lose_workers();
            assert_eq!(t.state(&id), State::Dead, "{end:?}");
        }
    }
}

pub fn a_new_generation_has_lost_no_worker(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(9).max_crashes(2).unwrap());
    for _ in 0..2 {
        for state in [State::Pending, State::Dead] {
            t.claim_one(t.worker());
            t.lose_workers();
            assert_eq!(t.state(&id), state);
        }
        t.retry(&id);
    }
    // Of a generation that ends with its first attempt, too.
    t.end(&t.claim_one(t.worker()), Verdict::Die);
    t.retry(&id);
    t.claim_one(t.worker());
    t.lose_workers();
    assert_eq!(t.state(&id), State::Pending);
    let single = t.enqueue(job().max_retries(0).max_crashes(2).unwrap());
    t.cancel(&id);
    for _ in 0..3 {
        t.claim_one(t.worker());
        t.lose_workers();
        let said = t.job(&single).last_error.unwrap();
        assert!(!said.contains("in a row"), "{said}");
        t.retry(&single);
    }
}

pub fn a_job_that_was_to_be_cancelled_is_cancelled_when_it_is_freed(t: &mut Trial) {
    for (retries, crashes) in [(0, 9), (3, 9), (3, 1)] {
        let added = t.add(job().max_retries(retries).max_crashes(crashes).unwrap());
        t.claim_one(t.worker());
        t.store().cancel(std::slice::from_ref(&added.id), &"obsolete".into()).unwrap();
        assert_eq!(t.lose_workers(), [(added.key, State::Cancelled)]);
        let kept = t.job(&added.id);
        assert_eq!(kept.cancel_reason.as_deref(), Some("obsolete"));
        assert_eq!((kept.attempts, kept.finished_at), (1, Some(t.now())));
        assert_eq!(t.causes(&added.id), [Some(Cause::LeaseLost)]);
        t.claim_none(t.worker());
    }
}

pub fn after_a_restart_of_the_machine_every_lease_is_dead(t: &mut Trial) {
    t.add_all(&[named("a"), named("b").max_retries(0)]);
    let workers = t.workers(2);
    let a = t.claim_one(workers[0]);
    t.claim_one(workers[1]);
    t.clock().reboot();
    let keys = ["a", "b"].map(|text| t.job(&id(text)).key);
    assert_eq!(t.rescue(), [(keys[0], State::Pending), (keys[1], State::Dead)]);
    assert_eq!(t.store().orders(&workers).unwrap().lost, workers);
    assert_eq!(t.settle(&[settlement(a.lease, Verdict::Release, t.now())]), [a.lease]);
    assert_eq!(t.claim_one(t.worker()).id, id("a"), "at once");
}

/// Whoever renews then is a mistake: its process died with the machine.
pub fn a_renewal_after_a_restart_of_the_machine_saves_nothing(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    t.claim_one(worker);
    t.clock().reboot();
    t.store().renew(&[worker], LEASE).unwrap();
    assert_eq!(t.rescue(), [(t.job(&id).key, State::Pending)]);
}

/// The boot clock begins again at a restart. A worker that registers afterwards has its own lease by
/// the new clock, however long the old one had counted.
pub fn leases_of_the_new_boot_are_told_from_those_of_the_old(t: &mut Trial) {
    t.advance(secs(1_000_000));
    t.enqueue(named("old"));
    t.claim_one(t.worker());
    t.clock().reboot();
    t.enqueue(named("new").priority(1));
    let worker = t.worker();
    let new = t.claim_one(worker);
    assert_eq!(t.rescue(), [(t.job(&id("old")).key, State::Pending)]);
    assert_eq!(t.store().orders(&[worker]).unwrap(), Orders::default());
    t.complete(&new);
}

pub fn another_process_frees_the_jobs_of_a_dead_one(t: &mut Trial) {
    let Some(other) = t.another_handle() else {
        return;
    };
    let id = t.enqueue(job());
    t.claim_one(t.worker());
    assert_eq!(other.rescue(&kinds()).unwrap(), []);
    t.advance(LEASE + secs(1));
    assert_eq!(other.rescue(&kinds()).unwrap().len(), 1);
    assert_eq!(t.state(&id), State::Pending);
}

/// The death of a process on this host is known at once; its jobs do not wait for the lease.
pub fn a_dead_process_is_known_before_its_leases_end(t: &mut Trial) {
    if !t.knows_death() {
        return;
    }
    let Some(other) = t.another_handle() else {
        return;
    };
    t.add_all(&[named("theirs"), named("mine")]);
    let theirs = register(other.as_ref(), 1)[0];
    let lost = t.claim_one(theirs);
    assert_eq!(lost.id, id("theirs"));
    other.begin(lost.lease);
    let mine = t.worker();
    let held = t.claim_one(mine);
    assert_eq!(t.rescue(), [], "both live");
    drop(other);
    let shown = t.store().workers().unwrap();
    let dead: Vec<_> = shown.iter().filter(|worker| worker.dead).map(|worker| worker.key).collect();
    assert_eq!(dead, [theirs]);
    assert_eq!(t.rescue(), [(t.job(&id("theirs")).key, State::Pending)]);
    assert_eq!(t.store().orders(&[theirs, mine]).unwrap().lost, [theirs]);
    t.complete(&held);
}

pub fn workers_of_a_process_that_is_gone_are_freed_after_reopening(t: &mut Trial) {
    t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.store().begin(claimed.lease);
    if !t.reopen() {
        return;
    }
    t.advance(LEASE + secs(1));
    let expected = Rescued {
        lease: claimed.lease,
        worker,
        kind: claimed.kind.clone(),
        lost_from: claimed.lease.token,
        state: State::Pending,
    };
    assert_eq!(t.store().rescue(&kinds()).unwrap(), [expected]);
}

/// A worker holds many short jobs and dies of the first. Those that stood behind it have not begun:
/// they are given back, without a trace of it, even one that has a single attempt.
pub fn what_a_dead_worker_had_not_begun_is_given_back(t: &mut Trial) {
    if !t.knows_death() {
        return;
    }
    let Some(other) = t.another_handle() else {
        return;
    };
    t.add_all(&[named("deadly"), named("behind").max_retries(0), named("cancelled")]);
    let worker = register(other.as_ref(), 1)[0];
    let held = t.claim(worker, 3);
    other.begin(held[0].lease);
    t.cancel(&id("cancelled"));
    drop(other);
    assert_eq!(t.rescue(), [(held[0].lease.key, State::Pending)], "the others are no loss");
    let behind = t.job(&id("behind"));
    assert_eq!((behind.state, behind.attempts, behind.token), (State::Pending, 0, Token(1)));
    assert_eq!(t.causes(&behind.id), []);
    assert_eq!(t.state(&id("cancelled")), State::Cancelled);
    let deadly = t.job(&id("deadly"));
    assert_eq!((deadly.attempts, t.causes(&deadly.id)), (1, vec![Some(Cause::LeaseLost)]));
    let again = t.claim(t.worker(), 3);
    let left: Vec<_> = again.iter().map(|job| (job.attempt, job.lost_from)).collect();
    assert_eq!(left, [(2, Some(Token(1))), (1, None)]);
}

/// Nobody will claim a job that has ended, and hear of what its attempts have left running. So rescue
/// tells it, to one process after the other until one says that it is cleaned.
pub fn what_ended_jobs_have_left_is_told_until_it_is_cleaned(t: &mut Trial) {
    let told = |t: &Trial| {
        let mut told = t.rescue();
        told.sort_by_key(|(key, _)| *key);
        told
    };
    t.add_all(&[named("dead").max_retries(0), named("cancelled"), named("settled")]);
    let worker = t.worker();
    let held = t.claim(worker, 2);
    t.lose_workers();
    t.cancel(&id("cancelled"));
    let settled = t.claim_one(t.worker());
    let leaves = Settlement { leftovers: true, ..settlement(settled.lease, Verdict::Die, t.now()) };
    assert_eq!(t.settle(&[leaves]), []);
    // The first rescue has told of the dead one, and its process is at it.
    let [dead, cancelled] = [held[0].lease.key, held[1].lease.key];
    assert_eq!(told(t), [(cancelled, State::Cancelled), (settled.lease.key, State::Dead)]);
    assert_eq!(told(t), [], "this process is at all three");
    t.store().cleaned(&[held[1].lease]).unwrap();
    let Some(other) = t.another_handle().filter(|_| t.knows_death()) else {
        return;
    };
    assert_eq!(other.rescue(&kinds()).unwrap(), [], "its process lives");
    drop(other);
    if !t.reopen() {
        return;
    }
    assert_eq!(told(t), [(dead, State::Dead), (settled.lease.key, State::Dead)]);
    t.store().cleaned(&[held[0].lease, settled.lease]).unwrap();
    t.reopen();
    assert_eq!(told(t), []);
}

/// A program that has no handler for a kind cannot end what its jobs have left. It may free them, and
/// leaves the rest to others.
pub fn leftovers_are_told_to_those_who_can_clean_up_after_the_kind(t: &mut Trial) {
    t.enqueue(job().max_retries(0));
    let held = t.claim_one(t.worker());
    t.advance(LEASE + secs(1));
    let freed = t.store().rescue(&[]).unwrap();
    assert_eq!(freed.iter().map(|one| one.state).collect::<Vec<_>>(), [State::Dead]);
    assert_eq!(t.store().rescue(&[name("other")]).unwrap(), []);
    assert_eq!(t.rescue(), [(held.lease.key, State::Dead)], "it is free for who can");
    assert_eq!(t.rescue(), [], "he is at it");
}

/// A lease may end while its process lives on and begins what it holds: then all of it counts.
pub fn an_ended_lease_spends_the_attempt_begun_or_not(t: &mut Trial) {
    let id = t.enqueue(job());
    t.claim_one(t.worker());
    t.lose_workers();
    assert_eq!((t.job(&id).attempts, t.causes(&id)), (1, vec![Some(Cause::LeaseLost)]));
}

/// What was noted before a restart of the machine may be gone with it: all counts as begun.
pub fn a_restart_spends_the_attempt_begun_or_not(t: &mut Trial) {
    let id = t.enqueue(job());
    t.claim_one(t.worker());
    t.reopen();
    t.clock().reboot();
    t.rescue();
    assert_eq!(t.job(&id).attempts, 1);
}

pub fn many_rescuers_free_each_job_once(t: &mut Trial) {
    t.add_all(&vec![job(); 50]);
    for worker in t.workers(10) {
        assert_eq!(t.claim(worker, 5).len(), 5);
    }
    t.advance(LEASE + secs(1));
    let handles = t.two_handles();
    let start = Barrier::new(8);
    let freed: usize = thread::scope(|scope| {
        let rescue = |number: usize| {
            let (store, start) = (Arc::clone(&handles[number % 2]), &start);
            move || {
                start.wait();
                store.rescue(&kinds()).unwrap().len()
            }
        };
        let rescuers: Vec<_> = (0..8).map(|number| scope.spawn(rescue(number))).collect();
        rescuers.into_iter().map(|rescuer| rescuer.join().unwrap()).sum()
    });
    assert_eq!(freed, 50);
    assert_eq!(t.claim(t.worker(), 100).len(), 50);
}

/// A rescuer that looked before a renewal must not act after it: whatever the order, either the
/// renewal is told that the worker is lost, or the job is still held.
pub fn a_rescue_and_a_renewal_happen_in_one_order(t: &mut Trial) {
    let [store, other] = t.two_handles();
    for _ in 0..30 {
        let id = t.enqueue(job());
        let worker = t.worker();
        let claimed = t.claim_one(worker);
        t.advance(LEASE + secs(1));
        let start = Barrier::new(2);
        let (orders, rescued) = thread::scope(|scope| {
            let renewer = scope.spawn(|| {
                start.wait();
                store.renew(&[worker], LEASE).unwrap()
            });
            let rescuer = scope.spawn(|| {
                start.wait();
                other.rescue(&kinds()).unwrap()
            });
            (renewer.join().unwrap(), rescuer.join().unwrap())
        });
        let taken = rescued.iter().any(|one| one.lease == claimed.lease);
        if taken {
            // The renewal may have come before, and then it was in vain; the next one tells.
            assert_eq!(store.orders(&[worker]).unwrap().lost, [worker]);
        } else {
            assert_eq!(orders.lost, []);
            assert_eq!(t.job(&id).worker, Some(worker));
            t.complete(&claimed);
        }
        if taken {
            t.cancel(&id);
        }
    }
}

/// An attempt that was lost may still run. The next claim says from which on there may be something
/// to be ended, until an attempt has ended by itself.
pub fn the_first_lost_attempt_is_told_to_the_next_claim(t: &mut Trial) {
    t.enqueue(job().max_retries(9));
    t.fail(&t.claim_one(t.worker()), secs(0));
    for expected in [None, Some(Token(2)), Some(Token(2))] {
        assert_eq!(t.claim_one(t.worker()).lost_from, expected);
        t.lose_workers();
    }
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    assert_eq!((claimed.lease.token, claimed.lost_from), (Token(5), Some(Token(2))));
    t.fail(&claimed, secs(0));
    assert_eq!(t.claim_one(worker).lost_from, None, "the attempt before has cleaned up");
}

pub fn what_could_not_be_ended_stays_to_be_ended(t: &mut Trial) {
    t.enqueue(job().max_retries(9));
    t.claim_one(t.worker());
    t.lose_workers();
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    let settle =
        [Settlement { leftovers: true, ..settlement(claimed.lease, Verdict::Release, t.now()) }];
    assert_eq!(t.settle(&settle), []);
    assert_eq!(t.claim_one(worker).lost_from, Some(Token(1)));
    t.store().deregister(&[worker]).unwrap();
    let claimed = t.claim_one(t.worker());
    assert_eq!(claimed.lost_from, Some(Token(1)), "a worker that goes has ended nothing");
}

/// A new generation of a job may not run beside what the old one left either.
pub fn a_dead_jobs_leftovers_are_told_after_its_retry(t: &mut Trial) {
    t.enqueue(named("poison").max_retries(0));
    t.claim_one(t.worker());
    t.lose_workers();
    assert_eq!(t.state(&id("poison")), State::Dead);
    t.retry(&id("poison"));
    assert_eq!(t.claim_one(t.worker()).lost_from, Some(Token(1)));
}

pub fn no_job_is_left_processing_without_a_worker(t: &mut Trial) {
    t.add_all(&vec![job(); 12]);
    for worker in t.workers(6) {
        t.claim(worker, 2);
    }
    t.advance(LEASE / 2);
    let live = t.workers(2);
    t.store().deregister(&live[1..]).unwrap();
    t.advance(LEASE / 2 + secs(1));
    t.rescue();
    let registered: Vec<_> = t.store().workers().unwrap().iter().map(|one| one.key).collect();
    assert_eq!(registered, live[..1]);
    for job in super::trial::all_jobs(t.store().as_ref()) {
        assert_eq!((job.state, job.worker), (State::Pending, None));
    }
}
