//! The real agent with a configuration of its own, in a namespace of its own.
//!
//! Input: files of the jail language, settings of `guard.toml`, a directory of journal
//! files. Output: the running agent, its log and what the other verbs print. On drop
//! the agent is killed and its BPF file system unmounted, which takes its programs off
//! the interfaces.

use std::ffi::OsStr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal};

use crate::command;
use crate::deadline::{wait_for, wait_until};
use crate::namespace::Namespace;

/// How long the agent may take to be ready, to end, and to do what it is expected to.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The agent, running or not, and all that belongs to it.
#[derive(Debug)]
pub struct Agent<'namespace> {
    namespace: &'namespace Namespace,
    program: PathBuf,
    directory: tempfile::TempDir,
    settings: Vec<(String, String)>,
    limits: Vec<(String, String)>,
    journal: Option<PathBuf>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    notifications: Notifications,
}

impl<'namespace> Agent<'namespace> {
    /// Makes its directory; nothing is started yet. `program` is `guardctl`
    /// ([`beside_this_program`] finds it).
    ///
    /// # Errors
    /// When the directory or its BPF file system cannot be made.
    pub fn new(namespace: &'namespace Namespace, program: PathBuf) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("guard-test-").tempdir()?;
        for part in ["etc/jail.d", "etc/filter.d", "state", "bpf"] {
            fs::create_dir_all(directory.path().join(part))?;
        }
        rustix::mount::mount(
            "bpf",
            directory.path().join("bpf"),
            "bpf",
            MountFlags::empty(),
            None::<&std::ffi::CStr>,
        )
        .context("mount a BPF file system (this needs root)")?;
        let agent = Self {
            namespace,
            program,
            directory,
            settings: Vec::new(),
            limits: Vec::new(),
            journal: None,
            running: None,
        };
        let path = |part: &str| format!("{:?}", agent.path(part).display().to_string());
        let settings = [
            ("jail-directory", path("etc")),
            ("state-directory", path("state")),
            ("socket", path("control.socket")),
            ("bpf-directory", path("bpf")),
            ("log", path("guard.log")),
        ];
        Ok(settings.into_iter().fold(agent, |agent, (key, value)| agent.setting(key, &value)))
    }

