//! When to try again after the store has failed, and when to give up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::BootTime;

/// The pause after a failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a call must have failed at least before the worker gives up: a machine that was suspended
/// wakes up late.
const LASTING_MIN: u32 = 5;

/// A call of the store. Each fails by itself: reads may succeed while no write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Configure,
    Register,
    Renew,
    Orders,
    Rescue,
    Expire,
    Prune,
    Tick,
    Note,
    Count,
    Exchange,
    Reconcile,
    Deregister,
}

/// The calls that have failed and not succeeded since.
#[derive(Debug, Default)]
pub(super) struct Trouble(BTreeMap<Call, Failing>);

#[derive(Debug, Default)]
struct Failing {
    times: u32,
    /// Since when, and how often, in a way that does not pass by itself. A disk that fails for a moment
    /// can look like a damaged file, so once is not enough.
    lasting: Option<(BootTime, u32)>,
}

impl Trouble {
    pub(super) fn succeeded(&mut self, call: Call) {
        self.0.remove(&call);
    }

    /// How long to wait before the next try; `None` if this call has failed for too long, in a way that
    /// does not pass by itself.
    pub(super) fn failed(
        &mut self,
        call: Call,
        passes: bool,
        now: BootTime,
        too_long: Duration,
    ) -> Option<Duration> {
        let failing = self.0.entry(call).or_default();
        failing.times += 1;
        if !passes {
            let (since, times) = failing.lasting.unwrap_or((now, 0));
            failing.lasting = Some((since, times + 1));
            if now >= since + too_long && times + 1 >= LASTING_MIN {
                return None;
            }
        }
        let doublings = failing.times.min(10) - 1;
        Some(PAUSE.saturating_mul(1 << doublings).min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_LONG: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> BootTime {
        BootTime::from_millis(seconds * 1_000)
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut trouble = Trouble::default();
        let mut pause = || trouble.failed(Call::Exchange, true, at(0), TOO_LONG).unwrap();
        assert_eq!([pause(), pause(), pause()].map(|pause| pause.as_millis()), [50, 100, 200]);
        assert_eq!((0..20).map(|_| pause()).last(), Some(PAUSE_MAX));
    }

    /// A damaged page can make every write fail while reads succeed.
    #[test]
    fn a_call_that_fails_for_too_long_is_given_up_whatever_else_succeeds() {
        let mut trouble = Trouble::default();
        for second in 0..30 {
            assert!(trouble.failed(Call::Exchange, false, at(second), TOO_LONG).is_some());
            trouble.succeeded(Call::Reconcile);
        }
        assert_eq!(trouble.failed(Call::Exchange, false, at(30), TOO_LONG), None);
    }

    #[test]
    fn one_success_begins_anew() {
        let mut trouble = Trouble::default();
        for second in 0..100 {
            if second % 29 == 0 {
                trouble.succeeded(Call::Exchange);
            }
            assert!(trouble.failed(Call::Exchange, false, at(second), TOO_LONG).is_some());
        }
    }

    #[test]
    fn what_passes_is_never_given_up_and_does_not_count() {
        let mut trouble = Trouble::default();
        for second in 0..1_000 {
            assert!(trouble.failed(Call::Renew, true, at(second), TOO_LONG).is_some());
        }
        assert!(trouble.failed(Call::Renew, false, at(1_000), TOO_LONG).is_some());
    }

    #[test]
    fn a_suspended_machine_gets_a_second_chance() {
        let mut trouble = Trouble::default();
        assert!(trouble.failed(Call::Renew, false, at(0), TOO_LONG).is_some());
        assert!(trouble.failed(Call::Renew, false, at(3_600), TOO_LONG).is_some());
    }
}
