//! Nothing is left in the worker's process, whatever its commands do. Alone in its program, because
//! descriptors and memory are counted per process.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests wait for what no descriptor tells, and may panic"
)]

#[path = "shell/support.rs"]
#[expect(dead_code, reason = "shared with the tests of single commands")]
mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use queuectl_core::{StopCause, StopSignal};
use serde_json::json;
use support::{LONG, Place};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The most memory that this process ever had, in kilobytes.
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

fn children() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .flat_map(|task| fs::read_to_string(task.unwrap().path().join("children")))
        .filter(|children| !children.is_empty())
        .collect()
}

#[test]
fn descriptors_children_and_memory_are_given_back() {
    let place = Place::with(|options| options.grace = Duration::from_millis(50));
    let stop: Arc<StopSignal> = Arc::default();
    let round = |stop: &Arc<StopSignal>| {
        let run = |command: &str, limit: u64| {
            let payload = json!({ "command": command });
            place.run_until(payload, Duration::from_millis(limit), stop);
        };
        run("exit 1", 30_000);
        run("kill -9 $$", 30_000);
        run("sleep 300 & echo hi", 30_000);
        run("trap '' TERM; sleep 300", 50);
        run("yes | head -c 1000000", 30_000);
        place.run(json!({ "argv": ["/no/such/tool"] }), LONG);
        place.run(json!({ "command": "true", "cwd": "/no/such/place" }), LONG);
        place.run(json!({ "argv": ["true", "x".repeat(200_000)] }), LONG);
    };
    round(&stop);
    let (before, peak) = (descriptors(), peak_kb());
    for _ in 0..5 {
        round(&stop);
    }
    // The signal to stop lives on, as it does in a worker that has not dropped it yet.
    assert_eq!(descriptors(), before);
    assert_eq!(children(), [""; 0]);
    stop.raise(StopCause::Shutdown);

    let finished = place.sh("head -c 400000000 /dev/zero; head -c 400000000 /dev/zero >&2");
    assert_eq!(finished.report.stdout.total, 400_000_000);
    assert_eq!(finished.report.stderr.total, 400_000_000);
    let grown = peak_kb() - peak;
    println!("peak memory grew by {grown} kB during 800 MB of output");
    assert!(grown < 4_000, "{grown} kB");
}
