//! Bugs of a job's way: enqueueing, claims, delays, and how attempts end.

use super::Bug;
use crate::sabotage::suites::{CONFORMANCE, MODEL, UNITS};

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // Enqueueing.

    Bug {
        name: "unique-key-outside-the-transaction",
        breaks: "a unique key raced by many makes one job",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/mod.rs",
                "            len if len < LARGE_BATCH => self.combiner.enqueue(jobs.to_vec()),",
                r#"            len if len < LARGE_BATCH => {
                if let [NewJob { unique_key: Some(unique_key), .. }] = jobs {
                    let living =
                        self.read(|connection| enqueue::living_in(connection, unique_key))?;
                    if let Some(living) = living {
                        return Ok(vec![living]);
                    }
                }
                let jobs: Vec<_> = jobs.iter().collect();
                self.combiner.borrowed(|tx| enqueue::enqueue_looking(tx, &jobs, jobs.len() > 1))
            }"#,
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "    let mut adding = Adding {",
                r#"    enqueue_looking(tx, jobs, true)
}

pub(super) fn enqueue_looking(
    tx: &mut Tx<'_>,
    jobs: &[&NewJob],
    look: bool,
) -> Result<Vec<Enqueued>, StoreError> {
    let mut adding = Adding { look,"#,
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "struct Adding {",
                "struct Adding {\n    look: bool,",
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "        if let [job @ NewJob { unique_key: Some(unique_key), .. }] = jobs",
                "        if self.look\n            && let [job @ NewJob { unique_key: Some(unique_key), .. }] = jobs",
            ),
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "/// What has been added so far.",
                r#"pub(super) fn living_in(
    connection: &rusqlite::Connection,
    unique_key: &str,
) -> Result<Option<Enqueued>, StoreError> {
    let sql = "SELECT key, name FROM queuectl_job
               WHERE unique_key = ?1 AND (state < 3 OR state = 4)";
    let living = connection.query_row(sql, [unique_key], |row| {
        let key = JobKey(row.get(0)?);
        Ok(Enqueued { id: row::id(row, key, 1)?, key, created: false, changed: false })
    });
    Ok(living.optional()?)
}

