//! From Debian's Fail2Ban, running and with somebody banned, to guard and back: nobody who
//! is banned gets a packet through at any moment.

use std::fs;

use anyhow::{Context, Result, ensure};
use guard_tests::command;
use guard_tests::container::USER;
use guard_tests::deadline::wait_until;
use guard_tests::flood::{Flood, flooded};
use guard_tests::installed::{Installed, PATIENCE, UNIT};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::root::Suite;

const SSH: u16 = 22;
/// Covered by the jail too, for a flood of datagrams.
const FLOODED: u16 = 9_999;
const FAIL2BAN: &str = "fail2ban.service";

/// As on Debian 13 and Proxmox VE 9; Debian 12 alone would use iptables.
const JAILS: &str = "\
[DEFAULT]
banaction = nftables

[sshd]
enabled = true
backend = systemd
journalmatch = _SYSTEMD_UNIT=ssh.service
port = 22,9999
protocol = tcp,udp
maxretry = 3
findtime = 1h
bantime = 1h
action = %(action_)s
         dummy
";

#[test]
fn to_xdp_and_back() -> Result<()> {
    there_and_back("xdp")
}

/// Here both keep the same table.
#[test]
fn to_nft_and_back() -> Result<()> {
    there_and_back("nft")
}

fn there_and_back(backend: &str) -> Result<()> {
    let mut guarded = Installed::new(Suite::BookwormWithPeer, backend)?;
    let root = guarded.host.root();
    fs::write(root.join("etc/fail2ban/jail.local"), JAILS)?;
    for words in [["disable", UNIT], ["unmask", FAIL2BAN], ["enable", FAIL2BAN]] {
        let chroot = [root.as_os_str(), "systemctl".as_ref()].into_iter();
        command::run("chroot", chroot.chain(words.iter().map(AsRef::as_ref)))?;
    }
    let before = fs::read_to_string(root.join("etc/guard/guard.toml"))?;
    guarded.host.boot()?;
    wait_until("Fail2Ban is ready", PATIENCE, || {
        let status = guarded.host.exec_output(&["fail2ban-client", "status", "sshd"])?;
        Ok(status.status.success())
    })?;
    guarded.guess_passwords(ATTACKER, USER.0, 3)?;
    guarded.wait_until_cut_off(ATTACKER, SSH).with_context(|| {
        let told = guarded.host.exec_output(&["tail", "-50", "/var/log/fail2ban.log"]);
        let table = guarded.host.exec_output(&["nft", "list", "ruleset"]);
        format!("{told:?}\n{table:?}").replace("\\n", "\n")
    })?;

    let told = guarded.guardctl(&["migrate"])?;
    for text in [
        "jail sshd: works",
        "action dummy (sshd) is not run",
        "1 bans go on, from /var/lib/fail2ban/fail2ban.sqlite3",
    ] {
        ensure!(told.contains(text), "“{text}” is not in:\n{told}");
    }
    ensure!(guarded.host.unit(UNIT, "ActiveState")? == "inactive", "to look changes nothing");

    // Written beforehand, what ran is known all the same.
    guarded.guardctl(&["migrate", "--write"])?;
    services(&guarded, [(UNIT, false), (FAIL2BAN, true)])?;

    while_flooded(&guarded, |flood| {
        guarded.guardctl(&["migrate", "--apply"])?;
        flood.goes_on()
    })
    .context("there")?;
    ensure!(guarded.log()?.contains(&format!("backend {backend}")), "another backend");
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    services(&guarded, [(UNIT, true), (FAIL2BAN, false)])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.logs_in(NEIGHBOUR)?;
    let twice = guarded.host.exec_output(&["guardctl", "migrate", "--apply"])?;
    ensure!(!twice.status.success(), "once is enough");

    // Whom only guard knows stays banned as well.
    guarded.guardctl(&["ban", "sshd", "10.3.0.77"])?;
    // So does an IPv6 address.
    guarded.guess_passwords(ATTACKER_V6, USER.0, 3)?;
    guarded.wait_for_bans(&["sshd 10.3.0.1", "sshd 10.3.0.77", "sshd fd03::1"])?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    while_flooded(&guarded, |flood| {
        guarded.guardctl(&["migrate", "--undo"])?;
        flood.goes_on()
    })
    .context("back")?;
    services(&guarded, [(UNIT, false), (FAIL2BAN, true)])?;
    let status = guarded.host.exec(&["fail2ban-client", "status", "sshd"])?;
    for address in ["10.3.0.1", "10.3.0.77", "fd03::1"] {
        ensure!(status.split_whitespace().any(|word| word == address), "{address}: {status}");
    }
    let left = fs::exists(guarded.host.inside("/run/guard/backend")?)?;
    ensure!(!left, "guard still claims what is in the kernel");
    let after = fs::read_to_string(guarded.host.inside("/etc/guard/guard.toml")?)?;
    ensure!(after == before, "guard.toml is another: {after}");
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    guarded.logs_in(NEIGHBOUR_V6)?;
    guarded.logs_in(NEIGHBOUR)
}

/// Does something, and sees that the attacker's datagrams never pass and the neighbour's do.
fn while_flooded(guarded: &Installed, change: impl FnOnce(&Flood<'_>) -> Result<()>) -> Result<()> {
    let told = flooded(&guarded.host.lan, FLOODED, change)?;
    ensure!(told.passed == 0, "{told:?}");
    ensure!(told.sent > 0 && told.received > 0, "{told:?}");
    Ok(())
}

/// Which services run, and begin at boot.
fn services(guarded: &Installed, expected: [(&str, bool); 2]) -> Result<()> {
    for (unit, runs) in expected {
        let active = guarded.host.unit(unit, "ActiveState")?;
        ensure!((active == "active") == runs, "{unit} is {active}");
        let enabled = guarded.host.unit(unit, "UnitFileState")?;
        ensure!((enabled == "enabled") == runs, "{unit} is {enabled}");
    }
    Ok(())
}
