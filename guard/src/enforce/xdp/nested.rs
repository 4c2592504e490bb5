//! Prefixes that lie in each other: which are around one, and which within it.

use std::collections::BTreeMap;

use crate::core::addr::Prefix;

/// A value for each of some prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Nested<V> {
    entries: BTreeMap<Prefix, V>,
    /// How many of them have which length: most look-ups need not be made.
    lengths: BTreeMap<(bool, u8), usize>,
}

impl<V> Default for Nested<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<V> Nested<V> {
    /// Sets the value of a prefix; gives the one before.
    pub(super) fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        let before = self.entries.insert(prefix, value);
        if before.is_none() {
            *self.lengths.entry(kind(prefix)).or_insert(0) += 1;
        }
        before
    }

    /// Takes a prefix out; gives its value.
    pub(super) fn remove(&mut self, prefix: &Prefix) -> Option<V> {
        let value = self.entries.remove(prefix)?;
        if let Some(count) = self.lengths.get_mut(&kind(*prefix)) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&kind(*prefix));
            }
        }
        Some(value)
    }

    /// The value of a prefix.
    pub(super) fn get(&self, prefix: &Prefix) -> Option<&V> {
        self.entries.get(prefix)
    }

    /// The value of a prefix, to be changed.
    pub(super) fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut V> {
        self.entries.get_mut(prefix)
    }

    /// All prefixes, in order.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.entries.keys().copied()
    }

    /// Those that contain a prefix, itself included, the widest first.
    pub(super) fn around(&self, prefix: Prefix) -> impl DoubleEndedIterator<Item = (Prefix, &V)> {
        let family = prefix.is_ipv4();
        let lengths = self.lengths.range((family, 0)..=(family, prefix.length()));
        lengths
            .filter_map(move |((_, length), _)| Prefix::new(prefix.address(), *length).ok())
            .filter_map(|around| self.entries.get_key_value(&around))
            .map(|(around, value)| (*around, value))
    }

    /// Those that lie in a prefix, itself included, in order.
    pub(super) fn within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        // A prefix comes right before those that lie in it.
        let after = self.entries.range(prefix..).map(|(other, _)| *other);
        after.take_while(move |other| prefix.contains(other))
    }
}

fn kind(prefix: Prefix) -> (bool, u8) {
    (prefix.is_ipv4(), prefix.length())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// Prefixes that often contain each other.
    fn prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), 0_u8..=8, any::<u8>()).prop_map(|(ipv4, length, bits)| {
            let v4 = IpAddr::from([bits, 0, 0, 0]);
            let v6 = IpAddr::from((u128::from(bits) << 120).to_be_bytes());
            Prefix::new(if ipv4 { v4 } else { v6 }, length).expect("a prefix")
        })
    }

    proptest! {
        #[test]
        fn around_and_within_are_containment(
            all in prop::collection::btree_set(prefix(), 0..16),
            gone in prop::collection::btree_set(prefix(), 0..16),
            one in prefix(),
        ) {
            let mut nested = Nested::default();
            for other in all.iter().chain(&gone) {
                nested.insert(*other, other.length());
            }
            for other in &gone {
                prop_assert_eq!(nested.remove(other), Some(other.length()));
            }
            let left: BTreeSet<Prefix> = all.difference(&gone).copied().collect();
            let around: Vec<Prefix> = nested.around(one).map(|(prefix, _)| prefix).collect();
            let mut expected: Vec<Prefix> =
                left.iter().filter(|other| other.contains(&one)).copied().collect();
            expected.sort_by_key(Prefix::length);
            prop_assert_eq!(around, expected);
            let within: Vec<Prefix> = nested.within(one).collect();
            let expected: Vec<Prefix> =
                left.iter().filter(|other| one.contains(other)).copied().collect();
            prop_assert_eq!(within, expected);
        }
    }
}
