//! The program as its users know it: every test runs the real binary on a store of its own.

mod config;
mod dead;
mod endings;
mod enqueue;
mod events;
mod kinds;
mod looking;
mod queues;
mod real_input;
mod refusals;
mod scenarios;
mod schedules;
#[expect(clippy::unwrap_used, reason = "a test fails where its tools do")]
mod support;
mod unusable;
mod workers;
