//! Bans of prefixes, alone, in each other, and around addresses: what the kernel drops is
//! what the bans say.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta, Snapshot};
use guard::core::jail::JailId;
use guard::enforce::Enforcer;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_tests::lan::{ATTACKER, HOST, NEIGHBOUR};
use guard_tests::packets::Packet;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::bed::{
    Bed, Bpffs, OTHER, Opens, SSH, assert_open, assert_silent, ban, held, now, snapshot,
};

/// `TC_ACT_SHOT`.
const DROPPED: u32 = 2;

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}

/// The program that is pinned beside the maps, for single packets.
struct Program(SchedClassifier);

impl Program {
    fn of(bpffs: &Bpffs) -> Result<Self> {
        let maps = std::fs::read_dir(bpffs.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("maps-v"))
            })
            .context("no maps")?;
        let pin = maps.join(guard_common::names::TCX_ETHERNET);
        Ok(Self(SchedClassifier::from_pin(pin)?))
    }

    fn drops(&mut self, source: IpAddr, port: u16) -> Result<bool> {
        let packet = Packet { source: Some(source), port: Some(port), ..Packet::default() };
        let frame = packet.ethernet()?;
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        Ok(self.0.test_run(options)?.return_value == DROPPED)
    }
}

/// One change: a ban that lasts so many hours, or an unban; of the jail [`ALLOWED`], that a
/// prefix is allowed, or not any more.
type Change = (u16, Prefix, Option<u64>);

const ALLOWED: u16 = 3;

fn change() -> impl Strategy<Value = Change> {
    let sources = [
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.0/29",
        "192.0.2.0/24",
        "192.0.0.0/16",
        "128.0.0.0/1",
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.2.3",
        "2001:db8::7",
        "2001:db8::/64",
        "2001:db8::/32",
        "2000::/3",
        "::/0",
        "2001:db8:0:1::/64",
    ];
    let source = prop::sample::select(sources.map(prefix).to_vec());
    (0..=ALLOWED, source, prop::option::weighted(0.6, 1_u64..7))
}

/// Addresses inside and right outside of those prefixes.
fn probes() -> Vec<IpAddr> {
    [
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.0",
        "192.0.2.200",
        "192.0.3.1",
        "192.1.0.1",
        "10.1.2.3",
        "10.1.2.4",
        "9.255.255.255",
        "127.255.255.255",
        "2001:db8::7",
        "2001:db8::8",
        "2001:db8:0:1::1",
        "2001:db8:1::1",
        "2001:db9::1",
        "4000::1",
    ]
    .map(|text| text.parse().expect("an address"))
    .to_vec()
}

