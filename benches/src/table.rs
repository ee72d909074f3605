//! One table, the same on the terminal and in the files that are kept: Markdown with padded cells.

use crate::measure::{Goal, Outcome};

/// The columns' heads with the widths of their cells.
const COLUMNS: [(&str, usize); 8] = [
    ("measure", 44),
    ("durability", 10),
    ("unit", 11),
    ("ours", 27),
    ("against", 33),
    ("its figure", 27),
    ("ratio", 20),
    ("to reach", 16),
];

/// The head of the table, two lines.
pub fn head() -> String {
    let rule = COLUMNS.map(|(_, width)| "-".repeat(width));
    format!("{}\n{}", line(COLUMNS.map(|(head, _)| head.to_owned())), line(rule))
}

/// The line of one figure. `judged`: say also whether what is to be reached is.
pub fn row(outcome: &Outcome, judged: bool) -> String {
    let (against, theirs) = match &outcome.baseline {
        Some((name, spread)) => (name.clone(), spread.to_string()),
        None => Default::default(),
    };
    let ratio = outcome.ratio.map(|ratio| {
        let [median, min, max] = [ratio.median, ratio.min, ratio.max];
        format!("{median:.2} ({min:.2}..{max:.2})")
    });
    let goal = outcome.goal.map(|goal| {
        let goal = match goal {
            Goal::RatioAtLeast(bound) => format!("≥ {bound} x"),
            Goal::RatioAtMost(bound) => format!("≤ {bound} x"),
            Goal::AtLeast(bound) => format!("≥ {bound}"),
            Goal::AtMost(bound) => format!("≤ {bound}"),
        };
        match outcome.is_reached().filter(|_| judged) {
            Some(true) => format!("{goal}: yes"),
            Some(false) => format!("{goal}: **no**"),
            None => goal,
        }
    });
    line([
        outcome.name.clone(),
        outcome.durability.to_string(),
        outcome.unit.to_string(),
        outcome.ours.to_string(),
        against,
        theirs,
        ratio.unwrap_or_default(),
        goal.unwrap_or_default(),
    ])
}

fn line(cells: [String; COLUMNS.len()]) -> String {
    let mut text = String::from("|");
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        text.push_str(&format!(" {cell:width$} |"));
    }
    text
}
