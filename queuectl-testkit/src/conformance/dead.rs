//! Dead jobs: in which ways they failed, what is done to many of them at a time, and notes.

use std::time::Duration;

use queuectl_core::store::{JobQuery, Remark, Sweep, Swept, Verdict};
use queuectl_core::{
    Cause, Failure, Fingerprint, JobId, Note, Report, Setting, State, StoreError, Timestamp,
};

use super::trial::{Trial, id, job, json, name, named, of_kind, reported, secs};

/// Brings a job to its death for this reason.
fn die(t: &Trial, new: queuectl_core::NewJob, cause: Cause, error: &str) -> JobId {
    let dead = t.enqueue(new);
    let claimed = t.claim_one(t.worker());
    assert_eq!(claimed.id, dead);
    let report = Report::failure(cause, error);
    assert_eq!(t.settle(&[reported(claimed.lease, Verdict::Die, t.now(), report)]), []);
    assert_eq!(t.state(&dead), State::Dead);
    dead
}

/// Many jobs that all died in one call, of one failure.
fn many_dead(t: &Trial, count: usize) -> Vec<JobId> {
    let jobs: Vec<_> = (0..count).map(|_| job().max_retries(0)).collect();
    let added = t.add_all(&jobs);
    kill_all(t, count);
    added.into_iter().map(|one| one.id).collect()
}

fn kill_all(t: &Trial, count: usize) {
    let claimed = t.claim(t.worker(), count);
    assert_eq!(claimed.len(), count);
    let ends = claimed.iter().map(|one| {
        reported(one.lease, Verdict::Die, t.now(), Report::failure(Cause::Failed, "no route"))
    });
    assert_eq!(t.settle(&ends.collect::<Vec<_>>()), []);
}

fn failure(t: &Trial, id: &JobId) -> Fingerprint {
    t.job(id).failure.expect("it is dead")
}

fn sweep(t: &Trial, sweep: Sweep) -> Swept {
    sweep.run(t.store().as_ref()).expect("sweeping")
}

fn done(done: u64, kept: u64) -> Swept {
    Swept { done, kept, next: None }
}

fn states(t: &Trial, ids: &[JobId]) -> Vec<State> {
    ids.iter().map(|id| t.state(id)).collect()
}

pub fn dead_jobs_are_grouped_by_how_they_failed(t: &mut Trial) {
    assert_eq!(t.store().failures(10).unwrap(), []);
    let start = t.now();
    die(t, job(), Cause::Failed, "customer 17: no route");
    t.advance(secs(1));
    die(t, job().queue("elsewhere").unwrap(), Cause::Failed, "customer 4: no route");
    t.advance(secs(1));
    let last = die(t, named("last"), Cause::Failed, "customer 170: no route");
    die(t, of_kind("other"), Cause::Failed, "customer 17: no route");
    die(t, of_kind("other"), Cause::Failed, "customer 17: no route");
    die(t, job(), Cause::Panicked, "customer 17: no route");
    t.job_in(State::Failed, job());
    let groups = t.store().failures(10).unwrap();
    let counts: Vec<_> = groups.iter().map(|group| group.count).collect();
    assert_eq!(counts, [3, 2, 1], "those with the most first");
    let most = &groups[0];
    let report = Report::failure(Cause::Failed, "customer #: no route");
    assert_eq!(most.failure, Failure::of(&name("work"), &report));
    assert_eq!(most.failure.form, "customer #: no route");
    assert_eq!((most.oldest_at, most.newest_at), (start, start + secs(2)));
    assert_eq!(most.exemplar, last);
    assert_eq!(groups[1].failure.kind, name("other"));
    assert_eq!(groups[2].failure.cause, Cause::Panicked);
    assert_eq!(t.store().failures(2).unwrap(), groups[..2]);
}

