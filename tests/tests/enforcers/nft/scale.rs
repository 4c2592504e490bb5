//! Many bans: in time, and also where the socket's buffers cannot be raised.

use std::process::Command;
use std::time::{Duration, Instant};

use guard::core::delta::{Ban, Delta, Snapshot};
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;

use crate::conformance::{ban, snapshot, unban};
use crate::nft::{listing, nft_script};
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

fn timed(what: &str, work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    println!("{what:45} {:10.3} ms", took.as_secs_f64() * 1e3);
    took
}

#[test]
fn a_hundred_thousand_bans_are_in_force_in_time() {
    let bans = spread(0, MANY);
    let deltas: Vec<Delta> = bans.iter().copied().map(Delta::Ban).collect();
    let empty = snapshot(&[("sshd", 22)], &[]);
    let full = Snapshot { bans: bans.clone(), ..empty.clone() };
    let ours = Namespace::new("many").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&empty, now()).expect("replace");
        let apply = timed("apply of 100,000 bans", || {
            enforcer.apply(&deltas, now()).expect("apply");
        });
        let mut single = Vec::new();
        for one in spread(MANY, 21) {
            let banned = Delta::Ban(one);
            let start = Instant::now();
            enforcer.apply(&[banned], now()).expect("ban");
            single.push(start.elapsed());
        }
        single.sort_unstable();
        println!("{:45} {:10.3} ms", "one ban more, median of 21", single[10].as_secs_f64() * 1e3);
        println!("{:45} {:10.3} ms", "one ban more, slowest of 21", single[20].as_secs_f64() * 1e3);
        let mut held = 0;
        timed("held of 100,021", || held = enforcer.held(now()).expect("held").len());
        assert_eq!(held, 100_021);
        let replace = timed("replace over 100,021 (21 too many)", || {
            enforcer.replace(&full, now()).expect("replace");
        });
        assert_eq!(enforcer.held(now()).expect("held").len(), bans.len());
        let sources: Vec<Delta> =
            bans.iter().map(|ban| Delta::Unban { jail: ban.jail, source: ban.source }).collect();
        let unban = timed("apply of 100,000 unbans", || {
            enforcer.apply(&sources, now()).expect("unban");
        });
        assert_eq!(enforcer.held(now()).expect("held"), []);
        let cold = timed("replace of nothing by 100,000", || {
            enforcer.replace(&full, now()).expect("replace");
        });
        assert_eq!(enforcer.held(now()).expect("held").len(), bans.len());
        for took in [apply, replace, unban, cold] {
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        assert!(single[10] < Duration::from_millis(10), "{:?}", single[10]);
        listing()
    });
    let theirs = Namespace::new("many-nft").run(|| {
        Nft::open().expect("open").replace(&empty, now()).expect("replace");
        let list: Vec<_> = bans.iter().map(|ban| ban.source.to_string()).collect();
        let add = |list: &str| format!("add element inet f2b-table addr-set-sshd {{ {list} }}");
        let script = add(&list.join(", "));
        timed("nft -f of the same 100,000", || nft_script(&script));
        timed("nft -f of one more", || nft_script(&add("192.0.2.1")));
        nft_script("delete element inet f2b-table addr-set-sshd { 192.0.2.1 }");
        listing()
    });
    assert!(ours == theirs, "both hold the same addresses");
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
