//! `cargo xtask fuzz`: the fuzz targets under `tests/fuzz`, each for a bounded time.
//!
//! Input: the committed inputs of each target, by hand (`corpus/TARGET/`) and found by earlier
//! runs (`corpus/TARGET.tar.gz`), and what runs on this machine found worth keeping
//! (`target/fuzz`). Output: how many inputs each target has tried, and, when one fails, the
//! input and how to run it again; with `--merge` the archives anew. Coverage is the
//! compiler's own (SanitizerCoverage), which the ordinary toolchain has.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{packages, workspace};

/// The compiler flags that libFuzzer needs to see which ways an input takes. With them the
/// build script of `libsystemd-sys` links a program of its own, which it never starts, and that
/// has no libFuzzer in it: hence the linker's leave.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Clink-arg=-Wl,--unresolved-symbols=ignore-all \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Flags take effect only with a target named, else build scripts would get them too.
#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Bytes of an input at most.
const LONGEST: usize = 1024;

/// Options of `fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Targets to run; all of them by default.
    targets: Vec<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Run one input through its target instead of looking for new ones.
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
    /// Look for nothing: put what earlier runs found into the committed archives, as few
    /// inputs as reach all that is reached.
    #[arg(long, conflicts_with = "input")]
    merge: bool,
}

impl Options {
    /// All targets, for so many seconds each.
    pub(crate) fn all(seconds: u32) -> Self {
        Self { targets: Vec::new(), seconds, input: None, merge: false }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    packages::need(&[packages::FUZZING])?;
    let known = targets()?;
    if let Some(unknown) = options.targets.iter().find(|name| !known.contains(name)) {
        bail!("there is no target `{unknown}`: there are {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { &known } else { &options.targets };
    workspace::show("building the fuzz targets", &mut build())?;
    if options.merge {
        return chosen.iter().try_for_each(|target| merge(target));
    }
    let mut tried = 0;
    let mut failed = Vec::new();
    for target in chosen {
        println!("\n=== {target}");
        match fuzz(target, options)? {
            Outcome::Tried(count) => {
                println!("{count} inputs tried");
                tried += count;
            }
            Outcome::Failed(input) => {
                println!(
                    "FAILED; again with: cargo xtask fuzz {target} --input {}",
                    input.display()
                );
                failed.push(target.as_str());
            }
        }
    }
    println!("\n{tried} inputs tried in {} targets", chosen.len());
    if !failed.is_empty() {
        bail!("an input fails in: {}", failed.join(", "));
    }
    Ok(())
}

enum Outcome {
    Tried(u64),
    Failed(PathBuf),
}

/// Runs one target. libFuzzer talks on standard error, and ends with its figures.
fn fuzz(target: &str, options: &Options) -> Result<Outcome> {
    let kept = workspace::target().join("fuzz/kept").join(target);
    let failures = workspace::target().join("fuzz/failures").join(target);
    for directory in [&kept, &failures] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    unpack(target, &kept)?;
    let program = program(target);
    let mut command = Command::new(&program);
    command
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"])
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .stdin(Stdio::null());
    match &options.input {
        Some(input) => command.arg(input),
        None => command
            .args([format!("-max_total_time={}", options.seconds), format!("-max_len={LONGEST}")])
            .arg(&kept)
            .arg(committed(target)),
    };
    let before = newest(&failures)?;
    let output = command.output().with_context(|| format!("start {}", program.display()))?;
    let talk = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{talk}");
        let input = newest(&failures)?.filter(|found| Some(found) != before.as_ref());
        let input = input.or_else(|| options.input.clone());
        return match input {
            Some(input) => Ok(Outcome::Failed(input)),
            None => bail!("{target} ended with {}", output.status),
        };
    }
    if options.input.is_some() {
        return Ok(Outcome::Tried(1));
    }
    let executed =
        talk.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let count = executed.and_then(|count| count.trim().parse().ok());
    count.map(Outcome::Tried).with_context(|| format!("no figures from {target}:\n{talk}"))
}

/// Puts the fewest inputs that reach all that is reached into the target's archive.
fn merge(target: &str) -> Result<()> {
    let kept = workspace::target().join("fuzz/kept").join(target);
    fs::create_dir_all(&kept).with_context(|| format!("make {}", kept.display()))?;
    unpack(target, &kept)?;
    let chosen = tempfile::tempdir()?;
    let mut command = Command::new(program(target));
    command.args(["-merge=1", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]);
    command.arg(format!("-max_len={LONGEST}")).arg(chosen.path()).arg(&kept);
    workspace::show(&format!("choosing inputs for {target}"), &mut command)?;
    let archive = archive(target);
    // The same inputs make the same bytes.
    let mut pack = Command::new("tar");
    pack.args([
        "--create",
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    .args(["--mode=644", "--use-compress-program=gzip -9 -n", "--file"])
    .arg(&archive)
    .arg("--directory")
    .arg(chosen.path())
    .args(["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"]);
    let mut names: Vec<_> = fs::read_dir(chosen.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut packing = pack.stdin(Stdio::piped()).spawn().context("start tar")?;
    packing.stdin.take().context("its input")?.write_all(names.join("\0").as_bytes())?;
    let status = packing.wait()?;
    ensure!(status.success(), "packing {}: {status}", archive.display());
    println!("{}: {} inputs", archive.display(), names.len());
    Ok(())
}

/// Adds what the committed archive holds to what is kept on this machine.
fn unpack(target: &str, kept: &Path) -> Result<()> {
    let archive = archive(target);
    if !archive.exists() {
        return Ok(());
    }
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--no-same-owner", "--skip-old-files", "--file"]);
    let status = tar.arg(&archive).arg("--directory").arg(kept).status().context("start tar")?;
    ensure!(status.success(), "unpacking {}: {status}", archive.display());
    Ok(())
}

fn program(target: &str) -> PathBuf {
    workspace::target().join("fuzz").join(TARGET).join("release").join(target)
}

fn build() -> Command {
    let mut build = workspace::cargo(&["build", "--release", "--locked", "--target", TARGET]);
    build
        .current_dir(directory())
        .env("CARGO_TARGET_DIR", workspace::target().join("fuzz"))
        .env("RUSTFLAGS", COVERAGE);
    build
}

/// Names of the targets, in the order in which `Cargo.toml` has them.
fn targets() -> Result<Vec<String>> {
    let path = directory().join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("read {}", path.display()))?;
    let bins = manifest.get("bin").and_then(toml::Value::as_array).context("no [[bin]]")?;
    let name = |bin: &toml::Value| Some(bin.get("name")?.as_str()?.to_owned());
    Ok(bins.iter().filter_map(name).collect())
}

fn directory() -> PathBuf {
    workspace::root().join("tests/fuzz")
}

/// Inputs that runs found, in the repository.
fn archive(target: &str) -> PathBuf {
    directory().join("corpus").join(format!("{target}.tar.gz"))
}

/// Inputs that are kept in the repository: where a target begins, and what once failed.
fn committed(target: &str) -> PathBuf {
    directory().join("corpus").join(target)
}

/// The file in a directory that was written last.
fn newest(directory: &Path) -> Result<Option<PathBuf>> {
    let mut files = Vec::new();
    for entry in directory.read_dir()? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    Ok(files.into_iter().max().map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_inputs_to_begin_with() {
        let names = targets().expect("targets");
        assert!(!names.is_empty());
        for name in names {
            let inputs = committed(&name).read_dir().map(Iterator::count);
            assert!(inputs.is_ok_and(|count| count > 0), "{name} has none");
        }
    }
}
