//! What stands outside of the store and sees what runs: records in a file, and the processes.
//!
//! The witness must survive the very kills that it is to tell of. A record has a fixed size and is
//! written by one `write` to a file opened for appending: the kernel has it, or not, and no reader
//! takes a torn one for whole.

pub(crate) mod process;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queuectl_core::{JobId, JobKey, Lease, Name, Token};
use queuectl_testkit::history::{How, Moment};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify;

/// The size of a record. It divides a page, so that no record lies on two of them.
const LEN: usize = 64;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A claim was answered; the time is that before the call.
    Claimed,
    /// An execution begins.
    Started,
    /// It ends.
    Ended(How),
}

/// The job of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Label {
    /// The number under which it was asked for.
    pub(crate) number: u64,
    /// Whether that is its id too, or the store was to give it one.
    pub(crate) chosen: bool,
}

impl Label {
    /// The id of the job with this label and, if the store gave it one, this key.
    pub(crate) fn id(self, key: JobKey) -> JobId {
        self.chosen_id().unwrap_or(JobId::Auto(key))
    }

    /// The id, if it was chosen.
    pub(crate) fn chosen_id(self) -> Option<JobId> {
        let name = || Name::new(&format!("s{}", self.number)).ok();
        self.chosen.then(name).flatten().map(JobId::Chosen)
    }
}

/// One thing that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) phase: Phase,
    pub(crate) label: Label,
    pub(crate) lease: Lease,
    /// The number of the worker's process among all that were started.
    pub(crate) holder: u64,
    /// The process that did the work.
    pub(crate) pid: u32,
    pub(crate) at: Moment,
}

impl Record {
    fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let (phase, how) = match self.phase {
            Phase::Claimed => (1, 0),
            Phase::Started => (2, 0),
            Phase::Ended(How::Succeeded) => (3, 1),
            Phase::Ended(How::Failed) => (3, 2),
            Phase::Ended(How::LeaseLost) => (3, 3),
            Phase::Ended(How::GaveUp) => (3, 4),
        };
        bytes[8] = phase;
        bytes[9] = how;
        bytes[10] = u8::from(self.label.chosen);
        bytes[12..16].copy_from_slice(&self.pid.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.holder.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.label.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.lease.key.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.lease.token.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.at.0.to_le_bytes());
        let sum = checksum(&bytes[8..]);
        bytes[..8].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if checksum(&bytes[8..]) != word(bytes, 0) {
            return None;
        }
        let phase = match (bytes[8], bytes[9]) {
            (1, 0) => Phase::Claimed,
            (2, 0) => Phase::Started,
            (3, 1) => Phase::Ended(How::Succeeded),
            (3, 2) => Phase::Ended(How::Failed),
            (3, 3) => Phase::Ended(How::LeaseLost),
            (3, 4) => Phase::Ended(How::GaveUp),
            _ => return None,
        };
        Some(Record {
            phase,
            label: Label { number: word(bytes, 24), chosen: bytes[10] == 1 },
            lease: Lease {
                key: JobKey(word(bytes, 32).cast_signed()),
                token: Token(word(bytes, 40).cast_signed()),
            },
            holder: word(bytes, 16),
            pid: (word(bytes, 8) >> 32) as u32,
            at: Moment(word(bytes, 48).cast_signed()),
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// FNV-1a: enough to tell a record from what a crash left of one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Writes records.
#[derive(Debug)]
pub(crate) struct Witness(File);

impl Witness {
    /// Opens the file, and makes it if there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Witness)
    }

    /// Writes records, in one call.
    pub(crate) fn write(&self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.to_bytes()).collect();
        let written = (&self.0).write(&bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// All records of a file, in the order in which they were written, and how many were torn.
pub(crate) fn read(path: &Path) -> io::Result<(Vec<Record>, usize)> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let whole = bytes.chunks_exact(LEN);
    let mut torn = usize::from(!whole.remainder().is_empty());
    let mut records = Vec::with_capacity(bytes.len() / LEN);
    for chunk in whole {
        match Record::from_bytes(chunk) {
            Some(record) => records.push(record),
            None => torn += 1,
        }
    }
    Ok((records, torn))
}

/// Follows a witness's file: waits for records, woken by each write.
#[derive(Debug)]
pub(crate) struct Watcher {
    path: PathBuf,
    notify: OwnedFd,
    /// How many records have been looked at.
    seen: usize,
}

impl Watcher {
    /// Follows the file from its beginning; makes it if there is none.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Witness::open(path)?;
        let notify = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&notify, path, inotify::WatchFlags::MODIFY)?;
        Ok(Watcher { path: path.to_owned(), notify, seen: 0 })
    }

    /// The first record not yet looked at for which `look` has an answer. Those before it are passed
    /// over.
    pub(crate) fn until<T>(
        &mut self,
        at_most: Duration,
        mut look: impl FnMut(&Record) -> Option<T>,
    ) -> io::Result<T> {
        let until = process::now().plus(at_most);
        loop {
            let (records, _) = read(&self.path)?;
            while let Some(record) = records.get(self.seen) {
                self.seen += 1;
                if let Some(found) = look(record) {
                    return Ok(found);
                }
            }
            let left = until.0 - process::now().0;
            let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
            let timeout = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&self.notify, PollFlags::IN)];
            if rustix::event::poll(&mut fds, timeout.as_ref())? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // What the notes say is of no interest, only that there were some.
            rustix::io::read(&self.notify, &mut [0; 4096])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: Phase) -> Record {
        Record {
            phase,
            label: Label { number: 7 << 40, chosen: true },
            lease: Lease { key: JobKey(12), token: Token(3) },
            holder: 9,
            pid: 31_999,
            at: Moment(123_456_789_012),
        }
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        assert_eq!(read(&path).unwrap(), (Vec::new(), 0));
        let hows = [How::Succeeded, How::Failed, How::LeaseLost, How::GaveUp];
        let phases = [Phase::Claimed, Phase::Started].into_iter().chain(hows.map(Phase::Ended));
        let records: Vec<Record> = phases.map(record).collect();
        Witness::open(&path).unwrap().write(&records[..2]).unwrap();
        Witness::open(&path).unwrap().write(&records[2..]).unwrap();
        assert_eq!(read(&path).unwrap(), (records.clone(), 0));

        let mut bytes = std::fs::read(&path).unwrap();
        bytes[LEN + 20] ^= 1;
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, bytes).unwrap();
        let (whole, torn) = read(&path).unwrap();
        assert_eq!(torn, 2);
        assert_eq!(whole, [records[0], records[2], records[3], records[4]]);
    }
}
