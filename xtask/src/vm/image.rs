//! The initramfs of a machine: busybox, the tests, what they run and read, and `/init`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::archive::Archive;
use super::directory;
use super::package::Package;
use super::programs::Programs;
use crate::workspace;

/// Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// What of the checkout the tests read at run time, at the place where they look for it.
const READ: [&str; 3] =
    ["tests/fixtures/packets", "tests/fixtures/kernels.toml", "guard/src/enforce/xdp/guard.bpf.o"];

/// Writes the image and gives its place.
pub(super) fn build(kernel: &str, package: &Package, programs: &Programs) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for place in ["/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/root"] {
        archive.directory(Path::new(place));
    }
    archive.copy(Path::new(BUSYBOX), Path::new("/bin/busybox"))?;
    archive.link(Path::new("/bin/sh"), "busybox");
    archive.file(Path::new("/init"), 0o755, include_bytes!("init.sh"));
    archive.file(Path::new("/etc/kernel"), 0o644, kernel.as_bytes());
    for module in &package.modules {
        let name = module.file_name().context("a module has a name")?;
        archive.copy(module, &Path::new("/modules").join(name))?;
    }
    for library in &programs.libraries {
        archive.copy(library, library)?;
    }
    for (name, file) in &programs.tools {
        archive.copy(file, &Path::new("/bin").join(name))?;
    }
    for (name, file) in &programs.tests {
        archive.copy(file, &Path::new("/tests").join(name))?;
    }
    for path in READ {
        let path = workspace::root().join(path);
        if path.is_dir() {
            archive.copy_tree(&path)?;
        } else {
            archive.copy(&path, &path)?;
        }
    }
    // Where the tests' paths begin: they lead through `tests/..`.
    archive.directory(&workspace::root().join("tests"));
    let image = directory().join(format!("{kernel}.cpio"));
    fs::write(&image, archive.finish()).with_context(|| format!("write {}", image.display()))?;
    Ok(image)
}
