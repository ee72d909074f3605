//! One output stream of a command: read to its end, kept within limits, copied to a log file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::folder::{Entry, Folder};
use crate::attempt::Captured;
use crate::id::Lease;

/// How much is read at once: as much as a pipe holds.
pub(super) const READ_LEN: usize = 64 * 1024;

/// The reading end of one stream and everything that is kept of it.
#[derive(Debug)]
pub(super) struct Stream {
    /// `None` after the end of the stream, or when it was given up.
    pipe: Option<File>,
    capture: Capture,
    log: Log,
    incomplete: bool,
}

impl Stream {
    pub(super) fn new(pipe: OwnedFd, entry: Entry, output_limit: u64, log_limit: u64) -> Self {
        Stream {
            pipe: Some(pipe.into()),
            capture: Capture::new(usize::try_from(output_limit).unwrap_or(usize::MAX)),
            log: Log { entry, file: None, room: log_limit },
            incomplete: false,
        }
    }

    /// What to wait for; `None` when there is nothing more to come.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there, once. Blocks if nothing is.
    pub(super) fn read(&mut self, buffer: &mut [u8], folder: &Folder, lease: Lease) {
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(buffer) {
            Ok(0) => self.pipe = None,
            Ok(len) => {
                self.capture.push(&buffer[..len]);
                self.log.push(&buffer[..len], folder, lease);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.give_up(),
        }
    }

    /// Does not wait for the end of the stream any longer.
    pub(super) fn give_up(&mut self) {
        self.incomplete |= self.pipe.take().is_some();
    }

    /// What was kept. The log file goes if it tells nothing that the record does not.
    pub(super) fn finish(&mut self, folder: &Folder, lease: Lease) -> Captured {
        self.give_up();
        let capture = std::mem::replace(&mut self.capture, Capture::new(0));
        let captured = capture.finish(self.incomplete);
        if captured.omitted() == 0 && self.log.file.is_some() {
            // A file that stays costs room; nothing else depends on it.
            let _ = folder.delete(self.log.entry, lease);
        }
        captured
    }
}

/// The head and the tail of a stream of any length, in memory of a fixed size.
#[derive(Debug)]
struct Capture {
    limit: usize,
    /// The whole stream while it fits into the limit, then its first half of it.
    head: Vec<u8>,
    /// Empty while the head holds everything; then a ring, full, with its oldest byte at `oldest`.
    tail: Vec<u8>,
    oldest: usize,
    total: u64,
}

impl Capture {
    fn new(limit: usize) -> Self {
        Capture { limit, head: Vec::new(), tail: Vec::new(), oldest: 0, total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let all_in_head = self.total <= self.limit as u64;
        self.total += bytes.len() as u64;
        if !all_in_head {
            return self.push_tail(bytes);
        }
        let room = self.limit - self.head.len();
        let (fits, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(fits);
        if !rest.is_empty() {
            self.tail = self.head.split_off(self.limit / 2);
            self.push_tail(rest);
        }
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let len = self.tail.len();
        let bytes = &bytes[bytes.len().saturating_sub(len)..];
        let (first, second) = bytes.split_at(bytes.len().min(len - self.oldest));
        self.tail[self.oldest..self.oldest + first.len()].copy_from_slice(first);
        self.tail[..second.len()].copy_from_slice(second);
        self.oldest = (self.oldest + bytes.len()) % len.max(1);
    }

    fn finish(mut self, incomplete: bool) -> Captured {
        self.tail.rotate_left(self.oldest);
        Captured { head: self.head, tail: self.tail, total: self.total, incomplete }
    }
}

/// The log file of a stream. Made with the first byte, so that a silent command costs none.
#[derive(Debug)]
struct Log {
    entry: Entry,
    file: Option<File>,
    /// How many bytes more it may get.
    room: u64,
}

impl Log {
    fn push(&mut self, bytes: &[u8], folder: &Folder, lease: Lease) {
        let room = usize::try_from(self.room).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        if bytes.is_empty() {
            return;
        }
        self.room -= bytes.len() as u64;
        if self.write(bytes, folder, lease).is_err() {
            // A full disk is no reason to fail a command that runs well: the log ends here, and
            // the record has the head and the tail all the same.
            self.room = 0;
        }
    }

    fn write(&mut self, bytes: &[u8], folder: &Folder, lease: Lease) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(folder.create(self.entry, lease)?),
        };
        file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{JobKey, Token};

    const LEASE: Lease = Lease { key: JobKey(1), token: Token(1) };

    #[test]
    fn head_and_tail_are_right_for_every_length_and_every_cut() {
        let stream: Vec<u8> = (0..60).collect();
        for limit in 0..20 {
            for len in 0..stream.len() {
                for piece in 1..25 {
                    let mut capture = Capture::new(limit);
                    let stream = &stream[..len];
                    stream.chunks(piece).for_each(|bytes| capture.push(bytes));
                    let kept = capture.finish(false);
                    assert_eq!(kept.total, len as u64);
                    if len <= limit {
                        assert_eq!(kept.head, stream);
                        assert!(kept.tail.is_empty());
                    } else {
                        assert_eq!(kept.head, stream[..limit / 2]);
                        assert_eq!(kept.tail, stream[len - (limit - limit / 2)..]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_log_holds_its_limit_and_not_a_byte_more() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let mut log = Log { entry: Entry::Stdout, file: None, room: 5 };
        for piece in ["ab", "cd", "ef", "gh"] {
            log.push(piece.as_bytes(), &folder, LEASE);
        }
        let text = std::fs::read_to_string(home.path().join("1-1.out")).unwrap();
        assert_eq!(text, "abcde");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_given_up_in_silence() {
        let mut log = Log {
            entry: Entry::Stdout,
            file: Some(File::options().write(true).open("/dev/full").unwrap()),
            room: 1000,
        };
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        log.push(b"lost", &folder, LEASE);
        assert_eq!(log.room, 0);
    }
}
