//! A Debian host with guard installed as `cargo xtask install` installs it, the jails
//! of the Proxmox guide, and systemd in charge of the agent.

use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::container::{Container, Login, USER};
use crate::deadline::{wait_for, wait_until};
use crate::lan::{HOST, HOST_V6};
use crate::probe::{self, Answer, Service, connect};
use crate::root::Suite;
use crate::{agent, command};

/// The unit.
pub const UNIT: &str = "guard.service";
/// The port of the `proxmox` jail that is tried.
pub const PROXMOX: u16 = 8006;
/// How long the agent may take to do what follows from a line in the journal.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A guarded host.
#[derive(Debug)]
pub struct Installed {
    /// The host; `host.lan` is its network.
    pub host: Container,
    _proxmox: Service,
}

impl Installed {
    /// Installs and enables guard on a fresh host; it is not booted yet.
    ///
    /// # Errors
    /// When a part of that fails.
    pub fn new(suite: Suite, backend: &str) -> Result<Self> {
        Self::with_program(suite, backend, &agent::beside_this_program()?)
    }

    /// As [`Installed::new`], with another guardctl than the one beside this program.
    ///
    /// # Errors
    /// As [`Installed::new`].
    pub fn with_program(suite: Suite, backend: &str, program: &Path) -> Result<Self> {
        let host = Container::new(suite)?;
        let root = host.root();
        install(&root, program)?;
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guide");
        command::run(
            "cp",
            ["-rT".as_ref(), guide.as_os_str(), root.join("etc/guard").as_os_str()],
        )?;
        // In front: a key at the end would belong to the last table.
        let settings = root.join("etc/guard/guard.toml");
        let shipped = fs::read_to_string(&settings).context("read the shipped guard.toml")?;
        fs::write(&settings, format!("backend = \"{backend}\"\n{shipped}"))?;
        command::run(
            "chroot",
            [root.as_os_str(), "systemctl".as_ref(), "enable".as_ref(), UNIT.as_ref()],
        )?;
        let proxmox = Service::listen(&host.lan.host, PROXMOX)?;
        Ok(Self { host, _proxmox: proxmox })
    }

