//! The folder of log files and attempt locks: the only file that names, makes and deletes them.
//!
//! Names come from numbers alone, never from anything a job says. Files are reached through a
//! descriptor of the folder and never through a symbolic link.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::id::{JobKey, Lease, Token};

/// The log files of one attempt under the folder `logs`: standard output and standard error.
///
/// A file is there from the first byte of its stream on, while the attempt runs. When the attempt
/// ends, a file whose whole content is in the attempt's record is deleted; the other stays, with
/// as many bytes as the log limit allows. Whoever follows a file keeps it open, and reads it to its
/// end after the attempt has ended, deleted or not.
pub fn log_paths(logs: &Path, key: JobKey, token: Token) -> (PathBuf, PathBuf) {
    let lease = Lease { key, token };
    (logs.join(Entry::Stdout.name(lease)), logs.join(Entry::Stderr.name(lease)))
}

/// A file that an attempt may have in the folder.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry {
    Stdout,
    Stderr,
    Lock,
}

impl Entry {
    fn name(self, lease: Lease) -> String {
        let (JobKey(key), Token(token)) = (lease.key, lease.token);
        let suffix = match self {
            Entry::Stdout => "out",
            Entry::Stderr => "err",
            Entry::Lock => "lock",
        };
        format!("{key}-{token}.{suffix}")
    }
}

/// Whether anything still holds the lock of an attempt.
#[derive(Debug)]
pub(super) enum Lock {
    /// There is none: no such attempt got as far as to start a process, or it ended in order.
    Missing,
    /// Nothing that inherited it lives.
    Free,
    /// Something does. The file, to tell who.
    Held(File),
}

/// The folder, open.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens the folder. Makes it if it is missing, and closes it to other users.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let folder = match open() {
            Err(Errno::NOENT) => {
                DirBuilder::new().recursive(true).mode(0o700).create(path)?;
                open()?
            }
            opened => opened?,
        };
        let (stat, me) = (rustix::fs::fstat(&folder)?, rustix::process::geteuid());
        if stat.st_uid != me.as_raw() && !me.is_root() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} belongs to another user", path.display()),
            ));
        }
        if stat.st_mode & 0o777 != 0o700 {
            rustix::fs::fchmod(&folder, Mode::RWXU)?;
        }
        Ok(Folder(folder))
    }

    /// Makes a file of an attempt, for this user only. One that is there already can only be that
    /// of an attempt in an older life of the store, before it was restored from a backup, say.
    pub(super) fn create(&self, entry: Entry, lease: Lease) -> io::Result<File> {
        let name = entry.name(lease);
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create =
            || rustix::fs::openat(&self.0, name.as_str(), flags, Mode::from_raw_mode(0o600));
        match create() {
            Err(Errno::EXIST) => {
                self.delete(entry, lease)?;
                Ok(create()?.into())
            }
            created => Ok(created?.into()),
        }
    }

    /// Deletes a file of an attempt, if it is there.
    pub(super) fn delete(&self, entry: Entry, lease: Lease) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, entry.name(lease).as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes and takes the lock of an attempt. It is held until every copy of the descriptor is
    /// closed, in whichever process.
    pub(super) fn lock(&self, lease: Lease) -> io::Result<File> {
        let file = self.create(Entry::Lock, lease)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    /// Whether the lock of an attempt is held. Asks for a shared lock, so that two that ask at the
    /// same time do not take each other for the attempt.
    pub(super) fn lock_state(&self, lease: Lease) -> io::Result<Lock> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = Entry::Lock.name(lease);
        let file = match rustix::fs::openat(&self.0, name.as_str(), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Lock::Missing),
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Lock::Free),
            Err(Errno::WOULDBLOCK) => Ok(Lock::Held(file)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    const LEASE: Lease = Lease { key: JobKey(7), token: Token(2) };

    #[test]
    fn paths_are_made_of_numbers() {
        let (out, err) = log_paths(Path::new("/logs"), JobKey(7), Token(2));
        assert_eq!(out, Path::new("/logs/7-2.out"));
        assert_eq!(err, Path::new("/logs/7-2.err"));
    }

    #[test]
    fn the_folder_and_its_files_are_for_this_user_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/logs");
        std::fs::create_dir_all(&path).unwrap();
        let folder = Folder::open(&path).unwrap();
        let file = folder.create(Entry::Stdout, LEASE).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_planted_link_is_replaced_and_never_followed() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let folder = Folder::open(home.path()).unwrap();
        symlink(&victim, home.path().join("7-2.out")).unwrap();
        let file = folder.create(Entry::Stdout, LEASE).unwrap();
        assert!(file.metadata().unwrap().is_file());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_lock_is_held_until_its_last_copy_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert!(matches!(folder.lock_state(LEASE).unwrap(), Lock::Missing));
        let lock = folder.lock(LEASE).unwrap();
        let copy = lock.try_clone().unwrap();
        drop(lock);
        assert!(matches!(folder.lock_state(LEASE).unwrap(), Lock::Held(_)));
        drop(copy);
        assert!(matches!(folder.lock_state(LEASE).unwrap(), Lock::Free));
    }
}
