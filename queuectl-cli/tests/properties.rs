//! What must hold for anything that is typed, piped in or printed. The properties are in
//! `checks.rs`, which the fuzz targets share.
//!
//! Nothing is kept in files beside the tests: a case that fails becomes a test with a name.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;
use proptest::sample::select;
use queuectl_cli::checks;
use serde_json::{Value, json};

fn config(cases: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { usual.cases } else { cases };
    ProptestConfig { cases, failure_persistence: None, ..usual }
}

fn some_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(&["5s", "2h", "q7", "mail", "pending", "2030-01-01T00:00:00Z", "linear:3s"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// An object that has a job's fields, with values that fit or not.
fn some_line() -> impl Strategy<Value = String> {
    let fields = [
        "id",
        "command",
        "argv",
        "queue",
        "kind",
        "payload",
        "priority",
        "max_retries",
        "max_crashes",
        "run_at",
        "delay",
        "expires",
        "timeout",
        "backoff",
        "env",
        "cwd",
        "unique_key",
        "unique_for",
        "unique_while",
        "on_conflict",
        "after",
        "after_batches",
        "batch",
        "needs",
        "otherwise",
        "tags",
        "state",
        "attempts",
        "other",
    ];
    let object = prop::collection::vec((select(fields.to_vec()), some_json()), 0..6);
    let object = object.prop_map(|fields| {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        format!("{{{}}}", fields.join(","))
    });
    prop_oneof![8 => object, 1 => any::<String>(), 1 => Just(String::new())]
}

fn some_word() -> impl Strategy<Value = OsString> {
    let known = [
        "enqueue",
        "run",
        "worker",
        "start",
        "stop",
        "list",
        "status",
        "show",
        "logs",
        "wait",
        "cancel",
        "retry",
        "dlq",
        "purge",
        "queue",
        "pause",
        "resume",
        "config",
        "get",
        "set",
        "--store",
        "--json",
        "--color",
        "--help",
        "--version",
        "--retries",
        "--queue",
        "--count",
        "--delay",
        "--at",
        "--id",
        "--",
        "-",
        "-h",
        "-n",
        "--json=x",
        "--state",
        "dead",
        "echo",
    ];
    prop_oneof![
        6 => select(known.to_vec()).prop_map(OsString::from),
        1 => any::<String>().prop_map(OsString::from),
        1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(OsString::from_vec),
        1 => "-{1,2}[a-z]{1,9}(=[a-z0-9]{0,5})?".prop_map(OsString::from),
    ]
}

/// Text with what terminals obey in it.
fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = select(&[
        "\u{1b}[31m",
        "\u{1b}]0;x\u{7}",
        "\u{9b}2J",
        "\r",
        "\u{8}",
        "\u{202e}",
        "\u{200b}",
        "日本",
        "e\u{301}",
        "👩‍👩‍👧",
        "\n",
        "\t",
        "\0",
        "plain",
        "\u{feff}",
        "\u{e0041}",
        "ﷺ",
        "\u{1f1e9}",
    ]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn lines_of_jobs_are_read_or_refused(lines in prop::collection::vec(some_line(), 0..5)) {
        checks::json_lines(lines.join("\n").as_bytes());
    }

    #[test]
    fn bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        checks::json_lines(&bytes);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_shown(bytes in some_bytes(), columns in 0..40_usize) {
        checks::shown(&bytes, columns);
    }

    #[test]
    fn arguments_are_understood_or_refused(words in prop::collection::vec(some_word(), 0..7)) {
        checks::arguments(&words);
    }

    #[test]
    fn times_are_within_what_can_be_kept(
        text in prop_oneof![
            any::<String>(),
            "-?[0-9]{1,18}(\\.[0-9]{1,9})?(s|m|h|d|y)?",
            "[0-9]{4,5}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?",
        ],
    ) {
        checks::times(&text);
    }

    /// Numbers around those that the store gives.
    #[test]
    fn an_id_that_is_read_can_be_chosen(number in any::<i64>(), shift in 0..64_u32) {
        let line = format!(r#"{{"id":"q{}","command":"x"}}"#, number >> shift);
        checks::json_lines(line.as_bytes());
    }

    /// What is asked for in JSON is what the job has.
    #[test]
    fn a_job_is_read_as_it_was_written(
        id in "[a-z][a-z0-9._:-]{0,30}",
        command in "[ -~]{1,40}",
        queue in "[a-z]{1,20}",
        priority in any::<i16>(),
        retries in 0..=1_000_000_u32,
        delay_ms in 1..4_000_000_000_u64,
        unique_key in "[a-zé日]{1,20}",
        tags in prop::collection::vec("[a-z]{1,8}", 0..4),
    ) {
        prop_assume!(!command.trim().is_empty());
        let line = json!({
            "id": id, "command": command, "queue": queue, "priority": priority,
            "max_retries": retries, "delay": format!("{delay_ms}ms"), "unique_key": unique_key,
            "tags": tags, "backoff": "linear:3s;cap=1m",
        });
        let jobs = checks::json_lines(line.to_string().as_bytes());
        prop_assert_eq!(jobs.len(), 1, "{}", line);
        let job = &jobs[0];
        prop_assert_eq!(job.id.as_ref().map(ToString::to_string), Some(id));
        prop_assert_eq!(job.queue.as_str(), queue);
        prop_assert_eq!(job.priority, priority);
        prop_assert_eq!(job.max_retries, Some(retries));
        let delay = std::time::Duration::from_millis(delay_ms);
        prop_assert_eq!(job.start, queuectl_core::Start::In(delay));
        prop_assert_eq!(job.unique_key.as_deref(), Some(unique_key.as_str()));
        prop_assert_eq!(job.tags.iter().map(ToString::to_string).collect::<Vec<_>>(), tags);
        let payload: Value = job.payload.decode().unwrap();
        prop_assert_eq!(&payload["command"], &Value::from(command));
    }
}