pub fn a_job_has_a_fingerprint_while_it_is_dead(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| *state != State::Dead) {
        let id = t.job_in(state, job().queue(state.as_str()).unwrap());
        assert_eq!(t.job(&id).failure, None, "{state}");
    }
    let report = Report::failure(Cause::Exited, "code 3");
    let expected = Failure::of(&name("work"), &report).fingerprint();
    let id = die(t, job().priority(1), Cause::Exited, "code 4");
    assert_eq!(failure(t, &id), expected);
    t.retry(&id);
    assert_eq!(t.job(&id).failure, None);
    let lost = t.enqueue(job().priority(1).max_retries(0));
    t.cancel(&id);
    assert_eq!(t.claim_one(t.worker()).id, lost);
    t.lose_workers();
    let groups = t.store().failures(10).unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!((groups[0].failure.cause, &groups[0].exemplar), (Cause::LeaseLost, &lost));
    assert_eq!(failure(t, &lost), groups[0].failure.fingerprint());
}

pub fn a_group_is_as_large_as_what_is_dead(t: &mut Trial) {
    let ids: Vec<_> = (0..4).map(|_| die(t, job(), Cause::Failed, "no route")).collect();
    let count = |t: &Trial| t.store().failures(10).unwrap().first().map_or(0, |one| one.count);
    assert_eq!(count(t), 4);
    t.retry(&ids[3]);
    let group = t.store().failures(10).unwrap().remove(0);
    assert_eq!((group.count, group.exemplar), (3, ids[2].clone()));
    t.purge(&ids[0]);
    assert_eq!(count(t), 2);
    t.store().change_setting(Setting::RetentionDead, Some("1s")).unwrap();
    t.advance(secs(2));
    let pruned: u64 = (0..4).map(|_| t.store().prune().unwrap()).sum();
    assert_eq!((pruned, count(t)), (2, 0));
    assert_eq!(t.store().failures(10).unwrap(), []);
}

pub fn jobs_that_failed_alike_can_be_looked_up(t: &mut Trial) {
    let a = die(t, job(), Cause::Failed, "no route");
    die(t, job(), Cause::Failed, "no name");
    let b = die(t, of_kind("work"), Cause::Failed, "no route");
    let query = JobQuery { failure: Some(failure(t, &a)), ..JobQuery::default() };
    let found = |t: &Trial| -> Vec<JobId> {
        t.store().jobs(&query).unwrap().into_iter().map(|job| job.id).collect()
    };
    assert_eq!(found(t), [b.clone(), a.clone()]);
    t.retry(&b);
    assert_eq!(found(t), [a]);
}

pub fn a_job_runs_again_with_another_payload_and_the_old_one_is_kept(t: &mut Trial) {
    for state in [State::Failed, State::Dead, State::Cancelled, State::Completed] {
        let id = t.job_in(state, job());
        let (was, at) = (t.job(&id), t.now());
        t.advance(secs(5));
        let remark = Remark { text: "a wrong address", by: Some("ada@desk") };
        t.store().retry_with(&id, &json("{\"to\":1}"), &remark).unwrap();
        let now = t.job(&id);
        assert_eq!((now.state, now.payload), (State::Pending, json("{\"to\":1}")));
        let claimed = t.claim_one(t.worker());
        assert_eq!((&claimed.id, claimed.payload.as_str()), (&id, "{\"to\":1}"));
        t.end(&claimed, Verdict::Die);
        t.store().retry_with(&id, &json("2"), &Remark::default()).unwrap();
        let note = |text: &str, by: Option<&str>, payload| Note {
            at: at + secs(5),
            by: by.map(str::to_owned),
            text: text.to_owned(),
            payload: Some(payload),
        };
        let notes = t.store().notes(was.key).unwrap();
        let first = note("a wrong address", Some("ada@desk"), was.payload);
        assert_eq!(notes, [first, note("", None, json("{\"to\":1}"))]);
        t.cancel(&id);
    }
}

pub fn a_payload_is_changed_only_with_a_retry(t: &mut Trial) {
    let change = |t: &Trial, id: &JobId| t.store().retry_with(id, &json("2"), &"why".into());
    for state in [State::Pending, State::Blocked, State::Processing] {
        let id = t.job_in(state, job().queue(state.as_str()).unwrap());
        let before = t.snapshot();
        assert!(matches!(change(t, &id), Err(StoreError::WrongState { .. })), "{state}");
        assert_eq!(t.snapshot(), before);
        assert_eq!(t.store().notes(t.job(&id).key).unwrap(), []);
    }
    assert!(matches!(change(t, &id("nobody")), Err(StoreError::NotFound(_))));
    let keyed = |id| named(id).priority(1).unique_key("key").unwrap();
    let dead = t.job_in(State::Dead, keyed("dead"));
    t.enqueue(keyed("other"));
    let before = t.snapshot();
    assert!(matches!(change(t, &dead), Err(StoreError::UniqueKeyTaken { .. })));
    assert_eq!(t.snapshot(), before);
    assert_eq!(t.store().notes(t.job(&dead).key).unwrap(), []);
}

