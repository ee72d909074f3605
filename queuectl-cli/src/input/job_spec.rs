//! What is asked of one job, from whichever form it was asked in, and the job that it makes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use queuectl_core::shell::{Program, SHELL_KIND, ShellJob};
use queuectl_core::{
    After, AfterBatch, BackoffPolicy, Expiry, JobId, Json, Name, Needs, NewJob, OnConflict,
    Otherwise, Start, UniqueScope,
};

use super::Refused;

/// The most retries that a job may ask for.
pub(crate) const RETRIES_MAX: u32 = 1_000_000;

/// The most lost workers that a job may ask for.
pub(crate) const CRASHES_MAX: u32 = 1_000_000;

/// What is asked of one job. What is not asked for is left to the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JobSpec {
    pub(crate) id: Option<JobId>,
    pub(crate) program: Option<Program>,
    pub(crate) kind: Option<Name>,
    pub(crate) payload: Option<Json>,
    pub(crate) queue: Option<Name>,
    pub(crate) priority: Option<i16>,
    pub(crate) max_retries: Option<u32>,
    pub(crate) max_crashes: Option<NonZeroU32>,
    pub(crate) start: Option<Start>,
    pub(crate) expiry: Option<Expiry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) backoff: Option<BackoffPolicy>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: Option<String>,
    pub(crate) unique_key: Option<String>,
    pub(crate) unique_scope: Option<UniqueScope>,
    pub(crate) on_conflict: Option<OnConflict>,
    pub(crate) concurrency_key: Option<String>,
    pub(crate) after: Vec<After>,
    pub(crate) after_batches: Vec<AfterBatch>,
    pub(crate) batch: Option<Name>,
    pub(crate) needs: Option<Needs>,
    pub(crate) otherwise: Option<Otherwise>,
    pub(crate) tags: Vec<Name>,
}

impl JobSpec {
    /// A job that runs a program.
    pub(crate) fn running(program: Program) -> Self {
        JobSpec { program: Some(program), ..JobSpec::default() }
    }