/// What has been added so far."#,
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
                "queuectl-core/src/sqlite/unique.rs",
                " AND unique_states > 0 AND (unique_states >> state) & 1",
                " AND unique_states > 0",
            ),
        ],
    },
    Bug {
        name: "a-claim-keeps-the-key",
        breaks: "a job that is unique while it waits does not answer for another when it runs",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "frees.into_iter().try_for_each(",
                "frees.into_iter().take(0).try_for_each(",
            ),
        ],
    },
    Bug {
        name: "a-throttle-ends-with-its-job",
        breaks: "a key that is held for a period is held when the job has ended",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/job.rs",
                "UniqueScope::For(_) => *state != State::Cancelled,",
                "UniqueScope::For(_) => !state.is_terminal(),",
            ),
        ],
    },
    Bug {
        name: "what-runs-gets-another-payload",
        breaks: "a payload is replaced only while its job has not begun",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/enqueue.rs",
                "        && !holder.runs\n        && holder.attempts == 0;",
                "        && holder.attempts == 0;",
            ),
        ],
    },
    Bug {
        name: "batch-without-limit",
        breaks: "a batch stays within its limit",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/mod.rs",
                "            len if len > BATCH_LEN_MAX => Err(",
                "            len if false && len > BATCH_LEN_MAX => Err(",
            ),
        ],
    },
    Bug {
        name: "parent-that-is-not-there",
        breaks: "a job that waits for nothing that exists is refused",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/waiting.rs",
                "            return Err(missing(id.clone()));",
                "            let _ = missing;
            continue;",
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
                "queuectl-core/src/sqlite/row.rs",
                "attempts + (lease.key IS NOT NULL) AS",
                "attempts AS",
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
                "        front.ready.sort_unstable();",
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
                "queuectl-core/src/sqlite/insert.rs",
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
                "let due = line::promote(tx)?;",
                "let due = line::promote(tx)?.filter(|_| false);",
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
                r#"            tx.moved(pick.lane.lane, before, now, || {
                Entry::under(job.lease, job.worker, Change::Claimed).named(Some(&job.id))
            });
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
                "dependents::ended(tx, lease.key, state)?;",
                "dependents::ended(tx, lease.key, State::Completed)?;",
            ),
        ],
    },
    Bug {
        name: "first-parent-frees",
        breaks: "a job waits for the last of its parents",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/dependents.rs",
                "Ok(if left == Some(0) { Left::None } else { Left::Some })",
                "Ok(if left.is_some() { Left::None } else { Left::Some })",
            ),
        ],
    },
    Bug {
        name: "cancelled-child-keeps-its-own-waiting",
        breaks: "what is cancelled with its parent has ended, and its own dependents are told",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/dependents.rs",
                "                if cancel(tx, child, reason)? {",
                "                if cancel(tx, child, reason)? && false {",
            ),
        ],
    },
    Bug {
        name: "open-batch-ends",
        breaks: "a batch ends when it is closed and the last of its jobs has ended",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/batch.rs",
                "iif(closed_at IS NOT NULL
                                   AND completed + dead + cancelled + 1 = total, ?3, NULL)",
                "iif(completed + dead + cancelled + 1 = total, ?3, NULL)",
            ),
        ],
    },
    Bug {
        name: "batch-lets-strangers-in",
        breaks: "no job of a batch waits for what waits for the batch",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/batch.rs",
                "    if closed && tx.prepare",
                "    if closed && false && tx.prepare",
            ),
        ],
    },
    Bug {
        name: "batch-closes-twice",
        breaks: "what follows a batch is added once",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/batch.rs",
                "SET closed_at = ?2, total = total + 1
             WHERE closed_at IS NULL",
                "SET closed_at = ?2, total = total + 1",
            ),
        ],
    },
    Bug {
        name: "batch-pruned-with-its-jobs",
        breaks: "a batch is kept as long as one of its jobs is",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/batch.rs",
                "AND created_at <= ?3
                   AND NOT EXISTS (SELECT 1 FROM queuectl_dependency WHERE child = -batch)",
                "AND created_at <= ?3",
            ),
        ],
    },
    Bug {
        name: "untold-forgotten",
        breaks: "every job that waits for another hears of its end",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/untold.rs",
                "        match dependents::tell_on(tx, news)? {",
                "        match dependents::tell_on(tx, news)?.filter(|_| false) {",
            ),
        ],
    },
    Bug {
        name: "untold-out-of-order",
        breaks: "the ends of a job are heard of in their order",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/untold.rs",
                "    if !tx.catalogue.unfinished().untold {",
                "    if !tx.catalogue.unfinished().untold || parent.0 > 0 {",
            ),
        ],
    },
    Bug {
        name: "untold-to-who-came-later",
        breaks: "who begins to wait for a job hears of no end before that",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/untold.rs",
                "SELECT ?1, ?2, ?3, ?4, min(?5, ifnull(max(key), 0)) FROM queuectl_job",
                "SELECT ?1, ?2, ?3, ?4, ?5 FROM queuectl_meta",
            ),
        ],
    },
    Bug {
        name: "cancelled-batch-claimed",
        breaks: "no job of a batch is claimed after its cancelling has begun",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/cancelling.rs",
                "    Ok(of(tx, job)?.is_some())",
                "    Ok(of(tx, job)?.is_some_and(|one| one.first > one.last))",
            ),
        ],
    },
    Bug {
        name: "cancelled-batch-takes-back-a-retry",
        breaks: "what is retried after a batch was cancelled runs",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/cancelling.rs",
                "iif(lease.key IS NULL, state, 2), lost < ?4",
                "iif(lease.key IS NULL, state, 2), ?4 > 0",
            ),
        ],
    },
    Bug {
        name: "cancelled-batch-left-behind",
        breaks: "the cancelling of a batch is finished, whoever dies",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/unfinished.rs",
                "    if tx.catalogue.unfinished().cancelling {",
                "    if tx.catalogue.unfinished().cancelling && false {",
            ),
        ],
    },
    Bug {
        name: "operator-cancels-one-at-a-time",
        breaks: "a parent and its child can be cancelled in one call",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "        ended.extend((answer == Cancelled::Now).then_some(key));",
                "        ended.clear();
        dependents::ended(tx, key, State::Cancelled)?;
        ended.extend((answer == Cancelled::Requested && false).then_some(key));",
            ),
        ],
    },
    Bug {
        name: "retried-parent-counts-no-more",
        breaks: "a parent that is run again may free those who wait for any one",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "        dependents::lives_again(tx, key, state)?;
",
                "",
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
                "        _ if held.cancel_reason.is_some() => Ending",
                "        _ if false && held.cancel_reason.is_some() => Ending",
            ),
        ],
    },
    Bug {
        name: "cancelled-job-stays-in-line",
        breaks: "what has been cancelled does not run",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "    line::leave(tx, key)?;\n",
                "",
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
                "SET state = ?2, run_boot = ?5, run_at = ?6,",
                "SET state = ?2, token = 0, run_boot = ?5, run_at = ?6,",
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
                "            Some(by) => Err(StoreError::UniqueKeyTaken { id: id.clone(), by }),",
                r#"            Some(by) if by == *id => Err(StoreError::UniqueKeyTaken { id: by.clone(), by }),
            Some(_) => Ok(()),"#,
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
                r#"        State::Completed => keep_success(tx, key)?,
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
                "queuectl-core/src/sqlite/dependents.rs",
                "            End::Deleted => Outlook::Lost,",
                "            End::Deleted => Outlook::Open,",
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
    // Expiry.

    Bug {
        name: "expired-jobs-are-claimed",
        breaks: "a job that has expired is never claimed",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "true if expiry::has_expired(tx, JobKey(first))? => Expires::Over,",
                "true if !expiry::has_expired(tx, JobKey(first)).is_ok() => Expires::Over,",
            ),
        ],
    },
    Bug {
        name: "expiry-ends-with-the-first-attempt",
        breaks: "a retry that would come after the expiry does not come",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "if held.expires && !state.is_terminal() {",
                "if held.expires && held.attempts == 0 {",
            ),
        ],
    },
    Bug {
        name: "expiry-ends-what-runs",
        breaks: "a job that runs when it expires goes on",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "run.iter().filter(|pick| pick.expires)",
                "run.iter().take(0).filter(|pick| pick.expires)",
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
    // Limits.

    Bug {
        name: "kind-before-the-job",
        breaks: "what a job says itself goes before what is said of its kind",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "job.timeout = job.timeout.or(policy.timeout);",
                "job.timeout = policy.timeout.or(job.timeout);",
            ),
        ],
    },
    Bug {
        name: "policy-of-old",
        breaks: "the policy of a kind that another process changed holds at once",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/policy.rs",
                "    tx.raise_epoch()?;
",
                "",
            ),
        ],
    },
    Bug {
        name: "retries-of-the-settings-only",
        breaks: "a job is given the retries of its kind",
        suites: &[&MODEL],
        edits: &[
            (
                "queuectl-core/src/sqlite/insert.rs",
                "job.max_retries.or_else(of_kind)",
                "job.max_retries.or_else(|| of_kind().filter(|_| false))",
            ),
        ],
    },
    Bug {
        name: "an-empty-queue-makes-up",
        breaks: "a queue that was empty does not make up for it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/weight.rs",
                "(level(rank), one.pass.max(turn), place)",
                "(level(rank), one.pass + 0 * turn, place)",
            ),
            (
                "queuectl-core/src/sqlite/weight.rs",
                "(one.pass, one.moved) = (self.turn + one.stride, true);",
                "(one.pass, one.moved) = (one.pass + one.stride, true);",
            ),
        ],
    },
    Bug {
        name: "turns-end-with-the-claim",
        breaks: "all claims of all processes take turns together",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "        turns.note(tx)?;
",
                "",
            ),
        ],
    },
    Bug {
        name: "weights-before-priority",
        breaks: "priority goes before weights",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/weight.rs",
                "aging.map_or(rank,",
                "aging.map_or(0 * rank,",
            ),
        ],
    },
    Bug {
        name: "limit-is-not-looked-at",
        breaks: "no more jobs of a queue run than its limit",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/limit.rs",
                "            Some(room) if room.left == 0 => None,\n",
                "",
            ),
            (
                "queuectl-core/src/sqlite/limit.rs",
                "room.map_or(wanted, |room| room.left.min(wanted))",
                "room.map_or(wanted, |_| wanted)",
            ),
            (
                "queuectl-core/src/sqlite/limit.rs",
                "            room.left -= 1;\n",
                "",
            ),
        ],
    },
    Bug {
        name: "holders-are-given-more",
        breaks: "a worker holds one job of a limited queue",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/claim.rs",
                "let limited = first.lane.limits.concurrency.map(|_| first.lane.number);",
                "let limited = None::<i64>;",
            ),
        ],
    },
    Bug {
        name: "end-leaves-no-room",
        breaks: "when a job of a key has ended, the next one runs",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/settle.rs",
                "        groups.into_iter().try_for_each(|group| group::ended(tx, group))",
                "        let _ = groups;\n        Ok(())",
            ),
        ],
    },
    Bug {
        name: "first-come-keeps-its-place",
        breaks: "the first of a key goes first, whenever it came",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/group.rs",
                "(Some(first), Some(last)) if first < last => {",
                "(Some(first), Some(last)) if first < last && false => {",
            ),
        ],
    },
    Bug {
        name: "starts-leave-early",
        breaks: "in no window of a period more jobs start than the rate",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/limit.rs",
                "(queue, now - now.rem_euclid(step) + step, n as i64),",
                "(queue, now - now.rem_euclid(step), n as i64),",
            ),
        ],
    },
    Bug {
        name: "what-waits-is-not-ranked-again",
        breaks: "ageing holds for what waits already",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "        line::rank_again(tx)?;\n",
                "",
            ),
        ],
    },
];
