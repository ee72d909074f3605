//! What the user is told when something cannot be done: one sentence, the cause, what to do next.

use std::error::Error;
use std::io;

use queuectl_core::{InvalidSetting, StoreError};

use crate::exit::Exit;
use crate::output::display::{line, text};

/// Something that cannot be done, in the user's words.
#[derive(Debug)]
pub(crate) struct CliError {
    /// How the program ends.
    pub(crate) exit: Exit,
    sentence: String,
    hint: Option<String>,
    silent: bool,
}

impl CliError {
    /// An error that is told in one sentence: lower case, without a full stop.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        CliError { exit, sentence: sentence.into(), hint: None, silent: false }
    }

    /// What was asked for makes no sense.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        CliError::new(Exit::USAGE, sentence)
    }

    /// Adds what to do next. Several lines are allowed.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says first where it went wrong.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.sentence = format!("{place}: {}", self.sentence);
        self
    }

    /// Adds the causes of the error, the nearest first.
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let said = error.to_string();
            // Errors that quote their source in their own sentence would say it twice, and SQLite's
            // say nothing new but their number.
            let (code, rest) = said
                .strip_prefix("Error code ")
                .and_then(|numbered| numbered.split_once(": "))
                .map_or((None, said.as_str()), |(code, rest)| (Some(code), rest));
            match (self.sentence.contains(rest), code) {
                (true, Some(code)) => self.sentence.push_str(&format!(" (SQLite code {code})")),
                (true, None) => {}
                (false, _) => self.sentence.push_str(&format!(": {said}")),
            }
            cause = error.source();
        }
        self
    }

    /// The text for the user, or nothing where nobody listens any more.
    pub(crate) fn message(&self) -> Option<String> {
        if self.silent {
            return None;
        }
        let mut message = line(&self.sentence).to_string();
        if let Some(hint) = &self.hint {
            for (number, hint_line) in text(hint).to_string().lines().enumerate() {
                message.push_str(if number == 0 { "\n  hint: " } else { "\n        " });
                message.push_str(hint_line);
            }
        }
        Some(message)
    }
}

/// The standard output cannot be written to. A reader that has seen enough is not an error.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        CliError {
            silent: error.kind() == io::ErrorKind::BrokenPipe,
            ..CliError::new(
                if error.kind() == io::ErrorKind::BrokenPipe { Exit::DONE } else { Exit::FAILED },
                "cannot write the output",
            )
            .because(&error)
        }
    }
}

impl From<InvalidSetting> for CliError {
    fn from(error: InvalidSetting) -> Self {
        CliError::usage(error.to_string()).hint("queuectl config list")
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let (exit, hint) = match &error {
            StoreError::NotFound(_) => (Exit::NOT_FOUND, Some("queuectl list")),
            StoreError::NoSchedule(_) => (Exit::NOT_FOUND, Some("queuectl schedule list")),
            StoreError::NoBatch(_) => (Exit::NOT_FOUND, Some("queuectl batch list")),
            StoreError::BatchClosed(_) | StoreError::BatchEnded(_) => {
                (Exit::CONFLICT, Some("queuectl batch list"))
            }
            StoreError::BatchOpen(_) => (Exit::CONFLICT, Some("queuectl batch close NAME")),
            StoreError::NoWorker(_) => (Exit::NOT_FOUND, Some("queuectl worker list")),
            StoreError::DuplicateId(_) | StoreError::NumberGiven(_) => {
                (Exit::CONFLICT, Some("choose another id, or leave it out to be given one"))
            }
            StoreError::WrongState { id, .. } | StoreError::StillLives { id, .. } => {
                let hint = format!("queuectl show {id}");
                return CliError::new(Exit::CONFLICT, error.to_string()).hint(hint);
            }
            StoreError::UniqueKeyTaken { .. } => (Exit::CONFLICT, None),
            StoreError::Cycle(_)
            | StoreError::NumberOutOfRange(_)
            | StoreError::BatchTooLarge { .. }
            | StoreError::Setting(_) => (Exit::USAGE, None),
            StoreError::Busy(_) => (Exit::STORE, Some("try again")),
            StoreError::Full(_) => (Exit::STORE, Some("make room on the disk, then try again")),
            StoreError::ReadOnly(_) => {
                (Exit::STORE, Some("its file and the folder it is in must be writable"))
            }
            StoreError::Unknown(_) => {
                (Exit::STORE, Some("look with `queuectl list` before you try again"))
            }
            _ => (Exit::STORE, None),
        };
        let told = CliError::new(exit, error.to_string());
        let told = match error.source() {
            Some(source) => told.because(source),
            None => told,
        };
        match hint {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        let id: queuectl_core::JobId = "job1".parse().unwrap();
        let disk = || Box::new(io::Error::other("no space left"));
        let cases = [
            (StoreError::NotFound(id.clone()), Exit::NOT_FOUND),
            (StoreError::DuplicateId(id.clone()), Exit::CONFLICT),
            (StoreError::NumberGiven(id), Exit::CONFLICT),
            (StoreError::Full(disk()), Exit::STORE),
            (StoreError::Corrupt(disk()), Exit::STORE),
        ];
        for (error, exit) in cases {
            assert_eq!(CliError::from(error).exit, exit);
        }
    }

    #[test]
    fn the_cause_is_told_once_and_without_control_characters() {
        let error = CliError::from(StoreError::Full(Box::new(io::Error::other("a\u{1b}[2Jb"))));
        let message = error.message().unwrap();
        assert_eq!(message.matches("disk is full").count(), 1);
        assert!(message.contains(r"a\x1b[2Jb"), "{message}");
        assert!(!message.contains('\u{1b}'));
    }

    #[test]
    fn of_what_sqlite_says_twice_the_number_is_kept() {
        let numbered = io::Error::other("Error code 4874: disk I/O error");
        let told =
            CliError::new(Exit::STORE, "cannot open q.db: disk I/O error").because(&numbered);
        let message = told.message().unwrap();
        assert_eq!(message, "cannot open q.db: disk I/O error (SQLite code 4874)");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit, Exit::DONE);
        assert_eq!(error.message(), None);
    }
}
