//! How long a failed job waits before its next attempt.
//!
//! The delay before retry `n` (the first retry is 1) is
//!
//! | curve | formula | first values at the defaults |
//! |---|---|---|
//! | exponential (default) | `base ^ n` seconds, base 2 | 2 s, 4 s, 8 s, 16 s |
//! | constant | `delay` | 10 s, 10 s, 10 s |
//! | linear | `step * n` | 10 s, 20 s, 30 s |
//! | polynomial | `n ^ degree` seconds, degree 4 | 1 s, 16 s, 81 s, 256 s |
//! | table | the n-th entry, then the last again | as written |
//!
//! then at most `cap` (300 s), then jitter takes away a random part of it, at most `jitter` times
//! the delay. A formula that overflows, as `2 ^ n` seconds does for a `Duration` from n = 64 on,
//! gives the cap. The result is defined for every `n` up to `u32::MAX` and lies within
//! `[delay * (1 - jitter), delay]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The shape of the delays. See the [module](self) for the formulas.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Curve {
    /// `base ^ n` seconds. The base is finite and above 0.
    Exponential {
        /// The base, 2 by default.
        base: f64,
    },
    /// The same delay every time.
    Constant {
        /// That delay.
        delay: Duration,
    },
    /// `step * n`.
    Linear {
        /// How much longer each delay is than the one before.
        step: Duration,
    },
    /// `n ^ degree` seconds. The degree is finite and not below 0.
    Polynomial {
        /// The exponent.
        degree: f64,
    },
    /// The delays written out; the last one repeats.
    Table {
        /// At least one delay.
        delays: Vec<Duration>,
    },
}

/// A curve, a cap and jitter: all that decides when a failed job runs again.
///
/// Its text form is `curve[;cap=DURATION][;jitter=none|equal|full|FRACTION]`:
///
/// ```
/// use queuectl_core::BackoffPolicy;
/// use std::time::Duration;
///
/// let policy: BackoffPolicy = "linear:10s;cap=25s".parse()?;
/// let delays: Vec<_> = (1..=3).map(|retry| policy.delay(retry, 0.0)).collect();
/// assert_eq!(delays, [10, 20, 25].map(Duration::from_secs));
/// # Ok::<(), queuectl_core::InvalidBackoff>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BackoffPolicy {
    curve: Curve,
    cap: Duration,
    jitter: f64,
}

/// The default longest delay: 300 s.
pub const DEFAULT_BACKOFF_CAP: Duration = Duration::from_secs(300);

impl Default for BackoffPolicy {
    /// 2 s, 4 s, 8 s and so on, at most 300 s, without jitter.
    fn default() -> Self {
        BackoffPolicy {
            curve: Curve::Exponential { base: 2.0 },
            cap: DEFAULT_BACKOFF_CAP,
            jitter: 0.0,
        }
    }
}

impl BackoffPolicy {
    /// A policy of the given curve, with the default cap and without jitter.
    ///
    /// # Errors
    ///
    /// [`InvalidBackoff`] for a base that is not a finite number above 0, a degree that is not a
    /// finite number from 0 on, or an empty table.
    pub fn new(curve: Curve) -> Result<Self, InvalidBackoff> {
        let valid = match &curve {
            Curve::Exponential { base } => base.is_finite() && *base > 0.0,
            Curve::Polynomial { degree } => degree.is_finite() && *degree >= 0.0,
            Curve::Table { delays } => !delays.is_empty(),
            Curve::Constant { .. } | Curve::Linear { .. } => true,
        };
        if valid {
            Ok(BackoffPolicy { curve, ..BackoffPolicy::default() })
        } else {
            Err(InvalidBackoff::Curve(curve))
        }
    }

    /// The same policy with another longest delay.
    #[must_use]
    pub fn with_cap(self, cap: Duration) -> Self {
        BackoffPolicy { cap, ..self }
    }

    /// The same policy with jitter: the share of each delay that may be taken away at random. 0 is
    /// none, 0.5 the field's "equal jitter", 1 its "full jitter".
    ///
    /// # Errors
    ///
    /// [`InvalidBackoff::Jitter`] for a number outside of `[0, 1]`.
    pub fn with_jitter(self, jitter: f64) -> Result<Self, InvalidBackoff> {
        if (0.0..=1.0).contains(&jitter) {
            Ok(BackoffPolicy { jitter, ..self })
        } else {
            Err(InvalidBackoff::Jitter(jitter))
        }
    }

    /// The curve.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// The longest delay.
    pub fn cap(&self) -> Duration {
        self.cap
    }

