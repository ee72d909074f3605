//! One measure: our side and a baseline, run in turns, each time on a fresh file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queuectl_core::Durability;
use rusqlite::Connection;

use crate::Result;
use crate::args::Args;
use crate::door;
use crate::figures::{Spread, Unit, rate};

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
    /// A folder of the run's own, that is removed after it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file for the queue. There is none yet.
    pub fn file(&self) -> PathBuf {
        self.folder().join("queue.db")
    }

    /// The rate at which `run` does the bed's jobs on the bed's file; see [`timed_on`].
    pub fn time(&self, run: impl FnOnce() -> Result<()>) -> Result<f64> {
        let ((), took) = timed_on(&self.file(), run)?;
        Ok(rate(self.jobs, took))
    }
}

/// Times `run` on a file, after everything that was written to it before has reached the disk: neither
/// side pays for how its file was filled, nor for what the other left behind.
pub fn timed_on<T>(file: &Path, run: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let restart = "PRAGMA wal_checkpoint(RESTART)";
    Connection::open(file)?.query_row(restart, [], |_| Ok(()))?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    let (done, took) = door::timed(run);
    Ok((done?, took))
}

/// What one run gives: a figure for each [`Figure`] of its measure, in their order.
#[derive(Debug)]
pub struct Readings(Vec<f64>);

impl From<f64> for Readings {
    fn from(only: f64) -> Self {
        Readings(vec![only])
    }
}

impl<const N: usize> From<[f64; N]> for Readings {
    fn from(all: [f64; N]) -> Self {
        Readings(all.to_vec())
    }
}

/// What a run gives, or how it broke its promises.
type Run = Box<dyn Fn(&Bed) -> Result<Readings>>;

/// One side of a measure.
struct Side {
    name: String,
    jobs: usize,
    run: Run,
}

impl Side {
    fn new<R: Into<Readings>>(
        name: impl Into<String>,
        jobs: usize,
        run: impl Fn(&Bed) -> Result<R> + 'static,
    ) -> Self {
        Side { name: name.into(), jobs, run: Box::new(move |bed| run(bed).map(Into::into)) }
    }

    fn run(&self, durability: Durability, dir: &Path, figures: usize) -> Result<Vec<f64>> {
        let folder = tempfile::Builder::new().prefix("queuectl-bench-").tempdir_in(dir)?;
        let Readings(read) = (self.run)(&Bed { folder, durability, jobs: self.jobs })?;
        // A baseline may know only the first of them.
        if read.is_empty() || read.len() > figures {
            return Err(format!("{} figures where there are {figures}", read.len()).into());
        }
        Ok(read)
    }
}

/// One figure of a measure.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    of: &'static str,
    unit: Unit,
    goal: Option<Goal>,
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Ours, divided by the baseline's, is no less than this.
    RatioAtLeast(f64),
    /// Ours, divided by the baseline's, is no more than this.
    RatioAtMost(f64),
    /// Ours is no less than this.
    AtLeast(f64),
    /// Ours is no more than this.
    AtMost(f64),
}

impl Figure {
    /// A figure; `of` says which one, where a measure has several.
    pub const fn new(of: &'static str, unit: Unit) -> Self {
        Figure { of, unit, goal: None }
    }

    /// The rate, of a measure that has nothing else.
    pub const RATE: Figure = Figure::new("", Unit::JobsPerSecond);

    /// The same figure, with what it is to reach.
    #[must_use]
    pub const fn to_reach(self, goal: Goal) -> Self {
        Figure { goal: Some(goal), ..self }
    }
}

/// A measure: our side, what it is held against, and the figures that both give.
pub struct Measure {
    /// Under which durability both sides run. Part of the measure: a rate without it means nothing.
    durability: Durability,
    ours: Side,
    baseline: Option<Side>,
    figures: Vec<Figure>,
}

/// One line of the table.
#[derive(Debug)]
pub struct Outcome {
    /// What was measured.
    pub name: String,
    /// Under which durability.
    pub durability: Durability,
    /// In what it is told.
    pub unit: Unit,
    /// Our figure.
    pub ours: Spread,
    /// What it is held against, and its figure.
    pub baseline: Option<(String, Spread)>,
    /// Of each pair of runs, ours divided by the baseline's. Runs of a pair follow each other, so
    /// what disturbs the machine for longer than that disturbs both.
    pub ratio: Option<Spread>,
    /// What is to be reached.
    pub goal: Option<Goal>,
}

impl Outcome {
    /// Whether the median is what it should be; `None` if there is nothing to reach, or nothing to
    /// hold it against.
    pub fn is_reached(&self) -> Option<bool> {
        let ratio = self.ratio.map(|ratio| ratio.median);
        match self.goal? {
            Goal::RatioAtLeast(bound) => ratio.map(|ratio| ratio >= bound),
            Goal::RatioAtMost(bound) => ratio.map(|ratio| ratio <= bound),
            Goal::AtLeast(bound) => Some(self.ours.median >= bound),
            Goal::AtMost(bound) => Some(self.ours.median <= bound),
        }
    }
}

