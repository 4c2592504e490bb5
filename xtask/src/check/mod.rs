//! `cargo xtask check`: everything about the source that a machine can judge.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{build_ebpf, man, packages, sbom, workspace};

mod sources;

/// Options of `check`.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// One thing that is judged, with its name.
type Step = (&'static str, fn() -> Result<()>);

/// Everything that is judged, cheapest first.
const STEPS: &[Step] = &[
    ("format", format),
    ("layers, sizes, unsafe code", layers_sizes_unsafe),
    ("the fuzz targets' lock file", fuzz_lock),
    ("lints", || clippy(&["--workspace", "--all-targets"])),
    ("lints of the core on its own", || {
        clippy(&["--package", "guard", "--no-default-features", "--all-targets"])
    }),
    ("manual pages, completions and docs/configuration.md", man::check),
    ("licences and sources of the dependencies", licences),
    ("the bill of materials", sbom::check),
    ("the eBPF program's format and lints", || build_ebpf::lint(false)),
    ("the committed eBPF object is what its source builds to", || build_ebpf::check(false)),
];

/// Judges everything, also after something was found wrong.
pub(crate) fn run(_options: &Options) -> Result<()> {
    packages::need(&[packages::BUILD])?;
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        println!("\n=== {name}");
        if let Err(error) = step() {
            println!("{error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("not as it should be: {}", failed.join("; "));
    }
    println!("\nAll checks passed.");
    Ok(())
}

fn format() -> Result<()> {
    workspace::run(&mut workspace::cargo(&["fmt", "--all", "--check"]))
        .context("cargo fmt --all puts it right")
}

fn layers_sizes_unsafe() -> Result<()> {
    let complaints = sources::complaints(&workspace::root())?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    Ok(())
}

/// The fuzz targets are a workspace of their own, whose lock file must follow.
fn fuzz_lock() -> Result<()> {
    let manifest = workspace::root().join("tests/fuzz/Cargo.toml");
    let mut metadata = workspace::cargo(&["metadata", "--quiet", "--locked", "--format-version=1"]);
    metadata.arg("--manifest-path").arg(manifest).stdout(Stdio::null());
    workspace::run(&mut metadata).context("`cargo update --workspace` in tests/fuzz puts it right")
}

fn clippy(what: &[&str]) -> Result<()> {
    let mut command = workspace::cargo(&["clippy", "--quiet"]);
    command.args(what).args(["--", "--deny", "warnings"]);
    workspace::run(&mut command)
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
    workspace::run(&mut deny)
}
