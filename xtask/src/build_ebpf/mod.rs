//! `cargo xtask build-ebpf`: the object that guardctl embeds.
//!
//! Input: `guard-ebpf/`, `guard-common/`, and a toolchain that knows the BPF target.
//! Output: `guard/src/enforce/xdp/guard.bpf.o`, and `guard.bpf.toml` beside it, which says
//! what it was made of and by what. Both are committed, so that a plain `cargo build` needs
//! no BPF toolchain. Invariant: the same toolchain gives the same bytes from the same
//! source, wherever the checkout lies; [`check`] proves it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

mod compile;
mod install;
mod record;
mod strip;
mod toolchain;

use record::Record;
use toolchain::Tools;

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build, and compare with the committed object instead of replacing it
    #[arg(long)]
    check: bool,
    /// Check formatting and lints instead of building
    #[arg(long, conflicts_with = "check")]
    lint: bool,
    /// Install nothing: if something is missing, say what
    #[arg(long)]
    no_install: bool,
    /// Write the object to this file, and change nothing in the checkout
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "lint"])]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.check {
        return check(options.no_install);
    }
    if options.lint {
        return lint(options.no_install);
    }
    let root = root();
    let tools = Tools::find_or_install(&root, options.no_install)?;
    println!("building with {tools}");
    let object = compile::object(&root, &tools)?;
    let Some(output) = &options.output else {
        let record = Record::of(&root, &tools, &object)?;
        fs::write(object_path(&root), &object)?;
        record.write(&root)?;
        println!("{}: {} bytes, sha256 {}", OBJECT, object.len(), record.object_sha256);
        return Ok(());
    };
    fs::write(output, &object).with_context(|| format!("writing {}", output.display()))?;
    println!("{}: {} bytes", output.display(), object.len());
    Ok(())
}

/// Proves that the committed object is what the source builds to. The same toolchain must
/// give the same bytes. Another one cannot: then the source must be the one that the
/// object was made of, and the object of either must pass the kernel suite.
pub(crate) fn check(no_install: bool) -> anyhow::Result<()> {
    let root = root();
    let record = Record::read(&root)?;
    let committed = fs::read(object_path(&root)).with_context(|| format!("reading {OBJECT}"))?;
    ensure!(
        record::sha256(&committed) == record.object_sha256,
        "{OBJECT} is not the object that {RECORD} speaks of: run cargo xtask build-ebpf"
    );
    ensure!(
        record::source_sha256(&root)? == record.source_sha256,
        "guard-ebpf or guard-common has changed since {OBJECT} was built: run cargo xtask build-ebpf"
    );
    // The toolchain that built it is asked first, wherever it comes in the preference.
    let tools = match Tools::all(&root).find(|tools| tools.identity() == record.toolchain) {
        Some(tools) => tools,
        None => Tools::find_or_install(&root, no_install)?,
    };
    let built = compile::object(&root, &tools)?;
    if record.toolchain == tools.identity() {
        ensure!(
            built == committed,
            "{OBJECT} is not what the source builds to with {tools}: run cargo xtask build-ebpf"
        );
        println!("{OBJECT} is what the source builds to, byte by byte, with {tools}");
        return Ok(());
    }
    println!("NOTE: {OBJECT} was built by another toolchain, so its bytes cannot be compared:");
    println!("      built by {}", record.toolchain);
    println!("      here is  {}", tools.identity());
    println!("      The source is the same; both objects now have to pass the kernel suite.");
    let own = target(&root).join("ebpf").join("guard.bpf.o");
    fs::create_dir_all(own.parent().context("a directory")?)?;
    fs::write(&own, built)?;
    for object in [object_path(&root), own] {
        kernel_suite(&root, &object)?;
    }
    Ok(())
}

/// Formatting and lints of `guard-ebpf`, on the target that it is for.
pub(crate) fn lint(no_install: bool) -> anyhow::Result<()> {
    let root = root();
    let mut format = Command::new("cargo");
    format.args(["fmt", "--all", "--check"]).current_dir(root.join("guard-ebpf"));
    execute(&mut format)?;
    let tools = Tools::find_or_install(&root, no_install)?;
    execute(&mut compile::clippy(&root, &tools)?)
}

fn kernel_suite(root: &Path, object: &Path) -> anyhow::Result<()> {
    println!("kernel suite on {}", object.display());
    let mut suite = Command::new("cargo");
    suite.args(["test", "--quiet", "--package", "guard-tests", "--test", "kernel"]);
    suite.current_dir(root).env("GUARD_BPF_OBJECT", object);
    execute(&mut suite)
}

const OBJECT: &str = "guard/src/enforce/xdp/guard.bpf.o";
const RECORD: &str = "guard/src/enforce/xdp/guard.bpf.toml";

fn object_path(root: &Path) -> PathBuf {
    root.join(OBJECT)
}

/// The checkout.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where builds go.
fn target(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Absolute, because not every command runs where this one does.
        Some(target) => std::path::absolute(&target).unwrap_or_else(|_| target.into()),
        None => root.join("target"),
    }
}

/// Runs a command to its end; its output is the user's to see.
fn execute(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// What a command prints, if it can be run and succeeds.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}
