//! Limits and weights of queues, as an operator sets them.

use std::time::Duration;

use queuectl_core::{Clock, SystemClock};

use crate::support::Place;

#[test]
fn a_limit_is_set_shown_and_taken_away() {
    let place = Place::new();
    let said = place.run(&["queue", "limit", "mail", "--concurrency", "4", "--rate", "100/1m"]);
    assert_eq!((said.code, said.out.as_str()), (0, "mail: 4 at a time, starts 100/1m\n"));
    assert!(said.err.contains("no job has been in the queue mail yet"), "{said:?}");
    assert_eq!(place.ok(&["queue", "limit", "mail"]), "mail: 4 at a time, starts 100/1m\n");
    place.ok(&["enqueue", "--queue", "mail", "true"]);
    assert!(place.ok(&["queue", "list"]).ends_with("\nmail: 4 at a time, starts 100/1m\n"));

    let listed = place.json(&["queue", "list"]);
    let limits = &listed["queues"][0]["limits"];
    assert_eq!(limits.to_string(), r#"{"concurrency":4,"per_key":1,"rate":"100/1m"}"#);

    let changed =
        place.json(&["queue", "limit", "mail", "--concurrency", "none", "--per-key", "2"]);
    let limits = &changed["queues"][0]["limits"];
    assert_eq!(limits.to_string(), r#"{"concurrency":null,"per_key":2,"rate":"100/1m"}"#);
    let cleared = ["queue", "limit", "mail", "--rate", "none", "--per-key", "none"];
    assert_eq!(place.ok(&cleared), "mail: no limits\n");
}

#[test]
fn what_is_no_limit_is_refused_and_changes_nothing() {
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    for (option, value, complaint) in [
        ("--concurrency", "0", "\"0\" is not a number of jobs from 1 on, nor none"),
        ("--concurrency", "many", "\"many\" is not a number"),
        ("--per-key", "-1", "\"-1\" is not a number"),
        ("--rate", "100", "\"100\" is not a rate"),
        ("--rate", "1/never", "\"1/never\" is not a rate"),
    ] {
        let option = format!("{option}={value}");
        let said = place.run(&["queue", "limit", "default", "--concurrency=3", &option]);
        // Given twice is refused as well.
        let said = if said.err.contains("cannot be used multiple times") {
            place.run(&["queue", "limit", "default", &option])
        } else {
            said
        };
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(complaint), "{said:?}");
    }
    let said = place.run(&["queue", "limit", "nobody"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("there is no queue nobody"), "{said:?}");
    assert_eq!(place.ok(&["queue", "limit", "default"]), "default: no limits\n");
}

/// The command writes what it sees when it begins; two that ran side by side would see each other.
#[test]
fn jobs_of_one_concurrency_key_run_one_after_the_other() {
    let place = Place::new();
    let command = "mkdir busy && sleep 0.1 && rmdir busy";
    for _ in 0..4 {
        place.ok(&["enqueue", "-r", "0", "--concurrency-key", "customer", command]);
    }
    let json = r#"{"id":"json","command":"mkdir busy && rmdir busy","max_retries":0,"concurrency_key":"customer"}"#;
    place.ok(&["enqueue", json]);
    place.ok(&["worker", "start", "--count", "4", "--drain"]);
    assert_eq!(place.json(&["status"])["jobs"]["completed"], 5);
    assert!(place.ok(&["show", "json"]).contains("customer"));
    assert_eq!(place.json(&["show", "json"])["job"]["concurrency_key"], "customer");
}

#[test]
fn a_worker_waits_for_the_rate_and_goes_on_by_itself() {
    let place = Place::new();
    place.ok(&["queue", "limit", "default", "--rate", "2/300ms"]);
    for _ in 0..5 {
        place.ok(&["enqueue", "true"]);
    }
    let began = SystemClock.boot();
    place.ok(&["worker", "start", "--count", "2", "--drain"]);
    // Two at once, two when those have left the period, and one when these have.
    assert!(SystemClock.boot().since(began) >= Duration::from_millis(600));
    assert_eq!(place.json(&["status"])["jobs"]["completed"], 5);
}

/// A backlog stands before the jobs of the other queue.
#[test]
fn queues_with_weights_take_turns() {
    let place = Place::new();
    for (queue, count) in [("flood", 12), ("mail", 4)] {
        for _ in 0..count {
            place.ok(&["enqueue", "--queue", queue, &format!("echo {queue} >> order")]);
        }
    }
    assert_eq!(place.ok(&["queue", "weight", "mail", "2"]), "mail: weight 2\n");
    assert_eq!(place.ok(&["queue", "weight", "mail"]), "mail: weight 2\n");
    assert!(place.ok(&["queue", "list"]).ends_with("\nmail: no limits, weight 2\n"));
    let listed = place.json(&["queue", "list"]);
    assert!(listed["queues"][0]["weight"].is_null());
    assert_eq!(listed["queues"][1]["weight"], 2);
    place.ok(&["worker", "start", "--drain"]);
    let order = std::fs::read_to_string(place.dir().join("order")).unwrap();
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order[..6], ["flood", "mail", "mail", "flood", "mail", "mail"]);
    assert_eq!(order.len(), 16);
    assert_eq!(place.ok(&["queue", "weight", "mail", "none"]), "mail: no weight of its own\n");
}

#[test]
fn what_is_no_weight_is_refused_and_changes_nothing() {
    let place = Place::new();
    place.ok(&["queue", "weight", "mail", "5"]);
    for (weight, complaint) in [
        ("0", "\"0\" is not a weight: write a whole number from 1 to 1000"),
        ("1001", "\"1001\" is not a weight"),
        ("-1", "\"-1\" is not a weight"),
        ("heavy", "queuectl queue pause mail"),
    ] {
        let said = place.run(&["queue", "weight", "mail", weight]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(complaint), "{said:?}");
    }
    assert_eq!(place.run(&["queue", "weight", "nobody"]).code, 3);
    assert_eq!(place.ok(&["queue", "weight", "mail"]), "mail: weight 5\n");
}
