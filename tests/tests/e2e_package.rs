//! The Debian package on a real host: installed, upgraded with bans in place, removed,
//! installed again, purged.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, ensure};
use guard_tests::container::USER;
use guard_tests::deadline::wait_until;
use guard_tests::installed::{Installed, PATIENCE, UNIT};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::root::Suite;
use guard_tests::{command, package, peers};
use tempfile::TempDir;

const SSH: u16 = 22;
const METRICS: &str = "guard-metrics.service";
const HELPER_SOCKET: &str = "/run/guard-helper/helper.sock";
/// An administrator's change to a conffile.
const CHANGE: &str = "# ours\nallow = [\"192.0.2.77\"]\n";

/// The package of a revision, made once.
fn made(revision: u32) -> Result<PathBuf> {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _turn = MAKING.lock();
    let directory = match MADE.get() {
        Some(made) => made,
        None => {
            let made = tempfile::tempdir()?;
            MADE.get_or_init(|| made)
        }
    };
    let directory = directory.path().join(revision.to_string());
    if !directory.exists() {
        return package::make(&directory, revision);
    }
    package::found(&directory)
}

#[test]
fn the_same_programs_give_the_same_bytes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let first = fs::read(made(1)?)?;
    let second = fs::read(package::make(&directory.path().join("again"), 1)?)?;
    ensure!(first == second, "{} and {} bytes that differ", first.len(), second.len());
    // And the neighbour case: another revision is another package.
    ensure!(first != fs::read(made(2)?)?);
    Ok(())
}

#[test]
fn a_host_from_installation_to_purge_on_bookworm() -> Result<()> {
    from_installation_to_purge(Suite::Bookworm)
}

#[test]
fn a_host_from_installation_to_purge_on_trixie() -> Result<()> {
    from_installation_to_purge(Suite::Trixie)
}

