//! Waiting until something in the store may have changed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use queuectl_core::Store;
use queuectl_core::store::{StoreError, Watch};

/// How long a change that nobody told of goes unnoticed at most.
const RECHECK: Duration = Duration::from_secs(1);

/// Wakes when the store changes.
#[derive(Debug)]
pub(crate) struct Changes {
    receiver: Receiver<()>,
    _watch: Watch,
}

impl Changes {
    /// Changes from now on: look at the store after this call, then wait, then look again.
    pub(crate) fn of(store: &dyn Store) -> Result<Self, StoreError> {
        // One slot: several changes between two looks are one reason to look again.
        let (sender, receiver) = sync_channel(1);
        let watch = store.watch(Arc::new(move || {
            let _ = sender.try_send(());
        }))?;
        Ok(Changes { receiver, _watch: watch })
    }

    /// Returns when the store may have changed, and after `at_most` in any case.
    pub(crate) fn wait(&self, at_most: Duration) {
        let _ = self.receiver.recv_timeout(at_most.min(RECHECK));
    }
}
