//! Every form in which a job can be handed in.

use std::path::Path;

use crate::support::{Place, seconds, until};

#[test]
fn every_form_makes_a_job() {
    let place = Place::new();
    let json = r#"{"id":"job1","command":"sleep 2","max_retries":3}"#;
    assert_eq!(place.ok(&["enqueue", json]), "enqueued job1\n");
    let job = place.job("job1");
    assert_eq!(job["command"], "sleep 2");
    assert_eq!(job["max_retries"], 3);
    assert_eq!(job["attempts"], 0);
    assert_eq!(job["state"], "pending");

    place.ok(&["enqueue", "job2", "echo hi", "--retries", "5"]);
    assert_eq!(place.job("job2")["max_attempts"], 6);

    let id = place.ok(&["enqueue", "-q", "echo hi && date"]);
    assert_eq!(place.job(id.trim())["command"], "echo hi && date");

    let id = place.ok(&["enqueue", "--quiet", "--", "rsync", "-a", "my src", "dst"]);
    let job = place.job(id.trim());
    assert_eq!(job["argv"][2], "my src");
    assert_eq!(job["command"], "rsync -a 'my src' dst");

    place.ok(&["enqueue", "job3", "--", "true"]);
    assert_eq!(place.job("job3")["argv"][0], "true");
}

#[test]
fn the_fields_that_older_programs_wrote_are_accepted() {
    let place = Place::new();
    place.ok(&[
        "enqueue",
        r#"{"id":"old","command":"true","state":"pending","attempts":0,"max_retries":3,
            "created_at":"2025-11-04T10:30:00Z","updated_at":"2025-11-04T10:30:00Z"}"#,
    ]);
    assert_eq!(place.state("old"), "pending");
}

#[test]
fn options_shape_the_job() {
    let place = Place::new();
    place.ok(&["enqueue", "first", "true"]);
    place.ok(&[
        "enqueue",
        "shaped",
        "true",
        "--queue",
        "mail",
        "--priority",
        "-7",
        "-r",
        "0",
        "--delay",
        "1h",
        "--timeout",
        "90s",
        "--backoff",
        "constant:30s",
        "--env",
        "A=b=c",
        "--cwd",
        "/srv",
        "--unique-key",
        "k",
        "--after",
        "first",
        "--tag",
        "x,y",
    ]);
    let job = place.job("shaped");
    assert_eq!(job["queue"], "mail");
    assert_eq!(job["priority"], -7);
    assert_eq!(job["max_retries"], 0);
    assert_eq!(job["timeout_seconds"], 90.0);
    assert_eq!(job["backoff"], "constant:30s");
    assert_eq!(job["payload"]["env"]["A"], "b=c");
    assert_eq!(job["payload"]["cwd"], "/srv");
    assert_eq!(job["state"], "blocked");
    assert_eq!(job["waits_for"][0], "first");
    assert_eq!(job["tags"].as_array().unwrap().len(), 2);
}

