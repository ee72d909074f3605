//! What the end of a command means: the outcome, the recorded cause, and the sentence for people.
//! Pure.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use super::failed;
use crate::attempt::Cause;
use crate::handler::{Finished, Outcome, StopCause};

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its status; or why there is none, which is so when the program around the worker ignores
    /// SIGCHLD.
    pub(super) status: Result<ExitStatus, String>,
    /// The request to stop on which it was signalled, if it was.
    pub(super) stop: Option<StopCause>,
    /// Whether KILL was sent to it.
    pub(super) killed: bool,
    /// Its time limit.
    pub(super) limit: Option<Duration>,
}

impl Ended {
    /// Success is exit code 0, unless the command had been told to stop: then 0 may just as well
    /// mean that it tidied up and left its work undone.
    pub(super) fn judge(self) -> Finished {
        let status = self.status.as_ref().ok();
        let code = status.and_then(ExitStatus::code);
        let signal = status.and_then(ExitStatus::signal);
        let mut finished = match (self.stop, self.status) {
            (Some(stop), _) => stopped(stop, &self.limit, self.killed),
            (None, Err(reason)) => {
                let text = format!("how the command ended is not known: {reason}");
                failed(Cause::Failed, &text, Outcome::Retry)
            }
            (None, Ok(status)) => of_status(status),
        };
        finished.report.exit_code = code;
        finished.report.signal = signal;
        finished
    }
}

/// The end of an attempt that was told to stop before its command was started.
pub(super) fn not_started(stop: StopCause) -> Finished {
    let (cause, text) = cause_of(&stop, &None);
    Finished {
        stopped: Some(stop),
        ..failed(cause, &format!("{text}, before the command was started"), Outcome::Retry)
    }
}

fn stopped(stop: StopCause, limit: &Option<Duration>, killed: bool) -> Finished {
    let (cause, mut text) = cause_of(&stop, limit);
    if killed && stop != StopCause::LeaseLost {
        text.push_str("; it did not end on TERM and was killed");
    }
    Finished { stopped: Some(stop), ..failed(cause, &text, Outcome::Retry) }
}

fn cause_of(stop: &StopCause, limit: &Option<Duration>) -> (Cause, String) {
    match stop {
        StopCause::TimedOut => match limit {
            Some(limit) => {
                let limit = humantime::format_duration(rounded(*limit));
                (Cause::TimedOut, format!("timed out after {limit}"))
            }
            None => (Cause::TimedOut, "timed out".to_owned()),
        },
        StopCause::Cancelled(reason) if reason.is_empty() => {
            (Cause::Cancelled, "cancelled".to_owned())
        }
        StopCause::Cancelled(reason) => (Cause::Cancelled, format!("cancelled: {reason}")),
        StopCause::Shutdown => {
            (Cause::Interrupted, "interrupted: the worker was stopped".to_owned())
        }
        StopCause::LeaseLost => {
            (Cause::LeaseLost, "ended because the worker lost the job".to_owned())
        }
    }
}

/// The limit as it was set, from what was left of it when the attempt had just begun.
fn rounded(left: Duration) -> Duration {
    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let unit = match millis {
        0..1_000 => 10,
        1_000..10_000 => 100,
        _ => 1_000,
    };
    Duration::from_millis(millis.saturating_add(unit / 2) / unit * unit)
}

fn of_status(status: ExitStatus) -> Finished {
    match (status.code(), status.signal()) {
        (Some(0), _) => Finished::of(Outcome::Done),
        (Some(code), _) => {
            failed(Cause::Exited, &format!("exit code {code}{}", hint(code)), Outcome::Retry)
        }
        (None, Some(signal)) => {
            let text = format!("killed by signal {}", signal_shown(signal));
            failed(Cause::Signalled, &text, Outcome::Retry)
        }
        (None, None) => failed(
            Cause::Failed,
            &format!("the command ended in an unknown way: {status}"),
            Outcome::Retry,
        ),
    }
}

