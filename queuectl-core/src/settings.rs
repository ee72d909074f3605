//! The settings that a store keeps for everyone who uses it: typed, checked, and described.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::backoff::{BackoffPolicy, Curve};

/// How much of an acknowledged write survives what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// An acknowledged write survives a power cut. The default.
    #[default]
    Full,
    /// An acknowledged write survives the death of every process; a power cut may take the last
    /// writes with it, never the integrity of the file.
    Normal,
    /// For tests only: a power cut may destroy the file.
    Off,
}

impl Durability {
    /// The name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Durability::Full => "full",
            Durability::Normal => "normal",
            Durability::Off => "off",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One setting's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Setting {
    /// Retries of a job that says nothing of them.
    MaxRetries,
    /// Attempts in a row that may be lost with their workers, of a job that says nothing of it.
    MaxCrashes,
    /// Base of the exponential backoff.
    BackoffBase,
    /// Longest delay between attempts.
    BackoffMax,
    /// Share of each delay that chance may take away.
    BackoffJitter,
    /// Time limit of an attempt of a job that says nothing of it.
    WorkerTimeout,
    /// How long jobs may go on when their worker is told to stop, and how long a command has
    /// between TERM and KILL.
    Grace,
    /// Bytes of each output stream kept in the record of an attempt.
    OutputLimit,
    /// Bytes of each output stream kept in the log file of an attempt.
    LogLimit,
    /// How long completed and cancelled jobs are kept.
    RetentionCompleted,
    /// How long dead jobs are kept.
    RetentionDead,
    /// How many completed and cancelled jobs are kept.
    RetentionCompletedCount,
    /// How many dead jobs are kept.
    RetentionDeadCount,
    /// How long a job waits until its priority counts as one higher.
    Aging,
    /// Whether every change of a job's state is written into the event log.
    EventLog,
    /// How many events are kept.
    EventLogCount,
    /// What an acknowledged write survives.
    Durability,
}

impl Setting {
    /// Every setting, in the order in which they are listed.
    pub const ALL: [Setting; 17] = [
        Setting::MaxRetries,
        Setting::MaxCrashes,
        Setting::BackoffBase,
        Setting::BackoffMax,
        Setting::BackoffJitter,
        Setting::WorkerTimeout,
        Setting::Grace,
        Setting::OutputLimit,
        Setting::LogLimit,
        Setting::RetentionCompleted,
        Setting::RetentionDead,
        Setting::RetentionCompletedCount,
        Setting::RetentionDeadCount,
        Setting::Aging,
        Setting::EventLog,
        Setting::EventLogCount,
        Setting::Durability,
    ];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Setting::MaxRetries => "max-retries",
            Setting::MaxCrashes => "max-crashes",
            Setting::BackoffBase => "backoff-base",
            Setting::BackoffMax => "backoff-max",
            Setting::BackoffJitter => "backoff-jitter",
            Setting::WorkerTimeout => "worker-timeout",
            Setting::Grace => "grace",
            Setting::OutputLimit => "output-limit",
            Setting::LogLimit => "log-limit",
            Setting::RetentionCompleted => "retention-completed",
            Setting::RetentionDead => "retention-dead",
            Setting::RetentionCompletedCount => "retention-completed-count",
            Setting::RetentionDeadCount => "retention-dead-count",
            Setting::Aging => "aging",
            Setting::EventLog => "event-log",
            Setting::EventLogCount => "event-log-count",
            Setting::Durability => "durability",
        }
    }

    /// What it means and what it takes, in one line.
    pub const fn help(self) -> &'static str {
        match self {
            Setting::MaxRetries => "retries after a failed first attempt (0 to 1000000)",
            Setting::MaxCrashes => {
                "workers in a row that may be lost with a job until it is dead (1 to 1000000)"
            }
            Setting::BackoffBase => "base of the delay before retry n: base^n seconds (above 0)",
            Setting::BackoffMax => "longest delay between attempts (a duration)",
            Setting::BackoffJitter => "share of a delay that chance may take away (0 to 1)",
            Setting::WorkerTimeout => "time limit of one attempt (a duration, or never)",
            Setting::Grace => "time to finish on stop, and between TERM and KILL (a duration)",
            Setting::OutputLimit => "bytes of each output kept in the record (up to 1MiB)",
            Setting::LogLimit => "bytes of each output kept in the log file (a size)",
            Setting::RetentionCompleted => {
                "how long completed and cancelled jobs are kept (a duration, or never)"
            }
            Setting::RetentionDead => "how long dead jobs are kept (a duration, or never)",
            Setting::RetentionCompletedCount => {
                "how many completed and cancelled jobs are kept (a number, or all)"
            }
            Setting::RetentionDeadCount => "how many dead jobs are kept (a number, or all)",
            Setting::Aging => "waiting that counts as one more priority (1ms to 366days, or never)",
            Setting::EventLog => "keep a log of every change of a job's state (off or on)",
            Setting::EventLogCount => "how many events are kept (a number above 0, or all)",
            Setting::Durability => "what an acknowledged write survives (full, normal or off)",
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Setting {
    type Err = InvalidSetting;

    /// `_` and `-` are the same; `default-max-retries` is `max-retries`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.replace('_', "-").to_ascii_lowercase();
        let plain = plain.strip_prefix("default-").unwrap_or(&plain);
        Setting::ALL
            .into_iter()
            .find(|setting| setting.as_str() == plain)
            .ok_or_else(|| InvalidSetting::Unknown(text.to_owned()))
    }
}

