//! The commands that must turn red, and running one until it does.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use queuectl_core::{Clock, SystemClock};

use super::plant::Garden;
use crate::scoreboard::VIOLATION;

/// A suite that runs longer has been made to hang by the bug.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// The first build takes longest, and longer on a machine that has more to do.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);

/// What the suites are made of besides this workspace, SQLite above all, is built once for all bugs:
/// it may take its time, and then run as fast as it does elsewhere.
const OPTIMISED: &str = "profile.dev.package.\"*\".opt-level=2";

/// A command line, without `cargo`, that ends with an error if a promise is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// What builds it.
    build: &'static [&'static str],
    /// What runs it.
    run: &'static [&'static str],
}

/// Builds what the proofs run.
const PROGRAMS: [&str; 6] = ["build", "-q", "-p", "prove", "-p", "queuectl-cli"];

macro_rules! suites {
    ($($constant:ident $name:literal: $run:expr, after $build:expr;)*) => {
        $(pub(crate) const $constant: Suite = Suite { name: $name, build: &$build, run: &$run };)*
        #[cfg(test)]
        pub(super) const ALL: &[Suite] = &[$($constant),*];
    };
}

suites! {
    UNITS "unit tests":
        ["test", "-q", "-p", "queuectl-core", "--lib", "--", "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-core", "--lib", "--no-run"];
    CONFORMANCE "conformance":
        ["test", "-q", "-p", "queuectl-core", "--test", "conformance", "--", "--format", "pretty",
         "--skip", "model::"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "conformance", "--no-run"];
    MODEL "model":
        ["test", "-q", "-p", "queuectl-core", "--test", "conformance", "--", "--format", "pretty",
         "model::"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "conformance", "--no-run"];
    FILES "files":
        ["test", "-q", "-p", "queuectl-core", "--test", "opening", "--test", "locked", "--",
         "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "opening", "--test", "locked",
         "--no-run"];
    LOG_SIZE "size of the log":
        ["test", "-q", "-p", "queuectl-core", "--test", "log_size", "--", "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "log_size", "--no-run"];
    WORKER "worker":
        ["test", "-q", "-p", "queuectl-core", "--test", "worker", "--test", "unanswered", "--",
         "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "worker", "--test", "unanswered",
         "--no-run"];
    SHELL "shell":
        ["test", "-q", "-p", "queuectl-core", "--test", "shell", "--", "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-core", "--test", "shell", "--no-run"];
    CLI "command line":
        ["test", "-q", "-p", "queuectl-cli", "--", "--format", "pretty"],
        after ["test", "-q", "-p", "queuectl-cli", "--no-run"];
    // The proofs: of each as much as takes half a minute when the machine has nothing else to do.
    RECOVERY "recovery":
        ["run", "-q", "-p", "prove", "--", "recovery", "--rounds", "3"],
        after PROGRAMS;
    POWER "power loss":
        ["run", "-q", "-p", "prove", "--", "power", "--images", "300"],
        after PROGRAMS;
    SIMULATE "simulation":
        ["run", "-q", "-p", "prove", "--", "simulate", "--seeds", "80"],
        after PROGRAMS;
    SIMULATE_IN_MEMORY "simulation in memory":
        ["run", "-q", "-p", "prove", "--", "simulate", "--store", "memory", "--seeds", "300"],
        after PROGRAMS;
    STORM "storm":
        ["run", "-q", "-p", "prove", "--", "storm", "--kills", "600"],
        after PROGRAMS;
    BOUNDARIES "boundaries":
        ["run", "-q", "-p", "prove", "--", "boundaries", "--every", "15"],
        after PROGRAMS;
    FAULTS_OF_THE_FIRST "faults of the first enqueue":
        ["run", "-q", "-p", "prove", "--", "faults", "--verb", "first", "--every", "9"],
        after PROGRAMS;
    FAULTS_OF_A_LIST "faults of a list":
        ["run", "-q", "-p", "prove", "--", "faults", "--verb", "list", "--errno", "ENOSPC"],
        after PROGRAMS;
    FAULTS_OF_A_WORKER "faults of a worker":
        ["run", "-q", "-p", "prove", "--", "faults", "--verb", "worker", "--every", "30"],
        after PROGRAMS;
    FAULTS_OF_OPENING "faults of a worker that opens files":
        ["run", "-q", "-p", "prove", "--", "faults", "--verb", "worker", "--errno", "EMFILE"],
        after PROGRAMS;
}

/// How a suite ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Every promise was kept.
    Green,
    /// One was not; which test says so, where it is known.
    Red(String),
    /// It cannot be told: what was planted does not compile.
    Unbuilt(String),
}

impl Suite {
    /// Builds and runs the suite on what is planted, until the first test fails.
    pub(super) fn run(&self, garden: &Garden) -> Ended {
        match watch(self.build, garden, BUILD_LIMIT) {
            Ended::Green => watch(self.run, garden, RUN_LIMIT),
            Ended::Red(why) | Ended::Unbuilt(why) => Ended::Unbuilt(why),
        }
    }
}

fn watch(arguments: &[&str], garden: &Garden, limit: Duration) -> Ended {
    #[expect(clippy::disallowed_methods, reason = "the suites are programs")]
    let started = Command::new("cargo")
        .args(["--config", OPTIMISED])
        .args(arguments)
        .current_dir(&garden.folder)
        .env("CARGO_TARGET_DIR", &garden.target)
        // A suite that turns red keeps the evidence.
        .env("TMPDIR", &garden.evidence)
        // Nobody debugs what is thrown away: without it the builds take half as long.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return Ended::Unbuilt(format!("cargo cannot be started: {error}")),
    };
    let (send, lines) = mpsc::channel();
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for pipe in pipes.into_iter().flatten() {
        let send = send.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let until = SystemClock.boot() + limit;
    let mut complaint = String::new();
    let early = loop {
        match lines.recv_timeout(until.since(SystemClock.boot())) {
            Ok(line) => {
                if let Some(test) = failed_test(&line) {
                    break Some(test.to_owned());
                }
                if complaint.is_empty()
                    && let Some(what) = complained(&line)
                {
                    complaint = what.to_owned();
                }
            }
            Err(RecvTimeoutError::Timeout) => break Some(format!("no end within {limit:?}")),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    if early.is_some() {
        end(&child);
    }
    let status = child.wait();
    match early {
        Some(test) => Ended::Red(test),
        None if status.is_ok_and(|status| status.success()) => Ended::Green,
        None => Ended::Red(complaint),
    }
}

/// The test that a line of the harness calls failed.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// What a line says that comes from the compiler, or from a proof.
fn complained(line: &str) -> Option<&str> {
    line.strip_prefix(VIOLATION).or_else(|| line.starts_with("error").then_some(line))
}

/// Ends the suite with all that it has started.
fn end(child: &std::process::Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It fails only if nobody is left.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_known_by_its_line() {
        assert_eq!(failed_test("test claim::a ... FAILED"), Some("claim::a"));
        for line in ["test claim::a ... ok", "test result: FAILED. 1 passed", "panicked"] {
            assert_eq!(failed_test(line), None);
        }
    }

    #[test]
    fn a_broken_promise_is_known_by_its_line() {
        assert_eq!(complained("  - lost: q1"), Some("lost: q1"));
        assert_eq!(complained("error[E0308]: mismatched"), Some("error[E0308]: mismatched"));
        assert_eq!(complained("  3,000 kills, 12 torn records"), None);
    }
}
