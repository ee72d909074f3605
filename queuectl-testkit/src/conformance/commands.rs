//! What people do to jobs: cancel, retry, purge and prune.

use std::time::Duration;

use queuectl_core::store::{Cancelled, JobQuery, Progress, Remark, Verdict};
use queuectl_core::{
    Cause, Event, JobId, JobKey, Otherwise, RefusedTransition, Report, Setting, State, StoreError,
    Token,
};

use super::trial::{Trial, all_jobs, id, job, json, name, named, of_kind, reported, secs};

const DAY: std::time::Duration = secs(86_400);

/// The error says which job is in which state, and what it refused.
fn assert_wrong_state(error: &StoreError, id: &JobId, state: State, event: Event) {
    let expected = RefusedTransition { state, event };
    assert!(
        matches!(error, StoreError::WrongState { id: of, refused } if of == id && *refused == expected),
        "{error:?}"
    );
}

pub fn a_waiting_job_is_cancelled_at_once(t: &mut Trial) {
    for state in [State::Pending, State::Blocked, State::Failed] {
        let id = t.job_in(state, job());
        t.advance(secs(1));
        let done = t.store().cancel(std::slice::from_ref(&id), &"obsolete".into()).unwrap();
        assert_eq!(done, [Cancelled::Now]);
        let kept = t.job(&id);
        assert_eq!(kept.state, State::Cancelled);
        assert_eq!(kept.cancel_reason.as_deref(), Some("obsolete"));
        assert_eq!((kept.finished_at, kept.updated_at), (Some(t.now()), t.now()));
    }
    t.advance(2 * DAY);
    t.claim_none(t.worker());
}

pub fn a_running_job_is_marked_and_runs_on(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    for _ in 0..2 {
        let done = t.store().cancel(std::slice::from_ref(&id), &"obsolete".into()).unwrap();
        assert_eq!(done, [Cancelled::Requested]);
    }
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.worker), (State::Processing, Some(worker)));
    assert_eq!(kept.cancel_reason.as_deref(), Some("obsolete"));
    assert_eq!(kept.finished_at, None);
    t.end(&claimed, Verdict::Cancel);
    assert_eq!(t.state(&id), State::Cancelled);
}

/// Whatever the worker makes of it, a job that was to be cancelled does not run again.
pub fn a_marked_job_is_cancelled_by_every_end_but_completion(t: &mut Trial) {
    let ends = [
        Verdict::Cancel,
        Verdict::Fail { retry_in: secs(5) },
        Verdict::Die,
        Verdict::Snooze { wake_in: secs(5) },
        Verdict::Release,
    ];
    for retries in [0, 3] {
        for verdict in &ends {
            let id = t.enqueue(job().max_retries(retries));
            let claimed = t.claim_one(t.worker());
            t.cancel(&id);
            t.end(&claimed, verdict.clone());
            let kept = t.job(&id);
            assert_eq!(kept.state, State::Cancelled, "{verdict:?}");
            assert_eq!(kept.cancel_reason.as_deref(), Some("not wanted"));
            assert_eq!(kept.finished_at, Some(t.now()));
        }
    }
    t.advance(secs(60));
    t.claim_none(t.worker());
}

pub fn a_marked_job_that_completes_is_completed(t: &mut Trial) {
    let id = t.enqueue(job());
    let child = t.enqueue(job().after(id.clone()));
    let claimed = t.claim_one(t.worker());
    t.cancel(&id);
    let result = Some(json("7"));
    t.end(&claimed, Verdict::Complete { result: result.clone() });
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.result), (State::Completed, result));
    assert_eq!(kept.cancel_reason, None, "it was not cancelled, and is not going to be");
    assert_eq!(t.state(&child), State::Pending);
}

pub fn a_job_that_has_ended_cannot_be_cancelled(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let id = t.job_in(state, job());
        let before = t.snapshot();
        let error = t.store().cancel(std::slice::from_ref(&id), &"late".into()).unwrap_err();
        assert_wrong_state(&error, &id, state, Event::Cancel);
        assert_eq!(t.snapshot(), before);
    }
}

