//! The agent as a whole, in a namespace, on real journal files and the real kernel.

mod counted;
mod import;
mod lockout;
mod modes;
mod reload;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Result, ensure};
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::wait_until;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::probe::{self, Answer, Service, connect};

const SSH: u16 = 22;
const PROXMOX: u16 = 8006;

/// A host whose journal the test writes.
struct World<'lan> {
    lan: &'lan Lan,
    journal: JournalFiles,
    agent: Agent<'lan>,
    _services: [Service; 2],
    _directory: tempfile::TempDir,
}

impl<'lan> World<'lan> {
    /// The guide's jails on `backend`; the agent does not run yet.
    fn new(lan: &'lan Lan, backend: &str) -> Result<Self> {
        let services = [Service::listen(&lan.host, SSH)?, Service::listen(&lan.host, PROXMOX)?];
        let directory = tempfile::tempdir()?;
        let journal = JournalFiles::new(&directory.path().join("journal"))?;
        let agent = Agent::new(&lan.host, beside_this_program()?)?
            .setting("backend", &format!("\"{backend}\""))
            .journal(journal.directory());
        agent.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guide"))?;
        Ok(Self { lan, journal, agent, _services: services, _directory: directory })
    }

    fn sshd_failures(&mut self, source: IpAddr, times: u32) -> Result<()> {
        for time in 0..times {
            let message =
                format!("Failed password for root from {source} port {} ssh2", 4000 + time);
            // A connection of its own each time.
            self.journal.append_one(&Record::sshd(2000 + time, &message))?;
        }
        Ok(())
    }

    fn answer(&self, source: IpAddr, port: u16) -> Result<Answer> {
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        connect(&self.lan.outside, source, SocketAddr::new(host, port), probe::SILENCE)
    }

    fn wait_for_answer(&self, source: IpAddr, port: u16, open: bool) -> Result<()> {
        wait_until(&format!("{source} to port {port}: open {open}"), PATIENCE, || {
            Ok((self.answer(source, port)? == Answer::Connected) == open)
        })
    }

    fn log_count(&self, text: &str) -> Result<usize> {
        Ok(self.agent.log()?.lines().filter(|line| line.contains(text)).count())
    }
}

#[test]
fn xdp_bans_and_releases() -> Result<()> {
    bans_and_releases("xdp")
}

#[test]
fn nft_bans_and_releases() -> Result<()> {
    bans_and_releases("nft")
}

