//! The event log: what it tells of each job, and what is kept of it.

use std::thread;

use queuectl_core::store::{Progress, Remark, Store, Sweep, Verdict};
use queuectl_core::{
    Cause, Change, JobEvent, JobId, Otherwise, Report, Schedule, Setting, Spec, State, Token,
};

use super::trial::{Trial, id, job, json, kinds, name, named, reported, secs};
use crate::replay::Replay;

fn switch(t: &Trial, on: bool) {
    t.store().change_setting(Setting::EventLog, Some(if on { "on" } else { "off" })).unwrap();
}

fn all(t: &Trial) -> Vec<JobEvent> {
    t.store().events(0, usize::MAX).unwrap()
}

fn of(t: &Trial, id: &JobId) -> Vec<JobEvent> {
    all(t).into_iter().filter(|event| event.id == *id).collect()
}

/// What became of a job, and where it went each time.
fn told(t: &Trial, id: &JobId) -> Vec<(Change, Option<State>)> {
    of(t, id).iter().map(|event| (event.change, event.to)).collect()
}

#[track_caller]
fn last(t: &Trial, id: &JobId) -> JobEvent {
    of(t, id).pop().expect("it is told of")
}

/// The log is one story, and ends with what the store has.
#[track_caller]
fn replay(t: &Trial) {
    let mut replay = Replay::default();
    replay.catch_up(t.store().as_ref()).unwrap();
    replay.compare(t.store().as_ref()).unwrap();
}

const PENDING: Option<State> = Some(State::Pending);
const PROCESSING: Option<State> = Some(State::Processing);
const CANCELLED: Option<State> = Some(State::Cancelled);

pub fn nothing_is_told_while_the_log_is_off(t: &mut Trial) {
    for state in State::ALL {
        t.job_in(state, job());
    }
    assert_eq!(all(t), []);
    assert_eq!(t.store().last_event().unwrap(), 0);
}

pub fn each_change_of_a_jobs_state_is_told(t: &mut Trial) {
    switch(t, true);
    let worker = t.worker();
    let id = t.enqueue(named("a").queue("mail").unwrap().max_retries(1));
    let at = t.now();
    t.advance(secs(1));
    t.fail(&t.claim_one(worker), secs(5));
    t.advance(secs(5));
    t.fail(&t.claim_one(worker), secs(5));
    t.retry(&id);
    t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: secs(5) });
    t.advance(secs(5));
    t.end(&t.claim_one(worker), Verdict::Release);
    t.complete(&t.claim_one(worker));
    t.purge(&id);
    let (failed, dead) = (Some(State::Failed), Some(State::Dead));
    let expected = [
        (Change::Added, None, PENDING),
        (Change::Claimed, PENDING, PROCESSING),
        (Change::Failed, PROCESSING, failed),
        (Change::Claimed, failed, PROCESSING),
        (Change::Died, PROCESSING, dead),
        (Change::Retried, dead, PENDING),
        (Change::Claimed, PENDING, PROCESSING),
        (Change::Snoozed, PROCESSING, PENDING),
        (Change::Claimed, PENDING, PROCESSING),
        (Change::Released, PROCESSING, PENDING),
        (Change::Claimed, PENDING, PROCESSING),
        (Change::Completed, PROCESSING, Some(State::Completed)),
        (Change::Deleted, Some(State::Completed), None),
    ];
    let events = all(t);
    let seen: Vec<_> = events.iter().map(|event| (event.change, event.from, event.to)).collect();
    assert_eq!(seen, expected);
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!((event.seq, &event.id), (seq, &id), "numbered from 1 on, also of what is gone");
        assert_eq!((event.queue.as_str(), event.kind.as_str()), ("mail", "work"));
    }
    assert_eq!((events[0].at, events[1].at), (at, at + secs(1)));
    assert_eq!(t.store().last_event().unwrap(), expected.len() as u64);
    replay(t);
}

