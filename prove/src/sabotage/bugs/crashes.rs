//! Bugs that a killed process, a failing disk or a power cut brings to light, and no test that lets
//! everybody live.

use super::Bug;
use crate::sabotage::suites::{
    BOUNDARIES, FAULTS_OF_A_LIST, FAULTS_OF_A_WORKER, FAULTS_OF_OPENING, FAULTS_OF_THE_FIRST,
    POWER, STORM, UNITS,
};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // Killed at any moment: what belongs together happens together.

    Bug {
        name: "store-is-made-in-place",
        breaks: "whatever interrupts the making of a store, there is a whole one or none",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"let draft = folder.join(format!(".{name}.{}", random::identity()));"#,
                "let (draft, _) = (path.to_owned(), name);",
            ),
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"    let _ = std::fs::remove_file(&draft);
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "draft-of-a-fixed-name",
        breaks: "a store whose making was interrupted can be made",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"folder.join(format!(".{name}.{}", random::identity()))"#,
                r#"folder.join(format!(".{name}.draft"))"#,
            ),
        ],
    },
    Bug {
        name: "log-is-tidied-away",
        breaks: "what a killed process had committed is there",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"    let file = inspect(&path, options)?;
"#,
                r#"    let file = inspect(&path, options)?;
    let _ = std::fs::remove_file(super::gate::beside(&path, "-wal"));
"#,
            ),
        ],
    },
    Bug {
        name: "counters-after-the-commit",
        breaks: "the counters are those of the jobs, whoever dies when",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                r#"self.flush().and_then(|()| self.execute("COMMIT", []).map(drop)),"#,
                r#"self
                .flush_events()
                .and_then(|()| self.execute("COMMIT", []))
                .and_then(|_| self.flush_counts()),"#,
            ),
        ],
    },
    Bug {
        name: "events-after-the-commit",
        breaks: "the event log tells what has happened, whoever dies when",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                r#"self.flush().and_then(|()| self.execute("COMMIT", []).map(drop)),"#,
                r#"self
                .flush_counts()
                .and_then(|()| self.execute("COMMIT", []))
                .and_then(|_| self.flush_events()),"#,
            ),
        ],
    },
    Bug {
        name: "completion-in-two-transactions",
        breaks: "a settlement happens wholly or not at all",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"        // Only an attempt that was settled by itself has more to say.
"#,
                r#"        tx.execute("COMMIT", [])?;
        tx.execute("BEGIN IMMEDIATE", [])?;
"#,
            ),
        ],
    },
    Bug {
        name: "worker-goes-before-its-jobs",
        breaks: "a dead worker is known until all of its jobs are free",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "    // In the order of the jobs: of several",
                r#"    tx.execute("COMMIT", [])?;
    tx.execute("BEGIN IMMEDIATE", [])?;
    // In the order of the jobs: of several"#,
            ),
        ],
    },
    Bug {
        name: "jobs-of-a-file-one-by-one",
        breaks: "a file of jobs is enqueued wholly or not at all",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-cli/src/commands/enqueue.rs",
                "for batch in jobs.chunks(BATCH_LEN_MAX) {",
                "for batch in jobs.chunks(1) {",
            ),
        ],
    },
    Bug {
        name: "retries-one-by-one",
        breaks: "a command for several jobs does all of it or nothing",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-cli/src/commands/retry.rs",
                "    store.retry(ids)?;",
                "    for id in ids {\n        store.retry(std::slice::from_ref(id))?;\n    }",
            ),
        ],
    },
    Bug {
        name: "told-before-it-is-done",
        breaks: "what was said is so",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-cli/src/commands/cancel.rs",
                "    let outcomes = store.cancel(ids, remark)?;",
                r#"    for id in ids {
        session.ui.line(format_args!("cancelled {id}"))?;
    }
    let outcomes = store.cancel(ids, remark)?;"#,
            ),
        ],
    },
    Bug {
        name: "purge-leaves-the-history",
        breaks: "nothing is kept of a job that was deleted",
        suites: &[&BOUNDARIES],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"    tx.execute("DELETE FROM queuectl_attempt WHERE job = ?1", [key.0])?;
"#,
                "",
            ),
        ],
    },
    // Killed all the time: what shows when the storm is over.

    Bug {
        name: "orphans-beside-the-next-attempt",
        breaks: "what a dead worker's command left is ended before the job runs again",
        suites: &[&STORM],
        edits: &[
            (
                "queuectl-core/src/handler.rs",
                "if let Some(from) = job.lost_from\n",
                "if let Some(from) = job.lost_from.filter(|_| false)\n",
            ),
        ],
    },
    Bug {
        name: "locks-of-the-lost-are-left",
        breaks: "of an attempt that is over no lock is left",
        suites: &[&STORM],
        edits: &[
            (
                "queuectl-core/src/shell/leftovers.rs",
                r#"    for lease in leases {
        folder.delete"#,
                r#"    for lease in leases.into_iter().take(0) {
        folder.delete"#,
            ),
        ],
    },
    Bug {
        name: "nobody-waits-for-a-lock",
        breaks: "a store that another process is recovering is waited for",
        suites: &[&STORM],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "    connection.busy_handler(Some(wait_for_lock))?;",
                "    connection.busy_handler(Some(|_| false && wait_for_lock(0)))?;",
            ),
        ],
    },
    Bug {
        name: "nobody-cleans-up",
        breaks: "what lost attempts left of a job that will not run again is ended",
        suites: &[&STORM],
        edits: &[
            (
                "queuectl-core/src/worker/threads.rs",
                "                    self.cleaning.extend(self.runner.clean_up(left));",
                "                    left.truncate(0);\n                    self.cleaning.extend(self.runner.clean_up(left));",
            ),
        ],
    },
    Bug {
        name: "beginning-is-noted-at-the-end",
        breaks: "a worker that dies spends the attempts that it had begun",
        suites: &[&STORM],
        edits: &[
            (
                "queuectl-core/src/worker/threads.rs",
                r#"        self.store.begin(job.lease);
        self.audience.tell(Told::Started(job));
        let finished = self.handlers.execute(job, &context);
"#,
                r#"        self.audience.tell(Told::Started(job));
        let finished = self.handlers.execute(job, &context);
        self.store.begin(job.lease);
"#,
            ),
        ],
    },
    // The disk is full, or fails.

    Bug {
        name: "fairness-must-be-possible",
        breaks: "without the files of the gate there is no fairness, and no failure either",
        suites: &[&FAULTS_OF_THE_FIRST],
        edits: &[
            (
                "queuectl-core/src/sqlite/gate.rs",
                r#"            _ => None,
        };
        Gate {"#,
                r#"            (turn, gate) => panic!("the gate: {turn:?}, {gate:?}"),
        };
        Gate {"#,
            ),
        ],
    },
    Bug {
        name: "half-a-store-is-put-in-place",
        breaks: "a store that could not be made whole is not there",
        suites: &[&FAULTS_OF_THE_FIRST],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "let placed = made.and_then(|()| sync_above(path, folder))",
                "let placed = made.or(Ok(())).and_then(|()| sync_above(path, folder))",
            ),
        ],
    },
    Bug {
        name: "room-is-waited-for-without-end",
        breaks: "a command ends, whatever the disk says",
        suites: &[&FAULTS_OF_THE_FIRST],
        edits: &[
            (
                "queuectl-cli/src/commands/enqueue.rs",
                "    let added = store.enqueue(&[job])?;",
                r#"    let added = loop {
        match store.enqueue(std::slice::from_ref(&job)) {
            Err(StoreError::Full(_)) => {}
            answer => break answer?,
        }
    };"#,
            ),
        ],
    },
    Bug {
        name: "unknown-outcome-is-a-conflict",
        breaks: "each kind of failure has its exit code",
        suites: &[&FAULTS_OF_THE_FIRST],
        edits: &[
            (
                "queuectl-cli/src/error.rs",
                r#"            StoreError::Unknown(_) => {
                (Exit::STORE,"#,
                r#"            StoreError::Unknown(_) => {
                (Exit::CONFLICT,"#,
            ),
        ],
    },
    Bug {
        name: "output-that-is-lost-is-success",
        breaks: "what could not be told was not done well",
        suites: &[&FAULTS_OF_A_LIST],
        edits: &[
            (
                "queuectl-cli/src/error.rs",
                "if error.kind() == io::ErrorKind::BrokenPipe { Exit::DONE } else { Exit::FAILED },",
                "Exit::DONE,",
            ),
        ],
    },
    Bug {
        name: "first-failure-is-the-last",
        breaks: "a worker goes on when the store has failed for a moment",
        suites: &[&FAULTS_OF_A_WORKER],
        edits: &[
            (
                "queuectl-core/src/worker/trouble.rs",
                "if now >= since + too_long && times + 1 >= LASTING_MIN {",
                "if now >= since {",
            ),
        ],
    },
    Bug {
        name: "broken-store-is-never-given-up",
        breaks: "a worker ends when its store has failed for a lease",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/worker/trouble.rs",
                "if now >= since + too_long && times + 1 >= LASTING_MIN {",
                "if false && now >= since + too_long && times + 1 >= LASTING_MIN {",
            ),
        ],
    },
    Bug {
        name: "no-watch-no-worker",
        breaks: "a worker that cannot watch the store looks at it from time to time",
        suites: &[&FAULTS_OF_OPENING],
        edits: &[
            (
                "queuectl-core/src/worker/threads.rs",
                "        let watch = self.store.watch(waker);",
                "        let watch = self.store.watch(waker)?;",
            ),
        ],
    },
    // The power fails.

    Bug {
        name: "new-store-is-not-synced",
        breaks: "a new store is whole when anybody can find it",
        suites: &[&POWER],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "    File::open(draft).and_then(|file| file.sync_all()).map_err(|error| io_error(path, error))",
                "    Ok(())",
            ),
        ],
    },
    Bug {
        name: "folders-above-are-not-synced",
        breaks: "a new folder does not vanish with the store in it",
        suites: &[&POWER],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "made.and_then(|()| sync_above(path, folder)).and_then(|()| {",
                "made.and_then(|()| {",
            ),
        ],
    },
];
