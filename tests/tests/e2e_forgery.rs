//! Local users write to the journal in sshd's and pvedaemon's name, in every way that is open
//! to them: nobody is banned for it.
//!
//! Each forgery accuses an address of its own, and is seen to be in the journal.

use anyhow::{Result, ensure};
use guard_tests::container::USER;
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
    nobody_is_banned(Suite::Bookworm, &WAYS)
}

#[test]
fn in_a_session_and_in_a_users_unit() -> Result<()> {
    nobody_is_banned(Suite::Trixie, &[&WAYS[..], &[USER_UNIT]].concat())
}

fn nobody_is_banned(suite: Suite, ways: &[&str]) -> Result<()> {
    let guarded = Installed::booted(suite, "nft")?;
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
    for (address, way) in accused {
        let said = journal.lines().filter(|line| line.contains(&format!("{address} "))).count();
        ensure!(said >= TIMES, "{said} entries about {address} in the journal, by: {way}");
        ensure!(!log.contains(&format!("Found {address} ")), "{address} is accused by: {way}");
    }
    Ok(())
}
