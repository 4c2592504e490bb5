//! What is dropped, what outlives the enforcer, and how it comes back.

use std::time::{Duration, Instant};

use anyhow::Result;
use guard::core::delta::Delta;
use guard::core::jail::JailId;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard::enforce::{EnforceError, Enforcer};
use guard_common::verdict::Verdict;
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, NEIGHBOUR, NEIGHBOUR_V6, UPLINK};

use crate::bed::{
    self, Bed, Bpffs, OTHER, Opens, SSH, assert_open, assert_silent, ban, held, host, jails, now,
    of, snapshot,
};

#[test]
fn a_ban_cuts_off_one_source_from_the_ports_of_its_jail_until_it_is_lifted() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let coverage = xdp.coverage();
    assert_eq!(coverage.len(), 1, "loopback has none: {coverage:?}");
    assert_eq!(of(&coverage, UPLINK).means, "native XDP");
    xdp.replace(&snapshot(Vec::new()), now())?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)?;

    xdp.apply(&[Delta::Ban(ban(0, ATTACKER, None)), Delta::Ban(ban(0, ATTACKER_V6, None))], now())?;
    bed.banned()?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, OTHER)?;
    assert_silent(&bed.lan.outside, ATTACKER_V6, HOST_V6, SSH)?;
    assert_open(&bed.lan.outside, NEIGHBOUR_V6, HOST_V6, SSH)?;
    assert_eq!(held(&mut xdp)?, ["sshd 10.3.0.1", "sshd fd03::1"]);
    for held in xdp.held(now())? {
        let dropped = held.dropped.expect("XDP counts");
        assert!(dropped.packets >= 1 && dropped.bytes >= 54 * dropped.packets, "{held:?}");
    }
    let totals = xdp.totals()?;
    let of = |verdict| totals.iter().find(|(one, _)| *one == verdict).expect("listed").1.packets;
    assert!(of(Verdict::Drop) >= 2 && of(Verdict::PassOtherPort) >= 1, "{totals:?}");

    let lifted = Delta::Unban { jail: JailId(0), source: ATTACKER.into() };
    xdp.apply(&[lifted, lifted], now())?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    assert_silent(&bed.lan.outside, ATTACKER_V6, HOST_V6, SSH)?;
    assert_eq!(held(&mut xdp)?, ["sshd fd03::1"]);
    Ok(())
}

#[test]
fn bans_hold_without_the_enforcer_and_are_adopted_as_they_are() -> Result<()> {
    let bed = Bed::new()?;
    let desired =
        snapshot(vec![ban(0, ATTACKER, Some(Duration::from_secs(600))), ban(1, NEIGHBOUR, None)]);
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&desired, now())?;
    let link = xdp.link_id(bed.uplink()?).expect("the uplink has a link");
    drop(xdp);
    bed.banned()?;

    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    assert_eq!(held(&mut xdp)?, ["other 10.3.0.2", "sshd 10.3.0.1"], "the kernel alone tells");
    let before = xdp.held(now())?;
    assert!(before.iter().any(|held| held.dropped.expect("counted").packets >= 1));
    xdp.replace(&desired, now())?;
    assert_eq!(xdp.held(now())?, before, "counters stay");
    assert_eq!(xdp.link_id(bed.uplink()?), Some(link), "attached once");
    bed.banned()?;

    // Another snapshot: exactly that, and what stays is kept with its counters.
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None), ban(2, ATTACKER_V6, None)]), now())?;
    assert_eq!(held(&mut xdp)?, ["again fd03::1", "sshd 10.3.0.1"]);
    let attacker = |held: &&guard::enforce::Held| held.source == ATTACKER.into();
    let dropped = xdp.held(now())?.iter().find(attacker).and_then(|held| held.dropped);
    let first = before.iter().find(attacker).and_then(|held| held.dropped);
    assert!(dropped.expect("counted").packets >= first.expect("counted").packets);
    bed.banned()
}

