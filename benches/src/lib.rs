//! The benchmark harness: figures that can be trusted on machines that are not quiet.
//!
//! A rate by itself says more about the machine and its neighbours than about the queue. So every
//! figure stands beside a baseline that was measured in the same run, in turns with it, and what is
//! to be read is the ratio of the two. See `README.md` for how.

pub mod args;
mod door;
pub mod figures;
pub mod floor;
pub mod machine;
pub mod measure;
pub mod ours;
pub mod rows;
pub mod table;

use std::error::Error;

/// What a benchmark gives, or why it is no benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
