//! Samples, their summary, and goals.

use std::fmt;
use std::time::Duration;

/// Durations of one kind, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    /// Sorts them.
    pub(crate) fn new(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that `percent` of all do not exceed (nearest rank).
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied()
    }

    /// One line: count, median, 99th percentile and the largest.
    pub(crate) fn line(&self, name: &str) -> String {
        let [median, high, most] =
            [50, 99, 100].map(|percent| self.percentile(percent).map_or("-".to_owned(), millis));
        format!("{name:<28}{:>6}{median:>12}{high:>12}{most:>12}", self.count())
    }

    /// What the columns of [`Samples::line`] are.
    pub(crate) fn header() -> String {
        format!("{:<28}{:>6}{:>12}{:>12}{:>12}", "", "bans", "median", "p99", "max")
    }
}

/// Milliseconds with one decimal.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// A figure, and what it is not to exceed.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    name: &'static str,
    unit: &'static str,
    measured: f64,
    limit: f64,
    /// Whether more is better.
    at_least: bool,
    peer: Option<f64>,
}

impl Goal {
    /// `measured` should be at most `limit`; `peer` is Fail2Ban's.
    pub(crate) fn at_most(
        name: &'static str,
        unit: &'static str,
        measured: f64,
        limit: f64,
        peer: Option<f64>,
    ) -> Self {
        Self { name, unit, measured, limit, at_least: false, peer }
    }

    /// `measured` should be at least `limit`.
    pub(crate) fn at_least(
        name: &'static str,
        unit: &'static str,
        measured: f64,
        limit: f64,
    ) -> Self {
        Self { name, unit, measured, limit, at_least: true, peer: None }
    }

    /// Whether it is reached.
    pub(crate) fn is_met(&self) -> bool {
        if self.at_least { self.measured >= self.limit } else { self.measured <= self.limit }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, unit, measured, limit, at_least, peer } = self;
        let sign = if *at_least { '≥' } else { '≤' };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(formatter, "{name}: {measured:.2} {unit}, goal {sign} {limit} {unit}: {verdict}")?;
        if let Some(peer) = peer {
            write!(formatter, "; Fail2Ban {peer:.2} {unit}, {:.1} times ours", peer / measured)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples = Samples::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(samples.percentile(50), Some(Duration::from_millis(100)));
        assert_eq!(samples.percentile(99), Some(Duration::from_millis(198)));
        assert_eq!(samples.percentile(100), Some(Duration::from_millis(200)));
        let one = Samples::new(vec![Duration::from_millis(7)]);
        assert_eq!(one.percentile(50), Some(Duration::from_millis(7)));
        assert_eq!(Samples::default().percentile(50), None);
    }

    #[test]
    fn a_goal_is_met_at_its_limit_and_missed_above() {
        assert!(Goal::at_most("x", "s", 1.0, 1.0, None).is_met());
        assert!(!Goal::at_most("x", "s", 1.01, 1.0, Some(2.0)).is_met());
        assert!(Goal::at_least("x", "%", 70.0, 70.0).is_met());
        assert!(!Goal::at_least("x", "%", 69.9, 70.0).is_met());
    }
}
