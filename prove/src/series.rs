//! All proofs, and the scoreboard that is kept in `docs/reliability.md`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benches::machine::Machine;
use clap::{Args, Parser};

use crate::scoreboard::Score;

/// A few minutes on two cores: what CI runs.
const SHORT: &[&str] = &[
    "simulate --seeds 500",
    "simulate --store memory --seeds 2000",
    "storm --kills 3000",
    "recovery --rounds 30",
    "power --images 10000",
    "boundaries --every 3",
    "faults --every 40",
];

/// Some hours.
const LONG: &[&str] = &[
    "simulate --seeds 5000",
    "simulate --store memory --seeds 45000",
    "storm --kills 100000",
    "recovery --rounds 300",
    "power --images 1000000",
    "boundaries",
    "faults",
    "sabotage",
];

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The long series, which takes hours
    #[arg(long)]
    long: bool,
    /// Write the scoreboard into this document, between the marks for this series
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let commands = if options.long { LONG } else { SHORT };
    let machine = Machine::look(&std::env::temp_dir());
    say!("{machine}\n");
    let mut rows = Vec::new();
    let mut holds = true;
    for command in commands {
        let words = ["prove"].into_iter().chain(command.split(' '));
        let args = match crate::Args::try_parse_from(words) {
            Ok(args) => args,
            Err(error) => error.exit(),
        };
        let scores = args.proof.run();
        crate::show(&scores, false);
        holds &= scores.iter().all(Score::holds);
        rows.extend(scores.iter().map(|score| row(score, command)));
    }
    let table = format!(
        "| proof | what was done | violations | time | again with `prove` … |\n|---|---|---|---|---|\n{}\n",
        rows.join("\n")
    );
    say!("\n{table}");
    if let Some(document) = &options.save {
        let series = if options.long { "long" } else { "short" };
        if let Err(error) = save(document, series, &format!("{machine}\n\n{table}")) {
            say!("not saved: {error}");
            return ExitCode::FAILURE;
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of the table.
fn row(score: &Score, command: &str) -> String {
    let figures: Vec<_> =
        score.figures.iter().map(|(what, value)| format!("{value} {what}")).collect();
    // What was skipped and showed nothing has kept no promise.
    let violations = match (score.violations.len(), &score.skipped) {
        (0, Some(_)) if score.figures.is_empty() => "–".to_owned(),
        (count, _) => format!("**{count}**"),
    };
    let skipped = score.skipped.as_ref().map_or(String::new(), |why| format!("; skipped: {why}"));
    format!(
        "| {} | {}{skipped} | {} | {} | `{command}` |",
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

/// Replaces what stands between the marks of a series.
fn save(document: &Path, series: &str, text: &str) -> std::io::Result<()> {
    let old = std::fs::read_to_string(document)?;
    let (begin, end) = (format!("<!-- {series} series -->"), format!("<!-- /{series} series -->"));
    let parts = old.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        return Err(std::io::Error::other(format!("{} has no {begin}", document.display())));
    };
    std::fs::write(document, format!("{before}{begin}\n{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_of_both_series_is_one() {
        for command in SHORT.iter().chain(LONG) {
            let words = ["prove"].into_iter().chain(command.split(' '));
            assert!(crate::Args::try_parse_from(words).is_ok(), "{command}");
        }
    }

    #[test]
    fn a_scoreboard_replaces_the_one_before() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "a <!-- short series --> old <!-- /short series --> b").unwrap();
        save(file.path(), "short", "new\n").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "a <!-- short series -->\nnew\n<!-- /short series --> b");
        assert!(save(file.path(), "long", "new").is_err());
    }
}
