//! What a call has left to be done, because one transaction does a bounded part of it.
//!
//! It stands in tables of its own, so that nothing is lost whoever dies, and is gone on with by every call
//! that claims, by `expire`, which somebody calls once a second, and by whoever waits for it. Whether
//! there is any is part of the catalogue: where there is none, nobody looks.

use rusqlite::Connection;

use super::cancelling;
use super::transaction::Tx;
use super::untold;
use crate::store::StoreError;

/// Which sorts of it there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Dependents have not been told of ends.
    pub(super) untold: bool,
    /// Batches are being cancelled.
    pub(super) cancelling: bool,
}

impl Unfinished {
    const NONE: Unfinished = Unfinished { untold: false, cancelling: false };
}

pub(super) fn read(connection: &Connection) -> Result<Unfinished, StoreError> {
    let mut any = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM queuectl_untold),
                EXISTS (SELECT 1 FROM queuectl_cancelling)",
    )?;
    let any =
        any.query_row([], |row| Ok(Unfinished { untold: row.get(0)?, cancelling: row.get(1)? }))?;
    Ok(any)
}

/// Whether there is any; a read.
pub(super) fn is_any(connection: &Connection) -> Result<bool, StoreError> {
    Ok(read(connection)? != Unfinished::NONE)
}

/// There is some from now on, or there may be none any more: every process is to know with its next
/// transaction.
pub(super) fn changed(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.raise_epoch()?;
    tx.reload_catalogue()
}

/// Does as much of it as this transaction still may.
pub(super) fn go_on(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    // To tell of ends comes first: nobody has to wait for it until a whole batch is cancelled.
    if tx.catalogue.unfinished().untold {
        untold::go_on(tx)?;
    }
    if tx.catalogue.unfinished().cancelling {
        cancelling::go_on(tx)?;
    }
    match read(tx.connection())? == tx.catalogue.unfinished() {
        true => Ok(()),
        false => changed(tx),
    }
}

/// The same beside a claim; says whether there was any, so that another claim may find more.
pub(super) fn go_on_beside(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    let any = tx.catalogue.unfinished() != Unfinished::NONE;
    if any {
        go_on(tx)?;
    }
    Ok(any)
}
