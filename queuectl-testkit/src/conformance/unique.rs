//! Unique keys: how long a job holds one, and what becomes of it when another job comes with it. The
//! default, while it lives and kept as it is, stands with enqueueing.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use queuectl_core::store::{Enqueued, Queues, Verdict};
use queuectl_core::{Claimed, NewJob, OnConflict, Setting, State, Store, StoreError, UniqueScope};

use super::trial::{LEASE, Trial, all_jobs, claim_from, id, job, json, name, named, secs};

const MILLI: Duration = Duration::from_millis(1);

fn keyed() -> NewJob {
    job().unique_key("key").unwrap()
}

fn with_payload(text: &str) -> NewJob {
    NewJob::from_json(name("work"), json(text)).unique_key("key").unwrap()
}

#[track_caller]
fn assert_kept(answer: &Enqueued, by: &Enqueued) {
    assert_eq!((&answer.id, answer.key), (&by.id, by.key));
    assert!(!answer.created && !answer.changed, "{answer:?}");
}

pub fn how_long_a_key_is_held_is_kept_with_the_job(t: &mut Trial) {
    let lives = t.job(&t.enqueue(job().unique_key("a").unwrap()));
    let living = [State::Pending, State::Blocked, State::Processing, State::Failed];
    assert_eq!((lives.unique_while, lives.unique_until), (living.to_vec(), None));
    let period = t.job(&t.enqueue(job().unique_key("b").unwrap().unique_for(secs(60))));
    assert_eq!(period.unique_until, Some(t.now() + secs(60)));
    assert!(period.unique_while.contains(&State::Completed));
    let states = job().unique_key("c").unwrap().unique_while([State::Dead]);
    let states = t.job(&t.enqueue(states));
    assert_eq!(states.unique_while, [State::Pending, State::Blocked, State::Dead]);
    // Without a key there is nothing to hold.
    let none = t.job(&t.enqueue(job().unique_for(secs(60))));
    assert_eq!((none.unique_key, none.unique_while, none.unique_until), (None, vec![], None));
}

pub fn a_key_is_held_in_the_states_that_were_asked_for(t: &mut Trial) {
    let sets: [&[State]; 5] = [
        &[],
        &[State::Processing],
        &[State::Failed, State::Completed],
        &[State::Processing, State::Dead, State::Cancelled],
        &State::ALL,
    ];
    for (number, set) in sets.into_iter().enumerate() {
        for state in State::ALL {
            let keyed = || {
                let job = job().unique_key(format!("{number} in {state}")).unwrap();
                job.unique_while(set.iter().copied())
            };
            let first = t.job_in(state, keyed());
            let again = t.add(keyed());
            let waits = matches!(state, State::Pending | State::Blocked);
            // A job can only be failed, dead and so on when it has been processing.
            let passed = |state: State| {
                matches!(state, State::Failed | State::Completed | State::Dead)
                    && !set.contains(&State::Processing)
            };
            let back = state == State::Failed && set.contains(&State::Failed);
            let held = waits || back || (set.contains(&state) && !passed(state));
            assert_eq!(again.created, !held, "{set:?} in {state}");
            assert_eq!(again.id == first, held, "{set:?} in {state}");
        }
    }
}

/// A job that runs does not answer for those that come while it does: they make one more.
pub fn a_claim_frees_a_key_that_is_held_while_waiting(t: &mut Trial) {
    let keyed = || keyed().unique_while([]);
    let first = t.add(keyed());
    assert_kept(&t.add(keyed()), &first);
    let worker = t.worker();
    let running = t.claim_one(worker);
    let second = t.add(keyed());
    assert!(second.created);
    assert_kept(&t.add(keyed()), &second);
    t.complete(&running);
    assert_kept(&t.add(keyed()), &second);
    assert_eq!(t.claim_one(worker).id, second.id);
    assert!(t.add(keyed()).created);
}

/// Each way in which a job that runs waits again.
fn come_back(t: &Trial, way: usize, running: &Claimed) {
    match way {
        0 => t.end(running, Verdict::Release),
        1 => t.end(running, Verdict::Snooze { wake_in: secs(9) }),
        2 => t.store().deregister(&[running.worker]).unwrap(),
        3 => drop(t.lose_workers()),
        _ => {
            t.fail(running, secs(600));
            t.retry(&running.id);
        }
    }
}

