//! Jobs that are counted together, and waited for together.

use queuectl_core::store::{BatchCancelled, BatchInfo, Verdict};
use queuectl_core::{
    AfterBatch, Condition, JobId, Name, Needs, NewJob, Otherwise, Setting, State, StoreError,
};

use super::conditions::clear;
use super::trial::{Trial, id, name, named, secs};

fn batch_name() -> Name {
    name("batch")
}

fn member(job: &str) -> NewJob {
    named(job).batch("batch").unwrap()
}

fn follower(job: &str, on: Condition) -> NewJob {
    named(job).priority(-1).after_batch("batch", on).unwrap()
}

#[track_caller]
fn batch(t: &Trial) -> BatchInfo {
    t.store().batch(&batch_name()).unwrap().expect("there is the batch")
}

fn counts(t: &Trial) -> (u64, [u64; 3], u64) {
    let batch = batch(t);
    (batch.total, [batch.completed, batch.dead, batch.cancelled], batch.left())
}

fn close(t: &Trial, then: &[NewJob]) {
    let added = t.store().close_batch(&batch_name(), then).unwrap();
    assert_eq!(added.len(), then.len());
}

pub fn a_batch_is_made_with_its_first_job_and_takes_more(t: &mut Trial) {
    assert_eq!(t.store().batch(&batch_name()).unwrap(), None);
    let created_at = t.now();
    t.add_all(&[member("a"), member("b")]);
    t.advance(secs(5));
    t.add_all(&[member("c"), named("other")]);
    let expected = BatchInfo {
        name: batch_name(),
        created_at,
        closed_at: None,
        finished_at: None,
        total: 3,
        completed: 0,
        dead: 0,
        cancelled: 0,
    };
    assert_eq!(batch(t), expected);
    assert_eq!((batch(t).left(), batch(t).state()), (3, State::Pending));
    assert_eq!(t.job(&id("a")).batch, Some(batch_name()));
    assert_eq!(t.job(&id("other")).batch, None);
    assert_eq!(t.store().batches(9).unwrap(), [expected]);
}

