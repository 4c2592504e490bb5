//! `cargo xtask ci`: what a change must pass.

use anyhow::Result;

use crate::{check, test};

/// Options of `ci`.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> Result<()> {
    check::run(&check::Options {})?;
    test::run(&test::Options { part: None })
}
