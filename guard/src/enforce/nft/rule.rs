//! The rules of `f2b-chain`: which packets they look up in which set.
//!
//! Input: a jail's [`Ports`]. Output: [`Rule`]s, one for each that Fail2Ban would
//! make, and the set of anonymous elements that a rule needs. `expression.rs` has
//! their form in the kernel.
//!
//! Invariant: two rules are equal exactly when `nft` lists them alike.

use crate::core::ports::{PortSet, Ports, Protocols, RangeInclusiveU16};

/// `IPPROTO_TCP`.
pub(super) const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub(super) const UDP: u8 = 17;

/// Which kind of addresses a set holds, in the order in which such sets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
    /// Prefixes.
    V4Nets,
    /// Prefixes.
    V6Nets,
}

impl Family {
    pub(super) const ALL: [Self; 4] = [Self::V4, Self::V6, Self::V4Nets, Self::V6Nets];

    /// Whether its addresses are IPv4.
    pub(super) const fn is_ipv4(self) -> bool {
        matches!(self, Self::V4 | Self::V4Nets)
    }

    /// Whether it holds prefixes.
    pub(super) const fn is_nets(self) -> bool {
        matches!(self, Self::V4Nets | Self::V6Nets)
    }

    /// What Fail2Ban puts before the jail's name to name its set; for prefixes, which
    /// Fail2Ban has no sets for, in the same manner.
    pub(super) const fn set_prefix(self) -> &'static str {
        match self {
            Self::V4 => "addr-set-",
            Self::V6 => "addr6-set-",
            Self::V4Nets => "net-set-",
            Self::V6Nets => "net6-set-",
        }
    }

    /// The name of a jail's set.
    pub(super) fn set_name(self, jail: &str) -> String {
        format!("{}{jail}", self.set_prefix())
    }

    /// The family and the jail that a set of ours is named after.
    pub(super) fn of_set_name(name: &str) -> Option<(Self, &str)> {
        Self::ALL
            .into_iter()
            .find_map(|family| Some((family, name.strip_prefix(family.set_prefix())?)))
    }
}

/// What a rule asks of a packet before it looks up the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Matching {
    /// A destination port of one protocol: `tcp dport { 80, 443 }`. At least one
    /// range; sorted, not overlapping and not adjacent.
    Ports { protocol: u8, ranges: Vec<RangeInclusiveU16> },
    /// One of these protocols, sorted: `meta l4proto { tcp, udp }`.
    Protocols(Vec<u8>),
    /// Nothing.
    Everything,
}

/// A rule that refuses what comes from the addresses of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matching: Matching,
    pub(super) family: Family,
    /// The set with the banned addresses.
    pub(super) set: String,
}

impl Rule {
    /// The rules of a jail for one family. For ports there is one rule a protocol, and
    /// one rule in all when every port is cut off.
    pub(super) fn of_jail(jail: &str, ports: &Ports, family: Family) -> Vec<Self> {
        let set = family.set_name(jail);
        matchings(ports)
            .into_iter()
            .map(|matching| Self { matching, family, set: set.clone() })
            .collect()
    }
}

fn matchings(ports: &Ports) -> Vec<Matching> {
    let mut protocols = Vec::new();
    protocols.extend(ports.protocols.tcp().then_some(TCP));
    protocols.extend(ports.protocols.udp().then_some(UDP));
    match (&ports.set, ports.protocols) {
        (PortSet::Ranges(ranges), _) => protocols
            .into_iter()
            .map(|protocol| Matching::Ports { protocol, ranges: ranges.clone() })
            .collect(),
        (PortSet::All, Protocols::All) => vec![Matching::Everything],
        (PortSet::All, _) => vec![Matching::Protocols(protocols)],
    }
}

/// What an anonymous set holds: `{ 80, 443, 8006 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Members {
    Ports(Vec<RangeInclusiveU16>),
    Protocols(Vec<u8>),
}

/// One element of an anonymous set as the kernel keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) key: Vec<u8>,
    /// The key is the first that is not in the range any more.
    pub(super) ends_range: bool,
}

impl Members {
    /// Whether the kernel must keep ranges, not single values.
    pub(super) fn has_ranges(&self) -> bool {
        match self {
            Self::Ports(ranges) => ranges.iter().any(|range| range.first != range.last),
            Self::Protocols(_) => false,
        }
    }

    /// The elements, in order. A set of ranges that does not begin at 0 begins with the
    /// end of nothing, as `nft` makes it, and a range up to the last port has no end.
    pub(super) fn elements(&self) -> Vec<Element> {
        let element = |key: &[u8], ends_range| Element { key: key.to_vec(), ends_range };
        let ranges = match self {
            Self::Protocols(protocols) => {
                return protocols.iter().map(|protocol| element(&[*protocol], false)).collect();
            }
            Self::Ports(ranges) if !self.has_ranges() => {
                let key = |range: &RangeInclusiveU16| element(&range.first.to_be_bytes(), false);
                return ranges.iter().map(key).collect();
            }
            Self::Ports(ranges) => ranges,
        };
        let mut elements = Vec::with_capacity(2 * ranges.len() + 1);
        if ranges.first().is_some_and(|range| range.first > 0) {
            elements.push(element(&[0, 0], true));
        }
        for range in ranges {
            elements.push(element(&range.first.to_be_bytes(), false));
            if let Some(end) = range.last.checked_add(1) {
                elements.push(element(&end.to_be_bytes(), true));
            }
        }
        elements
    }

