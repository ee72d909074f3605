//! `worker`: starts, stops and lists what runs jobs.

pub(super) mod detach;
pub(super) mod list;
pub(super) mod start;
pub(super) mod stop;
