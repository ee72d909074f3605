//! Histories that are small enough to read, for the tests of the checks.

use queuectl_core::{
    Attempt, Cause, Job, JobId, JobKey, Json, Lease, Name, Report, State, Timestamp, Token,
};

use super::{
    Answer, Asked, Call, Execution, History, How, Moment, ProcessId, Promise, Request, Sighting,
    check,
};

pub(super) fn ms(millis: i64) -> Moment {
    Moment(millis * 1_000)
}

pub(super) fn id(text: &str) -> JobId {
    text.parse().unwrap()
}

pub(super) fn queue() -> Name {
    Name::new("default").unwrap()
}

/// Enqueued from 1 to 2 ms, run from 10 to 20 ms in process 1, completed.
pub(super) fn good() -> History {
    let mut history = History::default();
    completed(&mut history, "a", 1, 10);
    history
}

/// Adds a job that was enqueued from 1 to 2 ms, ran at `start` for 10 ms in process 1 and completed.
pub(super) fn completed(history: &mut History, name: &str, key: i64, start: i64) {
    if !history.calls.iter().any(|call| asks_for(call, name)) {
        history.calls.push(call(1, 2, Answer::Done, enqueue(&[name])));
    }
    history.executions.push(ran(name, key, 1, 1, start, Some((start + 10, How::Succeeded))));
    let attempts = vec![attempt(1, 1, Some(Cause::Succeeded))];
    history.end.jobs.push((job(name, key, State::Completed, 1, 1), attempts));
}

fn asks_for(call: &Call, name: &str) -> bool {
    matches!(&call.request, Request::Enqueue(jobs)
        if jobs.iter().any(|asked| asked.id.as_ref() == Some(&id(name))))
}

pub(super) fn call(asked: i64, over: i64, answer: Answer, request: Request) -> Call {
    Call { asked_at: ms(asked), over_at: ms(over), answer, request }
}

pub(super) fn enqueue(names: &[&str]) -> Request {
    Request::Enqueue(names.iter().map(|name| Asked::new(Some(id(name)), queue())).collect())
}

pub(super) fn enqueue_with_key(name: &str, key: &str) -> Request {
    let mut asked = Asked::new(Some(id(name)), queue());
    asked.unique_key = Some(key.to_owned());
    Request::Enqueue(vec![asked])
}

pub(super) fn ran(
    name: &str,
    key: i64,
    token: i64,
    process: u64,
    start: i64,
    end: Option<(i64, How)>,
) -> Execution {
    Execution {
        id: id(name),
        lease: Lease { key: JobKey(key), token: Token(token) },
        holder: ProcessId(process),
        process: ProcessId(process),
        claim_asked_at: None,
        started_at: ms(start),
        ended: end.map(|(at, how)| (ms(at), how)),
    }
}

pub(super) fn sighting(name: &str, key: i64, at: i64, state: State, token: i64) -> Sighting {
    Sighting {
        asked_at: ms(at),
        seen_at: ms(at + 1),
        id: id(name),
        key: JobKey(key),
        state,
        token: Token(token),
    }
}

pub(super) fn job(name: &str, key: i64, state: State, token: i64, attempts: u32) -> Job {
    let epoch = Timestamp::from_millis(0);
    Job {
        key: JobKey(key),
        id: id(name),
        queue: queue(),
        kind: Name::new("k").unwrap(),
        payload: Json::parse("null").unwrap(),
        state,
        priority: 0,
        run_at: epoch,
        expires_at: None,
        created_at: epoch,
        updated_at: epoch,
        started_at: None,
        finished_at: None,
        attempts,
        max_attempts: 4,
        max_crashes: None,
        token: Token(token),
        worker: None,
        timeout: None,
        backoff: None,
        unique_key: None,
        unique_while: Vec::new(),
        unique_until: None,
        concurrency_key: None,
        tags: Vec::new(),
        batch: None,
        waits_for: Vec::new(),
        waits_for_batches: Vec::new(),
        needs: queuectl_core::Needs::All,
        otherwise: queuectl_core::Otherwise::Wait,
        cancel_reason: None,
        cancelled_by: None,
        last_error: None,
        result: None,
        failure: None,
        progress: None,
    }
}

pub(super) fn attempt(token: i64, number: u32, cause: Option<Cause>) -> Attempt {
    let epoch = Timestamp::from_millis(0);
    Attempt {
        token: Token(token),
        number,
        worker: None,
        started_at: epoch,
        finished_at: cause.map(|_| epoch),
        report: cause.map(Report::new),
    }
}

/// Which promises a history breaks, each once.
pub(super) fn broken(history: &History) -> Vec<Promise> {
    let mut promises: Vec<Promise> =
        check(history).violations.into_iter().map(|violation| violation.promise).collect();
    promises.dedup();
    promises
}
