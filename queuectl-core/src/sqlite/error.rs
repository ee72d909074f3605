//! Turns SQLite's errors into the store's: which may pass, which mean that the disk is full, which
//! that the file is not to be trusted.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::store::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Busy(error.into())
            }
            _ if is_full(&error) => StoreError::Full(error.into()),
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly(error.into()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt(error.into())
            }
            _ => StoreError::Other(error.into()),
        }
    }
}

impl StoreError {
    /// The transaction ended before the write could be applied to it; it did not happen.
    pub(super) fn abandoned() -> Self {
        StoreError::Other("the transaction was abandoned".into())
    }
}

impl StoreError {
    /// The same error for another caller: no transaction could be opened for either.
    pub(super) fn repeated(&self) -> Self {
        match self {
            StoreError::Busy(error) => StoreError::Busy(error.to_string().into()),
            StoreError::Full(error) => StoreError::Full(error.to_string().into()),
            StoreError::ReadOnly(error) => StoreError::ReadOnly(error.to_string().into()),
            StoreError::Corrupt(error) => StoreError::Corrupt(error.to_string().into()),
            StoreError::Replaced(path) => StoreError::Replaced(path.clone()),
            other => StoreError::Other(other.to_string().into()),
        }
    }
}

/// What a failed COMMIT means for those who wait for it. With the database still locked by others,
/// or full, SQLite has rolled everything back and knows it. Any other failure may have happened
/// after the bytes had reached the file: recovery may bring the "failed" write back.
pub(super) fn commit_error(error: &rusqlite::Error) -> StoreError {
    let copy = copy(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => StoreError::Busy(copy.into()),
        _ if is_full(error) => StoreError::Full(copy.into()),
        _ => StoreError::Unknown(copy.into()),
    }
}

/// A transaction fails for all who share it: each gets the error.
pub(super) fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    let code = error.sqlite_error().map_or(ffi::SQLITE_ERROR, |error| error.extended_code);
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(error.to_string()))
}

/// Whether there was no room: for the log, or for the index that connections share in memory, which is
/// a file as well.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(error.extended_code, ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE)
    })
}

/// Whether the error says that a value which must be unique is there already.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        matches!(
            error.extended_code,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        )
    })
}
