//! What is shown of jobs, to people and to programs.

use std::process::Stdio;

use crate::support::{Place, fields, who};

/// The shape of a job in JSON is a promise.
const JOB_FIELDS: [&str; 38] = [
    "after",
    "after_batches",
    "argv",
    "attempts",
    "backoff",
    "batch",
    "cancel_reason",
    "cancelled_by",
    "command",
    "concurrency_key",
    "created_at",
    "expires_at",
    "failure",
    "finished_at",
    "id",
    "kind",
    "last_error",
    "max_attempts",
    "max_crashes",
    "max_retries",
    "needs",
    "otherwise",
    "payload",
    "priority",
    "progress",
    "queue",
    "result",
    "run_at",
    "started_at",
    "state",
    "tags",
    "timeout_seconds",
    "unique_key",
    "unique_until",
    "unique_while",
    "updated_at",
    "waits_for",
    "worker",
];

#[test]
fn the_documents_keep_their_shape() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "echo out; echo err >&2; exit 3", "-r", "0"]);
    place.ok(&["worker", "start", "--drain"]);
    let listed = place.json(&["list"]);
    assert_eq!(fields(&listed), ["jobs", "more", "schema_version"]);
    assert_eq!(fields(&listed["jobs"][0]), JOB_FIELDS);
    let shown = place.json(&["show", "a"]);
    assert_eq!(fields(&shown), ["attempts", "job", "notes", "schema_version"]);
    let attempt = &shown["attempts"][0];
    assert_eq!(attempt["number"], 1);
    assert_eq!(attempt["cause"], "exited");
    assert_eq!(attempt["exit_code"], 3);
    assert_eq!(attempt["stdout"]["head"], "out\n");
    assert_eq!(attempt["stdout"]["bytes"], 4);
    assert_eq!(attempt["stderr"]["head"], "err\n");
    let status = place.json(&["status"]);
    assert_eq!(fields(&status), ["jobs", "queues", "schema_version", "store", "workers"]);
    assert_eq!(status["jobs"]["dead"], 1);
}

#[test]
fn jobs_are_found_by_what_they_are() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true", "--queue", "mail", "--tag", "x"]);
    place.ok(&["enqueue", "b", "true", "--priority", "9"]);
    place.ok(&["enqueue", r#"{"id":"c","kind":"email","payload":{}}"#]);
    place.ok(&["cancel", "b"]);
    let ids = |args: &[&str]| -> Vec<String> {
        let listed = place.json(&[&["list"], args].concat());
        let jobs = listed["jobs"].as_array().unwrap();
        jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&[]), ["c", "b", "a"]);
    assert_eq!(ids(&["--reverse"]), ["a", "b", "c"]);
    assert_eq!(ids(&["pending"]), ["c", "a"]);
    assert_eq!(ids(&["--state", "cancelled"]), ["b"]);
    assert_eq!(ids(&["--state", "cancelled,pending"]), ["c", "b", "a"]);
    assert_eq!(ids(&["--queue", "mail"]), ["a"]);
    assert_eq!(ids(&["--tag", "x"]), ["a"]);
    assert_eq!(ids(&["--kind", "email"]), ["c"]);
    assert_eq!(ids(&["--sort", "priority", "--limit", "1"]), ["b"]);
    assert_eq!(ids(&["--after", "1h"]), ["c", "b", "a"]);
    assert_eq!(ids(&["--before", "1h"]), Vec::<String>::new());
    assert!(place.json(&["list", "--limit", "2"])["more"].as_bool().unwrap());
}

#[test]
fn a_limit_of_nothing_shows_everything() {
    let place = Place::new();
    let lines = "{\"command\":\"true\"}\n".repeat(2_345);
    assert_eq!(place.feed(&["enqueue", "-"], &lines).code, 0);
    let count = |limit: &str| place.ok(&["list", "--limit", limit]).lines().count() - 1;
    assert_eq!(count("0"), 2_345);
    assert_eq!(count("1500"), 1_500);
    assert_eq!(count("5000"), 2_345);
}