pub fn jobs_are_cancelled_all_or_none(t: &mut Trial) {
    t.add_all(&[named("a"), named("runs").priority(1), named("c")]);
    let ended = t.job_in(State::Completed, named("ended").priority(2));
    let claimed = t.claim_one(t.worker());
    assert_eq!(claimed.id, id("runs"));
    let before = t.snapshot();
    let error = t.store().cancel(&[id("a"), id("nobody"), id("c")], &"x".into()).unwrap_err();
    assert!(matches!(error, StoreError::NotFound(missing) if missing == id("nobody")));
    assert_eq!(t.snapshot(), before);
    let error = t.store().cancel(&[id("a"), id("runs"), ended.clone()], &"x".into()).unwrap_err();
    assert_wrong_state(&error, &ended, State::Completed, Event::Cancel);
    assert_eq!(t.snapshot(), before);
    let done = t.store().cancel(&[id("c"), id("runs"), id("a")], &"x".into()).unwrap();
    assert_eq!(done, [Cancelled::Now, Cancelled::Requested, Cancelled::Now]);
    assert_eq!(t.store().cancel(&[], &"x".into()).unwrap(), []);
}

/// What a failed job said of its progress is its own still: no new generation begins. A store forgot
/// it, as it must for a job that had ended.
pub fn a_failed_job_keeps_its_progress_when_it_is_retried(t: &mut Trial) {
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    let value = json("7");
    let note = Progress { lease: claimed.lease, value: value.clone() };
    assert_eq!(t.store().progress(&[note]).unwrap(), []);
    t.fail(&claimed, secs(100));
    t.retry(&id);
    assert_eq!(t.job(&id).progress, Some(value));
}

/// `queuectl cancel q1 q1` was refused because q1 is cancelled, and q1 was not cancelled.
pub fn a_job_that_is_named_twice_is_meant_once(t: &mut Trial) {
    t.add_all(&[named("a"), named("b")]);
    t.claim_one(t.worker());
    let twice = [id("a"), id("b"), id("a"), id("b")];
    let (requested, now) = (Cancelled::Requested, Cancelled::Now);
    assert_eq!(t.store().cancel(&twice, &"why".into()).unwrap(), [requested, now, requested, now]);
    t.lose_workers();
    t.store().retry(&twice).unwrap();
    assert_eq!([t.state(&id("a")), t.state(&id("b"))], [State::Pending; 2]);
    t.store().cancel(&twice, &"why".into()).unwrap();
    t.store().purge(&twice).unwrap();
    assert!(all_jobs(t.store().as_ref()).is_empty());
}

/// The worker may have been told the first one by now.
pub fn of_several_reasons_the_first_one_stands(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    for reason in ["first", "second"] {
        t.store().cancel(std::slice::from_ref(&id), &reason.into()).unwrap();
        let orders = t.store().orders(&[worker]).unwrap();
        assert_eq!(orders.cancel, [(claimed.lease, "first".to_owned())]);
    }
}

/// Who asked is told together with the reason: it is not one's reason and another's name.
pub fn who_cancelled_a_job_is_kept_with_the_reason(t: &mut Trial) {
    let by = |text, by| Remark { text, by };
    let cancel = |t: &Trial, id: &JobId, remark| {
        t.store().cancel(std::slice::from_ref(id), &remark).unwrap();
        let kept = t.job(id);
        (kept.cancel_reason.unwrap_or_default(), kept.cancelled_by)
    };
    let ada = || Some("ada@desk".to_owned());
    for state in [State::Pending, State::Blocked, State::Failed] {
        let id = t.job_in(state, job().queue(state.as_str()).unwrap());
        assert_eq!(cancel(t, &id, by("late", Some("ada@desk"))), ("late".to_owned(), ada()));
        let other = t.job_in(state, job().queue(state.as_str()).unwrap());
        assert_eq!(cancel(t, &other, "late".into()), ("late".to_owned(), None));
    }
    let worker = t.worker();
    for (first, expected) in [(Some("ada@desk"), ada()), (None, None)] {
        let id = t.enqueue(job().priority(1));
        let claimed = t.claim_one(worker);
        assert_eq!(cancel(t, &id, by("first", first)), ("first".to_owned(), expected.clone()));
        let second = cancel(t, &id, by("second", Some("grace@desk")));
        assert_eq!(second, ("first".to_owned(), expected.clone()));
        assert_eq!(t.store().orders(&[worker]).unwrap().cancel.len(), 1);
        t.fail(&claimed, secs(5));
        let kept = t.job(&id);
        assert_eq!((kept.state, kept.cancelled_by), (State::Cancelled, expected));
    }
}

