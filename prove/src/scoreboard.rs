//! What a proof has counted, and how it is shown.

use std::fmt;
use std::time::Duration;

/// What one kind of proof has done and found.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// What was tried: `simulation`, `kill storm`.
    pub(crate) name: &'static str,
    /// How much of it, in the order in which it is shown: `("kills", "3,000")`.
    pub(crate) figures: Vec<(&'static str, String)>,
    /// What it consisted of; shown on request.
    pub(crate) details: Vec<String>,
    /// Each broken promise, with what is needed to see it again.
    pub(crate) violations: Vec<String>,
    /// Why it could not be tried on this machine, or not all of it.
    pub(crate) skipped: Option<String>,
    pub(crate) took: Duration,
}

/// How the line of a broken promise begins.
pub(crate) const VIOLATION: &str = "  - ";

impl Score {
    pub(crate) fn new(name: &'static str) -> Self {
        Score { name, ..Score::default() }
    }

    pub(crate) fn figure(&mut self, what: &'static str, value: impl fmt::Display) {
        self.figures.push((what, value.to_string()));
    }

    /// Whether every promise was kept.
    pub(crate) fn holds(&self) -> bool {
        self.violations.is_empty()
    }
}

/// What was found in how long, and below it what was done:
///
/// ```text
/// kill storm: 0 violations, 31.2 s
///   3,000 kills, 10,346 acknowledged
/// ```
///
/// Each violation follows in a line of its own, after [`VIOLATION`].
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (violations, took) = (self.violations.len(), self.took.as_secs_f64());
        write!(f, "{}: {violations} violations, {took:.1} s", self.name)?;
        let figures: Vec<_> =
            self.figures.iter().map(|(what, value)| format!("{value} {what}")).collect();
        let skipped = self.skipped.as_ref().map(|why| format!("skipped: {why}"));
        for part in [Some(figures.join(", ")), skipped].into_iter().flatten() {
            if !part.is_empty() {
                write!(f, "\n{}", indented(&part))?;
            }
        }
        Ok(())
    }
}

/// The text in lines that a terminal of 80 columns has room for, each two columns in.
pub(crate) fn indented(text: &str) -> String {
    const ROOM: usize = 78;
    let (mut lines, mut len) = (String::from(" "), 1);
    for word in text.split_whitespace() {
        let more = 1 + word.chars().count();
        if len > 1 && len + more > ROOM {
            lines.push_str("\n ");
            len = 1;
        }
        lines.push(' ');
        lines.push_str(word);
        len += more;
    }
    lines
}

/// A number as people read it: `1,000,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let text = indented(&"some words and ".repeat(40));
        assert!(text.lines().all(|line| (60..80).contains(&line.len()) || text.ends_with(line)));
        assert_eq!(indented("word"), "  word");
        // What has no blank is left whole.
        assert_eq!(indented(&format!("a {}", "b".repeat(100))).lines().count(), 2);
    }

    #[test]
    fn numbers_have_commas() {
        let texts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
