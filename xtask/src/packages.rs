//! Debian packages that the verbs need, installed on demand.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::workspace;

/// To build guardctl: the journal's library, and a C compiler for the bundled SQLite.
pub(crate) const BUILD: &[&str] = &["gcc", "libc6-dev", "libsystemd-dev", "pkg-config"];

/// To run the agent in network namespaces on journal files of its own.
pub(crate) const NAMESPACES: &[&str] =
    &["iproute2", "nftables", "systemd-journal-remote", "util-linux"];

/// To compare with Fail2Ban, whose package is read in place.
pub(crate) const PEERS: &[&str] = &["python3", "python3-systemd"];

/// To read metrics as others do.
pub(crate) const METRICS: &[&str] = &["python3", "python3-prometheus-client"];

/// To test the data plane.
pub(crate) const KERNEL: &[&str] = &["bpftool", "ethtool", "iptables"];

/// To measure the data plane beside its peers.
pub(crate) const DATAPATH: &[&str] = &["iperf3", "xdp-tools"];

/// To boot other kernels.
pub(crate) const MACHINES: &[&str] =
    &["binutils", "busybox-static", "kmod", "qemu-system-x86", "xz-utils"];

/// To run whole hosts in containers and to attack them.
pub(crate) const HOSTS: &[&str] =
    &["debootstrap", "openssh-client", "sshpass", "systemd-container"];

/// To judge manual pages and completions.
pub(crate) const PAGES: &[&str] = &["bash", "fish", "groff-base", "mandoc", "zsh"];

/// To make a Debian package and to judge it.
pub(crate) const DEBIAN: &[&str] = &["binutils", "dpkg-dev", "gzip", "lintian"];

/// To build libFuzzer.
pub(crate) const FUZZING: &[&str] = &["g++", "libc6-dev"];

/// Installs what is missing of these; as another user than root, says how to.
pub(crate) fn need(lists: &[&[&str]]) -> Result<()> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        println!(
            "This is not Debian: what these of its packages hold must be here: {}",
            lists.concat().join(" ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.iter())
        .copied()
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = missing.join(" ");
    if guard_tests::namespace::require_root().is_err() {
        bail!("packages are missing; run as root: apt-get install --no-install-recommends {words}");
    }
    workspace::show("installing package lists", apt_get().arg("update"))?;
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
    workspace::show(&format!("installing {words}"), &mut install)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

fn installed(package: &str) -> bool {
    let status = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    status.is_ok_and(|output| output.stdout == b"installed")
}
