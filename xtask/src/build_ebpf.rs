//! `cargo xtask build-ebpf`.

/// Options of `build-ebpf`.
#[derive(clap::Args)]
pub(crate) struct Options {}

pub(crate) fn run(_options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
