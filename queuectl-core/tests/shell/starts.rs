//! What a command finds when it starts, and how one that cannot start says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use queuectl_core::{Cause, Finished, Outcome};
use serde_json::json;

use crate::support::{LONG, Place, error, stdout};

/// Makes a file by another process: one that this process still had open for writing while another
/// test forks could not be executed.
fn script(place: &Place, name: &str, text: &str, mode: u32) -> String {
    let path = place.path(name);
    let made = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$2\"", "sh", text])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn refused(finished: &Finished, sentence: &str) {
    assert_eq!(finished.report.cause, Cause::SpawnFailed);
    assert!(matches!(finished.outcome, Outcome::Dead(_)), "{finished:?}");
    assert!(error(finished).contains(sentence), "{:?} does not say {sentence:?}", error(finished));
}

#[test]
fn an_argument_vector_sees_no_shell() {
    let finished =
        Place::new().argv(&["printf", "%s|", "$HOME", "'q'", "\"", "a b", "*", "; exit 1"]);
    assert_eq!(stdout(&finished), "$HOME|'q'|\"|a b|*|; exit 1|");
}

#[test]
fn a_command_that_begins_with_a_hyphen_is_not_an_option() {
    let finished = Place::new().sh("-c");
    assert_eq!(finished.report.exit_code, Some(127));
}

#[test]
fn directory_and_environment_are_those_of_the_job() {
    let place = Place::new();
    let home = place.path("").canonicalize().unwrap();
    let payload = json!({
        "command": "pwd; echo \"$GREETING:$QUEUECTL_JOB_ID:$QUEUECTL_ATTEMPT:$QUEUECTL_LEASE\"",
        "cwd": home,
        "env": { "GREETING": "a 'b' $c" },
    });
    let finished = place.run(payload, LONG);
    let store = &place.options.store;
    assert_eq!(stdout(&finished), format!("{}\na 'b' $c:q1:1:{store}:1:1\n", home.display()));
}

#[test]
fn the_program_is_looked_up_in_the_path_of_the_job() {
    let place = Place::new();
    script(&place, "tool", "#!/bin/sh\necho mine", 0o700);
    let payload = json!({ "argv": ["tool"], "env": { "PATH": place.path("") } });
    assert_eq!(stdout(&place.run(payload, LONG)), "mine\n");
    let payload = json!({ "argv": ["./tool"], "cwd": place.path("") });
    assert_eq!(stdout(&place.run(payload, LONG)), "mine\n");
}

#[test]
fn each_reason_not_to_start_is_told_apart_and_none_is_retried() {
    let place = Place::new();
    let sh = |cwd: &str| place.run(json!({ "command": "true", "cwd": cwd }), LONG);
    refused(&sh("/no/such/place"), "the directory /no/such/place does not exist");
    refused(&sh("/etc/passwd"), "/etc/passwd is not a directory");

    refused(&place.argv(&["no-such-tool"]), "\"no-such-tool\" is not in PATH");
    refused(&place.argv(&["/no/tool"]), "the program /no/tool does not exist");
    refused(&place.argv(&["/etc"]), "/etc is a directory");
    refused(&place.argv(&["/etc/passwd"]), "/etc/passwd is not executable");

    let odd = script(&place, "odd", "neither program nor script\n", 0o700);
    refused(&place.argv(&[&odd]), "neither a program for this machine nor a script");
    let lost = script(&place, "lost", "#!/no/such/interpreter\n", 0o700);
    refused(&place.argv(&[&lost]), "interpreter or loader that it names does not exist");

    let long = "x".repeat(200_000);
    refused(&place.argv(&["true", &long]), "arguments and environment are too long");
    refused(&place.sh(&format!(": {long}")), "arguments and environment are too long");

    // Nothing is left of attempts that did not start.
    assert!(!place.left().iter().any(|name| name.ends_with(".lock")));
}

#[test]
fn a_payload_from_elsewhere_is_checked_before_it_runs() {
    let place = Place::new();
    for payload in [
        json!({ "comand": "true" }),
        json!({ "command": "true", "argv": ["true"] }),
        json!({ "command": "true", "cwd": "relative" }),
        json!(["true"]),
        json!(null),
    ] {
        let finished = place.run(payload, LONG);
        assert_eq!(finished.report.cause, Cause::Undecodable);
        assert!(matches!(finished.outcome, Outcome::Dead(_)));
    }
}

#[test]
fn the_input_is_empty() {
    let finished = Place::new().sh("readlink /proc/self/fd/0; wc -c");
    assert_eq!(stdout(&finished).split_whitespace().collect::<Vec<_>>(), ["/dev/null", "0"]);
}

#[test]
fn the_group_of_a_command_is_its_own() {
    let finished = Place::new().sh("cut -d' ' -f5 /proc/$$/stat; echo $$");
    let text = stdout(&finished);
    let [group, pid] = text.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{text:?}");
    };
    assert_eq!(group, pid);
}
