//! One trial: a store as the command finds it, the command under a hook, and what is looked at after.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::SIGKILL;

use super::verbs::{ALWAYS, Verb};
use crate::health;
use crate::tracer::{self, Call, Ended, Hook, Kind, NoHook, Program, Run, Tracee};

/// How long a command may take before it hangs. SQLite itself waits for five seconds for a lock, and
/// a command may wait more than once.
const LIMIT: Duration = Duration::from_secs(60);

/// Where a verb is tried: stores are copied from here.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) verb: &'a Verb,
    queuectl: PathBuf,
    /// A folder with the store as it is before, or without.
    template: PathBuf,
}

/// A store of its own for one run.
#[derive(Debug)]
pub(crate) struct Trial<'a> {
    verb: &'a Verb,
    queuectl: &'a Path,
    /// Everything of the trial.
    folder: PathBuf,
}

/// What a command printed.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(verb: &'a Verb, queuectl: &Path, folder: &Path) -> io::Result<Self> {
        let bench =
            Bench { verb, queuectl: queuectl.to_owned(), template: folder.join("template") };
        let trial = Trial { verb, queuectl, folder: bench.template.clone() };
        std::fs::create_dir_all(trial.disk())?;
        for args in verb.before {
            let (run, said) = trial.run(args, &mut NoHook)?;
            // One of the jobs may have killed its worker, because there is to be a dead one.
            if !matches!(run.ended[..], [Some(Ended::Exited(0) | Ended::Killed(SIGKILL))]) {
                let what = format!("{}: cannot make the store: {args:?}: {said:?}", verb.name);
                return Err(io::Error::other(what));
            }
        }
        Ok(bench)
    }

    /// A store as it is before the command, in a folder that is not there yet.
    pub(crate) fn trial(&'a self, folder: PathBuf) -> io::Result<Trial<'a>> {
        copy_folder(&self.template, &folder)?;
        Ok(Trial { verb: self.verb, queuectl: &self.queuectl, folder })
    }
}

impl Trial<'_> {
    /// What is under test: whatever happens in this folder.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.disk().join("queue.db")
    }

    /// Runs the verb under a hook.
    pub(crate) fn run_verb(&self, hook: &mut dyn Hook) -> io::Result<(Run, Said)> {
        self.run(self.verb.args, hook)
    }

    fn run(&self, args: &[&str], hook: &mut dyn Hook) -> io::Result<(Run, Said)> {
        let stdin = self.folder.join("in");
        std::fs::write(&stdin, self.verb.stdin)?;
        let (stdout, stderr) = (self.folder.join("out"), self.folder.join("err"));
        for output in [&stdout, &stderr] {
            std::fs::write(output, "")?;
        }
        let store = ["--store".to_owned(), self.store().display().to_string()];
        let program = Program {
            path: self.queuectl.to_owned(),
            args: store.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
            dir: self.folder.clone(),
            stdin: Some(stdin),
            stdout,
            stderr,
        };
        let said = (program.stdout.clone(), program.stderr.clone());
        let run = tracer::run(vec![program], LIMIT, hook)?;
        let read = |path: &Path| -> io::Result<String> {
            Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
        };
        Ok((run, Said { stdout: read(&said.0)?, stderr: read(&said.1)? }))
    }

    /// What is wrong right after: damage, half of something, or something that was said and is not so.
    pub(crate) fn examine(&self, said: &Said) -> Vec<String> {
        if !self.store().exists() {
            let nothing = self.verb.before.is_empty() && !self.was_told(said);
            return if nothing { Vec::new() } else { vec!["the store is gone".to_owned()] };
        }
        let mut wrong = health::examine(&self.store());
        for (question, answers) in self.verb.either {
            match self.ask(question) {
                Ok(answer) if answers.contains(&answer) => {}
                answer => wrong.push(format!("half done: {question} gives {answer:?}")),
            }
        }
        if !self.verb.before.is_empty() {
            wrong.extend(self.differences(&ALWAYS));
        }
        if self.was_told(said) {
            let lost = self.differences(self.verb.goal);
            wrong.extend(lost.into_iter().map(|what| format!("said and not so: {what}")));
        }
        wrong.extend(self.unexplained_runs());
        wrong
    }

    /// Says the verb again, without interference, and tells what is wrong then.
    pub(crate) fn again(&self) -> io::Result<Vec<String>> {
        let (run, said) = self.run_verb(&mut NoHook)?;
        let mut wrong = self.examine(&said);
        let ended = run.ended.first().copied().flatten();
        if !matches!(ended, Some(Ended::Exited(code)) if self.verb.again.contains(&code)) {
            wrong.push(format!("said again, it ends with {ended:?}: {}", said.stderr.trim()));
        }
        wrong.extend(self.differences(self.verb.goal));
        Ok(wrong)
    }

    /// Where the store is not as it is when the verb is done.
    pub(crate) fn misses(&self) -> Vec<String> {
        self.differences(self.verb.goal)
    }

    fn was_told(&self, said: &Said) -> bool {
        let told = self.verb.told;
        !told.is_empty() && (said.stdout.contains(told) || said.stderr.contains(told))
    }

    fn differences(&self, goal: &[(&str, i64)]) -> Vec<String> {
        let mut differences = Vec::new();
        for (question, answer) in goal {
            match self.ask(question) {
                Ok(found) if found == *answer => {}
                found => differences.push(format!("{question} gives {found:?}, not {answer}")),
            }
        }
        differences
    }

    /// Each time that the job ran must have spent an attempt.
    fn unexplained_runs(&self) -> Option<String> {
        let ran = std::fs::read_to_string(self.folder.join("witness")).ok()?.lines().count() as i64;
        let spent = self.ask(
            "SELECT token + (key IN (SELECT key FROM queuectl_lease)) FROM queuectl_job
             WHERE name = 'ready'",
        );
        let explained = matches!(spent, Ok(spent) if spent >= ran);
        (!explained).then(|| format!("the job ran {ran} times, attempts spent: {spent:?}"))
    }

    fn ask(&self, question: &str) -> rusqlite::Result<i64> {
        health::connect(&self.store())?.query_row(question, [], |row| row.get(0))
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.folder.ends_with("template") {
            // In a temporary folder, which goes in the end as a whole.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Whether a call is one of those that matter: it changes a file of the store, or what is around it, or
/// tells the user.
pub(crate) fn matters(tracee: &Tracee, call: &Call, folder: &Path) -> bool {
    let changes = match call.kind {
        Kind::Open => call.creates() || call.truncates(),
        Kind::Read | Kind::Map | Kind::Clone => false,
        _ => true,
    };
    changes
        && tracee.path(call).is_some_and(|path| {
            let tells = call.kind == Kind::Write
                && (path == folder.join("out") || path == folder.join("err"));
            tells || path.starts_with(folder.join("disk"))
        })
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}
