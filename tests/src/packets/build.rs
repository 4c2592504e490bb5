//! Packets from a description of their headers.

use std::net::IpAddr;

use anyhow::{bail, ensure};

use super::Scope;

/// The headers of a packet. What is not said is the most ordinary: TCP to port 22 of the
/// world's first own address, with 8 bytes behind the ports.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Packet {
    /// What the case shows.
    #[serde(default)]
    pub description: String,
    /// What must become of the packet, by its name.
    #[serde(default)]
    pub verdict: String,
    /// Whose traffic is guarded.
    #[serde(default)]
    pub scope: Scope,
    /// Only this link; without it, both where that can be.
    pub link: Option<WrittenLink>,
    /// The whole packet in hexadecimal, blanks ignored, instead of all the rest.
    pub hex: Option<String>,
    /// What nft in Fail2Ban's layout makes of it, where that is another verdict.
    pub nft: Option<OnNft>,
    /// Why: the id of a difference in `docs/data-plane.md`.
    pub because: Option<String>,
    /// Tells it from the other packets: what fragments of it have in common.
    #[serde(skip)]
    pub number: u16,
    /// Types of the VLAN tags, the outer first.
    #[serde(default)]
    pub vlan: Vec<u16>,
    /// Numbers of the VLANs, if they are not 1, 2, ….
    pub vlan_ids: Option<Vec<u16>>,
    /// Type of what follows the Ethernet header, if it is not the IP version's own.
    pub ethertype: Option<u16>,
    /// Source address; its family is the packet's.
    pub source: Option<IpAddr>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// `tcp`, `udp`, `icmp`, or a number.
    pub protocol: Option<Protocol>,
    /// Destination port.
    pub port: Option<u16>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Words of IPv4 options; all of them no-operations.
    #[serde(default)]
    pub options: usize,
    /// First byte of the IP header, if it is not the right one.
    pub first_byte: Option<u8>,
    /// IPv4 fragment; IPv6 ones are an extension.
    pub fragment: Option<Fragment>,
    /// IPv6 extension headers.
    #[serde(default)]
    pub extensions: Vec<Extension>,
    /// Keep only so many bytes of the IP packet.
    pub keep: Option<usize>,
    /// Bytes behind the ports.
    pub payload: Option<usize>,
}

/// What nft makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnNft {
    /// It refuses it.
    Drop,
    /// It lets it in.
    Pass,
    /// It never sees it: the host's stack does not let it come to the input hook.
    Absent,
}

/// What the bytes of a case begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WrittenLink {
    /// In an Ethernet frame.
    Ethernet,
    /// From the IP header on.
    Ip,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or ICMPv6.
    Icmp,
    /// SCTP, which has ports that are not TCP's.
    Sctp,
    /// Authentication header, which stands for a protocol in IPv4.
    Ah,
}

/// Where a fragment stands.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// Offset in units of 8 bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Extension {
    /// Hop-by-hop options with so many units of 8 bytes after the first.
    HopByHop(u8),
    /// Routing header.
    Routing(u8),
    /// Destination options.
    DestinationOptions(u8),
    /// Authentication header with so many units of 4 bytes after the first two.
    Authentication(u8),
    /// Fragment header.
    Fragment(Fragment),
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::Fragment(_) => 44,
            Self::DestinationOptions(_) => 60,
            Self::Authentication(_) => 51,
        }
    }

    fn bytes(self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(units) | Self::Routing(units) | Self::DestinationOptions(units) => {
                let mut bytes = vec![next, units];
                let length = (usize::from(units) + 1) * 8;
                // Two bytes of padding as options (RFC 8200), then options that whoever does
                // not know them passes over (RFC 4727).
                bytes.extend([1, 0]);
                while bytes.len() < length {
                    let rest = (length - bytes.len() - 2).min(250);
                    bytes.extend([0x1e, u8::try_from(rest).unwrap_or(0)]);
                    bytes.resize(bytes.len() + rest, 0);
                }
                if matches!(self, Self::Routing(_)) {
                    // Type 4 (RFC 8754) with no segment left.
                    bytes[2..4].copy_from_slice(&[4, 0]);
                }
                bytes
            }
            Self::Authentication(units) => {
                let mut bytes = vec![next, units];
                bytes.resize((usize::from(units) + 2) * 4, 0);
                bytes
            }
            Self::Fragment(Fragment { offset, more }) => {
                let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
        }
    }
}

