//! All proofs, and the scoreboard that is kept in `docs/reliability.md`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::machine::Machine;
use clap::{Args, Parser};

use crate::scoreboard::Score;

/// Proofs, each as the command that runs it by itself.
#[derive(Debug)]
struct Series {
    name: &'static str,
    commands: &'static [&'static str],
}

/// A few minutes on two cores: what CI runs.
const SHORT: Series = Series {
    name: "short",
    commands: &[
        "simulate --seeds 500",
        "simulate --store memory --seeds 2000",
        "storm --kills 3000",
        "recovery --rounds 30",
        "power --images 10000",
        "boundaries --every 3",
        "faults --every 40",
    ],
};

/// Some hours.
const LONG: Series = Series {
    name: "long",
    commands: &[
        "simulate --seeds 5000",
        "simulate --store memory --seeds 45000",
        "storm --kills 100000",
        "recovery --rounds 300",
        "power --images 1000000",
        "boundaries",
        "faults",
        "sabotage",
    ],
};

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only the proofs whose command begins with one of these: storm, 'simulate --store'
    #[arg(value_name = "PROOF")]
    only: Vec<String>,
    /// The long series, which takes hours
    #[arg(long)]
    long: bool,
    /// Keep each figure in this document as soon as it is known, between the marks for this series
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    match try_run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn try_run(options: &Options) -> io::Result<bool> {
    let series = if options.long { LONG } else { SHORT };
    let chosen: Vec<_> =
        series.commands.iter().copied().filter(|command| options.wants(command)).collect();
    if chosen.is_empty() {
        return Err(io::Error::other(format!("no proof of the {} series is meant", series.name)));
    }
    let machine = Machine::look(&std::env::temp_dir());
    let kept = options.save.as_ref().map(|document| Kept { document, series: &series });
    if let Some(kept) = &kept {
        // Not after hours.
        kept.merge(&machine, &[])?;
    }
    say!("{machine}\n");
    let mut rows = Vec::new();
    let mut holds = true;
    for command in chosen {
        let words = ["prove"].into_iter().chain(command.split(' '));
        let args = match crate::Args::try_parse_from(words) {
            Ok(args) => args,
            Err(error) => error.exit(),
        };
        let scores = args.proof.run();
        crate::show(&scores, false);
        holds &= scores.iter().all(Score::holds);
        let new: Vec<_> = scores.iter().map(|score| row(score, &machine.commit, command)).collect();
        if let Some(kept) = &kept {
            kept.merge(&machine, &new)?;
        }
        rows.extend(new);
    }
    say!("\n{HEAD}{}", rows.concat());
    Ok(holds)
}

impl Options {
    fn wants(&self, command: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| command.starts_with(only.as_str()))
    }
}

const HEAD: &str = "\
| proof | what was done | violations | time | commit | again with `prove` … |
|---|---|---|---|---|---|
";

/// A line of the table.
fn row(score: &Score, commit: &str, command: &str) -> String {
    let figures: Vec<_> =
        score.figures.iter().map(|(what, value)| format!("{value} {what}")).collect();
    // What was skipped and showed nothing has kept no promise.
    let violations = match (score.violations.len(), &score.skipped) {
        (0, Some(_)) if score.figures.is_empty() => "–".to_owned(),
        (count, _) => format!("**{count}**"),
    };
    let skipped = score.skipped.as_ref().map_or(String::new(), |why| format!("; skipped: {why}"));
    format!(
        "| {} | {}{skipped} | {} | {} | {commit} | `{command}` |\n",
        score.name,
        figures.join(", "),
        violations,
        time(score.took),
    )
}

fn time(took: Duration) -> String {
    match took.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// The part of a document that keeps the figures of a series.
struct Kept<'a> {
    document: &'a Path,
    series: &'a Series,
}

impl Kept<'_> {
    /// Puts rows in the place of those for the same command, in the order of the series.
    fn merge(&self, machine: &Machine, new: &[String]) -> io::Result<()> {
        let old = std::fs::read_to_string(self.document)?;
        let begin = format!("<!-- {} series -->", self.series.name);
        let end = format!("<!-- /{} series -->", self.series.name);
        let parts = old.split_once(&begin).and_then(|(before, rest)| {
            let (kept, after) = rest.split_once(&end)?;
            Some((before, kept, after))
        });
        let Some((before, kept, after)) = parts else {
            return Err(io::Error::other(format!("{} has no {begin}", self.document.display())));
        };
        if new.is_empty() {
            return Ok(());
        }
        let old: Vec<_> = kept.lines().map(|line| format!("{line}\n")).collect();
        let rows: String = self
            .series
            .commands
            .iter()
            .flat_map(|command| {
                let is_of = |row: &&String| row.ends_with(&format!("| `{command}` |\n"));
                let rows = if new.iter().any(|row| is_of(&row)) { new } else { old.as_slice() };
                rows.iter().filter(is_of).map(String::as_str).collect::<Vec<_>>()
            })
            .collect();
        let text = format!("{before}{begin}\n{machine}\n\n{HEAD}{rows}{end}{after}");
        std::fs::write(self.document, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_both_series_is_one() {
        for command in SHORT.commands.iter().chain(LONG.commands) {
            let words = ["prove"].into_iter().chain(command.split(' '));
            assert!(crate::Args::try_parse_from(words).is_ok(), "{command}");
        }
    }

    #[test]
    fn a_document_keeps_the_newest_row_of_each_command_in_the_order_of_the_series() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "a <!-- short series -->\nnone <!-- /short series --> b").unwrap();
        let machine = Machine::look(&std::env::temp_dir());
        let kept = Kept { document: file.path(), series: &SHORT };
        let of = |name, commit, command| row(&Score::new(name), commit, command);
        let (power, storm) = (SHORT.commands[4], SHORT.commands[2]);
        kept.merge(&machine, &[of("power", "1", power), of("gone", "1", "gone")]).unwrap();
        kept.merge(&machine, &[of("storm", "1", storm)]).unwrap();
        kept.merge(&machine, &[of("power", "2", power)]).unwrap();

        let text = std::fs::read_to_string(&file).unwrap();
        let rows = [of("storm", "1", storm), of("power", "2", power)].concat();
        assert!(text.contains(&format!("{HEAD}{rows}<!-- /short series --> b")), "{text}");
        assert!(text.starts_with("a <!-- short series -->\n- date"), "{text}");
    }

    #[test]
    fn a_document_without_the_marks_is_refused_before_anything_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let machine = Machine::look(&std::env::temp_dir());
        let kept = Kept { document: file.path(), series: &LONG };
        assert!(kept.merge(&machine, &[]).is_err());
    }
}
