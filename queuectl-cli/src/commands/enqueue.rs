//! `enqueue`: adds jobs to a queue.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;

use queuectl_core::shell::Program;
use queuectl_core::store::{Enqueued, Store, StoreError};
use queuectl_core::{After, AfterBatch, BATCH_LEN_MAX, Condition, NewJob, UniqueScope};
use serde::Serialize;

use super::{count, job_id, job_ids, name, names};
use crate::args::{Enqueue, Shape};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::bulk::{self, BadLine};
use crate::input::job_spec::{Here, JobSpec};
use crate::input::{Refused, job_json, unique, when};
use crate::output::display::line;
use crate::output::json::SchemaVersion;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Enqueue) -> Result<Exit, CliError> {
    let options = options(session, args)?;
    if args.file.is_some() || args.words == ["-"] {
        return many(session, args, &options);
    }
    if args.skip_invalid {
        return Err(CliError::usage("--skip-invalid is for --file and -"));
    }
    let job = form(session, args)?.and(&options).into_job(&Here::current())?;
    let store = session.store_path()?.open_or_create()?;
    let added = store.enqueue(&[job])?;
    print(session, args, &added, &[])
}

/// The one job that is written on the command line, in one of its forms.
fn form(session: &Session, args: &Enqueue) -> Result<JobSpec, CliError> {
    let shell = |command: &String| JobSpec::running(Program::Command(command.clone()));
    let named = |id: &String, spec: JobSpec| -> Result<JobSpec, CliError> {
        if args.id.is_some() {
            return Err(CliError::usage("the id is given twice"));
        }
        Ok(JobSpec { id: Some(job_id(id)?), ..spec })
    };
    match (args.words.as_slice(), args.argv.as_slice()) {
        ([], []) => Err(CliError::usage("there is nothing to enqueue")
            .hint("queuectl enqueue 'echo hello'\nqueuectl enqueue --help has every form")),
        ([], argv) => Ok(JobSpec::running(Program::Argv(argv.to_vec()))),
        ([id], argv @ [_, ..]) => named(id, JobSpec::running(Program::Argv(argv.to_vec()))),
        ([text], []) if text.trim_start().starts_with('{') => {
            Ok(job_json::parse(text, &session.when()).map_err(|refused| not_json(text, refused))?)
        }
        ([text], []) if is_json_array(text) => {
            Err(CliError::usage("a JSON array is neither a job nor a command")
                .hint("write one JSON object a line, and hand them in with --file or -"))
        }
        ([command], []) => Ok(shell(command)),
        ([id, command], []) => named(id, shell(command)),
        (words, argv) => {
            let all: Vec<&String> = words.iter().chain(argv).collect();
            let typed = all.iter().map(|word| word.as_str()).collect::<Vec<_>>();
            Err(CliError::usage(format!(
                "enqueue takes a command, or an id and a command; found {} words",
                all.len()
            ))
            .hint(format!(
                "quote the command: queuectl enqueue '{}'\n\
                 or run it without a shell: queuectl enqueue -- {}",
                typed.join(" "),
                typed.join(" ")
            )))
        }
    }
}

/// `[ -f x ] && date` is a shell command; an array of jobs is not.
fn is_json_array(text: &str) -> bool {
    text.trim_start().starts_with('[') && serde_json::from_str::<serde_json::Value>(text).is_ok()
}

/// `{ date; }` is a shell command as well.
fn not_json(text: &str, refused: Refused) -> Refused {
    if !text.trim_start().starts_with("{ ") || !text.contains(';') {
        return refused;
    }
    let hint = "what begins with { is read as JSON; for the shell, write it as \
                `queuectl enqueue -- sh -c '{ …; }'`";
    Refused {
        hint: Some(match refused.hint {
            Some(first) => format!("{first}\n{hint}"),
            None => hint.to_owned(),
        }),
        ..refused
    }
}

/// What the options ask of each job.
fn options(session: &Session, args: &Enqueue) -> Result<JobSpec, CliError> {
    let start = match (&args.delay, &args.at) {
        (Some(delay), _) => Some(when::after(when::duration(delay)?)),
        (None, Some(at)) => Some(session.when().start(at)?),
        (None, None) => None,
    };
    Ok(JobSpec {
        id: args.id.as_deref().map(job_id).transpose()?,
        queue: args.queue.as_deref().map(|queue| name("queue", queue)).transpose()?,
        priority: args.priority,
        start,
        expiry: args.expires.as_deref().map(|text| session.when().expiry(text)).transpose()?,
        unique_key: args.unique_key.clone(),
        unique_scope: unique_scope(args)?,
        on_conflict: args.on_conflict.as_deref().map(unique::policy).transpose()?,
        concurrency_key: args.concurrency_key.clone(),
        after: after(args)?,
        after_batches: after_batches(args)?,
        batch: args.batch.as_deref().map(|batch| name("batch", batch)).transpose()?,
        needs: args.needs,
        otherwise: args.otherwise,
        ..shape(&args.shape)?
    })
}

