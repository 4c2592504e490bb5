//! Many IPv4 bans: in the table instead of the hash map, there and back, adopted, and
//! under a flood while they come and go.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta};
use guard::core::host::Host;
use guard::core::jail::JailId;
use guard::enforce::Enforcer;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_common::verdict::Verdict;
use guard_tests::packets::Packet;
use guard_tests::pinned::{DROP, PASS, Pinned, maps};

use crate::bed::{Bpffs, OTHER, Opens, SSH, ban, held, now, snapshot};

/// So many bans are counted one by one.
const EXACT: usize = 8;

const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

fn options(bpffs: &Bpffs) -> XdpOptions {
    XdpOptions { exact_counters: EXACT, bans: 100_000, host_only: false, ..bpffs.options() }
}

fn address(number: u32) -> IpAddr {
    IpAddr::from(Ipv4Addr::from(0x0a14_0000 + number * 2))
}

/// The address right behind it is never banned.
fn neighbour(number: u32) -> IpAddr {
    IpAddr::from(Ipv4Addr::from(0x0a14_0001 + number * 2))
}

fn packet(source: IpAddr, port: u16) -> Vec<u8> {
    let packet = Packet { source: Some(source), port: Some(port), ..Packet::default() };
    packet.ethernet().expect("a packet")
}

fn bans(numbers: std::ops::Range<u32>, left: Option<Duration>) -> Vec<Ban> {
    numbers.map(|number| ban(0, address(number), left)).collect()
}

fn unban(number: u32) -> Delta {
    Delta::Unban { jail: JailId(0), source: Prefix::host(address(number)) }
}

fn has_table(bpffs: &Bpffs) -> Result<bool> {
    Ok(maps(&bpffs.path())?.join("TABLE_LINES").exists())
}

/// Whether exactly these are held, each is dropped, and its neighbour and another port are
/// not.
fn assert_banned(xdp: &mut Xdp, pinned: &Pinned, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut wanted: Vec<String> =
        numbers.clone().map(|number| format!("sshd {}", address(number))).collect();
    wanted.sort_unstable();
    assert_eq!(held(xdp)?, wanted);
    for number in numbers {
        assert_eq!(pinned.run(&packet(address(number), SSH), 1)?.0, DROP, "{number}");
        assert_eq!(pinned.run(&packet(address(number), OTHER), 1)?.0, PASS, "{number}, other port");
        assert_eq!(pinned.run(&packet(neighbour(number), SSH), 1)?.0, PASS, "next to {number}");
    }
    Ok(())
}

#[test]
fn many_bans_are_in_a_table_and_few_are_counted_one_by_one() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(options(&bpffs))?;
    xdp.replace(&snapshot(bans(0..8, HOUR)), now())?;
    let pinned = Pinned::open(&bpffs.path())?;
    assert!(!has_table(&bpffs)?);
    assert_banned(&mut xdp, &pinned, 0..8)?;
    assert!(xdp.held(now())?.iter().all(|held| held.dropped.is_some_and(|it| it.packets == 1)));

    // More, one by one, and in a jail more: the one that does not fit into a word stays
    // outside the table.
    let more: Vec<Delta> = bans(8..200, HOUR).into_iter().map(Delta::Ban).collect();
    for delta in &more {
        xdp.apply(std::slice::from_ref(delta), now())?;
    }
    assert!(has_table(&bpffs)?);
    assert_banned(&mut xdp, &pinned, 0..200)?;
    xdp.apply(&[Delta::Ban(ban(1, address(5), None))], now())?;
    assert_eq!(pinned.run(&packet(address(5), OTHER), 1)?.0, DROP);
    assert_eq!(pinned.run(&packet(address(5), SSH), 1)?.0, DROP);
    assert_eq!(held(&mut xdp)?.len(), 201);

    // Another agent takes it over as it is.
    let before = held(&mut xdp)?;
    drop(xdp);
    let mut xdp = Xdp::open(options(&bpffs))?;
    assert_eq!(held(&mut xdp)?, before);
    assert_eq!(pinned.run(&packet(address(199), SSH), 1)?.0, DROP);
    xdp.replace(&snapshot(bans(0..200, HOUR)), now())?;
    assert_eq!(pinned.run(&packet(address(5), OTHER), 1)?.0, PASS);
    assert_banned(&mut xdp, &pinned, 0..200)?;

    // Fewer again: back, and counted.
    let gone: Vec<Delta> = (3..200).map(unban).collect();
    xdp.apply(&gone, now())?;
    assert!(!has_table(&bpffs)?);
    assert_banned(&mut xdp, &pinned, 0..3)?;
    assert!(xdp.held(now())?.iter().all(|held| held.dropped.is_some_and(|it| it.packets == 1)));
    assert_eq!(pinned.run(&packet(address(199), SSH), 1)?.0, PASS);
    Ok(())
}

