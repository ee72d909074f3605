//! When jobs ran: two executions at a time, too early, after the end, from a paused queue.

use std::cmp::Ordering;

use queuectl_core::{After, Cause, Condition, JobId, Name, Needs, Otherwise};

use super::findings::{Findings, Promise};
use super::index::{Index, Line, RESOLUTION, Requests};
use super::{Execution, How, Moment};

pub(super) fn check(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    overlaps(index, line, findings);
    early(index, line, findings);
    after_the_end(index, line, findings);
}

/// At most one execution at a time, in the order of the tokens; but a process that was stopped may
/// have gone on with what it had lost.
fn overlaps(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    // The execution of a later token that began first.
    let mut next: Option<&Execution> = None;
    let mut pending: Option<&Execution> = None;
    for execution in line.executions.iter().copied().rev() {
        if let Some(later) = pending {
            match execution.lease.token.cmp(&later.lease.token) {
                Ordering::Equal => {
                    let text = format!("ran twice under token {}", later.lease.token.0);
                    findings.broken(Promise::OneHolder, line.id, text);
                }
                _ if next.is_none_or(|next| later.started_at < next.started_at) => {
                    next = Some(later);
                }
                _ => {}
            }
        }
        pending = Some(execution);
        let Some(later) = next.filter(|next| next.lease.token > execution.lease.token) else {
            continue;
        };
        let until = ran_until(index, execution).max(execution.started_at);
        if until <= later.started_at {
            continue;
        }
        let held_from = execution
            .claim_asked_at
            .unwrap_or(execution.started_at)
            .min(later.started_at)
            .min(execution.started_at);
        // A command is not stopped with its worker. But a worker that was stopped between its claim and
        // the start may begin it late, until it sees that its lease is over.
        let began_late = execution.started_at > later.started_at
            && index.was_stopped(execution.holder, Moment(i64::MIN), execution.started_at);
        if began_late || index.was_stopped(execution.process, held_from, later.started_at) {
            findings.counted.stale += 1;
            continue;
        }
        let text = format!(
            "token {} ran from {} to {}, token {} from {} on",
            execution.lease.token.0,
            execution.started_at.0,
            until.0,
            later.lease.token.0,
            later.started_at.0,
        );
        findings.broken(Promise::OneHolder, line.id, text);
    }
}

/// Until when an execution is known to have run.
fn ran_until(index: &Index<'_>, execution: &Execution) -> Moment {
    match execution.ended {
        Some((at, _)) => at,
        None => index.killed_at(execution.process).unwrap_or(execution.started_at),
    }
}

/// Not before its time, not before those it waits for have completed, and not before its backoff.
fn early(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    let requests = index.requests(line.id);
    let not_before = requests.enqueued.iter().map(|(_, asked)| asked.not_before).min().flatten();
    let backoff = requests.enqueued.iter().map(|(_, asked)| asked.backoff_min).min();
    let mut previous: Option<&Execution> = None;
    for execution in line.executions.iter().copied() {
        let started_at = execution.started_at;
        // An operator who says "now" is stronger than all three.
        let hurried = |since| requests.retried.touch(since, started_at);
        if let Some(not_before) = not_before
            && started_at.0 + RESOLUTION < not_before.0
            && !hurried(Moment(i64::MIN))
        {
            let text = format!("started at {}, not to run before {}", started_at.0, not_before.0);
            findings.broken(Promise::NotEarly, line.id, text);
        }
        if let Some(parents) = waited_for(index, requests, started_at)
            && !hurried(Moment(i64::MIN))
        {
            let text = format!("started at {} before {parents} had completed", started_at.0);
            findings.broken(Promise::NotEarly, line.id, text);
        }
        if let Some(before) = previous
            && let Some((ended_at, How::Failed)) = before.ended
            && let Some(backoff) = backoff
            && ended_at <= started_at
            && failed_by_itself(line, before)
            && started_at.0 + RESOLUTION < ended_at.plus(backoff).0
            && !hurried(ended_at)
        {
            let text = format!("failed at {} and ran again at {}", ended_at.0, started_at.0);
            findings.broken(Promise::NotEarly, line.id, text);
        }
        previous = Some(execution);
    }
}

