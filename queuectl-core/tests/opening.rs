//! Which files are opened as a store, and which are refused without a write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use queuectl_core::store::JobQuery;
use queuectl_core::{NewJob, OpenError, SqliteOptions, SqliteStore, Store, StoreError};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn create(path: &Path) -> SqliteStore {
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    SqliteStore::open(path, options).expect("a store")
}

fn refusal(path: &Path) -> OpenError {
    let before = fs::read(path).ok();
    let error = SqliteStore::open(path, SqliteOptions::default()).expect_err("it was opened");
    assert_eq!(fs::read(path).ok(), before, "the refused file was changed");
    error
}

fn job() -> NewJob {
    NewJob::new("k", &()).expect("a job")
}

/// A store with a hundred jobs, closed, so that all of it stands in the file.
fn closed_store(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("queue.db");
    create(&path).enqueue(&vec![job(); 100]).expect("enqueued");
    path
}

fn sqlite(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("SQLite opens it");
    connection.execute_batch(sql).expect("SQLite runs it");
}

#[test]
fn a_missing_store_is_missing_and_stays_so() {
    let folder = folder();
    let path = folder.path().join("queue.db");
    assert!(matches!(refusal(&path), OpenError::Missing(_)));
    assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 0);
}

#[test]
fn an_empty_file_is_not_a_new_store() {
    let folder = folder();
    let path = folder.path().join("queue.db");
    fs::write(&path, b"").expect("written");
    assert!(matches!(refusal(&path), OpenError::Empty(_)));
}

#[test]
fn other_files_are_foreign() {
    let folder = folder();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, but long enough to be looked at ".repeat(100))
        .expect("written");
    assert!(matches!(refusal(&text), OpenError::Foreign(_)));

    let other = folder.path().join("other.db");
    sqlite(&other, "CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    assert!(matches!(refusal(&other), OpenError::Foreign(_)));
}

#[test]
fn a_store_that_was_cut_short_is_found_out_at_once() {
    let folder = folder();
    let path = closed_store(&folder);
    let whole = fs::metadata(&path).expect("a file").len();
    let file = fs::File::options().write(true).open(&path).expect("opened");
    file.set_len(whole - 4096).expect("cut");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let folder = folder();
    let path = closed_store(&folder);
    sqlite(&path, "UPDATE queuectl_meta SET schema = 99");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let folder = folder();
    let link = folder.path().join("link.db");
    symlink(closed_store(&folder), &link).expect("linked");
    assert!(matches!(refusal(&link), OpenError::Io { .. }));
}

#[test]
fn only_the_owner_can_read_a_store_and_what_stands_beside_it() {
    let folder = folder();
    let path = folder.path().join("new/folder/queue.db");
    let store = create(&path);
    store.enqueue(&[job()]).expect("enqueued");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);
    for entry in fs::read_dir(path.parent().expect("a folder")).expect("read") {
        let path = entry.expect("an entry").path();
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn many_who_make_the_same_store_at_once_get_one() {
    let folder = folder();
    let path = folder.path().join("queue.db");
    let start = Barrier::new(16);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                start.wait();
                create(&path).enqueue(&[job()]).expect("enqueued");
            });
        }
    });
    let all = JobQuery { limit: 100, ..JobQuery::default() };
    assert_eq!(create(&path).jobs(&all).expect("read").len(), 16);
    let drafts = fs::read_dir(folder.path()).expect("read").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().starts_with('.')
    });
    assert_eq!(drafts.count(), 0, "a draft was left behind");
}

/// SQLite in WAL mode goes on writing to a file that has no name any more, and says that all is well.
#[test]
fn a_store_that_was_deleted_or_replaced_takes_no_more_writes() {
    let folder = folder();
    let path = folder.path().join("queue.db");
    let store = create(&path);
    store.enqueue(&[job()]).expect("enqueued");

    fs::rename(&path, folder.path().join("elsewhere.db")).expect("moved");
    assert!(matches!(store.enqueue(&[job()]), Err(StoreError::Replaced(_))));
    assert!(!path.exists(), "a new store was made in its place");

    fs::write(&path, "something else").expect("written");
    assert!(matches!(store.enqueue(&[job()]), Err(StoreError::Replaced(_))));
}

#[test]
fn a_store_keeps_its_identity_and_shares_it_with_no_other() {
    let folder = folder();
    let (one, two) = (folder.path().join("1.db"), folder.path().join("2.db"));
    let first = create(&one).identity().to_owned();
    assert_eq!(first.len(), 32);
    assert_eq!(create(&one).identity(), first);
    assert_ne!(create(&two).identity(), first);
}

/// Many threads write at the same time, each batch in a transaction that others share. A batch that
/// cannot be added must fail alone: neither its neighbours nor the counters notice.
#[test]
fn a_batch_that_fails_in_a_shared_transaction_fails_alone() {
    let folder = folder();
    let store = Arc::new(create(&folder.path().join("queue.db")));
    let taken = || job().id("taken").expect("an id");
    store.enqueue(&[taken()]).expect("enqueued");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..50 {
                    if thread % 2 == 0 {
                        store.enqueue(&[job(), job()]).expect("enqueued");
                    } else {
                        // In a lane of its own, which goes with it, or in one that stays and
                        // whose counters must not.
                        let lane = if thread % 4 == 1 { "default" } else { "queue" };
                        let first = job().queue(lane).expect("a queue");
                        let refused = store.enqueue(&[first, taken()]);
                        assert!(matches!(refused, Err(StoreError::DuplicateId(_))));
                    }
                }
            });
        }
    });
    let all = JobQuery { limit: 10_000, ..JobQuery::default() };
    assert_eq!(store.jobs(&all).expect("read").len(), 401);
    let counted: u64 = store.counts().expect("read").iter().flat_map(|lane| lane.by_state).sum();
    assert_eq!(counted, 401);
}
