//! The exit codes: documented, and never changed.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// What was asked for is done.
    pub(crate) const DONE: Exit = Exit(0);
    /// It failed.
    pub(crate) const FAILED: Exit = Exit(1);
    /// What was asked for makes no sense.
    pub(crate) const USAGE: Exit = Exit(2);
    /// There is no such job, worker or setting.
    pub(crate) const NOT_FOUND: Exit = Exit(3);
    /// A duplicate id, or a job in a state in which this cannot happen.
    pub(crate) const CONFLICT: Exit = Exit(4);
    /// The store cannot be used.
    pub(crate) const STORE: Exit = Exit(5);
    /// The job that was waited for ran into its time limit.
    pub(crate) const TIMED_OUT: Exit = Exit(124);

    /// The exit code of the one command that was waited for.
    pub(crate) fn of_code(code: i32) -> Self {
        // A failure must never look like a success, whatever the number.
        Exit(u8::try_from(code).ok().filter(|&code| code != 0).unwrap_or(1))
    }

    /// The one command that was waited for, or this program, was ended by a signal.
    pub(crate) fn of_signal(signal: i32) -> Self {
        Exit(u8::try_from(signal.saturating_add(128)).unwrap_or(255))
    }

    /// So many of several jobs did not complete.
    pub(crate) fn of_failures(count: usize) -> Self {
        Exit(count.min(100) as u8)
    }

    /// The number, for programs.
    pub(crate) fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_never_looks_like_a_success() {
        for code in [-1, 0, 256, i32::MIN, i32::MAX] {
            assert_eq!(Exit::of_code(code), Exit::FAILED);
        }
        assert_eq!(Exit::of_code(3).code(), 3);
        assert_eq!(Exit::of_signal(9).code(), 137);
        assert_eq!(Exit::of_failures(0), Exit::DONE);
        assert_eq!(Exit::of_failures(1000).code(), 100);
    }
}
