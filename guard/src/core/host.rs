//! What guard knows of the host's network: addresses, gateways and interfaces.

use std::net::IpAddr;

/// The host's network at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Own addresses and gateways.
    pub addresses: HostAddresses,
    /// Every interface, loopback included, by index.
    pub interfaces: Vec<Interface>,
}

/// Addresses that no log line can ban: the host's own ones, and those that it and its
/// administrators need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses {
    /// Addresses of all interfaces.
    pub own: Vec<IpAddr>,
    /// Next hops of default routes.
    pub gateways: Vec<IpAddr>,
    /// Where administrators are logged in from.
    pub sessions: Vec<IpAddr>,
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name, such as `vmbr0`.
    pub name: String,
    /// `IFLA_INFO_KIND`, such as `bridge`, `veth`, `tun`, `vlan`; empty for hardware.
    pub kind: String,
    /// Whether it is loopback.
    pub loopback: bool,
    /// Whether its frames begin with an Ethernet header (`ARPHRD_ETHER`).
    pub ethernet: bool,
    /// Index of the bridge, bond or VRF that it belongs to.
    pub master: Option<u32>,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Id of the XDP program that is attached, if any, whoever put it there.
    pub xdp_program: Option<u32>,
}
