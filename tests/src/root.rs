//! Debian root trees for containers, made once by debootstrap and kept under `target/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

/// What a host needs: systemd, sshd, and what a minimal Debian has for its network.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,nftables,iproute2,netbase";
/// What makes logins sessions of systemd-logind, as on every usual Debian. Where it is
/// missing, what a user runs stays in sshd's own unit.
const SESSION_PACKAGES: &str = "libpam-systemd";
/// Fail2Ban and what it needs to read the journal; and programs that the documents use.
const PEER_PACKAGES: &str = "fail2ban,python3,python3-systemd,bpftool,sqlite3";

/// A kind of host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13, with OpenSSH 10, a newer nft, and logind.
    Trixie,
    /// Debian 12 with Fail2Ban beside it (not started).
    BookwormWithPeer,
}

impl Suite {
    /// Debian's name of the release.
    pub const fn release(self) -> &'static str {
        match self {
            Self::Bookworm | Self::BookwormWithPeer => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    const fn directory(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie-logind",
            Self::BookwormWithPeer => "bookworm-peer",
        }
    }

    /// The root tree, never to be changed: containers lay a writable layer over it.
    /// Makes it first if it is not there, which takes about a minute.
    ///
    /// # Errors
    /// When debootstrap is missing or fails.
    pub fn tree(self) -> Result<PathBuf> {
        let tree = directory().join(self.directory());
        if !tree.exists() {
            self.make(&tree)?;
        }
        Ok(tree)
    }

    fn make(self, tree: &Path) -> Result<()> {
        eprintln!("making a {} root in {} (once)", self.release(), tree.display());
        let unfinished = tree.with_extension("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .with_context(|| format!("remove {}", unfinished.display()))?;
        }
        fs::create_dir_all(&unfinished)?;
        let mut packages = PACKAGES.to_owned();
        let more = match self {
            Self::Bookworm => None,
            Self::Trixie => Some(SESSION_PACKAGES),
            Self::BookwormWithPeer => Some(PEER_PACKAGES),
        };
        if let Some(more) = more {
            packages.push(',');
            packages.push_str(more);
        }
        let log_path = tree.with_extension("log");
        let log = fs::File::create(&log_path)?;
        let status = Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={packages}"), self.release()])
            .arg(&unfinished)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("start debootstrap (apt-get install debootstrap)")?;
        if !status.success() {
            bail!("debootstrap ended with {status}: see {}", log_path.display());
        }
        // Packages for installing anew are not needed again.
        fs::remove_dir_all(unfinished.join("var/cache/apt/archives")).ok();
        fs::rename(&unfinished, tree).context("put the finished root in place")
    }
}

/// Where the trees are: `target/roots`, or what `GUARD_ROOTS` names.
fn directory() -> PathBuf {
    env::var_os("GUARD_ROOTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/roots"),
        PathBuf::from,
    )
}
