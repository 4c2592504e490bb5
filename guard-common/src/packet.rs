//! The header walk: from the bytes of a packet to what a ban can be about.
//!
//! Input: a [`Reader`] over the packet and what it begins with ([`Link`]). Output: where
//! the [`Network`] header is, and from its [`Header`], only when somebody asks, the source,
//! the destination and the index of the destination port.
//!
//! The same code runs in the kernel and in the tests on the host. It is bounded (two
//! VLAN tags, [`EXTENSIONS`] IPv6 extension headers), never reads what the reader does
//! not have, and does not decide anything: what it cannot follow is [`Unwalked`], and
//! ports behind more headers than that are [`HIDDEN_INDEX`].

use core::net::IpAddr;

use crate::layout::{HIDDEN_INDEX, OTHER_INDEX, port_index};

/// VLAN tags that are walked; a frame with more of them is not followed.
pub const VLAN_TAGS: usize = 2;

/// IPv6 extension headers that are walked; what lies behind more of them is not looked at.
pub const EXTENSIONS: usize = 8;

/// The bytes of one packet.
pub trait Reader {
    /// The field that begins at `offset`, or `None` if the packet does not have it all.
    fn read<F: Field>(&self, offset: usize) -> Option<F>;
}

/// A field of a header, in memory as it stands in the packet: in network order. Whole
/// words, because the BPF verifier takes no odd ones on its stack.
pub trait Field: Copy {
    /// The field from exactly its bytes.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Field for u8 {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

impl Field for u16 {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

impl Field for u32 {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_ne_bytes)
    }
}

impl Field for [u64; 2] {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (first, second) = bytes.split_at_checked(8)?;
        Some([
            u64::from_ne_bytes(first.try_into().ok()?),
            u64::from_ne_bytes(second.try_into().ok()?),
        ])
    }
}

impl Reader for &[u8] {
    fn read<F: Field>(&self, offset: usize) -> Option<F> {
        F::from_bytes(self.get(offset..offset.checked_add(size_of::<F>())?)?)
    }
}

/// What a packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header: tun, WireGuard and other devices without a link layer.
    Ip,
}

/// Why a packet was not walked. It passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwalked {
    /// It is neither IPv4 nor IPv6 (ARP, LLDP, …).
    NotIp,
    /// It ends early, contradicts itself, or is nested deeper than the walk goes.
    Unparsed,
}

/// An address as the ban maps know it, in network order. An IPv4-mapped IPv6 address is
/// IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4.
    V4(u32),
    /// IPv6.
    V6([u64; 2]),
}

/// The second half of an IPv4-mapped address whose IPv4 address is 0.
const MAPPED: u64 = 0xffff << 32;

impl Address {
    #[inline(always)]
    fn canonical(words: [u64; 2]) -> Self {
        let low = u64::from_be(words[1]);
        match u32::try_from(low ^ MAPPED) {
            Ok(address) if words[0] == 0 => Self::V4(address.to_be()),
            _ => Self::V6(words),
        }
    }

    /// Both families in one key: IPv4 as `::ffff:a.b.c.d`.
    #[inline(always)]
    pub const fn mapped(self) -> [u64; 2] {
        match self {
            Self::V4(address) => [0, (MAPPED | u32::from_be(address) as u64).to_be()],
            Self::V6(words) => words,
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h] = v6.segments().map(u64::from);
                let word =
                    |a: u64, b: u64, c: u64, d: u64| (a << 48 | b << 32 | c << 16 | d).to_be();
                Self::V6([word(a, b, c, d), word(e, f, g, h)])
            }
        }
    }
}

/// The network header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4.
    V4(Ipv4),
    /// IPv6.
    V6(Ipv6),
}

/// An IPv4 header that begins at this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4(usize);

/// An IPv6 header that begins at this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6(usize);

/// What a ban can be about, read when it is asked for. Every function fails when the
/// packet ends before.
pub trait Header: Copy {
    /// Whether there may be other headers before the ports, which a loop walks.
    const CHAINED: bool;

    /// Who sent the packet.
    ///
    /// # Errors
    /// As above.
    fn source(self, packet: &impl Reader) -> Result<Address, Unwalked>;

    /// Where it goes to, in the form of [`Address::mapped`].
    ///
    /// # Errors
    /// As above.
    fn destination(self, packet: &impl Reader) -> Result<[u64; 2], Unwalked>;

