//! What came of the ticks of schedules, as the processes were told: none twice.

use std::collections::BTreeSet;

use queuectl_core::schedule::{TickOutcome, TickRecord};
use queuectl_core::{Name, Timestamp};

use super::tally::Tally;

/// The schedule whose ticks are not those of the wall clock: after a step of that, one may be shown at
/// the time of another.
pub(super) const BEAT: &str = "beat";

/// The ticks that have made a job, those of a removed schedule not among them.
#[derive(Default)]
pub(super) struct Ticks(BTreeSet<(Name, Timestamp)>);

impl Ticks {
    /// A call has told this. Whatever the clocks did meanwhile, no tick makes two jobs.
    pub(super) fn told(&mut self, ticks: &[(Name, TickRecord)], tally: &mut Tally) {
        for (name, record) in ticks {
            let what = match &record.outcome {
                TickOutcome::Enqueued(_) | TickOutcome::Exists(_) => {
                    let first = self.0.insert((name.clone(), record.tick));
                    assert!(first || name.as_str() == BEAT, "made twice: {name} {record:?}");
                    "a tick made a job"
                }
                TickOutcome::Overlapped => "a tick overlapped",
                TickOutcome::Waits => "a tick waited for the last job",
                _ => "ticks missed",
            };
            tally.count(what);
        }
    }

    /// A schedule of this name is another one from now on.
    pub(super) fn forget(&mut self, name: &Name) {
        self.0.retain(|(of, _)| of != name);
    }
}
