//! Which store is meant: `--store`, `QUEUECTL_STORE`, or the one in the user's data directory.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use queuectl_core::{OpenError, SqliteOptions, SqliteStore};
use rustix::fs::Access;
use rustix::io::Errno;

use crate::error::CliError;
use crate::exit::Exit;

/// What a person who has no store yet types next.
const FIRST_JOB: &str = "`queuectl enqueue 'echo hello'` makes one; `--store PATH` and \
                         QUEUECTL_STORE name another place";

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StorePath(PathBuf);

impl StorePath {
    /// The store that the user named, or the user's own one.
    pub(crate) fn find(named: Option<&OsStr>) -> Result<Self, CliError> {
        // The variable may be set to nothing; the option is not, except by a variable that is missing.
        let by_option = || std::env::var_os("QUEUECTL_STORE").is_none_or(|name| !name.is_empty());
        if named.is_some_and(OsStr::is_empty) && by_option() {
            return Err(CliError::usage("--store names no file").hint("--store PATH"));
        }
        let path = match named.filter(|name| !name.is_empty()) {
            Some(name) => file_of(name)?,
            None => default_file(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
                .ok_or_else(|| {
                    CliError::new(Exit::STORE, "cannot tell where the store is: HOME is not set")
                        .hint("name it with --store PATH or QUEUECTL_STORE")
                })?,
        };
        let absolute = std::path::absolute(&path).map_err(|error| {
            CliError::new(Exit::STORE, "cannot tell the current directory").because(&error)
        })?;
        Ok(StorePath(absolute))
    }

    /// The file, absolute.
    pub(crate) fn file(&self) -> &Path {
        &self.0
    }

    /// The folder in which attempts and detached workers leave their logs.
    pub(crate) fn logs(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push("-logs");
        name.into()
    }

    /// Opens the store that there is.
    pub(crate) fn open(&self) -> Result<SqliteStore, CliError> {
        self.open_with(SqliteOptions::default())
    }

    /// Opens the store if there is one.
    pub(crate) fn open_if_any(&self) -> Result<Option<SqliteStore>, CliError> {
        match SqliteStore::open(&self.0, SqliteOptions::default()) {
            Err(OpenError::Missing(_)) => Ok(None),
            Err(error) => Err(self.refused(&error)),
            Ok(store) => Ok(Some(store)),
        }
    }

    /// Opens the store, and makes it, and its directory, if there is none.
    pub(crate) fn open_or_create(&self) -> Result<SqliteStore, CliError> {
        if let Some(parent) = self.0.parent() {
            private_dir(parent)?;
        }
        self.open_with(SqliteOptions { create: true, ..SqliteOptions::default() })
    }

    fn open_with(&self, options: SqliteOptions) -> Result<SqliteStore, CliError> {
        SqliteStore::open(&self.0, options).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &OpenError) -> CliError {
        let told = CliError::new(Exit::STORE, error.to_string());
        let told = match error.source() {
            Some(source) => told.because(source),
            None => told,
        };
        match error {
            OpenError::Missing(_) => told.hint(FIRST_JOB),
            OpenError::Full { .. } => told.hint("make room on the disk, then try again"),
            OpenError::Newer { .. } => told.hint("use the version of queuectl that wrote it"),
            OpenError::Foreign(_) => {
                told.hint("`--store PATH` and QUEUECTL_STORE name another file")
            }
            _ => match self.trouble() {
                Some(trouble) => told.hint(trouble),
                None => told,
            },
        }
    }

    /// What SQLite does not say about a file that it cannot open.
    fn trouble(&self) -> Option<String> {
        let access = Access::READ_OK | Access::WRITE_OK;
        if matches!(rustix::fs::access(&self.0, access), Err(Errno::ACCESS)) {
            return Some("you may not read and write it: it is its owner's alone".to_owned());
        }
        let room = rustix::fs::statvfs(self.0.parent()?).ok()?.f_bavail;
        (room == 0).then(|| "the disk is full: make room, then try again".to_owned())
    }
}

/// Makes a directory, and those above it that are missing, for the user alone. One that is there
/// already stays as it is.
pub(crate) fn private_dir(dir: &Path) -> Result<(), CliError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        // The umask may have taken away even the owner's bits.
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .map_err(|error| {
            CliError::new(Exit::STORE, format!("cannot make the directory {}", dir.display()))
                .because(&error)
        })
}

fn file_of(name: &OsStr) -> Result<PathBuf, CliError> {
    let Some(text) = name.to_str() else {
        return Ok(name.into());
    };
    if text.starts_with("postgres:") || text.starts_with("postgresql:") {
        return Err(CliError::new(
            Exit::STORE,
            "this build of queuectl does not speak PostgreSQL yet",
        )
        .hint("name a file: --store PATH"));
    }
    if let Some(path) = text.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(CliError::usage("`sqlite:` names no file").hint("--store sqlite:PATH"));
        }
        return Ok(path.into());
    }
    match text.split_once("://") {
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Err(CliError::usage(format!("there is no kind of store called {scheme}"))
                .hint("a store is a file: --store PATH, or --store sqlite:PATH"))
        }
        _ => Ok(text.into()),
    }
}

fn default_file(data_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |dir: OsString| Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute());
    data_home
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".local/share")))
        .map(|dir| dir.join("queuectl/queue.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_path_with_or_without_a_scheme() {
        for name in ["/a/q.db", "sqlite:/a/q.db", "sqlite:///a/q.db"] {
            assert_eq!(
                StorePath::find(Some(OsStr::new(name))).unwrap().file(),
                Path::new("/a/q.db")
            );
        }
        let relative = StorePath::find(Some(OsStr::new("q.db"))).unwrap();
        assert!(relative.file().is_absolute());
        assert!(relative.logs().to_str().unwrap().ends_with("/q.db-logs"));
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let refused = |name| StorePath::find(Some(OsStr::new(name))).unwrap_err();
        assert_eq!(refused("postgres://db/x").exit, Exit::STORE);
        assert!(refused("postgresql://db/x").message().unwrap().contains("PostgreSQL yet"));
        assert_eq!(refused("redis://db/x").exit, Exit::USAGE);
        assert_eq!(refused("sqlite:").exit, Exit::USAGE);
    }

    #[test]
    fn the_default_follows_the_base_directory_specification() {
        let some = |text: &str| Some(OsString::from(text));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(default_file(some("/x"), some("/h")), path("/x/queuectl/queue.db"));
        // A relative XDG_DATA_HOME is to be ignored.
        for data_home in [None, some(""), some("rel")] {
            assert_eq!(
                default_file(data_home, some("/h")),
                path("/h/.local/share/queuectl/queue.db")
            );
        }
        assert_eq!(default_file(None, None), None);
    }
}
