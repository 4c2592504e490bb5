//! What is in the kernel already: adopted where it matches, replaced in one
//! transaction where it does not, and left alone where it is none of ours.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use guard::core::delta::{Delta, JailPorts, Snapshot};
use guard::core::jail::JailName;
use guard::core::ports::{Ports, Protocols};
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;

use crate::conformance::{ban, bans, held, snapshot, unban};
use crate::nft::{handles, listing, nft, nft_script};
use crate::world::{FAMILIES, Namespace, World, now};

/// What Fail2Ban leaves behind for two jails, one of them with IPv6 bans.
const LEFT_BEHIND: &str = "
    add table inet f2b-table
    add chain inet f2b-table f2b-chain { type filter hook input priority -1; }
    add set inet f2b-table addr-set-sshd { type ipv4_addr; }
    add rule inet f2b-table f2b-chain tcp dport { 22 } ip saddr @addr-set-sshd reject
    add set inet f2b-table addr-set-web { type ipv4_addr; }
    add rule inet f2b-table f2b-chain tcp dport { 443 } ip saddr @addr-set-web reject
    add set inet f2b-table addr6-set-web { type ipv6_addr; }
    add rule inet f2b-table f2b-chain tcp dport { 443 } ip6 saddr @addr6-set-web reject
    add element inet f2b-table addr-set-sshd { 192.0.2.1, 192.0.2.2 }
    add element inet f2b-table addr6-set-web { 2001:db8::1 }
";

/// The jails of [`LEFT_BEHIND`].
const JAILS: [(&str, u16); 2] = [("sshd", 22), ("web", 443)];

/// What [`LEFT_BEHIND`] bans.
fn same() -> Snapshot {
    snapshot(&JAILS, &[ban(0, "192.0.2.1"), ban(0, "192.0.2.2"), ban(1, "2001:db8::1")])
}

/// Lets the enforcer meet `before`, makes `desired` so, and checks that the table is
/// then as if nothing had been there. Gives the handles before and after.
fn meets(before: &str, desired: &Snapshot) -> (String, String) {
    let fresh = Namespace::new("fresh").run(|| {
        Nft::open().expect("open").replace(desired, now()).expect("replace");
        listing()
    });
    Namespace::new("met").run(|| {
        nft_script(before);
        let before = handles();
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(desired, now()).expect("replace");
        assert_eq!(listing(), fresh);
        let after = handles();
        enforcer.replace(desired, now()).expect("replace by the same");
        assert_eq!(handles(), after, "the second time there is nothing to do");
        (before, after)
    })
}

/// The number by which the kernel knows what a line of `nft -a` lists.
fn handle<'l>(listing: &'l str, line: &str) -> &'l str {
    let found = listing.lines().find(|found| found.contains(line)).expect(line);
    found.rsplit("# handle ").next().expect("a handle")
}

#[test]
fn what_fail2ban_left_is_adopted_untouched() {
    let (before, after) = meets(LEFT_BEHIND, &same());
    assert_eq!(before, after, "no object was made anew");
    Namespace::new("held").run(|| {
        nft_script(LEFT_BEHIND);
        // Who does not know the jails yet believes the rules.
        let all = [("sshd", "192.0.2.1"), ("sshd", "192.0.2.2"), ("web", "2001:db8::1")];
        assert_eq!(held(&mut Nft::open().expect("open")), bans(&all));
    });
}

#[test]
fn bans_that_differ_are_put_right_in_the_sets_that_are_there() {
    let desired = snapshot(&JAILS, &[ban(0, "192.0.2.2"), ban(1, "2001:db8::2")]);
    let (before, after) = meets(LEFT_BEHIND, &desired);
    for line in ["set addr-set-sshd", "set addr6-set-web", "ip6 saddr @addr6-set-web", "chain"] {
        assert_eq!(handle(&before, line), handle(&after, line), "{line}");
    }
}

#[test]
fn ports_that_changed_change_the_rules_and_not_the_sets() {
    let mut desired = same();
    desired.jails[0].ports = Ports::new(Protocols::Tcp, [22..=22, 2222..=2222]);
    let (before, after) = meets(LEFT_BEHIND, &desired);
    assert_eq!(handle(&before, "set addr-set-sshd"), handle(&after, "set addr-set-sshd"));
    assert_eq!(handle(&before, "chain f2b-chain"), handle(&after, "chain f2b-chain"));
}

