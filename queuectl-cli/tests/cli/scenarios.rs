//! The scenarios by which people know the older programs.

use rustix::process::Signal;

use crate::support::{Place, fields, seconds, until};

#[test]
fn a_job_succeeds() {
    let place = Place::new();
    place.ok(&["enqueue", r#"{"id":"job1","command":"echo 'Hello World'"}"#]);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("job1"), "completed");
    assert_eq!(place.ok(&["logs", "job1"]), "Hello World\n");
    assert!(place.ok(&["list", "--state", "completed"]).contains("job1"));
    assert!(place.ok(&["status"]).contains("completed"));
}

/// Delays of 2 s and 4 s, read off the times at which the attempts ran.
#[test]
fn a_job_that_fails_is_retried_with_backoff_and_ends_in_the_dead_letter_queue() {
    let place = Place::new();
    place.ok(&["enqueue", r#"{"id":"bad","command":"exit 1","max_retries":2}"#]);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("bad"), "dead");
    let attempts = place.attempts("bad");
    assert_eq!(attempts.len(), 3);
    for (retry, delay) in [(1, 2.0), (2, 4.0)] {
        let waited = seconds(&attempts[retry - 1]["finished_at"], &attempts[retry]["started_at"]);
        assert!((delay - 0.05..delay + 2.0).contains(&waited), "retry {retry}: {waited}");
    }
    let dlq = place.ok(&["dlq", "list"]);
    assert!(dlq.contains("bad") && dlq.contains("3/3"), "{dlq}");
    assert!(place.ok(&["dlq", "show", "bad"]).contains("exit code 1"));
}

/// Each of three jobs waits until it sees the other two.
#[test]
fn three_workers_run_three_jobs_at_once_and_each_job_once() {
    let place = Place::new();
    for id in ["a", "b", "c"] {
        let meet = format!(
            "echo x >> met.{id}; until [ -e met.a -a -e met.b -a -e met.c ]; do sleep 0.02; done"
        );
        place.ok(&["enqueue", id, &meet, "-r", "0", "--timeout", "30s"]);
    }
    place.ok(&["worker", "start", "--count", "3", "--drain"]);
    for id in ["a", "b", "c"] {
        assert_eq!(place.state(id), "completed");
        let met = std::fs::read_to_string(place.dir().join(format!("met.{id}"))).unwrap();
        assert_eq!(met, "x\n", "{id} ran once");
    }
}

#[test]
fn a_command_that_does_not_exist_fails_without_harm() {
    let place = Place::new();
    place.ok(&["enqueue", "bad", "no-such-command-anywhere", "-r", "0"]);
    place.ok(&["enqueue", "argv", "-r", "0", "--", "no-such-program-anywhere"]);
    place.ok(&["enqueue", "good", "true"]);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.attempts("bad")[0]["exit_code"], 127);
    assert_eq!(place.attempts("argv")[0]["cause"], "spawn_failed");
    assert_eq!(place.state("good"), "completed");
}

#[test]
fn a_delayed_job_waits_for_its_time() {
    let place = Place::new();
    place.ok(&["enqueue", "later", "true", "--delay", "1.5"]);
    place.ok(&["enqueue", "never", "true", "--at", "2099-01-01"]);
    place.ok(&["cancel", "never"]);
    place.ok(&["worker", "start", "--drain"]);
    let job = place.job("later");
    assert_eq!(job["state"], "completed");
    assert!(seconds(&job["created_at"], &job["started_at"]) >= 1.49);
    assert_eq!(place.state("never"), "cancelled");
}

#[test]
fn each_job_has_its_own_number_of_retries() {
    let place = Place::new();
    let options = ["--backoff", "constant:10ms"];
    for (id, retries) in [("none", "0"), ("one", "1"), ("four", "4")] {
        let args = [&["enqueue", id, "false", "--retries", retries][..], &options].concat();
        place.ok(&args);
    }
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.attempts("none").len(), 1);
    assert_eq!(place.attempts("one").len(), 2);
    assert_eq!(place.attempts("four").len(), 5);
}

/// However many retries it has. What it says is why it is dead.
#[test]
fn a_job_that_kills_its_workers_is_dead_before_its_retries_are_over() {
    let place = Place::new();
    place.ok(&["enqueue", "poison", "kill -9 $PPID; sleep 60", "-r", "25", "--max-crashes", "2"]);
    place.ok(&["enqueue", r#"{"id":"json","command":"true","max_crashes":7}"#]);
    for _ in 0..2 {
        assert_ne!(place.run(&["worker", "start", "--drain"]).code, 0);
    }
    place.ok(&["worker", "start", "--drain"]);
    let job = place.job("poison");
    assert_eq!((&job["state"], &job["attempts"]), (&"dead".into(), &2.into()));
    assert_eq!((&job["max_retries"], &job["max_crashes"]), (&25.into(), &2.into()));
    let shown = place.ok(&["dlq", "show", "poison"]);
    assert!(shown.contains("attempts lost in a row: 2, which is max-crashes"), "{shown}");
    assert_eq!(place.job("json")["max_crashes"], 7);
}

/// A worker that is killed takes nothing with it: its job runs again, and the lost attempt is told.
#[test]
fn jobs_survive_the_death_of_their_worker() {
    let place = Place::new();
    place.ok(&[
        "enqueue",
        "job1",
        "if [ -e once ]; then echo again; else touch once; sleep 60; fi",
    ]);
    place.ok(&["enqueue", "job2", "true"]);
    let mut worker = place.worker(&[]);
    until("the job runs", || place.dir().join("once").exists());
    worker.signal(Signal::KILL);
    worker.end();
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("job1"), "completed");
    assert_eq!(place.state("job2"), "completed");
    let attempts = place.attempts("job1");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["cause"], "lease_lost");
    assert_eq!(place.ok(&["logs", "job1"]), "again\n");
}

#[test]
fn a_dead_job_runs_again_when_it_is_told_to() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "test -e mended", "-r", "0"]);
    place.ok(&["enqueue", "b", "test -e mended", "-r", "0"]);
    place.ok(&["enqueue", "c", "exit 9", "-r", "0"]);
    place.ok(&["worker", "start", "--drain"]);
    std::fs::write(place.dir().join("mended"), "").unwrap();
    assert_eq!(place.ok(&["dlq", "retry", "a"]), "a will run again\n");
    assert_eq!(place.job("a")["attempts"], 0);
    assert_eq!(place.run(&["dlq", "retry", "a"]).code, 4);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("a"), "completed");
    assert_eq!(place.attempts("a").len(), 2, "the history stays");

    let again = place.json(&["dlq", "retry", "--all"]);
    assert_eq!(again["count"], 2);
    place.ok(&["worker", "start", "--drain"]);
    assert_eq!(place.state("b"), "completed");
    assert_eq!(place.state("c"), "dead");
    assert_eq!(place.ok(&["dlq", "purge", "--all"]), "deleted 1 job\n");
    assert_eq!(place.run(&["show", "c"]).code, 3);
}

