//! A Debian host with systemd, journald and sshd, on a [`Lan`] with its attackers.
//!
//! Input: a [`Suite`], and whatever the test puts under [`Container::root`] before it
//! boots. Output: a booted host that can be attacked, entered, crashed and booted
//! again with its disk as it was. On drop it is killed and its disk thrown away.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};

use crate::deadline::{wait_for, wait_until};
use crate::lan::{HOST, HOST_V6, Lan, NEIGHBOUR};
use crate::probe::{self, Answer};
use crate::root::Suite;
use crate::{command, namespace};

mod disk;
mod processes;

/// How long a boot and a shutdown may take on a busy machine.
const BOOT: Duration = Duration::from_secs(90);

/// Seconds that a login may take: sshd and PAM make those wait who fail.
const LOGIN_LIMIT: &str = "15";
/// What `timeout` ends with when it had to end its program.
const TIMED_OUT: i32 = 124;

/// A user that exists on every container, and its password.
pub const USER: (&str, &str) = ("alice", "right-password");

/// A systemd host.
#[derive(Debug)]
pub struct Container {
    /// Its network: `lan.host` is its own namespace, `lan.outside` the attackers'.
    pub lan: Lan,
    name: String,
    directory: tempfile::TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    nspawn: Child,
    init: i32,
}

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How an ssh login ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Let in.
    Accepted,
    /// The password was refused.
    Denied,
    /// There was no connection to log in by; what ssh said about it.
    NoConnection(String),
}

