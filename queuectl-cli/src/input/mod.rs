//! What people and programs hand in, read and checked before anything is done with it.

pub(crate) mod bulk;
pub(crate) mod job_json;
pub(crate) mod job_spec;
pub(crate) mod unique;
pub(crate) mod when;

use crate::error::CliError;

/// What was handed in cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What is wrong: lower case, without a full stop.
    pub(crate) sentence: String,
    /// What to do instead.
    pub(crate) hint: Option<String>,
}

impl Refused {
    /// Refuses for this reason.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Refused { sentence: sentence.into(), hint: None }
    }

    /// Adds what to do instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Refused> for CliError {
    fn from(refused: Refused) -> Self {
        let error = CliError::usage(refused.sentence);
        match refused.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The candidate that was probably meant: the nearest, if it is near.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added or taken away to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_what_was_meant() {
        let fields = ["command", "max_retries", "queue", "id"];
        assert_eq!(nearest("comand", fields), Some("command"));
        assert_eq!(nearest("max-retries", fields), Some("max_retries"));
        assert_eq!(nearest("colour", fields), None);
    }
}
