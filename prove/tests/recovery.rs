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
        ("recovery", "3 workers killed"),
        ("self-fencing", "6 jobs"),
        ("jobs that kill their workers", "6 workers"),
        ("neighbours of such jobs", "400 neighbours"),
    ];
    for (proof, figures) in proofs {
        let score = text.split_once(&format!("{proof}: 0 violations, "));
        let done = score.and_then(|(_, rest)| rest.lines().nth(1));
        assert!(done.is_some_and(|done| done.trim().starts_with(figures)), "{proof}: {text}");
    }
}
