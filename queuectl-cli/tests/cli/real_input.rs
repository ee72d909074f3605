//! Real work: a checksum of every file of a real source tree, by workers in two processes, one of
//! which is killed in the middle.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::{Place, until};

/// Enough for both workers to be in the middle of it when one dies, few enough for every build.
const FILES: usize = 600;

/// Sources that are on every machine that builds this: those of the dependencies, and our own.
fn sources() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for root in [home.map(|home| home.join("registry/src")), Some(own)].into_iter().flatten() {
        collect(&root, &mut files);
    }
    files.truncate(FILES);
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if files.len() >= FILES {
            return;
        }
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() && !path.ends_with("target") => collect(&path, files),
            Ok(metadata) if metadata.is_file() && path.to_str().is_some() => files.push(path),
            _ => {}
        }
    }
}

/// The witness stands outside the store: each execution appends one line, in one write, when it
/// begins. The output of a job appears whole, by a rename, or not at all.
const COMMAND: &str = r#"echo "$NUMBER" >> started && sha256sum < "$FILE" > "out/$NUMBER.tmp" && mv "out/$NUMBER.tmp" "out/$NUMBER""#;

#[test]
fn every_file_is_worked_on_once_although_a_worker_is_killed() {
    let place = Place::new();
    let files = sources();
    assert!(files.len() >= 100, "only {} files were found", files.len());
    fs::create_dir(place.dir().join("out")).unwrap();
    let mut lines = String::new();
    for (number, file) in files.iter().enumerate() {
        let env = serde_json::json!({ "FILE": file, "NUMBER": number.to_string() });
        let job =
            serde_json::json!({ "command": COMMAND, "env": env, "id": format!("file-{number}") });
        writeln!(lines, "{job}").unwrap();
    }
    fs::write(place.dir().join("jobs.jsonl"), lines).unwrap();
    place.ok(&["enqueue", "--file", "jobs.jsonl"]);

    let count = |path: &str| fs::read_dir(place.dir().join(path)).unwrap().count();
    let mut other = place.worker(&["--count", "2", "--drain"]);
    let mut killed = place.worker(&["--count", "2"]);
    until("some of the work is done", || count("out") > files.len() / 10);
    killed.signal(Signal::KILL);
    killed.end();
    assert_eq!(other.end(), 0);

    let started = fs::read_to_string(place.dir().join("started")).unwrap();
    let mut executions: BTreeMap<usize, usize> = BTreeMap::new();
    for line in started.lines() {
        *executions.entry(line.parse().unwrap()).or_default() += 1;
    }
    assert_eq!(executions.len(), files.len(), "some file was never worked on");
    assert_eq!(count("out"), files.len(), "an output is missing, or half an output is left");
    for (number, file) in files.iter().enumerate() {
        let output = fs::read_to_string(place.dir().join("out").join(number.to_string())).unwrap();
        let expected = place.process("sha256sum").stdin(fs::File::open(file).unwrap()).output();
        assert_eq!(output.as_bytes(), expected.unwrap().stdout, "{}", file.display());
        // Whatever began more than once did so because its worker was killed, and the record of the
        // job says that. Whatever the killed worker had not begun may have been lost without a trace
        // here, but not the other way round.
        if executions[&number] > 1 {
            let attempts = place.attempts(&format!("file-{number}"));
            let lost = attempts.iter().filter(|attempt| attempt["cause"] == "lease_lost").count();
            assert_eq!(executions[&number] - 1, lost, "file-{number} ran again without a reason");
        }
    }
    let jobs = place.json(&["list", "--state", "completed", "--limit", "0"]);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), files.len());
}