fn from_installation_to_purge(suite: Suite) -> Result<()> {
    let mut guarded = Installed::bare(suite)?;
    for revision in [1, 2] {
        fs::copy(made(revision)?, guarded.host.inside(&file(revision))?)?;
    }

    // A new installation starts nothing, and says what to do.
    let said = dpkg(&guarded, &["--install", &file(1)])?;
    ensure!(said.contains("systemctl enable --now guard"), "{said}");
    ensure!(guarded.host.unit(UNIT, "ActiveState")? == "inactive");
    ensure!(guarded.host.unit(UNIT, "UnitFileState")? == "disabled");
    for path in [
        "/usr/share/man/man1/guardctl.1.gz",
        "/usr/share/bash-completion/completions/guardctl",
        "/usr/share/zsh/vendor-completions/_guardctl",
        "/usr/share/fish/vendor_completions.d/guardctl.fish",
        "/etc/logrotate.d/guard",
        "/usr/share/doc/guard/migrating.md",
        "/usr/share/doc/guard/guard.cdx.json",
        "/usr/share/doc/guard/grafana/guard.json",
        "/usr/share/doc/guard/prometheus/alerts.yaml",
    ] {
        ensure!(guarded.host.inside(path)?.exists(), "{path} is missing");
    }
    ensure!(guarded.host.exec(&["getent", "group", "guard"])?.starts_with("guard:"));
    guarded.guess_passwords(ATTACKER, USER.0, 6)?;
    guarded.reaches(ATTACKER, SSH)?;

    // Started, what was logged before counts; its neighbour gets in.
    guarded.host.exec(&["systemctl", "enable", "--now", "guard", METRICS])?;
    guarded.wait_until_active()?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;
    guarded.logs_in(NEIGHBOUR)?;
    rotated(&guarded).context("the log is rotated")?;

    // An upgrade: another agent, the same bans, no gap, and the administrator's file.
    let settings = guarded.host.inside("/etc/guard/guard.toml")?;
    let shipped = fs::read_to_string(&settings)?;
    fs::write(&settings, format!("{CHANGE}{shipped}"))?;
    let before = guarded.main_pid()?;
    let metrics = guarded.host.unit(METRICS, "MainPID")?;
    // The helper's socket, as a release had it whose agent ran as root.
    guarded.host.exec(&["chown", "root:root", HELPER_SOCKET])?;
    guarded.while_cut_off(ATTACKER, |guarded| dpkg(guarded, &["--install", &file(2)]).map(drop))?;
    guarded.wait_until_active()?;
    ensure!(guarded.main_pid()? != before, "the agent before still runs");
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    ensure!(fs::read_to_string(&settings)?.starts_with(CHANGE), "the change is gone");
    ensure!(guarded.host.unit(METRICS, "ActiveState")? == "active");
    ensure!(guarded.host.unit(METRICS, "MainPID")? != metrics, "the old metrics still run");
    let owner = guarded.host.exec(&["stat", "--format=%U", HELPER_SOCKET])?;
    ensure!(owner.trim() == "guard", "the helper's socket is {owner}'s");
    guarded.logs_in(NEIGHBOUR)?;

    // With a configuration that is wrong the agent before goes on.
    let agent = guarded.main_pid()?;
    fs::write(&settings, "backned = \"nft\"\n")?;
    let mut said = String::new();
    guarded.while_cut_off(ATTACKER, |guarded| {
        said = dpkg(guarded, &["--install", &file(1)])?;
        Ok(())
    })?;
    ensure!(said.contains("did you mean `backend`?") && said.contains("goes on"), "{said}");
    ensure!(guarded.main_pid()? == agent, "the agent was restarted");

    // Removed: nobody is banned, and nothing is left in the kernel, although it is wrong still.
    dpkg(&guarded, &["--remove", "guard"])?;
    guarded.reaches(ATTACKER, SSH)?;
    fs::write(&settings, format!("{CHANGE}{shipped}"))?;
    ensure!(guarded.host.unit(UNIT, "LoadState")? == "not-found");
    ensure!(!guarded.host.inside("/run/guard")?.exists(), "/run/guard is still there");
    ensure!(guarded.host.unit(METRICS, "ActiveState")? == "inactive");
    for unit in [UNIT, METRICS] {
        let wanted = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
        ensure!(fs::symlink_metadata(guarded.host.inside(&wanted)?).is_err(), "{wanted} is left");
    }
    ensure!(guarded.host.inside("/var/lib/guard/guard.sqlite3")?.exists(), "the bans are gone");

    // Installed again, the ban goes on.
    dpkg(&guarded, &["--install", &file(2)])?;
    guarded.reaches(ATTACKER, SSH)?;
    guarded.host.exec(&["systemctl", "enable", "--now", "guard"])?;
    guarded.wait_until_active()?;
    guarded.wait_for_bans(&["sshd 10.3.0.1"])?;
    guarded.wait_until_cut_off(ATTACKER, SSH)?;

    // Purged while it runs, with all that it ever writes.
    migrated(&guarded).context("what a migration leaves")?;
    guarded.host.exec(&["systemctl", "start", "guard", METRICS])?;
    guarded.wait_until_active()?;
    let ours = "/etc/guard/jail.d/ours.conf";
    fs::write(guarded.host.inside(ours)?, "[sshd]\nmaxretry = 4\n")?;
    // Somebody looks at the pins meanwhile.
    let looks = "cd /run/guard/bpf && exec sleep infinity";
    guarded.host.exec(&["systemd-run", "--unit=looks", "sh", "-c", looks])?;
    wait_until("somebody looks", PATIENCE, || {
        let process = guarded.host.unit("looks", "MainPID")?;
        let place = guarded.host.exec_output(&["readlink", &format!("/proc/{process}/cwd")])?;
        Ok(place.stdout == b"/run/guard/bpf\n")
    })?;
    let said = dpkg(&guarded, &["--purge", "guard"])?;
    guarded.host.exec(&["systemctl", "stop", "looks"])?;
    ensure!(said.contains("systemctl enable --now fail2ban"), "{said}");
    guarded.reaches(ATTACKER, SSH)?;
    ensure!(left(&guarded)? == ["/etc/guard", "/etc/guard/jail.d", ours], "{:?}", left(&guarded)?);

    // Without a file of the administrator's nothing is left at all.
    dpkg(&guarded, &["--install", &file(2)])?;
    fs::remove_file(guarded.host.inside(ours)?)?;
    dpkg(&guarded, &["--purge", "guard"])?;
    ensure!(left(&guarded)?.is_empty(), "{:?}", left(&guarded)?);
    Ok(())
}

