//! Settling: what becomes of a job at the end of an attempt, and what is recorded of it.

use queuectl_core::store::{Progress, Settlement, Verdict};
use queuectl_core::{Captured, Cause, Report, State, Token};

use super::trial::{Trial, id, job, json, named, newer, older, reported, secs, settlement};

fn complete() -> Verdict {
    Verdict::Complete { result: None }
}

fn every_verdict() -> [Verdict; 6] {
    [
        complete(),
        Verdict::Fail { retry_in: secs(1) },
        Verdict::Die,
        Verdict::Snooze { wake_in: secs(1) },
        Verdict::Release,
        Verdict::Cancel,
    ]
}

pub fn a_completed_job_is_done(t: &mut Trial) {
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    t.advance(secs(3));
    let result = Some(json(r#"{"rows":  7}"#));
    t.end(&claimed, Verdict::Complete { result: result.clone() });
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.worker), (State::Completed, None));
    assert_eq!(kept.result, result);
    assert_eq!((kept.finished_at, kept.updated_at), (Some(t.now()), t.now()));
    assert_eq!((kept.attempts, kept.last_error), (1, None));
    t.advance(secs(1_000_000));
    t.claim_none(t.worker());
}

pub fn of_neighbours_that_end_together_each_ends_as_it_was_told(t: &mut Trial) {
    let ids: Vec<_> = (0..7).map(|_| t.enqueue(job())).collect();
    let worker = t.worker();
    let leases: Vec<_> = t.claim(worker, 7).into_iter().map(|claimed| claimed.lease).collect();
    let began = t.now();
    t.advance(secs(3));
    let result = Some(json("7"));
    let output = Captured { total: 3, head: b"out".to_vec(), ..Captured::default() };
    let report = Report { stdout: output.clone(), ..Report::new(Cause::Succeeded) };
    let refused = t.settle(&[
        settlement(leases[0], complete(), began),
        settlement(leases[1], complete(), began),
        settlement(older(leases[2]), complete(), began),
        settlement(leases[3], complete(), began),
        settlement(leases[4], Verdict::Complete { result: result.clone() }, began),
        settlement(leases[5], complete(), began + secs(1)),
        reported(leases[6], complete(), began + secs(1), report),
    ]);
    assert_eq!(refused, [older(leases[2])]);
    let jobs: Vec<_> = ids.iter().map(|id| t.job(id)).collect();
    for (index, job) in jobs.iter().enumerate() {
        let state = if index == 2 { State::Processing } else { State::Completed };
        assert_eq!((index, job.state), (index, state));
        assert_eq!((index, job.result.is_some()), (index, index == 4));
        let late = if index > 4 { secs(1) } else { secs(0) };
        assert_eq!((index, job.started_at), (index, Some(began + late)));
    }
    assert_eq!(jobs[4].result, result);
    for (index, id) in ids.iter().enumerate() {
        let report = t.attempts(id).pop().and_then(|attempt| attempt.report);
        let stdout = report.map(|report| report.stdout).unwrap_or_default();
        assert_eq!((index, stdout == output), (index, index == 6));
    }
}

pub fn a_failed_job_runs_again_after_its_delay(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    t.advance(secs(2));
    let report = Report::failure(Cause::Failed, "no route to host");
    let fail = Verdict::Fail { retry_in: secs(10) };
    assert_eq!(t.settle(&[reported(claimed.lease, fail, t.now(), report)]), []);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.worker), (State::Failed, None));
    assert_eq!(kept.run_at, t.now() + secs(10));
    assert_eq!(kept.last_error.as_deref(), Some("no route to host"));
    assert_eq!((kept.finished_at, kept.attempts), (None, 1));
    t.advance(secs(9));
    t.claim_none(worker);
    t.advance(secs(1));
    assert_eq!(t.claim_one(worker).attempt, 2);
}

pub fn a_job_that_always_fails_runs_once_more_than_its_retries(t: &mut Trial) {
    for retries in [0, 1, 3] {
        let id = t.enqueue(job().max_retries(retries));
        let worker = t.worker();
        for n in 1..=retries + 1 {
            assert!(matches!(t.state(&id), State::Pending | State::Failed));
            let claimed = t.claim_one(worker);
            assert_eq!((claimed.attempt, claimed.max_attempts), (n, retries + 1));
            t.fail(&claimed, secs(60));
            t.advance(secs(61));
        }
        let kept = t.job(&id);
        assert_eq!((kept.state, kept.attempts), (State::Dead, retries + 1));
        assert!(kept.finished_at.is_some());
        assert_eq!(t.attempts(&id).len() as u32, retries + 1);
        t.claim_none(worker);
    }
}