pub fn an_attempts_begin_and_end_say_which_it_is(t: &mut Trial) {
    switch(t, true);
    let id = t.enqueue(job());
    let worker = t.worker();
    t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: secs(0) });
    let claimed = t.claim_one(worker);
    let report = Report::failure(Cause::TimedOut, "too slow");
    let verdict = Verdict::Fail { retry_in: secs(0) };
    assert_eq!(t.settle(&[reported(claimed.lease, verdict, t.now(), report)]), []);
    let other = t.worker();
    t.complete(&t.claim_one(other));
    let seen: Vec<_> =
        of(t, &id).into_iter().map(|event| (event.token, event.worker, event.cause)).collect();
    let expected = [
        (None, None, None),
        (Some(Token(1)), Some(worker), None),
        (Some(Token(1)), Some(worker), Some(Cause::Snoozed)),
        (Some(Token(2)), Some(worker), None),
        (Some(Token(2)), Some(worker), Some(Cause::TimedOut)),
        (Some(Token(3)), Some(other), None),
        (Some(Token(3)), Some(other), None),
    ];
    assert_eq!(seen, expected);
}

pub fn what_becomes_of_the_jobs_of_a_dead_worker_is_told(t: &mut Trial) {
    switch(t, true);
    let [lost, last_try] = [named("a"), named("b").max_retries(0)].map(|job| t.enqueue(job));
    let marked = t.enqueue(named("c"));
    let worker = t.worker();
    t.claim(worker, 3);
    t.cancel(&marked);
    assert_eq!(t.lose_workers().len(), 3);
    for (id, change, to) in [
        (&lost, Change::LeaseLost, State::Pending),
        (&last_try, Change::Died, State::Dead),
        (&marked, Change::Cancelled, State::Cancelled),
    ] {
        let event = last(t, id);
        assert_eq!((event.change, event.from, event.to), (change, PROCESSING, Some(to)));
        assert_eq!((event.token, event.worker), (Some(Token(1)), Some(worker)));
        assert_eq!(event.cause, Some(Cause::LeaseLost));
    }
    replay(t);
}

pub fn what_a_worker_gives_back_when_it_goes_is_told(t: &mut Trial) {
    switch(t, true);
    let id = t.enqueue(job());
    let worker = t.worker();
    t.claim_one(worker);
    t.store().deregister(&[worker]).unwrap();
    let event = last(t, &id);
    assert_eq!((event.change, event.to), (Change::Released, PENDING));
    assert_eq!((event.worker, event.cause), (Some(worker), Some(Cause::Interrupted)));
    replay(t);
}

pub fn what_a_dead_worker_had_not_begun_is_told_as_given_back(t: &mut Trial) {
    let Some(other) = t.another_handle().filter(|_| t.knows_death()) else {
        return;
    };
    switch(t, true);
    let id = t.enqueue(job());
    let workers = super::trial::register(other.as_ref(), 1);
    let all = queuectl_core::store::Queues::All;
    super::trial::claim_from(other.as_ref(), &[], &[(workers[0], 1)], &all);
    drop(other);
    t.store().rescue(&kinds()).unwrap();
    let event = last(t, &id);
    assert_eq!((event.change, event.to, event.cause), (Change::Released, PENDING, None));
    assert_eq!(event.worker, Some(workers[0]));
    replay(t);
}

pub fn a_cancelled_job_says_why_and_who_it_was(t: &mut Trial) {
    switch(t, true);
    let id = t.enqueue(job());
    let remark = Remark { text: "not wanted", by: Some("ada") };
    t.store().cancel(std::slice::from_ref(&id), &remark).unwrap();
    let event = last(t, &id);
    assert_eq!((event.change, event.from, event.to), (Change::Cancelled, PENDING, CANCELLED));
    assert_eq!((event.reason.as_deref(), event.by.as_deref()), (Some("not wanted"), Some("ada")));
    assert_eq!((event.token, event.worker, event.cause), (None, None, None));
}

pub fn each_request_to_cancel_is_told(t: &mut Trial) {
    switch(t, true);
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    for (text, by) in [("first", Some("ada")), ("second", None)] {
        t.store().cancel(&[id.clone(), id.clone()], &Remark { text, by }).unwrap();
        let event = last(t, &id);
        assert_eq!((event.change, event.from), (Change::CancelRequested, PROCESSING));
        assert_eq!((event.to, event.token), (PROCESSING, Some(Token(1))));
        assert_eq!((event.reason.as_deref(), event.by.as_deref()), (Some(text), by));
        assert_eq!(event.worker, Some(worker));
    }
    t.end(&claimed, Verdict::Cancel);
    let event = last(t, &id);
    assert_eq!((event.change, event.cause), (Change::Cancelled, Some(Cause::Cancelled)));
    assert_eq!((event.reason.as_deref(), event.by), (Some("first"), None), "the first stands");
    assert_eq!(of(t, &id).len(), 5, "a job that is named twice is meant once");
    replay(t);
}

