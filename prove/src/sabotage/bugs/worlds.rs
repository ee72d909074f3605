//! Bugs that show only when several processes, faults and a bad moment come together.

use super::Bug;
use crate::sabotage::suites::{MODEL, SIMULATE, SIMULATE_IN_MEMORY, UNITS};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "lease-counted-from-the-answer",
        breaks: "a worker never believes that its lease lasts longer than it does",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                r#"            self.renewed_at = asked_at;
            // A setting"#,
                r#"            self.renewed_at = asked_at.max(now);
            // A setting"#,
            ),
        ],
    },
    Bug {
        name: "deregistration-before-the-last-attempt",
        breaks: "a worker that stops is there until its last attempt has ended",
        suites: &[&SIMULATE_IN_MEMORY],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                r#"        if self.stop.is_some() && self.held.is_empty() {
            return Some(Action::Deregister"#,
                r#"        if self.stop.is_some() {
            return Some(Action::Deregister"#,
            ),
        ],
    },
    Bug {
        name: "a-stop-leaves-the-line",
        breaks: "a worker that stops gives back what it has not begun",
        suites: &[&SIMULATE_IN_MEMORY],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                "for lease in unstarted.iter().map(|job| &job.lease).chain(leases) {",
                "for lease in unstarted.iter().map(|job| &job.lease).chain(&leases[..0]) {",
            ),
        ],
    },
    Bug {
        name: "what-did-not-begin-forgets-the-orphans",
        breaks: "what a lost attempt left is told until somebody has ended it",
        suites: &[&SIMULATE_IN_MEMORY],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                "self.settle.push(given_back(lease, wall, held.job.lost_from.is_some()));",
                "self.settle.push(given_back(lease, wall, false));",
            ),
        ],
    },
    Bug {
        name: "a-claim-that-is-found-forgets-the-orphans",
        breaks: "what a lost attempt left is told until somebody has ended it",
        suites: &[&SIMULATE_IN_MEMORY],
        edits: &[
            (
                "queuectl-core/src/worker/step.rs",
                "self.settle.push(given_back(lease, wall, true));",
                "self.settle.push(given_back(lease, wall, false));",
            ),
        ],
    },
    Bug {
        name: "a-death-before-the-beginning-forgets-the-orphans",
        breaks: "what a lost attempt left is told until somebody has ended it",
        suites: &[&MODEL],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "let (verdict, leftovers) = (Verdict::Release, lost_from.is_some());",
                "let (verdict, leftovers) = (Verdict::Release, false && lost_from.is_some());",
            ),
        ],
    },
    Bug {
        name: "a-cancelled-job-forgets-the-orphans",
        breaks: "what a lost attempt left is ended, although its job will not run again",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "    note_leftovers(tx, key, NOBODY)\n",
                "    Ok(())\n",
            ),
        ],
    },
    Bug {
        name: "a-purge-forgets-the-orphans",
        breaks: "what a lost attempt left is ended, although its job is gone",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"    tx.execute("DELETE FROM queuectl_output WHERE job = ?1", [key.0])?;
"#,
                r#"    tx.execute("DELETE FROM queuectl_output WHERE job = ?1", [key.0])?;
    tx.execute("DELETE FROM queuectl_leftover WHERE job = ?1", [key.0])?;
"#,
            ),
        ],
    },
    Bug {
        name: "a-cleaner-is-trusted-for-ever",
        breaks: "what a lost attempt left is ended, although he who was at it has died",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/mod.rs",
                "!self.locks.lives(&left.cleaner)",
                "left.cleaner.is_empty()",
            ),
        ],
    },
    Bug {
        name: "settings-are-not-passed-on",
        breaks: "a setting holds for every process from the moment on at which it was made",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"    tx.raise_epoch()?;
    tx.reload_catalogue()?;
    if tx.catalogue"#,
                r#"    tx.reload_catalogue()?;
    if tx.catalogue"#,
            ),
        ],
    },
    Bug {
        name: "a-new-queue-is-not-passed-on",
        breaks: "a job in a queue that is new is run by workers that were there before",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lane.rs",
                r#"        self.raise_epoch()?;
        Ok(lane)"#,
                "        Ok(lane)",
            ),
        ],
    },
    Bug {
        name: "a-blocked-job-keeps-its-delay-of-an-earlier-boot",
        breaks: "after a restart a delay ends when it was expected to",
        suites: &[&SIMULATE],
        edits: &[
            (
                "queuectl-core/src/sqlite/catalogue.rs",
                "WHERE (state = 1 OR state > 3) AND state = 1 AND run_boot > 0",
                "WHERE (state = 1 OR state > 3) AND state = 1 AND run_boot < 0",
            ),
        ],
    },
];
