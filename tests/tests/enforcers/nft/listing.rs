//! The table is listed as Fail2Ban's, character by character.

use guard::core::delta::{Delta, JailPorts, Snapshot};
use guard::core::jail::JailName;
use guard::core::ports::{PortSet, Ports, Protocols};
use guard::enforce::Enforcer;
use guard::enforce::nft::Nft;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::conformance::{ban, unban};
use crate::nft::{listing, nft, nft_script};
use crate::world::{Namespace, now};

fn jail(name: &str, ports: Ports) -> JailPorts {
    JailPorts { name: JailName::new(name).expect("a jail's name"), ports }
}

fn guide() -> Snapshot {
    let proxmox = Ports::new(Protocols::Tcp, [443..=443, 80..=80, 8006..=8006]);
    let sshd = Ports::new(Protocols::Tcp, [22..=22]);
    Snapshot {
        serial: 1,
        jails: vec![jail("sshd", sshd), jail("proxmox", proxmox)],
        bans: vec![ban(1, "10.3.0.1")],
        ..Snapshot::default()
    }
}

#[test]
fn the_guides_table() {
    Namespace::new("listing").run(|| {
        let mut enforcer = Nft::open().expect("open");
        enforcer.replace(&guide(), now()).expect("replace");
        let table = "\
table inet f2b-table {
	set addr-set-sshd {
		type ipv4_addr
	}

	set addr-set-proxmox {
		type ipv4_addr
		elements = { 10.3.0.1 }
	}

	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable
		tcp dport { 80, 443, 8006 } ip saddr @addr-set-proxmox reject with icmp port-unreachable
	}
}
";
        assert_eq!(listing(), table);

        // The IPv6 set and rule come with the first such ban, and stay when it ends.
        let batch = [Delta::Ban(ban(0, "2001:db8::1")), unban(1, "10.3.0.1")];
        enforcer.apply(&batch, now()).expect("apply");
        let with_v6 = "\
table inet f2b-table {
	set addr-set-sshd {
		type ipv4_addr
	}

	set addr-set-proxmox {
		type ipv4_addr
	}

	set addr6-set-sshd {
		type ipv6_addr
		elements = { 2001:db8::1 }
	}

	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable
		tcp dport { 80, 443, 8006 } ip saddr @addr-set-proxmox reject with icmp port-unreachable
		tcp dport 22 ip6 saddr @addr6-set-sshd reject with icmpv6 port-unreachable
	}
}
";
        assert_eq!(listing(), with_v6);
        enforcer.apply(&[unban(0, "2001:db8::1")], now()).expect("apply");
        let empty = with_v6.replace("\t\telements = { 2001:db8::1 }\n", "");
        assert_eq!(listing(), empty);

        assert_eq!(nft("list tables").as_deref(), Some("table inet f2b-table\n"));
        enforcer.detach().expect("detach");
        assert_eq!(nft("list ruleset").as_deref(), Some(""));
    });
}

/// The commands with which Fail2Ban would make the table, in its order.
fn reference(snapshot: &Snapshot) -> String {
    let mut script = String::from(
        "add table inet f2b-table\n\
         add chain inet f2b-table f2b-chain { type filter hook input priority -1; }\n",
    );
    for (infix, kind, source) in [("", "ipv4_addr", "ip"), ("6", "ipv6_addr", "ip6")] {
        for (index, JailPorts { name, ports }) in snapshot.jails.iter().enumerate() {
            let of_family = |ban: &&guard::core::delta::Ban| {
                ban.jail.index() == index && ban.source.is_ipv4() != (infix == "6")
            };
            let banned: Vec<_> =
                snapshot.bans.iter().filter(of_family).map(|ban| ban.source.to_string()).collect();
            if infix == "6" && banned.is_empty() {
                continue;
            }
            let set = format!("addr{infix}-set-{name}");
            script += &format!("add set inet f2b-table {set} {{ type {kind}; }}\n");
            for matching in matchings(ports) {
                let rule = format!("{matching} {source} saddr @{set} reject");
                script += &format!("add rule inet f2b-table f2b-chain {rule}\n");
            }
            for address in banned {
                script += &format!("add element inet f2b-table {set} {{ {address} }}\n");
            }
        }
    }
    script
}

