//! The proof of the proofs: bugs are planted, one at a time, in a copy of the workspace, and the
//! suites run until one of them turns red. A bug that no suite notices is a promise that nothing
//! holds.
//!
//! - `bugs`: what is planted;
//! - `plant`: the copy;
//! - `suites`: what must notice.

mod bugs;
mod plant;
mod suites;

use std::path::{Path, PathBuf};
use std::time::Duration;

use queuectl_core::{Clock, SystemClock};

use self::bugs::Bug;
use self::plant::Garden;
use self::suites::{Ended, Suite};
use crate::scoreboard::{Score, count, indented};

/// What to plant.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Plant only the bugs whose names contain this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Say what would be planted, and plant nothing.
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> Score {
    let mut score = Score::new("sabotage");
    let chosen: Vec<&Bug> = bugs::all()
        .filter(|bug| {
            args.only.is_empty() || args.only.iter().any(|only| bug.name.contains(only.as_str()))
        })
        .collect();
    if args.list {
        for bug in &chosen {
            let suites: Vec<&str> = bug.suites.iter().map(|suite| suite.name).collect();
            say!("{} ({})\n{}", bug.name, suites.join(", "), indented(bug.breaks));
        }
        score.figure("listed", chosen.len());
        return score;
    }
    let started = SystemClock.boot();
    match try_each(&chosen, &mut score) {
        Ok(()) => {}
        Err(error) => score.violations.push(error.to_string()),
    }
    score.took = SystemClock.boot().since(started);
    score
}

fn try_each(chosen: &[&Bug], score: &mut Score) -> std::io::Result<()> {
    let garden = Garden::new(&source())?;
    let blind = blind_suites(chosen, &garden, score);
    let (mut caught, mut left_out) = (0, Vec::new());
    for bug in chosen {
        let suites: Vec<&Suite> =
            bug.suites.iter().copied().filter(|suite| !blind.contains(suite)).collect();
        if suites.is_empty() {
            left_out.push(bug.name);
            continue;
        }
        let before = garden.plant(bug)?;
        let begun = SystemClock.boot();
        let verdict = judge(&suites, &garden);
        garden.restore(&before)?;
        let took = SystemClock.boot().since(begun);
        match verdict {
            Verdict::Caught { suite, by } => {
                caught += 1;
                tell(bug, &format!("caught by {suite}"), took, &by);
            }
            Verdict::Survived => {
                tell(bug, "survived", took, bug.breaks);
                score.violations.push(format!("nobody notices {}: {}", bug.name, bug.breaks));
            }
            Verdict::Unusable(why) => {
                tell(bug, "cannot be planted", took, &why);
                score.violations.push(format!("{} cannot be planted: {why}", bug.name));
            }
        }
    }
    score.figure("planted", count((chosen.len() - left_out.len()) as u64));
    score.figure("caught", count(caught));
    if !left_out.is_empty() {
        score.violations.push(format!("left out, for want of a suite: {}", left_out.join(", ")));
    }
    Ok(())
}

fn tell(bug: &Bug, what: &str, took: Duration, why: &str) {
    /// What is told of the evidence; all of it is to be had by planting the bug alone.
    const EVIDENCE_MAX: usize = 220;
    let why: String = why.chars().take(EVIDENCE_MAX).collect();
    say!("{}: {what}, {:.1} s\n{}", bug.name, took.as_secs_f64(), indented(&why));
}

/// The suites that are red without a bug: what they say of one means nothing, and without them the
/// score is not that of all suites.
fn blind_suites(chosen: &[&Bug], garden: &Garden, score: &mut Score) -> Vec<&'static Suite> {
    let mut blind: Vec<&'static Suite> = Vec::new();
    let mut known: Vec<&'static Suite> = Vec::new();
    for suite in chosen.iter().flat_map(|bug| bug.suites.iter().copied()) {
        if known.contains(&suite) {
            continue;
        }
        known.push(suite);
        let begun = SystemClock.boot();
        match suite.run(garden) {
            Ended::Green => {
                let took = SystemClock.boot().since(begun);
                say!("{}: green, {:.1} s", suite.name, took.as_secs_f64());
            }
            Ended::Red(why) | Ended::Unbuilt(why) => {
                let what = format!("{}: red with nothing planted: {why}", suite.name);
                say!("{what}");
                score.violations.push(what);
                blind.push(suite);
            }
        }
    }
    blind
}

enum Verdict {
    Caught { suite: &'static str, by: String },
    Survived,
    Unusable(String),
}

fn judge(suites: &[&Suite], garden: &Garden) -> Verdict {
    for suite in suites {
        match suite.run(garden) {
            Ended::Green => {}
            Ended::Red(by) => return Verdict::Caught { suite: suite.name, by },
            Ended::Unbuilt(why) => return Verdict::Unusable(format!("does not compile: {why}")),
        }
    }
    Verdict::Survived
}

/// The workspace that this program was built from.
fn source() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry that no longer fits the source would plant nothing, and prove nothing.
    #[test]
    fn every_bug_can_be_planted_in_the_source_as_it_is() {
        let mut misfits = Vec::new();
        for bug in bugs::all() {
            match plant::planted(&source(), bug) {
                Ok(files) => misfits.extend(files.into_iter().filter_map(|(path, text)| {
                    let same = std::fs::read_to_string(source().join(path)).unwrap() == text;
                    same.then(|| format!("{} changes nothing", bug.name))
                })),
                Err(error) => misfits.push(error.to_string()),
            }
        }
        assert!(misfits.is_empty(), "{}", misfits.join("\n\n"));
    }

    #[test]
    fn every_bug_has_a_name_of_its_own_and_a_suite() {
        let mut names: Vec<&str> = bugs::all().map(|bug| bug.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        assert!(bugs::all().all(|bug| !bug.suites.is_empty() && !bug.edits.is_empty()));
    }

    #[test]
    fn every_suite_is_used() {
        let used = |suite: &Suite| bugs::all().any(|bug| bug.suites.contains(&suite));
        assert!(suites::ALL.iter().all(used));
    }
}
