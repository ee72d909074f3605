//! How much of a queue may run at a time, how often its jobs may start, and how much of the workers is its
//! own.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::settings::parse_duration;

/// The longest period of a [`Rate`].
const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What limits a queue, over all workers of all processes. The default limits nothing but jobs that have
/// a [concurrency key](crate::NewJob::concurrency_key): of those with one key, one runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueLimits {
    /// How many of its jobs may be processing at a time; `None` is any number.
    pub concurrency: Option<NonZeroU32>,
    /// How many of its jobs that have the same concurrency key may be processing at a time; `None` is
    /// one.
    pub per_key: Option<NonZeroU32>,
    /// How often its jobs may start; `None` is as often as they can.
    pub rate: Option<Rate>,
}

impl QueueLimits {
    /// How many jobs of one concurrency key may be processing at a time.
    pub fn per_key(&self) -> NonZeroU32 {
        self.per_key.unwrap_or(NonZeroU32::MIN)
    }

    /// Changes one of the limits.
    pub fn set(&mut self, limit: Limit) {
        match limit {
            Limit::Concurrency(limit) => self.concurrency = limit,
            Limit::PerKey(limit) => self.per_key = limit,
            Limit::Rate(limit) => self.rate = limit,
        }
    }
}

/// One limit of a queue, and its new value; `None` returns it to its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`QueueLimits::concurrency`].
    Concurrency(Option<NonZeroU32>),
    /// [`QueueLimits::per_key`].
    PerKey(Option<NonZeroU32>),
    /// [`QueueLimits::rate`].
    Rate(Option<Rate>),
}

/// So many starts in any period of a length: `100/1m`, `5/s`.
///
/// ```
/// use queuectl_core::Rate;
/// use std::time::Duration;
///
/// let rate: Rate = "100/1m".parse()?;
/// assert_eq!(rate.starts().get(), 100);
/// assert_eq!(rate.period(), Duration::from_secs(60));
/// assert_eq!("5/s".parse::<Rate>()?.to_string(), "5/1s");
/// # Ok::<(), queuectl_core::InvalidRate>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    starts: NonZeroU32,
    period: Duration,
}

impl Rate {
    /// So many starts in any period of this length, a millisecond to 366 days, rounded up to whole
    /// milliseconds.
    ///
    /// # Errors
    ///
    /// [`InvalidRate`] if the period is shorter or longer.
    pub fn new(starts: NonZeroU32, period: Duration) -> Result<Self, InvalidRate> {
        let whole_ms = period.as_nanos().div_ceil(1_000_000);
        let whole = Duration::from_millis(u64::try_from(whole_ms).unwrap_or(u64::MAX));
        let fits = (Duration::from_millis(1)..=PERIOD_MAX).contains(&whole);
        let text = || format!("{starts}/{}", humantime::format_duration(period));
        fits.then_some(Rate { starts, period: whole }).ok_or_else(|| InvalidRate(text()))
    }

    /// How many starts.
    pub fn starts(&self) -> NonZeroU32 {
        self.starts
    }

    /// In any period of this length, in whole milliseconds.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The steps in which starts are counted: those of one step leave the period together, at the end
    /// of the last one's. So what has to be remembered is bounded, and the rate is kept a little late
    /// and never early. Whole milliseconds.
    pub fn step(&self) -> Duration {
        const STEPS: u64 = 64;
        let period_ms = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis((period_ms / STEPS).max(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.starts, humantime::format_duration(self.period))
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRate(text.to_owned());
        let (starts, period) = text.split_once('/').ok_or_else(invalid)?;
        let period = match period.trim() {
            "s" => Some(Duration::from_secs(1)),
            "m" => Some(Duration::from_secs(60)),
            "h" => Some(Duration::from_secs(3600)),
            "d" => Some(Duration::from_secs(86_400)),
            period => parse_duration(period),
        };
        let starts = starts.trim().parse().map_err(|_| invalid())?;
        Rate::new(starts, period.ok_or_else(invalid)?).map_err(|_| invalid())
    }
}

/// A text is not a rate. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate: write starts and a period of 1ms to 366days, like 100/1m or 5/s")]
pub struct InvalidRate(String);

/// How much of the workers a queue gets where others have jobs of the same priority: 1 to 1000, twice as
/// much with twice the weight. A queue that is to get nothing is [paused](crate::Store::pause).
///
/// ```
/// use queuectl_core::Weight;
///
/// assert_eq!("5".parse::<Weight>()?.get(), 5);
/// assert_eq!(Weight::default().get(), 1);
/// assert!(Weight::new(0).is_err());
/// # Ok::<(), queuectl_core::InvalidWeight>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight(u32);

impl Weight {
    /// A weight of 1 to 1000.
    ///
    /// # Errors
    ///
    /// [`InvalidWeight`] for any other number.
    pub fn new(weight: u32) -> Result<Self, InvalidWeight> {
        let fits = (1..=1000).contains(&weight);
        fits.then_some(Weight(weight)).ok_or_else(|| InvalidWeight(weight.to_string()))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }

    /// How far a queue comes with each job that it is given; whoever is furthest behind is next. 2^32
    /// for a weight of 1, and as much less as the weight is greater, rounded down: so the shares of two
    /// queues are wrong by less than one in four million.
    pub fn stride(self) -> i64 {
        (1 << 32) / i64::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Weight(1)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Weight {
    type Err = InvalidWeight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let weight = text.trim().parse().ok().and_then(|weight| Weight::new(weight).ok());
        weight.ok_or_else(|| InvalidWeight(text.to_owned()))
    }
}

/// A number or text is not a weight. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a weight: write a whole number from 1 to 1000")]
pub struct InvalidWeight(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["1/1ms", "100/1m", "5/1s", "4294967295/1day"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("7/90".parse::<Rate>().unwrap().period(), Duration::from_secs(90));
        assert_eq!("1/1999us".parse::<Rate>().unwrap().period(), Duration::from_millis(2));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "5", "5/", "/5", "0/1s", "-1/1s", "1/0", "1/367days", "1/1s/1s", "a/1s"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_steps_of_a_period_are_few_and_none_is_empty() {
        for (text, step) in [("1/1ms", 1), ("1/64ms", 1), ("1/1s", 15), ("1/1m", 937)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.step().as_millis(), step, "{text}");
        }
    }
}
