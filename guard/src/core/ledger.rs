//! Which bans there are: the one truth that store and kernel follow.
//!
//! Input: cleared bans, unbans, time. Output: [`Delta`]s. Invariants: one ban for each
//! jail and source; every ban went through [`Cleared`]; each change has a serial.
//!
//! There may be a million, nearly all of them of single IPv4 addresses. Those take 40 bytes
//! each and 16 more for their end, in trees: a tree that is built at once, from what was
//! stored, has no room to spare, and is built in the order of memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use crate::core::addr::Prefix;
use crate::core::allow::Cleared;
use crate::core::delta::{Ban, Terms};
use crate::core::jail::JailId;
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};

#[cfg(doc)]
use crate::core::delta::Delta;

/// All bans in force.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Single IPv4 addresses, but for those whose terms are not [`Compact`].
    addresses: Shelf<u32, Compact>,
    /// All others.
    others: Shelf<Prefix, Terms>,
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
        let present = self.terms(jail, source);
        let terms = match present {
            Some(present) if !ends_later(terms.until, present.until) => return Entered::Unchanged,
            Some(present) => Terms { since: present.since, ..terms },
            None => terms,
        };
        if present.is_some() {
            self.take(jail, source);
        }
        match place(source, &terms) {
            Ok((address, compact)) => self.addresses.put(address, jail, compact),
            Err(source) => self.others.put(source, jail, terms),
        }
        self.serial += 1;
        let ban = terms.of(jail, source);
        if present.is_some() { Entered::Prolonged(ban) } else { Entered::New(ban) }
    }

    /// Ends a ban; whether there was one.
    pub fn unban(&mut self, jail: JailId, source: Prefix) -> bool {
        let there = self.take(jail, source);
        self.serial += u64::from(there);
        there
    }

    /// Ends one ban whose time is over at `now`, if there is one.
    pub fn expire_one(&mut self, now: Timestamp) -> Option<(JailId, Prefix)> {
        let (end, jail, source) = self.next()?;
        if end > now {
            return None;
        }
        self.unban(jail, source);
        Some((jail, source))
    }

    /// When the next ban ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.next().map(|(end, _, _)| end)
    }

    /// The ban of a source in a jail.
    pub fn find(&self, jail: JailId, source: Prefix) -> Option<Ban> {
        self.terms(jail, source).map(|terms| terms.of(jail, source))
    }

    /// The bans of a jail around a source that are wider than it, the longest prefix first.
    pub fn around(&self, jail: JailId, source: Prefix) -> impl Iterator<Item = Ban> {
        let wider = (0..source.length()).rev();
        let around = wider.filter_map(move |length| Prefix::new(source.address(), length).ok());
        around.filter_map(move |prefix| self.find(jail, prefix))
    }

    /// Every ban, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Ban> {
        let addresses = self.addresses.bans.iter();
        let others = self.others.bans.iter();
        addresses
            .map(|(&(address, jail), compact)| compact.terms().of(jail, prefix(address)))
            .chain(others.map(|(&(source, jail), terms)| terms.of(jail, source)))
    }

    /// How many bans there are.
    pub fn len(&self) -> usize {
        self.addresses.bans.len() + self.others.bans.len()
    }

    /// Whether there is no ban.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of the last change.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    fn terms(&self, jail: JailId, source: Prefix) -> Option<Terms> {
        let compact = || self.addresses.bans.get(&(address(source)?, jail));
        let other = || self.others.bans.get(&(source, jail)).copied();
        compact().map(Compact::terms).or_else(other)
    }

    fn take(&mut self, jail: JailId, source: Prefix) -> bool {
        address(source).is_some_and(|address| self.addresses.take(address, jail))
            || self.others.take(source, jail)
    }

    /// The ban that ends first.
    fn next(&self) -> Option<(Timestamp, JailId, Prefix)> {
        let first = self.addresses.by_end.first();
        let first = first.map(|&(end, address, jail)| (end, jail, prefix(address)));
        let other = self.others.by_end.first();
        let other = other.map(|&(end, source, jail)| (end, jail, source));
        first.into_iter().chain(other).min()
    }
}

/// A ledger that is filled at once, with what was stored.
#[derive(Debug, Default)]
pub struct Filling {
    addresses: Vec<((u32, JailId), Compact)>,
    others: Vec<((Prefix, JailId), Terms)>,
}

