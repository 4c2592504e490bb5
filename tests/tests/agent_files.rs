//! The agent on log files: bans, rotation, restarts, and what status says.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::lan::{ATTACKER, HOST, Lan, NEIGHBOUR};
use guard_tests::probe::{self, Answer, Service, connect};

const PORT: u16 = 22;

const FILTER: &str = "[Definition]\nfailregex = app\\[\\d+\\]: login failed from <HOST>$\n";

struct World<'lan> {
    lan: &'lan Lan,
    agent: Agent<'lan>,
    directory: tempfile::TempDir,
    _service: Service,
}

impl<'lan> World<'lan> {
    fn new(lan: &'lan Lan, backend: &str) -> Result<Self> {
        let service = Service::listen(&lan.host, PORT)?;
        let directory = tempfile::tempdir()?;
        let agent = Agent::new(&lan.host, beside_this_program()?)?
            .setting("backend", &format!("\"{backend}\""));
        agent.write("filter.d/app.conf", FILTER)?;
        let pattern = directory.path().join("*.log").display().to_string();
        agent.write("jail.d/app.conf", &jail("app", &pattern))?;
        Ok(Self { lan, agent, directory, _service: service })
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("app.log")
    }

    fn failures(&self, source: IpAddr, times: usize) -> Result<()> {
        let now = command::run("date", ["+%b %e %H:%M:%S"])?;
        let mut log = fs::File::options().append(true).create(true).open(self.log())?;
        for _ in 0..times {
            writeln!(log, "{} host app[7]: login failed from {source}", now.trim_end())?;
        }
        Ok(())
    }

    fn wait_for_answer(&self, source: IpAddr, open: bool) -> Result<()> {
        let to = SocketAddr::new(HOST, PORT);
        wait_until(&format!("{source}: open {open}"), PATIENCE, || {
            let answer = connect(&self.lan.outside, source, to, probe::SILENCE)?;
            Ok((answer == Answer::Connected) == open)
        })
    }
}

fn jail(name: &str, path: &str) -> String {
    format!(
        "[{name}]\nenabled = true\nbackend = auto\nfilter = app\nlogpath = {path}\nport = {PORT}\n\
         maxretry = 3\nfindtime = 10m\nbantime = 1h\n"
    )
}

#[test]
fn a_jail_on_files_bans_across_rotation_and_restart() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    // The journal is not asked for: no jail reads it.
    world.agent.start()?;
    world.failures(NEIGHBOUR, 1)?;
    world.failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[app] Ban {ATTACKER}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, false)?;
    world.wait_for_answer(NEIGHBOUR, true)?;
    let status = world.agent.guardctl(&["status", "app"])?;
    let list = format!("|  `- File list:\t{}\n", world.log().display());
    ensure!(status.contains(&list), "{status}");
    ensure!(!status.contains("Journal matches"), "{status}");

    world.agent.kill()?;
    world.failures(NEIGHBOUR, 1)?;
    fs::rename(world.log(), world.directory.path().join("app.log.1"))?;
    world.failures(NEIGHBOUR, 1)?;
    world.agent.start()?;
    world.agent.wait_for_log(&format!("[app] Ban {NEIGHBOUR}"), PATIENCE)?;
    world.wait_for_answer(NEIGHBOUR, false)?;
    let status = world.agent.guardctl(&["status", "app"])?;
    ensure!(status.contains("Total failed:\t6\n"), "{status}");
    world.agent.stop()
}

#[test]
fn a_jail_of_an_unknown_encoding_is_left_out_and_the_others_start() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    let path = world.log().display().to_string();
    let other = jail("odd", &path) + "logencoding = utf-5\n";
    world.agent.write("jail.d/odd.conf", &other)?;
    world.agent.start()?;
    let log = world.agent.log()?;
    let told = log.lines().any(|it| it.contains("ERROR") && it.contains("utf-5"));
    ensure!(told, "not told:\n{log}");
    let status = world.agent.guardctl(&["status"])?;
    ensure!(status.contains("Jail list:\tapp"), "{status}");
    world.failures(ATTACKER, 3)?;
    world.agent.wait_for_log(&format!("[app] Ban {ATTACKER}"), PATIENCE)?;
    Ok(())
}
