//! From Debian's Fail2Ban, running and with somebody banned, to guard and back: nobody who
//! is banned gets a packet through at any moment.

use std::fs;

use anyhow::{Context, Result, ensure};
use guard::store::Store;
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
const SETTINGS: &str = "/etc/guard/guard.toml";
const DATABASE: &str = "/var/lib/fail2ban/fail2ban.sqlite3";

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

/// A host that Fail2Ban guards and on which guard is installed; the attacker is banned.
fn guarded_by_fail2ban(backend: &str) -> Result<Installed> {
    let mut guarded = Installed::new(Suite::BookwormWithPeer, backend)?;
    let root = guarded.host.root();
    fs::write(root.join("etc/fail2ban/jail.local"), JAILS)?;
    for words in [["disable", UNIT], ["unmask", FAIL2BAN], ["enable", FAIL2BAN]] {
        let chroot = [root.as_os_str(), "systemctl".as_ref()].into_iter();
        command::run("chroot", chroot.chain(words.iter().map(AsRef::as_ref)))?;
    }
    guarded.host.boot()?;
    fail2ban_is_ready(&guarded)?;
    guarded.guess_passwords(ATTACKER, USER.0, 3)?;
    guarded.wait_until_cut_off(ATTACKER, SSH).with_context(|| {
        let told = guarded.host.exec_output(&["tail", "-50", "/var/log/fail2ban.log"]);
        let table = guarded.host.exec_output(&["nft", "list", "ruleset"]);
        format!("{told:?}\n{table:?}").replace("\\n", "\n")
    })?;
    Ok(guarded)
}

fn fail2ban_is_ready(guarded: &Installed) -> Result<()> {
    wait_until("Fail2Ban is ready", PATIENCE, || {
        let status = guarded.host.exec_output(&["fail2ban-client", "status", "sshd"])?;
        Ok(status.status.success())
    })
}

fn there_and_back(backend: &str) -> Result<()> {
    let guarded = guarded_by_fail2ban(backend)?;
    let before = fs::read_to_string(guarded.host.inside(SETTINGS)?)?;

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
    let said = String::from_utf8_lossy(&twice.stderr);
    ensure!(twice.status.code() == Some(1), "once is enough: {twice:?}");
    ensure!(said.contains("guard has taken over already; guardctl migrate --undo"), "{said}");
    services(&guarded, [(UNIT, true), (FAIL2BAN, false)])?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;

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
    let after = fs::read_to_string(guarded.host.inside(SETTINGS)?)?;
    ensure!(after == before, "guard.toml is another: {after}");
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.wait_until_cut_off(ATTACKER_V6, SSH)?;
    guarded.logs_in(NEIGHBOUR_V6)?;
    guarded.logs_in(NEIGHBOUR)
}

#[test]
fn what_fails_on_the_way_to_xdp_leaves_fail2ban_in_charge() -> Result<()> {
    what_fails_leaves_fail2ban_in_charge("xdp")
}

/// Here guard has adopted Fail2Ban's table when most of it fails.
#[test]
fn what_fails_on_the_way_to_nft_leaves_fail2ban_in_charge() -> Result<()> {
    what_fails_leaves_fail2ban_in_charge("nft")
}