/// A setting cannot be changed so. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// There is no such setting.
    #[error("unknown setting {0:?}; the settings are {names}", names = all_names())]
    Unknown(String),
    /// The value is not one of the setting's.
    #[error("{value:?} is not a value of {setting}: {help}", help = setting.help())]
    Value {
        /// Which setting.
        setting: Setting,
        /// The value.
        value: String,
    },
}

fn all_names() -> String {
    Setting::ALL.map(Setting::as_str).join(", ")
}

/// The settings of a store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Retries of a job that says nothing of them. 3.
    pub max_retries: u32,
    /// How many attempts in a row may be lost with their workers until a job that says nothing of it
    /// is dead, whatever retries are left. 5: one more than the attempts of a job that says nothing of
    /// its retries. So the cap is for jobs with many retries. Jobs that only ran beside one that kills its
    /// workers lose as many, and are not told from it: a kind of job that is known to be dangerous gets
    /// a smaller number.
    pub max_crashes: NonZeroU32,
    /// Base of the exponential backoff. 2.
    pub backoff_base: f64,
    /// Longest delay between attempts. 300 s.
    pub backoff_max: Duration,
    /// Share of each delay that chance may take away. 0.
    pub backoff_jitter: f64,
    /// Time limit of an attempt; `None` is none. 300 s.
    pub worker_timeout: Option<Duration>,
    /// Time to finish on stop, and between TERM and KILL. 10 s.
    pub grace: Duration,
    /// Bytes of each output kept in the record. 64 KiB.
    pub output_limit: u64,
    /// Bytes of each output kept in the log file. 16 MiB.
    pub log_limit: u64,
    /// How long completed and cancelled jobs are kept; `None` is for ever. For ever.
    pub retention_completed: Option<Duration>,
    /// How long dead jobs are kept; `None` is for ever. For ever.
    pub retention_dead: Option<Duration>,
    /// How many completed and cancelled jobs are kept; `None` is all. All.
    pub retention_completed_count: Option<u64>,
    /// How many dead jobs are kept; `None` is all. All.
    pub retention_dead_count: Option<u64>,
    /// How long a job waits until its priority counts as one higher, so that none waits for ever;
    /// `None` leaves priorities as they are. `None`.
    pub aging: Option<Duration>,
    /// Whether every change of a job's state is written into the event log. Off.
    pub event_log: bool,
    /// How many events are kept; `None` is all. 100 000.
    pub event_log_count: Option<u64>,
    /// What an acknowledged write survives. Full.
    pub durability: Durability,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_retries: 3,
            max_crashes: MAX_CRASHES,
            backoff_base: 2.0,
            backoff_max: Duration::from_secs(300),
            backoff_jitter: 0.0,
            worker_timeout: Some(Duration::from_secs(300)),
            grace: Duration::from_secs(10),
            output_limit: 64 << 10,
            log_limit: 16 << 20,
            retention_completed: None,
            retention_dead: None,
            retention_completed_count: None,
            retention_dead_count: None,
            aging: None,
            event_log: false,
            event_log_count: Some(100_000),
            durability: Durability::Full,
        }
    }
}

impl Settings {
    /// Whether jobs that have ended are kept for ever, however many there are.
    pub fn keeps_all(&self) -> bool {
        let by_age = self.retention_completed.or(self.retention_dead);
        let by_count = self.retention_completed_count.or(self.retention_dead_count);
        by_age.is_none() && by_count.is_none()
    }