#[test]
fn what_is_dropped_is_what_the_bans_say_in_every_order() -> Result<()> {
    let bpffs = Bpffs::new()?;
    let options = XdpOptions { host_only: false, bans: 256, ..bpffs.options() };
    let cell = std::cell::RefCell::new(Xdp::open(options.clone())?);
    let batches = prop::collection::vec((any::<u8>(), prop::collection::vec(change(), 1..6)), 1..8);
    let config = ProptestConfig {
        cases: guard_tests::pace::cases(24),
        failure_persistence: None,
        ..Default::default()
    };
    let outcome = TestRunner::new(config).run(&batches, |batches| {
        let mut xdp = cell.borrow_mut();
        let mut walked = || -> Result<()> {
            xdp.replace(&snapshot(Vec::new()), now())?;
            let mut program = Program::of(&bpffs)?;
            let mut ledger: HashMap<(u16, Prefix), Ban> = HashMap::new();
            let mut allowed: BTreeSet<Prefix> = BTreeSet::new();
            for (kind, batch) in &batches {
                let mut deltas = Vec::new();
                for &(jail, source, hours) in batch {
                    if jail == ALLOWED && hours.is_some() {
                        allowed.insert(source);
                        deltas.push(Delta::Allow(source));
                        continue;
                    }
                    if jail == ALLOWED {
                        allowed.remove(&source);
                        deltas.push(Delta::Disallow(source));
                        continue;
                    }
                    match hours {
                        Some(hours) => {
                            let one = ban(jail, source, Some(Duration::from_secs(hours * 3600)));
                            ledger.insert((jail, source), one);
                            deltas.push(Delta::Ban(one));
                        }
                        None => {
                            ledger.remove(&(jail, source));
                            deltas.push(Delta::Unban { jail: JailId(jail), source });
                        }
                    }
                }
                let all = || Snapshot {
                    allowed: allowed.iter().copied().collect(),
                    ..snapshot(ledger.values().copied().collect())
                };
                match kind % 4 {
                    0 => drop(xdp.replace(&all(), now())?),
                    1 => {
                        xdp.apply(&deltas, now())?;
                        // Adopted as they are: nothing is in memory any more.
                        *xdp = Xdp::open(options.clone())?;
                        compare(&mut program, &ledger, &allowed)?;
                        xdp.replace(&all(), now())?;
                    }
                    _ => xdp.apply(&deltas, now())?,
                }
                compare(&mut program, &ledger, &allowed)?;
                let mut told: Vec<String> = ledger
                    .keys()
                    .map(|(jail, source)| {
                        format!("{} {source}", ["sshd", "other", "again"][usize::from(*jail)])
                    })
                    .collect();
                told.sort_unstable();
                ensure!(held(&mut xdp)? == told, "held: {:?}, not {told:?}", held(&mut xdp)?);
            }
            Ok(())
        };
        walked().map_err(|error| TestCaseError::fail(format!("{error:#}")))
    });
    outcome.map_err(|error| anyhow::anyhow!("{error}"))
}

fn compare(
    program: &mut Program,
    ledger: &HashMap<(u16, Prefix), Ban>,
    allowed: &BTreeSet<Prefix>,
) -> Result<()> {
    for address in probes() {
        let let_through = |source: &Prefix| {
            let inside = |one: &&Prefix| **one != *source && source.contains(one);
            allowed.iter().filter(inside).any(|one| one.contains(&address.into()))
        };
        for port in [SSH, OTHER, 80] {
            let covers = |jail: u16| port == if jail == 1 { OTHER } else { SSH };
            let banned = ledger.keys().any(|(jail, source)| {
                covers(*jail) && source.contains(&address.into()) && !let_through(source)
            });
            let dropped = program.drops(address, port)?;
            ensure!(
                dropped == banned,
                "{address} port {port}: {dropped}, by {:?}, allowed {allowed:?}",
                ledger.keys()
            );
        }
    }
    Ok(())
}

