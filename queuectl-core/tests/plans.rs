//! How SQLite carries out each statement of the store: by looking up, never by reading all jobs,
//! however many there are and whether or not somebody has run ANALYZE. A scan that nobody notices on
//! an empty file makes a claim slower with each job that has ever been completed.
//!
//! The statements are taken from the source itself, so that none is forgotten.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use rusqlite::Connection;

/// Tables with a row for each queue, kind, worker, schedule, setting, way to fail, or what a call has
/// left for later, not for each job.
const SMALL: [&str; 13] = [
    "queuectl_cancelling",
    "queuectl_count",
    "queuectl_failure",
    "queuectl_lane",
    "queuectl_leftover",
    "queuectl_meta",
    "queuectl_policy",
    "queuectl_queue",
    "queuectl_schedule",
    "queuectl_setting",
    "queuectl_start",
    "queuectl_untold",
    "queuectl_worker",
];

/// What looks at all that is held, or at all that is ready when a setting changes: not on the way of any
/// job.
const ALL_HELD: [&str; 6] = [
    "SELECT worker, key, token FROM queuectl_lease ORDER BY key",
    "SELECT lease.worker, key, name, lease.started_at",
    "UPDATE queuectl_job SET expires_boot = NULL WHERE key IN (SELECT key FROM queuectl_lease)",
    "UPDATE queuectl_lease SET limited = ?2",
    "UPDATE queuectl_ready SET rank =",
    "UPDATE queuectl_grouped SET rank =",
];

#[test]
fn no_statement_reads_all_jobs() {
    let statements = statements();
    assert!(statements.len() > 50, "{} statements found", statements.len());
    for rows in [0, 10_000, 1_000_000] {
        let store = store_with(rows);
        check(&store, &statements, &format!("{rows} rows"));
        store.execute_batch("ANALYZE").unwrap();
        check(&store, &statements, &format!("{rows} rows, analyzed"));
    }
}

fn check(store: &Connection, statements: &[String], when: &str) {
    for sql in statements {
        for step in plan(store, sql) {
            let scans = step.strip_prefix("SCAN ").is_some_and(|what| {
                let table = what.split(' ').next().unwrap_or_default();
                let named =
                    table.starts_with("queuectl_") || ["dead", "job", "lease"].contains(&table);
                named && !SMALL.contains(&table)
            });
            let sorts = step.starts_with("USE TEMP B-TREE") && sql.contains("queuectl_job");
            let all_held = ALL_HELD.iter().any(|known| sql.starts_with(known));
            assert!(
                all_held || (!scans && !sorts),
                "{step} with {when}:\n{sql}\n{:#?}",
                plan(store, sql)
            );
        }
    }
}

/// What SQLite would do, step by step: `SEARCH queuectl_job USING INTEGER PRIMARY KEY (rowid=?)`.
fn plan(store: &Connection, sql: &str) -> Vec<String> {
    let explained = store.prepare(&format!("EXPLAIN QUERY PLAN {sql}"));
    let mut explained = explained.unwrap_or_else(|error| panic!("{error}:\n{sql}"));
    let mut rows = explained.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get("detail").unwrap());
    }
    steps
}

/// Ten of twelve jobs are completed, one waits for tomorrow, one can be claimed.
fn store_with(rows: u32) -> Connection {
    let store = Connection::open_in_memory().unwrap();
    store.execute_batch(include_str!("../src/sqlite/migrations/0001_first.sql")).unwrap();
    store
        .execute_batch("INSERT INTO queuectl_queue (name) VALUES ('default')")
        .and_then(|()| store.execute_batch("INSERT INTO queuectl_lane VALUES (1, 1, 'k')"))
        .unwrap();
    let fill = "WITH RECURSIVE number (n) AS
            (SELECT 1 WHERE ?1 > 0 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
        INSERT INTO queuectl_job
            (state, lane, max_attempts, created_at, updated_at, run_at, payload)
        SELECT iif(n % 12 < 2, 0, 3), 1, 1, n, n, n, 'null' FROM number";
    assert_eq!(store.execute(fill, [rows]).unwrap(), rows as usize);
    store
        .execute_batch(
            "INSERT INTO queuectl_ready SELECT lane, -priority, key, key, 0, NULL FROM queuectl_job WHERE key % 12 = 0;
             INSERT INTO queuectl_due SELECT 0, run_at, key FROM queuectl_job WHERE key % 12 = 1",
        )
        .unwrap();
    store
}

/// Every statement about a table of the store that stands in its source as a literal.
fn statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(path).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
            all.extend(literals(source).into_iter().filter(|text| is_statement(text)));
        }
    }
    all
}

fn is_statement(text: &str) -> bool {
    let verb = ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|v| text.starts_with(v));
    verb && text.contains("queuectl_") && !text.contains('{')
}

/// The texts between quotation marks, which none of the statements has within it.
fn literals(source: &str) -> Vec<String> {
    let code: Vec<_> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n").replace("'\"'", "").replace("\\\"", "");
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}
