//! Addresses as guard counts and bans them.
//!
//! Input: text or [`IpAddr`]. Output: [`Prefix`], which is always canonical: an
//! IPv4-mapped IPv6 address is IPv4, and no host bits are set. Two prefixes are
//! equal exactly when they mean the same set of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// A set of addresses that share their leading bits; a single address is the
/// prefix of full length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The prefix that holds `address` alone. An IPv4-mapped address becomes IPv4.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address.to_canonical()))
    }

    /// The prefix of `length` bits that contains `address`.
    ///
    /// # Errors
    /// When `length` is more than the address has bits. For an IPv4-mapped address
    /// the length counts the 128 bits of the IPv6 form, and less than 96 is refused.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, ParsePrefixError> {
        let too_long = || ParsePrefixError(format!("{address}/{length}"));
        let (address, length) = match (address, address.to_canonical()) {
            (IpAddr::V6(_), v4 @ IpAddr::V4(_)) => {
                (v4, length.checked_sub(96).ok_or_else(too_long)?)
            }
            (_, canonical) => (canonical, length),
        };
        let net = IpNet::new(address, length).map_err(|_| too_long())?;
        Ok(Self(net.trunc()))
    }

    /// The prefix that an address is counted and banned with: IPv6 with its first `length`
    /// bits, for whoever has one address of a network has the others too. IPv4, what is as
    /// wide already, and addresses that say nothing of networks ([`translated`]) stay as
    /// they are; so does everything when `length` is 128 or more.
    pub fn counted_with(self, length: u8) -> Self {
        match self.0 {
            IpNet::V6(net) if length < net.prefix_len() && !translated(net.addr()) => {
                Self::new(IpAddr::V6(net.addr()), length).unwrap_or(self)
            }
            _ => self,
        }
    }

    /// The first address of the prefix; the address itself for a single one.
    pub fn address(&self) -> IpAddr {
        self.0.addr()
    }

    /// Leading bits that are fixed: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub fn length(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the prefix is one single address.
    pub fn is_host(&self) -> bool {
        self.0.prefix_len() == self.0.max_prefix_len()
    }

    /// Whether the prefix is IPv4.
    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether every address of `other` is in this prefix.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }
}

/// Whether an IPv6 address stands for an IPv4 client from anywhere, so that its network
/// has nobody in common: 64:ff9b::/96 (RFC 6052), 64:ff9b:1::/48 (RFC 8215), and Teredo,
/// 2001::/32 (RFC 4380), whose /64 is that of a server.
fn translated(address: Ipv6Addr) -> bool {
    matches!(
        address.segments(),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..]
    )
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

impl From<Ipv4Addr> for Prefix {
    fn from(address: Ipv4Addr) -> Self {
        Self(IpNet::V4(Ipv4Net::from(address)))
    }
}

impl From<Ipv6Addr> for Prefix {
    fn from(address: Ipv6Addr) -> Self {
        Self::host(IpAddr::V6(address))
    }
}

/// A single address is shown alone, a wider prefix with its length.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { write!(f, "{}", self.0.addr()) } else { write!(f, "{}", self.0) }
    }
}

/// Text that is neither an address nor a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address or a prefix such as 192.0.2.1, 2001:db8::1 or 192.0.2.0/24")]
pub struct ParsePrefixError(String);

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(address) = ipv4(text) {
            return Ok(address.into());
        }
        let refused = || ParsePrefixError(text.to_owned());
        match text.split_once('/') {
            None => text.parse::<IpAddr>().map(Self::host).map_err(|_| refused()),
            Some((address, length)) => {
                // `u8::from_str` takes a leading `+`, which no prefix has.
                if !length.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(refused());
                }
                let address = address.parse().map_err(|_| refused())?;
                Self::new(address, length.parse().map_err(|_| refused())?).map_err(|_| refused())
            }
        }
    }
}

