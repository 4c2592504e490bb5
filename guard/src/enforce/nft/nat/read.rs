//! Reading such rules from the kernel.
//!
//! Input: a [`Connection`]. Output: [`Redirection`]s. A rule is a list of expressions that
//! load something and compare it; what is not known here is passed over, which leaves the
//! rule meaning more packets than it does.
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`, and of those that
//! iptables makes `x_tables.h`, `xt_tcpudp.h` and `nf_nat.h` beside it.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::{Destination, Redirection};
use crate::core::ports::RangeInclusiveU16;
use crate::enforce::nft::batch::kind;
use crate::enforce::nft::connection::{Connection, Refusal};
use crate::enforce::nft::found::member;
use crate::enforce::nft::rule::{Element, Members, TCP, UDP};
use crate::enforce::nft::wire::{Attributes, Message};

/// `NFPROTO_UNSPEC`: of every family.
const EVERY_FAMILY: u8 = 0;
/// `NF_INET_LOCAL_OUT`: what this host sends itself.
const HOOK_OUTPUT: u32 = 3;
/// `NFT_META_L4PROTO`.
const META_PROTOCOL: u32 = 16;
/// Transport header, offset and length of the destination port.
const DESTINATION_PORT: [Option<u32>; 3] = [Some(2), Some(2), Some(2)];
/// `NFT_CMP_EQ`, `NFT_CMP_LTE`, `NFT_CMP_GTE`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_NAT_DNAT`.
const DESTINATION: u32 = 1;

/// A chain, by family, table and name.
type Place = (u8, String, String);

/// Every rule that sends packets on, but for those of what this host sends itself.
pub(super) fn read(connection: &mut Connection) -> Result<Vec<Redirection>, Refusal> {
    let mut outgoing: HashSet<Place> = HashSet::new();
    connection.ask_family(
        EVERY_FAMILY,
        kind::GET_CHAIN,
        true,
        "read all chains",
        |_| {},
        |message| {
            let chain = message.attributes();
            let hook = chain.nested(4).and_then(|hook| hook.number(1));
            if hook == Some(HOOK_OUTPUT) {
                outgoing.extend(place(message, 3));
            }
        },
    )?;
    let mut found: Vec<(Place, Sent)> = Vec::new();
    connection.ask_family(
        EVERY_FAMILY,
        kind::GET_RULE,
        true,
        "read all rules",
        |_| {},
        |message| {
            let Some(place) = place(message, 2).filter(|place| !outgoing.contains(place)) else {
                return;
            };
            let sent = message.attributes().nested(4).and_then(Sent::read);
            found.extend(sent.map(|sent| (place, sent)));
        },
    )?;
    let mut all = Vec::new();
    for ((family, table, chain), sent) in found {
        let ports = match &sent.set {
            Some(set) => read_ports(connection, family, &table, set)?,
            None => sent.ports(),
        };
        all.push(Redirection {
            place: format!("table {} {table}, chain {chain}", family_name(family)),
            tcp: sent.protocol != Some(UDP),
            udp: sent.protocol != Some(TCP),
            ports,
            to: sent.to,
            port: sent.port,
        });
    }
    Ok(all)
}

/// Family, table (attribute 1) and chain.
fn place(message: Message<'_>, chain: u16) -> Option<Place> {
    let attributes = message.attributes();
    let family = *message.payload.first()?;
    Some((family, attributes.text(1)?.to_owned(), attributes.text(chain)?.to_owned()))
}

fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => "?",
    }
}

/// The ports in a set or map; `None` if its keys are something else.
fn read_ports(
    connection: &mut Connection,
    family: u8,
    table: &str,
    set: &str,
) -> Result<Option<Vec<RangeInclusiveU16>>, Refusal> {
    let mut members: Vec<Option<Element>> = Vec::new();
    connection.ask_family(
        family,
        kind::GET_ELEMENTS,
        true,
        &format!("read set {set}"),
        |writer| {
            writer.text(1, table);
            writer.text(2, set);
        },
        |message| {
            for (_, element) in message.attributes().nested(3).into_iter().flatten() {
                members.push(member(Attributes(element)));
            }
        },
    )?;
    let members: Option<Vec<Element>> = members.into_iter().collect();
    Ok(members.and_then(|members| Members::ports(&members)))
}

/// What a rule says of itself, as far as it is understood.
#[derive(Debug)]
struct Sent {
    protocol: Option<u8>,
    first: Option<u16>,
    last: Option<u16>,
    /// The set or map that the port is looked up in.
    set: Option<String>,
    to: Destination,
    port: Option<u16>,
}

