//! The one door to clocks, to waiting and to other programs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

/// Runs something and says how long it took.
#[expect(
    clippy::disallowed_methods,
    reason = "the library's clocks tell milliseconds; a stopwatch needs more"
)]
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let answer = run();
    (answer, began.elapsed())
}

/// A moment of the boot clock, which is the same for all processes: what one began can be timed by
/// another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Moment(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }

    /// The time since then.
    pub(crate) fn elapsed(self) -> Duration {
        Moment::now().since(self)
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Moment(self.0 + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Moment(nanos)
    }
}

/// Lets time go by: the pauses that belong to what is measured, such as those of an idle queue. Not
/// for waiting for something.
#[expect(clippy::disallowed_methods, reason = "this file is the door of time")]
pub(crate) fn pass(time: Duration) {
    std::thread::sleep(time);
}

/// A program that ends by itself.
#[expect(clippy::disallowed_methods, reason = "this file is the door of processes")]
pub(crate) fn program(path: impl AsRef<Path>) -> Command {
    Command::new(path.as_ref())
}

/// A program that dies when the thread that starts it does: nothing that is interrupted leaves a process
/// behind. It costs more to start, because the process is forked.
pub fn companion(path: &Path) -> Command {
    let mut command = program(path);
    die_with_parent(&mut command);
    command
}

#[expect(unsafe_code, reason = "only a hook between fork and exec can ask for it")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let hook = || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(std::io::Error::from)
    };
    // SAFETY: the hook makes one system call and nothing else.
    unsafe {
        command.pre_exec(hook);
    }
}

/// The first line that a program prints; `None` if there is no such program or it fails.
pub(crate) fn first_line_of(name: &str, arguments: &[&str]) -> Option<String> {
    let output = program(name).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.lines().next().unwrap_or_default().to_owned())
}
