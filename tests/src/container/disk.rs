//! A container's disk: a Debian root with what makes it a host to be attacked.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::USER;
use crate::command;
use crate::root::Suite;

/// Lays a writable layer over `tree`, mounted at `root` in `directory`.
pub(super) fn make(directory: &Path, tree: &Path) -> Result<()> {
    for part in ["root", "upper", "work"] {
        fs::create_dir(directory.join(part))?;
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        tree.canonicalize()?.display(),
        directory.join("upper").display(),
        directory.join("work").display()
    );
    let root = directory.join("root");
    let overlay = command::run(
        "mount",
        [
            "-t".as_ref(),
            "overlay".as_ref(),
            "overlay".as_ref(),
            "-o".as_ref(),
            layers.as_ref(),
            root.as_os_str(),
        ],
    );
    if overlay.is_err() {
        // Where there is no overlay file system a whole copy serves as well.
        command::run(
            "cp",
            ["-aT".as_ref(), "--reflink=auto".as_ref(), tree.as_os_str(), root.as_os_str()],
        )?;
    }
    Ok(())
}

/// Makes the fresh Debian a host that can be attacked.
pub(super) fn furnish(root: &Path, suite: Suite) -> Result<()> {
    let put = |path: &str, text: &str| -> Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file in a directory")?)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    put("etc/hostname", "pve\n")?;
    put("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 pve\n")?;
    // Hundreds of failures at once are what the tests are about; OpenSSH's own
    // penalties (9.8 and later) would hide ours.
    let penalties = if suite == Suite::Trixie { "PerSourcePenalties no\n" } else { "" };
    put(
        "etc/ssh/sshd_config.d/guard-tests.conf",
        &format!(
            "PasswordAuthentication yes\nUseDNS no\nMaxStartups 1000\nMaxAuthTries 6\n{penalties}"
        ),
    )?;
    // Persistent, as on the hosts that guard is for, and not limited in rate.
    put(
        "etc/systemd/journald.conf.d/guard-tests.conf",
        "[Journal]\nStorage=persistent\nRateLimitBurst=0\n",
    )?;
    put("usr/local/sbin/pvedaemon", PVEDAEMON)?;
    put("etc/systemd/system/pvedaemon.service", PVEDAEMON_UNIT)?;
    let inside = |words: &[&str]| -> Result<String> {
        command::run("chroot", [root.as_os_str()].into_iter().chain(words.iter().map(OsStr::new)))
    };
    inside(&["chmod", "0755", "/usr/local/sbin/pvedaemon"])?;
    inside(&["systemctl", "enable", "--quiet", "pvedaemon.service"])?;
    if suite == Suite::BookwormWithPeer {
        inside(&["systemctl", "mask", "--quiet", "fail2ban.service"])?;
    }
    inside(&["useradd", "--create-home", "--shell", "/bin/sh", USER.0])?;
    let mut passwords = Command::new("chroot");
    passwords.arg(root).arg("chpasswd");
    let line = format!("{}:{}\n", USER.0, USER.1);
    command::finish_with_input(passwords, line.as_bytes())?;
    Ok(())
}

/// A stand-in for Proxmox VE's daemon, which cannot be installed from Debian: what it
/// reads from a pipe it logs under that name, so that journald vouches for the unit.
const PVEDAEMON: &str = "\
#!/bin/sh
exec 3<>/run/pvedaemon
while IFS= read -r line <&3; do
    printf '%s\\n' \"$line\"
done
";

const PVEDAEMON_UNIT: &str = "\
[Unit]
Description=Stand-in for the PVE API daemon

[Service]
SyslogIdentifier=pvedaemon
ExecStartPre=-/usr/bin/mkfifo -m 0600 /run/pvedaemon
ExecStart=/usr/local/sbin/pvedaemon

[Install]
WantedBy=multi-user.target
";