#[test]
fn an_empty_answer_says_what_to_type_next() {
    let place = Place::new();
    place.ok(&["config", "set", "max-retries", "3"]);
    for (args, words) in [
        (&["list"][..], "queuectl enqueue"),
        (&["status"], "queuectl enqueue"),
        (&["worker", "list"], "queuectl worker start"),
        (&["dlq", "list"], "is empty"),
        (&["dlq", "groups"], "is empty"),
    ] {
        let said = place.run(args);
        assert_eq!(said.code, 0);
        assert!(said.err.contains(words), "{args:?}: {said:?}");
    }
    assert_eq!(place.json(&["list"])["jobs"].as_array().unwrap().len(), 0);
}

/// A job's command, its output and its error are whatever someone put there.
#[test]
fn nothing_that_a_job_says_reaches_the_terminal_as_a_control() {
    let place = Place::new();
    let evil = "printf '\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}\r\u{9b}2J'; printf '\u{1b}[2J' >&2; exit 1 # \u{1b}[31m";
    place.ok(&["enqueue", "evil", evil, "-r", "0", "--unique-key", "\u{1b}[5m"]);
    place.ok(&["worker", "start", "--drain"]);
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["show", "evil"],
        &["show", "evil", "--json"],
        &["dlq", "list"],
        &["dlq", "groups"],
        &["dlq", "groups", "--json"],
        &["logs", "evil"],
        &["logs", "evil", "--json"],
        &["run", "-r", "0", evil],
    ] {
        let said = place.run(args);
        // A pipe gets the output of `run` as it is; its lines of progress are for people.
        let shown = match args[0] {
            "run" => said.err,
            _ => format!("{}{}", said.out, said.err),
        };
        let control = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!shown.contains(control), "{args:?}: {shown:?}");
        assert!(!shown.is_empty());
    }
    let raw = place.ok(&["logs", "evil", "--stdout", "--raw"]);
    assert!(raw.starts_with("\u{1b}]52"));
}

