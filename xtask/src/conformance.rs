//! `cargo xtask conformance`: a Fail2Ban sample corpus, run against guard.
//!
//! Input: directories of filters and sample logs; those that are not named are Debian's.
//! Output: every check that fails, with its file and line, and how many pass. The runner
//! links guard, which this program does not, so it is one of the examples of the tests.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::workspace;

/// Options of `conformance`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Directory that holds filter.d, such as /etc/fail2ban.
    #[arg(long)]
    filters: Option<PathBuf>,
    /// Directory of the sample logs, one for each filter.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Directory of the filters that only the corpus uses.
    #[arg(long)]
    test_filters: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut cargo = workspace::cargo(&["run", "--quiet", "--package", "guard-tests"]);
    // No more of guard than its core is needed, and so no library of the host.
    cargo.args(["--no-default-features", "--features", "conformance"]);
    cargo.args(["--example", "conformance", "--"]);
    for (option, path) in [
        ("--filters", &options.filters),
        ("--logs", &options.logs),
        ("--test-filters", &options.test_filters),
    ] {
        if let Some(path) = path {
            // The runner works in the workspace; the path was meant from here.
            cargo.arg(option).arg(std::path::absolute(path)?);
        }
    }
    if !cargo.status()?.success() {
        bail!("the corpus does not pass");
    }
    Ok(())
}
