//! The benchmark harness: figures that can be trusted on machines that are not quiet.
//!
//! A rate by itself says more about the machine and its neighbours than about the queue. So every
//! figure stands beside a baseline that was measured in the same run, in turns with it, and what is
//! to be read is the ratio of the two. See `README.md` for how.

pub mod args;
mod backlog;
mod command;
mod crowd;
pub mod door;
pub mod figures;
mod floor;
mod graph;
mod idle;
pub mod machine;
pub mod measure;
pub mod measures;
mod ours;
mod pace;
pub mod parts;
pub mod peers;
mod pickup;
pub mod process;
mod rows;
mod shell;
pub mod table;
mod timed;

use std::error::Error;

/// What a benchmark gives, or why it is no benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
