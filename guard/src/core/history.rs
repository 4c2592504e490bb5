//! What is remembered of bans that are over, so that later ones last longer.
//!
//! Input: bans as they begin. Output: how many earlier ones a source had. Invariants: at
//! most `capacity` sources and jails are remembered; when one too many comes, the one
//! goes that would be forgotten first. A source is forgotten when three times the length
//! of its last ban, and the retention time, went by since that ban began: Fail2Ban's
//! `dbpurgeage` and its factor (`database.py`, `_purge_bips`). Bans for ever are
//! remembered for ever.

use std::collections::{BTreeSet, HashMap};

use crate::core::addr::Prefix;
use crate::core::jail::JailId;
use crate::core::time::{Span, Timestamp};

/// Bans of one source in one jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// How many there were.
    pub count: u32,
    /// When the last one began.
    pub since: Timestamp,
    /// How long the last one was to last; `None` is for ever.
    pub length: Option<Span>,
}

/// A past that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Of a ban in this jail.
    pub jail: JailId,
    /// Whose.
    pub source: Prefix,
    /// Whether it would have been remembered longer, but there are too many.
    pub early: bool,
}

/// The bans of all sources.
#[derive(Clone, Debug)]
pub struct History {
    retention: Span,
    capacity: usize,
    pasts: HashMap<(JailId, Prefix), Past>,
    by_end: BTreeSet<(Timestamp, JailId, Prefix)>,
}

impl History {
    /// Remembers at most `capacity` pasts, each for `retention` beyond its own time.
    pub fn new(retention: Span, capacity: usize) -> Self {
        let (pasts, by_end) = (HashMap::new(), BTreeSet::new());
        Self { retention, capacity: capacity.max(1), pasts, by_end }
    }

    /// What is remembered of a source in a jail.
    pub fn find(&self, jail: JailId, source: Prefix) -> Option<Past> {
        self.pasts.get(&(jail, source)).copied()
    }

    /// Everything that is remembered.
    pub fn iter(&self) -> impl Iterator<Item = (JailId, Prefix, Past)> {
        self.pasts.iter().map(|(&(jail, source), &past)| (jail, source, past))
    }

    /// What is remembered of a source in all of these jails together: the sum of the
    /// counts, and the last ban.
    pub fn sum(&self, jails: impl Iterator<Item = JailId>, source: Prefix) -> Option<Past> {
        jails.filter_map(|jail| self.find(jail, source)).reduce(|a, b| Past {
            count: a.count.saturating_add(b.count),
            since: a.since.max(b.since),
            length: if a.since > b.since { a.length } else { b.length },
        })
    }

    /// Remembers; a past of the same jail and source is replaced.
    pub fn remember(&mut self, jail: JailId, source: Prefix, past: Past) {
        self.forget(jail, source);
        self.by_end.insert((self.end(&past), jail, source));
        self.pasts.insert((jail, source), past);
    }

    /// Forgets; whether there was anything.
    pub fn forget(&mut self, jail: JailId, source: Prefix) -> bool {
        let Some(past) = self.pasts.remove(&(jail, source)) else { return false };
        self.by_end.remove(&(self.end(&past), jail, source));
        true
    }

    /// Forgets one whose time is over, or that is one too many, if there is any.
    pub fn expire_one(&mut self, now: Timestamp) -> Option<Forgotten> {
        let &(end, jail, source) = self.by_end.first()?;
        let early = end >= now;
        if early && self.pasts.len() <= self.capacity {
            return None;
        }
        self.forget(jail, source);
        Some(Forgotten { jail, source, early })
    }

    /// Sources of a jail that are remembered.
    pub fn sources(&self, jail: JailId) -> Vec<Prefix> {
        self.pasts.keys().filter(|(of, _)| *of == jail).map(|(_, source)| *source).collect()
    }

    /// The last moment at which it is remembered.
    fn end(&self, past: &Past) -> Timestamp {
        match past.length {
            Some(length) => past.since + length + length + length + self.retention,
            None => Timestamp::from_micros(i64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAIL: JailId = JailId(0);

    fn source(n: u8) -> Prefix {
        Prefix::from(std::net::Ipv4Addr::new(192, 0, 2, n))
    }

    fn past(since: i64, length: Option<i64>) -> Past {
        let since = Timestamp::from_seconds(since);
        Past { count: 1, since, length: length.map(Span::from_seconds) }
    }

    #[test]
    fn a_past_is_forgotten_after_three_lengths_and_the_retention() {
        let mut history = History::new(Span::from_seconds(1_000), 9);
        history.remember(JAIL, source(1), past(50, Some(10)));
        history.remember(JAIL, source(2), past(50, None));
        assert_eq!(history.expire_one(Timestamp::from_seconds(1_080)), None);
        let over = history.expire_one(Timestamp::from_seconds(1_081));
        assert_eq!(over, Some(Forgotten { jail: JAIL, source: source(1), early: false }));
        assert_eq!(history.expire_one(Timestamp::from_seconds(1 << 40)), None, "for ever");
        assert_eq!(history.find(JAIL, source(1)), None);
        assert_eq!(history.find(JAIL, source(2)), Some(past(50, None)));
    }

    #[test]
    fn one_too_many_makes_the_next_to_be_forgotten_go() {
        let mut history = History::new(Span::ZERO, 2);
        for (n, length) in [(1, 300), (2, 100), (3, 200)] {
            history.remember(JAIL, source(n), past(0, Some(length)));
        }
        let now = Timestamp::from_seconds(1);
        let early = Forgotten { jail: JAIL, source: source(2), early: true };
        assert_eq!(history.expire_one(now), Some(early));
        assert_eq!(history.expire_one(now), None);
    }

    #[test]
    fn all_jails_together() {
        let mut history = History::new(Span::ZERO, 9);
        history.remember(JailId(0), source(1), Past { count: 2, ..past(70, Some(1)) });
        history.remember(JailId(1), source(1), Past { count: 3, ..past(60, Some(9)) });
        history.remember(JailId(1), source(2), past(90, Some(1)));
        let sum = history.sum((0..2).map(JailId), source(1)).expect("a past");
        assert_eq!(sum, Past { count: 5, ..past(70, Some(1)) });
        assert_eq!(history.sum((0..2).map(JailId), source(3)), None);
    }
}
