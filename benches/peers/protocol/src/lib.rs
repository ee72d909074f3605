//! What every peer is asked, and how it answers.
//!
//! A peer is started once for each run: `peer FILE DURABILITY JOBS PHASE`, where FILE does not exist
//! yet. It fills the file as the phase needs it, starts its clock, and says one line of numbers: jobs
//! per second, or for `pickup` the median and the 99th percentile in milliseconds. If a job is lost,
//! done twice or left over, it fails. `peer about` says what it is, for the page above the table.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a peer's functions answer.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// So many jobs are enqueued by one call, where a peer can.
pub const BATCH: usize = 1000;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Task {
    /// Where the queue is to be.
    pub file: PathBuf,
    /// What SQLite's `synchronous` is to be: `FULL` or `NORMAL`.
    pub synchronous: &'static str,
    /// How many jobs.
    pub jobs: usize,
    /// What is timed.
    pub phase: Phase,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Enqueueing, one job per call, from one task.
    EnqueueOne,
    /// Enqueueing, [`BATCH`] jobs per call.
    EnqueueMany,
    /// Running jobs that do nothing and are there already, until the last handler has run.
    Work,
    /// From before the call to enqueue to the start of the handler, the queue being idle.
    Pickup,
}

/// Reads what is to be done. `about` is said, and the program ended, if that is what was asked.
pub fn task(about: impl FnOnce() -> String) -> Result<Task> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [file, durability, jobs, phase] = words[..] else {
        if words == ["about"] {
            println!("{}", about());
            std::process::exit(0);
        }
        return Err("usage: FILE full|normal JOBS enqueue-one|enqueue-many|work|pickup".into());
    };
    Ok(Task {
        file: file.into(),
        synchronous: match durability {
            "full" => "FULL",
            "normal" => "NORMAL",
            _ => return Err(format!("{durability:?} is no durability").into()),
        },
        jobs: jobs.parse()?,
        phase: match phase {
            "enqueue-one" => Phase::EnqueueOne,
            "enqueue-many" => Phase::EnqueueMany,
            "work" => Phase::Work,
            "pickup" => Phase::Pickup,
            _ => return Err(format!("{phase:?} is no phase").into()),
        },
    })
}

/// The payload of every job: about a hundred bytes of JSON, and when it was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Payload {
    pub number: u64,
    pub to: String,
    pub subject: String,
    pub sent_nanos: u64,
}

impl Payload {
    pub fn new(number: usize, sent: Duration) -> Self {
        Payload {
            number: number as u64,
            to: format!("someone-{number:08}@example.org"),
            subject: "Your order has been shipped today".to_owned(),
            sent_nanos: sent.as_nanos() as u64,
        }
    }
}

/// The clock of a run.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Clock(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// How long ago a payload was sent, in milliseconds.
    pub fn since(self, payload: &Payload) -> f64 {
        (self.elapsed() - Duration::from_nanos(payload.sent_nanos)).as_secs_f64() * 1000.0
    }

    /// Says the rate.
    pub fn say_rate(self, jobs: usize) {
        println!("{}", jobs as f64 / self.elapsed().as_secs_f64());
    }
}

/// Says the percentiles.
pub fn say_latencies(mut latencies: Vec<f64>) {
    latencies.sort_by(f64::total_cmp);
    let at = |part: f64| latencies[(latencies.len() as f64 * part).ceil() as usize - 1];
    println!("{} {}", at(0.5), at(0.99));
}

/// The pause before a job of [`Phase::Pickup`], of another length each time.
pub fn pause(number: usize) -> Duration {
    Duration::from_micros(5_000 + 1_300 * (number as u64 * 7 % 11))
}
