//! Opening a store's file: making it whole or not at all, and refusing, without a write, whatever is
//! not a store that this version may write to.

use std::cell::Cell;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use rustix::fs::{CWD, OFlags, RenameFlags};

use super::SqliteOptions;
use super::catalogue::read_settings;
use super::checkpoint;
use super::error::is_full;
use crate::clock::{BootTime, Clock, SystemClock};
use crate::random;
use crate::settings::Durability;
use crate::store::{BoxError, StoreError};

/// `qctl`: says that a SQLite file is a store of this project.
const APPLICATION_ID: i32 = 0x7163_746c;

/// Every change of the schema, in order. One that has been released is never edited.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_first.sql")];

/// How long a writer waits for SQLite's lock when the gate did not keep others away: writers that
/// know nothing of the gate, such as another program's plain INSERT.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// Why a file cannot be used as a store. Nothing was written to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file.
    #[error("there is no queue at {}", .0.display())]
    Missing(PathBuf),
    /// The file has no bytes. SQLite would take it for a new database; a store that was truncated
    /// looks the same.
    #[error("{} is an empty file, not a queue; remove it to start a new one there", .0.display())]
    Empty(PathBuf),
    /// The file is something else: no SQLite database, or another program's.
    #[error("{} is not a queue", .0.display())]
    Foreign(PathBuf),
    /// The file is damaged: cut short, or written over.
    #[error("{} is damaged", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: BoxError,
    },
    /// The file was written by a newer version.
    #[error(
        "{} has schema {found}, made by a newer version of queuectl; this one knows up to {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The file stands on a file system whose locks cannot be trusted.
    #[error("{} is on a network file system, where SQLite's locks do not hold", .0.display())]
    NetworkFileSystem(PathBuf),
    /// This program was linked with an SQLite that can lose committed writes.
    #[error("SQLite {0} can lose committed writes (its WAL-reset bug); 3.51.3 or newer is needed")]
    UnsafeSqlite(&'static str),
    /// There is no room for what SQLite needs beside the file.
    #[error("cannot open {}: the disk is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: BoxError,
    },
    /// The operating system refused.
    #[error("cannot open {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: BoxError,
    },
}

/// Which file a path leads to. Changes when the file is deleted, moved or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        // Only ever `stat`: to open and close the file would drop the locks that SQLite holds on it.
        let metadata = std::fs::metadata(path)?;
        if metadata.len() == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// An opened store.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) file: FileIdentity,
    pub(super) identity: String,
}

pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, OpenError> {
    if !is_safe(rusqlite::version_number()) {
        return Err(OpenError::UnsafeSqlite(rusqlite::version()));
    }
    let path = std::path::absolute(path).map_err(|error| io_error(path, error))?;
    if options.create {
        create(&path, options)?;
    }
    let file = inspect(&path, options)?;
    let connection = connect(&path)?;
    let identity = check(&connection, &path)?;
    configure(&connection, options.durability).map_err(|error| sqlite_error(&path, error))?;
    Ok(Opened { connection, path, file, identity })
}

/// SQLite from 3.7.0 to 3.51.2 can lose committed writes when one connection resets the log while
/// another writes; three releases carry the correction.
fn is_safe(version: i32) -> bool {
    let fixed = version >= 3_051_003 && version != 3_052_000;
    fixed || (3_050_007..3_051_000).contains(&version) || (3_044_006..3_045_000).contains(&version)
}

/// Makes a new store, unless there is a file already: whole under another name, then moved into
/// place in one step that never replaces anything. Whatever interrupts it, the path leads to a
/// store or to nothing.
fn create(path: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| io_error(path, error))?;
    refuse_network(path, folder, options)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = folder.join(format!(".{name}.{}", random::identity()));
    let made = draw_up(&draft, path, options.clock.as_ref());
    let placed = made.and_then(|()| sync_above(path, folder)).and_then(|()| {
        match rustix::fs::renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE) {
            // Somebody else was quicker: theirs is the store.
            Err(rustix::io::Errno::EXIST) => Ok(()),
            // A file system that cannot rename so may be able to link.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                match std::fs::hard_link(&draft, path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        Err(io_error(path, error))
                    }
                    _ => Ok(()),
                }
            }
            other => other.map_err(|error| io_error(path, error.into())),
        }
    });
    // Gone after the rename; left over after anything else.
    let _ = std::fs::remove_file(&draft);
    placed?;
    // So that the name survives a power cut as the contents do.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(path, error))
}