impl Container {
    /// Makes its disk and network; it is not booted yet.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn new(suite: Suite) -> Result<Self> {
        namespace::require_root()?;
        namespace::sweep()?;
        let tree = suite.tree()?;
        let lan = Lan::new()?;
        let name = lan.host.name().to_owned();
        let directory = tempfile::Builder::new().prefix("guard-host-").tempdir()?;
        let container = Self { lan, name, directory, running: None };
        disk::make(container.directory.path(), &tree)?;
        disk::furnish(&container.root(), suite)?;
        Ok(container)
    }

    /// Its root directory as seen from outside. `/run` and `/tmp` in it are not those
    /// of the booted host: see [`Container::inside`].
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// A path of the booted host.
    ///
    /// # Errors
    /// When it is not booted.
    pub fn inside(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{path}", self.init()?)))
    }

    /// Boots it and waits until its sshd answers a neighbour of the attacker.
    ///
    /// Boot it from the thread that keeps it: the kernel ends it with that thread.
    ///
    /// # Errors
    /// When it does not come up in time; with the last of its console.
    pub fn boot(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("{} is booted already", self.name);
        }
        let console = fs::File::create(self.console())?;
        let nspawn = Command::new("setpriv")
            // Ended by the kernel when this process is killed.
            .args(["--pdeathsig", "KILL", "--", "systemd-nspawn", "--quiet", "--boot"])
            .arg(format!("--directory={}", self.root().display()))
            .arg(format!("--machine={}", self.name))
            .arg(format!("--network-namespace-path={}", self.lan.host.path().display()))
            // Without machined, which needs a systemd outside.
            .args(["--register=no", "--keep-unit"])
            .args(["--capability=all", "--system-call-filter=bpf perf_event_open @keyring"])
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("start systemd-nspawn (apt-get install systemd-container)")?;
        let parent = nspawn.id();
        self.running = Some(Running { nspawn, init: 0 });
        let booted = self.wait_for_boot(parent);
        booted.with_context(|| format!("the console of {}:\n{}", self.name, self.last_console()))
    }

    /// Shuts it down in order and waits until all its processes are gone.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn shut_down(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { bail!("{} is not booted", self.name) };
        rustix::process::kill_process(Pid::from_child(&running.nspawn), Signal::TERM)?;
        let ended = wait_for("the host shuts down", BOOT, || Ok(running.nspawn.try_wait()?));
        if ended.is_err() {
            end(&mut running.nspawn);
        }
        ended.map(drop)
    }

    /// Cuts its power: all its processes are killed at once.
    ///
    /// # Errors
    /// When it is not booted.
    pub fn cut_power(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { bail!("{} is not booted", self.name) };
        if let Some(init) = Pid::from_raw(running.init) {
            // The end of a process namespace's first process ends all of them.
            rustix::process::kill_process(init, Signal::KILL).context("kill the host's init")?;
        }
        wait_until("systemd-nspawn ends", BOOT, || Ok(running.nspawn.try_wait()?.is_some()))
    }

    /// Shuts down and boots again, on the same disk and with an empty kernel.
    ///
    /// # Errors
    /// As the two.
    pub fn reboot(&mut self) -> Result<()> {
        self.shut_down()?;
        self.forget_rules()?;
        self.boot()
    }

    /// The host's network namespace outlives it here; its rules would not.
    fn forget_rules(&self) -> Result<()> {
        let mut flush = self.lan.host.command("nft");
        flush.args(["flush", "ruleset"]);
        command::finish(flush).map(drop)
    }

    /// A command inside.
    ///
    /// # Errors
    /// When it is not booted.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init()?.to_string()])
            .args(["--mount", "--pid", "--net", "--ipc", "--uts", "--", program])
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        Ok(command)
    }

    /// Runs a program inside and gives what it printed.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub fn exec(&self, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("a program to run")?;
        let mut command = self.command(program)?;
        command.args(arguments);
        command::finish(command)
    }

    /// As [`Container::exec`]; any status is fine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn exec_output(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("a program to run")?;
        command::output(self.command(program)?.args(arguments))
    }

    /// A property of one of its units, as `systemctl show` tells it.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn unit(&self, unit: &str, property: &str) -> Result<String> {
        let value = self.exec(&["systemctl", "show", "--value", "--property", property, unit])?;
        Ok(value.trim().to_owned())
    }

    /// What a unit logged.
    ///
    /// # Errors
    /// When journalctl fails.
    pub fn journal(&self, unit: &str) -> Result<String> {
        self.exec(&["journalctl", "--no-pager", "--output=short-precise", "--unit", unit])
    }

    /// Tries to log in over ssh from one of the addresses outside.
    ///
    /// # Errors
    /// When ssh says something that is none of [`Login`].
    pub fn login(&self, source: IpAddr, user: &str, password: &str) -> Result<Login> {
        // Whoever is banned between two packets of a login would wait for ever.
        let mut ssh = self.ssh(&["timeout", LOGIN_LIMIT], source, user, password);
        ssh.arg("true");
        let output = command::output(&mut ssh)?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            Ok(Login::Accepted)
        } else if output.status.code() == Some(TIMED_OUT) {
            Ok(Login::NoConnection("the host fell silent during the login".to_owned()))
        } else if said.contains("Permission denied") {
            Ok(Login::Denied)
        } else if ["timed out", "refused", "closed by", "reset by"]
            .iter()
            .any(|words| said.contains(words))
        {
            Ok(Login::NoConnection(said))
        } else {
            bail!("ssh from {source} as {user} ended with {}: {said}", output.status)
        }
    }

    /// Runs a script of the shell as a user who logs in by ssh; gives what it printed.
    ///
    /// # Errors
    /// When the login or the script fails.
    pub fn over_ssh(
        &self,
        source: IpAddr,
        user: &str,
        password: &str,
        script: &str,
    ) -> Result<String> {
        let mut ssh = self.ssh(&["timeout", LOGIN_LIMIT], source, user, password);
        ssh.arg(script);
        command::finish(ssh)
    }

    /// Logs in by ssh, and stays so until the session is dropped.
    ///
    /// # Errors
    /// When the login fails.
    pub fn session(&self, source: IpAddr, user: &str, password: &str) -> Result<Session> {
        let mut ssh = self.ssh(&["setpriv", "--pdeathsig", "KILL"], source, user, password);
        // It goes on until its input ends.
        ssh.arg("echo in; cat").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ssh.spawn().context("start ssh")?;
        let mut said = String::new();
        let output = child.stdout.take().context("what it says")?;
        BufReader::new(output).read_line(&mut said)?;
        let session = Session(child);
        ensure!(said == "in\n", "{user} is not let in from {source}: {said:?}");
        Ok(session)
    }

    /// `ssh` from one of the addresses outside, by `before`; what to run there is missing.
    fn ssh(&self, before: &[&str], source: IpAddr, user: &str, password: &str) -> Command {
        let (first, more) = before.split_first().unwrap_or((&"env", &[]));
        let mut ssh = self.lan.outside.command(first);
        ssh.args(more).args(["sshpass", "-p", password]);
        ssh.args(["ssh", "-F", "/dev/null", "-b", &source.to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "PreferredAuthentications=password",
            "PubkeyAuthentication=no",
            "NumberOfPasswordPrompts=1",
            "ConnectTimeout=3",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        ssh.args(["-l", user, "--", &host.to_string()]);
        ssh
    }

    /// Has the `pvedaemon` unit log one line.
    ///
    /// # Errors
    /// When the unit does not run.
    pub fn pvedaemon_says(&self, message: &str) -> Result<()> {
        let mut pipe = fs::File::options()
            .write(true)
            .open(self.inside("/run/pvedaemon")?)
            .context("open the pvedaemon unit's pipe")?;
        pipe.write_all(format!("{message}\n").as_bytes()).context("write to the pvedaemon unit")
    }

    /// The process of a service, by the words of its command line and as this host counts;
    /// none while it does not run.
    ///
    /// # Errors
    /// When the host is not booted.
    pub fn service_process(&self, words: &[&str]) -> Result<Option<Pid>> {
        processes::child_started_as(self.init()?, words)
    }

    fn init(&self) -> Result<i32> {
        match &self.running {
            Some(running) if running.init > 0 => Ok(running.init),
            _ => bail!("{} is not booted", self.name),
        }
    }

    fn console(&self) -> PathBuf {
        self.directory.path().join("console")
    }

    fn last_console(&self) -> String {
        let console = fs::read(self.console()).unwrap_or_default();
        let start = console.len().saturating_sub(4000);
        String::from_utf8_lossy(&console[start..]).into_owned()
    }

    fn wait_for_boot(&mut self, nspawn: u32) -> Result<()> {
        let init = wait_for("the host's init", BOOT, || {
            let running = self.running.as_mut().context("the host")?;
            if let Some(status) = running.nspawn.try_wait()? {
                bail!("systemd-nspawn ended with {status}");
            }
            processes::first_of_namespace(nspawn)
        })?;
        if let Some(running) = &mut self.running {
            running.init = init;
        }
        wait_until("systemd has booted the host", BOOT, || {
            let state = self.exec_output(&["systemctl", "is-system-running"])?;
            let state = String::from_utf8_lossy(&state.stdout);
            Ok(["running", "degraded"].contains(&state.trim()))
        })?;
        wait_until("sshd answers", BOOT, || {
            let answer = probe::connect(
                &self.lan.outside,
                NEIGHBOUR,
                SocketAddr::new(HOST, 22),
                probe::SILENCE,
            )?;
            Ok(answer == Answer::Connected)
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.cut_power().ok();
        }
        if let Some(mut running) = self.running.take() {
            end(&mut running.nspawn);
        }
        rustix::mount::unmount(self.root(), UnmountFlags::DETACH).ok();
    }
}

fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}