pub fn the_last_failure_needs_no_delay_to_be_the_last(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(0));
    let claimed = t.claim_one(t.worker());
    t.fail(&claimed, secs(100));
    assert_eq!(t.state(&id), State::Dead);
    assert_eq!(t.job(&id).finished_at, Some(t.now()));
}

pub fn a_hopeless_failure_is_dead_at_once(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(9));
    let claimed = t.claim_one(t.worker());
    let report = Report::failure(Cause::Undecodable, "not a number");
    assert_eq!(t.settle(&[reported(claimed.lease, Verdict::Die, t.now(), report)]), []);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.attempts), (State::Dead, 1));
    assert_eq!(kept.last_error.as_deref(), Some("not a number"));
}

/// What was asked for, what went wrong and every attempt stay readable in the dead letter queue.
pub fn a_dead_job_keeps_its_payload_and_its_history(t: &mut Trial) {
    let mut new = named("letter").max_retries(1).tag("a").unwrap();
    new.payload = json(r#"{"to":"ada"}"#);
    t.enqueue(new);
    let worker = t.worker();
    for error in ["first", "second"] {
        let claimed = t.claim_one(worker);
        let fail = Verdict::Fail { retry_in: secs(0) };
        let report = Report::failure(Cause::Failed, error);
        assert_eq!(t.settle(&[reported(claimed.lease, fail, t.now(), report)]), []);
    }
    let kept = t.job(&id("letter"));
    assert_eq!(kept.state, State::Dead);
    assert_eq!(kept.payload.as_str(), r#"{"to":"ada"}"#);
    assert_eq!(kept.last_error.as_deref(), Some("second"));
    let errors: Vec<_> = t
        .attempts(&kept.id)
        .into_iter()
        .map(|attempt| attempt.report.unwrap().error.unwrap())
        .collect();
    assert_eq!(errors, ["first", "second"]);
    t.advance(secs(10_000_000));
    t.rescue();
    t.claim_none(t.worker());
    assert_eq!(t.state(&kept.id), State::Dead, "it does not leave by itself");
}

pub fn a_snoozed_job_gets_its_attempt_back(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(0));
    let worker = t.worker();
    for n in 1..=3 {
        let claimed = t.claim_one(worker);
        assert_eq!((claimed.attempt, claimed.lease.token), (1, Token(n)));
        t.end(&claimed, Verdict::Snooze { wake_in: secs(10) });
        let kept = t.job(&id);
        assert_eq!((kept.state, kept.attempts), (State::Pending, 0));
        assert_eq!((kept.token, kept.run_at), (Token(n), t.now() + secs(10)));
        t.advance(secs(9));
        t.claim_none(worker);
        t.advance(secs(1));
    }
    assert_eq!(t.causes(&id), [Some(Cause::Snoozed); 3]);
}

pub fn a_released_job_gets_its_attempt_back_and_may_run_at_once(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(0));
    let worker = t.worker();
    for n in 1..=3 {
        let claimed = t.claim_one(worker);
        assert_eq!((claimed.attempt, claimed.lease.token), (1, Token(n)));
        t.end(&claimed, Verdict::Release);
        let kept = t.job(&id);
        assert_eq!((kept.state, kept.attempts, kept.token), (State::Pending, 0, Token(n)));
        assert_eq!(kept.worker, None);
    }
    assert_eq!(t.causes(&id), [Some(Cause::Interrupted); 3]);
    t.complete(&t.claim_one(worker));
    assert_eq!(t.job(&id).attempts, 1);
}

/// A worker claims ahead, and gives back what it does not come to. Nobody wants to read of that.
pub fn an_attempt_that_never_began_leaves_no_record(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let unbegun = Settlement {
        report: None,
        ..settlement(t.claim_one(worker).lease, Verdict::Release, t.now())
    };
    assert_eq!(t.settle(&[unbegun]), []);
    assert_eq!(t.causes(&id), []);
    let claimed = t.claim_one(worker);
    assert_eq!((claimed.attempt, claimed.lease.token), (1, Token(2)));
    t.complete(&claimed);
    assert_eq!(t.causes(&id), [Some(Cause::Succeeded)]);
}

