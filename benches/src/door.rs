//! The one door to the stopwatch and to other programs.

use std::process::Command;
use std::time::{Duration, Instant};

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

/// The first line that a program prints; `None` if there is no such program or it fails.
#[expect(
    clippy::disallowed_methods,
    reason = "the commit and the compiler are known to other programs only"
)]
pub(crate) fn first_line_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.lines().next().unwrap_or_default().to_owned())
}