    /// The share of each delay that jitter may take away, from 0 to 1.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The delay before retry `retry`, the first being 1 (0 counts as 1). `random` in `[0, 1)`
    /// decides the jitter: the caller owns the randomness.
    ///
    /// ```
    /// use queuectl_core::BackoffPolicy;
    /// use std::time::Duration;
    ///
    /// let policy = BackoffPolicy::default();
    /// assert_eq!(policy.delay(1, 0.0), Duration::from_secs(2));
    /// assert_eq!(policy.delay(3, 0.0), Duration::from_secs(8));
    /// assert_eq!(policy.delay(u32::MAX, 0.0), Duration::from_secs(300));
    /// ```
    pub fn delay(&self, retry: u32, random: f64) -> Duration {
        let retry = retry.max(1);
        let full = match &self.curve {
            Curve::Exponential { base } => seconds(base.powf(f64::from(retry))),
            Curve::Constant { delay } => *delay,
            Curve::Linear { step } => step.checked_mul(retry).unwrap_or(Duration::MAX),
            Curve::Polynomial { degree } => seconds(f64::from(retry).powf(*degree)),
            Curve::Table { delays } => {
                let last = delays.len().saturating_sub(1);
                let index = usize::try_from(retry - 1).map_or(last, |index| index.min(last));
                delays.get(index).copied().unwrap_or(self.cap)
            }
        };
        let capped = full.min(self.cap);
        // What is no number takes nothing away.
        let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        capped.saturating_sub(part(capped, self.jitter * random))
    }
}

/// A share of a duration, from none of it to the whole.
fn part(whole: Duration, share: f64) -> Duration {
    // The longest duration, as a number of seconds, is rounded to one that is too long.
    Duration::try_from_secs_f64(whole.as_secs_f64() * share).unwrap_or(whole)
}

/// A number of seconds as a duration; too large a number is the longest duration.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

impl fmt::Display for BackoffPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.curve {
            Curve::Exponential { base } => write!(f, "exponential:{base}")?,
            Curve::Constant { delay } => write!(f, "constant:{}", Compact(*delay))?,
            Curve::Linear { step } => write!(f, "linear:{}", Compact(*step))?,
            Curve::Polynomial { degree } => write!(f, "polynomial:{degree}")?,
            Curve::Table { delays } => {
                f.write_str("table:")?;
                for (index, delay) in delays.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { "," }, Compact(*delay))?;
                }
            }
        }
        if self.cap != DEFAULT_BACKOFF_CAP {
            write!(f, ";cap={}", Compact(self.cap))?;
        }
        if self.jitter > 0.0 {
            write!(f, ";jitter={}", self.jitter)?;
        }
        Ok(())
    }
}

/// A duration as people write it, without the spaces: `2h30m`.
struct Compact(Duration);

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

/// The text or the numbers do not make a backoff policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBackoff {
    /// A number of the curve is out of its range.
    #[error(
        "{0:?} is not a curve: a base is a number above 0, a degree one from 0 on, a table has an entry"
    )]
    Curve(Curve),
    /// The jitter is out of its range.
    #[error("jitter {0} is not a number from 0 to 1")]
    Jitter(f64),
    /// The text is of another form.
    #[error(
        "{0:?} is not a backoff: write exponential:2, constant:30s, linear:10s, polynomial:3 or \
         table:1s,5s,1m, then perhaps ;cap=5m and ;jitter=full"
    )]
    Text(String),
}

impl FromStr for BackoffPolicy {
    type Err = InvalidBackoff;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidBackoff::Text(text.to_owned()))?
    }
}

