//! Which bans there are: the one truth that store and kernel follow.
//!
//! Input: cleared bans, unbans, time. Output: [`Delta`]s. Invariants: one ban for each
//! jail and source; every ban went through [`Cleared`]; each change has a serial.

use std::collections::{BTreeSet, HashMap};

use crate::core::addr::Prefix;
use crate::core::allow::Cleared;
use crate::core::delta::{Ban, Terms};
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// All bans in force.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    bans: HashMap<(JailId, Prefix), Terms>,
    by_end: BTreeSet<(Timestamp, JailId, Prefix)>,
    serial: u64,
}

/// What came of a wish to ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// The ban is new.
    New(Ban),
    /// There was one, which now ends later.
    Prolonged(Ban),
    /// There was one that ends no sooner.
    Unchanged,
}

impl Ledger {
    /// Bans a cleared source in a jail; a ban that is there is only ever prolonged.
    pub fn ban(&mut self, jail: JailId, cleared: Cleared, terms: Terms) -> Entered {
        let source = cleared.source();
        let until = terms.until;
        let present = self.bans.get(&(jail, source)).copied();
        let terms = match present {
            Some(present) if !ends_later(until, present.until) => return Entered::Unchanged,
            Some(present) => Terms { since: present.since, ..terms },
            None => terms,
        };
        if let Some(end) = present.and_then(|present| present.until) {
            self.by_end.remove(&(end, jail, source));
        }
        if let Some(end) = until {
            self.by_end.insert((end, jail, source));
        }
        self.bans.insert((jail, source), terms);
        self.serial += 1;
        let ban = terms.of(jail, source);
        if present.is_some() { Entered::Prolonged(ban) } else { Entered::New(ban) }
    }

    /// Ends a ban; whether there was one.
    pub fn unban(&mut self, jail: JailId, source: Prefix) -> bool {
        let Some(terms) = self.bans.remove(&(jail, source)) else { return false };
        if let Some(end) = terms.until {
            self.by_end.remove(&(end, jail, source));
        }
        self.serial += 1;
        true
    }

    /// Ends one ban whose time is over at `now`, if there is one.
    pub fn expire_one(&mut self, now: Timestamp) -> Option<(JailId, Prefix)> {
        let &(end, jail, source) = self.by_end.first()?;
        if end > now {
            return None;
        }
        self.unban(jail, source);
        Some((jail, source))
    }

    /// When the next ban ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|&(end, _, _)| end)
    }

    /// The ban of a source in a jail.
    pub fn find(&self, jail: JailId, source: Prefix) -> Option<Ban> {
        self.bans.get(&(jail, source)).map(|terms| terms.of(jail, source))
    }

    /// The bans of a jail around a source that are wider than it, the longest prefix first.
    pub fn around(&self, jail: JailId, source: Prefix) -> impl Iterator<Item = Ban> {
        let wider = (0..source.length()).rev();
        let around = wider.filter_map(move |length| Prefix::new(source.address(), length).ok());
        around.filter_map(move |prefix| self.find(jail, prefix))
    }

    /// Every ban, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Ban> {
        self.bans.iter().map(|(&(jail, source), terms)| terms.of(jail, source))
    }

    /// How many bans there are.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there is no ban.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// Number of the last change.
    pub fn serial(&self) -> u64 {
        self.serial
    }
}

/// Whether a ban until `a` lasts longer than one until `b`; `None` is for ever.
fn ends_later(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    match (a, b) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
    }
}
