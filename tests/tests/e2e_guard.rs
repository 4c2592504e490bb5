//! Guard on real hosts, installed as people install it and run by systemd.

use std::fs;

use anyhow::{Context, Result, ensure};
use guard_tests::command;
use guard_tests::container::{Login, USER};
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::installed::{Installed, PATIENCE, PROXMOX, UNIT};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::root::Suite;

const SSH: u16 = 22;

#[test]
fn bookworm_on_xdp() -> Result<()> {
    from_first_failure_to_release(Suite::Bookworm, "xdp")
}

#[test]
fn bookworm_on_nft() -> Result<()> {
    from_first_failure_to_release(Suite::Bookworm, "nft")
}

#[test]
fn trixie_on_xdp() -> Result<()> {
    from_first_failure_to_release(Suite::Trixie, "xdp")
}

#[test]
fn trixie_on_nft() -> Result<()> {
    from_first_failure_to_release(Suite::Trixie, "nft")
}

fn from_first_failure_to_release(suite: Suite, backend: &str) -> Result<()> {
    let mut guarded = Installed::booted(suite, backend)?;
    let chosen = guarded.log()?;
    ensure!(chosen.contains(&format!("backend {backend}")), "another backend:\n{chosen}");

    failed_logins_ban_their_sender(&guarded).context("failed logins")?;
    failed_proxmox_logins_ban_from_proxmox(&guarded).context("failed Proxmox logins")?;
    the_user_sees_what_is_so(&guarded, backend).context("what the user sees")?;
    a_reload_takes_all_or_nothing(&guarded).context("a reload")?;
    the_agents_death_opens_no_door(&mut guarded).context("the agent killed")?;
    what_is_logged_while_the_agent_is_down_counts(&guarded).context("the agent stopped")?;
    a_reboot_opens_no_door(&mut guarded).context("a reboot")?;
    bans_are_lifted_by_hand(&guarded).context("bans lifted by hand")
}

fn failed_logins_ban_their_sender(guarded: &Installed) -> Result<()> {
    guarded.reaches(ATTACKER, SSH)?;
    guarded.guess_passwords(NEIGHBOUR, USER.0, 1)?;
    guarded.guess_passwords(ATTACKER, USER.0, 2)?;
    guarded.wait_for_log("[sshd] Found 10.3.0.1 - ", 2)?;
    ensure!(guarded.bans()?.is_empty(), "banned after two of three failures");
    guarded.guess_passwords(ATTACKER, USER.0, 1)?;
    guarded.wait_for_log("[sshd] Ban 10.3.0.1", 1)?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    let login = guarded.host.login(ATTACKER, USER.0, USER.1)?;
    ensure!(matches!(login, Login::NoConnection(_)), "the attacker: {login:?}");
    guarded.reaches(ATTACKER, PROXMOX)?;
    guarded.logs_in(NEIGHBOUR)
}

fn failed_proxmox_logins_ban_from_proxmox(guarded: &Installed) -> Result<()> {
    guarded.guess_proxmox_passwords(ATTACKER, "root@pam", 3)?;
    guarded.guess_proxmox_passwords(NEIGHBOUR, "root@pam", 2)?;
    guarded.wait_for_log("[proxmox] Ban 10.3.0.1", 1)?;
    guarded.wait_until_cut_off(ATTACKER, PROXMOX)?;
    guarded.reaches(NEIGHBOUR, PROXMOX)
}