/// How long the key is to be held, if it is said.
fn unique_scope(args: &Enqueue) -> Result<Option<UniqueScope>, CliError> {
    Ok(match &args.unique_for {
        Some(period) => Some(unique::period(when::duration(period)?)?),
        None if args.unique_while.is_empty() => None,
        None => Some(unique::states(&args.unique_while)?),
    })
}

/// What the job waits for.
fn after(args: &Enqueue) -> Result<Vec<After>, CliError> {
    let conditions = [
        (&args.after, Condition::Success),
        (&args.after_failure, Condition::Failure),
        (&args.after_end, Condition::End),
    ];
    let mut all: Vec<After> = Vec::new();
    for (ids, on) in conditions {
        for job in job_ids(ids)? {
            if let Some(other) = all.iter().find(|other| other.job == job && other.on != on) {
                let what =
                    format!("{job} is named twice: after its {} and after its {on}", other.on);
                return Err(CliError::usage(what));
            }
            all.push(After { job, on });
        }
    }
    if all.is_empty()
        && args.after_batch.is_empty()
        && (args.needs.is_some() || args.otherwise.is_some())
    {
        return Err(CliError::usage("--needs and --otherwise are for a job that waits for others")
            .hint("queuectl enqueue --after ID --otherwise cancel 'echo hello'"));
    }
    Ok(all)
}

fn after_batches(args: &Enqueue) -> Result<Vec<AfterBatch>, CliError> {
    let on = args.on.unwrap_or_default();
    let batches = names("after-batch", &args.after_batch)?;
    Ok(batches.into_iter().map(|batch| AfterBatch { batch, on }).collect())
}

/// What the options that `enqueue` and `run` share ask of each job.
pub(super) fn shape(shape: &Shape) -> Result<JobSpec, CliError> {
    let mut env = BTreeMap::new();
    for assignment in &shape.env {
        let (name, value) = assignment.split_once('=').ok_or_else(|| {
            CliError::usage(format!("--env {assignment}: there is no value"))
                .hint(format!("--env {assignment}=VALUE"))
        })?;
        env.insert(name.to_owned(), value.to_owned());
    }
    let cwd = match &shape.cwd {
        Some(dir) => Some(
            dir.to_str()
                .ok_or_else(|| CliError::usage("--cwd: the name of the directory is not UTF-8"))?,
        ),
        None => None,
    };
    let backoff = shape.backoff.as_deref().map(str::parse).transpose();
    Ok(JobSpec {
        max_retries: shape.retries,
        max_crashes: shape.max_crashes.and_then(NonZeroU32::new),
        timeout: shape.timeout.as_deref().map(when::duration).transpose()?,
        backoff: backoff.map_err(|error: queuectl_core::InvalidBackoff| {
            CliError::usage(format!("--backoff: {error}"))
        })?,
        env,
        cwd: cwd.map(str::to_owned),
        tags: names("tag", &shape.tag)?,
        ..JobSpec::default()
    })
}

/// A file of jobs.
fn many(session: &Session, args: &Enqueue, options: &JobSpec) -> Result<Exit, CliError> {
    if options.id.is_some() {
        return Err(CliError::usage("--id names one job; the lines have their own ids"));
    }
    let (mut input, source): (Box<dyn BufRead>, String) = match &args.file {
        Some(path) if path.as_os_str() != "-" => {
            let cannot = |error: std::io::Error| {
                CliError::usage(format!("cannot read {}", path.display())).because(&error)
            };
            let file = File::open(path).map_err(cannot)?;
            (Box::new(BufReader::new(file)), path.display().to_string())
        }
        _ => (Box::new(std::io::stdin().lock()), "stdin".to_owned()),
    };
    let read = bulk::read(&mut *input, options, &session.when(), &Here::current())
        .map_err(|error| CliError::usage(format!("cannot read {source}")).because(&error))?;
    if !args.skip_invalid {
        refuse_bad(session, &source, &read.bad)?;
    }
    let store = session.store_path()?.open_or_create()?;
    let Free { numbers, jobs, taken } = free(&store, args, &source, read.jobs)?;
    let mut skipped: Vec<&BadLine> = read.bad.iter().chain(&taken).collect();
    skipped.sort_by_key(|bad| bad.number);
    for bad in &skipped {
        session.ui.note(format_args!(
            "skipped line {}: {}",
            bad.number,
            line(&bad.refused.sentence)
        ));
    }
    let mut added = Vec::with_capacity(jobs.len());
    for batch in jobs.chunks(BATCH_LEN_MAX) {
        let told = store.enqueue(batch).map_err(|error| {
            let lines = numbers.iter().copied().zip(&jobs).skip(added.len());
            let error = of_line(error, &source, lines);
            match added.len() {
                0 => error,
                done => error.hint(format!(
                    "the first {} of the file are enqueued, the others are not",
                    count(done, "job")
                )),
            }
        })?;
        added.extend(told);
    }
    print(session, args, &added, &skipped)
}

