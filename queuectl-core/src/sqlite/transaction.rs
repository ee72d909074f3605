//! The one connection that writes, and a transaction on it.
//!
//! Every transaction is IMMEDIATE: a transaction that begins by reading and then writes is refused
//! by SQLite at once, whatever the busy timeout, when somebody else has written meanwhile. Nothing
//! but SQL runs inside of one.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, Params};

use super::SqliteOptions;
use super::catalogue::Catalogue;
use super::checkpoint::Checkpoints;
use super::error::{commit_error, copy};
use super::event::{self, Entry, Noted};
use super::gate::{Gate, Pass};
use super::open::FileIdentity;
use crate::clock::{BootTime, Clock, Timestamp};
use crate::settings::Durability;
use crate::state::State;
use crate::store::StoreError;

pub(super) struct Writer {
    connection: Connection,
    gate: Gate,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    opened: FileIdentity,
    durability: Option<Durability>,
    step: usize,
    catalogue: Catalogue,
    checkpoints: Checkpoints,
    /// A commit has failed in a way that leaves in doubt what this connection shows.
    suspect: bool,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: PathBuf,
        opened: FileIdentity,
        options: SqliteOptions,
    ) -> Self {
        let SqliteOptions { durability, clock, step, .. } = options;
        let gate = Gate::new(&path);
        let catalogue = Catalogue::default();
        let checkpoints = Checkpoints::new();
        let suspect = false;
        Writer {
            connection,
            gate,
            clock,
            path,
            opened,
            durability,
            step: step.get(),
            catalogue,
            checkpoints,
            suspect,
        }
    }

    /// Opens a transaction when it is this process's turn.
    pub(super) fn begin(&mut self) -> Result<Tx<'_>, StoreError> {
        // In WAL mode SQLite does not notice that its file was deleted or replaced: it would go on
        // acknowledging writes that nobody will ever read.
        if FileIdentity::of(&self.path).ok() != Some(self.opened) {
            return Err(StoreError::Replaced(self.path.clone()));
        }
        if self.suspect {
            self.connection = super::open::reconnect(&self.path, self.durability)?;
            self.suspect = false;
        }
        let pass = self.gate.pass();
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let tx = Tx {
            connection: &self.connection,
            catalogue: &mut self.catalogue,
            checkpoints: &mut self.checkpoints,
            now: self.clock.now(),
            boot: self.clock.boot(),
            counts: Vec::new(),
            left: self.step,
            events: Vec::new(),
            broken: None,
            suspect: &mut self.suspect,
            committed: false,
            _pass: pass,
        };
        let boot_id = self.clock.boot_id();
        if let Err(error) = tx.catalogue.refresh(tx.connection, &boot_id) {
            tx.rollback();
            return Err(error);
        }
        Ok(tx)
    }
}

/// An open transaction. Rolls back when dropped.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    /// Queues, lanes and settings, as they are in this transaction.
    pub(super) catalogue: &'a mut Catalogue,
    checkpoints: &'a mut Checkpoints,
    /// The wall clock, read once: everything in a transaction happens at one time.
    pub(super) now: Timestamp,
    /// The boot clock, read at the same time.
    pub(super) boot: BootTime,
    /// How many more jobs this transaction may move on because others have ended, or their batch is
    /// cancelled. The rest is for the next ones.
    pub(super) left: usize,
    /// What has to be added to the counters before the commit.
    counts: Vec<(i64, State, i64)>,
    /// What the event log is to say before the commit.
    events: Vec<Noted>,
    /// The error by which SQLite has rolled the whole transaction back on its own.
    broken: Option<rusqlite::Error>,
    suspect: &'a mut bool,
    committed: bool,
    _pass: Pass<'a>,
}

impl<'a> Tx<'a> {
    /// A statement, prepared once for the life of the connection.
    pub(super) fn prepare(&self, sql: &'static str) -> rusqlite::Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql)
    }

    /// Runs a statement; the number of rows it changed.
    pub(super) fn execute(
        &self,
        sql: &'static str,
        params: impl Params,
    ) -> rusqlite::Result<usize> {
        self.prepare(sql)?.execute(params)
    }

    /// The connection, for what only reads.
    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// Reads the catalogue again, after a change that its copy in memory does not have.
    pub(super) fn reload_catalogue(&mut self) -> Result<(), StoreError> {
        self.catalogue.reload(self.connection)
    }

