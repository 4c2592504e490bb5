//! Counting failures: a true sliding window for each source of one jail.
//!
//! Input: failures in any order, and how far their log has been read. Output: whether
//! enough of them lie within `find_time`, the one that came last among them. So a failure
//! that is read late, because one log lags behind another, is judged with those around
//! it and not by what came since. A failure may weigh more than one.
//!
//! Invariants: a source holds at most [`LAGGING`] times `max_retry` failures, the newest;
//! with logs that are read in order it never holds as many as `max_retry`. When room must
//! be made, the source whose newest failure is oldest goes, since it is the next to fall
//! out of its window.

mod tracked;

use crate::core::addr::Prefix;
use crate::core::time::{Span, Timestamp};
use tracked::Tracked;

/// Times `max_retry` failures of a source that are kept while older ones may still come.
const LAGGING: usize = 4;

/// The failures of every source of one jail that still count.
#[derive(Clone, Debug)]
pub struct Windows {
    find_time: Span,
    max_retry: u32,
    tracked: Tracked,
    /// Failures given up, not for their age, since that was told last.
    given_up: usize,
    /// Working space: the failures of one source.
    failures: Vec<Weighed>,
}

/// One failure: when, and as how many it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weighed {
    time: Timestamp,
    weight: u32,
}

/// What came of one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Not enough yet.
    Below {
        /// Failures before this time fell out of the window, if any did.
        fell_out: Option<Timestamp>,
    },
    /// Enough within the window; the source is no longer tracked.
    Reached {
        /// How many there were; fewer than `max_retry` if some weighed more than one.
        count: u32,
        /// The first of them.
        first: Timestamp,
        /// The last of them.
        last: Timestamp,
    },
}

impl Windows {
    /// A counter that reports `max_retry` failures, at least 1, within `find_time`.
    pub fn new(find_time: Span, max_retry: u32) -> Self {
        Self {
            find_time,
            max_retry: max_retry.max(1),
            tracked: Tracked::new(find_time),
            given_up: 0,
            failures: Vec::new(),
        }
    }

    /// Counts from now on by these. Failures that fell out of a shorter window stay
    /// forgotten, and a source that has more than enough reaches `max_retry` with its
    /// next one.
    pub fn adjust(&mut self, find_time: Span, max_retry: u32) {
        self.find_time = find_time;
        self.max_retry = max_retry.max(1);
    }

    /// Counts one failure as `weight` of them. Two failures exactly `find_time` apart
    /// count together. No failure before `settled` comes any more.
    pub fn count(
        &mut self,
        source: Prefix,
        time: Timestamp,
        weight: u32,
        settled: Timestamp,
    ) -> Counted {
        let most = self.most();
        let failures = &mut self.failures;
        self.tracked.take(&source, failures);
        failures.insert(failures.partition_point(|f| f.time <= time), Weighed { time, weight });
        if let Some(enough) = window(failures, time, self.find_time, self.max_retry) {
            let count = u32::try_from(enough.len()).unwrap_or(u32::MAX);
            let (first, last) = (enough[0].time, enough[enough.len() - 1].time);
            return Counted::Reached { count, first, last };
        }
        let newest = failures.last().map_or(time, |newest| newest.time);
        let horizon = newest.min(settled) - self.find_time;
        let old = failures.partition_point(|f| f.time < horizon);
        let over = failures.len().saturating_sub(most);
        failures.drain(..old.max(over));
        self.given_up += over.saturating_sub(old);
        self.tracked.put(source, failures);
        let fell_out = match failures.first() {
            Some(oldest) if over > old => Some(oldest.time),
            _ => (old > 0).then_some(horizon),
        };
        Counted::Below { fell_out }
    }

    /// Takes back a failure that was counted before. It never reaches `max_retry`, not
    /// even when that was lowered since: then the next failure does.
    pub fn restore(&mut self, source: Prefix, time: Timestamp, weight: u32) {
        if self.max_retry == 1 {
            return;
        }
        let most = self.most();
        let failures = &mut self.failures;
        self.tracked.take(&source, failures);
        let weight = weight.min(self.max_retry - 1);
        failures.insert(failures.partition_point(|f| f.time <= time), Weighed { time, weight });
        while let Some(enough) = window(failures, time, self.find_time, self.max_retry) {
            let first = enough[0];
            let place = failures.partition_point(|failure| failure.time < first.time);
            failures.remove(place);
        }
        let over = failures.len().saturating_sub(most);
        failures.drain(..over);
        self.tracked.put(source, failures);
    }