/// Names the bad lines, and enqueues nothing.
fn refuse_bad(session: &Session, source: &str, bad: &[BadLine]) -> Result<(), CliError> {
    let [first, rest @ ..] = bad else {
        return Ok(());
    };
    for bad in rest.iter().take(9).rev() {
        session.ui.note(format_args!("line {}: {}", bad.number, line(&bad.refused.sentence)));
    }
    let sentence = format!("line {} of {source}: {}", first.number, first.refused.sentence);
    let more = match rest.len() {
        0 => "nothing was enqueued".to_owned(),
        1 => "1 more bad line; nothing was enqueued".to_owned(),
        others => format!("{} more bad lines; nothing was enqueued", others),
    };
    let hint = first
        .refused
        .hint
        .iter()
        .map(String::as_str)
        .chain([more.as_str(), "--skip-invalid enqueues the good lines"])
        .collect::<Vec<_>>()
        .join("\n");
    Err(CliError::usage(sentence).hint(hint))
}

/// The jobs of a file that the store can take.
struct Free {
    /// The line of each.
    numbers: Vec<usize>,
    jobs: Vec<NewJob>,
    /// The lines that it would not take.
    taken: Vec<BadLine>,
}

/// The jobs whose ids are free. More jobs than one call takes are enqueued by several calls, and
/// the later ones must not fail for a reason that can be known before the first.
fn free(
    store: &dyn Store,
    args: &Enqueue,
    source: &str,
    jobs: Vec<(usize, NewJob)>,
) -> Result<Free, CliError> {
    let mut taken = Vec::new();
    let several = jobs.len() > BATCH_LEN_MAX;
    if !several && !args.skip_invalid {
        let (numbers, jobs) = jobs.into_iter().unzip();
        return Ok(Free { numbers, jobs, taken });
    }
    let mut earlier = HashSet::new();
    let mut numbers = Vec::with_capacity(jobs.len());
    let mut kept = Vec::with_capacity(jobs.len());
    for (number, job) in jobs {
        match obstacle(store, &job, &earlier)? {
            Some(error) if args.skip_invalid => {
                taken.push(BadLine { number, refused: Refused::new(error.to_string()) })
            }
            Some(error) => return Err(of_line(error, source, [(number, &job)])),
            None => {
                earlier.extend(job.id.clone());
                numbers.push(number);
                kept.push(job);
            }
        }
    }
    Ok(Free { numbers, jobs: kept, taken })
}

/// What the store said, with the number of the line that it is about, if it is about one.
fn of_line<'a>(
    error: StoreError,
    source: &str,
    lines: impl IntoIterator<Item = (usize, &'a NewJob)>,
) -> CliError {
    let mut lines = lines.into_iter();
    let line = match &error {
        StoreError::DuplicateId(id) => lines.find(|(_, job)| job.id.as_ref() == Some(id)),
        StoreError::NotFound(id) => {
            lines.find(|(_, job)| job.after.iter().any(|after| after.job == *id))
        }
        _ => None,
    };
    match line {
        Some((number, _)) => CliError::from(error).within(&format!("line {number} of {source}")),
        None => error.into(),
    }
}

/// Why the store would not take this job after the earlier ones of the file.
fn obstacle(
    store: &dyn Store,
    job: &NewJob,
    earlier: &HashSet<queuectl_core::JobId>,
) -> Result<Option<StoreError>, StoreError> {
    if let Some(id) = &job.id
        && store.job(id)?.is_some()
    {
        return Ok(Some(StoreError::DuplicateId(id.clone())));
    }
    for parent in job.after.iter().map(|after| &after.job) {
        if !earlier.contains(parent) && store.job(parent)?.is_none() {
            return Ok(Some(StoreError::NotFound(parent.clone())));
        }
    }
    Ok(None)
}

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    jobs: Vec<Added>,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
struct Added {
    id: String,
    created: bool,
    changed: bool,
}

#[derive(Serialize)]
struct Skipped {
    line: usize,
    error: String,
}

fn print(
    session: &Session,
    args: &Enqueue,
    added: &[Enqueued],
    skipped: &[&BadLine],
) -> Result<Exit, CliError> {
    if session.ui.json {
        let document = Document {
            schema_version: SchemaVersion,
            jobs: added
                .iter()
                .map(|job| Added {
                    id: job.id.to_string(),
                    created: job.created,
                    changed: job.changed,
                })
                .collect(),
            skipped: skipped
                .iter()
                .map(|bad| Skipped { line: bad.number, error: bad.refused.sentence.clone() })
                .collect(),
        };
        session.ui.document(&document)?;
        return Ok(Exit::DONE);
    }
    let mut text = String::new();
    for job in added {
        if args.quiet {
            text.push_str(&format!("{}\n", job.id));
        } else if job.created {
            text.push_str(&format!("enqueued {}\n", job.id));
        } else if job.changed {
            text.push_str(&format!("exists already, changed: {}\n", job.id));
        } else {
            text.push_str(&format!("exists already: {}\n", job.id));
        }
    }
    session.ui.print(text)?;
    if added.is_empty() && !args.quiet {
        session.ui.note("there was no job to enqueue");
    }
    Ok(Exit::DONE)
}
