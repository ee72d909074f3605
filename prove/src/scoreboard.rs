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

/// One line: `kill storm: 3,000 kills, 10,346 acknowledged; 0 violations (31.2 s)`.
impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures: Vec<_> =
            self.figures.iter().map(|(what, value)| format!("{value} {what}")).collect();
        write!(f, "{}: {}; {} violations", self.name, figures.join(", "), self.violations.len())?;
        if let Some(why) = &self.skipped {
            write!(f, "; skipped: {why}")?;
        }
        write!(f, " ({:.1} s)", self.took.as_secs_f64())
    }
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
    fn numbers_have_commas() {
        let texts = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