pub fn notes_stay_as_long_as_their_job(t: &mut Trial) {
    let id = t.enqueue(job());
    let key = t.job(&id).key;
    let other = t.enqueue(of_kind("never"));
    let before = t.snapshot();
    let mut expected = Vec::new();
    let mut note = |t: &Trial, text: &str, by: Option<&str>| {
        t.store().note(&id, &Remark { text, by }).unwrap();
        let (text, by) = (text.to_owned(), by.map(str::to_owned));
        expected.push(Note { at: t.now(), by, text, payload: None });
        assert_eq!(t.store().notes(key).unwrap(), expected);
    };
    note(t, "waits", None);
    assert_eq!(t.snapshot(), before, "the job itself is left alone");
    t.advance(secs(1));
    let claimed = t.claim_one(t.worker());
    note(t, "runs", Some("ada@desk"));
    t.end(&claimed, Verdict::Die);
    note(t, "dead", Some("ada@desk"));
    t.retry(&id);
    note(t, "waits", None);
    t.complete(&t.claim_one(t.worker()));
    note(t, "completed", None);
    assert_eq!(t.store().notes(t.job(&other).key).unwrap(), []);
    t.purge(&id);
    assert_eq!(t.store().notes(key).unwrap(), []);
    assert!(matches!(t.store().note(&id, &"late".into()), Err(StoreError::NotFound(_))));
}

pub fn a_sweep_retries_what_failed_alike(t: &mut Trial) {
    let a = die(t, job().max_retries(1), Cause::Failed, "line 1");
    let b = die(t, job(), Cause::Failed, "no route");
    let c = die(t, job(), Cause::Failed, "line 30");
    t.advance(secs(9));
    assert_eq!(sweep(t, Sweep::retry().alike(failure(t, &a))), done(2, 0));
    let all = [a.clone(), b, c];
    assert_eq!(states(t, &all), [State::Pending, State::Dead, State::Pending]);
    let again = t.job(&a);
    assert_eq!((again.attempts, again.max_attempts, again.run_at), (0, 2, t.now()));
    assert_eq!(t.attempts(&a).len(), 1, "the history stays");
    assert_eq!(sweep(t, Sweep::retry()), done(1, 0));
    assert_eq!(states(t, &all), [State::Pending; 3]);
    assert_eq!(sweep(t, Sweep::retry()), done(0, 0));
}

pub fn a_sweep_deletes_what_died_by_then(t: &mut Trial) {
    let start = t.now();
    let a = die(t, job(), Cause::Failed, "line 1");
    let waits = t.enqueue(of_kind("never").after(a.clone()));
    t.advance(secs(10));
    let b = die(t, job(), Cause::Failed, "line 2");
    let other = die(t, job(), Cause::Failed, "no route");
    let alike = Sweep::purge().alike(failure(t, &a));
    assert_eq!(
        sweep(t, alike.clone().until(Timestamp::from_millis(start.as_millis() - 1))),
        done(0, 0)
    );
    assert_eq!(sweep(t, alike.clone().until(start)), done(1, 0));
    assert_eq!(t.store().job(&a).unwrap(), None);
    assert_eq!(t.state(&waits), State::Cancelled, "it would wait for ever");
    assert_eq!(states(t, &[b.clone(), other.clone()]), [State::Dead; 2]);
    assert_eq!(sweep(t, alike), done(1, 0));
    assert_eq!(t.store().job(&b).unwrap(), None);
    assert_eq!(sweep(t, Sweep::purge()), done(1, 0));
    assert_eq!(t.store().job(&other).unwrap(), None);
    assert_eq!(t.state(&waits), State::Cancelled, "it is not dead, and stays");
}

