//! Jobs that wait for other jobs.

use std::collections::BTreeSet;

use queuectl_core::store::Verdict;
use queuectl_core::{After, Needs, NewJob, Otherwise, State, StoreError};

use super::trial::{Trial, all_jobs, id, job, named, secs, settlement};

pub(super) fn after(child: &str, parents: &[&str]) -> NewJob {
    let new = named(child).priority(-1);
    parents.iter().fold(new, |new, parent| new.after(id(parent)))
}

pub(super) fn waits_for(t: &Trial, child: &str) -> Vec<String> {
    let mut ids: Vec<_> =
        t.job(&id(child)).waits_for.iter().map(|after| after.job.to_string()).collect();
    ids.sort();
    ids
}

pub fn a_job_waits_until_its_parent_has_completed(t: &mut Trial) {
    let parent = t.enqueue(job());
    let child = t.enqueue(job().priority(9).after(parent.clone()));
    assert_eq!(t.job(&child).state, State::Blocked);
    assert_eq!(t.job(&child).waits_for, [After::from(parent.clone())]);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    assert_eq!(claimed.id, parent);
    t.claim_none(worker);
    t.advance(secs(5));
    t.complete(&claimed);
    let kept = t.job(&child);
    assert_eq!((kept.state, kept.waits_for), (State::Pending, vec![]));
    assert_eq!((kept.attempts, kept.updated_at), (0, t.now()));
    assert_eq!(t.claim_one(worker).id, child);
}

pub fn a_job_waits_for_the_last_of_its_parents(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c"), after("child", &["a", "b", "c"])]);
    let worker = t.worker();
    let held = t.claim(worker, 3);
    assert_eq!(waits_for(t, "child"), ["a", "b", "c"]);
    t.complete(&held[1]);
    assert_eq!(waits_for(t, "child"), ["a", "c"]);
    t.complete(&held[2]);
    t.claim_none(worker);
    assert_eq!(t.state(&id("child")), State::Blocked);
    t.complete(&held[0]);
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

pub fn parents_that_complete_in_one_call_free_their_child(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), after("child", &["a", "b"])]);
    let worker = t.worker();
    let settle: Vec<_> = t
        .claim(worker, 2)
        .iter()
        .map(|job| settlement(job.lease, Verdict::Complete { result: None }, t.now()))
        .collect();
    let done = t.exchange(&settle, &[(worker, 1)]);
    assert_eq!(done.claimed.len(), 1, "and it is claimed in the same call");
    assert_eq!(done.claimed[0].id, id("child"));
}

pub fn a_parent_that_has_completed_does_not_block(t: &mut Trial) {
    t.job_in(State::Completed, named("done"));
    t.enqueue(named("open"));
    t.enqueue(after("free", &["done"]));
    t.enqueue(after("waits", &["done", "open"]));
    assert_eq!(t.state(&id("free")), State::Pending);
    assert_eq!(t.state(&id("waits")), State::Blocked);
    assert_eq!(waits_for(t, "waits"), ["open"]);
}

pub fn a_parent_in_any_other_state_blocks(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| *state != State::Completed) {
        let parent = t.job_in(state, job().queue(state.as_str()).unwrap());
        let child = t.enqueue(job().after(parent.clone()));
        assert_eq!(t.state(&child), State::Blocked, "by a {state} job");
        assert_eq!(t.job(&child).waits_for, [After::from(parent)]);
    }
}

pub fn parents_may_stand_earlier_in_the_batch(t: &mut Trial) {
    t.add_all(&[
        named("root"),
        after("left", &["root"]),
        after("right", &["root"]),
        after("end", &["left", "right"]),
    ]);
    let worker = t.worker();
    for expected in [&["root"][..], &["left", "right"], &["end"]] {
        let held = t.claim(worker, 9);
        let ids: Vec<_> = held.iter().map(|job| job.id.to_string()).collect();
        assert_eq!(ids, expected);
        for job in &held {
            t.complete(job);
        }
    }
}

