//! What a shell job says: the program, where it runs, what is added to its environment. Everything
//! that can be refused before a process exists is refused here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ENV_ATTEMPT, ENV_JOB_ID, ENV_LEASE, SHELL_KIND};
use crate::job::{InvalidJob, NewJob};

/// The payload of a shell job: exactly one of `command` and `argv`, and optionally `cwd` and `env`.
/// As JSON: `{"command":"make all","cwd":"/src","env":{"CC":"clang"}}`. A field of any other name
/// is an error, so that a misspelt one is not silently without effect.
///
/// ```
/// use queuectl_core::shell::{Program, ShellJob};
///
/// let job = ShellJob::new(Program::Command("sleep 2".into())).into_job()?.max_retries(3);
/// assert_eq!(job.payload.as_str(), r#"{"command":"sleep 2"}"#);
/// # Ok::<(), queuectl_core::InvalidJob>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire")]
pub struct ShellJob {
    /// What to run.
    #[serde(flatten)]
    pub program: Program,
    /// The directory to run it in, as an absolute path; without one, the worker's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What is added to the worker's environment, or replaces parts of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// A line for `/bin/sh -c`.
    Command(String),
    /// A program and its arguments, run without a shell: nothing in them is expanded. The program
    /// is looked up in `PATH` unless it has a slash.
    Argv(Vec<String>),
}

/// The JSON as it comes. Serde cannot refuse unknown fields beside a flattened enum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    command: Option<String>,
    argv: Option<Vec<String>>,
    cwd: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl TryFrom<Wire> for ShellJob {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let program = match (wire.command, wire.argv) {
            (Some(command), None) => Program::Command(command),
            (None, Some(argv)) => Program::Argv(argv),
            (Some(_), Some(_)) => return Err("either command or argv, not both"),
            (None, None) => return Err("neither command nor argv is given"),
        };
        Ok(ShellJob { program, cwd: wire.cwd, env: wire.env })
    }
}

impl ShellJob {
    /// A job that runs `program` in the worker's directory and environment.
    pub fn new(program: Program) -> Self {
        ShellJob { program, cwd: None, env: BTreeMap::new() }
    }

    /// A new job of kind [`SHELL_KIND`].
    ///
    /// # Errors
    ///
    /// [`InvalidJob::Shell`] if the command or program is empty, the directory is not absolute, a
    /// variable's name is empty, contains `=` or is one that the queue sets itself, or anything
    /// contains a NUL byte; [`InvalidJob::TooLarge`] if the payload is too large.
    pub fn into_job(self) -> Result<NewJob, InvalidJob> {
        self.check().map_err(InvalidJob::Shell)?;
        NewJob::new(SHELL_KIND, &self)
    }

    /// Says what is wrong with it, if anything is. Asked again before each attempt, because a job
    /// may have been enqueued by a plain SQL `INSERT`.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.program {
            Program::Command(command) if command.trim().is_empty() => {
                return Err("the command is empty".into());
            }
            Program::Command(command) => no_nul("the command", command)?,
            Program::Argv(argv) => {
                if argv.first().is_none_or(String::is_empty) {
                    return Err("argv has no program".into());
                }
                for (index, argument) in argv.iter().enumerate() {
                    no_nul(&format!("argv[{index}]"), argument)?;
                }
            }
        }
        if let Some(cwd) = &self.cwd {
            no_nul("cwd", cwd)?;
            if !Path::new(cwd).is_absolute() {
                return Err(format!("cwd {cwd:?} is not an absolute path"));
            }
        }
        self.env.iter().try_for_each(check_variable)
    }
}

fn check_variable((name, value): (&String, &String)) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(format!("{name:?} cannot name an environment variable"));
    }
    if [ENV_JOB_ID, ENV_ATTEMPT, ENV_LEASE].contains(&name.as_str()) {
        return Err(format!("{name} is set by the queue and cannot be chosen"));
    }
    no_nul(&format!("the value of {name}"), value)
}

fn no_nul(what: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("{what} contains a NUL byte"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ShellJob, String> {
        let job: ShellJob = serde_json::from_str(text).map_err(|error| error.to_string())?;
        job.check().map(|()| job)
    }

    #[test]
    fn payloads_read_back_as_they_were_written() {
        for text in [
            r#"{"command":"echo hi"}"#,
            r#"{"argv":["rsync","-a",""]}"#,
            r#"{"command":"x","cwd":"/tmp","env":{"A":"1","B":""}}"#,
        ] {
            let job = parse(text).unwrap();
            assert_eq!(serde_json::to_string(&job).unwrap(), text);
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_its_reason() {
        for (text, reason) in [
            ("{}", "neither command nor argv"),
            (r#"{"command":"a","argv":["b"]}"#, "not both"),
            (r#"{"command":"a","comand":"b"}"#, "unknown field `comand`"),
            (r#"{"command":" "}"#, "the command is empty"),
            (r#"{"command":"a\u0000b"}"#, "the command contains a NUL"),
            (r#"{"argv":[]}"#, "argv has no program"),
            (r#"{"argv":[""]}"#, "argv has no program"),
            (r#"{"argv":["a","\u0000"]}"#, "argv[1] contains a NUL"),
            (r#"{"command":"a","cwd":"b/c"}"#, "not an absolute path"),
            (r#"{"command":"a","cwd":""}"#, "not an absolute path"),
            (r#"{"command":"a","env":{"A=B":"c"}}"#, "cannot name"),
            (r#"{"command":"a","env":{"":"c"}}"#, "cannot name"),
            (r#"{"command":"a","env":{"A":"\u0000"}}"#, "the value of A contains"),
            (r#"{"command":"a","env":{"QUEUECTL_LEASE":"x"}}"#, "set by the queue"),
            (r#"{"command":7}"#, "invalid type"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_refused_shell_job_is_an_invalid_job() {
        let error = ShellJob::new(Program::Argv(Vec::new())).into_job();
        assert!(matches!(error, Err(InvalidJob::Shell(text)) if text == "argv has no program"));
    }
}
