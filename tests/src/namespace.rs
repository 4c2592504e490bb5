//! Network namespaces, and the cables between them.
//!
//! Output: a [`Namespace`] with a unique name that holds this process's id, its
//! loopback up; removed on drop together with the interfaces in it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process, thread};

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command;

/// Where `ip netns` keeps its names.
const DIRECTORY: &str = "/run/netns";
/// What the names of all our namespaces begin with.
const PREFIX: &str = "guard-";

static MADE: AtomicU32 = AtomicU32::new(0);

/// A network namespace of our own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `role` is for people who look at `ip netns`.
    ///
    /// # Errors
    /// Without the right to make one, or without `ip`.
    pub fn new(role: &str) -> Result<Self> {
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}-{role}", process::id());
        command::run("ip", ["netns", "add", &name])
            .context("make a network namespace (this needs root)")?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Runs `ip` on it with space-separated arguments.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        command::run("ip", ["-n", &self.name].into_iter().chain(arguments.split_whitespace()))
    }

    /// A command that runs inside, with everything but the network as outside.
    ///
    /// Not `ip netns exec`: that mounts a new `/sys` and so hides the BPF file system.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `closure` on a thread of its own inside; sockets that it opens stay inside.
    ///
    /// # Errors
    /// When the thread cannot enter, or the closure's own error.
    pub fn run<T: Send>(&self, closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = fs::File::open(self.path())
                    .with_context(|| format!("open {}", self.path().display()))?;
                move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(LinkNameSpaceType::Network),
                )
                .with_context(|| format!("enter network namespace {}", self.name))?;
                closure()
            });
            inside.join().map_err(|_| anyhow!("a thread in namespace {} panicked", self.name))?
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done about a failure; the next run sweeps it.
        command::run("ip", ["netns", "del", &self.name]).ok();
    }
}

/// Lays a cable: interface `left.1` in `left.0`, `right.1` in `right.0`, both up.
///
/// # Errors
/// When the kernel refuses.
pub fn cable(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
    left.0.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        left.1, right.1, right.0.name
    ))?;
    left.0.ip(&format!("link set {} up", left.1))?;
    right.0.ip(&format!("link set {} up", right.1))?;
    Ok(())
}

/// Removes namespaces of runs that were killed: those that name a process that is gone.
///
/// # Errors
/// When one of them cannot be removed.
pub fn sweep() -> Result<()> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(maker) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        let Ok(maker) = maker.parse::<u32>() else { continue };
        if !PathBuf::from(format!("/proc/{maker}")).exists() {
            command::run("ip", ["netns", "del", &name])?;
        }
    }
    Ok(())
}

/// Says what is missing to make namespaces and boot containers.
///
/// # Errors
/// When this process is not root.
pub fn require_root() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("this makes network namespaces and loads programs into the kernel: run it as root");
    }
    Ok(())
}
