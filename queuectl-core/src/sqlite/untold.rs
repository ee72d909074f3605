//! What has become of jobs that others wait for, and has not been told to all of these: there are more than
//! one transaction moves on.
//!
//! A row is about the dependents with numbers from `first` to `last`: whoever begins to wait later sees how the
//! parent stands by then. The rows of a parent are told in their order, so that its dependents hear of its end
//! and of its deletion in the order in which both happened, and however often it is retried meanwhile.

use rusqlite::{OptionalExtension, Row, params};

use super::dependents::{self, End, News};
use super::row;
use super::transaction::Tx;
use super::unfinished;
use crate::id::JobKey;
use crate::state::State;
use crate::store::StoreError;

/// Whether something about this parent has not been told to all: then what is new has to wait for it.
pub(super) fn is_about(tx: &Tx<'_>, parent: JobKey) -> Result<bool, StoreError> {
    if !tx.catalogue.unfinished().untold {
        return Ok(false);
    }
    Ok(tx.prepare("SELECT 1 FROM queuectl_untold WHERE parent = ?1")?.exists([parent.0])?)
}

/// Leaves it to later transactions to tell dependents, from this number on.
pub(super) fn put_off(tx: &mut Tx<'_>, news: &News, first: JobKey) -> Result<(), StoreError> {
    // A job that is gone can be asked for its name no more.
    let called = match &news.called {
        Some(called) => called.clone(),
        None => dependents::name_of(tx, news.parent)?,
    };
    let state = match news.end {
        End::In(state) => Some(row::code(state)),
        End::LivesAgain => Some(row::code(State::Pending)),
        End::Deleted => None,
    };
    tx.execute(
        "INSERT INTO queuectl_untold (parent, state, called, first, last)
         SELECT ?1, ?2, ?3, ?4, min(?5, ifnull(max(key), 0)) FROM queuectl_job",
        params![news.parent.0, state, called, first.0, news.until.0],
    )?;
    match tx.catalogue.unfinished().untold {
        true => Ok(()),
        false => unfinished::changed(tx),
    }
}

/// Tells what was put off first, as far as this transaction may.
pub(super) fn go_on(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let first = "SELECT untold, parent, state, called, first, last FROM queuectl_untold
         ORDER BY untold LIMIT 1";
    while tx.left > 0
        && let Some((number, news)) = tx.prepare(first)?.query_row([], read).optional()?
    {
        match dependents::tell_on(tx, news)? {
            None => tx.execute("DELETE FROM queuectl_untold WHERE untold = ?1", [number])?,
            Some(next) => tx.execute(
                "UPDATE queuectl_untold SET first = ?2 WHERE untold = ?1",
                (number, next.0),
            )?,
        };
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, News)> {
    let end = match row.get::<_, Option<i64>>(2)? {
        None => End::Deleted,
        Some(_) => match row::state(row, 2)? {
            State::Pending => End::LivesAgain,
            state => End::In(state),
        },
    };
    let (from, until) = (JobKey(row.get(4)?), JobKey(row.get(5)?));
    let (parent, called) = (JobKey(row.get(1)?), Some(row.get(3)?));
    Ok((row.get(0)?, News { parent, end, called, from, until }))
}
