//! Schedules: what is to be enqueued again and again, when, and what becomes of times that were missed.
//!
//! A schedule is plain data, and so is the answer to the one question about it: which of its ticks are
//! due? ([`Spec::due`]). What is done about a tick, once, by however many processes look, is decided in
//! a store.

mod cron;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use self::cron::Cron;
pub use self::cron::InvalidCron;
use crate::clock::{BootTime, Timestamp};
use crate::id::{JobId, Name};
use crate::job::{Expiry, NewJob, Start};

/// How late the newest tick that is due may be. One that is later was missed, and so were those before.
pub const ON_TIME: Duration = Duration::from_secs(60);

/// The most ticks that are made up for at once.
pub const CATCH_UP_MAX: u32 = 1000;

/// How many entries of its history a schedule keeps.
pub const HISTORY_LEN_MAX: usize = 100;

/// What is to be enqueued again and again, and when.
///
/// ```
/// use queuectl_core::{Missed, NewJob, Schedule, Spec, Timestamp};
///
/// let job = NewJob::new("report", &serde_json::json!({ "of": "yesterday" }))?;
/// let spec = Spec::cron("0 9 * * MON-FRI", "Europe/Berlin")?;
/// let schedule = Schedule::new("morning-report", spec, job)?.missed(Missed::Skip);
///
/// // What it will do can be seen before it is put into a store.
/// let friday: Timestamp = "2026-03-27T12:00:00Z".parse()?;
/// let next = schedule.spec.upcoming(friday, 2);
/// // On Sunday the clocks are put forward.
/// assert_eq!(next[0].to_string(), "2026-03-30T07:00:00.000Z");
/// assert_eq!(next[1].to_string(), "2026-03-31T07:00:00.000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Schedule {
    /// What it is called. There is one of each name.
    pub name: Name,
    /// When it ticks.
    pub spec: Spec,
    /// What each tick enqueues.
    pub job: NewJob,
    /// What becomes of ticks that were missed.
    pub missed: Missed,
    /// What becomes of a tick while the job that the schedule made last still lives.
    pub overlap: Overlap,
    /// Whether it rests, and passes over its ticks.
    pub paused: bool,
}

impl Schedule {
    /// A schedule that makes up for one missed tick, lets its jobs overlap and does not rest.
    ///
    /// # Errors
    ///
    /// [`InvalidSchedule`] if the name is none, or if no second job could be made as this one is to be:
    /// with an id of its own, for or until a moment of its own, after other jobs or
    /// batches, or in a batch, which would be closed some day.
    pub fn new(name: &str, spec: Spec, job: NewJob) -> Result<Self, InvalidSchedule> {
        let name = Name::new(name).map_err(InvalidSchedule::Name)?;
        let once = match job {
            NewJob { id: Some(_), .. } => Some("an id"),
            NewJob { start: Start::At(_), .. } => Some("a moment to run at"),
            NewJob { expiry: Some(Expiry::At(_)), .. } => Some("a moment to expire at"),
            NewJob { ref after, .. } if !after.is_empty() => Some("jobs to wait for"),
            NewJob { ref after_batches, .. } if !after_batches.is_empty() => {
                Some("batches to wait for")
            }
            NewJob { batch: Some(_), .. } => Some("a batch"),
            _ => None,
        };
        match once {
            Some(what) => Err(InvalidSchedule::Once(what)),
            None => Ok(Schedule {
                name,
                spec,
                job,
                missed: Missed::One,
                overlap: Overlap::Allow,
                paused: false,
            }),
        }
    }

    /// Chooses what becomes of missed ticks.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Chooses what becomes of ticks that come too early.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Lets it rest from the beginning.
    #[must_use]
    pub fn paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }
}

