//! Shell jobs: commands that run as processes of their own.
//!
//! A [`ShellJob`] is the payload, a [`ShellHandler`] runs it. What it promises of every attempt:
//!
//! * The command runs in a process group of its own, with `/dev/null` as its input, with no signal
//!   ignored or blocked, and with no descriptor of the worker but one: the attempt's lock.
//! * Both outputs are read to their end, however long, and kept as bytes: the head and the tail in
//!   the attempt's record, and up to a limit in a file that can be followed while the command runs
//!   (see [`log_paths`]).
//! * When it has to stop, its group is sent TERM, and KILL after the grace. A command that was told
//!   to stop has not succeeded, even if it exits with 0: programs do that when they are interrupted
//!   in the middle of their work, and running a job once too often is the lesser evil.
//! * When it ends, whatever it left in its group is ended as well: by itself within a tenth of a
//!   second, else by TERM, else by KILL when the grace is over. A process that made itself a group
//!   or session of its own outlives the end of its attempt; so much freedom a command has.
//! * When its worker dies, the kernel kills the command at once. Whatever else the attempt started,
//!   in its group or not, is found and killed before the job runs again: by the lock, which every
//!   descendant inherits, and by a mark in its environment. What closes the descriptor *and* wipes
//!   its environment is out of reach.
//!
//! The command finds `QUEUECTL_JOB_ID`, `QUEUECTL_ATTEMPT` and `QUEUECTL_LEASE` in its environment.

mod child;
mod ending;
mod folder;
mod leftovers;
mod lookup;
mod output;
mod payload;
mod processes;
mod running;
mod spawn;
mod verdict;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use folder::log_paths;
pub use payload::{Program, ShellJob};

use crate::attempt::{Cause, Report};
use crate::handler::{Context, Finished, Handler, Outcome};
use crate::id::{JobKey, Token};
use crate::job::Claimed;
use crate::store::BoxError;
use folder::Folder;
use running::Running;
use spawn::{Failure, Launch};

/// The kind of shell jobs.
pub const SHELL_KIND: &str = "shell";

/// The job's id, in the environment of its command.
const ENV_JOB_ID: &str = "QUEUECTL_JOB_ID";

/// Which attempt it is, from 1 on, in the environment of its command.
const ENV_ATTEMPT: &str = "QUEUECTL_ATTEMPT";

/// `<store identity>:<job key>:<token>`: marks every process of an attempt.
const ENV_LEASE: &str = "QUEUECTL_LEASE";

/// How a [`ShellHandler`] runs commands.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// Bytes of each output kept in the attempt's record: half of them from its beginning, half
    /// from its end. Held in memory while the command runs.
    pub output_limit: u64,
    /// Bytes of each output kept in its log file.
    pub log_limit: u64,
    /// The time between TERM and KILL.
    pub grace: Duration,
    /// The folder of log files and attempt locks. Made if it is missing; closed to other users.
    pub logs: PathBuf,
    /// The identity of the store: tells the processes of its attempts from those of another store.
    pub store: String,
}

/// Runs shell jobs. The [module](self) says what it promises.
#[derive(Debug)]
pub struct ShellHandler {
    options: ShellOptions,
}

impl ShellHandler {
    /// A handler with the given options.
    ///
    /// If this process ignores SIGCHLD, which it may have inherited from whatever started it, that
    /// ends here: the kernel would tell nobody how a command has ended.
    ///
    /// # Errors
    ///
    /// If the folder of logs cannot be made or belongs to another user, or if the store's identity
    /// has a NUL byte, which no environment can carry.
    pub fn new(options: ShellOptions) -> io::Result<Self> {
        if options.store.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the store's identity contains a NUL byte",
            ));
        }
        Folder::open(&options.logs)?;
        spawn::hear_of_children();
        Ok(ShellHandler { options })
    }

    /// Starts the command of an attempt, or says why it cannot be started.
    fn start(&self, shell: &ShellJob, job: &Claimed) -> Result<Running, Failure> {
        let trouble = |error: &io::Error| {
            let logs = self.options.logs.display();
            Failure::transient(format!("the attempt's lock in {logs}: {error}"))
        };
        let launch = Launch::new(shell, self.environment(shell, job))?;
        let folder = Folder::open(&self.options.logs).map_err(|error| trouble(&error))?;
        let lease = job.lease;
        let lock = folder.lock(lease).map_err(|error| trouble(&error))?;
        Running::start(launch, lock, folder, lease, &self.options)
    }

    /// The worker's environment, what the job asks for, and what marks the attempt.
    fn environment(&self, shell: &ShellJob, job: &Claimed) -> Vec<(OsString, OsString)> {
        let asked = shell.env.iter().map(|(name, value)| (name.as_str(), value));
        let marks = [
            (ENV_JOB_ID, job.id.to_string()),
            (ENV_ATTEMPT, job.attempt.to_string()),
            (ENV_LEASE, processes::mark(&self.options.store, job.lease.key, job.lease.token)),
        ];
        let mut variables: std::collections::BTreeMap<OsString, OsString> =
            std::env::vars_os().collect();
        variables.extend(asked.map(|(name, value)| (name.into(), value.into())));
        variables.extend(marks.map(|(name, value)| (name.into(), value.into())));
        variables.into_iter().collect()
    }
}

impl Handler for ShellHandler {
    fn run(&self, job: &Claimed, context: &Context) -> Finished {
        let decoded = job
            .payload
            .decode::<ShellJob>()
            .map_err(|error| error.to_string())
            .and_then(|shell| shell.check().map(|()| shell));
        let shell = match decoded {
            Ok(shell) => shell,
            Err(reason) => {
                let text = format!("the payload is not a shell job: {reason}");
                return failed(Cause::Undecodable, &text, Outcome::Dead);
            }
        };
        // A worker that was suspended on its way here may have lost the job in the meantime; what
        // it has not started need not be ended.
        if let Some(stop) = context.stop_requested() {
            return verdict::not_started(stop);
        }
        // The worker's default limit is known only by what is left of it.
        let limit = job.timeout.or(context.time_left());
        match self.start(&shell, job) {
            Ok(running) => running.finish(context, limit),
            Err(failure) => failure.into(),
        }
    }

    fn clean_up(&self, job: JobKey, from: Token, before: Token) -> Result<(), BoxError> {
        let folder = Folder::open(&self.options.logs)?;
        leftovers::end(&folder, &self.options.store, job, from, before)
    }
}

fn failed(cause: Cause, text: &str, outcome: fn(BoxError) -> Outcome) -> Finished {
    Finished { report: Report::failure(cause, text), ..Finished::of(outcome(text.into())) }
}
