//! What goes wrong with a call of the store. Each kind of fault is possible in a quarter of the
//! runs and then comes often, so that every run has a character of its own and many faults meet.

use std::time::Duration;

use queuectl_core::StoreError;

use crate::dice::Dice;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails and has no effect.
    Before(Why),
    /// It has its effect, and fails.
    After,
    /// The process dies before it.
    DeathBefore,
    /// The process dies after its effect, before it has an answer.
    DeathAfter,
    /// The process is stopped for a while before it; all of the process.
    StopBefore(Duration),
    /// The same after it, before it has an answer.
    StopAfter(Duration),
    /// It waits for other writers; the process goes on meanwhile.
    Slow(Duration),
}

/// Why a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Busy,
    Full,
    Io,
    Unknown,
}

impl Why {
    pub(super) fn error(self) -> StoreError {
        let source = "the simulator says so";
        match self {
            Why::Busy => StoreError::Busy(source.into()),
            Why::Full => StoreError::Full(source.into()),
            Why::Io => StoreError::Other(source.into()),
            Why::Unknown => StoreError::Unknown(source.into()),
        }
    }
}

/// The kinds of faults, in the order of their switches.
const KINDS: usize = 10;
const DEATH: usize = 6;

/// Which faults this run has.
#[derive(Debug)]
pub(super) struct Faults {
    on: [bool; KINDS],
}

impl Faults {
    pub(super) fn new(dice: &mut Dice) -> Self {
        Faults { on: std::array::from_fn(|_| dice.once_in(4)) }
    }

    pub(super) fn none() -> Self {
        Faults { on: [false; KINDS] }
    }

    /// Whether processes die of what they do.
    pub(super) fn deadly(&self) -> bool {
        self.on[DEATH]
    }

    /// What happens to the next call, by a process whose lease lasts so long.
    pub(super) fn next(&self, dice: &mut Dice, lease: Duration) -> Option<Fault> {
        let kind = dice.index(KINDS);
        if !self.on[kind] || !dice.once_in(3) {
            return None;
        }
        // Up to twice the lease, so that half of the pauses end after it.
        let pause = dice.time(2 * lease.as_millis() as u64);
        Some(match kind {
            0 => Fault::Before(Why::Busy),
            1 => Fault::Before(Why::Full),
            2 => Fault::Before(Why::Io),
            3 => Fault::Before(Why::Unknown),
            4 | 5 => Fault::After,
            DEATH => {
                // A process costs more to begin than any other fault.
                if !dice.once_in(4) {
                    return None;
                }
                if dice.once_in(2) { Fault::DeathBefore } else { Fault::DeathAfter }
            }
            7 => Fault::StopBefore(pause),
            8 => Fault::StopAfter(pause),
            _ => Fault::Slow(dice.time(6_000)),
        })
    }
}