/// What was asked for cannot be a schedule. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSchedule {
    /// The name is none.
    #[error("name: {0}")]
    Name(#[source] crate::id::InvalidName),
    /// No second job could be made so.
    #[error("the job of a schedule cannot have {0} of its own: it is made again and again")]
    Once(&'static str),
    /// The cron expression makes no sense.
    #[error(transparent)]
    Cron(#[from] InvalidCron),
    /// The interval is too short or too long.
    #[error("an interval takes 1 second to 100 years, not {0:?}")]
    Every(Duration),
}

/// When a schedule ticks. Made with [`Spec::cron`] or [`Spec::every`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spec {
    /// At the moments that a cron expression names.
    ///
    /// Five fields: minute, hour, day of the month, month, day of the week; or six, with the second
    /// before them. Names (`MON`, `JAN`), lists, ranges, steps, `L`, `W`, `#`, and `@yearly`,
    /// `@monthly`, `@weekly`, `@daily`, `@hourly`. If both days are restricted, either may fit.
    ///
    /// When clocks are put forward or back, an expression that names its times (without a `*` in the
    /// second, minute and hour) fires once for each: right after the gap if the time is skipped, the
    /// first time if it is shown twice. Any other follows the clock.
    Cron {
        /// The expression.
        expression: String,
        /// The time zone, by its name in the IANA database.
        zone: String,
    },
    /// Again and again after so much time, on the boot clock: no step of the wall clock changes it.
    /// The first tick comes when the schedule has been there for as long.
    Every(Duration),
}

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Spec {
    /// The moments that a cron expression names in a time zone.
    ///
    /// ```
    /// use queuectl_core::Spec;
    ///
    /// let refused = Spec::cron("0 25 * * *", "UTC").unwrap_err();
    /// assert!(refused.to_string().starts_with("the hour \"25\" of the cron expression is wrong"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidCron`], which names the field.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, InvalidCron> {
        Cron::check(expression, zone)?;
        Ok(Spec::Cron { expression: expression.to_owned(), zone: zone.to_owned() })
    }

    /// An interval.
    ///
    /// # Errors
    ///
    /// [`InvalidSchedule::Every`] if it is shorter than a second or longer than a hundred years.
    pub fn every(period: Duration) -> Result<Self, InvalidSchedule> {
        if period < Duration::from_secs(1) || period > CENTURY {
            return Err(InvalidSchedule::Every(period));
        }
        // Clocks count milliseconds.
        Ok(Spec::Every(Duration::from_millis(
            u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
        )))
    }

    /// The next `count` ticks after `after`, as things stand then; fewer if there are no more, or none if
    /// this machine does not know the time zone.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let ticking = self.ticking();
        let mut last = Some(after);
        let mut next = || {
            last = last.and_then(|last| match &ticking {
                Ticking::Cron(cron) => cron.next(last),
                Ticking::Every(period) => Some(last + *period),
                Ticking::Unknown => None,
            });
            last
        };
        std::iter::from_fn(&mut next).take(count).collect()
    }

    /// The first tick of a schedule that is put or resumed `now`, after the `last` one that was attended
    /// to; `None` if there is none, or if this machine does not know the time zone.
    pub fn first(&self, last: Option<Timestamp>, now: Timestamp, boot: BootTime) -> Option<Next> {
        match self.ticking() {
            Ticking::Cron(cron) => {
                let at = cron.next(last.map_or(now, |last| last.max(now)))?;
                Some(Next { at, boot: None })
            }
            Ticking::Every(period) => Some(Next { at: now + period, boot: Some(boot + period) }),
            Ticking::Unknown => None,
        }
    }

    /// Which ticks are due, from `next` on; `None` if that one is not, or if this machine does not know
    /// the time zone and has to leave it to others.
    pub fn due(&self, next: Next, missed: Missed, now: Timestamp, boot: BootTime) -> Option<Due> {
        if !next.wait(now, boot).is_zero() {
            return None;
        }
        let (first, period) = match self.ticking() {
            Ticking::Unknown => return None,
            Ticking::Cron(cron) => {
                let (missed, ticks, next) = due_of(missed, next.at, now, &|after| cron.next(after));
                return Some(Due { missed, ticks, next: next.map(|at| Next { at, boot: None }) });
            }
            // Seen from now, by the clock that measures it; the wall clock is for being shown.
            Ticking::Every(period) => {
                let late = next.boot.map_or_else(|| now.since(next.at), |at| boot.since(at));
                (now.as_millis().saturating_sub(millis(late)), millis(period))
            }
        };
        let step = |after: Timestamp| {
            let steps = (after.as_millis() - first).div_euclid(period) + 1;
            let at = first.saturating_add(steps.max(0).saturating_mul(period));
            (at <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(at))
        };
        let (missed, ticks, next) = due_of(missed, Timestamp::from_millis(first), now, &step);
        let measured = |at: Timestamp| Next { at, boot: Some(boot + at.since(now)) };
        Some(Due { missed, ticks, next: next.map(measured) })
    }

    fn ticking(&self) -> Ticking {
        match self {
            Spec::Cron { expression, zone } => Cron::parse(expression, zone)
                .map_or(Ticking::Unknown, |cron| Ticking::Cron(Box::new(cron))),
            Spec::Every(period) => Ticking::Every(*period),
        }
    }
}

