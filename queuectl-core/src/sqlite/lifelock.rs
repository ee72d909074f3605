//! Proof that a process lives: a lock on a file of its own, held until it dies.
//!
//! The kernel releases the lock the moment the process is gone, however it went, so the others
//! need no time limit to know. The file's name is the identity of the process, which is random and
//! never used twice: neither a recycled pid nor a restart can be mistaken for it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::begun::{Begun, Notes};
use super::gate::beside;

/// The folder of the locks of one store.
#[derive(Debug)]
pub(super) struct LifeLocks {
    folder: PathBuf,
}

/// This process's own lock. Free when it is dropped; the file stays, as the proof of that.
#[derive(Debug)]
pub(super) struct LifeLock {
    /// Never inherited by what the process starts, so it goes when the process does. What it says is
    /// which attempts have begun.
    notes: Notes,
}

impl LifeLock {
    pub(super) fn notes(&mut self) -> &mut Notes {
        &mut self.notes
    }
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
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Whoever tries again makes it anew.
            self.forget(identity);
            return Err(error.into());
        }
        Ok(LifeLock { notes: Notes::new(file) })
    }

    /// Whether the process is known to be dead. Only a free lock proves that; a file that is
    /// missing may have been taken from a living process, so leases decide about it.
    pub(super) fn is_dead(&self, identity: &str) -> bool {
        options()
            .open(self.path(identity))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_ok())
    }

    /// Whether the process is known to live.
    pub(super) fn lives(&self, identity: &str) -> bool {
        options()
            .open(self.path(identity))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// Removes what processes have left that died before they were registered, or while they removed
    /// another's. A file that is new may belong to one that is about to lock it.
    pub(super) fn sweep(&self, own: &LifeLock, named: &[String]) {
        const AGE: Duration = Duration::from_secs(60);
        let modified = |file: &File| file.metadata().and_then(|metadata| metadata.modified());
        let Ok(now) = modified(own.notes.file()) else { return };
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let identity = entry.file_name().to_string_lossy().into_owned();
            let made = options().open(entry.path()).and_then(|file| modified(&file));
            let is_old = made.is_ok_and(|made| made + AGE < now);
            if is_old && !named.contains(&identity) && self.is_dead(&identity) {
                self.forget(&identity);
            }
        }
    }

    /// What a process had begun when it died; `None` if it is not known to be dead.
    pub(super) fn last_word(&self, identity: &str) -> Option<Begun> {
        let file = options().open(self.path(identity)).ok()?;
        flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Begun::read(&file))
    }

    /// Removes the file of a dead process when nothing in the store names it any more.
    pub(super) fn forget(&self, identity: &str) {
        // Only tidiness: nobody looks at a file that stays.
        let _ = std::fs::remove_file(self.path(identity));
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