/// Also of a job that completed before it was stopped: the next who cancels it is another.
pub fn who_cancelled_a_job_is_forgotten_with_the_reason(t: &mut Trial) {
    let ada = Remark { text: "late", by: Some("ada@desk") };
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    t.store().cancel(std::slice::from_ref(&id), &ada).unwrap();
    t.complete(&claimed);
    assert_eq!(t.job(&id).cancelled_by, None, "it was not cancelled");
    t.retry(&id);
    assert_eq!(t.job(&id).cancelled_by, None);
    t.cancel(&id);
    let kept = t.job(&id);
    assert_eq!((kept.cancel_reason.as_deref(), kept.cancelled_by), (Some("not wanted"), None));
    t.retry(&id);
    t.store().cancel(std::slice::from_ref(&id), &ada).unwrap();
    let child = t.enqueue(of_kind("never").after(id.clone()).otherwise(Otherwise::Cancel));
    assert_eq!(t.job(&child).cancelled_by, None, "nobody cancelled that one");
    t.retry(&id);
    assert_eq!((t.state(&id), t.job(&id).cancelled_by), (State::Pending, None));
}

pub fn a_failed_job_is_retried_without_its_delay(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(3));
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    let report = Report::failure(Cause::Failed, "no route");
    let fail = Verdict::Fail { retry_in: secs(100) };
    assert_eq!(t.settle(&[reported(claimed.lease, fail, t.now(), report)]), []);
    t.advance(secs(10));
    t.retry(&id);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.attempts, kept.max_attempts), (State::Pending, 1, 4));
    assert_eq!(kept.run_at, t.now());
    assert_eq!(kept.last_error.as_deref(), Some("no route"));
    let again = t.claim_one(worker);
    assert_eq!((again.attempt, again.lease.token), (2, Token(2)));
}

pub fn a_job_that_has_ended_is_retried_as_a_new_generation(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let id = t.job_in(state, job().max_retries(1));
        let history = t.attempts(&id);
        let token = t.job(&id).token;
        t.advance(secs(10));
        t.retry(&id);
        let kept = t.job(&id);
        assert_eq!((kept.state, kept.attempts, kept.max_attempts), (State::Pending, 0, 2));
        assert_eq!((kept.token, kept.run_at, kept.updated_at), (token, t.now(), t.now()));
        assert_eq!((&kept.finished_at, &kept.cancel_reason, &kept.result), (&None, &None, &None));
        assert_eq!(t.attempts(&id), history, "the history of a {state} job stays");
        let worker = t.worker();
        for n in 1..=2 {
            let claimed = t.claim_one(worker);
            assert_eq!((claimed.id.clone(), claimed.attempt), (id.clone(), n));
            assert_eq!(claimed.lease.token, Token(token.0 + i64::from(n)));
            t.fail(&claimed, secs(0));
        }
        assert_eq!(t.state(&id), State::Dead, "with all its attempts");
        assert_eq!(t.attempts(&id)[..history.len()], history);
    }
}

pub fn a_result_and_progress_belong_to_their_generation(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    for text in ["1", "2"] {
        let claimed = t.claim_one(worker);
        let note = Progress { lease: claimed.lease, value: json(text) };
        assert_eq!(t.store().progress(&[note]).unwrap(), []);
        let result = Some(json(text));
        t.end(&claimed, Verdict::Complete { result });
        let kept = t.job(&id);
        assert_eq!((kept.result, kept.progress), (Some(json(text)), Some(json(text))));
        t.retry(&id);
        let kept = t.job(&id);
        assert_eq!((kept.result, kept.progress), (None, None));
    }
}

pub fn a_retried_job_is_not_cancelled_for_the_old_reason(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.cancel(&id);
    t.end(&claimed, Verdict::Release);
    t.retry(&id);
    let claimed = t.claim_one(worker);
    assert_eq!(t.store().orders(&[worker]).unwrap().cancel, []);
    t.fail(&claimed, secs(5));
    assert_eq!(t.state(&id), State::Failed);
}

pub fn a_job_that_waits_or_runs_cannot_be_retried(t: &mut Trial) {
    for state in [State::Pending, State::Blocked, State::Processing] {
        let id = t.job_in(state, job().queue(state.as_str()).unwrap());
        let before = t.snapshot();
        let error = t.store().retry(std::slice::from_ref(&id)).unwrap_err();
        assert_wrong_state(&error, &id, state, Event::Retry);
        assert_eq!(t.snapshot(), before);
    }
}

