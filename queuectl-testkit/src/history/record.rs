//! What the store has recorded, against what the witness saw: outcomes, reasons, attempts, the end.

use queuectl_core::{Attempt, Cause, Job, Outlook, State};

use super::findings::{Explanation, Findings, Promise};
use super::index::{Index, Line, Requests};
use super::{Execution, How, Moment};

pub(super) fn check(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    outcomes(index, line, findings);
    reasons(index, line, findings);
    if let Some(job) = line.job {
        attempts(index, line, job, findings);
        last_state(index, line, job, findings);
    }
    sightings(index, line, findings);
}

fn cause(attempt: &Attempt) -> Option<Cause> {
    attempt.report.as_ref().map(|report| report.cause)
}

fn is_failure(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Failed
            | Cause::Exited
            | Cause::Signalled
            | Cause::TimedOut
            | Cause::SpawnFailed
            | Cause::Panicked
    )
}

/// What is recorded of an attempt is what its own execution said, while it was the newest.
fn outcomes(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    let mut later: Option<&Execution> = None;
    for execution in line.executions.iter().copied().rev() {
        let token = execution.lease.token;
        let recorded = line.attempts.get(&token).copied().and_then(cause);
        let said = execution.ended.map(|(_, how)| how);
        if recorded == Some(Cause::Succeeded) && said != Some(How::Succeeded) {
            let text = format!("token {} is recorded as a success; it was {said:?}", token.0);
            findings.broken(Promise::TrueOutcome, line.id, text);
        }
        let denied = matches!(recorded, Some(Cause::Failed | Cause::Exited | Cause::Panicked));
        if denied && said == Some(How::Succeeded) {
            let text = format!("token {} is recorded as {recorded:?}; it succeeded", token.0);
            findings.broken(Promise::TrueOutcome, line.id, text);
        }
        if let (Some((ended_at, _)), Some(later), Some(recorded)) =
            (execution.ended, later, recorded)
            && later.lease.token > token
            && ended_at > later.started_at
            && recorded != Cause::LeaseLost
        {
            let text = format!(
                "token {} ended at {}, after token {} began; its word counted: {recorded}",
                token.0, ended_at.0, later.lease.token.0,
            );
            findings.broken(Promise::TrueOutcome, line.id, text);
        }
        if later.is_none_or(|later| execution.started_at < later.started_at) {
            later = Some(execution);
        }
    }
    let successes: Vec<&Attempt> =
        line.attempts.values().copied().filter(|&a| cause(a) == Some(Cause::Succeeded)).collect();
    let allowed = 1 + index.requests(line.id).retried.len();
    if successes.len() > allowed {
        let text = format!("{} successes; {allowed} were possible", successes.len());
        findings.broken(Promise::TrueOutcome, line.id, text);
    }
    for success in successes {
        let ran = line
            .executions
            .binary_search_by_key(&success.token, |execution| execution.lease.token)
            .is_ok();
        if !ran {
            let text = format!("token {} is recorded as a success; it never ran", success.token.0);
            findings.broken(Promise::TrueOutcome, line.id, text);
        }
    }
}

/// Every execution that another one follows has a reason to be followed; and no lease is lost without
/// one.
fn reasons(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    let requests = index.requests(line.id);
    for (position, &execution) in line.executions.iter().enumerate() {
        let mut after = line.executions[position + 1..].iter().copied();
        let next = after.find(|next| next.lease.token > execution.lease.token);
        let attempt = line.attempts.get(&execution.lease.token).copied();
        let because = match attempt {
            Some(attempt) => recorded_reason(index, requests, execution, next, attempt),
            None if line.job.is_some() => {
                let text = format!("token {} ran and is not recorded", execution.lease.token.0);
                findings.broken(Promise::Attempts, line.id, text);
                continue;
            }
            None => witnessed_reason(index, requests, execution, next),
        };
        match because {
            Ok(explanation) if next.is_some() => findings.again(explanation),
            Ok(_) => {}
            Err((promise, text)) => findings.broken(promise, line.id, text),
        }
    }
}

