//! Which attempts of a process have begun, in a file that outlives it.
//!
//! A worker holds short jobs in advance. When its process dies, only those that it had begun have
//! spent an attempt: one that kills its worker must not take with it, attempt by attempt, all that
//! stood behind it. To say so in the store would be a write for each job. But a process that dies
//! leaves what it has written to a file, synced or not, so a note of 16 bytes is enough. A restart of
//! the machine may lose it; then all count as begun.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::id::{JobKey, Lease, Token};

/// What the file begins with. Without it, nothing in it can be relied on.
const HEADER: [u8; NOTE_LEN] = *b"queuectl begun 1";
const NOTE_LEN: usize = 16;

/// The notes of this process.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    /// Where each attempt that has begun and is not settled is noted.
    places: HashMap<Lease, u64>,
    /// Places whose attempts are settled. What stands there does no harm: no token comes again.
    free: Vec<u64>,
    broken: bool,
}

impl Notes {
    pub(super) fn new(file: File) -> Self {
        let broken = file.write_all_at(&HEADER, 0).is_err();
        Notes { file, places: HashMap::new(), free: Vec::new(), broken }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn begins(&mut self, lease: Lease) {
        if self.broken || self.places.contains_key(&lease) {
            return;
        }
        let unused = self.places.len() as u64 + 1;
        let place = self.free.pop().unwrap_or(unused);
        self.places.insert(lease, place);
        let mut note = [0; NOTE_LEN];
        note[..8].copy_from_slice(&lease.key.0.to_le_bytes());
        note[8..].copy_from_slice(&lease.token.0.to_le_bytes());
        if self.file.write_all_at(&note, place * NOTE_LEN as u64).is_err() {
            // A full disk. What cannot be noted counts as begun, and so does all the rest. To cut a
            // file needs no room.
            self.broken = true;
            let _ = self.file.set_len(0);
        }
    }

    pub(super) fn ended(&mut self, leases: impl Iterator<Item = Lease>) {
        for lease in leases {
            self.free.extend(self.places.remove(&lease));
        }
    }
}

/// What a dead process had begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// These at most; some of them were settled.
    Only(BTreeSet<Lease>),
    /// It is not known: whatever it held.
    Anything,
}

impl Begun {
    pub(super) fn read(mut file: &File) -> Self {
        let mut bytes = Vec::new();
        if file.read_to_end(&mut bytes).is_err() || !bytes.starts_with(&HEADER) {
            return Begun::Anything;
        }
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).unwrap_or_default();
        let notes = bytes.chunks_exact(NOTE_LEN).skip(1);
        let leases = notes.map(|note| Lease {
            key: JobKey(number(&note[..8])),
            token: Token(number(&note[8..])),
        });
        Begun::Only(leases.collect())
    }

    pub(super) fn contains(&self, lease: Lease) -> bool {
        match self {
            Begun::Only(leases) => leases.contains(&lease),
            Begun::Anything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(key: i64) -> Lease {
        Lease { key: JobKey(key), token: Token(key * 10) }
    }

    fn notes() -> (tempfile::NamedTempFile, Notes) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let notes = Notes::new(file.reopen().unwrap());
        (file, notes)
    }

    fn read(file: &tempfile::NamedTempFile) -> Begun {
        Begun::read(&file.reopen().unwrap())
    }

    #[test]
    fn what_has_begun_is_known_and_places_are_used_again() {
        let (file, mut notes) = notes();
        assert!(!read(&file).contains(lease(1)));
        for key in 1..=1000 {
            notes.begins(lease(key));
            // One takes longer than all the others.
            if key > 1 {
                notes.ended([lease(key)].into_iter());
            }
            let begun = read(&file);
            assert!(begun.contains(lease(1)) && begun.contains(lease(key)));
            assert!(!begun.contains(lease(key + 1)));
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), 3 * NOTE_LEN as u64);
    }

    #[test]
    fn a_file_that_is_not_whole_says_nothing() {
        let (file, mut notes) = notes();
        notes.begins(lease(1));
        file.as_file().set_len(0).unwrap();
        assert_eq!(read(&file), Begun::Anything);
        assert!(read(&file).contains(lease(77)));
    }
}
