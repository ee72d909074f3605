//! The import rules of `ARCHITECTURE.md`, held against the source.
//!
//! A module may import from the levels below its own. Within a level it may import nothing, but for the
//! pairs that [`WITHIN`] names; and nothing imports what [`BEHIND_TRAITS`] names. So the store and the
//! shell know nothing of each other, the worker sees only traits and plain data, and each level can be
//! read without those above it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate by level, lowest first. A module is a file, or a folder with all its files.
const LEVELS: [&[&str]; 5] = [
    &["guide", "state", "clock", "backoff", "random", "id", "settings"],
    &["attempt", "dependency", "event", "failure", "job", "limits", "policy", "schedule"],
    &["store", "handler", "chain"],
    &["sqlite", "shell"],
    &["subscription", "worker"],
];

/// Who may import whom on the same level: the settings hold a backoff, an event and a failure tell how an
/// attempt ended, a job names what it waits for, a schedule holds the job that it makes, and a handler fails with the error
/// type of the store.
const WITHIN: [(&str, &str); 6] = [
    ("settings", "backoff"),
    ("event", "attempt"),
    ("failure", "attempt"),
    ("job", "dependency"),
    ("schedule", "job"),
    ("handler", "store"),
];

/// What implements the traits of the level below: only the crate's root names it, so that its users can.
const BEHIND_TRAITS: [&str; 2] = ["sqlite", "shell"];

#[test]
fn imports_run_one_way() {
    let mut offences = Vec::new();
    for (module, path) in sources() {
        for imported in imports(&code(&path)) {
            if !may_import(&module, &imported) {
                offences.push(format!("{}: crate::{imported}", path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "forbidden imports: {offences:#?}");
}

/// What a module takes from outside of itself is written `crate::…`: by any other way it would escape
/// the rule above.
#[test]
fn no_path_leaves_its_module_by_super() {
    let mut offences = Vec::new();
    for (_, path) in sources() {
        let up = match path.file_name().is_some_and(|name| name == "mod.rs") {
            true => "super::",
            false => "super::super::",
        };
        let is_top = path.parent().is_some_and(|folder| folder.ends_with("src"));
        let text = code(&path).replace("use super::*;", "");
        if text.contains(up) || (is_top && text.contains("super::")) {
            offences.push(path);
        }
    }
    assert!(offences.is_empty(), "they leave their module: {offences:?}");
}

#[test]
fn every_module_has_a_level() {
    let found: BTreeSet<String> = sources().into_iter().map(|(module, _)| module).collect();
    let listed: BTreeSet<String> = LEVELS.concat().into_iter().map(str::to_owned).collect();
    assert_eq!(found, listed);
}

/// The rule itself, on imports that are known: a test that finds nothing must not pass for that.
#[test]
fn forbidden_imports_are_found() {
    let text = "use crate::{clock::Clock, sqlite::{Tx, row}};\nlet x = crate::worker::step::X;";
    assert_eq!(imports(text), ["clock", "sqlite", "worker"]);
    assert!(may_import("worker", "store") && may_import("handler", "store"));
    for (module, imported) in [
        ("worker", "sqlite"),
        ("shell", "sqlite"),
        ("sqlite", "shell"),
        ("job", "store"),
        ("store", "handler"),
        ("clock", "state"),
        // What the crate exports at its root hides where it comes from.
        ("worker", "Durability"),
    ] {
        assert!(!may_import(module, imported), "{module} -> {imported}");
    }
}

fn may_import(module: &str, imported: &str) -> bool {
    let level = |name| LEVELS.iter().position(|level| level.contains(&name));
    match (level(module), level(imported)) {
        _ if module == imported || WITHIN.contains(&(module, imported)) => true,
        (Some(above), Some(below)) => above > below && !BEHIND_TRAITS.contains(&imported),
        _ => false,
    }
}

/// The first name of each path that begins with `crate::`, those in braces one by one.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let mut found = Vec::new();
    for (start, path) in code.match_indices("crate::") {
        // `other_crate::` ends in the same letters, `$crate::` is this crate again.
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[start + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(in_braces(group).iter().map(|one| word(one))),
            None => found.push(word(rest)),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The members of a group in braces, up to its end; those of groups within it belong to their member.
fn in_braces(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut members) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[from..at]);
                from = at + 1;
            }
            '}' => {
                members.push(&group[from..at]);
                break;
            }
            _ => {}
        }
    }
    members
}

/// A file without its comments: what docs link to is not imported.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every source file but the crate's root, with the module it belongs to.
fn sources() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let inside = path.strip_prefix(&src).expect("a file of the crate");
                let first = inside.iter().next().expect("a name").to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                if module != "lib" {
                    sources.push((module, path));
                }
            }
        }
    }
    sources
}