#[test]
fn who_is_allowed_inside_a_banned_prefix_gets_through_and_the_neighbour_does_not() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    // The attacker is .1, the neighbour .2.
    let around = prefix("10.3.0.0/24");
    let allowed = vec![Prefix::host(NEIGHBOUR)];
    xdp.replace(&Snapshot { allowed, ..snapshot(vec![ban(0, around, None)]) }, now())?;
    assert_silent(&bed.lan.outside, ATTACKER, HOST, SSH)?;
    assert_open(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    assert_eq!(held(&mut xdp)?, ["sshd 10.3.0.0/24"], "a hole is no ban");
    // By itself, it is cut off by force.
    xdp.apply(&[Delta::Ban(ban(0, NEIGHBOUR, None))], now())?;
    assert_silent(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    xdp.apply(&[Delta::Unban { jail: JailId(0), source: NEIGHBOUR.into() }], now())?;
    assert_open(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    let others = [Delta::Disallow(NEIGHBOUR.into()), Delta::Allow(ATTACKER.into())];
    xdp.apply(&others, now())?;
    assert_silent(&bed.lan.outside, NEIGHBOUR, HOST, SSH)?;
    assert_open(&bed.lan.outside, ATTACKER, HOST, SSH)
}

#[test]
fn a_prefix_cuts_off_its_addresses_and_an_address_in_it_has_a_ban_of_its_own() -> Result<()> {
    let bed = Bed::new()?;
    let (mut xdp, followed) = bed.open(bed.bpffs.options())?;
    followed?;
    xdp.replace(&snapshot(Vec::new()), now())?;
    // The attacker is .1, the neighbour .2.
    let (outer, inner) = (prefix("10.3.0.0/30"), prefix("10.3.0.0/31"));
    let lift = |source: Prefix| Delta::Unban { jail: JailId(0), source };
    let both = |attacker: bool, neighbour: bool| -> Result<()> {
        for (address, banned) in [(ATTACKER, attacker), (NEIGHBOUR, neighbour)] {
            if banned {
                assert_silent(&bed.lan.outside, address, HOST, SSH)?;
            } else {
                assert_open(&bed.lan.outside, address, HOST, SSH)?;
            }
            assert_open(&bed.lan.outside, address, HOST, OTHER)?;
        }
        Ok(())
    };
    xdp.apply(&[Delta::Ban(ban(0, outer, None))], now())?;
    both(true, true)?;
    let counted = xdp.held(now())?[0].dropped.expect("counted");
    assert!(counted.packets >= 2, "{counted:?}");
    xdp.apply(&[Delta::Ban(ban(0, inner, None)), Delta::Ban(ban(0, ATTACKER, None))], now())?;
    assert_eq!(held(&mut xdp)?, ["sshd 10.3.0.0/30", "sshd 10.3.0.0/31", "sshd 10.3.0.1"]);
    xdp.apply(&[lift(outer)], now())?;
    both(true, false)?;
    xdp.apply(&[lift(inner)], now())?;
    both(true, false)?;
    xdp.apply(&[lift(ATTACKER.into())], now())?;
    both(false, false)?;
    assert_eq!(held(&mut xdp)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_hundred_thousand_prefixes_are_in_force_in_time() -> Result<()> {
    const MANY: u32 = 100_000;
    let bpffs = Bpffs::new()?;
    let options = XdpOptions { host_only: false, bans: MANY, ..bpffs.options() };
    let mut xdp = Xdp::open(options)?;
    let of = |number: u32| {
        let address = std::net::Ipv4Addr::from((number << 9).wrapping_add(0x0a00_0000));
        Prefix::new(address.into(), 24).expect("a prefix")
    };
    let bans: Vec<Ban> = (0..MANY).map(|number| ban(0, of(number), None)).collect();
    let took = |what: &str, start: Instant| {
        println!("{what:45} {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
        start.elapsed()
    };
    let start = Instant::now();
    xdp.replace(&snapshot(bans.clone()), now())?;
    let replaced = took("replace of nothing by 100,000 prefixes", start);
    let start = Instant::now();
    xdp.replace(&snapshot(bans.clone()), now())?;
    took("replace by the same", start);
    let start = Instant::now();
    xdp.apply(&[Delta::Unban { jail: JailId(0), source: of(7) }], now())?;
    let one = took("one unban", start);
    let start = Instant::now();
    assert_eq!(xdp.held(now())?.len(), MANY as usize - 1);
    took("held", start);
    let start = Instant::now();
    xdp.apply(&[Delta::Ban(ban(1, prefix("0.0.0.0/0"), None))], now())?;
    took("a prefix around all of them", start);
    let mut program = Program::of(&bpffs)?;
    assert!(program.drops(IpAddr::from([10, 0, 0, 1]), SSH)?);
    assert!(program.drops(IpAddr::from([10, 0, 0, 1]), OTHER)?);
    assert!(!program.drops(IpAddr::from([10, 0, 1, 1]), SSH)?);
    let start = Instant::now();
    xdp.replace(&snapshot(Vec::new()), now())?;
    took("replace of all by nothing", start);
    assert!(replaced < Duration::from_secs(5), "{replaced:?}");
    assert!(one < Duration::from_millis(100), "{one:?}");
    Ok(())
}
