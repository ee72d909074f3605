//! The storm itself works: a breeze, so that each sort of process has been killed a few times.

use std::path::Path;
use std::process::Command;

#[test]
#[expect(clippy::disallowed_methods, reason = "the program is tested as it is run")]
fn a_small_storm_breaks_nothing() {
    let prove = Path::new(env!("CARGO_BIN_EXE_prove"));
    if !prove.with_file_name("queuectl").is_file() {
        // `cargo test -p prove` alone does not build the program that it proves.
        println!("skipped: queuectl is not built");
        return;
    }
    let line = ["storm", "--kills", "80", "--seed", "7", "--workers", "2"];
    let output = Command::new(prove).args(line).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(": 0 violations, "), "{text}");
    // It saw something.
    for nothing in [" 0 acknowledged", " 0 executions", " 0 sightings"] {
        assert!(!text.contains(nothing), "{text}");
    }
}
