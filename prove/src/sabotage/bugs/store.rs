//! Bugs of the file: durability, the writing transaction, opening.

use super::Bug;
use crate::sabotage::suites::{CONFORMANCE, FILES, LOG_SIZE, POWER, UNITS, WORKER};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // The event log.

    Bug {
        name: "events-of-what-was-undone",
        breaks: "a call that fails adds no entry to the event log",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                "            self.events.clear();\n",
                "",
            ),
        ],
    },
    Bug {
        name: "event-of-another-attempt",
        breaks: "what ends an attempt says which",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "        ..Entry::under(lease, held.worker, Change::by(ending.event))",
                "        ..Entry::under(Lease { token: Token(lease.token.0 + 1), ..lease }, held.worker, Change::by(ending.event))",
            ),
        ],
    },
    Bug {
        name: "event-numbers-given-twice",
        breaks: "the numbers of the event log go on when it is turned off and on again",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/migrations/0001_first.sql",
                "    seq INTEGER PRIMARY KEY AUTOINCREMENT,",
                "    seq INTEGER PRIMARY KEY,",
            ),
        ],
    },

    // Durability and the writing transaction.

    Bug {
        name: "sync-normal",
        breaks: "an acknowledged write survives a power cut",
        suites: &[&POWER],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"Durability::Full => "FULL","#,
                r#"Durability::Full => "NORMAL","#,
            ),
        ],
    },
    Bug {
        name: "sync-off",
        breaks: "a power cut leaves the file whole",
        suites: &[&POWER],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"Durability::Full => "FULL","#,
                r#"Durability::Full => "OFF","#,
            ),
        ],
    },
    Bug {
        name: "ack-before-commit",
        breaks: "nobody is answered before their commit",
        suites: &[&CONFORMANCE, &WORKER],
        edits: &[
            (
                "queuectl-core/src/sqlite/combine.rs",
                r#"        let committed = tx.commit();
"#,
                r#"        conclude_all(std::mem::take(&mut self.followers), || None);
        let committed = tx.commit();
"#,
            ),
        ],
    },
    Bug {
        name: "deferred-transaction",
        breaks: "a write waits for its turn and is not refused for having read first",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                r#"prepare_cached("BEGIN IMMEDIATE")"#,
                r#"prepare_cached("BEGIN DEFERRED")"#,
            ),
        ],
    },
    Bug {
        name: "claim-in-two-transactions",
        breaks: "a job has at most one holder",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "    let front = front(tx, lanes, wanted, &room)?;",
                r#"    let front = front(tx, lanes, wanted, &room)?;
    tx.execute("COMMIT", [])?;
    tx.execute("BEGIN IMMEDIATE", [])?;"#,
            ),
            (
                "queuectl-core/src/sqlite/transaction.rs",
                "let pass = self.gate.pass();",
                "let pass = Pass::none();",
            ),
            (
                "queuectl-core/src/sqlite/gate.rs",
                "/// The file beside the store whose name is",
                r#"impl Pass<'_> {
    pub(super) fn none() -> Self {
        Pass(None)
    }
}

/// The file beside the store whose name is"#,
            ),
        ],
    },
    Bug {
        name: "failed-write-is-committed",
        breaks: "an error means that it did not happen",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/combine.rs",
                r#"                Err(error) => {
                    tx.rollback();
"#,
                r#"                Err(error) => {
                    let _ = tx.commit();
"#,
            ),
        ],
    },
    Bug {
        name: "failed-follower-is-kept",
        breaks: "a batch that fails in a shared transaction is undone",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/combine.rs",
                "follower.applied(tx.nested(|tx| enqueue(tx, &follower.jobs())));",
                "follower.applied(enqueue(tx, &follower.jobs()));",
            ),
        ],
    },
    Bug {
        name: "failed-follower-is-counted",
        breaks: "the counters are those of the jobs",
        suites: &[&FILES, &CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                r#"            self.counts = counts;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "catalogue-survives-rollback",
        breaks: "a lane that was rolled back is forgotten",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                r#"            self.catalogue.forget();
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "log-is-left-to-readers",
        breaks: "the log stays short under readers that never pause",
        suites: &[&LOG_SIZE],
        edits: &[
            (
                "queuectl-core/src/sqlite/checkpoint.rs",
                "if pages >= self.begin_anew_at {",
                "if false && pages >= self.begin_anew_at {",
            ),
        ],
    },
    Bug {
        name: "replaced-file-is-written",
        breaks: "no write goes to a file that is not the store any more",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/transaction.rs",
                "if FileIdentity::of(&self.path).ok() != Some(self.opened) {",
                "if false {",
            ),
        ],
    },
    Bug {
        name: "readers-may-write",
        breaks: "reads change nothing",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"connection.pragma_update(None, "query_only", true)"#,
                r#"connection.pragma_update(None, "query_only", false)"#,
            ),
        ],
    },
    // Files.

    Bug {
        name: "store-readable-by-all",
        breaks: "nobody else can read the store",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW"#,
                r#"        .mode(0o644)
        .custom_flags(OFlags::NOFOLLOW"#,
            ),
        ],
    },
    Bug {
        name: "folder-readable-by-all",
        breaks: "nobody else can look into the store's folder",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"        .mode(0o700)
        .create(folder)"#,
                r#"        .mode(0o755)
        .create(folder)"#,
            ),
        ],
    },
    Bug {
        name: "newer-schema-is-accepted",
        breaks: "a file of a newer version is refused without a write",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "    if schema > known {",
                "    if false {",
            ),
        ],
    },
    Bug {
        name: "foreign-file-is-accepted",
        breaks: "another program's file is refused",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                "    if application != APPLICATION_ID {",
                "    if false {",
            ),
        ],
    },
    Bug {
        name: "empty-file-is-filled",
        breaks: "an empty file is not a new store",
        suites: &[&FILES],
        edits: &[
            (
                "queuectl-core/src/sqlite/open.rs",
                r#"    if metadata.len() == 0 {
        return Err(OpenError::Empty"#,
                r#"    if false {
        return Err(OpenError::Empty"#,
            ),
        ],
    },
    Bug {
        name: "log-file-readable-by-all",
        breaks: "nobody else can read what a job has printed",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/shell/folder.rs",
                "Mode::from_raw_mode(0o600)",
                "Mode::from_raw_mode(0o644)",
            ),
        ],
    },
];