#[test]
fn a_paused_queue_rests_until_it_is_resumed() {
    let place = Place::new();
    place.ok(&["queue", "pause", "mail"]);
    place.ok(&["enqueue", "a", "true", "--queue", "mail"]);
    place.ok(&["enqueue", "b", "true"]);
    let worker = place.worker(&[]);
    assert_eq!(place.run(&["wait", "b"]).code, 0);
    assert_eq!(place.state("a"), "pending");
    assert!(place.ok(&["queue", "list"]).contains("mail (paused)"));
    place.ok(&["queue", "resume", "mail"]);
    assert_eq!(place.run(&["wait", "a"]).code, 0);
    drop(worker);
}

#[test]
fn a_job_waits_for_those_it_comes_after() {
    let place = Place::new();
    place.ok(&["enqueue", "first", "sleep 0.2; echo 1 >> order"]);
    place.ok(&["enqueue", "second", "echo 2 >> order", "--after", "first"]);
    assert_eq!(place.state("second"), "blocked");
    place.ok(&["worker", "start", "-c", "2", "--drain"]);
    let order = std::fs::read_to_string(place.dir().join("order")).unwrap();
    assert_eq!(order, "1\n2\n");
}

/// What cleans up runs, what follows is cancelled and says why.
#[test]
fn a_job_that_fails_moves_those_that_wait_for_it() {
    let place = Place::new();
    place.ok(&["enqueue", "build", "exit 1", "--retries", "0"]);
    place.ok(&[
        "enqueue",
        "deploy",
        "echo deploy >> did",
        "--after",
        "build",
        "--otherwise",
        "cancel",
    ]);
    place.ok(&["enqueue", "tell", "echo tell >> did", "--after-failure", "build"]);
    place.ok(&[
        "enqueue",
        r#"{"id":"tidy","command":"echo tidy >> did","after":{"job":"deploy","on":"end"}}"#,
    ]);
    place.ok(&["worker", "start", "--drain"]);
    let mut did: Vec<_> = std::fs::read_to_string(place.dir().join("did"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    did.sort();
    assert_eq!(did, ["tell", "tidy"]);
    assert_eq!(place.state("deploy"), "cancelled");
    assert!(place.ok(&["show", "deploy"]).contains("job build, which it waited for, is dead"));
}

/// Jobs of several calls are counted together, and what follows runs when all of them have ended.
#[test]
fn a_batch_is_followed_by_what_waits_for_it() {
    let place = Place::new();
    place.ok(&["enqueue", "p1", "echo 1 >> did", "--batch", "book"]);
    place.ok(&["enqueue", r#"{"id":"p2","command":"sleep 0.2; echo 2 >> did","batch":"book"}"#]);
    let early = place.run(&["enqueue", "--after-batch", "book", "true"]);
    assert!(early.code == 4 && early.err.contains("book is not closed"), "{early:?}");
    assert!(place.ok(&["batch", "list"]).contains("open: 0 of 2 completed"));
    assert!(place.ok(&["batch", "close", "book"]).contains("2 jobs left"));
    place.ok(&["enqueue", "bind", "echo bind >> did", "--after-batch", "book"]);
    place.ok(&[
        "enqueue",
        r#"{"id":"moan","command":"x","after_batches":{"batch":"book","on":"failure"}}"#,
    ]);
    assert!(place.ok(&["show", "bind"]).contains("success of batch book (2 left)"));
    assert_eq!(place.job("p1")["batch"], "book");
    assert_eq!(place.job("moan")["after_batches"][0]["on"], "failure");
    place.ok(&["worker", "start", "-c", "2", "--drain"]);
    assert_eq!(std::fs::read_to_string(place.dir().join("did")).unwrap(), "1\n2\nbind\n");
    assert_eq!(place.state("moan"), "cancelled");
    let shown = &place.json(&["batch", "show", "book"])["batches"][0];
    assert_eq!((&shown["state"], &shown["completed"]), (&"completed".into(), &2.into()));
    assert!(shown["finished_at"].is_string());
    assert!(place.ok(&["batch", "show", "book"]).contains("completed: 2 of 2 completed"));
}

/// More jobs than one transaction frees, and nobody works.
#[test]
fn all_that_waits_for_a_job_is_freed_by_its_end() {
    let place = Place::new();
    place.ok(&["enqueue", "parent", "true"]);
    let child = r#"{"command":"true","after":{"job":"parent","on":"failure"}}"#;
    let children = format!("{child}\n").repeat(1_500);
    assert_eq!(place.feed(&["enqueue", "-"], &children).code, 0);
    assert_eq!(place.json(&["status"])["jobs"]["blocked"], 1_500);
    place.ok(&["cancel", "parent"]);
    let jobs = &place.json(&["status"])["jobs"];
    assert_eq!((&jobs["pending"], &jobs["blocked"]), (&1_500.into(), &0.into()));
}

#[test]
fn a_limit_means_the_same_in_every_command() {
    let place = Place::new();
    for batch in ["book", "film", "song"] {
        place.ok(&["enqueue", "exit 1", "--retries", "0", "--batch", batch]);
        let command = format!("echo {batch} >&2; exit 2");
        place.ok(&["enqueue", &command, "--retries", "0"]);
    }
    place.ok(&["worker", "start", "--drain"]);
    let lists = [
        (&["list"][..], "jobs", 6),
        (&["dlq", "list"], "jobs", 6),
        (&["dlq", "groups"], "groups", 4),
        (&["batch", "list"], "batches", 3),
    ];
    for (command, what, all) in lists {
        for (limit, shown) in [("0", all), ("2", 2), ("99", all)] {
            for option in ["-n", "--limit"] {
                let said = place.json(&[command, &[option, limit]].concat());
                assert_eq!(said[what].as_array().map(Vec::len), Some(shown), "{command:?} {limit}");
                assert_eq!(said["more"], shown < all, "{command:?} {limit}");
            }
        }
        assert!(place.run(&[command, &["-n", "2"]].concat()).err.contains("--limit 0"));
    }
}

/// One that runs is not cancelled yet.
#[test]
fn cancelling_a_batch_tells_who_was_asked_to_stop() {
    let place = Place::new();
    for id in ["runs", "waits"] {
        place.ok(&["enqueue", id, "sleep 100", "--batch", "book"]);
    }
    let mut worker = place.worker(&[]);
    until("it runs", || place.state("runs") == "processing");
    let said = place.ok(&["batch", "cancel", "book"]);
    assert_eq!(said, "cancelled 1 job of book\ntold the workers of 1 job to stop them\n");
    until("it is stopped", || place.state("runs") == "cancelled");
    let done = place.json(&["batch", "cancel", "book"]);
    assert_eq!((&done["cancelled"], &done["asked"]), (&0.into(), &0.into()));
    assert_eq!(fields(&done), ["asked", "batches", "cancelled", "schema_version"]);
    worker.signal(Signal::TERM);
    worker.end();
}

#[test]
fn a_batch_is_cancelled() {
    let place = Place::new();
    place.ok(&["enqueue", "a", "true", "--batch", "book"]);
    place.ok(&["enqueue", "b", "true", "--batch", "book"]);
    place.ok(&["cancel", "a"]);
    assert!(place.ok(&["batch", "cancel", "book"]).contains("cancelled 1 job of book"));
    assert_eq!(place.state("b"), "cancelled");
    // Where nobody works, all of them are.
    let member = r#"{"command":"true","batch":"long"}"#;
    place.feed(&["enqueue", "-"], &format!("{member}\n").repeat(1_500));
    let done = place.json(&["batch", "cancel", "long"]);
    assert_eq!((&done["cancelled"], &done["asked"]), (&1_500.into(), &0.into()));
    assert_eq!(done["batches"][0]["cancelled"], 1_500);
    for typed in
        [["batch", "show", "film"], ["batch", "close", "film"], ["batch", "cancel", "film"]]
    {
        let said = place.run(&typed);
        assert!(said.code == 3 && said.err.contains("there is no batch film"), "{said:?}");
    }
    place.ok(&["batch", "close", "book"]);
    for (typed, told) in [
        (&["batch", "close", "book"][..], "the batch book is closed"),
        (&["enqueue", "true", "--batch", "book"], "the batch book has ended"),
    ] {
        let said = place.run(typed);
        assert!(said.code == 4 && said.err.contains(told), "{said:?}");
    }
}
