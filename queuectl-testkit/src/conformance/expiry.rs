//! Jobs that are not worth running from some moment on.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use queuectl_core::store::Verdict;
use queuectl_core::{JobId, NewJob, State, StoreError, Timestamp};

use super::trial::{Trial, id, job, kinds, named, secs, settlement};

const MILLI: Duration = Duration::from_millis(1);
const DAY_MS: i64 = 86_400_000;

/// What a job is like that has expired.
#[track_caller]
fn assert_expired(t: &Trial, id: &JobId) {
    let job = t.job(id);
    assert_eq!((job.state, job.worker), (State::Cancelled, None), "{id}");
    assert_eq!(job.finished_at, Some(t.now()));
    let (reason, moment) = (job.cancel_reason.unwrap(), job.expires_at.unwrap());
    assert!(reason.starts_with("expired") && reason.contains(&moment.to_string()), "{reason}");
}

fn expire(t: &Trial) -> u64 {
    t.store().expire().unwrap()
}

pub fn an_expiry_is_kept_with_the_job(t: &mut Trial) {
    let moment = t.now() + secs(3600);
    t.add_all(&[named("at").expires_at(moment), named("in").expires_in(secs(90)), named("never")]);
    assert_eq!(t.job(&id("at")).expires_at, Some(moment));
    assert_eq!(t.job(&id("in")).expires_at, Some(t.now() + secs(90)));
    assert_eq!(t.job(&id("never")).expires_at, None);
}

pub fn a_job_that_has_expired_is_not_claimed(t: &mut Trial) {
    let worker = t.worker();
    for (new, name) in [
        (job().expires_in(secs(90)), "in"),
        (job().expires_at(t.now() + secs(90)), "at"),
        (job().expires_at(Timestamp::from_millis(0)), "past"),
        (job().expires_in(secs(0)), "none"),
    ] {
        let late = t.enqueue(new.id(name).unwrap());
        t.advance(secs(90));
        t.claim_none(worker);
        assert_expired(t, &late);
        assert_eq!(t.attempts(&late), [], "{name}");
        t.clock().step_wall(-90_000);
    }
}

pub fn a_job_is_claimed_until_the_moment_before(t: &mut Trial) {
    let moment = t.now() + secs(90);
    t.add_all(&[job().expires_in(secs(90)), job().expires_at(moment)]);
    t.advance(secs(90) - MILLI);
    assert_eq!(t.claim(t.worker(), 9).len(), 2);
}

/// The first in the line have expired: whoever asks gets as many as it wants of those behind them, and
/// no one that nobody asked for is touched.
pub fn a_claim_gives_the_next_instead(t: &mut Trial) {
    let workers = t.workers(2);
    let late = |name: &str| named(name).expires_in(secs(1));
    t.add_all(&[late("a"), named("b"), late("c"), named("d"), late("e"), named("f")]);
    t.advance(secs(1));
    let claimed = t.exchange(&[], &[(workers[0], 1), (workers[1], 1)]).claimed;
    let given: Vec<_> = claimed.iter().map(|job| (job.id.to_string(), job.worker)).collect();
    assert_eq!(given, [("b".to_owned(), workers[0]), ("d".to_owned(), workers[1])]);
    assert_expired(t, &id("a"));
    assert_expired(t, &id("c"));
    assert_eq!(t.state(&id("e")), State::Pending, "it was not its turn");
    assert_eq!(t.claim_ids(workers[0], 9), ["f"]);
    assert_expired(t, &id("e"));
}

pub fn what_has_expired_is_cancelled_without_a_claim(t: &mut Trial) {
    let waits = [
        t.job_in(State::Pending, named("pending").expires_in(secs(60))),
        t.job_in(State::Blocked, named("blocked").expires_in(secs(60))),
        t.job_in(State::Failed, named("failed").expires_in(secs(60))),
        t.enqueue(named("delayed").delay(secs(3600)).expires_at(t.now() + secs(60))),
    ];
    t.advance(secs(60) - MILLI);
    assert_eq!(expire(t), 0);
    t.advance(MILLI);
    assert_eq!(expire(t), 4);
    waits.iter().for_each(|id| assert_expired(t, id));
    assert_eq!(t.job(&waits[3]).waits_for, []);
    assert_eq!(expire(t), 0, "once");
    t.advance(secs(3600));
    t.claim_none(t.worker());
}

pub fn what_does_not_expire_is_left_alone(t: &mut Trial) {
    assert_eq!(expire(t), 0);
    for state in State::ALL {
        t.job_in(state, named(&state.to_string()));
    }
    t.enqueue(job().expires_in(Duration::MAX));
    t.enqueue(job().expires_at(Timestamp::MAX));
    t.advance(secs(86_400));
    let before = t.snapshot();
    assert_eq!(expire(t), 0);
    assert_eq!(t.snapshot(), before);
}

