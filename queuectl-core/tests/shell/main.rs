//! Runs real commands through the handler of shell jobs, as a worker does.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes, wait for what no descriptor tells, and may panic"
)]

mod crashes;
mod ends;
mod outputs;
mod starts;
mod support;