#[test]
fn what_does_not_match_is_made_anew() {
    let table = "add table inet f2b-table\n";
    let chain = "add chain inet f2b-table f2b-chain { type filter hook input priority -1; }\n";
    let set = "add set inet f2b-table addr-set-sshd";
    let rule = "add rule inet f2b-table f2b-chain";
    for before in [
        // Nothing, or less than all.
        table.to_owned(),
        format!("{table}{chain}"),
        format!("{table}{set} {{ type ipv4_addr; elements = {{ 192.0.2.9 }} }}"),
        // Sets as Fail2Ban 1.1.1 makes them, and other kinds of sets.
        format!(
            "{table}{chain}{set} {{ type ipv4_addr; flags interval; }}
                 {rule} tcp dport 22 ip saddr @addr-set-sshd reject
                 add element inet f2b-table addr-set-sshd {{ 192.0.2.1, 198.51.100.0/24 }}"
        ),
        format!("{table}{set} {{ type ipv4_addr; flags timeout; timeout 1h; }}"),
        format!("{table}{set} {{ type ipv4_addr; size 4; }}"),
        format!("{table}{set} {{ type ipv4_addr; counter; }}"),
        format!("{table}{set} {{ type ipv6_addr; }}"),
        format!("{table}{set} {{ type inet_service; elements = {{ 22 }} }}"),
        // Another order.
        format!(
            "{table}add set inet f2b-table addr-set-web {{ type ipv4_addr; }}
                 {set} {{ type ipv4_addr; }}"
        ),
        // Jails that are gone.
        format!(
            "{table}{chain}add set inet f2b-table addr-set-gone {{ type ipv4_addr; }}
                 add set inet f2b-table addr6-set-gone {{ type ipv6_addr; }}
                 {rule} tcp dport 1 ip saddr @addr-set-gone reject
                 add element inet f2b-table addr-set-gone {{ 192.0.2.1 }}"
        ),
        // Other rules, or the same with more or less.
        format!("{LEFT_BEHIND}\n{rule} accept"),
        format!("{LEFT_BEHIND}\n{rule} tcp dport 22 ip saddr @addr-set-sshd reject comment \"x\""),
        format!("{LEFT_BEHIND}\ninsert rule inet f2b-table f2b-chain tcp dport 22 accept"),
        LEFT_BEHIND.replace("@addr-set-sshd reject", "@addr-set-sshd counter reject"),
        LEFT_BEHIND.replace("@addr-set-sshd reject", "@addr-set-sshd drop"),
        LEFT_BEHIND.replace("ip saddr @addr-set-sshd", "ip saddr != @addr-set-sshd"),
        // Another hook, none, or all of it switched off.
        LEFT_BEHIND.replace("priority -1", "priority 0"),
        LEFT_BEHIND.replace("hook input", "hook forward"),
        LEFT_BEHIND.replace("priority -1;", "priority -1; policy drop;"),
        LEFT_BEHIND.replace("{ type filter hook input priority -1; }", ""),
        LEFT_BEHIND.replacen("f2b-table", "f2b-table { flags dormant; }", 1),
        // Something else in the table keeps the chain from being made anew.
        format!(
            "{}add chain inet f2b-table other
                 add rule inet f2b-table other jump f2b-chain",
            LEFT_BEHIND.replace("{ type filter hook input priority -1; }", "")
        ),
    ] {
        eprintln!("--- {before}");
        meets(&before, &same());
    }
    // An element that stands for all others: Linux 5.13. What cannot be there before needs
    // no test.
    let all = format!("{table}{set} {{ type ipv4_addr; elements = {{ * }} }}");
    let kernel_takes_it =
        Namespace::new("catch-all").run(|| nft(&all.replace('\n', "; ")).is_some());
    if kernel_takes_it {
        meets(&all, &same());
    }
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let other_table = "table inet other {
        set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.1 }; }
        chain f2b-chain { type filter hook input priority 5; tcp dport 22 accept; }
    }
    table ip f2b-table {
        chain f2b-chain { tcp dport 22 accept; }
    }\n";
    let other_chain = "table inet f2b-table {
        set mine { type ipv4_addr; elements = { 192.0.2.1 }; }
        chain mine { tcp dport 22 ip saddr @mine accept; }
    }\n";
    Namespace::new("others").run(|| {
        nft_script(&format!("{other_table}{other_chain}"));
        let others = || {
            let tables = ["list table inet other", "list table ip f2b-table"].map(nft);
            let in_table = ["list chain inet f2b-table mine", "list set inet f2b-table mine"];
            (tables.map(|listed| listed.expect("a table")), in_table.map(nft))
        };
        let before = others();
        assert!(before.1.iter().all(Option::is_some));
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&same(), now()).expect("replace");
        enforcer.apply(&[Delta::Ban(ban(0, "2001:db8::9"))], now()).expect("ban");
        enforcer.replace(&snapshot(&[("web", 443), ("sshd", 22)], &[]), now()).expect("replace");
        assert_eq!(others(), before);
        enforcer.detach().expect("detach");
        assert_eq!(others().0, before.0);
        assert_eq!(nft("list table inet f2b-table"), None, "the table is ours as a whole");
    });
}