fn the_user_sees_what_is_so(guarded: &Installed, backend: &str) -> Result<()> {
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1"])?;
    let status = guarded.guardctl(&["status"])?;
    ensure!(status.contains("Number of jail:\t2"), "{status}");
    let sshd = guarded.guardctl(&["status", "sshd"])?;
    ensure!(sshd.contains("Banned IP list:\t10.3.0.1\n"), "{sshd}");
    ensure!(sshd.contains("Currently failed:\t1\n"), "the neighbour's one failure:\n{sshd}");
    if backend == "nft" {
        let table = guarded.host.exec(&["nft", "list", "table", "inet", "f2b-table"])?;
        ensure!(table.contains("set addr-set-sshd"), "{table}");
        ensure!(table.contains("elements = { 10.3.0.1 }"), "{table}");
        ensure!(!table.contains("10.3.0.2"), "{table}");
    }
    let alice = guarded.host.exec_output(&["su", USER.0, "-c", "guardctl unban --all"])?;
    ensure!(!alice.status.success(), "a user of no importance lifted bans");
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1"])
}

fn a_reload_takes_all_or_nothing(guarded: &Installed) -> Result<()> {
    let pid = guarded.main_pid()?;
    let file = guarded.host.inside("/etc/guard/jail.d/99_more.conf")?;
    fs::write(&file, "[more]\nenabled = true\nfilter = absent\nport = 1\n")?;
    let refused = guarded.host.exec_output(&["systemctl", "reload", UNIT])?;
    ensure!(!refused.status.success(), "a broken configuration was taken");
    ensure!(guarded.host.journal(UNIT)?.contains("nothing was changed"), "the reason is not told");
    fs::write(&file, "[more]\nenabled = true\nfilter = sshd\nbackend = systemd\nport = 1\n")?;
    guarded.host.exec(&["systemctl", "reload", UNIT])?;
    let status = guarded.guardctl(&["status"])?;
    ensure!(status.contains("more, proxmox, sshd"), "{status}");
    ensure!(guarded.bans()? == ["proxmox 10.3.0.1", "sshd 10.3.0.1"]);
    fs::remove_file(&file)?;
    guarded.guardctl(&["reload"])?;
    ensure!(guarded.guardctl(&["status"])?.contains("Number of jail:\t2"));
    ensure!(guarded.main_pid()? == pid, "it is another process");
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.reaches(NEIGHBOUR, SSH)
}

fn the_agents_death_opens_no_door(guarded: &mut Installed) -> Result<()> {
    guarded.while_cut_off(ATTACKER, |guarded| {
        let before = guarded.main_pid()?;
        guarded.host.exec(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT])?;
        wait_until("systemd starts the agent anew", PATIENCE, || {
            Ok(![0, before].contains(&guarded.main_pid()?))
        })?;
        guarded.wait_until_active()?;
        guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1"])
    })?;
    guarded.reaches(NEIGHBOUR, SSH)
}

fn what_is_logged_while_the_agent_is_down_counts(guarded: &Installed) -> Result<()> {
    guarded.guess_passwords(ATTACKER_V6, USER.0, 1)?;
    guarded.wait_for_log("[sshd] Found fd03::1 - ", 1)?;
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.guess_passwords(ATTACKER_V6, USER.0, 2)?;
    guarded.guess_passwords(NEIGHBOUR_V6, USER.0, 1)?;
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_for_log("[sshd] Ban fd03::1", 1)?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    guarded.reaches(NEIGHBOUR_V6, SSH)?;
    let log = guarded.log()?;
    // One failure before, two while down: none forgotten, none counted twice.
    ensure!(log.matches("[sshd] Found fd03::1 - ").count() == 3, "{log}");
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1", "sshd fd03::1"])
}

fn a_reboot_opens_no_door(guarded: &mut Installed) -> Result<()> {
    guarded.while_cut_off(ATTACKER, |guarded| {
        guarded.host.reboot()?;
        guarded.wait_until_active()
    })?;
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1", "sshd fd03::1"])?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    guarded.wait_until_cut_off(ATTACKER, PROXMOX)?;
    guarded.reaches(NEIGHBOUR_V6, SSH)?;
    guarded.reaches(NEIGHBOUR, PROXMOX)?;
    guarded.logs_in(NEIGHBOUR)
}

