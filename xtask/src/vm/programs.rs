//! The test programs, and the programs that they run.
//!
//! Output: [`Program`]s, each with the libraries that the loader of this machine would
//! give it. They run in the machine without cargo and without Debian around them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::directory;
use crate::workspace;

/// Targets of `guard-tests` that need a kernel and nothing else of the host.
const TARGETS: [&str; 4] = ["enforcers", "kernel", "vm", "xdp"];

/// What they run.
const TOOLS: [&str; 6] = ["bpftool", "ethtool", "ip", "nft", "nsenter", "tc"];

/// Everything that is to be run in the machine.
#[derive(Debug)]
pub(super) struct Programs {
    /// Name and file of each test program, without debug information.
    pub(super) tests: Vec<(String, PathBuf)>,
    /// Files of other programs, by the names under which they are found.
    pub(super) tools: Vec<(String, PathBuf)>,
    /// All libraries, and the loader.
    pub(super) libraries: BTreeSet<PathBuf>,
}

/// One line of `--message-format=json`, as far as it is of interest.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds the tests and finds the rest.
pub(super) fn build() -> Result<Programs> {
    let mut cargo =
        workspace::cargo(&["test", "--no-run", "--message-format=json-render-diagnostics"]);
    cargo.args(["--package", "guard-tests"]);
    for target in TARGETS {
        cargo.args(["--test", target]);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo test")?;
    if !output.status.success() {
        bail!("the test programs do not build");
    }
    let stripped = directory().join("tests");
    fs::create_dir_all(&stripped)?;
    let mut tests = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Message>(line) else { continue };
        let (Some(built), Some(target)) = (message.executable, message.target) else { continue };
        if !TARGETS.contains(&target.name.as_str()) {
            continue;
        }
        let to = stripped.join(&target.name);
        workspace::run(Command::new("strip").arg("-o").arg(&to).arg(&built))?;
        tests.push((target.name, to));
    }
    tests.sort();
    if tests.len() != TARGETS.len() {
        bail!("cargo built {} test programs of {}", tests.len(), TARGETS.len());
    }
    let tools: Vec<(String, PathBuf)> =
        TOOLS.into_iter().map(|name| Ok((name.to_owned(), find(name)?))).collect::<Result<_>>()?;
    let mut libraries = BTreeSet::new();
    for (_, program) in tests.iter().chain(&tools) {
        libraries.extend(libraries_of(program)?);
    }
    Ok(Programs { tests, tools, libraries })
}

/// Where a program is, root's directories included.
fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let all = path.split(':').chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"]);
    all.map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed"))
}

fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = guard_tests::command::run("ldd", [program])?;
    Ok(listed.lines().filter_map(library).collect())
}

/// The file that a line of `ldd` names: after an arrow, or alone for the loader.
fn library(line: &str) -> Option<PathBuf> {
    let file = line.split_once("=>").map_or(line, |(_, file)| file);
    let file = file.split_whitespace().next()?;
    file.starts_with('/').then(|| PathBuf::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_and_the_kernels_own_is_not() {
        let file = |line| library(line).map(|path| path.to_string_lossy().into_owned());
        assert_eq!(
            file("\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)").as_deref(),
            Some("/lib/x/libc.so.6")
        );
        assert_eq!(
            file("\t/lib64/ld-linux-x86-64.so.2 (0x7f)").as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(file("\tlinux-vdso.so.1 (0x7f)"), None);
        assert_eq!(file("\tstatically linked"), None);
    }
}
