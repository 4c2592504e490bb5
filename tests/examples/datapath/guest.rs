//! What a guest behind a bridge notices: TCP from outside to it, through the host's uplink.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use guard::core::host::{Host, HostAddresses};
use guard::enforce::Enforcer;
use guard::enforce::xdp::{Xdp, XdpOptions};
use guard_tests::bpffs::Bpffs;
use guard_tests::namespace::{self, Namespace};
use guard_tests::pinned::Pinned;

use crate::programs;
use crate::traffic::{HOST, median};

/// What is on the uplink, and bits a second to the guest in each run.
pub(crate) type Throughput = (&'static str, Vec<f64>);

/// Three network stacks: outside, the host with its bridge, the guest behind it.
struct Bridge {
    outside: Namespace,
    host: Namespace,
    guest: Namespace,
}

impl Bridge {
    fn new() -> Result<Self> {
        let [outside, host, guest] = ["outside", "host", "guest"].map(Namespace::new);
        let bridge = Self { outside: outside?, host: host?, guest: guest? };
        namespace::cable((&bridge.outside, "out0"), (&bridge.host, "up0"))?;
        namespace::cable((&bridge.guest, "eth0"), (&bridge.host, "tap0"))?;
        bridge.host.ip("link add br0 type bridge")?;
        for port in ["up0", "tap0"] {
            bridge.host.ip(&format!("link set {port} master br0"))?;
        }
        bridge.host.ip("link set br0 up")?;
        bridge.host.ip(&format!("address add {HOST}/24 dev br0"))?;
        bridge.guest.ip("address add 10.77.0.2/24 dev eth0")?;
        bridge.outside.ip("address add 10.77.0.3/24 dev out0")?;
        Ok(bridge)
    }

    /// Bits a second from outside to the guest, as iperf3 counts them at the guest.
    fn transfer(&self, seconds: u32) -> Result<f64> {
        let mut server = self.guest.command("iperf3");
        let server = server.args(["--server", "--one-off"]).stdout(Stdio::null());
        let mut server = server.spawn().context("iperf3 (package iperf3)")?;
        let mut result = Err(anyhow::anyhow!("the server does not listen"));
        for _ in 0..50 {
            let mut client: Command = self.outside.command("iperf3");
            client.args(["--client", "10.77.0.2", "--json", "--time", &seconds.to_string()]);
            let output = client.output()?;
            let text = String::from_utf8(output.stdout)?;
            let json: serde_json::Value = serde_json::from_str(&text)?;
            if let Some(rate) = json["end"]["sum_received"]["bits_per_second"].as_f64() {
                result = Ok(rate);
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if result.is_err() {
            server.kill()?;
        }
        server.wait()?;
        result
    }
}

/// Without any program on the uplink, with one that passes all without looking, and with
/// guard's.
pub(crate) fn throughput(runs: usize, seconds: u32) -> Result<Vec<Throughput>> {
    let bridge = Bridge::new()?;
    let uplink: u32 = {
        let line = bridge.host.ip("-o link show up0")?;
        line.split(':').next().context("no number")?.trim().parse()?
    };
    let bpffs = Bpffs::new()?;
    let options = XdpOptions { directory: bpffs.path(), ..XdpOptions::default() };
    let mut xdp = Xdp::open(options)?;
    let addresses = HostAddresses { own: vec![HOST], ..HostAddresses::default() };
    xdp.follow_addresses(&Host { addresses, interfaces: Vec::new() })?;
    ensure!(xdp.coverage().is_empty(), "nothing is attached yet");
    let names = ["nothing", "XDP, passes without looking", "guard"];
    let mut figures = names.map(|name| (name, Vec::new()));
    for _ in 0..runs {
        figures[0].1.push(bridge.transfer(seconds)?);
        let mut pass = programs::constant(2)?;
        let program = programs::program(&mut pass)?;
        bridge
            .host
            .run(|| Ok(program.attach_to_if_index(uplink, aya::programs::XdpMode::Driver)?))?;
        figures[1].1.push(bridge.transfer(seconds)?);
        drop(pass);
        let mut pinned = Pinned::open(&bpffs.path())?;
        bridge.host.run(|| pinned.attach(uplink))?;
        figures[2].1.push(bridge.transfer(seconds)?);
    }
    Ok(figures.into_iter().collect())
}

/// Its lines of the report.
pub(crate) fn lines(guest: &[Throughput]) -> Vec<String> {
    let bare = median(&guest[0].1);
    let line = |(name, rates): &Throughput| {
        let rate = median(rates);
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        let [rate_in_words, least, most] = [rate, least, most].map(|it| format!("{:.2}", it / 1e9));
        format!("| {name} | {rate_in_words} ({least}–{most}) | {:.0} % |", 100.0 * rate / bare)
    };
    guest.iter().map(line).collect()
}
