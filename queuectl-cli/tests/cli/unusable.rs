//! Stores that cannot be used: each is refused with a sentence and exit code 5, and left as it is.

use std::fs;

use crate::support::{Place, Said};

/// A closed store with ten jobs.
fn place() -> Place {
    let place = Place::new();
    let lines = r#"{"command":"true"}"#.to_owned() + "\n";
    assert_eq!(place.feed(&["enqueue", "-"], &lines.repeat(10)).code, 0);
    place
}

/// Every verb that looks and every verb that writes.
fn everyone_is_refused(place: &Place, with: &str) {
    let before = fs::read(place.store()).expect("the store's file");
    for verb in [
        &["list"][..],
        &["status"],
        &["show", "q1"],
        &["enqueue", "true"],
        &["cancel", "q1"],
        &["dlq", "retry", "--all"],
        &["config", "set", "max-retries", "1"],
        &["worker", "start", "--drain"],
        &["run", "true"],
        &["wait", "q1"],
    ] {
        let said = place.run(verb);
        assert_eq!(said.code, 5, "{verb:?}: {said:?}");
        assert!(said.err.starts_with("error: ") && said.err.contains(with), "{verb:?}: {said:?}");
        assert!(said.out.is_empty(), "{verb:?}: {said:?}");
    }
    assert_eq!(fs::read(place.store()).ok(), Some(before), "the refused store was changed");
}

#[test]
fn a_foreign_file() {
    let place = place();
    fs::write(place.store(), "a text of somebody who mistook the path ".repeat(200)).unwrap();
    everyone_is_refused(&place, "is not a queue");
}

#[test]
fn an_empty_file() {
    let place = place();
    fs::write(place.store(), "").unwrap();
    everyone_is_refused(&place, "is an empty file");
}

#[test]
fn a_file_that_was_cut_short() {
    let place = place();
    let file = fs::File::options().write(true).open(place.store()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    everyone_is_refused(&place, "is damaged");
}

#[test]
fn a_store_of_a_newer_version() {
    let place = place();
    let store = rusqlite::Connection::open(place.store()).unwrap();
    store.execute("UPDATE queuectl_meta SET schema = 99", []).unwrap();
    store.close().unwrap();
    everyone_is_refused(&place, "newer version");
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

/// Runs a script as root of a namespace of its own, where it may mount what it likes. `None`, and a
/// word about it, where that is not allowed.
fn in_a_namespace(place: &Place, script: &str) -> Option<Said> {
    let mut command = place.process("unshare");
    command.args(["--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]);
    command.args(["sh", "-c", script]);
    command.env("BIN", env!("CARGO_BIN_EXE_queuectl"));
    let said = command.output().ok().map(Said::of).filter(|said| said.code != 77);
    if said.as_ref().is_none_or(|said| said.err.contains("unshare")) {
        skipped("this machine gives nobody a namespace of their own");
        return None;
    }
    said
}

#[test]
fn a_store_on_a_read_only_file_system() {
    let place = place();
    let script = r#"
        mount --bind data data && mount -o remount,bind,ro data || exit 77
        for verb in 'list' 'enqueue true' 'worker start --drain' 'cancel q1'; do
            "$BIN" $verb; echo "$?"
        done"#;
    let Some(said) = in_a_namespace(&place, script) else { return };
    let codes: Vec<_> = said.out.lines().collect();
    assert_eq!(codes, ["5"; 4], "{said:?}");
    assert_eq!(said.err.matches("error: ").count(), 4, "{said:?}");
}

/// The first process of a container is in no group and no session that its own view has a number
/// for.
#[test]
fn a_container_that_was_entered_from_outside() {
    let place = Place::new();
    let script = r#"
        cut -d' ' -f5,6 /proc/$$/stat
        "$BIN" run --retries 0 'echo hello; exit 3' 'sleep 30 & echo bye'; echo "$?""#;
    let Some(said) = in_a_namespace(&place, script) else { return };
    assert_eq!(said.out, "0 0\nhello\nbye\n1\n", "{said:?}");
}

/// What was acknowledged while the disk filled up is there; what was refused is not; and when there
/// is room again, it goes on.
#[test]
fn a_full_disk() {
    let place = Place::new();
    fs::create_dir(place.dir().join("data")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=2m none data || exit 77
        "$BIN" enqueue --quiet true
        dd if=/dev/zero of=data/filler bs=4096 2>/dev/null
        code=0
        for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            "$BIN" enqueue --quiet true || { code=$?; break; }
        done
        echo "ended with $code"
        rm data/filler
        "$BIN" enqueue --quiet true
        "$BIN" list --limit 0 --json"#;
    let Some(said) = in_a_namespace(&place, script) else { return };
    let lines: Vec<_> = said.out.lines().collect();
    let refused = lines.iter().position(|line| *line == "ended with 5");
    assert!(refused.is_some() && said.err.contains("disk is full"), "{said:?}");
    let acknowledged: Vec<_> = lines.iter().filter(|line| line.starts_with('q')).collect();
    let listed: serde_json::Value = serde_json::from_str(lines[lines.len() - 1]).unwrap();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), acknowledged.len(), "{said:?}");
}