/// The retries of a job are not used up by attempts that were given back.
pub fn attempts_given_back_do_not_count_towards_the_limit(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(1));
    let worker = t.worker();
    t.fail(&t.claim_one(worker), secs(0));
    t.end(&t.claim_one(worker), Verdict::Release);
    t.end(&t.claim_one(worker), Verdict::Snooze { wake_in: secs(0) });
    let last = t.claim_one(worker);
    assert_eq!((last.attempt, last.lease.token), (2, Token(4)));
    t.fail(&last, secs(0));
    assert_eq!(t.state(&id), State::Dead);
    let numbers: Vec<_> = t.attempts(&id).iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 2, 2]);
}

pub fn a_handler_may_cancel_its_job(t: &mut Trial) {
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    t.end(&claimed, Verdict::Cancel);
    let kept = t.job(&id);
    assert_eq!((kept.state, kept.attempts), (State::Cancelled, 1));
    assert_eq!(kept.finished_at, Some(t.now()));
    assert_eq!(t.causes(&id), [Some(Cause::Cancelled)]);
}

pub fn a_stale_lease_settles_nothing(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let first = t.claim_one(worker).lease;
    t.lose_workers();
    for verdict in every_verdict() {
        let before = t.snapshot();
        let late = settlement(first, verdict.clone(), t.now());
        assert_eq!(t.settle(&[late]), [first], "{verdict:?} of a freed job");
        assert_eq!(t.snapshot(), before);
    }
    let second = t.claim_one(t.worker());
    for verdict in every_verdict() {
        for stale in [first, newer(second.lease), older(first)] {
            let before = t.snapshot();
            let late = settlement(stale, verdict.clone(), t.now());
            assert_eq!(t.settle(&[late]), [stale], "{verdict:?} of another's job");
            assert_eq!(t.snapshot(), before);
        }
    }
    t.complete(&second);
    assert_eq!(t.state(&id), State::Completed);
}

pub fn a_lease_of_a_job_that_was_never_there_is_refused(t: &mut Trial) {
    t.enqueue(job());
    let mut lease = t.claim_one(t.worker()).lease;
    lease.key.0 += 1000;
    assert_eq!(t.settle(&[settlement(lease, complete(), t.now())]), [lease]);
    let note = Progress { lease, value: json("1") };
    assert_eq!(t.store().progress(&[note]).unwrap(), [lease]);
}

/// A purge and a new job: what the old attempt has to say must not reach the new one.
pub fn a_lease_of_a_purged_job_is_refused(t: &mut Trial) {
    t.enqueue(named("nightly"));
    let old = t.claim_one(t.worker());
    t.complete(&old);
    t.purge(&id("nightly"));
    t.enqueue(named("nightly"));
    t.claim_one(t.worker());
    let before = t.snapshot();
    assert_eq!(t.settle(&[settlement(old.lease, complete(), t.now())]), [old.lease]);
    assert_eq!(t.snapshot(), before);
}

pub fn terminal_is_final_for_every_settlement(t: &mut Trial) {
    for end in [complete(), Verdict::Die, Verdict::Cancel] {
        t.enqueue(job());
        let claimed = t.claim_one(t.worker());
        t.end(&claimed, end.clone());
        let before = t.snapshot();
        for verdict in every_verdict() {
            let again = settlement(claimed.lease, verdict, t.now());
            assert_eq!(t.settle(&[again]), [claimed.lease]);
        }
        let note = Progress { lease: claimed.lease, value: json("1") };
        assert_eq!(t.store().progress(&[note]).unwrap(), [claimed.lease]);
        assert_eq!(t.snapshot(), before, "after {end:?}");
    }
}

pub fn settling_twice_settles_once(t: &mut Trial) {
    for verdict in every_verdict() {
        let id = t.enqueue(job());
        let worker = t.worker();
        let claimed = t.claim_one(worker);
        let once = settlement(claimed.lease, verdict.clone(), t.now());
        assert_eq!(t.settle(std::slice::from_ref(&once)), []);
        let before = t.snapshot();
        assert_eq!(t.settle(std::slice::from_ref(&once)), [claimed.lease], "{verdict:?}");
        assert_eq!(t.snapshot(), before);
        if !t.state(&id).is_terminal() {
            t.cancel(&id);
        }
    }
}

pub fn a_lease_twice_in_one_call_settles_once(t: &mut Trial) {
    let id = t.enqueue(job());
    let lease = t.claim_one(t.worker()).lease;
    let refused = t.settle(&[
        settlement(lease, Verdict::Release, t.now()),
        settlement(lease, complete(), t.now()),
    ]);
    assert_eq!(refused, [lease]);
    assert_eq!(t.state(&id), State::Pending);
    assert_eq!(t.causes(&id), [Some(Cause::Interrupted)]);
}