pub fn jobs_are_retried_all_or_none(t: &mut Trial) {
    let dead = t.job_in(State::Dead, named("dead"));
    let failed = t.job_in(State::Failed, named("failed"));
    let pending = t.job_in(State::Pending, named("pending"));
    let before = t.snapshot();
    let ids = [dead.clone(), pending.clone(), failed.clone()];
    let error = t.store().retry(&ids).unwrap_err();
    assert_wrong_state(&error, &pending, State::Pending, Event::Retry);
    let error = t.store().retry(&[dead.clone(), id("nobody")]).unwrap_err();
    assert!(matches!(error, StoreError::NotFound(missing) if missing == id("nobody")));
    assert_eq!(t.snapshot(), before);
    t.store().retry(&[dead.clone(), failed.clone()]).unwrap();
    assert_eq!([t.state(&dead), t.state(&failed)], [State::Pending; 2]);
}

pub fn a_job_whose_unique_key_another_has_by_now_is_not_retried(t: &mut Trial) {
    let keyed = |id| named(id).unique_key("key").unwrap();
    let first = t.job_in(State::Dead, keyed("first"));
    let other = t.job_in(State::Dead, named("other"));
    let second = t.enqueue(keyed("second"));
    let before = t.snapshot();
    let error = t.store().retry(&[other, first.clone()]).unwrap_err();
    assert!(
        matches!(&error, StoreError::UniqueKeyTaken { id, by } if (id, by) == (&first, &second)),
        "{error:?}"
    );
    assert_eq!(t.snapshot(), before);
    t.cancel(&second);
    t.retry(&first);
    assert!(!t.add(keyed("third")).created, "it lives, and has its key again");
}

pub fn two_jobs_of_one_unique_key_are_not_retried_together(t: &mut Trial) {
    let keyed = |id| named(id).unique_key("key").unwrap();
    let first = t.job_in(State::Cancelled, keyed("first"));
    let second = t.job_in(State::Cancelled, keyed("second"));
    let before = t.snapshot();
    let error = t.store().retry(&[first, second]).unwrap_err();
    assert!(matches!(error, StoreError::UniqueKeyTaken { .. }), "{error:?}");
    assert_eq!(t.snapshot(), before);
}

/// A failed job lives and has its key; retrying it must not mistake it for another.
pub fn a_failed_job_keeps_its_unique_key_when_it_is_retried(t: &mut Trial) {
    let id = t.job_in(State::Failed, job().unique_key("key").unwrap());
    t.retry(&id);
    assert_eq!(t.state(&id), State::Pending);
}

/// Days pass, workers come and look, the dead are searched for: an ended job stays what it is.
pub fn terminal_is_final_without_an_operator(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        t.job_in(state, job().delay(secs(0)));
    }
    let before = t.snapshot();
    for step in [0, -86_400_000_000, 86_400_000_000] {
        t.advance(100 * DAY);
        t.clock().step_wall(step);
        t.claim_none(t.worker());
        t.rescue();
        assert_eq!(t.store().prune().unwrap(), 0, "retention is for ever by default");
    }
    t.clock().reboot();
    t.rescue();
    t.claim_none(t.worker());
    assert_eq!(t.snapshot(), before);
}

pub fn a_purged_job_is_gone_with_its_history(t: &mut Trial) {
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let id = t.job_in(state, job());
        let key = t.job(&id).key;
        t.purge(&id);
        assert_eq!(t.store().job(&id).unwrap(), None);
        assert_eq!(t.store().attempts(key).unwrap(), []);
    }
    assert_eq!(all_jobs(t.store().as_ref()), []);
    let counts = t.store().counts().unwrap();
    assert!(counts.iter().all(|lane| lane.by_state.iter().all(|&n| n == 0)), "{counts:?}");
}

pub fn a_living_job_cannot_be_purged(t: &mut Trial) {
    for living in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        let ended = t.job_in(State::Dead, job().queue(living.as_str()).unwrap());
        let job = t.job_in(living, job().queue(living.as_str()).unwrap());
        let before = t.snapshot();
        let error = t.store().purge(&[ended, job.clone()]).unwrap_err();
        assert!(
            matches!(&error, StoreError::StillLives { id, state } if (id, *state) == (&job, living)),
            "{error:?}"
        );
        assert_eq!(t.snapshot(), before);
    }
}

