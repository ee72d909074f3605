//! Bugs of what people type and see, and of what they do to dead jobs.

use super::Bug;
use crate::sabotage::suites::{CLI, CONFORMANCE};

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

    // Dead letters.

    Bug {
        name: "a-job-that-is-retried-stays-among-the-dead",
        breaks: "a group is as large as what is dead",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "        State::Dead => dead::leave(tx, key)?,\n",
                "",
            ),
        ],
    },
    Bug {
        name: "an-edited-payload-is-not-kept",
        breaks: "the payload that a dead job had before it was edited is kept",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/note.rs",
                "iif(?5, payload, NULL)",
                "iif(?5 AND 0, payload, NULL)",
            ),
        ],
    },
    Bug {
        name: "each-call-of-a-sweep-begins-the-rate-anew",
        breaks: "a bulk retry keeps its rate",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/dead.rs",
                "sweep.turns + swept.done);",
                "sweep.turns);",
            ),
        ],
    },
    Bug {
        name: "a-sweep-without-an-end",
        breaks: "what dies during a sweep is not in it",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/dead.rs",
                "Sweep { until: Some(until), from, turns, ..sweep.clone() }",
                "Sweep { from, turns, ..sweep.clone() }",
            ),
        ],
    },
    Bug {
        name: "the-last-who-cancels-is-kept",
        breaks: "who cancelled a job is kept with the reason that stands",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/command.rs",
                "by.filter(|_| first > 0)",
                "by",
            ),
        ],
    },
    Bug {
        name: "retention-by-number-takes-the-newest",
        breaks: "of too many dead jobs those go that died first",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/retention.rs",
                "ORDER BY at, dead.job",
                "ORDER BY at DESC, dead.job DESC",
            ),
        ],
    },
];
