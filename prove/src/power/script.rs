//! The workload: real processes, several at a time, which do everything that writes.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use queuectl_core::Durability;

use super::expect::{Ack, Ask, Marker, mark};
use crate::tracer::Program;

/// Lanes of steps. The lanes run at the same time, the steps of one lane one after the other.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Runs before everything else.
    pub(super) prelude: Option<Step>,
    pub(super) lanes: Vec<VecDeque<Step>>,
}

/// One process.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) program: Program,
    /// What it is asked for.
    pub(super) asks: Vec<Ask>,
    /// What is acknowledged when it ends with success, besides what it prints.
    pub(super) done: Vec<Ack>,
    /// The jobs that it is to add, in order.
    pub(super) markers: std::vec::IntoIter<Marker>,
}

/// Where things are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) queuectl: PathBuf,
    /// This program.
    pub(super) prove: PathBuf,
    /// The store, in a folder that the first process has to make.
    pub(super) store: PathBuf,
    /// Output of the processes, and the witness of the jobs.
    pub(super) io: PathBuf,
    pub(super) witness: PathBuf,
}

/// Writes a script.
pub(super) struct Author {
    places: Places,
    rng: fastrand::Rng,
    next: Marker,
    files: usize,
}

impl Author {
    pub(super) fn new(places: Places, seed: u64) -> Self {
        Author { places, rng: fastrand::Rng::with_seed(seed), next: 1, files: 0 }
    }

    /// A script at a level of durability. At the default level nothing is configured, so that several
    /// processes make the store at once.
    pub(super) fn script(&mut self, durability: Durability) -> io::Result<Script> {
        let prelude = (durability != Durability::Full)
            .then(|| self.step(&["config", "set", "durability", durability.as_str()]));
        let lanes = vec![
            self.enqueuers()?,
            self.workers(),
            self.operators(),
            VecDeque::from([self.actor(1_000_000)]),
        ];
        Ok(Script { prelude, lanes })
    }

    /// Processes that use the library alone.
    pub(super) fn actors(&mut self) -> Script {
        let lanes = (1..=3).map(|number| VecDeque::from([self.actor(number * 1_000_000)]));
        Script { prelude: None, lanes: lanes.collect() }
    }

    /// Jobs for the default queue: one by one, and many at once.
    fn enqueuers(&mut self) -> io::Result<VecDeque<Step>> {
        let mut lane = VecDeque::new();
        for round in 0..self.rng.usize(6..12) {
            match self.rng.usize(0..4) {
                0 => lane.push_back(self.bulk(round)?),
                1 => {
                    let key = format!("key{}", self.rng.usize(0..2));
                    lane.push_back(self.enqueue(&["--unique-key", &key], ":"));
                }
                2 => {
                    let id = format!("a{round}");
                    lane.push_back(self.enqueue(&["--id", &id, "--priority", "3"], ":"));
                }
                _ => lane.push_back(self.enqueue(&[], ":")),
            }
        }
        Ok(lane)
    }

    /// Workers of the default queue.
    fn workers(&mut self) -> VecDeque<Step> {
        let mut worker = |count| self.step(&["worker", "start", "--drain", "--count", count]);
        ["1", "2", "1", "2", "1"].into_iter().map(&mut worker).collect()
    }