#[test]
fn a_ban_in_the_table_ends_by_itself() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(XdpOptions { exact_counters: 0, ..options(&bpffs) })?;
    let start = now();
    let left = Duration::from_secs(2);
    xdp.replace(&snapshot(bans(0..1, Some(left))), start)?;
    assert!(has_table(&bpffs)?);
    let pinned = Pinned::open(&bpffs.path())?;
    let frame = packet(address(0), SSH);
    // It is told in whole seconds, and the kernel looks at the clock once a tick.
    let latest = start.boot_nanos + 3_050_000_000;
    let passed = loop {
        let before = now().boot_nanos;
        if pinned.run(&frame, 1)?.0 == PASS {
            break now().boot_nanos;
        }
        assert!(before < latest, "dropped after its end");
    };
    // (`start` was read a moment before the end was computed from another reading.)
    assert!(passed + 100_000_000 >= start.boot_nanos + 2_000_000_000, "passed before its end");
    Ok(())
}

#[test]
fn the_limit_is_told_and_holds_in_the_table() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let small = XdpOptions { exact_counters: 0, bans: 100, ..options(&bpffs) };
    let mut xdp = Xdp::open(small)?;
    let error = xdp.replace(&snapshot(bans(0..150, HOUR)), now()).expect_err("150 into 100");
    assert!(error.to_string().contains("100 entries"), "{error}");
    assert_eq!(held(&mut xdp)?.len(), 100, "as many as fit");
    xdp.replace(&snapshot(bans(0..100, HOUR)), now())?;
    let error = xdp.apply(&[Delta::Ban(ban(0, address(100), HOUR))], now()).expect_err("full");
    assert!(error.to_string().contains("full"), "{error}");
    xdp.apply(&[unban(7), Delta::Ban(ban(0, address(100), HOUR))], now())?;
    assert_eq!(held(&mut xdp)?.len(), 100);
    Ok(())
}

/// One core judges packets without a pause; another one bans, unbans, moves, builds
/// tables anew and restarts the agent. Who stays banned never passes, and who never was
/// banned never is dropped. `GUARD_FLOOD` sets how many packets.
#[test]
fn nobody_passes_and_nobody_is_hit_while_bans_come_and_go() -> Result<()> {
    const CHUNK: u32 = 1 << 13;
    let flood: u64 = std::env::var("GUARD_FLOOD").ok().map_or(Ok(10_000_000), |it| it.parse())?;
    let bpffs = Bpffs::new()?;
    let mut xdp = Xdp::open(options(&bpffs))?;
    // Who stays: some in words, for an hour or for ever, some in the hash map, because two
    // jails ban them, and one that moves to and fro.
    let mut stay = bans(0..10, HOUR);
    stay.extend(bans(10..16, None));
    stay.extend((13..16).map(|number| ban(1, address(number), HOUR)));
    xdp.replace(&snapshot(stay.clone()), now())?;
    xdp.follow_addresses(&Host::default())?;
    let pinned = Pinned::open(&bpffs.path())?;
    let over = AtomicBool::new(false);
    let (judged, rounds) = std::thread::scope(|scope| -> Result<(u64, u32)> {
        let reader = scope.spawn(|| -> Result<u64> {
            let frames: Vec<(Vec<u8>, Verdict)> = (0..16)
                .flat_map(|number| {
                    [
                        (packet(address(number), SSH), Verdict::Drop),
                        (packet(neighbour(number), SSH), Verdict::PassClean),
                    ]
                })
                .collect();
            let mut judged = 0;
            while judged < flood {
                for (frame, verdict) in &frames {
                    let before = pinned.packets(*verdict)?;
                    pinned.run(frame, CHUNK)?;
                    let same = pinned.packets(*verdict)? - before;
                    assert_eq!(same, u64::from(CHUNK), "{verdict:?} of {CHUNK}");
                    judged += u64::from(CHUNK);
                }
            }
            over.store(true, Ordering::Relaxed);
            Ok(judged)
        });
        let mut churn = || -> Result<u32> {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) && !reader.is_finished() {
                // Up and down over the sizes at which tables are built.
                let others = [40, 700, 3, 90][rounds as usize % 4];
                let come: Vec<Delta> =
                    bans(100..100 + others, HOUR).into_iter().map(Delta::Ban).collect();
                xdp.apply(&come, now())?;
                // To the hash map and back into a word with the next table.
                xdp.apply(&[Delta::Ban(ban(1, address(3), HOUR))], now())?;
                xdp.apply(&[Delta::Ban(ban(0, address(4), None))], now())?;
                let back = Delta::Unban { jail: JailId(1), source: Prefix::host(address(3)) };
                xdp.apply(&[back, Delta::Ban(ban(0, address(4), HOUR))], now())?;
                let gone: Vec<Delta> = (100..100 + others).map(unban).collect();
                xdp.apply(&gone, now())?;
                if rounds % 5 == 4 {
                    xdp = Xdp::open(options(&bpffs))?;
                    xdp.replace(&snapshot(stay.clone()), now())?;
                }
                rounds += 1;
            }
            Ok(rounds)
        };
        let churned = churn();
        over.store(true, Ordering::Relaxed);
        let judged = reader.join().expect("every packet had its verdict")?;
        Ok((judged, churned?))
    })?;
    assert!(rounds > 4, "{rounds} rounds under {judged} packets");
    println!("{judged} packets, {rounds} rounds");
    Ok(())
}