#[test]
fn a_time_is_a_duration_or_a_moment() {
    let place = Place::new();
    place.ok(&["enqueue", r#"{"id":"a","command":"x","delay":90}"#]);
    place.ok(&["enqueue", r#"{"id":"b","command":"x","run_at":"1h"}"#]);
    place.ok(&["enqueue", "c", "x", "--at", "2099-01-31 09:00"]);
    place.ok(&["enqueue", "d", "x", "--run-at", "2001-01-31T09:00:00Z"]);
    let wait = |id: &str| {
        let job = place.job(id);
        seconds(&job["created_at"], &job["run_at"])
    };
    assert!((wait("a") - 90.0).abs() < 1.0);
    assert!((wait("b") - 3600.0).abs() < 1.0);
    assert_eq!(place.job("c")["run_at"], "2099-01-31T09:00:00.000Z");
    assert!(wait("d") <= 0.0, "what is past is now");
}

#[test]
fn a_job_runs_where_it_was_enqueued_with_what_env_adds_and_nothing_of_the_submitter() {
    let place = Place::new();
    let script = r#"pwd; echo "$ADDED-$SECRET""#;
    let enqueued = place
        .command(&["enqueue", "job1", script, "--env", "ADDED=yes"])
        .env("SECRET", "submitter")
        .output()
        .unwrap();
    assert!(enqueued.status.success());
    place.ok(&["worker", "start", "--drain"]);
    let here = place.dir().canonicalize().unwrap();
    assert_eq!(place.ok(&["logs", "job1"]), format!("{}\nyes-\n", here.display()));
}

#[test]
fn a_unique_key_makes_one_job() {
    let place = Place::new();
    let first = place.json(&["enqueue", "true", "--unique-key", "k"]);
    assert_eq!(first["jobs"][0]["created"], true);
    let id = first["jobs"][0]["id"].as_str().unwrap();
    let again = place.json(&["enqueue", "true", "--unique-key", "k"]);
    assert_eq!(again["jobs"][0]["created"], false);
    assert_eq!(again["jobs"][0]["id"], id);
    let said = place.ok(&["enqueue", "true", "--unique-key", "k"]);
    assert_eq!(said, format!("exists already: {id}\n"));
}

#[test]
fn a_file_is_enqueued_whole_or_not_at_all() {
    let place = Place::new();
    let file = place.dir().join("jobs.jsonl");
    std::fs::write(
        &file,
        "{\"id\":\"a\",\"command\":\"true\"}\n\nnot json\n{\"id\":\"a\",\"command\":\"true\"}\n{\"id\":\"b\",\"command\":\"true\"}\n",
    )
    .unwrap();
    let refused = place.run(&["enqueue", "--file", "jobs.jsonl"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("line 3 of jobs.jsonl"), "{refused:?}");
    assert!(refused.err.contains("line 4: line 1 has the id a already"), "{refused:?}");
    assert!(refused.err.contains("nothing was enqueued"), "{refused:?}");
    assert!(!place.store().exists());

    let some = place.run(&["enqueue", "--file", "jobs.jsonl", "--skip-invalid"]);
    assert_eq!((some.code, some.out.as_str()), (0, "enqueued a\nenqueued b\n"));
    assert!(some.err.contains("skipped line 3"), "{some:?}");
}

#[test]
fn lines_come_from_the_standard_input_as_well() {
    let place = Place::new();
    let lines = "{\"id\":\"a\",\"command\":\"true\"}\n{\"id\":\"b\",\"command\":\"true\",\"after\":[\"a\"]}";
    let said = place.feed(&["enqueue", "-", "--queue", "mail", "--quiet"], lines);
    assert_eq!((said.code, said.out.as_str()), (0, "a\nb\n"));
    assert_eq!(place.job("b")["queue"], "mail");
    // The whole batch is refused for one id that is taken.
    let said = place.feed(
        &["enqueue", "-"],
        "{\"id\":\"c\",\"command\":\"true\"}\n{\"id\":\"a\",\"command\":\"true\"}",
    );
    assert_eq!(said.code, 4, "{said:?}");
    assert_eq!(place.run(&["show", "c"]).code, 3);
}

#[test]
fn more_lines_than_one_call_takes_are_still_checked_before_the_first_is_enqueued() {
    let place = Place::new();
    let mut lines = "{\"command\":\"true\"}\n".repeat(10_050);
    let said = place.feed(&["enqueue", "-"], &format!("{lines}{{\"command\":7}}\n"));
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(!place.store().exists());

    place.ok(&["enqueue", "taken", "true"]);
    lines.push_str("{\"id\":\"taken\",\"command\":\"true\"}\n");
    let said = place.feed(&["enqueue", "-", "--quiet"], &lines);
    assert_eq!(said.code, 4, "{}", said.err);
    assert_eq!(place.json(&["status"])["jobs"]["pending"], 1);

    let said = place.feed(&["enqueue", "-", "--quiet", "--skip-invalid"], &lines);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.lines().count(), 10_050);
    assert_eq!(place.json(&["status"])["jobs"]["pending"], 10_051);
}

#[test]
fn a_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.store()), 0o600);
    assert_eq!(mode(place.store().parent().unwrap()), 0o700);
}

#[test]
fn a_moment_without_an_offset_is_on_the_local_clock() {
    let place = Place::new();
    // The first is a rule that needs no time zone database, the others are names in one.
    for (zone, moment, utc) in [
        ("IST-5:30", "2030-07-01 09:00", "2030-07-01T03:30:00.000Z"),
        ("Europe/Berlin", "2030-07-01T09:00", "2030-07-01T07:00:00.000Z"),
        ("Europe/Berlin", "2030-01-01T09:00", "2030-01-01T08:00:00.000Z"),
    ] {
        if zone.contains('/') && !Path::new("/usr/share/zoneinfo").join(zone).exists() {
            continue;
        }
        let here = |args: &[&str]| {
            let output = place.command(args).env("TZ", zone).output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let id = here(&["enqueue", "-q", "true", "--at", moment]);
        assert_eq!(place.job(id.trim())["run_at"], utc, "{zone}");
        assert!(here(&["show", id.trim()]).contains(" 09:00:00 +"), "{zone}");
    }
}

#[test]
fn a_line_that_the_store_refuses_is_named_by_its_number() {
    let place = Place::new();
    place.ok(&["enqueue", "taken", "true"]);
    let refused = |input: &str, code: i32, sentence: &str| {
        let before = place.everything();
        let said = place.feed(&["enqueue", "-"], input);
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(sentence), "{said:?}");
        assert_eq!(place.everything(), before);
    };
    let good = "{\"command\":\"true\"}\n";
    let duplicate = format!("{good}{{\"id\":\"taken\",\"command\":\"true\"}}\n");
    refused(&duplicate, 4, "line 2 of stdin: there is a job taken already");
    let orphan = format!("{good}\n{{\"after\":[\"none\"],\"command\":\"true\"}}\n");
    refused(&orphan, 3, "line 3 of stdin: there is no job none");
    // More lines than one call to the store takes.
    refused(&format!("{}{duplicate}", good.repeat(10_000)), 4, "line 10002 of stdin: ");
}

#[test]
fn skipped_lines_are_told_in_the_order_of_the_file() {
    let place = Place::new();
    place.ok(&["enqueue", "taken", "true"]);
    let said = place.feed(
        &["enqueue", "-", "--skip-invalid", "--json"],
        "{\"id\":\"taken\",\"command\":\"true\"}\nnope\n{\"id\":\"taken\",\"command\":\"true\"}\n",
    );
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let lines: Vec<_> = document["skipped"].as_array().unwrap().iter().collect();
    let numbers: Vec<_> = lines.iter().map(|line| line["line"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn an_array_of_jobs_is_not_taken_for_a_command() {
    let place = Place::new();
    let said = place.run(&["enqueue", r#"[{"command":"true"},{"command":"date"}]"#]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--file or -"), "{said:?}");
    assert_eq!(place.everything(), serde_json::Value::Null);
    // The shell's test begins in the same way.
    place.ok(&["enqueue", "[ -f x ] && date"]);
}

/// The queue is paused, so that no claim gets to the job: the worker notices by itself.
#[test]
fn a_job_that_has_expired_is_cancelled_and_says_so() {
    let place = Place::new();
    place.ok(&["queue", "pause", "later"]);
    place.ok(&["enqueue", "late", "touch ran", "--queue", "later", "--expires", "1ms"]);
    place.ok(&["enqueue", r#"{"id":"soon","command":"true","expires_at":"2h"}"#]);
    let soon = place.job("soon");
    assert_eq!(seconds(&soon["created_at"], &soon["expires_at"]), 7200.0);
    assert!(place.ok(&["show", "soon"]).contains("expires"), "it is shown");
    let _worker = place.worker(&[]);
    until("the job has expired", || place.state("late") == "cancelled");
    let late = place.job("late");
    let reason = late["cancel_reason"].as_str().unwrap();
    assert!(reason.starts_with("expired: not begun by "), "{reason}");
    assert_eq!(late["attempts"], 0);

    // Whoever runs it again has said that it is worth it.
    place.ok(&["queue", "resume", "later"]);
    place.ok(&["retry", "late"]);
    until("the job has run", || place.state("late") == "completed");
    assert!(place.job("late")["expires_at"].is_null());
    assert!(place.dir().join("ran").exists());
}

#[test]
fn a_unique_key_is_held_for_a_period_or_in_states() {
    let place = Place::new();
    let hourly = ["enqueue", "-q", "true", "--unique-key", "disk", "--unique-for", "1h"];
    let id = place.ok(&hourly);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state(id.trim()), "completed");
    assert_eq!(place.ok(&hourly), id, "it holds its key when it has ended");
    let job = place.job(id.trim());
    assert_eq!(seconds(&job["created_at"], &job["unique_until"]), 3600.0);
    assert!(place.ok(&["show", id.trim()]).contains("unique until"));

    let waiting = r#"{"command":"true","unique_key":"docs","unique_while":"pending"}"#;
    let first = place.ok(&["enqueue", "-q", waiting]);
    assert_eq!(place.ok(&["enqueue", "-q", waiting]), first);
    let states = &place.job(first.trim())["unique_while"];
    assert_eq!(states.as_array().unwrap().len(), 2, "{states}");
    place.ok(&["worker", "start", "--drain"]);
    assert_ne!(place.ok(&["enqueue", "-q", waiting]), first);
}

#[test]
fn the_job_that_holds_the_key_is_changed_as_asked() {
    let place = Place::new();
    let enqueue = |command: &str, more: &[&str]| {
        let args = [&["enqueue", command, "--unique-key", "k", "--delay", "1h"], more].concat();
        place.json(&args)["jobs"][0].clone()
    };
    let first = enqueue("echo 1", &[]);
    let id = first["id"].as_str().unwrap().to_owned();
    let said = |job: &serde_json::Value| (job["created"].clone(), job["changed"].clone());
    assert_eq!(said(&first), (true.into(), false.into()));
    assert_eq!(said(&enqueue("echo 2", &["--on-conflict", "keep"])), (false.into(), false.into()));
    assert_eq!(place.job(&id)["command"], "echo 1");
    let replaced = enqueue("echo 3", &["--on-conflict", "replace"]);
    assert_eq!((said(&replaced), &replaced["id"]), ((false.into(), true.into()), &first["id"]));
    assert_eq!(place.job(&id)["command"], "echo 3");
    let before = place.job(&id)["run_at"].clone();
    enqueue("echo 4", &["--on-conflict", "move"]);
    let moved = place.job(&id);
    assert!(seconds(&before, &moved["run_at"]) > 0.0, "{moved}");
    assert_eq!(moved["command"], "echo 3");
    let args = ["enqueue", "echo 5", "--unique-key", "k", "--on-conflict", "replace-and-move"];
    assert_eq!(place.ok(&args), format!("exists already, changed: {id}\n"));
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.job(&id)["command"], "echo 5");
    assert_eq!(place.state(&id), "completed");
}

/// A thousand enqueuers in eight processes, which all begin at once: one job for each way to be unique.
#[test]
fn a_key_that_many_processes_race_for_makes_one_job() {
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    let ways = [
        r#""unique_key":"lives""#,
        r#""unique_key":"hourly","unique_for":"1h""#,
        r#""unique_key":"waits","unique_while":["pending"],"on_conflict":"replace-and-move""#,
    ];
    for way in ways {
        let line = format!("{{\"command\":\"true\",{way}}}\n");
        let made: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let said = place.feed(&["enqueue", "-", "--json"], &line.repeat(125));
                        assert_eq!(said.code, 0, "{said:?}");
                        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
                        let jobs = told["jobs"].as_array().unwrap();
                        assert_eq!(jobs.len(), 125);
                        jobs.iter().filter(|job| job["created"] == true).count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(made, 1, "{way}");
    }
    assert_eq!(place.json(&["list", "--limit", "0"])["jobs"].as_array().unwrap().len(), 4);
}
