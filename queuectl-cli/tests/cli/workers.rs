//! Workers: started, told to stop, in the background.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Place, until};

#[test]
fn a_worker_that_is_stopped_lets_its_job_finish() {
    let place = Place::new();
    let mut worker = place.worker(&["--count", "2"]);
    place.ok(&["enqueue", "job1", "touch started; sleep 1; echo finished"]);
    until("the job runs", || place.dir().join("started").exists());
    let pid = worker.0.id().to_string();
    let status = place.json(&["status"]);
    let busy = status["workers"].as_array().unwrap();
    assert_eq!(busy.len(), 2, "each with an id of its own");
    assert_eq!(busy[0]["pid"].to_string(), pid);
    assert!(busy.iter().any(|worker| worker["running"][0]["id"] == "job1"), "{status}");
    assert!(place.ok(&["status"]).contains("touch started"));

    let stopped = place.run(&["worker", "stop", &pid]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(stopped.out.lines().count(), 2, "{stopped:?}");
    assert!(stopped.out.contains(&format!("(pid {pid})")), "{stopped:?}");
    assert_eq!(worker.end(), 0);
    assert_eq!(place.state("job1"), "completed");
    assert_eq!(place.run(&["worker", "stop", &pid]).code, 3);
    let none = place.run(&["worker", "stop"]);
    assert_eq!(none.code, 0);
    assert!(none.err.contains("no worker is running"), "{none:?}");
}

#[test]
fn a_worker_that_is_stopped_now_gives_its_job_back_without_the_loss_of_an_attempt() {
    let place = Place::new();
    place.ok(&["config", "set", "grace", "1s"]);
    let mut worker = place.worker(&[]);
    place.ok(&["enqueue", "job1", "touch started; sleep 60", "-r", "0"]);
    until("the job runs", || place.dir().join("started").exists());
    let waited = place.run(&["worker", "stop", "--timeout", "0.1"]);
    assert_eq!(waited.code, 1, "{waited:?}");
    place.ok(&["worker:stop", "--now"]);
    assert_eq!(worker.end(), 0);
    let job = place.job("job1");
    assert_eq!((&job["state"], &job["attempts"]), (&"pending".into(), &0.into()));
}

#[test]
fn signals_stop_a_worker() {
    let place = Place::new();
    place.ok(&["enqueue", "true"]);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut worker = place.worker(&[]);
        worker.signal(signal);
        assert_eq!(worker.end(), 0, "{signal:?}");
    }
    assert_eq!(place.json(&["worker", "list"])["workers"], serde_json::json!([]));
}

#[test]
fn a_worker_serves_only_the_queues_that_it_is_told() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true", "--queue", "mail"]);
    place.ok(&["enqueue", "b", "true"]);
    place.ok(&["worker:start", "--queue", "mail", "--drain"]);
    assert_eq!(place.state("a"), "completed");
    assert_eq!(place.state("b"), "pending");
}

/// Stops what the test has left in the background, also where it fails.
struct Background<'a>(&'a Place);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        self.0.run(&["worker", "stop", "--now"]);
    }
}

#[test]
fn a_worker_in_the_background_is_there_when_it_says_so() {
    let place = Place::new();
    let _guard = Background(&place);
    let started = place.json(&["worker", "start", "--detach", "--count", "2"]);
    let pid = started["pid"].to_string();
    assert_eq!(started["workers"].as_array().unwrap().len(), 2);
    let log = started["log"].as_str().unwrap();
    assert_eq!(Path::new(log).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let listed = place.json(&["worker", "list"]);
    assert_eq!(listed["workers"][0]["pid"].to_string(), pid);
    assert_eq!(listed["workers"][0]["log"], log);

    place.ok(&["enqueue", "job1", "true"]);
    assert_eq!(place.run(&["wait", "job1"]).code, 0);
    until("the log says so too", || {
        std::fs::read_to_string(log).unwrap().contains("job1 completed")
    });
    place.ok(&["worker", "stop", &pid]);
    until("the process is gone", || !Path::new("/proc").join(&pid).exists() || zombie(&pid));
}

/// The kernel ends the command with its worker, but not what the command has started. Where the job
/// will not run again, nobody would come to clean up before its next attempt.
#[test]
fn nothing_is_left_running_of_a_job_that_died_with_its_worker() {
    let place = Place::new();
    let worker = place.worker(&[]);
    place.ok(&[
        "enqueue",
        "job1",
        "sleep 300 & echo $! > pid.new; mv pid.new pid; wait",
        "-r",
        "0",
    ]);
    until("the job runs", || place.dir().join("pid").exists());
    let pid = std::fs::read_to_string(place.dir().join("pid")).unwrap().trim().to_owned();
    worker.signal(Signal::KILL);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("job1"), "dead");
    assert!(!Path::new("/proc").join(&pid).exists() || zombie(&pid), "process {pid} lives on");
}

/// Whether the process has ended and nobody has asked how: in a container, init may not.
fn zombie(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_worker_that_cannot_start_in_the_background_says_why() {
    let place = Place::new();
    let said = place.run(&["worker", "start", "--detach", "--queue", "a/b"]);
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn cancelling_stops_a_job_that_runs() {
    let place = Place::new();
    place.ok(&["config", "set", "grace", "1s"]);
    let worker = place.worker(&[]);
    place.ok(&["enqueue", "job1", "touch started; sleep 60"]);
    until("the job runs", || place.dir().join("started").exists());
    let said = place.ok(&["cancel", "job1", "--reason", "not needed"]);
    assert!(said.contains("cancelling job1"), "{said}");
    assert_eq!(place.run(&["wait", "job1", "--timeout", "30s"]).code, 1);
    assert_eq!(place.state("job1"), "cancelled");
    assert!(place.ok(&["show", "job1"]).contains("not needed"));
    drop(worker);
}
