//! Times as people write them: durations, moments, and what is meant by a bare number.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use queuectl_core::{Expiry, Start, Timestamp, parse_duration};

use super::Refused;

/// From this number on, a number that stands for a moment counts seconds since 1970; a smaller one
/// counts them from now. As a moment it is in 2001, as a delay 31 years.
const EPOCH_SECONDS_MIN: f64 = 1e9;

/// From this number on, a number counts no seconds: as a moment it is in the year 5138. Programs that
/// count milliseconds since 1970 write such numbers.
const EPOCH_MILLIS_MIN: f64 = 1e11;

/// How times are read: what moment it is, and which clock is on the wall.
#[derive(Debug, Clone)]
pub(crate) struct When {
    now: Timestamp,
    zone: TimeZone,
}

impl When {
    /// Reads times at this moment in this zone.
    pub(crate) fn new(now: Timestamp, zone: TimeZone) -> Self {
        When { now, zone }
    }

    /// When a job may run: after a duration, or at a moment. A moment that is past is now.
    pub(crate) fn start(&self, text: &str) -> Result<Start, Refused> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return self.start_in_seconds(seconds);
        }
        match parse_duration(text) {
            Some(delay) => Ok(after(delay)),
            None => Ok(self.at(self.moment(text)?)),
        }
    }

    /// When a job may run, as a number: seconds from now, or a great number of them since 1970.
    pub(crate) fn start_in_seconds(&self, seconds: f64) -> Result<Start, Refused> {
        if seconds >= EPOCH_MILLIS_MIN && seconds.is_finite() {
            return Err(Refused::new(format!("{seconds} seconds since 1970 is too far away"))
                .hint("a number counts seconds, not milliseconds"));
        }
        if seconds >= EPOCH_SECONDS_MIN && seconds.is_finite() {
            // Casting saturates, and a timestamp holds itself within 1970 and 9999.
            return Ok(self.at(Timestamp::from_millis((seconds * 1000.0) as i64)));
        }
        delay_of_seconds(seconds).map(after)
    }

    /// When a job expires: after a duration, or at a moment to come.
    pub(crate) fn expiry(&self, text: &str) -> Result<Expiry, Refused> {
        to_come(self.start(text)?)
    }

    /// The same as a number: of seconds, as [`start_in_seconds`](When::start_in_seconds) takes it.
    pub(crate) fn expiry_in_seconds(&self, seconds: f64) -> Result<Expiry, Refused> {
        to_come(self.start_in_seconds(seconds)?)
    }

    /// A moment that is past, or a duration that is over: `2h` is two hours ago.
    pub(crate) fn past(&self, text: &str) -> Result<Timestamp, Refused> {
        match parse_duration(text) {
            Some(ago) => {
                let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                Ok(Timestamp::from_millis(self.now.as_millis().saturating_sub(ago)))
            }
            None => self.moment(text.trim()),
        }
    }

    /// A moment: RFC 3339, or without an offset a date and time on the local clock.
    fn moment(&self, text: &str) -> Result<Timestamp, Refused> {
        let zoned = text
            .parse::<jiff::Timestamp>()
            .ok()
            .or_else(|| Some(text.parse::<jiff::Zoned>().ok()?.timestamp()))
            .or_else(|| {
                let local = text.parse::<DateTime>().ok()?;
                Some(local.to_zoned(self.zone.clone()).ok()?.timestamp())
            });
        zoned.map(|moment| Timestamp::from_millis(moment.as_millisecond())).ok_or_else(|| {
            Refused::new(format!("{text:?} is neither a duration nor a moment"))
                .hint("write 90s, 2h30m, 2026-01-31T09:00:00Z or \"2026-01-31 09:00\"")
        })
    }

    fn at(&self, moment: Timestamp) -> Start {
        if moment <= self.now { Start::Now } else { Start::At(moment) }
    }
}

/// What is over is more likely a mistake than a job that is meant never to run.
fn to_come(start: Start) -> Result<Expiry, Refused> {
    match start {
        Start::In(time) => Ok(Expiry::In(time)),
        Start::At(moment) => Ok(Expiry::At(moment)),
        Start::Now => Err(Refused::new("that is over: the job would never run")),
    }
}

/// A job may run after this delay; one of nothing is now.
pub(crate) fn after(delay: Duration) -> Start {
    if delay.is_zero() { Start::Now } else { Start::In(delay) }
}

/// A duration: as people write it, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, Refused> {
    parse_duration(text).ok_or_else(|| {
        Refused::new(format!("{text:?} is not a duration"))
            .hint("write 90s, 5m, 2h30m or a number of seconds")
    })
}

/// A duration given as a number of seconds.
pub(crate) fn delay_of_seconds(seconds: f64) -> Result<Duration, Refused> {
    parse_duration(&seconds.to_string())
        .ok_or_else(|| Refused::new(format!("{seconds} is not a number of seconds to wait")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn berlin() -> When {
        When::new(NOW, TimeZone::fixed(jiff::tz::offset(1)))
    }

    fn at(text: &str) -> Start {
        Start::At(text.parse().unwrap())
    }

    #[test]
    fn a_string_is_a_duration_or_a_moment() {
        let cases = [
            ("90s", Start::In(Duration::from_secs(90))),
            ("2h30m", Start::In(Duration::from_secs(9000))),
            ("5", Start::In(Duration::from_secs(5))),
            ("0", Start::Now),
            ("2030-01-31T09:00:00Z", at("2030-01-31T09:00:00Z")),
            ("2030-01-31T09:00:00+02:00", at("2030-01-31T07:00:00Z")),
            ("2030-01-31T09:00:00", at("2030-01-31T08:00:00Z")),
            ("2030-01-31 09:00", at("2030-01-31T08:00:00Z")),
            ("2030-01-31", at("2030-01-30T23:00:00Z")),
            ("1900000000", at("2030-03-17T17:46:40Z")),
            ("2020-01-01T00:00:00Z", Start::Now),
            ("1000000000", Start::Now),
        ];
        for (text, start) in cases {
            assert_eq!(berlin().start(text), Ok(start), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "",
            "soon",
            "-5",
            "-5s",
            "nan",
            "inf",
            "1900000000000",
            "2030-13-01",
            "5 parsecs",
            "1e99s",
            "1000 years",
        ] {
            let refused = berlin().start(text).unwrap_err();
            assert!(refused.sentence.contains("not a") || refused.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn a_job_expires_after_a_time_or_at_a_moment_to_come() {
        let expiry = |text: &str| berlin().expiry(text);
        assert_eq!(expiry("5m"), Ok(Expiry::In(Duration::from_secs(300))));
        assert_eq!(expiry("2030-01-31"), Ok(Expiry::At("2030-01-30T23:00:00Z".parse().unwrap())));
        for over in ["0", "2020-01-01T00:00:00Z"] {
            assert!(expiry(over).unwrap_err().sentence.contains("never run"), "{over}");
        }
    }

    #[test]
    fn looking_back_a_duration_is_so_long_ago() {
        let hour_ago = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
        assert_eq!(berlin().past("1h"), Ok(hour_ago));
        assert_eq!(
            berlin().past("2030-01-31T09:00:00Z"),
            Ok("2030-01-31T09:00:00Z".parse().unwrap())
        );
    }
}