    /// Everything that operators do, on jobs of their own.
    fn operators(&mut self) -> VecDeque<Step> {
        let drain = ["worker", "start", "--drain", "--queue", "c"];
        let ask = |step: Step, ask: Ask| Step { asks: vec![ask], ..step };
        let done = |step: Step, ack: Ack| Step { done: vec![ack], ..step };
        let (c1, c2, c3) = ("c1".to_owned(), "c2".to_owned(), "c3".to_owned());
        let mut lane = VecDeque::from([
            self.enqueue(&["--id", "c1", "--queue", "c", "-r", "0"], "exit 3"),
            self.enqueue(
                &["--id", "c2", "--queue", "c", "-r", "1", "--backoff", "constant:10ms"],
                "echo to be kept; exit 4",
            ),
            self.enqueue(&["--id", "c3", "--queue", "later", "--delay", "1h"], ":"),
            self.enqueue(&["--id", "c4", "--queue", "later", "--after", "c3"], ":"),
            self.step(&drain),
            ask(self.step(&["retry", "c1"]), Ask::Retry(c1.clone())),
            ask(self.step(&["cancel", "c3"]), Ask::Cancel(c3.clone())),
            ask(self.step(&["retry", "c3"]), Ask::Retry(c3)),
            done(self.step(&["queue", "pause", "later"]), Ack::Paused("later".into(), true)),
            self.step(&drain),
        ]);
        let purge = vec![c1, c2];
        let purge = Step {
            asks: vec![Ask::Purge(purge.clone())],
            done: vec![Ack::Purged(purge)],
            ..self.step(&["dlq", "purge", "c1", "c2"])
        };
        lane.push_back(purge);
        let value = self.rng.u32(4..9);
        lane.push_back(done(
            self.step(&["config", "set", "max-retries", &value.to_string()]),
            Ack::MaxRetries(value),
        ));
        let resume =
            done(self.step(&["queue", "resume", "later"]), Ack::Paused("later".into(), false));
        lane.push_back(ask(resume, Ask::Resume("later".into())));
        lane
    }

    /// A program with the library in it.
    fn actor(&mut self, markers: Marker) -> Step {
        let seed = self.rng.u64(..).to_string();
        let mut step = self.step(&[]);
        step.program.path.clone_from(&self.places.prove);
        step.program.args = ["power-actor".into(), "--store".into()]
            .into_iter()
            .chain([self.places.store.display().to_string(), "--seed".into(), seed])
            .chain(["--markers".into(), markers.to_string()])
            .collect();
        step
    }

    fn enqueue(&mut self, options: &[&str], script: &str) -> Step {
        let (marker, command) = self.job(script);
        let mut args = vec!["enqueue"];
        args.extend(options);
        args.extend(["--", "sh", "-c", &command]);
        let mut step = self.step(&args);
        step.asks = vec![Ask::Enqueue(vec![marker])];
        step.markers = vec![marker].into_iter();
        step
    }

    /// Many jobs on the standard input.
    fn bulk(&mut self, round: usize) -> io::Result<Step> {
        let (mut markers, mut lines) = (Vec::new(), String::new());
        for number in 0..self.rng.usize(5..12) {
            let (marker, command) = self.job(":");
            markers.push(marker);
            let job = serde_json::json!({ "id": format!("b{round}.{number}"), "command": command });
            let _ = writeln!(lines, "{job}");
        }
        let mut step = self.step(&["enqueue", "-"]);
        let path = step.program.stdout.with_extension("in");
        std::fs::write(&path, lines)?;
        step.program.stdin = Some(path);
        step.asks = vec![Ask::Enqueue(markers.clone())];
        step.markers = markers.into_iter();
        Ok(step)
    }

    /// A command that leaves a witness, and how it is known.
    fn job(&mut self, script: &str) -> (Marker, String) {
        let marker = self.next;
        self.next += 1;
        let witness = self.places.witness.display();
        (marker, format!(": '{}'; echo $QUEUECTL_JOB_ID >>{witness}; {script}", mark(marker)))
    }

    fn step(&mut self, args: &[&str]) -> Step {
        let store = ["--store".to_owned(), self.places.store.display().to_string()];
        // Each process has output files of its own.
        self.files += 1;
        let name = self.places.io.join(self.files.to_string());
        Step {
            program: Program {
                path: self.places.queuectl.clone(),
                args: store.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect(),
                dir: self.places.io.clone(),
                stdin: None,
                stdout: name.with_extension("out"),
                stderr: name.with_extension("err"),
            },
            asks: Vec::new(),
            done: Vec::new(),
            markers: Vec::new().into_iter(),
        }
    }
}

/// The folder in which a history takes place.
pub(super) fn places(folder: &Path, queuectl: &Path, prove: &Path) -> io::Result<Places> {
    let io = folder.join("io");
    std::fs::create_dir_all(&io)?;
    std::fs::create_dir_all(folder.join("disk"))?;
    Ok(Places {
        queuectl: queuectl.to_owned(),
        prove: prove.to_owned(),
        store: folder.join("disk").join("made").join("queue.db"),
        witness: folder.join("io").join(super::record::WITNESS),
        io,
    })
}