/// Makes the folders above the store's own remember what is in them. Any of them may have been made a
/// moment ago, by this process or by another one, and a power cut would take it with everything in
/// it. Done before anybody can find the store, because whoever finds it adds jobs without asking.
fn sync_above(path: &Path, folder: &Path) -> Result<(), OpenError> {
    let device = |folder: &Path| std::fs::metadata(folder).map(|folder| folder.dev()).ok();
    let own = device(folder);
    // What is mounted elsewhere was there before.
    for above in folder.ancestors().skip(1).take_while(|above| device(above) == own) {
        match File::open(above).and_then(|above| above.sync_all()) {
            // One that may not be read is nobody's who makes stores.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced.map_err(|error| io_error(path, error))?,
        }
    }
    Ok(())
}

fn draw_up(draft: &Path, path: &Path, clock: &dyn Clock) -> Result<(), OpenError> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(draft)
        .map_err(|error| io_error(path, error))?;
    let build = || -> rusqlite::Result<()> {
        let connection = Connection::open_with_flags(draft, flags())?;
        // One sync at the end makes it durable; until then nobody can see it.
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        let all = connection.unchecked_transaction()?;
        for migration in MIGRATIONS {
            all.execute_batch(migration)?;
        }
        all.execute(
            "INSERT INTO queuectl_meta (only, identity, schema, created_at, boot_id, epoch)
             VALUES (1, ?1, ?2, ?3, ?4, 0)",
            (
                random::identity(),
                MIGRATIONS.len() as i64,
                clock.now().as_millis(),
                clock.boot_id().as_str(),
            ),
        )?;
        all.commit()?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    build().map_err(|error| sqlite_error(path, error))?;
    // SQLite has closed the file, and nobody else has it yet: opening it drops nobody's locks.
    File::open(draft).and_then(|file| file.sync_all()).map_err(|error| io_error(path, error))
}

/// What can be told without opening the file.
fn inspect(path: &Path, options: &SqliteOptions) -> Result<FileIdentity, OpenError> {
    let metadata = std::fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
        _ => io_error(path, error),
    })?;
    if metadata.is_symlink() {
        return Err(io_error(path, io::Error::other("it is a symbolic link; name its target")));
    }
    if !metadata.is_file() {
        return Err(io_error(path, io::Error::other("it is not a regular file")));
    }
    if metadata.len() == 0 {
        return Err(OpenError::Empty(path.to_owned()));
    }
    refuse_network(path, path, options)?;
    FileIdentity::of(path).map_err(|error| io_error(path, error))
}

fn refuse_network(path: &Path, at: &Path, options: &SqliteOptions) -> Result<(), OpenError> {
    /// NFS, SMB (two generations), 9P, FUSE, Ceph, AFS.
    const NETWORK: [u64; 7] =
        [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x6573_5546, 0x00c3_6400, 0x5346_414f];
    if options.allow_network {
        return Ok(());
    }
    let kind = rustix::fs::statfs(at).map_err(|error| io_error(path, error.into()))?.f_type;
    #[expect(clippy::allow_attributes, reason = "the field's type differs between targets")]
    #[allow(clippy::unnecessary_cast)]
    let kind = kind as u64 & 0xffff_ffff;
    if NETWORK.contains(&kind) {
        return Err(OpenError::NetworkFileSystem(path.to_owned()));
    }
    Ok(())
}

fn flags() -> OpenFlags {
    // Never CREATE: a missing file must not become an empty queue by being looked at.
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
}

/// A connection with the settings that every connection has.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    Connection::open_with_flags(path, flags())
        .and_then(|connection| prepare(&connection).map(|()| connection))
        .map_err(|error| sqlite_error(path, error))
}

/// What every connection needs, readers as well.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(128);
    connection.busy_handler(Some(wait_for_lock))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)
}

