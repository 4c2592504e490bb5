//! From the payload of an rtnetlink message to what guard needs of it.
//!
//! Layouts: `linux/if_link.h`, `linux/if_addr.h`, `linux/rtnetlink.h`. A payload that
//! is cut short or malformed gives nothing and never panics.

use std::net::IpAddr;

use super::netlink::{u16_at, u32_at};
use crate::core::host::Interface;

/// `IFLA_XDP_PROG_ID` and, where several modes have one, `IFLA_XDP_{DRV,SKB,HW}_PROG_ID`.
const XDP_PROGRAM_IDS: [u16; 4] = [4, 5, 6, 7];
/// `IFLA_INFO_KIND`.
const INFO_KIND: u16 = 1;
/// `RTA_VIA`: a next hop of another family.
const RTA_VIA: u16 = 18;

/// The interface that an `RTM_NEWLINK` tells of.
pub(super) fn interface(payload: &[u8]) -> Option<Interface> {
    let (layer, index, flags) = (u16_at(payload, 2)?, u32_at(payload, 4)?, u32_at(payload, 8)?);
    let mut interface = Interface {
        index,
        name: String::new(),
        kind: String::new(),
        loopback: flags & libc::IFF_LOOPBACK.cast_unsigned() != 0,
        ethernet: layer == libc::ARPHRD_ETHER,
        master: None,
        mtu: 0,
        xdp_program: None,
    };
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => interface.name = text(value),
            libc::IFLA_MTU => interface.mtu = u32_at(value, 0)?,
            libc::IFLA_MASTER => interface.master = u32_at(value, 0).filter(|index| *index != 0),
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == INFO_KIND);
                interface.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            libc::IFLA_XDP => {
                interface.xdp_program = attributes(value)
                    .filter(|(kind, _)| XDP_PROGRAM_IDS.contains(kind))
                    .find_map(|(_, value)| u32_at(value, 0).filter(|id| *id != 0));
            }
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

/// The host's own address that an `RTM_NEWADDR` tells of. On a link from point to
/// point `IFA_ADDRESS` is the other end's, and `IFA_LOCAL` ours.
pub(super) fn own_address(payload: &[u8]) -> Option<IpAddr> {
    let (mut local, mut other) = (None, None);
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            libc::IFA_LOCAL => local = address(value),
            libc::IFA_ADDRESS => other = address(value),
            _ => {}
        }
    }
    local.or(other)
}

/// The next hops of the route that an `RTM_NEWROUTE` tells of, if it is a default
/// route of the main table.
pub(super) fn gateways(payload: &[u8], found: &mut Vec<IpAddr>) {
    if !is_default_route(payload) {
        return;
    }
    let attributes = || attributes(payload.get(12..).unwrap_or_default());
    // A table's number above 255 does not fit into the header.
    let header_table = payload.get(4).copied().map_or(0, u32::from);
    let table = attributes().find(|(kind, _)| *kind == libc::RTA_TABLE);
    let table = table.and_then(|(_, value)| u32_at(value, 0)).unwrap_or(header_table);
    if table != u32::from(libc::RT_TABLE_MAIN) {
        return;
    }
    for (kind, value) in attributes() {
        if kind == libc::RTA_MULTIPATH {
            multipath(value, found);
        } else {
            found.extend(next_hop(kind, value));
        }
    }
}

/// Whether a route has no destination: everything goes there. Cached routes to single
/// addresses do not count.
pub(super) fn is_default_route(payload: &[u8]) -> bool {
    let unicast = payload.get(7) == Some(&libc::RTN_UNICAST);
    let cached = u32_at(payload, 8).is_none_or(|flags| flags & libc::RTM_F_CLONED != 0);
    payload.get(1) == Some(&0) && unicast && !cached
}

fn next_hop(kind: u16, value: &[u8]) -> Option<IpAddr> {
    match kind {
        libc::RTA_GATEWAY => address(value),
        // `struct rtvia`: a family, then the address.
        RTA_VIA => address(value.get(2..)?),
        _ => None,
    }
}

/// A list of `struct rtnexthop`, each with attributes of its own.
fn multipath(mut hops: &[u8], found: &mut Vec<IpAddr>) {
    while let Some(length) = u16_at(hops, 0).map(usize::from) {
        let Some(own) = hops.get(8..length) else { return };
        found.extend(attributes(own).filter_map(|(kind, value)| next_hop(kind, value)));
        hops = hops.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// The attributes of a message or of a nested attribute: type without its flags, and
/// value. Stops at what is not one.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(rest, 0)?), u16_at(rest, 2)?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        // The two topmost bits say "nested" and "network byte order".
        Some((kind & 0x3fff, value))
    })
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}

/// A string up to its NUL.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}
