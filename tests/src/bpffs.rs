//! A bpffs of a test's own.

use std::path::PathBuf;

use anyhow::Result;
use rustix::mount::{UnmountFlags, unmount};

/// A directory on which the enforcer mounts a bpffs, and which is none any more when
/// this is dropped.
#[derive(Debug)]
pub struct Bpffs(tempfile::TempDir);

impl Bpffs {
    /// Makes a directory; nothing is mounted yet.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// Where the bpffs goes.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("bpf")
    }

    /// Names of what is pinned in a directory of it. (Those with dots are the kernel's.)
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pinned(&self, directory: &str) -> Result<Vec<String>> {
        let mut names: Vec<String> = std::fs::read_dir(self.path().join(directory))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        names.retain(|name| !name.contains('.'));
        names.sort_unstable();
        Ok(names)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // All pins go with the mount, and all links with the pins. A test that failed
        // before it mounted anything has nothing to unmount.
        unmount(self.path(), UnmountFlags::DETACH).ok();
    }
}
