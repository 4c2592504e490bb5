//! `guardctl migrate` on a copy of Debian's `/etc/fail2ban`: what it says, and what it
//! writes. The switch itself is in `e2e_migrate.rs`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use guard_tests::agent::beside_this_program;
use guard_tests::command;
use guard_tests::fail2ban::Package;

const JAILS: &str = "\
[sshd]
enabled = true
backend = systemd
action = %(action_mwl)s

[recidive]
enabled = true
action = %(action_)s
         my-own-script[server=x]

[open]
enabled = true
backend = polling
filter = apache-auth
logpath = /var/log/open-*.log

[closed]
enabled = true
backend = polling
filter = apache-auth
logpath = /var/log/closed/*.log

[missing]
enabled = true
backend = systemd
filter = no-such-filter
";

fn migrate(root: &Path, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(beside_this_program()?);
    command.args(words).arg("migrate").arg("--root").arg(root);
    command::output(&mut command)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_works_what_differs_and_what_does_not_translate() -> Result<()> {
    let host = tempfile::tempdir()?;
    let root = host.path();
    let told = migrate(root, &[])?;
    ensure!(told.status.code() == Some(1) && text(&told.stderr).contains("no Fail2Ban set-up"));

    fs::create_dir_all(root.join("etc"))?;
    let stock = Package::fetch()?.configuration();
    let jails = root.join("etc/fail2ban");
    command::run("cp", [OsStr::new("-r"), stock.as_os_str(), jails.as_os_str()])?;
    fs::write(jails.join("jail.local"), JAILS)?;
    fs::write(jails.join("action.d/my-own-script.conf"), "[Definition]\nactionban = true\n")?;

    // Fail2Ban reads as root, and the agent does not.
    fs::create_dir_all(root.join("var/log/closed"))?;
    for (log, mode) in [("open-1.log", 0o644), ("closed/1.log", 0o640)] {
        fs::write(root.join("var/log").join(log), "")?;
        fs::set_permissions(root.join("var/log").join(log), Permissions::from_mode(mode))?;
    }

    let told = migrate(root, &[])?;
    let out = text(&told.stdout);
    ensure!(told.status.code() == Some(1), "one jail does not start: {told:?}");
    let wide = out.lines().find(|line| line.chars().count() > 80);
    ensure!(wide.is_none(), "wider than 80 columns: {wide:?}");
    // A line that goes on is one.
    let out = out.replace("\n    ", " ");
    for expected in [
        "jail sshd: works",
        "jail recidive: works",
        "jail open: works",
        "jail closed: DOES NOT WORK",
        "setfacl -m g:adm:r /var/log/closed/1.log",
        "jail missing: DOES NOT WORK",
        "no-such-filter",
        "action sendmail-whois-lines (sshd) is not run; a [[notify]] in guard.toml can send a mail",
        "action my-own-script (recidive) is not run; a [[notify]] in guard.toml can run a program \
         at each ban",
        "no database",
    ] {
        ensure!(out.contains(expected), "“{expected}” is not in:\n{out}");
    }
    let plan: serde_json::Value = serde_json::from_slice(&migrate(root, &["--json"])?.stdout)?;
    ensure!(plan["jails"][0]["name"] == "sshd" && plan["actions"].as_array().is_some());
    ensure!(!root.join("etc/guard").exists(), "to look writes nothing");

    let run = |words: &[&str]| -> Result<Output> {
        let mut command = Command::new(beside_this_program()?);
        command::output(command.args(["migrate", "--root"]).arg(root).args(words))
    };
    let told = run(&["--write"])?;
    ensure!(!told.status.success() && text(&told.stderr).contains("missing would not be guarded"));
    ensure!(!root.join("etc/guard").exists(), "refused is refused");
    let told = run(&["--apply"])?;
    ensure!(told.status.code() == Some(2), "another root's services: {told:?}");

    fs::create_dir(root.join("etc/guard"))?;
    let own = "backend = \"nft\"\n\n[limits]\nbans = 1000\n";
    fs::write(root.join("etc/guard/guard.toml"), own)?;
    let told = run(&["--write", "--force"])?;
    ensure!(told.status.success(), "{told:?}");
    let written = fs::read_to_string(root.join("etc/guard/guard.toml"))?;
    ensure!(written.contains("jail-directory = \"/etc/fail2ban\"") && written.ends_with(own));
    let told = run(&["--write", "--force"])?;
    ensure!(told.status.success(), "{told:?}");
    ensure!(fs::read_to_string(root.join("etc/guard/guard.toml"))? == written, "twice is once");
    let record = root.join("etc/guard/migrated.json");
    ensure!(record.metadata()?.permissions().mode() & 0o777 == 0o600, "the record is root's");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record)?)?;
    ensure!(record["settings"] == own, "what was there first: {record}");
    Ok(())
}
