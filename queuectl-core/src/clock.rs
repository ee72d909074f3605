//! Time enters the library here, and nowhere else.
//!
//! Two clocks, because they answer two questions. The *wall clock* says when a job should run
//! ("at nine tomorrow") and may be set forwards or backwards at any moment. The *boot clock*
//! counts since the machine started, goes on during suspend and is never set; leases, time limits
//! and retry delays are measured on it, so that no clock step steals a job or delays a retry. It
//! means something only together with a [`BootId`].

use std::fmt;
use std::ops::Add;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment of wall time: milliseconds since the Unix epoch, UTC.
///
/// Shown, and serialized, as RFC 3339 with milliseconds.
///
/// ```
/// use queuectl_core::Timestamp;
///
/// let moment = Timestamp::from_millis(1_700_000_000_000);
/// assert_eq!(moment.to_string(), "2023-11-14T22:13:20.000Z");
/// assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(moment));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that can be shown: the end of the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

    /// The moment `millis` milliseconds after the Unix epoch, held within 1970 and 9999.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < 0 {
            Timestamp(0)
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Timestamp(millis)
        }
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Saturates at [`Timestamp::MAX`].
    fn add(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.unsigned_abs());
        fmt::Display::fmt(&humantime::format_rfc3339_millis(time), f)
    }
}

/// The text is not a moment in RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a moment in RFC 3339, such as 2026-01-31T09:00:00Z")]
pub struct InvalidTimestamp(pub String);

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_rfc3339(text)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_millis()).ok())
            .map(Timestamp::from_millis)
            .ok_or_else(|| InvalidTimestamp(text.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A reading of the boot clock: milliseconds since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(i64);

impl BootTime {
    /// The reading `millis` milliseconds after the machine started.
    pub const fn from_millis(millis: i64) -> Self {
        BootTime(millis)
    }

    /// Milliseconds since the machine started.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: BootTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;

    /// Saturates.
    fn add(self, duration: Duration) -> BootTime {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        BootTime(self.0.saturating_add(millis))
    }
}

/// Names one run of the machine, from boot to shutdown: readings of the boot clock can be compared
/// only under the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootId(Arc<str>);

impl BootId {
    /// A boot id of the given text.
    pub fn new(text: &str) -> Self {
        BootId(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where the library reads time. Programs use [`SystemClock`]; tests own a [`ManualClock`].
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// The boot clock. Never goes backwards while [`Clock::boot_id`] stays the same.
    fn boot(&self) -> BootTime;

    /// Which run of the machine [`Clock::boot`] counts in.
    fn boot_id(&self) -> BootId;
}

/// The clocks of the operating system: `CLOCK_REALTIME`, `CLOCK_BOOTTIME` and the kernel's boot id.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this file is the door of time")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot(&self) -> BootTime {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        BootTime(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
    }

    fn boot_id(&self) -> BootId {
        // No process outlives its boot, so it is read once. The kernel always has this file; a
        // sandbox without /proc falls back to one id for all boots, under which leases still end by
        // the clock.
        static BOOT_ID: LazyLock<BootId> = LazyLock::new(|| {
            let path = "/proc/sys/kernel/random/boot_id";
            BootId::new(std::fs::read_to_string(path).unwrap_or_default().trim())
        });
        BOOT_ID.clone()
    }
}

/// A clock that stands still until it is told to move. Starts at 2023-11-14T22:13:20Z, one hour
/// after a first boot.
///
/// ```
/// use queuectl_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now().since(before), Duration::from_secs(3));
/// ```
#[derive(Debug)]
pub struct ManualClock(Mutex<Manual>);

#[derive(Debug)]
struct Manual {
    wall_ms: i64,
    boot_ms: i64,
    boots: u32,
}

impl ManualClock {
    /// A clock at its fixed start.
    pub fn new() -> Self {
        ManualClock(Mutex::new(Manual { wall_ms: 1_700_000_000_000, boot_ms: 3_600_000, boots: 1 }))
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let mut manual = self.lock();
        manual.wall_ms = manual.wall_ms.saturating_add(millis);
        manual.boot_ms = manual.boot_ms.saturating_add(millis);
    }

    /// Sets the wall clock `millis` forwards or backwards; the boot clock does not notice.
    pub fn step_wall(&self, millis: i64) {
        let mut manual = self.lock();
        manual.wall_ms = manual.wall_ms.saturating_add(millis);
    }

    /// Restarts the machine: a new boot id, and the boot clock begins again.
    pub fn reboot(&self) {
        let mut manual = self.lock();
        manual.boots += 1;
        manual.boot_ms = 1_000;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Manual> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.lock().wall_ms)
    }

    fn boot(&self) -> BootTime {
        BootTime(self.lock().boot_ms)
    }

    fn boot_id(&self) -> BootId {
        BootId::new(&format!("boot-{}", self.lock().boots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::from_millis(5) + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::from_millis(-1), Timestamp::from_millis(0));
        assert_eq!(Timestamp::from_millis(1).since(Timestamp::from_millis(2)), Duration::ZERO);
        assert_eq!((BootTime(1) + Duration::MAX).as_millis(), i64::MAX);
    }

    #[test]
    fn a_wall_step_does_not_move_the_boot_clock() {
        let clock = ManualClock::new();
        let (boot, id) = (clock.boot(), clock.boot_id());
        clock.step_wall(-86_400_000);
        assert_eq!((clock.boot(), clock.boot_id()), (boot, id));
        let id = clock.boot_id();
        clock.reboot();
        assert_ne!(clock.boot_id(), id);
    }

    #[test]
    fn the_system_clocks_run() {
        let clock = SystemClock;
        assert!(clock.now() > Timestamp::from_millis(1_700_000_000_000));
        assert!(clock.boot() <= clock.boot());
        assert_eq!(clock.boot_id(), clock.boot_id());
    }
}