    /// Every failure that is kept: whose, when, and as how many it counts.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, Timestamp, u32)> {
        let of_all = self.tracked.iter();
        of_all.map(|(source, failure)| (source, failure.time, failure.weight))
    }

    /// Makes room: gives up the source whose newest failure is oldest, if there is any.
    pub fn evict(&mut self) -> Option<Prefix> {
        let source = self.tracked.oldest()?;
        self.tracked.remove(&source);
        Some(source)
    }

    /// How many failures of sources that go on to be tracked were given up for room since
    /// this was asked last.
    pub fn given_up(&mut self) -> usize {
        std::mem::take(&mut self.given_up)
    }

    /// Forgets a source; whether it was tracked.
    pub fn forget(&mut self, source: &Prefix) -> bool {
        self.tracked.remove(source)
    }

    /// Forgets one source whose newest failure is before `horizon`, if there is one. It may
    /// leave those who failed shortly before, a 4,096th part of the window or a second.
    pub fn expire_one(&mut self, horizon: Timestamp) -> Option<Prefix> {
        let source = self.tracked.oldest_before(horizon)?;
        self.tracked.remove(&source);
        Some(source)
    }

    /// When a source failed, newest first.
    pub fn times(&self, source: &Prefix) -> impl Iterator<Item = Timestamp> {
        self.tracked.of(source).map(|weighed| weighed.time)
    }

    /// Sources with a failure at or after `horizon`.
    pub fn failing_since(&self, horizon: Timestamp) -> usize {
        self.tracked.since(horizon)
    }

    /// Failures of a source that are kept.
    fn most(&self) -> usize {
        usize::try_from(self.max_retry).unwrap_or(usize::MAX).saturating_mul(LAGGING)
    }

    /// How many sources are tracked.
    pub fn sources(&self) -> usize {
        self.tracked.len()
    }

    /// How many failures of theirs are kept.
    pub fn failures(&self) -> usize {
        self.tracked.failures()
    }
}