/// Given back, snoozed or lost: a job that waits again holds its key again.
pub fn a_job_that_comes_back_takes_its_key_again(t: &mut Trial) {
    for end in 0..5 {
        let text = format!("key {end}");
        let keyed = || job().unique_key(text.clone()).unwrap().unique_while([]);
        let first = t.add(keyed());
        let worker = t.worker();
        let running = t.claim_one(worker);
        come_back(t, end, &running);
        assert_eq!(t.state(&first.id), State::Pending);
        assert_kept(&t.add(keyed()), &first);
        t.cancel(&first.id);
    }
}

/// Two of one key wait then: the older one is not undone for it.
pub fn a_job_that_comes_back_too_late_goes_without_its_key(t: &mut Trial) {
    for end in 0..5 {
        let text = format!("key {end}");
        let keyed = || job().unique_key(text.clone()).unwrap().unique_while([]);
        let first = t.add(keyed());
        let worker = t.worker();
        let running = t.claim_one(worker);
        let second = t.add(keyed());
        come_back(t, end, &running);
        assert_eq!((t.state(&first.id), t.state(&second.id)), (State::Pending, State::Pending));
        assert_kept(&t.add(keyed()), &second);
        // It is free when the one that holds it goes, although the other one still waits.
        t.cancel(&second.id);
        let third = t.add(keyed());
        assert!(third.created);
        t.cancel(&first.id);
        assert_kept(&t.add(keyed()), &third);
        t.cancel(&third.id);
    }
}

pub fn of_several_that_come_back_the_first_takes_the_key(t: &mut Trial) {
    let keyed = || keyed().unique_while([]);
    let workers = t.workers(2);
    let first = t.add(keyed());
    t.claim_one(workers[1]);
    t.add(keyed());
    t.claim_one(workers[0]);
    t.advance(LEASE + secs(1));
    assert_eq!(t.rescue().len(), 2);
    assert_kept(&t.add(keyed()), &first);
}

pub fn a_key_is_held_for_a_period(t: &mut Trial) {
    let keyed = || keyed().throttle("key", secs(3600)).unwrap();
    let worker = t.worker();
    let first = t.add(keyed());
    assert_kept(&t.add(keyed()), &first);
    t.advance(secs(1800));
    t.complete(&t.claim_one(worker));
    assert_kept(&t.add(keyed()), &first);
    t.advance(secs(1800) - MILLI);
    assert_kept(&t.add(keyed()), &first);
    t.advance(MILLI);
    let second = t.add(keyed());
    assert!(second.created, "counted from when it was enqueued");
    assert_kept(&t.add(keyed()), &second);
    // Whether or not it lives.
    t.advance(secs(3600));
    assert_eq!(t.state(&second.id), State::Pending);
    assert!(t.add(keyed()).created);
}

pub fn a_period_ends_with_a_cancel_or_a_purge(t: &mut Trial) {
    let keyed = || keyed().unique_for(secs(3600));
    let first = t.add(keyed());
    t.cancel(&first.id);
    let second = t.add(keyed());
    assert!(second.created);
    t.end(&t.claim_one(t.worker()), Verdict::Die);
    assert_kept(&t.add(keyed()), &second);
    t.purge(&second.id);
    let third = t.add(keyed());
    assert!(third.created);
    // Its own period, not what was left of another's.
    t.advance(secs(3600) - MILLI);
    assert_kept(&t.add(keyed()), &third);
}

/// The answer names a job, so that has to be there.
pub fn retention_spares_a_job_whose_period_is_not_over(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompleted, Some("60s")).unwrap();
    let prune = |t: &Trial| (0..4).map(|_| t.store().prune().unwrap()).sum::<u64>();
    let first = t.add(keyed().unique_for(secs(3600)));
    t.complete(&t.claim_one(t.worker()));
    t.advance(secs(3599));
    assert_eq!(prune(t), 0);
    assert_kept(&t.add(keyed()), &first);
    t.advance(secs(1));
    assert_eq!(prune(t), 1);
    // A cancelled one holds no key.
    t.cancel(&t.enqueue(keyed().unique_for(secs(3600))));
    t.advance(secs(60));
    assert_eq!(prune(t), 1);
}