/// What shells mean by some exit codes. A guess, and said to be one: a program may use them for
/// anything.
fn hint(code: i32) -> String {
    match code {
        126 => " (likely: not executable)".to_owned(),
        127 => " (likely: command not found)".to_owned(),
        129..=192 => match signal_name(code - 128) {
            Some(_) => format!(" (likely: signal {})", signal_shown(code - 128)),
            None => String::new(),
        },
        _ => String::new(),
    }
}

fn signal_shown(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("{signal} ({name})"),
        None => signal.to_string(),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let names = [
        (libc::SIGHUP, "HUP"),
        (libc::SIGINT, "INT"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGILL, "ILL"),
        (libc::SIGTRAP, "TRAP"),
        (libc::SIGABRT, "ABRT"),
        (libc::SIGBUS, "BUS"),
        (libc::SIGFPE, "FPE"),
        (libc::SIGKILL, "KILL"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGSEGV, "SEGV"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGPIPE, "PIPE"),
        (libc::SIGALRM, "ALRM"),
        (libc::SIGTERM, "TERM"),
        (libc::SIGVTALRM, "VTALRM"),
        (libc::SIGXCPU, "XCPU"),
        (libc::SIGXFSZ, "XFSZ"),
        (libc::SIGSYS, "SYS"),
    ];
    let found = names.into_iter().find(|(number, _)| *number == signal);
    found.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: i32) -> Ended {
        Ended { status: Ok(ExitStatus::from_raw(status)), stop: None, killed: false, limit: None }
    }

    fn text(finished: &Finished) -> &str {
        finished.report.error.as_deref().unwrap_or_default()
    }

    #[test]
    fn codes_and_signals_are_told_apart() {
        let finished = ended(0).judge();
        assert!(matches!(finished.outcome, Outcome::Done));
        assert_eq!(finished.report.cause, Cause::Succeeded);
        assert_eq!(finished.report.exit_code, Some(0));

        let finished = ended(3 << 8).judge();
        assert!(matches!(finished.outcome, Outcome::Retry(_)));
        assert_eq!(finished.report.cause, Cause::Exited);
        assert_eq!(text(&finished), "exit code 3");

        let finished = ended(9).judge();
        assert_eq!(finished.report.cause, Cause::Signalled);
        assert_eq!((finished.report.exit_code, finished.report.signal), (None, Some(9)));
        assert_eq!(text(&finished), "killed by signal 9 (KILL)");
        // With a core dump.
        assert_eq!(text(&ended(0x80 | 11).judge()), "killed by signal 11 (SEGV)");
        assert_eq!(text(&ended(35).judge()), "killed by signal 35");
        assert_eq!(text(&ended(137 << 8).judge()), "exit code 137 (likely: signal 9 (KILL))");
        assert_eq!(text(&ended(255 << 8).judge()), "exit code 255");
    }

    #[test]
    fn whoever_was_told_to_stop_has_not_succeeded() {
        for (stop, cause, sentence) in [
            (StopCause::TimedOut, Cause::TimedOut, "timed out after 2s"),
            (StopCause::Cancelled("by ada".into()), Cause::Cancelled, "cancelled: by ada"),
            (StopCause::Shutdown, Cause::Interrupted, "interrupted: the worker was stopped"),
            (StopCause::LeaseLost, Cause::LeaseLost, "ended because the worker lost the job"),
        ] {
            let finished = Ended {
                stop: Some(stop.clone()),
                limit: Some(Duration::from_millis(1_998)),
                ..ended(0)
            }
            .judge();
            assert!(matches!(finished.outcome, Outcome::Retry(_)));
            assert_eq!(finished.report.cause, cause);
            assert_eq!(finished.report.exit_code, Some(0));
            assert_eq!(finished.stopped, Some(stop));
            assert_eq!(text(&finished), sentence);
        }
    }

    #[test]
    fn a_limit_is_shown_as_it_was_set() {
        for (left, shown) in [(248, 250), (1_997, 2_000), (1_500, 1_500), (299_800, 300_000)] {
            assert_eq!(rounded(Duration::from_millis(left)), Duration::from_millis(shown));
        }
    }
}
