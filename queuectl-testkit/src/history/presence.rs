//! What must be there, and what must not: lost jobs, phantoms, torn batches, two with one key.

use std::collections::HashMap;

use queuectl_core::{JobId, JobKey};

use super::findings::{Findings, Promise};
use super::index::{Index, RESOLUTION};
use super::{Answer, Asked, Call, Moment, Request};

pub(super) fn check(index: &Index<'_>, findings: &mut Findings) {
    for call in &index.history.calls {
        if let Request::Enqueue(jobs) = &call.request {
            match call.answer {
                Answer::Done => jobs.iter().for_each(|asked| acked(index, call, asked, findings)),
                Answer::Unknown => unknown(index, jobs, findings),
                Answer::Refused => {}
            }
        }
    }
    phantoms(index, findings);
    living_twice(index, findings);
    met_in_life(index, findings);
}

/// An acknowledged job is there, or somebody deleted it.
fn acked(index: &Index<'_>, call: &Call, asked: &Asked, findings: &mut Findings) {
    let Some(id) = &asked.id else {
        return;
    };
    findings.counted.acknowledged += 1;
    let lines = index.keys.get(id).map_or(&[][..], Vec::as_slice);
    let there = lines.iter().any(|key| index.lines[key].job.is_some());
    let deleted = index.requests(id).purged.touch(call.asked_at, Moment::NEVER)
        || (index.history.end.retention && !lines.is_empty());
    if !there && !deleted {
        let ran = if lines.is_empty() { "never ran" } else { "ran" };
        let text = format!("acknowledged at {}, {ran}, and is gone", call.over_at.0);
        findings.broken(Promise::NothingLost, id, text);
    }
}

/// A batch of unknown outcome is there wholly or not at all. Jobs with a unique key say nothing: such
/// a job may be missing because another lived.
fn unknown(index: &Index<'_>, jobs: &[Asked], findings: &mut Findings) {
    let acked_elsewhere = |id: &JobId| {
        index.requests(id).enqueued.iter().any(|(call, _)| call.answer == Answer::Done)
    };
    let seen = |asked: &&Asked| asked.id.as_ref().is_some_and(|id| index.seen(id));
    let new = jobs.iter().filter(seen).filter_map(|asked| asked.id.as_ref());
    findings.counted.recovered += new.filter(|id| !acked_elsewhere(id)).count() as u64;
    let plain: Vec<&Asked> = jobs.iter().filter(|asked| asked.unique_key.is_none()).collect();
    let missing = plain.iter().filter(|asked| !seen(asked)).count();
    if let Some(there) = plain.iter().copied().find(seen)
        && missing > 0
        && let Some(id) = &there.id
    {
        let text = format!("is there; {missing} of {} in its batch are not", plain.len());
        findings.broken(Promise::WholeBatch, id, text);
    }
}

/// Whatever there is was asked for, as often as it was made.
fn phantoms(index: &Index<'_>, findings: &mut Findings) {
    for (&id, keys) in &index.keys {
        let asked = index.requests(id).enqueued.len();
        if asked == 0 {
            findings.broken(Promise::NoPhantom, id, "nobody asked for it");
        } else if keys.len() > asked {
            let text = format!("was made {} times and asked for {asked} times", keys.len());
            findings.broken(Promise::NoPhantom, id, text);
        }
    }
}

/// At the end no two living jobs have one unique key.
fn living_twice(index: &Index<'_>, findings: &mut Findings) {
    let mut living: HashMap<&str, &JobId> = HashMap::new();
    for (job, _) in &index.history.end.jobs {
        if let Some(key) = job.unique_key.as_deref().filter(|_| !job.state.is_terminal())
            && let Some(other) = living.insert(key, &job.id)
        {
            let text = format!("lives with the unique key {key:?}, and so does {other}");
            findings.broken(Promise::UniqueKey, &job.id, text);
        }
    }
}

/// A time at which a job is known to have lived.
struct Life<'a> {
    from: Moment,
    until: Moment,
    key: JobKey,
    id: &'a JobId,
}

