//! Banned prefixes of one jail and family, and which elements the kernel's set holds.
//!
//! An interval set takes no elements that overlap, so the set holds the outermost prefixes
//! alone: they cover what lies in them. Where somebody is allowed inside of one, it holds
//! the parts around that instead, and what is banned inside of what is allowed (that was
//! by force). Input: prefixes that come and go. Output: what changes in the set.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use crate::core::addr::Prefix;

/// All banned prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nets(BTreeSet<Prefix>);

/// Who is let through inside of what is banned.
pub(super) type Allowed = BTreeSet<Prefix>;

/// What changes in a set of elements: those that come (`true`) and those that go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turnover(BTreeMap<Prefix, bool>);

impl Turnover {
    fn note(&mut self, element: Prefix, comes: bool) {
        // What comes and goes again, or goes and comes again, does not change.
        if self.0.insert(element, comes) == Some(!comes) {
            self.0.remove(&element);
        }
    }

    fn exchange(&mut self, before: Vec<Prefix>, after: Vec<Prefix>) {
        before.into_iter().for_each(|element| self.note(element, false));
        after.into_iter().for_each(|element| self.note(element, true));
    }

    /// Those that come, or those that go, in order.
    pub(super) fn of(&self, come: bool) -> Vec<Prefix> {
        let chosen = self.0.iter().filter(|(_, comes)| **comes == come);
        chosen.map(|(element, _)| *element).collect()
    }
}

impl FromIterator<Prefix> for Nets {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        Self(prefixes.into_iter().collect())
    }
}

impl Nets {
    /// Adds a prefix; `false` when it was there.
    pub(super) fn insert(
        &mut self,
        prefix: Prefix,
        allowed: &Allowed,
        turnover: &mut Turnover,
    ) -> bool {
        self.change(prefix, allowed, turnover, |bans| bans.insert(prefix))
    }

    /// Removes a prefix; `false` when it was not there.
    pub(super) fn remove(
        &mut self,
        prefix: Prefix,
        allowed: &Allowed,
        turnover: &mut Turnover,
    ) -> bool {
        self.change(prefix, allowed, turnover, |bans| bans.remove(&prefix))
    }

    fn change(
        &mut self,
        prefix: Prefix,
        allowed: &Allowed,
        turnover: &mut Turnover,
        change: impl FnOnce(&mut BTreeSet<Prefix>) -> bool,
    ) -> bool {
        let region = self.region(prefix);
        if region != prefix && !covers(allowed, prefix) {
            // What is around covers it before and after.
            return change(&mut self.0);
        }
        let before = self.elements_within(region, allowed);
        let changed = change(&mut self.0);
        if changed {
            let after = self.elements_within(region, allowed);
            turnover.exchange(before, after);
        }
        changed
    }

    /// Takes note of a prefix that is in the set already.
    pub(super) fn note(&mut self, prefix: Prefix) {
        self.0.insert(prefix);
    }

    /// Takes back that a prefix was banned, or was not any more.
    pub(super) fn forget(&mut self, prefix: Prefix, banned: bool) {
        if banned {
            self.0.remove(&prefix)
        } else {
            self.0.insert(prefix)
        };
    }

    /// Takes note that a prefix is allowed from now on, or is not any more.
    pub(super) fn allow(
        &self,
        prefix: Prefix,
        before: &Allowed,
        after: &Allowed,
        turnover: &mut Turnover,
    ) {
        let region = self.region(prefix);
        let elements = |allowed| self.elements_within(region, allowed);
        turnover.exchange(elements(before), elements(after));
    }

