//! The scenes of the demo. Each does something and then looks whether the world is as
//! it should be; if not, the demo ends there with what was seen instead.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use guard_tests::agent::{Agent, PATIENCE};
use guard_tests::command;
use guard_tests::deadline::wait_until;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{ATTACKER, HOST, Lan, NEIGHBOUR};
use guard_tests::probe::{self, Answer, Service, connect};

use super::Backend;
use super::narrator::Narrator;
use crate::workspace;

/// So that the demo need not wait for the guide's hour.
const SHORT_BAN: Duration = Duration::from_secs(6);
/// The ports of the two jails that are tried here.
const SSH: u16 = 22;
const PROXMOX: u16 = 8006;

/// The stage: a host with its services, its journal and the agent.
pub(crate) struct Act<'network> {
    narrator: Narrator,
    backend: Backend,
    network: &'network Lan,
    _services: [Service; 2],
    journal: JournalFiles,
    agent: Agent<'network>,
    _directory: tempfile::TempDir,
}

impl<'network> Act<'network> {
    /// Sets the stage; the agent does not run yet.
    pub(crate) fn prepare(
        backend: Backend,
        program: &Path,
        network: &'network Lan,
    ) -> Result<Self> {
        let narrator = Narrator::new();
        narrator.chapter(match backend {
            Backend::Xdp => "XDP: bans in the network driver",
            Backend::Nft => "nft: bans in nftables, with the table that Fail2Ban makes",
        });
        narrator.say(&format!(
            "A host {HOST} with services on ports {SSH} and {PROXMOX}; outside, on the same cable,\n\
             an attacker {ATTACKER} and its neighbour {NEIGHBOUR}."
        ));
        let services =
            [Service::listen(&network.host, SSH)?, Service::listen(&network.host, PROXMOX)?];
        let directory = tempfile::tempdir()?;
        let journal = JournalFiles::new(&directory.path().join("journal"))?;
        let agent = Agent::new(&network.host, program.to_owned())?
            .setting("backend", &format!("\"{}\"", backend.name()))
            .journal(journal.directory());
        agent.copy(&workspace::root().join("tests/fixtures/guide"))?;
        let short = format!("[proxmox]\nbantime = {}s\n", SHORT_BAN.as_secs());
        agent.write("jail.d/99_short.conf", &short)?;
        narrator.say(
            "Its jails are those of the Proxmox guide, unchanged, and one file that shortens\n\
             Proxmox's bans so that this demo need not wait an hour:",
        );
        for file in ["jail.d/01_sshd.conf", "jail.d/02_proxmox.conf", "jail.d/99_short.conf"] {
            let text = std::fs::read_to_string(agent.path("etc").join(file))?;
            narrator.command(&format!("cat {file}"), &text);
        }
        Ok(Self {
            narrator,
            backend,
            network,
            _services: services,
            journal,
            agent,
            _directory: directory,
        })
    }

    /// The agent comes up.
    pub(crate) fn start_agent(&mut self) -> Result<()> {
        self.agent.start()?;
        self.narrator.command(&format!("guardctl --backend {} run &", self.backend.name()), "");
        self.narrator.seen("the agent is ready");
        let probe = self.agent.guardctl(&["probe"])?;
        self.narrator.command("guardctl probe", &probe);
        Ok(())
    }

    /// Before the attack all doors are open.
    pub(crate) fn everybody_connects(&self) -> Result<()> {
        self.narrator.say("Before the attack both can reach the host.");
        for source in [ATTACKER, NEIGHBOUR] {
            for port in [SSH, PROXMOX] {
                self.meets(source, port, Answer::Connected)?;
            }
        }
        Ok(())
    }

    /// Three failures, as the guide's sshd jail allows.
    pub(crate) fn attack_ssh(&mut self) -> Result<()> {
        self.narrator.say("The attacker guesses passwords. sshd writes to the journal:");
        let records: Vec<_> = (0..3)
            .map(|attempt| {
                let port = 40_001 + attempt;
                let message = format!("Failed password for root from {ATTACKER} port {port} ssh2");
                self.narrator.quote(&format!("pve sshd[{}]: {message}", 2001 + attempt));
                Record::sshd(2001 + attempt, &message)
            })
            .collect();
        // The neighbour mistypes once; that is nobody's crime.
        let slip = format!("Failed password for alice from {NEIGHBOUR} port 50001 ssh2");
        self.narrator.quote(&format!("pve sshd[2010]: {slip}"));
        self.journal.append(&records)?;
        self.journal.append_one(&Record::sshd(2010, &slip))?;
        self.narrator.say("The agent's log, in Fail2Ban's format:");
        self.agent.wait_for_log(&format!("[sshd] Found {NEIGHBOUR}"), PATIENCE)?;
        self.agent.wait_for_log(&format!("[sshd] Ban {ATTACKER}"), PATIENCE)?;
        self.show_log("[sshd]")?;
        let found = self.log_lines(&format!("[sshd] Found {ATTACKER}"))?;
        ensure!(found.len() == 3, "{} Found lines for the attacker instead of 3", found.len());
        let banned = self.log_lines("Ban ")?;
        ensure!(banned.len() == 1, "more than one Ban:\n{}", banned.join("\n"));
        self.narrator.seen("three failures found, one ban");
        Ok(())
    }

