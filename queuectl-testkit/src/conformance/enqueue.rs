//! Adding jobs: identity, atomicity, idempotency.

use std::sync::Barrier;
use std::thread;

use queuectl_core::store::Verdict;
use queuectl_core::{
    BATCH_LEN_MAX, CHOSEN_KEY_MAX, JSON_LEN_MAX, JobId, JobKey, NewJob, Setting, State, StoreError,
    Token,
};

use super::trial::{Trial, all_jobs, id, job, json, name, named, of_kind, secs};

fn keyed(unique_key: &str) -> NewJob {
    job().unique_key(unique_key).unwrap()
}

pub fn a_job_is_kept_as_it_was_enqueued(t: &mut Trial) {
    let parent = t.enqueue(named("parent"));
    let new = NewJob::from_json(name("mail"), json(r#"{"to": "ada",  "n": 1.50}"#))
        .id("letter-1")
        .unwrap()
        .queue("post")
        .unwrap()
        .priority(-7)
        .delay(secs(90))
        .max_retries(5)
        .timeout(secs(12))
        .backoff("linear:10s;cap=25s;jitter=0.5".parse().unwrap())
        .unique_key("the letter to ada")
        .unwrap()
        .after(parent.clone())
        .tag("b")
        .unwrap()
        .tag("a")
        .unwrap();
    let added = t.add(new.clone());
    assert!(added.created);
    assert_eq!(added.id, id("letter-1"));

    let kept = t.job(&added.id);
    assert_eq!(kept.key, added.key);
    assert_eq!(kept.id, added.id);
    assert_eq!(kept.queue, new.queue);
    assert_eq!(kept.kind, new.kind);
    assert_eq!(kept.payload, new.payload, "byte for byte");
    assert_eq!(kept.state, State::Blocked);
    assert_eq!(kept.priority, -7);
    assert_eq!(kept.run_at, t.now() + secs(90));
    assert_eq!((kept.created_at, kept.updated_at), (t.now(), t.now()));
    assert_eq!((kept.started_at, kept.finished_at), (None, None));
    assert_eq!((kept.attempts, kept.max_attempts), (0, 6));
    assert_eq!((kept.token, kept.worker), (Token(0), None));
    assert_eq!(kept.timeout, Some(secs(12)));
    assert_eq!(kept.backoff, new.backoff);
    assert_eq!(kept.unique_key, new.unique_key);
    let mut tags = kept.tags.clone();
    tags.sort();
    assert_eq!(tags, [name("a"), name("b")]);
    assert_eq!(kept.waits_for, [parent.into()]);
    assert_eq!((kept.cancel_reason, kept.last_error), (None, None));
    assert_eq!((kept.result, kept.progress), (None, None));
}

pub fn a_plain_job_has_the_defaults(t: &mut Trial) {
    let added = t.add(job());
    let kept = t.job(&added.id);
    assert_eq!(kept.state, State::Pending);
    assert_eq!(kept.queue, name("default"));
    assert_eq!(kept.run_at, t.now());
    assert_eq!(kept.max_attempts, 4, "the store's max-retries, and one");
    assert_eq!((kept.timeout, kept.backoff, kept.unique_key), (None, None, None));
    assert!(kept.tags.is_empty() && kept.waits_for.is_empty());
}

pub fn payloads_come_back_byte_for_byte(t: &mut Trial) {
    let large = format!("\"{}\"", "x".repeat(JSON_LEN_MAX - 2));
    for text in [
        "null",
        " [1,  2] ",
        r#"{"b":1,"a":1,"a":2}"#,
        r#""\u0000 \ud83d\ude00 naïve 日本 \"'; DROP TABLE""#,
        "123456789012345678901234567890.000",
        &large,
    ] {
        let id = t.enqueue(NewJob::from_json(name("work"), json(text)));
        assert!(t.job(&id).payload.as_str() == text, "a payload has changed");
    }
}

pub fn an_empty_batch_adds_nothing(t: &mut Trial) {
    assert_eq!(t.add_all(&[]), []);
    assert_eq!(all_jobs(t.store().as_ref()), []);
}

pub fn answers_come_in_the_order_of_the_batch(t: &mut Trial) {
    let added = t.add_all(&[named("c"), named("a"), job(), named("b")]);
    let ids: Vec<_> = added.iter().map(|one| one.id.to_string()).collect();
    assert_eq!([&ids[0], &ids[1], &ids[3]], ["c", "a", "b"]);
    assert!(added.iter().all(|one| one.created));
    assert!(added.is_sorted_by_key(|one| one.key), "{added:?}");
    for one in &added {
        assert_eq!(t.job(&one.id).key, one.key);
    }
}

pub fn an_automatic_id_is_the_key(t: &mut Trial) {
    let added = t.add(job());
    assert_eq!(added.id, JobId::Auto(added.key));
    let chosen = t.add(named("chosen"));
    assert!(chosen.key > added.key);
    let next = t.add(job());
    assert!(next.key > chosen.key);
    assert_eq!(t.job(&next.id).id, next.id);
}

pub fn keys_are_not_used_again_after_a_purge(t: &mut Trial) {
    let first = t.add(job());
    t.cancel(&first.id);
    t.purge(&first.id);
    let second = t.add(job());
    assert!(second.key > first.key, "{second:?} after {first:?}");
}

pub fn a_taken_id_is_refused(t: &mut Trial) {
    for state in State::ALL {
        let chosen = format!("taken-{state}");
        t.job_in(state, named(&chosen));
        let before = t.snapshot();
        let error = t.enqueue_err(&[named(&chosen).priority(9)]);
        assert!(
            matches!(&error, StoreError::DuplicateId(taken) if *taken == id(&chosen)),
            "{error:?}"
        );
        assert_eq!(t.snapshot(), before);
    }
}

pub fn ids_that_differ_in_case_are_two(t: &mut Trial) {
    let added = t.add_all(&[named("Nightly"), named("nightly"), named("Q1"), named("q01")]);
    assert_eq!(t.job(&id("Nightly")).key, added[0].key);
    assert_eq!(t.job(&id("nightly")).key, added[1].key);
    assert_eq!(t.job(&id("Q1")).key, added[2].key);
    assert_eq!(t.job(&id("q01")).key, added[3].key);
}

/// A batch of which one job cannot be added must not leave the others behind, nor use up the ids that
/// they would have had.
pub fn a_duplicate_in_the_middle_undoes_the_batch(t: &mut Trial) {
    t.enqueue(named("taken"));
    let before = (t.snapshot(), t.store().counts().unwrap());
    let batch =
        [named("first"), keyed("key").queue("elsewhere").unwrap(), named("taken"), named("last")];
    let error = t.enqueue_err(&batch);
    assert!(matches!(error, StoreError::DuplicateId(taken) if taken == id("taken")));
    assert_eq!((t.snapshot(), t.store().counts().unwrap()), before);

    let again = t.add_all(&[named("first"), keyed("key"), named("last")]);
    assert!(again.iter().all(|one| one.created), "{again:?}");
}

pub fn an_id_twice_in_a_batch_is_refused(t: &mut Trial) {
    let error = t.enqueue_err(&[named("twin"), job(), named("twin")]);
    assert!(matches!(error, StoreError::DuplicateId(taken) if taken == id("twin")));
    assert_eq!(all_jobs(t.store().as_ref()), []);
}

pub fn the_largest_batch_is_taken_and_a_larger_one_refused(t: &mut Trial) {
    let batch = vec![job(); BATCH_LEN_MAX + 1];
    let error = t.enqueue_err(&batch);
    assert!(matches!(error, StoreError::BatchTooLarge { len } if len == BATCH_LEN_MAX + 1));
    assert_eq!(all_jobs(t.store().as_ref()), []);
    t.add_all(&batch[1..]);
    assert_eq!(all_jobs(t.store().as_ref()).len(), BATCH_LEN_MAX);
}

pub fn a_chosen_number_is_that_very_number(t: &mut Trial) {
    let chosen = t.add(named("q42"));
    assert_eq!((chosen.key, &chosen.id), (JobKey(42), &JobId::Auto(JobKey(42))));
    assert!(t.add(job()).key > JobKey(42), "automatic ids go on above it");
    let error = t.enqueue_err(&[named("q7")]);
    let below = "a number below may have been another job's, whose leases still go about";
    assert!(matches!(error, StoreError::NumberGiven(given) if given == id("q7")), "{below}");
    let error = t.enqueue_err(&[named("q42")]);
    assert!(matches!(error, StoreError::DuplicateId(taken) if taken == id("q42")));
}

pub fn a_chosen_number_that_an_automatic_id_has_is_refused(t: &mut Trial) {
    let automatic = t.add(job());
    let error = t.enqueue_err(&[job().id(&automatic.id.to_string()).unwrap()]);
    assert!(matches!(error, StoreError::DuplicateId(taken) if taken == automatic.id));
}

/// `queuectl enqueue --id q9223372036854775807` was taken, and no job could be added after it: every
/// one was refused because the disk was full.
pub fn a_chosen_number_that_leaves_few_is_refused(t: &mut Trial) {
    for number in [i64::MIN, -1, 0, CHOSEN_KEY_MAX + 1, i64::MAX - 1, i64::MAX] {
        let mut new = job();
        new.id = Some(JobId::Auto(JobKey(number)));
        let error = t.enqueue_err(&[new]);
        assert!(
            matches!(&error, StoreError::NumberOutOfRange(id) if *id == JobId::Auto(JobKey(number))),
            "{error}"
        );
    }
    assert!(t.add(job()).created);
    assert!(t.add(job().id("q999999999999999").unwrap()).created);
    assert!(t.add(job()).created);
}

pub fn a_chosen_number_that_a_named_job_has_is_refused(t: &mut Trial) {
    let named = t.add(named("some-name"));
    let number = JobId::Auto(named.key);
    let error = t.enqueue_err(&[job().id(&number.to_string()).unwrap()]);
    assert!(matches!(error, StoreError::DuplicateId(taken) if taken == number));
}

pub fn a_purged_id_may_be_chosen_again(t: &mut Trial) {
    let first = t.add(named("nightly"));
    t.cancel(&first.id);
    t.purge(&first.id);
    let second = t.add(named("nightly"));
    assert!(second.created && second.key > first.key);
    assert_eq!(t.state(&second.id), State::Pending);
}

pub fn jobs_without_a_number_of_retries_take_the_setting_of_the_moment(t: &mut Trial) {
    let before = t.enqueue(job());
    let store = t.store();
    store.change_setting(Setting::MaxRetries, Some("7")).unwrap();
    let after = t.enqueue(job());
    let own = t.enqueue(job().max_retries(0));
    let most = t.enqueue(job().max_retries(u32::MAX - 1));
    assert_eq!(t.job(&before).max_attempts, 4);
    assert_eq!(t.job(&after).max_attempts, 8);
    assert_eq!(t.job(&own).max_attempts, 1);
    assert_eq!(t.job(&most).max_attempts, u32::MAX);
}

pub fn a_living_job_answers_for_its_unique_key(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let key = format!("key of {state}");
        let first = t.job_in(state, keyed(&key));
        let before = t.snapshot();
        let again = t.add(keyed(&key).priority(5).queue("elsewhere").unwrap());
        assert!(!again.created);
        assert_eq!((&again.id, again.key), (&first, t.job(&first).key));
        assert_eq!(t.snapshot(), before, "a {state} job answered and changed");
    }
}

pub fn the_unique_key_of_a_job_that_has_ended_is_free(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let key = format!("key of {state}");
        let first = t.job_in(state, keyed(&key));
        let again = t.add(keyed(&key));
        assert!(again.created && again.id != first, "{state}");
        assert!(!t.add(keyed(&key)).created, "the newer one lives");
    }
}

