//! `cargo xtask ci`: what a change must pass.

use anyhow::Result;

use crate::{check, demo, fuzz, test};

/// Seconds for each fuzz target.
const FUZZ_SECONDS: u32 = 5;

/// Options of `ci`.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> Result<()> {
    check::run(&check::Options {})?;
    test::run(&test::Options::all())?;
    demo::run(&demo::Options::all())?;
    fuzz::run(&fuzz::Options::all(FUZZ_SECONDS))
}