/// What a job that starts `at` that moment should have waited for, whichever of the calls that may have
/// made it did. That a parent has failed is seen by nobody but the store: only successes count here,
/// and only where nothing else would have done.
fn waited_for(index: &Index<'_>, requests: &Requests<'_>, at: Moment) -> Option<String> {
    let mut missing = requests.enqueued.iter().map(|(_, asked)| {
        let sure =
            |after: &&After| after.on == Condition::Success && asked.otherwise != Otherwise::Run;
        let waits = |after: &&After| !completed_by(index, &after.job, at);
        let missing: Vec<_> = asked.after.iter().filter(sure).filter(waits).collect();
        let enough = match asked.needs {
            Needs::All => missing.is_empty(),
            Needs::Any => missing.len() < asked.after.len() || missing.is_empty(),
        };
        (!enough).then(|| {
            let names: Vec<_> = missing.iter().map(|after| after.job.to_string()).collect();
            names.join(" and ")
        })
    });
    // If one of the calls would have let it start, it may have been that one.
    let first = missing.next()??;
    missing.all(|other| other.is_some()).then_some(first)
}

fn completed_by(index: &Index<'_>, id: &JobId, by: Moment) -> bool {
    let keys = index.keys.get(id).map_or(&[][..], Vec::as_slice);
    keys.iter().flat_map(|key| &index.lines[key].executions).any(|execution| {
        matches!(execution.ended, Some((at, How::Succeeded)) if at.0 <= by.0 + RESOLUTION)
    })
}

/// Whether an execution was recorded as a failure of the job: only that is followed by its backoff.
fn failed_by_itself(line: &Line<'_>, execution: &Execution) -> bool {
    let attempt = line.attempts.get(&execution.lease.token);
    let cause = attempt.and_then(|attempt| attempt.report.as_ref()).map(|report| report.cause);
    matches!(
        cause,
        Some(Cause::Failed | Cause::Exited | Cause::Signalled | Cause::TimedOut | Cause::Panicked)
    )
}

/// Nothing runs that is known to have ended, unless an operator asked for it since.
fn after_the_end(index: &Index<'_>, line: &Line<'_>, findings: &mut Findings) {
    let requests = index.requests(line.id);
    let Some(last) = line.executions.iter().max_by_key(|execution| execution.started_at) else {
        return;
    };
    let stale = |execution: &Execution, known_at| {
        let from = execution.claim_asked_at.unwrap_or(Moment(i64::MIN));
        index.was_stopped(execution.holder, from, known_at)
    };
    for call in &requests.cancelled_now {
        if last.started_at > call.over_at
            && !requests.retried.touch(call.asked_at, last.started_at)
            && !requests.made.touch(call.asked_at, last.started_at)
            && !stale(last, call.over_at)
        {
            let text =
                format!("was cancelled at {} and started at {}", call.over_at.0, last.started_at.0);
            findings.broken(Promise::TerminalIsFinal, line.id, text);
        }
    }
    for call in &requests.purge_done {
        if last.started_at > call.over_at
            && !requests.made.touch(call.asked_at, last.started_at)
            && !stale(last, call.over_at)
        {
            let text =
                format!("was deleted at {} and started at {}", call.over_at.0, last.started_at.0);
            findings.broken(Promise::TerminalIsFinal, line.id, text);
        }
    }
    for sighting in line.sightings.iter().filter(|sighting| sighting.state.is_terminal()) {
        let newer = line.executions.last().filter(|execution| {
            execution.lease.token > sighting.token
                && !requests.retried.touch(sighting.asked_at, execution.started_at)
        });
        let late = (last.lease.token <= sighting.token
            && last.started_at > sighting.seen_at
            && !stale(last, sighting.seen_at))
        .then_some(last);
        if let Some(execution) = newer.or(late) {
            let text = format!(
                "was {} at {} under token {}, and token {} started at {}",
                sighting.state,
                sighting.seen_at.0,
                sighting.token.0,
                execution.lease.token.0,
                execution.started_at.0,
            );
            findings.broken(Promise::TerminalIsFinal, line.id, text);
        }
    }
}

/// No claim that was asked for after a pause was acknowledged gives a job of that queue, until
/// somebody asks to resume it.
pub(super) fn claims_during_pause(index: &Index<'_>, findings: &mut Findings) {
    for line in index.lines.values() {
        let Some(queue) = queue_of(index, line) else { continue };
        let Some(pauses) = index.paused.get(queue) else { continue };
        for execution in &line.executions {
            let Some(claim_asked_at) = execution.claim_asked_at else { continue };
            let before = pauses.partition_point(|call| call.over_at < claim_asked_at);
            let Some(pause) = before.checked_sub(1).map(|last| pauses[last]) else { continue };
            let resumed = index
                .resumed
                .get(queue)
                .is_some_and(|resumed| resumed.touch(pause.asked_at, execution.started_at));
            if !resumed {
                let text = format!(
                    "was claimed at {} or later; its queue was paused at {}",
                    claim_asked_at.0, pause.over_at.0,
                );
                findings.broken(Promise::NotEarly, line.id, text);
            }
        }
    }
}

