//! Bugs of what people type and see.

use super::Bug;
use crate::sabotage::suites::CLI;

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    // What people see.

    Bug {
        name: "escape-filter-off",
        breaks: "no control character of a job reaches a terminal",
        suites: &[&CLI],
        edits: &[
            (
                "queuectl-cli/src/output/display.rs",
                r#"        for character in self.text.chars() {
            match character {"#,
                r#"        for character in self.text.chars() {
            match character {
                _ if true => f.write_char(character)?,"#,
            ),
        ],
    },
    Bug {
        name: "escape-filter-off-in-json",
        breaks: "no control character of a job reaches a terminal, in JSON either",
        suites: &[&CLI],
        edits: &[
            (
                "queuectl-cli/src/output/display.rs",
                r#"        if deceives(character) && !matches!(character, '\n' | '\t' | '\r') {"#,
                "        if false && deceives(character) {",
            ),
        ],
    },
];
