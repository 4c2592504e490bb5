//! Banned prefixes of one jail and family, and which of them the kernel's set holds.
//!
//! An interval set takes no elements that overlap, so the set holds the outermost
//! prefixes alone: they cover what lies in them. Input: prefixes that come and go.
//! Output: what changes in the set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::core::addr::Prefix;

/// All banned prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nets(BTreeSet<Prefix>);

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
    pub(super) fn insert(&mut self, prefix: Prefix, turnover: &mut Turnover) -> bool {
        if self.0.contains(&prefix) {
            return false;
        }
        if !covers(&self.0, prefix) {
            self.outermost_within(prefix).for_each(|inner| turnover.note(inner, false));
            turnover.note(prefix, true);
        }
        self.0.insert(prefix)
    }

    /// Removes a prefix; `false` when it was not there.
    pub(super) fn remove(&mut self, prefix: Prefix, turnover: &mut Turnover) -> bool {
        if !self.0.remove(&prefix) {
            return false;
        }
        if !covers(&self.0, prefix) {
            turnover.note(prefix, false);
            self.outermost_within(prefix).for_each(|inner| turnover.note(inner, true));
        }
        true
    }

    /// All prefixes, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Prefix> {
        self.0.iter().copied()
    }

    /// What the kernel's set is to hold.
    pub(super) fn outermost(&self) -> impl Iterator<Item = Prefix> {
        outermost(self.iter())
    }

    /// The outermost of those that lie in a prefix.
    fn outermost_within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        // A prefix sorts right before those that lie in it.
        let within = self.0.range(prefix..).copied();
        outermost(within.take_while(move |other| prefix.contains(other)))
    }
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
    use std::collections::HashSet;

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

    proptest! {
        #[test]
        fn the_set_holds_the_outermost_at_all_times(
            batches in prop::collection::vec(
                prop::collection::vec((any::<bool>(), prefix()), 0..6), 0..12),
        ) {
            let mut nets = Nets::default();
            let mut kernel: HashSet<Prefix> = HashSet::new();
            for batch in batches {
                let mut turnover = Turnover::default();
                for (comes, prefix) in batch {
                    if comes {
                        nets.insert(prefix, &mut turnover);
                    } else {
                        nets.remove(prefix, &mut turnover);
                    }
                }
                for gone in turnover.of(false) {
                    prop_assert!(kernel.remove(&gone), "{gone} was not there");
                }
                for new in turnover.of(true) {
                    prop_assert!(kernel.iter().all(|other| !other.overlaps(&new)), "{new}");
                    kernel.insert(new);
                }
                let outermost: HashSet<Prefix> = nets.outermost().collect();
                prop_assert_eq!(&kernel, &outermost);
                let set: BTreeSet<Prefix> = kernel.iter().copied().collect();
                for one in nets.iter() {
                    prop_assert!(covers(&set, one));
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