/// Found by the simulator: the parent was deleted, which cancelled the child, which was then deleted.
pub fn a_blocked_job_is_not_purged_with_what_it_waits_for(t: &mut Trial) {
    let parent = t.job_in(State::Cancelled, job());
    let child = t.enqueue(job().after(parent.clone()));
    let error = t.store().purge(&[parent.clone(), child.clone()]).unwrap_err();
    assert!(matches!(error, StoreError::StillLives { state: State::Blocked, .. }), "{error:?}");
    assert_eq!((t.state(&parent), t.state(&child)), (State::Cancelled, State::Blocked));
    t.purge(&parent);
    t.purge(&child);
}

pub fn jobs_are_purged_all_or_none(t: &mut Trial) {
    let a = t.job_in(State::Dead, named("a"));
    let b = t.job_in(State::Completed, named("b"));
    let before = t.snapshot();
    let error = t.store().purge(&[a.clone(), id("nobody"), b.clone()]).unwrap_err();
    assert!(matches!(error, StoreError::NotFound(missing) if missing == id("nobody")));
    assert_eq!(t.snapshot(), before);
    t.store().purge(&[a, b]).unwrap();
    assert_eq!(all_jobs(t.store().as_ref()), []);
}

/// Prunes until all of the store has been looked at; one call may look at a part only.
fn prune_all(t: &Trial) -> u64 {
    (0..20).map(|_| t.store().prune().unwrap()).sum()
}

fn left(t: &Trial) -> Vec<String> {
    let jobs = all_jobs(t.store().as_ref());
    jobs.iter().map(|job| job.id.to_string()).collect()
}

pub fn completed_and_cancelled_jobs_are_pruned_when_their_time_is_over(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompleted, Some("2days")).unwrap();
    t.job_in(State::Completed, named("old-completed"));
    t.job_in(State::Cancelled, named("old-cancelled"));
    t.job_in(State::Dead, named("dead"));
    t.advance(DAY);
    t.job_in(State::Completed, named("new-completed"));
    assert_eq!(prune_all(t), 0);
    t.advance(DAY + secs(60));
    let key = t.job(&id("old-completed")).key;
    assert_eq!(prune_all(t), 2);
    assert_eq!(left(t), ["dead", "new-completed"]);
    assert_eq!(t.store().attempts(key).unwrap(), []);
    assert!(t.add(named("old-completed")).key > key, "as if purged");
}

/// To the millisecond: not a moment before its time is over, and then at once.
pub fn nothing_is_pruned_before_its_time_is_over(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompleted, Some("1h")).unwrap();
    t.store().change_setting(Setting::RetentionDead, Some("1h")).unwrap();
    for state in [State::Completed, State::Cancelled, State::Dead] {
        t.job_in(state, named(state.as_str()));
    }
    t.advance(secs(3600) - Duration::from_millis(1));
    assert_eq!(prune_all(t), 0);
    t.advance(Duration::from_millis(1));
    assert_eq!(prune_all(t), 3);
}

pub fn dead_jobs_are_pruned_by_their_own_retention(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionDead, Some("1h")).unwrap();
    t.job_in(State::Dead, named("dead"));
    t.job_in(State::Completed, named("completed"));
    t.job_in(State::Cancelled, named("cancelled"));
    t.advance(secs(3700));
    assert_eq!(prune_all(t), 1);
    assert_eq!(left(t), ["completed", "cancelled"]);
}

/// Retention counts from the end of a job, not from its begin; and what has not ended is not pruned,
/// however old.
pub fn only_what_has_ended_is_pruned(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompleted, Some("1h")).unwrap();
    t.store().change_setting(Setting::RetentionDead, Some("1h")).unwrap();
    for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
        t.job_in(state, named(state.as_str()).queue(state.as_str()).unwrap());
    }
    let revived = t.job_in(State::Dead, named("revived"));
    t.retry(&revived);
    t.enqueue(named("just-ended").queue("x").unwrap());
    t.advance(10 * DAY);
    t.cancel(&id("just-ended"));
    assert_eq!(prune_all(t), 0);
    assert!(left(t).contains(&"revived".to_owned()) && left(t).contains(&"just-ended".to_owned()));
}