    /// Sets a key of `guard.toml`; `value` as TOML writes it. Takes effect at the next
    /// start.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets a key of the `[limits]`.
    #[must_use]
    pub fn limit(mut self, key: &str, value: &str) -> Self {
        self.limits.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Has it follow a directory of journal files instead of the host's journal.
    #[must_use]
    pub fn journal(mut self, directory: &Path) -> Self {
        self.journal = Some(directory.to_owned());
        self
    }

    /// Writes a file below the jail directory, such as `jail.d/01_sshd.conf`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path("etc").join(file);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Copies a whole tree into the jail directory.
    ///
    /// # Errors
    /// When `cp` does.
    pub fn copy(&self, tree: &Path) -> Result<()> {
        command::run("cp", [OsStr::new("-rT"), tree.as_os_str(), self.path("etc").as_os_str()])
            .map(drop)
    }

    /// A path in the agent's own directory: `guard.toml`, `guard.log`, `etc`, `state`.
    pub fn path(&self, part: &str) -> PathBuf {
        self.directory.path().join(part)
    }

    /// The process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// Start it from the thread that keeps it: the kernel ends it with that thread.
    ///
    /// # Errors
    /// When it ends instead, with what it said, or is not ready in time.
    pub fn start(&mut self) -> Result<()> {
        self.start_with(&[])
    }

    /// As [`Agent::start`], with more arguments after `run`.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_with(&mut self, arguments: &[&str]) -> Result<()> {
        if self.running.is_some() {
            bail!("the agent runs already");
        }
        self.write_settings()?;
        let notifications = Notifications::listen(&self.path("notify"))?;
        let mut run = self.command();
        run.arg("run").args(arguments);
        if let Some(journal) = &self.journal {
            run.arg("--journal-directory").arg(journal);
        }
        let said = fs::File::options().create(true).append(true).open(self.path("output"))?;
        run.env("NOTIFY_SOCKET", self.path("notify"))
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said);
        let child = run.spawn().with_context(|| format!("start {}", command::words(&run)))?;
        self.running = Some(Running { child, notifications });
        let ready = wait_until("the agent is ready", PATIENCE, || {
            let running = self.running.as_mut().context("the agent")?;
            if let Some(status) = running.child.try_wait()? {
                bail!("the agent ended with {status}");
            }
            running.notifications.saw("READY=1")
        });
        ready.with_context(|| format!("the agent said:\n{}", self.output()))
    }

    /// Ends it as systemd does (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it does not end in time, or not with status 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { bail!("the agent does not run") };
        signal(&running.child, Signal::TERM)?;
        let ended = wait_for("the agent ends", PATIENCE, || Ok(running.child.try_wait()?));
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("the agent ended with {status}:\n{}", self.output()),
            Err(error) => {
                end(&mut running.child);
                Err(error)
            }
        }
    }

    /// Kills it without a chance to do anything (SIGKILL) and waits.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { bail!("the agent does not run") };
        running.child.kill().context("kill the agent")?;
        running.child.wait().context("wait for the agent")?;
        Ok(())
    }

    /// Has it read its configuration anew, as old init scripts do (SIGHUP).
    ///
    /// # Errors
    /// When it does not run.
    pub fn hang_up(&self) -> Result<()> {
        signal(&self.running.as_ref().context("the agent does not run")?.child, Signal::HUP)
    }

    /// Writes other settings of `guard.toml`, which a reload reads.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.settings.retain(|(other, _)| other != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self.write_settings()
    }

    /// Runs another verb with this agent's configuration and gives what it printed.
    ///
    /// # Errors
    /// When it ends with another status than 0.
    pub fn guardctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(arguments);
        command::finish(command)
    }

    /// As [`Agent::guardctl`]; any status is fine.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn guardctl_output(&self, arguments: &[&str]) -> Result<Output> {
        command::output(self.command().args(arguments))
    }

    /// As [`Agent::guardctl`], with `input` as its standard input.
    ///
    /// # Errors
    /// As [`Agent::guardctl`].
    pub fn guardctl_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut command = self.command();
        command.args(arguments);
        command::finish_with_input(command, input)
    }

    /// Another verb with this agent's configuration, for whoever starts it himself.
    pub fn guardctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(arguments);
        command
    }

    /// The whole log so far.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn log(&self) -> Result<String> {
        match fs::read(self.path("guard.log")) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).context("read the agent's log"),
        }
    }

    /// Waits until the log has a line with `text` in it, and gives that line.
    ///
    /// # Errors
    /// When there is none in time; with the log.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> Result<String> {
        wait_for(&format!("“{text}” in the log"), limit, || {
            Ok(self.log()?.lines().find(|line| line.contains(text)).map(str::to_owned))
        })
        .with_context(|| format!("the log:\n{}{}", self.log().unwrap_or_default(), self.output()))
    }

    /// What it wrote to standard output and error.
    pub fn output(&self) -> String {
        fs::read_to_string(self.path("output")).unwrap_or_default()
    }

    fn command(&self) -> Command {
        // Ended by the kernel when this process is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "nsenter"]);
        command.arg(format!("--net={}", self.namespace.path().display())).arg("--");
        command.arg(&self.program).arg("--config").arg(self.path("guard.toml"));
        command
    }

    fn write_settings(&self) -> Result<()> {
        let mut text = String::new();
        for (key, value) in &self.settings {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text.push_str("\n[limits]\n");
        for (key, value) in &self.limits {
            text.push_str(&format!("{key} = {value}\n"));
        }
        fs::write(self.path("guard.toml"), text).context("write guard.toml")
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            end(&mut running.child);
        }
        rustix::mount::unmount(self.path("bpf"), UnmountFlags::DETACH).ok();
    }
}

/// `guardctl` as cargo built it together with this program, or what the variable
/// `GUARDCTL` names.
///
/// # Errors
/// When there is none.
pub fn beside_this_program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("GUARDCTL") {
        return Ok(path.into());
    }
    let this = env::current_exe()?;
    // Tests lie in target/PROFILE/deps, programs in target/PROFILE.
    let found = this.ancestors().skip(1).take(2).map(|place| place.join("guardctl"));
    let Some(path) = found.into_iter().find(|path| path.exists()) else {
        bail!("no guardctl near {}: cargo build --package guard, or set GUARDCTL", this.display());
    };
    Ok(path)
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    rustix::process::kill_process(Pid::from_child(child), signal).context("signal the agent")
}

fn end(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// What a service says to systemd, read all the time so that it never blocks.
#[derive(Debug)]
struct Notifications {
    path: PathBuf,
    lines: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

/// Ends the reading; no service says this.
const END: &[u8] = b"X_GUARD_TEST_END=1";

impl Notifications {
    fn listen(path: &Path) -> Result<Self> {
        fs::remove_file(path).ok();
        let socket = UnixDatagram::bind(path).context("make the notification socket")?;
        let (sender, lines) = channel();
        let thread = thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length) = socket.recv(&mut datagram) {
                let datagram = &datagram[..length];
                if datagram == END {
                    break;
                }
                for line in String::from_utf8_lossy(datagram).lines() {
                    sender.send(line.to_owned()).ok();
                }
            }
        });
        Ok(Self { path: path.to_owned(), lines, thread: Some(thread) })
    }

    /// Whether `line` came since the last call.
    fn saw(&mut self, line: &str) -> Result<bool> {
        loop {
            match self.lines.recv_timeout(Duration::ZERO) {
                Ok(said) if said == line => return Ok(true),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(error) => return Err(error).context("read notifications"),
            }
        }
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        if let (Ok(socket), Some(thread)) = (UnixDatagram::unbound(), self.thread.take())
            && socket.send_to(END, &self.path).is_ok()
        {
            thread.join().ok();
        }
    }
}
