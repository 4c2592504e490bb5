//! The agent bans IPv6 networks: an attacker who changes its address for each attempt, in
//! the real kernel, over a restart and without the agent. This takes root.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER_V6, HOST_V6, Lan};
use guard_tests::probe::{self, Answer, Service, connect};
use serde_json::Value;

const PORT: u16 = 22;
/// Addresses of the attacker's network, the first of the next one, and the network.
const ROTATING: [&str; 4] = ["fd04::1", "fd04::aaaa:2", "fd04::bbbb:0:3", "fd04::4"];
const BESIDE: &str = "fd04:0:0:1::1";
const NETWORK: &str = "fd04::/64";

const FILTER: &str = "[Definition]\nfailregex = app\\[\\d+\\]: login failed from <HOST>$\n";

struct World<'lan> {
    lan: &'lan Lan,
    agent: Agent<'lan>,
    directory: tempfile::TempDir,
    _service: Service,
}

impl<'lan> World<'lan> {
    fn new(lan: &'lan Lan, backend: &str) -> Result<Self> {
        for address in ROTATING.iter().chain([&BESIDE]) {
            lan.outside.ip(&format!("address add {address}/128 dev out0 nodad"))?;
        }
        lan.host.ip(&format!("route add fd04::/48 via {ATTACKER_V6}"))?;
        let service = Service::listen(&lan.host, PORT)?;
        let directory = tempfile::tempdir()?;
        let agent = Agent::new(&lan.host, beside_this_program()?)?
            .setting("backend", &format!("\"{backend}\""));
        agent.write("filter.d/app.conf", FILTER)?;
        let path = directory.path().join("app.log").display().to_string();
        agent.write(
            "jail.d/app.conf",
            &format!(
                "[app]\nenabled = true\nbackend = auto\nlogpath = {path}\nport = {PORT}\n\
                 maxretry = 3\n"
            ),
        )?;
        Ok(Self { lan, agent, directory, _service: service })
    }

    fn failures(&self, sources: &[&str]) -> Result<()> {
        let now = command::run("date", ["+%b %e %H:%M:%S"])?;
        let path = self.directory.path().join("app.log");
        let mut log = fs::File::options().append(true).create(true).open(path)?;
        for source in sources {
            writeln!(log, "{} host app[7]: login failed from {source}", now.trim_end())?;
        }
        Ok(())
    }

    fn expect(&self, source: &str, open: bool) -> Result<()> {
        let to = SocketAddr::new(HOST_V6, PORT);
        wait_until(&format!("{source}: open {open}"), PATIENCE, || {
            let answer = connect(&self.lan.outside, source.parse()?, to, probe::SILENCE)?;
            Ok((answer == Answer::Connected) == open)
        })
    }
}

/// Waits for the next second of the clock: a time in the log has no fraction, and what may
/// have come before an unban is not counted after it.
fn after_this_second() -> Result<()> {
    let second = || Ok::<_, anyhow::Error>(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let this = second()?;
    wait_until("the next second", PATIENCE, || Ok(second()? > this))
}

#[test]
fn xdp_bans_a_network() -> Result<()> {
    bans_a_network("xdp")
}

#[test]
fn nft_bans_a_network() -> Result<()> {
    bans_a_network("nft")
}

fn bans_a_network(backend: &str) -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, backend)?;
    world.agent.start()?;
    // The third failure comes after a crash.
    world.failures(&[BESIDE, BESIDE, ROTATING[0], ROTATING[1]])?;
    world.agent.wait_for_log(&format!("[app] Found {}", ROTATING[1]), PATIENCE)?;
    world.agent.kill()?;
    world.agent.start()?;
    world.expect(ROTATING[1], true)?;
    world.failures(&[ROTATING[2]])?;
    world.agent.wait_for_log(&format!("[app] Ban {NETWORK}"), PATIENCE)?;
    world.expect(ROTATING[3], false)?;
    world.expect(BESIDE, true)?;

    let bans = world.agent.guardctl(&["--json", "bans", "list"])?;
    let bans: Value = serde_json::from_str(&bans)?;
    let row = &bans[0];
    ensure!(row["address"] == NETWORK && row["enforced"] == true, "{bans}");
    ensure!(row["reason"]["last"] == ROTATING[2], "{bans}");
    let told = world.agent.guardctl(&["explain", ROTATING[3]])?;
    // Lines end between words.
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["banned with fd04::/64 since", ", the last by fd04::bbbb:0:3", "the kernel drops"]
    {
        ensure!(told.contains(words), "{told}");
    }

    // The ban outlives the agent, and ends by any of the network's addresses without it.
    world.agent.kill()?;
    world.expect(ROTATING[3], false)?;
    ensure!(world.agent.guardctl(&["unban", "app", ROTATING[3]])? == "1\n");
    after_this_second()?;
    world.expect(ROTATING[3], true)?;
    world.agent.start()?;
    world.failures(&ROTATING[..2])?;
    world.agent.wait_for_log(&format!("[app] Found {}", ROTATING[1]), PATIENCE)?;
    world.expect(ROTATING[3], true)?;
    world.failures(&ROTATING[..1])?;
    world.expect(ROTATING[3], false)?;
    let unban = world.agent.guardctl_output(&["unban", "app", ROTATING[1]])?;
    let told = String::from_utf8_lossy(&unban.stderr).into_owned();
    ensure!(told.contains("was banned with fd04::/64, which is let in again"), "{told}");
    world.expect(ROTATING[3], true)?;
    after_this_second()?;

    // Somebody in it becomes the host's own: it is taken apart.
    lan.host.ip("address add fd04::fe/128 dev lo")?;
    world.failures(&ROTATING[..3])?;
    world.failures(&[ROTATING[3]; 3])?;
    world.agent.wait_for_log(&format!("[app] Ban {}", ROTATING[3]), PATIENCE)?;
    world.expect(ROTATING[3], false)?;
    world.expect(ROTATING[0], true)?;
    world.agent.stop()
}
