//! The command line.

use std::path::PathBuf;

use crate::Result;

/// Shown for `--help` and beside a mistake.
pub const USAGE: &str = "\
usage: cargo bench -p benches --bench queue -- [OPTIONS] [FILTER]

  FILTER          only measures whose name and durability, or what they are held against, contain
                  this text
  --rounds N      medians of N rounds (default 5; also from BENCH_ROUNDS)
  --quick         one tiny round, to see that everything still runs; its figures mean nothing
  --peers         hold it against other queues as well (`just bench-peers` builds them)
  --rows N        completed jobs in the file with a backlog (default 10,000,000); as many as a tenth
                  of that wait in it, and as many again are due later
  --keep          keep that file in DIR for the next time: it takes a minute to make
  --dir DIR       where the files are made (default: the system's folder for temporary files)
  --alone         our side only, without baselines: for profilers
  --save          write the table to benches/results as well
  --note TEXT     a line to stand above the table
  --help          this text";

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Args {
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds before those.
    pub warm_ups: usize,
    /// A hundredth of the jobs.
    pub quick: bool,
    /// Against other queues as well.
    pub peers: bool,
    /// Completed jobs in the file with a backlog.
    pub rows: usize,
    /// Keep that file.
    pub keep: bool,
    /// Where files are made.
    pub dir: PathBuf,
    /// Without baselines.
    pub alone: bool,
    /// Keep the table.
    pub save: bool,
    /// Show the usage and do nothing.
    pub help: bool,
    /// A line to stand above the table.
    pub note: Option<String>,
    /// Part of the names of the wanted measures.
    pub filter: Option<String>,
}

impl Args {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    ///
    /// A sentence, if there is an argument that means nothing.
    pub fn parse(words: impl IntoIterator<Item = String>, rounds: Option<String>) -> Result<Self> {
        let mut args = Args {
            rounds: rounds.map_or(Ok(5), |text| positive(&text))?,
            warm_ups: 1,
            quick: false,
            peers: false,
            rows: 10_000_000,
            keep: false,
            dir: std::env::temp_dir(),
            alone: false,
            save: false,
            help: false,
            note: None,
            filter: None,
        };
        let mut words = words.into_iter().peekable();
        // `cargo bench` gives at least one argument; `cargo test --all-targets` runs benchmarks too,
        // gives none, and wants to know only whether they work.
        args.quick = words.peek().is_none();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => args.rounds = positive(&value()?)?,
                "--rows" => args.rows = positive(&value()?)?,
                "--peers" => args.peers = true,
                "--keep" => args.keep = true,
                "--dir" => args.dir = value()?.into(),
                "--note" => args.note = Some(value()?),
                "--quick" => args.quick = true,
                "--alone" => args.alone = true,
                "--save" => args.save = true,
                "--help" | "-h" => args.help = true,
                // `cargo bench` adds this to the arguments of every benchmark.
                "--bench" => {}
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}").into());
                }
                _ if args.filter.is_some() => {
                    return Err(format!("a second filter, {word:?}; there can be one").into());
                }
                _ => args.filter = Some(word),
            }
        }
        if args.quick {
            (args.rounds, args.warm_ups) = (1, 0);
            args.rows = args.rows.div_ceil(100);
        }
        Ok(args)
    }
}

fn positive(text: &str) -> Result<usize> {
    text.parse()
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| format!("{text:?} is not a number above 0").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args> {
        Args::parse(words.iter().map(ToString::to_string), None)
    }

    #[test]
    fn what_cargo_adds_is_passed_over_and_what_means_nothing_is_refused() {
        let args = parse(&["--bench", "--rounds", "3", "worker", "--save"]).unwrap();
        assert_eq!((args.rounds, args.warm_ups, args.save), (3, 1, true));
        assert_eq!(args.filter.as_deref(), Some("worker"));
        for wrong in [&["--fast"][..], &["--rounds"], &["--rounds", "0"], &["a", "b"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        let set = Args::parse(["--bench".into()], Some("7".into()));
        assert_eq!(set.unwrap().rounds, 7);
        assert!(parse(&[]).unwrap().quick);
        let quick = parse(&["--rounds", "9", "--rows", "50", "--quick"]).unwrap();
        assert_eq!((quick.rounds, quick.rows), (1, 1));
    }
}
