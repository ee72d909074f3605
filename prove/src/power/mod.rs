//! Power loss: what is left when everything that was not synced may be gone.
//!
//! Real processes are recorded while they use a store, down to the bytes that they give to the
//! kernel ([`mod@record`]). From the record, images are built of what a disk may hold when the power
//! fails at any moment ([`history`]), and each is opened, compared with what had been acknowledged by
//! then ([`expect`]), and worked off ([`check`]).
//!
//! That this can fail is shown each time: the same is done at the weaker levels of durability, where
//! it must find losses, and damage.

mod actor;
mod check;
mod expect;
mod history;
mod record;
mod script;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use queuectl_core::{BootTime, Clock, Durability, SystemClock};

pub(crate) use self::actor::{Part, play};
use self::check::Broken;
use self::expect::{Ack, Expected};
use self::history::{Disk, Event, History, Survival};
use self::record::Recorder;
use self::script::Author;
use crate::beside::queuectl;
use crate::scoreboard::{Score, count};
use crate::tracer;

/// How much to try.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How many crash images
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) images: usize,
    /// Try one level of durability alone: full, normal or off. Below full it must fail
    #[arg(long, value_parser = level)]
    pub(crate) durability: Option<Durability>,
    /// The first seed of the workloads and the images
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Images of one recorded workload
    #[arg(long, default_value_t = 2_500)]
    pub(crate) per_history: usize,
    /// Record processes that use the library alone, and not the program `queuectl`
    #[arg(long, conflicts_with = "durability")]
    pub(crate) library_only: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

fn level(text: &str) -> Result<Durability, String> {
    [Durability::Full, Durability::Normal, Durability::Off]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| "full, normal or off".to_owned())
}

/// How many images the weaker levels get, to show that the check can fail.
const SELF_TEST_IMAGES: usize = 400;

/// In how many workloads losses are looked for before the check is called blind.
const SELF_TESTS_MAX: usize = 8;

/// How many of a thousand images must show what a level does not promise: losses at `normal`, damage
/// at `off`. A third of what is usual: in ten workloads each there were 680 to 834 losses, and 0 to 46
/// images with damage, 15 of them on average.
const ENOUGH_PER_THOUSAND: [(Durability, usize); 2] =
    [(Durability::Normal, 250), (Durability::Off, 5)];

/// How many violations are told of; the rest are only counted.
const TOLD_MAX: usize = 10;

pub(crate) fn run(options: &Options) -> Score {
    let mut score = Score::new("power loss");
    let begin = SystemClock.boot();
    if let Some(why) = tracer::obstacle() {
        score.skipped = Some(why);
        return score;
    }
    if let Err(error) = try_levels(options, &mut score) {
        score.violations.push(format!("it could not be tried: {error}"));
    }
    score.took = SystemClock.boot().since(begin);
    score
}

fn try_levels(options: &Options, score: &mut Score) -> io::Result<()> {
    let level = options.durability.unwrap_or(Durability::Full);
    let mut tally = Tally::default();
    // What was seen before it broke off is worth telling.
    let tried = try_level(options, level, options.images, &mut tally);
    score.figure("images", count(tally.images as u64));
    score.figure("distinct", count(tally.distinct as u64));
    score.figure("points", count(tally.points as u64));
    score.figure("workloads", count(tally.histories as u64));
    score.figure("lost", count(tally.lost as u64));
    score.figure("corrupt", count(tally.corrupt as u64));
    score.figure(
        "worked off to the end",
        format!("{} of {}", count(tally.drained as u64), count(tally.distinct as u64)),
    );
    score.figure("images/s", format!("{:.0}", tally.rate()));
    let more = (tally.lost + tally.corrupt).saturating_sub(tally.told.len());
    score.violations.extend(tally.told.iter().cloned());
    score.violations.extend((more > 0).then(|| format!("… and {} more", count(more as u64))));
    tried?;
    if !options.library_only {
        score.violations.extend(tally.blind(level));
    }
    if options.durability.is_some() || options.library_only {
        return Ok(());
    }
    for (level, enough) in ENOUGH_PER_THOUSAND {
        // Damage is rare, and in some workloads there is none: a few of them, until enough is seen.
        let (mut seen, mut options) = (Tally::default(), options.clone());
        while seen.histories < SELF_TESTS_MAX && seen.per_thousand(level) < enough {
            let mut once = Tally::default();
            try_level(&options, level, SELF_TEST_IMAGES.min(options.images), &mut once)?;
            seen.add(&once);
            options.seed += 1;
        }
        let what = format!(
            "at `{}`: {} images with losses, {} corrupt, of {}",
            level.as_str(),
            count(seen.lost as u64),
            count(seen.corrupt as u64),
            count(seen.distinct as u64)
        );
        score.figure("(the harness sees it)", what);
        if seen.per_thousand(level) < enough {
            score.violations.push(format!(
                "blind: at `{}` {} of 1,000 images show what is not promised there, where {enough} \
                 at least should",
                level.as_str(),
                seen.per_thousand(level)
            ));
        }
    }
    Ok(())
}

