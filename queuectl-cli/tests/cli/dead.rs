//! The dead letter queue as a workbench: groups, many at a time, another payload, notes.

use serde_json::{Value, json};

use crate::support::{Place, fields, seconds, who};

/// Commands that fail so, each in a job of its own, which are dead by then.
fn dead(place: &Place, jobs: &[(&str, &str)]) {
    for (id, command) in jobs {
        place.ok(&["enqueue", id, command, "-r", "0"]);
    }
    place.ok(&["worker", "start", "--drain"]);
}

#[test]
fn dead_jobs_are_shown_in_groups() {
    let place = Place::new();
    dead(
        &place,
        &[
            ("a", "echo 'curl: (7) no route to 10.0.0.7' >&2; exit 7"),
            ("b", "echo 'curl: (7) no route to 10.0.0.12' >&2; exit 7"),
            ("c", "kill -9 $$"),
        ],
    );
    let shown = place.ok(&["dlq", "groups"]);
    let rows: Vec<&str> = shown.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{shown}");
    assert!(rows[0].contains("exit code 7: curl: (#) no route to #"), "{shown}");
    assert!(rows[1].contains("ended by signal 9"), "{shown}");
    let groups = place.json(&["dlq", "groups"]);
    assert_eq!(fields(&groups), ["groups", "more", "schema_version"]);
    let group = &groups["groups"][0];
    let expected = [
        "cause",
        "count",
        "exemplar",
        "exit_code",
        "fingerprint",
        "form",
        "kind",
        "newest_at",
        "oldest_at",
        "signal",
    ];
    assert_eq!(fields(group), expected);
    assert_eq!((&group["count"], &group["exit_code"]), (&json!(2), &json!(7)));
    assert_eq!(group["fingerprint"], place.job("a")["failure"]);
    let one = place.json(&["dlq", "groups", "--limit", "1"]);
    assert_eq!((one["groups"].as_array().unwrap().len(), &one["more"]), (1, &Value::Bool(true)));
    let alike = place.json(&["dlq", "list", "--like", "b"]);
    let ids: Vec<_> = alike["jobs"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, ["b", "a"]);
}

#[test]
fn jobs_that_failed_alike_are_retried_together() {
    let place = Place::new();
    dead(&place, &[("a", "exit 3"), ("b", "exit 3"), ("c", "exit 4"), ("d", "kill -9 $$")]);
    assert_eq!(place.ok(&["dlq", "retry", "--like", "a"]), "2 jobs will run again\n");
    let states = ["a", "b", "c", "d"].map(|id| place.state(id));
    assert_eq!(states, ["pending", "pending", "dead", "dead"]);
    let again = place.json(&["dlq", "retry", "--all"]);
    assert_eq!(fields(&again), ["count", "kept", "schema_version"]);
    assert_eq!((&again["count"], &again["kept"]), (&json!(2), &json!(0)));
    let said = place.run(&["dlq", "retry", "--all"]);
    assert!(said.err.contains("is empty"), "{said:?}");
}

#[test]
fn a_bulk_retry_at_a_rate_spreads_the_jobs() {
    let place = Place::new();
    dead(&place, &[("a", "false"), ("b", "false"), ("c", "false")]);
    assert_eq!(place.ok(&["dlq", "retry", "--all", "--rate", "2/1h"]), "3 jobs will run again\n");
    let [a, b, c] = ["a", "b", "c"].map(|id| place.job(id)["run_at"].clone());
    assert_eq!((seconds(&a, &b), seconds(&b, &c)), (1_800.0, 1_800.0));
}

#[test]
fn what_another_job_has_the_key_of_is_kept_dead() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "false", "-r", "0", "--unique-key", "k"]);
    place.ok(&["worker", "start", "--drain"]);
    place.ok(&["enqueue", "b", "true", "--delay", "1h", "--unique-key", "k"]);
    let said = place.run(&["dlq", "retry", "--all"]);
    assert_eq!((said.code, said.out.as_str()), (0, "0 jobs will run again\n"));
    assert!(said.err.contains("1 job kept"), "{said:?}");
    assert_eq!(place.state("a"), "dead");
}

#[test]
fn a_payload_is_edited_and_the_old_one_is_shown_with_the_job() {
    let place = Place::new();
    dead(&place, &[("a", "exit 3")]);
    let payload = r#"{"command":"echo mended"}"#;
    let edited = place.ok(&["dlq", "retry", "a", "--payload", payload, "--note", "a typo"]);
    assert_eq!(edited, "a will run again\n");
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.ok(&["logs", "a"]), "mended\n");
    let shown = place.json(&["show", "a"]);
    let note = &shown["notes"][0];
    assert_eq!(fields(note), ["at", "by", "payload", "text"]);
    assert_eq!((&note["text"], &note["by"]), (&json!("a typo"), &json!(who())));
    assert_eq!(note["payload"]["command"], "exit 3");
    let text = place.ok(&["show", "a"]);
    assert!(text.contains("a typo") && text.contains("exit 3"), "{text}");
}

#[test]
fn a_payload_may_come_from_a_pipe() {
    let place = Place::new();
    dead(&place, &[("a", "exit 3")]);
    let said = place.feed(&["dlq", "retry", "a", "--payload", "-"], "{\"argv\":[\"true\"]}\n");
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(place.job("a")["argv"], json!(["true"]));
}

#[test]
fn a_note_is_shown_with_its_job() {
    let place = Place::new();
    dead(&place, &[("a", "exit 3")]);
    let shown = place.ok(&["dlq", "note", "a", "told\nthe customer \u{1b}[2J"]);
    assert!(shown.contains(&format!("by {}", who())), "{shown}");
    assert!(shown.contains("  told\n  the customer \\x1b[2J\n"), "{shown}");
    assert_eq!(place.json(&["dlq", "show", "a"])["notes"].as_array().unwrap().len(), 1);
}

#[test]
fn dead_jobs_are_deleted_by_likeness_and_by_age() {
    let place = Place::new();
    dead(&place, &[("a", "exit 3"), ("b", "exit 3"), ("c", "exit 4")]);
    assert_eq!(place.ok(&["dlq", "purge", "--older-than", "1h"]), "deleted 0 jobs\n");
    assert_eq!(
        place.ok(&["dlq", "purge", "--like", "a", "--older-than", "1h"]),
        "deleted 0 jobs\n"
    );
    let purged = place.json(&["dlq", "purge", "--like", "a"]);
    assert_eq!((&purged["count"], &purged["kept"]), (&json!(2), &json!(0)));
    assert_eq!(place.ok(&["dlq", "purge", "--older-than", "0"]), "deleted 1 job\n");
    assert_eq!(place.json(&["list"])["jobs"], json!([]));
}