fn bans_and_releases(backend: &str) -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, backend)?;
    world.agent.write("jail.d/99_short.conf", "[proxmox]\nbantime = 3s\n")?;
    world.agent.start()?;
    for (attacker, neighbour) in [(ATTACKER, NEIGHBOUR), (ATTACKER_V6, NEIGHBOUR_V6)] {
        world.sshd_failures(neighbour, 2)?;
        world.sshd_failures(attacker, 3)?;
        world.agent.wait_for_log(&format!("[sshd] Ban {attacker}"), PATIENCE)?;
        world.wait_for_answer(attacker, SSH, false)?;
        world.wait_for_answer(attacker, PROXMOX, true)?;
        world.wait_for_answer(neighbour, SSH, true)?;
        let count = world.agent.guardctl(&["unban", "sshd", &attacker.to_string()])?;
        ensure!(count == "1\n", "unban printed {count:?}");
        world.wait_for_answer(attacker, SSH, true)?;
    }
    // The same that journald would say of PVE's daemon; this ban ends by itself.
    let failure = format!("authentication failure; rhost=::ffff:{ATTACKER} user=root@pam msg=no");
    for _ in 0..3 {
        world.journal.append_one(&Record::pvedaemon(1500, &failure))?;
    }
    world.agent.wait_for_log(&format!("[proxmox] Ban {ATTACKER}"), PATIENCE)?;
    world.agent.wait_for_log(&format!("[proxmox] Unban {ATTACKER}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, PROXMOX, true)?;
    ensure!(world.log_count("Ban ")? == 3, "{}", world.agent.log()?);
    world.agent.stop()
}

#[test]
fn xdp_bans_outlive_the_agent_and_no_failure_is_lost() -> Result<()> {
    bans_outlive_the_agent("xdp")
}

#[test]
fn nft_bans_outlive_the_agent_and_no_failure_is_lost() -> Result<()> {
    bans_outlive_the_agent("nft")
}

fn bans_outlive_the_agent(backend: &str) -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, backend)?;
    world.agent.start()?;
    world.sshd_failures(ATTACKER, 3)?;
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.agent.wait_for_log(&format!("[sshd] Found {NEIGHBOUR}"), PATIENCE)?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.agent.kill()?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.wait_for_answer(NEIGHBOUR, SSH, true)?;
    // One before, one while it is down, in a new file of the journal: still one too few.
    world.journal.rotate()?;
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.agent.start()?;
    wait_until("the second failure is found", PATIENCE, || {
        Ok(world.log_count(&format!("[sshd] Found {NEIGHBOUR} - "))? == 2)
    })?;
    world.wait_for_answer(NEIGHBOUR, SSH, true)?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.agent.wait_for_log(&format!("[sshd] Ban {NEIGHBOUR}"), PATIENCE)?;
    ensure!(world.log_count(&format!("[sshd] Found {ATTACKER} - "))? == 3);
    ensure!(world.log_count(&format!("[sshd] Found {NEIGHBOUR} - "))? == 3);
    // By hand without the agent, and it stays so.
    world.agent.stop()?;
    world.agent.guardctl(&["unban", "sshd", &ATTACKER.to_string()])?;
    world.wait_for_answer(ATTACKER, SSH, true)?;
    world.agent.start()?;
    world.wait_for_answer(ATTACKER, SSH, true)?;
    world.wait_for_answer(NEIGHBOUR, SSH, false)
}

#[test]
fn only_the_daemon_itself_can_accuse() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    let message = format!("Failed password for root from {NEIGHBOUR} port 22 ssh2");
    for record in [
        Record::sshd(1, &message).with("_UID", "1000"),
        Record::sshd(1, &message).without("_UID"),
        Record::sshd(1, &message).with("_SYSTEMD_UNIT", "user@1000.service"),
        Record::sshd(1, &message).without("_SYSTEMD_UNIT"),
        Record::sshd(1, &format!("Invalid user a from {NEIGHBOUR} from {ATTACKER} port 22")),
    ] {
        for pid in ["11", "12", "13"] {
            let record = record.clone().with("_PID", pid).with("SYSLOG_PID", pid);
            world.journal.append_one(&record)?;
        }
    }
    // The last of them are true, and lie behind all the others in the journal.
    world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    ensure!(world.log_count(&format!("Found {NEIGHBOUR}"))? == 0, "{}", world.agent.log()?);
    Ok(())
}

#[test]
fn a_broken_jail_is_named_and_the_others_start() -> Result<()> {
    let lan = Lan::new()?;
    for (jail, filter, named) in [
        ("filter = bad", "[Definition]\nfailregex = ^oops( <HOST>$\n", "bad.conf"),
        ("filter = bad", "[Definition]\nfailregex = ^no address here$\n", "bad.conf"),
        ("filter = absent", "", "absent"),
        ("filter = sshd\nport = nosuchservice", "", "nosuchservice"),
        ("filter = sshd\nmaxretry = many", "", "many"),
    ] {
        let mut world = World::new(&lan, "null")?;
        world.agent.write("filter.d/bad.conf", filter)?;
        world
            .agent
            .write("jail.d/50_bad.conf", &format!("[bad]\nenabled = true\nport = 1\n{jail}\n"))?;
        world.agent.start()?;
        let log = world.agent.log()?;
        let told = log.lines().any(|line| line.contains("ERROR") && line.contains(named));
        ensure!(told, "{jail}: no error names {named}:\n{log}");
        let status = world.agent.guardctl(&["status"])?;
        ensure!(status.contains("proxmox, sshd"), "{jail}: {status}");
        ensure!(!status.contains("bad,"), "{jail}: {status}");
        world.sshd_failures(ATTACKER, 3)?;
        world.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
    }
    Ok(())
}

