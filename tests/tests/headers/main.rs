//! The packet cases over a real cable: what guard's XDP program lets through, and what nft
//! in Fail2Ban's layout does with the same bans. This takes root.
//!
//! Both must do the same with every packet, but for the differences that a case names,
//! each of which is in `docs/data-plane.md`. A packet that XDP lets through and that the
//! host's own stack throws away is none.

mod bans;
mod cable;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use guard::core::host::Host;
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_common::packet::Link;
use guard_common::verdict::Verdict;
use guard_tests::bpffs::Bpffs;
use guard_tests::packets::{Case, Fragment, OnNft, Packet, Scope, cases};

use cable::Cable;

/// The cases that can be on a cable, each with its number.
fn on_a_cable() -> Result<BTreeMap<u16, Case>> {
    let framed = cases()?.into_iter().filter(|case| case.link == Link::Ethernet);
    Ok((1..).zip(framed).collect())
}

fn of_scope(cases: &BTreeMap<u16, Case>, scope: Scope) -> BTreeMap<u16, Case> {
    let of_scope = cases.iter().filter(|(_, case)| case.scope == scope);
    of_scope.map(|(number, case)| (*number, case.clone())).collect()
}

#[test]
fn xdp_lets_through_what_the_table_says() -> Result<()> {
    let all = on_a_cable()?;
    for scope in [Scope::Host, Scope::All] {
        let cases = of_scope(&all, scope);
        assert!(cases.values().any(|case| case.verdict == Verdict::Drop), "{scope:?}");
        let (cable, bpffs) = (Cable::new()?, Bpffs::new()?);
        let host_only = scope == Scope::Host;
        let options = XdpOptions {
            directory: bpffs.path(),
            host_only,
            bans: 256,
            // In the table and in the hash map.
            exact_counters: 2,
            ..XdpOptions::default()
        };
        // What is too damaged for the kernel to take a tag off never comes.
        let undisturbed = cable.send(&cases)?;
        let mut xdp = Xdp::open(options)?;
        cable.host.run(|| Ok(xdp.follow(&cable.described()?)?))?;
        let coverage = xdp.coverage();
        assert!(coverage.iter().any(|one| one.means == "native XDP"), "{coverage:?}");
        xdp.replace(&bans::snapshot()?, bans::now())?;
        let arrived = cable.send(&cases)?;
        let wrong: Vec<&str> = cases
            .iter()
            .filter(|(number, case)| {
                let comes = undisturbed.contains(number);
                match case.verdict {
                    Verdict::Drop => !comes || arrived.contains(number),
                    _ => comes != arrived.contains(number),
                }
            })
            .map(|(_, case)| case.description.as_str())
            .collect();
        assert!(wrong.is_empty(), "{scope:?}: not as the table says: {wrong:#?}");
    }
    Ok(())
}

#[test]
fn nft_does_the_same_but_for_the_listed_differences() -> Result<()> {
    let cases = on_a_cable()?;
    let cable = Cable::new()?;
    let mut nft = cable.host.run(|| Ok(Nft::open()?))?;
    nft.follow(&Host::default())?;
    nft.replace(&bans::snapshot()?, bans::now())?;
    let watched = cable.watch_input()?;
    let arrived = cable.send(&cases)?;
    assert!(cases.len() - arrived.len() < 3, "nothing but nft keeps packets off");
    let (before, behind) = watched.read()?;
    assert!(behind.is_subset(&before));
    let mut wrong = Vec::new();
    let mut same = 0;
    for (number, case) in &cases {
        let found = match (before.contains(number), behind.contains(number)) {
            (true, false) => OnNft::Drop,
            (true, true) => OnNft::Pass,
            (false, _) => OnNft::Absent,
        };
        let with_xdp = case.verdict == Verdict::Drop;
        let differs = match found {
            OnNft::Drop => !with_xdp,
            OnNft::Pass | OnNft::Absent => with_xdp,
        };
        let listed = case.nft.as_ref().map(|(nft, _)| *nft);
        if Some(found).filter(|_| differs) != listed {
            wrong.push(format!("{}: nft {found:?}, listed {listed:?}", case.description));
        }
        same += usize::from(!differs);
    }
    println!("{same} of {} cases get the same verdict from both", cases.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(before.len() > cases.len() / 2, "most packets come to the hook");
    Ok(())
}

/// Numbers 1 and 2 are the fragments of a banned source's packet, 3 and 4 its neighbour's.
fn fragments() -> Result<BTreeMap<u16, Case>> {
    let mut cases = BTreeMap::new();
    for (packet, source) in [(1_u16, [203, 0, 113, 9]), (3, [203, 0, 113, 8])] {
        let first = Fragment { offset: 0, more: true };
        for (number, fragment) in (packet..).zip([first, Fragment { offset: 2, more: false }]) {
            let (source, fragment) = (Some(source.into()), Some(fragment));
            let payload = Some(12);
            let one = Packet { source, fragment, payload, number: packet, ..Packet::default() };
            let case = Case {
                description: format!("fragment {number}"),
                link: Link::Ethernet,
                bytes: one.ethernet()?,
                scope: Scope::Host,
                verdict: Verdict::PassClean,
                nft: None,
            };
            cases.insert(number, case);
        }
    }
    Ok(cases)
}

#[test]
fn a_banned_source_gets_no_packet_in_by_fragments() -> Result<()> {
    let came = |numbers: &BTreeSet<u16>, of: [u16; 2]| of.map(|one| numbers.contains(&one));
    let cable = Cable::new()?;
    let mut nft = cable.host.run(|| Ok(Nft::open()?))?;
    nft.replace(&bans::snapshot()?, bans::now())?;
    let watched = cable.watch_input()?;
    cable.send(&fragments()?)?;
    let (before, behind) = watched.read()?;
    assert_ne!(came(&before, [1, 2]), [false; 2], "it is put together before");
    assert_eq!(came(&behind, [1, 2]), [false; 2], "it is refused");
    assert_ne!(came(&behind, [3, 4]), [false; 2], "the neighbour's is not");
    nft.detach()?;

    let bpffs = Bpffs::new()?;
    let options = XdpOptions { directory: bpffs.path(), bans: 256, ..XdpOptions::default() };
    let mut xdp = Xdp::open(options)?;
    cable.host.run(|| Ok(xdp.follow(&cable.described()?)?))?;
    xdp.replace(&bans::snapshot()?, bans::now())?;
    let arrived = cable.send(&fragments()?)?;
    assert_eq!(came(&arrived, [1, 2]), [false, true], "it lacks its first fragment");
    assert_eq!(came(&arrived, [3, 4]), [true; 2]);
    Ok(())
}

#[test]
fn every_difference_is_documented() -> Result<()> {
    let documented = include_str!("../../../docs/data-plane.md");
    let named = |text: &str| format!("(headers: `{text}`)");
    let ids: BTreeSet<String> = cases()?.into_iter().filter_map(|case| Some(case.nft?.1)).collect();
    assert!(!ids.is_empty());
    for id in &ids {
        assert!(documented.contains(&named(id)), "{} is not documented", named(id));
    }
    let count = documented.matches("(headers: `").count();
    assert_eq!(count, ids.len(), "a documented difference has no case");
    Ok(())
}
