//! Bugs of schedules.

use super::Bug;
use crate::sabotage::suites::CONFORMANCE;

#[rustfmt::skip]
pub(super) const BUGS: &[Bug] = &[
    Bug {
        name: "tick-without-comparing",
        breaks: "each tick is attended to once, by however many processes",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/tick.rs",
                "WHERE schedule = ?1 AND revision = ?2 AND paused = 0",
                "WHERE schedule = ?1 AND ?2 >= 0 AND paused = 0",
            ),
        ],
    },
    Bug {
        name: "tick-without-moving-on",
        breaks: "each tick is attended to once",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/tick.rs",
                "next_at = iif(?3, ?4, next_at),",
                "next_at = iif(?3 AND ?4 > 0, next_at, next_at),",
            ),
        ],
    },
    Bug {
        name: "pause-that-is-made-up-for",
        breaks: "nobody makes up for the ticks of a pause",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/schedule.rs",
                "if paused { Ok(()) } else { begin_after(tx, name, &spec, last) }",
                "if paused || last.is_none() { Ok(()) } else { begin_after(tx, name, &spec, last) }",
            ),
        ],
    },
    Bug {
        name: "tick-before-the-last-job-has-ended",
        breaks: "a tick that waits makes its job when the last one has ended",
        suites: &[&CONFORMANCE],
        edits: &[
            (
                "queuectl-core/src/sqlite/tick.rs",
                "(SELECT 1 FROM queuectl_job WHERE key = last_job AND (state < 3 OR state = 4))",
                "(SELECT 1 FROM queuectl_job WHERE key = last_job AND state = 1)",
            ),
            (
                "queuectl-core/src/sqlite/tick.rs",
                "            && !ticking.lives(tx)?
",
                "",
            ),
        ],
    },
];