    /// The backoff of a job that says nothing of it.
    pub fn backoff(&self) -> BackoffPolicy {
        BackoffPolicy::new(Curve::Exponential { base: self.backoff_base })
            .and_then(|policy| policy.with_cap(self.backoff_max).with_jitter(self.backoff_jitter))
            .unwrap_or_default()
    }

    /// The value of a setting, written as [`Settings::set`] reads it.
    pub fn get(&self, setting: Setting) -> String {
        let duration = |duration: Duration| humantime::format_duration(duration).to_string();
        let optional = |limit: Option<Duration>| limit.map_or("never".to_owned(), duration);
        let number = |number: Option<u64>| number.map_or("all".to_owned(), |n| n.to_string());
        match setting {
            Setting::MaxRetries => self.max_retries.to_string(),
            Setting::MaxCrashes => self.max_crashes.to_string(),
            Setting::BackoffBase => self.backoff_base.to_string(),
            Setting::BackoffMax => duration(self.backoff_max),
            Setting::BackoffJitter => self.backoff_jitter.to_string(),
            Setting::WorkerTimeout => optional(self.worker_timeout),
            Setting::Grace => duration(self.grace),
            Setting::OutputLimit => format_size(self.output_limit),
            Setting::LogLimit => format_size(self.log_limit),
            Setting::RetentionCompleted => optional(self.retention_completed),
            Setting::RetentionDead => optional(self.retention_dead),
            Setting::RetentionCompletedCount => number(self.retention_completed_count),
            Setting::RetentionDeadCount => number(self.retention_dead_count),
            Setting::Aging => optional(self.aging),
            Setting::EventLog => if self.event_log { "on" } else { "off" }.to_owned(),
            Setting::EventLogCount => number(self.event_log_count),
            Setting::Durability => self.durability.to_string(),
        }
    }

    /// Sets a setting from text. Durations are written as people write them (`90s`, `2h30m`) or as
    /// a number of seconds; sizes as bytes or with KiB, MiB, GiB.
    ///
    /// ```
    /// use queuectl_core::{Setting, Settings};
    ///
    /// let mut settings = Settings::default();
    /// settings.set(Setting::BackoffMax, "10m")?;
    /// assert_eq!(settings.get(Setting::BackoffMax), "10m");
    /// assert!(settings.set(Setting::MaxRetries, "-1").is_err());
    /// # Ok::<(), queuectl_core::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Value`], and the settings are as they were.
    pub fn set(&mut self, setting: Setting, value: &str) -> Result<(), InvalidSetting> {
        self.try_set(setting, value.trim())
            .ok_or_else(|| InvalidSetting::Value { setting, value: value.to_owned() })
    }

