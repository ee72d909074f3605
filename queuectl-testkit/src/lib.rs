//! What proves that a store keeps its contract.
//!
//! - [`conformance`]: one test for each sentence of the docs of [`Store`](queuectl_core::Store),
//!   written once and run for every store.
//! - [`model`]: stories by chance, told to a store and to a model of it, which must agree; what they
//!   disagree on is told in as few steps as it takes.
//! - [`history`]: holds what outside witnesses saw of a run, with crashes in it, against what is promised.
//! - [`checks`]: what must hold for any text, number or damaged file.
//! - [`memory`]: the smallest correct store, which is what the contract means where its words leave
//!   a doubt.
//! - [`layer`]: a store before another one, which sees or changes some of the calls.
//! - [`replay`]: the event log, held against the state that it leads to.
//! - [`simulator`]: many processes, faults and any course of time, from one seed.
//!
//! # Testing a store of your own
//!
//! A crate that has a store adds `queuectl-testkit` to its `dev-dependencies`, says in a
//! [`Fixture`](conformance::Fixture) how a fresh store is made, and has in
//! `tests/conformance.rs`:
//!
//! ```
//! # mod fixture {
//! use queuectl_core::{ManualClock, Store};
//! use queuectl_testkit::MemoryStore;
//! use queuectl_testkit::conformance::Fixture;
//! use std::sync::Arc;
//!
//! pub struct Fresh {
//!     clock: Arc<ManualClock>,
//!     store: Arc<MemoryStore>,
//! }
//!
//! impl Fresh {
//!     pub fn new() -> Self {
//!         let clock = Arc::new(ManualClock::new());
//!         let store = Arc::new(MemoryStore::new(clock.clone()));
//!         Fresh { clock, store }
//!     }
//! }
//!
//! impl Fixture for Fresh {
//!     fn store(&self) -> Arc<dyn Store> {
//!         self.store.clone()
//!     }
//!     fn clock(&self) -> Arc<ManualClock> {
//!         self.clock.clone()
//!     }
//! }
//! # }
//! // The lines that matter:
//! use fixture::Fresh;
//!
//! queuectl_testkit::conformance_suite!(Fresh::new());
//! queuectl_testkit::model_suite!(Fresh::new());
//! ```
//!
//! Each case is a test with a name of its own, such as `claim::a_paused_queue_gives_nothing`. A case
//! that needs more than the fixture offers says so on standard error, even when the test
//! harness captures output.

pub mod checks;
pub mod conformance;
mod dice;
pub mod history;
pub mod layer;
pub mod memory;
pub mod model;
pub mod replay;
pub mod simulator;

pub use memory::MemoryStore;