pub fn a_step_of_the_wall_clock_does_not_move_a_period(t: &mut Trial) {
    for step in [86_400_000, -86_400_000] {
        let text = format!("key {step}");
        let keyed = || job().throttle(text.clone(), secs(60)).unwrap();
        let first = t.add(keyed());
        t.clock().step_wall(step);
        t.advance(secs(60) - MILLI);
        assert_kept(&t.add(keyed()), &first);
        t.advance(MILLI);
        assert!(t.add(keyed()).created);
    }
}

pub fn after_a_restart_a_period_ends_when_it_was_expected_to(t: &mut Trial) {
    let keyed = || keyed().unique_for(secs(7200));
    let first = t.add(keyed());
    t.advance(secs(60));
    t.clock().reboot();
    t.advance(secs(7139));
    assert_kept(&t.add(keyed()), &first);
    t.advance(secs(1));
    assert!(t.add(keyed()).created);
}

/// How long a key is held is the business of the job that holds it, not of those that ask.
pub fn the_scope_of_the_holder_counts(t: &mut Trial) {
    let first = t.add(keyed().unique_for(secs(60)));
    let other = [UniqueScope::Living, UniqueScope::While(BTreeSet::new())];
    t.complete(&t.claim_one(t.worker()));
    for scope in other {
        let mut new = keyed();
        new.unique_scope = scope;
        assert_kept(&t.add(new), &first);
    }
    t.advance(secs(60));
    let second = t.add(keyed());
    assert!(second.created);
    t.advance(secs(60));
    assert_kept(&t.add(keyed().unique_for(secs(1))), &second);
}

pub fn a_payload_is_replaced_while_its_job_has_not_begun(t: &mut Trial) {
    let replace = |text: &str| with_payload(text).on_conflict(OnConflict::Replace);
    let first = t.add(with_payload("1").delay(secs(60)));
    let before = t.job(&first.id);
    t.advance(secs(1));
    let answer = t.add(replace("2").delay(secs(5)).priority(9).tag("other").unwrap());
    assert_eq!((answer.id, answer.key), (first.id.clone(), first.key));
    assert!(answer.changed && !answer.created);
    let after = t.job(&first.id);
    assert_eq!((after.payload.as_str(), after.updated_at), ("2", t.now()));
    let unchanged = queuectl_core::Job {
        payload: before.payload.clone(),
        updated_at: before.updated_at,
        ..after.clone()
    };
    assert_eq!(unchanged, before, "nothing but the payload");
    t.advance(secs(59));
    let claimed = t.claim_one(t.worker());
    assert_eq!(claimed.payload.as_str(), "2");
    assert_kept(&t.add(replace("3")), &first);
    t.fail(&claimed, secs(0));
    assert_kept(&t.add(replace("4")), &first);
    assert_eq!(t.job(&first.id).payload.as_str(), "2");

    // One that was given back has not begun.
    let other = || with_payload("5").unique_key("other").unwrap();
    t.enqueue(other().priority(1));
    t.end(&t.claim_one(t.worker()), Verdict::Release);
    assert!(t.add(other().on_conflict(OnConflict::Replace)).changed);
}

pub fn a_payload_is_not_given_to_a_job_of_another_kind(t: &mut Trial) {
    let first = t.add(with_payload("1"));
    for policy in OnConflict::ALL {
        let other = NewJob::from_json(name("other"), json("2")).unique_key("key").unwrap();
        assert_kept(&t.add(other.on_conflict(policy).delay(secs(5))), &first);
    }
    let kept = t.job(&first.id);
    assert_eq!((kept.payload.as_str(), kept.run_at), ("1", t.now()));
    // Another queue does not matter: it runs where it was enqueued.
    let elsewhere = with_payload("3").queue("elsewhere").unwrap();
    assert!(t.add(elsewhere.on_conflict(OnConflict::Replace)).changed);
    assert_eq!(t.job(&first.id).queue, name("default"));
    assert!(t.store().queues().unwrap().iter().all(|queue| queue.name != name("elsewhere")));
}

