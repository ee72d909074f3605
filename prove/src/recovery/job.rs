//! What runs as a command, and what locks a store.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use queuectl_core::{JobKey, Lease, Token};
use queuectl_testkit::history::How;
use rusqlite::Connection;

use crate::storm::task::{HOLDER, WITNESS};
use crate::witness::process::{marked, now, pass};
use crate::witness::{Label, Phase, Record, Witness};

/// What the processes that an attempt leaves are called: a sleep of a length that no one else uses.
pub(super) const SLEEP: &str = "sleep 7779";

/// Longer than any proof.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// A command that leaves processes of every sort behind when its worker is killed, writes down their
/// numbers, and then becomes `job`.
pub(super) fn tree(job: &str) -> String {
    format!(
        "pids=pids.$QUEUECTL_ATTEMPT
         if [ $QUEUECTL_ATTEMPT = 1 ]; then
             {SLEEP} & echo $! >> $pids
             (trap '' TERM; exec {SLEEP}) & echo $! >> $pids
             sh -c '{SLEEP} & echo $! >> $0; wait' $pids &
             setsid sh -c 'echo $$ >> $0; exec {SLEEP}' $pids &
             setsid env -i /bin/sh -c 'echo $$ >> $0; exec {SLEEP}' $pids &
         fi
         {job}"
    )
}

/// The first attempt tells the witness that it runs, and stays. A later one first looks for what
/// earlier ones left: that is told as a failure.
pub(super) fn run() -> Result<ExitCode, Box<dyn Error>> {
    let witness = Witness::open(&PathBuf::from(std::env::var(WITNESS)?))?;
    let holder: u64 = std::env::var(HOLDER)?.parse()?;
    let mark = std::env::var("QUEUECTL_LEASE")?;
    let first = std::env::var("QUEUECTL_ATTEMPT")? == "1";
    let (job, token) = mark.rsplit_once(':').ok_or("a lease without a token")?;
    let (_, key) = job.rsplit_once(':').ok_or("a lease without a key")?;
    let record = |phase| -> Result<Record, Box<dyn Error>> {
        Ok(Record {
            phase,
            label: Label { number: 0, chosen: false },
            lease: Lease { key: JobKey(key.parse()?), token: Token(token.parse()?) },
            holder,
            pid: std::process::id(),
            at: now(),
        })
    };
    let left = if first { Vec::new() } else { left_by_others(job, &mark) };
    witness.write(&[record(Phase::Started)?])?;
    if first {
        pass(FOR_EVER);
    }
    let how = if left.is_empty() { How::Succeeded } else { How::Failed };
    witness.write(&[record(Phase::Ended(how))?])?;
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Processes of earlier attempts of this job: by the mark in their environment, and by the numbers
/// that the earlier attempt wrote down, as far as they still are what they were.
fn left_by_others(job: &str, own: &str) -> Vec<u32> {
    let variable = |value: &str| format!("QUEUECTL_LEASE={value}");
    let mut left = marked(&variable(&format!("{job}:")));
    let ours = marked(&format!("{}\0", variable(own)));
    left.retain(|pid| !ours.contains(pid));
    let pids = fs::read_to_string("pids.1").unwrap_or_default();
    left.extend(pids.lines().filter_map(|line| line.parse().ok()).filter(|pid| is_ours(*pid)));
    left
}

/// Whether a process is still what the one of that number was; the number may have come back.
fn is_ours(pid: u32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim() == SLEEP
}

/// Holds the store's write lock until it is killed. It says when it has it.
pub(super) fn lock(store: &Path) -> Result<(), Box<dyn Error>> {
    let connection = Connection::open(store)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    fs::write(store.with_file_name("locked"), "")?;
    pass(FOR_EVER);
    Ok(())
}