    /// Asks for what `other` asks for as well; where both say something, `other` prevails. Lists
    /// are joined.
    pub(crate) fn and(mut self, other: &JobSpec) -> Self {
        fn prevail<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                mine.clone_from(other);
            }
        }
        prevail(&mut self.id, &other.id);
        prevail(&mut self.program, &other.program);
        prevail(&mut self.kind, &other.kind);
        prevail(&mut self.payload, &other.payload);
        prevail(&mut self.queue, &other.queue);
        prevail(&mut self.priority, &other.priority);
        prevail(&mut self.max_retries, &other.max_retries);
        prevail(&mut self.max_crashes, &other.max_crashes);
        prevail(&mut self.start, &other.start);
        prevail(&mut self.expiry, &other.expiry);
        prevail(&mut self.timeout, &other.timeout);
        prevail(&mut self.backoff, &other.backoff);
        prevail(&mut self.cwd, &other.cwd);
        prevail(&mut self.unique_key, &other.unique_key);
        prevail(&mut self.unique_scope, &other.unique_scope);
        prevail(&mut self.on_conflict, &other.on_conflict);
        prevail(&mut self.needs, &other.needs);
        prevail(&mut self.batch, &other.batch);
        self.after_batches.extend(other.after_batches.iter().cloned());
        prevail(&mut self.otherwise, &other.otherwise);
        prevail(&mut self.concurrency_key, &other.concurrency_key);
        self.env.extend(other.env.clone());
        self.after.extend(other.after.iter().cloned());
        self.tags.extend(other.tags.iter().cloned());
        self
    }

    /// The job. A shell job runs in `here` unless it says otherwise.
    pub(crate) fn into_job(self, here: &Here) -> Result<NewJob, Refused> {
        let mut job = match &self.kind {
            Some(kind) if kind.as_str() != SHELL_KIND => self.other_job(kind.clone())?,
            _ => self.shell_job(here)?,
        };
        if let Some(queue) = self.queue {
            job.queue = queue;
        }
        if let Some(key) = self.unique_key {
            job = job.unique_key(key).map_err(|error| Refused::new(error.to_string()))?;
        } else if self.unique_scope.is_some() || self.on_conflict.is_some() {
            return Err(Refused::new("how a key is unique is said of a job without one")
                .hint("give the key: --unique-key KEY, or unique_key in JSON"));
        }
        job.unique_scope = self.unique_scope.unwrap_or_default();
        job.on_conflict = self.on_conflict.unwrap_or_default();
        if let Some(key) = self.concurrency_key {
            job = job.concurrency_key(key).map_err(|error| Refused::new(error.to_string()))?;
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Refused::new("timeout is 0: the job could never run"));
        }
        let never = match (self.start, self.expiry) {
            (Some(Start::In(delay)), Some(Expiry::In(time))) => time <= delay,
            (Some(Start::At(begin)), Some(Expiry::At(end))) => end <= begin,
            _ => false,
        };
        if never {
            return Err(Refused::new("the job would expire before it may run")
                .hint("both times count from now on: let it expire later than it may run"));
        }
        if let Some(id) = self.id {
            job = job.id(&id.to_string()).map_err(|error| Refused::new(error.to_string()))?;
        }
        job.priority = self.priority.unwrap_or_default();
        job.max_retries = self.max_retries;
        job.max_crashes = self.max_crashes;
        job.start = self.start.unwrap_or_default();
        job.expiry = self.expiry;
        job.timeout = self.timeout;
        job.backoff = self.backoff;
        job.after = self.after;
        job.after_batches = self.after_batches;
        job.batch = self.batch;
        job.needs = self.needs.unwrap_or_default();
        job.otherwise = self.otherwise.unwrap_or_default();
        job.tags = self.tags;
        Ok(job)
    }

    fn other_job(&self, kind: Name) -> Result<NewJob, Refused> {
        if self.program.is_some() {
            return Err(Refused::new(format!(
                "a job of the kind {kind} takes a payload, not a command"
            )));
        }
        if self.cwd.is_some() || !self.env.is_empty() {
            return Err(Refused::new(format!(
                "env and cwd are for shell jobs; this one is of the kind {kind}"
            )));
        }
        let payload = self
            .payload
            .clone()
            .ok_or_else(|| Refused::new(format!("a job of the kind {kind} needs a payload")))?;
        Ok(NewJob::from_json(kind, payload))
    }

    fn shell_job(&self, here: &Here) -> Result<NewJob, Refused> {
        if self.payload.is_some() {
            return Err(Refused::new("a payload needs a kind other than shell")
                .hint("name the kind of the handler that takes it, or give a command"));
        }
        let Some(program) = self.program.clone() else {
            return Err(Refused::new("a job needs a command, an argv, or a kind and a payload"));
        };
        check_program(&program)?;
        check_env(&self.env)?;
        ShellJob { program, cwd: Some(here.resolve(self.cwd.as_deref())?), env: self.env.clone() }
            .into_job()
            .map_err(|error| Refused::new(error.to_string()))
    }
}

/// The directory in which jobs are enqueued: they run there.
#[derive(Debug, Clone)]
pub(crate) struct Here(Option<String>);

impl Here {
    /// The current directory.
    pub(crate) fn current() -> Self {
        let dir = std::env::current_dir().ok();
        Here(dir.and_then(|dir| dir.into_os_string().into_string().ok()))
    }

    fn resolve(&self, cwd: Option<&str>) -> Result<String, Refused> {
        if let Some(cwd) = cwd {
            if cwd.is_empty() || cwd.contains('\0') {
                return Err(Refused::new("cwd is not a directory's name"));
            }
            if cwd.starts_with('/') {
                return Ok(cwd.to_owned());
            }
        }
        let here = self.0.as_deref().ok_or_else(|| {
            Refused::new("the current directory is gone, or its name is not UTF-8")
                .hint("say where the job is to run: --cwd /some/dir")
        })?;
        let joined = cwd.map_or_else(|| here.into(), |cwd| Path::new(here).join(cwd));
        Ok(joined.to_string_lossy().into_owned())
    }
}

