//! Whether a store is sound: SQLite's own check, and everything that the schema means and cannot say.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// Questions that a sound store answers with no row. Each is what is wrong, and how to find it.
const WRONG: [(&str, &str); 21] = [
    (
        "a counter differs from a recount",
        "SELECT lane, state, sum(n) FROM (
             SELECT lane, state, n FROM queuectl_count
             UNION ALL
             SELECT lane, iif(key IN (SELECT key FROM queuectl_lease), 2, state), -1
             FROM queuectl_job)
         GROUP BY lane, state HAVING sum(n) != 0",
    ),
    (
        "a job that runs has no worker",
        "SELECT key FROM queuectl_lease WHERE worker NOT IN (SELECT worker FROM queuectl_worker)",
    ),
    (
        "a job has spent more attempts than it may",
        "SELECT key FROM queuectl_job WHERE attempts > max_attempts OR attempts > token
         UNION ALL
         SELECT key FROM queuectl_lease JOIN queuectl_job USING (key)
         WHERE attempts = max_attempts",
    ),
    (
        "a job that waits or runs is not in one place, or one that has ended is in one",
        "SELECT key FROM (
             SELECT key, 1 AS n
             FROM queuectl_ready JOIN queuectl_job ON key BETWEEN first AND last
             UNION ALL SELECT key, 1 FROM queuectl_grouped WHERE ready = 0
             UNION ALL SELECT key, 1 FROM queuectl_due
             UNION ALL SELECT key, 1 FROM queuectl_lease
             UNION ALL SELECT key, -1 FROM queuectl_job WHERE state IN (0, 4))
         GROUP BY key HAVING sum(n) != 0",
    ),
    (
        "a run of jobs that can be claimed has a gap, or is more than one where it must not be",
        "SELECT first FROM queuectl_ready
         WHERE last - first + 1 !=
                 (SELECT count(*) FROM queuectl_job WHERE key BETWEEN first AND last)
             OR first < last AND (expires OR grp IS NOT NULL)",
    ),
    (
        "a place and its job do not agree",
        "SELECT key FROM queuectl_ready AS place
             JOIN queuectl_job AS job ON key BETWEEN first AND last
         WHERE (place.lane, expires) != (job.lane, expires_at IS NOT NULL)
             OR rank != -priority
                AND NOT EXISTS (SELECT 1 FROM queuectl_setting WHERE name = 'aging')
         UNION ALL
         SELECT key FROM queuectl_due JOIN queuectl_job USING (key)
         WHERE (clock, at) != (run_boot IS NOT NULL, ifnull(run_boot, run_at))
         UNION ALL
         SELECT key FROM queuectl_lease AS place JOIN queuectl_job AS job USING (key)
         WHERE (place.lane, place.token) != (job.lane, job.token + 1)",
    ),
    (
        "a job that waits and can expire is not where that is noticed, or another one is",
        "SELECT key FROM (
             SELECT clock, at, key, 1 AS n FROM queuectl_expiry
             UNION ALL
             SELECT expires_boot IS NOT NULL, ifnull(expires_boot, expires_at), key, -1
             FROM queuectl_job
             WHERE expires_at IS NOT NULL AND state IN (0, 1, 4)
                   AND key NOT IN (SELECT key FROM queuectl_lease))
         GROUP BY clock, at, key HAVING sum(n) != 0",
    ),
    (
        "a job has a unique key and does not say how long, or the other way round",
        "SELECT key FROM queuectl_job
         WHERE (unique_key IS NULL) != (unique_states IS NULL)
            OR (ifnull(abs(unique_states) & 128, 0) != 0)
               != (key IN (SELECT job FROM queuectl_period))
         UNION ALL
         SELECT job FROM queuectl_period WHERE job NOT IN (SELECT key FROM queuectl_job)
         UNION ALL
         SELECT key FROM queuectl_lease JOIN queuectl_job USING (key)
         WHERE unique_states > 0 AND unique_states & 4 = 0",
    ),
    (
        "a group does not know how many of its jobs run, or is nobody's",
        "SELECT 1 FROM queuectl_group AS g WHERE running !=
             (SELECT count(*) FROM queuectl_lease WHERE queuectl_lease.grp = g.grp)
         UNION ALL
         SELECT 1 FROM queuectl_lease
         WHERE grp IS NOT NULL AND grp NOT IN (SELECT grp FROM queuectl_group)
         UNION ALL
         SELECT 1 FROM queuectl_grouped WHERE grp NOT IN (SELECT grp FROM queuectl_group)
         UNION ALL
         SELECT 1 FROM queuectl_group AS g WHERE running = 0
             AND NOT EXISTS (SELECT 1 FROM queuectl_grouped WHERE grp = g.grp)",
    ),
    (
        "a job of a group is not where the group says, or one with a key is in none",
        "SELECT key FROM queuectl_grouped AS g
         WHERE ready = (SELECT 0 = count(*) FROM queuectl_ready AS r
                        WHERE (r.lane, r.rank, r.first, r.grp) = (g.lane, g.rank, g.key, g.grp))
         UNION ALL
         SELECT key FROM queuectl_ready JOIN queuectl_job ON key BETWEEN first AND last
         WHERE (queuectl_ready.grp IS NULL) != (concurrency_key IS NULL)",
    ),
    (
        "a blocked job does not know how many it waits for",
        "SELECT key FROM queuectl_job WHERE state = 1 AND (blockers = 0 OR blockers !=
             (SELECT count(*) FROM queuectl_dependency WHERE child = key AND NOT lost))",
    ),
    (
        "a dependency leads to a job that is not there",
        "SELECT 1 FROM queuectl_dependency
         WHERE parent NOT IN (SELECT key FROM queuectl_job UNION SELECT -batch FROM queuectl_batch
                              UNION SELECT parent FROM queuectl_untold WHERE state IS NULL)
            OR child NOT IN (SELECT key FROM queuectl_job UNION SELECT -batch FROM queuectl_batch)",
    ),
    (
        "a batch does not know how many of its jobs have not ended",
        "SELECT batch FROM queuectl_batch WHERE total - completed - dead - cancelled !=
             (SELECT count(*) FROM queuectl_dependency JOIN queuectl_job ON key = parent
              WHERE child = -batch AND state IN (0, 1, 4))
            OR (finished_at IS NULL) =
               (closed_at IS NOT NULL AND completed + dead + cancelled = total)",
    ),
    (
        "an attempt or an output is nobody's",
        "SELECT 1 FROM queuectl_attempt WHERE job NOT IN (SELECT key FROM queuectl_job)
         UNION ALL
         SELECT 1 FROM queuectl_output WHERE (job, token) NOT IN
             (SELECT job, token FROM queuectl_attempt)",
    ),
    (
        "a job that is dead is not among the dead, or another one is",
        "SELECT key FROM (
             SELECT at, job AS key, 1 AS n FROM queuectl_dead
             UNION ALL SELECT finished_at, key, -1 FROM queuectl_job WHERE state = 5)
         GROUP BY at, key HAVING sum(n) != 0",
    ),
    (
        "a way to fail has another number of jobs than are dead of it",
        "SELECT failure FROM (
             SELECT failure, n FROM queuectl_failure UNION ALL SELECT failure, -1 FROM queuectl_dead)
         GROUP BY failure HAVING sum(n) != 0",
    ),
    (
        "a note, or what is kept aside, is about no job",
        "SELECT 1 FROM queuectl_note WHERE job NOT IN (SELECT key FROM queuectl_job)
         UNION ALL
         SELECT 1 FROM queuectl_aside WHERE job NOT IN (SELECT key FROM queuectl_job)",
    ),
    (
        "a job is in no lane, or a lane in no queue",
        "SELECT 1 FROM queuectl_job WHERE lane NOT IN (SELECT lane FROM queuectl_lane)
         UNION ALL
         SELECT 1 FROM queuectl_lane WHERE queue NOT IN (SELECT queue FROM queuectl_queue)",
    ),
    (
        "the event log is not one story: an entry is missing, or does not follow from the one before",
        "SELECT seq FROM (
             SELECT seq, state_before, lag(seq) OVER own AS earlier, lag(state_after) OVER own AS was
             FROM queuectl_event WINDOW own AS (PARTITION BY job ORDER BY seq))
         WHERE earlier IS NOT NULL AND was IS NOT state_before
         UNION ALL
         SELECT count(*) FROM queuectl_event HAVING count(*) != 0 AND (count(*), max(seq)) !=
             (max(seq) - min(seq) + 1, (SELECT seq FROM sqlite_sequence WHERE name = 'queuectl_event'))
         UNION ALL
         SELECT 1 FROM queuectl_event
         WHERE NOT EXISTS (SELECT 1 FROM queuectl_setting WHERE (name, value) = ('event-log', 'on'))",
    ),
    (
        "the event log does not lead to what there is",
        "SELECT told.job FROM (
             SELECT job, state_after, max(seq) FROM queuectl_event GROUP BY job) AS told
         LEFT JOIN queuectl_job ON key = told.job
         WHERE state_after IS NOT iif(key IN (SELECT key FROM queuectl_lease), 2, state)",
    ),
    (
        "an attempt is newer than its job's newest",
        "SELECT 1 FROM queuectl_attempt AS a JOIN queuectl_job ON key = job WHERE a.token > \
         queuectl_job.token",
    ),
];