fn bans_are_lifted_by_hand(guarded: &Installed) -> Result<()> {
    ensure!(guarded.guardctl(&["unban", "sshd", "10.3.0.1"])? == "1\n");
    guarded.wait_for_log("[sshd] Unban 10.3.0.1", 1)?;
    guarded.logs_in(ATTACKER)?;
    guarded.wait_until_cut_off(ATTACKER, PROXMOX)?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    // Without the agent too, and it stays so.
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    guarded.guardctl(&["unban", "--all"])?;
    guarded.reaches(ATTACKER, PROXMOX)?;
    guarded.reaches(ATTACKER_V6, SSH)?;
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_for_bans(&[])?;
    guarded.reaches(ATTACKER, PROXMOX)?;
    guarded.logs_in(ATTACKER_V6)
}

#[test]
fn nobody_can_have_a_neighbour_banned_on_bookworm() -> Result<()> {
    nobody_can_have_a_neighbour_banned(Suite::Bookworm)
}

#[test]
fn nobody_can_have_a_neighbour_banned_on_trixie() -> Result<()> {
    nobody_can_have_a_neighbour_banned(Suite::Trixie)
}

/// Addresses planted in user names ban their sender; local users cannot forge lines.
fn nobody_can_have_a_neighbour_banned(suite: Suite) -> Result<()> {
    let guarded = Installed::booted(suite, "auto")?;
    for message in [
        "Failed password for root from 10.3.0.2 port 22 ssh2",
        "Invalid user x from 10.3.0.2 port 22",
    ] {
        for tag in ["sshd", "sshd-session"] {
            let forge = format!("for i in 1 2 3 4; do logger -t {tag} '{message}'; done");
            guarded.host.exec(&["su", USER.0, "-c", &forge])?;
        }
    }
    let forge = "for i in 1 2 3 4; do logger -t pvedaemon \
                 'authentication failure; rhost=10.3.0.2 user=a msg=b'; done";
    guarded.host.exec(&["su", USER.0, "-c", forge])?;
    // An unknown user counts twice, so the second attempt is cut off halfway.
    let planted = "root from 10.3.0.2 port 22 ssh2";
    guarded.guess_passwords(ATTACKER, planted, 1)?;
    let login = guarded.host.login(ATTACKER, planted, "guess")?;
    ensure!(login != Login::Accepted, "{login:?}");
    guarded.guess_proxmox_passwords(
        ATTACKER,
        "x authentication failure; rhost=10.3.0.2 user=a",
        3,
    )?;
    // What was forged lies before these in the journal: it has been read by now.
    guarded.wait_for_bans(&["proxmox 10.3.0.1", "sshd 10.3.0.1"])?;
    guarded.reaches(NEIGHBOUR, SSH)?;
    guarded.reaches(NEIGHBOUR, PROXMOX)?;
    let log = guarded.log()?;
    ensure!(!log.contains("Found 10.3.0.2"), "{log}");
    Ok(())
}

