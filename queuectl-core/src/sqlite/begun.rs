//! Which attempts of a process have begun, in a file that outlives it.
//!
//! A worker holds short jobs in advance. When its process dies, only those that it had begun have
//! spent an attempt: one that kills its worker must not take with it, attempt by attempt, all that
//! stood behind it. To say so in the store would be a write for each job. But a process that dies
//! leaves what it has written to a file, synced or not, so a note of 16 bytes is enough. A restart of
//! the machine may lose it; then all count as begun.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::id::{JobKey, Lease, Token};

/// What the file begins with. Without it, nothing in it can be relied on.
const HEADER: [u8; NOTE_LEN] = *b"queuectl begun 1";
const NOTE_LEN: usize = size_of::<Note>();
/// How many notes a new file has room for: a page of them, the header's place included.
const ROOM: usize = 4096 / NOTE_LEN;

/// The number and the token of a job. The header stands where the first one would.
type Note = [AtomicI64; 2];

/// The notes of this process.
#[derive(Debug)]
pub(super) struct Notes {
    file: File,
    /// `None` when something could not be noted: then whatever is held counts as begun.
    board: Option<Board>,
    /// Where each attempt that has begun and is not settled is noted.
    places: HashMap<Lease, usize>,
    /// Places whose attempts are settled. What stands there does no harm: no token comes again.
    free: Vec<usize>,
}

impl Notes {
    pub(super) fn new(file: File) -> Self {
        let board = Board::make(&file, 0, ROOM).and_then(|board| {
            file.write_all_at(&HEADER, 0)?;
            Ok(board)
        });
        Notes { file, board: board.ok(), places: HashMap::new(), free: Vec::new() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn begins(&mut self, lease: Lease) {
        if self.board.is_none() || self.places.contains_key(&lease) {
            return;
        }
        let unused = self.places.len() + 1;
        let place = self.free.pop().unwrap_or(unused);
        self.places.insert(lease, place);
        if self.board.as_ref().is_some_and(|board| place >= board.room) {
            self.grow();
        }
        if let Some(board) = &self.board {
            board.write(place, lease);
        }
    }

    pub(super) fn ended(&mut self, leases: impl Iterator<Item = Lease>) {
        for lease in leases {
            self.free.extend(self.places.remove(&lease));
        }
    }

    fn grow(&mut self) {
        let room = self.board.as_ref().map_or(0, |board| board.room);
        self.board = Board::make(&self.file, room, room * 2).ok();
        if self.board.is_none() {
            // A full disk. What cannot be noted counts as begun, and so does all the rest. To cut a
            // file needs no room.
            let _ = self.file.set_len(0);
        }
    }
}

/// The file as memory. What is written there outlives the process as well, and takes no system call,
/// of which there would be one for each job.
#[derive(Debug)]
struct Board {
    notes: NonNull<Note>,
    room: usize,
}

impl Board {
    /// Makes the file as long as it has to be, by writing to it: memory for which the disk has no room
    /// would end the process when it is used.
    #[expect(unsafe_code, reason = "memory that is shared with a file is the kernel's to give")]
    fn make(file: &File, from: usize, room: usize) -> io::Result<Self> {
        file.write_all_at(&vec![0; (room - from) * NOTE_LEN], (from * NOTE_LEN) as u64)?;
        let (access, kind) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses an address that nothing else has. The file is this process's own
        // and is cut only when no board is left.
        let start = unsafe { mmap(std::ptr::null_mut(), room * NOTE_LEN, access, kind, file, 0)? };
        let notes = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Board { notes, room })
    }

    #[expect(unsafe_code, reason = "see above")]
    fn write(&self, place: usize, lease: Lease) {
        assert!(place < self.room);
        // SAFETY: there are `room` notes behind the pointer, which is aligned to a page, until it is
        // dropped; any bytes are numbers, and nothing but atomic writes changes them.
        let [key, token] = unsafe { self.notes.add(place).as_ref() };
        // Who dies between the two leaves a lease that was never given, or this one.
        key.store(lease.key.0.to_le(), Ordering::Relaxed);
        token.store(lease.token.0.to_le(), Ordering::Relaxed);
    }
}

// SAFETY: the memory belongs to no thread.
#[expect(unsafe_code, reason = "see above")]
unsafe impl Send for Board {}

impl Drop for Board {
    #[expect(unsafe_code, reason = "see above")]
    fn drop(&mut self) {
        // SAFETY: nothing refers to it any more. It fails for no mapping that was made.
        let _ = unsafe { munmap(self.notes.as_ptr().cast(), self.room * NOTE_LEN) };
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
        assert_eq!(file.as_file().metadata().unwrap().len(), 4096);
    }

    #[test]
    fn any_number_of_attempts_can_have_begun() {
        let (file, mut notes) = notes();
        for key in 1..=5000 {
            notes.begins(lease(key));
        }
        let begun = read(&file);
        assert!((1..=5000).all(|key| begun.contains(lease(key))));
        assert!(!begun.contains(lease(5001)));
        notes.ended((1..=5000).map(lease));
        let length = || file.as_file().metadata().unwrap().len();
        let before = length();
        for key in 6001..=11_000 {
            notes.begins(lease(key));
        }
        assert_eq!(length(), before, "places are not used again");
        assert!(!read(&file).contains(lease(1)));
    }

    #[test]
    fn without_room_for_a_note_whatever_is_held_counts_as_begun() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Cannot be written.
        let mut notes = Notes::new(File::open(file.path()).unwrap());
        notes.begins(lease(1));
        assert_eq!(read(&file), Begun::Anything);
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
