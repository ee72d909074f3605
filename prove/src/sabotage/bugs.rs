//! The bugs. Each is what somebody might write by mistake, or has written in another queue, as a
//! text that is looked for in a file, exactly once, and what stands there instead.

use super::suites::{CLI, CONFORMANCE, FILES, MODEL, POWER, RECOVERY, SHELL, Suite, UNITS, WORKER};

/// A bug.
#[derive(Debug)]
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// The promise that it breaks.
    pub(crate) breaks: &'static str,
    /// The suites of which one must turn red, in the order in which they run.
    pub(crate) suites: &'static [&'static Suite],
    /// The file, what is looked for, what stands there instead.
    pub(crate) edits: &'static [(&'static str, &'static str, &'static str)],
}

/// All of them.
#[rustfmt::skip]
pub(crate) const BUGS: &[Bug] = &[
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
                r#"        for follower in lead.followers.drain(..) {
            follower.conclude(None);
        }
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
                "    let next = next_in_line(tx, &lanes, wanted)?;",
                r#"    let next = next_in_line(tx, &lanes, wanted)?;
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
                    return Err(error);"#,
                r#"                Err(error) => {
                    let _ = tx.commit();
                    return Err(error);"#,
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
                "let undo = if answer.is_ok() { Ok(()) } else { Err(StoreError::abandoned()) };",
                "let undo = Ok(());",
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
    // Fencing: only who holds a job says anything of it.

    Bug {
        name: "completion-without-token",
        breaks: "a stale holder completes nothing",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"worker FROM queuectl_job NOT INDEXED
             WHERE key BETWEEN ?1 AND ?2 AND token = ?3 AND state = 2""#,
                r#"worker FROM queuectl_job NOT INDEXED
             WHERE key BETWEEN ?1 AND ?2 AND ?3 >= 0 AND state = 2""#,
            ),
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"cancel_reason = NULL
             WHERE key BETWEEN ?1 AND ?2 AND token = ?3 AND state = 2"#,
                r#"cancel_reason = NULL
             WHERE key BETWEEN ?1 AND ?2 AND ?3 >= 0 AND state = 2"#,
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
                r#"FROM queuectl_job WHERE key = ?1 AND token = ?2 AND state = 2",
        )?
        .query_row((key.0, token.0)"#,
                r#"FROM queuectl_job WHERE key = ?1 AND ?2 >= 0 AND state = 2",
        )?
        .query_row((key.0, token.0)"#,
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
                "WHERE key = ?1 AND token = ?2 AND state = 2",
                "WHERE key = ?1 AND ?2 >= 0 AND state = 2",
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
                r#"FROM queuectl_job WHERE key = ?1 AND token = ?2 AND state = 2",
        )?
        .query_row((key.0, token.0)"#,
                r#"FROM queuectl_job WHERE key = ?1 AND token = ?2 AND state IN (2, 3)",
        )?
        .query_row((key.0, token.0)"#,
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
                r#"worker FROM queuectl_job NOT INDEXED
             WHERE key BETWEEN ?1 AND ?2 AND token = ?3 AND state = 2""#,
                r#"worker FROM queuectl_job NOT INDEXED
             WHERE key BETWEEN ?1 AND ?2 AND token = ?3 AND state IN (2, 3)""#,
            ),
        ],
    },
    Bug {
        name: "run-over-a-gap",
        breaks: "nobody but the claimed jobs is claimed",
        suites: &[&CONFORMANCE],
        edits: &[(
            "queuectl-core/src/sqlite/claim.rs",
            "next.key.0 == self.key.0 + 1 && next.worker == self.worker",
            "next.key.0 > self.key.0 && next.worker == self.worker",
        )],
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
                "queuectl-core/src/sqlite/enqueue.rs",
                r#"            never_given(tx, *key)?;
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
                "Death::ProcessGone(begun) if !begun.contains(lease) => {",
                "Death::ProcessGone(begun) if false && !begun.contains(lease) => {",
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
                "    } else if held.attempts >= held.max_attempts {",
                "    } else if false {",
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
    // Claims: what may start, when, and in which order.

    Bug {
        name: "attempt-counted-at-its-end",
        breaks: "each claim spends one attempt, in the same transaction",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "token = token + 1, attempts = attempts + 1,",
                "token = token + 1,",
            ),
            (
                "queuectl-core/src/sqlite/settle.rs",
                "held.attempts - u32::from(ending.refund),",
                "held.attempts + 1 - u32::from(ending.refund),",
            ),
        ],
    },
    Bug {
        name: "claim-by-a-stopping-worker",
        breaks: "after stop has returned, no claim acts against it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "WHERE worker = ?1 AND stop IS NULL",
                "WHERE worker = ?1",
            ),
        ],
    },
    Bug {
        name: "pause-looked-at-before",
        breaks: "after pause has returned, no claim acts against it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/catalogue.rs",
                "if self.epoch != Some(epoch) {",
                "if self.epoch.is_none() {",
            ),
        ],
    },
    Bug {
        name: "pause-without-effect",
        breaks: "a paused queue gives nothing",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "!lane.paused && request",
                "request",
            ),
        ],
    },
    Bug {
        name: "private-queue-is-served",
        breaks: "private queues are served only by name",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/store.rs",
                "Queues::All => !queue.as_str().starts_with(PRIVATE_QUEUE_PREFIX),",
                "Queues::All => !queue.as_str().is_empty(),",
            ),
        ],
    },
    Bug {
        name: "order-by-queue",
        breaks: "priority counts over all queues and kinds",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                r#"        next.sort_unstable();
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "delay-on-the-wall-clock",
        breaks: "a step of the wall clock neither delays nor hastens a delay",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "Some((tx.boot + delay).as_millis())",
                "None",
            ),
        ],
    },
    Bug {
        name: "due-moment-not-told",
        breaks: "a worker sleeps until the next job is due",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/mod.rs",
                "next_due: claim::next_due(tx)? })",
                "next_due: claim::next_due(tx)?.filter(|_| false) })",
            ),
        ],
    },
    Bug {
        name: "claim-without-counting",
        breaks: "the counters are those of the jobs",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                r#"            tx.moved(pick.lane.lane, row::state(row, 0)?, State::Processing);
"#,
                "",
            ),
        ],
    },
    // How attempts end.

    Bug {
        name: "dead-with-an-attempt-left",
        breaks: "a job is dead only when its attempts are spent",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "Verdict::Fail { .. } if held.attempts >= held.max_attempts",
                "Verdict::Fail { .. } if held.attempts + 1 >= held.max_attempts",
            ),
        ],
    },
    Bug {
        name: "snooze-spends-the-attempt",
        breaks: "a snoozed job gets its attempt back",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "Ending { event: Event::Snooze, refund: true, delay: *wake_in }",
                "Ending { event: Event::Snooze, refund: false, delay: *wake_in }",
            ),
        ],
    },
    Bug {
        name: "deregistration-keeps-the-attempt",
        breaks: "a job that is given back gets its attempt back",
        suites: &[&MODEL],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "let ending = Ending { refund: true, ..Ending::now(event) };",
                "let ending = Ending { refund: event == Event::Release, ..Ending::now(event) };",
            ),
        ],
    },
    Bug {
        name: "dead-job-frees-its-children",
        breaks: "a job runs only after what it waits for has completed",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"    tx.moved(held.lane, State::Processing, state);
"#,
                r#"    tx.moved(held.lane, State::Processing, state);
    if state == State::Dead {
        unblock_dependents(tx, lease.key)?;
    }
"#,
            ),
        ],
    },
    Bug {
        name: "first-parent-frees",
        breaks: "a job waits for the last of its parents",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "if let Some((lane, row::BLOCKED, 0)) = unblocked {",
                "if let Some((lane, row::BLOCKED, _)) = unblocked {",
            ),
        ],
    },
    Bug {
        name: "death-without-record",
        breaks: "a dead job keeps its last error and its history",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                r#"    if let Some(report) = report {
        record(tx, &attempt"#,
                r#"    if let Some(report) = report.filter(|_| state != State::Dead) {
        record(tx, &attempt"#,
            ),
        ],
    },
    Bug {
        name: "cancel-of-a-running-job-is-final",
        breaks: "a running job is cancelled by its holder, and not behind its back",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"    if state == State::Processing {
        // Its worker stops it"#,
                r#"    if false {
        // Its worker stops it"#,
            ),
        ],
    },
    Bug {
        name: "cancel-request-is-forgotten",
        breaks: "a marked job is cancelled by every end but completion",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "        _ if held.cancel_requested => Ending",
                "        _ if false && held.cancel_requested => Ending",
            ),
        ],
    },
    Bug {
        name: "retry-keeps-the-attempts",
        breaks: "a retry begins a new generation",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "attempts = iif(?4, 0, attempts)",
                "attempts = attempts",
            ),
        ],
    },
    Bug {
        name: "retry-begins-tokens-anew",
        breaks: "a token is never given twice",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "SET state = ?2, claim_rank = -priority, run_boot = NULL, run_at = ?3,",
                "SET state = ?2, token = 0, claim_rank = -priority, run_boot = NULL, run_at = ?3,",
            ),
        ],
    },
    Bug {
        name: "retry-beside-a-living-twin",
        breaks: "a unique key has one living job",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"        unique_key_is_free(tx, id, key)?;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "retry-forgets-the-success",
        breaks: "the history holds every attempt",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                r#"        keep_success(tx, key)?;
"#,
                "",
            ),
        ],
    },
    Bug {
        name: "purge-leaves-children-waiting",
        breaks: "nothing waits for what is gone",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "    for child in dependents {",
                "    for child in dependents.into_iter().take(0) {",
            ),
        ],
    },
    Bug {
        name: "prune-takes-the-fresh",
        breaks: "retention takes only what has outlived it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "finished_at <= iif(state = 5, ?3, ?2)",
                "finished_at <= iif(state = 5, ?3, ?2) + 1000",
            ),
        ],
    },
    // Enqueueing.

    Bug {
        name: "unique-key-outside-the-transaction",
        breaks: "a unique key raced by many makes one job",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/mod.rs",
                r#"        let jobs = jobs.to_vec();
"#,
                r#"        if let [NewJob { unique_key: Some(unique_key), .. }] = jobs {
            let living = self.read(|connection| enqueue::living_in(connection, unique_key))?;
            if let Some(living) = living {
                return Ok(vec![living]);
            }
        }
        let single = jobs.len() == 1;
        let jobs = jobs.to_vec();