/// A lost lease is the loss of one attempt; what else the worker has to say, and what it wants next,
/// is not held up by it.
pub fn a_refused_settlement_leaves_the_rest_of_the_call_alone(t: &mut Trial) {
    t.add_all(&[named("a"), named("b"), named("c"), named("d")]);
    let worker = t.worker();
    let held = t.claim(worker, 3);
    let stale = newer(held[1].lease);
    let settle = [
        settlement(held[0].lease, complete(), t.now()),
        settlement(stale, complete(), t.now()),
        settlement(held[2].lease, Verdict::Die, t.now()),
    ];
    let done = t.exchange(&settle, &[(worker, 1)]);
    assert_eq!(done.refused, [stale]);
    assert_eq!(done.claimed.len(), 1);
    assert_eq!(done.claimed[0].id, id("d"));
    let states = ["a", "b", "c"].map(|text| t.state(&id(text)));
    assert_eq!(states, [State::Completed, State::Processing, State::Dead]);
}

pub fn what_was_settled_can_be_claimed_in_the_same_call(t: &mut Trial) {
    t.enqueue(named("a"));
    let worker = t.worker();
    let first = t.claim_one(worker);
    let settle = [settlement(first.lease, Verdict::Release, t.now())];
    let done = t.exchange(&settle, &[(worker, 1)]);
    assert_eq!(done.claimed.len(), 1);
    assert_eq!(done.claimed[0].lease, newer(first.lease));
}

pub fn a_report_is_kept_whole(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let claimed = t.claim_one(worker);
    let started_at = t.now() + secs(1);
    t.advance(secs(4));
    let report = Report {
        cause: Cause::Exited,
        error: Some("two lines\nof \u{1b}[31mtext\0".to_owned()),
        exit_code: Some(-3),
        signal: Some(9),
        stdout: Captured {
            head: (0..=255).collect(),
            tail: vec![0xff, 0xfe, 0],
            total: 1 << 40,
            incomplete: true,
        },
        stderr: Captured {
            head: b"warning".to_vec(),
            tail: Vec::new(),
            total: 7,
            incomplete: false,
        },
    };
    let fail = Verdict::Fail { retry_in: secs(1) };
    let settle = [reported(claimed.lease, fail, started_at, report.clone())];
    assert_eq!(t.settle(&settle), []);
    let attempts = t.attempts(&id);
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].token, claimed.lease.token);
    assert_eq!((attempts[0].number, attempts[0].worker), (1, Some(worker)));
    assert_eq!(attempts[0].started_at, started_at);
    assert_eq!(attempts[0].finished_at, Some(t.now()));
    assert_eq!(attempts[0].report, Some(report));
}

pub fn every_cause_is_recorded_as_itself(t: &mut Trial) {
    for cause in Cause::ALL {
        let verdict = match cause {
            Cause::Succeeded => complete(),
            Cause::Cancelled => Verdict::Cancel,
            Cause::Interrupted => Verdict::Release,
            Cause::Snoozed => Verdict::Snooze { wake_in: secs(99) },
            _ => Verdict::Die,
        };
        let id = t.enqueue(job().priority(1));
        let claimed = t.claim_one(t.worker());
        let report = Report::failure(cause, format!("it was {cause}"));
        let settle = [reported(claimed.lease, verdict, t.now(), report.clone())];
        assert_eq!(t.settle(&settle), []);
        assert_eq!(t.attempts(&id)[0].report.as_ref(), Some(&report));
        if !t.state(&id).is_terminal() {
            t.cancel(&id);
        }
    }
}

/// A success that has nothing to say may cost the store no record of its own; it is an attempt all the
/// same, and is shown.
pub fn a_bare_success_is_shown_among_the_attempts(t: &mut Trial) {
    for report in [None, Some(Box::new(Report::new(Cause::Succeeded)))] {
        let id = t.enqueue(job());
        let worker = t.worker();
        t.fail(&t.claim_one(worker), secs(0));
        let claimed = t.claim_one(worker);
        let started_at = t.now() + secs(1);
        t.advance(secs(3));
        let settle = [Settlement { report, ..settlement(claimed.lease, complete(), started_at) }];
        assert_eq!(t.settle(&settle), []);
        let attempts = t.attempts(&id);
        assert_eq!(attempts.len(), 2);
        assert_eq!((attempts[1].token, attempts[1].number), (Token(2), 2));
        assert_eq!(attempts[1].worker, Some(worker));
        assert_eq!(attempts[1].started_at, started_at);
        assert_eq!(attempts[1].finished_at, Some(t.now()));
        assert_eq!(attempts[1].report, Some(Report::new(Cause::Succeeded)));
    }
}

