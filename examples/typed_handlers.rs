//! Every way in which an attempt can end, and what becomes of its job.
//!
//! Each kind of job has a payload type and a function of it. What the function returns decides: done,
//! done with a result, retry, retry after a delay of the handler's own, snooze, dead, cancel. Two ends
//! the queue sees to itself: a payload that does not decode, and a panic (whose message Rust prints on
//! standard error as well). At the end the program reads from the store what became of each job.
//!
//! `cargo run --example typed_handlers`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use queuectl_core::{
    BackoffPolicy, Cause, Context, Handlers, NewJob, Outcome, SqliteOptions, SqliteStore, State,
    Store, Worker, WorkerOptions,
};
use serde::{Deserialize, Serialize};

/// A mail to send.
#[derive(Serialize, Deserialize)]
struct Mail {
    to: String,
}

/// A page to count the words of.
#[derive(Serialize, Deserialize)]
struct Page {
    text: String,
}

/// What counting found. Stands as JSON in the job's record, for whoever asks.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Words {
    words: usize,
}

/// An amount to take from an account.
#[derive(Serialize, Deserialize)]
struct Charge {
    account: u32,
    cents: u64,
}

/// What the program expects of one job.
struct Expected {
    job: NewJob,
    state: State,
    /// The recorded cause of each attempt.
    causes: &'static [Cause],
    /// How many attempts count in the end: those that were given back do not.
    attempts: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let options = SqliteOptions { create: true, ..SqliteOptions::default() };
    let store = Arc::new(SqliteStore::open(folder.path().join("queue.db"), options)?);

    let expected = expectations()?;
    let jobs: Vec<NewJob> = expected.iter().map(|one| one.job.clone()).collect();
    let added = store.enqueue(&jobs)?;

    let mut options = WorkerOptions::default();
    options.drain = true;
    options.workers = 2;
    let summary = Worker::start(store.clone(), handlers()?, options)?.wait()?;
    println!("{summary:?}\n");

    for (added, expected) in added.iter().zip(&expected) {
        let job = store.job(&added.id)?.ok_or("the job is gone")?;
        println!(
            "{} {}: {} after {} attempt(s) of {}",
            job.id, job.kind, job.state, job.attempts, job.max_attempts
        );
        if let Some(result) = &job.result {
            println!("    result: {}", result.as_str());
        }
        let mut causes = Vec::new();
        for attempt in store.attempts(job.key)? {
            let report = attempt.report.ok_or("an attempt still runs")?;
            let error = report.error.unwrap_or_default();
            println!("    claim {}: {} {error}", attempt.token.0, report.cause);
            causes.push(report.cause);
        }
        assert_eq!(job.state, expected.state, "{}", job.kind);
        assert_eq!(causes, expected.causes, "{}", job.kind);
        assert_eq!(job.attempts, expected.attempts, "{}", job.kind);
        if let Some(result) = job.result {
            assert_eq!(result.decode::<Words>()?, Words { words: 3 });
        }
    }
    Ok(())
}

/// A handler is a function of the typed payload and the context. It returns `Ok(())`, `Ok(outcome)`
/// or any error: an error means "failed, try again".
fn handlers() -> Result<Handlers, Box<dyn Error>> {
    let handlers = Handlers::new()
        .on("send", |mail: Mail, _: &Context| -> io::Result<()> {
            if mail.to.contains('@') {
                Ok(())
            } else {
                Err(io::Error::other(format!("no such address: {}", mail.to)))
            }
        })?
        .on("count-words", count_words)?
        .on("fetch", |(): (), context: &Context| {
            // Errors of any kind: here the first attempt fails and the second does not.
            match context.attempt() {
                1 => Err("connection reset"),
                _ => Ok(()),
            }
        })?
        .on("upload", |(): (), context: &Context| -> io::Result<Outcome> {
            // The other side says when to come back; the job's backoff is passed over for once.
            Ok(match context.attempt() {
                1 => Outcome::RetryAfter("429: slow down".into(), Duration::from_millis(30)),
                _ => Outcome::Done,
            })
        })?
        .on("report", report(AtomicBool::new(false)))?
        .on("charge", charge)?
        .on("divide", |(a, b): (u32, u32), _: &Context| -> io::Result<()> {
            println!("{a} / {b} = {}", a / b);
            Ok(())
        })?;
    Ok(handlers)
}

/// Done, with a result.
fn count_words(page: Page, _: &Context) -> Result<Outcome, Box<dyn Error + Send + Sync>> {
    let words = page.text.split_whitespace().count();
    Ok(Outcome::done_with(&Words { words })?)
}

/// Not now: the numbers are not in yet. To snooze spends no attempt, so a job may do it as often as
/// it needs to, even one that has a single attempt.
fn report(numbers_are_in: AtomicBool) -> impl Fn((), &Context) -> io::Result<Outcome> {
    move |(), _| {
        if numbers_are_in.swap(true, Ordering::SeqCst) {
            Ok(Outcome::Done)
        } else {
            Ok(Outcome::Snooze(Duration::from_millis(30)))
        }
    }
}

/// What no retry can mend goes to the dead letter queue at once; what is not wanted any more is
/// cancelled.
fn charge(charge: Charge, _: &Context) -> io::Result<Outcome> {
    Ok(match charge {
        Charge { account: 0, .. } => Outcome::Dead("there is no account 0".into()),
        Charge { cents: 0, .. } => Outcome::Cancel("nothing to charge".to_owned()),
        _ => Outcome::Done,
    })
}

fn expectations() -> Result<Vec<Expected>, Box<dyn Error>> {
    use Cause::{Cancelled, Failed, Panicked, Snoozed, Succeeded, Undecodable};
    let quick: BackoffPolicy = "constant:20ms".parse()?;
    let growing: BackoffPolicy = "linear:10ms;cap=15ms".parse()?;
    let mail = |to: &str| NewJob::new("send", &Mail { to: to.to_owned() });
    let page = Page { text: "three little words".to_owned() };
    let charge = |account, cents| NewJob::new("charge", &Charge { account, cents });
    let one = |job, state, causes, attempts| Expected { job, state, causes, attempts };
    Ok(vec![
        one(mail("ada@example.org")?, State::Completed, &[Succeeded], 1),
        // Fails each time: 1 + max_retries attempts, then dead. Waits 10 ms, then 15 ms.
        one(
            mail("nobody")?.max_retries(2).backoff(growing),
            State::Dead,
            &[Failed, Failed, Failed],
            3,
        ),
        one(NewJob::new("count-words", &page)?, State::Completed, &[Succeeded], 1),
        one(
            NewJob::new("fetch", &())?.backoff(quick.clone()),
            State::Completed,
            &[Failed, Succeeded],
            2,
        ),
        one(NewJob::new("upload", &())?, State::Completed, &[Failed, Succeeded], 2),
        one(NewJob::new("report", &())?.max_retries(0), State::Completed, &[Snoozed, Succeeded], 1),
        one(charge(0, 100)?, State::Dead, &[Failed], 1),
        one(charge(7, 0)?, State::Cancelled, &[Cancelled], 1),
        // Not a `Charge`: the handler is never called, and no retry is spent on it.
        one(NewJob::new("charge", "seven")?, State::Dead, &[Undecodable], 1),
        // A panic ends its attempt, not the worker.
        one(
            NewJob::new("divide", &(1, 0))?.max_retries(1).backoff(quick),
            State::Dead,
            &[Panicked, Panicked],
            2,
        ),
    ])
}