"#,
            ),
            (
                "queuectl-core/src/sqlite/mod.rs",
                "self.combiner.shared(move |tx| enqueue::enqueue(tx, &jobs))",
                "self.combiner.shared(move |tx| enqueue::enqueue_looking(tx, &jobs, !single))",
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                r#"    jobs.iter().map(|job| insert(tx, job)).collect()
}"#,
                r#"    enqueue_looking(tx, jobs, true)
}

pub(super) fn enqueue_looking(
    tx: &mut Tx<'_>,
    jobs: &[NewJob],
    look: bool,
) -> Result<Vec<Enqueued>, StoreError> {
    jobs.iter().map(|job| insert(tx, job, look)).collect()
}

pub(super) fn living_in(
    connection: &rusqlite::Connection,
    unique_key: &str,
) -> Result<Option<Enqueued>, StoreError> {
    let sql = "SELECT key, name FROM queuectl_job
               WHERE unique_key = ?1 AND (state < 3 OR state = 4)";
    let living = connection.query_row(sql, [unique_key], |row| {
        let key = JobKey(row.get(0)?);
        Ok(Enqueued { id: row::id(row, key, 1)?, key, created: false })
    });
    Ok(living.optional()?)
}"#,
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "fn insert(tx: &mut Tx<'_>, job: &NewJob) ->",
                "fn insert(tx: &mut Tx<'_>, job: &NewJob, look: bool) ->",
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                r#"    if let Some(unique_key) = &job.unique_key
"#,
                r#"    if look
        && let Some(unique_key) = &job.unique_key
