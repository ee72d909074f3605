//! Proof that a process lives: a lock on a file of its own, held until it dies.
//!
//! The kernel releases the lock the moment the process is gone, however it went, so the others
//! need no time limit to know. The file's name is the identity of the process, which is random and
//! never used twice: neither a recycled pid nor a restart can be mistaken for it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::gate::beside;

/// The folder of the locks of one store.
#[derive(Debug)]
pub(super) struct LifeLocks {
    folder: PathBuf,
}

/// This process's own lock.
#[derive(Debug)]
pub(super) struct LifeLock {
    path: PathBuf,
    /// Never inherited by what the process starts, so it goes when the process does.
    _locked: File,
}

impl LifeLocks {
    pub(super) fn new(store: &Path) -> Self {
        LifeLocks { folder: beside(store, "-workers") }
    }

    /// Takes the lock of this process.
    pub(super) fn hold(&self, identity: &str) -> io::Result<LifeLock> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = self.path(identity);
        let file = options().create_new(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(LifeLock { path, _locked: file })
    }

    /// Whether the process holds its lock. The file of a process that does not is removed: nobody
    /// will ever take that lock again.
    pub(super) fn is_alive(&self, identity: &str) -> bool {
        let path = self.path(identity);
        match options().open(&path) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    // Only tidiness: a file that stays is looked at again and found dead again.
                    let _ = std::fs::remove_file(&path);
                    false
                }
                // Whatever else went wrong, only a free lock proves a death; leases decide the rest.
                Err(_) => true,
            },
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn path(&self, identity: &str) -> PathBuf {
        self.folder.join(identity)
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    options.read(true).write(true).mode(0o600).custom_flags(flags);
    options
}

impl Drop for LifeLock {
    fn drop(&mut self) {
        // A clean end leaves nothing behind. The registration is gone already.
        let _ = std::fs::remove_file(&self.path);
    }
}