#[test]
fn what_takes_no_effect_is_not_held() {
    Namespace::new("effect").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&same(), now()).expect("replace");
        let all = [("sshd", "192.0.2.1"), ("sshd", "192.0.2.2"), ("web", "2001:db8::1")];
        assert_eq!(held(&mut enforcer), bans(&all));
        nft_script("insert rule inet f2b-table f2b-chain tcp dport 443 accept");
        assert_eq!(held(&mut enforcer), bans(&[]), "a rule before ours may let anything in");
        enforcer.replace(&same(), now()).expect("replace");
        assert_eq!(held(&mut enforcer), bans(&all));
        let rule = handle(&handles(), "@addr-set-sshd").to_owned();
        nft_script(&format!("delete rule inet f2b-table f2b-chain handle {rule}"));
        assert_eq!(held(&mut enforcer), bans(&all[2..]), "the set is there, its rule is not");
        nft_script("delete table inet f2b-table");
        assert_eq!(held(&mut enforcer), bans(&[]));
        let error = enforcer.apply(&[Delta::Ban(ban(0, "192.0.2.7"))], now()).expect_err("no set");
        let told = error.to_string();
        assert!(told.contains("add 192.0.2.7 to set addr-set-sshd"), "{told}");
        enforcer.replace(&same(), now()).expect("repair");
        assert_eq!(held(&mut enforcer), bans(&all));
        enforcer.apply(&[unban(0, "192.0.2.1")], now()).expect("unban");
        assert_eq!(held(&mut enforcer), bans(&all[1..]));
    });
}

/// Datagrams of a banned source keep coming while everything around its ban changes.
#[test]
fn no_packet_gets_through_while_the_rest_is_replaced() {
    let world = World::new();
    let (to, banned, beside) = FAMILIES[0];
    let jail = |name: &str, ports| JailPorts { name: JailName::new(name).expect("a name"), ports };
    let udp = |port| Ports::new(Protocols::Udp, [port..=port, 9..=9]);
    let server = world.host.run(|| UdpSocket::bind((to, 5_000)).expect("listen"));
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
    let mut enforcer = world.host.run(|| Nft::open().expect("open"));
    // States that differ in the order of the sets, in ports, jails and other bans.
    let states: Vec<Snapshot> = (0..4_u16)
        .map(|state| {
            let mut jails = vec![jail("sshd", udp(5_000)), jail("web", udp(80 + state % 2))];
            jails.extend((state == 2).then(|| jail("more", udp(81))));
            let mut banned_in = 0;
            if state == 3 {
                jails.swap(0, 1);
                banned_in = 1;
            }
            let all = vec![ban(banned_in, banned), ban(0, "192.0.2.1"), ban(1, "2001:db8::1")];
            Snapshot { serial: 1, jails, bans: all, ..Snapshot::default() }
        })
        .collect();
    enforcer.replace(&states[0], now()).expect("replace");
    let done = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let sender = |source: &str| {
        world.attacker.run(|| UdpSocket::bind((source, 0)).expect("the source address"))
    };
    let (attacker, neighbour) = (sender(banned), sender(beside));
    let replaced = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // The refusals that come back are errors of the next call.
                let passed = attacker.send_to(b"banned", (to, 5_000)).is_ok();
                sent.fetch_add(u64::from(passed), Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let mut rounds = 0;
        // A panic in here would wait for the sender for ever.
        let mut replaced = Ok(());
        while replaced.is_ok()
            && (rounds < 100 || sent.load(Ordering::Relaxed) < 20_000)
            && start.elapsed() < Duration::from_secs(60)
        {
            replaced = states.iter().try_for_each(|state| enforcer.replace(state, now()));
            rounds += 1;
        }
        done.store(true, Ordering::Relaxed);
        replaced
    });
    replaced.expect("replace");
    let sent = sent.into_inner();
    neighbour.send_to(b"let in", (to, 5_000)).expect("send");
    let mut datagram = [0; 16];
    let (length, source) = server.recv_from(&mut datagram).expect("the neighbour's datagram");
    assert_eq!((&datagram[..length], source.ip().to_string()), (&b"let in"[..], beside.to_owned()));
    assert!(sent >= 20_000, "{sent} datagrams in a minute are no flood");
}