pub fn a_job_that_runs_when_it_expires_goes_on(t: &mut Trial) {
    let id = t.enqueue(job().expires_in(secs(60)));
    let claimed = t.claim_one(t.worker());
    t.advance(secs(600));
    assert_eq!(expire(t), 0);
    assert_eq!(t.state(&id), State::Processing);
    t.complete(&claimed);
    assert_eq!(expire(t), 0);
    assert_eq!((t.state(&id), t.job(&id).cancel_reason), (State::Completed, None));
}

pub fn a_retry_that_would_come_later_does_not_come(t: &mut Trial) {
    let worker = t.worker();
    let id = t.enqueue(job().expires_in(secs(60)));
    t.fail(&t.claim_one(worker), secs(10));
    t.advance(secs(10));
    t.fail(&t.claim_one(worker), secs(100));
    assert_eq!(t.state(&id), State::Failed, "it may still be retried by hand");
    t.advance(secs(50));
    assert_eq!(expire(t), 1);
    assert_expired(t, &id);
    t.advance(secs(100));
    t.claim_none(worker);
    assert_eq!(t.attempts(&id).len(), 2, "the history stays");
}

/// Every way in which an attempt ends and another one may follow.
pub fn what_comes_back_too_late_is_not_run_again(t: &mut Trial) {
    let worker = t.worker();
    for verdict in [
        Verdict::Fail { retry_in: secs(0) },
        Verdict::Snooze { wake_in: secs(0) },
        Verdict::Release,
    ] {
        let id = t.enqueue(job().expires_in(secs(60)));
        let claimed = t.claim_one(worker);
        t.advance(secs(60));
        t.end(&claimed, verdict);
        t.claim_none(worker);
        assert_expired(t, &id);
    }
    let given_back = t.enqueue(job().expires_in(secs(60)));
    let goes = t.worker();
    t.claim_one(goes);
    t.advance(secs(60));
    t.store().deregister(&[goes]).unwrap();
    t.claim_none(worker);
    assert_expired(t, &given_back);
    let lost = t.enqueue(job().expires_in(secs(60)));
    t.claim_one(worker);
    t.lose_workers();
    assert_eq!(expire(t), 1);
    assert_expired(t, &lost);
}

/// Its lost attempt may have left something running, and nobody will claim it and see to that.
pub fn what_an_expired_job_has_left_is_told(t: &mut Trial) {
    let id = t.enqueue(job().expires_in(secs(60)));
    let claimed = t.claim_one(t.worker());
    t.lose_workers();
    expire(t);
    let told = t.store().rescue(&kinds()).unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.lease, one.state)).collect();
    assert_eq!(told, [(claimed.lease, State::Cancelled)]);
    assert_expired(t, &id);
}

pub fn a_step_of_the_wall_clock_does_not_move_a_relative_expiry(t: &mut Trial) {
    let worker = t.worker();
    for step in [DAY_MS, -DAY_MS] {
        let id = t.enqueue(job().expires_in(secs(60)));
        t.clock().step_wall(step);
        assert_eq!(expire(t), 0, "after a step by {step}");
        t.advance(secs(60) - MILLI);
        let claimed = t.claim_one(worker);
        t.end(&claimed, Verdict::Release);
        t.advance(MILLI);
        assert_eq!(expire(t), 1, "after a step by {step}");
        assert_eq!(t.state(&id), State::Cancelled);
    }
}

pub fn a_moment_of_expiry_follows_the_wall_clock(t: &mut Trial) {
    let id = t.enqueue(job().expires_at(t.now() + secs(60)));
    t.clock().step_wall(-60_000);
    t.advance(secs(60));
    assert_eq!(expire(t), 0);
    t.clock().step_wall(60_000);
    assert_eq!(expire(t), 1);
    assert_expired(t, &id);
}

/// The boot clock of the new boot says nothing of what began under the old one; that holds for jobs
/// that were held when the machine went down as well.
pub fn after_a_restart_a_relative_expiry_is_when_it_was_expected(t: &mut Trial) {
    t.enqueue(named("held").expires_in(secs(7200)));
    t.claim_one(t.worker());
    t.enqueue(named("waits").expires_in(secs(7200)));
    t.clock().reboot();
    t.rescue();
    t.advance(secs(7199));
    assert_eq!(expire(t), 0);
    t.advance(secs(1));
    assert_eq!(expire(t), 2);
    assert_expired(t, &id("held"));
    assert_expired(t, &id("waits"));
}

pub fn a_retry_by_hand_takes_the_expiry_away(t: &mut Trial) {
    let late = t.enqueue(named("late").expires_in(secs(60)));
    let failed = t.job_in(State::Failed, named("failed").expires_in(secs(60)));
    let done = t.job_in(State::Completed, named("done").expires_in(secs(60)));
    t.retry(&failed);
    t.advance(secs(60));
    assert_eq!(expire(t), 1);
    t.retry(&late);
    t.retry(&done);
    for id in [&late, &failed, &done] {
        assert_eq!((t.state(id), t.job(id).expires_at), (State::Pending, None));
        assert_eq!(t.job(id).cancel_reason, None);
    }
    t.advance(secs(600));
    assert_eq!(expire(t), 0);
    assert_eq!(t.claim(t.worker(), 9).len(), 3);
}