pub fn many_outlived_jobs_are_pruned_in_the_end(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompleted, Some("1h")).unwrap();
    let added = t.add_all(&vec![job(); 1500]);
    let ids: Vec<_> = added.into_iter().map(|one| one.id).collect();
    t.store().cancel(&ids[..1499], &"not wanted".into()).unwrap();
    t.advance(2 * DAY);
    assert_eq!(prune_all(t), 1499);
    assert_eq!(left(t), [ids[1499].to_string()]);
}

pub fn no_more_dead_jobs_are_kept_than_their_number(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionDeadCount, Some("2")).unwrap();
    // In the order in which they died, not in which they were enqueued.
    for id in ["a", "b", "c", "d"] {
        t.enqueue(named(id).queue(id).unwrap());
    }
    for id in ["d", "b", "a"] {
        let worker = t.worker();
        let claimed = t.claim_from(worker, &[id]).remove(0);
        t.end(&claimed, Verdict::Die);
        t.advance(secs(1));
    }
    t.job_in(State::Completed, named("completed"));
    assert_eq!(prune_all(t), 1);
    assert_eq!(left(t), ["a", "b", "c", "completed"]);
    t.store().change_setting(Setting::RetentionDeadCount, Some("0")).unwrap();
    assert_eq!(prune_all(t), 2);
    assert_eq!(left(t), ["c", "completed"]);
}

pub fn no_more_completed_jobs_are_kept_than_their_number(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionCompletedCount, Some("3")).unwrap();
    t.job_in(State::Dead, named("dead"));
    for id in ["a", "b"] {
        t.job_in(State::Completed, named(id));
    }
    t.job_in(State::Cancelled, named("c"));
    assert_eq!(prune_all(t), 0);
    t.job_in(State::Completed, named("d"));
    t.job_in(State::Cancelled, named("e"));
    t.job_in(State::Pending, named("pending"));
    assert_eq!(prune_all(t), 2);
    assert_eq!(left(t), ["dead", "c", "d", "e", "pending"]);
    t.cancel(&id("pending"));
    assert_eq!(prune_all(t), 1);
    assert_eq!(left(t), ["dead", "d", "e", "pending"]);
}

pub fn a_job_whose_period_is_not_over_is_kept_beyond_the_number(t: &mut Trial) {
    t.store().change_setting(Setting::RetentionDeadCount, Some("1")).unwrap();
    t.store().change_setting(Setting::RetentionCompletedCount, Some("1")).unwrap();
    for state in [State::Dead, State::Completed] {
        let held = |id: &str| named(id).unique_key(id).unwrap().unique_for(secs(60));
        t.job_in(state, held(&format!("{state}-held")));
        t.job_in(state, named(&format!("{state}-old")));
        t.job_in(state, named(&format!("{state}-new")));
    }
    assert_eq!(prune_all(t), 4);
    assert_eq!(left(t), ["dead-held", "completed-held"]);
    t.advance(secs(61));
    t.store().change_setting(Setting::RetentionDeadCount, Some("0")).unwrap();
    assert_eq!(prune_all(t), 1);
    assert_eq!(left(t), ["completed-held"]);
}

/// A backlog shrinks while it is paused: commands work on a paused queue as on any other.
pub fn commands_work_on_a_paused_queue(t: &mut Trial) {
    let dead = t.job_in(State::Dead, named("dead"));
    t.store().pause(&name("default"), true).unwrap();
    t.retry(&dead);
    t.cancel(&dead);
    t.purge(&dead);
    assert_eq!(t.store().jobs(&JobQuery::default()).unwrap(), []);
}

/// Nobody has the number: neither a job that was never there nor one that is gone.
pub fn commands_on_jobs_that_are_not_there_are_refused(t: &mut Trial) {
    let gone = t.job_in(State::Cancelled, job());
    t.purge(&gone);
    for missing in [gone, id("nobody"), JobId::Auto(JobKey(123_456))] {
        let ids = std::slice::from_ref(&missing);
        let store = t.store();
        let errors = [
            store.cancel(ids, &"x".into()).map(drop).unwrap_err(),
            store.retry(ids).unwrap_err(),
            store.purge(ids).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, StoreError::NotFound(id) if *id == missing), "{error:?}");
        }
    }
}
