//! `cargo xtask test`: all tests, or one part of them.
//!
//! Input: the test targets of the workspace; in the package `guard-tests` those whose
//! name begins with `e2e_` boot whole hosts, the others need only the kernel. Output:
//! the tests' own output as they run, and one closing line over all of them. A test
//! that was skipped counts as failed: nothing is left out in silence.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{packages, vm, workspace};

/// Options of `test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// One part only; without, all but `vm`.
    part: Option<Part>,
    /// With `vm`: these kernels only, by their names in tests/fixtures/kernels.toml.
    #[arg(requires = "part")]
    kernels: Vec<String>,
}

impl Options {
    /// Everything that a change must pass.
    pub(crate) const fn all() -> Self {
        Self { part: None, kernels: Vec::new() }
    }
}

/// What can be run on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Unit and property tests; no root.
    Unit,
    /// The kernel, nft, the journal and the agent in network namespaces.
    Kernel,
    /// The installed agent on systemd hosts in containers.
    E2e,
    /// The kernel's tests on Debian's other kernels, in machines of their own.
    Vm,
}

impl Part {
    const USUAL: [Self; 3] = [Self::Unit, Self::Kernel, Self::E2e];

    const fn meaning(self) -> &'static str {
        match self {
            Self::Unit => "unit and property tests",
            Self::Kernel => "kernel, nft, journal and agent in namespaces",
            Self::E2e => "systemd hosts in containers",
            Self::Vm => "Debian's other kernels in machines",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let start = Instant::now();
    let parts = options.part.map_or_else(|| Part::USUAL.to_vec(), |part| vec![part]);
    let mut total = Count::default();
    for part in parts {
        println!("\n##### {}", part.meaning());
        match part {
            Part::Unit => unit(&mut total)?,
            Part::Kernel => kernel(&mut total)?,
            Part::E2e => hosts(&mut total)?,
            Part::Vm => vm::run(&options.kernels, &mut total)?,
        }
    }
    println!("\n{total} in {} s", start.elapsed().as_secs());
    if !total.is_good() {
        bail!("not every test passed");
    }
    Ok(())
}

fn unit(total: &mut Count) -> Result<()> {
    packages::need(&[packages::BUILD, packages::WEBHOOKS])?;
    // The core must build and pass where nothing of Linux is.
    test("the core on its own", &["--package", "guard", "--no-default-features"], total)?;
    test("guard", &["--package", "guard", "--package", "guard-common"], total)?;
    test("the project's commands", &["--package", "xtask"], total)?;
    test("the test bed", &["--package", "guard-tests", "--lib"], total)
}

fn kernel(total: &mut Count) -> Result<()> {
    packages::need(&[packages::BUILD, packages::NAMESPACES, packages::KERNEL, packages::PEERS])?;
    packages::need(&[packages::METRICS, packages::BROWSER])?;
    guard_tests::namespace::require_root()?;
    guard_tests::namespace::sweep()?;
    workspace::build_guardctl()?;
    // `vm` asks for devices and features that this kernel need not have.
    for target in targets(|name| !name.starts_with("e2e_") && name != "vm")? {
        test(&target, &["--package", "guard-tests", "--test", &target], total)?;
    }
    Ok(())
}

fn hosts(total: &mut Count) -> Result<()> {
    packages::need(&[packages::BUILD, packages::NAMESPACES, packages::HOSTS])?;
    guard_tests::namespace::require_root()?;
    guard_tests::namespace::sweep()?;
    workspace::build_guardctl()?;
    for target in targets(|name| name.starts_with("e2e_"))? {
        // One host at a time: each has processes of its own that must be on time.
        let arguments = ["--package", "guard-tests", "--test", &target, "--", "--test-threads=1"];
        test(&target, &arguments, total)?;
    }
    Ok(())
}

/// Names of the test targets of `guard-tests`, sorted.
fn targets(wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let directory = workspace::root().join("tests/tests");
    let mut names = Vec::new();
    for entry in directory.read_dir().with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        let is_target = path.extension().is_some_and(|extension| extension == "rs")
            || path.join("main.rs").exists();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|name| is_target && wanted(name)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Runs `cargo test`, shows its output as it comes and counts its results.
fn test(what: &str, arguments: &[&str], total: &mut Count) -> Result<()> {
    println!("\n=== {what}");
    let mut command = workspace::cargo(&["test", "--no-fail-fast"]);
    command.args(arguments);
    command.env("GUARDCTL", workspace::target().join("release/guardctl"));
    let count = stream(&mut command)?;
    total.add(count);
    Ok(())
}

/// Runs a `cargo test`, shows its output as it comes and counts its results.
pub(crate) fn stream(command: &mut Command) -> Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("start cargo test")?;
    let output = child.stdout.take().context("output of cargo test")?;
    let mut count = Count::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read cargo test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        count.add(Count::of_line(&line));
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() && count.failed == 0 {
        // A target that did not build, or a test program that died.
        count.failed = 1;
    }
    Ok(count)
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    ignored: u32,
}

impl Count {
    /// What one line of a test program's output reports; nothing for most.
    pub(crate) fn of_line(line: &str) -> Self {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else {
            return Self::default();
        };
        let number = |word: &str| {
            let before = result.split(';').find_map(|part| part.trim().strip_suffix(word));
            before.and_then(|text| text.split_whitespace().last()?.parse().ok()).unwrap_or(0)
        };
        let [passed, failed, ignored] = ["passed", "failed", "ignored"].map(number);
        Self { passed, failed, ignored }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }

    /// Whether something was run, and all of it passed.
    pub(crate) fn is_good(self) -> bool {
        self.failed == 0 && self.ignored == 0 && self.passed > 0
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(formatter, ", {} skipped (which counts as failing)", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_and_other_lines_are_not() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s";
        let expected = Count { passed: 12, failed: 3, ignored: 1 };
        assert_eq!(Count::of_line(line), expected);
        assert_eq!(Count::of_line("test a::b ... ok"), Count::default());
        assert_eq!(Count::of_line("running 7 tests"), Count::default());
    }

    #[test]
    fn nothing_run_and_anything_skipped_is_not_good() {
        let good = Count { passed: 1, ..Count::default() };
        assert!(good.is_good());
        assert!(!Count::default().is_good());
        assert!(!Count { ignored: 1, ..good }.is_good());
        assert!(!Count { failed: 1, ..good }.is_good());
    }
}
