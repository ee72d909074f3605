//! The queue on one SQLite file, beside bare SQL on a plain table.
//!
//! `cargo bench -p benches --bench queue`; `-- --help` tells the options. What is measured, and how
//! to read it, stands in `README.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::args::{Args, USAGE};
use benches::machine::{Machine, load};
use benches::measure::{Contender, Measure};
use benches::{Result, floor, ours, table};
use queuectl_core::Durability;

fn main() -> ExitCode {
    let args = Args::parse(std::env::args().skip(1), std::env::var("BENCH_ROUNDS").ok());
    let done = match args {
        Ok(args) if args.help => {
            say(USAGE);
            Ok(())
        }
        Ok(args) => run(&args),
        Err(error) => Err(format!("{error}\n{USAGE}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let mut page = Page::default();
    let machine = Machine::look(&args.dir);
    page.add(&machine.to_string());
    if let Some(note) = &args.note {
        page.add(&format!("- {note}"));
    }
    if args.quick {
        page.add("- **quick: to see that everything runs; these figures mean nothing**");
    } else {
        page.add(&format!("- medians (least..greatest) of {} rounds", args.rounds));
    }
    page.add("");
    page.add(&table::head());
    for durability in [Durability::Full, Durability::Normal] {
        for measure in measures(durability, if args.quick { 100 } else { 1 }) {
            if measure.is_wanted(args) {
                page.add(&table::row(&measure.run(args)?));
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

/// Every measure under one durability. The numbers of jobs are chosen so that a run takes some
/// tenths of a second: long enough to meet several checkpoints, short enough to be done again.
/// `part` divides them.
fn measures(durability: Durability, part: usize) -> Vec<Measure> {
    let jobs = |full: usize, normal: usize| match durability {
        Durability::Full => full / part,
        _ => normal / part,
    };
    let measure = |ours, baseline| Measure { durability, ours, baseline };
    let one_by_one = jobs(800, 6_000);
    let threads = 64;
    let from_threads = || {
        Contender::new("enqueue 1, 64 threads", jobs(12_800, 12_800), move |bed| {
            ours::enqueue_from_threads(bed, threads)
        })
    };
    let mut all = Vec::new();
    for (batch, jobs) in batches(durability, part) {
        let name = format!("enqueue {batch} per call");
        let ours = Contender::new(name, jobs, move |bed| ours::enqueue(bed, batch));
        let name = format!("floor: insert {batch}");
        let floor = Contender::new(name, jobs, move |bed| floor::insert(bed, batch));
        all.push(measure(ours, floor));
    }
    all.push(measure(
        from_threads(),
        Contender::new("floor: insert 1, 64 threads", one_by_one, move |bed| {
            floor::insert_from_threads(bed, threads)
        }),
    ));
    all.push(measure(
        from_threads(),
        Contender::new("ours: enqueue 1, one thread", one_by_one, |bed| ours::enqueue(bed, 1)),
    ));
    for (batch, jobs) in batches(durability, part) {
        let name = format!("claim and settle {batch}");
        let ours = Contender::new(name, jobs, move |bed| ours::exchange(bed, batch));
        let name = format!("floor: claim+complete {batch}");
        let floor = Contender::new(name, jobs, move |bed| floor::claim_complete(bed, batch));
        all.push(measure(ours, floor));
    }
    for workers in [1, 4] {
        let jobs = jobs(25_000, 25_000);
        let name =
            format!("no-op jobs end to end, {workers} workers").replace("1 workers", "1 worker");
        let ours = Contender::new(name, jobs, move |bed| ours::work(bed, workers));
        let name = "floor: claim+complete 1000";
        let floor = Contender::new(name, jobs, |bed| floor::claim_complete(bed, 1000));
        all.push(measure(ours, floor));
    }
    for batch in [100, 1000] {
        let jobs = jobs(25_000, 25_000);
        let name = format!("enqueue {batch} while working");
        let ours = Contender::new(name, jobs, move |bed| ours::enqueue_and_work(bed, batch));
        let name = format!("floor: insert+claim+complete {batch}");
        let floor = Contender::new(name, jobs, move |bed| floor::insert_claim_complete(bed, batch));
        all.push(measure(ours, floor));
    }
    all
}

/// The batch sizes, with the number of jobs for each.
fn batches(durability: Durability, part: usize) -> [(usize, usize); 4] {
    let jobs = match durability {
        Durability::Full => [800, 5_000, 20_000, 40_000],
        _ => [6_000, 20_000, 30_000, 40_000],
    };
    [1, 10, 100, 1000].map({
        let mut jobs = jobs.into_iter();
        move |batch| (batch, jobs.next().unwrap_or(1_000) / part)
    })
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
