//! What is refused: with which exit code, in which words, and without a trace in the store.

use crate::support::Place;

#[test]
fn a_bad_request_changes_nothing() {
    let place = Place::new();
    place.ok(&["enqueue", "there", "true"]);
    let before = place.everything();
    let long_id = "x".repeat(65);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["enqueue"], 2, "nothing to enqueue"),
        (&["enqueue", ""], 2, "command is empty"),
        (&["enqueue", "a", "b", "c"], 2, "quote the command"),
        (&["enqueue", "{"], 2, "broken at column"),
        (&["enqueue", r#"{"command":"x",}"#], 2, "broken at column 16"),
        (&["enqueue", r#"{"id":"j"}"#], 2, "no command"),
        (&["enqueue", r#"{"comand":"x"}"#], 2, "\"command\" is one"),
        (&["enqueue", r#"{"command":"x","max_retries":-1}"#], 2, "max_retries"),
        (&["enqueue", r#"{"command":"x","max_retries":"three"}"#], 2, "found a string"),
        (
            &["enqueue", r#"{"command":"x","max_crashes":0}"#],
            2,
            "max_crashes: wanted a whole number",
        ),
        (&["enqueue", "x", "--max-crashes", "0"], 2, "0 is not in 1..=1000000"),
        (&["config", "set", "max-crashes", "0"], 2, "not a value of max-crashes"),
        (&["enqueue", r#"{"command":"x","state":"dead"}"#], 2, "pending"),
        (&["enqueue", r#"{"command":"x","command":"y"}"#], 2, "occurs twice"),
        (&["enqueue", r#"{"command":"a\u0000b"}"#], 2, "NUL"),
        (&["enqueue", r#"{"kind":"email"}"#], 2, "needs a payload"),
        (&["enqueue", r#"{"kind":"email","payload":1,"command":"x"}"#], 2, "not a command"),
        (&["enqueue", r#"{"payload":1}"#], 2, "kind other than shell"),
        (&["enqueue", "a b", "true"], 2, "not a name"),
        (&["enqueue", &long_id, "true"], 2, "not a name"),
        (&["enqueue", "x", "--queue", "a/b"], 2, "queue"),
        (&["enqueue", "x", "--retries", "-1"], 2, "--retries"),
        (&["enqueue", "x", "--priority", "99999"], 2, "--priority"),
        (&["enqueue", "x", "--delay", "soon"], 2, "not a duration"),
        (&["enqueue", "x", "--at", "tomorrow"], 2, "moment"),
        (&["enqueue", "x", "--expires", "soon"], 2, "neither a duration nor a moment"),
        (&["enqueue", "x", "--expires", "2020-01-01"], 2, "would never run"),
        (&["enqueue", "x", "--expires", "1h", "--delay", "2h"], 2, "before it may run"),
        (&["enqueue", r#"{"command":"x","expires":"1h","expires_at":7200}"#], 2, "two different"),
        (&["enqueue", "x", "--timeout", "0"], 2, "timeout is 0"),
        (&["enqueue", "x", "--backoff", "cubic"], 2, "not a backoff"),
        (&["enqueue", "x", "--env", "NOVALUE"], 2, "no value"),
        (&["enqueue", "x", "--unique-key", ""], 2, "unique_key"),
        (&["enqueue", "x", "--unique-for", "1h"], 2, "without one"),
        (&["enqueue", "x", "--unique-key", "k", "--unique-for", "0"], 2, "no time"),
        (&["enqueue", "x", "--unique-key", "k", "--unique-while", "idle"], 2, "the states are"),
        (&["enqueue", "x", "--unique-key", "k", "--on-conflict", "merge"], 2, "replace-and-move"),
        (&["enqueue", r#"{"command":"x","on_conflict":"keep"}"#], 2, "without one"),
        (
            &["enqueue", r#"{"command":"x","unique_key":"k","unique_for":9,"unique_while":[]}"#],
            2,
            "either for a time or in states",
        ),
        (&["enqueue", "x", "--after", "missing"], 3, "no job missing"),
        (&["enqueue", "--file", "missing.jsonl"], 2, "cannot read"),
        (&["enqueue", "there", "true"], 4, "already"),
        (&["list", "sleeping"], 2, "the states are"),
        (&["list", "--sort", "colour"], 2, "--sort"),
        (&["show", "missing"], 3, "no job missing"),
        (&["show", "a b"], 2, "not a name"),
        (&["logs", "missing"], 3, "no job missing"),
        (&["wait", "missing"], 3, "no job missing"),
        (&["cancel", "there", "missing"], 3, "no job missing"),
        (&["retry", "there"], 4, "cannot retry"),
        (&["dlq", "retry", "there"], 4, "not in the dead letter queue"),
        (&["dlq", "retry", "missing"], 3, "no job missing"),
        (&["dlq", "retry"], 2, "required"),
        (&["dlq", "retry", "--like", "there"], 4, "not in the dead letter queue"),
        (&["dlq", "retry", "--all", "--rate", "0/s"], 2, "not a rate"),
        (&["dlq", "retry", "there", "--rate", "1/s"], 2, "cannot be used"),
        (&["dlq", "retry", "there", "--payload", "1"], 4, "not in the dead letter queue"),
        (&["dlq", "retry", "--all", "--payload", "1"], 2, "cannot be used"),
        (&["dlq", "note", "there", "why"], 4, "not in the dead letter queue"),
        (&["dlq", "purge", "--older-than", "soon"], 2, "neither a duration"),
        (&["dlq", "show", "there"], 4, "not in the dead letter queue"),
        (&["dlq", "purge", "there"], 4, "not in the dead letter queue"),
        (&["worker", "stop", "4194304"], 3, "no worker runs as process 4194304"),
        (&["worker", "stop", "w99"], 3, "no worker w99"),
        (&["worker", "stop", "x"], 2, "neither a process id"),
        (&["worker", "start", "--count", "0"], 2, "--count"),
        (&["config", "set", "max-retries", "-1"], 2, "not a value of max-retries"),
        (&["config", "set", "colour", "1"], 2, "unknown setting"),
        (&["config", "colour"], 2, "unknown setting"),
        (&["explode"], 2, "unrecognized"),
    ];
    for (args, code, words) in cases {
        let said = place.run(args);
        assert_eq!(said.code, *code, "{args:?}: {said:?}");
        assert!(said.err.contains(words), "{args:?}: {said:?}");
        assert!(said.err.starts_with("error: "), "{args:?}: {said:?}");
        assert_eq!(said.out, "", "{args:?}");
        assert!(!said.err.contains("panicked"), "{args:?}: {said:?}");
        assert_eq!(place.everything(), before, "{args:?} changed something");
    }
}

#[test]
fn a_store_that_is_not_there_is_made_only_by_what_writes() {
    let place = Place::new();
    for args in [
        &["list"][..],
        &["status"],
        &["show", "q1"],
        &["dlq", "list"],
        &["worker", "stop"],
        &["worker", "list"],
        &["queue", "list"],
        &["cancel", "q1"],
    ] {
        let said = place.run(args);
        assert_eq!(said.code, 5, "{args:?}: {said:?}");
        assert!(said.err.contains("queuectl enqueue"), "{args:?}: {said:?}");
    }
    place.ok(&["config"]);
    assert_eq!(place.ok(&["config", "max-retries"]), "3\n");
    assert!(!place.store().parent().unwrap().exists());
    // Nor is it made for a job that is refused.
    assert_eq!(place.run(&["enqueue", "{}"]).code, 2);
    assert_eq!(place.run(&["config", "set", "max-retries", "x"]).code, 2);
    assert!(!place.store().parent().unwrap().exists());
    place.ok(&["config", "set", "max-retries", "7"]);
    assert!(place.store().exists());
}

#[test]
fn a_file_that_is_no_store_is_left_as_it_is() {
    let place = Place::new();
    let file = place.dir().join("notes.txt");
    let text = "not a database, and longer than the header of one: ".repeat(20);
    std::fs::write(&file, &text).unwrap();
    for args in [&["list"][..], &["enqueue", "true"], &["worker", "start", "--drain"]] {
        let args = [&["--store", "notes.txt"], args].concat();
        let said = place.run(&args);
        assert_eq!(said.code, 5, "{args:?}: {said:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let said = place.run(&["--store", "postgres://localhost/x", "list"]);
    assert_eq!(said.code, 5);
    assert!(said.err.contains("PostgreSQL"), "{said:?}");
}

#[test]
fn help_has_examples() {
    let place = Place::new();
    for args in [
        &["--help"][..],
        &["enqueue", "--help"],
        &["run", "--help"],
        &["worker", "start", "--help"],
        &["list", "--help"],
        &["events", "--help"],
        &["wait", "--help"],
        &["config", "--help"],
    ] {
        assert!(place.ok(args).contains("Examples:"), "{args:?}");
    }
}

#[test]
fn a_store_without_a_name_is_not_the_users_own() {
    let place = Place::new();
    let home = place.dir().join("home");
    let said = |args: &[&str], variable: Option<&str>| {
        let mut command = place.command(args);
        command.env("XDG_DATA_HOME", &home).env_remove("QUEUECTL_STORE");
        command.envs(variable.map(|value| ("QUEUECTL_STORE", value))).output().unwrap()
    };
    for variable in [None, Some("/somewhere/else")] {
        let refused = said(&["--store", "", "enqueue", "true"], variable);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    assert!(!home.exists());
    // A variable that is set to nothing is one that is not set.
    assert!(said(&["enqueue", "true"], Some("")).status.success());
    assert!(home.join("queuectl/queue.db").exists());
}

#[test]
fn a_queue_that_is_mistyped_does_not_go_unnoticed() {
    let place = Place::new();
    place.ok(&["enqueue", "true", "--queue", "mail"]);
    let said = place.run(&["queue", "resume", "mail", "mial"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("there is no queue mial"), "{said:?}");
    // One may pause a queue before its first job, but is told.
    let said = place.run(&["queue", "pause", "mail", "later"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("queue later yet") && !said.err.contains("mail"), "{said:?}");
    place.ok(&["queue", "resume", "mail", "later"]);
}

#[test]
fn terms_that_mean_nothing_are_refused() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true"]);
    for (typed, said) in [
        (&["--needs", "any"][..], "for a job that waits for others"),
        (&["--after", "a", "--after-failure", "a"], "a is named twice"),
        (&["--after", "a", "--otherwise", "perhaps"], "the policies are wait, cancel and run"),
        (&["--after", "nobody"], "there is no job nobody"),
    ] {
        let answer = place.run(&[&["enqueue", "true"][..], typed].concat());
        assert!(answer.code != 0 && answer.err.contains(said), "{answer:?}");
    }
    for (after, said) in [
        (r#"{"on":"end"}"#, "after: there is no job"),
        (r#"{"job":"a","on":"never"}"#, "the conditions are success, failure and end"),
        (r#"{"job":"a","when":"end"}"#, "there is no field"),
        ("7", "after: wanted ids of jobs"),
    ] {
        let answer = place.run(&["enqueue", &format!(r#"{{"command":"x","after":{after}}}"#)]);
        assert!(answer.code == 2 && answer.err.contains(said), "{answer:?}");
    }
}

#[test]
fn a_payload_that_its_handler_cannot_take_is_refused() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "exit 3", "-r", "0"]);
    place.ok(&["worker", "start", "--drain"]);
    for (payload, words) in [("{", "--payload"), ("7", "not a shell job"), ("", "--payload")] {
        let said = place.run(&["dlq", "retry", "a", "--payload", payload]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(words), "{said:?}");
    }
    assert_eq!(place.run(&["dlq", "retry", "a", "a", "b", "--payload", "7"]).code, 3);
    assert_eq!(place.state("a"), "dead");
    assert_eq!(place.json(&["show", "a"])["notes"], serde_json::json!([]));
}
