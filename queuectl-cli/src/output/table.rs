//! Tables: aligned columns under a heading, cut to the width of the terminal, whole in a pipe.

use super::Paint;
use super::display::{truncate, width};

const GAP: &str = "  ";

/// The least that a column is cut to.
const COLUMN_WIDTH_MIN: usize = 8;

/// The least that a column of short texts is cut to, where all else has given what it can: a user may
/// choose ids of 64 characters, and the columns after them matter as well.
const SHORT_WIDTH_MIN: usize = 16;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) name: &'static str,
    /// Whether its cells stand at its right side, as numbers do.
    pub(crate) right: bool,
    /// Whether its cells may be cut.
    pub(crate) flexible: bool,
}

impl Column {
    /// A column of short texts.
    pub(crate) const fn text(name: &'static str) -> Self {
        Column { name, right: false, flexible: false }
    }

    /// A column of numbers.
    pub(crate) const fn number(name: &'static str) -> Self {
        Column { name, right: true, flexible: false }
    }

    /// A column of texts that may be long.
    pub(crate) const fn long(name: &'static str) -> Self {
        Column { name, right: false, flexible: true }
    }
}

/// A cell: text that is safe to print, and its colour.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell(pub(crate) String, pub(crate) Paint);

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell(text.into(), Paint::Plain)
    }
}

/// A table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Table { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The table as text. No line is wider than `limit`, if there is one.
    pub(crate) fn render(&self, limit: Option<usize>, colour: bool) -> String {
        let widths = self.widths(limit);
        let heading: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell(column.name.to_owned(), Paint::Heading))
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&heading).chain(&self.rows) {
            text.push_str(&self.line(row, &widths, limit, colour));
            text.push('\n');
        }
        text
    }

    fn line(&self, row: &[Cell], widths: &[usize], limit: Option<usize>, colour: bool) -> String {
        let mut line = String::new();
        let mut column_start = 0;
        // Spaces are written only before something, so that no line ends with them.
        let mut spaces = 0;
        for (index, Cell(text, paint)) in row.iter().enumerate() {
            let left = limit.map_or(usize::MAX, |limit| limit.saturating_sub(column_start));
            let column_width = widths[index].min(left);
            let text = truncate(text, column_width);
            let pad = column_width.saturating_sub(width(&text));
            let right = self.columns[index].right;
            spaces += if right { pad } else { 0 };
            if !text.is_empty() {
                line.push_str(&" ".repeat(spaces));
                line.push_str(&paint.on(colour, &text));
                spaces = 0;
            }
            spaces += if right { 0 } else { pad } + GAP.len();
            column_start += widths[index] + GAP.len();
        }
        line
    }

    /// The width of each column: what its widest cell takes, less where a column may be cut and the
    /// limit demands it. The widest columns give first, those of short texts last.
    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().map(|row| width(&row[index].0));
                cells.chain([width(self.columns[index].name)]).max().unwrap_or(0)
            })
            .collect();
        let Some(limit) = limit else {
            return widths;
        };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let may_give = |index: usize, width: usize| {
            let Column { right, flexible, .. } = self.columns[index];
            [flexible && width > COLUMN_WIDTH_MIN, !right && width > SHORT_WIDTH_MIN]
        };
        for resort in [0, 1] {
            while widths.iter().sum::<usize>() + gaps > limit {
                let widest = (0..widths.len())
                    .filter(|&index| may_give(index, widths[index])[resort])
                    .max_by_key(|&index| widths[index]);
                match widest {
                    Some(index) => widths[index] -= 1,
                    None => break,
                }
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs() -> Table {
        let mut table = Table::new([
            Column::text("ID"),
            Column::number("N"),
            Column::long("COMMAND"),
            Column::long("ERROR"),
        ]);
        table.row(vec!["q1".into(), "7".into(), "echo hello".into(), Cell::default()]);
        table.row(vec![
            "q2".into(),
            "12".into(),
            "日本語 ".repeat(30).into(),
            "x".repeat(200).into(),
        ]);
        table
    }

    #[test]
    fn columns_are_aligned_and_lines_do_not_end_with_spaces() {
        let text = jobs().render(None, false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("ID   N  COMMAND"), "{text}");
        assert_eq!(lines[1], "q1   7  echo hello");
        assert!(lines[2].ends_with(&"x".repeat(200)), "a pipe gets it whole");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for limit in [0, 1, 5, 20, 40, 80, 200] {
            for line in jobs().render(Some(limit), false).lines() {
                assert!(width(line) <= limit, "{limit}: {line:?}");
            }
        }
        assert!(jobs().render(Some(80), false).contains("echo hello"));
    }

    #[test]
    fn a_long_id_does_not_push_the_other_columns_out() {
        let mut table = jobs();
        table.row(vec!["i".repeat(64).into(), "1".into(), "date".into(), "exit 3".into()]);
        for limit in [40, 60, 80] {
            let text = table.render(Some(limit), false);
            assert!(text.contains("date") && text.contains("exit 3"), "{limit}: {text}");
        }
        assert!(table.render(None, false).contains(&"i".repeat(64)), "a pipe gets it whole");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut table = Table::new([Column::text("STATE"), Column::text("ID")]);
        table.row(vec![Cell("dead".to_owned(), Paint::Bad), "q1".into()]);
        let plain = table.render(Some(80), false);
        assert!(!plain.contains('\u{1b}'));
        let coloured = table.render(Some(80), true);
        let stripped =
            coloured.replace("\u{1b}[31m", "").replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert_eq!(stripped, plain);
    }
}