#[test]
fn wrong_settings_are_all_shown_and_nothing_starts() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent = world.agent.setting("bakend", "\"xdp\"").setting("scope", "\"galaxy\"");
    ensure!(world.agent.start().is_err(), "it started with wrong settings");
    let said = world.agent.output();
    for part in ["guard.toml", "bakend", "galaxy", "^"] {
        ensure!(said.contains(part), "no {part:?} in:\n{said}");
    }
    let output = world.agent.guardctl_output(&["status"])?;
    ensure!(output.status.code() == Some(78), "{output:?}");
    Ok(())
}

#[test]
fn an_unusable_place_is_named() -> Result<()> {
    let lan = Lan::new()?;
    for key in ["state-directory", "socket", "log"] {
        let mut world = World::new(&lan, "null")?;
        // Below a file nothing can be made.
        let place = world.agent.path("etc/jail.d/01_sshd.conf/below").display().to_string();
        world.agent = world.agent.setting(key, &format!("{place:?}"));
        ensure!(world.agent.start().is_err(), "{key}: it started");
        let said = format!("{}{}", world.agent.output(), world.agent.log()?);
        ensure!(said.contains(&place), "{key}: {said}");
    }
    Ok(())
}

#[test]
fn a_store_that_is_in_use_for_a_moment_is_waited_for() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    world.agent.stop()?;
    // As `guardctl expire` and `unban` do when no agent runs.
    let lock = std::fs::File::open(world.agent.path("state/guard.sqlite3.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let log = world.agent.path("guard.log");
    let release = std::thread::spawn(move || {
        wait_until("the agent waits for the store", PATIENCE, || {
            Ok(std::fs::read_to_string(&log)?.contains("waiting: the store"))
        })?;
        drop(lock);
        anyhow::Ok(())
    });
    world.agent.start()?;
    release.join().map_err(|_| anyhow::anyhow!("the waiting failed"))??;
    world.agent.stop()
}

#[test]
fn an_interface_that_is_not_there_is_named() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.agent = world.agent.setting("interfaces", "[\"up0\", \"nosuch0\"]");
    world.agent.start()?;
    world.agent.wait_for_log("nosuch0", PATIENCE)?;
    world.sshd_failures(ATTACKER, 3)?;
    world.wait_for_answer(ATTACKER, SSH, false)?;
    world.wait_for_answer(NEIGHBOUR, SSH, true)
}