    /// Index of its destination port in the port class map; [`OTHER_INDEX`] for what is
    /// neither TCP nor UDP, and for a fragment that is not the first: what stands where
    /// ports would be is not read. [`HIDDEN_INDEX`] when the walk's bound is met before.
    ///
    /// # Errors
    /// As above.
    fn port_index(self, packet: &impl Reader) -> Result<u32, Unwalked>;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q and 802.1ad tags.
const ETHERTYPES_VLAN: [u16; 2] = [0x8100, 0x88a8];

const TCP: u8 = 6;
const UDP: u8 = 17;

/// IPv6 extension headers (RFC 8200) that may stand before the transport header.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// RFC 4302; what it authenticates can be read behind it.
const AUTHENTICATION: u8 = 51;

/// Length of the IPv6 header without extensions.
const IPV6_HEADER: usize = 40;

/// Finds the network header.
///
/// # Errors
/// When there is none, or it cannot be followed.
#[inline(always)]
pub fn network(packet: &impl Reader, link: Link) -> Result<Network, Unwalked> {
    if link == Link::Ip {
        let first: u8 = packet.read(0).ok_or(Unwalked::Unparsed)?;
        return match first >> 4 {
            4 => ipv4(packet, 0),
            6 => ipv6(packet, 0),
            _ => Err(Unwalked::NotIp),
        };
    }
    // The type follows two addresses; a tag puts two bytes and another type behind it.
    let mut offset = 12;
    for _ in 0..=VLAN_TAGS {
        let field: u16 = packet.read(offset).ok_or(Unwalked::Unparsed)?;
        let ethertype = u16::from_be(field);
        if ethertype == ETHERTYPE_IPV4 {
            return ipv4(packet, offset + 2);
        }
        if ethertype == ETHERTYPE_IPV6 {
            return ipv6(packet, offset + 2);
        }
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            return Err(Unwalked::NotIp);
        }
        offset += 4;
    }
    Err(Unwalked::Unparsed)
}

#[inline(always)]
fn ipv4(packet: &impl Reader, offset: usize) -> Result<Network, Unwalked> {
    // Version 4, and at least the five words that every header has.
    match packet.read::<u8>(offset) {
        Some(0x45..=0x4f) => Ok(Network::V4(Ipv4(offset))),
        _ => Err(Unwalked::Unparsed),
    }
}

#[inline(always)]
fn ipv6(packet: &impl Reader, offset: usize) -> Result<Network, Unwalked> {
    match packet.read::<u8>(offset) {
        Some(0x60..=0x6f) => Ok(Network::V6(Ipv6(offset))),
        _ => Err(Unwalked::Unparsed),
    }
}

impl Header for Ipv4 {
    const CHAINED: bool = false;

    #[inline(always)]
    fn source(self, packet: &impl Reader) -> Result<Address, Unwalked> {
        packet.read(self.0 + 12).map(Address::V4).ok_or(Unwalked::Unparsed)
    }

    #[inline(always)]
    fn destination(self, packet: &impl Reader) -> Result<[u64; 2], Unwalked> {
        let word = packet.read(self.0 + 16).ok_or(Unwalked::Unparsed)?;
        Ok(Address::V4(word).mapped())
    }

    #[inline(always)]
    fn port_index(self, packet: &impl Reader) -> Result<u32, Unwalked> {
        let first: u8 = packet.read(self.0).ok_or(Unwalked::Unparsed)?;
        let fragment: u16 = packet.read(self.0 + 6).ok_or(Unwalked::Unparsed)?;
        if u16::from_be(fragment) & 0x1fff != 0 {
            return Ok(OTHER_INDEX);
        }
        let protocol = packet.read(self.0 + 9).ok_or(Unwalked::Unparsed)?;
        transport(packet, protocol, self.0 + usize::from(first & 0x0f) * 4)
    }
}

impl Header for Ipv6 {
    const CHAINED: bool = true;

    #[inline(always)]
    fn source(self, packet: &impl Reader) -> Result<Address, Unwalked> {
        packet.read(self.0 + 8).map(Address::canonical).ok_or(Unwalked::Unparsed)
    }

    #[inline(always)]
    fn destination(self, packet: &impl Reader) -> Result<[u64; 2], Unwalked> {
        packet.read(self.0 + 24).ok_or(Unwalked::Unparsed)
    }

    #[inline(always)]
    fn port_index(self, packet: &impl Reader) -> Result<u32, Unwalked> {
        let mut next: u8 = packet.read(self.0 + 6).ok_or(Unwalked::Unparsed)?;
        let mut offset = self.0 + IPV6_HEADER;
        for _ in 0..=EXTENSIONS {
            match next {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                    next = packet.read(offset).ok_or(Unwalked::Unparsed)?;
                    let length: u8 = packet.read(offset + 1).ok_or(Unwalked::Unparsed)?;
                    // In units of 8 bytes, the first not counted.
                    offset += (usize::from(length) + 1) * 8;
                }
                AUTHENTICATION => {
                    next = packet.read(offset).ok_or(Unwalked::Unparsed)?;
                    let length: u8 = packet.read(offset + 1).ok_or(Unwalked::Unparsed)?;
                    // In units of 4 bytes, the first two not counted.
                    offset += (usize::from(length) + 2) * 4;
                }
                FRAGMENT => {
                    next = packet.read(offset).ok_or(Unwalked::Unparsed)?;
                    let fragment: u16 = packet.read(offset + 2).ok_or(Unwalked::Unparsed)?;
                    if u16::from_be(fragment) & 0xfff8 != 0 {
                        return Ok(OTHER_INDEX);
                    }
                    offset += 8;
                }
                protocol => return transport(packet, protocol, offset),
            }
        }
        Ok(HIDDEN_INDEX)
    }
}

/// The index of the destination port of the transport header at an offset.
#[inline(always)]
fn transport(packet: &impl Reader, protocol: u8, offset: usize) -> Result<u32, Unwalked> {
    if protocol != TCP && protocol != UDP {
        return Ok(OTHER_INDEX);
    }
    // Both begin with the source port and the destination port.
    let port: u16 = packet.read(offset + 2).ok_or(Unwalked::Unparsed)?;
    Ok(port_index(protocol == TCP, u16::from_be(port)))
}
