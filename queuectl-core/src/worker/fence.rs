//! Tells attempts to end before their lease does.
//!
//! The thread that steps does so too, between two calls of the store. But a call of a store that is
//! locked may take longer than the lease has left, and after that another worker may run the job. So
//! the fence has a thread of its own, which calls nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::threads::{LOOK_UP, lock};
use crate::clock::{BootTime, Clock};
use crate::handler::{StopCause, StopSignal};
use crate::id::Lease;

/// The running attempts of a process, and the time by which they have to be told.
#[derive(Default)]
pub(super) struct Fence {
    guarded: Mutex<Guarded>,
    changed: Condvar,
}

#[derive(Default)]
struct Guarded {
    /// A tree, because leases come and go in about their order.
    signals: BTreeMap<Lease, Arc<StopSignal>>,
    until: Option<BootTime>,
    over: bool,
}

impl Fence {
    /// The signals of attempts that are to begin.
    pub(super) fn guard(&self, leases: impl Iterator<Item = Lease>) -> Vec<Arc<StopSignal>> {
        let mut guarded = lock(&self.guarded);
        let until = guarded.until;
        let guard = |lease| {
            let signal = Arc::new(StopSignal::default());
            if let Some(until) = until {
                signal.set_fence(until);
            }
            guarded.signals.insert(lease, Arc::clone(&signal));
            signal
        };
        leases.map(guard).collect()
    }

    /// Attempts have ended, or will not begin.
    pub(super) fn release(&self, leases: impl Iterator<Item = Lease>) {
        let mut guarded = lock(&self.guarded);
        for lease in leases {
            guarded.signals.remove(&lease);
        }
    }

    /// The signal of a running attempt.
    pub(super) fn signal(&self, lease: Lease) -> Option<Arc<StopSignal>> {
        lock(&self.guarded).signals.get(&lease).cloned()
    }

    /// The leases have been extended.
    pub(super) fn move_to(&self, until: BootTime) {
        let mut guarded = lock(&self.guarded);
        guarded.until = Some(until);
        for signal in guarded.signals.values() {
            signal.set_fence(until);
        }
        drop(guarded);
        self.changed.notify_one();
    }

    /// Nothing runs any more.
    pub(super) fn close(&self) {
        lock(&self.guarded).over = true;
        self.changed.notify_one();
    }

    /// Watches until it is closed.
    pub(super) fn stand(&self, clock: &dyn Clock) {
        let mut guarded = lock(&self.guarded);
        while !guarded.over {
            let left = guarded.until.map_or(LOOK_UP, |until| until.since(clock.boot()));
            if left.is_zero() {
                let signals: Vec<_> = guarded.signals.values().cloned().collect();
                drop(guarded);
                for signal in signals {
                    signal.raise(StopCause::LeaseLost);
                }
                guarded = lock(&self.guarded);
            }
            let pause = if left.is_zero() { LOOK_UP } else { left.min(LOOK_UP) };
            let waited = self.changed.wait_timeout(guarded, pause);
            guarded = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
