//! Cron expressions held against a walk through five years, minute by minute.
//!
//! The walk knows nothing of how the library finds the next moment: it looks at the clock of a time zone
//! at each minute in turn, and has predicates of its own for what an expression means. The years are
//! those of the zones' oddest changes: an hour, half an hour (Lord Howe), at midnight (Santiago), twice a
//! year in between (Casablanca, for the month of Ramadan), never (Kathmandu, with its 45 minutes), and a
//! whole day that is skipped (Apia).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use jiff::civil::{DateTime, Weekday};
use jiff::tz::{Offset, TimeZone};
use queuectl_core::{Missed, Spec, Timestamp};

/// An expression, and what it means.
struct Meaning {
    expression: &'static str,
    fits: fn(DateTime) -> bool,
    /// Whether it names its times: each fires once.
    names_times: bool,
}

fn is_weekday(time: DateTime) -> bool {
    !matches!(time.weekday(), Weekday::Saturday | Weekday::Sunday)
}

fn at(time: DateTime, hour: i8, minute: i8) -> bool {
    (time.hour(), time.minute()) == (hour, minute)
}

const MEANINGS: [Meaning; 22] = [
    Meaning { expression: "* * * * *", fits: |_| true, names_times: false },
    Meaning { expression: "*/15 * * * *", fits: |t| t.minute() % 15 == 0, names_times: false },
    Meaning { expression: "7 * * * *", fits: |t| t.minute() == 7, names_times: false },
    Meaning { expression: "@hourly", fits: |t| t.minute() == 0, names_times: false },
    Meaning {
        expression: "0 */2 * * *",
        fits: |t| t.hour() % 2 == 0 && t.minute() == 0,
        names_times: false,
    },
    Meaning {
        expression: "*/20 2 * * *",
        fits: |t| t.hour() == 2 && t.minute() % 20 == 0,
        names_times: false,
    },
    Meaning { expression: "@daily", fits: |t| at(t, 0, 0), names_times: true },
    Meaning { expression: "30 2 * * *", fits: |t| at(t, 2, 30), names_times: true },
    Meaning {
        expression: "0,15,30,45 1,2 * * *",
        fits: |t| matches!(t.hour(), 1 | 2) && t.minute() % 15 == 0,
        names_times: true,
    },
    Meaning { expression: "45 23 * * *", fits: |t| at(t, 23, 45), names_times: true },
    Meaning { expression: "0 2,3 * * *", fits: |t| at(t, 2, 0) || at(t, 3, 0), names_times: true },
    Meaning {
        expression: "5 0-4 * * *",
        fits: |t| t.hour() <= 4 && t.minute() == 5,
        names_times: true,
    },
    Meaning {
        expression: "30 9 * * MON-FRI",
        fits: |t| at(t, 9, 30) && is_weekday(t),
        names_times: true,
    },
    Meaning {
        expression: "0 12 * * SUN,3",
        fits: |t| at(t, 12, 0) && matches!(t.weekday(), Weekday::Sunday | Weekday::Wednesday),
        names_times: true,
    },
    Meaning {
        expression: "0 12 * * 7",
        fits: |t| at(t, 12, 0) && t.weekday() == Weekday::Sunday,
        names_times: true,
    },
    Meaning {
        expression: "0 0 13 * FRI",
        fits: |t| at(t, 0, 0) && (t.day() == 13 || t.weekday() == Weekday::Friday),
        names_times: true,
    },
    Meaning {
        expression: "15 10 */10 * *",
        fits: |t| at(t, 10, 15) && (t.day() - 1) % 10 == 0,
        names_times: true,
    },
    Meaning {
        expression: "0 6 L * *",
        fits: |t| at(t, 6, 0) && t.day() == t.days_in_month(),
        names_times: true,
    },
    Meaning {
        expression: "0 6 29 FEB *",
        fits: |t| at(t, 6, 0) && (t.month(), t.day()) == (2, 29),
        names_times: true,
    },
    Meaning {
        expression: "0 8 * * MON#1",
        fits: |t| at(t, 8, 0) && t.weekday() == Weekday::Monday && t.day() <= 7,
        names_times: true,
    },
    Meaning {
        expression: "0 8 * * FRIL",
        fits: |t| at(t, 8, 0) && t.weekday() == Weekday::Friday && t.day() + 7 > t.days_in_month(),
        names_times: true,
    },
    Meaning {
        expression: "@yearly",
        fits: |t| at(t, 0, 0) && (t.month(), t.day()) == (1, 1),
        names_times: true,
    },
];