#[test]
fn an_administrator_who_is_logged_in_is_not_banned() -> Result<()> {
    let guarded = Installed::booted(Suite::Trixie, "xdp")?;
    // A user of no importance: being logged in is of no use.
    let session = guarded.host.session(ATTACKER, USER.0, USER.1)?;
    guarded.guess_passwords(ATTACKER, USER.0, 3)?;
    guarded.wait_for_log("[sshd] Ban 10.3.0.1", 1)?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    drop(session);

    guarded.host.exec(&["usermod", "--append", "--groups", "sudo", USER.0])?;
    let stands = |words: &str, so: bool| {
        wait_until(&format!("“{words}” is told: {so}"), PATIENCE, || {
            Ok(guarded.guardctl(&["explain", "10.3.0.2"])?.contains(words) == so)
        })
    };
    let told = "an administrator is logged in from 10.3.0.2";
    let session = guarded.host.session(NEIGHBOUR, USER.0, USER.1)?;
    stands(told, true)?;
    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    guarded.wait_for_log(&format!("[sshd] Ignore 10.3.0.2: {told}"), 3)?;
    guarded.reaches(NEIGHBOUR, SSH)?;
    let refused = guarded.host.exec_output(&["guardctl", "ban", "sshd", "10.3.0.2/31"])?;
    ensure!(!refused.status.success(), "{refused:?}");
    ensure!(String::from_utf8_lossy(&refused.stderr).contains(told), "{refused:?}");
    drop(session);
    stands(told, false)?;
    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    guarded.wait_for_log("[sshd] Ban 10.3.0.2", 1)?;
    guarded.wait_until_cut_off(NEIGHBOUR, SSH)?;

    // Root is one of them, and of no group.
    guarded.guardctl(&["unban", "sshd", "10.3.0.2"])?;
    let root = guarded.host.inside("/etc/ssh/sshd_config.d/root.conf")?;
    fs::write(root, "PermitRootLogin yes\n")?;
    let password = format!("echo root:{} | chpasswd; systemctl restart ssh", USER.1);
    guarded.host.exec(&["sh", "-c", &password])?;
    let session = wait_for("root is let in", PATIENCE, || {
        Ok(guarded.host.session(NEIGHBOUR, "root", USER.1).ok())
    })?;
    stands(told, true)?;
    guarded.guess_passwords(NEIGHBOUR, USER.0, 3)?;
    guarded.wait_for_log(&format!("[sshd] Ignore 10.3.0.2: {told}"), 6)?;
    guarded.reaches(NEIGHBOUR, SSH)?;
    drop(session);
    stands(told, false)
}

#[test]
fn a_wrong_configuration_is_told_and_does_not_hold_up_the_host() -> Result<()> {
    let mut guarded = Installed::new(Suite::Bookworm, "auto")?;
    let settings = guarded.host.root().join("etc/guard/guard.toml");
    let right = fs::read_to_string(&settings)?;
    fs::write(&settings, format!("bakend = \"xdp\"\n{right}"))?;
    guarded.host.boot()?;
    wait_until("the unit has failed", PATIENCE, || {
        Ok(guarded.host.unit(UNIT, "ActiveState")? == "failed")
    })?;
    ensure!(guarded.host.unit(UNIT, "ExecMainStatus")? == "78");
    let said = guarded.host.journal(UNIT)?;
    ensure!(said.contains("guard.toml") && said.contains("bakend"), "{said}");
    guarded.logs_in(NEIGHBOUR)?;
    fs::write(&settings, right)?;
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.wait_until_active()
}

#[test]
fn the_unit_is_valid_and_hardened() -> Result<()> {
    for suite in [Suite::Bookworm, Suite::Trixie] {
        let guarded = Installed::booted(suite, "xdp")?;
        let verified = guarded.host.exec_output(&[
            "systemd-analyze",
            "verify",
            "/usr/lib/systemd/system/guard.service",
            "/usr/lib/systemd/system/run-guard-bpf.mount",
            "/usr/lib/systemd/system/guard-expire.service",
            "/usr/lib/systemd/system/guard-expire.timer",
            "/usr/lib/systemd/system/guard-helper.service",
            "/usr/lib/systemd/system/guard-helper.socket",
            "/usr/lib/systemd/system/guard-metrics.service",
        ])?;
        ensure!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
        // Tenths of what systemd calls the exposure, from 0 to 10. What is left of the last two
        // is the network that they are on, and a socket or nft.
        for (unit, most) in [
            (UNIT, 20),
            ("guard-helper.service", 15),
            ("guard-expire.service", 13),
            ("guard-metrics.service", 13),
        ] {
            let threshold = format!("--threshold={most}");
            guarded.host.exec(&["systemd-analyze", "security", &threshold, unit])?;
        }
        runs_with_three_rights(&guarded)?;
        // It runs: READY came, and the watchdog is fed with the sandbox around it.
        let pid = guarded.main_pid()?;
        guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
        guarded.wait_until_cut_off(ATTACKER, SSH)?;
        ensure!(guarded.main_pid()? == pid);
    }
    Ok(())
}