    /// The attacker is out, from that service alone, and nobody else is.
    pub(crate) fn attacker_is_cut_off(&self) -> Result<()> {
        self.narrator.say("Who can still connect?");
        self.cut_off(SSH)?;
        self.meets(NEIGHBOUR, SSH, Answer::Connected)?;
        self.meets(ATTACKER, PROXMOX, Answer::Connected)
    }

    /// What the user sees.
    pub(crate) fn list_bans(&self) -> Result<()> {
        let bans = self.agent.guardctl(&["bans", "list"])?;
        self.narrator.command("guardctl bans list", &bans);
        ensure!(names(&bans, ATTACKER), "the attacker is not in the list");
        ensure!(!names(&bans, NEIGHBOUR), "the neighbour is in the list");
        let status = self.agent.guardctl(&["status", "sshd"])?;
        self.narrator.command("guardctl status sshd", &status);
        ensure!(names(&status, ATTACKER), "the attacker is not in the status");
        if self.backend == Backend::Nft {
            let table = self.table()?;
            self.narrator.command("nft list table inet f2b-table", &table);
            ensure!(names(&table, ATTACKER), "the attacker is not in the table");
            ensure!(!names(&table, NEIGHBOUR), "the neighbour is in the table");
        }
        Ok(())
    }

    /// A ban is lifted by hand.
    pub(crate) fn unban(&self) -> Result<()> {
        let count = self.agent.guardctl(&["unban", "sshd", &ATTACKER.to_string()])?;
        self.narrator.command(&format!("guardctl unban sshd {ATTACKER}"), &count);
        ensure!(count.trim() == "1", "unban printed {count:?} instead of 1");
        self.meets(ATTACKER, SSH, Answer::Connected)
    }

    /// The other jail, and a ban that ends by itself.
    pub(crate) fn attack_proxmox_and_wait(&mut self) -> Result<()> {
        self.narrator.say("Now it tries Proxmox's web interface. pvedaemon writes:");
        let message = format!(
            "authentication failure; rhost=::ffff:{ATTACKER} user=root@pam msg=Authentication failure"
        );
        let record = Record::pvedaemon(1500, &message).with("PRIORITY", "3");
        for _ in 0..3 {
            self.narrator.quote(&format!("pve pvedaemon[1500]: {message}"));
            self.journal.append_one(&record)?;
        }
        self.narrator.say("The agent's log:");
        self.agent.wait_for_log(&format!("[proxmox] Ban {ATTACKER}"), PATIENCE)?;
        self.show_log("[proxmox]")?;
        self.cut_off(PROXMOX)?;
        self.meets(ATTACKER, SSH, Answer::Connected)?;
        self.meets(NEIGHBOUR, PROXMOX, Answer::Connected)?;
        self.narrator.say(&format!("This ban lasts {} s and ends by itself.", SHORT_BAN.as_secs()));
        let line = self
            .agent
            .wait_for_log(&format!("[proxmox] Unban {ATTACKER}"), SHORT_BAN + PATIENCE)?;
        self.narrator.quote(&line);
        self.meets(ATTACKER, PROXMOX, Answer::Connected)?;
        let bans = self.agent.guardctl(&["bans", "list"])?;
        self.narrator.command("guardctl bans list", &bans);
        ensure!(!names(&bans, ATTACKER), "the attacker is still in the list");
        Ok(())
    }

    /// The agent ends in order.
    pub(crate) fn stop_agent(&mut self) -> Result<()> {
        self.agent.stop()?;
        self.narrator.seen("the agent has stopped");
        Ok(())
    }

    /// The attacker gets what this backend gives the banned: silence or a refusal.
    fn cut_off(&self, port: u16) -> Result<()> {
        let expected = match self.backend {
            Backend::Xdp => Answer::Silence,
            Backend::Nft => Answer::Refused,
        };
        self.meets(ATTACKER, port, expected)
    }

    /// Sees `source` meet `expected` at the host's `port`.
    fn meets(&self, source: IpAddr, port: u16, expected: Answer) -> Result<()> {
        let destination = SocketAddr::new(HOST, port);
        let patience = if expected == Answer::Silence { probe::SILENCE } else { probe::PATIENCE };
        let what = format!("{source} to port {port}: {expected}");
        wait_until(&what, PATIENCE, || {
            Ok(connect(&self.network.outside, source, destination, patience)? == expected)
        })?;
        self.narrator.seen(&what);
        Ok(())
    }

    fn table(&self) -> Result<String> {
        let mut list = self.network.host.command("nft");
        list.args(["list", "table", "inet", "f2b-table"]);
        command::finish(list)
    }

    fn log_lines(&self, text: &str) -> Result<Vec<String>> {
        let log = self.agent.log()?;
        Ok(log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect())
    }

    fn show_log(&self, jail: &str) -> Result<()> {
        let lines = self.log_lines(jail)?;
        if lines.is_empty() {
            bail!("the log has no line of {jail}");
        }
        self.narrator.quote(&lines.join("\n"));
        Ok(())
    }
}

/// Whether a text holds an address, as a whole word.
fn names(text: &str, address: IpAddr) -> bool {
    let address = address.to_string();
    text.split(|character: char| character.is_whitespace() || ",{}".contains(character))
        .any(|word| word == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_as_a_whole_word_only() {
        assert!(names("elements = { 10.3.0.1, 10.3.0.9 }", ATTACKER));
        assert!(!names("elements = { 10.3.0.11, 110.3.0.1 }", ATTACKER));
    }
}
