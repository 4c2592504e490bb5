//! `cargo xtask test vm`: the kernel suite on other kernels.
//!
//! Input: `tests/fixtures/kernels.toml` (which kernels, from where, and what guard must
//! find there) and the test programs, built on this machine. Output: what the tests say,
//! line by line with the kernel's name before it, and the names of those that failed.
//! Each kernel is Debian's own, booted by qemu without hardware help, so that it runs
//! anywhere, with an initramfs that holds nothing but the tests and what they run.
//! Invariant: a machine that ends without saying so, or in which nothing ran, has failed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::test::Count;
use crate::{packages, workspace};

mod archive;
mod image;
mod machine;
mod package;
mod programs;

/// The file that says which kernels there are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    modules: Vec<String>,
    kernel: Vec<Kernel>,
}

/// One kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Kernel {
    /// What its version begins with, or `newest`.
    name: String,
    /// Modules beyond those of all kernels.
    #[serde(default)]
    modules: Vec<String>,
    /// Lines of a `sources.list`, below the mirror.
    sources: Vec<String>,
    /// Read by the tests.
    #[expect(dead_code, reason = "the test programs read it, in the machine")]
    features: Vec<String>,
}

/// Runs the suite on the kernels of these names, or on all.
pub(crate) fn run(names: &[String], total: &mut Count) -> Result<()> {
    packages::need(&[packages::BUILD, packages::NAMESPACES, packages::KERNEL, packages::MACHINES])?;
    let kernels = chosen(names)?;
    let programs = programs::build()?;
    let mut failed = Vec::new();
    for kernel in kernels {
        println!("\n=== Linux {}", kernel.name);
        let package = package::fetch(&kernel)?;
        println!("Linux {}", package.release);
        let image = image::build(&kernel.name, &package, &programs)?;
        let outcome = machine::run(&kernel.name, &package, &image)?;
        let mut count = outcome.count;
        if !outcome.ended {
            failed.push(format!("{}: the machine did not end as it should", kernel.name));
            count.failed = count.failed.max(1);
        }
        failed.extend(outcome.failed.iter().map(|test| format!("{}: {test}", kernel.name)));
        println!("Linux {}: {count} in {} s", kernel.name, outcome.took.as_secs());
        total.add(count);
    }
    for test in &failed {
        println!("FAILED on Linux {test}");
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Kernel>> {
    let table = table()?;
    let known = |name: &String| table.kernel.iter().any(|kernel| kernel.name == *name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = table.kernel.iter().map(|kernel| kernel.name.as_str()).collect();
        bail!("no kernel {unknown} in tests/fixtures/kernels.toml, but {}", all.join(", "));
    }
    let wanted = |kernel: &Kernel| names.is_empty() || names.contains(&kernel.name);
    Ok(table.kernel.into_iter().filter(wanted).map(|kernel| with(kernel, &table.modules)).collect())
}

fn with(mut kernel: Kernel, modules: &[String]) -> Kernel {
    kernel.modules.extend_from_slice(modules);
    kernel.modules.sort();
    kernel
}

fn table() -> Result<Table> {
    let path = workspace::root().join("tests/fixtures/kernels.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// Where kernels and images are kept.
fn directory() -> PathBuf {
    workspace::target().join("kernels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_unknown_kernels_are_refused() {
        let all = chosen(&[]).expect("the table");
        assert!(all.len() >= 3 && all.iter().all(|one| one.modules.contains(&"veth".to_owned())));
        let one = chosen(&["5.10".to_owned()]).expect("it is in the table");
        assert_eq!(one.len(), 1);
        let error = chosen(&["2.4".to_owned()]).expect_err("it is not");
        assert!(error.to_string().contains("5.10"), "{error}");
    }
}