/// Everything that is wrong with the store at `path`, for which nothing else may be holding a lock.
pub(crate) fn examine(path: &Path) -> Vec<String> {
    match connect(path) {
        Ok(connection) => examine_all(&connection),
        Err(error) => vec![format!("{CORRUPT}: {error}")],
    }
}

/// A connection of its own, beside the library's.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Everything that is wrong.
pub(crate) fn examine_all(connection: &Connection) -> Vec<String> {
    let found = integrity(connection).and_then(|mut found| {
        found.extend(meaning(connection)?);
        Ok(found)
    });
    found.unwrap_or_else(|error| vec![format!("{CORRUPT}: {error}")])
}

/// What SQLite cannot check; short.
pub(crate) fn examine_meaning(connection: &Connection) -> Vec<String> {
    meaning(connection).unwrap_or_else(|error| vec![format!("{CORRUPT}: {error}")])
}

/// How what SQLite itself finds wrong begins.
pub(crate) const CORRUPT: &str = "damaged";

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare("PRAGMA integrity_check(3)")?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for line in lines {
        let line = line?;
        if line != "ok" {
            found.push(format!("{CORRUPT}: {line}"));
        }
    }
    let mut keys = connection.prepare("PRAGMA foreign_key_check")?;
    if keys.exists([])? {
        found.push(format!("{CORRUPT}: a foreign key leads nowhere"));
    }
    Ok(found)
}

