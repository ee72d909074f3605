//! A case that stands in a file of the suite but not in its list would never run, and nobody would
//! notice: it is public, so the compiler does not miss it.

use std::fs;
use std::path::Path;

use queuectl_testkit::conformance::CASES;

#[test]
fn every_case_is_in_the_list() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let mut written = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let topic = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let cases = text
            .lines()
            .filter_map(|line| line.strip_prefix("pub fn "))
            .filter_map(|rest| rest.split_once("(t: &mut Trial)"))
            .map(|(case, _)| format!("{topic}::{case}"));
        written.extend(cases);
    }
    let mut listed: Vec<String> = CASES.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    written.retain(|case| listed.binary_search(case).is_err());
    assert_eq!(written, [""; 0], "not in cases.rs");
}
