//! Everything that leaves the program: data on the standard output, everything else on the
//! standard error.

pub(crate) mod display;
pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod time;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::ColorChoice;
use queuectl_core::State;
use serde::Serialize;

use crate::error::CliError;

/// The colours that are used, by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Paint {
    /// As the terminal writes.
    #[default]
    Plain,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Is being worked on, or will be.
    Busy,
    /// Less important.
    Faint,
    /// A heading.
    Heading,
}

impl Paint {
    /// The colour of a state.
    pub(crate) const fn of(state: State) -> Paint {
        match state {
            State::Completed => Paint::Good,
            State::Failed | State::Dead => Paint::Bad,
            State::Processing => Paint::Busy,
            State::Cancelled | State::Blocked => Paint::Faint,
            State::Pending => Paint::Plain,
        }
    }

    /// The text in this colour.
    pub(crate) fn on(self, colour: bool, text: &str) -> String {
        let code = match self {
            _ if !colour => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Good => "32",
            Paint::Bad => "31",
            Paint::Busy => "33",
            Paint::Faint => "2",
            Paint::Heading => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// How to print.
#[derive(Debug)]
pub(crate) struct Ui {
    /// For programs instead of people.
    pub(crate) json: bool,
    /// Whether the standard output takes colour.
    pub(crate) colour: bool,
    /// Whether the standard error takes colour.
    pub(crate) colour_err: bool,
    /// The width that the standard output has, if it is a terminal.
    pub(crate) width: Option<usize>,
}

impl Ui {
    /// Looks at what the standard streams are.
    pub(crate) fn new(json: bool, choice: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color && !dumb,
        };
        Ui {
            json,
            colour: colour(io::stdout().is_terminal()),
            colour_err: colour(io::stderr().is_terminal()),
            width: io::stdout().is_terminal().then(terminal_width),
        }
    }

    /// Whether a person looks at the standard output.
    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Prints data, as it is.
    pub(crate) fn print(&self, text: impl fmt::Display) -> Result<(), CliError> {
        self.print_bytes(text.to_string().as_bytes())
    }

    /// Prints a line of data.
    pub(crate) fn line(&self, text: impl fmt::Display) -> Result<(), CliError> {
        self.print_bytes(format!("{text}\n").as_bytes())
    }

    /// Prints data that is not text.
    pub(crate) fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Prints a JSON document: on one line for programs, indented for people.
    pub(crate) fn document<T: Serialize>(&self, document: &T) -> Result<(), CliError> {
        let text = if self.is_terminal() {
            serde_json::to_string_pretty(document)
        } else {
            serde_json::to_string(document)
        };
        let text = text.map_err(io::Error::other)?;
        self.line(display::json(&text))
    }

    /// Prints one JSON document of many: on one line, wherever that goes.
    pub(crate) fn json_line<T: Serialize>(&self, document: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(document).map_err(io::Error::other)?;
        self.line(display::json(&text))
    }

    /// Says something that is not data.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        to_stderr(format!("{text}\n"));
    }

    /// Says something that is not data to people; programs asked for JSON and get only that.
    pub(crate) fn tell(&self, text: impl fmt::Display) {
        if !self.json {
            self.note(text);
        }
    }

    /// Says a part of something to people, without an end of line.
    pub(crate) fn tell_part(&self, text: impl fmt::Display) {
        if !self.json {
            to_stderr(text.to_string());
        }
    }

    /// Says what went wrong.
    pub(crate) fn error(&self, error: &CliError) {
        if let Some(message) = error.message() {
            self.note(format_args!("{} {message}", Paint::Bad.on(self.colour_err, "error:")));
        }
    }
}

/// Writes all of a text at once: the lines of threads and processes that share a log do not mix. That
/// nobody listens is no reason to stop.
pub(crate) fn to_stderr(text: String) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn terminal_width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns
        .or_else(|| {
            let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
            Some(usize::from(size.ws_col))
        })
        .filter(|&columns| columns > 0)
        .unwrap_or(80)
}