/// The first failures within `find_time` that weigh `enough`, one at `time` among them.
fn window(
    failures: &[Weighed],
    time: Timestamp,
    find_time: Span,
    enough: u32,
) -> Option<&[Weighed]> {
    let first = failures.partition_point(|f| f.time < time - find_time);
    let (mut end, mut weight) = (first, 0_u64);
    for (start, begin) in failures.iter().enumerate().skip(first) {
        if begin.time > time {
            break;
        }
        while let Some(next) = failures.get(end).filter(|next| next.time - begin.time <= find_time)
        {
            weight += u64::from(next.weight);
            end += 1;
        }
        if weight >= u64::from(enough) {
            return failures.get(start..end);
        }
        weight -= u64::from(begin.weight);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn source(n: u8) -> Prefix {
        Prefix::from(Ipv4Addr::new(192, 0, 2, n))
    }

    /// All that came before has been read.
    const LAST: Timestamp = Timestamp::from_seconds(1 << 32);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_window_slides() {
        // One failure every 160 s: a window of 600 s never holds five of them.
        let mut windows = Windows::new(Span::from_seconds(600), 5);
        for i in 0..50 {
            let fell_out = (i >= 4).then(|| at(i * 160 - 600));
            assert_eq!(windows.count(source(1), at(i * 160), 1, LAST), Counted::Below { fell_out });
        }
        // One every 150 s: the fifth lies exactly 600 s after the first.
        let mut windows = Windows::new(Span::from_seconds(600), 5);
        for i in 0..4 {
            let below = Counted::Below { fell_out: None };
            assert_eq!(windows.count(source(1), at(i * 150), 1, LAST), below);
        }
        let reached = Counted::Reached { count: 5, first: at(0), last: at(600) };
        assert_eq!(windows.count(source(1), at(600), 1, LAST), reached);
        let below = Counted::Below { fell_out: None };
        assert_eq!(windows.count(source(1), at(601), 1, LAST), below, "counting begins anew");
    }

    #[test]
    fn the_source_that_failed_longest_ago_goes_first() {
        let mut windows = Windows::new(Span::from_seconds(600), 3);
        for (n, time) in [(1, 10), (2, 20), (1, 30), (3, 40)] {
            windows.count(source(n), at(time), 1, LAST);
        }
        assert_eq!(windows.failures(), 4);
        assert_eq!(windows.evict(), Some(source(2)));
        assert_eq!((windows.sources(), windows.failures()), (2, 3));
        assert_eq!(windows.failing_since(at(31)), 1);
        assert_eq!([windows.evict(), windows.evict()], [Some(source(1)), Some(source(3))]);
        assert_eq!(windows.evict(), None);
    }

    #[test]
    fn a_failure_that_weighs_more_is_as_good_as_several() {
        let mut windows = Windows::new(Span::from_seconds(600), 5);
        let below = Counted::Below { fell_out: None };
        assert_eq!(windows.count(source(1), at(0), 2, LAST), below);
        assert_eq!(windows.count(source(2), at(0), 1, LAST), below);
        assert_eq!(windows.count(source(1), at(1), 2, LAST), below);
        let reached = Counted::Reached { count: 3, first: at(0), last: at(2) };
        assert_eq!(windows.count(source(1), at(2), 2, LAST), reached);
        windows.restore(source(2), at(3), 9);
        let reached = Counted::Reached { count: 2, first: at(3), last: at(4) };
        assert_eq!(windows.count(source(2), at(4), 1, LAST), reached, "not by being restored");
    }

    #[test]
    fn a_failure_that_is_read_late_is_judged_with_those_around_it() {
        // One log is an hour behind the other.
        let (below, settled) = (Counted::Below { fell_out: None }, at(0));
        let mut windows = Windows::new(Span::from_seconds(600), 3);
        assert_eq!(windows.count(source(1), at(3_600), 1, settled), below);
        for time in [0, 3_610, 10] {
            assert_eq!(windows.count(source(1), at(time), 1, settled), below);
        }
        let reached = Counted::Reached { count: 3, first: at(0), last: at(20) };
        assert_eq!(windows.count(source(1), at(20), 1, settled), reached);
        // Once the log is read further, they are no more than old.
        for time in [3_600, 0, 10] {
            assert_eq!(windows.count(source(2), at(time), 1, settled), below);
        }
        let below = Counted::Below { fell_out: Some(at(3_000)) };
        assert_eq!(windows.count(source(2), at(3_601), 1, at(3_600)), below);
        assert_eq!(windows.times(&source(2)).count(), 2);
    }

    #[test]
    fn what_waits_for_older_failures_is_bounded() {
        let mut windows = Windows::new(Span::from_seconds(1), 2);
        for i in 0..100 {
            let fell_out = (i >= 8).then(|| at(i * 10 - 70));
            let counted = windows.count(source(1), at(i * 10), 1, at(0));
            assert_eq!(counted, Counted::Below { fell_out });
            assert_eq!(windows.given_up(), usize::from(i >= 8), "of the {i}th");
        }
        // What is merely too old is not given up, be it as many.
        for i in 100..200 {
            windows.count(source(2), at(i * 10), 1, at(i * 10));
        }
        assert_eq!((windows.times(&source(2)).count(), windows.given_up()), (1, 0));
        assert_eq!(windows.times(&source(1)).count(), 8);
    }

    /// The rule in its plainest form, for failures that never come before `settled`: all
    /// of them, none forgotten by bookkeeping but the oldest of very many.
    fn naive(times: &mut Vec<i64>, time: i64, find_time: i64, max_retry: usize) -> bool {
        times.push(time);
        times.sort_unstable();
        let reached = times.iter().any(|&first| {
            let within = first..=first + find_time;
            within.contains(&time)
                && times.iter().filter(|time| within.contains(time)).count() >= max_retry
        });
        if reached {
            times.clear();
        }
        let over = times.len().saturating_sub(LAGGING * max_retry);
        times.drain(..over);
        reached
    }

    proptest! {
        #[test]
        fn as_the_naive_model(
            find_time in 1i64..50, max_retry in 1u32..6,
            failures in prop::collection::vec((0u8..4, 0i64..60, 0i64..4), 0..80),
        ) {
            let mut windows = Windows::new(Span::from_seconds(find_time), max_retry);
            let mut model: HashMap<u8, Vec<i64>> = HashMap::new();
            let mut settled = 0;
            for (n, ahead, step) in failures {
                settled += step;
                let time = settled + ahead;
                let expected = naive(
                    model.entry(n).or_default(), time, find_time, max_retry as usize);
                let counted = windows.count(source(n), at(time), 1, at(settled));
                prop_assert_eq!(matches!(counted, Counted::Reached { .. }), expected);
            }
        }
    }
}