pub fn what_becomes_of_dependents_is_told(t: &mut Trial) {
    switch(t, true);
    let parent = t.enqueue(named("parent"));
    let freed = t.enqueue(named("freed").after(parent.clone()));
    let failure = named("in-vain").after_failure(parent.clone());
    let in_vain = t.enqueue(failure.otherwise(Otherwise::Cancel));
    assert_eq!(told(t, &freed), [(Change::Added, Some(State::Blocked))]);
    t.complete(&t.claim_one(t.worker()));
    assert_eq!(told(t, &freed)[1..], [(Change::Unblocked, PENDING)]);
    assert_eq!(told(t, &in_vain)[1..], [(Change::Cancelled, CANCELLED)]);
    assert!(last(t, &in_vain).reason.unwrap().contains("parent"), "it names the parent");
    replay(t);
}

pub fn a_job_is_added_in_the_state_in_which_it_starts(t: &mut Trial) {
    let done = t.job_in(State::Completed, job());
    switch(t, true);
    let at_once = t.enqueue(named("at-once").after(done.clone()));
    assert_eq!(told(t, &at_once), [(Change::Added, PENDING)]);
    let failure = named("in-vain").after_failure(done);
    let in_vain = t.enqueue(failure.otherwise(Otherwise::Cancel));
    let expected = [(Change::Added, Some(State::Blocked)), (Change::Cancelled, CANCELLED)];
    assert_eq!(told(t, &in_vain), expected);
    replay(t);
}

pub fn jobs_of_a_batch_that_is_cancelled_are_told_each(t: &mut Trial) {
    switch(t, true);
    let jobs = ["a", "b"].map(|id| named(id).batch("batch").unwrap());
    t.add_all(&jobs);
    t.claim(t.worker(), 1);
    let remark = Remark { text: "not wanted", by: Some("ada") };
    let done = t.store().cancel_batch(&name("batch"), &remark).unwrap();
    assert_eq!((done.cancelled, done.asked), (1, 1));
    for (id, change) in [("a", Change::CancelRequested), ("b", Change::Cancelled)] {
        let event = last(t, &id.parse().unwrap());
        assert_eq!((event.change, event.by.as_deref()), (change, Some("ada")));
    }
    replay(t);
}

pub fn a_job_that_expires_is_told(t: &mut Trial) {
    switch(t, true);
    let ids = ["by-itself", "at-its-turn", "for-its-key"].map(|id| {
        t.enqueue(named(id).queue(id).unwrap().expires_in(secs(1)).unique_key(id).unwrap())
    });
    t.advance(secs(1));
    assert_eq!(t.claim_from(t.worker(), &["at-its-turn"]), []);
    t.enqueue(named("another").unique_key("for-its-key").unwrap());
    t.store().expire().unwrap();
    for id in &ids {
        let event = last(t, id);
        assert_eq!((event.change, event.from, event.to), (Change::Expired, PENDING, CANCELLED));
        assert!(event.reason.unwrap().starts_with("expired"));
    }
    replay(t);
}

pub fn what_deletes_jobs_is_told_with_what_that_ends(t: &mut Trial) {
    switch(t, true);
    let [old, waits] = ["old", "waits"].map(id);
    let dead = t.job_in(State::Dead, job());
    t.enqueue(named("old"));
    t.enqueue(named("waits").after_failure(old.clone()));
    t.complete(&t.claim_one(t.worker()));
    t.store().change_setting(Setting::RetentionCompleted, Some("0")).unwrap();
    while t.store().prune().unwrap() > 0 {}
    assert_eq!(last(t, &old).change, Change::Deleted);
    let expected = [(Change::Cancelled, CANCELLED), (Change::Deleted, None)];
    assert_eq!(told(t, &waits)[1..], expected, "and then it has ended as well");
    Sweep::purge().run(t.store().as_ref()).unwrap();
    assert_eq!(last(t, &dead).change, Change::Deleted);
    replay(t);
}