    /// All prefixes, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Prefix> {
        self.0.iter().copied()
    }

    /// What the kernel's set is to hold.
    pub(super) fn elements(&self, allowed: &Allowed) -> Vec<Prefix> {
        let mut elements = Vec::new();
        outermost(self.iter()).for_each(|outer| self.cover(outer, allowed, &mut elements));
        elements
    }

    /// The bans that these elements hold: prefixes that they cover, and elements that come
    /// from no prefix that is known.
    pub(super) fn held(&self, elements: &HashSet<Prefix>, allowed: &Allowed) -> Vec<Prefix> {
        let sorted: BTreeSet<Prefix> = elements.iter().copied().collect();
        let covered = |one: &Prefix| {
            let mut parts = Vec::new();
            self.cover(*one, allowed, &mut parts);
            parts.iter().all(|part| covers(&sorted, *part))
        };
        let ours: HashSet<Prefix> = self.elements(allowed).into_iter().collect();
        self.iter().filter(covered).chain(elements.difference(&ours).copied()).collect()
    }

    fn elements_within(&self, region: Prefix, allowed: &Allowed) -> Vec<Prefix> {
        let mut elements = Vec::new();
        let outermost = outermost(within(&self.0, region));
        outermost.for_each(|outer| self.cover(outer, allowed, &mut elements));
        elements
    }

    /// Adds the elements that cover a banned prefix.
    fn cover(&self, banned: Prefix, allowed: &Allowed, elements: &mut Vec<Prefix>) {
        let inside = within(allowed, banned).filter(|one| *one != banned);
        let holes: Vec<Prefix> = outermost(inside).collect();
        around(banned, &holes, elements);
        for hole in holes {
            let by_force = outermost(within(&self.0, hole));
            by_force.for_each(|inner| self.cover(inner, allowed, elements));
        }
    }

    /// The outermost banned prefix around one, or that one.
    fn region(&self, prefix: Prefix) -> Prefix {
        if !covers(&self.0, prefix) {
            return prefix;
        }
        let wider =
            (0..prefix.length()).filter_map(|length| Prefix::new(prefix.address(), length).ok());
        wider.into_iter().find(|wider| self.0.contains(wider)).unwrap_or(prefix)
    }
}

/// Those of a set that lie in a prefix, itself included, in order.
fn within(set: &BTreeSet<Prefix>, prefix: Prefix) -> impl Iterator<Item = Prefix> {
    // A prefix sorts right before those that lie in it.
    let after = set.range(prefix..).copied();
    after.take_while(move |other| prefix.contains(other))
}

/// Adds the prefixes that make up another but for holes in it, which are sorted and beside
/// each other.
fn around(prefix: Prefix, holes: &[Prefix], parts: &mut Vec<Prefix>) {
    match holes {
        [] => parts.push(prefix),
        [hole] if *hole == prefix => {}
        _ => {
            // A hole that is not all of it lies in one half.
            let Some((low, high)) = halves(prefix) else { return };
            let (in_low, in_high) = holes.split_at(holes.partition_point(|hole| *hole < high));
            around(low, in_low, parts);
            around(high, in_high, parts);
        }
    }
}

