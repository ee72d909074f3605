//! What holds for the jobs of a kind, as an operator says it.

use crate::support::Place;

#[test]
fn what_is_said_of_a_kind_is_shown_and_taken_back() {
    let place = Place::new();
    let said = place.run(&["kind", "set", "email", "--retries", "8", "--timeout", "20s"]);
    assert_eq!((said.code, said.out.as_str()), (0, "email: retries 8, time limit 20s\n"));
    assert!(said.err.contains("no job of the kind email yet"), "{said:?}");
    let set = ["kind", "set", "email", "--backoff", "constant:7s", "--max-crashes", "2"];
    let shown = place.json(&set);
    let expected = serde_json::json!([{
        "kind": "email", "max_retries": 8, "max_crashes": 2, "timeout_seconds": 20.0,
        "backoff": "constant:7s",
    }]);
    assert_eq!(shown["kinds"], expected);
    assert_eq!(place.json(&["kind", "list"]), shown);
    let listed = place.ok(&["kind", "list"]);
    assert!(listed.contains("email") && listed.contains("constant:7s"), "{listed}");
    place.ok(&["enqueue", r#"{"id":"a","kind":"email","payload":{}}"#]);
    place.ok(&["enqueue", r#"{"id":"own","kind":"email","payload":{},"max_retries":1}"#]);
    assert_eq!(place.job("a")["max_retries"], 8);
    assert_eq!(place.job("own")["max_retries"], 1);
    let left = place.ok(&["kind", "unset", "email", "--backoff", "--max-crashes"]);
    assert_eq!(left, "email: retries 8, time limit 20s\n");
    assert_eq!(place.ok(&["kind", "unset", "email"]), "email: as the settings say\n");
    assert_eq!(place.json(&["kind", "list"])["kinds"].to_string(), "[]");
}

/// The job was enqueued before anybody said something of its kind.
#[test]
fn a_time_limit_of_a_kind_holds_for_what_waits() {
    let place = Place::new();
    place.ok(&["enqueue", "slow", "sleep 60", "-r", "0"]);
    place.ok(&["kind", "set", "shell", "--timeout", "100ms"]);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.attempts("slow")[0]["cause"], "timed_out");
}

#[test]
fn what_cannot_be_said_of_a_kind_is_refused_and_changes_nothing() {
    let place = Place::new();
    place.ok(&["kind", "set", "email", "--retries", "8"]);
    for (args, code, complaint) in [
        (&["set", "email"][..], 2, "there is nothing to set"),
        (&["set", "email", "--retries", "-1"], 2, "-1 is not in 0..=1000000"),
        (&["set", "email", "--timeout", "soon"], 2, "\"soon\" is not a duration"),
        (&["set", "email", "--timeout", "0"], 2, "no job of the kind could ever run"),
        (&["set", "email", "--backoff", "cubic"], 2, "--backoff: \"cubic\""),
        (&["set", "email", "--max-crashes", "0"], 2, "0 is not in 1..=1000000"),
        (&["set", "e mail", "--retries", "1"], 2, "kind:"),
        (&["unset", "sms"], 3, "nothing is said of the kind sms"),
    ] {
        let said = place.run(&[&["kind"], args].concat());
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert!(said.err.contains(complaint), "{args:?}: {said:?}");
    }
    assert_eq!(place.json(&["kind", "list"])["kinds"][0]["max_retries"], 8);
    let nothing = Place::new();
    assert_eq!(nothing.run(&["kind", "set", "email", "--timeout", "0"]).code, 2);
    assert!(!nothing.store().exists());
}
