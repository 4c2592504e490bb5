//! A cable into a host with the addresses of the packet cases.
//!
//! Each frame gets its number as its Ethernet source address, by which it is known again
//! behind the driver (a packet socket) and around nft's rules (a set).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use guard::core::host::{Host, HostAddresses, Interface};
use guard_tests::namespace::{self, Namespace};
use guard_tests::packets::{Case, NOW, World, directory};
use serde_json::Value;

/// What the source addresses of all frames begin with.
const OURS: [u8; 4] = [0x02, 0, 0x5e, 0];
const IN: &str = "in0";
const OUT: &str = "out0";
/// A table around that of Fail2Ban's layout, whose chain has priority -1.
const WATCH: &str = "
table inet watch {
    set before {
        type ether_addr
        flags dynamic
        size 65535
    }
    set behind {
        type ether_addr
        flags dynamic
        size 65535
    }
    chain before {
        type filter hook input priority -2
        meta iiftype ether update @before { ether saddr }
    }
    chain behind {
        type filter hook input priority 0
        meta iiftype ether update @behind { ether saddr }
    }
}
";

/// The cable and its ends.
pub(crate) struct Cable {
    pub(crate) host: Namespace,
    outside: Namespace,
}

/// What came to the input hook, and what was behind nft's rules.
pub(crate) struct Watched<'a>(&'a Cable);

impl Cable {
    pub(crate) fn new() -> Result<Self> {
        namespace::sweep()?;
        let cable = Self { host: Namespace::new("headers")?, outside: Namespace::new("sender")? };
        namespace::cable((&cable.host, IN), (&cable.outside, OUT))?;
        // What the frames of the cases are addressed to.
        cable.host.ip(&format!("link set {IN} address 02:00:00:00:00:01"))?;
        cable.host.ip(&format!("link set {IN} mtu 9000"))?;
        cable.outside.ip(&format!("link set {OUT} mtu 9000"))?;
        for address in &World::at(NOW)?.own {
            let rest = if address.is_ipv4() { "32" } else { "128 nodad" };
            cable.host.ip(&format!("address add {address}/{rest} dev {IN}"))?;
        }
        // Every source is where it comes from.
        cable.host.ip(&format!("route add default dev {IN}"))?;
        cable.host.ip(&format!("-6 route add default dev {IN}"))?;
        Ok(cable)
    }

    /// What an agent would know of the host.
    pub(crate) fn described(&self) -> Result<Host> {
        let links: Vec<Value> = serde_json::from_str(&self.host.ip("-j link show dev in0")?)?;
        let index = links.first().and_then(|link| link["ifindex"].as_u64()).context("in0")?;
        let interface = Interface {
            index: u32::try_from(index)?,
            name: IN.to_owned(),
            kind: "veth".to_owned(),
            loopback: false,
            ethernet: true,
            master: None,
            mtu: 9_000,
            xdp_program: None,
        };
        let own = World::at(NOW)?.own.into_iter().collect();
        let addresses = HostAddresses { own, ..HostAddresses::default() };
        Ok(Host { addresses, interfaces: vec![interface] })
    }

    /// Sends the cases in their order; the numbers of those that came through the driver.
    pub(crate) fn send(&self, cases: &BTreeMap<u16, Case>) -> Result<BTreeSet<u16>> {
        let mut watcher = Watcher::start(self.wire(&self.host, "watch", IN))?;
        let mut lines = String::new();
        for (number, case) in cases {
            let mut frame = case.bytes.clone();
            frame[6..10].copy_from_slice(&OURS);
            frame[10..12].copy_from_slice(&number.to_be_bytes());
            lines.push_str(&hex(&frame));
        }
        let mut end = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xb5];
        end.resize(60, 0);
        lines.push_str(&hex(&end));
        let mut sender = self.wire(&self.outside, "send", OUT);
        let mut sender = sender.stdin(Stdio::piped()).spawn().context("start python3")?;
        sender.stdin.take().context("its input")?.write_all(lines.as_bytes())?;
        ensure!(sender.wait()?.success(), "sending failed");
        watcher.seen()
    }

    /// Watches what comes to the input hook, and what nft lets through there.
    pub(crate) fn watch_input(&self) -> Result<Watched<'_>> {
        let mut nft = self.host.command("nft");
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("start nft")?;
        nft.stdin.take().context("its input")?.write_all(WATCH.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft refused the table that watches");
        Ok(Watched(self))
    }

    fn wire(&self, at: &Namespace, what: &str, interface: &str) -> Command {
        let script: PathBuf = directory().join("wire.py");
        let mut command = at.command("python3");
        command.arg(script).args([what, interface]);
        command
    }
}

impl Watched<'_> {
    /// The numbers of the frames before nft's rules and behind them.
    pub(crate) fn read(&self) -> Result<(BTreeSet<u16>, BTreeSet<u16>)> {
        let one = |set: &str| -> Result<BTreeSet<u16>> {
            let mut nft = self.0.host.command("nft");
            nft.args(["-j", "list", "set", "inet", "watch", set]);
            let listed: Value = serde_json::from_str(&guard_tests::command::finish(nft)?)?;
            let set = listed["nftables"].as_array().into_iter().flatten();
            let elements = set.filter_map(|one| one["set"]["elem"].as_array()).flatten();
            Ok(elements.filter_map(|one| numbered(&one.as_str()?.replace(':', ""))).collect())
        };
        Ok((one("before")?, one("behind")?))
    }
}

/// A program that tells the source addresses of the frames that it sees.
struct Watcher {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watcher {
    /// Returns when it listens.
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("start python3")?;
        let output = child.stdout.take().context("its output")?;
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().transpose()?;
        ensure!(first.as_deref() == Some("ready"), "the watcher does not listen: {first:?}");
        Ok(Self { child, lines })
    }

    /// What it has seen when the last frame came. (It gives up after a while itself.)
    fn seen(&mut self) -> Result<BTreeSet<u16>> {
        let mut seen = BTreeSet::new();
        for line in &mut self.lines {
            seen.extend(numbered(&line?));
        }
        ensure!(self.child.wait()?.success(), "the last frame did not come");
        Ok(seen)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Ended already, but for a test that failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}\n")
}

/// The number in the source address of a frame that we sent.
fn numbered(address: &str) -> Option<u16> {
    let ours: String = OURS.iter().map(|byte| format!("{byte:02x}")).collect();
    u16::from_str_radix(address.strip_prefix(&ours)?, 16).ok()
}
