//! Many jobs, one JSON object a line. Every line is read and checked before any is enqueued.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use queuectl_core::{JobId, NewJob};

use super::Refused;
use super::job_json::{self, JOB_TEXT_LEN_MAX};
use super::job_spec::{Here, JobSpec};
use super::when::When;

/// A line that makes no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// Its number, from 1 on.
    pub(crate) number: usize,
    /// Why.
    pub(crate) refused: Refused,
}

/// The jobs of a file, each with the number of its line, and the lines that make none.
#[derive(Debug, Default)]
pub(crate) struct Bulk {
    /// The jobs, in order.
    pub(crate) jobs: Vec<(usize, NewJob)>,
    /// The other lines, in order. Blank lines are neither.
    pub(crate) bad: Vec<BadLine>,
}

/// Reads every line. `options` hold for each job.
pub(crate) fn read(
    input: &mut dyn BufRead,
    options: &JobSpec,
    when: &When,
    here: &Here,
) -> std::io::Result<Bulk> {
    let mut bulk = Bulk::default();
    let mut seen: HashMap<JobId, usize> = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        // A line longer than any job is read only as far as is needed to know that.
        let limit = JOB_TEXT_LEN_MAX as u64 + 2;
        if (&mut *input).take(limit).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n') || (line.len() as u64) < limit;
        if !whole {
            input.skip_until(b'\n')?;
        }
        match job_of(&line, number, options, when, here, &mut seen) {
            Ok(Some(job)) => bulk.jobs.push((number, job)),
            Ok(None) => {}
            Err(refused) => bulk.bad.push(BadLine { number, refused }),
        }
    }
    Ok(bulk)
}

fn job_of(
    line: &[u8],
    number: usize,
    options: &JobSpec,
    when: &When,
    here: &Here,
    seen: &mut HashMap<JobId, usize>,
) -> Result<Option<NewJob>, Refused> {
    let text = std::str::from_utf8(line).map_err(|_| Refused::new("the line is not UTF-8"))?;
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let job = job_json::parse(text, when)?.and(options).into_job(here)?;
    if let Some(id) = &job.id {
        if let Some(first) = seen.get(id) {
            return Err(Refused::new(format!("line {first} has the id {id} already")));
        }
        seen.insert(id.clone(), number);
    }
    Ok(Some(job))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use queuectl_core::Timestamp;

    use super::*;

    fn bulk(text: &[u8]) -> Bulk {
        let when = When::new(Timestamp::from_millis(0), TimeZone::UTC);
        read(&mut &text[..], &JobSpec::default(), &when, &Here::current()).unwrap()
    }

    #[test]
    fn each_line_is_a_job_and_blank_lines_are_nothing() {
        let bulk = bulk(b"\xef\xbb\xbf{\"command\":\"a\"}\r\n\n  \n{\"command\":\"b\"}");
        let numbers: Vec<usize> = bulk.jobs.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4]);
        assert!(bulk.bad.is_empty());
    }

    #[test]
    fn bad_lines_are_named_by_their_number() {
        let bulk = bulk(
            b"{\"id\":\"a\",\"command\":\"x\"}\nnope\n{\"id\":\"a\",\"command\":\"y\"}\n\xff\n{\"command\":\"z\"}\n",
        );
        let bad: Vec<usize> = bulk.bad.iter().map(|bad| bad.number).collect();
        assert_eq!(bad, [2, 3, 4]);
        assert!(bulk.bad[1].refused.sentence.contains("line 1 has the id a"));
        assert_eq!(bulk.jobs.len(), 2);
    }

    #[test]
    fn a_line_longer_than_any_job_is_refused_and_the_next_one_read() {
        let mut text = b"{\"command\":\"".to_vec();
        text.resize(3 * JOB_TEXT_LEN_MAX, b'x');
        text.extend(b"\"}\n{\"command\":\"ok\"}\n");
        let bulk = bulk(&text);
        assert_eq!(bulk.bad.len(), 1);
        assert_eq!((bulk.jobs.len(), bulk.jobs[0].0), (1, 2));
    }
}
