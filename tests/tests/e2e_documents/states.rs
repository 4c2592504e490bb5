//! What pages take for given, brought about on the host; and what is seen there.

use std::fs;

use anyhow::{Context, Result, ensure};
use guard_tests::container::USER;
use guard_tests::deadline::wait_until;
use guard_tests::installed::{Installed, PATIENCE, UNIT};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::package;

use crate::table::Look;

const SSH: u16 = 22;
const FAIL2BAN: &str = "fail2ban.service";
const SETTINGS: &str = "/etc/guard/guard.toml";
/// How a shell tells that its command was ended by SIGTERM.
pub(crate) const TERMINATED: i32 = 128 + 15;
/// Failures that lead to a ban in the jail that comes with guard.
const MAXRETRY: usize = 5;

/// As on Debian 13 and Proxmox VE 9; Debian 12 alone would use iptables.
const JAILS: &str = "\
[DEFAULT]
banaction = nftables

[sshd]
enabled = true
backend = systemd
journalmatch = _SYSTEMD_UNIT=ssh.service
bantime = 1h
";

/// The attacker is banned no more, and its neighbour was never.
pub(crate) const ATTACKER_IS_LET_IN: Look = |host, _| {
    host.reaches(ATTACKER, SSH)?;
    host.reaches(NEIGHBOUR, SSH)
};

/// The attacker is banned, and its neighbour is not.
pub(crate) const ATTACKER_STAYS_OUT: Look = |host, _| {
    host.wait_until_cut_off(ATTACKER, SSH)?;
    host.reaches(NEIGHBOUR, SSH)
};

/// The package has been made where the reader stands.
pub(crate) fn package_is_there(host: &Installed) -> Result<()> {
    let made = tempfile::tempdir()?;
    let package = package::make(made.path(), 1)?;
    let directory = host.host.inside("/root/target/debian")?;
    fs::create_dir_all(&directory)?;
    fs::copy(&package, directory.join(package.file_name().context("a file")?))?;
    // What is only recommended would have to come from the network.
    let apt = host.host.inside("/etc/apt/apt.conf.d/99guard-tests")?;
    Ok(fs::write(apt, "APT::Install-Recommends \"false\";\n")?)
}

pub(crate) fn guard_is_not_started(host: &Installed) -> Result<()> {
    host.host.exec(&["systemctl", "disable", "--now", UNIT]).map(drop)
}

/// Fail2Ban keeps the attacker out, and guard is not started.
pub(crate) fn fail2ban_guards(host: &Installed) -> Result<()> {
    guard_is_not_started(host)?;
    fs::write(host.host.inside("/etc/fail2ban/jail.local")?, JAILS)?;
    host.host.exec(&["systemctl", "unmask", "--quiet", FAIL2BAN])?;
    host.host.exec(&["systemctl", "enable", "--quiet", "--now", FAIL2BAN])?;
    wait_until("Fail2Ban is ready", PATIENCE, || {
        let status = host.host.exec_output(&["fail2ban-client", "status", "sshd"])?;
        Ok(status.status.success())
    })?;
    host.host.exec(&["fail2ban-client", "set", "sshd", "banip", "10.3.0.1"])?;
    ATTACKER_STAYS_OUT(host, "")
}

/// guard alone is there, and runs.
pub(crate) fn fail2ban_is_gone(host: &Installed) -> Result<()> {
    host.host.exec(&["systemctl", "mask", "--quiet", "--now", FAIL2BAN])?;
    guard_runs(host)
}

pub(crate) fn guard_runs(host: &Installed) -> Result<()> {
    host.host.exec(&["systemctl", "enable", "--quiet", "--now", UNIT])?;
    host.wait_until_active()
}

/// guard runs, enforces, and keeps the attacker out.
pub(crate) fn attacker_is_banned(host: &Installed) -> Result<()> {
    host.guardctl(&["attach"])?;
    guard_runs(host)?;
    host.guardctl(&["reload"])?;
    host.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    ATTACKER_STAYS_OUT(host, "")
}

/// guard has kept the attacker out with this backend, and is stopped.
pub(crate) fn is_stopped_on(host: &Installed, backend: &str) -> Result<()> {
    host.host.exec(&["systemctl", "stop", UNIT])?;
    let settings = host.host.inside(SETTINGS)?;
    let text = fs::read_to_string(&settings)?;
    let kept = text.lines().filter(|line| !line.starts_with("backend ="));
    let kept = kept.collect::<Vec<_>>().join("\n");
    fs::write(&settings, format!("backend = \"{backend}\"\n{kept}\n"))?;
    attacker_is_banned(host)?;
    host.host.exec(&["systemctl", "stop", UNIT])?;
    ATTACKER_STAYS_OUT(host, "")
}

/// Fails to log in until banned.
pub(crate) fn attacker_guesses(host: &Installed) -> Result<()> {
    for attempt in 1..MAXRETRY {
        host.guess_passwords(ATTACKER, USER.0, 1).with_context(|| format!("{attempt}"))?;
    }
    // The ban may meet this one on its way.
    host.host.login(ATTACKER, USER.0, "guess").map(drop)
}

pub(crate) fn somebody_is_banned(host: &Installed) -> Result<()> {
    wait_until("somebody is banned", PATIENCE, || Ok(!host.bans()?.is_empty()))
}

pub(crate) fn ban_198_51_100_7(host: &Installed) -> Result<()> {
    host.guardctl(&["unban", "--all"])?;
    host.guardctl(&["ban", "sshd", "198.51.100.7"]).map(drop)
}

/// Which of the two runs, and begins at boot.
pub(crate) fn services(host: &Installed, guard: bool) -> Result<()> {
    for (unit, runs) in [(UNIT, guard), (FAIL2BAN, !guard)] {
        let active = host.host.unit(unit, "ActiveState")?;
        ensure!((active == "active") == runs, "{unit} is {active}");
        let enabled = host.host.unit(unit, "UnitFileState")?;
        ensure!((enabled == "enabled") == runs, "{unit} is {enabled}");
    }
    Ok(())
}

/// What the page takes for the places of others.
pub(crate) fn directories_for_metrics(host: &Installed) -> Result<()> {
    for directory in ["/run/x", "/var/lib/prometheus/node-exporter"] {
        fs::create_dir_all(host.host.inside(directory)?)?;
    }
    guard_runs(host)
}

pub(crate) fn metrics_are_served(host: &Installed) -> Result<()> {
    const ASK: &str = "exec 3<>/dev/tcp/127.0.0.1/9779 && \
                       printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3";
    wait_until("the metrics are served", PATIENCE, || {
        let answer = host.host.exec_output(&["bash", "-c", ASK])?;
        Ok(String::from_utf8_lossy(&answer.stdout).contains("\nguard_up 1\n"))
    })
}

/// The id of the link that holds the program on the host's interface.
pub(crate) fn link_of_xdp(host: &Installed) -> Result<String> {
    let links = host.host.exec(&["sh", "-c", "echo /run/guard/bpf/links/native-*"])?;
    let pin = links.split_whitespace().next().context("a pin")?;
    let shown = host.host.exec(&["bpftool", "link", "show", "pinned", pin])?;
    let id = shown.split(':').next().context("an id")?.trim();
    ensure!(id.parse::<u32>().is_ok(), "{shown}");
    Ok(format!(" {id}"))
}