/// The two halves of a prefix; nothing for a single address.
fn halves(prefix: Prefix) -> Option<(Prefix, Prefix)> {
    let length = prefix.length() + 1;
    let low = Prefix::new(prefix.address(), length).ok()?;
    let high = match prefix.address() {
        IpAddr::V4(first) => IpAddr::from((u32::from(first) | 1 << (32 - length)).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((u128::from(first) | 1 << (128 - length)).to_be_bytes()),
    };
    Some((low, Prefix::new(high, length).ok()?))
}

/// Of sorted prefixes those that lie in no other.
fn outermost(sorted: impl Iterator<Item = Prefix>) -> impl Iterator<Item = Prefix> {
    let mut last: Option<Prefix> = None;
    sorted.filter(move |prefix| {
        let outer = last.is_none_or(|last| !last.contains(prefix));
        if outer {
            last = Some(*prefix);
        }
        outer
    })
}

/// Whether a prefix, or one around it, is among those in a set.
pub(super) fn covers(set: &BTreeSet<Prefix>, prefix: Prefix) -> bool {
    // Of those that sort no later, the last one that does not lie beside it is either
    // around it or there is none: step from neighbour to common prefix.
    let mut at = prefix;
    loop {
        let Some(&candidate) = set.range(..=at).next_back() else { return false };
        if candidate.contains(&prefix) {
            return true;
        }
        let shared = shared(candidate, prefix);
        match shared {
            // What lies between is no wider than what both share.
            Some(shared) if shared < at => at = shared,
            _ => return false,
        }
    }
}

/// The longest prefix around two of one family.
fn shared(a: Prefix, b: Prefix) -> Option<Prefix> {
    let most = a.length().min(b.length());
    let same = match (a.address(), b.address()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
        _ => return None,
    };
    let length = u8::try_from(same).unwrap_or(u8::MAX).min(most);
    Prefix::new(b.address(), length).ok()
}

/// The first address of a range and the one after its last, as numbers; the end is 0
/// when the range goes up to the last address.
pub(super) fn ends(prefix: Prefix) -> (u128, u128) {
    match prefix.address() {
        IpAddr::V4(first) => {
            let first = u128::from(u32::from(first));
            (first, (first + (1 << (32 - prefix.length()))) & 0xffff_ffff)
        }
        IpAddr::V6(first) => {
            let first = u128::from(first);
            let size = 1_u128.checked_shl(128 - u32::from(prefix.length())).unwrap_or(0);
            (first, first.wrapping_add(size))
        }
    }
}

/// The prefix from one address up to before another, if it is one; numbers as in
/// [`ends`].
pub(super) fn of_ends(ipv4: bool, first: u128, end: u128) -> Option<Prefix> {
    let (bits, address) = if ipv4 {
        (32_u8, IpAddr::from(u32::try_from(first).ok()?.to_be_bytes()))
    } else {
        (128, IpAddr::from(first.to_be_bytes()))
    };
    let size = end.wrapping_sub(first) & if ipv4 { 0xffff_ffff } else { u128::MAX };
    let free = if size == 0 { bits } else { u8::try_from(size.trailing_zeros()).ok()? };
    // An address in IPv4's form under IPv6 is no prefix that guard makes.
    let prefix = Prefix::new(address, bits.checked_sub(free)?).ok()?;
    (prefix.address() == address && ends(prefix) == (first, end)).then_some(prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Prefixes that often contain each other.
    fn prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), 0_u8..=8, any::<u8>()).prop_map(|(ipv4, length, bits)| {
            let address = if ipv4 {
                IpAddr::from([bits, 0, 0, 0])
            } else {
                IpAddr::from((u128::from(bits) << 120).to_be_bytes())
            };
            Prefix::new(address, length).expect("a prefix")
        })
    }

    /// Whether the bans cut an address off, by their words.
    fn cut_off(bans: &BTreeSet<Prefix>, allowed: &Allowed, address: Prefix) -> bool {
        bans.iter().filter(|ban| ban.contains(&address)).any(|ban| {
            let inside = |one: &&Prefix| *one != ban && ban.contains(one);
            !allowed.iter().filter(inside).any(|one| one.contains(&address))
        })
    }

    proptest! {
        #[test]
        fn the_set_covers_what_is_cut_off_at_all_times(
            batches in prop::collection::vec(
                prop::collection::vec((0_u8..4, prefix()), 0..6), 0..12),
        ) {
            let mut nets = Nets::default();
            let mut allowed = Allowed::new();
            let mut kernel: BTreeSet<Prefix> = BTreeSet::new();
            for batch in batches {
                let mut turnover = Turnover::default();
                for (what, prefix) in batch {
                    let mut after = allowed.clone();
                    match what {
                        0 => _ = nets.insert(prefix, &allowed, &mut turnover),
                        1 => _ = nets.remove(prefix, &allowed, &mut turnover),
                        2 => _ = after.insert(prefix),
                        _ => _ = after.remove(&prefix),
                    }
                    nets.allow(prefix, &allowed, &after, &mut turnover);
                    allowed = after;
                }
                for gone in turnover.of(false) {
                    prop_assert!(kernel.remove(&gone), "{gone} was not there");
                }
                for new in turnover.of(true) {
                    prop_assert!(kernel.iter().all(|other| !other.overlaps(&new)), "{new}");
                    kernel.insert(new);
                }
                prop_assert_eq!(&kernel, &nets.elements(&allowed).into_iter().collect());
                for bits in 0..=u8::MAX {
                    for address in [
                        IpAddr::from([bits, 0, 0, 0]),
                        IpAddr::from((u128::from(bits) << 120).to_be_bytes()),
                    ] {
                        let address = Prefix::host(address);
                        let expected = cut_off(&nets.0, &allowed, address);
                        prop_assert_eq!(covers(&kernel, address), expected, "{}", address);
                    }
                }
            }
        }

        #[test]
        fn coverage_is_containment(set in prop::collection::btree_set(prefix(), 0..12), one in prefix()) {
            let contained = set.iter().any(|other| other.contains(&one));
            prop_assert_eq!(covers(&set, one), contained);
        }

        #[test]
        fn a_prefix_survives_as_a_range(one in prefix()) {
            let (first, end) = ends(one);
            prop_assert_eq!(of_ends(one.is_ipv4(), first, end), Some(one));
        }
    }

    #[test]
    fn ranges_that_are_no_prefixes() {
        assert_eq!(of_ends(true, 1, 3), None, "not aligned");
        assert_eq!(of_ends(true, 0, 3), None, "no power of two");
        assert_eq!(of_ends(true, 1 << 40, 0), None, "no IPv4 address");
        assert_eq!(of_ends(true, 5, 0), None, "up to the last address");
        assert_eq!(of_ends(false, 0xffff_0000_0000, 0xffff_0000_0100), None, "IPv4 under IPv6");
    }
}
