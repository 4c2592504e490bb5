//! How to cover an interface: a plan from what the host looks like, without trying
//! anything.
//!
//! What comes in must meet the program once on its way to this host. A bridge or bond
//! hands up to the host what its ports take in, so a program on it covers them all; on
//! the port of a bridge that is hardware, native XDP drops earlier, before the bridge. What
//! goes from one port of a bridge to another never comes up to the bridge: where that is
//! guarded as well (`scope = "all"`), each port is covered itself.

use crate::core::host::Interface;

/// A way to run a program on what an interface takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::enforce) enum Way {
    /// XDP in the driver.
    Native,
    /// tcx ingress, frames with an Ethernet header.
    Tcx,
    /// tcx ingress, packets that begin with the IP header.
    TcxIp,
    /// As [`Way::Tcx`], by a filter of the traffic control; before Linux 6.6.
    Clsact,
    /// As [`Way::TcxIp`], by a filter of the traffic control; before Linux 6.6.
    ClsactIp,
    /// XDP after the kernel has made a socket buffer.
    Generic,
}

impl Way {
    /// As [`crate::enforce::Coverage::means`] has it.
    pub(in crate::enforce) fn means(self) -> &'static str {
        match self {
            Self::Native => "native XDP",
            Self::Generic => "generic XDP",
            Self::Tcx | Self::TcxIp => "tcx",
            Self::Clsact | Self::ClsactIp => "clsact",
        }
    }

    /// Whether a filter of the traffic control joins program and interface, not a link.
    pub(in crate::enforce) fn is_filter(self) -> bool {
        matches!(self, Self::Clsact | Self::ClsactIp)
    }
}

/// What is to be tried, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::enforce) struct Plan {
    /// Ways that are better than to rely on `through`.
    pub(in crate::enforce) first: Vec<Way>,
    /// The bridge or bond that covers this interface if it is covered itself.
    pub(in crate::enforce) through: Option<u32>,
    /// Ways that are left when it is not.
    pub(in crate::enforce) last: Vec<Way>,
    /// Why the plan is so.
    pub(in crate::enforce) why: String,
}

/// Plans for one interface that is not loopback. `foreign` is the id of an XDP program
/// on it that is not ours; `host_only` says that only this host is guarded, not what it
/// forwards.
pub(in crate::enforce) fn plan(
    interface: &Interface,
    interfaces: &[Interface],
    foreign: Option<u32>,
    generic: bool,
    host_only: bool,
) -> Plan {
    if !interface.ethernet {
        return Plan {
            first: vec![Way::TcxIp, Way::ClsactIp],
            through: None,
            last: Vec::new(),
            why: "its packets have no Ethernet header".to_owned(),
        };
    }
    let master =
        interface.master.and_then(|index| interfaces.iter().find(|other| other.index == index));
    let through = master.filter(|master| passes_up(master)).map(|master| master.index);
    let mut all = vec![Way::Native, Way::Tcx, Way::Clsact];
    if generic {
        all.push(Way::Generic);
    }
    let (mut first, mut last, mut why) = match (interface.kind.as_str(), master, through) {
        ("bridge", ..) => {
            all.retain(|way| *way != Way::Native);
            (all, Vec::new(), "a bridge has no driver of its own".to_owned())
        }
        ("" | "bond" | "team", Some(master), Some(_)) if master.kind == "bridge" => {
            let rest = if host_only { all.split_off(1) } else { Vec::new() };
            (all, rest, format!("uplink of {}", master.name))
        }
        (_, Some(master), Some(_)) if master.kind == "bridge" && !host_only => {
            all.retain(|way| *way == Way::Tcx);
            (
                all,
                Vec::new(),
                format!("what it sends to guests does not come up to {}", master.name),
            )
        }
        (_, Some(master), Some(_)) => {
            (Vec::new(), all, format!("what it brings to this host comes through {}", master.name))
        }
        ("", ..) => (all, Vec::new(), "hardware".to_owned()),
        (kind, ..) => (all, Vec::new(), format!("{kind} device")),
    };
    if let Some(id) = foreign {
        for ways in [&mut first, &mut last] {
            ways.retain(|way| !matches!(way, Way::Native | Way::Generic));
        }
        why = format!("the XDP program {id}, which is not guard's, is on it and stays");
    }
    Plan { first, through, last, why }
}

/// Whether a master hands to the host what its ports take in, as if it had come in
/// there.
fn passes_up(master: &Interface) -> bool {
    matches!(master.kind.as_str(), "bridge" | "bond" | "team")
}

