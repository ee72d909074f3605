//! Chance that can be repeated: the same seed, the same numbers, on every machine.

use std::time::Duration;

/// SplitMix64: small, quick, and good enough to choose with.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    /// Whether something comes about that does so once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// An index of something that has `len` entries, of which there is at least one.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.roll(len as u64) as usize
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// A time below `millis` milliseconds.
    pub(crate) fn time(&mut self, millis: u64) -> Duration {
        Duration::from_millis(self.roll(millis))
    }
}
