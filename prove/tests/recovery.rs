//! The proof of recovery itself works, with a few rounds.

use std::path::Path;
use std::process::Command;

#[test]
#[expect(clippy::disallowed_methods, reason = "the program is tested as it is run")]
fn dead_and_locked_out_workers_are_survived() {
    let prove = Path::new(env!("CARGO_BIN_EXE_prove"));
    if !prove.with_file_name("queuectl").is_file() {
        // `cargo test -p prove` alone does not build the program that it proves.
        println!("skipped: queuectl is not built");
        return;
    }
    let output = Command::new(prove).args(["recovery", "--rounds", "3"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let proofs = [
        "recovery: 3 workers killed",
        "self-fencing: 6 jobs",
        "jobs that kill their workers: 6 workers",
        "neighbours of such jobs: 400 neighbours",
    ];
    for proof in proofs {
        let line = text.lines().find(|line| line.starts_with(proof));
        assert!(line.is_some_and(|line| line.contains("; 0 violations")), "{proof}: {text}");
    }
}