/// Waits a constant half millisecond before each try: SQLite's own handler waits longer each time,
/// so that whoever has waited longest is the last to get the lock.
///
/// Asks the clock when to give up: on a machine with much to do, a pause takes many times as long.
fn wait_for_lock(tries: i32) -> bool {
    const PAUSE: Duration = Duration::from_micros(500);
    thread_local! {
        static SINCE: Cell<BootTime> = const { Cell::new(BootTime::from_millis(0)) };
    }
    let now = SystemClock.boot();
    if tries == 0 {
        SINCE.set(now);
    }
    #[expect(clippy::disallowed_methods, reason = "SQLite offers nothing to wait on")]
    std::thread::sleep(PAUSE);
    now.since(SINCE.get()) < PATIENCE.get()
}

thread_local! {
    /// How long this thread waits for a lock of SQLite's.
    static PATIENCE: Cell<Duration> = const { Cell::new(BUSY_MAX) };
}

/// Does something that waits no longer than this for each lock.
pub(super) fn with_patience<T>(patience: Duration, what: impl FnOnce() -> T) -> T {
    PATIENCE.set(patience);
    let done = what();
    PATIENCE.set(BUSY_MAX);
    done
}

/// A connection that cannot write.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags())?;
    prepare(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Whether this is a store, and one that this version may write to; gives its identity.
fn check(connection: &Connection, path: &Path) -> Result<String, OpenError> {
    let failed = |error| sqlite_error(path, error);
    let application: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    if application != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let meta: Option<(String, i64)> = connection
        .query_row("SELECT identity, schema FROM queuectl_meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(failed)?;
    let (identity, schema) = meta.ok_or_else(|| OpenError::Foreign(path.to_owned()))?;
    let known = MIGRATIONS.len() as i64;
    if schema > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: schema, known });
    }
    if schema < known {
        migrate(connection).map_err(failed)?;
    }
    Ok(identity)
}

/// Brings the schema up to date, each step in a transaction that first looks whether another process
/// has done it meanwhile.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    for (index, migration) in MIGRATIONS.iter().enumerate() {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let step = || -> rusqlite::Result<()> {
            let schema: i64 =
                connection.query_row("SELECT schema FROM queuectl_meta", [], |row| row.get(0))?;
            if schema == index as i64 {
                connection.execute_batch(migration)?;
                connection.execute("UPDATE queuectl_meta SET schema = ?1", [index as i64 + 1])?;
            }
            connection.execute_batch("COMMIT")
        };
        step().inspect_err(|_| {
            // The error that is reported is the one that made this necessary.
            let _ = connection.execute_batch("ROLLBACK");
        })?;
    }
    Ok(())
}

/// The writing connection anew, after one that is not to be trusted any more.
pub(super) fn reconnect(
    path: &Path,
    durability: Option<Durability>,
) -> Result<Connection, StoreError> {
    let connection = connect(path).map_err(|error| StoreError::Other(error.into()))?;
    configure(&connection, durability)?;
    Ok(connection)
}

/// What only the writing connection needs.
fn configure(connection: &Connection, durability: Option<Durability>) -> rusqlite::Result<()> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode != "wal" {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    }
    let durability = match durability {
        Some(durability) => durability,
        None => read_settings(connection).map(|settings| settings.durability).unwrap_or_default(),
    };
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
        Durability::Off => "OFF",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    checkpoint::observe(connection);
    connection.pragma_update(None, "cell_size_check", true)
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source: error.into() }
}

fn sqlite_error(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, source: error.into() },
        _ if is_full(&error) => OpenError::Full { path, source: error.into() },
        _ => OpenError::Io { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqlite_with_the_wal_reset_bug_is_known() {
        for safe in [3_051_003, 3_053_000, 3_053_002, 3_050_007, 3_044_006] {
            assert!(is_safe(safe), "{safe}");
        }
        for unsafe_ in [3_007_000, 3_040_001, 3_044_005, 3_050_006, 3_051_002, 3_052_000] {
            assert!(!is_safe(unsafe_), "{unsafe_}");
        }
        assert!(is_safe(rusqlite::version_number()), "the bundled SQLite is unsafe");
    }
}
