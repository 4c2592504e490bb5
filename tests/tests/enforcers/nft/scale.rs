//! Many bans, also where the socket's buffers cannot be raised.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use guard::core::delta::{Ban, Delta, Snapshot};
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;
use guard_tests::deadline::wait_for;

use crate::conformance::{ban, snapshot, unban};
use crate::nft::listing;
use crate::world::{Namespace, now};

const MANY: u32 = 100_000;

/// Addresses that are spread over all of IPv4: numbers from `first` on, mixed.
fn spread(first: u32, count: u32) -> Vec<Ban> {
    let template = ban(0, "192.0.2.1");
    (first..first + count)
        // The factor is odd, so each number gives another address.
        .map(|number| std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761)))
        .map(|address| Ban { source: address.into(), ..template })
        .collect()
}

#[test]
fn a_hundred_thousand_bans_are_in_force() {
    let bans = spread(0, MANY);
    let deltas: Vec<Delta> = bans.iter().copied().map(Delta::Ban).collect();
    let empty = snapshot(&[("sshd", 22)], &[]);
    let full = Snapshot { bans: bans.clone(), ..empty.clone() };
    let ours = Namespace::new("many").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&empty, now()).expect("replace");
        enforcer.apply(&deltas, now()).expect("apply");
        for one in spread(MANY, 21) {
            enforcer.apply(&[Delta::Ban(one)], now()).expect("ban");
        }
        assert_eq!(enforcer.held(now()).expect("held").len(), 100_021);
        enforcer.replace(&full, now()).expect("replace");
        assert_eq!(enforcer.held(now()).expect("held").len(), bans.len());
        let unban = |ban: &Ban| Delta::Unban { jail: ban.jail, source: ban.source };
        let unbans: Vec<Delta> = bans.iter().map(unban).collect();
        enforcer.apply(&unbans, now()).expect("unban");
        assert_eq!(enforcer.held(now()).expect("held"), []);
        enforcer.replace(&full, now()).expect("replace");
        assert_eq!(enforcer.held(now()).expect("held").len(), bans.len());
        elements()
    });
    let text = |ban: &Ban| ban.source.to_string();
    assert!(ours == bans.iter().map(text).collect(), "nft lists the same addresses");
}

/// The addresses that nft lists. While the kernel moves the elements of a set that grew,
/// nft meets some of them twice and others not at all, so it is asked until it knows all.
fn elements() -> BTreeSet<String> {
    let all = || {
        let listing = listing();
        let (_, set) = listing.split_once("elements = {").expect("elements");
        let (elements, _) = set.split_once('}').expect("their end");
        let elements = elements.split(',').map(|one| one.trim().to_owned());
        let elements: BTreeSet<String> = elements.collect();
        Ok((elements.len() == MANY as usize).then_some(elements))
    };
    wait_for("a listing of all bans", Duration::from_secs(60), all).expect("it lists all")
}

#[test]
fn ipv6_in_number() {
    let template = ban(0, "2001:db8::1");
    let address = |number: u32| std::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(number));
    let bans: Vec<Ban> =
        (1..=20_000).map(|number| Ban { source: address(number).into(), ..template }).collect();
    let deltas: Vec<Delta> = bans.iter().copied().map(Delta::Ban).collect();
    Namespace::new("many-v6").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&snapshot(&[("sshd", 22)], &[]), now()).expect("replace");
        enforcer.apply(&deltas, now()).expect("apply");
        let held = enforcer.held(now()).expect("held");
        assert_eq!(held.len(), bans.len());
        enforcer.apply(&[unban(0, "2001:db8::1")], now()).expect("unban");
        assert_eq!(enforcer.held(now()).expect("held").len(), bans.len() - 1);
    });
}

/// In an unprivileged container root may change its own network namespace, but not
/// raise a send buffer beyond `net.core.wmem_max`: large batches go in parts. This test
/// runs itself once more in such a namespace, for its own process to stay out of it.
#[test]
fn an_unprivileged_container_holds_as_many() {
    const INSIDE: &str = "GUARD_TEST_UNPRIVILEGED";
    if std::env::var_os(INSIDE).is_some() {
        return hold_many();
    }
    let this = std::env::current_exe().expect("this test");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(this)
        .args(["--exact", "nft::scale::an_unprivileged_container_holds_as_many"])
        .env(INSIDE, "1")
        .output()
        .expect("run unshare");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

fn hold_many() {
    let bans = spread(0, MANY);
    let mut enforcer = Nft::open().expect("open");
    let full = Snapshot { bans, ..snapshot(&[("sshd", 22)], &[]) };
    enforcer.replace(&full, now()).expect("replace");
    assert_eq!(enforcer.held(now()).expect("held").len(), full.bans.len());
    let unbans: Vec<Delta> =
        full.bans.iter().map(|ban| Delta::Unban { jail: ban.jail, source: ban.source }).collect();
    enforcer.apply(&unbans, now()).expect("unban");
    assert_eq!(enforcer.held(now()).expect("held"), []);
}
