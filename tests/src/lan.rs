//! One cable with an attacker and its neighbour at one end and a host at the other.
//!
//! The addresses are those of the guide that the project's main example follows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::Result;

use crate::namespace::{self, Namespace};

/// Who will be banned.
pub const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 3, 0, 1));
/// The address next to it, which must never be.
pub const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 3, 0, 2));
/// The host that the agent guards.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 3, 0, 254));
/// The attacker's IPv6 address.
pub const ATTACKER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 1));
/// The neighbour's IPv6 address.
pub const NEIGHBOUR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 2));
/// The host's IPv6 address.
pub const HOST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 0x254));
/// The host's interface.
pub const UPLINK: &str = "up0";

/// The two ends of the cable.
#[derive(Debug)]
pub struct Lan {
    /// Where the agent runs, interface [`UPLINK`].
    pub host: Namespace,
    /// Where both the attacker and its neighbour are.
    pub outside: Arc<Namespace>,
}

impl Lan {
    /// Lays the cable and gives out the addresses.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> Result<Self> {
        let lan =
            Self { host: Namespace::new("host")?, outside: Arc::new(Namespace::new("outside")?) };
        namespace::cable((&lan.host, UPLINK), (&lan.outside, "out0"))?;
        lan.host.ip(&format!("address add {HOST}/24 dev {UPLINK}"))?;
        // Without duplicate address detection, which would take two seconds.
        lan.host.ip(&format!("address add {HOST_V6}/64 dev {UPLINK} nodad"))?;
        for address in [ATTACKER, NEIGHBOUR] {
            lan.outside.ip(&format!("address add {address}/24 dev out0"))?;
        }
        for address in [ATTACKER_V6, NEIGHBOUR_V6] {
            lan.outside.ip(&format!("address add {address}/64 dev out0 nodad"))?;
        }
        Ok(lan)
    }
}