    /// A booted host without guard, for a package to be installed on.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn bare(suite: Suite) -> Result<Self> {
        let mut host = Container::new(suite)?;
        let proxmox = Service::listen(&host.lan.host, PROXMOX)?;
        host.boot()?;
        Ok(Self { host, _proxmox: proxmox })
    }

    /// Runs the installation once more, as for an update.
    ///
    /// # Errors
    /// When it fails.
    pub fn install_again(&self) -> Result<()> {
        install(&self.host.root(), &agent::beside_this_program()?)
    }

    /// As [`Installed::new`], booted and with the agent ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn booted(suite: Suite, backend: &str) -> Result<Self> {
        let mut installed = Self::new(suite, backend)?;
        installed.host.boot()?;
        installed.wait_until_active()?;
        Ok(installed)
    }

    /// Waits until systemd calls the agent active, that is until it said `READY`.
    ///
    /// # Errors
    /// When it does not get there; with what the unit logged.
    pub fn wait_until_active(&self) -> Result<()> {
        wait_until("the agent is active", PATIENCE, || {
            Ok(self.host.unit(UNIT, "ActiveState")? == "active")
        })
        .with_context(|| format!("the unit logged:\n{}", self.said()))
    }

    /// Process id of the agent as the host counts; 0 while it does not run.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn main_pid(&self) -> Result<u32> {
        Ok(self.host.unit(UNIT, "MainPID")?.parse()?)
    }

    /// Runs guardctl on the host.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub fn guardctl(&self, arguments: &[&str]) -> Result<String> {
        let words: Vec<&str> = [&["guardctl"], arguments].concat();
        self.host.exec(&words)
    }

    /// The agent's log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self) -> Result<String> {
        let log = self.host.inside("/var/log/guard/guard.log")?;
        fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))
    }

    /// Waits until `count` lines of the log hold `text`.
    ///
    /// # Errors
    /// When they do not come; with the log.
    pub fn wait_for_log(&self, text: &str, count: usize) -> Result<()> {
        wait_until(&format!("{count} lines with “{text}” in the log"), PATIENCE, || {
            Ok(self.log().unwrap_or_default().lines().filter(|line| line.contains(text)).count()
                >= count)
        })
        .with_context(|| format!("the log:\n{}{}", self.log().unwrap_or_default(), self.said()))
    }

    /// Fails to log in `times` times.
    ///
    /// # Errors
    /// When one of the attempts meets anything but a refused password.
    pub fn guess_passwords(&self, source: IpAddr, user: &str, times: usize) -> Result<()> {
        for attempt in 1..=times {
            let login = self.host.login(source, user, "guess")?;
            ensure!(login == Login::Denied, "attempt {attempt} of {source} as {user}: {login:?}");
        }
        Ok(())
    }

    /// Logs in as somebody who may.
    ///
    /// # Errors
    /// When that does not succeed.
    pub fn logs_in(&self, source: IpAddr) -> Result<()> {
        let login = self.host.login(source, USER.0, USER.1)?;
        ensure!(login == Login::Accepted, "{source} should get in: {login:?}");
        Ok(())
    }

    /// Has pvedaemon report failed logins of `source`.
    ///
    /// # Errors
    /// When the unit cannot be reached.
    pub fn guess_proxmox_passwords(&self, source: IpAddr, user: &str, times: usize) -> Result<()> {
        let mapped = match source {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        for _ in 0..times {
            self.host.pvedaemon_says(&format!(
                "authentication failure; rhost={mapped} user={user} msg=Authentication failure"
            ))?;
        }
        Ok(())
    }

    /// Waits until `source` cannot connect to `port`.
    ///
    /// # Errors
    /// When it still can after a while.
    pub fn wait_until_cut_off(&self, source: IpAddr, port: u16) -> Result<()> {
        wait_until(&format!("{source} is cut off from port {port}"), PATIENCE, || {
            Ok(self.answer(source, port, probe::SILENCE)? != Answer::Connected)
        })
    }

    /// Sees that `source` can connect to `port`.
    ///
    /// # Errors
    /// When it cannot.
    pub fn reaches(&self, source: IpAddr, port: u16) -> Result<()> {
        let answer = self.answer(source, port, probe::PATIENCE)?;
        ensure!(answer == Answer::Connected, "{source} to port {port}: {answer}");
        Ok(())
    }

    /// Does something while `source` tries port 22 without a pause, and sees that it
    /// never gets through.
    ///
    /// # Errors
    /// When it does once, or `action` fails.
    pub fn while_cut_off(
        &mut self,
        source: IpAddr,
        action: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (outside, ended) = (Arc::clone(&self.host.lan.outside), AtomicBool::new(false));
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        thread::scope(|scope| {
            let trying = scope.spawn(|| -> Result<usize> {
                let mut attempts = 0;
                while !ended.load(Ordering::Relaxed) {
                    let answer =
                        connect(&outside, source, SocketAddr::new(host, 22), probe::GLANCE)?;
                    ensure!(answer != Answer::Connected, "{source} got through");
                    attempts += 1;
                }
                Ok(attempts)
            });
            let done = action(self);
            ended.store(true, Ordering::Relaxed);
            let attempts = trying.join().map_err(|_| anyhow!("the trying thread panicked"))??;
            done?;
            ensure!(attempts > 1, "only {attempts} attempts");
            Ok(())
        })
    }

    /// Addresses that `bans list` shows as banned and enforced, as `JAIL ADDRESS`.
    ///
    /// # Errors
    /// When guardctl fails.
    pub fn bans(&self) -> Result<Vec<String>> {
        let table = self.guardctl(&["bans", "list"])?;
        if table.contains("NOT ENFORCED") {
            bail!("a ban that is not in the kernel:\n{table}");
        }
        let mut bans: Vec<String> = table
            .lines()
            .skip(1)
            // Others go on with the one before.
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some(format!("{} {}", words.next()?, words.next()?))
            })
            .collect();
        bans.sort();
        Ok(bans)
    }

    /// Waits until [`Installed::bans`] is `expected`.
    ///
    /// # Errors
    /// When it does not become so; with the last list.
    pub fn wait_for_bans(&self, expected: &[&str]) -> Result<()> {
        let mut last = Vec::new();
        wait_for(&format!("the bans {expected:?}"), PATIENCE, || {
            last = self.bans().unwrap_or_else(|error| vec![error.to_string()]);
            Ok((last == expected).then_some(()))
        })
        .with_context(|| format!("the bans are {last:?}"))
    }

    fn answer(&self, source: IpAddr, port: u16, patience: Duration) -> Result<Answer> {
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        connect(&self.host.lan.outside, source, SocketAddr::new(host, port), patience)
    }

    fn said(&self) -> String {
        self.host.journal(UNIT).unwrap_or_else(|error| error.to_string())
    }
}

/// Installs as people do.
fn install(root: &Path, program: &Path) -> Result<()> {
    let mut install = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    install
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["xtask", "install", "--root"])
        .arg(root)
        .arg("--program")
        .arg(program);
    command::finish(install).map(drop)
}
