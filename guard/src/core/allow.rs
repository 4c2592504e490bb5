//! Who must never be banned, and the proof that this was asked.
//!
//! Input: the allow-lists, the host's own addresses, and where its administrators are. Output: a [`Cleared`] source,
//! which only this file can make and without which the ledger takes no ban.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use crate::core::addr::Prefix;
use crate::core::host::HostAddresses;
use crate::core::reason::Allowed;

/// Prefixes whose addresses are not banned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Prefix>,
}

impl AllowList {
    /// The entry that `source` touches, if any. A wide source that contains an
    /// entry touches it too.
    pub fn find(&self, source: &Prefix) -> Option<Prefix> {
        self.entries.iter().find(|entry| entry.overlaps(source)).copied()
    }

    /// The entries, in the order given.
    pub fn entries(&self) -> &[Prefix] {
        &self.entries
    }
}

impl FromIterator<Prefix> for AllowList {
    fn from_iter<I: IntoIterator<Item = Prefix>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

/// A source that may be banned: the allow-lists were asked, or overruled by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleared {
    source: Prefix,
    forced: bool,
}

impl Cleared {
    /// The source.
    pub fn source(&self) -> Prefix {
        self.source
    }

    /// Whether an allow-list was overruled.
    pub fn forced(&self) -> bool {
        self.forced
    }
}

/// Everything that keeps a source from being banned, for one jail.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// This host.
    pub host: &'a HostAddresses,
    /// The list of `guard.toml`, for all jails.
    pub global: &'a AllowList,
    /// The jail's own list.
    pub jail: &'a AllowList,
    /// What the names and files in the jail's list stand for now.
    pub elsewhere: &'a AllowList,
}

impl Gate<'_> {
    /// Clears a source that a log line accuses.
    ///
    /// # Errors
    /// Why it must not be banned.
    pub fn clear(&self, source: Prefix) -> Result<Cleared, Allowed> {
        match self.allowed(&source) {
            Some(allowed) => Err(allowed),
            None => Ok(Cleared { source, forced: false }),
        }
    }

    /// Clears a source that a log line accuses, together with the network that it is
    /// counted with ([`Prefix::counted_with`]); alone, if there is somebody in that network
    /// who must not be banned.
    ///
    /// # Errors
    /// Why the source itself must not be banned.
    pub fn clear_with(&self, source: Prefix, length: u8) -> Result<Cleared, Allowed> {
        let alone = self.clear(source)?;
        let network = source.counted_with(length);
        if network == source { Ok(alone) } else { Ok(self.clear(network).unwrap_or(alone)) }
    }

    /// Clears a source that is banned by hand with `--force`.
    pub fn force(&self, source: Prefix) -> Cleared {
        Cleared { source, forced: self.allowed(&source).is_some() }
    }

    fn allowed(&self, source: &Prefix) -> Option<Allowed> {
        let meets = |address: &&IpAddr| source.contains(&Prefix::host(**address));
        if let Some(&range) = SPECIAL_RANGES.iter().find(|range| range.overlaps(source)) {
            return Some(Allowed::Special { range });
        }
        if let Some(address) = self.host.own.iter().find(meets) {
            return Some(Allowed::Own { address: Prefix::host(*address) });
        }
        if let Some(address) = self.host.gateways.iter().find(meets) {
            return Some(Allowed::Gateway { address: Prefix::host(*address) });
        }
        if let Some(address) = self.host.sessions.iter().find(meets) {
            return Some(Allowed::Session { address: Prefix::host(*address) });
        }
        let mut lists = [self.jail, self.elsewhere, self.global].into_iter();
        let listed = lists.find_map(|list| list.find(source));
        listed.map(|entry| Allowed::Listed { entry })
    }
}

/// Ranges that no remote attacker has: "this host", loopback and multicast with the
/// limited broadcast address (RFC 6890).
static SPECIAL_RANGES: LazyLock<[Prefix; 6]> = LazyLock::new(|| {
    let v4 = |a, b, c, d, length| range(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), length);
    let v6 = |address: Ipv6Addr, length| range(IpAddr::V6(address), length);
    [
        v4(0, 0, 0, 0, 8),
        v4(127, 0, 0, 0, 8),
        v4(224, 0, 0, 0, 3),
        v6(Ipv6Addr::UNSPECIFIED, 128),
        v6(Ipv6Addr::LOCALHOST, 128),
        v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
    ]
});

fn range(address: IpAddr, length: u8) -> Prefix {
    Prefix::new(address, length).unwrap_or_else(|_| Prefix::host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    fn gate_says(source: &str) -> Option<String> {
        at_gate(|gate| gate.clear(prefix(source)).err().map(|allowed| allowed.to_string()))
    }

    fn at_gate<T>(ask: impl FnOnce(Gate<'_>) -> T) -> T {
        let host = HostAddresses {
            own: vec![prefix("198.51.100.2").address(), prefix("2001:db8::2").address()],
            gateways: vec![prefix("198.51.100.1").address()],
            sessions: vec![prefix("198.18.0.9").address()],
        };
        let global: AllowList = [prefix("10.0.0.0/8")].into_iter().collect();
        let jail: AllowList = [prefix("203.0.113.7")].into_iter().collect();
        let elsewhere: AllowList = [prefix("192.0.2.80")].into_iter().collect();
        ask(Gate { host: &host, global: &global, jail: &jail, elsewhere: &elsewhere })
    }

    #[test]
    fn the_allowed_and_their_neighbours() {
        for (allowed, neighbour) in [
            ("127.0.0.1", "126.255.255.255"),
            ("::1", "::2"),
            ("198.51.100.2", "198.51.100.3"),
            ("198.51.100.1", "198.51.100.0"),
            ("2001:db8::2", "2001:db8::3"),
            ("198.18.0.9", "198.18.0.8"),
            ("10.255.255.255", "11.0.0.0"),
            ("203.0.113.7", "203.0.113.6"),
            ("192.0.2.80", "192.0.2.81"),
            ("::ffff:127.0.0.9", "::ffff:128.0.0.9"),
        ] {
            assert!(gate_says(allowed).is_some(), "{allowed}");
            assert_eq!(gate_says(neighbour), None, "{neighbour}");
        }
    }

    #[test]
    fn a_network_with_somebody_allowed_is_not_cleared_with_its_addresses() {
        for (source, cleared) in [
            ("2001:db8:0:1::3", Some("2001:db8:0:1::/64")),
            ("2001:db8::3", Some("2001:db8::3")),
            ("2001:db8::2", None),
            ("203.0.113.6", Some("203.0.113.6")),
        ] {
            let told = at_gate(|gate| gate.clear_with(prefix(source), 64));
            let told = told.ok().map(|cleared| cleared.source());
            assert_eq!(told, cleared.map(prefix), "{source}");
        }
    }

    #[test]
    fn a_wide_source_that_holds_an_allowed_address_is_refused_by_name() {
        let told = gate_says("203.0.113.0/24").expect("refused");
        assert_eq!(told, "203.0.113.7 is on an allow-list (ignoreip, or allow in guard.toml)");
        let told = gate_says("198.51.100.0/31").expect("refused");
        assert_eq!(told, "198.51.100.1 is this host's gateway");
        assert!(gate_says("0.0.0.0/0").is_some());
        assert_eq!(gate_says("203.0.113.8/29"), None);
    }
}
