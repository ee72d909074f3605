//! The attempts that a worker process holds, from their claim until they are settled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::handler::StopCause;
use crate::id::{Lease, WorkerKey};
use crate::job::Claimed;

/// One attempt that this process holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) job: Arc<Claimed>,
    pub(super) took: Duration,
    pub(super) told: Option<StopCause>,
    finished: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// In order, so that the same answers lead to the same actions: a run can be repeated.
    attempts: BTreeMap<Lease, Held>,
    /// How many of a worker's attempts have not finished. Kept rather than counted: it is asked for after
    /// each attempt that ends.
    unfinished: BTreeMap<WorkerKey, usize>,
}

impl Holding {
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    pub(super) fn contains(&self, lease: Lease) -> bool {
        self.attempts.contains_key(&lease)
    }

    /// Whether nothing runs, or waits to begin.
    pub(super) fn all_finished(&self) -> bool {
        self.unfinished.values().all(|&unfinished| unfinished == 0)
    }

    /// How many attempts of a worker have not finished.
    pub(super) fn unfinished_of(&self, worker: WorkerKey) -> usize {
        self.unfinished.get(&worker).copied().unwrap_or(0)
    }

    pub(super) fn claimed(&mut self, job: Arc<Claimed>) {
        *self.unfinished.entry(job.worker).or_default() += 1;
        let held =
            Held { job: Arc::clone(&job), took: Duration::ZERO, told: None, finished: false };
        self.attempts.insert(job.lease, held);
    }

    /// An attempt that has not finished.
    pub(super) fn running(&mut self, lease: Lease) -> Option<&mut Held> {
        self.attempts.get_mut(&lease).filter(|held| !held.finished)
    }

    /// All attempts that have not finished.
    pub(super) fn all_running(&mut self) -> impl Iterator<Item = (Lease, &mut Held)> {
        let attempts = self.attempts.iter_mut().map(|(lease, held)| (*lease, held));
        attempts.filter(|(_, held)| !held.finished)
    }

    /// An attempt has finished, or will not begin; what it was, if it is held.
    pub(super) fn finish(&mut self, lease: Lease) -> Option<&mut Held> {
        let held = self.attempts.get_mut(&lease)?;
        if !std::mem::replace(&mut held.finished, true) {
            leave(&mut self.unfinished, held.job.worker);
        }
        Some(held)
    }

    /// An attempt has been settled.
    pub(super) fn remove(&mut self, lease: Lease) -> Option<Held> {
        let held = self.attempts.remove(&lease)?;
        if !held.finished {
            leave(&mut self.unfinished, held.job.worker);
        }
        Some(held)
    }

    /// Forgets what has finished and cannot be settled.
    pub(super) fn forget_finished(&mut self) {
        self.attempts.retain(|_, held| !held.finished);
    }
}

fn leave(unfinished: &mut BTreeMap<WorkerKey, usize>, worker: WorkerKey) {
    if let Some(count) = unfinished.get_mut(&worker) {
        *count -= 1;
    }
}