/// No two jobs with one unique key ever lived at a time, as far as their lives are known: a job lives
/// when it is known to be there and later begins to run, and from one execution to the next, unless
/// an operator made it live again.
fn met_in_life(index: &Index<'_>, findings: &mut Findings) {
    let mut lives: HashMap<&str, Vec<Life<'_>>> = HashMap::new();
    for line in index.lines.values() {
        let requests = index.requests(line.id);
        let keys = index.keys.get(line.id).map_or(0, Vec::len);
        let Some((call, asked)) = requests.enqueued.first().filter(|_| keys == 1) else {
            continue;
        };
        let Some(unique) = asked.unique_key.as_deref() else { continue };
        let known =
            (call.answer == Answer::Done && requests.enqueued.len() == 1).then_some(call.over_at);
        let fresh = line.executions.iter().filter(|execution| {
            !index.was_stopped(execution.process, Moment(i64::MIN), execution.started_at)
        });
        let mut starts: Vec<Moment> = known.into_iter().collect();
        starts.extend(fresh.map(|execution| execution.started_at));
        let lives = lives.entry(unique).or_default();
        for pair in starts.windows(2) {
            let (from, until) = (pair[0], pair[1]);
            if !requests.retried.touch(from, until) {
                lives.push(Life { from, until, key: line.key, id: line.id });
            }
        }
    }
    for (unique, mut lives) in lives {
        lives.sort_by_key(|life| (life.from, life.until));
        let mut longest: Option<&Life<'_>> = None;
        for life in &lives {
            if let Some(before) = longest
                && before.key != life.key
                && before.until.0 > life.from.0 + RESOLUTION
            {
                let text = format!("lived with the unique key {unique:?} while {} did", before.id);
                findings.broken(Promise::UniqueKey, life.id, text);
            }
            if longest.is_none_or(|before| life.until > before.until) {
                longest = Some(life);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use queuectl_core::{Cause, State};

    use super::super::tiny::*;
    use super::super::{Answer, History, How, Promise, Request, check};

    #[test]
    fn an_acknowledged_job_that_is_gone_is_lost() {
        let mut history = good();
        history.end.jobs.clear();
        assert_eq!(broken(&history), [Promise::NothingLost]);
        let mut never_ran = good();
        never_ran.end.jobs.clear();
        never_ran.executions.clear();
        assert_eq!(broken(&never_ran), [Promise::NothingLost]);
        // An unknown outcome may be nothing.
        never_ran.calls[0].answer = Answer::Unknown;
        assert_eq!(broken(&never_ran), []);
        // Somebody deleted it, or may have.
        for answer in [Answer::Done, Answer::Unknown] {
            let mut purged = good();
            purged.end.jobs.clear();
            purged.calls.push(call(30, 40, answer, Request::Purge(vec![id("a")])));
            assert_eq!(broken(&purged), []);
        }
    }

    #[test]
    fn what_nobody_asked_for_is_a_phantom() {
        let mut history = good();
        history.calls.clear();
        assert_eq!(broken(&history), [Promise::NoPhantom]);
        let mut refused = good();
        refused.calls[0].answer = Answer::Refused;
        assert_eq!(broken(&refused), [Promise::NoPhantom]);
        let mut recovered = good();
        recovered.calls[0].answer = Answer::Unknown;
        let findings = check(&recovered);
        assert!(findings.holds(), "{findings:?}");
        assert_eq!((findings.counted.recovered, findings.counted.acknowledged), (1, 0));
    }

    #[test]
    fn one_call_makes_one_job() {
        let mut history = good();
        completed(&mut history, "a", 2, 50);
        assert_eq!(broken(&history), [Promise::NoPhantom]);
        history.calls.push(call(40, 45, Answer::Unknown, enqueue(&["a"])));
        history.calls.push(call(38, 39, Answer::Done, Request::Purge(vec![id("a")])));
        history.end.jobs.remove(0);
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn half_a_batch_is_torn() {
        let mut history = good();
        history.calls[0] = call(1, 2, Answer::Unknown, enqueue(&["a", "b"]));
        assert_eq!(broken(&history), [Promise::WholeBatch]);
        completed(&mut history, "b", 2, 50);
        assert_eq!(broken(&history), []);
    }

    #[test]
    fn two_living_jobs_with_one_key_collide() {
        let keyed = |state: State| {
            let mut history = good();
            for name in ["b", "c"] {
                history.calls.push(call(3, 4, Answer::Done, enqueue_with_key(name, "k")));
                let mut job = job(name, i64::from(name.as_bytes()[0]), state, 0, 0);
                job.unique_key = Some("k".to_owned());
                history.end.jobs.push((job, Vec::new()));
            }
            history.end.drained = false;
            history
        };
        assert_eq!(broken(&keyed(State::Pending)), [Promise::UniqueKey]);
        let mut one_dead = keyed(State::Pending);
        one_dead.end.jobs[1].0.state = State::Cancelled;
        one_dead.calls.push(call(5, 6, Answer::Done, Request::Cancel(vec![(id("b"), None)])));
        assert_eq!(broken(&one_dead), []);
    }

    #[test]
    fn two_jobs_with_one_key_never_lived_at_a_time() {
        // b is there from 4 on and runs at 30; c is there from `made` on and runs at 60.
        let history = |made: i64| {
            let mut history = History::default();
            history.calls.push(call(3, 4, Answer::Done, enqueue_with_key("b", "k")));
            history.calls.push(call(made - 1, made, Answer::Done, enqueue_with_key("c", "k")));
            for (name, key, start) in [("b", 1, 30), ("c", 2, 60)] {
                history.executions.push(ran(
                    name,
                    key,
                    1,
                    1,
                    start,
                    Some((start + 5, How::Succeeded)),
                ));
                let attempts = vec![attempt(1, 1, Some(Cause::Succeeded))];
                history.end.jobs.push((job(name, key, State::Completed, 1, 1), attempts));
            }
            history
        };
        assert_eq!(broken(&history(20)), [Promise::UniqueKey]);
        assert_eq!(broken(&history(40)), []);
    }
}