pub fn a_delay_begins_again(t: &mut Trial) {
    let moves = || with_payload("1").on_conflict(OnConflict::Move);
    let worker = t.worker();
    let first = t.add(moves().delay(secs(10)));
    for _ in 0..5 {
        t.advance(secs(9));
        t.claim_none(worker);
        let again = t.add(with_payload("2").on_conflict(OnConflict::Move).delay(secs(10)));
        assert!(again.changed && !again.created && again.id == first.id);
        assert_eq!(t.job(&first.id).run_at, t.now() + secs(10));
    }
    t.clock().step_wall(-86_400_000);
    t.advance(secs(10) - MILLI);
    t.claim_none(worker);
    assert_eq!(t.exchange(&[], &[(worker, 0)]).next_due, Some(MILLI));
    t.advance(MILLI);
    assert_eq!(t.claim_one(worker).payload.as_str(), "1", "only its time has moved");
    assert_kept(&t.add(moves().delay(secs(10))), &first);
}

pub fn a_job_is_moved_between_now_and_later(t: &mut Trial) {
    let moves = || keyed().on_conflict(OnConflict::Move);
    let worker = t.worker();
    let first = t.add(moves().run_at(t.now() + secs(60)));
    assert!(t.add(moves()).changed);
    assert_eq!(t.job(&first.id).run_at, t.now());
    assert!(t.add(moves().delay(secs(5))).changed);
    t.claim_none(worker);
    assert!(t.add(moves().run_at(t.now())).changed);
    assert_eq!(t.claim_one(worker).id, first.id);
    t.claim_none(worker);

    // Within a batch as well, where the first one has not come into its line yet.
    let other = || job().unique_key("other").unwrap().on_conflict(OnConflict::Move);
    t.add_all(&[job(), other(), other().delay(secs(5)), other(), job()]);
    assert_eq!(t.claim(worker, 9).len(), 3);
}

pub fn a_blocked_job_is_moved_and_replaced(t: &mut Trial) {
    let parent = t.enqueue(named("parent"));
    let both = |text: &str| with_payload(text).on_conflict(OnConflict::ReplaceAndMove);
    let child = t.add(both("1").after(parent.clone()));
    let worker = t.worker();
    let running = t.claim_one(worker);
    assert!(t.add(both("2").delay(secs(60))).changed);
    t.complete(&running);
    t.claim_none(worker);
    t.advance(secs(60));
    let claimed = t.claim_one(worker);
    assert_eq!((claimed.id, claimed.payload.as_str()), (child.id, "2"));
}

pub fn what_is_moved_expires_when_the_new_one_would(t: &mut Trial) {
    let moves = || keyed().on_conflict(OnConflict::Move);
    let first = t.add(moves().delay(secs(5)).expires_in(secs(10)));
    t.advance(secs(4));
    t.enqueue(moves().delay(secs(5)).expires_in(secs(10)));
    assert_eq!(t.job(&first.id).expires_at, Some(t.now() + secs(10)));
    t.advance(secs(9));
    assert_eq!(t.store().expire().unwrap(), 0);
    // Without an expiry of the new one, it keeps its own.
    t.enqueue(moves().delay(secs(5)));
    t.advance(secs(1));
    assert_eq!(t.store().expire().unwrap(), 1);
    assert_eq!(t.state(&first.id), State::Cancelled);

    // One that could not expire can by now, also if it is ready already.
    let second = t.enqueue(moves());
    t.enqueue(moves().expires_in(secs(1)));
    t.advance(secs(1));
    t.claim_none(t.worker());
    assert_eq!(t.state(&second), State::Cancelled);
}

pub fn debouncing_runs_the_last_one_when_it_is_quiet(t: &mut Trial) {
    let text = |text: &str| {
        let job = NewJob::from_json(name("work"), json(text));
        job.debounce("document", secs(5)).unwrap()
    };
    let worker = t.worker();
    let first = t.add(text("1"));
    for word in ["2", "3", "4"] {
        t.advance(secs(4));
        t.claim_none(worker);
        assert!(t.add(text(word)).changed);
    }
    t.advance(secs(5));
    let claimed = t.claim_one(worker);
    assert_eq!((claimed.id.clone(), claimed.payload.as_str()), (first.id, "4"));
    // What comes while it runs is not lost in it.
    let next = t.add(text("5"));
    assert!(next.created);
    t.complete(&claimed);
    t.advance(secs(5));
    assert_eq!(t.claim_one(worker).payload.as_str(), "5");
}