impl Measure {
    /// A measure of one figure, the rate, in which our side runs `jobs` jobs.
    pub fn new<R: Into<Readings>>(
        name: impl Into<String>,
        durability: Durability,
        jobs: usize,
        run: impl Fn(&Bed) -> Result<R> + 'static,
    ) -> Self {
        let ours = Side::new(name, jobs, run);
        Measure { durability, ours, baseline: None, figures: vec![Figure::RATE] }
    }

    /// What it is held against.
    #[must_use]
    pub fn against<R: Into<Readings>>(
        mut self,
        name: impl Into<String>,
        jobs: usize,
        run: impl Fn(&Bed) -> Result<R> + 'static,
    ) -> Self {
        self.baseline = Some(Side::new(name, jobs, run));
        self
    }

    /// What a run of it gives.
    #[must_use]
    pub fn gives(mut self, figures: impl Into<Vec<Figure>>) -> Self {
        self.figures = figures.into();
        self
    }

    /// The same measure of one rate, with what it is to reach.
    #[must_use]
    pub fn to_reach(self, goal: Goal) -> Self {
        self.gives([Figure::RATE.to_reach(goal)])
    }

    /// Whether the measure was asked for.
    pub fn is_wanted(&self, args: &Args) -> bool {
        let against = self.baseline.as_ref().map_or("", |side| &side.name);
        let name = format!("{} {}", self.ours.name, self.durability);
        args.filter.as_ref().is_none_or(|text| name.contains(text) || against.contains(text))
    }

    /// Runs both sides in turns: first once for nothing, so that caches and the disk are as warm for
    /// the first round as for the last, then `rounds` times. Gives a line for each figure.
    ///
    /// # Errors
    ///
    /// If either side fails or loses a job.
    pub fn run(&self, args: &Args) -> Result<Vec<Outcome>> {
        let baseline = self.baseline.as_ref().filter(|_| !args.alone);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..args.warm_ups + args.rounds {
            let read = |side: &Side| {
                side.run(self.durability, &args.dir, self.figures.len())
                    .map_err(|error| format!("{} ({}): {error}", side.name, self.durability))
            };
            let our_figures = read(&self.ours)?;
            let their_figures = baseline.map(read).transpose()?;
            if round >= args.warm_ups {
                ours.push(our_figures);
                theirs.extend(their_figures);
            }
        }
        let lines = self.figures.iter().enumerate();
        Ok(lines.map(|(at, figure)| self.outcome(at, figure, &ours, &theirs)).collect())
    }

    fn outcome(
        &self,
        at: usize,
        figure: &Figure,
        ours: &[Vec<f64>],
        theirs: &[Vec<f64>],
    ) -> Outcome {
        let column = |rounds: &[Vec<f64>]| -> Vec<f64> {
            rounds.iter().filter_map(|round| round.get(at).copied()).collect()
        };
        let (ours, theirs) = (column(ours), column(theirs));
        let pairs = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
        let is_held = !theirs.is_empty();
        Outcome {
            name: match figure.of {
                "" => self.ours.name.clone(),
                of => format!("{}, {of}", self.ours.name),
            },
            durability: self.durability,
            unit: figure.unit,
            ratio: is_held.then(|| Spread::of(pairs)),
            ours: Spread::of(ours.iter().copied()),
            baseline: (self.baseline.as_ref().filter(|_| is_held))
                .map(|side| (side.name.clone(), Spread::of(theirs.iter().copied()))),
            goal: figure.goal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(goal: Goal) -> Outcome {
        let measure = Measure::new("twice as fast", Durability::Off, 1, |_| Ok([4.0, 1.0]))
            .against("slow", 1, |_| Ok([2.0]))
            .gives([Figure::RATE.to_reach(goal), Figure::new("p99", Unit::Millis)]);
        let args = Args::parse(["--rounds".into(), "2".into()], None).unwrap();
        measure.run(&args).unwrap().remove(0)
    }

    #[test]
    fn a_goal_is_about_the_ratio_or_about_our_own_figure() {
        for (goal, reached) in [
            (Goal::RatioAtLeast(2.0), true),
            (Goal::RatioAtLeast(2.1), false),
            (Goal::RatioAtMost(1.9), false),
            (Goal::AtLeast(4.0), true),
            (Goal::AtMost(3.9), false),
        ] {
            assert_eq!(outcome(goal).is_reached(), Some(reached), "{goal:?}");
        }
    }

    #[test]
    fn figures_that_the_baseline_does_not_know_stand_alone() {
        let measure = Measure::new("fast", Durability::Off, 1, |_| Ok([4.0, 1.0]))
            .against("slow", 1, |_| Ok(2.0))
            .gives([Figure::RATE, Figure::new("p99", Unit::Millis)]);
        let args = Args::parse([], None).unwrap();
        let [rate, p99] = measure.run(&args).unwrap().try_into().unwrap();
        assert_eq!(rate.ratio.unwrap().median, 2.0);
        assert_eq!((p99.name.as_str(), p99.ratio), ("fast, p99", None));
        let lost = Measure::new("lost", Durability::Off, 1, |_| Err::<f64, _>("lost".into()));
        assert!(lost.run(&args).is_err());
    }
}
