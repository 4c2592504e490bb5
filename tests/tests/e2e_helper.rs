//! What systemd runs beside the agent, on a real host: the helper for `ignorecommand`, and
//! the exporter of metrics.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Result, ensure};
use guard_tests::container::USER;
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::installed::{Installed, PATIENCE};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::root::Suite;

const SSH: u16 = 22;
const SOCKET: &str = "guard-helper.socket";
const HELPER: &str = "guard-helper.service";
const EXPORTER: &str = "guard-metrics.service";

#[test]
fn a_program_lets_an_address_off_on_bookworm() -> Result<()> {
    a_program_lets_an_address_off(Suite::Bookworm)
}

#[test]
fn a_program_lets_an_address_off_on_trixie() -> Result<()> {
    a_program_lets_an_address_off(Suite::Trixie)
}

fn a_program_lets_an_address_off(suite: Suite) -> Result<()> {
    let mut guarded = Installed::new(suite, "auto")?;
    let root = guarded.host.root();
    program(&root.join("usr/local/bin/is-ours"), "#!/bin/sh\ntest \"$1\" = 10.3.0.2\n")?;
    fs::write(
        root.join("etc/guard/jail.d/99_ours.conf"),
        "[sshd]\nignorecommand = /usr/local/bin/is-ours <ip>\n",
    )?;
    let told =
        "#!/bin/sh\nread -r json; logger -t told \"$GUARD_EVENT $GUARD_ADDRESS $(id -un) $json\"\n";
    program(&root.join("usr/local/bin/told"), told)?;
    let settings = root.join("etc/guard/guard.toml");
    let shipped = fs::read_to_string(&settings)?;
    let notify =
        "\n[[notify]]\nevents = [\"ban\", \"unban\"]\ncommand = [\"/usr/local/bin/told\"]\n";
    fs::write(&settings, shipped + notify)?;
    guarded.host.boot()?;
    guarded.wait_until_active()?;
    ensure!(guarded.host.unit(HELPER, "ActiveState")? == "inactive", "asked before anybody failed");

    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    guarded.wait_for_log("[sshd] Ignore 10.3.0.2: ", 1)?;
    guarded.guess_passwords(ATTACKER, USER.0, 3)?;
    guarded.wait_for_log("[sshd] Ban 10.3.0.1", 1)?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.logs_in(NEIGHBOUR)?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    it_ran_without_rights(&guarded, HELPER, "guard-helper")?;
    somebody_is_told(&guarded, "ban 10.3.0.1 guard-helper {")?;
    metrics_are_served(&guarded)?;
    ensure!(!says_trouble(&guarded)?, "an answer is no trouble");

    // Without the helper nobody is let off, and that is told.
    guarded.host.exec(&["systemctl", "stop", SOCKET, HELPER])?;
    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    guarded.wait_for_log("[sshd] ignorecommand was asked about 10.3.0.2 in vain", 1)?;
    guarded.wait_for_log("[sshd] Ban 10.3.0.2", 1)?;
    guarded.wait_until_cut_off(NEIGHBOUR, SSH)?;
    ensure!(says_trouble(&guarded)?, "status says nothing");

    // It starts at the next question, and all is as before.
    guarded.host.exec(&["systemctl", "start", SOCKET])?;
    ensure!(guarded.guardctl(&["unban", "sshd", "10.3.0.2"])? == "1\n");
    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    somebody_is_told(&guarded, "unban 10.3.0.2 guard-helper {")?;
    guarded.wait_for_log("[sshd] Ignore 10.3.0.2: ", 2)?;
    guarded.logs_in(NEIGHBOUR)?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    ensure!(!says_trouble(&guarded)?, "status has not noticed");
    Ok(())
}

/// By a process that can do nothing else: it may read one socket, and not the other; nor need
/// it know the configuration.
fn metrics_are_served(guarded: &Installed) -> Result<()> {
    let settings = "/etc/guard/guard.toml";
    guarded.host.exec(&["chgrp", "guard", settings])?;
    guarded.host.exec(&["chmod", "640", settings])?;
    let reads = ["runuser", "-u", "guard-metrics", "--", "cat", settings];
    ensure!(!guarded.host.exec_output(&reads)?.status.success(), "it may read {settings}");
    guarded.host.exec(&["systemctl", "start", EXPORTER])?;
    let get = "exec 3<>/dev/tcp/127.0.0.1/9779 || exit; \
               printf 'GET /metrics HTTP/1.1\\r\\nHost: here\\r\\n\\r\\n' >&3; cat <&3";
    let page = wait_for("metrics are served", PATIENCE, || {
        let output = guarded.host.exec_output(&["bash", "-c", get])?;
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(page.contains("guard_up").then_some(page))
    })?;
    ensure!(page.contains("\nguard_bans_held{jail=\"sshd\"} 1\n"), "{page}");
    it_ran_without_rights(guarded, EXPORTER, "guard-metrics")?;
    let modes = ["stat", "--format=%U:%G %a", "/run/guard/metrics.sock", "/run/guard/guard.sock"];
    let modes = guarded.host.exec(&modes)?;
    ensure!(modes == "guard:guard-metrics 660\nguard:guard 660\n", "{modes}");
    Ok(())
}

fn it_ran_without_rights(guarded: &Installed, unit: &str, owner: &str) -> Result<()> {
    let process = guarded.host.unit(unit, "MainPID")?;
    ensure!(process != "0", "{unit} does not run");
    let status = guarded.host.exec(&["cat", &format!("/proc/{process}/status")])?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
    };
    ensure!(field("CapEff:") == "0000000000000000", "{status}");
    ensure!(!field("Uid:").split_whitespace().any(|user| user == "0"), "{status}");
    let user = guarded.host.exec(&["stat", "--format=%U", &format!("/proc/{process}")])?;
    ensure!(user == format!("{owner}\n"), "{unit} runs as {user}");
    Ok(())
}

/// Waits until the program of `[[notify]]` has logged this.
fn somebody_is_told(guarded: &Installed, text: &str) -> Result<()> {
    wait_until(&format!("somebody is told “{text}”"), PATIENCE, || {
        Ok(guarded.host.exec(&["journalctl", "--no-pager", "-t", "told"])?.contains(text))
    })
}

/// Whether `status` warns that the command does not answer.
fn says_trouble(guarded: &Installed) -> Result<bool> {
    let status = guarded.host.exec_output(&["guardctl", "status"])?;
    ensure!(status.status.success(), "{status:?}");
    let warnings = String::from_utf8(status.stderr)?;
    Ok(warnings.contains("ignorecommand: ") && warnings.contains("guard-helper"))
}

/// Writes a program.
fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