#[test]
fn without_the_agent_guardctl_says_so() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "null")?;
    world.agent.start()?;
    world.agent.stop()?;
    for words in [&["status"][..], &["bans", "list"], &["ban", "sshd", "10.3.0.1"]] {
        let output = world.agent.guardctl_output(words)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(3), "{words:?}: {output:?}");
        ensure!(said.contains("not running"), "{words:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_addresses_are_banned_in_one_request() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.agent.start()?;
        let addresses: String = (0..100_000u32)
            .map(|number| format!("{}\n", std::net::Ipv4Addr::from((11 << 24) + 7 * number)))
            .collect();
        let count = world.agent.guardctl_with_input(&["ban", "sshd", "-"], addresses.as_bytes())?;
        ensure!(count == "100000\n", "{backend}: {count:?}");
        let status = world.agent.guardctl(&["status", "sshd"])?;
        ensure!(status.contains("Currently banned:\t100000\n"), "{backend}");
        let count = world.agent.guardctl(&["unban", "--all"])?;
        ensure!(count == "100000\n", "{backend}: {count:?}");
        world.agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_prefix_is_banned_and_lifted_and_outlives_the_agent() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.agent.start()?;
        // It contains this host's own address.
        let output = world.agent.guardctl_output(&["ban", "sshd", "10.3.0.0/24"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{backend}: {output:?}");
        ensure!(said.contains("10.3.0.254 is this host's own address"), "{backend}: {said}");
        // The attacker is 10.3.0.1, the neighbour 10.3.0.2.
        ensure!(world.agent.guardctl(&["ban", "sshd", "10.3.0.0/31"])? == "1\n", "{backend}");
        ensure!(world.answer(ATTACKER, SSH)? != Answer::Connected, "{backend}: not cut off");
        ensure!(world.answer(NEIGHBOUR, SSH)? == Answer::Connected, "{backend}: neighbour");
        ensure!(world.agent.guardctl(&["ban", "sshd", "10.3.0.1"])? == "1\n", "{backend}");
        world.agent.stop()?;
        ensure!(world.answer(ATTACKER, SSH)? != Answer::Connected, "{backend}: without agent");
        world.agent.start()?;
        let bans = world.agent.guardctl(&["bans", "list"])?;
        ensure!(bans.contains("10.3.0.0/31 ") && bans.contains("10.3.0.1 "), "{backend}: {bans}");
        ensure!(!bans.contains("NOT ENFORCED"), "{backend}: {bans}");
        let output = world.agent.guardctl_output(&["unban", "sshd", "10.3.0.1"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() && output.stdout == b"1\n", "{backend}: {output:?}");
        ensure!(said.contains("10.3.0.1 is still banned with 10.3.0.0/31"), "{backend}: {said}");
        ensure!(world.answer(ATTACKER, SSH)? != Answer::Connected, "{backend}: in the prefix");
        ensure!(world.agent.guardctl(&["unban", "sshd", "10.3.0.0/31"])? == "1\n", "{backend}");
        world.wait_for_answer(ATTACKER, SSH, true)?;
        world.agent.stop()?;
    }
    Ok(())
}

#[test]
fn what_others_delete_is_back_within_two_seconds() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "nft")?;
    world.agent.start()?;
    ensure!(world.agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])? == "1\n");
    world.wait_for_answer(ATTACKER, SSH, false)?;
    let mut delete = lan.host.command("nft");
    let deleted = std::time::Instant::now();
    ensure!(delete.args(["delete", "table", "inet", "f2b-table"]).status()?.success());
    world.agent.wait_for_log("changed table inet f2b-table", PATIENCE)?;
    world.agent.wait_for_log("the kernel holds all 1 bans again", PATIENCE)?;
    let took = deleted.elapsed();
    ensure!(took < std::time::Duration::from_secs(2), "put right after {took:?}");
    ensure!(world.answer(ATTACKER, SSH)? != Answer::Connected, "not cut off again");
    ensure!(world.answer(NEIGHBOUR, SSH)? == Answer::Connected, "the neighbour is");
    let bans = world.agent.guardctl(&["bans", "list"])?;
    ensure!(!bans.contains("NOT ENFORCED"), "{bans}");
    let status = world.agent.guardctl(&["--json", "status"])?;
    ensure!(status.contains("\"put-right\": 1"), "{status}");
    Ok(())
}

#[test]
fn failures_before_an_unban_without_the_agent_do_not_count() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.agent.start()?;
    ensure!(world.agent.guardctl(&["ban", "sshd", &ATTACKER.to_string()])? == "1\n");
    world.agent.kill()?;
    world.sshd_failures(ATTACKER, 3)?;
    world.sshd_failures(NEIGHBOUR, 3)?;
    ensure!(world.agent.guardctl(&["unban", "sshd", &ATTACKER.to_string()])? == "1\n");
    world.wait_for_answer(ATTACKER, SSH, true)?;
    world.agent.start()?;
    world.agent.wait_for_log(&format!("[sshd] Ban {NEIGHBOUR}"), PATIENCE)?;
    ensure!(world.answer(ATTACKER, SSH)? == Answer::Connected, "{}", world.agent.log()?);
    let output = world.agent.guardctl_output(&["unban", "nosuchjail", "192.0.2.1"])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(())
}