impl Filling {
    /// Bans a cleared source in a jail, each at most once.
    pub fn ban(&mut self, jail: JailId, cleared: Cleared, terms: Terms) {
        match place(cleared.source(), &terms) {
            Ok((address, compact)) => self.addresses.push(((address, jail), compact)),
            Err(source) => self.others.push(((source, jail), terms)),
        }
    }

    /// The ledger.
    pub fn done(self) -> Ledger {
        let (addresses, others) = (Shelf::of(self.addresses), Shelf::of(self.others));
        let mut ledger = Ledger { addresses, others, serial: 0 };
        ledger.serial = u64::try_from(ledger.len()).unwrap_or(u64::MAX);
        ledger
    }
}

/// Bans by source and jail, and by their end.
#[derive(Clone, Debug)]
struct Shelf<S, T> {
    bans: BTreeMap<(S, JailId), T>,
    /// Those that end.
    by_end: BTreeSet<(Timestamp, S, JailId)>,
}

impl<S, T> Default for Shelf<S, T> {
    fn default() -> Self {
        Self { bans: BTreeMap::new(), by_end: BTreeSet::new() }
    }
}

impl<S: Copy + Ord, T: Ends> Shelf<S, T> {
    fn of(bans: Vec<((S, JailId), T)>) -> Self {
        let end = |((source, jail), terms): &((S, JailId), T)| Some((terms.end()?, *source, *jail));
        let by_end = bans.iter().filter_map(end).collect();
        Self { bans: bans.into_iter().collect(), by_end }
    }

    fn put(&mut self, source: S, jail: JailId, terms: T) {
        if let Some(end) = terms.end() {
            self.by_end.insert((end, source, jail));
        }
        self.bans.insert((source, jail), terms);
    }

    fn take(&mut self, source: S, jail: JailId) -> bool {
        let Some(terms) = self.bans.remove(&(source, jail)) else { return false };
        if let Some(end) = terms.end() {
            self.by_end.remove(&(end, source, jail));
        }
        true
    }
}

/// Terms that say when they end.
trait Ends {
    fn end(&self) -> Option<Timestamp>;
}

impl Ends for Terms {
    fn end(&self) -> Option<Timestamp> {
        self.until
    }
}

impl Ends for Compact {
    fn end(&self) -> Option<Timestamp> {
        (self.until != NEVER).then_some(self.until)
    }
}

/// [`Terms`] in half the space.
#[derive(Clone, Copy, Debug)]
struct Compact {
    since: Timestamp,
    /// [`NEVER`] is never.
    until: Timestamp,
    reason: CompactReason,
}

/// No ban ends then: what would be later than this saturates to it.
const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// [`Reason`], but for failures of others than who is banned.
#[derive(Clone, Copy, Debug)]
enum CompactReason {
    Failures { count: u32, within: Span },
    Manual { forced: bool },
}

impl Compact {
    fn of(terms: &Terms) -> Option<Self> {
        let reason = match terms.reason {
            Reason::Failures { count, within, last: None } => {
                CompactReason::Failures { count, within }
            }
            Reason::Failures { last: Some(_), .. } => return None,
            Reason::Manual { forced } => CompactReason::Manual { forced },
        };
        Some(Self { since: terms.since, until: terms.until.unwrap_or(NEVER), reason })
    }

    fn terms(&self) -> Terms {
        let reason = match self.reason {
            CompactReason::Failures { count, within } => {
                Reason::Failures { count, within, last: None }
            }
            CompactReason::Manual { forced } => Reason::Manual { forced },
        };
        Terms { since: self.since, until: self.end(), reason }
    }
}

/// Where a ban belongs: to the addresses, with these terms, or to the others.
fn place(source: Prefix, terms: &Terms) -> Result<(u32, Compact), Prefix> {
    address(source).zip(Compact::of(terms)).ok_or(source)
}

/// A source that is one IPv4 address.
fn address(source: Prefix) -> Option<u32> {
    match source.address() {
        IpAddr::V4(address) if source.is_host() => Some(address.to_bits()),
        _ => None,
    }
}

fn prefix(address: u32) -> Prefix {
    Prefix::from(Ipv4Addr::from_bits(address))
}

/// Whether a ban until `a` lasts longer than one until `b`; `None` is for ever.
fn ends_later(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    match (a, b) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
    }
}

#[cfg(test)]
mod tests;
