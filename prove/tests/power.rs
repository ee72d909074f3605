//! The whole proof of power loss, in small: processes that use the library, recorded, and images of
//! what a disk may have of it.

use std::process::Command;

/// A store that made its folder acknowledged jobs, and a power cut took the folder with everything in
/// it: the store's folder had been synced, but not the one above, which knows its name.
///
/// Here three processes make one store in a folder that is not there, at the same time.
#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test is a process")]
fn nothing_acknowledged_is_lost_not_even_with_the_folder() {
    let mut prove = Command::new(env!("CARGO_BIN_EXE_prove"));
    let proved = prove.args(["power", "--library-only", "--images", "120"]).output().unwrap();
    let said = String::from_utf8_lossy(&proved.stdout);
    // Where nothing can be traced, it says so and claims nothing.
    assert!(proved.status.success(), "{said}");
    assert!(said.contains(": 0 violations, "), "{said}");
}
