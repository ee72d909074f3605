//! One measure: a contender and its baseline, run in turns, each time on a fresh file.

use std::fs::File;
use std::path::{Path, PathBuf};

use queuectl_core::Durability;
use rusqlite::Connection;

use crate::Result;
use crate::args::Args;
use crate::door;
use crate::figures::{Spread, rate};

/// Where one run takes place.
#[derive(Debug)]
pub struct Bed {
    folder: tempfile::TempDir,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// How many jobs the run is about.
    pub jobs: usize,
}

impl Bed {
    /// The file for the queue. There is none yet.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Times `run`, after everything that was written before has reached the disk: neither side pays
    /// for how its file was filled, nor for what the other left behind.
    pub fn time(&self, run: impl FnOnce() -> Result<()>) -> Result<f64> {
        let restart = "PRAGMA wal_checkpoint(RESTART)";
        Connection::open(self.file())?.query_row(restart, [], |_| Ok(()))?;
        File::open(self.folder.path())?.sync_all()?;
        let (done, took) = door::timed(run);
        done?;
        Ok(rate(self.jobs, took))
    }
}

/// One run: jobs per second, or how it broke its promises.
type Run = Box<dyn Fn(&Bed) -> Result<f64>>;

/// One side of a measure.
pub struct Contender {
    name: String,
    jobs: usize,
    run: Run,
}

impl Contender {
    /// A side that runs `jobs` jobs.
    pub fn new(
        name: impl Into<String>,
        jobs: usize,
        run: impl Fn(&Bed) -> Result<f64> + 'static,
    ) -> Self {
        Contender { name: name.into(), jobs, run: Box::new(run) }
    }

    fn run(&self, durability: Durability, dir: &Path) -> Result<f64> {
        let folder = tempfile::Builder::new().prefix("bench").tempdir_in(dir)?;
        (self.run)(&Bed { folder, durability, jobs: self.jobs })
    }
}

/// A measure: ours, and what it is held against.
pub struct Measure {
    /// Under which durability both sides run. Part of the measure: a rate without it means nothing.
    pub durability: Durability,
    /// Our side.
    pub ours: Contender,
    /// What it is held against.
    pub baseline: Contender,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub name: String,
    /// Under which durability.
    pub durability: Durability,
    /// Our jobs per second.
    pub ours: Spread,
    /// What it is held against.
    pub against: String,
    /// The baseline's jobs per second, unless our side ran alone.
    pub baseline: Option<Spread>,
    /// Of each pair of runs, ours divided by the baseline's. Runs of a pair follow each other, so
    /// what disturbs the machine for longer than that disturbs both.
    pub ratio: Option<[f64; 3]>,
}

impl Measure {
    /// Whether the measure was asked for.
    pub fn is_wanted(&self, args: &Args) -> bool {
        let name = format!("{} {}", self.ours.name, self.durability);
        args.filter.as_ref().is_none_or(|text| name.contains(text))
    }

    /// Runs both sides in turns: first once for nothing, so that caches and the disk are as warm for
    /// the first round as for the last, then `rounds` times.
    ///
    /// # Errors
    ///
    /// If either side fails or loses a job.
    pub fn run(&self, args: &Args) -> Result<Outcome> {
        let (mut ours, mut baseline) = (Vec::new(), Vec::new());
        for round in 0..args.warm_ups + args.rounds {
            let rate_of = |side: &Contender| {
                side.run(self.durability, &args.dir)
                    .map_err(|error| format!("{} ({}): {error}", side.name, self.durability))
            };
            let our_rate = rate_of(&self.ours)?;
            let rate = (!args.alone).then(|| rate_of(&self.baseline)).transpose()?;
            if round >= args.warm_ups {
                ours.push(our_rate);
                baseline.extend(rate);
            }
        }
        let ratios = Spread::of(ours.iter().zip(&baseline).map(|(ours, other)| ours / other));
        Ok(Outcome {
            name: self.ours.name.clone(),
            durability: self.durability,
            ours: Spread::of(ours),
            against: self.baseline.name.clone(),
            baseline: (!args.alone).then(|| Spread::of(baseline)),
            ratio: (!args.alone).then_some([ratios.median, ratios.min, ratios.max]),
        })
    }
}
