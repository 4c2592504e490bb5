//! `cargo xtask check`: everything about the source that a machine can judge.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{packages, workspace};

mod sources;

/// Options of `check`.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> Result<()> {
    packages::need(&[packages::BUILD])?;
    workspace::show("format", &mut workspace::cargo(&["fmt", "--all", "--check"]))?;
    println!("\n=== layers, sizes, unsafe code");
    let complaints = sources::complaints(&workspace::root())?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    workspace::show("lints", &mut clippy(&["--workspace", "--all-targets"]))?;
    let core = ["--package", "guard", "--no-default-features", "--all-targets"];
    workspace::show("lints of the core on its own", &mut clippy(&core))?;
    licences()?;
    println!("\nAll checks passed.");
    Ok(())
}

fn clippy(what: &[&str]) -> Command {
    let mut command = workspace::cargo(&["clippy", "--quiet"]);
    command.args(what).args(["--", "--deny", "warnings"]);
    command
}

/// Licences, sources and duplicates of the dependencies, by `deny.toml`.
fn licences() -> Result<()> {
    let there = workspace::cargo(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        let mut install = workspace::cargo(&["install", "--locked", "cargo-deny"]);
        workspace::show("installing cargo-deny (once, some minutes)", &mut install)?;
    }
    let mut deny = workspace::cargo(&["deny", "--all-features", "--log-level", "error"]);
    deny.args(["check", "bans", "licenses", "sources"]);
    workspace::show("licences and sources of the dependencies", &mut deny)
}
