//! A host whose uplink is the port of a bridge, as on a hypervisor: the agent guards the
//! host's own addresses, which lie on the bridge, and leaves its guest's traffic alone; or
//! guards both. This takes root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::wait_until;
use guard_tests::lan::{
    ATTACKER, ATTACKER_V6, HOST, HOST_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6, UPLINK,
};
use guard_tests::namespace::{self, Namespace};
use guard_tests::probe::{self, Answer, Service, connect};

const SSH: u16 = 22;
const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 3, 0, 50));
const GUEST_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd03, 0, 0, 0, 0, 0, 0, 0x50));
/// An address that moves from the host to its guest.
const MOVING: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 3, 0, 60));

/// Attacker, neighbour, host and guest of each family.
const FAMILIES: [[IpAddr; 4]; 2] =
    [[ATTACKER, NEIGHBOUR, HOST, GUEST], [ATTACKER_V6, NEIGHBOUR_V6, HOST_V6, GUEST_V6]];

struct Bed {
    lan: Lan,
    guest: Namespace,
    _services: [Service; 2],
}

impl Bed {
    fn new() -> Result<Self> {
        namespace::sweep()?;
        let (lan, guest) = (Lan::new()?, Namespace::new("guest")?);
        namespace::cable((&lan.host, "tap0"), (&guest, "eth0"))?;
        for command in [
            format!("address flush dev {UPLINK}"),
            "link add br0 type bridge".to_owned(),
            format!("link set {UPLINK} master br0"),
            "link set tap0 master br0".to_owned(),
            "link set br0 up".to_owned(),
            format!("address add {HOST}/24 dev br0"),
            format!("address add {HOST_V6}/64 dev br0 nodad"),
        ] {
            lan.host.ip(&command)?;
        }
        guest.ip(&format!("address add {GUEST}/24 dev eth0"))?;
        guest.ip(&format!("address add {GUEST_V6}/64 dev eth0 nodad"))?;
        let services = [Service::listen(&lan.host, SSH)?, Service::listen(&guest, SSH)?];
        let bed = Self { lan, guest, _services: services };
        // The bridge takes its time to forward.
        for [attacker, _, host, guest] in FAMILIES {
            bed.wait(attacker, host, true)?;
            bed.wait(attacker, guest, true)?;
        }
        Ok(bed)
    }

    /// `interfaces` as in `guard.toml`: what hardware is covered natively by itself, a
    /// cable of the kernel's own is when it alone is named.
    fn agent(&self, scope: &str, interfaces: &str) -> Result<Agent<'_>> {
        let mut agent = Agent::new(&self.lan.host, beside_this_program()?)?
            .setting("backend", "\"xdp\"")
            .setting("interfaces", interfaces)
            .setting("scope", &format!("{scope:?}"));
        agent.write("jail.local", "[sshd]\nenabled = true\nport = 22\n")?;
        agent.start()?;
        for [attacker, ..] in FAMILIES {
            agent.guardctl(&["ban", "sshd", &attacker.to_string()])?;
        }
        Ok(agent)
    }

    fn answer(&self, from: IpAddr, to: IpAddr) -> Result<Answer> {
        connect(&self.lan.outside, from, SocketAddr::new(to, SSH), probe::SILENCE)
    }

    fn wait(&self, from: IpAddr, to: IpAddr, open: bool) -> Result<()> {
        wait_until(&format!("{from} to {to}: open {open}"), PATIENCE, || {
            Ok((self.answer(from, to)? == Answer::Connected) == open)
        })
    }

    /// The banned source at the host and at its guest; its neighbour gets to both.
    fn expect(&self, at_host: Answer, at_guest: Answer) -> Result<()> {
        for [attacker, neighbour, host, guest] in FAMILIES {
            assert_eq!(self.answer(attacker, host)?, at_host, "{attacker} to {host}");
            assert_eq!(self.answer(attacker, guest)?, at_guest, "{attacker} to the guest");
            for to in [host, guest] {
                assert_eq!(self.answer(neighbour, to)?, Answer::Connected, "{neighbour} to {to}");
            }
        }
        Ok(())
    }
}

#[test]
fn a_ban_cuts_off_the_host_and_not_its_guest() -> Result<()> {
    let bed = Bed::new()?;
    for (interfaces, means) in [("[\"up0\"]", "native XDP"), ("\"auto\"", "tcx")] {
        let mut agent = bed.agent("host", interfaces)?;
        let status = agent.guardctl(&["--json", "status"])?;
        assert!(status.contains(&format!("\"means\": \"{means}\"")), "{status}");
        bed.expect(Answer::Silence, Answer::Connected)?;
        agent.guardctl(&["unban", "--all"])?;
        bed.expect(Answer::Connected, Answer::Connected)?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn with_scope_all_it_cuts_off_both() -> Result<()> {
    let bed = Bed::new()?;
    // In the driver of the uplink, and by tcx on each port of the bridge.
    for interfaces in ["[\"up0\"]", "\"auto\""] {
        let mut agent = bed.agent("all", interfaces)?;
        bed.expect(Answer::Silence, Answer::Silence)?;
        agent.guardctl(&["unban", "--all"])?;
        bed.expect(Answer::Connected, Answer::Connected)?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn own_addresses_are_followed_while_the_agent_runs() -> Result<()> {
    let bed = Bed::new()?;
    let mut agent = bed.agent("host", "\"auto\"")?;
    // Nobody has it, then the host, then its guest.
    bed.lan.host.ip(&format!("address add {MOVING}/24 dev br0"))?;
    bed.wait(NEIGHBOUR, MOVING, true)?;
    bed.wait(ATTACKER, MOVING, false)?;
    bed.lan.host.ip(&format!("address del {MOVING}/24 dev br0"))?;
    bed.guest.ip(&format!("address add {MOVING}/24 dev eth0"))?;
    // Whoever asked before must ask again who has it.
    bed.lan.outside.ip("neigh flush dev out0")?;
    bed.wait(NEIGHBOUR, MOVING, true)?;
    bed.wait(ATTACKER, MOVING, true)?;
    bed.expect(Answer::Silence, Answer::Connected)?;
    // What changes while it is down is known when it is ready.
    agent.stop()?;
    bed.guest.ip(&format!("address del {MOVING}/24 dev eth0"))?;
    bed.lan.host.ip(&format!("address add {MOVING}/24 dev br0"))?;
    bed.lan.outside.ip("neigh flush dev out0")?;
    bed.wait(NEIGHBOUR, MOVING, true)?;
    agent.start()?;
    assert_eq!(bed.answer(ATTACKER, MOVING)?, Answer::Silence);
    assert_eq!(bed.answer(NEIGHBOUR, MOVING)?, Answer::Connected);
    bed.expect(Answer::Silence, Answer::Connected)
}
