//! Which interfaces are covered and how, and what is left behind.

use anyhow::Result;
use guard::core::host::Host;
use guard::enforce::Enforcer;
use guard::enforce::xdp::{Interfaces, Xdp, XdpOptions};
use guard_tests::lan::{ATTACKER, HOST, UPLINK};
use guard_tests::namespace::{self, Namespace};

use crate::bed::{
    Bed, Bpffs, Opens, SSH, assert_open, assert_silent, ban, filtered, host, now, of, snapshot,
};

#[test]
fn a_guest_on_the_bridge_is_stopped_by_tcx() -> Result<()> {
    let bed = Bed::new()?;
    let guest = Namespace::new("guest")?;
    namespace::cable((&bed.lan.host, "tap7"), (&guest, "eth0"))?;
    for command in [
        "link add br0 type bridge",
        "link set tap7 master br0",
        "link set br0 up",
        "address add 10.4.0.254/24 dev br0",
        "tuntap add tun9 mode tun",
    ] {
        bed.lan.host.ip(command)?;
    }
    let (banned, neighbour) = ("10.4.0.1".parse()?, "10.4.0.2".parse()?);
    for address in [banned, neighbour] {
        guest.ip(&format!("address add {address}/24 dev eth0"))?;
    }
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let coverage = xdp.coverage();
    assert_eq!(of(&coverage, "br0").means, filtered()?);
    assert_eq!(of(&coverage, "tun9").means, filtered()?);
    assert_eq!(of(&coverage, "tap7").means, filtered()?);
    assert!(of(&coverage, "tap7").reason.contains("through br0"), "{coverage:?}");
    assert_eq!(of(&coverage, UPLINK).means, "native XDP");
    xdp.replace(&snapshot(vec![ban(0, banned, None)]), now())?;
    let to: std::net::IpAddr = "10.4.0.254".parse()?;
    assert_silent(&guest, banned, to, SSH)?;
    assert_open(&guest, neighbour, to, SSH)?;
    let dropped = |xdp: &Xdp, name: &str| {
        of(&xdp.coverage(), name).dropped.expect("counted for each interface").packets
    };
    // A guest's packets come in through the bridge.
    let seen = dropped(&xdp, "br0");
    assert!(seen > 0 && dropped(&xdp, UPLINK) == 0 && dropped(&xdp, "tun9") == 0, "{seen}");
    drop(xdp);
    assert_silent(&guest, banned, to, SSH)?;

    // Interfaces that are gone leave nothing behind.
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    assert!(dropped(&xdp, "br0") >= seen, "a restart forgets nothing");
    assert_eq!(bed.bpffs.pinned("links")?.len(), 3);
    bed.lan.host.ip("link del br0")?;
    bed.lan.host.ip("link del tun9")?;
    bed.follow(&mut xdp)??;
    assert_eq!(of(&xdp.coverage(), "tap7").means, "native XDP", "no bridge covers it any more");
    assert_eq!(bed.bpffs.pinned("links")?.len(), 2);
    Ok(())
}

#[test]
fn another_xdp_program_is_left_alone_and_named() -> Result<()> {
    let bed = Bed::new()?;
    let other = Bpffs::new()?;
    let (foreign, followed) = bed.open(other.options())?;
    followed?;
    let id = host(&bed.lan.host)?.interfaces.iter().find_map(|one| one.xdp_program);
    let id = id.expect("there is a program on the uplink now");

    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let coverage = xdp.coverage();
    assert_eq!(of(&coverage, UPLINK).means, filtered()?);
    assert!(of(&coverage, UPLINK).reason.contains(&format!("program {id}")), "{coverage:?}");
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    bed.banned()?;
    assert_eq!(host(&bed.lan.host)?.interfaces.iter().find_map(|one| one.xdp_program), Some(id));
    // Unseen before, it keeps its place too.
    bed.lan.host.run(|| Ok(xdp.detach()?))?;
    let mut xdp = bed.lan.host.run(|| Ok(Xdp::open(bed.bpffs.options())?))?;
    let mut stale = host(&bed.lan.host)?;
    for interface in &mut stale.interfaces {
        interface.xdp_program = None;
    }
    bed.lan.host.run(|| Ok(xdp.follow(&stale)?))?;
    assert_eq!(of(&xdp.coverage(), UPLINK).means, filtered()?);
    assert!(of(&xdp.coverage(), UPLINK).reason.contains("another XDP program"));
    drop(foreign);
    Ok(())
}

