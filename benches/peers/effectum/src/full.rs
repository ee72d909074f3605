//! Keeps `synchronous` at its default, FULL, whatever a connection asks for.

use std::ffi::{CStr, c_char, c_int, c_void};

use peer_protocol::Result;
use rusqlite::ffi;

/// From now on, each new connection of this process passes over what is asked of `synchronous`.
pub fn pass_over_synchronous() -> Result<()> {
    // SAFETY: `on_open` has the signature that SQLite documents for automatic extensions.
    let registered = unsafe { ffi::sqlite3_auto_extension(Some(on_open)) };
    if registered == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(format!("SQLite does not take an extension: {registered}").into())
    }
}

unsafe extern "C" fn on_open(
    connection: *mut ffi::sqlite3,
    _error: *mut *const c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite gives an open connection, and calls back with what it documents.
    unsafe { ffi::sqlite3_set_authorizer(connection, Some(authorize), std::ptr::null_mut()) }
}

unsafe extern "C" fn authorize(
    _data: *mut c_void,
    action: c_int,
    name: *const c_char,
    value: *const c_char,
    _database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    // SAFETY: for a pragma, the name is a string that ends with a zero.
    let sets = action == ffi::SQLITE_PRAGMA
        && !value.is_null()
        && unsafe { CStr::from_ptr(name) }.to_bytes().eq_ignore_ascii_case(b"synchronous");
    if sets { ffi::SQLITE_IGNORE } else { ffi::SQLITE_OK }
}