#[test]
fn logs_are_whole_even_where_the_record_is_not() {
    let place = Place::new();
    place.ok(&["enqueue", "long", "seq 100000"]);
    place.ok(&["worker", "start", "--drain"]);
    let all: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(place.ok(&["logs", "long"]) == all);
    let attempt = &place.attempts("long")[0];
    assert_eq!(attempt["stdout"]["bytes"], all.len());
    assert!(attempt["stdout"]["omitted_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn logs_follow_a_job_to_its_end() {
    let place = Place::new();
    let command = "echo one; while [ ! -e go ]; do sleep 0.05; done; echo two";
    place.ok(&["enqueue", "slow", command]);
    let _worker = place.start(&["worker", "start"]);
    let mut follower =
        place.command(&["logs", "slow", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "one\n", "while it runs");
    std::fs::write(place.dir().join("go"), "").unwrap();
    line.clear();
    std::io::Read::read_to_string(&mut out, &mut line).unwrap();
    assert_eq!(line, "two\n");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    let lines = "{\"command\":\"true\"}\n".repeat(5_000);
    assert_eq!(place.feed(&["enqueue", "-"], &lines).code, 0);
    let mut child = place
        .command(&["list", "--limit", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_terminal_of_80_columns_is_enough() {
    let place = Place::new();
    let command = format!("echo {}", "日本 ".repeat(60));
    place.ok(&["enqueue", "a-rather-long-id-that-someone-chose", &command, "--tag", "t1,t2"]);
    let program = env!("CARGO_BIN_EXE_queuectl");
    let typescript = place
        .process("script")
        .args(["-qec", &format!("{program} list"), "/dev/null"])
        .env("NO_COLOR", "1")
        .output();
    let Ok(typescript) = typescript else {
        // Not every machine has script(1); the table has its own test of widths.
        return;
    };
    let shown = String::from_utf8(typescript.stdout).unwrap();
    assert!(shown.contains("a-rather-long-id"), "{shown}");
    for line in shown.lines() {
        let width = unicode_width::UnicodeWidthStr::width(line.trim_end_matches('\r'));
        assert!(width <= 80, "{width}: {line:?}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn colour_is_for_those_who_ask_for_it() {
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    assert!(!place.ok(&["list"]).contains('\u{1b}'));
    assert!(place.ok(&["list", "--color", "always"]).contains('\u{1b}'));
    assert!(!place.ok(&["list", "--color", "always", "--json"]).contains('\u{1b}'));
}

#[test]
fn an_attempt_that_was_not_made_is_not_found() {
    let place = Place::new();
    place.ok(&["enqueue", "waiting", "true"]);
    let said = place.run(&["logs", "waiting"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(place.json(&["logs", "waiting"])["attempt"].is_null());
    assert_eq!(place.run(&["logs", "waiting", "--attempt", "1"]).code, 3);

    place.run(&["run", "-r", "0", "exit 3"]);
    let dead = place.json(&["dlq", "list"])["jobs"][0]["id"].as_str().unwrap().to_owned();
    place.ok(&["logs", &dead, "--attempt", "1"]);
    for follow in [&[][..], &["-f"], &["--json"]] {
        let said = place.run(&[&["logs", &dead, "--attempt", "2"], follow].concat());
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains("has no attempt 2"), "{said:?}");
        assert!(said.err.contains("it has had 1 attempt"), "{said:?}");
    }
}

#[test]
fn a_job_that_waits_for_a_dead_one_says_so() {
    let place = Place::new();
    place.ok(&["enqueue", "first", "exit 1", "--retries", "0"]);
    place.ok(&["enqueue", "second", "true", "--after", "first"]);
    assert!(place.ok(&["show", "second"]).contains("first (pending)"));
    place.ok(&["worker", "start", "--drain"]);
    assert!(place.ok(&["show", "second"]).contains("first (dead: queuectl dlq retry first)"));
}

#[test]
fn a_job_that_waits_shows_under_which_terms() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true"]);
    place.ok(&["enqueue", "b", "true"]);
    let terms = ["--after", "a", "--after-failure", "b", "--needs", "any", "--otherwise", "cancel"];
    place.ok(&[&["enqueue", "c", "true"][..], &terms].concat());
    let shown = place.ok(&["show", "c"]);
    assert!(shown.contains("a (pending), failure of b (pending)"), "{shown}");
    assert!(shown.contains("any one of them is enough; if they end otherwise, it is cancelled"));
    let job = place.job("c");
    assert_eq!(job["waits_for"][1], "b");
    assert_eq!(job["after"][0], serde_json::json!({"job": "a", "on": "success"}));
    assert_eq!(job["after"][1]["on"], "failure");
    assert_eq!((&job["needs"], &job["otherwise"]), (&"any".into(), &"cancel".into()));
    place.ok(&["cancel", "b"]);
    let job = place.job("c");
    assert_eq!((&job["state"], &job["needs"]), (&"pending".into(), &serde_json::Value::Null));
}

#[test]
fn who_cancelled_a_job_is_shown_whatever_the_environment_says() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true"]);
    place.ok(&["enqueue", "b", "true"]);
    let mut cancel = place.command(&["cancel", "a", "--reason", "too late"]);
    assert!(cancel.env("USER", "mallory").env("LOGNAME", "mallory").status().unwrap().success());
    let job = place.job("a");
    assert_eq!((&job["cancel_reason"], &job["cancelled_by"]), (&"too late".into(), &who().into()));
    let shown = place.ok(&["show", "a"]);
    assert!(shown.contains(&format!("cancelled by  {}\n", who())), "{shown}");
    place.ok(&["cancel", "b", "--by", "the nightly clean-up"]);
    assert_eq!(place.job("b")["cancelled_by"], "the nightly clean-up");
}
