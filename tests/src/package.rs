//! The Debian package of the tested programs, made as people make it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{agent, command};

/// Makes the package of a revision with `cargo xtask deb`, in an empty directory.
///
/// # Errors
/// When it cannot be made, or is of another revision.
pub fn make(directory: &Path, revision: u32) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let mut deb = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    deb.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["xtask", "deb", "--revision", &revision.to_string(), "--directory"])
        .arg(directory)
        .arg("--program")
        .arg(agent::beside_this_program()?);
    command::finish(deb)?;
    let made = found(directory)?;
    ensure!(made.to_string_lossy().contains(&format!("-{revision}_")), "{}", made.display());
    Ok(made)
}

/// The package in a directory that [`make`] made it in.
///
/// # Errors
/// When there is none.
pub fn found(directory: &Path) -> Result<PathBuf> {
    Ok(fs::read_dir(directory)?.next().context("a package")??.path())
}
