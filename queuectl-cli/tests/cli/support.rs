//! Runs the program in a directory of its own, and waits for what it does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use queuectl_core::{Clock, SystemClock, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take. Far longer than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a store of its own.
pub(crate) struct Place {
    dir: TempDir,
}

/// What a run of the program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    /// The directory in which the program runs.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir().join("data/queue.db")
    }

    /// The program with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.process(env!("CARGO_BIN_EXE_queuectl"));
        command.args(args);
        command
    }

    /// Any program, in the same place.
    #[expect(clippy::disallowed_methods, reason = "the tests start the program that they test")]
    pub(crate) fn process(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir())
            .env("QUEUECTL_STORE", self.store())
            .env("TZ", "UTC")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(self.command(args).output().unwrap())
    }

    /// Runs the program, which must succeed; gives its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{args:?}: {said:?}");
        said.out
    }

    /// Runs the program, which must succeed and answer in JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let document: Value = serde_json::from_str(&self.ok(&args)).unwrap();
        assert_eq!(document["schema_version"], 1, "{document}");
        document
    }

    /// Runs the program with this on its standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Said {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses what it was asked for does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Said::of(child.wait_with_output().unwrap())
    }

    /// Starts the program and goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let child =
            self.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Running(child)
    }

    /// Starts a worker, which logs to a file, and waits until it is registered.
    pub(crate) fn worker(&self, args: &[&str]) -> Running {
        let log = std::fs::File::options().create(true).append(true).open(self.dir().join("log"));
        let mut command = self.command(&[&["worker", "start"], args].concat());
        let child = command.stdout(Stdio::null()).stderr(log.unwrap()).spawn().unwrap();
        let running = Running(child);
        let pid = running.0.id();
        until("the worker is registered", || {
            // The worker may have to make the store first.
            let said = self.run(&["worker", "list", "--json"]);
            let listed: Value = serde_json::from_str(&said.out).unwrap_or_default();
            let workers = listed["workers"].as_array();
            workers.is_some_and(|workers| workers.iter().any(|worker| worker["pid"] == pid))
        });
        running
    }

    /// A job's record.
    pub(crate) fn job(&self, id: &str) -> Value {
        self.json(&["show", id])["job"].clone()
    }

    /// A job's state.
    pub(crate) fn state(&self, id: &str) -> String {
        self.job(id)["state"].as_str().unwrap().to_owned()
    }

    /// A job's attempts, without those that a worker gave back.
    pub(crate) fn attempts(&self, id: &str) -> Vec<Value> {
        let shown = self.json(&["show", id]);
        let mut attempts = shown["attempts"].as_array().unwrap().clone();
        attempts.retain(|attempt| attempt["cause"] != "interrupted");
        attempts
    }

    /// Everything that is in the store, without what changes by itself.
    pub(crate) fn everything(&self) -> Value {
        if !self.store().exists() {
            return Value::Null;
        }
        self.json(&["list", "--limit", "0"])
    }
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A program that runs; it is ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> i32 {
        let mut code = None;
        until("the process has ended", || {
            code = self.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the condition holds; the test fails if it does not come about.
#[expect(
    clippy::disallowed_methods,
    reason = "another process cannot call back; this is the only place that asks again and again"
)]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = SystemClock.boot();
    while !holds() {
        assert!(SystemClock.boot().since(began) < PATIENCE, "it did not come about that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A moment in a document.
pub(crate) fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// The seconds between two moments in a document.
pub(crate) fn seconds(from: &Value, to: &Value) -> f64 {
    (moment(to).as_millis() - moment(from).as_millis()) as f64 / 1000.0
}

/// The names of an object's fields.
pub(crate) fn fields(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Who runs the tests, and thus the program: looked up in another way than the program does.
pub(crate) fn who() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    let host = rustix::system::uname();
    format!("{}@{}", name.unwrap_or(uid), host.nodename().to_string_lossy())
}