/// The queue of a job. One that is gone may have been made by any call that was told its id; those that
/// only found it by its unique key may have asked for another queue.
fn queue_of<'a>(index: &Index<'a>, line: &Line<'a>) -> Option<&'a Name> {
    if let Some(job) = line.job {
        return Some(&job.queue);
    }
    let enqueued = &index.requests(line.id).enqueued;
    let (_, first) = enqueued.first()?;
    enqueued.iter().all(|(_, asked)| asked.queue == first.queue).then_some(&first.queue)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queuectl_core::store::Cancelled;
    use queuectl_core::{Cause, State};

    use super::super::tiny::*;
    use super::super::{Answer, Fault, History, ProcessId, Request, check};
    use super::*;

    /// Token 1 runs from 10 to 20 in process 1, which then loses it; token 2 from `again` on.
    fn twice(again: i64) -> History {
        let mut history = good();
        history.executions.push(ran("a", 1, 2, 2, again, Some((again + 10, How::Succeeded))));
        history.end.jobs[0] = (
            job("a", 1, State::Completed, 2, 2),
            vec![attempt(1, 1, Some(Cause::LeaseLost)), attempt(2, 2, Some(Cause::Succeeded))],
        );
        history
    }

    #[test]
    fn two_executions_at_a_time_are_one_too_many() {
        let killed = Fault::Killed { process: ProcessId(1), at: ms(21) };
        let mut history = twice(15);
        history.faults.push(killed);
        assert_eq!(broken(&history), [Promise::OneHolder, Promise::ExplainedRun]);
        let mut history = twice(25);
        history.faults.push(killed);
        assert_eq!(broken(&history), []);
        // One that never said that it ended ran until its process was killed.
        let mut history = twice(15);
        history.executions[0].ended = None;
        history.faults.push(killed);
        assert_eq!(broken(&history), [Promise::OneHolder, Promise::ExplainedRun]);
        history.faults[0] = Fault::Killed { process: ProcessId(1), at: ms(14) };
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn a_process_that_was_stopped_may_go_on_with_what_it_lost() {
        let stop = |from, until| Fault::Stopped {
            process: ProcessId(1),
            from: ms(from),
            until: ms(until),
        };
        let mut history = twice(15);
        history.faults.push(stop(12, 18));
        assert_eq!(broken(&history), []);
        assert_eq!(check(&history).counted.stale, 1);
        // Not if it was stopped at another time, nor if the one that was stopped only held the lease
        // of a command that ran on.
        let mut history = twice(15);
        history.faults.push(stop(1, 3));
        history.faults.push(Fault::Killed { process: ProcessId(1), at: ms(21) });
        assert_eq!(broken(&history), [Promise::OneHolder, Promise::ExplainedRun]);
        let mut history = twice(15);
        history.faults.push(stop(12, 18));
        history.executions[0].process = ProcessId(77);
        assert_eq!(broken(&history), [Promise::OneHolder]);
        // But it may begin late, if its worker was stopped before.
        history.executions[0].started_at = ms(17);
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn an_older_token_does_not_begin_after_a_newer_one() {
        let mut history = twice(5);
        history.faults.push(Fault::Killed { process: ProcessId(1), at: ms(21) });
        assert_eq!(broken(&history), [Promise::OneHolder, Promise::ExplainedRun]);
        // Its process was stopped between the claim and the start.
        history.executions[0].claim_asked_at = Some(ms(2));
        history.faults[0] = Fault::Stopped { process: ProcessId(1), from: ms(3), until: ms(9) };
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn one_claim_runs_once() {
        let mut history = good();
        history.executions.push(ran("a", 1, 1, 2, 30, Some((40, How::Succeeded))));
        assert_eq!(broken(&history), [Promise::OneHolder]);
    }

    #[test]
    fn a_job_does_not_run_before_its_time() {
        let at = |moment: i64| {
            let mut history = good();
            let Request::Enqueue(jobs) = &mut history.calls[0].request else { unreachable!() };
            jobs[0].not_before = Some(ms(moment));
            history
        };
        assert_eq!(broken(&at(12)), [Promise::NotEarly]);
        // Within the resolution of the store's clock.
        assert_eq!(broken(&at(11)), []);
        let mut hurried = at(12);
        hurried.calls.push(call(5, 6, Answer::Unknown, Request::Retry(vec![id("a")])));
        assert_eq!(broken(&hurried), []);
    }

    #[test]
    fn a_job_waits_for_others() {
        let child = |start: i64| {
            let mut history = good();
            completed(&mut history, "b", 2, start);
            let Some(Request::Enqueue(jobs)) =
                history.calls.last_mut().map(|call| &mut call.request)
            else {
                unreachable!()
            };
            jobs[0].after = vec![id("a").into()];
            history
        };
        assert_eq!(broken(&child(15)), [Promise::NotEarly]);
        assert_eq!(broken(&child(25)), []);
    }

    #[test]
    fn a_failed_job_waits_for_its_backoff() {
        let failed = |again: i64| {
            let mut history = twice(again);
            history.executions[0].ended = Some((ms(20), How::Failed));
            history.end.jobs[0].1[0] = attempt(1, 1, Some(Cause::Failed));
            let Request::Enqueue(jobs) = &mut history.calls[0].request else { unreachable!() };
            jobs[0].backoff_min = Duration::from_millis(100);
            history
        };
        assert_eq!(broken(&failed(110)), [Promise::NotEarly]);
        assert_eq!(broken(&failed(120)), []);
    }

    #[test]
    fn a_cancelled_job_does_not_start() {
        let cancelled = |at: i64| {
            let mut history = good();
            let what = vec![(id("a"), Some(Cancelled::Now))];
            history.calls.push(call(at - 1, at, Answer::Done, Request::Cancel(what)));
            history.end.jobs[0].0.state = State::Cancelled;
            history.end.jobs[0].1 = vec![attempt(1, 1, Some(Cause::Failed))];
            history.executions[0].ended = Some((ms(20), How::Failed));
            history
        };
        assert_eq!(broken(&cancelled(9)), [Promise::TerminalIsFinal]);
        assert_eq!(broken(&cancelled(30)), []);
    }

    #[test]
    fn a_deleted_job_does_not_start() {
        let purged = |at: i64| {
            let mut history = good();
            history.calls.push(call(at - 1, at, Answer::Done, Request::Purge(vec![id("a")])));
            history.end.jobs.clear();
            history
        };
        assert_eq!(broken(&purged(9)), [Promise::TerminalIsFinal]);
        assert_eq!(broken(&purged(30)), []);
    }

    #[test]
    fn what_was_seen_to_have_ended_does_not_start() {
        let seen = |state| {
            let mut history = twice(50);
            history.faults.push(Fault::Killed { process: ProcessId(1), at: ms(20) });
            history.sightings.push(sighting("a", 1, 40, state, 1));
            history
        };
        assert_eq!(broken(&seen(State::Dead)), [Promise::TerminalIsFinal]);
        assert_eq!(broken(&seen(State::Pending)), []);
        let mut retried = seen(State::Dead);
        retried.calls.push(call(42, 43, Answer::Done, Request::Retry(vec![id("a")])));
        assert_eq!(broken(&retried), []);
    }

    #[test]
    fn nothing_is_claimed_from_a_paused_queue() {
        let paused = |at: i64| {
            let mut history = good();
            history.executions[0].claim_asked_at = Some(ms(8));
            history.calls.push(call(at - 1, at, Answer::Done, Request::Pause(queue())));
            history
        };
        assert_eq!(broken(&paused(5)), [Promise::NotEarly]);
        assert_eq!(broken(&paused(9)), []);
        let mut resumed = paused(5);
        resumed.calls.push(call(6, 7, Answer::Unknown, Request::Resume(queue())));
        assert_eq!(broken(&resumed), []);
        // Somebody who asked for that queue was given this job, of another one, by its unique key.
        let mut found = paused(5);
        let other = Name::new("other").unwrap();
        found.calls.push(call(3, 4, Answer::Done, enqueue(&["a"])));
        found.end.jobs[0].0.queue = other.clone();
        assert_eq!(broken(&found), []);
        found.calls[1].request = Request::Pause(other);
        assert_eq!(broken(&found), [Promise::NotEarly]);
    }
}
