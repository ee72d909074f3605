//! `wait`: waits until jobs have ended, and ends as they did.

use queuectl_core::store::{Store, StoreError};
use queuectl_core::{Cause, Clock, Job, JobId, Report, State, SystemClock};
use serde::Serialize;

use super::show::{job, reason};
use super::{count, job_ids};
use crate::args::Wait;
use crate::changes::Changes;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::when;
use crate::output::Paint;
use crate::output::json::SchemaVersion;
use crate::session::Session;

/// How long is waited between two looks where nothing tells of a change.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// How a job ended.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    id: String,
    state: State,
    attempts: u32,
    cause: Option<Cause>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    error: Option<String>,
    #[serde(skip)]
    said: String,
}

#[derive(Serialize)]
struct Document<'a> {
    schema_version: SchemaVersion,
    jobs: &'a [Ending],
    exit_code: u8,
}

pub(crate) fn run(session: &Session, args: &Wait) -> Result<Exit, CliError> {
    let ids = job_ids(&args.ids)?;
    let limit = args.timeout.as_deref().map(when::duration).transpose()?;
    let store = session.store_path()?.open()?;
    let changes = Changes::of(&store)?;
    for id in &ids {
        job(&store, id)?;
    }
    let began = SystemClock.boot();
    let mut endings: Vec<Option<Ending>> = ids.iter().map(|_| None).collect();
    let mut warned = false;
    loop {
        for (id, ending) in ids.iter().zip(&mut endings) {
            if ending.is_none() {
                *ending = ending_of(&store, id)?;
                if let Some(ending) = ending
                    && !session.ui.json
                {
                    let state = Paint::of(ending.state).on(session.ui.colour, &ending.said);
                    session.ui.line(format_args!("{id} {state}"))?;
                }
            }
        }
        if endings.iter().all(Option::is_some) {
            break;
        }
        if !warned && store.workers()?.iter().all(|worker| worker.dead) {
            session.ui.tell("no worker is running; start one with `queuectl worker start`");
        }
        warned = true;
        let left =
            limit.map_or(LOOK, |limit| limit.saturating_sub(SystemClock.boot().since(began)));
        if left.is_zero() {
            let missing = endings.iter().filter(|ending| ending.is_none()).count();
            return Err(CliError::new(
                Exit::TIMED_OUT,
                format!("gave up: {} had not ended in time", count(missing, "job")),
            )
            .hint("queuectl status"));
        }
        changes.wait(left);
    }
    let endings: Vec<Ending> = endings.into_iter().flatten().collect();
    finish(session, &endings)
}

/// Prints the endings for programs, and gives the exit code that they make.
pub(super) fn finish(session: &Session, endings: &[Ending]) -> Result<Exit, CliError> {
    let exit = match endings {
        [one] => one.exit(),
        several => Exit::of_failures(
            several.iter().filter(|ending| ending.state != State::Completed).count(),
        ),
    };
    if session.ui.json {
        session.ui.document(&Document {
            schema_version: SchemaVersion,
            jobs: endings,
            exit_code: exit.code(),
        })?;
    }
    Ok(exit)
}

/// How a job ended, or nothing if it has not.
pub(super) fn ending_of(store: &dyn Store, id: &JobId) -> Result<Option<Ending>, CliError> {
    let job = store.job(id)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
    if !job.state.is_terminal() {
        return Ok(None);
    }
    let report = match job.state {
        State::Completed => None,
        _ => store.attempts(job.key)?.pop().and_then(|attempt| attempt.report),
    };
    Ok(Some(Ending::of(&job, report.as_ref())))
}

impl Ending {
    fn of(job: &Job, report: Option<&Report>) -> Self {
        let said = match (job.state, report) {
            (State::Dead, Some(report)) => format!("dead: {}", reason(report)),
            (state, _) => state.to_string(),
        };
        Ending {
            id: job.id.to_string(),
            state: job.state,
            attempts: job.attempts,
            cause: report.map(|report| report.cause),
            exit_code: match job.state {
                State::Completed => Some(0),
                _ => report.and_then(|report| report.exit_code),
            },
            signal: report.and_then(|report| report.signal),
            error: job.last_error.clone(),
            said,
        }
    }

    /// The job.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where it ended.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// The exit code of waiting for this job alone.
    fn exit(&self) -> Exit {
        match (self.state, self.cause, self.signal, self.exit_code) {
            (State::Completed, ..) => Exit::DONE,
            (_, Some(Cause::TimedOut), ..) => Exit::TIMED_OUT,
            (_, Some(Cause::Signalled), Some(signal), _) => Exit::of_signal(signal),
            (_, Some(Cause::Exited), _, Some(code)) => Exit::of_code(code),
            _ => Exit::FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(state: State, cause: Cause, exit_code: Option<i32>, signal: Option<i32>) -> u8 {
        let ending = Ending {
            id: "q1".to_owned(),
            state,
            attempts: 1,
            cause: Some(cause),
            exit_code,
            signal,
            error: None,
            said: String::new(),
        };
        ending.exit().code()
    }

    #[test]
    fn the_exit_code_is_the_jobs_own() {
        assert_eq!(exit(State::Completed, Cause::Succeeded, Some(0), None), 0);
        assert_eq!(exit(State::Dead, Cause::Exited, Some(3), None), 3);
        assert_eq!(exit(State::Dead, Cause::Signalled, None, Some(9)), 137);
        // A command that is stopped at its limit ends by a signal too: the limit is the reason.
        assert_eq!(exit(State::Dead, Cause::TimedOut, None, Some(15)), 124);
        assert_eq!(exit(State::Dead, Cause::SpawnFailed, None, None), 1);
        assert_eq!(exit(State::Cancelled, Cause::Cancelled, None, None), 1);
    }
}