/// An IPv4 address, if the text is one as the standard library reads it, and sooner.
pub(in crate::core) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    const LONGEST: usize = "255.255.255.255".len();
    if text.len() > LONGEST {
        return None;
    }
    // What follows the text is no digit and no dot; places beyond cannot be reached.
    let mut bytes = [0; LONGEST + 1];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    let mut place = 0;
    let digit = |place: usize| u32::from(bytes[place % bytes.len()].wrapping_sub(b'0'));
    let mut octets = [0; 4];
    for (number, octet) in octets.iter_mut().enumerate() {
        if number > 0 {
            if bytes[place % bytes.len()] != b'.' {
                return None;
            }
            place += 1;
        }
        let mut value = digit(place);
        if value > 9 {
            return None;
        }
        place += 1;
        // No leading zero: elsewhere that means octal.
        let more = if value == 0 { 1 } else { 2 };
        for _ in 0..more {
            let next = digit(place);
            if next > 9 {
                break;
            }
            if value == 0 {
                return None;
            }
            value = value * 10 + next;
            place += 1;
        }
        *octet = u8::try_from(value).ok()?;
    }
    (place == text.len()).then(|| octets.into())
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ipv4_is_read_as_the_standard_library_reads_it(
            text in r"([0-9]{0,4}[.]?){3,5}|[ +:]?(0|1?[0-9]{1,2}|2[0-5]{2}){1}([.](0|[0-9]{1,3})){3}[ .]?",
        ) {
            prop_assert_eq!(ipv4(&text), text.parse().ok());
        }
    }

    fn prefix(text: &str) -> Prefix {
        text.parse().expect("a prefix")
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(prefix("::ffff:10.3.0.1"), prefix("10.3.0.1"));
        assert_eq!(prefix("::ffff:10.3.0.0/120"), prefix("10.3.0.0/24"));
        assert_ne!(prefix("::10.3.0.1"), prefix("10.3.0.1"));
        assert!("::ffff:10.3.0.0/95".parse::<Prefix>().is_err());
    }

    #[test]
    fn host_bits_do_not_count() {
        assert_eq!(prefix("192.0.2.7/24"), prefix("192.0.2.0/24"));
        assert_ne!(prefix("192.0.2.7/24"), prefix("192.0.2.7"));
    }

    #[test]
    fn a_single_address_is_shown_without_length() {
        assert_eq!(prefix("192.0.2.7/32").to_string(), "192.0.2.7");
        assert_eq!(prefix("2001:db8::/64").to_string(), "2001:db8::/64");
        assert_eq!(prefix("0.0.0.0/0").to_string(), "0.0.0.0/0");
    }

    #[test]
    fn what_is_no_prefix_is_refused_by_name() {
        for text in
            ["", "/24", "10.0.0.1/33", "10.0.0.1/+8", "10.0.0", "host", "1::/129", "10.0.0.1/"]
        {
            let error = text.parse::<Prefix>().expect_err(text);
            assert!(error.to_string().starts_with(&format!("`{text}` is not")));
        }
    }

    #[test]
    fn ipv6_is_counted_with_its_network() {
        for (address, length, counted) in [
            ("2001:db8::1", 64, "2001:db8::/64"),
            ("2001:db8:0:1::1", 64, "2001:db8:0:1::/64"),
            ("2001:db8:0:ff01::1", 56, "2001:db8:0:ff00::/56"),
            ("2001:db8::1", 128, "2001:db8::1"),
            ("2001:db8::1", 200, "2001:db8::1"),
            ("2001:db8::/48", 64, "2001:db8::/48"),
            ("::ffff:192.0.2.1", 64, "192.0.2.1"),
            ("64:ff9b::192.0.2.1", 64, "64:ff9b::192.0.2.1"),
            ("64:ff9b:1:2::1", 64, "64:ff9b:1:2::1"),
            ("64:ff9b:2::1", 64, "64:ff9b:2::/64"),
            ("2001:0:c000:201::1", 64, "2001:0:c000:201::1"),
            ("2001:1::1", 64, "2001:1::/64"),
            ("192.0.2.1", 24, "192.0.2.1"),
        ] {
            assert_eq!(prefix(address).counted_with(length), prefix(counted), "{address}");
        }
    }

    #[test]
    fn containment() {
        let net = prefix("192.0.2.0/24");
        assert!(net.contains(&prefix("192.0.2.255")));
        assert!(!net.contains(&prefix("192.0.3.0")));
        assert!(prefix("192.0.2.9").overlaps(&net));
        assert!(!net.contains(&prefix("::/0")));
    }
}