fn what_fails_leaves_fail2ban_in_charge(backend: &str) -> Result<()> {
    let guarded = guarded_by_fail2ban(backend)?;
    let inside = |path: &str| guarded.host.inside(path);
    let refused = |words: &[&str], code, said: &[&str]| refused(&guarded, words, code, said);
    refused(&["--undo"], 1, &["there was no migration to undo"]).context("nothing to undo")?;

    // A guard.toml that is wrong, and one that is right and cannot be followed.
    let settings = fs::read_to_string(inside(SETTINGS)?)?;
    fs::write(inside(SETTINGS)?, format!("bakend = \"nft\"\n{settings}"))?;
    refused(&["--apply"], 78, &["guard.toml:1", "`backend`"]).context("a wrong guard.toml")?;
    fs::write(inside(SETTINGS)?, format!("log = \"/proc/guard.log\"\n{settings}"))?;
    let started = "systemctl start guard.service";
    refused(&["--apply"], 1, &[started, GOES_ON]).context("a log that cannot be")?;
    fs::write(inside(SETTINGS)?, &settings)?;

    // Its socket's place is taken.
    let socket = inside("/run/guard/guard.sock")?;
    fs::create_dir_all(socket.join("taken"))?;
    refused(&["--apply"], 1, &[started, GOES_ON]).context("the socket's place is taken")?;
    fs::remove_dir_all(&socket)?;

    // Its unit is masked.
    guarded.host.exec(&["systemctl", "mask", "--runtime", UNIT])?;
    refused(&["--apply"], 1, &["masked", GOES_ON]).context("a masked unit")?;
    guarded.host.exec(&["systemctl", "unmask", "--runtime", UNIT])?;

    // Fail2Ban does not let itself be stopped.
    let drop_in = inside("/etc/systemd/system/fail2ban.service.d")?;
    fs::create_dir_all(&drop_in)?;
    fs::write(drop_in.join("stays.conf"), "[Unit]\nRefuseManualStop=yes\n")?;
    guarded.host.exec(&["systemctl", "daemon-reload"])?;
    refused(&["--apply"], 1, &[FAIL2BAN, GOES_ON]).context("Fail2Ban cannot be stopped")?;
    // Nor when guard knows something: what it knew it keeps, and nobody else is banned by it.
    guarded.guardctl(&["import", DATABASE])?;
    guarded.host.exec(&["fail2ban-client", "set", "sshd", "banip", "10.3.0.78"])?;
    refused(&["--apply"], 1, &[FAIL2BAN, GOES_ON]).context("a store that was there before")?;
    guarded.host.exec(&["fail2ban-client", "set", "sshd", "unbanip", "10.3.0.78"])?;
    let store = guarded.host.root().join("var/lib/guard/guard.sqlite3");
    let stored = Store::open_existing(&store)?.bans()?;
    let stored: Vec<String> = stored.iter().map(|ban| ban.source.to_string()).collect();
    ensure!(stored == ["10.3.0.1"], "{stored:?}");
    // Nor when what guard knew cannot be read: nothing was begun then.
    fs::write(&store, "no database at all, though long enough for the header of one".repeat(9))?;
    refused(&["--apply"], 1, &["guard.sqlite3", "damaged"]).context("a damaged store")?;
    guarded.host.exec(&["sh", "-c", "rm /var/lib/guard/guard.sqlite3*"])?;
    fs::remove_dir_all(&drop_in)?;
    guarded.host.exec(&["systemctl", "daemon-reload"])?;

    // Fail2Ban bans and lets in as ever. The last of these no attempt has taken over.
    for (verb, dropped) in [("banip", true), ("unbanip", false), ("banip", true)] {
        guarded.host.exec(&["fail2ban-client", "set", "sshd", verb, "10.3.0.77"])?;
        wait_until(&format!("{verb} is in the kernel"), PATIENCE, || {
            let table = guarded.host.exec(&["nft", "list", "table", "inet", "f2b-table"])?;
            Ok(table.contains("10.3.0.77") == dropped)
        })?;
    }

    // Its database is damaged.
    fs::write(
        inside(DATABASE)?,
        "no database, though long enough for the header of one".repeat(9),
    )?;
    let said = ["nothing was changed", DATABASE, "not a database", "--force"];
    refused(&["--apply"], 1, &said).context("a damaged database")?;
    refused(&["--write"], 1, &said).context("a damaged database, and --write")?;
    let told = guarded.host.exec_output(&["guardctl", "migrate"])?;
    let words = String::from_utf8_lossy(&told.stdout);
    ensure!(told.status.code() == Some(1) && words.contains("not a database"), "{told:?}");

    // After all that it works: whom Fail2Ban bans it is asked itself.
    while_flooded(&guarded, |flood| {
        guarded.guardctl(&["migrate", "--apply", "--force"])?;
        flood.goes_on()
    })
    .context("without the database")?;
    services(&guarded, [(UNIT, true), (FAIL2BAN, false)])?;
    guarded.wait_for_bans(&["sshd 10.3.0.1", "sshd 10.3.0.77"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    let bans = guarded.guardctl(&["bans", "list", "--json"])?;
    ensure!(!bans.contains("\"until\": null") && !bans.contains("\"until\":null"), "{bans}");
    guarded.logs_in(NEIGHBOUR)?;

    // Back is as sure: Fail2Ban does not start, and guard goes on.
    let no_way_back = |said: &str| {
        while_flooded(&guarded, |flood| {
            let undone = guarded.host.exec_output(&["guardctl", "migrate", "--undo"])?;
            let told = String::from_utf8_lossy(&undone.stderr);
            ensure!(undone.status.code() == Some(1) && told.contains(said), "{undone:?}");
            flood.goes_on()
        })?;
        services(&guarded, [(UNIT, true), (FAIL2BAN, false)])?;
        guarded.wait_for_bans(&["sshd 10.3.0.1", "sshd 10.3.0.77"])
    };
    fs::create_dir_all(&drop_in)?;
    fs::write(drop_in.join("ends.conf"), "[Service]\nExecStart=\nExecStart=/bin/false\n")?;
    guarded.host.exec(&["systemctl", "daemon-reload"])?;
    no_way_back("guard goes on").context("Fail2Ban ends at once")?;
    fs::remove_dir_all(&drop_in)?;
    guarded.host.exec(&["systemctl", "daemon-reload"])?;

    // With files that neither can read, guard is not ended, which for nft it would have to be.
    fs::write(inside("/etc/fail2ban/jail.d/broken.local")?, "this is no section\n")?;
    let said = if backend == "nft" { "nothing was changed" } else { "guard goes on" };
    no_way_back(said).context("files that are wrong")
}

/// Of a switch that was put back.
const GOES_ON: &str = "Nothing was switched: Fail2Ban goes on; guard.toml is what it was";

/// Has `guardctl migrate` refuse: with this exit code and these words, and nothing on the
/// host is another than before.
fn refused(guarded: &Installed, words: &[&str], code: i32, said: &[&str]) -> Result<()> {
    let host = &guarded.host;
    let settings = host.inside(SETTINGS)?;
    let before = fs::read_to_string(&settings)?;
    let ran = host.unit(FAIL2BAN, "MainPID")?;
    let there = |guarded: &Installed| guarded.host.exec(&["sh", "-c", "ls /var/lib/guard || true"]);
    let there_before = there(guarded)?;
    while_flooded(guarded, |flood| {
        let output = host.exec_output(&[&["guardctl", "migrate"], words].concat())?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code), "{code}: {output:?}");
        for text in said {
            ensure!(told.contains(text), "“{text}” is not in:\n{told}");
        }
        flood.goes_on()
    })?;
    let runs = host.unit(FAIL2BAN, "MainPID")?;
    ensure!(runs == ran && runs != "0", "another Fail2Ban: {ran}, then {runs}");
    ensure!(host.unit(FAIL2BAN, "UnitFileState")? == "enabled");
    ensure!(host.unit(UNIT, "ActiveState")? != "active", "guard runs");
    ensure!(host.unit(UNIT, "UnitFileState")? != "enabled", "guard begins at boot");
    ensure!(fs::read_to_string(&settings)? == before, "guard.toml is another");
    for path in ["/etc/guard/migrated.json", "/run/guard/backend"] {
        ensure!(!host.inside(path)?.exists(), "{path} is left");
    }
    let kept = there(guarded)?;
    ensure!(kept == there_before, "what was taken over is kept: {kept}, before {there_before}");
    let pins = host.exec(&["sh", "-c", "ls /run/guard/bpf/links || true"])?;
    ensure!(pins.is_empty(), "guard is in the kernel still: {pins}");
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.reaches(NEIGHBOUR, SSH)
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