/// What the register of the next comparison holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Protocol,
    Port,
    Other,
}

impl Sent {
    /// The rule with this list of expressions, if it sends packets on.
    fn read(expressions: Attributes<'_>) -> Option<Self> {
        let (protocol, first, last, set) = (None, None, None, None);
        let mut sent = Self { protocol, first, last, set, to: Destination::Here, port: None };
        let mut loaded = Loaded::Other;
        let mut registers: HashMap<u32, &[u8]> = HashMap::new();
        let mut sends = false;
        for (_, element) in expressions {
            let element = Attributes(element);
            let Some(data) = element.nested(2) else { continue };
            let value = |kind| data.nested(kind).and_then(|data| data.value(1));
            let held = |kind| data.number(kind).and_then(|register| registers.get(&register));
            match element.text(1).unwrap_or_default() {
                "meta" if data.number(2) == Some(META_PROTOCOL) => loaded = Loaded::Protocol,
                "payload" if [2, 3, 4].map(|kind| data.number(kind)) == DESTINATION_PORT => {
                    loaded = Loaded::Port;
                }
                "meta" | "payload" => loaded = Loaded::Other,
                "cmp" => sent.compare(loaded, data.number(2), value(3)),
                "range" if loaded == Loaded::Port && data.number(2) == Some(0) => {
                    (sent.first, sent.last) = (value(3).and_then(port), value(4).and_then(port));
                }
                "lookup" if loaded == Loaded::Port && data.number(5).unwrap_or(0) == 0 => {
                    sent.set = data.text(1).map(str::to_owned);
                }
                "immediate" => {
                    registers.extend(data.number(1).zip(value(2)));
                }
                "redir" => {
                    (sends, sent.port) = (true, held(1).and_then(|bytes| port(bytes)));
                }
                "nat" if data.number(1) == Some(DESTINATION) => {
                    (sends, sent.port) = (true, held(5).and_then(|bytes| port(bytes)));
                    let address = held(3).and_then(|bytes| address(bytes));
                    sent.to = address.map_or(Destination::Somewhere, Destination::Address);
                }
                "match" => sent.old_match(data),
                "target" => sends |= sent.old_target(data),
                _ => {}
            }
        }
        sends.then_some(sent)
    }

    fn compare(&mut self, loaded: Loaded, operator: Option<u32>, value: Option<&[u8]>) {
        match (loaded, operator) {
            (Loaded::Protocol, Some(EQUAL)) => {
                self.protocol = value.and_then(|value| value.first().copied());
            }
            (Loaded::Port, Some(EQUAL)) => {
                (self.first, self.last) = (value.and_then(port), value.and_then(port));
            }
            (Loaded::Port, Some(AT_LEAST)) => self.first = value.and_then(port),
            (Loaded::Port, Some(AT_MOST)) => self.last = value.and_then(port),
            _ => {}
        }
    }

    /// `struct xt_tcp`, `struct xt_udp`: source ports, destination ports, in the order of
    /// this machine.
    fn old_match(&mut self, data: Attributes<'_>) {
        let (Some("tcp" | "udp"), Some(info)) = (data.text(1), data.value(3)) else { return };
        let port = |at| Some(u16::from_ne_bytes(*info.get(at..)?.first_chunk()?));
        (self.first, self.last) = (port(4), port(6));
    }

    /// Whether it is a target of iptables that sends packets on.
    fn old_target(&mut self, data: Attributes<'_>) -> bool {
        match data.text(1) {
            // `struct nf_nat_ipv4_multi_range_compat`: a count, flags, two addresses, ports.
            Some("REDIRECT") => {
                let info = data.value(3).unwrap_or_default();
                let flags = info.get(4..).and_then(|info| info.first_chunk().copied());
                // `NF_NAT_RANGE_PROTO_SPECIFIED`
                let says = flags.is_some_and(|flags| u32::from_ne_bytes(flags) & 2 != 0);
                self.port = info.get(16..18).filter(|_| says).and_then(port);
                true
            }
            Some("DNAT") => {
                self.to = Destination::Somewhere;
                true
            }
            _ => false,
        }
    }

    fn ports(&self) -> Option<Vec<RangeInclusiveU16>> {
        let (first, last) = (self.first, self.last);
        let range = first.unwrap_or(0)..=last.unwrap_or(u16::MAX);
        (first.or(last).is_some() && !range.is_empty()).then(|| vec![range.into()])
    }
}

fn port(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}