/// `None` where the text has not the form of a policy; an error where it has and a number is off.
fn parse(text: &str) -> Option<Result<BackoffPolicy, InvalidBackoff>> {
    let mut parts = text.split(';').map(str::trim);
    let (name, argument) = match parts.next()?.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(argument.trim())),
        None => (text.split(';').next()?.trim(), None),
    };
    let duration = |text: &str| humantime::parse_duration(text).ok();
    let curve = match (name, argument) {
        ("exponential", None) => Curve::Exponential { base: 2.0 },
        ("exponential", Some(base)) => Curve::Exponential { base: base.parse().ok()? },
        ("constant", Some(delay)) => Curve::Constant { delay: duration(delay)? },
        ("linear", Some(step)) => Curve::Linear { step: duration(step)? },
        ("polynomial", None) => Curve::Polynomial { degree: 4.0 },
        ("polynomial", Some(degree)) => Curve::Polynomial { degree: degree.parse().ok()? },
        ("table", Some(delays)) => Curve::Table {
            delays: delays.split(',').map(|delay| duration(delay.trim())).collect::<Option<_>>()?,
        },
        _ => return None,
    };
    let mut policy = match BackoffPolicy::new(curve) {
        Ok(policy) => policy,
        Err(error) => return Some(Err(error)),
    };
    for part in parts {
        policy = match part.split_once('=')? {
            ("cap", cap) => policy.with_cap(duration(cap)?),
            ("jitter", jitter) => {
                let jitter = match jitter {
                    "none" => 0.0,
                    "equal" => 0.5,
                    "full" => 1.0,
                    number => number.parse().ok()?,
                };
                match policy.with_jitter(jitter) {
                    Ok(policy) => policy,
                    Err(error) => return Some(Err(error)),
                }
            }
            _ => return None,
        };
    }
    Some(Ok(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(policy: &str, count: u32) -> Vec<u64> {
        let policy: BackoffPolicy = policy.parse().unwrap();
        (1..=count).map(|retry| policy.delay(retry, 0.0).as_secs()).collect()
    }

    #[test]
    fn the_first_values_are_the_documented_ones() {
        assert_eq!(first("exponential:2", 4), [2, 4, 8, 16]);
        assert_eq!(first("constant:10s", 3), [10, 10, 10]);
        assert_eq!(first("linear:10s", 3), [10, 20, 30]);
        assert_eq!(first("polynomial:4", 4), [1, 16, 81, 256]);
        assert_eq!(first("table:1s,5s,1m", 5), [1, 5, 60, 60, 60]);
    }

    #[test]
    fn every_retry_number_gives_a_delay_within_the_bounds() {
        let policies = [
            "exponential:2",
            "exponential:0.5",
            "exponential:1e300;cap=1h",
            "constant:1h",
            "linear:1day;cap=10days",
            "polynomial:99",
            "table:1s,1day",
        ];
        for text in policies {
            for jitter in [0.0, 0.5, 1.0] {
                let policy: BackoffPolicy = text.parse().unwrap();
                let policy = policy.with_jitter(jitter).unwrap();
                for retry in (0..200).chain([63, 64, 65, 1 << 20, u32::MAX - 1, u32::MAX]) {
                    let longest = policy.delay(retry, 0.0);
                    assert!(longest <= policy.cap(), "{text} at {retry}: {longest:?}");
                    for random in [0.0, 0.3, 0.999_999, 1.0, 7.0, -1.0] {
                        let delay = policy.delay(retry, random);
                        let least = longest.mul_f64(1.0 - jitter);
                        let slack = Duration::from_nanos(50);
                        assert!(delay <= longest && delay + slack >= least, "{text} at {retry}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_product_that_overflows_is_the_cap() {
        let linear = BackoffPolicy::new(Curve::Linear { step: Duration::MAX / 2 }).unwrap();
        assert_eq!(linear.delay(3, 0.0), DEFAULT_BACKOFF_CAP);
        assert_eq!(linear.with_cap(Duration::MAX).delay(u32::MAX, 0.0), Duration::MAX);
    }

    /// Both panicked. A fuzzer found the first.
    #[test]
    fn no_random_number_and_no_delay_is_too_much() {
        let policy = BackoffPolicy::default().with_jitter(1.0).unwrap();
        assert_eq!(policy.delay(3, f64::NAN), Duration::from_secs(8));
        let longest = policy.with_cap(Duration::MAX);
        assert_eq!(longest.delay(u32::MAX, 1.0), Duration::ZERO);
        assert_eq!(longest.delay(u32::MAX, f64::NAN), Duration::MAX);
    }

    #[test]
    fn exponential_reaches_the_cap_at_retry_nine_and_stays() {
        let policy = BackoffPolicy::default();
        assert_eq!(policy.delay(8, 0.0), Duration::from_secs(256));
        assert_eq!(policy.delay(9, 0.0), Duration::from_secs(300));
        let uncapped = BackoffPolicy::default().with_cap(Duration::MAX);
        assert_eq!(uncapped.delay(63, 0.0), Duration::from_secs(1 << 63));
        assert_eq!(uncapped.delay(64, 0.0), Duration::MAX);
    }

    #[test]
    fn text_round_trips() {
        for text in [
            "exponential:2",
            "exponential:1.5;cap=1h;jitter=0.5",
            "constant:90ms",
            "linear:1m30s",
            "polynomial:3;jitter=1",
            "table:1s,5s,1m",
        ] {
            let policy: BackoffPolicy = text.parse().unwrap();
            assert_eq!(policy.to_string(), text);
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("exponential".parse(), Ok(BackoffPolicy::default()));
    }

    #[test]
    fn a_policy_tells_what_it_was_made_of() {
        let policy: BackoffPolicy = "linear:10s;cap=1h;jitter=0.25".parse().unwrap();
        assert_eq!(policy.curve(), &Curve::Linear { step: Duration::from_secs(10) });
        assert_eq!((policy.cap(), policy.jitter()), (Duration::from_secs(3600), 0.25));
    }

    #[test]
    fn what_is_not_a_policy_is_refused() {
        for text in [
            "",
            "cubic:3",
            "exponential:0",
            "exponential:-1",
            "exponential:nan",
            "exponential:inf",
            "constant",
            "constant:-5s",
            "table:",
            "linear:10s;cap",
            "linear:10s;jitter=2",
            "linear:10s;colour=red",
        ] {
            assert!(text.parse::<BackoffPolicy>().is_err(), "{text:?} was accepted");
        }
    }
}