#[test]
fn a_ban_ends_in_the_kernel_without_the_enforcer() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(Vec::new()), now())?;
    let start = Instant::now();
    let length = Duration::from_millis(300);
    xdp.apply(
        &[Delta::Ban(ban(0, ATTACKER, Some(length))), Delta::Ban(ban(0, NEIGHBOUR, None))],
        now(),
    )?;
    drop(xdp);
    // The first SYN is dropped; the one that TCP sends a second later comes through.
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    assert!(start.elapsed() >= length, "let out early");
    assert_silent(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    let mut xdp = Xdp::open(bed.bpffs.options())?;
    assert_eq!(held(&mut xdp)?, ["sshd 10.3.0.2"], "an ended ban is not held");
    Ok(())
}

#[test]
fn bans_of_one_source_by_several_jails_are_lifted_one_by_one() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    let left = |seconds| Some(Duration::from_secs(seconds));
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, left(50)), ban(1, ATTACKER, left(60))]), now())?;
    xdp.apply(&[Delta::Ban(ban(2, ATTACKER, None))], now())?;
    assert_eq!(held(&mut xdp)?, ["again 10.3.0.1", "other 10.3.0.1", "sshd 10.3.0.1"]);
    let lift = |jail| Delta::Unban { jail: JailId(jail), source: ATTACKER.into() };
    xdp.apply(&[lift(0), lift(1)], now())?;
    assert_eq!(held(&mut xdp)?, ["again 10.3.0.1"]);
    bed.banned()?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, OTHER)?;
    xdp.apply(&[lift(2)], now())?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)
}

#[test]
fn more_ends_than_an_entry_holds_are_still_told_apart() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(bpffs.options())?;
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut desired = snapshot(Vec::new());
    desired.jails = names
        .iter()
        .zip(1000..)
        .map(|(name, port)| guard::core::delta::JailPorts {
            name: guard::core::jail::JailName::new(name).expect("a name"),
            ports: guard::core::ports::Ports::new(
                guard::core::ports::Protocols::Tcp,
                [port..=port],
            ),
        })
        .collect();
    desired.bans = (0..6)
        .map(|jail| ban(jail, ATTACKER, Some(Duration::from_secs(60 * (1 + u64::from(jail))))))
        .collect();
    xdp.replace(&desired, now())?;
    let of =
        |jails: &[&str]| jails.iter().map(|jail| format!("{jail} 10.3.0.1")).collect::<Vec<_>>();
    assert_eq!(held(&mut xdp)?, of(&names));
    xdp.apply(&[Delta::Unban { jail: JailId(1), source: ATTACKER.into() }], now())?;
    assert_eq!(held(&mut xdp)?, of(&["a", "c", "d", "e", "f"]));
    let mut later = now();
    later.boot_nanos += 61_000_000_000;
    assert_eq!(xdp.held(later)?.len(), 4, "the first has ended");
    Ok(())
}

#[test]
fn an_upgrade_swaps_the_program_behind_the_link() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    let uplink = bed.uplink()?;
    let program = |bed: &Bed| -> Result<Option<u32>> {
        Ok(host(&bed.lan.host)?.interfaces.iter().find_map(|one| one.xdp_program))
    };
    let (link, old) = (xdp.link_id(uplink), program(&bed)?);
    drop(xdp);
    let xdp = Xdp::open(bed.bpffs.options())?;
    assert_eq!(program(&bed)?, old, "the same program stays");
    drop(xdp);

    let mut xdp = Xdp::open_with(bed.bpffs.options(), &changed_object())?;
    assert_ne!(program(&bed)?, old, "another one takes its place");
    assert_eq!(xdp.link_id(uplink), link);
    bed.banned()?;
    assert_eq!(held(&mut xdp)?, ["sshd 10.3.0.1"]);
    Ok(())
}

