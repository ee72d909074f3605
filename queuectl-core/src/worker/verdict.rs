//! From how an attempt ended to what is settled: a pure function.

use std::time::Duration;

use crate::attempt::{Cause, Report};
use crate::clock::Timestamp;
use crate::handler::{Finished, Outcome, StopCause};
use crate::job::Claimed;
use crate::settings::Settings;
use crate::state::State;
use crate::store::{Settlement, Verdict};

/// The settlement of an attempt that a handler has finished. `random` in `[0, 1)` decides the
/// jitter of the backoff.
pub fn settlement(
    job: &Claimed,
    finished: Finished,
    started_at: Timestamp,
    settings: &Settings,
    random: f64,
) -> Settlement {
    let Finished { outcome, mut report, stopped, leftovers } = finished;
    let backoff = || {
        let policy = job.backoff.clone().unwrap_or_else(|| settings.backoff());
        policy.delay(job.attempt, random)
    };
    let verdict = match (outcome, stopped) {
        (Outcome::Done, _) => Verdict::Complete { result: None },
        (Outcome::DoneWith(result), _) => Verdict::Complete { result: Some(result) },
        (Outcome::Snooze(wake_in), _) => Verdict::Snooze { wake_in },
        (Outcome::Dead(_), _) => Verdict::Die,
        (Outcome::Cancel(_), _) => Verdict::Cancel,
        // What failed because it was told to end has not failed by itself.
        (_, Some(StopCause::Shutdown)) => {
            report.cause = Cause::Interrupted;
            Verdict::Release
        }
        (_, Some(StopCause::Cancelled(_))) => {
            report.cause = Cause::Cancelled;
            Verdict::Cancel
        }
        (_, Some(StopCause::LeaseLost)) => {
            report.cause = Cause::LeaseLost;
            Verdict::Fail { retry_in: Duration::ZERO }
        }
        (Outcome::RetryAfter(_, delay), stopped) => {
            timed_out(&mut report, stopped.as_ref());
            Verdict::Fail { retry_in: delay }
        }
        (Outcome::Retry(_), stopped) => {
            timed_out(&mut report, stopped.as_ref());
            Verdict::Fail { retry_in: backoff() }
        }
    };
    let report = (!report.is_bare_success()).then(|| Box::new(report));
    Settlement { lease: job.lease, verdict, started_at, report, leftovers }
}

fn timed_out(report: &mut Report, stopped: Option<&StopCause>) {
    if stopped == Some(&StopCause::TimedOut) {
        report.cause = Cause::TimedOut;
    }
}

/// Where a settlement leaves its job, and when the job runs again; as the store decides it, but for
/// a request to cancel that came meanwhile.
pub(super) fn outcome(job: &Claimed, verdict: &Verdict) -> (State, Option<Duration>) {
    match verdict {
        Verdict::Complete { .. } => (State::Completed, None),
        Verdict::Fail { retry_in } if job.attempt < job.max_attempts => {
            (State::Failed, Some(*retry_in))
        }
        Verdict::Fail { .. } | Verdict::Die => (State::Dead, None),
        Verdict::Snooze { wake_in } => (State::Pending, Some(*wake_in)),
        Verdict::Release => (State::Pending, None),
        Verdict::Cancel => (State::Cancelled, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobId, JobKey, Lease, Name, Token, WorkerKey};
    use crate::job::Json;

    fn job(attempt: u32) -> Claimed {
        let mut job = Claimed::new(
            Lease { key: JobKey(1), token: Token(1) },
            WorkerKey(1),
            JobId::Auto(JobKey(1)),
            Name::new("default").unwrap(),
            Name::new("k").unwrap(),
            Json::parse("null").unwrap(),
        );
        job.attempt = attempt;
        job
    }

    fn settle(attempt: u32, outcome: Outcome, stopped: Option<StopCause>) -> Settlement {
        let finished = Finished { stopped, ..Finished::of(outcome) };
        settlement(&job(attempt), finished, Timestamp::from_millis(0), &Settings::default(), 0.0)
    }

    #[test]
    fn failures_wait_two_four_and_eight_seconds() {
        for (attempt, seconds) in [(1, 2), (2, 4), (3, 8)] {
            let settled = settle(attempt, Outcome::Retry("no".into()), None);
            let expected = Verdict::Fail { retry_in: Duration::from_secs(seconds) };
            assert_eq!(settled.verdict, expected);
            let state = outcome(&job(attempt), &settled.verdict).0;
            assert_eq!(state, State::Failed);
        }
        let last = settle(4, Outcome::Retry("no".into()), None);
        assert_eq!(outcome(&job(4), &last.verdict), (State::Dead, None));
    }

    #[test]
    fn a_job_has_its_own_backoff() {
        let mut job = job(2);
        job.backoff = Some("constant:7s".parse().unwrap());
        let finished = Finished::of(Outcome::Retry("no".into()));
        let at = Timestamp::from_millis(0);
        let settled = settlement(&job, finished, at, &Settings::default(), 0.0);
        assert_eq!(settled.verdict, Verdict::Fail { retry_in: Duration::from_secs(7) });
    }

    #[test]
    fn being_told_to_end_is_not_a_failure_of_the_job() {
        let fail = || Outcome::Retry("told to".into());
        let shutdown = settle(1, fail(), Some(StopCause::Shutdown));
        assert_eq!(shutdown.verdict, Verdict::Release);
        assert_eq!(shutdown.report.unwrap().cause, Cause::Interrupted);

        let cancelled = settle(1, fail(), Some(StopCause::Cancelled("why".into())));
        assert_eq!(cancelled.verdict, Verdict::Cancel);

        let timed_out = settle(1, fail(), Some(StopCause::TimedOut));
        assert!(matches!(timed_out.verdict, Verdict::Fail { .. }));
        assert_eq!(timed_out.report.unwrap().cause, Cause::TimedOut);
    }

    #[test]
    fn what_is_done_is_done_even_if_it_was_told_to_end() {
        let settled = settle(1, Outcome::Done, Some(StopCause::Shutdown));
        assert_eq!(settled.verdict, Verdict::Complete { result: None });
        assert!(settled.report.is_none());
    }
}
