//! A long-lived program that adds jobs through the library, until it is killed.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use queuectl_core::store::{JobQuery, Sort};
use queuectl_core::{NewJob, SqliteOptions, SqliteStore, State, Store, StoreError};

use super::ledger::{self, Ledger, Line, Said, What};
use super::task::{Kind, Task, Wanted};
use crate::witness::process::{now, pass};

/// No more is added while so many jobs wait: what nobody runs proves nothing.
const BACKLOG_MAX: u64 = 300;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    ledger: PathBuf,
    #[arg(long)]
    seed: u64,
    /// The first of the numbers that it may give to jobs.
    #[arg(long)]
    first: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let lines = ledger::read(&options.ledger)?;
    let ledger = Ledger::open(&options.ledger)?;
    ledger.write(&Line::Began { at: now().0 })?;
    let store = SqliteStore::open(&options.store, SqliteOptions::default())?;
    let prove = std::env::current_exe()?;
    let mut enqueuer = Enqueuer {
        store,
        ledger,
        prove,
        chance: fastrand::Rng::with_seed(options.seed),
        next: options.first,
        recent: Vec::new(),
    };
    if let Some(jobs) = ledger::unanswered(&lines) {
        enqueuer.enqueue(&jobs)?;
    }
    loop {
        enqueuer.step()?;
    }
}

struct Enqueuer {
    store: SqliteStore,
    ledger: Ledger,
    prove: PathBuf,
    chance: fastrand::Rng,
    next: u64,
    /// Chosen ids of jobs that are there.
    recent: Vec<u64>,
}

impl Enqueuer {
    fn step(&mut self) -> Result<(), Box<dyn Error>> {
        pass(Duration::from_millis(self.chance.u64(0..5)));
        let counts = self.store.counts()?;
        let waiting: u64 =
            counts.iter().map(|lane| lane.of(State::Pending) + lane.of(State::Failed)).sum();
        if waiting > BACKLOG_MAX {
            pass(Duration::from_millis(20));
            return Ok(());
        }
        if self.chance.u8(0..10) == 0 {
            return self.purge();
        }
        let len = [1, 1, 1, 2, 5, 40][self.chance.usize(0..6)];
        let quick = len > 5;
        let jobs: Vec<Wanted> = (0..len).map(|_| self.wanted(quick)).collect();
        self.enqueue(&jobs)
    }

    fn wanted(&mut self, quick: bool) -> Wanted {
        let number = self.next;
        self.next += 1;
        let unique = self.chance.u8(0..8) == 0;
        let after = (!unique && !self.recent.is_empty() && self.chance.u8(0..12) == 0)
            .then(|| self.recent[self.chance.usize(0..self.recent.len())]);
        let kind = match self.chance.u8(0..20) {
            _ if quick => Kind::Quick,
            0..=8 => Kind::Quick,
            9..=15 => Kind::Work,
            16..=18 => Kind::Command,
            _ => Kind::Tree,
        };
        let mut wanted = wanted(&mut self.chance, number, kind);
        wanted.unique_key = unique.then(|| format!("key{}", self.chance.u8(0..12)));
        wanted.after = after;
        wanted
    }

    /// Makes the call, and makes it again as long as nobody knows what became of it.
    fn enqueue(&mut self, jobs: &[Wanted]) -> Result<(), Box<dyn Error>> {
        let new: Vec<NewJob> =
            jobs.iter().map(|wanted| wanted.new_job(&self.prove)).collect::<Result<_, _>>()?;
        loop {
            self.asks(What::Enqueue(jobs.to_vec()))?;
            let answer = self.store.enqueue(&new);
            let again = matches!(answer, Err(StoreError::Unknown(_)));
            self.told(match &answer {
                Ok(added) => Said::Enqueued(added.iter().map(|job| job.id.to_string()).collect()),
                Err(error) => refusal(error),
            })?;
            if answer.is_ok() {
                self.recent.extend(jobs.iter().filter(|job| job.chosen).map(|job| job.label));
                let surplus = self.recent.len().saturating_sub(8);
                self.recent.drain(..surplus);
            }
            if !again {
                return Ok(());
            }
        }
    }

    /// Deletes one of the jobs that have ended.
    fn purge(&mut self) -> Result<(), Box<dyn Error>> {
        // Most jobs complete, and leave less behind than those that die.
        let states = match self.chance.bool() {
            true => vec![State::Dead],
            false => vec![State::Completed, State::Dead, State::Cancelled],
        };
        let query = JobQuery { states, sort: Sort::Updated, limit: 20, ..JobQuery::default() };
        let jobs = self.store.jobs(&query)?;
        let Some(job) = self.chance.choice(&jobs) else { return Ok(()) };
        self.asks(What::Purge(job.id.to_string()))?;
        let answer = self.store.purge(std::slice::from_ref(&job.id));
        self.told(answer.map_or_else(|error| refusal(&error), |()| Said::Done))
    }

    fn asks(&self, what: What) -> Result<(), Box<dyn Error>> {
        Ok(self.ledger.write(&Line::Asks { at: now().0, what })?)
    }

    fn told(&self, said: Said) -> Result<(), Box<dyn Error>> {
        Ok(self.ledger.write(&Line::Told { at: now().0, said })?)
    }
}

fn refusal(error: &StoreError) -> Said {
    if matches!(error, StoreError::Unknown(_)) { Said::Unknown } else { Said::Refused }
}

/// A job with everything but its key and those it waits for left to chance.
pub(crate) fn wanted(chance: &mut fastrand::Rng, number: u64, kind: Kind) -> Wanted {
    let chosen = chance.bool();
    let fails = if chance.u8(0..6) == 0 { chance.u32(1..4) } else { 0 };
    let millis = match (kind, chance.u8(0..8)) {
        (Kind::Quick, _) => 0,
        // Long enough that a worker is stopped in the middle of it, and that it runs elsewhere when
        // that one wakes up.
        (Kind::Work, 0) => chance.u64(200..1_500),
        _ => chance.u64(0..30),
    };
    let task = Task {
        label: number,
        chosen,
        millis,
        fails: if kind == Kind::Quick { 0 } else { fails },
        suicide: chance.bool(),
    };
    Wanted {
        label: number,
        chosen,
        queue: if chance.u8(0..4) == 0 { "side" } else { "default" }.to_owned(),
        kind,
        task,
        unique_key: None,
        delay_ms: if chance.u8(0..8) == 0 { chance.u64(1..300) } else { 0 },
        // Kills spend attempts. Some jobs are to end in the dead letter queue, most are not.
        retries: if chance.u8(0..6) == 0 { chance.u32(0..3) } else { 500 },
        after: None,
    }
}
