//! `events`: what became of which job, and what happens.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdout, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Running, fields};

const EVENT_FIELDS: [&str; 13] = [
    "at", "attempt", "by", "cause", "change", "from", "id", "kind", "queue", "reason", "seq", "to",
    "worker",
];

/// A place whose log is on.
fn logging() -> Place {
    let place = Place::new();
    place.ok(&["config", "set", "event-log", "on"]);
    place
}

/// What these arguments show, in short.
fn seen(place: &Place, args: &[&str]) -> Vec<String> {
    let shown = place.json(&[&["events"], args].concat());
    shown["events"].as_array().expect("a list").iter().map(short).collect()
}

fn short(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().expect("a text").to_owned();
    format!("{} {}", text("id"), text("change"))
}

#[test]
fn a_log_that_is_off_says_how_to_turn_it_on() {
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    let said = place.run(&["events"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("queuectl config set event-log on"), "{said:?}");
    let document = place.json(&["events"]);
    assert_eq!(fields(&document), ["events", "more", "on", "schema_version"]);
    assert_eq!((&document["on"], &document["more"]), (&false.into(), &false.into()));
    place.ok(&["config", "set", "event-log", "on"]);
    let said = place.run(&["events"]);
    assert!(said.code == 0 && said.err.contains("queuectl enqueue"), "{said:?}");
}

#[test]
fn what_became_of_jobs_is_shown() {
    let place = logging();
    place.ok(&["enqueue", "a", "exit 3", "-r", "0"]);
    place.ok(&["enqueue", "b", "true", "--queue", "mail"]);
    place.ok(&["worker", "start", "--drain"]);
    place.ok(&["enqueue", "c", "true"]);
    place.ok(&["cancel", "c", "--reason", "not \u{1b}[31mwanted", "--by", "ada"]);
    let table = place.ok(&["events"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("SEQ"), "{table}");
    assert_eq!(lines.len(), 1 + 8, "{table}");
    let died = lines.iter().find(|line| line.contains("died")).unwrap();
    assert!(died.contains(" a ") && died.contains("w1") && died.ends_with("exited"), "{died}");
    assert!(lines[8].contains("cancelled"), "{table}");
    assert!(lines[8].ends_with(r" not \x1b[31mwanted, by ada"), "{table}");

    let document = place.json(&["events"]);
    let died = document["events"].as_array().unwrap().iter().find(|one| one["change"] == "died");
    let died = died.unwrap();
    assert_eq!(fields(died), EVENT_FIELDS);
    assert_eq!((&died["from"], &died["to"]), (&"processing".into(), &"dead".into()));
    assert_eq!((&died["attempt"], &died["worker"]), (&1.into(), &"w1".into()));
    assert_eq!((&died["cause"], &died["queue"]), (&"exited".into(), &"default".into()));
    assert_eq!(seen(&place, &["--job", "a"]), ["a added", "a claimed", "a died"]);
    assert_eq!(seen(&place, &["--queue", "mail"]), ["b added", "b claimed", "b completed"]);
    assert_eq!(seen(&place, &["-n", "2"]), ["c added", "c cancelled"]);
    assert_eq!(seen(&place, &["--after", "0", "-n", "2"]), ["a added", "b added"]);
    assert_eq!(seen(&place, &["--after", "7"]), ["c cancelled"]);
    assert_eq!(seen(&place, &["--job", "a", "-n", "1"]), ["a died"]);
    assert_eq!(seen(&place, &["-n", "0"]).len(), 8);
    assert_eq!(place.json(&["events", "-n", "8"])["more"], false);
    assert_eq!(place.json(&["events", "-n", "7"])["more"], true);
    assert_eq!(place.json(&["events", "--after", "0", "-n", "7"])["more"], true);
}

#[test]
fn what_does_not_fit_is_told_and_what_is_not_there_is_refused() {
    let place = logging();
    place.ok(&["enqueue", "a", "true"]);
    place.ok(&["enqueue", "b", "true"]);
    let said = place.run(&["events", "--queue", "mail"]);
    assert!(said.code == 0 && said.err.contains("queuectl events"), "{said:?}");
    for (args, code) in [
        (&["events", "--job", "nobody"][..], 3),
        (&["events", "--job", "no spaces"], 2),
        (&["events", "--queue", ""], 2),
        (&["events", "--after", "-1"], 2),
        (&["events", "-n", "x"], 2),
        (&["config", "set", "event-log", "maybe"], 2),
        (&["config", "set", "event-log-count", "0"], 2),
    ] {
        let said = place.run(args);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
    assert_eq!(place.json(&["config", "get", "event-log"])["value"], true);
    assert_eq!(place.json(&["config", "get", "event-log-count"])["value"], 100_000);
}

/// `events -f` with its outputs.
fn following(place: &Place, args: &[&str]) -> (Running, BufReader<ChildStdout>, ChildStderr) {
    let mut command = place.command(&[&["events", "-f"], args].concat());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    (Running(child), BufReader::new(out), err)
}

fn next_line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).expect("a line of text");
    line
}

#[test]
fn following_shows_what_was_and_what_happens_and_ends_at_a_signal() {
    let place = logging();
    place.ok(&["enqueue", "a", "true"]);
    place.ok(&["enqueue", "b", "true"]);
    let (mut program, mut out, mut err) = following(&place, &["--json", "-n", "1"]);
    let mut next = || -> Value { serde_json::from_str(&next_line(&mut out)).unwrap() };
    // The first has shown that it listens.
    let first = next();
    assert_eq!((first["schema_version"].as_i64(), short(&first)), (Some(1), "b added".to_owned()));
    place.ok(&["cancel", "a"]);
    assert_eq!(short(&next()), "a cancelled");
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!([short(&next()), short(&next())], ["b claimed", "b completed"]);
    program.signal(Signal::INT);
    assert_eq!(program.end(), 0);
    let mut said = String::new();
    err.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn following_lists_for_people_and_ends_when_nobody_reads() {
    let place = logging();
    place.ok(&["enqueue", "a", "true"]);
    let (mut program, mut out, mut err) = following(&place, &["--job", "a"]);
    assert!(next_line(&mut out).contains(" a "));
    place.ok(&["enqueue", "b", "true"]);
    place.ok(&["cancel", "a", "--reason", "bell \u{7}"]);
    let line = next_line(&mut out);
    assert!(line.contains("cancelled") && line.contains(r"bell \x07"), "{line}");
    drop(out);
    place.ok(&["retry", "a"]);
    assert_eq!(program.end(), 0);
    let mut said = String::new();
    err.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn following_a_log_that_is_off_waits_until_it_is_on() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true"]);
    let (mut program, mut out, err) = following(&place, &[]);
    let mut said = String::new();
    BufReader::new(err).read_line(&mut said).unwrap();
    assert!(said.contains("event-log on"), "{said}");
    place.ok(&["config", "set", "event-log", "on"]);
    place.ok(&["cancel", "a"]);
    assert!(next_line(&mut out).contains("cancelled"));
    program.signal(Signal::TERM);
    assert_eq!(program.end(), 0);
}