/// A spec that can be asked.
enum Ticking {
    Cron(Box<Cron>),
    Every(Duration),
    /// The time zone is not known here, although it was where the schedule was made.
    Unknown,
}

/// What becomes of ticks that were missed: no process looked at them in time. Of several ticks that are
/// due at once, all but the newest were; the newest was if it is later than [`ON_TIME`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Nothing: whoever was away has missed them.
    Skip,
    /// The newest is made up for, however many there are.
    #[default]
    One,
    /// All are made up for, the newest so many of them, up to [`CATCH_UP_MAX`].
    All(u32),
}

/// What becomes of a tick while the job that the schedule made last still lives: waits, runs, or will
/// run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It makes a job all the same.
    #[default]
    Allow,
    /// It makes none.
    Skip,
    /// It makes one when that job has ended. One tick waits so; those that come meanwhile make none.
    QueueOne,
}

/// When a schedule ticks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// By the wall clock; of an interval, when that was expected.
    pub at: Timestamp,
    /// By the boot clock, which measures intervals; `None` if it was another boot's.
    pub boot: Option<BootTime>,
}

impl Next {
    /// How long it is until then; zero if it is due.
    pub fn wait(&self, now: Timestamp, boot: BootTime) -> Duration {
        self.boot.map_or_else(|| self.at.since(now), |at| at.since(boot))
    }
}

/// Ticks that are due, and what is to be done about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The first and the last of those that are passed over, if any are. They come before the others.
    pub missed: Option<(Timestamp, Timestamp)>,
    /// Those that count, in order.
    pub ticks: Vec<Timestamp>,
    /// When it ticks next, if ever.
    pub next: Option<Next>,
}

impl Due {
    /// The newest of all.
    pub fn last(&self) -> Option<Timestamp> {
        self.ticks.last().copied().or_else(|| self.missed.map(|(_, last)| last))
    }
}

/// A schedule as it stands in a store.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleInfo {
    /// What was put; paused or not as it is now.
    pub schedule: Schedule,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When it was last put, paused or resumed.
    pub updated_at: Timestamp,
    /// When it ticks next, by the wall clock. A schedule that rests has no next tick.
    pub next: Option<Timestamp>,
    /// The tick that waits until the last job has ended.
    pub waiting: Option<Timestamp>,
    /// The newest entry of its history.
    pub last: Option<TickRecord>,
}

/// An entry of a schedule's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickRecord {
    /// The tick: when it was to be. Of a run by hand, when that was asked for.
    pub tick: Timestamp,
    /// When it was attended to.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: TickOutcome,
}

