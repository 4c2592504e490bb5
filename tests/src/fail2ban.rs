//! Fail2Ban as Debian packages it: its filters, its sample corpus and its programs,
//! fetched and read in place. They are GPL; nothing of them is copied into guard.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::peers;

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Package(PathBuf);

impl Package {
    /// Debian's current package, fetched once into `target/peers`, or the tree that
    /// `GUARD_FAIL2BAN` names.
    ///
    /// # Errors
    /// When it cannot be fetched or unpacked.
    pub fn fetch() -> Result<Self> {
        if let Some(tree) = env::var_os("GUARD_FAIL2BAN") {
            return Ok(Self(tree.into()));
        }
        Ok(Self(peers::unpacked("fail2ban")?))
    }

    /// What Debian installs as `/etc/fail2ban`.
    pub fn configuration(&self) -> PathBuf {
        self.0.join("etc/fail2ban")
    }

    /// The Python packages: `fail2ban` lies in it.
    pub fn python(&self) -> PathBuf {
        self.0.join("usr/lib/python3/dist-packages")
    }

    /// The sample corpus: one file of log lines a filter.
    pub fn sample_logs(&self) -> PathBuf {
        self.python().join("fail2ban/tests/files/logs")
    }

    /// Filters that only the corpus uses.
    pub fn test_filters(&self) -> PathBuf {
        self.python().join("fail2ban/tests/config/filter.d")
    }

    /// One of its programs, such as `fail2ban-client`, run in place: with Debian's
    /// Python and this package's modules.
    pub fn program(&self, name: &str) -> Command {
        // Not another one that comes first in the path: it has no systemd module.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(self.0.join("usr/bin").join(name)).env("PYTHONPATH", self.python());
        command
    }
}
