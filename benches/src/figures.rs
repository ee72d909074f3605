//! What is made of several runs: rates, percentiles, and the median and range of them.

use std::fmt;
use std::time::Duration;

/// In what a figure is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Jobs per second: more is better.
    JobsPerSecond,
    /// Milliseconds: less is better, as for all that follow but the last.
    Millis,
    /// Hundredths of the time of one core.
    PercentOfCore,
    /// Resident memory.
    Mebibytes,
    /// The least of several, divided by the greatest: 1 is fair.
    LeastOfMost,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::JobsPerSecond => "jobs/s",
            Unit::Millis => "ms",
            Unit::PercentOfCore => "% of a core",
            Unit::Mebibytes => "MiB",
            Unit::LeastOfMost => "least/most",
        })
    }
}

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

/// Shows three digits that count, and large numbers whole with thousands set apart.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = *self;
        let [median, min, max] = [median, min, max].map(|figure| match figure {
            0.0 => "0".to_owned(),
            ..0.1 => format!("{figure:.4}"),
            ..10.0 => format!("{figure:.2}"),
            ..100.0 => format!("{figure:.1}"),
            _ => thousands(figure.round() as u64),
        });
        f.pad(&format!("{median} ({min}..{max})"))
    }
}

/// Jobs per second.
pub fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

/// A duration in [`Unit::Millis`].
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The figure that so large a part of the others do not exceed: 0.5 is the median, 0.99 what all but
/// one in a hundred stay below. Always one that was measured; zero if there are none.
pub fn percentile(figures: &[f64], part: f64) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let rank = (figures.len() as f64 * part).ceil() as usize;
    figures.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
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
        let spread = Spread::of([300.0, 1_234_567.4, 200.0, 1000.0, 999.0]);
        assert_eq!(spread.to_string(), "999 (200..1,234,567)");
        assert_eq!(Spread::of([0.0123, 4.5678, 12.345]).to_string(), "4.57 (0.0123..12.3)");
        assert_eq!(Spread::of([4.0, 1.0]).median, 1.0);
        assert_eq!(Spread::of([]).median, 0.0);
    }

    #[test]
    fn a_percentile_is_exceeded_by_no_more_than_the_rest() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&[7.0, 9.0], 0.99), 9.0);
        assert_eq!(percentile(&[], 0.99), 0.0);
    }
}