    /// Ports from elements in any order; `None` when they are not ports.
    pub(super) fn ports(elements: &[Element]) -> Option<Vec<RangeInclusiveU16>> {
        let mut keys = Vec::with_capacity(elements.len());
        for element in elements {
            let key = u16::from_be_bytes(element.key.as_slice().try_into().ok()?);
            // An end sorts before a beginning at the same port.
            keys.push((key, !element.ends_range));
        }
        keys.sort_unstable();
        let of_ranges = keys.iter().any(|(_, begins)| !begins);
        let mut ranges = Vec::new();
        let mut open = None;
        for (key, begins) in keys {
            match (begins, open.take()) {
                (true, _) if !of_ranges => ranges.push(key..=key),
                (true, None) => open = Some(key),
                (false, Some(first)) => ranges.push(first..=key.checked_sub(1)?),
                (false, None) if key == 0 => {}
                _ => return None,
            }
        }
        ranges.extend(open.map(|first| first..=u16::MAX));
        match Ports::new(Protocols::Tcp, ranges).set {
            PortSet::Ranges(ranges) => Some(ranges),
            PortSet::All => None,
        }
    }

    /// Protocols from elements in any order; `None` when they are not protocols.
    pub(super) fn protocols(elements: &[Element]) -> Option<Vec<u8>> {
        let mut protocols = Vec::with_capacity(elements.len());
        for element in elements {
            match element.key.as_slice() {
                [protocol] if !element.ends_range => protocols.push(*protocol),
                _ => return None,
            }
        }
        protocols.sort_unstable();
        Some(protocols)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn described(ports: &Ports) -> Vec<Matching> {
        Rule::of_jail("sshd", ports, Family::V4).into_iter().map(|rule| rule.matching).collect()
    }

    #[test]
    fn ports_make_one_rule_a_protocol_and_all_ports_one_in_all() {
        let ranges = vec![RangeInclusiveU16::from(22..=22)];
        let of = |protocol| Matching::Ports { protocol, ranges: ranges.clone() };
        assert_eq!(described(&Ports::new(Protocols::Tcp, [22..=22])), [of(TCP)]);
        assert_eq!(described(&Ports::new(Protocols::TcpAndUdp, [22..=22])), [of(TCP), of(UDP)]);
        let all = |protocols| described(&Ports::new(protocols, []));
        assert_eq!(all(Protocols::TcpAndUdp), [Matching::Protocols(vec![TCP, UDP])]);
        assert_eq!(all(Protocols::Udp), [Matching::Protocols(vec![UDP])]);
        assert_eq!(all(Protocols::All), [Matching::Everything]);
    }

    #[test]
    fn names_of_sets_and_back() {
        assert_eq!(Family::V6.set_name("sshd"), "addr6-set-sshd");
        assert_eq!(Family::of_set_name("addr-set-a-set-b"), Some((Family::V4, "a-set-b")));
        assert_eq!(Family::of_set_name("net6-set-sshd"), Some((Family::V6Nets, "sshd")));
        assert_eq!(Family::of_set_name("addr-sets"), None);
    }

    #[test]
    fn elements_that_make_no_ranges_are_refused() {
        let element = |key: u16, ends_range| Element { key: key.to_be_bytes().into(), ends_range };
        let ports = |elements: &[Element]| Members::ports(elements);
        assert_eq!(ports(&[]), None);
        assert_eq!(ports(&[element(5, true)]), None);
        assert_eq!(ports(&[element(5, false), element(6, false), element(9, true)]), None);
        assert_eq!(ports(&[Element { key: vec![1], ends_range: false }]), None);
        assert_eq!(Members::protocols(&[element(6, false)]), None);
    }

    proptest! {
        #[test]
        fn ports_survive_the_kernels_form(
            ranges in prop::collection::vec((any::<u16>(), 0_u16..300), 1..8),
            seed in any::<prop::sample::Index>(),
        ) {
            let ranges = ranges.into_iter().map(|(first, more)| first..=first.saturating_add(more));
            let PortSet::Ranges(ranges) = Ports::new(Protocols::Tcp, ranges).set else {
                return Err(TestCaseError::fail("ranges"));
            };
            let mut elements = Members::Ports(ranges.clone()).elements();
            let middle = seed.index(elements.len());
            elements.rotate_left(middle);
            prop_assert_eq!(Members::ports(&elements), Some(ranges));
        }
    }
}
