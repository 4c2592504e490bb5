//! Compiling the object, so that its bytes depend on source and toolchain alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Context;

use super::toolchain::{Compiler, Kind, Tools};
use super::{execute, strip, target};

const TARGET: &str = "bpfel-unknown-none";

/// Flags of the compiler that do not depend on where things lie.
pub(super) const FLAGS: [&str; 6] = [
    "-Clinker-plugin-lto",
    // Debug information becomes BTF.
    "-Cdebuginfo=2",
    "-Clink-arg=--btf",
    // 32-bit registers and jumps: Linux 5.1. The next version would need 6.6.
    "-Ctarget-cpu=v3",
    // Headers lie at odd places of a packet. The processors that XDP runs on read words
    // there at no cost, and the kernel's verifier lets them; byte by byte costs four times
    // as many instructions.
    "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
    "-Coverflow-checks=off",
];

/// The object, without the debug information that only people read.
pub(super) fn object(root: &Path, tools: &Tools) -> anyhow::Result<Vec<u8>> {
    let directory = directory(root, &tools.compiler);
    let mut build = cargo(root, tools, "build")?;
    execute(&mut build)?;
    let built = directory.join(TARGET).join("release/guard-ebpf");
    let linked = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    strip::debug_sections(&linked).with_context(|| format!("stripping {}", built.display()))
}

/// The lints, on the target.
pub(super) fn clippy(root: &Path, tools: &Tools) -> anyhow::Result<Command> {
    let mut command = cargo(root, tools, "clippy")?;
    command.args(["--", "-D", "warnings"]);
    Ok(command)
}

/// Each toolchain has its own directory, so that none rebuilds what the other built.
fn directory(root: &Path, compiler: &Compiler) -> PathBuf {
    target(root).join("ebpf").join(match compiler.kind {
        Kind::Nightly => "nightly",
        Kind::Debian => "debian",
    })
}

fn cargo(root: &Path, tools: &Tools, verb: &str) -> anyhow::Result<Command> {
    let compiler = &tools.compiler;
    let mut command = match compiler.kind {
        Kind::Nightly => {
            let mut command = Command::new("rustup");
            command.args(["run", "nightly", "cargo", verb, "-Zbuild-std=core"]);
            command
        }
        Kind::Debian => {
            let mut command = Command::new("/usr/bin/cargo");
            command.arg(verb).env("RUSTC", "/usr/bin/rustc");
            // `asm!` for BPF is not stable, though Debian's compiler knows it.
            command.env("RUSTC_BOOTSTRAP", "1");
            // `cargo clippy` looks for its parts in PATH; rustup's would be another compiler's.
            let path = env::var_os("PATH").unwrap_or_default();
            let places = [PathBuf::from("/usr/bin")].into_iter().chain(env::split_paths(&path));
            command.env("PATH", env::join_paths(places)?);
            command
        }
    };
    command
        .args(["--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(directory(root, compiler))
        .current_dir(root.join("guard-ebpf"))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, tools)?);
    Ok(command)
}

/// The compiler's flags, separated as cargo wants them.
fn flags(root: &Path, tools: &Tools) -> anyhow::Result<OsString> {
    let mut flags: Vec<OsString> = FLAGS.iter().map(OsString::from).collect();
    let mut linker = OsString::from("-Clinker=");
    linker.push(&tools.linker.path);
    flags.push(linker);
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?)
            .join(".cargo"),
    };
    let source = tools.compiler.sysroot.join("lib/rustlib/src/rust");
    for (from, to) in [(root, "/guard"), (home.as_path(), "/cargo"), (source.as_path(), "/rust")] {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    }
    Ok(flags.join(&OsString::from("\x1f")))
}