pub fn the_newest_batches_are_listed_first(t: &mut Trial) {
    for batch in ["a", "c", "b"] {
        t.enqueue(named(batch).batch(batch).unwrap());
    }
    let listed = |limit| {
        let batches = t.store().batches(limit).unwrap();
        batches.iter().map(|batch| batch.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(9), ["b", "c", "a"]);
    assert_eq!(listed(2), ["b", "c"]);
}

/// Each end of a job counts, and what was taken back does not.
pub fn a_batch_counts_how_its_jobs_end(t: &mut Trial) {
    t.add_all(&[member("a"), member("b"), member("c").max_retries(0), member("d"), member("e")]);
    let worker = t.worker();
    let held = t.claim(worker, 5);
    assert_eq!(counts(t), (5, [0, 0, 0], 5));
    t.complete(&held[0]);
    t.end(&held[1], Verdict::Die);
    t.fail(&held[2], secs(0));
    t.end(&held[3], Verdict::Cancel);
    t.fail(&held[4], secs(10));
    assert_eq!(counts(t), (5, [1, 2, 1], 1));
    t.cancel(&id("e"));
    assert_eq!(counts(t), (5, [1, 2, 2], 0));
    t.retry(&id("b"));
    t.retry(&id("a"));
    assert_eq!(counts(t), (5, [0, 1, 2], 2));
    t.complete(&t.claim_one(worker));
    assert_eq!(counts(t), (5, [1, 1, 2], 1));
    assert_eq!(batch(t).finished_at, None, "it is open");
}

pub fn jobs_settled_together_are_counted(t: &mut Trial) {
    let names: Vec<_> = (0..40).map(|number| format!("job-{number}")).collect();
    t.add_all(&names.iter().map(|name| member(name)).collect::<Vec<_>>());
    close(t, &[follower("then", Condition::Success)]);
    let worker = t.worker();
    let settle: Vec<_> = t
        .claim(worker, 40)
        .iter()
        .map(|job| super::trial::settlement(job.lease, Verdict::Complete { result: None }, t.now()))
        .collect();
    let done = t.exchange(&settle, &[(worker, 1)]);
    assert_eq!(counts(t), (40, [40, 0, 0], 0));
    assert_eq!(done.claimed[0].id, id("then"), "and what follows is claimed in the same call");
}

/// What follows runs when the batch is closed and the last job has ended, not before.
pub fn what_follows_a_batch_waits_for_all_of_it(t: &mut Trial) {
    for (dies, runs) in [(false, ["end", "success"]), (true, ["end", "failure"])] {
        t.add_all(&[member("a"), member("b")]);
        let worker = t.worker();
        let held = t.claim(worker, 2);
        t.complete(&held[0]);
        close(
            t,
            &[
                follower("end", Condition::End),
                follower("success", Condition::Success),
                follower("failure", Condition::Failure),
            ],
        );
        t.claim_none(worker);
        let waits = t.job(&id("success"));
        let after = AfterBatch { batch: batch_name(), on: Condition::Success };
        assert_eq!((waits.state, waits.waits_for_batches), (State::Blocked, vec![after]));
        t.advance(secs(5));
        t.end(&held[1], if dies { Verdict::Die } else { Verdict::Complete { result: None } });
        assert_eq!(batch(t).finished_at, Some(t.now()));
        assert_eq!(t.claim_ids(worker, 9), runs);
        assert_eq!(batch(t).state(), if dies { State::Dead } else { State::Completed });
        match dies {
            true => assert_eq!(t.state(&id("success")), State::Blocked, "it waits for a retry"),
            false => {
                let reason = t.job(&id("failure")).cancel_reason.unwrap();
                assert!(reason.contains("batch batch"), "{reason:?} names the batch");
            }
        }
        t.lose_workers();
        clear(t);
    }
}

/// A retry after the end makes the batch live again; what waited for a success then gets it, and what
/// has run does not run twice.
pub fn a_batch_whose_job_is_retried_ends_again(t: &mut Trial) {
    t.add_all(&[member("a"), member("b")]);
    close(t, &[follower("success", Condition::Success), follower("end", Condition::End)]);
    let worker = t.worker();
    let held = t.claim(worker, 2);
    t.complete(&held[0]);
    t.end(&held[1], Verdict::Die);
    t.complete(&t.claim_one(worker));
    t.retry(&id("b"));
    assert_eq!((batch(t).finished_at, batch(t).state()), (None, State::Pending));
    t.complete(&t.claim_one(worker));
    assert_eq!(batch(t).state(), State::Completed);
    assert_eq!(t.claim_ids(worker, 9), ["success"]);
    assert_eq!(t.state(&id("end")), State::Completed);
    assert_eq!(t.attempts(&id("end")).len(), 1);
}

pub fn a_batch_is_closed_once(t: &mut Trial) {
    t.enqueue(member("a"));
    close(t, &[follower("then", Condition::End)]);
    let before = t.snapshot();
    let again = t.store().close_batch(&batch_name(), &[named("more")]).unwrap_err();
    assert!(matches!(again, StoreError::BatchClosed(name) if name == batch_name()));
    assert_eq!(t.snapshot(), before);
}

/// Nothing of it ends before all of it is there: not even if its first job is cancelled at once.
pub fn a_batch_is_added_and_closed_in_one_call(t: &mut Trial) {
    t.job_in(State::Dead, named("dead"));
    let vain = member("vain").after(id("dead")).otherwise(Otherwise::Cancel);
    close(t, &[vain, follower("then", Condition::Failure), member("a")]);
    assert_eq!((counts(t), batch(t).finished_at), ((2, [0, 0, 1], 1), None));
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    assert_eq!(t.claim_ids(worker, 9), ["then"]);
}

/// A job of a batch may add others to it while it runs.
pub fn a_closed_batch_takes_more_until_it_has_ended(t: &mut Trial) {
    t.enqueue(member("a"));
    close(t, &[follower("then", Condition::Success)]);
    let worker = t.worker();
    let held = t.claim_one(worker);
    t.add_all(&[member("b"), member("c")]);
    t.complete(&held);
    assert_eq!(counts(t), (3, [1, 0, 0], 2));
    let held = t.claim(worker, 9);
    assert_eq!(held.len(), 2, "what follows waits for all three");
    held.iter().for_each(|job| t.complete(job));
    assert_eq!(batch(t).finished_at, Some(t.now()));
    let before = t.snapshot();
    let late = t.enqueue_err(&[named("x"), member("d")]);
    assert!(matches!(late, StoreError::BatchEnded(name) if name == batch_name()));
    assert_eq!((t.snapshot(), counts(t).0), (before, 3));
    t.retry(&id("b"));
    t.enqueue(member("d"));
    assert_eq!(counts(t), (4, [2, 0, 0], 2), "a job of it is to run again");
}

/// Otherwise a job of the batch might wait for what waits for the batch.
pub fn a_closed_batch_takes_what_waits_for_none_but_its_own(t: &mut Trial) {
    t.add_all(&[member("a"), named("other")]);
    close(t, &[follower("then", Condition::Success)]);
    let other = named("x").batch("other").unwrap();
    t.store().close_batch(&name("other"), &[other]).unwrap();
    for refused in [
        member("b").after(id("then")),
        member("b").after(id("a")).after(id("other")),
        member("b").after_batch("other", Condition::End).unwrap(),
        member("b").after_batch("batch", Condition::End).unwrap(),
    ] {
        let error = t.enqueue_err(&[refused]);
        assert!(matches!(&error, StoreError::BatchClosed(name) if *name == batch_name()));
    }
    t.add_all(&[member("b").after(id("a")), member("c").after(id("b"))]);
    assert_eq!(counts(t).0, 3);
    t.cancel(&id("other"));
    t.enqueue(member("d").after_end(id("other")));
    assert_eq!(t.state(&id("d")), State::Pending, "what has ended is not waited for");
}

pub fn what_follows_one_batch_may_be_in_another(t: &mut Trial) {
    t.enqueue(member("a"));
    close(t, &[follower("b", Condition::Success).batch("next").unwrap()]);
    let last = named("c").after_batch("next", Condition::Success).unwrap();
    t.store().close_batch(&name("next"), &[last]).unwrap();
    let worker = t.worker();
    for expected in ["a", "b", "c"] {
        let held = t.claim(worker, 9);
        let ids: Vec<_> = held.iter().map(|job| job.id.to_string()).collect();
        assert_eq!(ids, [expected]);
        t.complete(&held[0]);
    }
}

pub fn a_refused_call_makes_and_closes_no_batch(t: &mut Trial) {
    t.enqueue_err(&[member("a"), named("b").after(id("nobody"))]);
    assert_eq!(t.store().batches(9).unwrap(), []);
    t.enqueue(member("a"));
    let refused = t.store().close_batch(&batch_name(), &[named("b").after(id("nobody"))]);
    assert!(matches!(refused, Err(StoreError::NotFound(_))));
    assert_eq!((batch(t).closed_at, batch(t).total), (None, 1));
    t.enqueue(member("c"));
}

pub fn a_batch_without_a_job_has_completed_and_goes(t: &mut Trial) {
    close(t, &[follower("then", Condition::Success), follower("waits", Condition::Failure)]);
    assert_eq!(t.state(&id("then")), State::Pending);
    assert_eq!(t.state(&id("waits")), State::Cancelled);
    assert_eq!(t.store().batches(9).unwrap(), []);
    t.job_in(State::Dead, member("a"));
    t.purge(&id("a"));
    assert_eq!(counts(t), (1, [0, 1, 0], 0), "it is open");
    close(t, &[follower("runs", Condition::Failure), follower("vain", Condition::Success)]);
    assert_eq!((t.state(&id("runs")), t.state(&id("vain"))), (State::Pending, State::Cancelled));
    let reason = t.job(&id("vain")).cancel_reason.unwrap();
    assert!(reason.contains("batch batch"), "{reason:?} names the batch");
    assert_eq!(t.store().batches(9).unwrap(), []);
}

/// A batch that is open might still get a job that waits for the waiting one.
pub fn only_a_closed_batch_can_be_waited_for(t: &mut Trial) {
    let nobody = t.enqueue_err(&[follower("then", Condition::End)]);
    assert!(matches!(nobody, StoreError::NoBatch(name) if name == batch_name()));
    t.enqueue(member("a"));
    let open = t.enqueue_err(&[follower("then", Condition::End)]);
    assert!(matches!(open, StoreError::BatchOpen(name) if name == batch_name()));
    let itself = t.enqueue_err(&[follower("then", Condition::End).batch("batch").unwrap()]);
    assert!(matches!(itself, StoreError::BatchOpen(_)), "{itself:?}");
    close(t, &[]);
    t.enqueue(follower("then", Condition::End));
    assert_eq!(t.state(&id("then")), State::Blocked);
}

pub fn a_batch_that_has_ended_decides_at_once(t: &mut Trial) {
    t.enqueue(member("a"));
    close(t, &[]);
    t.cancel(&id("a"));
    t.enqueue(follower("failure", Condition::Failure));
    t.enqueue(follower("waits", Condition::Success));
    t.enqueue(follower("vain", Condition::Success).otherwise(Otherwise::Cancel));
    t.enqueue(follower("runs", Condition::Success).otherwise(Otherwise::Run));
    let states = ["failure", "waits", "vain", "runs"].map(|job| t.state(&id(job)));
    use State::{Blocked, Cancelled, Pending};
    assert_eq!(states, [Pending, Blocked, Cancelled, Pending]);
}

pub fn a_job_may_wait_for_jobs_and_batches(t: &mut Trial) {
    t.add_all(&[member("a"), named("b")]);
    let both = |job: &str| follower(job, Condition::Success).after(id("b"));
    close(t, &[both("all"), both("any").needs(Needs::Any)]);
    let worker = t.worker();
    let held = t.claim(worker, 2);
    t.complete(&held[0]);
    assert_eq!((t.state(&id("all")), t.state(&id("any"))), (State::Blocked, State::Pending));
    t.complete(&held[1]);
    assert_eq!(t.claim_ids(worker, 9), ["all", "any"]);
}

pub fn cancelling_a_batch_cancels_what_has_not_ended(t: &mut Trial) {
    t.add_all(&[member("a"), member("b"), member("c").after(id("b")), named("other")]);
    let worker = t.worker();
    let held = t.claim(worker, 2);
    t.complete(&held[0]);
    close(t, &[follower("then", Condition::Failure)]);
    assert_eq!(cancel(t).finish(t.store().as_ref()).unwrap(), done(1, 1));
    assert_eq!(t.job(&id("c")).cancel_reason.as_deref(), Some("no more"));
    assert_eq!(counts(t), (3, [1, 0, 1], 1), "one runs, and is told");
    t.end(&held[1], Verdict::Release);
    assert_eq!((t.state(&id("b")), t.state(&id("then"))), (State::Cancelled, State::Pending));
    assert_eq!(t.state(&id("other")), State::Pending);
    assert_eq!(cancel(t).finish(t.store().as_ref()).unwrap(), done(0, 0));
    let nobody = t.store().cancel_batch(&name("nobody"), &"no more".into());
    assert!(matches!(nobody, Err(StoreError::NoBatch(_))));
}

fn cancel(t: &Trial) -> BatchCancelled {
    t.store().cancel_batch(&batch_name(), &"no more".into()).unwrap()
}

fn done(cancelled: u64, asked: u64) -> BatchCancelled {
    BatchCancelled { cancelled, asked, next: None }
}

/// More jobs than one call cancels, however many that are.
const MANY: usize = 1_200;

/// A batch of many jobs, `job-0` and so on.
fn many(t: &Trial) {
    let job = |number| member(&format!("job-{number}"));
    t.add_all(&(0..MANY).map(job).collect::<Vec<_>>());
}

fn last() -> JobId {
    id(&format!("job-{}", MANY - 1))
}

/// As soon as the first call has returned, although most may still be there to see.
pub fn no_job_of_a_cancelled_batch_is_claimed(t: &mut Trial) {
    many(t);
    t.add_all(&[named("other").priority(-1), member("late").run_at(t.now() + secs(5))]);
    let worker = t.worker();
    let running = t.claim_one(worker);
    let begun = cancel(t);
    t.advance(secs(5));
    let mut claimed = Vec::new();
    for _ in 0..100 {
        let done = t.exchange(&[], &[(worker, 1)]);
        claimed.extend(done.claimed.iter().map(|job| job.id.clone()));
        if done.claimed.is_empty() && done.next_due != Some(secs(0)) {
            break;
        }
    }
    assert_eq!(claimed, [id("other")]);
    let all = begun.finish(t.store().as_ref()).unwrap();
    assert_eq!(all, done(MANY as u64, 1), "whoever has cancelled them");
    assert_eq!(t.job(&last()).cancel_reason.as_deref(), Some("no more"));
    t.end(&running, Verdict::Fail { retry_in: secs(0) });
    assert_eq!(counts(t), (MANY as u64 + 1, [0, 0, MANY as u64 + 1], 0));
}

/// Whatever is done to one of its jobs after the first call has returned comes after its cancelling.
pub fn what_is_done_to_a_job_of_a_cancelled_batch_comes_after_that(t: &mut Trial) {
    many(t);
    t.add_all(&["again", "gone", "parent"].map(member));
    t.add_all(&[member("dead").priority(1), member("keyed").unique_key("key").unwrap()]);
    let worker = t.worker();
    t.end(&t.claim_one(worker), Verdict::Die);
    let begun = cancel(t);
    t.retry(&id("again"));
    t.retry(&id("dead"));
    let refused = t.store().cancel(&[last()], &"me too".into());
    assert!(matches!(refused, Err(StoreError::WrongState { .. })), "{refused:?}");
    t.purge(&id("gone"));
    t.enqueue(member("new"));
    t.enqueue(named("after").after_end(id("parent")));
    assert!(t.add(named("same").unique_key("key").unwrap()).created);
    begun.finish(t.store().as_ref()).unwrap();
    for job in ["again", "dead", "new", "after", "same"] {
        assert_eq!(t.state(&id(job)), State::Pending, "{job}");
    }
    let reasons = [last(), id("keyed"), id("parent")].map(|job| t.job(&job).cancel_reason);
    assert_eq!(reasons, [(); 3].map(|()| Some("no more".to_owned())));
    let many = MANY as u64;
    assert_eq!(counts(t), (many + 6, [0, 0, many + 3], 3));
}

/// Whoever began with it may die.
pub fn somebody_else_finishes_the_cancelling_of_a_batch(t: &mut Trial) {
    many(t);
    close(t, &[follower("then", Condition::Failure)]);
    drop(cancel(t));
    t.reopen();
    for _ in 0..100 {
        t.store().expire().unwrap();
    }
    assert!(!t.store().go_on().unwrap(), "nothing is left");
    assert_eq!(counts(t), (MANY as u64, [0, 0, MANY as u64], 0));
    assert_eq!(t.state(&id("then")), State::Pending);
    assert_eq!(cancel(t).finish(t.store().as_ref()).unwrap(), done(0, 0));
}

/// A job that is deleted counts as it ended. A batch that has ended goes with the last of them.
pub fn a_batch_goes_with_the_last_of_its_jobs(t: &mut Trial) {
    t.add_all(&[member("a"), member("b")]);
    t.cancel(&id("a"));
    t.cancel(&id("b"));
    t.purge(&id("a"));
    assert_eq!(counts(t), (2, [0, 0, 2], 0));
    close(t, &[follower("waits", Condition::Success), follower("runs", Condition::End)]);
    assert_eq!(t.state(&id("waits")), State::Blocked);
    t.purge(&id("b"));
    assert_eq!(t.store().batch(&batch_name()).unwrap(), None);
    assert_eq!(t.state(&id("waits")), State::Cancelled, "it would wait for ever");
    assert_eq!(t.state(&id("runs")), State::Pending);
    t.enqueue(member("c"));
    assert_eq!(batch(t).total, 1, "the name is free");
}

/// Nobody will close it. One that has a job, or is young, may still get others.
pub fn an_open_batch_without_a_job_goes_with_retention(t: &mut Trial) {
    let of = |job: &str, batch: &str| named(job).batch(batch).unwrap();
    t.add_all(&[member("a"), of("b", "kept"), of("c", "closed")]);
    t.store().close_batch(&name("closed"), &[]).unwrap();
    t.cancel(&id("a"));
    let prune = |t: &Trial| (0..9).for_each(|_| drop(t.store().prune()));
    let listed = |t: &Trial| -> Vec<_> {
        t.store().batches(9).unwrap().iter().map(|batch| batch.name.to_string()).collect()
    };
    t.advance(secs(7200));
    prune(t);
    assert_eq!(listed(t), ["closed", "kept", "batch"], "all is kept");
    t.store().change_setting(Setting::RetentionCompleted, Some("1h")).unwrap();
    t.enqueue(of("d", "young"));
    t.cancel(&id("d"));
    t.purge(&id("d"));
    prune(t);
    assert_eq!(listed(t), ["young", "closed", "kept"]);
    t.enqueue(member("e"));
    assert_eq!(counts(t), (1, [0, 0, 0], 1), "the name is free");
    t.advance(secs(7200));
    prune(t);
    assert_eq!(listed(t), ["batch", "closed", "kept"]);
}

pub fn what_is_cancelled_at_once_counts_in_its_batch(t: &mut Trial) {
    t.job_in(State::Dead, named("dead"));
    t.enqueue(member("vain").after(id("dead")).otherwise(Otherwise::Cancel));
    assert_eq!(counts(t), (1, [0, 0, 1], 0));
    t.enqueue(member("keyed").unique_key("key").unwrap());
    let again = t.add(member("again").unique_key("key").unwrap());
    assert!(!again.created);
    assert_eq!(batch(t).total, 2, "a job that is not added is in no batch");
}
