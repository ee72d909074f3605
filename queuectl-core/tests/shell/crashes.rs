//! What becomes of commands whose worker dies, and of those whose worker was started badly.
//!
//! The worker is this test program once more, told by its environment to run one attempt.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use queuectl_core::shell::ShellHandler;
use queuectl_core::{Cause, Handler, JobKey, StopCause, Token};
use serde_json::{Value, json};

use crate::support::{KEY, LONG, Place, attempt, lives, options, pid_in, stdout, until};

const HOME: &str = "SHELL_TEST_HOME";
const PAYLOAD: &str = "SHELL_TEST_PAYLOAD";
const TOKEN: &str = "SHELL_TEST_TOKEN";

/// Not a test: the worker process that the tests below start, and kill.
#[test]
fn worker() {
    let (Ok(home), Ok(payload)) = (env::var(HOME), env::var(PAYLOAD)) else {
        return;
    };
    let home = Path::new(&home);
    let token = env::var(TOKEN).unwrap().parse().unwrap();
    let finished = attempt(&options(home), &payload, token, None, LONG, &Arc::default());
    let code = finished.report.exit_code;
    fs::write(home.join("result"), format!("{code:?}\n{}", stdout(&finished))).unwrap();
}

/// A worker process that runs one attempt. `prelude` is what the shell that starts it does before.
fn start_worker(place: &Place, prelude: &str, payload: &Value, token: i64) -> Child {
    let this = env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{prelude}\nexec \"$0\" --exact crashes::worker")])
        .arg(this)
        .env(HOME, place.home())
        .env(PAYLOAD, payload.to_string())
        .env(TOKEN, token.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a command in a worker until it has written the named pid files, then kills the worker.
/// Gives the pids.
fn crash(place: &Place, command: &str, token: i64, files: &[&str]) -> Vec<i32> {
    let payload = json!({ "command": command, "cwd": place.path("") });
    let mut worker = start_worker(place, ":", &payload, token);
    let pids = files.iter().map(|file| pid_in(&place.path(file))).collect();
    worker.kill().unwrap();
    worker.wait().unwrap();
    pids
}

fn clean_up(place: &Place, from: i64, before: i64) {
    let handler = ShellHandler::new(place.options.clone()).unwrap();
    handler.clean_up(KEY, Token(from), Token(before)).unwrap();
}

#[test]
fn the_command_dies_with_its_worker() {
    let place = Place::new();
    let command = "echo $$ > leader; exec sleep 300";
    let pids = crash(&place, command, 1, &["leader"]);
    until("the command is dead", || !lives(pids[0]));
}

/// The command itself dies with its worker; what it started does not. Four ways to stay: a plain
/// child, one that ignores TERM, one in a session of its own, and one that has wiped its
/// environment as well and is known by the lock alone.
#[test]
fn everything_that_a_dead_worker_left_is_found_and_killed() {
    let place = Place::new();
    let command = "
        sleep 300 & echo $! > plain
        (trap '' TERM; exec sleep 300) & echo $! > stubborn
        setsid sh -c 'echo $$ > escaped; exec sleep 300' &
        setsid env -i /bin/sh -c 'echo $$ > nameless; exec sleep 300' &
        wait";
    let files = ["plain", "stubborn", "escaped", "nameless"];
    let pids = crash(&place, command, 3, &files);
    // The kill of the leader is not yet the end of the others.
    assert!(pids.iter().all(|pid| lives(*pid)));
    assert_eq!(place.left(), ["1-3.lock"]);
    let start = Instant::now();
    clean_up(&place, 3, 4);
    assert!(!pids.into_iter().any(lives));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn what_has_closed_every_descriptor_is_known_by_its_mark() {
    let place = Place::new();
    let command = "
        setsid bash -c 'for fd in /proc/self/fd/*; do
            fd=${fd##*/}; [ $fd -gt 2 ] && eval \"exec $fd>&-\"; done
            echo $BASHPID > closed; exec sleep 300 < /dev/null > /dev/null 2>&1' &
        wait";
    let pids = crash(&place, command, 1, &["closed"]);
    until("no descriptor of the attempt is left", || {
        let held = fs::read_dir(format!("/proc/{}/fd", pids[0])).unwrap();
        held.count() == 3
    });
    clean_up(&place, 1, 2);
    assert!(!lives(pids[0]));
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn the_next_attempt_begins_when_the_lost_one_has_ended() {
    let place = Place::new();
    let pids = crash(&place, "setsid sleep 300 & echo $! > escaped; wait", 1, &["escaped"]);
    assert!(lives(pids[0]));
    let payload =
        json!({ "command": format!("! grep 'State:.[^ZX]' /proc/{}/status", pids[0]) }).to_string();
    let finished = attempt(&place.options, &payload, 2, Some(1), LONG, &Arc::default());
    assert_eq!(finished.report.exit_code, Some(0));
    assert_eq!(place.left(), [""; 0]);
}

/// A worker that has lost its job and is still there kills the group; what has left the group is
/// for whoever has the job now, who needs the lock to find it.
#[test]
fn the_lock_of_a_lost_attempt_stays_while_something_holds_it() {
    let place = Place::new();
    let command = "setsid env -i /bin/sh -c 'echo $$ > \"$0\"; exec sleep 300' $READY & wait";
    let finished = place.run_and_stop(command, &[StopCause::LeaseLost]);
    assert_eq!(finished.report.cause, Cause::LeaseLost);
    assert_eq!(place.left(), ["1-1.lock"]);
    let escaped = pid_in(&place.path("ready"));
    assert!(lives(escaped));
    clean_up(&place, 1, 2);
    assert!(!lives(escaped));
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn other_attempts_jobs_and_stores_are_left_alone() {
    let place = Place::new();
    let pids = crash(&place, "sleep 300 & echo $! > own; wait", 5, &["own"]);
    clean_up(&place, 1, 5);
    clean_up(&place, 6, 9);
    let handler = ShellHandler::new(place.options.clone()).unwrap();
    handler.clean_up(JobKey(2), Token(1), Token(9)).unwrap();
    let mut other = place.options.clone();
    other.store.push('x');
    other.logs = place.path("other");
    let handler = ShellHandler::new(other).unwrap();
    handler.clean_up(KEY, Token(1), Token(9)).unwrap();
    assert!(lives(pids[0]));
    assert_eq!(place.left(), ["1-5.lock"]);
    clean_up(&place, 1, 9);
    assert!(!lives(pids[0]));
}

#[test]
fn cleaning_up_when_nothing_is_left_is_quick() {
    let place = Place::new();
    let start = Instant::now();
    clean_up(&place, 1, 100);
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A worker that was itself started with signals ignored, as by `nohup`, and with descriptors left
/// open passes on neither.
#[test]
fn what_the_worker_inherited_its_commands_do_not() {
    let place = Place::new();
    let prelude = "trap '' HUP INT QUIT USR1 PIPE CHLD TSTP; exec 7< /etc/passwd 8> /dev/null";
    let command = "sed -n /^Sig/p /proc/self/status; ls -l /proc/self/fd";
    let mut worker = start_worker(&place, prelude, &json!({ "argv": ["sh", "-c", command] }), 1);
    assert!(worker.wait().unwrap().success());
    let text = fs::read_to_string(place.path("result")).unwrap();
    assert!(text.starts_with("Some(0)\n"), "{text}");
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    let mut open: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(name, target)| (name.rsplit(' ').next().unwrap(), target))
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .map(|(number, target)| format!("{number} {}", target.split(':').next().unwrap()))
        .collect();
    open.sort();
    let lock = place.options.logs.join("1-1.lock");
    let lock = format!("200 {}", lock.display());
    assert_eq!(open, ["0 /dev/null", "1 pipe", "2 pipe", &lock]);
}
