//! Bugs of fencing, of leases and of what becomes of the dead.

use super::Bug;
use crate::sabotage::suites::{CONFORMANCE, RECOVERY, UNITS, WORKER};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // Fencing: only who holds a job says anything of it.

    Bug {
        name: "completion-without-token",
        breaks: "a stale holder completes nothing",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "WHERE key BETWEEN ?1 AND ?2 AND token = ?3 ORDER BY key",
                "WHERE key BETWEEN ?1 AND ?2 AND ?3 >= 0 ORDER BY key",
            ),
        ],
    },
    Bug {
        name: "failure-without-token",
        breaks: "a stale holder fails nothing",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "WHERE lease.key = ?1 AND lease.token = ?2",
                "WHERE lease.key = ?1 AND ?2 >= 0",
            ),
        ],
    },
    Bug {
        name: "progress-without-token",
        breaks: "a stale holder notes no progress",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "WHERE key = ?1 AND token = ?2)",
                "WHERE key = ?1 AND ?2 >= 0)",
            ),
        ],
    },
    Bug {
        name: "settlement-of-what-has-ended",
        breaks: "terminal is final",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"    tx.execute("DELETE FROM queuectl_lease WHERE key = ?1", [lease.key.0])?;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "completion-twice",
        breaks: "settling twice settles once",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "        self.free.execute((first, last))?;\n",
                "",
            ),
        ],
    },
    Bug {
        name: "run-over-a-gap",
        breaks: "nobody but the claimed jobs is claimed",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/claim.rs",
            "next.key.0 == self.key.0 + 1\n",
            "next.key.0 > self.key.0\n",
        )],
    },
    Bug {
        name: "run-over-a-boundary",
        breaks: "what is claimed waits no more",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/claim.rs",
            "            && (next.lane.lane, next.rank) == (self.lane.lane, self.rank)\n",
            "",
        )],
    },
    Bug {
        name: "claim-takes-the-whole-run",
        breaks: "what was not claimed still waits",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/claim.rs",
            "        line::make_run_ready(tx, Run { lane, rank, first: JobKey(to + 1), last: last.until })?;\n",
            "",
        )],
    },
    Bug {
        name: "leaving-ends-the-run",
        breaks: "what stood behind a job that was cancelled still waits",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/line.rs",
            "    make_run_ready(tx, Run { first: JobKey(key.0 + 1), ..run })\n",
            "    Ok(())\n",
        )],
    },
    Bug {
        name: "run-of-two-moments",
        breaks: "a change of the aging ranks each job by its own run_at",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/insert.rs",
            "        self.times.run_at == tx.now && job",
            "        self.times.due && job",
        )],
    },
    Bug {
        name: "claim-of-what-has-ended",
        breaks: "terminal is final, also if another program has written to the file",
        suites: &[&UNITS],
        edits: &[(
            "queuectl-core/src/sqlite/claim.rs",
            "let now = transition(before, Event::Claim).map_err(contradiction)?;",
            "let now = transition(before, Event::Claim).unwrap_or(crate::state::State::Processing);",
        )],
    },
    Bug {
        name: "claim-robs-the-holder",
        breaks: "a job has at most one holder",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "\"INSERT OR FAIL INTO queuectl_lease",
                "\"INSERT OR REPLACE INTO queuectl_lease",
            ),
            (
                "queuectl-core/src/sqlite/claim.rs",
                "if self.leave.execute((lane, rank, from, to))? == 0 {",
                "if false {",
            ),
        ],
    },
    Bug {
        name: "run-of-unlike-settlements",
        breaks: "each settlement counts as it was given",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/settle.rs",
            "        && bare(settlement)\n        && bare(next)",
            "        && bare(settlement)",
        )],
    },
    Bug {
        name: "numbers-are-used-again",
        breaks: "a lease of a purged job is never another job's",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/migrations/0001_first.sql",
                r#"    key INTEGER PRIMARY KEY AUTOINCREMENT,
    state"#,
                r#"    key INTEGER PRIMARY KEY,
    state"#,
            ),
        ],
    },
    Bug {
        name: "worker-numbers-are-used-again",
        breaks: "a worker's number is never given again",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/migrations/0001_first.sql",
                "worker INTEGER PRIMARY KEY AUTOINCREMENT",
                "worker INTEGER PRIMARY KEY",
            ),
        ],
    },
    Bug {
        name: "purged-number-may-be-chosen",
        breaks: "a number that was given is not given again",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/insert.rs",
                r#"                never_given(tx, *key)?;
"#,
                "",
            ),
        ],
    },
    // Leases, and the death of workers.

    Bug {
        name: "renewal-hides-loss",
        breaks: "a worker that was declared lost is told so",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                r#"            orders.lost.push(worker);
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "renewal-without-effect",
        breaks: "nobody is robbed while he renews",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "SET lease_boot = ?2 WHERE worker",
                "SET lease_boot = min(lease_boot, ?2) WHERE worker",
            ),
        ],
    },
    Bug {
        name: "renewal-after-restart",
        breaks: "after a restart of the machine every lease is dead",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "SET lease_boot = ?2 WHERE worker = ?1 AND boot_id = ?3",
                "SET lease_boot = ?2, boot_id = ?3 WHERE worker = ?1",
            ),
        ],
    },
    Bug {
        name: "rescue-from-a-stale-look",
        breaks: "who renews before the rescue commits keeps his jobs",
        suites: &[&UNITS, &CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                r#"        if renewed {
            continue;"#,
                r#"        if false && renewed {
            continue;"#,
            ),
        ],
    },
    Bug {
        name: "lease-on-the-wall-clock",
        breaks: "no step of the wall clock ends a lease",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "(tx.boot + request.lease).as_millis(),",
                "(tx.now + request.lease).as_millis(),",
            ),
            (
                "queuectl-core/src/sqlite/lease.rs",
                "let until = (tx.boot + lease).as_millis();",
                "let until = (tx.now + lease).as_millis();",
            ),
            (
                "queuectl-core/src/sqlite/lease.rs",
                "live.exists((worker.0, tx.catalogue.boot_id(), tx.boot.as_millis()))?",
                "live.exists((worker.0, tx.catalogue.boot_id(), tx.now.as_millis()))?",
            ),
            (
                "queuectl-core/src/sqlite/mod.rs",
                r#"    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        let (boot, boot_id) = (self.clock.boot(), self.clock.boot_id());"#,
                r#"    fn rescue(&self, kinds: &[Name]) -> Result<Vec<Rescued>, StoreError> {
        let boot = crate::clock::BootTime::from_millis(self.clock.now().as_millis());
        let boot_id = self.clock.boot_id();"#,
            ),
        ],
    },
    Bug {
        name: "death-goes-unnoticed",
        breaks: "a dead worker's jobs run again soon",
        suites: &[&CONFORMANCE, &WORKER],
        edits: &[
            (
                "queuectl-core/src/sqlite/lifelock.rs",
                "        Some(Begun::read(&file))",
                "        let _ = Begun::read(&file);\n        None",
            ),
        ],
    },
    Bug {
        name: "what-has-begun-is-not-asked",
        breaks: "a worker that dies spends only the attempts that it had begun",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "Some(Death::ProcessGone(begun)) if !begun.contains(lease) => {",
                "Some(Death::ProcessGone(begun)) if false && !begun.contains(lease) => {",
            ),
        ],
    },
    Bug {
        name: "a-beginning-is-not-noted",
        breaks: "a job that kills its worker ends in the dead letter queue",
        suites: &[&RECOVERY],
        edits: &[
            (
                "queuectl-core/src/worker/threads.rs",
                "        self.store.begin(job.lease);\n",
                "",
            ),
        ],
    },
    Bug {
        name: "leftovers-of-the-dead-are-not-noted",
        breaks: "what a dead worker left is ended, whoever dies while at it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/lease.rs",
                "settle::note_leftovers(tx, lost.lease.key, &rescuer.process.identity)?;",
                "let _ = lost;",
            ),
        ],
    },
    Bug {
        name: "missing-lock-proves-death",
        breaks: "only a free lock proves a death",
        suites: &[&WORKER],
        edits: &[
            (
                "queuectl-core/src/sqlite/lifelock.rs",
                "        let file = options().open(self.path(identity)).ok()?;\n",
                "        let Ok(file) = options().open(self.path(identity)) else {\n            return Some(Begun::Anything);\n        };\n",
            ),
        ],
    },
    Bug {
        name: "lost-attempt-is-given-back",
        breaks: "a job that kills its workers runs out of attempts",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "        Ending::now(Event::LoseLease)",
                "        Ending { refund: true, ..Ending::now(Event::LoseLease) }",
            ),
        ],
    },
    Bug {
        name: "lost-last-attempt-runs-again",
        breaks: "attempts never exceed the maximum",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "poisonous || held.attempts >= held.max_attempts",
                "poisonous",
            ),
        ],
    },
    Bug {
        name: "a-killer-uses-up-its-retries",
        breaks: "a job that loses too many workers in a row is dead",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "poisonous || held.attempts >= held.max_attempts",
                "held.attempts >= held.max_attempts",
            ),
        ],
    },
    Bug {
        name: "crashes-of-the-last-generation",
        breaks: "a new generation has lost no worker",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "while number > 1",
                "while number > 0",
            ),
        ],
    },
    Bug {
        name: "crashes-with-ends-between",
        breaks: "only workers that are lost in a row count",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "            Cause::Interrupted => {}
            _ => break,",
                "            _ => {}",
            ),
        ],
    },
    Bug {
        name: "lost-attempt-is-forgotten",
        breaks: "what a lost attempt left is told to the next claim",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "row.get::<_, Option<i64>>(8)?.map(Token);",
                "row.get::<_, Option<i64>>(8)?.map(Token).filter(|_| false);",
            ),
        ],
    },
    Bug {
        name: "newest-lost-attempt-only",
        breaks: "the first lost attempt is told, not the last",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "let lost_from = leftovers.then(|| held.lost_from.unwrap_or(lease.token).0);",
                "let lost_from = leftovers.then_some(lease.token.0);",
            ),
        ],
    },
    Bug {
        name: "restart-goes-unnoticed",
        breaks: "a delay of an earlier boot falls back to the wall clock",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/catalogue.rs",
                "if known_boot != boot_id.as_str() {",
                "if false {",
            ),
        ],
    },
];