pub fn a_refused_batch_changes_nothing(t: &mut Trial) {
    t.enqueue(named("taken"));
    t.enqueue(with_payload("1").delay(secs(60)));
    t.enqueue(job().throttle("over", secs(1)).unwrap());
    t.advance(secs(1));
    let before = (t.snapshot(), t.store().counts().unwrap());
    let both = with_payload("2").on_conflict(OnConflict::ReplaceAndMove);
    let error = t.enqueue_err(&[both, job().unique_key("over").unwrap(), named("taken")]);
    assert!(matches!(error, StoreError::DuplicateId(_)), "{error}");
    assert_eq!((t.snapshot(), t.store().counts().unwrap()), before);
    t.advance(secs(59));
    assert_eq!(t.claim(t.worker(), 9).len(), 3);
}

pub fn a_job_whose_key_another_holds_is_not_retried(t: &mut Trial) {
    let worker = t.worker();
    // The other one has ended, and holds the key all the same.
    let first = t.job_in(State::Dead, keyed());
    let second = t.add(keyed().unique_for(secs(60)));
    t.complete(&t.claim_one(worker));
    let error = t.store().retry(std::slice::from_ref(&first)).unwrap_err();
    assert!(
        matches!(&error, StoreError::UniqueKeyTaken { id, by } if *id == first && *by == second.id),
        "{error}"
    );
    t.advance(secs(60));
    t.retry(&first);
    assert_eq!(t.state(&first), State::Pending);
    let error = t.store().retry(std::slice::from_ref(&second.id)).unwrap_err();
    assert!(matches!(&error, StoreError::UniqueKeyTaken { by, .. } if *by == first), "{error}");

    // One that holds the key itself is retried.
    t.complete(&t.claim_one(worker));
    let own =
        t.job_in(State::Completed, keyed().unique_while([State::Completed]).id("own").unwrap());
    t.retry(&own);
    assert_eq!(t.state(&id("own")), State::Pending);
}

pub fn a_key_of_any_scope_raced_by_many_makes_one_job(t: &mut Trial) {
    let handles = t.two_handles();
    let scopes = [
        UniqueScope::Living,
        UniqueScope::For(secs(60)),
        UniqueScope::While(BTreeSet::new()),
        UniqueScope::While(BTreeSet::from(State::ALL)),
    ];
    for (number, scope) in scopes.into_iter().enumerate() {
        for policy in OnConflict::ALL {
            let mut new = job().unique_key(format!("{number} {}", policy.as_str())).unwrap();
            (new.unique_scope, new.on_conflict) = (scope.clone(), policy);
            let start = Barrier::new(16);
            let answers: Vec<Enqueued> = thread::scope(|scope| {
                let race = |number: usize| {
                    let (store, start, new) = (&handles[number % 2], &start, &new);
                    move || {
                        start.wait();
                        (0..4)
                            .map(|_| store.enqueue(std::slice::from_ref(new)).unwrap().remove(0))
                            .collect::<Vec<_>>()
                    }
                };
                let racers: Vec<_> = (0..16).map(|number| scope.spawn(race(number))).collect();
                racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect()
            });
            assert_eq!(answers.iter().filter(|one| one.created).count(), 1);
            assert!(answers.iter().all(|one| one.key == answers[0].key));
        }
    }
    assert_eq!(all_jobs(t.store().as_ref()).len(), 16);
}

/// Of a key that is held while waiting, one job waits at any time, however enqueuers and workers race.
pub fn a_key_that_is_freed_by_claims_has_one_job_waiting(t: &mut Trial) {
    let [store, other] = t.two_handles();
    let worker = t.worker();
    let keyed = || keyed().unique_while([]);
    let start = Barrier::new(5);
    let (created, claimed) = thread::scope(|scope| {
        let enqueuers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    let added = (0..50).map(|_| store.enqueue(&[keyed()]).unwrap().remove(0));
                    added.filter(|one| one.created).count()
                })
            })
            .collect();
        start.wait();
        let claim = |store: &dyn Store| {
            let claimed = claim_from(store, &[], &[(worker, 9)], &Queues::All).claimed;
            assert!(claimed.len() <= 1, "two waited: {claimed:?}");
            claimed.len()
        };
        let mut claimed = 0;
        while enqueuers.iter().any(|enqueuer| !enqueuer.is_finished()) {
            claimed += claim(other.as_ref());
        }
        let created: usize = enqueuers.into_iter().map(|one| one.join().unwrap()).sum();
        (created, claimed + claim(other.as_ref()))
    });
    assert_eq!(created, claimed);
}
