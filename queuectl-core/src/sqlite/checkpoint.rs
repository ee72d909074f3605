//! Copying SQLite's log into the file, so that it stays short.
//!
//! SQLite goes back to the log's beginning when all of it has been copied and nobody reads from it.
//! Readers that follow each other without a pause leave no such moment, and the log would grow as long
//! as there are writes. So when it has become long, writers are held up until those who read from it
//! have done so; whoever comes meanwhile reads from the file. Somebody who does not end is not waited
//! for: the log grows on, and the next try comes when it is an eighth longer.

use std::cell::Cell;
use std::ffi::c_int;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::open;

/// From this length on, what can be copied is copied after each commit. 4 MiB.
const LONG: u32 = 1_000;
/// From this length on, the log is begun anew. 16 MiB.
const TOO_LONG: u32 = 4_000;
/// How long writers are held up for that.
const PATIENCE: Duration = Duration::from_millis(50);

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// When a connection's log is to be begun anew.
#[derive(Debug)]
pub(super) struct Checkpoints {
    begin_anew_at: u32,
}

impl Checkpoints {
    pub(super) fn new() -> Self {
        Checkpoints { begin_anew_at: TOO_LONG }
    }

    /// Sees to the log after a commit of `connection` on this thread. A log that cannot be copied now is
    /// copied later: that is no error of whoever has committed.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        let pages = PAGES.replace(0);
        if pages >= self.begin_anew_at {
            let busy = open::with_patience(PATIENCE, || {
                connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0))
            });
            let begun_anew = matches!(busy, Ok(false));
            let longer = pages + (pages / 8).max(LONG);
            self.begin_anew_at = if begun_anew { TOO_LONG } else { longer };
        } else if pages < TOO_LONG {
            self.begin_anew_at = TOO_LONG;
        }
    }
}

/// Has SQLite tell after each commit how long its log is. This takes the place of its own hook, which
/// copies as well.
pub(super) fn observe(connection: &Connection) {
    connection.wal_hook(Some(committed));
}

fn committed(log: &Wal, pages: c_int) -> rusqlite::Result<()> {
    let pages = u32::try_from(pages).unwrap_or_default();
    PAGES.set(pages);
    if pages >= LONG {
        // An error would be told to whoever has committed, as if that had failed.
        let _ = log.checkpoint();
    }
    Ok(())
}
