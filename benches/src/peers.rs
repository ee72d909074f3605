//! Other embedded queues for Rust, doing the same work at the same durability.
//!
//! Each brings a SQLite of its own, and a program can have but one; so each is a package of its own in
//! `peers/`, and a program that does one run and says what came of it. `just bench-peers` builds them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::measure::Bed;
use crate::process::numbers;
use crate::{Result, door};

/// The peers, by the names of their packages, with how many jobs are run to the end: few where a peer
/// takes the longer for each job the more it has done.
pub(crate) const PEERS: [(&str, usize); 3] =
    [("effectum", 25_000), ("honker", 25_000), ("apalis-sqlite", 2_000)];

/// The peer does its part and says so many figures.
pub(crate) fn run<const N: usize>(bed: &Bed, peer: &str, phase: &str) -> Result<[f64; N]> {
    let (file, jobs) = (bed.file(), bed.jobs.to_string());
    let words = [Path::new(bed.durability.as_str()), Path::new(&jobs), Path::new(phase)];
    let mut command = door::program(program(peer));
    command.arg(file).args(words).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| not_built(peer, &error))?;
    if !output.status.success() {
        return Err(format!("it ended with {}", output.status).into());
    }
    numbers(&String::from_utf8(output.stdout)?)
}

/// What the peer says of itself: its version, its SQLite, and how its durability is made ours.
fn about(peer: &str) -> Result<String> {
    let path = program(peer);
    let path = path.to_str().ok_or("the folder's name is not UTF-8")?;
    door::first_line_of(path, &["about"]).ok_or_else(|| not_built(peer, &"it does not run").into())
}

/// What each peer says of itself.
pub fn all_about() -> impl Iterator<Item = Result<String>> {
    PEERS.into_iter().map(|(peer, _)| about(peer))
}

fn program(peer: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release");
    folder.join(format!("peer-{peer}"))
}

fn not_built(peer: &str, why: &dyn std::fmt::Display) -> String {
    format!("the peer {peer}: {why}; `just bench-peers` builds it")
}