/// What came of a level.
#[derive(Debug, Default)]
struct Tally {
    histories: usize,
    images: usize,
    distinct: usize,
    points: usize,
    lost: usize,
    corrupt: usize,
    drained: usize,
    acks: BTreeMap<&'static str, usize>,
    told: Vec<String>,
    /// The time that building and checking images took.
    took: Duration,
}

impl Tally {
    /// In how many of a thousand images was seen what the level must show.
    fn per_thousand(&self, level: Durability) -> usize {
        let shown = if level == Durability::Off { self.corrupt } else { self.lost };
        shown * 1_000 / self.distinct.max(1)
    }

    fn add(&mut self, other: &Tally) {
        self.histories += other.histories;
        self.distinct += other.distinct;
        self.lost += other.lost;
        self.corrupt += other.corrupt;
    }

    fn rate(&self) -> f64 {
        self.images as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// What was never acknowledged in any workload: then nothing was proved about it.
    fn blind(&self, level: Durability) -> Vec<String> {
        Ack::NAMES
            .into_iter()
            .filter(|name| !self.acks.contains_key(name))
            .map(|name| format!("blind: at `{}` nothing was ever {name}", level.as_str()))
            .collect()
    }
}

fn try_level(
    options: &Options,
    level: Durability,
    images: usize,
    tally: &mut Tally,
) -> io::Result<()> {
    let folder = scratch()?;
    let mut seed = options.seed;
    while tally.images < images {
        let some = (images - tally.images).min(options.per_history);
        let place = folder.path().join(seed.to_string());
        std::fs::create_dir(&place)?;
        let (history, store) = record(&place, options, level, seed)?;
        for event in &history.events {
            if let Event::Ack(ack) = event {
                *tally.acks.entry(ack.name()).or_default() += 1;
            }
        }
        let begin = SystemClock.boot();
        crash(&history, &store, &place, some, seed, tally)?;
        tally.took += elapsed(begin);
        tally.histories += 1;
        std::fs::remove_dir_all(&place)?;
        seed += 1;
    }
    Ok(())
}

fn elapsed(since: BootTime) -> Duration {
    SystemClock.boot().since(since)
}

/// Where images are laid out: in memory, if the machine has such a place.
pub(crate) fn scratch() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let place = tempfile::Builder::new().prefix("prove-").tempdir_in(memory);
    place.or_else(|_| tempfile::tempdir())
}