type Reason = Result<Explanation, (Promise, String)>;

/// The reason that the record gives, if the witness does not contradict it. For the last execution
/// only a lost lease needs one.
fn recorded_reason(
    index: &Index<'_>,
    requests: &Requests<'_>,
    execution: &Execution,
    next: Option<&Execution>,
    attempt: &Attempt,
) -> Reason {
    let token = execution.lease.token.0;
    let until = next.map_or(Moment::NEVER, |next| next.started_at);
    let by_operator = requests.retried.touch(execution.started_at.min(until), until);
    let Some(cause) = cause(attempt) else {
        let text = format!("token {token} is recorded as running, and another one ran");
        return if next.is_some() {
            Err((Promise::ExplainedRun, text))
        } else {
            Ok(Explanation::Interrupted)
        };
    };
    match cause {
        Cause::LeaseLost => lost_reason(index, execution, until).ok_or_else(|| {
            let text =
                format!("token {token} lost its lease, and nothing had happened to its worker");
            (Promise::ExplainedRun, text)
        }),
        Cause::Interrupted => Ok(Explanation::Interrupted),
        Cause::Snoozed => Ok(Explanation::Snoozed),
        cause if is_failure(cause) => Ok(Explanation::Failure),
        _ if next.is_none() || by_operator => Ok(Explanation::Operator),
        cause => {
            let text = format!("token {token} was {cause}, and it ran again");
            Err((Promise::TerminalIsFinal, text))
        }
    }
}

/// Why a lease may have been lost before `until`.
fn lost_reason(index: &Index<'_>, execution: &Execution, until: Moment) -> Option<Explanation> {
    let from = execution.claim_asked_at.unwrap_or(execution.started_at);
    if index.killed_at(execution.holder).is_some_and(|at| at <= until) {
        Some(Explanation::Crash)
    } else if index.was_stopped(execution.holder, from.min(until), until) {
        Some(Explanation::Stopped)
    } else if matches!(execution.ended, Some((_, How::LeaseLost)))
        || index.blocked.touch(from.min(until), until)
    {
        Some(Explanation::Fenced)
    } else {
        None
    }
}

/// The reason as the witness alone tells it, of a job whose record is deleted.
fn witnessed_reason(
    index: &Index<'_>,
    requests: &Requests<'_>,
    execution: &Execution,
    next: Option<&Execution>,
) -> Reason {
    let until = next.map_or(Moment::NEVER, |next| next.started_at);
    if let Some(explanation) = lost_reason(index, execution, until) {
        return Ok(explanation);
    }
    match execution.ended.map(|(_, how)| how) {
        Some(How::Failed) => Ok(Explanation::Failure),
        Some(How::GaveUp | How::LeaseLost) | None => Ok(Explanation::Deleted),
        Some(How::Succeeded)
            if next.is_none() || requests.retried.touch(execution.started_at.min(until), until) =>
        {
            Ok(Explanation::Operator)
        }
        Some(How::Succeeded) => {
            let text = format!("token {} succeeded, and it ran again", execution.lease.token.0);
            Err((Promise::TerminalIsFinal, text))
        }
    }
}

/// How many attempts are spent after this one: `None` where the record alone does not tell.
fn spent_after(job: &Job, attempt: &Attempt) -> Option<u32> {
    match cause(attempt) {
        // Only what the machine was too short to start is given back.
        Some(Cause::SpawnFailed) => None,
        // What was cancelled while it was given back may have been counted.
        Some(Cause::Interrupted | Cause::Snoozed) if job.state == State::Cancelled => None,
        Some(Cause::Interrupted | Cause::Snoozed) => attempt.number.checked_sub(1),
        _ => Some(attempt.number),
    }
}

