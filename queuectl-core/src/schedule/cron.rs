//! Cron expressions: which moments they name, in a time zone whose clocks are put forward and back.
//!
//! `croner` reads the fields and finds the next fitting date and time of a calendar without zones.
//! What that means on a clock that skips an hour, or shows one twice, is decided here, by the rule of
//! Vixie's cron:
//!
//! - An expression that names its times (there is no `*` in the second, minute or hour) fires once for
//!   each of them. A time that is skipped fires right after the gap, together with others that are
//!   skipped; one that is shown twice fires the first time.
//! - Any other expression follows the clock: what is skipped does not fire, what is shown twice fires
//!   twice.

use croner::Cron as Pattern;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Timestamp;

/// A cron expression that was read, in its time zone.
#[derive(Debug, Clone)]
pub(super) struct Cron {
    pattern: Pattern,
    zone: TimeZone,
    /// Whether it names its times, and does not follow the clock.
    names_times: bool,
}

/// A cron expression, or its time zone, makes no sense. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCron {
    /// There are not five or six fields.
    #[error(
        "a cron expression has five fields (minute, hour, day of the month, month, day of the \
         week), or six with the second before them; {0:?} has {1}"
    )]
    Fields(String, usize),
    /// A field is not what it can be.
    #[error("the {field} {text:?} of the cron expression is wrong: it takes {takes}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What could stand there.
        takes: &'static str,
    },
    /// There is no such short form.
    #[error(
        "{0:?} is no cron expression; the short forms are @yearly, @monthly, @weekly, @daily and @hourly"
    )]
    Nickname(String),
    /// There is no day that fits, such as the 30th of February.
    #[error("the cron expression {0:?} never comes true: no day fits it")]
    Never(String),
    /// The time zone is not known on this machine.
    #[error("{0:?} is no time zone that this machine knows; one is Europe/Berlin")]
    Zone(String),
}

/// What stands in a field: its name, what it takes, and which characters are none of a number's.
struct Field {
    name: &'static str,
    takes: &'static str,
    words: &'static [&'static str],
    signs: &'static str,
}

const FIELDS: [Field; 6] = [
    Field { name: "second", takes: "0 to 59, *, lists, ranges and steps", words: &[], signs: "" },
    Field { name: "minute", takes: "0 to 59, *, lists, ranges and steps", words: &[], signs: "" },
    Field { name: "hour", takes: "0 to 23, *, lists, ranges and steps", words: &[], signs: "" },
    Field {
        name: "day of the month",
        takes: "1 to 31, *, lists, ranges and steps, L for the last, 15W for the weekday nearest the 15th",
        words: &["L", "W", "LW"],
        signs: "?",
    },
    Field {
        name: "month",
        takes: "1 to 12 or JAN to DEC, *, lists, ranges and steps",
        words: &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
        signs: "",
    },
    Field {
        name: "day of the week",
        takes: "0 to 7 or SUN to SAT (0 and 7 are Sunday), *, lists, ranges and steps, \
                FRI#2 for the second, 5L for the last",
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"],
        signs: "?#",
    },
];

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// More than any clock is put forward or back.
const DAYS: jiff::SignedDuration = jiff::SignedDuration::from_hours(48);

impl Cron {
    /// Reads an expression, and asks whether it ever comes true.
    pub(super) fn check(expression: &str, zone: &str) -> Result<Self, InvalidCron> {
        for (index, (field, text)) in FIELDS.iter().zip(fields(expression)?).enumerate() {
            // The others are left open, so that what is refused is this one.
            let mut alone = ["*"; FIELDS.len()];
            alone[index] = text;
            if !field.may_say(text) || parser().parse(&alone.join(" ")).is_err() {
                let (field, takes) = (field.name, field.takes);
                return Err(InvalidCron::Field { field, text: text.to_owned(), takes });
            }
        }
        let cron = Cron::parse(expression, zone)?;
        // The weekdays of leap days come round in forty years at most.
        let from = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        let comes_true = cron.pattern.find_next_occurrence(&from, true).is_ok();
        comes_true.then_some(cron).ok_or_else(|| InvalidCron::Never(expression.to_owned()))
    }

