//! One output of an attempt: a log file that grows while the attempt runs, and what the record keeps
//! of it when it has ended.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use queuectl_core::Captured;

use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Ui;

/// How much of a file is read at once.
const CHUNK_LEN: u64 = 64 << 10;

/// Where the bytes go.
pub(super) type Emit<'a> = dyn FnMut(&[u8]) -> Result<(), CliError> + 'a;

/// An output, and how much of it was printed.
#[derive(Debug)]
pub(super) struct Stream {
    path: PathBuf,
    file: Option<File>,
    printed: u64,
}

impl Stream {
    /// The output whose log file is at `path`, if it has one.
    pub(super) fn new(path: PathBuf) -> Self {
        Stream { path, file: None, printed: 0 }
    }

    /// Prints what the file has more than was printed; when the attempt has ended, to the last byte.
    /// A file that is not there has nothing.
    pub(super) fn print_new(&mut self, emit: &mut Emit<'_>, ended: bool) -> Result<(), CliError> {
        // Once opened it is kept: the worker deletes a file whose content is all in the record.
        if self.file.is_none() {
            self.file = open(&self.path);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let cannot = |error: std::io::Error| {
            CliError::new(Exit::FAILED, "cannot read the log file").because(&error)
        };
        loop {
            file.seek(SeekFrom::Start(self.printed)).map_err(cannot)?;
            let mut chunk = Vec::new();
            file.take(CHUNK_LEN).read_to_end(&mut chunk).map_err(cannot)?;
            // A character whose bytes have not all been written yet waits for the rest.
            let whole = match whole_characters(&chunk) {
                0 if ended => chunk.len(),
                whole => whole,
            };
            if whole == 0 {
                return Ok(());
            }
            emit(&chunk[..whole])?;
            self.printed += whole as u64;
        }
    }

    /// Prints the end of an attempt that has ended: from the file, if it has more than the record.
    pub(super) fn print_rest(
        &mut self,
        ui: &Ui,
        emit: &mut Emit<'_>,
        kept: &Captured,
    ) -> Result<(), CliError> {
        if self.printed > 0 || has_more(&self.path, kept) {
            self.print_new(emit, true)?;
            if kept.total > self.printed {
                ui.tell(format_args!("… {} bytes more were not kept", kept.total - self.printed));
            }
            return Ok(());
        }
        emit(&kept.head)?;
        if kept.omitted() > 0 {
            ui.tell(format_args!("\n… {} bytes were not kept …", kept.omitted()));
        }
        emit(&kept.tail)
    }
}

/// Whether the log file has more of an output than the record.
fn has_more(path: &Path, kept: &Captured) -> bool {
    let recorded = (kept.head.len() + kept.tail.len()) as u64;
    kept.omitted() > 0
        && std::fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() > recorded)
}

/// Opens a log file, and nothing else that may have been put in its place.
fn open(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// How many of the bytes are whole characters, or can never become one.
fn whole_characters(bytes: &[u8]) -> usize {
    for (back, byte) in bytes.iter().rev().enumerate().take(3) {
        let takes = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let there = back + 1;
        return if takes > there { bytes.len() - there } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_torn_apart() {
        assert_eq!(whole_characters(b"abcdefg"), 7);
        assert_eq!(whole_characters("abcdé".as_bytes()), 6);
        assert_eq!(whole_characters(&"abcdé".as_bytes()[..5]), 4);
        assert_eq!(whole_characters(&"éé".as_bytes()[..3]), 2);
        assert_eq!(whole_characters(&"日😀".as_bytes()[..6]), 3);
        assert_eq!(whole_characters(b"abcd\xff"), 5);
        assert_eq!(whole_characters(b"\x80\x80\x80\x80"), 4);
        assert_eq!(whole_characters(b""), 0);
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        let link = dir.path().join("log");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(open(&link).is_none());
        assert!(open(&secret).is_some());
    }
}
