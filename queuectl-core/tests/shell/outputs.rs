//! What is kept of the outputs of commands.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Instant;

use queuectl_core::{Outcome, StopCause, StopSignal};
use serde_json::json;

use crate::support::{LONG, Place, stdout, until};

#[test]
fn both_streams_are_kept_apart_as_bytes() {
    let place = Place::new();
    let finished = place.sh(r"printf 'a\377\000b'; printf 'c\200' >&2");
    assert_eq!(finished.report.stdout.head, b"a\xff\0b");
    assert_eq!(finished.report.stderr.head, b"c\x80");
    assert_eq!(finished.report.stdout.total, 4);
    // All of it is in the record, so no file stays.
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn of_a_long_output_the_head_the_tail_and_the_log_are_kept() {
    let place = Place::with(|options| {
        options.output_limit = 100;
        options.log_limit = 1000;
    });
    let finished = place.sh("seq 1 100000");
    let whole: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    let kept = &finished.report.stdout;
    assert_eq!(kept.total, whole.len() as u64);
    assert_eq!(kept.head, whole.as_bytes()[..50]);
    assert_eq!(kept.tail, whole.as_bytes()[whole.len() - 50..]);
    assert_eq!(kept.omitted(), whole.len() as u64 - 100);
    assert!(!kept.incomplete);

    assert_eq!(place.left(), ["1-1.out"]);
    let (log, _) = place.logs(1);
    assert_eq!(fs::read_to_string(&log).unwrap(), whole[..1000]);
    assert_eq!(log.metadata().unwrap().mode() & 0o777, 0o600);
    let logs = place.options.logs.metadata().unwrap();
    assert_eq!(logs.mode() & 0o777, 0o700);
}

#[test]
fn a_log_can_be_followed_while_the_command_runs() {
    let place = Place::new();
    let (out, err) = place.logs(1);
    let stop: Arc<StopSignal> = Arc::default();
    let payload = json!({ "command": "echo one; echo two >&2; sleep 300" });
    let finished = std::thread::scope(|scope| {
        let run = scope.spawn(|| place.run_until(payload, LONG, &stop));
        until("both logs are there", || out.exists() && err.exists());
        let mut files = [&out, &err].map(|path| fs::File::open(path).unwrap());
        let mut texts = [String::new(), String::new()];
        until("both logs have their line", || {
            for (file, text) in files.iter_mut().zip(&mut texts) {
                file.read_to_string(text).unwrap();
            }
            texts == ["one\n", "two\n"]
        });
        stop.raise(StopCause::Shutdown);
        run.join().unwrap()
    });
    assert_eq!(stdout(&finished), "one\n");
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn a_log_that_cannot_be_written_does_not_fail_the_command() {
    let place = Place::with(|options| options.output_limit = 4);
    // A folder in the place of the log file can be neither opened nor deleted as a file.
    let (log, _) = place.logs(1);
    fs::create_dir_all(log).unwrap();
    let finished = place.sh("echo 0123456789");
    assert!(matches!(finished.outcome, Outcome::Done));
    assert_eq!(finished.report.stdout.total, 11);
}

#[test]
fn a_link_in_the_place_of_a_log_is_not_followed() {
    let place = Place::with(|options| options.output_limit = 0);
    let (log, _) = place.logs(1);
    fs::create_dir_all(&place.options.logs).unwrap();
    let victim = place.path("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &log).unwrap();
    place.sh("echo evil");
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(log).unwrap(), "evil\n");
}

#[test]
fn a_folder_that_was_deleted_is_made_again() {
    let place = Place::new();
    let handler = place.handler();
    fs::remove_dir_all(&place.options.logs).unwrap();
    drop(handler);
    assert_eq!(stdout(&place.sh("echo hi")), "hi\n");
}

#[test]
fn four_hundred_megabytes_pass_quickly() {
    let place = Place::new();
    let start = Instant::now();
    let finished = place.sh("head -c 400000000 /dev/zero");
    println!("400 MB in {:?}", start.elapsed());
    assert_eq!(finished.report.stdout.total, 400_000_000);
    assert_eq!(finished.report.stdout.head.len(), 32 * 1024);
    assert_eq!(finished.report.stdout.tail.len(), 32 * 1024);
    let (log, _) = place.logs(1);
    assert_eq!(log.metadata().unwrap().len(), 1 << 20);
}