pub fn a_unique_key_counts_within_a_batch(t: &mut Trial) {
    let added = t.add_all(&[keyed("a"), keyed("b"), keyed("a"), job(), keyed("A")]);
    let created: Vec<_> = added.iter().map(|one| one.created).collect();
    assert_eq!(created, [true, true, false, true, true]);
    assert_eq!((&added[2].id, added[2].key), (&added[0].id, added[0].key));
    assert_eq!(all_jobs(t.store().as_ref()).len(), 4);
}

pub fn a_unique_key_counts_across_queues_and_kinds(t: &mut Trial) {
    t.enqueue(keyed("one"));
    let other = of_kind("other").queue("elsewhere").unwrap();
    assert!(!t.add(other.unique_key("one").unwrap()).created);
}

/// The first call may have happened although it returned an error. Repeating it gives the job that it
/// made, also when the job has a chosen id as well.
pub fn repeating_an_enqueue_of_unknown_outcome_makes_one_job(t: &mut Trial) {
    let batch = [
        keyed("key"),
        keyed("both").id("mine").unwrap(),
        named("leaf").unique_key("leaf").unwrap().after(id("mine")),
    ];
    let first = t.add_all(&batch);
    let again = t.add_all(&batch);
    for (first, again) in first.iter().zip(&again) {
        assert!(first.created && !again.created);
        assert_eq!((&first.id, first.key), (&again.id, again.key));
    }
    assert_eq!(all_jobs(t.store().as_ref()).len(), 3);

    // With an id alone the repetition is refused, and there is one job all the same.
    let store = t.store();
    store.enqueue(&[named("alone")]).unwrap();
    store.enqueue(&[named("alone")]).unwrap_err();
    assert_eq!(all_jobs(store.as_ref()).len(), 4);
}