#[test]
fn maps_of_another_size_take_the_place_of_those_in_use_when_they_are_full() -> Result<()> {
    let bed = Bed::new()?;
    let desired = snapshot(vec![ban(0, ATTACKER, None)]);
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&desired, now())?;
    let link = xdp.link_id(bed.uplink()?);
    drop(xdp);

    let options = XdpOptions { bans: 2, ..bed.bpffs.options() };
    let (mut xdp, followed) = bed.open(options.clone())?;
    followed?;
    assert_eq!(held(&mut xdp)?, Vec::<String>::new(), "the new maps are empty");
    bed.banned()?;
    drop(xdp);
    // An agent that died here changes nothing.
    let (mut xdp, followed) = bed.open(options.clone())?;
    followed?;
    bed.banned()?;
    xdp.replace(&desired, now())?;
    bed.banned()?;
    assert_eq!(xdp.link_id(bed.uplink()?), link);
    assert_eq!(bed.bpffs.pinned("")?, ["links", "maps-v5"]);
    xdp.apply(&[Delta::Ban(ban(1, ATTACKER, None)), Delta::Ban(ban(1, NEIGHBOUR, None))], now())?;
    let third = Delta::Ban(ban(1, HOST, None));
    let error = xdp.apply(&[third], now()).expect_err("two addresses fit");
    assert!(matches!(error, EnforceError::Full { what: "BANS_V4", limit: 2 }), "{error}");
    drop(xdp);
    let mut xdp = Xdp::open(options)?;
    assert_eq!(held(&mut xdp)?, ["other 10.3.0.1", "other 10.3.0.2", "sshd 10.3.0.1"]);
    Ok(())
}

#[test]
fn a_batch_of_many_bans_is_quick_and_exact() -> Result<()> {
    const MANY: u32 = 100_000;
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(bpffs.options())?;
    xdp.replace(&snapshot(Vec::new()), now())?;
    let address = |n: u32| std::net::Ipv4Addr::from(0xc612_0000 + n * 7919 % (1 << 17));
    let bans: Vec<_> =
        (0..MANY).map(|n| ban(0, address(n), Some(Duration::from_secs(600)))).collect();
    let deltas: Vec<Delta> = bans.iter().copied().map(Delta::Ban).collect();
    // Time of this thread in the processor, so that what else runs does not count.
    let taken = |work: &mut dyn FnMut() -> Result<()>| -> Result<Duration> {
        let start = bed::processor_time();
        work()?;
        Ok(bed::processor_time() - start)
    };
    let applied = taken(&mut || Ok(xdp.apply(&deltas, now())?))?;
    assert_eq!(xdp.held(now())?.len(), MANY as usize);
    let again = taken(&mut || Ok(xdp.apply(&deltas, now())?))?;
    let desired = snapshot(bans);
    let replaced = taken(&mut || Ok(xdp.replace(&desired, now())?))?;
    println!("{MANY} bans: applied in {applied:?}, again in {again:?}, replaced in {replaced:?}");
    assert!(applied < Duration::from_millis(500), "applied in {applied:?}");
    let unbans: Vec<Delta> =
        (0..MANY).map(|n| Delta::Unban { jail: JailId(0), source: address(n).into() }).collect();
    xdp.apply(&unbans[1..], now())?;
    assert_eq!(held(&mut xdp)?, [format!("sshd {}", address(0))]);
    Ok(())
}

#[test]
fn a_jail_that_is_not_in_the_snapshot_is_refused() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(bpffs.options())?;
    xdp.replace(&snapshot(Vec::new()), now())?;
    let unknown =
        xdp.apply(&[Delta::Ban(ban(9, ATTACKER, None))], now()).expect_err("no such jail");
    assert!(unknown.to_string().contains("jail number 9"), "{unknown}");
    assert_eq!(jails().len(), 3);
    Ok(())
}

/// The embedded object with one instruction written otherwise: `w0 = n` in place of
/// `r0 = n` (or the reverse), which do the same for a small n.
fn changed_object() -> Vec<u8> {
    let mut object = Xdp::object().to_vec();
    let mut changed = 0;
    for instruction in object.chunks_exact_mut(8) {
        if let [code @ (0xb7 | 0xb4), 0..=9, 0, 0, 1 | 2, 0, 0, 0] = instruction {
            *code ^= 0xb7 ^ 0xb4;
            changed += 1;
        }
    }
    assert!(changed > 0, "the object has an instruction that sets a register");
    object
}
