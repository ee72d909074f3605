//! Durations and moments as people read them.

use std::time::Duration;

use jiff::tz::TimeZone;
use queuectl_core::Timestamp;

/// A duration in at most two units: `12ms`, `2.5s`, `3m 5s`, `2h 30m`, `4d 1h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{big_unit}"),
        _ => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 if duration.subsec_millis() >= 100 => {
            format!("{seconds}.{}s", duration.subsec_millis() / 100)
        }
        1..=59 => format!("{seconds}s"),
        60..=3_599 => pair(seconds / 60, "m", seconds % 60, "s"),
        3_600..=86_399 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A moment as seen from another: `in 5s`, `3m ago`, `now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let (ahead, past) = (moment.since(now), now.since(moment));
    if ahead >= Duration::from_secs(1) {
        format!("in {}", self::duration(Duration::from_secs(ahead.as_secs())))
    } else if past >= Duration::from_secs(1) {
        format!("{} ago", self::duration(Duration::from_secs(past.as_secs())))
    } else {
        "now".to_owned()
    }
}

/// A moment on the user's clock, with its offset: `2026-01-31 09:00:00 +01:00`.
pub(crate) fn local(moment: Timestamp) -> String {
    at(moment, TimeZone::system())
}

fn at(moment: Timestamp, zone: TimeZone) -> String {
    jiff::Timestamp::from_millisecond(moment.as_millis())
        .map(|moment| moment.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %:z").to_string())
        .unwrap_or_else(|_| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_at_most_two_units() {
        let cases = [
            (0, "0ms"),
            (12, "12ms"),
            (1_000, "1s"),
            (2_540, "2.5s"),
            (10_900, "10s"),
            (60_000, "1m"),
            (185_000, "3m 5s"),
            (9_000_000, "2h 30m"),
            (350_000_000, "4d 1h"),
        ];
        for (millis, text) in cases {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let at = |millis: i64| Timestamp::from_millis(now.as_millis() + millis);
        assert_eq!(relative(at(5_900), now), "in 5s");
        assert_eq!(relative(at(-180_000), now), "3m ago");
        assert_eq!(relative(at(300), now), "now");
    }

    #[test]
    fn moments_carry_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let text = at(Timestamp::from_millis(1_700_000_000_000), zone);
        assert_eq!(text, "2023-11-14 23:13:20 +01:00");
    }
}