fn matchings(ports: &Ports) -> Vec<String> {
    let protocols: &[&str] = match ports.protocols {
        Protocols::Tcp => &["tcp"],
        Protocols::Udp => &["udp"],
        Protocols::TcpAndUdp => &["tcp", "udp"],
        Protocols::All => return vec![String::new()],
    };
    match &ports.set {
        PortSet::All => vec![format!("meta l4proto {{ {} }}", protocols.join(", "))],
        PortSet::Ranges(ranges) => {
            let text = |range: &guard::core::ports::RangeInclusiveU16| match *range {
                range if range.first == range.last => range.first.to_string(),
                range => format!("{}-{}", range.first, range.last),
            };
            let list = ranges.iter().map(text).collect::<Vec<_>>().join(", ");
            protocols.iter().map(|protocol| format!("{protocol} dport {{ {list} }}")).collect()
        }
    }
}

fn compare(snapshot: &Snapshot) {
    let ours = Namespace::new("ours").run(|| {
        Nft::open().expect("open").replace(snapshot, now()).expect("replace");
        listing()
    });
    let theirs = Namespace::new("theirs").run(|| {
        nft_script(&reference(snapshot));
        listing()
    });
    assert_eq!(ours, theirs);
}

#[test]
fn every_shape_of_ports_is_as_nft_makes_it() {
    let shapes = [
        Ports::new(Protocols::Tcp, [22..=22]),
        Ports::new(Protocols::Tcp, [80..=80, 443..=443, 8006..=8006]),
        Ports::new(Protocols::Tcp, [100..=200]),
        Ports::new(Protocols::Tcp, [0..=65_535]),
        Ports::new(Protocols::Tcp, [0..=10, 22..=22, 100..=200, 8006..=8006, 65_000..=65_535]),
        Ports::new(Protocols::Udp, [53..=53, 853..=853]),
        Ports::new(Protocols::TcpAndUdp, [53..=53]),
        Ports::new(Protocols::TcpAndUdp, [22..=30, 80..=80]),
        Ports::new(Protocols::Tcp, [65_535..=65_535, 22..=23]),
        Ports::new(Protocols::Tcp, []),
        Ports::new(Protocols::Udp, []),
        Ports::new(Protocols::TcpAndUdp, []),
        Ports::new(Protocols::All, []),
    ];
    let jails =
        shapes.into_iter().enumerate().map(|(index, ports)| jail(&format!("j{index}"), ports));
    let mut snapshot =
        Snapshot { serial: 1, jails: jails.collect(), bans: Vec::new(), ..Snapshot::default() };
    compare(&snapshot);
    for index in 0..u16::try_from(snapshot.jails.len()).expect("few") {
        snapshot.bans.extend([ban(index, "192.0.2.1"), ban(index, "2001:db8::1")]);
    }
    compare(&snapshot);
}

#[test]
fn any_ports_are_as_nft_makes_them() {
    let ranges = prop::collection::vec((any::<u16>(), 0_u16..2_000), 1..12);
    let config = ProptestConfig {
        cases: guard_tests::pace::cases(12),
        failure_persistence: None,
        ..Default::default()
    };
    let outcome = TestRunner::new(config).run(&ranges, |ranges| {
        let ranges = ranges.iter().map(|(first, more)| *first..=first.saturating_add(*more));
        let jails = vec![jail("any", Ports::new(Protocols::Tcp, ranges))];
        compare(&Snapshot {
            serial: 1,
            jails,
            bans: vec![ban(0, "2001:db8::1")],
            ..Snapshot::default()
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
