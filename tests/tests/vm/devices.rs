//! Bonds, VLAN devices and their members: who is banned is stopped however it comes in,
//! its neighbour is not, and what is made of them later is covered too.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use guard::enforce::{Coverage, Enforcer};
use guard_tests::namespace::{self, Namespace};

use crate::bed::{Bed, Opens, SSH, assert_open, assert_silent, ban, filtered, now, of, snapshot};

/// Two cables between the host and another machine, bonded at both ends.
struct Bonded {
    bed: Bed,
    far: Namespace,
}

const BANNED: &str = "10.5.0.1";
const BESIDE: &str = "10.5.0.2";
const HERE: &str = "10.5.0.254";

impl Bonded {
    fn new() -> Result<Self> {
        let (bed, far) = (Bed::new()?, Namespace::new("bonded")?);
        let bond = "link add bond0 type bond mode active-backup miimon 10";
        for (at, port) in [(&bed.lan.host, "up"), (&far, "eth")] {
            at.ip(bond)?;
            ensure!(port.len() < 8, "the kernel's names are short");
        }
        for cable in 1..=2 {
            namespace::cable(
                (&bed.lan.host, &format!("up{cable}")),
                (&far, &format!("eth{cable}")),
            )?;
            for (at, port) in [(&bed.lan.host, "up"), (&far, "eth")] {
                // A bond takes only what is down.
                at.ip(&format!("link set {port}{cable} down"))?;
                at.ip(&format!("link set {port}{cable} master bond0"))?;
                at.ip(&format!("link set {port}{cable} up"))?;
            }
        }
        bed.lan.host.ip("link set bond0 up")?;
        far.ip("link set bond0 up")?;
        Ok(Self { bed, far })
    }

    /// Gives both ends addresses on an interface that they both have.
    fn address(&self, interface: &str) -> Result<()> {
        self.bed.lan.host.ip(&format!("address add {HERE}/24 dev {interface}"))?;
        for address in [BANNED, BESIDE] {
            self.far.ip(&format!("address add {address}/24 dev {interface}"))?;
        }
        Ok(())
    }

    /// Opens the enforcer with one ban, and checks that it stops whom it should.
    fn check(&self) -> Result<Vec<Coverage>> {
        let (mut xdp, followed) = self.bed.open(self.bed.bpffs.options())?;
        followed?;
        let (banned, beside, here): (IpAddr, IpAddr, IpAddr) =
            (BANNED.parse()?, BESIDE.parse()?, HERE.parse()?);
        xdp.replace(&snapshot(Vec::new()), now())?;
        assert_open(&self.far, banned, here, SSH)?;
        xdp.replace(&snapshot(vec![ban(0, banned, None)]), now())?;
        assert_silent(&self.far, banned, here, SSH)?;
        assert_open(&self.far, beside, here, SSH)?;
        let dropped: u64 = xdp
            .held(now())?
            .iter()
            .map(|held| held.dropped.map_or(0, |dropped| dropped.packets))
            .sum();
        ensure!(dropped > 0, "dropped by a program, not lost");
        let coverage = xdp.coverage();
        drop(xdp);
        assert_silent(&self.far, banned, here, SSH)?;
        Ok(coverage)
    }
}

#[test]
fn a_bond_is_covered_itself_and_covers_its_members() -> Result<()> {
    let bonded = Bonded::new()?;
    bonded.address("bond0")?;
    let coverage = bonded.check()?;
    // Native XDP on a bond came with Linux 5.15.
    let means = &of(&coverage, "bond0").means;
    ensure!(means == "native XDP" || *means == filtered()?, "{coverage:?}");
    for member in ["up1", "up2"] {
        let member = of(&coverage, member);
        ensure!(member.reason.contains("through bond0"), "{member:?}");
        ensure!(member.means == *means, "{member:?}");
    }
    Ok(())
}

#[test]
fn a_bond_whose_active_member_fails_goes_on_dropping() -> Result<()> {
    let bonded = Bonded::new()?;
    bonded.address("bond0")?;
    bonded.check()?;
    let (banned, beside, here) = (BANNED.parse()?, BESIDE.parse()?, HERE.parse()?);
    for at in [(&bonded.bed.lan.host, "up1"), (&bonded.far, "eth1")] {
        at.0.ip(&format!("link set {} down", at.1))?;
    }
    assert_open(&bonded.far, beside, here, SSH)?;
    assert_silent(&bonded.far, banned, here, SSH)
}