pub fn who_waits_for_an_expired_job_sees_a_cancelled_one(t: &mut Trial) {
    let late = t.enqueue(job().expires_in(secs(60)));
    let cancelled = t.enqueue(job());
    let of_late = t.enqueue(job().after(late.clone()));
    let of_cancelled = t.enqueue(job().after(cancelled.clone()));
    t.advance(secs(60));
    expire(t);
    t.cancel(&cancelled);
    let seen = |id: &JobId| (t.state(id), t.job(id).waits_for.len());
    assert_eq!(seen(&of_late), seen(&of_cancelled));
    // And the same when both have been run again.
    t.retry(&late);
    t.retry(&cancelled);
    let worker = t.worker();
    let done: Vec<_> = t
        .claim(worker, 9)
        .iter()
        .map(|job| settlement(job.lease, Verdict::Complete { result: None }, t.now()))
        .collect();
    t.settle(&done);
    assert_eq!(seen(&of_late), seen(&of_cancelled));
}

pub fn a_job_that_has_expired_does_not_answer_for_its_unique_key(t: &mut Trial) {
    let keyed = |new: NewJob| new.unique_key("code").unwrap().expires_in(secs(60));
    for start in [secs(0), secs(3600)] {
        let first = t.add(keyed(job().delay(start)));
        t.advance(secs(60) - MILLI);
        assert!(!t.add(keyed(job())).created, "it has not expired");
        t.advance(MILLI);
        let second = t.add(keyed(job().delay(start)));
        assert!(second.created);
        assert_expired(t, &first.id);
        assert_eq!(t.state(&second.id), State::Pending);
        t.cancel(&second.id);
    }
    // Also within a batch, where the first one has not come into its line yet.
    let now = t.now();
    let both = t.add_all(&[keyed(job()).expires_at(now), keyed(job())]);
    assert!(both[0].created && both[1].created);
    assert_expired(t, &both[0].id);
    let claimed = t.claim_one(t.worker());
    assert_eq!(claimed.id, both[1].id);
    t.advance(secs(60));
    assert!(!t.add(keyed(job())).created, "what runs does not expire");
}

pub fn a_refused_batch_leaves_an_expired_job_as_it_was(t: &mut Trial) {
    t.enqueue(named("taken"));
    t.enqueue(job().unique_key("code").unwrap().expires_in(secs(60)));
    t.advance(secs(60));
    let before = (t.snapshot(), t.store().counts().unwrap());
    let error = t.enqueue_err(&[job().unique_key("code").unwrap(), named("taken")]);
    assert!(matches!(error, StoreError::DuplicateId(_)), "{error}");
    assert_eq!((t.snapshot(), t.store().counts().unwrap()), before);
}

/// More of them than one call looks at, in front of the only one that is worth running.
pub fn many_that_have_expired_do_not_hold_up_the_others(t: &mut Trial) {
    let late = vec![job().expires_in(secs(60)).priority(1); 2500];
    t.add_all(&late);
    let worth = t.enqueue(job());
    t.advance(secs(60));
    let worker = t.worker();
    let mut rounds = 0;
    let claimed = loop {
        let done = t.exchange(&[], &[(worker, 1)]);
        if let [one] = &done.claimed[..] {
            break one.id.clone();
        }
        assert_eq!(done.next_due, Some(secs(0)), "there is more to look at");
        rounds += 1;
        assert!(rounds < 10);
    };
    assert_eq!(claimed, worth);
}

pub fn many_that_have_expired_are_cancelled_in_the_end(t: &mut Trial) {
    t.add_all(&vec![job().expires_in(secs(60)); 1200]);
    t.add_all(&vec![job().expires_at(t.now() + secs(60)); 1200]);
    t.advance(secs(60));
    let first = expire(t);
    assert!((1..2400).contains(&first), "one call is short: {first}");
    let all = first + (0..20).map(|_| expire(t)).sum::<u64>();
    assert_eq!(all, 2400);
    let counts = t.store().counts().unwrap();
    assert_eq!(counts.iter().map(|lane| lane.of(State::Cancelled)).sum::<u64>(), 2400);
}

pub fn each_expires_once_however_many_look(t: &mut Trial) {
    let handles = t.two_handles();
    for _ in 0..5 {
        t.add_all(&vec![job().expires_in(secs(60)); 40]);
        t.advance(secs(60));
        let worker = t.worker();
        let start = Barrier::new(4);
        let expired: u64 = thread::scope(|scope| {
            let expire = |number: usize| {
                let (store, start) = (&handles[number % 2], &start);
                move || {
                    start.wait();
                    store.expire().unwrap()
                }
            };
            let all: Vec<_> = (0..4).map(|number| scope.spawn(expire(number))).collect();
            all.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(expired, 40);
        t.claim_none(worker);
    }
}
