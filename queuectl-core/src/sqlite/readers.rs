//! The connections that read: made when they are needed, and lent to one thread at a time.
//!
//! Each is made on the thread that asks for it. If it cannot be made, that caller is told at once and
//! why: a worker whose reads wait for something that fails would miss its lease. And a program that
//! only looks at one job starts no thread for it.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::open;
use crate::store::StoreError;

/// Readers at a time in one process. A read is short; more would only wait for the same two cores.
const READERS_MAX: usize = 8;

/// The readers of one process.
pub(super) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Connection>,
    /// How many there are, idle or lent.
    made: usize,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Readers { path: path.to_owned(), state: Mutex::default(), freed: Condvar::new() }
    }

    /// Lends a connection to a query. One whose query failed is not lent again: what it remembers of
    /// the file is not worth a doubt.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut lent = Lent { from: self, connection: self.take() };
        let mut connection = match lent.connection.take() {
            Some(connection) => connection,
            None => open::reader(&self.path)?,
        };
        let answer = query(&mut connection);
        if answer.is_ok() {
            lent.connection = Some(connection);
        }
        answer
    }

    /// An idle connection, or the right to make one; waits while all are lent.
    fn take(&self) -> Option<Connection> {
        let mut state = self.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Some(connection);
            }
            if state.made < READERS_MAX {
                state.made += 1;
                return None;
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the readers; given back whatever happens to the query.
struct Lent<'a> {
    from: &'a Readers,
    connection: Option<Connection>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.from.lock();
        match self.connection.take() {
            Some(connection) => state.idle.push(connection),
            None => state.made -= 1,
        }
        self.from.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::sqlite::{SqliteOptions, SqliteStore};

    fn readers(folder: &Path) -> Readers {
        let path = folder.join("queue.db");
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        drop(SqliteStore::open(&path, options).unwrap());
        Readers::new(&path)
    }

    fn one(connection: &mut Connection) -> Result<i64, StoreError> {
        Ok(connection.query_row("SELECT only FROM queuectl_meta", [], |row| row.get(0))?)
    }

    #[test]
    fn no_more_are_made_than_may_be_and_none_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(folder.path());
        let all = Barrier::new(READERS_MAX);
        std::thread::scope(|scope| {
            for _ in 0..READERS_MAX {
                scope.spawn(|| {
                    // All are lent at the same time.
                    let lent = readers.read(|connection| {
                        all.wait();
                        one(connection)
                    });
                    assert_eq!(lent.unwrap(), 1);
                });
            }
        });
        assert_eq!(readers.lock().idle.len(), READERS_MAX);
        let failed = readers.read(|_| -> Result<(), _> { Err(StoreError::abandoned()) });
        assert!(failed.is_err());
        let made = readers.lock().made;
        assert_eq!((readers.lock().idle.len(), made), (7, 7));
        assert_eq!(readers.read(one).unwrap(), 1);
    }

    /// With a pool that made connections on threads of its own, a read of a store that could not be
    /// opened came back after 30 seconds, as long as a lease; and where no thread could be made, the
    /// program panicked.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "measures how long a failure takes")]
    fn a_reader_that_cannot_be_made_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let readers = readers(folder.path());
        std::fs::remove_file(folder.path().join("queue.db")).unwrap();
        let begin = std::time::Instant::now();
        assert!(readers.read(one).is_err());
        assert!(begin.elapsed() < std::time::Duration::from_secs(5));
        assert_eq!(readers.lock().made, 0);
    }
}