pub fn the_running_attempt_is_shown(t: &mut Trial) {
    let id = t.enqueue(job());
    assert_eq!(t.attempts(&id), []);
    let worker = t.worker();
    t.fail(&t.claim_one(worker), secs(0));
    t.advance(secs(5));
    t.claim_one(worker);
    let attempts = t.attempts(&id);
    assert_eq!(attempts.len(), 2);
    assert_eq!((attempts[1].token, attempts[1].number), (Token(2), 2));
    assert_eq!((attempts[1].worker, attempts[1].started_at), (Some(worker), t.now()));
    assert_eq!((attempts[1].finished_at, &attempts[1].report), (None, &None));
}

pub fn attempts_are_shown_oldest_first_over_all_generations(t: &mut Trial) {
    let id = t.enqueue(job().max_retries(1));
    let worker = t.worker();
    t.complete(&t.claim_one(worker));
    t.retry(&id);
    t.fail(&t.claim_one(worker), secs(0));
    t.complete(&t.claim_one(worker));
    t.retry(&id);
    t.end(&t.claim_one(worker), Verdict::Release);
    t.claim_one(worker);
    let attempts = t.attempts(&id);
    let numbers: Vec<_> = attempts.iter().map(|one| (one.token.0, one.number)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)]);
    assert_eq!(
        t.causes(&id),
        [
            Some(Cause::Succeeded),
            Some(Cause::Failed),
            Some(Cause::Succeeded),
            Some(Cause::Interrupted),
            None
        ]
    );
}

pub fn the_last_error_is_that_of_the_newest_failed_attempt(t: &mut Trial) {
    let id = t.enqueue(job());
    let worker = t.worker();
    let fail_with = |cause, error, verdict| {
        let claimed = t.claim_one(worker);
        let report = Report::failure(cause, error);
        assert_eq!(t.settle(&[reported(claimed.lease, verdict, t.now(), report)]), []);
    };
    let retry = || Verdict::Fail { retry_in: secs(0) };
    fail_with(Cause::Failed, "first", retry());
    fail_with(Cause::TimedOut, "second", retry());
    fail_with(Cause::Interrupted, "the worker was stopped", Verdict::Release);
    assert_eq!(t.job(&id).last_error.as_deref(), Some("second"));
    t.complete(&t.claim_one(worker));
    assert_eq!(t.job(&id).last_error.as_deref(), Some("second"));
}

pub fn progress_is_kept_while_the_lease_is_held(t: &mut Trial) {
    let id = t.enqueue(job());
    let claimed = t.claim_one(t.worker());
    let store = t.store();
    let note = |lease, text| Progress { lease, value: json(text) };
    assert_eq!(store.progress(&[note(claimed.lease, "1")]).unwrap(), []);
    assert_eq!(t.job(&id).progress, Some(json("1")));
    let notes = [
        note(newer(claimed.lease), "9"),
        note(claimed.lease, "2"),
        note(older(claimed.lease), "8"),
    ];
    let refused = store.progress(&notes).unwrap();
    assert_eq!(refused, [newer(claimed.lease), older(claimed.lease)]);
    assert_eq!(t.job(&id).progress, Some(json("2")));
    assert_eq!(t.state(&id), State::Processing);
    t.complete(&claimed);
    assert_eq!(t.job(&id).progress, Some(json("2")), "what was last said stays");
}

/// What an attempt could not end must be ended before the next one begins; each says so until one
/// could.
pub fn leftovers_are_told_to_the_next_claim(t: &mut Trial) {
    t.enqueue(job().max_retries(9));
    let worker = t.worker();
    let next = |leftovers, verdict| {
        let claimed = t.claim_one(worker);
        let settle = [Settlement { leftovers, ..settlement(claimed.lease, verdict, t.now()) }];
        assert_eq!(t.settle(&settle), []);
        claimed.lost_from
    };
    let retry = || Verdict::Fail { retry_in: secs(0) };
    assert_eq!(next(false, retry()), None);
    assert_eq!(next(true, retry()), None);
    assert_eq!(next(true, retry()), Some(Token(2)), "the attempt that left something");
    assert_eq!(next(true, Verdict::Release), Some(Token(2)), "the first of them");
    assert_eq!(next(false, retry()), Some(Token(2)));
    assert_eq!(next(false, retry()), None, "it could be ended");
}
