//! How commands end, by themselves and when they are told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queuectl_core::{Cause, Finished, Outcome, StopCause, StopSignal};
use serde_json::json;

use crate::support::{LONG, Place, error, lives, pid_in, stdout};

const SHORT: Duration = Duration::from_millis(300);

fn retried(finished: &Finished) -> bool {
    matches!(finished.outcome, Outcome::Retry(_))
}

#[test]
fn exit_code_0_is_success_and_nothing_else_is() {
    let place = Place::new();
    let finished = place.sh("exit 0");
    assert!(matches!(finished.outcome, Outcome::Done));
    assert_eq!(finished.report.cause, Cause::Succeeded);
    assert_eq!(finished.report.exit_code, Some(0));
    assert_eq!(finished.stopped, None);
    assert!(!finished.leftovers);

    for (command, code, text) in [
        ("exit 3", 3, "exit code 3"),
        ("no-such-command-anywhere", 127, "exit code 127 (likely: command not found)"),
        ("sh -c 'kill -9 $$'; exit $?", 137, "exit code 137 (likely: signal 9 (KILL))"),
    ] {
        let finished = place.sh(command);
        assert!(retried(&finished), "{command}");
        assert_eq!(finished.report.cause, Cause::Exited);
        assert_eq!(finished.report.exit_code, Some(code));
        assert_eq!(finished.report.signal, None);
        assert_eq!(error(&finished), text);
    }
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn a_signal_is_not_an_exit_code() {
    let finished = Place::new().sh("kill -9 $$");
    assert!(retried(&finished));
    assert_eq!(finished.report.cause, Cause::Signalled);
    assert_eq!(finished.report.exit_code, None);
    assert_eq!(finished.report.signal, Some(9));
    assert_eq!(error(&finished), "killed by signal 9 (KILL)");
}

#[test]
fn a_command_that_honours_term_ends_within_the_grace() {
    let start = Instant::now();
    let finished = Place::new().run(json!({ "command": "exec sleep 300" }), SHORT);
    assert!(start.elapsed() >= SHORT);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(retried(&finished));
    assert_eq!(finished.report.cause, Cause::TimedOut);
    assert_eq!(finished.report.signal, Some(15));
    assert_eq!(finished.stopped, Some(StopCause::TimedOut));
    assert_eq!(error(&finished), "timed out after 300ms");
}

#[test]
fn a_command_that_ignores_term_is_killed_when_the_grace_is_over() {
    let place = Place::with(|options| options.grace = SHORT);
    let start = Instant::now();
    let command = "trap '' TERM; echo $$; while :; do sleep 1; done";
    let finished = place.run(json!({ "command": command }), SHORT);
    assert!(start.elapsed() >= SHORT * 2);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(finished.report.cause, Cause::TimedOut);
    assert_eq!(finished.report.signal, Some(9));
    assert_eq!(error(&finished), "timed out after 300ms; it did not end on TERM and was killed");
    assert!(!lives(stdout(&finished).trim().parse().unwrap()));
}

#[test]
fn a_stopped_command_can_still_be_terminated() {
    let start = Instant::now();
    let finished = Place::new().run(json!({ "command": "kill -STOP $$" }), SHORT);
    assert_eq!(finished.report.cause, Cause::TimedOut);
    assert_eq!(finished.report.signal, Some(15));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_command_that_exits_with_0_because_it_was_told_to_stop_has_not_succeeded() {
    let place = Place::new();
    let tidy = "trap 'exit 0' TERM; : > $READY; while :; do sleep 0.01; done";
    let finished = place.run_and_stop(tidy, &[StopCause::Shutdown]);
    assert!(retried(&finished));
    assert_eq!(finished.report.cause, Cause::Interrupted);
    assert_eq!(finished.report.exit_code, Some(0));
    assert_eq!(finished.stopped, Some(StopCause::Shutdown));
}

#[test]
fn a_cancelled_command_is_ended_and_recorded_as_cancelled() {
    let cause = StopCause::Cancelled("by ada".into());
    let finished = Place::new().run_and_stop(": > $READY; sleep 300", std::slice::from_ref(&cause));
    assert_eq!(finished.report.cause, Cause::Cancelled);
    assert_eq!(error(&finished), "cancelled: by ada");
    assert_eq!(finished.stopped, Some(cause));
}

#[test]
fn a_lost_lease_leaves_no_grace() {
    let start = Instant::now();
    let stubborn = "trap '' TERM; : > $READY; while :; do sleep 1; done";
    let finished = Place::new().run_and_stop(stubborn, &[StopCause::LeaseLost]);
    assert_eq!(finished.report.cause, Cause::LeaseLost);
    assert_eq!(finished.report.signal, Some(9));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_lease_that_is_lost_during_the_grace_ends_the_grace() {
    let start = Instant::now();
    let stubborn = "trap '' TERM; : > $READY; while :; do sleep 1; done";
    let finished =
        Place::new().run_and_stop(stubborn, &[StopCause::Shutdown, StopCause::LeaseLost]);
    assert_eq!(finished.stopped, Some(StopCause::LeaseLost));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn what_was_told_to_stop_before_it_began_does_not_begin() {
    let place = Place::new();
    let stop: Arc<StopSignal> = Arc::default();
    stop.raise(StopCause::LeaseLost);
    let file = place.path("began");
    let finished = place.run_until(json!({ "argv": ["touch", file] }), LONG, &stop);
    assert_eq!(finished.report.cause, Cause::LeaseLost);
    assert_eq!(finished.stopped, Some(StopCause::LeaseLost));
    assert!(!file.exists());
}

#[test]
fn grandchildren_end_with_a_command_that_times_out() {
    let place = Place::with(|options| options.grace = SHORT);
    let command = "(trap '' TERM; sh -c 'echo $PPID'; sleep 300) & sleep 300 & echo $!; wait";
    let start = Instant::now();
    let finished = place.run(json!({ "command": command }), SHORT);
    assert_eq!(finished.report.cause, Cause::TimedOut);
    assert!(!finished.leftovers);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let pids: Vec<i32> =
        stdout(&finished).split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(!pids.into_iter().any(lives));
}

#[test]
fn a_server_left_in_the_background_of_a_success_is_ended_at_once() {
    let place = Place::new();
    let start = Instant::now();
    let finished = place.sh("sleep 300 & echo $!");
    assert!(matches!(finished.outcome, Outcome::Done));
    assert!(!finished.report.stdout.incomplete);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!lives(stdout(&finished).trim().parse().unwrap()));
}

/// The classic of queues that wait for the end of the pipe: `sleep 300 & echo hi` takes 300 s. This
/// one ignores TERM too, so it is there until the grace is over, and is killed then; the output
/// is not waited for so long.
#[test]
fn a_background_process_that_ignores_term_is_killed_when_the_grace_is_over() {
    let place = Place::with(|options| options.grace = Duration::from_millis(1500));
    let start = Instant::now();
    let file = place.path("pid");
    let command = format!("trap '' TERM; sleep 300 & echo $! > {}; echo hi", file.display());
    let finished = place.sh(&command);
    let took = start.elapsed();
    assert!(matches!(finished.outcome, Outcome::Done));
    assert_eq!(stdout(&finished), "hi\n");
    assert!(finished.report.stdout.incomplete);
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(!lives(pid_in(&file)));
}

#[test]
fn a_pipeline_that_outlives_its_shell_may_write_its_last_lines() {
    let finished = Place::new().sh("(sleep 0.02; echo last) & echo first");
    assert_eq!(stdout(&finished), "first\nlast\n");
    assert!(!finished.report.stdout.incomplete);
}

#[test]
fn a_process_with_a_session_of_its_own_holds_the_output_for_a_second_at_most() {
    let place = Place::new();
    let start = Instant::now();
    let finished = place.sh("setsid sleep 20 & echo $!");
    let took = start.elapsed();
    assert!(matches!(finished.outcome, Outcome::Done));
    assert!(finished.report.stdout.incomplete);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let pid: i32 = stdout(&finished).trim().parse().unwrap();
    assert!(lives(pid));
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The process is in the group for a moment after the command has ended, and leaves it alive.
#[test]
fn a_process_that_leaves_the_group_late_is_not_waited_for() {
    let place = Place::new();
    let start = Instant::now();
    let finished = place.sh("sh -c 'sleep 0.05; exec setsid sleep 20' > /dev/null 2>&1 & echo $!");
    let took = start.elapsed();
    assert!(matches!(finished.outcome, Outcome::Done));
    assert!(!finished.leftovers);
    assert!(took < Duration::from_secs(5), "{took:?}");
    let pid: i32 = stdout(&finished).trim().parse().unwrap();
    if lives(pid) {
        // On a busy machine it may have been ended before it left.
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
}

#[test]
fn every_command_is_waited_for() {
    let place = Place::new();
    for command in ["echo $$", "echo $$; kill -9 $$", "echo $$; sleep 300"] {
        let finished = place.run(json!({ "command": command }), SHORT);
        let pid: i32 = stdout(&finished).trim().parse().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert_eq!(stat, "", "{command}");
    }
}