/// Has Debian's logrotate rotate the log as the package says: the same agent goes on in
/// the new file. What is left of it the purge has to find.
fn rotated(guarded: &Installed) -> Result<()> {
    let place = guarded.host.inside("/root/guard-logrotate")?;
    fs::create_dir_all(&place)?;
    // Not installed: its timer would rotate too.
    for (package, file) in [("logrotate", "sbin/logrotate"), ("libpopt0", "libpopt.so.0")] {
        let tree = peers::unpacked(package)?;
        let found = command::run(
            "find",
            [tree.as_os_str(), "-path".as_ref(), format!("*/{file}").as_ref()],
        )?;
        let found =
            Path::new(found.lines().next().with_context(|| format!("no {file} in {package}"))?);
        fs::copy(found, place.join(found.file_name().context("a file")?))?;
    }
    let agent = guarded.main_pid()?;
    let ban = format!("[sshd] Ban {ATTACKER}");
    guarded.wait_for_log(&ban, 1)?;
    guarded.host.exec(&[
        "env",
        "LD_LIBRARY_PATH=/root/guard-logrotate",
        "/root/guard-logrotate/logrotate",
        "--state=/root/guard-logrotate/state",
        "--force",
        "/etc/logrotate.d/guard",
    ])?;
    let before = fs::read_to_string(guarded.host.inside("/var/log/guard/guard.log.1")?)?;
    ensure!(before.contains(&ban), "the log before:\n{before}");

    guarded.guardctl(&["ban", "sshd", "192.0.2.78"])?;
    guarded.wait_for_log("[sshd] Ban 192.0.2.78", 1)?;
    guarded.guardctl(&["unban", "sshd", "192.0.2.78"])?;
    guarded.wait_for_log("[sshd] Unban 192.0.2.78", 1)?;
    let after = guarded.log()?;
    ensure!(!after.contains(&ban), "it is the old file still:\n{after}");
    let aside = fs::read_to_string(guarded.host.inside("/var/log/guard/guard.log.1")?)?;
    ensure!(aside == before, "the old file was written to:\n{aside}");
    let of = guarded.host.exec(&["stat", "--format=%U %a", "/var/log/guard/guard.log"])?;
    ensure!(of.trim() == "guard 600", "the new file is {of}");
    ensure!(guarded.main_pid()? == agent, "the agent was restarted");
    Ok(())
}

/// Has `guardctl migrate` write all that it can, twice and back once; guard is stopped.
fn migrated(guarded: &Installed) -> Result<()> {
    let theirs = guarded.host.inside("/etc/fail2ban")?;
    fs::create_dir_all(&theirs)?;
    let filter = "/usr/lib/guard/filter.d/sshd.conf";
    fs::create_dir_all(theirs.join("filter.d"))?;
    fs::copy(guarded.host.inside(filter)?, theirs.join("filter.d/sshd.conf"))?;
    fs::write(
        theirs.join("jail.conf"),
        "[sshd]\nenabled = true\nbackend = systemd\nfilter = sshd\n",
    )?;
    guarded.host.exec(&["systemctl", "stop", "guard"])?;
    let settings = guarded.host.inside("/etc/guard/guard.toml")?;
    guarded.guardctl(&["migrate", "--write"])?;
    fs::write(&settings, format!("# since\n{}", fs::read_to_string(&settings)?))?;
    guarded.guardctl(&["migrate", "--undo"])?;
    ensure!(guarded.host.inside("/etc/guard/guard.toml.migrated")?.exists(), "not kept aside");
    guarded.guardctl(&["migrate", "--write"])?;
    ensure!(guarded.host.inside("/etc/guard/migrated.json")?.exists(), "no record");
    // As a guardctl leaves them that is killed.
    for path in ["/etc/guard/guard.new", "/etc/guard/migrated.new"] {
        fs::write(guarded.host.inside(path)?, "")?;
    }
    Ok(())
}

/// Every file on the host with guard's name in its path, but those of this test.
fn left(guarded: &Installed) -> Result<Vec<String>> {
    let words = ["find", "/", "/run", "-xdev", "-ipath", "*guard*"];
    let found = guarded.host.exec(&words)?;
    let of_test = |path: &&str| {
        path.starts_with("/root/guard-")
            || path.contains("guard-tests")
            || path.starts_with("/home/")
            || path.starts_with("/var/log/journal")
    };
    let mut found: Vec<String> =
        found.lines().filter(|path| !of_test(path)).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// Where a package lies on the host.
fn file(revision: u32) -> String {
    format!("/root/guard-{revision}.deb")
}

/// Runs dpkg on the host; what it said.
fn dpkg(guarded: &Installed, arguments: &[&str]) -> Result<String> {
    let words = [&["env", "DEBIAN_FRONTEND=noninteractive", "dpkg"], arguments].concat();
    let output = guarded.host.exec_output(&words)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "dpkg {arguments:?}: {}\n{said}", output.status);
    Ok(said)
}