/// Each claim spends one attempt, what is given back is not spent, and there are never more than
/// allowed.
fn attempts(index: &Index<'_>, line: &Line<'_>, job: &Job, findings: &mut Findings) {
    let retried = index.requests(line.id).retried.len();
    let mut generations = 0;
    let mut spent = Some(0);
    for attempt in line.attempts.values() {
        let number = attempt.number;
        let follows = spent.is_none_or(|spent| number == spent + 1);
        if !follows && number == 1 {
            generations += 1;
        }
        if (!follows && number != 1) || number == 0 || number > job.max_attempts {
            let text = format!(
                "token {} is attempt {number} of {} after {spent:?}",
                attempt.token.0, job.max_attempts,
            );
            findings.broken(Promise::Attempts, line.id, text);
        }
        spent = spent_after(job, attempt);
    }
    let fresh = job.attempts == 0 && spent != Some(0);
    if fresh && spent.is_some() {
        generations += 1;
    }
    if spent.is_some_and(|spent| spent != job.attempts) && !fresh {
        let text = format!("{} attempts are spent; by its record {spent:?}", job.attempts);
        findings.broken(Promise::Attempts, line.id, text);
    }
    if generations > retried {
        let text = format!("began {generations} times anew; was retried {retried} times");
        findings.broken(Promise::Attempts, line.id, text);
    }
    let newest = line.executions.last().map_or(job.token, |execution| execution.lease.token);
    if job.attempts > job.max_attempts || newest > job.token {
        let text = format!(
            "{} of {} attempts, token {}, ran under token {}",
            job.attempts, job.max_attempts, job.token.0, newest.0,
        );
        findings.broken(Promise::Attempts, line.id, text);
    }
}

/// The state in which a job was left is one that it may be left in, and one that its record explains.
fn last_state(index: &Index<'_>, line: &Line<'_>, job: &Job, findings: &mut Findings) {
    let last = line.attempts.values().next_back().copied().and_then(cause);
    let explained = match job.state {
        State::Completed => last == Some(Cause::Succeeded),
        State::Dead => last.is_some_and(|cause| {
            is_failure(cause) || matches!(cause, Cause::LeaseLost | Cause::Undecodable)
        }),
        // By an operator, by its own handler, or because of what it waited for.
        State::Cancelled => {
            !index.requests(line.id).cancelled.is_empty()
                || last == Some(Cause::Cancelled)
                || waited_in_vain(index, line)
        }
        _ => true,
    };
    if !explained {
        let text = format!("is {}; its last attempt was {last:?}", job.state);
        findings.broken(Promise::TrueOutcome, line.id, text);
    }
    let end = &index.history.end;
    let waits_for_others = job.waits_for.iter().any(|parent| {
        let keys = index.keys.get(&parent.job).map_or(&[][..], Vec::as_slice);
        let decided =
            |other: &Job| Outlook::of(parent.on, job.otherwise, other.state) != Outlook::Open;
        keys.iter().any(|key| index.lines[key].job.is_some_and(|job| !decided(job)))
    });
    let waits = match job.state {
        State::Processing => false,
        State::Blocked => waits_for_others,
        State::Pending | State::Failed => end.paused.contains(&job.queue) || job.run_at > end.now,
        _ => true,
    };
    if end.drained && !waits {
        let text = format!("is {} for ever: nothing runs, and it waits for nothing", job.state);
        findings.broken(Promise::NothingStuck, line.id, text);
    }
}

/// Whether a job that it waits for was deleted, or may have ended otherwise than the job waits for. One
/// that was retried since may have done so before.
fn waited_in_vain(index: &Index<'_>, line: &Line<'_>) -> bool {
    let enqueued = &index.requests(line.id).enqueued;
    let parents =
        enqueued.iter().flat_map(|(_, asked)| asked.after.iter().map(move |on| (asked, on)));
    parents.into_iter().any(|(asked, after)| {
        let requests = index.requests(&after.job);
        let lost = |state| Outlook::of(after.on, asked.otherwise, state) == Outlook::Lost;
        let keys = index.keys.get(&after.job).map_or(&[][..], Vec::as_slice);
        let mut states = keys.iter().filter_map(|key| Some(index.lines[key].job?.state));
        index.history.end.retention
            || !requests.purged.is_empty()
            || (!requests.retried.is_empty() && State::ALL.into_iter().any(lost))
            || states.any(lost)
    })
}

