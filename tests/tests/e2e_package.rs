//! The Debian package on a real host: installed, upgraded with bans in place, removed,
//! installed again, purged.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, ensure};
use guard_tests::container::USER;
use guard_tests::installed::{Installed, UNIT};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use guard_tests::root::Suite;
use guard_tests::{agent, command};
use tempfile::TempDir;

const SSH: u16 = 22;
const METRICS: &str = "guard-metrics.service";
const HELPER_SOCKET: &str = "/run/guard-helper/helper.sock";
/// An administrator's change to a conffile.
const CHANGE: &str = "# ours\nallow = [\"192.0.2.77\"]\n";

/// The package of a revision, made once.
fn package(revision: u32) -> Result<PathBuf> {
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
        return make(&directory, revision);
    }
    found(&directory)
}

fn found(directory: &Path) -> Result<PathBuf> {
    Ok(fs::read_dir(directory)?.next().context("a package")??.path())
}

/// Packages the tested programs.
fn make(directory: &Path, revision: u32) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let mut deb = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    deb.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["xtask", "deb", "--revision", &revision.to_string(), "--directory"])
        .arg(directory)
        .arg("--program")
        .arg(agent::beside_this_program()?);
    command::finish(deb)?;
    let made = found(directory)?;
    ensure!(made.to_string_lossy().contains(&format!("-{revision}_")), "{}", made.display());
    Ok(made)
}

#[test]
fn the_same_programs_give_the_same_bytes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let first = fs::read(package(1)?)?;
    let second = fs::read(make(&directory.path().join("again"), 1)?)?;
    ensure!(first == second, "{} and {} bytes that differ", first.len(), second.len());
    // And the neighbour case: another revision is another package.
    ensure!(first != fs::read(package(2)?)?);
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
        fs::copy(package(revision)?, guarded.host.inside(&file(revision))?)?;
    }

    // A new installation starts nothing, and says what to do.
    let said = dpkg(&guarded, &["--install", &file(1)])?;
    ensure!(said.contains("systemctl enable --now guard"), "{said}");
    ensure!(guarded.host.unit(UNIT, "ActiveState")? == "inactive");
    ensure!(guarded.host.unit(UNIT, "UnitFileState")? == "disabled");
    for path in [
        "/usr/share/man/man1/guardctl.1.gz",
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

    // Purged while it runs.
    dpkg(&guarded, &["--purge", "guard"])?;
    guarded.reaches(ATTACKER, SSH)?;
    for path in ["/var/lib/guard", "/var/log/guard", "/etc/guard", "/usr/lib/guard", "/run/guard"] {
        ensure!(!guarded.host.inside(path)?.exists(), "{path} is still there");
    }
    Ok(())
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