pub fn a_unique_key_raced_by_many_makes_one_job(t: &mut Trial) {
    let handles = t.two_handles();
    let start = Barrier::new(32);
    let answers: Vec<_> = thread::scope(|scope| {
        let race = |number: usize| {
            let (store, start) = (&handles[number % 2], &start);
            move || {
                start.wait();
                store.enqueue(&[keyed("raced")]).unwrap().remove(0)
            }
        };
        let racers: Vec<_> = (0..32).map(|number| scope.spawn(race(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|one| one.created).count(), 1);
    assert!(answers.iter().all(|one| one.key == answers[0].key));
    assert_eq!(all_jobs(t.store().as_ref()).len(), 1);
}

pub fn an_id_raced_by_many_makes_one_job(t: &mut Trial) {
    let handles = t.two_handles();
    let start = Barrier::new(32);
    let made: usize = thread::scope(|scope| {
        let race = |number: usize| {
            let (store, start) = (&handles[number % 2], &start);
            move || {
                start.wait();
                match store.enqueue(&[job(), named("raced")]) {
                    Ok(_) => 1,
                    Err(StoreError::DuplicateId(_)) => 0,
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        let racers: Vec<_> = (0..32).map(|number| scope.spawn(race(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(made, 1);
    assert_eq!(all_jobs(t.store().as_ref()).len(), 2, "losers left nothing");
}

pub fn enqueuers_side_by_side_lose_nothing(t: &mut Trial) {
    let handles = t.two_handles();
    thread::scope(|scope| {
        for number in 0..8_usize {
            let store = &handles[number % 2];
            scope.spawn(move || {
                for _ in 0..20 {
                    let added = store.enqueue(&[job(), job(), job()]).unwrap();
                    assert!(added.is_sorted_by_key(|one| one.key));
                    for one in added {
                        // Whoever was told that the job is there sees it.
                        assert!(store.job(&one.id).unwrap().is_some());
                    }
                }
            });
        }
    });
    let mut keys: Vec<_> = all_jobs(t.store().as_ref()).iter().map(|job| job.key).collect();
    keys.dedup();
    assert_eq!(keys.len(), 8 * 20 * 3);
}

pub fn what_was_acknowledged_is_there_after_reopening(t: &mut Trial) {
    let worker = t.worker();
    t.enqueue(keyed("key").id("done").unwrap());
    let done = t.claim_one(worker);
    t.end(&done, Verdict::Complete { result: Some(json("[1]")) });
    t.enqueue(named("retried"));
    let retried = t.claim_one(worker);
    t.fail(&retried, secs(60));
    t.enqueue(named("gone"));
    t.cancel(&id("gone"));
    t.purge(&id("gone"));
    t.store().pause(&name("night"), true).unwrap();
    t.store().change_setting(Setting::Grace, Some("7s")).unwrap();
    let last = t.add(job());
    let kept = (t.snapshot(), t.store().counts().unwrap());
    let settings = t.store().settings().unwrap();
    let queues = t.store().queues().unwrap();
    if !t.reopen() {
        return;
    }
    assert_eq!((t.snapshot(), t.store().counts().unwrap()), kept);
    assert_eq!(t.store().settings().unwrap(), settings);
    assert_eq!(t.store().queues().unwrap(), queues);
    assert!(t.add(job()).key > last.key);
}