/// What was seen to have ended stays as it was, until an operator changes it.
fn sightings(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    let requests = index.requests(line.id);
    for (position, sighting) in line.sightings.iter().enumerate() {
        if !sighting.state.is_terminal() {
            continue;
        }
        let (token, state, by) = match (line.sightings.get(position + 1), line.job) {
            (Some(next), _) if next.asked_at < sighting.seen_at => continue,
            (Some(next), _) => (next.token, next.state, next.seen_at),
            (None, Some(job)) => (job.token, job.state, Moment::NEVER),
            (None, None) => {
                let purged = requests.purged.touch(sighting.asked_at, Moment::NEVER);
                if !purged && !index.history.end.retention {
                    let text = format!("was {} and is gone", sighting.state);
                    findings.broken(Promise::NothingLost, line.id, text);
                }
                continue;
            }
        };
        let changed = (token, state) != (sighting.token, sighting.state);
        if changed && !requests.retried.touch(sighting.asked_at, by) {
            let text = format!(
                "was {} under token {}, and is {state} under token {}",
                sighting.state, sighting.token.0, token.0,
            );
            findings.broken(Promise::TerminalIsFinal, line.id, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use queuectl_core::Timestamp;

    use super::super::tiny::*;
    use super::super::{Answer, Fault, History, ProcessId, Request, check};
    use super::*;

    /// Token 1 ends as `first` says and is recorded as `recorded`; token 2 succeeds.
    fn again(first: Option<How>, recorded: Cause) -> History {
        let mut history = good();
        history.executions[0].ended = first.map(|how| (ms(20), how));
        history.executions.push(ran("a", 1, 2, 2, 50, Some((60, How::Succeeded))));
        let number = if matches!(recorded, Cause::Interrupted | Cause::Snoozed) { 1 } else { 2 };
        history.end.jobs[0] = (
            job("a", 1, State::Completed, 2, number),
            vec![attempt(1, 1, Some(recorded)), attempt(2, number, Some(Cause::Succeeded))],
        );
        history
    }

    #[test]
    fn the_word_of_a_stale_worker_does_not_count() {
        let mut history = again(Some(How::Failed), Cause::Failed);
        assert_eq!(broken(&history), []);
        // It was stopped, its job ran elsewhere, and then it said that it had failed.
        history.executions[0].ended = Some((ms(70), How::Failed));
        history.faults.push(Fault::Stopped { process: ProcessId(1), from: ms(15), until: ms(65) });
        assert_eq!(broken(&history), [Promise::TrueOutcome]);
        history.end.jobs[0].1[0] = attempt(1, 1, Some(Cause::LeaseLost));
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn a_success_is_one_that_was_seen() {
        for (said, holds) in
            [(Some(How::Succeeded), true), (Some(How::Failed), false), (None, false)]
        {
            let mut history = good();
            history.executions[0].ended = said.map(|how| (ms(20), how));
            let expected: &[Promise] = if holds { &[] } else { &[Promise::TrueOutcome] };
            assert_eq!(broken(&history), expected, "{said:?}");
        }
        let mut never_ran = good();
        never_ran.executions.clear();
        assert_eq!(broken(&never_ran), [Promise::TrueOutcome]);
        let mut denied = again(Some(How::Succeeded), Cause::Failed);
        assert_eq!(broken(&denied), [Promise::TrueOutcome]);
        denied.executions[0].ended = Some((ms(20), How::Failed));
        assert_eq!(broken(&denied), []);
    }

    #[test]
    fn one_success_is_recorded_in_each_generation() {
        let mut history = again(Some(How::Succeeded), Cause::Succeeded);
        assert!(broken(&history).contains(&Promise::TrueOutcome));
        history.calls.push(call(30, 31, Answer::Done, Request::Retry(vec![id("a")])));
        history.end.jobs[0] = (
            job("a", 1, State::Completed, 2, 1),
            vec![attempt(1, 1, Some(Cause::Succeeded)), attempt(2, 1, Some(Cause::Succeeded))],
        );
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn a_lease_is_not_lost_without_a_reason() {
        let lost = || again(None, Cause::LeaseLost);
        assert_eq!(broken(&lost()), [Promise::ExplainedRun]);
        let faults = [
            (Fault::Killed { process: ProcessId(1), at: ms(20) }, Explanation::Crash),
            (
                Fault::Stopped { process: ProcessId(1), from: ms(20), until: ms(45) },
                Explanation::Stopped,
            ),
            (Fault::StoreBlocked { from: ms(20), until: ms(45) }, Explanation::Fenced),
        ];
        for (fault, explanation) in faults {
            let mut history = lost();
            history.faults.push(fault);
            let findings = check(&history);
            assert!(findings.holds(), "{findings:?}");
            assert_eq!(findings.counted.again.get(&explanation), Some(&1));
        }
        // Not if it happened to another, or later.
        for (process, at) in [(9, 20), (1, 51)] {
            let mut history = lost();
            history.faults.push(Fault::Killed { process: ProcessId(process), at: ms(at) });
            assert!(broken(&history).contains(&Promise::ExplainedRun));
        }
        let fenced = again(Some(How::LeaseLost), Cause::LeaseLost);
        assert_eq!(broken(&fenced), []);
    }

    #[test]
    fn what_runs_again_is_explained() {
        for (said, cause, explanation) in [
            (Some(How::Failed), Cause::Failed, Explanation::Failure),
            (None, Cause::TimedOut, Explanation::Failure),
            (Some(How::GaveUp), Cause::Interrupted, Explanation::Interrupted),
            (Some(How::GaveUp), Cause::Snoozed, Explanation::Snoozed),
        ] {
            let findings = check(&again(said, cause));
            assert!(findings.holds(), "{findings:?}");
            assert_eq!(findings.counted.again.get(&explanation), Some(&1), "{cause}");
        }
        // A cancelled one has ended, unless an operator runs it again.
        let mut cancelled = again(Some(How::GaveUp), Cause::Cancelled);
        assert_eq!(broken(&cancelled), [Promise::TerminalIsFinal]);
        cancelled.calls.push(call(30, 31, Answer::Unknown, Request::Retry(vec![id("a")])));
        assert_eq!(broken(&cancelled), []);
    }

    #[test]
    fn a_deleted_job_ran_again_for_a_reason_too() {
        let deleted = |said| {
            let mut history = again(said, Cause::Failed);
            history.end.jobs.clear();
            history.calls.push(call(70, 71, Answer::Done, Request::Purge(vec![id("a")])));
            history
        };
        assert_eq!(broken(&deleted(Some(How::Succeeded))), [Promise::TerminalIsFinal]);
        assert_eq!(broken(&deleted(Some(How::Failed))), []);
    }

    #[test]
    fn what_ran_is_recorded() {
        let mut history = again(Some(How::Failed), Cause::Failed);
        history.end.jobs[0].1.remove(0);
        assert!(broken(&history).contains(&Promise::Attempts));
    }

    #[test]
    fn attempts_do_not_drift() {
        let numbers = |first: u32, second: u32, spent: u32| {
            let mut history = again(Some(How::Failed), Cause::Failed);
            history.end.jobs[0].1[0].number = first;
            history.end.jobs[0].1[1].number = second;
            history.end.jobs[0].0.attempts = spent;
            history
        };
        assert_eq!(broken(&numbers(1, 2, 2)), []);
        // A number twice, one left out, one that was spent and not counted, one too many.
        for wrong in [(1, 1, 1), (1, 3, 3), (1, 2, 1), (1, 2, 3), (2, 3, 3), (1, 2, 9)] {
            let (first, second, spent) = wrong;
            assert_eq!(broken(&numbers(first, second, spent)), [Promise::Attempts], "{wrong:?}");
        }
        let mut given_back = again(Some(How::GaveUp), Cause::Interrupted);
        assert_eq!(broken(&given_back), []);
        given_back.end.jobs[0].1[1].number = 2;
        given_back.end.jobs[0].0.attempts = 2;
        assert_eq!(broken(&given_back), [Promise::Attempts]);
        let mut too_many = numbers(1, 2, 2);
        too_many.end.jobs[0].0.max_attempts = 1;
        assert!(broken(&too_many).contains(&Promise::Attempts));
        let mut unknown_token = numbers(1, 2, 2);
        unknown_token.end.jobs[0].0.token = queuectl_core::Token(1);
        assert_eq!(broken(&unknown_token), [Promise::Attempts]);
    }

    #[test]
    fn the_last_state_is_explained() {
        let mut history = good();
        history.end.jobs[0].0.state = State::Dead;
        assert_eq!(broken(&history), [Promise::TrueOutcome]);
        let mut history = good();
        history.end.jobs[0].0.state = State::Cancelled;
        assert_eq!(broken(&history), [Promise::TrueOutcome]);
        history.calls.push(call(3, 90, Answer::Unknown, Request::Cancel(vec![(id("a"), None)])));
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn nothing_that_can_run_is_left() {
        let left = |state: State| {
            let mut history = good();
            history.executions.clear();
            history.end.jobs[0] = (job("a", 1, state, 0, 0), Vec::new());
            history
        };
        for state in [State::Pending, State::Failed, State::Blocked] {
            assert_eq!(broken(&left(state)), [Promise::NothingStuck], "{state}");
        }
        let mut running = again(Some(How::Failed), Cause::Failed);
        running.end.jobs[0].0.state = State::Processing;
        running.end.jobs[0].1[1] = attempt(2, 2, None);
        assert_eq!(broken(&running), [Promise::NothingStuck]);
        let mut not_drained = left(State::Pending);
        not_drained.end.drained = false;
        assert_eq!(broken(&not_drained), []);
        let mut paused = left(State::Pending);
        paused.end.paused.push(queue());
        assert_eq!(broken(&paused), []);
        let mut later = left(State::Pending);
        later.end.jobs[0].0.run_at = Timestamp::from_millis(5_000);
        assert_eq!(broken(&later), []);
        // It waits for a job that is dead.
        let mut blocked = left(State::Blocked);
        blocked.end.jobs[0].0.waits_for.push(id("p").into());
        assert_eq!(broken(&blocked), [Promise::NothingStuck]);
        completed(&mut blocked, "p", 2, 30);
        assert_eq!(broken(&blocked), [Promise::NothingStuck]);
        let parent = &mut blocked.end.jobs[1];
        parent.0.state = State::Dead;
        parent.1[0] = attempt(1, 1, Some(Cause::Failed));
        blocked.executions[0].ended = Some((ms(31), How::Failed));
        assert_eq!(broken(&blocked), []);
    }

    #[test]
    fn what_has_ended_does_not_change() {
        let seen = |state| {
            let mut history = good();
            history.sightings.push(sighting("a", 1, 40, state, 1));
            history
        };
        assert_eq!(broken(&seen(State::Completed)), []);
        assert_eq!(broken(&seen(State::Processing)), []);
        assert_eq!(broken(&seen(State::Dead)), [Promise::TerminalIsFinal]);
        let mut retried = seen(State::Dead);
        retried.calls.push(call(41, 42, Answer::Unknown, Request::Retry(vec![id("a")])));
        assert_eq!(broken(&retried), []);
        // Between two sightings as well.
        let mut changed = seen(State::Dead);
        changed.sightings.push(sighting("a", 1, 50, State::Completed, 1));
        assert_eq!(broken(&changed), [Promise::TerminalIsFinal]);
        let mut gone = seen(State::Completed);
        gone.end.jobs.clear();
        gone.executions.clear();
        assert!(broken(&gone).contains(&Promise::NothingLost));
    }
}
