//! The bugs. Each is what somebody might write by mistake, or has written in another queue, as a
//! text that is looked for in a file, exactly once, and what stands there instead.

mod crashes;
mod holders;
mod jobs;
mod people;
mod schedules;
mod store;
mod worker;
mod worlds;

use super::suites::Suite;

/// A bug.
#[derive(Debug)]
pub(crate) struct Bug {
    pub(crate) name: &'static str,
    /// The promise that it breaks.
    pub(crate) breaks: &'static str,
    /// The suites of which one must turn red, in the order in which they run.
    pub(crate) suites: &'static [&'static Suite],
    /// The file, what is looked for, what stands there instead.
    pub(crate) edits: &'static [(&'static str, &'static str, &'static str)],
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Bug> {
    [
        store::BUGS,
        holders::BUGS,
        jobs::BUGS,
        worker::BUGS,
        people::BUGS,
        worlds::BUGS,
        crashes::BUGS,
        schedules::BUGS,
    ]
    .into_iter()
    .flatten()
}