fn meaning(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut found = Vec::new();
    for (wrong, query) in WRONG {
        if connection.prepare_cached(query)?.exists([])? {
            found.push(wrong.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use queuectl_core::store::{ClaimRequest, Queues, Registration, Settlement, Store, Verdict};
    use queuectl_core::{Name, NewJob, Setting, SqliteOptions, SqliteStore, Timestamp};

    use super::*;

    /// Each question finds what it is asked for, in a store that was sound before.
    #[test]
    fn every_wrong_is_found() {
        let plant = [
            "UPDATE queuectl_count SET n = n + 1 WHERE state = 0",
            "UPDATE queuectl_count SET n = n + 1 WHERE lane = 1 AND state = 3",
            "DELETE FROM queuectl_worker",
            "UPDATE queuectl_job SET attempts = 1 WHERE key = 1",
            "UPDATE queuectl_job SET max_attempts = 0 WHERE key = 1",
            "DELETE FROM queuectl_lease",
            "UPDATE queuectl_lease SET token = 2",
            "DELETE FROM queuectl_ready",
            "UPDATE queuectl_ready SET rank = 5",
            "INSERT INTO queuectl_due VALUES (0, 1, 3)",
            "UPDATE queuectl_ready SET expires = 1",
            "UPDATE queuectl_ready SET last = last + 100",
            "UPDATE queuectl_job SET unique_states = 3",
            "UPDATE queuectl_job SET unique_key = 'k', unique_states = 3 WHERE key = 1",
            "INSERT INTO queuectl_period VALUES (1, 1, 1, 'boot')",
            "INSERT INTO queuectl_period VALUES (99, 1, 1, 'boot')",
            "INSERT INTO queuectl_expiry VALUES (0, 1, 2)",
            "UPDATE queuectl_job SET expires_at = 1 WHERE state = 1",
            "UPDATE queuectl_job SET blockers = 7 WHERE state = 1",
            "INSERT INTO queuectl_dependency VALUES (1, 999, 0, 0, 0, 0)",
            "INSERT INTO queuectl_batch (name, created_at, total) VALUES ('b', 1, 1)",
            "INSERT INTO queuectl_output VALUES (1, 1, 1, 0, 0, x'', x'')",
            "UPDATE queuectl_lane SET queue = 99",
            "INSERT INTO queuectl_attempt VALUES (1, 9, 1, 1, 1, 1, 'failed', NULL, NULL, NULL)",
            "UPDATE queuectl_job SET lane = 99",
            "UPDATE queuectl_dead SET at = 7",
            "DELETE FROM queuectl_dead",
            "UPDATE queuectl_failure SET n = 2",
            "DELETE FROM queuectl_failure",
            "INSERT INTO queuectl_aside VALUES (99, 'somebody', NULL)",
            "INSERT INTO queuectl_note VALUES (99, 1, 1, NULL, 'text', NULL)",
            "DELETE FROM queuectl_event WHERE seq = 3",
            "DELETE FROM queuectl_event WHERE seq = (SELECT max(seq) FROM queuectl_event)",
            "UPDATE queuectl_event SET state_before = 4 WHERE change = 1",
            "DELETE FROM queuectl_setting",
            "UPDATE queuectl_event SET state_after = 3 WHERE change = 4",
            "UPDATE queuectl_event SET state_after = NULL WHERE change = 4",
            "UPDATE queuectl_event SET job = 99 WHERE change = 4",
        ];
        for planted in plant {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("queue.db");
            let store = store_with_work(&path);
            assert_eq!(examine(&path), Vec::<String>::new());
            Connection::open(&path).unwrap().execute_batch(planted).unwrap();
            assert!(!examine(&path).is_empty(), "{planted} was not found");
            drop(store);
        }
    }

    #[test]
    fn a_page_that_was_written_over_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        drop(store_with_work(&path));
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 4096;
        bytes[at..].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        assert!(examine(&path).iter().any(|wrong| wrong.starts_with(CORRUPT)));
    }

    /// One job that runs, one that waits, one that waits for that, and one that is dead.
    fn store_with_work(path: &Path) -> SqliteStore {
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let store = SqliteStore::open(path, options).unwrap();
        store.change_setting(Setting::EventLog, Some("on")).unwrap();
        let mut child = NewJob::new("k", &0).unwrap();
        child = child.after("q1".parse().unwrap());
        store.enqueue(&[NewJob::new("k", &1).unwrap(), NewJob::new("k", &2).unwrap()]).unwrap();
        store.enqueue(&[child]).unwrap();
        let lease = std::time::Duration::from_secs(30);
        let registration = Registration { workers: 1, lease, log: None };
        let worker = store.register(&registration).unwrap()[0];
        let claim = ClaimRequest {
            workers: &[(worker, 1)],
            queues: &Queues::All,
            kinds: &[Name::new("k").unwrap()],
        };
        assert_eq!(store.exchange(&[], Some(&claim)).unwrap().claimed.len(), 1);
        store.enqueue(&[NewJob::new("k", &3).unwrap().priority(1)]).unwrap();
        let lease = store.exchange(&[], Some(&claim)).unwrap().claimed[0].lease;
        let (verdict, started_at) = (Verdict::Die, Timestamp::from_millis(0));
        let died = Settlement { lease, verdict, started_at, report: None, leftovers: false };
        assert_eq!(store.exchange(&[died], None).unwrap().refused, []);
        store
    }
}
