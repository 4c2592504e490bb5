//! Packets that rules of nftables send elsewhere: XDP sees them before, nft's input hook
//! behind that. What comes of it, and that `guardctl probe` tells. This takes root.

use std::net::SocketAddr;

use anyhow::Result;
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER, HOST, Lan, NEIGHBOUR};
use guard_tests::namespace::{self, Namespace};
use guard_tests::probe::{self, Answer, Service, connect};
use serde_json::Value;

const GUEST: &str = "10.4.0.2";
/// 2200 leads to this host's port 22; 8006 and the host's own 2222 to a guest's 22.
const RULES: &str = "
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat
        tcp dport 2200 redirect to :22
        tcp dport { 8006, 8443-8444 } dnat to 10.4.0.2:22
        udp dport 2201 redirect to :22
        jump more
    }
    chain more {
        iifname \"up0\" tcp dport 2222 dnat to 10.4.0.2:22
    }
    chain output {
        type nat hook output priority -100
        tcp dport 2202 redirect to :22
    }
}
";

struct Bed {
    lan: Lan,
    _guest: Namespace,
    _services: [Service; 2],
}

impl Bed {
    fn new() -> Result<Self> {
        namespace::sweep()?;
        let (lan, guest) = (Lan::new()?, Namespace::new("guest")?);
        namespace::cable((&lan.host, "tap0"), (&guest, "eth0"))?;
        lan.host.ip("address add 10.4.0.1/24 dev tap0")?;
        guest.ip(&format!("address add {GUEST}/24 dev eth0"))?;
        guest.ip("route add default via 10.4.0.1")?;
        lan.host.run(|| Ok(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
        let mut nft = lan.host.command("nft");
        nft.args(["-f", "-"]);
        command::finish_with_input(nft, RULES.as_bytes())?;
        let services = [Service::listen(&lan.host, 22)?, Service::listen(&guest, 22)?];
        Ok(Self { lan, _guest: guest, _services: services })
    }

    fn agent(&self, backend: &str, ports: &str) -> Result<Agent<'_>> {
        let mut agent = Agent::new(&self.lan.host, beside_this_program()?)?
            .setting("backend", &format!("{backend:?}"));
        agent.write("jail.local", &format!("[sshd]\nenabled = true\nport = {ports}\n"))?;
        agent.start()?;
        agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])?;
        let listed = || Ok(agent.guardctl(&["bans", "list"])?.contains(&ATTACKER.to_string()));
        wait_until("the ban", PATIENCE, listed)?;
        Ok(agent)
    }

    /// What the banned source meets at a port; the neighbour must meet an open one.
    fn meets(&self, port: u16) -> Result<Answer> {
        let to = SocketAddr::new(HOST, port);
        let beside = connect(&self.lan.outside, NEIGHBOUR, to, probe::PATIENCE)?;
        assert_eq!(beside, Answer::Connected, "the neighbour at port {port}");
        connect(&self.lan.outside, ATTACKER, to, probe::SILENCE)
    }
}

#[test]
fn xdp_judges_by_the_port_before_and_nft_by_the_one_after() -> Result<()> {
    let bed = Bed::new()?;
    for (backend, ports, redirected, forwarded) in [
        // The host's own port by another number is open to XDP unless that is listed too.
        ("xdp", "22", Answer::Connected, Answer::Connected),
        ("xdp", "22,2200", Answer::Silence, Answer::Connected),
        // A guest behind a port of the jail is cut off too.
        ("xdp", "22,8006", Answer::Connected, Answer::Silence),
        ("nft", "22", Answer::Refused, Answer::Connected),
        ("nft", "22,8006", Answer::Refused, Answer::Connected),
    ] {
        let agent = bed.agent(backend, ports)?;
        let at_22 = if backend == "xdp" { Answer::Silence } else { Answer::Refused };
        let found = [22, 2200, 8006].map(|port| bed.meets(port));
        let found = found.into_iter().collect::<Result<Vec<_>>>()?;
        assert_eq!(found, [at_22, redirected, forwarded], "{backend}, port = {ports}");
        agent.guardctl(&["unban", "--all"])?;
    }
    Ok(())
}

#[test]
fn probe_tells_of_ports_that_lead_past_bans_and_into_them() -> Result<()> {
    let bed = Bed::new()?;
    let told = |backend: &str, ports: &str| -> Result<Vec<String>> {
        let mut agent = Agent::new(&bed.lan.host, beside_this_program()?)?
            .setting("backend", &format!("{backend:?}"));
        agent.write("jail.local", &format!("[sshd]\nenabled = true\nport = {ports}\n"))?;
        agent.start()?;
        let found: Value = serde_json::from_str(&agent.guardctl(&["--json", "probe"])?)?;
        let lines = found["redirections"].as_array().into_iter().flatten();
        let words: Vec<String> = lines.filter_map(|line| Some(line.as_str()?.to_owned())).collect();
        let text = agent.guardctl(&["probe"])?;
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        // Lines end between words.
        let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.iter().all(|line| whole.contains(&format!("NAT {line}"))), "{text}");
        Ok(words)
    };
    let past = "TCP to port 2200 is sent to this host port 22 (table ip nat, chain prerouting): \
                XDP sees it before that, so bans of sshd do not keep anybody off";
    let into = "TCP to port 8006, 8443-8444 is sent to 10.4.0.2 port 22 (table ip nat, chain \
                prerouting): XDP sees it before that, so whoever sshd bans is kept off there";
    let more = "TCP to port 2222 is sent to 10.4.0.2 port 22 (table ip nat, chain more)";
    for (backend, ports, expected) in [
        ("xdp", "22", vec![past]),
        ("xdp", "22,2200", vec![]),
        ("xdp", "22,2200,8444", vec![into]),
        ("xdp", "22,2222", vec![past, more]),
        ("nft", "22,8006", vec![]),
    ] {
        let found = told(backend, ports)?;
        let same = found.iter().zip(&expected).all(|(found, start)| found.starts_with(start));
        assert!(same && found.len() == expected.len(), "{backend}, {ports}: {found:#?}");
    }
    Ok(())
}

#[test]
fn rules_in_the_form_of_iptables_are_read() -> Result<()> {
    let bed = Bed::new()?;
    let mut iptables = bed.lan.host.command("iptables-nft");
    iptables.args(["-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "2203"]);
    iptables.args(["-j", "REDIRECT", "--to-ports", "22"]);
    command::finish(iptables)?;
    let rules = bed.lan.host.run(|| Ok(guard::enforce::nft::nat::redirections()?))?;
    let told: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let expected = "TCP to port 2203 is sent to this host port 22 (table ip nat, chain PREROUTING)";
    assert!(told.iter().any(|rule| rule == expected), "{told:#?}");
    Ok(())
}