"#,
            ),
            (
                "queuectl-core/src/sqlite/migrations/0001_first.sql",
                "CREATE UNIQUE INDEX queuectl_job_unique_key",
                "CREATE INDEX queuectl_job_unique_key",
            ),
        ],
    },
    Bug {
        name: "unique-key-of-what-has-ended",
        breaks: "the unique key of a job that has ended is free",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                r#"unique_key IS NOT NULL AND (state < 3 OR state = 4)",
        )?
        .query_row([unique_key]"#,
                r#"unique_key IS NOT NULL",
        )?
        .query_row([unique_key]"#,
            ),
        ],
    },
    Bug {
        name: "batch-without-limit",
        breaks: "a batch stays within its limit",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "if jobs.len() > BATCH_LEN_MAX {",
                "if false && jobs.len() > BATCH_LEN_MAX {",
            ),
        ],
    },
    Bug {
        name: "parent-that-is-not-there",
        breaks: "a job that waits for nothing that exists is refused",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "            None => return Err(StoreError::NotFound(id.clone())),",
                "            None => {}",
            ),
        ],
    },
    // Delays.

    Bug {
        name: "backoff-overflows",
        breaks: "a delay is defined for every attempt number",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/backoff.rs",
                "step.checked_mul(retry).unwrap_or(Duration::MAX)",
                "*step * retry",
            ),
        ],
    },
    Bug {
        name: "backoff-without-cap",
        breaks: "a delay is at most its cap",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/backoff.rs",
                "let capped = full.min(self.cap);",
                "let capped = full;",
            ),
        ],
    },
    Bug {
        name: "jitter-adds",
        breaks: "jitter takes away and never adds",
        suites: &[&UNITS],
        edits: &[
            (
                "queuectl-core/src/backoff.rs",
                "capped.saturating_sub(part(",
                "capped.saturating_add(part(",
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
                "queuectl-core/src/shell/spawn.rs",
                ".stderr(Stdio::piped()).process_group(0);",
                ".stderr(Stdio::piped());",
            ),
        ],
    },
    Bug {
        name: "no-death-signal",
        breaks: "a command dies with its worker",
        suites: &[&SHELL],
        edits: &[
            (
                "queuectl-core/src/shell/spawn.rs",
                r#"        die_with_parent(parent)?;
"#,
                "",
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
                "            command.spawn().map_err(|error| Failure::of_spawn(&self.program, &error))?;",
                r#"            std::thread::scope(|scope| scope.spawn(|| command.spawn()).join())
                .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
                .map_err(|error| Failure::of_spawn(&self.program, &error))?;"#,
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
                "queuectl-core/src/shell/spawn.rs",
                r#"        reset_signals();
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
                "queuectl-core/src/shell/spawn.rs",
                r#"        keep_only(lock)?;
"#,
                "",
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
    // What people see.

    Bug {
        name: "escape-filter-off",
        breaks: "no control character of a job reaches a terminal",
        suites: &[&CLI],
        edits: &[
            (
                "queuectl-cli/src/output/display.rs",
                r#"        for character in self.text.chars() {
            match character {"#,
                r#"        for character in self.text.chars() {
            match character {
                _ if true => f.write_char(character)?,"#,
            ),
        ],
    },
    Bug {
        name: "escape-filter-off-in-json",
        breaks: "no control character of a job reaches a terminal, in JSON either",
        suites: &[&CLI],
        edits: &[
            (
                "queuectl-cli/src/output/display.rs",
                r#"        if deceives(character) && !matches!(character, '\n' | '\t' | '\r') {"#,
                "        if false && deceives(character) {",
            ),
        ],
    },
];
