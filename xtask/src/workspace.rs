//! Where things are in the workspace, and running programs in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The directory of the top-level `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

/// Says what is done, and does it with its output shown.
pub(crate) fn show(what: &str, command: &mut Command) -> Result<()> {
    println!("\n=== {what}");
    run(command)
}

/// Runs a program with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let words = guard_tests::command::words(command);
    let status = command.status().with_context(|| format!("start {words}"))?;
    if !status.success() {
        bail!("{words} ended with {status}");
    }
    Ok(())
}

/// Builds `guardctl`, and `guard-helper` beside it, as they are shipped, and gives the
/// former's path.
pub(crate) fn build_guardctl() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--package", "guard", "--bins"]))?;
    Ok(target().join("release/guardctl"))
}

/// Builds one of the examples that link guard, as fast as guard is shipped, and gives its
/// path.
pub(crate) fn build_example(name: &str) -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--package", "guard-tests", "--example", name]))?;
    Ok(target().join("release/examples").join(name))
}
