//! The jobs of the storm: what is asked for, in the library's form and in the command line's, and
//! what a command does when it runs.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use queuectl_core::shell::{Program, ShellJob};
use queuectl_core::{InvalidJob, JobKey, Lease, NewJob, Token};
use queuectl_testkit::history::{Asked, How, Moment};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::witness::process::{now, pass};
use crate::witness::{Label, Phase, Record, Witness};

/// The kind of jobs that do nothing, and so are claimed many at a time.
pub(crate) const QUICK: &str = "quick";
/// The kind of jobs that take a while.
pub(crate) const WORK: &str = "work";
/// The kind of jobs whose handler kills its worker.
pub(crate) const KILLER: &str = "killer";

/// Where the witness writes, in the environment of workers and of their commands.
pub(crate) const WITNESS: &str = "PROVE_WITNESS";
/// Which process the worker is.
pub(crate) const HOLDER: &str = "PROVE_HOLDER";

/// How long a failed job waits.
pub(crate) const BACKOFF: Duration = Duration::from_millis(20);

/// A job that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) label: u64,
    /// It has an id of its own, and is not given one.
    pub(crate) chosen: bool,
    pub(crate) queue: String,
    pub(crate) kind: Kind,
    pub(crate) task: Task,
    pub(crate) unique_key: Option<String>,
    pub(crate) delay_ms: u64,
    pub(crate) retries: u32,
    pub(crate) after: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Quick,
    Work,
    /// A command.
    Command,
    /// A command that leaves processes in the background, one of which ignores TERM.
    Tree,
}

/// What a job does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) label: u64,
    pub(crate) chosen: bool,
    /// How long it takes.
    pub(crate) millis: u64,
    /// How many attempts fail before one succeeds.
    pub(crate) fails: u32,
    /// It fails by killing itself.
    pub(crate) suicide: bool,
}

impl Task {
    pub(crate) fn label(&self) -> Label {
        Label { number: self.label, chosen: self.chosen }
    }
}

impl Wanted {
    pub(crate) fn label(&self) -> Label {
        Label { number: self.label, chosen: self.chosen }
    }

    /// The label as a tag: by it a job is found whose enqueuer was never told its id.
    fn tag(&self) -> String {
        format!("l{}", self.label)
    }

    /// What runs, for a command: this program.
    fn program(&self, prove: &Path) -> Program {
        let Task { label, chosen, millis, fails, suicide } = self.task;
        let words = [prove.display().to_string(), "storm-job".to_owned()];
        let numbers = [label, u64::from(chosen), millis, u64::from(fails), u64::from(suicide)];
        let argv: Vec<String> =
            words.into_iter().chain(numbers.map(|number| number.to_string())).collect();
        if self.kind == Kind::Tree {
            let line = argv.join(" ");
            return Program::Command(format!(
                "sleep 7777 & (trap '' TERM; sleep 7777 & wait) & {line}"
            ));
        }
        Program::Argv(argv)
    }

    /// For the library.
    pub(crate) fn new_job(&self, prove: &Path) -> Result<NewJob, InvalidJob> {
        let mut job = match self.kind {
            Kind::Quick => NewJob::new(QUICK, &self.task)?,
            Kind::Work => NewJob::new(WORK, &self.task)?,
            Kind::Command | Kind::Tree => ShellJob::new(self.program(prove)).into_job()?,
        };
        job = job.queue(&self.queue)?.tag(&self.tag())?.max_retries(self.retries);
        job.backoff = backoff().parse().ok();
        job.id = self.label().chosen_id();
        if let Some(key) = &self.unique_key {
            job = job.unique_key(key.clone())?;
        }
        if self.delay_ms > 0 {
            job = job.delay(Duration::from_millis(self.delay_ms));
        }
        if let Some(parent) = self.after.and_then(|number| parent(number).chosen_id()) {
            job = job.after(parent);
        }
        Ok(job)
    }

    /// For the command line: only commands can be asked for there.
    pub(crate) fn arguments(&self, prove: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["enqueue", "--quiet", "--tag"].map(str::to_owned).into();
        words.push(self.tag());
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--queue", self.queue.clone());
        option("--retries", self.retries.to_string());
        option("--backoff", backoff());
        if let Some(id) = self.label().chosen_id() {
            option("--id", id.to_string());
        }
        if let Some(key) = &self.unique_key {
            option("--unique-key", key.clone());
        }
        if self.delay_ms > 0 {
            option("--delay", format!("{}ms", self.delay_ms));
        }
        match self.program(prove) {
            Program::Command(line) => words.push(line),
            Program::Argv(argv) => {
                words.push("--".to_owned());
                words.extend(argv);
            }
        }
        words
    }

    /// For the history. `asked_at` is before the call.
    pub(crate) fn asked(&self, asked_at: Moment) -> Result<Asked, queuectl_core::InvalidName> {
        let queue = queuectl_core::Name::new(&self.queue)?;
        // Until its id is known, a job that is to be given one goes by its tag, which is not one.
        let id = self.label().chosen_id().or_else(|| self.tag().parse().ok());
        let mut asked = Asked::new(id, queue);
        asked.unique_key.clone_from(&self.unique_key);
        asked.backoff_min = BACKOFF;
        asked.not_before =
            (self.delay_ms > 0).then(|| asked_at.plus(Duration::from_millis(self.delay_ms)));
        let parent = self.after.and_then(|number| parent(number).chosen_id());
        asked.after = parent.map(Into::into).into_iter().collect();
        Ok(asked)
    }
}

/// The label that a tag, or an id that stands for one, says.
pub(crate) fn label_of(tag: &str) -> Option<u64> {
    tag.strip_prefix('l')?.parse().ok()
}

fn parent(number: u64) -> Label {
    Label { number, chosen: true }
}

fn backoff() -> String {
    format!("constant:{}ms", BACKOFF.as_millis())
}

/// Runs a command of the storm: tells the witness, works, tells it again.
pub(crate) fn run(task: Task) -> ExitCode {
    match execute(task) {
        Ok(code) => code,
        // Without a witness there is no proof: this must not look like a success.
        Err(_) => ExitCode::from(99),
    }
}

fn execute(task: Task) -> io::Result<ExitCode> {
    let variable = |name| std::env::var(name).map_err(io::Error::other);
    let witness = Witness::open(Path::new(&variable(WITNESS)?))?;
    let number = |text: &str| text.parse::<i64>().map_err(io::Error::other);
    let holder = number(&variable(HOLDER)?)?.unsigned_abs();
    // `<store>:<key>:<token>`, and the store's name may have colons.
    let lease = variable("QUEUECTL_LEASE")?;
    let mut parts = lease.rsplitn(3, ':');
    let token = Token(number(parts.next().unwrap_or_default())?);
    let key = JobKey(number(parts.next().unwrap_or_default())?);
    let attempt = number(&variable("QUEUECTL_ATTEMPT")?)?;
    let record = |phase| Record {
        phase,
        label: task.label(),
        lease: Lease { key, token },
        holder,
        pid: std::process::id(),
        at: now(),
    };
    witness.write(&[record(Phase::Started)])?;
    pass(Duration::from_millis(task.millis));
    if attempt > i64::from(task.fails) {
        witness.write(&[record(Phase::Ended(How::Succeeded))])?;
        return Ok(ExitCode::SUCCESS);
    }
    if task.suicide {
        let this = Pid::from_raw(std::process::id().cast_signed());
        this.map_or(Ok(()), |this| rustix::process::kill_process(this, Signal::KILL))?;
    }
    witness.write(&[record(Phase::Ended(How::Failed))])?;
    Ok(ExitCode::from(3))
}