    fn try_set(&mut self, setting: Setting, value: &str) -> Option<()> {
        match setting {
            Setting::MaxRetries => {
                self.max_retries = value.parse().ok().filter(|&retries| retries <= 1_000_000)?;
            }
            Setting::MaxCrashes => {
                let crashes = value.parse().ok();
                self.max_crashes =
                    crashes.filter(|crashes: &NonZeroU32| crashes.get() <= 1_000_000)?;
            }
            Setting::BackoffBase => {
                self.backoff_base = number(value).filter(|&base| base > 0.0)?;
            }
            Setting::BackoffMax => self.backoff_max = parse_duration(value)?,
            Setting::BackoffJitter => {
                self.backoff_jitter =
                    number(value).filter(|jitter| (0.0..=1.0).contains(jitter))?;
            }
            Setting::WorkerTimeout => {
                self.worker_timeout =
                    optional(value).filter(|limit| *limit != Some(Duration::ZERO))?;
            }
            Setting::Grace => self.grace = parse_duration(value)?,
            Setting::OutputLimit => {
                self.output_limit = parse_size(value).filter(|&limit| limit <= 1 << 20)?;
            }
            Setting::LogLimit => self.log_limit = parse_size(value)?,
            Setting::RetentionCompleted => self.retention_completed = optional(value)?,
            Setting::RetentionDead => self.retention_dead = optional(value)?,
            Setting::RetentionCompletedCount => {
                self.retention_completed_count = number_or_all(value)?;
            }
            Setting::RetentionDeadCount => self.retention_dead_count = number_or_all(value)?,
            Setting::Aging => {
                self.aging = optional(value)
                    .filter(|aging| aging.is_none_or(|aging| AGING.contains(&aging)))?;
            }
            Setting::EventLog => self.event_log = on_or_off(value)?,
            Setting::EventLogCount => {
                self.event_log_count = number_or_all(value).filter(|count| *count != Some(0))?;
            }
            Setting::Durability => {
                self.durability = [Durability::Full, Durability::Normal, Durability::Off]
                    .into_iter()
                    .find(|level| level.as_str() == value)?;
            }
        }
        Some(())
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

const MAX_CRASHES: NonZeroU32 = NonZeroU32::new(5).expect("it is not 0");

/// What [`Setting::Aging`] takes besides never: less would be no time, and with more, priorities
/// times it are no times any more.
const AGING: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(366 * 86_400);

/// A century: longer waits are mistakes, and sums with it stay far from overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads a duration as people write it (`90s`, `1.5h` is not, `1h 30m` is), or a bare number of
/// seconds, which may have a fraction. At most a hundred years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let duration = match number(text) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    duration.filter(|&duration| duration <= DURATION_MAX)
}

fn optional(text: &str) -> Option<Option<Duration>> {
    if text == "never" { Some(None) } else { parse_duration(text).map(Some) }
}

fn number_or_all(text: &str) -> Option<Option<u64>> {
    if text == "all" { Some(None) } else { text.parse().ok().map(Some) }
}

fn on_or_off(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads a size: a number of bytes, or one with KiB, MiB or GiB.
pub fn parse_size(text: &str) -> Option<u64> {
    for (unit, bytes) in UNITS {
        let letter = &unit[..1];
        let number = text
            .strip_suffix(unit)
            .or_else(|| text.strip_suffix(&unit.to_lowercase()))
            .or_else(|| text.strip_suffix(letter))
            .or_else(|| text.strip_suffix(&letter.to_lowercase()));
        if let Some(number) = number {
            return number.trim().parse::<u64>().ok()?.checked_mul(bytes);
        }
    }
    text.strip_suffix('B').unwrap_or(text).trim().parse().ok()
}

/// Writes a size in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    UNITS
        .into_iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back_as_itself() {
        for setting in Setting::ALL {
            let mut settings = Settings::default();
            let text = settings.get(setting);
            settings.set(setting, &text).unwrap();
            assert_eq!(settings, Settings::default(), "{setting}");
            assert_eq!(setting.as_str().parse(), Ok(setting));
        }
    }

    #[test]
    fn old_spellings_name_the_same_setting() {
        for text in ["max-retries", "max_retries", "default-max-retries", "DEFAULT_MAX_RETRIES"] {
            assert_eq!(text.parse(), Ok(Setting::MaxRetries));
        }
        assert!("retries".parse::<Setting>().is_err());
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let refused = [
            (Setting::MaxRetries, "-1"),
            (Setting::MaxRetries, "1.5"),
            (Setting::MaxCrashes, "0"),
            (Setting::MaxCrashes, "1000001"),
            (Setting::MaxCrashes, "never"),
            (Setting::RetentionDeadCount, "never"),
            (Setting::RetentionCompletedCount, "-1"),
            (Setting::MaxRetries, "99999999999"),
            (Setting::BackoffBase, "0"),
            (Setting::BackoffBase, "nan"),
            (Setting::BackoffMax, "never"),
            (Setting::BackoffMax, "-5"),
            (Setting::BackoffJitter, "1.1"),
            (Setting::WorkerTimeout, "0"),
            (Setting::Grace, "soon"),
            (Setting::OutputLimit, "2MiB"),
            (Setting::LogLimit, "99999999999GiB"),
            (Setting::RetentionDead, ""),
            (Setting::Aging, "0"),
            (Setting::Aging, "400days"),
            (Setting::EventLog, "maybe"),
            (Setting::EventLogCount, "0"),
            (Setting::Durability, "maybe"),
        ];
        for (setting, value) in refused {
            let mut settings = Settings::default();
            assert!(settings.set(setting, value).is_err(), "{setting} took {value:?}");
            assert_eq!(settings, Settings::default());
        }
    }

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        assert_eq!(parse_duration("90"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h30m"), Some(Duration::from_secs(9000)));
        assert_eq!(parse_duration("1000000 days"), None);
        assert_eq!(parse_size("64KiB"), Some(65536));
        assert_eq!(parse_size("1m"), Some(1 << 20));
        assert_eq!(parse_size("12"), Some(12));
        assert_eq!(parse_size("-1"), None);
    }
}