/// A job may end and be deleted in one call, by what becomes of another.
pub fn what_ends_and_goes_in_one_call_is_told(t: &mut Trial) {
    switch(t, true);
    let ids = [named("parent"), job()].map(|parent| {
        let parent = t.enqueue(parent);
        let children = [job(), named(&format!("after-{parent}")), job()];
        let children = children.map(|child| t.enqueue(child.after_failure(parent.clone())));
        t.complete(&t.claim_one(t.worker()));
        (parent, children)
    });
    t.store().change_setting(Setting::RetentionCompleted, Some("0")).unwrap();
    t.store().change_setting(Setting::RetentionCompletedCount, Some("0")).unwrap();
    while t.store().prune().unwrap() > 0 {}
    for (parent, children) in &ids {
        assert_eq!(last(t, parent).change, Change::Deleted);
        for child in children {
            let expected = [(Change::Cancelled, CANCELLED), (Change::Deleted, None)];
            assert_eq!(told(t, child)[1..], expected, "{child}");
        }
    }
    replay(t);
}

pub fn what_is_done_to_dead_jobs_is_told(t: &mut Trial) {
    switch(t, true);
    let ids = [0, 1].map(|_| t.job_in(State::Dead, job()));
    t.store().retry_with(&ids[0], &json("1"), &"edited".into()).unwrap();
    Sweep::retry().run(t.store().as_ref()).unwrap();
    for id in &ids {
        assert_eq!(told(t, id).pop(), Some((Change::Retried, PENDING)));
    }
    replay(t);
}

pub fn a_job_that_a_schedule_makes_is_told(t: &mut Trial) {
    switch(t, true);
    let schedule = Schedule::new("s", Spec::every(secs(60)).unwrap(), job()).unwrap();
    t.store().put_schedule(&schedule).unwrap();
    t.advance(secs(60));
    t.store().tick().unwrap();
    t.store().run_schedule(&name("s")).unwrap();
    let changes: Vec<_> = all(t).iter().map(|event| event.change).collect();
    assert_eq!(changes, [Change::Added; 2]);
    replay(t);
}

/// What changes no state is no entry: a job that answers for its key, a payload, a note, a delay
/// that is over, a lease that is renewed.
pub fn what_changes_no_state_is_not_told(t: &mut Trial) {
    switch(t, true);
    let new = || job().unique_key("key").unwrap().delay(secs(1));
    let id = t.enqueue(new());
    t.enqueue(new());
    t.store().note(&id, &"a note".into()).unwrap();
    t.store().pause(&name("default"), true).unwrap();
    t.advance(secs(1));
    let worker = t.worker();
    t.claim_none(worker);
    t.store().pause(&name("default"), false).unwrap();
    let claimed = t.claim_one(worker);
    let before = all(t);
    assert_eq!(before.len(), 2);
    t.store().renew(&[worker], secs(60)).unwrap();
    t.store().progress(&[Progress { lease: claimed.lease, value: json("1") }]).unwrap();
    let late = super::trial::older(claimed.lease);
    let late = super::trial::settlement(late, Verdict::Die, t.now());
    assert_eq!(t.settle(&[late]).len(), 1);
    assert_eq!(all(t), before);
    assert_eq!(t.store().last_event().unwrap(), 2);
}

pub fn a_call_that_fails_is_not_told(t: &mut Trial) {
    let ended = t.job_in(State::Completed, named("ended"));
    let waits = t.enqueue(named("waits"));
    switch(t, true);
    t.enqueue_err(&[named("new"), named("ended")]);
    let both = [waits.clone(), ended.clone()];
    assert!(t.store().cancel(&both, &"not wanted".into()).is_err());
    assert!(t.store().purge(&[ended, waits]).is_err());
    assert_eq!((all(t), t.store().last_event().unwrap()), (Vec::new(), 0));
    t.enqueue(job());
    assert_eq!(all(t)[0].seq, 1, "and no number is left out");
}

