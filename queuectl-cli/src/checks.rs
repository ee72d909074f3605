//! What must hold for any input whatever, one function for each kind of input. Property tests and
//! fuzz targets call them; the program does not.
//!
//! Each panics if the property does not hold.

use std::ffi::OsString;

use clap::Parser;
use jiff::tz::TimeZone;
use queuectl_core::{JSON_LEN_MAX, NewJob, Timestamp};

use crate::args::Args;
use crate::input::bulk;
use crate::input::job_spec::{CRASHES_MAX, Here, JobSpec, RETRIES_MAX};
use crate::input::when::When;
use crate::output::display;

/// A file of JSON lines: every line that is not blank makes one job or is named as bad, and what
/// makes a job is within all limits.
pub fn json_lines(file: &[u8]) -> Vec<NewJob> {
    let when = When::new(Timestamp::from_millis(1_800_000_000_000), TimeZone::UTC);
    let read = bulk::read(&mut &file[..], &JobSpec::default(), &when, &Here::current());
    let Ok(read) = read else { unreachable!("memory can be read") };
    let jobs = read.jobs.iter().map(|(number, _)| *number);
    let mut numbers: Vec<usize> = jobs.chain(read.bad.iter().map(|bad| bad.number)).collect();
    numbers.sort_unstable();
    assert!(numbers.is_sorted_by(|a, b| a < b), "a line is read once: {numbers:?}");
    let lines = file.split(|&byte| byte == b'\n').count();
    assert!(numbers.last().is_none_or(|last| *last <= lines), "{numbers:?} of {lines}");
    for bad in &read.bad {
        let shown = display::line(&bad.refused.sentence).to_string();
        assert!(!shown.is_empty() && !shown.contains(char::is_control), "{shown:?}");
    }
    read.jobs.into_iter().map(|(_, job)| checked(job)).collect()
}

fn checked(job: NewJob) -> NewJob {
    assert!(job.payload.as_str().len() <= JSON_LEN_MAX);
    assert!(job.max_retries.is_none_or(|retries| retries <= RETRIES_MAX));
    assert!(job.max_crashes.is_none_or(|crashes| crashes.get() <= CRASHES_MAX));
    assert!(job.timeout.is_none_or(|timeout| !timeout.is_zero()));
    assert!(job.unique_key.as_ref().is_none_or(|key| (1..=256).contains(&key.len())));
    if let Some(id) = &job.id {
        let chosen = NewJob::from_json(job.kind.clone(), job.payload.clone()).id(&id.to_string());
        assert!(chosen.is_ok_and(|chosen| chosen.id.as_ref() == Some(id)), "{id} can be chosen");
    }
    job
}

/// Text that a job controls: nothing that a terminal obeys is left of it, and what is cut takes no
/// more room than it may.
pub fn shown(bytes: &[u8], columns: usize) {
    let text = String::from_utf8_lossy(bytes);
    let line = display::line(&text).to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    let lines = display::text(&text).to_string();
    let obeyed = |shown: char| shown.is_control() && shown != '\n' && shown != '\t';
    assert!(!lines.contains(obeyed), "{lines:?}");
    let cut = display::truncate(&line, columns);
    assert!(display::width(&cut) <= columns, "{cut:?} in {columns}");
    assert!(display::width(&line) > columns || cut == line, "{line:?} was cut to {cut:?}");
    let document = serde_json::Value::from(text.as_ref()).to_string();
    let escaped = display::json(&document);
    assert!(!escaped.contains(char::is_control), "{escaped:?}");
    let back: Result<String, _> = serde_json::from_str(&escaped);
    assert!(back.is_ok_and(|back| back == text), "{escaped:?}");
}

/// Arguments: they are understood, or the program ends with 2 and a sentence; or with 0, if all that
/// was asked for is help.
pub fn arguments(arguments: &[OsString]) {
    let program = OsString::from("queuectl");
    if let Err(refused) = Args::try_parse_from(std::iter::once(&program).chain(arguments)) {
        assert!([0, 2].contains(&refused.exit_code()), "{arguments:?}");
        assert!(!refused.to_string().is_empty(), "{arguments:?}");
    }
}

/// Times as people write them: whatever is understood is within what can be kept.
pub fn times(text: &str) {
    let now = Timestamp::from_millis(1_800_000_000_000);
    let when = When::new(now, TimeZone::UTC);
    if let Ok(queuectl_core::Start::At(moment)) = when.start(text) {
        assert!(moment > now, "{text:?}");
    }
    if let Ok(past) = when.past(text) {
        assert!(past <= Timestamp::MAX, "{text:?}");
    }
}
