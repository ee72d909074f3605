//! Schedules: shown before they are saved, attended to by workers, once, whatever is killed.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Running, fields, moment, until};

const SCHEDULE_FIELDS: [&str; 16] = [
    "command",
    "created_at",
    "cron",
    "every_seconds",
    "kind",
    "last",
    "missed",
    "name",
    "next",
    "overlap",
    "paused",
    "payload",
    "queue",
    "updated_at",
    "waiting",
    "zone",
];

#[test]
fn the_next_five_times_are_shown_and_nothing_is_saved_by_a_dry_run() {
    let place = Place::new();
    let add = ["schedule", "add", "nightly", "--cron", "@daily", "./backup"];
    let shown = place.ok(&[&add[..], &["--dry-run"]].concat());
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.lines().all(|line| line.contains(" 00:00:00 +00:00 (in ")), "{shown}");
    assert!(!place.store().exists());
    let shown = place.json(&[&add[..], &["--dry-run", "--zone", "Asia/Kathmandu"]].concat());
    assert_eq!(fields(&shown), ["created", "next", "schedule", "schema_version"]);
    assert_eq!(shown["created"], Value::Null);
    let next = shown["next"].as_array().unwrap();
    assert!(next.iter().all(|moment| moment.as_str().unwrap().ends_with("T18:15:00.000Z")));
    assert!(!place.store().exists());

    let added = place.ok(&add);
    assert_eq!(added.lines().count(), 6, "{added}");
    assert!(added.ends_with("added schedule nightly: @daily UTC\n"), "{added}");
    assert!(place.ok(&add).ends_with("replaced schedule nightly: @daily UTC\n"));
}

#[test]
fn a_schedule_is_shown_paused_run_and_removed() {
    let place = Place::new();
    let added = place.json(&[
        "schedule",
        "add",
        "report",
        "--every",
        "1h",
        "--overlap",
        "queue-one",
        "--missed",
        "all:3",
        "--queue",
        "mail",
        "-r",
        "0",
        "--tag",
        "t",
        "echo 'a b'",
    ]);
    assert_eq!(fields(&added["schedule"]), SCHEDULE_FIELDS);
    assert_eq!(added["created"], true);
    assert_eq!(added["schedule"]["every_seconds"], 3600.0);
    assert_eq!(added["schedule"]["missed"], "all:3");
    assert_eq!(added["schedule"]["overlap"], "queue-one");
    assert_eq!(added["schedule"]["command"], "echo 'a b'");
    assert_eq!(added["next"].as_array().unwrap().len(), 5);

    let made = place.json(&["schedule", "run", "report"]);
    let job = place.job(made["id"].as_str().unwrap());
    assert_eq!((&job["queue"], &job["max_retries"]), (&"mail".into(), &0.into()));
    assert_eq!(job["tags"], serde_json::json!(["t"]));
    let shown = place.json(&["schedule", "show", "report"]);
    assert_eq!(fields(&shown), ["history", "next", "schedule", "schema_version"]);
    assert_eq!(fields(&shown["history"][0]), ["at", "job", "outcome", "tick", "until"]);
    assert_eq!(shown["history"][0]["outcome"], "by_hand");
    assert_eq!(shown["history"][0]["job"], made["id"]);
    let text = place.ok(&["schedule", "show", "report"]);
    assert!(text.contains("every 1h") && text.contains("by hand"), "{text}");

    assert!(place.ok(&["schedule", "pause", "report"]).contains("paused report"));
    assert!(place.ok(&["schedule", "list"]).contains("paused"));
    assert_eq!(place.json(&["schedule", "show", "report"])["next"], serde_json::json!([]));
    place.ok(&["schedule", "resume", "report"]);
    assert!(place.ok(&["schedule", "ls"]).contains("in 59m"));
    place.ok(&["schedule", "remove", "report"]);
    assert_eq!(place.json(&["schedule", "list"])["schedules"], serde_json::json!([]));
    let none = place.run(&["schedule", "list"]);
    assert!(none.err.contains("queuectl schedule add"), "{none:?}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_exit_code() {
    let place = Place::new();
    let add = |args: &[&str]| place.run(&[&["schedule", "add"], args].concat());
    let cases: [(&[&str], &str); 11] = [
        (&["a", "true", "--cron", "61 * * * *"], "the minute \"61\" of the cron expression"),
        (&["a", "true", "--cron", "0 0 30 2 *"], "never comes true"),
        (&["a", "true", "--cron", "@reboot"], "\"@reboot\" is no cron expression"),
        (&["a", "true", "--cron", "@daily", "--zone", "Mars"], "\"Mars\" is no time zone"),
        (&["a", "true", "--every", "0.5"], "an interval takes 1 second to 100 years"),
        (&["a", "true", "--every", "soon"], "\"soon\" is not a duration"),
        (&["a b", "true", "--every", "5m"], "is not a name"),
        (&["a", "--every", "5m"], "there is nothing to enqueue"),
        (&["a", "true", "--every", "5m", "--missed", "all:0"], "is not skip, one, all or all:N"),
        (&["a", r#"{"id":"x","command":"true"}"#, "--every", "5m"], "cannot have an id of its own"),
        (&["a", "true"], "--cron"),
    ];
    for (args, said) in cases {
        let refused = add(args);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains(said), "{refused:?}");
    }
    assert!(!place.store().exists());
    place.ok(&["enqueue", "true"]);
    for command in ["show", "pause", "resume", "remove", "run"] {
        let refused = place.run(&["schedule", command, "nobody"]);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.err.contains("there is no schedule nobody"), "{refused:?}");
    }
}

/// Four processes tick, and are killed at any moment; each is replaced at once. Whatever a schedule has
/// counted as a tick has made one job, and no second is left out or made twice.
#[test]
fn each_tick_makes_one_job_whatever_is_killed() {
    const TICKS: usize = 12;
    let place = Place::new();
    let mut workers: Vec<Running> = (0..4).map(|_| place.worker(&[])).collect();
    place.ok(&["schedule", "add", "second", "true", "--cron", "* * * * * *", "--missed", "all"]);
    place.ok(&["schedule", "add", "beat", "true", "--every", "1", "--missed", "all"]);
    let history = |name: &str| {
        let shown = place.json(&["schedule", "show", name]);
        shown["history"].as_array().unwrap().clone()
    };
    let mut killed = 0;
    let mut next = 0;
    until("enough ticks have been attended to", || {
        workers[next % 4].signal(Signal::KILL);
        workers[next % 4] = place.worker(&[]);
        (killed, next) = (killed + 1, next + 1);
        history("second").len() >= TICKS && history("beat").len() >= TICKS
    });
    for worker in &workers {
        worker.signal(Signal::KILL);
    }
    drop(workers);
    assert!(killed >= 4, "{killed}");
    let mut made = BTreeSet::new();
    for name in ["second", "beat"] {
        let mut ticks = Vec::new();
        for entry in history(name) {
            assert_eq!(entry["outcome"], "enqueued", "{entry}");
            assert!(made.insert(entry["job"].as_str().unwrap().to_owned()), "{entry}");
            ticks.push(moment(&entry["tick"]).as_millis());
        }
        // Newest first, a second from each to the next: none is missing and none is there twice.
        let gaps: BTreeSet<i64> = ticks.windows(2).map(|pair| pair[0] - pair[1]).collect();
        let steady = gaps.iter().all(|gap| (950..=1050).contains(gap));
        assert!(steady && (name == "beat" || gaps == BTreeSet::from([1000])), "{name}: {gaps:?}");
    }
    let jobs = place.everything();
    let jobs: BTreeSet<String> = jobs["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(jobs, made);
}
