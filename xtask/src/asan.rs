//! `cargo xtask asan`: the parts with `unsafe` under AddressSanitizer, against the real kernel.
//!
//! Input: the tests that reach those parts. Output: their results, and a failure for each
//! access outside of what was allocated. Invariant: nothing is said to be sound before the
//! same compiler and flags were seen to notice an access that is not.
//!
//! The sanitizer is part of rustup's toolchains; that its switch is not stable is no matter
//! here, for nothing of this is shipped.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use guard_tests::command;

use crate::{packages, test, workspace};

/// Options of `asan`.
#[derive(clap::Args)]
pub(crate) struct Options {}

/// What is instrumented: all crates, but not the standard library, which is there as it is.
const FLAGS: &str = "-Zsanitizer=address -Cforce-frame-pointers=yes";
/// Flags take effect only with a target named, else build scripts would get them too.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Leaks are not what is looked for: a test may end with threads that own something.
const BEHAVIOUR: &str = "detect_leaks=0:halt_on_error=1:abort_on_error=0:exitcode=66";
/// The program that reads too far, or not.
const OVERRUN: &[&str] = &["run", "--package", "guard-tests", "--example", "overrun", "--"];

/// What reaches `unsafe` code with the real kernel behind it. One selection for cargo, and
/// that of [`OVERRUN`], so that nothing is built twice.
const SUITES: &[&str] =
    &["test", "--package", "guard-tests", "--test", "xdp", "--test", "kernel", "--test", "headers"];

/// Tests that are left out: the first two are about the walk over packets, which has no
/// `unsafe`, and take minutes; the last holds the kernel to a time that checked code need not
/// keep.
const LEFT_OUT: &[&str] =
    &["damaged_packets_are_judged", "every_truncation_is_judged", "many_bans_is_quick_and_exact"];

pub(crate) fn run(_options: &Options) -> Result<()> {
    packages::need(&[packages::BUILD, packages::NAMESPACES, packages::KERNEL])?;
    guard_tests::namespace::require_root()?;
    guard_tests::namespace::sweep()?;
    let start = Instant::now();
    runtime()?;
    sees_an_overrun()?;
    println!("\n=== maps, programs, links and packets in the kernel");
    let mut suites = cargo(SUITES);
    suites.args(["--no-fail-fast", "--"]);
    LEFT_OUT.iter().for_each(|test| _ = suites.args(["--skip", test]));
    let total = test::stream(&mut suites)?;
    println!("\n{total} under AddressSanitizer in {} s", start.elapsed().as_secs());
    if !total.is_good() {
        bail!("not every test passed under AddressSanitizer");
    }
    Ok(())
}

/// That the toolchain has the sanitizer.
fn runtime() -> Result<()> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let output = rustc.args(["--print", "sysroot"]).output().context("start rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let entries = libraries.read_dir().with_context(|| format!("read {}", libraries.display()))?;
    let has_it = |name: &str| name.starts_with("librustc-") && name.contains("asan");
    if !entries.flatten().any(|entry| has_it(&entry.file_name().to_string_lossy())) {
        bail!("{} has no AddressSanitizer: rustup's toolchains do", libraries.display());
    }
    Ok(())
}

/// That an access outside of what was allocated is noticed, and none inside.
fn sees_an_overrun() -> Result<()> {
    println!("\n=== does it see a read one byte too far?");
    let run = |place: &str| {
        let mut overrun = cargo(OVERRUN);
        overrun.arg(place);
        command::output(&mut overrun)
    };
    let inside = run("inside")?;
    if !inside.status.success() {
        bail!("a sound read fails: {}", String::from_utf8_lossy(&inside.stderr));
    }
    for (place, report) in [
        ("heap", "heap-buffer-overflow"),
        ("stack", "stack-buffer-overflow"),
        ("freed", "heap-use-after-free"),
    ] {
        let outside = run(place)?;
        let told = String::from_utf8_lossy(&outside.stderr);
        if outside.status.success() || !told.contains(&format!("AddressSanitizer: {report}")) {
            bail!("it does not see {report}: {}\n{told}", outside.status);
        }
    }
    println!("it does: on the heap, on the stack, and after it was freed");
    Ok(())
}

/// Cargo with the sanitizer, in a place of its own.
fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = workspace::cargo(arguments);
    cargo
        .env("CARGO_BUILD_TARGET", TARGET)
        .env("CARGO_TARGET_DIR", workspace::target().join("asan"))
        // Quickly built: what is looked for does not depend on it.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .env("ASAN_OPTIONS", BEHAVIOUR);
    cargo
}