/// Masters before their ports.
pub(in crate::enforce) fn in_order(interfaces: &[Interface]) -> Vec<&Interface> {
    let depth = |interface: &Interface| {
        let mut above = 0;
        let mut at = interface;
        // The kernel nests no deeper than 8; what is deeper is a broken picture.
        while let Some(master) =
            at.master.and_then(|index| interfaces.iter().find(|other| other.index == index))
        {
            above += 1;
            at = master;
            if above > 8 {
                break;
            }
        }
        above
    };
    let mut ordered: Vec<&Interface> = interfaces.iter().collect();
    ordered.sort_by_key(|interface| (depth(interface), interface.index));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, kind: &str, master: Option<u32>) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            loopback: false,
            ethernet: true,
            master,
            mtu: 1500,
            xdp_program: None,
        }
    }

    /// A Proxmox VE host: uplink and guests on a bridge, a VLAN on top, a WireGuard tunnel.
    fn host() -> Vec<Interface> {
        let mut tunnel = interface(7, "wg0", "wireguard", None);
        tunnel.ethernet = false;
        vec![
            interface(2, "eno1", "", Some(4)),
            interface(3, "eno2", "", None),
            interface(4, "vmbr0", "bridge", None),
            interface(5, "tap100i0", "tun", Some(4)),
            interface(6, "vmbr0.5", "vlan", None),
            tunnel,
            interface(8, "veth0", "veth", None),
            interface(9, "fwpr1", "veth", Some(4)),
        ]
    }

    fn of(name: &str, foreign: Option<u32>, generic: bool) -> Plan {
        scoped(name, foreign, generic, true)
    }

    fn scoped(name: &str, foreign: Option<u32>, generic: bool, host_only: bool) -> Plan {
        let host = host();
        let one = host.iter().find(|interface| interface.name == name).expect("it is there");
        plan(one, &host, foreign, generic, host_only)
    }

    #[test]
    fn uplinks_are_tried_natively_and_guests_come_through_the_bridge() {
        let uplink = of("eno1", None, false);
        assert_eq!(
            (uplink.first, uplink.through, uplink.last),
            (vec![Way::Native], Some(4), vec![Way::Tcx, Way::Clsact])
        );
        for guest in ["tap100i0", "fwpr1"] {
            let plan = of(guest, None, false);
            assert_eq!((plan.first, plan.through), (vec![], Some(4)));
            assert_eq!(plan.last, [Way::Native, Way::Tcx, Way::Clsact]);
            assert!(plan.why.contains("through vmbr0"));
        }
    }

    #[test]
    fn each_port_is_covered_itself_when_guests_are_guarded_too() {
        let uplink = scoped("eno1", None, false, false);
        assert_eq!((uplink.first, uplink.last), (vec![Way::Native, Way::Tcx, Way::Clsact], vec![]));
        let taken = scoped("eno1", Some(17), false, false);
        assert_eq!(taken.first, [Way::Tcx, Way::Clsact]);
        for guest in ["tap100i0", "fwpr1"] {
            let plan = scoped(guest, None, true, false);
            assert_eq!((plan.first, plan.through), (vec![Way::Tcx], Some(4)), "{guest}");
        }
        assert_eq!(scoped("vmbr0", None, false, false).first, [Way::Tcx, Way::Clsact]);
    }

    #[test]
    fn what_has_no_master_is_covered_itself() {
        assert_eq!(of("vmbr0", None, false).first, [Way::Tcx, Way::Clsact]);
        assert_eq!(of("vmbr0", None, true).first, [Way::Tcx, Way::Clsact, Way::Generic]);
        for own in ["eno2", "veth0", "vmbr0.5"] {
            assert_eq!(of(own, None, false).first, [Way::Native, Way::Tcx, Way::Clsact], "{own}");
        }
        assert_eq!(of("wg0", None, true).first, [Way::TcxIp, Way::ClsactIp]);
    }

    #[test]
    fn another_program_keeps_its_place() {
        let plan = of("eno2", Some(17), true);
        assert_eq!(plan.first, [Way::Tcx, Way::Clsact]);
        assert!(plan.why.contains("XDP program 17"));
        let uplink = of("eno1", Some(17), true);
        assert_eq!((uplink.first, uplink.through), (vec![], Some(4)));
    }

    #[test]
    fn a_port_of_a_vrf_is_covered_itself() {
        let mut host = host();
        host.push(interface(10, "vrf0", "vrf", None));
        host.push(interface(11, "eno3", "", Some(10)));
        let plan = plan(&host[9], &host, None, false, true);
        assert_eq!((plan.first, plan.through), (vec![Way::Native, Way::Tcx, Way::Clsact], None));
    }

    #[test]
    fn masters_come_before_ports_and_a_circle_does_no_harm() {
        let mut host = host();
        host.push(interface(1, "bond0", "bond", Some(4)));
        host.push(interface(12, "eno4", "", Some(1)));
        let names: Vec<&str> = in_order(&host).iter().map(|one| one.name.as_str()).collect();
        let place = |name| names.iter().position(|other| *other == name).expect("listed");
        assert!(place("vmbr0") < place("bond0") && place("bond0") < place("eno4"));
        let circle = [interface(1, "a", "bridge", Some(2)), interface(2, "b", "bridge", Some(1))];
        assert_eq!(in_order(&circle).len(), 2);
    }
}