/// As the user guard, with what loads, attaches and fills, and nothing beyond.
fn runs_with_three_rights(guarded: &Installed) -> Result<()> {
    const NET_ADMIN: u64 = 1 << 12;
    const PERFMON: u64 = 1 << 38;
    const BPF: u64 = 1 << 39;
    let pid = guarded.main_pid()?;
    let status = guarded.host.exec(&["cat", &format!("/proc/{pid}/status")])?;
    let field = |name: &str| -> Result<&str> {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).context("a field of the status")
    };
    let guard = guarded.host.exec(&["id", "--user", "guard"])?;
    ensure!(field("Uid:")? == guard.trim() && guard.trim() != "0", "{status}");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let rights = u64::from_str_radix(field(set)?, 16)?;
        ensure!(rights == NET_ADMIN | PERFMON | BPF, "{set} {rights:x}");
    }
    ensure!(field("NoNewPrivs:")? == "1" && field("Seccomp:")? == "2", "{status}");
    for (path, expected) in [
        ("/run/guard/bpf", "1700 guard guard"),
        ("/run/guard/guard.sock", "660 guard guard"),
        ("/var/lib/guard", "700 guard guard"),
        ("/var/lib/guard/guard.sqlite3", "600 guard guard"),
        ("/var/log/guard", "750 guard guard"),
        ("/var/log/guard/guard.log", "600 guard guard"),
    ] {
        let found = guarded.host.exec(&["stat", "--format=%a %U %G", path])?;
        ensure!(found.trim() == expected, "{path}: {found}");
    }
    Ok(())
}

#[test]
fn bans_of_a_release_that_ran_as_root_stay_and_change_hands() -> Result<()> {
    let mut guarded = Installed::new(Suite::Bookworm, "xdp")?;
    let drop_in = "etc/systemd/system/guard.service.d/root.conf";
    let drop_in = guarded.host.root().join(drop_in);
    fs::create_dir_all(drop_in.parent().context("a directory")?)?;
    fs::write(
        &drop_in,
        "[Service]\nExecStartPre=\nUser=root\nGroup=root\nCapabilityBoundingSet=CAP_CHOWN\n",
    )?;
    guarded.host.boot()?;
    guarded.wait_until_active()?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.while_cut_off(ATTACKER, |guarded| {
        guarded.host.exec(&["rm", "-r", "/etc/systemd/system/guard.service.d"])?;
        guarded.host.exec(&["systemctl", "daemon-reload"])?;
        guarded.host.exec(&["systemctl", "restart", UNIT])?;
        guarded.wait_until_active()
    })?;
    runs_with_three_rights(&guarded)?;
    // Root's guardctl makes nothing there that the agent could not use.
    guarded.host.exec(&["systemctl", "stop", UNIT])?;
    guarded.guardctl(&["unban", "sshd", "10.3.0.1"])?;
    guarded.logs_in(ATTACKER)?;
    guarded.host.exec(&["systemctl", "start", UNIT])?;
    guarded.guardctl(&["ban", "sshd", "10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.reaches(NEIGHBOUR, SSH)
}

#[test]
fn installing_again_keeps_what_the_administrator_wrote() -> Result<()> {
    let guarded = Installed::new(Suite::Bookworm, "nft")?;
    let settings = guarded.host.root().join("etc/guard/guard.toml");
    let before = fs::read_to_string(&settings)?;
    guarded.install_again()?;
    ensure!(fs::read_to_string(&settings)? == before);
    let enabled = command::run(
        "chroot",
        [
            guarded.host.root().as_os_str(),
            "systemctl".as_ref(),
            "is-enabled".as_ref(),
            UNIT.as_ref(),
        ],
    )?;
    ensure!(enabled == "enabled\n");
    Ok(())
}