fn check_program(program: &Program) -> Result<(), Refused> {
    let nul = || Refused::new("a command cannot contain the NUL character");
    match program {
        Program::Command(command) if command.trim().is_empty() => {
            Err(Refused::new("the command is empty"))
        }
        Program::Command(command) if command.contains('\0') => Err(nul()),
        Program::Argv(argv) if argv.first().is_none_or(String::is_empty) => {
            Err(Refused::new("argv names no program"))
        }
        Program::Argv(argv) if argv.iter().any(|word| word.contains('\0')) => Err(nul()),
        _ => Ok(()),
    }
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), Refused> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Refused::new(format!(
                "{name:?} cannot be the name of an environment variable"
            )));
        }
        if value.contains('\0') {
            return Err(Refused::new(format!(
                "the value of the environment variable {name} contains the NUL character"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Here {
        Here(Some("/home/ada".to_owned()))
    }

    fn command(text: &str) -> JobSpec {
        JobSpec::running(Program::Command(text.to_owned()))
    }

    #[test]
    fn a_shell_job_runs_where_it_was_enqueued() {
        let cwd_of = |cwd: Option<&str>| {
            let spec = JobSpec { cwd: cwd.map(str::to_owned), ..command("true") };
            let job = spec.into_job(&here()).unwrap();
            let shell: ShellJob = job.payload.decode().unwrap();
            shell.cwd.unwrap()
        };
        assert_eq!(cwd_of(None), "/home/ada");
        assert_eq!(cwd_of(Some("sub")), "/home/ada/sub");
        assert_eq!(cwd_of(Some("/srv")), "/srv");
    }

    #[test]
    fn where_the_current_directory_has_no_name_the_job_must_say_where_it_runs() {
        assert!(command("true").into_job(&Here(None)).is_err());
        let spec = JobSpec { cwd: Some("/srv".to_owned()), ..command("true") };
        assert!(spec.into_job(&Here(None)).is_ok());
    }

    #[test]
    fn what_cannot_run_is_refused() {
        let env = |name: &str, value: &str| JobSpec {
            env: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..command("true")
        };
        let refused = [
            JobSpec::default(),
            command(""),
            command(" \n"),
            command("a\0b"),
            JobSpec::running(Program::Argv(vec![])),
            JobSpec::running(Program::Argv(vec![String::new()])),
            JobSpec::running(Program::Argv(vec!["a".to_owned(), "\0".to_owned()])),
            env("", "x"),
            env("A=B", "x"),
            env("A", "\0"),
            JobSpec { timeout: Some(Duration::ZERO), ..command("true") },
            JobSpec {
                start: Some(Start::In(Duration::from_secs(60))),
                expiry: Some(Expiry::In(Duration::from_secs(60))),
                ..command("true")
            },
        ];
        for spec in refused {
            assert!(spec.clone().into_job(&here()).is_err(), "{spec:?}");
        }
        // Other control characters are kept as they are: it is their display that is guarded.
        assert!(command("printf '\u{1b}[1m'\n\tdate").into_job(&here()).is_ok());
    }

    #[test]
    fn options_prevail_over_what_the_job_says_itself() {
        let mine = JobSpec {
            max_retries: Some(1),
            priority: Some(2),
            tags: vec![Name::new("a").unwrap()],
            ..command("true")
        };
        let options = JobSpec {
            max_retries: Some(5),
            tags: vec![Name::new("b").unwrap()],
            ..JobSpec::default()
        };
        let job = mine.and(&options).into_job(&here()).unwrap();
        assert_eq!((job.max_retries, job.priority), (Some(5), 2));
        assert_eq!(job.tags.len(), 2);
    }
}
