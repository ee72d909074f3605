//! What the long-lived enqueuers asked for and were told, written down by themselves.
//!
//! Each has a file of its own, of one JSON object a line, and its successors go on in it after it was
//! killed. A line that a kill has torn is one that was not written: a call whose line is not there was
//! never made, and one whose answer is not there has none.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use queuectl_testkit::history::{Answer, Call, Moment, Request};
use serde::{Deserialize, Serialize};

use super::task::Wanted;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Line {
    /// A process begins: whoever wrote before it is dead.
    Began { at: i64 },
    /// Before a call.
    Asks { at: i64, what: What },
    /// After its answer.
    Told { at: i64, said: Said },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum What {
    Enqueue(Vec<Wanted>),
    Purge(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The ids.
    Enqueued(Vec<String>),
    Done,
    Refused,
    Unknown,
}

/// Writes lines.
#[derive(Debug)]
pub(crate) struct Ledger(File);

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Ledger)
    }

    pub(crate) fn write(&self, line: &Line) -> io::Result<()> {
        // A newline before it too: what stands there may be the half of a line.
        let text = format!("\n{}\n", serde_json::to_string(line)?);
        (&self.0).write_all(text.as_bytes())
    }
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// The call that the last writer died in, if it may be made again: every job of it has an id or a
/// unique key.
pub(crate) fn unanswered(lines: &[Line]) -> Option<Vec<Wanted>> {
    let last = lines.iter().rev().find(|line| !matches!(line, Line::Began { .. }));
    match last {
        Some(Line::Asks { what: What::Enqueue(jobs), .. })
            if jobs.iter().all(|job| job.chosen || job.unique_key.is_some()) =>
        {
            Some(jobs.clone())
        }
        _ => None,
    }
}

/// The calls of a ledger. What was under way when a writer died was over when the next one began.
pub(crate) fn calls(lines: &[Line]) -> Result<Vec<Call>, queuectl_core::InvalidName> {
    let mut calls = Vec::new();
    let mut lines = lines.iter().peekable();
    while let Some(line) = lines.next() {
        let Line::Asks { at, what } = line else { continue };
        let asked_at = Moment(*at);
        let mut request = match what {
            What::Enqueue(jobs) => Request::Enqueue(
                jobs.iter().map(|wanted| wanted.asked(asked_at)).collect::<Result<_, _>>()?,
            ),
            What::Purge(id) => Request::Purge(vec![id.parse()?]),
        };
        let (over_at, answer) = match lines.peek() {
            Some(Line::Told { at, said }) => {
                let answer = match said {
                    Said::Enqueued(ids) => {
                        if let Request::Enqueue(jobs) = &mut request {
                            for (job, id) in jobs.iter_mut().zip(ids) {
                                job.id = Some(id.parse()?);
                            }
                        }
                        Answer::Done
                    }
                    Said::Done => Answer::Done,
                    Said::Refused => Answer::Refused,
                    Said::Unknown => Answer::Unknown,
                };
                (Moment(*at), answer)
            }
            Some(Line::Began { at } | Line::Asks { at, .. }) => (Moment(*at), Answer::Unknown),
            None => (Moment::NEVER, Answer::Unknown),
        };
        calls.push(Call { asked_at, over_at, answer, request });
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_an_answer_is_unknown_and_a_torn_line_was_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let purge = |at| Line::Asks { at, what: What::Purge("q1".to_owned()) };
        let ledger = Ledger::open(&path).unwrap();
        ledger.write(&Line::Began { at: 1 }).unwrap();
        ledger.write(&purge(2)).unwrap();
        ledger.write(&Line::Told { at: 3, said: Said::Refused }).unwrap();
        ledger.write(&purge(4)).unwrap();
        (&ledger.0).write_all(b"\n{\"Told\":{\"at\":5,").unwrap();
        let next = Ledger::open(&path).unwrap();
        next.write(&Line::Began { at: 6 }).unwrap();
        next.write(&purge(7)).unwrap();
        let calls = calls(&read(&path).unwrap()).unwrap();
        let seen: Vec<_> =
            calls.iter().map(|call| (call.asked_at.0, call.over_at, call.answer)).collect();
        assert_eq!(
            seen,
            [
                (2, Moment(3), Answer::Refused),
                (4, Moment(6), Answer::Unknown),
                (7, Moment::NEVER, Answer::Unknown),
            ]
        );
    }
}
