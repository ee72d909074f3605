//! One table, the same on the terminal and in the files that are kept: Markdown with padded cells.

use crate::measure::Outcome;

/// The columns' heads with the widths of their cells.
const COLUMNS: [(&str, usize); 6] = [
    ("measure", 32),
    ("durability", 10),
    ("ours, jobs/s", 27),
    ("against", 33),
    ("jobs/s", 27),
    ("ratio", 20),
];

/// The head of the table, two lines.
pub fn head() -> String {
    let rule = COLUMNS.map(|(_, width)| "-".repeat(width));
    format!("{}\n{}", line(COLUMNS.map(|(head, _)| head.to_owned())), line(rule))
}

/// The line of one measure.
pub fn row(outcome: &Outcome) -> String {
    let ratio = outcome.ratio.map(|[median, min, max]| format!("{median:.2} ({min:.2}..{max:.2})"));
    line([
        outcome.name.clone(),
        outcome.durability.to_string(),
        outcome.ours.to_string(),
        outcome.against.clone(),
        outcome.baseline.map(|spread| spread.to_string()).unwrap_or_default(),
        ratio.unwrap_or_default(),
    ])
}

fn line(cells: [String; 6]) -> String {
    let mut text = String::from("|");
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        text.push_str(&format!(" {cell:width$} |"));
    }
    text
}
