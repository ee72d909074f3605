//! What the slots of one storm share.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queuectl_core::{JobId, SqliteOptions, SqliteStore};
use queuectl_testkit::history::{Call, Fault, ProcessId, Sighting};

use super::task::{HOLDER, WITNESS};
use crate::beside;
use crate::witness::process::{Live, Target};

/// How many ids the operators choose among.
const KNOWN_MAX: usize = 64;

/// The place, and everything that happens there.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) folder: PathBuf,
    pub(crate) seed: u64,
    kills: u64,
    killed: AtomicU64,
    over: AtomicBool,
    next_process: AtomicU64,
    next_label: AtomicU64,
    living: Mutex<HashMap<u64, Arc<Target>>>,
    seen: Mutex<Seen>,
    queuectl: PathBuf,
    pub(crate) prove: PathBuf,
}

/// What the slots have seen and done.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: Vec<Call>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) sightings: Vec<Sighting>,
    /// Jobs that were there a moment ago, to be chosen among.
    pub(crate) known: Vec<JobId>,
    /// What a process of the storm did that none should: a wrong exit, say.
    pub(crate) strange: Vec<String>,
    pub(crate) at_once: u64,
    pub(crate) stops: u64,
}

/// A process of the storm that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) killed: bool,
}

impl Arena {
    pub(crate) fn new(folder: &Path, seed: u64, kills: u64) -> io::Result<Self> {
        let arena = Arena {
            folder: folder.to_owned(),
            seed,
            kills,
            killed: AtomicU64::new(0),
            over: AtomicBool::new(false),
            next_process: AtomicU64::new(1),
            next_label: AtomicU64::new(1),
            living: Mutex::default(),
            seen: Mutex::default(),
            queuectl: beside::queuectl()?,
            prove: std::env::current_exe()?,
        };
        let options = SqliteOptions { create: true, ..SqliteOptions::default() };
        SqliteStore::open(arena.store(), options).map_err(io::Error::other)?;
        Ok(arena)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("queue.db")
    }

    pub(crate) fn witness(&self) -> PathBuf {
        self.folder.join("witness")
    }

    pub(crate) fn ledger(&self, slot: usize) -> PathBuf {
        self.folder.join(format!("ledger.{slot}"))
    }

    /// A number for the next process.
    pub(crate) fn process(&self) -> u64 {
        self.next_process.fetch_add(1, Ordering::Relaxed)
    }

    /// The first of as many numbers of jobs as one process can use.
    pub(crate) fn labels(&self) -> u64 {
        self.next_label.fetch_add(100_000, Ordering::Relaxed)
    }

    /// `queuectl` on this store.
    pub(crate) fn queuectl(&self, process: u64) -> io::Result<Command> {
        let mut command = self.program(&self.queuectl, process)?;
        command.arg("--store").arg(self.store());
        Ok(command)
    }

    /// A part of this program.
    pub(crate) fn part(&self, part: &str, process: u64) -> io::Result<Command> {
        let mut command = self.own(&["storm-part", part], process)?;
        command.arg("--store").arg(self.store());
        Ok(command)
    }

    /// This program.
    pub(crate) fn own(&self, words: &[&str], process: u64) -> io::Result<Command> {
        let mut command = self.program(&self.prove, process)?;
        command.args(words);
        Ok(command)
    }

    fn program(&self, path: &Path, process: u64) -> io::Result<Command> {
        let mut command = benches::door::companion(path);
        let log = OpenOptions::new().append(true).create(true).open(self.folder.join("stderr"))?;
        command
            .env(WITNESS, self.witness())
            .env(HOLDER, process.to_string())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Ok(command)
    }

    /// Starts a process, has `attend` do with it what it wants, and waits for its end.
    pub(crate) fn live(
        &self,
        process: u64,
        command: &mut Command,
        attend: impl FnOnce(&Target),
    ) -> io::Result<Ended> {
        let mut live = Live::start(command)?;
        lock(&self.living).insert(process, Arc::clone(&live.target));
        if self.is_over() {
            live.target.kill();
        }
        attend(&live.target);
        // Whoever writes to a pipe must not wait for it to be read; it writes little.
        let _ = live.child.stdin.take();
        let ended = live.finish();
        lock(&self.living).remove(&process);
        let (status, killed_at) = ended?;
        if let Some(at) = killed_at {
            self.killed.fetch_add(1, Ordering::Relaxed);
            self.seen().faults.push(Fault::Killed { process: ProcessId(process), at });
        }
        Ok(Ended { status, killed: killed_at.is_some() })
    }

    pub(crate) fn kill_all(&self) {
        let living: Vec<Arc<Target>> = lock(&self.living).values().cloned().collect();
        for target in living {
            target.kill();
        }
    }

    /// Whether enough have been killed.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.killed() >= self.kills
    }

    /// Something went wrong that no storm should bring about: no more of it.
    pub(crate) fn give_up(&self, why: String) {
        self.seen().strange.push(why);
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn killed(&self) -> u64 {
        self.killed.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub(crate) fn take_seen(&self) -> Seen {
        std::mem::take(&mut *self.seen())
    }
}

impl Seen {
    pub(crate) fn knows(&mut self, ids: impl IntoIterator<Item = JobId>) {
        self.known.extend(ids);
        let surplus = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..surplus);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
