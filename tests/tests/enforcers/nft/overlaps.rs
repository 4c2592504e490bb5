//! Overlapping bans, in every order: what `nft` itself lists covers exactly the addresses
//! that the bans cover.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta, Snapshot};
use guard::core::jail::JailId;
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::conformance::{ban, snapshot};
use crate::nft::nft;
use crate::world::{Namespace, now};

const JAILS: [(&str, u16); 2] = [("sshd", 22), ("web", 80)];

/// One change: a ban or an unban of a source in a jail; of the jail [`ALLOWED`], that it is
/// allowed, or not any more.
type Change = (u16, Prefix, bool);

const ALLOWED: u16 = 2;

fn change() -> impl Strategy<Value = Change> {
    let sources = [
        "192.0.2.7",
        "192.0.2.8",
        "192.0.2.0/29",
        "192.0.2.0/28",
        "192.0.2.0/24",
        "192.0.3.0/24",
        "192.0.0.0/16",
        "0.0.0.0/0",
        "255.255.255.0/24",
        "2001:db8::7",
        "2001:db8::/64",
        "2001:db8:0:1::/64",
        "2001:db8::/32",
        "::/0",
        "ffff::/16",
    ]
    .map(|text| text.parse::<Prefix>().expect("a prefix"));
    (0..=ALLOWED, prop::sample::select(sources.to_vec()), prop::bool::weighted(0.6))
}

/// Addresses in those prefixes, at their edges, and outside.
fn probes() -> Vec<IpAddr> {
    let texts = "192.0.2.7 192.0.2.8 192.0.2.0 192.0.2.15 192.0.2.16 192.0.2.255 192.0.3.0 \
                 192.0.4.0 192.0.255.255 192.1.0.0 0.0.0.0 255.255.255.255 255.255.254.255 \
                 2001:db8::7 2001:db8::8 2001:db8::ffff:ffff:ffff:ffff 2001:db8:0:1:: \
                 2001:db8:0:2:: 2001:db9:: :: ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff fffe::";
    texts.split_whitespace().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn the_sets_cover_what_the_bans_cover_in_every_order() {
    let batches = prop::collection::vec((any::<u8>(), prop::collection::vec(change(), 1..6)), 1..8);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    Namespace::new("overlaps").run(|| {
        let outcome = TestRunner::new(config).run(&batches, |batches| {
            let mut nft = Nft::open().expect("open");
            nft.replace(&snapshot(&JAILS, &[]), now()).expect("replace");
            let mut ledger: HashMap<(u16, Prefix), Ban> = HashMap::new();
            let mut allowed: BTreeSet<Prefix> = BTreeSet::new();
            for (kind, batch) in batches {
                let mut deltas = Vec::new();
                for (jail, source, bans) in batch {
                    if jail == ALLOWED {
                        let delta = if bans { Delta::Allow } else { Delta::Disallow };
                        deltas.push(delta(source));
                        _ = if bans { allowed.insert(source) } else { allowed.remove(&source) };
                        continue;
                    }
                    let one = ban(jail, &source.to_string());
                    if bans {
                        ledger.insert((jail, source), one);
                        deltas.push(Delta::Ban(one));
                    } else {
                        ledger.remove(&(jail, source));
                        deltas.push(Delta::Unban { jail: JailId(jail), source });
                    }
                }
                let all: Vec<Ban> = ledger.values().copied().collect();
                let all = Snapshot {
                    allowed: allowed.iter().copied().collect(),
                    ..snapshot(&JAILS, &all)
                };
                match kind % 4 {
                    0 => nft.replace(&all, now()).expect("replace"),
                    1 => {
                        nft.apply(&deltas, now()).expect("apply");
                        // The agent goes and comes back.
                        nft = Nft::open().expect("open");
                        nft.replace(&all, now()).expect("replace");
                    }
                    _ => nft.apply(&deltas, now()).expect("apply"),
                }
                compare(&ledger, &allowed)?;
                same_held(&mut nft, &ledger)?;
            }
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
    });
}

/// The enforcer tells bans, not the parts that cover them.
fn same_held(nft: &mut Nft, ledger: &HashMap<(u16, Prefix), Ban>) -> Result<(), TestCaseError> {
    let name = |jail: u16| JAILS[usize::from(jail)].0.to_owned();
    let told = nft.held(now()).expect("held");
    let told: BTreeSet<_> = told.iter().map(|one| (one.jail.to_string(), one.source)).collect();
    let expected = ledger.keys().map(|(jail, source)| (name(*jail), *source)).collect();
    prop_assert_eq!(told, expected);
    Ok(())
}

fn compare(
    ledger: &HashMap<(u16, Prefix), Ban>,
    allowed: &BTreeSet<Prefix>,
) -> Result<(), TestCaseError> {
    let listed = listed();
    for (jail, (name, _)) in (0..).zip(JAILS) {
        for address in probes() {
            let let_through = |source: &Prefix| {
                let inside = |one: &&Prefix| **one != *source && source.contains(one);
                allowed.iter().filter(inside).any(|one| one.contains(&address.into()))
            };
            let banned = ledger.keys().any(|(of, source)| {
                *of == jail && source.contains(&address.into()) && !let_through(source)
            });
            let covered = listed
                .get(name)
                .is_some_and(|prefixes| prefixes.iter().any(|one| one.contains(&address.into())));
            prop_assert_eq!(covered, banned, "{} in {}: {:?}", address, name, ledger.keys());
        }
    }
    Ok(())
}

/// What the sets of each jail hold, as `nft` reads them.
fn listed() -> HashMap<String, BTreeSet<Prefix>> {
    let text = nft("-j list table inet f2b-table").expect("a table");
    let found: Value = serde_json::from_str(&text).expect("JSON");
    let mut listed: HashMap<String, BTreeSet<Prefix>> = HashMap::new();
    for set in found["nftables"].as_array().expect("objects").iter().map(|one| &one["set"]) {
        let Some(name) = set["name"].as_str() else { continue };
        let jail = name.rsplit_once("-set-").expect("a set of ours").1;
        let prefixes = listed.entry(jail.to_owned()).or_default();
        for element in set["elem"].as_array().into_iter().flatten() {
            let prefix = match (element.as_str(), element["prefix"].as_object()) {
                (Some(text), _) => text.parse(),
                (None, Some(prefix)) => {
                    let address = prefix["addr"].as_str().expect("an address");
                    format!("{address}/{}", prefix["len"]).parse()
                }
                (None, None) => panic!("no prefix: {element}"),
            };
            prefixes.insert(prefix.expect("a prefix"));
        }
    }
    listed
}