pub fn a_sweep_takes_a_bounded_number_of_jobs_at_a_time(t: &mut Trial) {
    let ids = many_dead(t, 1_300);
    let (mut next, mut calls, mut total) = (Some(Sweep::retry()), 0, 0);
    while let Some(sweep) = next {
        let swept = t.store().sweep(&sweep).unwrap();
        assert!(swept.done <= 1_000, "one call did {}", swept.done);
        total += swept.done;
        // In the order in which they died.
        let waits = |id: &JobId| t.state(id) == State::Pending;
        assert!(ids.iter().take(total as usize).all(waits));
        assert_eq!(t.state(&ids[1_299]) == State::Dead, total < 1_300);
        (next, calls) = (swept.next, calls + 1);
    }
    assert_eq!(total, 1_300);
    assert!(calls >= 2);
}

/// Otherwise a sweep over what fails at once would never end.
pub fn what_dies_during_a_sweep_is_not_in_it(t: &mut Trial) {
    many_dead(t, 1_100);
    t.advance(secs(1));
    let (mut next, mut total) = (Some(Sweep::retry()), 0);
    while let Some(sweep) = next {
        let swept = t.store().sweep(&sweep).unwrap();
        t.advance(secs(1));
        kill_all(t, swept.done as usize);
        total += swept.done;
        next = swept.next;
    }
    assert_eq!(total, 1_100);
    assert_eq!(t.store().failures(1).unwrap()[0].count, 1_100);
}

pub fn a_sweep_whose_outcome_is_unknown_is_repeated(t: &mut Trial) {
    many_dead(t, 1_200);
    let first = t.store().sweep(&Sweep::purge()).unwrap();
    let again = sweep(t, Sweep::purge());
    assert_eq!(first.done + again.done, 1_200);
    assert_eq!(sweep(t, first.next.unwrap()), done(0, 0));
}

pub fn a_sweep_at_a_rate_gives_each_job_its_turn(t: &mut Trial) {
    let ids = many_dead(t, 1_200);
    t.advance(secs(60));
    assert_eq!(sweep(t, Sweep::retry().rate("3/s".parse().unwrap())), done(1_200, 0));
    let start = t.now();
    let turn = |n: u64| start + Duration::from_millis(n * 1_000 / 3);
    for (n, id) in (0..).zip(&ids) {
        let job = t.job(id);
        assert_eq!((job.state, job.run_at), (State::Pending, turn(n)), "{n}");
    }
    let worker = t.worker();
    assert_eq!(t.claim(worker, 100).len(), 1);
    // On the boot clock, like any other delay.
    t.clock().step_wall(86_400_000);
    assert_eq!(t.claim(worker, 100).len(), 0);
    t.advance(Duration::from_millis(1_000));
    let claimed = t.claim(worker, 100);
    let first: Vec<_> = claimed.iter().map(|one| one.id.clone()).collect();
    assert_eq!(first, ids[1..4]);
    t.advance(secs(30));
    assert_eq!(t.claim(worker, 2_000).len(), 90);
}

pub fn a_sweep_passes_over_what_cannot_run_again(t: &mut Trial) {
    let keyed = |id| named(id).unique_key("key").unwrap();
    let first = t.job_in(State::Dead, keyed("first"));
    let second = t.job_in(State::Dead, keyed("second"));
    let other = t.job_in(State::Dead, named("other"));
    assert_eq!(sweep(t, Sweep::retry().rate("1/m".parse().unwrap())), done(2, 1));
    let all = [first, second.clone(), other.clone()];
    assert_eq!(states(t, &all), [State::Pending, State::Dead, State::Pending]);
    assert_eq!(t.job(&other).run_at, t.now() + secs(60), "who is passed over takes no turn");
    assert_eq!(sweep(t, Sweep::purge()), done(1, 0));
    assert_eq!(t.store().job(&second).unwrap(), None);
}

/// Nothing that a job once was decides whether a sweep comes to it.
pub fn a_sweep_comes_to_dead_jobs_only(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| *state != State::Dead) {
        t.job_in(state, job().queue(state.as_str()).unwrap());
    }
    let again = die(t, job().priority(1), Cause::Failed, "no route");
    t.retry(&again);
    t.complete(&t.claim_one(t.worker()));
    let before = t.snapshot();
    assert_eq!(sweep(t, Sweep::retry().until(Timestamp::MAX)), done(0, 0));
    assert_eq!(sweep(t, Sweep::purge().until(Timestamp::MAX)), done(0, 0));
    assert_eq!(t.snapshot(), before);
}
