//! What a jail's bans cut off: a protocol set and port ranges.
//!
//! Two jails with equal [`Ports`] share one port class in the kernel.

use std::ops::RangeInclusive;

/// Transport protocols that a jail covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocols {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP and UDP.
    TcpAndUdp,
    /// Every protocol; only together with [`PortSet::All`].
    All,
}

impl Protocols {
    /// Whether TCP is covered.
    pub const fn tcp(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether UDP is covered.
    pub const fn udp(self) -> bool {
        !matches!(self, Self::Tcp)
    }
}

/// Destination ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortSet {
    /// Every port of the protocols.
    All,
    /// These ranges: not empty, sorted, not overlapping and not adjacent.
    Ranges(Vec<RangeInclusiveU16>),
}

/// A range of ports, both ends included. (Ordered, unlike [`RangeInclusive`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeInclusiveU16 {
    /// The lowest port.
    pub first: u16,
    /// The highest port; not below `first`.
    pub last: u16,
}

impl From<RangeInclusive<u16>> for RangeInclusiveU16 {
    fn from(range: RangeInclusive<u16>) -> Self {
        Self { first: *range.start(), last: *range.end() }
    }
}

/// Where a jail's bans apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    /// Which protocols.
    pub protocols: Protocols,
    /// Which destination ports of them.
    pub set: PortSet,
}

impl Ports {
    /// The given ranges in canonical form: sorted, overlaps and neighbours merged.
    /// No range at all means every port.
    pub fn new(
        protocols: Protocols,
        ranges: impl IntoIterator<Item = RangeInclusive<u16>>,
    ) -> Self {
        let mut sorted: Vec<RangeInclusiveU16> =
            ranges.into_iter().map(RangeInclusiveU16::from).collect();
        sorted.sort_unstable();
        let mut merged: Vec<RangeInclusiveU16> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match merged.last_mut() {
                Some(previous) if range.first <= previous.last.saturating_add(1) => {
                    previous.last = previous.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        let set = if merged.is_empty() { PortSet::All } else { PortSet::Ranges(merged) };
        Self { protocols, set }
    }

    /// Whether a packet to this TCP (`tcp`) or UDP port is covered.
    pub fn covers(&self, tcp: bool, port: u16) -> bool {
        let protocol = if tcp { self.protocols.tcp() } else { self.protocols.udp() };
        protocol
            && match &self.set {
                PortSet::All => true,
                PortSet::Ranges(ranges) => {
                    ranges.iter().any(|range| (range.first..=range.last).contains(&port))
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_canonical() {
        let ports = Ports::new(Protocols::Tcp, [8006..=8006, 80..=80, 443..=443, 81..=90, 85..=95]);
        let ranges = [80..=95, 443..=443, 8006..=8006].map(RangeInclusiveU16::from);
        assert_eq!(ports.set, PortSet::Ranges(ranges.to_vec()));
    }

    #[test]
    fn a_port_and_its_neighbours() {
        let ports = Ports::new(Protocols::Tcp, [22..=22]);
        assert!(ports.covers(true, 22));
        assert!(!ports.covers(true, 21) && !ports.covers(true, 23) && !ports.covers(false, 22));
        assert!(Ports::new(Protocols::TcpAndUdp, []).covers(false, 65535));
    }
}
