//! What is made of several runs: rates, and the median and range of them.

use std::fmt;
use std::time::Duration;

/// The median of some figures, with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median; of an even number of figures, the lower of the two in the middle: a figure that
    /// was really measured.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `figures`; all zero if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        Spread {
            median: at(figures.len().saturating_sub(1) / 2),
            min: at(0),
            max: at(figures.len().saturating_sub(1)),
        }
    }
}

/// Shows a spread as whole numbers with thousands set apart.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = *self;
        let [median, min, max] = [median, min, max].map(|figure| thousands(figure.round() as u64));
        f.pad(&format!("{median} ({min}..{max})"))
    }
}

/// Jobs per second.
pub fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

fn thousands(mut n: u64) -> String {
    let mut groups = Vec::new();
    while n >= 1000 {
        groups.push(format!("{:03}", n % 1000));
        n /= 1000;
    }
    groups.push(n.to_string());
    groups.reverse();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1_234_567.4, 2.0, 1000.0, 999.0]);
        assert_eq!(spread.to_string(), "999 (2..1,234,567)");
        assert_eq!(Spread::of([4.0, 1.0]).median, 1.0);
        assert_eq!(Spread::of([]).median, 0.0);
    }
}