/// Runs a workload and writes down what it does; gives the path of its store inside of the disk.
fn record(
    place: &Path,
    options: &Options,
    level: Durability,
    seed: u64,
) -> io::Result<(History, PathBuf)> {
    let queuectl = if options.library_only { PathBuf::new() } else { queuectl()? };
    let places = script::places(place, &queuectl, &std::env::current_exe()?)?;
    let disk = place.join("disk");
    let store = places.store.strip_prefix(&disk).map_err(io::Error::other)?.to_owned();
    let mut author = Author::new(places, seed);
    let script = if options.library_only { author.actors() } else { author.script(level)? };
    let (mut recorder, first) = Recorder::new(&disk, script);
    let run = tracer::run(first, Duration::from_secs(120), &mut recorder)?;
    if run.hung {
        return Err(io::Error::other(format!("the workload of seed {seed} hung")));
    }
    if let Some(unknown) = recorder.unknown.first() {
        return Err(io::Error::other(format!("a call that cannot be recorded: {unknown}")));
    }
    Ok((recorder.history, store))
}

/// One image that is to be made.
#[derive(Debug, Clone, Copy)]
struct Draw {
    /// How many events have happened.
    point: usize,
    survival: Survival,
    seed: u64,
}

fn draws(history: &History, images: usize, seed: u64) -> Vec<Draw> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x706f_7765);
    let mut draws: Vec<Draw> = (0..images)
        .map(|_| Draw {
            point: rng.usize(0..=history.events.len()),
            survival: match rng.usize(0..10) {
                0 => Survival::Nothing,
                1 => Survival::Everything,
                2..=5 => Survival::Some,
                _ => Survival::Torn,
            },
            seed: rng.u64(..),
        })
        .collect();
    draws.sort_by_key(|draw| draw.point);
    draws
}

/// Builds and checks images, on every processor.
fn crash(
    history: &History,
    store: &Path,
    place: &Path,
    images: usize,
    seed: u64,
    tally: &mut Tally,
) -> io::Result<()> {
    let draws = draws(history, images, seed);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let seen = Mutex::new(HashSet::new());
    let broken = Mutex::new(Vec::new());
    let drained = AtomicUsize::new(0);
    let share = |thread: usize| -> io::Result<()> {
        let folder = place.join(format!("image{thread}"));
        let (mut disk, mut expected, mut done) = (Disk::default(), Expected::default(), 0);
        for draw in draws.iter().skip(thread).step_by(threads) {
            while done < draw.point {
                disk.apply(history, done);
                match &history.events[done] {
                    Event::Ask(ask) => expected.ask(ask),
                    Event::Ack(ack) => expected.acknowledge(ack),
                    _ => {}
                }
                done += 1;
            }
            let mut rng = fastrand::Rng::with_seed(draw.seed);
            let image = disk.crash(history, draw.survival, &mut rng);
            // The same files at a moment when more is expected are another question.
            let mut hasher = DefaultHasher::new();
            (&image, expected.version).hash(&mut hasher);
            if !seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish()) {
                continue;
            }
            match check::check(&image, &folder, store, &expected, draw.seed % 8 == 0)? {
                None => {
                    drained.fetch_add(1, Ordering::Relaxed);
                }
                Some(what) => {
                    broken.lock().unwrap_or_else(PoisonError::into_inner).push((*draw, what));
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let share = &share;
        let threads: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the check has panicked")))
        })
    })?;
    tally.images += images;
    tally.distinct += seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    tally.drained += drained.load(Ordering::Relaxed);
    let mut points: Vec<usize> = draws.iter().map(|draw| draw.point).collect();
    points.dedup();
    tally.points += points.len();
    for (draw, what) in broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (kind, texts) = match &what {
            Broken::Lost(texts) => ("lost", texts),
            Broken::Corrupt(texts) => ("corrupt", texts),
            Broken::Stuck(texts) => ("stuck", texts),
        };
        match kind {
            "lost" => tally.lost += 1,
            _ => tally.corrupt += 1,
        }
        if tally.told.len() < TOLD_MAX {
            tally.told.push(format!(
                "{kind} after event {} of {} of workload {seed}, {:?} of what was not synced \
                 (image {}): {}",
                draw.point,
                history.events.len(),
                draw.survival,
                draw.seed,
                texts.iter().take(3).cloned().collect::<Vec<_>>().join("; ")
            ));
        }
    }
    Ok(())
}