#[test]
fn only_packets_to_own_addresses_are_dropped_unless_all_are_meant() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    bed.banned()?;
    // As if the address were a guest's: the program asks the map, not the stack.
    xdp.follow_addresses(&Host::default())?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    drop(xdp);
    let options = XdpOptions { host_only: false, ..bed.bpffs.options() };
    let mut xdp = Xdp::open(options)?;
    assert_silent(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    bed.follow(&mut xdp)??;
    bed.banned()
}

#[test]
fn named_interfaces_alone_are_covered_and_a_missing_one_is_an_error() -> Result<()> {
    let bed = Bed::new()?;
    let far = Namespace::new("far")?;
    namespace::cable((&bed.lan.host, "up1"), (&far, "eth0"))?;
    let named = |names: &[&str]| XdpOptions {
        interfaces: Interfaces::Named(names.iter().map(|name| (*name).to_owned()).collect()),
        ..bed.bpffs.options()
    };
    let (mut xdp, followed) = bed.open(named(&[UPLINK, "eth9"]))?;
    let error = followed.expect_err("eth9 is not there").to_string();
    assert!(error.contains("eth9: there is no such interface"), "{error}");
    assert!(!error.contains(UPLINK), "{error}");
    let coverage = xdp.coverage();
    assert_eq!(of(&coverage, UPLINK).means, "native XDP");
    assert_eq!(of(&coverage, "up1").means, "none");
    assert_eq!(of(&coverage, "eth9").means, "none");
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    bed.banned()?;

    // What is not chosen any more is uncovered.
    drop(xdp);
    let (_, followed) = bed.open(named(&["up1"]))?;
    followed?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)
}

#[test]
fn detaching_removes_every_trace() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    bed.banned()?;
    drop(xdp);
    assert!(guard::enforce::xdp::detach(&bed.bpffs.path())?, "something was there");
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    assert_eq!(bed.bpffs.pinned("")?, Vec::<String>::new());
    assert_eq!(host(&bed.lan.host)?.interfaces.iter().find_map(|one| one.xdp_program), None);
    assert!(!guard::enforce::xdp::detach(&bed.bpffs.path())?, "nothing is left");
    Ok(())
}

#[test]
fn probing_tells_what_would_be_chosen_and_touches_nothing() -> Result<()> {
    use guard::enforce::probe::probe;
    let bed = Bed::new()?;
    bed.lan.host.ip("link add br0 type bridge")?;
    let interfaces = Interfaces::Named([UPLINK, "br0", "eth9"].map(str::to_owned).to_vec());
    let look = |bpffs: &Bpffs, interfaces: &Interfaces| -> Result<_> {
        let host = host(&bed.lan.host)?;
        let options = XdpOptions { interfaces: interfaces.clone(), ..bpffs.options() };
        bed.lan.host.run(|| Ok(probe(&host, &options)))
    };
    let found = look(&bed.bpffs, &interfaces)?;
    let tcx = filtered()? == "tcx";
    assert_eq!((found.bpf.as_deref(), found.tcx), (None, Some(tcx)));
    assert_eq!(found.clsact, if tcx { None } else { Some(true) });
    let one = |name: &str| {
        let list = found.interfaces.iter();
        list.clone().find(|one| one.choice.interface == name).expect("listed").clone()
    };
    assert_eq!(one(UPLINK).driver.as_deref(), Some("veth"));
    // Linux 6.3 tells; which kernels must is in `tests/fixtures/kernels.toml`.
    if one(UPLINK).native_xdp.is_some() {
        assert_eq!((one(UPLINK).native_xdp, one("br0").native_xdp), (Some(true), Some(false)));
    }
    assert_eq!(one(UPLINK).choice.means, "native XDP");
    assert_eq!(one("br0").choice.means, filtered()?);
    assert_eq!(one("eth9").choice.means, "none");
    assert!(found.interfaces.iter().all(|one| !one.attached && one.other_program.is_none()));
    assert!(!bed.bpffs.path().exists(), "nothing was made");
    assert_eq!(host(&bed.lan.host)?.interfaces.iter().find_map(|one| one.xdp_program), None);

    let (_xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let ours = look(&bed.bpffs, &Interfaces::Auto)?;
    assert!(ours.interfaces.iter().all(|one| one.attached && one.other_program.is_none()));
    // From another installation it is somebody else's.
    let theirs = look(&Bpffs::new()?, &Interfaces::Auto)?;
    let uplink = theirs.interfaces.iter().find(|one| one.choice.interface == UPLINK);
    let uplink = uplink.expect("listed");
    assert!(uplink.other_program.is_some() && !uplink.attached);
    assert_eq!(uplink.choice.means, filtered()?);
    Ok(())
}