pub fn entries_are_read_after_a_number_and_up_to_a_limit(t: &mut Trial) {
    switch(t, true);
    t.add_all(&vec![job(); 10]);
    let numbers = |after, limit| -> Vec<u64> {
        let events = t.store().events(after, limit).unwrap();
        events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(numbers(0, 3), [1, 2, 3]);
    assert_eq!(numbers(3, 3), [4, 5, 6]);
    assert_eq!(numbers(8, 3), [9, 10]);
    assert_eq!(numbers(8, 0), [0; 0]);
    assert_eq!(numbers(10, 3), [0; 0]);
    assert_eq!(numbers(u64::MAX, usize::MAX), [0; 0]);
    assert_eq!(t.store().last_event().unwrap(), 10);
}

pub fn the_log_begins_when_it_is_turned_on(t: &mut Trial) {
    let id = t.enqueue(job());
    switch(t, true);
    assert_eq!(all(t), []);
    t.complete(&t.claim_one(t.worker()));
    let event = all(t).remove(0);
    assert_eq!((event.seq, event.id, event.from), (1, id, PENDING));
    replay(t);
}

pub fn a_log_that_is_turned_off_forgets_and_its_numbers_go_on(t: &mut Trial) {
    switch(t, true);
    t.enqueue(job());
    switch(t, false);
    assert_eq!(all(t), []);
    assert_eq!(t.store().last_event().unwrap(), 1);
    t.enqueue(job());
    switch(t, true);
    assert_eq!(all(t), []);
    t.enqueue(job());
    assert_eq!(all(t).iter().map(|event| event.seq).collect::<Vec<_>>(), [2]);
    // To its default, which is off.
    t.store().change_setting(Setting::EventLog, None).unwrap();
    assert_eq!((all(t), t.store().last_event().unwrap()), (Vec::new(), 2));
}

pub fn only_the_newest_entries_are_kept(t: &mut Trial) {
    const KEPT: usize = 30;
    switch(t, true);
    t.store().change_setting(Setting::EventLogCount, Some(&KEPT.to_string())).unwrap();
    for _ in 0..10 {
        t.add_all(&vec![job(); 700]);
        let events = all(t);
        assert!((KEPT..5_000).contains(&events.len()), "{} are kept", events.len());
        assert_eq!(events.last().map(|event| event.seq), Some(t.store().last_event().unwrap()));
        replay(t);
    }
    assert_eq!(t.store().last_event().unwrap(), 7_000);
}

pub fn every_handle_writes_and_reads_the_same_log(t: &mut Trial) {
    let Some(other) = t.another_handle() else {
        return;
    };
    other.enqueue(&[job()]).unwrap();
    switch(t, true);
    other.enqueue(&[job()]).unwrap();
    t.enqueue(job());
    assert_eq!(all(t).len(), 2);
    assert_eq!(other.events(0, 10).unwrap(), all(t));
}

pub fn entries_of_many_writers_follow_each_other(t: &mut Trial) {
    const ROUNDS: usize = 20;
    switch(t, true);
    let handles = t.two_handles();
    t.enqueue(named("taken"));
    thread::scope(|scope| {
        for handle in &handles {
            for _ in 0..4 {
                scope.spawn(|| work(handle.as_ref(), ROUNDS));
            }
        }
    });
    assert_eq!(all(t).iter().filter(|one| one.change == Change::Added).count(), 1 + 8 * ROUNDS);
    replay(t);
}

/// Adds jobs, is refused others, and ends whatever there is.
fn work(store: &dyn Store, rounds: usize) {
    let workers = super::trial::register(store, 1);
    let all = queuectl_core::store::Queues::All;
    for round in 0..rounds {
        store.enqueue(&[job().priority(round as i16 % 3)]).unwrap();
        // Of several that share a transaction, this one is undone.
        store.enqueue(&[job(), named("taken")]).unwrap_err();
        let claimed = super::trial::claim_from(store, &[], &[(workers[0], 2)], &all).claimed;
        let ends: Vec<_> = claimed
            .iter()
            .map(|one| {
                let verdict = match round % 3 {
                    0 => Verdict::Fail { retry_in: secs(0) },
                    1 => Verdict::Release,
                    _ => Verdict::Complete { result: None },
                };
                super::trial::settlement(one.lease, verdict, queuectl_core::Timestamp::MAX)
            })
            .collect();
        store.exchange(&ends, None).unwrap();
    }
}