impl Packet {
    /// Whether the same packet can come without its Ethernet header.
    pub(super) fn is_plain_ip(&self) -> bool {
        self.hex.is_none() && self.vlan.is_empty() && self.ethertype.is_none()
    }

    /// The packet in an Ethernet frame.
    ///
    /// # Errors
    /// When the description contradicts itself.
    pub fn ethernet(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(hex) = &self.hex {
            return from_hex(hex);
        }
        let mut bytes = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
        let ids = self.vlan_ids.clone().unwrap_or_else(|| (1..=4).collect());
        ensure!(ids.len() >= self.vlan.len(), "more tags than numbers of VLANs");
        for (number, tag) in ids.iter().zip(&self.vlan) {
            bytes.extend(tag.to_be_bytes());
            bytes.extend(number.to_be_bytes());
        }
        let ip = if self.source_address()?.is_ipv4() { 0x0800_u16 } else { 0x86dd };
        bytes.extend(self.ethertype.unwrap_or(ip).to_be_bytes());
        bytes.extend(self.ip()?);
        Ok(bytes)
    }

    /// The packet from its IP header on.
    ///
    /// # Errors
    /// When the description contradicts itself.
    pub fn ip(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(hex) = &self.hex {
            return from_hex(hex);
        }
        let mut bytes = match (self.source_address()?, self.destination) {
            (IpAddr::V4(source), destination) => {
                let destination = destination.unwrap_or(IpAddr::from([198, 51, 100, 1]));
                let IpAddr::V4(destination) = destination else {
                    bail!("source and destination are of two families");
                };
                ensure!(self.extensions.is_empty(), "IPv4 has no extension headers");
                self.ipv4(source.octets(), destination.octets())
            }
            (IpAddr::V6(source), destination) => {
                let own = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
                let IpAddr::V6(destination) = destination.unwrap_or(IpAddr::from(own)) else {
                    bail!("source and destination are of two families");
                };
                ensure!(self.fragment.is_none() && self.options == 0, "this is for IPv4");
                self.ipv6(source.octets(), destination.octets())
            }
        };
        if let Some(first) = self.first_byte {
            bytes[0] = first;
        }
        if let Some(keep) = self.keep {
            ensure!(keep < bytes.len(), "`keep` keeps everything");
            bytes.truncate(keep);
        }
        Ok(bytes)
    }

    fn source_address(&self) -> anyhow::Result<IpAddr> {
        match self.source {
            Some(source) => Ok(source),
            None => bail!("a packet needs `source` or `hex`"),
        }
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let transport = self.transport();
        let header = 20 + self.options * 4;
        let fragment = self
            .fragment
            .map_or(0, |Fragment { offset, more }| offset & 0x1fff | if more { 0x2000 } else { 0 });
        let mut bytes = vec![0x40 | u8::try_from(header / 4).unwrap_or(0x0f) & 0x0f, 0];
        bytes.extend(length_field(header + transport.len()));
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, self.protocol_number(true), 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.resize(header, 1);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum);
        bytes.extend(transport);
        bytes
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let transport = self.transport();
        let following = self.extensions.iter().skip(1).map(|extension| extension.number());
        let nexts = following.chain([self.protocol_number(false)]);
        let mut extensions = Vec::new();
        for (extension, next) in self.extensions.iter().zip(nexts) {
            extensions.extend(extension.bytes(next));
        }
        let first = self.extensions.first().map(|extension| extension.number());
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(length_field(extensions.len() + transport.len()));
        bytes.extend([first.unwrap_or(self.protocol_number(false)), 64]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(extensions);
        bytes.extend(transport);
        bytes
    }

    fn protocol_number(&self, ipv4: bool) -> u8 {
        match self.protocol.unwrap_or(Protocol::Tcp) {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Icmp if ipv4 => 1,
            Protocol::Icmp => 58,
            Protocol::Sctp => 132,
            Protocol::Ah => 51,
        }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = self.source_port.unwrap_or(40_000).to_be_bytes().to_vec();
        bytes.extend(self.port.unwrap_or(22).to_be_bytes());
        bytes.resize(4 + self.payload.unwrap_or(8), 0);
        bytes
    }
}

/// The Internet checksum (RFC 1071) of a header whose own field is 0.
fn checksum(header: &[u8]) -> [u8; 2] {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

/// A length in a header; what does not fit is given as 0, as in a jumbogram.
fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(0).to_be_bytes()
}

fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    ensure!(digits.len().is_multiple_of(2), "an odd number of hexadecimal digits");
    digits.chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}