/// What came of a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TickOutcome {
    /// It made this job.
    Enqueued(JobId),
    /// It was not a tick: somebody had this job made by hand.
    ByHand(JobId),
    /// This job holds the unique key, so none was made.
    Exists(JobId),
    /// The job that the schedule had made last still lived, so none was made.
    Overlapped,
    /// It waits until the job that the schedule had made last has ended. What it then makes is an entry of
    /// its own.
    Waits,
    /// All ticks from this one up to that moment were missed, and are not made up for.
    Missed {
        /// The last of them.
        until: Timestamp,
    },
}

impl TickOutcome {
    /// The name in the store and in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            TickOutcome::Enqueued(_) => "enqueued",
            TickOutcome::ByHand(_) => "by_hand",
            TickOutcome::Exists(_) => "exists",
            TickOutcome::Overlapped => "overlapped",
            TickOutcome::Waits => "waits",
            TickOutcome::Missed { .. } => "missed",
        }
    }

    /// The job that it is about.
    pub const fn job(&self) -> Option<&JobId> {
        match self {
            TickOutcome::Enqueued(job) | TickOutcome::ByHand(job) | TickOutcome::Exists(job) => {
                Some(job)
            }
            _ => None,
        }
    }
}

/// `30s`, or the expression and its zone.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Cron { expression, zone } => f.pad(&format!("{expression} {zone}")),
            Spec::Every(period) => f.pad(&format!("every {}", humantime::format_duration(*period))),
        }
    }
}

/// What is due of the ticks from `first` on, which is.
fn due_of(
    missed: Missed,
    first: Timestamp,
    now: Timestamp,
    next: &dyn Fn(Timestamp) -> Option<Timestamp>,
) -> (Option<(Timestamp, Timestamp)>, Vec<Timestamp>, Option<Timestamp>) {
    let ticks = Ticks { first, next };
    let newest = ticks.before(now + MILLI, SECOND);
    let after = next(newest);
    if missed == Missed::Skip && now.since(newest) > ON_TIME {
        return (Some((first, newest)), Vec::new(), after);
    }
    let most = match missed {
        Missed::All(most) => most.clamp(1, CATCH_UP_MAX) as usize,
        Missed::Skip | Missed::One => 1,
    };
    let mut counted = vec![newest];
    let mut oldest = newest;
    while oldest > first && counted.len() < most {
        // Mostly as far away as the one before.
        let last = counted.len().checked_sub(2).map(|index| counted[index]);
        oldest = ticks.before(oldest, last.map_or(SECOND, |last| last.since(oldest)));
        counted.push(oldest);
    }
    counted.reverse();
    let passed_over = (oldest > first).then(|| (first, ticks.before(oldest, SECOND)));
    (passed_over, counted, after)
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The ticks from one of them on.
struct Ticks<'a> {
    first: Timestamp,
    next: &'a dyn Fn(Timestamp) -> Option<Timestamp>,
}

impl Ticks<'_> {
    /// The last tick before a moment that is after the first, looked for in the last `span` first. A schedule of seconds that nobody has looked
    /// at for years has too many to walk through: it is found by halves, from the end.
    fn before(&self, end: Timestamp, span: Duration) -> Timestamp {
        let from = |moment: i64| {
            let next = (self.next)(Timestamp::from_millis(moment - 1));
            next.filter(|tick| *tick < end)
        };
        let (first, end) = (self.first.as_millis(), end.as_millis());
        let mut back = millis(span);
        let mut found = self.first;
        // Nothing is in the second half of what is looked at, or it would have been found.
        while end - back > first {
            if let Some(tick) = from(end - back) {
                found = tick;
                break;
            }
            back *= 2;
        }
        let mut until = end;
        while let Some(later) = from(found.as_millis() + 1) {
            found = later;
            let middle = found.as_millis() + (until - found.as_millis()) / 2;
            match from(middle) {
                Some(tick) => found = tick,
                None => until = middle,
            }
        }
        found
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