    /// Reads an expression that has been checked.
    pub(super) fn parse(expression: &str, zone: &str) -> Result<Self, InvalidCron> {
        let named = TimeZone::get(zone).map_err(|_| InvalidCron::Zone(zone.to_owned()))?;
        let fields = fields(expression)?;
        let pattern = parser().parse(&fields.join(" ")).map_err(|_| {
            // Each field alone was right, and they know nothing of each other.
            InvalidCron::Fields(expression.to_owned(), fields.len())
        })?;
        let names_times = fields[..3].iter().all(|field| !field.contains('*'));
        Ok(Cron { pattern, zone: named, names_times })
    }

    /// The first moment after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_second(after.as_millis().div_euclid(1000)).ok()?;
        let next = match self.names_times {
            true => self.next_named(after),
            false => self.next_shown(after),
        }?;
        let millis = next.as_millisecond();
        (millis <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(millis))
    }

    /// The next time that is named, where the clock shows it, or would have.
    fn next_named(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut time = self.zone.to_datetime(after);
        loop {
            time = self.pattern.find_next_occurrence(&time, false).ok()?;
            let shown = match self.zone.to_ambiguous_timestamp(time).offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok()?,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok()?,
                AmbiguousOffset::Gap { after, .. } => {
                    // By the later offset it would be before the gap, so the next change is the gap.
                    let before = after.to_timestamp(time).ok()?;
                    self.zone.following(before).next()?.timestamp()
                }
            };
            // Not if the clock has been put back over it, and it has fired the first time.
            if shown > after {
                return Some(shown);
            }
        }
    }

    /// The next time that the clock shows a fitting time, for as long as it is not put forward or back,
    /// then until the next time that it is.
    fn next_shown(&self, after: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let second = jiff::SignedDuration::from_secs(1);
        let mut from = after.checked_add(second).ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let until = self.zone.following(from).next().map(|change| change.timestamp());
            let time = self.pattern.find_next_occurrence(&offset.to_datetime(from), true).ok()?;
            let shown = offset.to_timestamp(time).ok()?;
            from = match until {
                Some(until) if shown < until => return Some(shown),
                None => return Some(shown),
                // No clock is put forward or back by more than a day. So nothing fits before then, and
                // the changes of forty years need not be gone through one by one.
                Some(until) if until.duration_since(from) > DAYS => {
                    until.max(shown.checked_sub(DAYS).ok()?)
                }
                Some(until) => until,
            };
        }
    }
}

/// The six fields of an expression.
fn fields(expression: &str) -> Result<Vec<&str>, InvalidCron> {
    let text = match expression.trim() {
        nickname if nickname.starts_with('@') => {
            let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(nickname));
            known.ok_or_else(|| InvalidCron::Nickname(expression.to_owned()))?.1
        }
        text => text,
    };
    let given: Vec<&str> = text.split_ascii_whitespace().collect();
    match given.len() {
        5 => Ok(std::iter::once("0").chain(given).collect()),
        6 => Ok(given),
        count => Err(InvalidCron::Fields(expression.to_owned(), count)),
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).build()
}

impl Field {
    /// Whether the text has only what belongs into this field: a month's name is no day of the week.
    fn may_say(&self, text: &str) -> bool {
        let upper = text.to_ascii_uppercase();
        let word = |c: char| c.is_ascii_alphabetic();
        let signs = |c: char| c.is_ascii_digit() || "*,-/".contains(c) || self.signs.contains(c);
        let fits = |part: &str| {
            // The last Friday is `5L` or `FRIL`.
            self.words.contains(&part)
                || part.strip_suffix('L').is_some_and(|day| {
                    self.words.contains(&"L") && self.words.contains(&day) && day.len() == 3
                })
        };
        upper.split(',').all(|part| !part.is_empty())
            && upper.chars().all(|c| word(c) || signs(c))
            && upper.split(|c| !word(c)).filter(|part| !part.is_empty()).all(fits)
    }
}
