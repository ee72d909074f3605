//! Bugs of the worker, and of the commands that it runs.

use super::Bug;
use crate::sabotage::suites::{SHELL, UNITS, WORKER};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // The worker.

    Bug {
        name: "fence-thread-sleeps",
        breaks: "attempts are told to end before their lease does, also while a call waits",
        suites: &[&WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/fence.rs",
                r#"            if left.is_zero() {
                let signals"#,
                r#"            if false {
                let signals"#,
            ),
        ],
    },
    Bug {
        name: "fence-step-sleeps",
        breaks: "a worker that cannot renew stops its jobs",
        suites: &[&UNITS, &WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                "        if now >= self.fence_time() {",
                "        if false {",
            ),
        ],
    },
    Bug {
        name: "unknown-claims-are-left",
        breaks: "claims of unknown outcome are found",
        suites: &[&UNITS, &WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                r#"                self.reconcile = true;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "unknown-settlements-are-dropped",
        breaks: "a settlement of unknown outcome is said again",
        suites: &[&UNITS, &WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                r#"                self.settle.extend(settle);
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "cancel-is-not-passed-on",
        breaks: "a cancelled job is told to end while it runs",
        suites: &[&UNITS, &WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                r#"                self.raise.push((lease, cause));
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "shutdown-costs-an-attempt",
        breaks: "a job that is interrupted by a shutdown loses no attempt",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/worker/verdict.rs",
                r#"            report.cause = Cause::Interrupted;
            Verdict::Release"#,
                r#"            report.cause = Cause::Interrupted;
            Verdict::Fail { retry_in: Duration::ZERO }"#,
            ),
        ],
    },
    Bug {
        name: "time-limit-recorded-as-failure",
        breaks: "each cause is recorded as itself",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/worker/verdict.rs",
                r#"        report.cause = Cause::TimedOut;
"#,
                "",
            ),
        ],
    },
    // Commands.

    Bug {
        name: "only-the-leader-is-signalled",
        breaks: "grandchildren end with their command",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/ending.rs",
                r#"        // It fails only if nobody is left.
        let _ = rustix::process::kill_process_group(self.id, signal);"#,
                r#"        // It fails only if nobody is left.
        let _ = rustix::process::kill_process(self.id, signal);"#,
            ),
        ],
    },
    Bug {
        name: "no-group-of-its-own",
        breaks: "the group of a command is its own",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/child.rs",
                r#"            .and_then(|()| own_group())
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "no-death-signal",
        breaks: "a command dies with its worker",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/child.rs",
                "let prepared = die_with_parent(self.parent)",
                "let prepared = Ok(())",
            ),
        ],
    },
    Bug {
        name: "death-signal-of-a-short-thread",
        breaks: "a command lives as long as its worker, not as a thread that ends",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/spawn.rs",
                "let child = Child::start(&self.image, Kept { stdio, lock: lock.as_fd() })?;",
                r#"struct Sent<'a>(&'a Image);
        #[allow(unsafe_code)]
        unsafe impl Sync for Sent<'_> {}
        let (image, lock) = (Sent(&self.image), lock.as_fd());
        let image = &image;
        let start = move || {
            let Sent(image) = image;
            Child::start(image, Kept { stdio, lock })
        };
        let child = std::thread::scope(|scope| scope.spawn(start).join())
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))?;"#,
            ),
        ],
    },
    Bug {
        name: "no-mark",
        breaks: "what has closed every descriptor is known by its mark",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/leftovers.rs",
                r#"            matches!(mark, Mark::Of(token) if (from..before).contains(&token))
                || held"#,
                "            held",
            ),
        ],
    },
    Bug {
        name: "no-inherited-lock",
        breaks: "everything that a dead worker left is found",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/leftovers.rs",
                r#"                || held.iter().any(|lock| processes::inherited_lock(pid, lock))
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "every-mark-is-ours",
        breaks: "other attempts, jobs and stores are left alone",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/leftovers.rs",
                "if (from..before).contains(&token))",
                "if token >= from)",
            ),
        ],
    },
    Bug {
        name: "signals-stay-ignored",
        breaks: "what the worker ignores its commands do not",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/child.rs",
                r#"            .map(|()| reset_signals())
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "descriptors-are-inherited",
        breaks: "what the worker has open its commands do not",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/child.rs",
                r#"
            .and_then(|()| keep_only(self.kept.lock.as_raw_fd()));"#,
                ";",
            ),
        ],
    },
    Bug {
        name: "output-without-limit",
        breaks: "what is kept of an output stays within its limit",
        suites: &[&UNITS, &SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/output.rs",
                "let room = self.limit - self.head.len();",
                "let room = bytes.len();",
            ),
        ],
    },
    Bug {
        name: "log-without-limit",
        breaks: "a log file stays within its limit",
        suites: &[&UNITS, &SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/output.rs",
                r#"        self.room -= bytes.len() as u64;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "every-exit-is-success",
        breaks: "success is exit code 0 and nothing else",
        suites: &[&UNITS, &SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/verdict.rs",
                "        (Some(0), _) => Finished::of(Outcome::Done),",
                "        (Some(_), _) => Finished::of(Outcome::Done),",
            ),
        ],
    },
    Bug {
        name: "told-to-stop-and-succeeded",
        breaks: "a command that was told to stop has not succeeded",
        suites: &[&UNITS, &SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/verdict.rs",
                "let mut finished = match (self.stop, self.status) {",
                "let mut finished = match (self.stop.filter(|_| code != Some(0)), self.status) {",
            ),
        ],
    },
    Bug {
        name: "no-kill-after-the-grace",
        breaks: "a command that ignores TERM is killed when the grace is over",
        suites: &[&UNITS, &SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/ending.rs",
                "if self.killed_at.is_none() && reached(self.kill_at) {",
                "if false && self.killed_at.is_none() && reached(self.kill_at) {",
            ),
        ],
    },
];
