//! The two services, through `systemctl`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::Failure;

pub(super) const GUARD: &str = "guard.service";
pub(super) const FAIL2BAN: &str = "fail2ban.service";
/// Lifts bans in nft that are over.
pub(super) const EXPIRY: &str = "guard-expire.timer";

/// For the moment of the switch: it is killed, so it must not start anew.
const DROP_IN: &str = "/run/systemd/system/fail2ban.service.d";

/// Runs `systemctl`.
pub(super) fn systemctl(words: &[&str]) -> Result<(), Failure> {
    let told = |what: String| Failure::NotDone(format!("systemctl {}: {what}", words.join(" ")));
    let output = Command::new("systemctl").args(words).output();
    let output = output.map_err(|error| told(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(told(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Whether a unit is `active`, `enabled` and the like.
pub(super) fn is(what: &str, unit: &str) -> bool {
    let status = Command::new("systemctl").args([what, "--quiet", unit]).status();
    status.is_ok_and(|status| status.success())
}

/// Whether its file says that nobody may stop a unit by hand.
fn cannot_be_stopped(unit: &str) -> bool {
    let words = ["show", "--value", "--property=CanStop", unit];
    let output = Command::new("systemctl").args(words).output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"no")
}

/// Whether a unit begins at boot on the host whose root directory this is.
pub(super) fn is_enabled(root: &Path, unit: &str) -> bool {
    let mut command = Command::new("systemctl");
    command.arg("--root").arg(root).args(["is-enabled", "--quiet", unit]);
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Ends Fail2Ban without its ending any ban: its rules are guard's now.
pub(super) fn kill_fail2ban() -> Result<(), Failure> {
    if cannot_be_stopped(FAIL2BAN) {
        return Err(Failure::NotDone(format!(
            "{FAIL2BAN} does not let itself be stopped (RefuseManualStop=)"
        )));
    }
    let failed = |error: std::io::Error| Failure::NotDone(format!("{DROP_IN}: {error}"));
    fs::create_dir_all(DROP_IN).map_err(failed)?;
    fs::write(format!("{DROP_IN}/guard-migrate.conf"), "[Service]\nRestart=no\nExecStop=\n")
        .map_err(failed)?;
    let killed = systemctl(&["daemon-reload"])
        .and_then(|()| systemctl(&["kill", "--kill-who=main", "--signal=KILL", FAIL2BAN]))
        .and_then(|()| systemctl(&["stop", FAIL2BAN]));
    fs::remove_file(format!("{DROP_IN}/guard-migrate.conf")).map_err(failed)?;
    // Unless the administrator has something of his own there.
    let _ = fs::remove_dir(DROP_IN);
    systemctl(&["daemon-reload"])?;
    // That it was killed is no failure to be shown for ever.
    let _ = systemctl(&["reset-failed", FAIL2BAN]);
    killed
}