#[test]
fn a_vlan_on_a_bond_is_stopped_with_its_tag_on_or_off() -> Result<()> {
    let bonded = Bonded::new()?;
    for at in [&bonded.bed.lan.host, &bonded.far] {
        at.ip("link add link bond0 name bond0.7 type vlan id 7")?;
        at.ip("link set bond0.7 up")?;
    }
    bonded.address("bond0.7")?;
    let coverage = bonded.check()?;
    ensure!(of(&coverage, "bond0.7").means != "none", "{coverage:?}");
    Ok(())
}

#[test]
fn vlans_on_an_uplink_and_on_a_bridge_are_covered_when_they_come() -> Result<()> {
    let bed = Bed::new()?;
    let far = Namespace::new("tagged")?;
    namespace::cable((&bed.lan.host, "up1"), (&far, "eth0"))?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let (banned, beside, here): (IpAddr, IpAddr, IpAddr) =
        (BANNED.parse()?, BESIDE.parse()?, HERE.parse()?);
    xdp.replace(&snapshot(vec![ban(0, banned, None)]), now())?;
    let links = bed.bpffs.pinned("links")?;

    // A bridge that takes the uplink as its port, and a VLAN on it, twice tagged at that.
    for command in [
        "link add br0 type bridge",
        "link set up1 master br0",
        "link set br0 up",
        "link add link br0 name br0.7 type vlan protocol 802.1ad id 7",
        "link set br0.7 up",
        "link add link br0.7 name inner type vlan id 9",
        "link set inner up",
        "address add 10.5.0.254/24 dev inner",
    ] {
        bed.lan.host.ip(command)?;
    }
    for command in [
        "link add link eth0 name eth0.7 type vlan protocol 802.1ad id 7",
        "link set eth0.7 up",
        "link add link eth0.7 name inner type vlan id 9",
        "link set inner up",
        "address add 10.5.0.1/24 dev inner",
        "address add 10.5.0.2/24 dev inner",
    ] {
        far.ip(command)?;
    }
    bed.follow(&mut xdp)??;
    let coverage = xdp.coverage();
    for name in ["br0", "br0.7", "inner", "up1"] {
        ensure!(of(&coverage, name).means != "none", "{coverage:?}");
    }
    for link in &links {
        ensure!(bed.bpffs.pinned("links")?.contains(link), "attached once: {link}");
    }
    assert_silent(&far, banned, here, SSH)?;
    assert_open(&far, beside, here, SSH)?;

    // A larger MTU leaves the program where it is.
    bed.lan.host.ip("link set up1 mtu 2000")?;
    bed.follow(&mut xdp)??;
    assert_silent(&far, banned, here, SSH)?;
    bed.lan.host.ip("link del inner")?;
    bed.lan.host.ip("link del br0.7")?;
    bed.follow(&mut xdp)??;
    ensure!(!xdp.coverage().iter().any(|one| one.interface == "inner"), "gone");
    Ok(())
}

#[test]
fn a_filter_goes_with_its_interface_and_another_ones_filter_stays() -> Result<()> {
    let bed = Bed::new()?;
    for command in ["link add br0 type bridge", "link add br1 type bridge"] {
        bed.lan.host.ip(command)?;
    }
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    ensure!(of(&xdp.coverage(), "br0").means == filtered()?, "{:?}", xdp.coverage());
    bed.lan.host.ip("link del br0")?;
    bed.follow(&mut xdp)??;
    ensure!(!xdp.coverage().iter().any(|one| one.interface == "br0"), "gone");
    ensure!(bed.lan.host.run(|| Ok(xdp.inspect()?))?.put_right.is_empty(), "nothing wrong");
    bed.lan.host.run(|| Ok(xdp.detach()?))?;
    let left = bed.lan.host.command("tc").args(["qdisc", "show", "dev", "br1"]).output()?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    ensure!(!left.contains("clsact"), "removed with the last filter: {left}");
    Ok(())
}