#[test]
fn the_clock_is_put_forward_and_back_by_an_hour() {
    walk("Europe/Berlin", 2022);
}

#[test]
fn the_clock_is_put_forward_at_midnight() {
    walk("America/Santiago", 2019);
}

#[test]
fn the_clock_is_put_forward_by_half_an_hour() {
    walk("Australia/Lord_Howe", 2021);
}

#[test]
fn the_clock_goes_back_for_a_month_within_the_summer() {
    walk("Africa/Casablanca", 2014);
}

#[test]
fn a_whole_day_is_skipped() {
    walk("Pacific/Apia", 2009);
}

#[test]
fn the_clock_is_never_put_forward() {
    walk("Asia/Kathmandu", 2020);
}

/// Compares five years from the first of January on.
fn walk(zone: &str, year: i16) {
    let clock = TimeZone::get(zone).unwrap();
    let utc = |year| DateTime::constant(year, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
    let minute_of = |year| utc(year).timestamp().as_second() / 60;
    let (start, end) = (minute_of(year), minute_of(year + 5));
    let mut found: Vec<Vec<i64>> = MEANINGS.iter().map(|_| Vec::new()).collect();
    let mut changes = vec![start];
    let mut offset = offset_at(&clock, start - 1);
    // The latest that the clock has shown.
    let mut shown_until = time_at(start - 1, offset);
    for quarter in (start..end).step_by(15) {
        // Nowhere is a clock put forward or back within a quarter of an hour.
        let new = offset_at(&clock, quarter);
        let (first, skipped_from) = (time_at(quarter, new), time_at(quarter, offset));
        for minute in quarter..quarter + 15 {
            let part = i8::try_from(minute - quarter).unwrap();
            let (date, hour, full) = (first.date(), first.hour(), first.minute());
            let time = date.at(hour, full + part, 0, 0);
            let mut skipped = Vec::new();
            if minute == quarter && time > skipped_from {
                let gap = time.duration_since(skipped_from).as_mins();
                skipped.extend(
                    (0..gap).map(|minute| skipped_from + jiff::SignedDuration::from_mins(minute)),
                );
            }
            let fresh = time > shown_until;
            for (meaning, found) in MEANINGS.iter().zip(&mut found) {
                let fits = (fresh || !meaning.names_times) && (meaning.fits)(time);
                let of_gap = !skipped.is_empty()
                    && meaning.names_times
                    && skipped.iter().any(|&gone| gone > shown_until && (meaning.fits)(gone));
                if fits || of_gap {
                    found.push(minute);
                }
            }
            if fresh {
                shown_until = time;
            }
        }
        if new != offset {
            changes.push((quarter - DAY).max(start));
        }
        offset = new;
    }
    for (meaning, walked) in MEANINGS.iter().zip(found) {
        compare((zone, meaning.expression), (start, end), &changes, &walked);
    }
}

const DAY: i64 = 24 * 60;

fn compare(
    (zone, expression): (&str, &str),
    (start, end): (i64, i64),
    changes: &[i64],
    walked: &[i64],
) {
    let spec = Spec::cron(expression, zone).unwrap();
    // Those of nearly each minute are too many to ask for all: a day around each change of the clock.
    let few = walked.len() < 2_000;
    let from = if few { vec![start] } else { changes.to_vec() };
    for from in from {
        let until = if few { end } else { from + 2 * DAY };
        let walked: Vec<i64> =
            walked.iter().copied().filter(|minute| (from..until).contains(minute)).collect();
        let told = spec.upcoming(Timestamp::from_millis(from * 60_000 - 1), walked.len() + 1);
        let told = told.iter().map(|tick| {
            assert_eq!(tick.as_millis() % 60_000, 0, "{expression} {zone} ticks at {tick}");
            tick.as_millis() / 60_000
        });
        let told: Vec<i64> = told.take_while(|minute| *minute < until).collect();
        let differs = told.iter().zip(&walked).find(|(told, walked)| told != walked);
        let show = |minute: i64| Timestamp::from_millis(minute * 60_000);
        if let Some((told, walked)) = differs {
            panic!("{expression} {zone}: told {}, walked {}", show(*told), show(*walked));
        }
        assert_eq!(told.len(), walked.len(), "{expression} {zone}");
    }
    check_catching_up(&spec, expression, walked);
}

/// What is due after a long time away is found from the end.
fn check_catching_up(spec: &Spec, expression: &str, walked: &[i64]) {
    use queuectl_core::BootTime;
    use queuectl_core::schedule::Next;
    let moment = |minute: i64| Timestamp::from_millis(minute * 60_000);
    let [first, .., last] = walked else { return };
    let next = Next { at: moment(*first), boot: None };
    for middle in [0, walked.len() / 3, walked.len() / 2, walked.len() - 1] {
        let now = moment(walked[middle]);
        let due = spec.due(next, Missed::All(4), now, BootTime::from_millis(0)).unwrap();
        let from = (middle + 1).saturating_sub(4);
        let expected: Vec<Timestamp> = walked[from..=middle].iter().copied().map(moment).collect();
        assert_eq!(due.ticks, expected, "{expression}");
        let passed_over = from.checked_sub(1).map(|last| (moment(*first), moment(walked[last])));
        assert_eq!(due.missed, passed_over, "{expression}");
        if now < moment(*last) {
            assert_eq!(due.next.unwrap().at, moment(walked[middle + 1]), "{expression}");
        }
    }
}

fn offset_at(clock: &TimeZone, minute: i64) -> Offset {
    clock.to_offset(jiff::Timestamp::from_second(minute * 60).unwrap())
}

fn time_at(minute: i64, offset: Offset) -> DateTime {
    offset.to_datetime(jiff::Timestamp::from_second(minute * 60).unwrap())
}

/// Six fields: the walk is by seconds, over the hours around a change.
#[test]
fn seconds_are_walked_as_well() {
    let clock = TimeZone::get("Europe/Berlin").unwrap();
    type Fits = fn(DateTime) -> bool;
    let cases: [(&str, Fits); 3] = [
        ("*/10 * * * * *", |t| t.second() % 10 == 0),
        ("5,50 59 * * * *", |t| t.minute() == 59 && matches!(t.second(), 5 | 50)),
        ("* 30 1-3 * * SUN", |t| {
            t.minute() == 30 && (1..=3).contains(&t.hour()) && t.weekday() == Weekday::Sunday
        }),
    ];
    for change in ["2024-03-31T01:00:00Z", "2024-10-27T01:00:00Z"] {
        let change = change.parse::<jiff::Timestamp>().unwrap().as_second();
        for (expression, fits) in cases {
            let walked: Vec<i64> = (change - 7_200..change + 7_200)
                .filter(|second| {
                    let moment = jiff::Timestamp::from_second(*second).unwrap();
                    fits(clock.to_datetime(moment))
                })
                .collect();
            let spec = Spec::cron(expression, "Europe/Berlin").unwrap();
            let before = Timestamp::from_millis((change - 7_200) * 1000 - 1);
            let told = spec.upcoming(before, walked.len());
            let told: Vec<i64> = told.iter().map(|tick| tick.as_millis() / 1000).collect();
            assert_eq!(told, walked, "{expression}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_the_name_of_the_field() {
    let cases = [
        ("61 * * * *", "the minute \"61\""),
        ("* 24 * * *", "the hour \"24\""),
        ("* * 0 * *", "the day of the month \"0\""),
        ("* * 32 * *", "the day of the month \"32\""),
        ("* * * 13 *", "the month \"13\""),
        ("* * * MON *", "the month \"MON\""),
        ("* * * * 8", "the day of the week \"8\""),
        ("* * * * MAR", "the day of the week \"MAR\""),
        ("60 * * * * *", "the second \"60\""),
        ("MON * * * *", "the minute \"MON\""),
        ("*/0 * * * *", "the minute \"*/0\""),
        ("5-1 * * * *", "the minute \"5-1\""),
        ("1,,2 * * * *", "the minute \"1,,2\""),
        ("- * * * *", "the minute \"-\""),
        ("* * * JANUARY *", "the month \"JANUARY\""),
        ("* * * *", "has 4"),
        ("* * * * * * 2026", "has 7"),
        ("", "has 0"),
        ("@reboot", "\"@reboot\" is no cron expression"),
        ("0 0 30 2 *", "never comes true"),
        ("0 0 31 4,6,9,11 *", "never comes true"),
    ];
    for (expression, said) in cases {
        let refused = Spec::cron(expression, "UTC").expect_err(expression).to_string();
        assert!(refused.contains(said), "{expression}: {refused}");
    }
    let refused = Spec::cron("* * * * *", "Mars/Olympus").unwrap_err().to_string();
    assert!(refused.contains("\"Mars/Olympus\" is no time zone"), "{refused}");
}
