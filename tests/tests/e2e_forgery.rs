//! Local users write to the journal in sshd's and pvedaemon's name, in every way that is open
//! to them: nobody is banned for it.
//!
//! Each forgery accuses an address of its own, and is seen to be in the journal.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use guard_tests::container::USER;
use guard_tests::fail2ban::Package;
use guard_tests::installed::Installed;
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::root::Suite;

/// Who writes, and as what: the words of a daemon before and after the address.
const DAEMONS: [(&str, &str, &str, &str); 3] = [
    ("sshd", "ssh.service", "Failed password for root from ", " port 22 ssh2"),
    ("sshd-session", "ssh.service", "Invalid user x from ", " port 22"),
    ("pvedaemon", "pvedaemon.service", "authentication failure; rhost=", " user=a msg=b"),
];

/// Ways to write, for a shell, with `TAG`, `UNIT` and `SAID`. Where sessions are logind's
/// there is one more.
const WAYS: [&str; 6] = [
    "logger -t \"$TAG\" \"$SAID\"",
    "logger --id=1 --tag \"$TAG\" --priority auth.info \"$SAID\"",
    "systemd-cat -t \"$TAG\" echo \"$SAID\"",
    "printf 'MESSAGE=%s\\nSYSLOG_IDENTIFIER=%s\\nSYSLOG_PID=1\\n_UID=0\\n_COMM=%s\\n_SYSTEMD_UNIT=%s\\n' \
     \"$SAID\" \"$TAG\" \"$TAG\" \"$UNIT\" | logger --journald",
    "cp /usr/bin/logger ~/\"$TAG\"; ~/\"$TAG\" -t \"$TAG\" \"$SAID\"",
    "cp /bin/echo ~/\"$TAG\"; systemd-cat -t \"$TAG\" ~/\"$TAG\" \"$SAID\"",
];
const USER_UNIT: &str = "export XDG_RUNTIME_DIR=/run/user/$(id -u); \
     mkdir -p ~/.config/systemd/user; \
     printf '[Service]\\nType=oneshot\\nSyslogIdentifier=%s\\nExecStart=/bin/echo \"%s\"\\n' \
     \"$TAG\" \"$SAID\" > ~/.config/systemd/user/\"$UNIT\"; \
     systemctl --user daemon-reload; systemctl --user start \"$UNIT\"";
/// More than any jail lets pass.
const TIMES: usize = 6;

/// Without logind, all that a session runs is in sshd's own unit.
#[test]
fn in_the_unit_of_sshd_itself() -> Result<()> {
    nobody_is_banned(&Installed::booted(Suite::Bookworm, "nft")?, &WAYS)
}

#[test]
fn in_a_session_and_in_a_users_unit() -> Result<()> {
    let ways = [&WAYS[..], &[USER_UNIT]].concat();
    nobody_is_banned(&Installed::booted(Suite::Trixie, "nft")?, &ways)
}

/// The same with Fail2Ban's filter of sshd instead of guard's own.
#[test]
fn with_the_stock_filter() -> Result<()> {
    let mut guarded = Installed::new(Suite::Bookworm, "nft")?;
    let (theirs, ours) = (Package::fetch()?.configuration(), guarded.host.root().join("etc/guard"));
    for name in ["common.conf", "sshd.conf"] {
        let file = Path::new("filter.d").join(name);
        fs::copy(theirs.join(&file), ours.join(&file))?;
    }
    guarded.host.boot()?;
    guarded.wait_until_active()?;
    nobody_is_banned(&guarded, &WAYS)?;
    // It is Fail2Ban's indeed: without the copy it is another, guard's own.
    let stock = expressions(&guarded)?;
    fs::remove_file(ours.join("filter.d/sshd.conf"))?;
    let own = expressions(&guarded)?;
    ensure!(stock != own, "{stock} expressions with Fail2Ban's filter, and with guard's own");
    Ok(())
}

/// How many expressions the filter of the jail `sshd` has.
fn expressions(guarded: &Installed) -> Result<u64> {
    let checked = guarded.host.exec_output(&["guardctl", "--json", "check"])?;
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout)?;
    let jails = checked["jails"].as_array().context("no jails")?;
    let sshd = jails.iter().find(|jail| jail["name"] == "sshd").context("no sshd")?;
    sshd["expressions"].as_u64().context("no number")
}

fn nobody_is_banned(guarded: &Installed, ways: &[&str]) -> Result<()> {
    let mut accused = Vec::new();
    for (tag, unit, before, after) in DAEMONS {
        for way in ways {
            for inside in [true, false] {
                // The user's own manager is there while he is logged in.
                if inside && *way == USER_UNIT {
                    continue;
                }
                let address = format!("203.0.113.{}", accused.len() + 1);
                let script = format!(
                    "TAG='{tag}'; UNIT='{unit}'; SAID='{before}{address}{after}'; \
                     for n in $(seq {TIMES}); do {way}; done"
                );
                if inside {
                    guarded.host.exec(&["su", "-", USER.0, "-c", &script])?;
                } else {
                    guarded.host.over_ssh(NEIGHBOUR, USER.0, USER.1, &script)?;
                }
                accused.push((address, *way));
            }
        }
    }
    // What is true comes after all of it.
    guarded.guess_passwords(ATTACKER, USER.0, 3)?;
    guarded.guess_proxmox_passwords(ATTACKER, "root@pam", 3)?;
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1"])?;
    let (log, journal) =
        (guarded.log()?, guarded.host.exec(&["journalctl", "--output=cat", "--no-pager"])?);
    ensure!(log.contains("Found 10.3.0.1 "), "who is accused rightly is not in the log: {log}");
    for (address, way) in accused {
        let said = journal.lines().filter(|line| line.contains(&format!("{address} "))).count();
        ensure!(said >= TIMES, "{said} entries about {address} in the journal, by: {way}");
        ensure!(!log.contains(&format!("Found {address} ")), "{address} is accused by: {way}");
    }
    Ok(())
}
