//! What `guardctl watch --drops` is made of: samples of dropped packets, for as long as
//! somebody watches.

use std::time::Duration;

use anyhow::{Result, ensure};
use guard::enforce::Enforcer;
use guard::enforce::xdp::{DroppedPacket, Drops};
use guard_tests::deadline::wait_for;
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, NEIGHBOUR, UPLINK};

use crate::bed::{Bed, OTHER, Opens, SSH, assert_open, assert_silent, ban, now, snapshot};

const PATIENCE: Duration = Duration::from_secs(10);

/// The packets that are shown, until one comes for which `enough` says so.
fn seen(
    bed: &Bed,
    drops: &mut Drops,
    enough: impl Fn(&DroppedPacket) -> bool,
) -> Result<Vec<DroppedPacket>> {
    let mut all = Vec::new();
    wait_for("a packet in the samples", PATIENCE, || {
        // Inside, where the interface has its name.
        let more = bed.lan.host.run(|| Ok(drops.next(Duration::from_millis(100))?))?;
        all.extend(more);
        Ok(all.iter().any(&enough).then_some(()))
    })?;
    Ok(all)
}

#[test]
fn dropped_packets_are_shown_and_others_are_not() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None), ban(0, ATTACKER_V6, None)]), now())?;
    bed.banned()?;
    let mut drops = Drops::watch(&bed.bpffs.path(), 1000)?;
    let second = Drops::watch(&bed.bpffs.path(), 1000).map(drop);
    ensure!(second.is_err_and(|error| error.to_string().contains("somebody else")), "one watch");
    assert_open(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, OTHER)?;
    assert_silent(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    let before = now().boot_nanos;
    assert_silent(&bed.lan.outside, ATTACKER_V6, HOST_V6, SSH)?;
    let all = seen(&bed, &mut drops, |one| one.source == ATTACKER_V6)?;
    let first = all.iter().find(|one| one.source == ATTACKER).expect("the IPv4 attempt came first");
    ensure!((first.protocol, first.port) == ("tcp", Some(SSH)), "{first:?}");
    ensure!(first.destination == HOST && first.interface.starts_with(UPLINK), "{first:?}");
    ensure!(first.bytes >= 54, "{first:?}");
    let v6 = all.iter().find(|one| one.source == ATTACKER_V6).expect("waited for");
    ensure!((v6.destination, v6.protocol, v6.port) == (HOST_V6, "tcp", Some(SSH)), "{v6:?}");
    // The programs look at the clock once a tick.
    ensure!(v6.boot_nanos + 20_000_000 >= before, "{v6:?} came before {before}");
    let banned = [ATTACKER, ATTACKER_V6];
    ensure!(all.iter().all(|one| banned.contains(&one.source)), "{all:?}");
    ensure!(drops.missed()? == 0, "none was left out");
    Ok(())
}

#[test]
fn the_kernel_leaves_out_what_is_more_than_asked_for_and_all_when_nobody_watches() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(vec![ban(0, ATTACKER, None)]), now())?;
    let mut drops = Drops::watch(&bed.bpffs.path(), 0)?;
    bed.banned()?;
    let none = bed.lan.host.run(|| Ok(drops.next(Duration::from_millis(50))?))?;
    ensure!(none.is_empty(), "{none:?}");
    let missed = drops.missed()?;
    ensure!(missed > 0, "counted");
    drop(drops);
    bed.banned()?;
    let mut drops = Drops::watch(&bed.bpffs.path(), 1000)?;
    ensure!(drops.missed()? == 0, "what was dropped while nobody watched is not missed");
    let none = bed.lan.host.run(|| Ok(drops.next(Duration::from_millis(50))?))?;
    ensure!(none.is_empty(), "not shown later: {none:?}");
    assert_silent(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    seen(&bed, &mut drops, |one| one.source == ATTACKER)?;
    Ok(())
}

#[test]
fn without_programs_there_is_nothing_to_watch() -> Result<()> {
    let bed = Bed::new()?;
    let error = Drops::watch(&bed.bpffs.path(), 1).expect_err("nothing is pinned").to_string();
    ensure!(error.contains("nft tells nothing of single packets"), "{error}");
    Ok(())
}
