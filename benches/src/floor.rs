//! The floor: the same rows with bare SQL, as a queue written by hand for one program would have it.
//!
//! A text id with a unique index, a payload, one partial index on what can be claimed, WAL,
//! statements that are kept, one `BEGIN IMMEDIATE` transaction per batch. No leases, no retries, no
//! delays, no recovery, one process: what a queue on SQLite cannot do without, and nothing else. It
//! measures what the file and SQLite allow; what we do beside it is the difference.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use queuectl_core::{Clock, Durability, SystemClock};
use rusqlite::{Connection, Statement};

use crate::Result;
use crate::measure::Bed;
use crate::rows::{KIND, Row, rows};

const SCHEMA: &str = "
    CREATE TABLE job (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        -- 0 waits, 1 runs, 2 is done
        state INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER,
        payload TEXT NOT NULL
    );
    CREATE INDEX job_claimable ON job (priority) WHERE state = 0;";

const INSERT: &str = "
    INSERT INTO job (id, kind, state, priority, attempts, created_at, payload)
    VALUES (?1, ?2, 0, 0, 0, ?3, ?4)";

/// Inserts, so many rows per transaction.
pub(crate) fn insert(bed: &Bed, batch: usize) -> Result<f64> {
    let connection = create(bed)?;
    let rows = rows(bed.jobs)?;
    let mut floor = Floor::new(&connection, batch)?;
    let rate = bed.time(|| rows.chunks(batch).try_for_each(|rows| floor.insert(rows)))?;
    check(&connection, 0, bed.jobs)?;
    Ok(rate)
}

/// Inserts one row, with the one statement that it takes.
pub(crate) fn insert_one(connection: &Connection, row: &Row) -> Result<()> {
    connection.execute(INSERT, (&row.id, KIND, now(), &row.payload))?;
    Ok(())
}

/// Inserts from so many threads, one row per transaction, the connection behind a mutex: better by
/// far than a connection for each thread, which would wait for each other by polling.
pub(crate) fn insert_from_threads(bed: &Bed, threads: usize) -> Result<f64> {
    let connection = Mutex::new(create(bed)?);
    let rows = rows(bed.jobs)?;
    let insert = |row: &Row| -> Result<()> {
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let params = (&row.id, KIND, now(), &row.payload);
        connection.prepare_cached(INSERT)?.execute(params)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    };
    let rate = bed.time(|| {
        std::thread::scope(|scope| {
            let parts = rows.chunks(bed.jobs.div_ceil(threads));
            let running: Vec<_> =
                parts.map(|part| scope.spawn(|| part.iter().try_for_each(insert))).collect();
            running
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
        })
    })?;
    let connection = connection.into_inner().unwrap_or_else(PoisonError::into_inner);
    check(&connection, 0, bed.jobs)?;
    Ok(rate)
}

/// Claims so many at a time; the transaction that claims a batch completes the one before.
pub(crate) fn claim_complete(bed: &Bed, batch: usize) -> Result<f64> {
    let connection = create(bed)?;
    let rows = rows(bed.jobs)?;
    let mut filler = Floor::new(&connection, 1000)?;
    rows.chunks(1000).try_for_each(|rows| filler.insert(rows))?;
    let mut floor = Floor::new(&connection, batch)?;
    let rate = bed.time(|| {
        let mut claimed = floor.claim_complete(&[])?;
        while !claimed.is_empty() {
            claimed = floor.claim_complete(&claimed)?;
        }
        Ok(())
    })?;
    check(&connection, 2, bed.jobs)?;
    Ok(rate)
}

/// Inserts a batch, then claims one and completes the one before, and so on.
pub(crate) fn insert_claim_complete(bed: &Bed, batch: usize) -> Result<f64> {
    let connection = create(bed)?;
    let rows = rows(bed.jobs)?;
    let mut floor = Floor::new(&connection, batch)?;
    let rate = bed.time(|| {
        let mut claimed = Vec::new();
        for rows in rows.chunks(batch) {
            floor.insert(rows)?;
            claimed = floor.claim_complete(&claimed)?;
        }
        floor.claim_complete(&claimed).map(drop)
    })?;
    check(&connection, 2, bed.jobs)?;
    Ok(rate)
}

/// A claimed row: what a handler would be given, and the number under which it is completed.
pub(crate) struct Claimed {
    number: i64,
    _id: String,
    _payload: String,
}

/// The statements, prepared once.
pub(crate) struct Floor<'a> {
    begin: Statement<'a>,
    commit: Statement<'a>,
    insert: Statement<'a>,
    next: Statement<'a>,
    claim: Statement<'a>,
    complete: Statement<'a>,
}

impl<'a> Floor<'a> {
    pub(crate) fn new(connection: &'a Connection, batch: usize) -> Result<Self> {
        // A literal limit: a bound one makes SQLite prepare the statement again for each value.
        let next = format!(
            "SELECT number, id, payload FROM job WHERE state = 0 ORDER BY priority, number
             LIMIT {batch}"
        );
        Ok(Floor {
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            insert: connection.prepare(INSERT)?,
            next: connection.prepare(&next)?,
            claim: connection.prepare(
                "UPDATE job SET state = 1, attempts = attempts + 1, started_at = ?2
                 WHERE number = ?1",
            )?,
            complete: connection.prepare(
                "UPDATE job SET state = 2, finished_at = ?2 WHERE number = ?1 AND state = 1",
            )?,
        })
    }

    pub(crate) fn insert(&mut self, rows: &[Row]) -> Result<()> {
        self.begin.execute([])?;
        let now = now();
        for row in rows {
            self.insert.execute((&row.id, KIND, now, &row.payload))?;
        }
        self.commit.execute([])?;
        Ok(())
    }

    pub(crate) fn claim_complete(&mut self, done: &[Claimed]) -> Result<Vec<Claimed>> {
        self.begin.execute([])?;
        let now = now();
        self.complete_each(done, now)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Claimed { number: row.get(0)?, _id: row.get(1)?, _payload: row.get(2)? })
        };
        let claimed = self.next.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        for job in &claimed {
            self.claim.execute((job.number, now))?;
        }
        self.commit.execute([])?;
        Ok(claimed)
    }

    /// Completes and claims nothing.
    pub(crate) fn complete(&mut self, done: &[Claimed]) -> Result<()> {
        self.begin.execute([])?;
        self.complete_each(done, now())?;
        self.commit.execute([])?;
        Ok(())
    }

    fn complete_each(&mut self, done: &[Claimed], now: i64) -> Result<()> {
        for job in done {
            self.complete.execute((job.number, now))?;
        }
        Ok(())
    }
}

/// A new table on the bed's file.
pub(crate) fn create(bed: &Bed) -> Result<Connection> {
    let connection = open(&bed.file(), bed.durability)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// A file with bare SQL. What its journal is stands in the file; how it is synced does not.
pub(crate) fn open(file: &Path, durability: Durability) -> Result<Connection> {
    let connection = Connection::open(file)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
        Durability::Off => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
}

/// The floor keeps its promises as well: what was to be done is done, for every row.
pub(crate) fn check(connection: &Connection, state: i64, expected: usize) -> Result<()> {
    let count = "SELECT count(*), count(*) FILTER (WHERE state = ?1) FROM job";
    let (all, there): (i64, i64) =
        connection.query_row(count, [state], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if (all, there) != (expected as i64, expected as i64) {
        return Err(format!("{there} of {all} rows are in state {state}, not {expected}").into());
    }
    Ok(())
}

fn now() -> i64 {
    SystemClock.now().as_millis()
}