    /// The key of the row that was inserted last.
    pub(super) fn last_key(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    fn count(&mut self, lane: i64, state: State, by: i64) {
        match self.counts.iter_mut().find(|(l, s, _)| (*l, *s) == (lane, state)) {
            Some((_, _, n)) => *n += by,
            None => self.counts.push((lane, state, by)),
        }
    }

    /// Notes that a job has moved, that it is new, or that it is gone: for the counters, and for the
    /// event log. `entry` is asked for only where that is on.
    #[inline]
    pub(super) fn moved(
        &mut self,
        lane: i64,
        from: impl Into<Option<State>>,
        to: impl Into<Option<State>>,
        entry: impl FnOnce() -> Entry,
    ) {
        let (from, to) = (from.into(), to.into());
        if let Some(from) = from {
            self.count(lane, from, -1);
        }
        if let Some(to) = to {
            self.count(lane, to, 1);
        }
        if self.logs() {
            self.log(Noted { lane, from, to, entry: entry() });
        }
    }

    /// Whether the event log is on.
    pub(super) fn logs(&self) -> bool {
        self.catalogue.settings().event_log
    }

    /// Notes something for the event log, which is on. Out of the way of those that are off.
    #[cold]
    pub(super) fn log(&mut self, noted: Noted) {
        self.events.push(noted);
    }

    /// Writes what was noted for the event log, because the rows that it is about may change.
    pub(super) fn write_events(&mut self) -> Result<(), StoreError> {
        Ok(self.flush_events()?)
    }

    /// How many jobs of a lane are processing by now.
    pub(super) fn processing(&self, lane: i64) -> Result<i64, StoreError> {
        let before: i64 = self
            .prepare("SELECT n FROM queuectl_count WHERE lane = ?1 AND state = 2")?
            .query_row([lane], |row| row.get(0))?;
        let ours = self.counts.iter().filter(|(l, s, _)| (*l, *s) == (lane, State::Processing));
        Ok(before + ours.map(|(_, _, n)| n).sum::<i64>())
    }

    /// How many jobs are in these states by now.
    pub(super) fn total(&self, states: &[State]) -> Result<i64, StoreError> {
        let mut before = self.prepare("SELECT sum(n) FROM queuectl_count WHERE state = ?1")?;
        let mut total = 0;
        for &state in states {
            let kept: Option<i64> =
                before.query_row([super::row::code(state)], |row| row.get(0))?;
            let ours = self.counts.iter().filter(|(_, s, _)| *s == state);
            total += kept.unwrap_or(0) + ours.map(|(_, _, n)| n).sum::<i64>();
        }
        Ok(total)
    }

    /// Applies a write that is undone if it fails, while the rest of the transaction goes on.
    pub(super) fn nested<T>(
        &mut self,
        write: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(error) = &self.broken {
            return Err(copy(error).into());
        }
        // What was noted before is not undone with the write.
        if let Err(error) = self.flush_events() {
            self.broken = Some(copy(&error));
            return Err(error.into());
        }
        self.execute("SAVEPOINT nested", [])?;
        let counts = self.counts.clone();
        let epoch = self.catalogue.epoch();
        let answer = write(self);
        if answer.is_err() {
            self.counts = counts;
            self.events.clear();
            if let Err(error) = self.execute("ROLLBACK TO nested", []) {
                // SQLite has rolled the whole transaction back, as it does when the disk is full.
                self.broken = Some(copy(&error));
                return answer;
            }
            // What the write has added to the catalogue is gone with it.
            if self.catalogue.epoch() != epoch {
                self.catalogue.reload(self.connection)?;
            }
        }
        if let Err(error) = self.execute("RELEASE nested", []) {
            self.broken = Some(copy(&error));
            return answer.and_then(|_| Err(error.into()));
        }
        answer
    }

    /// Writes the counters and the event log, and commits. An error means that nobody knows whether
    /// it happened, but for those that [`commit_error`](super::error::commit_error) tells apart.
    pub(super) fn commit(mut self) -> Result<(), rusqlite::Error> {
        let committed = match self.broken.take() {
            Some(error) => Err(error),
            None => self.flush().and_then(|()| self.execute("COMMIT", []).map(drop)),
        };
        // On an error the transaction may still be open; dropping it rolls it back.
        self.committed = committed.is_ok();
        if self.committed {
            self.checkpoints.after_commit(self.connection);
        }
        committed.inspect_err(|error| {
            *self.suspect = matches!(commit_error(error), StoreError::Unknown(_));
        })
    }

    /// Undoes everything.
    pub(super) fn rollback(self) {
        drop(self);
    }

    fn flush(&mut self) -> rusqlite::Result<()> {
        self.flush_events()?;
        self.flush_counts()
    }

    fn flush_events(&mut self) -> rusqlite::Result<()> {
        match std::mem::take(&mut self.events) {
            none if none.is_empty() => Ok(()),
            events => event::write(self, events),
        }
    }

    fn flush_counts(&mut self) -> rusqlite::Result<()> {
        let mut update =
            self.prepare("UPDATE queuectl_count SET n = n + ?3 WHERE lane = ?1 AND state = ?2")?;
        for (lane, state, by) in self.counts.drain(..).filter(|(_, _, by)| *by != 0) {
            update.execute((lane, super::row::code(state), by))?;
        }
        Ok(())
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // Also if SQLite has rolled back on its own, as it does when the disk is full.
            self.catalogue.forget();
        }
        if !self.connection.is_autocommit() {
            // If even this fails, the next BEGIN will, and say why.
            let _ = self.execute("ROLLBACK", []);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::sqlite::open;

    fn writer(path: &std::path::Path) -> Writer {
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        let opened = open::open(path, &options).unwrap();
        Writer::new(opened.connection, opened.path, opened.file, options)
    }

    /// On a full disk SQLite rolls the whole transaction back by itself. A lane that was made in it
    /// is gone, and its number may be given to another one by another process.
    #[test]
    fn a_lane_that_was_rolled_back_by_sqlite_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let (mut here, mut there) = (writer(&path), writer(&path));
        let (ours, theirs) = (Name::new("ours").unwrap(), Name::new("theirs").unwrap());

        here.connection.pragma_update(None, "max_page_count", 1).unwrap();
        let mut tx = here.begin().unwrap();
        tx.lane_of(&ours, &ours).unwrap();
        let large = "x".repeat(1 << 20);
        let full = tx.execute("INSERT INTO queuectl_setting VALUES ('large', ?1)", [&large]);
        assert!(full.is_err() && tx.connection.is_autocommit());
        drop(tx);
        here.connection.pragma_update(None, "max_page_count", 1 << 30).unwrap();

        let mut tx = there.begin().unwrap();
        tx.lane_of(&theirs, &theirs).unwrap();
        tx.commit().unwrap();

        let mut tx = here.begin().unwrap();
        let lane = tx.lane_of(&ours, &ours).unwrap();
        let kind: String = tx
            .connection
            .query_row("SELECT kind FROM queuectl_lane WHERE lane = ?1", [lane], |row| row.get(0))
            .unwrap();
        assert_eq!(kind, "ours");
    }
}