pub fn a_parent_that_is_not_there_undoes_the_batch(t: &mut Trial) {
    for batch in [
        &[named("a"), after("b", &["nobody"])][..],
        &[named("a"), after("b", &["later"]), named("later")],
    ] {
        let error = t.enqueue_err(batch);
        assert!(matches!(error, StoreError::NotFound(_)), "{error:?}");
        assert_eq!(all_jobs(t.store().as_ref()), []);
    }
    let gone = t.job_in(State::Completed, named("gone"));
    t.purge(&gone);
    let error = t.enqueue_err(&[after("child", &["gone"])]);
    assert!(matches!(error, StoreError::NotFound(missing) if missing == gone));
}

pub fn a_job_cannot_wait_for_itself(t: &mut Trial) {
    let error = t.enqueue_err(&[named("other"), after("self", &["other", "self"])]);
    assert!(matches!(error, StoreError::Cycle(of) if of == id("self")));
    assert_eq!(all_jobs(t.store().as_ref()), []);
}

pub fn a_parent_named_twice_counts_once(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent", "parent"])]);
    assert_eq!(waits_for(t, "child"), ["parent"]);
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

pub fn a_parent_that_fails_or_is_lost_keeps_its_child_waiting(t: &mut Trial) {
    t.add_all(&[named("parent").max_retries(9), after("child", &["parent"])]);
    let worker = t.worker();
    let ends = [
        Verdict::Fail { retry_in: secs(0) },
        Verdict::Snooze { wake_in: secs(0) },
        Verdict::Release,
    ];
    for verdict in ends {
        t.end(&t.claim_one(worker), verdict.clone());
        assert_eq!(t.state(&id("child")), State::Blocked, "{verdict:?}");
    }
    t.claim_one(worker);
    t.lose_workers();
    assert_eq!(t.state(&id("child")), State::Blocked);
}

/// A parent that died or was cancelled may be run again, and its child then runs after it.
pub fn a_parent_that_is_run_again_frees_its_child(t: &mut Trial) {
    for end in [Verdict::Die, Verdict::Cancel] {
        let parent = t.enqueue(job());
        let child = t.enqueue(job().after(parent.clone()));
        let worker = t.worker();
        t.end(&t.claim_one(worker), end);
        assert_eq!(t.state(&child), State::Blocked);
        t.advance(secs(100_000));
        t.rescue();
        let worker = t.worker();
        t.claim_none(worker);
        t.retry(&parent);
        t.complete(&t.claim_one(worker));
        t.complete(&t.claim_one(worker));
        assert_eq!(t.state(&child), State::Completed);
    }
}

/// What was freed stays free: running a completed parent again is about that job alone.
pub fn a_completed_parent_that_is_run_again_does_not_block(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent"])]);
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    t.retry(&id("parent"));
    assert_eq!(t.state(&id("child")), State::Pending);
    assert_eq!(waits_for(t, "child"), [""; 0]);
    t.end(&t.claim_one(worker), Verdict::Die);
    t.purge(&id("parent"));
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

/// A child that had waited for one parent as well as another, and is then run again, does not wait
/// for either: an operator has said "now".
pub fn a_waiting_job_that_was_cancelled_runs_when_it_is_retried(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent"])]);
    t.cancel(&id("child"));
    t.retry(&id("child"));
    assert_eq!(t.state(&id("child")), State::Pending);
    assert_eq!(waits_for(t, "child"), [""; 0]);
    let worker = t.worker();
    assert_eq!(t.claim_ids(worker, 9), ["parent", "child"]);
}

/// The completion of a parent must not wake a child that has been cancelled meanwhile.
pub fn a_cancelled_job_is_not_freed_by_its_parent(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent"])]);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.cancel(&id("child"));
    t.complete(&claimed);
    assert_eq!(t.state(&id("child")), State::Cancelled);
    t.claim_none(worker);
}

/// Its moment came while it was blocked, and it was found so when its parent completed. That the wall
/// clock was set back after that makes it wait no more.
pub fn a_job_that_was_due_when_it_was_freed_stays_due(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent"]).run_at(t.now() + secs(10))]);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.advance(secs(20));
    t.complete(&claimed);
    t.clock().step_wall(-60_000);
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

/// A claim looks at what may be claimed. The reference store looked at what was blocked as well, and
/// ran it before its moment when the wall clock was set back.
pub fn a_claim_finds_no_waiting_job_due(t: &mut Trial) {
    t.add_all(&[named("parent"), after("child", &["parent"]).run_at(t.now() + secs(10))]);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.advance(secs(20));
    t.claim_none(worker);
    t.clock().step_wall(-20_000);
    t.complete(&claimed);
    t.claim_none(worker);
    t.advance(secs(10));
    assert_eq!(t.claim_ids(worker, 9), ["child"]);
}

pub fn the_delay_of_a_waiting_job_counts_from_its_enqueueing(t: &mut Trial) {
    t.add_all(&[
        named("parent"),
        after("soon", &["parent"]).delay(secs(10)),
        after("later", &["parent"]).delay(secs(60)),
        after("moment", &["parent"]).run_at(t.now() + secs(50)),
    ]);
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.advance(secs(20));
    let settle = [settlement(claimed.lease, Verdict::Complete { result: None }, t.now())];
    let done = t.exchange(&settle, &[(worker, 9)]);
    assert_eq!(done.claimed.len(), 1);
    assert_eq!(done.claimed[0].id, id("soon"));
    assert_eq!(done.next_due, Some(secs(30)));
    assert_eq!(t.state(&id("later")), State::Pending);
    t.advance(secs(30));
    assert_eq!(t.claim_ids(worker, 9), ["moment"]);
    t.advance(secs(10));
    assert_eq!(t.claim_ids(worker, 9), ["later"]);
}

/// More dependents than one call tells, however many that are.
const MANY: usize = 1_200;

/// Adds many jobs, made from what their names begin with and a number.
fn many(t: &Trial, first: &str, job: impl Fn(NewJob) -> NewJob) {
    let job = |number| job(named(&format!("{first}-{number}")));
    t.add_all(&(0..MANY).map(job).collect::<Vec<_>>());
}

/// The states of all of these, if they are in one.
#[track_caller]
fn all_are(t: &Trial, first: &str, expected: State) {
    for number in [0, 1, MANY / 2, MANY - 2, MANY - 1] {
        let job = id(&format!("{first}-{number}"));
        assert_eq!(t.state(&job), expected, "{job}");
    }
    let jobs = all_jobs(t.store().as_ref());
    let these = jobs.iter().filter(|job| job.id.to_string().starts_with(first));
    assert_eq!(these.filter(|job| job.state == expected).count(), MANY);
}

fn go_on(t: &Trial) {
    assert!((0..1_000).any(|_| !t.store().go_on().unwrap()), "it comes to an end");
}

/// A claim that finds nothing, because it has not been told to all of them, says that there is more.
pub fn many_children_are_freed_by_those_who_claim(t: &mut Trial) {
    t.enqueue(named("parent"));
    many(t, "child", |child| child.after(id("parent")));
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    let mut claimed = BTreeSet::new();
    loop {
        let done = t.exchange(&[], &[(worker, 400)]);
        if done.claimed.is_empty() && done.next_due != Some(secs(0)) {
            break;
        }
        claimed.extend(done.claimed.iter().map(|job| job.id.to_string()));
    }
    assert_eq!(claimed.len(), MANY);
    assert!(!t.store().go_on().unwrap(), "nothing is left");
}

/// Nobody forgets those that have not been told: not if everyone dies.
pub fn many_children_are_freed_after_a_crash(t: &mut Trial) {
    t.enqueue(named("parent"));
    many(t, "child", |child| child.after_failure(id("parent")));
    t.cancel(&id("parent"));
    t.reopen();
    for _ in 0..1_000 {
        t.store().expire().unwrap();
    }
    all_are(t, "child", State::Pending);
}

/// Each of them ends the next: what is cancelled on the way is bounded as well.
pub fn a_long_chain_is_cancelled_to_its_end(t: &mut Trial) {
    t.enqueue(named("parent"));
    let link = |number: usize| match number {
        0 => named("link-0").after(id("parent")).otherwise(Otherwise::Cancel),
        _ => {
            let before = format!("link-{}", number - 1);
            named(&format!("link-{number}")).after(id(&before)).otherwise(Otherwise::Cancel)
        }
    };
    t.add_all(&(0..MANY).map(link).collect::<Vec<_>>());
    t.cancel(&id("parent"));
    go_on(t);
    all_are(t, "link", State::Cancelled);
    let reason = t.job(&id("link-1199")).cancel_reason.unwrap();
    assert!(reason.contains("link-1198"), "{reason:?} names its parent");
}

/// What waits for a failure has got it, although the job was deleted before all had heard.
pub fn a_parent_may_be_deleted_before_all_have_heard_of_its_end(t: &mut Trial) {
    t.enqueue(named("parent"));
    many(t, "child", |child| child.after_failure(id("parent")));
    t.cancel(&id("parent"));
    t.purge(&id("parent"));
    go_on(t);
    all_are(t, "child", State::Pending);
}

/// What waits for a failure has got it, although the job was retried and deleted before all had heard.
pub fn each_end_of_a_parent_is_heard_in_its_turn(t: &mut Trial) {
    t.enqueue(named("parent"));
    many(t, "success", |child| child.after(id("parent")));
    many(t, "failure", |child| child.after_failure(id("parent")));
    let any = |child: NewJob| {
        child.after(id("parent")).after(id("open")).needs(Needs::Any).otherwise(Otherwise::Cancel)
    };
    t.enqueue(named("open").run_at(t.now() + secs(99)));
    many(t, "any", any);
    t.cancel(&id("parent"));
    t.retry(&id("parent"));
    t.enqueue(named("late").after_failure(id("parent")));
    go_on(t);
    all_are(t, "failure", State::Pending);
    all_are(t, "success", State::Blocked);
    assert_eq!(t.state(&id("late")), State::Blocked, "it is to run again");
    assert_eq!(waits_for(t, "any-1199").len(), 2, "it counts again");
    t.cancel(&id("parent"));
    t.purge(&id("parent"));
    go_on(t);
    assert_eq!(t.state(&id("late")), State::Pending);
    all_are(t, "success", State::Cancelled);
    let reason = t.job(&id("success-1199")).cancel_reason.unwrap();
    assert!(reason.contains("job parent") && reason.contains("deleted"), "{reason:?}");
    all_are(t, "any", State::Blocked);
    assert_eq!(waits_for(t, "any-1199"), ["open"]);
}

/// What waits for a job that is deleted without having completed would wait for ever.
pub fn purging_a_parent_cancels_what_waits_for_it(t: &mut Trial) {
    for state in [State::Dead, State::Cancelled] {
        let names = ["parent", "child", "grandchild"].map(|name| format!("{name}-of-{state}"));
        t.job_in(state, named(&names[0]));
        t.enqueue(named("other"));
        t.enqueue(after(&names[1], &[&names[0], "other"]));
        t.enqueue(after(&names[2], &[&names[1]]));
        t.advance(secs(5));
        t.purge(&id(&names[0]));
        let child = t.job(&id(&names[1]));
        assert_eq!(child.state, State::Cancelled);
        assert_eq!(child.finished_at, Some(t.now()));
        let reason = child.cancel_reason.unwrap();
        assert!(reason.contains(&names[0]), "{reason:?} names the job that is gone");
        assert_eq!(t.state(&id(&names[2])), State::Blocked, "its parent can be retried");
        t.cancel(&id("other"));
        t.purge(&id("other"));
    }
}

pub fn purging_a_completed_parent_changes_nothing_for_its_child(t: &mut Trial) {
    t.job_in(State::Completed, named("done"));
    t.enqueue(after("free", &["done"]));
    t.enqueue(named("open").queue("elsewhere").unwrap());
    t.enqueue(after("waits", &["done", "open"]));
    t.purge(&id("done"));
    assert_eq!(t.state(&id("free")), State::Pending);
    assert_eq!(t.state(&id("waits")), State::Blocked);
    assert_eq!(waits_for(t, "waits"), ["open"]);
}

pub fn pruning_a_parent_cancels_what_waits_for_it(t: &mut Trial) {
    t.store().change_setting(queuectl_core::Setting::RetentionDead, Some("1h")).unwrap();
    t.job_in(State::Dead, named("parent"));
    t.enqueue(after("child", &["parent"]));
    t.advance(secs(7200));
    let pruned: u64 = (0..20).map(|_| t.store().prune().unwrap()).sum();
    assert_eq!(pruned, 1);
    assert_eq!(t.state(&id("child")), State::Cancelled);
}
