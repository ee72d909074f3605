//! The queue on one SQLite file, beside bare SQL on a plain table.
//!
//! `cargo bench -p benches --bench queue`; `-- --help` tells the options. What is measured, and how
//! to read it, stands in `README.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::args::{Args, USAGE};
use benches::machine::{Machine, load};
use benches::process::PART;
use benches::{Result, measures, parts, peers, table};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((first, rest)) if first == PART => parts::run(rest),
        _ => whole(words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn whole(words: Vec<String>) -> Result<()> {
    match Args::parse(words, std::env::var("BENCH_ROUNDS").ok()) {
        Ok(args) if args.help => {
            say(USAGE);
            Ok(())
        }
        Ok(args) => run(&args),
        Err(error) => Err(format!("{error}\n{USAGE}").into()),
    }
}

fn run(args: &Args) -> Result<()> {
    let mut page = Page::default();
    let machine = Machine::look(&args.dir);
    page.add(&machine.to_string());
    if let Some(note) = &args.note {
        page.add(&format!("- {note}"));
    }
    if args.peers {
        for about in peers::all_about() {
            page.add(&format!("- peer: {}", about?));
        }
    }
    if args.quick {
        page.add("- **quick: to see that everything runs; these figures mean nothing**");
    } else {
        page.add(&format!("- medians (least..greatest) of {} rounds", args.rounds));
    }
    page.add("");
    page.add(&table::head());
    for measure in measures::all(args) {
        if measure.is_wanted(args) {
            for outcome in measure.run(args)? {
                page.add(&table::row(&outcome, !args.quick));
            }
        }
    }
    page.add("");
    page.add(&format!("Load average at the end: {}.", load()));
    if args.save {
        let name = format!("{}-{}.md", machine.date, machine.commit);
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("results");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), page.text)?;
    }
    Ok(())
}

/// What is printed, line by line, and kept.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn add(&mut self, line: &str) {
        say(line);
        self.text.push_str(line);
        self.text.push('\n');
    }
}

#[expect(clippy::print_stdout, reason = "this is a program that prints a table")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "a program says on stderr why it failed")]
fn complain(line: &str) {
    eprintln!("{line}");
}
