//! Installing what is missing, or saying what it is.
//!
//! On Debian as root: the compiler and its LLVM from Debian's packages, and bpf-linker
//! from its source into `target/tools`. Nothing is put anywhere else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::toolchain::{Compiler, LINKER_VERSION};
use super::{execute, output_of, target};

const RUST_PACKAGES: [&str; 4] =
    ["rustc-web", "cargo-web", "rust-web-clippy", "libstd-rust-web-dev-bpf"];

/// Where tools of the project's own are installed.
pub(super) fn tools(target: &Path) -> PathBuf {
    target.join("tools")
}

/// Whether [`run`] can do anything here.
pub(super) fn possible() -> bool {
    output_of(Command::new("id").arg("-u")).as_deref() == Some("0")
        && output_of(Command::new("apt-get").arg("--version")).is_some()
}

/// What to do where [`run`] may not.
pub(super) fn advice() -> String {
    let packages = RUST_PACKAGES.join(" ");
    format!(
        "no toolchain here builds for BPF. Either of these will do:

  with rustup:
    rustup toolchain install nightly --component rust-src,clippy
    and a bpf-linker of the same LLVM (rustup run nightly rustc -vV tells which): its release
    at https://github.com/aya-rs/bpf-linker/releases, or from source as below

  on Debian 12, as root (cargo xtask build-ebpf does this itself when it is run by root):
    apt-get install {packages} llvm-22-dev libpolly-22-dev
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version {LINKER_VERSION} --locked \\
        --no-default-features --features llvm-22 --root target/tools

Only a change to guard-ebpf or guard-common needs it: the built object is committed."
    )
}

/// Installs what is missing of Debian's toolchain, and the linker.
pub(super) fn run(root: &Path) -> anyhow::Result<()> {
    packages(&RUST_PACKAGES.map(str::to_owned))?;
    let compiler = Compiler::debian().with_context(advice)?;
    let llvm = compiler.llvm_major();
    packages(&[format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")])?;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut linker = Command::new("/usr/bin/cargo");
    linker
        .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(tools(&target(root)))
        .arg("--target-dir")
        .arg(target(root).join("bpf-linker"))
        .env("RUSTC", "/usr/bin/rustc")
        .env("LLVM_PREFIX", prefix)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    println!("building bpf-linker {LINKER_VERSION} with LLVM {llvm}; this takes a minute or two");
    execute(&mut linker)
}

fn packages(names: &[String]) -> anyhow::Result<()> {
    let missing: Vec<&String> = names.iter().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {missing:?}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    execute(apt().args(["update", "--quiet"]))?;
    execute(apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(missing))
        .with_context(advice)
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    output_of(&mut query).as_deref() == Some("installed")
}
