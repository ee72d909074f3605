//! How `wait` and `run` end: as the jobs did.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Place, Said, until};

#[test]
fn running_one_job_ends_as_the_job_did() {
    let place = Place::new();
    let cases: &[(&[&str], i32)] = &[
        (&["true"], 0),
        (&["exit 3"], 3),
        (&["exit 255"], 255),
        (&["kill -9 $$"], 137),
        (&["kill -15 $$"], 143),
        (&["--timeout", "300ms", "sleep 30"], 124),
        (&["no-such-command-anywhere"], 127),
        (&["--", "sh", "-c", "exit 7"], 7),
        (&["true", "exit 3"], 1),
        (&["exit 3", "exit 4", "true"], 2),
        (&["true", "true"], 0),
    ];
    for (args, code) in cases {
        let said = place.run(&[&["run", "-r", "0"], *args].concat());
        assert_eq!(said.code, *code, "{args:?}: {said:?}");
    }
}

#[test]
fn waiting_ends_as_the_jobs_did() {
    let place = Place::new();
    for (id, command) in [("good", "true"), ("bad", "exit 3"), ("worse", "kill -9 $$")] {
        place.ok(&["enqueue", id, command, "-r", "0"]);
    }
    let early = place.run(&["wait", "good", "--timeout", "0.1"]);
    assert_eq!(early.code, 124, "as timeout(1) does");
    assert!(early.err.contains("gave up") && early.err.contains("worker start"), "{early:?}");
    place.ok(&["worker", "start", "--drain"]);
    for (ids, code) in
        [(&["good"][..], 0), (&["bad"], 3), (&["worse"], 137), (&["good", "bad", "worse"], 2)]
    {
        let said = place.run(&[&["wait"], ids].concat());
        assert_eq!(said.code, code, "{ids:?}: {said:?}");
        assert_eq!(said.out.lines().count(), ids.len());
    }
    let said = place.run(&["wait", "bad", "--json"]);
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["jobs"][0]["exit_code"], 3);
    assert_eq!(document["exit_code"], 3);
}

#[test]
fn a_run_shows_output_failures_and_retries() {
    let place = Place::new();
    let said = place.run(&[
        "run",
        "--retries",
        "2",
        "--backoff",
        "constant:200ms",
        "echo hello",
        "exit 3",
    ]);
    assert_eq!((said.code, said.out.as_str()), (1, "hello\n"), "{said:?}");
    for words in [
        "started   echo hello",
        "completed in",
        "exit code 3 (attempt 1 of 3",
        "next attempt in 200ms",
        "attempt 3 of 3",
        "it is in the dead letter queue",
        "1 completed, 1 dead",
        "queuectl show",
    ] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    assert!(place.ok(&["dlq", "list"]).contains("exit 3"));
}

#[test]
fn a_run_reads_commands_from_the_standard_input_and_passes_bytes_through() {
    let place = Place::new();
    let said = place.feed(&["run", "-c", "1"], "echo one\n\nprintf 'two\\033[0m'\n");
    assert_eq!((said.code, said.out.as_str()), (0, "one\ntwo\u{1b}[0m"), "{said:?}");
    let long = place.run(&["run", "seq 50000"]);
    assert_eq!(long.out.lines().count(), 50_000, "more than a record keeps");
    let none = place.feed(&["run"], "");
    assert_eq!(none.code, 0, "{none:?}");
}

#[test]
fn a_run_that_is_interrupted_says_how_to_go_on() {
    let place = Place::new();
    place.ok(&["config", "set", "grace", "500ms"]);
    let mut run = place.start(&["run", "-c", "1", "sleep 60", "touch second"]);
    let mut err = BufReader::new(run.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("started") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0);
    }
    run.signal(Signal::INT);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut err, &mut rest).unwrap();
    assert_eq!(run.end(), 130, "{rest}");
    assert!(rest.contains("stopped, with 2 jobs left"), "{rest}");
    let (_, hint) = rest.split_once("go on with: queuectl ").unwrap();
    let mut args: Vec<&str> = hint.split_whitespace().collect();
    // Ordinary workers leave a run's jobs alone.
    place.ok(&["worker", "start", "--drain"]);
    assert!(!place.dir().join("second").exists());
    place.ok(&["cancel", "q1"]);
    assert_eq!(args.remove(0), "worker");
    place.ok(&[&["worker"], args.as_slice()].concat());
    assert!(place.dir().join("second").exists());
}

#[test]
fn a_run_of_one_job_shows_its_output_as_it_comes() {
    let place = Place::new();
    let command = "echo one; while [ ! -e go ]; do sleep 0.05; done; printf two";
    let mut run = place
        .command(&["run", command])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n", "while it runs");
    std::fs::write(place.dir().join("go"), "").unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "two");
    assert!(run.wait().unwrap().success());
}

/// A full disk must not look like a job that printed nothing.
#[test]
fn a_run_whose_output_cannot_be_written_says_so_and_the_jobs_go_on() {
    let place = Place::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = |jobs: &[&str]| {
        let args = [["run", "-c", "1", "--retries", "0"].as_slice(), jobs].concat();
        Said::of(place.command(&args).stdout(full()).output().unwrap())
    };
    let said = run(&["echo one", "echo two"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("cannot write the output: No space left on device"), "{}", said.err);
    assert!(said.err.contains("2 completed"), "{}", said.err);
    assert_eq!(run(&["echo one; exit 3"]).code, 3, "how the job ended counts more");
}

/// What makes `run` more than a loop: it can be killed at any moment, and goes on.
#[test]
fn a_run_that_is_killed_can_be_finished() {
    let place = Place::new();
    let first = "if [ -e once ]; then exit 0; else touch once; sleep 60; fi";
    let mut run = place.start(&["run", "-c", "1", first, "touch second"]);
    until("the first job runs", || place.dir().join("once").exists());
    run.signal(Signal::KILL);
    run.end();
    let said = place.run(&["status"]).err;
    let (_, hint) = said.split_once("a run was not finished: queuectl ").unwrap();
    let args: Vec<&str> = hint.lines().next().unwrap().split_whitespace().collect();
    place.ok(&args);
    assert!(place.dir().join("second").exists());
    assert_eq!(place.json(&["status"])["jobs"]["completed"], 2);
    assert_eq!(place.attempts("q1")[0]["cause"], "lease_lost");
}
